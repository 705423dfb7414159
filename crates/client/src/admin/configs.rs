//! Settings of topics, nodes and groups: what they are, where they come from, and changing them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use types::{ErrorCode, NodeId};
use wire::ApiKey;
use wire::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use wire::describe_configs_response::DescribeConfigsResult;
use wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest};

use super::{Admin, controller_moved};
use crate::error::ClientError;

/// Topics or groups whose settings are asked for at once, so that no answer grows beyond what either side takes.
const CONFIG_RESOURCES_PER_REQUEST: usize = 500;

/// What a setting belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ResourceKind {
    /// A topic.
    Topic = 2,
    /// A node by id; an empty name means the default of all nodes.
    Broker = 4,
    /// The log levels of a node.
    BrokerLogger = 8,
    /// Client metrics subscriptions.
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

/// One topic, node, ... whose settings are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name or number.
    pub name: String,
}

impl ConfigResource {
    /// A topic.
    #[must_use]
    pub fn topic(name: &str) -> Self {
        Self { kind: ResourceKind::Topic, name: name.to_owned() }
    }

    /// A node.
    #[must_use]
    pub fn broker(id: NodeId) -> Self {
        Self { kind: ResourceKind::Broker, name: id.to_string() }
    }
}

/// A setting as a node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: String,
    /// Its value; `None` if unset or secret.
    pub value: Option<String>,
    /// Where the value comes from, by Kafka's name: `DYNAMIC_TOPIC_CONFIG`, `DEFAULT_CONFIG`, ...
    pub source: &'static str,
    /// Whether somebody set it: false for defaults.
    pub is_set: bool,
    /// Whether it can be changed while the node runs.
    pub read_only: bool,
    /// Whether its value is hidden.
    pub sensitive: bool,
    /// Where it is written, the strongest place first: the value that counts and those that it hides.
    pub synonyms: Vec<ConfigSynonym>,
    /// What it does, if asked for and known.
    pub documentation: Option<String>,
}

/// A value that is written somewhere for a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The name it is written under, which for a topic's setting may be the node's.
    pub name: String,
    /// Its value; `None` if unset or secret.
    pub value: Option<String>,
    /// Where, by Kafka's name, as [`ConfigEntry::source`].
    pub source: &'static str,
}

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// Sets it.
    Set(String, String),
    /// Back to its default.
    Delete(String),
    /// Adds to a list.
    Append(String, String),
    /// Takes from a list.
    Subtract(String, String),
}

impl ConfigChange {
    /// Of which setting.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Set(name, _) | Self::Delete(name) | Self::Append(name, _) | Self::Subtract(name, _) => name,
        }
    }
}

impl Admin {
    /// All settings of a topic, node or group.
    ///
    /// # Errors
    /// There is no such thing.
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
        documentation: bool,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        let what = || format!("describe the settings of {}", resource.name);
        let connection = || self.config_node(resource);
        let names = std::slice::from_ref(&resource.name);
        let mut results = self.ask_configs(resource.kind, names, None, documentation, connection).await?;
        let Some(result) = results.pop() else { return Ok(Vec::new()) };
        ClientError::check(result.error_code, result.error_message.as_deref(), what)?;
        Ok(read_configs(result))
    }

    /// The settings called `keys` (`None`: all) of many topics, or of many groups. What a resource does not have, and resources that
    /// do not exist, are left out.
    ///
    /// # Errors
    /// No node answers.
    pub async fn describe_configs_of(
        &self,
        kind: ResourceKind,
        names: &[String],
        keys: Option<&[&str]>,
    ) -> Result<BTreeMap<String, Vec<ConfigEntry>>, ClientError> {
        let mut described = BTreeMap::new();
        for names in names.chunks(CONFIG_RESOURCES_PER_REQUEST) {
            for result in self.ask_configs(kind, names, keys, false, || self.client.any()).await? {
                if result.error_code == ErrorCode::None.code() {
                    described.insert(result.resource_name.to_string(), read_configs(result));
                }
            }
        }
        Ok(described)
    }

    async fn ask_configs<W>(
        &self,
        kind: ResourceKind,
        names: &[String],
        keys: Option<&[&str]>,
        documentation: bool,
        connection: impl Fn() -> W,
    ) -> Result<Vec<DescribeConfigsResult<'static>>, ClientError>
    where
        W: Future<Output = Result<crate::Connection, ClientError>>,
    {
        let resource = |name: &String| DescribeConfigsResource {
            resource_type: kind as i8,
            resource_name: name.clone().into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|&key| key.to_owned().into()).collect()),
            ..Default::default()
        };
        let request = DescribeConfigsRequest {
            resources: names.iter().map(resource).collect(),
            include_synonyms: true,
            ..Default::default()
        };
        let response = self
            .client
            .retry(|| async {
                let connection = connection().await?;
                let version = connection.version(ApiKey::DescribeConfigs)?;
                let request = DescribeConfigsRequest {
                    include_documentation: documentation && 3 <= version,
                    include_synonyms: 1 <= version,
                    ..request.clone()
                };
                connection.send(&request, version).await?.response().await
            })
            .await?;
        Ok(response.results)
    }

    /// Changes some settings and leaves the others as they are.
    ///
    /// # Errors
    /// A setting is unknown, its value wrong, or it cannot be changed.
    pub async fn change_configs(
        &self,
        resource: &ConfigResource,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let configs = changes.iter().map(|change| {
            let (operation, name, value) = match change {
                ConfigChange::Set(name, value) => (0, name, Some(value)),
                ConfigChange::Delete(name) => (1, name, None),
                ConfigChange::Append(name, value) => (2, name, Some(value)),
                ConfigChange::Subtract(name, value) => (3, name, Some(value)),
            };
            AlterableConfig {
                name: name.into(),
                config_operation: operation,
                value: value.map(|value| value.into()),
                ..Default::default()
            }
        });
        let request = &IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: resource.kind as i8,
                resource_name: (&resource.name).into(),
                configs: configs.collect(),
                ..Default::default()
            }],
            validate_only,
            ..Default::default()
        };
        let what = || format!("change the settings of {}", resource.name);
        let at_node = matches!(resource.kind, ResourceKind::Broker | ResourceKind::BrokerLogger);
        let response = if at_node && !resource.name.is_empty() {
            self.config_node(resource).await?.call(request).await?
        } else {
            self.at_controller(|connection| async move {
                let response = connection.call(request).await?;
                controller_moved(response.responses.first().map(|result| result.error_code), what)?;
                Ok(response)
            })
            .await?
        };
        match response.responses.first() {
            Some(result) => ClientError::check(result.error_code, result.error_message.as_deref(), what),
            None => Ok(()),
        }
    }

    /// Where the settings of `resource` are asked for.
    async fn config_node(&self, resource: &ConfigResource) -> Result<crate::Connection, ClientError> {
        match resource.kind {
            ResourceKind::Broker | ResourceKind::BrokerLogger if !resource.name.is_empty() => {
                let id = resource.name.parse().ok().and_then(NodeId::from_wire);
                let Some(id) = id else {
                    return Err(ClientError::Usage(format!("a node is named by its number, not by {}", resource.name)));
                };
                self.client.node(id).await
            }
            _ => self.client.any().await,
        }
    }
}

fn read_configs(result: DescribeConfigsResult<'_>) -> Vec<ConfigEntry> {
    let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    let mut entries: Vec<ConfigEntry> = result
        .configs
        .into_iter()
        .map(|entry| ConfigEntry {
            name: entry.name.into_owned(),
            value: text(entry.value),
            source: source_name(entry.config_source),
            is_set: entry.config_source != SOURCE_DEFAULT,
            read_only: entry.read_only,
            sensitive: entry.is_sensitive,
            synonyms: entry
                .synonyms
                .into_iter()
                .map(|synonym| ConfigSynonym {
                    name: synonym.name.into_owned(),
                    value: text(synonym.value),
                    source: source_name(synonym.source),
                })
                .collect(),
            documentation: text(entry.documentation).filter(|text| !text.is_empty()),
        })
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

const SOURCE_DEFAULT: i8 = 5;

fn source_name(source: i8) -> &'static str {
    match source {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        SOURCE_DEFAULT => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "DYNAMIC_GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}
