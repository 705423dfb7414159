//! DeleteRecords (KIP-107): moves a partition's log start.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;
use types::{ErrorCode, Offset};
use wire::delete_records_request::DeleteRecordsRequest;
use wire::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult};

use super::list_offsets::led_here;
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

/// "Up to the high watermark", in a request.
const HIGH_WATERMARK: i64 = -1;

/// A client that sends no timeout waits as long as it takes.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let asked: DeleteRecordsRequest<'_> = request.decode()?;
    let mut topics = Vec::with_capacity(asked.topics.len());
    let wait = u64::try_from(asked.timeout_ms).ok().filter(|ms| *ms > 0).map_or(FOREVER, Duration::from_millis);
    let deadline = Instant::now() + wait;
    for topic in &asked.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let deleted = delete(state, &topic.name, partition.partition_index, partition.offset);
            // All partitions share the request's time; what has begun goes on beyond it.
            let result =
                tokio::time::timeout_at(deadline, deleted).await.unwrap_or(Err(ErrorCode::RequestTimedOut));
            let (code, low_watermark) = match result {
                Ok(offset) => (ErrorCode::None, offset.value()),
                Err(code) => (code, -1),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark,
                error_code: code.code(),
                ..DeleteRecordsPartitionResult::default()
            });
        }
        topics.push(DeleteRecordsTopicResult {
            name: Cow::Borrowed(&*topic.name),
            partitions,
            ..DeleteRecordsTopicResult::default()
        });
    }
    Ok(request.reply(&DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }))
}

async fn delete(state: &Rc<ShardState>, topic: &str, partition: i32, offset: i64) -> Result<Offset, ErrorCode> {
    if quorum::image::is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let key = led_here(state, topic, partition)?;
    // As Kafka: only a topic that deletes by itself may be deleted from.
    if !state.topic(topic).is_some_and(|view| view.config.cleanup.delete) {
        return Err(ErrorCode::PolicyViolation);
    }
    let to = match offset {
        HIGH_WATERMARK => None,
        offset => Some(Offset::from_wire(offset).ok_or(ErrorCode::OffsetOutOfRange)?),
    };
    state
        .at_home(key, move |state, partition| async move {
            partition.delete_records(&state, to).await.map_err(|_| ErrorCode::OffsetOutOfRange)
        })
        .await
        .unwrap_or(Err(ErrorCode::KafkaStorageError))
}
