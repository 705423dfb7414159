//! The folder `__cluster_metadata-0`: the metadata log, the election state and the snapshots.
//!
//! ```text
//! <metadata.log.dir>/__cluster_metadata-0/
//!     00000000000000000000.log .index .timeindex ...     the partition's log, as any other (durable mode)
//!     00000000000000004711-0000000003.checkpoint         snapshots (quorum::snapshot), the newest two
//!     quorum-state                                       the election state (quorum::election_state)
//! ```
//!
//! The same `storage::PartitionLog` as everywhere else; its effects are carried out here and now, on the control thread:
//! these appends are rare, and each must be on disk before anything else happens.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use batch::BatchView;
use bytes::BytesMut;
use quorum::node::Found;
use quorum::{ElectionState, LogPosition, MetadataImage, election_state, snapshot};
use shard::FileDir;
use shard::file::{atomic_write_blocking, sync_dir_blocking};
use storage::{
    AppendFault, CleanupPolicy, Effect, IoFault, LastStop, LogConfig, LogEvent, PartitionLog, ReadRange, ReadStep,
    RecoverFault, RecoveryHints,
};
use types::io::Dir;
use types::limits::INFLATED_BATCH_BYTES_MAX;
use types::{LeaderEpoch, Now, Offset, PartitionIndex, TopicId, TopicPartition};

use crate::config::MetadataLogConfig;
use crate::file_work;
use crate::log_dirs::Place;

/// Bytes read at once when the log is read back.
const READ_BYTES: u32 = 1024 * 1024;

/// The metadata log's folder, open.
pub(super) struct MetadataLog {
    folder: PathBuf,
    place: Arc<Place>,
    log: PartitionLog,
    /// The disk failed: nothing is written any more.
    poisoned: bool,
}

/// Why the metadata log cannot take a batch, or anything.
#[derive(Debug, thiserror::Error)]
pub(super) enum MetadataLogFault {
    /// The batch is not in the log.
    #[error("metadata log: {0}")]
    Append(#[from] AppendFault),
    /// The disk answered an append with an error.
    #[error("metadata log: {0}")]
    Io(IoFault),
    /// The disk answered something else with an error.
    #[error("metadata log: {what}: {source}")]
    File { what: &'static str, source: io::Error },
    /// What lies there cannot be used.
    #[error("metadata log {folder}: {reason}")]
    Unusable { folder: PathBuf, reason: String },
}

/// What lies in the folder besides the log.
pub(super) struct Kept {
    pub(super) state: Option<ElectionState>,
    pub(super) base: MetadataImage,
    pub(super) snapshots: Vec<LogPosition>,
    /// The log's batches from `base` on.
    pub(super) log: Vec<u8>,
    pub(super) log_end: Offset,
}

impl Kept {
    pub(super) fn as_found(&self) -> Found<'_> {
        Found {
            state: self.state,
            base: self.base.clone(),
            log: &self.log,
            log_end: self.log_end,
            snapshots: self.snapshots.clone(),
        }
    }
}

impl MetadataLog {
    /// Opens the folder, or makes it. It lies in `place`.
    pub(super) fn open(
        config: &MetadataLogConfig,
        place: Arc<Place>,
        last_stop: LastStop,
        now: Now,
    ) -> Result<Self, MetadataLogFault> {
        let partition = TopicPartition::new(quorum::image::CLUSTER_METADATA_TOPIC, PartitionIndex::ZERO);
        let folder = config.dir.join(partition.to_string());
        fs::create_dir_all(&folder).map_err(file_fault("its folder cannot be made"))?;
        sync_dir_blocking(&config.dir).map_err(file_fault("its folder cannot be made"))?;
        let hints = RecoveryHints { last_stop, accept_loss: false };
        let recovered =
            storage::recover(&FileDir::new(&folder), partition, log_config(config), &hints, now, &mut |_| {});
        let recovered = recovered.map_err(|fault| {
            let reason = match &fault {
                RecoverFault::Io { .. } => format!("{fault}. Check the disk, then start again"),
                RecoverFault::Corrupt { .. } => format!(
                    "{fault}. What was on the disk once is not there now, as after damage, or when a second node wrote to \
                     the folder. It is never cut, as topics would be gone: restore the folder from a backup"
                ),
            };
            MetadataLogFault::Unusable { folder: folder.clone(), reason }
        })?;
        for note in &recovered.report.notes {
            tracing::warn!(note, "metadata log recovered");
        }
        let mut opened = Self { folder, place, log: recovered.log, poisoned: false };
        opened.run(now)?;
        Ok(opened)
    }

    /// Reads everything back: the newest snapshot that is whole, and the log behind it.
    pub(super) fn load(&self, cluster_id: &str) -> Result<Kept, MetadataLogFault> {
        let unusable = |reason: String| MetadataLogFault::Unusable { folder: self.folder.clone(), reason };
        let mut snapshots = self.snapshots()?;
        let mut base = MetadataImage::empty(cluster_id);
        let mut damaged = None;
        while let Some(position) = snapshots.last().copied() {
            let name = snapshot::file_name(position);
            let bytes = fs::read(self.folder.join(&name)).map_err(file_fault("a snapshot cannot be read"))?;
            match snapshot::read(cluster_id, position, &bytes) {
                Ok(image) => {
                    base = image;
                    break;
                }
                Err(fault) => {
                    tracing::error!(name, %fault, "metadata snapshot is damaged; the one before it is taken");
                    damaged = Some(format!("{name}: {fault}"));
                    snapshots.pop();
                }
            }
        }
        let offsets = self.log.offsets();
        if base.position().end < offsets.log_start {
            let reason = damaged.unwrap_or_else(|| "there is no snapshot".to_owned());
            return Err(unusable(format!(
                "the log begins at offset {} and no snapshot reaches there ({reason}). Restore the folder from a backup",
                offsets.log_start
            )));
        }
        self.load_behind(base, snapshots)
    }

    /// Reads back what lies behind `base`: after a failed append, or behind a snapshot.
    pub(super) fn load_behind(
        &self,
        base: MetadataImage,
        snapshots: Vec<LogPosition>,
    ) -> Result<Kept, MetadataLogFault> {
        let unusable = |reason: String| MetadataLogFault::Unusable { folder: self.folder.clone(), reason };
        let state = match fs::read(self.folder.join(election_state::FILE_NAME)) {
            Ok(bytes) => Some(election_state::decode(&bytes).map_err(|fault| unusable(fault.to_string()))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(file_fault("quorum-state cannot be read")(error)),
        };
        let log_end = self.log.offsets().durable;
        let log = self.read_from(base.position().end, log_end)?;
        Ok(Kept { state, base, snapshots, log, log_end })
    }

    /// The snapshots there are, oldest first.
    pub(super) fn snapshots(&self) -> Result<Vec<LogPosition>, MetadataLogFault> {
        let entries = FileDir::new(&self.folder).list().map_err(file_fault("its folder cannot be listed"))?;
        let mut snapshots: Vec<LogPosition> =
            entries.iter().filter_map(|entry| snapshot::parse_file_name(&entry.name)).collect();
        snapshots.sort_unstable();
        Ok(snapshots)
    }

    /// Queues a batch behind those queued before; [`Self::run`] puts them on disk together.
    pub(super) fn append(
        &mut self,
        now: Now,
        batch: BytesMut,
        base_offset: Offset,
        epoch: LeaderEpoch,
    ) -> Result<(), MetadataLogFault> {
        if self.log.leader_epoch() != Some(epoch) {
            self.log.set_leader_epoch(now, epoch)?;
        }
        let info = BatchView::parse(&batch).expect("a batch of our own making").info();
        match self.log.append_as_leader(now, batch, &info, epoch, 0)? {
            storage::Admission::Queued { base_offset: given, .. } => {
                assert_eq!(given, base_offset, "raft and the log disagree on where the log ends");
            }
            other => unreachable!("metadata batches have no producer, and yet: {other:?}"),
        }
        Ok(())
    }

    /// Does all work that the log has. Returns up to where everything is on disk.
    pub(super) fn run(&mut self, now: Now) -> Result<Offset, MetadataLogFault> {
        let mut failed = None;
        loop {
            let mut idle = true;
            while let Some(effect) = self.log.poll_effect() {
                idle = false;
                let op = effect.op();
                let result = self.perform(&effect).map_err(|error| IoFault::from(&error));
                self.log.on_done(now, op, result);
            }
            while let Some(event) = self.log.poll_event() {
                idle = false;
                match event {
                    LogEvent::AppendFailed { fault, .. } => failed = Some(fault),
                    LogEvent::Poisoned { fault, file, .. } => {
                        tracing::error!(?file, %fault, "the disk of the metadata log failed");
                        self.poisoned = true;
                        failed = Some(fault);
                    }
                    LogEvent::BackgroundFailed { file, fault } => {
                        tracing::warn!(?file, %fault, "metadata log: background work failed; it is tried again");
                    }
                    LogEvent::Appended { .. }
                    | LogEvent::EndMoved { .. }
                    | LogEvent::StartMoved { .. }
                    | LogEvent::Ready
                    | LogEvent::Closed => {}
                }
            }
            if idle {
                break;
            }
        }
        match failed {
            Some(fault) => Err(MetadataLogFault::Io(fault)),
            None => Ok(self.log.offsets().durable),
        }
    }

    /// Whether the disk failed for good.
    pub(super) const fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Replaces `quorum-state`.
    pub(super) fn save_state(&self, bytes: &[u8]) -> Result<(), MetadataLogFault> {
        self.replace(election_state::FILE_NAME, bytes).map_err(file_fault("quorum-state cannot be written"))
    }

    /// Writes a snapshot.
    pub(super) fn save_snapshot(&self, name: &str, bytes: &[u8]) -> Result<(), MetadataLogFault> {
        self.replace(name, bytes).map_err(file_fault("a snapshot cannot be written"))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.place.check()?;
        #[cfg(test)]
        fault_injection::before_replace(&self.folder, name, bytes)?;
        atomic_write_blocking(&self.folder, name, bytes)
    }

    /// Begins the log at `log_start`, and deletes the snapshots that end before it.
    pub(super) fn trim(&mut self, now: Now, log_start: Offset) -> Result<(), MetadataLogFault> {
        self.place.check().map_err(file_fault("an old snapshot cannot be deleted"))?;
        for position in self.snapshots()?.into_iter().filter(|position| position.end < log_start) {
            let path = self.folder.join(snapshot::file_name(position));
            #[cfg(test)]
            fault_injection::step().map_err(file_fault("an old snapshot cannot be deleted"))?;
            fs::remove_file(path).map_err(file_fault("an old snapshot cannot be deleted"))?;
        }
        if let Err(fault) = self.log.delete_records(now, log_start) {
            tracing::error!(%fault, "metadata log is not trimmed");
        }
        self.log.apply_retention(now, self.log.offsets().durable);
        self.run(now).map(drop)
    }

    /// When [`Self::on_tick`] is due.
    pub(super) fn next_deadline_ns(&self) -> Option<u64> {
        self.log.next_deadline_ns()
    }

    /// Time has passed.
    pub(super) fn on_tick(&mut self, now: Now) -> Result<Offset, MetadataLogFault> {
        self.log.on_tick(now);
        self.run(now)
    }

    /// Writes the clean marker.
    pub(super) fn close(&mut self, now: Now) -> Result<(), MetadataLogFault> {
        self.log.close(now);
        self.run(now).map(drop)
    }

    fn perform(&self, effect: &Effect) -> io::Result<usize> {
        #[cfg(test)]
        fault_injection::before(&self.folder, effect)?;
        file_work::run_at(&self.place, &self.folder, effect)
    }

    fn read_from(&self, from: Offset, end: Offset) -> Result<Vec<u8>, MetadataLogFault> {
        let unusable = |reason: String| MetadataLogFault::Unusable { folder: self.folder.clone(), reason };
        let files = FileDir::new(&self.folder);
        let read = |name: String, position: u64, bytes: usize| -> Result<Vec<u8>, MetadataLogFault> {
            let mut buffer = vec![0; bytes];
            let mut filled = 0;
            while filled < bytes {
                let more = files
                    .read_at(&name, position + filled as u64, &mut buffer[filled..])
                    .map_err(file_fault("it cannot be read"))?;
                if more == 0 {
                    break;
                }
                filled += more;
            }
            buffer.truncate(filled);
            Ok(buffer)
        };
        let mut log = Vec::new();
        let mut start = from;
        while start < end {
            let range = ReadRange { start, end, bytes_max: READ_BYTES, at_least_one: true };
            let mut step = self.log.read(&range).map_err(|fault| unusable(fault.to_string()))?;
            let slice = loop {
                match step {
                    ReadStep::Slice(slice) => break slice,
                    ReadStep::Empty => return Err(unusable(format!("nothing at offset {start}, below its end {end}"))),
                    ReadStep::Scan(scan) => {
                        let bytes = read(scan.file.to_string(), scan.position, scan.bytes)?;
                        step =
                            self.log.resume_read(&range, scan, &bytes).map_err(|fault| unusable(fault.to_string()))?;
                    }
                }
            };
            let bytes = read(slice.file.to_string(), slice.position, slice.bytes as usize)?;
            // The last batch of a slice may be cut; it comes again, whole, with the next.
            let mut whole = 0;
            while let Some(size) = whole_batch(&bytes[whole..]) {
                let batch = batch::check(&bytes[whole..whole + size]).map_err(|fault| unusable(fault.to_string()))?;
                start = batch.last_offset().plus(1);
                whole += size;
            }
            if whole == 0 {
                return Err(unusable(format!("no whole batch at offset {start}")));
            }
            log.extend_from_slice(&bytes[..whole]);
        }
        Ok(log)
    }
}

/// The size of the batch at the front, if all of it is there.
fn whole_batch(bytes: &[u8]) -> Option<usize> {
    let size = BatchView::peek_size(bytes).ok()??;
    (size <= bytes.len() && size <= INFLATED_BATCH_BYTES_MAX).then_some(size)
}

fn file_fault(what: &'static str) -> impl Fn(io::Error) -> MetadataLogFault {
    move |source| MetadataLogFault::File { what, source }
}

fn log_config(config: &MetadataLogConfig) -> LogConfig {
    LogConfig {
        topic_id: Some(TopicId::CLUSTER_METADATA),
        segment_bytes: config.segment_bytes,
        segment_ms: Some(config.segment_ms),
        // Fsynced before anything is told of it.
        flush_messages: Some(1),
        // Only snapshots let it go (see `trim`).
        cleanup_policy: CleanupPolicy { delete: true, compact: false },
        retention_ms: None,
        retention_bytes: None,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    }
}

#[cfg(test)]
pub(super) mod fault_injection {
    use std::cell::Cell;
    use std::fs;
    use std::io;
    use std::path::Path;

    use bytes::Bytes;
    use storage::Effect;

    use crate::file_work;

    thread_local! {
        /// The errno that writes of this thread's metadata log fail with.
        pub(in crate::control) static FAIL_WRITES: Cell<Option<i32>> = const { Cell::new(None) };
        /// How many more steps are done on the disk before the process is dead; the one it dies at is half done.
        pub(in crate::control) static STEPS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    fn dead() -> io::Error {
        io::Error::other("the process is dead")
    }

    /// Counts a step. An error that says `Other`: nothing is done any more.
    pub(super) fn step() -> io::Result<()> {
        match STEPS_LEFT.get() {
            Some(0) => Err(dead()),
            left => {
                STEPS_LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }

    pub(super) fn before(folder: &Path, effect: &Effect) -> io::Result<()> {
        if let (Effect::Write { .. }, Some(errno)) = (effect, FAIL_WRITES.get()) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        step()?;
        if let (Effect::Write { op, file, position, buffers }, Some(0)) = (effect, STEPS_LEFT.get()) {
            let whole: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
            let half = Bytes::copy_from_slice(&whole[..whole.len() / 2]);
            file_work::run(folder, &Effect::Write { op: *op, file: *file, position: *position, buffers: vec![half] })?;
            return Err(dead());
        }
        Ok(())
    }

    pub(super) fn before_replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
        step()?;
        if STEPS_LEFT.get() == Some(0) {
            fs::write(folder.join(format!("{name}.tmp")), &bytes[..bytes.len() / 2])?;
            return Err(dead());
        }
        Ok(())
    }
}
