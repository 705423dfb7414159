//! The catalogue as the controller asks it, and the broker's settings out of a metadata image.

use std::sync::Arc;

use quorum::{ConfigResource, ConfigRules, Configs, Fault, MetadataImage};
use types::{ErrorCode, NodeId};

use super::catalogue::{ConfigKey, Scope, ValueType};
use super::proved::{Dynamic, Overrides};
use super::topic::{validate_broker_overrides, validate_group_overrides, validate_topic_overrides};

/// The catalogue for the controller: what may be set on a resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rules;

impl ConfigRules for Rules {
    fn check(
        &self,
        resource: &ConfigResource,
        _before: &Configs,
        after: &Configs,
        _image: &MetadataImage,
    ) -> Result<(), Fault> {
        let after = overrides_of(Some(after));
        let checked = match resource {
            ConfigResource::Topic(_) => validate_topic_overrides(&after),
            ConfigResource::Broker(_) => validate_broker_overrides(&after, true),
            ConfigResource::DefaultBroker => validate_broker_overrides(&after, false),
            ConfigResource::Group(_) => validate_group_overrides(&after),
            ConfigResource::ClientMetrics(_) => {
                let message = "Subscriptions to client metrics (KIP-714) are not built in Ringlog yet.";
                return Err(Fault::new(ErrorCode::InvalidRequest, message));
            }
        };
        checked.map_err(|fault| Fault::new(fault.code, fault.message))
    }

    fn is_list(&self, resource: &ConfigResource, name: &str) -> bool {
        key(resource, name).is_some_and(|key| key.value_type == ValueType::List)
    }

    fn default_value(&self, resource: &ConfigResource, name: &str) -> Option<String> {
        key(resource, name).and_then(|key| key.default).map(str::to_owned)
    }
}

fn key(resource: &ConfigResource, name: &str) -> Option<&'static ConfigKey> {
    match resource {
        ConfigResource::Topic(_) => Scope::Topic.key(name),
        ConfigResource::Broker(_) | ConfigResource::DefaultBroker => Scope::Broker.key(name),
        ConfigResource::Group(_) => Scope::Group.key(name),
        ConfigResource::ClientMetrics(_) => None,
    }
}

fn overrides_of(configs: Option<&Configs>) -> Overrides {
    configs.into_iter().flatten().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// A node's settings that were changed while it runs, taken out of an image.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DynamicOverrides {
    broker: Overrides,
    cluster: Overrides,
}

impl DynamicOverrides {
    /// Those of `node`, and those of every node.
    #[must_use]
    pub fn of(image: &MetadataImage, node: NodeId) -> Self {
        let of = |resource: &ConfigResource| overrides_of(image.configs(resource).map(Arc::as_ref));
        Self { broker: of(&ConfigResource::Broker(node)), cluster: of(&ConfigResource::DefaultBroker) }
    }

    /// As the readers of settings take them.
    #[must_use]
    pub fn as_dynamic(&self) -> Dynamic<'_> {
        Dynamic { broker: &self.broker, cluster: &self.cluster }
    }
}
