//! Whose settings a command means.

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use client::{ConfigResource, ResourceKind};
use types::NodeId;

use crate::failure::{Code, Failure};
use crate::live_names;
use crate::session::Session;

/// What has settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// A topic, by name
    Topic,
    /// A node, by number; `default` means all of them
    #[value(alias = "node")]
    Broker,
    /// A group, by name
    Group,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::Group => "group",
        }
    }
}

/// The arguments that name it.
#[derive(Args)]
pub(crate) struct Entity {
    /// What it is
    #[arg(value_enum)]
    pub(crate) kind: Kind,
    /// Its name; of a node its number, or `default` for all nodes
    #[arg(add = ArgValueCompleter::new(live_names::entities))]
    pub(crate) name: String,
}

impl Entity {
    pub(crate) fn resource(&self) -> Result<ConfigResource, Failure> {
        match self.kind {
            Kind::Topic => Ok(ConfigResource::topic(&self.name)),
            Kind::Group => Ok(ConfigResource { kind: ResourceKind::Group, name: self.name.clone() }),
            Kind::Broker if self.name == "default" => {
                Ok(ConfigResource { kind: ResourceKind::Broker, name: String::new() })
            }
            Kind::Broker => match self.name.parse().ok().and_then(NodeId::from_wire) {
                Some(id) => Ok(ConfigResource::broker(id)),
                None => {
                    let why = format!("`{}` is no node: its number is meant, or `default` for all nodes", self.name);
                    Err(Failure::new(Code::Usage, why))
                }
            },
        }
    }

    /// Fails for a topic or node that does not exist, which not every cluster says by itself.
    pub(crate) async fn check(&self, session: &Session) -> Result<(), Failure> {
        match self.kind {
            Kind::Topic => session.client.topic_now(&self.name, false).await.map(drop).map_err(Failure::from),
            Kind::Broker if self.name != "default" => {
                let nodes = session.client.cluster().await?.nodes;
                if nodes.iter().any(|node| node.id.to_string() == self.name) {
                    return Ok(());
                }
                let there: Vec<String> = nodes.iter().map(|node| node.id.to_string()).collect();
                let why = format!("there is no node {}; there is {}", self.name, there.join(", "));
                Err(Failure::new(Code::NotFound, why))
            }
            Kind::Broker | Kind::Group => Ok(()),
        }
    }
}
