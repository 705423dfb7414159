//! What the threads count, second by second and for the whole run.

use std::collections::BTreeMap;

use crate::clock::SECOND_NS;
use crate::outcome::{Batches, Count, Latencies, latencies};

/// What a thread counted in one second (the last may be shorter).
#[derive(Clone, Debug)]
pub(crate) struct Tick {
    /// The how-manieth second of the run.
    pub(crate) second: u64,
    pub(crate) offered: Count,
    pub(crate) acked: Count,
    pub(crate) consumed: Count,
    /// Read by cold readers.
    pub(crate) cold: Count,
    pub(crate) errors: u64,
    pub(crate) produce: Latencies,
    pub(crate) end_to_end: Latencies,
}

impl Tick {
    pub(crate) fn new(second: u64) -> Self {
        Self {
            second,
            offered: Count::default(),
            acked: Count::default(),
            consumed: Count::default(),
            cold: Count::default(),
            errors: 0,
            produce: latencies(),
            end_to_end: latencies(),
        }
    }

    /// Adds what another thread counted in the same second.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.offered.add(other.offered);
        self.acked.add(other.acked);
        self.consumed.add(other.consumed);
        self.cold.add(other.cold);
        self.errors += other.errors;
        merge(&mut self.produce, &other.produce);
        merge(&mut self.end_to_end, &other.end_to_end);
    }
}

/// Adds one histogram to another.
pub(crate) fn merge(into: &mut Latencies, other: &Latencies) {
    into.add(other).expect("a histogram that grows takes every other");
}

/// Records a duration in nanoseconds, in microseconds.
pub(crate) fn record(latencies: &mut Latencies, ns: u64) {
    latencies.record(ns / 1000).expect("a histogram that grows takes every value");
}

/// The second of the run that `at_ns` lies in.
pub(crate) fn second_of(start_ns: u64, at_ns: u64) -> u64 {
    at_ns.saturating_sub(start_ns) / SECOND_NS
}

/// Messages that something happened to, by when they were due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) measured: u64,
    pub(crate) warmup: u64,
}

impl Failed {
    /// Messages that were due at these moments; what counts begins at `measure_ns`.
    pub(crate) fn of<'a>(dues_ns: impl IntoIterator<Item = &'a u64>, measure_ns: u64) -> Self {
        let mut failed = Self::default();
        for due_ns in dues_ns {
            failed.add(*due_ns, measure_ns);
        }
        failed
    }

    /// One more.
    pub(crate) fn add(&mut self, due_ns: u64, measure_ns: u64) {
        *(if measure_ns <= due_ns { &mut self.measured } else { &mut self.warmup }) += 1;
    }

    /// All of them.
    pub(crate) fn total(self) -> u64 {
        self.measured + self.warmup
    }
}

fn add(errors: &mut BTreeMap<String, u64>, what: &str, messages: u64) {
    match errors.get_mut(what) {
        Some(count) => *count += messages,
        None if messages == 0 => {}
        None => drop(errors.insert(what.to_owned(), messages)),
    }
}

/// What threads counted in the whole run.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    pub(crate) offered: Count,
    pub(crate) acked: Count,
    pub(crate) consumed: Count,
    pub(crate) produce: Latencies,
    pub(crate) service: Latencies,
    pub(crate) slip: Latencies,
    pub(crate) end_to_end: Latencies,
    pub(crate) batches: Batches,
    /// Of messages due within the measured time, and what readers met from its start on.
    pub(crate) errors: BTreeMap<String, u64>,
    /// What came before.
    pub(crate) errors_warmup: BTreeMap<String, u64>,
    pub(crate) samples: Vec<u64>,
}

impl Totals {
    pub(crate) fn new() -> Self {
        Self {
            offered: Count::default(),
            acked: Count::default(),
            consumed: Count::default(),
            produce: latencies(),
            service: latencies(),
            slip: latencies(),
            end_to_end: latencies(),
            batches: Batches::default(),
            errors: BTreeMap::new(),
            errors_warmup: BTreeMap::new(),
            samples: Vec::new(),
        }
    }

    /// Counts messages by what happened to them.
    pub(crate) fn fail(&mut self, what: &str, failed: Failed) {
        add(&mut self.errors, what, failed.measured);
        add(&mut self.errors_warmup, what, failed.warmup);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.offered.add(other.offered);
        self.acked.add(other.acked);
        self.consumed.add(other.consumed);
        merge(&mut self.produce, &other.produce);
        merge(&mut self.service, &other.service);
        merge(&mut self.slip, &other.slip);
        merge(&mut self.end_to_end, &other.end_to_end);
        self.batches.batches += other.batches.batches;
        self.batches.requests += other.batches.requests;
        self.batches.messages += other.batches.messages;
        self.batches.bytes += other.batches.bytes;
        for (what, count) in other.errors {
            add(&mut self.errors, &what, count);
        }
        for (what, count) in other.errors_warmup {
            add(&mut self.errors_warmup, &what, count);
        }
        self.samples.extend(other.samples);
    }
}
