//! Two targets beside each other, metric by metric.

use crate::stats;
use crate::summary::{MetricComparison, Run, TargetSummary};

/// A metric: its name in `summary.json`, whether more is better, and how it is read off a run.
type Metric = (&'static str, bool, fn(&Run) -> Option<u64>);

/// What targets are compared in.
const METRICS: &[Metric] = &[
    ("cpu_ns_per_request", false, |run| Some(run.broker.as_ref()?.cpu_ns_per_request)),
    ("cpu_us_per_mib", false, |run| Some(run.broker.as_ref()?.cpu_us_per_mib)),
    ("acked_messages_per_s", true, |run| Some(run.acked_messages_per_s)),
    ("produce_p50_us", false, |run| Some(run.produce_latency.p50_us)),
    ("produce_p99_us", false, |run| Some(run.produce_latency.p99_us)),
    ("produce_p99_9_us", false, |run| Some(run.produce_latency.p99_9_us)),
    ("end_to_end_p99_us", false, |run| Some(run.end_to_end_latency.as_ref()?.p99_us)),
    ("rss_bytes_max", false, |run| Some(run.broker.as_ref()?.rss_bytes_max)),
];

/// Compares two targets in every metric that all of their runs have. Runs that do not count (cut short, failed check) are
/// left out, so that they can only take a verdict away.
#[must_use]
pub fn compare(a: &TargetSummary, b: &TargetSummary) -> Vec<MetricComparison> {
    let counts = |run: &&Run| run.partial.is_none() && run.check.passed();
    METRICS
        .iter()
        .filter_map(|(metric, is_more_better, value)| {
            let values = |target: &TargetSummary| -> Option<Vec<f64>> {
                target.runs.iter().filter(counts).map(|run| Some(value(run)? as f64)).collect()
            };
            Some(MetricComparison {
                metric: (*metric).to_owned(),
                a: a.label.clone(),
                b: b.label.clone(),
                is_more_better: *is_more_better,
                comparison: stats::compare(&values(a)?, &values(b)?)?,
            })
        })
        .collect()
}

/// The order in which runs are taken: A B C, A B C, ... so that whatever drifts on the machine meets all alike.
#[must_use]
pub fn interleaved(targets: usize, repeats: u32) -> Vec<usize> {
    (0..repeats).flat_map(|_| 0..targets).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::stats::Verdict;

    #[test]
    fn runs_are_taken_in_turn() {
        assert_eq!(interleaved(2, 3), [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn every_metric_that_both_have_is_compared_and_spoiled_runs_are_not() {
        let mut a = sample::target("a", 5, 1);
        let b = sample::target("b", 5, 3);
        let all = compare(&a, &b);
        assert_eq!(all.len(), METRICS.len());
        let cpu = &all[0];
        assert_eq!((cpu.metric.as_str(), cpu.comparison.verdict), ("cpu_ns_per_request", Verdict::BLarger));
        a.runs[0].check.lost = 1;
        let fewer = compare(&a, &b);
        assert_eq!(fewer[0].comparison.verdict, Verdict::TooFewRuns);
        a.runs[1].broker = None;
        assert_eq!(compare(&a, &b).len(), METRICS.len() - 3);
    }
}
