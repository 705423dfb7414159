//! What one shard holds: its partitions, its connections, the requests they have under way, and its copy of the image.
//! One thread owns all of it; nothing here is locked.

use std::cell::{Cell, Ref, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorum::image::{ChangedTopics, MetadataImage};
use replica::{FetchSessions, SessionLimits};
use shard::{Completer, LogFile, LogRing, ShardEvent, ShardRuntime};
use storage::{Effect, FileScan, OpId, PartitionLog, RecoverFault, RecoveryHints, RecoveryProgress};
use tokio::sync::oneshot;
use types::limits::READ_AHEAD_BYTES_MAX;
use types::{ErrorCode, Now, ShardId, TopicId, TopicPartition};

use crate::config::{DynamicOverrides, LiveConfig};
use crate::connection::Connection;
use crate::dispatch::Principal;
use crate::fetch::{self, Asked, FetchInFlight, PartitionPlan, SessionKey};
use crate::file_work;
use crate::in_flight::InFlight;
use crate::log_dirs::{self, LogDir};
use crate::mail::{Job, Mail, Origin, PartitionKey, RequestToken};
use crate::metrics::ShardMetrics;
use crate::node::NodeShared;
use crate::partition::Partition;
use crate::produce::{self, ProduceInFlight, ProduceOutcome, ProduceRefusal};
use crate::reply::Refusals;
use crate::topics::{TopicView, log_config};

/// Bytes of a connection's traffic after which it is considered where the connection belongs.
pub(crate) const TRAFFIC_WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// The timer of the shard's own housekeeping. Partitions have the numbers above it, fetches those from
/// [`FETCH_TIMERS_FROM`].
const TIMER_HOUSEKEEPING: u64 = 0;
/// The first timer number of fetches.
const FETCH_TIMERS_FROM: u64 = 1 << 63;
/// How often a recovery that takes long tells how far it is.
const RECOVERY_TOLD_EVERY_NS: u64 = 1_000_000_000;
/// Bytes of a look into a file that need no memory from the allocator: a batch's header, and then some.
const SCAN_ON_STACK_BYTES_MAX: usize = 128;
/// How often the shard looks after itself.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);

/// Who waits for an operation on a file.
enum FileOp {
    Log { partition: Rc<Partition>, op: OpId, sync_began_ns: Option<u64> },
    Reader(oneshot::Sender<io::Result<usize>>),
}

/// How much a shard has under way at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardFacts {
    pub(crate) partitions: usize,
    pub(crate) produces: usize,
    pub(crate) fetches: usize,
    pub(crate) fetch_sessions: usize,
    pub(crate) letters_unsent: usize,
    pub(crate) ring_queued: usize,
    pub(crate) ring_in_flight: usize,
    pub(crate) files_open: usize,
}

/// One shard.
pub(crate) struct ShardState {
    pub(crate) id: ShardId,
    pub(crate) node: Arc<NodeShared>,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) runtime: ShardRuntime<Mail>,
    pub(crate) log_ring: LogRing,
    completer: Completer,
    image: RefCell<Arc<MetadataImage>>,
    /// Of that image.
    live: RefCell<Rc<LiveConfig>>,
    topics: RefCell<HashMap<Arc<str>, Rc<TopicView>>>,
    topics_by_id: RefCell<HashMap<TopicId, Rc<TopicView>>>,
    partitions: RefCell<HashMap<PartitionKey, Rc<Partition>>>,
    by_number: RefCell<BTreeMap<u64, Rc<Partition>>>,
    partition_number_next: Cell<u64>,
    pub(crate) produces: RefCell<InFlight<ProduceInFlight>>,
    pub(crate) fetches: RefCell<InFlight<FetchInFlight>>,
    pub(crate) fetch_sessions: RefCell<FetchSessions<SessionKey, Asked>>,
    file_ops: RefCell<InFlight<FileOp>>,
    to_flush: RefCell<Vec<Rc<Connection>>>,
    to_gather: RefCell<Vec<Rc<Partition>>>,
    unsent_mail: RefCell<Vec<(ShardId, Mail)>>,
    connections: RefCell<Vec<Weak<Connection>>>,
    connections_open: Cell<usize>,
    files_open: Cell<usize>,
    closes_files: Cell<bool>,
    /// When it began, in seconds of the monotonic clock.
    started_s: u64,
    /// When it last looked after itself, in seconds since then.
    housekept_s: Cell<u64>,
    /// The number of the partition whose compaction was begun last.
    pub(crate) cleaned_last: Cell<u64>,
    stopping: Cell<bool>,
    /// Groups whose offsets partition has its home here.
    pub(crate) groups: crate::groups::GroupsHost,
}

impl ShardState {
    /// A shard with no partitions yet, attached to its runtime's events.
    pub(crate) fn start(
        node: Arc<NodeShared>,
        runtime: ShardRuntime<Mail>,
        image: Arc<MetadataImage>,
    ) -> io::Result<Rc<Self>> {
        let limits = SessionLimits {
            sessions_max: (node.config.fetch_sessions_max as usize).div_ceil(usize::from(node.shards)),
            ..SessionLimits::default()
        };
        let seed = runtime.now().wall.millis() as u64 ^ (runtime.id().index() as u64) << 48;
        let state = Rc::new(Self {
            id: runtime.id(),
            metrics: Arc::clone(node.metrics.shard(runtime.id())),
            log_ring: runtime.log_ring(),
            completer: runtime.completer(),
            live: RefCell::new(live_config(&node, &image)),
            image: RefCell::new(image),
            topics: RefCell::default(),
            topics_by_id: RefCell::default(),
            partitions: RefCell::default(),
            by_number: RefCell::default(),
            partition_number_next: Cell::new(TIMER_HOUSEKEEPING + 1),
            produces: RefCell::default(),
            fetches: RefCell::default(),
            fetch_sessions: RefCell::new(FetchSessions::new(limits, seed)),
            file_ops: RefCell::default(),
            to_flush: RefCell::default(),
            to_gather: RefCell::default(),
            unsent_mail: RefCell::default(),
            connections: RefCell::default(),
            connections_open: Cell::new(0),
            files_open: Cell::new(0),
            closes_files: Cell::new(false),
            started_s: runtime.now().monotonic_ns / 1_000_000_000,
            housekept_s: Cell::new(0),
            cleaned_last: Cell::new(0),
            stopping: Cell::new(false),
            groups: crate::groups::GroupsHost::default(),
            node,
            runtime,
        });
        Ok(state)
    }

    /// Takes events from now on.
    pub(crate) fn run(self: &Rc<Self>) -> io::Result<()> {
        let state = Rc::clone(self);
        self.runtime.on_event(move |event| state.on_event(event))?;
        self.runtime.timer(TIMER_HOUSEKEEPING, self.now().deadline_ns(HOUSEKEEPING_EVERY));
        Ok(())
    }

    fn on_event(self: &Rc<Self>, event: ShardEvent<Mail>) {
        match event {
            ShardEvent::Completion(completion) => {
                self.complete(RequestToken::from_u64(completion.token), completion.result);
            }
            ShardEvent::Mail(mail) => self.on_mail(mail),
            ShardEvent::Timer(TIMER_HOUSEKEEPING) => self.housekeep(),
            ShardEvent::Timer(number) if number >= FETCH_TIMERS_FROM => self.fetch_timer(number),
            ShardEvent::Timer(number) if number >= crate::groups::TIMERS_FROM => crate::groups::on_timer(self, number),
            ShardEvent::Timer(number) => {
                let partition = self.by_number.borrow().get(&number).cloned();
                if let Some(partition) = partition {
                    partition.on_tick(self);
                }
            }
            ShardEvent::Gather => {
                let partitions = std::mem::take(&mut *self.to_gather.borrow_mut());
                for partition in partitions {
                    partition.run(self);
                }
            }
            ShardEvent::Flush => {
                let connections = std::mem::take(&mut *self.to_flush.borrow_mut());
                for connection in connections {
                    connection.flush(self);
                }
            }
        }
    }

    fn on_mail(self: &Rc<Self>, mail: Mail) {
        match mail {
            Mail::Connection(parts, origin) => Connection::start(self, parts, origin),
            Mail::Produce { from, request, acks, parts } => {
                for part in parts {
                    let origin = Origin { shard: from, request, part: part.part };
                    produce::append(self, part, origin, acks);
                }
            }
            Mail::Produced { request, part, outcome } => produce::on_outcome(self, request, part, outcome),
            Mail::Fetch { from, request, parts } => {
                for (part, fetch) in parts {
                    fetch::plan_here(self, from, request, part, &fetch);
                }
            }
            Mail::Planned { request, part, plan } => fetch::on_plan(self, request, part, plan),
            Mail::Watch { from, request, parts } => {
                for (partition, seen) in parts {
                    fetch::watch_here(self, partition, seen, from, request);
                }
            }
            Mail::Woken { request } => fetch::on_woken(self, request),
            Mail::Image { image, changed, applied } => {
                self.apply_image(image, &changed);
                // The control thread may have stopped waiting.
                let _ = applied.send(());
            }
            Mail::Run(job) => job(self),
            Mail::Stop { stopped } => self.stop(stopped),
        }
    }

    /// Both clocks, read once a turn.
    pub(crate) fn now(&self) -> Now {
        self.runtime.now()
    }

    /// The metadata as this shard knows it.
    /// The node's settings that may change while it runs, as they are now.
    pub(crate) fn live(&self) -> Rc<LiveConfig> {
        Rc::clone(&self.live.borrow())
    }

    pub(crate) fn image(&self) -> Ref<'_, Arc<MetadataImage>> {
        self.image.borrow()
    }

    /// A topic by name.
    pub(crate) fn topic(&self, name: &str) -> Option<Rc<TopicView>> {
        if let Some(view) = self.topics.borrow().get(name) {
            return Some(Rc::clone(view));
        }
        let topic = self.image().topic(name).cloned()?;
        Some(self.view(&topic))
    }

    /// A topic by id.
    pub(crate) fn topic_by_id(&self, id: TopicId) -> Option<Rc<TopicView>> {
        if let Some(view) = self.topics_by_id.borrow().get(&id) {
            return Some(Rc::clone(view));
        }
        let topic = self.image().topic_by_id(id).cloned()?;
        Some(self.view(&topic))
    }

    fn view(&self, topic: &Arc<quorum::image::Topic>) -> Rc<TopicView> {
        let view = Rc::new(TopicView::new(&self.image(), topic, &self.node.config));
        self.topics.borrow_mut().insert(Arc::clone(&view.name), Rc::clone(&view));
        self.topics_by_id.borrow_mut().insert(view.id, Rc::clone(&view));
        view
    }

    /// Where a partition lives.
    pub(crate) fn home(&self, topic: TopicId, partition: types::PartitionIndex) -> ShardId {
        shard::placement::home(topic, partition, self.node.shards)
    }

    /// A partition whose home this is.
    pub(crate) fn partition(&self, key: PartitionKey) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&key).cloned()
    }

    /// What a scrape tells of this shard besides its counters.
    pub(crate) fn facts(&self) -> ShardFacts {
        ShardFacts {
            partitions: self.partitions.borrow().len(),
            produces: self.produces.borrow().len(),
            fetches: self.fetches.borrow().len(),
            fetch_sessions: self.fetch_sessions.borrow().len(),
            letters_unsent: self.unsent_mail.borrow().len(),
            ring_queued: self.log_ring.queued(),
            ring_in_flight: self.log_ring.in_flight(),
            files_open: self.files_open.get(),
        }
    }

    /// The partitions of this shard from `number` on, at most `max` of them, and where the next ones begin.
    pub(crate) fn partitions_from(&self, number: u64, max: usize) -> (Vec<Rc<Partition>>, Option<u64>) {
        let by_number = self.by_number.borrow();
        let mut rest = by_number.range(number..);
        let here = rest.by_ref().take(max).map(|(_, partition)| Rc::clone(partition)).collect();
        (here, rest.next().map(|(number, _)| *number))
    }

    /// Every partition whose home this is.
    pub(crate) fn partitions(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// What a producer is told of a partition that has no log here.
    pub(crate) fn not_here(&self, key: PartitionKey) -> ProduceRefusal {
        match self.node.offline.reason(key) {
            Some(reason) => ProduceRefusal::new(ErrorCode::KafkaStorageError, reason),
            None => ProduceRefusal::new(
                ErrorCode::NotLeaderOrFollower,
                format!("partition {} of topic id {} is not on this node", key.partition, key.topic),
            ),
        }
    }

    /// Sends a letter; one that finds the mailbox full goes at the next housekeeping or turn.
    pub(crate) fn send(&self, to: ShardId, mail: Mail) {
        let waits = !self.unsent_mail.borrow().is_empty();
        if waits {
            // Letters keep their order.
            self.unsent_mail.borrow_mut().push((to, mail));
        } else if let Err(mail) = self.runtime.send(to, mail) {
            self.unsent_mail.borrow_mut().push((to, mail));
        } else {
            return;
        }
        self.retry_mail_later();
    }

    fn retry_mail_later(&self) {
        self.runtime.timer(TIMER_HOUSEKEEPING, self.now().deadline_ns(Duration::from_millis(1)));
    }

    fn retry_mail(&self) {
        let letters = std::mem::take(&mut *self.unsent_mail.borrow_mut());
        let mut letters = letters.into_iter();
        for (to, mail) in letters.by_ref() {
            if let Err(mail) = self.runtime.send(to, mail) {
                let mut unsent = self.unsent_mail.borrow_mut();
                unsent.push((to, mail));
                unsent.extend(letters);
                break;
            }
        }
    }

    /// Runs `job` where `key` lives, and waits for what it returns; `None` if the partition has no log there.
    pub(crate) async fn at_home<R, F, Job>(self: &Rc<Self>, key: PartitionKey, job: F) -> Option<R>
    where
        R: Send + 'static,
        F: FnOnce(Rc<Self>, Rc<Partition>) -> Job + Send + 'static,
        Job: Future<Output = R> + 'static,
    {
        let home = self.home(key.topic, key.partition);
        if home == self.id {
            let partition = self.partition(key)?;
            return Some(job(Rc::clone(self), partition).await);
        }
        let (sender, receiver) = oneshot::channel();
        self.on_shard(home, move |state| {
            let Some(partition) = state.partition(key) else { return };
            let state = Rc::clone(state);
            tokio::task::spawn_local(async move {
                // Whoever asked may be gone.
                let _ = sender.send(job(state, partition).await);
            });
        });
        receiver.await.ok()
    }

    /// Runs `job` on every shard and collects what they return, in the order of the shards.
    pub(crate) async fn everywhere<R, F>(self: &Rc<Self>, job: F) -> Vec<R>
    where
        R: Send + 'static,
        F: Fn(&Rc<Self>) -> R + Send + Clone + 'static,
    {
        let mut answers = Vec::with_capacity(usize::from(self.node.shards));
        for index in 0..self.node.shards {
            let (sender, receiver) = oneshot::channel();
            let job = job.clone();
            self.on_shard(ShardId::new(index), move |state| {
                let _ = sender.send(job(state));
            });
            answers.push(receiver);
        }
        let mut results = Vec::with_capacity(answers.len());
        for answer in answers {
            results.extend(answer.await.ok());
        }
        results
    }

    /// Runs `job` on a shard, which may be this one.
    pub(crate) fn on_shard(self: &Rc<Self>, shard: ShardId, job: impl FnOnce(&Rc<Self>) + Send + 'static) {
        if shard == self.id {
            job(self);
        } else {
            let job: Job = Box::new(job);
            self.send(shard, Mail::Run(job));
        }
    }

    /// A produce outcome goes to the shard that asked.
    pub(crate) fn produced(self: &Rc<Self>, origin: Origin, outcome: ProduceOutcome) {
        if origin.shard == self.id {
            produce::on_outcome(self, origin.request, origin.part, outcome);
        } else {
            self.send(origin.shard, Mail::Produced { request: origin.request, part: origin.part, outcome });
        }
    }

    /// A read plan goes to the shard that asked.
    pub(crate) fn planned(self: &Rc<Self>, to: ShardId, request: RequestToken, part: u32, plan: PartitionPlan) {
        if to == self.id {
            fetch::on_plan(self, request, part, plan);
        } else {
            self.send(to, Mail::Planned { request, part, plan });
        }
    }

    /// Tells a fetch that a partition has more. Not at once on this shard: whoever calls this is in the middle of its
    /// own work on that partition.
    pub(crate) fn wake_fetch(self: &Rc<Self>, to: ShardId, request: RequestToken) {
        if to == self.id {
            let state = Rc::clone(self);
            tokio::task::spawn_local(async move { fetch::on_woken(&state, request) });
        } else {
            self.send(to, Mail::Woken { request });
        }
    }

    /// A fetch waits until its deadline.
    pub(crate) fn fetch_waits(&self, token: RequestToken, deadline_ns: u64) {
        self.runtime.timer(FETCH_TIMERS_FROM | token.to_u64(), deadline_ns);
    }

    /// A fetch is answered.
    pub(crate) fn fetch_waits_no_more(&self, token: RequestToken) {
        self.runtime.cancel(FETCH_TIMERS_FROM | token.to_u64());
    }

    fn fetch_timer(self: &Rc<Self>, number: u64) {
        // A token leaves its top bit free for the mark.
        let token = RequestToken::from_u64(number & !FETCH_TIMERS_FROM);
        fetch::on_deadline(self, token);
    }

    /// This partition has writes to gather at the end of the turn.
    pub(crate) fn gather(&self, partition: Rc<Partition>) {
        self.to_gather.borrow_mut().push(partition);
        self.runtime.request_gather();
    }

    /// This connection has replies to send at the end of the turn.
    pub(crate) fn flush_connection(&self, connection: Rc<Connection>) {
        self.to_flush.borrow_mut().push(connection);
        self.runtime.request_flush();
    }

    /// A client is told no: counted by API and cause, and told in the log. What clients meet in the ordinary course, and
    /// try again by themselves, is told at the level debug.
    pub(crate) fn refused(&self, connection: &Connection, refusals: &Refusals) {
        let api = refusals.api;
        for &(code, count) in &refusals.codes {
            self.metrics.refused(api, code, count);
            macro_rules! tell {
                ($level:ident) => {
                    tracing::$level!(
                        cause = code.name(), api = api.name(), count, client_id = connection.client(),
                        principal = %Principal, peer = %connection.peer, listener = %connection.listener,
                        reason = refusals.reason, "refused"
                    )
                };
            }
            if code.is_retriable() || is_routine(code) {
                tell!(debug);
            } else {
                tell!(info);
            }
        }
    }

    pub(crate) fn connection_opened(&self, connection: &Rc<Connection>) {
        self.connections.borrow_mut().push(Rc::downgrade(connection));
        self.connections_open.set(self.connections_open.get() + 1);
        self.node.connections.count(self.id, self.connections_open.get());
    }

    pub(crate) fn connection_closed(&self) {
        self.connections_open.set(self.connections_open.get() - 1);
        self.node.connections.count(self.id, self.connections_open.get());
    }

    /// Closes connections that said nothing for `connections.max.idle.ms`, and those that hold memory and go on nowhere.
    fn close_idle_connections(&self) {
        let now_ns = self.now().monotonic_ns;
        let idle_ns_max = self.node.config.connection_idle_ms_max.map(|ms| ms.saturating_mul(1_000_000));
        self.connections.borrow_mut().retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            connection.close_if_stalled(now_ns);
            if let Some(idle_ns_max) = idle_ns_max {
                connection.close_if_idle(now_ns, idle_ns_max);
            }
            true
        });
    }

    /// Enters an operation of a log's into the table that completions are looked up in.
    pub(crate) fn log_op(&self, partition: Rc<Partition>, op: OpId) -> RequestToken {
        self.file_ops.borrow_mut().insert(FileOp::Log { partition, op, sync_began_ns: None })
    }

    /// Completes an operation that never got as far as the kernel.
    pub(crate) fn complete_later(self: &Rc<Self>, token: RequestToken, result: io::Result<usize>) {
        let state = Rc::clone(self);
        tokio::task::spawn_local(async move { state.complete(token, result) });
    }

    fn complete(self: &Rc<Self>, token: RequestToken, result: io::Result<usize>) {
        let waiting = self.file_ops.borrow_mut().remove(token);
        match waiting {
            Some(FileOp::Log { partition, op, sync_began_ns }) => {
                if let Some(began_ns) = sync_began_ns {
                    let took_ns = shard::clock::monotonic_ns().saturating_sub(began_ns);
                    let dir = self.node.log_dirs.iter().position(|dir| Arc::ptr_eq(dir, &partition.log_dir));
                    if let Some(dir) = dir {
                        self.metrics.fsyncs[dir].add_ns(took_ns);
                    }
                }
                partition.on_done(self, op, result);
            }
            // A reader that is gone has no use for it.
            Some(FileOp::Reader(reader)) => drop(reader.send(result)),
            None => tracing::error!(?token, "completion of an operation that nobody asked for"),
        }
    }

    /// fdatasync: through the ring when replies wait for it, else by the directory's writeback thread, so that a long
    /// flush never holds a shard's ring.
    pub(crate) fn sync(self: &Rc<Self>, token: RequestToken, file: Arc<LogFile>, replies_wait: bool, dir: &LogDir) {
        let helped =
            !replies_wait && dir.writeback.sync(Arc::clone(&file), token.to_u64(), self.completer.clone()).is_ok();
        if !helped {
            if let Some(FileOp::Log { sync_began_ns, .. }) = self.file_ops.borrow_mut().get_mut(token) {
                *sync_began_ns = Some(shard::clock::monotonic_ns());
            }
            self.log_ring.sync(token.to_u64(), file);
        }
    }

    /// Everything on files that is neither a write nor a sync, by the directory's maintenance thread.
    pub(crate) fn file_work(self: &Rc<Self>, token: RequestToken, dir: &LogDir, folder: PathBuf, effect: Effect) {
        let completer = self.completer.clone();
        let thread = if matches!(effect, Effect::Delete { .. }) { &dir.maintenance } else { dir.files(&folder) };
        let place = Arc::clone(&dir.place);
        let work = move || completer.complete(token.to_u64(), file_work::run_at(&place, &folder, &effect));
        let posted = thread.post(work);
        if posted.is_err() {
            self.complete_later(token, Err(io::Error::other("the maintenance thread's queue is full")));
        }
    }

    /// Shows `look` what the page cache holds of `scan`; `None` if the disk is needed.
    pub(crate) fn look_cached<R>(
        self: &Rc<Self>,
        partition: &Partition,
        scan: FileScan,
        look: impl FnOnce(&[u8]) -> R,
    ) -> io::Result<Option<R>> {
        let file = partition.open(self, scan.file)?;
        let (mut on_stack, mut on_heap) = ([0; SCAN_ON_STACK_BYTES_MAX], Vec::new());
        let buffer = match on_stack.get_mut(..scan.bytes) {
            Some(buffer) => buffer,
            None => {
                on_heap.resize(scan.bytes, 0);
                &mut on_heap[..]
            }
        };
        Ok(match file.read_at_cached(scan.position, buffer)? {
            Some(read) if read == scan.bytes || scan.position + read as u64 >= file.size_bytes()? => {
                Some(look(&buffer[..read]))
            }
            _ => None,
        })
    }

    /// Reads `scan`, from the disk if need be, while the shard does other things.
    pub(crate) async fn read(self: &Rc<Self>, partition: &Rc<Partition>, scan: FileScan) -> io::Result<Bytes> {
        let file = partition.open(self, scan.file)?;
        for _ in 0..4 {
            if let Some(bytes) = self.look_cached(partition, scan, Bytes::copy_from_slice)? {
                return Ok(bytes);
            }
            self.read_ahead(&file, scan.position, scan.bytes).await?;
        }
        // Pushed out of the page cache as fast as it is read in: memory is short, so wait for the disk.
        let mut buffer = vec![0; scan.bytes];
        let read = file.read_at(scan.position, &mut buffer)?;
        buffer.truncate(read);
        Ok(Bytes::from(buffer))
    }

    /// Brings a range into the page cache through the log ring.
    pub(crate) async fn read_ahead(&self, file: &Arc<LogFile>, position: u64, bytes: usize) -> io::Result<()> {
        let mut done = 0;
        while done < bytes {
            let step = (bytes - done).min(READ_AHEAD_BYTES_MAX);
            let (sender, receiver) = oneshot::channel();
            let token = self.file_ops.borrow_mut().insert(FileOp::Reader(sender));
            self.log_ring.read_ahead(token.to_u64(), Arc::clone(file), position + done as u64, step);
            let read = receiver.await.map_err(|_| io::Error::other("the shard stops"))??;
            if read == 0 {
                break;
            }
            done += read;
        }
        Ok(())
    }

    /// Notes that a partition opened a file; when the shard's share of descriptors runs short, idle ones are closed.
    pub(crate) fn files_opened(self: &Rc<Self>) {
        self.files_open.set(self.files_open.get() + 1);
        if self.files_open.get() <= self.node.files_open_max || self.closes_files.replace(true) {
            return;
        }
        // Later: whoever opens a file is in the middle of its own work.
        let state = Rc::clone(self);
        tokio::task::spawn_local(async move {
            state.closes_files.set(false);
            let partitions = state.partitions();
            partitions.iter().for_each(|partition| partition.close_idle_files());
            state.files_open.set(partitions.iter().map(|partition| partition.files_open()).sum());
            state.metrics.files_over_bound.add(1);
        });
    }

    /// Opens what the image says this shard leads and `found` says lies on disk; makes hosts for the rest.
    ///
    /// Blocks: it runs before the shard takes events.
    pub(crate) fn open_partitions(
        self: &Rc<Self>,
        found: &BTreeMap<TopicPartition, (Arc<LogDir>, Option<TopicId>)>,
        report: &mut dyn FnMut(&TopicPartition, Result<storage::RecoveryReport, RecoverFault>),
    ) {
        let image = Arc::clone(&self.image());
        for topic in image.topics() {
            for partition in &topic.partitions {
                let key = PartitionKey { topic: topic.id, partition: partition.index };
                if self.home(topic.id, partition.index) != self.id
                    || !partition.replicas.contains(&self.node.config.node_id)
                {
                    continue;
                }
                let name = TopicPartition::new(Arc::clone(&topic.name), partition.index);
                match found.get(&name) {
                    Some((dir, id)) if id.is_none_or(|id| id == topic.id) => {
                        self.recover_partition(key, name, dir, partition, report);
                    }
                    _ => self.create_partition(key, name, partition),
                }
            }
        }
    }

    /// Waits until everything that recovery ordered on this shard is on disk.
    pub(crate) async fn until_ready(self: &Rc<Self>) {
        for partition in self.partitions() {
            partition.until_ready().await;
        }
    }

    fn recover_partition(
        self: &Rc<Self>,
        key: PartitionKey,
        name: TopicPartition,
        dir: &Arc<LogDir>,
        partition: &quorum::record::Partition,
        report: &mut dyn FnMut(&TopicPartition, Result<storage::RecoveryReport, RecoverFault>),
    ) {
        let Some(view) = self.topic_by_id(key.topic) else { return };
        let files = shard::FileDir::new(dir.path.join(name.to_string()));
        let hints = RecoveryHints { last_stop: dir.last_stop, accept_loss: false };
        let config = log_config(key.topic, &view.config, &self.live());
        let began_ns = shard::clock::read().monotonic_ns;
        let mut told_ns = began_ns;
        let mut progress = |progress: RecoveryProgress| {
            let now_ns = shard::clock::read().monotonic_ns;
            if now_ns.saturating_sub(told_ns) >= RECOVERY_TOLD_EVERY_NS {
                told_ns = now_ns;
                let left_bytes = progress.bytes_total.saturating_sub(progress.bytes_done);
                let eta_s = (now_ns - began_ns) / progress.bytes_done.max(1) * left_bytes / 1_000_000_000;
                let (bytes_done, bytes_total) = (progress.bytes_done, progress.bytes_total);
                tracing::info!(partition = %name, bytes_done, bytes_total, eta_s, "recovering after an unclean stop");
            }
        };
        match storage::recover(&files, name.clone(), config, &hints, self.now(), &mut progress) {
            Ok(recovered) => {
                report(&name, Ok(recovered.report));
                self.host(key, name, Arc::clone(dir), recovered.log, partition, view.config.insync_replicas_min);
            }
            Err(fault) => {
                self.node.offline.add(key, format!("{name} is offline: {fault}"));
                report(&name, Err(fault));
            }
        }
    }

    fn create_partition(
        self: &Rc<Self>,
        key: PartitionKey,
        name: TopicPartition,
        partition: &quorum::record::Partition,
    ) {
        let Some(view) = self.topic_by_id(key.topic) else { return };
        let dir = match partition.directory_on(self.node.config.node_id) {
            None => log_dirs::emptiest(&self.node.log_dirs),
            Some(id) => match self.node.log_dirs.iter().find(|dir| dir.id == id) {
                Some(dir) => dir,
                None => {
                    // An empty log elsewhere would pass for the one that is missing.
                    let reason =
                        format!("{name} is offline: it lies in log directory {id}, which is not among log.dirs");
                    tracing::error!(partition = %name, directory = %id, "partition stays offline: its log directory is missing");
                    self.node.offline.add(key, reason);
                    return;
                }
            },
        };
        let config = log_config(key.topic, &view.config, &self.live());
        let log = PartitionLog::create(name.clone(), config, self.now());
        self.host(key, name, Arc::clone(dir), log, partition, view.config.insync_replicas_min);
    }

    fn host(
        self: &Rc<Self>,
        key: PartitionKey,
        name: TopicPartition,
        dir: Arc<LogDir>,
        mut log: PartitionLog,
        partition: &quorum::record::Partition,
        min_insync_replicas: u32,
    ) {
        if let Err(fault) = log.set_leader_epoch(self.now(), partition.leader_epoch) {
            tracing::error!(partition = %name, epoch = %partition.leader_epoch, %fault, "leader epoch not taken");
        }
        dir.count(true);
        let number = self.partition_number_next.get();
        self.partition_number_next.set(number + 1);
        let replicas = (partition.replicas.len().max(1) as u32, min_insync_replicas);
        let hosted = Partition::new(key, name, dir, number, log, partition.leader_epoch, replicas);
        self.partitions.borrow_mut().insert(key, Rc::clone(&hosted));
        self.by_number.borrow_mut().insert(number, Rc::clone(&hosted));
        self.gather(hosted);
    }

    fn apply_image(self: &Rc<Self>, image: Arc<MetadataImage>, changed: &ChangedTopics) {
        *self.image.borrow_mut() = Arc::clone(&image);
        for topic in changed.partitions.iter().map(|(topic, _)| topic).chain(&changed.removed) {
            self.forget_view(&topic.name, topic.id);
        }
        for topic in &changed.removed {
            for partition in &topic.partitions {
                self.remove_partition(PartitionKey { topic: topic.id, partition: partition.index });
            }
        }
        for (topic, index) in &changed.partitions {
            if self.home(topic.id, *index) != self.id {
                continue;
            }
            let (key, Some(partition)) = (PartitionKey { topic: topic.id, partition: *index }, topic.partition(*index))
            else {
                continue;
            };
            match self.partition(key) {
                Some(hosted) => hosted.on_leader_epoch(self, partition.leader_epoch),
                None if partition.replicas.contains(&self.node.config.node_id)
                    && self.node.offline.reason(key).is_none() =>
                {
                    self.create_partition(key, TopicPartition::new(Arc::clone(&topic.name), *index), partition);
                }
                None => {}
            }
        }
        self.apply_configs(&image, changed);
        crate::groups::on_image(self, changed);
    }

    fn apply_configs(self: &Rc<Self>, image: &Arc<MetadataImage>, changed: &ChangedTopics) {
        let mut everything = false;
        let mut topics = Vec::new();
        for resource in &changed.configs {
            match resource {
                quorum::ConfigResource::Topic(name) => topics.extend(image.topic(name).cloned()),
                _ => everything = true,
            }
        }
        if everything {
            self.live.replace(live_config(&self.node, image));
            self.topics.borrow_mut().clear();
            self.topics_by_id.borrow_mut().clear();
            topics = image.topics().cloned().collect();
        }
        for topic in topics {
            self.forget_view(&topic.name, topic.id);
            let Some(view) = self.topic_by_id(topic.id) else { continue };
            for partition in &topic.partitions {
                if let Some(hosted) = self.partition(PartitionKey { topic: topic.id, partition: partition.index }) {
                    let config = log_config(topic.id, &view.config, &self.live());
                    hosted.on_config(self, config, view.config.insync_replicas_min);
                }
            }
        }
    }

    fn forget_view(&self, name: &Arc<str>, id: TopicId) {
        self.topics.borrow_mut().remove(name);
        self.topics_by_id.borrow_mut().remove(&id);
    }

    fn remove_partition(self: &Rc<Self>, key: PartitionKey) {
        let Some(partition) = self.partitions.borrow_mut().remove(&key) else { return };
        self.by_number.borrow_mut().remove(&partition.number);
        partition.remove(self);
        partition.log_dir.count(false);
        let folder = partition.dir();
        let gone = partition.log_dir.path.join(format!("{}.{}-delete", partition.name, key.topic));
        // By the thread that does this folder's other work: after what the old topic ordered there, and before the first
        // file of a new topic of the same name. Taking the records off the disk can wait behind a compaction.
        let maintenance = partition.log_dir.maintenance.clone();
        let place = Arc::clone(&partition.log_dir.place);
        let put_aside = move || {
            if place.check().is_ok()
                && file_work::put_aside(&folder, &gone)
                && maintenance.post(move || file_work::remove_folder(&gone)).is_err()
            {
                tracing::warn!(
                    "the maintenance queue is full: a deleted partition's folder is removed at the next start"
                );
            }
        };
        if partition.log_dir.files(&partition.dir()).post(put_aside).is_err() {
            tracing::error!(partition = %partition.name, "the file-work queue is full: the folder of a deleted topic stays");
        }
    }

    /// The disk under `dir` failed: this node no longer leads the partitions on it, so that clients look elsewhere.
    pub(crate) fn give_up_leadership(self: &Rc<Self>, dir: &Arc<LogDir>) {
        let (state, directory) = (Rc::clone(self), dir.id);
        tokio::task::spawn_local(async move {
            let command = quorum::Command::LoseLogDir { node: state.node.config.node_id, directory };
            if state.node.control.command(command).await.is_none() {
                tracing::warn!("the controller is gone; leadership is given up with the process");
            }
        });
    }

    fn housekeep(self: &Rc<Self>) {
        self.retry_mail();
        let again = if self.unsent_mail.borrow().is_empty() { HOUSEKEEPING_EVERY } else { Duration::from_millis(1) };
        self.runtime.timer(TIMER_HOUSEKEEPING, self.now().deadline_ns(again));
        let now_s = (self.now().monotonic_ns / 1_000_000_000).saturating_sub(self.started_s);
        let last_s = self.housekept_s.replace(now_s);
        if now_s == last_s {
            return;
        }
        // By the count of whole periods since the start: a turn that comes late still finds its round due, and a node that has
        // just started has a whole period before its first round.
        let is_due = |every_s: u64| last_s / every_s.max(1) != now_s / every_s.max(1);
        if self.id.index() == 0 {
            for dir in self.node.log_dirs.iter() {
                if dir.check_place() {
                    self.give_up_leadership(dir);
                }
                dir.check_space(self.node.config.disk_reserve_bytes);
            }
        }
        if is_due(10) {
            self.close_idle_connections();
        }
        if self.node.config.cleaner_enable && is_due(self.live().cleaner_backoff_ms / 1000) {
            crate::cleaner::begin_due(self);
        }
        if is_due(self.node.config.retention_check_interval_ms / 1000) {
            for partition in self.partitions() {
                partition.apply_retention(self);
            }
        }
    }

    /// Whether the node stops: nothing new is begun.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.get()
    }

    fn stop(self: &Rc<Self>, stopped: oneshot::Sender<bool>) {
        self.stopping.set(true);
        let tokens: Vec<RequestToken> = self.fetches.borrow().tokens().collect();
        for token in tokens {
            fetch::on_deadline(self, token);
        }
        crate::groups::on_stop(self);
        let state = Rc::clone(self);
        tokio::task::spawn_local(async move {
            // Appends under way are acked before their logs close.
            for _ in 0..200 {
                if state.partitions().iter().all(|partition| partition.waiting() == 0) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let mut closings = Vec::new();
            for partition in state.partitions() {
                let (closed, closing) = oneshot::channel();
                partition.close(&state, closed);
                closings.push((partition, closing));
            }
            let mut all_closed = true;
            for (partition, closing) in closings {
                if tokio::time::timeout(Duration::from_secs(20), closing).await.is_err() {
                    all_closed = false;
                    tracing::warn!(partition = %partition.name, "not closed in time; it will be recovered at the next start");
                }
            }
            let _ = stopped.send(all_closed);
        });
    }
}

/// What the protocol itself makes clients meet, besides what they may try again: joining a group, a member that is to
/// rejoin, and versions that are tried in turn.
fn live_config(node: &NodeShared, image: &MetadataImage) -> Rc<LiveConfig> {
    let dynamic = DynamicOverrides::of(image, node.config.node_id);
    Rc::new(node.config.live(dynamic.as_dynamic()))
}

fn is_routine(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::MemberIdRequired
            | ErrorCode::RebalanceInProgress
            | ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::UnsupportedVersion
    )
}
