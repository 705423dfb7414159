//! The admin APIs of a running node, over a socket, in every version that is served.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use batch::{BatchBuilder, Codec};
use broker::config::{Config, Dynamic, RawConfig};
use types::{ErrorCode, Timestamp, TopicId};
use wire::frame;
use wire::{
    Api, ApiKey, OwnedResponse, Reader, Request, Writer, alter_configs_request, create_partitions_request,
    create_topics_request, delete_topics_request, describe_cluster_request, describe_configs_request,
    describe_quorum_request, describe_topic_partitions_request, fetch_request, incremental_alter_configs_request,
    init_producer_id_request, list_config_resources_request, produce_request,
};

use alter_configs_request::AlterConfigsRequest;
use create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use describe_cluster_request::DescribeClusterRequest;
use describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use describe_quorum_request::DescribeQuorumRequest;
use describe_topic_partitions_request::{DescribeTopicPartitionsRequest, TopicRequest};
use fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use init_producer_id_request::InitProducerIdRequest;
use list_config_resources_request::ListConfigResourcesRequest;
use produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// A node of its own, stopped and gone with the test.
struct TestNode {
    node: Option<broker::Node>,
    folder: PathBuf,
    stream: TcpStream,
}

impl TestNode {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringlog-admin-{name}-{}", std::process::id()));
        Self::start_in(folder, &["data"])
    }

    /// A node over these folders within `folder`.
    fn start_in(folder: PathBuf, log_dirs: &[&str]) -> Self {
        Self::start_with(folder, log_dirs, &[])
    }

    fn start_with(folder: PathBuf, log_dirs: &[&str], overrides: &[&str]) -> Self {
        let dirs: Vec<String> = log_dirs.iter().map(|dir| folder.join(dir).display().to_string()).collect();
        let mut raw = RawConfig::new();
        for line in [
            &format!("log.dirs={}", dirs.join(",")),
            "listeners=PLAINTEXT://127.0.0.1:0",
            "ringlog.shards=2",
            "ringlog.http.listener=",
            "num.partitions=2",
        ]
        .iter()
        .chain(overrides)
        {
            raw.read_override(line).expect("an override");
        }
        let config = Config::prove(raw, Dynamic::NONE).expect("a config");
        let node = broker::start(config).expect("a node");
        let stream = TcpStream::connect(node.report().listening[0]).expect("connected");
        Self { node: Some(node), folder, stream }
    }

    fn ask<'a, R: Request<'a>>(&mut self, version: i16, body: &R) -> R::Response {
        let mut writer = Writer::new();
        frame::encode_request(&mut writer, version, 7, Some("test"), body).expect("a request");
        self.stream.write_all(&writer.into_bytes()).expect("sent");
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).expect("an answer");
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut answer).expect("a whole answer");
        let mut reader = Reader::new(&answer);
        let api = R::API_KEY.api();
        assert_eq!(frame::decode_response_header(&mut reader, api, version), Ok(7));
        let body = &answer[reader.position()..];
        R::Response::decode_owned(body, version).unwrap_or_else(|error| panic!("{} {version}: {error}", api.name))
    }

    /// Stops the node and keeps its files.
    fn stop(mut self) -> PathBuf {
        if let Some(node) = self.node.take() {
            node.stop();
        }
        std::mem::take(&mut self.folder)
    }

    /// Appends one record; its offset or an error.
    fn produce(&mut self, topic: &'static str, index: i32) -> Result<i64, ErrorCode> {
        self.produce_keyed(topic, index, None, 1_700_000_000_000)
    }

    fn produce_keyed(
        &mut self,
        topic: &'static str,
        index: i32,
        key: Option<&[u8]>,
        time_ms: i64,
    ) -> Result<i64, ErrorCode> {
        let batch = BatchBuilder::new(Codec::None)
            .append(Timestamp::from_millis(time_ms), key, Some(b"value"), &[])
            .build_unstamped();
        let partition = PartitionProduceData {
            index,
            records: wire::Records::Inline(Cow::Owned(batch.to_vec())),
            ..Default::default()
        };
        let topic = TopicProduceData { name: topic.into(), partition_data: vec![partition], ..Default::default() };
        let request = ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 5000,
            topic_data: vec![topic],
            ..Default::default()
        };
        let answer = self.ask(9, &request);
        let part = &answer.responses[0].partition_responses[0];
        match ErrorCode::from_wire(part.error_code).expect("a code") {
            ErrorCode::None => Ok(part.base_offset),
            code => Err(code),
        }
    }

    fn create(&mut self, name: &str) {
        self.create_with(name, Vec::new());
    }

    fn create_with(&mut self, name: &str, configs: Vec<CreatableTopicConfig<'_>>) {
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: -1,
            replication_factor: -1,
            configs,
            ..Default::default()
        };
        let answer = self.ask(7, &CreateTopicsRequest { topics: vec![topic], ..Default::default() });
        assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop();
        }
        if !self.folder.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn versions(api: ApiKey) -> std::ops::RangeInclusive<i16> {
    let api: &Api = api.api();
    api.version_min..=api.version_max
}

#[test]
fn topics_live_and_die_in_every_version() {
    let mut node = TestNode::start("topics");
    for version in versions(ApiKey::CreateTopics) {
        let name = format!("topic-{version}");
        // Defaults may be asked for from version 4 on; before that the numbers are needed.
        let (num_partitions, replication_factor) = if version < 4 { (2, 1) } else { (-1, -1) };
        let configs = vec![CreatableTopicConfig {
            name: "retention.ms".into(),
            value: Some("5000".into()),
            ..Default::default()
        }];
        let topic =
            CreatableTopic { name: (&*name).into(), num_partitions, replication_factor, configs, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let answer = node.ask(version, &request);
        let made = &answer.topics[0];
        assert_eq!((made.name.as_ref(), made.error_code), (&*name, 0), "version {version}");
        if 5 <= version {
            let configs = made.configs.as_ref().expect("configs");
            let retention = configs.iter().find(|config| config.name == "retention.ms").expect("retention.ms");
            assert_eq!((retention.value.as_deref(), retention.config_source), (Some("5000"), 1));
            assert_eq!((made.num_partitions, made.replication_factor), (2, 1));
        }
        assert_eq!(made.topic_id.is_zero(), version < 7);
        let again = node.ask(version, &request);
        assert_eq!(again.topics[0].error_code, ErrorCode::TopicAlreadyExists.code());
    }
    for version in versions(ApiKey::CreatePartitions) {
        let topic = CreatePartitionsTopic {
            name: "topic-7".into(),
            count: 3 + i32::from(version),
            assignments: None,
            ..Default::default()
        };
        let answer = node.ask(version, &CreatePartitionsRequest { topics: vec![topic], ..Default::default() });
        assert_eq!(answer.results[0].error_code, 0, "version {version}: {answer:?}");
    }
    for version in versions(ApiKey::DeleteTopics) {
        let name: Cow<'_, str> = format!("topic-{}", version + 1).into();
        let request = if version < 6 {
            DeleteTopicsRequest { topic_names: vec![name], ..Default::default() }
        } else {
            let topics = vec![DeleteTopicState { name: Some(name), ..Default::default() }];
            DeleteTopicsRequest { topics, ..Default::default() }
        };
        let answer = node.ask(version, &request);
        assert_eq!(answer.responses[0].error_code, 0, "version {version}");
        let answer = node.ask(version, &request);
        assert_eq!(answer.responses[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    }
    let unknown = DeleteTopicState { name: None, topic_id: TopicId::from_random([1; 16]), ..Default::default() };
    let neither = DeleteTopicState { name: None, ..Default::default() };
    let answer = node.ask(6, &DeleteTopicsRequest { topics: vec![unknown, neither], ..Default::default() });
    let mut codes: Vec<i16> = answer.responses.iter().map(|response| response.error_code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [ErrorCode::InvalidRequest.code(), ErrorCode::UnknownTopicId.code()]);
}

#[test]
fn configs_are_altered_and_described_in_every_version() {
    let mut node = TestNode::start("configs");
    node.create("orders");
    for version in versions(ApiKey::IncrementalAlterConfigs) {
        use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let value = format!("{}", 1000 + version);
        let config = |name: &'static str, config_operation, value: Option<&str>| AlterableConfig {
            name: name.into(),
            config_operation,
            value: value.map(|value| value.to_owned().into()),
            ..Default::default()
        };
        let resource = |name: &'static str, configs| AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: name.into(),
            configs,
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![
                resource(
                    "orders",
                    vec![config("retention.ms", 0, Some(&value)), config("cleanup.policy", 2, Some("compact"))],
                ),
                resource("nope", vec![config("retention.ms", 0, Some("1"))]),
                resource("twice", vec![]),
                resource("twice", vec![]),
                resource("null", vec![config("retention.ms", 0, None)]),
                resource("operation", vec![config("retention.ms", 9, Some("1"))]),
            ],
            ..Default::default()
        };
        let answer = node.ask(version, &request);
        let codes: Vec<i16> = answer.responses.iter().map(|response| response.error_code).collect();
        let invalid = ErrorCode::InvalidRequest.code();
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(codes, [0, unknown, invalid, invalid, invalid, invalid], "version {version}: {answer:?}");
    }
    for version in versions(ApiKey::DescribeConfigs) {
        let resource = |resource_type, name: &'static str, keys: Option<&[&'static str]>| DescribeConfigsResource {
            resource_type,
            resource_name: name.into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
            ..Default::default()
        };
        let request = DescribeConfigsRequest {
            resources: vec![
                resource(TOPIC, "orders", Some(&["retention.ms", "cleanup.policy"])),
                resource(TOPIC, "nope", None),
                resource(BROKER, "1", None),
                resource(BROKER, "", None),
                resource(BROKER, "9", None),
                resource(99, "x", None),
            ],
            include_synonyms: true,
            include_documentation: 3 <= version,
            ..Default::default()
        };
        let answer = node.ask(version, &request);
        let codes: Vec<i16> = answer.results.iter().map(|result| result.error_code).collect();
        let invalid = ErrorCode::InvalidRequest.code();
        assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition.code(), 0, 0, invalid, invalid], "version {version}");
        let values: Vec<_> = answer.results[0].configs.iter().map(|row| (&*row.name, row.value.as_deref())).collect();
        assert_eq!(values, [("cleanup.policy", Some("delete,compact")), ("retention.ms", Some("1001"))]);
        assert!(answer.results[0].configs.iter().all(|row| row.config_source == 1 && !row.synonyms.is_empty()));
        assert!(100 < answer.results[2].configs.len(), "every broker setting");
        assert_eq!(
            answer.results[0].configs[0].documentation.as_deref().is_some_and(|text| !text.is_empty()),
            3 <= version
        );
    }
    for version in versions(ApiKey::AlterConfigs) {
        use alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let configs =
            vec![AlterableConfig { name: "segment.bytes".into(), value: Some("2000000".into()), ..Default::default() }];
        let resources = vec![AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "orders".into(),
            configs,
            ..Default::default()
        }];
        let answer = node.ask(version, &AlterConfigsRequest { resources, ..Default::default() });
        assert_eq!(answer.responses[0].error_code, 0, "version {version}");
    }
    let resources = vec![DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: "orders".into(),
        configuration_keys: None,
        ..Default::default()
    }];
    let answer = node.ask(4, &DescribeConfigsRequest { resources, ..Default::default() });
    let set: Vec<&str> =
        answer.results[0].configs.iter().filter(|row| row.config_source == 1).map(|row| &*row.name).collect();
    assert_eq!(set, ["segment.bytes"], "what AlterConfigs does not name goes back to its default");
    for version in versions(ApiKey::ListConfigResources) {
        let answer = node.ask(version, &ListConfigResourcesRequest::default());
        let listed: Vec<(i8, &str)> =
            answer.config_resources.iter().map(|resource| (resource.resource_type, &*resource.resource_name)).collect();
        assert_eq!(answer.error_code, 0);
        assert_eq!(listed.contains(&(TOPIC, "orders")), 1 <= version, "{listed:?}");
    }
}

#[test]
fn cluster_is_described_in_every_version() {
    let mut node = TestNode::start("cluster");
    node.create("a");
    node.create("b");
    for version in versions(ApiKey::DescribeCluster) {
        let answer = node.ask(version, &DescribeClusterRequest::default());
        assert_eq!((answer.error_code, answer.brokers.len(), answer.controller_id), (0, 1, 1));
        let request = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
        if 1 <= version {
            assert_eq!(node.ask(version, &request).error_code, ErrorCode::MismatchedEndpointType.code());
        }
    }
    for version in versions(ApiKey::DescribeQuorum) {
        use describe_quorum_request::{PartitionData, TopicData};
        let request = |name: &'static str| DescribeQuorumRequest {
            topics: vec![TopicData {
                topic_name: name.into(),
                partitions: vec![PartitionData::default()],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = node.ask(version, &request("__cluster_metadata"));
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id, partition.leader_epoch), (0, 1, 1));
        assert!(0 < partition.high_watermark);
        assert_eq!(partition.current_voters[0].log_end_offset, partition.high_watermark);
        let answer = node.ask(version, &request("a"));
        assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    }
    for version in versions(ApiKey::DescribeTopicPartitions) {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let request = DescribeTopicPartitionsRequest { response_partition_limit: 1, cursor, ..Default::default() };
            let answer = node.ask(version, &request);
            for topic in &answer.topics {
                let indexes = topic.partitions.iter().map(|partition| partition.partition_index);
                seen.extend(indexes.map(|index| format!("{}-{index}", topic.name.as_deref().unwrap_or("?"))));
            }
            let Some(next) = answer.next_cursor else { break };
            cursor = Some(describe_topic_partitions_request::Cursor {
                topic_name: next.topic_name.into_owned().into(),
                partition_index: next.partition_index,
                ..Default::default()
            });
        }
        assert_eq!(seen, ["a-0", "a-1", "b-0", "b-1"], "one at a time, each once");
        let topics = vec![
            TopicRequest { name: "b".into(), ..Default::default() },
            TopicRequest { name: "nope".into(), ..Default::default() },
            TopicRequest { name: "not a name".into(), ..Default::default() },
        ];
        let answer = node.ask(version, &DescribeTopicPartitionsRequest { topics, ..Default::default() });
        let codes: Vec<i16> = answer.topics.iter().map(|topic| topic.error_code).collect();
        let expected = [ErrorCode::None, ErrorCode::UnknownTopicOrPartition, ErrorCode::InvalidTopicException];
        assert_eq!(codes, expected.map(ErrorCode::code));
    }
}

#[test]
fn producer_ids_are_given_once_and_transactions_refused_for_good() {
    let mut node = TestNode::start("ids");
    let mut last = -1;
    for version in versions(ApiKey::InitProducerId) {
        let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
        let answer = node.ask(version, &request);
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0), "version {version}");
        assert!(last < answer.producer_id);
        last = answer.producer_id;
        let request = InitProducerIdRequest { transactional_id: Some("t".into()), ..Default::default() };
        let answer = node.ask(version, &request);
        let code = ErrorCode::from_wire(answer.error_code).expect("a code");
        assert_eq!((code, answer.producer_id), (ErrorCode::InvalidRequest, -1));
        assert!(!code.is_retriable());
    }
    // Over the end of a block.
    for _ in 0..1100 {
        let answer = node.ask(4, &InitProducerIdRequest { transactional_id: None, ..Default::default() });
        assert!(last < answer.producer_id);
        last = answer.producer_id;
    }
}

#[test]
fn missing_log_directory_takes_its_partitions_offline_and_no_others() {
    let folder = std::env::temp_dir().join(format!("ringlog-admin-dirs-{}", std::process::id()));
    let mut node = TestNode::start_in(folder, &["one", "two"]);
    node.create("spread");
    assert_eq!([0, 1].map(|index| node.produce("spread", index)), [Ok(0), Ok(0)]);
    let folder = node.stop();
    assert!(folder.join("one/spread-0").is_dir() && folder.join("two/spread-1").is_dir(), "as the controller says");
    let mut node = TestNode::start_in(folder, &["one"]);
    assert_eq!(node.produce("spread", 0), Ok(1));
    node.produce("spread", 1).expect_err("its records are elsewhere");
    let folder = node.stop();
    assert!(!folder.join("one/spread-1").exists(), "no empty log passes for the missing one");
    let mut node = TestNode::start_in(folder, &["one", "two"]);
    assert_eq!([0, 1].map(|index| node.produce("spread", index)), [Ok(2), Ok(1)]);
}

#[test]
fn topic_created_again_is_not_swept_away_with_the_old_one() {
    let folder = std::env::temp_dir().join(format!("ringlog-admin-again-{}", std::process::id()));
    // One compaction at a byte a second keeps the thread busy that takes deleted topics off the disk.
    let slow = ["log.cleaner.backoff.ms=1", "log.cleaner.io.max.bytes.per.second=1"];
    let mut node = TestNode::start_with(folder, &["data"], &slow);
    let compact =
        CreatableTopicConfig { name: "cleanup.policy".into(), value: Some("compact".into()), ..Default::default() };
    node.create_with("compacted", vec![compact]);
    for (offset, day) in (0..4).enumerate() {
        // Each in a segment of its own: they are a month apart.
        let time_ms = 1_700_000_000_000 + day * 30 * 86_400_000;
        assert_eq!(node.produce_keyed("compacted", 0, Some(b"key"), time_ms), Ok(offset as i64));
    }
    std::thread::sleep(std::time::Duration::from_secs(3));

    node.create("again");
    assert_eq!(node.produce("again", 0), Ok(0));
    let name = DeleteTopicsRequest { topic_names: vec!["again".into()], timeout_ms: 5000, ..Default::default() };
    assert_eq!(node.ask(5, &name).responses[0].error_code, 0);
    node.create("again");
    assert_eq!(node.produce("again", 0), Ok(0));

    let folders: Vec<String> = std::fs::read_dir(node.folder.join("data"))
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .filter(|name| name.starts_with("again-0"))
        .collect();
    assert_eq!(folders.len(), 2, "the old topic's records wait to be removed, beside the new one's: {folders:?}");
    // The new one's is written after its first records; a closed log has it.
    let folder = node.stop();
    let id =
        |name: &str| std::fs::read_to_string(folder.join("data").join(name).join("partition.metadata")).expect("read");
    let old = folders.iter().find(|name| name.ends_with("-delete")).expect("put aside");
    assert_ne!(id(old), id("again-0"), "each keeps its own topic id");
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn long_poll_ends_with_its_connection() {
    let mut node = TestNode::start("poll");
    node.create("quiet");
    let port = node.stream.peer_addr().expect("connected").port();
    let partition = FetchPartition { partition: 0, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: "quiet".into(), partitions: vec![partition], ..Default::default() };
    let poll = FetchRequest {
        max_wait_ms: 600_000,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![topic],
        ..Default::default()
    };
    let mut writer = Writer::new();
    frame::encode_request(&mut writer, 11, 7, Some("test"), &poll).expect("a request");
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    client.write_all(&writer.into_bytes()).expect("sent");
    // The node waits for records by now.
    std::thread::sleep(std::time::Duration::from_millis(500));
    drop(client);

    // The client has closed and the node has not: CLOSE_WAIT, number 8.
    let half_closed = || {
        let sockets = std::fs::read_to_string("/proc/self/net/tcp").expect("a table of sockets");
        let columns = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let node = format!(":{port:04X}");
        columns.filter(|columns| columns.len() > 3 && columns[1].ends_with(&node) && columns[3] == "08").count()
    };
    let given_up = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while half_closed() > 0 || std::time::Instant::now() + std::time::Duration::from_secs(9) < given_up {
        assert!(std::time::Instant::now() < given_up, "the fetch keeps the socket of a client that is gone");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
