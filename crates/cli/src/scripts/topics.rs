//! `ringlog topics`: kafka-topics.sh.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use clap::{ArgGroup, Args};
use clap_complete::engine::ArgValueCompleter;
use client::{ClientError, ConfigEntry, ElectableReplicas, NewTopic, Partition, ResourceKind, Topic};
use types::{ErrorCode, NodeId, TopicId, TopicPartition};

use super::chosen;
use crate::failure::{Code, Failure};
use crate::live_names;
use crate::output::print_text;
use crate::session::{Connect, Session};
use crate::topic::create::{Assignment, parse_assignment};
use crate::topic::parse_setting;

const AFTER_HELP: &str = "\
Flags and output are those of Kafka 4.3's kafka-topics.sh; `ringlog topic` has more to say.

Examples:
  ringlog topics --create --topic orders --partitions 3 --replication-factor 1
  ringlog topics --describe --topic orders
  ringlog topics --list --exclude-internal";

/// What Kafka says of names that its metrics cannot tell apart.
const COLLISION_WARNING: &str = "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore \
                                 ('_') could collide. To avoid issues it is best to use either, but not both.\n";

/// The flags of kafka-topics.sh.
#[derive(Args)]
#[command(
    after_help = AFTER_HELP,
    group(ArgGroup::new("action").required(true).args(["create", "list", "describe", "alter", "delete"]))
)]
pub(crate) struct Topics {
    /// Make a topic
    #[arg(long, requires = "topic")]
    create: bool,
    /// The names of all topics
    #[arg(long)]
    list: bool,
    /// Topics and their partitions
    #[arg(long)]
    describe: bool,
    /// Raise the number of partitions
    #[arg(long, requires = "topic", requires = "partitions")]
    alter: bool,
    /// Delete topics
    #[arg(long, requires = "topic")]
    delete: bool,
    /// The topic; but for --create, a regular expression
    #[arg(long, add = ArgValueCompleter::new(live_names::topics))]
    topic: Option<String>,
    /// The topic to describe, by id
    #[arg(long, requires = "describe")]
    topic_id: Option<String>,
    /// How many partitions
    #[arg(long, conflicts_with_all = ["list", "describe", "delete"])]
    partitions: Option<i32>,
    /// How many replicas
    #[arg(long, requires = "create")]
    replication_factor: Option<i16>,
    /// Which nodes hold which partition, such as 1:2,2:3
    #[arg(long, value_parser = parse_assignment, conflicts_with_all = ["list", "describe", "delete"])]
    replica_assignment: Option<Assignment>,
    /// A setting of the new topic. May be given many times
    #[arg(long = "config", value_name = "NAME=VALUE", value_parser = parse_setting, requires = "create")]
    configs: Vec<(String, String)>,
    /// Pass over topics that do not exist
    #[arg(long)]
    if_exists: bool,
    /// Leave a topic that exists as it is
    #[arg(long, requires = "create")]
    if_not_exists: bool,
    /// Without the cluster's own topics
    #[arg(long)]
    exclude_internal: bool,
    /// Only partitions with fewer replicas in sync than there are
    #[arg(long, requires = "describe")]
    under_replicated_partitions: bool,
    /// Only partitions whose leader is not there
    #[arg(long, requires = "describe")]
    unavailable_partitions: bool,
    /// Only partitions with fewer replicas in sync than min.insync.replicas
    #[arg(long, requires = "describe")]
    under_min_isr_partitions: bool,
    /// Only partitions with exactly min.insync.replicas in sync
    #[arg(long, requires = "describe")]
    at_min_isr_partitions: bool,
    /// Only topics with settings of their own, without their partitions
    #[arg(long, requires = "describe")]
    topics_with_overrides: bool,
    /// Without effect: pages are as large as they need to be
    #[arg(long, hide = true)]
    partition_size_limit_per_response: Option<i32>,
    /// Without effect, as in Kafka since 4.0
    #[arg(long, hide = true)]
    delete_config: Vec<String>,
    #[command(flatten)]
    connect: Connect,
}

impl Topics {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.connect.run(async |session| {
            if self.create {
                return self.create(&session).await;
            }
            let topics = self.topics(&session).await?;
            if self.list {
                let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_ref()).collect();
                return print_text(&format!("{}\n", names.join("\n")));
            }
            if topics.is_empty()
                && !self.if_exists
                && let Some(name) = self.topic_id.as_ref().or(self.topic.as_ref())
            {
                let kind = if self.topic_id.is_some() { "TopicId" } else { "Topic" };
                let why = format!("{kind} '{name}' does not exist as expected");
                return Err(failed(Failure::new(Code::Failed, &why), &why));
            }
            if self.describe {
                return self.describe(&session, &topics).await;
            }
            for topic in &topics {
                let done = if self.delete {
                    session.admin.delete_topic(&topic.name).await
                } else {
                    self.alter(&session, topic).await
                };
                done.map_err(refused)?;
            }
            Ok(())
        })
    }

    async fn topics(&self, session: &Session) -> Result<Vec<Arc<Topic>>, Failure> {
        let topics = session.client.topics().await.map_err(refused)?;
        let Some(id) = &self.topic_id else {
            return chosen(topics, self.topic.as_deref(), self.exclude_internal);
        };
        let Some(id) = TopicId::parse(id) else {
            let why = format!("`{id}` is no topic id");
            return Err(failed(Failure::new(Code::Failed, &why), &why));
        };
        let mut topics = chosen(topics, None, self.exclude_internal)?;
        topics.retain(|topic| topic.id == Some(id));
        Ok(topics)
    }

    async fn create(&self, session: &Session) -> Result<(), Failure> {
        let name = self.topic.clone().unwrap_or_default();
        if name.contains(['.', '_']) {
            print_text(COLLISION_WARNING)?;
        }
        let too_few = [
            (self.replication_factor.is_some_and(|factor| factor < 1))
                .then(|| format!("The replication factor must be between 1 and {} inclusive", i16::MAX)),
            (self.partitions.is_some_and(|count| count < 1))
                .then(|| "The partitions must be greater than 0".to_owned()),
        ];
        if let Some(why) = too_few.into_iter().flatten().next() {
            return Err(failed(Failure::new(Code::Failed, &why), &why));
        }
        let new = NewTopic {
            name: name.clone(),
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            assignment: self.replica_assignment.clone().unwrap_or_default(),
            configs: self.configs.iter().cloned().collect(),
        };
        match session.admin.create_topic(&new, false).await {
            Ok(_) => print_text(&format!("Created topic {name}.\n")),
            Err(error) if self.if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }

    async fn alter(&self, session: &Session, topic: &Topic) -> Result<(), ClientError> {
        let count = self.partitions.unwrap_or_default();
        // The assignment names the partitions that there are, too.
        let new = self
            .replica_assignment
            .as_ref()
            .map(|assignment| assignment.values().skip(topic.partitions.len()).cloned().collect::<Vec<Vec<NodeId>>>());
        session.admin.create_partitions_at(&topic.name, count, new.as_deref(), false).await
    }

    async fn describe(&self, session: &Session, topics: &[Arc<Topic>]) -> Result<(), Failure> {
        let names: Vec<String> = topics.iter().map(|topic| topic.name.to_string()).collect();
        let alive: Vec<NodeId> = session.client.cluster().await?.nodes.into_iter().map(|node| node.id).collect();
        let configs = session.admin.describe_configs_of(ResourceKind::Topic, &names, None).await?;
        let partitions = !self.topics_with_overrides;
        let electable = if partitions && !names.is_empty() {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            session.admin.electable_replicas(&names).await?
        } else {
            None
        };
        let mut text = String::new();
        for topic in topics {
            let configs = configs.get(topic.name.as_ref()).map(Vec::as_slice).unwrap_or_default();
            if !self.filters_partitions() && (partitions || configs.iter().any(|entry| entry.is_set)) {
                text.push_str(&topic_line(topic, configs));
            }
            for partition in
                topic.partitions.iter().filter(|partition| partitions && self.shows(partition, configs, &alive))
            {
                text.push_str(&partition_line(&topic.name, partition, electable.as_ref()));
            }
        }
        print_text(&text)
    }

    fn filters_partitions(&self) -> bool {
        self.under_replicated_partitions
            || self.unavailable_partitions
            || self.under_min_isr_partitions
            || self.at_min_isr_partitions
    }

    fn shows(&self, partition: &Partition, configs: &[ConfigEntry], alive: &[NodeId]) -> bool {
        let min_isr = configs
            .iter()
            .find(|entry| entry.name == "min.insync.replicas")
            .and_then(|entry| entry.value.as_ref()?.parse().ok())
            .unwrap_or(1);
        let in_sync = partition.isr.len();
        !self.filters_partitions()
            || (self.under_replicated_partitions && in_sync < partition.replicas.len())
            || (self.unavailable_partitions && partition.leader.is_none_or(|leader| !alive.contains(&leader)))
            || (self.under_min_isr_partitions && (partition.leader.is_none() || in_sync < min_isr))
            || (self.at_min_isr_partitions && in_sync == min_isr)
    }
}

/// Ends as the script does: its own line on stdout, exit code 1. What to do next is said on stderr.
fn failed(failure: Failure, why: &str) -> Failure {
    // What is wrong is more important than that it cannot be said on stdout.
    let _ = print_text(&format!("Error while executing topic command : {why}\n"));
    Failure { code: Code::Failed, ..failure }
}

/// As [`failed`], in the node's own words.
fn refused(error: ClientError) -> Failure {
    let why = match &error {
        ClientError::Refused { message: Some(message), .. } => message.clone(),
        other => other.to_string(),
    };
    failed(error.into(), &why)
}

fn topic_line(topic: &Topic, configs: &[ConfigEntry]) -> String {
    let set = configs.iter().filter(|entry| entry.is_set);
    let set: Vec<String> =
        set.map(|entry| format!("{}={}", entry.name, entry.value.as_deref().unwrap_or("null"))).collect();
    let id = topic.id.map(|id| format!("\tTopicId: {id}")).unwrap_or_default();
    let replicas = topic.partitions.first().map_or(0, |partition| partition.replicas.len());
    format!(
        "Topic: {}{id}\tPartitionCount: {}\tReplicationFactor: {replicas}\tConfigs: {}\n",
        topic.name,
        topic.partitions.len(),
        set.join(",")
    )
}

fn partition_line(
    topic: &Arc<str>,
    partition: &Partition,
    electable: Option<&BTreeMap<TopicPartition, ElectableReplicas>>,
) -> String {
    let nodes = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let leader = partition.leader.map_or("none".to_owned(), |leader| leader.to_string());
    let (replicas, isr) = (nodes(&partition.replicas), nodes(&partition.isr));
    let mut line =
        format!("\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {replicas}\tIsr: {isr}", partition.index);
    let found = electable.map(|electable| electable.get(&TopicPartition::new(Arc::clone(topic), partition.index)));
    let (eligible, last_known) = match found {
        None => ("N/A".to_owned(), "N/A".to_owned()),
        Some(None) => (String::new(), String::new()),
        Some(Some(replicas)) => (nodes(&replicas.eligible), nodes(&replicas.last_known)),
    };
    let _ = writeln!(line, "\tElr: {eligible}\tLastKnownElr: {last_known}");
    line
}
