//! The built binary as its users meet it: started, asked, stopped.

mod nodes;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nodes::{ANY_PORT, Folder, PATIENCE, Running, ringlog, run};

#[test]
fn a_node_serves_says_what_it_uses_and_stops_on_sigterm() {
    let folder = Folder::new("serve");
    let node = Running::start(&folder, &ANY_PORT, &[]);
    TcpStream::connect(node.word_after("told to connect to ")).expect("clients can connect");
    assert!(node.get("/health/live").starts_with("HTTP/1.1 200"));
    assert!(node.get("/health/ready").contains("\"status\":\"ready\""));
    let metrics = node.get("/metrics");
    for name in ["ringlog_build_info{", "ringlog_shards ", "ringlog_log_dir_free_bytes{log_dir=\"ringlog-data\"}"] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    let cluster = node.word_after("of cluster ");
    let (code, log) = node.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopped"), "{log}");

    let again = Running::start(&folder, &ANY_PORT, &[]);
    assert_eq!(again.word_after("of cluster "), cluster, "a restart stays in its cluster");
    assert_eq!(again.stop().0, Some(0));

    let (output, stdout, stderr) = run(&folder, &["log", "verify", "ringlog-data/__cluster_metadata-0", "--records"]);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("no faults"), "{stdout}");
}

#[test]
fn nobody_who_reads_stderr_is_no_reason_to_end_otherwise() {
    let folder = Folder::new("unread");
    for (arguments, code) in [
        (&["topic", "list", "-b", "127.0.0.1:1", "--timeout", "100ms"][..], 4),
        (&["bench", "disk", "--time", "100ms", "--bytes", "1MiB"], 0),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let status = ringlog(&folder).args(arguments).stdout(Stdio::null()).stderr(writer).status().expect("run");
        assert_eq!(status.code(), Some(code), "{arguments:?}: {status}");
    }
}

#[test]
fn a_node_whose_stderr_nobody_reads_serves_and_stops() {
    let folder = Folder::new("serve-unread");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    // Nobody reads the greeting, so the port is chosen here.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let listeners = format!("listeners=PLAINTEXT://{free}");
    let mut node = ringlog(&folder)
        .args(["serve", "--override", &listeners, "--override", "ringlog.http.listener="])
        .stderr(writer)
        .spawn()
        .expect("spawned");
    let began = Instant::now();
    let connected = loop {
        match TcpStream::connect(free) {
            Ok(connection) => break Some(connection),
            Err(_) if node.try_wait().expect("a child").is_some() || PATIENCE < began.elapsed() => break None,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut client = connected.expect("it serves");
    // It goes on where it would greet: | size | ApiVersions (18) | version 0 | correlation | client "c" |.
    client.write_all(b"\0\0\0\x0b\0\x12\0\0\0\0\0\x07\0\x01c").expect("sent");
    let mut answer = [0; 8];
    client.read_exact(&mut answer).expect("answered");
    assert_eq!(answer[4..], [0, 0, 0, 7], "the same correlation");
    let pid = node.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("run").success());
    assert_eq!(node.wait().expect("ended").code(), Some(0));
}

#[test]
fn a_bench_that_could_not_write_its_answer_does_not_begin() {
    let folder = Folder::new("omb-json");
    std::fs::write(folder.join("w.toml"), "name = \"w\"\n[load]\nrate = 1\n").expect("written");
    // Nobody is there to be measured, which would take five seconds to find out and end with 4.
    let arguments = ["bench", "run", "w.toml", "-b", "127.0.0.1:1", "--omb-json", "nowhere/omb.json"];
    let (output, _, stderr) = run(&folder, &arguments);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert_eq!(stderr, "ringlog: --omb-json: there is no folder nowhere\n");
}

#[test]
fn kafkas_stock_file_starts_a_node_with_the_environments_log_dirs() {
    let folder = Folder::new("stock");
    let file = folder.join("server.properties");
    let stock = "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.bootstrap.servers=localhost:9093\n\
                 listeners=PLAINTEXT://:0,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
                 advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
                 controller.listener.names=CONTROLLER\n\
                 listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
                 num.network.threads=3\nnum.io.threads=8\nlog.dirs=/nowhere/that/can/be/made\n\
                 transaction.state.log.min.isr=1\nlog.retention.hours=168\n";
    std::fs::write(&file, stock).expect("written");
    let data = folder.join("data");
    let data = data.to_str().expect("UTF-8");
    let node = Running::start(&folder, &[file.to_str().expect("UTF-8")], &[("KAFKA_LOG_DIRS", data)]);
    let greeting = node.greeting();
    let idle = "without effect in Ringlog (config explain NAME says why): controller.quorum.bootstrap.servers, \
                inter.broker.listener.name, num.io.threads, num.network.threads, transaction.state.log.min.isr";
    assert_eq!(greeting.matches(idle).count(), 1, "{greeting}");
    assert_eq!(greeting.matches("CONTROLLER://:9093 is not bound").count(), 1, "{greeting}");
    assert!(greeting.contains("told to connect to localhost:9092"), "{greeting}");
    assert!(Path::new(data).join("meta.properties").exists());
    assert_eq!(node.stop().0, Some(0));
}

#[test]
fn a_second_node_on_the_same_data_is_refused_with_the_reason() {
    let folder = Folder::new("locked");
    let node = Running::start(&folder, &ANY_PORT, &[]);
    let (output, _, stderr) =
        run(&folder, &["serve", ANY_PORT[0], ANY_PORT[1], "--override", "ringlog.http.listener="]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("in use by another process"), "{stderr}");
    assert_eq!(node.stop().0, Some(0));
}

#[test]
fn a_node_whose_data_is_deleted_under_it_says_so_and_makes_nothing_in_its_place() {
    let folder = Folder::new("deleted");
    let node = Running::start(&folder, &ANY_PORT, &[]);
    let data = folder.join("ringlog-data");
    std::fs::remove_dir_all(&data).expect("ours");
    let began = Instant::now();
    while !node.get("/health/ready").contains("deleted or replaced under the node") {
        assert!(began.elapsed() < PATIENCE, "{}", node.get("/health/ready"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let (code, log) = node.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the log directory was deleted or replaced"), "{log}");
    assert!(!data.exists(), "the name belongs to somebody else now");
}

/// Its pipe is full after some hundred lines, and its queue after some thousand more.
#[test]
fn a_log_that_nobody_reads_holds_up_neither_clients_nor_the_end() {
    let folder = Folder::new("unread");
    let node = Running::start(&folder, &[&ANY_PORT[..], &["--log-level", "debug"]].concat(), &[]);
    let mut client = TcpStream::connect(node.word_after("told to connect to ")).expect("connected");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // | size | Metadata (3) | version 4 | correlation | client "c" | one topic, "nothing" | do not make it |: refused each
    // time, in a line of the level debug.
    let body = b"\0\x03\0\x04\0\0\0\x01\0\x01c\0\0\0\x01\0\x07nothing\0";
    let request = [&(body.len() as u32).to_be_bytes()[..], body].concat();
    for _ in 0..80 {
        client.write_all(&request.repeat(100)).expect("sent");
        for _ in 0..100 {
            let mut size = [0; 4];
            client.read_exact(&mut size).expect("answered");
            let mut reply = vec![0; u32::from_be_bytes(size) as usize];
            client.read_exact(&mut reply).expect("answered");
        }
    }
    let page = node.get("/metrics");
    let lost = page.lines().find_map(|line| line.strip_prefix("ringlog_log_lines_lost_total ")?.parse::<u64>().ok());
    assert!(lost.is_some_and(|lost| lost > 1000), "{lost:?} lines lost");
    assert_eq!(node.stop().0, Some(0));
}

#[test]
fn wrong_settings_are_refused_before_anything_is_touched() {
    let folder = Folder::new("wrong");
    let (output, _, stderr) =
        run(&folder, &["serve", "--override", "num.partitions=0", "--override", "listeners=SSL://:1"]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["num.partitions = `0` (--override): must be", "SSL speaks SSL, and only PLAINTEXT is built", "Next: "]
    {
        assert!(stderr.contains(part), "{part} is missing:\n{stderr}");
    }
    assert!(!folder.join("ringlog-data").exists());
    assert_eq!(run(&folder, &["serve", "no-such.properties"]).0.status.code(), Some(3));
    assert_eq!(run(&folder, &["serve", "--no-such-flag"]).0.status.code(), Some(2));
}

#[test]
fn doctor_and_config_answer_people_and_programs() {
    let folder = Folder::new("doctor");
    let (output, stdout, _) = run(&folder, &["doctor", "-o", "json"]);
    assert!(output.status.success(), "{stdout}");
    for part in ["\"version\": 1", "\"verdict\"", "\"check\": \"io_uring\"", "\"check\": \"space\""] {
        assert!(stdout.contains(part), "{part} is missing:\n{stdout}");
    }
    let (_, stdout, _) = run(&folder, &["doctor"]);
    assert!(stdout.starts_with("severity\tcheck\tfound\tcure\n"), "a pipe gets lines: {stdout}");

    let (output, stdout, _) = run(&folder, &["config", "explain", "retention.ms"]);
    assert!(output.status.success() && stdout.contains("604800000"), "{stdout}");
    let (output, _, stderr) = run(&folder, &["config", "explain", "retention.m"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr.contains("Did you mean retention.ms"), "{stderr}");
    let (_, stdout, _) = run(&folder, &["config", "list", "--set", "--override", "num.partitions=3"]);
    assert_eq!(stdout, "name\tvalue\tsource\nnum.partitions\t3\t--override\n");
    let document = |arguments: &[&str]| {
        let (output, stdout, _) = run(&folder, &[arguments, &["-o", "json"]].concat());
        let document: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
        (output.status.code(), document)
    };
    let (code, page) = document(&["config", "explain", "cleanup.policy"]);
    let page = &page["settings"][0];
    assert_eq!((code, &page["kind"], &page["default"]), (Some(0), &"topic".into(), &"delete".into()), "{page}");
    assert_eq!(page["falls_back_to"], "log.cleanup.policy");
    let (code, right) = document(&["config", "check", "--override", "num.partitions=3"]);
    assert_eq!((code, &right["right"], &right["problems"]), (Some(0), &true.into(), &serde_json::json!([])));
    let (code, wrong) = document(&["config", "check", "--override", "num.partitions=0"]);
    let problem = &wrong["problems"][0];
    assert_eq!((code, &wrong["right"], &problem["setting"]), (Some(1), &false.into(), &"num.partitions".into()));
    assert_eq!((&problem["value"], &problem["source"]), (&"0".into(), &"--override".into()));
    let (output, stdout, stderr) = run(&folder, &["config", "check", "--override", "num.partitions=0"]);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("num.partitions = `0`"), "{stderr}");
    assert!(run(&folder, &["generate", "completions", "bash"]).1.contains("_ringlog"));
}

#[test]
fn verify_finds_damage_and_says_so_by_its_exit_code() {
    let folder = Folder::new("verify");
    std::fs::create_dir(folder.join("t-0")).expect("made");
    std::fs::write(folder.join("t-0/00000000000000000000.log"), [7; 100]).expect("written");
    let (output, stdout, _) = run(&folder, &["log", "verify", "t-0", "-o", "json"]);
    assert_eq!(output.status.code(), Some(6), "{stdout}");
    assert!(stdout.contains("\"unusable_bytes\": 100"), "{stdout}");
    assert_eq!(run(&folder, &["log", "inspect", "t-0"]).0.status.code(), Some(0));
    assert_eq!(run(&folder, &["log", "verify", "no-such"]).0.status.code(), Some(3));
    // No fault in what is no log is no good news.
    for verb in ["verify", "inspect"] {
        let (output, stdout, stderr) = run(&folder, &["log", verb, "."]);
        assert_eq!((output.status.code(), stdout.as_str()), (Some(3), ""), "{stderr}");
        assert!(stderr.contains("is no partition's folder"), "{stderr}");
    }
}
