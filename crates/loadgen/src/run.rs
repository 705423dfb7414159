//! A run: looks before it leaps, makes topics, drives one stretch (a sweep: one for each rate), cleans up.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use client::{Admin, Client, ClientConfig, ClientError, NewTopic, ResourceKind};
use tokio::time::{Instant, sleep};
use types::limits::LOAD_PARTITIONS_PER_REQUEST_MAX;
use types::{ErrorCode, PartitionIndex, ProducerEpoch, ProducerId, TopicId};
use wire::ApiKey;
use wire::init_producer_id_request::InitProducerIdRequest;

use crate::ceiling;
use crate::clock::now_ns;
use crate::follow::{Ground, stretch};
use crate::options::RunOptions;
use crate::outcome::{
    ClusterSeen, Finding, Outcome, Quantiles, RETENTION_MAX, Severity, Step, TopicsSeen, Window, messages_failed,
};
use crate::preflight::{self, Facts};
use crate::shared::{Leaders, Topic};
use crate::soak;
use crate::verdict::Row;
use crate::workload::{Durability, Load, Rate, Sweep, Topics, Workload};

/// How long new topics may take to have leaders.
const TOPICS_READY: Duration = Duration::from_secs(60);
/// How long a preflight waits for a node.
const REACH: Duration = Duration::from_secs(4);
/// Rates tried between the last that held and the first that did not.
const BISECTIONS: usize = 3;
/// A rate counts as achieved from this share of it on.
const ACHIEVED_SHARE: f64 = 0.98;

/// What is told while a run goes on, once a second.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The second that is over.
    pub window: &'a Window,
    /// How long the stretch takes, warm-up included.
    pub total: Duration,
    /// What is going on: `warming up`, `measuring`, `draining`, `building a backlog`, `catching up`.
    pub phase: &'static str,
    /// Of a sweep: the number of the stretch, from 1, and its rate.
    pub step: Option<(usize, f64)>,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A node refused, or did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The preflight refused.
    #[error("{}", refusals(.0))]
    Refused(Vec<Finding>),
    /// Something was not ready in time.
    #[error("{0}")]
    Unready(String),
    /// The topic that the workload names is not there.
    #[error(
        "there is no topic {0}. Make it (ringlog topic create), or leave topics.name out to have topics made for the run"
    )]
    Missing(String),
    /// It was told to stop before the load began.
    #[error("stopped before the load began")]
    Stopped,
    /// This machine failed.
    #[error("the load generator failed: {0}")]
    Io(#[from] io::Error),
}

fn refusals(findings: &[Finding]) -> String {
    let refused = findings.iter().filter(|finding| finding.severity == Severity::Refusal);
    let lines: Vec<String> = refused.map(|finding| format!("  {}: {}", finding.check, finding.found)).collect();
    format!("the preflight refuses this run (--force runs it all the same):\n{}", lines.join("\n"))
}

impl RunError {
    /// What a person can do about it.
    #[must_use]
    pub fn next_step(&self) -> Option<&'static str> {
        match self {
            Self::Client(error) => error.next_step(),
            Self::Unready(_) => Some("Look at the brokers' logs; the topics of the run are left as they are."),
            Self::Refused(_) | Self::Missing(_) | Self::Stopped | Self::Io(_) => None,
        }
    }

    /// Whether no node could be reached.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Client(ClientError::Connect { .. } | ClientError::Timeout { .. } | ClientError::Disconnected { .. })
        )
    }
}

/// Runs a workload and says what came out. Blocks; `progress` is called on this thread.
///
/// # Errors
/// No node can be reached, the preflight refuses, topics cannot be made or have no leaders. What goes wrong once the
/// load has begun is part of the outcome.
pub fn run(
    workload: &Workload,
    options: &RunOptions,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<Outcome, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut outcome = runtime.block_on(run_on_ground(workload, options, progress))?;
    drop(runtime);
    if outcome.partial.is_none() && !options.stop.load(Ordering::Relaxed) {
        outcome.generator.ceiling = Some(ceiling::measure(workload, options));
    }
    Ok(outcome)
}

async fn run_on_ground(
    workload: &Workload,
    options: &RunOptions,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<Outcome, RunError> {
    let started_at = SystemTime::now();
    let mut config = ClientConfig::new(&options.bootstrap);
    config.connection.connect_timeout = REACH;
    let client = Client::connect(config).await?;
    let admin = Admin::new(client.clone());
    let cluster = client.cluster().await?;
    let findings = look(workload, options, &admin, &cluster).await?;
    // One process may run several workloads in one second: the clock's nanoseconds tell their runs apart.
    let run = (now_ns() as u32).rotate_left(8) ^ std::process::id();
    let names = topic_names(workload, run);
    let mut seen = TopicsSeen::default();
    let mut as_described = workload.clone();
    let outcome = async {
        if workload.topics.existing.is_none() {
            make_topics(workload, &names, options, &admin).await?;
        }
        let (topics, leaders) = find_topics(workload, &names, options, &client).await?;
        if let Some(name) = &workload.topics.existing {
            describe_existing(name, &mut as_described.topics, &client, &admin).await?;
        }
        seen.count = topics.len() as u32;
        seen.partitions_min = topics.iter().map(|topic| topic.partitions).min().unwrap_or(0);
        if workload.targets.rows.iter().any(|target| target.row == Row::RetentionS) {
            seen.retention = retention(&admin, &names).await;
        }
        let connection = client.any().await?;
        let mut produce_version = connection.version(ApiKey::Produce)?;
        if topics.iter().any(|topic| topic.id == TopicId::ZERO) {
            // Newer versions name topics by id.
            produce_version = produce_version.min(12);
        }
        let (client, admin) = (client.clone(), admin.clone());
        let ground = Ground { client, admin, options, topics, leaders, produce_version };
        match workload.load {
            Load::Sweep(sweep) => climb(&ground, workload, &sweep, run, progress).await,
            Load::Soak(_) => {
                let before = soak::Before::look(&ground).await?;
                let mut outcome = stretch(&ground, workload, run, None, progress).await?;
                // A cluster that does not tell has proven nothing, and the outcome is worth more than that.
                let seen = before.until_now(&ground, &cluster, workload).await;
                outcome.soak = Some(seen.unwrap_or_default());
                Ok(outcome)
            }
            _ => stretch(&ground, workload, run, None, progress).await,
        }
    }
    .await;
    let stored_bytes = stored_bytes(&admin, &cluster, &names).await;
    if workload.topics.existing.is_none() && !options.keep_topics {
        for name in &names {
            // What is left over is named after the run; the outcome is worth more than its removal.
            let _ = admin.delete_topic(name).await;
        }
    }
    let mut outcome = outcome?;
    outcome.workload = as_described;
    outcome.topics = seen;
    outcome.started_at = started_at;
    outcome.findings = findings;
    outcome.stored_bytes = stored_bytes;
    let nodes = cluster.nodes.iter().map(|node| node.address.clone()).collect();
    outcome.cluster = ClusterSeen { id: cluster.id, nodes };
    Ok(outcome)
}

async fn look(
    workload: &Workload,
    options: &RunOptions,
    admin: &Admin,
    cluster: &client::Cluster,
) -> Result<Vec<Finding>, RunError> {
    let mut facts = Facts::of_machine(&options.cpus, &options.brokers);
    facts.nodes = cluster.nodes.len();
    // Where the brokers' processes are known, their directories are this machine's.
    let file_system = |path: &str| match options.brokers.is_empty() {
        true => None,
        false => std::fs::metadata(path).ok().map(|metadata| metadata.dev()),
    };
    let mut dirs = Vec::new();
    for node in &cluster.nodes {
        // A broker that does not describe its directories leaves the room unknown.
        let Ok(described) = admin.log_dirs(node.id).await else { continue };
        let told = described.iter().filter_map(|dir| Some((file_system(&dir.path), dir.usable_bytes?)));
        dirs.extend(told);
    }
    facts.free_bytes = preflight::free_bytes(&dirs);
    let findings = preflight::judge(workload, &facts);
    if findings.iter().any(|finding| finding.severity == Severity::Refusal) && !options.force {
        return Err(RunError::Refused(findings));
    }
    Ok(findings)
}

/// The topic that the workload names, else those that are made for this run.
fn topic_names(workload: &Workload, run: u32) -> Vec<String> {
    let made = |number| format!("{}-{run:08x}-{number}", workload.name);
    workload.topics.existing.clone().map_or_else(|| (0..workload.topics.count).map(made).collect(), |name| vec![name])
}

fn go_on(options: &RunOptions) -> Result<(), RunError> {
    if options.stop.load(Ordering::Relaxed) { Err(RunError::Stopped) } else { Ok(()) }
}

async fn make_topics(
    workload: &Workload,
    names: &[String],
    options: &RunOptions,
    admin: &Admin,
) -> Result<(), RunError> {
    let wanted = &workload.topics;
    for name in names {
        go_on(options)?;
        let first = wanted.partitions.min(LOAD_PARTITIONS_PER_REQUEST_MAX);
        let topic = NewTopic {
            name: name.clone(),
            partitions: Some(first as i32),
            replication_factor: Some(wanted.replication_factor as i16),
            assignment: BTreeMap::new(),
            configs: wanted.configs.clone(),
        };
        admin.create_topic(&topic, false).await?;
        let mut made = first;
        while made < wanted.partitions {
            made = wanted.partitions.min(made + LOAD_PARTITIONS_PER_REQUEST_MAX);
            admin.create_partitions(name, made as i32, false).await?;
        }
    }
    Ok(())
}

/// Waits until every partition has a leader.
async fn find_topics(
    workload: &Workload,
    names: &[String],
    options: &RunOptions,
    client: &Client,
) -> Result<(Vec<Topic>, Leaders), RunError> {
    let began = Instant::now();
    let mut topics = Vec::new();
    let mut first = 0;
    for name in names {
        loop {
            match client.topic_now(name, false).await {
                Ok(found) if found.partitions.len() as u32 == workload.topics.partitions => {
                    let id = found.id.unwrap_or(TopicId::ZERO);
                    let partitions = workload.topics.partitions;
                    topics.push(Topic { name: Arc::clone(&found.name), id, first, partitions });
                    first += partitions;
                    break;
                }
                Ok(found) if workload.topics.existing.is_some() => {
                    let (has, wants) = (found.partitions.len(), workload.topics.partitions);
                    return Err(RunError::Unready(format!(
                        "topic {name} has {has} partitions, the workload says {wants}"
                    )));
                }
                Ok(_) => {}
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                    if workload.topics.existing.is_some() {
                        return Err(RunError::Missing(name.clone()));
                    }
                }
                Err(error) if error.is_retriable() => {}
                Err(error) => return Err(error.into()),
            }
            go_on(options)?;
            if TOPICS_READY < began.elapsed() {
                let what = format!("topic {name} is not there {} s after it was made", TOPICS_READY.as_secs());
                return Err(RunError::Unready(what));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    loop {
        go_on(options)?;
        let leaders = leaders_of(client, &topics, Vec::new()).await?;
        let without = leaders.of.iter().filter(|leader| leader.is_none()).count();
        if without == 0 {
            return Ok((topics, leaders));
        }
        if TOPICS_READY < began.elapsed() {
            return Err(RunError::Unready(format!("{without} partitions have no leader")));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A topic that was there has copies and a durability of its own, whatever a workload's defaults are.
async fn describe_existing(name: &str, topics: &mut Topics, client: &Client, admin: &Admin) -> Result<(), RunError> {
    let found = client.topic_now(name, false).await?;
    if let Some(copies) = found.partitions.iter().map(|partition| partition.replicas.len()).min() {
        topics.replication_factor = copies as u16;
    }
    let keys = ["flush.messages", "flush.ms"];
    // Of brokers that do not tell, the workload's default stands.
    let described = admin.describe_configs_of(ResourceKind::Topic, &[name.to_owned()], Some(&keys)).await;
    if let Some(entries) = described.ok().as_ref().and_then(|described| described.get(name)) {
        let value_of = |key: &str| entries.iter().find(|entry| entry.name == key)?.value.as_deref();
        topics.durability = Durability::of_configs(value_of);
    }
    Ok(())
}

/// Who leads what. Nodes keep the places they have in `nodes`; new ones are appended.
pub(crate) async fn leaders_of(
    client: &Client,
    topics: &[Topic],
    mut nodes: Vec<String>,
) -> Result<Leaders, ClientError> {
    let mut of = Vec::new();
    for topic in topics {
        let found = client.topic_now(&topic.name, false).await?;
        let cluster: BTreeMap<_, _> = client.nodes().into_iter().map(|node| (node.id, node.address)).collect();
        for number in 0..topic.partitions as i32 {
            let partition = found.partitions.iter().find(|partition| partition.index == PartitionIndex::new(number));
            let address = partition.and_then(|partition| cluster.get(&partition.leader?));
            of.push(address.map(|address| {
                let place = nodes.iter().position(|node| node == address).unwrap_or_else(|| {
                    nodes.push(address.clone());
                    nodes.len() - 1
                });
                place as u16
            }));
        }
    }
    Ok(Leaders { nodes, of })
}

/// A producer id for each producer.
pub(crate) async fn identify(client: &Client, producers: u32) -> Result<Vec<(ProducerId, ProducerEpoch)>, RunError> {
    let mut identities = Vec::new();
    for _ in 0..producers {
        let request =
            InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 60_000, ..Default::default() };
        let response = client
            .retry(|| async {
                let response = client.any().await?.call(&request).await?;
                ClientError::check(response.error_code, None, || "get a producer id".to_owned())?;
                Ok(response)
            })
            .await?;
        let epoch = ProducerEpoch::from_wire(response.producer_epoch);
        let identity = ProducerId::from_wire(response.producer_id).zip(epoch);
        identities.push(identity.ok_or_else(|| RunError::Unready("a broker gave a negative producer id".to_owned()))?);
    }
    Ok(identities)
}

/// How long the topics keep their records: the shortest of them. `None` when the brokers do not tell.
async fn retention(admin: &Admin, names: &[String]) -> Option<Duration> {
    const NAME: &str = "retention.ms";
    let described = admin.describe_configs_of(ResourceKind::Topic, names, Some(&[NAME])).await.ok()?;
    let of = |name: &String| -> Option<Duration> {
        let entry = described.get(name)?.iter().find(|entry| entry.name == NAME)?;
        let ms: i64 = entry.value.as_ref()?.parse().ok()?;
        Some(u64::try_from(ms).map_or(RETENTION_MAX, Duration::from_millis))
    };
    names.iter().map(of).collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// Bytes of the topics in all log directories; `None` when a node does not tell.
async fn stored_bytes(admin: &Admin, cluster: &client::Cluster, names: &[String]) -> Option<u64> {
    let mut bytes = 0;
    for node in &cluster.nodes {
        for dir in admin.log_dirs(node.id).await.ok()? {
            let ours = dir.logs.iter().filter(|log| names.iter().any(|name| *name == *log.partition.topic));
            bytes += ours.map(|log| log.bytes).sum::<u64>();
        }
    }
    Some(bytes)
}

/// Climbs the rates of a sweep until one does not hold twice, then looks between it and the last that held.
async fn climb(
    ground: &Ground<'_>,
    workload: &Workload,
    sweep: &Sweep,
    run: u32,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<Outcome, RunError> {
    let mut steps = Vec::new();
    let mut best: Option<(f64, Outcome)> = None;
    let mut first: Option<Outcome> = None;
    let mut broken = None;
    let mut rates: std::collections::VecDeque<f64> = sweep.rates().into();
    let mut bisections = 0;
    let mut again = false;
    while let Some(rate) = rates.pop_front() {
        let mut one = workload.clone();
        one.load = Load::Open(Rate { messages_per_s: rate, arrivals: sweep.arrivals });
        let number = steps.len() + 1;
        let outcome = stretch(ground, &one, run.wrapping_add(number as u32), Some((number, rate)), progress).await?;
        let step = step_of(sweep, rate, &outcome);
        let (held, stopped) = (step.held, outcome.partial.clone());
        let sound = outcome.check.passed();
        steps.push(step);
        if held {
            best = Some((rate, outcome));
        } else if first.is_none() || !sound {
            first = Some(outcome);
        }
        if stopped.is_some() || !sound {
            broken = stopped;
            break;
        }
        if !held && !again && bisections == 0 {
            // Once may be the machine's fault.
            again = true;
            rates.push_front(rate);
            continue;
        }
        again = false;
        if !held || 0 < bisections {
            let low = steps.iter().filter(|step| step.held).map(|step| step.rate).fold(0.0, f64::max);
            let high = steps
                .iter()
                .filter(|step| !step.held && low < step.rate)
                .map(|step| step.rate)
                .fold(f64::MAX, f64::min);
            rates.clear();
            if 0.0 < low && high < f64::MAX && bisections < BISECTIONS {
                bisections += 1;
                rates.push_back((low * high).sqrt());
            }
        }
    }
    let knee = best.as_ref().map(|(rate, _)| *rate).filter(|_| broken.is_none());
    let unsound = first.as_ref().filter(|outcome| !outcome.check.passed()).is_some();
    // What failed its self-check must not hide behind a step that did not.
    let chosen = if unsound { first } else { best.map(|(_, outcome)| outcome).or(first) };
    let mut outcome = chosen.ok_or_else(|| RunError::Unready("the sweep has no rate".to_owned()))?;
    outcome.steps = steps;
    outcome.knee_rate = knee;
    outcome.partial = broken.or(outcome.partial);
    Ok(outcome)
}

fn step_of(sweep: &Sweep, rate: f64, outcome: &Outcome) -> Step {
    let latency_us = outcome.produce.value_at_quantile(sweep.quantile);
    let achieved = outcome.messages_per_s();
    let latency_us_max = sweep.latency_max.as_micros() as u64;
    let kept_up = ACHIEVED_SHARE * rate <= achieved && messages_failed(&outcome.errors) == 0 && outcome.check.passed();
    let held = kept_up && latency_us <= latency_us_max;
    let generator = &outcome.generator;
    let late_us = outcome.slip.value_at_quantile(sweep.quantile);
    let only_late = kept_up && latency_us.saturating_sub(late_us) <= latency_us_max;
    let broker_cpu = outcome.brokers.iter().map(|broker| broker.cpu.as_secs_f64()).reduce(|sum, cpu| sum + cpu);
    Step {
        rate,
        achieved,
        produce: Quantiles::of(&outcome.produce),
        latency_us,
        held,
        generator_bound: generator.bound.clone(),
        is_inconclusive: !held && (generator.is_thread_busy() || generator.is_busy() || only_late),
        broker_cores: broker_cpu.map(|cpu| cpu / outcome.measured.as_secs_f64().max(f64::MIN_POSITIVE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{BrokerUse, Count, Generator, latencies};
    use crate::report::sample;
    use crate::workload::Arrivals;

    #[test]
    fn a_rate_that_does_not_hold_is_the_brokers_unless_the_generator_may_be_why() {
        let sweep = |latency_ms| Sweep {
            rate_min: 1.0,
            rate_max: 10_000.0,
            rate_factor: 2.0,
            latency_max: Duration::from_millis(latency_ms),
            quantile: 0.99,
            arrivals: Arrivals::Uniform,
        };
        let sample = sample::outcome(1);
        let p99_ms = sample.produce.value_at_quantile(0.99) / 1000;
        let held = step_of(&sweep(p99_ms + 1), 10_000.0, &sample);
        assert!(held.held && !held.is_inconclusive, "{held:?}");
        assert_eq!(held.broker_cores, Some(0.05), "500 ms of CPU in 10 s");
        let busy = |busiest_thread, busy| Generator { busiest_thread, busy, ..Generator::default() };
        let late = |us: u64| {
            let mut slip = latencies();
            slip.record(us).expect("recorded");
            slip
        };
        let behind = Count { messages: 50_000, bytes: 1 };
        for (latency_ms, outcome, is_inconclusive) in [
            (1, Outcome { generator: busy(0.7, 0.7), ..sample.clone() }, false),
            (1, Outcome { generator: busy(0.9, 0.5), ..sample.clone() }, true),
            (1, Outcome { generator: busy(0.5, 0.9), ..sample.clone() }, true),
            // Late by a little, which leaves the broker late enough; by all that is too much; and by that while it fell behind.
            (1, Outcome { slip: late(100), ..sample.clone() }, false),
            (1, Outcome { slip: late(p99_ms * 1000), ..sample.clone() }, true),
            (1, Outcome { slip: late(p99_ms * 1000), acked: behind, ..sample.clone() }, false),
            (p99_ms + 1, Outcome { acked: behind, brokers: Vec::<BrokerUse>::new(), ..sample.clone() }, false),
        ] {
            let step = step_of(&sweep(latency_ms), 10_000.0, &outcome);
            let (generator, late_us) = (&outcome.generator, outcome.slip.max());
            assert!(!step.held && step.is_inconclusive == is_inconclusive, "{generator:?}, {late_us}: {step:?}");
            assert_eq!(step.broker_cores.is_none(), outcome.brokers.is_empty());
        }
    }
}
