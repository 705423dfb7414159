//! ListConfigResources (KIP-1142; version 0 was ListClientMetricsResources, KIP-1000): what has configs.

use std::borrow::Cow;
use std::rc::Rc;

use quorum::ConfigResource as Resource;
use types::ErrorCode;
use wire::list_config_resources_request::ListConfigResourcesRequest;
use wire::list_config_resources_response::{ConfigResource, ListConfigResourcesResponse};

use super::admin::{RESOURCE_BROKER, RESOURCE_BROKER_LOGGER, RESOURCE_CLIENT_METRICS, RESOURCE_GROUP, RESOURCE_TOPIC};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let body: ListConfigResourcesRequest = request.decode()?;
    let known: &[i8] = if request.version() == 0 {
        &[RESOURCE_CLIENT_METRICS]
    } else {
        &[RESOURCE_TOPIC, RESOURCE_BROKER, RESOURCE_BROKER_LOGGER, RESOURCE_CLIENT_METRICS, RESOURCE_GROUP]
    };
    if body.resource_types.iter().any(|kind| !known.contains(kind)) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return Ok(request.reply(&ListConfigResourcesResponse { error_code, ..ListConfigResourcesResponse::default() }));
    }
    let asked = |kind| known.contains(&kind) && (body.resource_types.is_empty() || body.resource_types.contains(&kind));
    let image = state.image();
    let mut found: Vec<(i8, Cow<'_, str>)> = Vec::new();
    for (resource, _) in image.config_resources() {
        match resource {
            Resource::Group(name) if asked(RESOURCE_GROUP) => found.push((RESOURCE_GROUP, Cow::Borrowed(name))),
            Resource::ClientMetrics(name) if asked(RESOURCE_CLIENT_METRICS) => {
                found.push((RESOURCE_CLIENT_METRICS, Cow::Borrowed(name)));
            }
            _ => {}
        }
    }
    for kind in [RESOURCE_BROKER_LOGGER, RESOURCE_BROKER].into_iter().filter(|kind| asked(*kind)) {
        found.extend(image.brokers_alive().map(|broker| (kind, Cow::Owned(broker.node.to_string()))));
    }
    if asked(RESOURCE_TOPIC) {
        found.extend(image.topics().map(|topic| (RESOURCE_TOPIC, Cow::Borrowed(&*topic.name))));
    }
    let config_resources = found.into_iter().map(|(resource_type, resource_name)| ConfigResource {
        resource_name,
        resource_type,
        ..ConfigResource::default()
    });
    let config_resources = config_resources.collect();
    Ok(request.reply(&ListConfigResourcesResponse { config_resources, ..ListConfigResourcesResponse::default() }))
}
