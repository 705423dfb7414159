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
    /// How much of what the machine can do it reached, medians of the runs.
    limits: Vec<LimitRow>,
    /// What the load generator itself did against a server that does nothing, median of the runs.
    ceiling_messages_per_s: Option<u64>,
    /// How much of that it reached, in percent.
    ceiling_percent: Option<u64>,
    /// Why the ceiling is not known; null if it is.
    ceiling_empty: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct LimitRow {
    /// `disk_write`, `disk_sync`, `net_in` or `net_out`.
    limit: String,
    /// What the run did, in bytes or fdatasyncs a second; null: not counted.
    used_per_s: Option<u64>,
    /// What the machine can do, in the same unit; null: not measured.
    limit_per_s: Option<u64>,
    /// The ratio. Above 100 where the page cache took what the disk had not yet.
    percent: Option<u64>,
    /// Whether what the run did is computed from its batches, copies and readers; else the nodes counted it.
    is_computed: bool,
    /// Why there is no percentage; null if there is one.
    empty: Option<String>,
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
        for reason in limits_not_known(&self.targets) {
            remarks.push_str(&format!("{reason}\n"));
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
        let acked = median(|run| Some(run.acked_messages_per_s));
        let ceiling = target.ceiling_messages_per_s();
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
            acked_messages_per_s: acked,
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
            limits: target.limits().into_iter().map(LimitRow::from).collect(),
            ceiling_messages_per_s: ceiling,
            ceiling_percent: acked
                .zip(ceiling)
                .filter(|(_, most)| 0 < *most)
                .map(|(acked, most)| (acked as f64 / most as f64 * 100.0).round() as u64),
            ceiling_empty: match ceiling {
                Some(_) => None,
                None => target.runs.iter().find_map(|run| run.generator.ceiling_empty.clone()),
            },
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
            self.lag_age_ms.map_or_else(dash, |ms| lag(ms).into()),
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

impl From<LimitReached> for LimitRow {
    fn from(limit: LimitReached) -> Self {
        Self {
            limit: limit.limit,
            used_per_s: limit.used_per_s,
            limit_per_s: limit.limit_per_s,
            percent: limit.percent,
            is_computed: limit.is_computed,
            empty: limit.empty,
            partitions_carried: limit.partitions_carried,
        }
    }
}

/// A percentage, if wide of how much a second; `-` without one.
fn share(percent: Option<u64>, most: Option<u64>, text: fn(u64) -> String, wide: bool) -> String {
    match (percent, most.filter(|_| wide)) {
        (None, _) => "-".to_owned(),
        (Some(percent), None) => format!("{percent} %"),
        (Some(percent), Some(most)) => format!("{percent} % of {}/s", text(most)),
    }
}

const CEILING: &str = "generator against floor";

/// How much of the machine's limits, and of the generator's own, each target took, a column for each; `None` where nothing
/// is known. Why something is not stands in [`limits_not_known`].
fn limit_section(targets: &[TargetRow], wide: bool) -> Option<Section> {
    let known: Vec<&TargetRow> = targets
        .iter()
        .filter(|target| target.ceiling_percent.is_some() || target.limits.iter().any(|row| row.percent.is_some()))
        .collect();
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
    heads.push(CEILING);
    heads.extend(is_durable.then_some("durable mode carries"));
    let cells = |target: &&TargetRow| {
        let of = |limit: &&str| target.limits.iter().find(|row| row.limit == *limit);
        let cell = |limit| {
            of(limit).map_or_else(
                || "-".to_owned(),
                |row| share(row.percent, row.limit_per_s, if limits::is_bytes(limit) { bytes } else { count }, wide),
            )
        };
        let partitions =
            carried(target).map(|many| format!("{} partitions at {DURABLE_ACK_MS} ms an ack", count(many)));
        let mut cells = vec![target.target.clone()];
        cells.extend(columns.iter().map(cell));
        cells.push(share(target.ceiling_percent, target.ceiling_messages_per_s, count, wide));
        cells.extend(is_durable.then(|| partitions.unwrap_or_else(|| "-".to_owned())));
        cells
    };
    (!known.is_empty()).then(|| Section::rows(&heads, known.iter().map(cells)))
}

/// Why percentages are missing, a line for each reason: `ringlog tmpfs: disk, sequential write: ...`.
fn limits_not_known(targets: &[TargetRow]) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>, Vec<&str>)> = Vec::new();
    let ran: Vec<&TargetRow> = targets.iter().filter(|target| 0 < target.runs).collect();
    for target in &ran {
        let of_limits = target.limits.iter().map(|row| (limits::title(&row.limit), row.empty.as_deref()));
        for (title, reason) in of_limits.chain([(CEILING, target.ceiling_empty.as_deref())]) {
            let Some(reason) = reason else { continue };
            let at = reasons.iter().position(|(known, _, _)| *known == reason).unwrap_or_else(|| {
                reasons.push((reason, Vec::new(), Vec::new()));
                reasons.len() - 1
            });
            let (_, titles, whose) = &mut reasons[at];
            if !titles.contains(&title) {
                titles.push(title);
            }
            if !whose.contains(&target.target.as_str()) {
                whose.push(&target.target);
            }
        }
    }
    let line = |(reason, titles, whose): (&str, Vec<&str>, Vec<&str>)| {
        let whose = if whose.len() == ran.len() && 1 < ran.len() { "all".to_owned() } else { whose.join(", ") };
        format!("{whose}: {}: {reason}", titles.join("; "))
    };
    reasons.into_iter().map(line).collect()
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

/// The age of a lag, which is known to a millisecond: none of it is not `0.00 us`.
fn lag(ms: u64) -> String {
    if ms == 0 { "0 ms".to_owned() } else { latency(ms * 1000) }
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

    fn limit(limit: &str, limit_per_s: Option<u64>, partitions_carried: Option<u64>) -> LimitRow {
        LimitRow {
            limit: limit.to_owned(),
            used_per_s: Some(1024),
            limit_per_s,
            percent: limit_per_s.map(|_| 50),
            is_computed: false,
            empty: limit_per_s.is_none().then(|| "not measured".to_owned()),
            partitions_carried,
        }
    }

    fn target(name: &str, limits: Vec<LimitRow>) -> TargetRow {
        TargetRow { target: name.to_owned(), runs: 3, limits, ..TargetRow::default() }
    }

    #[test]
    fn what_the_disk_carries_in_durable_mode_stands_beside_what_the_run_took_of_it() {
        let most = Some(2048);
        assert_eq!(
            limit_section(&[target("a", Vec::new()), target("b", vec![limit("net_in", None, None)])], false),
            None
        );
        let mut memory = target("memory", vec![limit("disk_write", most, None)]);
        (memory.ceiling_percent, memory.ceiling_messages_per_s) = (Some(7), Some(50_000));
        let durable = vec![limit("disk_write", most, None), limit("disk_sync", most, Some(1000))];
        let found = limit_section(&[memory, target("durable", durable), target("unknown", Vec::new())], false);
        let (write, sync) = ("disk, sequential write", "disk, fdatasyncs");
        let expected = [
            vec!["memory", "50 %", "-", "7 %", "-"],
            vec!["durable", "50 %", "50 %", "-", "1,000 partitions at 100 ms an ack"],
        ];
        assert_eq!(found, Some(Section::rows(&["target", write, sync, CEILING, "durable mode carries"], expected)));
        let both = vec![limit("disk_write", most, None), limit("disk_sync", most, None)];
        let wide = limit_section(&[target("wide", both)], true);
        let expected = [vec!["wide", "50 % of 2.0 KiB/s", "50 % of 2,048/s", "-"]];
        assert_eq!(wide, Some(Section::rows(&["target", write, sync, CEILING], expected)));
    }

    #[test]
    fn a_missing_percentage_has_its_reason_among_the_remarks() {
        let limits =
            || vec![limit("disk_write", None, None), limit("disk_sync", None, None), limit("net_in", Some(1), None)];
        let mut a = target("a", limits());
        a.ceiling_empty = Some("no floor".to_owned());
        let not_run = TargetRow::default();
        let found = limits_not_known(&[a, target("b", limits()), not_run]);
        let expected =
            ["all: disk, sequential write; disk, fdatasyncs: not measured", "a: generator against floor: no floor"];
        assert_eq!(found, expected);
        assert_eq!(limits_not_known(&[target("c", vec![limit("net_in", Some(1), None)])]), Vec::<String>::new());
    }

    #[test]
    fn latencies_have_three_figures_and_a_unit() {
        let texts = [5_400, 850_000, 2_349_000, 61_000_000_000].map(latency_ns);
        assert_eq!(texts, ["5.40 us", "850 us", "2.35 ms", "61.0 s"]);
        assert_eq!([0, 5].map(lag), ["0 ms", "5.00 ms"]);
    }
}
