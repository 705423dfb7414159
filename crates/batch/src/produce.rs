//! Whether a producer's batch is taken: the rules of Kafka 4.3.1, in Kafka's order, with Kafka's codes.
//!
//! | looked at | refused with |
//! |---|---|
//! | nothing there, more than one batch, magic 0 or 1 | INVALID_RECORD (87) |
//! | zstd before Produce 7, a codec number not given out | UNSUPPORTED_COMPRESSION_TYPE (76) |
//! | base offset other than 0 | INVALID_RECORD (87) |
//! | size above `max.message.bytes`, before and after recompression | MESSAGE_TOO_LARGE (10) |
//! | length, magic or CRC that no batch can have | CORRUPT_MESSAGE (2) |
//! | count and offset range that disagree, control batch, producer id without a sequence | INVALID_RECORD (87) |
//! | records whose bytes contradict themselves | INVALID_RECORD (87) |
//! | a null key on a compacted topic | INVALID_RECORD (87), each record named (KIP-467) |
//! | timestamps out of bounds, log append time set by a producer | INVALID_TIMESTAMP (32), each record named |
//!
//! The CRC is looked at before anything it covers: what a broken wire did to a batch must be answered with the one code
//! that makes producers send it again.
//!
//! Two differences, both stricter. Offsets within a batch must count 0, 1, 2, ...: Kafka re-encodes a compressed batch in
//! which they do not and stores an uncompressed one as it is. And what does not inflate is INVALID_RECORD, where Kafka
//! answers UNKNOWN_SERVER_ERROR.

use bytes::BytesMut;
use types::limits::{BATCH_HEADER_BYTES, PRODUCE_RECORD_ERRORS_MAX};
use types::{ErrorCode, Timestamp};

use crate::codec::{self, Codec, recompress};
use crate::header::{
    AT_ATTRIBUTES, AT_BASE_SEQUENCE, AT_COUNT, AT_CRC, AT_LAST_OFFSET_DELTA, AT_LENGTH, AT_MAGIC, AT_PRODUCER_ID,
    Attributes, BatchError, BatchInfo, BatchView, MAGIC, TimestampType, array, stamp_log_append_time,
    stamp_max_timestamp,
};
use crate::records::{Inflated, RecordView, Records};

/// How far a compressed batch is looked into when nothing else demands all of it (a compacted topic, another codec, or
/// header timestamps out of bounds do).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inflate {
    /// Not at all: header only.
    No,
    /// The first `bytes_max` bytes; anything wrong in there and the whole batch is walked.
    Sample {
        /// Inflated bytes.
        bytes_max: usize,
    },
    /// Whole, as Kafka does.
    All,
}

/// What a topic and a request demand of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProduceRules {
    /// The leader's wall clock.
    pub now: Timestamp,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub after_max_ms: i64,
    /// Whether `cleanup.policy` contains `compact`.
    pub compacted: bool,
    /// `max.message.bytes`, on the batch as sent and as stored.
    pub batch_bytes_max: u32,
    /// `compression.type` and its level; `None` is `producer`.
    pub compression: Option<(Codec, Option<i32>)>,
    /// Whether zstd may be sent: from Produce version 7 on.
    pub zstd_allowed: bool,
    /// How far compressed batches are looked into.
    pub inflate: Inflate,
    /// Bound on the inflated records of one batch, see [`types::limits::INFLATED_BATCH_BYTES_MAX`].
    pub inflated_bytes_max: usize,
}

/// A batch refused, in the terms of a produce response (version 8 and later).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProduceFault {
    /// The partition's error code.
    pub code: ErrorCode,
    /// What is wrong and why, for people.
    pub message: String,
    /// The records at fault by index within the batch, at most [`PRODUCE_RECORD_ERRORS_MAX`].
    pub record_errors: Vec<(i32, String)>,
}

/// What must be written into a taken batch before it is appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rewrite {
    /// Nothing: as sent.
    None,
    /// The header named another maximum than the records have: [`stamp_max_timestamp`].
    MaxTimestamp(Timestamp),
    /// The topic's time is the leader's: [`stamp_log_append_time`].
    LogAppendTime(Timestamp),
}

/// A batch taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Validated {
    /// Its facts, as sent. Its bytes are the first `info.size_bytes`; a cut-off rest after them is dropped, as in Kafka.
    pub info: BatchInfo,
    /// Timestamps to write first.
    pub rewrite: Rewrite,
    /// The codec that the topic wants instead of the batch's, and its level.
    pub recompress: Option<(Codec, Option<i32>)>,
}

fn fault(code: ErrorCode, message: impl Into<String>) -> ProduceFault {
    ProduceFault { code, message: message.into(), record_errors: Vec::new() }
}

fn invalid_record(message: impl Into<String>) -> ProduceFault {
    fault(ErrorCode::InvalidRecord, message)
}

fn corrupt(message: impl Into<String>) -> ProduceFault {
    fault(ErrorCode::CorruptMessage, message)
}

/// Validates and does what validation asks for: the batch as it is to be appended, and its facts.
///
/// # Errors
/// As [`validate_produced`]; also a batch that grew beyond `batch_bytes_max` by recompression.
pub fn admit(mut batch: BytesMut, rules: &ProduceRules) -> Result<(BytesMut, BatchInfo), ProduceFault> {
    let Validated { mut info, rewrite, recompress: target } = validate_produced(&batch, rules)?;
    batch.truncate(info.size_bytes as usize);
    if let Some((codec, level)) = target {
        batch = recompress(&batch, codec, level, rules.inflated_bytes_max).map_err(record_fault)?;
        check_size(batch.len(), rules)?;
        info.codec = codec;
        info.size_bytes = batch.len() as u32;
    }
    match rewrite {
        Rewrite::None => {}
        Rewrite::MaxTimestamp(max) => {
            stamp_max_timestamp(&mut batch, max);
            (info.timestamp_type, info.max_timestamp) = (TimestampType::CreateTime, max);
        }
        Rewrite::LogAppendTime(now) => {
            stamp_log_append_time(&mut batch, now);
            (info.timestamp_type, info.max_timestamp) = (TimestampType::LogAppendTime, now);
        }
    }
    Ok((batch, info))
}

/// Decides about the records of one partition in a produce request. Changes nothing. Whether a transactional batch or
/// its sequence is welcome is for the partition's host to say, from the facts returned.
///
/// # Errors
/// The first rule broken, in the order of the table above.
pub fn validate_produced(bytes: &[u8], rules: &ProduceRules) -> Result<Validated, ProduceFault> {
    let batch = only_batch(bytes)?;
    let codec = check_codec(batch, rules)?;
    let base_offset = i64::from_be_bytes(array(batch, 0));
    if base_offset != 0 {
        return Err(invalid_record(format!(
            "The base offset of a record batch as sent must be 0, but it is {base_offset}."
        )));
    }
    check_size(batch.len(), rules)?;
    if batch.len() < BATCH_HEADER_BYTES {
        return Err(corrupt(format!(
            "The record batch is {} bytes, which is less than its header of {BATCH_HEADER_BYTES}.",
            batch.len()
        )));
    }
    let (stored, computed) = (u32::from_be_bytes(array(batch, AT_CRC)), crate::crc32c(&batch[AT_ATTRIBUTES..]));
    if stored != computed {
        return Err(corrupt(format!(
            "The record batch is corrupt: its checksum is {stored:#010x}, its bytes give {computed:#010x}."
        )));
    }
    check_facts(batch)?;
    // Everything that `parse` can refuse has been refused above, with its own code; this is the fallback.
    let view = BatchView::parse(batch).map_err(|error| invalid_record(error.to_string()))?;
    let info = view.info();
    let recompress = rules.compression.filter(|&(target, _)| target != codec);
    let max_timestamp = if codec == Codec::None {
        let records = Records::new(&view, view.payload());
        Some(walk(records, &info, rules)?)
    } else if must_inflate_all(&info, rules) || recompress.is_some() || !sample_is_sound(&view, rules) {
        let inflated = Inflated::new(&view, rules.inflated_bytes_max).map_err(record_fault)?;
        Some(walk(inflated.records(), &info, rules)?)
    } else {
        None
    };
    let rewrite = match (rules.timestamp_type, max_timestamp) {
        (TimestampType::LogAppendTime, _) => Rewrite::LogAppendTime(rules.now),
        (TimestampType::CreateTime, Some(max))
            if max != info.max_timestamp || info.timestamp_type == TimestampType::LogAppendTime =>
        {
            Rewrite::MaxTimestamp(max)
        }
        (TimestampType::CreateTime, _) => Rewrite::None,
    };
    Ok(Validated { info, rewrite, recompress })
}

/// The one batch of `bytes`, cut to its length field. What follows it may be a batch cut off by the sender, not a whole one.
fn only_batch(bytes: &[u8]) -> Result<&[u8], ProduceFault> {
    let size = whole_batch_bytes(bytes)?.ok_or_else(|| {
        invalid_record("A produce request must hold a record batch for each partition, and this one holds none.")
    })?;
    let (batch, rest) = bytes.split_at(size);
    if batch[AT_MAGIC] != MAGIC {
        return Err(invalid_record(format!(
            "Produce requests may only hold record batches of magic 2, and this one has magic {}.",
            batch[AT_MAGIC]
        )));
    }
    if whole_batch_bytes(rest)?.is_some() {
        return Err(invalid_record(
            "A produce request must hold exactly one record batch for each partition, and this one holds more.",
        ));
    }
    Ok(batch)
}

/// The size of the batch, of any format, at the front of `bytes`; `None` when it is not whole.
fn whole_batch_bytes(bytes: &[u8]) -> Result<Option<usize>, ProduceFault> {
    /// The smallest message of formats 0 and 1: CRC, magic, attributes, null key, null value.
    const OLD_MESSAGE_BYTES_MIN: i32 = 14;
    if bytes.len() <= AT_MAGIC {
        return Ok(None);
    }
    let length = i32::from_be_bytes(array(bytes, AT_LENGTH));
    if length < OLD_MESSAGE_BYTES_MIN {
        return Err(corrupt(format!("The record batch's length field is {length}, which is less than any batch.")));
    }
    let magic = bytes[AT_MAGIC];
    if MAGIC < magic {
        return Err(corrupt(format!("The record batch has magic {magic}, which does not exist.")));
    }
    let size = length as usize + types::limits::BATCH_OVERHEAD_BYTES;
    Ok((size <= bytes.len()).then_some(size))
}

fn check_codec(batch: &[u8], rules: &ProduceRules) -> Result<Codec, ProduceFault> {
    let unsupported = |message: String| Err(fault(ErrorCode::UnsupportedCompressionType, message));
    let Some(&low) = batch.get(AT_ATTRIBUTES + 1) else { return Ok(Codec::None) };
    match Codec::from_id(low & 7) {
        Some(Codec::Zstd) if !rules.zstd_allowed => {
            unsupported("Produce requests before version 7 may not hold zstd batches.".to_owned())
        }
        Some(codec) => Ok(codec),
        None => unsupported(format!("The record batch has compression codec {}, which does not exist.", low & 7)),
    }
}

fn check_size(bytes: usize, rules: &ProduceRules) -> Result<(), ProduceFault> {
    if rules.batch_bytes_max as usize >= bytes {
        return Ok(());
    }
    Err(fault(
        ErrorCode::MessageTooLarge,
        format!("The record batch is {bytes} bytes, which is more than max.message.bytes = {}.", rules.batch_bytes_max),
    ))
}

/// The header's own story, once its CRC vouches for it.
fn check_facts(batch: &[u8]) -> Result<(), ProduceFault> {
    let last_offset_delta = i32::from_be_bytes(array(batch, AT_LAST_OFFSET_DELTA));
    let count = i32::from_be_bytes(array(batch, AT_COUNT));
    if last_offset_delta < 0 {
        return Err(invalid_record(format!("The record batch has an invalid offset range: [0, {last_offset_delta}].")));
    }
    if count <= 0 {
        return Err(invalid_record(format!("The record batch says that it holds {count} records.")));
    }
    if i64::from(last_offset_delta) + 1 != i64::from(count) {
        return Err(invalid_record(format!(
            "The record batch has offsets [0, {last_offset_delta}] but says that it holds {count} records."
        )));
    }
    let attributes = Attributes::from_bits(u16::from_be_bytes(array(batch, AT_ATTRIBUTES)))
        .map_err(|error| invalid_record(error.to_string()))?;
    if attributes.control {
        return Err(invalid_record("Clients may not write control batches."));
    }
    let producer_id = i64::from_be_bytes(array(batch, AT_PRODUCER_ID));
    let base_sequence = i32::from_be_bytes(array(batch, AT_BASE_SEQUENCE));
    if 0 <= producer_id && base_sequence < 0 {
        return Err(invalid_record(format!(
            "The record batch of producer id {producer_id} has the invalid sequence {base_sequence}."
        )));
    }
    Ok(())
}

fn must_inflate_all(info: &BatchInfo, rules: &ProduceRules) -> bool {
    let header_out_of_bounds = match rules.timestamp_type {
        TimestampType::CreateTime => {
            info.timestamp_type == TimestampType::LogAppendTime
                || out_of_bounds(info.max_timestamp, rules)
                || out_of_bounds(info.base_timestamp, rules)
        }
        TimestampType::LogAppendTime => info.timestamp_type == TimestampType::LogAppendTime,
    };
    rules.compacted || rules.inflate == Inflate::All || header_out_of_bounds
}

/// Whether the records that lie whole within the sample break no rule. `false` sends the batch through the full walk,
/// which finds the words.
fn sample_is_sound(view: &BatchView<'_>, rules: &ProduceRules) -> bool {
    let bytes_max = match rules.inflate {
        Inflate::No => return true,
        Inflate::Sample { bytes_max } => bytes_max.min(rules.inflated_bytes_max),
        Inflate::All => return false,
    };
    let Ok((sample, complete)) = codec::inflate_some(view.attributes().codec, view.payload(), bytes_max) else {
        return false;
    };
    let info = view.info();
    let mut records = Records::new(view, &sample);
    let mut index = 0;
    while complete || records.next_is_whole() {
        match records.next() {
            Some(Ok(record)) if record_error(&record, index, &info, rules).is_none() => index += 1,
            Some(_) => return false,
            None => return true,
        }
    }
    true
}

/// Checks every record. Returns the largest timestamp, which is -1 when no record has one.
fn walk(records: Records<'_>, info: &BatchInfo, rules: &ProduceRules) -> Result<Timestamp, ProduceFault> {
    let mut max_timestamp = NO_TIMESTAMP;
    let mut record_errors = Vec::new();
    let mut errors_total = 0_usize;
    let mut timestamp_at_fault = false;
    for (index, record) in (0_i32..).zip(records) {
        let record = record.map_err(record_fault)?;
        max_timestamp = max_timestamp.max(record.timestamp);
        if let Some((code, message)) = record_error(&record, index, info, rules) {
            timestamp_at_fault |= code == ErrorCode::InvalidTimestamp;
            errors_total += 1;
            if record_errors.len() < PRODUCE_RECORD_ERRORS_MAX {
                record_errors.push((index, message));
            }
        }
    }
    if errors_total == 0 {
        return Ok(max_timestamp);
    }
    let (code, what) = if timestamp_at_fault {
        (ErrorCode::InvalidTimestamp, "invalid timestamps")
    } else {
        (ErrorCode::InvalidRecord, "record errors")
    };
    let shown: Vec<_> = record_errors.iter().take(3).map(|(index, text)| format!("record {index}: {text}")).collect();
    let message = format!(
        "{errors_total} of {} records were rejected for {what}, and the batch with them. The first: {}",
        info.records,
        shown.join(" ")
    );
    Err(ProduceFault { code, message, record_errors })
}

/// What "no timestamp" is in a record.
const NO_TIMESTAMP: Timestamp = Timestamp::from_millis(-1);

fn record_error(
    record: &RecordView<'_>,
    index: i32,
    info: &BatchInfo,
    rules: &ProduceRules,
) -> Option<(ErrorCode, String)> {
    if record.offset_delta != index {
        let text = format!("Its offset within the batch is {}, where {index} is due.", record.offset_delta);
        return Some((ErrorCode::InvalidRecord, text));
    }
    if rules.compacted && record.key.is_none() {
        return Some((ErrorCode::InvalidRecord, "A compacted topic takes no record without a key.".to_owned()));
    }
    if rules.timestamp_type == TimestampType::CreateTime && record.timestamp != NO_TIMESTAMP {
        if !out_of_bounds(record.timestamp, rules) {
            return None;
        }
        let now = rules.now.millis();
        let (earliest, latest) = (now.saturating_sub(rules.before_max_ms), now.saturating_add(rules.after_max_ms));
        let text = format!(
            "Timestamp {} is out of range: it should be within [{earliest}, {latest}].",
            record.timestamp.millis()
        );
        return Some((ErrorCode::InvalidTimestamp, text));
    }
    (info.timestamp_type == TimestampType::LogAppendTime).then(|| {
        let text = "Its batch says LogAppendTime, which a producer may not set.".to_owned();
        (ErrorCode::InvalidTimestamp, text)
    })
}

/// Beyond [now - before, now + after]; "no timestamp" is never out of bounds.
fn out_of_bounds(timestamp: Timestamp, rules: &ProduceRules) -> bool {
    let ahead_ms = timestamp.millis().saturating_sub(rules.now.millis());
    let behind_ms = rules.now.millis().saturating_sub(timestamp.millis());
    timestamp != NO_TIMESTAMP && (rules.after_max_ms < ahead_ms || rules.before_max_ms < behind_ms)
}

fn record_fault(error: BatchError) -> ProduceFault {
    match error {
        // A producer splits a batch that is refused as too large, and sends it again.
        BatchError::InflateTooLarge { .. } => {
            fault(ErrorCode::MessageTooLarge, format!("The record batch is too large: {error}."))
        }
        error => invalid_record(format!("The record batch is invalid: {error}.")),
    }
}
