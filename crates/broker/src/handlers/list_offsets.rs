//! ListOffsets: where a partition begins, ends, or holds the first record of a time.

use std::borrow::Cow;
use std::rc::Rc;

use storage::TimeStep;
use types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, Timestamp};
use wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use wire::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};

use crate::fetch::Isolation;
use crate::mail::PartitionKey;
use crate::partition::Partition;
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The first version that knows a special timestamp.
const fn known_from(timestamp: i64) -> i16 {
    match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    }
}

struct Answer {
    offset: i64,
    timestamp: i64,
    epoch: Option<LeaderEpoch>,
}

/// Partitions looked up at a time. One after another each would wait for its shard to wake up: 10,000 partitions took a
/// second. A look-up by time may hold a block of its log meanwhile.
const LOOK_UPS_AT_ONCE: usize = 256;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let asked: ListOffsetsRequest<'_> = request.decode()?;
    let isolation = if asked.isolation_level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    let wanted: Vec<(&str, &ListOffsetsPartition)> = asked
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (&*topic.name, partition)))
        .collect();
    let mut answers = Vec::with_capacity(wanted.len());
    for some in wanted.chunks(LOOK_UPS_AT_ONCE) {
        let begun: Vec<_> = some
            .iter()
            .map(|(topic, partition)| {
                let known = known_from(partition.timestamp) <= request.version()
                    && EARLIEST_PENDING_UPLOAD <= partition.timestamp;
                let key = if known {
                    led_here(state, topic, partition.partition_index)
                } else {
                    Err(ErrorCode::UnsupportedVersion)
                };
                let epoch = LeaderEpoch::from_wire(partition.current_leader_epoch);
                key.map(|key| {
                    tokio::task::spawn_local(look_up(Rc::clone(state), key, epoch, partition.timestamp, isolation))
                })
            })
            .collect();
        for task in begun {
            answers.push(match task {
                Ok(task) => task.await.unwrap_or(Err(ErrorCode::KafkaStorageError)),
                Err(code) => Err(code),
            });
        }
    }
    let mut answers = answers.into_iter();
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (partition, answer) in topic.partitions.iter().zip(answers.by_ref()) {
            partitions.push(match answer {
                Ok(answer) => ListOffsetsPartitionResponse {
                    partition_index: partition.partition_index,
                    error_code: 0,
                    timestamp: answer.timestamp,
                    offset: answer.offset,
                    // Versions before 4 have no place for it, and it may not be dropped silently.
                    leader_epoch: answer.epoch.filter(|_| 4 <= request.version()).map_or(-1, LeaderEpoch::value),
                    ..ListOffsetsPartitionResponse::default()
                },
                Err(code) => ListOffsetsPartitionResponse {
                    partition_index: partition.partition_index,
                    error_code: code.code(),
                    timestamp: -1,
                    offset: -1,
                    leader_epoch: -1,
                    ..ListOffsetsPartitionResponse::default()
                },
            });
        }
        topics.push(ListOffsetsTopicResponse {
            name: Cow::Borrowed(&*topic.name),
            partitions,
            ..ListOffsetsTopicResponse::default()
        });
    }
    Ok(request.reply(&ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }))
}

async fn look_up(
    state: Rc<ShardState>,
    key: PartitionKey,
    epoch: Option<LeaderEpoch>,
    timestamp: i64,
    isolation: Isolation,
) -> Result<Answer, ErrorCode> {
    state
        .at_home(key, move |state, partition| async move {
            check_epoch(&partition, epoch)?;
            find(&state, &partition, timestamp, isolation).await
        })
        .await
        .unwrap_or(Err(ErrorCode::KafkaStorageError))
}

/// The partition's key, if this node leads it.
pub(crate) fn led_here(state: &ShardState, topic: &str, partition: i32) -> Result<PartitionKey, ErrorCode> {
    let view = state.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let index = PartitionIndex::from_wire(partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let found = view.topic.partition(index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if found.leader != Some(state.node.config.node_id) {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    Ok(PartitionKey { topic: view.id, partition: index })
}

/// KIP-320: the client's idea of the leader must be ours.
pub(crate) fn check_epoch(partition: &Partition, client: Option<LeaderEpoch>) -> Result<(), ErrorCode> {
    match client {
        Some(client) if client < partition.epoch() => Err(ErrorCode::FencedLeaderEpoch),
        Some(client) if partition.epoch() < client => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

async fn find(
    state: &Rc<ShardState>,
    partition: &Rc<Partition>,
    timestamp: i64,
    isolation: Isolation,
) -> Result<Answer, ErrorCode> {
    let visible = partition.visible();
    let end = match isolation {
        Isolation::ReadUncommitted => visible.high_watermark,
        Isolation::ReadCommitted => visible.last_stable,
    };
    let plain = |offset: Offset, epoch| Ok(Answer { offset: offset.value(), timestamp: -1, epoch });
    let nothing = Ok(Answer { offset: -1, timestamp: -1, epoch: None });
    let mut step = match timestamp {
        LATEST => return plain(end, Some(partition.epoch())),
        EARLIEST | EARLIEST_LOCAL => {
            let start = visible.log_start;
            return plain(start, partition.with_log(|log| log.leader_epoch_at(start)));
        }
        // Nothing is tiered, so nothing is the latest tiered or waits for its upload.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return nothing,
        MAX_TIMESTAMP => partition.with_log(|log| log.lookup_max_timestamp(end)),
        time => partition.with_log(|log| log.lookup_time(Timestamp::from_millis(time), end)),
    };
    loop {
        match step {
            TimeStep::NotFound => return nothing,
            TimeStep::Found(found) => {
                return Ok(Answer {
                    offset: found.offset.value(),
                    timestamp: found.timestamp.millis(),
                    epoch: found.leader_epoch,
                });
            }
            TimeStep::Scan(scan) => {
                let bytes = state.read(partition, scan).await.map_err(|error| storage_failed(partition, &error))?;
                step = partition
                    .with_log(|log| log.resume_lookup(scan, &bytes))
                    .map_err(|fault| storage_failed(partition, &fault))?;
            }
        }
    }
}

fn storage_failed(partition: &Partition, error: &dyn std::error::Error) -> ErrorCode {
    tracing::error!(partition = %partition.name, %error, "the log cannot be searched by time");
    ErrorCode::KafkaStorageError
}
