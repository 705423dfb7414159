//! The settings of a log, every bound already proved by whoever parsed them.

use types::TopicId;

/// `cleanup.policy`. Both false: kept for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanupPolicy {
    /// Old segments go by time and size.
    pub delete: bool,
    /// Superseded keys go.
    pub compact: bool,
}

/// A log's settings: Kafka's topic configs by their own names (kafka-clients `TopicConfig`). `None` is Kafka's "no
/// limit" (-1 or int64 max).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// The topic's id, for `partition.metadata`; `None`: the file is not written.
    pub topic_id: Option<TopicId>,
    /// `segment.bytes`: a segment that would grow beyond it rolls first. At most 2^31-1.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment whose first batch is older than the next one by more than this rolls first.
    pub segment_ms: Option<u64>,
    /// How much earlier this log rolls by time: drawn by the host within `segment.jitter.ms`.
    pub segment_jitter_ms: u64,
    /// `segment.index.bytes`: an index that would grow beyond it makes the segment roll.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: bytes of log between two index entries.
    pub index_interval_bytes: u32,
    /// `flush.messages`: 1 means durable mode (acks and readers wait for fsync); more bounds the unsynced records.
    pub flush_messages: Option<u64>,
    /// `flush.ms`: how long a record stays unsynced at most.
    pub flush_ms: Option<u64>,
    /// `message.timestamp.type=LogAppendTime`: the log stamps the time of each batch.
    pub log_append_time: bool,
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `retention.ms`.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`.
    pub retention_bytes: Option<u64>,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: u64,
    /// `min.cleanable.dirty.ratio`, in thousandths.
    pub min_cleanable_dirty_ratio_permille: u32,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: u64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: Option<u64>,
    /// `delete.retention.ms`: how long tombstones stay after the first cleaning.
    pub delete_retention_ms: u64,
    /// `producer.id.expiration.ms`: a producer silent for longer is forgotten.
    pub producer_id_expiration_ms: u64,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        Self {
            topic_id: None,
            segment_bytes: 1024 * 1024 * 1024,
            segment_ms: Some(7 * DAY_MS),
            segment_jitter_ms: 0,
            segment_index_bytes: 10 * 1024 * 1024,
            index_interval_bytes: 4096,
            flush_messages: None,
            flush_ms: None,
            log_append_time: false,
            cleanup_policy: CleanupPolicy { delete: true, compact: false },
            retention_ms: Some(7 * DAY_MS),
            retention_bytes: None,
            file_delete_delay_ms: 60_000,
            min_cleanable_dirty_ratio_permille: 500,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: None,
            delete_retention_ms: DAY_MS,
            producer_id_expiration_ms: DAY_MS,
        }
    }
}

impl LogConfig {
    /// Whether acks and readers wait for fsync (`flush.messages=1`).
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        matches!(self.flush_messages, Some(0 | 1))
    }
}
