//! What the admin handlers share: refusals in a response's terms, and config rows.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use quorum::controller::{Command, Reply};
use quorum::{ConfigResource, Configs, Fault, MetadataImage};
use types::ErrorCode;

use crate::config::{ConfigRow, DescribeOptions, DynamicOverrides, Overrides, describe_topic};
use crate::shard_state::ShardState;

/// Code and message of a refusal.
pub(crate) fn refusal<'a>(fault: Fault) -> (i16, Option<Cow<'a, str>>) {
    (fault.code.code(), fault.message.map(Cow::Owned))
}

/// Code and message of an outcome.
pub(crate) fn outcome<'a>(result: Result<(), Fault>) -> (i16, Option<Cow<'a, str>>) {
    result.map_or_else(refusal, |()| (ErrorCode::None.code(), None))
}

/// What everyone is told when the control thread has no answer.
pub(crate) fn no_controller() -> Fault {
    Fault::new(
        ErrorCode::KafkaStorageError,
        "The metadata log cannot be written just now: the node's log names the cause. Nothing was changed; try again.",
    )
}

/// Has the controller do `command` and waits for it, no longer than the request's `timeout_ms`. What has begun goes on
/// beyond that, as in Kafka. A client that sends 0 or less waits as long as it takes.
pub(crate) async fn command(state: &ShardState, command: Command, timeout_ms: i32) -> Result<Reply, Fault> {
    let done = state.node.control.command(command);
    let reply = match u64::try_from(timeout_ms) {
        Ok(ms) if ms > 0 => tokio::time::timeout(Duration::from_millis(ms), done).await.map_err(|_| {
            let message =
                format!("Not done within the request's timeout of {ms} ms. It goes on: look before you try again.");
            Fault::new(ErrorCode::RequestTimedOut, message)
        })?,
        _ => done.await,
    };
    reply.ok_or_else(no_controller)
}

/// Has the controller change configs. `results` holds the refusals so far; the answers go, in order, where there is none.
pub(crate) async fn change_configs(state: &ShardState, command: Command, results: &mut [Option<Fault>]) {
    let mut answers = match state.node.control.command(command).await {
        Some(Reply::ConfigsChanged(answers)) => Some(answers.into_iter()),
        _ => None,
    };
    for result in results.iter_mut().filter(|result| result.is_none()) {
        *result = match &mut answers {
            Some(answers) => answers.next().and_then(|(_, answer)| answer.err()),
            None => Some(no_controller()),
        };
    }
}

/// What a request says against Kafka's rules.
pub(crate) fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::InvalidRequest, message)
}

/// Configs as the catalogue takes them.
pub(crate) fn overrides(configs: Option<&Arc<Configs>>) -> Overrides {
    configs
        .into_iter()
        .flat_map(|configs| configs.iter())
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

/// The rows of a topic.
pub(crate) fn topic_rows(
    state: &ShardState,
    image: &MetadataImage,
    overrides: &Overrides,
    options: DescribeOptions<'_>,
) -> Vec<ConfigRow> {
    let config = &state.node.config;
    let dynamic = DynamicOverrides::of(image, config.node_id);
    describe_topic(config, dynamic.as_dynamic(), overrides, options)
}

/// A resource that configs can be altered of, as a request names it, by Kafka's rules for the broker that is asked.
pub(crate) fn alterable(state: &ShardState, kind: i8, name: &str) -> Result<ConfigResource, Fault> {
    match kind {
        RESOURCE_BROKER if !name.is_empty() => {
            let node = state.node.config.node_id;
            let asked: i32 =
                name.parse().map_err(|_| invalid(format!("Node id must be an integer, but it is: {name}")))?;
            if asked != node.value() {
                return Err(invalid(format!("Unexpected broker id, expected {node}, but received {name}")));
            }
            Ok(ConfigResource::Broker(node))
        }
        RESOURCE_BROKER_LOGGER => Err(invalid(
            "This node has no loggers whose levels can be altered while it runs: set RUST_LOG at its start.",
        )),
        RESOURCE_TOPIC if name.is_empty() => Err(invalid("Default topic resources are not allowed.")),
        RESOURCE_GROUP if name.is_empty() => Err(invalid("Default group resources are not allowed.")),
        RESOURCE_TOPIC => match quorum::topic_name::fault(name) {
            Some(why) => Err(Fault::new(ErrorCode::InvalidTopicException, why)),
            None => Ok(ConfigResource::Topic(name.into())),
        },
        other => {
            quorum::codec::resource_from(other, name).ok_or_else(|| invalid(format!("Unknown resource type {other}")))
        }
    }
}

/// Kafka's numbers of config resources (`ConfigResource.Type`).
pub(crate) const RESOURCE_TOPIC: i8 = 2;
pub(crate) const RESOURCE_BROKER: i8 = 4;
pub(crate) const RESOURCE_BROKER_LOGGER: i8 = 8;
pub(crate) const RESOURCE_CLIENT_METRICS: i8 = 16;
pub(crate) const RESOURCE_GROUP: i8 = 32;
