//! Beside Kafka's own ProducerPerformance, at one rate that both hold and with the same batch size: the records, bytes and
//! requests that each claims are what the log gained and the node answered, their batches are alike, and so is what a request
//! costs the broker.
//!
//! Each request's cost depends on the batch that it carries, so both linger long enough to fill their batches, and on what
//! else runs on the node's core: so the node has one to itself, and the tools another.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use loadgen::{RunOptions, Workload, run};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tests::clients_dir;
use tests::node::{Node, Peer};
use tests::plain_client::PlainClient;
use tests::scratch_dir;

use crate::holds;

/// A batch takes 8 ms to fill: longer than the tool's naps, after which it would send several at once, cheaper together.
const RATE: u64 = 2000;
const SECONDS: u64 = 10;
const MESSAGE_BYTES: u64 = 1000;
const BATCH_BYTES: u64 = 16_384;
const LINGER_MS: u64 = 20;
const ROUNDS: usize = 5;
const THIS_THREAD: Pid = Pid::from_raw(0);

/// What a tool says it sent.
#[derive(Clone, Copy, Debug)]
struct Claims {
    /// Records of the whole run.
    records: u64,
    /// Batches that the rest is about: as many as the log begins with. `None`: all of them.
    batches: Option<u64>,
    batch_records: u64,
    batch_bytes: u64,
    /// What a tool has no number for it does not claim.
    value_bytes: Option<u64>,
    requests: Option<u64>,
}

/// A batch as the log holds it.
#[derive(Clone, Copy, Debug)]
struct Stored {
    bytes: u64,
    records: u64,
    value_bytes: u64,
}

/// What one tool did to the node.
#[derive(Clone, Debug)]
struct Done {
    claims: Claims,
    log: Vec<Stored>,
    /// Produce requests that the node answered.
    requests: u64,
    /// The broker's CPU while the log grew from a quarter to nine tenths of what it gained: without any tool's start or end.
    cpu: Duration,
    /// Bytes that the log gained meanwhile.
    cpu_bytes: u64,
}

impl Done {
    fn batch_bytes(&self) -> f64 {
        self.log.iter().map(|batch| batch.bytes).sum::<u64>() as f64 / self.log.len() as f64
    }

    /// Whether the tool claims what there is, to the last record and byte. One partition: a batch is a request.
    fn check(&self) -> Result<(), String> {
        let Self { claims, log, requests, .. } = self;
        let sum = |batches: &[Stored], of: fn(&Stored) -> u64| batches.iter().map(of).sum::<u64>();
        let records = sum(log, |batch| batch.records);
        holds(claims.records == records && *requests == log.len() as u64, || {
            format!("{records} records in {} batches and {requests} requests: {claims:?}", log.len())
        })?;
        let claimed = log.get(..claims.batches.map_or(log.len(), |batches| batches as usize));
        let claimed = claimed.ok_or_else(|| format!("the log has {} batches: {claims:?}", log.len()))?;
        let found = Claims {
            records,
            batches: claims.batches,
            batch_records: sum(claimed, |batch| batch.records),
            batch_bytes: sum(claimed, |batch| batch.bytes),
            value_bytes: claims.value_bytes.map(|_| sum(claimed, |batch| batch.value_bytes)),
            requests: claims.requests.map(|_| claimed.len() as u64),
        };
        let key = |claims: &Claims| {
            (claims.batch_records, claims.batch_bytes, claims.value_bytes, claims.requests, claims.batches)
        };
        holds(key(claims) == key(&found), || format!("claimed {claims:?}, and the log has {found:?}"))?;
        // Whoever claims of a tenth only would always be right.
        holds(records * 95 <= claims.batch_records * 100, || format!("most of {records} is not claimed: {claims:?}"))
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (self.cpu_bytes as f64 / self.batch_bytes())
    }
}

pub(crate) fn it_counts_as_kafkas_own_tool_does() -> Result<(), String> {
    present()?;
    let mut node = Node::new(
        Peer::Ringlog,
        &scratch_dir("load").join("perf"),
        &["num.partitions=1", "auto.create.topics.enable=true"],
    )
    .map_err(|e| e.to_string())?;
    let anywhere = sched_getaffinity(THIS_THREAD).map_err(|e| e.to_string())?;
    let mut cpus = (0..CpuSet::count()).filter(|cpu| anywhere.is_set(*cpu) == Ok(true));
    let (Some(nodes), Some(tools)) = (cpus.next(), cpus.next()) else {
        println!("  one CPU for the node and the tools: what a request costs is not judged");
        return node.start().and_then(|()| judge(&node, false));
    };
    let judged =
        run_on(nodes).and_then(|()| node.start()).and_then(|()| run_on(tools)).and_then(|()| judge(&node, true));
    sched_setaffinity(THIS_THREAD, &anywhere).map_err(|e| e.to_string())?;
    judged
}

fn judge(node: &Node, judge_cpu: bool) -> Result<(), String> {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        theirs.push(measure(node, &format!("perf-{round}"), performance)?);
        ours.push(measure(node, &format!("load-{round}"), loadgen)?);
    }
    for (who, done) in theirs.iter().map(|done| ("theirs", done)).chain(ours.iter().map(|done| ("ours", done))) {
        done.check().map_err(|why| format!("{who}: {why}"))?;
    }
    let median = |of: fn(&Done) -> f64, all: &[Done]| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let bytes = (median(Done::batch_bytes, &theirs), median(Done::batch_bytes, &ours));
    let cpu = (median(Done::cpu_us, &theirs), median(Done::cpu_us, &ours));
    println!(
        "  mean batch: ProducerPerformance {:.0} bytes, loadgen {:.0}; broker CPU a request: {:.1} us, {:.1} us",
        bytes.0, bytes.1, cpu.0, cpu.1
    );
    holds((0.9..1.1).contains(&(bytes.1 / bytes.0)), || {
        format!("mean batch bytes: theirs {}, ours {}", bytes.0, bytes.1)
    })?;
    holds(!judge_cpu || (0.85..1.15).contains(&(cpu.1 / cpu.0)), || {
        format!("broker CPU a request in us: theirs {}, ours {}", cpu.0, cpu.1)
    })
}

/// What this thread starts from now on runs there.
fn run_on(cpu: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(cpu).and_then(|()| sched_setaffinity(THIS_THREAD, &set)).map_err(|e| e.to_string())
}

/// Messages a second.
fn rate() -> u64 {
    std::env::var("LOAD_RATE").ok().and_then(|rate| rate.parse().ok()).unwrap_or(RATE)
}

fn present() -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    match clients_dir().join("reference/.ready").exists() {
        _ if !there("java") => Err("no java on this machine".to_owned()),
        false => Err("no jars of Kafka on this machine".to_owned()),
        true => Ok(()),
    }
}

/// Lets `tool` send to a topic of its own; returns what came of it.
fn measure(node: &Node, topic: &str, tool: fn(&Node, &str) -> Result<Claims, String>) -> Result<Done, String> {
    let mut client = PlainClient::connect(&node.address())?;
    client.create_topic(topic, 1, &[])?;
    let requests_before = produce_requests(node)?;
    let pid = Pid::from_raw(node.pid().ok_or("the node is not running")? as i32);
    let clock = nix::time::clock_getcpuclockid(pid).map_err(|e| e.to_string())?;
    let now = || clock.now().map(Duration::from).map_err(|e| e.to_string());
    let log = node.data_dir().join(format!("{topic}-0"));
    let ended = AtomicBool::new(false);
    let (claims, samples) = thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut samples = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                samples.push((bytes_of(&log)?, now()?));
                thread::sleep(Duration::from_millis(50));
            }
            Ok::<_, String>(samples)
        });
        let claims = tool(node, topic);
        ended.store(true, Ordering::Relaxed);
        (claims, sampler.join().map_err(|_| "the sampler panicked".to_owned()))
    });
    let (claims, samples) = (claims?, samples??);
    let requests = produce_requests(node)? - requests_before;
    let gained = samples.last().map_or(0, |(bytes, _)| *bytes);
    let within: Vec<_> = samples.iter().filter(|(bytes, _)| (gained / 4..=gained / 10 * 9).contains(bytes)).collect();
    let ((bytes_first, cpu_first), (bytes_last, cpu_last)) = match within[..] {
        [first, .., last] if first.0 < last.0 => (*first, *last),
        _ => return Err(format!("the log did not grow while it was looked at: {samples:?}")),
    };
    let (cpu, cpu_bytes) = (cpu_last - cpu_first, bytes_last - bytes_first);
    let (mut at, mut log) = (0, Vec::new());
    loop {
        let answer = client.fetch(topic, 0, at, 4 << 20)?;
        let mut rest = &answer.bytes[..];
        while let Ok(Some(size)) = batch::BatchView::peek_size(rest) {
            let Some((bytes, after)) = rest.split_at_checked(size) else { break };
            let view = batch::check(bytes).map_err(|e| e.to_string())?;
            at = view.last_offset().value() + 1;
            let mut stored = Stored { bytes: size as u64, records: 0, value_bytes: 0 };
            for record in view.records().ok_or("a compressed batch")? {
                stored.records += 1;
                stored.value_bytes += record.map_err(|e| e.to_string())?.value.map_or(0, <[u8]>::len) as u64;
            }
            log.push(stored);
            rest = after;
        }
        if answer.high_watermark <= at {
            return Ok(Done { claims, log, requests, cpu, cpu_bytes });
        }
    }
}

/// Produce requests that the node says it has answered.
fn produce_requests(node: &Node) -> Result<u64, String> {
    let mut socket = TcpStream::connect(node.http_address()).map_err(|e| e.to_string())?;
    socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").map_err(|e| e.to_string())?;
    let mut page = String::new();
    socket.read_to_string(&mut page).map_err(|e| e.to_string())?;
    let name = "ringlog_request_duration_seconds_count{api=\"Produce\"} ";
    // A node that has answered none yet may not name them.
    page.lines()
        .find_map(|line| line.strip_prefix(name))
        .map_or(Ok(0), |count| count.trim().parse().map_err(|_| format!("{name}{count}")))
}

/// Bytes of a partition's segments.
fn bytes_of(log: &Path) -> Result<u64, String> {
    let files = match fs::read_dir(log) {
        // A folder comes with the first append.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        files => files.map_err(|e| e.to_string())?,
    };
    let sizes = files.filter_map(Result::ok).filter(|file| file.path().extension().is_some_and(|end| end == "log"));
    Ok(sizes.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum())
}

/// Kafka's tool, and what it says at its end: the records, and by its producer's metrics what went to the topic.
fn performance(node: &Node, topic: &str) -> Result<Claims, String> {
    let jars = format!("{}/reference/*", clients_dir().display());
    let mut command = Command::new("timeout");
    command
        .args([
            "120",
            "java",
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            &jars,
        ])
        .args(["org.apache.kafka.tools.ProducerPerformance", "--topic", topic])
        .args(["--num-records", &(rate() * SECONDS).to_string(), "--record-size", &MESSAGE_BYTES.to_string()])
        .args(["--throughput", &rate().to_string(), "--print-metrics", "--producer-props"])
        .arg(format!("bootstrap.servers={}", node.address()))
        .args([format!("batch.size={BATCH_BYTES}"), format!("linger.ms={LINGER_MS}"), "acks=all".to_owned()]);
    let output = command.output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text
        .lines()
        .rev()
        .find(|line| line.contains("records sent"))
        .ok_or_else(|| format!("it says nothing: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    let word = last.split_whitespace().next().unwrap_or_default();
    let records = word.parse().map_err(|_| format!("no number: {last}"))?;
    let metric = |name: &str| {
        let is_it = |line: &&str| line.starts_with(&format!("producer-topic-metrics:{name}:")) && line.contains(topic);
        let line = text.lines().find(is_it).ok_or_else(|| format!("it does not tell {name}: {text}"))?;
        let value = line.rsplit(':').next().unwrap_or_default().trim();
        value.parse::<f64>().map(|value| value as u64).map_err(|_| format!("no number: {line}"))
    };
    let (batch_records, batch_bytes) = (metric("record-send-total")?, metric("byte-total")?);
    Ok(Claims { records, batches: None, batch_records, batch_bytes, value_bytes: None, requests: None })
}

/// Ours: what it reports is of the measured time, in which all but the last batches were acked, in order.
fn loadgen(node: &Node, topic: &str) -> Result<Claims, String> {
    let text = format!(
        "name = \"load\"\nwarmup_s = 0\nduration_s = {SECONDS}\n[topics]\nname = \"{topic}\"\n[messages]\nsize_bytes = {MESSAGE_BYTES}\n\
         [producers]\nlinger_ms = {LINGER_MS}\nbatch_bytes = {BATCH_BYTES}\n[consumers]\ngroups = 0\n[load]\nrate = {}\n",
        rate()
    );
    let workload = Workload::parse(&text, Path::new(".")).map_err(|e| e.to_string())?;
    let options = RunOptions { bootstrap: node.address(), ..RunOptions::default() };
    let outcome = run(&workload, &options, &mut |_| {}).map_err(|e| e.to_string())?;
    let (acked, batches) = (outcome.acked, outcome.batches);
    holds(acked.messages == batches.messages, || format!("{acked:?} acked, and in batches {batches:?}"))?;
    Ok(Claims {
        // Of all that were due, also those whose ack came after the end.
        records: outcome.produce.len(),
        batches: Some(batches.batches),
        batch_records: acked.messages,
        batch_bytes: batches.bytes,
        value_bytes: Some(acked.bytes),
        requests: Some(batches.requests),
    })
}
