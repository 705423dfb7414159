//! Settings under Kafka's names: what exists ([`catalogue`]), what somebody wrote and where ([`RawConfig`]), and what the
//! node runs on once every bound is proved ([`Config`], [`TopicConfig`]).
//!
//! ```text
//!  defaults < server.properties < environment (KAFKA_*, RINGLOG_*) < --override
//!                     │
//!                RawConfig ── prove ──► Config ─┬─ topic(dynamic, overrides) ──► TopicConfig
//!                                         │     └─ live(dynamic) ──► LiveConfig
//!                                   describe, explain
//! ```
//! Nothing downstream checks a bound again. A setting is *effective*, *without effect* (accepted, one notice), *not
//! built* (listed with Kafka's default, refused when set to anything else) or *refused* (ignoring it would weaken safety
//! or security).

pub mod catalogue;
mod describe;
mod explain;
mod live;
mod proved;
mod raw;
mod rules;
mod topic;

pub use catalogue::{ConfigKey, Importance, Scope, Treatment, Update, ValueType};
pub use describe::{
    ConfigRow, ConfigSource, DescribeOptions, Synonym, describe_broker, describe_default_broker, describe_group,
    describe_topic,
};
pub use explain::{Explanation, explain, nearest_names};
pub use live::{ConnectionLimits, LiveConfig};
pub use proved::{
    AppendBackend, Config, ConfigError, Dynamic, Endpoint, GroupsConfig, Listener, MetadataLogConfig, Notice,
    NoticeKind, OffsetsConfig, Overrides, Problem,
};
pub use raw::{Origin, RawConfig, RawValue};
pub use rules::{DynamicOverrides, Rules, TOPIC_OWNER};
pub use topic::{
    AlterFault, Cleanup, Compression, Durability, TimestampType, TopicConfig, validate_broker_overrides,
    validate_group_overrides, validate_topic_overrides,
};

#[cfg(test)]
mod tests;
