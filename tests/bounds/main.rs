//! What happens at each bound: half a frame, a reader that stops, pipelining without end, thousands of connections or
//! partitions, a full disk, a damaged one. And what must not depend on a setting: the same records with any number of
//! shards and any size of segments.
//!
//! `cargo test -p tests --test bounds -- [NAME]...`; `BOUNDS_IDLE_CONNECTIONS=10000` opens as many instead of 2,000.

mod clients;
mod disk;
mod logs;

use std::time::{Duration, Instant};

use tests::node::{Node, Peer};
use tests::scratch_dir;
use tests::tally::Tally;

/// What a test came to.
enum Verdict {
    /// It holds.
    Held,
    /// Not to be judged on this machine, and why.
    Skipped(String),
}

type Test = fn() -> Result<Verdict, String>;

const TESTS: &[(&str, Test)] = &[
    ("half_a_frame_holds_up_nobody", clients::half_a_frame_holds_up_nobody),
    ("memory_held_by_half_a_request_is_given_back", clients::memory_held_by_half_a_request_is_given_back),
    ("a_length_that_cannot_be_closes_the_connection", clients::a_length_that_cannot_be_closes_the_connection),
    ("a_fetcher_that_stops_reading_is_not_read", clients::a_fetcher_that_stops_reading_is_not_read),
    ("a_producer_that_stops_reading_is_not_read", clients::a_producer_that_stops_reading_is_not_read),
    ("pipelining_without_end_is_answered_in_order", clients::pipelining_without_end_is_answered_in_order),
    ("idle_connections_cost_little_and_hold_up_nobody", clients::idle_connections_cost_little_and_hold_up_nobody),
    ("one_connection_more_than_allowed_is_refused", clients::one_connection_more_than_allowed_is_refused),
    ("a_full_disk_refuses_and_heals", disk::a_full_disk_refuses_and_heals),
    ("a_disk_at_its_last_byte_refuses_and_heals", disk::a_disk_at_its_last_byte_refuses_and_heals),
    ("nine_thousand_partitions_start_serve_and_stop", logs::nine_thousand_partitions_start_serve_and_stop),
    ("any_number_of_shards_has_the_same_records", logs::any_number_of_shards_has_the_same_records),
    ("any_size_of_segments_has_the_same_records", logs::any_size_of_segments_has_the_same_records),
    ("a_cold_log_is_read_from_disk_as_it_is", logs::a_cold_log_is_read_from_disk_as_it_is),
    ("a_kill_is_recovered_from_the_recovery_point", logs::a_kill_is_recovered_from_the_recovery_point),
    ("foreign_folders_are_adopted_unless_they_clash", logs::foreign_folders_are_adopted_unless_they_clash),
    ("a_damaged_log_stays_offline_until_repaired", logs::a_damaged_log_stays_offline_until_repaired),
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut tally = Tally::new("bounds");
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| name.contains(w))) {
        let begun = Instant::now();
        match test() {
            Ok(Verdict::Held) => tally.pass(name),
            Ok(Verdict::Skipped(why)) => tally.skip(name, &why, 1),
            Err(why) => tally.fail(name, &why),
        }
        println!("  {:.1} s", begun.elapsed().as_secs_f64());
    }
    std::process::exit(tally.close());
}

/// A running node with a folder of this name.
fn node(name: &str, overrides: &[&str]) -> Result<Node, String> {
    let mut node = Node::new(Peer::Ringlog, &scratch_dir("bounds").join(name), overrides).map_err(|e| e.to_string())?;
    node.start()?;
    Ok(node)
}

/// Starts the node, and waits until it has greeted: everything is recovered then. Returns how long it took and what it
/// said.
fn start_and_greet(node: &mut Node) -> Result<(Duration, String), String> {
    let log_path = node.log_path();
    let before = std::fs::read_to_string(&log_path).unwrap_or_default().len();
    let begun = Instant::now();
    node.start()?;
    while begun.elapsed() < Duration::from_secs(60) {
        let text = std::fs::read_to_string(&log_path).unwrap_or_default().split_off(before);
        if text.contains("Ctrl-C or SIGTERM") {
            return Ok((begun.elapsed(), text));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("no greeting: {}", node.log_tail()))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
