//! Records that Kafka keeps in its own logs: the metadata log's ([`MetadataRecord`]), those of `__consumer_offsets`
//! ([`GroupRecordKey`], [`GroupRecordValue`]), the values of raft's and transactions' control records
//! ([`leader_change_message`], [`snapshot_header_record`], ..., [`end_txn_marker`]), and what a group's members tell
//! each other inside JoinGroup and SyncGroup ([`consumer_protocol_subscription`], [`consumer_protocol_assignment`]).

pub use crate::codec::{DecodeError, DecodeFault, EncodeError, Writer};

use crate::codec::Reader;
use crate::message::{Message, prelude};

include!(concat!(env!("OUT_DIR"), "/records.rs"));

/// The version of the frame around a metadata record; Kafka has only this one.
const METADATA_FRAME_VERSION: u32 = 1;

impl<'a> MetadataRecord<'a> {
    /// Reads a record of the metadata log:
    ///
    /// ```text
    /// | frame version = 1 (varint) | type (varint) | version (varint) | body |
    /// ```
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        r.enter("MetadataRecord", 1);
        let frame = r.unsigned_varint("(frame version)")?;
        if frame != METADATA_FRAME_VERSION {
            return Err(r.error("(frame version)", DecodeFault::UnknownVersion));
        }
        let kind = r.unsigned_varint("(type)")?;
        let version = r.unsigned_varint("(version)")?;
        let kind = i16::try_from(kind).map_err(|_| r.error("(type)", DecodeFault::UnknownType))?;
        let version = i16::try_from(version).map_err(|_| r.error("(version)", DecodeFault::UnknownVersion))?;
        let record = Self::read(&mut r, kind, version)?;
        r.finish()?;
        Ok(record)
    }

    /// Appends the record with its frame. `version` is the record's, as the metadata version of the cluster allows.
    pub fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.unsigned_varint(METADATA_FRAME_VERSION);
        w.unsigned_varint(self.kind() as u32);
        w.unsigned_varint(version as u32);
        self.write(w, version)
    }
}

impl<'a> GroupRecordKey<'a> {
    /// Reads the key of a record in `__consumer_offsets`. What looks like a version there is the record's type:
    ///
    /// ```text
    /// | type (2) | body, version 0 |
    /// ```
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        r.enter("GroupRecordKey", 0);
        let kind = r.int16("(type)")?;
        let key = Self::read(&mut r, kind, 0)?;
        r.finish()?;
        Ok(key)
    }

    /// Appends the key with its type.
    pub fn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {
        w.int16(self.kind());
        self.write(w, 0)
    }
}

impl<'a> GroupRecordValue<'a> {
    /// Reads the value of a record whose key has type `kind`:
    ///
    /// ```text
    /// | version (2) | body |
    /// ```
    pub fn from_bytes(kind: i16, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        r.enter("GroupRecordValue", 0);
        let version = r.int16("(version)")?;
        let value = Self::read(&mut r, kind, version)?;
        r.finish()?;
        Ok(value)
    }

    /// Appends the value with its version.
    pub fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        w.int16(version);
        self.write(w, version)
    }
}

/// Reads what a member subscribes to, from its metadata in JoinGroup: `| version (2) | body |`. A version from the
/// future is read as the newest known, and what follows it is left unread: later versions only add fields.
pub fn read_subscription(
    bytes: &[u8],
) -> Result<consumer_protocol_subscription::ConsumerProtocolSubscription<'_>, DecodeError> {
    read_consumer_protocol(bytes)
}

/// Reads what a member was assigned, from SyncGroup. Versions from the future: see [`read_subscription`].
pub fn read_assignment(
    bytes: &[u8],
) -> Result<consumer_protocol_assignment::ConsumerProtocolAssignment<'_>, DecodeError> {
    read_consumer_protocol(bytes)
}

fn read_consumer_protocol<'a, M: Message<'a>>(bytes: &'a [u8]) -> Result<M, DecodeError> {
    let mut r = Reader::new(bytes);
    r.enter(M::NAME, 0);
    let version = r.int16("(version)")?;
    if version < M::VERSION_MIN {
        return Err(r.error("(version)", DecodeFault::UnknownVersion));
    }
    M::decode(&mut r, version.min(M::VERSION_MAX))
}

/// Appends a message with its version before it, as [`read_subscription`] and [`read_assignment`] read it, and as the
/// keys and values of Kafka's own topics are written.
pub fn encode_versioned<'a, M: Message<'a>>(w: &mut Writer, version: i16, message: &M) -> Result<(), EncodeError> {
    w.int16(version);
    message.encode(w, version)
}
