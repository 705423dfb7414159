//! DescribeGroups: groups with their members.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use coordinator::{Command, DescribedGroup, Reply};
use types::ErrorCode;
use wire::describe_groups_request::DescribeGroupsRequest;
use wire::describe_groups_response::{self as wire_response, DescribeGroupsResponse, DescribedGroupMember};

use crate::groups::{self, text};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// From here on an unknown group is an error; before, it is a dead one.
const VERSION_GROUP_NOT_FOUND: i16 = 6;

/// "Not asked for", where a response has room for authorized operations.
const OPERATIONS_UNKNOWN: i32 = i32::MIN;

/// What everyone may do with a group while there are no ACLs, as a bit field of Kafka's operation codes: Read (3),
/// Delete (6), Describe (8), DescribeConfigs (10), AlterConfigs (11).
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let (ids, operations) = {
        let asked: DescribeGroupsRequest<'_> = request.decode()?;
        let operations = if asked.include_authorized_operations { GROUP_OPERATIONS } else { OPERATIONS_UNKNOWN };
        (asked.groups.iter().map(text).collect::<Vec<Arc<str>>>(), operations)
    };
    let mut described = Vec::with_capacity(ids.len());
    for id in ids {
        described.push(describe(state, id).await);
    }
    let groups = described.iter().map(|group| {
        let is_unknown = group.error == ErrorCode::GroupIdNotFound;
        let code =
            if is_unknown && request.version() < VERSION_GROUP_NOT_FOUND { ErrorCode::None } else { group.error };
        let message = format!("Group {} not found.", group.group);
        wire_response::DescribedGroup {
            error_code: code.code(),
            error_message: (code == ErrorCode::GroupIdNotFound).then_some(Cow::Owned(message)),
            group_id: Cow::Borrowed(&*group.group),
            group_state: Cow::Borrowed(group.state),
            protocol_type: Cow::Borrowed(&*group.protocol_type),
            protocol_data: Cow::Borrowed(group.protocol.as_deref().unwrap_or_default()),
            members: group
                .members
                .iter()
                .map(|member| DescribedGroupMember {
                    member_id: Cow::Borrowed(&*member.member),
                    group_instance_id: member.instance.as_deref().map(Cow::Borrowed),
                    client_id: Cow::Borrowed(&*member.client_id),
                    client_host: Cow::Borrowed(&*member.client_host),
                    member_metadata: Cow::Borrowed(&*member.metadata),
                    member_assignment: Cow::Borrowed(&*member.assignment),
                    ..DescribedGroupMember::default()
                })
                .collect(),
            authorized_operations: if request.version() < 3 || !code.is_none() {
                OPERATIONS_UNKNOWN
            } else {
                operations
            },
            ..wire_response::DescribedGroup::default()
        }
    });
    Ok(request.reply(&DescribeGroupsResponse { groups: groups.collect(), ..DescribeGroupsResponse::default() }))
}

async fn describe(state: &Rc<ShardState>, id: Arc<str>) -> DescribedGroup {
    let refused = |group: Arc<str>, error: ErrorCode| DescribedGroup {
        group,
        error,
        state: "",
        protocol_type: "".into(),
        protocol: None,
        members: Vec::new(),
    };
    match groups::ask(state, &id, Command::Describe(vec![Arc::clone(&id)])).await {
        Ok(Reply::Describe(mut groups)) => groups.pop().unwrap_or_else(|| refused(id, ErrorCode::UnknownServerError)),
        Ok(_) => refused(id, ErrorCode::UnknownServerError),
        Err(code) => refused(id, code),
    }
}
