//! `ringlog log adopt`: partition folders of a Kafka that was stopped cleanly become partitions of this node, with their
//! topic ids, offsets, timestamps and committed group offsets.
//!
//! ```text
//!  look ─► check against the metadata ─► per partition: copy or rename to `<name>.adopting` ─► recover, close
//!                                        ─► rename to `<name>` ─► per topic: commit to the metadata log
//! ```
//! A crash before the commit leaves folders that belong to no topic; naming the node's own log directory adopts those
//! where they lie. Configs are not in the folders, but in the other side's metadata log: see [`AdoptOptions::configs`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorum::controller::{Command, Reply};
use quorum::image::{CLUSTER_METADATA_TOPIC, MetadataImage};
use quorum::topics::{AdoptedPartition, AdoptedTopic};
use shard::file::{sync_dir_blocking, sync_file_system_blocking};
use storage::{FileName, LogConfig};
use types::{LeaderEpoch, Offset, ProducerId, TopicId, TopicPartition};

use super::kafka_configs::{Configs, KafkaConfigs};
use super::{OfflineError, OfflineLog, OnProgress, UNDISTURBED, io_error};
use crate::config::Config;
use crate::control::OfflineControl;
use crate::groups::OFFSETS_TOPIC;
use crate::log_dirs::{self, LogDir, topic_id_of};
use crate::meta_properties::open_log_dirs;

/// Ends the name of a folder that is not whole yet.
const UNFINISHED: &str = ".adopting";

/// Kafka's notes of what nobody here carries on. (`__cluster_metadata` is another cluster's.)
const LEFT_OUT: [&str; 4] =
    [CLUSTER_METADATA_TOPIC, "__transaction_state", "__share_group_state", "__remote_log_metadata"];

/// What becomes of the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Take {
    /// It stays as it is.
    #[default]
    Copy,
    /// The folders are renamed; only within one file system.
    Move,
}

/// What is to be adopted, and how.
#[derive(Clone, Debug, Default)]
pub struct AdoptOptions {
    /// Log directories of the other node.
    pub sources: Vec<PathBuf>,
    /// Only these topics; empty: all.
    pub topics: Vec<String>,
    /// Copied or moved.
    pub take: Take,
    /// Topic configs, name and value, of every topic that becomes known here, but for internal ones. They go before what
    /// the other side's metadata log says, if it is in one of the sources. A `retention.ms` or `retention.bytes` that
    /// neither says is -1: the other side's defaults are not known, and one of ours must not delete what was just brought.
    pub configs: Vec<(String, String)>,
    /// Take also what was not stopped cleanly: torn tails are cut.
    pub unclean: bool,
    /// Take also records that were written in transactions, committed or not.
    pub transactional: bool,
    /// Only look and check.
    pub dry_run: bool,
}

/// What was adopted, or would be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AdoptReport {
    /// By topic and number.
    pub folders: Vec<AdoptedFolder>,
    /// Folders that were left where they are, with the reason.
    pub left_out: Vec<(PathBuf, String)>,
    /// The configs of each topic, name and value, but for internal ones.
    pub configs: BTreeMap<Arc<str>, BTreeMap<String, String>>,
    /// Configs that could not be taken over, each with the reason.
    pub configs_left_out: Vec<String>,
}

/// A partition that was adopted, or would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdoptedFolder {
    /// Which.
    pub partition: TopicPartition,
    /// Its topic's id.
    pub topic_id: TopicId,
    /// Where it came from.
    pub source: PathBuf,
    /// Where it is now.
    pub target: PathBuf,
    /// Bytes of records.
    pub bytes: u64,
    /// The first offset, once adopted.
    pub log_start: Option<Offset>,
    /// The offset after the last record, once adopted.
    pub log_end: Option<Offset>,
    /// What was not as a clean stop leaves it.
    pub notes: Vec<String>,
}

/// A folder found in a source.
struct Found {
    partition: TopicPartition,
    id: TopicId,
    folder: PathBuf,
    target_dir: Arc<LogDir>,
    in_place: bool,
    log_start: Option<Offset>,
}

impl Found {
    fn target(&self) -> PathBuf {
        self.target_dir.path.join(self.partition.to_string())
    }
}

/// Adopts partition folders into the node that `config` describes, which must not run.
///
/// # Errors
/// See [`OfflineError`]. What was adopted before the error stays; the rest is as it was.
pub fn adopt(config: Config, options: &AdoptOptions, on_progress: OnProgress<'_>) -> Result<AdoptReport, OfflineError> {
    let config = Arc::new(config);
    let (cluster_id, log_dirs) = open_log_dirs(&config)?;
    let mut control = OfflineControl::start(&config, &log_dirs, &cluster_id)?;
    let result = adopt_with(&mut control, &config, &log_dirs, options, on_progress);
    let closed = control.close();
    let report = result?;
    closed?;
    Ok(report)
}

fn adopt_with(
    control: &mut OfflineControl,
    config: &Config,
    log_dirs: &[Arc<LogDir>],
    options: &AdoptOptions,
    on_progress: OnProgress<'_>,
) -> Result<AdoptReport, OfflineError> {
    let mut report = AdoptReport::default();
    let found = look(&control.image(), log_dirs, options, &mut report)?;
    let mut topics: BTreeMap<Arc<str>, Vec<Found>> = BTreeMap::new();
    for folder in found {
        topics.entry(Arc::clone(&folder.partition.topic)).or_default().push(folder);
    }
    let kafkas = KafkaConfigs::of(&options.sources).unwrap_or_else(|reason| {
        report.configs_left_out.push(format!("all of them: {reason}"));
        None
    });
    // Everything is checked before the first byte is copied.
    for (name, folders) in &topics {
        let configs = configs_of(name, config, options, kafkas.as_ref(), &mut report.configs_left_out);
        commit(control, config, adopted_topic(name, &configs, folders, &BTreeMap::new()), true)?;
        report.configs.insert(Arc::clone(name), configs);
    }
    if options.dry_run {
        for folder in topics.into_values().flatten() {
            let bytes = log_bytes(&folder.folder)?;
            report.folders.push(adopted_folder(&folder, bytes));
        }
        return Ok(report);
    }
    for (name, folders) in topics {
        let mut taken = BTreeMap::new();
        for folder in &folders {
            let (row, facts) = take(folder, options.take, on_progress)?;
            report.folders.push(row);
            taken.insert(folder.partition.clone(), facts);
        }
        commit(control, config, adopted_topic(&name, &report.configs[&name], &folders, &taken), false)?;
    }
    Ok(report)
}

/// What the metadata must know of a log that was taken.
#[derive(Clone, Copy, Default)]
struct LogFacts {
    leader_epoch: LeaderEpoch,
    producer_ids_from: Option<ProducerId>,
}

/// Finds the folders, and checks what can be checked without the controller.
fn look(
    image: &MetadataImage,
    log_dirs: &[Arc<LogDir>],
    options: &AdoptOptions,
    report: &mut AdoptReport,
) -> Result<Vec<Found>, OfflineError> {
    let mut found: BTreeMap<TopicPartition, Found> = BTreeMap::new();
    let mut counts: Vec<usize> = Vec::new();
    let mut here: BTreeMap<TopicPartition, PathBuf> = BTreeMap::new();
    for dir in log_dirs {
        let partitions = dir.scan()?;
        counts.push(partitions.len());
        here.extend(partitions.into_keys().map(|partition| (partition, dir.path.clone())));
    }
    for source in &options.sources {
        let source = &fs::canonicalize(source).map_err(io_error(source, "cannot be opened"))?;
        let own = log_dirs.iter().position(|dir| fs::canonicalize(&dir.path).is_ok_and(|path| path == *source));
        if own.is_none() && !options.unclean && is_unclean(source) {
            return Err(OfflineError::Refused(format!(
                "{} is in use, or was not stopped cleanly: it has no mark of a clean stop (.kafka_cleanshutdown). Stop its \
                 node with SIGTERM and try again, or give --unclean to take what is there (a torn tail is cut)",
                source.display()
            )));
        }
        let log_starts = log_starts(source);
        let mut folders: Vec<PathBuf> = fs::read_dir(source)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(io_error(source, "cannot be listed"))?;
        folders.sort();
        for folder in folders {
            let Some(partition) = super::partition_of(&folder).filter(|_| folder.is_dir()) else { continue };
            if own.is_some() && image.partition(&partition.topic, partition.partition).is_some() {
                continue;
            }
            if !options.topics.is_empty() && !options.topics.iter().any(|topic| **topic == *partition.topic) {
                continue;
            }
            if LEFT_OUT.contains(&&*partition.topic) {
                if own.is_none() {
                    report.left_out.push((folder, "belongs to the other cluster and means nothing here".to_owned()));
                }
                continue;
            }
            let id = look_for_id(&folder)?;
            look_for_clashes(image, &partition, id, &folder)?;
            if own.is_none()
                && let Some(dir) = here.get(&partition)
            {
                return Err(OfflineError::Refused(format!(
                    "{} would become {partition} in {}, where such a folder lies already. If an adoption was interrupted, \
                     `ringlog log adopt {1}` finishes it; else move one of the two away",
                    folder.display(),
                    dir.display()
                )));
            }
            if let Some(other) = found.get(&partition) {
                return Err(OfflineError::Refused(format!(
                    "{partition} lies in {} and in {}: name only the directory whose copy is the newer one",
                    other.folder.display(),
                    folder.display()
                )));
            }
            look_for_transactions(&folder, options)?;
            let at = own.unwrap_or_else(|| {
                (0..counts.len()).min_by_key(|&at| counts[at]).expect("a node has at least one log directory")
            });
            counts[at] += usize::from(own.is_none());
            let log_start = log_starts.get(&partition).copied();
            let target_dir = Arc::clone(&log_dirs[at]);
            let in_place = own.is_some();
            found.insert(partition.clone(), Found { partition, id, folder, target_dir, in_place, log_start });
        }
    }
    if found.is_empty() {
        return Err(OfflineError::Refused(
            "no partition folders to adopt there: name a log directory, which holds folders such as orders-0"
                .to_owned(),
        ));
    }
    for pair in found.values().collect::<Vec<_>>().windows(2) {
        if pair[0].partition.topic == pair[1].partition.topic && pair[0].id != pair[1].id {
            return Err(OfflineError::Refused(format!(
                "{} and {} have different topic ids: they are of two topics of the same name. Move one aside",
                pair[0].folder.display(),
                pair[1].folder.display()
            )));
        }
    }
    Ok(found.into_values().collect())
}

/// A whole log directory (not a folder of copies) without Kafka's marker or ours.
fn is_unclean(source: &Path) -> bool {
    source.join("meta.properties").exists()
        && !source.join(".kafka_cleanshutdown").exists()
        && !log_dirs::was_stopped_cleanly(source)
}

fn look_for_id(folder: &Path) -> Result<TopicId, OfflineError> {
    let metadata = fs::read_to_string(folder.join("partition.metadata"));
    metadata.ok().as_deref().and_then(topic_id_of).filter(|id| !id.is_zero()).ok_or_else(|| {
        OfflineError::Refused(format!(
            "{} has no partition.metadata that names its topic's id: start and stop its Kafka once (2.8 or newer), which \
             writes it",
            folder.display()
        ))
    })
}

fn look_for_clashes(
    image: &MetadataImage,
    partition: &TopicPartition,
    id: TopicId,
    folder: &Path,
) -> Result<(), OfflineError> {
    let clash = match (image.topic(&partition.topic), image.topic_by_id(id)) {
        (Some(known), _) if known.id != id => {
            format!("has the topic id {id}, and this node's topic {} has {}", known.name, known.id)
        }
        (Some(known), _) if known.partition(partition.partition).is_some() => {
            format!("is a partition that this node has already, of the same topic ({id})")
        }
        (None, Some(other)) => format!("has the topic id {id}, which is this node's topic {}", other.name),
        _ => return Ok(()),
    };
    let cure = "Delete the topic here first, adopt into another node, or name only other topics with --topic";
    Err(OfflineError::Refused(format!("{} {clash}. {cure}", folder.display())))
}

fn look_for_transactions(folder: &Path, options: &AdoptOptions) -> Result<(), OfflineError> {
    if options.transactional {
        return Ok(());
    }
    let mut transactional = 0_u64;
    crate::inspect::partition(folder, false, &mut |_, row| {
        transactional += u64::from(row.transactional && !row.control);
    })
    .map_err(io_error(folder, "cannot be read"))?;
    if transactional == 0 {
        return Ok(());
    }
    Err(OfflineError::Refused(format!(
        "{} holds {transactional} batches that were written in transactions. This node does not know transactions yet: \
         its readers would see aborted records too. Give --transactional to take them all the same",
        folder.display()
    )))
}

/// Kafka's `log-start-offset-checkpoint`: where records were deleted up to, which no file of the folder says.
///
/// ```text
/// 0                      version
/// 1                      lines that follow
/// orders 0 4711          topic, partition, log start
/// ```
fn log_starts(source: &Path) -> BTreeMap<TopicPartition, Offset> {
    let text = fs::read_to_string(source.join("log-start-offset-checkpoint")).unwrap_or_default();
    text.lines()
        .skip(2)
        .filter_map(|line| {
            let mut words = line.split(' ');
            let topic = words.next()?;
            let partition = TopicPartition::from_dir_name(&format!("{topic}-{}", words.next()?))?;
            Some((partition, Offset::from_wire(words.next()?.parse().ok()?)?))
        })
        .collect()
}

fn log_bytes(folder: &Path) -> Result<u64, OfflineError> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(io_error(folder, "cannot be listed"))?.flatten() {
        if entry.file_name().to_string_lossy().ends_with(".log") {
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    Ok(bytes)
}

fn adopted_folder(found: &Found, bytes: u64) -> AdoptedFolder {
    AdoptedFolder {
        partition: found.partition.clone(),
        topic_id: found.id,
        source: found.folder.clone(),
        target: found.target(),
        bytes,
        log_start: None,
        log_end: None,
        notes: Vec::new(),
    }
}

/// Brings one folder into its log directory, whole and closed.
fn take(found: &Found, take: Take, on_progress: OnProgress<'_>) -> Result<(AdoptedFolder, LogFacts), OfflineError> {
    let target = found.target();
    let work = if found.in_place {
        target.clone()
    } else {
        found.target_dir.path.join(format!("{}{UNFINISHED}", found.partition))
    };
    if !found.in_place {
        bring(&found.folder, &work, take)?;
    }
    let taken = take_log(found, &work, on_progress);
    if taken.is_err() && !found.in_place {
        // As it was.
        match take {
            Take::Copy => drop(fs::remove_dir_all(&work)),
            Take::Move => drop(fs::rename(&work, &found.folder)),
        }
    }
    let (row, facts) = taken?;
    if !found.in_place {
        fs::rename(&work, &target).map_err(io_error(&work, "cannot be renamed"))?;
    }
    sync_dir_blocking(&found.target_dir.path).map_err(io_error(&found.target_dir.path, "cannot be synced"))?;
    Ok((row, facts))
}

fn take_log(
    found: &Found,
    work: &Path,
    on_progress: OnProgress<'_>,
) -> Result<(AdoptedFolder, LogFacts), OfflineError> {
    // Read before recovery writes it anew: Kafka also notes epochs that have no records.
    let epochs = fs::read_to_string(work.join(FileName::LeaderEpochs.to_string())).unwrap_or_default();
    let config = LogConfig { topic_id: Some(found.id), ..LogConfig::default() };
    let mut log = OfflineLog::recover(work, found.partition.clone(), config, UNDISTURBED, on_progress)?;
    log.settle()?;
    let end = log.log.offsets().written;
    if let Some(start) = found.log_start {
        let deleted = log.log.delete_records(shard::clock::read(), start.min(end));
        deleted.map_err(|fault| OfflineError::Refused(format!("{}: {fault}", found.folder.display())))?;
        log.settle()?;
    }
    let epoch = log.log.leader_epoch_at(end).max(latest_epoch(&epochs)).unwrap_or_default();
    let producer_ids = log.log.describe_producers().into_iter().map(|producer| producer.id).max();
    let facts = LogFacts {
        leader_epoch: epoch,
        producer_ids_from: producer_ids.map(|id| ProducerId::new(id.value().saturating_add(1))),
    };
    let mut row = adopted_folder(found, log.log.size_bytes());
    row.log_start = Some(log.log.offsets().log_start);
    row.log_end = Some(end);
    row.notes = log.close()?.notes;
    Ok((row, facts))
}

/// The last epoch of a `leader-epoch-checkpoint` (version, count, then a line of epoch and first offset each).
fn latest_epoch(text: &str) -> Option<LeaderEpoch> {
    let epochs = text.lines().skip(2).filter_map(|line| LeaderEpoch::from_wire(line.split(' ').next()?.parse().ok()?));
    epochs.max()
}

/// Gets the folder's files, all of them on disk, under the name `work`. A copy leaves Kafka's producer snapshots behind:
/// producer state is rebuilt from the batches.
fn bring(source: &Path, work: &Path, take: Take) -> Result<(), OfflineError> {
    if work.exists() {
        fs::remove_dir_all(work).map_err(io_error(work, "what an interrupted adoption left cannot be removed"))?;
    }
    if take == Take::Move {
        return fs::rename(source, work)
            .map_err(io_error(source, "cannot be moved (between file systems it must be copied)"));
    }
    fs::create_dir(work).map_err(io_error(work, "cannot be made"))?;
    let copy_all = || {
        for entry in fs::read_dir(source).map_err(io_error(source, "cannot be listed"))? {
            let name = entry.map_err(io_error(source, "cannot be listed"))?.file_name();
            if name.to_str().and_then(FileName::parse).is_some() {
                fs::copy(source.join(&name), work.join(&name)).map_err(io_error(work, "cannot be copied to"))?;
            }
        }
        sync_file_system_blocking(work).map_err(io_error(work, "cannot be synced"))
    };
    copy_all().inspect_err(|_| drop(fs::remove_dir_all(work)))
}

/// What a topic is set to here.
fn configs_of(
    topic: &str,
    config: &Config,
    options: &AdoptOptions,
    kafkas: Option<&KafkaConfigs>,
    left_out: &mut Vec<String>,
) -> Configs {
    let mut configs = Configs::new();
    if topic == OFFSETS_TOPIC {
        // As this node makes it.
        configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
        configs.insert("compression.type".to_owned(), "producer".to_owned());
        configs.insert("segment.bytes".to_owned(), config.offsets.topic_segment_bytes.to_string());
    } else {
        configs.insert("retention.ms".to_owned(), "-1".to_owned());
        configs.insert("retention.bytes".to_owned(), "-1".to_owned());
        configs.extend(kafkas.map(|kafkas| kafkas.of_topic(topic, left_out)).unwrap_or_default());
        configs.extend(options.configs.iter().cloned());
    }
    configs
}

fn adopted_topic(
    name: &Arc<str>,
    configs: &Configs,
    folders: &[Found],
    taken: &BTreeMap<TopicPartition, LogFacts>,
) -> AdoptedTopic {
    let facts = |folder: &Found| taken.get(&folder.partition).copied().unwrap_or_default();
    AdoptedTopic {
        name: Arc::clone(name),
        id: folders.first().map_or(TopicId::ZERO, |folder| folder.id),
        configs: configs.iter().map(|(name, value)| (name.as_str().into(), Some(value.as_str().into()))).collect(),
        partitions: folders
            .iter()
            .map(|folder| AdoptedPartition {
                index: folder.partition.partition,
                directory: folder.target_dir.id,
                leader_epoch: facts(folder).leader_epoch,
            })
            .collect(),
        producer_ids_from: folders.iter().filter_map(|folder| facts(folder).producer_ids_from).max(),
    }
}

fn commit(
    control: &mut OfflineControl,
    config: &Config,
    topic: AdoptedTopic,
    validate_only: bool,
) -> Result<(), OfflineError> {
    let name = Arc::clone(&topic.name);
    match control.command(Command::AdoptTopic { node: config.node_id, topic, validate_only })? {
        Reply::Done(Ok(())) => Ok(()),
        Reply::Done(Err(fault)) => {
            let reason = fault.message.unwrap_or_else(|| fault.code.to_string());
            Err(OfflineError::Refused(format!("topic {name} cannot be adopted: {reason}")))
        }
        other => Err(OfflineError::Refused(format!("topic {name} cannot be adopted: the controller said {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_checkpoints_are_read() {
        assert_eq!(latest_epoch("0\n2\n3 0\n7 4711\n"), Some(LeaderEpoch::new(7)));
        assert_eq!(latest_epoch("0\n0\n"), None);
        let dir = std::env::temp_dir().join(format!("ringlog-adopt-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("made");
        fs::write(dir.join("log-start-offset-checkpoint"), "0\n2\na-b 1 17\nc 0 0\n").expect("written");
        let starts = log_starts(&dir);
        fs::remove_dir_all(&dir).expect("removed");
        let partition = TopicPartition::from_dir_name("a-b-1").expect("a partition");
        assert_eq!(starts.get(&partition), Some(&Offset::new(17)));
        assert_eq!(starts.len(), 2);
    }
}
