//! ListGroups: the groups of all coordinators of this broker, by state and type (KIP-518, KIP-848).

use std::borrow::Cow;
use std::rc::Rc;

use coordinator::{Command, ListGroups, Reply};
use types::ErrorCode;
use wire::list_groups_request::ListGroupsRequest;
use wire::list_groups_response::{ListGroupsResponse, ListedGroup};

use crate::groups::{self, text};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let filter = {
        let asked: ListGroupsRequest<'_> = request.decode()?;
        ListGroups {
            states: asked.states_filter.iter().map(text).collect(),
            types: asked.types_filter.iter().map(text).collect(),
        }
    };
    let mut listed = Vec::new();
    let mut error = ErrorCode::None;
    // Without an offsets topic there has never been a group.
    if let Some(view) = state.topic(groups::OFFSETS_TOPIC) {
        let mut asked = Vec::with_capacity(view.topic.partitions.len());
        for partition in &view.topic.partitions {
            asked.push(groups::ask_partition(state, &view, partition.index, Command::List(filter.clone())));
        }
        for answer in asked {
            match answer.await.unwrap_or(Err(ErrorCode::NotCoordinator)) {
                Ok(Reply::List(groups)) => listed.extend(groups),
                // Another broker's: it lists them.
                Err(ErrorCode::NotCoordinator) => {}
                Ok(_) => error = ErrorCode::UnknownServerError,
                Err(code) => error = code,
            }
        }
    }
    if !error.is_none() {
        listed.clear();
    }
    let groups = listed.iter().map(|group| ListedGroup {
        group_id: Cow::Borrowed(&*group.group),
        protocol_type: Cow::Borrowed(&*group.protocol_type),
        group_state: Cow::Borrowed(group.state),
        group_type: Cow::Borrowed(group.group_type),
        ..ListedGroup::default()
    });
    Ok(request.reply(&ListGroupsResponse {
        error_code: error.code(),
        groups: groups.collect(),
        ..ListGroupsResponse::default()
    }))
}
