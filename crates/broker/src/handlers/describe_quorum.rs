//! DescribeQuorum (KIP-595, KIP-853): where the metadata quorum stands.

use std::borrow::Cow;
use std::rc::Rc;

use quorum::image::CLUSTER_METADATA_TOPIC;
use types::{ErrorCode, NodeId, TopicId};
use wire::describe_quorum_request::DescribeQuorumRequest;
use wire::describe_quorum_response::{DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData};

use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let body: DescribeQuorumRequest<'_> = request.decode()?;
    let is_metadata = |topic: &str, partition: i32| topic == CLUSTER_METADATA_TOPIC && partition == 0;
    let asked_right = matches!(&body.topics[..], [topic] if matches!(
        &topic.partitions[..], [partition] if is_metadata(&topic.topic_name, partition.partition_index)
    ));
    if !asked_right {
        let topics = body.topics.iter().map(|topic| TopicData {
            topic_name: Cow::Borrowed(&*topic.topic_name),
            partitions: topic.partitions.iter().map(|partition| unknown(partition.partition_index)).collect(),
            ..TopicData::default()
        });
        let topics = topics.collect();
        return Ok(request.reply(&DescribeQuorumResponse { topics, ..DescribeQuorumResponse::default() }));
    }
    let status = state.node.control.quorum();
    let now = state.now().wall.millis();
    let voter = ReplicaState {
        replica_id: state.node.config.node_id.value(),
        // Voters have directory ids from kraft.version 1 on.
        replica_directory_id: TopicId::ZERO,
        log_end_offset: status.log_end.value(),
        last_fetch_timestamp: now,
        last_caught_up_timestamp: now,
        ..ReplicaState::default()
    };
    let partition = PartitionData {
        partition_index: 0,
        leader_id: status.leader.map_or(-1, NodeId::value),
        leader_epoch: status.epoch.value(),
        high_watermark: status.high_watermark.value(),
        current_voters: vec![voter],
        error_message: None,
        ..PartitionData::default()
    };
    let topic = TopicData {
        topic_name: Cow::Borrowed(CLUSTER_METADATA_TOPIC),
        partitions: vec![partition],
        ..TopicData::default()
    };
    let listeners = state.node.endpoints.iter().map(|endpoint| Listener {
        name: Cow::Borrowed(&endpoint.listener),
        host: Cow::Borrowed(&endpoint.host),
        port: endpoint.port,
        ..Listener::default()
    });
    let node = Node { node_id: state.node.config.node_id.value(), listeners: listeners.collect(), ..Node::default() };
    Ok(request.reply(&DescribeQuorumResponse {
        error_message: None,
        topics: vec![topic],
        nodes: if request.version() < 2 { Vec::new() } else { vec![node] },
        ..DescribeQuorumResponse::default()
    }))
}

fn unknown<'a>(partition_index: i32) -> PartitionData<'a> {
    PartitionData {
        partition_index,
        error_code: ErrorCode::UnknownTopicOrPartition.code(),
        error_message: None,
        ..PartitionData::default()
    }
}
