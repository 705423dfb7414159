//! What a run yields, in memory. Whoever writes it down or shows it starts from here.
//!
//! Latencies are in microseconds, in histograms of three significant digits that grow as needed: nothing is clamped, and
//! histograms are merged, never averaged. The produce latency of a message counts from the moment at which it was *due*
//! (in the closed modes: sent); its service time counts from the moment at which its request was handed to the socket.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use types::TopicPartition;

use crate::suite::Fault;
use crate::workload::Workload;

/// Latencies in microseconds.
pub type Latencies = Histogram<u64>;

/// An empty histogram of latencies: from 1 us without an end, three digits.
#[must_use]
pub fn latencies() -> Latencies {
    Histogram::new(3).expect("three digits are allowed")
}

/// A percentile as a quantile. `99.9 / 100.0` lies a hair above 0.999, and of 8,000 samples would take one more than the
/// literal does: everybody who starts from a percentile takes it from here, so that all show the same number.
#[must_use]
pub fn quantile(percentile: f64) -> f64 {
    (percentile * 1e7).round() / 1e9
}

/// Everything about one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was asked.
    pub workload: Workload,
    /// When it began.
    pub started_at: SystemTime,
    /// `None`: it ran to its end. Else why it did not; every number then covers what there was.
    pub partial: Option<String>,
    /// The cluster as it described itself.
    pub cluster: ClusterSeen,
    /// The run's topics as the brokers described them.
    pub topics: TopicsSeen,
    /// What the preflight found.
    pub findings: Vec<Finding>,
    /// How long was counted.
    pub measured: Duration,
    /// Messages that were due within the measured time.
    pub offered: Count,
    /// Messages acked (acks = 0: sent) within the measured time, whenever they were due.
    pub acked: Count,
    /// Messages read within the measured time, by all groups together.
    pub consumed: Count,
    /// From due to acked. Of messages due within the measured time.
    pub produce: Latencies,
    /// From the request's sending to the ack, of the same messages.
    pub service: Latencies,
    /// How late the generator itself was with a batch: from linger over or batch full until it was encoded, checksummed and
    /// handed to the socket, or found no room on its connection and waited for the broker. One a batch.
    pub slip: Latencies,
    /// From due to read, tail consumers only. Of messages due within the measured time, read then or later.
    pub end_to_end: Latencies,
    /// Batches as they were sent.
    pub batches: Batches,
    /// One entry a second, warm-up included (see [`Window::measured`]).
    pub series: Vec<Window>,
    /// How far behind consumers were; `None` without consumers.
    pub lag: Option<Lag>,
    /// What the brokers' processes used, those whose ids were given.
    pub brokers: Vec<BrokerUse>,
    /// Failures by what happened and Kafka's name of the error: of messages due within the measured time, and what readers
    /// met from its start on. A batch that failed counts all its messages.
    pub errors: BTreeMap<String, u64>,
    /// The same of the warm-up. They spoil no target; that what was acked is there is checked from the first message on.
    pub errors_warmup: BTreeMap<String, u64>,
    /// What the self-check found.
    pub check: SelfCheck,
    /// The load generator itself.
    pub generator: Generator,
    /// Of a backlog: how it went.
    pub backlog: Option<Backlog>,
    /// Of cold readers: how it went.
    pub cold: Option<Cold>,
    /// Of a soak: whether segments rolled and were deleted.
    pub soak: Option<Soak>,
    /// What was to happen to the nodes meanwhile, and whether it did.
    pub faults: Vec<FaultSeen>,
    /// Of a sweep: every rate tried, in order. The rest of the outcome is the knee's (without one: the first step's).
    pub steps: Vec<Step>,
    /// Of a sweep: the highest rate that kept the latency, in messages per second. Whose it is says [`Self::knee`].
    pub knee_rate: Option<f64>,
    /// Bytes that the run's topics hold in the brokers' log directories at its end, all replicas; `None` if not told.
    pub stored_bytes: Option<u64>,
    /// Every single produce latency of `produce`, if samples were asked to be kept (tests do).
    pub samples: Vec<u64>,
}

impl Outcome {
    /// Of a run in which nothing has happened yet.
    #[must_use]
    pub fn new(workload: Workload) -> Self {
        Self {
            workload,
            started_at: SystemTime::now(),
            partial: None,
            cluster: ClusterSeen::default(),
            topics: TopicsSeen::default(),
            findings: Vec::new(),
            measured: Duration::ZERO,
            offered: Count::default(),
            acked: Count::default(),
            consumed: Count::default(),
            produce: latencies(),
            service: latencies(),
            slip: latencies(),
            end_to_end: latencies(),
            batches: Batches::default(),
            series: Vec::new(),
            lag: None,
            brokers: Vec::new(),
            errors: BTreeMap::new(),
            errors_warmup: BTreeMap::new(),
            check: SelfCheck::default(),
            generator: Generator::default(),
            backlog: None,
            cold: None,
            soak: None,
            faults: Vec::new(),
            steps: Vec::new(),
            knee_rate: None,
            stored_bytes: None,
            samples: Vec::new(),
        }
    }

    /// Of a sweep in which some rate held: where it ended, and why.
    #[must_use]
    pub fn knee(&self) -> Option<Knee> {
        let missed = self.steps.iter().filter(|step| !step.held);
        Some(Knee::of(self.knee_rate?, missed.map(|step| (step.rate, step.is_inconclusive))))
    }

    /// Messages acked a second.
    #[must_use]
    pub fn messages_per_s(&self) -> f64 {
        self.acked.messages as f64 / self.measured.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Bytes of values acked a second.
    #[must_use]
    pub fn bytes_per_s(&self) -> f64 {
        self.acked.bytes as f64 / self.measured.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Messages among `errors` that were given up: neither what a retry carried through, nor what readers met.
#[must_use]
pub fn messages_failed(errors: &BTreeMap<String, u64>) -> u64 {
    errors.iter().filter(|(what, _)| is_failure(what)).map(|(_, messages)| messages).sum()
}

/// Whether an entry of `errors` says that messages were given up.
pub(crate) fn is_failure(what: &str) -> bool {
    !what.starts_with("retried: ") && !what.starts_with("consume: ")
}

/// Messages and the bytes of their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub messages: u64,
    /// Of their values, uncompressed.
    pub bytes: u64,
}

impl Count {
    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// The cluster as it described itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterSeen {
    /// Its id.
    pub id: Option<String>,
    /// `host:port` of each node, by node id.
    pub nodes: Vec<String>,
}

/// The topics of a run as the brokers described them: what was asked for may be something else.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TopicsSeen {
    /// How many.
    pub count: u32,
    /// Partitions with a leader, of the topic that has fewest.
    pub partitions_min: u32,
    /// The shortest `retention.ms` of them, of one that keeps for ever [`RETENTION_MAX`]. Asked for only where it is a target;
    /// `None` also when the brokers do not tell.
    pub retention: Option<Duration>,
}

/// What `retention.ms = -1` stands for: the longest that can be set.
pub const RETENTION_MAX: Duration = Duration::from_millis(i64::MAX as u64);

/// One finding of the preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at: `brokers`, `room`, `descriptors`, `clock`, `governor`, `cores`.
    pub check: &'static str,
    /// What was found, and for anything but [`Severity::Ok`] what to do.
    pub found: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// The run goes on; its numbers have this beside them.
    Warning,
    /// The run does not begin.
    Refusal,
}

impl Severity {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Refusal => "refusal",
        }
    }
}

/// Batches as they were sent within the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batches {
    /// Batches acked.
    pub batches: u64,
    /// Produce requests answered.
    pub requests: u64,
    /// Messages in these batches.
    pub messages: u64,
    /// Bytes of these batches as a log holds them: headers counted, compressed if they were.
    pub bytes: u64,
}

impl Batches {
    /// Mean bytes of a batch.
    #[must_use]
    pub fn bytes_mean(&self) -> f64 {
        self.bytes as f64 / self.batches.max(1) as f64
    }

    /// Mean messages of a batch.
    #[must_use]
    pub fn messages_mean(&self) -> f64 {
        self.messages as f64 / self.batches.max(1) as f64
    }
}

/// One second of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Seconds since the first message was due, at the window's end.
    pub at_s: f64,
    /// How long it was; the last one ends with the run.
    pub seconds: f64,
    /// Whether it lies within the measured time.
    pub measured: bool,
    /// Messages that were due.
    pub offered: Count,
    /// Messages that were acked.
    pub acked: Count,
    /// Messages that were read, by all groups.
    pub consumed: Count,
    /// Produce latency in microseconds of the messages acked; `None`: there were none.
    pub produce: Option<Quantiles>,
    /// End-to-end latency in microseconds of the messages read; `None`: there were none.
    pub end_to_end: Option<Quantiles>,
    /// At its end: how far behind readers were; `None` without readers, and when nobody looked in that second.
    pub lag: Option<LagSeen>,
    /// CPU of all brokers whose process is known, in cores.
    pub broker_cores: Option<f64>,
    /// Memory of all brokers whose process is known.
    pub broker_rss_bytes: Option<u64>,
    /// CPU of the load generator, in cores; `None` when nobody looked in that second, as of the last.
    pub generator_cores: Option<f64>,
    /// Messages that failed.
    pub errors: u64,
}

/// How far behind readers were at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LagSeen {
    /// Messages acked and not read, the sum over partitions and groups.
    pub messages: u64,
    /// Age of the oldest message not read, the largest over partitions and groups.
    pub seconds: f64,
}

/// Quantiles in microseconds; all 0 when there was nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half.
    pub p50_us: u64,
    /// 99 %.
    pub p99_us: u64,
    /// 99.9 %.
    pub p999_us: u64,
    /// All.
    pub max_us: u64,
}

impl Quantiles {
    /// Of a histogram.
    #[must_use]
    pub fn of(latencies: &Latencies) -> Self {
        let at = |quantile| latencies.value_at_quantile(quantile);
        Self { p50_us: at(0.5), p99_us: at(0.99), p999_us: at(0.999), max_us: latencies.max() }
    }

    /// Of a histogram; `None` when there is nothing in it.
    #[must_use]
    pub fn of_some(latencies: &Latencies) -> Option<Self> {
        (!latencies.is_empty()).then(|| Self::of(latencies))
    }
}

/// How far behind consumers were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lag {
    /// The largest total of messages acked and not read.
    pub messages_max: u64,
    /// That total at the end of the measured time.
    pub messages_end: u64,
    /// The largest age of an unread message.
    pub seconds_max: f64,
    /// Growth of the total over the measured time, in messages a second: the slope of the line through what was seen each
    /// second; `None` if it was seen less than twice.
    pub growth_per_s: Option<f64>,
    /// By partition: the largest over groups. Every partition of the run is there.
    pub partitions: Vec<PartitionLag>,
}

/// One partition's lag.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionLag {
    /// Which.
    pub at: TopicPartition,
    /// The largest number of messages unread.
    pub messages_max: u64,
    /// That at the end of the measured time.
    pub messages_end: u64,
    /// The largest age.
    pub seconds_max: f64,
    /// What was seen second by second, and at the end of which, counted as [`Window::at_s`]. Where a run has more partitions
    /// than `LOAD_LAG_SERIES_MAX`, of the seconds in which it was among so many that were furthest behind.
    pub series: Vec<(u64, LagSeen)>,
}

/// What one broker used within the measured time, all of its processes that followed each other together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BrokerUse {
    /// Their ids, one after the other: each after the first is a restart.
    pub pids: Vec<i32>,
    /// CPU time of all its threads, kernel workers of io_uring included.
    pub cpu: Duration,
    /// Resident memory at the end; 0 while no process runs.
    pub rss_bytes: u64,
    /// The largest of one sample a second.
    pub rss_bytes_max: u64,
    /// Context switches that threads asked for (they waited), threads alive at both ends.
    pub switches_voluntary: u64,
    /// Context switches forced on threads.
    pub switches_forced: u64,
    /// System calls of all threads; `None` where this user may not count them.
    pub system_calls: Option<u64>,
    /// Files synced, whoever asked for it: fsync and its kin, `O_DSYNC`, io_uring. As far as their file systems tell:
    /// ext4, XFS, btrfs and F2FS do.
    pub file_syncs: Option<u64>,
    /// Calls of read(2) and its kind, `syscr`.
    pub read_calls: Option<u64>,
    /// Calls of write(2) and its kind, `syscw`.
    pub write_calls: Option<u64>,
    /// Bytes that it caused to be read from disks.
    pub disk_read_bytes: Option<u64>,
    /// Bytes that it caused to be written to disks.
    pub disk_write_bytes: Option<u64>,
    /// What its `/metrics` said at both ends, by name and labels: only counters that moved, the difference. Empty when it
    /// was not asked or did not answer; who answers counts at least the bytes of that.
    pub metrics: BTreeMap<String, f64>,
}

impl BrokerUse {
    /// The sum over the labels of a counter; `None` when its metrics are not known.
    #[must_use]
    pub fn counted(&self, name: &str) -> Option<f64> {
        let is_it =
            |key: &str| key.strip_prefix(name).is_some_and(|labels| labels.is_empty() || labels.starts_with('{'));
        let moved = self.metrics.iter().filter(|(key, _)| is_it(key)).map(|(_, moved)| moved);
        (!self.metrics.is_empty()).then(|| moved.sum())
    }
}

/// What the self-check found, of all groups and cold readers. All but `expired` and `reread` fail a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelfCheck {
    /// Whether consumers read to the end, so that `lost` means something.
    pub complete: bool,
    /// Messages acked that some group never read, or cold readers did not come upon where they came by.
    pub lost: u64,
    /// Messages that are in a partition twice.
    pub duplicated: u64,
    /// Messages that came after a later one of the same producer and partition.
    pub reordered: u64,
    /// Messages that are not what was sent, and batches whose CRC is wrong.
    pub corrupt: u64,
    /// Messages acked at offsets that retention had taken when a reader came to them. Without acks there are no offsets:
    /// there such messages are lost.
    pub expired: u64,
    /// Messages read again at the same offset, after a group was rebalanced.
    pub reread: u64,
    /// Offsets below the logs' ends that readers had not come to when they were given up for making no progress. What was
    /// acked there may be lost: nobody got to see it. 0 of a run that was cut short, which claims nothing.
    pub unread: u64,
    /// The first few findings, in words.
    pub examples: Vec<String>,
}

impl SelfCheck {
    /// Whether nothing is lost, duplicated, reordered or corrupt, and nothing was out of the readers' reach.
    #[must_use]
    pub fn passed(&self) -> bool {
        [self.lost, self.duplicated, self.reordered, self.corrupt, self.unread] == [0; 5]
    }
}

/// The load generator itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generator {
    /// CPU time of the whole process within the measured time.
    pub cpu: Duration,
    /// Threads that produce.
    pub producer_threads: u32,
    /// Threads that consume.
    pub consumer_threads: u32,
    /// CPUs that it may use.
    pub cpus: u32,
    /// The share of its time that the busiest of its threads was running.
    pub busiest_thread: f64,
    /// CPU of the process over the CPUs it may use.
    pub busy: f64,
    /// Of [`Outcome::slip`].
    pub slip_p999_us: u64,
    /// Why the row measures the generator and not the broker, if it does.
    pub bound: Option<String>,
    /// The same workload's throughput against `floor --sink`; `Err` says why there is none.
    pub ceiling: Option<Result<Ceiling, String>>,
}

/// A busier thread, or busier CPUs, measure themselves.
const BUSY_MAX: f64 = 0.8;

impl Generator {
    /// Whether its busiest thread was running for more than 80 % of the time: it could hardly have sent more.
    #[must_use]
    pub fn is_thread_busy(&self) -> bool {
        BUSY_MAX < self.busiest_thread
    }

    /// The same of the CPUs that it may use.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        BUSY_MAX < self.busy
    }
}

/// What the load generator does against a server that does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ceiling {
    /// As fast as it goes, with the workload's messages and batches.
    pub messages_per_s: f64,
    /// The same in bytes of values.
    pub bytes_per_s: f64,
}

/// How a backlog went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backlog {
    /// Unread bytes at the moment consumers began.
    pub bytes: u64,
    /// How long it took to build.
    pub build: Duration,
    /// From then to no lag (less than 200 ms' worth of messages); `None`: not reached within the run.
    pub drain: Option<Duration>,
    /// Produce latency while it was built.
    pub produce_before: Quantiles,
    /// Produce latency while it was drained.
    pub produce_during: Quantiles,
}

/// How cold readers went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cold {
    /// When they began, in seconds as in [`Window::at_s`].
    pub began_at_s: f64,
    /// What they read.
    pub read: Count,
    /// From their beginning to the tail; `None`: not reached within the run.
    pub caught_up: Option<Duration>,
    /// Produce latency before they began.
    pub produce_before: Quantiles,
    /// Produce latency while they read.
    pub produce_during: Quantiles,
    /// End-to-end latency of tail consumers before.
    pub end_to_end_before: Quantiles,
    /// End-to-end latency of tail consumers meanwhile.
    pub end_to_end_during: Quantiles,
}

/// What happened to the logs in a soak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Soak {
    /// Partitions of the run.
    pub partitions: u64,
    /// Those that were seen to roll a segment.
    pub partitions_rolled: u64,
    /// Those that retention took something of.
    pub partitions_trimmed: u64,
    /// How much it took: by how many offsets the logs' starts moved.
    pub deleted_messages: u64,
}

/// Something that was to happen to a node while the load was on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultSeen {
    /// What, and when.
    pub fault: Fault,
    /// When it did, after the first message was due; `None`: the load was over before.
    pub began: Option<Duration>,
}

/// One rate of a sweep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Messages per second asked for.
    pub rate: f64,
    /// Messages per second acked.
    pub achieved: f64,
    /// Produce latency.
    pub produce: Quantiles,
    /// The quantile that was asked for, in microseconds.
    pub latency_us: u64,
    /// Whether it kept the latency, and the rate.
    pub held: bool,
    /// Why the step measures the generator, if it does.
    pub generator_bound: Option<String>,
    /// It did not hold, and the generator alone may be why, so that it says nothing of the broker. A generator whose CPU
    /// is used up could not have sent more, whoever answers. One that was only late has added to the latency, and no more:
    /// that decides where all else held and the latency without its lateness would have been within the bound.
    pub is_inconclusive: bool,
    /// CPU of all brokers whose process is known, in cores; `None` without.
    pub broker_cores: Option<f64>,
}

/// Where a sweep ended, in messages per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Knee {
    /// The broker held this rate and no higher one.
    Broker(f64),
    /// No higher rate held, and that may be the generator's fault of each: the broker's knee lies here or above.
    Generator(f64),
    /// The highest rate of the sweep held: the broker's knee lies above.
    Open(f64),
}

impl Knee {
    /// Of the highest rate that held, and of those that did not whether they are inconclusive. A rate below that failed
    /// once and held later counts for nothing.
    pub(crate) fn of(rate: f64, missed: impl Iterator<Item = (f64, bool)>) -> Self {
        let above = missed.filter(|(missed, _)| rate < *missed);
        let above: Vec<bool> = above.map(|(_, is_inconclusive)| is_inconclusive).collect();
        match above.contains(&false) {
            true => Self::Broker(rate),
            false if above.is_empty() => Self::Open(rate),
            false => Self::Generator(rate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_knee_is_the_brokers_where_one_rate_above_it_was_not_the_generators_fault() {
        for (missed, knee) in [
            (&[][..], Knee::Open(100.0)),
            (&[(100.0, false), (70.0, false)], Knee::Open(100.0)),
            (&[(140.0, true), (140.0, true), (120.0, true)], Knee::Generator(100.0)),
            (&[(140.0, true), (120.0, false)], Knee::Broker(100.0)),
            (&[(140.0, false), (90.0, true)], Knee::Broker(100.0)),
        ] {
            assert_eq!(Knee::of(100.0, missed.iter().copied()), knee, "{missed:?}");
        }
    }
}
