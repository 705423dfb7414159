//! The least of a Kafka client: one blocking connection, requests of fixed versions, no retry of any kind. What was
//! sent and what was answered is then known exactly.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use wire::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use wire::create_topics_response::CreateTopicsResponse;
use wire::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use wire::describe_configs_response::DescribeConfigsResponse;
use wire::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use wire::fetch_response::FetchResponse;
use wire::find_coordinator_request::FindCoordinatorRequest;
use wire::find_coordinator_response::FindCoordinatorResponse;
use wire::frame::{decode_response_header, encode_request};
use wire::init_producer_id_request::InitProducerIdRequest;
use wire::init_producer_id_response::InitProducerIdResponse;
use wire::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_commit_response::OffsetCommitResponse;
use wire::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestTopic};
use wire::offset_fetch_response::OffsetFetchResponse;
use wire::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::produce_response::ProduceResponse;
use wire::{ApiKey, Message, Reader, Records, Request, Writer};

/// The last versions that name topics and are not flexible, so that a captured frame can be read by eye.
const PRODUCE: i16 = 8;
const FETCH: i16 = 11;
const CREATE_TOPICS: i16 = 4;
const DESCRIBE_CONFIGS: i16 = 3;
const OFFSET_COMMIT: i16 = 7;
const OFFSET_FETCH: i16 = 5;
const FIND_COORDINATOR: i16 = 2;
const INIT_PRODUCER_ID: i16 = 1;

/// Kafka's code for "may be true later": a node that has just started may not lead or coordinate yet.
const RETRIABLE: &[i16] = &[3, 5, 6, 14, 15, 16, 56];

const READ_SECONDS_MAX: u64 = 20;

/// What a produce request was answered.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    /// The number given to the request.
    pub correlation: i32,
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// Where its first record lies.
    pub base_offset: i64,
}

/// A batch as fetched, and how far the log reaches.
pub struct Fetched {
    /// Kafka's error code, 0 for none.
    pub error: i16,
    /// The end of what is visible.
    pub high_watermark: i64,
    /// The first offset still there.
    pub log_start: i64,
    /// Whole batches, and perhaps a piece of one more.
    pub bytes: Vec<u8>,
}

/// One connection.
pub struct PlainClient {
    stream: TcpStream,
    correlation: i32,
}

type Io<T> = Result<T, String>;

impl PlainClient {
    /// Connects to `address`.
    pub fn connect(address: &str) -> Io<PlainClient> {
        let stream = TcpStream::connect(address).map_err(|e| format!("connect {address}: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(READ_SECONDS_MAX))).map_err(|e| e.to_string())?;
        Ok(PlainClient { stream, correlation: 0 })
    }

    /// The same connection, for a reader of answers beside the sender of requests.
    pub fn second_half(&self) -> Io<PlainClient> {
        Ok(PlainClient { stream: self.stream.try_clone().map_err(|e| e.to_string())?, correlation: 0 })
    }

    /// Waits so long for an answer from now on.
    pub fn set_patience(&mut self, patience: Duration) -> Io<()> {
        self.stream.set_read_timeout(Some(patience)).map_err(|e| e.to_string())
    }

    /// Sends any request; returns its number.
    pub fn send<'a, R: Request<'a>>(&mut self, version: i16, body: &R) -> Io<i32> {
        self.correlation += 1;
        let mut writer = Writer::new();
        encode_request(&mut writer, version, self.correlation, Some("plain"), body).map_err(|e| format!("{e:?}"))?;
        self.stream.write_all(&writer.into_bytes()).map_err(|e| format!("send: {e}"))?;
        Ok(self.correlation)
    }

    /// Waits for the next answer: its frame without the length, from the header on.
    pub fn receive(&mut self) -> Io<Vec<u8>> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).map_err(|e| format!("receive: {e}"))?;
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut frame).map_err(|e| format!("receive: {e}"))?;
        Ok(frame)
    }

    /// Sends a batch to one partition, acks=all; returns the request's number.
    pub fn send_produce(&mut self, topic: &str, partition: i32, batch: &[u8]) -> Io<i32> {
        let data = PartitionProduceData {
            index: partition,
            records: Records::Inline(Cow::Borrowed(batch)),
            ..PartitionProduceData::default()
        };
        let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..TopicProduceData::default() };
        let request =
            ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic], ..ProduceRequest::default() };
        self.send(PRODUCE, &request)
    }

    /// Waits for the next answer to a produce.
    pub fn receive_produce(&mut self) -> Io<Acked> {
        let frame = self.receive()?;
        let mut reader = Reader::new(&frame);
        let correlation =
            decode_response_header(&mut reader, ApiKey::Produce.api(), PRODUCE).map_err(|e| format!("{e:?}"))?;
        let response = ProduceResponse::decode(&mut reader, PRODUCE).map_err(|e| format!("{e:?}"))?;
        let answer = response.responses.first().and_then(|t| t.partition_responses.first());
        let answer = answer.ok_or("a produce answered without a partition")?;
        Ok(Acked { correlation, error: answer.error_code, base_offset: answer.base_offset })
    }

    /// Creates a topic; one that is there already is fine.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Io<()> {
        let configs = configs
            .iter()
            .map(|&(name, value)| CreatableTopicConfig {
                name: name.into(),
                value: Some(value.into()),
                ..CreatableTopicConfig::default()
            })
            .collect();
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() };
        self.send(CREATE_TOPICS, &request)?;
        let frame = self.receive()?;
        let mut reader = Reader::new(&frame);
        decode_response_header(&mut reader, ApiKey::CreateTopics.api(), CREATE_TOPICS).map_err(|e| format!("{e:?}"))?;
        let response = CreateTopicsResponse::decode(&mut reader, CREATE_TOPICS).map_err(|e| format!("{e:?}"))?;
        match response.topics.first().map(|t| (t.error_code, t.error_message.clone())) {
            Some((0 | 36, _)) => Ok(()),
            other => Err(format!("creating {name}: {other:?}")),
        }
    }

    /// A topic's configs, each with its value in force.
    pub fn topic_configs(&mut self, topic: &str) -> Io<BTreeMap<String, String>> {
        const TOPIC: i8 = 2;
        let resource =
            DescribeConfigsResource { resource_type: TOPIC, resource_name: topic.into(), ..Default::default() };
        let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
        self.send(DESCRIBE_CONFIGS, &request)?;
        let frame = self.receive()?;
        let mut reader = Reader::new(&frame);
        decode_response_header(&mut reader, ApiKey::DescribeConfigs.api(), DESCRIBE_CONFIGS)
            .map_err(|e| format!("{e:?}"))?;
        let response = DescribeConfigsResponse::decode(&mut reader, DESCRIBE_CONFIGS).map_err(|e| format!("{e:?}"))?;
        match response.results.first() {
            Some(result) if result.error_code == 0 => Ok(result
                .configs
                .iter()
                .map(|config| (config.name.to_string(), config.value.as_deref().unwrap_or_default().to_owned()))
                .collect()),
            other => Err(format!("configs of {topic}: {other:?}")),
        }
    }

    /// Reads from one offset on.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64, bytes_max: i32) -> Io<Fetched> {
        let asked = FetchPartition {
            partition,
            current_leader_epoch: -1,
            fetch_offset: offset,
            log_start_offset: -1,
            partition_max_bytes: bytes_max,
            ..FetchPartition::default()
        };
        let topic = FetchTopic { topic: topic.into(), partitions: vec![asked], ..FetchTopic::default() };
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: bytes_max,
            session_id: 0,
            session_epoch: -1,
            topics: vec![topic],
            ..FetchRequest::default()
        };
        self.send(FETCH, &request)?;
        let frame = self.receive()?;
        let mut reader = Reader::new(&frame);
        decode_response_header(&mut reader, ApiKey::Fetch.api(), FETCH).map_err(|e| format!("{e:?}"))?;
        let response = FetchResponse::decode(&mut reader, FETCH).map_err(|e| format!("{e:?}"))?;
        let answer = response.responses.first().and_then(|t| t.partitions.first());
        let answer = answer.ok_or("a fetch answered without a partition")?;
        let bytes = match &answer.records {
            Records::At(range) => frame[range.clone()].to_vec(),
            _ => Vec::new(),
        };
        Ok(Fetched {
            error: answer.error_code,
            high_watermark: answer.high_watermark,
            log_start: answer.log_start_offset,
            bytes,
        })
    }

    /// Commits one partition's offset for a group without members; returns the error code.
    pub fn commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) -> Io<i16> {
        let partition = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            committed_leader_epoch: -1,
            committed_metadata: Some("".into()),
            ..OffsetCommitRequestPartition::default()
        };
        let topic = OffsetCommitRequestTopic {
            name: topic.into(),
            partitions: vec![partition],
            ..OffsetCommitRequestTopic::default()
        };
        let request = OffsetCommitRequest {
            group_id: group.into(),
            generation_id_or_member_epoch: -1,
            member_id: "".into(),
            retention_time_ms: -1,
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        self.send(OFFSET_COMMIT, &request)?;
        let frame = self.receive()?;
        let mut reader = Reader::new(&frame);
        decode_response_header(&mut reader, ApiKey::OffsetCommit.api(), OFFSET_COMMIT).map_err(|e| format!("{e:?}"))?;
        let response = OffsetCommitResponse::decode(&mut reader, OFFSET_COMMIT).map_err(|e| format!("{e:?}"))?;
        let answer = response.topics.first().and_then(|t| t.partitions.first());
        Ok(answer.ok_or("a commit answered without a partition")?.error_code)
    }

    /// Looks for a group's coordinator, which makes the offsets topic if there is none. Returns the error code.
    pub fn find_coordinator(&mut self, group: &str) -> Io<i16> {
        let request = FindCoordinatorRequest { key: group.into(), key_type: 0, ..FindCoordinatorRequest::default() };
        self.send(FIND_COORDINATOR, &request)?;
        let frame = self.receive()?;
        let mut reader = Reader::new(&frame);
        decode_response_header(&mut reader, ApiKey::FindCoordinator.api(), FIND_COORDINATOR)
            .map_err(|e| format!("{e:?}"))?;
        let response = FindCoordinatorResponse::decode(&mut reader, FIND_COORDINATOR).map_err(|e| format!("{e:?}"))?;
        Ok(response.error_code)
    }

    /// A new idempotent producer's id.
    pub fn init_producer_id(&mut self) -> Io<i64> {
        let request =
            InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: -1, ..Default::default() };
        self.send(INIT_PRODUCER_ID, &request)?;
        let frame = self.receive()?;
        let mut reader = Reader::new(&frame);
        decode_response_header(&mut reader, ApiKey::InitProducerId.api(), INIT_PRODUCER_ID)
            .map_err(|e| format!("{e:?}"))?;
        let response = InitProducerIdResponse::decode(&mut reader, INIT_PRODUCER_ID).map_err(|e| format!("{e:?}"))?;
        if response.error_code == 0 {
            Ok(response.producer_id)
        } else {
            Err(format!("no producer id: error code {}", response.error_code))
        }
    }

    /// The offset a group has committed, or an error code.
    pub fn committed(&mut self, group: &str, topic: &str, partition: i32) -> Io<Result<i64, i16>> {
        let topic = OffsetFetchRequestTopic {
            name: topic.into(),
            partition_indexes: vec![partition],
            ..OffsetFetchRequestTopic::default()
        };
        let request =
            OffsetFetchRequest { group_id: group.into(), topics: Some(vec![topic]), ..OffsetFetchRequest::default() };
        self.send(OFFSET_FETCH, &request)?;
        let frame = self.receive()?;
        let mut reader = Reader::new(&frame);
        decode_response_header(&mut reader, ApiKey::OffsetFetch.api(), OFFSET_FETCH).map_err(|e| format!("{e:?}"))?;
        let response = OffsetFetchResponse::decode(&mut reader, OFFSET_FETCH).map_err(|e| format!("{e:?}"))?;
        if response.error_code != 0 {
            return Ok(Err(response.error_code));
        }
        let answer = response.topics.first().and_then(|t| t.partitions.first());
        let answer = answer.ok_or("an offset fetch answered without a partition")?;
        Ok(if answer.error_code == 0 { Ok(answer.committed_offset) } else { Err(answer.error_code) })
    }
}

/// Whether asking again may help.
pub fn is_retriable(error: i16) -> bool {
    RETRIABLE.contains(&error)
}
