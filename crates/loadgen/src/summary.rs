//! `summary.json`: what a run came to, in a form that outlives this version.
//!
//! Documented field by field in `results/SCHEMA.md`, which a test holds against what is written here. Fields are only ever
//! added; [`SCHEMA_VERSION`] changes when one would change its meaning. Numbers are integers with their unit last, times
//! RFC 3339 in UTC; what was not measured is `null`, never 0.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::machine::{Machine, Storage};
use crate::outcome::{
    BrokerUse, FaultSeen, Knee, Lag, Latencies, Outcome, PartitionLag, Quantiles, is_failure, messages_failed, quantile,
};
use crate::reached::{counted_in, counted_out};
use crate::stats::{self, Comparison};
use crate::verdict::{self, Met};

/// What [`Summary::schema`] says.
pub const SCHEMA: &str = "ringlog.bench.summary";

/// See the module's text.
pub const SCHEMA_VERSION: u32 = 1;

/// One workload against one or more targets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct Summary {
    pub schema: String,
    pub schema_version: u32,
    pub created_at: String,
    pub ringlog_version: String,
    pub commit: Option<String>,
    pub commit_is_dirty: bool,
    pub command: String,
    pub workload: WorkloadSummary,
    pub machine: Machine,
    pub generator_cpus: Vec<usize>,
    pub targets: Vec<TargetSummary>,
    pub comparisons: Vec<MetricComparison>,
    pub interrupted: Option<String>,
}

/// What was asked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct WorkloadSummary {
    pub name: String,
    pub question: Option<String>,
    pub tier: Option<String>,
    pub mode: String,
    pub toml: String,
}

/// One target and its runs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct TargetSummary {
    pub label: String,
    pub system: String,
    pub version: Option<String>,
    pub nodes: u32,
    pub replication_factor: u32,
    pub durability: String,
    pub storage: Option<Storage>,
    pub cpus: Vec<usize>,
    pub config: BTreeMap<String, String>,
    pub empty: Option<String>,
    pub notes: Vec<String>,
    pub produce_latency: Option<Latency>,
    pub end_to_end_latency: Option<Latency>,
    pub runs: Vec<Run>,
}

impl TargetSummary {
    /// How much of each limit its runs reached: medians, as they stand beside other medians.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitReached> {
        let Some(first) = self.runs.first() else { return Vec::new() };
        let of = |known: &LimitReached| {
            let all = || self.runs.iter().flat_map(|run| &run.limits).filter(|other| other.limit == known.limit);
            let median = |value: fn(&LimitReached) -> Option<u64>| median(all().filter_map(value));
            let percent = median(|limit| limit.percent);
            LimitReached {
                limit: known.limit.clone(),
                used_per_s: median(|limit| limit.used_per_s),
                limit_per_s: median(|limit| limit.limit_per_s),
                percent,
                is_computed: all().any(|limit| limit.is_computed),
                empty: all().find_map(|limit| limit.empty.clone()).filter(|_| percent.is_none()),
                partitions_carried: median(|limit| limit.partitions_carried),
            }
        };
        first.limits.iter().map(of).collect()
    }

    /// The median of its runs' ceilings.
    #[must_use]
    pub fn ceiling_messages_per_s(&self) -> Option<u64> {
        median(self.runs.iter().filter_map(|run| run.generator.ceiling_messages_per_s))
    }
}

fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let values: Vec<f64> = values.map(|value| value as f64).collect();
    stats::median(&values).map(whole)
}

/// One run of the workload against one target.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct Run {
    pub started_at: String,
    pub measured_ms: u64,
    pub partial: Option<String>,
    pub offered_messages: u64,
    pub acked_messages: u64,
    pub acked_bytes: u64,
    pub consumed_messages: u64,
    pub offered_messages_per_s: u64,
    pub acked_messages_per_s: u64,
    pub acked_bytes_per_s: u64,
    pub consumed_messages_per_s: u64,
    pub produce_latency: Latency,
    pub service_latency: Latency,
    pub end_to_end_latency: Option<Latency>,
    pub requests: u64,
    pub batch_bytes_mean: u64,
    pub batch_messages_mean_milli: u64,
    pub lag: Option<LagSummary>,
    pub broker: Option<BrokerSummary>,
    pub generator: GeneratorSummary,
    pub check: CheckSummary,
    pub errors: BTreeMap<String, u64>,
    #[serde(default)]
    pub errors_warmup: BTreeMap<String, u64>,
    pub findings: Vec<FindingSummary>,
    pub verdict: Option<VerdictSummary>,
    pub limits: Vec<LimitReached>,
    pub limits_empty: Option<String>,
    pub steps: Vec<StepSummary>,
    pub knee_messages_per_s: Option<u64>,
    pub backlog: Option<BacklogSummary>,
    pub cold_readers: Option<ColdSummary>,
    #[serde(default)]
    pub soak: Option<SoakSummary>,
    #[serde(default)]
    pub faults: Vec<FaultSummary>,
    pub stored_bytes: Option<u64>,
}

/// A latency's histogram in numbers.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct Latency {
    pub samples: u64,
    pub min_us: u64,
    pub mean_us: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p99_9_us: u64,
    pub p99_99_us: u64,
    pub max_us: u64,
    pub curve: Vec<CurvePoint>,
}

/// One point of a percentile curve.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct CurvePoint {
    pub percentile: f64,
    pub latency_us: u64,
}

/// How far behind consumers were.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct LagSummary {
    pub messages_max: u64,
    pub messages_end: u64,
    pub age_ms_max: u64,
    pub growth_messages_per_s: Option<i64>,
    pub partitions: u64,
    pub worst_partition: Option<String>,
    pub worst_partition_messages_max: u64,
    #[serde(default)]
    pub worst_partitions: Vec<PartitionLagSummary>,
}

/// How far behind consumers of one partition were.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct PartitionLagSummary {
    pub topic: String,
    pub partition: i32,
    pub messages_max: u64,
    pub messages_end: u64,
    pub age_ms_max: u64,
}

/// What all of the target's processes used together.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct BrokerSummary {
    pub processes: u32,
    pub cpu_ms: u64,
    pub cpu_percent: u64,
    pub cpu_ns_per_request: u64,
    pub cpu_ns_per_message: u64,
    pub cpu_us_per_mib: u64,
    pub rss_bytes_max: u64,
    pub switches_voluntary_per_s: u64,
    pub switches_forced_per_s: u64,
    #[serde(default)]
    pub system_calls_per_s: Option<u64>,
    #[serde(default)]
    pub system_calls_per_thousand_requests: Option<u64>,
    #[serde(default)]
    pub file_syncs_per_s: Option<u64>,
    pub read_calls_per_s: Option<u64>,
    pub write_calls_per_s: Option<u64>,
    pub disk_read_bytes_per_s: Option<u64>,
    pub disk_write_bytes_per_s: Option<u64>,
    pub disk_write_percent_of_acked: Option<u64>,
    #[serde(default)]
    pub net_received_bytes_per_s: Option<u64>,
    #[serde(default)]
    pub net_sent_bytes_per_s: Option<u64>,
}

/// How much of one limit of the machine a run reached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct LimitReached {
    pub limit: String,
    pub used_per_s: Option<u64>,
    pub limit_per_s: Option<u64>,
    pub percent: Option<u64>,
    #[serde(default)]
    pub is_computed: bool,
    #[serde(default)]
    pub empty: Option<String>,
    #[serde(default)]
    pub partitions_carried: Option<u64>,
}

/// The load generator itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct GeneratorSummary {
    pub cpu_percent: u64,
    pub busiest_thread_percent: u64,
    pub slip_p99_9_us: u64,
    pub bound: Option<String>,
    pub ceiling_messages_per_s: Option<u64>,
    pub ceiling_empty: Option<String>,
}

/// What the self-check found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct CheckSummary {
    pub is_complete: bool,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupt: u64,
    pub expired: u64,
    pub reread: u64,
    #[serde(default)]
    pub unread: u64,
    pub examples: Vec<String>,
}

impl CheckSummary {
    /// Whether nothing is lost, duplicated, reordered or corrupt, and nothing was out of the readers' reach.
    #[must_use]
    pub fn passed(&self) -> bool {
        [self.lost, self.duplicated, self.reordered, self.corrupt, self.unread] == [0; 5]
    }
}

/// One finding of the preflight that is not plainly well.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct FindingSummary {
    pub severity: String,
    pub check: String,
    pub found: String,
}

/// The verdict against the workload's targets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct VerdictSummary {
    pub tier: Option<String>,
    pub verdict: String,
    pub is_met: bool,
    pub rows: Vec<VerdictRow>,
    pub spoiled: Vec<String>,
    pub notes: Vec<String>,
}

impl VerdictSummary {
    /// The worst of them speaks for all. Words that nobody here writes are taken for the worst.
    pub fn worst<'a>(verdicts: impl Iterator<Item = &'a Self>) -> Option<&'a Self> {
        let met = |verdict: &Self| verdict.verdict.parse().unwrap_or(Met::Not);
        verdicts.reduce(|worst, other| if met(worst).worse(met(other)) == met(worst) { worst } else { other })
    }
}

/// One target of the tier.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct VerdictRow {
    pub row: String,
    pub tier_min: f64,
    pub tier_max: Option<f64>,
    pub scale: f64,
    pub required: f64,
    pub actual: Option<f64>,
    pub verdict: String,
    pub is_met: bool,
}

/// One rate of a sweep.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct StepSummary {
    pub offered_messages_per_s: u64,
    pub acked_messages_per_s: u64,
    pub produce_latency: QuantilesSummary,
    pub latency_us: u64,
    pub is_held: bool,
    pub generator_bound: Option<String>,
    #[serde(default)]
    pub is_inconclusive: bool,
    #[serde(default)]
    pub broker_cpu_percent: Option<u64>,
}

/// A few quantiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct QuantilesSummary {
    pub p50_us: u64,
    pub p99_us: u64,
    pub p99_9_us: u64,
    pub max_us: u64,
}

/// How a backlog went.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct BacklogSummary {
    pub backlog_bytes: u64,
    pub build_ms: u64,
    pub drain_ms: Option<u64>,
    pub produce_before: QuantilesSummary,
    pub produce_during: QuantilesSummary,
}

/// How cold readers went, and what they cost the tail.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct ColdSummary {
    pub read_messages: u64,
    pub read_bytes: u64,
    pub caught_up_ms: Option<u64>,
    pub produce_before: QuantilesSummary,
    pub produce_during: QuantilesSummary,
    pub end_to_end_before: QuantilesSummary,
    pub end_to_end_during: QuantilesSummary,
}

/// What happened to the logs in a soak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct SoakSummary {
    pub partitions: u64,
    pub partitions_rolled: u64,
    pub partitions_trimmed: u64,
    pub deleted_messages: u64,
}

/// Something that was to happen to a node meanwhile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct FaultSummary {
    pub kind: String,
    pub node: u32,
    pub at_ms: u64,
    pub down_ms: u64,
    pub began_ms: Option<u64>,
}

/// The comparison of two targets in one metric.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct MetricComparison {
    pub metric: String,
    pub a: String,
    pub b: String,
    pub is_more_better: bool,
    pub comparison: Comparison,
}

/// One second of one run: a line of `series.jsonl`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct SeriesLine {
    pub target: u32,
    pub run: u32,
    pub at_ms: u64,
    pub window_ms: u64,
    pub is_measured: bool,
    pub offered_messages_per_s: u64,
    pub acked_messages_per_s: u64,
    pub acked_bytes_per_s: u64,
    pub consumed_messages_per_s: u64,
    pub produce_p50_us: Option<u64>,
    pub produce_p99_us: Option<u64>,
    pub produce_p99_9_us: Option<u64>,
    pub produce_max_us: Option<u64>,
    pub end_to_end_p50_us: Option<u64>,
    pub end_to_end_p99_us: Option<u64>,
    pub end_to_end_p99_9_us: Option<u64>,
    pub end_to_end_max_us: Option<u64>,
    pub lag_messages: Option<u64>,
    pub lag_age_ms: Option<u64>,
    pub broker_cpu_percent: Option<u64>,
    pub broker_rss_bytes: Option<u64>,
    pub generator_cpu_percent: Option<u64>,
    pub failed_messages: u64,
}

/// One partition at the end of one second of one run: a line of `lag.jsonl`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "every field is documented in results/SCHEMA.md, and a test holds the two together")]
pub struct LagLine {
    pub target: u32,
    pub run: u32,
    pub at_ms: u64,
    pub topic: String,
    pub partition: i32,
    pub lag_messages: u64,
    pub lag_age_ms: u64,
}

/// RFC 3339 in UTC, whole seconds.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Its years end long after any clock's.
    jiff::Timestamp::from_second(seconds as i64).unwrap_or_default().to_string()
}

fn per_s(count: u64, time: Duration) -> u64 {
    (count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)).round() as u64
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// A number of a model or a measurement, which is neither negative nor endless, as an integer.
fn whole(value: f64) -> u64 {
    value.round() as u64
}

impl Latency {
    /// `None` of an empty histogram.
    #[must_use]
    pub fn of(latencies: &Latencies) -> Option<Self> {
        if latencies.is_empty() {
            return None;
        }
        let at = |percentile: f64| latencies.value_at_quantile(quantile(percentile));
        Some(Self {
            samples: latencies.len(),
            min_us: latencies.min(),
            mean_us: whole(latencies.mean()),
            p50_us: at(50.0),
            p90_us: at(90.0),
            p99_us: at(99.0),
            p99_9_us: at(99.9),
            p99_99_us: at(99.99),
            max_us: latencies.max(),
            curve: curve_percentiles(latencies.len())
                .map(|percentile| CurvePoint { percentile, latency_us: at(percentile) })
                .collect(),
        })
    }

    /// Of nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            samples: 0,
            min_us: 0,
            mean_us: 0,
            p50_us: 0,
            p90_us: 0,
            p99_us: 0,
            p99_9_us: 0,
            p99_99_us: 0,
            max_us: 0,
            curve: Vec::new(),
        }
    }
}

/// Where a curve is read off: evenly in the number of nines, up to 99.99 % or to where the samples end. A percentile that
/// fewer than one sample lies above would only repeat the maximum.
fn curve_percentiles(samples: u64) -> impl Iterator<Item = f64> {
    (0..=80)
        .map(|step| 100.0 * (1.0 - 10f64.powf(-f64::from(step) / 20.0)))
        .take_while(move |percentile| (1.0 - percentile / 100.0) * samples as f64 >= 0.999)
        // Few enough digits to read back as they were written.
        .map(|percentile| (percentile * 1e4).round() / 1e4)
}

impl From<Quantiles> for QuantilesSummary {
    fn from(quantiles: Quantiles) -> Self {
        Self {
            p50_us: quantiles.p50_us,
            p99_us: quantiles.p99_us,
            p99_9_us: quantiles.p999_us,
            max_us: quantiles.max_us,
        }
    }
}

/// Partitions that are told one by one.
const WORST_PARTITIONS_MAX: usize = 10;

impl From<&Lag> for LagSummary {
    fn from(lag: &Lag) -> Self {
        let worst = worst_partitions(&lag.partitions, WORST_PARTITIONS_MAX);
        let first = worst.first();
        Self {
            messages_max: lag.messages_max,
            messages_end: lag.messages_end,
            age_ms_max: whole(lag.seconds_max * 1000.0),
            growth_messages_per_s: lag.growth_per_s.map(|growth| growth.round() as i64),
            partitions: lag.partitions.len() as u64,
            worst_partition: first.map(|partition| partition.at.to_string()),
            worst_partition_messages_max: first.map_or(0, |partition| partition.messages_max),
            worst_partitions: worst
                .iter()
                .map(|partition| PartitionLagSummary {
                    topic: partition.at.topic.to_string(),
                    partition: partition.at.partition.value(),
                    messages_max: partition.messages_max,
                    messages_end: partition.messages_end,
                    age_ms_max: whole(partition.seconds_max * 1000.0),
                })
                .collect(),
        }
    }
}

/// The partitions that were furthest behind in messages, the worst first; of as many messages, the one that was longer.
#[must_use]
pub fn worst_partitions(partitions: &[PartitionLag], most: usize) -> Vec<&PartitionLag> {
    let mut worst: Vec<&PartitionLag> = partitions.iter().collect();
    worst.sort_by(|a, b| {
        (b.messages_max, b.seconds_max).partial_cmp(&(a.messages_max, a.seconds_max)).unwrap_or(Ordering::Equal)
    });
    worst.truncate(most);
    worst
}

impl From<&verdict::Verdict> for VerdictSummary {
    fn from(verdict: &verdict::Verdict) -> Self {
        let rows = verdict.rows.iter().map(|row| VerdictRow {
            row: row.target.row.word().to_owned(),
            tier_min: row.target.bound,
            tier_max: row.target.tier_max,
            scale: row.target.scale,
            required: row.required,
            actual: row.actual,
            verdict: row.met.to_string(),
            is_met: row.met.is_met(),
        });
        Self {
            tier: verdict.tier.clone(),
            verdict: verdict.met.to_string(),
            is_met: verdict.met.is_met(),
            rows: rows.collect(),
            spoiled: verdict.spoiled.clone(),
            notes: verdict.notes.clone(),
        }
    }
}

impl BrokerSummary {
    /// `None` when no process was watched.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Option<Self> {
        let brokers = &outcome.brokers;
        if brokers.is_empty() {
            return None;
        }
        let sum = |count: fn(&BrokerUse) -> u64| brokers.iter().map(count).sum::<u64>();
        let sum_known = |count: fn(&BrokerUse) -> Option<u64>| {
            brokers.iter().map(count).sum::<Option<u64>>().map(|sum| per_s(sum, outcome.measured))
        };
        let cpu: Duration = brokers.iter().map(|broker| broker.cpu).sum();
        let per = |count: u64| whole(cpu.as_nanos() as f64 / count.max(1) as f64);
        let acked_mib = outcome.acked.bytes as f64 / f64::from(1 << 20);
        let system_calls = brokers.iter().map(|broker| broker.system_calls).sum::<Option<u64>>();
        let disk_write = brokers.iter().map(|broker| broker.disk_write_bytes).sum::<Option<u64>>();
        let bytes_per_s = |counted: Option<f64>| counted.map(|bytes| per_s(whole(bytes), outcome.measured));
        Some(Self {
            processes: brokers.iter().map(|broker| broker.pids.len() as u32).sum(),
            cpu_ms: ms(cpu),
            cpu_percent: whole(cpu.as_secs_f64() / outcome.measured.as_secs_f64().max(f64::MIN_POSITIVE) * 100.0),
            cpu_ns_per_request: per(outcome.batches.requests),
            cpu_ns_per_message: per(outcome.acked.messages),
            cpu_us_per_mib: whole(cpu.as_micros() as f64 / acked_mib.max(f64::MIN_POSITIVE)),
            rss_bytes_max: sum(|broker| broker.rss_bytes_max),
            switches_voluntary_per_s: per_s(sum(|broker| broker.switches_voluntary), outcome.measured),
            switches_forced_per_s: per_s(sum(|broker| broker.switches_forced), outcome.measured),
            system_calls_per_s: sum_known(|broker| broker.system_calls),
            system_calls_per_thousand_requests: system_calls
                .map(|calls| whole(calls as f64 / outcome.batches.requests.max(1) as f64 * 1000.0)),
            file_syncs_per_s: sum_known(|broker| broker.file_syncs),
            read_calls_per_s: sum_known(|broker| broker.read_calls),
            write_calls_per_s: sum_known(|broker| broker.write_calls),
            disk_read_bytes_per_s: sum_known(|broker| broker.disk_read_bytes),
            disk_write_bytes_per_s: sum_known(|broker| broker.disk_write_bytes),
            disk_write_percent_of_acked: disk_write
                .map(|bytes| whole(bytes as f64 / outcome.batches.bytes.max(1) as f64 * 100.0)),
            net_received_bytes_per_s: bytes_per_s(counted_in(brokers)),
            net_sent_bytes_per_s: bytes_per_s(counted_out(brokers)),
        })
    }
}

impl Run {
    /// Of a sweep in which some rate held: where it ended, and why.
    #[must_use]
    pub fn knee(&self) -> Option<Knee> {
        let missed = self.steps.iter().filter(|step| !step.is_held);
        let missed = missed.map(|step| (step.offered_messages_per_s as f64, step.is_inconclusive));
        Some(Knee::of(self.knee_messages_per_s? as f64, missed))
    }

    /// What an outcome comes to, beside the limits of the machine that it ran on.
    #[must_use]
    pub fn of(outcome: &Outcome, limits: Vec<LimitReached>) -> Self {
        let generator = &outcome.generator;
        let check = &outcome.check;
        let (ceiling, ceiling_empty) = match &generator.ceiling {
            Some(Ok(ceiling)) => (Some(whole(ceiling.messages_per_s)), None),
            Some(Err(reason)) => (None, Some(reason.clone())),
            None => (None, Some("not measured".to_owned())),
        };
        Self {
            started_at: rfc3339(outcome.started_at),
            measured_ms: ms(outcome.measured),
            partial: outcome.partial.clone(),
            offered_messages: outcome.offered.messages,
            acked_messages: outcome.acked.messages,
            acked_bytes: outcome.acked.bytes,
            consumed_messages: outcome.consumed.messages,
            offered_messages_per_s: per_s(outcome.offered.messages, outcome.measured),
            acked_messages_per_s: per_s(outcome.acked.messages, outcome.measured),
            acked_bytes_per_s: per_s(outcome.acked.bytes, outcome.measured),
            consumed_messages_per_s: per_s(outcome.consumed.messages, outcome.measured),
            produce_latency: Latency::of(&outcome.produce).unwrap_or_else(Latency::empty),
            service_latency: Latency::of(&outcome.service).unwrap_or_else(Latency::empty),
            end_to_end_latency: Latency::of(&outcome.end_to_end),
            requests: outcome.batches.requests,
            batch_bytes_mean: whole(outcome.batches.bytes_mean()),
            batch_messages_mean_milli: whole(outcome.batches.messages_mean() * 1000.0),
            lag: outcome.lag.as_ref().map(LagSummary::from),
            broker: BrokerSummary::of(outcome),
            generator: GeneratorSummary {
                cpu_percent: whole(generator.busy * 100.0),
                busiest_thread_percent: whole(generator.busiest_thread * 100.0),
                slip_p99_9_us: generator.slip_p999_us,
                bound: generator.bound.clone(),
                ceiling_messages_per_s: ceiling,
                ceiling_empty,
            },
            check: CheckSummary {
                is_complete: check.complete,
                lost: check.lost,
                duplicated: check.duplicated,
                reordered: check.reordered,
                corrupt: check.corrupt,
                expired: check.expired,
                reread: check.reread,
                unread: check.unread,
                examples: check.examples.clone(),
            },
            errors: outcome.errors.clone(),
            errors_warmup: outcome.errors_warmup.clone(),
            findings: outcome
                .findings
                .iter()
                .filter(|finding| finding.severity != crate::outcome::Severity::Ok)
                .map(|finding| FindingSummary {
                    severity: finding.severity.word().to_owned(),
                    check: finding.check.to_owned(),
                    found: finding.found.clone(),
                })
                .collect(),
            verdict: verdict::judge(outcome).as_ref().map(VerdictSummary::from),
            limits_empty: match limits.iter().all(|row| row.limit_per_s.is_none()) {
                true => Some(limits.iter().find_map(|row| row.empty.clone()).unwrap_or_else(|| "not asked".to_owned())),
                false => None,
            },
            limits,
            steps: outcome
                .steps
                .iter()
                .map(|step| StepSummary {
                    offered_messages_per_s: whole(step.rate),
                    acked_messages_per_s: whole(step.achieved),
                    produce_latency: step.produce.into(),
                    latency_us: step.latency_us,
                    is_held: step.held,
                    generator_bound: step.generator_bound.clone(),
                    is_inconclusive: step.is_inconclusive,
                    broker_cpu_percent: step.broker_cores.map(|cores| whole(cores * 100.0)),
                })
                .collect(),
            knee_messages_per_s: outcome.knee_rate.map(whole),
            backlog: outcome.backlog.as_ref().map(|backlog| BacklogSummary {
                backlog_bytes: backlog.bytes,
                build_ms: ms(backlog.build),
                drain_ms: backlog.drain.map(ms),
                produce_before: backlog.produce_before.into(),
                produce_during: backlog.produce_during.into(),
            }),
            cold_readers: outcome.cold.as_ref().map(|cold| ColdSummary {
                read_messages: cold.read.messages,
                read_bytes: cold.read.bytes,
                caught_up_ms: cold.caught_up.map(ms),
                produce_before: cold.produce_before.into(),
                produce_during: cold.produce_during.into(),
                end_to_end_before: cold.end_to_end_before.into(),
                end_to_end_during: cold.end_to_end_during.into(),
            }),
            soak: outcome.soak.map(|soak| SoakSummary {
                partitions: soak.partitions,
                partitions_rolled: soak.partitions_rolled,
                partitions_trimmed: soak.partitions_trimmed,
                deleted_messages: soak.deleted_messages,
            }),
            faults: outcome
                .faults
                .iter()
                .map(|FaultSeen { fault, began }| FaultSummary {
                    kind: fault.kind.word().to_owned(),
                    node: fault.node,
                    at_ms: ms(fault.at),
                    down_ms: ms(fault.down),
                    began_ms: began.map(ms),
                })
                .collect(),
            stored_bytes: outcome.stored_bytes,
        }
    }

    /// What it is to be read with: it was cut short, failed its self-check, met errors or faults, or measured the generator.
    #[must_use]
    pub fn cautions(&self) -> Vec<String> {
        let mut cautions = Vec::new();
        if let Some(reason) = &self.partial {
            cautions.push(format!("partial: {reason}"));
        }
        for (count, what) in [
            (self.check.lost, "acked messages lost"),
            (self.check.duplicated, "messages duplicated"),
            (self.check.reordered, "messages reordered"),
            (self.check.corrupt, "messages corrupt"),
            (self.check.unread, "offsets never read: readers made no progress and were given up"),
        ] {
            if count > 0 {
                cautions.push(format!("{count} {what}"));
            }
        }
        if !self.check.is_complete && self.check.unread == 0 {
            cautions.push("loss not checked: nobody read to the end".to_owned());
        }
        let (failed, passing): (Vec<_>, Vec<_>) = self.errors.iter().partition(|(what, _)| is_failure(what));
        let named = |errors: &[(&String, &u64)]| {
            errors.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
        };
        if !failed.is_empty() {
            cautions.push(format!("{} messages failed ({})", messages_failed(&self.errors), named(&failed)));
        }
        if !passing.is_empty() {
            cautions.push(format!("errors that passed: {}", named(&passing)));
        }
        if !self.errors_warmup.is_empty() {
            let all: Vec<_> = self.errors_warmup.iter().collect();
            cautions.push(format!("errors of the warm-up, which count for no target: {}", named(&all)));
        }
        for fault in &self.faults {
            let FaultSummary { kind, node, .. } = fault;
            let (at_s, down_s) = (fault.at_ms as f64 / 1e3, fault.down_ms as f64 / 1e3);
            cautions.push(match fault.began_ms {
                Some(_) => format!("{kind} of node {node} at {at_s} s of the load, for {down_s} s"),
                None => format!("no {kind} of node {node}: the load ended before {at_s} s"),
            });
        }
        if let Some(reason) = &self.generator.bound {
            cautions.push(format!("generator-bound: {reason}"));
        }
        cautions
    }
}

/// The lines of `series.jsonl` of one run.
#[must_use]
pub fn series(outcome: &Outcome, target: u32, run: u32) -> Vec<SeriesLine> {
    let lines = outcome.series.iter().map(|window| {
        let time = Duration::from_secs_f64(window.seconds.max(0.001));
        SeriesLine {
            target,
            run,
            at_ms: whole(window.at_s * 1000.0),
            window_ms: ms(time),
            is_measured: window.measured,
            offered_messages_per_s: per_s(window.offered.messages, time),
            acked_messages_per_s: per_s(window.acked.messages, time),
            acked_bytes_per_s: per_s(window.acked.bytes, time),
            consumed_messages_per_s: per_s(window.consumed.messages, time),
            produce_p50_us: window.produce.map(|latency| latency.p50_us),
            produce_p99_us: window.produce.map(|latency| latency.p99_us),
            produce_p99_9_us: window.produce.map(|latency| latency.p999_us),
            produce_max_us: window.produce.map(|latency| latency.max_us),
            end_to_end_p50_us: window.end_to_end.map(|latency| latency.p50_us),
            end_to_end_p99_us: window.end_to_end.map(|latency| latency.p99_us),
            end_to_end_p99_9_us: window.end_to_end.map(|latency| latency.p999_us),
            end_to_end_max_us: window.end_to_end.map(|latency| latency.max_us),
            lag_messages: window.lag.map(|lag| lag.messages),
            lag_age_ms: window.lag.map(|lag| whole(lag.seconds * 1000.0)),
            broker_cpu_percent: window.broker_cores.map(|cores| whole(cores * 100.0)),
            broker_rss_bytes: window.broker_rss_bytes,
            generator_cpu_percent: window.generator_cores.map(|cores| whole(cores * 100.0)),
            failed_messages: window.errors,
        }
    });
    lines.collect()
}

/// The lines of `lag.jsonl` of one run: second by second, its partitions in order.
pub fn lag_lines(outcome: &Outcome, target: u32, run: u32) -> impl Iterator<Item = LagLine> + '_ {
    let partitions = outcome.lag.iter().flat_map(|lag| &lag.partitions);
    let mut seen: Vec<_> = partitions
        .flat_map(|partition| partition.series.iter().map(|(second, seen)| (*second, &partition.at, *seen)))
        .collect();
    // Stable: within a second they stay in order.
    seen.sort_by_key(|(second, _, _)| *second);
    seen.into_iter().map(move |(second, at, seen)| LagLine {
        target,
        run,
        at_ms: second * 1000,
        topic: at.topic.to_string(),
        partition: at.partition.value(),
        lag_messages: seen.messages,
        lag_age_ms: whole(seen.seconds * 1000.0),
    })
}

#[cfg(test)]
mod tests {
    use types::{PartitionIndex, TopicPartition};

    use super::*;
    use crate::outcome::{Window, latencies};
    use crate::report::sample;

    #[test]
    fn a_percentile_is_the_same_wherever_it_is_shown() {
        // 7,992 of 8,000 samples are not above p99.9; the next one is far away.
        let mut samples = latencies();
        samples.record_n(1000, 7992).expect("recorded");
        samples.record_n(5000, 8).expect("recorded");
        let written = Latency::of(&samples).expect("samples");
        assert_eq!((written.p99_9_us, written.p99_99_us), (1000, samples.value_at_quantile(0.9999)));
        assert_eq!(written.p99_9_us, Quantiles::of(&samples).p999_us);
        for literal in [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999] {
            assert_eq!(quantile(literal * 100.0), literal);
        }
    }

    #[test]
    fn what_was_not_measured_in_a_second_is_absent_and_not_zero() {
        let mut outcome = sample::outcome(1);
        outcome.series = vec![Window { at_s: 1.25, seconds: 0.25, ..Window::default() }];
        let line = &series(&outcome, 0, 0)[0];
        assert_eq!((line.at_ms, line.window_ms), (1250, 250));
        assert_eq!(
            (line.lag_messages, line.lag_age_ms, line.produce_p99_us, line.end_to_end_p99_us),
            Default::default()
        );
        assert_eq!((line.broker_cpu_percent, line.generator_cpu_percent), (None, None));
    }

    #[test]
    fn each_partition_has_its_lag_of_each_second() {
        let outcome = sample::outcome(1);
        let lines: Vec<LagLine> = lag_lines(&outcome, 3, 1).collect();
        assert_eq!((lines.len(), lines[1].at_ms), (15, 2000));
        assert_eq!((lines[0].target, lines[0].run, lines[0].lag_messages, lines[0].lag_age_ms), (3, 1, 10, 10));
        // A partition that was not kept of a second leaves the others in their order.
        let mut outcome = outcome;
        let lag = outcome.lag.as_mut().expect("readers");
        let mut other = lag.partitions[0].clone();
        other.at = TopicPartition::new("t", PartitionIndex::new(1));
        other.series.retain(|(second, _)| *second == 15);
        lag.partitions.insert(0, other);
        let lines: Vec<(u64, i32)> = lag_lines(&outcome, 3, 1).map(|line| (line.at_ms, line.partition)).collect();
        assert_eq!(lines[..2], [(1000, 0), (2000, 0)]);
        assert_eq!(lines[14..], [(15_000, 1), (15_000, 0)]);
    }

    #[test]
    fn the_worst_verdict_is_found_wherever_it_stands() {
        let of = |words: &[&str]| {
            let verdict = |word: &&str| VerdictSummary {
                tier: None,
                verdict: (*word).to_owned(),
                is_met: word.starts_with("met"),
                rows: Vec::new(),
                spoiled: Vec::new(),
                notes: Vec::new(),
            };
            let verdicts: Vec<VerdictSummary> = words.iter().map(verdict).collect();
            VerdictSummary::worst(verdicts.iter()).map(|worst| worst.verdict.clone())
        };
        assert_eq!(of(&["not proven", "not met", "met"]).as_deref(), Some("not met"));
        assert_eq!(of(&["met", "not proven", "met at scale 1/3"]).as_deref(), Some("not proven"));
        assert_eq!(of(&["met at scale 1/3", "met at scale 1/12", "met"]).as_deref(), Some("met at scale 1/12"));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn limits_are_medians_of_the_runs_and_an_empty_one_keeps_its_reason() {
        let mut target = sample::target("a", 3, 1);
        for (run, percent) in target.runs.iter_mut().zip([90, 10, 20]) {
            run.limits[0].percent = Some(percent);
            run.generator.ceiling_messages_per_s = Some(percent * 1000);
        }
        let limits = target.limits();
        assert_eq!(
            (limits[0].percent, limits[0].used_per_s, limits[0].empty.as_deref()),
            (Some(20), Some(10_400_000), None)
        );
        assert_eq!((limits[1].percent, limits[1].empty.as_deref()), (None, Some("/data was not measured")));
        assert_eq!(target.ceiling_messages_per_s(), Some(20_000));
        assert!(sample::empty_target("b", "why").limits().is_empty());
    }

    #[test]
    fn the_worst_partitions_are_those_with_the_most_unread() {
        let mut outcome = sample::outcome(1);
        let lag = outcome.lag.as_mut().expect("readers");
        let one = lag.partitions[0].clone();
        lag.partitions = (0..30)
            .map(|index| PartitionLag {
                at: TopicPartition::new("t", PartitionIndex::new(index)),
                messages_max: 120 * u64::from(index < 3),
                seconds_max: f64::from(index) / 100.0,
                ..one.clone()
            })
            .collect();
        let lag = LagSummary::from(&*lag);
        assert_eq!(
            (lag.worst_partition.as_deref(), lag.worst_partition_messages_max, lag.partitions),
            (Some("t-2"), 120, 30)
        );
        let worst: Vec<_> = lag.worst_partitions.iter().map(|worst| (worst.partition, worst.age_ms_max)).collect();
        assert_eq!((worst.len(), &worst[..4]), (WORST_PARTITIONS_MAX, &[(2, 20), (1, 10), (0, 0), (29, 290)][..]));
    }

    #[test]
    fn a_curve_ends_where_its_samples_do() {
        let ends: Vec<f64> =
            [1, 100, 10_000, 1_000_000].map(|samples| curve_percentiles(samples).last().unwrap_or(-1.0)).to_vec();
        for (found, expected) in ends.iter().zip([0.0, 99.0, 99.99, 99.99]) {
            assert!((found - expected).abs() < 1e-9, "{ends:?}");
        }
    }

    #[test]
    fn a_latency_is_read_off_its_histogram() {
        let mut histogram = latencies();
        (1..=1000).for_each(|us| histogram.record(us).expect("recorded"));
        let latency = Latency::of(&histogram).expect("samples");
        assert_eq!((latency.samples, latency.p50_us, latency.p99_us, latency.max_us), (1000, 500, 990, 1000));
        assert!(latency.curve.windows(2).all(|pair| pair[0].latency_us <= pair[1].latency_us));
        assert_eq!(Latency::of(&latencies()), None);
    }
}
