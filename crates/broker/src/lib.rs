//! A Ringlog node: configuration, life cycle, connections, one handler per Kafka API, and the control thread.
//!
//! Read in this order: [`lifecycle`] (start to stop), `connection` and `reply` (bytes in, bytes out), `dispatch`,
//! `produce` and `fetch` (the two paths), `partition` (the log's hands), `shard_state`, `mail`, `control`, `config`;
//! [`inspect`] and [`offline`] are for folders that no node has.

mod bundle;
mod cleaner;
pub mod config;
mod connection;
mod control;
mod dispatch;
mod exposition;
mod fetch;
mod file_work;
mod groups;
mod handlers;
mod http;
mod in_flight;
pub mod inspect;
mod lag;
pub mod lifecycle;
mod log_dirs;
mod mail;
mod meta_properties;
mod metrics;
mod node;
pub mod offline;
mod partition;
pub mod preflight;
mod produce;
pub mod recent_log;
mod reply;
mod request;
mod scrape;
mod shard_state;
mod topics;
mod unread;

pub use http::KAFKA_VERSION;
pub use lifecycle::{Node, StartError, StartReport, start};
pub use log_dirs::LogDirError;
