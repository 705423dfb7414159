//! The metadata of a cluster: agreed on by raft, kept in the partition `__cluster_metadata-0` as Kafka's own records,
//! decided by the controller, and handed to the shards as immutable images. Sans-IO: the host (`broker::control`)
//! appends, syncs and tells the time.
//!
//! Read in this order: [`record`] (the words), [`image`] (what they add up to).

pub mod configs;
pub mod controller;
pub mod image;
pub mod record;
mod shared_map;
pub mod topic_name;
pub mod topics;

pub use controller::{Command, ConfigRules, Controller, ControllerOptions, Fault, Plan, Registration, Reply};
pub use image::{ApplyFault, ChangedTopics, Configs, LogPosition, MetadataDelta, MetadataImage, Topic};
pub use record::{Broker, ConfigResource, Endpoint, Partition, Record};
pub use shared_map::SharedMap;
