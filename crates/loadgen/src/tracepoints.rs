//! What the kernel counts of a process at its tracepoints: system calls, and syncs of files, whoever asks for them.
//!
//! `/proc` counts calls of read(2) and write(2) and their kind: neither what goes through io_uring, nor epoll, nor fsync. A
//! broker that does the same work with fewer calls shows here, and one that tells nothing of its syncs (Kafka) shows them.
//! A call counted costs the broker some 30 ns, a sync nothing that shows; what is not counted costs nothing.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::{Add, Sub};

use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::preflight;

/// Where distributions mount tracefs.
const TRACEFS: &str = "/sys/kernel/tracing";

/// A system call begins.
const CALLS: &[&str] = &["raw_syscalls/sys_enter"];

/// A file is synced: by fsync, fdatasync, msync, a write with `O_DSYNC`, or the same through io_uring. Each file system has its
/// own, and those that the kernel does not know have no files either.
const SYNCS: &[&str] =
    &["ext4/ext4_sync_file_enter", "xfs/xfs_file_fsync", "btrfs/btrfs_sync_file", "f2fs/f2fs_sync_file_enter"];

/// Whether files of this file system, as `/proc/mounts` names it, show when they are synced.
pub(crate) fn tells_of_syncs(file_system: &str) -> bool {
    SYNCS.iter().any(|name| name.split('/').next() == Some(file_system))
}

/// Counts what the threads of one process do, from now on; those that they start count too.
#[derive(Debug)]
pub(crate) struct Tracepoints {
    calls: Vec<Counter>,
    syncs: Vec<Counter>,
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) system_calls: u64,
    pub(crate) file_syncs: u64,
}

impl Add for Counted {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let Self { system_calls, file_syncs } = other;
        Self { system_calls: self.system_calls + system_calls, file_syncs: self.file_syncs + file_syncs }
    }
}

impl Sub for Counted {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            system_calls: self.system_calls.saturating_sub(earlier.system_calls),
            file_syncs: self.file_syncs.saturating_sub(earlier.file_syncs),
        }
    }
}

impl Tracepoints {
    /// # Errors
    /// The kernel does not let this user count (it takes `CAP_PERFMON`, and `CAP_SYS_ADMIN` where tracefs is not mounted),
    /// has no tracepoints, or there is no such process.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let threads: Vec<i32> = fs::read_dir(format!("/proc/{pid}/task"))?
            .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        // Each thread takes some: three Kafkas have more than the usual soft limit of 1,024 allows.
        preflight::raise_descriptors();
        let tracefs = tracefs()?;
        let count = |name: &str| -> io::Result<Vec<Counter>> {
            let event = Tracepoint::with_id(id(&tracefs, name)?);
            let mut counters = Vec::with_capacity(threads.len());
            for thread in &threads {
                let mut builder = Builder::new(event);
                match builder.observe_pid(*thread).inherit(true).include_kernel().enabled(true).build() {
                    Ok(counter) => counters.push(counter),
                    // It has ended meanwhile.
                    Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(counters)
        };
        let all = |names: &[&str]| -> io::Result<Vec<Counter>> {
            let mut counters = Vec::new();
            for name in names {
                match count(name) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    counted => counters.extend(counted?),
                }
            }
            match counters.is_empty() {
                true => Err(io::Error::new(io::ErrorKind::NotFound, format!("the kernel has none of {names:?}"))),
                false => Ok(counters),
            }
        };
        Ok(Self { calls: all(CALLS)?, syncs: all(SYNCS)? })
    }

    /// What was counted so far, also of threads and processes that have ended.
    pub(crate) fn read(&mut self) -> io::Result<Counted> {
        let sum = |counters: &mut Vec<Counter>| counters.iter_mut().map(Counter::read).sum::<io::Result<u64>>();
        Ok(Counted { system_calls: sum(&mut self.calls)?, file_syncs: sum(&mut self.syncs)? })
    }
}

/// The root folder of tracefs: where it is mounted, or else mounted here, for nobody else to see.
fn tracefs() -> io::Result<File> {
    match File::open(TRACEFS) {
        Ok(folder) if id(&folder, CALLS[0]).is_ok() => return Ok(folder),
        _ => {}
    }
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?.into())
}

/// The number of a tracepoint, by its folder under `events`.
fn id(tracefs: &File, name: &str) -> io::Result<u64> {
    let file = openat(tracefs, format!("events/{name}/id"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    File::from(file).read_to_string(&mut text)?;
    text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("the id of {name}: {text:?}")))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// `CAP_SYS_ADMIN` may count, on every kernel that the project runs on.
    fn may_count() -> bool {
        let status = fs::read_to_string("/proc/self/status").expect("readable");
        let capabilities =
            status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("every process has some");
        u64::from_str_radix(capabilities.trim(), 16).expect("hexadecimal") & 1 << 21 != 0
    }

    #[test]
    fn what_a_process_does_is_counted() {
        if !may_count() {
            assert!(Tracepoints::of(std::process::id() as i32).is_err());
            return;
        }
        let file = std::env::temp_dir().join(format!("ringlog-tracepoints-{}", std::process::id()));
        // It waits for a line, so that all of its work is counted.
        let script = r#"read -r _; dd if=/dev/zero of="$1" bs=512 count=1000 oflag=dsync status=none; read -r _"#;
        let mut child =
            Command::new("sh").args(["-c", script, "sh"]).arg(&file).stdin(Stdio::piped()).spawn().expect("a shell");
        let mut input = child.stdin.take().expect("piped");
        let mut counters = Tracepoints::of(child.id() as i32).expect("root may count");
        let before = counters.read().expect("readable");
        assert_eq!(before.file_syncs, 0);
        input.write_all(b"\n").expect("written");
        while counters.read().expect("readable").system_calls < before.system_calls + 2000 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        drop(input);
        child.wait().expect("ended");
        let after = counters.read().expect("also of a process that has ended");
        // dd reads and writes a thousand times, and a shell does not do much.
        let calls = after.system_calls - before.system_calls;
        assert!((2000..4000).contains(&calls), "{after:?}");
        let is_tmpfs = Command::new("stat").args(["-f", "-c", "%T"]).arg(&file).output().expect("stat").stdout;
        if !is_tmpfs.starts_with(b"tmpfs") {
            assert_eq!(after.file_syncs, 1000, "{after:?}");
        }
        fs::remove_file(&file).expect("removed");
        assert!(Tracepoints::of(i32::MAX).is_err());
    }
}
