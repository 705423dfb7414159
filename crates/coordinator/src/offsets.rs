//! The offsets of one group, and when they expire (KIP-211).

use std::collections::BTreeMap;
use std::sync::Arc;

use types::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

/// How far a group has come in a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: Option<Offset>,
    /// The leader epoch of the last record read.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the reader wanted to remember.
    pub metadata: Arc<str>,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// When it ends, if the reader itself said so.
    pub expires_at: Option<Timestamp>,
    /// The topic's id at that time.
    pub topic_id: Option<TopicId>,
}

impl CommittedOffset {
    /// Whether this offset is of another topic than `asked`, one that had the same name.
    pub(crate) fn is_of_another_topic(&self, asked: Option<TopicId>) -> bool {
        matches!((self.topic_id, asked), (Some(own), Some(asked)) if own != asked)
    }
}

/// From when on an offset's age counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExpiryBase {
    /// From the moment the group emptied, or from the commit if that is unknown.
    GroupEmptied(Option<Timestamp>),
    /// From the commit.
    Commit,
}

/// Whether an offset has expired at `now`.
///
/// A time that its reader set counts alone: `expires_at <= now`. Else its age from `base` reaches `retention_ms`.
pub(crate) fn is_expired(committed: &CommittedOffset, base: ExpiryBase, now: Timestamp, retention_ms: i64) -> bool {
    if let Some(expires_at) = committed.expires_at {
        return expires_at <= now;
    }
    let from = match base {
        ExpiryBase::GroupEmptied(Some(emptied_at)) => emptied_at,
        ExpiryBase::GroupEmptied(None) | ExpiryBase::Commit => committed.committed_at,
    };
    retention_ms <= now.millis().saturating_sub(from.millis())
}

/// All offsets of a group.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Offsets {
    pub topics: BTreeMap<Arc<str>, BTreeMap<PartitionIndex, CommittedOffset>>,
}

impl Offsets {
    pub fn get(&self, topic: &str, partition: PartitionIndex) -> Option<&CommittedOffset> {
        self.topics.get(topic)?.get(&partition)
    }

    pub fn put(&mut self, topic: Arc<str>, partition: PartitionIndex, committed: CommittedOffset) {
        self.topics.entry(topic).or_default().insert(partition, committed);
    }

    pub fn remove(&mut self, topic: &str, partition: PartitionIndex) -> Option<CommittedOffset> {
        let partitions = self.topics.get_mut(topic)?;
        let removed = partitions.remove(&partition);
        if partitions.is_empty() {
            self.topics.remove(topic);
        }
        removed
    }

    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// The partitions whose offsets satisfy `condition`, in order.
    pub fn select(&self, condition: impl Fn(&str, &CommittedOffset) -> bool) -> Vec<(Arc<str>, PartitionIndex)> {
        let mut selected = Vec::new();
        for (topic, partitions) in &self.topics {
            for (partition, committed) in partitions {
                if condition(topic, committed) {
                    selected.push((topic.clone(), *partition));
                }
            }
        }
        selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_counts_from_where_kip_211_says() {
        let committed = |committed_at, expires_at: Option<i64>| CommittedOffset {
            offset: Some(Offset::new(1)),
            leader_epoch: None,
            metadata: "".into(),
            committed_at: Timestamp::from_millis(committed_at),
            expires_at: expires_at.map(Timestamp::from_millis),
            topic_id: None,
        };
        let emptied = |at| ExpiryBase::GroupEmptied(Some(Timestamp::from_millis(at)));
        let table = [
            ("young by commit", committed(100, None), ExpiryBase::Commit, 199, false),
            ("old by commit", committed(100, None), ExpiryBase::Commit, 200, true),
            ("the group emptied later", committed(100, None), emptied(150), 200, false),
            ("the group emptied long ago", committed(100, None), emptied(150), 250, true),
            ("emptied at an unknown time", committed(100, None), ExpiryBase::GroupEmptied(None), 200, true),
            ("own time not reached", committed(100, Some(400)), ExpiryBase::Commit, 399, false),
            ("own time reached", committed(100, Some(110)), emptied(105), 110, true),
        ];
        for (what, committed, base, now, expected) in table {
            assert_eq!(is_expired(&committed, base, Timestamp::from_millis(now), 100), expected, "{what}");
        }
    }
}
