//! `ringlog topic alter`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use client::{ConfigChange, ConfigResource};

use super::{NOTE, OWNER, explain_ownership, parse_setting};
use crate::config::change::{ConfigChanges, apply, check_deletions};
use crate::failure::{Code, Failure};
use crate::live_names;
use crate::output::{Format, print};
use crate::session::Connect;

const AFTER_HELP: &str = "\
Examples:
  ringlog topic alter orders -c retention.ms=86400000   a day from now on
  ringlog topic alter orders --unset retention.ms       back to what the cluster has
  ringlog topic alter orders --owner billing --dry-run  checked, not changed";

/// The arguments of `topic alter`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Alter {
    /// Its name
    #[arg(add = ArgValueCompleter::new(live_names::topics))]
    topic: String,
    /// Set a setting. May be given many times
    #[arg(short, long = "config", value_name = "NAME=VALUE", value_parser = parse_setting)]
    configs: Vec<(String, String)>,
    /// Take a setting back to its default. May be given many times
    #[arg(long, visible_alias = "delete-config", value_name = "NAME")]
    unset: Vec<String>,
    /// The team or person to ask about it; empty: nobody
    #[arg(long, value_name = "TEAM")]
    owner: Option<String>,
    /// A line about it; empty: none
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Have the cluster check everything and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

impl Alter {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let changes = self.changes();
        if changes.is_empty() {
            let failure = Failure::new(Code::Usage, format!("nothing is to be changed of {}", self.topic));
            return Err(failure.with_next("name a change: --config, --unset, --owner or --note"));
        }
        self.connect.run(async |session| {
            session.client.topic_now(&self.topic, false).await?;
            let resource = ConfigResource::topic(&self.topic);
            let before = session.admin.describe_configs(&resource, false).await?;
            check_deletions(&format!("topic {}", self.topic), &before, &self.named_deletions())?;
            let changed = apply(&session, &resource, &before, &changes, self.dry_run).await;
            let changes =
                changed.map_err(|error| explain_ownership(error, self.owner.is_some() || self.note.is_some()))?;
            print(&ConfigChanges::of("topic", &self.topic, self.dry_run, changes), self.format.output)
        })
    }

    /// Those of `--unset`: an owner may be taken from a topic of a cluster that keeps none.
    fn named_deletions(&self) -> Vec<ConfigChange> {
        self.unset.iter().cloned().map(ConfigChange::Delete).collect()
    }

    fn changes(&self) -> Vec<ConfigChange> {
        let set = |(name, value): &(String, String)| ConfigChange::Set(name.clone(), value.clone());
        let mut changes: Vec<ConfigChange> = self.configs.iter().map(set).collect();
        changes.extend(self.unset.iter().map(|name| ConfigChange::Delete(name.clone())));
        for (name, value) in [(OWNER, &self.owner), (NOTE, &self.note)] {
            changes.extend(value.as_ref().map(|value| match value.trim().is_empty() {
                true => ConfigChange::Delete(name.to_owned()),
                false => ConfigChange::Set(name.to_owned(), value.clone()),
            }));
        }
        changes
    }
}
