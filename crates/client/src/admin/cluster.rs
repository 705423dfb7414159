//! What a cluster says of itself beyond its metadata: nodes that are fenced, the metadata quorum, replicas that may lead.

use std::collections::BTreeMap;

use types::{NodeId, Offset, PartitionIndex, Timestamp, TopicPartition};
use wire::ApiKey;
use wire::describe_cluster_request::DescribeClusterRequest;
use wire::describe_quorum_request::{DescribeQuorumRequest, PartitionData, TopicData};
use wire::describe_quorum_response::ReplicaState;
use wire::describe_topic_partitions_request::{Cursor, DescribeTopicPartitionsRequest, TopicRequest};

use super::Admin;
use crate::error::ClientError;

/// The partition that the metadata quorum replicates.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Partitions asked for at once.
const PARTITIONS_PER_REQUEST: i32 = 2000;

/// A broker as the controller knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterBroker {
    /// Its `node.id`.
    pub id: NodeId,
    /// `host:port` of the listener that the asking connection uses.
    pub address: String,
    /// Its rack.
    pub rack: Option<String>,
    /// Registered, but without leaderships: it starts, stops, or is lost. False from nodes that do not say.
    pub fenced: bool,
}

/// The quorum that keeps the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// Who leads it: the active controller.
    pub leader: Option<NodeId>,
    /// How often the leadership changed.
    pub leader_epoch: i32,
    /// Below it metadata is committed.
    pub high_watermark: Option<Offset>,
    /// Who votes.
    pub voters: Vec<QuorumReplica>,
    /// Who follows without a vote.
    pub observers: Vec<QuorumReplica>,
}

/// A node's copy of the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumReplica {
    /// The node.
    pub id: NodeId,
    /// Where its copy ends.
    pub log_end: Option<Offset>,
    /// When it last fetched; none from nodes that do not say, and of the leader.
    pub last_fetch: Option<Timestamp>,
    /// When it last had everything.
    pub last_caught_up: Option<Timestamp>,
}

/// Replicas that may lead a partition beyond those in sync (KIP-966).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ElectableReplicas {
    /// Out of sync, and known to have all that is committed.
    pub eligible: Vec<NodeId>,
    /// The last that were eligible, when none is any more.
    pub last_known: Vec<NodeId>,
}

impl Admin {
    /// Every broker, fenced ones too where the node tells of them.
    ///
    /// # Errors
    /// No node answers.
    pub async fn cluster_brokers(&self) -> Result<Vec<ClusterBroker>, ClientError> {
        self.client()
            .retry(|| async {
                let connection = self.client().any().await?;
                let version = connection.version(ApiKey::DescribeCluster)?;
                let request = DescribeClusterRequest { include_fenced_brokers: 2 <= version, ..Default::default() };
                let response = connection.send(&request, version).await?.response().await?;
                let message = response.error_message.as_deref();
                ClientError::check(response.error_code, message, || "describe the cluster".to_owned())?;
                let mut brokers: Vec<ClusterBroker> = response
                    .brokers
                    .iter()
                    .filter_map(|broker| {
                        let host = &broker.host;
                        let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
                        Some(ClusterBroker {
                            id: NodeId::from_wire(broker.broker_id)?,
                            address: format!("{host}:{}", broker.port),
                            rack: broker.rack.as_deref().map(str::to_owned),
                            fenced: broker.is_fenced,
                        })
                    })
                    .collect();
                brokers.sort_by_key(|broker| broker.id);
                Ok(brokers)
            })
            .await
    }

    /// The metadata quorum.
    ///
    /// # Errors
    /// The controller does not answer, or keeps no such quorum.
    pub async fn quorum(&self) -> Result<Quorum, ClientError> {
        let what = || "describe the metadata quorum".to_owned();
        let partition = PartitionData { partition_index: 0, ..Default::default() };
        let topic = TopicData { topic_name: METADATA_TOPIC.into(), partitions: vec![partition], ..Default::default() };
        let request = &DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
        let response = self.client().retry(|| async { self.client().any().await?.call(request).await }).await?;
        ClientError::check(response.error_code, response.error_message.as_deref(), what)?;
        let partition = response.topics.iter().flat_map(|topic| &topic.partitions).next();
        let Some(partition) = partition else {
            return Err(ClientError::Usage("the node describes no metadata quorum".to_owned()));
        };
        ClientError::check(partition.error_code, partition.error_message.as_deref(), what)?;
        Ok(Quorum {
            leader: NodeId::from_wire(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            high_watermark: Offset::from_wire(partition.high_watermark),
            voters: partition.current_voters.iter().filter_map(quorum_replica).collect(),
            observers: partition.observers.iter().filter_map(quorum_replica).collect(),
        })
    }

    /// Which replicas may lead the partitions of `topics` beyond those in sync; `None` from nodes that do not say. Topics
    /// that do not exist are left out.
    ///
    /// # Errors
    /// No node answers.
    pub async fn electable_replicas(
        &self,
        topics: &[&str],
    ) -> Result<Option<BTreeMap<TopicPartition, ElectableReplicas>>, ClientError> {
        let connection = self.client().any().await?;
        if connection.version(ApiKey::DescribeTopicPartitions).is_err() {
            return Ok(None);
        }
        let mut found = BTreeMap::new();
        let mut cursor = None;
        loop {
            let named = topics.iter().map(|&name| TopicRequest { name: name.into(), ..Default::default() });
            let request = DescribeTopicPartitionsRequest {
                topics: named.collect(),
                response_partition_limit: PARTITIONS_PER_REQUEST,
                cursor: cursor.take(),
                ..Default::default()
            };
            let response = connection.call(&request).await?;
            let known = found.len();
            for topic in &response.topics {
                let Some(name) = topic.name.as_deref() else { continue };
                for partition in &topic.partitions {
                    let nodes =
                        |ids: &Option<Vec<i32>>| ids.iter().flatten().filter_map(|&id| NodeId::from_wire(id)).collect();
                    if let Some(index) = PartitionIndex::from_wire(partition.partition_index) {
                        let eligible = nodes(&partition.eligible_leader_replicas);
                        let last_known = nodes(&partition.last_known_elr);
                        found.insert(TopicPartition::new(name, index), ElectableReplicas { eligible, last_known });
                    }
                }
            }
            match response.next_cursor {
                // A page without anything new would be asked for again and again.
                Some(next) if known < found.len() => {
                    let (topic_name, partition_index) = (next.topic_name.into_owned().into(), next.partition_index);
                    cursor = Some(Cursor { topic_name, partition_index, ..Default::default() });
                }
                _ => return Ok(Some(found)),
            }
        }
    }
}

fn quorum_replica(state: &ReplicaState) -> Option<QuorumReplica> {
    let time = |millis: i64| (0 <= millis).then(|| Timestamp::from_millis(millis));
    Some(QuorumReplica {
        id: NodeId::from_wire(state.replica_id)?,
        log_end: Offset::from_wire(state.log_end_offset),
        last_fetch: time(state.last_fetch_timestamp),
        last_caught_up: time(state.last_caught_up_timestamp),
    })
}
