//! The settings a node runs on: typed, every bound proved.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use types::NodeId;

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
    /// `offsets.commit.timeout.ms`
    pub commit_timeout_ms: u32,
    /// `offsets.load.buffer.size`: bytes read at a time when a coordinator loads.
    pub load_buffer_bytes: u32,
}

/// `log.cleaner.*`: how compaction runs.
#[derive(Clone, PartialEq, Debug)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`
    pub enable: bool,
    /// `log.cleaner.backoff.ms`: pause when there is nothing to clean.
    pub backoff_ms: u64,
    /// `log.cleaner.io.max.bytes.per.second`; `None` is no throttle.
    pub io_bytes_per_s_max: Option<u64>,
    /// `log.cleaner.dedupe.buffer.size`: memory for the map of keys.
    pub dedupe_buffer_bytes: u64,
    /// `log.cleaner.io.buffer.size`
    pub io_buffer_bytes: u32,
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
    /// `metadata.max.retention.bytes`
    pub retention_bytes: Option<u64>,
    /// `metadata.max.retention.ms`
    pub retention_ms: Option<u64>,
}

/// Something a person should hear once at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
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
    /// `inter.broker.listener.name`
    pub inter_broker_listener: String,
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
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: u64,
    /// `producer.id.expiration.check.interval.ms`
    pub producer_id_check_interval_ms: u64,
    /// Compaction.
    pub cleaner: CleanerConfig,
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
    /// `socket.listen.backlog.size`
    pub listen_backlog: u32,
    /// `max.connections`
    pub connections_max: u32,
    /// `max.connections.per.ip`
    pub connections_per_ip_max: u32,
    /// `max.connections.per.ip.overrides`: host or address to limit.
    pub connections_per_ip_overrides: BTreeMap<String, u32>,
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
        let _ = (raw, dynamic);
        Err(ConfigError { problems: Vec::new() })
    }

    /// What a topic runs on: its overrides, then what was changed on the broker, what the file says, Kafka's default.
    /// Overrides that no longer pass (written by other software) count as absent.
    #[must_use]
    pub fn topic(&self, dynamic: Dynamic<'_>, overrides: &Overrides) -> TopicConfig {
        let _ = (dynamic, overrides);
        self.topic_default.clone()
    }
}
