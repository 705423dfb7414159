//! The life of a fetch.
//!
//! ```text
//!  request ─► session ─► one plan per partition, from its home shard (file, position, length: no bytes move)
//!               │            │ a cold index or header is read first, off the shard
//!               │            ▼
//!               │     enough bytes, an error, or the deadline? ── no ──► watch every partition; woken by the next append
//!               ▼            │ yes
//!  reply ◄─ header bytes + one file slice per partition (sendfile; small slices copied into the header's send)
//! ```

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use replica::{Answer, FetchContext, FetchRequest as SessionRequest, FetchSession, Responded, SessionEpoch, SessionId};
use shard::LogFile;
use storage::Slice;
use types::limits::SENDFILE_BYTES_MIN;
use types::{ErrorCode, LeaderEpoch, NodeId, Offset, PartitionIndex, ShardId, TopicId};
use wire::fetch_request::{FetchPartition, FetchRequest};
use wire::fetch_response::{
    EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use wire::{ApiKey, Records, Writer};

use crate::connection::Connection;
use crate::mail::{Mail, PartitionKey, RequestToken, VisibleOffsets};
use crate::metrics::CloseCause;
use crate::partition::{Partition, PlanStep, Watcher};
use crate::reply::{Refusals, Reply, Segment, SlotId};
use crate::request::{Request, frame_response};
use crate::shard_state::ShardState;

/// How long a plan waits for a file that is being renamed.
const PLAN_RETRY: Duration = Duration::from_millis(2);
/// How often it waits.
const PLAN_RETRIES_MAX: u32 = 500;
/// Reads from the page cache that a plan makes in one go.
const PLAN_STEPS_AT_ONCE_MAX: u32 = 32;

/// Which records a reader sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset.
    ReadCommitted,
}

/// What one fetch wants of one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartitionFetch {
    pub(crate) partition: PartitionKey,
    /// `None`: a negative offset was asked for.
    pub(crate) start: Option<Offset>,
    pub(crate) bytes_max: u32,
    pub(crate) current_epoch: Option<LeaderEpoch>,
    pub(crate) last_fetched_epoch: Option<LeaderEpoch>,
    pub(crate) isolation: Isolation,
}

/// What one partition has for a fetch.
#[derive(Clone)]
pub(crate) struct PartitionPlan {
    error: ErrorCode,
    visible: Option<VisibleOffsets>,
    diverging: Option<(LeaderEpoch, Offset)>,
    records: Option<PlannedRecords>,
}

#[derive(Clone)]
struct PlannedRecords {
    file: Arc<LogFile>,
    position: u64,
    bytes: usize,
    first_batch_bytes: usize,
    /// The segment takes no more appends.
    sealed: bool,
}

impl PartitionPlan {
    pub(crate) fn empty(visible: VisibleOffsets) -> Self {
        Self { error: ErrorCode::None, visible: Some(visible), diverging: None, records: None }
    }

    pub(crate) fn refused(error: ErrorCode, visible: VisibleOffsets) -> Self {
        Self { error, ..Self::empty(visible) }
    }

    pub(crate) fn unknown(error: ErrorCode) -> Self {
        Self { error, visible: None, diverging: None, records: None }
    }

    pub(crate) fn diverging(epoch: LeaderEpoch, end: Offset, visible: VisibleOffsets) -> Self {
        Self { diverging: Some((epoch, end)), ..Self::empty(visible) }
    }

    pub(crate) fn slice(file: Arc<LogFile>, slice: &Slice, sealed: bool, visible: VisibleOffsets) -> Self {
        let records = PlannedRecords {
            file,
            position: slice.position,
            bytes: slice.bytes as usize,
            first_batch_bytes: slice.first_batch_bytes as usize,
            sealed,
        };
        Self { records: Some(records), ..Self::empty(visible) }
    }

    fn records_bytes(&self) -> usize {
        self.records.as_ref().map_or(0, |records| records.bytes)
    }

    /// Whether it is news by itself, so that no one waits for more.
    fn is_urgent(&self) -> bool {
        // A sealed segment gets no more, so waiting for more of it is in vain; Kafka answers at once as well.
        let sealed = self.records.as_ref().is_some_and(|records| records.sealed);
        !self.error.is_none() || self.diverging.is_some() || sealed
    }
}

/// How a fetch names a partition: as its session does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SessionKey {
    topic: SessionTopic,
    partition: i32,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum SessionTopic {
    Name(Arc<str>),
    Id(TopicId),
}

/// A session on its way to another shard with its connection.
pub(crate) type MovedSession = FetchSession<SessionKey, Asked>;

/// What a session remembers of a partition between requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    start: i64,
    bytes_max: i32,
    current_epoch: i32,
    last_fetched_epoch: i32,
}

/// A fetch that is being planned or waits.
///
/// Lives on: the shard that holds its connection.
pub(crate) struct FetchInFlight {
    connection: Rc<Connection>,
    slot: SlotId,
    version: i16,
    correlation: i32,
    isolation: Isolation,
    bytes_min: usize,
    bytes_max: usize,
    started_ns: u64,
    deadline_ns: u64,
    context: FetchContext<SessionKey, Asked>,
    parts: Vec<Part>,
    awaited: usize,
    /// Woken while plans were still coming in: plan again.
    woken: bool,
    waits: bool,
    /// Its deadline is a timer of the shard.
    timed: bool,
}

struct Part {
    key: SessionKey,
    /// `None`: refused before any partition was asked.
    fetch: Option<PartitionFetch>,
    plan: Option<PartitionPlan>,
}

/// Takes a fetch. Its reply leaves when there is enough, or at its deadline.
///
/// # Errors
/// The request is not what the protocol says: the connection is closed.
pub(crate) fn start(
    state: &Rc<ShardState>,
    connection: &Rc<Connection>,
    slot: SlotId,
    request: &Request,
) -> Result<(), String> {
    let fetch: FetchRequest<'_> = request.decode().map_err(|error| error.to_string())?;
    let version = request.version();
    let now = state.now();
    let by_topic_id = version >= 13;
    let key = |topic: &str, id: TopicId, partition: i32| SessionKey {
        topic: if by_topic_id {
            SessionTopic::Id(id)
        } else {
            SessionTopic::Name(state.topic(topic).map_or_else(|| Arc::from(topic), |view| Arc::clone(&view.name)))
        },
        partition,
    };
    let mut wanted = Vec::with_capacity(fetch.topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in &fetch.topics {
        for partition in &topic.partitions {
            wanted.push((key(&topic.topic, topic.topic_id, partition.partition), asked(partition)));
        }
    }
    let mut forgotten = Vec::new();
    for topic in &fetch.forgotten_topics_data {
        forgotten.extend(topic.partitions.iter().map(|partition| key(&topic.topic, topic.topic_id, *partition)));
    }
    let session = SessionRequest {
        session: SessionId::from_wire(fetch.session_id),
        epoch: SessionEpoch::from_wire(fetch.session_epoch),
        by_topic_id,
        privileged: false,
        wanted,
        forgotten,
    };
    let begun = state.fetch_sessions.borrow_mut().open(now.monotonic_ns, session);
    let context = match begun {
        Ok(context) => context,
        Err(code) => {
            let response = FetchResponse { error_code: code.code(), ..FetchResponse::default() };
            let reply = crate::request::encode_response(request.correlation(), version, &response);
            connection.answer(state, slot, Some(reply));
            return Ok(());
        }
    };
    let isolation = if fetch.isolation_level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    let bytes_max = (fetch.max_bytes.max(0) as usize).min(state.node.config.fetch_bytes_max as usize);
    let wait = Duration::from_millis(fetch.max_wait_ms.max(0) as u64);
    let mut in_flight = FetchInFlight {
        connection: Rc::clone(connection),
        slot,
        version,
        correlation: request.correlation(),
        isolation,
        bytes_min: fetch.min_bytes.max(0) as usize,
        bytes_max,
        started_ns: now.monotonic_ns,
        deadline_ns: now.deadline_ns(wait),
        context,
        parts: Vec::new(),
        awaited: 0,
        woken: false,
        waits: false,
        timed: false,
    };
    resolve(state, &mut in_flight);
    let token = state.fetches.borrow_mut().insert(in_flight);
    connection.fetches.borrow_mut().push(token);
    ask(state, token);
    Ok(())
}

fn asked(partition: &FetchPartition) -> Asked {
    Asked {
        start: partition.fetch_offset,
        bytes_max: partition.partition_max_bytes,
        current_epoch: partition.current_leader_epoch,
        last_fetched_epoch: partition.last_fetched_epoch,
    }
}

/// Finds the partitions that the session names, in the metadata of this moment.
fn resolve(state: &Rc<ShardState>, in_flight: &mut FetchInFlight) {
    let isolation = in_flight.isolation;
    in_flight.parts = in_flight
        .context
        .partitions
        .iter()
        .map(|(key, asked)| match find(state, key) {
            Ok(partition) => Part {
                key: key.clone(),
                fetch: Some(PartitionFetch {
                    partition,
                    start: Offset::from_wire(asked.start),
                    bytes_max: asked.bytes_max.max(0) as u32,
                    current_epoch: LeaderEpoch::from_wire(asked.current_epoch),
                    last_fetched_epoch: LeaderEpoch::from_wire(asked.last_fetched_epoch),
                    isolation,
                }),
                plan: None,
            },
            Err(code) => Part { key: key.clone(), fetch: None, plan: Some(PartitionPlan::unknown(code)) },
        })
        .collect();
}

fn find(state: &Rc<ShardState>, key: &SessionKey) -> Result<PartitionKey, ErrorCode> {
    let (view, missing) = match &key.topic {
        SessionTopic::Name(name) => (state.topic(name), ErrorCode::UnknownTopicOrPartition),
        SessionTopic::Id(id) => (state.topic_by_id(*id), ErrorCode::UnknownTopicId),
    };
    let view = view.ok_or(missing)?;
    let index = PartitionIndex::from_wire(key.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let partition = view.topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if partition.leader != Some(state.node.config.node_id) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    Ok(PartitionKey { topic: view.id, partition: index })
}

/// Asks every partition's home for a plan.
fn ask(state: &Rc<ShardState>, token: RequestToken) {
    let count = {
        let mut fetches = state.fetches.borrow_mut();
        let Some(in_flight) = fetches.get_mut(token) else { return };
        in_flight.woken = false;
        in_flight.awaited = 0;
        for part in in_flight.parts.iter_mut().filter(|part| part.fetch.is_some()) {
            part.plan = None;
            in_flight.awaited += 1;
        }
        if in_flight.awaited == 0 { None } else { Some(in_flight.parts.len()) }
    };
    let Some(count) = count else { return settle(state, token) };
    let mut letters: Vec<(ShardId, Vec<(u32, PartitionFetch)>)> = Vec::new();
    for part in 0..count {
        // With its last plan the fetch may be answered, and gone.
        let fetch = state.fetches.borrow_mut().get_mut(token).and_then(|in_flight| in_flight.parts[part].fetch);
        let Some(fetch) = fetch else { continue };
        let home = state.home(fetch.partition.topic, fetch.partition.partition);
        let part = part as u32;
        if home == state.id {
            plan_here(state, state.id, token, part, &fetch);
        } else if let Some((_, fetches)) = letters.iter_mut().find(|(shard, _)| *shard == home) {
            fetches.push((part, fetch));
        } else {
            letters.push((home, vec![(part, fetch)]));
        }
    }
    for (home, parts) in letters {
        state.send(home, Mail::Fetch { from: state.id, request: token, parts });
    }
}

/// Makes one partition's plan, on its home shard, which this is.
pub(crate) fn plan_here(state: &Rc<ShardState>, from: ShardId, token: RequestToken, part: u32, fetch: &PartitionFetch) {
    let Some(partition) = state.partition(fetch.partition) else {
        // Offline partitions are led here and nowhere else.
        let offline = state.node.offline.reason(fetch.partition).is_some();
        let error = if offline { ErrorCode::KafkaStorageError } else { ErrorCode::NotLeaderOrFollower };
        return state.planned(from, token, part, PartitionPlan::unknown(error));
    };
    let mut step = partition.plan(state, fetch);
    // A look-up takes a few steps; one that takes many leaves the shard to others in between.
    for _ in 0..PLAN_STEPS_AT_ONCE_MAX {
        let PlanStep::Bytes(scan) = step else { break };
        match state.look_cached(&partition, scan, |bytes| partition.resume(state, fetch, scan, bytes)) {
            Ok(Some(next)) => step = next,
            // Told when it is read again.
            Ok(None) | Err(_) => break,
        }
    }
    match step {
        PlanStep::Done(plan) => {
            watch_if_empty(state, &partition, from, token, &plan);
            state.planned(from, token, part, plan);
        }
        needs => plan_later(state, partition, from, token, part, *fetch, needs),
    }
}

/// The rest of a plan, when bytes must come from the disk first: the shard goes on meanwhile.
fn plan_later(
    state: &Rc<ShardState>,
    partition: Rc<Partition>,
    from: ShardId,
    token: RequestToken,
    part: u32,
    fetch: PartitionFetch,
    mut step: PlanStep,
) {
    let state = Rc::clone(state);
    tokio::task::spawn_local(async move {
        let mut retries_left = PLAN_RETRIES_MAX;
        let plan = loop {
            step = match step {
                PlanStep::Done(plan) => break plan,
                PlanStep::Bytes(scan) => match state.read(&partition, scan).await {
                    Ok(bytes) => partition.resume(&state, &fetch, scan, &bytes),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => PlanStep::Retry,
                    Err(error) => {
                        tracing::error!(partition = %partition.name, %error, "the log cannot be read");
                        break PartitionPlan::unknown(ErrorCode::KafkaStorageError);
                    }
                },
                PlanStep::Retry if retries_left == 0 => {
                    tracing::error!(partition = %partition.name, "a file of the log is gone");
                    break PartitionPlan::unknown(ErrorCode::KafkaStorageError);
                }
                PlanStep::Retry => {
                    retries_left -= 1;
                    tokio::time::sleep(PLAN_RETRY).await;
                    partition.plan(&state, &fetch)
                }
            };
        };
        watch_if_empty(&state, &partition, from, token, &plan);
        state.planned(from, token, part, plan);
    });
}

/// A partition with nothing to read is watched from here on, in the same step, so that no append goes unseen. One with
/// records is watched only if the fetch waits for more of them ([`watch_for_more`]).
fn watch_if_empty(
    state: &Rc<ShardState>,
    partition: &Partition,
    from: ShardId,
    token: RequestToken,
    plan: &PartitionPlan,
) {
    if plan.is_urgent() || plan.records.is_some() {
        return;
    }
    if let Some(visible) = plan.visible {
        partition.watch(state, visible.high_watermark, Watcher::new(from, token));
    }
}

/// The fetch found records, but too few: it is told when any of their partitions has more.
fn watch_for_more(state: &Rc<ShardState>, token: RequestToken, parts: Vec<(PartitionKey, Offset)>) {
    for (partition, seen) in parts {
        let home = state.home(partition.topic, partition.partition);
        if home == state.id {
            watch_here(state, partition, seen, state.id, token);
        } else {
            state.send(home, Mail::Watch { from: state.id, request: token, parts: vec![(partition, seen)] });
        }
    }
}

/// Watches one partition, on its home shard, which this is.
pub(crate) fn watch_here(
    state: &Rc<ShardState>,
    partition: PartitionKey,
    seen: Offset,
    from: ShardId,
    token: RequestToken,
) {
    if let Some(partition) = state.partition(partition) {
        partition.watch(state, seen, Watcher::new(from, token));
    }
}

/// A plan is in; with the last one it is decided whether to reply or to wait.
pub(crate) fn on_plan(state: &Rc<ShardState>, token: RequestToken, part: u32, plan: PartitionPlan) {
    {
        let mut fetches = state.fetches.borrow_mut();
        let Some(in_flight) = fetches.get_mut(token) else { return };
        let place = &mut in_flight.parts[part as usize].plan;
        if place.replace(plan).is_none() {
            in_flight.awaited -= 1;
        }
        if in_flight.awaited > 0 {
            return;
        }
    }
    settle(state, token);
}

/// A partition that this fetch watches has more.
pub(crate) fn on_woken(state: &Rc<ShardState>, token: RequestToken) {
    {
        let mut fetches = state.fetches.borrow_mut();
        let Some(in_flight) = fetches.get_mut(token) else { return };
        if !in_flight.waits {
            in_flight.woken = true;
            return;
        }
        in_flight.waits = false;
    }
    ask(state, token);
}

/// Its deadline passed: it gets what there is.
pub(crate) fn on_deadline(state: &Rc<ShardState>, token: RequestToken) {
    let due = {
        let mut fetches = state.fetches.borrow_mut();
        let Some(in_flight) = fetches.get_mut(token) else { return };
        in_flight.bytes_min = 0;
        in_flight.waits
    };
    if due {
        settle(state, token);
    }
}

/// The connection of these fetches ended: nobody waits for them, and each would hold the socket until its deadline, which
/// the client chose.
pub(crate) fn abandon(state: &Rc<ShardState>, tokens: Vec<RequestToken>) {
    for token in tokens {
        state.fetch_waits_no_more(token);
        drop(state.fetches.borrow_mut().remove(token));
    }
}

fn settle(state: &Rc<ShardState>, token: RequestToken) {
    let mut found = Vec::new();
    let (again, wait_until_ns) = {
        let mut fetches = state.fetches.borrow_mut();
        let Some(in_flight) = fetches.get_mut(token) else { return };
        let bytes: usize =
            in_flight.parts.iter().filter_map(|part| part.plan.as_ref()).map(PartitionPlan::records_bytes).sum();
        let urgent = in_flight.parts.iter().filter_map(|part| part.plan.as_ref()).any(PartitionPlan::is_urgent);
        let enough = urgent || bytes >= in_flight.bytes_min || in_flight.parts.is_empty();
        if enough || in_flight.deadline_ns <= state.now().monotonic_ns || state.stopping() {
            (false, None)
        } else if in_flight.woken {
            (true, None)
        } else {
            in_flight.waits = true;
            in_flight.timed = true;
            found.extend(in_flight.parts.iter().filter_map(|part| {
                let plan = part.plan.as_ref().filter(|plan| plan.records.is_some())?;
                Some((part.fetch?.partition, plan.visible?.high_watermark))
            }));
            (false, Some(in_flight.deadline_ns))
        }
    };
    if again {
        ask(state, token);
    } else if let Some(deadline_ns) = wait_until_ns {
        state.fetch_waits(token, deadline_ns);
        watch_for_more(state, token, found);
    } else {
        let done = state.fetches.borrow_mut().remove(token);
        if let Some(done) = done {
            if done.timed {
                state.fetch_waits_no_more(token);
            }
            done.connection.fetches.borrow_mut().retain(|other| *other != token);
            respond(state, done);
        }
    }
}

fn respond(state: &Rc<ShardState>, mut done: FetchInFlight) {
    trim(&mut done);
    let FetchInFlight { connection, slot, version, correlation, isolation, started_ns, context, parts, .. } = done;
    // The session says which partitions the reply names; each is known by its place among the parts.
    let mut told: Vec<(SessionKey, usize)> =
        parts.iter().enumerate().map(|(place, part)| (part.key.clone(), place)).collect();
    let facts = |place: &usize| {
        let plan = parts[*place].plan.as_ref().expect("every plan is in");
        Answer {
            records_bytes: plan.records_bytes(),
            high_watermark: plan.visible.map(|visible| visible.high_watermark),
            last_stable: plan.visible.map(|visible| visible.last_stable),
            log_start: plan.visible.map(|visible| visible.log_start),
            failed: !plan.error.is_none(),
            directed: plan.diverging.is_some(),
        }
    };
    let Responded { session, error } =
        state.fetch_sessions.borrow_mut().respond(state.now().monotonic_ns, context, &mut told, facts);
    connection.session.set(session);
    let mut topics: Vec<FetchableTopicResponse<'_>> = Vec::new();
    let mut slices: Vec<PlannedRecords> = Vec::new();
    let mut fetched_bytes = 0;
    for (key, place) in &told {
        let plan = parts[*place].plan.as_ref().expect("every plan is in");
        let mut data = partition_data(state, isolation, key, plan);
        // As Kafka does (KIP-951); versions before 12 cannot say it at all.
        if version < FETCH_VERSION_NAMES_LEADER {
            data.current_leader = LeaderIdAndEpoch::default();
        }
        if let Some(records) = &plan.records {
            fetched_bytes += records.bytes;
            slices.push(records.clone());
            if let Some(fetch) = &parts[*place].fetch {
                let home = state.home(fetch.partition.topic, fetch.partition.partition);
                connection.count_traffic(state, home, records.bytes);
            }
        }
        let (name, id) = match &key.topic {
            SessionTopic::Name(name) => (&**name, TopicId::ZERO),
            SessionTopic::Id(id) => ("", *id),
        };
        match topics.last_mut() {
            Some(topic) if topic.topic == name && topic.topic_id == id => topic.partitions.push(data),
            _ => topics.push(FetchableTopicResponse {
                topic: Cow::Borrowed(name),
                topic_id: id,
                partitions: vec![data],
                ..FetchableTopicResponse::default()
            }),
        }
    }
    let response = FetchResponse {
        error_code: error.code(),
        session_id: session.map_or(0, SessionId::value),
        responses: topics,
        node_endpoints: Vec::<NodeEndpoint<'_>>::new(),
        ..FetchResponse::default()
    };
    state.metrics.fetched_bytes.add(fetched_bytes as u64);
    state.metrics.answered(ApiKey::Fetch, state.now().monotonic_ns.saturating_sub(started_ns));
    let Some(writer) = frame_response(correlation, version, &response) else {
        return connection.answer(state, slot, Some(Reply::unsayable()));
    };
    let planned = Planned { writer, slices, refusals: Refusals::of(version, &response) };
    send(state, connection, slot, planned);
}

/// A reply whose file slices are not yet put in their places.
struct Planned {
    writer: Writer,
    slices: Vec<PlannedRecords>,
    refusals: Option<Box<Refusals>>,
}

/// Cuts the plans to the request's bytes, in order: the first records always go whole, later ones while they fit.
fn trim(done: &mut FetchInFlight) {
    let mut left = done.bytes_max;
    let mut first = true;
    for part in &mut done.parts {
        let Some(plan) = &mut part.plan else { continue };
        let Some(records) = &mut plan.records else { continue };
        let asked = part.fetch.as_ref().map_or(0, |fetch| fetch.bytes_max as usize);
        let room = if first { left.max(records.first_batch_bytes) } else { left.min(asked) };
        if room < records.first_batch_bytes {
            plan.records = None;
            continue;
        }
        records.bytes = records.bytes.min(room);
        left = left.saturating_sub(records.bytes);
        first = false;
    }
}

/// From this version on a reply names the leader where it is not this node.
const FETCH_VERSION_NAMES_LEADER: i16 = 16;

fn partition_data<'a>(
    state: &ShardState,
    isolation: Isolation,
    key: &SessionKey,
    plan: &PartitionPlan,
) -> PartitionData<'a> {
    // As Kafka answers: an error comes without offsets.
    let visible = plan.visible.filter(|_| plan.error.is_none());
    let offset = |of: fn(VisibleOffsets) -> Offset| visible.map_or(-1, |visible| of(visible).value());
    let moved = matches!(plan.error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
    PartitionData {
        partition_index: key.partition,
        error_code: plan.error.code(),
        high_watermark: offset(|visible| visible.high_watermark),
        last_stable_offset: offset(|visible| visible.last_stable),
        log_start_offset: offset(|visible| visible.log_start),
        diverging_epoch: plan.diverging.map_or_else(EpochEndOffset::default, |(epoch, end)| EpochEndOffset {
            epoch: epoch.value(),
            end_offset: end.value(),
            ..EpochEndOffset::default()
        }),
        current_leader: if moved { current_leader(state, key) } else { LeaderIdAndEpoch::default() },
        aborted_transactions: match isolation {
            Isolation::ReadCommitted => Some(Vec::new()),
            Isolation::ReadUncommitted => None,
        },
        // Nothing is written as empty, never as null: librdkafka reports null records as a broken reply.
        records: plan
            .records
            .as_ref()
            .map_or(Records::Inline(Cow::Borrowed(&[])), |records| Records::Hole(records.bytes)),
        ..PartitionData::default()
    }
}

fn current_leader(state: &ShardState, key: &SessionKey) -> LeaderIdAndEpoch {
    let view = match &key.topic {
        SessionTopic::Name(name) => state.topic(name),
        SessionTopic::Id(id) => state.topic_by_id(*id),
    };
    let partition = view.and_then(|view| view.topic.partition(PartitionIndex::from_wire(key.partition)?).cloned());
    partition.map_or_else(LeaderIdAndEpoch::default, |partition| LeaderIdAndEpoch {
        leader_id: partition.leader.map_or(-1, NodeId::value),
        leader_epoch: partition.leader_epoch.value(),
        ..LeaderIdAndEpoch::default()
    })
}

/// Sends the reply, once none of its slices would wait for the disk.
fn send(state: &Rc<ShardState>, connection: Rc<Connection>, slot: SlotId, planned: Planned) {
    let Planned { writer, slices, refusals } = planned;
    match slices.iter().map(in_memory).collect::<std::io::Result<Option<Vec<Segment>>>>() {
        Ok(Some(slices)) => connection.answer(state, slot, Some(assemble(writer, slices, refusals))),
        Ok(None) => {
            let state = Rc::clone(state);
            tokio::task::spawn_local(async move {
                match from_disk(&state, &slices).await {
                    Ok(slices) => connection.answer(&state, slot, Some(assemble(writer, slices, refusals))),
                    Err(error) => refuse(&state, &connection, slot, &error),
                }
            });
        }
        Err(error) => refuse(state, &connection, slot, &error),
    }
}

/// What a slice is sent from, if that waits for no disk: a copy of a small one, the file for a large one.
fn in_memory(records: &PlannedRecords) -> std::io::Result<Option<Segment>> {
    let PlannedRecords { file, position, bytes, .. } = records;
    if SENDFILE_BYTES_MIN <= *bytes {
        return Ok(file.is_cached(*position, *bytes as u64).then(|| range(records)));
    }
    // Read, not asked for first: one call, and nothing can leave the cache in between.
    let mut buffer = BytesMut::zeroed(*bytes);
    let read = file.read_at_cached(*position, &mut buffer)?;
    Ok((read == Some(*bytes)).then(|| Segment::Memory(buffer.freeze())))
}

/// The same, once what is cold has been read ahead.
async fn from_disk(state: &ShardState, slices: &[PlannedRecords]) -> std::io::Result<Vec<Segment>> {
    let mut segments = Vec::with_capacity(slices.len());
    for records in slices {
        if let Some(segment) = in_memory(records)? {
            segments.push(segment);
            continue;
        }
        // An error shows again, and is told, when the bytes are sent.
        let _ = state.read_ahead(&records.file, records.position, records.bytes).await;
        segments.push(if records.bytes < SENDFILE_BYTES_MIN { copy(records)? } else { range(records) });
    }
    Ok(segments)
}

fn refuse(state: &Rc<ShardState>, connection: &Rc<Connection>, slot: SlotId, error: &std::io::Error) {
    tracing::error!(peer = %connection.peer, %error, "a fetch cannot be answered: the log cannot be read");
    connection.close_for(CloseCause::Unreadable);
    connection.answer(state, slot, None);
}

/// Puts the slices into the holes of the encoded reply.
fn assemble(writer: Writer, slices: Vec<Segment>, refusals: Option<Box<Refusals>>) -> Reply {
    let (bytes, holes) = writer.into_parts();
    let bytes = bytes.freeze();
    assert_eq!(holes.len(), slices.len(), "a hole for each slice");
    let mut segments = Vec::with_capacity(2 * slices.len() + 1);
    let mut sent = 0;
    for (hole, slice) in holes.iter().zip(slices) {
        if sent < hole.at {
            segments.push(Segment::Memory(bytes.slice(sent..hole.at)));
        }
        sent = hole.at;
        segments.push(slice);
    }
    if sent < bytes.len() {
        segments.push(Segment::Memory(bytes.slice(sent..)));
    }
    Reply::from_segments(segments).refusing(refusals)
}

fn range(records: &PlannedRecords) -> Segment {
    Segment::File { file: Arc::clone(&records.file), position: records.position, bytes: records.bytes }
}

fn copy(records: &PlannedRecords) -> std::io::Result<Segment> {
    let mut buffer = BytesMut::zeroed(records.bytes);
    match records.file.read_at(records.position, &mut buffer)? == records.bytes {
        true => Ok(Segment::Memory(buffer.freeze())),
        false => Err(std::io::ErrorKind::UnexpectedEof.into()),
    }
}
