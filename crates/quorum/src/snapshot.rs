//! Snapshots of the image, in Kafka's form: a file of batches in the metadata log's folder.
//!
//! ```text
//! 00000000000000000123-0000000004.checkpoint          records below offset 123, the last of them of epoch 4
//!   control batch: SnapshotHeader | data batches: the image as records, in an order that replays | control batch: SnapshotFooter
//! ```
//!
//! Offsets within the file count from 0; batches carry the epoch of the name. The footer says that the file is whole.

use std::sync::Arc;

use batch::control::{self, ControlType};
use batch::{BatchError, BatchView};
use bytes::{Bytes, BytesMut};
use types::limits::METADATA_BATCH_RECORDS_MAX;
use types::{LeaderEpoch, NodeId, Offset, Timestamp};

use crate::codec::{self, ReadFault};
use crate::image::{ApplyFault, LogPosition, MetadataDelta, MetadataImage};
use crate::record::Record;

/// How snapshot files end.
const SUFFIX: &str = ".checkpoint";

/// Why a snapshot cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotFault {
    /// A broken batch or record.
    #[error("snapshot: {0}")]
    Read(#[from] ReadFault),
    /// Records that do not fit together.
    #[error("snapshot: {0}")]
    Apply(#[from] ApplyFault),
    /// It must begin with a header and end with a footer.
    #[error("snapshot: {0}")]
    NotWhole(&'static str),
}

impl From<BatchError> for SnapshotFault {
    fn from(fault: BatchError) -> Self {
        Self::Read(fault.into())
    }
}

/// The name of the snapshot that ends at `position`.
#[must_use]
pub fn file_name(position: LogPosition) -> String {
    format!("{:020}-{:010}{SUFFIX}", position.end.value(), position.epoch.value())
}

/// Reads a snapshot's name; `None` for other files.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<LogPosition> {
    let (end, epoch) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    if end.len() != 20 || epoch.len() != 10 || !end.bytes().chain(epoch.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let end = Offset::from_wire(end.parse().ok()?)?;
    Some(LogPosition { end, epoch: LeaderEpoch::from_wire(epoch.parse().ok()?)? })
}

/// The content of the snapshot of `image`, which must be committed; `last_contained` is the time of its last record.
#[must_use]
pub fn write(image: &MetadataImage, last_contained: Timestamp) -> Bytes {
    let epoch = image.position().epoch;
    let mut file = BytesMut::new();
    let mut offset = Offset::ZERO;
    let header = control::snapshot_header(last_contained);
    file.extend_from_slice(&control::batch(ControlType::SnapshotHeader, &header, last_contained, offset, epoch));
    offset = offset.plus(1);
    let records: Vec<Record> = records(image).collect();
    for chunk in records.chunks(METADATA_BATCH_RECORDS_MAX) {
        let mut batch = codec::encode_batch(chunk, last_contained);
        batch::stamp(&mut batch, offset, epoch);
        file.extend_from_slice(&batch);
        offset = offset.plus(chunk.len() as i64);
    }
    let footer = control::snapshot_footer();
    file.extend_from_slice(&control::batch(ControlType::SnapshotFooter, &footer, last_contained, offset, epoch));
    file.freeze()
}

/// The image that a snapshot holds. `position` comes from its name.
///
/// # Errors
/// See [`SnapshotFault`]: damage anywhere in the file refuses all of it.
pub fn read(
    cluster_id: impl Into<Arc<str>>,
    position: LogPosition,
    mut file: &[u8],
) -> Result<MetadataImage, SnapshotFault> {
    let empty = MetadataImage::empty(cluster_id);
    let mut delta = MetadataDelta::new(&empty);
    let mut last = None;
    while !file.is_empty() {
        let bytes = BatchView::peek_size(file)?.unwrap_or(usize::MAX);
        let batch = batch::check(file.get(..bytes).ok_or(SnapshotFault::NotWhole("its last batch is cut"))?)?;
        file = &file[bytes..];
        match (last, control_type(&batch)?) {
            (None, Some(ControlType::SnapshotHeader)) => last = Some(ControlType::SnapshotHeader),
            (None, _) => return Err(SnapshotFault::NotWhole("it does not begin with a header")),
            (Some(ControlType::SnapshotFooter), _) => {
                return Err(SnapshotFault::NotWhole("it goes on after its footer"));
            }
            (Some(_), Some(control)) => last = Some(control),
            (Some(_), None) => {
                for record in codec::decode_batch(&batch)? {
                    delta.replay(&record)?;
                }
            }
        }
    }
    if last != Some(ControlType::SnapshotFooter) {
        return Err(SnapshotFault::NotWhole("it has no footer"));
    }
    Ok(delta.finish(position).0)
}

fn control_type(batch: &BatchView<'_>) -> Result<Option<ControlType>, SnapshotFault> {
    if !batch.attributes().control {
        return Ok(None);
    }
    let (control, _) = control::read(batch)?;
    // A control record of a later Kafka is passed over like the ones we have no use for.
    Ok(Some(control.unwrap_or(ControlType::KraftVersion)))
}

/// The image as records: features first (they say how to read the rest), then brokers, topics, configs, producer ids.
pub fn records(image: &MetadataImage) -> impl Iterator<Item = Record> {
    let features =
        image.features().iter().map(|(name, level)| Record::FeatureLevel { name: Arc::clone(name), level: *level });
    let brokers = image.brokers().map(|broker| Record::RegisterBroker((**broker).clone()));
    let topics = image.topics().flat_map(|topic| {
        let created = Record::Topic { name: Arc::clone(&topic.name), id: topic.id };
        let partitions = topic
            .partitions
            .iter()
            .map(|partition| Record::Partition { topic: topic.id, partition: (**partition).clone() });
        std::iter::once(created).chain(partitions)
    });
    let configs = image.config_resources().flat_map(|(resource, configs)| {
        configs.iter().map(|(name, value)| Record::Config {
            resource: resource.clone(),
            name: Arc::clone(name),
            value: Some(Arc::clone(value)),
        })
    });
    let next = image.producer_id_next();
    let producer_ids =
        (0 < next.value()).then_some(Record::ProducerIds { node: NodeId::ZERO, broker_epoch: None, next });
    features.chain(brokers).chain(topics).chain(configs).chain(producer_ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ConfigResource;

    fn image() -> MetadataImage {
        let image = MetadataImage::empty("cluster");
        let topic = types::TopicId::from_random([1; 16]);
        let node = NodeId::new(1);
        let partition = |index| crate::record::Partition {
            index: types::PartitionIndex::new(index),
            replicas: vec![node],
            directories: vec![types::DirectoryId::from_random([2; 16])],
            isr: vec![node],
            removing: vec![],
            adding: vec![],
            leader: Some(node),
            leader_epoch: LeaderEpoch::new(7),
            partition_epoch: 9,
        };
        let mut records = vec![
            Record::FeatureLevel { name: "metadata.version".into(), level: 30 },
            Record::Topic { name: "a.b".into(), id: topic },
            Record::Config {
                resource: ConfigResource::Topic("a.b".into()),
                name: "retention.ms".into(),
                value: Some("5".into()),
            },
            Record::ProducerIds { node, broker_epoch: None, next: types::ProducerId::new(3000) },
        ];
        records.extend((0..2500).map(|index| Record::Partition { topic, partition: partition(index) }));
        let position = LogPosition { end: Offset::new(2600), epoch: LeaderEpoch::new(4) };
        image.apply(&records, position).unwrap().0
    }

    #[test]
    fn names_are_kafkas() {
        let position = LogPosition { end: Offset::new(123), epoch: LeaderEpoch::new(4) };
        assert_eq!(file_name(position), "00000000000000000123-0000000004.checkpoint");
        assert_eq!(parse_file_name(&file_name(position)), Some(position));
        for other in ["00000000000000000123.log", "123-4.checkpoint", "00000000000000000123-0000000004.checkpoint.part"]
        {
            assert_eq!(parse_file_name(other), None, "{other}");
        }
    }

    #[test]
    fn image_survives_its_snapshot() {
        let image = image();
        let file = write(&image, Timestamp::from_millis(5));
        assert_eq!(read("cluster", image.position(), &file).unwrap(), image);
    }

    #[test]
    fn damaged_snapshot_is_refused() {
        let image = image();
        let file = write(&image, Timestamp::from_millis(5));
        for cut in (0..file.len()).step_by(997).chain(file.len() - 80..file.len()) {
            assert!(read("cluster", image.position(), &file[..cut]).is_err(), "cut at {cut}");
        }
        for at in (0..file.len()).step_by(983) {
            let mut flipped = file.to_vec();
            flipped[at] ^= 0x10;
            // Base offset and epoch of a batch lie outside its checksum, and nothing is read from them.
            if let Ok(read) = read("cluster", image.position(), &flipped) {
                assert_eq!(read, image);
            }
        }
    }
}
