//! Log directories: whose they are, what they hold, how their last node ended, and whether they still may be written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use shard::probe::Space;
use shard::{HelperSpec, Maintenance, Writeback};
use storage::LastStop;
use types::{DirectoryId, TopicId, TopicPartition};

/// The file that says under which boot and mount a node last ran here.
const IDENTITY_FILE: &str = "ringlog.identity";

/// Threads for file work: fsyncs that are under way together share a commit of the file system's journal, which is what
/// closing a thousand logs waits for.
const FILE_WORK_THREADS: usize = 8;

/// Follows the identity when the node stopped cleanly.
const CLEAN: &str = "clean";

/// Stands in place of the identity when the disk failed: the next start then trusts no page cache.
const POISONED: &str = "poisoned";

/// A log directory in use by this node.
pub(crate) struct LogDir {
    pub(crate) path: PathBuf,
    pub(crate) id: DirectoryId,
    /// This boot and mount, if they can be told.
    identity: Option<String>,
    /// How the last node that wrote here ended; partitions that were closed cleanly know better.
    pub(crate) last_stop: LastStop,
    pub(crate) writeback: Writeback,
    /// Run what is short and waited for: creates, renames, checkpoints.
    files: Vec<Maintenance>,
    /// Runs what takes long: compaction copies, removal of folders.
    pub(crate) maintenance: Maintenance,
    cleaning: AtomicBool,
    partitions: AtomicUsize,
    full: AtomicBool,
    refusal: Mutex<Option<String>>,
    refuses: AtomicBool,
    pub(crate) place: Arc<Place>,
    _lock: DirLock,
}

/// The file that a node holds locked in each of its directories.
const LOCK_FILE: &str = ".lock";

/// ESTALE: the name leads to another directory than it did.
const STALE: i32 = 116;

/// A directory that this process alone may write to, until this is dropped.
pub(crate) struct DirLock {
    place: Arc<Place>,
    /// Locked as long as it is open.
    _file: File,
}

/// The directory that was locked, told from another one of its name.
///
/// A lock is of a file, not of a name: whoever deletes the directory and makes it again, or mounts something over it,
/// takes the name from under a running node, and a second node can lock the new one. Files are opened by name, so the
/// first node asks [`Self::check`] before it does file work there.
pub(crate) struct Place {
    lock_file: PathBuf,
    /// Device and inode of the lock file.
    identity: (u64, u64),
}

impl DirLock {
    /// Makes `dir` if need be, and locks it.
    pub(crate) fn take(dir: &Path) -> Result<Self, LogDirError> {
        let fault = |what| move |source| LogDirError::Io { path: dir.to_owned(), what, source };
        fs::create_dir_all(dir).map_err(fault("cannot be made"))?;
        let path = dir.join(LOCK_FILE);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(fault("its lock file cannot be opened"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(LogDirError::Locked { path: dir.to_owned() }),
            Err(fs::TryLockError::Error(source)) => return Err(fault("cannot be locked")(source)),
        }
        let identity = file.metadata().map(|found| identity_of(&found)).map_err(fault("cannot be locked"))?;
        let place = Arc::new(Place { lock_file: path, identity });
        // Between opening and locking somebody may have deleted it.
        place.check().map_err(fault("was replaced just now"))?;
        Ok(Self { place, _file: file })
    }

    /// What it is a lock of.
    pub(crate) fn place(&self) -> Arc<Place> {
        Arc::clone(&self.place)
    }
}

impl Place {
    /// Whether it is what `dir` names now.
    pub(crate) fn is_at(&self, dir: &Path) -> bool {
        fs::metadata(dir.join(LOCK_FILE)).is_ok_and(|found| identity_of(&found) == self.identity)
    }

    /// Whether the directory's name still leads to what was locked.
    ///
    /// # Errors
    /// ESTALE when it does not: nothing may be written there any more.
    pub(crate) fn check(&self) -> io::Result<()> {
        match fs::metadata(&self.lock_file) {
            Ok(found) if identity_of(&found) == self.identity => Ok(()),
            Ok(_) => Err(io::Error::from_raw_os_error(STALE)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::from_raw_os_error(STALE)),
            Err(error) => Err(error),
        }
    }
}

fn identity_of(file: &fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Why a log directory cannot be used; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LogDirError {
    /// It cannot be made, read or written.
    #[error("log directory {path}: {what}: {source}. Check that it exists and that this user may write there")]
    Io {
        /// Which.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "log directory {path} is in use by another process. Stop that one first, or give this node a log.dirs of its own"
    )]
    Locked {
        /// Which.
        path: PathBuf,
    },
    /// It belongs to another node or cluster, or cannot be understood.
    #[error("log directory {path}: {reason}")]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Why it is not ours.
        reason: String,
    },
}

impl LogDir {
    /// Takes `path`, locked by `lock`, for this node: finds out how the last node here ended.
    pub(crate) fn open(path: &Path, lock: DirLock, id: DirectoryId) -> Result<Self, LogDirError> {
        let fault = |what| move |source| LogDirError::Io { path: path.to_owned(), what, source };
        let identity = mount_identity(path);
        let last = fs::read_to_string(path.join(IDENTITY_FILE)).unwrap_or_default();
        let (last_identity, stopped_cleanly) = match last.trim().strip_suffix(CLEAN) {
            Some(identity) => (identity.trim(), true),
            None => (last.trim(), false),
        };
        // An identity that cannot be told (an old kernel, a container) is never the same one.
        let last_stop = match &identity {
            Some(now) if now == last_identity => LastStop::ProcessDied,
            _ => LastStop::PowerLost,
        };
        if !stopped_cleanly && !last_identity.is_empty() {
            match last_stop {
                LastStop::ProcessDied => {
                    tracing::info!(dir = %path.display(), "the last node here did not stop cleanly; same boot and mount: it was killed, and nothing written is lost");
                }
                LastStop::PowerLost => {
                    tracing::warn!(dir = %path.display(), "the last node here did not stop cleanly; another boot or mount, or one that cannot be told: records not yet synced then may be lost");
                }
            }
        }
        if !stopped_cleanly {
            // Sync before reading: what the last node's kernel failed to write must show now, as an error, and not after
            // it was served from the page cache.
            shard::file::sync_file_system_blocking(path).map_err(fault("cannot be synced"))?;
        }
        if last_identity == POISONED || identity.is_none() {
            // After a failed fsync the kernel calls pages clean that never reached the disk. Recovery must see what is on
            // the disk, so the page cache has to go.
            drop_page_cache(path).map_err(fault("its page cache cannot be dropped"))?;
        }
        let name = path.file_name().map_or_else(|| "log".into(), |name| name.to_string_lossy().into_owned());
        let writeback = Writeback::spawn(HelperSpec { name: format!("wb-{name}"), cpus: Vec::new() })
            .map_err(fault("no thread for writeback"))?;
        let files = (0..FILE_WORK_THREADS)
            .map(|at| Maintenance::spawn(HelperSpec { name: format!("fs{at}-{name}"), cpus: Vec::new() }))
            .collect::<io::Result<_>>()
            .map_err(fault("no thread for file work"))?;
        let maintenance = Maintenance::spawn(HelperSpec { name: format!("mt-{name}"), cpus: Vec::new() })
            .map_err(fault("no thread for maintenance"))?;
        Ok(Self {
            path: path.to_owned(),
            id,
            last_stop,
            identity,
            writeback,
            files,
            maintenance,
            cleaning: AtomicBool::new(false),
            partitions: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            refusal: Mutex::new(None),
            refuses: AtomicBool::new(false),
            place: lock.place(),
            _lock: lock,
        })
    }

    /// Marks the directory as in use under this boot and mount. Only when all of its logs have been recovered and what
    /// recovery ordered is on disk: until then a crash leaves the state of the last node.
    pub(crate) fn mark_in_use(&self) -> Result<(), LogDirError> {
        self.write_identity(self.identity.as_deref().unwrap_or_default())
    }

    /// Marks that all of its logs were closed.
    pub(crate) fn mark_clean(&self) -> Result<(), LogDirError> {
        if self.is_poisoned() {
            return Ok(());
        }
        self.write_identity(&format!("{} {CLEAN}", self.identity.as_deref().unwrap_or_default()))
    }

    fn write_identity(&self, text: &str) -> Result<(), LogDirError> {
        write_identity(&self.path, &self.place, text).map_err(|source| LogDirError::Io {
            path: self.path.clone(),
            what: "its identity cannot be written",
            source,
        })
    }

    /// The partitions whose folders lie here, with the topic id that `partition.metadata` names (`None`: no such file).
    pub(crate) fn scan(&self) -> Result<BTreeMap<TopicPartition, Option<TopicId>>, LogDirError> {
        let fault = |source| LogDirError::Io { path: self.path.clone(), what: "cannot be listed", source };
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.path).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let name = entry.file_name();
            let Some(partition) = name.to_str().and_then(TopicPartition::from_dir_name) else { continue };
            if !entry.file_type().map_err(fault)?.is_dir() {
                continue;
            }
            let metadata = fs::read_to_string(entry.path().join("partition.metadata")).ok();
            let id = metadata.as_deref().and_then(topic_id_of);
            found.insert(partition, id);
        }
        Ok(found)
    }

    /// Clears away what deleted topics left (`...-delete`), and puts aside (`...-stray`) the folders of partitions that
    /// `belongs` does not know: topics that were deleted or re-created while this node was down, or folders copied in
    /// by hand. Their records are kept.
    pub(crate) fn put_strays_aside(
        &self,
        belongs: impl Fn(&TopicPartition, Option<TopicId>) -> bool,
    ) -> Result<(), LogDirError> {
        let fault = |what| move |source| LogDirError::Io { path: self.path.clone(), what, source };
        for entry in fs::read_dir(&self.path).map_err(fault("cannot be listed"))? {
            let entry = entry.map_err(fault("cannot be listed"))?;
            if entry.file_name().to_str().is_some_and(|name| name.ends_with("-delete")) {
                let folder = entry.path();
                if self.maintenance.post(move || drop(fs::remove_dir_all(folder))).is_err() {
                    break;
                }
            }
        }
        for (partition, id) in self.scan()? {
            if belongs(&partition, id) {
                continue;
            }
            let from = self.path.join(partition.to_string());
            let to = self.path.join(format!("{partition}.{}-stray", id.unwrap_or(TopicId::ZERO)));
            fs::rename(&from, &to).map_err(fault("a stray partition cannot be put aside"))?;
            tracing::warn!(
                folder = %from.display(), now = %to.display(),
                "this folder belongs to no topic of the cluster: put aside. Delete it if its records are not wanted"
            );
        }
        Ok(())
    }

    /// The thread for the file work of the partition in `folder`, always the same one: its work is done in order.
    pub(crate) fn files(&self, folder: &Path) -> &Maintenance {
        let sum = folder.as_os_str().as_encoded_bytes().iter().fold(0_usize, |sum, byte| {
            // Names differ most at their end.
            sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
        });
        &self.files[sum % self.files.len()]
    }

    /// Jobs for files that wait for a thread or have one.
    pub(crate) fn file_work_waiting(&self) -> usize {
        self.files.iter().map(Maintenance::waiting).sum()
    }

    /// Why produce is refused here just now, if it is.
    pub(crate) fn refusal(&self) -> Option<String> {
        if !self.refuses.load(Ordering::Relaxed) {
            return None;
        }
        self.refusal.lock().expect("held for a moment, never across a panic").clone()
    }

    fn refuse(&self, reason: Option<String>) {
        let refuses = reason.is_some();
        *self.refusal.lock().expect("held for a moment, never across a panic") = reason;
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    /// The disk or the directory failed: nothing more is acked here until a restart. Whether that is news.
    pub(crate) fn poison(&self, reason: String) -> bool {
        let is_news = !self.is_poisoned();
        // In another's place there is nothing to note.
        if is_news && self.place.check().is_ok() {
            let (path, place) = (self.path.clone(), Arc::clone(&self.place));
            let written = move || {
                if let Err(error) = write_identity(&path, &place, POISONED) {
                    tracing::error!(
                        dir = %path.display(), %error,
                        "the failure cannot be noted on the disk either: reboot before this directory is used again"
                    );
                }
            };
            if self.maintenance.post(written).is_err() {
                tracing::error!(dir = %self.path.display(), "the failure is not noted: reboot before the directory is used again");
            }
        }
        self.full.store(false, Ordering::Relaxed);
        self.refuse(Some(format!(
            "no records are taken here until the cause is gone and the node restarted: {reason}"
        )));
        is_news
    }

    /// Whether the disk failed.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.refuses.load(Ordering::Relaxed) && !self.full.load(Ordering::Relaxed)
    }

    /// The free bytes that are kept here: as configured, or the smaller of 1 GiB and 5 %.
    pub(crate) fn reserve_bytes(&self, configured: Option<u64>, space: Space) -> u64 {
        configured.unwrap_or_else(|| (space.total_bytes / 20).min(1 << 30))
    }

    /// Looks whether the directory still is the one that was locked. If not, that poisons it; whether that is news.
    pub(crate) fn check_place(&self) -> bool {
        // Whatever else keeps the file from being looked at says nothing of who has the name.
        let Some(error) = self.place.check().err().filter(|error| error.raw_os_error() == Some(STALE)) else {
            return false;
        };
        let is_news = self.poison(format!("{} was deleted or replaced under the node: {error}", self.path.display()));
        if is_news {
            tracing::error!(
                dir = %self.path.display(), %error,
                "the log directory was deleted or replaced under the node, which takes no more records there: stop it \
                 and find out who has the directory now"
            );
        }
        is_news
    }

    /// Compares the free space with the reserve; refuses or heals.
    pub(crate) fn check_space(&self, reserve_bytes: Option<u64>) {
        let Ok(space) = shard::probe::space(&self.path) else { return };
        let reserve = self.reserve_bytes(reserve_bytes, space);
        let full = space.free_bytes < reserve;
        if full == self.full.load(Ordering::Relaxed) {
            return;
        }
        if full && self.refuses.load(Ordering::Relaxed) {
            return;
        }
        self.full.store(full, Ordering::Relaxed);
        if full {
            let message = format!(
                "log directory {} has {} bytes free and keeps a reserve of {reserve}: no records are taken until space is \
                 freed (retention, delete-records, a larger disk); reading goes on",
                self.path.display(),
                space.free_bytes
            );
            tracing::error!(dir = %self.path.display(), free_bytes = space.free_bytes, reserve_bytes = reserve, "disk full: produce is refused");
            self.refuse(Some(message));
        } else {
            tracing::info!(dir = %self.path.display(), free_bytes = space.free_bytes, "disk has room again: produce goes on");
            self.refuse(None);
        }
    }

    /// Takes the directory's one compaction at a time; false if it is taken.
    pub(crate) fn begin_cleaning(&self) -> bool {
        !self.cleaning.swap(true, Ordering::AcqRel)
    }

    /// Gives it back.
    pub(crate) fn end_cleaning(&self) {
        self.cleaning.store(false, Ordering::Release);
    }

    /// A partition moved in (or out).
    pub(crate) fn count(&self, in_not_out: bool) {
        if in_not_out {
            self.partitions.fetch_add(1, Ordering::Relaxed);
        } else {
            self.partitions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many partitions lie here.
    pub(crate) fn partitions(&self) -> usize {
        self.partitions.load(Ordering::Relaxed)
    }
}

fn write_identity(dir: &Path, place: &Place, text: &str) -> io::Result<()> {
    place.check()?;
    shard::file::atomic_write_blocking(dir, IDENTITY_FILE, text.as_bytes())
}

/// Whether the last node of ours that wrote to the log directory `path` stopped cleanly, and none runs there now.
pub(crate) fn was_stopped_cleanly(path: &Path) -> bool {
    fs::read_to_string(path.join(IDENTITY_FILE)).is_ok_and(|text| text.trim().ends_with(CLEAN))
}

/// Names this boot of the machine and this mount of the file system, so that whoever finds the same later knows that the
/// page cache lived: `<boot id> <mount id> <disk sequence>`. `None` when the kernel cannot tell (before 6.8, or in a
/// container that hides the boot id).
fn mount_identity(path: &Path) -> Option<String> {
    let boot = shard::probe::boot_id().ok()?;
    let mount = shard::probe::mount_id_unique(path).ok()??;
    let disk = shard::probe::disk_sequence(path).ok()?;
    Some(format!("{boot} {mount} {}", disk.map_or_else(|| "-".to_owned(), |sequence| sequence.to_string())))
}

/// Makes the kernel forget what it holds of the partitions' files, so that they are read from the disk.
fn drop_page_cache(dir: &Path) -> io::Result<()> {
    for folder in fs::read_dir(dir)? {
        let folder = folder?;
        if !folder.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(folder.path())? {
            let file = file?;
            if file.file_type()?.is_file() {
                shard::file::drop_page_cache_blocking(&file.path())?;
            }
        }
    }
    Ok(())
}

/// Which directory a new partition goes to: the one with the fewest.
pub(crate) fn emptiest(dirs: &[Arc<LogDir>]) -> &Arc<LogDir> {
    dirs.iter().min_by_key(|dir| dir.partitions()).expect("a node has at least one log directory")
}

/// The topic id in a `partition.metadata` file (`version: 0` and `topic_id: ...`, a line each).
pub(crate) fn topic_id_of(text: &str) -> Option<TopicId> {
    text.lines().find_map(|line| TopicId::parse(line.strip_prefix("topic_id:")?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_disk_is_not_trusted_at_the_next_start() {
        let path = std::env::temp_dir().join(format!("ringlog-poison-{}", std::process::id()));
        let id = DirectoryId::from_bytes([7; 16]);
        let open = || LogDir::open(&path, DirLock::take(&path).expect("free"), id);
        let dir = open().expect("a new directory");
        dir.mark_in_use().expect("writable");
        drop(dir);
        let dir = open().expect("a known directory");
        let lives = mount_identity(&path).map_or(LastStop::PowerLost, |_| LastStop::ProcessDied);
        assert_eq!(dir.last_stop, lives, "a process that died leaves the page cache");
        assert!(dir.poison("test: EIO".to_owned()));
        assert!(!dir.poison("test: EIO again".to_owned()), "told once");
        let (noted, waits) = std::sync::mpsc::channel();
        dir.maintenance.post(move || noted.send(()).expect("the test waits")).expect("room in the queue");
        waits.recv().expect("the note is written before this job");
        dir.mark_clean().expect("does nothing");
        drop(dir);
        let dir = open().expect("the same directory");
        assert_eq!(dir.last_stop, LastStop::PowerLost);
        drop(dir);
        fs::remove_dir_all(&path).expect("ours");
    }

    /// `rm -rf` and a new node under the same name; the same with `mv`; and nobody there at all.
    #[test]
    fn a_directory_that_was_replaced_is_not_written_to() {
        let path = std::env::temp_dir().join(format!("ringlog-replaced-{}", std::process::id()));
        let aside = path.with_extension("aside");
        let id = DirectoryId::from_bytes([7; 16]);
        let open = || LogDir::open(&path, DirLock::take(&path).expect("free"), id).expect("usable");
        let identity = || fs::read_to_string(path.join(IDENTITY_FILE)).ok();
        let replacements: [fn(&Path, &Path) -> io::Result<()>; 2] =
            [|path, _| fs::remove_dir_all(path), |path, aside| fs::rename(path, aside)];
        for replace in replacements {
            let first = open();
            first.mark_in_use().expect("writable");
            assert!(!first.check_place() && !first.is_poisoned());
            assert!(matches!(DirLock::take(&path), Err(LogDirError::Locked { .. })));
            replace(&path, &aside).expect("ours");
            assert_eq!(first.place.check().map_err(|error| error.raw_os_error()), Err(Some(STALE)), "nobody there");
            let second = open();
            assert!(first.check_place(), "news");
            assert!(!first.check_place(), "told once");
            assert!(first.refusal().is_some_and(|why| why.contains("deleted or replaced")), "{:?}", first.refusal());
            first.mark_in_use().expect_err("not its own");
            first.mark_clean().expect("does nothing");
            let (noted, waits) = std::sync::mpsc::channel();
            first.maintenance.post(move || noted.send(()).expect("the test waits")).expect("room in the queue");
            waits.recv().expect("the note that it is poisoned would be written before this job");
            drop(first);
            assert_eq!(identity(), None, "the second node's directory is as that one left it");
            second.mark_in_use().expect("its own");
            assert!(!second.check_place());
            drop(second);
            fs::remove_dir_all(&path).expect("ours");
        }
        fs::remove_dir_all(&aside).expect("ours");
    }

    #[test]
    fn partition_metadata_is_read_as_kafka_writes_it() {
        let id = TopicId::from_random([7; 16]);
        assert_eq!(topic_id_of(&format!("version: 0\ntopic_id: {id}\n")), Some(id));
        assert_eq!(topic_id_of("version: 0\n"), None);
    }
}
