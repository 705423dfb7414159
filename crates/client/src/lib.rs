//! A Kafka client over plain tokio, for the command line, the load generator and the tests. It speaks to any Kafka
//! broker, not only to Ringlog.
//!
//! Read in this order: [`Connection`] (one node: typed, pipelined calls), [`Client`] (a cluster: who leads what, one
//! connection per node, retries), [`Admin`], [`Producer`], [`Consumer`].
//!
//! ```no_run
//! # async fn run() -> Result<(), client::ClientError> {
//! use std::time::Duration;
//!
//! use client::{Client, ClientConfig, Consumer, ConsumerConfig, Producer, ProducerConfig, Record, StartOffset};
//! use types::{PartitionIndex, TopicPartition};
//!
//! let client = Client::connect(ClientConfig::new("127.0.0.1:9092")).await?;
//!
//! let producer = Producer::new(client.clone(), ProducerConfig::default())?;
//! let record = Record { topic: "orders".into(), value: Some("42".into()), ..Record::default() };
//! let delivered = producer.send(record).await?.wait().await?;
//! println!("partition {}, offset {:?}", delivered.partition, delivered.offset);
//!
//! let place = (TopicPartition::new("orders", PartitionIndex::ZERO), StartOffset::Earliest);
//! let mut consumer = Consumer::assign(client, ConsumerConfig::default(), [place]);
//! for record in consumer.poll(Duration::from_secs(1)).await? {
//!     println!("{} {:?}", record.offset, record.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The tests `against_a_node`, `every_version` and `odd_requests` run against the node whose `host:port` is in
//! `TEST_BOOTSTRAP`; they pass against Apache Kafka 4.3.1 too, and the answers in `odd_requests.txt` are its.

mod admin;
mod cluster;
mod connection;
mod consumer;
mod error;
mod group;
mod membership;
pub mod partitioner;
mod producer;

// What signatures here are made of.
pub use batch::{BatchInfo, Codec, RecordView, TimestampType};

pub use admin::Admin;
pub use admin::cluster::{ClusterBroker, ElectableReplicas, Quorum, QuorumReplica};
pub use admin::committed::CommittedOffset;
pub use admin::configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSynonym, ResourceKind};
pub use admin::groups::{Group, GroupMember};
pub use admin::log_dirs::{Log, LogDir};
pub use admin::many::{GROUP_DEAD, GroupOffsets};
pub use admin::records::{FoundOffset, OffsetAt};
pub use admin::topics::{CreatedTopic, NewTopic};
pub use cluster::{Client, ClientConfig, Cluster, CoordinatorKind, Node, Partition, Topic};
pub use connection::{Calling, Connection, ConnectionConfig, Pending};
pub use consumer::{Consumed, Consumer, ConsumerConfig, Fetched, FetchedRecord, Isolation, StartOffset, decode, visit};
pub use error::ClientError;
pub use membership::GroupConfig;
pub use partitioner::Partitioner;
pub use producer::{Acks, Delivered, Delivery, Producer, ProducerConfig, Record};
pub use wire::tags::{Kept, LogFacts, NextDeletable, Unread};
