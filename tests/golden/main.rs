//! The bytes on disk, frozen. A fixed history is written through the partition log onto a folder in memory; every file
//! must be, byte for byte, the one in `files/`. A format change cannot be silent: whoever means it runs this once with
//! `GOLDEN_BLESS=1` and commits what changes, with a word on how old folders are read.
//!
//! What this does not check: that Kafka's own tools read the files (the conformance suite does).

use std::collections::BTreeMap;
use std::path::Path;

use batch::{BatchBuilder, BatchView, Codec, Producer};
use storage::{CleanupPolicy, Effect, LogConfig, LogEvent, PartitionLog};
use types::{
    LeaderEpoch, Now, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicPartition,
};

struct Folder {
    log: PartitionLog,
    files: BTreeMap<String, Vec<u8>>,
    now_ms: u64,
    closed: bool,
}

impl Folder {
    fn now(&self) -> Now {
        Now { monotonic_ns: self.now_ms * 1_000_000, wall: Timestamp::from_millis(self.now_ms as i64) }
    }

    fn settle(&mut self) {
        while let Some(effect) = self.log.poll_effect() {
            let mut written = 0;
            match &effect {
                Effect::Create { file, .. } => drop(self.files.insert(file.to_string(), Vec::new())),
                Effect::Write { file, position, buffers, .. } => {
                    let content = self.files.entry(file.to_string()).or_default();
                    content.truncate(*position as usize);
                    for buffer in buffers {
                        content.extend_from_slice(buffer);
                        written += buffer.len();
                    }
                }
                Effect::WriteFile { file, bytes, .. } => drop(self.files.insert(file.to_string(), bytes.to_vec())),
                Effect::Sync { .. } | Effect::SyncDir { .. } => {}
                other => panic!("not in this history: {other:?}"),
            }
            let now = self.now();
            self.log.on_done(now, effect.op(), Ok(written));
        }
        while let Some(event) = self.log.poll_event() {
            self.closed |= event == LogEvent::Closed;
        }
    }

    fn append(&mut self, codec: Codec, records: &[(Option<&str>, Option<&str>)], sequence: i32) {
        self.now_ms += 10;
        let mut builder = BatchBuilder::new(codec).producer(Producer {
            id: ProducerId::new(4000),
            epoch: ProducerEpoch::new(2),
            base_sequence: Some(Sequence::new(sequence)),
        });
        for (key, value) in records {
            builder.append(
                Timestamp::from_millis(self.now_ms as i64),
                key.map(str::as_bytes),
                value.map(str::as_bytes),
                &[],
            );
        }
        let batch = builder.build_unstamped();
        let info = BatchView::parse(&batch).expect("a batch of our own").info();
        let (now, epoch) = (self.now(), self.log.leader_epoch().expect("set at the start"));
        self.log.append_as_leader(now, batch, &info, epoch, 0).expect("a good batch");
        self.settle();
    }
}

/// Two segments, two leader epochs, a producer, keys, a tombstone.
fn history() -> BTreeMap<String, Vec<u8>> {
    let config = LogConfig {
        topic_id: Some(TopicId::from_random([0x5a; 16])),
        segment_bytes: 1200,
        index_interval_bytes: 100,
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        ..LogConfig::default()
    };
    let partition = TopicPartition::new("orders", PartitionIndex::new(3));
    let now = Now { monotonic_ns: 0, wall: Timestamp::from_millis(1_700_000_000_000) };
    let log = PartitionLog::create(partition, config, now);
    let mut folder = Folder { log, files: BTreeMap::new(), now_ms: 1_700_000_000, closed: false };
    folder.log.set_leader_epoch(now, LeaderEpoch::ZERO).expect("the first epoch");
    for i in 0..14 {
        if i == 9 {
            let now = folder.now();
            folder.log.set_leader_epoch(now, LeaderEpoch::new(3)).expect("a higher epoch");
        }
        let value = format!("value number {i}");
        let tombstone = if i == 5 { None } else { Some("more") };
        folder.append(Codec::None, &[(Some("key"), Some(&value)), (None, tombstone)], i * 2);
    }
    let now = folder.now();
    folder.log.close(now);
    folder.settle();
    assert!(folder.closed);
    folder.files
}

#[test]
fn files_on_disk_are_what_they_were() {
    let frozen = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/files");
    let files = history();
    if std::env::var_os("GOLDEN_BLESS").is_some() {
        let _ = std::fs::remove_dir_all(&frozen);
        std::fs::create_dir_all(&frozen).expect("a folder for the files");
        for (name, content) in &files {
            std::fs::write(frozen.join(name), content).expect("a file written");
        }
    }
    let mut names: Vec<String> = std::fs::read_dir(&frozen)
        .expect("tests/golden/files is there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, files.keys().cloned().collect::<Vec<_>>());
    for (name, content) in &files {
        let expected = std::fs::read(frozen.join(name)).expect("readable");
        let differs = expected.iter().zip(content).position(|(expected, found)| expected != found);
        assert!(expected == *content, "{name} is not what it was, first at byte {differs:?}");
    }
}
