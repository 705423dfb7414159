//! The file `quorum-state`, in Kafka's form: the one thing a voter must not forget that is not in the log.
//!
//! ```json
//! {"clusterId":"","leaderId":-1,"leaderEpoch":3,"votedId":1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}
//! ```
//!
//! It is replaced whole (temporary file, fsync, rename, fsync of the folder), so it is never torn; one that cannot be
//! read is refused, since a voter that forgot its vote could vote twice.

use serde_json::{Value, json};
use types::{LeaderEpoch, NodeId};

use crate::raft_core::ElectionState;

/// The file's name, in the metadata log's folder.
pub const FILE_NAME: &str = "quorum-state";

/// A `quorum-state` that says nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("quorum-state cannot be read: {0}")]
pub struct ElectionStateFault(String);

/// The file's content.
#[must_use]
pub fn encode(state: ElectionState, me: NodeId) -> Vec<u8> {
    json!({
        "clusterId": "",
        "leaderId": -1,
        "leaderEpoch": state.epoch.value(),
        "votedId": state.voted.map_or(-1, NodeId::value),
        "appliedOffset": 0,
        "currentVoters": [{ "voterId": me.value() }],
        "data_version": 0,
    })
    .to_string()
    .into_bytes()
}

/// Reads the file's content. A vote that Kafka has followed by a leader is that leader's.
///
/// # Errors
/// Not JSON, or without its two numbers.
pub fn decode(bytes: &[u8]) -> Result<ElectionState, ElectionStateFault> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| ElectionStateFault(error.to_string()))?;
    let number = |field: &str| value.get(field).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
    let epoch = number("leaderEpoch").and_then(LeaderEpoch::from_wire);
    let epoch = epoch.ok_or_else(|| ElectionStateFault("leaderEpoch is not an epoch".to_owned()))?;
    let voted = number("votedId").ok_or_else(|| ElectionStateFault("votedId is not a number".to_owned()))?;
    let leader = number("leaderId").unwrap_or(-1);
    Ok(ElectionState { epoch, voted: NodeId::from_wire(voted).or_else(|| NodeId::from_wire(leader)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_its_file_and_every_cut_is_refused() {
        for voted in [None, Some(NodeId::new(0)), Some(NodeId::new(7))] {
            let state = ElectionState { epoch: LeaderEpoch::new(3), voted };
            let bytes = encode(state, NodeId::new(7));
            assert_eq!(decode(&bytes), Ok(state));
            for cut in 0..bytes.len() {
                assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }
}
