//! What an operator's other tools see of a node: metrics through a real Prometheus, generated rules and dashboards, the
//! debug bundle, and the log of a node that is asked wrongly again and again.
//!
//! promtool and prometheus judge where they are installed; where they are not, that is said and their part skipped.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of this test alone, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringlog-observe-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ringlog(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog"));
    command.current_dir(&folder.0).env_remove("RUST_LOG").args(arguments).output().expect("run")
}

fn printed(folder: &Folder, arguments: &[&str]) -> String {
    let output = ringlog(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A process that is killed if a test forgets it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node that logs JSON into a file.
struct Node {
    process: Running,
    log: PathBuf,
    clients: SocketAddr,
    http: SocketAddr,
}

impl Node {
    fn start(folder: &Folder) -> Self {
        Self::start_by(folder, Command::new(env!("CARGO_BIN_EXE_ringlog")))
    }

    fn start_by(folder: &Folder, mut command: Command) -> Self {
        let log = folder.0.join("node.log");
        command.current_dir(&folder.0).env_remove("RUST_LOG").args(["serve", "--log-format", "json"]);
        for setting in [
            "listeners=PLAINTEXT://127.0.0.1:0",
            "ringlog.http.listener=127.0.0.1:0",
            "ssl.keystore.password=hunter2-hunter2",
        ] {
            command.args(["--override", setting]);
        }
        command.stderr(Stdio::from(std::fs::File::create(&log).expect("made")));
        let process = Running(command.spawn().expect("spawned"));
        let began = Instant::now();
        loop {
            let started = lines(&log).into_iter().find(|line| line["message"] == "started");
            if let Some(line) = started {
                let address = |name: &str| line[name].as_str().and_then(|text| text.parse().ok()).expect("an address");
                return Self { process, log, clients: address("listening"), http: address("http") };
            }
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "it does not start: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(mut self) -> Vec<Value> {
        let pid = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("run").success());
        assert!(self.process.0.wait().expect("a child").success());
        lines(&self.log)
    }
}

/// The lines of a log, each a JSON object; the last one may be half written.
fn lines(log: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// Whether a judge is installed. Without it, the test says so and judges nothing.
fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIPPED: {program} is not installed (Debian: apt install prometheus)");
    }
    found
}

fn promtool(arguments: &[&str], stdin: Option<&str>) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("spawned");
    process.stdin.take().expect("piped").write_all(stdin.unwrap_or_default().as_bytes()).expect("read");
    let output = process.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

/// Names of metrics in a text: words that begin as ours or the process's do.
fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let ours = words.filter(|word| word.starts_with("ringlog_") || word.starts_with("process_"));
    ours.map(|word| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
        histogram.unwrap_or(word).to_owned()
    })
    .collect()
}

#[test]
fn rules_and_dashboard_name_only_what_a_node_exports() {
    let folder = Folder::new("names");
    let node = Node::start(&folder);
    let page = get(node.http, "/metrics").expect("answered");
    let families: BTreeSet<String> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect();
    for arguments in [["generate", "prometheus", "rules"].as_slice(), &["generate", "grafana"]] {
        let names = metric_names(&printed(&folder, arguments));
        assert!(names.len() > 15, "{names:?}");
        let unknown: Vec<&String> = names.difference(&families).collect();
        assert!(unknown.is_empty(), "{arguments:?} names what no node exports: {unknown:?}");
    }
    let dashboard: Value = serde_json::from_str(&printed(&folder, &["generate", "grafana"])).expect("JSON");
    assert_eq!(dashboard["title"], "Ringlog");
    node.stop();
}

#[test]
fn promtool_accepts_what_is_generated() {
    if !is_installed("promtool") {
        return;
    }
    let folder = Folder::new("promtool");
    let rules = folder.write("ringlog-rules.yml", &printed(&folder, &["generate", "prometheus", "rules"]));
    promtool(&["check", "rules", &rules], None);
    let targets = ["generate", "prometheus", "scrape", "--target", "a:9644", "--target", "[::1]:9644"];
    let config = folder.write("prometheus.yml", &printed(&folder, &targets));
    promtool(&["check", "config", &config], None);
}

#[test]
fn a_real_prometheus_scrapes_a_node_and_promtool_finds_nothing() {
    if !is_installed("promtool") || !is_installed("prometheus") {
        return;
    }
    let folder = Folder::new("prometheus");
    let node = Node::start(&folder);
    promtool(&["check", "metrics"], Some(&get(node.http, "/metrics").expect("answered")));
    folder.write("ringlog-rules.yml", &printed(&folder, &["generate", "prometheus", "rules"]));
    let target = node.http.to_string();
    let scrape = ["generate", "prometheus", "scrape", "--interval", "1", "--target", &target];
    let config = folder.write("prometheus.yml", &printed(&folder, &scrape));
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={config}"))
        .arg(format!("--storage.tsdb.path={}", folder.0.join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _prometheus = Running(prometheus.expect("spawned"));
    let began = Instant::now();
    let query = |what: &str| -> Option<Value> {
        let answer = get(address, &format!("/api/v1/query?query={what}")).ok()?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        answer["data"]["result"].get(0).cloned()
    };
    loop {
        if let Some(found) = query("ringlog_build_info") {
            assert_eq!(found["metric"]["job"], "ringlog");
            assert_eq!(found["value"][1], "1");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "Prometheus has no sample of the node");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(query("up").expect("scraped")["value"][1], "1");
    let rules = get(address, "/api/v1/rules").expect("answered");
    let rules: Value = serde_json::from_str(&rules).expect("JSON");
    let groups = rules["data"]["groups"].as_array().expect("groups");
    let alerts: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    assert!(alerts.len() > 15, "{} alerts", alerts.len());
    assert!(alerts.iter().all(|alert| alert["lastError"].is_null()), "{alerts:?}");
    node.stop();
}

#[test]
fn a_debug_bundle_is_fetched_once_and_holds_no_secret() {
    let folder = Folder::new("bundle");
    let node = Node::start(&folder);
    let http = node.http.to_string();
    let output = ringlog(&folder, &["debug", "bundle", "--http", &http]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(folder.0.join("ringlog-bundle.json")).expect("written");
    assert!(!text.contains("hunter2"), "a secret");
    let bundle: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&bundle["schema"], &bundle["version"]), (&Value::from("debug.bundle"), &Value::from(1)));
    assert_eq!(bundle["node"]["stage"], "ready");
    assert!(bundle["preflight"].as_array().is_some_and(|findings| findings.len() > 5));
    assert!(bundle["log_dirs"][0]["free_bytes"].is_u64());
    assert!(bundle["metrics"].as_str().is_some_and(|page| page.contains("ringlog_build_info")));
    let log = bundle["log"].as_array().expect("lines");
    assert!(log.iter().any(|line| line.as_str().is_some_and(|line| line.contains("\"started\""))), "{log:?}");
    let config = bundle["metadata"]["config"].as_array().expect("settings");
    let setting = |name: &str| config.iter().find(|row| row["name"] == name).expect("a known setting");
    assert_eq!(setting("ssl.keystore.password")["secret"], true);
    assert!(setting("ssl.keystore.password")["value"].is_null());
    assert_eq!(setting("listeners")["value"], "PLAINTEXT://127.0.0.1:0");

    let again = ringlog(&folder, &["debug", "bundle", "--http", &http]);
    assert_eq!(again.status.code(), Some(2), "a file that exists is left alone");
    let stdout = printed(&folder, &["debug", "bundle", "--http", &http, "--file", "-"]);
    assert!(serde_json::from_str::<Value>(&stdout).is_ok());
    let wrong = ringlog(&folder, &["debug", "bundle", "--file", "x.json", "--http", &node.clients.to_string()]);
    assert_eq!(wrong.status.code(), Some(1), "{}", String::from_utf8_lossy(&wrong.stderr));
    node.stop();
    let gone = ringlog(&folder, &["debug", "bundle", "--file", "x.json", "--http", &http]);
    assert_eq!(gone.status.code(), Some(4), "{}", String::from_utf8_lossy(&gone.stderr));
}

#[test]
fn a_client_that_is_refused_again_and_again_is_named_and_does_not_fill_the_log() {
    let folder = Folder::new("log");
    let node = Node::start(&folder);
    for _ in 0..75 {
        let mut stream = TcpStream::connect(node.clients).expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    // | size 14 | ApiVersions (18) | version 3 | correlation 1 | client "odd" | no tags |, then an API that is not served.
    let mut stream = TcpStream::connect(node.clients).expect("connected");
    let hello = [0, 0, 0, 17, 0, 18, 0, 3, 0, 0, 0, 1, 0, 3, b'o', b'd', b'd', 0, 1, 1, 0];
    stream.write_all(&hello).expect("sent");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("answered");
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).expect("answered");
    stream.write_all(&[0, 0, 0, 13, 0x03, 0xe7, 0, 0, 0, 0, 0, 1, 0, 3, b'o', b'd', b'd']).expect("sent");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    let log = node.stop();
    let closed = |cause: &str| {
        log.iter().filter(|line| line["message"] == "connection closed by the node" && line["cause"] == cause).count()
    };
    let left_out: u64 = log
        .iter()
        .filter(|line| {
            line["message"] == "lines like this one were left out of the log" && line["cause"] == "malformed"
        })
        .map(|line| line["count"].as_u64().expect("a count"))
        .sum();
    assert!(closed("malformed") < 75, "all of them were told");
    assert_eq!(closed("malformed") as u64 + left_out, 75, "told or counted");
    let unserved = log.iter().find(|line| line["cause"] == "unserved").expect("a noisy cause hides no other");
    assert_eq!(unserved["client_id"], "odd");
    assert_eq!(unserved["principal"], "User:ANONYMOUS");
    assert!(unserved["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")));
}

#[test]
fn what_clients_meet_without_a_message_is_told_with_its_reason() {
    let folder = Folder::new("reasons");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog"));
    command.envs([("RINGLOG_TOPIC_OWNER_REQUIRED", "true"), ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")]);
    let node = Node::start_by(&folder, command);
    let broker = node.clients.to_string();

    // | size | Metadata (3) | version 4 | correlation | client "c" | one topic, "orders" | make it |: it may not be made
    // without an owner, and the reply has room for a code alone.
    let body = b"\0\x03\0\x04\0\0\0\x01\0\x01c\0\0\0\x01\0\x06orders\x01";
    let mut stream = TcpStream::connect(node.clients).expect("connected");
    stream.write_all(&[&(body.len() as u32).to_be_bytes()[..], body].concat()).expect("sent");
    stream.read_exact(&mut [0; 4]).expect("answered");
    let page = get(node.http, "/metrics").expect("answered");
    let counted = "ringlog_refusals_total{api=\"Metadata\",cause=\"POLICY_VIOLATION\"} 1";
    assert!(page.lines().any(|line| line == counted), "{page}");

    printed(&folder, &["topic", "create", "owned", "--owner", "payments", "-b", &broker]);
    printed(&folder, &["consume", "-t", "owned", "-g", "readers", "-e", "-b", &broker]);

    let log = node.stop();
    let told = |message: &str, cause: &str| {
        log.iter()
            .find(|line| line["message"] == message && line["cause"] == cause)
            .unwrap_or_else(|| panic!("{log:#?}"))
    };
    let refused = told("refused", "POLICY_VIOLATION");
    assert_eq!(refused["client_id"], "c");
    let reason = refused["reason"].as_str().expect("a reason");
    assert!(reason.contains("'orders' names no owner"), "{reason}");
    let rebalance = told("group rebalances", "member joined");
    assert_eq!((&rebalance["group"], &rebalance["state"]), (&Value::from("readers"), &Value::from("Empty")));
    assert_eq!((&rebalance["generation"], &rebalance["members"]), (&Value::from(0), &Value::from(1)));
    assert!(rebalance["member"].as_str().is_some_and(|member| !member.is_empty()), "{rebalance}");
    told("group rebalances", "member left");
}

#[test]
fn connections_beyond_the_descriptors_are_turned_away_and_files_keep_theirs() {
    let folder = Folder::new("descriptors");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 512; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ringlog")]);
    let node = Node::start_by(&folder, shell);
    // Half of 512 for files, 192 for the rest.
    let connections: Vec<TcpStream> =
        (0..64 + 5).map(|_| TcpStream::connect(node.clients).expect("connected")).collect();
    let began = Instant::now();
    let refused = "ringlog_connections_refused_total{cause=\"descriptors\"} 5";
    loop {
        let page = get(node.http, "/metrics").expect("answered");
        if page.lines().any(|line| line == refused) {
            assert!(page.lines().any(|line| line == "ringlog_connections 64"), "{page}");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "not {refused}: {page}");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(connections);
    let log = node.stop();
    let line = log.iter().find(|line| line["cause"] == "descriptors").expect("it is told");
    assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("ulimit -n")), "{line}");
}
