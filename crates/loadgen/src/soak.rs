//! What a soak is for: latency and memory over segments that roll and are deleted. That both happened is looked at from
//! outside, by what any broker tells: where logs begin, and how large they are.

use std::collections::HashMap;

use client::{Cluster, OffsetAt};
use types::{PartitionIndex, TopicPartition};

use crate::follow::{Ground, starts};
use crate::outcome::Soak;
use crate::run::RunError;
use crate::workload::Workload;

/// Where the logs of a run's partitions begin.
pub(crate) struct Before {
    places: Vec<TopicPartition>,
    log_starts: Vec<i64>,
}

impl Before {
    /// Looks, before anything is written.
    pub(crate) async fn look(ground: &Ground<'_>) -> Result<Self, RunError> {
        let places: Vec<TopicPartition> = ground
            .topics
            .iter()
            .flat_map(|topic| {
                let at = |index| TopicPartition::new(topic.name.clone(), PartitionIndex::new(index));
                (0..topic.partitions as i32).map(at)
            })
            .collect();
        let log_starts = starts(ground, &places, OffsetAt::Earliest).await?;
        Ok(Self { places, log_starts })
    }

    /// Looks again, and says what happened in between.
    pub(crate) async fn until_now(
        &self,
        ground: &Ground<'_>,
        cluster: &Cluster,
        workload: &Workload,
    ) -> Result<Soak, RunError> {
        let log_starts = starts(ground, &self.places, OffsetAt::Earliest).await?;
        let mut log_bytes: HashMap<TopicPartition, u64> = HashMap::new();
        for node in &cluster.nodes {
            for log in ground.admin.log_dirs(node.id).await?.into_iter().flat_map(|dir| dir.logs) {
                let bytes = log_bytes.entry(log.partition).or_default();
                *bytes = (*bytes).max(log.bytes);
            }
        }
        let segment_bytes = workload.topics.configs.get("segment.bytes").and_then(|bytes| bytes.parse().ok());
        let sizes = self.places.iter().map(|place| log_bytes.get(place).copied().unwrap_or(0));
        let logs = self.log_starts.iter().zip(&log_starts).zip(sizes);
        Ok(judge(logs.map(|((before, now), bytes)| ((now - before).max(0) as u64, bytes)), segment_bytes))
    }
}

/// Of logs whose start moved by so many records, and that hold so many bytes. Retention takes whole segments and never the
/// last one, so where it took something a segment was rolled; and a log larger than one segment has several.
fn judge(logs: impl Iterator<Item = (u64, u64)>, segment_bytes: Option<u64>) -> Soak {
    let mut soak = Soak::default();
    for (deleted, bytes) in logs {
        let is_trimmed = 0 < deleted;
        let is_rolled = is_trimmed || segment_bytes.is_some_and(|segment_bytes| segment_bytes < bytes);
        soak.partitions += 1;
        soak.partitions_rolled += u64::from(is_rolled);
        soak.partitions_trimmed += u64::from(is_trimmed);
        soak.deleted_messages += deleted;
    }
    soak
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_begins_later_was_rolled_and_one_larger_than_a_segment_too() {
        let logs = [(0, 900), (0, 1001), (70, 10)];
        let soak = judge(logs.into_iter(), Some(1000));
        let want = Soak { partitions: 3, partitions_rolled: 2, partitions_trimmed: 1, deleted_messages: 70 };
        assert_eq!(soak, want);
        assert_eq!(judge(logs.into_iter(), None).partitions_rolled, 1, "how large a segment is nobody said");
    }
}
