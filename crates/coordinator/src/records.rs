//! What a coordinator writes to `__consumer_offsets`, in Kafka's format: any tool that reads that topic reads these.
//!
//! ```text
//! offset   key   | type = 1 (2) | group (2+n) | topic (2+n) | partition (4) |
//!          value | version = 4 (2) | offset (8) | leader epoch (4) | metadata (varint+n) | commit time (8) | tags |
//!                  tag 0: topic id (16)
//! group    key   | type = 2 (2) | group (2+n) |
//!          value | version = 3 (2) | protocol type (2+n) | generation (4) | protocol (2+n) | leader (2+n) |
//!                  state time (8) | members (4): | member (2+n) | instance (2+n) | client id (2+n) | host (2+n) |
//!                  rebalance timeout (4) | session timeout (4) | subscription (4+n) | assignment (4+n) |
//! ```
//!
//! An offset with a time of its own to end (request versions 2 to 4) is written as value version 1, which has that time
//! but neither leader epoch nor topic id. A missing value is a tombstone: the offset, or the group, is gone. Values of
//! every version that Kafka 4.3.1 reads are read.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use types::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use wire::records::group_metadata_key::GroupMetadataKey;
use wire::records::group_metadata_value::{GroupMetadataValue, MemberMetadata};
use wire::records::offset_commit_key::OffsetCommitKey;
use wire::records::offset_commit_value::OffsetCommitValue;
use wire::records::{
    DecodeError, DecodeFault, EncodeError, GroupRecordKey, GroupRecordValue, Writer, read_subscription,
};

use crate::offsets::CommittedOffset;

const OFFSET_VALUE_VERSION: i16 = 4;
const OFFSET_VALUE_VERSION_WITH_EXPIRY: i16 = 1;
const GROUP_VALUE_VERSION: i16 = 3;

/// One change of a coordinator's lasting state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A group's offset in a partition.
    Offset {
        /// The group.
        group: Arc<str>,
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: PartitionIndex,
        /// `None`: it is gone.
        committed: Option<CommittedOffset>,
    },
    /// A group's generation.
    Group {
        /// The group.
        group: Arc<str>,
        /// `None`: it is gone.
        state: Option<GroupRecord>,
    },
}

/// A group as the log holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupRecord {
    /// What kind of group; empty for readers outside of group management.
    pub protocol_type: Arc<str>,
    /// How often it has been rebalanced.
    pub generation: i32,
    /// How it shares.
    pub protocol: Option<Arc<str>>,
    /// Who assigns.
    pub leader: Option<Arc<str>>,
    /// Since when it has been in its state.
    pub state_since: Option<Timestamp>,
    /// Its members.
    pub members: Vec<MemberRecord>,
}

/// A member as the log holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberRecord {
    /// Its id.
    pub member: Arc<str>,
    /// Its lasting name.
    pub instance: Option<Arc<str>>,
    /// What its client calls itself.
    pub client_id: Arc<str>,
    /// Where it comes from.
    pub client_host: Arc<str>,
    /// How long it may take to re-join.
    pub rebalance_timeout_ms: u32,
    /// How long it may be silent.
    pub session_timeout_ms: u32,
    /// What it told the leader.
    pub subscription: Bytes,
    /// What it was given.
    pub assignment: Bytes,
}

/// Why a record of `__consumer_offsets` could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordFault {
    /// It has no key.
    #[error("a record without a key")]
    NoKey,
    /// Its bytes make no sense.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// A partition below 0.
    #[error("a negative partition")]
    NegativePartition,
}

impl GroupRecord {
    /// A bound of the record's bytes on disk, key included.
    pub(crate) fn size_bytes_max(&self, group: &str) -> usize {
        const FIXED_BYTES: usize = 128;
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        let members = self.members.iter().map(|it| {
            let texts = it.member.len() + text(&it.instance) + it.client_id.len() + it.client_host.len();
            FIXED_BYTES + texts + it.subscription.len() + it.assignment.len()
        });
        let own = group.len() + self.protocol_type.len() + text(&self.protocol) + text(&self.leader);
        FIXED_BYTES + own + members.sum::<usize>()
    }
}

impl Record {
    pub(crate) fn group(group: &Arc<str>, state: GroupRecord) -> Self {
        Self::Group { group: group.clone(), state: Some(state) }
    }

    pub(crate) fn group_gone(group: &Arc<str>) -> Self {
        Self::Group { group: group.clone(), state: None }
    }

    pub(crate) fn offset_gone(group: &Arc<str>, topic: &Arc<str>, partition: PartitionIndex) -> Self {
        Self::Offset { group: group.clone(), topic: topic.clone(), partition, committed: None }
    }

    /// The key and value to write; no value is a tombstone.
    ///
    /// # Errors
    /// When a text is longer than the format allows, which the requests it came from cannot carry either.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
        let mut key = Writer::new();
        let mut value = Writer::new();
        let has_value = match self {
            Self::Offset { group, topic, partition, committed } => {
                GroupRecordKey::OffsetCommit(OffsetCommitKey {
                    group: Cow::Borrowed(group),
                    topic: Cow::Borrowed(topic),
                    partition: partition.value(),
                })
                .encode(&mut key)?;
                if let Some(committed) = committed {
                    let (body, version) = offset_value(committed);
                    GroupRecordValue::OffsetCommit(body).encode(&mut value, version)?;
                }
                committed.is_some()
            }
            Self::Group { group, state } => {
                let body = GroupMetadataKey { group: Cow::Borrowed(group) };
                GroupRecordKey::GroupMetadata(body).encode(&mut key)?;
                if let Some(state) = state {
                    GroupRecordValue::GroupMetadata(group_value(state)).encode(&mut value, GROUP_VALUE_VERSION)?;
                }
                state.is_some()
            }
        };
        Ok((key.into_bytes().freeze(), has_value.then(|| value.into_bytes().freeze())))
    }

    /// Reads a record back. `None`: one of a kind that this node does not keep (groups of the newer protocols).
    ///
    /// # Errors
    /// When the bytes are not what Kafka 4.3.1 writes.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Self>, RecordFault> {
        let key = match GroupRecordKey::from_bytes(key.ok_or(RecordFault::NoKey)?) {
            Ok(key) => key,
            Err(error) if error.fault == DecodeFault::UnknownType => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let value = value.map(|value| GroupRecordValue::from_bytes(key.kind(), value)).transpose()?;
        let record = match (key, value) {
            (GroupRecordKey::OffsetCommit(key), None) => offset_record(&key.group, &key.topic, key.partition, None)?,
            (GroupRecordKey::OffsetCommit(key), Some(GroupRecordValue::OffsetCommit(value))) => {
                let committed = CommittedOffset {
                    offset: Offset::from_wire(value.offset),
                    leader_epoch: LeaderEpoch::from_wire(value.leader_epoch),
                    metadata: value.metadata.as_ref().into(),
                    committed_at: Timestamp::from_millis(value.commit_timestamp),
                    expires_at: (value.expire_timestamp >= 0).then(|| Timestamp::from_millis(value.expire_timestamp)),
                    topic_id: Some(value.topic_id).filter(|id| !id.is_zero()),
                };
                offset_record(&key.group, &key.topic, key.partition, Some(committed))?
            }
            (GroupRecordKey::LegacyOffsetCommit(key), None) => {
                offset_record(&key.group, &key.topic, key.partition, None)?
            }
            (GroupRecordKey::LegacyOffsetCommit(key), Some(GroupRecordValue::LegacyOffsetCommit(value))) => {
                let committed = CommittedOffset {
                    offset: Offset::from_wire(value.offset),
                    leader_epoch: None,
                    metadata: value.metadata.as_ref().into(),
                    committed_at: Timestamp::from_millis(value.commit_timestamp),
                    expires_at: None,
                    topic_id: None,
                };
                offset_record(&key.group, &key.topic, key.partition, Some(committed))?
            }
            (GroupRecordKey::GroupMetadata(key), None) => Self::Group { group: key.group.as_ref().into(), state: None },
            (GroupRecordKey::GroupMetadata(key), Some(GroupRecordValue::GroupMetadata(value))) => {
                Self::Group { group: key.group.as_ref().into(), state: Some(group_record(&value)) }
            }
            _ => return Ok(None),
        };
        Ok(Some(record))
    }
}

fn offset_record(
    group: &str,
    topic: &str,
    partition: i32,
    committed: Option<CommittedOffset>,
) -> Result<Record, RecordFault> {
    let partition = PartitionIndex::from_wire(partition).ok_or(RecordFault::NegativePartition)?;
    Ok(Record::Offset { group: group.into(), topic: topic.into(), partition, committed })
}

fn offset_value(committed: &CommittedOffset) -> (OffsetCommitValue<'_>, i16) {
    let body = OffsetCommitValue {
        offset: committed.offset.map_or(-1, Offset::value),
        leader_epoch: committed.leader_epoch.map_or(-1, LeaderEpoch::value),
        metadata: Cow::Borrowed(&committed.metadata),
        commit_timestamp: committed.committed_at.millis(),
        expire_timestamp: committed.expires_at.map_or(-1, Timestamp::millis),
        topic_id: committed.topic_id.unwrap_or(TopicId::ZERO),
        ..Default::default()
    };
    let version = if committed.expires_at.is_some() { OFFSET_VALUE_VERSION_WITH_EXPIRY } else { OFFSET_VALUE_VERSION };
    (body, version)
}

fn group_value(state: &GroupRecord) -> GroupMetadataValue<'_> {
    let members = state.members.iter().map(|member| MemberMetadata {
        member_id: Cow::Borrowed(&*member.member),
        group_instance_id: member.instance.as_deref().map(Cow::Borrowed),
        client_id: Cow::Borrowed(&*member.client_id),
        client_host: Cow::Borrowed(&*member.client_host),
        rebalance_timeout: i32::try_from(member.rebalance_timeout_ms).unwrap_or(i32::MAX),
        session_timeout: i32::try_from(member.session_timeout_ms).unwrap_or(i32::MAX),
        subscription: Cow::Borrowed(&member.subscription),
        assignment: Cow::Borrowed(&member.assignment),
        ..Default::default()
    });
    GroupMetadataValue {
        protocol_type: Cow::Borrowed(&*state.protocol_type),
        generation: state.generation,
        protocol: state.protocol.as_deref().map(Cow::Borrowed),
        leader: state.leader.as_deref().map(Cow::Borrowed),
        current_state_timestamp: state.state_since.map_or(-1, Timestamp::millis),
        members: members.collect(),
        ..Default::default()
    }
}

fn group_record(value: &GroupMetadataValue<'_>) -> GroupRecord {
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(Arc::<str>::from);
    let members = value.members.iter().map(|member| {
        let session_timeout_ms = u32::try_from(member.session_timeout).unwrap_or(0);
        MemberRecord {
            member: member.member_id.as_ref().into(),
            instance: text(&member.group_instance_id),
            client_id: member.client_id.as_ref().into(),
            client_host: member.client_host.as_ref().into(),
            // Version 0 has none: the session timeout then stands for it.
            rebalance_timeout_ms: u32::try_from(member.rebalance_timeout).unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription: Bytes::copy_from_slice(&member.subscription),
            assignment: Bytes::copy_from_slice(&member.assignment),
        }
    });
    GroupRecord {
        protocol_type: value.protocol_type.as_ref().into(),
        generation: value.generation,
        protocol: text(&value.protocol),
        leader: text(&value.leader),
        state_since: (value.current_state_timestamp >= 0)
            .then(|| Timestamp::from_millis(value.current_state_timestamp)),
        members: members.collect(),
    }
}

/// The topics that a member of a consumer group reads, from what it told the leader. `None` if that makes no sense.
pub(crate) fn subscribed_topics(metadata: &[u8]) -> Option<Vec<String>> {
    let subscription = read_subscription(metadata).ok()?;
    Some(subscription.topics.into_iter().map(Cow::into_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed() -> CommittedOffset {
        CommittedOffset {
            offset: Some(Offset::new(42)),
            leader_epoch: Some(LeaderEpoch::new(3)),
            metadata: "héllo".into(),
            committed_at: Timestamp::from_millis(1_000),
            expires_at: None,
            topic_id: Some(TopicId::from_bytes([7; 16])),
        }
    }

    fn offset(committed: Option<CommittedOffset>) -> Record {
        Record::Offset { group: "g".into(), topic: "t".into(), partition: PartitionIndex::new(5), committed }
    }

    fn group() -> Record {
        let member = MemberRecord {
            member: "m-1".into(),
            instance: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"part"),
        };
        let state = GroupRecord {
            protocol_type: "consumer".into(),
            generation: 7,
            protocol: Some("range".into()),
            leader: Some("m-1".into()),
            state_since: Some(Timestamp::from_millis(99)),
            members: vec![member],
        };
        Record::Group { group: "g".into(), state: Some(state) }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn bytes_are_kafkas() {
        let (key, value) = offset(Some(committed())).encode().unwrap();
        assert_eq!(hex(&key), "0001000167000174".to_owned() + "00000005");
        let expected = "0004".to_owned()
            + "000000000000002a"
            + "00000003"
            + "0768c3a96c6c6f"
            + "00000000000003e8"
            + "010010"
            + &"07".repeat(16);
        assert_eq!(hex(&value.unwrap()), expected);

        let (key, value) = group().encode().unwrap();
        assert_eq!(hex(&key), "0002000167");
        let expected = "0003".to_owned()
            + "0008636f6e73756d6572"
            + "00000007"
            + "000572616e6765"
            + "00036d2d31"
            + "0000000000000063"
            + "00000001"
            + "00036d2d31"
            + "000169"
            + "000163"
            + "000a2f3132372e302e302e31"
            + "000493e0"
            + "0000afc8"
            + "00000003737562"
            + "0000000470617274";
        assert_eq!(hex(&value.unwrap()), expected);
    }

    #[test]
    fn records_round_trip() {
        let expiring = CommittedOffset {
            expires_at: Some(Timestamp::from_millis(5)),
            leader_epoch: None,
            topic_id: None,
            ..committed()
        };
        let nothing = CommittedOffset { offset: None, leader_epoch: None, topic_id: None, ..committed() };
        let gone = Record::Group { group: "g".into(), state: None };
        for record in
            [offset(Some(committed())), offset(Some(expiring)), offset(Some(nothing)), offset(None), group(), gone]
        {
            let (key, value) = record.encode().unwrap();
            assert_eq!(Record::decode(Some(&key), value.as_deref()), Ok(Some(record)));
        }
    }

    #[test]
    fn bound_of_a_group_record_holds() {
        let Record::Group { group, state: Some(state) } = group() else { panic!() };
        let bound = state.size_bytes_max(&group);
        let (key, value) = Record::group(&group, state).encode().unwrap();
        assert!(key.len() + value.unwrap().len() <= bound);
    }

    #[test]
    fn records_of_other_kinds_are_passed_over() {
        // Type 3, a group of the consumer protocol, and type 99, from the future.
        assert_eq!(Record::decode(Some(&[0, 3, 0, 1, b'g']), None), Ok(None));
        assert_eq!(Record::decode(Some(&[0, 99, 0, 1, b'g']), None), Ok(None));
    }

    #[test]
    fn cut_records_are_faults_and_never_panic() {
        for record in [offset(Some(committed())), group()] {
            let (key, value) = record.encode().unwrap();
            let value = value.unwrap();
            for end in 0..key.len() {
                assert!(Record::decode(Some(&key[..end]), Some(&value)).is_err(), "key cut at {end}");
            }
            for end in 0..value.len() {
                assert!(Record::decode(Some(&key), Some(&value[..end])).is_err(), "value cut at {end}");
            }
        }
        assert_eq!(Record::decode(None, None), Err(RecordFault::NoKey));
    }
}
