//! Beside Kafka's own ProducerPerformance, at one rate that both hold and with the same batch size: the records, bytes and
//! requests that each claims are what the log gained and the node answered, their batches are alike, and so is what a request
//! costs the broker.
//!
//! Each request's cost depends on the batch that it carries, so both linger long enough to fill their batches. And it depends
//! on the moment: on a core that sleeps between requests it doubles and halves within seconds, by how deep the host lets the
//! core sleep and by what its neighbours do. So both tools send at the same time, each to a node of its own; both nodes share
//! one core and both tools another; and they swap nodes from round to round. Of two requests that arrive together the second
//! is cheap: ours are due at Poisson moments, so that the tools do not stay in step with each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use loadgen::{RunOptions, Workload, run};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid};
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
/// Odd: the median is a round's. Single rounds were within 6 % of 1, also beside two other busy processes.
const ROUNDS: usize = 3;
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
    /// The broker's CPU while both logs grew from a tenth to nine tenths of what they gained: without any tool's start or end.
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
    let node = |name| {
        let settings = ["num.partitions=1", "auto.create.topics.enable=true"];
        Node::new(Peer::Ringlog, &scratch_dir("load").join(name), &settings).map_err(|e| e.to_string())
    };
    let mut nodes = [node("perf-0")?, node("perf-1")?];
    let anywhere = sched_getaffinity(THIS_THREAD).map_err(|e| e.to_string())?;
    let mut cpus = (0..CpuSet::count()).filter(|cpu| anywhere.is_set(*cpu) == Ok(true));
    let (Some(nodes_cpu), Some(tools_cpu)) = (cpus.next(), cpus.next()) else {
        println!("  one CPU for the nodes and the tools: what a request costs is not judged");
        return nodes.iter_mut().try_for_each(Node::start).and_then(|()| judge(&nodes, false));
    };
    let judged = run_on(nodes_cpu)
        .and_then(|()| nodes.iter_mut().try_for_each(Node::start))
        .and_then(|()| run_on(tools_cpu))
        .and_then(|()| judge(&nodes, true));
    sched_setaffinity(THIS_THREAD, &anywhere).map_err(|e| e.to_string())?;
    judged
}

fn judge([one, other]: &[Node; 2], judge_cpu: bool) -> Result<(), String> {
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let (theirs, ours) = if round % 2 == 0 { (one, other) } else { (other, one) };
        rounds.push(together(theirs, ours, &format!("perf-{round}"))?);
    }
    for [theirs, ours] in &rounds {
        theirs.check().map_err(|why| format!("theirs: {why}"))?;
        ours.check().map_err(|why| format!("ours: {why}"))?;
    }
    // Each round compares what happened at the same time.
    let ratios = |of: fn(&Done) -> f64| {
        let mut ratios: Vec<f64> = rounds.iter().map(|[theirs, ours]| of(ours) / of(theirs)).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    };
    let (bytes, cpu) = (ratios(Done::batch_bytes), ratios(Done::cpu_us));
    let told = |of: fn(&Done) -> f64| {
        let pairs = rounds.iter().map(|[theirs, ours]| format!("{:.0}:{:.0}", of(theirs), of(ours)));
        pairs.collect::<Vec<_>>().join(" ")
    };
    println!("  ProducerPerformance and loadgen, each round: mean batch {} bytes", told(Done::batch_bytes));
    println!("  broker CPU a request {} us, ratios {cpu:.2?}", told(Done::cpu_us));
    let middle = ROUNDS / 2;
    holds((0.9..1.1).contains(&bytes[middle]), || format!("mean batch bytes, ours to theirs: {bytes:.2?}"))?;
    holds(!judge_cpu || (0.85..1.15).contains(&cpu[middle]), || {
        format!("broker CPU a request, ours to theirs: {cpu:.2?}")
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

/// A node, and the partition of it that a tool is going to fill.
struct Watched<'a> {
    node: &'a Node,
    topic: &'a str,
    clock: ClockId,
    log: PathBuf,
    requests_before: u64,
}

/// What the log holds and what the node has cost by then.
#[derive(Clone, Copy, Debug)]
struct Sample {
    bytes: u64,
    cpu: Duration,
}

impl<'a> Watched<'a> {
    fn new(node: &'a Node, topic: &'a str) -> Result<Self, String> {
        PlainClient::connect(&node.address())?.create_topic(topic, 1, &[])?;
        let pid = Pid::from_raw(node.pid().ok_or("the node is not running")? as i32);
        Ok(Self {
            node,
            topic,
            clock: clock_getcpuclockid(pid).map_err(|e| e.to_string())?,
            log: node.data_dir().join(format!("{topic}-0")),
            requests_before: produce_requests(node)?,
        })
    }

    fn sample(&self) -> Result<Sample, String> {
        let cpu = self.clock.now().map(Duration::from).map_err(|e| e.to_string())?;
        Ok(Sample { bytes: bytes_of(&self.log)?, cpu })
    }

    /// What is there in the end, with the cost between `first` and `last`.
    fn done(&self, claims: Claims, first: Sample, last: Sample) -> Result<Done, String> {
        let requests = produce_requests(self.node)? - self.requests_before;
        let (cpu, cpu_bytes) = (last.cpu - first.cpu, last.bytes - first.bytes);
        let mut client = PlainClient::connect(&self.node.address())?;
        let (mut at, mut log) = (0, Vec::new());
        loop {
            let answer = client.fetch(self.topic, 0, at, 4 << 20)?;
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
}

/// Lets both tools send at the same time, each to its own node; returns what came of it, theirs first.
fn together(theirs: &Node, ours: &Node, topic: &str) -> Result<[Done; 2], String> {
    let watched = [Watched::new(theirs, topic)?, Watched::new(ours, topic)?];
    let ended = AtomicBool::new(false);
    let (claims, samples) = thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut samples = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                samples.push([watched[0].sample()?, watched[1].sample()?]);
                thread::sleep(Duration::from_millis(50));
            }
            Ok::<_, String>(samples)
        });
        let performance = scope.spawn(|| performance(theirs, topic));
        // A JVM takes its time; if it never sends, it says why.
        while !performance.is_finished() && bytes_of(&watched[0].log).is_ok_and(|bytes| bytes == 0) {
            thread::sleep(Duration::from_millis(10));
        }
        let loadgen = loadgen(ours, topic);
        let performance = performance.join().map_err(|_| "a thread panicked".to_owned()).flatten();
        ended.store(true, Ordering::Relaxed);
        let samples = sampler.join().map_err(|_| "the sampler panicked".to_owned()).flatten();
        ([performance, loadgen], samples)
    });
    let ([theirs, ours], samples) = (claims, samples?);
    let gained = samples.last().ok_or("nobody looked at the logs")?.map(|sample| sample.bytes);
    let grows = |samples: &&[Sample; 2]| {
        samples.iter().zip(gained).all(|(sample, gained)| (gained / 10..=gained / 10 * 9).contains(&sample.bytes))
    };
    match samples.iter().filter(grows).collect::<Vec<_>>()[..] {
        [first, .., last] if (0..2).all(|of| last[of].bytes - first[of].bytes > gained[of] / 2) => {
            Ok([watched[0].done(theirs?, first[0], last[0])?, watched[1].done(ours?, first[1], last[1])?])
        }
        _ => Err(format!("the logs did not grow at the same time: {theirs:?}, {ours:?}, {samples:?}")),
    }
}

/// Produce requests that the node says it has answered.
fn produce_requests(node: &Node) -> Result<u64, String> {
    Ok(node.metric("ringlog_request_duration_seconds_count{api=\"Produce\"}")? as u64)
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
         [producers]\nlinger_ms = {LINGER_MS}\nbatch_bytes = {BATCH_BYTES}\n[consumers]\ngroups = 0\n[load]\nrate = {}\narrivals = \"poisson\"\n",
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
