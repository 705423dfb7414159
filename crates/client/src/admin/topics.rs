//! Topics: creating and deleting them, and giving them more partitions.

use std::collections::BTreeMap;

use types::{NodeId, PartitionIndex, TopicId};
use wire::ApiKey;
use wire::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic};
use wire::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use wire::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};

use super::{Admin, CHANGE_TIMEOUT_MS, controller_moved};
use crate::error::ClientError;

/// What `-1` means on the wire for counts that the node's own configuration decides.
const NODE_DECIDES: i32 = -1;

/// A topic to be created.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None`: `num.partitions` of the node.
    pub partitions: Option<i32>,
    /// How many replicas of each; `None`: `default.replication.factor` of the node.
    pub replication_factor: Option<i16>,
    /// Who holds each partition, the preferred leader first; empty: the cluster decides.
    pub assignment: BTreeMap<PartitionIndex, Vec<NodeId>>,
    /// Settings by Kafka's names.
    pub configs: BTreeMap<String, String>,
}

/// A topic that was created, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreatedTopic {
    /// Its id, where the node tells it.
    pub id: Option<TopicId>,
    /// How many partitions it has, where the node tells it.
    pub partitions: Option<i32>,
    /// How many replicas each has, where the node tells it.
    pub replication_factor: Option<i16>,
}

impl Admin {
    /// Creates a topic. `validate_only` checks and changes nothing.
    ///
    /// # Errors
    /// The name is taken or not allowed, the settings are wrong, too few nodes for the replicas.
    pub async fn create_topic(&self, topic: &NewTopic, validate_only: bool) -> Result<CreatedTopic, ClientError> {
        let assignments: Vec<_> = topic
            .assignment
            .iter()
            .map(|(index, nodes)| CreatableReplicaAssignment {
                partition_index: index.value(),
                broker_ids: nodes.iter().map(|node| node.value()).collect(),
                ..Default::default()
            })
            .collect();
        let configs = topic.configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: name.into(),
            value: Some(value.into()),
            ..Default::default()
        });
        let assigned = !assignments.is_empty();
        let request = &CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: (&topic.name).into(),
                num_partitions: if assigned { NODE_DECIDES } else { topic.partitions.unwrap_or(NODE_DECIDES) },
                replication_factor: match topic.replication_factor {
                    Some(factor) if !assigned => factor,
                    _ => NODE_DECIDES as i16,
                },
                assignments,
                configs: configs.collect(),
                ..Default::default()
            }],
            timeout_ms: CHANGE_TIMEOUT_MS,
            validate_only,
            ..Default::default()
        };
        let what = || format!("create topic {}", topic.name);
        let response = self
            .at_controller(|connection| async move {
                let response = connection.call(request).await?;
                controller_moved(response.topics.first().map(|topic| topic.error_code), what)?;
                Ok(response)
            })
            .await?;
        let Some(result) = response.topics.first() else { return Ok(CreatedTopic::default()) };
        ClientError::check(result.error_code, result.error_message.as_deref(), what)?;
        self.client.forget_topic(&topic.name);
        Ok(CreatedTopic {
            id: (!result.topic_id.is_zero()).then_some(result.topic_id),
            partitions: Some(result.num_partitions).filter(|&count| 0 < count),
            replication_factor: Some(result.replication_factor).filter(|&factor| 0 < factor),
        })
    }

    /// Deletes a topic and its records.
    ///
    /// # Errors
    /// There is no such topic, or deletion is switched off.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let what = || format!("delete topic {name}");
        let response = self
            .at_controller(|connection| async move {
                let version = connection.version(ApiKey::DeleteTopics)?;
                let mut request = DeleteTopicsRequest { timeout_ms: CHANGE_TIMEOUT_MS, ..Default::default() };
                if version < 6 {
                    request.topic_names = vec![name.into()];
                } else {
                    request.topics = vec![DeleteTopicState { name: Some(name.into()), ..Default::default() }];
                }
                let response = connection.send(&request, version).await?.response().await?;
                controller_moved(response.responses.first().map(|topic| topic.error_code), what)?;
                Ok(response)
            })
            .await?;
        self.client.forget_topic(name);
        match response.responses.first() {
            Some(result) => ClientError::check(result.error_code, result.error_message.as_deref(), what),
            None => Ok(()),
        }
    }

    /// Raises the number of a topic's partitions to `count`.
    ///
    /// # Errors
    /// There is no such topic, or it has as many already.
    pub async fn create_partitions(&self, topic: &str, count: i32, validate_only: bool) -> Result<(), ClientError> {
        self.create_partitions_at(topic, count, None, validate_only).await
    }

    /// Raises the number of a topic's partitions to `count` and says which nodes hold each new one, the preferred leader
    /// first; `None`: the cluster decides.
    ///
    /// # Errors
    /// As [`Admin::create_partitions`], and for nodes that do not exist.
    pub async fn create_partitions_at(
        &self,
        topic: &str,
        count: i32,
        assignment: Option<&[Vec<NodeId>]>,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let assigned = |nodes: &Vec<NodeId>| CreatePartitionsAssignment {
            broker_ids: nodes.iter().map(|node| node.value()).collect(),
            ..Default::default()
        };
        let assignments = assignment.map(|assignment| assignment.iter().map(assigned).collect());
        let request = &CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: topic.into(), count, assignments, ..Default::default() }],
            timeout_ms: CHANGE_TIMEOUT_MS,
            validate_only,
            ..Default::default()
        };
        let what = || format!("raise {topic} to {count} partitions");
        let response = self
            .at_controller(|connection| async move {
                let response = connection.call(request).await?;
                controller_moved(response.results.first().map(|topic| topic.error_code), what)?;
                Ok(response)
            })
            .await?;
        self.client.forget_topic(topic);
        match response.results.first() {
            Some(result) => ClientError::check(result.error_code, result.error_message.as_deref(), what),
            None => Ok(()),
        }
    }
}
