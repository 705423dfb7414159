//! The load generator: drives any Kafka-compatible broker with a workload and says what came out. Needs no io_uring.
//!
//! Read in this order: [`workload`] (what is asked), [`outcome`] (what a run yields), [`verdict`] (how the one is held
//! against the other), [`run()`] (what happens between). Around it: [`driver`] (targets, and nodes that are started for a
//! run), [`machine`] (what a result was measured on), [`limits`] (what that machine could do without a broker, and `reached`,
//! how much of it a run did), [`plan`] (what a workload needs), [`stats`] (whether two sets of runs differ). Inside: `producer` gathers due messages into
//! batches and sends them, `worker` is the thread it runs on, `consumers` read and check (`stamp`, `check`), `template`
//! encodes ahead.

#![deny(clippy::print_stderr, reason = "it panics where nobody reads; tell! does not")]

mod arrivals;
mod ceiling;
mod check;
mod clock;
pub mod compare;
mod consumers;
pub mod driver;
mod follow;
mod intervals;
pub mod limits;
pub mod machine;
pub mod omb;
pub mod options;
pub mod outcome;
pub mod plan;
mod preflight;
mod producer;
mod reached;
pub mod report;
pub mod results;
mod run;
pub mod session;
mod shared;
mod soak;
pub mod stamp;
pub mod stats;
pub mod suite;
pub mod summary;
mod tally;
mod template;
mod tracepoints;
pub mod verdict;
mod watch;
mod worker;
pub mod workload;

pub use options::RunOptions;
pub use outcome::Outcome;
pub use run::{Progress, RunError, run};
pub use verdict::{Verdict, judge};
pub use watch::BrokerProcess;
pub use workload::{RawWorkload, Workload, WorkloadError};
