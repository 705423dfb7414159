//! The five codecs of a batch's records. Inflating is bounded in output bytes, whatever the data claims about itself.
//!
//! Snappy comes in two framings. Java writes xerial's, librdkafka and franz-go write one raw block; every client reads
//! both. What we write ourselves is xerial's.
//! ```text
//! xerial: | 82 "SNAPPY" 00 (8B) | version 1 (4B) | compatible 1 (4B) | per block: | length (4B) | raw snappy block |
//! raw:    | uncompressed length (varint) | elements... |
//! ```
//! LZ4 frames are written and taken with independent blocks only, as Java's consumer reads no others.

use std::fmt;
use std::io::{Read, Write};

use bytes::BytesMut;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use types::limits::BATCH_HEADER_BYTES;

use crate::header::{AT_ATTRIBUTES, AT_LENGTH, BatchError, BatchView, put, stamp_crc};

/// How the records of a batch are compressed (attributes, bits 0 to 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[expect(missing_docs, reason = "the names are the codecs' own")]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// Every codec, by number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec of this number; `None` for 5 to 7, which Kafka has not given out.
    #[must_use]
    pub const fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// As `compression.type` names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of a `compression.type` value (`uncompressed` is `None`); `None` for other words, `producer` included.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "uncompressed" {
            return Some(Self::None);
        }
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;
/// What snappy-java puts into one block.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// An element of a raw snappy block turns 2 bytes into 64 at best.
const SNAPPY_RATIO_MAX: usize = 64;
/// Bit 5 of an LZ4 frame's FLG byte, which follows the magic number.
const LZ4_BLOCKS_INDEPENDENT: u8 = 1 << 5;

/// Inflates `data` into at most `bytes_max` bytes. For [`Codec::None`] it is a bounded copy.
///
/// # Errors
/// Data that does not inflate, or inflates beyond the bound.
pub fn inflate(codec: Codec, data: &[u8], bytes_max: usize) -> Result<Vec<u8>, BatchError> {
    let (inflated, complete) = inflate_some(codec, data, bytes_max)?;
    if complete { Ok(inflated) } else { Err(BatchError::InflateTooLarge { codec, bytes_max }) }
}

/// Inflates the first `bytes_wanted` bytes (or all, if fewer) of `data`; the flag says whether that was all.
///
/// # Errors
/// Data that does not inflate so far.
pub fn inflate_some(codec: Codec, data: &[u8], bytes_wanted: usize) -> Result<(Vec<u8>, bool), BatchError> {
    match codec {
        Codec::None => {
            let end = bytes_wanted.min(data.len());
            Ok((data[..end].to_vec(), end == data.len()))
        }
        Codec::Gzip => read_some(codec, flate2::bufread::MultiGzDecoder::new(data), data.len(), bytes_wanted),
        Codec::Snappy => inflate_snappy(data, bytes_wanted),
        Codec::Lz4 => {
            if data.get(4).is_some_and(|flags| flags & LZ4_BLOCKS_INDEPENDENT == 0) {
                return Err(broken(codec, "blocks depend on each other, which Kafka's clients do not read"));
            }
            read_some(codec, FrameDecoder::new(data), data.len(), bytes_wanted)
        }
        Codec::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(|error| broken(codec, error))?;
            read_some(codec, decoder, data.len(), bytes_wanted)
        }
    }
}

fn broken(codec: Codec, reason: impl fmt::Display) -> BatchError {
    BatchError::Inflate { codec, reason: reason.to_string() }
}

/// Reads one byte more than wanted, to know whether that was all.
fn read_some(
    codec: Codec,
    reader: impl Read,
    input_bytes: usize,
    bytes_wanted: usize,
) -> Result<(Vec<u8>, bool), BatchError> {
    let limit = bytes_wanted.saturating_add(1);
    let mut inflated = Vec::with_capacity(input_bytes.saturating_mul(2).min(limit));
    reader.take(limit as u64).read_to_end(&mut inflated).map_err(|error| broken(codec, error))?;
    let complete = inflated.len() <= bytes_wanted;
    inflated.truncate(bytes_wanted);
    Ok((inflated, complete))
}

/// Whole blocks only, so it may give more than is wanted: up to one block more of xerial, and all of a raw block, which
/// is refused when that is beyond the wanted bytes by its own preamble.
fn inflate_snappy(data: &[u8], bytes_wanted: usize) -> Result<(Vec<u8>, bool), BatchError> {
    let mut inflated = Vec::new();
    if !data.starts_with(&XERIAL_MAGIC) {
        let complete = inflate_snappy_block(data, &mut inflated, bytes_wanted)?;
        return Ok((inflated, complete));
    }
    let mut rest =
        data.get(XERIAL_HEADER_BYTES..).ok_or_else(|| broken(Codec::Snappy, "xerial header is cut short"))?;
    while !rest.is_empty() {
        let (length, blocks) =
            rest.split_first_chunk::<4>().ok_or_else(|| broken(Codec::Snappy, "xerial block length is cut short"))?;
        let length = u32::from_be_bytes(*length) as usize;
        if blocks.len() < length {
            return Err(broken(Codec::Snappy, "xerial block is longer than the bytes that remain"));
        }
        let (block, after) = blocks.split_at(length);
        if !inflate_snappy_block(block, &mut inflated, bytes_wanted)? {
            return Ok((inflated, false));
        }
        rest = after;
    }
    Ok((inflated, true))
}

/// `false`, and nothing appended, when the block would lead beyond `bytes_wanted` in all.
fn inflate_snappy_block(block: &[u8], inflated: &mut Vec<u8>, bytes_wanted: usize) -> Result<bool, BatchError> {
    let bytes = snap::raw::decompress_len(block).map_err(|error| broken(Codec::Snappy, error))?;
    if block.len().saturating_mul(SNAPPY_RATIO_MAX) < bytes {
        return Err(broken(Codec::Snappy, "block claims more bytes than it can hold"));
    }
    let start = inflated.len();
    if bytes_wanted < start.saturating_add(bytes) {
        return Ok(false);
    }
    inflated.resize(start + bytes, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut inflated[start..])
        .map_err(|error| broken(Codec::Snappy, error))?;
    inflated.truncate(start + written);
    Ok(true)
}

/// Compresses `data`, appending to `out`. `level` is the codec's own scale, clamped to it; `None` is Kafka's default
/// (gzip 6, zstd 3). Snappy has no levels, and LZ4 is always written at its fast level.
///
/// # Errors
/// What the codec's library says; none is expected when writing to memory.
pub fn compress(codec: Codec, level: Option<i32>, data: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let fail = |error: std::io::Error| broken(codec, error);
    match codec {
        Codec::None => out.extend_from_slice(data),
        Codec::Gzip => {
            let level = level.map_or_else(flate2::Compression::default, |level| {
                flate2::Compression::new(level.clamp(1, 9).unsigned_abs())
            });
            let mut encoder = flate2::write::GzEncoder::new(out, level);
            encoder.write_all(data).map_err(fail)?;
            encoder.finish().map_err(fail)?;
        }
        Codec::Snappy => {
            out.extend_from_slice(&XERIAL_MAGIC);
            out.extend_from_slice(&1_i32.to_be_bytes());
            out.extend_from_slice(&1_i32.to_be_bytes());
            let mut encoder = snap::raw::Encoder::new();
            for block in data.chunks(XERIAL_BLOCK_BYTES) {
                let block = encoder.compress_vec(block).map_err(|error| broken(codec, error))?;
                out.extend_from_slice(&(block.len() as u32).to_be_bytes());
                out.extend_from_slice(&block);
            }
        }
        Codec::Lz4 => {
            let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
            let mut encoder = FrameEncoder::with_frame_info(frame, out);
            encoder.write_all(data).map_err(fail)?;
            encoder.finish().map_err(|error| broken(codec, error))?;
        }
        Codec::Zstd => {
            let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
            let range = zstd::compression_level_range();
            let level = level.clamp(*range.start(), *range.end());
            zstd::stream::copy_encode(data, &mut *out, level).map_err(fail)?;
        }
    }
    Ok(())
}

/// Gives a batch another codec: same header but for length, codec bits and CRC; same records, offsets and timestamps.
/// What a topic's `compression.type` other than `producer` asks for. `inflated_bytes_max` bounds what is held in between.
///
/// # Errors
/// A header that makes no sense; records that do not inflate within the bound; a result beyond 2 GiB.
pub fn recompress(
    batch: &[u8],
    codec: Codec,
    level: Option<i32>,
    inflated_bytes_max: usize,
) -> Result<BytesMut, BatchError> {
    let view = BatchView::parse(batch)?;
    let attributes = view.attributes();
    let mut out = Vec::with_capacity(view.size_bytes());
    out.extend_from_slice(&view.bytes()[..BATCH_HEADER_BYTES]);
    match attributes.codec {
        Codec::None => compress(codec, level, view.payload(), &mut out)?,
        from => compress(codec, level, &inflate(from, view.payload(), inflated_bytes_max)?, &mut out)?,
    }
    put(&mut out, AT_ATTRIBUTES, crate::Attributes { codec, ..attributes }.bits().to_be_bytes());
    finish(&mut out)?;
    Ok(BytesMut::from(&out[..]))
}

/// Writes the length field and the CRC of a batch whose other bytes are in place.
pub(crate) fn finish(batch: &mut [u8]) -> Result<(), BatchError> {
    let length = i32::try_from(batch.len() - types::limits::BATCH_OVERHEAD_BYTES)
        .map_err(|_| BatchError::Length { length: i32::MAX })?;
    put(batch, AT_LENGTH, length.to_be_bytes());
    stamp_crc(batch);
    Ok(())
}
