//! CreatePartitions (KIP-195): adds partitions to topics; never takes any away.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use quorum::controller::{Command, Reply};
use quorum::topics::NewPartitions;
use wire::create_partitions_request::CreatePartitionsRequest;
use wire::create_partitions_response::{CreatePartitionsResponse, CreatePartitionsTopicResult};

use super::admin;
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let (topics, validate_only, timeout_ms) = {
        let body: CreatePartitionsRequest<'_> = request.decode()?;
        let topics = body.topics.into_iter().map(|topic| NewPartitions {
            name: Arc::from(&*topic.name),
            count: topic.count,
            manual: topic.assignments.map(|manual| manual.into_iter().map(|replicas| replicas.broker_ids).collect()),
        });
        (topics.collect::<Vec<_>>(), body.validate_only, body.timeout_ms)
    };
    let names: Vec<Arc<str>> = topics.iter().map(|topic| Arc::clone(&topic.name)).collect();
    let results = match admin::command(state, Command::CreatePartitions { topics, validate_only }, timeout_ms).await {
        Ok(Reply::PartitionsCreated(results)) => results,
        other => {
            let fault = other.err().unwrap_or_else(admin::no_controller);
            names.into_iter().map(|name| (name, Err(fault.clone()))).collect()
        }
    };
    let results = results.into_iter().map(|(name, result)| {
        let (error_code, error_message) = admin::outcome(result);
        CreatePartitionsTopicResult {
            name: Cow::Owned(name.to_string()),
            error_code,
            error_message,
            ..CreatePartitionsTopicResult::default()
        }
    });
    Ok(request.reply(&CreatePartitionsResponse { results: results.collect(), ..CreatePartitionsResponse::default() }))
}
