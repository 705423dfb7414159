//! IncrementalAlterConfigs (KIP-339): sets, deletes, appends to and subtracts from single configs.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use quorum::Fault;
use quorum::configs::{ConfigChange, ConfigEdit};
use quorum::controller::Command;
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};
use wire::incremental_alter_configs_response::{AlterConfigsResourceResponse, IncrementalAlterConfigsResponse};

use super::admin;
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// Kafka's numbers of operations (`AlterConfigOp.OpType`).
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let body: IncrementalAlterConfigsRequest<'_> = request.decode()?;
    let keys: Vec<(i8, &str)> =
        body.resources.iter().map(|resource| (resource.resource_type, &*resource.resource_name)).collect();
    let mut resources = Vec::new();
    let mut results: Vec<Option<Fault>> = Vec::with_capacity(keys.len());
    for (resource, key) in body.resources.iter().zip(&keys) {
        let checked = if appears_twice(&keys, *key) {
            Err(admin::invalid("Each resource must appear at most once."))
        } else {
            change(state, resource)
        };
        results.push(checked.map(|change| resources.push(change)).err());
    }
    if !resources.is_empty() {
        let command = Command::ChangeConfigs { resources, validate_only: body.validate_only };
        admin::change_configs(state, command, &mut results).await;
    }
    let responses = results.into_iter().zip(&keys).map(|(result, (kind, name))| {
        let (error_code, error_message) = admin::outcome(result.map_or(Ok(()), Err));
        AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: *kind,
            resource_name: Cow::Borrowed(name),
            ..AlterConfigsResourceResponse::default()
        }
    });
    let responses = responses.collect();
    Ok(request.reply(&IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }))
}

fn change(state: &ShardState, resource: &AlterConfigsResource<'_>) -> Result<ConfigChange, Fault> {
    names_once(resource.configs.iter().map(|config| &*config.name))?;
    let nulls = resource.configs.iter().filter(|config| config.config_operation != DELETE && config.value.is_none());
    no_nulls(nulls.map(|config| &*config.name))?;
    let edits: Result<Vec<(Arc<str>, ConfigEdit)>, Fault> = resource.configs.iter().map(edit).collect();
    let resource = admin::alterable(state, resource.resource_type, &resource.resource_name)?;
    Ok(ConfigChange { resource, edits: edits? })
}

fn edit(config: &AlterableConfig<'_>) -> Result<(Arc<str>, ConfigEdit), Fault> {
    let value = || Arc::from(config.value.as_deref().unwrap_or_default());
    let edit = match config.config_operation {
        SET => ConfigEdit::Set(value()),
        DELETE => ConfigEdit::Delete,
        APPEND => ConfigEdit::Append(value()),
        SUBTRACT => ConfigEdit::Subtract(value()),
        other => return Err(admin::invalid(format!("Unknown operations type {other}"))),
    };
    Ok((Arc::from(&*config.name), edit))
}

/// Whether a request names a resource more than once: then all of its mentions are refused.
pub(super) fn appears_twice(keys: &[(i8, &str)], key: (i8, &str)) -> bool {
    1 < keys.iter().filter(|other| **other == key).count()
}

/// Refuses a resource that names a config more than once.
pub(super) fn names_once<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    if names.all(|name| seen.insert(name)) {
        return Ok(());
    }
    Err(admin::invalid("Error due to duplicate config keys"))
}

/// Refuses nulls where a value is needed.
pub(super) fn no_nulls<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(admin::invalid(format!("Null value not supported for : {}", names.join(", "))))
}
