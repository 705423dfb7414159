//! What is known of a broker's limits: given by whoever asks, measured on this machine, or assumed and called so.

use std::path::Path;

use super::{Broker, Demand, Limit, Source, Term};
use crate::limits::{Disk, Limits, Network};
use crate::outcome::Knee;
use crate::stats::median;
use crate::suite::Suite;
use crate::summary::{Run, Summary, TargetSummary};

/// What is assumed of a disk: a plain SSD.
const DISK_WRITE_BYTES_PER_S: f64 = 400e6;
/// A terabyte.
const DISK_BYTES: f64 = 1e12;
/// 10 Gbit/s each way.
const NETWORK_BYTES_PER_S: f64 = 1.25e9;
/// Of one core, for messages of 1 KB in batches of 16 KiB that one group reads.
const CORE_MESSAGES_PER_S: f64 = 250e3;
/// Of one partition, which one core serves.
const PARTITION_MESSAGES_PER_S: f64 = 50e3;
/// A node without partitions and the requests that it has under way.
const MEMORY_BYTES: f64 = 256e6;
/// 1,000 partitions took 19 MiB, and each may have index entries that wait to be written.
const PARTITION_MEMORY_BYTES: f64 = 32e3;

/// Limits that whoever asks gives; each wins over what was measured.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Given {
    /// `D`.
    pub disk_write_bytes_per_s: Option<f64>,
    /// `N`, each way.
    pub network_bytes_per_s: Option<f64>,
    /// `C`.
    pub cpu_messages_per_s: Option<f64>,
    /// Bytes that the disks hold.
    pub disk_bytes: Option<f64>,
    /// Of one partition.
    pub partition_messages_per_s: Option<f64>,
}

/// What this machine's own measurements say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found<'a> {
    /// The disk that brokers would have.
    pub disk: Option<&'a Disk>,
    /// The network that they would have.
    pub network: Option<&'a Network>,
    /// A results folder of `ringlog bench`, its name and its first target with runs.
    pub results: Option<(&'a str, Measured)>,
}

impl<'a> Found<'a> {
    /// The disk under `folder`, and the way to `peer`: with none named the first other machine that was measured, as
    /// loopback says nothing of a network.
    #[must_use]
    pub fn of(limits: &'a Limits, folder: &Path, peer: Option<&str>) -> Self {
        let network = match peer {
            Some(peer) => limits.network_for(peer),
            None => limits.networks.iter().find(|network| network.peer != "loopback"),
        };
        Self { disk: limits.disk_for(folder), network, results: None }
    }
}

/// What a results folder says of a broker, from its first target that was measured with all its cells: the medians of their
/// runs, and what a message cost in those that kept the broker's cores busiest.
///
/// A message costs a busy core a fraction of what it costs an idle one: the more requests wait, the more of them meet in one turn
/// of the core, and the fewer of them find it asleep and pay for waking it. On one machine it was 22 us at 15,000/s, 14 at
/// 50,000/s, 8.5 at 114,000/s and 5 at the limit, so neither one low rate nor a line through several says where the limit is.
/// A run that drives the broker to it does (`mode = "maximum"`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measured {
    /// Cores that the broker had.
    pub cores: f64,
    /// Whether it had them for itself.
    pub is_pinned: bool,
    /// What one message cost.
    pub cpu: Option<CpuCost>,
    /// Bytes that a log holds of one message, its share of the batch's header included.
    pub stored_bytes_per_message: f64,
    /// Messages in one batch.
    pub batch_messages: f64,
    /// How often each message was read.
    pub fan_out: f64,
    /// Messages acked a second; of several rates the highest.
    pub messages_per_s: f64,
    /// Partitions that they went to; `None` where that is not one number.
    pub partitions: Option<u64>,
    /// The highest rate that kept its latency, of a sweep that went on to one that the broker did not keep.
    pub knee_messages_per_s: Option<f64>,
}

impl Measured {
    /// Reads it out of a summary; `None` when nothing was measured.
    #[must_use]
    pub fn of(summary: &Summary) -> Option<Self> {
        let target: &TargetSummary = summary.targets.iter().find(|target| !target.runs.is_empty())?;
        // A matrix has a row for each of its cells, whose labels begin with the target's.
        let is_same = |other: &&TargetSummary| {
            (&other.system, &other.cpus, &other.durability, &other.config, other.replication_factor)
                == (&target.system, &target.cpus, &target.durability, &target.config, target.replication_factor)
        };
        let cells = summary.targets.iter().filter(is_same);
        let runs: Vec<&Run> = cells.flat_map(|cell| &cell.runs).filter(|run| 0 < run.acked_messages).collect();
        let cores = if target.cpus.is_empty() { f64::from(summary.machine.cpus) } else { target.cpus.len() as f64 };
        let of = |value: &dyn Fn(&Run) -> Option<f64>| median_of(runs.iter().filter_map(|run| value(run)));
        let topics = Suite::topics(&summary.workload.toml);
        Some(Self {
            cores,
            is_pinned: !target.cpus.is_empty(),
            cpu: CpuCost::of(&runs, cores),
            stored_bytes_per_message: of(&|run| {
                let messages = run.batch_messages_mean_milli as f64 / 1000.0;
                (0.0 < messages).then(|| run.batch_bytes_mean as f64 / messages)
            })?,
            batch_messages: of(&|run| Some(run.batch_messages_mean_milli as f64 / 1000.0))?,
            fan_out: of(&|run| Some(run.consumed_messages as f64 / run.acked_messages as f64))?.round(),
            messages_per_s: runs.iter().map(|run| run.acked_messages_per_s as f64).reduce(f64::max)?,
            partitions: topics
                .filter(|topics| topics.name.is_none())
                .map(|topics| topics.count.unwrap_or(1) * topics.partitions.unwrap_or(1)),
            knee_messages_per_s: of(&|run| match run.knee()? {
                Knee::Broker(rate) => Some(rate),
                Knee::Generator(_) | Knee::Open(_) => None,
            }),
        })
    }

    /// `C` of that broker: what its cores take when they do nothing else.
    #[must_use]
    pub fn cpu_messages_per_s(&self) -> Option<f64> {
        self.cpu.map(|cpu| self.cores * 1e9 / cpu.ns_per_message)
    }
}

/// What a message costs a broker's CPUs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CpuCost {
    /// All of the broker's CPU through all messages, their reading included.
    pub ns_per_message: f64,
    /// The share of its cores that was in use then, 0 to 1: the nearer to 1, the nearer it is to what counts at the limit.
    pub busy: f64,
}

/// Runs that used this share of what the busiest one used are as good as it.
const BUSIEST_SHARE: f64 = 0.9;

/// Below it a run says little of the limit.
pub const BUSY_ENOUGH: f64 = 0.8;

impl CpuCost {
    /// The medians of the runs that kept so many `cores` busiest; `None` when no run watched its broker.
    fn of(runs: &[&Run], cores: f64) -> Option<Self> {
        let costs = runs.iter().filter_map(|run| {
            let ns_per_message = run.broker.as_ref()?.cpu_ns_per_message as f64;
            let busy = run.acked_messages_per_s as f64 * ns_per_message / 1e9 / cores;
            (0.0 < busy).then_some(Self { ns_per_message, busy })
        });
        let costs: Vec<Self> = costs.collect();
        let busiest = costs.iter().map(|cost| cost.busy).fold(0.0, f64::max);
        let of = |value: fn(&Self) -> f64| {
            median_of(costs.iter().filter(|cost| busiest * BUSIEST_SHARE <= cost.busy).map(value))
        };
        Some(Self { ns_per_message: of(|cost| cost.ns_per_message)?, busy: of(|cost| cost.busy)? })
    }
}

fn median_of(values: impl Iterator<Item = f64>) -> Option<f64> {
    median(&values.collect::<Vec<_>>())
}

fn assumed(value: f64, why: &str) -> Limit {
    Limit { value, source: Source::Assumption { why: why.to_owned() } }
}

fn measured(value: f64, by: String) -> Limit {
    Limit { value, source: Source::Measured { by } }
}

/// Puts a broker together: given before measured before assumed. `cores` are a broker's.
#[must_use]
pub fn broker(given: &Given, found: &Found<'_>, cores: u32) -> Broker {
    let choose = |given: Option<f64>, found: Option<Limit>, otherwise: Limit| match given {
        Some(value) => Limit { value, source: Source::Given },
        None => found.unwrap_or(otherwise),
    };
    let disk_by =
        |disk: &Disk| format!("bench disk of {} ({}), {}", disk.place.path, disk.place.file_system, disk.measured_at);
    let network_by = |network: &Network| format!("bench net to {}, {}", network.peer, network.measured_at);
    let network = |bytes_per_s: fn(&Network) -> u64| {
        choose(
            given.network_bytes_per_s,
            found.network.map(|network| measured(bytes_per_s(network) as f64, network_by(network))),
            assumed(NETWORK_BYTES_PER_S, "10 Gbit/s; measure with ringlog bench net --connect, or give --network"),
        )
    };
    let cpu = found.results.and_then(|(name, results)| {
        let cpu = results.cpu?;
        let by = format!(
            "{name}: {:.0} ns of CPU a message with {:.0} % of {} cores in use, {:.0} B stored, {:.1} a batch, read {} times",
            cpu.ns_per_message,
            cpu.busy * 100.0,
            results.cores,
            results.stored_bytes_per_message,
            results.batch_messages,
            results.fan_out
        );
        Some(measured(results.cpu_messages_per_s()?, by))
    });
    // What one partition was seen to take is a limit only where there was one and it was driven to its limit.
    let partition = found.results.and_then(|(name, results)| {
        let rate = results.knee_messages_per_s.filter(|_| results.partitions == Some(1))?;
        Some(measured(rate, format!("{name}: the knee of one partition")))
    });
    let size = found.disk.and_then(|disk| Some(measured(disk.place.size_bytes? as f64, disk_by(disk))));
    Broker {
        disk_write_bytes_per_s: choose(
            given.disk_write_bytes_per_s,
            found.disk.map(|disk| measured(disk.write.bytes_per_s as f64, disk_by(disk))),
            assumed(DISK_WRITE_BYTES_PER_S, "a plain SSD; measure with ringlog bench disk, or give --disk-write"),
        ),
        net_in_bytes_per_s: network(|network| network.sent.bytes_per_s),
        net_out_bytes_per_s: network(|network| network.received.bytes_per_s),
        cpu_messages_per_s: choose(
            given.cpu_messages_per_s,
            cpu,
            assumed(
                CORE_MESSAGES_PER_S * f64::from(cores),
                "250,000 a core for 1 KB in 16 KiB batches; measure with ringlog bench run and --results, or give --cpu-rate",
            ),
        ),
        disk_bytes: choose(given.disk_bytes, size, assumed(DISK_BYTES, "1 TB; give --disk-size")),
        partition_messages_per_s: choose(
            given.partition_messages_per_s,
            partition,
            assumed(
                PARTITION_MESSAGES_PER_S,
                "one core serves a partition; measure a sweep over one partition, or give --partition-rate",
            ),
        ),
        memory_bytes: assumed(MEMORY_BYTES, "a node and the requests under way"),
        partition_memory_bytes: assumed(PARTITION_MEMORY_BYTES, "1,000 partitions took 19 MiB in this project's notes"),
    }
}

/// The model's knee for one broker as it was measured: everything by the model's own terms, at their full limits.
///
/// `load` is another run of the same messages; its CPU a message, bytes a message and fan-out are what is put in, not its rate.
#[must_use]
pub fn predict_knee(load: &Measured, broker: &Broker) -> Option<(Term, f64)> {
    let demand = Demand {
        messages_per_s: load.messages_per_s,
        peak_factor: 1.0,
        message_bytes: load.stored_bytes_per_message,
        topics: 1,
        replication_factor: 1,
        fan_out: load.fan_out,
        consumers_max: 0,
        retention_s: None,
        retention_bytes: None,
        segment_bytes: 0,
        cached_s: 0.0,
        utilization: 1.0,
    };
    load.cpu?;
    let binding = demand.terms(broker, 1.0)[0];
    Some((binding.term, binding.messages_per_s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Transfer;
    use crate::machine::Storage;
    use crate::report::sample;
    use crate::summary::StepSummary;

    fn disk() -> Disk {
        Disk {
            measured_at: "2026-01-01T00:00:00Z".to_owned(),
            place: Storage { path: "/d".to_owned(), size_bytes: Some(5_000), ..Storage::default() },
            write: Transfer { bytes: 1, elapsed_us: 1, bytes_per_s: 300 },
            sync_by_size: Vec::new(),
            sync_by_batch: Vec::new(),
            sync_by_files: Vec::new(),
        }
    }

    fn load() -> Measured {
        Measured {
            cores: 2.0,
            is_pinned: true,
            cpu: Some(CpuCost { ns_per_message: 2_000.0, busy: 0.95 }),
            stored_bytes_per_message: 1_100.0,
            batch_messages: 15.0,
            fan_out: 1.0,
            messages_per_s: 10_000.0,
            partitions: Some(1),
            knee_messages_per_s: None,
        }
    }

    #[test]
    fn given_comes_before_measured_and_measured_before_assumed() {
        let disk = disk();
        let found = Found { disk: Some(&disk), ..Found::default() };
        let assumed = broker(&Given::default(), &Found::default(), 4);
        assert!(matches!(assumed.disk_write_bytes_per_s.source, Source::Assumption { .. }));
        assert_eq!(assumed.cpu_messages_per_s.value, 1e6);
        let measured = broker(&Given::default(), &found, 4);
        assert_eq!(measured.disk_write_bytes_per_s.value, 300.0);
        let Source::Measured { by } = &measured.disk_write_bytes_per_s.source else { panic!("measured") };
        assert!(by.contains("/d") && by.contains("2026-01-01"), "{by}");
        assert_eq!(measured.disk_bytes.value, 5_000.0);
        let given = Given { disk_write_bytes_per_s: Some(7.0), ..Given::default() };
        assert_eq!(broker(&given, &found, 4).disk_write_bytes_per_s, Limit { value: 7.0, source: Source::Given });
    }

    #[test]
    fn the_loopback_is_no_network_unless_it_is_named() {
        let mut limits = Limits::of_this_machine();
        let network = |peer: &str, bytes_per_s| Network {
            measured_at: String::new(),
            peer: peer.to_owned(),
            connections: 1,
            sent: Transfer { bytes: 1, elapsed_us: 1, bytes_per_s },
            received: Transfer::default(),
            round_trip: crate::limits::Latency::default(),
        };
        limits.put_network(network("loopback", 1));
        let peer = |limits: &Limits, peer| Found::of(limits, Path::new("/"), peer).network.map(|n| n.peer.clone());
        assert_eq!(peer(&limits, None), None);
        assert_eq!(peer(&limits, Some("loopback")).as_deref(), Some("loopback"));
        limits.put_network(network("10.0.0.2:1", 2));
        assert_eq!(peer(&limits, None).as_deref(), Some("10.0.0.2:1"));
    }

    #[test]
    fn cpu_is_the_cores_through_what_a_message_costs() {
        let found = Found { results: Some(("r", load())), ..Found::default() };
        let broker = broker(&Given::default(), &found, 8);
        assert_eq!(broker.cpu_messages_per_s.value, 1e6);
        // Ten thousand a second over one partition that nobody drove to its limit say nothing of the limit.
        assert!(matches!(broker.partition_messages_per_s.source, Source::Assumption { .. }));
        let knee = Measured { knee_messages_per_s: Some(70_000.0), ..load() };
        let found = Found { results: Some(("r", knee)), ..Found::default() };
        assert_eq!(super::broker(&Given::default(), &found, 8).partition_messages_per_s.value, 70_000.0);
    }

    /// A run that acked this many messages a second at so much CPU each.
    fn run(acked_messages_per_s: u64, cpu_ns_per_message: u64) -> Run {
        let mut run = sample::target("a", 1, 1).runs.remove(0);
        run.acked_messages_per_s = acked_messages_per_s;
        run.broker.as_mut().expect("it was watched").cpu_ns_per_message = cpu_ns_per_message;
        run
    }

    #[test]
    fn what_a_message_costs_is_what_it_cost_the_busiest_runs() {
        // 0.25 cores, 0.45, and three at the limit: 0.95, 0.98, 0.9.
        let runs =
            [run(10_000, 25_000), run(30_000, 15_000), run(95_000, 10_000), run(140_000, 7_000), run(100_000, 9_000)];
        let cost = |runs: &[&Run]| CpuCost::of(runs, 1.0).map(|cost| (cost.ns_per_message, cost.busy));
        assert_eq!(cost(&runs.each_ref()), Some((9_000.0, 0.95)));
        assert_eq!(cost(&[&runs[0]]), Some((25_000.0, 0.25)));
        let mut unwatched = run(10_000, 25_000);
        unwatched.broker = None;
        assert_eq!((cost(&[&unwatched]), cost(&[])), (None, None));
        let measured = Measured { cores: 2.0, cpu: CpuCost::of(&runs.each_ref(), 2.0), ..load() };
        assert!(measured.cpu_messages_per_s().is_some_and(|rate| (rate - 2e9 / 9_000.0).abs() < 1.0), "{measured:?}");
    }

    #[test]
    fn cells_of_a_matrix_are_one_broker_and_of_no_one_number_of_partitions() {
        let cell = |label, one: Run| TargetSummary { runs: vec![one], ..sample::target(label, 0, 1) };
        let mut summary = sample::summary(vec![cell("a 1", run(10_000, 25_000)), cell("a 2", run(30_000, 15_000))]);
        summary.workload.toml = format!("{}\n{}", sample::TOML, sample::TOML);
        let measured = Measured::of(&summary).expect("runs");
        assert_eq!(measured.cpu.map(|cpu| cpu.ns_per_message), Some(15_000.0), "{measured:?}");
        assert_eq!((measured.messages_per_s, measured.partitions), (30_000.0, None));
    }

    #[test]
    fn the_knee_is_where_the_first_term_binds() {
        let found = Found { results: Some(("r", load())), ..Found::default() };
        let of = |given: Given| predict_knee(&load(), &broker(&given, &found, 2)).expect("CPU was measured");
        // 2 cores at 2 us a message: 1,000,000/s; 110 MB/s through 1,100 B: 100,000/s.
        let roomy = Given { disk_write_bytes_per_s: Some(1e12), network_bytes_per_s: Some(1e12), ..Given::default() };
        assert_eq!(of(roomy), (Term::Cpu, 1e6));
        assert_eq!(of(Given { disk_write_bytes_per_s: Some(110e6), ..roomy }), (Term::Disk, 100e3));
        assert_eq!(predict_knee(&Measured { cpu: None, ..load() }, &broker(&roomy, &found, 2)), None);
    }

    fn step(offered_messages_per_s: u64, is_held: bool) -> StepSummary {
        StepSummary {
            offered_messages_per_s,
            acked_messages_per_s: offered_messages_per_s,
            is_held,
            ..StepSummary::default()
        }
    }

    #[test]
    fn a_summary_gives_the_medians_of_its_runs() {
        let summary = sample::summary(vec![sample::target("a", 3, 1)]);
        let measured = Measured::of(&summary).expect("runs");
        assert!(0.0 < measured.messages_per_s && 0.0 < measured.stored_bytes_per_message, "{measured:?}");
        let mut sweep = summary.clone();
        for run in &mut sweep.targets[0].runs {
            (run.knee_messages_per_s, run.steps) = (Some(4000), vec![step(2000, true), step(4000, true)]);
        }
        assert_eq!(Measured::of(&sweep).expect("runs").knee_messages_per_s, None, "nobody saw where it ends");
        sweep.targets[0].runs.iter_mut().for_each(|run| run.steps.push(step(8000, false)));
        assert_eq!(Measured::of(&sweep).expect("runs").knee_messages_per_s, Some(4000.0));
        let nobody = Summary { targets: Vec::new(), ..summary };
        assert_eq!(Measured::of(&nobody), None);
    }
}
