//! How much of what the machine can do a run reached: what it took of disk and network, and the limit that holds for that.
//!
//! Every run has the same four rows. One without a percentage says why: a cell that is only empty reads like a zero.
//!
//! ```text
//! disk_write  bytes that all nodes caused to be written   / what their disks write, each disk counted once
//! disk_sync   fsyncs of all nodes                         / what their disks sync, each disk counted once
//! net_in      bytes that arrive at nodes, all together    / the slowest way to one of their hosts, times the hosts
//! net_out     bytes that leave nodes, all together        / the same
//! ```
//! A node with metrics counts its own bytes. Of others they are computed from `B`, the bytes of batches acked a second: with
//! `R` copies, readers that take `F·B` together and cold readers that take `K`, `R·B` arrive and `(R-1+F)·B + K` leave.

use std::collections::BTreeMap;
use std::path::Path;

use crate::driver::{Place, TargetSpec};
use crate::limits::{DURABLE_ACK_MS, Disk, Limits, Network};
use crate::machine::Storage;
use crate::outcome::{BrokerUse, Outcome};
use crate::summary::LimitReached;
use crate::tracepoints::tells_of_syncs;
use crate::workload::Durability;

/// Ringlog's histogram of fsyncs: those that replies waited for, and those of its writeback threads.
const SYNCS: &str = "ringlog_fsync_duration_seconds_count";

/// What a run took, a second; why it is not known otherwise.
type Used = Result<f64, String>;
/// What the machine can do, a second; why it is not known otherwise.
type Most = Result<u64, String>;

/// A target, and what is known of the machine that it ran on.
pub(crate) struct Beside<'a> {
    pub(crate) limits: Option<&'a Limits>,
    /// Where limits are kept.
    pub(crate) file: &'a Path,
    /// Where data and images of started nodes go.
    pub(crate) work: &'a Path,
    pub(crate) spec: &'a TargetSpec,
    /// Log directories of all nodes that were started here.
    pub(crate) dirs: Vec<&'a Path>,
}

impl Beside<'_> {
    /// The four rows.
    pub(crate) fn rows(&self, outcome: &Outcome) -> Vec<LimitReached> {
        let seconds = outcome.measured.as_secs_f64().max(f64::MIN_POSITIVE);
        let brokers = &outcome.brokers;
        let written = self.disk_written(brokers).map(|bytes| bytes / seconds);
        let synced = self.synced(brokers).map(|syncs| syncs / seconds);
        let disks = self.limits().and_then(|limits| self.disks(limits));
        let most = |of: fn(&Disk) -> u64| disks.clone().map(|disks| disks.into_iter().map(of).sum());
        let mut sync = row("disk_sync", synced, most(Disk::syncs_per_s_max));
        if outcome.workload.topics.durability == Durability::Durable {
            sync.partitions_carried = most(|disk| disk.durable_partitions(DURABLE_ACK_MS)).ok();
        }
        let mut rows = vec![row("disk_write", written, most(|disk| disk.write.bytes_per_s)), sync];
        let ways = self.limits().and_then(|limits| self.ways(limits, outcome));
        let slowest = |of: fn(&Network) -> u64| {
            let ways = ways.clone()?;
            Ok(ways.iter().copied().map(of).min().unwrap_or(0) * ways.len() as u64)
        };
        let computed = network_computed(outcome);
        for (limit, counted, computed, most) in [
            ("net_in", counted_in(brokers), computed.0, slowest(|way| way.sent.bytes_per_s)),
            ("net_out", counted_out(brokers), computed.1, slowest(|way| way.received.bytes_per_s)),
        ] {
            rows.push(LimitReached {
                is_computed: counted.is_none(),
                ..row(limit, Ok(counted.unwrap_or(computed) / seconds), most)
            });
        }
        rows
    }

    fn limits(&self) -> Result<&Limits, String> {
        self.limits
            .ok_or_else(|| format!("no {}; `ringlog bench disk` and `ringlog bench net` make one", self.file.display()))
    }

    fn is_in_memory(&self) -> bool {
        self.dirs.first().is_some_and(|dir| Storage::look(dir).file_system == "tmpfs")
    }

    fn disk_written(&self, brokers: &[BrokerUse]) -> Used {
        if self.is_in_memory() {
            return Err("its data lies in memory; the kernel counts no writes to tmpfs".to_owned());
        }
        if brokers.is_empty() {
            return Err("the brokers' processes are not known; name them with --broker-pid".to_owned());
        }
        let written: Option<u64> = brokers.iter().map(|broker| broker.disk_write_bytes).sum();
        written.map(|bytes| bytes as f64).ok_or_else(|| "the kernel shows the process's io to its user only".to_owned())
    }

    /// As the nodes count them, or else the kernel.
    fn synced(&self, brokers: &[BrokerUse]) -> Used {
        if brokers.is_empty() {
            return Err("the brokers' processes are not known; name them with --broker-pid".to_owned());
        }
        if let Some(syncs) = counted(brokers, SYNCS) {
            return Ok(syncs);
        }
        let unknown = |dir: &&Path| Some(Storage::look(dir).file_system).filter(|name| !tells_of_syncs(name));
        let by_kernel: Option<u64> = brokers.iter().map(|broker| broker.file_syncs).sum();
        match (by_kernel, self.dirs.iter().find_map(unknown)) {
            (Some(0), Some(file_system)) => Err(format!(
                "nobody tells of its fsyncs: it has no metrics, and {file_system} has no tracepoint for them"
            )),
            (Some(syncs), _) => Ok(syncs as f64),
            (None, _) => {
                Err("nobody tells of its fsyncs: it has no metrics, and the kernel lets only root or CAP_PERFMON count"
                    .to_owned())
            }
        }
    }

    /// The disks under the nodes' directories, each once.
    fn disks<'l>(&self, limits: &'l Limits) -> Result<Vec<&'l Disk>, String> {
        if self.dirs.is_empty() {
            return Err("the broker was not started here: which disk it writes to is not known".to_owned());
        }
        // An image file reaches as far as the disk that it lies on.
        let image = match self.spec.place {
            Place::Ext4 | Place::Xfs => limits.disk_for(self.work),
            Place::Here | Place::Tmpfs | Place::Directories(_) => None,
        };
        let mut disks = BTreeMap::new();
        for dir in &self.dirs {
            let place = Storage::look(dir);
            let disk = limits.disk_for(dir).or(image).ok_or_else(|| not_measured(&place))?;
            disks.entry(place.medium()).or_insert(disk);
        }
        Ok(disks.into_values().collect())
    }

    /// The ways to the hosts of the cluster, each once.
    fn ways<'l>(&self, limits: &'l Limits, outcome: &Outcome) -> Result<Vec<&'l Network>, String> {
        let mut ways = BTreeMap::new();
        for node in &outcome.cluster.nodes {
            let host = host_of(node);
            let way = limits.network_to(host).ok_or_else(|| match limits.networks.is_empty() {
                true => "no network was measured; `ringlog bench net` does".to_owned(),
                false => format!("the way to {host} was not measured; `ringlog bench net --connect` does"),
            })?;
            ways.insert(&way.peer, way);
        }
        if ways.is_empty() {
            return Err("the cluster did not tell where its nodes are".to_owned());
        }
        Ok(ways.into_values().collect())
    }
}

fn not_measured(place: &Storage) -> String {
    let image = if place.device.starts_with("/dev/loop") || place.file_system == "tmpfs" {
        format!(" --fs {}", place.file_system)
    } else {
        String::new()
    };
    format!("{} ({}) was not measured; `ringlog bench disk{image}` does", place.path, place.file_system)
}

/// `[::1]:9092` is at `::1`.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// What all of the nodes count under this name; `None` unless each of them tells.
fn counted(brokers: &[BrokerUse], name: &str) -> Option<f64> {
    if brokers.is_empty() {
        return None;
    }
    brokers.iter().map(|broker| broker.counted(name)).sum()
}

/// Bytes that nodes read from their connections within the measured time, as they count them.
pub(crate) fn counted_in(brokers: &[BrokerUse]) -> Option<f64> {
    counted(brokers, "ringlog_received_bytes_total")
}

/// Bytes that nodes wrote to their connections, as they count them.
pub(crate) fn counted_out(brokers: &[BrokerUse]) -> Option<f64> {
    counted(brokers, "ringlog_sent_bytes_total")
}

/// Bytes that arrive at nodes and leave them within the measured time, by the formula at the head.
fn network_computed(outcome: &Outcome) -> (f64, f64) {
    let batches = outcome.batches.bytes as f64;
    let copies = f64::from(outcome.workload.topics.replication_factor.max(1));
    // Batches go out as they came in: stored bytes, compressed if they were.
    let stored = batches / outcome.acked.bytes.max(1) as f64;
    let cold = outcome.cold.as_ref().map_or(0, |cold| cold.read.bytes);
    let read = (outcome.consumed.bytes + cold) as f64 * stored;
    (copies * batches, (copies - 1.0) * batches + read)
}

fn row(limit: &str, used: Used, most: Most) -> LimitReached {
    let reasons: Vec<&str> =
        [used.as_ref().err(), most.as_ref().err()].into_iter().flatten().map(String::as_str).collect();
    let percent = match (&used, &most) {
        (Ok(used), Ok(most)) if 0 < *most => Some((used / *most as f64 * 100.0).round() as u64),
        _ => None,
    };
    LimitReached {
        limit: limit.to_owned(),
        used_per_s: used.as_ref().ok().map(|used| *used as u64),
        limit_per_s: most.as_ref().ok().copied(),
        percent,
        is_computed: false,
        empty: match (percent, reasons.is_empty()) {
            (Some(_), _) => None,
            (None, false) => Some(reasons.join("; ")),
            (None, true) => Some("the limit was measured as nothing; measure it again".to_owned()),
        },
        partitions_carried: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SyncStep, Transfer};
    use crate::report::sample;

    fn disk(place: Storage, bytes_per_s: u64) -> Disk {
        let latency = crate::limits::Latency::default();
        let step = SyncStep { write_bytes: 4096, batch: 1, files: 1, syncs_per_s: 2000, writes_per_s: 2000, latency };
        Disk {
            measured_at: "2026-01-01T00:00:00Z".to_owned(),
            place,
            write: Transfer { bytes: bytes_per_s, elapsed_us: 1_000_000, bytes_per_s },
            sync_by_size: vec![step],
            sync_by_batch: Vec::new(),
            sync_by_files: Vec::new(),
        }
    }

    fn network(peer: &str, bytes_per_s: u64) -> Network {
        let transfer = Transfer { bytes: bytes_per_s, elapsed_us: 1_000_000, bytes_per_s };
        let latency = crate::limits::Latency::default();
        Network {
            measured_at: "2026-01-01T00:00:00Z".to_owned(),
            peer: peer.to_owned(),
            connections: 1,
            sent: transfer,
            received: transfer,
            round_trip: latency,
        }
    }

    fn rows(limits: Option<&Limits>, (target, dirs): (&str, &[&str]), outcome: &Outcome) -> Vec<LimitReached> {
        let spec = target.parse().expect("a target");
        let dirs = dirs.iter().map(Path::new).collect();
        Beside { limits, file: Path::new("limits.json"), work: Path::new("."), spec: &spec, dirs }.rows(outcome)
    }

    fn named<'r>(rows: &'r [LimitReached], limit: &str) -> &'r LimitReached {
        rows.iter().find(|row| row.limit == limit).expect("every run has the row")
    }

    /// Ten seconds in which one node counted 3,000 fsyncs that replies waited for and 1,000 of its writeback.
    fn outcome() -> Outcome {
        let mut outcome = sample::outcome(1);
        outcome.brokers[0].metrics = BTreeMap::from(
            [
                ("ringlog_fsync_duration_seconds_count{log_dir=\"/a\"}", 3_000.0),
                ("ringlog_fsync_duration_seconds_count{log_dir=\"/b\"}", 1_000.0),
                ("ringlog_fsync_duration_seconds_sum{log_dir=\"/a\"}", 1.5),
                ("ringlog_log_ring_syncs_total{shard=\"0\"}", 3_000.0),
                ("ringlog_received_bytes_total{shard=\"0\"}", 110_000_000.0),
                ("ringlog_sent_bytes_total{shard=\"0\"}", 220_000_000.0),
            ]
            .map(|(name, moved)| (name.to_owned(), moved)),
        );
        outcome
    }

    #[test]
    fn every_fsync_counts_and_a_node_counts_its_own_bytes() {
        let mut limits = Limits::of_this_machine();
        limits.put_disk(disk(Storage::look(Path::new(".")), 104_000_000));
        limits.put_network(network("loopback", 44_000_000));
        let rows = rows(Some(&limits), ("ringlog", &[".", ".."]), &outcome());
        let reached: Vec<_> = rows.iter().map(|row| (row.limit.as_str(), row.used_per_s, row.percent)).collect();
        assert_eq!(
            reached,
            [
                ("disk_write", Some(10_400_000), Some(10)),
                // Two directories on one disk are one disk.
                ("disk_sync", Some(400), Some(20)),
                ("net_in", Some(11_000_000), Some(25)),
                ("net_out", Some(22_000_000), Some(50)),
            ]
        );
        assert!(rows.iter().all(|row| row.empty.is_none() && !row.is_computed), "{rows:?}");
    }

    #[test]
    fn a_row_without_a_percentage_says_why() {
        let outcome = outcome();
        let nothing = rows(None, ("ringlog", &["."]), &outcome);
        assert_eq!(nothing.len(), 4);
        assert!(nothing.iter().all(|row| row.percent.is_none() && row.used_per_s.is_some()), "{nothing:?}");
        assert!(nothing.iter().all(|row| row.empty.as_ref().is_some_and(|why| why.contains("bench disk"))));

        let limits = Limits::of_this_machine();
        let in_memory = rows(Some(&limits), ("ringlog:fs=tmpfs", &["/dev/shm"]), &outcome);
        let why = named(&in_memory, "disk_write").empty.clone().expect("no disk");
        assert!(why.contains("lies in memory") && why.contains("bench disk --fs tmpfs"), "{why}");

        let mut foreign = outcome.clone();
        foreign.brokers.clear();
        let rows = rows(Some(&limits), ("kafka", &["."]), &foreign);
        let whys: Vec<&str> = rows.iter().filter_map(|row| row.empty.as_deref()).collect();
        for (why, needle) in whys.iter().zip(["--broker-pid", "--broker-pid", "bench net", "bench net"]) {
            assert!(why.contains(needle), "{whys:?}");
        }
    }

    #[test]
    fn the_kernel_counts_the_fsyncs_of_a_node_without_metrics() {
        let mut outcome = outcome();
        outcome.brokers[0].metrics.clear();
        // A thousand of 4,000 in ten seconds are another node's.
        outcome.brokers.push(BrokerUse { file_syncs: Some(1_000), ..BrokerUse::default() });
        let limits = Limits::of_this_machine();
        let synced = |outcome: &Outcome, dir| {
            let rows = rows(Some(&limits), ("kafka", &[dir]), outcome);
            let row = named(&rows, "disk_sync");
            (row.used_per_s, row.empty.clone().unwrap_or_default())
        };
        assert_eq!(synced(&outcome, ".").0, Some(500));
        // Memory is never synced, so that none counted says nothing.
        outcome.brokers.iter_mut().for_each(|broker| broker.file_syncs = Some(0));
        assert_eq!(synced(&outcome, ".").0, tells_of_syncs(&Storage::look(Path::new(".")).file_system).then_some(0));
        let (used, why) = synced(&outcome, "/dev/shm");
        assert!(used.is_none() && why.contains("tmpfs has no tracepoint"), "{used:?}: {why}");
        outcome.brokers[1].file_syncs = None;
        let (used, why) = synced(&outcome, ".");
        assert!(used.is_none() && why.contains("CAP_PERFMON"), "{used:?}: {why}");
    }

    #[test]
    fn a_broker_that_ran_already_has_the_way_to_it_as_its_limit() {
        let mut limits = Limits::of_this_machine();
        limits.put_network(network("192.0.2.7:9700", 20_800_000));
        let mut outcome = sample::outcome(1);
        outcome.brokers.clear();
        outcome.cluster.nodes = vec!["192.0.2.7:9092".to_owned()];
        let there = rows(Some(&limits), ("192.0.2.7:9092", &[]), &outcome);
        let net_in = named(&there, "net_in");
        assert_eq!((net_in.used_per_s, net_in.percent, net_in.is_computed), (Some(10_400_000), Some(50), true));
        assert!(named(&there, "disk_write").empty.as_ref().is_some_and(|why| why.contains("not started here")));
        // Another host was not measured, and this machine is another way than the one to a peer.
        for (node, needle) in [("192.0.2.8:9092", "192.0.2.8"), ("[::1]:9092", "::1"), ("127.0.0.1:9092", "127.0.0.1")]
        {
            outcome.cluster.nodes = vec![node.to_owned()];
            let elsewhere = rows(Some(&limits), (node, &[]), &outcome);
            assert!(
                named(&elsewhere, "net_in").empty.as_ref().is_some_and(|why| why.contains(needle)),
                "{elsewhere:?}"
            );
        }
    }

    #[test]
    fn copies_and_readers_are_in_what_the_network_of_a_cluster_carries() {
        let mut outcome = sample::outcome(1);
        outcome.brokers[0].metrics.clear();
        outcome.workload.topics.replication_factor = 3;
        // 104 MB of batches, read once at the tail and half of it by cold readers.
        outcome.cold = Some(crate::outcome::Cold {
            read: crate::outcome::Count { messages: 50_000, bytes: outcome.acked.bytes / 2 },
            ..Default::default()
        });
        assert_eq!(network_computed(&outcome), (312_000_000.0, 208_000_000.0 + 156_000_000.0));
        // Two hosts carry twice what the slower of them does.
        let mut limits = Limits::of_this_machine();
        limits.put_network(network("192.0.2.7:9700", 100_000_000));
        limits.put_network(network("192.0.2.8:9700", 52_000_000));
        outcome.cluster.nodes = ["192.0.2.7:9092", "192.0.2.8:9092", "192.0.2.8:9093"].map(str::to_owned).to_vec();
        let rows = rows(Some(&limits), ("192.0.2.7:9092", &[]), &outcome);
        let net_in = named(&rows, "net_in");
        assert_eq!(
            (net_in.used_per_s, net_in.limit_per_s, net_in.percent),
            (Some(31_200_000), Some(104_000_000), Some(30))
        );
    }

    #[test]
    fn only_durable_runs_say_how_many_partitions_their_disks_carry() {
        let mut limits = Limits::of_this_machine();
        limits.put_disk(disk(Storage::look(Path::new(".")), 1));
        let here: (&str, &[&str]) = ("ringlog", &["."]);
        let mut outcome = outcome();
        assert_eq!(named(&rows(Some(&limits), here, &outcome), "disk_sync").partitions_carried, None);
        outcome.workload.topics.set_durability(Durability::Durable);
        assert_eq!(named(&rows(Some(&limits), here, &outcome), "disk_sync").partitions_carried, Some(100));
    }

    #[test]
    fn the_host_of_an_address() {
        assert_eq!(["a:1", "[::1]:1", "10.0.0.1:9092"].map(host_of), ["a", "::1", "10.0.0.1"]);
    }
}
