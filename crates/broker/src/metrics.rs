//! What the data path counts. Every number has one writing thread: a shard's counters are its own, so counting costs a
//! load and a store, and no two cores fight for a line. The control thread reads them when somebody scrapes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use shard::{DurationCounts, Durations, ShardStats, Tally};
use types::{ErrorCode, ShardId};
use wire::ApiKey;

/// The node's counters.
pub(crate) struct Metrics {
    shards: Vec<Arc<ShardMetrics>>,
    /// Connections turned away before a byte was read, by [`ConnectionRefusal`].
    refused_connections: [AtomicU64; ConnectionRefusal::ALL.len()],
}

impl Metrics {
    pub(crate) fn new(shards: u16, log_dirs: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Arc::new(ShardMetrics::new(log_dirs))).collect(),
            refused_connections: Default::default(),
        }
    }

    /// One shard's.
    pub(crate) fn shard(&self, shard: ShardId) -> &Arc<ShardMetrics> {
        &self.shards[shard.index()]
    }

    /// Every shard's, in the order of the shards.
    pub(crate) fn shards(&self) -> &[Arc<ShardMetrics>] {
        &self.shards
    }

    /// One number, of all shards.
    pub(crate) fn sum(&self, of: impl Fn(&ShardMetrics) -> u64) -> u64 {
        self.shards.iter().map(|shard| of(shard)).sum()
    }

    /// Latencies by API, of those that were asked.
    pub(crate) fn latencies(&self) -> Vec<(ApiKey, DurationCounts)> {
        let all = wire::Api::all().iter().map(|api| {
            let mut counts = DurationCounts::default();
            for shard in &self.shards {
                counts.merge(&shard.latencies[api.key.code() as usize].counts());
            }
            (api.key, counts)
        });
        all.filter(|(_, counts)| counts.count() > 0).collect()
    }

    /// Errors answered, by API and code, those that happened.
    pub(crate) fn refusals(&self) -> BTreeMap<(ApiKey, ErrorCode), u64> {
        let mut all = BTreeMap::new();
        for shard in &self.shards {
            for (cause, count) in shard.refusals.lock().expect("never held across a panic").iter() {
                *all.entry(*cause).or_insert(0) += count;
            }
        }
        all
    }

    /// Connections closed, by cause.
    pub(crate) fn closed(&self) -> impl Iterator<Item = (CloseCause, u64)> + '_ {
        CloseCause::ALL
            .iter()
            .map(|cause| (*cause, self.shards.iter().map(|shard| shard.closed[*cause as usize].get()).sum()))
    }

    /// A connection was turned away.
    pub(crate) fn connection_refused(&self, cause: ConnectionRefusal) {
        self.refused_connections[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections turned away, by cause.
    pub(crate) fn connections_refused(&self) -> impl Iterator<Item = (ConnectionRefusal, u64)> + '_ {
        ConnectionRefusal::ALL
            .iter()
            .map(|cause| (*cause, self.refused_connections[*cause as usize].load(Ordering::Relaxed)))
    }
}

/// One shard's counters. Only that shard's thread writes them.
///
/// Aligned so that no two shards' counters share a cache line, or the pair of lines that is fetched together.
#[repr(align(128))]
pub(crate) struct ShardMetrics {
    /// What its runtime and its log ring count.
    pub(crate) runtime: Arc<ShardStats>,
    pub(crate) produced_records: Tally,
    pub(crate) produced_bytes: Tally,
    pub(crate) fetched_bytes: Tally,
    pub(crate) received_bytes: Tally,
    pub(crate) sent_bytes: Tally,
    pub(crate) files_over_bound: Tally,
    pub(crate) connections_accepted: Tally,
    pub(crate) connections_moved: Tally,
    /// Fsyncs that the log ring did, by log directory.
    pub(crate) fsyncs: Vec<Durations>,
    /// By API key.
    latencies: Vec<Durations>,
    /// Locked when somebody is told no, and by a scrape.
    refusals: Mutex<BTreeMap<(ApiKey, ErrorCode), u64>>,
    closed: [Tally; CloseCause::ALL.len()],
}

impl ShardMetrics {
    fn new(log_dirs: usize) -> Self {
        let apis = wire::Api::all().iter().map(|api| api.key.code() as usize + 1).max().unwrap_or(0);
        Self {
            runtime: Arc::default(),
            produced_records: Tally::default(),
            produced_bytes: Tally::default(),
            fetched_bytes: Tally::default(),
            received_bytes: Tally::default(),
            sent_bytes: Tally::default(),
            files_over_bound: Tally::default(),
            connections_accepted: Tally::default(),
            connections_moved: Tally::default(),
            fsyncs: (0..log_dirs).map(|_| Durations::default()).collect(),
            latencies: (0..apis).map(|_| Durations::default()).collect(),
            refusals: Mutex::default(),
            closed: Default::default(),
        }
    }

    /// Records were taken.
    pub(crate) fn produced(&self, records: i32, bytes: u32) {
        self.produced_records.add(records.max(0) as u64);
        self.produced_bytes.add(u64::from(bytes));
    }

    /// A request was answered.
    pub(crate) fn answered(&self, api: ApiKey, took_ns: u64) {
        self.latencies[api.code() as usize].add_ns(took_ns);
    }

    /// A client was told no, `count` times in one answer.
    pub(crate) fn refused(&self, api: ApiKey, code: ErrorCode, count: u64) {
        *self.refusals.lock().expect("never held across a panic").entry((api, code)).or_insert(0) += count;
    }

    /// A connection ended.
    pub(crate) fn connection_closed(&self, cause: CloseCause) {
        self.closed[cause as usize].add(1);
    }
}

/// Closed lists of causes: each has its place in a table and its name as a label.
macro_rules! causes {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $cause:ident $label:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum $name {
            $($(#[$each])* $cause),+
        }

        impl $name {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$cause),+];

            /// As a label says it.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$cause => $label),+
                }
            }
        }
    };
}

causes! {
    /// Why a connection ended.
    CloseCause {
        /// The client closed it, or the network did.
        Client "client",
        /// The node stops.
        Stop "stop",
        /// Nothing was said for `connections.max.idle.ms`.
        Idle "idle",
        /// The rest of a large request did not come.
        Stalled "stalled",
        /// Bytes that are no request, or a size that none may have.
        Malformed "malformed",
        /// A request larger than all memory for requests.
        Memory "memory",
        /// An API or version that was not announced.
        Unserved "unserved",
        /// An API that this principal may not use.
        Unauthorized "unauthorized",
        /// Records of a request that wants no answer (acks=0) were refused: closing is the only way to say so.
        UnackedRefusal "unacked_refusal",
        /// The log could not be read in the middle of an answer.
        Unreadable "unreadable",
        /// An answer that could not be put into bytes: a fault of ours.
        Unsayable "unsayable",
        /// It was lost while one shard handed it to another.
        Handover "handover",
    }
}

causes! {
    /// Why a connection was turned away.
    ConnectionRefusal {
        /// `max.connections`.
        Total "max.connections",
        /// `max.connections.per.ip` and its overrides.
        PerIp "max.connections.per.ip",
        /// The descriptors that are left to connections.
        Descriptors "descriptors",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_count_apart_and_are_read_together() {
        let metrics = Metrics::new(2, 1);
        for (shard, records) in [(0, 3), (1, 4)] {
            let shard = metrics.shard(ShardId::new(shard));
            shard.produced(records, 100);
            shard.answered(ApiKey::Produce, 40_000);
            shard.refused(ApiKey::Fetch, ErrorCode::OffsetOutOfRange, 2);
            shard.connection_closed(CloseCause::Idle);
        }
        assert_eq!(metrics.sum(|shard| shard.produced_records.get()), 7);
        assert_eq!(metrics.sum(|shard| shard.produced_bytes.get()), 200);
        let [(api, latency)] = metrics.latencies()[..] else { panic!("one API was asked") };
        assert_eq!((api, latency.count(), latency.sum_ns), (ApiKey::Produce, 2, 80_000));
        let refusals: Vec<_> = metrics.refusals().into_iter().collect();
        assert_eq!(refusals, [((ApiKey::Fetch, ErrorCode::OffsetOutOfRange), 4)]);
        let closed: Vec<_> = metrics.closed().filter(|(_, count)| *count > 0).collect();
        assert_eq!(closed, [(CloseCause::Idle, 2)]);
        metrics.connection_refused(ConnectionRefusal::PerIp);
        assert_eq!(
            metrics.connections_refused().collect::<Vec<_>>(),
            [(ConnectionRefusal::Total, 0), (ConnectionRefusal::PerIp, 1), (ConnectionRefusal::Descriptors, 0)]
        );
    }
}
