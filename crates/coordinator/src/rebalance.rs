//! Why a group rebalances: for its operator, who sees consumers stop and wants to know who made them.

use std::sync::Arc;

use crate::group::GroupState;

/// A rebalance that began.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rebalance {
    /// The group.
    pub group: Arc<str>,
    /// Where it stood.
    pub from: GroupState,
    /// The generation that is over; 0 in a new group.
    pub generation: i32,
    /// How many members it has now.
    pub members: usize,
    /// What made it rebalance.
    pub cause: RebalanceCause,
    /// The member that did, if it was one.
    pub member: Option<Arc<str>>,
    /// What that member's client gave as its reason (KIP-800).
    pub client_reason: Option<Arc<str>>,
}

/// What makes a group rebalance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RebalanceCause {
    /// A member came.
    MemberJoined,
    /// A member joined again with other protocols or topics.
    MemberChanged,
    /// The leader joined again, as it does when the topics' partitions have changed.
    LeaderRejoined,
    /// A static member came back under a new id, and that could not pass unnoticed.
    MemberReplaced,
    /// A member left, or was removed by an administrator.
    MemberLeft,
    /// A member was silent for its session timeout.
    MemberSilent,
    /// Members did not ask for their part in time.
    SyncTimedOut,
    /// The leader's assignment does not fit a record.
    AssignmentTooLarge,
    /// The bound on members was lowered below what the group has.
    BoundLowered,
}

impl RebalanceCause {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MemberJoined => "member joined",
            Self::MemberChanged => "member changed",
            Self::LeaderRejoined => "leader joined again",
            Self::MemberReplaced => "static member came back",
            Self::MemberLeft => "member left",
            Self::MemberSilent => "member silent",
            Self::SyncTimedOut => "no SyncGroup in time",
            Self::AssignmentTooLarge => "assignment too large",
            Self::BoundLowered => "group.max.size lowered",
        }
    }
}

/// A cause, with who it was.
pub(crate) struct Why {
    pub cause: RebalanceCause,
    pub member: Option<Arc<str>>,
    pub client_reason: Option<Arc<str>>,
}

impl Why {
    pub const fn of(cause: RebalanceCause) -> Self {
        Self { cause, member: None, client_reason: None }
    }

    pub fn member(cause: RebalanceCause, member: &Arc<str>, client_reason: Option<Arc<str>>) -> Self {
        Self { cause, member: Some(Arc::clone(member)), client_reason }
    }
}
