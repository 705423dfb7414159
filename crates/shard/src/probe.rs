//! What this machine allows, as plain facts for `doctor` and `serve`. Nothing here judges: a fact that cannot be found out
//! is `None`.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::getpid;

/// The kernel's version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// As `uname -r` prints it.
    pub release: String,
    /// Its first two numbers, for comparison: `(6, 1)`.
    pub version: (u32, u32),
}

/// The version of the running kernel.
///
/// # Errors
/// When uname(2) fails or prints no version.
pub fn kernel() -> io::Result<Kernel> {
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let version = parse_version(&release)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no kernel version: {release}")))?;
    Ok(Kernel { release, version })
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|symbol: char| !symbol.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Tries what a shard needs: a ring with its flags.
///
/// # Errors
/// When the kernel denies it; the message names the reason and the cure.
pub fn io_uring() -> io::Result<()> {
    crate::ring::builder().build(8).map(drop).map_err(uring_denied)
}

/// Whether cachestat(2) works (Linux 6.5, and not filtered).
#[must_use]
pub fn cachestat() -> bool {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    nix::sys::memfd::memfd_create(c"ringlog-probe", flags)
        .is_ok_and(|file| crate::file::cachestat(&file, 0, 4096).is_ok())
}

/// The kernel's identity of the mount that `path` is on, never used again while the machine runs (Linux 6.8). `None` on
/// older kernels, whose mount ids are reused.
///
/// # Errors
/// What statx(2) answers.
pub fn mount_id_unique(path: &Path) -> io::Result<Option<u64>> {
    let found = statx(path, libc::STATX_MNT_ID_UNIQUE)?;
    Ok((found.stx_mask & libc::STATX_MNT_ID_UNIQUE != 0).then_some(found.stx_mnt_id))
}

/// The sequence number that the kernel gave to the disk below `path` when it appeared (`diskseq`, Linux 5.15): another
/// disk under the same name has another one. `None` where there is no single disk (tmpfs, btrfs, network).
///
/// # Errors
/// When `path` cannot be examined.
pub fn disk_sequence(path: &Path) -> io::Result<Option<u64>> {
    let device = fs::metadata(path)?.dev();
    let device = PathBuf::from(format!("/sys/dev/block/{}:{}", libc::major(device), libc::minor(device)));
    let Ok(device) = fs::canonicalize(device) else { return Ok(None) };
    // A partition has none of its own: its disk is the folder above.
    let disk = if device.join("partition").exists() { device.join("..") } else { device };
    Ok(read_number(&disk.join("diskseq")))
}

/// This boot's random identity.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A resource limit of this process; `None` is unlimited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// What holds now.
    pub soft: Option<u64>,
    /// How far the process may raise it by itself.
    pub hard: Option<u64>,
}

/// Bytes of memory that may be locked (`ulimit -l`). Rings counted against it before Linux 5.12.
///
/// # Errors
/// What getrlimit(2) answers.
pub fn locked_memory_bytes() -> io::Result<Limit> {
    limit(Resource::RLIMIT_MEMLOCK)
}

/// File descriptors that may be open (`ulimit -n`).
///
/// # Errors
/// What getrlimit(2) answers.
pub fn open_files() -> io::Result<Limit> {
    limit(Resource::RLIMIT_NOFILE)
}

/// Raises the soft limit of open files to the hard one; returns what holds then.
///
/// # Errors
/// What getrlimit(2) or setrlimit(2) answers.
pub fn raise_open_files() -> io::Result<Limit> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    open_files()
}

fn limit(resource: Resource) -> io::Result<Limit> {
    let (soft, hard) = getrlimit(resource)?;
    let known = |value| (value != libc::RLIM_INFINITY).then_some(value);
    Ok(Limit { soft: known(soft), hard: known(hard) })
}

/// The file system that a path is on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSystem {
    /// As the kernel names it: `ext4`, `xfs`, `btrfs`, `tmpfs`, `overlay`.
    pub kind: String,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// What is mounted: a device, or a word.
    pub source: String,
    /// Options of the mount, then of the file system: `rw`, `noatime`, `data=ordered`.
    pub options: Vec<String>,
}

/// The file system that holds `path`, which need not exist yet.
///
/// # Errors
/// When neither the path nor a folder above it can be examined.
pub fn file_system(path: &Path) -> io::Result<FileSystem> {
    let mount = statx(&existing(path), libc::STATX_MNT_ID)?.stx_mnt_id;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    parse_mounts(&mounts)
        .find(|found| found.id == mount)
        .map(|found| found.file_system)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no mount holds {}", path.display())))
}

struct Mount {
    id: u64,
    /// The folder of the file system that is mounted; `/` unless only a part of it is.
    root: String,
    file_system: FileSystem,
}

/// Reads proc_pid_mountinfo(5): `25 24 0:23 / /dev/shm rw,relatime shared:7 - tmpfs tmpfs rw,size=24684096k` is mount
/// 25 below mount 24, folder `/` of device 0:23 at /dev/shm, options, optional words up to the dash, type, source, options.
fn parse_mounts(text: &str) -> impl Iterator<Item = Mount> {
    text.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ');
        let id = mount.next()?.parse().ok()?;
        let root = unescape(mount.nth(2)?);
        let mount_point = PathBuf::from(unescape(mount.next()?));
        let mut options: Vec<String> = mount.next()?.split(',').map(str::to_owned).collect();
        let mut file_system = file_system.split(' ');
        let kind = file_system.next()?.to_owned();
        let source = unescape(file_system.next()?);
        for option in file_system.next()?.split(',') {
            if !options.iter().any(|known| known == option) {
                options.push(option.to_owned());
            }
        }
        Some(Mount { id, root, file_system: FileSystem { kind, mount_point, source, options } })
    })
}

/// Undoes the octal escapes of mountinfo: `\\040` is a space.
fn unescape(word: &str) -> String {
    let mut parts = word.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(symbol) => {
                text.push(char::from(symbol));
                text.push_str(&part[3..]);
            }
            None => text.push_str(part),
        }
    }
    text
}

/// Bytes of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// What this process may still use.
    pub free_bytes: u64,
}

/// The space of the file system that holds `path`, which need not exist yet.
///
/// # Errors
/// What statvfs(3) answers.
pub fn space(path: &Path) -> io::Result<Space> {
    let found = nix::sys::statvfs::statvfs(&existing(path))?;
    Ok(Space {
        total_bytes: found.blocks() * found.fragment_size(),
        free_bytes: found.blocks_available() * found.fragment_size(),
    })
}

/// What the control group allows this process, the tightest of its own and all above it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cgroup {
    /// Thousandths of a CPU; `None` is no quota.
    pub cpu_quota_milli: Option<u64>,
    /// Bytes of memory, page cache included; `None` is no limit.
    pub memory_bytes_max: Option<u64>,
}

/// The control group's limits, of version 1 or 2, whichever has them.
#[must_use]
pub fn cgroup() -> Cgroup {
    cgroup_below(Path::new("/"))
}

/// [`cgroup`] of a machine whose `/` is at `root`.
fn cgroup_below(root: &Path) -> Cgroup {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut found = Cgroup::default();
    // | hierarchy:controllers:path |; version 2 is `0::path`.
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        for mount in parse_mounts(&mounts) {
            let options = &mount.file_system.options;
            let has =
                |name: &str| controllers.split(',').any(|one| one == name) && options.iter().any(|one| one == name);
            let unified = controllers.is_empty() && mount.file_system.kind == "cgroup2";
            let (cpu, memory) = match mount.file_system.kind.as_str() {
                "cgroup" => (has("cpu"), has("memory")),
                _ => (unified, unified),
            };
            if !cpu && !memory {
                continue;
            }
            let point = root.join(mount.file_system.mount_point.strip_prefix("/").unwrap_or(Path::new("")));
            // A container sees its own group as the root of the mount, or a path that it cannot see.
            let path = path.strip_prefix(&mount.root).unwrap_or(path).trim_start_matches('/');
            for folder in point.join(path).ancestors().take_while(|folder| folder.starts_with(&point)) {
                if cpu {
                    found.cpu_quota_milli = tighter(found.cpu_quota_milli, cpu_quota_milli(folder));
                }
                if memory {
                    found.memory_bytes_max = tighter(found.memory_bytes_max, memory_bytes_max(folder));
                }
            }
        }
    }
    found
}

fn tighter(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

/// Version 2: `cpu.max` holds `max 100000` or `150000 100000`, microseconds of quota and period. Version 1: two files,
/// where a quota of -1 is none.
fn cpu_quota_milli(folder: &Path) -> Option<u64> {
    let (quota, period) = match fs::read_to_string(folder.join("cpu.max")) {
        Ok(text) => {
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        }
        Err(_) => (read_number(&folder.join("cpu.cfs_quota_us"))?, read_number(&folder.join("cpu.cfs_period_us"))?),
    };
    u64::checked_div(u64::saturating_mul(quota, 1000), period)
}

/// Version 2: `memory.max`, a number or `max`. Version 1: `memory.limit_in_bytes`, a huge number if there is none.
fn memory_bytes_max(folder: &Path) -> Option<u64> {
    /// Version 1 rounds its "unlimited" of 2^63-1 down to a page, whatever its size: nothing real comes near.
    const UNLIMITED: u64 = 1 << 62;
    read_number(&folder.join("memory.max"))
        .or_else(|| read_number(&folder.join("memory.limit_in_bytes")))
        .filter(|&bytes| bytes < UNLIMITED)
}

/// The CPUs that this process may use, as its main thread sees them (shards pin only themselves).
///
/// # Errors
/// What sched_getaffinity(2) answers.
pub fn cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(getpid())?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

/// The kernel's clock source: `tsc` and `kvm-clock` are read without a system call, `hpet` and `acpi_pm` are slow.
#[must_use]
pub fn clock_source() -> Option<String> {
    let text = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource").ok()?;
    Some(text.trim().to_owned())
}

/// Bytes of the machine's memory.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// `path`, or the nearest folder above it that exists.
fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn statx(path: &Path, mask: libc::c_uint) -> io::Result<libc::statx> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: an all-zero statx is a valid value of that plain structure.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero and `found` is writable; both live over the call.
    let answer = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, mask, &raw mut found) };
    if answer == 0 { Ok(found) } else { Err(io::Error::last_os_error()) }
}

/// Rewords what the kernel answers to a ring, so that whoever runs the node knows the cure.
pub(crate) fn uring_denied(error: io::Error) -> io::Error {
    let cure = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => match read_number(Path::new("/proc/sys/kernel/io_uring_disabled")) {
            Some(2) => "io_uring is switched off for everybody: set sysctl kernel.io_uring_disabled=0",
            Some(1) => {
                "io_uring is switched off for ordinary users: set sysctl kernel.io_uring_disabled=0, or run in the group \
                 that sysctl kernel.io_uring_group names"
            }
            _ => {
                "io_uring is denied by a filter, as containers have: allow io_uring_setup, io_uring_enter and \
                 io_uring_register in the seccomp profile (Docker: --security-opt seccomp=<profile>)"
            }
        },
        Some(libc::ENOSYS) => "this kernel has no io_uring: Linux 6.1 or newer is needed",
        Some(libc::EINVAL) => "this kernel's io_uring is too old: Linux 6.1 or newer is needed",
        Some(libc::ENOMEM) => "the ring does not fit the locked-memory limit: raise it (`ulimit -l`, LimitMEMLOCK=)",
        Some(libc::EMFILE | libc::ENFILE) => "no file descriptors are left: raise the limit (`ulimit -n`)",
        _ => "io_uring cannot be used",
    };
    io::Error::new(error.kind(), format!("{cure} ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_answers_every_question() {
        let temporary = std::env::temp_dir();
        assert!(kernel().expect("a version").version >= (5, 0));
        io_uring().expect("the tests of this crate need it");
        assert_eq!(boot_id().expect("an id").len(), 36);
        assert!(open_files().expect("a limit").soft.is_none_or(|files| files > 0));
        locked_memory_bytes().expect("a limit");
        let raised = raise_open_files().expect("allowed");
        assert_eq!(raised.soft, raised.hard);
        assert!(!cpus().expect("a mask").is_empty());
        assert!(memory_bytes().expect("a size") > 1 << 20);
        let space = space(&temporary).expect("some");
        assert!(0 < space.free_bytes && space.free_bytes <= space.total_bytes);
        assert!(!file_system(&temporary).expect("one").kind.is_empty());
        assert_eq!(file_system(Path::new("/proc/self")).expect("one").kind, "proc");
        assert_eq!(disk_sequence(Path::new("/proc")).expect("there"), None);
        let missing = temporary.join("not/there/yet");
        assert_eq!(file_system(&missing).expect("the parent's"), file_system(&temporary).expect("one"));
        if kernel().expect("a version").version >= (6, 8) {
            let mount = mount_id_unique(&temporary).expect("there");
            assert!(mount.is_some());
            assert_ne!(mount, mount_id_unique(Path::new("/proc")).expect("there"));
        }
        if kernel().expect("a version").version >= (6, 5) {
            assert!(cachestat());
        }
    }

    #[test]
    fn versions_of_distributions_are_read() {
        assert_eq!(parse_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(parse_version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(parse_version("7.0-rc1"), Some((7, 0)));
        assert_eq!(parse_version("unknown"), None);
    }

    #[test]
    fn mounts_are_read_with_their_escapes() {
        let text = "36 35 98:0 /mnt1 /mnt\\040two rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n";
        let mount = parse_mounts(text).next().expect("one mount");
        assert_eq!((mount.id, mount.root.as_str()), (36, "/mnt1"));
        let expected = FileSystem {
            kind: "ext3".into(),
            mount_point: "/mnt two".into(),
            source: "/dev/root".into(),
            options: ["rw", "noatime", "errors=continue"].map(str::to_owned).into(),
        };
        assert_eq!(mount.file_system, expected);
        assert_eq!(parse_mounts("garbage\n1 2 3\n - \n").count(), 0);
    }

    /// Builds a machine of files, asks for its limits, removes it.
    fn check(files: &[(&str, &str)], expected: Cgroup) {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("shard-probe-{}-{number}", std::process::id()));
        for (path, contents) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, contents).expect("written");
        }
        let found = cgroup_below(&root);
        fs::remove_dir_all(root).expect("removed");
        assert_eq!(found, expected);
    }

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn cgroup_2_gives_the_tightest_of_all_levels() {
        check(
            &[
                ("proc/self/cgroup", "0::/a/b\n"),
                ("proc/self/mountinfo", UNIFIED),
                ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
                ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
                ("sys/fs/cgroup/a/memory.max", "4096\n"),
                ("sys/fs/cgroup/a/b/memory.max", "8192\n"),
            ],
            Cgroup { cpu_quota_milli: Some(1500), memory_bytes_max: Some(4096) },
        );
    }

    #[test]
    fn cgroup_1_without_limits_has_none() {
        check(
            &[
                ("proc/self/cgroup", "4:memory:/x\n2:cpu,cpuacct:/x\n1:name=systemd:/x\n"),
                (
                    "proc/self/mountinfo",
                    "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                     32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
                ),
                ("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n"),
                ("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"),
                ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n"),
            ],
            Cgroup::default(),
        );
    }

    /// In a container of version 1 the group's path is the host's, and its folder is the root of the mount.
    #[test]
    fn cgroup_1_of_a_container_is_found_at_the_root_of_the_mount() {
        check(
            &[
                ("proc/self/cgroup", "4:memory:/docker/42\n2:cpu:/docker/42\n"),
                (
                    "proc/self/mountinfo",
                    "31 30 0:27 /docker/42 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n\
                     32 30 0:28 /docker/42 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
                ),
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
            ],
            Cgroup { cpu_quota_milli: Some(500), memory_bytes_max: Some(1 << 30) },
        );
    }

    #[test]
    fn no_cgroup_at_all_has_no_limits() {
        check(&[("proc/self/cgroup", "")], Cgroup::default());
    }

    #[test]
    fn denied_ring_names_the_cure_and_the_cause() {
        for (errno, cure) in [(libc::EPERM, "seccomp"), (libc::ENOSYS, "6.1"), (libc::ENOMEM, "ulimit -l")] {
            let text = uring_denied(io::Error::from_raw_os_error(errno)).to_string();
            assert!(text.contains(cure) && text.contains("os error"), "{text}");
        }
    }
}
