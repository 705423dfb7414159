//! Sends records in batches. One task per producer collects what is due, sends it to the leaders and keeps the order
//! of each partition; senders only wait for room in the buffer, or for the fate of a record if they want to know it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use batch::{BatchBuilder, Codec};
use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use types::{ErrorCode, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId};
use wire::init_producer_id_request::InitProducerIdRequest;
use wire::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::produce_response::{PartitionProduceResponse, ProduceResponse};
use wire::{ApiKey, Records};

use crate::cluster::Client;
use crate::error::ClientError;
use crate::partitioner::{Choice, Partitioner};

/// Bytes that a record costs beyond its key, value and headers, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Pause before a batch that failed is sent again.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);

/// The first version that names topics by id.
const TOPIC_ID_VERSION_MIN: i16 = 13;

/// What must have happened to a record before it counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// It was sent. Offsets stay unknown.
    None,
    /// The leader has written it.
    Leader,
    /// All in-sync replicas have written it.
    #[default]
    All,
}

impl Acks {
    /// By Kafka's word: `0`, `1`, `-1` or `all`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "0" => Some(Self::None),
            "1" => Some(Self::Leader),
            "-1" | "all" => Some(Self::All),
            _ => None,
        }
    }

    /// As requests carry it.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How to send.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// When a record counts as delivered.
    pub acks: Acks,
    /// Whether the cluster drops what was sent twice (`enable.idempotence`); needs [`Acks::All`].
    pub idempotent: bool,
    /// How batches are compressed.
    pub codec: Codec,
    /// At which level of the codec; `None`: its default.
    pub codec_level: Option<i32>,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// Uncompressed bytes at which a batch is sent at once.
    pub batch_bytes: usize,
    /// Bytes of batches in one request; a larger batch goes alone.
    pub request_bytes_max: usize,
    /// Requests to one node that may be unanswered. Without idempotence more than one can change the order of records
    /// when a request fails and is repeated.
    pub requests_in_flight_max: usize,
    /// Bytes of records that may wait or be under way; more senders wait.
    pub buffer_bytes_max: usize,
    /// From `send` to the answer, tries included.
    pub delivery_timeout: Duration,
    /// How the partition is chosen where the record does not say.
    pub partitioner: Partitioner,
}

impl Default for ProducerConfig {
    /// The Java client's defaults.
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            codec: Codec::None,
            codec_level: None,
            linger: Duration::from_millis(5),
            batch_bytes: 16 * 1024,
            request_bytes_max: 1024 * 1024,
            requests_in_flight_max: 5,
            buffer_bytes_max: 32 * 1024 * 1024,
            delivery_timeout: Duration::from_secs(120),
            partitioner: Partitioner::default(),
        }
    }
}

/// A record to be sent.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Where to.
    pub topic: Arc<str>,
    /// Which partition; `None`: the partitioner decides.
    pub partition: Option<PartitionIndex>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Its time; `None`: now.
    pub timestamp: Option<Timestamp>,
}

/// Where a record ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The partition.
    pub partition: PartitionIndex,
    /// Its offset; `None` where the node did not say (acks=0, or a repeated batch it had already).
    pub offset: Option<Offset>,
    /// When the node appended it, in topics of log append time.
    pub log_append_time: Option<Timestamp>,
}

/// The fate of a record that was handed over.
#[derive(Debug)]
pub struct Delivery {
    fate: Arc<Fate>,
    index: i64,
}

impl Delivery {
    /// Waits until the record is delivered or lost.
    ///
    /// # Errors
    /// Why the batch of the record was given up.
    pub async fn wait(&self) -> Result<Delivered, ClientError> {
        loop {
            let decided = self.fate.decided.notified();
            tokio::pin!(decided);
            // Registers before looking, so that a decision in between is not missed.
            decided.as_mut().enable();
            if let Some(outcome) = self.now() {
                return outcome;
            }
            decided.await;
        }
    }

    /// The outcome, if it is known already.
    #[must_use]
    pub fn now(&self) -> Option<Result<Delivered, ClientError>> {
        let outcome = self.fate.outcome.get()?.clone();
        Some(outcome.map(|first| Delivered { offset: first.offset.map(|offset| offset.plus(self.index)), ..first }))
    }
}

/// The fate of a batch: where its first record ended up.
#[derive(Debug, Default)]
struct Fate {
    outcome: OnceLock<Result<Delivered, ClientError>>,
    decided: Notify,
}

impl Fate {
    fn decide(&self, outcome: Result<Delivered, ClientError>) {
        let _ = self.outcome.set(outcome);
        self.decided.notify_waiters();
    }
}

/// Topic and partition.
type Key = (Arc<str>, i32);

/// A producer. Clones send through the same batches.
#[derive(Debug, Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    /// Ends the sending task with the last clone.
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Shared {
    client: Client,
    config: ProducerConfig,
    state: Mutex<State>,
    /// Free bytes of the buffer.
    room: Semaphore,
    /// Something is due.
    wake: Notify,
    /// Nothing is waiting or under way any more.
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    queues: BTreeMap<Key, Queue>,
    /// Queues with anything in them.
    busy: BTreeSet<Key>,
    /// The partition that keyless records go to at present.
    sticky: BTreeMap<Arc<str>, i32>,
    /// Whose turn it is, for round robin.
    turns: BTreeMap<Arc<str>, i32>,
    random: u64,
    /// Batches made so far.
    order_next: u64,
    /// Batches waiting or under way.
    batches: usize,
    /// Callers that wait for all of them.
    flushes: usize,
}

/// The batches of one partition, oldest first: what failed and comes again, what is closed, what still takes records.
#[derive(Debug, Default)]
struct Queue {
    ready: VecDeque<Batch>,
    open: Option<Batch>,
    in_flight: usize,
    /// A batch failed: nothing is sent until all that was under way has come back, so that the order stays.
    failed: bool,
    not_before: Option<Instant>,
    sequence_next: Sequence,
    /// The generation of the producer id that the leader knows. A leader that does not know an id yet takes any
    /// sequence from it, so until the first batch is acknowledged nothing may follow it.
    known_generation: u64,
}

#[derive(Debug)]
struct Batch {
    /// Counts batches, so that those that failed find their place again.
    order: u64,
    content: Content,
    records: i32,
    fate: Arc<Fate>,
    opened_at: Instant,
    buffer_bytes: usize,
}

#[derive(Debug)]
enum Content {
    Open(BatchBuilder),
    Sealed { bytes: Bytes, stamp: Option<Stamp> },
}

/// The place of a batch in what an idempotent producer sends.
#[derive(Debug, Clone, Copy)]
struct Stamp {
    /// Which of the ids that the producer has had.
    generation: u64,
}

/// The id of an idempotent producer.
#[derive(Debug, Clone, Copy)]
struct Identity {
    generation: u64,
    id: ProducerId,
    epoch: ProducerEpoch,
}

impl Drop for Batch {
    fn drop(&mut self) {
        if self.fate.outcome.get().is_none() {
            self.fate.decide(Err(ClientError::Usage("the producer was closed before the record was sent".to_owned())));
        }
    }
}

impl Batch {
    fn size_bytes(&self) -> usize {
        match &self.content {
            Content::Open(builder) => builder.size_bytes(),
            Content::Sealed { bytes, .. } => bytes.len(),
        }
    }

    /// The bytes to send. A batch of a former producer id gets the present one and the next sequence.
    fn seal(&mut self, identity: Option<Identity>, sequence_next: &mut Sequence) -> Bytes {
        let generation = identity.map(|identity| identity.generation);
        let mut stamp = None;
        let producer = identity.map(|identity| {
            stamp = Some(Stamp { generation: identity.generation });
            batch::Producer { id: identity.id, epoch: identity.epoch, base_sequence: Some(*sequence_next) }
        });
        let fresh = match &mut self.content {
            Content::Sealed { bytes, stamp } if stamp.map(|stamp| stamp.generation) == generation => {
                return bytes.clone();
            }
            Content::Sealed { bytes, .. } => {
                let mut again = BytesMut::from(bytes.as_ref());
                let base = batch::BatchView::parse(&again).map_or_else(|_| wall_clock(), |view| view.base_timestamp());
                batch::restamp(&mut again, base, producer);
                again
            }
            Content::Open(builder) => {
                let builder = std::mem::replace(builder, BatchBuilder::new(Codec::None));
                let builder = match producer {
                    Some(producer) => builder.producer(producer),
                    None => builder,
                };
                builder.build_unstamped()
            }
        };
        if stamp.is_some() {
            *sequence_next = sequence_next.plus(self.records);
        }
        let bytes = fresh.freeze();
        self.content = Content::Sealed { bytes: bytes.clone(), stamp };
        bytes
    }

    fn was_stamped(&self) -> bool {
        matches!(self.content, Content::Sealed { stamp: Some(_), .. })
    }
}

impl State {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    fn choose(&mut self, partitioner: Partitioner, key: Option<&[u8]>, topic: &Arc<str>, partitions: i32) -> i32 {
        match partitioner.choose(key, partitions) {
            Choice::Partition(partition) => partition,
            Choice::Next => {
                let turn = self.turns.entry(Arc::clone(topic)).or_default();
                let partition = *turn % partitions;
                *turn = partition + 1;
                partition
            }
            Choice::Sticky => match self.sticky.get(topic) {
                Some(&partition) if partition < partitions => partition,
                _ => {
                    let partition = (self.random() % partitions as u64) as i32;
                    self.sticky.insert(Arc::clone(topic), partition);
                    partition
                }
            },
        }
    }

    /// The batch of `partition` was closed: keyless records go elsewhere from now on.
    fn move_sticky(&mut self, topic: &Arc<str>, partition: i32) {
        if self.sticky.get(topic) == Some(&partition) {
            self.sticky.remove(topic);
        }
    }
}

impl Producer {
    /// Starts a producer. An idempotent one asks for its id before its first batch.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn new(client: Client, config: ProducerConfig) -> Result<Self, ClientError> {
        if config.idempotent && config.acks != Acks::All {
            return Err(ClientError::Usage("an idempotent producer needs acks=all".to_owned()));
        }
        if config.requests_in_flight_max == 0 || config.batch_bytes == 0 {
            return Err(ClientError::Usage("requests in flight and batch size must be above zero".to_owned()));
        }
        let room = Semaphore::new(config.buffer_bytes_max.min(Semaphore::MAX_PERMITS));
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.subsec_nanos().into());
        let state = Mutex::new(State { random: seed, ..State::default() });
        let shared = Arc::new(Shared { client, config, state, room, wake: Notify::new(), drained: Notify::new() });
        let task = tokio::spawn(Sender::new(Arc::clone(&shared)).run());
        Ok(Self { shared, _task: Arc::new(Task(task)) })
    }

    /// Hands a record over; waits only for room in the buffer and for the topic's metadata. Its fate can be awaited.
    ///
    /// # Errors
    /// The topic or partition does not exist, or the record is larger than the buffer.
    pub async fn send(&self, record: Record) -> Result<Delivery, ClientError> {
        let shared = &self.shared;
        let topic = shared.client.retry(|| shared.client.topic(&record.topic, true)).await?;
        let partitions = topic.partitions.len() as i32;
        if partitions == 0 {
            let what = format!("send to {}", record.topic);
            return Err(ClientError::refused(what, ErrorCode::LeaderNotAvailable.code()));
        }
        let headers: usize = record
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, Bytes::len) + RECORD_OVERHEAD_BYTES)
            .sum();
        let parts = record.key.as_ref().map_or(0, Bytes::len) + record.value.as_ref().map_or(0, Bytes::len);
        let bytes = parts + headers + RECORD_OVERHEAD_BYTES;
        if shared.config.buffer_bytes_max < bytes {
            let buffer = shared.config.buffer_bytes_max;
            return Err(ClientError::Usage(format!("a record of {bytes} bytes does not fit a buffer of {buffer}")));
        }
        let permits = u32::try_from(bytes).map_err(|_| ClientError::Usage("a record of 4 GiB".to_owned()))?;
        let room = shared.room.acquire_many(permits).await.expect("the semaphore is never closed");
        let delivery = shared.append(&record, &topic.name, partitions, bytes)?;
        room.forget();
        Ok(delivery)
    }

    /// Sends what is waiting without further delay, and waits until all of it is delivered or lost.
    pub async fn flush(&self) {
        self.shared.lock().flushes += 1;
        loop {
            let drained = self.shared.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if self.shared.lock().batches == 0 {
                break;
            }
            self.shared.wake.notify_one();
            drained.await;
        }
        self.shared.lock().flushes -= 1;
    }

    /// The client it sends through.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.shared.client
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(
        &self,
        record: &Record,
        topic: &Arc<str>,
        partitions: i32,
        bytes: usize,
    ) -> Result<Delivery, ClientError> {
        let mut state = self.lock();
        let partition = match record.partition {
            Some(partition) => partition.value(),
            None => state.choose(self.config.partitioner, record.key.as_deref(), topic, partitions),
        };
        if partitions <= partition {
            let reason = format!("{topic} has {partitions} partitions, there is no partition {partition}");
            return Err(ClientError::Usage(reason));
        }
        let key: Key = (Arc::clone(topic), partition);
        let state = &mut *state;
        // A record that does not fit begins a batch of its own: one that the node refuses for its size must not take
        // others with it.
        if let Some(queue) = state.queues.get_mut(&key)
            && queue.open.as_ref().is_some_and(|open| self.config.batch_bytes < open.size_bytes() + bytes)
        {
            queue.ready.extend(queue.open.take());
            state.move_sticky(topic, partition);
            self.wake.notify_one();
        }
        let queue = state.queues.entry(key.clone()).or_default();
        let batch = match &mut queue.open {
            Some(batch) => batch,
            none => {
                let mut builder = BatchBuilder::new(self.config.codec);
                if let Some(level) = self.config.codec_level {
                    builder = builder.level(level);
                }
                state.order_next += 1;
                state.batches += 1;
                state.busy.insert(key);
                // The sender must learn of the new deadline.
                self.wake.notify_one();
                none.insert(Batch {
                    order: state.order_next,
                    content: Content::Open(builder),
                    records: 0,
                    fate: Arc::default(),
                    opened_at: Instant::now(),
                    buffer_bytes: 0,
                })
            }
        };
        let Content::Open(builder) = &mut batch.content else { unreachable!("an open batch is not sealed") };
        let headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        let timestamp = record.timestamp.unwrap_or_else(wall_clock);
        builder.append(timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
        let delivery = Delivery { fate: Arc::clone(&batch.fate), index: i64::from(batch.records) };
        batch.records += 1;
        batch.buffer_bytes += bytes;
        if self.config.batch_bytes <= batch.size_bytes() {
            queue.ready.extend(queue.open.take());
            state.move_sticky(topic, partition);
            self.wake.notify_one();
        }
        Ok(delivery)
    }

    /// Tells the fate of a batch and frees its room.
    fn finish(&self, state: &mut State, batch: Batch, outcome: Result<Delivered, ClientError>) {
        batch.fate.decide(outcome);
        self.room.add_permits(batch.buffer_bytes);
        state.batches -= 1;
        if state.batches == 0 {
            self.drained.notify_waiters();
        }
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as i64)
}

/// Batches that went to a node in one request, and what came of it.
#[derive(Debug)]
struct Completion {
    node: NodeId,
    batches: Vec<Sent>,
    outcome: Result<ProduceResponse<'static>, ClientError>,
}

#[derive(Debug)]
struct Sent {
    key: Key,
    topic_id: TopicId,
    batch: Batch,
}

/// The sending task.
struct Sender {
    shared: Arc<Shared>,
    completed: mpsc::UnboundedSender<Completion>,
    completions: mpsc::UnboundedReceiver<Completion>,
    /// Unanswered requests by node.
    requests: BTreeMap<NodeId, usize>,
    identity: Option<Identity>,
    generation: u64,
    /// The present id is spent: once nothing is under way, another is asked for and sequences begin again.
    reset: bool,
}

impl Sender {
    fn new(shared: Arc<Shared>) -> Self {
        // Bounded by the requests in flight: one message each.
        let (completed, completions) = mpsc::unbounded_channel();
        let requests = BTreeMap::new();
        Self { shared, completed, completions, requests, identity: None, generation: 0, reset: false }
    }

    async fn run(mut self) {
        loop {
            let wake_at = self.send_due().await;
            let shared = Arc::clone(&self.shared);
            let completion = tokio::select! {
                completion = self.completions.recv() => completion,
                () = shared.wake.notified() => None,
                () = sleep_until(wake_at.unwrap_or_else(far_future)) => None,
            };
            if let Some(completion) = completion {
                self.on_completion(completion);
            }
            while let Ok(completion) = self.completions.try_recv() {
                self.on_completion(completion);
            }
        }
    }

    /// Sends what is due and may be sent; says when to look again.
    async fn send_due(&mut self) -> Option<Instant> {
        loop {
            let (due, wake_at) = self.due(Instant::now());
            if due.is_empty() {
                return wake_at;
            }
            if self.shared.config.idempotent && (self.identity.is_none() || self.reset) {
                if !self.requests.is_empty() {
                    return wake_at;
                }
                if let Err(error) = self.ask_identity().await {
                    self.fail_all(&due, &error);
                    continue;
                }
            }
            let mut by_node: BTreeMap<NodeId, Vec<Sent>> = BTreeMap::new();
            let mut bytes: BTreeMap<NodeId, usize> = BTreeMap::new();
            let mut full = true;
            for key in due {
                let leader = self.shared.client.leader(&key.0, PartitionIndex::new(key.1)).await;
                let topic = self.shared.client.topic(&key.0, false).await;
                let (leader, topic) = match (leader, topic) {
                    (Ok(leader), Ok(topic)) => (leader, topic),
                    (Err(error), _) | (_, Err(error)) => {
                        self.put_off(&key, &error);
                        full = false;
                        continue;
                    }
                };
                let in_flight = self.requests.get(&leader).copied().unwrap_or(0);
                if self.shared.config.requests_in_flight_max <= in_flight {
                    continue;
                }
                let load = bytes.entry(leader).or_default();
                let topic_id = topic.id.unwrap_or(TopicId::ZERO);
                if let Some(sent) = self.take(key, topic_id, load) {
                    by_node.entry(leader).or_default().push(sent);
                }
            }
            if by_node.is_empty() && full {
                return wake_at;
            }
            for (node, batches) in by_node {
                self.send(node, batches).await;
            }
        }
    }

    /// The partitions that have something to send now, and when the next one will.
    fn due(&mut self, now: Instant) -> (Vec<Key>, Option<Instant>) {
        let shared = Arc::clone(&self.shared);
        let (config, identity) = (&shared.config, self.identity);
        let mut guard = shared.lock();
        let state = &mut *guard;
        let (mut due, mut next): (Vec<Key>, Option<Instant>) = (Vec::new(), None);
        let mut later = |at: Instant| next = Some(next.map_or(at, |next: Instant| next.min(at)));
        let mut expired = Vec::new();
        let mut idle = Vec::new();
        for key in &state.busy {
            let queue = state.queues.get_mut(key).expect("a busy partition has a queue");
            let is_late = |batch: &Batch| batch.opened_at + config.delivery_timeout <= now;
            while let Some(late) = queue.ready.pop_front_if(|batch| is_late(batch)) {
                // Its sequence is lost: those behind it need others.
                self.reset |= late.was_stamped();
                expired.push((key.clone(), late));
            }
            if queue.in_flight == 0 {
                queue.failed = false;
            }
            let Some(first) = queue.ready.front().or(queue.open.as_ref()) else {
                if queue.in_flight == 0 {
                    idle.push(key.clone());
                }
                continue;
            };
            let unknown = identity.is_some_and(|identity| identity.generation != queue.known_generation);
            let in_flight_max = if unknown { 1 } else { config.requests_in_flight_max };
            if queue.failed || in_flight_max <= queue.in_flight {
                continue;
            }
            let lingers = queue.ready.is_empty() && state.flushes == 0;
            let ready_at = if lingers { first.opened_at + config.linger } else { now };
            let ready_at = queue.not_before.map_or(ready_at, |not_before| ready_at.max(not_before));
            if ready_at <= now { due.push(key.clone()) } else { later(ready_at) }
        }
        for key in idle {
            state.busy.remove(&key);
        }
        for (key, batch) in expired {
            let what = format!("a record for {}-{}", key.0, key.1);
            let address = "the leader".to_owned();
            let error = ClientError::Timeout { what, address, after: config.delivery_timeout };
            shared.finish(state, batch, Err(error));
        }
        (due, next)
    }

    /// Takes the next batch of a partition, unless the request has its fill.
    fn take(&mut self, key: Key, topic_id: TopicId, load: &mut usize) -> Option<Sent> {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        let queue = state.queues.get_mut(&key)?;
        let size = queue.ready.front().or(queue.open.as_ref())?.size_bytes();
        if 0 < *load && self.shared.config.request_bytes_max < *load + size {
            return None;
        }
        *load += size;
        let mut batch = match queue.ready.pop_front() {
            Some(batch) => batch,
            None => {
                let open = queue.open.take()?;
                state.move_sticky(&key.0, key.1);
                open
            }
        };
        let queue = state.queues.get_mut(&key)?;
        batch.seal(self.identity, &mut queue.sequence_next);
        queue.in_flight += 1;
        Some(Sent { key, topic_id, batch })
    }

    /// Nothing can be sent to this partition now.
    fn put_off(&mut self, key: &Key, error: &ClientError) {
        if !error.is_retriable() {
            return self.fail_all(std::slice::from_ref(key), error);
        }
        let mut state = self.shared.lock();
        if let Some(queue) = state.queues.get_mut(key) {
            queue.not_before = Some(Instant::now() + RETRY_BACKOFF);
        }
    }

    fn fail_all(&mut self, keys: &[Key], error: &ClientError) {
        let shared = Arc::clone(&self.shared);
        let mut guard = shared.lock();
        for key in keys {
            let Some(queue) = guard.queues.get_mut(key) else { continue };
            let batches: Vec<Batch> = queue.ready.drain(..).chain(queue.open.take()).collect();
            for batch in batches {
                self.reset |= batch.was_stamped();
                shared.finish(&mut guard, batch, Err(error.clone()));
            }
        }
    }

    async fn ask_identity(&mut self) -> Result<(), ClientError> {
        let client = &self.shared.client;
        let request =
            InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 60_000, ..Default::default() };
        let response = client
            .retry(|| async {
                let response = client.any().await?.call(&request).await?;
                ClientError::check(response.error_code, None, || "get a producer id".to_owned())?;
                Ok(response)
            })
            .await?;
        let epoch = ProducerEpoch::from_wire(response.producer_epoch);
        let (Some(id), Some(epoch)) = (ProducerId::from_wire(response.producer_id), epoch) else {
            return Err(ClientError::Usage("the node handed out a negative producer id".to_owned()));
        };
        self.generation += 1;
        self.identity = Some(Identity { generation: self.generation, id, epoch });
        self.reset = false;
        for queue in self.shared.lock().queues.values_mut() {
            queue.sequence_next = Sequence::ZERO;
        }
        Ok(())
    }

    /// Sends one request; the answer is awaited by a task of its own.
    async fn send(&mut self, node: NodeId, batches: Vec<Sent>) {
        *self.requests.entry(node).or_default() += 1;
        let completed = self.completed.clone();
        let acks = self.shared.config.acks;
        let connection = match self.shared.client.node(node).await {
            Ok(connection) => connection,
            Err(error) => return drop(completed.send(Completion { node, batches, outcome: Err(error) })),
        };
        let mut version = match connection.version(ApiKey::Produce) {
            Ok(version) => version,
            Err(error) => return drop(completed.send(Completion { node, batches, outcome: Err(error) })),
        };
        if batches.iter().any(|sent| sent.topic_id.is_zero()) {
            version = version.min(TOPIC_ID_VERSION_MIN - 1);
        }
        let mut topics: Vec<TopicProduceData<'_>> = Vec::new();
        let mut records = Vec::new();
        for sent in &batches {
            let Content::Sealed { bytes, .. } = &sent.batch.content else { unreachable!("sealed when taken") };
            let partition =
                PartitionProduceData { index: sent.key.1, records: Records::Hole(bytes.len()), ..Default::default() };
            records.push(bytes.clone());
            match topics.last_mut() {
                Some(topic) if topic.name == sent.key.0.as_ref() => topic.partition_data.push(partition),
                _ => topics.push(TopicProduceData {
                    name: sent.key.0.as_ref().into(),
                    topic_id: sent.topic_id,
                    partition_data: vec![partition],
                    ..Default::default()
                }),
            }
        }
        let timeout_ms = connection.request_timeout().as_millis() as i32;
        let request = ProduceRequest { acks: acks.code(), timeout_ms, topic_data: topics, ..Default::default() };
        if acks == Acks::None {
            let outcome = connection.send_without_answer(&request, version, &records).await;
            let outcome = outcome.map(|()| ProduceResponse::default());
            drop(request);
            return drop(completed.send(Completion { node, batches, outcome }));
        }
        let pending = connection.send_with_records(&request, version, &records).await;
        drop(request);
        tokio::spawn(async move {
            let outcome = match pending {
                Ok(pending) => pending.response().await,
                Err(error) => Err(error),
            };
            // The producer may be gone; its batches say so themselves.
            drop(completed.send(Completion { node, batches, outcome }));
        });
    }

    fn on_completion(&mut self, completion: Completion) {
        let Completion { node, batches, outcome } = completion;
        if let Some(requests) = self.requests.get_mut(&node) {
            *requests -= 1;
            if *requests == 0 {
                self.requests.remove(&node);
            }
        }
        let shared = Arc::clone(&self.shared);
        let mut guard = shared.lock();
        for Sent { key, topic_id, batch } in batches {
            let queue = guard.queues.entry(key.clone()).or_default();
            queue.in_flight -= 1;
            let outcome = match &outcome {
                Err(error) => Err(error.clone()),
                Ok(_) if shared.config.acks == Acks::None => Ok(delivered(&key, None)),
                Ok(response) => judge(&key, topic_id, response),
            };
            let Err(error) = outcome else {
                if let Content::Sealed { stamp: Some(stamp), .. } = batch.content {
                    queue.known_generation = stamp.generation;
                }
                shared.finish(&mut guard, batch, outcome);
                continue;
            };
            let first = queue.ready.front().is_none_or(|front| batch.order < front.order);
            let sequence_lost = matches!(
                error.code(),
                Some(
                    ErrorCode::OutOfOrderSequenceNumber
                        | ErrorCode::UnknownProducerId
                        | ErrorCode::InvalidProducerEpoch
                )
            );
            if batch.was_stamped() && (error.is_retriable() || sequence_lost) || error.is_retriable() {
                // Behind a batch that failed, a gap in the sequence is a consequence, not a loss of its own.
                self.reset |= sequence_lost && first;
                queue.failed = true;
                queue.not_before = Some(Instant::now() + RETRY_BACKOFF);
                let place = queue.ready.partition_point(|other| other.order < batch.order);
                queue.ready.insert(place, batch);
                shared.client.forget_topic(&key.0);
            } else {
                self.reset |= batch.was_stamped();
                queue.failed |= batch.was_stamped();
                shared.finish(&mut guard, batch, Err(error));
            }
        }
    }
}

fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn delivered(key: &Key, answer: Option<&PartitionProduceResponse<'_>>) -> Delivered {
    Delivered {
        partition: PartitionIndex::new(key.1),
        offset: answer.and_then(|answer| Offset::from_wire(answer.base_offset)),
        log_append_time: answer
            .filter(|answer| 0 <= answer.log_append_time_ms)
            .map(|answer| Timestamp::from_millis(answer.log_append_time_ms)),
    }
}

/// What the answer says about one partition.
fn judge(key: &Key, topic_id: TopicId, response: &ProduceResponse<'_>) -> Result<Delivered, ClientError> {
    let what = || format!("deliver to {}-{}", key.0, key.1);
    let mut topics = response.responses.iter().filter(|topic| {
        if topic.topic_id.is_zero() { topic.name == key.0.as_ref() } else { topic.topic_id == topic_id }
    });
    let answer = topics.find_map(|topic| topic.partition_responses.iter().find(|each| each.index == key.1));
    let Some(answer) = answer else {
        return Err(ClientError::Refused {
            what: what(),
            code: -1,
            message: Some("the answer lacks the partition".into()),
        });
    };
    if answer.error_code == ErrorCode::DuplicateSequenceNumber.code() {
        return Ok(delivered(key, None));
    }
    let record_error = answer.record_errors.iter().find_map(|each| each.batch_index_error_message.as_deref());
    ClientError::check(answer.error_code, record_error.or(answer.error_message.as_deref()), what)?;
    Ok(delivered(key, Some(answer)))
}
