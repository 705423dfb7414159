//! The metadata of a cluster: agreed on by raft, kept in the partition `__cluster_metadata-0` as Kafka's own records,
//! decided by the controller, and handed to the shards as immutable images. Sans-IO: the host (`broker::control`)
//! appends, syncs and tells the time.
//!
//! Read in this order: [`record`] (the words), [`image`] (what they add up to), [`controller`] with [`topics`] and
//! [`configs`] (who decides), [`codec`] (Kafka's bytes), [`raft_core`] (who agrees), [`snapshot`], and [`node`], which
//! holds it all together.

pub mod codec;
pub mod configs;
pub mod controller;
pub mod election_state;
pub mod image;
pub mod mutants;
pub mod node;
pub mod raft_core;
pub mod record;
mod shared_map;
pub mod snapshot;
pub mod topic_name;
pub mod topics;

pub use controller::{Command, ConfigRules, Controller, ControllerOptions, Fault, Plan, Registration, Reply};
pub use image::{ApplyFault, ChangedTopics, Configs, LogPosition, MetadataDelta, MetadataImage, Topic};
pub use node::{LoadFault, NodeEffect, NodeOptions, QuorumNode};
pub use raft_core::{ElectionState, NotLeader, QuorumStatus};
pub use record::{Broker, ConfigResource, Endpoint, Partition, Record};
pub use shared_map::SharedMap;
