//! What the members of a group tell each other: subscriptions and assignments (the consumer protocol, version 0 to 3),
//! and the range assignor.

use std::collections::BTreeMap;

use types::{PartitionIndex, TopicPartition};
use wire::Writer;
use wire::records::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition as AssignedPartitions};
use wire::records::consumer_protocol_subscription::ConsumerProtocolSubscription;

/// The name under which [`assign_range`] is known to other clients.
pub(crate) const RANGE: &str = "range";

/// The version of the consumer protocol we write: the first, which every client reads.
const PROTOCOL_VERSION: i16 = 0;

/// A member's metadata in JoinGroup.
pub(crate) fn write_subscription(topics: &[String]) -> Vec<u8> {
    let subscription = ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| topic.into()).collect(),
        ..Default::default()
    };
    let mut writer = Writer::new();
    wire::records::encode_versioned(&mut writer, PROTOCOL_VERSION, &subscription).expect("names of topics fit");
    writer.into_bytes().to_vec()
}

/// The topics that a member subscribes to; none if its metadata cannot be read.
pub(crate) fn read_subscription(bytes: &[u8]) -> Vec<String> {
    let read = wire::records::read_subscription(bytes);
    read.map(|read| read.topics.iter().map(|topic| topic.to_string()).collect()).unwrap_or_default()
}

/// A member's part in SyncGroup.
pub(crate) fn write_assignment(partitions: &[TopicPartition]) -> Vec<u8> {
    let topics = crate::admin::by_topic(partitions);
    let assigned = topics.into_iter().map(|(topic, partitions)| AssignedPartitions { topic: topic.into(), partitions });
    let assignment = ConsumerProtocolAssignment { assigned_partitions: assigned.collect(), user_data: None };
    let mut writer = Writer::new();
    wire::records::encode_versioned(&mut writer, PROTOCOL_VERSION, &assignment).expect("names of topics fit");
    writer.into_bytes().to_vec()
}

/// The partitions that a member was assigned; none if the bytes cannot be read (another kind of group).
pub(crate) fn read_assignment(bytes: &[u8]) -> Vec<TopicPartition> {
    let Ok(read) = wire::records::read_assignment(bytes) else { return Vec::new() };
    let partitions = read.assigned_partitions.iter().flat_map(|topic| {
        let indexes = topic.partitions.iter().filter_map(|&index| PartitionIndex::from_wire(index));
        indexes.map(|index| TopicPartition::new(topic.topic.as_ref(), index))
    });
    partitions.collect()
}

/// The range assignor: per topic, members in order of their ids take consecutive partitions, the first ones one more
/// where they do not divide evenly. 7 partitions over 3 members: 0-2, 3-4, 5-6.
pub(crate) fn assign_range(
    members: &BTreeMap<String, Vec<String>>,
    partitions: &BTreeMap<String, i32>,
) -> BTreeMap<String, Vec<TopicPartition>> {
    let mut assigned: BTreeMap<String, Vec<TopicPartition>> =
        members.keys().map(|member| (member.clone(), Vec::new())).collect();
    for (topic, &count) in partitions {
        let takers: Vec<&String> =
            members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| member).collect();
        let (Ok(count), false) = (usize::try_from(count), takers.is_empty()) else { continue };
        let (each, extra) = (count / takers.len(), count % takers.len());
        let mut next = 0;
        for (place, member) in takers.into_iter().enumerate() {
            let end = next + each + usize::from(place < extra);
            let range = (next..end).map(|index| TopicPartition::new(topic.as_str(), PartitionIndex::new(index as i32)));
            assigned.entry(member.clone()).or_default().extend(range);
            next = end;
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(members: &[(&str, &[&str])], partitions: &[(&str, i32)]) -> String {
        let members = members.iter().map(|(member, topics)| {
            (member.to_string(), topics.iter().map(|topic| topic.to_string()).collect::<Vec<_>>())
        });
        let partitions = partitions.iter().map(|(topic, count)| (topic.to_string(), *count)).collect();
        let assignment = assign_range(&members.collect(), &partitions);
        let lines = assignment.iter().map(|(member, partitions)| {
            let names: Vec<String> = partitions.iter().map(|at| format!("{}{}", at.topic, at.partition)).collect();
            format!("{member}: {}", names.join(" "))
        });
        lines.collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn range_gives_the_first_members_one_more() {
        let all: &[&str] = &["t"];
        assert_eq!(assigned(&[("a", all), ("b", all), ("c", all)], &[("t", 7)]), "a: t0 t1 t2; b: t3 t4; c: t5 t6");
        assert_eq!(assigned(&[("a", all), ("b", all), ("c", all)], &[("t", 2)]), "a: t0; b: t1; c: ");
    }

    #[test]
    fn range_looks_at_each_topic_and_its_subscribers_alone() {
        let members: &[(&str, &[&str])] = &[("a", &["t", "u"]), ("b", &["u"])];
        assert_eq!(assigned(members, &[("t", 2), ("u", 3)]), "a: t0 t1 u0 u1; b: u2");
        assert_eq!(assigned(members, &[("v", 2)]), "a: ; b: ");
    }

    #[test]
    fn what_members_tell_each_other_is_read_back() {
        let topics = vec!["t".to_owned(), "u".to_owned()];
        assert_eq!(read_subscription(&write_subscription(&topics)), topics);
        let partitions =
            vec![TopicPartition::new("t", PartitionIndex::new(0)), TopicPartition::new("t", PartitionIndex::new(2))];
        assert_eq!(read_assignment(&write_assignment(&partitions)), partitions);
        assert!(read_assignment(b"\x00").is_empty());
    }
}
