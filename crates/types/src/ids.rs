//! Numbers that could be swapped by accident are types. None of them has a `From<integer>`: a value that comes from
//! outside passes `from_wire`, where the protocol's `-1` becomes `None`.

use std::fmt;
use std::sync::Arc;

macro_rules! wire_number {
    ($(#[$doc:meta])* $name:ident: $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($inner);

        impl $name {
            /// The smallest value.
            pub const ZERO: Self = Self(0);

            /// A value of our own making. Panics on a negative number: that is a bug of ours, never input.
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                assert!(value >= 0, "negative where a count is meant");
                Self(value)
            }

            /// A value from the wire or the disk: negative means "none" or "unknown" there.
            #[must_use]
            pub const fn from_wire(value: $inner) -> Option<Self> {
                if value < 0 { None } else { Some(Self(value)) }
            }

            /// The bare number, never negative.
            #[must_use]
            pub const fn value(self) -> $inner {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

wire_number!(
    /// The position of a record in its partition, counted from 0.
    Offset: i64
);
wire_number!(
    /// How often the leadership of a partition has changed hands; stamped into every batch (KIP-101).
    LeaderEpoch: i32
);
wire_number!(
    /// A broker's `node.id`.
    NodeId: i32
);
wire_number!(
    /// The incarnation of a broker as the controller counts it: the offset of its registration record.
    BrokerEpoch: i64
);
wire_number!(
    /// The number of a partition within its topic.
    PartitionIndex: i32
);
wire_number!(
    /// An idempotent producer's id, handed out by the controller, never reused.
    ProducerId: i64
);
wire_number!(
    /// An idempotent producer's incarnation; a lower one is fenced.
    ProducerEpoch: i16
);
wire_number!(
    /// A record's number within (producer id, epoch, partition); wraps from 2^31-1 to 0.
    Sequence: i32
);

impl Offset {
    /// The offset `records` further on. Saturates, as a count from outside must never overflow.
    #[must_use]
    pub const fn plus(self, records: i64) -> Self {
        assert!(records >= 0);
        Self(self.0.saturating_add(records))
    }

    /// How many records lie from `earlier` (inclusive) to `self` (exclusive); 0 if `earlier` is not earlier.
    #[must_use]
    pub const fn records_since(self, earlier: Self) -> i64 {
        if self.0 > earlier.0 { self.0 - earlier.0 } else { 0 }
    }
}

impl LeaderEpoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl ProducerEpoch {
    /// The highest epoch a producer id may reach; after it the producer gets a new id.
    pub const EXHAUSTED: Self = Self(i16::MAX);

    /// The epoch after this one, or `None` when this id is used up.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        if self.0 == i16::MAX { None } else { Some(Self(self.0 + 1)) }
    }
}

impl Sequence {
    /// The sequence `records` further on. `2^31-1` is followed by `0`: `Sequence(i32::MAX).plus(1) == Sequence(0)`.
    #[must_use]
    pub const fn plus(self, records: i32) -> Self {
        assert!(records >= 0);
        let sum = self.0 as i64 + records as i64;
        Self((sum % (i32::MAX as i64 + 1)) as i32)
    }
}

/// The number of a shard within its node, from 0. Never on disk: placement is computed at start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(u16);

impl ShardId {
    /// Shard `index` of the node.
    #[must_use]
    pub const fn new(index: u16) -> Self {
        Self(index)
    }

    /// As an index into a per-shard table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A topic's identity over its whole life (KIP-516): a re-created topic of the same name has another one.
/// Printed as Kafka prints it: 22 characters of URL-safe base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId([u8; 16]);

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl TopicId {
    /// The all-zero id: "no id" on the wire.
    pub const ZERO: Self = Self([0; 16]);
    /// The id of `__cluster_metadata`, fixed by Kafka.
    pub const CLUSTER_METADATA: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// From the 16 bytes of a UUID, most significant first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the UUID, most significant first.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// A version-4 UUID made of 16 random bytes; `random` comes from the caller, so simulated runs repeat. As Kafka's, it
    /// is not printed with a `-` in front, which a command line would take for an option.
    #[must_use]
    pub const fn from_random(mut random: [u8; 16]) -> Self {
        if random[0] >> 2 == 62 {
            random[0] &= 0x7f;
        }
        random[6] = (random[6] & 0x0f) | 0x40;
        random[8] = (random[8] & 0x3f) | 0x80;
        Self(random)
    }

    /// Whether this is the "no id" of the wire.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// Parses the 22-character form that [`fmt::Display`] prints (a trailing `==` is allowed).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix("==").unwrap_or(text).as_bytes();
        if text.len() != 22 {
            return None;
        }
        let mut bytes = [0_u8; 16];
        let (mut accumulator, mut bits, mut filled) = (0_u32, 0_u32, 0_usize);
        for &symbol in text {
            let value = BASE64_URL.iter().position(|&candidate| candidate == symbol)?;
            accumulator = (accumulator << 6) | value as u32;
            bits += 6;
            if bits >= 8 && filled < bytes.len() {
                bits -= 8;
                bytes[filled] = (accumulator >> bits) as u8;
                filled += 1;
                accumulator &= (1 << bits) - 1;
            }
        }
        (accumulator == 0).then_some(Self(bytes))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(22);
        for chunk in self.0.chunks(3) {
            let mut word = 0_u32;
            for index in 0..3 {
                word = (word << 8) | u32::from(chunk.get(index).copied().unwrap_or(0));
            }
            for symbol in 0..=chunk.len() {
                text.push(char::from(BASE64_URL[(word >> (18 - 6 * symbol)) as usize & 63]));
            }
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// A log directory's identity (KIP-858), kept in its `meta.properties`; a directory keeps it when it is mounted elsewhere.
/// Printed as [`TopicId`] is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DirectoryId(TopicId);

impl DirectoryId {
    /// Kafka's word for "no directory chosen yet": the all-zero id.
    pub const UNASSIGNED: Self = Self(TopicId::ZERO);

    /// From the 16 bytes of a UUID, most significant first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(TopicId::from_bytes(bytes))
    }

    /// The 16 bytes of the UUID, most significant first.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0.bytes()
    }

    /// A version-4 UUID made of 16 random bytes of the caller's.
    #[must_use]
    pub const fn from_random(random: [u8; 16]) -> Self {
        Self(TopicId::from_random(random))
    }

    /// Parses the 22-character form that [`fmt::Display`] prints.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        TopicId::parse(text).map(Self)
    }
}

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectoryId({self})")
    }
}

/// A partition by name: the folder `<topic>-<partition>` on disk. Cloning shares the name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition within the topic.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, partition: PartitionIndex) -> Self {
        Self { topic: topic.into(), partition }
    }

    /// Reads a folder name: `orders-eu-3` is partition 3 of `orders-eu`. `None` when it names no partition.
    #[must_use]
    pub fn from_dir_name(name: &str) -> Option<Self> {
        let (topic, partition) = name.rsplit_once('-')?;
        if topic.is_empty() || partition.is_empty() || !partition.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self::new(topic, PartitionIndex::from_wire(partition.parse().ok()?)?))
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_prints_and_parses_as_kafka_does() {
        assert_eq!(TopicId::CLUSTER_METADATA.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let id = TopicId::from_random([0xa7; 16]);
        assert_eq!(TopicId::parse(&id.to_string()), Some(id));
        for first in 0..=u8::MAX {
            let id = TopicId::from_random([first; 16]).to_string();
            assert!(!id.starts_with('-'), "{id}");
        }
        for bad in ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAA!", "AAAAAAAAAAAAAAAAAAAAAB"] {
            assert_eq!(TopicId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sequence_wraps_to_zero() {
        assert_eq!(Sequence::new(i32::MAX).plus(1), Sequence::ZERO);
        assert_eq!(Sequence::new(i32::MAX - 1).plus(3), Sequence::new(1));
    }

    #[test]
    fn folder_names_round_trip() {
        let partition = TopicPartition::new("orders-eu", PartitionIndex::new(3));
        assert_eq!(TopicPartition::from_dir_name(&partition.to_string()), Some(partition));
        for bad in ["orders", "-3", "orders-", "orders-x", "orders-99999999999"] {
            assert_eq!(TopicPartition::from_dir_name(bad), None, "{bad}");
        }
    }
}
