//! Records of a log: at which offset a place or a time lies, and deleting those before an offset.

use std::collections::BTreeMap;

use types::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicPartition};
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};

use super::{Admin, CHANGE_TIMEOUT_MS, by_topic};
use crate::consumer::Isolation;
use crate::error::ClientError;

/// Timestamps below zero that ask ListOffsets for a place instead of a time.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// A place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetAt {
    /// The oldest record kept.
    Earliest,
    /// After the newest record.
    Latest,
    /// The first record at or after this time.
    Time(Timestamp),
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The oldest record kept on the node's own disk.
    EarliestLocal,
    /// The newest record in remote storage.
    LatestTiered,
    /// The oldest record that is not in remote storage yet.
    EarliestPendingUpload,
}

/// What was found at an [`OffsetAt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: Offset,
    /// The time of the record there, where one was looked up.
    pub timestamp: Option<Timestamp>,
    /// The epoch in which it was written.
    pub leader_epoch: Option<LeaderEpoch>,
}

impl Admin {
    /// Looks up a place in each of `partitions`; what has none (no record that late, an empty log) is left out.
    ///
    /// # Errors
    /// A partition does not exist, or its leader does not answer.
    pub async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        at: OffsetAt,
    ) -> Result<BTreeMap<TopicPartition, FoundOffset>, ClientError> {
        self.list_offsets_as(partitions, at, Isolation::ReadUncommitted).await
    }

    /// As [`Admin::list_offsets`], as a reader of that isolation sees them: for it the end of a log is the last stable
    /// offset.
    ///
    /// # Errors
    /// As [`Admin::list_offsets`].
    pub async fn list_offsets_as(
        &self,
        partitions: &[TopicPartition],
        at: OffsetAt,
        isolation: Isolation,
    ) -> Result<BTreeMap<TopicPartition, FoundOffset>, ClientError> {
        let timestamp = match at {
            OffsetAt::Earliest => EARLIEST,
            OffsetAt::Latest => LATEST,
            OffsetAt::MaxTimestamp => MAX_TIMESTAMP,
            OffsetAt::EarliestLocal => EARLIEST_LOCAL,
            OffsetAt::LatestTiered => LATEST_TIERED,
            OffsetAt::EarliestPendingUpload => EARLIEST_PENDING_UPLOAD,
            OffsetAt::Time(time) => time.millis().max(0),
        };
        self.client
            .retry(|| async {
                let mut found = BTreeMap::new();
                for (leader, partitions) in self.by_leader(partitions).await? {
                    let topics = by_topic(&partitions).into_iter().map(|(name, indexes)| ListOffsetsTopic {
                        name: name.into(),
                        partitions: indexes
                            .into_iter()
                            .map(|partition_index| ListOffsetsPartition {
                                partition_index,
                                timestamp,
                                ..Default::default()
                            })
                            .collect(),
                        ..Default::default()
                    });
                    let request = ListOffsetsRequest {
                        replica_id: -1,
                        isolation_level: i8::from(isolation == Isolation::ReadCommitted),
                        topics: topics.collect(),
                        ..Default::default()
                    };
                    let response = self.client.node(leader).await?.call(&request).await?;
                    for topic in &response.topics {
                        for each in &topic.partitions {
                            let what = || format!("look up an offset of {}-{}", topic.name, each.partition_index);
                            self.check_partition(each.error_code, &topic.name, what)?;
                            let Some(partition) = PartitionIndex::from_wire(each.partition_index) else { continue };
                            if let Some(offset) = Offset::from_wire(each.offset) {
                                let timestamp = (0 <= each.timestamp).then(|| Timestamp::from_millis(each.timestamp));
                                let leader_epoch = LeaderEpoch::from_wire(each.leader_epoch);
                                let at = TopicPartition::new(topic.name.as_ref(), partition);
                                found.insert(at, FoundOffset { offset, timestamp, leader_epoch });
                            }
                        }
                    }
                }
                Ok(found)
            })
            .await
    }

    /// Deletes the records before an offset in each partition (`None`: all there are); returns where the logs start now.
    ///
    /// # Errors
    /// An offset lies beyond the end, or the topic's policy forbids it.
    pub async fn delete_records(
        &self,
        before: &BTreeMap<TopicPartition, Option<Offset>>,
    ) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
        let partitions: Vec<TopicPartition> = before.keys().cloned().collect();
        self.client
            .retry(|| async {
                let mut starts = BTreeMap::new();
                for (leader, partitions) in self.by_leader(&partitions).await? {
                    let mut topics: Vec<DeleteRecordsTopic<'_>> = Vec::new();
                    for at in &partitions {
                        let offset = before.get(at).copied().flatten().map_or(LATEST, Offset::value);
                        let partition_index = at.partition.value();
                        topics.push(DeleteRecordsTopic {
                            name: at.topic.as_ref().into(),
                            partitions: vec![DeleteRecordsPartition { partition_index, offset, ..Default::default() }],
                            ..Default::default()
                        });
                    }
                    let request = DeleteRecordsRequest { topics, timeout_ms: CHANGE_TIMEOUT_MS, ..Default::default() };
                    let response = self.client.node(leader).await?.call(&request).await?;
                    for topic in &response.topics {
                        for each in &topic.partitions {
                            let what = || format!("delete records of {}-{}", topic.name, each.partition_index);
                            self.check_partition(each.error_code, &topic.name, what)?;
                            let partition = PartitionIndex::from_wire(each.partition_index);
                            if let (Some(partition), Some(start)) = (partition, Offset::from_wire(each.low_watermark)) {
                                starts.insert(TopicPartition::new(topic.name.as_ref(), partition), start);
                            }
                        }
                    }
                }
                Ok(starts)
            })
            .await
    }

    /// Fails for an error of one partition; a leader that has moved is looked up again by the next try.
    fn check_partition(&self, code: i16, topic: &str, what: impl FnOnce() -> String) -> Result<(), ClientError> {
        let outcome = ClientError::check(code, None, what);
        if outcome.is_err() {
            self.client.forget_topic(topic);
        }
        outcome
    }
}
