//! `ringlog.checkpoint`: what a log knows of itself at its recovery point. Written whole to a temporary file, fsynced,
//! renamed; so it is there as it was or as it is, and one file holds facts that must agree.
//!
//! ```text
//! | "RLCP" (4B) | version (4B) | payload bytes (4B) | CRC-32C of payload (4B) | payload: rkyv archive |      little-endian
//! ```
//! It is written only after everything below `recovery_point` has been fsynced, and before anything that it no longer
//! lists is deleted. A reader that finds it cut, changed or of another version goes on without it (see `recovery`).

use bytes::{BufMut, Bytes, BytesMut};
use rkyv::rancor;
use rkyv::util::AlignedVec;

const MAGIC: &[u8; 4] = b"RLCP";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;

/// A segment's facts. Times and offsets as plain numbers: this is the disk's form.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct SegmentFacts {
    pub base_offset: i64,
    /// Bytes of `.log` up to the recovery point.
    pub bytes: u64,
    /// The offset after the last batch in them.
    pub next_offset: i64,
    /// The first batch's max timestamp.
    pub first_timestamp: Option<i64>,
    /// The largest timestamp, and the last offset of the batch that has it.
    pub largest: Option<(i64, i64)>,
    pub offset_entries: u32,
    pub time_entries: u32,
    /// Bytes of log since the last index entry.
    pub bytes_since_entry: u32,
    /// When the segment was rolled or, after compaction, cleaned; wall milliseconds.
    pub created_ms: i64,
}

#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct BatchFacts {
    pub base_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: i64,
    pub last_offset: i64,
    pub log_append_time: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct ProducerFacts {
    pub id: i64,
    pub epoch: i16,
    pub last_write_ms: i64,
    pub batches: Vec<BatchFacts>,
}

/// The whole checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub(crate) struct Checkpoint {
    /// Written by a close: nothing was in flight and nothing follows, unless the log was opened again.
    pub clean: bool,
    pub log_start: i64,
    /// Everything below has been fsynced.
    pub recovery_point: i64,
    /// Everything below has been compacted.
    pub clean_offset: i64,
    /// Every segment, oldest first; the last one holds the recovery point.
    pub segments: Vec<SegmentFacts>,
    pub epochs: Vec<(i32, i64)>,
    /// Producer state exactly at the recovery point.
    pub producers: Vec<ProducerFacts>,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Bytes {
        // Serialising plain numbers and vectors into memory fails only when memory does.
        let payload = rkyv::to_bytes::<rancor::Error>(self).unwrap_or_else(|_| AlignedVec::new());
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + payload.len());
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(VERSION);
        bytes.put_u32_le(payload.len() as u32);
        bytes.put_u32_le(batch::crc32c(&payload));
        bytes.put_slice(&payload);
        bytes.freeze()
    }

    /// Reads one. The error is the reason for going on without it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(word)
        };
        if bytes.len() < HEADER_BYTES {
            return Err("shorter than its header");
        }
        if !bytes.starts_with(MAGIC) {
            return Err("not a checkpoint");
        }
        if word(4) != VERSION {
            return Err("of an unknown version");
        }
        let payload = &bytes[HEADER_BYTES..];
        if payload.len() != word(8) as usize {
            return Err("not of the length it says");
        }
        if batch::crc32c(payload) != word(12) {
            return Err("its checksum does not match");
        }
        let mut aligned = AlignedVec::<16>::with_capacity(payload.len());
        aligned.extend_from_slice(payload);
        let checkpoint: Self =
            rkyv::from_bytes::<Self, rancor::Error>(&aligned).map_err(|_| "its archive is not valid")?;
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// What must hold among its facts.
    fn check(&self) -> Result<(), &'static str> {
        if self.log_start < 0 || self.recovery_point < self.log_start || self.clean_offset < 0 {
            return Err("its offsets contradict each other");
        }
        let mut next = 0;
        for segment in &self.segments {
            if segment.base_offset < next || segment.next_offset < segment.base_offset {
                return Err("its segments overlap");
            }
            next = segment.next_offset.max(segment.base_offset);
        }
        if !self.segments.is_empty() && next != self.recovery_point {
            return Err("its segments do not end at the recovery point");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            clean: true,
            log_start: 3,
            recovery_point: 20,
            clean_offset: 0,
            segments: vec![SegmentFacts {
                base_offset: 0,
                bytes: 4000,
                next_offset: 20,
                first_timestamp: Some(-5),
                largest: Some((7, 19)),
                offset_entries: 1,
                time_entries: 1,
                bytes_since_entry: 12,
                created_ms: 1,
            }],
            epochs: vec![(0, 0), (2, 10)],
            producers: vec![ProducerFacts {
                id: 9,
                epoch: 1,
                last_write_ms: 5,
                batches: vec![BatchFacts {
                    base_sequence: 0,
                    last_sequence: 4,
                    base_offset: 15,
                    last_offset: 19,
                    log_append_time: None,
                }],
            }],
        }
    }

    #[test]
    fn reads_back_what_was_written() {
        let checkpoint = checkpoint();
        assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let bytes = checkpoint().encode();
        for cut in 0..bytes.len() {
            assert!(Checkpoint::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
