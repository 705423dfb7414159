//! A node's metadata quorum on a modelled disk: commands in, crashes anywhere, and the question whether it remembers.

use std::collections::BTreeMap;
use std::sync::Arc;

use machine::Ticket;
use proptest::prelude::*;
use quorum::configs::{ConfigChange, ConfigEdit};
use quorum::node::Found;
use quorum::topics::{Layout, NewPartitions, NewTopic, TopicRef};
use quorum::{
    ChangedTopics, Command, ConfigResource, ConfigRules, Configs, ControllerOptions, Endpoint, Fault, MetadataImage,
    NodeEffect, NodeOptions, QuorumNode, Registration, Reply, election_state, snapshot,
};
use types::{DirectoryId, LeaderEpoch, NodeId, Now, Offset, PartitionIndex, Timestamp};

const NODE: NodeId = NodeId::new(1);
const NOW: Now = Now { monotonic_ns: 0, wall: Timestamp::from_millis(1_700_000_000_000) };

/// Takes every config.
#[derive(Clone, Copy, Debug)]
struct AnyConfig;

impl ConfigRules for AnyConfig {
    fn check_new_topic(&self, _: &str, _: &Configs, _: &MetadataImage) -> Result<(), Fault> {
        Ok(())
    }

    fn check(&self, _: &ConfigResource, _: &Configs, _: &Configs, _: &MetadataImage) -> Result<(), Fault> {
        Ok(())
    }

    fn is_list(&self, _: &ConfigResource, _: &str) -> bool {
        true
    }

    fn default_value(&self, _: &ConfigResource, _: &str) -> Option<String> {
        None
    }
}

/// What would be in the folder `__cluster_metadata-0`.
#[derive(Clone, Default)]
struct Disk {
    state: Option<Vec<u8>>,
    log: Vec<u8>,
    log_end: Offset,
    snapshots: BTreeMap<String, Vec<u8>>,
}

struct Cluster {
    disk: Disk,
    node: QuorumNode<AnyConfig>,
    published: Arc<MetadataImage>,
    /// What a shard would have made of all changes it was told of.
    told: ChangedTopics,
    replies: BTreeMap<u64, Reply>,
    tickets: u64,
    snapshot_bytes_between: u64,
}

fn recover(disk: &Disk, seed: u8, snapshot_bytes_between: u64) -> QuorumNode<AnyConfig> {
    let options = NodeOptions {
        node: NODE,
        controller: ControllerOptions { partitions_default: 1, replication_factor_default: 1, seed: [seed; 16] },
        snapshot_bytes_between,
    };
    let snapshots: Vec<_> = disk.snapshots.keys().filter_map(|name| snapshot::parse_file_name(name)).collect();
    let base = match disk.snapshots.iter().next_back() {
        Some((name, bytes)) => {
            snapshot::read("cluster", snapshot::parse_file_name(name).unwrap(), bytes).expect("a whole snapshot")
        }
        None => MetadataImage::empty("cluster"),
    };
    let state = disk.state.as_deref().map(|bytes| election_state::decode(bytes).expect("a readable state"));
    let found = Found { state, base, log: &disk.log, log_end: disk.log_end, snapshots };
    QuorumNode::recover(options, AnyConfig, NOW, found).expect("a log that fits together")
}

impl Cluster {
    fn start(disk: Disk, seed: u8, snapshot_bytes_between: u64) -> Self {
        let node = recover(&disk, seed, snapshot_bytes_between);
        let published = Arc::clone(node.image());
        let mut cluster = Self {
            disk,
            node,
            published,
            told: ChangedTopics::default(),
            replies: BTreeMap::new(),
            tickets: 0,
            snapshot_bytes_between,
        };
        cluster.run();
        assert!(cluster.node.is_ready(), "{:?}", cluster.node);
        cluster
    }

    fn registered(disk: Disk, seed: u8) -> Self {
        let mut cluster = Self::start(disk, seed, u64::MAX);
        cluster.call(register());
        cluster
    }

    /// Does all work in order, each piece at once.
    fn run(&mut self) {
        while let Some(effect) = self.node.poll_effect() {
            match effect {
                NodeEffect::SaveState(bytes) => {
                    self.disk.state = Some(bytes.to_vec());
                    self.node.on_state_saved(NOW);
                }
                NodeEffect::Append { mut batch, base_offset, epoch } => {
                    assert_eq!(base_offset, self.disk.log_end);
                    batch::stamp(&mut batch, base_offset, epoch);
                    let info = batch::check(&batch).expect("a whole batch").info();
                    self.disk.log.extend_from_slice(&batch);
                    self.disk.log_end = info.next_offset();
                    self.node.on_durable(NOW, self.disk.log_end);
                }
                NodeEffect::Publish { image, changed, replies } => {
                    assert!(self.published.position() <= image.position());
                    self.published = image;
                    self.told = changed;
                    self.answer(replies);
                }
                NodeEffect::Answer(replies) => self.answer(replies),
                NodeEffect::WriteSnapshot { name, bytes } => {
                    self.disk.snapshots.insert(name, bytes.to_vec());
                    self.node.on_snapshot_written();
                }
                NodeEffect::Trim { log_start } => self.trim(log_start),
            }
        }
    }

    fn trim(&mut self, log_start: Offset) {
        self.disk.snapshots.retain(|name, _| log_start <= snapshot::parse_file_name(name).unwrap().end);
        while batch::BatchView::parse(&self.disk.log).is_ok_and(|batch| batch.last_offset() < log_start) {
            let bytes = batch::BatchView::peek_size(&self.disk.log).unwrap().unwrap();
            self.disk.log.drain(..bytes);
        }
    }

    fn answer(&mut self, replies: Vec<(Ticket, Reply)>) {
        for (ticket, reply) in replies {
            assert!(self.replies.insert(ticket.number(), reply).is_none(), "answered twice");
        }
    }

    fn submit(&mut self, command: Command) -> u64 {
        self.tickets += 1;
        self.node.submit(NOW, Ticket::new(self.tickets), command).expect("a leader");
        self.tickets
    }

    fn call(&mut self, command: Command) -> Reply {
        let ticket = self.submit(command);
        self.run();
        self.replies.remove(&ticket).expect("an answer")
    }

    /// Power off, power on.
    fn crash(self, seed: u8) -> Self {
        Self::start(self.disk, seed, self.snapshot_bytes_between)
    }
}

fn register() -> Command {
    Command::RegisterBroker(Registration {
        node: NODE,
        incarnation: [1; 16],
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".into(),
            host: "localhost".into(),
            port: 9092,
            security_protocol: 0,
        }],
        rack: None,
        features: vec![],
        log_dirs: vec![DirectoryId::from_random([1; 16]), DirectoryId::from_random([2; 16])],
    })
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    let layout = Layout { partitions: Some(partitions), ..Layout::default_layout() };
    NewTopic { name: name.into(), layout, configs: vec![("retention.ms".into(), Some("5".into()))] }
}

fn create(name: &str, partitions: i32) -> Command {
    Command::CreateTopics { topics: vec![topic(name, partitions)], validate_only: false }
}

/// The same metadata; who controls and where the log stands may differ.
fn content(image: &MetadataImage) -> Vec<quorum::Record> {
    snapshot::records(image).collect()
}

#[test]
fn first_epoch_begins_with_a_leader_change_and_the_metadata_version() {
    let cluster = Cluster::registered(Disk::default(), 1);
    let batch = batch::BatchView::parse(&cluster.disk.log).unwrap();
    assert!(batch.attributes().control);
    assert_eq!(batch.leader_epoch(), Some(LeaderEpoch::new(1)));
    let image = &cluster.published;
    assert_eq!(image.features().get("metadata.version"), Some(&30));
    assert_eq!(image.controller(), Some(NODE));
    assert_eq!(image.broker(NODE).unwrap().epoch.value(), 1, "the offset of its registration");
    assert_eq!(cluster.node.status().high_watermark, cluster.disk.log_end);
}

#[test]
fn committed_state_is_there_after_a_restart() {
    let mut cluster = Cluster::registered(Disk::default(), 1);
    cluster.call(create("orders", 3));
    cluster.call(create("gone", 1));
    cluster.call(Command::DeleteTopics { topics: vec![TopicRef::Name("gone".into())] });
    let before = content(&cluster.published);
    let again = cluster.crash(2);
    assert_eq!(content(&again.published), before);
    assert_eq!(again.told.partitions.len(), 3, "a newcomer is told of everything");
    assert_eq!(again.node.status().epoch, LeaderEpoch::new(2));
}

#[test]
fn every_registration_begins_a_new_epoch_of_each_partition_led() {
    let mut cluster = Cluster::registered(Disk::default(), 1);
    cluster.call(create("orders", 3));
    for round in 1..4 {
        cluster = cluster.crash(round);
        cluster.call(register());
        assert_eq!(cluster.told.partitions.len(), 3);
        for partition in &cluster.published.topic("orders").unwrap().partitions {
            assert_eq!(partition.leader, Some(NODE));
            assert_eq!(partition.leader_epoch, LeaderEpoch::new(round.into()));
        }
    }
}

#[test]
fn reply_waits_for_the_disk() {
    let mut cluster = Cluster::registered(Disk::default(), 1);
    let first = cluster.submit(create("a", 1));
    let second = cluster.submit(create("a", 1));
    let Some(NodeEffect::Append { mut batch, base_offset, epoch }) = cluster.node.poll_effect() else { panic!() };
    assert!(cluster.node.poll_effect().is_none(), "nothing is answered or published before the disk has it");
    batch::stamp(&mut batch, base_offset, epoch);
    cluster.disk.log.extend_from_slice(&batch);
    cluster.disk.log_end = batch::check(&batch).unwrap().info().next_offset();
    cluster.node.on_durable(NOW, cluster.disk.log_end);
    cluster.run();
    assert!(matches!(&cluster.replies[&first], Reply::TopicsCreated(results) if results[0].1.is_ok()));
    assert!(matches!(&cluster.replies[&second], Reply::TopicsCreated(results) if results[0].1.is_err()));
}

#[test]
fn decided_but_unwritten_is_forgotten_and_everyone_owed_an_answer_is_named() {
    let mut cluster = Cluster::registered(Disk::default(), 1);
    cluster.call(create("kept", 1));
    let lost = cluster.submit(create("lost", 1));
    let (image, owed) = cluster.node.abandon();
    assert_eq!(owed, [Ticket::new(lost)]);
    assert!(image.topic("lost").is_none());
    let again = Cluster::start(cluster.disk, 2, u64::MAX);
    assert!(again.published.topic("kept").is_some());
    assert!(again.published.topic("lost").is_none());
    assert_eq!(again.node.status().epoch, LeaderEpoch::new(2), "its offsets are given out in another epoch");
}

#[test]
fn producer_ids_never_repeat() {
    let mut cluster = Cluster::registered(Disk::default(), 1);
    let mut seen = Vec::new();
    for round in 0..4 {
        for _ in 0..3 {
            let Reply::ProducerIds(Ok(first)) = cluster.call(Command::AllocateProducerIds { node: NODE }) else {
                panic!()
            };
            seen.push(first.value());
        }
        cluster = cluster.crash(round);
    }
    let expected: Vec<i64> = (0..12).map(|block| block * 1000).collect();
    assert_eq!(seen, expected);
}

#[test]
fn partitions_spread_over_log_directories() {
    let mut cluster = Cluster::registered(Disk::default(), 1);
    cluster.call(create("a", 3));
    cluster.call(create("b", 3));
    let mut counts = BTreeMap::new();
    for partition in cluster.published.topics().flat_map(|topic| topic.partitions.clone()) {
        *counts.entry(partition.directory_on(NODE).unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn partition_without_its_directory_has_no_leader_until_it_is_back() {
    let mut cluster = Cluster::registered(Disk::default(), 1);
    cluster.call(create("a", 2));
    let Command::RegisterBroker(mut fewer) = register() else { panic!() };
    fewer.log_dirs.pop();
    cluster.call(Command::RegisterBroker(fewer));
    let leaders = |cluster: &Cluster| -> Vec<Option<NodeId>> {
        cluster.published.topic("a").unwrap().partitions.iter().map(|partition| partition.leader).collect()
    };
    assert_eq!(leaders(&cluster), [Some(NODE), None]);
    cluster.call(register());
    assert_eq!(leaders(&cluster), [Some(NODE), Some(NODE)]);
}

#[test]
fn epoch_is_bumped_on_request_and_only_where_the_node_leads() {
    let mut cluster = Cluster::registered(Disk::default(), 1);
    cluster.call(create("a", 2));
    let id = cluster.published.topic("a").unwrap().id;
    let partitions = vec![(id, PartitionIndex::new(1)), (id, PartitionIndex::new(9))];
    cluster.call(Command::BumpLeaderEpochs { node: NODE, partitions });
    let epochs: Vec<i32> =
        cluster.published.topic("a").unwrap().partitions.iter().map(|p| p.leader_epoch.value()).collect();
    assert_eq!(epochs, [0, 1]);
}

#[test]
fn lost_log_directory_leads_nothing_and_gets_nothing_new() {
    let mut cluster = Cluster::registered(Disk::default(), 1);
    cluster.call(create("a", 2));
    let partitions = |cluster: &Cluster, topic: &str| -> Vec<(Option<NodeId>, i32)> {
        let partitions = &cluster.published.topic(topic).unwrap().partitions;
        partitions.iter().map(|partition| (partition.leader, partition.leader_epoch.value())).collect()
    };
    let lost = cluster.published.topic("a").unwrap().partitions[1].directory_on(NODE).unwrap();
    cluster.call(Command::LoseLogDir { node: NODE, directory: lost });
    assert_eq!(partitions(&cluster, "a"), [(Some(NODE), 0), (None, 1)]);
    cluster.call(create("b", 2));
    let b = cluster.published.topic("b").unwrap();
    assert!(b.partitions.iter().all(|partition| partition.directory_on(NODE) != Some(lost)));
    let before = content(&cluster.published);
    cluster = cluster.crash(2);
    assert_eq!(content(&cluster.published), before);
    cluster.call(register());
    assert_eq!(partitions(&cluster, "a"), [(Some(NODE), 1), (Some(NODE), 2)], "the directory is back");
}

#[test]
fn snapshots_bound_the_log_and_a_restart_reads_them() {
    let mut cluster = Cluster::start(Disk::default(), 1, 2000);
    cluster.call(register());
    for round in 0..200 {
        cluster.call(create(&format!("topic-{}", round % 7), 2));
        cluster.call(Command::DeleteTopics { topics: vec![TopicRef::Name(format!("topic-{}", round % 7).into())] });
    }
    cluster.call(create("kept", 2));
    assert!(cluster.disk.log.len() < 8000, "{} bytes of log", cluster.disk.log.len());
    assert_eq!(cluster.disk.snapshots.len(), 2);
    let before = content(&cluster.published);
    let mut damaged = cluster.disk.clone();
    let again = cluster.crash(9);
    assert_eq!(content(&again.published), before);

    // The log reaches back to the snapshot before: with the newest gone, nothing is lost.
    damaged.snapshots.pop_last();
    assert_eq!(content(&Cluster::start(damaged, 9, 2000).published), before);
}

#[test]
fn restart_from_every_batch_boundary_is_a_prefix_of_history() {
    let mut cluster = Cluster::registered(Disk::default(), 1);
    let mut history = vec![content(&MetadataImage::empty("cluster"))];
    let mut commands = vec![create("a", 2), create("b", 1)];
    commands.push(Command::CreatePartitions {
        topics: vec![NewPartitions { name: "a".into(), count: 5, manual: None }],
        validate_only: false,
    });
    commands.push(Command::AllocateProducerIds { node: NODE });
    history.push(content(&cluster.published));
    for command in commands {
        cluster.call(command);
        history.push(content(&cluster.published));
    }
    let mut at = 0;
    let mut prefixes = Vec::new();
    while at <= cluster.disk.log.len() {
        let mut disk = cluster.disk.clone();
        disk.log.truncate(at);
        disk.log_end = end_of(&disk.log);
        prefixes.push(content(&Cluster::start(disk, 3, u64::MAX).published));
        match batch::BatchView::peek_size(&cluster.disk.log[at..]).unwrap() {
            Some(bytes) => at += bytes,
            None => break,
        }
    }
    prefixes.dedup();
    assert_eq!(prefixes, history);
}

fn end_of(mut log: &[u8]) -> Offset {
    let mut end = Offset::ZERO;
    while !log.is_empty() {
        let bytes = batch::BatchView::peek_size(log).unwrap().unwrap();
        end = batch::check(&log[..bytes]).unwrap().info().next_offset();
        log = &log[bytes..];
    }
    end
}

#[test]
fn what_was_answered_is_there_whatever_the_crash_kept() {
    const TOPICS: usize = 5;
    for durable in 0..=TOPICS {
        for kept in durable..=TOPICS {
            let mut cluster = Cluster::registered(Disk::default(), 1);
            let tickets: Vec<u64> = (0..TOPICS).map(|index| cluster.submit(create(&format!("t{index}"), 3))).collect();
            let mut batches = Vec::new();
            while let Some(effect) = cluster.node.poll_effect() {
                let NodeEffect::Append { mut batch, base_offset, epoch } = effect else { panic!("{effect:?}") };
                batch::stamp(&mut batch, base_offset, epoch);
                batches.push(batch);
            }
            assert_eq!(batches.len(), TOPICS, "a batch for each command, none waits for another");
            if 0 < durable {
                let end = batch::check(&batches[durable - 1]).unwrap().info().next_offset();
                cluster.node.on_durable(NOW, end);
            }
            while let Some(effect) = cluster.node.poll_effect() {
                let NodeEffect::Publish { replies, .. } = effect else { panic!("{effect:?}") };
                cluster.answer(replies);
            }
            let answered: Vec<bool> = tickets.iter().map(|ticket| cluster.replies.contains_key(ticket)).collect();
            let mut disk = cluster.disk.clone();
            batches[..kept].iter().for_each(|batch| disk.log.extend_from_slice(batch));
            disk.log_end = end_of(&disk.log);
            let again = Cluster::start(disk, 2, u64::MAX);
            for (index, answered) in answered.into_iter().enumerate() {
                assert_eq!(answered, index < durable);
                let topic = again.published.topic(&format!("t{index}"));
                assert_eq!(topic.is_some(), index < kept);
                // A request's records take effect together or not at all.
                assert!(topic.is_none_or(|topic| topic.partitions.len() == 3));
            }
        }
    }
}

#[test]
fn election_needs_no_randomness() {
    let run = || {
        let mut disk = Disk::default();
        for _ in 0..3 {
            let mut cluster = Cluster::registered(disk, 7);
            cluster.call(create(&format!("t{}", cluster.node.status().epoch), 2));
            disk = cluster.disk;
        }
        (disk.log, disk.state)
    };
    assert_eq!(run(), run(), "the same commands leave the same bytes");
}

#[derive(Clone, Debug)]
enum Step {
    Create(u8, u8),
    Delete(u8),
    Widen(u8, u8),
    Configure(u8, Option<u8>),
    ProducerIds,
    Register,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u8, 1..5_u8).prop_map(|(name, count)| Step::Create(name, count)),
        2 => (0..6_u8).prop_map(Step::Delete),
        2 => (0..6_u8, 0..9_u8).prop_map(|(name, count)| Step::Widen(name, count)),
        3 => (0..6_u8, proptest::option::of(0..3_u8)).prop_map(|(name, value)| Step::Configure(name, value)),
        1 => Just(Step::ProducerIds),
        1 => Just(Step::Register),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn live_state_is_replayed_state(
        steps in proptest::collection::vec(step(), 1..60),
        snapshot_bytes_between in prop_oneof![Just(u64::MAX), Just(500), Just(3000)],
    ) {
        let mut cluster = Cluster::start(Disk::default(), 1, snapshot_bytes_between);
        cluster.call(register());
        for (round, step) in steps.into_iter().enumerate() {
            // Names that collide: 0 is t.0, 1 is t_0, ...
            let name = |name: u8| format!("t{}{}", if name.is_multiple_of(2) { "." } else { "_" }, name / 2);
            let command = match step {
                Step::Create(at, count) => create(&name(at), count.into()),
                Step::Delete(at) => Command::DeleteTopics { topics: vec![TopicRef::Name(name(at).into())] },
                Step::Widen(at, count) => Command::CreatePartitions {
                    topics: vec![NewPartitions { name: name(at).into(), count: count.into(), manual: None }],
                    validate_only: false,
                },
                Step::Configure(at, value) => {
                    let edit = value.map_or(ConfigEdit::Delete, |value| ConfigEdit::Append(value.to_string().into()));
                    let resource = ConfigResource::Topic(name(at).into());
                    let edits = vec![("list".into(), edit)];
                    Command::ChangeConfigs { resources: vec![ConfigChange { resource, edits }], validate_only: false }
                }
                Step::ProducerIds => Command::AllocateProducerIds { node: NODE },
                Step::Register => register(),
                Step::Crash => {
                    let before = content(&cluster.published);
                    cluster = cluster.crash(round as u8);
                    prop_assert_eq!(content(&cluster.published), before);
                    continue;
                }
            };
            cluster.call(command);
            let names: Vec<_> = cluster.published.topics().map(|topic| topic.name.replace('.', "_")).collect();
            let mut unique = names.clone();
            unique.sort();
            unique.dedup();
            prop_assert_eq!(names.len(), unique.len(), "colliding names");
        }
        let replayed = Cluster::start(cluster.disk.clone(), 77, snapshot_bytes_between);
        prop_assert_eq!(content(&replayed.published), content(&cluster.published));
        prop_assert_eq!(replayed.published.partition_count(), cluster.published.partition_count());
    }
}
