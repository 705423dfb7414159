//! Claims about settings. `check_*` helpers print one compact form each, so that the expectations read like tables.

use std::path::Path;

use expect_test::{Expect, expect};
use types::ErrorCode;

use super::catalogue::Bounds;
use super::*;

/// What Kafka 4.3.1 ships as `config/server.properties`: the same names with the same values.
const STOCK_SERVER_PROPERTIES: &str = "\
# Role and identity
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093

# Sockets
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600

# Logs
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
#log.flush.interval.messages=10000
#log.flush.interval.ms=1000
log.retention.hours=168
#log.retention.bytes=1073741824
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

fn raw(properties: &str) -> RawConfig {
    let mut raw = RawConfig::new();
    raw.set_host_name("box7");
    raw.read_properties(Path::new("server.properties"), properties);
    raw
}

fn prove(properties: &str) -> Result<Config, ConfigError> {
    Config::prove(raw(properties), Dynamic::NONE)
}

fn proved(properties: &str) -> Config {
    prove(properties).unwrap_or_else(|error| panic!("refused:\n{error}"))
}

fn overrides(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn check_refused(properties: &str, expected: Expect) {
    let error = prove(properties).expect_err("refused");
    expected.assert_eq(&format!("{error}\n"));
}

fn check_notices(properties: &str, expected: Expect) {
    let lines = proved(properties).notices.into_iter().map(|n| format!("{:?} {}: {}\n", n.kind, n.name, n.text));
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn catalogue_holds_kafkas_settings_and_every_default_passes_its_own_bounds() {
    let mut counts = Vec::new();
    for scope in [Scope::Topic, Scope::Group, Scope::Broker] {
        counts.push(scope.keys().count());
        for key in scope.keys() {
            if let Some(default) = key.default {
                let value = key.parse(default).unwrap_or_else(|rule| panic!("{}: {default} {rule}", key.name));
                assert!(key.is_default(&value), "{}", key.name);
            }
            assert!(key.documentation.ends_with('.') || key.documentation.ends_with('`'), "{}", key.name);
        }
    }
    assert_eq!(counts, [36, 17, 366], "34 topic and 17 group settings of Kafka, 360 of its broker; 2 and 6 of ours");
}

#[test]
fn topic_twins_and_chains_name_settings_that_exist() {
    let mut twins = 0;
    for key in Scope::Topic.keys() {
        if let Some(twin) = catalogue::broker_twin(key.name) {
            twins += 1;
            assert!(Scope::Broker.key(twin).is_some(), "{twin}");
            assert_eq!(catalogue::topic_twin(twin), Some(key.name));
        }
    }
    assert_eq!(twins, 28);
    assert_eq!(catalogue::topic_twin("log.retention.hours"), Some("retention.ms"));
}

#[test]
fn embedded_defaults_serve_on_9092_with_data_in_the_local_folder() {
    let config = Config::embedded();
    assert_eq!(config.node_id.value(), 1);
    assert_eq!(config.listeners, [Listener { name: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092 }]);
    assert_eq!(config.advertised, [Endpoint { listener: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 9092 }]);
    assert_eq!(config.log_dirs, [Path::new("ringlog-data")]);
    assert_eq!(config.http_listener.as_deref(), Some("127.0.0.1:9644"));
    assert_eq!(config.append_backend, AppendBackend::Ring);
    assert_eq!(config.offsets.topic_replication_factor, 1);
    assert_eq!(config.offsets.retention_ms, 7 * 24 * 3_600_000);
    assert_eq!(config.groups.initial_rebalance_delay_ms, 3000);
    assert_eq!(config.topic_default.retention_ms, Some(7 * 24 * 3_600_000));
    assert_eq!(config.topic_default.segment_ms, 7 * 24 * 3_600_000);
    assert_eq!(config.topic_default.durability(), Durability::Replicated);
    let live = config.live(Dynamic::NONE);
    assert_eq!(live.cleaner_io_bytes_per_s_max, None);
    assert_eq!(live.connections.total_max, i32::MAX as u32);
    assert!(config.notices.is_empty(), "{:?}", config.notices);
}

#[test]
fn stock_server_properties_start_a_node_unchanged() {
    let config = proved(STOCK_SERVER_PROPERTIES);
    assert_eq!(config.listeners.len(), 1, "the controller's listener is not bound");
    assert_eq!(config.advertised, [Endpoint { listener: "PLAINTEXT".into(), host: "localhost".into(), port: 9092 }]);
    assert_eq!(config.log_dirs, [Path::new("/tmp/kraft-combined-logs")]);
    assert_eq!(config.socket_send_buffer_bytes, Some(102_400));
    check_notices(
        STOCK_SERVER_PROPERTIES,
        expect![[r#"
            NoEffect controller.quorum.bootstrap.servers: Where to find the metadata quorum. One node is its own quorum.
            NoEffect inter.broker.listener.name: The listener that other nodes would use. With one node it is only checked to be there.
            NoEffect num.io.threads: Kafka's request threads. Ringlog has shards instead; see ringlog.shards.
            NoEffect num.network.threads: Kafka's socket threads. Ringlog has shards instead; see ringlog.shards.
            NoEffect num.recovery.threads.per.data.dir: Kafka's threads for start-up recovery. Ringlog recovers on its shards.
            NoEffect share.coordinator.state.topic.min.isr: Share groups (KIP-932), which Ringlog does not have yet.
            NoEffect share.coordinator.state.topic.replication.factor: Share groups (KIP-932), which Ringlog does not have yet.
            NoEffect transaction.state.log.min.isr: Transactions, which Ringlog does not have yet.
            NoEffect transaction.state.log.replication.factor: Transactions, which Ringlog does not have yet.
            Remark listeners: CONTROLLER://:9093 is not bound: the controller runs inside this node
        "#]],
    );
}

#[test]
fn wrong_values_are_refused_all_at_once_with_name_value_line_and_bound() {
    check_refused(
        "num.partitions=0\n\n# comment\nmessage.max.bytes=-1\nauto.create.topics.enable=yes\n\
         log.segment.bytes=1000\nsocket.request.max.bytes=many\nlog.cleanup.policy=compact,shred\n\
         log.message.timestamp.type=Never\nringlog.shards=99999\nringlog.http.listener=9644\n\
         ringlog.log.append.backend=mmap\nlog.retention.ms=0\nlog.cleaner.min.cleanable.ratio=1.5\n",
        expect![[r#"
            auto.create.topics.enable = `yes` (server.properties:5): must be true or false
            log.cleaner.min.cleanable.ratio = `1.5` (server.properties:14): must be a number from 0 to 1
            log.cleanup.policy = `compact,shred` (server.properties:8): must be a list of compact, delete
            log.message.timestamp.type = `Never` (server.properties:9): must be one of CreateTime, LogAppendTime
            log.retention.ms = `0` (server.properties:13): must be a whole number of at least 1, or -1
            log.segment.bytes = `1000` (server.properties:6): must be a whole number of at least 1048576
            message.max.bytes = `-1` (server.properties:4): must be a whole number of at least 0
            num.partitions = `0` (server.properties:1): must be a whole number of at least 1
            ringlog.log.append.backend = `mmap` (server.properties:12): must be one of ring, inline
            ringlog.shards = `99999` (server.properties:10): must be a whole number from 1 to 1024
            socket.request.max.bytes = `many` (server.properties:7): must be a whole number, 1 to at most 2147483647
            ringlog.http.listener = `9644` (server.properties:11): must be host:port, such as 127.0.0.1:9644, or empty to switch it off
        "#]],
    );
}

#[test]
fn what_would_weaken_security_or_safety_is_refused() {
    check_refused(
        "listeners=SECURE://:9093,SASL_SSL://:9094\nlistener.security.protocol.map=SECURE:SSL,SASL_SSL:SASL_SSL\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         controller.quorum.voters=1@a:9093,2@b:9093,3@c:9093\nprocess.roles=broker\n\
         config.providers=env\nsecurity.inter.broker.protocol=SASL_SSL\n",
        expect![[r#"
            authorizer.class.name = `org.apache.kafka.metadata.authorizer.StandardAuthorizer` (server.properties:3): A Java class that decides who may do what. Ringlog cannot do that yet, and going on without it would weaken what you asked for: leave it out.
            config.providers = `env` (server.properties:6): Java classes that fill in `${provider:key}` in values. Ringlog cannot do that yet, and going on without it would weaken what you asked for: leave it out.
            controller.quorum.voters = `1@a:9093,2@b:9093,3@c:9093` (server.properties:4): clusters of several nodes are not built yet: name one node or none
            security.inter.broker.protocol = `SASL_SSL` (server.properties:7): Protocol between nodes. Ringlog cannot do that yet, and going on without it would weaken what you asked for: leave it at PLAINTEXT.
            process.roles = `broker` (server.properties:5): a node is broker and controller in one for now: write broker,controller or leave it out
            listeners = `SECURE://:9093,SASL_SSL://:9094` (server.properties:1): SECURE speaks SSL, and only PLAINTEXT is built: bind it to a trusted network or leave it out
            listeners = `SECURE://:9093,SASL_SSL://:9094` (server.properties:1): SASL_SSL speaks SASL_SSL, and only PLAINTEXT is built: bind it to a trusted network or leave it out
        "#]],
    );
}

#[test]
fn listeners_that_cannot_work_are_refused() {
    for (properties, rule) in [
        ("listeners=PLAINTEXT", "is not of the form NAME://host:port"),
        ("listeners=PLAINTEXT://:99999", "is not of the form NAME://host:port"),
        ("listeners=PLAINTEXT://::1:9092", "is not of the form NAME://host:port"),
        ("listeners=", "no listener is left for clients"),
        ("listeners=CONTROLLER://:9093", "no listener is left for clients"),
        ("listeners=INSIDE://:9092", "INSIDE has no protocol"),
        ("listeners=PLAINTEXT://:9092,PLAINTEXT://:9093", "PLAINTEXT is there twice"),
        (
            "listeners=A://:9092,B://h:9092\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT",
            "B and A want the same port 9092",
        ),
        ("advertised.listeners=PLAINTEXT://0.0.0.0:9092", "clients cannot connect to that"),
        ("advertised.listeners=OTHER://h:9092", "OTHER is not one of the names in listeners"),
        ("inter.broker.listener.name=OTHER", "must be one of the names in listeners"),
        ("listener.security.protocol.map=A:TLS", "is not of the form NAME:PROTOCOL"),
        ("max.connections.per.ip.overrides=host", "must be pairs host:limit, commas between"),
        ("max.connections.per.ip.overrides=10.0.0.1:5,:7", "must be pairs host:limit, commas between"),
        ("log.dirs=", "must name at least one directory"),
        ("log.dirs=/a,/b,/a", "/a is there twice"),
        ("node.id=1\nbroker.id=2", "is the old name of node.id"),
        ("group.min.session.timeout.ms=10\ngroup.max.session.timeout.ms=9", "must not be below"),
    ] {
        let error = prove(properties).expect_err(properties).to_string();
        assert!(error.contains(rule), "{properties}: {error}");
    }
}

#[test]
fn what_may_change_while_the_node_runs_follows_the_dynamic_layers() {
    let config = proved("max.connections=9\nmax.connections.per.ip.overrides=10.0.0.1: 5, ::1:7, db.example:3\n");
    assert!(
        config.notices.iter().any(|notice| notice.text.contains("db.example is no address")),
        "{:?}",
        config.notices
    );
    let live = config.live(Dynamic::NONE);
    assert_eq!(live.connections.total_max, 9);
    let overrides = [("10.0.0.1".parse().expect("an address"), 5), ("::1".parse().expect("an address"), 7)];
    assert_eq!(live.connections.per_ip_overrides, overrides.into());
    assert_eq!((live.cleaner_backoff_ms, live.producer_id_expiration_ms), (15_000, 86_400_000));

    let of = |pairs: &[(&str, &str)]| -> Overrides {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let cluster = of(&[
        ("max.connections", "3"),
        ("max.connections.per.ip", "2"),
        ("log.cleaner.backoff.ms", "1000"),
        ("log.cleaner.io.max.bytes.per.second", "1048576"),
        ("producer.id.expiration.ms", "60000"),
    ]);
    validate_broker_overrides(&cluster, false).expect("Kafka takes them for all brokers");
    let broker = of(&[("max.connections", "4"), ("max.connections.per.ip.overrides", "")]);
    validate_broker_overrides(&broker, true).expect("and for one");
    validate_broker_overrides(&of(&[("max.connections.per.ip.overrides", "x")]), true).expect_err("no pair");
    let live = config.live(Dynamic { broker: &broker, cluster: &cluster });
    let connections = ConnectionLimits { total_max: 4, per_ip_max: 2, per_ip_overrides: [].into() };
    assert_eq!(live.connections, connections);
    assert_eq!((live.cleaner_backoff_ms, live.cleaner_io_bytes_per_s_max), (1000, Some(1 << 20)));
    assert_eq!(live.producer_id_expiration_ms, 60_000);
}

#[test]
fn a_change_that_would_lock_everybody_out_is_refused() {
    use std::sync::Arc;

    use quorum::{ConfigResource, ConfigRules, Configs, MetadataImage};

    let rules = Rules::new(Arc::new(proved("node.id=1\n")));
    let image = MetadataImage::default();
    let check = |resource: &ConfigResource, pairs: &[(&str, &str)]| {
        let after = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        rules.check(resource, &Configs::new(), &after, &image).map_err(|fault| fault.code)
    };
    let (own, all) = (ConfigResource::Broker(types::NodeId::new(1)), ConfigResource::DefaultBroker);
    for resource in [&own, &all] {
        assert_eq!(check(resource, &[("max.connections", "0")]), Err(ErrorCode::InvalidRequest));
        assert_eq!(check(resource, &[("max.connections.per.ip", "0")]), Err(ErrorCode::InvalidRequest));
        let but_one = [("max.connections.per.ip", "0"), ("max.connections.per.ip.overrides", "127.0.0.1:1")];
        assert_eq!(check(resource, &but_one), Ok(()));
        assert_eq!(check(resource, &[("max.connections", "1")]), Ok(()));
    }
}

#[test]
fn addresses_are_told_as_bound_unless_advertised() {
    let told = |properties: &str| {
        let config = proved(properties);
        let all = config.advertised.iter().map(|e| format!("{}={}:{}", e.listener, e.host, e.port));
        all.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(told("listeners=PLAINTEXT://10.0.0.1:9092"), "PLAINTEXT=10.0.0.1:9092");
    assert_eq!(told("listeners=PLAINTEXT://0.0.0.0:9092"), "PLAINTEXT=box7:9092");
    assert_eq!(told("listeners=PLAINTEXT://[::1]:9092"), "PLAINTEXT=::1:9092");
    assert_eq!(told("listeners=PLAINTEXT://127.0.0.1:0"), "PLAINTEXT=127.0.0.1:0");
    assert_eq!(
        told(
            "listeners=IN://:9092,OUT://:9094\nlistener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT\n\
             advertised.listeners=OUT://public:19094"
        ),
        "IN=box7:9092 OUT=public:19094"
    );
}

#[test]
fn unknown_names_are_noticed_with_the_nearest_known_one() {
    check_notices(
        "retention.ms=5\nnum.partition=3\nzookeeper.connect=z:2181\nlistener.name.x.max.connections=5\nfoo=1\nfoo=2\n",
        expect![[r#"
            Remark foo: is set more than once; the last one counts (server.properties:6)
            Unknown foo: no such setting
            NoEffect listener.name.x.max.connections: settings of single listeners are not built yet; the general setting counts
            Unknown num.partition: no such setting; did you mean num.partitions?
            Unknown retention.ms: a setting of topics; for all topics of this node write log.retention.ms
            NoEffect zookeeper.connect: Kafka 4 has no ZooKeeper, and neither has Ringlog
        "#]],
    );
}

#[test]
fn overrides_win_over_environment_over_file_over_defaults() {
    let mut raw = raw("num.partitions=2\nlog.dirs=/file\nmessage.max.bytes=1000\n");
    let variables = [
        ("KAFKA_LOG_DIRS", "/a, /b"),
        ("KAFKA_NUM_PARTITIONS", "3"),
        ("KAFKA_HEAP_OPTS", "-Xmx1g"),
        ("RINGLOG_HTTP_LISTENER", "0.0.0.0:9000"),
        ("RINGLOG_LOG_APPEND_BACKEND", "inline"),
        ("HOME", "/root"),
    ];
    raw.read_environment(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    raw.read_override("num.partitions = 4").expect("well formed");
    assert_eq!(raw.get("num.partitions").map(|raw| raw.origin.clone()), Some(Origin::Override));
    let config = Config::prove(raw, Dynamic::NONE).expect("valid");
    assert_eq!(config.partitions_default, 4);
    assert_eq!(config.log_dirs, [Path::new("/a"), Path::new("/b")]);
    assert_eq!(config.topic_default.batch_bytes_max, 1000);
    assert_eq!(config.http_listener.as_deref(), Some("0.0.0.0:9000"));
    assert_eq!(config.append_backend, AppendBackend::Inline);
    assert!(config.notices.is_empty(), "{:?}", config.notices);
}

#[test]
fn a_wrong_environment_variable_is_named_in_the_refusal() {
    let mut raw = RawConfig::new();
    raw.read_environment([("KAFKA_NUM_PARTITIONS".to_owned(), "x".to_owned())].into_iter());
    let error = Config::prove(raw, Dynamic::NONE).expect_err("refused").to_string();
    assert!(error.contains("(environment variable KAFKA_NUM_PARTITIONS)"), "{error}");
    assert!(RawConfig::new().read_override("num.partitions").is_err());
    assert!(RawConfig::new().read_override("=3").is_err());
}

#[test]
fn environment_names_map_underscores_dots_and_dashes() {
    let mut raw = RawConfig::new();
    raw.read_environment([("KAFKA_A_B__C___D".to_owned(), "v".to_owned())].into_iter());
    assert!(raw.get("a.b_c-d").is_some(), "{raw:?}");
}

#[test]
fn properties_follow_javas_syntax() {
    let raw = raw("a=1\n b : 2 \n! no\nc 3\nd=x\\\n   y\\\n  z\ne\\=f=g\\u0041\\t.\nempty=\nlone\ntail=x\\");
    let all: Vec<String> = raw.iter().map(|(name, raw)| format!("{name}→{}@{}", raw.value, raw.origin)).collect();
    expect![[r#"
        a→1@server.properties:1
        b→2@server.properties:2
        c→3@server.properties:4
        d→xyz@server.properties:5
        e=f→gA	.@server.properties:8
        empty→@server.properties:9
        lone→@server.properties:10
        tail→x@server.properties:11"#]]
    .assert_eq(&all.join("\n"));
}

#[test]
fn a_stronger_unit_wins_over_a_weaker_one() {
    let retention = |properties: &str| proved(properties).topic_default.retention_ms;
    assert_eq!(retention("log.retention.hours=2"), Some(7_200_000));
    assert_eq!(retention("log.retention.hours=2\nlog.retention.minutes=3"), Some(180_000));
    assert_eq!(retention("log.retention.hours=2\nlog.retention.minutes=3\nlog.retention.ms=5"), Some(5));
    assert_eq!(retention("log.retention.hours=-1"), None);
    let flush = |properties: &str| proved(properties).topic_default.flush_ms;
    assert_eq!(flush(""), None);
    assert_eq!(flush("log.flush.scheduler.interval.ms=7"), Some(7));
    assert_eq!(flush("log.flush.scheduler.interval.ms=7\nlog.flush.interval.ms=9"), Some(9));
}

#[test]
fn a_topic_takes_its_own_value_then_the_brokers_changed_one_then_the_files() {
    let config = proved("log.retention.hours=1\nlog.segment.bytes=2000000");
    let broker = overrides(&[("log.retention.ms", "300")]);
    let cluster =
        overrides(&[("log.retention.ms", "200"), ("log.segment.bytes", "3000000"), ("message.max.bytes", "no")]);
    let dynamic = Dynamic { broker: &broker, cluster: &cluster };
    let own = overrides(&[("retention.ms", "100"), ("flush.messages", "1"), ("max.message.bytes", "broken")]);

    let topic = config.topic(dynamic, &own);
    assert_eq!(topic.retention_ms, Some(100));
    assert_eq!(topic.segment_bytes, 3_000_000);
    assert_eq!(topic.durability(), Durability::Durable);
    assert_eq!(topic.batch_bytes_max, 1_048_588, "values that do not parse count as absent");
    assert_eq!(config.topic(dynamic, &Overrides::new()).retention_ms, Some(300));
    assert_eq!(config.topic(Dynamic::NONE, &Overrides::new()).retention_ms, Some(3_600_000));
    assert_eq!(config.topic(Dynamic::NONE, &overrides(&[("flush.ms", "10")])).durability(), Durability::Interval);
}

#[test]
fn an_empty_cleanup_policy_keeps_everything() {
    let kept = overrides(&[("cleanup.policy", "")]);
    validate_topic_overrides(&kept).expect("allowed since Kafka 4.2");
    let config = Config::embedded().topic(Dynamic::NONE, &kept);
    assert_eq!(config.cleanup, Cleanup { compact: false, delete: false });
}

fn check_rows(rows: &[ConfigRow], expected: Expect) {
    let mut out = String::new();
    for row in rows {
        let value = row.value.as_deref().unwrap_or("<null>");
        out.push_str(&format!("{}={value} {:?} {:?}", row.name, row.source, row.value_type));
        out.push_str(if row.read_only { " read-only" } else { "" });
        out.push_str(if row.sensitive { " sensitive" } else { "" });
        for synonym in &row.synonyms {
            let value = synonym.value.as_deref().unwrap_or("<null>");
            out.push_str(&format!(" [{:?} {}={value}]", synonym.source, synonym.name));
        }
        out.push('\n');
    }
    expected.assert_eq(&out);
}

#[test]
fn topic_rows_list_every_setting_with_source_and_type() {
    let config = proved("log.retention.hours=168\nlog.segment.bytes=1073741824");
    let own = overrides(&[("cleanup.policy", "compact, delete"), ("message.format.version", "3.0")]);
    check_rows(
        &describe_topic(&config, Dynamic::NONE, &own, DescribeOptions::default()),
        expect![[r#"
            cleanup.policy=compact,delete DynamicTopic List
            compression.gzip.level=-1 Default Int
            compression.lz4.level=9 Default Int
            compression.type=producer Default String
            compression.zstd.level=3 Default Int
            delete.retention.ms=86400000 Default Long
            file.delete.delay.ms=60000 Default Long
            flush.messages=9223372036854775807 Default Long
            flush.ms=9223372036854775807 Default Long
            follower.replication.throttled.replicas= Default List
            index.interval.bytes=4096 Default Int
            leader.replication.throttled.replicas= Default List
            local.retention.bytes=-2 Default Long
            local.retention.ms=-2 Default Long
            max.compaction.lag.ms=9223372036854775807 Default Long
            max.message.bytes=1048588 Default Int
            message.timestamp.after.max.ms=3600000 Default Long
            message.timestamp.before.max.ms=9223372036854775807 Default Long
            message.timestamp.type=CreateTime Default String
            min.cleanable.dirty.ratio=0.5 Default Double
            min.compaction.lag.ms=0 Default Long
            min.insync.replicas=1 Default Int
            preallocate=false Default Boolean
            remote.log.copy.disable=false Default Boolean
            remote.log.delete.on.disable=false Default Boolean
            remote.storage.enable=false Default Boolean
            retention.bytes=-1 Default Long
            retention.ms=604800000 Default Long
            ringlog.note= Default String
            ringlog.owner= Default String
            segment.bytes=1073741824 StaticBroker Int
            segment.index.bytes=10485760 Default Int
            segment.jitter.ms=0 Default Long
            segment.ms=604800000 Default Long
            unclean.leader.election.enable=false Default Boolean
        "#]],
    );
}

#[test]
fn synonyms_list_what_a_value_hides_strongest_first() {
    let config = proved("log.retention.ms=50\nlog.retention.hours=1\nmessage.max.bytes=2000000");
    let broker = overrides(&[("message.max.bytes", "3000000")]);
    let cluster = overrides(&[("message.max.bytes", "4000000")]);
    let dynamic = Dynamic { broker: &broker, cluster: &cluster };
    let own = overrides(&[("max.message.bytes", "5000000")]);
    let names = ["max.message.bytes", "retention.ms", "cleanup.policy", "no.such"];
    let options = DescribeOptions { names: Some(&names), synonyms: true, documentation: false };
    check_rows(
        &describe_topic(&config, dynamic, &own, options),
        expect![[r#"
            cleanup.policy=delete Default List [Default log.cleanup.policy=delete]
            max.message.bytes=5000000 DynamicTopic Int [DynamicTopic max.message.bytes=5000000] [DynamicBroker message.max.bytes=3000000] [DynamicDefaultBroker message.max.bytes=4000000] [StaticBroker message.max.bytes=2000000] [Default message.max.bytes=1048588]
            retention.ms=50 StaticBroker Long [StaticBroker log.retention.ms=50] [StaticBroker log.retention.hours=1] [Default log.retention.hours=168]
        "#]],
    );
}

#[test]
fn broker_rows_show_read_only_secret_and_own_settings() {
    let config = proved("broker.id=5\nssl.key.password=hush\nmessage.max.bytes=2000000");
    let names = [
        "node.id",
        "broker.id",
        "ssl.key.password",
        "message.max.bytes",
        "ringlog.shards",
        "log.retention.hours",
        "listeners",
    ];
    let options = DescribeOptions { names: Some(&names), synonyms: true, documentation: false };
    check_rows(
        &describe_broker(&config, Dynamic::NONE, options),
        expect![[r#"
            broker.id=5 StaticBroker Int read-only [StaticBroker broker.id=5] [Default broker.id=-1]
            listeners=PLAINTEXT://127.0.0.1:9092 Default List read-only [Default listeners=PLAINTEXT://127.0.0.1:9092]
            log.retention.hours=168 Default Int read-only [Default log.retention.hours=168]
            message.max.bytes=2000000 StaticBroker Int [StaticBroker message.max.bytes=2000000] [Default message.max.bytes=1048588]
            node.id=5 StaticBroker Int read-only [StaticBroker node.id=5] [Default node.id=1]
            ringlog.shards=<null> Default Int read-only
            ssl.key.password=<null> StaticBroker Password sensitive [StaticBroker ssl.key.password=<null>]
        "#]],
    );
    let all = describe_broker(&config, Dynamic::NONE, DescribeOptions::default());
    assert!(all.len() > 340, "{}", all.len());
    assert!(all.iter().all(|row| row.documentation.is_none() && row.synonyms.is_empty()));
}

#[test]
fn the_nameless_broker_lists_only_what_was_set_there() {
    let cluster = overrides(&[("message.max.bytes", "4000000")]);
    let dynamic = Dynamic { cluster: &cluster, ..Dynamic::NONE };
    check_rows(
        &describe_default_broker(dynamic, DescribeOptions::default()),
        expect![[r#"
            message.max.bytes=4000000 DynamicDefaultBroker Int
        "#]],
    );
}

#[test]
fn group_rows_fall_back_to_the_brokers_group_settings() {
    let config = proved("group.consumer.session.timeout.ms=50000");
    let names = ["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"];
    let options = DescribeOptions { names: Some(&names), ..DescribeOptions::default() };
    check_rows(
        &describe_group(&config, Dynamic::NONE, &Overrides::new(), options),
        expect![[r#"
            consumer.heartbeat.interval.ms=5000 Default Int
            consumer.session.timeout.ms=50000 StaticBroker Int
        "#]],
    );
}

#[test]
fn topic_overrides_are_judged_by_kafkas_rules() {
    for (name, value, verdict) in [
        ("retention.ms", "-1", ""),
        (
            "retention.ms",
            "-2",
            "Invalid value -2 for configuration retention.ms: must be a whole number of at least -1",
        ),
        ("retention.bytes", "-7", ""),
        (
            "segment.bytes",
            "1048575",
            "Invalid value 1048575 for configuration segment.bytes: must be a whole number of at least 1048576",
        ),
        (
            "segment.bytes",
            "3000000000",
            "Invalid value 3000000000 for configuration segment.bytes: must be a whole number, 1048576 to at most 2147483647",
        ),
        ("cleanup.policy", "compact,delete", ""),
        ("cleanup.policy", "delete, delete", ""),
        (
            "cleanup.policy",
            "shred",
            "Invalid value shred for configuration cleanup.policy: must be a list of compact, delete",
        ),
        (
            "compression.type",
            "ZSTD",
            "Invalid value ZSTD for configuration compression.type: must be one of uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: must be a whole number from 1 to 9, or -1",
        ),
        ("compression.gzip.level", "-1", ""),
        ("preallocate", "TRUE", ""),
        ("preallocate", "1", "Invalid value 1 for configuration preallocate: must be true or false"),
        ("min.cleanable.dirty.ratio", "0.1", ""),
        (
            "min.cleanable.dirty.ratio",
            "NaN",
            "Invalid value NaN for configuration min.cleanable.dirty.ratio: must be a number",
        ),
        (
            "min.insync.replicas",
            "0",
            "Invalid value 0 for configuration min.insync.replicas: must be a whole number of at least 1",
        ),
        (
            "leader.replication.throttled.replicas",
            "x",
            "Invalid value x for configuration leader.replication.throttled.replicas: must be `*`, or a list of partition:broker pairs",
        ),
        (
            "leader.replication.throttled.replicas",
            "0:1,1:1",
            "Invalid value 0:1,1:1 for configuration leader.replication.throttled.replicas: Ringlog does not have this yet, so only empty is taken",
        ),
        ("remote.storage.enable", "false", ""),
        (
            "remote.storage.enable",
            "true",
            "Invalid value true for configuration remote.storage.enable: Ringlog does not have this yet, so only false is taken",
        ),
        (
            "unclean.leader.election.enable",
            "true",
            "Invalid value true for configuration unclean.leader.election.enable: Ringlog does not have this yet, so only false is taken",
        ),
        ("message.format.version", "2.8", ""),
        ("no.such.name", "1", "Unknown topic config name: no.such.name"),
    ] {
        let said = match validate_topic_overrides(&overrides(&[(name, value)])) {
            Ok(()) => String::new(),
            Err(fault) => {
                assert_eq!(fault.code, ErrorCode::InvalidConfig);
                fault.message
            }
        };
        assert_eq!(said, verdict, "{name}={value}");
    }
    let crossed = overrides(&[("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "9")]);
    let fault = validate_topic_overrides(&crossed).expect_err("refused");
    assert_eq!(fault.message, "min.compaction.lag.ms (10) must not be above max.compaction.lag.ms (9)");
}

#[test]
fn broker_overrides_take_only_what_can_change_while_running() {
    let judge = |name: &str, value: &str, per_broker| {
        validate_broker_overrides(&overrides(&[(name, value)]), per_broker).map_err(|fault| (fault.code, fault.message))
    };
    assert_eq!(judge("message.max.bytes", "5", true), Ok(()));
    assert_eq!(judge("message.max.bytes", "5", false), Ok(()));
    assert_eq!(judge("cordoned.log.dirs", "", true), Ok(()));
    assert_eq!(judge("my.plugin.setting", "x", true), Ok(()));
    for (name, value, per_broker, part) in [
        ("cordoned.log.dirs", "", false, "for a single broker only"),
        ("ssl.keystore.location", "x", true, "which Ringlog does not have yet"),
        ("num.partitions", "5", true, "cannot change while the node runs"),
        ("message.max.bytes", "-5", true, "must be a whole number of at least 0"),
    ] {
        let (code, message) = judge(name, value, per_broker).expect_err(name);
        assert_eq!(code, ErrorCode::InvalidRequest);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn explain_is_one_page_for_each_place_a_setting_lives() {
    let pages = |name: &str| explain(name).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    expect![[r#"
        retention.ms  (setting of a topic, long)
          How old a segment's newest record may get before the segment goes; -1 keeps for ever.
          default      604800000
          takes        a whole number of at least -1
          changes      at any time, by AlterConfigs
          here         effective
          falls back to log.retention.ms (node)
    "#]]
    .assert_eq(&pages("retention.ms"));
    expect![[r#"
        log.retention.hours  (setting of the node, int)
          retention.ms in hours, used when neither milliseconds nor minutes are set.
          default      168
          takes        a whole number of at least 1, or -1
          changes      by a restart
          here         effective
          first set of log.retention.ms, log.retention.minutes, log.retention.hours
          default of   retention.ms (topic)
          environment  KAFKA_LOG_RETENTION_HOURS
    "#]]
    .assert_eq(&pages("log.retention.hours"));
    assert!(pages("ringlog.shards").contains("RINGLOG_SHARDS"));
    assert!(pages("min.insync.replicas").contains("setting of the node"), "both places");
    assert_eq!(explain("no.such.name"), []);
    assert_eq!(nearest_names("retension.ms").first(), Some(&"retention.ms"));
}

#[test]
fn budgets_follow_the_machine_unless_set() {
    let config = Config::embedded();
    assert_eq!(config.memory_budget_bytes(256 << 20), 64 << 20);
    assert_eq!(config.memory_budget_bytes(8 << 30), 1 << 30);
    assert_eq!(config.memory_budget_bytes(1 << 40), 4 << 30);
    assert_eq!(config.disk_reserve_for(10 << 30), (10 << 30) / 20);
    assert_eq!(config.disk_reserve_for(1 << 40), 1 << 30);
    let set = proved("ringlog.memory.max.bytes=33554432\nringlog.disk.reserve.bytes=0");
    assert_eq!(set.memory_budget_bytes(8 << 30), 32 << 20);
    assert_eq!(set.disk_reserve_for(1 << 40), 0);
}

#[test]
fn bounds_of_the_table_are_read_as_written() {
    let bounds = |name: &str| Scope::Broker.key(name).map(|key| key.bounds.clone());
    assert_eq!(bounds("fetch.max.bytes"), Some(Bounds::Range { min: 1024, max: None, also: None }));
    assert_eq!(bounds("compression.gzip.level"), Some(Bounds::Range { min: 1, max: Some(9), also: Some(-1) }));
    assert_eq!(bounds("ssl.client.auth"), Some(Bounds::Words(vec!["required", "requested", "none"])));
}

#[test]
fn the_controller_asks_the_same_rules() {
    use std::sync::Arc;

    use quorum::{ConfigResource, ConfigRules, Configs, MetadataImage};

    let rules = Rules::new(Arc::new(Config::embedded()));
    let topic = ConfigResource::Topic(Arc::from("t"));
    let judge = |resource: &ConfigResource, name: &str, value: &str| {
        let after = Configs::from([(Arc::from(name), Arc::from(value))]);
        rules.check(resource, &Configs::new(), &after, &MetadataImage::default()).map_err(|fault| fault.code)
    };
    assert_eq!(judge(&topic, "retention.ms", "5"), Ok(()));
    assert_eq!(judge(&topic, "retention.ms", "x"), Err(ErrorCode::InvalidConfig));
    assert_eq!(judge(&ConfigResource::DefaultBroker, "num.partitions", "5"), Err(ErrorCode::InvalidRequest));
    assert_eq!(judge(&ConfigResource::Group(Arc::from("g")), "no.such", "5"), Err(ErrorCode::InvalidConfig));
    assert!(rules.is_list(&topic, "cleanup.policy"));
    assert!(!rules.is_list(&topic, "retention.ms"));
    assert_eq!(rules.default_value(&topic, "cleanup.policy").as_deref(), Some("delete"));
}

#[test]
fn an_owner_is_demanded_of_new_topics_where_the_setting_says_so() {
    use std::sync::Arc;

    use quorum::{ConfigResource, ConfigRules, Configs, MetadataImage};

    let image = MetadataImage::default();
    let owned = |owner: &str| Configs::from([(Arc::from(TOPIC_OWNER), Arc::from(owner))]);
    let rules = |properties: &str| Rules::new(Arc::new(proved(properties)));
    let free = rules("");
    assert_eq!(free.check_new_topic("t", &Configs::new(), &image), Ok(()));

    let strict = rules("ringlog.topic.owner.required=true");
    assert_eq!(strict.check_new_topic("t", &owned("payments"), &image), Ok(()));
    assert_eq!(strict.check_new_topic("__consumer_offsets", &Configs::new(), &image), Ok(()));
    for nobody in [Configs::new(), owned(" ")] {
        let fault = strict.check_new_topic("t", &nobody, &image).expect_err("no owner");
        assert_eq!(fault.code, ErrorCode::PolicyViolation);
        assert!(fault.message.is_some_and(|message| message.contains("ringlog.owner")));
    }

    let topic = ConfigResource::Topic(Arc::from("t"));
    let judge = |rules: &Rules, before: &Configs, after: &Configs| {
        rules.check(&topic, before, after, &image).map_err(|fault| fault.code)
    };
    let (payments, orders, none) = (owned("payments"), owned("orders"), Configs::new());
    assert_eq!(judge(&strict, &payments, &orders), Ok(()));
    assert_eq!(judge(&strict, &payments, &none), Err(ErrorCode::PolicyViolation), "an owner is not taken away");
    assert_eq!(judge(&strict, &none, &none), Ok(()), "older topics may be altered without one");
    assert_eq!(judge(&free, &payments, &none), Ok(()));

    let line = |text: &str| Scope::Topic.key(TOPIC_OWNER).expect("a setting").parse(text).map_err(drop);
    assert!(line(&"x".repeat(128)).is_ok());
    assert_eq!(line(&"x".repeat(129)), Err(()));
    assert_eq!(line("two\nlines"), Err(()));
}
