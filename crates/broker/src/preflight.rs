//! Whether this machine can run a node well, and what to change if not: the judgement behind `ringlog doctor` and the
//! first thing `ringlog serve` does.
//!
//! [`facts`] asks the kernel, [`judge`] decides: pure, so that every finding has a test with the machine that earns it.

use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::PathBuf;

use shard::probe::{self, FileSystem, Limit, Space};
use types::Timestamp;

use crate::config::Config;

/// The oldest kernel that a node runs on.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// The first kernel whose mounts have an identity that is never used again.
const KERNEL_MOUNT_IDENTITY: (u32, u32) = (6, 8);
/// Open files below which a node with many partitions and clients closes and opens files all the time.
const OPEN_FILES_WELL: u64 = 65_536;
/// 2024-01-01: a clock before this was never set.
const CLOCK_PLAUSIBLE: Timestamp = Timestamp::from_millis(1_704_067_200_000);

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Works; good to know.
    Note,
    /// Works, at a price that most people would not pay.
    Warning,
    /// A node does not start, or must not.
    Refusal,
}

impl Severity {
    /// One lower-case word, also in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Refusal => "refusal",
        }
    }
}

/// One thing looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What was looked at; stable, for scripts.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do about it; `None` when nothing need be done.
    pub cure: Option<String>,
}

/// What [`facts`] found out about a log directory.
#[derive(Debug)]
pub struct LogDirFacts {
    /// As configured.
    pub path: PathBuf,
    /// What it lies on.
    pub file_system: io::Result<FileSystem>,
    /// How much room is there.
    pub space: io::Result<Space>,
    /// Whether the mount's identity can be told from any other's.
    pub mount_identity: bool,
}

/// What the machine is, as far as a node cares.
#[derive(Debug)]
pub struct Facts {
    /// The kernel's release and version.
    pub kernel: io::Result<probe::Kernel>,
    /// Whether a ring can be made.
    pub io_uring: io::Result<()>,
    /// Whether cachestat(2) works.
    pub cachestat: bool,
    /// Memory that may be locked.
    pub locked_memory: io::Result<Limit>,
    /// Files that may be open.
    pub open_files: io::Result<Limit>,
    /// CPUs in the affinity mask.
    pub cpus: usize,
    /// The cgroup's limits.
    pub cgroup: probe::Cgroup,
    /// The machine's memory.
    pub memory_bytes: Option<u64>,
    /// The wall clock.
    pub wall: Timestamp,
    /// Where the kernel reads time.
    pub clock_source: Option<String>,
    /// Each log directory.
    pub log_dirs: Vec<LogDirFacts>,
    /// Addresses that cannot be bound just now, with the reason.
    pub ports_taken: Vec<(String, String)>,
}

/// Asks the kernel everything. Binds the listeners' ports for a moment if `with_ports`.
#[must_use]
pub fn facts(config: &Config, with_ports: bool) -> Facts {
    let log_dirs = config.log_dirs.iter().map(|path| LogDirFacts {
        path: path.clone(),
        file_system: probe::file_system(path),
        space: probe::space(path),
        mount_identity: probe::mount_id_unique(&existing(path)).is_ok_and(|id| id.is_some()),
    });
    Facts {
        kernel: probe::kernel(),
        io_uring: probe::io_uring(),
        cachestat: probe::cachestat(),
        locked_memory: probe::locked_memory_bytes(),
        open_files: probe::open_files(),
        cpus: probe::cpus().map_or(1, |cpus| cpus.len()),
        cgroup: probe::cgroup(),
        memory_bytes: probe::memory_bytes(),
        wall: shard::clock::read().wall,
        clock_source: probe::clock_source(),
        log_dirs: log_dirs.collect(),
        ports_taken: if with_ports { ports_taken(config) } else { Vec::new() },
    }
}

/// `path`, or the nearest folder above it that exists: a log directory is made at the first start.
fn existing(path: &std::path::Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.ancestors().find(|folder| folder.exists()).map_or(absolute.clone(), std::path::Path::to_owned)
}

fn ports_taken(config: &Config) -> Vec<(String, String)> {
    let clients = config.listeners.iter().map(|listener| {
        let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
        (host.to_owned(), listener.port)
    });
    let http = config.http_listener.iter().filter_map(|address| {
        let (host, port) = address.rsplit_once(':')?;
        Some((host.to_owned(), port.parse().ok()?))
    });
    let taken = clients.chain(http).filter_map(|(host, port)| {
        let bound = (host.as_str(), port).to_socket_addrs().and_then(|mut addresses| {
            let address = addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
            TcpListener::bind(address)
        });
        bound.err().map(|error| (format!("{host}:{port}"), error.to_string()))
    });
    taken.collect()
}

/// How many shards a node would have here: one for each CPU, capped by the cgroup's quota, unless configured.
#[must_use]
pub fn shard_count(config: &Config, facts: &Facts) -> u16 {
    let quota = facts.cgroup.cpu_quota_milli.map_or(u64::MAX, |milli| milli.div_ceil(1000));
    let cpus = (facts.cpus as u64).min(quota).clamp(1, 1024);
    config.shards.unwrap_or(u16::try_from(cpus).unwrap_or(1024))
}

/// Memory that the node may count on: the machine's or its cgroup's.
#[must_use]
pub fn memory_bytes(facts: &Facts) -> u64 {
    let machine = facts.memory_bytes.unwrap_or(u64::MAX);
    facts.cgroup.memory_bytes_max.unwrap_or(u64::MAX).min(machine)
}

/// Every finding, in the order of the checks.
#[must_use]
pub fn judge(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |check, severity, found: String, cure: Option<&str>| {
        findings.push(Finding { check, severity, found, cure: cure.map(str::to_owned) });
    };

    match &facts.kernel {
        Ok(kernel) if kernel.version < KERNEL_MIN => {
            find("kernel", Severity::Refusal, format!("Linux {}", kernel.release), Some("run Linux 6.1 or newer"));
        }
        Ok(kernel) => find("kernel", Severity::Ok, format!("Linux {}", kernel.release), None),
        Err(error) => {
            find("kernel", Severity::Refusal, format!("cannot be told: {error}"), Some("run Linux 6.1 or newer"));
        }
    }
    match &facts.io_uring {
        Ok(()) => find("io_uring", Severity::Ok, "allowed".to_owned(), None),
        // The probe's own words name the reason and the cure.
        Err(error) => find("io_uring", Severity::Refusal, "cannot be used".to_owned(), Some(&error.to_string())),
    }
    if facts.cachestat {
        find("cachestat", Severity::Ok, "works".to_owned(), None);
    } else {
        let found = "missing (Linux 6.5): cold pages are found by preadv2(RWF_NOWAIT) instead";
        find("cachestat", Severity::Note, found.to_owned(), None);
    }
    judge_limits(facts, &mut find);
    judge_machine(config, facts, &mut find);
    for dir in &facts.log_dirs {
        judge_log_dir(config, facts, dir, &mut find);
    }
    for (address, reason) in &facts.ports_taken {
        let cure = "stop what listens there (a node already?), or change listeners or ringlog.http.listener";
        find("port", Severity::Warning, format!("{address} cannot be bound: {reason}"), Some(cure));
    }
    findings
}

type Find<'a> = dyn FnMut(&'static str, Severity, String, Option<&str>) + 'a;

fn judge_limits(facts: &Facts, find: &mut Find<'_>) {
    match &facts.locked_memory {
        // From Linux 5.12 rings count against the cgroup's memory instead.
        Ok(limit) => find("memlock", Severity::Ok, format!("{}; rings do not need it", bytes_or(limit.soft)), None),
        Err(error) => find("memlock", Severity::Note, format!("cannot be told: {error}"), None),
    }
    match &facts.open_files {
        Ok(Limit { hard: Some(hard), .. }) if *hard < OPEN_FILES_WELL => find(
            "open_files",
            Severity::Warning,
            format!("at most {hard}: thousands of partitions or connections will run out"),
            Some("raise the hard limit: LimitNOFILE=1048576 in a systemd unit, --ulimit nofile=1048576 in Docker"),
        ),
        Ok(limit) => {
            let hard = limit.hard.map_or_else(|| "unlimited".to_owned(), |hard| hard.to_string());
            find("open_files", Severity::Ok, format!("up to {hard}; a node raises its own limit to that"), None);
        }
        Err(error) => find("open_files", Severity::Note, format!("cannot be told: {error}"), None),
    }
}

fn judge_machine(config: &Config, facts: &Facts, find: &mut Find<'_>) {
    let shards = shard_count(config, facts);
    let cpus = facts.cpus;
    let quota = facts.cgroup.cpu_quota_milli;
    let quota_text =
        quota.map_or(String::new(), |milli| format!(", quota of {}.{:03} CPUs", milli / 1000, milli % 1000));
    let found = format!("{shards} shards on {cpus} CPUs{quota_text}");
    if usize::from(shards) > cpus {
        let cure = "lower ringlog.shards: shards that share a CPU wait for each other";
        find("cpus", Severity::Warning, found, Some(cure));
    } else if quota.is_some_and(|milli| milli < 1000 * u64::from(shards)) {
        let cure =
            "raise the quota to whole CPUs: a throttled shard stops everything it holds for tens of milliseconds";
        find("cpus", Severity::Warning, found, Some(cure));
    } else {
        find("cpus", Severity::Ok, found, None);
    }

    let memory = memory_bytes(facts);
    let budget = config.memory_budget_bytes(memory);
    let found = format!("{} of {} for requests and replies under way", human(budget), human(memory));
    if budget > memory / 2 {
        let cure = "lower ringlog.memory.max.bytes: the page cache, which reads are served from, needs the rest";
        find("memory", Severity::Warning, found, Some(cure));
    } else {
        find("memory", Severity::Ok, found, None);
    }

    if facts.wall < CLOCK_PLAUSIBLE {
        let cure = "set the clock, and keep it set by NTP: retention and records' times follow it";
        find("clock", Severity::Warning, "stands before the year 2024".to_owned(), Some(cure));
    } else {
        match facts.clock_source.as_deref() {
            Some(source @ ("hpet" | "acpi_pm" | "jiffies")) => {
                let cure = "find out why the kernel gave up the TSC (dmesg | grep -i tsc): each look at the clock is a system call";
                find("clock", Severity::Warning, format!("is read from {source}"), Some(cure));
            }
            Some(source) => find("clock", Severity::Ok, format!("is read from {source}"), None),
            None => find("clock", Severity::Note, "its source cannot be told".to_owned(), None),
        }
    }
}

fn judge_log_dir(config: &Config, facts: &Facts, dir: &LogDirFacts, find: &mut Find<'_>) {
    let path = dir.path.display();
    match &dir.file_system {
        Ok(file_system) => {
            let (severity, remark, cure) = judge_file_system(file_system);
            let at = file_system.mount_point.display();
            find("file_system", severity, format!("{path}: {} at {at}{remark}", file_system.kind), cure);
            let has = |option: &str| file_system.options.iter().any(|one| one == option);
            if has("ro") {
                find("mount", Severity::Refusal, format!("{path}: mounted read-only"), Some("mount it read-write"));
            }
            if let Some(option) = ["nobarrier", "barrier=0", "data=writeback"].into_iter().find(|option| has(option)) {
                let cure = "mount without it: what was synced may be lost or stale after a power cut";
                find("mount", Severity::Warning, format!("{path}: mounted with {option}"), Some(cure));
            } else if !has("noatime") && !has("relatime") {
                let cure = "mount with noatime: every read writes a time now";
                find("mount", Severity::Warning, format!("{path}: mounted with strictatime"), Some(cure));
            } else if !has("ro") {
                find("mount", Severity::Ok, format!("{path}: {}", file_system.options.join(",")), None);
            }
        }
        Err(error) => find(
            "file_system",
            Severity::Warning,
            format!("{path}: cannot be told: {error}"),
            Some("check that the path can be reached by this user"),
        ),
    }
    match &dir.space {
        Ok(space) => {
            let reserve = config.disk_reserve_for(space.total_bytes);
            let found = format!("{path}: {} free of {}", human(space.free_bytes), human(space.total_bytes));
            if space.free_bytes < reserve {
                let found = format!("{found}, below the reserve of {}: produce would be refused", human(reserve));
                find("space", Severity::Warning, found, Some("free some, or lower ringlog.disk.reserve.bytes"));
            } else {
                find("space", Severity::Ok, format!("{found}, reserve {}", human(reserve)), None);
            }
        }
        Err(error) => find("space", Severity::Note, format!("{path}: cannot be told: {error}"), None),
    }
    if !dir.mount_identity {
        let old = facts.kernel.as_ref().is_ok_and(|kernel| kernel.version < KERNEL_MOUNT_IDENTITY);
        let why = if old { " (Linux 6.8)" } else { "" };
        let found = format!(
            "{path}: the mount cannot be told from another{why}, so a killed process is treated like a power cut at restart"
        );
        find("mount_identity", Severity::Note, found, None);
    }
}

fn judge_file_system(file_system: &FileSystem) -> (Severity, &'static str, Option<&'static str>) {
    match file_system.kind.as_str() {
        "xfs" | "btrfs" => (Severity::Ok, ", ring writes run in place", None),
        "ext4" => (Severity::Ok, ", ring writes take a kernel worker (XFS does without)", None),
        "tmpfs" | "ramfs" => (
            Severity::Warning,
            ": in memory, gone at a reboot",
            Some("use it for trials only; point log.dirs at a disk"),
        ),
        "overlay" | "aufs" => (
            Severity::Warning,
            ": a container's own layer, gone with the container",
            Some("mount a volume and point log.dirs at it"),
        ),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "virtiofs" => (
            Severity::Warning,
            ": a network file system, whose syncs and locks may not be what they seem",
            Some("use a local disk"),
        ),
        kind if kind.starts_with("fuse") => {
            (Severity::Warning, ": a file system in user space, slow and perhaps unsafe", Some("use a local disk"))
        }
        _ => (Severity::Note, ", which nobody has measured", None),
    }
}

fn bytes_or(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unlimited".to_owned(), human)
}

/// Bytes for people: three digits and a binary unit.
#[must_use]
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut whole = bytes;
    let mut rest = 0;
    while whole >= 1024 && unit < UNITS.len() {
        rest = whole % 1024;
        whole /= 1024;
        unit += 1;
    }
    let unit = UNITS[unit - 1];
    if whole >= 10 { format!("{whole} {unit}") } else { format!("{whole}.{} {unit}", rest * 10 / 1024) }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::config::{Dynamic, RawConfig};

    /// A machine on which everything is as it should be.
    fn good() -> Facts {
        Facts {
            kernel: Ok(probe::Kernel { release: "6.12.1".into(), version: (6, 12) }),
            io_uring: Ok(()),
            cachestat: true,
            locked_memory: Ok(Limit { soft: Some(8 << 20), hard: Some(8 << 20) }),
            open_files: Ok(Limit { soft: Some(1024), hard: Some(1 << 20) }),
            cpus: 4,
            cgroup: probe::Cgroup::default(),
            memory_bytes: Some(8 << 30),
            wall: Timestamp::from_millis(1_790_000_000_000),
            clock_source: Some("tsc".into()),
            log_dirs: vec![LogDirFacts {
                path: "data".into(),
                file_system: Ok(on("xfs", "rw,noatime")),
                space: Ok(Space { total_bytes: 100 << 30, free_bytes: 50 << 30 }),
                mount_identity: true,
            }],
            ports_taken: Vec::new(),
        }
    }

    fn on(kind: &str, options: &str) -> FileSystem {
        FileSystem {
            kind: kind.into(),
            mount_point: "/mnt".into(),
            source: "/dev/sda1".into(),
            options: options.split(',').map(str::to_owned).collect(),
        }
    }

    /// Prints what is not ok.
    fn check(facts: &Facts, expected: Expect) {
        let findings = judge(&Config::embedded(), facts);
        let lines = findings.iter().filter(|finding| finding.severity > Severity::Ok).map(|finding| {
            let cure = finding.cure.as_deref().map_or(String::new(), |cure| format!(" -> {cure}"));
            format!("{} {}: {}{cure}\n", finding.severity.word(), finding.check, finding.found)
        });
        expected.assert_eq(&lines.collect::<String>());
    }

    #[test]
    fn a_good_machine_has_every_check_ok() {
        let findings = judge(&Config::embedded(), &good());
        let lines = findings.iter().map(|finding| format!("{} {}\n", finding.check, finding.found));
        expect![[r#"
            kernel Linux 6.12.1
            io_uring allowed
            cachestat works
            memlock 8.0 MiB; rings do not need it
            open_files up to 1048576; a node raises its own limit to that
            cpus 4 shards on 4 CPUs
            memory 1.0 GiB of 8.0 GiB for requests and replies under way
            clock is read from tsc
            file_system data: xfs at /mnt, ring writes run in place
            mount data: rw,noatime
            space data: 50 GiB free of 100 GiB, reserve 1.0 GiB
        "#]]
        .assert_eq(&lines.collect::<String>());
        assert!(findings.iter().all(|finding| finding.severity == Severity::Ok && finding.cure.is_none()));
    }

    #[test]
    fn an_old_kernel_without_io_uring_is_refused_with_the_cure() {
        let kernel = probe::Kernel { release: "5.15.0-91".into(), version: (5, 15) };
        let facts = Facts {
            kernel: Ok(kernel),
            io_uring: Err(io::Error::other("the kernel denies io_uring: set sysctl kernel.io_uring_disabled=0")),
            cachestat: false,
            ..good()
        };
        check(
            &facts,
            expect![[r#"
                refusal kernel: Linux 5.15.0-91 -> run Linux 6.1 or newer
                refusal io_uring: cannot be used -> the kernel denies io_uring: set sysctl kernel.io_uring_disabled=0
                note cachestat: missing (Linux 6.5): cold pages are found by preadv2(RWF_NOWAIT) instead
            "#]],
        );
    }

    #[test]
    fn a_small_container_is_warned_about_limits() {
        let facts = Facts {
            open_files: Ok(Limit { soft: Some(1024), hard: Some(4096) }),
            cgroup: probe::Cgroup { cpu_quota_milli: Some(1500), memory_bytes_max: Some(96 << 20) },
            clock_source: Some("hpet".into()),
            ports_taken: vec![("127.0.0.1:9092".into(), "address in use".into())],
            ..good()
        };
        check(
            &facts,
            expect![[r#"
            warning open_files: at most 4096: thousands of partitions or connections will run out -> raise the hard limit: LimitNOFILE=1048576 in a systemd unit, --ulimit nofile=1048576 in Docker
            warning cpus: 2 shards on 4 CPUs, quota of 1.500 CPUs -> raise the quota to whole CPUs: a throttled shard stops everything it holds for tens of milliseconds
            warning memory: 64 MiB of 96 MiB for requests and replies under way -> lower ringlog.memory.max.bytes: the page cache, which reads are served from, needs the rest
            warning clock: is read from hpet -> find out why the kernel gave up the TSC (dmesg | grep -i tsc): each look at the clock is a system call
            warning port: 127.0.0.1:9092 cannot be bound: address in use -> stop what listens there (a node already?), or change listeners or ringlog.http.listener
        "#]],
        );
    }

    #[test]
    fn log_directories_that_lose_data_are_warned_about() {
        let dir = |path: &str, kind: &str, options: &str, free_bytes: u64| LogDirFacts {
            path: path.into(),
            file_system: Ok(on(kind, options)),
            space: Ok(Space { total_bytes: 100 << 30, free_bytes }),
            mount_identity: path != "old",
        };
        let facts = Facts {
            wall: Timestamp::from_millis(0),
            log_dirs: vec![
                dir("ram", "tmpfs", "rw,relatime", 50 << 30),
                dir("layer", "overlay", "rw,relatime", 50 << 30),
                dir("net", "nfs4", "rw,relatime", 50 << 30),
                dir("user", "fuse.sshfs", "rw,relatime", 50 << 30),
                dir("strange", "zfs", "rw,relatime", 50 << 30),
                dir("full", "ext4", "rw,relatime", 1 << 20),
                dir("read-only", "ext4", "ro,relatime", 50 << 30),
                dir("risky", "ext4", "rw,relatime,nobarrier", 50 << 30),
                dir("strict", "ext4", "rw", 50 << 30),
                dir("old", "ext4", "rw,noatime", 50 << 30),
            ],
            ..good()
        };
        check(
            &facts,
            expect![[r#"
            warning clock: stands before the year 2024 -> set the clock, and keep it set by NTP: retention and records' times follow it
            warning file_system: ram: tmpfs at /mnt: in memory, gone at a reboot -> use it for trials only; point log.dirs at a disk
            warning file_system: layer: overlay at /mnt: a container's own layer, gone with the container -> mount a volume and point log.dirs at it
            warning file_system: net: nfs4 at /mnt: a network file system, whose syncs and locks may not be what they seem -> use a local disk
            warning file_system: user: fuse.sshfs at /mnt: a file system in user space, slow and perhaps unsafe -> use a local disk
            note file_system: strange: zfs at /mnt, which nobody has measured
            warning space: full: 1.0 MiB free of 100 GiB, below the reserve of 1.0 GiB: produce would be refused -> free some, or lower ringlog.disk.reserve.bytes
            refusal mount: read-only: mounted read-only -> mount it read-write
            warning mount: risky: mounted with nobarrier -> mount without it: what was synced may be lost or stale after a power cut
            warning mount: strict: mounted with strictatime -> mount with noatime: every read writes a time now
            note mount_identity: old: the mount cannot be told from another, so a killed process is treated like a power cut at restart
        "#]],
        );
    }

    #[test]
    fn more_shards_than_cpus_are_warned_about() {
        let mut raw = RawConfig::new();
        raw.read_override("ringlog.shards=16").expect("well formed");
        let config = Config::prove(raw, Dynamic::NONE).expect("valid");
        let findings = judge(&config, &good());
        assert!(findings.iter().any(|finding| finding.check == "cpus" && finding.severity == Severity::Warning));
    }

    #[test]
    fn shards_follow_cpus_then_quota_then_the_setting() {
        let config = Config::embedded();
        assert_eq!(shard_count(&config, &good()), 4);
        let quota = |milli| probe::Cgroup { cpu_quota_milli: Some(milli), memory_bytes_max: None };
        assert_eq!(shard_count(&config, &Facts { cgroup: quota(1500), ..good() }), 2);
        assert_eq!(shard_count(&config, &Facts { cgroup: quota(100), ..good() }), 1);
    }

    #[test]
    fn this_machine_is_judged_and_a_taken_port_is_found() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let mut raw = RawConfig::new();
        raw.read_override(&format!("listeners=PLAINTEXT://127.0.0.1:{port}")).expect("well formed");
        raw.read_override("ringlog.http.listener=").expect("well formed");
        let config = Config::prove(raw, Dynamic::NONE).expect("valid");
        let facts = facts(&config, true);
        assert_eq!(facts.ports_taken.len(), 1, "{:?}", facts.ports_taken);
        assert!(judge(&config, &facts).iter().any(|finding| finding.check == "kernel"));
    }

    #[test]
    fn bytes_are_printed_in_binary_units() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64 MiB"), (u64::MAX, "15 EiB")]
        {
            assert_eq!(human(bytes), text);
        }
    }
}
