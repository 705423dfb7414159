//! `ringlog config`: what settings there are, what they mean, whether a file is right; and those of a running cluster.

pub(crate) mod change;
pub(crate) mod describe;
pub(crate) mod entity;

use broker::config::{
    Config, DescribeOptions, Dynamic, Explanation, Notice, NoticeKind, Problem, Scope, describe_broker, explain,
    nearest_names,
};
use clap::Subcommand;
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::load::{Source, refusal};
use crate::output::{Answer, Format, Section, print};

const EXPLAIN_AFTER_HELP: &str = "\
Examples:
  ringlog config explain retention.ms        of a topic
  ringlog config explain log.retention.hours  of a node
  ringlog config explain cleanup.policy -o json";

const LIST_AFTER_HELP: &str = "\
Examples:
  ringlog config list --override num.partitions=3 --set   what is set, and where
  ringlog config list -o json                             every setting, for programs";

const CHECK_AFTER_HELP: &str = "\
Examples:
  ringlog config check --override num.partitions=3
  ringlog config check --override log.retention.hours=24 --override log.retention.bytes=1073741824
  ringlog config check --override num.partitions=3 -o json   for scripts: what is wrong, one by one";

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
        #[command(flatten)]
        format: Format,
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
        #[command(flatten)]
        format: Format,
    },
}

impl ConfigCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Get(get) => get.run(),
            Self::Describe(describe) => describe.run(),
            Self::Set(set) => set.run(),
            Self::Unset(unset) => unset.run(),
            Self::Explain { name, format } => match explain(name) {
                pages if pages.is_empty() => Err(unknown(name)),
                pages => print(&ConfigExplanation::of(pages), format.output),
            },
            Self::List { source, set, format } => list(source, *set, *format),
            Self::Check { source, format } => check(source, *format),
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

/// What a setting means, takes and does: of each sort that has one of this name.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConfigExplanation {
    settings: Vec<Explained>,
    #[serde(skip)]
    pages: Vec<Explanation>,
}

#[derive(Serialize, JsonSchema)]
struct Explained {
    setting: &'static str,
    /// `topic`, `group` or `broker`.
    kind: &'static str,
    /// Kafka's name of its type.
    value_type: &'static str,
    meaning: &'static str,
    /// Null when it is not set then.
    default: Option<&'static str>,
    /// Which values it takes, in words.
    takes: String,
    /// When it can be changed, in words.
    changes: &'static str,
    /// What it does in Ringlog, in words.
    here: &'static str,
    /// Of these settings the first that is set counts; empty when it stands alone.
    first_set_of: Vec<&'static str>,
    /// The topic setting that a node's setting is the default of.
    default_of: Option<&'static str>,
    /// The environment variable that sets a node's setting.
    environment: Option<String>,
    /// The node's setting that counts when that of a topic or a group is not set.
    falls_back_to: Option<String>,
}

impl ConfigExplanation {
    fn of(pages: Vec<Explanation>) -> Self {
        let explained = |page: &Explanation| Explained {
            setting: page.name,
            kind: match page.scope {
                Scope::Topic => "topic",
                Scope::Group => "group",
                Scope::Broker => "broker",
            },
            value_type: page.value_type,
            meaning: page.documentation,
            default: page.default,
            takes: page.takes.clone(),
            changes: page.changes,
            here: page.here,
            first_set_of: page.first_set_of.clone(),
            default_of: page.default_of,
            environment: page.environment.clone(),
            falls_back_to: page.falls_back_to.clone(),
        };
        Self { settings: pages.iter().map(explained).collect(), pages }
    }
}

impl Answer for ConfigExplanation {
    const SCHEMA: &'static str = "config.explain";
    const LINES: &'static str = "settings";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        self.pages.iter().map(|page| Section::Text(page.to_string())).collect()
    }
}

/// Whether a node would start with its settings.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConfigCheck {
    right: bool,
    /// What cannot be used; empty when all is right.
    problems: Vec<WrongSetting>,
    /// What is worth knowing: settings without effect, names that nobody knows. Empty when something is wrong.
    notes: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct WrongSetting {
    setting: String,
    /// As written; null when it follows from defaults.
    value: Option<String>,
    /// Where it is written: a file with its line, a variable, `--override`; null when it follows from defaults.
    source: Option<String>,
    /// Which rule it breaks, and what to do.
    rule: String,
}

impl Answer for ConfigCheck {
    const SCHEMA: &'static str = "config.check";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let mut text: String = self.notes.iter().map(|note| format!("note: {note}\n")).collect();
        text.push_str("These settings are right.");
        vec![Section::Text(text)]
    }
}

fn check(source: &Source, format: Format) -> Result<(), Failure> {
    match Config::prove(source.read()?, Dynamic::NONE) {
        Ok(config) => {
            let notes = notice_lines(&config.notices);
            print(&ConfigCheck { right: true, problems: Vec::new(), notes }, format.output)
        }
        Err(error) if format.output.is_text() => Err(refusal(&error)),
        Err(error) => {
            let wrong = |problem: Problem| WrongSetting {
                setting: problem.name,
                value: problem.value,
                source: problem.origin.map(|origin| origin.to_string()),
                rule: problem.rule,
            };
            let problems = error.problems.into_iter().map(wrong).collect();
            print(&ConfigCheck { right: false, problems, notes: Vec::new() }, format.output)?;
            Err(Failure::new(Code::Failed, ""))
        }
    }
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
