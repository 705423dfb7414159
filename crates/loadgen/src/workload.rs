//! What is asked of a broker, as a TOML file says it.
//!
//! Two types: [`RawWorkload`] is the file as written, every field optional; [`Workload`] has every bound proved, so that
//! nothing behind it checks again. All problems are told at once, each with its field, its value and the bound.
//!
//! ```
//! let text = r#"
//! name = "orders"
//! [topics]
//! partitions = 6
//! [messages]
//! size_bytes = 1024
//! [load]
//! mode = "open"
//! rate = 10_000
//! "#;
//! let workload = loadgen::Workload::parse(text, std::path::Path::new(".")).expect("within all bounds");
//! assert_eq!(workload.producers.batch_bytes, 16_384);
//! let wrong = text.replace("10_000", "-1");
//! let error = loadgen::Workload::parse(&wrong, std::path::Path::new(".")).expect_err("no such rate");
//! assert!(error.to_string().contains("load.rate = -1"), "{error}");
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use batch::Codec;
use client::Acks;
use serde::{Deserialize, Serialize};
use types::limits::{
    LOAD_BATCH_BYTES_MAX, LOAD_CONSUMERS_MAX, LOAD_IN_FLIGHT_MAX, LOAD_KEYS_MAX, LOAD_MESSAGE_BYTES_MAX,
    LOAD_PARTITIONS_MAX, LOAD_PAYLOAD_FILE_BYTES_MAX, LOAD_PRODUCERS_MAX, LOAD_STEPS_MAX,
};

use crate::stamp::STAMP_BYTES;
use crate::verdict::{RawTargets, Targets};

/// The file as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWorkload {
    /// What results are filed under: letters, digits, `-`, `_`, `.`.
    pub name: Option<String>,
    /// The question that a run answers, one sentence.
    pub question: Option<String>,
    /// Of everything random: the same seed sends the same messages to the same partitions.
    pub seed: Option<u64>,
    /// Seconds that are driven and not counted. Default 5.
    pub warmup_s: Option<f64>,
    /// Seconds that are counted (a sweep: of each step). Default 30.
    pub duration_s: Option<f64>,
    /// Where messages go.
    pub topics: Option<RawTopics>,
    /// What they are.
    pub messages: Option<RawMessages>,
    /// Who sends them.
    pub producers: Option<RawProducers>,
    /// Who reads them.
    pub consumers: Option<RawConsumers>,
    /// When they are sent.
    pub load: Option<RawLoad>,
    /// What the run is held against.
    pub target: Option<RawTargets>,
}

/// `[topics]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTopics {
    /// How many. Default 1.
    pub count: Option<u64>,
    /// Of each. Default 1.
    pub partitions: Option<u64>,
    /// Default 1; never more than there are brokers. An existing topic has its own, and its own durability and configs.
    pub replication_factor: Option<u64>,
    /// An existing topic to use; without it topics are made for the run and deleted after it.
    pub name: Option<String>,
    /// `replicated`, `interval` or `durable`. Default: what `configs` make of it, `replicated` without any.
    pub durability: Option<String>,
    /// Of `interval`, in milliseconds. Default 1000.
    pub flush_ms: Option<u64>,
    /// Settings by Kafka's names, given to the topics that are made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<String, String>,
}

/// `[messages]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMessages {
    /// Of a value, when all are alike. Default 1024.
    pub size_bytes: Option<u64>,
    /// Of the smallest value, when they differ (uniformly).
    pub size_bytes_min: Option<u64>,
    /// Of the largest value.
    pub size_bytes_max: Option<u64>,
    /// Values are cut from this file, over and over; relative to the workload's folder. Without `size_bytes` each is
    /// the whole file. The first bytes are overwritten by the stamp.
    pub payload_file: Option<String>,
    /// Share of random bytes in values that come from no file: 1 does not compress, 0 nearly vanishes. Default 1.
    pub random_ratio: Option<f64>,
    /// `none`, `round_robin`, `random` or `zipf`. Default `none`: batches go to partitions in turn.
    pub keys: Option<String>,
    /// Different keys. Default 10,000.
    pub key_count: Option<u64>,
    /// Of `zipf`: key k is drawn in proportion to 1 / k^exponent. Default 1.
    pub zipf_exponent: Option<f64>,
}

/// `[producers]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawProducers {
    /// In all; producer i sends to the topics i, i + count, ... (modulo the topics). Default 1.
    pub count: Option<u64>,
    /// `all`, `1` or `0`. Default `all`.
    pub acks: Option<String>,
    /// How long a batch waits for more messages. Default 5, as Kafka's.
    pub linger_ms: Option<f64>,
    /// A batch that would grow beyond it is sent, uncompressed size. Default 16,384, as Kafka's.
    pub batch_bytes: Option<u64>,
    /// Most bytes of one request. Default 1,048,576, as Kafka's.
    pub request_bytes_max: Option<u64>,
    /// Requests under way on one connection. Default 5, as Kafka's.
    pub in_flight: Option<u64>,
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`. Default `none`.
    pub compression: Option<String>,
    /// Whether producers are idempotent: failed batches are then sent again. Otherwise nothing is ever sent twice.
    /// Default true with acks `all`.
    pub idempotence: Option<bool>,
}

/// `[consumers]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConsumers {
    /// How often every message is read: the fan-out. Default 1.
    pub groups: Option<u64>,
    /// Consumers of each group. Default 1.
    pub per_group: Option<u64>,
    /// `group` joins a real consumer group, `assigned` shares the partitions out without one. Default `assigned`.
    pub membership: Option<String>,
    /// Consumers that, a third into the measured time, start to read everything from the beginning.
    pub cold_readers: Option<u64>,
    /// `fetch.max.wait.ms`. Default 500.
    pub fetch_wait_ms: Option<u64>,
    /// `fetch.min.bytes`. Default 1.
    pub fetch_bytes_min: Option<u64>,
}

/// `[load]`: which fields count follows from `mode`; a field that its mode does not know is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLoad {
    /// `open`, `sweep`, `closed`, `maximum`, `backlog` or `soak`. Default `open`.
    pub mode: Option<String>,
    /// Messages per second of all producers (`open`, `backlog`, `soak`).
    pub rate: Option<f64>,
    /// `uniform` or `poisson`. Default `uniform`.
    pub arrivals: Option<String>,
    /// The first rate of a sweep.
    pub rate_min: Option<f64>,
    /// The last rate of a sweep.
    pub rate_max: Option<f64>,
    /// Each step of a sweep is this much faster. Default 1.5.
    pub rate_factor: Option<f64>,
    /// What a rate must keep to count as held: this percentile of the produce latency. Default 99.
    pub percentile: Option<f64>,
    /// ... is at most this. Default 50.
    pub latency_ms: Option<f64>,
    /// Batches that each producer has under way (`closed`). Default 1.
    pub concurrency: Option<u64>,
    /// Unread bytes, values only, at which consumers begin (`backlog`).
    pub backlog_bytes: Option<u64>,
}

/// A workload within all bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What results are filed under.
    pub name: String,
    /// The question that a run answers.
    pub question: Option<String>,
    /// Of everything random.
    pub seed: u64,
    /// Driven and not counted.
    pub warmup: Duration,
    /// Counted; of a sweep, of each step.
    pub duration: Duration,
    /// Where messages go.
    pub topics: Topics,
    /// What they are.
    pub messages: Messages,
    /// Who sends them.
    pub producers: Producers,
    /// Who reads them.
    pub consumers: Consumers,
    /// When they are sent.
    pub load: Load,
    /// What the run is held against.
    pub targets: Targets,
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq)]
pub struct Topics {
    /// How many.
    pub count: u32,
    /// Of each.
    pub partitions: u32,
    /// Of each partition.
    pub replication_factor: u16,
    /// An existing topic; `None`: topics are made for the run and deleted after it.
    pub existing: Option<String>,
    /// What an ack promises.
    pub durability: Durability,
    /// Settings of the topics that are made, those of the durability included.
    pub configs: BTreeMap<String, String>,
}

impl Topics {
    /// The same topics in another mode.
    pub fn set_durability(&mut self, durability: Durability) {
        for name in ["flush.messages", "flush.ms"] {
            self.configs.remove(name);
        }
        self.configs.extend(durability.topic_config().map(|(name, value)| (name.to_owned(), value)));
        self.durability = durability;
    }

    /// Partitions of all topics.
    #[must_use]
    pub fn partitions_total(&self) -> u32 {
        self.count * self.partitions
    }
}

/// The mode of durability, by Kafka's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Acked from the page cache of as many nodes as there are replicas.
    Replicated,
    /// As that, and flushed every so often (`flush.ms`).
    Interval(Duration),
    /// Flushed before the ack (`flush.messages=1`).
    Durable,
}

impl Durability {
    /// Its word in files and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Replicated => "replicated",
            Self::Interval(_) => "interval",
            Self::Durable => "durable",
        }
    }
}

impl Durability {
    /// What the settings of a topic make of it: `flush.messages` and `flush.ms`, where they are told.
    pub(crate) fn of_configs<'a>(value_of: impl Fn(&str) -> Option<&'a str>) -> Self {
        let flush_ms = value_of("flush.ms").and_then(|ms| ms.parse().ok()).filter(|ms| *ms < i64::MAX as u64);
        match (value_of("flush.messages"), flush_ms) {
            (Some("1"), _) => Self::Durable,
            (_, Some(ms)) => Self::Interval(Duration::from_millis(ms)),
            (_, None) => Self::Replicated,
        }
    }

    /// The topic setting that makes it so.
    fn topic_config(self) -> Option<(&'static str, String)> {
        match self {
            Self::Replicated => None,
            Self::Interval(every) => Some(("flush.ms", every.as_millis().to_string())),
            Self::Durable => Some(("flush.messages", "1".to_owned())),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interval(every) => write!(f, "interval (flush.ms={})", every.as_millis()),
            _ => f.write_str(self.word()),
        }
    }
}

/// What messages are.
#[derive(Clone, Debug, PartialEq)]
pub struct Messages {
    /// Bytes of a value, smallest to largest; every size between is as likely.
    pub size_bytes: RangeInclusive<u32>,
    /// What values hold behind their stamp.
    pub payload: Payload,
    /// What keys they have.
    pub keys: Keys,
}

impl Messages {
    /// The mean size of a value in bytes.
    #[must_use]
    pub fn size_bytes_mean(&self) -> f64 {
        (f64::from(*self.size_bytes.start()) + f64::from(*self.size_bytes.end())) / 2.0
    }
}

/// What values hold behind their stamp.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Random bytes in this share, the rest is one letter.
    Random {
        /// 0 to 1.
        ratio: f64,
    },
    /// Pieces of a file, one after the other, from its beginning again at its end.
    File {
        /// As the workload names it.
        path: String,
        /// All of it.
        bytes: Vec<u8>,
    },
}

/// What keys messages have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keys {
    /// None: batches go to partitions in turn.
    None,
    /// One after the other.
    RoundRobin {
        /// Different keys.
        count: u32,
    },
    /// Any, with the same chance.
    Random {
        /// Different keys.
        count: u32,
    },
    /// Key k in proportion to 1 / k^exponent: few keys have most of the messages.
    Zipf {
        /// Different keys.
        count: u32,
        /// Above 0; 1 is the classic one.
        exponent: f64,
    },
}

/// Who sends messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Producers {
    /// In all.
    pub count: u32,
    /// When a node answers.
    pub acks: Acks,
    /// How long a batch waits for more messages.
    pub linger: Duration,
    /// Most bytes of a batch before compression.
    pub batch_bytes: u32,
    /// Most bytes of a request.
    pub request_bytes_max: u32,
    /// Requests under way on one connection.
    pub in_flight: u32,
    /// How batches are compressed.
    pub compression: Codec,
    /// Whether failed batches are sent again, numbered, so that none is there twice.
    pub idempotence: bool,
}

/// Who reads messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumers {
    /// How often every message is read.
    pub groups: u32,
    /// Consumers of each group.
    pub per_group: u32,
    /// How a group's consumers share the partitions.
    pub membership: Membership,
    /// Consumers that begin at the beginning, a third into the measured time.
    pub cold_readers: u32,
    /// How long a node may wait for `fetch_bytes_min`.
    pub fetch_wait: Duration,
    /// Bytes that a node waits for.
    pub fetch_bytes_min: u32,
}

/// How a group's consumers share the partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// By a consumer group that they join.
    Group,
    /// As the load generator says.
    Assigned,
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// At a rate, whatever the broker does: latency counts from the moment at which a message was due.
    Open(Rate),
    /// At rising rates, to find the highest that keeps a latency.
    Sweep(Sweep),
    /// As many batches under way as this for each producer, the next when one is answered. Latency counts from the
    /// sending: a broker that stops stops the clock too.
    Closed {
        /// Batches under way of each producer.
        concurrency: u32,
    },
    /// As fast as it goes with full batches. Latency says nothing then, throughput does.
    Maximum,
    /// At a rate; consumers begin when this many bytes are unread, and have to catch up while it goes on.
    Backlog {
        /// Of the producers, all the time.
        rate: Rate,
        /// Of values.
        bytes: u64,
    },
    /// At a rate, for as long as segments take to roll and retention takes to delete. As `open`; the word is for reports.
    Soak(Rate),
}

impl Load {
    /// Its word in files and reports.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Sweep(_) => "sweep",
            Self::Closed { .. } => "closed",
            Self::Maximum => "maximum",
            Self::Backlog { .. } => "backlog",
            Self::Soak(_) => "soak",
        }
    }

    /// The rate, in the modes that have one.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        match self {
            Self::Open(rate) | Self::Soak(rate) | Self::Backlog { rate, .. } => Some(*rate),
            Self::Sweep(_) | Self::Closed { .. } | Self::Maximum => None,
        }
    }
}

/// A rate of arrivals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Of all producers together.
    pub messages_per_s: f64,
    /// How they are spread.
    pub arrivals: Arrivals,
}

/// How the arrivals of one producer are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// One every 1 / rate.
    Uniform,
    /// Independent of each other: the gaps between them are exponential.
    Poisson,
}

/// A search for the highest rate that keeps a latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sweep {
    /// The first rate, in messages per second.
    pub rate_min: f64,
    /// The last.
    pub rate_max: f64,
    /// From one step to the next.
    pub rate_factor: f64,
    /// How arrivals are spread.
    pub arrivals: Arrivals,
    /// Of the produce latency: this quantile (0.99) ...
    pub quantile: f64,
    /// ... is at most this.
    pub latency_max: Duration,
}

impl Sweep {
    /// The rates, rising; the last is `rate_max`.
    #[must_use]
    pub fn rates(&self) -> Vec<f64> {
        let mut rates = Vec::new();
        let mut rate = self.rate_min;
        while rate < self.rate_max * 0.999 {
            rates.push(rate);
            rate *= self.rate_factor;
        }
        rates.push(self.rate_max);
        rates
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the workload cannot be run:\n{}", problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n"))]
pub struct WorkloadError {
    /// Each with its field, its value and the bound.
    pub problems: Vec<String>,
}

impl Workload {
    /// Reads a file's text; `folder` is where a payload file is looked for.
    ///
    /// # Errors
    /// It is not TOML, has fields that do not exist, or values out of their bounds.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, WorkloadError> {
        let raw = toml::from_str(text)
            .map_err(|error| WorkloadError { problems: vec![error.to_string().trim_end().to_owned()] })?;
        Self::prove(raw, folder)
    }

    /// Proves every bound.
    ///
    /// # Errors
    /// Every value that is out of its bound, and every field that its mode does not know.
    pub fn prove(raw: RawWorkload, folder: &Path) -> Result<Self, WorkloadError> {
        let mut check = Check { problems: Vec::new() };
        let warmup = check.seconds("warmup_s", raw.warmup_s, 5.0, 0.0);
        let duration = check.seconds("duration_s", raw.duration_s, 30.0, 0.1);
        let name = raw.name.unwrap_or_default();
        let in_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || 64 < name.len() || !name.chars().all(in_name) {
            check.wrong(format!("name = \"{name}\": 1 to 64 letters, digits, `-`, `_` or `.`"));
        }
        let producers = check.producers(raw.producers.unwrap_or_default());
        let messages = check.messages(raw.messages.unwrap_or_default(), folder, producers.batch_bytes);
        let topics = check.topics(raw.topics.unwrap_or_default());
        let consumers = check.consumers(raw.consumers.unwrap_or_default());
        let load = check.load(raw.load.unwrap_or_default());
        if matches!(load, Load::Backlog { .. }) && consumers.groups == 0 {
            check.wrong("consumers.groups = 0: a backlog needs somebody to read it".to_owned());
        }
        let targets = Targets::prove(raw.target.unwrap_or_default(), &mut check.problems);
        if !check.problems.is_empty() {
            return Err(WorkloadError { problems: check.problems });
        }
        let (question, seed) = (raw.question, raw.seed.unwrap_or(1));
        Ok(Self { name, question, seed, warmup, duration, topics, messages, producers, consumers, load, targets })
    }
}

struct Check {
    problems: Vec<String>,
}

impl Check {
    fn wrong(&mut self, problem: String) {
        self.problems.push(problem);
    }

    fn whole(&mut self, field: &str, value: Option<u64>, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let value = value.unwrap_or(default);
        if !bounds.contains(&value) {
            self.wrong(format!("{field} = {value}: {} to {}", bounds.start(), bounds.end()));
        }
        value
    }

    fn number(&mut self, field: &str, value: Option<f64>, default: f64, bounds: RangeInclusive<f64>) -> f64 {
        let value = value.unwrap_or(default);
        if !bounds.contains(&value) {
            self.wrong(format!("{field} = {value}: {} to {}", bounds.start(), bounds.end()));
            return *bounds.start();
        }
        value
    }

    fn seconds(&mut self, field: &str, value: Option<f64>, default: f64, min: f64) -> Duration {
        // A week: the longest retention of any sizing tier that a run could want to outlast.
        Duration::from_secs_f64(self.number(field, value, default, min..=604_800.0))
    }

    /// One of `words`, by its place.
    fn word(&mut self, field: &str, value: Option<&str>, words: &[&str]) -> usize {
        let Some(value) = value else { return 0 };
        words.iter().position(|word| *word == value).unwrap_or_else(|| {
            self.wrong(format!("{field} = \"{value}\": one of {}", words.join(", ")));
            0
        })
    }

    fn topics(&mut self, raw: RawTopics) -> Topics {
        let max = u64::from(LOAD_PARTITIONS_MAX);
        let count = self.whole("topics.count", raw.count, 1, 1..=max) as u32;
        let partitions = self.whole("topics.partitions", raw.partitions, 1, 1..=max) as u32;
        if LOAD_PARTITIONS_MAX < count.saturating_mul(partitions) {
            self.wrong(format!("topics.count x topics.partitions = {count} x {partitions}: at most {max} in all"));
        }
        let factor = self.whole("topics.replication_factor", raw.replication_factor, 1, 1..=100) as u16;
        let flush = Duration::from_millis(self.whole("topics.flush_ms", raw.flush_ms, 1000, 1..=86_400_000));
        let word = self.word("topics.durability", raw.durability.as_deref(), &["replicated", "interval", "durable"]);
        let durability = [Durability::Replicated, Durability::Interval(flush), Durability::Durable][word];
        if raw.flush_ms.is_some() && !matches!(durability, Durability::Interval(_)) {
            self.wrong(format!("topics.flush_ms = {}: only with durability = \"interval\"", flush.as_millis()));
        }
        if raw.name.is_some() && count != 1 {
            self.wrong(format!("topics.count = {count}: 1 when an existing topic is named"));
        }
        if let Some(name) = &raw.name {
            let given = [
                ("replication_factor", raw.replication_factor.is_some()),
                ("durability", raw.durability.is_some()),
                ("configs", !raw.configs.is_empty()),
            ];
            for (field, _) in given.iter().filter(|(_, is_given)| *is_given) {
                self.wrong(format!("topics.{field}: {name} is a topic that is there already, and has its own"));
            }
        }
        let mut configs = raw.configs;
        let by_configs = Durability::of_configs(|name| configs.get(name).map(String::as_str));
        let durability = match raw.durability {
            None => by_configs,
            Some(_) => durability,
        };
        if durability == Durability::Replicated && by_configs != durability {
            self.wrong(format!("topics.durability = \"replicated\": topics.configs make it {by_configs}"));
        }
        if let Some((name, value)) = durability.topic_config()
            && let Some(other) = configs.insert(name.to_owned(), value.clone())
            && other != value
        {
            self.wrong(format!(
                "topics.configs.\"{name}\" = \"{other}\": durability = \"{}\" sets it",
                durability.word()
            ));
        }
        Topics { count, partitions, replication_factor: factor, existing: raw.name, durability, configs }
    }

    fn messages(&mut self, raw: RawMessages, folder: &Path, batch_bytes: u32) -> Messages {
        let random_ratio = self.number("messages.random_ratio", raw.random_ratio, 1.0, 0.0..=1.0);
        let mut default_bytes = 1024;
        let payload = match raw.payload_file {
            None => Payload::Random { ratio: random_ratio },
            Some(path) => {
                let bytes = self.payload_file(&path, folder);
                default_bytes = bytes.len() as u64;
                Payload::File { path, bytes }
            }
        };
        if raw.random_ratio.is_some() && matches!(payload, Payload::File { .. }) {
            self.wrong("messages.random_ratio: not with a payload_file".to_owned());
        }
        let size_bytes = match (raw.size_bytes, raw.size_bytes_min, raw.size_bytes_max) {
            (size, None, None) => self.size("messages.size_bytes", size.unwrap_or(default_bytes), batch_bytes, true),
            (None, Some(min), Some(max)) if min <= max => {
                let min = self.size("messages.size_bytes_min", min, batch_bytes, false);
                *min.start()..=*self.size("messages.size_bytes_max", max, batch_bytes, true).end()
            }
            _ => {
                self.wrong("messages: either size_bytes, or size_bytes_min <= size_bytes_max".to_owned());
                1024..=1024
            }
        };
        let words = ["none", "round_robin", "random", "zipf"];
        let word = self.word("messages.keys", raw.keys.as_deref(), &words);
        let count = self.whole("messages.key_count", raw.key_count, 10_000, 1..=u64::from(LOAD_KEYS_MAX)) as u32;
        let exponent = self.number("messages.zipf_exponent", raw.zipf_exponent, 1.0, 0.01..=10.0);
        if raw.key_count.is_some() && word == 0 {
            self.wrong(format!("messages.key_count = {count}: only with keys"));
        }
        if raw.zipf_exponent.is_some() && word != 3 {
            self.wrong(format!("messages.zipf_exponent = {exponent}: only with keys = \"zipf\""));
        }
        let keys =
            [Keys::None, Keys::RoundRobin { count }, Keys::Random { count }, Keys::Zipf { count, exponent }][word];
        Messages { size_bytes, payload, keys }
    }

    fn size(&mut self, field: &str, bytes: u64, batch_bytes: u32, largest: bool) -> RangeInclusive<u32> {
        let max = u64::from(LOAD_MESSAGE_BYTES_MAX);
        if bytes < STAMP_BYTES as u64 || max < bytes {
            self.wrong(format!("{field} = {bytes}: {STAMP_BYTES} (the stamp that the self-check needs) to {max}"));
        } else if largest && u64::from(LOAD_BATCH_BYTES_MAX) < bytes + u64::from(batch_bytes) {
            self.wrong(format!("{field} = {bytes}: with batch_bytes at most {LOAD_BATCH_BYTES_MAX}"));
        }
        let bytes = bytes.clamp(STAMP_BYTES as u64, max) as u32;
        bytes..=bytes
    }

    fn payload_file(&mut self, path: &str, folder: &Path) -> Vec<u8> {
        let found = folder.join(path);
        let size = std::fs::metadata(&found).map_or(0, |metadata| metadata.len());
        if LOAD_PAYLOAD_FILE_BYTES_MAX < size {
            self.wrong(format!(
                "messages.payload_file = \"{path}\": {size} bytes, at most {LOAD_PAYLOAD_FILE_BYTES_MAX}"
            ));
            return vec![0; STAMP_BYTES];
        }
        match std::fs::read(&found) {
            Ok(bytes) if !bytes.is_empty() => bytes,
            Ok(_) => {
                self.wrong(format!("messages.payload_file = \"{path}\": the file is empty"));
                vec![0; STAMP_BYTES]
            }
            Err(error) => {
                self.wrong(format!("messages.payload_file = \"{path}\": {} cannot be read: {error}", found.display()));
                vec![0; STAMP_BYTES]
            }
        }
    }

    fn producers(&mut self, raw: RawProducers) -> Producers {
        let count = self.whole("producers.count", raw.count, 1, 1..=u64::from(LOAD_PRODUCERS_MAX)) as u32;
        let acks =
            [Acks::All, Acks::Leader, Acks::None][self.word("producers.acks", raw.acks.as_deref(), &["all", "1", "0"])];
        let linger_ms = self.number("producers.linger_ms", raw.linger_ms, 5.0, 0.0..=60_000.0);
        let max = u64::from(LOAD_BATCH_BYTES_MAX);
        let batch_bytes = self.whole("producers.batch_bytes", raw.batch_bytes, 16_384, 1..=max) as u32;
        let request = self.whole("producers.request_bytes_max", raw.request_bytes_max, 1 << 20, 1..=max) as u32;
        let in_flight = self.whole("producers.in_flight", raw.in_flight, 5, 1..=u64::from(LOAD_IN_FLIGHT_MAX)) as u32;
        let names = Codec::ALL.map(Codec::name);
        let compression = Codec::ALL[self.word("producers.compression", raw.compression.as_deref(), &names)];
        let idempotence = raw.idempotence.unwrap_or(acks == Acks::All);
        if idempotence && acks != Acks::All {
            self.wrong("producers.idempotence = true: only with acks = \"all\"".to_owned());
        }
        // What a broker remembers of a producer reaches five batches back.
        if idempotence && 5 < in_flight {
            self.wrong(format!("producers.in_flight = {in_flight}: 1 to 5 with idempotence"));
        }
        Producers {
            count,
            acks,
            linger: Duration::from_secs_f64(linger_ms / 1000.0),
            batch_bytes,
            request_bytes_max: request,
            in_flight,
            compression,
            idempotence,
        }
    }

    fn consumers(&mut self, raw: RawConsumers) -> Consumers {
        let max = u64::from(LOAD_CONSUMERS_MAX);
        let groups = self.whole("consumers.groups", raw.groups, 1, 0..=max) as u32;
        let per_group = self.whole("consumers.per_group", raw.per_group, 1, 1..=max) as u32;
        let cold_readers = self.whole("consumers.cold_readers", raw.cold_readers, 0, 0..=max) as u32;
        let total = u64::from(groups) * u64::from(per_group) + u64::from(cold_readers);
        if max < total {
            self.wrong(format!("consumers.groups x per_group + cold_readers = {total}: at most {max}"));
        }
        let word = self.word("consumers.membership", raw.membership.as_deref(), &["assigned", "group"]);
        let wait_ms = self.whole("consumers.fetch_wait_ms", raw.fetch_wait_ms, 500, 0..=60_000);
        let bytes_min = self.whole("consumers.fetch_bytes_min", raw.fetch_bytes_min, 1, 0..=(64 << 20));
        Consumers {
            groups,
            per_group,
            membership: [Membership::Assigned, Membership::Group][word],
            cold_readers,
            fetch_wait: Duration::from_millis(wait_ms),
            fetch_bytes_min: bytes_min as u32,
        }
    }

    fn load(&mut self, raw: RawLoad) -> Load {
        let modes = ["open", "sweep", "closed", "maximum", "backlog", "soak"];
        let mode = modes[self.word("load.mode", raw.mode.as_deref(), &modes)];
        let given = [
            ("rate", raw.rate.is_some(), &["open", "backlog", "soak"][..]),
            ("arrivals", raw.arrivals.is_some(), &["open", "sweep", "backlog", "soak"]),
            ("rate_min", raw.rate_min.is_some(), &["sweep"]),
            ("rate_max", raw.rate_max.is_some(), &["sweep"]),
            ("rate_factor", raw.rate_factor.is_some(), &["sweep"]),
            ("percentile", raw.percentile.is_some(), &["sweep"]),
            ("latency_ms", raw.latency_ms.is_some(), &["sweep"]),
            ("concurrency", raw.concurrency.is_some(), &["closed"]),
            ("backlog_bytes", raw.backlog_bytes.is_some(), &["backlog"]),
        ];
        for (field, is_given, known_by) in given {
            if is_given && !known_by.contains(&mode) {
                self.wrong(format!("load.{field}: mode \"{mode}\" does not know it, but {} do", known_by.join(", ")));
            }
        }
        let arrivals = [Arrivals::Uniform, Arrivals::Poisson]
            [self.word("load.arrivals", raw.arrivals.as_deref(), &["uniform", "poisson"])];
        match mode {
            "sweep" => self.sweep(&raw, arrivals),
            "closed" => {
                let max = u64::from(LOAD_IN_FLIGHT_MAX);
                Load::Closed { concurrency: self.whole("load.concurrency", raw.concurrency, 1, 1..=max) as u32 }
            }
            "maximum" => Load::Maximum,
            _ => {
                let messages_per_s = self.rate("load.rate", raw.rate);
                let rate = Rate { messages_per_s, arrivals };
                match mode {
                    "open" => Load::Open(rate),
                    "soak" => Load::Soak(rate),
                    _ => {
                        if raw.backlog_bytes.is_none() {
                            self.wrong("load.backlog_bytes is missing: bytes at which consumers begin".to_owned());
                        }
                        let bytes = self.whole("load.backlog_bytes", raw.backlog_bytes, 1, 1..=(1 << 50));
                        Load::Backlog { rate, bytes }
                    }
                }
            }
        }
    }

    fn rate(&mut self, field: &str, value: Option<f64>) -> f64 {
        if value.is_none() {
            self.wrong(format!("{field} is missing: messages per second"));
        }
        self.number(field, value, 1.0, 0.001..=1e9)
    }

    fn sweep(&mut self, raw: &RawLoad, arrivals: Arrivals) -> Load {
        let rate_min = self.rate("load.rate_min", raw.rate_min);
        let rate_max = self.rate("load.rate_max", raw.rate_max);
        if rate_max < rate_min {
            self.wrong(format!("load.rate_max = {rate_max}: at least rate_min, {rate_min}"));
        }
        let rate_factor = self.number("load.rate_factor", raw.rate_factor, 1.5, 1.01..=10.0);
        let percentile = self.number("load.percentile", raw.percentile, 99.0, 1.0..=99.99);
        let latency_ms = self.number("load.latency_ms", raw.latency_ms, 50.0, 0.01..=600_000.0);
        let latency_max = Duration::from_secs_f64(latency_ms / 1000.0);
        let quantile = crate::outcome::quantile(percentile);
        let sweep = Sweep { rate_min, rate_max, rate_factor, arrivals, quantile, latency_max };
        if self.problems.is_empty() && LOAD_STEPS_MAX < sweep.rates().len() {
            self.wrong(format!(
                "load: {} steps from rate_min to rate_max: at most {LOAD_STEPS_MAX}",
                sweep.rates().len()
            ));
        }
        Load::Sweep(sweep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Workload, WorkloadError> {
        Workload::parse(&format!("name = \"t\"\n{text}"), Path::new("/no/such/folder"))
    }

    #[test]
    fn defaults_are_kafkas() {
        let workload = parse("[load]\nrate = 100").expect("right");
        assert_eq!(workload.producers.batch_bytes, 16_384);
        assert_eq!(workload.producers.linger, Duration::from_millis(5));
        assert_eq!((workload.producers.in_flight, workload.producers.idempotence), (5, true));
        assert_eq!(workload.messages.size_bytes, 1024..=1024);
    }

    #[test]
    fn every_wrong_value_is_refused_with_its_bound() {
        for (text, want) in [
            ("[load]\nrate = 0", "load.rate = 0: 0.001 to"),
            ("[load]\nmode = \"open\"", "load.rate is missing"),
            ("[load]\nmode = \"fast\"", "load.mode = \"fast\": one of open, sweep"),
            ("[load]\nrate = 1\nconcurrency = 4", "load.concurrency: mode \"open\" does not know it"),
            ("[load]\nmode = \"backlog\"\nrate = 1", "load.backlog_bytes is missing"),
            ("[load]\nmode = \"sweep\"\nrate_min = 9\nrate_max = 1", "load.rate_max = 1: at least rate_min, 9"),
            ("[load]\nmode = \"sweep\"\nrate_min = 1\nrate_max = 1e9\nrate_factor = 1.01", "steps from rate_min"),
            ("duration_s = -1\n[load]\nrate = 1", "duration_s = -1: 0.1 to"),
            ("[load]\nrate = 1\n[messages]\nsize_bytes = 3", "messages.size_bytes = 3: 28 (the stamp"),
            ("[load]\nrate = 1\n[messages]\nsize_bytes = 99\nsize_bytes_max = 100", "either size_bytes, or"),
            ("[load]\nrate = 1\n[messages]\nkey_count = 9", "messages.key_count = 9: only with keys"),
            ("[load]\nrate = 1\n[messages]\npayload_file = \"x\"", "messages.payload_file = \"x\": /no/such/folder/x"),
            ("[load]\nrate = 1\n[producers]\nacks = \"2\"", "producers.acks = \"2\": one of all, 1, 0"),
            ("[load]\nrate = 1\n[producers]\nacks = \"1\"\nidempotence = true", "only with acks = \"all\""),
            ("[load]\nrate = 1\n[producers]\nin_flight = 9", "producers.in_flight = 9: 1 to 5 with idempotence"),
            ("[load]\nrate = 1\n[producers]\ncolour = 1", "unknown field `colour`"),
            ("[load]\nrate = 1\n[topics]\ncount = 1000\npartitions = 1000", "at most 200000 in all"),
            ("[load]\nrate = 1\n[topics]\nflush_ms = 5", "topics.flush_ms = 5: only with durability"),
            ("[load]\nmode = \"backlog\"\nrate = 1\nbacklog_bytes = 1\n[consumers]\ngroups = 0", "needs somebody"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(want), "{text}:\n{error}");
        }
        let error = Workload::parse("[load]\nrate = 0\n[topics]\ncount = 0", Path::new(".")).expect_err("three");
        assert_eq!(error.problems.len(), 3, "{error}");
    }

    #[test]
    fn durability_is_kafkas_settings() {
        let workload = parse("[load]\nrate = 1\n[topics]\ndurability = \"durable\"").expect("right");
        assert_eq!(workload.topics.configs["flush.messages"], "1");
        let text =
            "[load]\nrate = 1\n[topics]\ndurability = \"interval\"\nflush_ms = 7\nconfigs = { \"flush.ms\" = \"8\" }";
        assert!(parse(text).expect_err("twice").to_string().contains("\"flush.ms\" = \"8\""));
    }

    #[test]
    fn durability_is_what_settings_make_of_it_whoever_wrote_them() {
        let of = |topics: &str| parse(&format!("[load]\nrate = 1\n[topics]\n{topics}")).map(|w| w.topics.durability);
        assert_eq!(of("configs = { \"flush.messages\" = \"1\", \"flush.ms\" = \"0\" }"), Ok(Durability::Durable));
        assert_eq!(of("configs = { \"flush.ms\" = \"7\" }"), Ok(Durability::Interval(Duration::from_millis(7))));
        // Kafka's default.
        assert_eq!(of("configs = { \"flush.ms\" = \"9223372036854775807\" }"), Ok(Durability::Replicated));
        let contradiction = of("durability = \"replicated\"\nconfigs = { \"flush.messages\" = \"1\" }");
        assert!(contradiction.expect_err("not both").to_string().contains("topics.configs make it durable"));
    }

    #[test]
    fn a_topic_that_is_there_keeps_its_own_settings() {
        let text = "[load]\nrate = 1\n[topics]\nname = \"orders\"\nreplication_factor = 3\ndurability = \"durable\"\n\
                    configs = { \"retention.ms\" = \"5\" }";
        let error = parse(text).expect_err("three").to_string();
        for field in ["replication_factor", "durability", "configs"] {
            assert!(error.contains(&format!("topics.{field}: orders is a topic that is there already")), "{error}");
        }
    }

    #[test]
    fn a_sweep_ends_at_its_last_rate() {
        let text = "[load]\nmode = \"sweep\"\nrate_min = 100\nrate_max = 1000\nrate_factor = 2";
        let Load::Sweep(sweep) = parse(text).expect("right").load else { panic!("a sweep") };
        assert_eq!(sweep.rates(), [100.0, 200.0, 400.0, 800.0, 1000.0]);
    }

    #[test]
    fn what_is_written_reads_back() {
        let raw: RawWorkload = toml::from_str("name = \"t\"\n[load]\nrate = 5.0\n[topics]\ncount = 2").expect("right");
        let text = toml::to_string(&raw).expect("writes");
        assert_eq!(toml::from_str::<RawWorkload>(&text).expect("reads"), raw);
    }
}
