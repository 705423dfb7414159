//! What a partition remembers of its idempotent producers: per producer id the newest epoch and its last five batches
//! (Kafka's window), enough to tell a retry from new data and a gap from both.
//!
//! Two views are kept. `applied` is what has been written; `pending` is the same plus the batches that have offsets but
//! are not written yet. A failed append throws `pending` away, and the windows are what they were.
//!
//! | batch, against the newest state of its producer id | answer |
//! |---|---|
//! | no state (never seen, expired) | taken, whatever its first sequence |
//! | lower epoch | `InvalidProducerEpoch` |
//! | higher epoch, first sequence 0 | taken |
//! | higher epoch, other first sequence | `OutOfOrderSequence` |
//! | same epoch, same first and last sequence as one of the last five | a duplicate: the original's offsets |
//! | same epoch, first sequence = last + 1 (2^31-1 is followed by 0) | taken |
//! | same epoch, anything else | `OutOfOrderSequence` |

use std::collections::{BTreeMap, VecDeque};

use batch::BatchInfo;
use types::limits::{PRODUCER_BATCHES_REMEMBERED, PRODUCERS_PER_PARTITION_MAX};
use types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::log::append::AppendFault;

/// A producer as DescribeProducers shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerInfo {
    /// Its id.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// The last sequence written; `None`: none in this epoch.
    pub last_sequence: Option<Sequence>,
    /// When it last wrote.
    pub last_timestamp: Timestamp,
    /// Its open transaction's first offset.
    pub txn_start: Option<Offset>,
}

/// A batch that a producer wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BatchSeen {
    pub base_sequence: Sequence,
    pub last_sequence: Sequence,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub log_append_time: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Producer {
    pub epoch: ProducerEpoch,
    /// When it last wrote, by our clock: a producer that fills in old times must not expire for it.
    pub last_write: Timestamp,
    /// Oldest first.
    pub batches: VecDeque<BatchSeen>,
    /// Batches of the `pending` view not yet written.
    outstanding: u32,
}

impl Producer {
    pub(crate) fn new(epoch: ProducerEpoch, last_write: Timestamp) -> Self {
        Self { epoch, last_write, batches: VecDeque::new(), outstanding: 0 }
    }

    fn take(&mut self, epoch: ProducerEpoch, seen: Option<BatchSeen>, now: Timestamp) {
        if epoch != self.epoch {
            self.batches.clear();
            self.epoch = epoch;
        }
        self.last_write = self.last_write.max(now);
        if let Some(seen) = seen {
            if self.batches.len() == PRODUCER_BATCHES_REMEMBERED {
                self.batches.pop_front();
            }
            self.batches.push_back(seen);
        }
    }
}

/// What a sequence check says of a batch that may be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SequenceVerdict {
    New,
    DuplicateOf(BatchSeen),
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Producers {
    applied: BTreeMap<ProducerId, Producer>,
    pending: BTreeMap<ProducerId, Producer>,
}

impl Producers {
    /// Checks the sequence of `info` against everything admitted so far. By the table above.
    pub(crate) fn check(&self, info: &BatchInfo) -> Result<SequenceVerdict, AppendFault> {
        let Some(batch) = info.producer else { return Ok(SequenceVerdict::New) };
        let Some(first) = batch.base_sequence else { return Ok(SequenceVerdict::New) };
        let Some(known) = self.pending.get(&batch.id).or_else(|| self.applied.get(&batch.id)) else {
            return Ok(SequenceVerdict::New);
        };
        let last = first.plus(info.last_offset_delta);
        if batch.epoch < known.epoch {
            return Err(AppendFault::InvalidProducerEpoch {
                producer: batch.id,
                found: batch.epoch,
                current: known.epoch,
            });
        }
        let newest = if batch.epoch == known.epoch {
            let same =
                known.batches.iter().rev().find(|seen| seen.base_sequence == first && seen.last_sequence == last);
            if let Some(&seen) = same {
                return Ok(SequenceVerdict::DuplicateOf(seen));
            }
            known.batches.back().map(|seen| seen.last_sequence)
        } else {
            None
        };
        let expected = newest.map_or(Sequence::ZERO, |newest| newest.plus(1));
        if first == expected {
            Ok(SequenceVerdict::New)
        } else {
            Err(AppendFault::OutOfOrderSequence { producer: batch.id, epoch: batch.epoch, found: first, last: newest })
        }
    }

    /// Remembers a checked batch that now has offsets (in `info`) but is not written.
    pub(crate) fn admit(&mut self, info: &BatchInfo, log_append_time: Option<Timestamp>, now: Timestamp) {
        let Some(batch) = info.producer else { return };
        let producer = self
            .pending
            .entry(batch.id)
            .or_insert_with(|| self.applied.get(&batch.id).cloned().unwrap_or_else(|| Producer::new(batch.epoch, now)));
        producer.take(batch.epoch, seen(info, log_append_time), now);
        producer.outstanding += 1;
    }

    /// The oldest outstanding batch of its producer has been written (or: a batch is replayed from the log).
    pub(crate) fn apply(&mut self, info: &BatchInfo, log_append_time: Option<Timestamp>, now: Timestamp) {
        let Some(batch) = info.producer else { return };
        if let Some(pending) = self.pending.get_mut(&batch.id) {
            pending.outstanding -= 1;
            if pending.outstanding == 0 {
                self.pending.remove(&batch.id);
            }
        }
        if !self.applied.contains_key(&batch.id) && PRODUCERS_PER_PARTITION_MAX <= self.applied.len() {
            self.evict_longest_silent();
        }
        let producer = self.applied.entry(batch.id).or_insert_with(|| Producer::new(batch.epoch, now));
        producer.take(batch.epoch, seen(info, log_append_time), now);
    }

    /// Forgets everything that was admitted and not written.
    pub(crate) fn roll_back(&mut self) {
        self.pending.clear();
    }

    /// Forgets producers silent for `after_ms`.
    pub(crate) fn expire(&mut self, now: Timestamp, after_ms: u64) {
        let pending = &self.pending;
        self.applied.retain(|id, producer| {
            let silent_ms = now.millis().saturating_sub(producer.last_write.millis());
            pending.contains_key(id) || silent_ms < i64::try_from(after_ms).unwrap_or(i64::MAX)
        });
    }

    pub(crate) fn restore(&mut self, id: ProducerId, producer: Producer) {
        self.applied.insert(id, producer);
    }

    /// What has been written, for a checkpoint.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.applied.iter().map(|(&id, producer)| (id, producer))
    }

    /// Last offsets of each producer's newest batch: compaction keeps those batches' headers.
    pub(crate) fn last_offsets(&self) -> Vec<Offset> {
        let mut offsets: Vec<Offset> =
            self.applied.values().filter_map(|producer| Some(producer.batches.back()?.last_offset)).collect();
        offsets.sort_unstable();
        offsets
    }

    pub(crate) fn describe(&self) -> Vec<ProducerInfo> {
        self.iter()
            .map(|(id, producer)| ProducerInfo {
                id,
                epoch: producer.epoch,
                last_sequence: producer.batches.back().map(|seen| seen.last_sequence),
                last_timestamp: producer.last_write,
                txn_start: None,
            })
            .collect()
    }

    /// Makes room for more than one, so that a flood of new ids does not search the table for each.
    fn evict_longest_silent(&mut self) {
        let mut silent: Vec<(Timestamp, ProducerId)> =
            self.applied.iter().map(|(&id, producer)| (producer.last_write, id)).collect();
        silent.sort_unstable();
        for (_, id) in silent.into_iter().take(PRODUCERS_PER_PARTITION_MAX / 16 + 1) {
            self.applied.remove(&id);
        }
    }
}

fn seen(info: &BatchInfo, log_append_time: Option<Timestamp>) -> Option<BatchSeen> {
    let base_sequence = info.producer?.base_sequence?;
    Some(BatchSeen {
        base_sequence,
        last_sequence: base_sequence.plus(info.last_offset_delta),
        base_offset: info.base_offset,
        last_offset: info.last_offset(),
        log_append_time,
    })
}
