//! The self-check: what one group reads of one partition, held against what the stamps say.
//!
//! *Duplicated* is a message at two offsets; *reordered* is one that comes after a later one of its producer; *lost* is
//! one that was acked and never read. A message read again at the same offset (a group was rebalanced) is none of these.
//!
//! *Expired* is a message whose ack gave it an offset below the log start that a reader met: retention took it. Only such
//! messages are forgiven. Counting the offsets that were jumped over would forgive as many messages of ours wherever
//! they were lost, since those offsets may have been other people's.

use std::collections::{BTreeMap, VecDeque};

use crate::intervals::Intervals;

/// Findings that are told in words.
const EXAMPLES_MAX: usize = 8;

/// What a group has read of one partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// The next offset.
    pub(crate) next: i64,
    /// The highest high watermark seen.
    pub(crate) high_watermark: i64,
    /// When the last message read was due.
    pub(crate) last_due_ns: u64,
    /// By producer: the sequences read.
    pub(crate) seen: BTreeMap<u32, Intervals>,
    /// Offsets that were gone before they were read, rising: from, and before which.
    pub(crate) gone: Vec<(i64, i64)>,
    pub(crate) found: Found,
}

/// Where a producer's messages lie, as their ack said: `count` from `sequence` on at the offsets from `offset` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AckedBatch {
    pub(crate) offset: i64,
    pub(crate) producer: u32,
    pub(crate) sequence: u64,
    pub(crate) count: u64,
}

impl AckedBatch {
    /// The offset after it.
    pub(crate) fn end(&self) -> i64 {
        self.offset + self.count as i64
    }

    /// Takes `next` in if it follows in offset and sequence.
    pub(crate) fn join(&mut self, next: &Self) -> bool {
        let follows =
            self.producer == next.producer && self.end() == next.offset && self.sequence + self.count == next.sequence;
        self.count += if follows { next.count } else { 0 };
        follows
    }
}

/// What was found wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupt: u64,
    pub(crate) reread: u64,
    pub(crate) examples: Vec<String>,
}

impl Found {
    pub(crate) fn note(&mut self, example: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }
}

impl Reading {
    /// Begins at an offset.
    pub(crate) fn at(next: i64) -> Self {
        Self { next, high_watermark: next, ..Self::default() }
    }

    /// The log begins later than what is to be read next: retention was faster.
    pub(crate) fn on_log_start(&mut self, log_start: i64) {
        if self.next < log_start {
            match self.gone.last_mut() {
                Some(last) if last.1 == self.next => last.1 = log_start,
                _ => self.gone.push((self.next, log_start)),
            }
            self.next = log_start;
        }
    }

    /// Whatever was acked below this offset has been read, or shows as lost.
    pub(crate) fn settled_below(&self) -> i64 {
        self.gone.first().map_or(self.next, |(from, _)| *from)
    }

    /// What of `acked` retention took: by producer the sequences at offsets that were gone.
    pub(crate) fn expired(&self, acked: &VecDeque<AckedBatch>) -> BTreeMap<u32, Intervals> {
        let mut expired: BTreeMap<u32, Intervals> = BTreeMap::new();
        for batch in acked {
            for (from, to) in &self.gone {
                let (first, end) = (batch.offset.max(*from), batch.end().min(*to));
                if first < end {
                    let sequence = |offset: i64| batch.sequence + (offset - batch.offset) as u64;
                    expired.entry(batch.producer).or_default().insert_range(sequence(first), sequence(end));
                }
            }
        }
        expired
    }

    /// A record at `offset`; false if it was read before.
    pub(crate) fn on_offset(&mut self, offset: i64) -> bool {
        if offset < self.next {
            self.found.reread += 1;
            return false;
        }
        self.next = offset + 1;
        true
    }

    /// A message of this run, at an offset that was not read before.
    pub(crate) fn on_message(&mut self, producer: u32, sequence: u64, due_ns: u64, offset: i64) {
        self.last_due_ns = due_ns;
        let seen = self.seen.entry(producer).or_default();
        let late = sequence < seen.end();
        if !seen.insert(sequence) {
            self.found.duplicated += 1;
            self.found
                .note(|| format!("duplicated: message {sequence} of producer {producer}, again at offset {offset}"));
        } else if late {
            self.found.reordered += 1;
            self.found.note(|| {
                format!("reordered: message {sequence} of producer {producer} at offset {offset}, after a later one")
            });
        }
    }

    pub(crate) fn on_corrupt(&mut self, offset: i64, what: &str) {
        self.found.corrupt += 1;
        self.found.note(|| format!("corrupt: offset {offset}: {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(messages: &[(i64, u64)]) -> Reading {
        let mut reading = Reading::at(0);
        for &(offset, sequence) in messages {
            if reading.on_offset(offset) {
                reading.on_message(1, sequence, 0, offset);
            }
        }
        reading
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        for (messages, duplicated, reordered, reread) in [
            (&[(0, 0), (1, 1), (2, 2)][..], 0, 0, 0),
            (&[(0, 0), (1, 1), (2, 1)], 1, 0, 0),
            (&[(0, 0), (1, 2), (2, 1)], 0, 1, 0),
            // A gap alone is found by whoever knows what was acked.
            (&[(0, 0), (1, 2), (2, 3)], 0, 0, 0),
            (&[(0, 0), (1, 1), (0, 0), (1, 1), (2, 2)], 0, 0, 2),
        ] {
            let found = read(messages).found;
            assert_eq!(
                (found.duplicated, found.reordered, found.reread),
                (duplicated, reordered, reread),
                "{messages:?}"
            );
        }
        let mut acked = Intervals::default();
        acked.insert_range(0, 4);
        assert_eq!(acked.missing_in(&read(&[(0, 0), (1, 2), (2, 3)]).seen[&1]), 1);
    }

    #[test]
    fn what_retention_took_is_expired_and_not_read() {
        let mut reading = read(&[(0, 0)]);
        reading.on_log_start(10);
        reading.on_log_start(5);
        reading.on_log_start(12);
        assert_eq!((&reading.gone, reading.next, reading.settled_below()), (&vec![(1, 12)], 12, 1));
        // Of producer 1 ten messages from offset 4 on: eight of them lay below 12. Producer 2's came later.
        let acked = [
            AckedBatch { offset: 4, producer: 1, sequence: 100, count: 10 },
            AckedBatch { offset: 14, producer: 2, sequence: 0, count: 5 },
        ];
        let mut taken = Intervals::default();
        taken.insert_range(100, 108);
        assert_eq!(reading.expired(&acked.into()), BTreeMap::from([(1, taken)]));
    }

    #[test]
    fn batches_that_follow_each_other_are_remembered_as_one() {
        let batch = |offset, producer, sequence| AckedBatch { offset, producer, sequence, count: 5 };
        let mut first = batch(0, 1, 0);
        assert!(first.join(&batch(5, 1, 5)));
        assert_eq!((first.count, first.end()), (10, 10));
        for other in [batch(10, 2, 10), batch(11, 1, 10), batch(10, 1, 11)] {
            assert!(!first.join(&other), "{other:?}");
        }
    }
}
