//! The OpenMessaging Benchmark's files as they are: a workload and a Kafka driver, in YAML, made into a workload of ours.
//!
//! What can be honoured is; what would make the run another one is refused with the reason; what makes no difference here, and
//! what nobody knows, is told as a warning. Where the two tools differ in kind:
//!
//! - `producerRate: 0` asks theirs to search for the highest rate; here it is the mode `maximum`, which sends full batches and
//!   measures no latency worth the name. A workload of ours with `load.mode = "sweep"` finds the rate that keeps a latency.
//! - Their latency counts from the sending, ours from the moment at which a message was due.
//! - Their topics stay and `reset` deletes those of others; ours are made for the run and deleted after it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::workload::{
    RawConsumers, RawLoad, RawMessages, RawProducers, RawTopics, RawWorkload, Workload, WorkloadError,
};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
const GIB: f64 = (1_u64 << 30) as f64;

/// Both files, made ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Omb {
    /// As a file of ours.
    pub toml: String,
    /// Proved.
    pub workload: Workload,
    /// The driver's `bootstrap.servers`.
    pub bootstrap: Option<String>,
    /// What is not as the files say, one sentence each.
    pub warnings: Vec<String>,
}

/// Why the files are not run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// One sentence each, all of them.
    pub reasons: Vec<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons.join("\n"))
    }
}

impl std::error::Error for Refused {}

impl From<WorkloadError> for Refused {
    fn from(error: WorkloadError) -> Self {
        Self { reasons: error.problems }
    }
}

fn refused(reason: String) -> Refused {
    Refused { reasons: vec![reason] }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OmbWorkload {
    name: Option<String>,
    topics: Option<u64>,
    partitions_per_topic: Option<u64>,
    key_distributor: Option<String>,
    message_size: Option<u64>,
    use_randomized_payloads: Option<bool>,
    random_bytes_ratio: Option<f64>,
    randomized_payload_pool_size: Option<u64>,
    payload_file: Option<String>,
    subscriptions_per_topic: Option<u64>,
    consumer_per_subscription: Option<u64>,
    producers_per_topic: Option<u64>,
    producer_rate: Option<f64>,
    #[serde(rename = "consumerBacklogSizeGB")]
    consumer_backlog_size_gb: Option<f64>,
    backlog_drain_ratio: Option<f64>,
    warmup_duration_minutes: Option<f64>,
    test_duration_minutes: Option<f64>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OmbDriver {
    driver_class: Option<String>,
    replication_factor: Option<u64>,
    reset: Option<bool>,
    topic_config: Option<String>,
    common_config: Option<String>,
    producer_config: Option<String>,
    consumer_config: Option<String>,
    /// Names the driver in their reports.
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// Reads both files. The payload file is looked for in `folder` (theirs name it from the folder that the benchmark is
/// started in).
///
/// # Errors
/// A file that cannot be read, is not YAML, or asks for what cannot be honoured.
pub fn read(workload: &Path, driver: &Path, folder: &Path) -> Result<Omb, Refused> {
    let text = |path: &Path| {
        let told = |why: String| refused(format!("{}: {why}", path.display()));
        let bytes = std::fs::metadata(path).map_err(|error| told(error.to_string()))?.len();
        if FILE_BYTES_MAX < bytes {
            return Err(told(format!("{bytes} bytes, at most {FILE_BYTES_MAX}")));
        }
        std::fs::read_to_string(path).map_err(|error| told(error.to_string()))
    };
    translate(&text(workload)?, &text(driver)?, folder)
}

/// Translates the two files' texts.
///
/// # Errors
/// As [`read`].
pub fn translate(workload: &str, driver: &str, folder: &Path) -> Result<Omb, Refused> {
    let workload: OmbWorkload = yaml("the workload", workload)?;
    let driver: OmbDriver = yaml("the driver", driver)?;
    let mut told = Told::default();
    told.unknown("the workload", &workload.unknown);
    told.unknown("the driver", &driver.unknown);
    told.driver(&driver);
    let topics = workload.topics.unwrap_or(1);
    let mut raw = RawWorkload {
        name: Some(name(workload.name.as_deref())),
        question: None,
        // Theirs warm up for a minute unless told.
        warmup_s: Some(workload.warmup_duration_minutes.unwrap_or(1.0) * 60.0),
        duration_s: workload.test_duration_minutes.map(|minutes| minutes * 60.0),
        topics: Some(RawTopics {
            count: Some(topics),
            partitions: workload.partitions_per_topic,
            replication_factor: driver.replication_factor,
            configs: told.properties("topicConfig", driver.topic_config.as_deref()),
            ..RawTopics::default()
        }),
        messages: Some(told.messages(&workload)),
        consumers: Some(RawConsumers {
            groups: workload.subscriptions_per_topic,
            // Theirs count for each topic, ours for each group.
            per_group: Some(workload.consumer_per_subscription.unwrap_or(1).saturating_mul(topics)),
            membership: Some("group".to_owned()),
            ..RawConsumers::default()
        }),
        producers: Some(RawProducers {
            count: Some(workload.producers_per_topic.unwrap_or(1).saturating_mul(topics)),
            ..RawProducers::default()
        }),
        load: Some(told.load(&workload)),
        ..RawWorkload::default()
    };
    if workload.test_duration_minutes.is_none() {
        told.refuse("testDurationMinutes is missing: how long the run is to be");
    }
    let bootstrap = told.common(&driver);
    if let (Some(producers), Some(consumers)) = (&mut raw.producers, &mut raw.consumers) {
        told.producers(&driver, producers);
        told.consumers(&driver, consumers);
    }
    if !told.reasons.is_empty() {
        return Err(Refused { reasons: told.reasons });
    }
    let toml = toml::to_string(&raw).map_err(|error| refused(error.to_string()))?;
    let workload = Workload::parse(&toml, folder)?;
    Ok(Omb { toml, workload, bootstrap, warnings: told.warnings })
}

fn yaml<T: DeserializeOwned>(which: &str, text: &str) -> Result<T, Refused> {
    serde_saphyr::from_str(text).map_err(|error| refused(format!("{which}: {error}")))
}

/// Theirs may be sentences; ours name folders.
fn name(name: Option<&str>) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = name.unwrap_or("omb").chars().map(fit).take(64).collect();
    if name.is_empty() { "omb".to_owned() } else { name }
}

/// What is said about the files.
#[derive(Default)]
struct Told {
    warnings: Vec<String>,
    reasons: Vec<String>,
}

impl Told {
    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    fn refuse(&mut self, text: impl Into<String>) {
        self.reasons.push(text.into());
    }

    fn unknown(&mut self, file: &str, fields: &BTreeMap<String, Value>) {
        for field in fields.keys() {
            self.warn(format!("{file}: `{field}` is no field that is known here, and counts for nothing"));
        }
    }

    fn driver(&mut self, driver: &OmbDriver) {
        match &driver.driver_class {
            None => self.warn("the driver names no driverClass; Kafka's protocol is spoken"),
            Some(class) if class.to_ascii_lowercase().contains("kafka") => {}
            Some(class) => self.refuse(format!("driverClass {class}: only Kafka's protocol is spoken here")),
        }
        if driver.reset == Some(true) {
            self.warn("reset: topics of others are left alone; those of this run are deleted after it");
        }
    }

    fn messages(&mut self, workload: &OmbWorkload) -> RawMessages {
        let mut messages = RawMessages { size_bytes: workload.message_size, ..RawMessages::default() };
        if workload.use_randomized_payloads == Some(true) {
            messages.random_ratio = Some(workload.random_bytes_ratio.unwrap_or(1.0));
            if workload.randomized_payload_pool_size.is_some() {
                self.warn("randomizedPayloadPoolSize: there is no pool, every payload is its own");
            }
        } else {
            match &workload.payload_file {
                Some(file) => messages.payload_file = Some(file.clone()),
                None => self.refuse("payloadFile is missing, and useRandomizedPayloads is not set"),
            }
        }
        messages.keys = match workload.key_distributor.as_deref() {
            None | Some("NO_KEY") => None,
            Some("KEY_ROUND_ROBIN") => Some("round_robin".to_owned()),
            Some("RANDOM_NANO") => Some("random".to_owned()),
            Some(other) => {
                self.refuse(format!("keyDistributor {other}: one of NO_KEY, KEY_ROUND_ROBIN, RANDOM_NANO"));
                None
            }
        };
        messages
    }

    fn load(&mut self, workload: &OmbWorkload) -> RawLoad {
        let backlog_bytes = workload.consumer_backlog_size_gb.filter(|gb| 0.0 < *gb).map(|gb| (gb * GIB) as u64);
        let rate = workload.producer_rate.filter(|rate| *rate != 0.0);
        if workload.producer_rate.is_none() {
            self.refuse("producerRate is missing: messages per second, or 0 for as many as possible");
        }
        if workload.backlog_drain_ratio.is_some_and(|ratio| ratio != 1.0) {
            self.warn("backlogDrainRatio: a backlog counts as drained when nothing of it is left");
        }
        let mode = match (rate, backlog_bytes) {
            (Some(_), None) => "open",
            (Some(_), Some(_)) => "backlog",
            (None, None) => {
                self.warn("producerRate 0: driven in mode maximum, not searched for a rate with a latency bound");
                "maximum"
            }
            (None, Some(_)) => {
                self.refuse(
                    "consumerBacklogSizeGB needs a producerRate: how fast the backlog grows while it is drained",
                );
                "maximum"
            }
        };
        RawLoad { mode: Some(mode.to_owned()), rate, backlog_bytes, ..RawLoad::default() }
    }

    /// A block of `name=value` lines, as in Java's properties files.
    fn properties(&mut self, block: &str, text: Option<&str>) -> BTreeMap<String, String> {
        let mut properties = BTreeMap::new();
        for line in text.unwrap_or_default().lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            match line.split_once(['=', ':']) {
                Some((name, value)) => drop(properties.insert(name.trim().to_owned(), value.trim().to_owned())),
                None => self.refuse(format!("{block}: `{line}` is not name=value")),
            }
        }
        properties
    }

    fn common(&mut self, driver: &OmbDriver) -> Option<String> {
        let mut bootstrap = None;
        for (name, value) in self.properties("commonConfig", driver.common_config.as_deref()) {
            match name.as_str() {
                "bootstrap.servers" => bootstrap = Some(value),
                "security.protocol" if value == "PLAINTEXT" => {}
                name if name.starts_with("security.") || name.starts_with("sasl.") || name.starts_with("ssl.") => {
                    self.refuse(format!("commonConfig: {name}: connections are plain; secured ones are not built yet"));
                }
                name => self.warn(format!("commonConfig: {name} counts for nothing here")),
            }
        }
        bootstrap
    }

    fn producers(&mut self, driver: &OmbDriver, producers: &mut RawProducers) {
        for (name, value) in self.properties("producerConfig", driver.producer_config.as_deref()) {
            match name.as_str() {
                // -1 is Kafka's other word for it.
                "acks" => producers.acks = Some(if value == "-1" { "all".to_owned() } else { value }),
                "compression.type" => producers.compression = Some(value),
                "linger.ms" => producers.linger_ms = self.number(&name, &value),
                "batch.size" => producers.batch_bytes = self.number(&name, &value),
                "max.request.size" => producers.request_bytes_max = self.number(&name, &value),
                "max.in.flight.requests.per.connection" => producers.in_flight = self.number(&name, &value),
                "enable.idempotence" => producers.idempotence = self.number(&name, &value),
                "transactional.id" => self.refuse("producerConfig: transactional.id: transactions are not driven here"),
                name => self.warn(format!("producerConfig: {name} counts for nothing here")),
            }
        }
    }

    fn consumers(&mut self, driver: &OmbDriver, consumers: &mut RawConsumers) {
        for (name, value) in self.properties("consumerConfig", driver.consumer_config.as_deref()) {
            match name.as_str() {
                "fetch.max.wait.ms" => consumers.fetch_wait_ms = self.number(&name, &value),
                "fetch.min.bytes" => consumers.fetch_bytes_min = self.number(&name, &value),
                name => self.warn(format!("consumerConfig: {name} counts for nothing here")),
            }
        }
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str, value: &str) -> Option<T> {
        let parsed = value.parse().ok();
        if parsed.is_none() {
            self.refuse(format!("{name} = {value}: not a value that it takes"));
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use client::Acks;

    use super::*;
    use crate::workload::{Keys, Load, Membership, Payload};

    const WORKLOAD: &str = "
name: two topics, paced
topics: 2
partitionsPerTopic: 8
keyDistributor: KEY_ROUND_ROBIN
messageSize: 512
useRandomizedPayloads: true
randomBytesRatio: 0.25
randomizedPayloadPoolSize: 100
subscriptionsPerTopic: 3
consumerPerSubscription: 2
producersPerTopic: 4
producerRate: 20000
consumerBacklogSizeGB: 0
warmupDurationMinutes: 2
testDurationMinutes: 5
";

    const DRIVER: &str = "
name: plain
driverClass: io.openmessaging.benchmark.driver.kafka.KafkaBenchmarkDriver
replicationFactor: 1
reset: true
topicConfig: |
  min.insync.replicas=1
  flush.messages=1
commonConfig: |
  bootstrap.servers=10.0.0.1:9092,10.0.0.2:9092
  default.api.timeout.ms=1200000
producerConfig: |
  acks=all
  linger.ms=1
  batch.size=131072
consumerConfig: |
  auto.offset.reset=earliest
  fetch.min.bytes=1024
";

    fn translated(workload: &str, driver: &str) -> Result<Omb, Refused> {
        translate(workload, driver, Path::new("/no/such/folder"))
    }

    fn without(text: &str, field: &str) -> String {
        text.lines().filter(|line| !line.starts_with(field)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_field_that_can_be_honoured_is() {
        let omb = translated(WORKLOAD, DRIVER).expect("honoured");
        let Workload { topics, messages, producers, consumers, load, .. } = &omb.workload;
        assert_eq!(omb.workload.name, "two-topics--paced");
        assert_eq!((topics.count, topics.partitions, topics.replication_factor), (2, 8, 1));
        assert_eq!(topics.configs["flush.messages"], "1");
        assert_eq!((*messages.size_bytes.start(), messages.keys), (512, Keys::RoundRobin { count: 10_000 }));
        assert_eq!(messages.payload, Payload::Random { ratio: 0.25 });
        assert_eq!((producers.count, producers.batch_bytes, producers.acks), (8, 131_072, Acks::All));
        assert_eq!((consumers.groups, consumers.per_group), (3, 4));
        assert_eq!((consumers.membership, consumers.fetch_bytes_min), (Membership::Group, 1024));
        assert_eq!(load.rate().map(|rate| rate.messages_per_s), Some(20_000.0));
        assert_eq!((omb.workload.warmup.as_secs(), omb.workload.duration.as_secs()), (120, 300));
        assert_eq!(omb.bootstrap.as_deref(), Some("10.0.0.1:9092,10.0.0.2:9092"));
    }

    #[test]
    fn what_counts_for_nothing_is_told() {
        let workload = format!("{WORKLOAD}colour: red\n");
        let told = translated(&workload, DRIVER).expect("honoured").warnings.join("\n");
        for what in ["`colour`", "reset", "randomizedPayloadPoolSize", "default.api.timeout.ms", "auto.offset.reset"] {
            assert!(told.contains(what), "{what} is not in\n{told}");
        }
        assert!(!told.contains("linger.ms") && !told.contains("bootstrap.servers"), "{told}");
    }

    #[test]
    fn a_rate_of_zero_is_the_maximum_and_a_backlog_is_a_backlog() {
        let as_fast = WORKLOAD.replace("producerRate: 20000", "producerRate: 0");
        let omb = translated(&as_fast, DRIVER).expect("honoured");
        assert_eq!(omb.workload.load, Load::Maximum);
        assert!(omb.warnings.iter().any(|warning| warning.contains("producerRate 0")));
        let backlog = WORKLOAD.replace("SizeGB: 0", "SizeGB: 0.5");
        let Load::Backlog { bytes, .. } = translated(&backlog, DRIVER).expect("honoured").workload.load else {
            panic!("a backlog")
        };
        assert_eq!(bytes, 1 << 29);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_with_its_reason() {
        for (workload, driver, says) in [
            (WORKLOAD.to_owned(), DRIVER.replace("kafka.Kafka", "pulsar.Pulsar"), "only Kafka's protocol"),
            (
                WORKLOAD.to_owned(),
                DRIVER.replace("default.api.timeout.ms=1200000", "sasl.mechanism=PLAIN"),
                "sasl.mechanism",
            ),
            (WORKLOAD.to_owned(), DRIVER.replace("linger.ms=1", "transactional.id=t"), "transactions are not driven"),
            (WORKLOAD.to_owned(), DRIVER.replace("linger.ms=1", "linger.ms=soon"), "linger.ms = soon"),
            (WORKLOAD.to_owned(), DRIVER.replace("acks=all", "acks"), "`acks` is not name=value"),
            (WORKLOAD.replace("KEY_ROUND_ROBIN", "BY_MOON"), DRIVER.to_owned(), "keyDistributor BY_MOON"),
            (without(WORKLOAD, "useRandomized"), DRIVER.to_owned(), "payloadFile is missing"),
            (without(WORKLOAD, "producerRate"), DRIVER.to_owned(), "producerRate is missing"),
            (without(WORKLOAD, "testDuration"), DRIVER.to_owned(), "testDurationMinutes is missing"),
            (WORKLOAD.replace("messageSize: 512", "messageSize: 3"), DRIVER.to_owned(), "messages.size_bytes = 3"),
            ("topics: [".to_owned(), DRIVER.to_owned(), "the workload: "),
        ] {
            let error = translated(&workload, &driver).expect_err(says).to_string();
            assert!(error.contains(says), "{says} is not in {error}");
        }
    }

    #[test]
    fn all_reasons_are_told_at_once() {
        let driver = DRIVER.replace("linger.ms=1", "transactional.id=t").replace("kafka.Kafka", "pulsar.Pulsar");
        assert_eq!(translated(WORKLOAD, &driver).expect_err("two").reasons.len(), 2);
    }
}
