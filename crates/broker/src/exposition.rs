//! Prometheus' text format 0.0.4.
//!
//! ```text
//! # HELP ringlog_partition_size_bytes Bytes of the partition's segments.
//! # TYPE ringlog_partition_size_bytes gauge
//! ringlog_partition_size_bytes{topic="orders",partition="0"} 4096
//! ```
//!
//! Written here, not by a metrics library: the counters are the node's own, read when somebody asks. A library's
//! registry would be written to on the data path, behind locks and hashes, and would keep the series of partitions and
//! groups that are long gone.

use std::fmt::{Display, Write};

use shard::{DURATION_BOUNDS_US, DurationCounts};

/// A page of families. A family's samples stand together: [`Page::family`] first, then all of its samples.
#[derive(Default)]
pub(crate) struct Page {
    out: String,
}

/// What a family's numbers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Only grows, until a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, a sum and a count.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Page {
    /// Begins a family: `help` is one sentence.
    pub(crate) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        debug_assert!(!help.contains(['\n', '\\']), "{name}: a help that would have to be escaped");
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name()));
    }

    /// One number of the family begun last.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.out.push(if at == 0 { '{' } else { ',' });
            self.out.push_str(label);
            self.out.push_str("=\"");
            self.label(text);
            self.out.push('"');
        }
        self.out.push_str(if labels.is_empty() { "" } else { "}" });
        self.write(format_args!(" {value}\n"));
    }

    /// A family of one number without labels.
    pub(crate) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// One set of buckets of the histogram begun last, in seconds.
    pub(crate) fn durations(&mut self, name: &str, labels: &[(&str, &str)], counts: &DurationCounts) {
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        for (at, here) in counts.buckets.iter().enumerate() {
            count += here;
            let bound = DURATION_BOUNDS_US.get(at).map_or_else(|| "+Inf".to_owned(), |us| seconds(us * 1000));
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            self.sample(&bucket, &labels, count);
        }
        self.sample(&format!("{name}_sum"), labels, seconds(counts.sum_ns));
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// The page as it is sent.
    pub(crate) fn into_text(self) -> String {
        self.out
    }

    fn label(&mut self, text: &str) {
        if !text.contains(['\\', '"', '\n']) {
            return self.out.push_str(text);
        }
        for char in text.chars() {
            match char {
                '\\' | '"' => self.out.extend(['\\', char]),
                '\n' => self.out.push_str("\\n"),
                char => self.out.push(char),
            }
        }
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.out.write_fmt(text);
    }
}

/// Nanoseconds as seconds, without the noise of floating point: 2_500_000 is `0.0025`.
pub(crate) fn seconds(ns: u64) -> String {
    let (whole, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let fraction = format!("{rest:09}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use shard::Durations;

    use super::*;

    #[test]
    fn families_have_help_and_type_and_cumulative_buckets() {
        let mut page = Page::default();
        page.single("ringlog_shards", Kind::Gauge, "Threads that do the work.", 2);
        page.family("ringlog_log_dir_free_bytes", Kind::Gauge, "Free bytes.");
        page.sample("ringlog_log_dir_free_bytes", &[("log_dir", "/a\\b\"c\nd"), ("x", "é")], 7);
        let durations = Durations::default();
        durations.add_ns(40_000);
        durations.add_ns(2_000_000_000);
        durations.add_ns(60_000_000_000);
        page.family("ringlog_turn_duration_seconds", Kind::Histogram, "Turns.");
        page.durations("ringlog_turn_duration_seconds", &[("shard", "0")], &durations.counts());
        expect![[r##"
            # HELP ringlog_shards Threads that do the work.
            # TYPE ringlog_shards gauge
            ringlog_shards 2
            # HELP ringlog_log_dir_free_bytes Free bytes.
            # TYPE ringlog_log_dir_free_bytes gauge
            ringlog_log_dir_free_bytes{log_dir="/a\\b\"c\nd",x="é"} 7
            # HELP ringlog_turn_duration_seconds Turns.
            # TYPE ringlog_turn_duration_seconds histogram
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.00001"} 0
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.000025"} 0
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.00005"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.0001"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.00025"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.0005"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.001"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.0025"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.005"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.01"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.025"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.05"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.1"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.25"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="0.5"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="1"} 1
            ringlog_turn_duration_seconds_bucket{shard="0",le="2.5"} 2
            ringlog_turn_duration_seconds_bucket{shard="0",le="10"} 2
            ringlog_turn_duration_seconds_bucket{shard="0",le="30"} 2
            ringlog_turn_duration_seconds_bucket{shard="0",le="+Inf"} 3
            ringlog_turn_duration_seconds_sum{shard="0"} 62.00004
            ringlog_turn_duration_seconds_count{shard="0"} 3
        "##]]
        .assert_eq(&page.into_text());
    }

    #[test]
    fn seconds_are_printed_exactly() {
        assert_eq!(seconds(0), "0");
        assert_eq!(seconds(50_000), "0.00005");
        assert_eq!(seconds(2_500_000), "0.0025");
        assert_eq!(seconds(12_000_000_001), "12.000000001");
    }
}
