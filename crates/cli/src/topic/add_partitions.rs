//! `ringlog topic add-partitions`: more partitions, and what that means for the order of records.

use clap::{ArgGroup, Args};
use clap_complete::engine::ArgValueCompleter;
use client::{ConfigResource, Topic};
use schemars::JsonSchema;
use serde::Serialize;

use super::offsets_of;
use crate::failure::{Code, Failure};
use crate::live_names;
use crate::output::{Answer, Format, Section, print};
use crate::session::{Connect, Consent};
use crate::units;

const AFTER_HELP: &str = "\
Examples:
  ringlog topic add-partitions orders --total 12 --dry-run   which order would break
  ringlog topic add-partitions orders --total 12             asks first
  ringlog topic add-partitions orders --add 2 --yes          two more than there are";

/// The arguments of `topic add-partitions`.
#[derive(Args)]
#[command(after_help = AFTER_HELP, group(ArgGroup::new("count").required(true).args(["total", "add"])))]
pub(crate) struct AddPartitions {
    /// Its name
    #[arg(add = ArgValueCompleter::new(live_names::topics))]
    topic: String,
    /// How many it shall have in all
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i32::MAX as i64))]
    total: Option<u32>,
    /// How many more it shall have
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i32::MAX as i64))]
    add: Option<u32>,
    /// Have the cluster check it, say which order would break, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// A topic that got more partitions, or would.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TopicWidening {
    /// Whether nothing was changed because that was asked for.
    dry_run: bool,
    topic: String,
    partitions_before: u64,
    partitions: u64,
    /// Records there are, most of which stay where they are.
    records: u64,
    /// Of a thousand keys, how many a hash partitioner sends to another partition from now on.
    moved_keys_per_thousand: u64,
    /// Whether the topic is compacted: values of moved keys then stay behind in the old partition.
    compacted: bool,
}

impl Answer for TopicWidening {
    const SCHEMA: &'static str = "topic.add-partitions";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let done = if self.dry_run { "would have" } else { "has" };
        let what =
            format!("{} {done} {} partitions instead of {}.", self.topic, self.partitions, self.partitions_before);
        vec![Section::Text(if self.dry_run { format!("{what}\n{}", self.consequence()) } else { what })]
    }
}

impl TopicWidening {
    /// Which order breaks.
    fn consequence(&self) -> String {
        if self.records == 0 {
            return "The topic is empty: no order breaks.".to_owned();
        }
        let percent = (self.moved_keys_per_thousand + 5) / 10;
        let mut text = format!(
            "Records with a key go to the partition that its hash names among {}: about {percent} % of the keys go to \
             another partition from now on. Their order breaks: a consumer may see a new record of such a key before \
             the {} that are there now are read. Records without a key are in no order across partitions anyway.",
            self.partitions,
            units::count(self.records)
        );
        if self.compacted {
            text.push_str(
                " The topic is compacted: the last value of a moved key stays in its old partition beside the new one.",
            );
        }
        text
    }
}

impl AddPartitions {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.connect.run(async |session| {
            let topic = session.client.topic_now(&self.topic, false).await?;
            let before = topic.partitions.len() as u64;
            let after = self.total.map_or_else(|| before + u64::from(self.add.unwrap_or(0)), u64::from);
            let after = check(&topic, after)?;
            let offsets = offsets_of(&session, &[&topic]).await?;
            let records = offsets.values().map(|(start, end)| end.records_since(*start).max(0) as u64).sum();
            let configs = session.admin.describe_configs(&ConfigResource::topic(&self.topic), false).await?;
            let is_compact = |entry: &client::ConfigEntry| {
                entry.name == "cleanup.policy" && entry.value.as_ref().is_some_and(|value| value.contains("compact"))
            };
            let answer = TopicWidening {
                dry_run: self.dry_run,
                topic: self.topic.clone(),
                partitions_before: before,
                partitions: u64::from(after.unsigned_abs()),
                records,
                moved_keys_per_thousand: moved_per_thousand(before, u64::from(after.unsigned_abs())),
                compacted: configs.iter().any(is_compact),
            };
            if !self.dry_run && 0 < records {
                self.consent.ask(&answer.consequence())?;
            }
            session.admin.create_partitions(&self.topic, after, self.dry_run).await?;
            print(&answer, self.format.output)
        })
    }
}

/// Refuses a number that is none.
fn check(topic: &Topic, after: u64) -> Result<i32, Failure> {
    let (name, before) = (&topic.name, topic.partitions.len() as u64);
    if after < before {
        let why = format!(
            "{name} has {before} partitions, and a topic cannot have fewer than it had: the records of the last ones, \
             and what groups have committed there, would be lost"
        );
        let next = format!(
            "make a topic with {after} partitions, copy the records (ringlog consume -t {name} -e -J | ringlog produce -t \
             NEW -J), and move producers and consumers over"
        );
        return Err(Failure::new(Code::Usage, why).with_next(&next));
    }
    if after == before {
        return Err(Failure::new(Code::Failed, format!("{name} has {before} partitions already")));
    }
    i32::try_from(after).map_err(|_| Failure::new(Code::Usage, format!("{after} partitions are more than can be")))
}

/// A key stays where `hash % before == hash % after`: `before` residues of their least common multiple.
fn moved_per_thousand(before: u64, after: u64) -> u64 {
    let (mut a, mut b) = (before, after);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let common_multiple = before / a * after;
    1000 - 1000 * before / common_multiple
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_keys_move_as_counting_says() {
        for (before, after) in [(1, 2), (3, 6), (4, 6), (6, 7), (5, 100)] {
            let hashes = 0..before * after * 10;
            let moved = hashes.clone().filter(|hash| hash % before != hash % after).count() as u64;
            let counted = 1000 * moved / hashes.count() as u64;
            assert!(moved_per_thousand(before, after).abs_diff(counted) <= 1, "{before} to {after}");
        }
    }

    #[test]
    fn fewer_partitions_are_refused_with_the_way_out() {
        let partition = |index| client::Partition {
            index: types::PartitionIndex::new(index),
            leader: None,
            leader_epoch: None,
            replicas: Vec::new(),
            isr: Vec::new(),
            offline: Vec::new(),
        };
        let topic = Topic { name: "t".into(), id: None, internal: false, partitions: (0..3).map(partition).collect() };
        let failure = check(&topic, 2).expect_err("fewer");
        assert_eq!(failure.code, Code::Usage);
        assert!(failure.message.contains("would be lost\nNext: make a topic with 2"), "{}", failure.message);
        assert_eq!(check(&topic, 3).map_err(|failure| failure.code), Err(Code::Failed));
        assert_eq!(check(&topic, 4), Ok(4));
    }
}
