//! A deterministic simulator of one node: the sans-IO parts of Ringlog over a modelled disk, with faults, judged by
//! invariants. One seed, one run, to the byte; no task, clock, socket or real file anywhere.
//!
//! Read in this order: [`scenario`] says what a run is made of; [`world`] runs it, with a
//! [`group_world`] and [`controller_world`] for what a group coordinator and the controller make of their logs; [`disk`] is what it runs on and what
//! can go wrong there; [`invariants`] (one file each) is what must hold; [`history`] is what they judge by. `storage::mutants`
//! are rules broken on purpose, each of which some scenario must catch (`tests/mutants.rs`).
//!
//! Does not check: more than one node, transactions, the bound of `flush.ms`, reads that fail,
//! a host that reorders what one effect does.

pub mod client;
pub mod controller_world;
pub mod disk;
pub mod effects;
pub mod faults;
pub mod group_world;
pub mod history;
pub mod invariants;
pub mod rng;
pub mod scenario;
pub mod trace;
pub mod violation;
pub mod world;

use controller_world::ControllerWorld;
use faults::Tally;
use group_world::GroupWorld;
use scenario::{Hosts, Scenario};
use trace::Trace;
use violation::Violation;
use world::World;

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Everything it did, as one number.
    pub trace_hash: u64,
    /// The faults it met.
    pub tally: Tally,
    /// What it broke, if anything.
    pub violation: Option<Violation>,
}

/// Runs one seed of a scenario.
#[must_use]
pub fn run(scenario: Scenario, seed: u64) -> Outcome {
    let (violation, trace, tally) = run_traced(scenario, seed, false);
    Outcome { seed, trace_hash: trace.hash(), tally, violation }
}

/// Runs one seed and keeps what happened, line by line, for reading.
#[must_use]
pub fn explain(scenario: Scenario, seed: u64) -> (Option<Violation>, Vec<String>) {
    let (violation, trace, _) = run_traced(scenario, seed, true);
    (violation, trace.lines().to_vec())
}

fn run_traced(scenario: Scenario, seed: u64, keep_lines: bool) -> (Option<Violation>, Trace, Tally) {
    match scenario.hosts {
        Hosts::Log => {
            let mut world = World::new(scenario, seed, keep_lines);
            let violation = world.run().err();
            (violation, world.trace().clone(), world.tally().clone())
        }
        Hosts::Controller => {
            let mut world = ControllerWorld::new(scenario, seed, keep_lines);
            let violation = world.run(scenario.steps).err();
            (violation, world.trace().clone(), world.tally().clone())
        }
        Hosts::Groups => {
            let mut world = GroupWorld::new(scenario, seed, keep_lines);
            let violation = world.run(scenario.steps).err();
            (violation, world.trace().clone(), world.tally().clone())
        }
    }
}
