//! Taking batches: who may append, which offsets a batch gets, and the one answer that each gets in the end.
//!
//! A batch that is taken has its offsets and waits in the queue (`write` brings it to the file). Its answer comes when
//! `visible` passes it, or when an append fails: then everything that is not written is rolled back together, queue, log
//! end, sequence windows and waiting answers.

use bytes::{Bytes, BytesMut};
use types::limits::PARTITION_QUEUE_BYTES_MAX;
use types::{LeaderEpoch, Now, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use batch::{BatchInfo, TimestampType};

use super::write::Writing;
use super::{PartitionLog, Purpose};
use crate::effect::{Effect, IoFault, IoFaultKind, LogEvent};
use crate::file::FileName;
use crate::mutants::Mutant;
use crate::producers::SequenceVerdict;

/// How a batch was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It has its offsets; `Appended` or `AppendFailed` with its tag follows.
    Queued {
        /// Its first record.
        base_offset: Offset,
        /// Its last record.
        last_offset: Offset,
    },
    /// It is in the log already, at these offsets. Nothing follows. (Whether the high watermark has passed it is the host's to check.)
    Duplicate {
        /// The original's first record.
        base_offset: Offset,
        /// The original's last record.
        last_offset: Offset,
        /// The original's log append time, if the topic stamps it.
        log_append_time: Option<Timestamp>,
    },
    /// The same batch is on its way to disk; `Appended` or `AppendFailed` with this tag follows.
    AwaitsOriginal,
}

/// Why a batch was not taken. Nothing of the log has changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendFault {
    /// The caller's leader epoch is not this log's. (NOT_LEADER_OR_FOLLOWER)
    #[error("append in leader epoch {given}, the log is at {current:?}")]
    WrongEpoch {
        /// The caller's.
        given: LeaderEpoch,
        /// The log's; `None`: none was ever set.
        current: Option<LeaderEpoch>,
    },
    /// An append failed in this epoch; a higher one must be set first. (KAFKA_STORAGE_ERROR)
    #[error("an append failed in leader epoch {epoch}: {fault}; no more batches in it")]
    AwaitsNewEpoch {
        /// The epoch that is over.
        epoch: LeaderEpoch,
        /// What failed.
        fault: IoFault,
    },
    /// The log directory is not to be trusted. (KAFKA_STORAGE_ERROR)
    #[error("the log is poisoned: {fault}")]
    Poisoned {
        /// What failed.
        fault: IoFault,
    },
    /// The log is closing or closed. (NOT_LEADER_OR_FOLLOWER)
    #[error("the log is closed")]
    Closed,
    /// Too many bytes wait already. (KAFKA_STORAGE_ERROR, retriable)
    #[error("{queued_bytes} bytes wait to be written")]
    QueueFull {
        /// How many.
        queued_bytes: u64,
    },
    /// Larger than a segment. (RECORD_LIST_TOO_LARGE)
    #[error("batch of {bytes} bytes does not fit a segment of {segment_bytes}")]
    LargerThanSegment {
        /// The batch.
        bytes: u64,
        /// The bound.
        segment_bytes: u32,
    },
    /// Offsets would pass int64. (UNKNOWN_SERVER_ERROR)
    #[error("the partition's offsets are used up")]
    OffsetsExhausted,
    /// A sequence that does not follow. (OUT_OF_ORDER_SEQUENCE_NUMBER)
    #[error("producer {producer} epoch {epoch}: sequence {found} does not follow {last:?}")]
    OutOfOrderSequence {
        /// Whose.
        producer: ProducerId,
        /// Its epoch.
        epoch: ProducerEpoch,
        /// The batch's first sequence.
        found: Sequence,
        /// The last one taken; `None` at the start of an epoch.
        last: Option<Sequence>,
    },
    /// A producer epoch lower than the newest seen. (INVALID_PRODUCER_EPOCH)
    #[error("producer {producer}: epoch {found} is fenced by {current}")]
    InvalidProducerEpoch {
        /// Whose.
        producer: ProducerId,
        /// The batch's.
        found: ProducerEpoch,
        /// The newest.
        current: ProducerEpoch,
    },
}

/// A batch with offsets, waiting to be written.
pub(super) struct Queued {
    pub bytes: Bytes,
    pub info: BatchInfo,
    pub log_append_time: Option<Timestamp>,
}

/// Someone waits to hear of a batch.
pub(super) struct Ack {
    tag: u64,
    base_offset: Offset,
    last_offset: Offset,
    log_append_time: Option<Timestamp>,
}

impl PartitionLog {
    /// Begins a leader epoch. Must be called before the first append. The current epoch again changes nothing.
    ///
    /// # Errors
    /// An epoch lower than the current one, or equal to one in which an append failed; a poisoned log.
    pub fn set_leader_epoch(&mut self, now: Now, epoch: LeaderEpoch) -> Result<(), AppendFault> {
        self.now = now;
        if let Some(fault) = self.poisoned {
            return Err(AppendFault::Poisoned { fault });
        }
        // The log's own batches count too: an epoch below theirs was another leader's, long ago.
        let newest = self.leader_epoch.max(self.epochs.latest());
        if newest.is_some_and(|newest| epoch < newest) {
            return Err(AppendFault::WrongEpoch { given: epoch, current: newest });
        }
        if self.leader_epoch == Some(epoch) {
            return match self.refusing {
                Some((epoch, fault)) => Err(AppendFault::AwaitsNewEpoch { epoch, fault }),
                None => Ok(()),
            };
        }
        self.leader_epoch = Some(epoch);
        self.refusing = None;
        self.epochs.assign(epoch, self.next_offset);
        Ok(())
    }

    /// Takes a validated batch: checks its sequence, gives it offsets, stamps it in place, queues it for the next gather.
    /// `info` describes `batch` as it came (base offset and leader epoch are not looked at); `tag` comes back in its event.
    ///
    /// # Errors
    /// See [`AppendFault`]; nothing has changed then.
    pub fn append_as_leader(
        &mut self,
        now: Now,
        mut batch: BytesMut,
        info: &BatchInfo,
        epoch: LeaderEpoch,
        tag: u64,
    ) -> Result<Admission, AppendFault> {
        self.now = now;
        assert!(batch.len() as u64 == u64::from(info.size_bytes), "a batch and its facts differ in size");
        self.check_append(info, epoch)?;
        if let SequenceVerdict::DuplicateOf(original) = self.producers.check(info)? {
            let (base_offset, last_offset) = (original.base_offset, original.last_offset);
            let log_append_time = original.log_append_time;
            if last_offset < self.visible {
                return Ok(Admission::Duplicate { base_offset, last_offset, log_append_time });
            }
            let at = self.acks.partition_point(|ack| ack.last_offset <= last_offset);
            self.acks.insert(at, Ack { tag, base_offset, last_offset, log_append_time });
            return Ok(Admission::AwaitsOriginal);
        }

        let mut info = BatchInfo { base_offset: self.next_offset, leader_epoch: Some(epoch), ..*info };
        batch::stamp(&mut batch, info.base_offset, epoch);
        let log_append_time = (self.config.log_append_time && !info.control).then_some(now.wall);
        if let Some(time) = log_append_time {
            batch::stamp_log_append_time(&mut batch, time);
            info.max_timestamp = time;
            info.timestamp_type = TimestampType::LogAppendTime;
        }
        let (base_offset, last_offset) = (info.base_offset, info.last_offset());
        self.producers.admit(&info, log_append_time, now.wall);
        self.next_offset = info.next_offset();
        self.queued_bytes += u64::from(info.size_bytes);
        self.queue.push_back(Queued { bytes: batch.freeze(), info, log_append_time });
        self.acks.push_back(Ack { tag, base_offset, last_offset, log_append_time });
        Ok(Admission::Queued { base_offset, last_offset })
    }

    fn check_append(&self, info: &BatchInfo, epoch: LeaderEpoch) -> Result<(), AppendFault> {
        if let Some(fault) = self.poisoned {
            return Err(AppendFault::Poisoned { fault });
        }
        if self.closing {
            return Err(AppendFault::Closed);
        }
        if self.leader_epoch != Some(epoch) {
            return Err(AppendFault::WrongEpoch { given: epoch, current: self.leader_epoch });
        }
        if let Some((epoch, fault)) = self.refusing {
            return Err(AppendFault::AwaitsNewEpoch { epoch, fault });
        }
        let bytes = u64::from(info.size_bytes);
        if u64::from(self.config.segment_bytes) < bytes {
            return Err(AppendFault::LargerThanSegment { bytes, segment_bytes: self.config.segment_bytes });
        }
        // One batch is always taken, or a batch larger than the bound could never be.
        if !self.queue.is_empty() && PARTITION_QUEUE_BYTES_MAX < self.queued_bytes + bytes {
            return Err(AppendFault::QueueFull { queued_bytes: self.queued_bytes });
        }
        let next = self.next_offset.value().checked_add(i64::from(info.last_offset_delta) + 1);
        if next.is_none_or(|next| next == i64::MAX) {
            return Err(AppendFault::OffsetsExhausted);
        }
        Ok(())
    }

    /// Moves `visible` and tells those who waited for it.
    pub(super) fn publish(&mut self) {
        let waits_for_sync = self.config.is_durable() && !Mutant::DurableAckBeforeSync.is_armed();
        let reached = if waits_for_sync { self.durable } else { self.written };
        // Turning durable mode on must not take back what readers have seen.
        self.visible = self.visible.max(reached);
        while let Some(ack) = self.acks.pop_front_if(|ack| ack.last_offset < self.visible) {
            self.events.push_back(LogEvent::Appended {
                tag: ack.tag,
                base_offset: ack.base_offset,
                last_offset: ack.last_offset,
                log_append_time: ack.log_append_time,
            });
        }
    }

    pub(super) fn push_end_moved(&mut self) {
        self.events.push_back(LogEvent::EndMoved { written: self.written, durable: self.durable });
    }

    /// Everything that has an offset and is not written is lost.
    pub(super) fn fail_appends(&mut self, file: FileName, fault: IoFault) {
        self.queue.clear();
        self.queued_bytes = 0;
        self.next_offset = self.written;
        if !Mutant::SequenceWindowNotRolledBack.is_armed() {
            self.producers.roll_back();
        }
        self.epochs.truncate_end(self.written);
        if let Some(epoch) = self.leader_epoch
            && !Mutant::OffsetReusedAfterFailedAppend.is_armed()
        {
            self.refusing = Some((epoch, fault));
        }
        let kept = self.acks.partition_point(|ack| ack.last_offset < self.written);
        for ack in self.acks.drain(kept..) {
            self.events.push_back(LogEvent::AppendFailed { tag: ack.tag, fault });
        }
        if self.active().log_exists && !Mutant::FailedAppendNotCut.is_armed() {
            let bytes = self.active().bytes;
            self.writing = Writing::AwaitingCut;
            let op = self.op(Purpose::Cut(file));
            self.effects.push_back(Effect::Truncate { op, file, bytes });
        }
        if fault.kind == IoFaultKind::Device {
            self.poison(Some(file), fault);
        }
    }

    pub(super) fn poison(&mut self, file: Option<FileName>, fault: IoFault) {
        if self.poisoned.is_some() {
            return;
        }
        self.poisoned = Some(fault);
        self.queue.clear();
        self.queued_bytes = 0;
        self.next_offset = self.written;
        if !Mutant::SequenceWindowNotRolledBack.is_armed() {
            self.producers.roll_back();
        }
        self.commit = None;
        self.checkpoint = None;
        for ack in self.acks.drain(..) {
            self.events.push_back(LogEvent::AppendFailed { tag: ack.tag, fault });
        }
        self.events.push_back(LogEvent::Poisoned { file, written: self.written, fault });
        if self.closing {
            self.finish_close();
        }
    }
}
