//! OffsetCommit: how far a group has come.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use coordinator::{Command, CommitOffsets, CommitPartition, CommitTopic, Reply};
use types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};
use wire::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestTopic};
use wire::offset_commit_response::{OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic};

use crate::groups::{self, named, text};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;
use crate::topics::TopicView;

/// From here on topics are named by id (KIP-848).
const VERSION_TOPIC_IDS: i16 = 10;
/// From here on a client understands that a group is unknown.
const VERSION_GROUP_NOT_FOUND: i16 = 9;

/// A topic's part of the answer, its errors to be filled in.
struct Answer {
    name: Arc<str>,
    id: TopicId,
    partitions: Vec<(i32, Option<ErrorCode>)>,
}

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let (mut answers, commit) = {
        let asked: OffsetCommitRequest<'_> = request.decode()?;
        let (answers, topics) = sort_out(state, &asked.topics, request.version());
        let commit = CommitOffsets {
            group: text(&asked.group_id),
            member: named(&asked.member_id),
            instance: asked.group_instance_id.as_ref().map(text),
            generation: Some(asked.generation_id_or_member_epoch).filter(|generation| 0 <= *generation),
            retention_ms: Some(asked.retention_time_ms).filter(|retention| *retention != -1),
            knows_group_not_found: VERSION_GROUP_NOT_FOUND <= request.version(),
            topics,
        };
        (answers, commit)
    };
    // Nothing that exists was named, though something was: the group need not be asked.
    let outcomes = if commit.topics.is_empty() && !answers.is_empty() {
        Ok(Vec::new())
    } else {
        let group = commit.group.clone();
        match groups::ask(state, &group, Command::Commit(commit)).await {
            Ok(Reply::Commit(outcome)) => outcome,
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(code) => Err(code),
        }
    };
    // The coordinator answers in the order it was asked, so its outcomes fill the gaps in theirs.
    let mut known = outcomes.iter().flatten().flat_map(|topic| &topic.partitions);
    let open = answers.iter_mut().flat_map(|answer| &mut answer.partitions).filter(|(_, code)| code.is_none());
    for (_, code) in open {
        *code = Some(match &outcomes {
            Ok(_) => known.next().map_or(ErrorCode::UnknownServerError, |(_, code)| *code),
            Err(code) => *code,
        });
    }
    let topics = answers.iter().map(|answer| OffsetCommitResponseTopic {
        name: if request.version() < VERSION_TOPIC_IDS { Cow::Borrowed(&*answer.name) } else { Cow::Borrowed("") },
        topic_id: if request.version() < VERSION_TOPIC_IDS { TopicId::ZERO } else { answer.id },
        partitions: answer
            .partitions
            .iter()
            .map(|(index, code)| OffsetCommitResponsePartition {
                partition_index: *index,
                error_code: code.unwrap_or(ErrorCode::None).code(),
                ..OffsetCommitResponsePartition::default()
            })
            .collect(),
        ..OffsetCommitResponseTopic::default()
    });
    let response = OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() };
    Ok(request.reply(&response))
}

/// Tells partitions that exist, which go to the coordinator, from those that are answered here.
fn sort_out(
    state: &ShardState,
    asked: &[OffsetCommitRequestTopic<'_>],
    version: i16,
) -> (Vec<Answer>, Vec<CommitTopic>) {
    let mut answers = Vec::with_capacity(asked.len());
    let mut topics = Vec::with_capacity(asked.len());
    for topic in asked {
        let by_id = VERSION_TOPIC_IDS <= version;
        let view = if by_id { state.topic_by_id(topic.topic_id) } else { state.topic(&topic.name) };
        let unknown = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        let mut known = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = PartitionIndex::from_wire(partition.partition_index);
            let code = match (&view, index) {
                (None, _) => Some(unknown),
                (Some(view), Some(index)) if exists(view, index) => {
                    known.push(CommitPartition {
                        partition: index,
                        offset: Offset::from_wire(partition.committed_offset),
                        leader_epoch: LeaderEpoch::from_wire(partition.committed_leader_epoch),
                        metadata: partition.committed_metadata.as_ref().map(text),
                    });
                    None
                }
                (Some(_), _) => Some(ErrorCode::UnknownTopicOrPartition),
            };
            partitions.push((partition.partition_index, code));
        }
        let id = view.as_ref().map_or(topic.topic_id, |view| view.id);
        let name = view.map_or_else(|| text(&topic.name), |view| Arc::clone(&view.name));
        if !known.is_empty() {
            topics.push(CommitTopic { topic: Arc::clone(&name), topic_id: Some(id), partitions: known });
        }
        answers.push(Answer { name, id, partitions });
    }
    (answers, topics)
}

/// Whether the partition exists.
fn exists(view: &TopicView, index: PartitionIndex) -> bool {
    view.topic.partition(index).is_some()
}
