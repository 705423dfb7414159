//! The control thread: the metadata quorum and its log, the controller, and HTTP. It decides rare things and is never
//! on the data path; the planes meet in [`Mail::Image`] (down) and [`ControlHandle`] (across).
//!
//! ```text
//! handler ─ ControlCall ─► submit ─► batch ─► append + fsync ─► committed ─► Mail::Image to every shard
//!    ▲                     (all calls that wait share an fsync)                      │ applied by all
//!    └───────────────────────────────── reply ◄────────────────────────────────────────┘
//! ```
//!
//! Lives on: one unpinned thread of its own with a tokio runtime, the only place outside `shard` that reads a clock.

mod metadata_log;
mod offline;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use machine::Ticket;
use quorum::controller::{Command, ControllerOptions, PRODUCER_ID_BLOCK, Registration, Reply};
use quorum::image::{ChangedTopics, MetadataImage};
use quorum::{NodeEffect, NodeOptions, QuorumNode, QuorumStatus};
use shard::Mailboxes;
use storage::LastStop;
use tokio::sync::{mpsc, oneshot, watch};
use types::{NodeId, PartitionIndex, ProducerId, ShardId, TopicId};

use crate::config::{Config, Endpoint, Rules};
use crate::handlers::api_versions::FEATURES;
use crate::lifecycle::StartError;
use crate::log_dirs::{DirLock, LogDir};
use crate::mail::Mail;
use metadata_log::{MetadataLog, MetadataLogFault};
pub(crate) use offline::OfflineControl;

/// Calls waiting for the control thread; more wait in their callers.
const CALLS_MAX: usize = 1024;

/// Tasks handed to the control thread and not yet begun: there are two or three in a node.
const TASKS_MAX: usize = 16;

/// How long after a failed append of the metadata log the next one is tried.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// How often a shard that has not yet applied an image is looked after: it may have ended.
const SHARD_CHECK_EVERY: Duration = Duration::from_secs(1);

/// Bytes of log behind the last snapshot from which on a stop takes another: below, reading them is as fast.
const STOP_SNAPSHOT_BYTES_MIN: u64 = 64 * 1024;

/// Kafka's number of the security protocol PLAINTEXT.
const SECURITY_PLAINTEXT: i16 = 0;

/// A request to the controller and where its answer goes.
struct ControlCall {
    command: Command,
    reply: oneshot::Sender<Reply>,
}

/// The way to the control thread, from any thread.
#[derive(Clone)]
pub(crate) struct ControlHandle {
    calls: mpsc::Sender<ControlCall>,
    status: watch::Receiver<QuorumStatus>,
    producer_ids: Arc<Mutex<Range<i64>>>,
    node: NodeId,
}

impl ControlHandle {
    /// Asks the controller. The answer comes once its records are committed and every shard has applied them. `None`
    /// when the node stops, or its metadata log cannot be written: to be answered with a retriable error.
    pub(crate) async fn command(&self, command: Command) -> Option<Reply> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(ControlCall { command, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Asks for a new leader epoch of a partition in which an append failed.
    pub(crate) async fn new_leader_epoch(&self, topic: TopicId, partition: PartitionIndex) {
        let partitions = vec![(topic, partition)];
        let _ = self.command(Command::BumpLeaderEpochs { node: self.node, partitions }).await;
    }

    /// A producer id that nobody ever had. Ids come in blocks; a crash wastes the rest of one. `None`: see
    /// [`Self::command`].
    pub(crate) async fn producer_id(&self) -> Option<ProducerId> {
        loop {
            if let Some(id) = self.producer_ids.lock().expect("held for a moment, never across a panic").next() {
                return Some(ProducerId::new(id));
            }
            match self.command(Command::AllocateProducerIds { node: self.node }).await? {
                Reply::ProducerIds(Ok(first)) => {
                    let block = first.value()..first.value() + PRODUCER_ID_BLOCK;
                    let mut ids = self.producer_ids.lock().expect("held for a moment, never across a panic");
                    // Two may have asked at once: the later block replaces the rest of the earlier.
                    *ids = block;
                }
                _ => return None,
            }
        }
    }

    /// Where the metadata quorum stands.
    pub(crate) fn quorum(&self) -> QuorumStatus {
        *self.status.borrow()
    }
}

/// What the control thread needs to start.
pub(crate) struct ControlSpec {
    pub(crate) config: Arc<Config>,
    pub(crate) log_dirs: Arc<[Arc<LogDir>]>,
    pub(crate) cluster_id: Arc<str>,
    /// Where clients reach this node, with the ports it really got.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) mailboxes: Mailboxes<Mail>,
    pub(crate) shards: u16,
}

/// The running control thread.
pub(crate) struct Control {
    pub(crate) handle: ControlHandle,
    /// The metadata after this node's registration.
    pub(crate) image: Arc<MetadataImage>,
    tasks: mpsc::Sender<Task>,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

/// Something that lives on the control thread beside the controller.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Control {
    /// Has the control thread run `task`, until it ends or the node stops: HTTP, which must stay off the shards.
    pub(crate) fn host(&self, task: impl Future<Output = ()> + Send + 'static) {
        if self.tasks.try_send(Box::pin(task)).is_err() {
            tracing::error!("the control thread takes no more tasks");
        }
    }

    /// Stops the thread and closes the metadata log cleanly. The shards must not wait for anything of it any more.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the control thread panicked");
        }
    }
}

/// Starts the control thread: recovers the metadata log, takes the lead, registers this node. Returns when that is
/// committed; no shard needs to run yet.
pub(crate) fn start(spec: ControlSpec) -> Result<Control, StartError> {
    let (calls_sender, calls) = mpsc::channel(CALLS_MAX);
    let (tasks_sender, tasks) = mpsc::channel(TASKS_MAX);
    let (stop, stopped) = oneshot::channel();
    let (started_sender, started) = std::sync::mpsc::sync_channel(1);
    let node = spec.config.node_id;
    let control_fault = |error: io::Error| StartError::Control(format!("no control thread: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(control_fault)?;
    let thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            let (thread, status) = match ControlThread::start(spec) {
                Ok(started) => started,
                Err(error) => return drop(started_sender.send(Err(error))),
            };
            drop(started_sender.send(Ok((Arc::clone(thread.node.image()), status))));
            runtime.block_on(thread.run(calls, tasks, stopped));
        })
        .map_err(control_fault)?;
    let started = started.recv().map_err(|_| StartError::Control("the control thread ended at once".to_owned()))?;
    let (image, status) = started?;
    let handle = ControlHandle { calls: calls_sender, status, producer_ids: Arc::default(), node };
    Ok(Control { handle, image, tasks: tasks_sender, stop, thread })
}

/// The thread's own state.
struct ControlThread {
    config: Arc<Config>,
    options: NodeOptions,
    /// Where the metadata log lies, if that is a log directory.
    log_dir: Option<Arc<LogDir>>,
    /// Of the directory it lies in otherwise.
    _own_lock: Option<DirLock>,
    mailboxes: Mailboxes<Mail>,
    shards: u16,
    node: QuorumNode<Rules>,
    log: MetadataLog,
    status: watch::Sender<QuorumStatus>,
    owed: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    tickets: u64,
    /// Shards are there to be told of images.
    shards_run: bool,
}

/// What ended a round of work early.
enum WorkFault {
    /// A batch is not in the log.
    Log(MetadataLogFault),
    /// What the log says cannot be followed.
    Records,
}

impl From<MetadataLogFault> for WorkFault {
    fn from(fault: MetadataLogFault) -> Self {
        Self::Log(fault)
    }
}

impl ControlThread {
    fn start(spec: ControlSpec) -> Result<(Self, watch::Receiver<QuorumStatus>), StartError> {
        let ControlSpec { config, log_dirs, cluster_id, endpoints, mailboxes, shards } = spec;
        let fault = |fault: &dyn std::fmt::Display| StartError::Control(fault.to_string());
        let now = shard::clock::read();
        let metadata = &config.metadata_log;
        let log_dir = log_dirs.iter().find(|dir| dir.place.is_at(&metadata.dir)).map(Arc::clone);
        let (own_lock, place, last_stop) = match &log_dir {
            Some(dir) => (None, Arc::clone(&dir.place), dir.last_stop),
            // A directory of its own has no identity kept: the careful row of the recovery table holds.
            None => {
                let lock = DirLock::take(&metadata.dir)?;
                let place = lock.place();
                (Some(lock), place, LastStop::PowerLost)
            }
        };
        let log = MetadataLog::open(metadata, place, last_stop, now).map_err(|error| fault(&error))?;
        let kept = log.load(&cluster_id).map_err(|error| fault(&error))?;
        let seed = crate::meta_properties::random()?;
        let options = NodeOptions {
            node: config.node_id,
            controller: ControllerOptions {
                partitions_default: i32::try_from(config.partitions_default).unwrap_or(i32::MAX),
                replication_factor_default: i16::try_from(config.replication_factor_default).unwrap_or(i16::MAX),
                seed,
            },
            snapshot_bytes_between: metadata.snapshot_after_bytes,
        };
        let rules = Rules::new(Arc::clone(&config));
        let node = QuorumNode::recover(options, rules, now, kept.as_found()).map_err(|error| fault(&error))?;
        let (status, watched) = watch::channel(node.status());
        let mut thread = Self {
            config,
            options,
            log_dir,
            _own_lock: own_lock,
            mailboxes,
            shards,
            node,
            log,
            status,
            owed: BTreeMap::new(),
            tickets: 0,
            shards_run: false,
        };
        thread.take_office(&log_dirs, &endpoints)?;
        Ok((thread, watched))
    }

    /// Takes the lead and registers this node.
    fn take_office(&mut self, log_dirs: &[Arc<LogDir>], endpoints: &[Endpoint]) -> Result<(), StartError> {
        self.work_alone()?;
        let registration = Registration {
            node: self.config.node_id,
            incarnation: crate::meta_properties::random()?,
            endpoints: endpoints
                .iter()
                .map(|endpoint| quorum::Endpoint {
                    listener: endpoint.listener.as_str().into(),
                    host: endpoint.host.as_str().into(),
                    port: endpoint.port,
                    security_protocol: SECURITY_PLAINTEXT,
                })
                .collect(),
            rack: self.config.rack.as_deref().map(Arc::from),
            features: FEATURES.iter().map(|&(name, min, max)| (Arc::from(name), min, max)).collect(),
            log_dirs: log_dirs.iter().map(|dir| dir.id).collect(),
        };
        let (reply, mut answer) = oneshot::channel();
        self.submit(ControlCall { command: Command::RegisterBroker(registration), reply });
        self.work_alone()?;
        match answer.try_recv() {
            Ok(Reply::Registered { epoch }) => {
                tracing::debug!(%epoch, "registered");
                Ok(())
            }
            _ => Err(StartError::Control("this node could not be registered".to_owned())),
        }
    }

    /// Works before there are shards: nobody has to be told, so nothing is waited for.
    fn work_alone(&mut self) -> Result<(), StartError> {
        assert!(!self.shards_run);
        let waker = std::task::Waker::noop();
        let done = std::pin::pin!(self.work()).as_mut().poll(&mut std::task::Context::from_waker(waker));
        match done {
            std::task::Poll::Ready(Ok(())) => Ok(()),
            std::task::Poll::Ready(Err(WorkFault::Log(fault))) => Err(StartError::Control(fault.to_string())),
            std::task::Poll::Ready(Err(WorkFault::Records)) => {
                let reason = self.node.fault().map_or_else(String::new, ToString::to_string);
                Err(StartError::Control(reason))
            }
            std::task::Poll::Pending => unreachable!("there is nobody to wait for"),
        }
    }

    /// Serves until the node stops.
    async fn run(
        mut self,
        mut calls: mpsc::Receiver<ControlCall>,
        mut tasks: mpsc::Receiver<Task>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        self.shards_run = true;
        let mut snapshot_due = self.snapshot_deadline();
        let mut retry = false;
        let mut taken = Vec::new();
        loop {
            let now = shard::clock::read();
            let log_due = self.log.next_deadline_ns();
            let due = [log_due, snapshot_due, retry.then(|| now.deadline_ns(RETRY_EVERY))].into_iter().flatten().min();
            let wait = due.map(|due| Duration::from_nanos(due.saturating_sub(now.monotonic_ns)));
            tokio::select! {
                _ = &mut stopped => break,
                call = calls.recv() => {
                    let Some(call) = call else { break };
                    taken.push(call);
                    while let Ok(call) = calls.try_recv() {
                        taken.push(call);
                    }
                }
                Some(task) = tasks.recv() => drop(tokio::spawn(task)),
                () = tokio::time::sleep(wait.unwrap_or(Duration::ZERO)), if wait.is_some() => {}
            }
            let now = shard::clock::read();
            if log_due.is_some_and(|due| due <= now.monotonic_ns)
                && let Err(fault) = self.log.on_tick(now)
            {
                tracing::error!(%fault, "metadata log: housekeeping failed");
            }
            if snapshot_due.is_some_and(|due| due <= now.monotonic_ns) {
                self.node.take_snapshot(now);
                snapshot_due = self.snapshot_deadline();
            }
            if retry && self.start_over() {
                retry = self.work_or_fail().await;
            }
            for call in taken.drain(..) {
                self.submit(call);
            }
            retry |= self.work_or_fail().await;
        }
        // Whoever still waits is told by the closed channel.
        self.owed.clear();
        self.shards_run = false;
        // The next start reads this instead of the log behind the last snapshot.
        if STOP_SNAPSHOT_BYTES_MIN <= self.node.bytes_since_snapshot() {
            self.node.take_snapshot(shard::clock::read());
            if let Err(WorkFault::Log(fault)) = self.work().await {
                tracing::warn!(%fault, "metadata log: no snapshot at the stop");
            }
        }
        if let Err(fault) = self.log.close(shard::clock::read()) {
            tracing::warn!(%fault, "metadata log: not closed cleanly; the next start reads its end again");
        }
    }

    fn snapshot_deadline(&self) -> Option<u64> {
        let interval = Duration::from_millis(self.config.metadata_log.snapshot_interval_ms_max?);
        Some(shard::clock::read().deadline_ns(interval))
    }

    fn submit(&mut self, call: ControlCall) {
        self.tickets += 1;
        let ticket = Ticket::new(self.tickets);
        // Without a leader the reply is dropped, which its caller takes for an error to try again after.
        if self.node.submit(shard::clock::read(), ticket, call.command).is_ok() {
            self.owed.insert(ticket, call.reply);
        }
    }

    /// Works; if that fails, everyone who waits is told. Returns whether the node must start over.
    async fn work_or_fail(&mut self) -> bool {
        match self.work().await {
            Ok(()) => false,
            Err(WorkFault::Records) => {
                let fault = self.node.fault().map_or_else(String::new, ToString::to_string);
                tracing::error!(fault, "the metadata log cannot be followed; nothing is decided any more");
                self.owed.clear();
                false
            }
            Err(WorkFault::Log(fault)) => {
                self.on_log_fault(&fault);
                !self.log.is_poisoned()
            }
        }
    }

    /// Does everything that the node wants done, until it wants nothing more. What was submitted together is appended
    /// together and shares an fsync.
    async fn work(&mut self) -> Result<(), WorkFault> {
        loop {
            while let Some(effect) = self.node.poll_effect() {
                self.perform(effect).await?;
            }
            let durable = self.log.run(shard::clock::read())?;
            self.node.on_durable(shard::clock::read(), durable);
            self.status.send_replace(self.node.status());
            if self.node.fault().is_some() {
                return Err(WorkFault::Records);
            }
            if self.node.is_idle() {
                return Ok(());
            }
        }
    }

    async fn perform(&mut self, effect: NodeEffect) -> Result<(), MetadataLogFault> {
        match effect {
            NodeEffect::SaveState(bytes) => {
                self.log.save_state(&bytes)?;
                self.node.on_state_saved(shard::clock::read());
            }
            NodeEffect::Append { batch, base_offset, epoch } => {
                self.log.append(shard::clock::read(), batch, base_offset, epoch)?;
            }
            NodeEffect::Publish { image, changed, replies } => {
                if !changed.is_empty() {
                    self.publish(image, changed).await;
                }
                self.answer(replies);
            }
            NodeEffect::Answer(replies) => self.answer(replies),
            // A snapshot that fails costs nothing but a longer replay: the log is all there.
            NodeEffect::WriteSnapshot { name, bytes } => match self.log.save_snapshot(&name, &bytes) {
                Ok(()) => self.node.on_snapshot_written(),
                Err(fault) => {
                    tracing::warn!(%fault, "metadata snapshot failed; the next one is tried later");
                    self.node.on_snapshot_failed();
                }
            },
            NodeEffect::Trim { log_start } => {
                if let Err(fault) = self.log.trim(shard::clock::read(), log_start) {
                    tracing::warn!(%fault, "metadata log is not trimmed; it is tried with the next snapshot");
                }
            }
        }
        Ok(())
    }

    /// Tells every shard, and waits until all have applied it.
    async fn publish(&self, image: Arc<MetadataImage>, changed: ChangedTopics) {
        if !self.shards_run {
            return;
        }
        for changed in changed.in_order() {
            self.publish_at_once(&image, Arc::new(changed)).await;
        }
    }

    async fn publish_at_once(&self, image: &Arc<MetadataImage>, changed: Arc<ChangedTopics>) {
        let mut waiting = Vec::with_capacity(usize::from(self.shards));
        for shard in (0..self.shards).map(ShardId::new) {
            let (applied, done) = oneshot::channel();
            let letter = Mail::Image { image: Arc::clone(image), changed: Arc::clone(&changed), applied };
            if self.mailboxes.send_waiting(shard, letter).is_ok() {
                waiting.push((shard, done));
            }
        }
        for (shard, mut done) in waiting {
            while tokio::time::timeout(SHARD_CHECK_EVERY, &mut done).await.is_err() {
                // A shard that is gone has nothing to apply.
                if self.mailboxes.is_closed(shard) {
                    break;
                }
            }
        }
    }

    fn answer(&mut self, replies: Vec<(Ticket, Reply)>) {
        for (ticket, reply) in replies {
            if let Some(waiting) = self.owed.remove(&ticket) {
                // The client may have gone away.
                let _ = waiting.send(reply);
            }
        }
    }

    /// An append failed: everyone who waits is told, and the node starts over from what is committed.
    fn on_log_fault(&mut self, fault: &MetadataLogFault) {
        tracing::error!(%fault, "the metadata log cannot be written; admin requests fail until it can");
        self.owed.clear();
        if self.log.is_poisoned()
            && let Some(dir) = &self.log_dir
        {
            dir.poison(fault.to_string());
        }
    }

    /// Takes the node up again from the image last published and what the log holds behind it. Returns whether it could
    /// be read; whether it then leads shows with the next append.
    fn start_over(&mut self) -> bool {
        let now = shard::clock::read();
        // What the old node was asked since is not answered by the new one.
        self.owed.clear();
        let base = (**self.node.image()).clone();
        let kept = self.log.snapshots().and_then(|snapshots| self.log.load_behind(base, snapshots));
        let kept = match kept {
            Ok(kept) => kept,
            Err(fault) => {
                tracing::error!(%fault, "the metadata log cannot be read back");
                return false;
            }
        };
        match QuorumNode::recover(self.options, Rules::new(Arc::clone(&self.config)), now, kept.as_found()) {
            Ok(node) => {
                self.node = node;
                true
            }
            Err(fault) => {
                tracing::error!(%fault, "the metadata log cannot be taken up again");
                false
            }
        }
    }
}
