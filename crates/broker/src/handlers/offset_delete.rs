//! OffsetDelete (KIP-496): a group forgets offsets of topics that it does not read.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use coordinator::{Command, DeleteOffsets, Reply};
use types::{ErrorCode, PartitionIndex};
use wire::offset_delete_request::OffsetDeleteRequest;
use wire::offset_delete_response::{OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};

use crate::groups::{self, text};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// A topic's part of the answer, its errors to be filled in.
type Answer = (Arc<str>, Vec<(i32, Option<ErrorCode>)>);

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let mut answers: Vec<Answer> = Vec::new();
    let group = {
        let asked: OffsetDeleteRequest<'_> = request.decode()?;
        for topic in &asked.topics {
            let view = state.topic(&topic.name);
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let exists = PartitionIndex::from_wire(index)
                    .is_some_and(|index| view.as_ref().is_some_and(|view| view.topic.partition(index).is_some()));
                (index, (!exists).then_some(ErrorCode::UnknownTopicOrPartition))
            });
            answers.push((text(&topic.name), partitions.collect()));
        }
        text(&asked.group_id)
    };
    let known = answers.iter().map(|(topic, partitions)| {
        let open = partitions.iter().filter(|(_, code)| code.is_none());
        (Arc::clone(topic), open.filter_map(|(index, _)| PartitionIndex::from_wire(*index)).collect())
    });
    let command = DeleteOffsets { group: Arc::clone(&group), topics: known.collect() };
    let outcome = match groups::ask(state, &group, Command::DeleteOffsets(command)).await {
        Ok(Reply::DeleteOffsets(outcome)) => outcome,
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(code) => Err(code),
    };
    let mut response = OffsetDeleteResponse::default();
    match &outcome {
        Err(code) => response.error_code = code.code(),
        Ok(outcomes) => {
            for ((topic, partitions), outcome) in answers.iter().zip(outcomes) {
                let mut known = outcome.partitions.iter().map(|(_, code)| *code);
                let partitions = partitions.iter().map(|(index, code)| OffsetDeleteResponsePartition {
                    partition_index: *index,
                    error_code: code.or_else(|| known.next()).unwrap_or(ErrorCode::UnknownServerError).code(),
                });
                response.topics.push(OffsetDeleteResponseTopic {
                    name: Cow::Borrowed(&**topic),
                    partitions: partitions.collect(),
                });
            }
        }
    }
    Ok(request.reply(&response))
}
