//! SyncGroup: a member asks for its part; the leader brings everyone's.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use coordinator::{Command, Reply, SyncGroup};
use types::ErrorCode;
use wire::sync_group_request::SyncGroupRequest;
use wire::sync_group_response::SyncGroupResponse;

use crate::groups::{self, text};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// From here on a member must say what it takes the group for (KIP-559).
const VERSION_PROTOCOL_REQUIRED: i16 = 5;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let sync = {
        let asked: SyncGroupRequest<'_> = request.decode()?;
        let lacks_protocol = asked.protocol_type.is_none() || asked.protocol_name.is_none();
        if VERSION_PROTOCOL_REQUIRED <= request.version() && lacks_protocol {
            return Ok(refused(&request, ErrorCode::InconsistentGroupProtocol));
        }
        if asked.group_id.is_empty() {
            return Ok(refused(&request, ErrorCode::InvalidGroupId));
        }
        let assignments = asked.assignments.iter();
        SyncGroup {
            group: text(&asked.group_id),
            member: text(&asked.member_id),
            instance: asked.group_instance_id.as_ref().map(text),
            generation: asked.generation_id,
            protocol_type: asked.protocol_type.as_ref().map(text),
            protocol: asked.protocol_name.as_ref().map(text),
            assignments: assignments.map(|it| (text(&it.member_id), Bytes::copy_from_slice(&it.assignment))).collect(),
        }
    };
    let group = sync.group.clone();
    match groups::ask(state, &group, Command::Sync(sync)).await {
        Ok(Reply::Sync(reply)) => Ok(request.reply(&SyncGroupResponse {
            error_code: reply.error.code(),
            protocol_type: reply.protocol_type.as_deref().map(Cow::Borrowed),
            protocol_name: reply.protocol.as_deref().map(Cow::Borrowed),
            assignment: Cow::Borrowed(&reply.assignment),
            ..SyncGroupResponse::default()
        })),
        Ok(_) => Ok(refused(&request, ErrorCode::UnknownServerError)),
        Err(code) => Ok(refused(&request, code)),
    }
}

fn refused(request: &Request, code: ErrorCode) -> crate::reply::Reply {
    request.reply(&SyncGroupResponse { error_code: code.code(), ..SyncGroupResponse::default() })
}
