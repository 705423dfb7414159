//! `ringlog topic describe`: what people otherwise guess about a topic.

mod retention;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use client::{ConfigResource, Log, LogFacts, Topic};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;
use types::{NodeId, Offset, TopicPartition};

use super::{NOTE, OWNER, offsets_of, once, replication_factor};
use crate::config::describe::{Setting, settings_section};
use crate::failure::Failure;
use crate::live_names;
use crate::output::{Answer, Cell, Format, Section, Tone, print};
use crate::session::{Connect, Session};
use crate::units::{self, parse_duration};
use retention::kept_because;

const AFTER_HELP: &str = "\
Recovery point, next deletable segment and the reason why it is still there come from Ringlog nodes only.

Examples:
  ringlog topic describe orders                what it is, its settings, its partitions
  ringlog topic describe orders --skew         how evenly its partitions are filled and written
  ringlog topic describe orders -o wide        every effective setting, more of each partition";

/// The arguments of `topic describe`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Describe {
    /// Their names
    #[arg(required = true, value_name = "TOPIC", add = ArgValueCompleter::new(live_names::topics))]
    topics: Vec<String>,
    /// Measure how fast each partition grows, and say how uneven the partitions are
    #[arg(long)]
    skew: bool,
    /// How long to measure
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "2s", requires = "skew")]
    interval: Duration,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// Topics with their settings and partitions.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TopicDescription {
    topics: Vec<Described>,
}

#[derive(Serialize, JsonSchema)]
struct Described {
    topic: String,
    /// Null from clusters without topic ids.
    topic_id: Option<String>,
    /// Whether the cluster keeps it for itself.
    internal: bool,
    /// Whom to ask; null when nobody has written that down, or the cluster keeps no owners.
    owner: Option<String>,
    /// A line about it, likewise.
    note: Option<String>,
    /// `durable`, `interval`, `replicated`, or `cached` where that would mean the page cache of one replica.
    durability: &'static str,
    /// What that means for acked records.
    durability_words: String,
    replication_factor: u64,
    /// Offsets between the start and the end of its logs: how many records there are at the most. Null when a partition
    /// cannot be asked.
    records: Option<u64>,
    /// Bytes of its logs, each partition counted once; null when a node did not say.
    size_bytes: Option<u64>,
    /// How uneven the partitions are; null unless it was asked for.
    skew: Option<Skew>,
    /// Every effective setting.
    settings: Vec<Setting>,
    partitions: Vec<PartitionRow>,
}

#[derive(Serialize, JsonSchema)]
struct PartitionRow {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: Option<i32>,
    /// The preferred leader first.
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    offline: Vec<i32>,
    log_start_offset: Option<i64>,
    log_end_offset: Option<i64>,
    records: Option<u64>,
    size_bytes: Option<u64>,
    /// Below it everything is fsynced on the leader. Null from nodes that do not say.
    recovery_point: Option<i64>,
    /// Null unless `--skew` was given, and where only the size is known and something was deleted meanwhile.
    appended_bytes_per_s: Option<u64>,
    /// Null unless `--skew` was given.
    appended_records_per_s: Option<u64>,
    /// What retention deletes next. Null from nodes that do not say.
    next_deletable: Option<NextDeletable>,
}

#[derive(Serialize, JsonSchema)]
struct NextDeletable {
    /// Of the oldest segment; null when the log is empty.
    segment_base_offset: Option<i64>,
    size_bytes: u64,
    /// When it can go, as far as one can see.
    at: Option<String>,
    /// How much the log must grow until it goes by size.
    until_size_bytes: Option<u64>,
    /// Why it is still there, in words.
    kept_because: String,
}

/// The largest partition's share in the mean one's, times a hundred: 100 is even, 300 three times the mean.
#[derive(Serialize, JsonSchema)]
struct Skew {
    measured_ms: u64,
    size_percent: Option<u64>,
    /// Null when nothing was appended meanwhile, or for a partition nobody knows how much.
    appended_percent: Option<u64>,
    /// Partitions that got nothing meanwhile.
    idle_partitions: u64,
}

/// What the partitions of a topic are like at a moment.
struct Sample {
    at: Instant,
    offsets: BTreeMap<TopicPartition, (Offset, Offset)>,
    logs: BTreeMap<TopicPartition, Log>,
}

impl Describe {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.connect.run(async |session| {
            let mut answer = TopicDescription { topics: Vec::new() };
            let mut failures = Vec::new();
            let names = once(&self.topics);
            for name in &names {
                match self.describe(&session, name).await {
                    Ok(described) => answer.topics.push(described),
                    Err(failure) => failures.push(failure),
                }
            }
            if !answer.topics.is_empty() {
                print(&answer, self.format.output)?;
            }
            Failure::of_many("describe topics", names.len(), failures)
        })
    }

    async fn describe(&self, session: &Session, name: &str) -> Result<Described, Failure> {
        let topic = session.client.topic_now(name, false).await?;
        let entries = session.admin.describe_configs(&ConfigResource::topic(name), false).await?;
        let settings: Vec<Setting> = entries.into_iter().map(Setting::from).collect();
        let before = sample(session, &topic).await?;
        let after = if self.skew {
            tokio::time::sleep(self.interval).await;
            Some(sample(session, &topic).await?)
        } else {
            None
        };
        Ok(described(&topic, settings, &before, after.as_ref()))
    }
}

async fn sample(session: &Session, topic: &Topic) -> Result<Sample, Failure> {
    let offsets = offsets_of(session, &[topic]).await?;
    let mut by_node: BTreeMap<NodeId, BTreeMap<TopicPartition, BTreeSet<Offset>>> = BTreeMap::new();
    for partition in &topic.partitions {
        if let Some(node) = partition.leader.or_else(|| partition.replicas.first().copied()) {
            let at = TopicPartition::new(topic.name.as_ref(), partition.index);
            by_node.entry(node).or_default().insert(at, BTreeSet::new());
        }
    }
    let at = Instant::now();
    let mut logs = BTreeMap::new();
    for (node, partitions) in by_node {
        // A node that does not answer leaves its columns empty.
        let found = session.admin.logs(node, &partitions).await.unwrap_or_default();
        logs.extend(found.into_iter().map(|log| (log.partition.clone(), log)));
    }
    Ok(Sample { at, offsets, logs })
}

fn described(topic: &Topic, settings: Vec<Setting>, before: &Sample, after: Option<&Sample>) -> Described {
    let last = after.unwrap_or(before);
    let setting =
        |name: &str| settings.iter().find(|setting| setting.name == name).and_then(|setting| setting.value.as_deref());
    let elapsed = after.map(|after| after.at.duration_since(before.at));
    let row = |partition: &client::Partition| {
        let at = TopicPartition::new(topic.name.as_ref(), partition.index);
        let offsets = last.offsets.get(&at);
        let log = last.logs.get(&at);
        let facts = log.and_then(|log| log.facts);
        let per_s = |count: u64| {
            let millis = u64::try_from(elapsed?.as_millis()).ok().filter(|&millis| 0 < millis)?;
            Some(count.saturating_mul(1000) / millis)
        };
        let (bytes, records) = (appended_bytes(&at, before, last), appended_records(&at, before, last));
        let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.value()).collect();
        PartitionRow {
            partition: partition.index.value(),
            leader: partition.leader.map(NodeId::value),
            leader_epoch: partition.leader_epoch.map(|epoch| epoch.value()),
            replicas: numbers(&partition.replicas),
            in_sync: numbers(&partition.isr),
            offline: numbers(&partition.offline),
            log_start_offset: offsets.map(|(start, _)| start.value()),
            log_end_offset: offsets.map(|(_, end)| end.value()),
            records: offsets.map(|(start, end)| u64::try_from(end.records_since(*start)).unwrap_or(0)),
            size_bytes: log.map(|log| log.bytes),
            recovery_point: facts.map(|facts| facts.recovery_point.value()),
            appended_bytes_per_s: bytes.and_then(per_s),
            appended_records_per_s: records.and_then(per_s),
            next_deletable: facts.map(|facts| next_deletable(&facts, &setting)),
        }
    };
    let partitions: Vec<PartitionRow> = topic.partitions.iter().map(row).collect();
    let named = |name: &str| setting(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let (durability, durability_words) = durability(replication_factor(topic), &setting);
    Described {
        topic: topic.name.to_string(),
        topic_id: topic.id.map(|id| id.to_string()),
        internal: topic.internal,
        owner: named(OWNER),
        note: named(NOTE),
        durability,
        durability_words,
        replication_factor: replication_factor(topic),
        records: partitions.iter().map(|partition| partition.records).sum(),
        size_bytes: partitions.iter().map(|partition| partition.size_bytes).sum(),
        skew: elapsed.map(|elapsed| skew(elapsed, &partitions)),
        partitions,
        settings,
    }
}

fn appended_records(at: &TopicPartition, before: &Sample, after: &Sample) -> Option<u64> {
    u64::try_from(after.offsets.get(at)?.1.records_since(before.offsets.get(at)?.1)).ok()
}

/// Bytes that came between two looks. Only a Ringlog counts them; of other logs it is how much larger they got, which is
/// nothing to go by once something was deleted: the log start has moved, or the log is smaller. `None` too when the log
/// was opened anew meanwhile.
fn appended_bytes(at: &TopicPartition, before: &Sample, after: &Sample) -> Option<u64> {
    let (old, new) = (before.logs.get(at)?, after.logs.get(at)?);
    match (old.facts, new.facts) {
        (Some(old), Some(new)) => new.appended_total_bytes.checked_sub(old.appended_total_bytes),
        _ => {
            let start = |sample: &Sample| Some(sample.offsets.get(at)?.0);
            new.bytes.checked_sub(old.bytes).filter(|_| start(before) == start(after))
        }
    }
}

/// What an ack promises, by the topic's effective settings.
fn durability<'a>(replicas: u64, setting: &dyn Fn(&str) -> Option<&'a str>) -> (&'static str, String) {
    // Kafka writes "never" as the largest long.
    let bound = |name: &str| setting(name)?.parse::<u64>().ok().filter(|&value| value < i64::MAX as u64);
    let acked = match (replicas, setting("min.insync.replicas").unwrap_or("1")) {
        (0 | 1, _) => "acked from the page cache of its only replica: survives kill -9".to_owned(),
        (_, min) => format!("acks=all is answered from the page cache of every replica in sync, at least {min}"),
    };
    match (bound("flush.messages"), bound("flush.ms")) {
        (Some(1), _) => ("durable", "acked after fsync: survives a power cut".to_owned()),
        (None, None) if replicas <= 1 => ("cached", format!("{acked}, not a power cut")),
        (None, None) => ("replicated", acked),
        (records, millis) => {
            let parts = [
                records.map(|records| format!("{} records", units::count(records))),
                millis.map(|millis| units::duration(Duration::from_millis(millis))),
            ];
            let bounds: Vec<String> = parts.into_iter().flatten().collect();
            (
                "interval",
                format!("{acked}; a power cut takes what came after the last fsync, every {}", bounds.join(" or ")),
            )
        }
    }
}

fn next_deletable<'a>(facts: &LogFacts, setting: &dyn Fn(&str) -> Option<&'a str>) -> NextDeletable {
    let next = &facts.next_deletable;
    NextDeletable {
        segment_base_offset: next.segment.map(Offset::value),
        size_bytes: next.bytes,
        at: next.at.map(|at| units::rfc3339(at.millis())),
        until_size_bytes: next.bytes_until_size,
        kept_because: kept_because(next, setting),
    }
}

fn skew(elapsed: Duration, partitions: &[PartitionRow]) -> Skew {
    let of = |values: &dyn Fn(&PartitionRow) -> Option<u64>| {
        let values: Vec<u64> = partitions.iter().map(values).collect::<Option<_>>()?;
        let sum: u128 = values.iter().copied().map(u128::from).sum();
        let max = u128::from(values.iter().copied().max()?);
        (max * 100 * values.len() as u128).checked_div(sum).and_then(|percent| u64::try_from(percent).ok())
    };
    let idle = partitions.iter().filter(|partition| partition.appended_records_per_s == Some(0)).count();
    Skew {
        measured_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        size_percent: of(&|partition| partition.size_bytes),
        appended_percent: of(&|partition| partition.appended_bytes_per_s),
        idle_partitions: idle as u64,
    }
}

impl Answer for TopicDescription {
    const SCHEMA: &'static str = "topic.describe";
    const LINES: &'static str = "topics";

    fn sections(&self, wide: bool) -> Vec<Section> {
        self.topics.iter().flat_map(|topic| topic.sections(wide)).collect()
    }
}

impl Described {
    fn sections(&self, wide: bool) -> Vec<Section> {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let mut facts = vec![
            ("topic", Cell::from(&self.topic)),
            ("id", text(&self.topic_id).into()),
            ("owner", text(&self.owner).into()),
            ("note", text(&self.note).into()),
            ("durability", format!("{}: {}", self.durability, self.durability_words).into()),
            ("partitions", self.partitions.len().to_string().into()),
            ("replicas", self.replication_factor.to_string().into()),
            ("records", self.records.map_or("-".to_owned(), units::count).into()),
            ("size", self.size_bytes.map_or("-".to_owned(), units::bytes).into()),
        ];
        if let Some(skew) = &self.skew {
            facts.push(("skew", skew.words(self.partitions.len()).into()));
        }
        let shown: Vec<Setting> = self.settings.iter().filter(|setting| wide || setting.is_set).cloned().collect();
        let mut sections = vec![Section::facts(facts)];
        if !shown.is_empty() {
            sections.push(settings_section(&shown, false));
        }
        sections.push(self.partitions_section(wide));
        sections.push(self.retention_section());
        sections
    }

    fn partitions_section(&self, wide: bool) -> Section {
        let mut heads = vec!["partition", "leader", "replicas", "in sync", "start", "end", "size"];
        if wide {
            heads.extend(["epoch", "records"]);
        }
        if self.skew.is_some() {
            heads.extend(["bytes/s", "records/s"]);
        }
        let rows = self.partitions.iter().map(|partition| {
            let number = |number: Option<String>| Cell::from(number.unwrap_or_else(|| "-".to_owned()));
            let nodes = |nodes: &[i32]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let in_sync = if partition.in_sync.len() < partition.replicas.len() { Tone::Bad } else { Tone::Plain };
            let leader = match partition.leader {
                Some(leader) => Cell::from(leader.to_string()),
                None => Cell::toned("none", Tone::Bad),
            };
            let mut cells = vec![
                partition.partition.to_string().into(),
                leader,
                nodes(&partition.replicas).into(),
                Cell::toned(nodes(&partition.in_sync), in_sync),
                number(partition.log_start_offset.map(|offset| offset.to_string())),
                number(partition.log_end_offset.map(|offset| offset.to_string())),
                number(partition.size_bytes.map(units::bytes)),
            ];
            if wide {
                cells.push(number(partition.leader_epoch.map(|epoch| epoch.to_string())));
                cells.push(number(partition.records.map(units::count)));
            }
            if self.skew.is_some() {
                cells.push(number(partition.appended_bytes_per_s.map(units::bytes)));
                cells.push(number(partition.appended_records_per_s.map(units::count)));
            }
            cells
        });
        Section::rows(&heads, rows)
    }

    /// What of each partition is safe on disk, and what goes next: long words, so apart from the numbers.
    fn retention_section(&self) -> Section {
        let rows = self.partitions.iter().map(|partition| {
            let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            let next = partition.next_deletable.as_ref();
            vec![
                partition.partition.to_string(),
                known(partition.recovery_point.map(|offset| offset.to_string())),
                known(next.and_then(NextDeletable::words)),
                known(next.map(|next| next.kept_because.clone())),
            ]
        });
        Section::rows(&["partition", "recovery point", "next deletable", "kept because"], rows)
    }
}

impl NextDeletable {
    /// Which segment, and when.
    fn words(&self) -> Option<String> {
        let segment = self.segment_base_offset?;
        let size = units::bytes(self.size_bytes);
        Some(match (&self.at, self.until_size_bytes) {
            (Some(at), _) => format!("from {segment} ({size}) at {at}"),
            (None, Some(bytes)) => format!("from {segment} ({size}) after {} more", units::bytes(bytes)),
            (None, None) => format!("from {segment} ({size})"),
        })
    }
}

impl Skew {
    fn words(&self, partitions: usize) -> String {
        let times = |percent: Option<u64>| match percent {
            Some(percent) => format!("{}.{:02} times the mean", percent / 100, percent % 100),
            None => "not measurable".to_owned(),
        };
        let measured = units::duration(Duration::from_millis(self.measured_ms));
        format!(
            "largest partition {} by size, {} by growth; {} of {partitions} got nothing in {measured}",
            times(self.size_percent),
            times(self.appended_percent),
            self.idle_partitions
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(replicas: u64, settings: &[(&str, &'static str)]) -> (&'static str, String) {
        durability(replicas, &|name| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
    }

    #[test]
    fn durability_says_what_a_power_cut_takes() {
        let never = "9223372036854775807";
        assert_eq!(words(1, &[("flush.messages", "1")]).0, "durable");
        let (mode, text) = words(1, &[("flush.messages", never), ("flush.ms", never)]);
        assert_eq!((mode, text.ends_with("not a power cut")), ("cached", true));
        let (mode, text) = words(3, &[("min.insync.replicas", "2")]);
        assert_eq!((mode, text.ends_with("at least 2")), ("replicated", true));
        let (mode, text) = words(1, &[("flush.messages", "1000"), ("flush.ms", "5000")]);
        assert_eq!((mode, text.ends_with("every 1,000 records or 5 s")), ("interval", true));
    }
}
