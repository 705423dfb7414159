//! DescribeLogDirs (KIP-113, KIP-827): what lies in each log directory, and how much room it has.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use types::{ErrorCode, TopicPartition};
use wire::describe_log_dirs_request::DescribeLogDirsRequest;
use wire::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};

use crate::request::{Handled, Request};
use crate::shard_state::ShardState;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let asked: DescribeLogDirsRequest<'_> = request.decode()?;
    let wanted: Option<Vec<(String, Vec<i32>)>> = asked
        .topics
        .map(|topics| topics.into_iter().map(|topic| (topic.topic.into_owned(), topic.partitions)).collect());
    let sizes = state
        .everywhere(|state| {
            let partitions = state.partitions();
            let size = |partition: &Rc<crate::partition::Partition>| {
                (partition.name.clone(), partition.log_dir.path.clone(), partition.with_log(|log| log.size_bytes()))
            };
            partitions.iter().map(size).collect::<Vec<_>>()
        })
        .await;
    let mut by_dir: BTreeMap<&Path, Vec<(&TopicPartition, u64)>> = BTreeMap::new();
    for (partition, dir, bytes) in sizes.iter().flatten() {
        let is_wanted = wanted.as_ref().is_none_or(|topics| {
            topics.iter().any(|(topic, partitions)| {
                **topic == *partition.topic && partitions.contains(&partition.partition.value())
            })
        });
        if is_wanted {
            by_dir.entry(dir).or_default().push((partition, *bytes));
        }
    }
    let results = state
        .node
        .log_dirs
        .iter()
        .map(|dir| {
            let space = shard::probe::space(&dir.path).ok();
            let bytes = |bytes: Option<u64>| bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
            DescribeLogDirsResult {
                error_code: if dir.is_poisoned() { ErrorCode::KafkaStorageError.code() } else { 0 },
                log_dir: Cow::Owned(absolute(&dir.path)),
                topics: topics(by_dir.get(dir.path.as_path())),
                total_bytes: bytes(space.as_ref().map(|space| space.total_bytes)),
                usable_bytes: bytes(space.as_ref().map(|space| space.free_bytes)),
                ..DescribeLogDirsResult::default()
            }
        })
        .collect();
    Ok(request.reply(&DescribeLogDirsResponse { results, ..DescribeLogDirsResponse::default() }))
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

fn topics<'a>(partitions: Option<&Vec<(&TopicPartition, u64)>>) -> Vec<DescribeLogDirsTopic<'a>> {
    let mut by_topic: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for (partition, bytes) in partitions.into_iter().flatten() {
        by_topic.entry(Arc::clone(&partition.topic)).or_default().push(DescribeLogDirsPartition {
            partition_index: partition.partition.value(),
            partition_size: i64::try_from(*bytes).unwrap_or(i64::MAX),
            ..DescribeLogDirsPartition::default()
        });
    }
    by_topic
        .into_iter()
        .map(|(name, mut partitions)| {
            partitions.sort_by_key(|partition| partition.partition_index);
            DescribeLogDirsTopic { name: Cow::Owned(name.to_string()), partitions, ..DescribeLogDirsTopic::default() }
        })
        .collect()
}
