//! The words every other crate speaks: offsets, epochs, ids, limits, error codes, and the two traits through which
//! the simulated crates see the outside (`io::Dir`) and time (`Now`). Standard library only.
//!
//! Read in this order: [`ids`], [`time`], [`error_code`], [`limits`], [`io`], [`mutants!`].

pub mod error_code;
pub mod ids;
pub mod io;
pub mod lag;
pub mod limits;
mod mutants;
pub mod time;

pub use error_code::ErrorCode;
pub use ids::{
    BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence,
    ShardId, TopicId, TopicPartition,
};
pub use lag::Lag;
pub use time::{Now, Timestamp};
