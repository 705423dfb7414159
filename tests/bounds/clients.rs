//! Clients that misbehave, and many of them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use batch::Codec;
use tests::content::{batch_of, read_all, write};
use tests::node::Node;
use tests::plain_client::PlainClient;
use wire::api_versions_request::ApiVersionsRequest;
use wire::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use wire::frame::encode_request;
use wire::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::{Records, Request, Writer};

use crate::{Verdict, mib, node};

/// Slower than this, somebody was held up: a busy machine included.
const SERVED_WITHIN: Duration = Duration::from_secs(3);

/// What a misbehaving client may cost beyond what it was promised: allocator slack, socket bookkeeping.
const SLACK_BYTES: u64 = 48 << 20;

/// `types::limits::CONNECTION_UNSENT_BYTES_MAX`, and the last reply that went over it.
const UNSENT_BYTES: u64 = 66 << 20;

const TOPIC: &str = "bounds";

fn text(error: std::io::Error) -> String {
    error.to_string()
}

/// Another client creates, writes and reads meanwhile, soon.
fn others_are_served(node: &Node, seed: i64) -> Result<(), String> {
    let begun = Instant::now();
    let address = node.address();
    let topic = format!("{TOPIC}-other");
    PlainClient::connect(&address)?.create_topic(&topic, 2, &[])?;
    for partition in 0..2 {
        let offset = write(&address, &topic, partition, &batch_of(Codec::None, seed, 3, 100, None))?;
        if read_all(&address, &topic, partition, offset)?.len() < 3 {
            return Err("another client's records are not there".to_owned());
        }
    }
    if SERVED_WITHIN < begun.elapsed() {
        return Err(format!("another client waited {:?}", begun.elapsed()));
    }
    Ok(())
}

fn grew_at_most(node: &Node, before: u64, bytes: u64, what: &str) -> Result<(), String> {
    let after = node.resident_bytes()?;
    println!("  {what}: {:.1} MiB before, {:.1} MiB after", mib(before), mib(after));
    if before + bytes + SLACK_BYTES < after {
        return Err(format!("{what}: memory grew by {:.1} MiB", mib(after - before)));
    }
    Ok(())
}

fn frame<'a, R: Request<'a>>(version: i16, correlation: i32, request: &R) -> Result<Vec<u8>, String> {
    let mut writer = Writer::new();
    encode_request(&mut writer, version, correlation, Some("bounds"), request).map_err(|e| e.to_string())?;
    Ok(writer.into_bytes().to_vec())
}

/// Whether the node closes the connection, within some seconds.
fn is_closed(stream: &mut TcpStream) -> Result<bool, String> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(text)?;
    match stream.read(&mut [0; 64]) {
        Ok(0) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
        Err(_) => Ok(false),
    }
}

pub fn half_a_frame_holds_up_nobody() -> Result<Verdict, String> {
    let node = node("half-frame", &[])?;
    others_are_served(&node, 1)?;
    let before = node.resident_bytes()?;
    let mut held = Vec::new();
    for at in 0..100_u32 {
        let mut stream = TcpStream::connect(node.address()).map_err(text)?;
        // Some announce little, some as much as is allowed; none sends it.
        let announced: u32 = if at % 2 == 0 { 1000 } else { 50 << 20 };
        stream.write_all(&announced.to_be_bytes()).map_err(text)?;
        stream.write_all(&[0; 400]).map_err(text)?;
        held.push(stream);
    }
    std::thread::sleep(Duration::from_millis(200));
    others_are_served(&node, 2)?;
    // Memory that is only announced is never touched.
    grew_at_most(&node, before, 0, "100 half frames")?;
    drop(held);
    others_are_served(&node, 3)?;
    Ok(Verdict::Held)
}

pub fn memory_held_by_half_a_request_is_given_back() -> Result<Verdict, String> {
    let node = node("stalled", &["ringlog.memory.max.bytes=67108864"])?;
    others_are_served(&node, 1)?;
    let address = node.address();
    PlainClient::connect(&address)?.create_topic(TOPIC, 1, &[])?;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&address).map_err(text)?;
        stream.write_all(&(33_554_000_u32).to_be_bytes()).map_err(text)?;
        stream.write_all(&[0; 100_000]).map_err(text)?;
        held.push(stream);
    }
    std::thread::sleep(Duration::from_millis(200));
    // Small requests need none of that memory; a large one waits, but not for ever.
    others_are_served(&node, 2)?;
    let begun = Instant::now();
    let mut client = PlainClient::connect(&address)?;
    client.set_patience(Duration::from_secs(60))?;
    client.send_produce(TOPIC, 0, &batch_of(Codec::None, 1, 5, 150_000, None))?;
    let acked = client.receive_produce()?;
    println!("  a large request waited {:.1} s", begun.elapsed().as_secs_f64());
    if acked.error != 0 {
        return Err(format!("a large request: error code {}", acked.error));
    }
    for mut stream in held {
        if !is_closed(&mut stream)? {
            return Err("a half request still holds its memory".to_owned());
        }
    }
    Ok(Verdict::Held)
}

pub fn a_length_that_cannot_be_closes_the_connection() -> Result<Verdict, String> {
    let node = node("bad-length", &["socket.request.max.bytes=1000000"])?;
    let too_large = 1_000_001_u32.to_be_bytes();
    let tls = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01];
    for (what, bytes) in [
        ("one byte too many", &too_large[..]),
        ("a negative length", &[0xff; 4][..]),
        ("a length of nothing", &[0; 4][..]),
        ("a TLS hello", &tls[..]),
        ("an HTTP request", b"GET / HTTP/1.1\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(node.address()).map_err(text)?;
        stream.write_all(bytes).map_err(text)?;
        if !is_closed(&mut stream)? {
            return Err(format!("{what}: the connection stays open"));
        }
    }
    others_are_served(&node, 1)?;
    Ok(Verdict::Held)
}

/// Writes `request` over and over, reading nothing, until the node takes no more for a second. Returns how many whole
/// requests it took.
fn write_until_refused(stream: &mut TcpStream, request: &[u8], requests_max: usize) -> Result<usize, String> {
    stream.set_write_timeout(Some(Duration::from_secs(1))).map_err(text)?;
    let bunch: Vec<u8> = request.repeat(64);
    let mut sent = 0;
    while sent < requests_max * request.len() {
        match stream.write(&bunch[sent % request.len()..]) {
            Ok(bytes) => sent += bytes,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(sent / request.len());
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("{requests_max} requests were taken and none of the answers read"))
}

pub fn a_fetcher_that_stops_reading_is_not_read() -> Result<Verdict, String> {
    let node = node("fetcher-stops", &[])?;
    others_are_served(&node, 1)?;
    let address = node.address();
    PlainClient::connect(&address)?.create_topic(TOPIC, 1, &[])?;
    for at in 0..8 {
        write(&address, TOPIC, 0, &batch_of(Codec::None, at, 10, 90_000, None))?;
    }
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topic = FetchTopic { topic: TOPIC.into(), partitions: vec![partition], ..FetchTopic::default() };
    let request = FetchRequest { max_bytes: 1 << 20, topics: vec![topic], session_epoch: -1, ..Default::default() };
    let request = frame(11, 1, &request)?;
    let before = node.resident_bytes()?;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(&address).map_err(text)?;
        let taken = write_until_refused(&mut stream, &request, 1_000_000)?;
        println!("  {taken} fetches taken before reading paused");
        held.push(stream);
    }
    others_are_served(&node, 2)?;
    grew_at_most(&node, before, 4 * UNSENT_BYTES, "4 fetchers that do not read")?;
    Ok(Verdict::Held)
}

pub fn a_producer_that_stops_reading_is_not_read() -> Result<Verdict, String> {
    let node = node("producer-stops", &[])?;
    others_are_served(&node, 1)?;
    let address = node.address();
    PlainClient::connect(&address)?.create_topic(TOPIC, 1, &[])?;
    // Refused one by one: the answers are what piles up, not the log.
    let names: Vec<TopicProduceData<'_>> = (0..40)
        .map(|at| {
            let data = PartitionProduceData { index: 7, records: Records::Null, ..Default::default() };
            TopicProduceData { name: format!("{TOPIC}-{at}").into(), partition_data: vec![data], ..Default::default() }
        })
        .collect();
    let request = ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: names, ..ProduceRequest::default() };
    let request = frame(8, 1, &request)?;
    let before = node.resident_bytes()?;
    let mut stream = TcpStream::connect(&address).map_err(text)?;
    let taken = write_until_refused(&mut stream, &request, 1_000_000)?;
    println!("  {taken} produces taken before reading paused");
    others_are_served(&node, 2)?;
    grew_at_most(&node, before, UNSENT_BYTES, "a producer that does not read")?;
    Ok(Verdict::Held)
}

pub fn pipelining_without_end_is_answered_in_order() -> Result<Verdict, String> {
    const REQUESTS: i32 = 30_000;
    let node = node("pipelining", &[])?;
    others_are_served(&node, 1)?;
    let before = node.resident_bytes()?;
    let mut writer = TcpStream::connect(node.address()).map_err(text)?;
    let mut reader = writer.try_clone().map_err(text)?;
    reader.set_read_timeout(Some(Duration::from_secs(20))).map_err(text)?;
    let sender = std::thread::spawn(move || -> Result<(), String> {
        for correlation in 0..REQUESTS {
            writer.write_all(&frame(2, correlation, &ApiVersionsRequest::default())?).map_err(text)?;
        }
        Ok(())
    });
    // It is well under way before the first answer is read.
    std::thread::sleep(Duration::from_millis(500));
    others_are_served(&node, 2)?;
    let mut answer = Vec::new();
    for correlation in 0..REQUESTS {
        let mut size = [0; 4];
        reader.read_exact(&mut size).map_err(|e| format!("answer {correlation}: {e}"))?;
        answer.resize(u32::from_be_bytes(size) as usize, 0);
        reader.read_exact(&mut answer).map_err(|e| format!("answer {correlation}: {e}"))?;
        if answer.first_chunk() != Some(&correlation.to_be_bytes()) {
            return Err(format!("answer {correlation} is to {:?}", answer.first_chunk::<4>()));
        }
    }
    sender.join().map_err(|_| "the sender panicked")??;
    grew_at_most(&node, before, UNSENT_BYTES, "30,000 requests in one go")?;
    Ok(Verdict::Held)
}

pub fn idle_connections_cost_little_and_hold_up_nobody() -> Result<Verdict, String> {
    let asked = std::env::var("BOUNDS_IDLE_CONNECTIONS").ok().and_then(|text| text.parse().ok());
    let count: u64 = asked.unwrap_or(2_000);
    let node = node("idle", &[])?;
    others_are_served(&node, 1)?;
    let (before, descriptors) = (node.resident_bytes()?, node.descriptors()?);
    let hello = frame(2, 1, &ApiVersionsRequest::default())?;
    let mut idle = Vec::new();
    for at in 0..count {
        let mut stream = TcpStream::connect(node.address()).map_err(|e| format!("connection {at}: {e}"))?;
        // As a client that has said hello and then has nothing to do.
        stream.write_all(&hello).map_err(text)?;
        idle.push(stream);
    }
    for stream in &mut idle {
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(text)?;
        stream.read_exact(&mut [0; 16]).map_err(|e| format!("no answer on an idle connection: {e}"))?;
    }
    others_are_served(&node, 2)?;
    let each = node.resident_bytes()?.saturating_sub(before) / count;
    println!("  {count} idle connections: {each} bytes each, {} descriptors", node.descriptors()?);
    // A page of buffer, the socket, the task.
    if 16_384 < each {
        return Err(format!("an idle connection costs {each} bytes"));
    }
    drop(idle);
    let deadline = Instant::now() + Duration::from_secs(10);
    while descriptors + 50 < node.descriptors()? {
        if deadline < Instant::now() {
            return Err(format!("{} descriptors are open after all have gone", node.descriptors()?));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    others_are_served(&node, 3)?;
    Ok(Verdict::Held)
}

pub fn one_connection_more_than_allowed_is_refused() -> Result<Verdict, String> {
    for setting in ["max.connections=20", "max.connections.per.ip=20"] {
        let node = node("max-connections", &[setting])?;
        let hello = frame(2, 1, &ApiVersionsRequest::default())?;
        // The probe of the start may still be counted for a moment.
        std::thread::sleep(Duration::from_millis(200));
        let mut held = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(node.address()).map_err(text)?;
            stream.write_all(&hello).map_err(text)?;
            stream.read_exact(&mut [0; 16]).map_err(|e| format!("{setting}: connection {}: {e}", held.len()))?;
            held.push(stream);
        }
        let mut one_more = TcpStream::connect(node.address()).map_err(text)?;
        if !is_closed(&mut one_more)? {
            return Err(format!("{setting}: the 21st connection stays open"));
        }
        held.truncate(10);
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let mut stream = TcpStream::connect(node.address()).map_err(text)?;
            // Refused while those that left are still counted.
            let answered = stream.write_all(&hello).is_ok() && stream.read_exact(&mut [0; 16]).is_ok();
            if answered {
                break;
            }
            if deadline < Instant::now() {
                return Err(format!("{setting}: no connection is taken after others have gone"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(Verdict::Held)
}
