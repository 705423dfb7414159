//! CreateTopics (KIP-4): makes topics, or with `validate_only` says whether it would.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use quorum::controller::{Command, Reply};
use quorum::topics::{Layout, NewTopic, TopicCreated};
use quorum::{Fault, MetadataImage};
use wire::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use wire::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse};

use super::admin;
use crate::config::DescribeOptions;
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let (topics, validate_only, timeout_ms) = {
        let body: CreateTopicsRequest<'_> = request.decode()?;
        (body.topics.into_iter().map(new_topic).collect::<Vec<_>>(), body.validate_only, body.timeout_ms)
    };
    let names: Vec<Arc<str>> = topics.iter().map(|topic| Arc::clone(&topic.name)).collect();
    let results = match admin::command(state, Command::CreateTopics { topics, validate_only }, timeout_ms).await {
        Ok(Reply::TopicsCreated(results)) => results,
        other => {
            let fault = other.err().unwrap_or_else(admin::no_controller);
            names.into_iter().map(|name| (name, Err(fault.clone()))).collect()
        }
    };
    let image = Arc::clone(&state.image());
    let topics = results.into_iter().map(|(name, result)| described(state, &image, &name, result)).collect();
    Ok(request.reply(&CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }))
}

/// A topic as the request describes it; -1 stands for the node's default there.
fn new_topic(topic: CreatableTopic<'_>) -> NewTopic {
    let manual = topic.assignments.into_iter();
    NewTopic {
        name: Arc::from(&*topic.name),
        layout: Layout {
            partitions: (topic.num_partitions != -1).then_some(topic.num_partitions),
            replication_factor: (topic.replication_factor != -1).then_some(topic.replication_factor),
            manual: manual.map(|assignment| (assignment.partition_index, assignment.broker_ids)).collect(),
        },
        configs: topic
            .configs
            .into_iter()
            .map(|config| (Arc::from(&*config.name), config.value.map(|value| Arc::from(&*value))))
            .collect(),
    }
}

fn described<'a>(
    state: &ShardState,
    image: &MetadataImage,
    name: &Arc<str>,
    result: Result<TopicCreated, Fault>,
) -> CreatableTopicResult<'a> {
    let name = Cow::Owned(name.to_string());
    let made = match result {
        Ok(made) => made,
        Err(fault) => {
            let (error_code, error_message) = admin::refusal(fault);
            return CreatableTopicResult {
                name,
                error_code,
                error_message,
                num_partitions: -1,
                replication_factor: -1,
                configs: Some(Vec::new()),
                ..CreatableTopicResult::default()
            };
        }
    };
    let overrides = admin::overrides(Some(&Arc::new(made.configs)));
    let mut rows = admin::topic_rows(state, image, &overrides, DescribeOptions::default());
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    let configs = rows.into_iter().map(|row| CreatableTopicConfigs {
        name: Cow::Owned(row.name),
        value: row.value.map(Cow::Owned),
        read_only: row.read_only,
        config_source: row.source.to_wire(),
        is_sensitive: row.sensitive,
        ..CreatableTopicConfigs::default()
    });
    CreatableTopicResult {
        name,
        topic_id: made.id,
        error_code: 0,
        error_message: None,
        num_partitions: made.partitions,
        replication_factor: made.replication_factor,
        configs: Some(configs.collect()),
        ..CreatableTopicResult::default()
    }
}
