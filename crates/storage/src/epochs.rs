//! Leader epochs.
use types::{LeaderEpoch, Offset};

/// Where an epoch ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// The largest epoch not above the one asked for.
    pub epoch: LeaderEpoch,
    /// Where the next one starts, or the log end.
    pub end_offset: Offset,
}
