//! `ringlog topic`: what there is, made, looked at, changed, deleted.

pub(crate) mod add_partitions;
pub(crate) mod alter;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod list;

use std::collections::{BTreeMap, BTreeSet};

use clap::Subcommand;
use client::{ClientError, OffsetAt, Topic};
use types::{NodeId, Offset, TopicPartition};

use crate::failure::{Code, Failure};
use crate::session::Session;

/// The topic setting that names whom to ask.
pub(crate) const OWNER: &str = broker::config::TOPIC_OWNER;

/// The topic setting with a line about the topic.
pub(crate) const NOTE: &str = "ringlog.note";

/// The commands about topics.
#[derive(Subcommand)]
pub(crate) enum TopicCommand {
    /// Make topics
    Create(create::Create),
    /// The topics there are
    #[command(visible_alias = "ls")]
    List(list::List),
    /// One topic: its owner, durability, settings, partitions, and what retention will delete next
    Describe(describe::Describe),
    /// Change a topic's settings, owner or note
    Alter(alter::Alter),
    /// Delete topics with all their records
    Delete(delete::Delete),
    /// Give a topic more partitions, after saying which order that breaks
    AddPartitions(add_partitions::AddPartitions),
}

impl TopicCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run(),
            Self::List(list) => list.run(),
            Self::Describe(describe) => describe.run(),
            Self::Alter(alter) => alter.run(),
            Self::Delete(delete) => delete.run(),
            Self::AddPartitions(add) => add.run(),
        }
    }
}

/// `NAME=VALUE`, as after `--config`.
pub(crate) fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("NAME=VALUE is meant, such as retention.ms=86400000".to_owned()),
    }
}

/// Each name once, in the order given: what is named twice is one thing.
pub(crate) fn once(names: &[String]) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    names.iter().map(String::as_str).filter(|name| seen.insert(*name)).collect()
}

/// A refusal of a cluster that keeps no owners and notes, in words that say so.
pub(crate) fn explain_ownership(error: ClientError, asked: bool) -> Failure {
    let about_it = |message: &str| message.contains(OWNER) || message.contains(NOTE);
    match &error {
        ClientError::Refused { message: Some(message), .. }
            if asked && message.contains("Unknown") && about_it(message) =>
        {
            let why = format!("{error}. Owners and notes are settings of a Ringlog cluster, and this cluster is none");
            Failure::new(Code::Failed, why).with_next("the same without --owner and --note")
        }
        _ => error.into(),
    }
}

/// Where each partition of `topics` starts and ends. A partition without a leader has neither.
pub(crate) async fn offsets_of(
    session: &Session,
    topics: &[&Topic],
) -> Result<BTreeMap<TopicPartition, (Offset, Offset)>, Failure> {
    let partitions: Vec<TopicPartition> = topics
        .iter()
        .flat_map(|topic| {
            let led = topic.partitions.iter().filter(|partition| partition.leader.is_some());
            led.map(|partition| TopicPartition::new(topic.name.as_ref(), partition.index))
        })
        .collect();
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let starts = session.admin.list_offsets(&partitions, OffsetAt::Earliest).await?;
    let ends = session.admin.list_offsets(&partitions, OffsetAt::Latest).await?;
    let both = partitions.into_iter().filter_map(|at| {
        let found = (starts.get(&at)?.offset, ends.get(&at)?.offset);
        Some((at, found))
    });
    Ok(both.collect())
}

/// The size of each replica of each partition; nodes that do not answer are left out.
pub(crate) async fn sizes(session: &Session) -> Result<BTreeMap<(TopicPartition, NodeId), u64>, Failure> {
    let mut sizes = BTreeMap::new();
    for node in session.client.cluster().await?.nodes {
        for directory in session.admin.log_dirs(node.id).await.unwrap_or_default() {
            sizes.extend(directory.logs.into_iter().map(|log| ((log.partition, node.id), log.bytes)));
        }
    }
    Ok(sizes)
}

/// Bytes of a topic's records, each partition counted once; `None` when the size of one is not known.
pub(crate) fn size_of(topic: &Topic, sizes: &BTreeMap<(TopicPartition, NodeId), u64>) -> Option<u64> {
    let of = |partition: &client::Partition| {
        let at = TopicPartition::new(topic.name.as_ref(), partition.index);
        let node = partition.leader.or_else(|| partition.replicas.first().copied())?;
        sizes.get(&(at, node)).copied()
    };
    topic.partitions.iter().map(of).sum()
}

/// How many replicas the partitions have: of the first, as Kafka says it.
pub(crate) fn replication_factor(topic: &Topic) -> u64 {
    topic.partitions.first().map_or(0, |partition| partition.replicas.len() as u64)
}

#[cfg(test)]
mod tests {
    use types::ErrorCode;

    use super::*;

    #[test]
    fn a_cluster_that_keeps_no_owners_is_told_apart_from_a_wrong_setting() {
        let refused = |message: &str| ClientError::Refused {
            what: "create topic t".to_owned(),
            code: ErrorCode::InvalidConfig.code(),
            message: Some(message.to_owned()),
        };
        let explained = explain_ownership(refused("Unknown topic config name: ringlog.owner"), true).message;
        assert!(explained.contains("this cluster is none\nNext: the same without --owner"), "{explained}");
        let other = explain_ownership(refused("Unknown topic config name: retention.m"), true).message;
        assert!(!other.contains("this cluster is none"), "{other}");
    }

    #[test]
    fn what_is_named_twice_is_one_thing() {
        assert_eq!(once(&["b", "a", "b"].map(str::to_owned)), ["b", "a"]);
    }

    #[test]
    fn settings_have_a_name() {
        assert_eq!(parse_setting("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(parse_setting("a="), Ok(("a".to_owned(), String::new())));
        assert!(parse_setting("=b").is_err() && parse_setting("a").is_err());
    }
}
