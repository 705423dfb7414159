//! What every message carries at the front of its value, so that a run can check itself.
//!
//! ```text
//! | run (4B) | producer (4B) | sequence (8B) | due (8B) | checksum (4B) | the rest of the value ...
//! ```
//! *Sequence* counts the producer's messages to this partition from 0, without a gap. *Due* is the moment at which the
//! message was to be sent, in nanoseconds of the monotonic clock. *Checksum* is the CRC-32C of the 24 bytes before it,
//! exclusive or that of the rest of the value: the rest never changes, so its part is computed once.

/// Bytes of the stamp, which no value may be shorter than.
pub const STAMP_BYTES: usize = 28;

const AT_CHECKSUM: usize = STAMP_BYTES - 4;

/// A message's stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Tells the messages of one run from those of another.
    pub run: u32,
    /// Who sent it.
    pub producer: u32,
    /// The how-manieth message of the producer to its partition it is.
    pub sequence: u64,
    /// When it was due, in nanoseconds of the monotonic clock.
    pub due_ns: u64,
}

/// The checksum's part of what follows the stamp.
#[must_use]
pub fn body_checksum(value: &[u8]) -> u32 {
    batch::crc32c(&value[STAMP_BYTES..])
}

impl Stamp {
    /// Writes it to the front of `value`, whose [`body_checksum`] is given.
    ///
    /// # Panics
    /// If the value is shorter than a stamp: workloads are checked for that.
    pub fn write(&self, value: &mut [u8], body_checksum: u32) {
        value[..4].copy_from_slice(&self.run.to_be_bytes());
        value[4..8].copy_from_slice(&self.producer.to_be_bytes());
        value[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        value[16..24].copy_from_slice(&self.due_ns.to_be_bytes());
        let checksum = batch::crc32c(&value[..AT_CHECKSUM]) ^ body_checksum;
        value[AT_CHECKSUM..STAMP_BYTES].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Reads it off the front of `value`; `None` when the value is too short or its checksum is another.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        let (stamp, body) = value.split_at_checked(STAMP_BYTES)?;
        let (checked, checksum) = stamp.split_at(AT_CHECKSUM);
        if (batch::crc32c(checked) ^ batch::crc32c(body)).to_be_bytes() != checksum {
            return None;
        }
        let long = |at: usize| u64::from_be_bytes(checked[at..at + 8].try_into().expect("8 bytes"));
        let short = |at: usize| u32::from_be_bytes(checked[at..at + 4].try_into().expect("4 bytes"));
        Some(Self { run: short(0), producer: short(4), sequence: long(8), due_ns: long(16) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back_and_any_flipped_bit_is_seen() {
        let stamp = Stamp { run: 7, producer: 3, sequence: 1 << 40, due_ns: 123_456_789_012 };
        let mut value = vec![b'x'; 60];
        stamp.write(&mut value, body_checksum(&[b'x'; 60]));
        assert_eq!(Stamp::read(&value), Some(stamp));
        for bit in 0..value.len() * 8 {
            value[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Stamp::read(&value), None, "bit {bit}");
            value[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(Stamp::read(&value[..59]), None);
        assert_eq!(Stamp::read(&value[..STAMP_BYTES - 1]), None);
    }
}
