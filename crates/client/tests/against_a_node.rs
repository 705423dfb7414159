//! The client against a running node, Ringlog or any other Kafka broker: set TEST_BOOTSTRAP to its `host:port`.
//! Without it every test here is skipped. Topics and groups are named after the process, so runs do not meet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use batch::Codec;
use bytes::Bytes;
use client::{
    Acks, Admin, Client, ClientConfig, ClientError, ConfigChange, ConfigResource, Consumer, ConsumerConfig,
    GroupConfig, NewTopic, OffsetAt, Partitioner, Producer, ProducerConfig, Record, StartOffset,
};
use types::{ErrorCode, Offset, PartitionIndex, Timestamp, TopicPartition};

/// Ends the test early, with a word, where there is no node.
macro_rules! node {
    () => {
        match std::env::var("TEST_BOOTSTRAP") {
            Ok(bootstrap) => Client::connect(ClientConfig::new(&bootstrap)).await.unwrap(),
            Err(_) => {
                println!("skipped: TEST_BOOTSTRAP is not set");
                return;
            }
        }
    };
}

fn unique(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    format!("{what}-{now}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

async fn topic(client: &Client, what: &str, partitions: i32) -> String {
    let name = unique(what);
    let new = NewTopic {
        name: name.clone(),
        partitions: Some(partitions),
        replication_factor: Some(1),
        ..Default::default()
    };
    Admin::new(client.clone()).create_topic(&new, false).await.unwrap();
    name
}

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, PartitionIndex::new(partition))
}

async fn read_all(client: &Client, topic: &str, partitions: i32, count: usize) -> Vec<client::Consumed> {
    let places = (0..partitions).map(|partition| (at(topic, partition), StartOffset::Earliest));
    let mut consumer = Consumer::assign(client.clone(), ConsumerConfig::default(), places);
    let mut records = Vec::new();
    for _ in 0..50 {
        records.extend(consumer.poll(Duration::from_millis(500)).await.unwrap());
        if count <= records.len() {
            break;
        }
    }
    records
}

#[tokio::test]
async fn a_topic_lives_from_create_to_delete() {
    let client = node!();
    let admin = Admin::new(client.clone());
    let name = unique("life");
    let configs = BTreeMap::from([("retention.ms".to_owned(), "60000".to_owned())]);
    let new = NewTopic {
        name: name.clone(),
        partitions: Some(2),
        replication_factor: Some(1),
        configs,
        ..Default::default()
    };
    admin.create_topic(&new, true).await.unwrap();
    assert!(
        !client.topics().await.unwrap().iter().any(|topic| topic.name.as_ref() == name),
        "validate_only creates nothing"
    );
    let id = admin.create_topic(&new, false).await.unwrap().id;
    let error = admin.create_topic(&new, false).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::TopicAlreadyExists), "{error}");
    let topic = client.retry(|| client.topic_now(&name, false)).await.unwrap();
    assert_eq!((topic.partitions.len(), topic.id), (2, id));
    admin.create_partitions(&name, 3, false).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(client.topic_now(&name, false).await.unwrap().partitions.len(), 3);

    let resource = ConfigResource::topic(&name);
    let entry = async |key: &str| {
        let entries = admin.describe_configs(&resource, false).await.unwrap();
        entries.into_iter().find(|entry| entry.name == key).unwrap()
    };
    let retention = entry("retention.ms").await;
    assert_eq!((retention.value.as_deref(), retention.is_set), (Some("60000"), true));
    let changes =
        [ConfigChange::Set("cleanup.policy".into(), "compact".into()), ConfigChange::Delete("retention.ms".into())];
    admin.change_configs(&resource, &changes, false).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(entry("cleanup.policy").await.value.as_deref(), Some("compact"));
    assert!(!entry("retention.ms").await.is_set);

    admin.delete_topic(&name).await.unwrap();
    let error = admin.delete_topic(&name).await;
    assert!(error.is_err());
}

#[tokio::test]
async fn records_come_back_as_they_were_sent_with_every_codec_and_ack() {
    let client = node!();
    for codec in Codec::ALL {
        for acks in [Acks::All, Acks::Leader, Acks::None] {
            let name = topic(&client, "codec", 1).await;
            let config =
                ProducerConfig { codec, acks, idempotent: acks == Acks::All, batch_bytes: 2000, ..Default::default() };
            let producer = Producer::new(client.clone(), config).unwrap();
            let mut deliveries = Vec::new();
            for number in 0..100_u32 {
                let record = Record {
                    topic: name.as_str().into(),
                    partition: Some(PartitionIndex::ZERO),
                    key: (number % 3 != 0).then(|| Bytes::from(format!("key {number}"))),
                    value: (number % 5 != 0).then(|| Bytes::from(format!("value {number} ").repeat(10))),
                    headers: vec![("h".to_owned(), (number % 2 == 0).then(|| Bytes::from_static(b"1")))],
                    timestamp: Some(Timestamp::from_millis(wall_ms() + i64::from(number))),
                };
                deliveries.push((record.clone(), producer.send(record).await.unwrap()));
            }
            producer.flush().await;
            for (number, (_, delivery)) in deliveries.iter().enumerate() {
                let delivered = delivery.wait().await.unwrap();
                let expected = (acks != Acks::None).then(|| Offset::new(number as i64));
                assert_eq!(delivered.offset, expected, "{codec:?} {acks:?}");
            }
            let read = read_all(&client, &name, 1, 100).await;
            assert_eq!(read.len(), 100, "{codec:?} {acks:?}");
            for ((sent, _), read) in deliveries.iter().zip(&read) {
                assert_eq!((&sent.key, &sent.value, &sent.headers), (&read.key, &read.value, &read.headers));
                assert_eq!(sent.timestamp, Some(read.timestamp));
            }
        }
    }
}

fn wall_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

#[tokio::test]
async fn order_holds_per_partition_with_five_requests_in_flight() {
    let client = node!();
    let name = topic(&client, "order", 3).await;
    let config = ProducerConfig {
        batch_bytes: 300,
        linger: Duration::ZERO,
        partitioner: Partitioner::RoundRobin,
        ..Default::default()
    };
    let producer = Producer::new(client.clone(), config).unwrap();
    let topic: Arc<str> = name.as_str().into();
    for number in 0..3000_u32 {
        let value = Some(Bytes::copy_from_slice(&number.to_be_bytes()));
        producer.send(Record { topic: Arc::clone(&topic), value, ..Default::default() }).await.unwrap();
    }
    producer.flush().await;
    let read = read_all(&client, &name, 3, 3000).await;
    assert_eq!(read.len(), 3000);
    let mut last: BTreeMap<PartitionIndex, Vec<u8>> = BTreeMap::new();
    for record in read {
        let value = record.value.unwrap().to_vec();
        if let Some(before) = last.insert(record.at.partition, value.clone()) {
            assert!(before < value, "{} at offset {}: {value:?} after {before:?}", record.at, record.offset);
        }
    }
}

#[tokio::test]
async fn offsets_are_found_by_place_and_time_and_records_are_deleted() {
    let client = node!();
    let admin = Admin::new(client.clone());
    let name = topic(&client, "offsets", 1).await;
    let producer = Producer::new(client.clone(), ProducerConfig { batch_bytes: 1, ..Default::default() }).unwrap();
    let base = wall_ms() - 100_000;
    for number in 0..10 {
        let timestamp = Some(Timestamp::from_millis(base + 1000 * number));
        let value = Some(Bytes::from_static(b"v"));
        let record = Record { topic: name.as_str().into(), value, timestamp, ..Default::default() };
        producer.send(record).await.unwrap().wait().await.unwrap();
    }
    let place = [at(&name, 0)];
    let found =
        async |at| admin.list_offsets(&place, at).await.unwrap().get(&place[0]).map(|found| found.offset.value());
    assert_eq!(found(OffsetAt::Earliest).await, Some(0));
    assert_eq!(found(OffsetAt::Latest).await, Some(10));
    assert_eq!(found(OffsetAt::Time(Timestamp::from_millis(base + 2500))).await, Some(3));
    assert_eq!(found(OffsetAt::Time(Timestamp::from_millis(base + 999_999))).await, None);
    assert_eq!(found(OffsetAt::MaxTimestamp).await, Some(9));
    let before = BTreeMap::from([(place[0].clone(), Some(Offset::new(4)))]);
    assert_eq!(admin.delete_records(&before).await.unwrap(), BTreeMap::from([(place[0].clone(), Offset::new(4))]));
    assert_eq!(found(OffsetAt::Earliest).await, Some(4));

    // Reading from before the start goes on where the start says; a fixed place is an error.
    let config = ConsumerConfig { start: StartOffset::Earliest, ..Default::default() };
    let mut consumer = Consumer::assign(client.clone(), config, [(place[0].clone(), StartOffset::At(Offset::ZERO))]);
    let mut read = Vec::new();
    while read.len() < 6 {
        read.extend(consumer.poll(Duration::from_secs(5)).await.unwrap());
    }
    assert_eq!(read[0].offset, Offset::new(4));
    let mut consumer = Consumer::assign(client, ConsumerConfig::default(), [(place[0].clone(), StartOffset::Back(2))]);
    assert_eq!(consumer.poll(Duration::from_secs(5)).await.unwrap()[0].offset, Offset::new(8));
}

#[tokio::test]
async fn a_group_shares_partitions_commits_and_goes_on_where_it_was() {
    let client = node!();
    let admin = Admin::new(client.clone());
    let name = topic(&client, "group", 4).await;
    let group = unique("members");
    let config = ConsumerConfig {
        start: StartOffset::Earliest,
        group: Some(GroupConfig {
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_millis(200),
            ..GroupConfig::new(&group)
        }),
        auto_commit: None,
        ..Default::default()
    };
    let producer =
        Producer::new(client.clone(), ProducerConfig { partitioner: Partitioner::RoundRobin, ..Default::default() })
            .unwrap();
    let send = async |count: usize| {
        for _ in 0..count {
            let value = Some(Bytes::from_static(b"v"));
            producer.send(Record { topic: name.as_str().into(), value, ..Default::default() }).await.unwrap();
        }
        producer.flush().await;
    };
    send(40).await;
    let mut first = Consumer::subscribe(client.clone(), config.clone(), &[&name]).unwrap();
    let mut read = 0;
    while read < 40 {
        read += first.poll(Duration::from_secs(5)).await.unwrap().len();
    }
    assert_eq!(read, 40);
    first.commit().await.unwrap();
    let committed = admin.group_offsets(&group, None).await.unwrap();
    assert_eq!(committed.values().map(|committed| committed.offset.value()).sum::<i64>(), 40);

    // A second member takes half.
    let mut second = Consumer::subscribe(client.clone(), config.clone(), &[&name]).unwrap();
    for _ in 0..100 {
        let (a, b) = tokio::join!(first.poll(Duration::from_millis(100)), second.poll(Duration::from_millis(100)));
        assert_eq!(a.unwrap().len() + b.unwrap().len(), 0, "what was committed is not read again");
        if first.positions().count() == 2 && second.positions().count() == 2 {
            break;
        }
    }
    assert_eq!((first.positions().count(), second.positions().count()), (2, 2));
    let mut described = admin.describe_groups(std::slice::from_ref(&group)).await.unwrap();
    let described = described.remove(&group).unwrap().unwrap();
    assert_eq!(
        (described.state.as_str(), described.protocol.as_str(), described.members.len()),
        ("Stable", "range", 2)
    );
    assert_eq!(described.members.iter().map(|member| member.assignment.len()).sum::<usize>(), 4);
    assert!(admin.list_groups().await.unwrap().iter().any(|listed| listed.id == group));
    let error = admin.delete_group(&group).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::NonEmptyGroup), "{error}");

    // One leaves: the other takes all.
    second.close().await.unwrap();
    for _ in 0..100 {
        first.poll(Duration::from_millis(100)).await.unwrap();
        if first.positions().count() == 4 {
            break;
        }
    }
    assert_eq!(first.positions().count(), 4);
    first.close().await.unwrap();

    let moved = BTreeMap::from([(at(&name, 1), Offset::new(3))]);
    admin.set_group_offsets(&group, &moved).await.unwrap();
    assert_eq!(admin.group_offsets(&group, Some(&[at(&name, 1)])).await.unwrap()[&at(&name, 1)].offset, Offset::new(3));
    admin.delete_group_offsets(&group, &[at(&name, 1)]).await.unwrap();
    assert!(!admin.group_offsets(&group, None).await.unwrap().contains_key(&at(&name, 1)));
    admin.delete_group(&group).await.unwrap();
}

#[tokio::test]
async fn mistakes_are_named() {
    let client = node!();
    let error = client.topic_now(&unique("missing"), false).await;
    let missing = |error: &ClientError| error.code() == Some(ErrorCode::UnknownTopicOrPartition);
    assert!(error.as_ref().is_err_and(missing), "{error:?}");
    assert!(error.unwrap_err().next_step().is_some());
    let name = topic(&client, "mistakes", 1).await;
    let config = ProducerConfig { batch_bytes: 4_000_000, ..Default::default() };
    let producer = Producer::new(client.clone(), config).unwrap();
    let value = Some(Bytes::from(vec![7; 3_000_000]));
    let record = Record { topic: name.as_str().into(), value, ..Default::default() };
    let error = producer.send(record.clone()).await.unwrap().wait().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge), "{error}");
    // The sequence that was lost does not hold up what follows.
    let small = Record { value: Some(Bytes::from_static(b"v")), ..record.clone() };
    assert_eq!(producer.send(small).await.unwrap().wait().await.unwrap().offset, Some(Offset::ZERO));
    let error = producer.send(Record { partition: Some(PartitionIndex::new(1)), ..record }).await.unwrap_err();
    assert!(matches!(error, ClientError::Usage(_)), "{error}");
}

#[tokio::test]
async fn the_cluster_describes_itself() {
    let client = node!();
    let cluster = client.cluster().await.unwrap();
    assert!(!cluster.nodes.is_empty() && cluster.id.is_some());
    let dirs = Admin::new(client).log_dirs(cluster.nodes[0].id).await.unwrap();
    assert!(!dirs.is_empty());
}
