//! `ringlog cluster`: nodes, health, the metadata quorum, room on disks.

use clap::{Args, Subcommand};
use client::{ClientError, ClusterBroker};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Answer, Cell, Format, Section, Tone, print};
use crate::session::{Connect, Session};
use crate::units;

const DESCRIBE_AFTER_HELP: &str = "\
Examples:
  ringlog cluster describe            nodes, controller, how much there is
  ringlog cluster describe -o json";

const HEALTH_AFTER_HELP: &str = "\
Exits with 6 when something is wrong.

Examples:
  ringlog cluster health              partitions without leader or in too few replicas, fenced nodes, failed directories
  ringlog cluster health --wait --timeout 1m";

const QUORUM_AFTER_HELP: &str = "\
Examples:
  ringlog cluster quorum              who leads the metadata, who votes, who is behind
  ringlog cluster quorum -o jsonl";

const DIRS_AFTER_HELP: &str = "\
Examples:
  ringlog cluster dirs                size, room and failures of every node's log directories
  ringlog cluster dirs -o yaml";

/// The commands about a cluster.
#[derive(Subcommand)]
pub(crate) enum ClusterCommand {
    /// Its nodes, its controller, and how much it holds
    #[command(after_help = DESCRIBE_AFTER_HELP, visible_alias = "nodes")]
    Describe(Asked),
    /// What is wrong with it
    #[command(after_help = HEALTH_AFTER_HELP)]
    Health(Health),
    /// The quorum that keeps its metadata
    #[command(after_help = QUORUM_AFTER_HELP)]
    Quorum(Asked),
    /// Log directories and the room on their disks
    #[command(after_help = DIRS_AFTER_HELP, visible_alias = "logdirs")]
    Dirs(Asked),
}

/// A question without arguments of its own.
#[derive(Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    connect: Connect,
}

/// The arguments of `cluster health`.
#[derive(Args)]
pub(crate) struct Health {
    /// Wait until nothing is wrong, as long as --timeout says
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    asked: Asked,
}

/// A cluster.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ClusterDescription {
    cluster_id: Option<String>,
    /// Who takes administrative requests.
    controller: Option<i32>,
    topics: u64,
    partitions: u64,
    /// Replicas of all partitions.
    replicas: u64,
    nodes: Vec<NodeRow>,
}

#[derive(Serialize, JsonSchema)]
struct NodeRow {
    node: i32,
    address: String,
    rack: Option<String>,
    /// Registered, but without leaderships.
    fenced: bool,
    leaders: u64,
    replicas: u64,
}

/// What is wrong with a cluster.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ClusterHealth {
    healthy: bool,
    partitions: u64,
    /// Partitions that nobody leads.
    leaderless: Vec<String>,
    /// Partitions with fewer replicas in sync than they have.
    under_replicated: Vec<String>,
    /// Nodes that are registered and fenced.
    fenced_nodes: Vec<i32>,
    /// Nodes that could not be asked.
    unreachable_nodes: Vec<i32>,
    /// Log directories that failed, as node:path.
    failed_directories: Vec<String>,
}

/// The quorum that keeps the metadata.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ClusterQuorum {
    leader: Option<i32>,
    leader_epoch: i32,
    /// Below it metadata is committed.
    high_watermark: Option<i64>,
    members: Vec<Member>,
}

#[derive(Serialize, JsonSchema)]
struct Member {
    node: i32,
    /// `leader`, `voter` or `observer`.
    role: &'static str,
    log_end_offset: Option<i64>,
    /// Offsets behind the leader.
    behind: Option<i64>,
    last_fetch: Option<String>,
    last_caught_up: Option<String>,
}

/// The log directories of all nodes.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ClusterDirs {
    directories: Vec<Directory>,
    /// Nodes that could not be asked.
    unreachable_nodes: Vec<i32>,
}

#[derive(Serialize, JsonSchema)]
struct Directory {
    node: i32,
    path: String,
    /// Why it is offline, by Kafka's name; null when it is not.
    error: Option<&'static str>,
    logs: u64,
    /// Of the logs in it.
    size_bytes: u64,
    /// Of its file system.
    total_bytes: Option<u64>,
    usable_bytes: Option<u64>,
}

impl ClusterCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Describe(asked) => {
                asked.connect.run(async |session| print(&describe(&session).await?, asked.format.output))
            }
            Self::Health(health) => health.run(),
            Self::Quorum(asked) => {
                asked.connect.run(async |session| print(&quorum(&session).await?, asked.format.output))
            }
            Self::Dirs(asked) => asked.connect.run(async |session| print(&dirs(&session).await?, asked.format.output)),
        }
    }
}

/// The brokers, with those that are fenced where the cluster tells of them.
async fn brokers(session: &Session) -> Result<Vec<ClusterBroker>, ClientError> {
    match session.admin.cluster_brokers().await {
        Ok(brokers) => Ok(brokers),
        // Before Kafka 2.8 only metadata names them.
        Err(ClientError::NoSuchApi { .. } | ClientError::NoCommonVersion { .. }) => {
            let nodes = session.client.cluster().await?.nodes.into_iter();
            let broker = |node: client::Node| {
                let client::Node { id, address, rack } = node;
                ClusterBroker { id, address, rack, fenced: false }
            };
            Ok(nodes.map(broker).collect())
        }
        Err(error) => Err(error),
    }
}

async fn describe(session: &Session) -> Result<ClusterDescription, Failure> {
    let cluster = session.client.cluster().await?;
    let topics = session.client.topics().await?;
    let partitions = || topics.iter().flat_map(|topic| &topic.partitions);
    let nodes = brokers(session).await?.into_iter().map(|broker| NodeRow {
        node: broker.id.value(),
        leaders: partitions().filter(|partition| partition.leader == Some(broker.id)).count() as u64,
        replicas: partitions().filter(|partition| partition.replicas.contains(&broker.id)).count() as u64,
        address: broker.address,
        rack: broker.rack,
        fenced: broker.fenced,
    });
    Ok(ClusterDescription {
        cluster_id: cluster.id,
        controller: cluster.controller.map(|id| id.value()),
        topics: topics.len() as u64,
        partitions: partitions().count() as u64,
        replicas: partitions().map(|partition| partition.replicas.len() as u64).sum(),
        nodes: nodes.collect(),
    })
}

async fn health(session: &Session) -> Result<ClusterHealth, Failure> {
    let topics = session.client.topics().await?;
    let all = || topics.iter().flat_map(|topic| topic.partitions.iter().map(move |partition| (&topic.name, partition)));
    let named = |wanted: &dyn Fn(&client::Partition) -> bool| {
        let matching = all().filter(|(_, partition)| wanted(partition));
        matching.map(|(topic, partition)| format!("{topic}-{}", partition.index)).collect::<Vec<_>>()
    };
    let dirs = dirs(session).await?;
    let failed = dirs.directories.iter().filter(|directory| directory.error.is_some());
    let fenced = brokers(session).await?.into_iter().filter(|broker| broker.fenced);
    let mut health = ClusterHealth {
        healthy: false,
        partitions: all().count() as u64,
        leaderless: named(&|partition| partition.leader.is_none()),
        under_replicated: named(&|partition| partition.isr.len() < partition.replicas.len()),
        fenced_nodes: fenced.map(|broker| broker.id.value()).collect(),
        failed_directories: failed.map(|directory| format!("{}:{}", directory.node, directory.path)).collect(),
        unreachable_nodes: dirs.unreachable_nodes,
    };
    health.healthy = health.findings().iter().all(|(_, found)| found.is_empty());
    Ok(health)
}

async fn quorum(session: &Session) -> Result<ClusterQuorum, Failure> {
    let quorum = session.admin.quorum().await?;
    let end = quorum.voters.iter().filter_map(|voter| voter.log_end).max();
    let member = |replica: &client::QuorumReplica, role| Member {
        node: replica.id.value(),
        role: if quorum.leader == Some(replica.id) { "leader" } else { role },
        log_end_offset: replica.log_end.map(|offset| offset.value()),
        behind: end.zip(replica.log_end).map(|(end, own)| end.records_since(own)),
        last_fetch: replica.last_fetch.map(|time| units::rfc3339(time.millis())),
        last_caught_up: replica.last_caught_up.map(|time| units::rfc3339(time.millis())),
    };
    let voters = quorum.voters.iter().map(|voter| member(voter, "voter"));
    let members = voters.chain(quorum.observers.iter().map(|observer| member(observer, "observer"))).collect();
    Ok(ClusterQuorum {
        leader: quorum.leader.map(|leader| leader.value()),
        leader_epoch: quorum.leader_epoch,
        high_watermark: quorum.high_watermark.map(|offset| offset.value()),
        members,
    })
}

async fn dirs(session: &Session) -> Result<ClusterDirs, Failure> {
    let mut answer = ClusterDirs { directories: Vec::new(), unreachable_nodes: Vec::new() };
    for node in session.client.cluster().await?.nodes {
        let Ok(directories) = session.admin.log_dirs(node.id).await else {
            answer.unreachable_nodes.push(node.id.value());
            continue;
        };
        answer.directories.extend(directories.into_iter().map(|directory| Directory {
            node: node.id.value(),
            path: directory.path,
            error: directory.error.map(types::ErrorCode::name),
            logs: directory.logs.len() as u64,
            size_bytes: directory.logs.iter().map(|log| log.bytes).sum(),
            total_bytes: directory.total_bytes,
            usable_bytes: directory.usable_bytes,
        }));
    }
    Ok(answer)
}

impl Health {
    fn run(&self) -> Result<(), Failure> {
        self.asked.connect.run(async |session| {
            if self.wait {
                // What is still wrong at the end is the answer.
                let _ = session.wait_until("the cluster is healthy", async || Ok(is_healthy(&session).await)).await;
            }
            let health = health(&session).await?;
            print(&health, self.asked.format.output)?;
            if health.healthy { Ok(()) } else { Err(Failure::verdict()) }
        })
    }
}

async fn is_healthy(session: &Session) -> bool {
    health(session).await.is_ok_and(|health| health.healthy)
}

impl ClusterHealth {
    fn findings(&self) -> [(&'static str, Vec<String>); 5] {
        let numbers = |nodes: &[i32]| nodes.iter().map(ToString::to_string).collect();
        [
            ("without leader", self.leaderless.clone()),
            ("too few in sync", self.under_replicated.clone()),
            ("fenced nodes", numbers(&self.fenced_nodes)),
            ("unreachable nodes", numbers(&self.unreachable_nodes)),
            ("failed directories", self.failed_directories.clone()),
        ]
    }
}

impl Answer for ClusterHealth {
    const SCHEMA: &'static str = "cluster.health";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let (text, tone) = if self.healthy { ("healthy", Tone::Good) } else { ("NOT healthy", Tone::Bad) };
        let mut facts =
            vec![("cluster", Cell::toned(text, tone)), ("partitions", units::count(self.partitions).into())];
        for (name, found) in self.findings() {
            let tone = if found.is_empty() { Tone::Plain } else { Tone::Bad };
            let shown = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            facts.push((name, Cell::toned(shown, tone)));
        }
        vec![Section::facts(facts)]
    }
}

impl Answer for ClusterDescription {
    const SCHEMA: &'static str = "cluster.describe";
    const LINES: &'static str = "nodes";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let facts = Section::facts([
            ("cluster", self.cluster_id.clone().unwrap_or_else(|| "-".to_owned())),
            ("controller", self.controller.map_or("none".to_owned(), |id| id.to_string())),
            ("topics", units::count(self.topics)),
            ("partitions", units::count(self.partitions)),
            ("replicas", units::count(self.replicas)),
        ]);
        let rows = self.nodes.iter().map(|node| {
            let state = if node.fenced { Cell::toned("fenced", Tone::Bad) } else { "serves".into() };
            vec![
                Cell::from(node.node.to_string()),
                (&node.address).into(),
                node.rack.clone().unwrap_or_else(|| "-".to_owned()).into(),
                state,
                units::count(node.leaders).into(),
                units::count(node.replicas).into(),
            ]
        });
        vec![facts, Section::rows(&["node", "address", "rack", "state", "leads", "replicas"], rows)]
    }
}

impl Answer for ClusterQuorum {
    const SCHEMA: &'static str = "cluster.quorum";
    const LINES: &'static str = "members";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let facts = Section::facts([
            ("leader", text(self.leader.map(|leader| leader.to_string()))),
            ("epoch", self.leader_epoch.to_string()),
            ("high watermark", text(self.high_watermark.map(|offset| offset.to_string()))),
        ]);
        let rows = self.members.iter().map(|member| {
            vec![
                member.node.to_string(),
                member.role.to_owned(),
                text(member.log_end_offset.map(|offset| offset.to_string())),
                text(member.behind.map(|offsets| offsets.to_string())),
                text(member.last_fetch.clone()),
                text(member.last_caught_up.clone()),
            ]
        });
        vec![facts, Section::rows(&["node", "role", "log end", "behind", "last fetch", "last caught up"], rows)]
    }
}

impl Answer for ClusterDirs {
    const SCHEMA: &'static str = "cluster.dirs";
    const LINES: &'static str = "directories";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let rows = self.directories.iter().map(|directory| {
            let bytes = |bytes: Option<u64>| bytes.map_or("-".to_owned(), units::bytes);
            let state = match directory.error {
                None => Cell::from("works"),
                Some(error) => Cell::toned(error, Tone::Bad),
            };
            vec![
                Cell::from(directory.node.to_string()),
                (&directory.path).into(),
                state,
                units::count(directory.logs).into(),
                units::bytes(directory.size_bytes).into(),
                bytes(directory.usable_bytes).into(),
                bytes(directory.total_bytes).into(),
            ]
        });
        vec![Section::rows(&["node", "directory", "state", "logs", "size", "room", "of"], rows)]
    }
}
