//! From a frame to its handler. Every request passes [`authorise`] once, with a principal and a listener.

use std::rc::Rc;

use bytes::BytesMut;
use shard::MemoryGrant;
use types::ErrorCode;
use wire::ApiKey;
use wire::api_versions_response::ApiVersionsResponse;

use crate::connection::{Connection, Refused};
use crate::handlers;
use crate::metrics::CloseCause;
use crate::request::{Handled, HandlerFault, Request, Unserved, encode_response};
use crate::shard_state::ShardState;
use crate::{fetch, produce};

/// Who asks, as far as is known. Without security everyone is `User:ANONYMOUS`, as in Kafka.
pub(crate) struct Principal;

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User:ANONYMOUS")
    }
}

/// Whether `principal`, connected through `listener`, may use `api`. Allows everything until security is built: that
/// will be another body of this function, not another place that calls it.
fn authorise(_principal: &Principal, _listener: &str, _api: ApiKey) -> bool {
    true
}

/// Handles one frame (without its size). Returns when the next one of this connection may be handled: at once for
/// produce and fetch, whose replies come later and in order; after the reply for everything else, as Kafka does.
///
/// # Errors
/// Why the connection must be closed.
pub(crate) async fn dispatch(
    state: &Rc<ShardState>,
    connection: &Rc<Connection>,
    frame: BytesMut,
    memory: Option<MemoryGrant>,
) -> Result<(), Refused> {
    let malformed = |reason| Refused { cause: CloseCause::Malformed, reason };
    let request = match Request::parse(connection, frame, memory) {
        Ok(request) => request,
        Err(Ok(unserved)) => return unserved_api(state, connection, &unserved),
        Err(Err(error)) => return Err(malformed(error.to_string())),
    };
    let api = request.api();
    if !authorise(&Principal, &connection.listener, api) {
        let reason = format!("{api} is not allowed to {Principal}");
        return Err(Refused { cause: CloseCause::Unauthorized, reason });
    }
    if !handlers::is_built(api) {
        let (api_key, api_version, correlation) = (api.code(), request.version(), request.correlation());
        return unserved_api(state, connection, &Unserved { api_key, api_version, correlation });
    }
    let slot = connection.reserve();
    let started = state.now().monotonic_ns;
    match api {
        ApiKey::Produce => produce::start(state, connection, slot, request).map_err(malformed),
        ApiKey::Fetch => fetch::start(state, connection, slot, &request).map_err(malformed),
        _ => match handle(state, connection, request).await {
            Some(Ok(reply)) => {
                state.metrics.answered(api, shard::clock::monotonic_ns().saturating_sub(started));
                connection.answer(state, slot, Some(reply));
                Ok(())
            }
            Some(Err(HandlerFault(reason))) => Err(malformed(reason)),
            None => {
                connection.close();
                Ok(())
            }
        },
    }
}

/// Has the API's handler answer. `None`: the client went away while it waited for the other members of its group, which
/// may take minutes. Its connection ends then, and the group learns of it as in Kafka, when the member's time is over.
async fn handle(state: &Rc<ShardState>, connection: &Rc<Connection>, request: Request) -> Option<Handled> {
    if !matches!(request.api(), ApiKey::JoinGroup | ApiKey::SyncGroup) {
        return Some(handlers::handle(state, request).await);
    }
    tokio::select! {
        handled = handlers::handle(state, request) => Some(handled),
        () = connection.ended_by_client() => None,
    }
}

/// ApiVersions of an unknown version gets version 0 of its answer, so that the client can try again; anything else that
/// was not announced ends the connection, as in Kafka.
fn unserved_api(state: &Rc<ShardState>, connection: &Rc<Connection>, unserved: &Unserved) -> Result<(), Refused> {
    if unserved.api_key != ApiKey::ApiVersions.code() {
        let reason = format!(
            "the client asked for API {} version {}, which this node does not announce",
            unserved.api_key, unserved.api_version
        );
        return Err(Refused { cause: CloseCause::Unserved, reason });
    }
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![handlers::api_versions::row(ApiKey::ApiVersions.api())],
        ..ApiVersionsResponse::default()
    };
    let slot = connection.reserve();
    connection.answer(state, slot, Some(encode_response(unserved.correlation, 0, &response)));
    Ok(())
}
