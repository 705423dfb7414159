//! `ringlog generate grafana`: a dashboard over what nodes export, for Grafana's import.

use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::print_text;

/// Columns of a dashboard, as Grafana counts them.
const COLUMNS: u64 = 24;
const PANEL_WIDTH: u64 = 8;
const PANEL_HEIGHT: u64 = 8;

/// A graph: title, unit, and its lines as query and legend.
struct Panel(&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// A heading with the panels below it.
struct Row(&'static str, &'static [Panel]);

/// `$instance` and `$topic` are the dashboard's own variables; `$__rate_interval` is Grafana's.
const ROWS: &[Row] = &[
    Row(
        "Overview",
        &[
            Panel("Ready", "short", &[("ringlog_ready{instance=~\"$instance\"}", "{{instance}}")]),
            Panel(
                "Partitions offline",
                "short",
                &[("ringlog_partitions_offline{instance=~\"$instance\"}", "{{instance}}")],
            ),
            Panel("Connections", "short", &[("ringlog_connections{instance=~\"$instance\"}", "{{instance}}")]),
            Panel(
                "Records produced",
                "wps",
                &[("rate(ringlog_produced_records_total{instance=~\"$instance\"}[$__rate_interval])", "{{instance}}")],
            ),
            Panel(
                "Bytes produced and fetched",
                "Bps",
                &[
                    (
                        "rate(ringlog_produced_bytes_total{instance=~\"$instance\"}[$__rate_interval])",
                        "{{instance}} produced",
                    ),
                    (
                        "rate(ringlog_fetched_bytes_total{instance=~\"$instance\"}[$__rate_interval])",
                        "{{instance}} fetched",
                    ),
                ],
            ),
            Panel(
                "Bytes on the network",
                "Bps",
                &[
                    (
                        "rate(ringlog_received_bytes_total{instance=~\"$instance\"}[$__rate_interval])",
                        "{{instance}} in",
                    ),
                    ("rate(ringlog_sent_bytes_total{instance=~\"$instance\"}[$__rate_interval])", "{{instance}} out"),
                ],
            ),
        ],
    ),
    Row(
        "Requests",
        &[
            Panel(
                "Requests by API",
                "reqps",
                &[(
                    "sum by (api) (rate(ringlog_request_duration_seconds_count{instance=~\"$instance\"}[$__rate_interval]))",
                    "{{api}}",
                )],
            ),
            Panel(
                "Latency p99 by API",
                "s",
                &[(
                    "histogram_quantile(0.99, sum by (api, le) (rate(ringlog_request_duration_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                    "{{api}}",
                )],
            ),
            Panel(
                "Refusals",
                "ops",
                &[(
                    "sum by (api, cause) (rate(ringlog_refusals_total{instance=~\"$instance\"}[$__rate_interval]))",
                    "{{api}} {{cause}}",
                )],
            ),
            Panel(
                "Connections opened and turned away",
                "ops",
                &[
                    (
                        "rate(ringlog_connections_accepted_total{instance=~\"$instance\"}[$__rate_interval])",
                        "{{instance}} taken",
                    ),
                    (
                        "rate(ringlog_connections_refused_total{instance=~\"$instance\"}[$__rate_interval])",
                        "{{instance}} refused: {{cause}}",
                    ),
                ],
            ),
            Panel(
                "Connections ended by the node",
                "ops",
                &[(
                    "sum by (cause) (rate(ringlog_connections_closed_total{instance=~\"$instance\",cause!=\"client\"}[$__rate_interval]))",
                    "{{cause}}",
                )],
            ),
            Panel(
                "Requests under way",
                "short",
                &[
                    (
                        "sum by (instance) (ringlog_shard_produces_in_flight{instance=~\"$instance\"})",
                        "{{instance}} produce",
                    ),
                    (
                        "sum by (instance) (ringlog_shard_fetches_in_flight{instance=~\"$instance\"})",
                        "{{instance}} fetch",
                    ),
                ],
            ),
        ],
    ),
    Row(
        "Groups",
        &[
            Panel(
                "Lag in seconds",
                "s",
                &[(
                    "max by (group, topic, owner) (ringlog_group_lag_seconds{instance=~\"$instance\",topic=~\"$topic\"})",
                    "{{group}} {{topic}} ({{owner}})",
                )],
            ),
            Panel(
                "Lag in records",
                "short",
                &[(
                    "sum by (group, topic, owner) (ringlog_group_lag_records{instance=~\"$instance\",topic=~\"$topic\"})",
                    "{{group}} {{topic}} ({{owner}})",
                )],
            ),
            Panel(
                "Lag in bytes",
                "bytes",
                &[(
                    "sum by (group, topic, owner) (ringlog_group_lag_bytes{instance=~\"$instance\",topic=~\"$topic\"})",
                    "{{group}} {{topic}} ({{owner}})",
                )],
            ),
            Panel(
                "Time until retention overtakes the group",
                "s",
                &[(
                    "min by (group, topic, owner) (ringlog_group_retention_headroom_seconds{instance=~\"$instance\",topic=~\"$topic\"})",
                    "{{group}} {{topic}} ({{owner}})",
                )],
            ),
        ],
    ),
    Row(
        "Topics",
        &[
            Panel(
                "Records by topic",
                "wps",
                &[(
                    "sum by (topic) (rate(ringlog_partition_log_end_offset{instance=~\"$instance\",topic=~\"$topic\"}[$__rate_interval]))",
                    "{{topic}}",
                )],
            ),
            Panel(
                "Size by topic",
                "bytes",
                &[(
                    "sum by (topic) (ringlog_partition_size_bytes{instance=~\"$instance\",topic=~\"$topic\"})",
                    "{{topic}}",
                )],
            ),
            Panel(
                "Records kept by topic",
                "short",
                &[(
                    "sum by (topic) (ringlog_partition_high_watermark{instance=~\"$instance\",topic=~\"$topic\"} - ringlog_partition_log_start_offset{instance=~\"$instance\",topic=~\"$topic\"})",
                    "{{topic}}",
                )],
            ),
        ],
    ),
    Row(
        "Disks",
        &[
            Panel(
                "Free, and the reserve",
                "bytes",
                &[
                    ("ringlog_log_dir_free_bytes{instance=~\"$instance\"}", "{{instance}} {{log_dir}}"),
                    ("ringlog_log_dir_reserve_bytes{instance=~\"$instance\"}", "{{instance}} {{log_dir}} reserve"),
                ],
            ),
            Panel(
                "Not yet on the disk",
                "bytes",
                &[("ringlog_log_dir_unsynced_bytes{instance=~\"$instance\"}", "{{instance}} {{log_dir}}")],
            ),
            Panel(
                "Fsync p99",
                "s",
                &[(
                    "histogram_quantile(0.99, sum by (instance, log_dir, le) (rate(ringlog_fsync_duration_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                    "{{instance}} {{log_dir}}",
                )],
            ),
            Panel(
                "Jobs waiting",
                "short",
                &[
                    ("ringlog_writeback_jobs{instance=~\"$instance\"}", "{{instance}} writeback"),
                    ("ringlog_file_work_jobs{instance=~\"$instance\"}", "{{instance}} files"),
                    ("ringlog_maintenance_jobs{instance=~\"$instance\"}", "{{instance}} maintenance"),
                ],
            ),
            Panel(
                "Produce refused, directory failed",
                "short",
                &[
                    ("ringlog_log_dir_refuses_produce{instance=~\"$instance\"}", "{{instance}} {{log_dir}} refuses"),
                    ("ringlog_log_dir_poisoned{instance=~\"$instance\"}", "{{instance}} {{log_dir}} failed"),
                ],
            ),
        ],
    ),
    Row(
        "Shards",
        &[
            Panel(
                "Turn p99",
                "s",
                &[(
                    "histogram_quantile(0.99, sum by (instance, shard, le) (rate(ringlog_shard_turn_duration_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                    "{{instance}} {{shard}}",
                )],
            ),
            Panel(
                "Share of time in turns",
                "percentunit",
                &[(
                    "rate(ringlog_shard_turn_duration_seconds_sum{instance=~\"$instance\"}[$__rate_interval])",
                    "{{instance}} {{shard}}",
                )],
            ),
            Panel(
                "Letters waiting",
                "short",
                &[("ringlog_shard_mailbox_letters{instance=~\"$instance\"}", "{{instance}} {{shard}}")],
            ),
            Panel(
                "Log ring",
                "ops",
                &[
                    (
                        "rate(ringlog_log_ring_submitted_total{instance=~\"$instance\"}[$__rate_interval])",
                        "{{instance}} {{shard}} operations",
                    ),
                    (
                        "rate(ringlog_log_ring_punted_total{instance=~\"$instance\"}[$__rate_interval])",
                        "{{instance}} {{shard}} punted",
                    ),
                ],
            ),
            Panel(
                "Log ring under way",
                "short",
                &[
                    ("ringlog_log_ring_in_flight{instance=~\"$instance\"}", "{{instance}} {{shard}}"),
                    ("ringlog_log_ring_queued{instance=~\"$instance\"}", "{{instance}} {{shard}} queued"),
                ],
            ),
        ],
    ),
    Row(
        "Process",
        &[
            Panel(
                "CPU",
                "percentunit",
                &[(
                    "rate(process_cpu_seconds_total{instance=~\"$instance\",job=\"ringlog\"}[$__rate_interval])",
                    "{{instance}}",
                )],
            ),
            Panel(
                "Resident memory",
                "bytes",
                &[("process_resident_memory_bytes{instance=~\"$instance\",job=\"ringlog\"}", "{{instance}}")],
            ),
            Panel(
                "File descriptors",
                "short",
                &[("process_open_fds{instance=~\"$instance\",job=\"ringlog\"}", "{{instance}}")],
            ),
            Panel(
                "Lines of the log lost",
                "ops",
                &[("rate(ringlog_log_lines_lost_total{instance=~\"$instance\"}[$__rate_interval])", "{{instance}}")],
            ),
        ],
    ),
];

pub(crate) fn run() -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&dashboard()).expect("a dashboard is JSON");
    print_text(&(text + "\n"))
}

fn dashboard() -> Value {
    json!({
        "title": "Ringlog",
        "uid": "ringlog",
        "tags": ["ringlog"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [
            { "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus" },
            variable("instance", "label_values(ringlog_build_info, instance)"),
            variable("topic", "label_values(ringlog_partition_size_bytes, topic)"),
        ] },
        "panels": panels(),
    })
}

fn variable(name: &str, query: &str) -> Value {
    json!({
        "name": name,
        "type": "query",
        "datasource": datasource(),
        "query": { "query": query, "refId": name },
        "refresh": 2,
        "includeAll": true,
        "multi": true,
        "allValue": ".*",
        "current": { "text": "All", "value": "$__all" },
    })
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn panels() -> Vec<Value> {
    let mut panels = Vec::new();
    let mut y = 0;
    for Row(title, graphs) in ROWS {
        let id = panels.len() + 1;
        panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": { "x": 0, "y": y, "w": COLUMNS, "h": 1 },
        }));
        y += 1;
        let mut x = 0;
        for Panel(title, unit, lines) in *graphs {
            if x + PANEL_WIDTH > COLUMNS {
                x = 0;
                y += PANEL_HEIGHT;
            }
            let targets = lines.iter().enumerate().map(|(at, (query, legend))| {
                let letter = char::from(b'A' + at as u8).to_string();
                json!({ "refId": letter, "expr": query, "legendFormat": legend, "datasource": datasource() })
            });
            panels.push(json!({
                "id": panels.len() + 1, "type": "timeseries", "title": title, "datasource": datasource(),
                "gridPos": { "x": x, "y": y, "w": PANEL_WIDTH, "h": PANEL_HEIGHT },
                "fieldConfig": { "defaults": { "unit": unit }, "overrides": [] },
                "targets": targets.collect::<Vec<_>>(),
            }));
            x += PANEL_WIDTH;
        }
        y += PANEL_HEIGHT;
    }
    panels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_have_numbers_of_their_own_and_cover_no_other() {
        let panels = panels();
        let mut cells = std::collections::BTreeSet::new();
        for (at, panel) in panels.iter().enumerate() {
            assert_eq!(panel["id"], at + 1);
            let place = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
            for x in place("x")..place("x") + place("w") {
                assert!(x < COLUMNS);
                for y in place("y")..place("y") + place("h") {
                    assert!(cells.insert((x, y)), "panel {} covers another", panel["title"]);
                }
            }
        }
    }
}
