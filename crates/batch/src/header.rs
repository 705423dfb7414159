//! The 61 bytes in front of every batch (protocol guide, "Record Batch"), read in place.
//!
//! ```text
//!  0        8        12      16      17      21      23              27              35              43          51      53         57        61
//! | base   | length | leader | magic | crc   | attri- | last offset  | base           | max            | producer  | prod.  | base     | records | records...
//! | offset |        | epoch  | (= 2) | 32C   | butes  | delta        | timestamp      | timestamp      | id        | epoch  | sequence | (count) |
//! | (8B)   | (4B)   | (4B)   | (1B)  | (4B)  | (2B)   | (4B)         | (8B)           | (8B)           | (8B)      | (2B)   | (4B)     | (4B)    |
//! ```
//! All big-endian. `length` counts what follows it: a batch of `n` bytes says `n - 12`. The CRC covers everything from
//! `attributes` to the end, so base offset and leader epoch can be stamped in place.
//!
//! Attributes: `| 15..7 unused | 6 delete horizon | 5 control | 4 transactional | 3 timestamp type | 2..0 codec |`.
//! With bit 6 the base timestamp is the delete horizon (KIP-534): when tombstones and markers in here may go.

use std::fmt;

use types::limits::{BATCH_HEADER_BYTES, BATCH_OVERHEAD_BYTES};
use types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::codec::Codec;
use crate::crc::crc32c;
use crate::records::Records;

pub(crate) const AT_LENGTH: usize = 8;
pub(crate) const AT_LEADER_EPOCH: usize = 12;
pub(crate) const AT_MAGIC: usize = 16;
pub(crate) const AT_CRC: usize = 17;
pub(crate) const AT_ATTRIBUTES: usize = 21;
pub(crate) const AT_LAST_OFFSET_DELTA: usize = 23;
pub(crate) const AT_BASE_TIMESTAMP: usize = 27;
pub(crate) const AT_MAX_TIMESTAMP: usize = 35;
pub(crate) const AT_PRODUCER_ID: usize = 43;
pub(crate) const AT_PRODUCER_EPOCH: usize = 51;
pub(crate) const AT_BASE_SEQUENCE: usize = 53;
pub(crate) const AT_COUNT: usize = 57;

pub(crate) const BIT_LOG_APPEND_TIME: u16 = 1 << 3;
pub(crate) const BIT_TRANSACTIONAL: u16 = 1 << 4;
pub(crate) const BIT_CONTROL: u16 = 1 << 5;
pub(crate) const BIT_DELETE_HORIZON: u16 = 1 << 6;
const MASK_CODEC: u16 = 7;

/// The only format taken: 0 and 1 are gone since Kafka 4.0.
pub const MAGIC: u8 = 2;

/// Why bytes are not a batch. Says what was found; whose fault that is depends on where the bytes came from.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("batch needs {needed_bytes} bytes, only {got_bytes} are there")]
    Short {
        /// Bytes that the header asks for (at least).
        needed_bytes: usize,
        /// Bytes that there are.
        got_bytes: usize,
    },
    /// The length field says less than a header, or more than an int32 of bytes.
    #[error("batch length field is {length}: a batch holds at least {} bytes after it", BATCH_HEADER_BYTES - BATCH_OVERHEAD_BYTES)]
    Length {
        /// The field as it stands.
        length: i32,
    },
    /// Not format version 2.
    #[error("batch has magic {0}, only 2 is supported")]
    Magic(u8),
    /// The checksum does not match.
    #[error("batch checksum is {stored:#010x}, its bytes give {computed:#010x}")]
    Crc {
        /// What the header holds.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// Base offset or last offset is negative or beyond int64.
    #[error("batch has offsets {base_offset} + {last_offset_delta}")]
    Offsets {
        /// The field as it stands.
        base_offset: i64,
        /// The field as it stands.
        last_offset_delta: i32,
    },
    /// More records than offsets, or a negative count.
    #[error("batch counts {count} records over {last_offset_delta} + 1 offsets")]
    Count {
        /// The field as it stands.
        count: i32,
        /// The field as it stands.
        last_offset_delta: i32,
    },
    /// A codec number that Kafka has not given out.
    #[error("batch has unknown compression codec {0}")]
    Codec(u8),
    /// A producer id without a producer epoch.
    #[error("batch has producer id {producer_id} with epoch {epoch}")]
    Producer {
        /// The field as it stands.
        producer_id: i64,
        /// The field as it stands.
        epoch: i16,
    },
    /// A record's own bytes contradict themselves.
    #[error("record {index}: {reason}")]
    Record {
        /// Which record of the batch, from 0.
        index: i32,
        /// What is wrong.
        reason: &'static str,
    },
    /// Bytes are left after the last record.
    #[error("{bytes} bytes follow the last of {count} records")]
    Trailing {
        /// Records that the header counts.
        count: i32,
        /// How many bytes are left.
        bytes: usize,
    },
    /// The compressed records cannot be inflated.
    #[error("{codec} data does not inflate: {reason}")]
    Inflate {
        /// How they are compressed.
        codec: Codec,
        /// In the codec's words.
        reason: String,
    },
    /// The compressed records inflate to more than is allowed.
    #[error("{codec} data inflates to more than {bytes_max} bytes")]
    InflateTooLarge {
        /// How they are compressed.
        codec: Codec,
        /// The bound.
        bytes_max: usize,
    },
    /// A control batch whose record is not one of Kafka's.
    #[error("control record: {0}")]
    Control(&'static str),
}

/// Who stamps the time of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    /// The producer, per record.
    #[default]
    CreateTime,
    /// The leader, one time for the whole batch: its max timestamp.
    LogAppendTime,
}

/// The attribute bits of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes {
    /// How the records are compressed.
    pub codec: Codec,
    /// Who stamped the time.
    pub timestamp_type: TimestampType,
    /// Part of a transaction.
    pub transactional: bool,
    /// Holds a marker, not data.
    pub control: bool,
    /// The base timestamp is the delete horizon.
    pub delete_horizon: bool,
}

impl Attributes {
    /// Reads the bits; unused ones are ignored, as Kafka ignores them.
    ///
    /// # Errors
    /// An unknown codec.
    pub fn from_bits(bits: u16) -> Result<Self, BatchError> {
        let id = (bits & MASK_CODEC) as u8;
        Ok(Self {
            codec: Codec::from_id(id).ok_or(BatchError::Codec(id))?,
            timestamp_type: if bits & BIT_LOG_APPEND_TIME == 0 {
                TimestampType::CreateTime
            } else {
                TimestampType::LogAppendTime
            },
            transactional: bits & BIT_TRANSACTIONAL != 0,
            control: bits & BIT_CONTROL != 0,
            delete_horizon: bits & BIT_DELETE_HORIZON != 0,
        })
    }

    /// The bits as stored.
    #[must_use]
    pub fn bits(self) -> u16 {
        let flag = |set: bool, bit: u16| if set { bit } else { 0 };
        u16::from(self.codec.id())
            | flag(self.timestamp_type == TimestampType::LogAppendTime, BIT_LOG_APPEND_TIME)
            | flag(self.transactional, BIT_TRANSACTIONAL)
            | flag(self.control, BIT_CONTROL)
            | flag(self.delete_horizon, BIT_DELETE_HORIZON)
    }
}

/// The idempotent producer of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Producer {
    /// Its id.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence of the first record; markers have none.
    pub base_sequence: Option<Sequence>,
}

/// The facts of a batch that a log needs, owned and small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchInfo {
    /// Offset of the first record (0 as sent by a producer).
    pub base_offset: Offset,
    /// Records in the batch; 0 only after compaction. Never negative.
    pub records: i32,
    /// Last offset minus base offset; at least `records - 1`. Never negative.
    pub last_offset_delta: i32,
    /// What timestamp deltas count from.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of its records, as the header says.
    pub max_timestamp: Timestamp,
    /// The leader epoch it was appended in; `None` as sent by a producer.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Its idempotent producer.
    pub producer: Option<Producer>,
    /// How its records are compressed.
    pub codec: Codec,
    /// Who stamped the time.
    pub timestamp_type: TimestampType,
    /// Part of a transaction.
    pub transactional: bool,
    /// Holds a marker.
    pub control: bool,
    /// Bytes on disk and on the wire, header included.
    pub size_bytes: u32,
    /// When tombstones and markers in here may be dropped (KIP-534).
    pub delete_horizon: Option<Timestamp>,
}

impl BatchInfo {
    /// Offset of the last record (or of the record that was last before compaction).
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// The offset after the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// The sequence of the last record, if the batch has sequences.
    #[must_use]
    pub fn last_sequence(&self) -> Option<Sequence> {
        Some(self.producer?.base_sequence?.plus(self.last_offset_delta))
    }
}

/// A batch in place: its header was checked for sense (not its CRC: see [`check`]). Covers exactly the batch's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BatchView<'a>(&'a [u8]);

impl<'a> BatchView<'a> {
    /// How many bytes the batch at the front of `bytes` occupies; `None` when fewer than 12 bytes are there to tell.
    /// The bytes of the batch itself need not be there.
    ///
    /// # Errors
    /// A length field below a header's.
    pub fn peek_size(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
        if bytes.len() < BATCH_OVERHEAD_BYTES {
            return Ok(None);
        }
        let length = i32::from_be_bytes(array(bytes, AT_LENGTH));
        let size = usize::try_from(length)
            .ok()
            .and_then(|after| after.checked_add(BATCH_OVERHEAD_BYTES))
            .filter(|&size| BATCH_HEADER_BYTES <= size && i32::try_from(size).is_ok())
            .ok_or(BatchError::Length { length })?;
        Ok(Some(size))
    }

    /// Reads the header at the front of `bytes`, which must hold the whole batch and may hold more.
    /// Checks that lengths, counts, offsets and codes make sense, not the CRC.
    ///
    /// # Errors
    /// Every way in which the header contradicts itself or the bytes that there are.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let size = Self::check_header(bytes)?;
        let batch = bytes.get(..size).ok_or(BatchError::Short { needed_bytes: size, got_bytes: bytes.len() })?;
        Ok(Self(batch))
    }

    /// The facts of a batch of which only the header is at hand (a header scan): `bytes` needs 61 bytes.
    ///
    /// # Errors
    /// As [`BatchView::parse`], except that the records may be missing.
    pub fn parse_header(bytes: &[u8]) -> Result<BatchInfo, BatchError> {
        let size = Self::check_header(bytes)?;
        let header = BatchView(
            bytes
                .get(..BATCH_HEADER_BYTES)
                .ok_or(BatchError::Short { needed_bytes: BATCH_HEADER_BYTES, got_bytes: bytes.len() })?,
        );
        Ok(BatchInfo { size_bytes: size as u32, ..header.info() })
    }

    /// Everything about a header that can be checked without its records. Returns the batch's size.
    fn check_header(bytes: &[u8]) -> Result<usize, BatchError> {
        let short = |needed_bytes| BatchError::Short { needed_bytes, got_bytes: bytes.len() };
        // Magic before length: an old format's length field means something else.
        let magic = *bytes.get(AT_MAGIC).ok_or_else(|| short(BATCH_HEADER_BYTES))?;
        if magic != MAGIC {
            return Err(BatchError::Magic(magic));
        }
        let size = Self::peek_size(bytes)?.ok_or_else(|| short(BATCH_HEADER_BYTES))?;
        if bytes.len() < BATCH_HEADER_BYTES {
            return Err(short(size));
        }
        let header = BatchView(bytes);
        let (base_offset, last_offset_delta) = (header.i64_at(0), header.i32_at(AT_LAST_OFFSET_DELTA));
        let next_fits = base_offset.checked_add(i64::from(last_offset_delta)).is_some_and(|last| last < i64::MAX);
        if base_offset < 0 || last_offset_delta < 0 || !next_fits {
            return Err(BatchError::Offsets { base_offset, last_offset_delta });
        }
        let count = header.i32_at(AT_COUNT);
        if count < 0 || i64::from(last_offset_delta) + 1 < i64::from(count) {
            return Err(BatchError::Count { count, last_offset_delta });
        }
        Attributes::from_bits(header.u16_at(AT_ATTRIBUTES))?;
        let (producer_id, epoch) = (header.i64_at(AT_PRODUCER_ID), header.i16_at(AT_PRODUCER_EPOCH));
        if 0 <= producer_id && epoch < 0 {
            return Err(BatchError::Producer { producer_id, epoch });
        }
        Ok(size)
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// What follows the header: records, compressed as [`BatchView::attributes`] says.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.0[BATCH_HEADER_BYTES..]
    }

    /// Bytes of the batch, header included.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.0.len()
    }

    /// Offset of the first record.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset::new(self.i64_at(0))
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset().plus(i64::from(self.last_offset_delta()))
    }

    /// The epoch stamped by the leader; `None` before.
    #[must_use]
    pub fn leader_epoch(&self) -> Option<LeaderEpoch> {
        LeaderEpoch::from_wire(self.i32_at(AT_LEADER_EPOCH))
    }

    /// The format version: always 2.
    #[must_use]
    pub fn magic(&self) -> u8 {
        self.0[AT_MAGIC]
    }

    /// The checksum as stored.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(array(self.0, AT_CRC))
    }

    /// The checksum as its bytes give it.
    #[must_use]
    pub fn crc_computed(&self) -> u32 {
        crc32c(&self.0[AT_ATTRIBUTES..])
    }

    /// Codec, timestamp type and flags.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        Attributes::from_bits(self.u16_at(AT_ATTRIBUTES)).unwrap_or_default()
    }

    /// Last offset minus base offset.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        self.i32_at(AT_LAST_OFFSET_DELTA)
    }

    /// What timestamp deltas count from.
    #[must_use]
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.i64_at(AT_BASE_TIMESTAMP))
    }

    /// The largest timestamp of its records, as the header says.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.i64_at(AT_MAX_TIMESTAMP))
    }

    /// Its idempotent producer.
    #[must_use]
    pub fn producer(&self) -> Option<Producer> {
        Some(Producer {
            id: ProducerId::from_wire(self.i64_at(AT_PRODUCER_ID))?,
            epoch: ProducerEpoch::from_wire(self.i16_at(AT_PRODUCER_EPOCH))?,
            base_sequence: Sequence::from_wire(self.i32_at(AT_BASE_SEQUENCE)),
        })
    }

    /// How many records it holds.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.i32_at(AT_COUNT)
    }

    /// All of it as owned facts.
    #[must_use]
    pub fn info(&self) -> BatchInfo {
        let attributes = self.attributes();
        BatchInfo {
            base_offset: self.base_offset(),
            records: self.record_count(),
            last_offset_delta: self.last_offset_delta(),
            base_timestamp: self.base_timestamp(),
            max_timestamp: self.max_timestamp(),
            leader_epoch: self.leader_epoch(),
            producer: self.producer(),
            codec: attributes.codec,
            timestamp_type: attributes.timestamp_type,
            transactional: attributes.transactional,
            control: attributes.control,
            size_bytes: self.0.len() as u32,
            delete_horizon: attributes.delete_horizon.then(|| self.base_timestamp()),
        }
    }

    /// Walks the records of an uncompressed batch. A compressed one goes through [`crate::Inflated`].
    #[must_use]
    pub fn records(&self) -> Option<Records<'a>> {
        (self.attributes().codec == Codec::None).then(|| Records::new(self, self.payload()))
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_be_bytes(array(self.0, at))
    }

    fn i16_at(&self, at: usize) -> i16 {
        i16::from_be_bytes(array(self.0, at))
    }

    fn i32_at(&self, at: usize) -> i32 {
        i32::from_be_bytes(array(self.0, at))
    }

    fn i64_at(&self, at: usize) -> i64 {
        i64::from_be_bytes(array(self.0, at))
    }
}

impl fmt::Debug for BatchView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BatchView").field(&self.info()).finish()
    }
}

/// Checks the batch at the front of `bytes`: header for sense, then the CRC. What recovery and followers ask of every
/// batch. Bytes may follow the batch; records are not looked at.
///
/// # Errors
/// As [`BatchView::parse`], and a CRC that does not match.
pub fn check(bytes: &[u8]) -> Result<BatchView<'_>, BatchError> {
    let view = BatchView::parse(bytes)?;
    let (stored, computed) = (view.crc(), view.crc_computed());
    if stored != computed {
        return Err(BatchError::Crc { stored, computed });
    }
    Ok(view)
}

/// Writes base offset and leader epoch into a batch. Both lie outside the CRC.
///
/// # Panics
/// If `batch` is shorter than a header: the caller has parsed it.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    assert!(BATCH_HEADER_BYTES <= batch.len());
    put(batch, 0, base_offset.value().to_be_bytes());
    put(batch, AT_LEADER_EPOCH, leader_epoch.value().to_be_bytes());
}

/// Makes the batch one of log append time `now`: bit 3, max timestamp, and the CRC over them.
///
/// # Panics
/// If `batch` is shorter than a header: the caller has parsed it.
pub fn stamp_log_append_time(batch: &mut [u8], now: Timestamp) {
    assert!(BATCH_HEADER_BYTES <= batch.len());
    let bits = u16::from_be_bytes(array(batch, AT_ATTRIBUTES)) | BIT_LOG_APPEND_TIME;
    put(batch, AT_ATTRIBUTES, bits.to_be_bytes());
    put(batch, AT_MAX_TIMESTAMP, now.millis().to_be_bytes());
    stamp_crc(batch);
}

/// Makes the batch one of create time with this max timestamp, and redoes the CRC. What a leader does when a
/// producer's header names another maximum than its records.
///
/// # Panics
/// If `batch` is shorter than a header: the caller has parsed it.
pub fn stamp_max_timestamp(batch: &mut [u8], max: Timestamp) {
    assert!(BATCH_HEADER_BYTES <= batch.len());
    let bits = u16::from_be_bytes(array(batch, AT_ATTRIBUTES)) & !BIT_LOG_APPEND_TIME;
    put(batch, AT_ATTRIBUTES, bits.to_be_bytes());
    put(batch, AT_MAX_TIMESTAMP, max.millis().to_be_bytes());
    stamp_crc(batch);
}

pub(crate) fn stamp_crc(batch: &mut [u8]) {
    let crc = crc32c(&batch[AT_ATTRIBUTES..]);
    put(batch, AT_CRC, crc.to_be_bytes());
}

pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
