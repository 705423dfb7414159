//! The metadata records we write and understand, in our own types. Their bytes are Kafka's (schemas under
//! `common/metadata` of its `kafka-metadata` jar); [`crate::codec`] translates.

use std::sync::Arc;

use types::{BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, PartitionIndex, ProducerId, TopicId};

/// One record of `__cluster_metadata-0`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A broker came up (again): replaces what was known of it. Does not by itself change any partition.
    RegisterBroker(Broker),
    /// A broker is gone for good.
    UnregisterBroker {
        /// The broker.
        node: NodeId,
        /// The incarnation that is taken out.
        epoch: BrokerEpoch,
    },
    /// A registered broker was fenced, unfenced, or began to stop.
    BrokerRegistrationChange {
        /// The broker.
        node: NodeId,
        /// The incarnation it is about.
        epoch: BrokerEpoch,
        /// `Some(true)`: now fenced. `None`: as before.
        fenced: Option<bool>,
        /// Set once a controlled shutdown begins.
        in_controlled_shutdown: bool,
        /// The log directories that are left, never none of them.
        log_dirs: Option<Vec<DirectoryId>>,
    },
    /// A topic was created; its partitions follow as records of their own.
    Topic {
        /// Its name.
        name: Arc<str>,
        /// Its identity.
        id: TopicId,
    },
    /// A partition was created, or all of its state is told anew (snapshots).
    Partition {
        /// The topic.
        topic: TopicId,
        /// The whole state.
        partition: Partition,
    },
    /// Some of a partition's state changed; `None` leaves a field as it was. Changing the leader (or naming the same
    /// one again) bumps the leader epoch by one, any change the partition epoch by one, as Kafka's replay does.
    PartitionChange {
        /// The topic.
        topic: TopicId,
        /// The partition.
        index: PartitionIndex,
        /// The new in-sync replicas.
        isr: Option<Vec<NodeId>>,
        /// The new leader; `Some(None)` when there is none now.
        leader: Option<Option<NodeId>>,
        /// The new replicas.
        replicas: Option<Vec<NodeId>>,
        /// The log directory of each replica, in the order of the replicas.
        directories: Option<Vec<DirectoryId>>,
        /// The replicas a reassignment takes away.
        removing: Option<Vec<NodeId>>,
        /// The replicas a reassignment adds.
        adding: Option<Vec<NodeId>>,
    },
    /// A topic and all of its partitions and configs are gone.
    RemoveTopic {
        /// The topic.
        id: TopicId,
    },
    /// A config was set, or (`value: None`) taken back.
    Config {
        /// Whose config.
        resource: ConfigResource,
        /// Its name.
        name: Arc<str>,
        /// Its value as written, or `None`.
        value: Option<Arc<str>>,
    },
    /// A block of producer ids was handed out; the next one starts here.
    ProducerIds {
        /// Who got it.
        node: NodeId,
        /// In which incarnation; `None` in snapshots.
        broker_epoch: Option<BrokerEpoch>,
        /// The first id of the next block.
        next: ProducerId,
    },
    /// A feature was finalized at a level; 0 takes it out.
    FeatureLevel {
        /// For example `metadata.version`.
        name: Arc<str>,
        /// Its level.
        level: i16,
    },
    /// Nothing: fills an offset.
    NoOp,
}

/// A registered broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broker {
    /// Its `node.id`.
    pub node: NodeId,
    /// Which registration this is.
    pub epoch: BrokerEpoch,
    /// Made up by the process at its start, so that a registration sent twice is known as one.
    pub incarnation: [u8; 16],
    /// Where clients reach it, one per listener.
    pub endpoints: Vec<Endpoint>,
    /// The features it can speak, each with its lowest and highest level.
    pub features: Vec<(Arc<str>, i16, i16)>,
    /// `broker.rack`.
    pub rack: Option<Arc<str>>,
    /// Not (yet) serving: leads nothing.
    pub fenced: bool,
    /// Stopping; gets no new leaderships.
    pub in_controlled_shutdown: bool,
    /// Its usable log directories.
    pub log_dirs: Vec<DirectoryId>,
}

/// An address of a broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The listener's name.
    pub listener: Arc<str>,
    /// As advertised.
    pub host: Arc<str>,
    /// As advertised.
    pub port: u16,
    /// Kafka's number: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// Everything the quorum knows of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Its number in the topic.
    pub index: PartitionIndex,
    /// In order of preference.
    pub replicas: Vec<NodeId>,
    /// The log directory of each replica, in the order of `replicas`; `UNASSIGNED` where the broker may choose.
    pub directories: Vec<DirectoryId>,
    /// The replicas in sync.
    pub isr: Vec<NodeId>,
    /// Replicas being taken away by a reassignment.
    pub removing: Vec<NodeId>,
    /// Replicas being added by a reassignment.
    pub adding: Vec<NodeId>,
    /// Who leads, if anybody can.
    pub leader: Option<NodeId>,
    /// How often leadership was given out.
    pub leader_epoch: LeaderEpoch,
    /// How often anything here changed.
    pub partition_epoch: i32,
}

impl Partition {
    /// The log directory that `node` keeps its replica in, if it has one and it is decided.
    #[must_use]
    pub fn directory_on(&self, node: NodeId) -> Option<DirectoryId> {
        let at = self.replicas.iter().position(|&replica| replica == node)?;
        self.directories.get(at).copied().filter(|&directory| directory != DirectoryId::UNASSIGNED)
    }
}

/// What a config belongs to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(Arc<str>),
    /// One broker.
    Broker(NodeId),
    /// Every broker that does not say otherwise.
    DefaultBroker,
    /// A consumer group, by name.
    Group(Arc<str>),
    /// A client metrics subscription, by name (KIP-714).
    ClientMetrics(Arc<str>),
}
