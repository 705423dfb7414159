//! What this machine's disk and network can do without any broker, so that a result can say how much of it a broker used.
//!
//! [`disk`] and [`net`] measure; this module is the file that they write (`ringlog-limits.json` unless told otherwise), that
//! result rows are compared with, and that `plan` reads.
//!
//! ```json
//! { "schema_version": 1,
//!   "disks":    [ { "measured_at": "…Z", "place": { "path": …, "file_system": … }, "write": …, "sync_by_size": […], … } ],
//!   "networks": [ { "measured_at": "…Z", "peer": "loopback", "sent_bytes_per_s": …, "round_trip": … } ] }
//! ```
//! Fields are only ever added; `schema_version` changes when one would change its meaning. A disk is known by its folder, a
//! network by its peer; measuring one again replaces what the file said of it.

pub mod disk;
pub mod net;

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::machine::{Machine, Storage};

/// Where limits are kept unless told otherwise.
pub const FILE: &str = "ringlog-limits.json";
/// The peer that is this machine.
pub const LOOPBACK: &str = "loopback";
/// See the module's text.
pub const SCHEMA_VERSION: u32 = 1;
/// What an ack in durable mode may take where it is said how many partitions a disk carries.
pub const DURABLE_ACK_MS: u64 = 100;
/// A limits file of more bytes is not one of ours.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Disks, and networks, that one file holds; the oldest go first.
const ENTRIES_MAX: usize = 64;

/// Everything known of a machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The machine that they were measured on.
    pub machine: Machine,
    /// By folder.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// By peer.
    #[serde(default)]
    pub networks: Vec<Network>,
}

/// A folder's disk.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Disk {
    /// When, RFC 3339 in UTC.
    pub measured_at: String,
    /// The folder and what lies under it.
    pub place: Storage,
    /// One file written from front to end, synced all along.
    pub write: Transfer,
    /// One file, one write of each size, one fdatasync after it.
    pub sync_by_size: Vec<SyncStep>,
    /// One file, several writes of 4 KiB before each fdatasync: what group commit gains.
    pub sync_by_batch: Vec<SyncStep>,
    /// Several files at once, a write of 4 KiB and an fdatasync in each by turns: what many partitions get.
    pub sync_by_files: Vec<SyncStep>,
}

/// Bytes moved in a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Transfer {
    /// How many.
    pub bytes: u64,
    /// How long.
    pub elapsed_us: u64,
    /// Their ratio.
    pub bytes_per_s: u64,
}

impl Transfer {
    /// From what was counted.
    #[must_use]
    pub fn new(bytes: u64, elapsed: std::time::Duration) -> Self {
        let elapsed_us = (elapsed.as_micros() as u64).max(1);
        Self { bytes, elapsed_us, bytes_per_s: (u128::from(bytes) * 1_000_000 / u128::from(elapsed_us)) as u64 }
    }
}

/// One step of a ladder of fdatasyncs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SyncStep {
    /// Bytes of each write.
    pub write_bytes: u64,
    /// Writes before each fdatasync.
    pub batch: u32,
    /// Files, each with a thread of its own.
    pub files: u32,
    /// fdatasyncs a second, all files together.
    pub syncs_per_s: u64,
    /// Writes a second, all files together.
    pub writes_per_s: u64,
    /// Of one fdatasync.
    pub latency: Latency,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured.
    pub samples: u64,
    /// Half were faster.
    pub p50_us: u64,
    /// One in a hundred was slower.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        Self {
            samples: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            max_us: histogram.max(),
        }
    }
}

/// The way to a peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Network {
    /// When, RFC 3339 in UTC.
    pub measured_at: String,
    /// `loopback`, or the address that was connected to.
    pub peer: String,
    /// Connections that shared each transfer.
    pub connections: u32,
    /// To the peer.
    pub sent: Transfer,
    /// From the peer.
    pub received: Transfer,
    /// Of a small message and its echo, one at a time.
    pub round_trip: Latency,
}

impl Disk {
    /// fdatasyncs a second that it does at best, whatever the number of files.
    #[must_use]
    pub fn syncs_per_s_max(&self) -> u64 {
        self.steps().map(|step| step.syncs_per_s).max().unwrap_or(0)
    }

    /// How many busy partitions it carries in durable mode (`flush.messages=1`) while each of their acks takes at most
    /// `ack_ms`. An ack may wait for the fdatasync under way and then for its own, so each partition needs two of them in that
    /// time:
    ///
    /// ```text
    /// partitions = fdatasyncs/s · ack / 2        2,000/s and 100 ms: 100 partitions
    /// ```
    #[must_use]
    pub fn durable_partitions(&self, ack_ms: u64) -> u64 {
        self.syncs_per_s_max() * ack_ms / 2000
    }

    fn steps(&self) -> impl Iterator<Item = &SyncStep> {
        self.sync_by_size.iter().chain(&self.sync_by_batch).chain(&self.sync_by_files)
    }
}

/// The name of a row of [`crate::summary::Run::limits`], for people; one that this version does not know is its own.
#[must_use]
pub fn title(limit: &str) -> &str {
    match limit {
        "disk_write" => "disk, sequential write",
        "disk_sync" => "disk, fdatasyncs",
        "net_in" => "network in",
        "net_out" => "network out",
        other => other,
    }
}

/// Whether such a row is counted in bytes a second.
#[must_use]
pub fn is_bytes(limit: &str) -> bool {
    matches!(limit, "disk_write" | "net_in" | "net_out")
}

impl Limits {
    /// Nothing known yet, on this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self { schema_version: SCHEMA_VERSION, machine: Machine::look(), disks: Vec::new(), networks: Vec::new() }
    }

    /// Reads a limits file; `None` when there is no such file.
    ///
    /// # Errors
    /// A file that cannot be read, is none of ours, or is of a schema this version does not know.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        let told = |why: String| io::Error::other(format!("{}: {why}", path.display()));
        match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(told(error.to_string())),
            Ok(found) if found.len() > FILE_BYTES_MAX => {
                return Err(told(format!("{} bytes: no limits file is that large", found.len())));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
        let version: Version = serde_json::from_str(&text)
            .map_err(|error| told(format!("{error}; `ringlog bench disk` and `bench net` make a new one")))?;
        if version.schema_version != SCHEMA_VERSION {
            let found = version.schema_version;
            return Err(told(format!("schema version {found}, this ringlog reads {SCHEMA_VERSION}: measure again")));
        }
        serde_json::from_str(&text).map(Some).map_err(|error| told(format!("{error}; measure again")))
    }

    /// Reads a limits file or begins one; what it says of another machine is dropped.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_or_new(path: &Path) -> io::Result<Self> {
        let new = Self::of_this_machine();
        Ok(match Self::read(path)? {
            Some(limits) if limits.is_of(&new.machine) => Self { machine: new.machine, ..limits },
            _ => new,
        })
    }

    /// Whether these are the limits of `machine`: the same processor, as many CPUs, as much memory.
    #[must_use]
    pub fn is_of(&self, machine: &Machine) -> bool {
        let key = |machine: &Machine| (machine.cpu_model.clone(), machine.cpus, machine.memory_bytes >> 30);
        key(&self.machine) == key(machine)
    }

    /// Writes the file whole: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        std::fs::write(&temporary, text)?;
        std::fs::rename(&temporary, path)
    }

    /// Takes a disk in, in place of what was known of its folder.
    pub fn put_disk(&mut self, disk: Disk) {
        self.disks.retain(|old| old.place.path != disk.place.path);
        self.disks.push(disk);
        let surplus = self.disks.len().saturating_sub(ENTRIES_MAX);
        self.disks.drain(..surplus);
    }

    /// Takes a network in, in place of what was known of its peer.
    pub fn put_network(&mut self, network: Network) {
        self.networks.retain(|old| old.peer != network.peer);
        self.networks.push(network);
        let surplus = self.networks.len().saturating_sub(ENTRIES_MAX);
        self.networks.drain(..surplus);
    }

    /// The disk under `folder`: the one measured there, else one of the same kind.
    #[must_use]
    pub fn disk_for(&self, folder: &Path) -> Option<&Disk> {
        let place = Storage::look(folder);
        let measured_there = self.disks.iter().find(|disk| disk.place.path == place.path);
        measured_there.or_else(|| self.disks.iter().find(|disk| is_same_kind(&disk.place, &place)))
    }

    /// The way to `peer`, `loopback` for this machine.
    #[must_use]
    pub fn network_for(&self, peer: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.peer == peer)
    }

    /// The way to a host, by name or address: loopback if it is this machine, else the peer at one of its addresses,
    /// whatever port was measured. Asks the resolver.
    #[must_use]
    pub fn network_to(&self, host: &str) -> Option<&Network> {
        let addresses: Vec<IpAddr> = (host, 0).to_socket_addrs().ok()?.map(|address| address.ip()).collect();
        if addresses.iter().any(|address| is_this_machine(*address)) {
            return self.network_for(LOOPBACK);
        }
        let is_there =
            |network: &&Network| network.peer.parse::<SocketAddr>().is_ok_and(|peer| addresses.contains(&peer.ip()));
        self.networks.iter().find(is_there)
    }
}

/// Whether what was measured at one place holds at another: the same file system of the same device with the same options.
/// An image file gets another loop device at each mount, so there the disk under the image counts; memory is memory.
fn is_same_kind(a: &Storage, b: &Storage) -> bool {
    let of_image = |place: &Storage| place.device.starts_with("/dev/loop");
    if a.file_system != b.file_system {
        return false;
    }
    match (of_image(a), of_image(b)) {
        (true, true) => a.disk == b.disk,
        (false, false) => a.file_system == "tmpfs" || (a.device == b.device && a.mount_options == b.mount_options),
        _ => false,
    }
}

/// Whether an address is one of this machine's: only those can be listened at.
fn is_this_machine(address: IpAddr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(files: u32, syncs_per_s: u64) -> SyncStep {
        let latency = Latency::default();
        SyncStep { write_bytes: 4096, batch: 1, files, syncs_per_s, writes_per_s: syncs_per_s, latency }
    }

    fn disk(path: &str, bytes_per_s: u64) -> Disk {
        Disk {
            measured_at: "2026-01-01T00:00:00Z".to_owned(),
            place: Storage { path: path.to_owned(), ..Storage::default() },
            write: Transfer { bytes: bytes_per_s, elapsed_us: 1_000_000, bytes_per_s },
            sync_by_size: vec![step(1, 500)],
            sync_by_batch: Vec::new(),
            sync_by_files: vec![step(1, 500), step(4, 2000)],
        }
    }

    fn file(test: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("ringlog-limits-{}-{test}.json", std::process::id()))
    }

    #[test]
    fn a_transfer_is_a_ratio() {
        let transfer = Transfer::new(3_000_000, std::time::Duration::from_millis(1500));
        assert_eq!(transfer, Transfer { bytes: 3_000_000, elapsed_us: 1_500_000, bytes_per_s: 2_000_000 });
    }

    #[test]
    fn durable_partitions_get_two_syncs_an_ack() {
        let disk = disk("/d", 1);
        assert_eq!(disk.syncs_per_s_max(), 2000);
        assert_eq!(disk.durable_partitions(100), 100);
        assert_eq!(disk.durable_partitions(5), 5);
    }

    #[test]
    fn measuring_a_folder_again_replaces_it_in_the_file() {
        let path = file("again");
        let mut limits = Limits::of_this_machine();
        limits.put_disk(disk("/a", 1));
        limits.put_disk(disk("/b", 2));
        limits.put_disk(disk("/a", 3));
        limits.write(&path).expect("written");
        let found = Limits::read_or_new(&path).expect("readable");
        std::fs::remove_file(&path).expect("there");
        let rates: Vec<u64> = found.disks.iter().map(|disk| disk.write.bytes_per_s).collect();
        assert_eq!(rates, [2, 3]);
    }

    #[test]
    fn a_disk_holds_for_its_kind_and_for_no_other() {
        let place = |file_system: &str, device: &str, disk: Option<&str>| Storage {
            file_system: file_system.to_owned(),
            device: device.to_owned(),
            mount_options: "rw".to_owned(),
            disk: disk.map(str::to_owned),
            ..Storage::default()
        };
        let image = Some("image file on ext4 of /dev/vda");
        for (a, b, same) in [
            (place("ext4", "/dev/vda", None), place("ext4", "/dev/vda", None), true),
            (place("ext4", "/dev/vda", None), place("ext4", "/dev/vdb", None), false),
            (place("ext4", "/dev/vda", None), place("xfs", "/dev/vda", None), false),
            (place("xfs", "/dev/loop0", image), place("xfs", "/dev/loop7", image), true),
            (place("xfs", "/dev/loop0", image), place("xfs", "/dev/loop0", None), false),
            (place("ext4", "/dev/loop0", image), place("ext4", "/dev/vda", None), false),
            (place("tmpfs", "tmpfs", None), place("tmpfs", "shm", None), true),
        ] {
            assert_eq!(is_same_kind(&a, &b), same, "{a:?} {b:?}");
        }
        let other_options = Storage { mount_options: "rw,sync".to_owned(), ..place("ext4", "/dev/vda", None) };
        assert!(!is_same_kind(&other_options, &place("ext4", "/dev/vda", None)));
    }

    #[test]
    fn limits_of_another_machine_are_not_taken_for_this_ones() {
        let path = file("other");
        let mut limits = Limits::of_this_machine();
        limits.machine.cpus += 1;
        limits.put_disk(disk("/a", 1));
        limits.write(&path).expect("written");
        let found = Limits::read_or_new(&path).expect("readable");
        std::fs::remove_file(&path).expect("there");
        assert!(found.disks.is_empty());
    }

    #[test]
    fn a_file_that_is_no_limits_file_is_refused_with_its_name_and_reason() {
        let path = file("bad");
        assert_eq!(Limits::read(&path).expect("no file is no error"), None);
        for (text, says) in [("{", "EOF"), ("{\"schema_version\": 99}", "schema version 99"), ("[]", "measure")] {
            std::fs::write(&path, text).expect("written");
            let error = Limits::read(&path).expect_err(text).to_string();
            assert!(error.contains(says) || error.contains("bench disk"), "{error}");
            assert!(error.contains("ringlog-limits"), "{error}");
        }
        std::fs::remove_file(&path).expect("there");
    }
}
