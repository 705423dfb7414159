//! What a topic runs on, and the rules for changing it.

use types::ErrorCode;

use super::catalogue::{Scope, TOPIC_NAMES_IGNORED, Treatment, Update, Value, broker_twin, chain};
use super::proved::{Layers, Overrides};

/// `cleanup.policy`. Neither means: kept for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cleanup {
    /// Keeps the last value of each key.
    pub compact: bool,
    /// Deletes old segments.
    pub delete: bool,
}

/// `compression.type`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are Kafka's own")]
pub enum Compression {
    /// Keep what the producer chose.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// `message.timestamp.type`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    /// The producer's time.
    CreateTime,
    /// The node's time at append.
    LogAppendTime,
}

/// Which fault may take an acked record of a topic, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Acked from the page cache; safe as long as one replica's kernel lives.
    Replicated,
    /// As `Replicated`, with the unsynced part bounded by `flush.ms` or `flush.messages`.
    Interval,
    /// Acked after fsync (`flush.messages=1`).
    Durable,
}

/// The settings of one topic, typed.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicConfig {
    /// `cleanup.policy`
    pub cleanup: Cleanup,
    /// `compression.type`
    pub compression: Compression,
    /// `compression.gzip.level`; `None` is the codec's own default.
    pub gzip_level: Option<u8>,
    /// `compression.lz4.level`
    pub lz4_level: u8,
    /// `compression.zstd.level`
    pub zstd_level: i32,
    /// `delete.retention.ms`
    pub delete_retention_ms: u64,
    /// `file.delete.delay.ms`
    pub file_delete_delay_ms: u64,
    /// `flush.messages`; `None` is never.
    pub flush_messages: Option<u64>,
    /// `flush.ms`; `None` is never.
    pub flush_ms: Option<u64>,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `max.compaction.lag.ms`; `None` is unbounded.
    pub compaction_lag_ms_max: Option<u64>,
    /// `min.compaction.lag.ms`
    pub compaction_lag_ms_min: u64,
    /// `max.message.bytes`: the largest batch.
    pub batch_bytes_max: u32,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`; `None` is unbounded.
    pub timestamp_before_ms_max: Option<u64>,
    /// `message.timestamp.after.max.ms`; `None` is unbounded.
    pub timestamp_after_ms_max: Option<u64>,
    /// `min.cleanable.dirty.ratio`, 0 to 1.
    pub cleanable_dirty_ratio_min: f64,
    /// `min.insync.replicas`
    pub insync_replicas_min: u32,
    /// `retention.bytes`; `None` keeps any amount.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` keeps for ever.
    pub retention_ms: Option<u64>,
    /// `segment.bytes`
    pub segment_bytes: u32,
    /// `segment.ms`
    pub segment_ms: u64,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: u64,
    /// `segment.index.bytes`
    pub segment_index_bytes: u32,
}

impl TopicConfig {
    /// A topic's own overrides, then the broker's layers, then Kafka's default.
    pub(super) fn from_layers(layers: Layers<'_>, overrides: &Overrides) -> Self {
        Self::from_values(|name| effective_topic_value(layers, overrides, name))
    }

    fn from_values(value: impl Fn(&str) -> Option<Value>) -> Self {
        let int = |name: &str| match value(name) {
            Some(Value::Int(value)) => value,
            _ => 0,
        };
        let at_least_zero = |name: &str| u64::try_from(int(name)).unwrap_or(0);
        let unless_negative = |name: &str| u64::try_from(int(name)).ok();
        // Kafka writes "never" as the largest long.
        let unless_never = |name: &str| u64::try_from(int(name)).ok().filter(|value| *value != i64::MAX as u64);
        let u32 = |name: &str| u32::try_from(int(name)).unwrap_or(0);
        let text = |name: &str| value(name).map(|value| value.to_text()).unwrap_or_default();
        let policies = match value("cleanup.policy") {
            Some(Value::List(entries)) => entries,
            _ => Vec::new(),
        };
        let has = |policy: &str| policies.iter().any(|entry| entry == policy);
        Self {
            cleanup: Cleanup { compact: has("compact"), delete: has("delete") },
            compression: match text("compression.type").as_str() {
                "uncompressed" => Compression::Uncompressed,
                "gzip" => Compression::Gzip,
                "snappy" => Compression::Snappy,
                "lz4" => Compression::Lz4,
                "zstd" => Compression::Zstd,
                _ => Compression::Producer,
            },
            gzip_level: u8::try_from(int("compression.gzip.level")).ok(),
            lz4_level: u8::try_from(int("compression.lz4.level")).unwrap_or(9),
            zstd_level: i32::try_from(int("compression.zstd.level")).unwrap_or(3),
            delete_retention_ms: at_least_zero("delete.retention.ms"),
            file_delete_delay_ms: at_least_zero("file.delete.delay.ms"),
            flush_messages: unless_never("flush.messages"),
            flush_ms: unless_never("flush.ms"),
            index_interval_bytes: u32("index.interval.bytes"),
            compaction_lag_ms_max: unless_never("max.compaction.lag.ms"),
            compaction_lag_ms_min: at_least_zero("min.compaction.lag.ms"),
            batch_bytes_max: u32("max.message.bytes"),
            timestamp_type: match text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_ms_max: unless_never("message.timestamp.before.max.ms"),
            timestamp_after_ms_max: unless_never("message.timestamp.after.max.ms"),
            cleanable_dirty_ratio_min: match value("min.cleanable.dirty.ratio") {
                Some(Value::Double(ratio)) => ratio,
                _ => 0.5,
            },
            insync_replicas_min: u32("min.insync.replicas"),
            retention_bytes: unless_negative("retention.bytes"),
            retention_ms: unless_negative("retention.ms"),
            segment_bytes: u32("segment.bytes"),
            segment_ms: at_least_zero("segment.ms"),
            segment_jitter_ms: at_least_zero("segment.jitter.ms"),
            segment_index_bytes: u32("segment.index.bytes"),
        }
    }

    /// The topic's durability mode.
    #[must_use]
    pub fn durability(&self) -> Durability {
        match (self.flush_messages, self.flush_ms) {
            (Some(1), _) => Durability::Durable,
            (None, None) => Durability::Replicated,
            _ => Durability::Interval,
        }
    }
}

/// The value of one topic setting through all layers; overrides that do not parse count as absent.
pub(super) fn effective_topic_value(layers: Layers<'_>, overrides: &Overrides, name: &str) -> Option<Value> {
    let key = Scope::Topic.key(name)?;
    if let Some(value) = overrides.get(name).and_then(|text| key.parse(text).ok()) {
        return Some(value);
    }
    let from_broker = broker_twin(name).and_then(|twin| match chain(twin) {
        Some(_) => layers.chained_ms(twin).map(Value::Int),
        None => layers.value(twin),
    });
    from_broker.or_else(|| key.default.and_then(|text| key.parse(text).ok()))
}

/// Why settings may not be stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AlterFault {
    /// Kafka's code for it.
    pub code: ErrorCode,
    /// What is wrong, for the client.
    pub message: String,
}

impl AlterFault {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Checks the complete overrides a topic would have.
///
/// # Errors
/// The first rule broken; always `ErrorCode::InvalidConfig`.
pub fn validate_topic_overrides(overrides: &Overrides) -> Result<(), AlterFault> {
    let kept = overrides.iter().filter(|(name, _)| !TOPIC_NAMES_IGNORED.contains(&name.as_str()));
    validate_each(Scope::Topic, "topic", kept, ErrorCode::InvalidConfig)?;
    let config = TopicConfig::from_values(|name| {
        let key = Scope::Topic.key(name)?;
        overrides.get(name).map(String::as_str).or(key.default).and_then(|text| key.parse(text).ok())
    });
    match config.compaction_lag_ms_max {
        Some(max) if max < config.compaction_lag_ms_min => Err(AlterFault::new(
            ErrorCode::InvalidConfig,
            format!(
                "min.compaction.lag.ms ({}) must not be above max.compaction.lag.ms ({max})",
                config.compaction_lag_ms_min
            ),
        )),
        _ => Ok(()),
    }
}

/// Checks the complete overrides a group would have.
///
/// # Errors
/// The first rule broken; always `ErrorCode::InvalidConfig`.
pub fn validate_group_overrides(overrides: &Overrides) -> Result<(), AlterFault> {
    validate_each(Scope::Group, "group", overrides.iter(), ErrorCode::InvalidConfig)
}

/// Checks the complete overrides of one broker (`per_broker`) or of the nameless broker, the default of all. As in
/// Kafka, names that no Kafka version knows are kept for plugins.
///
/// # Errors
/// The first rule broken; always `ErrorCode::InvalidRequest`.
pub fn validate_broker_overrides(overrides: &Overrides, per_broker: bool) -> Result<(), AlterFault> {
    let known = || overrides.iter().filter_map(|(name, text)| Some((Scope::Broker.key(name)?, name, text)));
    for (key, name, _) in known() {
        let rule = match key.update {
            Update::ReadOnly => "cannot change while the node runs: write it into the properties file and restart",
            _ if name.starts_with("ssl.") || name.starts_with("sasl.") => {
                "belongs to TLS or SASL, which Ringlog does not have yet"
            }
            Update::PerBroker if !per_broker => "can be changed for a single broker only",
            _ => continue,
        };
        return Err(AlterFault::new(ErrorCode::InvalidRequest, format!("{name} {rule}")));
    }
    validate_each(Scope::Broker, "broker", known().map(|(_, name, text)| (name, text)), ErrorCode::InvalidRequest)
}

fn validate_each<'a>(
    scope: Scope,
    noun: &str,
    overrides: impl Iterator<Item = (&'a String, &'a String)>,
    code: ErrorCode,
) -> Result<(), AlterFault> {
    for (name, text) in overrides {
        let Some(key) = scope.key(name) else {
            return Err(AlterFault::new(code, format!("Unknown {noun} config name: {name}")));
        };
        let value = key
            .parse(text)
            .map_err(|rule| AlterFault::new(code, format!("Invalid value {text} for configuration {name}: {rule}")))?;
        if matches!(key.treatment, Treatment::NotBuilt | Treatment::Refused) && !key.is_default(&value) {
            let default = key.default.filter(|default| !default.is_empty()).unwrap_or("empty");
            return Err(AlterFault::new(
                code,
                format!(
                    "Invalid value {text} for configuration {name}: Ringlog does not have this yet, so only {default} is taken"
                ),
            ));
        }
    }
    Ok(())
}
