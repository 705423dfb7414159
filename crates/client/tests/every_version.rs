//! A running node in every version it announces: each API a client uses is asked in each of them, with a request that
//! must succeed, and the answer must be readable and right. Set TEST_BOOTSTRAP to its `host:port`; without it
//! the test is skipped. All failures are collected before it fails.
//!
//! Not asked: APIs between nodes, security, share and Streams groups, transactions.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::time::Duration;

use batch::{BatchBuilder, Codec};
use bytes::Bytes;
use client::{Admin, Client, ClientConfig, Connection, NewTopic};
use types::{Timestamp, TopicId};
use wire::alter_configs_request::AlterConfigsRequest;
use wire::api_versions_request::ApiVersionsRequest;
use wire::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use wire::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use wire::delete_groups_request::DeleteGroupsRequest;
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use wire::describe_cluster_request::DescribeClusterRequest;
use wire::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use wire::describe_groups_request::DescribeGroupsRequest;
use wire::describe_log_dirs_request::DescribeLogDirsRequest;
use wire::describe_producers_request::{DescribeProducersRequest, TopicRequest as ProducersTopic};
use wire::describe_quorum_request::{
    DescribeQuorumRequest, PartitionData as QuorumPartition, TopicData as QuorumTopic,
};
use wire::describe_topic_partitions_request::{DescribeTopicPartitionsRequest, TopicRequest};
use wire::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use wire::find_coordinator_request::FindCoordinatorRequest;
use wire::heartbeat_request::HeartbeatRequest;
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use wire::init_producer_id_request::InitProducerIdRequest;
use wire::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use wire::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use wire::list_config_resources_request::ListConfigResourcesRequest;
use wire::list_groups_request::ListGroupsRequest;
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::metadata_request::{MetadataRequest, MetadataRequestTopic};
use wire::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_delete_request::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use wire::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use wire::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use wire::{ApiKey, Records, Request};

/// Records written before the sweep.
const RECORDS: i64 = 3;

struct Sweep {
    client: Client,
    connection: Connection,
    asked: usize,
    failures: Vec<String>,
}

impl Sweep {
    /// The versions that both the node announces and we decode.
    fn versions(&mut self, api: ApiKey) -> RangeInclusive<i16> {
        let own = api.api();
        match self.connection.versions().get(&api.code()) {
            Some(&(min, max)) => own.version_min.max(min)..=own.version_max.min(max),
            None => {
                self.failures.push(format!("{api} is not offered"));
                RangeInclusive::new(1, 0)
            }
        }
    }

    async fn ask<'a, R: Request<'a>>(&mut self, version: i16, request: R) -> Option<R::Response> {
        self.asked += 1;
        let pending = self.connection.send(&request, version).await;
        let outcome = match pending {
            Ok(pending) => pending.timeout(Duration::from_secs(10)).response().await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(response) => Some(response),
            Err(error) => {
                self.failures.push(format!("{} {version}: {error}", R::API_KEY));
                if !self.connection.is_open() {
                    let address = self.connection.address().to_owned();
                    self.connection = Connection::open(&address, &self.client.config().connection).await.unwrap();
                }
                None
            }
        }
    }

    fn expect<T: PartialEq + Debug>(&mut self, api: ApiKey, version: i16, what: &str, found: T, right: T) {
        if found != right {
            self.failures.push(format!("{api} {version}: {what} is {found:?} instead of {right:?}"));
        }
    }
}

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..RECORDS {
        builder.append(Timestamp::from_millis(1_600_000_000_000), Some(b"k"), Some(b"v"), &[]);
    }
    builder.build_unstamped().freeze()
}

#[tokio::test]
async fn a_node_answers_every_version_it_announces() {
    let Ok(bootstrap) = std::env::var("TEST_BOOTSTRAP") else {
        println!("skipped: TEST_BOOTSTRAP is not set");
        return;
    };
    let client = Client::connect(ClientConfig::new(&bootstrap)).await.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let name = format!("versions-{now}");
    let new = NewTopic { name: name.clone(), partitions: Some(1), replication_factor: Some(1), ..Default::default() };
    Admin::new(client.clone()).create_topic(&new, false).await.unwrap();
    let topic = client.retry(|| client.topic_now(&name, false)).await.unwrap();
    let leader = topic.partitions[0].leader.unwrap();
    let connection = client.node_apart(leader).await.unwrap();
    let mut sweep = Sweep { client, connection, asked: 0, failures: Vec::new() };
    let topic_id = topic.id.unwrap_or(TopicId::ZERO);
    data(&mut sweep, &name, topic_id).await;
    metadata(&mut sweep, &name).await;
    groups(&mut sweep, &name, topic_id).await;
    administration(&mut sweep, &name, leader.value()).await;
    println!("{} requests", sweep.asked);
    assert!(sweep.failures.is_empty(), "{} failures:\n{}", sweep.failures.len(), sweep.failures.join("\n"));
}

async fn data(sweep: &mut Sweep, name: &str, topic_id: TopicId) {
    use ApiKey::{DeleteRecords, DescribeProducers, Fetch, InitProducerId, ListOffsets, OffsetForLeaderEpoch, Produce};
    let mut written = 0;
    for version in sweep.versions(Produce) {
        let data =
            PartitionProduceData { index: 0, records: Records::Inline(batch().to_vec().into()), ..Default::default() };
        let topic = TopicProduceData { name: name.into(), topic_id, partition_data: vec![data], ..Default::default() };
        let request = ProduceRequest { acks: -1, timeout_ms: 5000, topic_data: vec![topic], ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        let answer = response.responses[0].partition_responses[0].clone();
        sweep.expect(Produce, version, "error and offset", (answer.error_code, answer.base_offset), (0, written));
        written += RECORDS;
    }
    for version in sweep.versions(Fetch) {
        let partition = FetchPartition {
            fetch_offset: RECORDS,
            partition_max_bytes: 1 << 20,
            current_leader_epoch: -1,
            ..Default::default()
        };
        let topic = FetchTopic { topic: name.into(), topic_id, partitions: vec![partition], ..Default::default() };
        let request = FetchRequest { max_wait_ms: 100, min_bytes: 1, topics: vec![topic], ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        let Some(data) = response.responses.first().and_then(|topic| topic.partitions.first()).cloned() else {
            sweep.failures.push(format!("Fetch {version}: no partition in the answer"));
            continue;
        };
        let size = data.records.size_bytes();
        let whole = (written / RECORDS - 1) as usize * batch().len();
        sweep.expect(Fetch, version, "error", (response.error_code, data.error_code), (0, 0));
        sweep.expect(Fetch, version, "high watermark and bytes", (data.high_watermark, size), (written, whole));
    }
    for version in sweep.versions(ListOffsets) {
        // Earliest, latest, by time; from version 7 also the largest timestamp.
        let mut places = vec![(-2, 0), (-1, written), (1, 0)];
        if 7 <= version {
            places.push((-3, 0));
        }
        for (timestamp, right) in places {
            let partition = ListOffsetsPartition { timestamp, ..Default::default() };
            let topic = ListOffsetsTopic { name: name.into(), partitions: vec![partition], ..Default::default() };
            let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
            let Some(response) = sweep.ask(version, request).await else { continue };
            let found = &response.topics[0].partitions[0];
            let what = format!("error and offset at {timestamp}");
            let (code, offset) = (found.error_code, found.offset);
            if timestamp == -3 {
                sweep.expect(ListOffsets, version, &what, (code, 0 <= offset), (0, true));
            } else {
                sweep.expect(ListOffsets, version, &what, (code, offset), (0, right));
            }
        }
    }
    for version in sweep.versions(OffsetForLeaderEpoch) {
        let partition = OffsetForLeaderPartition { current_leader_epoch: -1, leader_epoch: 0, ..Default::default() };
        let topic = OffsetForLeaderTopic { topic: name.into(), partitions: vec![partition], ..Default::default() };
        let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        let found = response.topics[0].partitions[0].clone();
        let code = (found.error_code, found.end_offset == written || found.end_offset == -1 || found.end_offset == 0);
        sweep.expect(OffsetForLeaderEpoch, version, "error and end offset", code, (0, true));
    }
    for version in sweep.versions(InitProducerId) {
        let request =
            InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 60_000, ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        let found = (response.error_code, 0 <= response.producer_id, response.producer_epoch);
        sweep.expect(InitProducerId, version, "error, id, epoch", found, (0, true, 0));
    }
    for version in sweep.versions(DescribeProducers) {
        let topic = ProducersTopic { name: name.into(), partition_indexes: vec![0], ..Default::default() };
        let request = DescribeProducersRequest { topics: vec![topic], ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        sweep.expect(DescribeProducers, version, "error", response.topics[0].partitions[0].error_code, 0);
    }
    for version in sweep.versions(DeleteRecords) {
        let partition = DeleteRecordsPartition { offset: i64::from(version) + 1, ..Default::default() };
        let topic = DeleteRecordsTopic { name: name.into(), partitions: vec![partition], ..Default::default() };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 5000, ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        let found = &response.topics[0].partitions[0];
        let found = (found.error_code, found.low_watermark);
        sweep.expect(DeleteRecords, version, "error and start", found, (0, i64::from(version) + 1));
    }
}

async fn metadata(sweep: &mut Sweep, name: &str) {
    use ApiKey::{ApiVersions, DescribeCluster, DescribeQuorum, DescribeTopicPartitions, Metadata};
    for version in sweep.versions(ApiVersions) {
        let software = if version < 3 { "" } else { "sweep" };
        let request = ApiVersionsRequest {
            client_software_name: software.into(),
            client_software_version: software.into(),
            ..Default::default()
        };
        let Some(response) = sweep.ask(version, request).await else { continue };
        sweep.expect(ApiVersions, version, "error", response.error_code, 0);
        let range = response.api_keys.iter().find(|api| api.api_key == 0).map(|api| (api.min_version, api.max_version));
        sweep.expect(ApiVersions, version, "range of Produce", range, Some((0, 13)));
    }
    for version in sweep.versions(Metadata) {
        let topic = MetadataRequestTopic { name: Some(name.to_owned().into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        let found = response.topics.first().map(|topic| (topic.error_code, topic.partitions.len()));
        sweep.expect(Metadata, version, "error and partitions", found, Some((0, 1)));
        sweep.expect(Metadata, version, "nodes", response.brokers.is_empty(), false);
        // All topics: null, in version 0 an empty list.
        let request = MetadataRequest { topics: (version == 0).then(Vec::new), ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        let listed = response.topics.iter().any(|topic| topic.name.as_deref() == Some(name));
        sweep.expect(Metadata, version, "our topic in the list of all", listed, true);
    }
    for version in sweep.versions(DescribeCluster) {
        let Some(response) = sweep.ask(version, DescribeClusterRequest::default()).await else { continue };
        let found = (response.error_code, response.brokers.is_empty());
        sweep.expect(DescribeCluster, version, "error and nodes", found, (0, false));
    }
    for version in sweep.versions(DescribeTopicPartitions) {
        let topic = TopicRequest { name: name.into(), ..Default::default() };
        let request = DescribeTopicPartitionsRequest { topics: vec![topic], ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        let found = response.topics.first().map(|topic| (topic.error_code, topic.partitions.len()));
        sweep.expect(DescribeTopicPartitions, version, "error and partitions", found, Some((0, 1)));
    }
    for version in sweep.versions(DescribeQuorum) {
        let partition = QuorumPartition { partition_index: 0, ..Default::default() };
        let topic =
            QuorumTopic { topic_name: "__cluster_metadata".into(), partitions: vec![partition], ..Default::default() };
        let request = DescribeQuorumRequest { topics: vec![topic], ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        let found = response.topics.first().map(|topic| topic.partitions[0].current_voters.len());
        sweep.expect(DescribeQuorum, version, "error and a voter", (response.error_code, found >= Some(1)), (0, true));
    }
}

async fn groups(sweep: &mut Sweep, name: &str, topic_id: TopicId) {
    use ApiKey::{
        DeleteGroups, DescribeGroups, FindCoordinator, Heartbeat, JoinGroup, LeaveGroup, ListGroups, OffsetCommit,
        OffsetDelete, OffsetFetch, SyncGroup,
    };
    let group = format!("{name}-group");
    for version in sweep.versions(FindCoordinator) {
        let mut request = FindCoordinatorRequest::default();
        if version < 4 {
            request.key = group.as_str().into();
        } else {
            request.coordinator_keys = vec![group.as_str().into()];
        }
        // The internal topic may have to be made first.
        let mut found = None;
        for _ in 0..50 {
            let Some(response) = sweep.ask(version, request.clone()).await else { break };
            let code = response.coordinators.first().map_or(response.error_code, |each| each.error_code);
            found = Some(code);
            if code == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        sweep.expect(FindCoordinator, version, "error", found, Some(0));
    }
    for version in sweep.versions(OffsetCommit) {
        let partition = OffsetCommitRequestPartition { committed_offset: i64::from(version), ..Default::default() };
        let topic =
            OffsetCommitRequestTopic { name: name.into(), topic_id, partitions: vec![partition], ..Default::default() };
        let request =
            OffsetCommitRequest { group_id: group.as_str().into(), topics: vec![topic], ..Default::default() };
        let mut found = None;
        for _ in 0..50 {
            let Some(response) = sweep.ask(version, request.clone()).await else { break };
            found = response.topics.first().map(|topic| topic.partitions[0].error_code);
            // The coordinator may still be loading.
            if found != Some(14) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        sweep.expect(OffsetCommit, version, "error", found, Some(0));
    }
    let newest = *sweep.versions(OffsetCommit).end();
    for version in sweep.versions(OffsetFetch) {
        let mut request = OffsetFetchRequest::default();
        let indexes = vec![0];
        if version < 8 {
            request.group_id = group.as_str().into();
            let topic = OffsetFetchRequestTopic { name: name.into(), partition_indexes: indexes, ..Default::default() };
            request.topics = Some(vec![topic]);
        } else {
            let topic = OffsetFetchRequestTopics {
                name: name.into(),
                topic_id,
                partition_indexes: indexes,
                ..Default::default()
            };
            let asked = OffsetFetchRequestGroup {
                group_id: group.as_str().into(),
                topics: Some(vec![topic]),
                ..Default::default()
            };
            request.groups = vec![asked];
        }
        let Some(response) = sweep.ask(version, request).await else { continue };
        let old =
            response.topics.first().map(|topic| (topic.partitions[0].error_code, topic.partitions[0].committed_offset));
        let new = response.groups.first().and_then(|group| group.topics.first());
        let new = new.map(|topic| (topic.partitions[0].error_code, topic.partitions[0].committed_offset));
        sweep.expect(OffsetFetch, version, "error and offset", old.or(new), Some((0, i64::from(newest))));
    }
    for version in sweep.versions(OffsetDelete) {
        let partition = OffsetDeleteRequestPartition { partition_index: 0 };
        let topic = OffsetDeleteRequestTopic { name: name.into(), partitions: vec![partition] };
        let request = OffsetDeleteRequest { group_id: group.as_str().into(), topics: vec![topic] };
        let Some(response) = sweep.ask(version, request).await else { continue };
        let found = (response.error_code, response.topics.first().map(|topic| topic.partitions[0].error_code));
        sweep.expect(OffsetDelete, version, "errors", found, (0, Some(0)));
    }
    let (sync, heartbeat) = (sweep.versions(SyncGroup), sweep.versions(Heartbeat));
    let (leave, describe) = (sweep.versions(LeaveGroup), sweep.versions(DescribeGroups));
    for version in sweep.versions(JoinGroup) {
        let group = format!("{name}-join-{version}");
        let nearest = |range: &RangeInclusive<i16>| version.clamp(*range.start(), *range.end());
        let protocol =
            JoinGroupRequestProtocol { name: "range".into(), metadata: vec![0, 0].into(), ..Default::default() };
        let mut request = JoinGroupRequest {
            group_id: group.as_str().into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..Default::default()
        };
        let Some(mut joined) = sweep.ask(version, request.clone()).await else { continue };
        if joined.error_code == 79 {
            request.member_id = joined.member_id.clone();
            let Some(again) = sweep.ask(version, request).await else { continue };
            joined = again;
        }
        sweep.expect(JoinGroup, version, "error and generation", (joined.error_code, joined.generation_id), (0, 1));
        let member = joined.member_id.clone();
        let assignment = SyncGroupRequestAssignment {
            member_id: member.clone(),
            assignment: b"mine".to_vec().into(),
            ..Default::default()
        };
        let request = SyncGroupRequest {
            group_id: group.as_str().into(),
            generation_id: joined.generation_id,
            member_id: member.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: vec![assignment],
            ..Default::default()
        };
        let at = nearest(&sync);
        let Some(synced) = sweep.ask(at, request).await else { continue };
        let found = (synced.error_code, synced.assignment.to_vec());
        sweep.expect(SyncGroup, at, "error and assignment", found, (0, b"mine".to_vec()));
        let request = HeartbeatRequest {
            group_id: group.as_str().into(),
            generation_id: joined.generation_id,
            member_id: member.clone(),
            ..Default::default()
        };
        let at = nearest(&heartbeat);
        let Some(beat) = sweep.ask(at, request).await else { continue };
        sweep.expect(Heartbeat, at, "error", beat.error_code, 0);
        let at = nearest(&describe);
        let request = DescribeGroupsRequest { groups: vec![group.as_str().into()], ..Default::default() };
        let Some(described) = sweep.ask(at, request).await else { continue };
        let found = &described.groups[0];
        let found = (found.error_code, found.group_state.to_string(), found.members.len());
        sweep.expect(DescribeGroups, at, "error, state, members", found, (0, "Stable".to_owned(), 1));
        let at = nearest(&leave);
        let mut request = LeaveGroupRequest { group_id: group.as_str().into(), ..Default::default() };
        if at < 3 {
            request.member_id = member;
        } else {
            request.members = vec![MemberIdentity { member_id: member, ..Default::default() }];
        }
        let Some(left) = sweep.ask(at, request).await else { continue };
        sweep.expect(LeaveGroup, at, "error", left.error_code, 0);
    }
    for version in sweep.versions(ListGroups) {
        let Some(response) = sweep.ask(version, ListGroupsRequest::default()).await else { continue };
        let listed = response.groups.iter().any(|listed| listed.group_id.starts_with(name));
        sweep.expect(ListGroups, version, "error and our groups", (response.error_code, listed), (0, true));
    }
    for version in sweep.versions(DeleteGroups) {
        let group = format!("{name}-join-{version}");
        let request = DeleteGroupsRequest { groups_names: vec![group.as_str().into()], ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        sweep.expect(DeleteGroups, version, "error", response.results[0].error_code, 0);
    }
}

async fn administration(sweep: &mut Sweep, name: &str, node: i32) {
    use ApiKey::{
        AlterConfigs, CreatePartitions, CreateTopics, DeleteTopics, DescribeConfigs, DescribeLogDirs,
        IncrementalAlterConfigs, ListConfigResources,
    };
    let mut created: BTreeMap<i16, String> = BTreeMap::new();
    for version in sweep.versions(CreateTopics) {
        for validate_only in [true, false] {
            let new = format!("{name}-new-{version}");
            let topic = CreatableTopic {
                name: new.as_str().into(),
                num_partitions: if version < 4 { 1 } else { -1 },
                replication_factor: if version < 4 { 1 } else { -1 },
                ..Default::default()
            };
            let request =
                CreateTopicsRequest { topics: vec![topic], timeout_ms: 5000, validate_only, ..Default::default() };
            let Some(response) = sweep.ask(version, request).await else { continue };
            let found = response.topics.first().map(|topic| topic.error_code);
            sweep.expect(CreateTopics, version, "error", found, Some(0));
            created.insert(version, new);
        }
    }
    for version in sweep.versions(CreatePartitions) {
        let topic = CreatePartitionsTopic {
            name: name.into(),
            count: i32::from(version) + 2,
            assignments: None,
            ..Default::default()
        };
        let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 5000, ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        sweep.expect(CreatePartitions, version, "error", response.results[0].error_code, 0);
    }
    for version in sweep.versions(DescribeConfigs) {
        let resource = |kind: i8, name: String| DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: None,
            ..Default::default()
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource(2, name.to_owned()), resource(4, node.to_string())],
            include_synonyms: true,
            include_documentation: 3 <= version,
            ..Default::default()
        };
        let Some(response) = sweep.ask(version, request).await else { continue };
        for result in &response.results {
            let found = (result.error_code, 20 < result.configs.len());
            sweep.expect(DescribeConfigs, version, "error and enough settings", found, (0, true));
        }
    }
    for version in sweep.versions(AlterConfigs) {
        let config = wire::alter_configs_request::AlterableConfig {
            name: "retention.ms".into(),
            value: Some("1000000".into()),
            ..Default::default()
        };
        let resource = wire::alter_configs_request::AlterConfigsResource {
            resource_type: 2,
            resource_name: name.into(),
            configs: vec![config],
            ..Default::default()
        };
        let request = AlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        sweep.expect(AlterConfigs, version, "error", response.responses[0].error_code, 0);
    }
    for version in sweep.versions(IncrementalAlterConfigs) {
        let config =
            AlterableConfig { name: "retention.ms".into(), config_operation: 1, value: None, ..Default::default() };
        let resource = AlterConfigsResource {
            resource_type: 2,
            resource_name: name.into(),
            configs: vec![config],
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let Some(response) = sweep.ask(version, request).await else { continue };
        sweep.expect(IncrementalAlterConfigs, version, "error", response.responses[0].error_code, 0);
    }
    for version in sweep.versions(DescribeLogDirs) {
        let Some(response) = sweep.ask(version, DescribeLogDirsRequest { topics: None, ..Default::default() }).await
        else {
            continue;
        };
        let listed = response.results.iter().flat_map(|each| &each.topics).any(|topic| topic.name == name);
        sweep.expect(DescribeLogDirs, version, "error and our topic", (response.error_code, listed), (0, true));
    }
    for version in sweep.versions(ListConfigResources) {
        let Some(response) = sweep.ask(version, ListConfigResourcesRequest::default()).await else { continue };
        sweep.expect(ListConfigResources, version, "error", response.error_code, 0);
    }
    for version in sweep.versions(DeleteTopics) {
        // As many were created; version 1 and the others take turns.
        let Some((_, gone)) = created.pop_first() else { break };
        let mut request = DeleteTopicsRequest { timeout_ms: 5000, ..Default::default() };
        if version < 6 {
            request.topic_names = vec![gone.as_str().into()];
        } else {
            request.topics = vec![DeleteTopicState { name: Some(gone.as_str().into()), ..Default::default() }];
        }
        let Some(response) = sweep.ask(version, request).await else { continue };
        sweep.expect(DeleteTopics, version, "error", response.responses[0].error_code, 0);
    }
}
