//! What the maintenance thread does for a partition's log: every effect that is neither a write nor a sync.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use shard::file::{atomic_write_blocking, sync_dir_blocking};
use shard::{LogFile, OpenMode};
use storage::Effect;

use crate::log_dirs::Place;

/// How long file work waits for a descriptor before it asks again.
pub(crate) const DESCRIPTORS_RETRY: Duration = Duration::from_millis(100);

/// Whether a file could not be opened because too many are: connections may have taken every descriptor. That says
/// nothing of the disk, so what cannot fail without consequence (a sync, a cut) waits for one.
pub(crate) fn lacks_descriptors(error: &io::Error) -> bool {
    // ENFILE and EMFILE.
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// As [`run`], where a running node does it: only while the log directory is the one that it locked.
pub(crate) fn run_at(place: &Place, folder: &Path, effect: &Effect) -> io::Result<usize> {
    place.check()?;
    run(folder, effect)
}

/// Carries out one effect in `folder`, the partition's. Returns the bytes written, 0 for what writes none.
pub(crate) fn run(folder: &Path, effect: &Effect) -> io::Result<usize> {
    loop {
        match run_once(folder, effect) {
            Err(error) if lacks_descriptors(&error) => {
                tracing::error!(folder = %folder.display(), %error, "no descriptor for file work; it waits (raise ulimit -n)");
                std::thread::sleep(DESCRIPTORS_RETRY);
            }
            other => return other,
        }
    }
}

fn run_once(folder: &Path, effect: &Effect) -> io::Result<usize> {
    match effect {
        Effect::Create { file, .. } => {
            fs::create_dir_all(folder)?;
            LogFile::open_blocking(folder.join(file.to_string()), OpenMode::Create)?.truncate_blocking(0)?;
        }
        Effect::Write { file, position, buffers, .. } => {
            let file = LogFile::open_blocking(folder.join(file.to_string()), OpenMode::ReadWrite)?;
            let mut written = 0;
            for buffer in buffers {
                file.write_at_blocking(position + written as u64, buffer)?;
                written += buffer.len();
            }
            return Ok(written);
        }
        Effect::Sync { file, .. } => {
            LogFile::open_blocking(folder.join(file.to_string()), OpenMode::ReadWrite)?.sync_blocking()?;
        }
        Effect::SyncDir { .. } => {
            sync_dir_blocking(folder)?;
            if let Some(parent) = folder.parent() {
                sync_dir_blocking(parent)?;
            }
        }
        Effect::WriteFile { file, bytes, .. } => {
            fs::create_dir_all(folder)?;
            atomic_write_blocking(folder, &file.to_string(), bytes)?;
        }
        Effect::Truncate { file, bytes, .. } => {
            let file = LogFile::open_blocking(folder.join(file.to_string()), OpenMode::ReadWrite)?;
            file.truncate_blocking(*bytes)?;
            file.sync_blocking()?;
        }
        Effect::Rename { from, to, .. } => {
            missing_is_done(fs::rename(folder.join(from.to_string()), folder.join(to.to_string())))?;
        }
        Effect::Delete { file, .. } => missing_is_done(fs::remove_file(folder.join(file.to_string())))?,
    }
    Ok(0)
}

/// Renames a deleted topic's partition, so that a topic of the same name can have the folder. Whether there is anything
/// to remove now.
pub(crate) fn put_aside(folder: &Path, gone: &Path) -> bool {
    match fs::rename(folder, gone) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "the folder of a deleted partition is left over; remove it by hand");
            false
        }
    }
}

/// Takes a deleted topic's partition, put aside before, off the disk.
pub(crate) fn remove_folder(gone: &Path) {
    if let Err(error) = missing_is_done(fs::remove_dir_all(gone)) {
        tracing::warn!(folder = %gone.display(), %error, "the folder of a deleted partition is left over; remove it by hand");
    }
}

fn missing_is_done(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
