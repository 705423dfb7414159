//! Log directories of a node, the logs in them, and what readers have before them there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use types::limits::LOG_DIR_POSITIONS_MAX;
use types::{ErrorCode, NodeId, Offset, PartitionIndex, TopicPartition};
use wire::describe_log_dirs_request::{DescribableLogDirTopic, DescribeLogDirsRequest};
use wire::tags::{LOG_FACTS, LogFacts, ReadPosition, Unread};

use super::Admin;
use crate::error::ClientError;

/// A log directory of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDir {
    /// Its path.
    pub path: String,
    /// Why it is offline, if it is.
    pub error: Option<ErrorCode>,
    /// Size of its file system.
    pub total_bytes: Option<u64>,
    /// What is left of it.
    pub usable_bytes: Option<u64>,
    /// The logs in it.
    pub logs: Vec<Log>,
}

/// A partition's log as a node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Which partition's.
    pub partition: TopicPartition,
    /// How large it is.
    pub bytes: u64,
    /// More than that; `None` from nodes that are no Ringlog.
    pub facts: Option<LogFacts>,
    /// What readers have before them, for each offset asked about; empty from nodes that are no Ringlog.
    pub unread: Vec<Unread>,
}

impl Admin {
    /// The log directories of a node and every log in them.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn log_dirs(&self, node: NodeId) -> Result<Vec<LogDir>, ClientError> {
        self.describe_log_dirs(node, None).await
    }

    /// The logs of some partitions on a node, and what readers that stand at the given offsets have before them. Asks in
    /// as many requests as [`LOG_DIR_POSITIONS_MAX`] needs.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn logs(
        &self,
        node: NodeId,
        positions: &BTreeMap<TopicPartition, BTreeSet<Offset>>,
    ) -> Result<Vec<Log>, ClientError> {
        let mut logs: BTreeMap<TopicPartition, Log> = BTreeMap::new();
        let mut left: Vec<(&TopicPartition, Vec<Offset>)> =
            positions.iter().map(|(partition, offsets)| (partition, offsets.iter().copied().collect())).collect();
        while !left.is_empty() {
            let mut room = LOG_DIR_POSITIONS_MAX;
            let mut asked: BTreeMap<&str, DescribableLogDirTopic<'_>> = BTreeMap::new();
            let mut listed: BTreeMap<&str, Vec<ReadPosition>> = BTreeMap::new();
            while let Some((at, mut offsets)) = left.pop() {
                let later = offsets.split_off(offsets.len().min(room));
                room -= offsets.len();
                let topic = asked.entry(&at.topic).or_insert_with(|| DescribableLogDirTopic {
                    topic: at.topic.as_ref().into(),
                    ..Default::default()
                });
                topic.partitions.push(at.partition.value());
                let stands = offsets.into_iter().map(|offset| ReadPosition { partition: at.partition, offset });
                listed.entry(&at.topic).or_default().extend(stands);
                if !later.is_empty() {
                    left.push((at, later));
                    break;
                }
            }
            let topics = asked.into_iter().map(|(name, mut topic)| {
                ReadPosition::put(&listed.remove(name).unwrap_or_default(), &mut topic.tags);
                topic
            });
            let described = self.describe_log_dirs(node, Some(topics.collect())).await?;
            for log in described.into_iter().flat_map(|directory| directory.logs) {
                match logs.get_mut(&log.partition) {
                    Some(known) => known.unread.extend(log.unread),
                    None => drop(logs.insert(log.partition.clone(), log)),
                }
            }
        }
        Ok(logs.into_values().collect())
    }

    async fn describe_log_dirs(
        &self,
        node: NodeId,
        topics: Option<Vec<DescribableLogDirTopic<'_>>>,
    ) -> Result<Vec<LogDir>, ClientError> {
        let mut request = DescribeLogDirsRequest { topics, ..Default::default() };
        request.tags.push(LOG_FACTS, Bytes::new());
        let response = self.client.node(node).await?.call(&request).await?;
        ClientError::check(response.error_code, None, || format!("describe the log directories of node {node}"))?;
        let bytes = |bytes: i64| u64::try_from(bytes).ok();
        let directories = response.results.iter().map(|directory| LogDir {
            path: directory.log_dir.to_string(),
            error: ErrorCode::from_wire(directory.error_code).filter(|code| !code.is_none()),
            total_bytes: bytes(directory.total_bytes),
            usable_bytes: bytes(directory.usable_bytes),
            logs: directory
                .topics
                .iter()
                .flat_map(|topic| {
                    topic.partitions.iter().filter_map(|each| {
                        let partition = PartitionIndex::from_wire(each.partition_index)?;
                        Some(Log {
                            partition: TopicPartition::new(topic.name.as_ref(), partition),
                            bytes: bytes(each.partition_size)?,
                            facts: LogFacts::find(&each.tags),
                            unread: Unread::find(&each.tags),
                        })
                    })
                })
                .collect(),
        });
        Ok(directories.collect())
    }
}
