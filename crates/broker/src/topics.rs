//! What a shard knows of a topic, made from the metadata image once and looked up on every request.

use std::sync::Arc;

use batch::Codec;
use quorum::image::{MetadataImage, Topic};
use storage::{CleanupPolicy, LogConfig};
use types::TopicId;

use crate::config::{Compression, Config, LiveConfig, Overrides, TimestampType, TopicConfig};

/// A topic as the data path sees it.
pub(crate) struct TopicView {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
    pub(crate) topic: Arc<Topic>,
    pub(crate) config: TopicConfig,
    /// The codec that records are stored in, and its level, if not the producer's own.
    pub(crate) stored_as: Option<(Codec, Option<i32>)>,
}

impl TopicView {
    pub(crate) fn new(image: &MetadataImage, topic: &Arc<Topic>, config: &Config) -> Self {
        let topic_config = config_of(image, &topic.name, config);
        let stored_as = match topic_config.compression {
            Compression::Producer => None,
            Compression::Uncompressed => Some((Codec::None, None)),
            Compression::Gzip => Some((Codec::Gzip, topic_config.gzip_level.map(i32::from))),
            Compression::Snappy => Some((Codec::Snappy, None)),
            Compression::Lz4 => Some((Codec::Lz4, Some(i32::from(topic_config.lz4_level)))),
            Compression::Zstd => Some((Codec::Zstd, Some(topic_config.zstd_level))),
        };
        Self { name: Arc::clone(&topic.name), id: topic.id, topic: Arc::clone(topic), config: topic_config, stored_as }
    }
}

/// A topic's settings: its own, over what the broker was told at run time, over the node's file.
pub(crate) fn config_of(image: &MetadataImage, topic: &Arc<str>, config: &Config) -> TopicConfig {
    let overrides: Overrides = image
        .topic_configs(topic)
        .map(|configs| configs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
        .unwrap_or_default();
    let dynamic = crate::config::DynamicOverrides::of(image, config.node_id);
    config.topic(dynamic.as_dynamic(), &overrides)
}

/// The same settings, as the log takes them.
pub(crate) fn log_config(topic: TopicId, config: &TopicConfig, live: &LiveConfig) -> LogConfig {
    LogConfig {
        topic_id: Some(topic),
        segment_bytes: config.segment_bytes,
        segment_ms: Some(config.segment_ms),
        segment_jitter_ms: config.segment_jitter_ms,
        segment_index_bytes: config.segment_index_bytes,
        index_interval_bytes: config.index_interval_bytes,
        flush_messages: config.flush_messages,
        flush_ms: config.flush_ms,
        log_append_time: config.timestamp_type == TimestampType::LogAppendTime,
        cleanup_policy: CleanupPolicy { delete: config.cleanup.delete, compact: config.cleanup.compact },
        retention_ms: config.retention_ms,
        retention_bytes: config.retention_bytes,
        file_delete_delay_ms: config.file_delete_delay_ms,
        min_cleanable_dirty_ratio_permille: (config.cleanable_dirty_ratio_min * 1000.0) as u32,
        min_compaction_lag_ms: config.compaction_lag_ms_min,
        max_compaction_lag_ms: config.compaction_lag_ms_max,
        delete_retention_ms: config.delete_retention_ms,
        producer_id_expiration_ms: live.producer_id_expiration_ms,
    }
}
