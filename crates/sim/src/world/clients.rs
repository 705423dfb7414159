//! What clients send, and that each of their batches is answered once.

use storage::{Admission, AppendFault};
use types::Offset;

use super::{Attempt, World};
use crate::client::{Client, Next, make_batch};
use crate::history::{Fate, Placed, Seen, SentId};
use crate::violation::{Checked, violation};

impl World {
    pub(super) fn produce(&mut self) -> Checked {
        if !self.up.as_ref().is_some_and(|up| up.open && !up.closing) {
            return Ok(());
        }
        let client = self.rng.index(self.clients.len() + 1);
        let next = self.clients.get(client).map_or(Next::Wait, Client::next);
        let sent = match next {
            Next::Again(sent) => sent,
            Next::New(producer) => self.make(Some(producer)),
            Next::Wait if client == self.clients.len() => self.make(None),
            Next::Wait => return Ok(()),
        };
        self.send(sent, self.clients.get(client).map(|_| client))
    }

    pub(super) fn make(&mut self, producer: Option<batch::Producer>) -> SentId {
        let id = SentId(self.history.sent.len() as u64);
        let sent = make_batch(id, producer, self.now, &mut self.rng);
        self.history.sent.push(sent);
        id
    }

    pub(super) fn send(&mut self, id: SentId, client: Option<usize>) -> Checked {
        let tag = self.attempts.len() as u64;
        let (now, sent) = (self.now, self.history.sent(id).clone());
        let up = self.up.as_mut().expect("the node is up");
        let epoch = up.epoch;
        let admission = up.log.append_as_leader(now, sent.bytes, &sent.info, epoch, tag);
        self.attempts.push(Attempt { sent: id, awaited: true });
        self.trace.numbers(&[1, id.0, u64::from(admission.is_ok())]);
        self.trace.line("send", &(id, &admission));
        match admission {
            Ok(Admission::Queued { base_offset, last_offset }) => {
                self.see(&Seen::Placed { sent: id, base_offset, last_offset, epoch })?;
                let placed = Placed { sent: id, last_offset, fate: Fate::InFlight, log_append_time: None };
                self.history.placed.insert((base_offset, epoch), placed);
                if let Some(client) = client {
                    self.clients[client].on_sent(id, sent.info.records);
                }
            }
            Ok(Admission::AwaitsOriginal) => {
                if let Some(client) = client {
                    self.clients[client].on_sent(id, sent.info.records);
                }
            }
            Ok(Admission::Duplicate { base_offset, .. }) => {
                self.see(&Seen::Deduplicated { sent: id, base_offset })?;
                self.attempts[tag as usize].awaited = false;
                if let Some(client) = client {
                    self.clients[client].on_sent(id, sent.info.records);
                }
                self.ack(id, base_offset)?;
            }
            Err(fault) => {
                self.attempts[tag as usize].awaited = false;
                self.refused(id, client, &fault)?;
            }
        }
        self.pump()
    }

    fn refused(&mut self, sent: SentId, client: Option<usize>, fault: &AppendFault) -> Checked {
        let up = self.up.as_ref().expect("the node is up");
        let expected = match fault {
            AppendFault::AwaitsNewEpoch { .. } => up.needs_epoch,
            AppendFault::Poisoned { .. } => up.log.poisoned().is_some(),
            AppendFault::Closed => up.closing,
            AppendFault::QueueFull { .. } | AppendFault::LargerThanSegment { .. } => true,
            AppendFault::OutOfOrderSequence { .. } | AppendFault::InvalidProducerEpoch { .. } => {
                let Some(client) = client else {
                    return Err(violation("duplicates_are_rejected", "a sequence refused to a batch without one"));
                };
                let excused = self.clients[client].on_sequence_refused();
                return self.see(&Seen::SequenceRefused { sent, excused });
            }
            AppendFault::WrongEpoch { .. } | AppendFault::OffsetsExhausted => false,
        };
        if expected { Ok(()) } else { Err(violation("appends_are_refused_for_a_reason", format!("{fault:?}"))) }
    }

    pub(super) fn answer(&mut self, tag: u64) -> Checked<Attempt> {
        let attempt = &mut self.attempts[tag as usize];
        if !attempt.awaited {
            return Err(violation("each_batch_is_answered_once", format!("{:?} twice", attempt.sent)));
        }
        attempt.awaited = false;
        Ok(*attempt)
    }

    pub(super) fn ack(&mut self, sent: SentId, base_offset: Offset) -> Checked {
        let durable = self.durable();
        let up = self.up.as_ref().expect("the node is up");
        let (offsets, high_watermark) = (up.log.offsets(), up.leader.high_watermark());
        for client in &mut self.clients {
            client.on_acked(sent);
        }
        self.see(&Seen::Acked { sent, base_offset, offsets, high_watermark, durable })
    }
}
