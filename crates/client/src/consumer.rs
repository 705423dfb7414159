//! Reads records: from partitions that are named, or as a member of a group.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use batch::control::EndTransaction;
use batch::{BatchInfo, BatchView, Codec, Inflated, RecordView};
use bytes::Bytes;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use types::{ErrorCode, LeaderEpoch, NodeId, Offset, ProducerId, Timestamp, TopicId, TopicPartition};
use wire::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use wire::fetch_response::{FetchResponse, PartitionData};
use wire::{ApiKey, Records};

use crate::admin::Admin;
use crate::admin::records::OffsetAt;
use crate::cluster::Client;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::membership::{GroupConfig, Membership};

/// The first version of Fetch that names topics by id.
const TOPIC_ID_VERSION_MIN: i16 = 13;

/// Pause before a partition that could not be read is asked for again.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);

/// How often it is looked whether a partition can be tried again or the group is rebalanced, while nothing arrives.
const STEP: Duration = Duration::from_millis(100);

/// Where to begin in a partition without a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOffset {
    /// At the oldest record kept.
    Earliest,
    /// After the newest record.
    Latest,
    /// At this offset.
    At(Offset),
    /// At the first record at or after this time; after the newest if there is none.
    Time(Timestamp),
    /// This many records before the end.
    Back(i64),
}

/// Which records of transactions are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// All.
    #[default]
    ReadUncommitted,
    /// Those of committed transactions, once they are committed.
    ReadCommitted,
}

/// How to read.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// Where to begin where neither the caller nor the group says.
    pub start: StartOffset,
    /// How long a node may wait for `fetch_bytes_min`.
    pub fetch_wait: Duration,
    /// Bytes that a node waits for.
    pub fetch_bytes_min: i32,
    /// Bytes of one answer.
    pub fetch_bytes_max: i32,
    /// Bytes of one partition in an answer.
    pub partition_bytes_max: i32,
    /// Which records of transactions are seen.
    pub isolation: Isolation,
    /// How often a group's positions are committed by themselves; `None`: only when asked.
    pub auto_commit: Option<Duration>,
    /// The group, for [`Consumer::subscribe`], or to commit to with [`Consumer::assign`].
    pub group: Option<GroupConfig>,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            start: StartOffset::Latest,
            fetch_wait: Duration::from_millis(500),
            fetch_bytes_min: 1,
            fetch_bytes_max: 50 * 1024 * 1024,
            partition_bytes_max: 1024 * 1024,
            isolation: Isolation::default(),
            auto_commit: Some(Duration::from_secs(5)),
            group: None,
        }
    }
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    /// Where from.
    pub at: TopicPartition,
    /// Its offset.
    pub offset: Offset,
    /// The leader epoch in which it was written.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Its time.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// Batches of one partition as the node sent them: whole ones only, CRC not checked yet.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Where from.
    pub at: TopicPartition,
    /// The offset asked for; the first batch may begin before it.
    pub from: Offset,
    /// The batches, back to back.
    pub records: Bytes,
    /// Where the node's high watermark was.
    pub high_watermark: Option<Offset>,
    /// Where the log began.
    pub log_start: Option<Offset>,
    /// Aborted transactions in the range: producer, first offset.
    pub aborted: Vec<(ProducerId, Offset)>,
}

/// Where a consumer stands in a partition.
#[derive(Debug, Clone)]
struct Position {
    /// The next offset; `None`: to be looked up from `start`.
    offset: Option<Offset>,
    start: StartOffset,
    high_watermark: Option<Offset>,
    not_before: Option<Instant>,
    /// The node that is being asked.
    fetching: Option<NodeId>,
}

/// An answered fetch.
#[derive(Debug)]
struct FetchDone {
    node: NodeId,
    asked: Vec<(TopicPartition, Offset, TopicId)>,
    outcome: Result<(FetchResponse<'static>, Bytes), ClientError>,
}

/// A consumer. Nothing happens between calls but fetches under way and a member's heartbeats.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    admin: Admin,
    config: ConsumerConfig,
    positions: BTreeMap<TopicPartition, Position>,
    fetches: JoinSet<FetchDone>,
    /// Connections of our own: a fetch that waits holds up what is behind it.
    connections: BTreeMap<NodeId, Connection>,
    membership: Option<Membership>,
    /// A join under way; it has the membership meanwhile and outlives the poll that began it.
    joining: Option<JoinHandle<Joined>>,
    committed_at: Instant,
    /// Why nothing could be read since when, until something can again.
    trouble: Option<(ClientError, Instant)>,
}

/// What became of a join.
type Joined = (Membership, Result<Vec<TopicPartition>, ClientError>);

impl Drop for Consumer {
    fn drop(&mut self) {
        if let Some(joining) = &self.joining {
            joining.abort();
        }
    }
}

impl Consumer {
    fn new(client: Client, config: ConsumerConfig) -> Self {
        Self {
            admin: Admin::new(client.clone()),
            client,
            config,
            positions: BTreeMap::new(),
            fetches: JoinSet::new(),
            connections: BTreeMap::new(),
            membership: None,
            joining: None,
            committed_at: Instant::now(),
            trouble: None,
        }
    }

    /// Reads the partitions named, from where each says.
    #[must_use]
    pub fn assign(
        client: Client,
        config: ConsumerConfig,
        partitions: impl IntoIterator<Item = (TopicPartition, StartOffset)>,
    ) -> Self {
        let mut consumer = Self::new(client, config);
        consumer.set_positions(partitions);
        consumer
    }

    /// Joins the group of `config` and reads its share of `topics`, from where the group has committed. Joining begins
    /// with the first [`Consumer::poll`] and takes as many as it needs.
    ///
    /// # Errors
    /// The configuration names no group.
    pub fn subscribe(client: Client, config: ConsumerConfig, topics: &[&str]) -> Result<Self, ClientError> {
        let Some(group) = config.group.clone() else {
            return Err(ClientError::Usage("a subscription needs a group id".to_owned()));
        };
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let membership = Membership::new(client.clone(), group, topics);
        let mut consumer = Self::new(client, config);
        consumer.membership = Some(membership);
        Ok(consumer)
    }

    fn set_positions(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, StartOffset)>) {
        self.positions = partitions
            .into_iter()
            .map(|(at, start)| {
                let offset = if let StartOffset::At(offset) = start { Some(offset) } else { None };
                (at, Position { offset, start, high_watermark: None, not_before: None, fetching: None })
            })
            .collect();
    }

    /// The partitions it reads, with the next offset of each where it is known.
    pub fn positions(&self) -> impl Iterator<Item = (&TopicPartition, Option<Offset>)> {
        self.positions.iter().map(|(at, position)| (at, position.offset))
    }

    /// The last high watermark seen of a partition.
    #[must_use]
    pub fn high_watermark(&self, at: &TopicPartition) -> Option<Offset> {
        self.positions.get(at)?.high_watermark
    }

    /// What keeps it from reading, and for how long; it keeps trying.
    #[must_use]
    pub fn trouble(&self) -> Option<(&ClientError, Duration)> {
        self.trouble.as_ref().map(|(error, since)| (error, since.elapsed()))
    }

    fn on_trouble(&mut self, error: ClientError) {
        let since = self.trouble.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        self.trouble = Some((error, since));
    }

    /// Goes on at another offset of a partition it reads.
    pub fn seek(&mut self, at: &TopicPartition, offset: Offset) {
        if let Some(position) = self.positions.get_mut(at) {
            position.offset = Some(offset);
        }
    }

    /// Reads a partition no further.
    pub fn remove(&mut self, at: &TopicPartition) {
        self.positions.remove(at);
    }

    /// Waits for records, at most `wait`; none is no error.
    ///
    /// # Errors
    /// What cannot be tried again: refused, out of range without a place to go on, records that are broken.
    pub async fn poll(&mut self, wait: Duration) -> Result<Vec<Consumed>, ClientError> {
        let mut records = Vec::new();
        for fetched in self.poll_batches(wait).await? {
            decode(&fetched, self.config.isolation, &mut records)?;
        }
        Ok(records)
    }

    /// As [`Consumer::poll`], with the batches as they came; see [`decode`] for their records.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    pub async fn poll_batches(&mut self, wait: Duration) -> Result<Vec<Fetched>, ClientError> {
        let deadline = Instant::now() + wait;
        loop {
            self.step_group().await?;
            self.find_positions().await?;
            self.start_fetches().await;
            let until = deadline.min(Instant::now() + STEP);
            let mut fetched = Vec::new();
            tokio::select! {
                joined = async { self.joining.as_mut().expect("checked below").await }, if self.joining.is_some() => {
                    self.joining = None;
                    let lost = |_| ClientError::Usage("the task that joined the group was ended".to_owned());
                    self.on_joined(joined.map_err(lost)?).await?;
                }
                Some(done) = self.fetches.join_next() => {
                    if let Ok(done) = done {
                        self.on_fetched(done, &mut fetched)?;
                    }
                    while let Some(done) = self.fetches.try_join_next() {
                        if let Ok(done) = done {
                            self.on_fetched(done, &mut fetched)?;
                        }
                    }
                }
                () = sleep_until(until) => {}
            }
            if !fetched.is_empty() {
                // The next ones are on their way while the caller looks at these.
                self.start_fetches().await;
                return Ok(fetched);
            }
            if deadline <= Instant::now() {
                return Ok(fetched);
            }
        }
    }

    /// Commits where it stands: everything that earlier polls returned counts as done.
    ///
    /// # Errors
    /// There is no group, or it refuses: it is being rebalanced, or has given this member up.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let Some(group) = self.config.group.clone() else {
            return Err(ClientError::Usage("only a consumer with a group id can commit".to_owned()));
        };
        self.committed_at = Instant::now();
        let offsets: BTreeMap<TopicPartition, Offset> =
            self.positions.iter().filter_map(|(at, position)| Some((at.clone(), position.offset?))).collect();
        if offsets.is_empty() {
            return Ok(());
        }
        if self.joining.is_some() {
            let what = format!("commit offsets of group {}", group.id);
            return Err(ClientError::refused(what, ErrorCode::RebalanceInProgress.code()));
        }
        let member = self.membership.as_ref().and_then(Membership::identity);
        let outcome = self.admin.commit(&group.id, member, offsets).await;
        if let (Err(error), Some(membership)) = (&outcome, &mut self.membership) {
            membership.on_refused(error);
        }
        outcome
    }

    /// Commits (if it commits by itself) and leaves the group.
    ///
    /// # Errors
    /// The last commit failed.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let commits = self.config.auto_commit.is_some() && self.config.group.is_some();
        let outcome = if commits { self.commit().await } else { Ok(()) };
        if let Some(membership) = self.membership.take() {
            membership.leave().await;
        }
        outcome
    }

    /// Keeps the membership alive: commits now and then, joins again when the group is rebalanced.
    async fn step_group(&mut self) -> Result<(), ClientError> {
        let rejoin = match &self.membership {
            None => return Ok(()),
            Some(membership) => membership.must_join(),
        };
        let due = self.config.auto_commit.is_some_and(|every| every <= self.committed_at.elapsed() || rejoin);
        if due {
            // Refused only if the group has moved on; what was read is then read again by its new owner.
            let _ = self.commit().await;
        }
        if let Some(mut membership) = self.membership.take_if(|membership| membership.must_join()) {
            // Whoever takes part in a new assignment gives up what it had (the eager protocol).
            self.positions.clear();
            self.joining = Some(tokio::spawn(async move {
                let outcome = membership.join().await;
                (membership, outcome)
            }));
        }
        Ok(())
    }

    async fn on_joined(&mut self, (membership, outcome): Joined) -> Result<(), ClientError> {
        let group = membership.group_id().to_owned();
        self.membership = Some(membership);
        let assigned = outcome?;
        let committed = if assigned.is_empty() {
            BTreeMap::new()
        } else {
            self.admin.group_offsets(&group, Some(&assigned)).await?
        };
        let start = self.config.start;
        self.set_positions(assigned.into_iter().map(|at| {
            let from = committed.get(&at).map_or(start, |committed| StartOffset::At(committed.offset));
            (at, from)
        }));
        self.committed_at = Instant::now();
        Ok(())
    }

    /// Looks up the offsets of partitions that have none yet.
    async fn find_positions(&mut self) -> Result<(), ClientError> {
        let mut wanted: Vec<(StartOffset, Vec<TopicPartition>)> = Vec::new();
        for (at, position) in self.positions.iter().filter(|(_, position)| position.offset.is_none()) {
            match wanted.iter_mut().find(|(start, _)| *start == position.start) {
                Some((_, partitions)) => partitions.push(at.clone()),
                None => wanted.push((position.start, vec![at.clone()])),
            }
        }
        for (start, partitions) in wanted {
            let mut found = BTreeMap::new();
            let look_up = |at| self.admin.list_offsets(&partitions, at);
            match start {
                StartOffset::At(offset) => found.extend(partitions.iter().map(|at| (at.clone(), offset))),
                StartOffset::Earliest => found.extend(offsets_of(look_up(OffsetAt::Earliest).await?)),
                StartOffset::Latest => found.extend(offsets_of(look_up(OffsetAt::Latest).await?)),
                StartOffset::Time(time) => {
                    found.extend(offsets_of(look_up(OffsetAt::Latest).await?));
                    found.extend(offsets_of(look_up(OffsetAt::Time(time)).await?));
                }
                StartOffset::Back(records) => {
                    let earliest = look_up(OffsetAt::Earliest).await?;
                    for (at, end) in offsets_of(look_up(OffsetAt::Latest).await?) {
                        let first = earliest.get(&at).map_or(Offset::ZERO, |found| found.offset);
                        let back = end.value().saturating_sub(records.max(0)).max(first.value());
                        found.insert(at, Offset::new(back));
                    }
                }
            }
            for (at, offset) in found {
                if let Some(position) = self.positions.get_mut(&at) {
                    position.offset = Some(offset);
                }
            }
        }
        Ok(())
    }

    /// Asks every leader that is not being asked already for its partitions.
    async fn start_fetches(&mut self) {
        let now = Instant::now();
        let busy: BTreeSet<NodeId> = self.positions.values().filter_map(|position| position.fetching).collect();
        let mut by_node: BTreeMap<NodeId, Vec<(TopicPartition, Offset, TopicId)>> = BTreeMap::new();
        let idle: Vec<(TopicPartition, Offset)> = self
            .positions
            .iter()
            .filter(|(_, position)| position.fetching.is_none() && position.not_before.is_none_or(|at| at <= now))
            .filter_map(|(at, position)| Some((at.clone(), position.offset?)))
            .collect();
        for (at, offset) in idle {
            let leader = self.client.leader(&at.topic, at.partition).await;
            let topic = self.client.topic(&at.topic, false).await;
            match (leader, topic) {
                (Ok(leader), Ok(topic)) if !busy.contains(&leader) => {
                    by_node.entry(leader).or_default().push((at, offset, topic.id.unwrap_or(TopicId::ZERO)));
                }
                (Ok(_), Ok(_)) => {}
                (Err(error), _) | (_, Err(error)) => {
                    self.on_trouble(error);
                    self.put_off(&at);
                }
            }
        }
        for (node, asked) in by_node {
            for (at, ..) in &asked {
                if let Some(position) = self.positions.get_mut(at) {
                    position.fetching = Some(node);
                }
            }
            let connection = match self.connections.get(&node).filter(|connection| connection.is_open()) {
                Some(open) => Ok(open.clone()),
                None => self.client.node_apart(node).await,
            };
            let connection = match connection {
                Ok(connection) => connection,
                Err(error) => {
                    self.on_trouble(error);
                    for (at, ..) in &asked {
                        self.put_off(at);
                    }
                    continue;
                }
            };
            self.connections.insert(node, connection.clone());
            let config = self.config.clone();
            self.fetches.spawn(async move {
                let outcome = fetch(&connection, &config, &asked).await;
                FetchDone { node, asked, outcome }
            });
        }
    }

    /// A partition cannot be read now: look again for its leader, in a moment.
    fn put_off(&mut self, at: &TopicPartition) {
        self.client.forget_topic(&at.topic);
        if let Some(position) = self.positions.get_mut(at) {
            position.fetching = None;
            position.not_before = Some(Instant::now() + RETRY_BACKOFF);
        }
    }

    fn on_fetched(&mut self, done: FetchDone, fetched: &mut Vec<Fetched>) -> Result<(), ClientError> {
        for (at, ..) in &done.asked {
            if let Some(position) = self.positions.get_mut(at).filter(|position| position.fetching == Some(done.node)) {
                position.fetching = None;
            }
        }
        let (response, body) = match done.outcome {
            Ok(answer) => answer,
            Err(error) if error.is_retriable() => {
                self.on_trouble(error);
                self.connections.remove(&done.node);
                for (at, ..) in &done.asked {
                    self.put_off(at);
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for topic in &response.responses {
            for data in &topic.partitions {
                let asked = done.asked.iter().find(|(at, _, id)| {
                    let same =
                        if topic.topic_id.is_zero() { topic.topic == at.topic.as_ref() } else { topic.topic_id == *id };
                    same && at.partition.value() == data.partition_index
                });
                if let Some((at, offset, _)) = asked {
                    self.on_partition(at, *offset, data, &body, fetched)?;
                }
            }
        }
        Ok(())
    }

    fn on_partition(
        &mut self,
        at: &TopicPartition,
        from: Offset,
        data: &PartitionData<'_>,
        body: &Bytes,
        fetched: &mut Vec<Fetched>,
    ) -> Result<(), ClientError> {
        // Given away or moved while the fetch was under way: not ours any more.
        let Some(position) = self.positions.get_mut(at).filter(|position| position.offset == Some(from)) else {
            return Ok(());
        };
        let what = || format!("read {at} at offset {from}");
        match ClientError::check(data.error_code, None, what) {
            Ok(()) => {}
            Err(error) if error.code() == Some(ErrorCode::OffsetOutOfRange) => {
                return match self.config.start {
                    StartOffset::At(_) => Err(error),
                    start => {
                        position.offset = None;
                        position.start = start;
                        Ok(())
                    }
                };
            }
            Err(error) if error.is_retriable() => {
                self.on_trouble(error);
                self.put_off(at);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.trouble = None;
        position.high_watermark = Offset::from_wire(data.high_watermark);
        let Records::At(range) = &data.records else { return Ok(()) };
        let (whole, next) = whole_batches(&body[range.clone()], at, from)?;
        let Some(next) = next else { return Ok(()) };
        position.offset = Some(next.max(from));
        let aborted = data.aborted_transactions.iter().flatten();
        fetched.push(Fetched {
            at: at.clone(),
            from,
            records: body.slice(range.start..range.start + whole),
            high_watermark: position.high_watermark,
            log_start: Offset::from_wire(data.log_start_offset),
            aborted: aborted
                .filter_map(|each| {
                    Some((ProducerId::from_wire(each.producer_id)?, Offset::from_wire(each.first_offset)?))
                })
                .collect(),
        });
        Ok(())
    }
}

fn offsets_of(found: BTreeMap<TopicPartition, crate::FoundOffset>) -> impl Iterator<Item = (TopicPartition, Offset)> {
    found.into_iter().map(|(at, found)| (at, found.offset))
}

async fn fetch(
    connection: &Connection,
    config: &ConsumerConfig,
    asked: &[(TopicPartition, Offset, TopicId)],
) -> Result<(FetchResponse<'static>, Bytes), ClientError> {
    let mut version = connection.version(ApiKey::Fetch)?;
    if asked.iter().any(|(_, _, id)| id.is_zero()) {
        version = version.min(TOPIC_ID_VERSION_MIN - 1);
    }
    let sending = {
        let mut topics: Vec<FetchTopic<'_>> = Vec::new();
        for (at, offset, id) in asked {
            let partition = FetchPartition {
                partition: at.partition.value(),
                fetch_offset: offset.value(),
                partition_max_bytes: config.partition_bytes_max,
                ..Default::default()
            };
            match topics.last_mut() {
                Some(topic) if topic.topic == at.topic.as_ref() => topic.partitions.push(partition),
                _ => topics.push(FetchTopic {
                    topic: at.topic.as_ref().into(),
                    topic_id: *id,
                    partitions: vec![partition],
                    ..Default::default()
                }),
            }
        }
        let request = FetchRequest {
            max_wait_ms: config.fetch_wait.as_millis() as i32,
            min_bytes: config.fetch_bytes_min,
            max_bytes: config.fetch_bytes_max,
            isolation_level: i8::from(config.isolation == Isolation::ReadCommitted),
            topics,
            ..Default::default()
        };
        connection.send(&request, version)
    };
    // The node may wait for records before it begins to answer.
    let pending = sending.await?.timeout(config.fetch_wait.saturating_add(connection.request_timeout()));
    let (response, body) = pending.response_and_body().await?;
    ClientError::check(response.error_code, None, || format!("fetch from {}", connection.address()))?;
    Ok((response, body))
}

/// How many bytes of `records` are whole batches, and the offset after them. A node may cut the last one off.
fn whole_batches(records: &[u8], at: &TopicPartition, from: Offset) -> Result<(usize, Option<Offset>), ClientError> {
    let (mut whole, mut next) = (0, None);
    while let Some(size) = BatchView::peek_size(&records[whole..]).map_err(|error| corrupt(at, from, &error))? {
        if records.len() - whole < size {
            break;
        }
        let view = BatchView::parse(&records[whole..whole + size]).map_err(|error| corrupt(at, from, &error))?;
        next = Some(view.last_offset().plus(1));
        whole += size;
    }
    Ok((whole, next))
}

fn corrupt(at: &TopicPartition, from: Offset, error: &batch::BatchError) -> ClientError {
    ClientError::Corrupt {
        topic: at.topic.to_string(),
        partition: at.partition.value(),
        offset: from.value(),
        reason: error.to_string(),
    }
}

/// A record where it lies in a fetched batch, nothing copied.
#[derive(Debug, Clone, Copy)]
pub struct FetchedRecord<'a> {
    /// Where from.
    pub at: &'a TopicPartition,
    /// Its offset.
    pub offset: Offset,
    /// What its batch says of all its records.
    pub batch: &'a BatchInfo,
    /// The record itself.
    pub record: RecordView<'a>,
}

/// Appends the records of `fetched`, as [`visit`] meets them.
///
/// # Errors
/// A batch is broken.
pub fn decode(fetched: &Fetched, isolation: Isolation, records: &mut Vec<Consumed>) -> Result<(), ClientError> {
    visit(fetched, isolation, |FetchedRecord { at, offset, batch, record }| {
        // A plain batch's parts lie in the answer itself and share its buffer.
        let own = |part: &[u8]| {
            if batch.codec == Codec::None { fetched.records.slice_ref(part) } else { Bytes::copy_from_slice(part) }
        };
        let headers = record
            .headers()
            .map(|header| (String::from_utf8_lossy(header.key).into_owned(), header.value.map(Bytes::copy_from_slice)));
        records.push(Consumed {
            at: at.clone(),
            offset,
            leader_epoch: batch.leader_epoch,
            timestamp: record.timestamp,
            key: record.key.map(own),
            value: record.value.map(own),
            headers: headers.collect(),
        });
        ControlFlow::Continue(())
    })
}

/// Calls `on_record` for each record of `fetched` until it breaks off: CRCs checked, control records left out, and with
/// [`Isolation::ReadCommitted`] those of aborted transactions too.
///
/// # Errors
/// A batch is broken.
pub fn visit(
    fetched: &Fetched,
    isolation: Isolation,
    mut on_record: impl FnMut(FetchedRecord<'_>) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let fail = |error: batch::BatchError| corrupt(&fetched.at, fetched.from, &error);
    let mut aborted = fetched.aborted.clone();
    aborted.sort_by_key(|(_, first)| *first);
    let mut aborted = aborted.into_iter().peekable();
    let mut aborting: BTreeSet<ProducerId> = BTreeSet::new();
    let mut rest: &[u8] = &fetched.records;
    while let Some(size) = BatchView::peek_size(rest).map_err(fail)? {
        let Some((bytes, after)) = rest.split_at_checked(size) else { break };
        rest = after;
        let view = batch::check(bytes).map_err(fail)?;
        let info = view.info();
        let producer = info.producer.map(|producer| producer.id);
        while let Some((id, _)) = aborted.next_if(|(_, first)| *first <= view.last_offset()) {
            aborting.insert(id);
        }
        if info.control {
            let marker = EndTransaction::read(&view).map_err(fail)?;
            if let (Some(EndTransaction { committed: false, .. }), Some(id)) = (marker, producer) {
                aborting.remove(&id);
            }
            continue;
        }
        let hidden = info.transactional && producer.is_some_and(|id| aborting.contains(&id));
        if isolation == Isolation::ReadCommitted && hidden {
            continue;
        }
        let inflated = Inflated::new(&view, types::limits::INFLATED_BATCH_BYTES_MAX).map_err(fail)?;
        for record in inflated.records() {
            let record = record.map_err(fail)?;
            let offset = inflated.offset_of(&record);
            if offset < fetched.from {
                continue;
            }
            if on_record(FetchedRecord { at: &fetched.at, offset, batch: &info, record }).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}
