//! What happens to nodes while a workload runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::RunningNode;
use crate::suite::{Fault, FaultKind};
use crate::watch::BrokerProcess;

/// How often it is looked whether the run is over.
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

/// Does what the faults say, each at its time after now, until `over`, and tells `watched`, one for each node, which
/// process is a node's now. Returns what was done, in words.
///
/// # Errors
/// There is no such node, or it does not come up again.
pub fn inject(
    nodes: &mut [RunningNode],
    watched: &[BrokerProcess],
    faults: &[Fault],
    over: &AtomicBool,
) -> Result<Vec<String>, String> {
    let began = Instant::now();
    let mut done = Vec::new();
    check(faults, nodes.len())?;
    for fault in faults {
        let node = &mut nodes[fault.node as usize - 1];
        if !wait(began + fault.at, over) {
            break;
        }
        let (process, watched) = (&mut node.process, &watched[fault.node as usize - 1]);
        if fault.kind != FaultKind::Pause {
            watched.on_ending();
        }
        let word = match fault.kind {
            FaultKind::Restart => {
                process.stop();
                "restarted"
            }
            FaultKind::Kill => {
                process.signal(Signal::SIGKILL);
                "killed"
            }
            FaultKind::Pause => {
                process.signal(Signal::SIGSTOP);
                "paused"
            }
        };
        // Even if the run is over meanwhile: what was taken away is given back.
        wait(Instant::now() + fault.down, over);
        match fault.kind {
            FaultKind::Pause => process.signal(Signal::SIGCONT),
            FaultKind::Restart | FaultKind::Kill => {
                process.stop();
                process.start_again().map_err(|error| format!("node {} does not start again: {error}", fault.node))?;
                watched.on_started(process.pid() as i32);
            }
        }
        done.push(format!(
            "node {} was {word} {} s into each run, for {} s",
            fault.node,
            fault.at.as_secs_f64(),
            fault.down.as_secs_f64()
        ));
    }
    Ok(done)
}

/// Whether the moment came before the end of the run.
fn wait(until: Instant, over: &AtomicBool) -> bool {
    while Instant::now() < until {
        if over.load(Ordering::Relaxed) {
            return false;
        }
        std::thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
    }
    true
}
