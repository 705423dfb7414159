//! Which shard a partition lives on: computed at start, never stored, so the number of shards may change.

use types::{PartitionIndex, ShardId, TopicId};

/// The home of a partition on a node of `shards` shards.
///
/// A topic's partitions go round the shards one by one, from a start that its id decides: with 4 shards and a start of
/// 2, partitions 0, 1, 2, 3 live on shards 2, 3, 0, 1. So every topic is spread as evenly as its count allows, and
/// topics of one partition are spread by their ids.
///
/// # Panics
/// If `shards` is 0: a node has at least one.
#[must_use]
pub fn home(topic: TopicId, partition: PartitionIndex, shards: u16) -> ShardId {
    assert!(shards > 0);
    let id = u128::from_be_bytes(topic.bytes());
    let start = mix((id >> 64) as u64 ^ mix(id as u64));
    let turn = start.wrapping_add(partition.value() as u64);
    ShardId::new((turn % u64::from(shards)) as u16)
}

/// Spreads every input bit over the whole word: multiply by an odd constant, fold the high half down, twice.
const fn mix(word: u64) -> u64 {
    let mut word = (word ^ (word >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 29)).wrapping_mul(0xd1b5_4a32_d192_ed03);
    // A node id-sized remainder reads the low bits, so the high ones must reach them.
    (word ^ (word >> 32)) >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(number: u64) -> TopicId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        TopicId::from_bytes(bytes)
    }

    #[test]
    fn a_topic_spreads_over_all_shards_evenly() {
        for shards in 1..=9_u16 {
            let mut homes = vec![0; usize::from(shards)];
            for partition in 0..i32::from(shards) * 5 {
                homes[home(topic(7), PartitionIndex::new(partition), shards).index()] += 1;
            }
            assert_eq!(homes, vec![5; usize::from(shards)]);
        }
    }

    #[test]
    fn topics_of_one_partition_spread_by_their_ids() {
        for shards in [2, 3, 4, 8, 64_u16] {
            let mut homes = vec![0_u32; usize::from(shards)];
            for number in 0..10_000 {
                homes[home(topic(number), PartitionIndex::new(0), shards).index()] += 1;
            }
            let fair = 10_000 / u32::from(shards);
            for count in homes {
                assert!(count.abs_diff(fair) < fair / 3 + 30, "{count} of {fair} on one of {shards} shards");
            }
        }
    }

    #[test]
    fn every_home_exists_when_the_number_of_shards_changes() {
        for shards in 1..=128 {
            for partition in [0, 1, 99, i32::MAX] {
                let placed = home(TopicId::CLUSTER_METADATA, PartitionIndex::new(partition), shards);
                assert!(placed.index() < usize::from(shards));
                assert_eq!(placed, home(TopicId::CLUSTER_METADATA, PartitionIndex::new(partition), shards));
            }
        }
    }
}
