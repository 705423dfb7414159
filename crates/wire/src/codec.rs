//! Kafka's primitive encodings, read from a slice ([`Reader`]) and written to a growing buffer ([`Writer`]).
//!
//! Nothing here trusts a number from the other side: a length is compared with the bytes that remain before it is
//! used, an array is allocated only as far as the remaining bytes could fill it, and the memory of everything decoded
//! from one message is bounded (`types::limits::DECODE_MEMORY_FACTOR`).

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use types::TopicId;
use types::limits::{DECODE_MEMORY_BYTES_FREE, DECODE_MEMORY_FACTOR, STRING_BYTES_MAX};

/// Bytes of a varint that holds 32 bits.
const VARINT_BYTES_MAX: usize = 5;

/// Why a message could not be read: which message, which field, where, and what was wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{message} version {version}: {fault} in field {field} at byte {position}")]
pub struct DecodeError {
    /// Kafka's name of the message, `FetchRequest`.
    pub message: &'static str,
    /// The version it was read as.
    pub version: i16,
    /// The field at fault, within its own struct.
    pub field: &'static str,
    /// Byte position from the start of the slice given to the decoder.
    pub position: usize,
    /// What was wrong.
    pub fault: DecodeFault,
}

/// What was wrong with the bytes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFault {
    /// The field, or the length it announces, goes beyond the end of the message.
    #[error("the message ends too early")]
    TooShort,
    /// An array that announces more elements than the rest of the message could hold.
    #[error("more elements than the message could hold")]
    CountBeyondMessage,
    /// Null where this version has none.
    #[error("null where a value is required")]
    UnexpectedNull,
    /// A string longer than [`types::limits::STRING_BYTES_MAX`].
    #[error("a string of more than 32,767 bytes")]
    StringTooLong,
    /// A string that is not UTF-8.
    #[error("invalid UTF-8")]
    NotUtf8,
    /// A variable-length integer of more than five bytes.
    #[error("a varint that does not end")]
    VarintTooLong,
    /// A tagged field whose content is shorter or longer than it announces.
    #[error("a tagged field of another length than it announces")]
    TagLengthMismatch,
    /// The structs would take more memory than a message of this size may take.
    #[error("too many small elements for a message of this size")]
    MemoryExceeded,
    /// Bytes after the end of the message.
    #[error("bytes left over after the message")]
    TrailingBytes,
    /// The message does not exist in this version.
    #[error("an unknown version")]
    UnknownVersion,
    /// A record that announces a type this node does not know.
    #[error("an unknown record type")]
    UnknownType,
}

/// Why a message could not be written. Always a mistake of the code that filled it, never of the other side; the
/// usual cause is a value that the negotiated version cannot carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{message} version {version}: {fault} in field {field}")]
pub struct EncodeError {
    /// Kafka's name of the message.
    pub message: &'static str,
    /// The version it was to be written as.
    pub version: i16,
    /// The field at fault, within its own struct.
    pub field: &'static str,
    /// What was wrong.
    pub fault: EncodeFault,
}

/// What was wrong with the value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeFault {
    /// The version lacks this field, it is set, and it must not be dropped silently.
    #[error("a value this version cannot carry")]
    AbsentInVersion,
    /// `None` where this version has no null.
    #[error("null where this version needs a value")]
    NullInVersion,
    /// Longer than the length field can say.
    #[error("too long")]
    TooLong,
    /// [`Records::At`] names a place in a frame; to write records, give their bytes or a hole.
    #[error("records that lie in another frame")]
    RecordsElsewhere,
    /// The message does not exist in this version.
    #[error("an unknown version")]
    UnknownVersion,
}

/// Record batches in a message. They are never decoded here and need not be copied: a request's lie where
/// [`Records::At`] says, a response's may be sent by other means into a [`Hole`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Records<'a> {
    /// Null.
    #[default]
    Null,
    /// The bytes, written as they are. Decoding never yields this.
    Inline(Cow<'a, [u8]>),
    /// Decoded: the position of the bytes in the slice given to the decoder.
    At(Range<usize>),
    /// To encode: as many bytes are announced and left out; [`Writer::holes`] says where they belong.
    Hole(usize),
}

impl Records<'_> {
    /// The same without a borrow.
    #[must_use]
    pub fn into_owned(self) -> Records<'static> {
        match self {
            Records::Null => Records::Null,
            Records::Inline(bytes) => Records::Inline(Cow::Owned(bytes.into_owned())),
            Records::At(range) => Records::At(range),
            Records::Hole(bytes) => Records::Hole(bytes),
        }
    }

    /// How many bytes of batches this stands for; null counts as none.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Records::Null => 0,
            Records::Inline(bytes) => bytes.len(),
            Records::At(range) => range.len(),
            Records::Hole(bytes) => *bytes,
        }
    }
}

/// Tagged fields that the schema does not name (KIP-482). Costs one word while empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::box_collection, reason = "a Vec would cost three words in every struct, a box costs one")]
pub struct Tags(Option<Box<Vec<(u32, Bytes)>>>);

impl Tags {
    /// No unknown tagged fields.
    pub const NONE: Self = Self(None);

    /// Adds a field. Tags must be written in ascending order, above those that the schema names.
    pub fn push(&mut self, tag: u32, value: Bytes) {
        self.0.get_or_insert_default().push((tag, value));
    }

    /// The value of `tag`.
    #[must_use]
    pub fn get(&self, tag: u32) -> Option<&Bytes> {
        self.iter().find(|field| field.0 == tag).map(|field| &field.1)
    }

    /// All of them, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &(u32, Bytes)> {
        self.0.iter().flat_map(|tags| tags.iter())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |tags| tags.len())
    }
}

/// Reads one message from a slice, front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Where the present (tagged) field or message ends.
    end: usize,
    memory_left: usize,
    message: &'static str,
    version: i16,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            position: 0,
            end: bytes.len(),
            memory_left: bytes.len().saturating_mul(DECODE_MEMORY_FACTOR).saturating_add(DECODE_MEMORY_BYTES_FREE),
            message: "message",
            version: 0,
        }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// Names the message that the next reads belong to, for their errors.
    pub(crate) fn enter(&mut self, message: &'static str, version: i16) {
        self.message = message;
        self.version = version;
    }

    /// Everything must have been read by now.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.position == self.end { Ok(()) } else { Err(self.error("(end)", DecodeFault::TrailingBytes)) }
    }

    #[cold]
    pub(crate) fn error(&self, field: &'static str, fault: DecodeFault) -> DecodeError {
        DecodeError { message: self.message, version: self.version, field, position: self.position, fault }
    }

    fn take(&mut self, bytes: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        if bytes > self.remaining() {
            return Err(self.error(field, DecodeFault::TooShort));
        }
        let taken = &self.bytes[self.position..self.position + bytes];
        self.position += bytes;
        Ok(taken)
    }

    fn array_of<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N, field)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(taken);
        Ok(bytes)
    }

    pub(crate) fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        Ok(self.array_of::<1>(field)?[0] != 0)
    }

    pub(crate) fn int8(&mut self, field: &'static str) -> Result<i8, DecodeError> {
        self.array_of(field).map(i8::from_be_bytes)
    }

    pub(crate) fn int16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        self.array_of(field).map(i16::from_be_bytes)
    }

    pub(crate) fn uint16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array_of(field).map(u16::from_be_bytes)
    }

    pub(crate) fn int32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array_of(field).map(i32::from_be_bytes)
    }

    pub(crate) fn int64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array_of(field).map(i64::from_be_bytes)
    }

    pub(crate) fn float64(&mut self, field: &'static str) -> Result<f64, DecodeError> {
        self.array_of(field).map(f64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self, field: &'static str) -> Result<TopicId, DecodeError> {
        self.array_of(field).map(TopicId::from_bytes)
    }

    /// Seven bits a byte, least significant first; the top bit says that another byte follows. `300` is `ac 02`.
    pub(crate) fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for index in 0..VARINT_BYTES_MAX {
            let byte = self.array_of::<1>(field)?[0];
            if index == VARINT_BYTES_MAX - 1 && byte > 0x0f {
                return Err(self.error(field, DecodeFault::VarintTooLong));
            }
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(value)
    }

    /// A length in the compact form is one more than it says, so that zero can be null.
    fn compact_length(&mut self, field: &'static str) -> Result<Option<usize>, DecodeError> {
        Ok((self.unsigned_varint(field)? as usize).checked_sub(1))
    }

    fn length16(&mut self, flexible: bool, field: &'static str) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.compact_length(field);
        }
        // Null is -1; Kafka takes every negative length for it.
        Ok(usize::try_from(self.int16(field)?).ok())
    }

    fn length32(&mut self, flexible: bool, field: &'static str) -> Result<Option<usize>, DecodeError> {
        if flexible {
            return self.compact_length(field);
        }
        Ok(usize::try_from(self.int32(field)?).ok())
    }

    fn required<T>(&self, value: Option<T>, field: &'static str) -> Result<T, DecodeError> {
        value.ok_or_else(|| self.error(field, DecodeFault::UnexpectedNull))
    }

    fn nullable<T>(&self, value: Option<T>, null_allowed: bool, field: &'static str) -> Result<Option<T>, DecodeError> {
        if value.is_none() && !null_allowed {
            return Err(self.error(field, DecodeFault::UnexpectedNull));
        }
        Ok(value)
    }

    fn string_opt(&mut self, flexible: bool, field: &'static str) -> Result<Option<Cow<'a, str>>, DecodeError> {
        let Some(length) = self.length16(flexible, field)? else { return Ok(None) };
        if STRING_BYTES_MAX < length {
            return Err(self.error(field, DecodeFault::StringTooLong));
        }
        let taken = self.take(length, field)?;
        match std::str::from_utf8(taken) {
            Ok(text) => Ok(Some(Cow::Borrowed(text))),
            Err(_) => Err(self.error(field, DecodeFault::NotUtf8)),
        }
    }

    pub(crate) fn string(&mut self, flexible: bool, field: &'static str) -> Result<Cow<'a, str>, DecodeError> {
        let value = self.string_opt(flexible, field)?;
        self.required(value, field)
    }

    pub(crate) fn string_nullable(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        field: &'static str,
    ) -> Result<Option<Cow<'a, str>>, DecodeError> {
        let value = self.string_opt(flexible, field)?;
        self.nullable(value, null_allowed, field)
    }

    fn bytes_opt(&mut self, flexible: bool, field: &'static str) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
        let Some(length) = self.length32(flexible, field)? else { return Ok(None) };
        Ok(Some(Cow::Borrowed(self.take(length, field)?)))
    }

    pub(crate) fn bytes(&mut self, flexible: bool, field: &'static str) -> Result<Cow<'a, [u8]>, DecodeError> {
        let value = self.bytes_opt(flexible, field)?;
        self.required(value, field)
    }

    pub(crate) fn bytes_nullable(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        field: &'static str,
    ) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
        let value = self.bytes_opt(flexible, field)?;
        self.nullable(value, null_allowed, field)
    }

    pub(crate) fn records(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        field: &'static str,
    ) -> Result<Records<'a>, DecodeError> {
        let length = self.length32(flexible, field)?;
        let Some(length) = self.nullable(length, null_allowed, field)? else { return Ok(Records::Null) };
        let start = self.position;
        self.take(length, field)?;
        Ok(Records::At(start..self.position))
    }

    /// An array of elements that take at least `element_bytes_min` on the wire each.
    fn array_opt<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        field: &'static str,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.array_count(flexible, element_bytes_min, size_of::<T>(), field)? else {
            return Ok(None);
        };
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// The count of an array, proved possible: by the bytes that remain, and by the memory that the message may take.
    fn array_count(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        element_memory_bytes: usize,
        field: &'static str,
    ) -> Result<Option<usize>, DecodeError> {
        let Some(count) = self.length32(flexible, field)? else { return Ok(None) };
        if count > self.remaining() / element_bytes_min.max(1) {
            return Err(self.error(field, DecodeFault::CountBeyondMessage));
        }
        self.charge(count.saturating_mul(element_memory_bytes), field)?;
        Ok(Some(count))
    }

    fn charge(&mut self, memory_bytes: usize, field: &'static str) -> Result<(), DecodeError> {
        match self.memory_left.checked_sub(memory_bytes) {
            Some(left) => {
                self.memory_left = left;
                Ok(())
            }
            None => Err(self.error(field, DecodeFault::MemoryExceeded)),
        }
    }

    pub(crate) fn array<T>(
        &mut self,
        flexible: bool,
        element_bytes_min: usize,
        field: &'static str,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let value = self.array_opt(flexible, element_bytes_min, field, element)?;
        self.required(value, field)
    }

    pub(crate) fn array_nullable<T>(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        element_bytes_min: usize,
        field: &'static str,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let value = self.array_opt(flexible, element_bytes_min, field, element)?;
        self.nullable(value, null_allowed, field)
    }

    /// A struct that may be null is preceded by one byte: negative for null, else 1.
    pub(crate) fn struct_nullable<T>(
        &mut self,
        null_allowed: bool,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if null_allowed && self.int8(field)? < 0 { Ok(None) } else { read(self).map(Some) }
    }

    /// The tagged fields at the end of a struct in a flexible version:
    ///
    /// ```text
    /// | count (varint) | tag (varint) | bytes (varint) | value | tag | bytes | value | ...
    /// ```
    ///
    /// `known` reads a tag it knows and says so; what it does not know is kept.
    pub(crate) fn tags(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<Tags, DecodeError> {
        let field = "(tagged fields)";
        let mut unknown = Tags::NONE;
        let count = self.unsigned_varint(field)?;
        if count as usize > self.remaining() / 2 {
            return Err(self.error(field, DecodeFault::CountBeyondMessage));
        }
        for _ in 0..count {
            let tag = self.unsigned_varint(field)?;
            let length = self.unsigned_varint(field)? as usize;
            if length > self.remaining() {
                return Err(self.error(field, DecodeFault::TooShort));
            }
            let outer_end = std::mem::replace(&mut self.end, self.position + length);
            if !known(self, tag)? {
                self.charge(length + size_of::<(u32, Bytes)>(), field)?;
                let value = self.take(length, field)?;
                unknown.push(tag, Bytes::copy_from_slice(value));
            }
            if self.position != self.end {
                return Err(self.error(field, DecodeFault::TagLengthMismatch));
            }
            self.end = outer_end;
        }
        Ok(unknown)
    }
}

/// Bytes that a message announces but does not contain: they are sent after the first `at` bytes of the buffer, by
/// sendfile or from another buffer, before the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Position in the writer's buffer at which the missing bytes belong.
    pub at: usize,
    /// How many are missing.
    pub bytes: usize,
}

/// Writes messages into a growing buffer.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    holes: Vec<Hole>,
    message: &'static str,
    version: i16,
    /// The frame that [`Records::At`] speaks of, for tests that encode what they decoded.
    #[cfg(test)]
    pub(crate) source: Vec<u8>,
}

impl Writer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that writes behind what `buffer` already holds.
    #[must_use]
    pub fn onto(buffer: BytesMut) -> Self {
        Self { buffer, ..Self::default() }
    }

    /// Bytes written, holes not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing has been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The bytes written so far.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer
    }

    /// The holes, by ascending position.
    #[must_use]
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// The bytes, and the holes by ascending position.
    #[must_use]
    pub fn into_parts(self) -> (BytesMut, Vec<Hole>) {
        (self.buffer, self.holes)
    }

    /// The bytes of a message without holes.
    #[must_use]
    pub fn into_bytes(self) -> BytesMut {
        assert!(self.holes.is_empty(), "the caller forgot the records it left out");
        self.buffer
    }

    /// Leaves room for a frame's size; [`Writer::end_frame`] fills it in.
    pub(crate) fn begin_frame(&mut self) -> FrameStart {
        let start = FrameStart { position: self.buffer.len(), holes: self.holes.len() };
        self.buffer.put_i32(0);
        start
    }

    /// Writes the size of the frame begun at `start`, holes included.
    pub(crate) fn end_frame(&mut self, start: FrameStart) -> Result<(), EncodeError> {
        let missing: usize = self.holes[start.holes..].iter().map(|hole| hole.bytes).sum();
        let size = self.buffer.len() - start.position - size_of::<i32>() + missing;
        let Ok(size) = i32::try_from(size) else { return Err(self.error("(frame)", EncodeFault::TooLong)) };
        self.buffer[start.position..start.position + size_of::<i32>()].copy_from_slice(&size.to_be_bytes());
        Ok(())
    }

    /// Forgets what was written since `start`: after an error nothing of the frame may stay.
    pub(crate) fn undo_frame(&mut self, start: FrameStart) {
        self.buffer.truncate(start.position);
        self.holes.truncate(start.holes);
    }

    /// Names the message that the next writes belong to, for their errors.
    pub(crate) fn enter(&mut self, message: &'static str, version: i16) {
        self.message = message;
        self.version = version;
    }

    #[cold]
    pub(crate) fn error(&self, field: &'static str, fault: EncodeFault) -> EncodeError {
        EncodeError { message: self.message, version: self.version, field, fault }
    }

    /// A value that may not be dropped must be its default where the version lacks the field.
    pub(crate) fn absent(&self, is_default: bool, field: &'static str) -> Result<(), EncodeError> {
        if is_default { Ok(()) } else { Err(self.error(field, EncodeFault::AbsentInVersion)) }
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    pub(crate) fn int8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    pub(crate) fn int16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    pub(crate) fn uint16(&mut self, value: u16) {
        self.buffer.put_u16(value);
    }

    pub(crate) fn int32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    pub(crate) fn int64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    pub(crate) fn float64(&mut self, value: f64) {
        self.buffer.put_f64(value);
    }

    pub(crate) fn uuid(&mut self, value: TopicId) {
        self.buffer.put_slice(&value.bytes());
    }

    /// See [`Reader::unsigned_varint`].
    pub(crate) fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    fn compact_length(&mut self, length: usize, field: &'static str) -> Result<(), EncodeError> {
        match i32::try_from(length) {
            Ok(length) if length < i32::MAX => {
                self.unsigned_varint(length as u32 + 1);
                Ok(())
            }
            _ => Err(self.error(field, EncodeFault::TooLong)),
        }
    }

    /// The length of a string. The compact form could say more, but no reader takes more.
    fn length16(&mut self, flexible: bool, length: usize, field: &'static str) -> Result<(), EncodeError> {
        match i16::try_from(length) {
            Ok(_) if flexible => self.compact_length(length, field)?,
            Ok(length) => self.buffer.put_i16(length),
            Err(_) => return Err(self.error(field, EncodeFault::TooLong)),
        }
        Ok(())
    }

    fn length32(&mut self, flexible: bool, length: usize, field: &'static str) -> Result<(), EncodeError> {
        match i32::try_from(length) {
            _ if flexible => self.compact_length(length, field)?,
            Ok(length) => self.buffer.put_i32(length),
            Err(_) => return Err(self.error(field, EncodeFault::TooLong)),
        }
        Ok(())
    }

    fn null16(&mut self, flexible: bool) {
        if flexible { self.buffer.put_u8(0) } else { self.buffer.put_i16(-1) }
    }

    fn null32(&mut self, flexible: bool) {
        if flexible { self.buffer.put_u8(0) } else { self.buffer.put_i32(-1) }
    }

    pub(crate) fn string(&mut self, flexible: bool, value: &str, field: &'static str) -> Result<(), EncodeError> {
        self.length16(flexible, value.len(), field)?;
        self.buffer.put_slice(value.as_bytes());
        Ok(())
    }

    pub(crate) fn string_nullable(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        value: Option<&str>,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.string(flexible, value, field)?,
            None if null_allowed => self.null16(flexible),
            None => return Err(self.error(field, EncodeFault::NullInVersion)),
        }
        Ok(())
    }

    pub(crate) fn bytes(&mut self, flexible: bool, value: &[u8], field: &'static str) -> Result<(), EncodeError> {
        self.length32(flexible, value.len(), field)?;
        self.buffer.put_slice(value);
        Ok(())
    }

    pub(crate) fn bytes_nullable(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        value: Option<&[u8]>,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.bytes(flexible, value, field)?,
            None if null_allowed => self.null32(flexible),
            None => return Err(self.error(field, EncodeFault::NullInVersion)),
        }
        Ok(())
    }

    pub(crate) fn records(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        value: &Records<'_>,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match value {
            Records::Null if null_allowed => self.null32(flexible),
            Records::Null => return Err(self.error(field, EncodeFault::NullInVersion)),
            Records::Inline(bytes) => self.bytes(flexible, bytes, field)?,
            #[cfg(test)]
            Records::At(range) if range.end <= self.source.len() => {
                let bytes = self.source[range.clone()].to_vec();
                self.bytes(flexible, &bytes, field)?;
            }
            Records::At(_) => return Err(self.error(field, EncodeFault::RecordsElsewhere)),
            Records::Hole(bytes) => {
                self.length32(flexible, *bytes, field)?;
                if *bytes > 0 {
                    self.holes.push(Hole { at: self.buffer.len(), bytes: *bytes });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn array<T>(
        &mut self,
        flexible: bool,
        elements: &[T],
        field: &'static str,
        mut element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.length32(flexible, elements.len(), field)?;
        for each in elements {
            element(self, each)?;
        }
        Ok(())
    }

    pub(crate) fn array_nullable<T>(
        &mut self,
        flexible: bool,
        null_allowed: bool,
        elements: Option<&[T]>,
        field: &'static str,
        element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match elements {
            Some(elements) => self.array(flexible, elements, field, element)?,
            None if null_allowed => self.null32(flexible),
            None => return Err(self.error(field, EncodeFault::NullInVersion)),
        }
        Ok(())
    }

    pub(crate) fn struct_nullable<T>(
        &mut self,
        null_allowed: bool,
        value: Option<&T>,
        field: &'static str,
        write: impl FnOnce(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => {
                if null_allowed {
                    self.int8(1);
                }
                write(self, value)
            }
            None if null_allowed => {
                self.int8(-1);
                Ok(())
            }
            None => Err(self.error(field, EncodeFault::NullInVersion)),
        }
    }

    /// The head of the tagged fields: how many follow, `known` of the schema's and all of `unknown`.
    pub(crate) fn tag_count(&mut self, known: u32, unknown: &Tags) {
        self.unsigned_varint(known + unknown.len() as u32);
    }

    /// One tagged field. Its length comes before it, so it is written aside first: tagged fields are rare and small.
    pub(crate) fn tag(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut aside = Self { message: self.message, version: self.version, ..Self::default() };
        write(&mut aside)?;
        self.unsigned_varint(tag);
        self.unsigned_varint(aside.buffer.len() as u32);
        self.buffer.put_slice(&aside.buffer);
        Ok(())
    }

    /// The tagged fields that the schema does not name.
    pub(crate) fn tags_unknown(&mut self, unknown: &Tags) {
        for (tag, value) in unknown.iter() {
            self.unsigned_varint(*tag);
            self.unsigned_varint(value.len() as u32);
            self.buffer.put_slice(value);
        }
    }
}

/// Where a frame began in a [`Writer`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameStart {
    position: usize,
    holes: usize,
}
