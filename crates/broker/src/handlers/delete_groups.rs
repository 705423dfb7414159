//! DeleteGroups: empty groups are forgotten with their offsets.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use coordinator::{Command, Reply};
use types::ErrorCode;
use wire::delete_groups_request::DeleteGroupsRequest;
use wire::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponse};

use crate::groups::{self, text};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let ids: Vec<Arc<str>> = {
        let asked: DeleteGroupsRequest<'_> = request.decode()?;
        asked.groups_names.iter().map(text).collect()
    };
    let mut outcomes = Vec::with_capacity(ids.len());
    for id in ids {
        let code = match groups::ask(state, &id, Command::DeleteGroups(vec![Arc::clone(&id)])).await {
            Ok(Reply::DeleteGroups(outcome)) => {
                outcome.first().map_or(ErrorCode::UnknownServerError, |(_, code)| *code)
            }
            Ok(_) => ErrorCode::UnknownServerError,
            Err(code) => code,
        };
        outcomes.push((id, code));
    }
    let results = outcomes.iter().map(|(id, code)| DeletableGroupResult {
        group_id: Cow::Borrowed(&**id),
        error_code: code.code(),
        ..DeletableGroupResult::default()
    });
    Ok(request.reply(&DeleteGroupsResponse { results: results.collect(), ..DeleteGroupsResponse::default() }))
}
