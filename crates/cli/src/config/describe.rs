//! `ringlog config get` and `describe`: the effective settings of topics, nodes and groups, and where they come from.

use clap::Args;
use client::ConfigEntry;
use schemars::JsonSchema;
use serde::Serialize;

use super::entity::{Entity, Kind};
use crate::failure::{Code, Failure};
use crate::output::{Answer, Cell, Format, Section, Tone, print};
use crate::session::Connect;

const DESCRIBE_AFTER_HELP: &str = "\
Examples:
  ringlog config describe topic orders             what somebody set for it
  ringlog config describe topic orders --all       every effective setting and where it comes from
  ringlog config describe broker 1 --all -o wide   with what each setting means";

const GET_AFTER_HELP: &str = "\
Examples:
  ringlog config get topic orders retention.ms
  ringlog config get broker 1 log.dirs node.id -o json";

/// The arguments of `config describe`.
#[derive(Args)]
#[command(after_help = DESCRIBE_AFTER_HELP)]
pub(crate) struct Describe {
    #[command(flatten)]
    entity: Entity,
    /// Defaults too, not only what somebody set
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// The arguments of `config get`.
#[derive(Args)]
#[command(after_help = GET_AFTER_HELP)]
pub(crate) struct Get {
    #[command(flatten)]
    entity: Entity,
    /// The settings
    #[arg(required = true, value_name = "SETTING")]
    settings: Vec<String>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// Settings as a cluster has them.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ConfigDescription {
    /// `topic`, `broker` or `group`.
    kind: &'static str,
    /// Whose settings; `default` means every node.
    name: String,
    settings: Vec<Setting>,
}

/// An effective setting.
#[derive(Clone, Serialize, JsonSchema)]
pub(crate) struct Setting {
    pub(crate) name: String,
    /// Null when it is not set and has no default, and for secrets.
    pub(crate) value: Option<String>,
    /// Where the value comes from, by Kafka's name: `DYNAMIC_TOPIC_CONFIG`, `DEFAULT_CONFIG`, ...
    pub(crate) source: &'static str,
    /// Whether somebody set it, wherever; false for defaults.
    pub(crate) is_set: bool,
    /// Whether it can change only by a restart.
    read_only: bool,
    /// Whether its value is hidden.
    sensitive: bool,
    /// Where it is written, the strongest place first: the value that counts and those it hides.
    synonyms: Vec<Synonym>,
    /// What it means; null from clusters that do not say.
    documentation: Option<String>,
}

#[derive(Clone, Serialize, JsonSchema)]
struct Synonym {
    name: String,
    value: Option<String>,
    source: &'static str,
}

impl From<ConfigEntry> for Setting {
    fn from(entry: ConfigEntry) -> Self {
        let synonym = |synonym: client::ConfigSynonym| {
            let client::ConfigSynonym { name, value, source } = synonym;
            Synonym { name, value, source }
        };
        Self {
            name: entry.name,
            value: entry.value,
            source: entry.source,
            is_set: entry.is_set,
            read_only: entry.read_only,
            sensitive: entry.sensitive,
            synonyms: entry.synonyms.into_iter().map(synonym).collect(),
            documentation: entry.documentation,
        }
    }
}

impl Setting {
    /// The value as a person reads it.
    pub(crate) fn shown(&self) -> String {
        match (&self.value, self.sensitive) {
            (_, true) => "(secret)".to_owned(),
            (Some(value), false) => value.clone(),
            (None, false) => String::new(),
        }
    }
}

/// A source in words.
pub(crate) fn source_words(source: &str) -> &'static str {
    match source {
        "DYNAMIC_TOPIC_CONFIG" => "topic",
        "DYNAMIC_BROKER_CONFIG" => "node, while running",
        "DYNAMIC_DEFAULT_BROKER_CONFIG" => "all nodes, while running",
        "STATIC_BROKER_CONFIG" => "node's start",
        "DYNAMIC_GROUP_CONFIG" => "group",
        "DEFAULT_CONFIG" => "default",
        _ => "unknown",
    }
}

/// Rows of settings, the same wherever they are shown.
pub(crate) fn settings_section(settings: &[Setting], wide: bool) -> Section {
    let mut heads = vec!["setting", "value", "from"];
    if wide {
        heads.extend(["change", "meaning"]);
    }
    let rows = settings.iter().map(|setting| {
        let tone = if setting.is_set { Tone::Good } else { Tone::Plain };
        let from = Cell::toned(source_words(setting.source), tone);
        let mut cells = vec![Cell::from(&setting.name), setting.shown().into(), from];
        if wide {
            cells.push(if setting.read_only { "by a restart" } else { "at any time" }.into());
            cells.push(setting.documentation.clone().unwrap_or_default().into());
        }
        cells
    });
    Section::rows(&heads, rows)
}

impl Answer for ConfigDescription {
    const SCHEMA: &'static str = "config.describe";
    const LINES: &'static str = "settings";

    fn sections(&self, wide: bool) -> Vec<Section> {
        vec![settings_section(&self.settings, wide)]
    }
}

impl Describe {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        describe(&self.connect, &self.entity, self.format, |settings| {
            Ok(settings.into_iter().filter(|setting| self.all || setting.is_set).collect())
        })
    }
}

/// `whose` is `topic orders`.
pub(super) fn no_setting(whose: &str, name: &str) -> Failure {
    Failure::new(Code::NotFound, format!("{whose} has no setting {name}"))
        .with_next(&format!("ringlog config explain {name}"))
}

impl Get {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        describe(&self.connect, &self.entity, self.format, |settings| {
            let whose = || format!("{} {}", self.entity.kind.word(), self.entity.name);
            let found = |name: &String| {
                let setting = settings.iter().find(|setting| setting.name == *name);
                setting.cloned().ok_or_else(|| no_setting(&whose(), name))
            };
            self.settings.iter().map(found).collect()
        })
    }
}

fn describe(
    connect: &Connect,
    entity: &Entity,
    format: Format,
    choose: impl Fn(Vec<Setting>) -> Result<Vec<Setting>, Failure>,
) -> Result<(), Failure> {
    let resource = entity.resource()?;
    connect.run(async |session| {
        if entity.kind != Kind::Group {
            entity.check(&session).await?;
        }
        let entries = session.admin.describe_configs(&resource, true).await?;
        let settings = choose(entries.into_iter().map(Setting::from).collect())?;
        let (kind, name) = (entity.kind.word(), entity.name.clone());
        print(&ConfigDescription { kind, name, settings }, format.output)
    })
}
