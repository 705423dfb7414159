//! The records behind a batch's header, walked in place.
//!
//! ```text
//! | length (varint) | attributes (1B) | timestamp delta (varlong) | offset delta (varint)
//! | key length (varint) | key | value length (varint) | value | headers (varint count)
//! |   per header: key length (varint) | key | value length (varint) | value |
//! ```
//! `length` counts what follows it, and the parts must fill it exactly. A key, value or header value of negative length is null.

use std::borrow::Cow;

use types::{Offset, Timestamp};

use crate::codec;
use crate::header::{BatchError, BatchView, TimestampType};
use crate::varint::{take_i32, take_i64};

/// One record, borrowed from its batch (or from the inflated copy).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordView<'a> {
    /// Its offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Its timestamp minus the batch's base timestamp, as written by the producer.
    pub timestamp_delta: i64,
    /// Its timestamp as a consumer sees it: the batch's in a batch of log append time.
    pub timestamp: Timestamp,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    header_count: i32,
}

/// A record's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader<'a> {
    /// Its name (UTF-8 by contract; not checked, as Kafka's broker does not).
    pub key: &'a [u8],
    /// Its value; `None` is null.
    pub value: Option<&'a [u8]>,
}

impl<'a> RecordView<'a> {
    /// How many headers it has.
    #[must_use]
    pub fn header_count(&self) -> usize {
        self.header_count as usize
    }

    /// Its headers, in order. They were checked when the record was read.
    pub fn headers(&self) -> impl Iterator<Item = RecordHeader<'a>> + use<'a> {
        let mut rest = self.headers;
        (0..self.header_count).map_while(move |_| take_header(&mut rest).ok())
    }

    pub(crate) fn headers_encoded(&self) -> &'a [u8] {
        self.headers
    }
}

/// Iterates over the records of one batch; an error ends it. After the last record nothing may be left.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    count: i32,
    index: i32,
    base_timestamp: i64,
    log_append_time: Option<Timestamp>,
    failed: bool,
}

impl<'a> Records<'a> {
    /// Over the uncompressed `payload` of `batch`.
    pub(crate) fn new(batch: &BatchView<'_>, payload: &'a [u8]) -> Self {
        Self {
            rest: payload,
            count: batch.record_count(),
            index: 0,
            base_timestamp: batch.base_timestamp().millis(),
            log_append_time: (batch.attributes().timestamp_type == TimestampType::LogAppendTime)
                .then(|| batch.max_timestamp()),
            failed: false,
        }
    }

    /// Bytes not yet walked.
    #[must_use]
    pub fn remaining_bytes(&self) -> usize {
        self.rest.len()
    }

    /// Whether the bytes at hand hold the next record whole. For walking a payload that is cut off somewhere.
    #[must_use]
    pub(crate) fn next_is_whole(&self) -> bool {
        let mut rest = self.rest;
        take_i32(&mut rest).and_then(|length| usize::try_from(length).ok()).is_some_and(|length| length <= rest.len())
    }

    fn take_record(&mut self) -> Result<RecordView<'a>, &'static str> {
        let length = take_i32(&mut self.rest).ok_or("its length is cut short or too long")?;
        let length = usize::try_from(length).map_err(|_| "its length is negative")?;
        if self.rest.len() < length {
            return Err("it is longer than the bytes that remain");
        }
        let (mut body, rest) = self.rest.split_at(length);
        self.rest = rest;
        // The attributes of a record are unused and ignored.
        body = body.get(1..).ok_or("it is empty")?;
        let timestamp_delta = take_i64(&mut body).ok_or("its timestamp is cut short or too long")?;
        let offset_delta = take_i32(&mut body).ok_or("its offset is cut short or too long")?;
        let key = take_nullable(&mut body)?;
        let value = take_nullable(&mut body)?;
        let header_count = take_i32(&mut body).ok_or("its header count is cut short or too long")?;
        // A header takes two bytes at least: a key length and a value length.
        if header_count < 0 || body.len() / 2 < header_count as usize {
            return Err("it counts more headers than its bytes can hold");
        }
        let headers = body;
        for _ in 0..header_count {
            take_header(&mut body)?;
        }
        if !body.is_empty() {
            return Err("its parts do not fill its length");
        }
        let timestamp = self
            .log_append_time
            .unwrap_or_else(|| Timestamp::from_millis(self.base_timestamp.wrapping_add(timestamp_delta)));
        Ok(RecordView { offset_delta, timestamp_delta, timestamp, key, value, headers, header_count })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.index == self.count {
            self.failed = true;
            return match self.rest.len() {
                0 => None,
                bytes => Some(Err(BatchError::Trailing { count: self.count, bytes })),
            };
        }
        let index = self.index;
        self.index += 1;
        let record = self.take_record().map_err(|reason| BatchError::Record { index, reason });
        self.failed = record.is_err();
        Some(record)
    }
}

fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    let length = take_i32(bytes).ok_or("a length in it is cut short or too long")?;
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    if bytes.len() < length {
        return Err("a part of it is longer than the bytes that remain");
    }
    let (part, rest) = bytes.split_at(length);
    *bytes = rest;
    Ok(Some(part))
}

fn take_header<'a>(bytes: &mut &'a [u8]) -> Result<RecordHeader<'a>, &'static str> {
    let key = take_nullable(bytes)?.ok_or("a header's key length is negative")?;
    Ok(RecordHeader { key, value: take_nullable(bytes)? })
}

/// A batch whose records can be walked: inflated if it was compressed, borrowed if not.
#[derive(Debug)]
pub struct Inflated<'a> {
    batch: BatchView<'a>,
    payload: Cow<'a, [u8]>,
}

impl<'a> Inflated<'a> {
    /// Inflates the records of `batch` into at most `bytes_max` bytes. An uncompressed batch is not copied (and not bounded).
    ///
    /// # Errors
    /// Data that does not inflate, or inflates beyond the bound.
    pub fn new(batch: &BatchView<'a>, bytes_max: usize) -> Result<Self, BatchError> {
        let payload = match batch.attributes().codec {
            codec::Codec::None => Cow::Borrowed(batch.payload()),
            codec => Cow::Owned(codec::inflate(codec, batch.payload(), bytes_max)?),
        };
        Ok(Self { batch: *batch, payload })
    }

    /// Walks the records.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records::new(&self.batch, &self.payload)
    }

    /// The records uncompressed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The offset of one of its records.
    #[must_use]
    pub fn offset_of(&self, record: &RecordView<'_>) -> Offset {
        self.batch.base_offset().plus(i64::from(record.offset_delta.max(0)))
    }
}
