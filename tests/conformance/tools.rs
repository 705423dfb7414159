//! Apache Kafka's own command line tools, unchanged, from its jars.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tests::node::{Node, Peer};
use tests::tally::Tally;

use tests::clients::{Missing, kafka_jars};

/// Each tool's steps, in the order in which they are run: later ones use what earlier ones made.
const TOOLS: &[(&str, fn(&Tools<'_>) -> Result<(), String>)] = &[
    ("TopicCommand", topic_command),
    ("ConfigCommand", config_command),
    ("ConsoleProducer", console_producer),
    ("ConsoleConsumer", console_consumer),
    ("GetOffsetShell", get_offset_shell),
    ("ConsumerGroupCommand", consumer_group_command),
    ("ProducerPerformance", producer_performance),
    ("ConsumerPerformance", consumer_performance),
    ("DumpLogSegments", dump_log_segments),
];

struct Tools<'a> {
    jars: String,
    address: &'a str,
    peer: Peer,
    node: &'a Node,
    dir: &'a Path,
}

/// Runs all tools, or says aloud that Java is missing.
pub fn judge(tally: &mut Tally, address: &str, peer: Peer, node: &Node, dir: &Path, wanted: impl Fn(&str) -> bool) {
    let jars = match kafka_jars() {
        Ok(jars) => jars,
        Err(Missing::Runtime(why)) => return tally.skip("Kafka's tools", &why, TOOLS.len() as u32),
        Err(Missing::Broken(why)) => return tally.fail("Kafka's tools", &why),
    };
    let tools = Tools { jars, address, peer, node, dir };
    for (name, steps) in TOOLS.iter().filter(|(name, _)| wanted(name)) {
        tally.judge(&format!("tool {name}"), steps(&tools));
    }
}

impl Tools<'_> {
    /// Runs a tool's main class and returns what it printed; a non-zero exit is an error.
    fn run(&self, class: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        self.run_both(class, arguments, input).map(|(text, _)| text)
    }

    /// As `run`, and what it printed as errors.
    fn run_both(&self, class: &str, arguments: &[&str], input: &str) -> Result<(String, String), String> {
        let mut child = Command::new("timeout")
            .args(["90", "java", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &self.jars, class])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        // A tool that does not read its input may have closed it already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut log =
            File::options().create(true).append(true).open(self.dir.join("tools.log")).map_err(|e| e.to_string())?;
        writeln!(log, "--- {class} {}\n{text}\n{errors}", arguments.join(" ")).map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok((text, errors));
        }
        let said: String = format!("{text} {errors}").chars().take(600).collect();
        Err(format!("{class} {}: {}: {}", arguments.join(" "), output.status, said.replace('\n', " | ")))
    }

    fn run_at(&self, class: &str, arguments: &[&str]) -> Result<String, String> {
        self.run(class, &[&["--bootstrap-server", self.address], arguments].concat(), "")
    }
}

fn holds(text: &str, needle: &str, what: &str) -> Result<(), String> {
    if text.contains(needle) {
        return Ok(());
    }
    Err(format!("{what}: expected `{needle}` in: {}", text.chars().take(600).collect::<String>().replace('\n', " | ")))
}

const TOPIC: &str = "tools-topic";
const GROUP: &str = "tools-group";

fn topic_command(t: &Tools<'_>) -> Result<(), String> {
    let class = "org.apache.kafka.tools.TopicCommand";
    holds(
        &t.run_at(class, &["--create", "--topic", TOPIC, "--partitions", "2", "--config", "retention.ms=86400000"])?,
        "Created topic",
        "create",
    )?;
    holds(&t.run_at(class, &["--list"])?, TOPIC, "list")?;
    let described = t.run_at(class, &["--describe", "--topic", TOPIC])?;
    for needle in ["PartitionCount: 2", "ReplicationFactor: 1", "retention.ms=86400000", "Partition: 1", "Isr: "] {
        holds(&described, needle, "describe")?;
    }
    t.run_at(class, &["--alter", "--topic", TOPIC, "--partitions", "3"])?;
    holds(&t.run_at(class, &["--describe", "--topic", TOPIC])?, "PartitionCount: 3", "describe after alter")?;
    t.run_at(class, &["--create", "--topic", "tools-short-lived"])?;
    t.run_at(class, &["--delete", "--topic", "tools-short-lived"])?;
    let listed = t.run_at(class, &["--list"])?;
    if listed.lines().any(|line| line == "tools-short-lived") {
        Err("the deleted topic is still listed".to_owned())
    } else {
        Ok(())
    }
}

fn config_command(t: &Tools<'_>) -> Result<(), String> {
    let class = "kafka.admin.ConfigCommand";
    let topic = ["--entity-type", "topics", "--entity-name", TOPIC];
    t.run_at(
        class,
        &[&topic[..], &["--alter", "--add-config", "retention.ms=172800000,max.message.bytes=2000000"]].concat(),
    )?;
    let described = t.run_at(class, &[&topic[..], &["--describe"]].concat())?;
    holds(&described, "retention.ms=172800000", "describe")?;
    holds(&described, "DYNAMIC_TOPIC_CONFIG", "describe")?;
    t.run_at(class, &[&topic[..], &["--alter", "--delete-config", "max.message.bytes"]].concat())?;
    let every = t.run_at(class, &[&topic[..], &["--describe", "--all"]].concat())?;
    holds(&every, "max.message.bytes=1048588", "describe --all")?;
    let brokers = t.run_at("org.apache.kafka.tools.TopicCommand", &["--describe", "--topic", TOPIC])?;
    let id = brokers.split("Leader: ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or("1").to_owned();
    let broker = t.run_at(class, &["--entity-type", "brokers", "--entity-name", &id, "--describe", "--all"])?;
    holds(&broker, "log.retention.hours=168", "describe a broker")
}

fn console_producer(t: &Tools<'_>) -> Result<(), String> {
    let lines: String = (0..100).map(|i| format!("key{i}:value {i}\n")).collect();
    let arguments = [
        "--bootstrap-server",
        t.address,
        "--topic",
        TOPIC,
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "key.separator=:",
        "--compression-codec",
        "zstd",
    ];
    t.run("org.apache.kafka.tools.ConsoleProducer", &arguments, &lines).map(|_| ())
}

fn console_consumer(t: &Tools<'_>) -> Result<(), String> {
    let arguments = [
        "--topic",
        TOPIC,
        "--group",
        GROUP,
        "--from-beginning",
        "--max-messages",
        "100",
        "--timeout-ms",
        "30000",
        "--formatter-property",
        "print.key=true",
        "--formatter-property",
        "key.separator=:",
    ];
    let text = t.run_at("org.apache.kafka.tools.consumer.ConsoleConsumer", &arguments)?;
    let mut got: Vec<&str> = text.lines().collect();
    got.sort_unstable();
    let mut expected: Vec<String> = (0..100).map(|i| format!("key{i}:value {i}")).collect();
    expected.sort_unstable();
    if got == expected { Ok(()) } else { Err(format!("expected the 100 lines produced, got {} lines", got.len())) }
}

fn get_offset_shell(t: &Tools<'_>) -> Result<(), String> {
    let text = t.run_at("org.apache.kafka.tools.GetOffsetShell", &["--topic", TOPIC])?;
    let total: i64 = text.lines().filter_map(|line| line.rsplit(':').next()?.parse::<i64>().ok()).sum();
    if total == 100 && text.lines().count() == 3 {
        Ok(())
    } else {
        Err(format!("expected 3 partitions with 100 records in all, got {text:?}"))
    }
}

fn consumer_group_command(t: &Tools<'_>) -> Result<(), String> {
    let class = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    holds(&t.run_at(class, &["--list"])?, GROUP, "list")?;
    let described = t.run_at(class, &["--describe", "--group", GROUP])?;
    let lags: Vec<&str> = described
        .lines()
        .filter(|line| line.starts_with(GROUP))
        .filter_map(|line| line.split_whitespace().nth(5))
        .collect();
    if lags.len() != 3 || lags.iter().any(|lag| *lag != "0") {
        return Err(format!("expected three partitions without lag, got {described:?}"));
    }
    holds(&t.run_at(class, &["--describe", "--group", GROUP, "--state"])?, "Empty", "state")?;
    let reset =
        t.run_at(class, &["--reset-offsets", "--group", GROUP, "--topic", TOPIC, "--to-earliest", "--execute"])?;
    if reset.lines().filter(|line| line.starts_with(GROUP) && line.trim().ends_with(" 0")).count() != 3 {
        return Err(format!("expected three partitions reset to 0, got {reset:?}"));
    }
    holds(&t.run_at(class, &["--delete", "--group", GROUP])?, "successful", "delete")
}

fn producer_performance(t: &Tools<'_>) -> Result<(), String> {
    let arguments = [
        "--bootstrap-server",
        t.address,
        "--topic",
        TOPIC,
        "--num-records",
        "20000",
        "--record-size",
        "200",
        "--throughput",
        "-1",
        "--command-property",
        "acks=all",
        "--command-property",
        "compression.type=lz4",
    ];
    holds(&t.run("org.apache.kafka.tools.ProducerPerformance", &arguments, "")?, "20000 records sent", "summary")
}

fn consumer_performance(t: &Tools<'_>) -> Result<(), String> {
    let text = t.run_at(
        "org.apache.kafka.tools.ConsumerPerformance",
        &["--topic", TOPIC, "--num-records", "20100", "--group", "tools-perf"],
    )?;
    let row = text.lines().last().unwrap_or_default();
    let records = row.split(',').nth(4).unwrap_or_default().trim().to_owned();
    if records == "20100" { Ok(()) } else { Err(format!("expected 20100 records, got {text:?}")) }
}

/// Over the live node's own files: every batch valid, nothing that the indexes disagree about.
fn dump_log_segments(t: &Tools<'_>) -> Result<(), String> {
    let mut files = Vec::new();
    for partition in 0..3 {
        let folder = t.node.data_dir().join(format!("{TOPIC}-{partition}"));
        let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let extension = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
            if ["log", "index", "timeindex"].contains(&extension.as_str()) {
                files.push(path.display().to_string());
            }
        }
    }
    let logs = files.iter().filter(|path| path.ends_with(".log")).count();
    if logs < 3 {
        return Err(format!("expected a log in each of three partitions, found {files:?} ({:?})", t.peer));
    }
    let arguments = ["--deep-iteration", "--files", &files.join(",")];
    let (mut text, complaints) = t.run_both("org.apache.kafka.tools.DumpLogSegments", &arguments, "")?;
    // Kafka's own live indexes are longer than what is in them, and the tool complains of the empty rest.
    if t.peer == Peer::Ringlog {
        text += &complaints;
    }
    let valid = text.matches("isvalid: true").count();
    for needle in ["isvalid: false", "Non-monotonic", "Mismatches in", "Found timestamp mismatch", "not found"] {
        if let Some(line) = text.lines().find(|line| line.contains(needle)) {
            return Err(format!("it says: {line}"));
        }
    }
    if valid == 0 { Err("it found no valid batch".to_owned()) } else { Ok(()) }
}
