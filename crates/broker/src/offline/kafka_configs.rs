//! Topic configs of the Kafka that folders come from. No partition's folder has them: they are in its metadata log,
//! `__cluster_metadata-0`, in its first log directory (or its `metadata.log.dir`).
//!
//! ```text
//!  newest <offset>-<epoch>.checkpoint ─► the batches of *.log that end behind it ─► name and value by topic
//! ```
//! What a stopped node has in its metadata log is taken as committed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use batch::BatchView;
use quorum::ConfigResource;
use quorum::codec::{self, ReadFault};
use quorum::image::CLUSTER_METADATA_TOPIC;
use quorum::record::Record;
use quorum::snapshot;
use storage::{FileName, SegmentFileKind, Stage};
use types::{Offset, TopicId};

use crate::config::validate_topic_overrides;

/// A topic's own settings, name and value.
pub(super) type Configs = BTreeMap<String, String>;

/// What a Kafka's metadata says of its topics' configs.
#[derive(Default)]
pub(super) struct KafkaConfigs {
    by_topic: BTreeMap<Arc<str>, Configs>,
    names: BTreeMap<TopicId, Arc<str>>,
}

impl KafkaConfigs {
    /// Reads the metadata log among `sources`, log directories of a stopped Kafka; `None`: there is none.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(super) fn of(sources: &[PathBuf]) -> Result<Option<Self>, String> {
        let folders = sources.iter().map(|source| source.join(format!("{CLUSTER_METADATA_TOPIC}-0")));
        let Some(folder) = folders.into_iter().find(|folder| folder.is_dir()) else { return Ok(None) };
        let mut configs = Self::default();
        configs.read(&folder).map_err(|reason| format!("{}: {reason}", folder.display()))?;
        Ok(Some(configs))
    }

    /// The topic's own settings as this node can have them; of the others, why it cannot goes to `left_out`.
    pub(super) fn of_topic(&self, topic: &str, left_out: &mut Vec<String>) -> Configs {
        let mut taken = Configs::new();
        for (name, value) in self.by_topic.get(topic).into_iter().flatten() {
            let alone = Configs::from([(name.clone(), value.clone())]);
            let replicas = name == "min.insync.replicas" && value.trim().parse().is_ok_and(|count: u32| count > 1);
            if replicas {
                left_out.push(format!("{topic}: {name}={value}: adopted partitions have one replica, on this node"));
            } else if let Err(fault) = validate_topic_overrides(&alone) {
                left_out.push(format!("{topic}: {name}={value}: {}", fault.message));
            } else {
                taken.extend(alone);
            }
        }
        // Each is fine, and Kafka had them together; where our rules say otherwise, none is better than some.
        if let Err(fault) = validate_topic_overrides(&taken) {
            left_out.push(format!("{topic}: {}", fault.message));
            taken.clear();
        }
        taken
    }

    fn read(&mut self, folder: &Path) -> Result<(), String> {
        let (mut snapshots, mut logs) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
            let name = entry.map_err(|error| error.to_string())?.file_name();
            let Some(name) = name.to_str() else { continue };
            snapshots.extend(snapshot::parse_file_name(name));
            if let Some(FileName::Segment(file)) = FileName::parse(name)
                && (file.kind, file.stage) == (SegmentFileKind::Log, Stage::Live)
            {
                logs.push((file.segment, name.to_owned()));
            }
        }
        logs.sort_unstable();
        let newest = snapshots.into_iter().max();
        if let Some(position) = newest {
            self.replay(folder, &snapshot::file_name(position), Offset::ZERO)?;
        }
        let from = newest.map_or(Offset::ZERO, |position| position.end);
        if let Some((first, _)) = logs.first()
            && from < first.base_offset()
        {
            return Err(format!("the log begins at offset {}, and no snapshot reaches there", first.base_offset()));
        }
        for (_, name) in logs {
            self.replay(folder, &name, from)?;
        }
        Ok(())
    }

    /// Replays the records of a file that are at `from` or behind. A torn tail ends it.
    fn replay(&mut self, folder: &Path, name: &str, from: Offset) -> Result<(), String> {
        let bytes = fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"))?;
        let mut rest = &bytes[..];
        while let Ok(Some(size)) = BatchView::peek_size(rest)
            && let Some(batch) = rest.get(..size)
        {
            let at = bytes.len() - rest.len();
            let batch = batch::check(batch).map_err(|fault| format!("{name} at {at}: {fault}"))?;
            rest = &rest[size..];
            if batch.attributes().control || batch.last_offset() < from {
                continue;
            }
            let records = batch.records().ok_or_else(|| format!("{name} at {at}: {}", ReadFault::Compressed))?;
            for record in records {
                let record = record.map_err(|fault| format!("{name} at {at}: {fault}"))?;
                match codec::decode(record.value.unwrap_or_default()) {
                    Ok(record) => self.apply(record),
                    // Of features that are not built here; none of them says a topic's config.
                    Err(ReadFault::Unsupported(_)) => {}
                    Err(fault) => return Err(format!("{name} at {at}: {fault}")),
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Topic { name, id } => drop(self.names.insert(id, name)),
            Record::RemoveTopic { id } => {
                if let Some(name) = self.names.remove(&id) {
                    self.by_topic.remove(&name);
                }
            }
            Record::Config { resource: ConfigResource::Topic(topic), name, value } => {
                let configs = self.by_topic.entry(topic).or_default();
                match value {
                    Some(value) => drop(configs.insert(name.to_string(), value.to_string())),
                    None => drop(configs.remove(&*name)),
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use batch::control::{self, ControlType};
    use types::{LeaderEpoch, Timestamp};

    fn batch_at(offset: i64, records: &[Record]) -> Vec<u8> {
        let mut batch = codec::encode_batch(records, Timestamp::from_millis(1));
        batch::stamp(&mut batch, Offset::new(offset), LeaderEpoch::ZERO);
        batch.to_vec()
    }

    fn topic(name: &str, id: u8) -> Record {
        Record::Topic { name: name.into(), id: TopicId::from_bytes([id; 16]) }
    }

    fn config(topic: &str, name: &str, value: Option<&str>) -> Record {
        let resource = ConfigResource::Topic(topic.into());
        Record::Config { resource, name: name.into(), value: value.map(Into::into) }
    }

    /// A folder with a snapshot up to offset 10, and a log that begins below it and ends in the middle of a batch.
    fn folder(test: &str) -> PathBuf {
        let source = std::env::temp_dir().join(format!("ringlog-kafka-configs-{test}-{}", std::process::id()));
        let folder = source.join("__cluster_metadata-0");
        fs::create_dir_all(&folder).expect("made");
        let header = control::snapshot_header(Timestamp::from_millis(1));
        let kind = ControlType::SnapshotHeader;
        let mut snapshot =
            control::batch(kind, &header, Timestamp::from_millis(1), Offset::ZERO, LeaderEpoch::ZERO).to_vec();
        snapshot.extend(batch_at(
            1,
            &[
                topic("orders", 1),
                topic("gone", 2),
                config("orders", "retention.ms", Some("1000")),
                config("orders", "max.message.bytes", Some("5000")),
                config("gone", "retention.ms", Some("7")),
            ],
        ));
        fs::write(folder.join("00000000000000000010-0000000000.checkpoint"), snapshot).expect("written");
        // Below the snapshot: must not be replayed again.
        let mut log = batch_at(8, &[config("orders", "retention.ms", Some("1")), topic("orders", 1)]);
        log.extend(batch_at(
            10,
            &[
                config("orders", "max.message.bytes", None),
                config("orders", "min.insync.replicas", Some("2")),
                config("orders", "cleanup.policy", Some("compact")),
                config("orders", "remote.storage.enable", Some("true")),
                Record::RemoveTopic { id: TopicId::from_bytes([2; 16]) },
            ],
        ));
        let torn = batch_at(15, &[config("orders", "retention.ms", Some("2"))]);
        log.extend(&torn[..torn.len() - 1]);
        fs::write(folder.join("00000000000000000008.log"), log).expect("written");
        source
    }

    #[test]
    fn configs_are_those_of_the_snapshot_and_the_log_behind_it() {
        let source = folder("whole");
        let read = KafkaConfigs::of(&[PathBuf::from("/nowhere"), source.clone()]);
        fs::remove_dir_all(&source).expect("removed");
        let configs = read.expect("readable").expect("there");
        let mut left_out = Vec::new();
        let orders = configs.of_topic("orders", &mut left_out);
        let expected = [("cleanup.policy", "compact"), ("retention.ms", "1000")];
        assert_eq!(orders, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(left_out.len(), 2, "{left_out:?}");
        assert!(left_out[0].starts_with("orders: min.insync.replicas=2: "), "{left_out:?}");
        assert!(left_out[1].starts_with("orders: remote.storage.enable=true: "), "{left_out:?}");
        assert_eq!(configs.of_topic("gone", &mut left_out), Configs::new());
    }

    #[test]
    fn a_damaged_metadata_log_is_told_and_a_missing_one_is_none() {
        let source = folder("damaged");
        let path = source.join("__cluster_metadata-0/00000000000000000008.log");
        let mut log = fs::read(&path).expect("read");
        let middle = log.len() / 2;
        log[middle] ^= 1;
        fs::write(&path, log).expect("written");
        let damaged = KafkaConfigs::of(std::slice::from_ref(&source)).err();
        fs::remove_file(source.join("__cluster_metadata-0/00000000000000000010-0000000000.checkpoint"))
            .expect("removed");
        let trimmed = KafkaConfigs::of(std::slice::from_ref(&source)).err();
        fs::remove_dir_all(&source).expect("removed");
        assert!(damaged.is_some_and(|reason| reason.contains("00000000000000000008.log at ")));
        assert!(trimmed.is_some_and(|reason| reason.contains("no snapshot reaches there")));
        assert!(KafkaConfigs::of(&[source]).expect("nothing to read").is_none());
    }
}
