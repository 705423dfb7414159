//! Creating, deleting, widening and adopting topics: Kafka's checks in Kafka's order, as functions from an image to records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use types::limits::METADATA_RECORDS_PER_REQUEST_MAX;
use types::{DirectoryId, ErrorCode, LeaderEpoch, NodeId, PartitionIndex, ProducerId, TopicId};

use crate::Configs;
use crate::controller::{ConfigRules, ControllerOptions, Fault, IdSource};
use crate::image::{CLUSTER_METADATA_TOPIC, MetadataImage};
use crate::record::{ConfigResource, Partition, Record};
use crate::topic_name;

/// A topic to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewTopic {
    /// Its name, unchecked.
    pub name: Arc<str>,
    /// How it is spread.
    pub layout: Layout,
    /// Its configs; `None` values are refused as Kafka refuses them.
    pub configs: Vec<(Arc<str>, Option<Arc<str>>)>,
}

/// How a new topic is spread over the brokers, as the request says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// How many partitions; `None`: `num.partitions`, or as `manual` says. Unchecked.
    pub partitions: Option<i32>,
    /// How many replicas of each; `None`: `default.replication.factor`, or as `manual` says. Unchecked.
    pub replication_factor: Option<i16>,
    /// Partition by partition, the brokers in order of preference; empty: the controller chooses. Unchecked.
    pub manual: Vec<(i32, Vec<i32>)>,
}

impl Layout {
    /// As configured.
    #[must_use]
    pub const fn default_layout() -> Self {
        Self { partitions: None, replication_factor: None, manual: Vec::new() }
    }
}

/// A topic that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicCreated {
    /// Its identity.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas the first of them has.
    pub replication_factor: i16,
    /// The configs it was made with.
    pub configs: Configs,
}

/// A topic as a request names it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TopicRef {
    /// By name.
    Name(Arc<str>),
    /// By id.
    Id(TopicId),
}

/// What became of a topic that was to be deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicDeleted {
    /// Its name, when known.
    pub name: Option<Arc<str>>,
    /// Its id, when known.
    pub id: Option<TopicId>,
    /// Whether it is gone.
    pub result: Result<(), Fault>,
}

/// Partitions to be added to a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPartitions {
    /// The topic.
    pub name: Arc<str>,
    /// How many it shall have in the end. Unchecked.
    pub count: i32,
    /// The brokers of each new partition in order of preference; `None`: the controller chooses. Unchecked.
    pub manual: Option<Vec<Vec<i32>>>,
}

/// A topic whose records come from elsewhere: it keeps its id, and its partitions lie in log directories already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdoptedTopic {
    /// Its name, unchecked.
    pub name: Arc<str>,
    /// The id it had. Unchecked.
    pub id: TopicId,
    /// Its configs, taken only if it is new here.
    pub configs: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// Its partitions, in any order.
    pub partitions: Vec<AdoptedPartition>,
    /// Above every producer id in its records: nobody may be given one of those again.
    pub producer_ids_from: Option<ProducerId>,
}

/// A partition of an [`AdoptedTopic`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AdoptedPartition {
    /// Its number.
    pub index: PartitionIndex,
    /// Where it lies.
    pub directory: DirectoryId,
    /// The highest leader epoch in its records; the next registration of its leader begins a higher one.
    pub leader_epoch: LeaderEpoch,
}

type Named<T> = Vec<(Arc<str>, Result<T, Fault>)>;

/// Plans CreateTopics.
pub(crate) fn create<R: ConfigRules>(
    image: &MetadataImage,
    rules: &R,
    options: &ControllerOptions,
    ids: &mut IdSource,
    topics: Vec<NewTopic>,
) -> (Vec<Record>, Named<TopicCreated>) {
    let total: i64 = topics.iter().map(|topic| partitions_asked(topic, options)).sum();
    if METADATA_RECORDS_PER_REQUEST_MAX < usize::try_from(total).unwrap_or(usize::MAX) {
        return refuse_all(topics.into_iter().map(|topic| topic.name), &too_large(total, "partitions"));
    }
    let twice = named_twice(topics.iter().map(|topic| &topic.name));
    let mut placer = Placer::new(image);
    let mut records = Vec::new();
    let mut results: Named<TopicCreated> = Vec::with_capacity(topics.len());
    for topic in topics {
        if twice.contains(&topic.name) {
            if !results.iter().any(|(name, _)| *name == topic.name) {
                results.push((topic.name, Err(duplicate_name())));
            }
            continue;
        }
        let result = create_one(image, rules, options, ids, &mut placer, &topic);
        results.push((
            topic.name,
            result.map(|(made, mut new)| {
                records.append(&mut new);
                made
            }),
        ));
    }
    if METADATA_RECORDS_PER_REQUEST_MAX < records.len() {
        return refuse_all(results.into_iter().map(|(name, _)| name), &too_large(records.len(), "metadata records"));
    }
    (records, results)
}

/// Plans DeleteTopics.
pub(crate) fn delete(image: &MetadataImage, topics: Vec<TopicRef>) -> (Vec<Record>, Vec<TopicDeleted>) {
    let twice = named_twice(topics.iter());
    let mut records = Vec::new();
    let mut results: Vec<TopicDeleted> = Vec::with_capacity(topics.len());
    let mut removed = BTreeSet::new();
    for topic in topics {
        let (name, id) = match &topic {
            TopicRef::Name(name) => (Some(Arc::clone(name)), None),
            TopicRef::Id(id) => (None, Some(*id)),
        };
        if twice.contains(&topic) {
            if !results.iter().any(|result| result.name == name && result.id == id) {
                let what = if id.is_some() { "Duplicate topic id." } else { "Duplicate topic name." };
                results.push(TopicDeleted { name, id, result: Err(Fault::new(ErrorCode::InvalidRequest, what)) });
            }
            continue;
        }
        let found = match &topic {
            TopicRef::Name(name) => image.topic(name).ok_or_else(|| Fault::bare(ErrorCode::UnknownTopicOrPartition)),
            TopicRef::Id(id) => image.topic_by_id(*id).ok_or_else(|| Fault::bare(ErrorCode::UnknownTopicId)),
        };
        let found = match found {
            Ok(found) => found,
            Err(fault) => {
                results.push(TopicDeleted { name, id, result: Err(fault) });
                continue;
            }
        };
        let result = if removed.insert(found.id) {
            records.push(Record::RemoveTopic { id: found.id });
            Ok(())
        } else {
            let message = "The provided topic name maps to an ID that was already supplied.";
            Err(Fault::new(ErrorCode::InvalidRequest, message))
        };
        results.push(TopicDeleted { name: Some(Arc::clone(&found.name)), id: Some(found.id), result });
    }
    (records, results)
}

/// Plans CreatePartitions.
pub(crate) fn add_partitions(image: &MetadataImage, topics: Vec<NewPartitions>) -> (Vec<Record>, Named<()>) {
    let twice = named_twice(topics.iter().map(|topic| &topic.name));
    let mut placer = Placer::new(image);
    let mut records = Vec::new();
    let mut results: Named<()> = Vec::with_capacity(topics.len());
    for topic in topics {
        if twice.contains(&topic.name) {
            if !results.iter().any(|(name, _)| *name == topic.name) {
                results.push((topic.name, Err(duplicate_name())));
            }
            continue;
        }
        let result = add_partitions_one(image, &mut placer, &topic);
        results.push((topic.name, result.map(|mut new| records.append(&mut new))));
    }
    if METADATA_RECORDS_PER_REQUEST_MAX < records.len() {
        return refuse_all(results.into_iter().map(|(name, _)| name), &too_large(records.len(), "metadata records"));
    }
    (records, results)
}

fn create_one<R: ConfigRules>(
    image: &MetadataImage,
    rules: &R,
    options: &ControllerOptions,
    ids: &mut IdSource,
    placer: &mut Placer<'_>,
    topic: &NewTopic,
) -> Result<(TopicCreated, Vec<Record>), Fault> {
    let name = &topic.name;
    if **name == *CLUSTER_METADATA_TOPIC {
        let message = "Creation of internal topic __cluster_metadata is prohibited.";
        return Err(Fault::new(ErrorCode::InvalidRequest, message));
    }
    if image.topic(name).is_some() {
        return Err(Fault::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    if let Some(colliding) = image.topic_colliding_with(name) {
        let message = format!("Topic '{name}' collides with existing topic: {colliding}");
        return Err(Fault::new(ErrorCode::InvalidTopicException, message));
    }
    if let Some(why) = topic_name::fault(name) {
        return Err(Fault::new(ErrorCode::InvalidTopicException, why));
    }
    let configs = create_configs(image, rules, topic)?;
    let partitions = create_layout(placer, options, &topic.layout)?;

    let id = ids.topic_id(image);
    let mut records = Vec::with_capacity(1 + configs.len() + partitions.len());
    records.push(Record::Topic { name: Arc::clone(name), id });
    records.extend(configs.iter().map(|(key, value)| Record::Config {
        resource: ConfigResource::Topic(Arc::clone(name)),
        name: Arc::clone(key),
        value: Some(Arc::clone(value)),
    }));
    let made = TopicCreated {
        id,
        partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
        replication_factor: partitions.first().map_or(0, |first| first.replicas.len() as i16),
        configs,
    };
    records.extend(partitions.into_iter().map(|partition| Record::Partition { topic: id, partition }));
    Ok((made, records))
}

/// Plans the adoption of a topic by `node`, its only replica: a new topic, or more partitions of one with the same id.
pub(crate) fn adopt<R: ConfigRules>(
    image: &MetadataImage,
    rules: &R,
    node: NodeId,
    topic: &AdoptedTopic,
) -> Result<Vec<Record>, Fault> {
    let AdoptedTopic { name, id, configs, partitions, producer_ids_from } = topic;
    let broker = image.broker(node).ok_or_else(|| Fault::bare(ErrorCode::BrokerIdNotRegistered))?;
    let mut records = Vec::new();
    let had = match image.topic(name) {
        Some(known) if known.id == *id => known.partitions.len(),
        Some(known) => {
            let message = format!("Topic '{name}' already exists with the topic id {}.", known.id);
            return Err(Fault::new(ErrorCode::TopicAlreadyExists, message));
        }
        None => {
            if **name == *CLUSTER_METADATA_TOPIC || id.is_zero() || *id == TopicId::CLUSTER_METADATA {
                let message = format!("'{name}' with the topic id {id} is no topic that can be adopted.");
                return Err(Fault::new(ErrorCode::InvalidRequest, message));
            }
            if let Some(why) = topic_name::fault(name) {
                return Err(Fault::new(ErrorCode::InvalidTopicException, why));
            }
            if let Some(colliding) = image.topic_colliding_with(name) {
                let message = format!("Topic '{name}' collides with existing topic: {colliding}");
                return Err(Fault::new(ErrorCode::InvalidTopicException, message));
            }
            if let Some(other) = image.topic_by_id(*id) {
                let message = format!("The topic id {id} already belongs to topic '{}'.", other.name);
                return Err(Fault::new(ErrorCode::TopicAlreadyExists, message));
            }
            records.push(Record::Topic { name: Arc::clone(name), id: *id });
            for (key, value) in checked_configs(image, rules, name, configs)? {
                let resource = ConfigResource::Topic(Arc::clone(name));
                records.push(Record::Config { resource, name: key, value: Some(value) });
            }
            0
        }
    };
    let mut partitions = partitions.clone();
    partitions.sort_unstable_by_key(|partition| partition.index);
    for (at, partition) in partitions.iter().enumerate() {
        let expected = had + at;
        let index = usize::try_from(partition.index.value()).unwrap_or(usize::MAX);
        if index < expected {
            let message = format!("Partition {index} of topic '{name}' already exists.");
            return Err(Fault::new(ErrorCode::TopicAlreadyExists, message));
        }
        if expected < index {
            let message = format!("Partition {expected} of topic '{name}' is missing: there is a partition {index}.");
            return Err(Fault::new(ErrorCode::InvalidPartitions, message));
        }
        if !broker.log_dirs.contains(&partition.directory) {
            let message = format!("Node {node} has no log directory {}.", partition.directory);
            return Err(Fault::new(ErrorCode::InvalidRequest, message));
        }
        let partition = Partition {
            index: partition.index,
            replicas: vec![node],
            directories: vec![partition.directory],
            isr: vec![node],
            removing: Vec::new(),
            adding: Vec::new(),
            leader: Some(node),
            leader_epoch: partition.leader_epoch,
            partition_epoch: 0,
        };
        records.push(Record::Partition { topic: *id, partition });
    }
    if let Some(next) = producer_ids_from.filter(|next| image.producer_id_next() < *next) {
        records.push(Record::ProducerIds { node, broker_epoch: Some(broker.epoch), next });
    }
    if METADATA_RECORDS_PER_REQUEST_MAX < records.len() {
        return Err(too_large(records.len(), "metadata records"));
    }
    Ok(records)
}

fn create_configs<R: ConfigRules>(image: &MetadataImage, rules: &R, topic: &NewTopic) -> Result<Configs, Fault> {
    checked_configs(image, rules, &topic.name, &topic.configs)
}

fn checked_configs<R: ConfigRules>(
    image: &MetadataImage,
    rules: &R,
    topic: &Arc<str>,
    asked: &[(Arc<str>, Option<Arc<str>>)],
) -> Result<Configs, Fault> {
    let nulls: Vec<&str> = asked.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| &**key).collect();
    if !nulls.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", nulls.join(","));
        return Err(Fault::new(ErrorCode::InvalidConfig, message));
    }
    let mut configs = Configs::new();
    for (key, value) in asked {
        let Some(value) = value else { continue };
        crate::configs::check_value_length(value)?;
        configs.insert(Arc::clone(key), Arc::clone(value));
    }
    if !configs.is_empty() {
        let resource = ConfigResource::Topic(Arc::clone(topic));
        rules.check(&resource, &Configs::new(), &configs, image)?;
    }
    rules.check_new_topic(topic, &configs, image)?;
    Ok(configs)
}

fn create_layout(
    placer: &mut Placer<'_>,
    options: &ControllerOptions,
    layout: &Layout,
) -> Result<Vec<Partition>, Fault> {
    if !layout.manual.is_empty() {
        return create_layout_manual(placer, layout);
    }
    if layout.replication_factor.is_some_and(|factor| factor <= 0) {
        let message = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err(Fault::new(ErrorCode::InvalidReplicationFactor, message));
    }
    if layout.partitions.is_some_and(|partitions| partitions <= 0) {
        let message = "Number of partitions was set to an invalid non-positive value.";
        return Err(Fault::new(ErrorCode::InvalidPartitions, message));
    }
    let partitions = layout.partitions.unwrap_or(options.partitions_default);
    let factor = layout.replication_factor.unwrap_or(options.replication_factor_default);
    placer.place(0, partitions, factor).map_err(|why| unable_to_replicate(factor, &why))
}

fn create_layout_manual(placer: &mut Placer<'_>, layout: &Layout) -> Result<Vec<Partition>, Fault> {
    if layout.replication_factor.is_some() {
        let message = "A manual partition assignment was specified, but replication factor was not set to -1.";
        return Err(Fault::new(ErrorCode::InvalidRequest, message));
    }
    if layout.partitions.is_some() {
        let message = "A manual partition assignment was specified, but numPartitions was not set to -1.";
        return Err(Fault::new(ErrorCode::InvalidRequest, message));
    }
    let mut partitions = BTreeMap::new();
    let mut factor = None;
    for (index, brokers) in &layout.manual {
        if partitions.contains_key(index) {
            let message = format!("Found multiple manual partition assignments for partition {index}");
            return Err(Fault::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        let replicas = placer.check_manual(brokers, factor)?;
        factor = Some(replicas.len());
        partitions.insert(*index, placer.partition(*index, replicas).ok_or_else(|| all_fenced(*index))?);
    }
    if !partitions.keys().copied().eq(0..layout.manual.len() as i32) {
        let message = "partitions should be a consecutive 0-based integer sequence";
        return Err(Fault::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    Ok(partitions.into_values().collect())
}

fn add_partitions_one(
    image: &MetadataImage,
    placer: &mut Placer<'_>,
    asked: &NewPartitions,
) -> Result<Vec<Record>, Fault> {
    let name = &asked.name;
    let Some(topic) = image.topic(name) else {
        return Err(Fault::bare(ErrorCode::UnknownTopicOrPartition));
    };
    let had = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    if asked.count == had {
        let message = format!("Topic already has {had} partition(s).");
        return Err(Fault::new(ErrorCode::InvalidPartitions, message));
    }
    if asked.count < had {
        let message =
            format!("The topic {name} currently has {had} partition(s); {} would not be an increase.", asked.count);
        return Err(Fault::new(ErrorCode::InvalidPartitions, message));
    }
    let additional = asked.count - had;
    if METADATA_RECORDS_PER_REQUEST_MAX < additional as usize {
        return Err(too_large(additional, "new partitions"));
    }
    let factor = topic.partitions.first().map_or(1, |first| first.replicas.len());
    let partitions = match &asked.manual {
        Some(manual) if manual.len() != additional as usize => {
            let message = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                manual.len()
            );
            return Err(Fault::new(ErrorCode::InvalidReplicaAssignment, message));
        }
        Some(manual) => {
            let mut partitions = Vec::with_capacity(manual.len());
            for (index, brokers) in (had..).zip(manual) {
                let replicas = placer.check_manual(brokers, Some(factor))?;
                partitions.push(placer.partition(index, replicas).ok_or_else(|| all_fenced(index))?);
            }
            partitions
        }
        None => {
            let factor = i16::try_from(factor).unwrap_or(i16::MAX);
            placer.place(had, additional, factor).map_err(|why| Fault::new(ErrorCode::InvalidReplicationFactor, why))?
        }
    };
    Ok(partitions.into_iter().map(|partition| Record::Partition { topic: topic.id, partition }).collect())
}

/// Chooses brokers and log directories for new replicas.
struct Placer<'a> {
    image: &'a MetadataImage,
    /// Replicas per broker's log directory, counted once a broker with a choice of directories gets one.
    directory_replicas: Option<BTreeMap<(NodeId, DirectoryId), usize>>,
    /// Where the next partition's first replica goes, so that leaders spread.
    next: usize,
}

impl<'a> Placer<'a> {
    fn new(image: &'a MetadataImage) -> Self {
        Self { image, directory_replicas: None, next: image.partition_count() }
    }

    /// `count` partitions from number `first` on, `factor` replicas each, dealt out in turn over the brokers that serve
    /// (then, for want of those, over fenced ones).
    fn place(&mut self, first: i32, count: i32, factor: i16) -> Result<Vec<Partition>, String> {
        if factor <= 0 {
            return Err(format!("Invalid replication factor {factor}: the replication factor must be positive."));
        }
        let (mut alive, mut fenced) = (Vec::new(), Vec::new());
        for broker in self.image.brokers() {
            if broker.fenced { fenced.push(broker.node) } else { alive.push(broker.node) }
        }
        if alive.is_empty() {
            return Err("All brokers are currently fenced, or have all their log directories cordoned.".to_owned());
        }
        let factor = usize::from(factor.unsigned_abs());
        let registered = alive.len() + fenced.len();
        if registered < factor {
            return Err(format!(
                "The target replication factor of {factor} cannot be reached because only {registered} broker(s) are \
                 registered or some brokers have all their log directories cordoned."
            ));
        }
        let mut partitions = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for index in first..first.saturating_add(count) {
            let turned = (0..alive.len()).map(|step| alive[(self.next + step) % alive.len()]);
            let replicas: Vec<NodeId> = turned.chain(fenced.iter().copied()).take(factor).collect();
            self.next = self.next.wrapping_add(1);
            let nobody = "All brokers are currently fenced or in controlled shutdown.";
            partitions.push(self.partition(index, replicas).ok_or(nobody)?);
        }
        Ok(partitions)
    }

    /// Checks one partition's brokers as a request names them.
    fn check_manual(&self, brokers: &[i32], factor: Option<usize>) -> Result<Vec<NodeId>, Fault> {
        let refuse = |message: String| Err(Fault::new(ErrorCode::InvalidReplicaAssignment, message));
        if brokers.is_empty() {
            return refuse("The manual partition assignment includes an empty replica list.".to_owned());
        }
        let mut sorted = brokers.to_vec();
        sorted.sort_unstable();
        for (at, broker) in sorted.iter().enumerate() {
            if NodeId::from_wire(*broker).is_none_or(|node| self.image.broker(node).is_none()) {
                return refuse(format!(
                    "The manual partition assignment includes broker {broker}, but no such broker is registered."
                ));
            }
            if 0 < at && sorted[at - 1] == *broker {
                return refuse(format!("The manual partition assignment includes the broker {broker} more than once."));
            }
        }
        if let Some(factor) = factor.filter(|&factor| factor != brokers.len()) {
            return refuse(format!(
                "The manual partition assignment includes a partition with {} replica(s), but this is not consistent \
                 with previous partitions, which have {factor} replica(s).",
                brokers.len()
            ));
        }
        Ok(brokers.iter().filter_map(|&broker| NodeId::from_wire(broker)).collect())
    }

    /// A new partition on these replicas; `None` when none of them serves.
    fn partition(&mut self, index: i32, replicas: Vec<NodeId>) -> Option<Partition> {
        let active = |node: &NodeId| {
            self.image.broker(*node).is_some_and(|broker| !broker.fenced && !broker.in_controlled_shutdown)
        };
        let isr: Vec<NodeId> = replicas.iter().copied().filter(active).collect();
        let leader = *isr.first()?;
        let directories = replicas.iter().map(|&node| self.directory(node)).collect();
        Some(Partition {
            index: PartitionIndex::from_wire(index)?,
            replicas,
            directories,
            isr,
            removing: Vec::new(),
            adding: Vec::new(),
            leader: Some(leader),
            leader_epoch: LeaderEpoch::ZERO,
            partition_epoch: 0,
        })
    }

    /// The directory of `node` with the fewest replicas; the first of them among equals.
    fn directory(&mut self, node: NodeId) -> DirectoryId {
        let Some(broker) = self.image.broker(node) else { return DirectoryId::UNASSIGNED };
        if broker.log_dirs.len() < 2 {
            return broker.log_dirs.first().copied().unwrap_or(DirectoryId::UNASSIGNED);
        }
        let counts = self.directory_replicas.get_or_insert_with(|| count_directories(self.image));
        let chosen = broker.log_dirs.iter().min_by_key(|&&dir| counts.get(&(node, dir)).copied().unwrap_or(0));
        let chosen = chosen.copied().unwrap_or(DirectoryId::UNASSIGNED);
        *counts.entry((node, chosen)).or_insert(0) += 1;
        chosen
    }
}

fn count_directories(image: &MetadataImage) -> BTreeMap<(NodeId, DirectoryId), usize> {
    let mut counts = BTreeMap::new();
    for partition in image.topics().flat_map(|topic| &topic.partitions) {
        for (&node, &directory) in partition.replicas.iter().zip(&partition.directories) {
            *counts.entry((node, directory)).or_insert(0) += 1;
        }
    }
    counts
}

fn partitions_asked(topic: &NewTopic, options: &ControllerOptions) -> i64 {
    if topic.layout.manual.is_empty() {
        i64::from(topic.layout.partitions.unwrap_or(options.partitions_default)).max(0)
    } else {
        topic.layout.manual.len() as i64
    }
}

fn named_twice<'a, K: Ord + Clone + 'a>(keys: impl Iterator<Item = &'a K>) -> BTreeSet<K> {
    let (mut once, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for key in keys {
        if !once.insert(key.clone()) {
            twice.insert(key.clone());
        }
    }
    twice
}

fn refuse_all<T>(names: impl Iterator<Item = Arc<str>>, fault: &Fault) -> (Vec<Record>, Named<T>) {
    (Vec::new(), names.map(|name| (name, Err(fault.clone()))).collect())
}

fn duplicate_name() -> Fault {
    Fault::new(ErrorCode::InvalidRequest, "Duplicate topic name.")
}

/// Kafka's code in words of our own: its "Excessively large number of partitions per request." names neither what is too
/// large nor the bound.
fn too_large(asked: impl Display, what: &str) -> Fault {
    let message = format!(
        "The request comes to {asked} {what}, and one request may come to {METADATA_RECORDS_PER_REQUEST_MAX} metadata \
         records at most: one for each topic, each new partition and each config. No setting raises that: ask for fewer at \
         once, and add the other partitions with further requests."
    );
    Fault::new(ErrorCode::PolicyViolation, message)
}

fn unable_to_replicate(factor: i16, why: &str) -> Fault {
    Fault::new(
        ErrorCode::InvalidReplicationFactor,
        format!("Unable to replicate the partition {factor} time(s): {why}"),
    )
}

fn all_fenced(index: i32) -> Fault {
    let message = format!(
        "All brokers specified in the manual partition assignment for partition {index} are fenced or in controlled \
         shutdown."
    );
    Fault::new(ErrorCode::InvalidReplicaAssignment, message)
}
