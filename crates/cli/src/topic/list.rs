//! `ringlog topic list`.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use client::{ResourceKind, Topic};
use schemars::JsonSchema;
use serde::Serialize;
use types::{NodeId, TopicPartition};

use super::{NOTE, OWNER, replication_factor, size_of, sizes};
use crate::failure::Failure;
use crate::output::{Answer, Cell, Format, Output, Section, Tone, print};
use crate::session::{Connect, Session};
use crate::units;

const AFTER_HELP: &str = "\
Examples:
  ringlog topic list                      names, partitions and replicas
  ringlog topic list -o wide --internal   with id, size, owner and note; the cluster's own topics too
  ringlog topic list --unowned            whose owner nobody has written down";

/// The arguments of `topic list`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct List {
    /// Only topics whose name contains this
    #[arg(value_name = "PART")]
    part: Option<String>,
    /// Only topics of this owner
    #[arg(long, value_name = "TEAM", conflicts_with = "unowned")]
    owner: Option<String>,
    /// Only topics without an owner
    #[arg(long)]
    unowned: bool,
    /// The cluster's own topics too, such as __consumer_offsets
    #[arg(short, long)]
    internal: bool,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// The topics of a cluster.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TopicList {
    topics: Vec<Listed>,
}

#[derive(Serialize, JsonSchema)]
struct Listed {
    topic: String,
    /// Null from clusters without topic ids.
    topic_id: Option<String>,
    partitions: u64,
    replication_factor: u64,
    /// Whether the cluster keeps it for itself.
    internal: bool,
    /// Partitions with fewer replicas in sync than there are.
    under_replicated: u64,
    /// Partitions that nobody leads.
    leaderless: u64,
    /// Bytes of its logs, each partition counted once; null when a node did not say.
    size_bytes: Option<u64>,
    /// Whom to ask; null when nobody has written that down, or the cluster keeps no owners.
    owner: Option<String>,
    /// A line about it, likewise.
    note: Option<String>,
    cleanup_policy: Option<String>,
    /// Null when it is kept for ever.
    retention_ms: Option<u64>,
}

impl Answer for TopicList {
    const SCHEMA: &'static str = "topic.list";
    const LINES: &'static str = "topics";

    fn sections(&self, wide: bool) -> Vec<Section> {
        let mut heads = vec!["topic", "partitions", "replicas"];
        if wide {
            heads.extend(["size", "cleanup", "retention", "out of sync", "owner", "note", "id"]);
        }
        let rows = self.topics.iter().map(|topic| {
            let text = |text: &Option<String>| Cell::from(text.as_deref().unwrap_or("-"));
            let mut cells = vec![
                Cell::from(&topic.topic),
                topic.partitions.to_string().into(),
                topic.replication_factor.to_string().into(),
            ];
            if wide {
                let retention = topic.retention_ms.map(|ms| units::duration(std::time::Duration::from_millis(ms)));
                let tone = if topic.under_replicated == 0 { Tone::Plain } else { Tone::Bad };
                cells.extend([
                    topic.size_bytes.map_or("-".to_owned(), units::bytes).into(),
                    text(&topic.cleanup_policy),
                    retention.unwrap_or_else(|| "for ever".to_owned()).into(),
                    Cell::toned(topic.under_replicated.to_string(), tone),
                    text(&topic.owner),
                    text(&topic.note),
                    text(&topic.topic_id),
                ]);
            }
            cells
        });
        vec![Section::rows(&heads, rows)]
    }
}

/// Settings that a listing shows.
const KEYS: &[&str] = &[OWNER, NOTE, "cleanup.policy", "retention.ms"];

impl List {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.connect.run(async |session| {
            let mut topics = session.client.topics().await?;
            topics.retain(|topic| self.internal || !topic.internal);
            topics.retain(|topic| self.part.as_ref().is_none_or(|part| topic.name.contains(part.as_str())));
            // Only names and counts are asked for when nothing else is shown.
            let full = self.format.output != Output::Table || self.owner.is_some() || self.unowned;
            let mut settings = BTreeMap::new();
            let mut bytes = BTreeMap::new();
            if full && !topics.is_empty() {
                settings = settings_of(&session, &topics).await?;
                bytes = sizes(&session).await?;
            }
            let listed = topics.iter().map(|topic| listed(topic, &settings, &bytes)).filter(|topic| {
                let owned = topic.owner.is_some();
                self.owner.as_ref().is_none_or(|owner| topic.owner.as_ref() == Some(owner)) && !(self.unowned && owned)
            });
            print(&TopicList { topics: listed.collect() }, self.format.output)
        })
    }
}

type Settings = BTreeMap<String, BTreeMap<String, String>>;

/// The listed settings of each topic.
async fn settings_of(session: &Session, topics: &[Arc<Topic>]) -> Result<Settings, Failure> {
    let names: Vec<String> = topics.iter().map(|topic| topic.name.to_string()).collect();
    let described = session.admin.describe_configs_of(ResourceKind::Topic, &names, Some(KEYS)).await?;
    let of = |(topic, entries): (String, Vec<client::ConfigEntry>)| {
        (topic, entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
    };
    Ok(described.into_iter().map(of).collect())
}

fn listed(topic: &Topic, settings: &Settings, sizes: &BTreeMap<(TopicPartition, NodeId), u64>) -> Listed {
    let setting = |name: &str| settings.get(topic.name.as_ref())?.get(name).filter(|value| !value.is_empty()).cloned();
    let count = |matches: &dyn Fn(&client::Partition) -> bool| {
        topic.partitions.iter().filter(|partition| matches(partition)).count() as u64
    };
    Listed {
        topic: topic.name.to_string(),
        topic_id: topic.id.map(|id| id.to_string()),
        partitions: topic.partitions.len() as u64,
        replication_factor: replication_factor(topic),
        internal: topic.internal,
        under_replicated: count(&|partition| partition.isr.len() < partition.replicas.len()),
        leaderless: count(&|partition| partition.leader.is_none()),
        size_bytes: size_of(topic, sizes),
        owner: setting(OWNER),
        note: setting(NOTE),
        cleanup_policy: setting("cleanup.policy"),
        retention_ms: setting("retention.ms").and_then(|ms| ms.parse().ok()),
    }
}
