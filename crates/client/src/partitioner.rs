//! Which partition a record goes to when its sender does not say: the rules of the clients people come from, so that
//! keys stay where they were.

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// The Java client's: murmur2 of the key; without a key one partition until its batch is sent (KIP-794's idea).
    #[default]
    Murmur2,
    /// librdkafka's `consistent_random`, its default: CRC-32 of the key; an empty or missing key goes anywhere.
    Crc32,
    /// librdkafka's `consistent`: as the one before, but an empty or missing key has its place too.
    Crc32Always,
    /// One after another, keys ignored.
    RoundRobin,
    /// One partition until its batch is sent, then another; keys ignored.
    Sticky,
    /// Always this one.
    Fixed(i32),
}

/// Where a record without a rule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This partition.
    Partition(i32),
    /// The partition that is filled at present.
    Sticky,
    /// The next in turn.
    Next,
}

impl Partitioner {
    /// Where a record with `key` goes among `partitions` of them.
    ///
    /// # Panics
    /// There are none.
    #[must_use]
    pub fn choose(self, key: Option<&[u8]>, partitions: i32) -> Choice {
        assert!(0 < partitions);
        match (self, key) {
            (Self::Fixed(partition), _) => Choice::Partition(partition),
            (Self::RoundRobin, _) => Choice::Next,
            (Self::Murmur2, Some(key)) => Choice::Partition(murmur2_partition(key, partitions)),
            (Self::Crc32, Some(key)) if !key.is_empty() => Choice::Partition(crc32_partition(key, partitions)),
            (Self::Crc32Always, key) => Choice::Partition(crc32_partition(key.unwrap_or_default(), partitions)),
            (Self::Sticky | Self::Murmur2 | Self::Crc32, _) => Choice::Sticky,
        }
    }

    /// By the name users know: `murmur2` (or `default`, `murmur2_random`), `crc32` (or `consistent_random`),
    /// `consistent`, `round_robin`, `sticky`, or a number.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "murmur2" | "murmur2_random" | "default" => Self::Murmur2,
            "crc32" | "consistent_random" => Self::Crc32,
            "consistent" => Self::Crc32Always,
            "round_robin" | "roundrobin" | "round-robin" => Self::RoundRobin,
            "sticky" => Self::Sticky,
            number => Self::Fixed(number.parse().ok().filter(|partition| 0 <= *partition)?),
        })
    }
}

/// The Java client's choice for a key.
#[must_use]
pub fn murmur2_partition(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) as i32 & i32::MAX) % partitions
}

/// librdkafka's choice for a key.
#[must_use]
pub fn crc32_partition(key: &[u8], partitions: i32) -> i32 {
    (crc32(key) % partitions as u32) as i32
}

/// MurmurHash2, 32 bits, with the seed that the Java client has always used (Austin Appleby's public domain algorithm).
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SHIFT: u32 = 24;
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    for (index, &byte) in tail.iter().enumerate() {
        hash ^= u32::from(byte) << (8 * index);
    }
    if !tail.is_empty() {
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// CRC-32 as zlib computes it (polynomial 0xedb88320, reflected). Keys are short: bit by bit is fast enough.
#[must_use]
pub fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |mut crc, &byte| {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_gives_what_the_java_client_gives() {
        // From org.apache.kafka.common.utils.Utils.murmur2 of kafka-clients 4.3.1.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn crc32_gives_zlibs_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32_partition(b"123456789", 7), (0xcbf4_3926_u32 % 7) as i32);
    }

    /// The keys of the golden lists; the same bytes as in partitions.py and Partitions.java of tests/conformance.
    fn golden_key(index: u32) -> Vec<u8> {
        let mut state = index.wrapping_mul(2_654_435_761);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..=index % 41).map(|_| next()).collect()
    }

    /// The lists were written by the clients themselves: kafka-clients 4.3.1, and confluent-kafka's librdkafka.
    /// tests/conformance/partitions.rs asks them again, where they are installed.
    #[test]
    fn ten_thousand_keys_go_where_the_java_client_and_librdkafka_put_them() {
        for (partitioner, partitions, golden) in [
            (Partitioner::Murmur2, 3, include_str!("../testdata/partitions/murmur2-3.txt")),
            (Partitioner::Murmur2, 12, include_str!("../testdata/partitions/murmur2-12.txt")),
            (Partitioner::Murmur2, 35, include_str!("../testdata/partitions/murmur2-35.txt")),
            (Partitioner::Crc32, 3, include_str!("../testdata/partitions/crc32-3.txt")),
            (Partitioner::Crc32, 12, include_str!("../testdata/partitions/crc32-12.txt")),
            (Partitioner::Crc32, 35, include_str!("../testdata/partitions/crc32-35.txt")),
        ] {
            let golden: Vec<char> = golden.chars().filter(|char| !char.is_whitespace()).collect();
            assert_eq!(golden.len(), 10_000);
            for (index, digit) in golden.iter().enumerate() {
                let expected = Choice::Partition(digit.to_digit(36).expect("a digit in base 36") as i32);
                let choice = partitioner.choose(Some(&golden_key(index as u32)), partitions);
                assert_eq!(choice, expected, "key {index} of {partitions} partitions by {partitioner:?}");
            }
        }
    }

    #[test]
    fn a_keyless_record_sticks_and_a_keyed_one_has_its_place() {
        assert_eq!(Partitioner::Murmur2.choose(None, 3), Choice::Sticky);
        assert_eq!(
            Partitioner::Murmur2.choose(Some(b"foobar"), 3),
            Choice::Partition((-790_332_482_i32 & i32::MAX) % 3)
        );
        assert_eq!(Partitioner::Crc32.choose(Some(b""), 3), Choice::Sticky);
        assert_eq!(Partitioner::Crc32Always.choose(None, 3), Choice::Partition(0));
        assert_eq!(Partitioner::RoundRobin.choose(Some(b"k"), 3), Choice::Next);
        assert_eq!(Partitioner::Fixed(2).choose(Some(b"k"), 3), Choice::Partition(2));
        assert_eq!(Partitioner::from_name("4"), Some(Partitioner::Fixed(4)));
        assert_eq!(Partitioner::from_name("-4"), None);
    }
}
