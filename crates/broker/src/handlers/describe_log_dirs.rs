//! DescribeLogDirs (KIP-113, KIP-827): what lies in each log directory, and how much room it has. Whoever asks by our own
//! tagged fields ([`wire::tags`]) is told more of each log, and what readers at given offsets have before them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use storage::retention;
use tokio::sync::oneshot;
use types::limits::LOG_DIR_POSITIONS_MAX;
use types::{ErrorCode, Offset, PartitionIndex, ShardId, TopicPartition};
use wire::describe_log_dirs_request::DescribeLogDirsRequest;
use wire::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use wire::tags::{self, Kept, LogFacts, NextDeletable, ReadPosition, Unread};

use crate::mail::PartitionKey;
use crate::partition::Partition;
use crate::request::{Handled, Request};
use crate::shard_state::ShardState;
use crate::unread;

/// A log as its home describes it.
struct Described {
    name: TopicPartition,
    dir: PathBuf,
    bytes: u64,
    facts: Option<LogFacts>,
}

/// Offsets asked about, by partition.
type Asked = BTreeMap<PartitionKey, (TopicPartition, Vec<Offset>)>;
/// Their answers.
type Answers = BTreeMap<TopicPartition, Vec<Unread>>;
/// Partitions by topic; `None`: all of them.
type Wanted = Option<HashMap<String, HashSet<i32>>>;

pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
    let asked: DescribeLogDirsRequest<'_> = request.decode()?;
    let with_facts = asked.tags.get(tags::LOG_FACTS).is_some();
    let mut positions = Asked::new();
    let mut positions_count = 0;
    for topic in asked.topics.iter().flatten() {
        let listed = ReadPosition::find(&topic.tags)?;
        positions_count += listed.len();
        add_positions(state, &topic.topic, &listed, &mut positions);
    }
    if LOG_DIR_POSITIONS_MAX < positions_count {
        let error_code = ErrorCode::InvalidRequest.code();
        return Ok(request.reply(&DescribeLogDirsResponse { error_code, ..DescribeLogDirsResponse::default() }));
    }
    let mut wanted: Wanted = asked.topics.as_ref().map(|_| HashMap::new());
    if let Some(wanted) = &mut wanted {
        for topic in asked.topics.iter().flatten() {
            wanted.entry(topic.topic.to_string()).or_default().extend(&topic.partitions);
        }
    }
    let wanted = Arc::new(wanted);
    let described = state.everywhere(move |state| describe_here(state, &wanted, with_facts)).await;
    let mut answers = if positions.is_empty() { Answers::new() } else { look(state, positions).await };
    let mut by_dir: BTreeMap<PathBuf, BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>>> = BTreeMap::new();
    for log in described.into_iter().flatten() {
        let mut partition = DescribeLogDirsPartition {
            partition_index: log.name.partition.value(),
            partition_size: i64::try_from(log.bytes).unwrap_or(i64::MAX),
            ..DescribeLogDirsPartition::default()
        };
        if let Some(facts) = log.facts {
            facts.put(&mut partition.tags);
        }
        if let Some(unread) = answers.remove(&log.name) {
            Unread::put(&unread, &mut partition.tags);
        }
        by_dir.entry(log.dir).or_default().entry(Arc::clone(&log.name.topic)).or_default().push(partition);
    }
    let results = state
        .node
        .log_dirs
        .iter()
        .map(|dir| {
            let space = shard::probe::space(&dir.path).ok();
            let bytes = |bytes: Option<u64>| bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
            DescribeLogDirsResult {
                error_code: if dir.is_poisoned() { ErrorCode::KafkaStorageError.code() } else { 0 },
                log_dir: Cow::Owned(absolute(&dir.path)),
                topics: by_dir.remove(&dir.path).into_iter().flatten().map(topic).collect(),
                total_bytes: bytes(space.as_ref().map(|space| space.total_bytes)),
                usable_bytes: bytes(space.as_ref().map(|space| space.free_bytes)),
                ..DescribeLogDirsResult::default()
            }
        })
        .collect();
    Ok(request.reply(&DescribeLogDirsResponse { results, ..DescribeLogDirsResponse::default() }))
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

fn topic<'a>((name, mut partitions): (Arc<str>, Vec<DescribeLogDirsPartition>)) -> DescribeLogDirsTopic<'a> {
    partitions.sort_by_key(|partition| partition.partition_index);
    DescribeLogDirsTopic { name: Cow::Owned(name.to_string()), partitions, ..DescribeLogDirsTopic::default() }
}

fn describe_here(state: &Rc<ShardState>, wanted: &Wanted, with_facts: bool) -> Vec<Described> {
    let is_wanted = |name: &TopicPartition| {
        wanted.as_ref().is_none_or(|topics| {
            topics.get(&*name.topic).is_some_and(|partitions| partitions.contains(&name.partition.value()))
        })
    };
    let partitions = state.partitions();
    let described = partitions.iter().filter(|partition| is_wanted(&partition.name)).map(|partition| Described {
        name: partition.name.clone(),
        dir: partition.log_dir.path.clone(),
        bytes: partition.with_log(|log| log.size_bytes()),
        facts: with_facts.then(|| facts(state, partition)),
    });
    described.collect()
}

fn facts(state: &ShardState, partition: &Partition) -> LogFacts {
    let (now, visible) = (state.now(), partition.visible());
    partition.with_log(|log| {
        let next = log.next_deletable(now, visible.high_watermark);
        let growth = log.growth(now);
        LogFacts {
            log_start: visible.log_start,
            log_end: log.offsets().written,
            recovery_point: log.recovery_point(),
            appended_bytes: growth.bytes,
            appended_ms: growth.over_ms,
            next_deletable: NextDeletable {
                segment: next.segment.map(storage::SegmentId::base_offset),
                bytes: next.bytes,
                at: next.at,
                bytes_until_size: next.bytes_until_size,
                kept: Some(kept(next.kept)),
            },
            appended_total_bytes: log.appended_bytes(),
        }
    })
}

fn kept(kept: retention::Kept) -> Kept {
    match kept {
        retention::Kept::NextCheck => Kept::NextCheck,
        retention::Kept::Empty => Kept::Empty,
        retention::Kept::NoLimit => Kept::NoLimit,
        retention::Kept::NotByPolicy => Kept::NotByPolicy,
        retention::Kept::HighWatermark => Kept::HighWatermark,
        retention::Kept::Young => Kept::Young,
        retention::Kept::FutureTimestamp => Kept::FutureTimestamp,
        retention::Kept::Small => Kept::Small,
        retention::Kept::Active => Kept::Active,
        retention::Kept::Compacting => Kept::Compacting,
        retention::Kept::Poisoned => Kept::Poisoned,
    }
}

fn add_positions(state: &ShardState, name: &str, listed: &[ReadPosition], positions: &mut Asked) {
    let Some(view) = (if listed.is_empty() { None } else { state.topic(name) }) else { return };
    for position in listed {
        let key = PartitionKey { topic: view.id, partition: position.partition };
        let partition = || TopicPartition::new(Arc::clone(&view.name), PartitionIndex::new(position.partition.value()));
        positions.entry(key).or_insert_with(|| (partition(), Vec::new())).1.push(position.offset);
    }
}

/// Asks every home for what readers have before them; a partition that is not here, or that cannot be read, is left out.
async fn look(state: &Rc<ShardState>, positions: Asked) -> Answers {
    let mut by_home: BTreeMap<ShardId, Asked> = BTreeMap::new();
    for (key, asked) in positions {
        by_home.entry(state.home(key.topic, key.partition)).or_default().insert(key, asked);
    }
    let mut waiting = Vec::with_capacity(by_home.len());
    for (home, asked) in by_home {
        let (sender, receiver) = oneshot::channel();
        state.on_shard(home, move |state| {
            let state = Rc::clone(state);
            tokio::task::spawn_local(async move {
                // Whoever asked may be gone.
                let _ = sender.send(look_here(&state, asked).await);
            });
        });
        waiting.push(receiver);
    }
    let mut answers = Answers::new();
    for receiver in waiting {
        answers.extend(receiver.await.unwrap_or_default());
    }
    answers
}

async fn look_here(state: &Rc<ShardState>, asked: Asked) -> Answers {
    let mut answers = Answers::new();
    for (key, (name, offsets)) in asked {
        let Some(partition) = state.partition(key) else { continue };
        let mut unread = Vec::with_capacity(offsets.len());
        for offset in offsets {
            match unread::look(state, &partition, offset, None).await {
                Ok((found, _)) => unread.push(found),
                Err(error) => tracing::warn!(partition = %name, %offset, %error, "what is unread cannot be looked up"),
            }
            // A long list takes its turns with everything else.
            tokio::task::yield_now().await;
        }
        answers.insert(name, unread);
    }
    answers
}
