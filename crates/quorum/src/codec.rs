//! Our records to and from Kafka's bytes, and batches of them.

use std::borrow::Cow;
use std::sync::Arc;

use batch::{BatchBuilder, BatchError, BatchView, Codec};
use bytes::BytesMut;
use types::{BrokerEpoch, DirectoryId, LeaderEpoch, NodeId, PartitionIndex, ProducerId, Timestamp, TopicId};
use wire::records::{self as kafka, DecodeError, MetadataRecord, Writer};

use crate::record::{Broker, ConfigResource, Endpoint, Partition, Record};

/// The wire's "unknown", "none" and "no change".
const NONE: i32 = -1;
const NO_CHANGE: i32 = -2;

/// Kafka's numbers of config resources (`ConfigResource.Type`).
const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
const RESOURCE_CLIENT_METRICS: i8 = 16;
const RESOURCE_GROUP: i8 = 32;

/// Why bytes of the metadata log or a snapshot could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadFault {
    /// A broken batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A broken record.
    #[error(transparent)]
    Record(#[from] DecodeError),
    /// A record of a Kafka feature that is not built here: passing over it could lose what it says.
    #[error("metadata record of type {0} is not supported")]
    Unsupported(i16),
    /// A number that makes no sense.
    #[error("metadata record of type {kind}: {field} is {value}")]
    OutOfRange {
        /// The record's type.
        kind: i16,
        /// The field.
        field: &'static str,
        /// What was found.
        value: i64,
    },
    /// A record without a value.
    #[error("metadata record without a value")]
    NoValue,
    /// A compressed batch: Kafka writes none into this log.
    #[error("compressed batch in the metadata log")]
    Compressed,
}

/// One batch of records, uncompressed, not yet stamped with its offset and epoch.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn encode_batch(records: &[Record], now: Timestamp) -> BytesMut {
    let mut builder = BatchBuilder::new(Codec::None);
    for record in records {
        builder.append(now, None, Some(&encode(record)), &[]);
    }
    builder.build_unstamped()
}

/// The records of a data batch.
///
/// # Errors
/// See [`ReadFault`]; the first one ends it.
pub fn decode_batch(batch: &BatchView<'_>) -> Result<Vec<Record>, ReadFault> {
    let records = batch.records().ok_or(ReadFault::Compressed)?;
    records.map(|record| decode(record?.value.ok_or(ReadFault::NoValue)?)).collect()
}

/// The value of a record of the metadata log.
///
/// # Panics
/// If a string in it is longer than 2 GiB.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    let record = to_kafka(record);
    let mut writer = Writer::new();
    record.encode(&mut writer, record.version_max()).expect("our records fit their newest version");
    writer.into_bytes().to_vec()
}

/// Reads the value of a record of the metadata log.
///
/// # Errors
/// See [`ReadFault`].
pub fn decode(bytes: &[u8]) -> Result<Record, ReadFault> {
    let record = MetadataRecord::from_bytes(bytes)?;
    let kind = record.kind();
    let range = |field, value: i64| ReadFault::OutOfRange { kind, field, value };
    let node = |id: i32| NodeId::from_wire(id).ok_or_else(|| range("broker id", id.into()));
    let nodes = |ids: Vec<i32>| ids.into_iter().map(node).collect::<Result<Vec<_>, _>>();
    let broker_epoch = |epoch: i64| BrokerEpoch::from_wire(epoch).ok_or_else(|| range("broker epoch", epoch));
    let index = |index: i32| PartitionIndex::from_wire(index).ok_or_else(|| range("partition", index.into()));
    Ok(match record {
        MetadataRecord::RegisterBroker(it) => Record::RegisterBroker(Broker {
            node: node(it.broker_id)?,
            epoch: broker_epoch(it.broker_epoch)?,
            incarnation: it.incarnation_id.bytes(),
            endpoints: it.end_points.into_iter().map(endpoint_from).collect(),
            features: it
                .features
                .into_iter()
                .map(|feature| (text(&feature.name), feature.min_supported_version, feature.max_supported_version))
                .collect(),
            rack: it.rack.map(|rack| text(&rack)),
            fenced: it.fenced,
            in_controlled_shutdown: it.in_controlled_shutdown,
            log_dirs: directories_from(it.log_dirs),
        }),
        MetadataRecord::UnregisterBroker(it) => {
            Record::UnregisterBroker { node: node(it.broker_id)?, epoch: broker_epoch(it.broker_epoch)? }
        }
        MetadataRecord::FenceBroker(it) => fence(node(it.id)?, broker_epoch(it.epoch)?, true),
        MetadataRecord::UnfenceBroker(it) => fence(node(it.id)?, broker_epoch(it.epoch)?, false),
        MetadataRecord::BrokerRegistrationChange(it) => Record::BrokerRegistrationChange {
            node: node(it.broker_id)?,
            epoch: broker_epoch(it.broker_epoch)?,
            fenced: match it.fenced {
                0 => None,
                fenced => Some(0 < fenced),
            },
            in_controlled_shutdown: 0 < it.in_controlled_shutdown,
            log_dirs: (!it.log_dirs.is_empty()).then(|| directories_from(it.log_dirs)),
        },
        MetadataRecord::Topic(it) => Record::Topic { name: text(&it.name), id: it.topic_id },
        MetadataRecord::Partition(it) => Record::Partition {
            topic: it.topic_id,
            partition: Partition {
                index: index(it.partition_id)?,
                directories: directories_from(it.directories),
                replicas: nodes(it.replicas)?,
                isr: nodes(it.isr)?,
                removing: nodes(it.removing_replicas)?,
                adding: nodes(it.adding_replicas)?,
                leader: NodeId::from_wire(it.leader),
                leader_epoch: LeaderEpoch::from_wire(it.leader_epoch)
                    .ok_or_else(|| range("leader epoch", it.leader_epoch.into()))?,
                partition_epoch: it.partition_epoch,
            },
        },
        MetadataRecord::PartitionChange(it) => Record::PartitionChange {
            topic: it.topic_id,
            index: index(it.partition_id)?,
            isr: it.isr.map(nodes).transpose()?,
            leader: (it.leader != NO_CHANGE).then(|| NodeId::from_wire(it.leader)),
            replicas: it.replicas.map(nodes).transpose()?,
            directories: it.directories.map(directories_from),
            removing: it.removing_replicas.map(nodes).transpose()?,
            adding: it.adding_replicas.map(nodes).transpose()?,
        },
        MetadataRecord::RemoveTopic(it) => Record::RemoveTopic { id: it.topic_id },
        MetadataRecord::Config(it) => Record::Config {
            resource: resource_from(it.resource_type, &it.resource_name)
                .ok_or_else(|| range("resource type", it.resource_type.into()))?,
            name: text(&it.name),
            value: it.value.map(|value| text(&value)),
        },
        MetadataRecord::ProducerIds(it) => Record::ProducerIds {
            node: NodeId::from_wire(it.broker_id).unwrap_or_default(),
            broker_epoch: BrokerEpoch::from_wire(it.broker_epoch),
            next: ProducerId::from_wire(it.next_producer_id)
                .ok_or_else(|| range("next producer id", it.next_producer_id))?,
        },
        MetadataRecord::FeatureLevel(it) => Record::FeatureLevel { name: text(&it.name), level: it.feature_level },
        // There is no elr here to clear, and controllers are not kept.
        MetadataRecord::NoOp(_) | MetadataRecord::ClearElr(_) | MetadataRecord::RegisterController(_) => Record::NoOp,
        other => return Err(ReadFault::Unsupported(other.kind())),
    })
}

fn to_kafka(record: &Record) -> MetadataRecord<'_> {
    match record {
        Record::RegisterBroker(broker) => kafka::register_broker_record::RegisterBrokerRecord {
            broker_id: broker.node.value(),
            incarnation_id: TopicId::from_bytes(broker.incarnation),
            broker_epoch: broker.epoch.value(),
            end_points: broker.endpoints.iter().map(endpoint_to).collect(),
            features: broker
                .features
                .iter()
                .map(|(name, min, max)| kafka::register_broker_record::BrokerFeature {
                    name: Cow::Borrowed(name),
                    min_supported_version: *min,
                    max_supported_version: *max,
                    ..Default::default()
                })
                .collect(),
            rack: broker.rack.as_deref().map(Cow::Borrowed),
            fenced: broker.fenced,
            in_controlled_shutdown: broker.in_controlled_shutdown,
            log_dirs: directories_to(&broker.log_dirs),
            ..Default::default()
        }
        .into(),
        Record::UnregisterBroker { node, epoch } => kafka::unregister_broker_record::UnregisterBrokerRecord {
            broker_id: node.value(),
            broker_epoch: epoch.value(),
            ..Default::default()
        }
        .into(),
        Record::BrokerRegistrationChange { node, epoch, fenced, in_controlled_shutdown, log_dirs } => {
            kafka::broker_registration_change_record::BrokerRegistrationChangeRecord {
                broker_id: node.value(),
                broker_epoch: epoch.value(),
                fenced: fenced.map_or(0, |fenced| if fenced { 1 } else { -1 }),
                in_controlled_shutdown: i8::from(*in_controlled_shutdown),
                log_dirs: directories_to(log_dirs.as_deref().unwrap_or_default()),
                ..Default::default()
            }
            .into()
        }
        Record::Topic { name, id } => {
            kafka::topic_record::TopicRecord { name: Cow::Borrowed(name), topic_id: *id, ..Default::default() }.into()
        }
        Record::Partition { topic, partition } => kafka::partition_record::PartitionRecord {
            partition_id: partition.index.value(),
            topic_id: *topic,
            replicas: ids(&partition.replicas),
            isr: ids(&partition.isr),
            removing_replicas: ids(&partition.removing),
            adding_replicas: ids(&partition.adding),
            leader: partition.leader.map_or(NONE, NodeId::value),
            leader_epoch: partition.leader_epoch.value(),
            partition_epoch: partition.partition_epoch,
            directories: directories_to(&partition.directories),
            ..Default::default()
        }
        .into(),
        Record::PartitionChange { topic, index, isr, leader, replicas, directories, removing, adding } => {
            kafka::partition_change_record::PartitionChangeRecord {
                partition_id: index.value(),
                topic_id: *topic,
                isr: isr.as_deref().map(ids),
                leader: leader.map_or(NO_CHANGE, |leader| leader.map_or(NONE, NodeId::value)),
                replicas: replicas.as_deref().map(ids),
                removing_replicas: removing.as_deref().map(ids),
                adding_replicas: adding.as_deref().map(ids),
                directories: directories.as_deref().map(directories_to),
                ..Default::default()
            }
            .into()
        }
        Record::RemoveTopic { id } => {
            kafka::remove_topic_record::RemoveTopicRecord { topic_id: *id, ..Default::default() }.into()
        }
        Record::Config { resource, name, value } => {
            let (resource_type, resource_name) = resource_to(resource);
            kafka::config_record::ConfigRecord {
                resource_type,
                resource_name,
                name: Cow::Borrowed(name),
                value: value.as_deref().map(Cow::Borrowed),
                ..Default::default()
            }
            .into()
        }
        Record::ProducerIds { node, broker_epoch, next } => kafka::producer_ids_record::ProducerIdsRecord {
            broker_id: node.value(),
            broker_epoch: broker_epoch.map_or(i64::from(NONE), BrokerEpoch::value),
            next_producer_id: next.value(),
            ..Default::default()
        }
        .into(),
        Record::FeatureLevel { name, level } => kafka::feature_level_record::FeatureLevelRecord {
            name: Cow::Borrowed(name),
            feature_level: *level,
            ..Default::default()
        }
        .into(),
        Record::NoOp => kafka::no_op_record::NoOpRecord::default().into(),
    }
}

/// A resource by Kafka's type number and name; `None` for a type that holds no configs, or a broker without a number.
#[must_use]
pub fn resource_from(kind: i8, name: &str) -> Option<ConfigResource> {
    match kind {
        RESOURCE_TOPIC => Some(ConfigResource::Topic(name.into())),
        RESOURCE_BROKER if name.is_empty() => Some(ConfigResource::DefaultBroker),
        RESOURCE_BROKER => Some(ConfigResource::Broker(NodeId::from_wire(name.parse().ok()?)?)),
        RESOURCE_CLIENT_METRICS => Some(ConfigResource::ClientMetrics(name.into())),
        RESOURCE_GROUP => Some(ConfigResource::Group(name.into())),
        _ => None,
    }
}

/// A resource as Kafka numbers and names it.
#[must_use]
pub fn resource_to(resource: &ConfigResource) -> (i8, Cow<'_, str>) {
    match resource {
        ConfigResource::Topic(name) => (RESOURCE_TOPIC, Cow::Borrowed(name)),
        ConfigResource::Broker(node) => (RESOURCE_BROKER, Cow::Owned(node.to_string())),
        ConfigResource::DefaultBroker => (RESOURCE_BROKER, Cow::Borrowed("")),
        ConfigResource::ClientMetrics(name) => (RESOURCE_CLIENT_METRICS, Cow::Borrowed(name)),
        ConfigResource::Group(name) => (RESOURCE_GROUP, Cow::Borrowed(name)),
    }
}

const fn fence(node: NodeId, epoch: BrokerEpoch, fenced: bool) -> Record {
    Record::BrokerRegistrationChange {
        node,
        epoch,
        fenced: Some(fenced),
        in_controlled_shutdown: false,
        log_dirs: None,
    }
}

fn endpoint_from(it: kafka::register_broker_record::BrokerEndpoint<'_>) -> Endpoint {
    Endpoint { listener: text(&it.name), host: text(&it.host), port: it.port, security_protocol: it.security_protocol }
}

fn endpoint_to(it: &Endpoint) -> kafka::register_broker_record::BrokerEndpoint<'_> {
    kafka::register_broker_record::BrokerEndpoint {
        name: Cow::Borrowed(&it.listener),
        host: Cow::Borrowed(&it.host),
        port: it.port,
        security_protocol: it.security_protocol,
        ..Default::default()
    }
}

fn text(text: &str) -> Arc<str> {
    text.into()
}

fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.value()).collect()
}

fn directories_from(directories: Vec<TopicId>) -> Vec<DirectoryId> {
    directories.into_iter().map(|directory| DirectoryId::from_bytes(directory.bytes())).collect()
}

fn directories_to(directories: &[DirectoryId]) -> Vec<TopicId> {
    directories.iter().map(|directory| TopicId::from_bytes(directory.bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let node = NodeId::new(7);
        let topic = TopicId::from_random([3; 16]);
        let directory = DirectoryId::from_random([9; 16]);
        let index = PartitionIndex::new(2);
        let no_change = Record::PartitionChange {
            topic,
            index,
            isr: None,
            leader: None,
            replicas: None,
            directories: None,
            removing: None,
            adding: None,
        };
        let everything = Record::PartitionChange {
            topic,
            index,
            isr: Some(vec![node]),
            leader: Some(None),
            replicas: Some(vec![node, NodeId::new(8)]),
            directories: Some(vec![directory, DirectoryId::UNASSIGNED]),
            removing: Some(vec![]),
            adding: Some(vec![NodeId::new(8)]),
        };
        let config = |resource, value: Option<&str>| Record::Config {
            resource,
            name: "retention.ms".into(),
            value: value.map(Into::into),
        };
        vec![
            Record::FeatureLevel { name: "metadata.version".into(), level: 30 },
            Record::RegisterBroker(Broker {
                node,
                epoch: BrokerEpoch::new(5),
                incarnation: [1; 16],
                endpoints: vec![Endpoint {
                    listener: "PLAINTEXT".into(),
                    host: "localhost".into(),
                    port: 65535,
                    security_protocol: 0,
                }],
                features: vec![("metadata.version".into(), 7, 30)],
                rack: None,
                fenced: false,
                in_controlled_shutdown: true,
                log_dirs: vec![directory],
            }),
            Record::BrokerRegistrationChange {
                node,
                epoch: BrokerEpoch::new(5),
                fenced: Some(true),
                in_controlled_shutdown: false,
                log_dirs: Some(vec![directory]),
            },
            fence(node, BrokerEpoch::new(5), false),
            Record::Topic { name: "orders".into(), id: topic },
            Record::Partition {
                topic,
                partition: Partition {
                    index,
                    replicas: vec![node],
                    directories: vec![directory],
                    isr: vec![node],
                    removing: vec![],
                    adding: vec![],
                    leader: None,
                    leader_epoch: LeaderEpoch::new(4),
                    partition_epoch: 6,
                },
            },
            no_change,
            everything,
            config(ConfigResource::Topic("orders".into()), Some("1")),
            config(ConfigResource::Broker(node), None),
            config(ConfigResource::DefaultBroker, Some("")),
            config(ConfigResource::Group("g".into()), Some("x")),
            config(ConfigResource::ClientMetrics("m".into()), Some("x")),
            Record::ProducerIds { node, broker_epoch: None, next: ProducerId::new(2000) },
            Record::RemoveTopic { id: topic },
            Record::UnregisterBroker { node, epoch: BrokerEpoch::new(5) },
            Record::NoOp,
        ]
    }

    #[test]
    fn every_record_survives_its_bytes() {
        let records = records();
        let batch = encode_batch(&records, Timestamp::from_millis(1));
        assert_eq!(decode_batch(&batch::check(&batch).unwrap()).unwrap(), records);
    }

    /// Kafka 4.3.1's `MetadataRecordSerde` reads each of these and writes the same bytes back.
    #[test]
    fn bytes_on_disk_do_not_change() {
        let lines: String = records()
            .iter()
            .map(|record| encode(record).iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
            .collect();
        expect_test::expect![[r#"
            010c00116d657461646174612e76657273696f6e001e00
            0100040000000700010101010101010101010101010101010000000000000005020a504c41494e544558540a6c6f63616c686f7374ffff00000002116d657461646174612e76657273696f6e0007001e000000010100110209090909090949098909090909090909
            0111030000000700000000000000050200010102110209090909090949098909090909090909
            011103000000070000000000000005010001ff
            010200076f72646572730303030303034303830303030303030300
            0103020000000203030303030343038303030303030303020000000702000000070101ffffffff0000000400000006020909090909094909890909090909090900
            010502000000020303030303034303830303030303030300
            010502000000020303030303034303830303030303030306000502000000070104ffffffff0209030000000700000008030101040502000000080821030909090909094909890909090909090900000000000000000000000000000000
            01040002076f72646572730d726574656e74696f6e2e6d73023100
            0104000402370d726574656e74696f6e2e6d730000
            01040004010d726574656e74696f6e2e6d730100
            0104002002670d726574656e74696f6e2e6d73027800
            01040010026d0d726574656e74696f6e2e6d73027800
            010f0000000007ffffffffffffffff00000000000007d000
            0109000303030303034303830303030303030300
            01010000000007000000000000000500
            01140000
        "#]].assert_eq(&lines);
    }

    #[test]
    fn broken_record_is_a_fault_not_a_panic() {
        for record in records() {
            let bytes = encode(&record);
            for cut in 0..bytes.len() {
                assert!(decode(&bytes[..cut]).is_err(), "{record:?} cut at {cut}");
            }
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut flipped = bytes.clone();
                    flipped[at] ^= 1 << bit;
                    let _ = decode(&flipped);
                }
            }
        }
    }
}
