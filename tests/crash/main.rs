//! Crash tests: a real process, killed with SIGKILL at the worst moments, under load; then what it holds is compared with
//! what it acked.
//!
//! Then what each delivery semantics promises across a crash, by a foreign client.
//!
//! `cargo test -p tests --test crash -- [--peer kafka] [--class NAME]...`

mod delivery;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tests::checker;
use tests::load::{self, History, Load, Plan, WRITERS};
use tests::node::{Node, Peer};
use tests::plain_client::{PlainClient, is_retriable};
use tests::scratch_dir;
use tests::tally::Tally;

/// Unanswered requests that every kill under load must meet.
const IN_FLIGHT_MIN: usize = 100;

/// Acked requests before a kill, so that there is something to lose.
const ACKED_MIN: usize = 300;

/// All classes together must kill at least this often.
const KILLS_MIN: u32 = 20;

/// How long a moment (a roll, a swap, ...) is waited for.
const MOMENT_SECONDS_MAX: u64 = 20;

/// How often one round kills a node on its way up.
const RESTARTS_MAX: u32 = 12;

const STEADY: Plan = Plan { topic: "crash-steady", partitions: 4, value_bytes: 100, keys: None };
const ROLL: Plan = Plan { topic: "crash-roll", partitions: 2, value_bytes: 1200, keys: None };
const RECOVERY: Plan = Plan { topic: "crash-recovery", partitions: 3, value_bytes: 200, keys: None };
const COMPACTION: Plan = Plan { topic: "crash-compaction", partitions: 2, value_bytes: 1000, keys: Some(40) };
const COORDINATOR: Plan = Plan { topic: "crash-coordinator", partitions: 2, value_bytes: 100, keys: None };

/// Kafka's smallest segment.
const SEGMENT_BYTES: (&str, &str) = ("segment.bytes", "1048576");

/// What one class of kills did.
#[derive(Default)]
struct Outcome {
    kills: u32,
    /// Kills that met the moment the class is about.
    hits: u32,
    in_flight_min: Option<usize>,
}

impl Outcome {
    fn note(&mut self, in_flight: usize, hit: bool) {
        self.kills += 1;
        self.hits += u32::from(hit);
        self.in_flight_min = Some(self.in_flight_min.map_or(in_flight, |least| least.min(in_flight)));
    }
}

struct Class {
    name: &'static str,
    /// How many of its kills must meet the moment.
    hits_min: u32,
    run: fn(&mut Node, &mut Outcome) -> Result<(), String>,
}

const CLASSES: &[Class] = &[
    Class { name: "steady", hits_min: 6, run: steady },
    Class { name: "roll", hits_min: 4, run: roll },
    Class { name: "recovery", hits_min: 4, run: recovery },
    Class { name: "compaction", hits_min: 3, run: compaction },
    Class { name: "coordinator", hits_min: 3, run: coordinator },
];

fn main() {
    let mut peer = Peer::Ringlog;
    let mut wanted: Vec<String> = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--peer", Some(name)) if name == "kafka" => peer = Peer::Kafka,
            ("--peer", Some(name)) if name == "ringlog" => peer = Peer::Ringlog,
            ("--class", Some(name)) => wanted.push(name),
            _ => {
                eprintln!("arguments: [--peer ringlog|kafka] [--class NAME]...");
                std::process::exit(2);
            }
        }
    }
    let mut tally = Tally::new("crash");
    let mut kills = 0;
    for class in CLASSES.iter().filter(|c| wanted.is_empty() || wanted.iter().any(|w| w == c.name)) {
        let begun = Instant::now();
        let mut outcome = Outcome::default();
        let result = node_for(peer, class.name).and_then(|mut node| {
            let result = (class.run)(&mut node, &mut outcome);
            result.map_err(|why| format!("{why} (node: {})", node.log_tail()))
        });
        kills += outcome.kills;
        println!(
            "  {}: {} kills, {} at the moment meant, at least {} requests in flight, {:.1} s",
            class.name,
            outcome.kills,
            outcome.hits,
            outcome.in_flight_min.unwrap_or(0),
            begun.elapsed().as_secs_f64()
        );
        tally.judge(&format!("crash {}: what was acked is there, once, in order, in place", class.name), result);
        let enough = if outcome.hits < class.hits_min {
            Err(format!("{} of at least {}", outcome.hits, class.hits_min))
        } else {
            Ok(())
        };
        tally.judge(&format!("crash {}: kills at the moment meant", class.name), enough);
        let least = outcome.in_flight_min.unwrap_or(0);
        let busy = if least < IN_FLIGHT_MIN { Err(format!("only {least}")) } else { Ok(()) };
        tally.judge(&format!("crash {}: at least {IN_FLIGHT_MIN} requests in flight at every kill", class.name), busy);
    }
    if wanted.is_empty() {
        let enough = if kills < KILLS_MIN { Err(format!("{kills} of at least {KILLS_MIN}")) } else { Ok(()) };
        tally.judge("crash: enough kills in all", enough);
    }
    delivery::judge(&mut tally, peer, |name| wanted.is_empty() || wanted.iter().any(|w| w == name));
    println!("  {kills} kills by the checker's classes");
    std::process::exit(tally.close());
}

const OVERRIDES: &[&str] = &[
    "log.cleaner.backoff.ms=100",
    "log.initial.task.delay.ms=200",
    "group.initial.rebalance.delay.ms=0",
    "offsets.topic.num.partitions=4",
];

/// Neither the number of shards nor the way of appending may matter to what is on disk; Kafka does not know these.
const SHAPES: &[&[&str]] = &[
    &["ringlog.shards=1"],
    &["ringlog.log.append.backend=inline"],
    &["ringlog.shards=3"],
    &["ringlog.shards=1", "ringlog.log.append.backend=inline"],
];

fn node_for(peer: Peer, class: &str) -> Result<Node, String> {
    let dir = scratch_dir("crash").join(class);
    let mut node = Node::new(peer, &dir, OVERRIDES).map_err(|e| e.to_string())?;
    node.start()?;
    Ok(node)
}

/// Makes the topic and waits until every partition answers: the history is simpler without first refusals.
fn create(node: &Node, plan: &Plan, configs: &[(&str, &str)]) -> Result<(), String> {
    PlainClient::connect(&node.address())?.create_topic(plan.topic, plan.partitions, configs)?;
    let deadline = Instant::now() + Duration::from_secs(MOMENT_SECONDS_MAX);
    for partition in 0..plan.partitions {
        while is_retriable(PlainClient::connect(&node.address())?.fetch(plan.topic, partition, 0, 1 << 20)?.error) {
            if Instant::now() > deadline {
                return Err(format!("partition {partition} of {} has no leader", plan.topic));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Waits until enough is acked and enough is under way.
fn warmed(load: &Load) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(MOMENT_SECONDS_MAX);
    while load.acked() < ACKED_MIN || load.in_flight() < IN_FLIGHT_MIN {
        if Instant::now() > deadline {
            return Err(format!("the load does not get going: {} acked, {} in flight", load.acked(), load.in_flight()));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Kills the node once enough is in flight, and collects the history. Returns how many requests were in flight.
fn kill_under(load: Load, node: &mut Node, history: &mut History) -> usize {
    let deadline = Instant::now() + Duration::from_secs(2);
    while load.in_flight() < IN_FLIGHT_MIN && Instant::now() < deadline {
        std::hint::spin_loop();
    }
    let in_flight = load.in_flight();
    node.kill_now();
    load.finish(history);
    in_flight
}

fn first_writer(round: u32) -> u32 {
    round * WRITERS as u32
}

fn steady(node: &mut Node, outcome: &mut Outcome) -> Result<(), String> {
    create(node, &STEADY, &[])?;
    let mut history = History::default();
    for round in 0..7 {
        let load = Load::start(&node.address(), &STEADY, first_writer(round))?;
        warmed(&load)?;
        std::thread::sleep(Duration::from_millis(37 * u64::from(round)));
        let in_flight = kill_under(load, node, &mut history);
        outcome.note(in_flight, IN_FLIGHT_MIN <= in_flight);
        node.set_overrides(&[OVERRIDES, SHAPES[round as usize % SHAPES.len()]].concat());
        node.start()?;
        checker::check_log(&node.address(), &STEADY, &history).map_err(|e| format!("after kill {round}: {e}"))?;
    }
    println!("  steady: {} batches acked", history.acked());
    canary(node, history)
}

/// A checker that finds nothing in a history made wrong on purpose would be worthless.
fn canary(node: &Node, mut history: History) -> Result<(), String> {
    let address = node.address();
    let batch = history.sent.values().flatten().find(|s| s.acked.is_some()).cloned().ok_or("nothing was acked")?;
    let mut finds = |word: &str, wrong: load::Sent| {
        history.sent.entry(u32::MAX).or_default().push(wrong);
        let found = checker::check_log(&address, &STEADY, &history);
        history.sent.remove(&u32::MAX);
        match found {
            Err(why) if why.contains(word) => Ok(()),
            other => Err(format!("the checker missed what was {word} on purpose: {other:?}")),
        }
    };
    let never_written = load::Id { writer: u32::MAX, number: 0 };
    finds("lost", load::Sent { first: never_written, ..batch.clone() })?;
    history
        .sent
        .values_mut()
        .flatten()
        .filter(|s| s.first == batch.first)
        .for_each(|s| s.acked = s.acked.map(|o| o + 1));
    let moved = checker::check_log(&address, &STEADY, &history);
    if !matches!(&moved, Err(why) if why.contains("misplaced")) {
        return Err(format!("the checker missed what was misplaced on purpose: {moved:?}"));
    }
    history.sent.values_mut().for_each(|of_writer| of_writer.retain(|s| s.first != batch.first));
    let unknown = checker::check_log(&address, &STEADY, &history);
    if !matches!(&unknown, Err(why) if why.contains("phantom")) {
        return Err(format!("the checker missed a phantom: {unknown:?}"));
    }
    Ok(())
}

/// The files of a topic's partitions whose names `counts` likes.
fn files(node: &Node, plan: &Plan, counts: impl Fn(&str) -> bool) -> usize {
    let mut found = 0;
    for partition in 0..plan.partitions {
        let folder = node.data_dir().join(format!("{}-{partition}", plan.topic));
        found += fs::read_dir(folder).map_or(0, |entries| {
            entries.flatten().filter(|entry| counts(&entry.file_name().to_string_lossy())).count()
        });
    }
    found
}

fn wait_for(what: &str, mut moment: impl FnMut() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(MOMENT_SECONDS_MAX);
    while !moment() {
        if Instant::now() > deadline {
            return Err(format!("{what} did not come within {MOMENT_SECONDS_MAX} s"));
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    Ok(())
}

fn roll(node: &mut Node, outcome: &mut Outcome) -> Result<(), String> {
    create(node, &ROLL, &[SEGMENT_BYTES])?;
    let mut history = History::default();
    for round in 0..4 {
        let load = Load::start(&node.address(), &ROLL, first_writer(round))?;
        warmed(&load)?;
        let before = files(node, &ROLL, |name| name.ends_with(".log"));
        let came = wait_for("a new segment", || files(node, &ROLL, |name| name.ends_with(".log")) > before);
        let in_flight = kill_under(load, node, &mut history);
        outcome.note(in_flight, came.is_ok() && IN_FLIGHT_MIN <= in_flight);
        came?;
        node.start()?;
        checker::check_log(&node.address(), &ROLL, &history).map_err(|e| format!("after kill {round}: {e}"))?;
    }
    Ok(())
}

/// Kills under load, then kills the recovery that follows, several times over, then lets it finish.
fn recovery(node: &mut Node, outcome: &mut Outcome) -> Result<(), String> {
    create(node, &RECOVERY, &[])?;
    let mut history = History::default();
    for round in 0..2 {
        let load = Load::start(&node.address(), &RECOVERY, first_writer(round))?;
        warmed(&load)?;
        let in_flight = kill_under(load, node, &mut history);
        outcome.note(in_flight, false);
        let begun = Instant::now();
        node.start()?;
        let whole = begun.elapsed();
        node.kill_now();
        // At every part of the way up; a start is not the same length twice, so more tries may be needed.
        let before = outcome.hits;
        for attempt in 0..RESTARTS_MAX {
            if outcome.hits >= before + 3 && attempt >= 4 {
                break;
            }
            node.spawn()?;
            std::thread::sleep(whole * (1 + attempt % 4) / 5);
            let answers = TcpStream::connect(node.address()).is_ok();
            let running = node.is_running();
            node.kill_now();
            // Requests in flight belong to the kill before; a node that is starting has none.
            outcome.note(in_flight, running && !answers);
        }
        node.start()?;
        checker::check_log(&node.address(), &RECOVERY, &history).map_err(|e| format!("after round {round}: {e}"))?;
    }
    Ok(())
}

fn compaction(node: &mut Node, outcome: &mut Outcome) -> Result<(), String> {
    let configs = [
        SEGMENT_BYTES,
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("segment.ms", "1000"),
        ("file.delete.delay.ms", "1000"),
    ];
    create(node, &COMPACTION, &configs)?;
    let mut history = History::default();
    for round in 0..4 {
        let load = Load::start(&node.address(), &COMPACTION, first_writer(round))?;
        warmed(&load)?;
        let swapping = |name: &str| name.ends_with(".cleaned") || name.ends_with(".swap");
        // Odd rounds wait for the swap itself, even ones take the copying too.
        let sought = |name: &str| if round % 2 == 1 { name.ends_with(".swap") } else { swapping(name) };
        let came = wait_for("a compaction", || files(node, &COMPACTION, sought) > 0);
        let in_flight = kill_under(load, node, &mut history);
        let left = files(node, &COMPACTION, |name| swapping(name) || name.ends_with(".deleted"));
        outcome.note(in_flight, left > 0 && IN_FLIGHT_MIN <= in_flight);
        // The swap is short: not meeting it is counted, not a wrong answer.
        if round % 2 == 0 {
            came?;
        }
        node.start()?;
        checker::check_compacted(&node.address(), &COMPACTION, &history)
            .map_err(|e| format!("after kill {round}: {e}"))?;
    }
    Ok(())
}

const GROUPS: i64 = 40;

/// Commits offsets beside the load; kills; then kills the node again while it loads them back.
fn coordinator(node: &mut Node, outcome: &mut Outcome) -> Result<(), String> {
    create(node, &COORDINATOR, &[])?;
    // Kafka makes the offsets topic when somebody first asks for a coordinator.
    let mut client = PlainClient::connect(&node.address())?;
    wait_for("a coordinator", || client.find_coordinator("crash-group-0") == Ok(0))?;
    let mut history = History::default();
    // By group: the last offset acked, and the last one sent.
    let mut commits: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut next = 1;
    for round in 0..2 {
        let mut client = PlainClient::connect(&node.address())?;
        let deadline = Instant::now() + Duration::from_secs(MOMENT_SECONDS_MAX);
        // Enough for the load to take a while.
        let until = next + 150 * GROUPS;
        while next < until {
            let group = format!("crash-group-{}", next % GROUPS);
            let entry = commits.entry(group.clone()).or_insert((-1, -1));
            entry.1 = next;
            match client.commit(&group, COORDINATOR.topic, 0, next)? {
                0 => entry.0 = next,
                code if is_retriable(code) => {
                    if Instant::now() > deadline {
                        return Err(format!("committing for {group}: error code {code}"));
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                code => return Err(format!("committing for {group}: error code {code}")),
            }
            next += 1;
        }
        let load = Load::start(&node.address(), &COORDINATOR, first_writer(round))?;
        warmed(&load)?;
        let in_flight = kill_under(load, node, &mut history);
        outcome.note(in_flight, false);
        let begun = Instant::now();
        node.start()?;
        let whole = begun.elapsed();
        let before = outcome.hits;
        for attempt in 0..RESTARTS_MAX {
            if outcome.hits >= before + 2 && attempt >= 3 {
                break;
            }
            node.kill_now();
            node.spawn()?;
            // Around the moment when the port opens the groups are read back.
            std::thread::sleep(whole * (10 - attempt % 5) / 10);
            let loading = is_loading(node, &commits);
            outcome.note(in_flight, loading);
        }
        node.kill_now();
        node.start()?;
        checker::check_log(&node.address(), &COORDINATOR, &history).map_err(|e| format!("after round {round}: {e}"))?;
        check_commits(node, &commits).map_err(|e| format!("after round {round}: {e}"))?;
    }
    Ok(())
}

/// Whether the node is on its way up and some group's offset is not to be had yet.
fn is_loading(node: &mut Node, commits: &BTreeMap<String, (i64, i64)>) -> bool {
    if !node.is_running() {
        return false;
    }
    let Ok(mut client) = PlainClient::connect(&node.address()) else { return true };
    // A node that still starts takes the connection and is silent; one that is up answers at once.
    if client.set_patience(Duration::from_millis(3)).is_err() {
        return false;
    }
    commits.keys().any(|group| !matches!(client.committed(group, COORDINATOR.topic, 0), Ok(Ok(_))))
}

fn check_commits(node: &Node, commits: &BTreeMap<String, (i64, i64)>) -> Result<(), String> {
    let mut client = PlainClient::connect(&node.address())?;
    let deadline = Instant::now() + Duration::from_secs(MOMENT_SECONDS_MAX);
    for (group, (acked, sent)) in commits {
        let found = loop {
            match client.committed(group, COORDINATOR.topic, 0)? {
                Ok(offset) => break offset,
                Err(code) if is_retriable(code) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(code) => return Err(format!("{group}: error code {code}")),
            }
        };
        if found < *acked || *sent < found {
            return Err(format!("{group}: committed {found}, acked {acked}, last sent {sent}"));
        }
    }
    Ok(())
}
