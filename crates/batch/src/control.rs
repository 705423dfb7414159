//! Control batches: one record that says something about the log instead of holding data.
//!
//! ```text
//! key:   | version (2B) = 0 | type (2B) |       0 abort, 1 commit, 2 leader change, 3 snapshot header, 4 snapshot footer,
//!                                               5 kraft version, 6 kraft voters
//! value of 0 and 1: | version (2B) = 0 | coordinator epoch (4B) |
//! value of 2 to 6:  Kafka's message of that name, without a version prefix (it starts with its own version field)
//! ```

use bytes::Bytes;
use types::{LeaderEpoch, NodeId, Offset, Timestamp};

use crate::builder::BatchBuilder;
use crate::codec::Codec;
use crate::header::{BatchError, BatchView, Producer};

/// What a control record is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlType {
    /// The producer's open transaction is aborted.
    Abort,
    /// The producer's open transaction is committed.
    Commit,
    /// A new leader of the metadata quorum begins here.
    LeaderChange,
    /// First record of a snapshot.
    SnapshotHeader,
    /// Last record of a snapshot.
    SnapshotFooter,
    /// The quorum's protocol version (KIP-853).
    KraftVersion,
    /// The quorum's voters (KIP-853).
    KraftVoters,
}

impl ControlType {
    const fn from_id(id: i16) -> Option<Self> {
        match id {
            0 => Some(Self::Abort),
            1 => Some(Self::Commit),
            2 => Some(Self::LeaderChange),
            3 => Some(Self::SnapshotHeader),
            4 => Some(Self::SnapshotFooter),
            5 => Some(Self::KraftVersion),
            6 => Some(Self::KraftVoters),
            _ => None,
        }
    }

    const fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::LeaderChange => 2,
            Self::SnapshotHeader => 3,
            Self::SnapshotFooter => 4,
            Self::KraftVersion => 5,
            Self::KraftVoters => 6,
        }
    }

    /// The record key that names it.
    #[must_use]
    pub const fn key(self) -> [u8; 4] {
        let id = self.id().to_be_bytes();
        [0, 0, id[0], id[1]]
    }

    /// Reads a record key; `None` for a type of a later Kafka, which readers skip.
    ///
    /// # Errors
    /// A key that is no control key.
    pub fn from_key(key: &[u8]) -> Result<Option<Self>, BatchError> {
        let [v0, v1, id0, id1, ..] = *key else { return Err(BatchError::Control("its key is shorter than 4 bytes")) };
        if i16::from_be_bytes([v0, v1]) < 0 {
            return Err(BatchError::Control("its key's version is negative"));
        }
        Ok(Self::from_id(i16::from_be_bytes([id0, id1])))
    }
}

/// The end of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndTransaction {
    /// Commit or abort.
    pub committed: bool,
    /// The incarnation of the transaction coordinator that wrote it.
    pub coordinator_epoch: i32,
}

impl EndTransaction {
    /// The marker's batch: transactional, control, uncompressed, of `producer` without a sequence.
    #[must_use]
    pub fn batch(self, timestamp: Timestamp, producer: Producer, offset: Offset, epoch: LeaderEpoch) -> Bytes {
        let control = if self.committed { ControlType::Commit } else { ControlType::Abort };
        let mut value = [0; 6];
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        BatchBuilder::new(Codec::None)
            .control()
            .transactional()
            .producer(Producer { base_sequence: None, ..producer })
            .append(timestamp, Some(&control.key()), Some(&value), &[])
            .build(offset, epoch)
    }

    /// Reads the marker of a control batch; `None` when it is a control batch of another kind.
    ///
    /// # Errors
    /// A control batch that does not hold exactly one readable record.
    pub fn read(batch: &BatchView<'_>) -> Result<Option<Self>, BatchError> {
        let (control, value) = read(batch)?;
        let committed = match control {
            Some(ControlType::Commit) => true,
            Some(ControlType::Abort) => false,
            _ => return Ok(None),
        };
        let value = value.ok_or(BatchError::Control("a marker has no value"))?;
        let [v0, v1, e0, e1, e2, e3, ..] = *value else {
            return Err(BatchError::Control("a marker's value is shorter than 6 bytes"));
        };
        if i16::from_be_bytes([v0, v1]) < 0 {
            return Err(BatchError::Control("a marker's version is negative"));
        }
        Ok(Some(Self { committed, coordinator_epoch: i32::from_be_bytes([e0, e1, e2, e3]) }))
    }
}

/// Type and value of the first record of a control batch.
///
/// # Errors
/// Not a control batch, no record in it, or a broken one.
pub fn read<'a>(batch: &BatchView<'a>) -> Result<(Option<ControlType>, Option<&'a [u8]>), BatchError> {
    if !batch.attributes().control {
        return Err(BatchError::Control("the batch is not a control batch"));
    }
    let mut records = batch.records().ok_or(BatchError::Control("the batch is compressed"))?;
    let record = records.next().ok_or(BatchError::Control("the batch is empty"))??;
    let key = record.key.ok_or(BatchError::Control("it has no key"))?;
    Ok((ControlType::from_key(key)?, record.value))
}

/// A control batch of the metadata quorum: `value` is the encoded message (see [`leader_change`] and others).
#[must_use]
pub fn batch(control: ControlType, value: &[u8], timestamp: Timestamp, offset: Offset, epoch: LeaderEpoch) -> Bytes {
    BatchBuilder::new(Codec::None)
        .control()
        .append(timestamp, Some(&control.key()), Some(value), &[])
        .build(offset, epoch)
}

/// `LeaderChangeMessage` version 0: who leads, who votes, who voted.
///
/// ```text
/// | version (2B) | leader (4B) | count + 1 (uvarint) | per voter: id (4B), tags | count + 1 | per granting voter: id (4B), tags | tags |
/// ```
#[must_use]
pub fn leader_change(leader: NodeId, voters: &[NodeId], granting: &[NodeId]) -> Vec<u8> {
    let mut value = vec![0, 0];
    value.extend_from_slice(&leader.value().to_be_bytes());
    for nodes in [voters, granting] {
        put_uvarint(&mut value, nodes.len() as u32 + 1);
        for node in nodes {
            value.extend_from_slice(&node.value().to_be_bytes());
            value.push(0);
        }
    }
    value.push(0);
    value
}

/// `SnapshotHeaderRecord` version 0: the append time of the last record that the snapshot contains.
///
/// ```text
/// | version (2B) | last contained log timestamp (8B) | tags |
/// ```
#[must_use]
pub fn snapshot_header(last_contained: Timestamp) -> Vec<u8> {
    let mut value = vec![0, 0];
    value.extend_from_slice(&last_contained.millis().to_be_bytes());
    value.push(0);
    value
}

/// `SnapshotFooterRecord` version 0: `| version (2B) | tags |`.
#[must_use]
pub fn snapshot_footer() -> Vec<u8> {
    vec![0, 0, 0]
}

/// `KRaftVersionRecord` version 0: `| version (2B) | kraft.version (2B) | tags |`.
#[must_use]
pub fn kraft_version(version: u16) -> Vec<u8> {
    let version = version.to_be_bytes();
    vec![0, 0, version[0], version[1], 0]
}

fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    while 0x80 <= value {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
