//! The two programs that every Kafka course teaches, under `programs/`, over a broker restart, a record too
//! large to send, and a handler that fails.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::node::{Node, Peer};
use tests::root;
use tests::tally::Tally;

use tests::clients::{Missing, python};

const ORDERS: usize = 400;
/// The order whose record is larger than may be sent.
const TOO_LARGE: usize = 150;
/// The order whose handler fails at first.
const UNHANDLED: usize = 77;
const FAIL_TIMES: usize = 2;
const WAIT_SECONDS_MAX: u64 = 90;

const TOPIC: &str = "orders";
const DEAD_LETTERS: &str = "orders-dead";

/// A program whose output lines are collected as they come.
struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Program {
    fn start(python: &str, script: &str, arguments: &[&str], dir: &Path) -> Result<Program, String> {
        let log =
            File::options().create(true).append(true).open(dir.join("programs.log")).map_err(|e| e.to_string())?;
        let mut child = Command::new(python)
            .arg(root().join("tests/conformance/programs").join(script))
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|e| e.to_string())?;
        let output = child.stdout.take().expect("stdout is piped");
        let stdin = child.stdin.take();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                sink.lock().expect("no thread panics with it").push(line);
            }
        });
        Ok(Program { child, stdin, lines })
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no thread panics with it").clone()
    }

    /// Orders of lines that start with `word`, in their order.
    fn ids(&self, word: &str) -> Vec<usize> {
        self.lines().iter().filter_map(|line| id_after(line, word)).collect()
    }

    fn feed(&mut self, orders: std::ops::Range<usize>) -> Result<(), String> {
        let stdin = self.stdin.as_mut().ok_or("its input is closed")?;
        for id in orders {
            let note = if id == TOO_LARGE { noise(3 << 20) } else { "x".repeat(id % 50) };
            writeln!(stdin, r#"{{"id": {id}, "customer": "customer-{}", "note": "{note}"}}"#, id % 17)
                .map_err(|e| format!("the producer takes no more: {e}"))?;
        }
        stdin.flush().map_err(|e| e.to_string())
    }

    fn ends(&mut self) -> Result<(), String> {
        drop(self.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(WAIT_SECONDS_MAX);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                return if status.success() { Ok(()) } else { Err(format!("it ended with {status}")) };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("it did not end within {WAIT_SECONDS_MAX} s"))
    }

    fn terminate(&mut self) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).map_err(|e| e.to_string())?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|e| e.to_string())?;
        self.ends()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Text that snappy cannot shrink below the limit.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    let mut text = String::with_capacity(bytes);
    for _ in 0..bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push(letters[(state >> 58) as usize] as char);
    }
    text
}

fn id_after(line: &str, word: &str) -> Option<usize> {
    line.strip_prefix(word)?.strip_prefix(' ')?.split(' ').next()?.parse().ok()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(WAIT_SECONDS_MAX);
    while !condition() {
        if Instant::now() > deadline {
            return Err(format!("not within {WAIT_SECONDS_MAX} s: {what}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Runs both programs against a node of their own.
pub fn judge(tally: &mut Tally, peer: Peer, dir: &Path) {
    const WHAT: &str = "the course's producer and consumer";
    let python = match python() {
        Ok(python) => python,
        Err(Missing::Runtime(why)) => return tally.skip(WHAT, &why, 1),
        Err(Missing::Broken(why)) => return tally.fail(WHAT, &why),
    };
    tally.judge(WHAT, run(&python, peer, dir));
}

fn run(python: &str, peer: Peer, dir: &Path) -> Result<(), String> {
    let overrides = ["group.initial.rebalance.delay.ms=0", "num.partitions=3"];
    let mut node = Node::new(peer, &dir.join("programs"), &overrides).map_err(|e| e.to_string())?;
    node.start()?;
    let address = node.address();
    let consumer = |fail: &[&str]| {
        Program::start(python, "consumer.py", &[&[address.as_str(), TOPIC, "shipping"], fail].concat(), dir)
    };

    let mut producer = Program::start(python, "producer.py", &[&address, TOPIC, DEAD_LETTERS], dir)?;
    let failing = [UNHANDLED.to_string(), FAIL_TIMES.to_string()];
    let mut first = consumer(&[&failing[0], &failing[1]])?;

    producer.feed(0..ORDERS / 2)?;
    wait_for("the first orders to be acked", || producer.ids("acked").len() > ORDERS / 4)?;
    wait_for("the first orders to be handled", || first.ids("handled").len() > ORDERS / 8)?;
    // The broker dies in the middle of both programs' work and comes back.
    node.kill_now();
    producer.feed(ORDERS / 2..ORDERS * 3 / 4)?;
    std::thread::sleep(Duration::from_millis(500));
    node.start()?;
    producer.feed(ORDERS * 3 / 4..ORDERS)?;
    producer.ends().map_err(|e| format!("producer: {e}: {:?}", producer.lines().last()))?;

    let acked = producer.ids("acked");
    let dead = producer.ids("dead");
    let mut all: Vec<usize> = acked.iter().chain(&dead).copied().collect();
    all.sort_unstable();
    if all != (0..ORDERS).collect::<Vec<_>>() {
        return Err(format!("{} orders acked and {} buried of {ORDERS}, each once", acked.len(), dead.len()));
    }
    if dead != [TOO_LARGE] {
        return Err(format!("expected order {TOO_LARGE} alone among the dead letters, got {dead:?}"));
    }

    wait_for("every acked order to be handled", || {
        let handled = first.ids("handled");
        acked.iter().all(|id| handled.contains(id))
    })?;
    let failures = first.ids("failed");
    if failures != [UNHANDLED; FAIL_TIMES] {
        return Err(format!("expected order {UNHANDLED} to fail {FAIL_TIMES} times, got {failures:?}"));
    }
    never_past_a_failure(&first.lines())?;
    each_once_between_restarts(&acked, &first)?;
    first.terminate().map_err(|e| format!("consumer: {e}"))?;
    if first.lines().last().map(String::as_str) != Some("stopped") {
        return Err("the consumer did not stop cleanly on SIGTERM".to_owned());
    }

    // What was committed before a clean stop does not come again; what comes after it does.
    let mut second = consumer(&[])?;
    let mut more = Program::start(python, "producer.py", &[&address, TOPIC, DEAD_LETTERS], dir)?;
    more.feed(ORDERS..ORDERS + 20)?;
    more.ends().map_err(|e| format!("second producer: {e}"))?;
    wait_for("the orders after the stop to be handled", || second.ids("handled").len() >= 20)?;
    std::thread::sleep(Duration::from_millis(300));
    second.terminate().map_err(|e| format!("second consumer: {e}"))?;
    let mut handled = second.ids("handled");
    handled.sort_unstable();
    if handled != (ORDERS..ORDERS + 20).collect::<Vec<_>>() {
        return Err(format!("after a clean stop exactly the new orders were expected, got {handled:?}"));
    }
    dead_letter_is_there(python, &address, dir)
}

/// Between a failure and the handling of the same order, nothing at or past it is committed in its partition.
fn never_past_a_failure(lines: &[String]) -> Result<(), String> {
    let mut failed: BTreeMap<usize, usize> = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|w| w.parse::<usize>().ok());
        match (words.first(), number(1), number(2), number(3)) {
            (Some(&"failed"), _, Some(partition), Some(offset)) => {
                failed.insert(partition, offset);
            }
            (Some(&"handled"), _, Some(partition), Some(offset)) if failed.get(&partition) == Some(&offset) => {
                failed.remove(&partition);
            }
            (Some(&"committed"), Some(partition), Some(offset), _) => {
                if failed.get(&partition).is_some_and(|&at| at < offset) {
                    return Err(format!(
                        "committed {offset} in partition {partition} past the failed offset {}",
                        failed[&partition]
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The producer is idempotent, so an order lies at one offset only, whatever the consumer reads twice.
fn each_once_between_restarts(acked: &[usize], consumer: &Program) -> Result<(), String> {
    let mut places: BTreeMap<usize, String> = BTreeMap::new();
    for line in consumer.lines() {
        let Some(id) = id_after(&line, "handled") else { continue };
        let place = line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned();
        if let Some(before) = places.insert(id, place.clone())
            && before != place
        {
            return Err(format!("order {id} lies at {before} and at {place}"));
        }
    }
    if places.len() == acked.len() {
        Ok(())
    } else {
        Err(format!("{} orders in the log, {} acked", places.len(), acked.len()))
    }
}

fn dead_letter_is_there(python: &str, address: &str, dir: &Path) -> Result<(), String> {
    let script = format!(
        "import json\nfrom kafka import KafkaConsumer\n\
         for r in KafkaConsumer('{DEAD_LETTERS}', bootstrap_servers='{address}', auto_offset_reset='earliest', consumer_timeout_ms=5000):\n    \
         print(json.loads(r.value)['id'], dict(r.headers)['error'].decode(), r.key.decode())\n"
    );
    let log = File::options().create(true).append(true).open(dir.join("programs.log")).map_err(|e| e.to_string())?;
    let output = Command::new(python).args(["-c", &script]).stderr(log).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let expected = format!("{TOO_LARGE} MessageSizeTooLargeError customer-{}", TOO_LARGE % 17);
    if text == expected { Ok(()) } else { Err(format!("dead letters: expected {expected:?}, got {text:?}")) }
}
