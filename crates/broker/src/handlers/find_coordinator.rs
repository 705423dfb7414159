//! FindCoordinator: which broker looks after a group. Making the offsets topic, should it be missing, is part of it.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use types::ErrorCode;
use wire::find_coordinator_request::FindCoordinatorRequest;
use wire::find_coordinator_response::{Coordinator, FindCoordinatorResponse};

use crate::groups;
use crate::mail::PartitionKey;
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// The kinds of key that Kafka knows: groups, transactional ids, share partitions.
const KEY_TYPE_GROUP: i8 = 0;
const KEY_TYPE_TRANSACTION: i8 = 1;
const KEY_TYPE_SHARE: i8 = 2;

/// Where a coordinator is reached.
struct Place {
    node: i32,
    host: Arc<str>,
    port: i32,
}

type Found = Result<Place, (ErrorCode, Option<String>)>;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let (keys, key_type) = {
        let asked: FindCoordinatorRequest<'_> = request.decode()?;
        let keys = if request.version() < 4 { vec![asked.key] } else { asked.coordinator_keys };
        (keys.into_iter().map(Cow::into_owned).collect::<Vec<String>>(), asked.key_type)
    };
    let mut coordinators = Vec::with_capacity(keys.len());
    for key in keys {
        let found = find(state, &request, key_type, &key).await;
        coordinators.push(coordinator(key, found));
    }
    let mut response = FindCoordinatorResponse::default();
    if request.version() >= 4 {
        response.coordinators = coordinators;
    } else if let Some(only) = coordinators.pop() {
        response.error_code = only.error_code;
        response.error_message = only.error_message;
        response.node_id = only.node_id;
        response.host = only.host;
        response.port = only.port;
    }
    Ok(request.reply(&response))
}

async fn find(state: &Rc<ShardState>, request: &Request, key_type: i8, group: &str) -> Found {
    match key_type {
        KEY_TYPE_GROUP => {}
        // Final, never "try again": clients would wait for ever.
        KEY_TYPE_TRANSACTION => return Err(refused("transactions are not built: there is no transaction coordinator")),
        KEY_TYPE_SHARE => return Err(refused("share groups are not built: there is no share coordinator")),
        other => return Err(refused(&format!("there is no coordinator of type {other}"))),
    }
    let view = groups::offsets_topic(state).await.map_err(|code| (code, None))?;
    let partition = groups::partition_of(&view, group);
    let unavailable = || (ErrorCode::CoordinatorNotAvailable, None);
    if let Some(reason) = state.node.offline.reason(PartitionKey { topic: view.id, partition }) {
        return Err((ErrorCode::CoordinatorNotAvailable, Some(reason)));
    }
    let leader = view.topic.partition(partition).and_then(|partition| partition.leader).ok_or_else(unavailable)?;
    let image = state.image();
    let broker = image.broker(leader).ok_or_else(unavailable)?;
    let listener = &*request.connection.listener;
    let endpoint = broker.endpoints.iter().find(|endpoint| &*endpoint.listener == listener).ok_or_else(unavailable)?;
    Ok(Place { node: leader.value(), host: Arc::clone(&endpoint.host), port: i32::from(endpoint.port) })
}

fn refused(message: &str) -> (ErrorCode, Option<String>) {
    (ErrorCode::InvalidRequest, Some(message.to_owned()))
}

fn coordinator(key: String, found: Found) -> Coordinator<'static> {
    match found {
        Ok(place) => Coordinator {
            key: Cow::Owned(key),
            node_id: place.node,
            host: Cow::Owned(place.host.to_string()),
            port: place.port,
            error_code: 0,
            error_message: None,
            ..Coordinator::default()
        },
        Err((code, message)) => Coordinator {
            key: Cow::Owned(key),
            node_id: -1,
            host: Cow::Borrowed(""),
            port: -1,
            error_code: code.code(),
            error_message: message.map(Cow::Owned),
            ..Coordinator::default()
        },
    }
}
