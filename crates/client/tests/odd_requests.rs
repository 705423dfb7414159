//! What a running node answers to mistakes, line by line as Apache Kafka 4.3.1 answered: `odd_requests.txt` was written
//! by running this against Kafka with TEST_BLESS=1. Set TEST_BOOTSTRAP to a node's `host:port`; without
//! it the test is skipped. Only codes and what clients act on are compared, never the words of messages.

use std::fmt::Write as _;
use std::time::Duration;

use batch::{BatchBuilder, Codec};
use client::{Admin, Client, ClientConfig, ClientError, Connection, NewTopic};
use types::{ErrorCode, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId};
use wire::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic};
use wire::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use wire::delete_groups_request::DeleteGroupsRequest;
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use wire::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use wire::describe_groups_request::DescribeGroupsRequest;
use wire::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use wire::heartbeat_request::HeartbeatRequest;
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use wire::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use wire::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use wire::metadata_request::{MetadataRequest, MetadataRequestTopic};
use wire::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use wire::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::sync_group_request::SyncGroupRequest;
use wire::{Records, Request};

struct Sheet {
    connection: Connection,
    client: Client,
    text: String,
}

impl Sheet {
    async fn ask<'a, R: Request<'a>>(
        &mut self,
        case: &str,
        version: i16,
        request: R,
        tell: impl Fn(&R::Response) -> String,
    ) -> Option<R::Response> {
        let pending = match self.connection.send(&request, version).await {
            Ok(pending) => pending.timeout(Duration::from_secs(10)).response().await,
            Err(error) => Err(error),
        };
        let outcome = match &pending {
            Ok(response) => tell(response),
            Err(ClientError::Disconnected { .. }) => "closed".to_owned(),
            Err(error) => error.to_string(),
        };
        writeln!(self.text, "{} {version}, {case}: {outcome}", R::API_KEY).unwrap();
        if !self.connection.is_open() {
            let address = self.connection.address().to_owned();
            self.connection = Connection::open(&address, &self.client.config().connection).await.unwrap();
        }
        pending.ok()
    }
}

fn name(code: i16) -> String {
    ErrorCode::from_wire(code).map_or_else(|| code.to_string(), |code| code.name().to_owned())
}

fn records(base_timestamp: i64, producer: Option<(i64, i16, i32)>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(batch::Producer {
            id: ProducerId::new(id),
            epoch: ProducerEpoch::new(epoch),
            base_sequence: Some(Sequence::new(sequence)),
        });
    }
    builder.append(Timestamp::from_millis(base_timestamp), None, Some(b"v"), &[]);
    builder.build_unstamped().to_vec()
}

fn wall_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

#[tokio::test]
async fn mistakes_are_answered_as_kafka_answers_them() {
    let Ok(bootstrap) = std::env::var("TEST_BOOTSTRAP") else {
        println!("skipped: TEST_BOOTSTRAP is not set");
        return;
    };
    let client = Client::connect(ClientConfig::new(&bootstrap)).await.unwrap();
    let topic = format!("odd-{}", wall_ms());
    let configs = [("max.message.bytes".to_owned(), "1000".to_owned())].into();
    let new = NewTopic {
        name: topic.clone(),
        partitions: Some(1),
        replication_factor: Some(1),
        configs,
        ..Default::default()
    };
    Admin::new(client.clone()).create_topic(&new, false).await.unwrap();
    let compacted = format!("{topic}-compacted");
    let configs = [("cleanup.policy".to_owned(), "compact".to_owned())].into();
    let new = NewTopic { name: compacted.clone(), configs, ..new };
    Admin::new(client.clone()).create_topic(&new, false).await.unwrap();
    let found = client.retry(|| client.topic_now(&topic, false)).await.unwrap();
    client.retry(|| client.topic_now(&compacted, false)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let id = found.id.unwrap();
    client.coordinator(client::CoordinatorKind::Group, &topic).await.unwrap();
    let connection = client.node_apart(found.partitions[0].leader.unwrap()).await.unwrap();
    let mut sheet = Sheet { connection, client, text: String::new() };

    produce(&mut sheet, &topic, &compacted, id).await;
    fetch(&mut sheet, &topic, id).await;
    offsets(&mut sheet, &topic).await;
    groups(&mut sheet, &topic).await;
    topics(&mut sheet, &topic).await;
    configs_and_metadata(&mut sheet, &topic).await;
    frames(&mut sheet).await;

    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/odd_requests.txt");
    let text = sheet.text.replace(&topic, "TOPIC");
    if std::env::var_os("TEST_BLESS").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let right = std::fs::read_to_string(file).unwrap();
    let differing: Vec<String> = right
        .lines()
        .zip(text.lines())
        .filter(|(right, found)| right != found)
        .map(|(right, found)| format!("  Kafka: {right}\n  here:  {found}"))
        .collect();
    assert!(differing.is_empty(), "{} answers differ:\n{}", differing.len(), differing.join("\n"));
    assert_eq!(text.lines().count(), right.lines().count());
}

async fn produce(sheet: &mut Sheet, topic: &str, compacted: &str, id: TopicId) {
    let request = |name: &str, id: TopicId, index: i32, acks: i16, records: Records<'static>| {
        let data = PartitionProduceData { index, records, ..Default::default() };
        let topic = TopicProduceData {
            name: name.to_owned().into(),
            topic_id: id,
            partition_data: vec![data],
            ..Default::default()
        };
        ProduceRequest { acks, timeout_ms: 5000, topic_data: vec![topic], ..Default::default() }
    };
    let tell = |response: &wire::produce_response::ProduceResponse<'static>| {
        let each = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        let each = each.map(|each| format!("{} at {}", name(each.error_code), each.base_offset));
        each.collect::<Vec<_>>().join(", ")
    };
    let inline = |records: Vec<u8>| Records::Inline(records.into());
    let good = || inline(records(wall_ms(), None));
    let unknown = TopicId::from_bytes([9; 16]);
    sheet.ask("fine", 9, request(topic, id, 0, -1, good()), tell).await;
    sheet.ask("unknown topic", 9, request("no-such", id, 0, 1, good()), tell).await;
    sheet.ask("unknown topic id", 13, request("", unknown, 0, 1, good()), tell).await;
    sheet.ask("zero topic id", 13, request("", TopicId::ZERO, 0, 1, good()), tell).await;
    sheet.ask("unknown partition", 9, request(topic, id, 7, 1, good()), tell).await;
    sheet.ask("negative partition", 9, request(topic, id, -1, 1, good()), tell).await;
    sheet.ask("acks 2", 9, request(topic, id, 0, 2, good()), tell).await;
    sheet.ask("acks -2", 3, request(topic, id, 0, -2, good()), tell).await;
    sheet.ask("empty records", 9, request(topic, id, 0, 1, inline(Vec::new())), tell).await;
    let mut bad = records(wall_ms(), None);
    *bad.last_mut().unwrap() ^= 1;
    sheet.ask("wrong checksum", 9, request(topic, id, 0, 1, inline(bad)), tell).await;
    let mut bad = records(wall_ms(), None);
    bad[16] = 1;
    sheet.ask("magic 1", 9, request(topic, id, 0, 1, inline(bad)), tell).await;
    let two = [records(wall_ms(), None), records(wall_ms(), None)].concat();
    sheet.ask("two batches", 9, request(topic, id, 0, 1, inline(two)), tell).await;
    let mut builder = BatchBuilder::new(Codec::None);
    builder.append(Timestamp::from_millis(wall_ms()), None, Some(&[7; 2000]), &[]);
    sheet.ask("too large", 9, request(topic, id, 0, 1, inline(builder.build_unstamped().to_vec())), tell).await;
    sheet.ask("two hours ahead", 9, request(topic, id, 0, 1, inline(records(wall_ms() + 7_200_000, None))), tell).await;
    sheet.ask("no key in a compacted topic", 9, request(compacted, id, 0, 1, good()), tell).await;
    let mut builder = BatchBuilder::new(Codec::Zstd);
    builder.append(Timestamp::from_millis(wall_ms()), None, Some(b"v"), &[]);
    sheet.ask("zstd before 7", 6, request(topic, id, 0, 1, inline(builder.build_unstamped().to_vec())), tell).await;
    let mut builder = BatchBuilder::new(Codec::None).control();
    builder.append(Timestamp::from_millis(wall_ms()), Some(&[0, 0, 0, 0]), Some(&[0; 6]), &[]);
    sheet.ask("a control batch", 9, request(topic, id, 0, 1, inline(builder.build_unstamped().to_vec())), tell).await;
    for (case, sequence) in [("first sequence", 0), ("repeated", 0), ("gap", 5), ("next", 1), ("old", 0)] {
        let batch = inline(records(wall_ms(), Some((777_000, 0, sequence))));
        sheet.ask(case, 9, request(topic, id, 0, -1, batch), tell).await;
    }
    for (case, epoch, sequence) in
        [("new epoch, sequence 3", 1, 3), ("new epoch, sequence 0", 1, 0), ("old epoch", 0, 2)]
    {
        let batch = inline(records(wall_ms(), Some((777_000, epoch, sequence))));
        sheet.ask(case, 9, request(topic, id, 0, -1, batch), tell).await;
    }
}

async fn fetch(sheet: &mut Sheet, topic: &str, id: TopicId) {
    let request = |name: &str, id: TopicId, index: i32, offset: i64, epoch: i32| {
        let partition = FetchPartition {
            partition: index,
            fetch_offset: offset,
            current_leader_epoch: epoch,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: name.to_owned().into(),
            topic_id: id,
            partitions: vec![partition],
            ..Default::default()
        };
        FetchRequest { max_wait_ms: 10, min_bytes: 1, topics: vec![topic], ..Default::default() }
    };
    let tell = |response: &wire::fetch_response::FetchResponse<'static>| {
        let each = response.responses.iter().flat_map(|topic| &topic.partitions);
        let each = each.map(|each| {
            let size = if each.records.size_bytes() == 0 { "empty" } else { "records" };
            format!(
                "{} hw {} lso {} start {} {size}",
                name(each.error_code),
                each.high_watermark,
                each.last_stable_offset,
                each.log_start_offset,
            )
        });
        format!("{} [{}]", name(response.error_code), each.collect::<Vec<_>>().join(", "))
    };
    let unknown = TopicId::from_bytes([9; 16]);
    sheet.ask("fine", 11, request(topic, id, 0, 0, -1), tell).await;
    sheet.ask("fine", 18, request(topic, id, 0, 0, -1), tell).await;
    sheet.ask("at the end", 11, request(topic, id, 0, 4, -1), tell).await;
    sheet.ask("beyond the end", 11, request(topic, id, 0, 1000, -1), tell).await;
    sheet.ask("negative offset", 11, request(topic, id, 0, -5, -1), tell).await;
    sheet.ask("unknown topic", 11, request("no-such", id, 0, 0, -1), tell).await;
    sheet.ask("unknown topic id", 13, request("", unknown, 0, 0, -1), tell).await;
    sheet.ask("zero topic id", 13, request("", TopicId::ZERO, 0, 0, -1), tell).await;
    sheet.ask("unknown partition", 11, request(topic, id, 3, 0, -1), tell).await;
    sheet.ask("epoch from the future", 11, request(topic, id, 0, 0, 1000), tell).await;
    sheet.ask("no topics", 11, FetchRequest { max_wait_ms: 10, ..Default::default() }, tell).await;
    let odd = FetchRequest { session_id: 4711, session_epoch: 3, ..request(topic, id, 0, 0, -1) };
    sheet.ask("unknown session", 11, odd, tell).await;
    let odd = FetchRequest { session_id: 0, session_epoch: 5, ..request(topic, id, 0, 0, -1) };
    sheet.ask("no session, epoch 5", 11, odd, tell).await;
    let mut opened = request(topic, id, 0, 0, -1);
    opened.session_epoch = 0;
    let version = 12;
    if let Some(response) = sheet.ask("a new session", version, opened, tell).await {
        let session_id = response.session_id;
        let step = |session_epoch| FetchRequest {
            session_id,
            session_epoch,
            max_wait_ms: 10,
            min_bytes: 0,
            ..Default::default()
        };
        sheet.ask("its first step", version, step(1), tell).await;
        sheet.ask("a step repeated", version, step(1), tell).await;
        sheet.ask("a step too far", version, step(9), tell).await;
    }
}

async fn offsets(sheet: &mut Sheet, topic: &str) {
    let request = |name: &str, index: i32, timestamp: i64, epoch: i32| {
        let partition = ListOffsetsPartition {
            partition_index: index,
            timestamp,
            current_leader_epoch: epoch,
            ..Default::default()
        };
        let topic =
            ListOffsetsTopic { name: name.to_owned().into(), partitions: vec![partition], ..Default::default() };
        ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
    };
    let tell = |response: &wire::list_offsets_response::ListOffsetsResponse<'static>| {
        let found = &response.topics[0].partitions[0];
        let time = if found.timestamp < 0 { "no time" } else { "a time" };
        format!("{} offset {} epoch {} {time}", name(found.error_code), found.offset, found.leader_epoch)
    };
    for (case, version, timestamp) in [
        ("earliest", 7, -2),
        ("latest", 7, -1),
        ("largest time before 7", 6, -3),
        ("earliest local", 8, -4),
        ("earliest local before 8", 7, -4),
        ("latest tiered", 9, -5),
        ("earliest pending upload", 11, -6),
        ("an unknown place", 11, -7),
        ("a time after all", 7, i64::MAX),
        ("a time before all", 7, 0),
    ] {
        sheet.ask(case, version, request(topic, 0, timestamp, -1), tell).await;
    }
    sheet.ask("unknown topic", 7, request("no-such", 0, -1, -1), tell).await;
    sheet.ask("unknown partition", 7, request(topic, 9, -1, -1), tell).await;
    sheet.ask("epoch from the future", 7, request(topic, 0, -1, 1000), tell).await;
    let epoch = |name: &str, index: i32, current: i32, asked: i32| {
        let partition = OffsetForLeaderPartition {
            partition: index,
            current_leader_epoch: current,
            leader_epoch: asked,
            ..Default::default()
        };
        let topic =
            OffsetForLeaderTopic { topic: name.to_owned().into(), partitions: vec![partition], ..Default::default() };
        OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic], ..Default::default() }
    };
    let tell = |response: &wire::offset_for_leader_epoch_response::OffsetForLeaderEpochResponse<'static>| {
        let found = &response.topics[0].partitions[0];
        format!("{} epoch {} end {}", name(found.error_code), found.leader_epoch, found.end_offset)
    };
    sheet.ask("present epoch", 4, epoch(topic, 0, -1, 0), tell).await;
    sheet.ask("later epoch", 4, epoch(topic, 0, -1, 99), tell).await;
    sheet.ask("current epoch from the future", 4, epoch(topic, 0, 99, 0), tell).await;
    sheet.ask("unknown partition", 4, epoch(topic, 5, -1, 0), tell).await;
    let delete = |name: &str, index: i32, offset: i64| {
        let partition = DeleteRecordsPartition { partition_index: index, offset, ..Default::default() };
        let topic =
            DeleteRecordsTopic { name: name.to_owned().into(), partitions: vec![partition], ..Default::default() };
        DeleteRecordsRequest { topics: vec![topic], timeout_ms: 5000, ..Default::default() }
    };
    let tell = |response: &wire::delete_records_response::DeleteRecordsResponse<'static>| {
        let found = &response.topics[0].partitions[0];
        format!("{} start {}", name(found.error_code), found.low_watermark)
    };
    sheet.ask("beyond the end", 2, delete(topic, 0, 1000), tell).await;
    sheet.ask("negative", 2, delete(topic, 0, -2), tell).await;
    sheet.ask("one record", 2, delete(topic, 0, 1), tell).await;
    sheet.ask("behind the start", 2, delete(topic, 0, 0), tell).await;
    sheet.ask("unknown topic", 2, delete("no-such", 0, 0), tell).await;
    sheet.ask("a compacted topic", 2, delete(&format!("{topic}-compacted"), 0, 0), tell).await;
}

async fn groups(sheet: &mut Sheet, topic: &str) {
    let join = |group: &str, member: &str, session_ms: i32, kind: &str, protocols: &[&str]| JoinGroupRequest {
        group_id: group.to_owned().into(),
        member_id: member.to_owned().into(),
        session_timeout_ms: session_ms,
        rebalance_timeout_ms: 10_000,
        protocol_type: kind.to_owned().into(),
        protocols: protocols
            .iter()
            .map(|name| JoinGroupRequestProtocol {
                name: (*name).to_owned().into(),
                metadata: vec![0, 0].into(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let tell = |response: &wire::join_group_response::JoinGroupResponse<'static>| {
        format!(
            "{} generation {} protocol {:?} leader {} member {}",
            name(response.error_code),
            response.generation_id,
            response.protocol_name.as_deref(),
            !response.leader.is_empty(),
            !response.member_id.is_empty()
        )
    };
    let group = format!("{topic}-group");
    sheet.ask("empty group id", 4, join("", "", 10_000, "consumer", &["range"]), tell).await;
    sheet.ask("session too short", 4, join(&group, "", 10, "consumer", &["range"]), tell).await;
    sheet.ask("session too long", 4, join(&group, "", i32::MAX, "consumer", &["range"]), tell).await;
    sheet.ask("unknown member", 4, join(&group, "nobody", 10_000, "consumer", &["range"]), tell).await;
    sheet.ask("no protocols", 3, join(&group, "", 10_000, "consumer", &[]), tell).await;
    sheet.ask("no protocol type", 3, join(&group, "", 10_000, "", &["range"]), tell).await;
    sheet.ask("without an id", 4, join(&group, "", 10_000, "consumer", &["range"]), tell).await;
    let joined = sheet.ask("fine", 3, join(&group, "", 10_000, "consumer", &["range"]), tell).await;
    let Some(member) = joined.map(|joined| joined.member_id) else { return };
    sheet.ask("another type", 3, join(&group, "", 10_000, "connect", &["range"]), tell).await;
    sheet.ask("no common protocol", 3, join(&group, "", 10_000, "consumer", &["other"]), tell).await;

    let beat = |group: &str, member: &str, generation: i32| HeartbeatRequest {
        group_id: group.to_owned().into(),
        generation_id: generation,
        member_id: member.to_owned().into(),
        ..Default::default()
    };
    let tell = |response: &wire::heartbeat_response::HeartbeatResponse| name(response.error_code);
    sheet.ask("empty group id", 3, beat("", "m", 1), tell).await;
    sheet.ask("unknown group", 3, beat("no-such", "m", 1), tell).await;
    sheet.ask("unknown member", 3, beat(&group, "m", 1), tell).await;
    sheet.ask("wrong generation", 3, beat(&group, &member, 9), tell).await;
    sheet.ask("before the assignment", 3, beat(&group, &member, 1), tell).await;
    let sync = |member: &str, generation: i32, kind: Option<&str>| SyncGroupRequest {
        group_id: group.clone().into(),
        generation_id: generation,
        member_id: member.to_owned().into(),
        protocol_type: kind.map(|kind| kind.to_owned().into()),
        protocol_name: kind.map(|_| "range".into()),
        ..Default::default()
    };
    let tell = |response: &wire::sync_group_response::SyncGroupResponse<'static>| {
        format!("{} {} bytes", name(response.error_code), response.assignment.len())
    };
    sheet.ask("unknown member", 4, sync("m", 1, None), tell).await;
    sheet.ask("wrong generation", 4, sync(&member, 4, None), tell).await;
    sheet.ask("another type", 5, sync(&member, 1, Some("connect")), tell).await;
    sheet.ask("no type", 5, sync(&member, 1, None), tell).await;
    sheet.ask("fine, empty", 4, sync(&member, 1, None), tell).await;
    let tell = |response: &wire::heartbeat_response::HeartbeatResponse| name(response.error_code);
    sheet.ask("fine", 3, beat(&group, &member, 1), tell).await;

    let commit = |group: &str, member: &str, generation: i32, index: i32, topic: &str, note: usize| {
        let partition = OffsetCommitRequestPartition {
            partition_index: index,
            committed_offset: 5,
            committed_metadata: Some("n".repeat(note).into()),
            ..Default::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: topic.to_owned().into(),
            partitions: vec![partition],
            ..Default::default()
        };
        OffsetCommitRequest {
            group_id: group.to_owned().into(),
            member_id: member.to_owned().into(),
            generation_id_or_member_epoch: generation,
            topics: vec![topic],
            ..Default::default()
        }
    };
    let tell = |response: &wire::offset_commit_response::OffsetCommitResponse<'static>| {
        let each = response.topics.iter().flat_map(|topic| &topic.partitions);
        each.map(|each| name(each.error_code)).collect::<Vec<_>>().join(", ")
    };
    sheet.ask("fine", 8, commit(&group, &member, 1, 0, topic, 3), tell).await;
    sheet.ask("wrong generation", 8, commit(&group, &member, 7, 0, topic, 3), tell).await;
    sheet.ask("unknown member", 8, commit(&group, "m", 1, 0, topic, 3), tell).await;
    sheet.ask("nobody while there are members", 8, commit(&group, "", -1, 0, topic, 3), tell).await;
    sheet.ask("unknown topic", 8, commit(&group, &member, 1, 0, "no-such", 3), tell).await;
    sheet.ask("unknown partition", 8, commit(&group, &member, 1, 8, topic, 3), tell).await;
    sheet.ask("long note", 8, commit(&group, &member, 1, 0, topic, 5000), tell).await;
    sheet.ask("empty group id", 8, commit("", "", -1, 0, topic, 3), tell).await;
    sheet.ask("a group of nobody", 8, commit(&format!("{topic}-alone"), "", -1, 0, topic, 3), tell).await;

    let tell = |response: &wire::describe_groups_response::DescribeGroupsResponse<'static>| {
        let found = &response.groups[0];
        format!("{} {:?} {:?}", name(found.error_code), found.group_state, found.protocol_data)
    };
    for (version, id) in [(5, "no-such"), (6, "no-such"), (5, group.as_str()), (6, "")] {
        let request = DescribeGroupsRequest { groups: vec![id.to_owned().into()], ..Default::default() };
        sheet.ask(if id == group { "ours" } else { id }, version, request, tell).await;
    }
    let tell =
        |response: &wire::delete_groups_response::DeleteGroupsResponse<'static>| name(response.results[0].error_code);
    for id in ["no-such", group.as_str(), ""] {
        let request = DeleteGroupsRequest { groups_names: vec![id.to_owned().into()], ..Default::default() };
        sheet.ask(if id == group { "with a member" } else { id }, 2, request, tell).await;
    }
    let tell = |response: &wire::leave_group_response::LeaveGroupResponse<'static>| {
        let members: Vec<String> = response.members.iter().map(|member| name(member.error_code)).collect();
        format!("{} {members:?}", name(response.error_code))
    };
    for (case, version, id) in [("unknown member", 2, "m"), ("unknown member", 4, "m"), ("fine", 4, &*member)] {
        let mut request = LeaveGroupRequest { group_id: group.clone().into(), ..Default::default() };
        if version < 3 {
            request.member_id = id.to_owned().into();
        } else {
            request.members = vec![MemberIdentity { member_id: id.to_owned().into(), ..Default::default() }];
        }
        sheet.ask(case, version, request, tell).await;
    }
}

async fn topics(sheet: &mut Sheet, topic: &str) {
    let tell = |response: &wire::create_topics_response::CreateTopicsResponse<'static>| {
        let each = response.topics.iter().map(|each| {
            let configs = each.configs.as_ref().map(|configs| !configs.is_empty());
            format!(
                "{} partitions {} replicas {} configs {configs:?}",
                name(each.error_code),
                each.num_partitions,
                each.replication_factor
            )
        });
        each.collect::<Vec<_>>().join("; ")
    };
    let plain = |name: &str, partitions: i32, replicas: i16| CreatableTopic {
        name: name.to_owned().into(),
        num_partitions: partitions,
        replication_factor: replicas,
        ..Default::default()
    };
    let create = |topics: Vec<CreatableTopic<'static>>| CreateTopicsRequest {
        topics,
        timeout_ms: 5000,
        validate_only: true,
        ..Default::default()
    };
    let mut cases = vec![
        ("exists", vec![plain(topic, 1, 1)]),
        ("empty name", vec![plain("", 1, 1)]),
        ("a dot", vec![plain(".", 1, 1)]),
        ("a slash", vec![plain("a/b", 1, 1)]),
        ("too long", vec![plain(&"n".repeat(250), 1, 1)]),
        ("longest", vec![plain(&"n".repeat(249), 1, 1)]),
        ("no partitions", vec![plain("new", 0, 1)]),
        ("-2 partitions", vec![plain("new", -2, 1)]),
        ("no replicas", vec![plain("new", 1, 0)]),
        ("too many replicas", vec![plain("new", 1, 9)]),
        ("defaults", vec![plain("new", -1, -1)]),
        ("twice", vec![plain("new", 1, 1), plain("new", 1, 1)]),
        ("none", vec![]),
    ];
    let config = |key: &'static str, value: Option<&'static str>| {
        let value = value.map(Into::into);
        let config = CreatableTopicConfig { name: key.into(), value, ..Default::default() };
        vec![CreatableTopic { configs: vec![config], ..plain("new", 1, 1) }]
    };
    cases.push(("unknown setting", config("no.such", Some("1"))));
    cases.push(("wrong setting", config("retention.ms", Some("soon"))));
    cases.push(("setting out of range", config("segment.bytes", Some("1"))));
    cases.push(("null setting", config("retention.ms", None)));
    let assigned = |assignments: &[(i32, &[i32])]| {
        let assignments = assignments.iter().map(|(partition_index, nodes)| CreatableReplicaAssignment {
            partition_index: *partition_index,
            broker_ids: nodes.to_vec(),
            ..Default::default()
        });
        vec![CreatableTopic { assignments: assignments.collect(), ..plain("new", -1, -1) }]
    };
    cases.push(("assigned", assigned(&[(0, &[1])])));
    cases.push(("assigned to an unknown node", assigned(&[(0, &[99])])));
    cases.push(("assigned with a gap", assigned(&[(1, &[1])])));
    cases.push(("assigned to one node twice", assigned(&[(0, &[1, 1])])));
    let mut both = assigned(&[(0, &[1])]);
    both[0].num_partitions = 2;
    cases.push(("assigned and counted", both));
    for (case, topics) in cases {
        sheet.ask(case, 7, create(topics), tell).await;
    }
    sheet.ask("defaults before 4", 3, create(vec![plain("new", -1, -1)]), tell).await;

    let grow = |name: &str, count: i32, assignments: Option<Vec<CreatePartitionsAssignment>>| {
        let topic = CreatePartitionsTopic { name: name.to_owned().into(), count, assignments, ..Default::default() };
        CreatePartitionsRequest { topics: vec![topic], timeout_ms: 5000, validate_only: true, ..Default::default() }
    };
    let tell = |response: &wire::create_partitions_response::CreatePartitionsResponse<'static>| {
        response.results.iter().map(|each| name(each.error_code)).collect::<Vec<_>>().join(", ")
    };
    let to = |node| Some(vec![CreatePartitionsAssignment { broker_ids: vec![node], ..Default::default() }]);
    sheet.ask("as many", 3, grow(topic, 1, None), tell).await;
    sheet.ask("fewer", 3, grow(topic, 0, None), tell).await;
    sheet.ask("more", 3, grow(topic, 3, None), tell).await;
    sheet.ask("too few assignments", 3, grow(topic, 3, to(1)), tell).await;
    sheet.ask("an unknown node", 3, grow(topic, 2, to(99)), tell).await;
    sheet.ask("unknown topic", 3, grow("no-such", 3, None), tell).await;

    let tell = |response: &wire::delete_topics_response::DeleteTopicsResponse<'static>| {
        let each = response.responses.iter().map(|each| format!("{} {:?}", name(each.error_code), each.name.is_some()));
        each.collect::<Vec<_>>().join(", ")
    };
    let by_name = DeleteTopicsRequest { topic_names: vec!["no-such".into()], timeout_ms: 5000, ..Default::default() };
    sheet.ask("unknown topic", 5, by_name, tell).await;
    let delete = |states| DeleteTopicsRequest { topics: states, timeout_ms: 5000, ..Default::default() };
    let by_id = DeleteTopicState { topic_id: TopicId::from_bytes([9; 16]), ..Default::default() };
    let named = DeleteTopicState { name: Some("no-such".into()), ..Default::default() };
    sheet.ask("unknown id", 6, delete(vec![by_id.clone()]), tell).await;
    sheet.ask("neither name nor id", 6, delete(vec![DeleteTopicState::default()]), tell).await;
    let both = DeleteTopicState { name: named.name.clone(), ..by_id };
    sheet.ask("name and id", 6, delete(vec![both]), tell).await;
    sheet.ask("one twice", 6, delete(vec![named.clone(), named]), tell).await;
}

async fn configs_and_metadata(sheet: &mut Sheet, topic: &str) {
    let describe = |kind: i8, name: &str, keys: Option<&[&str]>| DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned().into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).to_owned().into()).collect()),
            ..Default::default()
        }],
        ..Default::default()
    };
    let tell = |response: &wire::describe_configs_response::DescribeConfigsResponse<'static>| {
        let found = &response.results[0];
        let one = |config: &wire::describe_configs_response::DescribeConfigsResourceResult<'static>| {
            format!("{}={:?} from {}", config.name, config.value, config.config_source)
        };
        let mut configs: Vec<String> = found.configs.iter().map(one).collect();
        configs.sort();
        let configs = if configs.len() < 4 { configs.join(" ") } else { "many".to_owned() };
        format!("{} {configs}", name(found.error_code))
    };
    sheet.ask("unknown topic", 4, describe(2, "no-such", None), tell).await;
    sheet.ask("a wrong name", 4, describe(2, "a/b", None), tell).await;
    sheet.ask("unknown node", 4, describe(4, "99", None), tell).await;
    sheet.ask("a node that is no number", 4, describe(4, "x", None), tell).await;
    sheet.ask("an unknown kind", 4, describe(7, "x", None), tell).await;
    sheet.ask("some keys", 4, describe(2, topic, Some(&["max.message.bytes", "retention.ms", "no.such"])), tell).await;
    sheet.ask("all keys", 4, describe(2, topic, None), tell).await;

    let alter = |kind: i8, name: &str, key: &'static str, operation: i8, value: Option<&'static str>| {
        let config = AlterableConfig {
            name: key.into(),
            config_operation: operation,
            value: value.map(Into::into),
            ..Default::default()
        };
        let resource = AlterConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned().into(),
            configs: vec![config],
            ..Default::default()
        };
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: true, ..Default::default() }
    };
    let tell = |response: &wire::incremental_alter_configs_response::IncrementalAlterConfigsResponse<'static>| {
        response.responses.iter().map(|each| name(each.error_code)).collect::<Vec<_>>().join(", ")
    };
    sheet.ask("fine", 1, alter(2, topic, "retention.ms", 0, Some("1000")), tell).await;
    sheet.ask("unknown topic", 1, alter(2, "no-such", "retention.ms", 0, Some("1000")), tell).await;
    sheet.ask("unknown setting", 1, alter(2, topic, "no.such", 0, Some("1")), tell).await;
    sheet.ask("wrong value", 1, alter(2, topic, "retention.ms", 0, Some("soon")), tell).await;
    sheet.ask("null value", 1, alter(2, topic, "retention.ms", 0, None), tell).await;
    sheet.ask("append to a list", 1, alter(2, topic, "cleanup.policy", 2, Some("compact")), tell).await;
    sheet.ask("append to a number", 1, alter(2, topic, "retention.ms", 2, Some("1")), tell).await;
    sheet.ask("unknown node", 1, alter(4, "99", "log.retention.ms", 0, Some("1")), tell).await;

    let metadata = |name: Option<&str>, id: TopicId| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            topic_id: id,
            name: name.map(|name| name.to_owned().into()),
            ..Default::default()
        }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let tell = |response: &wire::metadata_response::MetadataResponse<'static>| {
        let each = response.topics.iter().map(|each| {
            let (named, partitions) = (each.name.is_some(), each.partitions.len());
            format!("{} named {named} partitions {partitions}", name(each.error_code))
        });
        format!("{} [{}]", name(response.error_code), each.collect::<Vec<_>>().join(", "))
    };
    sheet.ask("unknown topic", 9, metadata(Some("no-such"), TopicId::ZERO), tell).await;
    sheet.ask("a wrong name", 9, metadata(Some("a/b"), TopicId::ZERO), tell).await;
    sheet.ask("unknown id", 12, metadata(None, TopicId::from_bytes([9; 16])), tell).await;
    sheet.ask("no topics", 9, MetadataRequest::default(), tell).await;
}

/// Frames that no client library lets one send.
async fn frames(sheet: &mut Sheet) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let frame = |key: i16, version: i16, rest: &[u8]| {
        let body = [&key.to_be_bytes()[..], &version.to_be_bytes(), &7_i32.to_be_bytes(), rest].concat();
        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
    };
    const NO_CLIENT: [u8; 2] = [0xff, 0xff];
    let with = |rest: &[u8]| [&NO_CLIENT[..], rest].concat();
    let all_topics_v1 = [0xff, 0xff, 0xff, 0xff];
    let cases = [
        ("ApiVersions 99", frame(18, 99, &with(&[0, 1, 1, 0]))),
        ("ApiVersions 0", frame(18, 0, &with(&[]))),
        ("ApiVersions 3, empty software name", frame(18, 3, &with(&[0, 1, 1, 0]))),
        ("ApiVersions 3, cut short", frame(18, 3, &with(&[0, 3]))),
        ("ApiVersions -1", frame(18, -1, &with(&[]))),
        ("an unknown API", frame(999, 0, &with(&[]))),
        ("an API of controllers", frame(52, 0, &with(&[0, 0, 0]))),
        ("Produce 2", frame(0, 2, &with(&[0, 1, 0, 0, 0, 9, 0, 0, 0, 0]))),
        ("Produce 99", frame(0, 99, &with(&[]))),
        ("Metadata 99", frame(3, 99, &with(&[]))),
        ("Metadata 1", frame(3, 1, &with(&all_topics_v1))),
        ("Metadata 1, cut short", frame(3, 1, &with(&all_topics_v1[..3]))),
        ("Metadata 1, a count of 2^31 - 1", frame(3, 1, &with(&[0x7f, 0xff, 0xff, 0xff]))),
        ("Metadata 1, a count of -2", frame(3, 1, &with(&[0xff, 0xff, 0xff, 0xfe]))),
        ("Metadata 0, null topics", frame(3, 0, &with(&all_topics_v1))),
        ("Metadata 9, unknown tagged field", frame(3, 9, &with(&[0, 1, 0, 0, 0, 1, 99, 1, 7]))),
        ("Metadata 1, trailing bytes", frame(3, 1, &with(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3]))),
        ("Metadata 9, a tagged field of another length", frame(3, 9, &with(&[0, 1, 0, 0, 0, 2, 99, 1, 7, 99, 1, 8]))),
        ("a header cut short", vec![0, 0, 0, 3, 0, 3, 0]),
        ("an empty frame", vec![0; 4]),
        ("a negative size", vec![0xff; 4]),
        ("a size of 2 GiB", vec![0x7f, 0xff, 0xff, 0xff]),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
    ];
    for (case, bytes) in cases {
        let mut socket = tokio::net::TcpStream::connect(sheet.connection.address()).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        let mut answer = vec![0; 10];
        let outcome = match tokio::time::timeout(Duration::from_secs(5), socket.read_exact(&mut answer)).await {
            // Of ApiVersions the code is told, of the others that there is an answer.
            Ok(Ok(_)) if case.starts_with("ApiVersions") => name(i16::from_be_bytes([answer[8], answer[9]])),
            Ok(Ok(_)) => "answered".to_owned(),
            Ok(Err(_)) => "closed".to_owned(),
            Err(_) => "silence".to_owned(),
        };
        writeln!(sheet.text, "frame, {case}: {outcome}").unwrap();
    }
}
