//! What `bench` prints of a session: the numbers that a person compares, a row for each target.

use std::path::Path;

use loadgen::limits::{self, DURABLE_ACK_MS};
use loadgen::stats::{self, Verdict};
use loadgen::summary::{LimitReached, MetricComparison, Run, Summary, TargetSummary, VerdictSummary};
use schemars::JsonSchema;
use serde::Serialize;

use crate::output::{Answer, Cell, Section, Tone};
use crate::units::{bytes, count};

/// What came out of a session. Everything else is in the folder's `summary.json`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BenchResults {
    /// The results folder.
    pub(crate) folder: String,
    /// The workload's name.
    workload: String,
    /// Why the session ended early; null if it did not.
    interrupted: Option<String>,
    /// A row for each target.
    targets: Vec<TargetRow>,
    /// The first target against each other, metric by metric.
    comparisons: Vec<ComparisonRow>,
}

#[derive(Default, Serialize, JsonSchema)]
struct TargetRow {
    /// What it is called.
    target: String,
    /// Why it did not run; null if it did.
    empty: Option<String>,
    /// How often it ran.
    runs: u64,
    /// `met`, `met at scale 1/k`, `not proven`, `not met`: the worst of its runs; null without targets.
    verdict: Option<String>,
    /// Median of the runs.
    acked_messages_per_s: Option<u64>,
    /// Median of the runs.
    offered_messages_per_s: Option<u64>,
    /// Of all runs' samples together, from due to acked.
    produce_p50_us: Option<u64>,
    /// The same.
    produce_p99_us: Option<u64>,
    /// The same.
    produce_p99_9_us: Option<u64>,
    /// The same.
    produce_max_us: Option<u64>,
    /// Of all runs' samples together, from due to read.
    end_to_end_p99_us: Option<u64>,
    /// Age of the oldest unread message, median of the runs.
    lag_age_ms: Option<u64>,
    /// CPU of all of its processes over produce requests, median of the runs.
    cpu_ns_per_request: Option<u64>,
    /// Resident memory, median of the runs.
    rss_bytes: Option<u64>,
    /// What to know before reading the numbers: losses, errors, a generator that was the limit.
    cautions: Vec<String>,
    /// How much of what the machine can do its first run reached; empty where that is not known.
    limits: Vec<LimitRow>,
}

#[derive(Serialize, JsonSchema)]
struct LimitRow {
    /// `disk_write`, `disk_sync`, `net_in` or `net_out`.
    limit: String,
    /// What the run did, in bytes or fdatasyncs a second.
    used_per_s: u64,
    /// What the machine can do, in the same unit.
    limit_per_s: u64,
    /// The ratio. Above 100 where the page cache took what the disk had not yet.
    percent: u64,
    /// Of `disk_sync` in durable mode: busy partitions that the disk carries while each ack takes at most 100 ms.
    partitions_carried: Option<u64>,
}

/// One metric of two targets.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ComparisonRow {
    /// A field of `summary.json`.
    metric: String,
    /// Label of A.
    a: String,
    /// Label of B.
    b: String,
    /// Median of A.
    a_median: f64,
    /// Median of B.
    b_median: f64,
    /// Median of B over median of A.
    ratio: Option<f64>,
    /// Lower end of its 95 % bootstrap interval.
    ratio_low: Option<f64>,
    /// Upper end.
    ratio_high: Option<f64>,
    /// Two-sided p of Mann-Whitney's test.
    p: Option<f64>,
    /// The chance that a run of B is larger than one of A.
    effect: Option<f64>,
    /// `a is better`, `b is better`, `no difference shown`, or why there is no verdict.
    verdict: String,
}

impl BenchResults {
    pub(crate) fn of(folder: &Path, summary: &Summary) -> Self {
        Self {
            folder: folder.display().to_string(),
            workload: summary.workload.name.clone(),
            interrupted: summary.interrupted.clone(),
            targets: summary.targets.iter().map(TargetRow::of).collect(),
            comparisons: summary.comparisons.iter().map(ComparisonRow::of).collect(),
        }
    }

    /// What is known of the session, without where its page is.
    pub(crate) fn tables(&self, wide: bool) -> Vec<Section> {
        let mut heads =
            vec!["target", "verdict", "messages/s", "p50", "p99", "p99.9", "end to end p99", "lag", "CPU/request"];
        if wide {
            heads.extend(["max", "offered/s", "memory", "runs"]);
        }
        let mut sections = vec![Section::rows(&heads, self.targets.iter().map(|row| row.cells(wide)))];
        sections.extend(limit_section(&self.targets, wide));
        let mut remarks = String::new();
        if let Some(reason) = &self.interrupted {
            remarks.push_str(&format!("interrupted: {reason}\n"));
        }
        for row in &self.targets {
            for remark in
                row.empty.iter().map(|reason| format!("not run, {reason}")).chain(row.cautions.iter().cloned())
            {
                remarks.push_str(&format!("{}: {remark}\n", row.target));
            }
        }
        if !remarks.is_empty() {
            sections.push(Section::Text(remarks));
        }
        sections.extend(comparison_sections(&self.comparisons));
        sections
    }
}

impl TargetRow {
    fn of(target: &TargetSummary) -> Self {
        let median = |value: fn(&Run) -> Option<u64>| {
            let values: Vec<f64> = target.runs.iter().filter_map(value).map(|value| value as f64).collect();
            stats::median(&values).map(|value| value.round() as u64)
        };
        let produce = target.produce_latency.as_ref();
        let verdicts = target.runs.iter().filter_map(|run| run.verdict.as_ref());
        let mut cautions: Vec<String> = Vec::new();
        for caution in target.runs.iter().flat_map(Run::cautions).chain(target.notes.iter().cloned()) {
            if !cautions.contains(&caution) {
                cautions.push(caution);
            }
        }
        Self {
            target: target.label.clone(),
            empty: target.empty.clone(),
            runs: target.runs.len() as u64,
            verdict: VerdictSummary::worst(verdicts).map(|worst| worst.verdict.clone()),
            acked_messages_per_s: median(|run| Some(run.acked_messages_per_s)),
            offered_messages_per_s: median(|run| Some(run.offered_messages_per_s)),
            produce_p50_us: produce.map(|latency| latency.p50_us),
            produce_p99_us: produce.map(|latency| latency.p99_us),
            produce_p99_9_us: produce.map(|latency| latency.p99_9_us),
            produce_max_us: produce.map(|latency| latency.max_us),
            end_to_end_p99_us: target.end_to_end_latency.as_ref().map(|latency| latency.p99_us),
            lag_age_ms: median(|run| Some(run.lag.as_ref()?.age_ms_max)),
            cpu_ns_per_request: median(|run| Some(run.broker.as_ref()?.cpu_ns_per_request)),
            rss_bytes: median(|run| Some(run.broker.as_ref()?.rss_bytes_max)),
            cautions,
            limits: target.runs.first().map_or_else(Vec::new, |run| run.limits.iter().map(LimitRow::of).collect()),
        }
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let dash = || Cell::from("-");
        let us = |value: Option<u64>| value.map_or_else(dash, |us| latency(us).into());
        let verdict = match (&self.empty, &self.verdict) {
            (Some(_), _) => Cell::toned("not run", Tone::Warning),
            (None, Some(verdict)) if verdict == "not met" => Cell::toned(verdict.clone(), Tone::Bad),
            (None, Some(verdict)) if verdict == "met" => Cell::toned(verdict.clone(), Tone::Good),
            (None, Some(verdict)) => Cell::toned(verdict.clone(), Tone::Warning),
            (None, None) => dash(),
        };
        let mut cells = vec![
            self.target.clone().into(),
            verdict,
            self.acked_messages_per_s.map_or_else(dash, |rate| count(rate).into()),
            us(self.produce_p50_us),
            us(self.produce_p99_us),
            us(self.produce_p99_9_us),
            us(self.end_to_end_p99_us),
            self.lag_age_ms.map_or_else(dash, |ms| latency(ms * 1000).into()),
            self.cpu_ns_per_request.map_or_else(dash, |ns| latency_ns(ns).into()),
        ];
        if wide {
            cells.push(us(self.produce_max_us));
            cells.push(self.offered_messages_per_s.map_or_else(dash, |rate| count(rate).into()));
            cells.push(self.rss_bytes.map_or_else(dash, |rss| bytes(rss).into()));
            cells.push(self.runs.to_string().into());
        }
        cells
    }
}

impl LimitRow {
    fn of(limit: &LimitReached) -> Self {
        Self {
            limit: limit.limit.clone(),
            used_per_s: limit.used_per_s,
            limit_per_s: limit.limit_per_s,
            percent: limit.percent,
            partitions_carried: limit.partitions_carried,
        }
    }

    fn cell(&self, wide: bool) -> String {
        let most = self.limit_per_s;
        match (wide, limits::is_bytes(&self.limit)) {
            (false, _) => format!("{} %", self.percent),
            (true, true) => format!("{} % of {}/s", self.percent, bytes(most)),
            (true, false) => format!("{} % of {}/s", self.percent, count(most)),
        }
    }
}

/// How much of the machine's limits each target took, a column for each limit; `None` where none is known.
fn limit_section(targets: &[TargetRow], wide: bool) -> Option<Section> {
    let known: Vec<&TargetRow> = targets.iter().filter(|target| !target.limits.is_empty()).collect();
    let mut columns: Vec<&str> = Vec::new();
    for row in known.iter().flat_map(|target| &target.limits) {
        if !columns.contains(&row.limit.as_str()) {
            columns.push(&row.limit);
        }
    }
    let carried = |target: &TargetRow| target.limits.iter().find_map(|row| row.partitions_carried);
    let is_durable = known.iter().any(|target| carried(target).is_some());
    let mut heads = vec!["target"];
    heads.extend(columns.iter().map(|limit| limits::title(limit)));
    heads.extend(is_durable.then_some("durable mode carries"));
    let cells = |target: &&TargetRow| {
        let of = |limit: &&str| target.limits.iter().find(|row| row.limit == *limit);
        let cell = |limit| of(limit).map_or_else(|| "-".to_owned(), |row| row.cell(wide));
        let partitions =
            carried(target).map(|many| format!("{} partitions at {DURABLE_ACK_MS} ms an ack", count(many)));
        let mut cells = vec![target.target.clone()];
        cells.extend(columns.iter().map(cell));
        cells.extend(is_durable.then(|| partitions.unwrap_or_else(|| "-".to_owned())));
        cells
    };
    (!known.is_empty()).then(|| Section::rows(&heads, known.iter().map(cells)))
}

impl ComparisonRow {
    pub(crate) fn of(one: &MetricComparison) -> Self {
        let comparison = &one.comparison;
        let verdict = match (comparison.verdict, one.is_more_better) {
            (Verdict::TooFewRuns, _) => format!("no verdict: fewer than {} runs", stats::RUNS_MIN),
            (Verdict::NoDifference, _) => "no difference shown".to_owned(),
            (Verdict::ALarger, true) | (Verdict::BLarger, false) => "a is better".to_owned(),
            (Verdict::ALarger, false) | (Verdict::BLarger, true) => "b is better".to_owned(),
        };
        Self {
            metric: one.metric.clone(),
            a: one.a.clone(),
            b: one.b.clone(),
            a_median: comparison.a.median,
            b_median: comparison.b.median,
            ratio: comparison.ratio,
            ratio_low: comparison.ratio_low,
            ratio_high: comparison.ratio_high,
            p: comparison.p,
            effect: comparison.effect,
            verdict,
        }
    }

    /// Whether B is shown to be the worse one.
    pub(crate) fn is_worse(&self) -> bool {
        self.verdict == "a is better"
    }
}

/// The same table wherever comparisons are printed: one for each pair of targets.
pub(crate) fn comparison_sections(rows: &[ComparisonRow]) -> Vec<Section> {
    let heads = ["metric", "A", "B", "B / A", "95 % interval", "p", "verdict"];
    let text =
        |value: Option<f64>, digits: usize| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"));
    rows.chunk_by(|x, y| (&x.a, &x.b) == (&y.a, &y.b))
        .flat_map(|pair| {
            let title = format!("A: {}   B: {}\n", pair[0].a, pair[0].b);
            let rows = pair.iter().map(|row| {
                let interval = match (row.ratio_low, row.ratio_high) {
                    (Some(low), Some(high)) => format!("{low:.2} to {high:.2}"),
                    _ => "-".to_owned(),
                };
                vec![
                    row.metric.clone(),
                    count(row.a_median.round() as u64),
                    count(row.b_median.round() as u64),
                    text(row.ratio, 2),
                    interval,
                    text(row.p, 3),
                    row.verdict.replacen('a', &row.a, usize::from(row.verdict.starts_with("a is"))).replacen(
                        'b',
                        &row.b,
                        usize::from(row.verdict.starts_with("b is")),
                    ),
                ]
            });
            [Section::Text(title), Section::rows(&heads, rows)]
        })
        .collect()
}

impl Answer for BenchResults {
    const SCHEMA: &'static str = "bench.results";
    const LINES: &'static str = "targets";

    fn sections(&self, wide: bool) -> Vec<Section> {
        let mut sections = self.tables(wide);
        sections.push(Section::Text(format!("{}/report.html\n", self.folder)));
        sections
    }
}

/// Microseconds with three figures.
pub(crate) fn latency(us: u64) -> String {
    latency_ns(us * 1000)
}

fn latency_ns(ns: u64) -> String {
    let us = ns as f64 / 1e3;
    let three = |value: f64| match value {
        large if large >= 99.95 => format!("{large:.0}"),
        middle if middle >= 9.995 => format!("{middle:.1}"),
        small => format!("{small:.2}"),
    };
    if us < 999.5 {
        format!("{} us", three(us))
    } else if us < 999_500.0 {
        format!("{} ms", three(us / 1e3))
    } else {
        format!("{} s", three(us / 1e6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_carries_in_durable_mode_stands_beside_what_the_run_took_of_it() {
        let row = |limit: &str, partitions_carried| {
            let limit = limit.to_owned();
            LimitRow::of(&LimitReached { limit, used_per_s: 1024, limit_per_s: 2048, percent: 50, partitions_carried })
        };
        let target = |limits| TargetRow { target: "ringlog".to_owned(), limits, ..TargetRow::default() };
        assert_eq!(limit_section(&[target(Vec::new())], false), None);
        let memory = target(vec![row("disk_write", None)]);
        let durable = target(vec![row("disk_write", None), row("disk_sync", Some(1000))]);
        let (write, sync) = ("disk, sequential write", "disk, fdatasyncs");
        let found = limit_section(&[memory, durable, target(Vec::new())], false);
        let expected =
            [vec!["ringlog", "50 %", "-", "-"], vec!["ringlog", "50 %", "50 %", "1,000 partitions at 100 ms an ack"]];
        assert_eq!(found, Some(Section::rows(&["target", write, sync, "durable mode carries"], expected)));
        let wide = limit_section(&[target(vec![row("disk_write", None), row("disk_sync", None)])], true);
        let expected = [vec!["ringlog", "50 % of 2.0 KiB/s", "50 % of 2,048/s"]];
        assert_eq!(wide, Some(Section::rows(&["target", write, sync], expected)));
    }

    #[test]
    fn latencies_have_three_figures_and_a_unit() {
        let texts = [5_400, 850_000, 2_349_000, 61_000_000_000].map(latency_ns);
        assert_eq!(texts, ["5.40 us", "850 us", "2.35 ms", "61.0 s"]);
    }
}
