//! Power cuts: a node on a virtual disk whose unflushed writes are gone when the power is; then what is there is compared
//! with what was acked, for each row of the README's table of durability.
//!
//! | mode | what must hold after each cut |
//! |---|---|
//! | `flush.messages=1` | every acked record is there, once, in order, in place |
//! | `flush.ms=N` | a prefix is there, and what is lost of the acked was acked within about N ms before the cut |
//! | default | a prefix is there, and in it all that was acked before somebody synced the file system |
//!
//! In all of them: nothing that was never sent, nothing at another offset, nothing back that an earlier cut took, and
//! nothing gone that survived one. The kernel lives on through the cut, so it is by the mount's identity alone that the
//! node knows that it lost power; its log must say so.
//!
//! `cargo test -p tests --test power -- [MODE]...`

mod disk;

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use disk::{Disk, First};
use tests::checker::{check_log, check_prefix};
use tests::load::{History, Load, Plan, WRITERS};
use tests::node::{Node, Peer};
use tests::plain_client::{PlainClient, is_retriable};
use tests::scratch_dir;
use tests::tally::Tally;

/// Cuts under load, for each mode.
const ROUNDS: u32 = 3;

/// How long the load runs before a cut: longer than the interval's bound, or that bound would say nothing.
const LOAD_MS: u64 = 2_000;

/// `flush.ms` of the interval mode.
const INTERVAL_MS: u64 = 300;

/// What a busy machine may add to it.
const INTERVAL_SLACK_MS: u64 = 700;

/// Flushes of the disk that a record may have to wait for, one after another: a sync is a commit of the journal, and the
/// one of another partition may be before it.
const FLUSHES_WAITED: u64 = 4;

/// Acked requests before a cut, so that there is something to lose.
const ACKED_MIN: usize = 300;

const MOMENT_SECONDS_MAX: u64 = 20;

/// What the node's log says of the stop before.
const POWER_LOST: &str = "another boot or mount";
const PROCESS_DIED: &str = "same boot and mount";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    Everything,
    AllButTheLastMillis(u64),
    WhatWasSynced,
}

struct Mode {
    name: &'static str,
    topic: &'static str,
    configs: &'static [(&'static str, &'static str)],
    promise: Promise,
}

const MODES: &[Mode] = &[
    Mode { name: "durable", topic: "power-durable", configs: &[("flush.messages", "1")], promise: Promise::Everything },
    Mode {
        name: "interval",
        topic: "power-interval",
        configs: &[("flush.ms", "300")],
        promise: Promise::AllButTheLastMillis(INTERVAL_MS),
    },
    Mode { name: "default", topic: "power-default", configs: &[], promise: Promise::WhatWasSynced },
];

/// The disk's own checks, and two of each mode.
const CHECKS: u32 = 1 + 2 * MODES.len() as u32;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut tally = Tally::new("power");
    let missing = disk::missing();
    if !missing.is_empty() {
        let why = format!("no disk that can lose its power without: {}", missing.join(", "));
        tally.skip("power cuts of a virtual disk", &why, CHECKS);
        std::process::exit(tally.close());
    }
    // All parts are here: whatever does not work from now on is a failure.
    let canary = the_disk_keeps_what_was_synced_and_nothing_else();
    let works = canary.is_ok();
    tally.judge("power: the disk keeps what was synced, and loses the rest", canary);
    for mode in MODES.iter().filter(|m| works && (wanted.is_empty() || wanted.iter().any(|w| w == m.name))) {
        let begun = Instant::now();
        let mut told = None;
        let result = cuts(mode, &mut told);
        println!("  {}: {:.1} s", mode.name, begun.elapsed().as_secs_f64());
        let holds = match mode.promise {
            Promise::Everything => "what was acked is there, once, in order, in place",
            Promise::AllButTheLastMillis(_) => "a prefix is there, without at most the last interval",
            Promise::WhatWasSynced => "a prefix is there, with all that was synced",
        };
        tally.judge(&format!("power {}: {holds}", mode.name), result);
        tally.judge(
            &format!("power {}: the node knows a power cut from a killed process", mode.name),
            told.unwrap_or(Err("no start after a cut".to_owned())),
        );
    }
    std::process::exit(tally.close());
}

/// Proves the disk: without this nothing below would mean anything.
fn the_disk_keeps_what_was_synced_and_nothing_else() -> Result<(), String> {
    let mut disk = Disk::new(&scratch_dir("power").join("canary"))?;
    let at = |name: &str| disk.mount_point().join(name);
    let (synced, unsynced, overwritten) = (at("synced"), at("unsynced"), at("overwritten"));
    let write = |path, byte, sync: bool| -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(&vec![byte; 1 << 20])?;
        if sync { file.sync_all() } else { Ok(()) }
    };
    write(&overwritten, 1, true).map_err(|e| e.to_string())?;
    write(&synced, 2, true).map_err(|e| e.to_string())?;
    write(&unsynced, 3, false).map_err(|e| e.to_string())?;
    write(&overwritten, 4, false).map_err(|e| e.to_string())?;
    disk.cut_alone()?;
    disk.plug_in()?;
    let is = |path, byte: u8| fs::read(path).is_ok_and(|found| found == vec![byte; 1 << 20]);
    if !is(&synced, 2) {
        return Err("what was synced is gone".to_owned());
    }
    if is(&unsynced, 3) || is(&overwritten, 4) {
        return Err("what was never synced survived".to_owned());
    }
    Ok(())
}

fn cuts(mode: &Mode, told: &mut Option<Result<(), String>>) -> Result<(), String> {
    let folder = scratch_dir("power");
    let mut disk = Disk::new(&folder.join(mode.name))?;
    let dirs = format!("log.dirs={}", disk.mount_point().join("data").display());
    let node = Node::new(Peer::Ringlog, &folder.join(format!("{}-node", mode.name)), &[&dirs]);
    let mut node = node.map_err(|e| e.to_string())?;
    let result = cuts_of(mode, &mut disk, &mut node, told);
    // Before the disk it runs on.
    node.kill_now();
    result.map_err(|why| format!("{why} (node: {})", node.log_tail()))
}

fn cuts_of(mode: &Mode, disk: &mut Disk, node: &mut Node, told: &mut Option<Result<(), String>>) -> Result<(), String> {
    let plan = Plan { topic: mode.topic, partitions: 4, value_bytes: 100, keys: None };
    node.start()?;
    create(node, &plan, mode.configs)?;
    let mut history = History::default();
    let mut lost_in_all = 0;
    for round in 0..ROUNDS {
        let load = Load::start(&node.address(), &plan, round * WRITERS as u32)?;
        let begun = Instant::now();
        let synced_until = match mode.promise {
            Promise::WhatWasSynced => {
                std::thread::sleep(Duration::from_millis(LOAD_MS / 2));
                let at = Instant::now();
                sync_file_system(disk)?;
                Some(at)
            }
            _ => None,
        };
        while begun.elapsed() < Duration::from_millis(LOAD_MS + 37 * u64::from(round)) || load.acked() < ACKED_MIN {
            if Duration::from_secs(MOMENT_SECONDS_MAX) < begun.elapsed() {
                return Err(format!("the load does not get going: {} acked", load.acked()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let in_flight = load.in_flight();
        let cut_at = disk.cut(node, if round % 2 == 0 { First::Node } else { First::Disk })?;
        let acked = load.acked();
        load.finish(&mut history);
        let flush_ms = disk.slowest_flush().as_millis() as u64;
        disk.plug_in()?;
        if round % 2 == 1 {
            // Once more, on the way up: recovery itself loses power.
            node.spawn()?;
            std::thread::sleep(Duration::from_millis(40 * u64::from(round)));
            disk.cut(node, First::Node)?;
            disk.plug_in()?;
        }
        restart(node, POWER_LOST, told)?;
        let after = |why| format!("after cut {round}: {why}");
        let survived = check_prefix(&node.address(), &plan, &mut history).map_err(after)?;
        lost_in_all += survived.lost;
        let lost_from = survived.oldest_lost.map(|at| cut_at.saturating_duration_since(at).as_millis() as u64);
        println!(
            "  {} cut {round}: {acked} batches acked, {in_flight} in flight; {} records there, {} acked ones lost{} (slowest flush {flush_ms} ms)",
            mode.name,
            survived.records,
            survived.lost,
            lost_from.map_or_else(String::new, |ms| format!(", the oldest acked {ms} ms before")),
        );
        match (mode.promise, lost_from) {
            (Promise::Everything, Some(ms)) => {
                return Err(after(format!("lost {} acked records, the oldest acked {ms} ms before", survived.lost)));
            }
            (Promise::AllButTheLastMillis(interval_ms), Some(ms))
                if interval_ms + INTERVAL_SLACK_MS + FLUSHES_WAITED * flush_ms < ms =>
            {
                return Err(after(format!(
                    "lost what was acked {ms} ms before; the interval is {interval_ms} ms, the slowest flush {flush_ms} ms"
                )));
            }
            (Promise::WhatWasSynced, Some(_)) if survived.oldest_lost < synced_until => {
                return Err(after("lost what was acked before the file system was synced".to_owned()));
            }
            _ => {}
        }
    }
    if mode.promise == Promise::WhatWasSynced && lost_in_all == 0 {
        return Err("no cut took anything of what was not synced: they cut nothing".to_owned());
    }
    // A killed process on a disk that keeps its power is another matter, whatever the mode.
    let load = Load::start(&node.address(), &plan, ROUNDS * WRITERS as u32)?;
    std::thread::sleep(Duration::from_millis(300));
    node.kill_now();
    load.finish(&mut history);
    restart(node, PROCESS_DIED, told)?;
    check_log(&node.address(), &plan, &history).map_err(|why| format!("after the kill: {why}"))?;
    node.stop().map(drop)
}

/// Starts the node and looks what it says about the stop before.
fn restart(node: &mut Node, expected: &str, told: &mut Option<Result<(), String>>) -> Result<(), String> {
    let before = fs::read(node.log_path()).unwrap_or_default().len();
    node.start()?;
    let text = fs::read(node.log_path()).map_err(|e| e.to_string())?.split_off(before);
    let text = String::from_utf8_lossy(&text);
    let says = if text.contains(expected) { Ok(()) } else { Err(format!("not a word of \"{expected}\" in: {text}")) };
    if !matches!(told, Some(Err(_))) {
        *told = Some(says);
    }
    Ok(())
}

/// Makes the topic and waits until every partition answers.
fn create(node: &Node, plan: &Plan, configs: &[(&str, &str)]) -> Result<(), String> {
    let mut client = PlainClient::connect(&node.address())?;
    client.create_topic(plan.topic, plan.partitions, configs)?;
    let deadline = Instant::now() + Duration::from_secs(MOMENT_SECONDS_MAX);
    for partition in 0..plan.partitions {
        while is_retriable(client.fetch(plan.topic, partition, 0, 1 << 20)?.error) {
            if deadline < Instant::now() {
                return Err(format!("partition {partition} of {} has no leader", plan.topic));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// As an operator's `sync` would.
fn sync_file_system(disk: &Disk) -> Result<(), String> {
    let status = Command::new("sync").arg("--file-system").arg(disk.mount_point()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("sync: {other:?}")),
    }
}
