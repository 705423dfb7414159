//! What a result was measured on. A number without its machine is a rumour.
//!
//! Everything is read from `/proc` and `/sys`; what cannot be read is absent, never guessed. The host's name is left out:
//! results are published.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// A machine, as far as it matters to a log node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub cpu_model: String,
    /// Logical CPUs that are online.
    pub cpus: u32,
    /// Logical CPUs that share one core; 1 is no SMT.
    pub threads_per_core: Option<u32>,
    /// NUMA nodes.
    pub numa_nodes: Option<u32>,
    /// Frequency governor of CPU 0; absent where the host decides.
    pub cpu_governor: Option<String>,
    /// Whether the processor says that it runs under a hypervisor.
    pub is_virtual: bool,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Limit of the cgroup, where there is one.
    pub memory_limit_bytes: Option<u64>,
    /// Kernel release.
    pub kernel: String,
    /// Name and version of the distribution.
    pub os: String,
    /// Writeback settings of the kernel that shape tails.
    pub vm: BTreeMap<String, i64>,
    /// Load of the last minute at the start, times 100: what else ran.
    pub load_1m_percent: Option<u32>,
    /// Versions of programs that took part.
    pub versions: BTreeMap<String, String>,
}

/// The file system under a folder, and the disk under that.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Storage {
    /// The folder that was asked about.
    pub path: String,
    /// `ext4`, `xfs`, `tmpfs`.
    pub file_system: String,
    /// As mounted.
    pub mount_options: String,
    /// The device that is mounted.
    pub device: String,
    /// The disk's model or kind, with the file behind a loop device.
    pub disk: Option<String>,
    /// Whether it spins; virtual disks often claim so.
    pub is_rotational: Option<bool>,
    /// I/O scheduler in use.
    pub scheduler: Option<String>,
    /// Size of the file system.
    pub size_bytes: Option<u64>,
    /// Room on it at the start.
    pub free_bytes: Option<u64>,
}

impl Machine {
    /// Looks at this machine.
    #[must_use]
    pub fn look() -> Self {
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            cpuinfo.lines().find_map(|line| line.strip_prefix(name)?.split_once(':').map(|(_, value)| value.trim()))
        };
        let siblings = field("siblings").and_then(|text| text.parse::<u32>().ok());
        let cores = field("cpu cores").and_then(|text| text.parse::<u32>().ok());
        let is_virtual = field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
        let vm = ["dirty_ratio", "dirty_background_ratio", "dirty_bytes", "dirty_background_bytes", "swappiness"];
        Self {
            cpu_model: field("model name").unwrap_or("unknown").to_owned(),
            cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count() as u32,
            threads_per_core: siblings.zip(cores).filter(|(_, cores)| *cores > 0).map(|(all, cores)| all / cores),
            numa_nodes: fs::read_dir("/sys/devices/system/node").ok().map(|found| {
                let is_node = |name: &str| name.strip_prefix("node").is_some_and(|rest| rest.parse::<u32>().is_ok());
                found.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_node)).count() as u32
            }),
            cpu_governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            is_virtual,
            memory_bytes: meminfo_bytes("MemTotal:").unwrap_or(0),
            memory_limit_bytes: read("/sys/fs/cgroup/memory.max").and_then(|text| text.parse().ok()),
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            os: read("/etc/os-release").as_deref().and_then(os_name).unwrap_or_else(|| "unknown".to_owned()),
            vm: vm
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), read(&format!("/proc/sys/vm/{name}"))?.parse().ok()?)))
                .collect(),
            load_1m_percent: read("/proc/loadavg")
                .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
                .map(|load| (load * 100.0) as u32),
            versions: BTreeMap::new(),
        }
    }

    /// One line for the head of a report.
    #[must_use]
    pub fn line(&self) -> String {
        let virtual_machine = if self.is_virtual { ", virtual machine" } else { "" };
        let governor = self.cpu_governor.as_ref().map(|name| format!(", governor {name}")).unwrap_or_default();
        format!(
            "{} ({} CPUs{virtual_machine}{governor}), {} GiB memory, Linux {}",
            self.cpu_model,
            self.cpus,
            self.memory_bytes >> 30,
            self.kernel
        )
    }
}

impl Storage {
    /// Looks at what lies under a folder that exists.
    #[must_use]
    pub fn look(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let mut storage = read("/proc/self/mounts").and_then(|mounts| mount_of(&mounts, &path)).unwrap_or_default();
        storage.path = path.display().to_string();
        if let Ok(stat) = nix::sys::statvfs::statvfs(&path) {
            let block = stat.fragment_size();
            storage.size_bytes = Some(stat.blocks() * block);
            storage.free_bytes = Some(stat.blocks_available() * block);
        }
        if let Some(name) = storage.device.strip_prefix("/dev/") {
            let queue = |file: &str| block_file(name, &format!("queue/{file}"));
            storage.is_rotational = queue("rotational").map(|text| text == "1");
            // The one in use stands in brackets.
            storage.scheduler = queue("scheduler").map(|text| match text.split_once('[') {
                Some((_, rest)) => rest.split(']').next().unwrap_or(rest).to_owned(),
                None => text,
            });
            storage.disk = block_file(name, "device/model")
                .or_else(|| block_file(name, "loop/backing_file").map(|file| loop_text(&file)))
                .or_else(|| name.starts_with("vd").then(|| "virtio disk".to_owned()));
        }
        storage
    }

    /// What its bytes end up on: folders with the same answer share one disk.
    #[must_use]
    pub fn medium(&self) -> String {
        let Some(name) = self.device.strip_prefix("/dev/") else { return self.file_system.clone() };
        match &self.disk {
            // An image file gets another loop device at each mount.
            Some(image) if name.starts_with("loop") => image.clone(),
            _ if block_file(name, "partition").is_some() => disk_of_partition(name).unwrap_or_else(|| name.to_owned()),
            _ => name.to_owned(),
        }
    }
}

/// The program's version as it tells it, first line only.
#[must_use]
pub fn version_of(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    // Java tells it on stderr.
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().map(|line| line.trim().to_owned())
}

/// The commit of the work tree that this process was started in, and whether something in it was changed since; `None`
/// outside of one.
#[must_use]
pub fn commit() -> Option<(String, bool)> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=7", "HEAD"])?;
    // Results of earlier runs do not change what is measured.
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some((commit, !changes.is_empty()))
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn meminfo_bytes(field: &str) -> Option<u64> {
    let text = read("/proc/meminfo")?;
    let value = text.lines().find_map(|line| line.strip_prefix(field))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn os_name(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).map(|name| name.trim_matches('"').to_owned())
}

fn loop_text(file: &str) -> String {
    let under = Path::new(file).parent().map(Path::to_path_buf).unwrap_or_else(|| PathBuf::from("/"));
    let below = read("/proc/self/mounts").and_then(|mounts| mount_of(&mounts, &under)).unwrap_or_default();
    format!("image file on {} of {}", below.file_system, below.device)
}

/// A partition has no queue of its own: then that of its disk is meant.
fn block_file(name: &str, file: &str) -> Option<String> {
    read(&format!("/sys/class/block/{name}/{file}")).or_else(|| read(&format!("/sys/class/block/{name}/../{file}")))
}

/// `/sys/class/block/sda1` leads to `.../block/sda/sda1`.
fn disk_of_partition(name: &str) -> Option<String> {
    let device = fs::canonicalize(format!("/sys/class/block/{name}")).ok()?;
    Some(device.parent()?.file_name()?.to_str()?.to_owned())
}

/// The entry of `/proc/self/mounts` with the longest mount point above `path`; the last one wins, as it covers the rest.
fn mount_of(mounts: &str, path: &Path) -> Option<Storage> {
    let mut best: Option<(usize, Storage)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(device), Some(point), Some(kind), Some(options)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let point = point.replace("\\040", " ");
        if path.starts_with(&point) && best.as_ref().is_none_or(|(length, _)| point.len() >= *length) {
            let storage = Storage {
                file_system: kind.to_owned(),
                mount_options: options.to_owned(),
                device: device.to_owned(),
                ..Storage::default()
            };
            best = Some((point.len(), storage));
        }
    }
    best.map(|(_, storage)| storage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_nearest_above_a_folder_is_its_own() {
        let mounts = "/dev/vda / ext4 rw,relatime 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n/dev/sdb /data\\040two xfs rw,noatime 0 0\n/dev/sdc /data ext4 rw 0 0\nnone /dev/shm tmpfs rw,size=1g 0 0\n";
        let of = |path: &str| {
            let storage = mount_of(mounts, Path::new(path)).expect("a mount");
            format!("{} {} {}", storage.device, storage.file_system, storage.mount_options)
        };
        assert_eq!(of("/home/x"), "/dev/vda ext4 rw,relatime");
        assert_eq!(of("/data two/log"), "/dev/sdb xfs rw,noatime");
        assert_eq!(of("/data/log"), "/dev/sdc ext4 rw");
        assert_eq!(of("/database"), "/dev/vda ext4 rw,relatime");
        assert_eq!(of("/dev/shm/x"), "none tmpfs rw,size=1g");
    }

    #[test]
    fn folders_on_one_disk_have_one_medium() {
        let medium = |device: &str, disk: Option<&str>, file_system: &str| {
            let (device, file_system) = (device.to_owned(), file_system.to_owned());
            Storage { device, file_system, disk: disk.map(str::to_owned), ..Storage::default() }.medium()
        };
        let image = Some("image file on ext4 of /dev/vda");
        assert_eq!(medium("/dev/loop3", image, "xfs"), medium("/dev/loop4", image, "ext4"));
        assert_eq!(medium("tmpfs", None, "tmpfs"), medium("shm", None, "tmpfs"));
        assert_ne!(medium("/dev/nosuch1", None, "xfs"), medium("/dev/nosuch2", None, "xfs"));
    }

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::look();
        assert!(machine.cpus >= 1 && machine.memory_bytes > 1 << 20, "{machine:?}");
        assert!(machine.kernel.contains('.'), "{machine:?}");
        let storage = Storage::look(Path::new("/"));
        assert!(storage.size_bytes.is_some_and(|bytes| bytes > 0) && !storage.file_system.is_empty(), "{storage:?}");
    }

    #[test]
    fn the_distribution_is_named_without_its_quotes() {
        assert_eq!(os_name("ID=debian\nPRETTY_NAME=\"Debian 12\"\n").as_deref(), Some("Debian 12"));
    }
}
