//! The partition log without a disk: its effects are answered at once, its index lies in memory as a file would.

use std::collections::BTreeMap;
use std::hint::black_box;

use batch::{Inflate, ProduceRules, TimestampType};
use benches::bare;
use bytes::BytesMut;
use criterion::{BatchSize, Criterion};
use storage::{Admission, Effect, FileScan, LogConfig, PartitionLog, ReadRange, ReadStep, Slice};
use types::limits::{BATCH_BYTES_MAX_DEFAULT, INFLATED_BATCH_BYTES_MAX};
use types::{LeaderEpoch, Now, Offset, PartitionIndex, Timestamp, TopicPartition};

use crate::produced;

const NOW: Now = Now { monotonic_ns: 1_000_000_000, wall: Timestamp::from_millis(1_700_000_000_000) };

fn rules() -> ProduceRules {
    ProduceRules {
        now: NOW.wall,
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
        compacted: false,
        batch_bytes_max: BATCH_BYTES_MAX_DEFAULT,
        compression: None,
        zstd_allowed: true,
        inflate: Inflate::No,
        inflated_bytes_max: INFLATED_BATCH_BYTES_MAX,
    }
}

/// A log and, if they are wanted, the bytes it wrote.
struct Host {
    log: PartitionLog,
    files: Option<BTreeMap<String, Vec<u8>>>,
}

impl Host {
    fn new(keeps_files: bool) -> Self {
        let partition = TopicPartition::new("bench", PartitionIndex::new(0));
        let mut log = PartitionLog::create(partition, LogConfig::default(), NOW);
        log.set_leader_epoch(NOW, LeaderEpoch::ZERO).expect("the first epoch");
        let mut host = Self { log, files: keeps_files.then(BTreeMap::new) };
        host.settle();
        host
    }

    /// Appends a batch as a node does; returns its first offset.
    fn append(&mut self, batch: BytesMut) -> Offset {
        let (batch, info) = batch::admit(batch, &rules()).expect("a sound batch");
        let admission = self.log.append_as_leader(NOW, batch, &info, LeaderEpoch::ZERO, 0).expect("room");
        self.settle();
        let Admission::Queued { base_offset, .. } = admission else { panic!("not queued") };
        base_offset
    }

    fn settle(&mut self) {
        while let Some(effect) = self.log.poll_effect() {
            let done = match &effect {
                Effect::Write { buffers, .. } => buffers.iter().map(bytes::Bytes::len).sum(),
                _ => 0,
            };
            if let (Some(files), Effect::Write { file, buffers, .. }) = (&mut self.files, &effect) {
                // Every file of this log only ever grows, so a write goes to its end.
                let content = files.entry(file.to_string()).or_default();
                buffers.iter().for_each(|buffer| content.extend_from_slice(buffer));
            }
            self.log.on_done(NOW, effect.op(), Ok(done));
        }
        while self.log.poll_event().is_some() {}
    }

    fn bytes(&self, scan: &FileScan) -> &[u8] {
        let content = self.files.as_ref().and_then(|files| files.get(&scan.file.to_string())).expect("written");
        let from = content.len().min(scan.position as usize);
        &content[from..content.len().min(from + scan.bytes)]
    }

    fn find(&self, start: Offset) -> Slice {
        let range = ReadRange { start, end: self.log.offsets().visible, bytes_max: 1 << 20, at_least_one: true };
        let mut step = self.log.read(&range).expect("in range");
        loop {
            step = match step {
                ReadStep::Slice(slice) => return slice,
                ReadStep::Scan(scan) => self.log.resume_read(&range, scan, self.bytes(&scan)).expect("sound"),
                ReadStep::Empty => panic!("nothing at {start:?}"),
            };
        }
    }
}

pub(crate) fn append(criterion: &mut Criterion) {
    let batch = produced(160, 100);
    let mut host = Host::new(false);
    let mut group = criterion.benchmark_group("append");
    group.bench_function("node", |bencher| {
        bencher.iter_batched(|| batch.clone(), |batch| host.append(batch), BatchSize::SmallInput);
    });
    group.bench_function("floor", |bencher| {
        bencher.iter_batched(
            || batch.clone(),
            |mut batch| {
                bare::stamp(&mut batch, 0, true).expect("sound");
                batch
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Batches in the log that is searched: about 70 MB, so that its index has been written to a file by a checkpoint.
const BATCHES: usize = 4096;

pub(crate) fn index_lookup(criterion: &mut Criterion) {
    let batch = produced(160, 100);
    let mut host = Host::new(true);
    let offsets: Vec<Offset> = (0..BATCHES).map(|_| host.append(batch.clone())).collect();
    let positions: Vec<(Offset, u64)> = offsets.iter().zip((0..).step_by(batch.len())).map(|(o, p)| (*o, p)).collect();
    // Every offset in an order that no cache likes, without those at the tail, which need no index.
    let asked: Vec<Offset> = (0..BATCHES / 2).map(|at| offsets[at * 1657 % (BATCHES / 2)].plus(80)).collect();

    let mut group = criterion.benchmark_group("index_lookup");
    let mut turn = 0;
    group.bench_function("node", |bencher| {
        bencher.iter(|| {
            turn += 1;
            host.find(black_box(asked[turn % asked.len()]))
        });
    });
    group.bench_function("floor", |bencher| {
        bencher.iter(|| {
            turn += 1;
            let start = black_box(asked[turn % asked.len()]);
            positions[positions.partition_point(|&(first, _)| first <= start) - 1]
        });
    });
    group.finish();
    // What was measured is a look-up, not a miss.
    let slice = host.find(asked[1]);
    assert!(slice.base_offset <= asked[1] && asked[1] < slice.base_offset.plus(160));
}
