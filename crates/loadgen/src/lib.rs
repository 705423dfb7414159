//! The load generator: drives any Kafka-compatible broker with a workload and says what came out.
//!
//! Read in this order: [`workload`] (what is asked), [`outcome`] (what a run yields), [`verdict`] (how the one is held
//! against the other). Around it: [`driver`] (targets, and nodes that are started for a run), [`machine`] (what a result was
//! measured on), [`limits`] (what that machine could do without a broker), [`plan`] (what a workload needs), [`stats`]
//! (whether two sets of runs differ).

pub mod compare;
pub mod driver;
pub mod limits;
pub mod machine;
pub mod omb;
pub mod options;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod results;
pub mod stamp;
pub mod stats;
pub mod suite;
pub mod summary;
pub mod verdict;
pub mod workload;

pub use options::RunOptions;
pub use outcome::Outcome;
pub use verdict::{Verdict, judge};
pub use workload::{RawWorkload, Workload, WorkloadError};
