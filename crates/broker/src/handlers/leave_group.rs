//! LeaveGroup: members leave, or are removed by an administrator (KIP-345).

use std::borrow::Cow;
use std::rc::Rc;

use coordinator::{Command, LeaveGroup, LeaveReply, Leaver, Reply};
use types::ErrorCode;
use wire::leave_group_request::LeaveGroupRequest;
use wire::leave_group_response::{LeaveGroupResponse, MemberResponse};

use crate::groups::{self, named, text};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// From here on several may leave at once, each with its own outcome.
const VERSION_BATCHED: i16 = 3;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let leave = {
        let asked: LeaveGroupRequest<'_> = request.decode()?;
        let members = if request.version() < VERSION_BATCHED {
            vec![Leaver { member: named(&asked.member_id), instance: None, reason: None }]
        } else {
            let leavers = asked.members.iter();
            leavers
                .map(|it| Leaver {
                    member: named(&it.member_id),
                    instance: it.group_instance_id.as_ref().map(text),
                    reason: groups::reason(it.reason.as_deref()),
                })
                .collect()
        };
        LeaveGroup { group: text(&asked.group_id), members }
    };
    let refused = |code: ErrorCode| LeaveReply { error: code, members: Vec::new() };
    let reply = if leave.group.is_empty() {
        refused(ErrorCode::InvalidGroupId)
    } else {
        let group = leave.group.clone();
        match groups::ask(state, &group, Command::Leave(leave)).await {
            Ok(Reply::Leave(reply)) => reply,
            Ok(_) => refused(ErrorCode::UnknownServerError),
            Err(code) => refused(code),
        }
    };
    let mut response = LeaveGroupResponse { error_code: reply.error.code(), ..LeaveGroupResponse::default() };
    if request.version() >= VERSION_BATCHED {
        response.members = reply
            .members
            .iter()
            .map(|left| MemberResponse {
                member_id: Cow::Borrowed(left.leaver.member.as_deref().unwrap_or_default()),
                group_instance_id: left.leaver.instance.as_deref().map(Cow::Borrowed),
                error_code: left.error.code(),
                ..MemberResponse::default()
            })
            .collect();
    } else if reply.error.is_none()
        && let Some(only) = reply.members.first()
    {
        response.error_code = only.error.code();
    }
    Ok(request.reply(&response))
}
