//! What each delivery semantics promises across a crash, judged by `delivery.py` with librdkafka.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tests::clients::{Missing, python};
use tests::node::{Node, Peer};
use tests::tally::Tally;
use tests::{root, scratch_dir};

const SEMANTICS: &[&str] = &["at-most-once", "at-least-once", "exactly-once"];

/// Longest silence of the program; its own waits are shorter.
const SECONDS_MAX: &str = "150";

/// One verdict for each semantics.
pub fn judge(tally: &mut Tally, peer: Peer, wanted: impl Fn(&str) -> bool) {
    let semantics: Vec<&str> = SEMANTICS.iter().copied().filter(|name| wanted(name)).collect();
    if semantics.is_empty() {
        return;
    }
    let python = match python() {
        Ok(python) => python,
        Err(Missing::Runtime(why)) => return tally.skip("delivery semantics", &why, semantics.len() as u32),
        Err(Missing::Broken(why)) => return tally.fail("delivery semantics", &why),
    };
    for name in semantics {
        let dir = scratch_dir("delivery").join(name);
        tally.judge(&format!("delivery {name} across crashes"), run(&python, name, peer, &dir));
    }
}

fn run(python: &str, semantics: &str, peer: Peer, dir: &Path) -> Result<(), String> {
    let mut node = Node::new(peer, dir, &["group.initial.rebalance.delay.ms=0"]).map_err(|e| e.to_string())?;
    node.start()?;
    let log = File::create(dir.join("client.log")).map_err(|e| e.to_string())?;
    let mut child = Command::new("timeout")
        .args([SECONDS_MAX, python])
        .arg(root().join("tests/crash/delivery.py"))
        .args([&node.address(), semantics])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut verdict = Err(format!("no verdict within {SECONDS_MAX} s, see {}", dir.display()));
    for line in output.lines().map_while(Result::ok) {
        if line == "CRASH" {
            node.kill_now();
            node.start()?;
            writeln!(stdin, "UP").map_err(|e| e.to_string())?;
        } else if let Some(what) = line.strip_prefix("PASS ") {
            println!("  {semantics}: {what}");
            verdict = Ok(());
        } else if let Some(why) = line.strip_prefix("FAIL ") {
            verdict = Err(format!("{why} (node: {})", node.log_tail()));
        }
    }
    let _ = child.wait();
    verdict
}
