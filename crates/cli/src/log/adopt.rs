//! `ringlog log adopt`: the way to move from Kafka with all records and offsets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use broker::offline::{self, AdoptOptions, AdoptReport, AdoptedFolder, Take};
use broker::preflight::human;
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::{failure, progress_line};
use crate::failure::{Code, Failure};
use crate::load::Source;
use crate::output::{Answer, Format, Section, print};

const AFTER_HELP: &str = "\
Examples:
  ringlog log adopt /var/lib/kafka/data --properties server.properties --dry-run    checked, nothing taken
  ringlog log adopt /var/lib/kafka/data --properties server.properties --move       on one file system, without a copy

The Kafka that wrote DIR must have been stopped cleanly, and the node must be stopped. Topics keep their ids, records \
their offsets and timestamps, and __consumer_offsets the groups' positions. Topic configs are read from Kafka's metadata \
log, if one DIR has it (__cluster_metadata-0; else name Kafka's metadata.log.dir too); --config goes before them. A topic \
that says nothing of its retention keeps everything (retention.ms=-1, retention.bytes=-1).";

/// The arguments of `log adopt`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Adopt {
    /// Log directories with folders such as orders-0
    #[arg(value_name = "DIR", required = true)]
    sources: Vec<PathBuf>,
    /// The properties file that the node is started with
    #[arg(long, value_name = "server.properties")]
    properties: Option<PathBuf>,
    /// Set one of the node's values; wins over file and environment. May be given many times
    #[arg(long = "override", value_name = "NAME=VALUE")]
    overrides: Vec<String>,
    /// Only this topic, such as one of many or all but __consumer_offsets. May be given many times
    #[arg(long = "topic", value_name = "NAME")]
    topics: Vec<String>,
    /// Rename the folders instead of copying them; only within one file system
    #[arg(long = "move")]
    moves: bool,
    /// A config of every adopted topic, such as cleanup.policy=compact. May be given many times
    #[arg(long = "config", value_name = "NAME=VALUE")]
    configs: Vec<String>,
    /// Take what was not stopped cleanly too; torn tails are cut
    #[arg(long)]
    unclean: bool,
    /// Take records written in transactions too, committed or not
    #[arg(long)]
    transactional: bool,
    /// Check everything and say what would be done; adopt nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize, JsonSchema)]
struct FolderJson {
    topic: String,
    partition: i32,
    topic_id: String,
    source: String,
    target: String,
    size_bytes: u64,
    log_start_offset: Option<i64>,
    log_end_offset: Option<i64>,
    notes: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct LeftOutJson {
    folder: String,
    reason: String,
}

#[derive(Serialize, JsonSchema)]
struct TopicJson {
    topic: String,
    configs: BTreeMap<String, String>,
}

/// What was taken in, or would be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LogAdoption {
    dry_run: bool,
    folders: Vec<FolderJson>,
    left_out: Vec<LeftOutJson>,
    topics: Vec<TopicJson>,
    configs_left_out: Vec<String>,
}

impl Adopt {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut configs = Vec::new();
        for text in &self.configs {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| Failure::new(Code::Usage, format!("--config {text}: NAME=VALUE is meant")))?;
            configs.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let source = Source { file: self.properties.clone(), overrides: self.overrides.clone() };
        let options = AdoptOptions {
            sources: self.sources.clone(),
            topics: self.topics.clone(),
            take: if self.moves { Take::Move } else { Take::Copy },
            configs,
            unclean: self.unclean,
            transactional: self.transactional,
            dry_run: self.dry_run,
        };
        let report = offline::adopt(source.load()?, &options, &mut progress_line()).map_err(|error| failure(&error))?;
        self.print(&report)
    }

    fn print(&self, report: &AdoptReport) -> Result<(), Failure> {
        let left_out = report
            .left_out
            .iter()
            .map(|(folder, reason)| LeftOutJson { folder: folder.display().to_string(), reason: reason.clone() });
        let answer = LogAdoption {
            dry_run: self.dry_run,
            folders: report.folders.iter().map(folder_json).collect(),
            left_out: left_out.collect(),
            topics: report
                .configs
                .iter()
                .map(|(topic, configs)| TopicJson { topic: topic.to_string(), configs: configs.clone() })
                .collect(),
            configs_left_out: report.configs_left_out.clone(),
        };
        print(&answer, self.format.output)?;
        if !self.format.output.is_text() {
            return Ok(());
        }
        for folder in &report.folders {
            for note in &folder.notes {
                tell!("{}: {note}", folder.partition);
            }
        }
        for (folder, reason) in &report.left_out {
            tell!("left out: {}: {reason}", folder.display());
        }
        for (topic, configs) in &report.configs {
            let configs: Vec<String> = configs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            tell!("{topic}: {}", configs.join(" "));
        }
        for config in &report.configs_left_out {
            tell!("config left out: {config}");
        }
        let bytes = report.folders.iter().map(|folder| folder.bytes).sum();
        let (count, size) = (report.folders.len(), human(bytes));
        if self.dry_run {
            tell!("{count} partitions, {size}, can be adopted; nothing was, as --dry-run was given");
        } else {
            tell!("{count} partitions, {size}, adopted. Next: ringlog serve, and point the clients at it");
        }
        Ok(())
    }
}

fn folder_json(folder: &AdoptedFolder) -> FolderJson {
    FolderJson {
        topic: folder.partition.topic.to_string(),
        partition: folder.partition.partition.value(),
        topic_id: folder.topic_id.to_string(),
        source: folder.source.display().to_string(),
        target: folder.target.display().to_string(),
        size_bytes: folder.bytes,
        log_start_offset: folder.log_start.map(|offset| offset.value()),
        log_end_offset: folder.log_end.map(|offset| offset.value()),
        notes: folder.notes.clone(),
    }
}

impl Answer for LogAdoption {
    const SCHEMA: &'static str = "log.adopt";
    const LINES: &'static str = "folders";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let heads = ["partition", "topic id", "size", "first", "end", "from", "to"];
        vec![Section::rows(&heads, self.folders.iter().map(folder_cells))]
    }
}

fn folder_cells(folder: &FolderJson) -> Vec<String> {
    let offset = |offset: Option<i64>| offset.map_or(String::new(), |offset| offset.to_string());
    vec![
        format!("{}-{}", folder.topic, folder.partition),
        folder.topic_id.clone(),
        human(folder.size_bytes),
        offset(folder.log_start_offset),
        offset(folder.log_end_offset),
        folder.source.clone(),
        folder.target.clone(),
    ]
}
