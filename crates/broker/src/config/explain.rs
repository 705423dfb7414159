//! `config explain NAME`: what a setting means, takes and does here.

use std::fmt;

use super::catalogue::{ConfigKey, Scope, Treatment, Update, broker_twin, chain, topic_twin};

/// What a setting of one sort means, takes and does here. `Display` is the page about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// Its name.
    pub name: &'static str,
    /// Whose it is.
    pub scope: Scope,
    /// Kafka's name of its type: `long`, `list`, ...
    pub value_type: &'static str,
    /// What it means.
    pub documentation: &'static str,
    /// Its value when nobody sets it; `None` when it has none then.
    pub default: Option<&'static str>,
    /// Which values it takes, in words.
    pub takes: String,
    /// When it can be changed, in words.
    pub changes: &'static str,
    /// What it does in Ringlog, in words.
    pub here: &'static str,
    /// Of a node: the settings of which the first that is set counts, this one among them.
    pub first_set_of: Vec<&'static str>,
    /// Of a node: the topic setting that it is the default of.
    pub default_of: Option<&'static str>,
    /// Of a node: the environment variable that sets it.
    pub environment: Option<String>,
    /// Of a topic or a group: the node's setting that counts when this one is not set.
    pub falls_back_to: Option<String>,
}

/// What is known of `name`, topic, group and node settings alike; nothing when there is no such setting.
#[must_use]
pub fn explain(name: &str) -> Vec<Explanation> {
    let scopes = [Scope::Topic, Scope::Group, Scope::Broker];
    scopes.iter().filter_map(|scope| scope.key(name).map(|key| explanation(*scope, key))).collect()
}

fn explanation(scope: Scope, key: &'static ConfigKey) -> Explanation {
    let of_node = scope == Scope::Broker;
    let first_set_of = chain(key.name).filter(|_| of_node).unwrap_or_default();
    Explanation {
        name: key.name,
        scope,
        value_type: key.value_type.name(),
        documentation: key.documentation,
        default: key.default,
        takes: key.takes(),
        changes: match (scope, key.update) {
            (Scope::Broker, Update::ReadOnly) => "by a restart",
            (Scope::Broker, Update::PerBroker) => "while the node runs, for this node",
            (Scope::Broker, Update::ClusterWide) => "while the node runs, for this node or all",
            _ => "at any time, by AlterConfigs",
        },
        here: match key.treatment {
            Treatment::Effective => "effective",
            Treatment::NoEffect => "accepted, without effect",
            Treatment::NotBuilt => "not built yet: only the default is taken",
            Treatment::Refused => "refused unless left at its default, as ignoring it would weaken safety",
            Treatment::OneNode => {
                "accepted with one node, without effect; refused with more, as several nodes are not built yet"
            }
        },
        first_set_of: first_set_of.iter().map(|(name, _)| *name).collect(),
        default_of: topic_twin(key.name).filter(|_| of_node),
        environment: of_node.then(|| variable(key.name)),
        falls_back_to: match scope {
            Scope::Broker => None,
            Scope::Topic => broker_twin(key.name).map(str::to_owned),
            Scope::Group => Some(format!("group.{}", key.name)),
        },
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = match self.scope {
            Scope::Topic => "setting of a topic",
            Scope::Group => "setting of a group",
            Scope::Broker => "setting of the node",
        };
        writeln!(f, "{}  ({noun}, {})\n  {}", self.name, self.value_type, self.documentation)?;
        let mut line = |label: &str, text: &str| writeln!(f, "  {label:<12} {text}");
        line(
            "default",
            match self.default {
                None => "not set",
                Some("") => "empty",
                Some(text) => text,
            },
        )?;
        line("takes", &self.takes)?;
        line("changes", self.changes)?;
        line("here", self.here)?;
        if !self.first_set_of.is_empty() {
            line("first set of", &self.first_set_of.join(", "))?;
        }
        if let Some(topic) = self.default_of {
            line("default of", &format!("{topic} (topic)"))?;
        }
        if let Some(variable) = &self.environment {
            line("environment", variable)?;
        }
        if let Some(node) = &self.falls_back_to {
            line("falls back to", &format!("{node} (node)"))?;
        }
        Ok(())
    }
}

/// The environment variable of a broker setting: `log.dirs` is KAFKA_LOG_DIRS.
fn variable(name: &str) -> String {
    let escape = |text: &str| text.replace('_', "__").replace('-', "___").replace('.', "_").to_uppercase();
    match name.strip_prefix("ringlog.") {
        Some(rest) => format!("RINGLOG_{}", escape(rest)),
        None => format!("KAFKA_{}", escape(name)),
    }
}

/// Names that look like `name`, best first, at most five: "did you mean".
#[must_use]
pub fn nearest_names(name: &str) -> Vec<&'static str> {
    let mut near: Vec<(usize, &'static str)> = [Scope::Broker, Scope::Topic]
        .into_iter()
        .flat_map(Scope::keys)
        .filter(|key| !key.internal)
        .map(|key| (distance(name, key.name), key.name))
        .filter(|(distance, known)| *distance <= name.len().min(known.len()) / 3)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(5).map(|(_, known)| known).collect()
}

/// Edits (insert, drop, replace a byte) from one text to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, from_byte) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, to_byte) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(from_byte != to_byte);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
