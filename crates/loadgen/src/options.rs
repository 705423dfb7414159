//! What a run is told beside its workload: where, with what, and what to look at meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::watch::BrokerProcess;

/// Where and how a workload is run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// `host:port` of one or more nodes, with commas between.
    pub bootstrap: String,
    /// CPUs that the generator's threads are pinned to in turn; empty: the kernel decides.
    pub cpus: Vec<usize>,
    /// Threads that produce; `None`: half of the CPUs it may use, at least one.
    pub producer_threads: Option<usize>,
    /// Threads that consume; `None`: as many.
    pub consumer_threads: Option<usize>,
    /// Brokers on this machine whose processes are known, to count what they use.
    pub brokers: Vec<BrokerProcess>,
    /// The `floor` binary, to measure the generator's own ceiling with; `None`: the ceiling stays empty.
    pub floor: Option<PathBuf>,
    /// Keep every single produce latency in the outcome.
    pub keep_samples: bool,
    /// Leave the topics that were made for the run.
    pub keep_topics: bool,
    /// Run although the preflight refuses.
    pub force: bool,
    /// Set from outside to end the run early, with a partial outcome.
    pub stop: Arc<AtomicBool>,
}
