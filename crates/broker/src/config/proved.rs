//! The settings a node runs on: typed, every bound proved.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use types::NodeId;

use super::catalogue::{ConfigKey, Scope, Treatment, Value, broker_twin, chain, host_limits};
use super::explain::nearest_names;
use super::raw::{Origin, RawConfig};
use super::topic::TopicConfig;

/// Settings of a resource as the metadata image holds them: name to value.
pub type Overrides = BTreeMap<String, String>;

/// Broker settings changed while running (AlterConfigs on a broker), as the metadata image holds them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dynamic<'a> {
    /// Of this broker.
    pub broker: &'a Overrides,
    /// Of the nameless broker: the default of all brokers.
    pub cluster: &'a Overrides,
}

static NO_OVERRIDES: Overrides = Overrides::new();

impl Dynamic<'static> {
    /// Nothing changed since the start.
    pub const NONE: Self = Self { broker: &NO_OVERRIDES, cluster: &NO_OVERRIDES };
}

/// A socket to bind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Kafka's listener name, upper case.
    pub name: String,
    /// Host name or address; empty binds all interfaces.
    pub host: String,
    /// Port; 0 lets the kernel choose.
    pub port: u16,
}

/// An address told to clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The listener whose clients are told this address.
    pub listener: String,
    /// Host name or address that clients connect to; never empty.
    pub host: String,
    /// Port; 0 stands for whatever the listener was bound to.
    pub port: u16,
}

/// Which call appends to a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AppendBackend {
    /// io_uring writes, gathered per turn.
    #[default]
    Ring,
    /// pwritev on the shard itself.
    Inline,
}

/// `group.*` of classic groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupsConfig {
    /// `group.min.session.timeout.ms`
    pub session_timeout_ms_min: u32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_ms_max: u32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: u32,
    /// `group.max.size`
    pub members_max: u32,
}

/// `offsets.*`: the topic that keeps committed offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetsConfig {
    /// `offsets.topic.num.partitions`
    pub topic_partitions: u32,
    /// `offsets.topic.replication.factor`; one by default here, as one node is what there is.
    pub topic_replication_factor: u16,
    /// `offsets.topic.segment.bytes`
    pub topic_segment_bytes: u32,
    /// `offsets.retention.minutes`, in milliseconds.
    pub retention_ms: u64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval_ms: u64,
    /// `offset.metadata.max.bytes`
    pub metadata_bytes_max: u32,
    /// `offsets.load.buffer.size`: bytes read at a time when a coordinator loads.
    pub load_buffer_bytes: u32,
}

/// `metadata.*`: the log of the cluster's metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetadataLogConfig {
    /// `metadata.log.dir`, or the first log directory.
    pub dir: PathBuf,
    /// `metadata.log.segment.bytes`
    pub segment_bytes: u32,
    /// `metadata.log.segment.ms`
    pub segment_ms: u64,
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub snapshot_after_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; `None` makes none by time.
    pub snapshot_interval_ms_max: Option<u64>,
}

/// Why something is worth hearing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NoticeKind {
    /// Kafka knows the setting, and it does nothing here.
    NoEffect,
    /// Nobody knows the setting.
    Unknown,
    /// The setting works, but perhaps not as meant.
    Remark,
}

/// Something a person should hear once at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Why.
    pub kind: NoticeKind,
    /// The setting.
    pub name: String,
    /// What about it, one sentence.
    pub text: String,
}

/// A setting that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The setting.
    pub name: String,
    /// Its value as written.
    pub value: Option<String>,
    /// Which rule it breaks, and what to do.
    pub rule: String,
    /// Where it stands; `None` when it follows from defaults.
    pub origin: Option<Origin>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = `{value}`", self.name)?,
            None => write!(f, "{} is not set", self.name)?,
        }
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        write!(f, ": {}", self.rule)
    }
}

/// All that is wrong with a configuration, not just the first thing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for problem in &self.problems {
            if !first {
                f.write_str("\n")?;
            }
            first = false;
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// What a node runs on. Immutable; settings changed at run time make a new one (`Config::prove` over the same raw
/// settings and other [`Dynamic`] ones).
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// `node.id`, or its old name `broker.id`.
    pub node_id: NodeId,
    /// `broker.rack`
    pub rack: Option<String>,
    /// `listeners` without those of the controller.
    pub listeners: Vec<Listener>,
    /// `advertised.listeners`, one for each of `listeners`, in their order.
    pub advertised: Vec<Endpoint>,
    /// `log.dirs`, at least one, none twice.
    pub log_dirs: Vec<PathBuf>,
    /// The metadata log.
    pub metadata_log: MetadataLogConfig,

    /// `num.partitions`
    pub partitions_default: u32,
    /// `default.replication.factor`
    pub replication_factor_default: u16,
    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// `delete.topic.enable`
    pub delete_topics: bool,
    /// `max.request.partition.size.limit`: partitions in one DescribeTopicPartitions reply.
    pub describe_partitions_max: u32,
    /// `log.retention.check.interval.ms`
    pub retention_check_interval_ms: u64,
    /// `log.cleaner.enable`
    pub cleaner_enable: bool,
    /// What a topic without overrides runs on.
    pub topic_default: TopicConfig,

    /// `socket.request.max.bytes`
    pub request_bytes_max: u32,
    /// `fetch.max.bytes`
    pub fetch_bytes_max: u32,
    /// `socket.send.buffer.bytes`; `None` leaves it to the kernel.
    pub socket_send_buffer_bytes: Option<u32>,
    /// `socket.receive.buffer.bytes`; `None` leaves it to the kernel.
    pub socket_receive_buffer_bytes: Option<u32>,
    /// `connections.max.idle.ms`; `None` never closes.
    pub connection_idle_ms_max: Option<u64>,
    /// `max.incremental.fetch.session.cache.slots`
    pub fetch_sessions_max: u32,

    /// Classic groups.
    pub groups: GroupsConfig,
    /// Committed offsets.
    pub offsets: OffsetsConfig,

    /// `ringlog.shards`; `None`: as many as CPUs in the affinity mask, capped by the cgroup's quota.
    pub shards: Option<u16>,
    /// `ringlog.memory.max.bytes`; `None`: derived from the machine at start.
    pub memory_bytes_max: Option<u64>,
    /// `ringlog.http.listener` as `host:port`; `None` when switched off by an empty value.
    pub http_listener: Option<String>,
    /// `ringlog.log.append.backend`
    pub append_backend: AppendBackend,
    /// `ringlog.disk.reserve.bytes`; `None`: the smaller of 1 GiB and 5 % of the file system.
    pub disk_reserve_bytes: Option<u64>,

    /// What to tell once at start: settings without effect, unknown names, listeners that are not bound.
    pub notices: Vec<Notice>,
    /// What was written, for DescribeConfigs.
    pub raw: Arc<RawConfig>,
}

impl Config {
    /// Checks everything at once.
    ///
    /// # Errors
    /// Every problem found, each with name, value, place and the rule it breaks.
    pub fn prove(raw: RawConfig, dynamic: Dynamic<'_>) -> Result<Self, ConfigError> {
        let raw = Arc::new(raw);
        let mut prover = Prover { layers: Layers { raw: &raw, dynamic }, problems: Vec::new(), notices: Vec::new() };
        prover.check_each_setting();
        let process_is_whole = prover.check_process_roles();
        let sockets = prover.sockets();
        let log_dirs = prover.log_dirs();
        let config = prover.config(&raw, sockets, log_dirs);
        prover.check_config(&config);
        debug_assert!(process_is_whole || !prover.problems.is_empty());
        if prover.problems.is_empty() {
            let notices = prover.notices;
            Ok(Self { notices, ..config })
        } else {
            Err(ConfigError { problems: prover.problems })
        }
    }

    /// The embedded defaults.
    #[must_use]
    pub fn embedded() -> Self {
        match Self::prove(RawConfig::new(), Dynamic::NONE) {
            Ok(config) => config,
            Err(error) => unreachable!("the embedded defaults pass their own rules: {error}"),
        }
    }

    /// What a topic runs on: its overrides, then what was changed on the broker, what the file says, Kafka's default.
    /// Overrides that no longer pass (written by other software) count as absent.
    #[must_use]
    pub fn topic(&self, dynamic: Dynamic<'_>, overrides: &Overrides) -> TopicConfig {
        TopicConfig::from_layers(Layers { raw: &self.raw, dynamic }, overrides)
    }

    /// The layers below a resource's own overrides.
    pub(super) fn layers<'a>(&'a self, dynamic: Dynamic<'a>) -> Layers<'a> {
        Layers { raw: &self.raw, dynamic }
    }

    /// Bytes for requests and replies under way on a machine (or in a cgroup) with `memory_bytes`: the setting, else an
    /// eighth, at least 64 MiB and at most 4 GiB.
    #[must_use]
    pub fn memory_budget_bytes(&self, memory_bytes: u64) -> u64 {
        self.memory_bytes_max.unwrap_or_else(|| (memory_bytes / 8).clamp(64 << 20, 4 << 30))
    }

    /// Bytes to keep free on a file system of `file_system_bytes`: the setting, else the smaller of 1 GiB and 5 %.
    #[must_use]
    pub fn disk_reserve_for(&self, file_system_bytes: u64) -> u64 {
        self.disk_reserve_bytes.unwrap_or_else(|| (file_system_bytes / 20).min(1 << 30))
    }
}

/// Where a broker setting's value may stand: changed on this broker, changed for all brokers, written for this start.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a> {
    pub raw: &'a RawConfig,
    pub dynamic: Dynamic<'a>,
}

impl<'a> Layers<'a> {
    /// The text of the strongest layer that has the setting. Dynamic layers count only with a valid value: the node
    /// must start whatever an older or newer version stored there.
    fn text(self, key: &ConfigKey) -> Option<&'a str> {
        let dynamic = [self.dynamic.broker, self.dynamic.cluster];
        let mut changed = dynamic.iter().filter_map(|layer| layer.get(key.name)).map(String::as_str);
        changed.find(|text| key.parse(text).is_ok()).or_else(|| self.raw.get(key.name).map(|raw| raw.value.as_str()))
    }

    /// The effective value of a broker setting, units of its chain not applied; `None` is Kafka's null.
    pub(super) fn value(self, name: &str) -> Option<Value> {
        let key = Scope::Broker.key(name)?;
        let written = self.text(key).and_then(|text| key.parse(text).ok());
        written.or_else(|| key.default.and_then(|text| key.parse(text).ok()))
    }

    /// The effective milliseconds of a chain of settings (`log.retention.ms`, `.minutes`, `.hours`): a stronger unit
    /// wins, whichever layer it stands in; negative stays -1.
    pub(super) fn chained_ms(self, first: &str) -> Option<i64> {
        let chain = chain(first)?;
        let (name, unit_ms) = chain
            .iter()
            .find(|(name, _)| Scope::Broker.key(name).is_some_and(|key| self.text(key).is_some()))
            .or_else(|| {
                chain.iter().find(|(name, _)| Scope::Broker.key(name).is_some_and(|key| key.default.is_some()))
            })?;
        match self.value(name)? {
            Value::Int(value) if value < 0 => Some(-1),
            Value::Int(value) => Some(value.saturating_mul(*unit_ms)),
            _ => None,
        }
    }
}

/// Sockets as they will be bound and told.
struct Sockets {
    listeners: Vec<Listener>,
    advertised: Vec<Endpoint>,
}

/// Collects what is wrong while building the typed settings; every reader returns a harmless value after a problem.
struct Prover<'a> {
    layers: Layers<'a>,
    problems: Vec<Problem>,
    notices: Vec<Notice>,
}

impl Prover<'_> {
    fn problem(&mut self, name: &str, rule: impl Into<String>) {
        let raw = self.layers.raw.get(name);
        self.problems.push(Problem {
            name: name.to_owned(),
            value: raw.map(|raw| {
                let secret = Scope::Broker.key(name).is_some_and(ConfigKey::is_sensitive);
                if secret { "(secret)".to_owned() } else { raw.value.clone() }
            }),
            rule: rule.into(),
            origin: raw.map(|raw| raw.origin.clone()),
        });
    }

    fn notice(&mut self, kind: NoticeKind, name: &str, text: impl Into<String>) {
        self.notices.push(Notice { kind, name: name.to_owned(), text: text.into() });
    }

    /// Type, bounds and treatment of each setting by itself.
    fn check_each_setting(&mut self) {
        let raw = self.layers.raw;
        for (name, place) in raw.names_twice() {
            self.notice(NoticeKind::Remark, name, format!("is set more than once; the last one counts ({place})"));
        }
        for (name, written) in raw.iter() {
            let Some(key) = Scope::Broker.key(name) else {
                self.notice_unknown(name);
                continue;
            };
            let value = match key.parse(&written.value) {
                Ok(value) => value,
                Err(rule) => {
                    self.problem(name, rule);
                    continue;
                }
            };
            match key.treatment {
                Treatment::Effective => {}
                Treatment::NoEffect => self.notice(NoticeKind::NoEffect, name, key.documentation),
                Treatment::NotBuilt | Treatment::Refused if key.is_default(&value) => {}
                Treatment::NotBuilt | Treatment::Refused => {
                    self.problem(name, format!("{} {}", key.documentation, refusal(key)));
                }
                Treatment::OneNode => match value {
                    Value::List(nodes) if nodes.len() > 1 => {
                        self.problem(name, "clusters of several nodes are not built yet: name one node or none");
                    }
                    _ => self.notice(NoticeKind::NoEffect, name, key.documentation),
                },
            }
        }
    }

    fn notice_unknown(&mut self, name: &str) {
        if let Some(rest) = name.strip_prefix("listener.name.") {
            let text = "settings of single listeners are not built yet; the general setting counts";
            let weakens = rest.contains(".ssl.") || rest.contains(".sasl.");
            let text = if weakens { "TLS and SASL are not built yet; such a listener is refused" } else { text };
            return self.notice(NoticeKind::NoEffect, name, text);
        }
        if name.starts_with("zookeeper.") {
            return self.notice(NoticeKind::NoEffect, name, "Kafka 4 has no ZooKeeper, and neither has Ringlog");
        }
        let mut text = "no such setting".to_owned();
        if let Some(twin) = broker_twin(name).filter(|twin| *twin != name) {
            text = format!("a setting of topics; for all topics of this node write {twin}");
        } else if let Some(near) = nearest_names(name).first() {
            text.push_str(&format!("; did you mean {near}?"));
        }
        self.notice(NoticeKind::Unknown, name, text);
    }

    fn check_process_roles(&mut self) -> bool {
        let roles = self.list("process.roles");
        let whole = roles.iter().any(|role| role == "broker") && roles.iter().any(|role| role == "controller");
        if !whole {
            self.problem(
                "process.roles",
                "a node is broker and controller in one for now: write broker,controller or leave it out",
            );
        }
        whole
    }

    fn sockets(&mut self) -> Sockets {
        let protocols = self.listener_protocols();
        let controllers = self.list("controller.listener.names");
        let is_controller = |name: &str| controllers.iter().any(|other| other.eq_ignore_ascii_case(name));
        let mut listeners: Vec<Listener> = Vec::new();
        for entry in self.list("listeners") {
            let Some((name, host, port)) = parse_listener(&entry) else {
                self.problem("listeners", format!("`{entry}` is not of the form NAME://host:port"));
                continue;
            };
            if is_controller(&name) {
                let text = format!("{entry} is not bound: the controller runs inside this node");
                self.notice(NoticeKind::Remark, "listeners", text);
                continue;
            }
            match protocols.get(&name).map(String::as_str) {
                Some("PLAINTEXT") => {}
                Some(protocol) => self.problem(
                    "listeners",
                    format!("{name} speaks {protocol}, and only PLAINTEXT is built: bind it to a trusted network or leave it out"),
                ),
                None => self.problem(
                    "listeners",
                    format!("{name} has no protocol: name it in listener.security.protocol.map, as {name}:PLAINTEXT"),
                ),
            }
            if listeners.iter().any(|other| other.name == name) {
                self.problem("listeners", format!("{name} is there twice"));
            }
            let clashes = |other: &&Listener| {
                port != 0 && other.port == port && (other.host == host || other.host.is_empty() || host.is_empty())
            };
            if let Some(other) = listeners.iter().find(clashes) {
                let rule = format!("{name} and {} want the same port {port}", other.name);
                self.problem("listeners", rule);
            }
            listeners.push(Listener { name, host, port });
        }
        if listeners.is_empty() && self.problems.iter().all(|problem| problem.name != "listeners") {
            self.problem("listeners", "no listener is left for clients: add one, such as PLAINTEXT://:9092");
        }
        let advertised = self.advertised(&listeners, &is_controller);
        if let Some(name) = self.text("inter.broker.listener.name").filter(|name| !name.is_empty())
            && !listeners.iter().any(|listener| listener.name.eq_ignore_ascii_case(&name))
        {
            self.problem("inter.broker.listener.name", "must be one of the names in listeners");
        }
        Sockets { listeners, advertised }
    }

    fn listener_protocols(&mut self) -> BTreeMap<String, String> {
        let name = "listener.security.protocol.map";
        let mut protocols = BTreeMap::new();
        for entry in self.text(name).unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let known = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];
            match entry.split_once(':').map(|(listener, protocol)| (listener.trim(), protocol.trim().to_uppercase())) {
                Some((listener, protocol)) if !listener.is_empty() && known.contains(&protocol.as_str()) => {
                    if protocols.insert(listener.to_uppercase(), protocol).is_some() {
                        self.problem(name, format!("{listener} is there twice"));
                    }
                }
                _ => {
                    self.problem(name, format!("`{entry}` is not of the form NAME:PROTOCOL, with {}", known.join(", ")))
                }
            }
        }
        protocols
    }

    fn advertised(&mut self, listeners: &[Listener], is_controller: &dyn Fn(&str) -> bool) -> Vec<Endpoint> {
        let name = "advertised.listeners";
        let mut told: Vec<Endpoint> = Vec::new();
        for entry in self.list(name) {
            let Some((listener, host, port)) = parse_listener(&entry) else {
                self.problem(name, format!("`{entry}` is not of the form NAME://host:port"));
                continue;
            };
            if is_controller(&listener) {
                continue;
            }
            if !listeners.iter().any(|bound| bound.name == listener) {
                self.problem(name, format!("{listener} is not one of the names in listeners"));
            }
            if host.is_empty() || is_wildcard(&host) {
                self.problem(name, format!("`{entry}`: clients cannot connect to that; name a host or address"));
            }
            if told.iter().any(|other| other.listener == listener) {
                self.problem(name, format!("{listener} is there twice"));
            }
            told.push(Endpoint { listener, host, port });
        }
        let host_name = self.layers.raw.host_name();
        let mut all = Vec::new();
        let mut guessed = Vec::new();
        for bound in listeners {
            if let Some(endpoint) = told.iter().find(|endpoint| endpoint.listener == bound.name) {
                all.push(endpoint.clone());
                continue;
            }
            let everywhere = bound.host.is_empty() || is_wildcard(&bound.host);
            let host = if everywhere { host_name.to_owned() } else { bound.host.clone() };
            if everywhere && self.layers.raw.get("listeners").is_some() {
                guessed.push(format!("{}://{host}:{}", bound.name, bound.port));
            }
            all.push(Endpoint { listener: bound.name.clone(), host, port: bound.port });
        }
        if !guessed.is_empty() {
            let text = format!("not set, so clients are told {}: set it if they cannot reach that", guessed.join(","));
            self.notice(NoticeKind::Remark, name, text);
        }
        all
    }

    fn log_dirs(&mut self) -> Vec<PathBuf> {
        let name = if self.layers.raw.get("log.dirs").is_some() { "log.dirs" } else { "log.dir" };
        let dirs = self.list(name);
        if dirs.is_empty() || dirs.iter().any(String::is_empty) {
            self.problem(name, "must name at least one directory, and no empty one");
        }
        let dirs: Vec<PathBuf> = dirs.into_iter().map(PathBuf::from).collect();
        if let Some((_, dir)) = dirs.iter().enumerate().find(|(at, dir)| dirs[..*at].contains(dir)) {
            self.problem(name, format!("{} is there twice", dir.display()));
        }
        dirs
    }

    fn node_id(&mut self) -> NodeId {
        let written = |name: &str| self.layers.raw.get(name).map(|_| self.layers.value(name));
        let new = written("node.id");
        let old = written("broker.id").filter(|value| *value != Some(Value::Int(-1)));
        if let (Some(new), Some(old)) = (&new, &old)
            && new != old
        {
            self.problem("broker.id", "is the old name of node.id, and the two differ: keep one");
        }
        let name = if new.is_none() && old.is_some() { "broker.id" } else { "node.id" };
        NodeId::from_wire(i32::try_from(self.int(name)).unwrap_or(0)).unwrap_or(NodeId::ZERO)
    }

    fn config(&mut self, raw: &Arc<RawConfig>, sockets: Sockets, log_dirs: Vec<PathBuf>) -> Config {
        let rack = self.text("broker.rack").filter(|rack| !rack.is_empty());
        let metadata_dir = self.text("metadata.log.dir").filter(|dir| !dir.is_empty());
        let metadata_dir = metadata_dir.map(PathBuf::from).or_else(|| log_dirs.first().cloned()).unwrap_or_default();
        Config {
            node_id: self.node_id(),
            rack,
            listeners: sockets.listeners,
            advertised: sockets.advertised,
            log_dirs,
            metadata_log: MetadataLogConfig {
                dir: metadata_dir,
                segment_bytes: self.u32("metadata.log.segment.bytes"),
                segment_ms: self.u64("metadata.log.segment.ms"),
                snapshot_after_bytes: self.u64("metadata.log.max.record.bytes.between.snapshots"),
                snapshot_interval_ms_max: self.unless_zero("metadata.log.max.snapshot.interval.ms"),
            },
            partitions_default: self.u32("num.partitions"),
            replication_factor_default: self.u16("default.replication.factor"),
            auto_create_topics: self.bool("auto.create.topics.enable"),
            delete_topics: self.bool("delete.topic.enable"),
            describe_partitions_max: self.u32("max.request.partition.size.limit"),
            retention_check_interval_ms: self.u64("log.retention.check.interval.ms"),
            cleaner_enable: self.bool("log.cleaner.enable"),
            topic_default: TopicConfig::from_layers(self.layers, &Overrides::new()),
            request_bytes_max: self.u32("socket.request.max.bytes"),
            fetch_bytes_max: self.u32("fetch.max.bytes"),
            socket_send_buffer_bytes: self.u32_unless_negative("socket.send.buffer.bytes"),
            socket_receive_buffer_bytes: self.u32_unless_negative("socket.receive.buffer.bytes"),
            connection_idle_ms_max: self.unless_negative("connections.max.idle.ms"),
            fetch_sessions_max: self.u32("max.incremental.fetch.session.cache.slots"),
            groups: GroupsConfig {
                session_timeout_ms_min: self.u32("group.min.session.timeout.ms"),
                session_timeout_ms_max: self.u32("group.max.session.timeout.ms"),
                initial_rebalance_delay_ms: self.u32("group.initial.rebalance.delay.ms"),
                members_max: self.u32("group.max.size"),
            },
            offsets: OffsetsConfig {
                topic_partitions: self.u32("offsets.topic.num.partitions"),
                topic_replication_factor: self.u16("offsets.topic.replication.factor"),
                topic_segment_bytes: self.u32("offsets.topic.segment.bytes"),
                retention_ms: self.u64("offsets.retention.minutes").saturating_mul(60_000),
                retention_check_interval_ms: self.u64("offsets.retention.check.interval.ms"),
                metadata_bytes_max: self.u32("offset.metadata.max.bytes"),
                load_buffer_bytes: self.u32("offsets.load.buffer.size"),
            },
            shards: self.int_if_set("ringlog.shards").and_then(|shards| u16::try_from(shards).ok()),
            memory_bytes_max: self.int_if_set("ringlog.memory.max.bytes").and_then(|bytes| u64::try_from(bytes).ok()),
            http_listener: self.http_listener(),
            append_backend: match self.text("ringlog.log.append.backend").as_deref() {
                Some("inline") => AppendBackend::Inline,
                _ => AppendBackend::Ring,
            },
            disk_reserve_bytes: self
                .int_if_set("ringlog.disk.reserve.bytes")
                .and_then(|bytes| u64::try_from(bytes).ok()),
            notices: Vec::new(),
            raw: Arc::clone(raw),
        }
    }

    /// Rules over more than one setting.
    fn check_config(&mut self, config: &Config) {
        if config.groups.session_timeout_ms_max < config.groups.session_timeout_ms_min {
            self.problem("group.max.session.timeout.ms", "must not be below group.min.session.timeout.ms");
        }
        if let Some(max) = config.topic_default.compaction_lag_ms_max
            && max < config.topic_default.compaction_lag_ms_min
        {
            self.problem("log.cleaner.max.compaction.lag.ms", "must not be below log.cleaner.min.compaction.lag.ms");
        }
        let name = "max.connections.per.ip.overrides";
        let overrides = self.text(name).unwrap_or_default();
        for (host, _) in host_limits(&overrides).unwrap_or_default() {
            if host.parse::<IpAddr>().is_err() {
                let text =
                    format!("{host} is no address, and host names are not looked up: it has no limit of its own");
                self.notice(NoticeKind::Remark, name, text);
            }
        }
        if !config.cleaner_enable {
            let text = "compacted topics, the consumers' offsets among them, will grow without bound";
            self.notice(NoticeKind::Remark, "log.cleaner.enable", text);
        }
    }

    fn http_listener(&mut self) -> Option<String> {
        let name = "ringlog.http.listener";
        let text = self.text(name).filter(|text| !text.is_empty())?;
        let port =
            text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            self.problem(name, "must be host:port, such as 127.0.0.1:9644, or empty to switch it off");
        }
        Some(text)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.layers.value(name).map(|value| value.to_text())
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.layers.value(name) {
            Some(Value::List(entries)) => entries,
            _ => Vec::new(),
        }
    }

    fn bool(&self, name: &str) -> bool {
        self.layers.value(name) == Some(Value::Bool(true))
    }

    fn int_if_set(&self, name: &str) -> Option<i64> {
        match self.layers.value(name) {
            Some(Value::Int(value)) => Some(value),
            _ => None,
        }
    }

    /// A number that has a default. A value that does not parse is a problem already, so 0 does no harm.
    fn int(&self, name: &str) -> i64 {
        self.int_if_set(name).unwrap_or(0)
    }

    fn u16(&self, name: &str) -> u16 {
        u16::try_from(self.int(name)).unwrap_or(u16::MAX)
    }

    fn u32(&self, name: &str) -> u32 {
        u32::try_from(self.int(name)).unwrap_or(0)
    }

    fn u64(&self, name: &str) -> u64 {
        u64::try_from(self.int(name)).unwrap_or(0)
    }

    fn unless_negative(&self, name: &str) -> Option<u64> {
        u64::try_from(self.int(name)).ok()
    }

    fn u32_unless_negative(&self, name: &str) -> Option<u32> {
        u32::try_from(self.int(name)).ok()
    }

    fn unless_zero(&self, name: &str) -> Option<u64> {
        self.unless_negative(name).filter(|value| *value != 0)
    }
}

fn refusal(key: &ConfigKey) -> String {
    match key.treatment {
        Treatment::NotBuilt => {
            format!("This is not built yet: leave it out, or at {}.", key.default.unwrap_or("nothing"))
        }
        _ => format!(
            "Ringlog cannot do that yet, and going on without it would weaken what you asked for: leave it {}.",
            match key.default {
                None | Some("") => "out".to_owned(),
                Some(default) => format!("at {default}"),
            }
        ),
    }
}

/// `NAME://host:port`, with brackets around an IPv6 address.
fn parse_listener(entry: &str) -> Option<(String, String, u16)> {
    let (name, address) = entry.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let good = |char: char| char.is_ascii_alphanumeric() || "_.-".contains(char);
    (!name.is_empty() && name.chars().all(good)).then_some(())?;
    Some((name.to_uppercase(), host.to_owned(), port.parse().ok()?))
}

fn is_wildcard(host: &str) -> bool {
    matches!(host, "0.0.0.0" | "::")
}
