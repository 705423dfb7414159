//! The controller's answers, case by case: Kafka's codes and Kafka's words.

use std::sync::Arc;

use quorum::configs::{ConfigChange, ConfigEdit, ConfigReplacement};
use quorum::topics::{AdoptedPartition, AdoptedTopic, Layout, NewPartitions, NewTopic, TopicRef};
use quorum::{
    Command, ConfigResource, ConfigRules, Configs, Controller, ControllerOptions, Fault, LogPosition, MetadataImage,
    Registration, Reply,
};
use types::{DirectoryId, ErrorCode, LeaderEpoch, NodeId, PartitionIndex, ProducerId, TopicId};

/// `list` is a list that defaults to `x`; `bad` is refused.
#[derive(Clone, Copy, Debug)]
struct FewConfigs;

impl ConfigRules for FewConfigs {
    fn check_new_topic(&self, _: &str, _: &Configs, _: &MetadataImage) -> Result<(), Fault> {
        Ok(())
    }

    fn check(&self, _: &ConfigResource, _: &Configs, after: &Configs, _: &MetadataImage) -> Result<(), Fault> {
        match after.get("bad") {
            Some(value) => Err(Fault::new(ErrorCode::InvalidConfig, format!("bad is {value}"))),
            None => Ok(()),
        }
    }

    fn is_list(&self, _: &ConfigResource, name: &str) -> bool {
        name == "list"
    }

    fn default_value(&self, _: &ConfigResource, _: &str) -> Option<String> {
        Some("x".to_owned())
    }
}

struct Desk {
    controller: Controller<FewConfigs>,
    image: MetadataImage,
}

impl Desk {
    fn new() -> Self {
        let options = ControllerOptions { partitions_default: 2, replication_factor_default: 1, seed: [1; 16] };
        let image = MetadataImage::empty("cluster");
        let mut desk = Self { controller: Controller::new(image.clone(), FewConfigs, options), image };
        desk.ask(Command::RegisterBroker(Registration {
            node: NodeId::new(1),
            incarnation: [1; 16],
            endpoints: vec![],
            rack: None,
            features: vec![],
            log_dirs: vec![DirectoryId::from_random([1; 16])],
        }));
        for name in ["have", "a.b"] {
            assert_eq!(desk.create(name, Layout::default_layout(), &[]), "ok 2x1");
        }
        desk
    }

    /// Decides and takes in.
    fn ask(&mut self, command: Command) -> Reply {
        let plan = self.controller.plan(command);
        let end = self.image.position().end.plus(plan.records.len() as i64);
        let position = LogPosition { end, ..self.image.position() };
        self.image = self.image.apply(&plan.records, position).expect("records that fit").0;
        let options = ControllerOptions {
            partitions_default: 2,
            replication_factor_default: 1,
            seed: (end.value() as u128).to_be_bytes(),
        };
        self.controller = Controller::new(self.image.clone(), FewConfigs, options);
        plan.reply
    }

    fn create(&mut self, name: &str, layout: Layout, configs: &[(&str, Option<&str>)]) -> String {
        let configs = configs.iter().map(|(key, value)| (Arc::from(*key), value.map(Arc::from))).collect();
        let topics = vec![NewTopic { name: name.into(), layout, configs }];
        let Reply::TopicsCreated(results) = self.ask(Command::CreateTopics { topics, validate_only: false }) else {
            panic!()
        };
        match &results[0].1 {
            Ok(made) => format!("ok {}x{}", made.partitions, made.replication_factor),
            Err(fault) => say(fault),
        }
    }

    fn widen(&mut self, name: &str, count: i32, manual: Option<Vec<Vec<i32>>>) -> String {
        let topics = vec![NewPartitions { name: name.into(), count, manual }];
        let Reply::PartitionsCreated(results) = self.ask(Command::CreatePartitions { topics, validate_only: false })
        else {
            panic!()
        };
        results[0].1.as_ref().map_or_else(say, |()| "ok".to_owned())
    }

    fn edit(&mut self, topic: &str, edits: &[(&str, ConfigEdit)]) -> String {
        let edits = edits.iter().map(|(name, edit)| (Arc::from(*name), edit.clone())).collect();
        let resources = vec![ConfigChange { resource: ConfigResource::Topic(topic.into()), edits }];
        let Reply::ConfigsChanged(results) = self.ask(Command::ChangeConfigs { resources, validate_only: false })
        else {
            panic!()
        };
        results[0].1.as_ref().map_or_else(say, |()| self.configs(topic))
    }

    fn configs(&self, topic: &str) -> String {
        let configs = self.image.topic_configs(&topic.into()).map(Arc::clone).unwrap_or_default();
        configs.iter().map(|(name, value)| format!("{name}={value};")).collect()
    }
}

fn say(fault: &Fault) -> String {
    format!("{}: {}", fault.code.name(), fault.message.as_deref().unwrap_or("-"))
}

fn layout(partitions: Option<i32>, replication_factor: Option<i16>, manual: &[(i32, &[i32])]) -> Layout {
    let manual = manual.iter().map(|(index, brokers)| (*index, brokers.to_vec())).collect();
    Layout { partitions, replication_factor, manual }
}

#[test]
fn create_topics_answers_as_kafka_does() {
    let cases: &[(&str, Layout, &str)] = &[
        ("new", layout(None, None, &[]), "ok 2x1"),
        ("new", layout(Some(5), Some(1), &[]), "ok 5x1"),
        ("new", layout(None, None, &[(1, &[1]), (0, &[1])]), "ok 2x1"),
        ("have", layout(None, None, &[]), "TOPIC_ALREADY_EXISTS: Topic 'have' already exists."),
        ("a_b", layout(None, None, &[]), "INVALID_TOPIC_EXCEPTION: Topic 'a_b' collides with existing topic: a.b"),
        ("a.b", layout(None, None, &[]), "TOPIC_ALREADY_EXISTS: Topic 'a.b' already exists."),
        (
            "x y",
            layout(None, None, &[]),
            "INVALID_TOPIC_EXCEPTION: Topic name is invalid: 'x y' contains one or more characters other than ASCII \
             alphanumerics, '.', '_' and '-'",
        ),
        (
            "__cluster_metadata",
            layout(None, None, &[]),
            "INVALID_REQUEST: Creation of internal topic __cluster_metadata is prohibited.",
        ),
        (
            "new",
            layout(Some(1), Some(3), &[]),
            "INVALID_REPLICATION_FACTOR: Unable to replicate the partition 3 time(s): The target replication factor of \
             3 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories \
             cordoned.",
        ),
        (
            "new",
            layout(Some(1), Some(0), &[]),
            "INVALID_REPLICATION_FACTOR: Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            "new",
            layout(Some(0), None, &[]),
            "INVALID_PARTITIONS: Number of partitions was set to an invalid non-positive value.",
        ),
        (
            "new",
            layout(Some(-5), None, &[]),
            "INVALID_PARTITIONS: Number of partitions was set to an invalid non-positive value.",
        ),
        (
            "new",
            layout(Some(10_001), None, &[]),
            "POLICY_VIOLATION: The request comes to 10001 partitions, and one request may come to 10000 metadata records at \
             most: one for each topic, each new partition and each config. No setting raises that: ask for fewer at once, \
             and add the other partitions with further requests.",
        ),
        (
            "new",
            layout(Some(10_000), None, &[]),
            "POLICY_VIOLATION: The request comes to 10001 metadata records, and one request may come to 10000 metadata \
             records at most: one for each topic, each new partition and each config. No setting raises that: ask for \
             fewer at once, and add the other partitions with further requests.",
        ),
        (
            "new",
            layout(Some(1), None, &[(0, &[1])]),
            "INVALID_REQUEST: A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
        (
            "new",
            layout(None, Some(1), &[(0, &[1])]),
            "INVALID_REQUEST: A manual partition assignment was specified, but replication factor was not set to -1.",
        ),
        (
            "new",
            layout(None, None, &[(0, &[1]), (0, &[1])]),
            "INVALID_REPLICA_ASSIGNMENT: Found multiple manual partition assignments for partition 0",
        ),
        (
            "new",
            layout(None, None, &[(0, &[1]), (2, &[1])]),
            "INVALID_REPLICA_ASSIGNMENT: partitions should be a consecutive 0-based integer sequence",
        ),
        (
            "new",
            layout(None, None, &[(0, &[])]),
            "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes an empty replica list.",
        ),
        (
            "new",
            layout(None, None, &[(0, &[2])]),
            "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes broker 2, but no such broker is \
             registered.",
        ),
        (
            "new",
            layout(None, None, &[(0, &[1, 1])]),
            "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes the broker 1 more than once.",
        ),
    ];
    for (name, layout, expected) in cases {
        assert_eq!(Desk::new().create(name, layout.clone(), &[]), *expected, "{name} {layout:?}");
    }
}

#[test]
fn create_topics_judges_configs() {
    let mut desk = Desk::new();
    let plain = Layout::default_layout;
    assert_eq!(
        desk.create("c", plain(), &[("k", None), ("l", None)]),
        "INVALID_CONFIG: Null value not supported for topic configs: k,l"
    );
    assert_eq!(desk.create("c", plain(), &[("bad", Some("1"))]), "INVALID_CONFIG: bad is 1");
    assert!(desk.create("c", plain(), &[("k", Some(&"v".repeat(32_768)))]).contains("maximum value size of 32767"));
    assert_eq!(desk.create("c", plain(), &[("k", Some("v"))]), "ok 2x1");
    assert_eq!(desk.configs("c"), "k=v;");
}

#[test]
fn validate_only_answers_and_changes_nothing() {
    let mut desk = Desk::new();
    let before = desk.image.clone();
    let new = |name: &str| NewTopic { name: name.into(), layout: Layout::default_layout(), configs: vec![] };
    let command = Command::CreateTopics { topics: vec![new("fresh"), new("have")], validate_only: true };
    let Reply::TopicsCreated(results) = desk.ask(command) else { panic!() };
    assert!(results[0].1.is_ok());
    assert!(results[1].1.is_err());
    let topics = vec![NewPartitions { name: "have".into(), count: 9, manual: None }];
    assert_eq!(
        desk.ask(Command::CreatePartitions { topics, validate_only: true }),
        Reply::PartitionsCreated(vec![("have".into(), Ok(()))])
    );
    let edits = vec![("k".into(), ConfigEdit::Set("v".into()))];
    let resources = vec![ConfigChange { resource: ConfigResource::Topic("have".into()), edits }];
    desk.ask(Command::ChangeConfigs { resources, validate_only: true });
    let resources = vec![ConfigReplacement { resource: ConfigResource::Topic("have".into()), configs: Configs::new() }];
    desk.ask(Command::ReplaceConfigs { resources, validate_only: true });
    assert_eq!(desk.image, before);
}

#[test]
fn topics_of_one_request_stand_or_fall_alone() {
    let mut desk = Desk::new();
    let new = |name: &str| NewTopic { name: name.into(), layout: Layout::default_layout(), configs: vec![] };
    let topics = vec![new("one"), new("twice"), new("have"), new("twice")];
    let Reply::TopicsCreated(results) = desk.ask(Command::CreateTopics { topics, validate_only: false }) else {
        panic!()
    };
    let said: Vec<String> =
        results.iter().map(|(_, result)| result.as_ref().map_or_else(say, |_| "ok".to_owned())).collect();
    assert_eq!(
        said,
        ["ok", "INVALID_REQUEST: Duplicate topic name.", "TOPIC_ALREADY_EXISTS: Topic 'have' already exists."]
    );
    assert!(desk.image.topic("one").is_some() && desk.image.topic("twice").is_none());
}

#[test]
fn delete_topics_answers_as_kafka_does() {
    let mut desk = Desk::new();
    let id = desk.image.topic("have").unwrap().id;
    let unknown = TopicId::from_random([9; 16]);
    let name = |name: &str| TopicRef::Name(name.into());
    let mut delete = |topics: Vec<TopicRef>| -> Vec<String> {
        let Reply::TopicsDeleted(results) = desk.ask(Command::DeleteTopics { topics }) else { panic!() };
        results.iter().map(|done| done.result.as_ref().map_or_else(say, |()| "ok".to_owned())).collect()
    };
    assert_eq!(
        delete(vec![name("none"), TopicRef::Id(unknown), name("x"), name("x")]),
        ["UNKNOWN_TOPIC_OR_PARTITION: -", "UNKNOWN_TOPIC_ID: -", "INVALID_REQUEST: Duplicate topic name."]
    );
    assert_eq!(
        delete(vec![TopicRef::Id(id), name("have")]),
        ["ok", "INVALID_REQUEST: The provided topic name maps to an ID that was already supplied."]
    );
    assert_eq!(delete(vec![name("have")]), ["UNKNOWN_TOPIC_OR_PARTITION: -"]);
    assert_eq!(desk.create("have", Layout::default_layout(), &[]), "ok 2x1");
    assert_ne!(desk.image.topic("have").unwrap().id, id, "a topic made again is another topic");
    assert_eq!(desk.create("a_b", Layout::default_layout(), &[]).split(':').next(), Some("INVALID_TOPIC_EXCEPTION"));
    desk.ask(Command::DeleteTopics { topics: vec![name("a.b")] });
    assert_eq!(desk.create("a_b", Layout::default_layout(), &[]), "ok 2x1");
}

#[test]
fn create_partitions_answers_as_kafka_does() {
    let mut desk = Desk::new();
    assert_eq!(desk.widen("none", 3, None), "UNKNOWN_TOPIC_OR_PARTITION: -");
    assert_eq!(desk.widen("have", 2, None), "INVALID_PARTITIONS: Topic already has 2 partition(s).");
    assert_eq!(
        desk.widen("have", 1, None),
        "INVALID_PARTITIONS: The topic have currently has 2 partition(s); 1 would not be an increase."
    );
    assert_eq!(
        desk.widen("have", 4, Some(vec![vec![1]])),
        "INVALID_REPLICA_ASSIGNMENT: Attempted to add 2 additional partition(s), but only 1 assignment(s) were \
         specified."
    );
    assert_eq!(
        desk.widen("have", 3, Some(vec![vec![1, 2]])),
        "INVALID_REPLICA_ASSIGNMENT: The manual partition assignment includes broker 2, but no such broker is \
         registered."
    );
    let too_large = desk.widen("have", 100_000, None);
    assert!(too_large.starts_with("POLICY_VIOLATION: The request comes to 99998 new partitions, and"), "{too_large}");
    assert_eq!(desk.widen("have", 3, Some(vec![vec![1]])), "ok");
    assert_eq!(desk.widen("have", 5, None), "ok");
    assert_eq!(desk.image.topic("have").unwrap().partitions.len(), 5);
}

#[test]
fn configs_are_edited_as_kafka_edits_them() {
    let mut desk = Desk::new();
    let set = |value: &str| ConfigEdit::Set(value.into());
    let append = |value: &str| ConfigEdit::Append(value.into());
    let subtract = |value: &str| ConfigEdit::Subtract(value.into());
    assert_eq!(desk.edit("have", &[("k", set("v")), ("l", set("w"))]), "k=v;l=w;");
    assert_eq!(desk.edit("have", &[("k", ConfigEdit::Delete)]), "l=w;");
    assert_eq!(
        desk.edit("have", &[("l", append("z"))]),
        "INVALID_CONFIG: Can't APPEND to key l because its type is not LIST."
    );
    assert_eq!(desk.edit("have", &[("list", append("y,x"))]), "l=w;list=x,y;", "the default is where it starts");
    assert_eq!(desk.edit("have", &[("list", append("y,z"))]), "l=w;list=x,y,z;");
    assert_eq!(desk.edit("have", &[("list", subtract("x,q"))]), "l=w;list=y,z;");
    assert_eq!(desk.edit("have", &[("list", subtract("y,z"))]), "l=w;list=;");
    assert_eq!(desk.edit("have", &[("ok", set("1")), ("bad", set("1"))]), "INVALID_CONFIG: bad is 1");
    assert_eq!(desk.configs("have"), "l=w;list=;", "a refused resource is not changed at all");
    assert_eq!(desk.edit("none", &[("k", set("v"))]), "UNKNOWN_TOPIC_OR_PARTITION: The topic 'none' does not exist.");
}

#[test]
fn alter_configs_resets_what_it_does_not_name() {
    let mut desk = Desk::new();
    desk.edit("have", &[("k", ConfigEdit::Set("v".into())), ("l", ConfigEdit::Set("w".into()))]);
    let configs: Configs = [("l".into(), "x".into()), ("m".into(), "y".into())].into();
    let resources = vec![ConfigReplacement { resource: ConfigResource::Topic("have".into()), configs }];
    desk.ask(Command::ReplaceConfigs { resources, validate_only: false });
    assert_eq!(desk.configs("have"), "l=x;m=y;");
}

#[test]
fn brokers_are_checked_to_exist() {
    let mut desk = Desk::new();
    let edits = vec![("k".into(), ConfigEdit::Set("v".into()))];
    let change = |resource| ConfigChange { resource, edits: edits.clone() };
    let resources = vec![
        change(ConfigResource::Broker(NodeId::new(1))),
        change(ConfigResource::Broker(NodeId::new(2))),
        change(ConfigResource::DefaultBroker),
    ];
    let Reply::ConfigsChanged(results) = desk.ask(Command::ChangeConfigs { resources, validate_only: false }) else {
        panic!()
    };
    let said: Vec<String> =
        results.iter().map(|(_, result)| result.as_ref().map_or_else(say, |()| "ok".to_owned())).collect();
    assert_eq!(said, ["ok", "BROKER_ID_NOT_REGISTERED: No node with id 2 found.", "ok"]);
}

#[test]
fn unregistered_broker_leads_nothing() {
    let mut desk = Desk::new();
    desk.ask(Command::UnregisterBroker { node: NodeId::new(1) });
    assert!(desk.image.broker(NodeId::new(1)).is_none());
    assert!(desk.image.topics().flat_map(|topic| &topic.partitions).all(|partition| partition.leader.is_none()));
    assert_eq!(
        desk.create("new", Layout::default_layout(), &[]),
        "INVALID_REPLICATION_FACTOR: Unable to replicate the partition 1 time(s): All brokers are currently fenced, or \
         have all their log directories cordoned."
    );
    let Reply::ProducerIds(Err(fault)) = desk.ask(Command::AllocateProducerIds { node: NodeId::new(1) }) else {
        panic!()
    };
    assert_eq!(fault.code, ErrorCode::StaleBrokerEpoch);
}

/// A topic of another cluster with these partitions, each in epoch 4.
fn foreign(name: &str, id: u8, partitions: &[i32]) -> AdoptedTopic {
    let partition = |index: &i32| AdoptedPartition {
        index: PartitionIndex::new(*index),
        directory: DirectoryId::from_random([1; 16]),
        leader_epoch: LeaderEpoch::new(4),
    };
    AdoptedTopic {
        name: name.into(),
        id: TopicId::from_random([id; 16]),
        configs: vec![("k".into(), Some("v".into()))],
        partitions: partitions.iter().map(partition).collect(),
        producer_ids_from: Some(ProducerId::new(7001)),
    }
}

fn adopt(desk: &mut Desk, topic: AdoptedTopic, validate_only: bool) -> String {
    match desk.ask(Command::AdoptTopic { node: NodeId::new(1), topic, validate_only }) {
        Reply::Done(Ok(())) => "ok".to_owned(),
        Reply::Done(Err(fault)) => fault.message.unwrap_or_else(|| format!("{:?}", fault.code)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_adopted_topic_keeps_its_id_and_epochs_and_nobody_gets_its_producer_ids() {
    let mut desk = Desk::new();
    assert_eq!(adopt(&mut desk, foreign("from.afar", 9, &[1, 0]), true), "ok");
    assert!(desk.image.topic("from.afar").is_none(), "only validated");
    assert_eq!(adopt(&mut desk, foreign("from.afar", 9, &[1, 0]), false), "ok");
    let topic = desk.image.topic("from.afar").expect("adopted");
    assert_eq!(topic.id, TopicId::from_random([9; 16]));
    let epochs: Vec<i32> = topic.partitions.iter().map(|partition| partition.leader_epoch.value()).collect();
    assert_eq!(epochs, [4, 4]);
    assert_eq!(desk.image.topic_configs(&topic.name).map(|configs| configs.len()), Some(1));
    assert_eq!(desk.image.producer_id_next(), ProducerId::new(7001));
    // More partitions of the same topic, as another log directory has them.
    assert_eq!(adopt(&mut desk, foreign("from.afar", 9, &[2]), false), "ok");
    assert_eq!(desk.image.topic("from.afar").map(|topic| topic.partitions.len()), Some(3));
}

#[test]
fn what_clashes_is_not_adopted() {
    let mut desk = Desk::new();
    assert_eq!(adopt(&mut desk, foreign("from.afar", 9, &[0]), false), "ok");
    for (topic, why) in [
        (foreign("have", 9, &[0]), "Topic 'have' already exists with the topic id"),
        (foreign("a_b", 8, &[0]), "Topic 'a_b' collides with existing topic: a.b"),
        (foreign("other", 9, &[0]), "already belongs to topic 'from.afar'."),
        (foreign("from.afar", 9, &[0]), "Partition 0 of topic 'from.afar' already exists."),
        (foreign("new", 7, &[0, 2]), "Partition 1 of topic 'new' is missing: there is a partition 2."),
        (foreign("__cluster_metadata", 7, &[0]), "is no topic that can be adopted."),
        (foreign("no/name", 7, &[0]), "Topic name is invalid"),
    ] {
        let said = adopt(&mut desk, topic, false);
        assert!(said.contains(why), "{said}");
    }
}
