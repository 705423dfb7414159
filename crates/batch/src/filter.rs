//! Compaction of one batch. Offsets never change; a batch that loses records keeps its base offset, last offset,
//! producer and sequence, so that sequence windows rebuilt from it are the same.
//!
//! A tombstone or a marker whose transaction is gone must stay readable for `delete.retention.ms` after its first
//! cleaning (KIP-534). That cleaning writes the moment until which into the batch: the delete horizon, in the place of
//! the base timestamp.

use bytes::Bytes;
use types::{Offset, Timestamp};

use crate::builder::BatchBuilder;
use crate::codec::Codec;
use crate::header::{Attributes, BatchError, BatchInfo, BatchView, TimestampType};
use crate::records::{Inflated, RecordView};

/// What a cleaning round has decided about a batch before looking at its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// The wall clock of the round.
    pub now: Timestamp,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// Keep its header even if no record stays: it holds its producer's last sequence, or ends the cleaned range.
    pub keep_empty: bool,
    /// Drop all records without asking: data of an aborted transaction, or a marker past its horizon.
    pub discard_records: bool,
    /// It is a marker and no data of its transaction is left: its delete horizon starts to run.
    pub marker_of_gone_transaction: bool,
    /// Bound on the inflated records.
    pub inflated_bytes_max: usize,
}

/// What is left of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Filtered {
    /// Everything: copy its bytes.
    Unchanged,
    /// Some records, or all with a delete horizon.
    Rewritten(Bytes),
    /// The header alone.
    EmptyKept(Bytes),
    /// Nothing.
    Gone,
}

/// Whether tombstones (and, their transaction gone, markers) of this batch may be dropped at `now`.
#[must_use]
pub fn horizon_passed(info: &BatchInfo, now: Timestamp) -> bool {
    info.delete_horizon.is_some_and(|horizon| horizon <= now)
}

/// Asks `keep` about each record of a batch, in order, and writes what stays. Records of control batches are kept
/// unless [`Retention::discard_records`] says otherwise.
///
/// # Errors
/// Records that do not inflate within the bound, or contradict themselves.
pub fn filter(
    batch: &BatchView<'_>,
    retention: &Retention,
    mut keep: impl FnMut(&RecordView<'_>, Offset) -> bool,
) -> Result<Filtered, BatchError> {
    let info = batch.info();
    if info.records == 0 || retention.discard_records {
        return match (retention.keep_empty, info.records) {
            (false, _) => Ok(Filtered::Gone),
            (true, 0) => Ok(Filtered::Unchanged),
            (true, _) => emptied(&info),
        };
    }
    let inflated = Inflated::new(batch, retention.inflated_bytes_max)?;
    let mut kept = Vec::new();
    let mut tombstone_stays = false;
    let mut last_offset_delta = -1;
    for (index, record) in (0_i32..).zip(inflated.records()) {
        let record = record?;
        // Gaps are normal after an earlier cleaning, going back is not.
        if record.offset_delta <= last_offset_delta || info.last_offset_delta < record.offset_delta {
            return Err(BatchError::Record { index, reason: "its offset is out of order or beyond its batch" });
        }
        last_offset_delta = record.offset_delta;
        if info.control || keep(&record, inflated.offset_of(&record)) {
            tombstone_stays |= record.value.is_none();
            kept.push(record);
        }
    }
    if kept.is_empty() {
        return if retention.keep_empty { emptied(&info) } else { Ok(Filtered::Gone) };
    }
    let horizon_starts = (tombstone_stays || retention.marker_of_gone_transaction) && info.delete_horizon.is_none();
    if kept.len() == info.records as usize && !horizon_starts {
        return Ok(Filtered::Unchanged);
    }
    let horizon = if horizon_starts {
        Some(Timestamp::from_millis(retention.now.millis().saturating_add(retention.delete_retention_ms)))
    } else {
        info.delete_horizon
    };
    let mut builder = builder_like(&info, info.codec, horizon);
    for record in &kept {
        builder.append_encoded(
            record.offset_delta,
            record.timestamp,
            record.key,
            record.value,
            record.header_count() as i32,
            record.headers_encoded(),
        );
    }
    let max_timestamp = match info.timestamp_type {
        TimestampType::LogAppendTime => info.max_timestamp,
        TimestampType::CreateTime => builder.max_timestamp(),
    };
    let bytes = builder.encode(info.base_offset, info.leader_epoch, info.last_offset_delta, max_timestamp)?;
    Ok(Filtered::Rewritten(bytes.freeze()))
}

fn emptied(info: &BatchInfo) -> Result<Filtered, BatchError> {
    let builder = builder_like(info, Codec::None, None);
    let bytes = builder.encode(info.base_offset, info.leader_epoch, info.last_offset_delta, info.max_timestamp)?;
    Ok(Filtered::EmptyKept(bytes.freeze()))
}

fn builder_like(info: &BatchInfo, codec: Codec, horizon: Option<Timestamp>) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec).attributes(Attributes {
        codec,
        timestamp_type: info.timestamp_type,
        transactional: info.transactional,
        control: info.control,
        delete_horizon: horizon.is_some(),
    });
    if let Some(producer) = info.producer {
        builder = builder.producer(producer);
    }
    if let Some(horizon) = horizon {
        builder = builder.base_timestamp(horizon);
    }
    builder
}
