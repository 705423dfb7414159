//! Groups as the command line tells them: `ringlog consumer-groups` beside Kafka's own tool over the same node, and
//! `ringlog group lag` over a Kafka.

use std::process::{Command, Output};

use tests::clients_dir;
use tests::content::Row;
use tests::node::{Node, ringlog_path};

use crate::kafka::holds;

/// What both tools are asked; the group's name is added.
const ASKED: &[&[&str]] = &[
    &["--list"],
    &["--list", "--state"],
    &["--list", "--type"],
    &["--describe", "--group"],
    &["--describe", "--offsets", "--verbose", "--group"],
    &["--describe", "--members", "--verbose", "--group"],
    &["--describe", "--state", "--group"],
    &["--describe", "--state", "--verbose", "--group"],
    &["--reset-offsets", "--all-topics", "--to-earliest", "--dry-run", "--group"],
    &["--reset-offsets", "--all-topics", "--shift-by", "-3", "--export", "--dry-run", "--group"],
];

/// Both tools print the same lines.
pub fn prints_the_same(node: &Node, group: &str) -> Result<(), String> {
    for asked in ASKED {
        let mut arguments = asked.to_vec();
        if asked.last() == Some(&"--group") {
            arguments.push(group);
        }
        let (theirs, ours) = (kafka_tool(node, &arguments)?, ringlog(node, "consumer-groups", &arguments)?);
        if theirs != ours {
            return Err(format!("{}: Kafka prints {theirs:#?}, we {ours:#?}", arguments.join(" ")));
        }
    }
    Ok(())
}

/// Lag over a broker that is no Ringlog: records and time are exact, bytes are an estimate.
pub fn lag(node: &Node, group: &str, committed: i64, rows: &[Row]) -> Result<(), String> {
    let end = rows.last().map_or(0, |row| row.offset + 1);
    let first = rows.iter().find(|row| committed <= row.offset).ok_or("nothing is unread")?;
    let lines = ringlog(node, "group", &["lag", group, "-o", "json"])?;
    let text = lines.join("\n");
    let records = format!("\"lag_records\": {}", end - committed);
    holds(&text, &[&records, "\"lag_bytes_estimated\": true", "\"lost_records\": 0", "\"keeps\": \"until\""])?;
    let behind_ms = number(&text, "\"lag_ms\": ").ok_or_else(|| format!("no lag_ms in {text}"))?;
    let now_ms = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_err(|error| error.to_string())?
        .as_millis();
    let expected_ms = now_ms as i64 - first.timestamp_ms;
    if (behind_ms - expected_ms).abs() < 60_000 {
        return Ok(());
    }
    Err(format!("{behind_ms} ms behind, but the first unread record is {expected_ms} ms old"))
}

fn number(text: &str, before: &str) -> Option<i64> {
    let (_, rest) = text.split_once(before)?;
    rest.split(|each: char| !each.is_ascii_digit() && each != '-').next()?.parse().ok()
}

fn kafka_tool(node: &Node, arguments: &[&str]) -> Result<Vec<String>, String> {
    let jars = format!("{}/reference/*", clients_dir().display());
    let output = Command::new("timeout")
        .args(["60", "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &jars])
        .args(["org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server", &node.address()])
        .args(arguments)
        .output()
        .map_err(|error| error.to_string())?;
    lines(&output)
}

fn ringlog(node: &Node, noun: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
    let output = Command::new(ringlog_path())
        .arg(noun)
        .args(arguments)
        .args([if noun == "group" { "--brokers" } else { "--bootstrap-server" }, &node.address()])
        .output()
        .map_err(|error| error.to_string())?;
    lines(&output)
}

/// The lines of an answer in a fixed order, as neither tool promises one.
fn lines(output: &Output) -> Result<Vec<String>, String> {
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect();
    if !text.starts_with('{') {
        lines.sort();
    }
    Ok(lines)
}
