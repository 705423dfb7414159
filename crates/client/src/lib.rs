//! A Kafka client over plain tokio, for the command line, the load generator and the tests. It speaks to any Kafka
//! broker, not only to Ringlog.
//!
//! Read in this order: [`Connection`] (one node: typed, pipelined calls), [`Client`] (a cluster: who leads what, one
//! connection per node, retries), [`Admin`], [`Producer`], [`Consumer`].

mod admin;
mod cluster;
mod connection;
mod consumer;
mod error;
mod group;
mod membership;
pub mod partitioner;
mod producer;

pub use admin::{
    Admin, CommittedOffset, ConfigChange, ConfigEntry, ConfigResource, FoundOffset, Group, GroupMember, LogDir,
    NewTopic, OffsetAt, ResourceKind,
};
pub use cluster::{Client, ClientConfig, Cluster, CoordinatorKind, Node, Partition, Topic};
pub use connection::{Calling, Connection, ConnectionConfig, Pending};
pub use consumer::{Consumed, Consumer, ConsumerConfig, Fetched, Isolation, StartOffset, decode};
pub use error::ClientError;
pub use membership::GroupConfig;
pub use partitioner::Partitioner;
pub use producer::{Acks, Delivered, Delivery, Producer, ProducerConfig, Record};
