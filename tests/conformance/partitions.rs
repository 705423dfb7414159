//! Where the Java client and librdkafka put 10,000 keys, beside the lists that `client::partitioner` is held to: those
//! who move from a client to `ringlog produce` find their keys where they were.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use tests::clients::{Missing, java_program, python};
use tests::node::ringlog_path;
use tests::root;
use tests::tally::Tally;

/// Numbers of partitions that there are lists for.
const PARTITIONS: [u32; 3] = [3, 12, 35];

/// A client, its partitioner if it can be told one, and the list's name.
const CLIENTS: [(&str, Option<&str>, &str); 3] = [
    ("java", None, "murmur2"),
    ("librdkafka", Some("consistent_random"), "crc32"),
    ("librdkafka", Some("murmur2_random"), "murmur2"),
];

/// Runs each wanted client once for each list of its partitioner.
pub fn judge(tally: &mut Tally, address: &str, dir: &Path, wanted: impl Fn(&str) -> bool) {
    for (client, partitioner, list) in CLIENTS.into_iter().filter(|(client, ..)| wanted(client)) {
        let program = match program(client) {
            Ok(program) => program,
            Err(Missing::Runtime(why)) => {
                tally.skip(&format!("{client} partitions by {list}"), &why, PARTITIONS.len() as u32);
                continue;
            }
            Err(Missing::Broken(why)) => {
                tally.fail(&format!("{client} partitions by {list}"), &why);
                continue;
            }
        };
        for partitions in PARTITIONS {
            let what = format!("{client} puts 10,000 keys into {partitions} partitions as {list} does");
            tally.judge(&what, compare(&program, partitioner, list, partitions, address, dir));
        }
    }
}

fn program(client: &str) -> Result<Vec<String>, Missing> {
    match client {
        "java" => java_program("Partitions"),
        _ => {
            let script = root().join("tests/conformance/clients/python/partitions.py");
            Ok(vec![python()?, script.display().to_string()])
        }
    }
}

fn compare(
    program: &[String],
    partitioner: Option<&str>,
    list: &str,
    partitions: u32,
    address: &str,
    dir: &Path,
) -> Result<(), String> {
    let topic = format!("partitions-{partitions}");
    let created = Command::new(ringlog_path())
        .args(["topic", "create", &topic, "--if-not-exists", "--partitions", &partitions.to_string(), "-b", address])
        .output()
        .map_err(|e| e.to_string())?;
    if !created.status.success() {
        return Err(format!("{topic} was not made: {}", String::from_utf8_lossy(&created.stderr)));
    }
    let log = dir.join("partitions.log");
    let errors = File::options().create(true).append(true).open(&log).map_err(|e| e.to_string())?;
    let output = Command::new("timeout")
        .arg("150")
        .args(program)
        .args([address, &topic])
        .args(partitioner)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stderr(errors)
        .output()
        .map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(format!("{program:?}: {}, see {}", output.status, log.display()));
    }
    let golden = root().join(format!("crates/client/testdata/partitions/{list}-{partitions}.txt"));
    let expected = fs::read_to_string(&golden).map_err(|e| format!("{}: {e}", golden.display()))?;
    let found = String::from_utf8_lossy(&output.stdout);
    match expected.lines().zip(found.lines()).position(|(expected, found)| expected != found) {
        Some(line) => Err(format!("from key {} on it differs from {}", line * 100, golden.display())),
        None if expected.lines().count() == found.lines().count() => Ok(()),
        None => Err(format!("{} lines, {} were expected", found.lines().count(), expected.lines().count())),
    }
}
