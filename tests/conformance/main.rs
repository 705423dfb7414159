//! Foreign clients as judges: each feature of MATRIX.md, by each client, against one node; then where
//! two of them put keys, and Kafka's own tools.
//!
//! `cargo test --release -p tests --test conformance -- [--peer kafka] [--address HOST:PORT] [--client NAME]... [--feature NAME]...`
//!
//! Without arguments everything runs against `ringlog serve` (`TEST_BIN`, else the release build). A client whose
//! runtime is not installed is skipped and counted; `TEST_CLIENT_FAMILIES_MIN` says how many must have run.

mod matrix;
mod partitions;
mod programs;
mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex;

use matrix::{CLIENTS, Cell, FEATURES};
use tests::clients::{Client, Missing, name_of, prepare};
use tests::node::{Node, Peer};
use tests::tally::Tally;
use tests::{root, scratch_dir};

/// Programs at a time: most of their time is waiting for a group to settle.
const CLIENTS_AT_A_TIME: usize = 3;

struct Options {
    peer: Peer,
    address: Option<String>,
    clients: Vec<String>,
    features: Vec<String>,
}

fn main() {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}");
            std::process::exit(2);
        }
    };
    std::process::exit(judge(&options));
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { peer: Peer::Ringlog, address: None, clients: Vec::new(), features: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--peer" => {
                options.peer = match value()?.as_str() {
                    "ringlog" => Peer::Ringlog,
                    "kafka" => Peer::Kafka,
                    other => return Err(format!("--peer is ringlog or kafka, not {other}")),
                }
            }
            "--address" => options.address = Some(value()?),
            "--client" => options.clients.push(value()?),
            "--feature" => options.features.push(value()?),
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(options)
}

impl Options {
    fn wants_client(&self, name: &str) -> bool {
        self.clients.is_empty() || self.clients.iter().any(|c| c == name)
    }

    fn wants_feature(&self, name: &str) -> bool {
        self.features.is_empty() || self.features.iter().any(|f| f == name)
    }
}

fn judge(options: &Options) -> i32 {
    let mut tally = Tally::new("conformance");
    let text = fs::read_to_string(root().join("tests/conformance/MATRIX.md")).unwrap_or_default();
    let cells = match matrix::parse(&text) {
        Ok(cells) => cells,
        Err(wrong) => {
            wrong.iter().for_each(|why| tally.fail("matrix", why));
            return tally.close();
        }
    };
    let planned = |client: &str| -> Vec<String> {
        FEATURES
            .iter()
            .filter(|f| {
                options.wants_feature(f) && cells.get(&(client.to_owned(), (**f).to_owned())) == Some(&Cell::Run)
            })
            .map(|&f| f.to_owned())
            .collect()
    };

    let mut ready = Vec::new();
    for &name in CLIENTS.iter().filter(|name| options.wants_client(name)) {
        match prepare(name) {
            Ok(client) => ready.push(client),
            Err(Missing::Runtime(why)) => tally.skip(name, &why, planned(name).len() as u32),
            Err(Missing::Broken(why)) => tally.fail(name, &why),
        }
    }

    let dir = scratch_dir("conformance");
    let _ = fs::remove_dir_all(&dir);
    if let Err(why) = fs::create_dir_all(&dir) {
        tally.fail("scratch folder", &why.to_string());
        return tally.close();
    }
    // Groups wait for their first members; the default of three seconds would be most of the run.
    let mut node = match Node::new(options.peer, &dir.join("node"), &["group.initial.rebalance.delay.ms=500"]) {
        Ok(node) => node,
        Err(why) => {
            tally.fail("node", &why.to_string());
            return tally.close();
        }
    };
    let address = match &options.address {
        Some(address) => address.clone(),
        None => {
            if let Err(why) = node.start() {
                tally.fail("node", &why);
                return tally.close();
            }
            node.address()
        }
    };

    let writers: Vec<String> = ready
        .iter()
        .flat_map(|c| ["none", "gzip", "snappy", "lz4", "zstd"].map(|codec| format!("{}:{codec}", c.name)))
        .collect();
    // What all have written is read by all only after all have written it.
    let first = |client: &Client| planned(client.name).into_iter().filter(|f| f != "interop-read").collect();
    let second = |client: &Client| {
        let read = planned(client.name).into_iter().filter(|f| f == "interop-read");
        read.map(|f| format!("{f}={}", writers.join(","))).collect()
    };
    let mut verdicts = run_all(&ready, &address, &dir, &first);
    for (client, more) in run_all(&ready, &address, &dir, &second) {
        verdicts.entry(client).or_default().extend(more);
    }

    let mut families = 0;
    for client in &ready {
        let found = verdicts.get(client.name);
        families += u32::from(found.is_some_and(|v| v.values().any(Result::is_ok)));
        for feature in planned(client.name) {
            let what = format!("{} {feature}", client.name);
            match found.and_then(|v| v.get(&feature)) {
                Some(verdict) => tally.judge(&what, verdict.clone()),
                None => tally.fail(&what, "the cell says `run`, but there is no verdict"),
            }
        }
    }
    if options.address.is_none() && !node.is_running() {
        tally.fail("node", &format!("ended during the run: {}", node.log_tail()));
    }
    if options.wants_feature("partitions") {
        partitions::judge(&mut tally, &address, &dir, |client| options.wants_client(client));
    }
    if options.wants_client("tools") {
        tools::judge(&mut tally, &address, options.peer, &node, &dir, |feature| options.wants_feature(feature));
    }
    if options.wants_client("programs") && options.address.is_none() {
        programs::judge(&mut tally, options.peer, &dir);
    }
    if options.address.is_none() && node.is_running() {
        tally.judge("the node stops cleanly on SIGTERM", node.stop().map(|_| ()));
    }

    println!("client families that ran: {families} of {}", CLIENTS.len());
    let wanted = std::env::var("TEST_CLIENT_FAMILIES_MIN").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    if families < wanted {
        tally.fail("client families", &format!("{families} ran, at least {wanted} are wanted"));
    }
    tally.close()
}

type Verdicts = BTreeMap<&'static str, BTreeMap<String, Result<(), String>>>;

fn run_all(
    ready: &[Client],
    address: &str,
    dir: &std::path::Path,
    features: &(dyn Fn(&Client) -> Vec<String> + Sync),
) -> Verdicts {
    let queue = Mutex::new(ready.iter());
    let verdicts = Mutex::new(Verdicts::new());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS_AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no thread panics with it").next();
                    let Some(client) = next else { return };
                    let wanted = features(client);
                    if wanted.is_empty() {
                        continue;
                    }
                    let log = dir.join(format!("{}.log", client.name));
                    let found = client.judge(address, "judged", &wanted, &log);
                    for argument in &wanted {
                        if let Some(Err(why)) = found.get(name_of(argument)) {
                            println!("  {} {}: {why}", client.name, name_of(argument));
                        }
                    }
                    verdicts.lock().expect("no thread panics with it").insert(client.name, found);
                }
            });
        }
    });
    verdicts.into_inner().expect("no thread panicked with it")
}
