//! The client against scripted answers: what no honest node does, or no present one any more.

use std::time::Duration;

use bytes::Bytes;
use client::{Client, ClientConfig, ClientError, Connection, ConnectionConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wire::api_versions_response::{ApiVersion, ApiVersionsResponse};
use wire::frame::{self, RequestHeader};
use wire::heartbeat_request::HeartbeatRequest;
use wire::heartbeat_response::HeartbeatResponse;
use wire::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::produce_response::ProduceResponse;
use wire::{ApiKey, Message as _, Reader, Records, Writer};

/// A request as the fake node got it.
struct Got {
    api_key: i16,
    version: i16,
    correlation_id: i32,
    body: Vec<u8>,
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn take(socket: &mut TcpStream) -> Option<Got> {
    let size = socket.read_i32().await.ok()?;
    let mut frame = vec![0; size as usize];
    socket.read_exact(&mut frame).await.ok()?;
    let mut reader = Reader::new(&frame);
    let header = RequestHeader::decode(&mut reader).unwrap();
    let (api_key, version, correlation_id) = (header.api_key, header.api_version, header.correlation_id);
    let body = frame[reader.position()..].to_vec();
    Some(Got { api_key, version, correlation_id, body })
}

async fn answer<'a, R: wire::Response<'a>>(socket: &mut TcpStream, version: i16, correlation_id: i32, body: &R) {
    let mut writer = Writer::new();
    frame::encode_response(&mut writer, version, correlation_id, body).unwrap();
    socket.write_all(&writer.into_bytes()).await.unwrap();
}

fn offers(api: ApiKey, min: i16, max: i16) -> ApiVersion {
    ApiVersion { api_key: api.code(), min_version: min, max_version: max, ..Default::default() }
}

/// Accepts one connection and offers ApiVersions, Heartbeat and Produce.
async fn greet(listener: TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    let hello = take(&mut socket).await.unwrap();
    assert_eq!(hello.api_key, ApiKey::ApiVersions.code());
    let api_keys = vec![offers(ApiKey::Produce, 3, 9), offers(ApiKey::Heartbeat, 0, 3), offers(ApiKey::Fetch, 0, 3)];
    let body = ApiVersionsResponse { api_keys, ..Default::default() };
    answer(&mut socket, hello.version, hello.correlation_id, &body).await;
    socket
}

fn quick() -> ConnectionConfig {
    let second = Duration::from_millis(300);
    ConnectionConfig { connect_timeout: second, request_timeout: second, ..Default::default() }
}

#[tokio::test]
async fn an_old_node_is_asked_again_in_a_version_it_knows() {
    let (listener, address) = listen().await;
    let node = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        for error_code in [35, 0] {
            let hello = take(&mut socket).await.unwrap();
            asked.push(hello.version);
            let api_keys = vec![offers(ApiKey::ApiVersions, 0, 2)];
            let body = ApiVersionsResponse { error_code, api_keys, ..Default::default() };
            // What is not understood is answered in version 0.
            let version = if error_code == 0 { hello.version } else { 0 };
            answer(&mut socket, version, hello.correlation_id, &body).await;
        }
        asked
    });
    let connection = Connection::open(&address, &quick()).await.unwrap();
    assert_eq!(connection.versions()[&18], (0, 2));
    assert_eq!(node.await.unwrap(), [4, 2]);
}

#[tokio::test]
async fn the_newest_common_version_is_used_and_its_lack_is_explained() {
    let (listener, address) = listen().await;
    let node = tokio::spawn(greet(listener));
    let connection = Connection::open(&address, &quick()).await.unwrap();
    let mut socket = node.await.unwrap();
    assert_eq!(connection.version(ApiKey::Produce), Ok(9));
    assert!(matches!(connection.version(ApiKey::Metadata), Err(ClientError::NoSuchApi { api: "Metadata", .. })));
    let error = connection.version(ApiKey::Fetch).unwrap_err();
    assert_eq!(error.to_string(), format!("{address} offers Fetch in versions 0 to 3, this client speaks 4 to 18"));

    // Two requests under way at once: the answers find their questions.
    let (a, b) = (HeartbeatRequest { group_id: "a".into(), ..Default::default() }, HeartbeatRequest::default());
    let first = connection.send(&a, 3).await.unwrap();
    let second = connection.send(&b, 0).await.unwrap();
    for error_code in [1, 2] {
        let got = take(&mut socket).await.unwrap();
        let body = HeartbeatResponse { error_code, ..Default::default() };
        answer(&mut socket, got.version, got.correlation_id, &body).await;
    }
    assert_eq!(second.response().await.unwrap().error_code, 2);
    assert_eq!(first.response().await.unwrap().error_code, 1);
}

#[tokio::test]
async fn records_are_sent_in_their_holes() {
    let (listener, address) = listen().await;
    let node = tokio::spawn(greet(listener));
    let connection = Connection::open(&address, &quick()).await.unwrap();
    let mut socket = node.await.unwrap();
    let hole = |index, bytes| PartitionProduceData { index, records: Records::Hole(bytes), ..Default::default() };
    let topic =
        TopicProduceData { name: "t".into(), partition_data: vec![hole(0, 3), hole(1, 5)], ..Default::default() };
    let request = ProduceRequest { acks: 1, topic_data: vec![topic], ..Default::default() };
    let records = [Bytes::from_static(b"abc"), Bytes::from_static(b"defgh")];
    let pending = connection.send_with_records(&request, 9, &records).await.unwrap();
    let got = take(&mut socket).await.unwrap();
    let read = ProduceRequest::from_bytes(&got.body, 9).unwrap();
    for (partition, sent) in read.topic_data[0].partition_data.iter().zip(&records) {
        let Records::At(range) = &partition.records else { panic!("records") };
        assert_eq!(&got.body[range.clone()], sent);
    }
    answer(&mut socket, 9, got.correlation_id, &ProduceResponse::default()).await;
    assert!(pending.response().await.is_ok());
}

#[tokio::test]
async fn a_silent_node_is_given_up_after_the_timeout() {
    let (listener, address) = listen().await;
    let node = tokio::spawn(greet(listener));
    let connection = Connection::open(&address, &quick()).await.unwrap();
    let _socket = node.await.unwrap();
    let other = connection.send(&HeartbeatRequest::default(), 0).await.unwrap();
    let error = connection.call(&HeartbeatRequest::default()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Timeout { what, .. } if what == "Heartbeat version 3"), "{error}");
    assert!(!connection.is_open());
    assert!(other.response().await.is_err(), "everything on the connection ends with it");
    assert!(connection.call(&HeartbeatRequest::default()).await.is_err());
}

#[tokio::test]
async fn answers_that_make_no_sense_end_the_connection_with_a_reason() {
    for (bytes, reason) in [
        (vec![0, 0, 0, 4, 0, 0, 0, 77], "answered request 77 where 1 was due"),
        (vec![0x80, 0, 0, 0], "this is not the Kafka protocol"),
        (vec![0, 0, 0, 6, 0, 0], "closed it within an answer"),
        (vec![], "the node closed it"),
    ] {
        let (listener, address) = listen().await;
        let node = tokio::spawn(greet(listener));
        let connection = Connection::open(&address, &quick()).await.unwrap();
        let mut socket = node.await.unwrap();
        let pending = connection.send(&HeartbeatRequest::default(), 3).await.unwrap();
        take(&mut socket).await.unwrap();
        socket.write_all(&bytes).await.unwrap();
        drop(socket);
        let error = pending.response().await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.is_retriable() && error.next_step().is_some());
    }
    // A body that is cut short is the answer's fault alone.
    let (listener, address) = listen().await;
    let node = tokio::spawn(greet(listener));
    let connection = Connection::open(&address, &quick()).await.unwrap();
    let mut socket = node.await.unwrap();
    let pending = connection.send(&HeartbeatRequest::default(), 3).await.unwrap();
    let got = take(&mut socket).await.unwrap();
    let short = [&[0, 0, 0, 5][..], &got.correlation_id.to_be_bytes(), &[0]].concat();
    socket.write_all(&short).await.unwrap();
    let error = pending.response().await.unwrap_err();
    assert!(matches!(error, ClientError::Decode { .. }), "{error}");
    assert!(connection.is_open());
}

#[tokio::test]
async fn nobody_listening_is_said_at_once() {
    let (listener, address) = listen().await;
    drop(listener);
    let started = std::time::Instant::now();
    let error = Client::connect(ClientConfig::new(&address)).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(Client::connect(ClientConfig::new("")).await.is_err());
}

#[tokio::test]
async fn calls_can_be_made_from_any_thread() {
    fn sent<T: Send>(future: T) -> T {
        future
    }
    let (listener, address) = listen().await;
    drop(listener);
    let outcome = sent(async move {
        let client = Client::connect(ClientConfig::new(&address)).await?;
        let admin = client::Admin::new(client.clone());
        admin.create_topic(&client::NewTopic::default(), true).await?;
        admin.describe_groups(&["g".to_owned()]).await?;
        admin.list_offsets(&[], client::OffsetAt::Latest).await?;
        let mut consumer = client::Consumer::assign(client.clone(), client::ConsumerConfig::default(), []);
        consumer.poll(Duration::ZERO).await?;
        let producer = client::Producer::new(client, client::ProducerConfig::default())?;
        producer.send(client::Record::default()).await?.wait().await
    });
    assert!(tokio::spawn(outcome).await.unwrap().is_err());
}
