//! `bench disk`: what a folder's disk can do for a log, without a broker in the way.
//!
//! A log is written from front to end while another thread syncs what was written; in durable mode it is synced before every
//! ack. So the measured things are: one file written and synced all along, and ladders of writes with an fdatasync after each,
//! several writes before one, and several files at once. Every write goes to the end of its file, as a log's does, so the
//! file system's own bookkeeping is in the numbers.
//!
//! Time and bytes are bounded; the files live in a folder of their own that is removed at the end, after an error too.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{Disk, Latency, SyncStep, Transfer};
use crate::machine::Storage;

/// Bytes of one write of the sequential part.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes after which the sequential part asks for a sync, and how many such steps may wait for theirs: what a node lets a
/// partition have dirty.
const SYNC_STEP_BYTES: u64 = 8 << 20;
const SYNC_STEPS_AHEAD: usize = 8;
/// Writes of the ladder by size.
const SIZES: [usize; 6] = [512, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Writes of 4 KiB before each fdatasync.
const BATCHES: [u32; 4] = [1, 8, 64, 256];
/// Files at once.
const FILES: [u32; 4] = [1, 4, 16, 64];
const SMALL_WRITE_BYTES: usize = 4 << 10;
/// The most that the ladders' files may hold together; a step that reaches its share ends there.
const LADDER_BYTES_MAX: u64 = 1 << 30;
/// Room that is left on the file system whatever is asked for.
const ROOM_LEFT_BYTES: u64 = 256 << 20;
/// The longest fdatasync that is told apart: a minute.
const LATENCY_US_MAX: u64 = 60_000_000;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The folder; it is made if it is missing, and removed again.
    pub folder: PathBuf,
    /// Bytes that the sequential part writes at most.
    pub write_bytes_max: u64,
    /// Time for everything.
    pub budget: Duration,
    /// Set from outside to end early, with an error of the kind [`io::ErrorKind::Interrupted`].
    pub stop: Arc<AtomicBool>,
}

/// What is being measured, for whoever waits.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

/// Measures the disk under a folder.
///
/// # Errors
/// Too little room, or whatever the disk answers, with the folder's name.
pub fn measure(plan: &Plan, measured_at: String, progress: Progress<'_>) -> io::Result<Disk> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", plan.folder.display()));
    let scratch = Scratch::new(&plan.folder).map_err(told)?;
    let place = Storage::look(&plan.folder);
    let needed = plan.write_bytes_max.max(LADDER_BYTES_MAX).saturating_add(ROOM_LEFT_BYTES);
    if let Some(free) = place.free_bytes.filter(|free| *free < needed) {
        let why = format!("{free} bytes are free and {needed} are needed; free some, or measure less with --bytes");
        return Err(told(io::Error::other(why)));
    }
    let measured = run(plan, &scratch, place, measured_at, progress);
    measured.map_err(told)
}

fn run(
    plan: &Plan,
    scratch: &Scratch,
    place: Storage,
    measured_at: String,
    progress: Progress<'_>,
) -> io::Result<Disk> {
    let mut begin = |what: &str| -> io::Result<()> {
        go_on(&plan.stop)?;
        progress(what);
        Ok(())
    };
    // A third of the time for the front-to-end write, the rest in equal parts for the steps.
    let steps = (SIZES.len() + BATCHES.len() + FILES.len()) as u32;
    let step =
        Step { budget: plan.budget * 2 / 3 / steps, bytes_max: LADDER_BYTES_MAX / u64::from(steps), stop: &plan.stop };
    begin("writing from front to end")?;
    let write = sequential(scratch, plan.write_bytes_max, plan.budget / 3, &plan.stop)?;
    let mut sync_by_size = Vec::new();
    for bytes in SIZES {
        begin(&format!("fdatasync after each write of {bytes} bytes"))?;
        sync_by_size.push(step.run(scratch, bytes, 1, 1)?);
    }
    let mut sync_by_batch = Vec::new();
    for batch in BATCHES {
        begin(&format!("fdatasync after {batch} writes of 4 KiB"))?;
        sync_by_batch.push(step.run(scratch, SMALL_WRITE_BYTES, batch, 1)?);
    }
    let mut sync_by_files = Vec::new();
    for files in FILES {
        begin(&format!("fdatasync of {files} files at once"))?;
        sync_by_files.push(step.run(scratch, SMALL_WRITE_BYTES, 1, files)?);
    }
    go_on(&plan.stop)?;
    Ok(Disk { measured_at, place, write, sync_by_size, sync_by_batch, sync_by_files })
}

fn go_on(stop: &AtomicBool) -> io::Result<()> {
    let stopped = || io::Error::new(io::ErrorKind::Interrupted, "stopped before everything was measured");
    if stop.load(Ordering::Relaxed) { Err(stopped()) } else { Ok(()) }
}

/// Bytes that do not compress, so that no layer below can save itself the work.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        // xorshift64: as random as a disk can tell.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// Writes one file from front to end. A second thread syncs it every [`SYNC_STEP_BYTES`], and the writer waits when it is
/// [`SYNC_STEPS_AHEAD`] steps ahead, so what counts has reached the disk and not only the page cache.
fn sequential(scratch: &Scratch, bytes_max: u64, budget: Duration, stop: &AtomicBool) -> io::Result<Transfer> {
    let file = scratch.file("write")?;
    let synced = file.try_clone()?;
    let chunk = noise(CHUNK_BYTES);
    let start = Instant::now();
    let (ask, asked) = sync_channel::<()>(SYNC_STEPS_AHEAD);
    let bytes = std::thread::scope(|scope| {
        let syncer = scope.spawn(move || asked.iter().try_for_each(|()| synced.sync_data()));
        let mut written = 0;
        let mut result = Ok(());
        while written < bytes_max && start.elapsed() < budget && !stop.load(Ordering::Relaxed) {
            let bytes = chunk.len().min((bytes_max - written) as usize);
            result = file.write_all_at(&chunk[..bytes], written);
            if result.is_err() {
                break;
            }
            written += bytes as u64;
            // The syncer hangs up only when a sync failed; its error is told below.
            if written.is_multiple_of(SYNC_STEP_BYTES) && ask.send(()).is_err() {
                break;
            }
        }
        drop(ask);
        let synced = syncer.join().unwrap_or_else(|_| Err(io::Error::other("the syncing thread panicked")));
        result.and(synced).map(|()| written)
    })?;
    file.sync_data()?;
    Ok(Transfer::new(bytes, start.elapsed()))
}

/// How long and how far one step of a ladder goes.
#[derive(Clone, Copy)]
struct Step<'a> {
    budget: Duration,
    bytes_max: u64,
    stop: &'a AtomicBool,
}

/// What one file's thread counted.
struct Counted {
    syncs: u64,
    histogram: Histogram<u64>,
}

impl Step<'_> {
    /// `files` threads, each writing `batch` times `write_bytes` to the end of its own file before an fdatasync.
    fn run(&self, scratch: &Scratch, write_bytes: usize, batch: u32, files: u32) -> io::Result<SyncStep> {
        let open = (0..files).map(|number| scratch.file(&format!("sync-{number}"))).collect::<io::Result<Vec<_>>>()?;
        let data = noise(write_bytes);
        let bytes_max = self.bytes_max / u64::from(files);
        let failed = Arc::new(AtomicBool::new(false));
        let start = Instant::now();
        let counted = std::thread::scope(|scope| {
            let threads: Vec<_> = open
                .iter()
                .map(|file| {
                    let (data, failed) = (&data, Arc::clone(&failed));
                    scope.spawn(move || {
                        let counted = self.count(file, data, batch, bytes_max, start, &failed);
                        failed.fetch_or(counted.is_err(), Ordering::Relaxed);
                        counted
                    })
                })
                .collect();
            let panicked = |_| Err(io::Error::other("a writing thread panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect::<io::Result<Vec<_>>>()
        })?;
        let elapsed = start.elapsed();
        let mut merged = new_histogram()?;
        let mut syncs = 0;
        for file in counted {
            merged.add(&file.histogram).map_err(io::Error::other)?;
            syncs += file.syncs;
        }
        let per_s = |count: u64| (count as f64 / elapsed.as_secs_f64()) as u64;
        Ok(SyncStep {
            write_bytes: write_bytes as u64,
            batch,
            files,
            syncs_per_s: per_s(syncs),
            writes_per_s: per_s(syncs * u64::from(batch)),
            latency: Latency::from(&merged),
        })
    }

    fn count(
        &self,
        file: &File,
        data: &[u8],
        batch: u32,
        bytes_max: u64,
        start: Instant,
        failed: &AtomicBool,
    ) -> io::Result<Counted> {
        let mut counted = Counted { syncs: 0, histogram: new_histogram()? };
        let mut position = 0;
        let round_bytes = data.len() as u64 * u64::from(batch);
        // One round at the least: a step without a number says nothing.
        while counted.syncs == 0
            || (start.elapsed() < self.budget
                && position + round_bytes <= bytes_max
                && !failed.load(Ordering::Relaxed)
                && !self.stop.load(Ordering::Relaxed))
        {
            for _ in 0..batch {
                file.write_all_at(data, position)?;
                position += data.len() as u64;
            }
            let began = Instant::now();
            file.sync_data()?;
            counted.histogram.saturating_record((began.elapsed().as_micros() as u64).max(1));
            counted.syncs += 1;
        }
        Ok(counted)
    }
}

fn new_histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_max(LATENCY_US_MAX, 3).map_err(io::Error::other)
}

/// Where the files lie that are written in a measured folder; gone once it is measured.
#[must_use]
pub fn scratch_in(measured: &Path) -> PathBuf {
    measured.join(format!("ringlog-bench-disk-{}", std::process::id()))
}

/// A folder of our own inside the one that is measured; gone when this is dropped.
struct Scratch {
    folder: PathBuf,
    /// The measured folder was missing and goes too.
    made: Option<PathBuf>,
}

impl Scratch {
    fn new(measured: &Path) -> io::Result<Self> {
        let made = (!measured.exists()).then(|| measured.to_path_buf());
        let folder = scratch_in(measured);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, made })
    }

    /// An empty file; what one of this name held is given back to the disk first.
    fn file(&self, name: &str) -> io::Result<File> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        File::options().read(true).write(true).create_new(true).open(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
        if let Some(made) = &self.made {
            let _ = fs::remove_dir(made);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ringlog-disk-test-{}-{test}", std::process::id()))
    }

    #[test]
    fn every_step_is_measured_and_nothing_is_left_behind() {
        let folder = folder("all");
        let plan = Plan {
            folder: folder.clone(),
            write_bytes_max: 16 << 20,
            budget: Duration::from_millis(300),
            stop: Arc::default(),
        };
        let mut said = 0;
        let disk = measure(&plan, "now".to_owned(), &mut |_| said += 1).expect("measured");
        assert!(!folder.exists());
        assert!(0 < disk.write.bytes && disk.write.bytes <= 16 << 20, "{disk:?}");
        assert_eq!(disk.sync_by_size.iter().map(|step| step.write_bytes as usize).collect::<Vec<_>>(), SIZES);
        assert_eq!(disk.sync_by_batch.iter().map(|step| step.batch).collect::<Vec<_>>(), BATCHES);
        assert_eq!(disk.sync_by_files.iter().map(|step| step.files).collect::<Vec<_>>(), FILES);
        for step in disk.sync_by_size.iter().chain(&disk.sync_by_batch).chain(&disk.sync_by_files) {
            assert!(u64::from(step.files) <= step.latency.samples, "{step:?}");
            assert!(step.latency.p50_us <= step.latency.p99_us, "{step:?}");
        }
        assert_eq!(said, 1 + SIZES.len() + BATCHES.len() + FILES.len());
    }

    #[test]
    fn a_folder_that_was_there_stays_with_what_it_held() {
        let folder = folder("kept");
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("mine"), "x").expect("written");
        let plan = Plan {
            folder: folder.clone(),
            write_bytes_max: 1 << 20,
            budget: Duration::from_millis(50),
            stop: Arc::default(),
        };
        measure(&plan, "now".to_owned(), &mut |_| {}).expect("measured");
        let left: Vec<_> = fs::read_dir(&folder).expect("there").flatten().map(|entry| entry.file_name()).collect();
        fs::remove_dir_all(&folder).expect("there");
        assert_eq!(left, ["mine"]);
    }

    #[test]
    fn whoever_is_stopped_leaves_nothing_behind_at_whatever_step() {
        for stopped_at in [1, 2, 9, 14] {
            let folder = folder("stopped");
            let stop = Arc::new(AtomicBool::new(false));
            let plan = Plan {
                folder: folder.clone(),
                write_bytes_max: 16 << 20,
                budget: Duration::from_millis(100),
                stop: Arc::clone(&stop),
            };
            let mut begun = 0;
            let error = measure(&plan, "now".to_owned(), &mut |_| {
                begun += 1;
                stop.store(begun == stopped_at, Ordering::Relaxed);
            })
            .expect_err("stopped");
            assert_eq!((error.kind(), begun), (io::ErrorKind::Interrupted, stopped_at), "{error}");
            assert!(!folder.exists());
        }
    }

    #[test]
    fn too_little_room_is_told_before_a_byte_is_written() {
        let folder = folder("room");
        let plan = Plan {
            folder: folder.clone(),
            write_bytes_max: u64::MAX,
            budget: Duration::from_millis(50),
            stop: Arc::default(),
        };
        let error = measure(&plan, "now".to_owned(), &mut |_| panic!("measured")).expect_err("no disk is that large");
        assert!(error.to_string().contains("are needed"), "{error}");
        assert!(!folder.exists());
    }

    #[test]
    fn noise_does_not_repeat() {
        let bytes = noise(4096);
        assert_eq!(bytes.len(), 4096);
        assert!(bytes.chunks(8).collect::<std::collections::BTreeSet<_>>().len() == 512);
    }
}
