//! Every example of every `--help` and every shell block of README.md, run against a node: each must end as it should,
//! and what it prints must have the shape kept in `shapes.txt` (numbers, times and ids aside). Then every command that
//! answers, in every form of output.
//!
//! `UPDATE_TOUR=1 cargo test -p tests --test tour` writes the shapes anew.

mod forms;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use regex::Regex;
use tests::node::{Node, Peer, ringlog_path};
use tests::tally::Tally;
use tests::{root, scratch_dir};

/// What is not run, each with its reason; `*` stands for any rest. An entry that matches no example is an error, so that the list stays short.
const NOT_RUN: &[(&str, &str)] = &[
    ("ringlog bench *", "measures for minutes, or needs other machines and disks"),
    ("ringlog log inspect ringlog-data/orders-0*", "the node is running; README.md's is run without it"),
    ("ringlog log verify ringlog-data/orders-*", "the node is running; README.md's is run without it"),
    ("ringlog log repair *", "the node is running: judged by the bounds part"),
    ("ringlog log adopt *", "needs the folders of a Kafka: judged by the interop part"),
    ("ringlog serve server.properties --override node.id=2", "a second node on the same port"),
    ("ringlog topic add-partitions orders --total 12", "asks on a terminal"),
    ("ringlog group seek billing --from-file undo.csv", "the file is what an earlier seek writes"),
    ("ringlog plan --rate 10000 --message-bytes 1KB --results results/2026-11-28_4b00e75_tier-small", "needs results"),
    ("ringlog plan --rate 10000 --message-bytes 1KB --peer loopback --results BUSY --knee SWEEP", "needs results"),
    ("ringlog debug bundle --http node7:9644 --file n7.json", "another machine"),
    ("ringlog generate prometheus scrape > /etc/prometheus/prometheus.yml", "writes to /etc"),
    ("ringlog generate prometheus rules > /etc/prometheus/ringlog-rules.yml", "writes to /etc"),
];

/// Lines of README.md that are not run, by what they begin with.
const README_NOT_RUN: &[(&str, &str)] = &[
    ("cargo run", "builds; the node under test is that build"),
    ("scripts/", "scripts/test runs this; others measure"),
    ("kafka-", "Kafka's own tools: judged by the conformance part"),
    ("ringlog debug bundle --http node1", "another machine"),
];

/// Examples that end with another code than 0, and why.
const ENDS_WITH: &[(&str, i32)] = &[
    // Machines differ in what doctor finds.
    ("ringlog doctor -o json", -1),
    // The help's examples have made it already.
    ("ringlog topic create orders -p 6 --owner billing --note 'one record an order'", -1),
    ("ringlog topics --create --topic orders --partitions 3 --replication-factor 1", -1),
    // The headroom of a topic with a short retention is a verdict.
    ("ringlog group lag billing --warn 2h", -1),
];

/// Examples that print some of a topic's records: which ones, chance decides, so they need only be there.
const ANY_RECORDS: &[&str] = &[
    "ringlog consume -t orders -g billing -c 10",
    "ringlog console-consumer --topic orders --from-beginning --max-messages 10",
];

/// What examples expect to be there, made before the first of a command runs.
const MADE_BEFORE: &[(&str, &str)] = &[
    ("ringlog topic delete", "ringlog topic create clicks -p 1"),
    ("ringlog produce", "printf PNG > logo.png"),
    ("ringlog group", "for g in billing-old billing-test; do ringlog consume -q -t orders -g $g -c 1 > made; done"),
];

/// Lines of a shape that are kept.
const SHAPE_LINES_MAX: usize = 40;

struct Tour {
    folder: PathBuf,
    path: String,
    node: Node,
    http: u16,
    shapes: BTreeMap<String, String>,
    kept: BTreeMap<String, String>,
    tally: Tally,
}

fn main() {
    let folder = scratch_dir("tour");
    let mut tally = Tally::new("tour");
    let begun = begin(&folder);
    let (node, path, http) = match begun {
        Ok(begun) => begun,
        Err(why) => {
            tally.fail("node", &why);
            std::process::exit(tally.close());
        }
    };
    let kept = read_shapes(&fs::read_to_string(shapes_file()).unwrap_or_default());
    let mut tour = Tour { folder, path, node, http, shapes: BTreeMap::new(), kept, tally };
    tour.help();
    tour.readme();
    forms::judge(&mut tour);
    tour.unused();
    tour.shapes_kept();
    // `exit` drops nothing, and a node left behind would write into the folder of the next run.
    let stopped = tour.node.stop().map(drop);
    tour.tally.judge("the node stops", stopped);
    std::process::exit(tour.tally.close());
}

fn begin(folder: &Path) -> Result<(Node, String, u16), String> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder.join("bin")).map_err(|e| e.to_string())?;
    fs::create_dir_all(folder.join("work")).map_err(|e| e.to_string())?;
    let overrides = ["group.initial.rebalance.delay.ms=0"];
    let mut node = Node::new(Peer::Ringlog, &folder.join("node"), &overrides).map_err(|e| e.to_string())?;
    node.start()?;
    // HTTP has the port after the one for clients.
    let port = node.address().rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).ok_or("an address")?;
    let http = port + 1;
    let binary = ringlog_path().canonicalize().map_err(|e| format!("{}: {e}", ringlog_path().display()))?;
    std::os::unix::fs::symlink(&binary, folder.join("bin/ringlog")).map_err(|e| e.to_string())?;
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    Ok((node, path, http))
}

fn shapes_file() -> PathBuf {
    root().join("tests/tour/shapes.txt")
}

impl Tour {
    fn shell(&self, command: &str) -> Result<Output, String> {
        Command::new("timeout")
            .args(["60", "bash", "-c", &format!("set -o pipefail; {command}")])
            .current_dir(self.folder.join("work"))
            .env("PATH", &self.path)
            .env("RINGLOG_BROKERS", self.node.address())
            .env("COLUMNS", "1000")
            .env("HOME", self.folder.join("work"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| e.to_string())
    }

    fn help_of(&self, words: &[String]) -> Result<String, String> {
        let output = self.shell(&format!("ringlog {} --help", words.join(" ")))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Every command without subcommands, in the order of the help.
    fn commands(&self) -> Result<Vec<(Vec<String>, String)>, String> {
        let mut found = Vec::new();
        let mut waiting = vec![Vec::new()];
        while let Some(words) = waiting.pop() {
            let help = self.help_of(&words)?;
            let below: Vec<Vec<String>> = section(&help, "Commands:")
                .filter_map(|line| line.split_whitespace().next())
                .filter(|word| *word != "help")
                .map(|word| words.iter().cloned().chain([word.to_owned()]).collect())
                .collect();
            found.push((words, help));
            waiting.extend(below.into_iter().rev());
        }
        Ok(found)
    }

    /// Runs the examples of every command.
    fn help(&mut self) {
        let commands = match self.commands() {
            Ok(commands) => commands,
            Err(why) => return self.tally.fail("--help", &why),
        };
        let mut made: Vec<&str> = Vec::new();
        // The first page's examples are those of the others.
        for (words, help) in commands.iter().filter(|(words, _)| !words.is_empty()) {
            let name = format!("ringlog {}", words.join(" "));
            for (before, command) in MADE_BEFORE {
                if name.starts_with(before) && !made.contains(before) {
                    made.push(before);
                    if let Err(why) = self.shell(command) {
                        self.tally.fail(command, &why);
                    }
                }
            }
            let examples: Vec<String> = section(help, "Examples:")
                .filter(|line| line.contains("ringlog "))
                .map(|line| example(line).to_owned())
                .collect();
            for command in examples {
                self.run(&command);
            }
        }
        let first: Vec<String> = commands
            .iter()
            .filter(|(words, _)| words.is_empty())
            .flat_map(|(_, help)| {
                section(help, "Examples:").filter(|line| line.contains("ringlog ")).map(|line| example(line).to_owned())
            })
            .filter(|command| !command.starts_with("ringlog serve"))
            .collect();
        for command in first {
            if !self.shapes.contains_key(&command) {
                self.run(&command);
            }
        }
    }

    fn run(&mut self, command: &str) {
        self.run_as(command, command);
    }

    /// Runs a command whose shape is kept under `name`.
    fn run_as(&mut self, command: &str, name: &str) {
        if NOT_RUN.iter().any(|(skipped, _)| matches(skipped, command)) {
            return;
        }
        let verdict = self.shape_of(command).and_then(|shape| {
            self.shapes.insert(name.to_owned(), shape.clone());
            match self.kept.get(name) {
                _ if updating() => Ok(()),
                Some(kept) if *kept == shape => Ok(()),
                Some(kept) => Err(format!("it printed\n{shape}\nwhere the shape was\n{kept}")),
                None => Err(format!("its shape is not kept; it printed\n{shape}")),
            }
        });
        self.tally.judge(name, verdict);
    }

    fn shape_of(&self, command: &str) -> Result<String, String> {
        // The node of the examples has the default ports.
        let aimed = command
            .replace("127.0.0.1:9644", &format!("127.0.0.1:{}", self.http))
            .replace("127.0.0.1:9092", &self.node.address());
        let aimed = match aimed.strip_prefix("ringlog debug bundle") {
            Some(rest) => format!("ringlog debug bundle --http 127.0.0.1:{}{rest}", self.http),
            None => aimed,
        };
        let output = self.shell(&aimed)?;
        let code = output.status.code().unwrap_or(-1);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let expected = ENDS_WITH.iter().find(|(each, _)| *each == command).map_or(0, |(_, code)| *code);
        if 0 <= expected && code != expected {
            return Err(format!("ended with {code}, not {expected}: {}", stderr.trim()));
        }
        if ANY_RECORDS.contains(&command) {
            return Ok(format!("{} lines", stdout.lines().count()));
        }
        Ok(normalised(&stdout))
    }

    /// Runs README.md's shell blocks, line by line; the node is started and killed where the text says so.
    fn readme(&mut self) {
        let text = fs::read_to_string(root().join("README.md")).unwrap_or_default();
        let mut lines = Vec::new();
        let mut inside = false;
        for line in text.lines() {
            match line.trim_end() {
                "```sh" => inside = true,
                "```" => inside = false,
                line if inside => lines.push(line.split(" #").next().unwrap_or(line).trim_end().to_owned()),
                _ => {}
            }
        }
        if lines.is_empty() {
            self.tally.fail("README.md", "no shell block was found");
        }
        for line in lines.iter().filter(|line| !line.is_empty()) {
            if README_NOT_RUN.iter().any(|(prefix, _)| line.starts_with(prefix)) {
                continue;
            }
            match line.as_str() {
                "ringlog serve &" => {
                    if !self.node.is_running() {
                        let started = self.node.start();
                        self.tally.judge("README.md: serve", started);
                    }
                }
                "kill -9 $(pidof ringlog)" => self.node.kill_now(),
                line if line.starts_with("ringlog log") => self.run_offline(line),
                line if line.contains("doctor") || line.contains("server.properties") => {}
                line => self.run_as(line, &format!("README: {line}")),
            }
        }
    }

    /// What lies in the data folder, read while no node has it.
    fn run_offline(&mut self, line: &str) {
        self.node.kill_now();
        let data = self.node.data_dir();
        let link = self.folder.join("work/ringlog-data");
        if !link.exists() {
            let _ = std::os::unix::fs::symlink(&data, &link);
        }
        self.run_as(line, &format!("README: {line}"));
        if let Err(why) = self.node.start() {
            self.tally.fail(line, &why);
        }
    }

    /// Exceptions that excuse nothing any more.
    fn unused(&mut self) {
        let Ok(commands) = self.commands() else { return };
        let examples: Vec<String> = commands
            .iter()
            .flat_map(|(_, help)| {
                section(help, "Examples:").filter(|line| line.contains("ringlog ")).map(|line| example(line).to_owned())
            })
            .collect();
        for (command, _) in NOT_RUN {
            if !examples.iter().any(|each| matches(command, each)) {
                self.tally.fail(command, "is not an example any more; take it from NOT_RUN");
            }
        }
    }

    fn shapes_kept(&mut self) {
        if updating() {
            let mut text = String::new();
            for (command, shape) in &self.shapes {
                text.push_str(&format!("$ {command}\n{shape}\n"));
            }
            let written = fs::write(shapes_file(), text).map_err(|e| e.to_string());
            return self.tally.judge("shapes.txt", written);
        }
        let gone: Vec<&String> = self.kept.keys().filter(|command| !self.shapes.contains_key(*command)).collect();
        if !gone.is_empty() {
            self.tally.fail("shapes.txt", &format!("keeps shapes of what is no example any more: {gone:?}"));
        }
    }
}

fn matches(pattern: &str, command: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == command, |start| command.starts_with(start))
}

fn updating() -> bool {
    std::env::var_os("UPDATE_TOUR").is_some()
}

/// The indented lines under a heading of a help text.
fn section<'a>(help: &'a str, heading: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let heading = heading.to_owned();
    help.lines()
        .skip_while(move |line| *line != heading)
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .map(str::trim)
}

/// An example without its comment, which two spaces set apart.
fn example(line: &str) -> &str {
    line.split("  ").next().unwrap_or(line).trim_end()
}

fn read_shapes(text: &str) -> BTreeMap<String, String> {
    let mut shapes: BTreeMap<String, String> = BTreeMap::new();
    let mut command = None;
    for line in text.lines() {
        if let Some(next) = line.strip_prefix("$ ") {
            command = Some(next.to_owned());
            shapes.insert(next.to_owned(), String::new());
        } else if let Some(shape) = command.as_ref().and_then(|command| shapes.get_mut(command)) {
            shape.push_str(line);
            shape.push('\n');
        }
    }
    shapes.values_mut().for_each(|shape| *shape = shape.trim_end().to_owned());
    shapes
}

/// What is the same on every run and machine: times, ids, numbers and their units, paths and widths taken out.
fn plain(text: &str) -> String {
    let rules = [
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"(/[\w.+-]+)+/ringlog-data|(/[\w.+-]+){3,}", "PATH"),
        (r"\b[A-Za-z0-9_-]{22}\b", "ID"),
        (r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "ID"),
        (r"\d[\d,.]*", "N"),
        (r"\bN (B|KiB|MiB|GiB|TiB|us|ms|s|m|h|d)\b( N (s|m|h))?", "N"),
        (r"\bN partition\b", "N partitions"),
        (r"[ \t]+", " "),
        (r"-{2,}|\.{3,}", "-"),
    ];
    let mut shaped = text.to_owned();
    for (pattern, replacement) in rules {
        shaped = Regex::new(pattern).expect("a pattern of ours").replace_all(&shaped, replacement).into_owned();
    }
    shaped
}

/// The plain text, of lines that then are alike one, and all in the order of the alphabet, for where records without a key
/// go is chance.
fn normalised(text: &str) -> String {
    let shaped = plain(text);
    let mut lines: Vec<&str> = shaped.lines().map(str::trim).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.retain(|line| !line.is_empty());
    lines.truncate(SHAPE_LINES_MAX);
    lines.join("\n").trim_end().to_owned()
}
