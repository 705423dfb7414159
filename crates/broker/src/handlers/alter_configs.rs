//! AlterConfigs (KIP-133): replaces all configs of a resource; what is not named goes back to its default. Old tools and
//! librdkafka use it.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use quorum::configs::ConfigReplacement;
use quorum::controller::Command;
use quorum::{Configs, Fault};
use wire::alter_configs_request::{AlterConfigsRequest, AlterConfigsResource};
use wire::alter_configs_response::{AlterConfigsResourceResponse, AlterConfigsResponse};

use super::admin;
use super::incremental_alter_configs::{appears_twice, names_once, no_nulls};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let body: AlterConfigsRequest<'_> = request.decode()?;
    let keys: Vec<(i8, &str)> =
        body.resources.iter().map(|resource| (resource.resource_type, &*resource.resource_name)).collect();
    let mut resources = Vec::new();
    let mut results: Vec<Option<Fault>> = Vec::with_capacity(keys.len());
    for (resource, key) in body.resources.iter().zip(&keys) {
        let checked = if appears_twice(&keys, *key) {
            Err(admin::invalid("Each resource must appear at most once."))
        } else {
            replacement(state, resource)
        };
        results.push(checked.map(|replacement| resources.push(replacement)).err());
    }
    if !resources.is_empty() {
        let command = Command::ReplaceConfigs { resources, validate_only: body.validate_only };
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
    Ok(request.reply(&AlterConfigsResponse { responses, ..AlterConfigsResponse::default() }))
}

fn replacement(state: &ShardState, resource: &AlterConfigsResource<'_>) -> Result<ConfigReplacement, Fault> {
    names_once(resource.configs.iter().map(|config| &*config.name))?;
    no_nulls(resource.configs.iter().filter(|config| config.value.is_none()).map(|config| &*config.name))?;
    let configs: Configs = resource
        .configs
        .iter()
        .filter_map(|config| Some((Arc::from(&*config.name), Arc::from(config.value.as_deref()?))))
        .collect();
    let resource = admin::alterable(state, resource.resource_type, &resource.resource_name)?;
    Ok(ConfigReplacement { resource, configs })
}
