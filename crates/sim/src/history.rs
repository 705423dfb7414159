//! What was asked of the log and what it answered: the memory against which invariants judge.

use std::collections::BTreeMap;
use std::sync::Arc;

use batch::{BatchInfo, BatchView, Inflated};
use bytes::BytesMut;
use coordinator::{Command, Reply};
use machine::Ticket;
use storage::Offsets;
use types::{LeaderEpoch, Offset, Timestamp};

use crate::disk::ReadBytes;

/// Names a batch that a client made. A retry is the same batch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SentId(pub u64);

/// A batch as a client made it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Base offset 0, no leader epoch.
    pub bytes: BytesMut,
    /// Its facts.
    pub info: BatchInfo,
    /// Whether the client waits for all replicas.
    pub acks_all: bool,
    /// The timestamps of its records, in order.
    pub timestamps: Vec<Timestamp>,
}

/// What became of a batch at an offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It has its offsets, nothing more is known.
    InFlight,
    /// The log said that it is in, or a whole read found it.
    InLog,
    /// The log said that it is not in, or a whole read did not find it.
    Gone,
}

/// A batch at an offset.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Which batch.
    pub sent: SentId,
    /// Its last offset there.
    pub last_offset: Offset,
    /// What became of it.
    pub fate: Fate,
    /// The time stamped into it, once known.
    pub log_append_time: Option<Timestamp>,
}

/// Everything so far.
#[derive(Clone, Default, Debug)]
pub struct History {
    /// By [`SentId`].
    pub sent: Vec<Sent>,
    /// Every place a batch ever had. No two share an offset and an epoch, or an invariant is broken.
    pub placed: BTreeMap<(Offset, LeaderEpoch), Placed>,
}

impl History {
    /// A batch a client made.
    #[must_use]
    pub fn sent(&self, id: SentId) -> &Sent {
        &self.sent[id.0 as usize]
    }

    /// Whether the batch found is the one placed there, to the byte.
    #[must_use]
    pub fn is_as_placed(&self, found: &Found) -> bool {
        let Some(epoch) = found.info.leader_epoch else { return false };
        let Some(placed) = self.placed.get(&(found.info.base_offset, epoch)) else { return false };
        let mut want = self.sent(placed.sent).bytes.clone();
        batch::stamp(&mut want, found.info.base_offset, epoch);
        if let Some(time) = placed.log_append_time {
            batch::stamp_log_append_time(&mut want, time);
        }
        want == found.bytes
    }

    /// Whether the batch found is the one placed there, perhaps with fewer records: what compaction may make of it.
    #[must_use]
    pub fn is_compacted_from_placed(&self, found: &Found) -> bool {
        let Some(epoch) = found.info.leader_epoch else { return false };
        let Some(placed) = self.placed.get(&(found.info.base_offset, epoch)) else { return false };
        let sent = self.sent(placed.sent);
        if found.info.producer != sent.info.producer || found.info.last_offset() != placed.last_offset {
            return false;
        }
        let log_append_time = placed.log_append_time;
        let originals: BTreeMap<i32, Record> = Record::all(&sent.bytes)
            .into_iter()
            .map(|record| {
                (record.offset_delta, Record { timestamp: log_append_time.unwrap_or(record.timestamp), ..record })
            })
            .collect();
        Record::all(&found.bytes).iter().all(|record| originals.get(&record.offset_delta) == Some(record))
    }

    /// The batches that the log holds as far as it has said, oldest first.
    pub fn in_log(&self) -> impl Iterator<Item = (Offset, LeaderEpoch, &Placed)> {
        self.placed
            .iter()
            .filter(|(_, placed)| placed.fate == Fate::InLog)
            .map(|(&(base, epoch), placed)| (base, epoch, placed))
    }
}

/// A record, apart from its batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its place in the batch.
    pub offset_delta: i32,
    /// Its time, as readers see it.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

impl Record {
    /// The records of a batch; none if it cannot be read.
    #[must_use]
    pub fn all(batch: &[u8]) -> Vec<Self> {
        const INFLATED_BYTES_MAX: usize = 1 << 16;
        let Ok(view) = BatchView::parse(batch) else { return Vec::new() };
        let Ok(inflated) = Inflated::new(&view, INFLATED_BYTES_MAX) else { return Vec::new() };
        inflated
            .records()
            .flatten()
            .map(|record| Self {
                offset_delta: record.offset_delta,
                timestamp: record.timestamp,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
            })
            .collect()
    }
}

/// A batch found by reading the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its facts.
    pub info: BatchInfo,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Found {
    /// Splits what a read returned into whole batches. A last one may be cut off.
    ///
    /// # Errors
    /// Bytes that are no batch.
    pub fn split(mut bytes: &[u8]) -> Result<Vec<Self>, String> {
        let mut found = Vec::new();
        while let Some(size) = BatchView::peek_size(bytes).map_err(|error| error.to_string())? {
            if bytes.len() < size {
                break;
            }
            let view = batch::check(bytes).map_err(|error| error.to_string())?;
            found.push(Self { info: view.info(), bytes: view.bytes().to_vec() });
            bytes = &bytes[size..];
        }
        Ok(found)
    }
}

/// How the node went down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// `close` ran to its end.
    Clean,
    /// The process died.
    ProcessKill,
    /// Power went, or an fsync had failed and the cache was dropped.
    PowerLoss,
}

/// What invariants see, in order.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A group coordinator takes a request.
    GroupAsked {
        /// Whom to answer.
        ticket: Ticket,
        /// What is asked.
        command: &'a Command,
        /// When.
        now: Timestamp,
    },
    /// It answered, in the order of its decisions.
    GroupAnswered {
        /// Whom.
        ticket: Ticket,
        /// What.
        reply: &'a Reply,
        /// When.
        now: Timestamp,
    },
    /// The coordinator ended; whoever has no answer yet gets none.
    CoordinatorEnded,
    /// The groups that the coordinator knows.
    GroupsThere {
        /// Their ids.
        groups: &'a [Arc<str>],
        /// Whether it has just been loaded.
        loaded: bool,
    },
    /// A controller takes a command.
    ControllerAsked {
        /// Whom to answer.
        ticket: Ticket,
        /// What is asked.
        command: &'a quorum::Command,
    },
    /// It answered, in the order of its decisions.
    ControllerAnswered {
        /// Whom.
        ticket: Ticket,
        /// What.
        reply: &'a quorum::Reply,
    },
    /// The controller ended; whoever has no answer yet gets none.
    ControllerEnded,
    /// A controller begins, with this.
    MetadataLoaded {
        /// Everything committed.
        image: &'a quorum::MetadataImage,
    },
    /// A leader epoch began.
    EpochBegan {
        /// Which.
        epoch: LeaderEpoch,
    },
    /// A batch was given offsets.
    Placed {
        /// Which batch.
        sent: SentId,
        /// Where.
        base_offset: Offset,
        /// Up to where.
        last_offset: Offset,
        /// In which epoch.
        epoch: LeaderEpoch,
    },
    /// A batch was said to be in the log already.
    Deduplicated {
        /// Which batch.
        sent: SentId,
        /// Where the original is.
        base_offset: Offset,
    },
    /// A sequence was refused.
    SequenceRefused {
        /// Of which batch.
        sent: SentId,
        /// Whether acked data of its producer may have been lost with the power since its epoch began.
        excused: bool,
    },
    /// The marks after something happened.
    Marks {
        /// The log's.
        offsets: Offsets,
        /// The partition's.
        high_watermark: Offset,
        /// Whether acks wait for fsync.
        durable: bool,
    },
    /// The client was told that its batch is in.
    Acked {
        /// Which batch.
        sent: SentId,
        /// Where.
        base_offset: Offset,
        /// The log's marks then.
        offsets: Offsets,
        /// The partition's mark then.
        high_watermark: Offset,
        /// Whether acks wait for fsync.
        durable: bool,
    },
    /// The log start moved, and that is said to be on disk.
    StartMoved {
        /// To here.
        log_start: Offset,
    },
    /// The node went down.
    Stopped {
        /// How.
        stop: Stop,
        /// The log's marks at that moment.
        offsets: Offsets,
    },
    /// The log was opened again.
    Opened {
        /// How it had gone down.
        stop: Stop,
        /// Its marks.
        offsets: Offsets,
        /// Whether recovery took it for a clean stop.
        clean: bool,
        /// What recovery read.
        reads: &'a [ReadBytes],
        /// Per segment (by base offset), bytes of log below the recovery point before.
        settled: &'a BTreeMap<Offset, u64>,
        /// The recovery point before.
        recovery_point: Offset,
    },
    /// A read from somewhere.
    Slice {
        /// From this offset.
        start: Offset,
        /// Below this one.
        end: Offset,
        /// What came, whole batches.
        found: &'a [Found],
        /// Whether compaction may have taken records.
        compacted: bool,
    },
    /// The whole log was read.
    Whole {
        /// The log's marks.
        offsets: Offsets,
        /// All of it.
        found: &'a [Found],
        /// Whether compaction may have taken records.
        compacted: bool,
    },
    /// Faults are over and everything under way has ended.
    Healed {
        /// Batches that still wait for an answer.
        waiting: usize,
    },
}
