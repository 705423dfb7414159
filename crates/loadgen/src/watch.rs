//! What processes use: the brokers', as far as `/proc` and their `/metrics` tell, and the load generator's own threads.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use nix::unistd::Pid;

use crate::outcome::BrokerUse;

const HTTP_TIMEOUT: Duration = Duration::from_secs(1);
/// Of a `/metrics` answer; a node with ten thousand partitions stays below it.
const METRICS_BYTES_MAX: u64 = 64 << 20;

/// A process at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) cpu: Duration,
    pub(crate) rss_bytes: u64,
    switches_voluntary: u64,
    switches_forced: u64,
    io: BTreeMap<String, u64>,
    metrics: BTreeMap<String, f64>,
}

/// CPU time and memory of a process; `None` when there is none.
pub(crate) fn look(pid: i32) -> Option<Sample> {
    let clock = nix::time::clock_getcpuclockid(Pid::from_raw(pid)).ok()?;
    let cpu = Duration::from(clock.now().ok()?);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // In KiB, whatever the page size is.
    let rss_bytes = field(&status, "VmRSS")? * 1024;
    Some(Sample { cpu, rss_bytes, ..Sample::default() })
}

/// Everything about a process, and what its HTTP listener says.
pub(crate) fn look_closely(pid: i32, http: Option<&str>) -> Option<Sample> {
    let mut sample = look(pid)?;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        sample.switches_voluntary += field(&status, "voluntary_ctxt_switches").unwrap_or(0);
        sample.switches_forced += field(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
    }
    // Another user's process does not show its io.
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    sample.io = io
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
        .collect();
    sample.metrics = http.and_then(scrape).unwrap_or_default();
    Some(sample)
}

fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

/// What lies between two looks at one process.
pub(crate) fn between(pid: i32, from: &Sample, to: &Sample, rss_bytes_max: u64) -> BrokerUse {
    let io = |name: &str| Some(to.io.get(name)?.saturating_sub(*from.io.get(name)?));
    let moved = |(name, value): (&String, &f64)| {
        let difference = value - from.metrics.get(name).copied().unwrap_or(0.0);
        (difference != 0.0).then(|| (name.clone(), difference))
    };
    BrokerUse {
        pid,
        cpu: to.cpu.saturating_sub(from.cpu),
        rss_bytes: to.rss_bytes,
        rss_bytes_max: rss_bytes_max.max(to.rss_bytes),
        switches_voluntary: to.switches_voluntary.saturating_sub(from.switches_voluntary),
        switches_forced: to.switches_forced.saturating_sub(from.switches_forced),
        read_calls: io("syscr"),
        write_calls: io("syscw"),
        disk_read_bytes: io("read_bytes"),
        disk_write_bytes: io("write_bytes"),
        metrics: to.metrics.iter().filter_map(moved).collect(),
    }
}

/// The counters of a Prometheus endpoint; `None` when it does not answer.
fn scrape(http: &str) -> Option<BTreeMap<String, f64>> {
    let address = http.to_socket_addrs().ok()?.next()?;
    let mut socket = TcpStream::connect_timeout(&address, HTTP_TIMEOUT).ok()?;
    socket.set_read_timeout(Some(HTTP_TIMEOUT)).ok()?;
    write!(socket, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    socket.take(METRICS_BYTES_MAX).read_to_end(&mut answer).ok()?;
    Some(counters(&String::from_utf8_lossy(&answer)))
}

fn counters(text: &str) -> BTreeMap<String, f64> {
    let counter = |line: &str| {
        let (name, value) = line.trim().rsplit_once(' ')?;
        let bare = name.split('{').next()?;
        let counts = bare.ends_with("_total") || bare.ends_with("_count") || bare.ends_with("_sum");
        (counts && !line.starts_with('#')).then_some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(counter).collect()
}

/// CPU time of each of this process's threads so far, by thread id.
pub(crate) fn own_threads() -> BTreeMap<u64, Duration> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return BTreeMap::new() };
    let busy = |task: fs::DirEntry| {
        let id = task.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        Some((id, Duration::from_nanos(stat.split_whitespace().next()?.parse().ok()?)))
    };
    tasks.flatten().filter_map(busy).collect()
}

/// CPU time of this process so far.
pub(crate) fn own_cpu() -> Duration {
    look(std::process::id() as i32).map_or(Duration::ZERO, |sample| sample.cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_and_what_lies_between_is_counted() {
        let pid = std::process::id() as i32;
        let before = look_closely(pid, None).expect("it is this one");
        let mut sum = 0_u64;
        while look(pid).expect("alive").cpu < before.cpu + Duration::from_millis(20) {
            sum = sum.wrapping_add(1);
        }
        let after = look_closely(pid, None).expect("it is this one");
        let used = between(pid, &before, &after, 0);
        assert!(Duration::from_millis(20) <= used.cpu, "{used:?}");
        assert!(0 < used.rss_bytes && used.rss_bytes <= used.rss_bytes_max);
        assert!(used.read_calls.is_some_and(|calls| 0 < calls), "it read /proc");
        assert!(!own_threads().is_empty());
        assert!(look(i32::MAX).is_none());
    }

    #[test]
    fn counters_are_told_from_gauges() {
        let text = "# TYPE a counter\na_total{x=\"y z\"} 3\nb 4\nc_seconds_sum 1.5\nbad_total x\n";
        let want = [("a_total{x=\"y z\"}".to_owned(), 3.0), ("c_seconds_sum".to_owned(), 1.5)];
        assert_eq!(counters(text), BTreeMap::from(want));
    }
}
