//! Metadata: brokers, topics, leaders; makes missing topics when both sides allow it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use quorum::Fault;
use quorum::controller::{Command, Reply};
use quorum::image::{MetadataImage, Topic};
use quorum::topics::{Layout, NewTopic};
use types::{ErrorCode, NodeId, TopicId};
use wire::metadata_request::MetadataRequest;
use wire::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};

use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// "Not asked for", where a response has room for authorized operations.
const OPERATIONS_UNKNOWN: i32 = i32::MIN;

enum Asked {
    All,
    Named(Vec<Arc<str>>),
    Identified(Vec<TopicId>),
}

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let (asked, may_create, with_operations) = {
        let body: MetadataRequest<'_> = request.decode()?;
        let with_operations = (body.include_cluster_authorized_operations, body.include_topic_authorized_operations);
        let asked = match body.topics {
            None => Asked::All,
            // Version 0 has no null: nothing named means all.
            Some(topics) if topics.is_empty() && request.version() == 0 => Asked::All,
            // Java sends an empty name beside an id, so the id decides.
            Some(topics) if topics.iter().any(|topic| !topic.topic_id.is_zero() || topic.name.is_none()) => {
                Asked::Identified(topics.iter().map(|topic| topic.topic_id).collect())
            }
            Some(topics) => {
                Asked::Named(topics.into_iter().filter_map(|topic| topic.name.map(|name| Arc::from(&*name))).collect())
            }
        };
        (asked, body.allow_auto_topic_creation || request.version() < 4, with_operations)
    };
    let mut refusals = Vec::new();
    if let Asked::Named(names) = &asked
        && may_create
        && state.node.config.auto_create_topics
    {
        refusals = create_missing(state, names).await;
    }
    let image = Arc::clone(&state.image());
    let mut topics = Vec::new();
    match &asked {
        Asked::All => topics.extend(image.topics().map(|topic| described(state, topic))),
        Asked::Named(names) => {
            let mut seen = BTreeSet::new();
            for name in names.iter().filter(|name| seen.insert(Arc::clone(name))) {
                topics.push(match image.topic(name) {
                    Some(topic) => described(state, topic),
                    None => missing(name, &refusals),
                });
            }
        }
        Asked::Identified(ids) => topics.extend(ids.iter().map(|id| match image.topic_by_id(*id) {
            Some(topic) => described(state, topic),
            None => MetadataResponseTopic {
                error_code: ErrorCode::UnknownTopicId.code(),
                name: None,
                topic_id: *id,
                topic_authorized_operations: OPERATIONS_UNKNOWN,
                ..MetadataResponseTopic::default()
            },
        })),
    }
    if request.version() < 12 {
        // A null name exists from version 12 on.
        for topic in &mut topics {
            topic.name.get_or_insert(Cow::Borrowed(""));
        }
    }
    if with_operations.1 {
        for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations = super::TOPIC_OPERATIONS;
        }
    }
    let response = MetadataResponse {
        brokers: brokers(&image, &request.connection.listener),
        cluster_id: Some(Cow::Borrowed(&state.node.cluster_id)),
        controller_id: image.controller().unwrap_or(state.node.config.node_id).value(),
        topics,
        cluster_authorized_operations: if with_operations.0 && (8..=10).contains(&request.version()) {
            super::CLUSTER_OPERATIONS
        } else {
            OPERATIONS_UNKNOWN
        },
        ..MetadataResponse::default()
    };
    let reason = refusals.into_iter().find_map(|(_, fault)| fault.message);
    Ok(request.reply(&response).because(reason))
}

/// The brokers as seen through `listener`.
fn brokers<'a>(image: &'a MetadataImage, listener: &str) -> Vec<MetadataResponseBroker<'a>> {
    image
        .brokers_alive()
        .filter_map(|broker| {
            let endpoint = broker.endpoints.iter().find(|endpoint| &*endpoint.listener == listener)?;
            Some(MetadataResponseBroker {
                node_id: broker.node.value(),
                host: Cow::Borrowed(&endpoint.host),
                port: i32::from(endpoint.port),
                rack: broker.rack.as_deref().map(Cow::Borrowed),
                ..MetadataResponseBroker::default()
            })
        })
        .collect()
}

fn described<'a>(state: &ShardState, topic: &Arc<Topic>) -> MetadataResponseTopic<'a> {
    let partitions = topic
        .partitions
        .iter()
        .map(|partition| {
            let key = crate::mail::PartitionKey { topic: topic.id, partition: partition.index };
            let offline = state.node.offline.reason(key).is_some();
            let leader = partition.leader.filter(|_| !offline);
            MetadataResponsePartition {
                error_code: if leader.is_none() { ErrorCode::LeaderNotAvailable.code() } else { 0 },
                partition_index: partition.index.value(),
                leader_id: leader.map_or(-1, NodeId::value),
                leader_epoch: partition.leader_epoch.value(),
                replica_nodes: partition.replicas.iter().map(|node| node.value()).collect(),
                isr_nodes: partition.isr.iter().map(|node| node.value()).collect(),
                offline_replicas: if offline { vec![state.node.config.node_id.value()] } else { Vec::new() },
                ..MetadataResponsePartition::default()
            }
        })
        .collect();
    MetadataResponseTopic {
        error_code: 0,
        name: Some(Cow::Owned(topic.name.to_string())),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions,
        topic_authorized_operations: OPERATIONS_UNKNOWN,
        ..MetadataResponseTopic::default()
    }
}

fn missing<'a>(name: &Arc<str>, refusals: &[(Arc<str>, Fault)]) -> MetadataResponseTopic<'a> {
    let refused = refusals.iter().find(|(refused, _)| refused == name).map(|(_, fault)| fault.code);
    let code = match quorum::topic_name::fault(name) {
        Some(_) => ErrorCode::InvalidTopicException,
        None => refused.unwrap_or(ErrorCode::UnknownTopicOrPartition),
    };
    MetadataResponseTopic {
        error_code: code.code(),
        name: Some(Cow::Owned(name.to_string())),
        topic_authorized_operations: OPERATIONS_UNKNOWN,
        ..MetadataResponseTopic::default()
    }
}

/// Makes those of `names` that do not exist. They are there when this returns, so that clients need not ask twice.
async fn create_missing(state: &Rc<ShardState>, names: &[Arc<str>]) -> Vec<(Arc<str>, Fault)> {
    let missing: Vec<Arc<str>> = {
        let image = state.image();
        names
            .iter()
            .filter(|name| image.topic(name).is_none() && quorum::topic_name::fault(name).is_none())
            .filter(|name| !quorum::image::is_internal(name))
            .cloned()
            .collect()
    };
    if missing.is_empty() {
        return Vec::new();
    }
    let topics = missing
        .into_iter()
        .map(|name| NewTopic { name, layout: Layout::default_layout(), configs: Vec::new() })
        .collect();
    match state.node.control.command(Command::CreateTopics { topics, validate_only: false }).await {
        Some(Reply::TopicsCreated(results)) => results
            .into_iter()
            .filter_map(|(name, result)| Some((name, result.err()?)))
            // Somebody else was faster, which is as good.
            .filter(|(_, fault)| fault.code != ErrorCode::TopicAlreadyExists)
            .collect(),
        _ => Vec::new(),
    }
}
