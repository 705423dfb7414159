//! The controller: turns requests into metadata records, by Kafka's rules, against the image of everything decided so far.

use std::sync::Arc;

use machine::{Decision, Machine, Ticket};
use types::{BrokerEpoch, DirectoryId, ErrorCode, NodeId, Now, Offset, PartitionIndex, ProducerId, TopicId};

use crate::configs::{self, ConfigChange, ConfigReplacement};
use crate::image::{ApplyFault, LogPosition, MetadataImage};
use crate::mutants::Mutant;
use crate::record::{Broker, ConfigResource, Endpoint, Record};
use crate::topics::{self, AdoptedTopic, NewPartitions, NewTopic, TopicCreated, TopicDeleted, TopicRef};

/// Producer ids handed out at a time (Kafka's block size): what a crash can waste.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// The finalized `metadata.version` of a new cluster: 4.3-IV0.
pub const METADATA_VERSION: i16 = 30;

/// The name of the feature that says which metadata records are understood.
pub const METADATA_VERSION_FEATURE: &str = "metadata.version";

/// A refusal in Kafka's terms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The error code of the reply.
    pub code: ErrorCode,
    /// The reply's message; `None` lets the client say what it says for the code.
    pub message: Option<String>,
}

impl Fault {
    /// A refusal with a message.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()) }
    }

    /// A refusal that the code alone explains.
    #[must_use]
    pub const fn bare(code: ErrorCode) -> Self {
        Self { code, message: None }
    }
}

/// What the controller must know of configs and only the broker's catalogue knows.
pub trait ConfigRules {
    /// May `resource` have exactly the configs `after`, having had `before`?
    ///
    /// # Errors
    /// Kafka's refusal, mostly `INVALID_CONFIG` with the name and the bound.
    fn check(
        &self,
        resource: &ConfigResource,
        before: &crate::Configs,
        after: &crate::Configs,
        image: &MetadataImage,
    ) -> Result<(), Fault>;

    /// May a topic be made with these configs, which [`ConfigRules::check`] allows?
    ///
    /// # Errors
    /// A policy of this cluster's demands more, `POLICY_VIOLATION`.
    fn check_new_topic(&self, topic: &str, configs: &crate::Configs, image: &MetadataImage) -> Result<(), Fault>;

    /// Whether this config is a list, and so can be appended to and subtracted from.
    fn is_list(&self, resource: &ConfigResource, name: &str) -> bool;

    /// The catalogue's default, which APPEND and SUBTRACT start from where nothing is set.
    fn default_value(&self, resource: &ConfigResource, name: &str) -> Option<String>;
}

/// What the controller was configured with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControllerOptions {
    /// `num.partitions`.
    pub partitions_default: i32,
    /// `default.replication.factor`.
    pub replication_factor_default: i16,
    /// Where topic ids begin; from the system's randomness in a node, from the run's seed in the simulator.
    pub seed: [u8; 16],
}

/// A request to the controller.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// A broker came up.
    RegisterBroker(Registration),
    /// A broker is taken out for good.
    UnregisterBroker {
        /// Which.
        node: NodeId,
    },
    /// Make topics.
    CreateTopics {
        /// Each stands or falls alone.
        topics: Vec<NewTopic>,
        /// Check everything, change nothing.
        validate_only: bool,
    },
    /// Remove topics.
    DeleteTopics {
        /// Each stands or falls alone.
        topics: Vec<TopicRef>,
    },
    /// Take in a topic that another cluster had, with its id; `node` has its log.
    AdoptTopic {
        /// The only replica.
        node: NodeId,
        /// What it has.
        topic: AdoptedTopic,
        /// Check everything, change nothing.
        validate_only: bool,
    },
    /// Add partitions to topics.
    CreatePartitions {
        /// Each stands or falls alone.
        topics: Vec<NewPartitions>,
        /// Check everything, change nothing.
        validate_only: bool,
    },
    /// Replace all configs of resources (AlterConfigs).
    ReplaceConfigs {
        /// Each stands or falls alone.
        resources: Vec<ConfigReplacement>,
        /// Check everything, change nothing.
        validate_only: bool,
    },
    /// Change single configs of resources (IncrementalAlterConfigs).
    ChangeConfigs {
        /// Each stands or falls alone.
        resources: Vec<ConfigChange>,
        /// Check everything, change nothing.
        validate_only: bool,
    },
    /// Hand out [`PRODUCER_ID_BLOCK`] producer ids.
    AllocateProducerIds {
        /// To whom.
        node: NodeId,
    },
    /// Give partitions that `node` leads a new leader epoch, so that it may append again after a failed append.
    BumpLeaderEpochs {
        /// The leader.
        node: NodeId,
        /// Which partitions; those it does not lead are left alone.
        partitions: Vec<(TopicId, PartitionIndex)>,
    },
    /// A log directory of `node` failed: the node leads nothing there any longer, and gets no new replicas there. Its
    /// next registration says which directories it has then.
    LoseLogDir {
        /// The broker.
        node: NodeId,
        /// The directory.
        directory: DirectoryId,
    },
}

/// What a broker says of itself when it comes up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Its `node.id`.
    pub node: NodeId,
    /// Made up at its start.
    pub incarnation: [u8; 16],
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<Arc<str>>,
    /// The features it speaks, each with its lowest and highest level.
    pub features: Vec<(Arc<str>, i16, i16)>,
    /// Its usable log directories.
    pub log_dirs: Vec<DirectoryId>,
}

/// The answer to a [`Command`], in its order; it may leave once the records are committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// To `RegisterBroker`.
    Registered {
        /// The incarnation it got.
        epoch: BrokerEpoch,
    },
    /// To commands that either happen or do not.
    Done(Result<(), Fault>),
    /// To `CreateTopics`.
    TopicsCreated(Vec<(Arc<str>, Result<TopicCreated, Fault>)>),
    /// To `DeleteTopics`.
    TopicsDeleted(Vec<TopicDeleted>),
    /// To `CreatePartitions`.
    PartitionsCreated(Vec<(Arc<str>, Result<(), Fault>)>),
    /// To `ReplaceConfigs` and `ChangeConfigs`.
    ConfigsChanged(Vec<(ConfigResource, Result<(), Fault>)>),
    /// To `AllocateProducerIds`: the first id of the block.
    ProducerIds(Result<ProducerId, Fault>),
}

/// What a command comes to: records to commit, and the answer that waits for them.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// To be appended together; none when nothing changes.
    pub records: Vec<Record>,
    /// May leave once the records are committed.
    pub reply: Reply,
}

/// Lives on: the control thread, in a [`machine::Host`]. `image` holds everything decided, committed or not: a decision
/// builds on those before it. After a failed append a new controller starts from the committed image.
#[derive(Debug)]
pub struct Controller<R> {
    image: MetadataImage,
    fault: Option<ApplyFault>,
    rules: R,
    options: ControllerOptions,
    ids: IdSource,
}

impl<R: ConfigRules> Controller<R> {
    /// A controller on top of what is committed.
    #[must_use]
    pub fn new(image: MetadataImage, rules: R, options: ControllerOptions) -> Self {
        Self { image, fault: None, rules, options, ids: IdSource::new(options.seed) }
    }

    /// Everything decided so far, with records that may still fail to commit.
    #[must_use]
    pub const fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// The catalogue in use.
    pub const fn rules(&self) -> &R {
        &self.rules
    }

    /// Turns a command into records and an answer, without taking the records in.
    pub fn plan(&mut self, command: Command) -> Plan {
        let Self { image, rules, options, ids, .. } = self;
        let (mut records, reply, validate_only) = match command {
            Command::RegisterBroker(registration) => {
                let (records, reply) = register_broker(image, registration);
                (records, reply, false)
            }
            Command::UnregisterBroker { node } => {
                let (records, result) = unregister_broker(image, node);
                (records, Reply::Done(result), false)
            }
            Command::CreateTopics { topics, validate_only } => {
                let (records, results) = topics::create(image, rules, options, ids, topics);
                (records, Reply::TopicsCreated(results), validate_only)
            }
            Command::DeleteTopics { topics } => {
                let (records, results) = topics::delete(image, topics);
                (records, Reply::TopicsDeleted(results), false)
            }
            Command::AdoptTopic { node, topic, validate_only } => match topics::adopt(image, rules, node, &topic) {
                Ok(records) => (records, Reply::Done(Ok(())), validate_only),
                Err(fault) => (Vec::new(), Reply::Done(Err(fault)), validate_only),
            },
            Command::CreatePartitions { topics, validate_only } => {
                let (records, results) = topics::add_partitions(image, topics);
                (records, Reply::PartitionsCreated(results), validate_only)
            }
            Command::ReplaceConfigs { resources, validate_only } => {
                let (records, results) = configs::replace(image, rules, resources);
                (records, Reply::ConfigsChanged(results), validate_only)
            }
            Command::ChangeConfigs { resources, validate_only } => {
                let (records, results) = configs::change(image, rules, resources);
                (records, Reply::ConfigsChanged(results), validate_only)
            }
            Command::AllocateProducerIds { node } => {
                let (records, result) = allocate_producer_ids(image, node);
                (records, Reply::ProducerIds(result), false)
            }
            Command::BumpLeaderEpochs { node, partitions } => {
                (bump_leader_epochs(image, node, &partitions), Reply::Done(Ok(())), false)
            }
            Command::LoseLogDir { node, directory } => {
                (lose_log_dir(image, node, directory), Reply::Done(Ok(())), false)
            }
        };
        if validate_only {
            records.clear();
        }
        Plan { records, reply }
    }

    /// What did not fit when records were replayed, if anything: the controller must then not be used.
    #[must_use]
    pub const fn fault(&self) -> Option<&ApplyFault> {
        self.fault.as_ref()
    }

    fn apply(&mut self, records: &[Record]) -> Result<(), ApplyFault> {
        let position = self.image.position();
        let end = position.end.plus(records.len() as i64);
        self.image = self.image.apply(records, LogPosition { end, ..position })?.0;
        Ok(())
    }
}

impl<R: ConfigRules> Machine for Controller<R> {
    type Command = Command;
    type Record = Record;
    type Reply = Reply;

    fn decide(&mut self, _now: Now, ticket: Ticket, command: Command, out: &mut Decision<Record, Reply>) {
        let plan = self.plan(command);
        let applied = self.apply(&plan.records);
        assert_eq!(applied, Ok(()), "the controller decided what it cannot take in");
        out.records.extend(plan.records);
        out.reply(ticket, plan.reply);
    }

    fn on_tick(&mut self, _now: Now, _out: &mut Decision<Record, Reply>) {}

    fn next_deadline_ns(&self) -> Option<u64> {
        None
    }

    fn replay(&mut self, _offset: Offset, record: Record) {
        if let Err(fault) = self.apply(&[record]) {
            self.fault.get_or_insert(fault);
        }
    }

    fn on_loaded(&mut self, _now: Now, _out: &mut Decision<Record, Reply>) {}

    fn take_waiting(&mut self, _out: &mut Vec<Ticket>) {}
}

/// Registers a broker, finalizes the first features of a new cluster, and gives every partition the broker leads a new
/// leader epoch: whatever it had appended unseen in the old one can then never be mistaken for what it appends now.
fn register_broker(image: &MetadataImage, registration: Registration) -> (Vec<Record>, Reply) {
    let Registration { node, incarnation, endpoints, rack, features, log_dirs } = registration;
    let epoch_before = image.broker(node).map_or(-1, |broker| broker.epoch.value());
    let epoch = BrokerEpoch::new(image.position().end.value().max(epoch_before.saturating_add(1)));
    let mut records = Vec::new();
    if image.features().is_empty() {
        records.push(Record::FeatureLevel { name: METADATA_VERSION_FEATURE.into(), level: METADATA_VERSION });
    }
    records.push(Record::RegisterBroker(Broker {
        node,
        epoch,
        incarnation,
        endpoints,
        features,
        rack,
        fenced: false,
        in_controlled_shutdown: false,
        log_dirs: log_dirs.clone(),
    }));
    for topic in image.topics() {
        for partition in &topic.partitions {
            let Some(at) = partition.replicas.iter().position(|&replica| replica == node) else { continue };
            // A replica whose directory is no longer there has no log: its partition waits for the directory.
            let directory = partition.directories.get(at).copied().unwrap_or_default();
            let has_directory = directory == DirectoryId::UNASSIGNED || log_dirs.contains(&directory);
            let leads = partition.leader == Some(node);
            let may_lead = has_directory && partition.isr.contains(&node);
            let leader = match (leads, may_lead) {
                (true, false) => None,
                (true, true) => Some(node),
                (false, true) if partition.leader.is_none() => Some(node),
                (false, _) => continue,
            };
            records.push(change_leader(topic.id, partition.index, leader));
        }
    }
    (records, Reply::Registered { epoch })
}

/// Takes a broker out. It keeps its place in replica lists, as in Kafka, but leads nothing any longer.
fn unregister_broker(image: &MetadataImage, node: NodeId) -> (Vec<Record>, Result<(), Fault>) {
    let Some(broker) = image.broker(node) else {
        let fault =
            Fault::new(ErrorCode::BrokerIdNotRegistered, format!("Broker ID {node} is not currently registered"));
        return (Vec::new(), Err(fault));
    };
    let mut records = Vec::new();
    for topic in image.topics() {
        for partition in topic.partitions.iter().filter(|partition| partition.leader == Some(node)) {
            let successor =
                partition.isr.iter().copied().find(|&replica| {
                    replica != node && image.broker(replica).is_some_and(|candidate| !candidate.fenced)
                });
            records.push(change_leader(topic.id, partition.index, successor));
        }
    }
    records.push(Record::UnregisterBroker { node, epoch: broker.epoch });
    (records, Ok(()))
}

fn allocate_producer_ids(image: &MetadataImage, node: NodeId) -> (Vec<Record>, Result<ProducerId, Fault>) {
    let Some(broker) = image.broker(node) else {
        return (Vec::new(), Err(Fault::bare(ErrorCode::StaleBrokerEpoch)));
    };
    let first = image.producer_id_next();
    let Some(next) = first.value().checked_add(PRODUCER_ID_BLOCK) else {
        let message = "Exhausted all producerIds as the next block's end producerId has exceeded the int64 type limit";
        return (Vec::new(), Err(Fault::new(ErrorCode::UnknownServerError, message)));
    };
    let next = if Mutant::ProducerIdsNotTaken.is_armed() { first } else { ProducerId::new(next) };
    let record = Record::ProducerIds { node, broker_epoch: Some(broker.epoch), next };
    (vec![record], Ok(first))
}

fn bump_leader_epochs(image: &MetadataImage, node: NodeId, partitions: &[(TopicId, PartitionIndex)]) -> Vec<Record> {
    let led = partitions.iter().filter(|(topic, index)| {
        let partition = image.topic_by_id(*topic).and_then(|topic| topic.partition(*index));
        partition.is_some_and(|partition| partition.leader == Some(node))
    });
    led.map(|(topic, index)| change_leader(*topic, *index, Some(node))).collect()
}

fn lose_log_dir(image: &MetadataImage, node: NodeId, directory: DirectoryId) -> Vec<Record> {
    let Some(broker) = image.broker(node) else { return Vec::new() };
    let mut records = Vec::new();
    let left: Vec<DirectoryId> = broker.log_dirs.iter().copied().filter(|dir| *dir != directory).collect();
    // Kafka's record has no way to say "none left"; then only the leaderships go.
    if !left.is_empty() && left.len() < broker.log_dirs.len() {
        records.push(Record::BrokerRegistrationChange {
            node,
            epoch: broker.epoch,
            fenced: None,
            in_controlled_shutdown: false,
            log_dirs: Some(left),
        });
    }
    for topic in image.topics() {
        for partition in topic.partitions.iter().filter(|partition| partition.leader == Some(node)) {
            let at = partition.replicas.iter().position(|&replica| replica == node);
            if at.and_then(|at| partition.directories.get(at)) == Some(&directory) {
                records.push(change_leader(topic.id, partition.index, None));
            }
        }
    }
    records
}

const fn change_leader(topic: TopicId, index: PartitionIndex, leader: Option<NodeId>) -> Record {
    Record::PartitionChange {
        topic,
        index,
        isr: None,
        leader: Some(leader),
        replicas: None,
        directories: None,
        removing: None,
        adding: None,
    }
}

/// Makes topic ids: a PCG of 128 bits of state, seeded once. Not secret, only unlikely ever to repeat.
#[derive(Clone, Debug)]
pub(crate) struct IdSource {
    state: u128,
}

impl IdSource {
    const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;
    const INCREMENT: u128 = 0x5851_f42d_4c95_7f2d_1405_7b7e_f767_814f;

    pub(crate) const fn new(seed: [u8; 16]) -> Self {
        Self { state: u128::from_be_bytes(seed) }
    }

    fn next_half(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(Self::MULTIPLIER).wrapping_add(Self::INCREMENT);
        let folded = ((self.state >> 64) as u64) ^ (self.state as u64);
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// An id that no topic has, and that no command line takes for an option: Kafka's never begin with a dash.
    pub(crate) fn topic_id(&mut self, image: &MetadataImage) -> TopicId {
        loop {
            let mut random = [0; 16];
            random[..8].copy_from_slice(&self.next_half().to_be_bytes());
            random[8..].copy_from_slice(&self.next_half().to_be_bytes());
            let id = TopicId::from_random(random);
            if image.topic_by_id(id).is_none() && !id.to_string().starts_with('-') {
                return id;
            }
        }
    }
}
