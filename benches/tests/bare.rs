//! The bare servers speak Kafka's bytes: an independent codec is the judge.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use batch::{BatchBuilder, Codec};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FetchResponse, MetadataRequest, MetadataResponse,
    ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use types::{LeaderEpoch, Offset, Timestamp};

struct Server {
    child: Child,
    address: SocketAddr,
    dir: std::path::PathBuf,
}

impl Server {
    fn start(program: &str, flags: &[&str]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
        let dir = std::env::temp_dir().join(format!("bare-test-{}-{}", std::process::id(), free.port()));
        let mut child = Command::new(program)
            .args(["--listen", &free.to_string(), "--partitions", "3", "--log-bytes-max", "100000", "--dir"])
            .arg(&dir)
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("built by this package");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("says that it listens");
        assert!(line.contains("listens"), "{line}");
        Self { child, address: free, dir }
    }

    fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address).expect("listens");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        Client { socket, correlation: 0 }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

struct Client {
    socket: TcpStream,
    correlation: i32,
}

impl Client {
    fn send(&mut self, api: ApiKey, version: i16, request: &impl Encodable) {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        let mut frame = BytesMut::from(&[0; 4][..]);
        header.encode(&mut frame, api.request_header_version(version)).expect("encodes");
        request.encode(&mut frame, version).expect("encodes");
        let bytes = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&bytes.to_be_bytes());
        self.socket.write_all(&frame).expect("connected");
    }

    fn receive<R: Decodable>(&mut self, api: ApiKey, version: i16) -> R {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).expect("an answer");
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut frame).expect("all of it");
        let mut frame = Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, api.response_header_version(version)).expect("a header");
        assert_eq!(header.correlation_id, self.correlation);
        let reply = R::decode(&mut frame, version).expect("a reply");
        assert!(frame.is_empty(), "{} bytes too many", frame.len());
        reply
    }

    fn produce(&mut self, partition: i32, records: Bytes) -> (i16, i64) {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
        let topic = TopicProduceData::default().with_name(topic()).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(1).with_timeout_ms(1000).with_topic_data(vec![topic]);
        self.send(ApiKey::Produce, 9, &request);
        let reply: ProduceResponse = self.receive(ApiKey::Produce, 9);
        let reply = &reply.responses[0].partition_responses[0];
        assert_eq!(reply.index, partition);
        (reply.error_code, reply.base_offset)
    }

    fn ask(&mut self, offsets: &[(i32, i64)], wait_ms: i32) {
        let partitions = offsets.iter().map(|&(partition, offset)| {
            FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(1 << 20)
        });
        let topic = FetchTopic::default().with_topic(topic()).with_partitions(partitions.collect());
        let request =
            FetchRequest::default().with_max_wait_ms(wait_ms).with_max_bytes(1 << 20).with_topics(vec![topic]);
        self.send(ApiKey::Fetch, 12, &request);
    }

    /// Error, next offset and records of each partition asked for.
    fn fetched(&mut self) -> Vec<(i16, i64, Bytes)> {
        let reply: FetchResponse = self.receive(ApiKey::Fetch, 12);
        let partitions = reply.responses.into_iter().flat_map(|topic| topic.partitions);
        partitions.map(|one| (one.error_code, one.high_watermark, one.records.unwrap_or_default())).collect()
    }
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("floor"))
}

/// A batch of `records` records whose base offset is set as the server should set it.
fn batch(records: usize, base_offset: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for record in 0..records {
        let value = vec![record as u8; 1000];
        builder.append(Timestamp::from_millis(1_700_000_000_000), Some(b"key"), Some(&value), &[]);
    }
    builder.build(Offset::new(base_offset), LeaderEpoch::new(0))
}

#[test]
fn client_learns_versions_and_partitions() {
    for program in [env!("CARGO_BIN_EXE_floor"), env!("CARGO_BIN_EXE_echo_append")] {
        let server = Server::start(program, &[]);
        let mut client = server.connect();
        client.send(ApiKey::ApiVersions, 3, &ApiVersionsRequest::default());
        let versions: ApiVersionsResponse = client.receive(ApiKey::ApiVersions, 3);
        let versions: Vec<_> = versions.api_keys.iter().map(|api| (api.api_key, api.max_version)).collect();
        assert_eq!(versions, [(0, 9), (1, 12), (3, 12), (18, 3)]);
        // A newer client: refused in version 0, with the table.
        client.send(ApiKey::ApiVersions, 4, &ApiVersionsRequest::default());
        let refused: ApiVersionsResponse = client.receive(ApiKey::ApiVersions, 0);
        assert_eq!((refused.error_code, refused.api_keys.len()), (35, 4));
        client.send(ApiKey::Metadata, 12, &MetadataRequest::default().with_topics(None));
        let metadata: MetadataResponse = client.receive(ApiKey::Metadata, 12);
        assert_eq!(metadata.brokers[0].port, i32::from(server.address.port()));
        assert_eq!(metadata.topics[0].name, Some(topic()));
        let leaders: Vec<_> =
            metadata.topics[0].partitions.iter().map(|one| (one.partition_index, *one.leader_id)).collect();
        assert_eq!(leaders, [(0, 0), (1, 0), (2, 0)]);
    }
}

#[test]
fn what_is_produced_is_fetched_with_its_offsets() {
    let server = Server::start(env!("CARGO_BIN_EXE_floor"), &[]);
    let mut client = server.connect();
    assert_eq!(client.produce(1, batch(3, 77)), (0, 0));
    assert_eq!(client.produce(1, batch(20, 77)), (0, 3));
    assert_eq!(client.produce(2, batch(1, 77)), (0, 0));
    assert_eq!(client.produce(3, batch(1, 77)), (3, -1), "there is no partition 3");
    let mut bad = BytesMut::from(&batch(1, 0)[..]);
    *bad.last_mut().expect("bytes") ^= 1;
    assert_eq!(client.produce(1, bad.freeze()), (2, -1));
    client.ask(&[(1, 0), (0, 0), (2, 0), (1, 99)], 0);
    let all = [&batch(3, 0)[..], &batch(20, 3)].concat();
    let expected = [(0, 23, Bytes::from(all)), (0, 0, Bytes::new()), (0, 1, batch(1, 0)), (1, 23, Bytes::new())];
    assert_eq!(client.fetched(), expected);
    client.ask(&[(1, 22)], 0);
    assert_eq!(client.fetched(), [(0, 23, batch(20, 3))]);
}

#[test]
fn fetch_waits_for_an_append_or_its_deadline() {
    let server = Server::start(env!("CARGO_BIN_EXE_floor"), &[]);
    let (mut consumer, mut producer) = (server.connect(), server.connect());
    let start = Instant::now();
    consumer.ask(&[(0, 0)], 150);
    assert_eq!(consumer.fetched(), [(0, 0, Bytes::new())]);
    assert!(start.elapsed() >= Duration::from_millis(150));
    consumer.ask(&[(0, 0)], 20_000);
    assert_eq!(producer.produce(0, batch(1, 0)), (0, 0));
    assert_eq!(consumer.fetched(), [(0, 1, batch(1, 0))]);
}

#[test]
fn log_starts_over_when_it_is_full_and_offsets_go_on() {
    let server = Server::start(env!("CARGO_BIN_EXE_floor"), &[]);
    let mut client = server.connect();
    for round in 0..15 {
        assert_eq!(client.produce(0, batch(20, 0)), (0, round * 20));
    }
    client.ask(&[(0, 0), (0, 290)], 0);
    let fetched = client.fetched();
    assert_eq!((fetched[0].0, fetched[0].1), (1, 300), "long gone");
    assert_eq!(fetched[1].2[..8], 280_i64.to_be_bytes());
}

#[test]
fn sink_answers_and_keeps_nothing() {
    let server = Server::start(env!("CARGO_BIN_EXE_floor"), &["--sink"]);
    let mut client = server.connect();
    assert_eq!(client.produce(0, batch(5, 0)), (0, 0));
    assert_eq!(client.produce(0, batch(5, 0)), (0, 5));
    client.ask(&[(0, 0)], 0);
    assert_eq!(client.fetched(), [(0, 10, Bytes::new())]);
}
