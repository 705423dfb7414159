//! DescribeConfigs (KIP-133, synonyms KIP-226, documentation KIP-569): every setting of a resource, effective, with its
//! source.

use std::borrow::Cow;
use std::rc::Rc;

use quorum::{ConfigResource, Fault, MetadataImage};
use types::ErrorCode;
use wire::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use wire::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::admin;
use crate::config::{
    ConfigRow, DescribeOptions, DynamicOverrides, describe_broker, describe_default_broker, describe_group,
};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let body: DescribeConfigsRequest<'_> = request.decode()?;
    let image = state.image();
    let results = body.resources.iter().map(|resource| {
        let names: Option<Vec<&str>> =
            resource.configuration_keys.as_ref().map(|names| names.iter().map(|name| &**name).collect());
        let options = DescribeOptions {
            // None named is all named.
            names: names.as_deref().filter(|names| !names.is_empty()),
            synonyms: body.include_synonyms,
            documentation: body.include_documentation,
        };
        let (error_code, error_message, rows) = match rows(state, &image, resource, options) {
            Ok(rows) => (0, None, rows),
            Err(fault) => {
                let (code, message) = admin::refusal(fault);
                (code, message, Vec::new())
            }
        };
        DescribeConfigsResult {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: Cow::Borrowed(&*resource.resource_name),
            configs: rows.into_iter().map(described).collect(),
            ..DescribeConfigsResult::default()
        }
    });
    let results = results.collect();
    Ok(request.reply(&DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() }))
}

fn rows(
    state: &ShardState,
    image: &MetadataImage,
    resource: &DescribeConfigsResource<'_>,
    options: DescribeOptions<'_>,
) -> Result<Vec<ConfigRow>, Fault> {
    let config = &state.node.config;
    let name = &*resource.resource_name;
    let dynamic = DynamicOverrides::of(image, config.node_id);
    match resource.resource_type {
        admin::RESOURCE_TOPIC => {
            if let Some(why) = quorum::topic_name::fault(name) {
                return Err(Fault::new(ErrorCode::InvalidTopicException, why));
            }
            let topic = image.topic(name).ok_or_else(|| Fault::bare(ErrorCode::UnknownTopicOrPartition))?;
            let overrides = admin::overrides(image.topic_configs(&topic.name));
            Ok(admin::topic_rows(state, image, &overrides, options))
        }
        admin::RESOURCE_BROKER if name.is_empty() => Ok(describe_default_broker(dynamic.as_dynamic(), options)),
        admin::RESOURCE_BROKER => {
            check_broker(state, name, " or empty string")?;
            Ok(describe_broker(config, dynamic.as_dynamic(), options))
        }
        admin::RESOURCE_BROKER_LOGGER => {
            if name.is_empty() {
                return Err(admin::invalid("Broker id must not be empty"));
            }
            check_broker(state, name, "")?;
            // Levels are set at the start (RUST_LOG); there is none to show.
            Ok(Vec::new())
        }
        admin::RESOURCE_CLIENT_METRICS => {
            if name.is_empty() {
                return Err(admin::invalid("Client metrics subscription name must not be empty"));
            }
            // None can be made, so none has settings.
            Ok(Vec::new())
        }
        admin::RESOURCE_GROUP => {
            if name.is_empty() {
                return Err(admin::invalid("Group name must not be empty"));
            }
            let overrides = admin::overrides(image.configs(&ConfigResource::Group(name.into())));
            Ok(describe_group(config, dynamic.as_dynamic(), &overrides, options))
        }
        other => Err(admin::invalid(format!("Unsupported resource type: {other}"))),
    }
}

fn check_broker(state: &ShardState, name: &str, or: &str) -> Result<(), Fault> {
    let node = state.node.config.node_id;
    let asked: i32 =
        name.parse().map_err(|_| admin::invalid(format!("Broker id must be an integer, but it is: {name}")))?;
    if asked != node.value() {
        return Err(admin::invalid(format!("Unexpected broker id, expected {node}{or}, but received {name}")));
    }
    Ok(())
}

fn described<'a>(row: ConfigRow) -> DescribeConfigsResourceResult<'a> {
    let synonyms = row.synonyms.into_iter().map(|synonym| DescribeConfigsSynonym {
        name: Cow::Owned(synonym.name),
        value: synonym.value.map(Cow::Owned),
        source: synonym.source.to_wire(),
        ..DescribeConfigsSynonym::default()
    });
    DescribeConfigsResourceResult {
        name: Cow::Owned(row.name),
        value: row.value.map(Cow::Owned),
        read_only: row.read_only,
        config_source: row.source.to_wire(),
        is_sensitive: row.sensitive,
        synonyms: synonyms.collect(),
        config_type: row.value_type.to_wire(),
        documentation: row.documentation.map(Cow::Owned),
        ..DescribeConfigsResourceResult::default()
    }
}
