//! Apache Kafka as a target: its jars, its settings, its command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::find_program;

/// The version whose behaviour Ringlog follows, and that it is compared with.
pub const KAFKA_VERSION: &str = "4.3.1";

/// Heap of each node. Page cache, not heap, is what Kafka's speed comes from; 1 GiB is what its own scripts give a broker.
const HEAP: &str = "1g";

/// Flags of Kafka's own start script.
const JVM_FLAGS: &[&str] = &[
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];

/// Where Maven puts the jars, named by this project's own list of them.
const POM: &str = include_str!("../../../../tests/reference/pom.xml");

/// A folder that holds Kafka's jars and a Java to run them.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// The folder with the jars.
    pub jars: PathBuf,
    /// The program `java`.
    pub java: PathBuf,
}

impl Kafka {
    /// Finds Java and the jars: in the folder given, in a work tree's test clients, else in the user's cache, where Maven
    /// puts them on first use.
    ///
    /// # Errors
    /// What is missing.
    pub fn find(given: Option<&Path>) -> Result<Self, String> {
        let java = find_program("java").ok_or("no `java` on this machine")?;
        if let Some(folder) = given {
            // A distribution of Kafka has its jars in libs.
            let folder = if folder.join("libs").is_dir() { folder.join("libs") } else { folder.to_path_buf() };
            return match has_kafka(&folder) {
                true => Ok(Self { jars: folder, java }),
                false => Err(format!("no kafka_2.13-{KAFKA_VERSION}.jar in {}", folder.display())),
            };
        }
        let in_work_tree = PathBuf::from("tests/conformance/.clients/reference");
        if has_kafka(&in_work_tree) {
            return Ok(Self { jars: in_work_tree.canonicalize().unwrap_or(in_work_tree), java });
        }
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .ok_or("neither XDG_CACHE_HOME nor HOME is set")?
            .join(format!("ringlog/kafka-{KAFKA_VERSION}"));
        if !has_kafka(&cache) {
            fetch(&cache)?;
        }
        Ok(Self { jars: cache, java })
    }

    fn command(&self, main: &[&str]) -> Command {
        let mut command = Command::new(&self.java);
        let heap = format!("-Xmx{HEAP}");
        command.args([&format!("-Xms{HEAP}"), &heap]).args(JVM_FLAGS);
        command.arg("-cp").arg(format!("{}/*", self.jars.display())).args(main);
        command
    }

    /// The command that runs a node whose settings are in `properties`.
    #[must_use]
    pub fn serve(&self, properties: &Path) -> Command {
        let mut command = self.command(&["kafka.Kafka"]);
        command.arg(properties);
        command
    }

    /// Formats a node's log directories.
    ///
    /// # Errors
    /// What Kafka said.
    pub fn format(&self, properties: &Path) -> Result<(), String> {
        let output = self
            .command(&["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER_ID, "--config"])
            .arg(properties)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("java: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = said.lines().rev().take(4).collect();
        Err(format!("Kafka's storage format failed ({}): {}", output.status, tail.join(" | ")))
    }
}

/// Any valid id will do for a cluster that nobody else sees.
const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

/// One node's place in its cluster.
#[derive(Clone, Debug)]
pub struct KafkaNode {
    /// From 1.
    pub id: u32,
    /// Client ports of all nodes, in the order of their ids.
    pub client_ports: Vec<u16>,
    /// Controller ports, likewise.
    pub controller_ports: Vec<u16>,
    /// Log directories of this node.
    pub dirs: Vec<PathBuf>,
}

impl KafkaNode {
    /// Its `server.properties`: broker and controller in one process, internal topics replicated as far as the cluster
    /// reaches, and Kafka's defaults for everything else.
    #[must_use]
    pub fn properties<'a>(&self, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
        let index = (self.id - 1) as usize;
        let (client, controller) = (self.client_ports[index], self.controller_ports[index]);
        let voters: Vec<String> =
            (1..).zip(&self.controller_ports).map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        let copies = self.client_ports.len().min(3);
        let in_sync = if copies == 3 { 2 } else { 1 };
        let dirs: Vec<String> = self.dirs.iter().map(|dir| dir.display().to_string()).collect();
        let mut text = format!(
            "process.roles=broker,controller\n\
             node.id={}\n\
             listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{client}\n\
             controller.listener.names=CONTROLLER\n\
             controller.quorum.voters={}\n\
             log.dirs={}\n\
             default.replication.factor={copies}\n\
             min.insync.replicas={in_sync}\n\
             offsets.topic.replication.factor={copies}\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor={copies}\n\
             transaction.state.log.min.isr={in_sync}\n\
             transaction.state.log.num.partitions=4\n\
             share.coordinator.state.topic.replication.factor={copies}\n\
             share.coordinator.state.topic.min.isr={in_sync}\n\
             group.initial.rebalance.delay.ms=0\n",
            self.id,
            voters.join(","),
            dirs.join(","),
        );
        for (name, value) in settings {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }
}

fn has_kafka(folder: &Path) -> bool {
    folder.join(format!("kafka_2.13-{KAFKA_VERSION}.jar")).is_file()
}

fn fetch(folder: &Path) -> Result<(), String> {
    let mvn = find_program("mvn")
        .ok_or_else(|| format!("Kafka's jars are not in {} and there is no `mvn` to fetch them", folder.display()))?;
    let failed = |error: std::io::Error| format!("cannot make {}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    let pom = folder.join("pom.xml");
    fs::write(&pom, POM).map_err(failed)?;
    tell!("fetching Apache Kafka {KAFKA_VERSION} with Maven into {}", folder.display());
    let output = Command::new(mvn)
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("mvn: {error}"))?;
    if output.status.success() && has_kafka(folder) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    Err(format!("Maven could not fetch Kafka: {}", said.lines().next().unwrap_or("it said nothing")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_nodes_name_each_other_and_replicate_what_is_internal() {
        let node = KafkaNode {
            id: 2,
            client_ports: vec![1001, 1002, 1003],
            controller_ports: vec![2001, 2002, 2003],
            dirs: vec![PathBuf::from("/a"), PathBuf::from("/b")],
        };
        let text = node.properties([("log.flush.interval.messages", "1")]);
        for line in [
            "node.id=2",
            "listeners=PLAINTEXT://127.0.0.1:1002,CONTROLLER://127.0.0.1:2002",
            "controller.quorum.voters=1@127.0.0.1:2001,2@127.0.0.1:2002,3@127.0.0.1:2003",
            "log.dirs=/a,/b",
            "offsets.topic.replication.factor=3",
            "min.insync.replicas=2",
            "log.flush.interval.messages=1",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
        let alone = KafkaNode { id: 1, client_ports: vec![1], controller_ports: vec![2], dirs: Vec::new() };
        assert!(alone.properties([]).contains("\nmin.insync.replicas=1\n"));
    }

    #[test]
    fn the_version_fetched_is_the_version_named() {
        assert!(
            POM.contains(&format!("<artifactId>kafka_2.13</artifactId>\n      <version>{KAFKA_VERSION}</version>"))
        );
    }
}
