//! Kafka's record batch, version 2: bytes in, facts and bytes out. Knows no socket, file or clock.
//!
//! Read in this order: [`header`] draws the 61 bytes and reads them in place; [`records`] walks what follows;
//! [`codec`] inflates and compresses it; [`produce`] decides whether a producer's batch is taken; [`builder`] makes
//! batches; [`control`] makes and reads markers; [`mod@filter`] is compaction of one batch.
//!
//! A length or count that comes from outside is compared with the bytes that remain before anything is allocated or
//! skipped, and every inflate is bounded in output bytes, so no input makes this crate panic or allocate more than a
//! small multiple of its own size and the bound given.

pub mod builder;
pub mod codec;
pub mod control;
mod crc;
pub mod filter;
pub mod header;
pub mod produce;
pub mod records;
pub mod varint;

pub use builder::{BatchBuilder, keep_front, restamp};
pub use codec::{Codec, recompress};
pub use crc::crc32c;
pub use filter::{Filtered, Retention, filter};
pub use header::{
    Attributes, BatchError, BatchInfo, BatchView, Producer, TimestampType, check, stamp, stamp_log_append_time,
    stamp_max_timestamp,
};
pub use produce::{Inflate, ProduceFault, ProduceRules, Rewrite, Validated, admit, validate_produced};
pub use records::{Inflated, RecordHeader, RecordView, Records};
