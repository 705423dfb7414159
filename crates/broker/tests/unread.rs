//! What DescribeLogDirs says by our own tagged fields: facts of each log, and what readers have before them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use broker::config::{Config, Dynamic, RawConfig};
use bytes::Bytes;
use client::{Admin, Client, ClientConfig, Kept, Log, NewTopic, Producer, ProducerConfig, Record, Unread};
use types::limits::LOG_DIR_POSITIONS_MAX;
use types::{Offset, PartitionIndex, Timestamp, TopicPartition};
use wire::describe_log_dirs_request::DescribeLogDirsRequest;

const HOUR_MS: i64 = 3_600_000;

/// A node of its own, stopped and gone with the test.
struct TestNode {
    node: Option<broker::Node>,
    folder: PathBuf,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl TestNode {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringlog-unread-{name}-{}", std::process::id()));
        let mut raw = RawConfig::new();
        let log_dirs = format!("log.dirs={}", folder.display());
        let lines = [&log_dirs, "listeners=PLAINTEXT://127.0.0.1:0", "ringlog.shards=2", "ringlog.http.listener="];
        for line in lines {
            raw.read_override(line).expect("an override");
        }
        let node = broker::start(Config::prove(raw, Dynamic::NONE).expect("a config")).expect("a node");
        let address = node.report().listening[0].to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime.block_on(Client::connect(ClientConfig::new(&address))).expect("connected");
        Self { node: Some(node), folder, client, runtime }
    }

    fn admin(&self) -> Admin {
        Admin::new(self.client.clone())
    }

    fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let topic = NewTopic { name: name.to_owned(), partitions: Some(partitions), configs, ..Default::default() };
        self.runtime.block_on(self.admin().create_topic(&topic, false)).expect("created");
    }

    /// Each of `batches` is one batch: its records' times and the size of their values.
    fn produce(&self, topic: &str, batches: &[(&[i64], usize)]) {
        let config =
            ProducerConfig { linger: std::time::Duration::from_secs(60), batch_bytes: 4_000_000, ..Default::default() };
        self.runtime.block_on(async {
            let producer = Producer::new(self.client.clone(), config).expect("a producer");
            for (times, size) in batches {
                let mut sent = Vec::new();
                for &time in *times {
                    let record = Record {
                        topic: topic.into(),
                        partition: Some(PartitionIndex::ZERO),
                        value: Some(Bytes::from(vec![b'v'; *size])),
                        timestamp: Some(Timestamp::from_millis(time)),
                        ..Default::default()
                    };
                    sent.push(producer.send(record).await.expect("taken"));
                }
                producer.flush().await;
                for delivery in sent {
                    delivery.wait().await.expect("delivered");
                }
            }
        });
    }

    fn log(&self, topic: &str, offsets: &[i64]) -> Log {
        let at = TopicPartition::new(topic, PartitionIndex::ZERO);
        let offsets: BTreeSet<Offset> = offsets.iter().map(|&offset| Offset::new(offset)).collect();
        let node = self.runtime.block_on(self.client.cluster()).expect("a cluster").nodes[0].id;
        let logs = self.runtime.block_on(self.admin().logs(node, &BTreeMap::from([(at, offsets)])));
        let mut logs = logs.expect("logs");
        assert_eq!(logs.len(), 1, "{logs:?}");
        logs.remove(0)
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

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

#[test]
fn what_is_unread_is_exact_in_bytes_time_and_how_long_it_is_kept() {
    let node = TestNode::start("exact");
    node.create("t", 1, &[("retention.ms", "7200000"), ("segment.bytes", "1048576")]);
    let from = now_ms() - HOUR_MS;
    // Two segments: three batches of one record, then one of three records, whose times do not rise.
    node.produce("t", &[(&[from], 500_000), (&[from + 10], 500_000)]);
    node.produce("t", &[(&[from + 20], 500_000), (&[from + 50, from + 40, from + 30], 1000)]);
    let log = node.log("t", &[0, 1, 2, 3, 4, 5, 6]);
    let whole = log.unread[0].bytes;
    assert_eq!(whole, log.bytes, "from the beginning it is all there is");
    let single = whole - log.unread[1].bytes;
    assert!((500_000..501_000).contains(&single), "{single}");
    let last_batch = log.unread[3].bytes;
    assert!((3000..3500).contains(&last_batch), "{last_batch}");
    let until = |largest: i64| Some(Timestamp::from_millis(from + largest + 2 * HOUR_MS));
    let expected = [
        (0, whole, Some(0), until(10)),
        (1, whole - single, Some(10), until(10)),
        (2, single + last_batch, Some(20), until(50)),
        // A batch is read whole, so its bytes count for each of its records; the time is the record's own.
        (3, last_batch, Some(50), until(50)),
        (4, last_batch, Some(40), until(50)),
        (5, last_batch, Some(30), until(50)),
        (6, 0, None, None),
    ];
    let expected = expected.map(|(offset, bytes, time, kept_until)| Unread {
        offset: Offset::new(offset),
        bytes,
        timestamp: time.map(|time: i64| Timestamp::from_millis(from + time)),
        kept_until,
        goes_by_size: false,
    });
    assert_eq!(log.unread, expected);
}

#[test]
fn a_reader_behind_the_log_start_is_answered_from_there() {
    let node = TestNode::start("start");
    node.create("t", 1, &[("retention.ms", "-1"), ("retention.bytes", "1048576")]);
    let time = now_ms();
    node.produce("t", &[(&[time], 1000), (&[time + 1], 1000), (&[time + 2], 1000)]);
    let at = TopicPartition::new("t", PartitionIndex::ZERO);
    let before = BTreeMap::from([(at, Some(Offset::new(2)))]);
    node.runtime.block_on(node.admin().delete_records(&before)).expect("deleted");
    let log = node.log("t", &[0, 2]);
    assert_eq!(log.unread[0].bytes, log.unread[1].bytes);
    assert_eq!(log.unread[0].timestamp, Some(Timestamp::from_millis(time + 2)));
    // Retention is by size, and at this rate it takes a while until a segment of 1 GiB is full.
    assert!(log.unread[0].goes_by_size);
    assert!(log.unread[0].kept_until.is_some_and(|until| time + HOUR_MS < until.millis()), "{log:?}");
    let facts = log.facts.expect("facts");
    assert_eq!((facts.log_start.value(), facts.log_end.value()), (2, 3));
    assert_eq!(facts.appended_bytes, log.bytes);
    assert_eq!(facts.next_deletable.kept, Some(Kept::Active));
}

#[test]
fn facts_say_what_keeps_the_oldest_segment() {
    let node = TestNode::start("facts");
    let hour = &HOUR_MS.to_string();
    let cases = [
        ("young", ("retention.ms", hour.as_str()), -1000, Kept::Young),
        ("future", ("retention.ms", hour), 60_000, Kept::FutureTimestamp),
        ("due", ("retention.ms", hour), -2 * HOUR_MS, Kept::NextCheck),
        ("unlimited", ("retention.ms", "-1"), -1000, Kept::NoLimit),
        ("compacted", ("cleanup.policy", "compact"), -1000, Kept::NotByPolicy),
    ];
    for (topic, config, age, kept) in cases {
        node.create(topic, 1, &[config]);
        assert_eq!(node.log(topic, &[]).facts.expect("facts").next_deletable.kept, Some(Kept::Empty), "{topic}");
        let time = now_ms() + age;
        if topic == "compacted" {
            // Records of a compacted topic need keys.
            let keyed = Record {
                topic: topic.into(),
                key: Some(Bytes::from_static(b"k")),
                timestamp: Some(Timestamp::from_millis(time)),
                ..Default::default()
            };
            node.runtime.block_on(async {
                let producer = Producer::new(node.client.clone(), ProducerConfig::default()).expect("a producer");
                producer.send(keyed).await.expect("taken").wait().await.expect("sent");
            });
        } else {
            node.produce(topic, &[(&[time], 10)]);
        }
        let next = node.log(topic, &[]).facts.expect("facts").next_deletable;
        assert_eq!(next.kept, Some(kept), "{topic}");
        let expires = matches!(kept, Kept::Young | Kept::FutureTimestamp | Kept::NextCheck);
        assert_eq!(next.at, expires.then(|| Timestamp::from_millis(time + HOUR_MS)), "{topic}");
    }
}

#[test]
fn clients_that_do_not_ask_see_no_tags_of_ours() {
    let node = TestNode::start("plain");
    node.create("t", 1, &[]);
    let response = node.runtime.block_on(async {
        let request = DescribeLogDirsRequest { topics: None, ..Default::default() };
        node.client.any().await.expect("connected").call(&request).await.expect("answered")
    });
    let partition = &response.results[0].topics[0].partitions[0];
    assert!(partition.tags.is_empty(), "{:?}", partition.tags);
}

#[test]
fn more_positions_than_one_request_takes_are_asked_in_several() {
    let node = TestNode::start("many");
    node.create("t", 1, &[]);
    node.produce("t", &[(&[now_ms()], 10)]);
    let offsets: Vec<i64> = (0..=LOG_DIR_POSITIONS_MAX as i64).collect();
    let mut unread = node.log("t", &offsets).unread;
    unread.sort_by_key(|unread| unread.offset);
    assert_eq!(unread.iter().map(|unread| unread.offset.value()).collect::<Vec<_>>(), offsets);
    assert!(0 < unread[0].bytes && unread[1..].iter().all(|unread| unread.bytes == 0));
}
