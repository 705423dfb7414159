//! Targets: brokers that run already, and nodes that the bench starts, pins, and ends.
//!
//! [`TargetSpec`] says what is wanted, [`start`] brings it up and [`Running`] is what the generator drives. Dropping a
//! `Running` ends its processes by their ids and removes its data and mounts.

/// Says something on stderr, if somebody is there to read it: a closed terminal must not keep nodes from being ended and
/// their data from being removed.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

pub mod fault;
pub mod kafka;
pub mod place;
pub mod process;
mod spec;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::{Admin, Client, ClientConfig, ClientError, ConfigResource};

pub use spec::{Place, System, TargetSpec, parse_cpus};

use crate::machine::Storage;
use kafka::{KAFKA_VERSION, Kafka, KafkaNode};
use place::{PlaceError, Prepared};
use process::{Process, free_ports};

/// How long a target may take until all of its nodes are in its metadata. Three JVMs on two busy cores take a minute.
const START_TIME_MAX: Duration = Duration::from_secs(180);

/// What targets are made of on this machine.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The binary `ringlog`.
    pub ringlog: PathBuf,
    /// Folder of Kafka's jars, or of a distribution of it; searched for if absent.
    pub kafka: Option<PathBuf>,
    /// Where data and images of started nodes go.
    pub work: PathBuf,
}

/// Why a target does not run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartError {
    /// It cannot be had on this machine; the rest can go on, and its cell in the report says why it is empty.
    Skipped(String),
    /// It should have run.
    Failed(String),
    /// A broker that runs already does not answer.
    Unreachable(String),
    /// It was told to stop before all of it was there.
    Stopped,
}

impl From<PlaceError> for StartError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Unavailable(reason) => Self::Skipped(reason),
            PlaceError::Failed(reason) => Self::Failed(reason),
        }
    }
}

/// A target that takes connections.
#[derive(Debug)]
pub struct Running {
    /// What was asked for.
    pub spec: TargetSpec,
    /// `host:port`, comma-separated.
    pub bootstrap: String,
    /// The nodes that were started here, in the order of their ids.
    pub nodes: Vec<RunningNode>,
    /// What the data lies on; absent for a broker that ran already.
    pub storage: Option<Storage>,
    /// Version of what runs, if it is known.
    pub version: Option<String>,
    /// The settings that each node was started with.
    pub config: BTreeMap<String, String>,
    /// Settings that the target names and that the nodes do not know: they had no effect.
    pub unknown_settings: Vec<String>,
    // Dropped after the nodes: fields are dropped in this order.
    _places: Vec<Prepared>,
    _logs: Logs,
}

/// A node that was started here.
#[derive(Debug)]
pub struct RunningNode {
    process: Process,
    /// Its log directories.
    pub dirs: Vec<PathBuf>,
    /// `host:port` of its HTTP listener, if it has one.
    pub http: Option<String>,
}

impl RunningNode {
    /// The process that does the work.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

impl Running {
    /// Whether all of its nodes run.
    ///
    /// # Errors
    /// A node has ended, with its last words.
    pub fn check_alive(&mut self) -> Result<(), String> {
        self.nodes.iter_mut().try_for_each(|node| node.process.check_alive())
    }
}

impl Drop for Running {
    /// All of its nodes are asked to stop before the first is waited for: the last of a Kafka cluster, left without a
    /// quorum, would not end by itself.
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.process.ask_to_stop();
        }
    }
}

/// The folder of the nodes' own output; removed with the target.
#[derive(Debug)]
struct Logs(Option<PathBuf>);

impl Drop for Logs {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Brings a target up and waits until all of its nodes are in its metadata, or `stop` is set.
///
/// # Errors
/// It cannot be had here, or it should have run and does not.
pub async fn start(spec: &TargetSpec, tools: &Tools, stop: &AtomicBool) -> Result<Running, StartError> {
    let mut running = match &spec.system {
        System::Broker(addresses) => Running {
            spec: spec.clone(),
            bootstrap: addresses.join(","),
            nodes: Vec::new(),
            storage: None,
            version: None,
            config: BTreeMap::new(),
            unknown_settings: Vec::new(),
            _places: Vec::new(),
            _logs: Logs(None),
        },
        System::Ringlog => start_ringlog(spec, tools)?,
        System::Kafka => start_kafka(spec, tools)?,
    };
    wait_until_ready(&mut running, stop).await?;
    running.unknown_settings = unknown_settings(spec, &running.bootstrap).await.unwrap_or_default();
    Ok(running)
}

fn folder(tools: &Tools, spec: &TargetSpec) -> Result<PathBuf, StartError> {
    let name: String =
        spec.label().chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).take(80).collect();
    let told = |error: std::io::Error| {
        StartError::Failed(format!("cannot make a folder in {}: {error}", tools.work.display()))
    };
    fs::create_dir_all(&tools.work).map_err(told)?;
    // The same target may be asked for twice.
    let mut number = 1;
    loop {
        let folder = tools.work.join(if number == 1 { name.clone() } else { format!("{name}-{number}") });
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(told(error)),
        }
    }
}

fn failed(error: &std::io::Error) -> StartError {
    StartError::Failed(error.to_string())
}

fn start_ringlog(spec: &TargetSpec, tools: &Tools) -> Result<Running, StartError> {
    if spec.nodes > 1 {
        return Err(StartError::Skipped(format!(
            "Ringlog runs as one node; a cluster of {} is not built yet",
            spec.nodes
        )));
    }
    let folder = folder(tools, spec)?;
    let logs = Logs(Some(folder.clone()));
    let place = Prepared::make(&spec.place, &folder, "data")?;
    let ports = free_ports(2).map_err(|error| failed(&error))?;
    let http = format!("127.0.0.1:{}", ports[1]);
    // A folder of its own below a mount: `lost+found` is not the node's.
    let dirs = log_dirs(&place, "node-1").map_err(|error| failed(&error))?;
    let mut config = BTreeMap::from([
        ("listeners".to_owned(), format!("PLAINTEXT://127.0.0.1:{}", ports[0])),
        ("log.dirs".to_owned(), join(&dirs)),
        ("ringlog.http.listener".to_owned(), http.clone()),
        ("group.initial.rebalance.delay.ms".to_owned(), "0".to_owned()),
    ]);
    config.extend(settings(spec).map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut command = Command::new(&tools.ringlog);
    without_settings(&mut command);
    command.arg("serve");
    for (name, value) in &config {
        command.arg("--override").arg(format!("{name}={value}"));
    }
    let process =
        Process::start("ringlog", command, &spec.cpus, &folder.join("node.log")).map_err(|error| failed(&error))?;
    Ok(Running {
        spec: spec.clone(),
        bootstrap: format!("127.0.0.1:{}", ports[0]),
        storage: Some(Storage::look(&dirs[0])),
        version: crate::machine::version_of(&tools.ringlog, "--version"),
        nodes: vec![RunningNode { process, dirs, http: Some(http) }],
        config,
        unknown_settings: Vec::new(),
        _places: vec![place],
        _logs: logs,
    })
}

fn start_kafka(spec: &TargetSpec, tools: &Tools) -> Result<Running, StartError> {
    let kafka = Kafka::find(tools.kafka.as_deref()).map_err(StartError::Skipped)?;
    let folder = folder(tools, spec)?;
    let logs = Logs(Some(folder.clone()));
    // One file system for all nodes, as one machine has one disk.
    let place = Prepared::make(&spec.place, &folder, "data")?;
    let count = spec.nodes as usize;
    let mut ports = free_ports(2 * count).map_err(|error| failed(&error))?;
    let controller_ports = ports.split_off(count);
    let mut nodes = Vec::with_capacity(count);
    let mut config = BTreeMap::new();
    let mut storage = None;
    for id in 1..=spec.nodes {
        let dirs = log_dirs(&place, &format!("node-{id}")).map_err(|error| failed(&error))?;
        let node = KafkaNode {
            id,
            client_ports: ports.clone(),
            controller_ports: controller_ports.clone(),
            dirs: dirs.clone(),
        };
        let text = node.properties(settings(spec));
        let properties = folder.join(format!("node-{id}.properties"));
        fs::write(&properties, &text).map_err(|error| failed(&error))?;
        kafka.format(&properties).map_err(StartError::Failed)?;
        let name = format!("kafka node {id}");
        let process =
            Process::start(&name, kafka.serve(&properties), &spec.cpus, &folder.join(format!("node-{id}.log")))
                .map_err(|error| failed(&error))?;
        if id == 1 {
            config = text
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            storage = Some(Storage::look(&dirs[0]));
        }
        nodes.push(RunningNode { process, dirs, http: None });
    }
    let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    Ok(Running {
        spec: spec.clone(),
        bootstrap: addresses.join(","),
        nodes,
        storage,
        version: Some(format!("Apache Kafka {KAFKA_VERSION}")),
        config,
        unknown_settings: Vec::new(),
        _places: vec![place],
        _logs: logs,
    })
}

fn log_dirs(place: &Prepared, node: &str) -> std::io::Result<Vec<PathBuf>> {
    place
        .dirs
        .iter()
        .map(|dir| {
            let dir = dir.join(node);
            fs::create_dir_all(&dir)?;
            dir.canonicalize()
        })
        .collect()
}

fn join(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(",")
}

fn settings(spec: &TargetSpec) -> impl Iterator<Item = (&str, &str)> {
    spec.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// `KAFKA_` and `RINGLOG_` names of our environment are settings to a node.
fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("RINGLOG_") || name.starts_with("KAFKA_")) {
            command.env_remove(name);
        }
    }
}

async fn wait_until_ready(running: &mut Running, stop: &AtomicBool) -> Result<(), StartError> {
    let expected = running.nodes.len().max(1);
    let is_ours = running.spec.is_started_here();
    let time_max = if is_ours { START_TIME_MAX } else { Duration::from_secs(5) };
    let begun = Instant::now();
    loop {
        running.check_alive().map_err(StartError::Failed)?;
        if stop.load(Ordering::Relaxed) {
            return Err(StartError::Stopped);
        }
        let seen = nodes_seen(&running.bootstrap).await;
        if seen.as_ref().is_ok_and(|seen| *seen >= expected) {
            return Ok(());
        }
        if begun.elapsed() > time_max {
            let why = match seen {
                Ok(seen) => format!("its metadata names {seen} of {expected} nodes"),
                Err(error) => error.to_string(),
            };
            let within_s = time_max.as_secs();
            if !is_ours {
                let what = format!("no answer within {within_s} s: {why}. Is it running, and reachable from here?");
                return Err(StartError::Unreachable(what));
            }
            let words: Vec<String> = running.nodes.iter().map(|node| node.process.log_tail()).collect();
            return Err(StartError::Failed(format!(
                "no answer at {} within {within_s} s: {why}. Its last words: {}",
                running.bootstrap,
                words.join(" || ")
            )));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The settings of a target that its nodes start with and do not know: a typing error changes nothing but the label. Ringlog
/// leaves them out of what it describes; Kafka describes them too, without saying what they do.
async fn unknown_settings(spec: &TargetSpec, bootstrap: &str) -> Result<Vec<String>, ClientError> {
    if !spec.is_started_here() || spec.settings.is_empty() {
        return Ok(Vec::new());
    }
    let client = Client::connect(ClientConfig::new(bootstrap)).await?;
    let Some(node) = client.cluster().await?.nodes.into_iter().next() else { return Ok(Vec::new()) };
    let described = Admin::new(client).describe_configs(&ConfigResource::broker(node.id), true).await?;
    let is_known = |name: &str| described.iter().any(|entry| entry.name == name && entry.documentation.is_some());
    Ok(settings(spec).filter(|(name, _)| !is_known(name)).map(|(name, _)| name.to_owned()).collect())
}

async fn nodes_seen(bootstrap: &str) -> Result<usize, ClientError> {
    let mut config = ClientConfig::new(bootstrap);
    config.retry_timeout = Duration::from_secs(2);
    let client = Client::connect(config).await?;
    Ok(client.cluster().await?.nodes.len())
}
