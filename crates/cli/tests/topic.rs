//! `ringlog topic` and `config` against a running node.

mod nodes;

use std::io::{Read, Write};

use client::{Acks, Client, ClientConfig, Producer, ProducerConfig, Record};
use nodes::{ANY_PORT, Folder, Running, run};
use serde_json::Value;

/// A node, and the commands that ask it.
struct Cluster {
    folder: Folder,
    address: String,
    _node: Running,
}

impl Cluster {
    fn start(test: &str) -> Self {
        Self::start_with(test, &[])
    }

    fn start_with(test: &str, overrides: &[&str]) -> Self {
        let folder = Folder::new(test);
        let mut arguments = ANY_PORT.to_vec();
        arguments.extend(overrides.iter().flat_map(|each| ["--override", each]));
        let node = Running::start(&folder, &arguments, &[]);
        let address = node.word_after("told to connect to ");
        Self { folder, address, _node: node }
    }

    /// Exit code, stdout, stderr.
    fn ringlog(&self, arguments: &[&str]) -> (i32, String, String) {
        let (output, stdout, stderr) = run(&self.folder, &[arguments, &["-b", &self.address]].concat());
        (output.status.code().expect("an exit code"), stdout, stderr)
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.ringlog(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
        stdout
    }

    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let (found, stdout, stderr) = self.ringlog(arguments);
        assert_eq!(found, code, "{arguments:?}: {stdout}{stderr}");
        stderr
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["-o", "json"]].concat())).expect("JSON")
    }

    /// Produces `count` records of 1,000 bytes to partition 0.
    fn produce(&self, topic: &str, count: usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let client = Client::connect(ClientConfig::new(&self.address)).await.expect("connected");
            let config = ProducerConfig { acks: Acks::All, ..ProducerConfig::default() };
            let producer = Producer::new(client, config).expect("a producer");
            let mut deliveries = Vec::new();
            for _ in 0..count {
                let record = Record {
                    topic: topic.into(),
                    partition: Some(types::PartitionIndex::ZERO),
                    value: Some(vec![b'x'; 1000].into()),
                    ..Record::default()
                };
                deliveries.push(producer.send(record).await.expect("sent"));
            }
            for delivery in deliveries {
                delivery.wait().await.expect("delivered");
            }
        });
    }
}

#[test]
fn topics_are_made_listed_described_changed_and_deleted() {
    let cluster = Cluster::start("topics");
    let made = cluster.ok(&["topic", "create", "orders", "-p", "3", "-c", "retention.ms=86400000"]);
    assert_eq!(made, "topic\tpartitions\treplicas\toutcome\norders\t3\t1\tcreated\n");
    assert!(cluster.fails(1, &["topic", "create", "orders"]).contains("TOPIC_ALREADY_EXISTS"));
    assert!(cluster.ok(&["topic", "create", "orders", "--if-not-exists"]).contains("orders\t3\t1\texists"));
    let dry = cluster.json(&["topic", "create", "dry", "-p", "2", "--dry-run"]);
    assert_eq!(
        (&dry["topics"][0]["outcome"], &dry["topics"][0]["topic_id"]),
        (&"would be created".into(), &Value::Null)
    );
    let (code, stdout, _) = cluster.ringlog(&["topic", "create", "orders", "clicks"]);
    assert_eq!((code, stdout.contains("clicks\t1\t1\tcreated")), (5, true), "one of two is done in part: {stdout}");
    assert!(cluster.fails(1, &["topic", "create", "x", "-c", "retention.m=1"]).contains("Unknown topic config name"));

    assert_eq!(cluster.ok(&["topic", "list"]), "topic\tpartitions\treplicas\nclicks\t1\t1\norders\t3\t1\n");
    assert_eq!(cluster.ok(&["topic", "list", "order", "-o", "jsonl"]).lines().count(), 1);

    cluster.produce("orders", 20);
    let described = cluster.json(&["topic", "describe", "orders"]);
    let topic = &described["topics"][0];
    assert_eq!((&described["schema"], &described["version"]), (&"topic.describe".into(), &1.into()));
    assert_eq!((&topic["records"], &topic["durability"]), (&20.into(), &"cached".into()));
    let first = &topic["partitions"][0];
    assert_eq!((&first["log_end_offset"], &first["leader"], &first["in_sync"][0]), (&20.into(), &1.into(), &1.into()));
    assert!(20_000 < first["size_bytes"].as_u64().expect("a size"), "{first}");
    assert!(first["recovery_point"].is_u64() && first["next_deletable"]["at"].is_string(), "{first}");
    assert!(first["next_deletable"]["kept_because"].as_str().expect("words").contains("retention.ms (1 d)"), "{first}");
    let text = cluster.ok(&["topic", "describe", "orders", "--skew", "--interval", "50ms"]);
    for part in
        ["topic\torders\n", "retention.ms\t86400000\ttopic\n", "skew\tlargest partition 3.00 times the mean by size"]
    {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(cluster.fails(3, &["topic", "describe", "nope"]).contains("Next: "));

    let altered = cluster.ok(&["topic", "alter", "orders", "-c", "flush.messages=1", "--unset", "retention.ms"]);
    assert!(altered.contains("flush.messages\t9223372036854775807\t1\n"), "{altered}");
    assert!(altered.contains("retention.ms\t86400000\t604800000\n"), "{altered}");
    assert_eq!(cluster.json(&["topic", "describe", "orders"])["topics"][0]["durability"], "durable");
    cluster.ok(&["topic", "alter", "orders", "-c", "flush.messages=1000", "--dry-run"]);
    assert_eq!(cluster.json(&["topic", "describe", "orders"])["topics"][0]["durability"], "durable");
    cluster.fails(2, &["topic", "alter", "orders"]);

    let planned = cluster.json(&["topic", "delete", "orders", "clicks", "--dry-run"]);
    assert_eq!((&planned["records"], &planned["topics"][0]["outcome"]), (&20.into(), &"would be deleted".into()));
    let refused = cluster.fails(2, &["topic", "delete", "orders"]);
    assert!(refused.contains("20 records") && refused.contains("--yes"), "{refused}");
    // Named twice it is still one.
    cluster.ok(&["topic", "delete", "orders", "orders", "--yes", "--wait"]);
    cluster.fails(3, &["topic", "delete", "orders", "--yes"]);
    assert!(cluster.ok(&["topic", "delete", "orders", "clicks", "--yes", "--if-exists"]).contains("does not exist"));
    assert_eq!(cluster.ok(&["topic", "list"]), "topic\tpartitions\treplicas\n");
}

#[test]
fn growth_counts_what_retention_deletes_meanwhile() {
    let cluster = Cluster::start_with("growth", &["log.retention.check.interval.ms=100"]);
    cluster.ok(&["topic", "create", "orders", "-p", "1", "-c", "retention.ms=1000"]);
    // Of 2017: each batch is due when it comes.
    let line = format!("{{\"timestamp\":1500000000000,\"value\":\"{}\"}}\n", "x".repeat(50_000));
    std::fs::write(cluster.folder.join("old.jsonl"), line.repeat(10)).expect("written");
    let described = std::thread::scope(|scope| {
        let measured = scope.spawn(|| cluster.json(&["topic", "describe", "orders", "--skew", "--interval", "2s"]));
        while !measured.is_finished() {
            cluster.ok(&["produce", "-t", "orders", "-J", "-l", "old.jsonl"]);
        }
        measured.join().expect("described")
    });
    let partition = &described["topics"][0]["partitions"][0];
    let number = |name: &str| partition[name].as_u64().unwrap_or_else(|| panic!("{name}: {described:#}"));
    assert!(0 < number("log_start_offset"), "nothing was deleted: {described:#}");
    // The offsets and the bytes are not of the same instant.
    let (bytes, records) = (number("appended_bytes_per_s"), number("appended_records_per_s"));
    assert!(0 < records && records * 50_000 / 2 < bytes && bytes < records * 50_000 * 2, "{described:#}");
    assert_eq!(described["topics"][0]["skew"]["appended_percent"], 100, "{described:#}");
}

#[test]
fn more_partitions_are_asked_about_and_fewer_refused() {
    let cluster = Cluster::start("widen");
    cluster.ok(&["topic", "create", "orders", "-p", "3"]);
    cluster.ok(&["topic", "add-partitions", "orders", "--add", "1"]);
    cluster.produce("orders", 5);
    let refused = cluster.fails(2, &["topic", "add-partitions", "orders", "--total", "3"]);
    assert!(refused.contains("cannot have fewer"), "{refused}");
    let dry = cluster.ok(&["topic", "add-partitions", "orders", "--total", "8", "--dry-run"]);
    assert!(dry.contains("about 50 % of the keys"), "{dry}");
    let asked = cluster.fails(2, &["topic", "add-partitions", "orders", "--total", "8"]);
    assert!(asked.contains("order breaks") && asked.contains("--yes"), "{asked}");
    let widened = cluster.json(&["topic", "add-partitions", "orders", "--total", "8", "--yes"]);
    assert_eq!((&widened["partitions"], &widened["moved_keys_per_thousand"]), (&8.into(), &500.into()));
    assert!(cluster.ok(&["topic", "list"]).contains("orders\t8\t1"));
    for command in [
        &["topic", "create", "wide", "-p", "10001"][..],
        &["topic", "add-partitions", "orders", "--add", "10001", "--yes"],
    ] {
        let refused = cluster.fails(1, command);
        for part in ["10001", "may come to 10000 metadata records", "No setting raises that: ask for fewer at once"] {
            assert!(refused.contains(part), "{part} is missing: {refused}");
        }
    }
}

#[test]
fn owners_are_kept_shown_and_demanded() {
    let cluster = Cluster::start("owners");
    cluster.ok(&["topic", "create", "invoices", "--owner", "billing", "--note", "one record an invoice"]);
    cluster.ok(&["topic", "create", "nobodys"]);
    let wide = cluster.ok(&["topic", "list", "-o", "wide"]);
    assert!(wide.contains("\tbilling\tone record an invoice\t"), "{wide}");
    let names = |arguments: &[&str]| {
        let list = cluster.json(&[&["topic", "list"], arguments].concat());
        let topics = list["topics"].as_array().expect("topics").iter();
        topics.map(|topic| topic["topic"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["--owner", "billing"]), ["invoices"]);
    assert_eq!(names(&["--unowned"]), ["nobodys"]);
    assert!(cluster.ok(&["topic", "describe", "invoices"]).contains("owner\tbilling\nnote\tone record an invoice\n"));
    let too_long = "x".repeat(129);
    assert!(cluster.fails(1, &["topic", "create", "x", "--owner", &too_long]).contains("at most 128 characters"));

    cluster.ok(&["config", "set", "broker", "default", "ringlog.topic.owner.required=true"]);
    let refused = cluster.fails(1, &["topic", "create", "more"]);
    assert!(refused.contains("POLICY_VIOLATION") && refused.contains("Next: the same with --owner TEAM"), "{refused}");
    let kept = cluster.fails(1, &["topic", "alter", "invoices", "--owner", ""]);
    assert!(kept.contains("POLICY_VIOLATION"), "{kept}");
    cluster.ok(&["topic", "create", "more", "--owner", "billing"]);
    cluster.ok(&["topic", "alter", "invoices", "--owner", "payments"]);
    cluster.ok(&["config", "unset", "broker", "default", "ringlog.topic.owner.required"]);
    cluster.ok(&["topic", "create", "free"]);
    cluster.ok(&["topic", "alter", "invoices", "--owner", ""]);
    assert_eq!(names(&["--unowned"]), ["free", "invoices", "nobodys"]);
}

#[test]
fn settings_of_a_cluster_are_read_and_changed() {
    let cluster = Cluster::start("settings");
    cluster.ok(&["topic", "create", "orders"]);
    assert_eq!(cluster.ok(&["config", "describe", "topic", "orders"]), "setting\tvalue\tfrom\n");
    let set = cluster.ok(&["config", "set", "topic", "orders", "retention.ms=5", "cleanup.policy=compact"]);
    assert_eq!(set, "setting\tbefore\tnow\nretention.ms\t604800000\t5\ncleanup.policy\tdelete\tcompact\n");
    assert_eq!(
        cluster.ok(&["config", "get", "topic", "orders", "retention.ms"]),
        "setting\tvalue\tfrom\nretention.ms\t5\ttopic\n"
    );
    cluster.ok(&["config", "unset", "topic", "orders", "retention.ms"]);
    let all = cluster.json(&["config", "describe", "topic", "orders", "--all"]);
    let settings = all["settings"].as_array().expect("settings");
    let setting = |name: &str| settings.iter().find(|setting| setting["name"] == name).expect("a setting");
    assert_eq!(
        (&setting("retention.ms")["value"], &setting("retention.ms")["is_set"]),
        (&"604800000".into(), &false.into())
    );
    assert_eq!(setting("cleanup.policy")["source"], "DYNAMIC_TOPIC_CONFIG");
    assert!(setting("cleanup.policy")["documentation"].is_string());
    assert!(cluster.ok(&["config", "get", "broker", "1", "node.id"]).contains("node.id\t1\t"));
    for words in [
        &["config", "get", "topic", "orders", "no.such"][..],
        &["config", "unset", "topic", "orders", "no.such"],
        &["topic", "alter", "orders", "--unset", "no.such"],
    ] {
        let error = cluster.fails(3, words);
        assert!(error.contains("topic orders has no setting no.such"), "{words:?}: {error}");
    }
    // Nodes keep what they do not know, as Kafka's do: that is said.
    for node in ["1", "default"] {
        let (code, _, error) = cluster.ringlog(&["config", "set", "broker", node, "log.retention.hour=1"]);
        assert!(code == 0 && error.contains("did you mean log.retention.hours"), "{error}");
        let (_, _, error) = cluster.ringlog(&["config", "set", "broker", node, "log.retention.ms=1", "--dry-run"]);
        assert_eq!(error, "");
    }
    cluster.fails(3, &["config", "describe", "topic", "nope"]);
    cluster.fails(3, &["config", "describe", "broker", "7"]);
    cluster.fails(2, &["config", "describe", "broker", "seven"]);
    cluster.fails(1, &["config", "set", "topic", "orders", "retention.ms=soon"]);
}

#[test]
fn nobody_listening_and_wrong_client_settings_have_their_exit_codes() {
    let folder = Folder::new("unreachable");
    let code = |arguments: &[&str]| run(&folder, arguments).0.status.code();
    assert_eq!(code(&["topic", "list", "-b", "127.0.0.1:1"]), Some(4));
    assert_eq!(code(&["topic", "list", "-X", "security.protocol=SSL"]), Some(2));
    assert_eq!(code(&["topic", "list", "--config-file", "no-such.properties"]), Some(3));
    // A port that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = silent.local_addr().expect("an address").to_string();
    assert_eq!(code(&["topic", "list", "-b", &address, "--timeout", "200ms"]), Some(4));
    assert_eq!(code(&["debug", "bundle", "--http", &address, "--timeout", "200ms"]), Some(4));
    for wrong in ["nowhere", "http://", ":9644"] {
        assert_eq!(code(&["debug", "bundle", "--http", wrong]), Some(2), "{wrong}");
    }
}

#[test]
fn what_speaks_another_protocol_is_named_at_once() {
    let folder = Folder::new("protocols");
    let answers = [
        (&b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..], "in HTTP"),
        // A fatal alert: unexpected message.
        (&[21, 3, 3, 0, 2, 2, 10], "in TLS"),
    ];
    for (answer, said) in answers {
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = other.local_addr().expect("an address").to_string();
        // Once: a command that tried again would find nobody, and say that instead.
        let server = std::thread::spawn(move || {
            let (mut stream, _) = other.accept().expect("a client");
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).expect("a request");
            stream.write_all(answer).expect("answered");
        });
        let (output, stdout, stderr) = run(&folder, &["topic", "list", "-b", &address]);
        server.join().expect("answered");
        assert_eq!((output.status.code(), stdout.as_str()), (Some(4), ""), "{stderr}");
        assert!(stderr.contains("does not speak Kafka's protocol") && stderr.contains(said), "{stderr}");
    }
}

#[test]
fn offsets_of_many_partitions_are_told_of_the_partition_they_belong_to() {
    let cluster = Cluster::start("many-partitions");
    cluster.ok(&["topic", "create", "wide", "-p", "600"]);
    cluster.produce("wide", 3);
    let offsets = cluster.ok(&["get-offsets", "--topic", "wide"]);
    let found: std::collections::BTreeSet<&str> = offsets.lines().collect();
    assert_eq!(found.len(), 600, "{offsets}");
    for partition in 0..600 {
        let end = if partition == 0 { 3 } else { 0 };
        assert!(found.contains(format!("wide:{partition}:{end}").as_str()), "{partition} is missing");
    }
}

#[test]
fn a_cluster_says_how_it_is_and_whether_clients_reach_it() {
    let cluster = Cluster::start("cluster");
    cluster.ok(&["topic", "create", "orders", "-p", "3"]);
    let described = cluster.json(&["cluster", "describe"]);
    assert_eq!((&described["partitions"], &described["nodes"][0]["leaders"]), (&3.into(), &3.into()));
    assert_eq!(described["nodes"][0]["address"], cluster.address.as_str());
    assert!(cluster.ok(&["cluster", "health", "--wait"]).starts_with("cluster\thealthy\n"));
    let quorum = cluster.json(&["cluster", "quorum"]);
    assert_eq!((&quorum["leader"], &quorum["members"][0]["role"]), (&1.into(), &"leader".into()));
    let dirs = cluster.json(&["cluster", "dirs"]);
    assert!(dirs["directories"][0]["total_bytes"].is_u64() && dirs["directories"][0]["error"].is_null(), "{dirs}");

    let (output, stdout, stderr) = run(&cluster.folder, &["doctor", "--from-client", &cluster.address]);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert!(stdout.contains("node 1 is reached at"), "{stdout}");
    let (output, stdout, _) = run(&cluster.folder, &["doctor", "--from-client", "127.0.0.1:1"]);
    assert_eq!((output.status.code(), stdout.contains("cannot connect to 127.0.0.1:1")), (Some(6), true), "{stdout}");
}

#[test]
fn the_shell_completes_names_of_the_cluster() {
    let cluster = Cluster::start("complete");
    cluster.ok(&["topic", "create", "orders", "orphans", "clicks"]);
    std::fs::write(cluster.folder.join("clicks.txt"), "one\n").expect("written");
    cluster.ok(&["produce", "-t", "clicks", "-l", "clicks.txt"]);
    cluster.ok(&["consume", "-q", "-t", "clicks", "-g", "counters", "-c", "1"]);
    let offered = |line: &str| {
        let mut command = nodes::ringlog(&cluster.folder);
        command.args(["--", "ringlog"]).args(line.replace("HERE", &cluster.address).split(' ')).env("COMPLETE", "fish");
        let output = command.output().expect("run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // fish is told options and their meaning too.
        let names = text.lines().map(|line| line.split('\t').next().unwrap_or(line));
        names.filter(|name| !name.starts_with('-')).map(str::to_owned).collect::<Vec<_>>()
    };
    for line in [
        "topic describe -b HERE or",
        "config set -b HERE topic or",
        "topics --bootstrap-server HERE --describe --topic or",
        "configs --bootstrap-server HERE --describe --topic or",
        "configs --bootstrap-server HERE --describe --entity-type topics --entity-name or",
        "get-offsets --bootstrap-server HERE --topic or",
        "console-consumer --bootstrap-server HERE --topic or",
        "console-producer --broker-list HERE --topic or",
        "consumer-groups --bootstrap-server HERE --describe --topic or",
    ] {
        assert_eq!(offered(line), ["orders", "orphans"], "{line}");
    }
    for line in [
        "group describe -b HERE c",
        "config get -b HERE group c",
        "configs --bootstrap-server HERE --describe --group c",
        "console-consumer --bootstrap-server HERE --group c",
        "consumer-groups --bootstrap-server HERE --describe --group c",
    ] {
        assert_eq!(offered(line), ["counters"], "{line}");
    }
    for line in ["config describe -b HERE broker ", "configs --bootstrap-server HERE --describe --broker "] {
        assert_eq!(offered(line), ["1"], "{line}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&cluster.folder, &["generate", "completions", shell]).1.contains("COMPLETE"), "{shell}");
    }
    let (output, _, stderr) = run(&cluster.folder, &["generate", "man", "--dir", "man1"]);
    assert!(output.status.success(), "{stderr}");
    let page = std::fs::read_to_string(cluster.folder.join("man1/ringlog-topic-create.1")).expect("a page");
    assert!(page.contains("ringlog topic create orders"), "{page}");
    assert!(run(&cluster.folder, &["generate", "systemd", "--user", "kafka"]).1.contains("\nUser=kafka\n"));
}
