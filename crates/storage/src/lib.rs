//! A partition's log, sans-IO: events in, effects out. Storage knows no socket, file, clock or task; `shard` executes
//! its effects with files, `sim` with a modelled disk.
//!
//! Read in this order: [`mod@file`] names what lies in a partition's folder; [`effect`] is how the log asks for work and is
//! told of it; [`log`] is the partition log itself, with a file for each of its acts; [`read`] finds bytes and times in
//! it; [`recovery`] opens it again after a stop, by the table drawn there; [`retention`] and [`compaction`] decide what
//! may go. [`producers`] and [`epochs`] are the two tables a log carries; [`checkpoint`] is how they survive.
//!
//! ```text
//!  append_as_leader ─► queue ─► one gather in flight ─► Effect::Write ─► on_done ─► LogEvent::{Appended, EndMoved}
//!                      (offsets given)   (≤ 1 a partition)                    └─ failed: queue, ends and windows roll back
//! ```
//!
//! The order of calls: any number of inputs (`append_as_leader`, `on_done`, `on_tick`, ...), then `poll_effect` and
//! `poll_event` until both are empty. An effect is handed out only when everything it depends on has completed, so the
//! host may run all effects that it holds in any order and at once.

pub mod checkpoint;
pub mod compaction;
pub mod config;
pub mod effect;
pub mod epochs;
pub mod file;
#[cfg(test)]
mod found;
#[cfg(test)]
mod harness;
pub mod index;
pub mod log;
pub mod mutants;
pub mod producers;
#[cfg(test)]
mod random;
pub mod rate;
pub mod read;
#[cfg(test)]
mod readers;
pub mod recovery;
pub mod retention;
mod segment;
#[cfg(test)]
mod tests;

pub use compaction::{CleanedFiles, CompactionFault, CompactionJob, CompactionOutcome};
pub use config::{CleanupPolicy, LogConfig};
pub use effect::{Effect, IoFault, IoFaultKind, LogEvent, OpId};
pub use epochs::EpochEnd;
pub use file::{FileName, SegmentFile, SegmentFileKind, SegmentId, Stage};
pub use log::append::{Admission, AppendFault};
pub use log::{Offsets, PartitionLog, SegmentInfo};
pub use producers::ProducerInfo;
pub use rate::Growth;
pub use read::{FileScan, FoundTime, OutOfRange, ReadFault, ReadRange, ReadStep, Slice, TimeStep};
pub use recovery::{LastStop, RecoverFault, Recovered, RecoveryHints, RecoveryProgress, RecoveryReport, recover};
