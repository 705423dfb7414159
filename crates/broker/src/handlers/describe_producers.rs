//! DescribeProducers (KIP-664): the producers that a partition remembers.

use std::borrow::Cow;
use std::rc::Rc;

use types::{ErrorCode, Offset, Sequence};
use wire::describe_producers_request::DescribeProducersRequest;
use wire::describe_producers_response::{DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse};

use super::list_offsets::led_here;
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let asked: DescribeProducersRequest<'_> = request.decode()?;
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for &partition_index in &topic.partition_indexes {
            let producers = match led_here(state, &topic.name, partition_index) {
                Err(code) => Err(code),
                Ok(key) => state
                    .at_home(key, |_, partition| async move { partition.with_log(|log| log.describe_producers()) })
                    .await
                    .ok_or(ErrorCode::KafkaStorageError),
            };
            let (code, producers) = match producers {
                Ok(producers) => (ErrorCode::None, producers),
                Err(code) => (code, Vec::new()),
            };
            partitions.push(PartitionResponse {
                partition_index,
                error_code: code.code(),
                active_producers: producers
                    .iter()
                    .map(|producer| ProducerState {
                        producer_id: producer.id.value(),
                        producer_epoch: i32::from(producer.epoch.value()),
                        last_sequence: producer.last_sequence.map_or(-1, Sequence::value),
                        last_timestamp: producer.last_timestamp.millis(),
                        coordinator_epoch: -1,
                        current_txn_start_offset: producer.txn_start.map_or(-1, Offset::value),
                        ..ProducerState::default()
                    })
                    .collect(),
                ..PartitionResponse::default()
            });
        }
        topics.push(TopicResponse { name: Cow::Borrowed(&*topic.name), partitions, ..TopicResponse::default() });
    }
    Ok(request.reply(&DescribeProducersResponse { topics, ..DescribeProducersResponse::default() }))
}
