//! Hosts the group coordinators: one per partition of `__consumer_offsets` whose home is this shard.
//!
//! ```text
//!  handler ─► ask ─► the partition's home ─► Host::decide ─┬─► nothing to write: reply at once
//!                                                          └─► one batch at a time, acks=all ─► committed ─► replies
//!  load: the partition's log, from its start to the high watermark, replayed; COORDINATOR_LOAD_IN_PROGRESS meanwhile
//! ```
//! What is decided while a batch is under way goes with the next one. A failed append ends the coordinator: everyone is
//! told `NOT_COORDINATOR`, and it is loaded again from what the log holds.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use batch::{BatchBuilder, BatchView, Codec, Inflated};
use bytes::{Bytes, BytesMut};
use coordinator::{Command, DeletedTopic, GroupConfig, GroupCoordinator, Record, Reply};
use machine::{Batch, BatchId, Host, Machine as _, Ticket};
use quorum::controller;
use quorum::image::{ChangedTopics, Topic};
use quorum::topics::{Layout, NewTopic};
use storage::{ReadRange, ReadStep, Slice};
use tokio::sync::oneshot;
use types::limits::INFLATED_BATCH_BYTES_MAX;
use types::{ErrorCode, Offset, PartitionIndex, TopicId};

use crate::lag::{self, Cursor, Place};
use crate::mail::PartitionKey;
use crate::node::NodeShared;
use crate::partition::Partition;
use crate::shard_state::ShardState;
use crate::topics::TopicView;

/// The topic that keeps groups and their offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The first timer number of coordinators; the partition's index is added.
pub(crate) const TIMERS_FROM: u64 = 1 << 62;

/// How long is waited before a coordinator that failed is loaded again, and before time goes on for one whose log takes
/// no records.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What a batch's header and a record's own lengths may take of the largest batch.
const BATCH_SLACK_BYTES: usize = 1_024;

type Answer = Result<Reply, ErrorCode>;

/// The coordinators of one shard.
#[derive(Default)]
pub(crate) struct GroupsHost {
    coordinators: RefCell<BTreeMap<PartitionIndex, Rc<Hosted>>>,
    stops: Cell<bool>,
}

enum Stage {
    /// The log is being read; topics that were deleted meanwhile are kept for the machine.
    Loading {
        deleted: Vec<DeletedTopic>,
    },
    Active(Box<Host<GroupCoordinator>>),
    /// The partition is gone.
    Gone,
}

/// The coordinator of one partition.
struct Hosted {
    key: PartitionKey,
    partition: Rc<Partition>,
    config: GroupConfig,
    batch_bytes_max: usize,
    stage: RefCell<Stage>,
    asked: RefCell<BTreeMap<Ticket, oneshot::Sender<Answer>>>,
    tickets: Cell<u64>,
    /// A batch is on its way to the log.
    appends: Cell<bool>,
}

/// Asks the coordinator of `group`. The answer comes when what it tells of is committed; for a member that joins, that
/// may take minutes.
///
/// # Errors
/// `NotCoordinator`, `CoordinatorNotAvailable` or `CoordinatorLoadInProgress`: the client is to try again.
pub(crate) async fn ask(state: &Rc<ShardState>, group: &str, command: Command) -> Answer {
    let view = state.topic(OFFSETS_TOPIC).ok_or(ErrorCode::NotCoordinator)?;
    ask_partition(state, &view, partition_of(&view, group), command).await.unwrap_or(Err(ErrorCode::NotCoordinator))
}

/// Asks the coordinator of one partition of the offsets topic, at once; the answer is waited for as long as the caller
/// likes. It is missing only when the shard ends.
pub(crate) fn ask_partition(
    state: &Rc<ShardState>,
    view: &TopicView,
    partition: PartitionIndex,
    command: Command,
) -> oneshot::Receiver<Answer> {
    let (sender, receiver) = oneshot::channel();
    state.on_shard(state.home(view.id, partition), move |state| take(state, partition, command, sender));
    receiver
}

/// Which partition of the offsets topic a group belongs to.
pub(crate) fn partition_of(view: &TopicView, group: &str) -> PartitionIndex {
    coordinator::partition_for(group, i32::try_from(view.topic.partitions.len().max(1)).unwrap_or(i32::MAX))
}

/// The offsets topic, made if there is none.
///
/// # Errors
/// `CoordinatorNotAvailable`: it cannot be made now; the reason is in the log.
pub(crate) async fn offsets_topic(state: &Rc<ShardState>) -> Result<Rc<TopicView>, ErrorCode> {
    if let Some(view) = state.topic(OFFSETS_TOPIC) {
        return Ok(view);
    }
    let offsets = &state.node.config.offsets;
    let config = |name: &str, value: String| (Arc::from(name), Some(Arc::from(value)));
    let topic = NewTopic {
        name: OFFSETS_TOPIC.into(),
        layout: Layout {
            partitions: Some(i32::try_from(offsets.topic_partitions).unwrap_or(i32::MAX)),
            replication_factor: Some(i16::try_from(offsets.topic_replication_factor).unwrap_or(i16::MAX)),
            manual: Vec::new(),
        },
        configs: vec![
            config("cleanup.policy", "compact".to_owned()),
            config("compression.type", "producer".to_owned()),
            config("segment.bytes", offsets.topic_segment_bytes.to_string()),
        ],
    };
    let command = controller::Command::CreateTopics { topics: vec![topic], validate_only: false };
    match state.node.control.command(command).await {
        Some(controller::Reply::TopicsCreated(outcomes)) => {
            for (_, outcome) in outcomes {
                // Somebody else may have been faster.
                if let Err(fault) = outcome
                    && fault.code != ErrorCode::TopicAlreadyExists
                {
                    tracing::error!(topic = OFFSETS_TOPIC, code = %fault.code, reason = fault.message, "topic not created");
                }
            }
        }
        _ => tracing::debug!(topic = OFFSETS_TOPIC, "topic not created: the node stops"),
    }
    state.topic(OFFSETS_TOPIC).ok_or(ErrorCode::CoordinatorNotAvailable)
}

/// What groups on this shard have committed, from `cursor` on until there are about `offsets_max`; and where to go on.
pub(crate) fn committed(state: &ShardState, cursor: Cursor, offsets_max: usize) -> (Vec<Place>, Option<Cursor>) {
    let coordinators = state.groups.coordinators.borrow();
    let (first, mut after) = cursor;
    let mut places = Vec::new();
    for (index, hosted) in coordinators.range(first..) {
        let after = after.take();
        let Stage::Active(host) = &*hosted.stage.borrow() else { continue };
        let (offsets, next) = host.machine().offsets_after(after.as_ref(), offsets_max - places.len());
        places.extend(offsets.into_iter().filter_map(|offset| lag::place(state, offset)));
        if next.is_some() {
            return (places, Some((*index, next)));
        }
        if offsets_max <= places.len() {
            return (places, index.value().checked_add(1).map(|index| (PartitionIndex::new(index), None)));
        }
    }
    (places, None)
}

/// The shard's partitions are open: load the coordinators of those that are offsets partitions.
pub(crate) fn on_start(state: &Rc<ShardState>) {
    let topic = state.image().topic(OFFSETS_TOPIC).cloned();
    if let Some(topic) = topic {
        host_partitions(state, &topic);
    }
}

/// The metadata changed.
pub(crate) fn on_image(state: &Rc<ShardState>, changed: &ChangedTopics) {
    let deleted: Vec<DeletedTopic> = changed
        .removed
        .iter()
        .map(|topic| DeletedTopic { topic: Arc::clone(&topic.name), topic_id: topic.id })
        .collect();
    if !deleted.is_empty() {
        let hosted: Vec<_> = state.groups.coordinators.borrow().values().cloned().collect();
        for hosted in hosted {
            if deleted.iter().any(|topic| topic.topic_id == hosted.key.topic) {
                hosted.leave(state);
            } else {
                hosted.on_topics_deleted(state, &deleted);
            }
        }
    }
    let offsets = changed.partitions.iter().find(|(topic, _)| &*topic.name == OFFSETS_TOPIC);
    if let Some((topic, _)) = offsets {
        host_partitions(state, topic);
    }
}

/// The node stops: whoever waits in a group is answered, and what is decided goes to the log.
pub(crate) fn on_stop(state: &Rc<ShardState>) {
    state.groups.stops.set(true);
    let hosted: Vec<_> = state.groups.coordinators.borrow().values().cloned().collect();
    for hosted in hosted {
        hosted.flush(state);
        let mut waiting = Vec::new();
        if let Stage::Active(host) = &mut *hosted.stage.borrow_mut() {
            waiting = host.take_waiting();
        }
        hosted.refuse(waiting, ErrorCode::NotCoordinator);
    }
}

/// A coordinator's timer fired.
pub(crate) fn on_timer(state: &Rc<ShardState>, number: u64) {
    let hosted = {
        let coordinators = state.groups.coordinators.borrow();
        coordinators.values().find(|hosted| hosted.timer() == number).cloned()
    };
    let Some(hosted) = hosted else { return };
    if state.groups.stops.get() {
        return;
    }
    if hosted.refusal().is_some() {
        // Members are not thrown out while their group could not say so.
        return state.runtime.timer(number, state.now().deadline_ns(RETRY_AFTER));
    }
    if let Stage::Active(host) = &mut *hosted.stage.borrow_mut() {
        host.on_tick(state.now());
        tell(host.machine());
    }
    hosted.flush(state);
}

fn host_partitions(state: &Rc<ShardState>, topic: &Topic) {
    for partition in &topic.partitions {
        let key = PartitionKey { topic: topic.id, partition: partition.index };
        let is_hosted = state.groups.coordinators.borrow().contains_key(&key.partition);
        if is_hosted || state.home(key.topic, key.partition) != state.id {
            continue;
        }
        if let (Some(log), Some(view)) = (state.partition(key), state.topic_by_id(key.topic)) {
            Hosted::start(state, key, log, &view);
        }
    }
}

fn take(state: &Rc<ShardState>, partition: PartitionIndex, command: Command, sender: oneshot::Sender<Answer>) {
    let hosted = state.groups.coordinators.borrow().get(&partition).cloned();
    let refused = match &hosted {
        None => Some(ErrorCode::NotCoordinator),
        Some(_) if state.groups.stops.get() => Some(ErrorCode::CoordinatorNotAvailable),
        Some(hosted) => hosted.refusal().filter(|_| !is_read(&command)),
    };
    match (hosted, refused) {
        (Some(hosted), None) => hosted.decide(state, command, Some(sender)),
        // Whoever asked may be gone.
        (_, refused) => drop(sender.send(Err(refused.unwrap_or(ErrorCode::NotCoordinator)))),
    }
}

/// Tells of the rebalances that the last input began.
fn tell(coordinator: &GroupCoordinator) {
    for it in coordinator.rebalances() {
        let (member, client_reason) = (it.member.as_deref(), it.client_reason.as_deref());
        tracing::info!(
            cause = it.cause.name(),
            group = &*it.group,
            member,
            client_reason,
            state = it.from.name(),
            generation = it.generation,
            members = it.members,
            "group rebalances"
        );
    }
}

/// Characters of a client's reason that are kept, as Kafka's own clients send no more.
const REASON_CHARS_MAX: usize = 255;

/// Why a client joins or leaves, as it says itself (KIP-800).
pub(crate) fn reason(text: Option<&str>) -> Option<Arc<str>> {
    let text = text.filter(|text| !text.is_empty())?;
    Some(text.chars().take(REASON_CHARS_MAX).collect::<String>().into())
}

/// Whether a command can be answered without a record, even while the log takes none.
fn is_read(command: &Command) -> bool {
    matches!(command, Command::Fetch(_) | Command::Describe(_) | Command::List(_) | Command::Heartbeat(_))
}

fn group_config(node: &NodeShared, batch_bytes_max: usize) -> GroupConfig {
    let (groups, offsets) = (&node.config.groups, &node.config.offsets);
    GroupConfig {
        session_timeout_ms_min: i32::try_from(groups.session_timeout_ms_min).unwrap_or(i32::MAX),
        session_timeout_ms_max: i32::try_from(groups.session_timeout_ms_max).unwrap_or(i32::MAX),
        initial_rebalance_delay_ms: groups.initial_rebalance_delay_ms,
        members_max: groups.members_max as usize,
        offset_metadata_units_max: offsets.metadata_bytes_max as usize,
        offsets_retention_ms: i64::try_from(offsets.retention_ms).unwrap_or(i64::MAX),
        offsets_retention_check_ms: offsets.retention_check_interval_ms,
        record_bytes_max: batch_bytes_max.saturating_sub(BATCH_SLACK_BYTES),
    }
}

impl Hosted {
    fn start(state: &Rc<ShardState>, key: PartitionKey, partition: Rc<Partition>, view: &TopicView) {
        let batch_bytes_max = view.config.batch_bytes_max as usize;
        let hosted = Rc::new(Self {
            key,
            partition,
            config: group_config(&state.node, batch_bytes_max),
            batch_bytes_max,
            stage: RefCell::new(Stage::Loading { deleted: Vec::new() }),
            asked: RefCell::default(),
            tickets: Cell::new(0),
            appends: Cell::new(false),
        });
        state.groups.coordinators.borrow_mut().insert(key.partition, Rc::clone(&hosted));
        hosted.load_after(state, Duration::ZERO);
    }

    fn timer(&self) -> u64 {
        TIMERS_FROM | u64::from(self.key.partition.value().unsigned_abs())
    }

    /// Why nothing can be decided that would have to be written.
    fn refusal(&self) -> Option<ErrorCode> {
        let log_refuses = self.partition.with_log(|log| log.awaits_new_epoch() || log.poisoned().is_some());
        let is_refused = log_refuses || self.partition.log_dir.refusal().is_some();
        is_refused.then_some(ErrorCode::CoordinatorNotAvailable)
    }

    fn decide(self: &Rc<Self>, state: &Rc<ShardState>, command: Command, sender: Option<oneshot::Sender<Answer>>) {
        let ticket = Ticket::new(self.tickets.get());
        self.tickets.set(ticket.number() + 1);
        let refused = match &mut *self.stage.borrow_mut() {
            Stage::Active(host) => {
                if let Some(sender) = sender {
                    self.asked.borrow_mut().insert(ticket, sender);
                }
                host.decide(state.now(), ticket, command);
                tell(host.machine());
                None
            }
            Stage::Loading { .. } => Some((ErrorCode::CoordinatorLoadInProgress, sender)),
            Stage::Gone => Some((ErrorCode::NotCoordinator, sender)),
        };
        match refused {
            None => self.flush(state),
            Some((code, Some(sender))) => drop(sender.send(Err(code))),
            Some((_, None)) => {}
        }
    }

    fn on_topics_deleted(self: &Rc<Self>, state: &Rc<ShardState>, topics: &[DeletedTopic]) {
        if let Stage::Loading { deleted } = &mut *self.stage.borrow_mut() {
            deleted.extend_from_slice(topics);
            return;
        }
        self.decide(state, Command::TopicsDeleted(topics.to_vec()), None);
    }

    /// Sends what may be said, and what was decided to the log unless a batch is on its way there.
    fn flush(self: &Rc<Self>, state: &Rc<ShardState>) {
        let (batch, replies, deadline_ns) = {
            let mut stage = self.stage.borrow_mut();
            let Stage::Active(host) = &mut *stage else { return };
            let batch = if self.appends.get() { None } else { host.take_batch() };
            (batch, host.take_replies(), host.next_deadline_ns())
        };
        for (ticket, reply) in replies {
            let sender = self.asked.borrow_mut().remove(&ticket);
            if let Some(sender) = sender {
                // A client that is gone needs no answer.
                let _ = sender.send(Ok(reply));
            }
        }
        match deadline_ns {
            Some(deadline_ns) => state.runtime.timer(self.timer(), deadline_ns),
            None => state.runtime.cancel(self.timer()),
        }
        if let Some(batch) = batch {
            self.append(state, batch);
        }
    }

    fn append(self: &Rc<Self>, state: &Rc<ShardState>, batch: Batch<Record>) {
        let encoded = match self.encode(state, &batch.records) {
            Ok(encoded) => encoded,
            Err(error) => {
                tracing::error!(partition = %self.partition.name, error, "group records cannot be written");
                return self.fail(state);
            }
        };
        self.appends.set(true);
        let mut outcomes = Vec::with_capacity(encoded.len());
        for bytes in encoded {
            let info = BatchView::parse(&bytes).map(|view| view.info());
            match info {
                Ok(info) => outcomes.push(self.partition.append_internal(state, bytes, &info)),
                Err(error) => panic!("the batch builder made a batch that cannot be read: {error}"),
            }
        }
        let (hosted, state) = (Rc::clone(self), Rc::clone(state));
        tokio::task::spawn_local(async move {
            let mut failure = None;
            for outcome in outcomes {
                match outcome.await {
                    Ok(Ok(_)) => {}
                    Ok(Err(refusal)) => failure = failure.or(Some(refusal.message)),
                    Err(_) => failure = failure.or(Some("the partition is gone".to_owned())),
                }
            }
            hosted.on_appended(&state, batch.id, failure);
        });
    }

    /// Records as batches, each no larger than the topic takes.
    fn encode(&self, state: &ShardState, records: &[Record]) -> Result<Vec<BytesMut>, String> {
        let now = state.now().wall;
        let mut batches = Vec::new();
        let mut builder = BatchBuilder::new(Codec::None);
        for record in records {
            let (key, value) = record.encode().map_err(|error| error.to_string())?;
            let bytes = key.len() + value.as_ref().map_or(0, Bytes::len) + BATCH_SLACK_BYTES;
            if 0 < builder.records() && self.batch_bytes_max < builder.size_bytes() + bytes {
                batches.push(std::mem::replace(&mut builder, BatchBuilder::new(Codec::None)).build_unstamped());
            }
            builder.append(now, Some(&key), value.as_deref(), &[]);
        }
        batches.push(builder.build_unstamped());
        Ok(batches)
    }

    fn on_appended(self: &Rc<Self>, state: &Rc<ShardState>, id: BatchId, failure: Option<String>) {
        self.appends.set(false);
        if let Some(reason) = failure {
            tracing::error!(
                partition = %self.partition.name, reason,
                "groups could not be written: their coordinator is loaded again from the log"
            );
            return self.fail(state);
        }
        if let Stage::Active(host) = &mut *self.stage.borrow_mut() {
            host.on_committed(id);
        }
        self.flush(state);
    }

    /// Ends the machine; a new one is loaded.
    fn fail(self: &Rc<Self>, state: &Rc<ShardState>) {
        self.end(Stage::Loading { deleted: Vec::new() });
        if !state.groups.stops.get() {
            self.load_after(state, RETRY_AFTER);
        }
    }

    /// The partition is gone.
    fn leave(self: &Rc<Self>, state: &Rc<ShardState>) {
        self.end(Stage::Gone);
        state.runtime.cancel(self.timer());
        state.groups.coordinators.borrow_mut().remove(&self.key.partition);
    }

    fn end(&self, next: Stage) {
        let ended = self.stage.replace(next);
        if let Stage::Active(host) = ended {
            let owed = host.abandon();
            self.refuse(owed, ErrorCode::NotCoordinator);
        }
    }

    fn refuse(&self, tickets: Vec<Ticket>, code: ErrorCode) {
        for ticket in tickets {
            let sender = self.asked.borrow_mut().remove(&ticket);
            if let Some(sender) = sender {
                let _ = sender.send(Err(code));
            }
        }
    }

    fn load_after(self: &Rc<Self>, state: &Rc<ShardState>, delay: Duration) {
        let (hosted, state) = (Rc::clone(self), Rc::clone(state));
        tokio::task::spawn_local(async move {
            tokio::time::sleep(delay).await;
            loop {
                if !matches!(&*hosted.stage.borrow(), Stage::Loading { .. }) || state.groups.stops.get() {
                    return;
                }
                // A batch that a poisoned log gave up may be in the file all the same, and come back with a restart. What is
                // told of the groups until then could be taken back, so nothing is: clients find the coordinator loading.
                if hosted.partition.with_log(|log| log.poisoned().is_some()) {
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
                match hosted.load(&state).await {
                    Ok(machine) => return hosted.begin(&state, machine),
                    Err(error) => {
                        tracing::error!(partition = %hosted.partition.name, %error, "groups cannot be loaded; trying again");
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                }
            }
        });
    }

    fn begin(self: &Rc<Self>, state: &Rc<ShardState>, machine: GroupCoordinator) {
        let deleted = {
            let mut stage = self.stage.borrow_mut();
            let Stage::Loading { deleted } = &mut *stage else { return };
            let deleted = std::mem::take(deleted);
            let host = Host::new(state.now(), machine);
            tell(host.machine());
            *stage = Stage::Active(Box::new(host));
            deleted
        };
        if deleted.is_empty() {
            self.flush(state);
        } else {
            self.decide(state, Command::TopicsDeleted(deleted), None);
        }
    }

    /// A machine that has taken in everything committed.
    async fn load(&self, state: &Rc<ShardState>) -> io::Result<GroupCoordinator> {
        let mut machine = GroupCoordinator::new(self.config.clone());
        let visible = self.partition.visible();
        let (mut next, end) = (visible.log_start, visible.high_watermark);
        while next < end {
            let Some(bytes) = self.read(state, next, end).await? else { break };
            let mut rest = &bytes[..];
            let before = next;
            while let Ok(Some(size)) = BatchView::peek_size(rest) {
                if rest.len() < size {
                    break;
                }
                next = self.replay(&mut machine, &rest[..size])?;
                rest = &rest[size..];
            }
            if next <= before {
                return Err(io::Error::other(format!("no whole batch at offset {before}")));
            }
            tokio::task::yield_now().await;
        }
        Ok(machine)
    }

    /// Takes in one batch; returns the offset after it.
    fn replay(&self, machine: &mut GroupCoordinator, bytes: &[u8]) -> io::Result<Offset> {
        let view = batch::check(bytes).map_err(io::Error::other)?;
        let next = view.info().next_offset();
        if view.attributes().control {
            return Ok(next);
        }
        let inflated = Inflated::new(&view, INFLATED_BATCH_BYTES_MAX).map_err(io::Error::other)?;
        for record in inflated.records() {
            let record = record.map_err(io::Error::other)?;
            let offset = inflated.offset_of(&record);
            match Record::decode(record.key, record.value) {
                Ok(Some(record)) => machine.replay(offset, record),
                // A kind of group that this node does not keep.
                Ok(None) => {}
                Err(fault) => {
                    tracing::error!(partition = %self.partition.name, %offset, %fault, "a group record makes no sense and is passed over");
                }
            }
        }
        Ok(next)
    }

    /// Batches from `start` on; `None` when there are none.
    async fn read(&self, state: &Rc<ShardState>, start: Offset, end: Offset) -> io::Result<Option<Bytes>> {
        let bytes_max = state.node.config.offsets.load_buffer_bytes;
        let range = ReadRange { start, end, bytes_max, at_least_one: true };
        let mut step = self.partition.with_log(|log| log.read(&range)).map_err(io::Error::other)?;
        loop {
            match step {
                ReadStep::Empty => return Ok(None),
                ReadStep::Slice(slice) => return self.read_slice(state, slice).await.map(Some),
                ReadStep::Scan(scan) => {
                    let bytes = state.read(&self.partition, scan).await?;
                    let resumed = self.partition.with_log(|log| log.resume_read(&range, scan, &bytes));
                    step = resumed.map_err(io::Error::other)?;
                }
            }
        }
    }

    async fn read_slice(&self, state: &Rc<ShardState>, slice: Slice) -> io::Result<Bytes> {
        let file = self.partition.open(state, slice.file)?;
        let mut buffer = vec![0; slice.bytes as usize];
        if file.read_at_cached(slice.position, &mut buffer)? != Some(buffer.len()) {
            state.read_ahead(&file, slice.position, buffer.len()).await?;
            let read = file.read_at(slice.position, &mut buffer)?;
            buffer.truncate(read);
        }
        Ok(Bytes::from(buffer))
    }
}

/// A text of a request, to keep.
pub(crate) fn text<T: AsRef<str>>(text: &T) -> Arc<str> {
    text.as_ref().into()
}

/// A member's id from a request, where an empty one is none.
pub(crate) fn named<T: AsRef<str>>(id: &T) -> Option<Arc<str>> {
    Some(text(id)).filter(|id| !id.is_empty())
}

/// A topic's id by its name.
pub(crate) fn topic_id(state: &ShardState, topic: &str) -> Option<TopicId> {
    state.image().topic(topic).map(|topic| topic.id)
}
