//! `ringlog generate prometheus`: what Prometheus needs to watch nodes.

use std::fmt::Write;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::print_text;

const SCRAPE_AFTER_HELP: &str = "\
Examples:
  ringlog generate prometheus scrape > /etc/prometheus/prometheus.yml
  ringlog generate prometheus scrape --target node1:9644 --target node2:9644";

const RULES_AFTER_HELP: &str = "\
Examples:
  ringlog generate prometheus rules > /etc/prometheus/ringlog-rules.yml
  ringlog generate prometheus rules --lag-seconds 900 --headroom-seconds 86400";

/// What to generate for Prometheus.
#[derive(Subcommand)]
pub(crate) enum Prometheus {
    /// A configuration that scrapes nodes and reads ringlog-rules.yml beside it
    #[command(after_help = SCRAPE_AFTER_HELP)]
    Scrape {
        /// A node's HTTP listener (ringlog.http.listener); once for each node
        #[arg(long = "target", value_name = "HOST:PORT", default_value = "127.0.0.1:9644")]
        targets: Vec<String>,
        /// Seconds between scrapes
        #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=3600))]
        interval: u32,
    },
    /// Alert rules; alerts on lag carry the topic's owner as a label
    #[command(after_help = RULES_AFTER_HELP)]
    Rules(Thresholds),
}

/// Where alerts on lag begin: what is much for one group is nothing for another.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    /// Records behind
    #[arg(long, value_name = "RECORDS", default_value_t = 1_000_000)]
    lag_records: u64,
    /// Bytes behind
    #[arg(long, value_name = "BYTES", default_value_t = 10 * 1024 * 1024 * 1024)]
    lag_bytes: u64,
    /// Seconds behind
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    lag_seconds: u64,
    /// Seconds until retention takes what a group has not read
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    headroom_seconds: u64,
}

impl Prometheus {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Scrape { targets, interval } => print_text(&scrape(targets, *interval)),
            Self::Rules(thresholds) => print_text(&rules(*thresholds)),
        }
    }
}

fn scrape(targets: &[String], interval_s: u32) -> String {
    let targets: Vec<String> = targets.iter().map(|target| quoted(target)).collect();
    // A scrape of a node with 10,000 partitions takes a fraction of a second; the time-out may not exceed the interval.
    format!(
        "global:\n  scrape_interval: {interval_s}s\n  evaluation_interval: {interval_s}s\nrule_files:\n  - ringlog-rules.yml\n\
         scrape_configs:\n  - job_name: ringlog\n    metrics_path: /metrics\n    scrape_timeout: {}s\n    static_configs:\n      \
         - targets: [{}]\n",
        interval_s.min(10),
        targets.join(", ")
    )
}

/// Text as YAML takes it literally: JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An alert.
struct Alert {
    name: &'static str,
    expression: String,
    /// How long it must hold.
    after: &'static str,
    severity: &'static str,
    summary: &'static str,
    /// Why it matters and what to do.
    description: &'static str,
}

fn rules(thresholds: Thresholds) -> String {
    let mut out = String::from("groups:\n");
    for (group, alerts) in
        [("ringlog-node", node_alerts()), ("ringlog-disk", disk_alerts()), ("ringlog-lag", lag_alerts(thresholds))]
    {
        // Writing to a String does not fail.
        let _ = writeln!(out, "  - name: {group}\n    rules:");
        for alert in alerts {
            let _ = write!(
                out,
                "      - alert: {}\n        expr: {}\n        for: {}\n        labels:\n          severity: {}\n        \
                 annotations:\n          summary: {}\n          description: {}\n",
                alert.name,
                quoted(&alert.expression),
                alert.after,
                alert.severity,
                quoted(alert.summary),
                quoted(alert.description)
            );
        }
    }
    out
}

fn alert(
    name: &'static str,
    expression: impl Into<String>,
    (after, severity): (&'static str, &'static str),
    summary: &'static str,
    description: &'static str,
) -> Alert {
    Alert { name, expression: expression.into(), after, severity, summary, description }
}

fn node_alerts() -> Vec<Alert> {
    vec![
        alert(
            "RinglogDown",
            "up{job=\"ringlog\"} == 0",
            ("1m", "critical"),
            "{{ $labels.instance }} does not answer",
            "The node is down, still recovering, or its HTTP listener cannot be reached. See its log and /health/ready.",
        ),
        alert(
            "RinglogNotReady",
            "ringlog_ready == 0",
            ("2m", "critical"),
            "{{ $labels.instance }} takes no clients",
            "The node is stopping, and does not end. A second signal ends it at once; the next start recovers its logs.",
        ),
        alert(
            "RinglogPartitionsOffline",
            "ringlog_partitions_offline > 0",
            ("1m", "critical"),
            "{{ $value }} partitions of {{ $labels.instance }} are offline",
            "Their logs could not be opened. The log and /debug/bundle say which and why; ringlog log verify shows the damage.",
        ),
        alert(
            "RinglogShardSlow",
            "histogram_quantile(0.99, sum by (instance, shard, le) (rate(ringlog_shard_turn_duration_seconds_bucket[5m]))) > 0.1",
            ("10m", "warning"),
            "shard {{ $labels.shard }} of {{ $labels.instance }} takes {{ $value | humanizeDuration }} for a turn",
            "Nothing on a shard answers sooner than its turn ends: the CPU is shared or throttled, or requests are very large.",
        ),
        alert(
            "RinglogProduceSlow",
            "histogram_quantile(0.99, sum by (instance, le) (rate(ringlog_request_duration_seconds_bucket{api=\"Produce\"}[5m]))) > 1",
            ("10m", "warning"),
            "produce on {{ $labels.instance }} takes {{ $value | humanizeDuration }} (p99)",
            "Look at fsync times, writeback debt and shard turns of the same node.",
        ),
        alert(
            "RinglogRefusals",
            "sum by (instance, api, cause) (rate(ringlog_refusals_total{cause=~\"KAFKA_STORAGE_ERROR|CORRUPT_MESSAGE|NOT_ENOUGH_REPLICAS|NOT_ENOUGH_REPLICAS_AFTER_APPEND|UNKNOWN_SERVER_ERROR|REQUEST_TIMED_OUT\"}[5m])) > 0",
            ("5m", "warning"),
            "{{ $labels.instance }} refuses {{ $labels.api }} with {{ $labels.cause }}",
            "The node's log has lines \"refused\" with the clients and the reason.",
        ),
        alert(
            "RinglogConnectionsRefused",
            "sum by (instance, cause) (increase(ringlog_connections_refused_total[5m])) > 0",
            ("5m", "warning"),
            "{{ $labels.instance }} turns clients away ({{ $labels.cause }})",
            "More clients connect than the setting allows: raise it, or find who opens so many.",
        ),
        alert(
            "RinglogConnectionsMalformed",
            "sum by (instance) (increase(ringlog_connections_closed_total{cause=~\"malformed|unserved|memory\"}[15m])) > 10",
            ("0m", "warning"),
            "{{ $labels.instance }} closes connections of clients that it cannot understand",
            "A port scan, a client with TLS on a listener without, or a faulty client: the log names addresses and reasons.",
        ),
        alert(
            "RinglogMemoryShort",
            "ringlog_memory_taken_bytes / ringlog_memory_max_bytes > 0.9",
            ("5m", "warning"),
            "large requests hold {{ $value | humanizePercentage }} of their memory on {{ $labels.instance }}",
            "Further large requests wait in their clients' sockets: raise ringlog.memory.max.bytes, or lower the requests.",
        ),
        alert(
            "RinglogDescriptorsShort",
            "process_open_fds{job=\"ringlog\"} / process_max_fds{job=\"ringlog\"} > 0.9",
            ("5m", "warning"),
            "{{ $labels.instance }} has {{ $value | humanizePercentage }} of its file descriptors open",
            "Raise the limit of open files (LimitNOFILE, ulimit -n) and restart the node.",
        ),
        alert(
            "RinglogLogLinesLost",
            "sum by (instance) (increase(ringlog_log_lines_lost_total[15m])) > 0",
            ("0m", "warning"),
            "{{ $labels.instance }} lost {{ $value | humanize }} lines of its log in 15 minutes",
            "Whoever reads its stderr (journald, a pipe) is stopped or too slow. The last lines are in /debug/bundle all the same.",
        ),
    ]
}

fn disk_alerts() -> Vec<Alert> {
    vec![
        alert(
            "RinglogLogDirFailed",
            "ringlog_log_dir_poisoned == 1",
            ("0m", "critical"),
            "the disk under {{ $labels.log_dir }} of {{ $labels.instance }} failed",
            "A write or fsync failed: nothing more is taken there until a restart. Check the disk before that; the log names file and errno.",
        ),
        alert(
            "RinglogProduceRefused",
            "ringlog_log_dir_refuses_produce == 1",
            ("0m", "critical"),
            "{{ $labels.log_dir }} of {{ $labels.instance }} takes no records",
            "The disk is full down to its reserve, or it failed. Free space (retention, delete-records) or enlarge the disk; producers keep trying.",
        ),
        alert(
            "RinglogDiskReserveNear",
            "ringlog_log_dir_free_bytes < 2 * ringlog_log_dir_reserve_bytes",
            ("5m", "warning"),
            "{{ $labels.log_dir }} of {{ $labels.instance }} has {{ $value | humanize1024 }}B left",
            "Below the reserve (ringlog.disk.reserve.bytes) produce is refused.",
        ),
        alert(
            "RinglogDiskFillsUp",
            "predict_linear(ringlog_log_dir_free_bytes[1h], 4 * 3600) < ringlog_log_dir_reserve_bytes",
            ("30m", "warning"),
            "{{ $labels.log_dir }} of {{ $labels.instance }} is full in less than four hours",
            "At the rate of the last hour. Shorten retention, or enlarge the disk.",
        ),
        alert(
            "RinglogFsyncSlow",
            "histogram_quantile(0.99, sum by (instance, log_dir, le) (rate(ringlog_fsync_duration_seconds_bucket[5m]))) > 1",
            ("10m", "warning"),
            "fsync in {{ $labels.log_dir }} of {{ $labels.instance }} takes {{ $value | humanizeDuration }} (p99)",
            "With flush.messages=1 every ack waits for one. The disk is slow or shared, or about to fail.",
        ),
        alert(
            "RinglogWritebackDebt",
            "ringlog_log_dir_unsynced_bytes > 8 * 1024 * 1024 * 1024",
            ("10m", "warning"),
            "{{ $value | humanize1024 }}B of {{ $labels.log_dir }} on {{ $labels.instance }} are not yet on the disk",
            "A power cut would take them. The disk does not keep up with what is produced.",
        ),
        alert(
            "RinglogLogWritesFail",
            "sum by (instance) (increase(ringlog_log_ring_failed_total[5m])) > 0",
            ("0m", "critical"),
            "reads or writes of logs fail on {{ $labels.instance }}",
            "The node's log names partition, file and errno.",
        ),
    ]
}

fn lag_alerts(thresholds: Thresholds) -> Vec<Alert> {
    let Thresholds { lag_records, lag_bytes, lag_seconds, headroom_seconds } = thresholds;
    vec![
        alert(
            "RinglogGroupLosesData",
            format!("ringlog_group_retention_headroom_seconds < {headroom_seconds}"),
            ("1m", "critical"),
            "group {{ $labels.group }} loses records of {{ $labels.topic }}-{{ $labels.partition }} in {{ $value | humanizeDuration }} (owner: {{ $labels.owner }})",
            "Retention takes records before the group has read them. Speed the group up, or raise the topic's retention now.",
        ),
        alert(
            "RinglogGroupLostData",
            "ringlog_group_lost_records > 0",
            ("0m", "critical"),
            "group {{ $labels.group }} lost {{ $value | humanize }} records of {{ $labels.topic }}-{{ $labels.partition }} (owner: {{ $labels.owner }})",
            "They were deleted before the group had read them. Its next fetch begins where auto.offset.reset says.",
        ),
        alert(
            "RinglogGroupLagSeconds",
            format!("ringlog_group_lag_seconds > {lag_seconds}"),
            ("5m", "warning"),
            "group {{ $labels.group }} is {{ $value | humanizeDuration }} behind on {{ $labels.topic }}-{{ $labels.partition }} (owner: {{ $labels.owner }})",
            "The first record it has not read is that old. Is the group running, and has it enough members?",
        ),
        alert(
            "RinglogGroupLagRecords",
            format!("ringlog_group_lag_records > {lag_records}"),
            ("15m", "warning"),
            "group {{ $labels.group }} is {{ $value | humanize }} records behind on {{ $labels.topic }}-{{ $labels.partition }} (owner: {{ $labels.owner }})",
            "ringlog group lag shows the group's members and how far each partition is.",
        ),
        alert(
            "RinglogGroupLagBytes",
            format!("ringlog_group_lag_bytes > {lag_bytes}"),
            ("15m", "warning"),
            "group {{ $labels.group }} is {{ $value | humanize1024 }}B behind on {{ $labels.topic }}-{{ $labels.partition }} (owner: {{ $labels.owner }})",
            "That much is to be read before the group has caught up, likely from the disk.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_scrape_names_every_target_and_never_waits_longer_than_the_interval() {
        expect![[r#"
            global:
              scrape_interval: 5s
              evaluation_interval: 5s
            rule_files:
              - ringlog-rules.yml
            scrape_configs:
              - job_name: ringlog
                metrics_path: /metrics
                scrape_timeout: 5s
                static_configs:
                  - targets: ["a:1", "b\":2"]
        "#]]
        .assert_eq(&scrape(&["a:1".to_owned(), "b\":2".to_owned()], 5));
    }

    #[test]
    fn every_lag_metric_has_an_alert_that_names_the_owner() {
        let thresholds = Thresholds { lag_records: 1, lag_bytes: 2, lag_seconds: 3, headroom_seconds: 4 };
        let alerts = lag_alerts(thresholds);
        for metric in [
            "ringlog_group_lag_records > 1",
            "ringlog_group_lag_bytes > 2",
            "ringlog_group_lag_seconds > 3",
            "ringlog_group_retention_headroom_seconds < 4",
            "ringlog_group_lost_records > 0",
        ] {
            let alert = alerts.iter().find(|alert| alert.expression == metric);
            assert!(alert.is_some_and(|alert| alert.summary.contains("$labels.owner")), "{metric}");
        }
    }
}
