//! Logs that move between Ringlog and Apache Kafka 4.3.1, both ways, and Kafka's own log reader over a live node's files.
//!
//! `cargo test -p tests --test interop`

mod groups;
mod kafka;

use std::fs;
use std::path::Path;
use std::process::Command;

use batch::Codec;
use tests::content::{self, Row, SEQUENCE_NEXT, batch_of, read_all, same, write, write_all};
use tests::node::{Node, Peer, ringlog_path};
use tests::plain_client::PlainClient;
use tests::scratch_dir;
use tests::tally::Tally;

const PARTITIONS: i32 = 2;

/// Small segments, so that a log has several.
const SEGMENT_BYTES: (&str, &str) = ("segment.bytes", "1048576");

/// The group whose position moves along.
const GROUP: &str = "interop-group";

/// Producer ids of the idempotent batches; a new node hands out low ones.
const PRODUCER: i64 = 40;

/// What this whole test judges, for a machine that lacks Java.
const CHECKS: u32 = 12;

fn main() {
    let mut tally = Tally::new("interop");
    if let Err(why) = kafka::present() {
        tally.skip("logs between Ringlog and Kafka", &why, CHECKS);
        std::process::exit(tally.close());
    }
    if let Err(why) = run(&mut tally) {
        tally.fail("interop", &why);
    }
    std::process::exit(tally.close());
}

fn run(tally: &mut Tally) -> Result<(), String> {
    let scratch = scratch_dir("interop");
    let overrides = ["offsets.topic.num.partitions=2", "metadata.log.max.record.bytes.between.snapshots=1"];
    let mut ringlog = Node::new(Peer::Ringlog, &scratch.join("ringlog"), &overrides).map_err(|e| e.to_string())?;
    let mut kafka = Node::new(Peer::Kafka, &scratch.join("kafka"), &[]).map_err(|e| e.to_string())?;
    // It takes long to start: both begin at once.
    kafka.spawn()?;
    ringlog.start()?;

    let written = fill(&ringlog, "to-kafka")?;
    tally.judge("a live node's metadata log is read by Kafka's decoder", dump_metadata(&ringlog));
    tally.judge("a live node's offsets are read by Kafka's decoder", dump_offsets(&ringlog));
    tally.judge("our consumer-groups prints what Kafka's tool prints of us", groups::prints_the_same(&ringlog, GROUP));
    ringlog.stop()?;
    tally.judge("a stopped node's metadata snapshots are read by Kafka's decoder", dump_snapshots(&ringlog));

    kafka.wait_ready()?;
    PlainClient::connect(&kafka.address())?.create_topic("to-kafka", PARTITIONS, &[SEGMENT_BYTES])?;
    let born_there = fill(&kafka, "from-kafka")?;
    tally.judge("our consumer-groups prints what Kafka's tool prints of Kafka", groups::prints_the_same(&kafka, GROUP));
    tally.judge("group lag over Kafka is right in records and time", groups::lag(&kafka, GROUP, 17, &born_there[0]));
    kafka.stop()?;
    for partition in 0..PARTITIONS {
        give_to_kafka(&ringlog.data_dir(), &kafka.data_dir(), &format!("to-kafka-{partition}"))?;
    }
    kafka.start()?;
    tally.judge("Kafka serves a copy of our logs: same records, offsets, times", serves(&kafka, "to-kafka", &written));
    tally.judge("Kafka takes the next batch of our idempotent producers", goes_on(&kafka, "to-kafka", &written));
    let written = (0..PARTITIONS)
        .map(|partition| read_all(&kafka.address(), "to-kafka", partition, 0))
        .collect::<Result<Vec<_>, _>>()?;
    kafka.stop()?;

    let mut adopted = Node::new(Peer::Ringlog, &scratch.join("adopted"), &overrides).map_err(|e| e.to_string())?;
    tally.judge("adopt takes Kafka's folders over, once", adopt(&kafka.data_dir(), &adopted.data_dir()));
    adopted.start()?;
    tally.judge("adopted topics keep the configs they had", keeps_configs(&adopted));
    let serves_both = serves(&adopted, "from-kafka", &born_there).and_then(|()| serves(&adopted, "to-kafka", &written));
    tally.judge("an adopted log has the same records, offsets, times", serves_both);
    let knows = goes_on(&adopted, "from-kafka", &born_there).and_then(|()| {
        let committed = PlainClient::connect(&adopted.address())?.committed(GROUP, "from-kafka", 0)?;
        if committed == Ok(17) { Ok(()) } else { Err(format!("the group's position is {committed:?}, not 17")) }
    });
    tally.judge("adopted producers and groups go on where they were", knows);
    adopted.stop()?;
    Ok(())
}

/// Makes a topic with records of every kind, several segments, and a group's position in it. Returns what is in it.
fn fill(node: &Node, topic: &str) -> Result<Vec<Vec<Row>>, String> {
    let address = node.address();
    PlainClient::connect(&address)?.create_topic(topic, PARTITIONS, &[SEGMENT_BYTES])?;
    let mut rows = Vec::new();
    for partition in 0..PARTITIONS {
        write_all(&address, topic, partition, PRODUCER + i64::from(partition))?;
        for at in 0..5 {
            write(&address, topic, partition, &batch_of(Codec::None, 100 + at, 8, 50_000, None))?;
        }
        rows.push(read_all(&address, topic, partition, 0)?);
    }
    let mut client = PlainClient::connect(&address)?;
    for _ in 0..400 {
        match client.commit(GROUP, topic, 0, 17)? {
            0 => return Ok(rows),
            error if !tests::plain_client::is_retriable(error) => return Err(format!("commit: error code {error}")),
            _ => {
                // The first commit may find that there is no offsets topic yet.
                client.find_coordinator(GROUP)?;
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
    }
    Err("the group's position cannot be committed".to_owned())
}

fn serves(node: &Node, topic: &str, expected: &[Vec<Row>]) -> Result<(), String> {
    for (partition, expected) in (0..).zip(expected) {
        let found = read_all(&node.address(), topic, partition, 0)?;
        same(&format!("{topic}-{partition}"), expected, &found)?;
    }
    Ok(())
}

/// The last idempotent batch sent again is a duplicate, the next is taken, and a new producer gets another id. (Kafka
/// knows duplicates in logs it did not write only after an unclean stop: without snapshots of its own it does not read
/// a log that was closed cleanly, so there only the next batch is judged.)
fn goes_on(node: &Node, topic: &str, rows: &[Vec<Row>]) -> Result<(), String> {
    let address = node.address();
    for (partition, rows) in (0..).zip(rows) {
        let id = PRODUCER + i64::from(partition);
        let end = rows.last().map_or(0, |row| row.offset + 1);
        let first = rows.iter().filter(|row| row.timestamp_ms % 100_000 / 1000 == 14).map(|row| row.offset).min();
        let again = batch_of(Codec::Zstd, 14, 5, 10, content::producer(id, SEQUENCE_NEXT - 5));
        if node.peer() == Peer::Ringlog {
            let offset = write(&address, topic, partition, &again)?;
            if Some(offset) != first {
                return Err(format!("{topic}-{partition}: a batch sent again got offset {offset}, not {first:?}"));
            }
        }
        let next = batch_of(Codec::Zstd, 15, 5, 10, content::producer(id, SEQUENCE_NEXT));
        let offset = write(&address, topic, partition, &next)?;
        if offset != end {
            return Err(format!("{topic}-{partition}: the next batch got offset {offset}, not {end}"));
        }
    }
    if node.peer() == Peer::Ringlog {
        let id = PlainClient::connect(&address)?.init_producer_id()?;
        if id < PRODUCER + i64::from(PARTITIONS) {
            return Err(format!("a new producer got the id {id}, which is in the adopted records"));
        }
    }
    Ok(())
}

/// Replaces the files of Kafka's folder by ours; the topic keeps Kafka's id.
fn give_to_kafka(ours: &Path, kafkas: &Path, name: &str) -> Result<(), String> {
    let (from, to) = (ours.join(name), kafkas.join(name));
    for entry in fs::read_dir(&to).map_err(|e| format!("{}: {e}", to.display()))?.flatten() {
        if entry.file_name() != "partition.metadata" {
            fs::remove_file(entry.path()).map_err(|e| e.to_string())?;
        }
    }
    for entry in fs::read_dir(&from).map_err(|e| format!("{}: {e}", from.display()))?.flatten() {
        let name = entry.file_name();
        if name != "partition.metadata" && name != "ringlog.checkpoint" {
            fs::copy(entry.path(), to.join(name)).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

fn ringlog(arguments: &[&str], data: &Path) -> Result<(i32, String), String> {
    let output = Command::new(ringlog_path())
        .args(arguments)
        .args(["--override", &format!("log.dirs={}", data.display())])
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code().unwrap_or(-1), text))
}

fn adopt(kafkas: &Path, ours: &Path) -> Result<(), String> {
    let source = kafkas.display().to_string();
    let folder = ours.join("from-kafka-0");
    let (code, said) = ringlog(&["log", "adopt", &source, "--dry-run"], ours)?;
    if code != 0 || folder.exists() || !said.contains("nothing was") {
        return Err(format!("a dry run: exit {code}, folder there: {}: {said}", folder.exists()));
    }
    let (code, said) = ringlog(&["log", "adopt", &source], ours)?;
    let names = ["from-kafka-0", "from-kafka-1", "to-kafka-0", "to-kafka-1", "__consumer_offsets-0"];
    if code != 0 || names.iter().any(|name| !said.contains(name) || !ours.join(name).exists()) {
        return Err(format!("exit {code}: {said}"));
    }
    let (code, said) = ringlog(&["log", "adopt", &source], ours)?;
    if code != 1 || !said.contains("is a partition that this node has already") {
        return Err(format!("a second time: exit {code}: {said}"));
    }
    Ok(())
}

/// What Kafka was told when it made the topic, and not what this node would take by default.
fn keeps_configs(node: &Node) -> Result<(), String> {
    let configs = PlainClient::connect(&node.address())?.topic_configs("from-kafka")?;
    let (name, value) = SEGMENT_BYTES;
    match configs.get(name) {
        Some(found) if found == value => Ok(()),
        found => Err(format!("{name} is {found:?}, not {value}: {configs:?}")),
    }
}

/// The paths of `folder`'s files whose names end so, with commas between.
fn files(folder: &Path, suffixes: &[&str]) -> Result<String, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut paths: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .filter(|path| suffixes.iter().any(|suffix| path.ends_with(suffix)))
        .collect();
    paths.sort();
    if paths.is_empty() { Err(format!("{}: no {suffixes:?}", folder.display())) } else { Ok(paths.join(",")) }
}

fn dump_metadata(node: &Node) -> Result<(), String> {
    let paths = files(&node.data_dir().join("__cluster_metadata-0"), &[".log", ".index", ".timeindex"])?;
    let text = kafka::dump(&["--cluster-metadata-decoder", "--files", &paths])?;
    kafka::holds(
        &text,
        &["REGISTER_BROKER_RECORD", "TOPIC_RECORD", "PARTITION_RECORD", "FEATURE_LEVEL_RECORD", "to-kafka"],
    )
}

fn dump_snapshots(node: &Node) -> Result<(), String> {
    let paths = files(&node.data_dir().join("__cluster_metadata-0"), &[".checkpoint"])?;
    let paths: Vec<&str> = paths.split(',').filter(|path| !path.ends_with("ringlog.checkpoint")).collect();
    let text = kafka::dump(&["--cluster-metadata-decoder", "--files", &paths.join(",")])?;
    kafka::holds(&text, &["SnapshotHeader", "TOPIC_RECORD", "PARTITION_RECORD", "SnapshotFooter", "to-kafka"])
}

fn dump_offsets(node: &Node) -> Result<(), String> {
    let mut paths = Vec::new();
    for partition in 0..2 {
        let folder = node.data_dir().join(format!("__consumer_offsets-{partition}"));
        paths.extend(files(&folder, &[".log", ".index", ".timeindex"]));
    }
    let text = kafka::dump(&["--offsets-decoder", "--files", &paths.join(",")])?;
    kafka::holds(&text, &[GROUP, "to-kafka", "17"])
}
