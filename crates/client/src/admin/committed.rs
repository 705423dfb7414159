//! What groups have committed: reading, setting and forgetting it.

use std::collections::BTreeMap;

use types::{LeaderEpoch, Offset, PartitionIndex, TopicPartition};
use wire::ApiKey;
use wire::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_delete_request::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};

use super::{Admin, by_topic};
use crate::error::ClientError;

/// OffsetCommit and OffsetFetch name topics by id from version 10 on; names serve every topic, ids only living ones.
pub(super) const OFFSETS_VERSION_MAX: i16 = 9;

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// The epoch of the record before it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The group's own words.
    pub metadata: String,
}

impl Admin {
    /// What a group has committed, for `partitions` or (`None`) for all it ever committed.
    ///
    /// # Errors
    /// The group's coordinator does not answer or refuses.
    pub async fn group_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        let wanted = &partitions.map(by_topic);
        let what = || format!("read the offsets of group {group}");
        self.at_coordinator(group, |connection| async move {
            let version = connection.version(ApiKey::OffsetFetch)?.min(OFFSETS_VERSION_MAX);
            let mut found = BTreeMap::new();
            let mut add = |topic: &str, partition: i32, offset: i64, epoch: i32, metadata: Option<&str>, code: i16| {
                ClientError::check(code, None, what)?;
                if let (Some(partition), Some(offset)) =
                    (PartitionIndex::from_wire(partition), Offset::from_wire(offset))
                {
                    let leader_epoch = LeaderEpoch::from_wire(epoch);
                    let metadata = metadata.unwrap_or_default().to_owned();
                    let committed = CommittedOffset { offset, leader_epoch, metadata };
                    found.insert(TopicPartition::new(topic, partition), committed);
                }
                Ok::<(), ClientError>(())
            };
            if version < 8 {
                let topics = wanted.as_ref().map(|topics| {
                    let topics = topics.iter().map(|(name, indexes)| OffsetFetchRequestTopic {
                        name: (*name).into(),
                        partition_indexes: indexes.clone(),
                        ..Default::default()
                    });
                    topics.collect()
                });
                let request = OffsetFetchRequest { group_id: group.into(), topics, ..Default::default() };
                let response = connection.send(&request, version).await?.response().await?;
                ClientError::check(response.error_code, None, what)?;
                for topic in &response.topics {
                    for each in &topic.partitions {
                        let metadata = each.metadata.as_deref();
                        add(
                            &topic.name,
                            each.partition_index,
                            each.committed_offset,
                            each.committed_leader_epoch,
                            metadata,
                            each.error_code,
                        )?;
                    }
                }
            } else {
                let topics = wanted.as_ref().map(|topics| {
                    let topics = topics.iter().map(|(name, indexes)| OffsetFetchRequestTopics {
                        name: (*name).into(),
                        partition_indexes: indexes.clone(),
                        ..Default::default()
                    });
                    topics.collect()
                });
                let asked = OffsetFetchRequestGroup { group_id: group.into(), topics, ..Default::default() };
                let request = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
                let response = connection.send(&request, version).await?.response().await?;
                for answered in &response.groups {
                    ClientError::check(answered.error_code, None, what)?;
                    for topic in &answered.topics {
                        for each in &topic.partitions {
                            let metadata = each.metadata.as_deref();
                            add(
                                &topic.name,
                                each.partition_index,
                                each.committed_offset,
                                each.committed_leader_epoch,
                                metadata,
                                each.error_code,
                            )?;
                        }
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    /// Sets what a group without members has committed.
    ///
    /// # Errors
    /// The group has members, or a partition does not exist.
    pub async fn set_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), ClientError> {
        let committed = offsets.iter().map(|(partition, offset)| (partition.clone(), *offset));
        self.commit(group, None, committed.collect()).await
    }

    /// Commits on behalf of a member (`id`, generation, instance id), or of nobody.
    pub(crate) async fn commit(
        &self,
        group: &str,
        member: Option<(&str, i32, Option<&str>)>,
        offsets: BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), ClientError> {
        let mut topics: Vec<OffsetCommitRequestTopic<'_>> = Vec::new();
        for (at, offset) in &offsets {
            let partition = OffsetCommitRequestPartition {
                partition_index: at.partition.value(),
                committed_offset: offset.value(),
                ..Default::default()
            };
            match topics.last_mut() {
                Some(topic) if topic.name == at.topic.as_ref() => topic.partitions.push(partition),
                _ => topics.push(OffsetCommitRequestTopic {
                    name: at.topic.as_ref().into(),
                    partitions: vec![partition],
                    ..Default::default()
                }),
            }
        }
        let mut request = OffsetCommitRequest { group_id: group.into(), topics, ..Default::default() };
        if let Some((id, generation, instance)) = member {
            request.member_id = id.into();
            request.generation_id_or_member_epoch = generation;
            request.group_instance_id = instance.map(|instance| instance.into());
        }
        let (what, request) = (|| format!("commit offsets of group {group}"), &request);
        self.at_coordinator(group, |connection| async move {
            let version = connection.version(ApiKey::OffsetCommit)?.min(OFFSETS_VERSION_MAX);
            let response = connection.send(request, version).await?.response().await?;
            for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
                ClientError::check(partition.error_code, None, what)?;
            }
            Ok(())
        })
        .await
    }

    /// Forgets what a group has committed for some partitions.
    ///
    /// # Errors
    /// The group is subscribed to one of the topics.
    pub async fn delete_group_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        let topics = by_topic(partitions).into_iter().map(|(name, indexes)| OffsetDeleteRequestTopic {
            name: name.into(),
            partitions: indexes
                .into_iter()
                .map(|partition_index| OffsetDeleteRequestPartition { partition_index })
                .collect(),
        });
        let request = &OffsetDeleteRequest { group_id: group.into(), topics: topics.collect() };
        let what = || format!("delete offsets of group {group}");
        self.at_coordinator(group, |connection| async move {
            let response = connection.call(request).await?;
            ClientError::check(response.error_code, None, what)?;
            for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
                ClientError::check(partition.error_code, None, what)?;
            }
            Ok(())
        })
        .await
    }
}
