//! The self-check: what one group reads of one partition, held against what the stamps say.
//!
//! *Duplicated* is a message at two offsets; *reordered* is one that comes after a later one of its producer; *lost* is
//! one that was acked and never read. A message read again at the same offset (a group was rebalanced) is none of these.

use std::collections::BTreeMap;

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
    pub(crate) found: Found,
}

/// What was found wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupt: u64,
    pub(crate) expired: u64,
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
            self.found.expired += (log_start - self.next) as u64;
            self.next = log_start;
        }
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
        assert_eq!((reading.found.expired, reading.next), (9, 10));
    }
}
