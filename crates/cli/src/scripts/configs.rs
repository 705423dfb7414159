//! `ringlog configs`: kafka-configs.sh.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use clap_complete::engine::ArgValueCompleter;
use client::{ConfigChange, ConfigEntry, ConfigResource, ResourceKind};
use types::NodeId;

use crate::failure::{Code, Failure};
use crate::live_names;
use crate::output::print_text;
use crate::session::{Connect, Session};

const AFTER_HELP: &str = "\
Flags and output are those of Kafka 4.3's kafka-configs.sh; `ringlog config` has more to say.

Examples:
  ringlog configs --describe --entity-type topics --entity-name orders
  ringlog configs --alter --entity-type topics --entity-name orders --add-config retention.ms=3600000
  ringlog configs --alter --topic orders --delete-config retention.ms";

/// The flags of kafka-configs.sh.
#[derive(Args)]
#[command(
    after_help = AFTER_HELP,
    group(ArgGroup::new("action").required(true).args(["describe", "alter"])),
    group(ArgGroup::new("change").multiple(true).args(["add_config", "add_config_file", "delete_config"]))
)]
pub(crate) struct Configs {
    /// Show settings
    #[arg(long)]
    describe: bool,
    /// Change settings
    #[arg(long, requires = "change")]
    alter: bool,
    /// topics, brokers or groups
    #[arg(long, value_name = "TYPE")]
    entity_type: Vec<String>,
    /// Name of the topic or group, number of the broker
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(live_names::entities))]
    entity_name: Vec<String>,
    /// All brokers
    #[arg(long)]
    entity_default: bool,
    /// A topic
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(live_names::topics))]
    topic: Option<String>,
    /// A broker
    #[arg(long, value_name = "NUMBER", add = ArgValueCompleter::new(live_names::nodes))]
    broker: Option<String>,
    /// All brokers
    #[arg(long)]
    broker_defaults: bool,
    /// A group
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(live_names::groups))]
    group: Option<String>,
    /// Settings to set, `k1=v1,k2=[v1,v2],k3=v3`
    #[arg(long, value_name = "SETTINGS", conflicts_with = "add_config_file")]
    add_config: Option<String>,
    /// A properties file with settings to set
    #[arg(long, value_name = "FILE")]
    add_config_file: Option<PathBuf>,
    /// Settings to take back to their defaults: k1,k2
    #[arg(long, value_name = "NAMES")]
    delete_config: Option<String>,
    /// Every setting, not only what was set while running
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    connect: Connect,
}

/// Whose settings; no name: of every one of the kind.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Entity {
    Topic(Option<String>),
    Group(Option<String>),
    Broker(Option<NodeId>),
    AllBrokers,
    /// Client metrics subscriptions, of which a cluster without KIP-714 has none.
    ClientMetrics,
}

impl Configs {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let entity = self.entity()?;
        if self.alter {
            return self.alter(&entity);
        }
        self.connect.run(async |session| {
            let mut text = String::new();
            match entity {
                Entity::Topic(None) => {
                    for topic in session.client.topics().await? {
                        let one = Entity::Topic(Some(topic.name.to_string()));
                        text.push_str(&self.describe(&session, &one).await?);
                    }
                }
                Entity::Group(None) => {
                    for group in session.admin.list_groups().await? {
                        text.push_str(&self.describe(&session, &Entity::Group(Some(group.id))).await?);
                    }
                }
                Entity::Broker(None) => {
                    for node in session.client.cluster().await?.nodes {
                        text.push_str(&self.describe(&session, &Entity::Broker(Some(node.id))).await?);
                    }
                    text.push_str(&self.describe(&session, &Entity::AllBrokers).await?);
                }
                Entity::ClientMetrics => {}
                one => text = self.describe(&session, &one).await?,
            }
            print_text(&text)
        })
    }

    fn entity(&self) -> Result<Entity, Failure> {
        let usage = |why: &str| Err(Failure::new(Code::Failed, why));
        let number = |text: &str| match text.parse().ok().and_then(NodeId::from_wire) {
            Some(id) => Ok(Entity::Broker(Some(id))),
            None => usage("The entity name for brokers must be a valid integer broker id, which it is not"),
        };
        let kind = match (&self.topic, &self.group, &self.broker, self.broker_defaults, self.entity_type.as_slice()) {
            (Some(topic), None, None, false, []) => return Ok(Entity::Topic(Some(topic.clone()))),
            (None, Some(group), None, false, []) => return Ok(Entity::Group(Some(group.clone()))),
            (None, None, Some(broker), false, []) => return number(broker),
            (None, None, None, true, []) => return Ok(Entity::AllBrokers),
            (None, None, None, false, [kind]) => kind.as_str(),
            (None, None, None, false, []) => return usage("At least one entity type must be specified"),
            _ => return usage("One topic, group or broker is meant, or one --entity-type"),
        };
        let name = match self.entity_name.as_slice() {
            [] => None,
            [name] => Some(name.clone()),
            _ => return usage("One --entity-name is meant"),
        };
        match (kind, name) {
            ("topics", name) => Ok(Entity::Topic(name)),
            ("groups", name) => Ok(Entity::Group(name)),
            ("brokers", _) if self.entity_default => Ok(Entity::AllBrokers),
            ("brokers", Some(name)) if name.is_empty() => Ok(Entity::AllBrokers),
            ("brokers", Some(name)) => number(&name),
            ("brokers", None) => Ok(Entity::Broker(None)),
            ("client-metrics", _) if self.describe => Ok(Entity::ClientMetrics),
            ("users" | "clients" | "ips" | "broker-loggers" | "client-metrics", _) => {
                usage(&format!("ringlog changes settings of topics, brokers and groups; {kind} are not built yet"))
            }
            _ => usage(&format!("Invalid entity type {kind}, the entity type must be one of topics, brokers, groups")),
        }
    }

    async fn describe(&self, session: &Session, entity: &Entity) -> Result<String, Failure> {
        let noun = entity.noun();
        let exists = match entity {
            Entity::Topic(Some(name)) => session.client.topic_now(name, false).await.is_ok(),
            Entity::Broker(Some(id)) => session.client.cluster().await?.nodes.iter().any(|node| node.id == *id),
            Entity::Group(Some(name)) => session.admin.list_groups().await?.iter().any(|group| group.id == *name),
            _ => true,
        };
        let entries = if exists || matches!(entity, Entity::Group(_)) {
            session.admin.describe_configs(&entity.resource(), false).await?
        } else {
            Vec::new()
        };
        let shown: Vec<&ConfigEntry> =
            entries.iter().filter(|entry| self.all || entry.source == entity.source()).collect();
        if !exists && !entries.iter().any(|entry| entry.source == entity.source()) {
            let kind = noun.split(' ').next().unwrap_or_default();
            let name = entity.resource().name;
            return Ok(format!("The {kind} '{name}' doesn't exist and doesn't have dynamic config.\n"));
        }
        let mut text = match entity {
            Entity::AllBrokers => format!("Default configs for {noun} in the cluster are:\n"),
            _ => format!("{} configs for {noun} are:\n", if self.all { "All" } else { "Dynamic" }),
        };
        text.extend(shown.into_iter().map(setting_line));
        Ok(text)
    }

    fn alter(&self, entity: &Entity) -> Result<(), Failure> {
        if let Entity::Topic(None) | Entity::Group(None) | Entity::Broker(None) = entity {
            let kind = self.entity_type.first().map_or("entities", String::as_str);
            return Err(Failure::new(Code::Failed, format!("An entity name must be specified with --alter of {kind}")));
        }
        let changes = self.changes()?;
        self.connect.run(async |session| {
            let resource = entity.resource();
            let changed = session.admin.change_configs(&resource, &changes, false).await;
            changed.map_err(|error| Failure { code: Code::Failed, ..error.into() })?;
            print_text(&match entity {
                Entity::AllBrokers => "Completed updating default config for brokers in the cluster.\n".to_owned(),
                _ => format!("Completed updating config for {}.\n", entity.noun()),
            })
        })
    }

    fn changes(&self) -> Result<Vec<ConfigChange>, Failure> {
        let mut changes = Vec::new();
        if let Some(text) = &self.add_config {
            changes.extend(parse_added(text)?.into_iter().map(|(name, value)| ConfigChange::Set(name, value)));
        }
        if let Some(path) = &self.add_config_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::new(Code::Failed, format!("cannot read {}: {error}", path.display())))?;
            let mut file = broker::config::RawConfig::new();
            file.read_properties(path, &text);
            changes.extend(file.iter().map(|(name, raw)| ConfigChange::Set(name.to_owned(), raw.value.clone())));
        }
        let deleted = self.delete_config.iter().flat_map(|names| names.split(',')).map(str::trim);
        changes.extend(deleted.filter(|name| !name.is_empty()).map(|name| ConfigChange::Delete(name.to_owned())));
        Ok(changes)
    }
}

impl Entity {
    fn resource(&self) -> ConfigResource {
        match self {
            Self::Topic(name) => ConfigResource::topic(name.as_deref().unwrap_or_default()),
            Self::Group(name) => ConfigResource { kind: ResourceKind::Group, name: name.clone().unwrap_or_default() },
            Self::Broker(Some(id)) => ConfigResource::broker(*id),
            Self::Broker(None) | Self::AllBrokers => ConfigResource { kind: ResourceKind::Broker, name: String::new() },
            Self::ClientMetrics => ConfigResource { kind: ResourceKind::ClientMetrics, name: String::new() },
        }
    }

    /// As Kafka names it in its sentences.
    fn noun(&self) -> String {
        let name = self.resource().name;
        match self {
            Self::Topic(_) => format!("topic {name}"),
            Self::Group(_) => format!("group {name}"),
            Self::Broker(_) => format!("broker {name}"),
            Self::AllBrokers => "brokers".to_owned(),
            Self::ClientMetrics => format!("client-metric {name}"),
        }
    }

    /// Where settings of its own come from.
    fn source(&self) -> &'static str {
        match self {
            Self::Topic(_) => "DYNAMIC_TOPIC_CONFIG",
            Self::Group(_) => "DYNAMIC_GROUP_CONFIG",
            Self::Broker(_) => "DYNAMIC_BROKER_CONFIG",
            Self::AllBrokers => "DYNAMIC_DEFAULT_BROKER_CONFIG",
            Self::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
        }
    }
}

fn setting_line(entry: &ConfigEntry) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonym =
        |synonym: &client::ConfigSynonym| format!("{}:{}={}", synonym.source, synonym.name, text(&synonym.value));
    let synonyms: Vec<String> = entry.synonyms.iter().map(synonym).collect();
    format!(
        "  {}={} sensitive={} synonyms={{{}}}\n",
        entry.name,
        text(&entry.value),
        entry.sensitive,
        synonyms.join(", ")
    )
}

/// `k1=v1,k2=[v1,v2]`: commas within brackets belong to the value.
fn parse_added(text: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs = vec![String::new()];
    let mut depth = 0_usize;
    for char in text.chars() {
        match char {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => pairs.push(String::new()),
            char => pairs.last_mut().expect("there is one from the start").push(char),
        }
    }
    let pair = |pair: String| match pair.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => {
            let why = "Invalid entity config: all configs to be added must be in the format \"key=val\".";
            Err(Failure::new(Code::Failed, why))
        }
    };
    pairs.into_iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_keep_the_commas_of_a_list() {
        let pairs = |text: &str| parse_added(text).map_err(|failure| failure.code);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs("a=1, b=[x,y],c=3"), Ok(vec![pair("a", "1"), pair("b", "x,y"), pair("c", "3")]));
        assert_eq!(pairs("a="), Ok(vec![pair("a", "")]));
        assert_eq!(pairs("a=1,b"), Err(Code::Failed));
    }
}
