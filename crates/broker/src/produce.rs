//! The life of a produce request.
//!
//! ```text
//!  frame ─► decode (borrows) ─► per partition: split its records off the frame ─► validate once ─► home shard
//!                                                                                                     │ append, gather, write
//!  reply ◄─ encode ◄─ the last outcome is in ◄─ one outcome per partition ◄──────────────────────────┘
//! ```
//! The records are never copied on the way: what the socket read into is what the log writes from.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use batch::{BatchInfo, Inflate, ProduceFault, ProduceRules};
use bytes::BytesMut;
use shard::MemoryGrant;
use types::limits::{INFLATE_SAMPLE_BYTES, INFLATE_SAMPLE_ONE_IN, INFLATED_BATCH_BYTES_MAX};
use types::{ErrorCode, Offset, PartitionIndex, ShardId, Timestamp, TopicId};
use wire::produce_request::ProduceRequest;
use wire::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use wire::{ApiKey, Records};

use crate::config::TimestampType;
use crate::connection::Connection;
use crate::mail::{Mail, Origin, PartitionKey, ProducePart, RequestToken};
use crate::metrics::CloseCause;
use crate::partition::{Acks, stamped};
use crate::reply::{Refusals, SlotId};
use crate::request::{Request, encode_response};
use crate::shard_state::ShardState;
use crate::topics::TopicView;

/// A batch in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) base_offset: Offset,
    pub(crate) log_append_time: Option<Timestamp>,
    pub(crate) log_start: Offset,
}

/// Why a partition's records were not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProduceRefusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) record_errors: Vec<(i32, String)>,
}

impl ProduceRefusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), record_errors: Vec::new() }
    }
}

impl From<ProduceFault> for ProduceRefusal {
    fn from(fault: ProduceFault) -> Self {
        Self { code: fault.code, message: fault.message, record_errors: fault.record_errors }
    }
}

/// What became of one partition's records.
pub(crate) type ProduceOutcome = Result<Appended, ProduceRefusal>;

/// A produce request whose outcomes are not all in.
///
/// Lives on: the shard that holds its connection.
pub(crate) struct ProduceInFlight {
    connection: Rc<Connection>,
    slot: SlotId,
    version: i16,
    correlation: i32,
    answers: bool,
    topics: Vec<TopicParts>,
    parts: Vec<Part>,
    awaited: usize,
    started_ns: u64,
    /// What the records hold, until they are written.
    _memory: Option<MemoryGrant>,
}

/// A topic of the request and which of the parts are its.
struct TopicParts {
    name: Arc<str>,
    id: TopicId,
    parts: Range<usize>,
}

struct Part {
    index: i32,
    outcome: Option<ProduceOutcome>,
}

/// Where a partition's records lie in the frame, before they are split off.
struct Piece {
    part: usize,
    topic: Rc<TopicView>,
    partition: PartitionIndex,
    records: Range<usize>,
}

/// Takes a produce request. Its reply leaves when every partition has its outcome.
///
/// # Errors
/// The request is not what the protocol says: the connection is closed, as Kafka does.
pub(crate) fn start(
    state: &Rc<ShardState>,
    connection: &Rc<Connection>,
    slot: SlotId,
    request: Request,
) -> Result<(), String> {
    let version = request.version();
    let (acks, topics, mut parts, pieces) = match plan(state, &request) {
        Ok(plan) => plan,
        Err(error) => return Err(error.to_string()),
    };
    let correlation = request.correlation();
    let rules = Rules { version, now: state.now().wall };
    let (mut frame, memory) = request.into_body();
    let mut cut = 0;
    let mut ready: Vec<(ShardId, ProducePart)> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        drop(frame.split_to(piece.records.start - cut));
        let records = frame.split_to(piece.records.len());
        cut = piece.records.end;
        let home = state.home(piece.topic.id, piece.partition);
        connection.count_traffic(state, home, records.len());
        match take(connection, &piece.topic, records, &rules) {
            Ok((records, info)) => {
                let partition = PartitionKey { topic: piece.topic.id, partition: piece.partition };
                ready.push((home, ProducePart { part: piece.part as u32, partition, records, info }));
            }
            Err(refusal) => parts[piece.part].outcome = Some(Err(refusal)),
        }
    }
    let awaited = ready.len();
    let in_flight = ProduceInFlight {
        connection: Rc::clone(connection),
        slot,
        version,
        correlation,
        answers: acks != Acks::Nothing,
        topics,
        parts,
        awaited,
        started_ns: state.now().monotonic_ns,
        _memory: memory,
    };
    if awaited == 0 {
        finish(state, in_flight);
        return Ok(());
    }
    let token = state.produces.borrow_mut().insert(in_flight);
    send_home(state, token, acks, ready);
    Ok(())
}

/// Hands each partition's records to its home: this shard at once, another by one letter for all of its partitions.
fn send_home(state: &Rc<ShardState>, token: RequestToken, acks: Acks, mut ready: Vec<(ShardId, ProducePart)>) {
    while let Some((home, _)) = ready.first() {
        let home = *home;
        if home == state.id {
            let (_, part) = ready.remove(0);
            let origin = Origin { shard: state.id, request: token, part: part.part };
            append(state, part, origin, acks);
            continue;
        }
        let (theirs, others): (Vec<_>, Vec<_>) = ready.into_iter().partition(|(shard, _)| *shard == home);
        ready = others;
        let parts = theirs.into_iter().map(|(_, part)| part).collect();
        state.send(home, Mail::Produce { from: state.id, request: token, acks, parts });
    }
}

/// Appends one part on its home shard, which this is.
pub(crate) fn append(state: &Rc<ShardState>, part: ProducePart, origin: Origin, acks: Acks) {
    match state.partition(part.partition) {
        Some(partition) => partition.append(state, part.records, &part.info, origin, acks),
        None => state.produced(origin, Err(state.not_here(part.partition))),
    }
}

/// An outcome is in; with the last one the reply leaves.
pub(crate) fn on_outcome(state: &Rc<ShardState>, token: RequestToken, part: u32, outcome: ProduceOutcome) {
    let mut produces = state.produces.borrow_mut();
    let Some(in_flight) = produces.get_mut(token) else { return };
    let place = &mut in_flight.parts[part as usize].outcome;
    assert!(place.is_none(), "a part has one outcome");
    *place = Some(outcome);
    in_flight.awaited -= 1;
    if in_flight.awaited == 0 {
        let done = produces.remove(token).expect("it is here");
        drop(produces);
        finish(state, done);
    }
}

fn finish(state: &Rc<ShardState>, done: ProduceInFlight) {
    let took_ns = state.now().monotonic_ns.saturating_sub(done.started_ns);
    state.metrics.answered(ApiKey::Produce, took_ns);
    let response = ProduceResponse {
        responses: done.topics.iter().map(|topic| topic_response(topic, &done.parts[topic.parts.clone()])).collect(),
        ..ProduceResponse::default()
    };
    if !done.answers {
        // acks=0 gets no reply; an error can only be told by closing, which makes the client look for the leader again.
        if let Some(refusals) = Refusals::of(done.version, &response) {
            state.refused(&done.connection, &refusals);
            done.connection.close_for(CloseCause::UnackedRefusal);
        }
        done.connection.answer(state, done.slot, None);
        return;
    }
    let reply = encode_response(done.correlation, done.version, &response);
    done.connection.answer(state, done.slot, Some(reply));
}

fn topic_response<'a>(topic: &'a TopicParts, parts: &'a [Part]) -> TopicProduceResponse<'a> {
    TopicProduceResponse {
        name: Cow::Borrowed(&topic.name),
        topic_id: topic.id,
        partition_responses: parts.iter().map(part_response).collect(),
        ..TopicProduceResponse::default()
    }
}

fn part_response(part: &Part) -> PartitionProduceResponse<'_> {
    match part.outcome.as_ref().expect("every outcome is in") {
        Ok(appended) => PartitionProduceResponse {
            index: part.index,
            base_offset: appended.base_offset.value(),
            log_append_time_ms: stamped(appended.log_append_time),
            log_start_offset: appended.log_start.value(),
            ..PartitionProduceResponse::default()
        },
        Err(refusal) => PartitionProduceResponse {
            index: part.index,
            error_code: refusal.code.code(),
            base_offset: -1,
            error_message: Some(Cow::Borrowed(&refusal.message)),
            record_errors: refusal
                .record_errors
                .iter()
                .map(|(index, message)| BatchIndexAndErrorMessage {
                    batch_index: *index,
                    batch_index_error_message: Some(Cow::Borrowed(message)),
                    ..BatchIndexAndErrorMessage::default()
                })
                .collect(),
            ..PartitionProduceResponse::default()
        },
    }
}

type Plan = (Acks, Vec<TopicParts>, Vec<Part>, Vec<Piece>);

/// Looks at the request once: what is refused without a look at the records, and where the records of the others lie.
fn plan(state: &Rc<ShardState>, request: &Request) -> Result<Plan, wire::DecodeError> {
    let produce: ProduceRequest<'_> = request.decode()?;
    let acks = match produce.acks {
        0 => Some(Acks::Nothing),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All { timeout: Duration::from_millis(produce.timeout_ms.max(0) as u64) }),
        _ => None,
    };
    let whole_refusal = match acks {
        None => Some(ProduceRefusal::new(
            ErrorCode::InvalidRequiredAcks,
            format!("acks must be 0, 1 or -1 (all), not {}", produce.acks),
        )),
        Some(_) if produce.transactional_id.is_some() => Some(transactions_refused()),
        Some(_) => None,
    };
    let mut topics = Vec::with_capacity(produce.topic_data.len());
    let mut parts: Vec<Part> = Vec::with_capacity(produce.topic_data.len());
    let mut pieces = Vec::with_capacity(produce.topic_data.len());
    let by_id = request.version() >= 13;
    for topic in &produce.topic_data {
        let view = if by_id { state.topic_by_id(topic.topic_id) } else { state.topic(&topic.name) };
        let first = parts.len();
        for data in &topic.partition_data {
            let part = parts.len();
            let refusal = whole_refusal.clone().or_else(|| match &view {
                Some(view) => refuse_partition(state, view, data.index),
                None if by_id => Some(ProduceRefusal::new(
                    ErrorCode::UnknownTopicId,
                    format!("there is no topic with id {}", topic.topic_id),
                )),
                None => Some(ProduceRefusal::new(
                    ErrorCode::UnknownTopicOrPartition,
                    format!("there is no topic {}", topic.name),
                )),
            });
            match (refusal, &view, &data.records) {
                (None, Some(view), Records::At(range)) => pieces.push(Piece {
                    part,
                    topic: Rc::clone(view),
                    partition: PartitionIndex::new(data.index),
                    records: range.clone(),
                }),
                (None, ..) => parts.push(Part {
                    index: data.index,
                    outcome: Some(Err(ProduceRefusal::new(
                        ErrorCode::InvalidRecord,
                        "a produce request must hold exactly one record batch per partition; here is none",
                    ))),
                }),
                (Some(refusal), ..) => parts.push(Part { index: data.index, outcome: Some(Err(refusal)) }),
            }
            if parts.len() == part {
                parts.push(Part { index: data.index, outcome: None });
            }
        }
        topics.push(TopicParts {
            name: view.as_ref().map_or_else(|| Arc::from(&*topic.name), |view| Arc::clone(&view.name)),
            id: topic.topic_id,
            parts: first..parts.len(),
        });
    }
    Ok((acks.unwrap_or(Acks::Leader), topics, parts, pieces))
}

/// What a partition is refused for before its records are looked at.
fn refuse_partition(state: &ShardState, topic: &TopicView, index: i32) -> Option<ProduceRefusal> {
    let partition = PartitionIndex::from_wire(index).and_then(|index| topic.topic.partition(index));
    match partition {
        None => Some(ProduceRefusal::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("topic {} has {} partitions and no partition {index}", topic.name, topic.topic.partitions.len()),
        )),
        Some(partition) if partition.leader != Some(state.node.config.node_id) => Some(ProduceRefusal::new(
            ErrorCode::NotLeaderOrFollower,
            format!("node {} does not lead {}-{index}", state.node.config.node_id, topic.name),
        )),
        Some(_) if topic.topic.is_internal() => Some(ProduceRefusal::new(
            ErrorCode::InvalidTopicException,
            format!("{} is written by the node alone", topic.name),
        )),
        Some(_) => None,
    }
}

fn transactions_refused() -> ProduceRefusal {
    ProduceRefusal::new(
        ErrorCode::InvalidRequest,
        "this node has no transactions: use an idempotent producer (enable.idempotence=true) without transactional.id",
    )
}

struct Rules {
    version: i16,
    now: Timestamp,
}

/// Validates one partition's records, once and for all: nobody looks into them again.
fn take(
    connection: &Connection,
    topic: &TopicView,
    records: BytesMut,
    rules: &Rules,
) -> Result<(BytesMut, BatchInfo), ProduceRefusal> {
    let config = &topic.config;
    let inflate = if connection.samples_compressed(INFLATE_SAMPLE_ONE_IN) {
        Inflate::Sample { bytes_max: INFLATE_SAMPLE_BYTES }
    } else {
        Inflate::No
    };
    let rules = ProduceRules {
        now: rules.now,
        timestamp_type: match config.timestamp_type {
            TimestampType::CreateTime => batch::TimestampType::CreateTime,
            TimestampType::LogAppendTime => batch::TimestampType::LogAppendTime,
        },
        before_max_ms: config.timestamp_before_ms_max.map_or(i64::MAX, |ms| i64::try_from(ms).unwrap_or(i64::MAX)),
        after_max_ms: config.timestamp_after_ms_max.map_or(i64::MAX, |ms| i64::try_from(ms).unwrap_or(i64::MAX)),
        compacted: config.cleanup.compact,
        batch_bytes_max: config.batch_bytes_max,
        compression: topic.stored_as,
        zstd_allowed: rules.version >= 7,
        inflate,
        inflated_bytes_max: INFLATED_BATCH_BYTES_MAX,
    };
    let (records, info) = batch::admit(records, &rules)?;
    if info.transactional {
        return Err(transactions_refused());
    }
    Ok((records, info))
}
