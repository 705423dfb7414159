//! A thread that consumes: several consumers on one runtime, each checking every message it reads.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use batch::{BatchView, Inflated};
use client::{Client, ClientConfig, Consumer, ConsumerConfig, Fetched, GroupConfig, StartOffset};
use tokio::task::LocalSet;
use tokio::time::sleep;
use types::limits::INFLATED_BATCH_BYTES_MAX;
use types::{Offset, TopicPartition};

use crate::check::Reading;
use crate::clock::now_ns;
use crate::outcome::Count;
use crate::shared::Shared;
use crate::stamp::Stamp;
use crate::tally::{Failed, Tick, Totals, record, second_of};
use crate::worker::pin;

/// How long a consumer waits before it looks whether it should end.
const POLL: Duration = Duration::from_millis(100);
/// How often a thread looks whether a second is over.
const LOOK: Duration = Duration::from_millis(20);
/// Pause after an error that may pass.
const RETRY: Duration = Duration::from_millis(200);

/// What one group has read, by partition.
pub(crate) struct Group {
    readings: Vec<Mutex<Reading>>,
    /// Partitions that its consumers have a position in.
    assigned: AtomicI64,
}

impl Group {
    /// Begins at these offsets, by partition.
    pub(crate) fn at(starts: &[i64]) -> Self {
        let readings = starts.iter().map(|start| Mutex::new(Reading::at(*start))).collect();
        Self { readings, assigned: AtomicI64::new(0) }
    }

    /// Whether every partition has a consumer.
    pub(crate) fn is_settled(&self) -> bool {
        self.readings.len() as i64 <= self.assigned.load(Ordering::Relaxed)
    }

    pub(crate) fn reading(&self, partition: usize) -> MutexGuard<'_, Reading> {
        self.readings[partition].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What consumers and the coordinator share.
pub(crate) struct Readers {
    /// The tail's groups.
    pub(crate) groups: Vec<Group>,
    /// What cold readers read together.
    pub(crate) cold: Group,
    /// Tail consumers may begin.
    pub(crate) go: AtomicBool,
    /// Cold readers may begin.
    pub(crate) go_cold: AtomicBool,
    /// All end.
    pub(crate) stop: AtomicBool,
}

impl Readers {
    /// Nobody reads yet, and nobody is there.
    pub(crate) fn waiting() -> Self {
        let (go, go_cold, stop) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        Self { groups: Vec::new(), cold: Group::at(&[]), go, go_cold, stop }
    }
}

/// What one consumer reads.
pub(crate) enum Share {
    /// These partitions, as one of a group.
    Assigned { group: usize, partitions: Vec<(TopicPartition, i64)> },
    /// What the group gives it.
    Member { group: usize, id: String },
    /// These partitions from their beginning.
    Cold { partitions: Vec<(TopicPartition, i64)> },
}

/// What a thread is given.
pub(crate) struct ConsumerThread {
    pub(crate) cpu: Option<usize>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) config: ClientConfig,
    pub(crate) shares: Vec<Share>,
    pub(crate) ticks: Sender<Tick>,
}

struct Stats {
    totals: Totals,
    tick: Tick,
}

impl ConsumerThread {
    /// Runs until the readers are stopped.
    pub(crate) fn run(self) -> std::io::Result<Totals> {
        if let Some(cpu) = self.cpu {
            pin(cpu)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stats = Rc::new(RefCell::new(Stats { totals: Totals::new(), tick: Tick::new(0) }));
        let local = LocalSet::new();
        let Self { shared, readers, config, shares, ticks, .. } = self;
        for share in shares {
            let reader =
                Reader { shared: Arc::clone(&shared), readers: Arc::clone(&readers), stats: Rc::clone(&stats) };
            let config = config.clone();
            local.spawn_local(async move { reader.run(config, share).await });
        }
        let counter = {
            let stats = Rc::clone(&stats);
            let readers = Arc::clone(&readers);
            async move {
                while !readers.stop.load(Ordering::Relaxed) {
                    sleep(LOOK).await;
                    let second = second_of(shared.marks.start_ns(), now_ns());
                    let mut stats = stats.borrow_mut();
                    if stats.tick.second < second {
                        // The coordinator may be gone after a failure; then nobody counts.
                        let _ = ticks.send(std::mem::replace(&mut stats.tick, Tick::new(second)));
                    }
                }
                let _ = ticks.send(stats.borrow().tick.clone());
            }
        };
        runtime.block_on(local.run_until(counter));
        // The readers have seen the same flag; what they still do is commit and leave.
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), local).await.ok() });
        drop(runtime);
        let totals = std::mem::replace(&mut stats.borrow_mut().totals, Totals::new());
        Ok(totals)
    }
}

struct Reader {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    stats: Rc<RefCell<Stats>>,
}

impl Reader {
    async fn run(&self, config: ClientConfig, share: Share) {
        let cold = matches!(share, Share::Cold { .. });
        let go = if cold { &self.readers.go_cold } else { &self.readers.go };
        while !go.load(Ordering::Relaxed) {
            if self.stopped() {
                return;
            }
            sleep(LOOK).await;
        }
        let group = match &share {
            Share::Assigned { group, .. } | Share::Member { group, .. } => Some(*group),
            Share::Cold { .. } => None,
        };
        let opened = match Client::connect(config).await {
            Ok(client) => self.open(client, share),
            Err(error) => Err(error),
        };
        let mut consumer = match opened {
            Ok(consumer) => consumer,
            Err(error) => return self.fail(&error.to_string()),
        };
        let mut had = 0;
        while !self.stopped() {
            let polled = consumer.poll_batches(POLL).await;
            if let Some(group) = group {
                let has = consumer.positions().filter(|(_, offset)| offset.is_some()).count() as i64;
                self.readers.groups[group].assigned.fetch_add(has - had, Ordering::Relaxed);
                had = has;
            }
            match polled {
                Ok(fetched) => fetched.iter().for_each(|fetched| self.on_fetched(group, fetched)),
                Err(error) if error.is_retriable() => {
                    self.fail(&error.code().map_or_else(|| error.to_string(), |code| code.name().to_owned()));
                    sleep(RETRY).await;
                }
                Err(error) => {
                    self.fail(&error.to_string());
                    break;
                }
            }
        }
        // The run is over: a group that cannot take the last commit loses nothing.
        let _ = consumer.close().await;
    }

    fn stopped(&self) -> bool {
        self.readers.stop.load(Ordering::Relaxed)
    }

    fn fail(&self, what: &str) {
        let failed = Failed::of([&now_ns()], self.shared.marks.measure_ns());
        self.stats.borrow_mut().totals.fail(&format!("consume: {what}"), failed);
    }

    fn open(&self, client: Client, share: Share) -> Result<Consumer, client::ClientError> {
        let wanted = &self.shared.workload.consumers;
        let config = ConsumerConfig {
            // Only for partitions whose start has been deleted since: then the oldest there is.
            start: StartOffset::Earliest,
            fetch_wait: wanted.fetch_wait,
            fetch_bytes_min: wanted.fetch_bytes_min as i32,
            ..ConsumerConfig::default()
        };
        let assigned = |partitions: Vec<(TopicPartition, i64)>| {
            partitions.into_iter().map(|(at, start)| (at, StartOffset::At(Offset::new(start))))
        };
        match share {
            Share::Assigned { partitions, .. } | Share::Cold { partitions } => {
                Ok(Consumer::assign(client, config, assigned(partitions)))
            }
            Share::Member { id, .. } => {
                let config = ConsumerConfig { group: Some(GroupConfig::new(&id)), ..config };
                let topics: Vec<&str> = self.shared.topics.iter().map(|topic| topic.name.as_ref()).collect();
                Consumer::subscribe(client, config, &topics)
            }
        }
    }

    fn on_fetched(&self, group: Option<usize>, fetched: &Fetched) {
        let Some(number) = self.shared.number_of(&fetched.at) else { return };
        let now = now_ns();
        let readings = group.map_or(&self.readers.cold, |group| &self.readers.groups[group]);
        let mut reading = readings.reading(number);
        if let Some(high_watermark) = fetched.high_watermark {
            reading.high_watermark = reading.high_watermark.max(high_watermark.value());
        }
        if let Some(log_start) = fetched.log_start.filter(|_| reading.next < fetched.from.value()) {
            reading.on_log_start(log_start.value().min(fetched.from.value()));
        }
        let mut stats = self.stats.borrow_mut();
        let mut read = Count::default();
        let mut rest = &fetched.records[..];
        while let Ok(Some(size)) = BatchView::peek_size(rest) {
            let Some((bytes, after)) = rest.split_at_checked(size) else { break };
            rest = after;
            let view = match batch::check(bytes) {
                Ok(view) => view,
                Err(error) => {
                    let next = reading.next;
                    reading.on_corrupt(next, &error.to_string());
                    continue;
                }
            };
            if view.attributes().control {
                reading.on_offset(view.last_offset().value());
                continue;
            }
            match Inflated::new(&view, INFLATED_BATCH_BYTES_MAX) {
                Ok(inflated) => {
                    self.on_records(&inflated, fetched.from, group.is_some(), now, &mut reading, &mut stats, &mut read)
                }
                Err(error) => reading.on_corrupt(view.base_offset().value(), &error.to_string()),
            }
        }
        if group.is_none() {
            stats.tick.cold.add(read);
            return;
        }
        stats.tick.consumed.add(read);
        if self.shared.marks.measures(now) {
            stats.totals.consumed.add(read);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the body of one loop")]
    fn on_records(
        &self,
        inflated: &Inflated<'_>,
        from: Offset,
        tail: bool,
        now: u64,
        reading: &mut Reading,
        stats: &mut Stats,
        read: &mut Count,
    ) {
        for found in inflated.records() {
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    let next = reading.next;
                    return reading.on_corrupt(next, &error.to_string());
                }
            };
            let offset = inflated.offset_of(&found);
            // A batch may begin before what was asked for.
            if offset < from || !reading.on_offset(offset.value()) {
                continue;
            }
            let value = found.value.unwrap_or_default();
            let Some(stamp) = Stamp::read(value) else {
                // A topic that was there before may have other messages in it; ours begin with the run's number.
                if self.shared.workload.topics.existing.is_none() || value.starts_with(&self.shared.run.to_be_bytes()) {
                    reading.on_corrupt(offset.value(), "its stamp and its checksum do not agree");
                }
                continue;
            };
            if stamp.run != self.shared.run {
                continue;
            }
            reading.on_message(stamp.producer, stamp.sequence, stamp.due_ns, offset.value());
            read.add(Count { messages: 1, bytes: value.len() as u64 });
            if tail {
                let latency_ns = now.saturating_sub(stamp.due_ns);
                record(&mut stats.tick.end_to_end, latency_ns);
                // Also when it is read after the end: what waited longest must not be what is left out.
                if self.shared.marks.measures(stamp.due_ns) {
                    record(&mut stats.totals.end_to_end, latency_ns);
                }
            }
        }
    }
}
