//! The catalogue as the controller asks it, and the broker's settings out of a metadata image.

use std::sync::Arc;

use quorum::image::is_internal;
use quorum::{ConfigResource, ConfigRules, Configs, Fault, MetadataImage};
use types::{ErrorCode, NodeId};

use super::catalogue::{ConfigKey, Scope, Value, ValueType};
use super::proved::{Config, Dynamic, Overrides};
use super::topic::{validate_broker_overrides, validate_group_overrides, validate_topic_overrides};

/// The topic setting that says whom to ask about a topic.
pub const TOPIC_OWNER: &str = "ringlog.owner";

/// The catalogue for the controller: what may be set on a resource.
#[derive(Clone, Debug)]
pub struct Rules {
    config: Arc<Config>,
}

impl Rules {
    /// The rules of a node started with these settings.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        Self { config }
    }

    fn owner_required(&self, image: &MetadataImage) -> bool {
        let dynamic = DynamicOverrides::of(image, self.config.node_id);
        self.config.layers(dynamic.as_dynamic()).value("ringlog.topic.owner.required") == Some(Value::Bool(true))
    }

    /// Whether a topic may be without an owner.
    fn check_owner(&self, topic: &str, configs: &Configs, image: &MetadataImage) -> Result<(), Fault> {
        if has_owner(configs) || is_internal(topic) || !self.owner_required(image) {
            return Ok(());
        }
        let message = format!(
            "Topic '{topic}' names no owner, and ringlog.topic.owner.required=true demands one: set the topic config \
             {TOPIC_OWNER} to the team to ask about it."
        );
        Err(Fault::new(ErrorCode::PolicyViolation, message))
    }
}

fn has_owner(configs: &Configs) -> bool {
    configs.get(TOPIC_OWNER).is_some_and(|owner| !owner.trim().is_empty())
}

impl ConfigRules for Rules {
    fn check_new_topic(&self, topic: &str, configs: &Configs, image: &MetadataImage) -> Result<(), Fault> {
        self.check_owner(topic, configs, image)
    }

    fn check(
        &self,
        resource: &ConfigResource,
        before: &Configs,
        after: &Configs,
        image: &MetadataImage,
    ) -> Result<(), Fault> {
        if let ConfigResource::Topic(topic) = resource
            && has_owner(before)
        {
            self.check_owner(topic, after, image)?;
        }
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
        checked.map_err(|fault| Fault::new(fault.code, fault.message))?;
        let mut changed = DynamicOverrides::of(image, self.config.node_id);
        match resource {
            ConfigResource::Broker(node) if *node == self.config.node_id => changed.broker = after,
            ConfigResource::DefaultBroker => changed.cluster = after,
            _ => return Ok(()),
        }
        if self.config.live(changed.as_dynamic()).locks_everybody_out() {
            let message = "With max.connections=0, or max.connections.per.ip=0 and no override above 0, nobody could \
                           connect, to change it back either.";
            return Err(Fault::new(ErrorCode::InvalidRequest, message));
        }
        Ok(())
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
