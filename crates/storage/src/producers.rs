//! Producer state.
use types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// A producer as DescribeProducers shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerInfo {
    /// Its id.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// The last sequence written; `None`: none in this epoch.
    pub last_sequence: Option<Sequence>,
    /// When it last wrote.
    pub last_timestamp: Timestamp,
    /// Its open transaction's first offset.
    pub txn_start: Option<Offset>,
}
