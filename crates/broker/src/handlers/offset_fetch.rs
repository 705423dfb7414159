//! OffsetFetch: how far groups had come.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use coordinator::{Command, FetchOffsets, FetchTopic, FetchedPartition, FetchedTopic, Reply};
use types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};
use wire::offset_fetch_request::OffsetFetchRequest;
use wire::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use crate::groups::{self, text};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// From here on several groups may be asked for at once (KIP-709).
const VERSION_GROUPS: i16 = 8;
/// From here on topics are named by id (KIP-848).
const VERSION_TOPIC_IDS: i16 = 10;
/// From here on an error can be told of the whole.
const VERSION_GROUP_ERROR: i16 = 2;

/// What is asked of one group. `topics` of `None` is all.
struct Asked {
    group: Arc<str>,
    topics: Option<Vec<AskedTopic>>,
}

struct AskedTopic {
    name: Arc<str>,
    id: Option<TopicId>,
    partitions: Vec<i32>,
    /// Why it is not looked up.
    refusal: Option<ErrorCode>,
}

/// What is answered of one partition.
struct Answer {
    index: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Arc<str>,
    code: ErrorCode,
}

struct AnsweredTopic {
    name: Arc<str>,
    id: TopicId,
    partitions: Vec<Answer>,
}

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let version = request.version();
    let asked = read(state, &request)?;
    let mut groups = Vec::with_capacity(asked.len());
    for asked in asked {
        let (group, answer) = (Arc::clone(&asked.group), fetch(state, asked, version).await);
        groups.push((group, answer));
    }
    let mut response = OffsetFetchResponse::default();
    if version >= VERSION_GROUPS {
        response.groups = groups.iter().map(|(group, answer)| response_group(group, answer, version)).collect();
    } else if let Some((_, answer)) = groups.first() {
        match answer {
            Ok(topics) => response.topics = response_topics(topics),
            Err((code, topics)) => {
                if version >= VERSION_GROUP_ERROR {
                    response.error_code = code.code();
                } else {
                    response.topics = response_topics(topics);
                }
            }
        }
    }
    Ok(request.reply(&response))
}

fn read(state: &ShardState, request: &Request) -> Result<Vec<Asked>, wire::DecodeError> {
    let body: OffsetFetchRequest<'_> = request.decode()?;
    if request.version() < VERSION_GROUPS {
        let topics = body.topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| AskedTopic {
                name: text(&topic.name),
                id: None,
                partitions: topic.partition_indexes,
                refusal: None,
            });
            topics.collect()
        });
        return Ok(vec![Asked { group: text(&body.group_id), topics }]);
    }
    let groups = body.groups.into_iter().map(|group| {
        let topics = group.topics.map(|topics| {
            let topics = topics.into_iter().map(|topic| {
                if request.version() < VERSION_TOPIC_IDS {
                    let partitions = topic.partition_indexes;
                    return AskedTopic { name: text(&topic.name), id: None, partitions, refusal: None };
                }
                let view = state.topic_by_id(topic.topic_id);
                AskedTopic {
                    refusal: view.is_none().then_some(ErrorCode::UnknownTopicId),
                    name: view.map(|view| Arc::clone(&view.name)).unwrap_or_default(),
                    id: Some(topic.topic_id),
                    partitions: topic.partition_indexes,
                }
            });
            topics.collect()
        });
        Asked { group: text(&group.group_id), topics }
    });
    Ok(groups.collect())
}

/// What one group answers, or its error with the partitions that it is told for.
async fn fetch(
    state: &Rc<ShardState>,
    asked: Asked,
    version: i16,
) -> Result<Vec<AnsweredTopic>, (ErrorCode, Vec<AnsweredTopic>)> {
    let wanted = asked.topics.as_ref().map(|topics| {
        let known = topics.iter().filter(|topic| topic.refusal.is_none());
        known
            .map(|topic| FetchTopic {
                topic: Arc::clone(&topic.name),
                topic_id: topic.id,
                partitions: topic.partitions.iter().filter_map(|index| PartitionIndex::from_wire(*index)).collect(),
            })
            .collect()
    });
    let command = Command::Fetch(FetchOffsets { group: Arc::clone(&asked.group), topics: wanted });
    let fetched = match groups::ask(state, &asked.group, command).await {
        Ok(Reply::Fetch(fetched)) => Ok(fetched),
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(code) => Err(code),
    };
    match (fetched, asked.topics) {
        (Ok(fetched), Some(topics)) => {
            let mut fetched = fetched.into_iter();
            let answered = topics.into_iter().map(|topic| match topic.refusal {
                Some(code) => unanswered(topic, code),
                None => {
                    let partitions = fetched.next().map(|topic| topic.partitions).unwrap_or_default();
                    answered(topic, partitions)
                }
            });
            Ok(answered.collect())
        }
        (Ok(fetched), None) => Ok(fetched.into_iter().filter_map(|topic| all_of(state, topic, version)).collect()),
        (Err(code), topics) => {
            Err((code, topics.unwrap_or_default().into_iter().map(|topic| unanswered(topic, code)).collect()))
        }
    }
}

/// A topic that was asked for, with what the coordinator knows of it: each partition that can exist, in order.
fn answered(topic: AskedTopic, fetched: Vec<FetchedPartition>) -> AnsweredTopic {
    let mut fetched = fetched.into_iter();
    let partitions = topic.partitions.iter().map(|&index| match PartitionIndex::from_wire(index) {
        Some(_) => answer(index, fetched.next()),
        None => answer(index, None),
    });
    AnsweredTopic { partitions: partitions.collect(), name: topic.name, id: topic.id.unwrap_or(TopicId::ZERO) }
}

fn unanswered(topic: AskedTopic, code: ErrorCode) -> AnsweredTopic {
    let partitions = topic.partitions.iter().map(|&index| Answer { code, ..answer(index, None) });
    AnsweredTopic { partitions: partitions.collect(), name: topic.name, id: topic.id.unwrap_or(TopicId::ZERO) }
}

/// A topic that nobody asked for by name. Where it must be named by its id, a topic that is gone cannot be.
fn all_of(state: &ShardState, topic: FetchedTopic, version: i16) -> Option<AnsweredTopic> {
    let id = groups::topic_id(state, &topic.topic);
    if version >= VERSION_TOPIC_IDS && id.is_none() {
        return None;
    }
    let partitions = topic.partitions.into_iter().map(|it| answer(it.partition.value(), Some(it)));
    Some(AnsweredTopic { partitions: partitions.collect(), name: topic.topic, id: id.unwrap_or(TopicId::ZERO) })
}

fn answer(index: i32, fetched: Option<FetchedPartition>) -> Answer {
    let committed = fetched.and_then(|fetched| fetched.committed);
    Answer {
        index,
        offset: committed.as_ref().and_then(|it| it.offset).map_or(-1, Offset::value),
        leader_epoch: committed.as_ref().and_then(|it| it.leader_epoch).map_or(-1, LeaderEpoch::value),
        metadata: committed.map(|it| it.metadata).unwrap_or_default(),
        code: ErrorCode::None,
    }
}

fn response_topics(topics: &[AnsweredTopic]) -> Vec<OffsetFetchResponseTopic<'_>> {
    let topics = topics.iter().map(|topic| OffsetFetchResponseTopic {
        name: Cow::Borrowed(&*topic.name),
        partitions: topic
            .partitions
            .iter()
            .map(|it| OffsetFetchResponsePartition {
                partition_index: it.index,
                committed_offset: it.offset,
                committed_leader_epoch: it.leader_epoch,
                metadata: Some(Cow::Borrowed(&*it.metadata)),
                error_code: it.code.code(),
                ..OffsetFetchResponsePartition::default()
            })
            .collect(),
        ..OffsetFetchResponseTopic::default()
    });
    topics.collect()
}

fn response_group<'a>(
    group: &'a str,
    answer: &'a Result<Vec<AnsweredTopic>, (ErrorCode, Vec<AnsweredTopic>)>,
    version: i16,
) -> OffsetFetchResponseGroup<'a> {
    let (topics, code) = match answer {
        Ok(topics) => (&topics[..], ErrorCode::None),
        Err((code, _)) => (&[][..], *code),
    };
    let topics = topics.iter().map(|topic| OffsetFetchResponseTopics {
        name: if version < VERSION_TOPIC_IDS { Cow::Borrowed(&*topic.name) } else { Cow::Borrowed("") },
        topic_id: if version < VERSION_TOPIC_IDS { TopicId::ZERO } else { topic.id },
        partitions: topic
            .partitions
            .iter()
            .map(|it| OffsetFetchResponsePartitions {
                partition_index: it.index,
                committed_offset: it.offset,
                committed_leader_epoch: it.leader_epoch,
                metadata: Some(Cow::Borrowed(&*it.metadata)),
                error_code: it.code.code(),
                ..OffsetFetchResponsePartitions::default()
            })
            .collect(),
        ..OffsetFetchResponseTopics::default()
    });
    OffsetFetchResponseGroup {
        group_id: Cow::Borrowed(group),
        topics: topics.collect(),
        error_code: code.code(),
        ..OffsetFetchResponseGroup::default()
    }
}
