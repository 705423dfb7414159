//! What processes use: the brokers', as far as `/proc` and their `/metrics` tell, and the load generator's own threads.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::unistd::Pid;

use crate::outcome::BrokerUse;
use crate::tracepoints::{Counted, Tracepoints};

const HTTP_TIMEOUT: Duration = Duration::from_secs(1);
/// Of a `/metrics` answer; a node with ten thousand partitions stays below it.
const METRICS_BYTES_MAX: u64 = 64 << 20;

/// The processes of one broker, one after the other: a fault ends one, and its successor goes on counting. Clones are the
/// same broker; whoever restarts it tells through one of them.
#[derive(Clone, Debug)]
pub struct BrokerProcess(Arc<Mutex<Watched>>);

#[derive(Debug)]
struct Watched {
    /// The last of them is the present one.
    pids: Vec<i32>,
    http: Option<String>,
    /// Of the present one. `None`: the kernel does not let them be counted.
    tracepoints: Option<Tracepoints>,
    /// What those used that have ended.
    ended: Sample,
    /// The present one when it was last seen.
    present: Option<Sample>,
    rss_bytes_max: u64,
}

impl BrokerProcess {
    /// A broker whose process has this id, and whose `/metrics` are at this `host:port`.
    #[must_use]
    pub fn new(pid: i32, http: Option<String>) -> Self {
        let watched = Watched {
            pids: vec![pid],
            http,
            tracepoints: Tracepoints::of(pid).ok(),
            ended: Sample { counted: Some(Counted::default()), ..Sample::default() },
            present: None,
            rss_bytes_max: 0,
        };
        Self(Arc::new(Mutex::new(watched)))
    }

    /// Whether its process runs.
    #[must_use]
    pub fn is_there(&self) -> bool {
        look(self.pid()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of the present process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.lock().pid()
    }

    /// The present process is about to be ended: a last look at it. What it uses to stop is seen as far as a run looks
    /// on meanwhile, which it does some twenty times a second.
    pub fn on_ending(&self) {
        self.look_closely();
    }

    /// Its successor runs.
    pub fn on_started(&self, pid: i32) {
        let watched = &mut *self.lock();
        watched.ended.add(watched.present.take().unwrap_or_default());
        watched.pids.push(pid);
        watched.tracepoints = Tracepoints::of(pid).ok();
    }

    /// CPU of all processes so far, and memory of the present one; `None` when none was ever seen.
    pub(crate) fn look(&self) -> Option<Sample> {
        let watched = &mut *self.lock();
        if let Some(seen) = look(watched.pid()) {
            watched.rss_bytes_max = watched.rss_bytes_max.max(seen.rss_bytes);
            let present = watched.present.get_or_insert_default();
            (present.cpu, present.rss_bytes) = (seen.cpu, seen.rss_bytes);
        } else if let Some(present) = &mut watched.present {
            present.rss_bytes = 0;
        }
        watched.total()
    }

    /// Everything about them, as [`Self::look`].
    pub(crate) fn look_closely(&self) -> Option<Sample> {
        let (pid, http) = {
            let watched = self.lock();
            (watched.pid(), watched.http.clone())
        };
        // A node that stalls answers late: others may look meanwhile.
        let seen = look_closely(pid, http.as_deref());
        let watched = &mut *self.lock();
        if let Some(mut seen) = seen.filter(|_| pid == watched.pid()) {
            seen.counted = watched.tracepoints.as_mut().and_then(|tracepoints| tracepoints.read().ok());
            watched.rss_bytes_max = watched.rss_bytes_max.max(seen.rss_bytes);
            watched.present = Some(seen);
        }
        watched.total()
    }

    /// Forgets the largest memory seen so far.
    pub(crate) fn begin(&self) {
        self.lock().rss_bytes_max = 0;
    }

    /// What lies between two looks.
    pub(crate) fn between(&self, from: &Sample, to: &Sample) -> BrokerUse {
        let watched = self.lock();
        between(watched.pids.clone(), from, to, watched.rss_bytes_max)
    }
}

impl Watched {
    fn pid(&self) -> i32 {
        *self.pids.last().expect("there is one from the beginning")
    }

    fn total(&self) -> Option<Sample> {
        let mut total = self.ended.clone();
        match (&self.present, self.pids.len()) {
            (Some(present), _) => total.add(present.clone()),
            (None, 1) => return None,
            (None, _) => {}
        }
        Some(total)
    }
}

/// A process at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) cpu: Duration,
    pub(crate) rss_bytes: u64,
    switches_voluntary: u64,
    switches_forced: u64,
    counted: Option<Counted>,
    io: BTreeMap<String, u64>,
    metrics: BTreeMap<String, f64>,
}

impl Sample {
    /// Adds what its successor used. Memory is the successor's.
    fn add(&mut self, next: Self) {
        self.cpu += next.cpu;
        self.rss_bytes = next.rss_bytes;
        self.switches_voluntary += next.switches_voluntary;
        self.switches_forced += next.switches_forced;
        self.counted = self.counted.zip(next.counted).map(|(counted, next)| counted + next);
        for (name, value) in next.io {
            *self.io.entry(name).or_default() += value;
        }
        for (name, value) in next.metrics {
            *self.metrics.entry(name).or_default() += value;
        }
    }
}

/// CPU time and memory of a process; `None` when there is none.
fn look(pid: i32) -> Option<Sample> {
    let clock = nix::time::clock_getcpuclockid(Pid::from_raw(pid)).ok()?;
    let cpu = Duration::from(clock.now().ok()?);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // In KiB, whatever the page size is.
    let rss_bytes = field(&status, "VmRSS")? * 1024;
    Some(Sample { cpu, rss_bytes, ..Sample::default() })
}

/// Everything about a process, and what its HTTP listener says.
fn look_closely(pid: i32, http: Option<&str>) -> Option<Sample> {
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

/// What lies between two looks at one broker.
fn between(pids: Vec<i32>, from: &Sample, to: &Sample, rss_bytes_max: u64) -> BrokerUse {
    let counted = to.counted.zip(from.counted).map(|(to, from)| to - from);
    let io = |name: &str| Some(to.io.get(name)?.saturating_sub(*from.io.get(name)?));
    let moved = |(name, value): (&String, &f64)| {
        let difference = value - from.metrics.get(name).copied().unwrap_or(0.0);
        (difference != 0.0).then(|| (name.clone(), difference))
    };
    // Who did not answer at the first look has counted since its start, and not since then.
    let metrics = if from.metrics.is_empty() { &from.metrics } else { &to.metrics };
    BrokerUse {
        pids,
        cpu: to.cpu.saturating_sub(from.cpu),
        rss_bytes: to.rss_bytes,
        rss_bytes_max: rss_bytes_max.max(to.rss_bytes),
        switches_voluntary: to.switches_voluntary.saturating_sub(from.switches_voluntary),
        switches_forced: to.switches_forced.saturating_sub(from.switches_forced),
        system_calls: counted.map(|counted| counted.system_calls),
        file_syncs: counted.map(|counted| counted.file_syncs),
        read_calls: io("syscr"),
        write_calls: io("syscw"),
        disk_read_bytes: io("read_bytes"),
        disk_write_bytes: io("write_bytes"),
        metrics: metrics.iter().filter_map(moved).collect(),
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
    use std::process::Command;

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
        let used = between(vec![pid], &before, &after, 0);
        assert!(Duration::from_millis(20) <= used.cpu, "{used:?}");
        assert!(0 < used.rss_bytes && used.rss_bytes <= used.rss_bytes_max);
        assert!(used.read_calls.is_some_and(|calls| 0 < calls), "it read /proc");
        assert!(!own_threads().is_empty());
        assert!(look(i32::MAX).is_none());
    }

    #[test]
    fn successive_processes_add_up() {
        let busy = || Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell");
        let until = |broker: &BrokerProcess, cpu: Duration| {
            while broker.look().expect("it was seen").cpu < cpu {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let mut first = busy();
        let broker = BrokerProcess::new(first.id() as i32, None);
        let from = broker.look_closely().expect("it runs");
        until(&broker, from.cpu + Duration::from_millis(30));
        broker.on_ending();
        first.kill().and_then(|()| first.wait()).expect("ended");
        let down = broker.look().expect("what it used is known");
        assert!(from.cpu + Duration::from_millis(30) <= down.cpu && down.rss_bytes == 0, "{down:?}");
        let mut second = busy();
        broker.on_started(second.id() as i32);
        until(&broker, down.cpu + Duration::from_millis(30));
        let to = broker.look_closely().expect("it runs");
        second.kill().and_then(|()| second.wait()).expect("ended");
        let used = broker.between(&from, &to);
        assert_eq!(used.pids.len(), 2);
        assert!(Duration::from_millis(60) <= used.cpu, "{used:?}");
        assert!(used.read_calls >= Some(0) && 0 < used.rss_bytes, "{used:?}");
    }

    #[test]
    fn counters_are_told_from_gauges() {
        let text = "# TYPE a counter\na_total{x=\"y z\"} 3\nb 4\nc_seconds_sum 1.5\nbad_total x\n";
        let want = [("a_total{x=\"y z\"}".to_owned(), 3.0), ("c_seconds_sum".to_owned(), 1.5)];
        assert_eq!(counters(text), BTreeMap::from(want));
    }
}
