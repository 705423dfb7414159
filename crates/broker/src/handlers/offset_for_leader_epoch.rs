//! OffsetForLeaderEpoch (KIP-101, KIP-279, KIP-320): where a leader epoch ends, so that a client can tell whether what it
//! read is still there.

use std::borrow::Cow;
use std::rc::Rc;

use types::{ErrorCode, LeaderEpoch};
use wire::offset_for_leader_epoch_request::OffsetForLeaderEpochRequest;
use wire::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

use super::list_offsets::{check_epoch, led_here};
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let asked: OffsetForLeaderEpochRequest<'_> = request.decode()?;
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let client = LeaderEpoch::from_wire(partition.current_leader_epoch);
            let wanted = LeaderEpoch::from_wire(partition.leader_epoch);
            let end = match led_here(state, &topic.topic, partition.partition) {
                Err(code) => Err(code),
                Ok(key) => state
                    .at_home(key, move |_, partition| async move {
                        check_epoch(&partition, client)?;
                        let end = wanted.and_then(|wanted| partition.with_log(|log| log.end_offset_for_epoch(wanted)));
                        Ok(end.map(|end| (end.epoch.value(), end.end_offset.min(partition.visible().high_watermark).value())))
                    })
                    .await
                    .unwrap_or(Err(ErrorCode::KafkaStorageError)),
            };
            let (code, (leader_epoch, end_offset)) = match end {
                Ok(end) => (ErrorCode::None, end.unwrap_or((-1, -1))),
                Err(code) => (code, (-1, -1)),
            };
            partitions.push(EpochEndOffset {
                error_code: code.code(),
                partition: partition.partition,
                leader_epoch,
                end_offset,
                ..EpochEndOffset::default()
            });
        }
        topics.push(OffsetForLeaderTopicResult {
            topic: Cow::Borrowed(&*topic.topic),
            partitions,
            ..OffsetForLeaderTopicResult::default()
        });
    }
    Ok(request.reply(&OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() }))
}
