//! The reading itself: from named partitions or as a member of a group, until an end is reached or somebody says stop.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use client::{
    Admin, Client, ClientError, Consumer, ConsumerConfig, Fetched, FoundOffset, GroupConfig, OffsetAt, StartOffset,
    visit,
};
use types::{Offset, PartitionIndex, Timestamp, TopicPartition};

use super::print::Printer;
use super::range::{From, Range, Until};
use crate::failure::{Code, Failure};
use crate::stream::progress::{Progress, Unit};
use crate::stream::{Interrupt, Out, ReaderGone};
use crate::units::{count, now_ms};

/// How often it is looked whether to stop, while nothing arrives.
const STEP: Duration = Duration::from_millis(200);

/// After so long without an answer it is said that and why nothing comes.
const TROUBLE_SAID_AFTER: Duration = Duration::from_secs(3);

/// A group's positions are committed so often.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

/// What is read.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) topics: Vec<String>,
    /// `None`: all.
    pub(crate) partitions: Option<Vec<i32>>,
    pub(crate) range: Range,
    /// End where the logs end now even if `range` goes on beyond.
    pub(crate) exit: bool,
    /// Where to begin when nothing is said and the group has committed nothing.
    pub(crate) start_default: From,
    pub(crate) group: Option<GroupConfig>,
    /// Records at most.
    pub(crate) count: Option<u64>,
    /// End after so long without a record.
    pub(crate) idle_max: Option<Duration>,
    pub(crate) fetch: ConsumerConfig,
    /// Say nothing but failures.
    pub(crate) quiet: bool,
    /// Where something must come for the run to end, it must come within this.
    pub(crate) timeout: Duration,
}

impl Plan {
    /// Whether an end was named: such a run gives up on a cluster that does not answer.
    fn ends_by_itself(&self) -> bool {
        self.count.is_some() || self.range.until != Until::Never
    }
}

/// Why reading ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// All that was asked for was read.
    Reached,
    /// The time without a record is over.
    Idle,
    Interrupted,
    ReaderGone,
}

/// Reads and prints.
///
/// # Errors
/// What was named does not exist, a place lies outside of the log, the cluster cannot be reached while the end of the
/// run depends on it, or stdout cannot be written.
pub(crate) async fn run(client: Client, plan: &Plan, printer: &mut Printer) -> Result<End, Failure> {
    let interrupt = Interrupt::listen()?;
    let mut out = Out::stdout()?;
    let mut reading = Reading::begin(client, plan).await?;
    printer.begin(&mut out.buffer);
    let end = reading.run(plan, printer, &mut out, &interrupt).await;
    reading.progress.finish();
    let end = match end {
        Ok(end) if end != End::ReaderGone => {
            printer.end(&mut out.buffer);
            if out.flush()? == Err(ReaderGone) { Ok(End::ReaderGone) } else { Ok(end) }
        }
        end => end,
    };
    match (end, reading.close().await) {
        (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
        (Ok(end), Ok(())) => Ok(end),
    }
}

struct Reading {
    consumer: Consumer,
    admin: Admin,
    /// Whether partitions are the group's to give.
    member: bool,
    /// Where each partition is read no further.
    ends: BTreeMap<TopicPartition, Offset>,
    /// Partitions whose end was looked up (or that have none).
    bounded: BTreeSet<TopicPartition>,
    /// Where records were last printed up to.
    next: BTreeMap<TopicPartition, Offset>,
    progress: Progress,
    committed_at: Instant,
    commits: bool,
}

impl Reading {
    async fn begin(client: Client, plan: &Plan) -> Result<Self, Failure> {
        let admin = Admin::new(client.clone());
        let mut config = plan.fetch.clone();
        config.auto_commit = plan.group.is_some().then_some(COMMIT_EVERY);
        config.group = plan.group.clone();
        let visible = !plan.quiet && !io::stdout().is_terminal();
        let member = plan.group.is_some() && plan.partitions.is_none() && plan.range.from != Some(From::Stored);
        let (consumer, ends, total) = if member {
            for topic in &plan.topics {
                client.topic(topic, false).await?;
            }
            let from = plan.range.from.unwrap_or(plan.start_default);
            config.start = match from {
                From::Beginning => StartOffset::Earliest,
                From::End => StartOffset::Latest,
                From::Back(records) => StartOffset::Back(records),
                From::Time(time) => StartOffset::Time(time),
                From::Stored | From::At(_) | From::Forward(_) => {
                    let why = "in a group -o says where to begin in partitions without a committed offset: \
                               beginning, end, -N or a time";
                    return Err(Failure::new(Code::Usage, why)
                        .with_next("name partitions with -p to read them apart from the group's other members"));
                }
            };
            if matches!(plan.range.until, Until::At(_)) {
                return Err(Failure::new(Code::Usage, "an end offset needs partitions named with -p"));
            }
            let topics: Vec<&str> = plan.topics.iter().map(String::as_str).collect();
            (Consumer::subscribe(client, config, &topics)?, BTreeMap::new(), None)
        } else {
            let partitions = partitions_of(&client, plan).await?;
            let place = Places::look_up(&admin, plan, &partitions).await?;
            config.start = StartOffset::Earliest;
            let starts: BTreeMap<TopicPartition, Offset> = partitions
                .iter()
                .map(|at| place.start(plan, at).map(|start| (at.clone(), start)))
                .collect::<Result<_, _>>()?;
            let ends = place.ends(plan, &admin, &partitions).await?;
            let total = (ends.len() == partitions.len()).then(|| {
                let records = |(at, end): (&TopicPartition, &Offset)| end.records_since(starts[at].min(*end)) as u64;
                ends.iter().map(records).sum()
            });
            let assigned = starts.into_iter().map(|(at, start)| (at, StartOffset::At(start)));
            (Consumer::assign(client, config, assigned), ends, total)
        };
        let total = match (total, plan.count) {
            (Some(total), Some(count)) => Some(u64::min(total, count)),
            (total, count) => total.or(count),
        };
        let bounded = if member { BTreeSet::new() } else { consumer.positions().map(|(at, _)| at.clone()).collect() };
        let next = consumer.positions().filter_map(|(at, offset)| Some((at.clone(), offset?))).collect();
        Ok(Self {
            consumer,
            admin,
            member,
            ends,
            bounded,
            next,
            progress: Progress::new(Unit::Records, total, visible),
            committed_at: Instant::now(),
            commits: plan.group.is_some(),
        })
    }

    async fn run(
        &mut self,
        plan: &Plan,
        printer: &mut Printer,
        out: &mut Out,
        interrupt: &Interrupt,
    ) -> Result<End, Failure> {
        if plan.count == Some(0) {
            return Ok(End::Reached);
        }
        let mut heard_at = Instant::now();
        let mut said = false;
        // Behind one step of the consumer there may be several questions that nobody answers.
        let patience = match plan.ends_by_itself() {
            true => plan.timeout.saturating_add(plan.fetch.fetch_wait).saturating_add(STEP),
            false => Duration::MAX,
        };
        loop {
            if self.is_over(plan).await? {
                return Ok(End::Reached);
            }
            let fetched = tokio::select! {
                fetched = tokio::time::timeout(patience, self.consumer.poll_batches(STEP)) => match fetched {
                    Ok(fetched) => fetched?,
                    Err(_) => return Err(self.given_up(plan)),
                },
                () = interrupt.wait() => return Ok(End::Interrupted),
            };
            let before = printer.records;
            let (outcome, handed) = self.print(plan, printer, out, &fetched)?;
            let gone = match outcome {
                ControlFlow::Break(End::ReaderGone) => true,
                _ if fetched.is_empty() => out.is_reader_gone(),
                _ => out.flush()? == Err(ReaderGone),
            };
            if gone {
                // What was not written was not read: a group gets it again.
                for batches in &fetched {
                    self.consumer.seek(&batches.at, batches.from);
                }
                return Ok(End::ReaderGone);
            }
            if let ControlFlow::Break(end) = outcome {
                for batches in &fetched[handed..] {
                    self.consumer.seek(&batches.at, self.next.get(&batches.at).copied().unwrap_or(batches.from));
                }
                return Ok(end);
            }
            self.progress.set(printer.records, "");
            if before < printer.records {
                heard_at = Instant::now();
            } else if plan.idle_max.is_some_and(|idle_max| idle_max <= heard_at.elapsed()) {
                return Ok(End::Idle);
            }
            said = self.tell_trouble(plan, said)?;
            self.commit_apart().await?;
        }
    }

    /// Prints what was fetched; also says how many of the fetched parts were printed in full.
    fn print(
        &mut self,
        plan: &Plan,
        printer: &mut Printer,
        out: &mut Out,
        fetched: &[Fetched],
    ) -> Result<(ControlFlow<End>, usize), Failure> {
        for (index, batches) in fetched.iter().enumerate() {
            let end = if self.member { None } else { self.ends.get(&batches.at).copied() };
            let expected = self.next.get(&batches.at).copied().filter(|_| !self.member && !plan.quiet);
            if let Some(expected) = expected.filter(|expected| *expected < batches.from) {
                let (first, last) = (expected, batches.from.value() - 1);
                self.progress
                    .say(&format!("{}: offsets {first} to {last} were deleted before they could be read", batches.at));
            }
            let mut flow: ControlFlow<End> = ControlFlow::Continue(());
            let mut failure = None;
            let mut next = batches.from;
            visit(batches, plan.fetch.isolation, |seen| {
                let late = matches!(plan.range.until, Until::Time(time) if time <= seen.record.timestamp);
                if late && !self.member || end.is_some_and(|end| end <= seen.offset) {
                    self.ends.insert(batches.at.clone(), seen.offset);
                    return ControlFlow::Break(());
                }
                printer.record(&mut out.buffer, &seen);
                next = seen.offset.plus(1);
                if plan.count == Some(printer.records) {
                    flow = ControlFlow::Break(End::Reached);
                    return ControlFlow::Break(());
                }
                match out.flush_if_large() {
                    Ok(Ok(())) => return ControlFlow::Continue(()),
                    Ok(Err(ReaderGone)) => flow = ControlFlow::Break(End::ReaderGone),
                    Err(error) => failure = Some(error),
                }
                ControlFlow::Break(())
            })?;
            if let Some(failure) = failure {
                return Err(failure);
            }
            if flow.is_break() {
                self.next.insert(batches.at.clone(), next);
                return Ok((flow, index));
            }
            // Batches may end in offsets that hold no record any more.
            let after = self.consumer.positions().find(|(at, _)| **at == batches.at).and_then(|(_, offset)| offset);
            self.next.insert(batches.at.clone(), after.unwrap_or(next));
        }
        Ok((ControlFlow::Continue(()), fetched.len()))
    }

    /// Whether every partition has reached its end. Those that have are asked no more.
    async fn is_over(&mut self, plan: &Plan) -> Result<bool, Failure> {
        if self.member {
            if plan.range.until == Until::Never {
                return Ok(false);
            }
            let assigned: Vec<TopicPartition> = self.consumer.positions().map(|(at, _)| at.clone()).collect();
            let fresh: Vec<TopicPartition> =
                assigned.iter().filter(|at| !self.bounded.contains(*at)).cloned().collect();
            if !fresh.is_empty() {
                let found = ends_until(plan, &self.admin, &fresh).await?;
                self.ends.extend(found);
                self.bounded.extend(fresh);
            }
            let reached = |(at, offset): (&TopicPartition, Option<Offset>)| {
                offset.is_some_and(|offset| self.ends.get(at).is_some_and(|end| *end <= offset))
            };
            return Ok(!assigned.is_empty() && self.consumer.positions().all(reached));
        }
        let over: Vec<TopicPartition> = self
            .consumer
            .positions()
            .filter(|(at, offset)| {
                let end = self.ends.get(*at);
                offset.is_some_and(|offset| end.is_some_and(|end| *end <= offset))
            })
            .map(|(at, _)| at.clone())
            .collect();
        for at in &over {
            if self.commits
                && let Some(end) = self.ends.get(at)
            {
                self.commit_one(at, *end).await?;
            }
            self.consumer.remove(at);
        }
        Ok(self.consumer.positions().next().is_none())
    }

    /// As a reader apart from the group's members: where a partition's reading ended.
    async fn commit_one(&mut self, at: &TopicPartition, offset: Offset) -> Result<(), Failure> {
        let next = self.next.get(at).copied().unwrap_or(offset).min(offset);
        self.consumer.seek(at, next);
        self.consumer.commit().await?;
        self.committed_at = Instant::now();
        Ok(())
    }

    async fn commit_apart(&mut self) -> Result<(), Failure> {
        if self.commits && !self.member && COMMIT_EVERY <= self.committed_at.elapsed() {
            self.consumer.commit().await?;
            self.committed_at = Instant::now();
        }
        Ok(())
    }

    /// Why no answer came in time.
    fn given_up(&self, plan: &Plan) -> Failure {
        match self.consumer.trouble() {
            Some((error, _)) => error.clone().into(),
            None => {
                let why = format!("no answer within {} ms", plan.timeout.as_millis());
                Failure::new(Code::Unreachable, why).with_next("ringlog cluster health, or a longer --timeout")
            }
        }
    }

    /// Says once that nothing comes. A run that is to end by itself gives up in the end.
    fn tell_trouble(&self, plan: &Plan, said: bool) -> Result<bool, Failure> {
        let Some((error, since)) = self.consumer.trouble() else { return Ok(false) };
        if plan.ends_by_itself() && plan.timeout <= since {
            return Err(error.clone().into());
        }
        if !said && TROUBLE_SAID_AFTER <= since && !plan.quiet {
            self.progress.say(&format!("{error}; still trying"));
        }
        Ok(said || TROUBLE_SAID_AFTER <= since)
    }

    async fn close(self) -> Result<(), Failure> {
        let positions = self.consumer.positions().next().is_some();
        match self.consumer.close().await {
            // Nothing was assigned, or the group has moved on: whoever has the partitions now reads again from where
            // was last committed.
            Err(error) if !positions || is_moved_on(&error) => Ok(()),
            closed => Ok(closed?),
        }
    }
}

fn is_moved_on(error: &ClientError) -> bool {
    use types::ErrorCode::{IllegalGeneration, RebalanceInProgress, UnknownMemberId};
    matches!(error.code(), Some(RebalanceInProgress | IllegalGeneration | UnknownMemberId))
}

/// The partitions that the plan names.
async fn partitions_of(client: &Client, plan: &Plan) -> Result<Vec<TopicPartition>, Failure> {
    let mut partitions = Vec::new();
    for name in &plan.topics {
        let topic = client.topic(name, false).await?;
        let there = |wanted: i32| topic.partitions.iter().any(|partition| partition.index.value() == wanted);
        match &plan.partitions {
            None => {
                partitions
                    .extend(topic.partitions.iter().map(|each| TopicPartition::new(topic.name.clone(), each.index)));
            }
            Some(wanted) => {
                for &index in wanted {
                    let Some(partition) = PartitionIndex::from_wire(index).filter(|_| there(index)) else {
                        let have = topic.partitions.len();
                        let why = format!("{name} has no partition {index}: it has {have}, numbered from 0");
                        return Err(Failure::new(Code::NotFound, why));
                    };
                    partitions.push(TopicPartition::new(topic.name.clone(), partition));
                }
            }
        }
    }
    Ok(partitions)
}

type Found = BTreeMap<TopicPartition, FoundOffset>;

/// What had to be looked up to know where to begin.
struct Places {
    earliest: Found,
    latest: Found,
    by_time: Found,
    stored: BTreeMap<TopicPartition, Offset>,
}

impl Places {
    async fn look_up(admin: &Admin, plan: &Plan, partitions: &[TopicPartition]) -> Result<Self, Failure> {
        let isolation = plan.fetch.isolation;
        let mut places = Self {
            earliest: admin.list_offsets(partitions, OffsetAt::Earliest).await?,
            latest: admin.list_offsets_as(partitions, OffsetAt::Latest, isolation).await?,
            by_time: Found::new(),
            stored: BTreeMap::new(),
        };
        if let Some(From::Time(time)) = plan.range.from {
            places.by_time = admin.list_offsets_as(partitions, OffsetAt::Time(time), isolation).await?;
        }
        let stored = matches!(plan.range.from, None | Some(From::Stored));
        if let Some(group) = plan.group.as_ref().filter(|_| stored) {
            let committed = admin.group_offsets(&group.id, Some(partitions)).await?;
            places.stored = committed.into_iter().map(|(at, committed)| (at, committed.offset)).collect();
        }
        Ok(places)
    }

    fn start(&self, plan: &Plan, at: &TopicPartition) -> Result<Offset, Failure> {
        let place = |found: &Found| found.get(at).map(|found| found.offset);
        let first = place(&self.earliest).unwrap_or(Offset::ZERO);
        let end = place(&self.latest).unwrap_or(first);
        let stored = self.stored.get(at).copied();
        let from = match plan.range.from {
            None => stored.map_or(plan.start_default, From::At),
            Some(From::Stored) if plan.group.is_none() => {
                let why = "-o stored needs the group that has stored: -g GROUP";
                return Err(Failure::new(Code::Usage, why));
            }
            Some(From::Stored) => stored.map_or(plan.start_default, From::At),
            Some(from) => from,
        };
        Ok(match from {
            From::Beginning | From::Stored => first,
            From::End => end,
            From::Back(records) => Offset::new(end.value().saturating_sub(records).max(first.value())),
            From::Forward(records) => first.plus(records).min(end),
            From::Time(_) => place(&self.by_time).unwrap_or(end),
            From::At(offset) if offset < first => {
                if !plan.quiet {
                    tell!("ringlog: {at}: offset {offset} was deleted; reading from {first} on");
                }
                first
            }
            From::At(offset) if end < offset => {
                let why =
                    format!("{at} has no offset {offset} yet: it holds {first} to {end} (the next to be written)");
                return Err(Failure::new(Code::Failed, why).with_next("-o end waits for what comes next"));
            }
            From::At(offset) => offset,
        })
    }

    async fn ends(
        &self,
        plan: &Plan,
        admin: &Admin,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
        match plan.range.until {
            Until::Never => Ok(BTreeMap::new()),
            Until::At(offset) => {
                let last = |at| self.latest.get(at).filter(|_| plan.exit).map_or(offset, |found| found.offset);
                Ok(partitions.iter().map(|at| (at.clone(), offset.min(last(at)))).collect())
            }
            Until::End => Ok(self.latest.iter().map(|(at, found)| (at.clone(), found.offset)).collect()),
            Until::Time(_) => ends_until(plan, admin, partitions).await,
        }
    }
}

/// Where partitions end that are to be read until now or until a time. In one whose time is yet to come the records
/// themselves will tell.
async fn ends_until(
    plan: &Plan,
    admin: &Admin,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
    let isolation = plan.fetch.isolation;
    let offsets = |found: Found| found.into_iter().map(|(at, found)| (at, found.offset));
    let mut ends = BTreeMap::new();
    match plan.range.until {
        Until::Time(time) => {
            if plan.exit || time <= Timestamp::from_millis(now_ms()) {
                ends.extend(offsets(admin.list_offsets_as(partitions, OffsetAt::Latest, isolation).await?));
            }
            ends.extend(offsets(admin.list_offsets_as(partitions, OffsetAt::Time(time), isolation).await?));
        }
        _ => ends.extend(offsets(admin.list_offsets_as(partitions, OffsetAt::Latest, isolation).await?)),
    }
    Ok(ends)
}

/// Records in words.
pub(crate) fn records(number: u64) -> String {
    if number == 1 { "1 record".to_owned() } else { format!("{} records", count(number)) }
}
