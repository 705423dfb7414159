//! `ringlog bench disk`: a folder's disk without a broker in the way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use loadgen::driver::Place;
use loadgen::driver::place::{PlaceError, Prepared, private_mounts};
use loadgen::limits::disk::{Plan, measure, scratch_in};
use loadgen::limits::{Disk, SyncStep};
use schemars::JsonSchema;
use serde::Serialize;

use super::LimitsFile;
use super::run::stop_on_interrupt;
use crate::failure::{Code, Failure};
use crate::output::{Answer, Format, Section, print};
use crate::units::{bytes, count, now_ms, parse_bytes, parse_duration, rfc3339};

const AFTER_HELP: &str = "\
Examples:
  ringlog bench disk                                 this folder's disk
  ringlog bench disk /mnt/nvme0 /mnt/nvme1 --time 1m  two disks, one after the other
  ringlog bench disk --fs ext4,xfs,tmpfs             file systems, each made in an image file here; takes root
  ringlog bench disk --ack 20ms -o json              how many durable partitions it carries at 20 ms an ack";

/// The arguments of `bench disk`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BenchDisk {
    /// Folders to measure; what is written there is removed again
    #[arg(default_value = ".")]
    folders: Vec<PathBuf>,
    /// File systems to make in an image file in each folder (tmpfs: in memory) and to measure in place of the folder
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    fs: Vec<FileSystem>,
    /// Time for each folder
    #[arg(long, default_value = "20s", value_parser = parse_duration)]
    time: Duration,
    /// Bytes that writing from front to end takes at most
    #[arg(long, default_value = "4GiB", value_parser = parse_bytes)]
    bytes: u64,
    /// How long an ack may take in durable mode, for the number of partitions that the disk carries
    #[arg(long, default_value = "100ms", value_parser = parse_duration)]
    ack: Duration,
    #[command(flatten)]
    file: LimitsFile,
    #[command(flatten)]
    format: Format,
}

/// A file system that is made for the measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum FileSystem {
    Ext4,
    Xfs,
    Tmpfs,
}

impl FileSystem {
    fn place(self) -> (&'static str, Place) {
        match self {
            Self::Ext4 => ("ext4", Place::Ext4),
            Self::Xfs => ("xfs", Place::Xfs),
            Self::Tmpfs => ("tmpfs", Place::Tmpfs),
        }
    }
}

impl BenchDisk {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.time < Duration::from_millis(100) || Duration::from_secs(3600) < self.time {
            return Err(Failure::new(Code::Usage, "--time is 100ms to 1h for each folder"));
        }
        if self.bytes == 0 {
            return Err(Failure::new(Code::Usage, "--bytes 0: nothing would be written from front to end"));
        }
        // A limits file that cannot be read is told before anything is measured.
        self.file.read()?;
        let mut disks = Vec::new();
        if !self.fs.is_empty() {
            // Without root each mount says so for itself.
            let _ = private_mounts();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let left = self.folders.iter().flat_map(|folder| [mounts_in(folder), scratch_in(folder)]).collect();
        stop_on_interrupt(&stop, "stopping; what is not measured in full is not kept", left)?;
        for folder in &self.folders {
            if self.fs.is_empty() {
                disks.push(self.measure(folder, None, &stop)?);
            }
            let whole = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            for (name, place) in self.fs.iter().map(|file_system| file_system.place()) {
                let work = mounts_in(folder);
                let measured = match Prepared::make(&place, &work, name) {
                    Ok(prepared) => {
                        self.measure(&prepared.dirs[0], Some(format!("{name} in {}", whole.display())), &stop)
                    }
                    Err(PlaceError::Unavailable(why)) => {
                        tell!("{name}: SKIPPED, {why}");
                        continue;
                    }
                    Err(PlaceError::Failed(why)) => Err(Failure::new(Code::Failed, format!("{name}: {why}"))),
                };
                let _ = std::fs::remove_dir_all(&work);
                disks.push(measured?);
            }
        }
        if disks.is_empty() {
            return Err(Failure::new(Code::Partial, "none of the file systems can be had on this machine"));
        }
        print(&DiskLimits { limits_file: self.file.limits.display().to_string(), disks }, self.format.output)
    }

    /// Measures a folder; a mount that will be gone is kept under another name.
    fn measure(&self, folder: &Path, kept_as: Option<String>, stop: &Arc<AtomicBool>) -> Result<DiskRow, Failure> {
        let (folder, stop) = (folder.to_owned(), Arc::clone(stop));
        let plan = Plan { folder: folder.clone(), write_bytes_max: self.bytes, budget: self.time, stop };
        let told = kept_as.clone().unwrap_or_else(|| folder.display().to_string());
        let mut disk = measure(&plan, rfc3339(now_ms()), &mut |what| tell!("{told}: {what}")).map_err(|error| {
            let was_stopped = error.kind() == std::io::ErrorKind::Interrupted;
            Failure::new(if was_stopped { Code::Partial } else { Code::Failed }, error.to_string())
        })?;
        disk.place.path = kept_as.unwrap_or(disk.place.path);
        self.file.update(|limits| limits.put_disk(disk.clone()))?;
        Ok(DiskRow::of(&disk, self.ack.as_millis() as u64))
    }
}

/// Where file systems are made in a folder that is measured.
fn mounts_in(folder: &Path) -> PathBuf {
    folder.join(format!("ringlog-bench-fs-{}", std::process::id()))
}

/// What disks can do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DiskLimits {
    /// Where it is kept.
    limits_file: String,
    /// One for each folder.
    disks: Vec<DiskRow>,
}

#[derive(Serialize, JsonSchema)]
struct DiskRow {
    /// The folder.
    path: String,
    /// `ext4`, `xfs`, `tmpfs`.
    file_system: String,
    /// What is mounted.
    device: String,
    /// As mounted.
    mount_options: String,
    /// Written from front to end and synced all along.
    write_bytes_per_s: u64,
    /// fdatasyncs a second, at best.
    syncs_per_s_max: u64,
    /// How long an ack may take for the next field.
    ack_ms: u64,
    /// Busy partitions with `flush.messages=1` that the fdatasyncs carry.
    durable_partitions: u64,
    /// The ladders.
    steps: Vec<StepRow>,
}

#[derive(Serialize, JsonSchema)]
struct StepRow {
    /// `size`, `batch` or `files`: what the ladder varies.
    ladder: &'static str,
    /// Bytes of each write.
    write_bytes: u64,
    /// Writes before each fdatasync.
    batch: u32,
    /// Files at once.
    files: u32,
    /// fdatasyncs a second.
    syncs_per_s: u64,
    /// Writes a second.
    writes_per_s: u64,
    /// How many were measured.
    samples: u64,
    /// Half of the fdatasyncs were faster.
    p50_us: u64,
    /// One fdatasync in a hundred was slower.
    p99_us: u64,
    /// The slowest.
    max_us: u64,
}

impl DiskRow {
    fn of(disk: &Disk, ack_ms: u64) -> Self {
        let ladders = [("size", &disk.sync_by_size), ("batch", &disk.sync_by_batch), ("files", &disk.sync_by_files)];
        let steps = ladders.iter().flat_map(|(ladder, steps)| steps.iter().map(|step| StepRow::of(ladder, step)));
        Self {
            path: disk.place.path.clone(),
            file_system: disk.place.file_system.clone(),
            device: disk.place.device.clone(),
            mount_options: disk.place.mount_options.clone(),
            write_bytes_per_s: disk.write.bytes_per_s,
            syncs_per_s_max: disk.syncs_per_s_max(),
            ack_ms,
            durable_partitions: disk.durable_partitions(ack_ms),
            steps: steps.collect(),
        }
    }
}

impl StepRow {
    fn of(ladder: &'static str, step: &SyncStep) -> Self {
        Self {
            ladder,
            write_bytes: step.write_bytes,
            batch: step.batch,
            files: step.files,
            syncs_per_s: step.syncs_per_s,
            writes_per_s: step.writes_per_s,
            samples: step.latency.samples,
            p50_us: step.latency.p50_us,
            p99_us: step.latency.p99_us,
            max_us: step.latency.max_us,
        }
    }
}

impl Answer for DiskLimits {
    const SCHEMA: &'static str = "bench.disk";
    const LINES: &'static str = "disks";

    fn sections(&self, wide: bool) -> Vec<Section> {
        let mut sections = Vec::new();
        for disk in &self.disks {
            let place = match wide {
                true => format!("{} on {} ({})", disk.file_system, disk.device, disk.mount_options),
                false => format!("{} on {}", disk.file_system, disk.device),
            };
            let mut carried = format!("{} partitions at {} ms an ack", count(disk.durable_partitions), disk.ack_ms);
            if ["tmpfs", "ramfs"].contains(&disk.file_system.as_str()) {
                carried += ", and keeps none of them: this is memory";
            }
            sections.push(Section::facts([
                ("folder", disk.path.clone()),
                ("place", place),
                ("write", format!("{}/s", bytes(disk.write_bytes_per_s))),
                ("fdatasync", format!("{}/s at best", count(disk.syncs_per_s_max))),
                ("durable mode carries", carried),
            ]));
            let mut heads =
                vec!["write", "before each fdatasync", "files", "fdatasync/s", "writes/s", "p50 us", "p99 us"];
            heads.extend(wide.then_some(["max us", "samples"]).into_iter().flatten());
            let cells = |step: &StepRow| {
                let mut cells = vec![
                    bytes(step.write_bytes),
                    step.batch.to_string(),
                    step.files.to_string(),
                    count(step.syncs_per_s),
                    count(step.writes_per_s),
                    count(step.p50_us),
                    count(step.p99_us),
                ];
                cells.extend(wide.then(|| [count(step.max_us), count(step.samples)]).into_iter().flatten());
                cells
            };
            sections.push(Section::rows(&heads, disk.steps.iter().map(cells)));
        }
        sections
    }
}
