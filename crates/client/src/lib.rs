//! A Kafka client over plain tokio, for the command line, the load generator and the tests. It speaks to any Kafka
//! broker, not only to Ringlog.

mod connection;
mod error;
pub mod partitioner;

pub use connection::{Connection, ConnectionConfig, Pending};
pub use error::ClientError;
pub use partitioner::Partitioner;
