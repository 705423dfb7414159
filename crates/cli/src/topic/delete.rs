//! `ringlog topic delete`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use client::Topic;
use schemars::JsonSchema;
use serde::Serialize;
use types::ErrorCode;

use super::{offsets_of, once, size_of, sizes};
use crate::failure::Failure;
use crate::live_names;
use crate::output::{Answer, Cell, Format, Section, print};
use crate::session::{Connect, Consent, Session};
use crate::units;

const AFTER_HELP: &str = "\
Examples:
  ringlog topic delete clicks --dry-run     what would be lost
  ringlog topic delete clicks --yes         without asking, for scripts
  ringlog topic delete old-1 old-2 --if-exists --yes";

/// The arguments of `topic delete`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Delete {
    /// Their names
    #[arg(required = true, value_name = "TOPIC", add = ArgValueCompleter::new(live_names::topics))]
    topics: Vec<String>,
    /// Pass over topics that do not exist
    #[arg(long)]
    if_exists: bool,
    /// Say how many records would be lost and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Wait until nobody sees them any more
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// Topics that were deleted, or would be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TopicDeletion {
    /// Whether nothing was deleted because that was asked for.
    dry_run: bool,
    /// Of all of them together.
    records: u64,
    /// Of all of them together, each partition counted once.
    size_bytes: u64,
    topics: Vec<Deleted>,
}

#[derive(Clone, Serialize, JsonSchema)]
struct Deleted {
    topic: String,
    partitions: u64,
    /// Offsets between the start and the end of its logs: how many records there are at the most. Compaction and
    /// transactions leave fewer. Null when a partition cannot be asked.
    records: Option<u64>,
    /// Null when a node did not say.
    size_bytes: Option<u64>,
    /// `deleted`, `would be deleted`, or `does not exist` (with `--if-exists`).
    outcome: &'static str,
}

impl Answer for TopicDeletion {
    const SCHEMA: &'static str = "topic.delete";
    const LINES: &'static str = "topics";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let rows = self.topics.iter().map(|topic| {
            vec![
                Cell::from(&topic.topic),
                topic.partitions.to_string().into(),
                topic.records.map_or("-".to_owned(), units::count).into(),
                topic.size_bytes.map_or("-".to_owned(), units::bytes).into(),
                topic.outcome.into(),
            ]
        });
        vec![Section::rows(&["topic", "partitions", "records", "size", "outcome"], rows)]
    }
}

impl TopicDeletion {
    fn of(dry_run: bool, topics: Vec<Deleted>) -> Self {
        let there = topics.iter().filter(|topic| topic.outcome != GONE);
        let (records, size_bytes) = there.fold((0, 0), |(records, bytes), topic| {
            (records + topic.records.unwrap_or(0), bytes + topic.size_bytes.unwrap_or(0))
        });
        Self { dry_run, records, size_bytes, topics }
    }
}

const GONE: &str = "does not exist";

impl Delete {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.connect.run(async |session| {
            let mut found = Vec::new();
            let names = once(&self.topics);
            for name in &names {
                match session.client.topic_now(name, false).await {
                    Ok(topic) => found.push(topic),
                    Err(error) if self.if_exists && error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let planned = TopicDeletion::of(self.dry_run, plan(&session, &names, &found).await?);
            if self.dry_run {
                return print(&planned, self.format.output);
            }
            if !found.is_empty() {
                self.consent.ask(&question(&planned))?;
            }
            self.delete(&session, planned).await
        })
    }

    async fn delete(&self, session: &Session, planned: TopicDeletion) -> Result<(), Failure> {
        let mut done = Vec::new();
        let mut failures = Vec::new();
        for planned in &planned.topics {
            if planned.outcome == GONE {
                done.push(planned.clone());
                continue;
            }
            match session.admin.delete_topic(&planned.topic).await {
                Ok(()) => done.push(Deleted { outcome: "deleted", ..planned.clone() }),
                Err(error) if self.if_exists && error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                    done.push(Deleted { outcome: GONE, ..planned.clone() });
                }
                Err(error) => failures.push(Failure::from(error)),
            }
        }
        if self.wait {
            for topic in done.iter().filter(|topic| topic.outcome != GONE) {
                let what = format!("{} is gone", topic.topic);
                session
                    .wait_until(&what, async || match session.client.topic_now(&topic.topic, false).await {
                        Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => Ok(true),
                        other => other.map(|_| false),
                    })
                    .await?;
            }
        }
        if !done.is_empty() {
            print(&TopicDeletion::of(false, done), self.format.output)?;
        }
        Failure::of_many("delete topics", planned.topics.len(), failures)
    }
}

/// What is there of each name.
async fn plan(session: &Session, names: &[&str], found: &[std::sync::Arc<Topic>]) -> Result<Vec<Deleted>, Failure> {
    let topics: Vec<&Topic> = found.iter().map(|topic| topic.as_ref()).collect();
    let offsets = offsets_of(session, &topics).await?;
    let bytes = if topics.is_empty() { Default::default() } else { sizes(session).await? };
    let planned = names.iter().map(|&name| {
        let Some(topic) = topics.iter().find(|topic| topic.name.as_ref() == name) else {
            let topic = name.to_owned();
            return Deleted { topic, partitions: 0, records: None, size_bytes: None, outcome: GONE };
        };
        let of_topic: Vec<u64> = offsets
            .iter()
            .filter(|(at, _)| at.topic.as_ref() == name)
            .map(|(_, (start, end))| u64::try_from(end.records_since(*start)).unwrap_or(0))
            .collect();
        Deleted {
            topic: name.to_owned(),
            partitions: topic.partitions.len() as u64,
            records: (of_topic.len() == topic.partitions.len()).then(|| of_topic.iter().sum()),
            size_bytes: size_of(topic, &bytes),
            outcome: "would be deleted",
        }
    });
    Ok(planned.collect())
}

fn question(planned: &TopicDeletion) -> String {
    let there: Vec<&str> =
        planned.topics.iter().filter(|topic| topic.outcome != GONE).map(|topic| topic.topic.as_str()).collect();
    let what = match there.as_slice() {
        [one] => format!("topic {one}"),
        many => format!("{} topics ({})", many.len(), many.join(", ")),
    };
    let (records, size) = (units::count(planned.records), units::bytes(planned.size_bytes));
    let known = |topic: &Deleted| topic.records.is_some() && topic.size_bytes.is_some();
    if planned.topics.iter().filter(|topic| topic.outcome != GONE).all(known) {
        return format!("This deletes {what} with {records} records ({size}) for good.");
    }
    format!(
        "This deletes {what} with {records} records ({size}) or more for good: not every partition could be asked what it holds."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_counted_as_nothing() {
        let deleted = |records, outcome| Deleted {
            topic: "orders".to_owned(),
            partitions: 1,
            records,
            size_bytes: records.map(|_| 2048),
            outcome,
        };
        let question = |topics| question(&TopicDeletion::of(false, topics));
        let known = deleted(Some(7), "would be deleted");
        assert_eq!(
            question(vec![known.clone(), deleted(None, GONE)]),
            "This deletes topic orders with 7 records (2.0 KiB) for good."
        );
        assert!(question(vec![known, deleted(None, "would be deleted")]).contains("7 records (2.0 KiB) or more"));
    }
}
