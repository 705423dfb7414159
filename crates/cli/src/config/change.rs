//! `ringlog config set` and `unset`: settings of topics, nodes and groups, changed while they run.

use std::collections::BTreeSet;
use std::time::Duration;

use broker::config::nearest_names;
use clap::Args;
use client::{ClientError, ConfigChange, ConfigEntry, ConfigResource, ResourceKind};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use super::describe::no_setting;
use super::entity::{Entity, Kind};
use crate::failure::Failure;
use crate::output::{Answer, Format, Section, print};
use crate::session::{Connect, Session};
use crate::topic::parse_setting;

const SET_AFTER_HELP: &str = "\
Examples:
  ringlog config set topic orders retention.ms=86400000 segment.ms=3600000
  ringlog config set topic orders cleanup.policy=compact --dry-run   checked, not changed
  ringlog config set broker default log.retention.ms=604800000       of all nodes";

const UNSET_AFTER_HELP: &str = "\
Examples:
  ringlog config unset topic orders retention.ms    back to what the cluster has
  ringlog config unset broker default log.retention.ms --dry-run";

/// The arguments of `config set`.
#[derive(Args)]
#[command(after_help = SET_AFTER_HELP)]
pub(crate) struct Set {
    #[command(flatten)]
    entity: Entity,
    /// The settings
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// Have the cluster check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// The arguments of `config unset`.
#[derive(Args)]
#[command(after_help = UNSET_AFTER_HELP)]
pub(crate) struct Unset {
    #[command(flatten)]
    entity: Entity,
    /// The settings
    #[arg(required = true, value_name = "SETTING")]
    settings: Vec<String>,
    /// Have the cluster check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// Settings that were changed, or would be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConfigChanges {
    /// Whether nothing was changed because that was asked for.
    dry_run: bool,
    /// `topic`, `broker` or `group`.
    kind: &'static str,
    /// Whose settings; `default` means every node.
    name: String,
    changes: Vec<Change>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Change {
    setting: String,
    /// The effective value before, wherever it came from.
    before: Option<String>,
    /// The effective value now; in a dry run, what it would be set to (null: whatever its default is).
    after: Option<String>,
}

impl ConfigChanges {
    pub(crate) fn of(kind: &'static str, name: &str, dry_run: bool, changes: Vec<Change>) -> Self {
        Self { dry_run, kind, name: name.to_owned(), changes }
    }
}

impl Answer for ConfigChanges {
    const SCHEMA: &'static str = "config.change";
    const LINES: &'static str = "changes";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let after = if self.dry_run { "would be" } else { "now" };
        let cells = |change: &Change| {
            let value = |value: &Option<String>, absent: &str| {
                value.clone().filter(|value| !value.is_empty()).unwrap_or_else(|| absent.to_owned())
            };
            let absent = if self.dry_run { "its default" } else { "-" };
            vec![change.setting.clone(), value(&change.before, "-"), value(&change.after, absent)]
        };
        vec![Section::rows(&["setting", "before", after], self.changes.iter().map(cells))]
    }
}

/// How long it is waited until a node has heard of what the controller took. It hears much sooner; only a value that reads
/// back as the old one is waited for in vain.
const NEWS_TIME_MAX: Duration = Duration::from_secs(2);

/// Makes `changes` and says what became of each setting that they name; in a dry run, only has them checked.
pub(crate) async fn apply(
    session: &Session,
    resource: &ConfigResource,
    before: &[ConfigEntry],
    changes: &[ConfigChange],
    dry_run: bool,
) -> Result<Vec<Change>, ClientError> {
    session.admin.change_configs(resource, changes, dry_run).await?;
    let deadline = Instant::now() + NEWS_TIME_MAX.min(session.timeout);
    loop {
        let after = session.admin.describe_configs(resource, false).await?;
        let is_heard = || changes.iter().all(|change| is_heard(before, &after, resource, change));
        if dry_run || is_heard() || deadline < Instant::now() {
            return Ok(changes_between(before, &after, changes, dry_run));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether the node that was asked has heard of a change: a Kafka answers from what it has replayed of the metadata.
fn is_heard(before: &[ConfigEntry], after: &[ConfigEntry], resource: &ConfigResource, change: &ConfigChange) -> bool {
    let own = match (resource.kind, &*resource.name) {
        (ResourceKind::Topic, _) => "DYNAMIC_TOPIC_CONFIG",
        (ResourceKind::Broker, "") => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        (ResourceKind::Broker, _) => "DYNAMIC_BROKER_CONFIG",
        (ResourceKind::Group, _) => "DYNAMIC_GROUP_CONFIG",
        (ResourceKind::BrokerLogger | ResourceKind::ClientMetrics, _) => return true,
    };
    let own = |entries: &[ConfigEntry], name: &str| {
        entries.iter().find(|entry| entry.name == name && entry.source == own).map(|entry| entry.value.clone())
    };
    match change {
        ConfigChange::Delete(name) => own(after, name).is_none(),
        ConfigChange::Set(name, asked) => match own(after, name) {
            None => false,
            Some(None) => true,
            // A value may read back in another spelling.
            now => now == Some(Some(asked.clone())) || now != own(before, name),
        },
        ConfigChange::Append(..) | ConfigChange::Subtract(..) => true,
    }
}

/// What became of each setting that `changes` names.
fn changes_between(
    before: &[ConfigEntry],
    after: &[ConfigEntry],
    changes: &[ConfigChange],
    dry_run: bool,
) -> Vec<Change> {
    let value = |entries: &[ConfigEntry], name: &str| {
        let entry = entries.iter().find(|entry| entry.name == name)?;
        if entry.sensitive { Some("(secret)".to_owned()) } else { entry.value.clone() }
    };
    let is_secret = |name: &str| before.iter().chain(after).any(|entry| entry.name == name && entry.sensitive);
    let of = |change: &ConfigChange| {
        let (name, asked) = match change {
            ConfigChange::Set(name, asked) => (name, Some(asked.clone())),
            ConfigChange::Append(name, asked) => (name, Some(format!("+ {asked}"))),
            ConfigChange::Subtract(name, asked) => (name, Some(format!("- {asked}"))),
            ConfigChange::Delete(name) => (name, None),
        };
        // What was set was taken; a node that is asked at once may not have heard of it yet.
        let set = matches!(change, ConfigChange::Set(..)) && !is_secret(name);
        let after = if dry_run || set { asked } else { value(after, name) };
        Change { setting: name.clone(), before: value(before, name), after }
    };
    changes.iter().map(of).collect()
}

/// Takes nothing back that is no setting: a cluster says yes to that without a word.
pub(crate) fn check_deletions(whose: &str, described: &[ConfigEntry], changes: &[ConfigChange]) -> Result<(), Failure> {
    for change in changes {
        if let ConfigChange::Delete(name) = change
            && !described.iter().any(|entry| entry.name == *name)
        {
            return Err(no_setting(whose, name));
        }
    }
    Ok(())
}

impl Set {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let change = |(name, value): &(String, String)| ConfigChange::Set(name.clone(), value.clone());
        let changes: Vec<ConfigChange> = self.settings.iter().map(change).collect();
        run(&self.connect, self.format, &self.entity, &changes, self.dry_run)
    }
}

impl Unset {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let changes: Vec<ConfigChange> = self.settings.iter().cloned().map(ConfigChange::Delete).collect();
        run(&self.connect, self.format, &self.entity, &changes, self.dry_run)
    }
}

/// Nodes keep any name, for a plugin might know it. Mostly it is a slip.
async fn warn_of_unknown(session: &Session, before: &[ConfigEntry], changes: &[ConfigChange]) -> Result<(), Failure> {
    let mut known: BTreeSet<String> = before.iter().map(|entry| entry.name.clone()).collect();
    // What is set for all nodes is described alone.
    if let Some(node) = session.client.nodes().first() {
        let entries = session.admin.describe_configs(&ConfigResource::broker(node.id), false).await?;
        known.extend(entries.into_iter().map(|entry| entry.name));
    }
    for change in changes {
        if !known.contains(change.name()) {
            let near = nearest_names(change.name());
            let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
            tell!("ringlog: no node describes a setting {}: it has no effect there{hint}", change.name());
        }
    }
    Ok(())
}

fn run(
    connect: &Connect,
    format: Format,
    entity: &Entity,
    changes: &[ConfigChange],
    dry_run: bool,
) -> Result<(), Failure> {
    let resource = entity.resource()?;
    connect.run(async |session| {
        entity.check(&session).await?;
        let before = session.admin.describe_configs(&resource, false).await?;
        match entity.kind {
            Kind::Topic | Kind::Group => {
                check_deletions(&format!("{} {}", entity.kind.word(), entity.name), &before, changes)?;
            }
            Kind::Broker => warn_of_unknown(&session, &before, changes).await?,
        }
        let changes = apply(&session, &resource, &before, changes, dry_run).await?;
        print(&ConfigChanges::of(entity.kind.word(), &entity.name, dry_run, changes), format.output)
    })
}
