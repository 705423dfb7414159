//! One producer: gathers the messages that are due into batches, sends them, and counts what comes back.
//!
//! ```text
//! schedule ──► open batch of a partition ──► ready (full, or linger over) ──► request ──► in flight ──► acked
//!                                                  at most `in_flight` requests a connection     └──► retry (idempotent only)
//! ```
//! It batches as Kafka's producer does: without keys one partition is filled until its batch is sent, then the next;
//! a batch that is ready and waits for its turn still takes messages; a request carries one batch of each partition
//! that is ready at its node. What cannot be sent stays due: nothing is skipped or moved in time.
//!
//! Without idempotence nothing is ever sent twice, so a message that is in a log twice is the broker's doing. With it,
//! what failed in a way that may pass is sent again under its old sequence numbers, in order, one batch at a time.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::{Buf, Bytes, BytesMut};
use client::Acks;
use client::partitioner::murmur2_partition;
use types::limits::{CLIENT_RESPONSE_BYTES_MAX, LOAD_UNSENT_BYTES_MAX};
use types::{ErrorCode, ProducerEpoch, ProducerId, Sequence, Timestamp};
use wire::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::produce_response::ProduceResponse;
use wire::{ApiKey, Message, Reader, Records, Writer, frame};

use crate::arrivals::Schedule;
use crate::check::AckedBatch;
use crate::clock::now_ns;
use crate::intervals::Intervals;
use crate::outcome::Count;
use crate::shared::{Leaders, Shared};
use crate::tally::{Failed, Tick, Totals, record};
use crate::template::{Patch, Pool, Sealed, key_of};
use crate::workload::{Keys, Load};

const CLIENT_ID: &str = "ringlog-bench";
/// What the broker may take for an answer to acks=all, in milliseconds.
const ACK_TIMEOUT_MS: i32 = 30_000;
/// Pause before a partition that failed is tried again.
const RETRY_NS: u64 = 100_000_000;
/// With keys, while batches wait for their linger, due messages are gathered this often and not one by one: a batch that
/// fills up is noticed at most so much late.
const GATHER_NS: u64 = 50_000;
/// Pieces that one call of writev takes.
const PIECES_MAX: usize = 64;
const READ_BYTES: usize = 64 << 10;

/// A batch that takes messages.
struct Open {
    variant: usize,
    dues_ns: Vec<u64>,
    keys: Vec<u32>,
    /// It is in its node's queue.
    ready: bool,
}

/// A batch that was sent.
struct Sent {
    part: usize,
    variant: usize,
    sequence: u64,
    dues_ns: Vec<u64>,
    keys: Vec<u32>,
    /// Of the first message, for the broker.
    base_sequence: Option<Sequence>,
    /// Not for the first time: alone under way, so that its failure says where the broker's sequence stands.
    again: bool,
    sealed: Option<Arc<Sealed>>,
}

/// One partition as this producer sees it.
struct Part {
    /// The partition's number within the run.
    number: usize,
    topic: usize,
    partition: i32,
    leader: Option<u16>,
    queue: VecDeque<Open>,
    sequence_next: u64,
    base_sequence_next: Sequence,
    acked: Intervals,
    in_flight: u32,
    /// Failed batches, in the order in which they were first sent.
    retry: VecDeque<Sent>,
    not_before_ns: u64,
    /// With idempotence: a batch failed, and until all before and behind it are settled no new one is sent.
    failing: bool,
    /// Ready batches that wait for that.
    held_back: u32,
    /// The last request that has a batch of it.
    request: u64,
}

enum Piece {
    Head(Bytes),
    Batch(Arc<Sealed>),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Head(bytes) => bytes,
            Self::Batch(sealed) => sealed.bytes(),
        }
    }
}

struct Request {
    correlation: i32,
    sent_ns: u64,
    batches: Vec<Sent>,
}

/// The connection to one node.
#[derive(Default)]
struct Link {
    socket: Option<TcpStream>,
    /// A new one was asked for.
    asked: bool,
    out: VecDeque<Piece>,
    /// Bytes of the first piece that are sent.
    out_sent: usize,
    in_flight: VecDeque<Request>,
    input: BytesMut,
    /// Partitions with a batch that is ready; as often as they have batches.
    ready: VecDeque<usize>,
    /// When batches should have been ready that became so in this turn.
    due_now_ns: Vec<u64>,
}

/// What a thread's producers have in common.
pub(crate) struct Bench {
    pub(crate) pool: Pool,
    pub(crate) totals: Totals,
    pub(crate) tick: Tick,
    /// Vectors to use again.
    spare: Vec<(Vec<u64>, Vec<u32>)>,
    /// What one call of read got.
    received: Vec<u8>,
}

impl Bench {
    pub(crate) fn new(shared: &Shared) -> Self {
        Self {
            pool: Pool::new(&shared.templates),
            totals: Totals::new(),
            tick: Tick::new(0),
            spare: Vec::new(),
            received: vec![0; READ_BYTES],
        }
    }
}

/// When messages are made.
pub(crate) enum Pace {
    /// When they are due.
    Open(Schedule),
    /// When fewer than this many are unanswered.
    Closed { outstanding_max: u64 },
}

impl Pace {
    fn new(shared: &Shared, id: u32, partitions: usize) -> Self {
        let workload = &shared.workload;
        let in_flight = u64::from(workload.producers.in_flight);
        let full = shared.templates.records_max(0) as u64;
        match workload.load {
            Load::Closed { concurrency } => Self::Closed { outstanding_max: u64::from(concurrency) * full },
            Load::Maximum => {
                // Enough to keep every slot of the connection filled; with keys, batches of all partitions fill at once.
                let batches = match workload.messages.keys {
                    Keys::None => in_flight + 2,
                    _ => (in_flight + 2).max(2 * partitions as u64),
                };
                let bound = LOAD_UNSENT_BYTES_MAX as u64 / workload.messages.size_bytes_mean() as u64;
                Self::Closed { outstanding_max: (batches * full).min(bound).max(full) }
            }
            load => {
                let rate = load.rate().expect("a sweep is taken apart before");
                let producers = f64::from(workload.producers.count);
                let seed = workload.seed ^ u64::from(id).rotate_left(32);
                let (per_s, shift) = (rate.messages_per_s / producers, f64::from(id) / producers);
                Self::Open(Schedule::new(shared.marks.start_ns(), per_s, rate.arrivals, shift, seed))
            }
        }
    }
}

pub(crate) struct Producer {
    id: u32,
    shared: Arc<Shared>,
    parts: Vec<Part>,
    /// Of each of its topics: its first place in `parts`, its partitions.
    topics: Vec<(usize, u32)>,
    /// `None` until the load begins.
    pace: Option<Pace>,
    rng: fastrand::Rng,
    identity: Option<(ProducerId, ProducerEpoch)>,
    links: Vec<Link>,
    leaders_version: u64,
    /// Ready batches of partitions that nobody leads.
    leaderless: Vec<usize>,
    /// Open batches by the time at which they are ready, rising; some are not open any more.
    lingering: VecDeque<(u64, usize)>,
    retrying: Vec<usize>,
    sticky: usize,
    variant_next: usize,
    appended: u64,
    answered: u64,
    unsent_bytes: usize,
    unsent_messages: u64,
    /// Messages due before this moment waited for the broker: that they are late says nothing about the generator.
    stalled_through_ns: u64,
    /// The schedule is over and everything of it is in a batch.
    exhausted: bool,
    correlation_next: i32,
    request_next: u64,
    linger_ns: u64,
}

impl Producer {
    pub(crate) fn new(id: u32, shared: Arc<Shared>, identity: Option<(ProducerId, ProducerEpoch)>) -> Self {
        let producers = shared.workload.producers.count as usize;
        let mut parts = Vec::new();
        let mut topics = Vec::new();
        // With fewer producers than topics each has several topics, otherwise each has one.
        let first = id as usize % shared.topics.len();
        for topic in (first..shared.topics.len()).step_by(producers) {
            let known = &shared.topics[topic];
            topics.push((parts.len(), known.partitions));
            parts.extend((0..known.partitions).map(|partition| Part::new(topic, partition, known.first)));
        }
        let seed = shared.workload.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(id);
        // Producers of one topic begin at different partitions.
        let sticky = id as usize % parts.len();
        let linger_ns = shared.workload.producers.linger.as_nanos() as u64;
        let mut producer = Self {
            id,
            shared,
            parts,
            topics,
            pace: None,
            rng: fastrand::Rng::with_seed(seed),
            identity,
            links: Vec::new(),
            leaders_version: u64::MAX,
            leaderless: Vec::new(),
            lingering: VecDeque::new(),
            retrying: Vec::new(),
            sticky,
            variant_next: id as usize,
            appended: 0,
            answered: 0,
            unsent_bytes: 0,
            unsent_messages: 0,
            stalled_through_ns: 0,
            exhausted: false,
            correlation_next: 0,
            request_next: 1,
            linger_ns,
        };
        producer.look_for_leaders();
        producer
    }

    /// The nodes that lead partitions of it.
    pub(crate) fn nodes(&self) -> Vec<u16> {
        let mut nodes: Vec<u16> = self.parts.iter().filter_map(|part| part.leader).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    pub(crate) fn socket(&self, node: u16) -> Option<&TcpStream> {
        self.links.get(usize::from(node))?.socket.as_ref()
    }

    /// Takes a connection that was asked for, or the news that there is none.
    pub(crate) fn on_connected(&mut self, node: u16, socket: Option<TcpStream>) {
        if socket.is_none() {
            self.shared.leaders_stale.store(true, Ordering::Relaxed);
        }
        let link = &mut self.links[usize::from(node)];
        link.asked = false;
        link.socket = socket;
        link.input.clear();
    }

    /// Nodes that it needs and has no connection to.
    pub(crate) fn take_wanted(&mut self) -> Vec<u16> {
        let mut wanted = Vec::new();
        for node in self.nodes() {
            let link = &mut self.links[usize::from(node)];
            if link.socket.is_none() && !link.asked {
                link.asked = true;
                wanted.push(node);
            }
        }
        wanted
    }

    /// Whether everything that was due is answered or given up.
    pub(crate) fn is_done(&self) -> bool {
        self.exhausted
            && self.unsent_messages == 0
            && self.retrying.is_empty()
            && self.links.iter().all(|link| link.in_flight.is_empty())
    }

    /// What was acked of each partition: the sequences of its messages.
    pub(crate) fn into_acked(self) -> HashMap<(usize, u32), Intervals> {
        let id = self.id;
        self.parts.into_iter().map(|part| ((part.number, id), part.acked)).collect()
    }

    /// Does what is to be done now; returns when it wants to be called again without an event.
    pub(crate) fn turn(&mut self, now_ns: u64, bench: &mut Bench) -> u64 {
        if self.leaders_version != self.shared.leaders_version.load(Ordering::Acquire) {
            self.look_for_leaders();
        }
        if self.pace.is_none() {
            self.pace = Some(Pace::new(&self.shared, self.id, self.parts.len()));
        }
        self.append_due(now_ns, bench);
        while let Some(&(ready_ns, part)) = self.lingering.front().filter(|(ready_ns, _)| *ready_ns <= now_ns) {
            self.lingering.pop_front();
            self.on_linger_over(ready_ns, part, now_ns, bench);
        }
        self.send_retries(now_ns, bench);
        for node in 0..self.links.len() {
            self.send_ready(node, now_ns, bench);
            self.flush(node, bench);
            self.note_slips(node, bench);
        }
        self.wake_ns(now_ns)
    }

    fn wake_ns(&self, now_ns: u64) -> u64 {
        let mut wake_ns = u64::MAX;
        if let (Some(Pace::Open(schedule)), false) = (&self.pace, self.exhausted)
            && self.unsent_bytes < LOAD_UNSENT_BYTES_MAX
        {
            wake_ns = self.gather_ns(schedule, now_ns);
        }
        if let Some(&(ready_ns, _)) = self.lingering.front() {
            wake_ns = wake_ns.min(ready_ns);
        }
        self.retrying.iter().map(|part| self.parts[*part].not_before_ns.max(now_ns + GATHER_NS)).fold(wake_ns, u64::min)
    }

    /// When messages are to be put into batches again. Not before something can be sent: waking up for each message takes
    /// CPU that a broker on the same machine may want.
    fn gather_ns(&self, schedule: &Schedule, now_ns: u64) -> u64 {
        let due_ns = schedule.due_ns();
        if self.linger_ns == 0 {
            return due_ns;
        }
        if self.shared.workload.messages.keys != Keys::None {
            // Any batch may be the next that is full.
            return due_ns.max(now_ns + GATHER_NS);
        }
        // Without keys one batch fills, or the first message of the next one begins to linger.
        let templates = &self.shared.templates;
        let open = self.parts[self.sticky].queue.back();
        let room = open.map_or(0, |open| templates.records_max(open.variant) - open.dues_ns.len());
        match room {
            0 => {
                let room = templates.records_max(self.variant_next % templates.variants());
                schedule.due_ns_after(room - 1).min(due_ns + self.linger_ns)
            }
            _ => schedule.due_ns_after(room - 1),
        }
    }

    fn look_for_leaders(&mut self) {
        self.leaders_version = self.shared.leaders_version.load(Ordering::Acquire);
        let leaders: Arc<Leaders> = self.shared.leaders();
        self.links.resize_with(leaders.nodes.len(), Link::default);
        for part in &mut self.parts {
            part.leader = leaders.of[part.number];
        }
        let mut ready: Vec<usize> = self.leaderless.drain(..).collect();
        for link in &mut self.links {
            ready.extend(link.ready.drain(..));
        }
        for part in ready {
            self.enqueue(part);
        }
    }

    fn enqueue(&mut self, part: usize) {
        match self.parts[part].leader {
            Some(node) => self.links[usize::from(node)].ready.push_back(part),
            None => {
                self.leaderless.push(part);
                self.shared.leaders_stale.store(true, Ordering::Relaxed);
            }
        }
    }

    fn append_due(&mut self, now_ns: u64, bench: &mut Bench) {
        let end_ns = self.shared.marks.end_ns();
        loop {
            let due_ns = match &mut self.pace {
                None => return,
                Some(Pace::Open(schedule)) => {
                    let due_ns = schedule.due_ns();
                    self.exhausted = end_ns <= due_ns;
                    if self.exhausted || now_ns < due_ns {
                        return;
                    }
                    if LOAD_UNSENT_BYTES_MAX <= self.unsent_bytes {
                        self.stalled_through_ns = now_ns;
                        return;
                    }
                    schedule.advance();
                    due_ns
                }
                Some(Pace::Closed { outstanding_max }) => {
                    self.exhausted = end_ns <= now_ns;
                    if self.exhausted || *outstanding_max <= self.appended - self.answered {
                        return;
                    }
                    now_ns
                }
            };
            self.append(due_ns, now_ns, bench);
        }
    }

    /// Where the next message goes, and its key.
    fn choose(&mut self) -> (usize, Option<u32>) {
        let Some(key) = self.shared.keys.key(self.appended, &mut self.rng) else { return (self.sticky, None) };
        let (first, partitions) = self.topics[(self.appended % self.topics.len() as u64) as usize];
        (first + murmur2_partition(&key_of(key), partitions as i32) as usize, Some(key))
    }

    fn append(&mut self, due_ns: u64, now_ns: u64, bench: &mut Bench) {
        let (place, key) = self.choose();
        self.appended += 1;
        let templates = &self.shared.templates;
        let part = &mut self.parts[place];
        let full = |open: &Open| templates.records_max(open.variant) <= open.dues_ns.len();
        if part.queue.back().is_none_or(full) {
            let (dues_ns, keys) = bench.spare.pop().unwrap_or_default();
            let variant = self.variant_next % templates.variants();
            self.variant_next += 1;
            part.queue.push_back(Open { variant, dues_ns, keys, ready: false });
            self.lingering.push_back((due_ns + self.linger_ns, place));
        }
        let open = part.queue.back_mut().expect("there is one now");
        let bytes = templates.value_bytes(open.variant, open.dues_ns.len());
        open.dues_ns.push(due_ns);
        open.keys.extend(key);
        self.unsent_bytes += bytes as usize;
        self.unsent_messages += 1;
        let count = Count { messages: 1, bytes };
        bench.tick.offered.add(count);
        if self.shared.marks.measures(due_ns) {
            bench.totals.offered.add(count);
        }
        if !full(open) {
            return;
        }
        if self.sticky == place {
            self.sticky = (place + 1) % self.parts.len();
        }
        let open = self.parts[place].queue.back_mut().expect("it was just filled");
        if !std::mem::replace(&mut open.ready, true) {
            self.enqueue(place);
            self.on_ready(place, due_ns, now_ns, bench);
        }
    }

    fn on_linger_over(&mut self, ready_ns: u64, place: usize, now_ns: u64, bench: &mut Bench) {
        let linger_ns = self.linger_ns;
        // The batch may have been filled and sent, and another begun since.
        let is_it = |open: &&mut Open| !open.ready && open.dues_ns[0] + linger_ns == ready_ns;
        if let Some(open) = self.parts[place].queue.back_mut().filter(is_it) {
            open.ready = true;
            self.enqueue(place);
            self.on_ready(place, ready_ns, now_ns, bench);
        }
    }

    /// A batch is ready that should have been at `ready_ns`. How late the generator is with it shows once this turn has
    /// done with it what it could.
    fn on_ready(&mut self, place: usize, ready_ns: u64, now_ns: u64, bench: &mut Bench) {
        let paced = matches!(self.pace, Some(Pace::Open(_))) && self.stalled_through_ns < ready_ns;
        if !paced || !self.shared.marks.measures(ready_ns) {
            return;
        }
        match self.parts[place].leader {
            Some(node) => self.links[usize::from(node)].due_now_ns.push(ready_ns),
            None => record(&mut bench.totals.slip, now_ns.saturating_sub(ready_ns)),
        }
    }

    /// What became ready in this turn is encoded and handed to the socket by now, or there was no room for it: from here
    /// on it waits for the broker.
    fn note_slips(&mut self, node: usize, bench: &mut Bench) {
        let due_now_ns = &mut self.links[node].due_now_ns;
        if due_now_ns.is_empty() {
            return;
        }
        let now_ns = now_ns();
        for ready_ns in due_now_ns.drain(..) {
            record(&mut bench.totals.slip, now_ns.saturating_sub(ready_ns));
        }
    }

    fn has_room(&self, node: usize) -> bool {
        let link = &self.links[node];
        link.socket.is_some() && link.in_flight.len() < self.shared.workload.producers.in_flight as usize
    }

    fn send_ready(&mut self, node: usize, now_ns: u64, bench: &mut Bench) {
        let request_bytes_max = self.shared.workload.producers.request_bytes_max as usize;
        while self.has_room(node) && !self.links[node].ready.is_empty() {
            let request = self.request_next;
            self.request_next += 1;
            let (mut batches, mut bytes): (Vec<Sent>, usize) = (Vec::new(), 0);
            while let Some(&place) = self.links[node].ready.front() {
                let part = &mut self.parts[place];
                if part.failing {
                    part.held_back += 1;
                    self.links[node].ready.pop_front();
                    continue;
                }
                let open = part.queue.front().expect("it was ready");
                let size = self.shared.templates.batch_bytes(open.variant, open.dues_ns.len());
                if part.request == request || (!batches.is_empty() && request_bytes_max < bytes + size) {
                    break;
                }
                bytes += size;
                part.request = request;
                let open = part.queue.pop_front().expect("it was ready");
                self.links[node].ready.pop_front();
                // A batch that was not full goes: without keys the next partition is filled now.
                if self.sticky == place && self.parts[place].queue.is_empty() {
                    self.sticky = (place + 1) % self.parts.len();
                }
                let sent = self.seal(place, open, bench);
                batches.push(sent);
            }
            if batches.is_empty() {
                return;
            }
            self.send(node, batches, now_ns);
        }
    }

    fn seal(&mut self, place: usize, open: Open, bench: &mut Bench) -> Sent {
        let part = &mut self.parts[place];
        let records = open.dues_ns.len();
        let sequence = part.sequence_next;
        part.sequence_next += records as u64;
        let values = (0..records).map(|record| self.shared.templates.value_bytes(open.variant, record) as usize);
        self.unsent_bytes -= values.sum::<usize>();
        self.unsent_messages -= records as u64;
        let Open { variant, dues_ns, keys, .. } = open;
        let mut sent =
            Sent { part: place, variant, sequence, dues_ns, keys, base_sequence: None, again: false, sealed: None };
        self.stamp(&mut sent, bench);
        sent
    }

    /// Makes the bytes of a batch, with the next sequence numbers of its partition.
    fn stamp(&mut self, sent: &mut Sent, bench: &mut Bench) {
        let part = &mut self.parts[sent.part];
        let identity = self.identity.map(|(id, epoch)| {
            let base_sequence = part.base_sequence_next;
            part.base_sequence_next = base_sequence.plus(sent.dues_ns.len() as i32);
            sent.base_sequence = Some(base_sequence);
            batch::Producer { id, epoch, base_sequence: Some(base_sequence) }
        });
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let patch = Patch {
            run: self.shared.run,
            producer: self.id,
            sequence: sent.sequence,
            dues_ns: &sent.dues_ns,
            keys: &sent.keys,
            timestamp: Timestamp::from_millis(since_epoch.as_millis() as i64),
            identity,
        };
        sent.sealed = Some(Arc::new(bench.pool.seal(&self.shared.templates, sent.variant, &patch)));
    }

    fn send(&mut self, node: usize, batches: Vec<Sent>, now_ns: u64) {
        let correlation = self.correlation_next;
        self.correlation_next = correlation.wrapping_add(1) & i32::MAX;
        let mut topics: Vec<TopicProduceData<'_>> = Vec::new();
        let mut last_topic = None;
        for sent in &batches {
            let part = &mut self.parts[sent.part];
            part.in_flight += 1;
            let bytes = sent.sealed.as_ref().expect("stamped").bytes().len();
            let data =
                PartitionProduceData { index: part.partition, records: Records::Hole(bytes), ..Default::default() };
            match topics.last_mut() {
                Some(topic) if last_topic == Some(part.topic) => topic.partition_data.push(data),
                _ => {
                    let known = &self.shared.topics[part.topic];
                    topics.push(TopicProduceData {
                        name: known.name.as_ref().into(),
                        topic_id: known.id,
                        partition_data: vec![data],
                        ..Default::default()
                    });
                }
            }
            last_topic = Some(part.topic);
        }
        let acks = self.shared.workload.producers.acks.code();
        let request = ProduceRequest { acks, timeout_ms: ACK_TIMEOUT_MS, topic_data: topics, ..Default::default() };
        let mut writer = Writer::new();
        let version = self.shared.produce_version;
        frame::encode_request(&mut writer, version, correlation, Some(CLIENT_ID), &request)
            .expect("a request of our own making fits the version that was agreed on");
        let (bytes, holes) = writer.into_parts();
        let mut bytes = bytes.freeze();
        let link = &mut self.links[node];
        let mut taken = 0;
        for (hole, sent) in holes.iter().zip(&batches) {
            link.out.push_back(Piece::Head(bytes.split_to(hole.at - taken)));
            link.out.push_back(Piece::Batch(Arc::clone(sent.sealed.as_ref().expect("stamped"))));
            taken = hole.at;
        }
        if !bytes.is_empty() {
            link.out.push_back(Piece::Head(bytes));
        }
        link.in_flight.push_back(Request { correlation, sent_ns: now_ns, batches });
    }

    fn flush(&mut self, node: usize, bench: &mut Bench) {
        let link = &mut self.links[node];
        let Some(mut socket) = link.socket.as_ref() else { return };
        while !link.out.is_empty() {
            let mut skip = link.out_sent;
            let slices: Vec<IoSlice<'_>> = link
                .out
                .iter()
                .take(PIECES_MAX)
                .map(|piece| IoSlice::new(&piece.bytes()[std::mem::take(&mut skip)..]))
                .collect();
            match socket.write_vectored(&slices) {
                Ok(mut written) => {
                    while 0 < written {
                        let rest = link.out[0].bytes().len() - link.out_sent;
                        let step = written.min(rest);
                        written -= step;
                        link.out_sent += step;
                        if step == rest {
                            link.out.pop_front();
                            link.out_sent = 0;
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.on_lost(node, &error.to_string(), bench),
            }
        }
        // Nobody answers acks=0: what the socket took counts as sent.
        if self.shared.workload.producers.acks == Acks::None {
            let now_ns = now_ns();
            while let Some(request) = self.links[node].in_flight.pop_front() {
                bench.totals.batches.requests += u64::from(self.shared.marks.measures(now_ns));
                for sent in request.batches {
                    self.parts[sent.part].in_flight -= 1;
                    self.on_acked(sent, None, request.sent_ns, now_ns, bench);
                }
            }
        }
    }

    /// The socket can be read or written.
    pub(crate) fn on_event(&mut self, node: u16, bench: &mut Bench) {
        let node = usize::from(node);
        self.flush(node, bench);
        loop {
            let link = &mut self.links[node];
            let Some(mut socket) = link.socket.as_ref() else { return };
            match socket.read(&mut bench.received) {
                Ok(0) => return self.on_lost(node, "the node closed it", bench),
                Ok(bytes) => {
                    link.input.extend_from_slice(&bench.received[..bytes]);
                    if let Err(reason) = self.take_replies(node, bench) {
                        return self.on_lost(node, &reason, bench);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.on_lost(node, &error.to_string(), bench),
            }
        }
    }

    fn take_replies(&mut self, node: usize, bench: &mut Bench) -> Result<(), String> {
        let now_ns = now_ns();
        loop {
            let link = &mut self.links[node];
            let size = frame::peek_size(&link.input, CLIENT_RESPONSE_BYTES_MAX).map_err(|error| error.to_string())?;
            let Some(size) = size.filter(|size| frame::SIZE_BYTES + size <= link.input.len()) else { return Ok(()) };
            link.input.advance(frame::SIZE_BYTES);
            let body = link.input.split_to(size);
            let request = link.in_flight.pop_front().ok_or("an answer to no question")?;
            let answer = read_answer(&body, self.shared.produce_version, request.correlation);
            match answer {
                Ok(response) => self.on_answer(request, &response, now_ns, bench),
                Err(reason) => {
                    link.in_flight.push_front(request);
                    return Err(reason);
                }
            }
        }
    }

    fn on_answer(&mut self, request: Request, response: &ProduceResponse<'_>, now_ns: u64, bench: &mut Bench) {
        bench.totals.batches.requests += u64::from(self.shared.marks.measures(now_ns));
        let by_version = |topic: &crate::shared::Topic, found: &wire::produce_response::TopicProduceResponse<'_>| {
            if found.topic_id.is_zero() { found.name == topic.name.as_ref() } else { found.topic_id == topic.id }
        };
        for sent in request.batches {
            let part = &mut self.parts[sent.part];
            part.in_flight -= 1;
            let topic = &self.shared.topics[part.topic];
            let mut found = response.responses.iter().filter(|found| by_version(topic, found));
            let answer =
                found.find_map(|topic| topic.partition_responses.iter().find(|one| one.index == part.partition));
            let code = answer.map_or(ErrorCode::UnknownServerError.code(), |answer| answer.error_code);
            if code == ErrorCode::None.code() || code == ErrorCode::DuplicateSequenceNumber.code() {
                let offset = answer.map(|answer| answer.base_offset).filter(|offset| 0 <= *offset);
                self.on_acked(sent, offset, request.sent_ns, now_ns, bench);
                continue;
            }
            let error = ErrorCode::from_wire(code);
            let name = error.map_or_else(|| format!("error {code}"), |error| error.name().to_owned());
            let may_pass =
                error.is_some_and(|error| error.is_retriable() || error == ErrorCode::OutOfOrderSequenceNumber);
            self.on_failed(sent, &name, may_pass, now_ns, bench);
        }
    }

    fn on_acked(&mut self, sent: Sent, offset: Option<i64>, sent_ns: u64, now_ns: u64, bench: &mut Bench) {
        let marks = &self.shared.marks;
        let records = sent.dues_ns.len();
        let part = &mut self.parts[sent.part];
        part.acked.insert_range(sent.sequence, sent.sequence + records as u64);
        let acked = &self.shared.acked[part.number];
        match offset {
            Some(offset) => {
                let (sequence, count) = (sent.sequence, records as u64);
                let batch = AckedBatch { offset, producer: self.id, sequence, count };
                acked.on_batch(batch, sent.dues_ns[0], self.shared.unread_batches_max());
            }
            None => acked.on_unplaced(sent.dues_ns[0]),
        }
        let service_ns = now_ns.saturating_sub(sent_ns);
        for due_ns in &sent.dues_ns {
            let latency_ns = now_ns.saturating_sub(*due_ns);
            record(&mut bench.tick.produce, latency_ns);
            if marks.measures(*due_ns) {
                record(&mut bench.totals.produce, latency_ns);
                record(&mut bench.totals.service, service_ns);
                if self.shared.keep_samples {
                    bench.totals.samples.push(latency_ns / 1000);
                }
            }
        }
        let values = (0..records).map(|record| self.shared.templates.value_bytes(sent.variant, record));
        let count = Count { messages: records as u64, bytes: values.sum() };
        bench.tick.acked.add(count);
        if marks.measures(now_ns) {
            bench.totals.acked.add(count);
            bench.totals.batches.batches += 1;
            bench.totals.batches.messages += records as u64;
            bench.totals.batches.bytes += sent.sealed.as_ref().map_or(0, |sealed| sealed.bytes().len() as u64);
        }
        self.let_go(sent, bench);
    }

    /// A batch is out of the way, for better or worse.
    fn let_go(&mut self, mut sent: Sent, bench: &mut Bench) {
        self.answered += sent.dues_ns.len() as u64;
        if let Some(sealed) = sent.sealed.take().and_then(Arc::into_inner) {
            bench.pool.put(sealed);
        }
        sent.dues_ns.clear();
        sent.keys.clear();
        bench.spare.push((sent.dues_ns, sent.keys));
    }

    fn on_failed(&mut self, mut sent: Sent, what: &str, may_pass: bool, now_ns: u64, bench: &mut Bench) {
        let failed = Failed::of(&sent.dues_ns, self.shared.marks.measure_ns());
        self.shared.leaders_stale.store(true, Ordering::Relaxed);
        let part = &mut self.parts[sent.part];
        if let Some(base_sequence) = sent.base_sequence {
            // Failures come in the order of sending: what follows the first is its consequence, and the broker's sequence
            // stands where the first would have begun.
            if !part.failing || sent.again {
                part.base_sequence_next = base_sequence;
            }
            part.failing = true;
            if !self.retrying.contains(&sent.part) {
                self.retrying.push(sent.part);
            }
        }
        if !(may_pass && self.identity.is_some()) {
            bench.totals.fail(what, failed);
            bench.tick.errors += failed.total();
            return self.let_go(sent, bench);
        }
        bench.totals.fail(&format!("retried: {what}"), failed);
        if let Some(sealed) = sent.sealed.take().and_then(Arc::into_inner) {
            bench.pool.put(sealed);
        }
        part.not_before_ns = now_ns + RETRY_NS;
        let place = part.retry.partition_point(|other| other.sequence < sent.sequence);
        part.retry.insert(place, sent);
    }

    /// Sends again what failed: once nothing of its partition is under way any more, one batch after the other.
    fn send_retries(&mut self, now_ns: u64, bench: &mut Bench) {
        for index in (0..self.retrying.len()).rev() {
            let place = self.retrying[index];
            let part = &mut self.parts[place];
            if 0 < part.in_flight {
                continue;
            }
            if part.retry.is_empty() {
                part.failing = false;
                self.retrying.swap_remove(index);
                let held_back = std::mem::take(&mut self.parts[place].held_back);
                (0..held_back).for_each(|_| self.enqueue(place));
                continue;
            }
            let Some(node) = part.leader.map(usize::from) else { continue };
            if now_ns < part.not_before_ns || !self.has_room(node) {
                continue;
            }
            let mut sent = self.parts[place].retry.pop_front().expect("checked above");
            sent.again = true;
            self.stamp(&mut sent, bench);
            self.send(node, vec![sent], now_ns);
        }
    }

    fn on_lost(&mut self, node: usize, reason: &str, bench: &mut Bench) {
        let now_ns = now_ns();
        let link = &mut self.links[node];
        link.socket = None;
        link.out.clear();
        link.out_sent = 0;
        link.input.clear();
        let requests = std::mem::take(&mut link.in_flight);
        for request in requests {
            for sent in request.batches {
                self.parts[sent.part].in_flight -= 1;
                self.on_failed(sent, &format!("connection lost: {reason}"), true, now_ns, bench);
            }
        }
    }

    /// Counts everything unanswered and unsent as failed.
    pub(crate) fn give_up(&mut self, bench: &mut Bench) {
        let in_flight = self.links.iter().flat_map(|link| &link.in_flight).flat_map(|request| &request.batches);
        let retrying = self.parts.iter().flat_map(|part| &part.retry);
        let measure_ns = self.shared.marks.measure_ns();
        let unanswered = Failed::of(in_flight.chain(retrying).flat_map(|sent| &sent.dues_ns), measure_ns);
        let queued = self.parts.iter().flat_map(|part| &part.queue).flat_map(|open| &open.dues_ns);
        let mut unsent = Failed::of(queued, measure_ns);
        if let Some(Pace::Open(schedule)) = &mut self.pace {
            let end_ns = self.shared.marks.end_ns();
            while schedule.due_ns() < end_ns {
                if self.shared.marks.measures(schedule.due_ns()) {
                    // Sizes differ at most within the workload's range; what was never made counts with its mean.
                    let bytes = self.shared.workload.messages.size_bytes_mean() as u64;
                    bench.totals.offered.add(Count { messages: 1, bytes });
                }
                unsent.add(schedule.due_ns(), measure_ns);
                schedule.advance();
            }
        }
        for (what, failed) in [("unanswered at the end", unanswered), ("not sent: the broker was too slow", unsent)] {
            bench.totals.fail(what, failed);
            bench.tick.errors += failed.total();
        }
    }
}

impl Part {
    fn new(topic: usize, partition: u32, first: u32) -> Self {
        Self {
            number: (first + partition) as usize,
            topic,
            partition: partition as i32,
            leader: None,
            queue: VecDeque::new(),
            sequence_next: 0,
            base_sequence_next: Sequence::ZERO,
            acked: Intervals::default(),
            in_flight: 0,
            retry: VecDeque::new(),
            not_before_ns: 0,
            failing: false,
            held_back: 0,
            request: 0,
        }
    }
}

fn read_answer(body: &[u8], version: i16, correlation: i32) -> Result<ProduceResponse<'_>, String> {
    let mut reader = Reader::new(body);
    let found = frame::decode_response_header(&mut reader, ApiKey::Produce.api(), version);
    let found = found.map_err(|error| error.to_string())?;
    if found != correlation {
        return Err(format!("an answer to request {found} where {correlation} was due"));
    }
    ProduceResponse::decode(&mut reader, version).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::shared::Topic;
    use crate::workload::Workload;

    /// A producer of 1,000 messages a second in batches of some 16, whose leader it has no connection to.
    fn producer(text: &str) -> (Producer, Bench) {
        let text = format!(
            "name = \"t\"\n[messages]\nsize_bytes = 1000\n{text}\n[producers]\nidempotence = false\nbatch_bytes = 16_384\n\
             linger_ms = 50\n[load]\nrate = 1000\n"
        );
        let workload = Workload::parse(&text, Path::new(".")).expect("right");
        let topic = Topic { name: "t".into(), id: types::TopicId::ZERO, first: 0, partitions: 1 };
        let leaders = Leaders { nodes: vec!["127.0.0.1:1".to_owned()], of: vec![Some(0)] };
        let shared = Arc::new(Shared::new(workload, 1, vec![topic], leaders, 9, false));
        shared.marks.begin(0, 0, u64::MAX);
        let bench = Bench::new(&shared);
        (Producer::new(0, shared, None), bench)
    }

    #[test]
    fn without_keys_it_sleeps_until_its_batch_is_full() {
        let (mut producer, mut bench) = producer("");
        let full = producer.shared.templates.records_max(0) as u64;
        // Its first message is due at once and lingers for 50 ms; the batch is full before.
        let wake_ns = producer.turn(0, &mut bench);
        assert_eq!(wake_ns, (full - 1) * 1_000_000);
        // The next one is seen when it is full too, or when its first message has lingered.
        assert_eq!(producer.turn(wake_ns, &mut bench), (2 * full - 1) * 1_000_000);
        assert_eq!(producer.appended, full);
    }

    #[test]
    fn slip_ends_when_a_batch_is_handed_to_the_socket_or_has_no_room() {
        let busy = std::time::Duration::from_millis(20);
        let peer = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        for is_connected in [true, false] {
            let (mut producer, mut bench) = producer("");
            let start_ns = now_ns();
            producer.shared.marks.begin(start_ns, start_ns, u64::MAX);
            let socket =
                is_connected.then(|| TcpStream::connect(peer.local_addr().expect("bound")).expect("connected"));
            producer.on_connected(0, socket);
            let full_ns = producer.turn(start_ns, &mut bench);
            // The turn begins in time by its clock, and the thread has something else to do before it gets to the batch.
            let late = std::time::Duration::from_nanos(full_ns.saturating_sub(now_ns())) + busy;
            std::thread::sleep(late);
            producer.turn(full_ns, &mut bench);
            assert_eq!(producer.links[0].in_flight.len(), usize::from(is_connected));
            assert_eq!(bench.totals.slip.len(), 1);
            assert!(busy.as_micros() as u64 * 9 / 10 <= bench.totals.slip.max(), "{} us", bench.totals.slip.max());
        }
    }

    #[test]
    fn with_keys_any_batch_may_be_full() {
        let (mut producer, mut bench) = producer("keys = \"random\"\nkey_count = 10");
        assert_eq!(producer.turn(0, &mut bench), 1_000_000);
    }
}
