//! The load generator against real nodes: what it must see, and whether it counts as an independent client does.
//!
//! `cargo test -p tests --test load -- [NAME]...`; `LOAD_PEER=kafka` drives Apache Kafka instead of Ringlog.

mod perf;

use std::path::Path;
use std::time::{Duration, Instant};

use loadgen::outcome::Knee;
use loadgen::{BrokerProcess, Outcome, RunOptions, Workload, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::node::{Node, Peer};
use tests::scratch_dir;
use tests::tally::Tally;

type Test = fn() -> Result<(), String>;

const TESTS: &[(&str, Test)] = &[
    ("every_mode_keeps_what_it_acked", every_mode_keeps_what_it_acked),
    ("a_group_reads_everything_once_while_members_share_it", a_group_reads_everything_once_while_members_share_it),
    ("idempotent_producers_outlive_a_killed_broker", idempotent_producers_outlive_a_killed_broker),
    ("a_backlog_is_built_and_drained", a_backlog_is_built_and_drained),
    ("a_soak_says_whether_anything_rolled_and_was_deleted", a_soak_says_whether_anything_rolled_and_was_deleted),
    (
        "a_stopped_broker_shows_in_open_loop_and_hides_in_closed",
        a_stopped_broker_shows_in_open_loop_and_hides_in_closed,
    ),
    ("it_counts_as_kafkas_own_tool_does", perf::it_counts_as_kafkas_own_tool_does),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut tally = Tally::new("load");
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| name.contains(w))) {
        let begun = Instant::now();
        match test() {
            Err(why) if why.starts_with("no ") && why.ends_with("on this machine") => tally.skip(name, &why, 1),
            result => tally.judge(name, result),
        }
        println!("  {:.1} s", begun.elapsed().as_secs_f64());
    }
    std::process::exit(tally.close());
}

/// A running node with a folder of this name.
fn node(name: &str) -> Result<Node, String> {
    let peer = if std::env::var("LOAD_PEER").is_ok_and(|peer| peer == "kafka") { Peer::Kafka } else { Peer::Ringlog };
    let overrides = ["group.initial.rebalance.delay.ms=0", "log.segment.bytes=33554432"];
    let mut node = Node::new(peer, &scratch_dir("load").join(name), &overrides).map_err(|e| e.to_string())?;
    node.start()?;
    Ok(node)
}

fn workload(text: &str) -> Result<Workload, String> {
    Workload::parse(&format!("name = \"load\"\n{text}"), Path::new(".")).map_err(|e| e.to_string())
}

fn drive(node: &Node, text: &str) -> Result<Outcome, String> {
    let pid = node.pid().ok_or("the node is not running")? as i32;
    let options =
        RunOptions { bootstrap: node.address(), brokers: vec![BrokerProcess::new(pid, None)], ..RunOptions::default() };
    run(&workload(text)?, &options, &mut |_| {}).map_err(|e| e.to_string())
}

/// Nothing failed, everything was read, and the self-check is content.
fn sound(what: &str, outcome: &Outcome) -> Result<(), String> {
    let check = &outcome.check;
    holds(check.passed() && check.complete, || format!("{what}: {check:?}"))?;
    let failed: Vec<_> = outcome.errors.iter().filter(|(what, _)| !what.starts_with("retried: ")).collect();
    holds(failed.is_empty(), || format!("{what}: {failed:?}"))?;
    holds(0 < outcome.acked.messages && 0 < outcome.consumed.messages, || format!("{what}: nothing was moved"))
}

fn holds(held: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if held { Ok(()) } else { Err(otherwise()) }
}

fn every_mode_keeps_what_it_acked() -> Result<(), String> {
    let node = node("modes")?;
    let common = "warmup_s = 0.5\nduration_s = 2\n[topics]\ncount = 2\npartitions = 3\n[producers]\ncount = 3\n";
    for (what, text) in [
        ("open", "[load]\nrate = 1000\n"),
        ("poisson", "[load]\nrate = 1000\narrivals = \"poisson\"\n"),
        ("closed", "[load]\nmode = \"closed\"\n"),
        ("maximum", "[load]\nmode = \"maximum\"\n[messages]\nsize_bytes_min = 100\nsize_bytes_max = 20000\n"),
        ("keys", "[load]\nrate = 2000\n[messages]\nkeys = \"zipf\"\nsize_bytes = 100\n"),
        ("cold", "[load]\nrate = 1000\n[consumers]\ncold_readers = 1\n"),
    ] {
        let outcome = drive(&node, &format!("{common}{text}"))?;
        sound(what, &outcome)?;
        let used = outcome.brokers.first().ok_or("the broker's use was not measured")?;
        holds(!used.cpu.is_zero() && 0 < used.rss_bytes, || format!("{what}: {used:?}"))?;
        if what == "cold" {
            let cold = outcome.cold.as_ref().ok_or("no cold readers")?;
            holds(0 < cold.read.messages && cold.caught_up.is_some(), || format!("{cold:?}"))?;
        }
    }
    let codecs = ["gzip", "snappy", "lz4", "zstd"];
    for codec in codecs {
        let text = format!(
            "warmup_s = 0\nduration_s = 1\n[messages]\nrandom_ratio = 0.2\n[producers]\ncompression = \"{codec}\"\n[load]\nrate = 2000\n"
        );
        let outcome = drive(&node, &text)?;
        sound(codec, &outcome)?;
        let bytes_per_message = outcome.batches.bytes as f64 / outcome.batches.messages as f64;
        holds(bytes_per_message < 800.0, || format!("{codec}: {bytes_per_message} bytes of a message of 1,024"))?;
    }
    let sweep = "warmup_s = 0.3\nduration_s = 1\n[load]\nmode = \"sweep\"\nrate_min = 200\nrate_max = 400\nrate_factor = 2\nlatency_ms = 60000\n";
    let outcome = drive(&node, sweep)?;
    sound("sweep", &outcome)?;
    holds(outcome.steps.len() == 2 && outcome.knee() == Some(Knee::Open(400.0)), || format!("{:?}", outcome.steps))
}

fn a_group_reads_everything_once_while_members_share_it() -> Result<(), String> {
    let node = node("group")?;
    let text = "warmup_s = 0.5\nduration_s = 3\n[topics]\npartitions = 6\n[consumers]\ngroups = 2\nper_group = 3\nmembership = \"group\"\n[load]\nrate = 1000\n";
    let outcome = drive(&node, text)?;
    sound("group", &outcome)?;
    // Two groups read each message.
    let (acked, read) = (outcome.acked.messages as f64, outcome.consumed.messages as f64);
    holds((1.8..2.2).contains(&(read / acked)), || format!("{read} read of {acked} acked"))
}

fn idempotent_producers_outlive_a_killed_broker() -> Result<(), String> {
    let mut node = node("killed")?;
    let workload = workload("warmup_s = 0\nduration_s = 8\n[topics]\npartitions = 4\n[load]\nrate = 2000\n")?;
    let options = RunOptions { bootstrap: node.address(), ..RunOptions::default() };
    let driving = std::thread::spawn(move || run(&workload, &options, &mut |_| {}));
    std::thread::sleep(Duration::from_secs(4));
    // Stopped first, so that requests are under way when it is killed.
    let pid = Pid::from_raw(node.pid().ok_or("the node is not running")? as i32);
    kill(pid, Signal::SIGSTOP).map_err(|e| e.to_string())?;
    std::thread::sleep(Duration::from_millis(300));
    node.kill_now();
    node.start()?;
    let outcome = driving.join().map_err(|_| "the run panicked")?.map_err(|e| e.to_string())?;
    let check = &outcome.check;
    holds(check.passed() && check.complete, || format!("{check:?}"))?;
    let retried: u64 = outcome.errors.iter().filter(|(what, _)| what.starts_with("retried: ")).map(|(_, n)| n).sum();
    holds(0 < retried, || format!("nothing was under way at the kill: {:?}", outcome.errors))?;
    let lost: Vec<_> =
        outcome.errors.keys().filter(|what| !what.starts_with("retried: ") && !what.starts_with("consume: ")).collect();
    holds(lost.is_empty(), || format!("not delivered after all: {lost:?}"))
}

fn a_backlog_is_built_and_drained() -> Result<(), String> {
    let node = node("backlog")?;
    let text = "warmup_s = 0\nduration_s = 40\n[topics]\npartitions = 4\n[load]\nmode = \"backlog\"\nrate = 2000\nbacklog_bytes = 8000000\n";
    let outcome = drive(&node, text)?;
    sound("backlog", &outcome)?;
    let backlog = outcome.backlog.as_ref().ok_or("there was no backlog")?;
    holds(8_000_000 <= backlog.bytes && backlog.drain.is_some(), || format!("{backlog:?}"))?;
    // 8 MB at 2 MB a second.
    holds(Duration::from_secs(3) < backlog.build, || format!("{backlog:?}"))?;
    let lag = outcome.lag.as_ref().ok_or("no lag was measured")?;
    holds(5_000 < lag.messages_max && 1.0 < lag.seconds_max, || {
        format!("{} messages, {} s", lag.messages_max, lag.seconds_max)
    })
}

fn a_soak_says_whether_anything_rolled_and_was_deleted() -> Result<(), String> {
    let mut node = Node::new(
        Peer::Ringlog,
        &scratch_dir("load").join("soak"),
        &["log.retention.check.interval.ms=500", "log.initial.task.delay.ms=500"],
    )
    .map_err(|e| e.to_string())?;
    node.start()?;
    for (retention_ms, want) in [(2_000, "met"), (600_000, "not proven")] {
        let text = format!(
            "warmup_s = 0\nduration_s = 8\n[topics]\npartitions = 2\n\
             configs = {{ \"segment.bytes\" = \"1048576\", \"retention.ms\" = \"{retention_ms}\" }}\n\
             [load]\nmode = \"soak\"\nrate = 2000\n"
        );
        let outcome = drive(&node, &text)?;
        sound("soak", &outcome)?;
        let verdict = loadgen::judge(&outcome).ok_or("a soak has a verdict")?;
        let said = || format!("retention {retention_ms} ms: {:?}: {verdict:?}", outcome.soak);
        holds(verdict.met.to_string() == want, said)?;
        // 16 MB into segments of one.
        let soak = outcome.soak.ok_or("nobody looked at the logs")?;
        holds(soak.partitions_rolled == 2 && (0 < soak.deleted_messages) == (want == "met"), said)?;
    }
    Ok(())
}

/// One second of 30 is 3.3 % of the messages due: p99 lies within them. Of a closed loop one request waits.
fn a_stopped_broker_shows_in_open_loop_and_hides_in_closed() -> Result<(), String> {
    let node = node("stopped")?;
    let pid = Pid::from_raw(node.pid().ok_or("the node is not running")? as i32);
    let mut p99_ms = Vec::new();
    for load in ["rate = 500\n", "mode = \"closed\"\nconcurrency = 1\n"] {
        let text =
            format!("warmup_s = 1\nduration_s = 30\n[topics]\npartitions = 2\n[consumers]\ngroups = 0\n[load]\n{load}");
        let workload = workload(&text)?;
        let options = RunOptions { bootstrap: node.address(), ..RunOptions::default() };
        let driving = std::thread::spawn(move || run(&workload, &options, &mut |_| {}));
        std::thread::sleep(Duration::from_secs(10));
        kill(pid, Signal::SIGSTOP).map_err(|e| e.to_string())?;
        std::thread::sleep(Duration::from_secs(1));
        kill(pid, Signal::SIGCONT).map_err(|e| e.to_string())?;
        let outcome = driving.join().map_err(|_| "the run panicked")?.map_err(|e| e.to_string())?;
        holds(900_000 <= outcome.produce.max(), || "the stop fell outside the run".to_owned())?;
        p99_ms.push(outcome.produce.value_at_quantile(0.99) as f64 / 1000.0);
    }
    println!("  p99 with one second's stop in 30: open loop {:.1} ms, closed loop {:.1} ms", p99_ms[0], p99_ms[1]);
    holds(500.0 <= p99_ms[0], || format!("open loop: p99 {} ms", p99_ms[0]))?;
    holds(p99_ms[1] < 500.0, || format!("closed loop: p99 {} ms", p99_ms[1]))
}
