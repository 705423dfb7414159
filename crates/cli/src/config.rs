//! `ringlog config`: what settings there are, what they mean, whether a file is right; and those of a running cluster.

pub(crate) mod change;
pub(crate) mod describe;
pub(crate) mod entity;

use broker::config::{DescribeOptions, Dynamic, Notice, NoticeKind, Scope, describe_broker, explain, nearest_names};
use clap::Subcommand;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::load::Source;
use crate::output::{Answer, Format, Section, print, print_text};

const EXPLAIN_AFTER_HELP: &str = "\
Examples:
  ringlog config explain retention.ms        of a topic
  ringlog config explain log.retention.hours  of a node";

const LIST_AFTER_HELP: &str = "\
Examples:
  ringlog config list --override num.partitions=3 --set   what is set, and where
  ringlog config list -o json                             every setting, for programs";

const CHECK_AFTER_HELP: &str = "\
Examples:
  ringlog config check --override num.partitions=3
  ringlog config check --override log.retention.hours=24 --override log.retention.bytes=1073741824";

/// The commands about settings.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Settings of a topic, node or group of a running cluster, by name
    Get(describe::Get),
    /// The settings of a topic, node or group of a running cluster, and where each comes from
    Describe(describe::Describe),
    /// Set settings of a topic, node or group of a running cluster
    Set(change::Set),
    /// Take settings of a topic, node or group of a running cluster back to their defaults
    Unset(change::Unset),
    /// What a setting means, takes and does in Ringlog
    #[command(after_help = EXPLAIN_AFTER_HELP)]
    Explain {
        /// Its name, as in Kafka's documentation
        name: String,
    },
    /// Every setting that a node would start with, its effective value and where that comes from
    #[command(after_help = LIST_AFTER_HELP)]
    List {
        #[command(flatten)]
        source: Source,
        /// Only what somebody wrote
        #[arg(long)]
        set: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Check a properties file (and environment and overrides) without starting a node
    #[command(after_help = CHECK_AFTER_HELP)]
    Check {
        #[command(flatten)]
        source: Source,
    },
}

impl ConfigCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Get(get) => get.run(),
            Self::Describe(describe) => describe.run(),
            Self::Set(set) => set.run(),
            Self::Unset(unset) => unset.run(),
            Self::Explain { name } => match explain(name) {
                Some(page) => print_text(&page),
                None => Err(unknown(name)),
            },
            Self::List { source, set, format } => list(source, *set, *format),
            Self::Check { source } => {
                let config = source.load()?;
                for line in notice_lines(&config.notices) {
                    print_text(&format!("note: {line}\n"))?;
                }
                print_text("These settings are right.\n")
            }
        }
    }
}

fn unknown(name: &str) -> Failure {
    let near = nearest_names(name);
    let hint = if near.is_empty() { String::new() } else { format!(". Did you mean {}?", near.join(" or ")) };
    Failure::new(Code::NotFound, format!("there is no setting {name}{hint}"))
        .with_next("ringlog config list names those of a node, ringlog topic describe -o wide those of a topic")
}

/// One line for all settings without effect, one for each other notice.
pub(crate) fn notice_lines(notices: &[Notice]) -> Vec<String> {
    let idle: Vec<&str> = notices
        .iter()
        .filter(|notice| notice.kind == NoticeKind::NoEffect)
        .map(|notice| notice.name.as_str())
        .collect();
    let mut lines = Vec::new();
    if !idle.is_empty() {
        lines.push(format!("without effect in Ringlog (config explain NAME says why): {}", idle.join(", ")));
    }
    let others = notices.iter().filter(|notice| notice.kind != NoticeKind::NoEffect);
    lines.extend(others.map(|notice| format!("{}: {}", notice.name, notice.text)));
    lines
}

/// The settings that a node would start with.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConfigList {
    settings: Vec<Setting>,
}

#[derive(Serialize, JsonSchema)]
struct Setting {
    name: String,
    /// Null when nothing is set and there is no default; `(secret)` for a password.
    value: Option<String>,
    /// Where the value was written: a file with its line, a variable, `--override`, or `default`.
    source: String,
    /// Whether it can change only by a restart.
    read_only: bool,
}

impl Answer for ConfigList {
    const SCHEMA: &'static str = "config.list";
    const LINES: &'static str = "settings";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let cells = |row: &Setting| vec![row.name.clone(), row.value.clone().unwrap_or_default(), row.source.clone()];
        vec![Section::rows(&["name", "value", "source"], self.settings.iter().map(cells))]
    }
}

fn list(source: &Source, set: bool, format: Format) -> Result<(), Failure> {
    let config = source.load()?;
    let rows = describe_broker(&config, Dynamic::NONE, DescribeOptions::default());
    let place = |name: &str| config.raw.get(name).map(|raw| raw.origin.to_string());
    let settings = rows.into_iter().filter(|row| !set || place(&row.name).is_some()).map(|row| Setting {
        source: place(&row.name).unwrap_or_else(|| "default".to_owned()),
        value: if row.sensitive {
            Some("(secret)".to_owned()).filter(|_| place(&row.name).is_some())
        } else {
            row.value
        },
        read_only: Scope::Broker.key(&row.name).is_none() || row.read_only,
        name: row.name,
    });
    print(&ConfigList { settings: settings.collect() }, format.output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_not_found_with_the_nearest_ones() {
        let failure = unknown("num.partition");
        assert_eq!(failure.code, Code::NotFound);
        assert!(failure.message.starts_with("there is no setting num.partition. Did you mean num.partitions?\nNext: "));
        assert!(unknown("xyz").message.starts_with("there is no setting xyz\nNext: "));
    }

    #[test]
    fn settings_without_effect_share_one_line() {
        let notice = |kind, name: &str| Notice { kind, name: name.to_owned(), text: "text".to_owned() };
        let notices =
            [notice(NoticeKind::NoEffect, "a"), notice(NoticeKind::Unknown, "b"), notice(NoticeKind::NoEffect, "c")];
        assert_eq!(
            notice_lines(&notices),
            ["without effect in Ringlog (config explain NAME says why): a, c", "b: text"]
        );
    }
}
