//! `ringlog topic create`.

use std::collections::BTreeMap;

use clap::Args;
use client::NewTopic;
use schemars::JsonSchema;
use serde::Serialize;
use types::{ErrorCode, NodeId, PartitionIndex};

use super::{NOTE, OWNER, explain_ownership, once, parse_setting, replication_factor};
use crate::failure::Failure;
use crate::output::{Answer, Cell, Format, Section, Tone, print};
use crate::session::{Connect, Session};

const AFTER_HELP: &str = "\
Examples:
  ringlog topic create orders -p 6                                    six partitions, replicas as the cluster has it
  ringlog topic create clicks -p 3 -c retention.ms=3600000 --dry-run  checked, not made
  ringlog topic create invoices --owner billing --note 'one record an invoice' --if-not-exists";

/// The arguments of `topic create`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Create {
    /// Their names
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// How many partitions [default: num.partitions of the cluster]
    #[arg(short, long, value_name = "COUNT")]
    partitions: Option<i32>,
    /// How many replicas of each [default: default.replication.factor of the cluster]
    #[arg(short, long, visible_alias = "replication-factor", value_name = "COUNT")]
    replicas: Option<i16>,
    /// Which nodes hold which partition instead, such as 1:2,2:3 for two partitions of two replicas
    #[arg(long, value_name = "NODES", value_parser = parse_assignment, conflicts_with_all = ["partitions", "replicas"])]
    replica_assignment: Option<Assignment>,
    /// A setting of the topic. May be given many times
    #[arg(short, long = "config", value_name = "NAME=VALUE", value_parser = parse_setting)]
    configs: Vec<(String, String)>,
    /// The team or person to ask about it (setting ringlog.owner)
    #[arg(long, value_name = "TEAM")]
    owner: Option<String>,
    /// A line about it: what it holds, who reads it (setting ringlog.note)
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Leave a topic that exists as it is
    #[arg(long)]
    if_not_exists: bool,
    /// Have the cluster check everything and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Wait until every partition has a leader
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// The nodes of each partition.
pub(crate) type Assignment = BTreeMap<PartitionIndex, Vec<NodeId>>;

/// Topics that were made, or would be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TopicCreation {
    /// Whether nothing was made because that was asked for.
    dry_run: bool,
    topics: Vec<Created>,
}

#[derive(Serialize, JsonSchema)]
struct Created {
    topic: String,
    /// Null in a dry run.
    topic_id: Option<String>,
    /// Null from clusters that do not say.
    partitions: Option<i32>,
    /// Null from clusters that do not say.
    replication_factor: Option<u64>,
    /// `created`, `would be created`, or `exists` (with `--if-not-exists`).
    outcome: &'static str,
}

impl Answer for TopicCreation {
    const SCHEMA: &'static str = "topic.create";
    const LINES: &'static str = "topics";

    fn sections(&self, wide: bool) -> Vec<Section> {
        let mut heads = vec!["topic", "partitions", "replicas", "outcome"];
        heads.extend(wide.then_some("id"));
        let rows = self.topics.iter().map(|topic| {
            let number = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
            let tone = if topic.outcome == "created" { Tone::Good } else { Tone::Plain };
            let mut cells = vec![
                Cell::from(&topic.topic),
                number(topic.partitions.map(|count| count.to_string())).into(),
                number(topic.replication_factor.map(|count| count.to_string())).into(),
                Cell::toned(topic.outcome, tone),
            ];
            cells.extend(wide.then(|| number(topic.topic_id.clone()).into()));
            cells
        });
        vec![Section::rows(&heads, rows)]
    }
}

impl Create {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.connect.run(async |session| {
            let mut answer = TopicCreation { dry_run: self.dry_run, topics: Vec::new() };
            let mut failures = Vec::new();
            let names = once(&self.topics);
            for name in &names {
                match self.create(&session, name).await {
                    Ok(created) => answer.topics.push(created),
                    Err(failure) => failures.push(failure),
                }
            }
            if !answer.topics.is_empty() {
                print(&answer, self.format.output)?;
            }
            Failure::of_many("create topics", names.len(), failures)
        })
    }

    async fn create(&self, session: &Session, name: &str) -> Result<Created, Failure> {
        let mut configs: BTreeMap<String, String> = self.configs.iter().cloned().collect();
        configs.extend(self.owner.iter().map(|owner| (OWNER.to_owned(), owner.clone())));
        configs.extend(self.note.iter().map(|note| (NOTE.to_owned(), note.clone())));
        let new = NewTopic {
            name: name.to_owned(),
            partitions: self.partitions,
            replication_factor: self.replicas,
            assignment: self.replica_assignment.clone().unwrap_or_default(),
            configs,
        };
        match session.admin.create_topic(&new, self.dry_run).await {
            Ok(created) => {
                if self.wait {
                    self.wait(session, name).await?;
                }
                Ok(Created {
                    topic: name.to_owned(),
                    topic_id: created.id.filter(|_| !self.dry_run).map(|id| id.to_string()),
                    partitions: created.partitions,
                    replication_factor: created.replication_factor.and_then(|factor| factor.try_into().ok()),
                    outcome: if self.dry_run { "would be created" } else { "created" },
                })
            }
            Err(error) if self.if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => {
                let topic = session.client.topic_now(name, false).await?;
                Ok(Created {
                    topic: name.to_owned(),
                    topic_id: topic.id.map(|id| id.to_string()),
                    partitions: i32::try_from(topic.partitions.len()).ok(),
                    replication_factor: Some(replication_factor(&topic)),
                    outcome: "exists",
                })
            }
            Err(error) => {
                let policy = error.code() == Some(ErrorCode::PolicyViolation) && self.owner.is_none();
                let failure = explain_ownership(error, self.owner.is_some() || self.note.is_some());
                let asks_owner = policy && failure.message.contains(OWNER);
                Err(if asks_owner { failure.with_next("the same with --owner TEAM") } else { failure })
            }
        }
    }

    async fn wait(&self, session: &Session, name: &str) -> Result<(), Failure> {
        let what = format!("every partition of {name} has a leader");
        session
            .wait_until(&what, async || {
                let topic = session.client.topic_now(name, false).await?;
                Ok(topic.partitions.iter().all(|partition| partition.leader.is_some()))
            })
            .await
    }
}

/// `1:2,2:3`: of partition 0 and of partition 1, the preferred leader first.
pub(crate) fn parse_assignment(text: &str) -> Result<Assignment, String> {
    let node = |text: &str| text.trim().parse().ok().and_then(NodeId::from_wire);
    let mut assignment = Assignment::new();
    for (index, nodes) in text.split(',').enumerate() {
        let nodes: Option<Vec<NodeId>> = nodes.split(':').map(node).collect();
        let index = i32::try_from(index).ok().and_then(PartitionIndex::from_wire);
        match (index, nodes) {
            (Some(index), Some(nodes)) => drop(assignment.insert(index, nodes)),
            _ => return Err("numbers of nodes are meant, : between replicas and , between partitions".to_owned()),
        }
    }
    if assignment.values().any(|nodes| nodes.len() != assignment.values().next().map_or(0, Vec::len)) {
        return Err("every partition must have the same number of replicas".to_owned());
    }
    Ok(assignment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_as_kafka_topics_reads_them() {
        let read = |text: &str| {
            let nodes = parse_assignment(text)?.into_values();
            Ok::<_, String>(
                nodes.map(|nodes| nodes.iter().map(|node| node.value()).collect()).collect::<Vec<Vec<i32>>>(),
            )
        };
        assert_eq!(read("1"), Ok(vec![vec![1]]));
        assert_eq!(read("1:2,2:3"), Ok(vec![vec![1, 2], vec![2, 3]]));
        for wrong in ["", "1:2,3", "a", "1:,2", "-1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
