//! DescribeTopicPartitions (KIP-966): partitions page by page, with a cursor to go on from.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use quorum::image::Topic;
use types::{ErrorCode, NodeId, TopicId};
use wire::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use wire::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};

use crate::mail::PartitionKey;
use crate::request::{Handled, HandlerFault, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let body: DescribeTopicPartitionsRequest<'_> = request.decode()?;
    let image = Arc::clone(&state.image());
    let everything = body.topics.is_empty();
    let (from_topic, from_partition) = match &body.cursor {
        Some(cursor) => (&*cursor.topic_name, usize::try_from(cursor.partition_index)),
        None => ("", Ok(0)),
    };
    let named: BTreeSet<&str> =
        body.topics.iter().map(|topic| &*topic.name).filter(|name| from_topic <= *name).collect();
    // This response has no room for an error of its own; Kafka closes the connection as well.
    let from_partition = from_partition
        .map_err(|_| HandlerFault("DescribeTopicPartitionsRequest cursor partition must be valid".to_owned()))?;
    if !everything && body.cursor.is_some() && !named.contains(from_topic) {
        let reason = "DescribeTopicPartitionsRequest topic list should contain the cursor topic";
        return Err(HandlerFault(format!("{reason}: {from_topic}")));
    }
    let mut remaining = usize::try_from(body.response_partition_limit)
        .unwrap_or(0)
        .min(state.node.config.describe_partitions_max as usize)
        .max(1);
    let names: Box<dyn Iterator<Item = &str>> = if everything {
        Box::new(image.topics_from(from_topic).map(|topic| &*topic.name))
    } else {
        Box::new(named.into_iter())
    };
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        if remaining == 0 {
            response.next_cursor = Some(cursor(name, 0));
            break;
        }
        let Some(topic) = image.topic(name) else {
            response.topics.push(missing(name));
            continue;
        };
        let first = if name == from_topic { from_partition } else { 0 };
        let partitions = topic.partitions.len().saturating_sub(first);
        let taken = partitions.min(remaining);
        response.topics.push(described(state, topic, first, taken));
        if taken < partitions {
            response.next_cursor = Some(cursor(name, first + taken));
            break;
        }
        remaining -= taken;
    }
    Ok(request.reply(&response))
}

fn cursor<'a>(topic: &str, partition: usize) -> Cursor<'a> {
    Cursor {
        topic_name: Cow::Owned(topic.to_owned()),
        partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
        ..Cursor::default()
    }
}

fn missing<'a>(name: &str) -> DescribeTopicPartitionsResponseTopic<'a> {
    let code = match quorum::topic_name::fault(name) {
        Some(_) => ErrorCode::InvalidTopicException,
        None => ErrorCode::UnknownTopicOrPartition,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(Cow::Owned(name.to_owned())),
        topic_id: TopicId::ZERO,
        is_internal: quorum::image::is_internal(name),
        topic_authorized_operations: super::TOPIC_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn described<'a>(
    state: &ShardState,
    topic: &Arc<Topic>,
    first: usize,
    count: usize,
) -> DescribeTopicPartitionsResponseTopic<'a> {
    let node = state.node.config.node_id;
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| node.value()).collect::<Vec<i32>>();
    let partitions = topic.partitions.iter().skip(first).take(count).map(|partition| {
        let key = PartitionKey { topic: topic.id, partition: partition.index };
        let offline = state.node.offline.reason(key).is_some();
        let leader = partition.leader.filter(|_| !offline);
        DescribeTopicPartitionsResponsePartition {
            error_code: if leader.is_none() { ErrorCode::LeaderNotAvailable.code() } else { 0 },
            partition_index: partition.index.value(),
            leader_id: leader.map_or(-1, NodeId::value),
            leader_epoch: partition.leader_epoch.value(),
            replica_nodes: nodes(&partition.replicas),
            isr_nodes: nodes(&partition.isr),
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: if offline { vec![node.value()] } else { Vec::new() },
            ..DescribeTopicPartitionsResponsePartition::default()
        }
    });
    DescribeTopicPartitionsResponseTopic {
        error_code: 0,
        name: Some(Cow::Owned(topic.name.to_string())),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: partitions.collect(),
        topic_authorized_operations: super::TOPIC_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
