//! `ringlog topics`, `configs`, `get-offsets`, `console-producer` and `console-consumer` beside the scripts of Apache Kafka
//! 4.3.1 whose flags they take: the same arguments against the same node must give the same lines and the same exit code;
//! against a Ringlog and against a Kafka. Then our own commands, whose answers must be the same on both.
//!
//! `cargo test --release -p tests --test scripts`

mod console;
mod nouns;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tests::clients::{Missing, kafka_jars};
use tests::node::{Node, Peer, ringlog_path};
use tests::scratch_dir;
use tests::tally::Tally;

const TOPIC_COMMAND: Script = Script { noun: "topics", class: "org.apache.kafka.tools.TopicCommand" };
const CONFIG_COMMAND: Script = Script { noun: "configs", class: "kafka.admin.ConfigCommand" };
const GET_OFFSETS: Script = Script { noun: "get-offsets", class: "org.apache.kafka.tools.GetOffsetShell" };

/// What is run, in this order. A word that changes something fails or succeeds for whoever is second in the same way.
const CASES: &[(Script, &str)] = &[
    (TOPIC_COMMAND, "--create --topic two.words --if-not-exists"),
    (TOPIC_COMMAND, "--create --topic orders"),
    (TOPIC_COMMAND, "--create --topic wrong --partitions 0"),
    (TOPIC_COMMAND, "--create --topic wrong --config no.such=1"),
    (TOPIC_COMMAND, "--list"),
    (TOPIC_COMMAND, "--list --topic ord.*,nothing"),
    (TOPIC_COMMAND, "--describe"),
    (TOPIC_COMMAND, "--describe --topic orders"),
    (TOPIC_COMMAND, "--describe --topic nothing"),
    (TOPIC_COMMAND, "--describe --topic nothing --if-exists"),
    (TOPIC_COMMAND, "--describe --under-replicated-partitions"),
    (TOPIC_COMMAND, "--describe --at-min-isr-partitions"),
    (TOPIC_COMMAND, "--describe --topics-with-overrides --exclude-internal"),
    (TOPIC_COMMAND, "--alter --topic orders --partitions 2"),
    (TOPIC_COMMAND, "--delete --topic nothing"),
    (TOPIC_COMMAND, "--delete --topic nothing --if-exists"),
    (CONFIG_COMMAND, "--describe --entity-type topics --entity-name orders"),
    (CONFIG_COMMAND, "--describe --topic orders --all"),
    (CONFIG_COMMAND, "--describe --topic nothing"),
    (CONFIG_COMMAND, "--describe --entity-type brokers --entity-name 1 --all"),
    (CONFIG_COMMAND, "--describe --broker 7"),
    (CONFIG_COMMAND, "--alter --topic orders --add-config cleanup.policy=[compact,delete],retention.bytes=7"),
    (CONFIG_COMMAND, "--alter --topic orders --delete-config retention.bytes"),
    (CONFIG_COMMAND, "--alter --entity-type brokers --entity-default --add-config log.retention.ms=777777"),
    (CONFIG_COMMAND, "--describe --entity-type brokers --entity-default"),
    (CONFIG_COMMAND, "--describe --entity-type topics"),
    (CONFIG_COMMAND, "--alter --topic nothing --add-config retention.ms=1"),
    (GET_OFFSETS, "--topic orders"),
    (GET_OFFSETS, "--topic orders --time earliest --partitions 0,2"),
    (GET_OFFSETS, "--topic orders --time -3"),
    (GET_OFFSETS, "--topic-partitions orders:1-,tw.*"),
    (GET_OFFSETS, "--topic nothing"),
];

#[derive(Clone, Copy)]
struct Script {
    noun: &'static str,
    class: &'static str,
}

struct Cluster<'a> {
    jars: &'a str,
    address: String,
}

fn main() {
    let mut tally = Tally::new("scripts");
    match kafka_jars() {
        Ok(jars) => {
            for (name, peer) in [("ringlog", Peer::Ringlog), ("kafka", Peer::Kafka)] {
                if let Err(why) = judge(&mut tally, &jars, name, peer) {
                    tally.fail(name, &why);
                }
            }
        }
        Err(Missing::Runtime(why)) => {
            tally.skip("Kafka's scripts", &why, 2 * (CASES.len() as u32 + nouns::cases() + console::cases()));
        }
        Err(Missing::Broken(why)) => tally.fail("Kafka's scripts", &why),
    }
    std::process::exit(tally.close());
}

fn judge(tally: &mut Tally, jars: &str, name: &str, peer: Peer) -> Result<(), String> {
    let dir = scratch_dir(&format!("scripts-{name}"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let settings = ["group.initial.rebalance.delay.ms=0"];
    let mut node = Node::new(peer, Path::new(&dir).join("node").as_path(), &settings).map_err(|e| e.to_string())?;
    node.start()?;
    let cluster = Cluster { jars, address: node.address() };
    for arguments in [&["orders", "--partitions", "3", "--config", "segment.ms=7000"][..], &["two.words"]] {
        let made = cluster.ours("topics", &[&["--create", "--topic"], arguments].concat())?;
        if !text(&made).contains("Created topic") {
            return Err(format!("{arguments:?} was not made: {made:?}"));
        }
    }
    for (script, arguments) in CASES {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        tally.judge(&format!("{name}: {} {}", script.noun, arguments.join(" ")), cluster.compare(*script, &arguments));
    }
    nouns::judge(tally, name, peer, &cluster, &dir)?;
    console::judge(tally, name, &cluster)?;
    node.stop().map(drop)
}

impl Cluster<'_> {
    fn compare(&self, script: Script, arguments: &[&str]) -> Result<(), String> {
        let theirs = self.theirs(script.class, arguments)?;
        let ours = self.ours(script.noun, arguments)?;
        if (lines(&theirs), theirs.status.code()) == (lines(&ours), ours.status.code()) {
            return Ok(());
        }
        let shown = |output: &Output| format!("{} {:?}", output.status, lines(output));
        Err(format!("Kafka's: {}; ours: {}", shown(&theirs), shown(&ours)))
    }

    fn ours(&self, noun: &str, arguments: &[&str]) -> Result<Output, String> {
        self.ours_with(noun, arguments, "")
    }

    fn ours_with(&self, noun: &str, arguments: &[&str], input: &str) -> Result<Output, String> {
        let mut command = Command::new("timeout");
        command.arg("90").arg(ringlog_path()).arg(noun).args(["--bootstrap-server", &self.address]).args(arguments);
        output_with(&mut command, input)
    }

    fn theirs(&self, class: &str, arguments: &[&str]) -> Result<Output, String> {
        self.theirs_with(class, arguments, "")
    }

    fn theirs_with(&self, class: &str, arguments: &[&str], input: &str) -> Result<Output, String> {
        let mut command = Command::new("timeout");
        command
            .args(["90", "java", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", self.jars, class])
            .args(["--bootstrap-server", &self.address])
            .args(arguments);
        output_with(&mut command, input)
    }
}

fn output_with(command: &mut Command, input: &str) -> Result<Output, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    // One that has ended already has closed its input.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().map_err(|e| e.to_string())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The lines of stdout without their order, which is that of a Java hash map in some of Kafka's scripts; for the same
/// reason the settings in `Configs:` are sorted.
fn lines(output: &Output) -> Vec<String> {
    let sorted = |line: &str| match line.split_once("\tConfigs: ") {
        Some((head, configs)) => {
            let mut configs: Vec<&str> = configs.split(',').collect();
            configs.sort_unstable();
            format!("{head}\tConfigs: {}", configs.join(","))
        }
        None => line.to_owned(),
    };
    let mut lines: Vec<String> = text(output).lines().map(sorted).collect();
    lines.sort_unstable();
    lines
}
