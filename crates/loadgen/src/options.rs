//! What a run is told beside its workload: where, with what, and what to look at meanwhile.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::watch::BrokerProcess;

/// Where and how a workload is run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// `host:port` of one or more nodes, with commas between.
    pub bootstrap: String,
    /// CPUs that the threads that load are pinned to in turn; empty: the kernel decides. Whoever wants the rest of the
    /// process off the brokers' CPUs too pins it before its first thread ([`crate::driver::process::pin_this_process`]).
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
    /// Tells whoever does something to the brokers meanwhile when the load is on. Of one run: another has its own.
    pub load: Arc<LoadClock>,
}

/// The time since the first message of a run was due. It is told only while the load is on: not before (topics are made),
/// not between two rates of a sweep, not after (readers drain, the generator's ceiling is measured).
#[derive(Debug, Default)]
pub struct LoadClock {
    began: OnceLock<Instant>,
    is_on: AtomicBool,
}

impl LoadClock {
    /// The load is on; the first time, the clock begins.
    pub(crate) fn on_load(&self) {
        self.began.get_or_init(Instant::now);
        self.is_on.store(true, Ordering::Release);
    }

    /// Nothing more is due for now.
    pub(crate) fn on_load_over(&self) {
        self.is_on.store(false, Ordering::Release);
    }

    /// Since it began; `None` while the load is not on.
    #[must_use]
    pub fn elapsed(&self) -> Option<Duration> {
        self.is_on.load(Ordering::Acquire).then(|| self.began.get().map(Instant::elapsed)).flatten()
    }
}
