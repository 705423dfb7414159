//! Some thousands of seeds, every scenario. For a longer run: `cargo run --release -p sim -- --seeds 100000`.

use sim::faults::{Fault, Tally};
use sim::scenario::{CANARY, SCENARIOS, Scenario};

/// Seeds of each scenario in a test run.
const SEEDS: u64 = 300;
/// How often each kind of fault must have hit an operation under way, over all of them.
const MET_WORK_MIN: u64 = 100;

fn run_seeds(scenario: Scenario) -> Tally {
    let mut tally = Tally::default();
    let mut broken = Vec::new();
    for seed in 0..SEEDS {
        let outcome = sim::run(scenario, seed);
        tally.add(&outcome.tally);
        if let Some(violation) = outcome.violation {
            broken.push(format!("seed {seed}: {}: {}", violation.invariant, violation.detail));
        }
    }
    let shown = broken.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(broken.is_empty(), "{} of {SEEDS} seeds of {} broke something:\n{shown}", broken.len(), scenario.name);
    tally
}

#[test]
fn every_invariant_holds_in_every_scenario_and_every_fault_meets_work_under_way() {
    let mut tally = Tally::default();
    for scenario in SCENARIOS {
        tally.add(&run_seeds(*scenario));
    }
    println!("{tally}");
    for fault in Fault::ALL {
        assert!(MET_WORK_MIN <= tally.met_work(fault), "{fault:?} met work under way too rarely:\n{tally}");
    }
}

#[test]
fn same_seed_same_bytes() {
    for scenario in SCENARIOS {
        for seed in 1_000..1_010 {
            let (first, second) = (sim::run(*scenario, seed), sim::run(*scenario, seed));
            assert_eq!(first, second, "{} seed {seed}", scenario.name);
            let other = sim::run(*scenario, seed + 1);
            assert_ne!(first.trace_hash, other.trace_hash, "{} seeds {seed} and the next", scenario.name);
        }
    }
}

#[test]
fn canary_claim_that_is_not_true_is_caught() {
    let caught = (0..300).filter_map(|seed| sim::run(CANARY, seed).violation).next();
    let violation = caught.expect("a simulator that lets this pass sees nothing");
    assert_eq!(violation.invariant, "acked_batches_survive", "{}", violation.detail);
}
