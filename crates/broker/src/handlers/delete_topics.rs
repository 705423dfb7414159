//! DeleteTopics (KIP-4, by id KIP-516).

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use quorum::Fault;
use quorum::controller::{Command, Reply};
use quorum::topics::{TopicDeleted, TopicRef};
use types::{ErrorCode, TopicId};
use wire::delete_topics_request::DeleteTopicsRequest;
use wire::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};

use super::admin;
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let mut results = Vec::new();
    let mut topics = Vec::new();
    let timeout_ms = {
        let body: DeleteTopicsRequest<'_> = request.decode()?;
        topics.extend(body.topic_names.iter().map(|name| TopicRef::Name(Arc::from(&**name))));
        for topic in &body.topics {
            let (name, id) = (topic.name.as_deref().map(Arc::from), Some(topic.topic_id).filter(|id| !id.is_zero()));
            match (name, id) {
                (Some(name), None) => topics.push(TopicRef::Name(name)),
                (None, Some(id)) => topics.push(TopicRef::Id(id)),
                (name, id) => {
                    let message = if id.is_some() {
                        "You may not specify both topic name and topic id."
                    } else {
                        "Neither topic name nor id were specified."
                    };
                    results.push(TopicDeleted { name, id, result: Err(admin::invalid(message)) });
                }
            }
        }
        body.timeout_ms
    };
    if state.node.config.delete_topics {
        match admin::command(state, Command::DeleteTopics { topics: topics.clone() }, timeout_ms).await {
            Ok(Reply::TopicsDeleted(deleted)) => results.extend(deleted),
            other => {
                let fault = other.err().unwrap_or_else(admin::no_controller);
                results.extend(topics.into_iter().map(|topic| refused(topic, fault.clone())));
            }
        }
    } else {
        let fault = if request.version() < 3 {
            admin::invalid("This version does not support topic deletion.")
        } else {
            Fault::bare(ErrorCode::TopicDeletionDisabled)
        };
        results.extend(topics.into_iter().map(|topic| refused(topic, fault.clone())));
    }
    let responses = results.into_iter().map(|deleted| {
        let (error_code, error_message) = admin::outcome(deleted.result);
        // A null name exists from version 6 on, with ids.
        let name = deleted.name.map(|name| Cow::Owned(name.to_string()));
        DeletableTopicResult {
            name: if request.version() < 6 { Some(name.unwrap_or_default()) } else { name },
            topic_id: deleted.id.unwrap_or(TopicId::ZERO),
            error_code,
            error_message,
            ..DeletableTopicResult::default()
        }
    });
    Ok(request.reply(&DeleteTopicsResponse { responses: responses.collect(), ..DeleteTopicsResponse::default() }))
}

fn refused(topic: TopicRef, fault: Fault) -> TopicDeleted {
    match topic {
        TopicRef::Name(name) => TopicDeleted { name: Some(name), id: None, result: Err(fault) },
        TopicRef::Id(id) => TopicDeleted { name: None, id: Some(id), result: Err(fault) },
    }
}
