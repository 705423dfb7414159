//! Heartbeat: a member lives.

use std::rc::Rc;

use coordinator::{Command, Heartbeat, Reply};
use types::ErrorCode;
use wire::heartbeat_request::HeartbeatRequest;
use wire::heartbeat_response::HeartbeatResponse;

use crate::groups::{self, text};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let heartbeat = {
        let asked: HeartbeatRequest<'_> = request.decode()?;
        Heartbeat {
            group: text(&asked.group_id),
            member: text(&asked.member_id),
            instance: asked.group_instance_id.as_ref().map(text),
            generation: asked.generation_id,
        }
    };
    let code = if heartbeat.group.is_empty() {
        ErrorCode::InvalidGroupId
    } else {
        let group = heartbeat.group.clone();
        match groups::ask(state, &group, Command::Heartbeat(heartbeat)).await {
            Ok(Reply::Done(code)) => code,
            Ok(_) => ErrorCode::UnknownServerError,
            // It will be known soon enough whether the member is still in; until then nothing is wrong.
            Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
            Err(code) => code,
        }
    };
    Ok(request.reply(&HeartbeatResponse { error_code: code.code(), ..HeartbeatResponse::default() }))
}
