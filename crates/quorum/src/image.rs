//! What the cluster looks like after some prefix of the metadata log: immutable, shared by every thread of the node.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use types::{LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, TopicId};

use crate::record::{Broker, ConfigResource, Partition, Record};
use crate::shared_map::SharedMap;
use crate::topic_name;

/// The name of the metadata log's own topic, which the image never lists.
pub const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";
/// The topic of committed offsets and groups.
pub const CONSUMER_OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic of transactions.
pub const TRANSACTION_STATE_TOPIC: &str = "__transaction_state";
/// The topic of share groups.
pub const SHARE_GROUP_STATE_TOPIC: &str = "__share_group_state";

/// The configs of one resource: name to value, as written by whoever set them.
pub type Configs = BTreeMap<Arc<str>, Arc<str>>;

/// How much of the metadata log an image holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LogPosition {
    /// The offset after the last record applied.
    pub end: Offset,
    /// The epoch of that record.
    pub epoch: LeaderEpoch,
}

/// A topic with its partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub id: TopicId,
    /// Partition `i` is at `i`.
    pub partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// Partition `index`.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index.value()).ok()?)
    }

    /// Whether it is one of Kafka's own (clients may not write it; Metadata flags it).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }
}

/// Whether `topic` is one of Kafka's own.
#[must_use]
pub fn is_internal(topic: &str) -> bool {
    matches!(topic, CONSUMER_OFFSETS_TOPIC | TRANSACTION_STATE_TOPIC | SHARE_GROUP_STATE_TOPIC)
}

/// The metadata at one [`LogPosition`]. Cloning is a handful of reference counts; two versions share what did not change.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MetadataImage {
    cluster_id: Arc<str>,
    controller: Option<NodeId>,
    position: LogPosition,
    features: Arc<BTreeMap<Arc<str>, i16>>,
    brokers: Arc<BTreeMap<NodeId, Arc<Broker>>>,
    topics: SharedMap<Arc<str>, Arc<Topic>>,
    topics_by_id: SharedMap<TopicId, Arc<Topic>>,
    configs: SharedMap<ConfigResource, Arc<Configs>>,
    partition_count: usize,
    /// Names that hold a '.' or '_', under what they have in common (`topic_name::collision_key`).
    collisions: SharedMap<String, Arc<BTreeSet<Arc<str>>>>,
    producer_id_next: ProducerId,
}

/// What differs between an image and the one before it, in terms of the new one, so that only those act whom it concerns.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ChangedTopics {
    /// Partitions that are new or changed, each once, with the topic as it is now.
    pub partitions: Vec<(Arc<Topic>, PartitionIndex)>,
    /// Topics that are gone, as they were.
    pub removed: Vec<Arc<Topic>>,
    /// Resources that had a config set or taken back.
    pub configs: Vec<ConfigResource>,
    /// Whether any broker changed.
    pub brokers: bool,
    /// Whether any feature level changed.
    pub features: bool,
}

impl ChangedTopics {
    /// In the order in which shards are to be told. A topic made under the name of one that goes in the same change
    /// comes after that one is gone everywhere: their partitions may have different homes, and the files of both the
    /// same names.
    #[must_use]
    pub fn in_order(mut self) -> Vec<Self> {
        let made_anew = |(topic, _): &(Arc<Topic>, PartitionIndex)| {
            self.removed.iter().any(|gone| gone.name == topic.name && gone.id != topic.id)
        };
        if !self.partitions.iter().any(made_anew) {
            return vec![self];
        }
        let gone = Self { removed: std::mem::take(&mut self.removed), ..Self::default() };
        vec![gone, self]
    }

    /// All there is in `image`: what a newcomer has to look at.
    #[must_use]
    pub fn everything(image: &MetadataImage) -> Self {
        let partitions = image
            .topics()
            .flat_map(|topic| topic.partitions.iter().map(|partition| (Arc::clone(topic), partition.index)));
        Self {
            partitions: partitions.collect(),
            removed: Vec::new(),
            configs: image.config_resources().map(|(resource, _)| resource.clone()).collect(),
            brokers: true,
            features: true,
        }
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
            && self.removed.is_empty()
            && self.configs.is_empty()
            && !self.brokers
            && !self.features
    }
}

/// A record that does not fit what came before it: the log is damaged, or was written by something we do not know.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApplyFault {
    /// It speaks of a topic that does not exist.
    #[error("metadata record names topic id {0}, which does not exist")]
    UnknownTopicId(TopicId),
    /// It speaks of a partition that does not exist.
    #[error("metadata record names partition {index} of topic {topic}, which does not exist")]
    UnknownPartition {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        index: PartitionIndex,
    },
    /// Partitions must come in order: 0, 1, 2, ...
    #[error("metadata record creates partition {index} of topic {topic}, which has {partitions} partitions")]
    PartitionOutOfOrder {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        index: PartitionIndex,
        /// How many there are.
        partitions: usize,
    },
    /// A topic is created twice.
    #[error("metadata record creates topic {0}, which exists")]
    TopicExists(Arc<str>),
    /// It speaks of a broker that is not registered.
    #[error("metadata record names broker {0}, which is not registered")]
    UnknownBroker(NodeId),
}

impl MetadataImage {
    /// The image of an empty log.
    #[must_use]
    pub fn empty(cluster_id: impl Into<Arc<str>>) -> Self {
        Self { cluster_id: cluster_id.into(), ..Self::default() }
    }

    /// The cluster's id, as in `meta.properties`.
    #[must_use]
    pub const fn cluster_id(&self) -> &Arc<str> {
        &self.cluster_id
    }

    /// The controller, while one is known.
    #[must_use]
    pub const fn controller(&self) -> Option<NodeId> {
        self.controller
    }

    /// How much of the log it holds.
    #[must_use]
    pub const fn position(&self) -> LogPosition {
        self.position
    }

    /// Finalized features and their levels.
    #[must_use]
    pub fn features(&self) -> &BTreeMap<Arc<str>, i16> {
        &self.features
    }

    /// Registered brokers, by id; fenced ones too.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// Brokers that serve, by id.
    pub fn brokers_alive(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// The broker with this id.
    #[must_use]
    pub fn broker(&self, node: NodeId) -> Option<&Arc<Broker>> {
        self.brokers.get(&node)
    }

    /// The topic of this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic with this id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics_by_id.get(&id)
    }

    /// A partition by its topic's name.
    #[must_use]
    pub fn partition(&self, topic: &str, index: PartitionIndex) -> Option<&Arc<Partition>> {
        self.topic(topic)?.partition(index)
    }

    /// Every topic, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.iter().map(|(_, topic)| topic)
    }

    /// Every topic from `name` on (inclusive), by name.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.iter_from(name).map(|(_, topic)| topic)
    }

    /// A topic whose name differs from `name` only in dots and underscores, or not at all.
    #[must_use]
    pub fn topic_colliding_with(&self, name: &str) -> Option<&Arc<str>> {
        self.collisions.get(&topic_name::collision_key(name)?)?.first()
    }

    /// How many topics there are.
    #[must_use]
    pub const fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many partitions there are.
    #[must_use]
    pub const fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The configs set on `resource`; none set is `None`.
    #[must_use]
    pub fn configs(&self, resource: &ConfigResource) -> Option<&Arc<Configs>> {
        self.configs.get(resource)
    }

    /// The configs set on a topic.
    #[must_use]
    pub fn topic_configs(&self, name: &Arc<str>) -> Option<&Arc<Configs>> {
        self.configs.get(&ConfigResource::Topic(Arc::clone(name)))
    }

    /// Every resource that has configs, with them.
    pub fn config_resources(&self) -> impl Iterator<Item = (&ConfigResource, &Arc<Configs>)> {
        self.configs.iter()
    }

    /// The first producer id that was never handed out.
    #[must_use]
    pub const fn producer_id_next(&self) -> ProducerId {
        self.producer_id_next
    }

    /// The same image, naming another controller.
    #[must_use]
    pub fn with_controller(mut self, controller: Option<NodeId>) -> Self {
        self.controller = controller;
        self
    }

    /// The image after `records`, which end at `position`, and what they changed.
    ///
    /// # Errors
    /// [`ApplyFault`] when a record does not fit; the image is then as it was.
    pub fn apply<'a>(
        &self,
        records: impl IntoIterator<Item = &'a Record>,
        position: LogPosition,
    ) -> Result<(Self, ChangedTopics), ApplyFault> {
        let mut delta = MetadataDelta::new(self);
        for record in records {
            delta.replay(record)?;
        }
        Ok(delta.finish(position))
    }
}

/// An image in the making: records go in one by one, the next image comes out.
#[derive(Debug)]
pub struct MetadataDelta {
    image: MetadataImage,
    /// Topics being changed, owned, so that a thousand changes to one topic copy it once. `image` still shows them as
    /// they were (a new one without partitions) until `finish`.
    open: BTreeMap<TopicId, Topic>,
    /// Partitions touched, with the topic they belong to.
    partitions: BTreeMap<(TopicId, PartitionIndex), ()>,
    /// Topics taken out that were there before this delta, as they were.
    removed: Vec<Arc<Topic>>,
    /// Topics created within this delta.
    created: BTreeMap<TopicId, ()>,
    configs: BTreeMap<ConfigResource, ()>,
    brokers: bool,
    features: bool,
}

impl MetadataDelta {
    /// A delta on top of `base`.
    #[must_use]
    pub fn new(base: &MetadataImage) -> Self {
        Self {
            image: base.clone(),
            open: BTreeMap::new(),
            partitions: BTreeMap::new(),
            removed: Vec::new(),
            created: BTreeMap::new(),
            configs: BTreeMap::new(),
            brokers: false,
            features: false,
        }
    }

    /// Applies one record.
    ///
    /// # Errors
    /// [`ApplyFault`] when it does not fit; this record then changed nothing.
    pub fn replay(&mut self, record: &Record) -> Result<(), ApplyFault> {
        match record {
            Record::RegisterBroker(broker) => {
                Arc::make_mut(&mut self.image.brokers).insert(broker.node, Arc::new(broker.clone()));
                self.brokers = true;
            }
            Record::UnregisterBroker { node, .. } => {
                if !self.image.brokers.contains_key(node) {
                    return Err(ApplyFault::UnknownBroker(*node));
                }
                Arc::make_mut(&mut self.image.brokers).remove(node);
                self.brokers = true;
            }
            Record::BrokerRegistrationChange { node, fenced, in_controlled_shutdown, log_dirs, .. } => {
                let brokers = Arc::make_mut(&mut self.image.brokers);
                let broker = brokers.get_mut(node).ok_or(ApplyFault::UnknownBroker(*node))?;
                let broker = Arc::make_mut(broker);
                broker.fenced = fenced.unwrap_or(broker.fenced);
                broker.in_controlled_shutdown |= in_controlled_shutdown;
                if let Some(log_dirs) = log_dirs {
                    broker.log_dirs.clone_from(log_dirs);
                }
                self.brokers = true;
            }
            Record::Topic { name, id } => {
                if self.image.topic(name).is_some() || self.image.topic_by_id(*id).is_some() {
                    return Err(ApplyFault::TopicExists(Arc::clone(name)));
                }
                let topic = Topic { name: Arc::clone(name), id: *id, partitions: Vec::new() };
                put_topic(&mut self.image, topic);
                self.created.insert(*id, ());
                if let Some(key) = topic_name::collision_key(name) {
                    let mut names = self.image.collisions.get(&key).map(Arc::clone).unwrap_or_default();
                    Arc::make_mut(&mut names).insert(Arc::clone(name));
                    self.image.collisions.insert(key, names);
                }
            }
            Record::Partition { topic, partition } => self.replay_partition(*topic, partition)?,
            Record::PartitionChange { topic, index, isr, leader, replicas, directories, removing, adding } => {
                let opened = self.open(*topic)?;
                let at = usize::try_from(index.value()).unwrap_or(usize::MAX);
                let Some(changed) = opened.partitions.get_mut(at) else {
                    return Err(ApplyFault::UnknownPartition { topic: Arc::clone(&opened.name), index: *index });
                };
                let changed = Arc::make_mut(changed);
                if let Some(isr) = isr {
                    changed.isr.clone_from(isr);
                }
                if let Some(replicas) = replicas {
                    changed.replicas.clone_from(replicas);
                    changed.directories.resize(replicas.len(), types::DirectoryId::UNASSIGNED);
                }
                if let Some(directories) = directories {
                    changed.directories.clone_from(directories);
                }
                if let Some(removing) = removing {
                    changed.removing.clone_from(removing);
                }
                if let Some(adding) = adding {
                    changed.adding.clone_from(adding);
                }
                if let Some(leader) = leader {
                    changed.leader = *leader;
                    changed.leader_epoch = changed.leader_epoch.next();
                }
                changed.partition_epoch = changed.partition_epoch.saturating_add(1);
                self.partitions.insert((*topic, *index), ());
            }
            Record::RemoveTopic { id } => self.replay_remove_topic(*id)?,
            Record::Config { resource, name, value } => self.replay_config(resource, name, value.as_ref()),
            Record::ProducerIds { next, .. } => {
                self.image.producer_id_next = self.image.producer_id_next.max(*next);
            }
            Record::FeatureLevel { name, level } => {
                let features = Arc::make_mut(&mut self.image.features);
                if *level == 0 {
                    features.remove(name);
                } else {
                    features.insert(Arc::clone(name), *level);
                }
                self.features = true;
            }
            Record::NoOp => {}
        }
        Ok(())
    }

    /// The image after everything replayed, which ends at `position`.
    #[must_use]
    pub fn finish(self, position: LogPosition) -> (MetadataImage, ChangedTopics) {
        let mut image = self.image;
        image.position = position;
        for topic in self.open.into_values() {
            put_topic(&mut image, topic);
        }
        let partitions = self.partitions.keys().filter_map(|(topic, index)| {
            let topic = image.topics_by_id.get(topic)?;
            Some((Arc::clone(topic), *index))
        });
        let changed = ChangedTopics {
            partitions: partitions.collect(),
            removed: self.removed,
            configs: self.configs.into_keys().collect(),
            brokers: self.brokers,
            features: self.features,
        };
        (image, changed)
    }

    fn replay_partition(&mut self, topic: TopicId, partition: &Partition) -> Result<(), ApplyFault> {
        let opened = self.open(topic)?;
        let at = usize::try_from(partition.index.value()).unwrap_or(usize::MAX);
        let partitions = opened.partitions.len();
        if partitions < at {
            let topic = Arc::clone(&opened.name);
            return Err(ApplyFault::PartitionOutOfOrder { topic, index: partition.index, partitions });
        }
        if at < partitions {
            opened.partitions[at] = Arc::new(partition.clone());
        } else {
            opened.partitions.push(Arc::new(partition.clone()));
            self.image.partition_count += 1;
        }
        self.partitions.insert((topic, partition.index), ());
        Ok(())
    }

    fn replay_remove_topic(&mut self, id: TopicId) -> Result<(), ApplyFault> {
        let topic = self.image.topics_by_id.remove(&id).ok_or(ApplyFault::UnknownTopicId(id))?;
        self.image.topics.remove(&*topic.name);
        let partitions = self.open.remove(&id).map_or(topic.partitions.len(), |opened| opened.partitions.len());
        self.image.partition_count -= partitions;
        self.image.configs.remove(&ConfigResource::Topic(Arc::clone(&topic.name)));
        if let Some(key) = topic_name::collision_key(&topic.name)
            && let Some(mut names) = self.image.collisions.remove(&key)
        {
            Arc::make_mut(&mut names).remove(&topic.name);
            if !names.is_empty() {
                self.image.collisions.insert(key, names);
            }
        }
        if self.created.remove(&id).is_none() {
            self.removed.push(topic);
        }
        Ok(())
    }

    fn replay_config(&mut self, resource: &ConfigResource, name: &Arc<str>, value: Option<&Arc<str>>) {
        let mut configs = self.image.configs.get(resource).map(Arc::clone).unwrap_or_default();
        let changed = Arc::make_mut(&mut configs);
        match value {
            Some(value) => drop(changed.insert(Arc::clone(name), Arc::clone(value))),
            None => drop(changed.remove(name)),
        }
        if configs.is_empty() {
            self.image.configs.remove(resource);
        } else {
            self.image.configs.insert(resource.clone(), configs);
        }
        self.configs.insert(resource.clone(), ());
    }

    /// The topic, to be changed.
    fn open(&mut self, id: TopicId) -> Result<&mut Topic, ApplyFault> {
        match self.open.entry(id) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(place) => {
                let topic = self.image.topics_by_id.get(&id).ok_or(ApplyFault::UnknownTopicId(id))?;
                Ok(place.insert((**topic).clone()))
            }
        }
    }
}

fn put_topic(image: &mut MetadataImage, topic: Topic) {
    let topic = Arc::new(topic);
    image.topics.insert(Arc::clone(&topic.name), Arc::clone(&topic));
    image.topics_by_id.insert(topic.id, topic);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, id: u8) -> Arc<Topic> {
        Arc::new(Topic { name: name.into(), id: TopicId::from_bytes([id; 16]), partitions: Vec::new() })
    }

    #[test]
    fn a_topic_made_anew_is_told_after_the_old_one_is_gone() {
        let made = |topic: &Arc<Topic>| (Arc::clone(topic), PartitionIndex::ZERO);
        let (old, new, other) = (topic("orders", 1), topic("orders", 2), topic("users", 3));
        let changed = ChangedTopics {
            partitions: vec![made(&other), made(&new)],
            removed: vec![Arc::clone(&old)],
            configs: vec![ConfigResource::Topic("orders".into())],
            ..ChangedTopics::default()
        };
        let [gone, rest] = &changed.clone().in_order()[..] else { panic!("two rounds") };
        assert_eq!(*gone, ChangedTopics { removed: vec![Arc::clone(&old)], ..ChangedTopics::default() });
        assert_eq!(*rest, ChangedTopics { removed: Vec::new(), ..changed });

        let apart = ChangedTopics { partitions: vec![made(&other)], removed: vec![old], ..ChangedTopics::default() };
        assert_eq!(apart.clone().in_order(), [apart]);
    }
}
