//! The whole of a node's metadata quorum in one sans-IO piece: raft, the controller, the committed image, snapshots.

use std::collections::VecDeque;
use std::sync::Arc;

use batch::BatchView;
use bytes::{Bytes, BytesMut};
use machine::{BatchId, Host, Ticket};
use types::limits::METADATA_BATCH_RECORDS_MAX;
use types::{LeaderEpoch, NodeId, Now, Offset};

use crate::codec::{self, ReadFault};
use crate::controller::{Command, ConfigRules, Controller, ControllerOptions, Reply};
use crate::image::{ApplyFault, ChangedTopics, LogPosition, MetadataDelta, MetadataImage};
use crate::mutants::Mutant;
use crate::raft_core::{CommittedBatch, ElectionState, NotLeader, QuorumStatus, RaftCore, RaftEffect, RecoverFault};
use crate::record::Record;
use crate::{election_state, snapshot};

/// Bytes of new log after which a snapshot is taken (Kafka's `metadata.log.max.record.bytes.between.snapshots`).
pub const SNAPSHOT_BYTES_BETWEEN: u64 = 20 * 1024 * 1024;

/// Snapshots kept, with the log behind the older one.
const SNAPSHOTS_KEPT: usize = 2;

/// How a node takes part in the metadata quorum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeOptions {
    /// Its `node.id`.
    pub node: NodeId,
    /// The controller's.
    pub controller: ControllerOptions,
    /// Usually [`SNAPSHOT_BYTES_BETWEEN`].
    pub snapshot_bytes_between: u64,
}

/// Work for the host, to be done one after the other, in order. Only `Append` may be under way while what follows is
/// begun; a later `Append` then queues behind it.
#[derive(Debug)]
pub enum NodeEffect {
    /// Replace the file `quorum-state`, fsynced, then call [`QuorumNode::on_state_saved`].
    SaveState(Bytes),
    /// Append to `__cluster_metadata-0` in this epoch; [`QuorumNode::on_durable`] when it is fsynced.
    Append {
        /// Not yet stamped.
        batch: BytesMut,
        /// The offset it must get.
        base_offset: Offset,
        /// The leader epoch it must get.
        epoch: LeaderEpoch,
    },
    /// A new image is committed: hand it to every shard, and send the replies once all have taken it.
    Publish {
        /// The image.
        image: Arc<MetadataImage>,
        /// What differs from the one published before; the first time, everything.
        changed: ChangedTopics,
        /// Released by this commit.
        replies: Vec<(Ticket, Reply)>,
    },
    /// These replies changed nothing, or nothing any more; they may leave.
    Answer(Vec<(Ticket, Reply)>),
    /// Write a snapshot: temporary file, fsync, rename, fsync of the folder. Then [`QuorumNode::on_snapshot_written`].
    WriteSnapshot {
        /// Its file's name.
        name: String,
        /// Its content.
        bytes: Bytes,
    },
    /// A snapshot holds everything below `log_start`: move the log's start there, and delete snapshots that end before.
    Trim {
        /// The log's first offset from now on.
        log_start: Offset,
    },
}

/// Why the metadata cannot be read back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadFault {
    /// The log's batches.
    #[error(transparent)]
    Log(#[from] RecoverFault),
    /// A committed record.
    #[error("metadata log below offset {end}: {fault}")]
    Read {
        /// The end of its batch.
        end: Offset,
        /// What is wrong with it.
        fault: ReadFault,
    },
    /// Records that do not fit together.
    #[error("metadata log below offset {end}: {fault}")]
    Apply {
        /// The end of their batch.
        end: Offset,
        /// What does not fit.
        fault: ApplyFault,
    },
}

/// What a node finds on its disk.
#[derive(Debug)]
pub struct Found<'a> {
    /// From `quorum-state`; `None`: there is no such file.
    pub state: Option<ElectionState>,
    /// The newest snapshot's image (see [`snapshot::read`]), or an empty one; after a failed append the one last
    /// published.
    pub base: MetadataImage,
    /// The log's batches one after the other, from the one at `base`'s position or earlier to the log's end.
    pub log: &'a [u8],
    /// The log's end.
    pub log_end: Offset,
    /// Where the snapshots on disk end.
    pub snapshots: Vec<LogPosition>,
}

/// A node's metadata quorum. Lives on: the control thread.
///
/// Calls: any inputs, then [`QuorumNode::poll_effect`] until it is empty. A command's records
/// are one batch; what is submitted while an append is under way shares the next fsync. After a failed append: [`QuorumNode::abandon`], then a new node on top of the image last
/// published and of what the log still holds.
#[derive(Debug)]
pub struct QuorumNode<R: ConfigRules> {
    raft: RaftCore,
    options: NodeOptions,
    /// Waiting to become the controller's, once this node leads.
    rules: Option<R>,
    /// There while this node leads and has applied everything before its epoch.
    controller: Option<Host<Controller<R>>>,
    /// Batches of decisions on their way, each until the log is committed up to there.
    awaiting: VecDeque<(Offset, BatchId)>,
    /// Everything committed.
    image: Arc<MetadataImage>,
    published_once: bool,
    effects: VecDeque<NodeEffect>,
    /// Bytes committed since the last snapshot.
    bytes_since_snapshot: u64,
    /// Where snapshots end, oldest first: the last one written, and the one before it while both are kept.
    snapshots: VecDeque<LogPosition>,
    snapshot_in_flight: Option<LogPosition>,
    /// Bytes that were committed between that one and the one before it.
    bytes_in_snapshot: u64,
    /// The first committed record that could not be read or applied: nothing goes on after it.
    fault: Option<LoadFault>,
}

impl<R: ConfigRules> QuorumNode<R> {
    /// Takes the node up again, or for the first time. It stands for election; [`QuorumNode::is_ready`] says when it
    /// takes commands.
    ///
    /// # Errors
    /// See [`LoadFault`].
    pub fn recover(options: NodeOptions, rules: R, now: Now, found: Found<'_>) -> Result<Self, LoadFault> {
        let Found { state, base, log, log_end, mut snapshots } = found;
        snapshots.sort_unstable();
        let mut raft = RaftCore::recover(options.node, state, base.position(), log, log_end)?;
        raft.campaign(now);
        let mut node = Self {
            raft,
            options,
            rules: Some(rules),
            controller: None,
            awaiting: VecDeque::new(),
            image: Arc::new(base),
            published_once: false,
            effects: VecDeque::new(),
            bytes_since_snapshot: 0,
            snapshots: snapshots.into(),
            snapshot_in_flight: None,
            bytes_in_snapshot: 0,
            fault: None,
        };
        node.pump(now);
        Ok(node)
    }

    /// Whether commands are taken: this node leads and knows everything that was ever committed.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.controller.is_some() && self.fault.is_none()
    }

    /// What the log says that cannot be followed. The node publishes nothing any more.
    #[must_use]
    pub const fn fault(&self) -> Option<&LoadFault> {
        self.fault.as_ref()
    }

    /// The image last committed.
    #[must_use]
    pub const fn image(&self) -> &Arc<MetadataImage> {
        &self.image
    }

    /// Where the quorum stands.
    #[must_use]
    pub fn status(&self) -> QuorumStatus {
        self.raft.status()
    }

    /// The catalogue in use, while this node leads.
    #[must_use]
    pub fn rules(&self) -> Option<&R> {
        self.controller.as_ref().map(|host| host.machine().rules())
    }

    /// Has the controller decide `command`; its reply comes with `ticket` in an effect.
    ///
    /// # Errors
    /// [`NotLeader`]: nothing happened, and no reply comes.
    pub fn submit(&mut self, now: Now, ticket: Ticket, command: Command) -> Result<(), NotLeader> {
        let host = self.controller.as_mut().filter(|_| self.fault.is_none()).ok_or(NotLeader)?;
        host.decide(now, ticket, command);
        self.propose(now);
        Ok(())
    }

    /// The election state asked to be saved is on disk.
    pub fn on_state_saved(&mut self, now: Now) {
        self.raft.on_state_saved(now);
        self.pump(now);
    }

    /// Everything of the log below `end` is on disk.
    pub fn on_durable(&mut self, now: Now, end: Offset) {
        self.raft.on_durable(now, end);
        self.pump(now);
    }

    /// The snapshot asked for is on disk.
    pub fn on_snapshot_written(&mut self) {
        let Some(written) = self.snapshot_in_flight.take() else { return };
        self.snapshots.push_back(written);
        // The one before is kept with the log behind it: should the newest be damaged, nothing is lost.
        while SNAPSHOTS_KEPT < self.snapshots.len() {
            self.snapshots.pop_front();
        }
        if Mutant::TrimmedToTheNewestSnapshot.is_armed() {
            self.effects.push_back(NodeEffect::Trim { log_start: written.end });
        } else if self.snapshots.len() == SNAPSHOTS_KEPT
            && let Some(oldest) = self.snapshots.front()
        {
            self.effects.push_back(NodeEffect::Trim { log_start: oldest.end });
        }
    }

    /// The snapshot could not be written; the next commit asks for another.
    pub fn on_snapshot_failed(&mut self) {
        self.snapshot_in_flight = None;
        self.bytes_since_snapshot += std::mem::take(&mut self.bytes_in_snapshot);
    }

    /// A tick of raft's clock.
    pub fn on_tick(&mut self, now: Now) {
        self.raft.on_tick(now);
        self.pump(now);
    }

    /// The next piece of work, if any.
    pub fn poll_effect(&mut self) -> Option<NodeEffect> {
        self.effects.pop_front()
    }

    /// Whether no work waits to be polled.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.effects.is_empty()
    }

    /// Ends the node after a failed append. Returns everyone still owed a reply; the image is what is committed.
    #[must_use]
    pub fn abandon(self) -> (Arc<MetadataImage>, Vec<Ticket>) {
        let mut owed = Vec::new();
        for effect in self.effects {
            if let NodeEffect::Publish { replies, .. } | NodeEffect::Answer(replies) = effect {
                owed.extend(replies.into_iter().map(|(ticket, _)| ticket));
            }
        }
        if let Some(host) = self.controller {
            owed.extend(host.abandon());
        }
        (self.image, owed)
    }

    /// Takes what was decided to the log.
    fn propose(&mut self, now: Now) {
        let Some(host) = self.controller.as_mut() else { return };
        if let Some(decided) = host.take_batch() {
            let mut until = None;
            for chunk in decided.records.chunks(METADATA_BATCH_RECORDS_MAX) {
                let batch = codec::encode_batch(chunk, now.wall);
                until = self.raft.propose(now, batch, chunk.len()).ok();
            }
            if let Some(until) = until {
                self.awaiting.push_back((until.end, decided.id));
            }
        }
        let answers = host.take_replies();
        if !answers.is_empty() {
            self.effects.push_back(NodeEffect::Answer(answers));
        }
        self.pump(now);
    }

    /// Passes on what raft wants done, and applies what it has committed.
    fn pump(&mut self, now: Now) {
        while let Some(effect) = self.raft.poll_effect() {
            match effect {
                RaftEffect::SaveState(state) => {
                    let bytes = election_state::encode(state, self.options.node);
                    self.effects.push_back(NodeEffect::SaveState(bytes.into()));
                }
                RaftEffect::Append { batch, base_offset, epoch } => {
                    self.effects.push_back(NodeEffect::Append { batch, base_offset, epoch });
                }
                RaftEffect::Committed(batches) => {
                    if self.fault.is_none()
                        && let Err(fault) = self.commit(now, batches)
                    {
                        self.fault = Some(fault);
                    }
                }
            }
        }
    }

    fn commit(&mut self, now: Now, batches: Vec<CommittedBatch>) -> Result<(), LoadFault> {
        let mut delta = MetadataDelta::new(&self.image);
        let mut position = self.image.position();
        for CommittedBatch { position: after, batch } in batches {
            position = after;
            let Some(bytes) = batch else { continue };
            self.bytes_since_snapshot += bytes.len() as u64;
            for record in decode(&bytes, after)? {
                delta.replay(&record).map_err(|fault| LoadFault::Apply { end: after.end, fault })?;
            }
        }
        let (mut image, mut changed) = delta.finish(position);
        let leads = self.raft.is_leader() && position.epoch == self.raft.epoch();
        if leads && self.controller.is_none() {
            image = image.with_controller(Some(self.options.node));
            if let Some(rules) = self.rules.take() {
                let controller = Controller::new(image.clone(), rules, self.options.controller);
                self.controller = Some(Host::new(now, controller));
            }
        }
        self.image = Arc::new(image);
        let mut replies = Vec::new();
        if let Some(host) = self.controller.as_mut() {
            while let Some((_, id)) = self.awaiting.front().copied().filter(|(until, _)| *until <= position.end) {
                self.awaiting.pop_front();
                host.on_committed(id);
            }
            replies = host.take_replies();
        }
        if self.controller.is_some() {
            if !self.published_once {
                changed = ChangedTopics::everything(&self.image);
                self.published_once = true;
            }
            self.effects.push_back(NodeEffect::Publish { image: Arc::clone(&self.image), changed, replies });
        }
        if self.options.snapshot_bytes_between <= self.bytes_since_snapshot {
            self.take_snapshot(now);
        }
        Ok(())
    }

    /// Bytes of committed log behind the last snapshot: what a start would have to replay.
    #[must_use]
    pub const fn bytes_since_snapshot(&self) -> u64 {
        self.bytes_since_snapshot
    }

    /// Asks for a snapshot of what was committed since the last one, if anything was.
    pub fn take_snapshot(&mut self, now: Now) {
        if self.bytes_since_snapshot == 0 || self.snapshot_in_flight.is_some() || !self.is_ready() {
            return;
        }
        self.bytes_in_snapshot = std::mem::take(&mut self.bytes_since_snapshot);
        let position = self.image.position();
        self.snapshot_in_flight = Some(position);
        let bytes = snapshot::write(&self.image, now.wall);
        self.effects.push_back(NodeEffect::WriteSnapshot { name: snapshot::file_name(position), bytes });
    }
}

fn decode(bytes: &Bytes, position: LogPosition) -> Result<Vec<Record>, LoadFault> {
    let read = |fault| LoadFault::Read { end: position.end, fault };
    let batch = BatchView::parse(bytes).map_err(|fault| read(fault.into()))?;
    codec::decode_batch(&batch).map_err(read)
}
