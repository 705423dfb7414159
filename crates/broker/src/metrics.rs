//! Counters of the data path: one relaxed atomic each, read by the control thread when somebody scrapes.

use std::sync::atomic::{AtomicU64, Ordering};

use types::ErrorCode;
use wire::ApiKey;

/// Upper bounds of the request latency buckets, in microseconds.
pub(crate) const LATENCY_BUCKETS_US: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000];

/// A counter that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Latencies of one API.
#[derive(Default)]
pub(crate) struct Latency {
    /// One per bucket, the last for everything above.
    pub(crate) buckets: [Counter; LATENCY_BUCKETS_US.len() + 1],
    pub(crate) sum_us: Counter,
}

/// The node's counters.
pub(crate) struct Metrics {
    pub(crate) produced_records: Counter,
    pub(crate) produced_bytes: Counter,
    pub(crate) fetched_bytes: Counter,
    pub(crate) files_over_bound: Counter,
    refusals: Vec<(ErrorCode, Counter)>,
    latencies: Vec<(ApiKey, Latency)>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            produced_records: Counter::default(),
            produced_bytes: Counter::default(),
            fetched_bytes: Counter::default(),
            files_over_bound: Counter::default(),
            refusals: ErrorCode::ALL.iter().map(|&code| (code, Counter::default())).collect(),
            latencies: wire::Api::all().iter().map(|api| (api.key, Latency::default())).collect(),
        }
    }
}

impl Metrics {
    pub(crate) fn produced(&self, records: i32, bytes: usize) {
        self.produced_records.add(records.max(0) as u64);
        self.produced_bytes.add(bytes as u64);
    }

    pub(crate) fn fetched(&self, bytes: usize) {
        self.fetched_bytes.add(bytes as u64);
    }

    /// Idle files were closed to stay within the descriptors.
    pub(crate) fn files_closed(&self) {
        self.files_over_bound.add(1);
    }

    /// A client was told no.
    pub(crate) fn refused(&self, code: ErrorCode) {
        if let Some((_, counter)) = self.refusals.iter().find(|(known, _)| *known == code) {
            counter.add(1);
        }
    }

    /// A request was answered.
    pub(crate) fn answered(&self, api: ApiKey, took_ns: u64) {
        let Some((_, latency)) = self.latencies.iter().find(|(known, _)| *known == api) else { return };
        let took_us = took_ns / 1000;
        let bucket = LATENCY_BUCKETS_US.iter().position(|bound| took_us <= *bound).unwrap_or(LATENCY_BUCKETS_US.len());
        latency.buckets[bucket].add(1);
        latency.sum_us.add(took_us);
    }

    /// Refusals by code, those that happened.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (ErrorCode, u64)> + '_ {
        self.refusals.iter().map(|(code, counter)| (*code, counter.get())).filter(|(_, count)| *count > 0)
    }

    /// Latencies by API, of those that were asked.
    pub(crate) fn latencies(&self) -> impl Iterator<Item = (ApiKey, &Latency)> + '_ {
        self.latencies
            .iter()
            .map(|(api, latency)| (*api, latency))
            .filter(|(_, latency)| latency.buckets.iter().any(|bucket| bucket.get() > 0))
    }
}
