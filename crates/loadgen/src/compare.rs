//! Two targets beside each other, metric by metric.

use crate::stats;
use crate::summary::{MetricComparison, Run, Summary, TargetSummary};

/// A metric: its name in `summary.json`, whether more is better, and how it is read off a run.
type Metric = (&'static str, bool, fn(&Run) -> Option<u64>);

/// What targets are compared in.
const METRICS: &[Metric] = &[
    ("cpu_ns_per_request", false, |run| Some(run.broker.as_ref()?.cpu_ns_per_request)),
    ("cpu_us_per_mib", false, |run| Some(run.broker.as_ref()?.cpu_us_per_mib)),
    ("system_calls_per_thousand_requests", false, |run| run.broker.as_ref()?.system_calls_per_thousand_requests),
    // What was due before and is acked now is a debt paid, not a higher rate.
    ("acked_messages_per_s", true, |run| Some(run.acked_messages_per_s.min(run.offered_messages_per_s))),
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

/// Compares two sessions, target by target: those of the same label. What sets the sessions apart beside the targets is
/// told in words.
#[must_use]
pub fn diff(a: &Summary, b: &Summary) -> (Vec<MetricComparison>, Vec<String>) {
    let mut remarks = Vec::new();
    for (what, of_a, of_b) in [
        ("workload", &a.workload.toml, &b.workload.toml),
        ("processor", &a.machine.cpu_model, &b.machine.cpu_model),
        ("kernel", &a.machine.kernel, &b.machine.kernel),
    ] {
        if of_a != of_b {
            remarks.push(match what {
                "workload" => "the workloads differ".to_owned(),
                _ => format!("the {what} differs: {of_a} and {of_b}"),
            });
        }
    }
    if a.machine.memory_bytes >> 30 != b.machine.memory_bytes >> 30 {
        remarks.push("the machines have not the same memory".to_owned());
    }
    let mut all = Vec::new();
    for of_a in &a.targets {
        match b.targets.iter().find(|of_b| of_b.label == of_a.label) {
            Some(of_b) => all.extend(compare(of_a, of_b)),
            None => remarks.push(format!("{} is only in the first", of_a.label)),
        }
    }
    for of_b in b.targets.iter().filter(|of_b| a.targets.iter().all(|of_a| of_a.label != of_b.label)) {
        remarks.push(format!("{} is only in the second", of_b.label));
    }
    (all, remarks)
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
    fn sessions_are_compared_by_label_and_what_else_differs_is_told() {
        let a = sample::summary(vec![sample::target("same", 5, 1), sample::target("old", 1, 1)]);
        let mut b = sample::summary(vec![sample::target("new", 1, 1), sample::target("same", 5, 2)]);
        b.machine.kernel = "1.0".to_owned();
        let (all, remarks) = diff(&a, &b);
        assert_eq!(all.len(), METRICS.len());
        assert!(all.iter().all(|one| one.a == "same" && one.b == "same"));
        assert_eq!(remarks.len(), 3, "{remarks:?}");
        assert!(remarks[0].starts_with("the kernel differs"), "{remarks:?}");
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
        assert_eq!(compare(&a, &b).len(), METRICS.len() - 4);
    }
}
