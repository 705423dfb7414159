//! A host for tests: a folder in memory, and a machine that runs effects on it one after the other.

use std::collections::BTreeMap;
use std::io;

use batch::{BatchBuilder, BatchView, Codec, Producer};
use bytes::BytesMut;
use types::io::{Dir, DirEntry};
use types::{LeaderEpoch, Now, Offset, PartitionIndex, Timestamp, TopicPartition};

use crate::read::{ReadRange, ReadStep, TimeStep};
use crate::*;

/// A folder in memory.
#[derive(Clone, Default)]
pub(crate) struct MemDir {
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Dir for MemDir {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        Ok(self
            .files
            .iter()
            .map(|(name, content)| DirEntry { name: name.clone(), bytes: content.len() as u64 })
            .collect())
    }

    fn read_at(&self, name: &str, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let content = self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let rest = content.get(position as usize..).unwrap_or_default();
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }
}

impl CleanedFiles for MemDir {
    fn append(&mut self, file: FileName, bytes: &[u8]) -> io::Result<()> {
        self.files.entry(file.to_string()).or_default().extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, _file: FileName) -> io::Result<()> {
        Ok(())
    }
}

/// A log, its folder, a clock.
pub(crate) struct Host {
    pub log: PartitionLog,
    pub dir: MemDir,
    /// The folder as of the last sync of each file: what a power loss leaves at least.
    pub synced: BTreeMap<String, Vec<u8>>,
    pub events: Vec<LogEvent>,
    pub now_ms: u64,
    /// Fails the next effects of which the text form contains the key.
    pub fail: Option<(String, IoFault)>,
    pub trace: Vec<String>,
}

pub(crate) fn now_at(ms: u64) -> Now {
    Now { monotonic_ns: ms * 1_000_000, wall: Timestamp::from_millis(ms as i64) }
}

pub(crate) fn partition() -> TopicPartition {
    TopicPartition::new("orders", PartitionIndex::new(3))
}

/// A record's key and value.
pub(crate) type KeyValue = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A batch of `records` records as a producer sends it.
pub(crate) fn produced(records: usize, value_bytes: usize, ms: i64, producer: Option<Producer>) -> BytesMut {
    let values: Vec<KeyValue> = (0..records).map(|i| (None, Some(vec![i as u8; value_bytes]))).collect();
    keyed(&values, ms, producer)
}

pub(crate) fn keyed(records: &[KeyValue], ms: i64, producer: Option<Producer>) -> BytesMut {
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some(producer) = producer {
        builder = builder.producer(producer);
    }
    for (key, value) in records {
        builder.append(Timestamp::from_millis(ms), key.as_deref(), value.as_deref(), &[]);
    }
    builder.build_unstamped()
}

impl Host {
    pub fn new(config: LogConfig) -> Self {
        let log = PartitionLog::create(partition(), config, now_at(1000));
        let mut host = Self {
            log,
            dir: MemDir::default(),
            synced: BTreeMap::new(),
            events: Vec::new(),
            now_ms: 1000,
            fail: None,
            trace: Vec::new(),
        };
        host.log.set_leader_epoch(now_at(1000), LeaderEpoch::ZERO).unwrap();
        host
    }

    pub fn now(&self) -> Now {
        now_at(self.now_ms)
    }

    pub fn epoch(&self) -> LeaderEpoch {
        self.log.leader_epoch().unwrap_or_default()
    }

    pub fn append(&mut self, batch: BytesMut, tag: u64) -> Result<Admission, AppendFault> {
        let info = BatchView::parse(&batch).unwrap().info();
        let (now, epoch) = (self.now(), self.epoch());
        self.log.append_as_leader(now, batch, &info, epoch, tag)
    }

    pub fn take_events(&mut self) -> Vec<LogEvent> {
        while let Some(event) = self.log.poll_event() {
            self.events.push(event);
        }
        std::mem::take(&mut self.events)
    }

    /// Runs effects until none is left.
    pub fn settle(&mut self) {
        let mut rounds = 0;
        while self.step() {
            rounds += 1;
            assert!(rounds < 200_000, "effects without end");
        }
        while let Some(event) = self.log.poll_event() {
            self.events.push(event);
        }
    }

    /// Runs one effect.
    pub fn step(&mut self) -> bool {
        let Some(effect) = self.log.poll_effect() else { return false };
        let op = effect.op();
        let result = self.execute(&effect);
        let now = self.now();
        self.log.on_done(now, op, result);
        true
    }

    pub fn execute(&mut self, effect: &Effect) -> Result<usize, IoFault> {
        let text = describe(effect);
        self.trace.push(text.clone());
        if let Some((key, fault)) = &self.fail
            && text.contains(key.as_str())
        {
            return Err(*fault);
        }
        match effect {
            Effect::Create { file, .. } => {
                self.dir.files.insert(file.to_string(), Vec::new());
            }
            Effect::Write { file, position, buffers, .. } => {
                let content = self.dir.files.get_mut(&file.to_string()).expect("a file is made before it is written");
                let position = *position as usize;
                assert!(position <= content.len(), "no holes");
                let mut at = position;
                for buffer in buffers {
                    content.resize(content.len().max(at + buffer.len()), 0);
                    content[at..at + buffer.len()].copy_from_slice(buffer);
                    at += buffer.len();
                }
                return Ok(at - position);
            }
            Effect::Sync { file, .. } => {
                let content = self.dir.files.get(&file.to_string()).expect("a file is made before it is synced");
                self.synced.insert(file.to_string(), content.clone());
            }
            Effect::SyncDir { .. } => {}
            Effect::WriteFile { file, bytes, .. } => {
                self.dir.files.insert(file.to_string(), bytes.to_vec());
                self.synced.insert(file.to_string(), bytes.to_vec());
            }
            Effect::Truncate { file, bytes, .. } => {
                let content = self.dir.files.get_mut(&file.to_string()).expect("a file is made before it is cut");
                content.truncate(*bytes as usize);
            }
            Effect::Rename { from, to, .. } => {
                if let Some(content) = self.dir.files.remove(&from.to_string()) {
                    self.dir.files.insert(to.to_string(), content);
                }
            }
            Effect::Delete { file, .. } => {
                self.dir.files.remove(&file.to_string());
            }
        }
        Ok(0)
    }

    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let now = self.now();
        self.log.on_tick(now);
        self.settle();
    }

    /// Appends and settles; returns the base offset.
    pub fn write(&mut self, batch: BytesMut) -> Offset {
        let admission = self.append(batch, 0).unwrap();
        self.settle();
        match admission {
            Admission::Queued { base_offset, .. } => base_offset,
            other => panic!("{other:?}"),
        }
    }

    pub fn close(&mut self) {
        let now = self.now();
        self.log.close(now);
        self.settle();
        assert!(self.events.contains(&LogEvent::Closed));
    }

    pub fn reopen(&self, last_stop: LastStop) -> Result<(Self, RecoveryReport), RecoverFault> {
        self.reopen_dir(self.dir.clone(), last_stop)
    }

    pub fn reopen_dir(&self, dir: MemDir, last_stop: LastStop) -> Result<(Self, RecoveryReport), RecoverFault> {
        let hints = RecoveryHints { last_stop, accept_loss: false };
        self.reopen_with(dir, &hints)
    }

    pub fn reopen_with(&self, dir: MemDir, hints: &RecoveryHints) -> Result<(Self, RecoveryReport), RecoverFault> {
        let recovered = recover(&dir, partition(), self.log.config().clone(), hints, self.now(), &mut |_| {})?;
        let mut host = Self {
            log: recovered.log,
            dir,
            synced: BTreeMap::new(),
            events: Vec::new(),
            now_ms: self.now_ms,
            fail: None,
            trace: Vec::new(),
        };
        host.settle();
        assert!(host.log.is_ready());
        let now = host.now();
        let epoch = LeaderEpoch::new(self.epoch().value() + 1);
        host.log.set_leader_epoch(now, epoch).unwrap();
        Ok((host, recovered.report))
    }

    /// Cleans in place of the maintenance thread; false when nothing is due.
    pub fn clean(&mut self) -> bool {
        let (now, end) = (self.now(), self.log.offsets().visible);
        let Some(job) = self.log.begin_compaction(now, end) else { return false };
        let mut cleaned = MemDir::default();
        let outcome = job.run(&self.dir, &mut cleaned);
        assert!(outcome.is_ok(), "{outcome:?}");
        self.dir.files.append(&mut cleaned.files);
        self.log.finish_compaction(now, outcome);
        true
    }

    /// Reads one slice's bytes.
    pub fn fetch(&self, range: &ReadRange) -> Result<Vec<u8>, ReadFault> {
        let mut step = self.log.read(range)?;
        let mut steps = 0;
        loop {
            step = match step {
                ReadStep::Empty => return Ok(Vec::new()),
                ReadStep::Slice(slice) => {
                    let content = &self.dir.files[&slice.file.to_string()];
                    let from = slice.position as usize;
                    return Ok(content[from..from + slice.bytes as usize].to_vec());
                }
                ReadStep::Scan(scan) => {
                    let bytes = self.pread(&scan);
                    self.log.resume_read(range, scan, &bytes)?
                }
            };
            steps += 1;
            assert!(steps < 10_000, "a read without end");
        }
    }

    fn pread(&self, scan: &FileScan) -> Vec<u8> {
        let mut buffer = vec![0; scan.bytes];
        let read = self.dir.read_at(&scan.file.to_string(), scan.position, &mut buffer).unwrap();
        buffer.truncate(read);
        buffer
    }

    pub fn time(&self, mut step: TimeStep) -> Option<FoundTime> {
        let mut steps = 0;
        loop {
            step = match step {
                TimeStep::NotFound => return None,
                TimeStep::Found(found) => return Some(found),
                TimeStep::Scan(scan) => {
                    let bytes = self.pread(&scan);
                    self.log.resume_lookup(scan, &bytes).unwrap()
                }
            };
            steps += 1;
            assert!(steps < 10_000, "a look-up without end");
        }
    }

    /// Every record from log start to the visible end, as (offset, value), by fetching like a consumer.
    pub fn read_all(&self) -> Vec<(i64, Option<Vec<u8>>)> {
        let offsets = self.log.offsets();
        self.read_from(offsets.log_start, offsets.visible)
    }

    pub fn read_from(&self, start: Offset, end: Offset) -> Vec<(i64, Option<Vec<u8>>)> {
        let mut records = Vec::new();
        let mut next = start;
        while next < end {
            let range = ReadRange { start: next, end, bytes_max: 700, at_least_one: true };
            let bytes = self.fetch(&range).unwrap();
            let mut rest = &bytes[..];
            let mut moved = false;
            while let Ok(Some(size)) = BatchView::peek_size(rest)
                && size <= rest.len()
            {
                let view = batch::check(rest).unwrap();
                assert!(next <= view.last_offset(), "a slice begins with the batch that holds its start");
                for record in view.records().unwrap() {
                    let record = record.unwrap();
                    let offset = view.base_offset().plus(i64::from(record.offset_delta));
                    if next <= offset {
                        records.push((offset.value(), record.value.map(<[u8]>::to_vec)));
                    }
                }
                next = view.last_offset().plus(1);
                moved = true;
                rest = &rest[size..];
            }
            if !moved {
                break;
            }
        }
        records
    }
}

pub(crate) fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Create { file, .. } => format!("create {file}"),
        Effect::Write { file, position, buffers, .. } => {
            let bytes: usize = buffers.iter().map(bytes::Bytes::len).sum();
            format!("write {file} {position}+{bytes}")
        }
        Effect::Sync { file, .. } => format!("sync {file}"),
        Effect::SyncDir { .. } => "sync-dir".to_owned(),
        Effect::WriteFile { file, .. } => format!("write-file {file}"),
        Effect::Truncate { file, bytes, .. } => format!("truncate {file} {bytes}"),
        Effect::Rename { from, to, .. } => format!("rename {from} {to}"),
        Effect::Delete { file, .. } => format!("delete {file}"),
    }
}
