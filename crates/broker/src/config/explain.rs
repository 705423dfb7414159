//! `config explain NAME`: what a setting means, takes and does here.

use std::fmt::Write;

use super::catalogue::{ConfigKey, Scope, Treatment, Update, broker_twin, chain, topic_twin};

/// The page about `name`, broker, topic and group settings alike; `None` when there is no such setting.
#[must_use]
pub fn explain(name: &str) -> Option<String> {
    let scopes = [Scope::Topic, Scope::Group, Scope::Broker];
    let pages: Vec<String> = scopes.iter().filter_map(|scope| scope.key(name).map(|key| page(*scope, key))).collect();
    (!pages.is_empty()).then(|| pages.join("\n"))
}

fn page(scope: Scope, key: &ConfigKey) -> String {
    let mut out = String::new();
    let noun = match scope {
        Scope::Topic => "setting of a topic",
        Scope::Group => "setting of a group",
        Scope::Broker => "setting of the node",
    };
    let mut line = |label: &str, text: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(out, "  {label:<12} {text}");
    };
    line(
        "default",
        match key.default {
            None => "not set",
            Some("") => "empty",
            Some(text) => text,
        },
    );
    line("takes", &key.takes());
    line(
        "changes",
        match (scope, key.update) {
            (Scope::Broker, Update::ReadOnly) => "by a restart",
            (Scope::Broker, Update::PerBroker) => "while the node runs, for this node",
            (Scope::Broker, Update::ClusterWide) => "while the node runs, for this node or all",
            _ => "at any time, by AlterConfigs",
        },
    );
    line(
        "here",
        match key.treatment {
            Treatment::Effective => "effective",
            Treatment::NoEffect => "accepted, without effect",
            Treatment::NotBuilt => "not built yet: only the default is taken",
            Treatment::Refused => "refused unless left at its default, as ignoring it would weaken safety",
            Treatment::OneNode => {
                "accepted with one node, without effect; refused with more, as several nodes are not built yet"
            }
        },
    );
    match scope {
        Scope::Broker => {
            if let Some(chain) = chain(key.name) {
                let names: Vec<&str> = chain.iter().map(|(name, _)| *name).collect();
                line("first set of", &names.join(", "));
            }
            if let Some(topic) = topic_twin(key.name) {
                line("default of", &format!("{topic} (topic)"));
            }
            line("environment", &variable(key.name));
        }
        Scope::Topic => {
            if let Some(twin) = broker_twin(key.name) {
                line("falls back to", &format!("{twin} (node)"));
            }
        }
        Scope::Group => line("falls back to", &format!("group.{} (node)", key.name)),
    }
    format!("{}  ({noun}, {})\n  {}\n{out}", key.name, key.value_type.name(), key.documentation)
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
