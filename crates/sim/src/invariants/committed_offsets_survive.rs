use std::collections::BTreeMap;
use std::sync::Arc;

use coordinator::{Answered, Command, CommitOffsets, CommitPartition, Reply};
use machine::Ticket;
use types::{ErrorCode, Offset, PartitionIndex, Timestamp};

use super::Invariant;
use crate::history::{History, Seen};

/// What was acked, or told, of a group's offset stays: a fetch gives that offset and its text, or a later one that was
/// asked for and never answered, or nothing once it has expired or was deleted.
///
/// Answers come in the order of decisions, so that whatever was asked before an answered question is itself answered, or
/// was lost with its coordinator.
pub struct CommittedOffsetsSurvive {
    retention_ms: i64,
    asked: BTreeMap<Ticket, (Command, Timestamp)>,
    known: BTreeMap<Key, Known>,
    /// When somebody first wanted to join: a group with members may have emptied at any time since, and the age of what a
    /// reader from outside commits to it counts from then (KIP-211).
    first_joins: BTreeMap<Arc<str>, Timestamp>,
}

type Key = (Arc<str>, Arc<str>, PartitionIndex);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Value {
    offset: Option<Offset>,
    metadata: Arc<str>,
    /// It may be gone from here on.
    may_end_at: Timestamp,
}

/// `None` is: nothing is committed.
#[derive(Clone, Default, Debug)]
struct Known {
    settled: Option<Value>,
    /// Asked for after that, of coordinators that ended before they answered.
    perhaps: Vec<Option<Value>>,
}

impl Known {
    fn settle(&mut self, value: Option<Value>) {
        *self = Self { settled: value, perhaps: Vec::new() };
    }

    fn matching(&self, told: Option<&Answered>, now: Timestamp) -> Option<Option<Value>> {
        let candidates = std::iter::once(&self.settled).chain(&self.perhaps);
        let fits = |candidate: &Option<Value>| match (told, candidate) {
            (Some(told), Some(value)) => told.offset == value.offset && told.metadata == value.metadata,
            (None, Some(value)) => value.may_end_at <= now,
            (None, None) => true,
            (Some(_), None) => false,
        };
        let found = candidates.into_iter().rev().find(|candidate| fits(candidate))?;
        Some(found.clone().filter(|_| told.is_some()))
    }
}

impl CommittedOffsetsSurvive {
    pub fn new(retention_ms: i64) -> Self {
        Self { retention_ms, asked: BTreeMap::new(), known: BTreeMap::new(), first_joins: BTreeMap::new() }
    }

    fn value(&self, request: &CommitOffsets, partition: &CommitPartition, at: Timestamp) -> Value {
        let first_join = self.first_joins.get(&request.group).copied();
        let (from, retention_ms) = match (request.retention_ms, request.generation) {
            (Some(retention_ms), _) => (at, retention_ms),
            (None, Some(_)) => (at, self.retention_ms),
            (None, None) => (first_join.unwrap_or(at).min(at), self.retention_ms),
        };
        Value {
            offset: partition.offset,
            metadata: partition.metadata.clone().unwrap_or_default(),
            may_end_at: Timestamp::from_millis(from.millis() + retention_ms),
        }
    }

    /// What a command asks for, if it is done in full.
    fn wishes(&self, command: &Command, at: Timestamp) -> Vec<(Key, Option<Value>)> {
        let mut wishes = Vec::new();
        let mut all_gone = |chosen: &dyn Fn(&Key) -> bool| {
            wishes.extend(self.known.keys().filter(|key| chosen(key)).map(|key| (key.clone(), None)));
        };
        match command {
            Command::DeleteGroups(groups) => all_gone(&|(group, ..)| groups.contains(group)),
            Command::TopicsDeleted(topics) => all_gone(&|(_, topic, _)| topics.iter().any(|it| it.topic == *topic)),
            Command::DeleteOffsets(request) => {
                for (topic, partitions) in &request.topics {
                    all_gone(&|(group, its, partition)| {
                        *group == request.group && its == topic && partitions.contains(partition)
                    });
                }
            }
            Command::Commit(request) => {
                for topic in &request.topics {
                    for partition in &topic.partitions {
                        let key = (request.group.clone(), topic.topic.clone(), partition.partition);
                        wishes.push((key, Some(self.value(request, partition, at))));
                    }
                }
            }
            _ => {}
        }
        wishes
    }

    fn answered(&mut self, ticket: Ticket, reply: &Reply, now: Timestamp) -> Result<(), String> {
        let Some((command, at)) = self.asked.remove(&ticket) else { return Ok(()) };
        let done = |topics: &[coordinator::TopicErrors], key: &Key| {
            let partitions = topics.iter().filter(|it| it.topic == key.1).flat_map(|it| &it.partitions);
            partitions.into_iter().any(|&(partition, error)| partition == key.2 && error == ErrorCode::None)
        };
        let wishes = self.wishes(&command, at);
        for (key, value) in wishes {
            let is_done = match reply {
                Reply::Commit(Ok(topics)) | Reply::DeleteOffsets(Ok(topics)) => done(topics, &key),
                Reply::DeleteGroups(groups) => {
                    groups.iter().any(|(group, error)| *group == key.0 && *error == ErrorCode::None)
                }
                Reply::Done(error) => *error == ErrorCode::None,
                _ => false,
            };
            if is_done {
                self.known.entry(key).or_default().settle(value);
            }
        }
        let (Command::Fetch(request), Reply::Fetch(topics)) = (&command, reply) else { return Ok(()) };
        for topic in topics {
            for fetched in &topic.partitions {
                let key = (request.group.clone(), topic.topic.clone(), fetched.partition);
                let known = self.known.entry(key.clone()).or_default();
                let told = fetched.committed.as_ref();
                let Some(value) = known.matching(told, now) else {
                    return Err(format!("{key:?} is {told:?} at {now:?}, known {known:?}"));
                };
                known.settle(value);
            }
        }
        Ok(())
    }
}

impl Invariant for CommittedOffsetsSurvive {
    fn name(&self) -> &'static str {
        "committed_offsets_survive"
    }

    fn judge(&mut self, seen: &Seen<'_>, _: &History) -> Result<(), String> {
        match *seen {
            Seen::GroupAsked { ticket, command, now } => {
                if let Command::Join(request) = command {
                    self.first_joins.entry(request.group.clone()).or_insert(now);
                }
                self.asked.insert(ticket, (command.clone(), now));
            }
            Seen::GroupAnswered { ticket, reply, now } => return self.answered(ticket, reply, now),
            Seen::CoordinatorEnded => {
                for (command, at) in std::mem::take(&mut self.asked).into_values() {
                    for (key, value) in self.wishes(&command, at) {
                        self.known.entry(key).or_default().perhaps.push(value);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
