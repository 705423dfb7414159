//! Compaction's hands: runs a log's compaction job on the maintenance thread of its directory, one at a time, throttled.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shard::{FileDir, LogFile, OpenMode};
use storage::FileName;
use storage::compaction::CleanedFiles;
use types::ShardId;

use crate::log_dirs::Place;
use crate::mail::Mail;
use crate::partition::Partition;
use crate::shard_state::ShardState;

/// Writes `.cleaned` files in a partition's folder, no faster than allowed.
struct Cleaned {
    folder: PathBuf,
    place: Arc<Place>,
    open: Vec<(FileName, LogFile, u64)>,
    throttle: Option<Throttle>,
}

struct Throttle {
    bytes_per_s: u64,
    began: Instant,
    bytes: u64,
}

impl Throttle {
    /// Sleeps until `bytes` more are within the rate.
    fn pass(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        let due = Duration::from_millis(self.bytes.saturating_mul(1000) / self.bytes_per_s.max(1));
        if let Some(wait) = due.checked_sub(self.began.elapsed()) {
            std::thread::sleep(wait);
        }
    }
}

impl CleanedFiles for Cleaned {
    fn append(&mut self, file: FileName, bytes: &[u8]) -> io::Result<()> {
        if let Some(throttle) = &mut self.throttle {
            throttle.pass(bytes.len());
        }
        if !self.open.iter().any(|(name, ..)| *name == file) {
            self.place.check()?;
            let path = self.folder.join(file.to_string());
            // What an interrupted compaction left is worth nothing.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.open.push((file, LogFile::open_blocking(path, OpenMode::CreateNew)?, 0));
        }
        let (_, open, written) =
            self.open.iter_mut().find(|(name, ..)| *name == file).expect("it is open: it was just opened");
        open.write_at_blocking(*written, bytes)?;
        *written += bytes.len() as u64;
        Ok(())
    }

    fn finish(&mut self, file: FileName) -> io::Result<()> {
        if let Some(at) = self.open.iter().position(|(name, ..)| *name == file) {
            self.open.swap_remove(at).1.sync_blocking()?;
        }
        Ok(())
    }
}

/// Begins what compactions may begin: of the partitions in turn after the one last compacted, so that one that is always
/// due leaves its turn to the others; one per log directory.
pub(crate) fn begin_due(state: &Rc<ShardState>) {
    let mut partitions = state.partitions();
    let last = state.cleaned_last.get();
    partitions.sort_by_key(|partition| (partition.number <= last, partition.number));
    for partition in partitions {
        if begin(state, &partition) {
            state.cleaned_last.set(partition.number);
        }
    }
}

/// Begins a compaction of `partition` if it is due and its directory is not busy with another. Whether it began.
fn begin(state: &Rc<ShardState>, partition: &Rc<Partition>) -> bool {
    let dir = Arc::clone(&partition.log_dir);
    if !dir.begin_cleaning() {
        return false;
    }
    let Some(job) = partition.begin_compaction(state) else {
        dir.end_cleaning();
        return false;
    };
    let folder = partition.dir();
    let throttle = state.live().cleaner_io_bytes_per_s_max;
    let (key, home, mailboxes) = (partition.key, state.id, state.runtime.mailboxes());
    let posted = dir.maintenance.post({
        let dir = Arc::clone(&dir);
        move || {
            let files = FileDir::new(&folder);
            let throttle = throttle.map(|bytes_per_s| Throttle { bytes_per_s, began: Instant::now(), bytes: 0 });
            let mut cleaned = Cleaned { folder, place: Arc::clone(&dir.place), open: Vec::new(), throttle };
            let outcome = job.run(&files, &mut cleaned);
            dir.end_cleaning();
            let finish = move |state: &Rc<ShardState>| {
                if let Some(partition) = state.partition(key) {
                    partition.finish_compaction(state, outcome);
                }
                begin_due(state);
            };
            send_waiting(&mailboxes, home, Mail::Run(Box::new(finish)));
        }
    });
    if posted.is_err() {
        dir.end_cleaning();
        partition.abandon_compaction(state);
        return false;
    }
    true
}

fn send_waiting(mailboxes: &shard::Mailboxes<Mail>, home: ShardId, mail: Mail) {
    // A shard that has ended needs no outcome: recovery removes what was made.
    drop(mailboxes.send_waiting(home, mail));
}
