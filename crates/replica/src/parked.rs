//! Replies that wait for the high watermark.

use std::collections::{BTreeMap, BTreeSet};

use types::Offset;

/// Names one parked reply, until it has left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ParkedId(u64);

/// The replies to acks=all of one partition, each waiting until the high watermark reaches an offset or its deadline
/// passes. Lives on: the partition's home shard.
///
/// A batch at offsets 40 to 49 parks its reply *until 50*: it leaves with the high watermark at 50, not at 49.
/// Replies leave in the order of their offsets, those of one offset in the order they came.
///
/// Bounded by the requests in flight: each connection has at most `CONNECTION_REQUESTS_IN_FLIGHT_MAX`.
#[derive(Debug)]
pub struct Parked<R> {
    by_offset: BTreeMap<(Offset, ParkedId), Waiting<R>>,
    by_deadline: BTreeSet<(u64, Offset, ParkedId)>,
    parked_total: u64,
}

#[derive(Debug)]
struct Waiting<R> {
    deadline_ns: u64,
    reply: R,
}

impl<R> Default for Parked<R> {
    fn default() -> Self {
        Self { by_offset: BTreeMap::new(), by_deadline: BTreeSet::new(), parked_total: 0 }
    }
}

impl<R> Parked<R> {
    /// Nothing waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `reply` waits until the high watermark is at `until` or above, at most until `deadline_ns` (monotonic).
    pub fn park(&mut self, until: Offset, deadline_ns: u64, reply: R) -> ParkedId {
        let id = ParkedId(self.parked_total);
        self.parked_total += 1;
        self.by_offset.insert((until, id), Waiting { deadline_ns, reply });
        self.by_deadline.insert((deadline_ns, until, id));
        id
    }

    /// The high watermark is at `high_watermark`: everything that waited for it leaves.
    pub fn on_high_watermark(&mut self, high_watermark: Offset, out: &mut Vec<R>) {
        while let Some(entry) = self.by_offset.first_entry() {
            let (until, id) = *entry.key();
            if high_watermark < until {
                return;
            }
            let waiting = entry.remove();
            self.by_deadline.remove(&(waiting.deadline_ns, until, id));
            out.push(waiting.reply);
        }
    }

    /// Everything whose deadline is at or before `now_ns` leaves, the earliest deadline first: `REQUEST_TIMED_OUT`.
    pub fn on_tick(&mut self, now_ns: u64, out: &mut Vec<R>) {
        while let Some(&(deadline_ns, until, id)) = self.by_deadline.first() {
            if now_ns < deadline_ns {
                return;
            }
            self.by_deadline.remove(&(deadline_ns, until, id));
            out.extend(self.by_offset.remove(&(until, id)).map(|waiting| waiting.reply));
        }
    }

    /// The log was cut to end at `log_end`: everything that waited for more leaves, to fail.
    pub fn on_log_cut(&mut self, log_end: Offset, out: &mut Vec<R>) {
        while let Some(entry) = self.by_offset.last_entry() {
            let (until, id) = *entry.key();
            if until <= log_end {
                break;
            }
            let waiting = entry.remove();
            self.by_deadline.remove(&(waiting.deadline_ns, until, id));
            out.push(waiting.reply);
        }
    }

    /// Everything leaves: this node no longer leads the partition, or stops.
    pub fn drain(&mut self, out: &mut Vec<R>) {
        self.by_deadline.clear();
        out.extend(std::mem::take(&mut self.by_offset).into_values().map(|waiting| waiting.reply));
    }

    /// When [`Parked::on_tick`] next has something to do.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.by_deadline.first().map(|&(deadline_ns, ..)| deadline_ns)
    }

    /// How many replies wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_offset.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_offset.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Offset {
        Offset::new(offset)
    }

    fn three() -> Parked<&'static str> {
        let mut parked = Parked::new();
        parked.park(at(50), 300, "a");
        parked.park(at(60), 100, "b");
        parked.park(at(60), 200, "c");
        parked
    }

    fn taken(take: impl FnOnce(&mut Vec<&'static str>)) -> Vec<&'static str> {
        let mut out = Vec::new();
        take(&mut out);
        out
    }

    #[test]
    fn reply_leaves_when_the_high_watermark_reaches_the_end_of_its_batch() {
        let mut parked = three();
        assert_eq!(taken(|out| parked.on_high_watermark(at(49), out)), [""; 0]);
        assert_eq!(taken(|out| parked.on_high_watermark(at(50), out)), ["a"]);
        assert_eq!(taken(|out| parked.on_high_watermark(at(70), out)), ["b", "c"]);
        assert_eq!((parked.len(), parked.next_deadline_ns()), (0, None));
    }

    #[test]
    fn reply_leaves_at_its_deadline() {
        let mut parked = three();
        assert_eq!(parked.next_deadline_ns(), Some(100));
        assert_eq!(taken(|out| parked.on_tick(99, out)), [""; 0]);
        assert_eq!(taken(|out| parked.on_tick(200, out)), ["b", "c"]);
        assert_eq!(taken(|out| parked.on_high_watermark(at(70), out)), ["a"]);
        assert!(parked.is_empty());
    }

    #[test]
    fn replies_behind_a_cut_fail_and_those_before_it_stay() {
        let mut parked = three();
        assert_eq!(taken(|out| parked.on_log_cut(at(50), out)), ["c", "b"]);
        assert_eq!(taken(|out| parked.drain(out)), ["a"]);
        assert_eq!(parked.next_deadline_ns(), None);
    }
}
