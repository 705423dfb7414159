//! Batches encoded ahead. A batch of n messages is the front of a batch that was encoded once, full; what differs from
//! one sending to the next (stamps, keys, timestamp, producer, CRC) is patched in place.
//!
//! All records of a batch have its base timestamp. Sizes and contents are drawn when the full batch is encoded, one kind
//! of full batch (a *variant*) after the other, so that contents repeat after [`VARIANTS_BYTES_MAX`] at the earliest or
//! 64 variants, whichever is less.

use std::collections::VecDeque;

use batch::{BatchBuilder, Codec, keep_front, restamp};
use bytes::Bytes;
use types::Timestamp;
use types::limits::{BATCH_HEADER_BYTES, INFLATED_BATCH_BYTES_MAX, LOAD_BATCH_BYTES_MAX};

use crate::stamp::{Stamp, body_checksum};
use crate::workload::{Keys, Messages, Payload, Workload};

/// Bytes of a key: eight hexadecimal digits.
pub(crate) const KEY_BYTES: usize = 8;
/// Bytes of all variants together, unless four need more.
const VARIANTS_BYTES_MAX: usize = 4 << 20;
const VARIANTS_MIN: usize = 4;
const VARIANTS_MAX: usize = 64;
/// The filler of values that are to compress.
const FILLER: u8 = b'r';

/// One full batch and where things are in it.
struct Variant {
    bytes: Vec<u8>,
    records: Vec<Place>,
}

/// Where one record's parts are.
struct Place {
    /// Of the value's first byte.
    value_at: u32,
    value_bytes: u32,
    /// Where the record ends.
    end: u32,
    body_checksum: u32,
}

/// The batches of a workload, encoded ahead.
pub(crate) struct Templates {
    variants: Vec<Variant>,
    keyed: bool,
    codec: Codec,
}

/// What goes into the records of one batch.
pub(crate) struct Patch<'a> {
    pub(crate) run: u32,
    pub(crate) producer: u32,
    /// Sequence of the first message.
    pub(crate) sequence: u64,
    /// When each was due.
    pub(crate) dues_ns: &'a [u64],
    /// The key of each; empty without keys.
    pub(crate) keys: &'a [u32],
    pub(crate) timestamp: Timestamp,
    /// The broker's name of an idempotent producer, and the place of the first record in its sequence.
    pub(crate) identity: Option<batch::Producer>,
}

pub(crate) fn key_of(number: u32) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    for (place, byte) in key.iter_mut().enumerate() {
        let digit = (number >> (4 * (KEY_BYTES - 1 - place))) & 0xf;
        *byte = b"0123456789abcdef"[digit as usize];
    }
    key
}

impl Templates {
    pub(crate) fn new(workload: &Workload) -> Self {
        let mut rng = fastrand::Rng::with_seed(workload.seed);
        let full_bytes = workload.producers.batch_bytes as usize;
        let count = (VARIANTS_BYTES_MAX / full_bytes.max(1)).clamp(VARIANTS_MIN, VARIANTS_MAX);
        let keyed = workload.messages.keys != Keys::None;
        let mut file_at = 0;
        let variants =
            (0..count).map(|_| Variant::new(&workload.messages, keyed, full_bytes, &mut rng, &mut file_at)).collect();
        Self { variants, keyed, codec: workload.producers.compression }
    }

    pub(crate) fn variants(&self) -> usize {
        self.variants.len()
    }

    /// How many messages fill a batch.
    pub(crate) fn records_max(&self, variant: usize) -> usize {
        self.variants[variant].records.len()
    }

    /// Bytes of a value.
    pub(crate) fn value_bytes(&self, variant: usize, record: usize) -> u64 {
        u64::from(self.variants[variant].records[record].value_bytes)
    }

    /// Bytes of a batch of so many messages, uncompressed.
    pub(crate) fn batch_bytes(&self, variant: usize, records: usize) -> usize {
        self.variants[variant].records[records - 1].end as usize
    }
}

impl Variant {
    fn new(messages: &Messages, keyed: bool, full_bytes: usize, rng: &mut fastrand::Rng, file_at: &mut usize) -> Self {
        let mut builder = BatchBuilder::new(Codec::None);
        let mut records = Vec::new();
        let key = keyed.then(|| key_of(0));
        loop {
            let size = rng.u32(messages.size_bytes.clone()) as usize;
            // As Kafka: a message that is larger than a batch goes alone.
            let before = builder.size_bytes();
            if !records.is_empty() && full_bytes < before + record_bytes_max(size) {
                break;
            }
            let value = value_of(&messages.payload, size, rng, file_at);
            builder.append(Timestamp::from_millis(0), key.as_ref().map(|key| &key[..]), Some(&value), &[]);
            let end = builder.size_bytes();
            assert!(end <= LOAD_BATCH_BYTES_MAX as usize + BATCH_HEADER_BYTES + record_bytes_max(0));
            // Behind the value is one byte, the count of headers.
            let value_at = (end - 1 - size) as u32;
            let (value_bytes, end) = (size as u32, end as u32);
            records.push(Place { value_at, value_bytes, end, body_checksum: body_checksum(&value) });
        }
        Self { bytes: builder.build_unstamped().to_vec(), records }
    }
}

/// Bytes of a record with a value of this size, at most: lengths, deltas, a key and the count of headers around it.
fn record_bytes_max(value_bytes: usize) -> usize {
    value_bytes + 24 + KEY_BYTES
}

fn value_of(payload: &Payload, size: usize, rng: &mut fastrand::Rng, file_at: &mut usize) -> Vec<u8> {
    let mut value = vec![FILLER; size];
    match payload {
        Payload::Random { ratio } => {
            let random = (size as f64 * ratio).round() as usize;
            rng.fill(&mut value[..random.min(size)]);
        }
        Payload::File { bytes, .. } => {
            for byte in &mut value {
                *byte = bytes[*file_at];
                *file_at = (*file_at + 1) % bytes.len();
            }
        }
    }
    value
}

/// A batch ready to be sent.
pub(crate) enum Sealed {
    /// The front of a buffer that goes back to its pool.
    Front { buffer: Buffer, bytes: usize },
    /// Compressed, on its own.
    Compressed(Bytes),
}

impl Sealed {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Front { buffer, bytes } => &buffer.bytes[..*bytes],
            Self::Compressed(bytes) => bytes,
        }
    }
}

/// A copy of a variant, to be patched.
pub(crate) struct Buffer {
    variant: usize,
    bytes: Vec<u8>,
}

/// Buffers not in use, by variant.
pub(crate) struct Pool {
    free: Vec<VecDeque<Buffer>>,
}

impl Pool {
    pub(crate) fn new(templates: &Templates) -> Self {
        Self { free: (0..templates.variants()).map(|_| VecDeque::new()).collect() }
    }

    /// Takes back what a sealed batch used.
    pub(crate) fn put(&mut self, sealed: Sealed) {
        if let Sealed::Front { buffer, .. } = sealed {
            self.free[buffer.variant].push_back(buffer);
        }
    }

    /// Makes a batch of `patch.dues_ns.len()` messages.
    pub(crate) fn seal(&mut self, templates: &Templates, variant: usize, patch: &Patch<'_>) -> Sealed {
        let full = &templates.variants[variant];
        let buffer = self.free[variant].pop_front();
        let mut buffer = buffer.unwrap_or_else(|| Buffer { variant, bytes: full.bytes.clone() });
        let records = patch.dues_ns.len();
        for (index, due_ns) in patch.dues_ns.iter().enumerate() {
            let place = &full.records[index];
            let value_at = place.value_at as usize;
            if templates.keyed {
                let key_at = value_at - length_bytes(place.value_bytes) - KEY_BYTES;
                buffer.bytes[key_at..key_at + KEY_BYTES].copy_from_slice(&key_of(patch.keys[index]));
            }
            let stamp = Stamp {
                run: patch.run,
                producer: patch.producer,
                sequence: patch.sequence + index as u64,
                due_ns: *due_ns,
            };
            stamp.write(&mut buffer.bytes[value_at..], place.body_checksum);
        }
        let bytes = templates.batch_bytes(variant, records);
        let front = &mut buffer.bytes[..bytes];
        keep_front(front, records as i32);
        restamp(front, patch.timestamp, patch.identity);
        if templates.codec == Codec::None {
            return Sealed::Front { buffer, bytes };
        }
        let compressed = batch::recompress(front, templates.codec, None, INFLATED_BATCH_BYTES_MAX);
        let compressed = compressed.expect("a batch of our own making compresses").freeze();
        self.free[variant].push_back(buffer);
        Sealed::Compressed(compressed)
    }
}

/// Bytes of a length in front of a value.
fn length_bytes(value_bytes: u32) -> usize {
    batch::varint::len_i32(value_bytes as i32)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use batch::{Inflated, check};
    use types::{ProducerEpoch, ProducerId, Sequence};

    use super::*;

    fn workload(text: &str) -> Workload {
        Workload::parse(&format!("name = \"t\"\n[load]\nrate = 1\n{text}"), Path::new(".")).expect("right")
    }

    #[test]
    fn every_front_of_every_variant_is_a_whole_batch() {
        for text in [
            "[messages]\nsize_bytes = 100",
            "[messages]\nsize_bytes_min = 28\nsize_bytes_max = 900\nkeys = \"random\"",
            "[messages]\nsize_bytes = 200\nkeys = \"random\"\nrandom_ratio = 0.2\n[producers]\ncompression = \"zstd\"",
            "[messages]\nsize_bytes = 70000",
        ] {
            let workload = workload(text);
            let templates = Templates::new(&workload);
            let mut pool = Pool::new(&templates);
            for variant in 0..templates.variants().min(3) {
                let max = templates.records_max(variant);
                for records in [1, 2, max / 2, max].into_iter().filter(|records| (1..=max).contains(records)) {
                    let dues: Vec<u64> = (0..records as u64).map(|i| 1_000_000 + i).collect();
                    let keys: Vec<u32> = (0..records as u32).map(|i| i * 7).collect();
                    let identity = batch::Producer {
                        id: ProducerId::new(9),
                        epoch: ProducerEpoch::ZERO,
                        base_sequence: Some(Sequence::new(5)),
                    };
                    let patch = Patch {
                        run: 1,
                        producer: 2,
                        sequence: 40,
                        dues_ns: &dues,
                        keys: &keys,
                        timestamp: Timestamp::from_millis(1_700_000_000_000),
                        identity: Some(identity),
                    };
                    let sealed = pool.seal(&templates, variant, &patch);
                    let view = check(sealed.bytes()).expect("a batch");
                    assert_eq!(view.size_bytes(), sealed.bytes().len());
                    assert_eq!(view.producer().and_then(|producer| producer.base_sequence), Some(Sequence::new(5)));
                    let inflated = Inflated::new(&view, 1 << 20).expect("inflates");
                    let found: Vec<_> = inflated.records().map(|record| record.expect("a record")).collect();
                    assert_eq!(found.len(), records);
                    for (index, record) in found.iter().enumerate() {
                        let stamp = Stamp::read(record.value.expect("a value")).expect("as written");
                        assert_eq!((stamp.sequence, stamp.due_ns), (40 + index as u64, dues[index]));
                        assert_eq!(record.timestamp.millis(), 1_700_000_000_000);
                        let key = (workload.messages.keys != Keys::None).then(|| key_of(keys[index]));
                        assert_eq!(record.key, key.as_ref().map(|key| &key[..]));
                    }
                    assert_eq!(view.max_timestamp().millis(), 1_700_000_000_000);
                    pool.put(sealed);
                }
            }
        }
    }

    #[test]
    fn a_full_batch_is_as_large_as_asked_for_and_no_larger() {
        let templates = Templates::new(&workload("[messages]\nsize_bytes = 100"));
        for variant in 0..templates.variants() {
            let bytes = templates.batch_bytes(variant, templates.records_max(variant));
            assert!((16_384 - 140..=16_384).contains(&bytes), "{bytes}");
        }
    }
}
