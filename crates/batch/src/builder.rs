//! Makes batches: for clients, coordinators, the controller and tests.

use bytes::{Bytes, BytesMut};
use types::limits::{BATCH_HEADER_BYTES, BATCH_OVERHEAD_BYTES};
use types::{LeaderEpoch, Offset, Timestamp};

use crate::codec::{self, Codec};
use crate::header::{
    AT_ATTRIBUTES, AT_BASE_SEQUENCE, AT_BASE_TIMESTAMP, AT_COUNT, AT_LAST_OFFSET_DELTA, AT_LEADER_EPOCH, AT_LENGTH,
    AT_MAGIC, AT_MAX_TIMESTAMP, AT_PRODUCER_EPOCH, AT_PRODUCER_ID, Attributes, BatchError, MAGIC, Producer, array, put,
    stamp_crc,
};
use crate::varint::{len_i32, len_i64, put_i32, put_i64};

/// Collects records, then builds their batch. Records are encoded as they come; offsets count up from the base offset.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    attributes: Attributes,
    level: Option<i32>,
    producer: Option<Producer>,
    payload: Vec<u8>,
    records: i32,
    last_offset_delta: i32,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Timestamp,
}

/// What the wire says for "no producer", "no sequence", "no epoch", "no timestamp".
const ABSENT: i64 = -1;

impl BatchBuilder {
    /// An empty batch to be compressed with `codec`.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self {
            attributes: Attributes { codec, ..Attributes::default() },
            level: None,
            producer: None,
            payload: Vec::new(),
            records: 0,
            last_offset_delta: -1,
            base_timestamp: None,
            max_timestamp: Timestamp::from_millis(ABSENT),
        }
    }

    /// Compresses at this level of the codec.
    #[must_use]
    pub fn level(mut self, level: i32) -> Self {
        self.level = Some(level);
        self
    }

    /// Names the idempotent producer.
    #[must_use]
    pub fn producer(mut self, producer: Producer) -> Self {
        self.producer = Some(producer);
        self
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.attributes.transactional = true;
        self
    }

    /// Marks the batch as a control batch.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes.control = true;
        self
    }

    /// Starts timestamps at `base` instead of the first record's.
    #[must_use]
    pub fn base_timestamp(mut self, base: Timestamp) -> Self {
        self.base_timestamp = Some(base);
        self
    }

    pub(crate) fn max_timestamp(&self) -> Timestamp {
        self.max_timestamp
    }

    pub(crate) fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Adds a record at the next offset.
    pub fn append(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> &mut Self {
        let mut encoded = Vec::new();
        for (key, value) in headers {
            put_nullable(&mut encoded, Some(key.as_bytes()));
            put_nullable(&mut encoded, *value);
        }
        let offset_delta = self.last_offset_delta + 1;
        self.append_encoded(offset_delta, timestamp, key, value, headers.len() as i32, &encoded)
    }

    /// Adds a record at a later offset (compaction leaves gaps), its headers encoded.
    pub(crate) fn append_encoded(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        header_count: i32,
        headers: &[u8],
    ) -> &mut Self {
        assert!(self.last_offset_delta < offset_delta);
        let base = *self.base_timestamp.get_or_insert(timestamp);
        let delta = timestamp.millis().wrapping_sub(base.millis());
        let body_bytes = 1
            + len_i64(delta)
            + len_i32(offset_delta)
            + len_nullable(key)
            + len_nullable(value)
            + len_i32(header_count)
            + headers.len();
        put_i32(&mut self.payload, body_bytes as i32);
        self.payload.push(0);
        put_i64(&mut self.payload, delta);
        put_i32(&mut self.payload, offset_delta);
        put_nullable(&mut self.payload, key);
        put_nullable(&mut self.payload, value);
        put_i32(&mut self.payload, header_count);
        self.payload.extend_from_slice(headers);
        self.records += 1;
        self.last_offset_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self
    }

    /// How many records are in it.
    #[must_use]
    pub fn records(&self) -> i32 {
        self.records
    }

    /// Bytes of the batch if it were built now without compression.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        BATCH_HEADER_BYTES + self.payload.len()
    }

    /// The batch, as a log holds it: stamped with its offset and epoch.
    ///
    /// # Panics
    /// If it holds no record, or 2 GiB of them: the caller knows what it appended.
    #[must_use]
    pub fn build(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Bytes {
        assert!(0 < self.records);
        let batch = self.encode(base_offset, Some(leader_epoch), self.last_offset_delta, self.max_timestamp);
        batch.expect("encoding to memory").freeze()
    }

    /// The batch, as a producer sends it: base offset 0, no leader epoch.
    ///
    /// # Panics
    /// If it holds no record, or 2 GiB of them: the caller knows what it appended.
    #[must_use]
    pub fn build_unstamped(&self) -> BytesMut {
        assert!(0 < self.records);
        let batch = self.encode(Offset::ZERO, None, self.last_offset_delta, self.max_timestamp);
        batch.expect("encoding to memory")
    }

    /// Compaction names the last offset itself and may have no records left.
    pub(crate) fn encode(
        &self,
        base_offset: Offset,
        leader_epoch: Option<LeaderEpoch>,
        last_offset_delta: i32,
        max_timestamp: Timestamp,
    ) -> Result<BytesMut, BatchError> {
        assert!(self.last_offset_delta <= last_offset_delta);
        let mut out = vec![0; BATCH_HEADER_BYTES];
        if 0 < self.records {
            codec::compress(self.attributes.codec, self.level, &self.payload, &mut out)?;
        }
        let epoch = leader_epoch.map_or(ABSENT as i32, LeaderEpoch::value);
        let base_timestamp = self.base_timestamp.map_or(ABSENT, Timestamp::millis);
        put(&mut out, 0, base_offset.value().to_be_bytes());
        put(&mut out, AT_LEADER_EPOCH, epoch.to_be_bytes());
        out[AT_MAGIC] = MAGIC;
        put(&mut out, AT_ATTRIBUTES, self.attributes.bits().to_be_bytes());
        put(&mut out, AT_LAST_OFFSET_DELTA, last_offset_delta.to_be_bytes());
        put(&mut out, AT_BASE_TIMESTAMP, base_timestamp.to_be_bytes());
        put(&mut out, AT_MAX_TIMESTAMP, max_timestamp.millis().to_be_bytes());
        put_producer(&mut out, self.producer);
        put(&mut out, AT_COUNT, self.records.to_be_bytes());
        codec::finish(&mut out)?;
        Ok(BytesMut::from(&out[..]))
    }
}

fn put_producer(batch: &mut [u8], producer: Option<Producer>) {
    let sequence = producer.and_then(|producer| producer.base_sequence);
    put(batch, AT_PRODUCER_ID, producer.map_or(ABSENT, |producer| producer.id.value()).to_be_bytes());
    put(batch, AT_PRODUCER_EPOCH, producer.map_or(ABSENT as i16, |producer| producer.epoch.value()).to_be_bytes());
    put(batch, AT_BASE_SEQUENCE, sequence.map_or(ABSENT as i32, types::Sequence::value).to_be_bytes());
}

fn put_nullable(out: &mut Vec<u8>, part: Option<&[u8]>) {
    match part {
        Some(part) => {
            put_i32(out, part.len() as i32);
            out.extend_from_slice(part);
        }
        None => put_i32(out, ABSENT as i32),
    }
}

fn len_nullable(part: Option<&[u8]>) -> usize {
    part.map_or(1, |part| len_i32(part.len() as i32) + part.len())
}

/// Makes a batch of the first `records` records of an uncompressed one: length, count and last offset are set, the CRC is
/// left to [`restamp`]. `batch` ends where the last of these records does, so that one pre-encoded batch serves for every
/// smaller one.
///
/// # Panics
/// If `batch` is shorter than a header, or `records` is not above 0: the caller has built it.
pub fn keep_front(batch: &mut [u8], records: i32) {
    assert!(BATCH_HEADER_BYTES <= batch.len());
    assert!(0 < records);
    let length = (batch.len() - BATCH_OVERHEAD_BYTES) as i32;
    put(batch, AT_LENGTH, length.to_be_bytes());
    put(batch, AT_LAST_OFFSET_DELTA, (records - 1).to_be_bytes());
    put(batch, AT_COUNT, records.to_be_bytes());
}

/// Moves a built batch to another base timestamp (all its records move along) and, if given, another producer place,
/// and redoes the CRC: how a load generator sends one pre-encoded batch many times.
///
/// # Panics
/// If `batch` is shorter than a header: the caller has built it.
pub fn restamp(batch: &mut [u8], base_timestamp: Timestamp, producer: Option<Producer>) {
    assert!(BATCH_HEADER_BYTES <= batch.len());
    let base = i64::from_be_bytes(array(batch, AT_BASE_TIMESTAMP));
    let max = i64::from_be_bytes(array(batch, AT_MAX_TIMESTAMP));
    let moved = base_timestamp.millis().wrapping_sub(base);
    put(batch, AT_BASE_TIMESTAMP, base_timestamp.millis().to_be_bytes());
    put(batch, AT_MAX_TIMESTAMP, max.wrapping_add(moved).to_be_bytes());
    if producer.is_some() {
        put_producer(batch, producer);
    }
    stamp_crc(batch);
}
