//! `ringlog group` against a running node.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use broker::config::{Config, Dynamic, RawConfig};
use client::{
    Admin, Client, ClientConfig, Consumer, ConsumerConfig, GroupConfig, NewTopic, Producer, ProducerConfig, Record,
};
use serde_json::Value;
use types::{Offset, PartitionIndex, Timestamp, TopicPartition};

const HOUR_MS: i64 = 3_600_000;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// So large that a segment of 1 MiB holds one.
const VALUE_BYTES: usize = 600_000;

/// Such a value in a batch of its own, with a key of one byte: the batch's header (61), the record's length (3), its
/// attributes, time, offset, the length of the key and the key (5), the length of the value (3), the value, no headers (1).
const SEGMENT_BYTES: u64 = 61 + 3 + 5 + 3 + VALUE_BYTES as u64 + 1;

/// A node of its own, stopped and gone with the test.
struct TestNode {
    node: Option<broker::Node>,
    folder: PathBuf,
    address: String,
    http: SocketAddr,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl TestNode {
    fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    fn start_with(name: &str, overrides: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("ringlog-group-{name}-{}", std::process::id()));
        let mut raw = RawConfig::new();
        let log_dirs = format!("log.dirs={}", folder.join("data").display());
        let lines = [
            &log_dirs,
            "listeners=PLAINTEXT://127.0.0.1:0",
            "ringlog.shards=2",
            "ringlog.http.listener=127.0.0.1:0",
            "offsets.topic.num.partitions=2",
            "group.initial.rebalance.delay.ms=0",
        ];
        for line in lines.iter().chain(overrides) {
            raw.read_override(line).expect("an override");
        }
        let node = broker::start(Config::prove(raw, Dynamic::NONE).expect("a config")).expect("a node");
        let address = node.report().listening[0].to_string();
        let http = node.report().http.expect("an HTTP listener");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("made");
        let client = runtime.block_on(Client::connect(ClientConfig::new(&address))).expect("connected");
        Self { node: Some(node), folder, address, http, client, runtime }
    }

    fn admin(&self) -> Admin {
        Admin::new(self.client.clone())
    }

    fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let topic = NewTopic { name: name.to_owned(), partitions: Some(partitions), configs, ..Default::default() };
        self.runtime.block_on(self.admin().create_topic(&topic, false)).expect("created");
    }

    /// Records of these ages, one a batch.
    fn produce(&self, topic: &str, partition: i32, ages_ms: &[i64]) {
        self.runtime.block_on(async {
            let producer = Producer::new(self.client.clone(), ProducerConfig::default()).expect("a producer");
            for age_ms in ages_ms {
                let record = Record {
                    topic: topic.into(),
                    partition: Some(PartitionIndex::new(partition)),
                    value: Some("value".into()),
                    timestamp: Some(Timestamp::from_millis(now_ms() - age_ms)),
                    ..Default::default()
                };
                producer.send(record).await.expect("taken").wait().await.expect("delivered");
            }
        });
    }

    /// Large records of these keys and ages, one a batch and one a segment of 1 MiB.
    fn produce_segments(&self, topic: &str, records: &[(&'static str, i64)]) {
        self.runtime.block_on(async {
            let producer = Producer::new(self.client.clone(), ProducerConfig::default()).expect("a producer");
            for &(key, age_ms) in records {
                let record = Record {
                    topic: topic.into(),
                    partition: Some(PartitionIndex::ZERO),
                    key: Some(key.into()),
                    value: Some(vec![b'v'; VALUE_BYTES].into()),
                    timestamp: Some(Timestamp::from_millis(now_ms() - age_ms)),
                    ..Default::default()
                };
                producer.send(record).await.expect("taken").wait().await.expect("delivered");
            }
        });
    }

    /// Asks until the partition's log is as large as this.
    fn wait_for_size(&self, topic: &str, bytes: RangeInclusive<u64>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let topics = self.json(&["topic", "describe", topic]);
            let found = topics["topics"][0]["partitions"][0]["size_bytes"].as_u64();
            if found.is_some_and(|found| bytes.contains(&found)) {
                return;
            }
            assert!(Instant::now() < deadline, "{topic} has {found:?} bytes, not {bytes:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What `group lag` says of the one partition of a group, once the metrics say the same. They are told again until
    /// they are some seconds old.
    fn place(&self, group: &str, topic: &str) -> Value {
        let labels = [format!("group=\"{group}\""), format!("topic=\"{topic}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let place = self.json(&["group", "lag", group])["groups"][0]["partitions"][0].clone();
            let told = lag_samples(self, &labels);
            let same = |metric: &str, field: &str| told.get(metric).copied() == place[field].as_f64();
            let near = |metric: &str, field: &str| match (told.get(metric), place[field].as_f64()) {
                (Some(told_s), Some(place_ms)) => (told_s - place_ms / 1000.0).abs() < 30.0,
                (None, None) => true,
                _ => false,
            };
            if same("ringlog_group_lag_records", "lag_records")
                && same("ringlog_group_lag_bytes", "lag_bytes")
                && same("ringlog_group_lost_records", "lost_records")
                && near("ringlog_group_lag_seconds", "lag_ms")
                && near("ringlog_group_retention_headroom_seconds", "headroom_ms")
            {
                return place;
            }
            assert!(Instant::now() < deadline, "metrics say {told:?}, the command {place:#}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn commit(&self, group: &str, offsets: &[(&str, i32, i64)]) {
        let offsets = offsets.iter().map(|&(topic, partition, offset)| (at(topic, partition), Offset::new(offset)));
        let offsets: BTreeMap<_, _> = offsets.collect();
        self.runtime.block_on(self.admin().set_group_offsets(group, &offsets)).expect("committed");
    }

    fn committed(&self, group: &str) -> BTreeMap<TopicPartition, i64> {
        let offsets = self.runtime.block_on(self.admin().group_offsets(group, None)).expect("offsets");
        offsets.into_iter().map(|(at, committed)| (at, committed.offset.value())).collect()
    }

    fn ringlog(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ringlog"))
            .args(arguments)
            .args(["-b", &self.address])
            .env_remove("RINGLOG_BROKERS")
            .env("HOME", &self.folder)
            .current_dir(&self.folder)
            .output()
            .expect("run")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.ringlog(&[arguments, &["-o", "json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {error}"))
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

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, PartitionIndex::new(partition))
}

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a number of milliseconds is `expected`, or up to half a minute off for a slow machine.
fn about(value: &Value, expected: i64) -> bool {
    value.as_i64().is_some_and(|value| (value - expected).abs() < 30_000)
}

#[test]
fn lag_is_told_in_records_bytes_time_and_headroom() {
    let node = TestNode::start("lag");
    node.create("t", 3, &[("retention.ms", "7200000")]);
    node.produce("t", 0, &[HOUR_MS, HOUR_MS / 2, 1000]);
    node.produce("t", 1, &[1000]);
    node.commit("g", &[("t", 0, 1), ("t", 1, 1), ("t", 2, 0)]);
    let answer = node.json(&["group", "lag", "g"]);
    let group = &answer["groups"][0];
    assert_eq!((&group["lag_records"], &group["lost_records"]), (&2.into(), &0.into()), "{answer:#}");
    let places = &group["partitions"];
    assert!(about(&places[0]["lag_ms"], HOUR_MS / 2), "{answer:#}");
    // One segment, whose newest record is a second old.
    assert!(about(&places[0]["headroom_ms"], 2 * HOUR_MS), "{answer:#}");
    let bytes = places[0]["lag_bytes"].as_u64().expect("bytes");
    assert!((140..160).contains(&bytes), "two batches of one small record: {bytes}");
    assert_eq!(places[0]["lag_bytes_estimated"], false);
    for caught_up in [&places[1], &places[2]] {
        assert_eq!(caught_up["verdict"], "caught_up", "{answer:#}");
        assert_eq!((&caught_up["lag_ms"], &caught_up["lag_bytes"]), (&0.into(), &0.into()), "{answer:#}");
        assert_eq!(caught_up["headroom_ms"], Value::Null);
    }
    // Nobody reads, and two hours are less than a day.
    let table = stdout(&node.ringlog(&["group", "lag", "g"]));
    assert!(table.starts_with("LOSING\tgroup g: in 1 h 59 m retention reaches 2 unread records of t-0;"), "{table}");
    assert_eq!(node.ringlog(&["group", "lag", "g"]).status.code(), Some(0));
    assert_eq!(node.ringlog(&["group", "lag", "g", "--warn", "1h"]).status.code(), Some(0));
    assert_eq!(node.ringlog(&["group", "lag", "g", "--warn", "3h"]).status.code(), Some(6));
}

#[test]
fn what_was_deleted_unread_is_lost_and_said_first() {
    let node = TestNode::start("lost");
    node.create("t", 1, &[("retention.ms", "-1")]);
    node.produce("t", 0, &[3000, 2000, 1000]);
    node.commit("late", &[("t", 0, 0)]);
    node.commit("good", &[("t", 0, 3)]);
    let before = BTreeMap::from([(at("t", 0), Some(Offset::new(2)))]);
    node.runtime.block_on(node.admin().delete_records(&before)).expect("deleted");
    let answer = node.json(&["group", "lag"]);
    let late = &answer["groups"][0];
    assert_eq!((&late["group"], &late["verdict"]), (&"late".into(), &"lost".into()), "{answer:#}");
    assert_eq!((&late["lost_records"], &late["lag_records"]), (&2.into(), &1.into()));
    assert_eq!(late["partitions"][0]["keeps"], "always", "nothing is deleted by time or size");
    assert_eq!(answer["groups"][1]["verdict"], "caught_up");
    let output = node.ringlog(&["group", "lag", "--warn", "1s"]);
    assert_eq!(output.status.code(), Some(6));
    assert!(
        stdout(&output).starts_with("LOST\tgroup late: 2 records were deleted before it read them"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn lag_is_exact_after_retention_by_time_has_overtaken_a_group() {
    let node = TestNode::start_with("by-time", &["log.retention.check.interval.ms=100"]);
    node.create("t", 1, &[("segment.bytes", "1048576"), ("retention.ms", "-1")]);
    node.produce_segments("t", &[("k", 4 * HOUR_MS), ("k", 3 * HOUR_MS), ("k", HOUR_MS), ("k", HOUR_MS / 2)]);
    node.commit("slow", &[("t", 0, 1)]);
    node.commit("fast", &[("t", 0, 3)]);
    let before = node.place("slow", "t");
    assert_eq!((&before["lag_records"], &before["lag_bytes"]), (&3.into(), &(3 * SEGMENT_BYTES).into()), "{before:#}");
    assert!(about(&before["lag_ms"], 3 * HOUR_MS), "{before:#}");
    assert_eq!((&before["headroom_ms"], &before["keeps"]), (&Value::Null, &"always".into()), "{before:#}");

    assert!(node.ringlog(&["topic", "alter", "t", "-c", "retention.ms=7200000"]).status.success());
    node.wait_for_size("t", 2 * SEGMENT_BYTES..=2 * SEGMENT_BYTES);
    let slow = node.place("slow", "t");
    assert_eq!((&slow["log_start_offset"], &slow["lost_records"]), (&2.into(), &1.into()), "{slow:#}");
    assert_eq!((&slow["lag_records"], &slow["lag_bytes"]), (&2.into(), &(2 * SEGMENT_BYTES).into()), "{slow:#}");
    // What it reads next is the first record there is, in a segment that goes two hours after that record was made.
    assert!(about(&slow["lag_ms"], HOUR_MS) && about(&slow["headroom_ms"], HOUR_MS), "{slow:#}");
    let fast = node.place("fast", "t");
    assert_eq!((&fast["lag_records"], &fast["lag_bytes"]), (&1.into(), &SEGMENT_BYTES.into()), "{fast:#}");
    assert!(about(&fast["lag_ms"], HOUR_MS / 2) && about(&fast["headroom_ms"], HOUR_MS * 3 / 2), "{fast:#}");
    assert_eq!((&fast["lost_records"], &fast["verdict"]), (&0.into(), &"losing".into()), "{fast:#}");
}

#[test]
fn lag_is_exact_after_retention_by_size_has_overtaken_a_group() {
    let node = TestNode::start_with("by-size", &["log.retention.check.interval.ms=100"]);
    node.create("t", 1, &[("segment.bytes", "1048576"), ("retention.ms", "-1")]);
    node.produce_segments("t", &[("k", HOUR_MS); 4]);
    node.commit("g", &[("t", 0, 0)]);
    let limit = format!("retention.bytes={}", 2 * SEGMENT_BYTES);
    assert!(node.ringlog(&["topic", "alter", "t", "-c", &limit]).status.success());
    node.wait_for_size("t", 2 * SEGMENT_BYTES..=2 * SEGMENT_BYTES);
    let place = node.place("g", "t");
    assert_eq!((&place["log_start_offset"], &place["lost_records"]), (&2.into(), &2.into()), "{place:#}");
    assert_eq!((&place["lag_records"], &place["lag_bytes"]), (&2.into(), &(2 * SEGMENT_BYTES).into()), "{place:#}");
    // Four segments came in what counts as a minute, or in a little more on a slow machine; after one more it goes.
    let headroom_ms = place["headroom_ms"].as_i64().expect("a time");
    assert!((10_000..60_000).contains(&headroom_ms), "{place:#}");
    assert_eq!(place["keeps"], "until");
}

#[test]
fn lag_is_exact_where_compaction_has_removed_records() {
    let node = TestNode::start_with("cleaned", &["log.cleaner.backoff.ms=100"]);
    let configs = [("cleanup.policy", "compact"), ("segment.bytes", "1048576"), ("min.cleanable.dirty.ratio", "0.01")];
    node.create("t", 1, &configs);
    let ages = ["a", "a", "b", "a", "c"].into_iter().zip([5, 4, 3, 2, 1]);
    let records: Vec<(&str, i64)> = ages.map(|(key, hours)| (key, hours * HOUR_MS)).collect();
    node.commit("first", &[("t", 0, 0)]);
    node.produce_segments("t", &records);
    node.commit("second", &[("t", 0, 1)]);
    node.commit("fourth", &[("t", 0, 3)]);
    // The first two are superseded, though of batches the headers may stay; the last is in the segment that takes appends.
    let headers = 2 * 61;
    node.wait_for_size("t", 3 * SEGMENT_BYTES..=3 * SEGMENT_BYTES + headers);
    for (group, lag, segments, headers, hours) in
        [("first", 5, 3, headers, 3), ("second", 4, 3, headers, 3), ("fourth", 2, 2, 0, 2)]
    {
        let place = node.place(group, "t");
        // Records are counted by offsets, as Kafka does: where records were cleaned away, they are the most there can be.
        assert_eq!((&place["lag_records"], &place["lost_records"]), (&lag.into(), &0.into()), "{place:#}");
        let bytes = place["lag_bytes"].as_u64().expect("bytes");
        assert!((segments * SEGMENT_BYTES..=segments * SEGMENT_BYTES + headers).contains(&bytes), "{place:#}");
        assert!(about(&place["lag_ms"], hours * HOUR_MS), "{place:#}");
        assert_eq!((&place["headroom_ms"], &place["keeps"]), (&Value::Null, &"always".into()), "{place:#}");
    }
}

#[test]
fn compacted_topics_and_log_append_time_have_no_false_alarms() {
    let node = TestNode::start("kinds");
    node.create("appended", 1, &[("message.timestamp.type", "LogAppendTime")]);
    // The record says that it is old; what counts is when it was appended.
    node.produce("appended", 0, &[HOUR_MS]);
    node.create("compacted", 1, &[("cleanup.policy", "compact"), ("retention.ms", "1000")]);
    node.runtime.block_on(async {
        let producer = Producer::new(node.client.clone(), ProducerConfig::default()).expect("a producer");
        let record =
            Record { topic: "compacted".into(), key: Some("k".into()), value: Some("v".into()), ..Default::default() };
        producer.send(record).await.expect("taken").wait().await.expect("delivered");
    });
    node.commit("g", &[("appended", 0, 0), ("compacted", 0, 0)]);
    let answer = node.json(&["group", "lag", "g"]);
    let places = &answer["groups"][0]["partitions"];
    assert!(about(&places[0]["lag_ms"], 0), "{answer:#}");
    assert!(about(&places[0]["headroom_ms"], 7 * 24 * HOUR_MS), "{answer:#}");
    assert_eq!((&places[1]["keeps"], &places[1]["verdict"]), (&"always".into(), &"behind".into()), "{answer:#}");
}

#[test]
fn groups_without_commits_or_whose_topic_is_gone_are_told_apart_from_groups_that_are_not_there() {
    let node = TestNode::start("none");
    node.create("t", 1, &[]);
    let config = ConsumerConfig { group: Some(GroupConfig::new("g")), auto_commit: None, ..Default::default() };
    let mut consumer = Consumer::subscribe(node.client.clone(), config, &["t"]).expect("a consumer");
    while consumer.positions().next().is_none() {
        node.runtime.block_on(consumer.poll(Duration::from_millis(100))).expect("polled");
    }
    let answer = node.json(&["group", "lag", "g"]);
    let place = &answer["groups"][0]["partitions"][0];
    assert_eq!((&place["topic"], &place["verdict"]), (&"t".into(), &"not_committed".into()), "{answer:#}");
    assert_eq!((&place["lag_records"], &place["log_end_offset"]), (&Value::Null, &0.into()));
    assert!(place["member"].is_string());

    let output = node.ringlog(&["group", "lag", "nobody"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("there is no group nobody"), "{}", stderr(&output));

    let described = node.json(&["group", "describe", "g"]);
    let member = &described["groups"][0]["members"][0];
    assert_eq!(member["assignment"][0]["partitions"], serde_json::json!([0]), "{described:#}");
    node.runtime.block_on(consumer.close()).expect("closed");
}

#[test]
fn a_slip_in_a_name_is_no_good_news() {
    let node = TestNode::start("slips");
    node.create("t", 1, &[]);
    node.create("unread", 1, &[]);
    node.commit("g", &[("t", 0, 0)]);
    let code = |arguments: &[&str]| {
        let output = node.ringlog(arguments);
        (output.status.code(), stdout(&output), stderr(&output))
    };
    for (arguments, expected) in [
        (&["group", "lag", "h", "--warn", "1h"][..], Some(3)),
        (&["group", "lag", "h", "i", "--warn", "1h"], Some(3)),
        (&["group", "lag", "g", "h", "--warn", "1h"], Some(5)),
        (&["group", "lag", "g", "--topic", "no-such"], Some(3)),
        (&["group", "lag", "g", "--topic", "t:7"], Some(3)),
        (&["group", "lag", "g", "--topic", "unread"], Some(0)),
        (&["group", "lag", "g", "--topic", "t:0", "--warn", "1h"], Some(0)),
    ] {
        let (found, out, error) = code(arguments);
        assert_eq!(found, expected, "{arguments:?}: {out}{error}");
        assert_eq!(error.is_empty(), expected == Some(0), "{arguments:?}: {error}");
    }
}

#[test]
fn a_seek_shows_what_it_does_and_can_be_taken_back() {
    let node = TestNode::start("seek");
    node.create("t", 2, &[]);
    node.produce("t", 0, &[4000, 3000, 2000, 1000]);
    node.commit("g", &[("t", 0, 3)]);
    let before = node.committed("g");

    let dry = node.json(&["group", "seek", "g", "--to-earliest", "--dry-run"]);
    assert_eq!((&dry["dry_run"], &dry["repeated_records"]), (&true.into(), &3.into()), "{dry:#}");
    assert_eq!(node.committed("g"), before, "a dry run changes nothing");
    assert_eq!(std::fs::read_dir(&node.folder).expect("a folder").count(), 1, "and writes nothing");

    // A partition without a commit is named, so that taking it back must forget one.
    let done = node.json(&["group", "seek", "g", "--to-offset", "2", "--topic", "t"]);
    assert_eq!(node.committed("g"), BTreeMap::from([(at("t", 0), 2), (at("t", 1), 0)]), "{done:#}");
    assert_eq!(done["partitions"][1]["outside_offset"], 2, "the second log is empty");
    let undo = done["undo_command"].as_str().expect("a command");
    let words: Vec<&str> = undo.split(' ').skip(1).collect();
    let output = node.ringlog(&words);
    assert_eq!(output.status.code(), Some(0), "{undo}: {}", stderr(&output));
    assert_eq!(node.committed("g"), before);

    let shifted = node.json(&["group", "seek", "g", "--shift-by", "-2"]);
    assert_eq!(node.committed("g")[&at("t", 0)], 1, "{shifted:#}");
    let time = (now_ms() - 2500).to_string();
    node.json(&["group", "seek", "g", "--to-time", &time, "--dry-run"]);
    let output = node.ringlog(&["group", "seek", "g", "--to-latest", "--to-file", "no/such/folder/f"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nothing was changed"), "{}", stderr(&output));
    assert_eq!(node.committed("g")[&at("t", 0)], 1);
}

#[test]
fn a_watch_ends_with_its_reader() {
    let node = TestNode::start("watch");
    let mut watch = Command::new(env!("CARGO_BIN_EXE_ringlog"))
        .args(["group", "lag", "--watch=20ms", "-b", &node.address])
        .env("HOME", &node.folder)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("spawned");
    let mut first = [0; 5];
    watch.stdout.take().expect("piped").read_exact(&mut first).expect("printed");
    assert_eq!(&first, b"group");
    // Its stdout is closed now.
    let began = Instant::now();
    let status = loop {
        if let Some(status) = watch.try_wait().expect("a child") {
            break status;
        }
        if Duration::from_secs(60) < began.elapsed() {
            let _ = watch.kill();
            panic!("it goes on for nobody");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
}

#[test]
fn groups_with_members_are_neither_moved_nor_deleted() {
    let node = TestNode::start("active");
    node.create("t", 1, &[]);
    let config = ConsumerConfig { group: Some(GroupConfig::new("g")), auto_commit: None, ..Default::default() };
    let mut consumer = Consumer::subscribe(node.client.clone(), config, &["t"]).expect("a consumer");
    while consumer.positions().next().is_none() {
        node.runtime.block_on(consumer.poll(Duration::from_millis(100))).expect("polled");
    }
    let output = node.ringlog(&["group", "seek", "g", "--to-latest"]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains("is Stable with 1 member ("), "{error}");
    assert!(error.contains("then `ringlog group seek g --to-latest`"), "{error}");
    // There is one, though it has committed nothing.
    let output = node.ringlog(&["group", "seek", "g", "--to-latest", "--dry-run"]);
    assert!(stderr(&output).contains("group g has committed nothing yet\nNext: name"), "{}", stderr(&output));
    let output = node.ringlog(&["group", "delete", "g", "--yes"]);
    assert!(stderr(&output).contains("stop its members"), "{}", stderr(&output));
    node.runtime.block_on(consumer.close()).expect("closed");

    node.commit("h", &[("t", 0, 0)]);
    let dry = node.json(&["group", "delete", "h", "--dry-run"]);
    assert_eq!((&dry["groups"][0]["committed_partitions"], &dry["groups"][0]["deleted"]), (&1.into(), &false.into()));
    let output = node.ringlog(&["group", "delete", "h"]);
    assert_eq!(output.status.code(), Some(2), "without a terminal it cannot ask");
    assert_eq!(node.json(&["group", "delete", "h", "--yes"])["groups"][0]["deleted"], true);
    let listed = node.json(&["group", "list"]);
    assert!(!listed["groups"].as_array().expect("groups").iter().any(|group| group["group"] == "h"), "{listed:#}");
    // Named twice it is still one, and none of it is there.
    assert_eq!(node.ringlog(&["group", "delete", "h", "h", "--yes"]).status.code(), Some(3));
    assert_eq!(node.ringlog(&["group", "describe", "h", "h"]).status.code(), Some(3));
}

fn scrape(node: &TestNode) -> String {
    let mut stream = TcpStream::connect(node.http).expect("connected");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("answered");
    page
}

/// The value of each lag sample whose labels hold all of `labels`, by the metric's name.
fn lag_samples(node: &TestNode, labels: &[&str]) -> BTreeMap<String, f64> {
    let page = scrape(node);
    let samples = page.lines().filter(|line| labels.iter().all(|label| line.contains(label)));
    let value = |line: &str| {
        let (name, rest) = line.split_once('{')?;
        Some((name.to_owned(), rest.rsplit_once(' ')?.1.parse().ok()?))
    };
    samples.filter_map(value).filter(|(name, _): &(String, f64)| name.starts_with("ringlog_group_")).collect()
}

#[test]
fn metrics_tell_the_same_lag_with_the_owner_and_follow_commits_and_deletions() {
    let node = TestNode::start("metrics");
    node.create("t", 2, &[("retention.ms", "7200000"), ("ringlog.owner", "team-a")]);
    node.produce("t", 0, &[HOUR_MS, HOUR_MS / 2, 1000]);
    node.commit("g", &[("t", 0, 1), ("t", 1, 0)]);
    let labels = ["group=\"g\"", "topic=\"t\"", "partition=\"0\"", "owner=\"team-a\""];
    let samples = lag_samples(&node, &labels);
    assert_eq!(
        (samples["ringlog_group_lag_records"], samples["ringlog_group_lost_records"]),
        (2.0, 0.0),
        "{samples:?}"
    );
    assert!((140.0..160.0).contains(&samples["ringlog_group_lag_bytes"]), "{samples:?}");
    assert!((1800.0..1860.0).contains(&samples["ringlog_group_lag_seconds"]), "{samples:?}");
    assert!((7100.0..7200.0).contains(&samples["ringlog_group_retention_headroom_seconds"]), "{samples:?}");
    let empty = lag_samples(&node, &["partition=\"1\"", "topic=\"t\""]);
    assert_eq!(
        (empty["ringlog_group_lag_seconds"], empty.len()),
        (0.0, 4),
        "no headroom where nothing is unread: {empty:?}"
    );

    node.commit("g", &[("t", 0, 2)]);
    let before = BTreeMap::from([(at("t", 0), Some(Offset::new(3)))]);
    node.runtime.block_on(node.admin().delete_records(&before)).expect("deleted");
    // What was found is told again until it is some seconds old.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let samples = lag_samples(&node, &labels);
        if samples["ringlog_group_lost_records"] == 1.0 {
            assert_eq!(
                (samples["ringlog_group_lag_records"], samples["ringlog_group_lag_bytes"]),
                (0.0, 0.0),
                "{samples:?}"
            );
            return;
        }
        assert!(Instant::now() < deadline, "{samples:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Requests that the node has answered.
fn requests(node: &TestNode) -> u64 {
    let count = |line: &str| line.rsplit_once(' ')?.1.parse::<u64>().ok();
    let page = scrape(node);
    page.lines().filter(|line| line.starts_with("ringlog_request_duration_seconds_count")).filter_map(count).sum()
}

#[test]
fn many_groups_are_asked_in_as_many_requests_as_one() {
    let node = TestNode::start("many");
    const GROUPS: usize = 40;
    for topic in 0..8 {
        node.create(&format!("t{topic}"), 2, &[]);
        node.produce(&format!("t{topic}"), 1, &[1000, 500]);
    }
    let names: Vec<String> = (0..GROUPS).map(|number| format!("g{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let topics = [format!("t{}", number % 8), format!("t{}", (number + 1) % 8)];
        node.commit(name, &[(&topics[0], 0, 0), (&topics[1], 1, 1)]);
    }
    let asked = |groups: &[String]| {
        let before = requests(&node);
        let mut arguments = vec!["group", "lag"];
        arguments.extend(groups.iter().map(String::as_str));
        let answer = node.json(&arguments);
        assert_eq!(answer["groups"].as_array().map(Vec::len), Some(groups.len()));
        assert!(
            answer["groups"].as_array().expect("groups").iter().all(|group| group["lag_records"] == 1),
            "{answer:#}"
        );
        requests(&node) - before
    };
    let (one, many) = (asked(&names[..1]), asked(&names));
    assert_eq!(many, one, "requests for {GROUPS} groups and for one");
    assert!(one <= 14, "{one} requests");
}
