//! Every refusal that a client sees is counted once, by API and cause; what goes well is counted as it was sent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use batch::{BatchBuilder, Codec};
use broker::config::{Config, Dynamic, RawConfig};
use types::{ErrorCode, Timestamp, TopicId};
use wire::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use wire::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use wire::delete_groups_request::DeleteGroupsRequest;
use wire::delete_records_request::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use wire::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use wire::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use wire::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use wire::frame;
use wire::heartbeat_request::HeartbeatRequest;
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use wire::init_producer_id_request::InitProducerIdRequest;
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
use wire::{OwnedResponse, Reader, Request, Response, Writer};

/// How long a metric may take to follow what was answered.
const PATIENCE: Duration = Duration::from_secs(20);

struct TestNode {
    node: Option<broker::Node>,
    folder: PathBuf,
    stream: TcpStream,
    /// What every answer so far refused, as the client read it.
    seen: BTreeMap<(String, &'static str), u64>,
}

impl TestNode {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringlog-refusals-{name}-{}", std::process::id()));
        let mut raw = RawConfig::new();
        for line in [
            &format!("log.dirs={}", folder.join("data").display()),
            "listeners=PLAINTEXT://127.0.0.1:0",
            "ringlog.shards=2",
            "ringlog.http.listener=127.0.0.1:0",
            "group.initial.rebalance.delay.ms=0",
            "max.connections.per.ip=3",
        ] {
            raw.read_override(line).expect("an override");
        }
        let node = broker::start(Config::prove(raw, Dynamic::NONE).expect("a config")).expect("a node");
        let stream = TcpStream::connect(node.report().listening[0]).expect("connected");
        Self { node: Some(node), folder, stream, seen: BTreeMap::new() }
    }

    fn address(&self) -> SocketAddr {
        self.node.as_ref().expect("it runs").report().listening[0]
    }

    fn http(&self) -> SocketAddr {
        self.node.as_ref().expect("it runs").report().http.expect("it serves HTTP")
    }

    fn ask<'a, R: Request<'a>>(&mut self, version: i16, body: &R) -> R::Response {
        let mut writer = Writer::new();
        frame::encode_request(&mut writer, version, 7, Some("odd \"client\""), body).expect("a request");
        self.stream.write_all(&writer.into_bytes()).expect("sent");
        let answer = read_frame(&mut self.stream);
        let mut reader = Reader::new(&answer);
        let api = R::API_KEY.api();
        assert_eq!(frame::decode_response_header(&mut reader, api, version), Ok(7));
        let response = R::Response::decode_owned(&answer[reader.position()..], version)
            .unwrap_or_else(|error| panic!("{} {version}: {error}", api.name));
        let seen = &mut self.seen;
        response.errors(version, &mut |code, _| {
            let cause = ErrorCode::from_wire(code).expect("Kafka's code").name();
            *seen.entry((api.name.to_owned(), cause)).or_insert(0) += 1;
        });
        response
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.http()).expect("connected");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
        body.to_owned()
    }

    fn metrics(&self) -> Metrics {
        Metrics(self.get("/metrics"))
    }

    /// Asks until the sample says `expected`: what was counted just before an answer left may show just after it.
    fn await_sample(&self, sample: &str, expected: &str) {
        let began = std::time::Instant::now();
        loop {
            let metrics = self.metrics();
            if metrics.value(sample) == Some(expected) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{sample} is {:?}, not {expected}", metrics.value(sample));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sets a setting of all brokers while the node runs; `None` takes it back.
    fn set(&mut self, name: &str, value: Option<&str>) {
        let config = AlterableConfig {
            name: Cow::Owned(name.to_owned()),
            config_operation: i8::from(value.is_none()),
            value: value.map(|value| Cow::Owned(value.to_owned())),
            ..Default::default()
        };
        let resource = AlterConfigsResource {
            resource_type: 4,
            resource_name: "".into(),
            configs: vec![config],
            ..Default::default()
        };
        let answer = self.ask(1, &IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() });
        assert_eq!(answer.responses[0].error_code, 0, "{name}: {answer:?}");
    }

    fn create(&mut self, name: &str, partitions: i32, configs: Vec<CreatableTopicConfig<'_>>) {
        let topic = CreatableTopic {
            name: Cow::Owned(name.to_owned()),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.into_iter().map(CreatableTopicConfig::into_owned).collect(),
            ..Default::default()
        };
        self.ask(7, &CreateTopicsRequest { topics: vec![topic], timeout_ms: 5000, ..Default::default() });
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).expect("a whole answer");
    answer
}

/// A page of metrics.
struct Metrics(String);

impl Metrics {
    fn value(&self, sample: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))
    }

    fn number(&self, sample: &str) -> f64 {
        self.value(sample).unwrap_or_else(|| panic!("no {sample}")).parse().expect("a number")
    }

    fn refusals(&self) -> BTreeMap<(String, String), u64> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix("ringlog_refusals_total{api=\""));
        let parsed = lines.map(|line| {
            let (api, rest) = line.split_once("\",cause=\"").expect("two labels");
            let (cause, count) = rest.split_once("\"} ").expect("a count");
            ((api.to_owned(), cause.to_owned()), count.parse().expect("a count"))
        });
        parsed.collect()
    }
}

fn batch(records: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..records {
        builder.append(Timestamp::from_millis(1_700_000_000_000), None, Some(b"value"), &[]);
    }
    builder.build_unstamped().to_vec()
}

fn produce<'a>(acks: i16, parts: &[(&'static str, i32, Vec<u8>)]) -> ProduceRequest<'a> {
    let topic_data = parts.iter().map(|(topic, index, records)| TopicProduceData {
        name: (*topic).into(),
        partition_data: vec![PartitionProduceData {
            index: *index,
            records: wire::Records::Inline(Cow::Owned(records.clone())),
            ..Default::default()
        }],
        ..Default::default()
    });
    ProduceRequest { acks, timeout_ms: 5000, topic_data: topic_data.collect(), ..Default::default() }
}

fn fetch(topic: &'static str, partition: i32, offset: i64) -> FetchRequest<'static> {
    let partition = FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        current_leader_epoch: -1,
        ..Default::default()
    };
    let topic = FetchTopic { topic: topic.into(), partitions: vec![partition], ..Default::default() };
    FetchRequest { max_bytes: 1 << 20, session_epoch: -1, topics: vec![topic], ..Default::default() }
}

#[test]
fn every_refusal_on_the_wire_is_in_the_metrics() {
    let mut node = TestNode::start("all");
    node.create("t", 2, Vec::new());
    assert!(node.seen.is_empty(), "{:?}", node.seen);

    node.create("t", 2, Vec::new());
    node.create("no/such name", 1, Vec::new());
    node.create("u", 0, Vec::new());
    let config = CreatableTopicConfig { name: "retention.ms".into(), value: Some("long".into()), ..Default::default() };
    node.create("v", 1, vec![config]);
    let more = CreatePartitionsTopic { name: "t".into(), count: 1, assignments: None, ..Default::default() };
    node.ask(3, &CreatePartitionsRequest { topics: vec![more], timeout_ms: 5000, ..Default::default() });
    let gone = |name: &'static str| DeleteTopicState { name: Some(name.into()), ..Default::default() };
    node.ask(6, &DeleteTopicsRequest { topics: vec![gone("x"), gone("y")], timeout_ms: 5000, ..Default::default() });

    // One request, three partitions refused for two reasons, one taken.
    let mut broken = batch(1);
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let parts = [("t", 0, batch(1)), ("t", 9, batch(1)), ("nowhere", 0, batch(1)), ("t", 1, broken)];
    node.ask(9, &produce(-1, &parts));
    node.ask(9, &produce(7, &[("t", 0, batch(1))]));
    node.ask(12, &fetch("t", 0, 99));
    node.ask(12, &fetch("t", 7, 0));
    node.ask(12, &fetch("nowhere", 0, 0));
    let stranger = FetchRequest { session_id: 4711, session_epoch: 5, ..Default::default() };
    node.ask(12, &stranger);

    let position =
        ListOffsetsPartition { partition_index: 5, timestamp: -1, current_leader_epoch: -1, ..Default::default() };
    let offsets = ListOffsetsTopic { name: "t".into(), partitions: vec![position], ..Default::default() };
    node.ask(6, &ListOffsetsRequest { replica_id: -1, topics: vec![offsets], ..Default::default() });
    let epoch =
        OffsetForLeaderPartition { partition: 5, leader_epoch: 0, current_leader_epoch: -1, ..Default::default() };
    let epochs = OffsetForLeaderTopic { topic: "t".into(), partitions: vec![epoch], ..Default::default() };
    node.ask(4, &OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![epochs], ..Default::default() });
    let cut = DeleteRecordsPartition { partition_index: 0, offset: 1000, ..Default::default() };
    let cut = DeleteRecordsTopic { name: "t".into(), partitions: vec![cut], ..Default::default() };
    node.ask(2, &DeleteRecordsRequest { topics: vec![cut], timeout_ms: 5000, ..Default::default() });
    let topic = MetadataRequestTopic { name: Some("nowhere".into()), topic_id: TopicId::ZERO, ..Default::default() };
    node.ask(
        12,
        &MetadataRequest { topics: Some(vec![topic]), allow_auto_topic_creation: false, ..Default::default() },
    );
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: "nowhere".into(),
        configuration_keys: None,
        ..Default::default()
    };
    node.ask(4, &DescribeConfigsRequest { resources: vec![resource], ..Default::default() });
    let id = InitProducerIdRequest {
        transactional_id: Some("tx".into()),
        transaction_timeout_ms: 1000,
        ..Default::default()
    };
    node.ask(4, &id);

    let protocol = JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
    let join = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..Default::default()
    };
    node.ask(7, &join);
    node.ask(7, &JoinGroupRequest { session_timeout_ms: 1, member_id: "m".into(), ..join.clone() });
    let group = || Cow::Borrowed("g");
    node.ask(4, &HeartbeatRequest { group_id: group(), generation_id: 3, member_id: "m".into(), ..Default::default() });
    node.ask(5, &SyncGroupRequest { group_id: group(), generation_id: 3, member_id: "m".into(), ..Default::default() });
    let member = MemberIdentity { member_id: "m".into(), ..Default::default() };
    node.ask(4, &LeaveGroupRequest { group_id: group(), members: vec![member], ..Default::default() });
    let commit = OffsetCommitRequestPartition { partition_index: 0, committed_offset: 1, ..Default::default() };
    let commit = OffsetCommitRequestTopic { name: "t".into(), partitions: vec![commit], ..Default::default() };
    let commit = OffsetCommitRequest {
        group_id: group(),
        generation_id_or_member_epoch: 3,
        member_id: "m".into(),
        topics: vec![commit],
        ..Default::default()
    };
    node.ask(8, &commit);
    node.ask(2, &DeleteGroupsRequest { groups_names: vec!["nobody".into()], ..Default::default() });

    assert!(node.seen.len() >= 20, "too few were refused: {:#?}", node.seen);
    let seen: BTreeMap<(String, String), u64> =
        node.seen.iter().map(|((api, cause), count)| ((api.clone(), (*cause).to_owned()), *count)).collect();
    assert_eq!(node.metrics().refusals(), seen);
    assert_eq!(seen[&("Produce".to_owned(), "UNKNOWN_TOPIC_OR_PARTITION".to_owned())], 2);
    assert_eq!(seen[&("DeleteTopics".to_owned(), "UNKNOWN_TOPIC_OR_PARTITION".to_owned())], 2);
}

#[test]
fn closed_and_refused_connections_are_counted_by_cause() {
    let mut node = TestNode::start("connections");
    node.create("t", 1, Vec::new());
    let ended = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(node.address()).expect("connected");
        stream.write_all(bytes).expect("sent");
        let mut rest = Vec::new();
        // Closed: with an end or with a reset.
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "nothing is answered");
    };
    ended(b"GET / HTTP/1.1\r\n\r\n");
    // | size 10 | api 999 | version 0 | correlation 1 | no client id |
    ended(&[0, 0, 0, 10, 0x03, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
    let mut unacked = Writer::new();
    frame::encode_request(&mut unacked, 9, 1, None, &produce(0, &[("nowhere", 0, batch(1))])).expect("a request");
    ended(&unacked.into_bytes());
    node.await_sample("ringlog_connections_closed_total{cause=\"malformed\"}", "1");
    node.await_sample("ringlog_connections_closed_total{cause=\"unserved\"}", "1");
    node.await_sample("ringlog_connections_closed_total{cause=\"unacked_refusal\"}", "1");
    node.await_sample("ringlog_refusals_total{api=\"Produce\",cause=\"UNKNOWN_TOPIC_OR_PARTITION\"}", "1");
    node.await_sample("ringlog_connections", "1");

    let _second = TcpStream::connect(node.address()).expect("connected");
    let _third = TcpStream::connect(node.address()).expect("connected");
    ended(b"");
    node.await_sample("ringlog_connections_refused_total{cause=\"max.connections.per.ip\"}", "1");
    node.await_sample("ringlog_connections_refused_total{cause=\"max.connections\"}", "0");
    node.await_sample("ringlog_connections_accepted_total", "6");
    drop((_second, _third));
    node.await_sample("ringlog_connections_closed_total{cause=\"client\"}", "2");
}

#[test]
fn what_was_produced_and_fetched_is_counted_exactly() {
    let mut node = TestNode::start("counts");
    node.create("t.odd-name_1", 3, Vec::new());
    let three = batch(3);
    for _ in 0..10 {
        node.ask(9, &produce(-1, &[("t.odd-name_1", 0, three.clone()), ("t.odd-name_1", 2, batch(1))]));
    }
    let fetched = node.ask(12, &fetch("t.odd-name_1", 0, 0));
    let bytes = fetched.responses[0].partitions[0].records.size_bytes();
    assert_eq!(bytes, 10 * three.len());

    let stored = 10 * (three.len() + batch(1).len());
    let metrics = node.metrics();
    for (sample, expected) in [
        ("ringlog_produced_records_total", 40),
        ("ringlog_produced_bytes_total", stored),
        ("ringlog_fetched_bytes_total", bytes),
        ("ringlog_request_duration_seconds_count{api=\"Produce\"}", 10),
        ("ringlog_request_duration_seconds_bucket{api=\"Produce\",le=\"+Inf\"}", 10),
        ("ringlog_request_duration_seconds_count{api=\"Fetch\"}", 1),
        ("ringlog_request_duration_seconds_count{api=\"CreateTopics\"}", 1),
        ("ringlog_partition_log_start_offset{topic=\"t.odd-name_1\",partition=\"0\"}", 0),
        ("ringlog_partition_high_watermark{topic=\"t.odd-name_1\",partition=\"0\"}", 30),
        ("ringlog_partition_log_end_offset{topic=\"t.odd-name_1\",partition=\"0\"}", 30),
        ("ringlog_partition_size_bytes{topic=\"t.odd-name_1\",partition=\"0\"}", 10 * three.len()),
        ("ringlog_partition_log_end_offset{topic=\"t.odd-name_1\",partition=\"1\"}", 0),
        ("ringlog_partition_log_end_offset{topic=\"t.odd-name_1\",partition=\"2\"}", 10),
        ("ringlog_connections", 1),
        ("ringlog_ready", 1),
    ] {
        assert_eq!(metrics.value(sample), Some(expected.to_string().as_str()), "{sample}");
    }
    let writes: f64 =
        (0..2).map(|shard| metrics.number(&format!("ringlog_log_ring_writes_total{{shard=\"{shard}\"}}"))).sum();
    let written: f64 =
        (0..2).map(|shard| metrics.number(&format!("ringlog_log_ring_written_bytes_total{{shard=\"{shard}\"}}"))).sum();
    assert!((10.0..=20.0).contains(&writes), "each request is awaited, so each is a write or two: {writes}");
    assert_eq!(written as usize, stored);
    // Ten awaited requests took some time, and no longer than this test.
    let sum = metrics.number("ringlog_request_duration_seconds_sum{api=\"Produce\"}");
    assert!(sum > 0.0 && sum < PATIENCE.as_secs_f64(), "{sum}");
    let received = metrics.number("ringlog_received_bytes_total");
    assert!(received > stored as f64 && metrics.number("ringlog_sent_bytes_total") > bytes as f64);
}

#[test]
fn an_fsync_that_acks_wait_for_is_timed_and_nothing_stays_unsynced() {
    let mut node = TestNode::start("durable");
    let durable = CreatableTopicConfig { name: "flush.messages".into(), value: Some("1".into()), ..Default::default() };
    node.create("d", 1, vec![durable]);
    for _ in 0..3 {
        node.ask(9, &produce(-1, &[("d", 0, batch(1))]));
    }
    let metrics = node.metrics();
    let line = |name: &str| {
        let sample = metrics.0.lines().find_map(|line| line.strip_prefix(name)).expect("the family is there");
        sample.rsplit_once(' ').expect("a value").1.parse::<f64>().expect("a number")
    };
    assert!(line("ringlog_fsync_duration_seconds_count{") >= 3.0, "three acks waited for an fsync each");
    assert!(line("ringlog_fsync_duration_seconds_sum{") > 0.0);
    assert_eq!(line("ringlog_log_dir_unsynced_bytes{"), 0.0);
    node.create("p", 1, Vec::new());
    node.ask(9, &produce(-1, &[("p", 0, batch(1))]));
    let page = node.metrics().0;
    let unsynced = page.lines().find(|line| line.starts_with("ringlog_log_dir_unsynced_bytes{")).expect("it is there");
    assert!(!unsynced.ends_with(" 0"), "what was acked from the page cache is a debt: {unsynced}");
}

#[test]
fn every_family_has_help_and_type_and_is_in_one_piece() {
    let mut node = TestNode::start("families");
    node.create("t", 2, Vec::new());
    node.create("t", 2, Vec::new());
    node.ask(9, &produce(-1, &[("t", 0, batch(1))]));
    let page = node.metrics().0;
    let mut families: Vec<(&str, &str)> = Vec::new();
    let mut helped = "";
    let mut samples = 0;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(help.len() > 10, "{name}: {help}");
            helped = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert_eq!(name, helped, "help and type stand together");
            assert!(families.iter().all(|(known, _)| *known != name), "{name} stands twice");
            assert!(name.starts_with("ringlog_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            families.push((name, kind));
        } else {
            let (name, kind) = families.last().expect("a family before its samples");
            let sample = line.split(['{', ' ']).next().expect("a name");
            let suffix = sample.strip_prefix(name).unwrap_or_else(|| panic!("{sample} within {name}"));
            let of_histogram = *kind == "histogram" && ["_bucket", "_sum", "_count"].contains(&suffix);
            assert!(suffix.is_empty() && *kind != "histogram" || of_histogram, "{line}");
            assert!(line.rsplit_once(' ').expect("a value").1.parse::<f64>().is_ok(), "{line}");
            samples += 1;
        }
    }
    assert!(families.len() > 40 && samples > 200, "{} families, {samples} samples", families.len());
}

#[test]
fn limits_of_connections_change_while_the_node_runs() {
    let mut node = TestNode::start("limits");
    // A connection that is taken is answered, one that is not is closed.
    let is_taken = |node: &TestNode| {
        let mut stream = TcpStream::connect(node.address()).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // | size | ApiVersions (18) | version 0 | correlation 1 | no client id |
        stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]).is_ok()
            && stream.read(&mut [0; 4]).is_ok_and(|read| read > 0)
    };
    assert!(is_taken(&node), "the file says three");
    node.set("max.connections.per.ip", Some("1"));
    node.await_sample("ringlog_connections", "1");
    assert!(!is_taken(&node));
    node.await_sample("ringlog_connections_refused_total{cause=\"max.connections.per.ip\"}", "1");
    node.set("max.connections.per.ip.overrides", Some("127.0.0.1:2"));
    assert!(is_taken(&node), "an address with a limit of its own");
    node.set("max.connections", Some("1"));
    node.await_sample("ringlog_connections", "1");
    assert!(!is_taken(&node));
    node.await_sample("ringlog_connections_refused_total{cause=\"max.connections\"}", "1");
    node.set("max.connections", None);
    assert!(is_taken(&node));
    let resource = DescribeConfigsResource {
        resource_type: 4,
        resource_name: "1".into(),
        configuration_keys: Some(vec!["max.connections.per.ip".into(), "log.cleaner.backoff.ms".into()]),
        ..Default::default()
    };
    let answer = node.ask(4, &DescribeConfigsRequest { resources: vec![resource], ..Default::default() });
    let rows = &answer.results[0].configs;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| !row.read_only), "{rows:?}");
}
