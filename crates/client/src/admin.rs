//! Administration: topics, configs, groups, offsets, records, log directories.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use types::limits::LOG_DIR_POSITIONS_MAX;
use types::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, Timestamp, TopicId, TopicPartition};
use wire::ApiKey;
use wire::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic};
use wire::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use wire::delete_groups_request::DeleteGroupsRequest;
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use wire::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use wire::describe_configs_response::DescribeConfigsResult;
use wire::describe_groups_request::DescribeGroupsRequest;
use wire::describe_log_dirs_request::{DescribableLogDirTopic, DescribeLogDirsRequest};
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use wire::list_groups_request::ListGroupsRequest;
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_delete_request::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use wire::tags::{LOG_FACTS, LogFacts, ReadPosition, Unread};

use crate::cluster::{Client, CoordinatorKind};
use crate::consumer::Isolation;
use crate::error::ClientError;

/// Milliseconds that a node may take for an administrative change.
const CHANGE_TIMEOUT_MS: i32 = 30_000;

/// Topics or groups whose settings are asked for at once, so that no answer grows beyond what either side takes.
const CONFIG_RESOURCES_PER_REQUEST: usize = 500;

/// OffsetCommit and OffsetFetch name topics by id from version 10 on; names serve every topic, ids only living ones.
pub(crate) const OFFSETS_VERSION_MAX: i16 = 9;

/// What `-1` means on the wire for counts that the node's own configuration decides.
const NODE_DECIDES: i32 = -1;

/// Timestamps below zero that ask ListOffsets for a place instead of a time.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

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

/// What a setting belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ResourceKind {
    /// A topic.
    Topic = 2,
    /// A node by id; an empty name means the default of all nodes.
    Broker = 4,
    /// The log levels of a node.
    BrokerLogger = 8,
    /// Client metrics subscriptions.
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

/// One topic, node, ... whose settings are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name or number.
    pub name: String,
}

impl ConfigResource {
    /// A topic.
    #[must_use]
    pub fn topic(name: &str) -> Self {
        Self { kind: ResourceKind::Topic, name: name.to_owned() }
    }

    /// A node.
    #[must_use]
    pub fn broker(id: NodeId) -> Self {
        Self { kind: ResourceKind::Broker, name: id.to_string() }
    }
}

/// A setting as a node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: String,
    /// Its value; `None` if unset or secret.
    pub value: Option<String>,
    /// Where the value comes from, by Kafka's name: `DYNAMIC_TOPIC_CONFIG`, `DEFAULT_CONFIG`, ...
    pub source: &'static str,
    /// Whether somebody set it: false for defaults.
    pub is_set: bool,
    /// Whether it can be changed while the node runs.
    pub read_only: bool,
    /// Whether its value is hidden.
    pub sensitive: bool,
    /// Where it is written, the strongest place first: the value that counts and those that it hides.
    pub synonyms: Vec<ConfigSynonym>,
    /// What it does, if asked for and known.
    pub documentation: Option<String>,
}

/// A value that is written somewhere for a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The name it is written under, which for a topic's setting may be the node's.
    pub name: String,
    /// Its value; `None` if unset or secret.
    pub value: Option<String>,
    /// Where, by Kafka's name, as [`ConfigEntry::source`].
    pub source: &'static str,
}

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets it.
    Set(String, String),
    /// Back to its default.
    Delete(String),
    /// Adds to a list.
    Append(String, String),
    /// Takes from a list.
    Subtract(String, String),
}

impl ConfigChange {
    /// Of which setting.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Set(name, _) | Self::Delete(name) | Self::Append(name, _) | Self::Subtract(name, _) => name,
        }
    }
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// Kafka's word: `Empty`, `Stable`, `PreparingRebalance`, ...; empty from nodes that do not say.
    pub state: String,
    /// `consumer`, `connect`, ...
    pub protocol_type: String,
    /// How partitions are assigned, `range`; only from [`Admin::describe_group`].
    pub protocol: String,
    /// `classic`, `consumer`, ...; empty from nodes that do not say.
    pub kind: String,
    /// Its members; only from [`Admin::describe_group`].
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// Its `group.instance.id`, if it is a static member.
    pub instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// What it was assigned.
    pub assignment: Vec<TopicPartition>,
}

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

/// Administrative calls. Each waits until the cluster has done what was asked.
#[derive(Debug, Clone)]
pub struct Admin {
    pub(crate) client: Client,
}

impl Admin {
    /// Administration of the cluster of `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client it uses.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

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

    /// All settings of a topic, node or group.
    ///
    /// # Errors
    /// There is no such thing.
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
        documentation: bool,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        let what = || format!("describe the settings of {}", resource.name);
        let connection = || self.config_node(resource);
        let names = std::slice::from_ref(&resource.name);
        let mut results = self.ask_configs(resource.kind, names, None, documentation, connection).await?;
        let Some(result) = results.pop() else { return Ok(Vec::new()) };
        ClientError::check(result.error_code, result.error_message.as_deref(), what)?;
        Ok(read_configs(result))
    }

    /// The settings called `keys` (`None`: all) of many topics, or of many groups. What a resource does not have, and resources that
    /// do not exist, are left out.
    ///
    /// # Errors
    /// No node answers.
    pub async fn describe_configs_of(
        &self,
        kind: ResourceKind,
        names: &[String],
        keys: Option<&[&str]>,
    ) -> Result<BTreeMap<String, Vec<ConfigEntry>>, ClientError> {
        let mut described = BTreeMap::new();
        for names in names.chunks(CONFIG_RESOURCES_PER_REQUEST) {
            for result in self.ask_configs(kind, names, keys, false, || self.client.any()).await? {
                if result.error_code == ErrorCode::None.code() {
                    described.insert(result.resource_name.to_string(), read_configs(result));
                }
            }
        }
        Ok(described)
    }

    async fn ask_configs<W>(
        &self,
        kind: ResourceKind,
        names: &[String],
        keys: Option<&[&str]>,
        documentation: bool,
        connection: impl Fn() -> W,
    ) -> Result<Vec<DescribeConfigsResult<'static>>, ClientError>
    where
        W: Future<Output = Result<crate::Connection, ClientError>>,
    {
        let resource = |name: &String| DescribeConfigsResource {
            resource_type: kind as i8,
            resource_name: name.clone().into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|&key| key.to_owned().into()).collect()),
            ..Default::default()
        };
        let request = DescribeConfigsRequest {
            resources: names.iter().map(resource).collect(),
            include_synonyms: true,
            ..Default::default()
        };
        let response = self
            .client
            .retry(|| async {
                let connection = connection().await?;
                let version = connection.version(ApiKey::DescribeConfigs)?;
                let request = DescribeConfigsRequest {
                    include_documentation: documentation && 3 <= version,
                    include_synonyms: 1 <= version,
                    ..request.clone()
                };
                connection.send(&request, version).await?.response().await
            })
            .await?;
        Ok(response.results)
    }

    /// Changes some settings and leaves the others as they are.
    ///
    /// # Errors
    /// A setting is unknown, its value wrong, or it cannot be changed.
    pub async fn change_configs(
        &self,
        resource: &ConfigResource,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let configs = changes.iter().map(|change| {
            let (operation, name, value) = match change {
                ConfigChange::Set(name, value) => (0, name, Some(value)),
                ConfigChange::Delete(name) => (1, name, None),
                ConfigChange::Append(name, value) => (2, name, Some(value)),
                ConfigChange::Subtract(name, value) => (3, name, Some(value)),
            };
            AlterableConfig {
                name: name.into(),
                config_operation: operation,
                value: value.map(|value| value.into()),
                ..Default::default()
            }
        });
        let request = &IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: resource.kind as i8,
                resource_name: (&resource.name).into(),
                configs: configs.collect(),
                ..Default::default()
            }],
            validate_only,
            ..Default::default()
        };
        let what = || format!("change the settings of {}", resource.name);
        let at_node = matches!(resource.kind, ResourceKind::Broker | ResourceKind::BrokerLogger);
        let response = if at_node && !resource.name.is_empty() {
            self.config_node(resource).await?.call(request).await?
        } else {
            self.at_controller(|connection| async move {
                let response = connection.call(request).await?;
                controller_moved(response.responses.first().map(|result| result.error_code), what)?;
                Ok(response)
            })
            .await?
        };
        match response.responses.first() {
            Some(result) => ClientError::check(result.error_code, result.error_message.as_deref(), what),
            None => Ok(()),
        }
    }

    /// Every group of the cluster, by id.
    ///
    /// # Errors
    /// A node does not answer.
    pub async fn list_groups(&self) -> Result<Vec<Group>, ClientError> {
        let mut groups = BTreeMap::new();
        for node in self.client.cluster().await?.nodes {
            let response = self
                .client
                .retry(|| async {
                    let response = self.client.node(node.id).await?.call(&ListGroupsRequest::default()).await?;
                    ClientError::check(response.error_code, None, || format!("list the groups of node {}", node.id))?;
                    Ok(response)
                })
                .await?;
            for group in response.groups {
                let id = group.group_id.into_owned();
                let listed = Group {
                    id: id.clone(),
                    state: group.group_state.into_owned(),
                    protocol_type: group.protocol_type.into_owned(),
                    kind: group.group_type.into_owned(),
                    ..Group::default()
                };
                groups.insert(id, listed);
            }
        }
        Ok(groups.into_values().collect())
    }

    /// One group with its members.
    ///
    /// # Errors
    /// There is no such group, or its coordinator does not answer.
    pub async fn describe_group(&self, id: &str) -> Result<Group, ClientError> {
        let request = &DescribeGroupsRequest { groups: vec![id.into()], ..Default::default() };
        let what = || format!("describe group {id}");
        let group = self
            .at_coordinator(id, |connection| async move {
                let mut response = connection.call(request).await?;
                let Some(group) = response.groups.pop() else {
                    return Err(ClientError::refused(what(), ErrorCode::GroupIdNotFound.code()));
                };
                ClientError::check(group.error_code, group.error_message.as_deref(), what)?;
                Ok(group)
            })
            .await?;
        let members = group.members.iter().map(|member| GroupMember {
            id: member.member_id.to_string(),
            instance_id: member.group_instance_id.as_deref().map(str::to_owned),
            client_id: member.client_id.to_string(),
            client_host: member.client_host.to_string(),
            assignment: crate::group::read_assignment(&member.member_assignment),
        });
        Ok(Group {
            id: group.group_id.to_string(),
            state: group.group_state.to_string(),
            protocol_type: group.protocol_type.to_string(),
            protocol: group.protocol_data.to_string(),
            kind: String::new(),
            members: members.collect(),
        })
    }

    /// Deletes a group without members and what it has committed.
    ///
    /// # Errors
    /// There is no such group, or it has members.
    pub async fn delete_group(&self, id: &str) -> Result<(), ClientError> {
        let request = &DeleteGroupsRequest { groups_names: vec![id.into()], ..Default::default() };
        self.at_coordinator(id, |connection| async move {
            let response = connection.call(request).await?;
            match response.results.first() {
                Some(result) => ClientError::check(result.error_code, None, || format!("delete group {id}")),
                None => Ok(()),
            }
        })
        .await
    }

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

    /// Fails for an error of one partition; a leader that has moved is looked up again by the next try.
    fn check_partition(&self, code: i16, topic: &str, what: impl FnOnce() -> String) -> Result<(), ClientError> {
        let outcome = ClientError::check(code, None, what);
        if outcome.is_err() {
            self.client.forget_topic(topic);
        }
        outcome
    }

    pub(crate) async fn by_leader(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<NodeId, Vec<TopicPartition>>, ClientError> {
        let mut by_leader: BTreeMap<NodeId, Vec<TopicPartition>> = BTreeMap::new();
        for at in partitions {
            let leader = self.client.leader(&at.topic, at.partition).await?;
            by_leader.entry(leader).or_default().push(at.clone());
        }
        Ok(by_leader)
    }

    /// Where the settings of `resource` are asked for.
    async fn config_node(&self, resource: &ConfigResource) -> Result<crate::Connection, ClientError> {
        match resource.kind {
            ResourceKind::Broker | ResourceKind::BrokerLogger if !resource.name.is_empty() => {
                let id = resource.name.parse().ok().and_then(NodeId::from_wire);
                let Some(id) = id else {
                    return Err(ClientError::Usage(format!("a node is named by its number, not by {}", resource.name)));
                };
                self.client.node(id).await
            }
            _ => self.client.any().await,
        }
    }

    async fn at_controller<T, W>(&self, work: impl Fn(crate::Connection) -> W) -> Result<T, ClientError>
    where
        W: Future<Output = Result<T, ClientError>>,
    {
        self.client
            .retry(|| async {
                let outcome = work(self.client.controller().await?).await;
                if outcome.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::NotController)) {
                    self.client.cluster().await?;
                }
                outcome
            })
            .await
    }

    pub(crate) async fn at_coordinator<T, W>(
        &self,
        group: &str,
        work: impl Fn(crate::Connection) -> W,
    ) -> Result<T, ClientError>
    where
        W: Future<Output = Result<T, ClientError>>,
    {
        self.client
            .retry(|| async {
                let outcome = work(self.client.coordinator(CoordinatorKind::Group, group).await?).await;
                if outcome.as_ref().is_err_and(ClientError::is_retriable) {
                    self.client.forget_coordinator(CoordinatorKind::Group, group);
                }
                outcome
            })
            .await
    }
}

/// Fails when the node is not the controller (any more), so that the call goes to the right one.
fn controller_moved(code: Option<i16>, what: impl FnOnce() -> String) -> Result<(), ClientError> {
    match code {
        Some(code) if code == ErrorCode::NotController.code() => Err(ClientError::refused(what(), code)),
        _ => Ok(()),
    }
}

fn read_configs(result: DescribeConfigsResult<'_>) -> Vec<ConfigEntry> {
    let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    let mut entries: Vec<ConfigEntry> = result
        .configs
        .into_iter()
        .map(|entry| ConfigEntry {
            name: entry.name.into_owned(),
            value: text(entry.value),
            source: source_name(entry.config_source),
            is_set: entry.config_source != SOURCE_DEFAULT,
            read_only: entry.read_only,
            sensitive: entry.is_sensitive,
            synonyms: entry
                .synonyms
                .into_iter()
                .map(|synonym| ConfigSynonym {
                    name: synonym.name.into_owned(),
                    value: text(synonym.value),
                    source: source_name(synonym.source),
                })
                .collect(),
            documentation: text(entry.documentation).filter(|text| !text.is_empty()),
        })
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// Partition numbers by topic.
pub(crate) fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for at in partitions {
        topics.entry(&at.topic).or_default().push(at.partition.value());
    }
    topics
}

const SOURCE_DEFAULT: i8 = 5;

fn source_name(source: i8) -> &'static str {
    match source {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        SOURCE_DEFAULT => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "DYNAMIC_GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}
