//! What `consume --output json`, `yaml` and `jsonl` print, described for `generate schema`. These types hold no records:
//! `stream::json` writes each one as it comes.
#![allow(dead_code, reason = "described, not built")]

use schemars::JsonSchema;

/// The document's name.
pub(crate) const SCHEMA: &str = "consume";
/// Raised when a field changes its meaning or goes.
pub(crate) const VERSION: u32 = 1;
/// The field whose elements `jsonl` prints, one a line.
pub(crate) const LINES: &str = "records";

/// The records that were read.
#[derive(JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub(crate) struct Consumed {
    /// In the order in which they came.
    records: Vec<ConsumedRecord>,
}

/// One record.
#[derive(JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub(crate) struct ConsumedRecord {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// Its place in the partition.
    offset: i64,
    /// RFC 3339 in UTC.
    timestamp: String,
    /// Whose clock that is.
    timestamp_type: TimestampType,
    /// The epoch of the leader that took it; null in logs older than epochs.
    leader_epoch: Option<i32>,
    /// The key.
    key: Option<Part>,
    /// The value; null is a tombstone.
    value: Option<Part>,
    /// The headers in their order; a name may come twice.
    headers: Vec<Header>,
}

/// Whose clock a record's time is from.
#[derive(JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
enum TimestampType {
    /// The producer's.
    Create,
    /// The broker's, when it appended the record.
    LogAppend,
}

/// Bytes: as text where they are UTF-8.
#[derive(JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(untagged)]
enum Part {
    /// UTF-8.
    Text(String),
    /// Any other bytes.
    Bytes {
        /// The bytes, in base 64 with padding.
        base64: String,
    },
}

/// One header.
#[derive(JsonSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
struct Header {
    /// Its name.
    name: Part,
    /// Its value.
    value: Option<Part>,
}
