//! What a partition's leader decides about its replicas and its readers: which offsets are committed by the in-sync
//! replicas ([`Leader`]), which replies wait for that ([`Parked`]), which fetches wait for data ([`FetchWaiters`]), and
//! what a fetch session remembers so that an idle partition costs no bytes ([`FetchSessions`], KIP-227).
//!
//! Everything here is sans-IO: events and `now` come in, decisions come out. Nothing sends, reads a clock or starts work.

mod fetch_session;
mod fetch_wait;
mod leader;
mod parked;

pub use fetch_session::{
    Answer, FetchContext, FetchRequest, FetchSession, FetchSessions, Responded, SessionEpoch, SessionId, SessionLimits,
};
pub use fetch_wait::FetchWaiters;
pub use leader::{Leader, NotEnoughReplicas};
pub use parked::{Parked, ParkedId};
