//! The group coordinator: who is in a consumer group, who reads what, and how far each has read.
//!
//! One [`GroupCoordinator`] exists for each partition of `__consumer_offsets` and looks after the groups whose name
//! hashes there ([`partition_for`]). It is a [`machine::Machine`]: commands come in, records in Kafka's own format
//! and replies go out, and a restart replays the partition.
//!
//! The rules are those of the classic group protocol as Kafka 4.3.1 serves it: dynamic members (KIP-394), static members
//! (KIP-345), expiry of offsets (KIP-211). A group lives through these states:
//!
//! | state | what it awaits | leaves it when |
//! |---|---|---|
//! | Empty | a member | one joins |
//! | PreparingRebalance | every member's JoinGroup | all have joined, or the rebalance timeout removes who has not |
//! | CompletingRebalance | the leader's SyncGroup | it brings the assignment |
//! | Stable | nothing | a member joins, leaves, changes, or fails to send heartbeats |
//!
//! Differences from Kafka, on purpose: every reply, reads included, waits for the records decided before it, where
//! Kafka serves reads from an older snapshot; members are listed in the order of their ids, where Kafka's order is that
//! of a hash map; a group takes at most [`types::limits::GROUP_PENDING_MEMBERS_MAX`] members that asked for an id and
//! have not yet come back with it.

mod command;
mod config;
mod coordinator;
mod group;
mod membership;
mod offsets;
mod rebalance;
mod records;
mod timers;

pub use command::{
    Answered, Command, CommitOffsets, CommitPartition, CommitTopic, DeleteOffsets, DeletedTopic, DescribedGroup,
    DescribedMember, FetchOffsets, FetchTopic, FetchedPartition, FetchedTopic, Heartbeat, JoinGroup, JoinMember,
    JoinReply, LeaveGroup, LeaveReply, Leaver, Left, ListGroups, ListedGroup, Reply, SyncGroup, SyncReply, TopicErrors,
};
pub use config::GroupConfig;
pub use coordinator::{GroupCoordinator, GroupOffset};
pub use group::GroupState;
pub use offsets::CommittedOffset;
pub use rebalance::{Rebalance, RebalanceCause};
pub use records::{GroupRecord, MemberRecord, Record, RecordFault};

use types::PartitionIndex;

/// The partition of `__consumer_offsets` that a group belongs to: Java's `abs(group.hashCode()) % partitions`, with the
/// one negative number that has no absolute value taken as 0.
///
/// `partitions` is at least 1.
#[must_use]
pub fn partition_for(group_id: &str, partitions: i32) -> PartitionIndex {
    assert!(partitions > 0);
    let mut hash = 0_i32;
    for unit in group_id.encode_utf16() {
        hash = hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    }
    PartitionIndex::new(hash.checked_abs().unwrap_or(0) % partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hash_as_in_java() {
        // "abc".hashCode() == 96354; "polygenelubricants".hashCode() == Integer.MIN_VALUE.
        assert_eq!(partition_for("abc", 50).value(), 96354 % 50);
        assert_eq!(partition_for("polygenelubricants", 50).value(), 0);
        assert_eq!(partition_for("", 50).value(), 0);
        // "test-group".hashCode() == 627841412; "my-group".hashCode() == -1906497762.
        assert_eq!(partition_for("test-group", 50).value(), 12);
        assert_eq!(partition_for("my-group", 50).value(), 12);
    }
}
