//! What happens to nodes while a workload runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::RunningNode;
use crate::options::LoadClock;
use crate::outcome::FaultSeen;
use crate::suite::{Fault, FaultKind};
use crate::watch::BrokerProcess;

/// How often it is looked whether the load is on, and whether the run is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether a target of so many nodes, started here, can have these faults.
///
/// # Errors
/// A fault names a node that is not there.
pub fn check(faults: &[Fault], nodes: usize) -> Result<(), String> {
    match (faults.iter().find(|fault| nodes < fault.node as usize), nodes) {
        (None, _) => Ok(()),
        (Some(_), 0) => {
            Err("its faults are for nodes that the bench starts itself, not for brokers that run already".to_owned())
        }
        (Some(fault), _) => Err(format!("a fault names node {}, and there are {nodes}", fault.node)),
    }
}

/// Does what the faults say, each at its time by the clock of the load, until `over`, and tells `watched`, one for each
/// node, which process is a node's now. Returns each fault, and when it was done if it was.
///
/// # Errors
/// There is no such node, or it does not come up again.
pub fn inject(
    nodes: &mut [RunningNode],
    watched: &[BrokerProcess],
    faults: &[Fault],
    load: &LoadClock,
    over: &AtomicBool,
) -> Result<Vec<FaultSeen>, String> {
    let mut seen = Vec::new();
    check(faults, nodes.len())?;
    for fault in faults {
        let node = &mut nodes[fault.node as usize - 1];
        let began = wait(fault.at, load, over);
        seen.push(FaultSeen { fault: *fault, began });
        if began.is_none() {
            continue;
        }
        let (process, watched) = (&mut node.process, &watched[fault.node as usize - 1]);
        if fault.kind != FaultKind::Pause {
            watched.on_ending();
        }
        match fault.kind {
            FaultKind::Restart => process.stop(),
            FaultKind::Kill => process.signal(Signal::SIGKILL),
            FaultKind::Pause => process.signal(Signal::SIGSTOP),
        }
        // Even if the run is over meanwhile: what was taken away is given back.
        let until = Instant::now() + fault.down;
        while Instant::now() < until && !over.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
        match fault.kind {
            FaultKind::Pause => process.signal(Signal::SIGCONT),
            FaultKind::Restart | FaultKind::Kill => {
                process.stop();
                process.start_again().map_err(|error| format!("node {} does not start again: {error}", fault.node))?;
                watched.on_started(process.pid() as i32);
            }
        }
    }
    Ok(seen)
}

/// Until the load has been on since so long; `None`: the run was over before.
fn wait(at: Duration, load: &LoadClock, over: &AtomicBool) -> Option<Duration> {
    while !over.load(Ordering::Relaxed) {
        let elapsed = load.elapsed();
        if elapsed.is_some_and(|elapsed| at <= elapsed) {
            return elapsed;
        }
        std::thread::sleep(elapsed.map_or(LOOK_EVERY, |elapsed| LOOK_EVERY.min(at - elapsed)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_waits_for_the_load_and_not_for_the_run() {
        let (load, over) = (LoadClock::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(Duration::from_millis(30), &load, &over));
            // Topics are made: the run goes on, the load does not.
            std::thread::sleep(Duration::from_millis(100));
            assert!(!waiting.is_finished());
            load.on_load();
            let began = waiting.join().expect("it waited");
            assert!(began.is_some_and(|began| Duration::from_millis(30) <= began), "{began:?}");
        });
        load.on_load_over();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(Duration::from_millis(30), &load, &over));
            // Readers drain, the ceiling is measured.
            std::thread::sleep(Duration::from_millis(100));
            over.store(true, Ordering::Relaxed);
            assert_eq!(waiting.join().expect("it waited"), None);
        });
    }
}
