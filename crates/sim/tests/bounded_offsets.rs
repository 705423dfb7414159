//! `__consumer_offsets` stays bounded, however long and often groups commit: a simulated week on a healthy disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use batch::{BatchBuilder, BatchView, Codec};
use coordinator::{
    Command, CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, GroupConfig, GroupCoordinator, Record, Reply,
};
use machine::{Host, Ticket};
use sim::disk::{Disk, Writer};
use sim::effects::{Injector, Work, read_range};
use sim::faults::Tally;
use sim::history::{self, Found};
use sim::rng::Rng;
use sim::scenario::{Drawn, SCENARIOS};
use storage::{CleanupPolicy, LogConfig, LogEvent, PartitionLog, ReadRange};
use types::{LeaderEpoch, Now, Offset, PartitionIndex, Timestamp, TopicPartition};

const SEED: u64 = 7;
const WEEK_S: u64 = 7 * 24 * 60 * 60;
/// Somebody commits this often.
const COMMIT_S: usize = 2;
/// Commits of this long are one batch; then time's work is done.
const TURN_S: u64 = 60;
/// A new group commits once and is deleted this often.
const PASSER_BY_S: u64 = 600;
const GROUPS: usize = 200;
const PARTITIONS: usize = 4;
const SEGMENT_BYTES: u32 = 1 << 18;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// A batch's header, for a record that is alone in it, and the record's own lengths and times.
const OVERHEAD_BYTES: u64 = 61 + 20;

struct Node {
    log: PartitionLog,
    disk: Disk,
    host: Host<GroupCoordinator>,
    rng: Rng,
    drawn: Drawn,
    now: Now,
    tags: u64,
    written_bytes: u64,
    record_bytes_max: u64,
}

fn now_at(seconds: u64) -> Now {
    let wall = Timestamp::from_millis(1_700_000_000_000 + seconds as i64 * 1_000);
    Now { monotonic_ns: (1 + seconds) * 1_000_000_000, wall }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        delete_retention_ms: DAY_MS,
        ..LogConfig::default()
    }
}

impl Node {
    fn new() -> Self {
        let mut rng = Rng::new(SEED);
        let now = now_at(0);
        let log = PartitionLog::create(TopicPartition::new("__consumer_offsets", PartitionIndex::ZERO), config(), now);
        let mut node = Self {
            log,
            disk: Disk::default(),
            host: Host::new(now, GroupCoordinator::new(GroupConfig::default())),
            drawn: Drawn::new(&SCENARIOS[0], &mut rng),
            rng,
            now,
            tags: 0,
            written_bytes: 0,
            record_bytes_max: 0,
        };
        node.pump();
        node.log.set_leader_epoch(now, LeaderEpoch::ZERO.next()).expect("a new log takes its first epoch");
        node.pump();
        node
    }

    /// Does what the log wants done, at once and well.
    fn pump(&mut self) {
        loop {
            while let Some(event) = self.log.poll_event() {
                let failed = matches!(event, LogEvent::AppendFailed { .. } | LogEvent::Poisoned { .. });
                assert!(!failed, "{event:?} on a healthy disk");
            }
            let Some(effect) = self.log.poll_effect() else { break };
            let work = Work::begin(&self.disk, effect).expect("its file is there");
            let mut tally = Tally::default();
            let mut chance = Injector { rng: &mut self.rng, drawn: &self.drawn, tally: &mut tally, on: false };
            let result = work.finish(&mut self.disk, &mut chance);
            self.log.on_done(self.now, work.effect.op(), result);
        }
    }

    /// Writes what was decided, as one batch, and does what time demands.
    fn turn(&mut self) {
        self.host.on_tick(self.now);
        if let Some(batch) = self.host.take_batch() {
            let mut builder = BatchBuilder::new(Codec::None);
            for record in &batch.records {
                let (key, value) = record.encode().expect("short texts");
                let bytes = key.len() + value.as_ref().map_or(0, |value| value.len());
                self.record_bytes_max = self.record_bytes_max.max(bytes as u64);
                builder.append(self.now.wall, Some(&key), value.as_deref(), &[]);
            }
            let bytes = builder.build_unstamped();
            self.written_bytes += bytes.len() as u64;
            let info = BatchView::parse(&bytes).expect("just built").info();
            self.tags += 1;
            let epoch = LeaderEpoch::ZERO.next();
            self.log.append_as_leader(self.now, bytes, &info, epoch, self.tags).expect("a healthy log takes it");
            self.pump();
            assert_eq!(self.log.offsets().visible, self.log.offsets().written, "everything is in");
            self.host.on_committed(batch.id);
        }
        self.log.on_tick(self.now);
        self.pump();
        if let Some(job) = self.log.begin_compaction(self.now, self.log.offsets().visible) {
            let seen = self.disk.clone();
            let outcome = job.run(&seen, &mut Writer::new(&mut self.disk, usize::MAX));
            self.log.finish_compaction(self.now, outcome);
            self.pump();
        }
        self.disk.forget_unlinked();
        drop(self.host.take_replies());
    }

    fn commit(&mut self, group: &str, partition: usize, offset: u64) {
        let partitions = vec![CommitPartition {
            partition: PartitionIndex::new(partition as i32),
            offset: Some(Offset::new(offset as i64)),
            leader_epoch: None,
            metadata: Some(format!("second {offset}").into()),
        }];
        let request = CommitOffsets {
            group: group.into(),
            member: None,
            instance: None,
            generation: None,
            retention_ms: None,
            knows_group_not_found: true,
            topics: vec![CommitTopic { topic: "orders".into(), topic_id: None, partitions }],
        };
        self.host.decide(self.now, Ticket::new(offset), Command::Commit(request));
    }

    fn replay(&self) -> (u64, Host<GroupCoordinator>) {
        let mut records = Vec::new();
        let (mut start, end) = (self.log.offsets().log_start, self.log.offsets().visible);
        while start < end {
            let range = ReadRange { start, end, bytes_max: 1 << 20, at_least_one: true };
            let Some(bytes) = read_range(&self.log, &self.disk, &range).expect("a healthy log is read") else { break };
            for batch in Found::split(&bytes).expect("whole batches") {
                start = batch.info.next_offset();
                for record in history::Record::all(&batch.bytes) {
                    let offset = batch.info.base_offset.plus(i64::from(record.offset_delta));
                    let record = Record::decode(record.key.as_deref(), record.value.as_deref());
                    records.push((offset, record.expect("as written").expect("a group's")));
                }
            }
        }
        let replayed = records.len() as u64;
        (replayed, Host::load(self.now, GroupCoordinator::new(GroupConfig::default()), records))
    }
}

/// What the host knows of a group, by partition: offset and text.
fn known(host: &mut Host<GroupCoordinator>, now: Now, group: &str) -> BTreeMap<PartitionIndex, (i64, Arc<str>)> {
    host.decide(now, Ticket::new(u64::MAX), Command::Fetch(FetchOffsets { group: group.into(), topics: None }));
    let Some((_, Reply::Fetch(topics))) = host.take_replies().pop() else { panic!("a question is answered at once") };
    let fetched = topics.into_iter().flat_map(|topic| topic.partitions);
    let known = fetched.filter_map(|it| {
        let committed = it.committed?;
        Some((it.partition, (committed.offset?.value(), committed.metadata)))
    });
    known.collect()
}

#[test]
fn offsets_partition_stays_bounded_under_a_week_of_commits() {
    let mut node = Node::new();
    let mut last: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let (mut bytes_max, mut bound_bytes) = (0, 0);
    for second in (0..=WEEK_S).step_by(COMMIT_S).skip(1) {
        node.now = now_at(second);
        let (group, partition) = (node.rng.index(GROUPS), node.rng.index(PARTITIONS));
        node.commit(&format!("group-{group}"), partition, second);
        last.insert((group, partition), second);
        if second.is_multiple_of(PASSER_BY_S) {
            let group = format!("passer-by-{second}");
            node.commit(&group, 0, second);
            node.host.decide(node.now, Ticket::new(second), Command::DeleteGroups(vec![group.into()]));
        }
        if second.is_multiple_of(TURN_S) {
            node.turn();
            // Live keys; tombstones of a day, and of the day that may pass until a cleaning finds them old enough, an
            // offset's and a group's each.
            let tombstones = 2 * 2 * DAY_MS / 1_000 / PASSER_BY_S;
            let clean_bytes = ((GROUPS * PARTITIONS) as u64 + tombstones) * (node.record_bytes_max + OVERHEAD_BYTES);
            // Half of what may be cleaned may be dirty; a segment is written to, and one waits for the cleaner.
            bound_bytes = 2 * clean_bytes + 2 * u64::from(SEGMENT_BYTES);
            let bytes = node.log.size_bytes();
            bytes_max = bytes.max(bytes_max);
            assert!(bytes <= bound_bytes, "{bytes} of at most {bound_bytes} bytes after {second} s");
        }
    }
    println!("{} bytes written, at most {bytes_max} kept, bound {bound_bytes}", node.written_bytes);
    assert!(10 * bound_bytes < node.written_bytes, "a week must be long enough to tell");

    let (replayed, mut loaded) = node.replay();
    println!("{replayed} records to replay");
    assert!(replayed < 2 * bound_bytes / (node.record_bytes_max), "a load reads no more than the bound holds");
    for group in 0..GROUPS {
        let expected: BTreeMap<_, _> = (0..PARTITIONS)
            .filter_map(|partition| {
                let second = *last.get(&(group, partition))?;
                Some((PartitionIndex::new(partition as i32), (second as i64, format!("second {second}").into())))
            })
            .collect();
        assert_eq!(known(&mut loaded, node.now, &format!("group-{group}")), expected, "group {group}");
    }
}
