//! JoinGroup: a member enters a group, or re-enters it. Answered when the group is complete, which may take minutes.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use coordinator::{Command, JoinGroup, JoinReply, Reply};
use types::ErrorCode;
use wire::join_group_request::JoinGroupRequest;
use wire::join_group_response::{JoinGroupResponse, JoinGroupResponseMember};

use crate::groups::{self, named, text};
use crate::meta_properties;
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// From here on a member must come back with the id it was given (KIP-394).
const VERSION_MEMBER_ID_REQUIRED: i16 = 4;
/// From here on a member can be told that it has nothing to assign (KIP-814).
const VERSION_SKIP_ASSIGNMENT: i16 = 9;
/// From here on the protocol's name may be missing.
const VERSION_PROTOCOL_NULLABLE: i16 = 7;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let join = {
        let asked: JoinGroupRequest<'_> = request.decode()?;
        let Ok(entropy) = meta_properties::random() else {
            return Ok(refused(&request, &asked.member_id, ErrorCode::CoordinatorNotAvailable));
        };
        if asked.group_id.is_empty() {
            return Ok(refused(&request, &asked.member_id, ErrorCode::InvalidGroupId));
        }
        let protocols = asked.protocols.iter();
        JoinGroup {
            group: text(&asked.group_id),
            member: named(&asked.member_id),
            instance: asked.group_instance_id.as_ref().map(text),
            client_id: request.client_id().into(),
            client_host: format!("/{}", request.connection.peer.ip().to_canonical()).into(),
            session_timeout_ms: asked.session_timeout_ms,
            // Version 0 knows one timeout only.
            rebalance_timeout_ms: if request.version() == 0 {
                asked.session_timeout_ms
            } else {
                asked.rebalance_timeout_ms
            },
            protocol_type: text(&asked.protocol_type),
            protocols: protocols.map(|it| (text(&it.name), Bytes::copy_from_slice(&it.metadata))).collect(),
            member_id_required: VERSION_MEMBER_ID_REQUIRED <= request.version(),
            can_skip_assignment: VERSION_SKIP_ASSIGNMENT <= request.version(),
            reason: groups::reason(asked.reason.as_deref()),
            entropy,
        }
    };
    let (group, member) = (join.group.clone(), join.member.clone().unwrap_or_default());
    match groups::ask(state, &group, Command::Join(join)).await {
        Ok(Reply::Join(reply)) => Ok(request.reply(&response(&reply, request.version()))),
        Ok(_) => Ok(refused(&request, &member, ErrorCode::UnknownServerError)),
        Err(code) => Ok(refused(&request, &member, code)),
    }
}

fn response(reply: &JoinReply, version: i16) -> JoinGroupResponse<'_> {
    let mut response = JoinGroupResponse {
        error_code: reply.error.code(),
        generation_id: reply.generation.unwrap_or(-1),
        protocol_type: reply.protocol_type.as_deref().map(Cow::Borrowed),
        protocol_name: reply.protocol.as_deref().map(Cow::Borrowed),
        leader: Cow::Borrowed(reply.leader.as_deref().unwrap_or_default()),
        skip_assignment: reply.skip_assignment,
        member_id: Cow::Borrowed(reply.member.as_deref().unwrap_or_default()),
        members: reply
            .members
            .iter()
            .map(|member| JoinGroupResponseMember {
                member_id: Cow::Borrowed(&*member.member),
                group_instance_id: member.instance.as_deref().map(Cow::Borrowed),
                metadata: Cow::Borrowed(&*member.metadata),
                ..JoinGroupResponseMember::default()
            })
            .collect(),
        ..JoinGroupResponse::default()
    };
    if version < VERSION_PROTOCOL_NULLABLE {
        response.protocol_name.get_or_insert(Cow::Borrowed(""));
    }
    response
}

fn refused(request: &Request, member: &str, code: ErrorCode) -> crate::reply::Reply {
    let protocol_name = (request.version() < VERSION_PROTOCOL_NULLABLE).then_some(Cow::Borrowed(""));
    request.reply(&JoinGroupResponse {
        error_code: code.code(),
        protocol_name,
        member_id: Cow::Borrowed(member),
        ..JoinGroupResponse::default()
    })
}
