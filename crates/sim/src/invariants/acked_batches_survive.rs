use std::collections::BTreeMap;

use types::{LeaderEpoch, Offset};

use super::Invariant;
use crate::history::{Fate, History, Seen, SentId, Stop};

/// An acked batch is in the log, at its offset, until the log start passes it. Every batch below the written end
/// survives the death of the process, every one below the durable end the loss of power; acked ones count as below.
///
/// With acks that do not wait for fsync, power loss may take acked batches above the durable end: that is what the
/// *replicated* and *interval* modes promise on a single node, and no more.
pub struct AckedBatchesSurvive {
    /// What must be found, and who it is.
    owed: BTreeMap<(Offset, LeaderEpoch), SentId>,
    every_ack_is_durable: bool,
}

impl AckedBatchesSurvive {
    pub fn new(every_ack_is_durable: bool) -> Self {
        Self { owed: BTreeMap::new(), every_ack_is_durable }
    }
}

impl Invariant for AckedBatchesSurvive {
    fn name(&self) -> &'static str {
        "acked_batches_survive"
    }

    fn judge(&mut self, seen: &Seen<'_>, history: &History) -> Result<(), String> {
        match *seen {
            Seen::Acked { sent, base_offset, durable, .. } => {
                self.every_ack_is_durable |= durable;
                let placed = history
                    .placed
                    .range((base_offset, LeaderEpoch::ZERO)..)
                    .take_while(|((base, _), _)| *base == base_offset)
                    .filter(|(_, placed)| placed.sent == sent && placed.fate == Fate::InLog)
                    .last();
                let Some((&place, _)) = placed else {
                    return Err(format!("{sent:?} acked at {base_offset}, where it is not"));
                };
                self.owed.insert(place, sent);
            }
            Seen::Stopped { stop, offsets } => {
                let floor = match stop {
                    Stop::Clean | Stop::ProcessKill => offsets.written,
                    Stop::PowerLoss => offsets.durable,
                };
                for (base, epoch, placed) in history.in_log() {
                    if placed.last_offset < floor {
                        self.owed.insert((base, epoch), placed.sent);
                    }
                }
                if stop == Stop::PowerLoss && !self.every_ack_is_durable {
                    self.owed.retain(|&(base, _), _| base < floor);
                }
            }
            Seen::Whole { offsets, found, compacted: false } => {
                let mut found = found.iter().map(|batch| (batch.info.base_offset, batch.info.leader_epoch)).peekable();
                for (&(base, epoch), sent) in &self.owed {
                    while found.next_if(|&(found, _)| found < base).is_some() {}
                    if base < offsets.log_start {
                        continue;
                    }
                    if found.peek() != Some(&(base, Some(epoch))) {
                        return Err(format!("{sent:?} at {base} of epoch {epoch} is lost, the log holds {offsets:?}"));
                    }
                }
            }
            // Which records of it stay is another invariant's; that its offsets are not past the end is ours.
            Seen::Whole { offsets, compacted: true, .. } => {
                if let Some(((base, epoch), sent)) = self.owed.iter().find(|((base, _), _)| offsets.visible <= *base) {
                    return Err(format!("{sent:?} at {base} of epoch {epoch} is lost, the log holds {offsets:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
