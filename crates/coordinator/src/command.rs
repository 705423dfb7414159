//! What a coordinator is asked and what it answers. Plain types of its own: no wire versions, no sentinels.

use std::sync::Arc;

use bytes::Bytes;
use types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};

/// A request to the coordinator of a group.
#[derive(Clone, Debug)]
pub enum Command {
    /// A member joins or re-joins. Answered by [`Reply::Join`], often much later.
    Join(JoinGroup),
    /// A member asks for its assignment; the leader brings everyone's. Answered by [`Reply::Sync`].
    Sync(SyncGroup),
    /// A member lives. Answered by [`Reply::Done`].
    Heartbeat(Heartbeat),
    /// Members leave. Answered by [`Reply::Leave`].
    Leave(LeaveGroup),
    /// How far a reader has come. Answered by [`Reply::Commit`].
    Commit(CommitOffsets),
    /// How far it had come. Answered by [`Reply::Fetch`].
    Fetch(FetchOffsets),
    /// Offsets are to be forgotten. Answered by [`Reply::DeleteOffsets`].
    DeleteOffsets(DeleteOffsets),
    /// Groups are to be forgotten. Answered by [`Reply::DeleteGroups`].
    DeleteGroups(Vec<Arc<str>>),
    /// What groups look like. Answered by [`Reply::Describe`].
    Describe(Vec<Arc<str>>),
    /// Which groups there are. Answered by [`Reply::List`].
    List(ListGroups),
    /// Topics were deleted: so are their offsets. Answered by [`Reply::Done`].
    TopicsDeleted(Vec<DeletedTopic>),
}

/// An answer to a [`Command`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// To [`Command::Join`].
    Join(JoinReply),
    /// To [`Command::Sync`].
    Sync(SyncReply),
    /// To [`Command::Leave`].
    Leave(LeaveReply),
    /// To [`Command::Commit`]: an error for the whole, or one for each partition.
    Commit(Result<Vec<TopicErrors>, ErrorCode>),
    /// To [`Command::Fetch`].
    Fetch(Vec<FetchedTopic>),
    /// To [`Command::DeleteOffsets`]: an error for the whole, or one for each partition.
    DeleteOffsets(Result<Vec<TopicErrors>, ErrorCode>),
    /// To [`Command::DeleteGroups`], in the order asked.
    DeleteGroups(Vec<(Arc<str>, ErrorCode)>),
    /// To [`Command::Describe`], in the order asked.
    Describe(Vec<DescribedGroup>),
    /// To [`Command::List`].
    List(Vec<ListedGroup>),
    /// To the others.
    Done(ErrorCode),
}

/// A member joins.
#[derive(Clone, Debug)]
pub struct JoinGroup {
    /// The group.
    pub group: Arc<str>,
    /// The id it was given; `None` at its first knock.
    pub member: Option<Arc<str>>,
    /// Its lasting name, if it is a static member (KIP-345).
    pub instance: Option<Arc<str>>,
    /// What its client calls itself.
    pub client_id: Arc<str>,
    /// Where it comes from, as `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// How long it may take to re-join.
    pub rebalance_timeout_ms: i32,
    /// What kind of group: `consumer`, `connect`, ...
    pub protocol_type: Arc<str>,
    /// How it can share, best first, each with what the leader must know of it.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// A dynamic member without an id is sent away with one first (KIP-394; request version 4 and later).
    pub member_id_required: bool,
    /// A leader that needs not assign anything can be told so (KIP-814; request version 9 and later).
    pub can_skip_assignment: bool,
    /// Why it joins, as its client says (KIP-800; request version 8 and later).
    pub reason: Option<Arc<str>>,
    /// 16 random bytes, for the member id should one be needed.
    pub entropy: [u8; 16],
}

/// The outcome of joining.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinReply {
    /// `None`: the member is in.
    pub error: ErrorCode,
    /// The group's generation.
    pub generation: Option<i32>,
    /// What kind of group it is.
    pub protocol_type: Option<Arc<str>>,
    /// How it shares.
    pub protocol: Option<Arc<str>>,
    /// Who assigns.
    pub leader: Option<Arc<str>>,
    /// The leader is to keep the assignment as it is.
    pub skip_assignment: bool,
    /// The member's id; `None` where the request's own is not to be used again.
    pub member: Option<Arc<str>>,
    /// Everyone, for the leader.
    pub members: Vec<JoinMember>,
}

/// A member as its leader must know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinMember {
    /// Its id.
    pub member: Arc<str>,
    /// Its lasting name.
    pub instance: Option<Arc<str>>,
    /// What it sent along with the chosen protocol.
    pub metadata: Bytes,
}

/// A member asks for its part.
#[derive(Clone, Debug)]
pub struct SyncGroup {
    /// The group.
    pub group: Arc<str>,
    /// The member.
    pub member: Arc<str>,
    /// Its lasting name.
    pub instance: Option<Arc<str>>,
    /// The generation it has joined.
    pub generation: i32,
    /// What kind of group it takes it for.
    pub protocol_type: Option<Arc<str>>,
    /// How it takes it to share.
    pub protocol: Option<Arc<str>>,
    /// From the leader: everyone's part.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// A member's part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncReply {
    /// `None`: here it is.
    pub error: ErrorCode,
    /// What kind of group it is.
    pub protocol_type: Option<Arc<str>>,
    /// How it shares.
    pub protocol: Option<Arc<str>>,
    /// The part, as the leader wrote it; empty if it gave none.
    pub assignment: Bytes,
}

/// A member lives.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The group.
    pub group: Arc<str>,
    /// The member.
    pub member: Arc<str>,
    /// Its lasting name.
    pub instance: Option<Arc<str>>,
    /// The generation it has joined.
    pub generation: i32,
}

/// Members leave.
#[derive(Clone, Debug)]
pub struct LeaveGroup {
    /// The group.
    pub group: Arc<str>,
    /// Who.
    pub members: Vec<Leaver>,
}

/// Who leaves: itself by its id, or removed by an administrator through its lasting name alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaver {
    /// Its id.
    pub member: Option<Arc<str>>,
    /// Its lasting name.
    pub instance: Option<Arc<str>>,
    /// Why, as its client says (KIP-800; request version 5 and later).
    pub reason: Option<Arc<str>>,
}

/// The outcome of leaving.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaveReply {
    /// About the group.
    pub error: ErrorCode,
    /// About each member, in the order of the request.
    pub members: Vec<Left>,
}

/// The outcome for one leaver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Left {
    /// As asked.
    pub leaver: Leaver,
    /// `None`: it is out.
    pub error: ErrorCode,
}

/// How far a reader has come.
#[derive(Clone, Debug)]
pub struct CommitOffsets {
    /// The group.
    pub group: Arc<str>,
    /// The member; `None` for a reader outside of group management.
    pub member: Option<Arc<str>>,
    /// Its lasting name.
    pub instance: Option<Arc<str>>,
    /// The generation it has joined; `None` for a reader outside of group management.
    pub generation: Option<i32>,
    /// How long to keep these (request versions 2 to 4); `None`: as the broker is set.
    pub retention_ms: Option<i64>,
    /// The client understands `GROUP_ID_NOT_FOUND` (version 9 and later); else it is told `ILLEGAL_GENERATION`.
    pub knows_group_not_found: bool,
    /// What it has read.
    pub topics: Vec<CommitTopic>,
}

/// A topic's part of a commit.
#[derive(Clone, Debug)]
pub struct CommitTopic {
    /// Its name.
    pub topic: Arc<str>,
    /// Its id, if the caller knows it.
    pub topic_id: Option<TopicId>,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// A partition's part of a commit.
#[derive(Clone, Debug)]
pub struct CommitPartition {
    /// Which.
    pub partition: PartitionIndex,
    /// The next record to read.
    pub offset: Option<Offset>,
    /// The leader epoch of the last record read.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the reader wants to remember; `None` is kept as an empty text.
    pub metadata: Option<Arc<str>>,
}

/// Outcomes by partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicErrors {
    /// The topic.
    pub topic: Arc<str>,
    /// Its id, as given.
    pub topic_id: Option<TopicId>,
    /// Each partition's outcome, in the order of the request.
    pub partitions: Vec<(PartitionIndex, ErrorCode)>,
}

/// Which offsets a reader wants.
#[derive(Clone, Debug)]
pub struct FetchOffsets {
    /// The group.
    pub group: Arc<str>,
    /// These; `None`: all there are.
    pub topics: Option<Vec<FetchTopic>>,
}

/// A topic's part of such a wish.
#[derive(Clone, Debug)]
pub struct FetchTopic {
    /// Its name.
    pub topic: Arc<str>,
    /// Its id, if named by it: offsets of an earlier topic of that name are then not given.
    pub topic_id: Option<TopicId>,
    /// Its partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// Offsets of a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedTopic {
    /// The topic.
    pub topic: Arc<str>,
    /// Its id, as given.
    pub topic_id: Option<TopicId>,
    /// Its partitions.
    pub partitions: Vec<FetchedPartition>,
}

/// The offset of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedPartition {
    /// Which.
    pub partition: PartitionIndex,
    /// `None`: nothing was committed.
    pub committed: Option<Answered>,
}

/// What was committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// The next record to read.
    pub offset: Option<Offset>,
    /// The leader epoch of the last record read.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the reader wanted to remember.
    pub metadata: Arc<str>,
}

/// Offsets to forget.
#[derive(Clone, Debug)]
pub struct DeleteOffsets {
    /// The group.
    pub group: Arc<str>,
    /// Which.
    pub topics: Vec<(Arc<str>, Vec<PartitionIndex>)>,
}

/// A topic that is no more.
#[derive(Clone, Debug)]
pub struct DeletedTopic {
    /// Its name.
    pub topic: Arc<str>,
    /// Its id: offsets of a later topic of that name stay.
    pub topic_id: TopicId,
}

/// A group, in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribedGroup {
    /// Its id.
    pub group: Arc<str>,
    /// `GroupIdNotFound`: there is none; the state then reads `Dead`.
    pub error: ErrorCode,
    /// Its state, in Kafka's word.
    pub state: &'static str,
    /// What kind of group it is; empty for readers outside of group management.
    pub protocol_type: Arc<str>,
    /// How it shares, once it is stable.
    pub protocol: Option<Arc<str>>,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member, in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescribedMember {
    /// Its id.
    pub member: Arc<str>,
    /// Its lasting name.
    pub instance: Option<Arc<str>>,
    /// What its client calls itself.
    pub client_id: Arc<str>,
    /// Where it comes from.
    pub client_host: Arc<str>,
    /// What it told the leader; empty unless the group is stable.
    pub metadata: Bytes,
    /// What it was given.
    pub assignment: Bytes,
}

/// Which groups to list.
#[derive(Clone, Default, Debug)]
pub struct ListGroups {
    /// Only those in one of these states, in any letter case; empty: all.
    pub states: Vec<Arc<str>>,
    /// Only those of one of these types, in any letter case; empty: all.
    pub types: Vec<Arc<str>>,
}

/// A group, in brief.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedGroup {
    /// Its id.
    pub group: Arc<str>,
    /// What kind of group it is.
    pub protocol_type: Arc<str>,
    /// Its state, in Kafka's word.
    pub state: &'static str,
    /// Its type, in Kafka's word.
    pub group_type: &'static str,
}
