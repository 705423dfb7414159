//! raft-rs behind our own face: proposals and completions in, batches to append and committed batches out. Nothing else
//! in the workspace sees a raft type.
//!
//! ## What a raft index is
//!
//! Raft numbers entries from 1 without gaps; Kafka numbers records from 0, and a batch holds many. Both are served by one
//! rule: **raft index = Kafka offset + 1, raft term = leader epoch**. A batch of n records is n entries: n - 1 fillers
//! and, last, the one that holds the batch.
//!
//! ```text
//!   offset    0               1      2      3               4
//!   index     1               2      3      4               5
//!   entry     (empty)         filler filler batch of 3      batch of 1
//!   on disk   LeaderChange    one batch of three records    one batch of one record
//! ```
//!
//! So nothing has to remember a mapping, a snapshot's name says its raft position, and a batch takes effect whole or not
//! at all: should a quorum ever commit only fillers, no state has changed. (Rejected: one entry per batch. It needs the
//! index of each batch kept on disk beside Kafka's files, which have no place for it.)
//!
//! An empty entry that is no filler is what raft-rs appends when a leader begins; on disk it is Kafka's `LeaderChange`
//! control record, so every epoch begins with one, as in KRaft.

use std::collections::VecDeque;

use batch::{BatchError, BatchView, control};
use bytes::{Bytes, BytesMut};
use raft::eraftpb::{ConfState, Entry, HardState, Message, MessageType, Snapshot};
use raft::{Config, GetEntriesContext, RaftState, RawNode, StateRole, Storage, StorageError};
use types::{LeaderEpoch, NodeId, Now, Offset};

use crate::image::LogPosition;

/// Ticks without a leader until a voter stands for election. Voters add their rank, so that two never start together.
pub const ELECTION_TICKS: usize = 10;

/// What marks an entry as a filler.
const FILLER: &[u8] = b"filler";

/// What a voter must never forget: Kafka's `quorum-state`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ElectionState {
    /// The newest epoch seen.
    pub epoch: LeaderEpoch,
    /// Whom this voter chose in it.
    pub voted: Option<NodeId>,
}

/// Work for the host, to be done in order.
#[derive(Debug)]
pub enum RaftEffect {
    /// Keep this, fsynced, then call [`RaftCore::on_state_saved`]. No effect behind it may start before.
    SaveState(ElectionState),
    /// Append this batch, durably, at the log's end. [`RaftCore::on_durable`] when it is.
    Append {
        /// Not yet stamped.
        batch: BytesMut,
        /// The offset it must get.
        base_offset: Offset,
        /// The epoch to stamp.
        epoch: LeaderEpoch,
    },
    /// These batches are committed, in this order. Control batches are among them.
    Committed(Vec<CommittedBatch>),
}

/// A batch that can no longer be lost.
#[derive(Clone, Debug)]
pub struct CommittedBatch {
    /// Where the log stands after it.
    pub position: LogPosition,
    /// The data batch; `None`: a leader change.
    pub batch: Option<Bytes>,
}

/// Why a log cannot be taken up again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecoverFault {
    /// A broken batch.
    #[error("metadata log: {0}")]
    Batch(#[from] BatchError),
    /// The last batch is not whole.
    #[error("metadata log: the batch at offset {after} is cut")]
    Cut {
        /// Where it begins.
        after: Offset,
    },
    /// Batches must follow each other.
    #[error("metadata log: offset {found} where {expected} is due")]
    Gap {
        /// The offset due.
        expected: Offset,
        /// What was there.
        found: Offset,
    },
    /// Epochs never fall.
    #[error("metadata log: epoch {found} at offset {at} after epoch {before}")]
    EpochFell {
        /// Where.
        at: Offset,
        /// The epoch before.
        before: LeaderEpoch,
        /// The epoch found; `None`: the batch names none.
        found: LeaderEpoch,
    },
    /// The log's epoch must be stamped.
    #[error("metadata log: batch at offset {0} has no leader epoch")]
    NoEpoch(Offset),
    /// raft-rs refuses the state.
    #[error("metadata quorum: {0}")]
    Raft(String),
}

/// This node does not lead the quorum (yet, or any longer).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this node does not lead the metadata quorum")]
pub struct NotLeader;

/// Where the quorum stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuorumStatus {
    /// Who leads.
    pub leader: Option<NodeId>,
    /// In which epoch.
    pub epoch: LeaderEpoch,
    /// Everything below is committed.
    pub high_watermark: Offset,
    /// The log's end, with what is on its way to disk.
    pub log_end: Offset,
}

/// A voter of the metadata quorum. Lives on: the control thread.
///
/// Calls: any input, then [`RaftCore::poll_effect`] until it is empty. Messages to and from other voters will be one
/// more input and one more effect; a quorum of one has none, and runs the same code.
pub struct RaftCore {
    node: RawNode<EntryStore>,
    me: NodeId,
    /// Handed to the host, not yet known to be on disk; in order.
    in_flight: VecDeque<InFlight>,
    effects: VecDeque<RaftEffect>,
    durable_end: Offset,
}

#[derive(Debug)]
struct InFlight {
    /// raft-rs's number of the round.
    number: u64,
    awaits_state: bool,
    /// On disk when the log's end is here.
    awaits_end: Option<Offset>,
}

impl std::fmt::Debug for RaftCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftCore").field("status", &self.status()).field("in_flight", &self.in_flight).finish()
    }
}

impl RaftCore {
    /// Takes up a voter again (or for the first time): `state` as last saved; `base`, up to where the caller already
    /// has everything, from a snapshot; and the log's batches from `base` to its end. Batches before `base` are passed
    /// over.
    ///
    /// # Errors
    /// See [`RecoverFault`].
    pub fn recover(
        me: NodeId,
        state: Option<ElectionState>,
        base: LogPosition,
        mut log: &[u8],
        log_end: Offset,
    ) -> Result<Self, RecoverFault> {
        let state = state.unwrap_or_default();
        let mut store = EntryStore {
            state: HardState::default(),
            voters: vec![raft_id(me)],
            base_index: raft_index(base.end),
            base_term: term_of(base.epoch),
            entries: VecDeque::new(),
        };
        let mut position = base;
        while !log.is_empty() {
            let bytes = BatchView::peek_size(log)?.filter(|&bytes| bytes <= log.len());
            let (batch, rest) = log.split_at(bytes.ok_or(RecoverFault::Cut { after: position.end })?);
            log = rest;
            let batch = batch::check(batch)?;
            if batch.last_offset() < position.end {
                continue;
            }
            position = recover_batch(&mut store, position, &batch)?;
        }
        if position.end != log_end {
            return Err(RecoverFault::Gap { expected: position.end, found: log_end });
        }
        let epoch = state.epoch.max(position.epoch);
        store.state.term = term_of(epoch);
        store.state.vote = state.voted.filter(|_| state.epoch == epoch).map_or(0, raft_id);
        store.state.commit = store.base_index;

        let rank = 0;
        let election_tick = ELECTION_TICKS + rank;
        let config = Config {
            id: raft_id(me),
            election_tick,
            heartbeat_tick: 1,
            // One value to draw from: raft-rs asks the thread's own randomness, and runs must repeat.
            min_election_tick: election_tick,
            max_election_tick: election_tick + 1,
            applied: store.base_index,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, store, &logger).map_err(|error| RecoverFault::Raft(error.to_string()))?;
        Ok(Self { node, me, in_flight: VecDeque::new(), effects: VecDeque::new(), durable_end: log_end })
    }

    /// Stands for election at once instead of waiting for the timeout: what a quorum of one does at its start.
    pub fn campaign(&mut self, now: Now) {
        // raft-rs refuses only what cannot be here: a membership change that is not applied.
        let _ = self.node.campaign();
        self.pump(now);
    }

    /// A tick of raft's clock.
    pub fn on_tick(&mut self, now: Now) {
        self.node.tick();
        self.pump(now);
    }

    /// Proposes a batch of `records` records. Returns where the log stands when it is committed.
    ///
    /// # Errors
    /// [`NotLeader`].
    pub fn propose(&mut self, now: Now, batch: BytesMut, records: usize) -> Result<LogPosition, NotLeader> {
        assert!(0 < records);
        if !self.is_leader() {
            return Err(NotLeader);
        }
        let filler = Entry { context: Bytes::from_static(FILLER), ..Entry::default() };
        let mut entries = vec![filler; records - 1];
        entries.push(Entry { data: batch.freeze(), ..Entry::default() });
        let mut message = Message { from: raft_id(self.me), ..Message::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.entries = entries.into();
        self.node.raft.step(message).map_err(|_| NotLeader)?;
        let position = LogPosition { end: offset_after(self.node.raft.raft_log.last_index()), epoch: self.epoch() };
        self.pump(now);
        Ok(position)
    }

    /// The election state handed out first among those not yet reported is on disk.
    pub fn on_state_saved(&mut self, now: Now) {
        if let Some(waiting) = self.in_flight.iter_mut().find(|waiting| waiting.awaits_state) {
            waiting.awaits_state = false;
        }
        self.settle();
        self.pump(now);
    }

    /// Everything below `end` is on disk.
    pub fn on_durable(&mut self, now: Now, end: Offset) {
        self.durable_end = self.durable_end.max(end);
        self.settle();
        self.pump(now);
    }

    /// The next piece of work, if any.
    pub fn poll_effect(&mut self) -> Option<RaftEffect> {
        self.effects.pop_front()
    }

    /// Whether this node leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// The current epoch.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        epoch_of(self.node.raft.term)
    }

    /// Where the quorum stands.
    #[must_use]
    pub fn status(&self) -> QuorumStatus {
        let raft = &self.node.raft;
        QuorumStatus {
            leader: (raft.leader_id != 0).then(|| NodeId::new((raft.leader_id - 1) as i32)),
            epoch: self.epoch(),
            high_watermark: offset_after(raft.raft_log.committed),
            log_end: offset_after(raft.raft_log.last_index()),
        }
    }

    /// Tells raft what has reached the disk, whole rounds at a time.
    fn settle(&mut self) {
        let mut settled = None;
        while let Some(front) = self.in_flight.front() {
            if front.awaits_state || front.awaits_end.is_some_and(|end| self.durable_end < end) {
                break;
            }
            settled = self.in_flight.pop_front().map(|front| front.number);
        }
        if let Some(number) = settled {
            self.node.on_persist_ready(number);
        }
    }

    /// Takes from raft what it has for us.
    fn pump(&mut self, now: Now) {
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            let mut round = InFlight { number: ready.number(), awaits_state: false, awaits_end: None };
            if ready.must_sync()
                && let Some(state) = ready.hs()
            {
                let (epoch, vote) = (epoch_of(state.term), state.vote);
                let voted = (vote != 0).then(|| NodeId::new((vote - 1) as i32));
                let saved = &mut self.node.mut_store().state;
                if (saved.term, saved.vote) != (term_of(epoch), vote) {
                    (saved.term, saved.vote) = (term_of(epoch), vote);
                    round.awaits_state = true;
                    self.effects.push_back(RaftEffect::SaveState(ElectionState { epoch, voted }));
                }
            }
            let committed = ready.take_committed_entries();
            let entries = ready.take_entries();
            if let Some(last) = entries.last() {
                round.awaits_end = Some(offset_after(last.index));
            }
            self.append(now, &entries);
            self.node.mut_store().entries.extend(entries);
            self.node.advance_append_async(ready);
            self.in_flight.push_back(round);
            self.commit(committed);
            self.settle();
        }
    }

    fn append(&mut self, now: Now, entries: &[Entry]) {
        let mut base = None;
        for entry in entries {
            let base_index = *base.get_or_insert(entry.index);
            if &*entry.context == FILLER {
                continue;
            }
            base = None;
            let (base_offset, epoch) = (Offset::new((base_index - 1) as i64), epoch_of(entry.term));
            let batch = if entry.data.is_empty() {
                let value = control::leader_change(self.me, &[self.me], &[self.me]);
                let batch = control::batch(control::ControlType::LeaderChange, &value, now.wall, base_offset, epoch);
                BytesMut::from(&batch[..])
            } else {
                BytesMut::from(&entry.data[..])
            };
            self.effects.push_back(RaftEffect::Append { batch, base_offset, epoch });
        }
        assert!(base.is_none(), "a leader's batch comes whole");
    }

    fn commit(&mut self, entries: Vec<Entry>) {
        let Some(last) = entries.last() else { return };
        let (last_index, last_term) = (last.index, last.term);
        let batches = entries.into_iter().filter(|entry| &*entry.context != FILLER).map(|entry| CommittedBatch {
            position: LogPosition { end: offset_after(entry.index), epoch: epoch_of(entry.term) },
            batch: (!entry.data.is_empty()).then_some(entry.data),
        });
        let batches: Vec<CommittedBatch> = batches.collect();
        if !batches.is_empty() {
            self.effects.push_back(RaftEffect::Committed(batches));
        }
        self.node.advance_apply();
        // Nobody asks for them again: other voters will be served from the log itself.
        self.node.mut_store().forget(last_index, last_term);
    }
}

fn recover_batch(
    store: &mut EntryStore,
    before: LogPosition,
    batch: &BatchView<'_>,
) -> Result<LogPosition, RecoverFault> {
    let base_offset = batch.base_offset();
    if base_offset != before.end {
        return Err(RecoverFault::Gap { expected: before.end, found: base_offset });
    }
    let epoch = batch.leader_epoch().ok_or(RecoverFault::NoEpoch(base_offset))?;
    if epoch < before.epoch {
        return Err(RecoverFault::EpochFell { at: base_offset, before: before.epoch, found: epoch });
    }
    let (first, last) = (raft_index(base_offset) + 1, raft_index(batch.last_offset()) + 1);
    let term = term_of(epoch);
    let filler = |index| Entry { index, term, context: Bytes::from_static(FILLER), ..Entry::default() };
    store.entries.extend((first..last).map(filler));
    let is_leader_change = batch.attributes().control;
    let data = if is_leader_change { Bytes::new() } else { Bytes::copy_from_slice(batch.bytes()) };
    store.entries.push_back(Entry { index: last, term, data, ..Entry::default() });
    Ok(LogPosition { end: offset_after(last), epoch })
}

/// raft-rs takes 0 for "nobody"; `node.id` may be 0.
fn raft_id(node: NodeId) -> u64 {
    u64::from(node.value().unsigned_abs()) + 1
}

/// The index of the last entry below `end`.
fn raft_index(end: Offset) -> u64 {
    end.value().unsigned_abs()
}

fn offset_after(index: u64) -> Offset {
    Offset::new(i64::try_from(index).unwrap_or(i64::MAX))
}

fn term_of(epoch: LeaderEpoch) -> u64 {
    epoch.value().unsigned_abs().into()
}

fn epoch_of(term: u64) -> LeaderEpoch {
    LeaderEpoch::new(i32::try_from(term).unwrap_or(i32::MAX))
}

/// The entries that raft may still ask for: those not yet applied. What is applied is in the image, and on disk.
#[derive(Debug)]
struct EntryStore {
    state: HardState,
    voters: Vec<u64>,
    /// The last entry that is gone from here.
    base_index: u64,
    base_term: u64,
    entries: VecDeque<Entry>,
}

impl EntryStore {
    fn forget(&mut self, index: u64, term: u64) {
        let count = index.saturating_sub(self.base_index) as usize;
        self.entries.drain(..count.min(self.entries.len()));
        (self.base_index, self.base_term) = (index, term);
    }
}

impl Storage for EntryStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let conf_state = ConfState { voters: self.voters.clone(), ..ConfState::default() };
        Ok(RaftState { hard_state: self.state.clone(), conf_state })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base_index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let from = (low - self.base_index - 1) as usize;
        let until = (high - self.base_index - 1) as usize;
        if self.entries.len() < until {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let mut entries: Vec<Entry> = self.entries.range(from..until).cloned().collect();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base_index {
            return Ok(self.base_term);
        }
        if index < self.base_index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get((index - self.base_index - 1) as usize);
        entry.map(|entry| entry.term).ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base_index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.base_index + self.entries.len() as u64)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
