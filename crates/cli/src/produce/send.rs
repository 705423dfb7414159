//! The sending itself: records as they come, their fates as they are known.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::partitioner::Choice;
use client::{Client, ClientError, Delivery, Producer, ProducerConfig, Record};
use tokio::time::{Instant, sleep, sleep_until};
use types::{ErrorCode, PartitionIndex};

use super::input::{Refusal, Shape, Source, Splitter, unreadable};
use crate::failure::{Code, Failure};
use crate::stream::json::Parsed;
use crate::stream::progress::{Progress, Unit};
use crate::stream::{Interrupt, Out};
use crate::units::count;

/// After so many records it is looked what became of the earlier ones.
const RECORDS_PER_LOOK: u64 = 1024;

/// A node that creates topics by itself has done so within this.
const CREATION_WAIT: Duration = Duration::from_secs(3);

/// Failed records that are told of one by one.
const FAILURES_TOLD_MAX: u64 = 10;

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) topic: String,
    pub(crate) partition: Option<PartitionIndex>,
    pub(crate) source: Source,
    pub(crate) cut: Cut,
    pub(crate) shape: Shape,
    /// For records that have no key of their own.
    pub(crate) key: Option<Bytes>,
    /// For every record, before its own.
    pub(crate) headers: Vec<(String, Option<Bytes>)>,
    /// Records at most.
    pub(crate) count: Option<u64>,
    /// Records a second at most.
    pub(crate) rate: Option<f64>,
    pub(crate) config: ProducerConfig,
    /// Wait for each record before the next.
    pub(crate) one_by_one: bool,
    /// Print each record's input on stdout too.
    pub(crate) tee: bool,
    /// Send nothing; say what would be sent where.
    pub(crate) dry_run: bool,
    pub(crate) quiet: bool,
    /// Printed on stdout before each line that a person is to type.
    pub(crate) prompt: Option<&'static str>,
}

/// Where one record ends in the input.
#[derive(Clone, Debug)]
pub(crate) enum Cut {
    /// At a delimiter.
    At(Vec<u8>),
    /// With its file.
    Files(Vec<std::path::PathBuf>),
}

/// What became of the records of a partition.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) offset_first: Option<i64>,
    pub(crate) offset_last: Option<i64>,
}

/// What became of all records.
#[derive(Default, Debug)]
pub(crate) struct Report {
    /// By partition; `None`: any, which only a dry run leaves open.
    pub(crate) partitions: BTreeMap<Option<i32>, Tally>,
    pub(crate) delivered: u64,
    pub(crate) failed: u64,
    pub(crate) bytes: u64,
    /// The first failure.
    failure: Option<Failure>,
    /// The input ended early.
    pub(crate) stopped: Option<Failure>,
    interrupted: bool,
}

impl Report {
    fn on_failed(&mut self, number: u64, failure: Failure, quiet: bool, progress: &Progress) {
        self.failed += 1;
        if self.failed <= FAILURES_TOLD_MAX && !quiet {
            let first = failure.message.lines().next().unwrap_or_default();
            progress.say(&format!("record {number}: {first}"));
        }
        self.failure.get_or_insert(failure);
    }

    fn on_delivered(&mut self, partition: Option<i32>, offset: Option<i64>) {
        self.delivered += 1;
        let tally = self.partitions.entry(partition).or_default();
        tally.records += 1;
        if let Some(offset) = offset {
            tally.offset_first = Some(tally.offset_first.map_or(offset, |first| first.min(offset)));
            tally.offset_last = Some(tally.offset_last.map_or(offset, |last| last.max(offset)));
        }
    }

    /// How the command ends.
    pub(crate) fn verdict(self) -> Result<(), Failure> {
        let done = self.delivered;
        if let Some(stopped) = self.stopped {
            return Err(Failure { code: if 0 < done { Code::Partial } else { stopped.code }, ..stopped });
        }
        if let Some(failure) = self.failure {
            if self.failed == 1 && done == 0 {
                return Err(failure);
            }
            let code = if 0 < done { Code::Partial } else { failure.code };
            let (failed, total) = (count(self.failed), count(self.failed + done));
            let first = failure.message;
            return Err(Failure::new(code, format!("{failed} of {total} records were not sent; the first: {first}")));
        }
        if self.interrupted {
            return Err(Failure::new(Code::Partial, format!("interrupted: {} records were sent", count(done))));
        }
        Ok(())
    }
}

/// Sends everything and waits for the fate of each record.
///
/// # Errors
/// Nothing could be sent at all. What failed later is in the report.
pub(crate) async fn run(client: Client, plan: &Plan) -> Result<Report, Failure> {
    let interrupt = Interrupt::listen()?;
    let partitions = ready_topic(&client, plan).await?;
    if let Some(partition) = plan.partition.filter(|partition| partitions <= partition.value()) {
        return Err(no_partition(&plan.topic, partition, partitions));
    }
    let terminal = io::stdin().is_terminal() && matches!((&plan.source, &plan.cut), (Source::Stdin, Cut::At(_)));
    let total = plan.source.bytes();
    let visible = !plan.quiet && !terminal && !plan.tee;
    let mut sending = Sending {
        producer: Producer::new(client, plan.config.clone())?,
        plan,
        topic: plan.topic.as_str().into(),
        partitions,
        pending: VecDeque::new(),
        report: Report::default(),
        progress: Progress::new(Unit::Bytes, total, visible),
        began: Instant::now(),
        records: 0,
        turn: 0,
        out: if plan.tee || plan.prompt.is_some() { Some(Out::stdout()?) } else { None },
    };
    if terminal && !plan.quiet && plan.prompt.is_none() {
        tell!("ringlog: reading records from the terminal, one a line; Ctrl-D ends");
    }
    let outcome = tokio::select! {
        outcome = sending.feed() => outcome,
        () = interrupt.wait() => {
            sending.report.interrupted = true;
            Ok(())
        }
    };
    // What was handed over is on its way: its fate is waited for even when the input broke off.
    sending.producer.flush().await;
    sending.look();
    sending.progress.finish();
    if let Err(failure) = outcome {
        sending.report.stopped = Some(failure);
    }
    Ok(sending.report)
}

fn no_partition(topic: &str, partition: PartitionIndex, partitions: i32) -> Failure {
    let why = format!("{topic} has no partition {partition}: it has {partitions}, numbered from 0");
    Failure::new(Code::NotFound, why)
}

/// The topic's partitions. A node may create it at the first mention.
async fn ready_topic(client: &Client, plan: &Plan) -> Result<i32, Failure> {
    let deadline = Instant::now() + CREATION_WAIT;
    let mut asked = false;
    loop {
        match client.topic_now(&plan.topic, !plan.dry_run).await {
            Ok(topic) if topic.partitions.iter().all(|partition| partition.leader.is_some()) || asked => {
                let partitions = topic.partitions.len();
                if asked && !plan.quiet {
                    tell!("ringlog: the node created {} with {partitions} partitions", plan.topic);
                }
                return Ok(partitions as i32);
            }
            Ok(_) => {}
            Err(error) => {
                let creating =
                    matches!(error.code(), Some(ErrorCode::LeaderNotAvailable | ErrorCode::UnknownTopicOrPartition));
                if !creating || plan.dry_run || deadline <= Instant::now() {
                    return Err(error.into());
                }
                asked = true;
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

struct Sending<'a> {
    producer: Producer,
    plan: &'a Plan,
    topic: Arc<str>,
    partitions: i32,
    /// Records under way, with their numbers; bounded by the producer's buffer.
    pending: VecDeque<(u64, Delivery)>,
    report: Report,
    progress: Progress,
    began: Instant,
    /// Records read so far, those that stand for none included.
    records: u64,
    /// Whose turn it is, in a dry run.
    turn: i32,
    out: Option<Out>,
}

impl Sending<'_> {
    /// Sends until the input ends.
    async fn feed(&mut self) -> Result<(), Failure> {
        match &self.plan.cut {
            Cut::Files(paths) => {
                for path in paths {
                    let bytes = match tokio::fs::read(path).await {
                        Ok(bytes) => Bytes::from(bytes),
                        Err(error) => {
                            self.records += 1;
                            let failure = unreadable(&path.display().to_string(), &error);
                            self.report.on_failed(self.records, failure, self.plan.quiet, &self.progress);
                            continue;
                        }
                    };
                    self.report.bytes += bytes.len() as u64;
                    if !self.part(bytes).await? {
                        return Ok(());
                    }
                }
                Ok(())
            }
            Cut::At(delimiter) => self.feed_parts(delimiter).await,
        }
    }

    async fn feed_parts(&mut self, delimiter: &[u8]) -> Result<(), Failure> {
        if self.plan.count == Some(0) {
            return Ok(());
        }
        let mut input = self.plan.source.clone().open();
        let mut splitter = Splitter::new(delimiter);
        let failed = |why: String| Failure::new(Code::Failed, why);
        self.prompt()?;
        while let Some(bytes) = input.recv().await {
            let bytes = bytes?;
            self.report.bytes += bytes.len() as u64;
            splitter.push(&bytes);
            while let Some(part) = splitter.next().map_err(failed)? {
                if !self.part(part).await? {
                    return Ok(());
                }
                self.prompt()?;
            }
            self.look();
            self.progress.set(self.report.bytes, "");
            if let Some(out) = &mut self.out {
                let _ = out.flush()?;
            }
        }
        match splitter.rest() {
            Some(part) => self.part(part).await.map(drop),
            None => Ok(()),
        }
    }

    fn prompt(&mut self) -> Result<(), Failure> {
        let (Some(prompt), Some(out)) = (self.plan.prompt, &mut self.out) else { return Ok(()) };
        out.buffer.extend_from_slice(prompt.as_bytes());
        out.flush().map(drop)
    }

    /// One part of the input; false when it was the last one wanted.
    async fn part(&mut self, part: Bytes) -> Result<bool, Failure> {
        self.records += 1;
        let number = self.records;
        match self.plan.shape.read(&part, number) {
            Ok(None) => self.records -= 1,
            Ok(Some(parsed)) => {
                self.send(number, parsed).await?;
                if let (true, Some(out)) = (self.plan.tee, &mut self.out) {
                    out.buffer.extend_from_slice(&part);
                    if let Cut::At(delimiter) = &self.plan.cut {
                        out.buffer.extend_from_slice(delimiter);
                    }
                    let _ = out.flush_if_large()?;
                }
            }
            Err(Refusal::Record(why)) => {
                let failure = Failure::new(Code::Failed, why);
                self.report.on_failed(number, failure, self.plan.quiet, &self.progress);
            }
            Err(Refusal::Fatal(why)) => return Err(Failure::new(Code::Failed, why)),
        }
        Ok(self.plan.count != Some(self.records))
    }

    async fn send(&mut self, number: u64, parsed: Parsed) -> Result<(), Failure> {
        if let Some(rate) = self.plan.rate {
            let due = self.began + Duration::from_secs_f64((number - 1) as f64 / rate);
            if Instant::now() < due {
                sleep_until(due).await;
            }
        }
        let partition = self.plan.partition.or(parsed.partition);
        if let Some(partition) = partition.filter(|partition| self.partitions <= partition.value()) {
            let failure = no_partition(&self.plan.topic, partition, self.partitions);
            self.report.on_failed(number, failure, self.plan.quiet, &self.progress);
            return Ok(());
        }
        let mut headers = self.plan.headers.clone();
        headers.extend(parsed.headers);
        let record = Record {
            topic: Arc::clone(&self.topic),
            partition,
            key: parsed.key.or_else(|| self.plan.key.clone()),
            value: parsed.value,
            headers,
            timestamp: parsed.timestamp,
        };
        if self.plan.dry_run {
            self.pretend(&record);
            return Ok(());
        }
        let delivery = match self.producer.send(record).await {
            Ok(delivery) => delivery,
            // Its own fault, not that of those behind it.
            Err(error @ ClientError::Usage(_)) => {
                let failure = Failure { code: Code::Failed, ..error.into() };
                self.report.on_failed(number, failure, self.plan.quiet, &self.progress);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if self.plan.one_by_one {
            let _ = delivery.wait().await;
        }
        self.pending.push_back((number, delivery));
        if number.is_multiple_of(RECORDS_PER_LOOK) {
            self.look();
        }
        Ok(())
    }

    /// Where the record would go.
    fn pretend(&mut self, record: &Record) {
        let choice = match record.partition {
            Some(partition) => Choice::Partition(partition.value()),
            None => self.plan.config.partitioner.choose(record.key.as_deref(), self.partitions),
        };
        let partition = match choice {
            Choice::Partition(partition) => Some(partition),
            Choice::Sticky => None,
            Choice::Next => {
                let turn = self.turn % self.partitions.max(1);
                self.turn = turn + 1;
                Some(turn)
            }
        };
        self.report.on_delivered(partition, None);
    }

    /// Takes note of what has become of the oldest records.
    fn look(&mut self) {
        while let Some((number, delivery)) = self.pending.front() {
            let Some(outcome) = delivery.now() else { return };
            match outcome {
                Ok(delivered) => {
                    let offset = delivered.offset.map(|offset| offset.value());
                    self.report.on_delivered(Some(delivered.partition.value()), offset);
                }
                Err(error) => {
                    self.report.on_failed(*number, error.into(), self.plan.quiet, &self.progress);
                }
            }
            self.pending.pop_front();
        }
    }
}
