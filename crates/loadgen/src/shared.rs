//! What the threads of a run share: the topics, who leads what, the marks in time, and what has been acked.

use std::collections::{HashMap, VecDeque};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use types::limits::LOAD_UNREAD_BATCHES_MAX;
use types::{PartitionIndex, TopicId, TopicPartition};

use crate::arrivals::KeySource;
use crate::check::AckedBatch;
use crate::template::Templates;
use crate::workload::Workload;

/// A topic of the run. Its partitions are numbered through all topics: partition p has number `first + p`.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
    pub(crate) first: u32,
    pub(crate) partitions: u32,
}

/// Where everything is: nodes by place in a list, and the leader of each partition by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leaders {
    /// `host:port`; a node keeps its place for the whole run.
    pub(crate) nodes: Vec<String>,
    pub(crate) of: Vec<Option<u16>>,
}

/// Moments of the run, in nanoseconds of the monotonic clock. Until it begins all lie in an endless future.
#[derive(Debug)]
pub(crate) struct Marks {
    start_ns: AtomicU64,
    measure_ns: AtomicU64,
    end_ns: AtomicU64,
}

impl Marks {
    pub(crate) fn not_begun() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Self { start_ns: never(), measure_ns: never(), end_ns: never() }
    }

    pub(crate) fn begin(&self, start_ns: u64, measure_ns: u64, end_ns: u64) {
        self.end_ns.store(end_ns, Ordering::Relaxed);
        self.measure_ns.store(measure_ns, Ordering::Relaxed);
        self.start_ns.store(start_ns, Ordering::Release);
    }

    /// When the first message is due.
    pub(crate) fn start_ns(&self) -> u64 {
        self.start_ns.load(Ordering::Acquire)
    }

    /// When counting begins.
    pub(crate) fn measure_ns(&self) -> u64 {
        self.measure_ns.load(Ordering::Relaxed)
    }

    /// When the schedule and the counting end.
    pub(crate) fn end_ns(&self) -> u64 {
        self.end_ns.load(Ordering::Relaxed)
    }

    /// Ends earlier than planned.
    pub(crate) fn end_at(&self, at_ns: u64) {
        self.end_ns.fetch_min(at_ns, Ordering::Relaxed);
    }

    /// Whether `at_ns` is counted.
    pub(crate) fn measures(&self, at_ns: u64) -> bool {
        self.measure_ns() <= at_ns && at_ns < self.end_ns()
    }
}

/// A connection that a producer asks for, or gets.
#[derive(Debug)]
pub(crate) struct Connected {
    /// The producer's place among those of its thread.
    pub(crate) producer: usize,
    pub(crate) node: u16,
    /// `None`: it could not be made.
    pub(crate) socket: Option<TcpStream>,
}

/// A producer wants a connection.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) thread: usize,
    pub(crate) producer: usize,
    pub(crate) node: u16,
}

/// Batches of a partition that are remembered, so that the age of what is unread is known to the batch.
const ACKED_BATCHES_KEPT: usize = 16;

/// What has been acked of one partition.
#[derive(Debug)]
pub(crate) struct Acked {
    /// The offset after the last message acked; -1 while there is none.
    pub(crate) end: AtomicI64,
    /// When the first message was due; `u64::MAX` while there is none.
    pub(crate) first_due_ns: AtomicU64,
    batches: Mutex<Batches>,
}

#[derive(Debug, Default)]
struct Batches {
    /// Of the last ones acked: the offset after it, and when its first message was due.
    last: VecDeque<(i64, u64)>,
    /// Those that some group has not read yet, those that follow each other as one.
    unread: VecDeque<AckedBatch>,
}

impl Acked {
    fn nothing() -> Self {
        Self { end: AtomicI64::new(-1), first_due_ns: AtomicU64::new(u64::MAX), batches: Mutex::default() }
    }

    fn batches(&self) -> MutexGuard<'_, Batches> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages of which the first was due at `due_ns` were acked without an offset: acks=0.
    pub(crate) fn on_unplaced(&self, due_ns: u64) {
        self.first_due_ns.fetch_min(due_ns, Ordering::Relaxed);
    }

    /// A batch was acked whose first message was due at `due_ns`. At most `unread_max` are remembered for
    /// [`Self::with_unread`]; of those forgotten nobody can say any more that retention took them.
    pub(crate) fn on_batch(&self, batch: AckedBatch, due_ns: u64, unread_max: usize) {
        self.first_due_ns.fetch_min(due_ns, Ordering::Relaxed);
        self.end.fetch_max(batch.end(), Ordering::Relaxed);
        let Batches { last, unread } = &mut *self.batches();
        if last.len() == ACKED_BATCHES_KEPT {
            last.pop_front();
        }
        last.push_back((batch.end(), due_ns));
        if unread.back_mut().is_some_and(|before| before.join(&batch)) {
            return;
        }
        if unread.len() == unread_max {
            unread.pop_front();
        }
        unread.push_back(batch);
    }

    /// Forgets the batches below `offset`: every group has read them.
    pub(crate) fn on_read_below(&self, offset: i64) {
        let unread = &mut self.batches().unread;
        while unread.front().is_some_and(|batch| batch.end() <= offset) {
            unread.pop_front();
        }
    }

    /// What is acked and was not read by every group when that was last asked, by offset.
    pub(crate) fn with_unread<T>(&self, look: impl FnOnce(&VecDeque<AckedBatch>) -> T) -> T {
        look(&self.batches().unread)
    }

    /// When the oldest message was due that somebody at `next` has not read, who read last what was due at `read_due_ns`
    /// (0: nothing). A partition that idled for long and then got a batch is not behind by that long.
    pub(crate) fn unread_since_ns(&self, next: i64, read_due_ns: u64) -> u64 {
        let last = &self.batches().last;
        let unread = last.iter().filter(|(end, _)| next < *end).map(|(_, due_ns)| *due_ns).min();
        match unread {
            Some(due_ns) if last.len() < ACKED_BATCHES_KEPT || last.iter().any(|(end, _)| *end <= next) => due_ns,
            // Its ack is still under way.
            None if !last.is_empty() => u64::MAX,
            // It is further behind than is remembered: its oldest message comes after the one that it read last.
            _ if read_due_ns == 0 => self.first_due_ns.load(Ordering::Relaxed),
            _ => read_due_ns,
        }
    }
}

/// What the threads of a run share.
pub(crate) struct Shared {
    pub(crate) workload: Workload,
    /// Tells this run's messages from those of others.
    pub(crate) run: u32,
    pub(crate) topics: Vec<Topic>,
    pub(crate) templates: Templates,
    pub(crate) keys: KeySource,
    pub(crate) produce_version: i16,
    pub(crate) marks: Marks,
    leaders: Mutex<Arc<Leaders>>,
    /// Counts changes of `leaders`.
    pub(crate) leaders_version: AtomicU64,
    /// Somebody met a leader that is none.
    pub(crate) leaders_stale: AtomicBool,
    pub(crate) acked: Vec<Acked>,
    /// Unanswered requests are no longer waited for.
    pub(crate) give_up: AtomicBool,
    pub(crate) keep_samples: bool,
    by_name: HashMap<Arc<str>, usize>,
}

impl Shared {
    pub(crate) fn new(
        workload: Workload,
        run: u32,
        topics: Vec<Topic>,
        leaders: Leaders,
        produce_version: i16,
        keep_samples: bool,
    ) -> Self {
        let partitions = topics.iter().map(|topic| topic.partitions).sum::<u32>();
        Self {
            templates: Templates::new(&workload),
            keys: KeySource::new(workload.messages.keys),
            by_name: topics.iter().enumerate().map(|(place, topic)| (Arc::clone(&topic.name), place)).collect(),
            workload,
            run,
            topics,
            produce_version,
            marks: Marks::not_begun(),
            leaders: Mutex::new(Arc::new(leaders)),
            leaders_version: AtomicU64::new(0),
            leaders_stale: AtomicBool::new(false),
            acked: (0..partitions).map(|_| Acked::nothing()).collect(),
            give_up: AtomicBool::new(false),
            keep_samples,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Leaders>> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn leaders(&self) -> Arc<Leaders> {
        Arc::clone(&self.lock())
    }

    pub(crate) fn set_leaders(&self, leaders: Leaders) {
        let mut current = self.lock();
        if **current != leaders {
            *current = Arc::new(leaders);
            self.leaders_version.fetch_add(1, Ordering::Release);
        }
    }

    /// Of [`Acked::on_batch`]: each partition's share of the bound.
    pub(crate) fn unread_batches_max(&self) -> usize {
        (LOAD_UNREAD_BATCHES_MAX / self.acked.len().max(1)).max(1)
    }

    /// The number of a partition; `None` if it is not of this run.
    pub(crate) fn number_of(&self, at: &TopicPartition) -> Option<usize> {
        let topic = &self.topics[*self.by_name.get(&at.topic)?];
        let partition = at.partition.value() as u32;
        (partition < topic.partitions).then_some((topic.first + partition) as usize)
    }

    /// Every partition, by its number.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.topics.iter().flat_map(|topic| {
            (0..topic.partitions as i32)
                .map(|partition| TopicPartition::new(Arc::clone(&topic.name), PartitionIndex::new(partition)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(offset: i64, count: u64) -> AckedBatch {
        AckedBatch { offset, producer: 1, sequence: offset as u64, count }
    }

    #[test]
    fn what_is_unread_is_as_old_as_its_oldest_batch() {
        let acked = Acked::nothing();
        acked.on_batch(batch(0, 10), 100, 9);
        // Read to the end, an hour of nothing, then one batch: behind by that batch's age, not by an hour.
        acked.on_batch(batch(10, 5), 3_600_000, 9);
        assert_eq!(acked.unread_since_ns(10, 100), 3_600_000);
        assert_eq!(acked.unread_since_ns(12, 3_600_000), 3_600_000);
        assert_eq!(acked.unread_since_ns(0, 0), 100);
        assert_eq!(acked.unread_since_ns(15, 3_600_000), u64::MAX, "what readers see before its ack is not late");
        // Further behind than is remembered.
        for batch in 0..ACKED_BATCHES_KEPT as i64 {
            acked.on_batch(self::batch(15 + batch, 1), 4_000_000 + batch as u64, 9);
        }
        assert_eq!(acked.unread_since_ns(10, 100), 100);
        assert_eq!(acked.unread_since_ns(0, 0), 100, "the first of all");
        assert_eq!(acked.unread_since_ns(16, 4_000_000), 4_000_001);
    }

    #[test]
    fn batches_are_remembered_until_they_are_read_and_never_beyond_their_bound() {
        let acked = Acked::nothing();
        for offset in [0, 10, 20, 40] {
            acked.on_batch(AckedBatch { sequence: 7, ..batch(offset, 10) }, 1, 3);
        }
        let offsets = |acked: &Acked| acked.with_unread(|unread| unread.iter().map(|b| b.offset).collect::<Vec<_>>());
        assert_eq!(offsets(&acked), [10, 20, 40]);
        acked.on_read_below(25);
        assert_eq!(offsets(&acked), [20, 40]);
        acked.on_read_below(30);
        assert_eq!(offsets(&acked), [40]);
    }

    #[test]
    fn without_acks_the_last_message_read_says_how_late_the_next_is() {
        let acked = Acked::nothing();
        acked.on_unplaced(100);
        assert_eq!((acked.unread_since_ns(0, 0), acked.unread_since_ns(5, 140)), (100, 140));
        assert_eq!(acked.end.load(Ordering::Relaxed), -1);
    }
}
