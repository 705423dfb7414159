//! What happens to nodes while a workload runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::RunningNode;
use crate::suite::{Fault, FaultKind};

/// How often it is looked whether the run is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Does what the faults say, each at its time after now, until `over`. Returns what was done, in words.
///
/// # Errors
/// There is no such node, or it does not come up again.
pub fn inject(nodes: &mut [RunningNode], faults: &[Fault], over: &AtomicBool) -> Result<Vec<String>, String> {
    let began = Instant::now();
    let mut done = Vec::new();
    for fault in faults {
        let count = nodes.len();
        let node = nodes.get_mut(fault.node as usize - 1).ok_or_else(|| match count {
            0 => "faults are for nodes that the bench starts itself, not for brokers that run already".to_owned(),
            _ => format!("a fault names node {}, and there are {count}", fault.node),
        })?;
        if !wait(began + fault.at, over) {
            break;
        }
        let process = &mut node.process;
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
            }
        }
        done.push(format!(
            "node {} was {word} {} s into each run, for {} s; CPU and memory are those of its first process",
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
