//! Clients: what they send, retry and give up.

use std::collections::VecDeque;

use batch::{BatchBuilder, BatchView, Codec, Producer};
use types::{Now, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::history::{Sent, SentId};
use crate::rng::Rng;

/// Batches that an idempotent producer has on the way at most, as Kafka's do.
const OUTSTANDING_MAX: usize = 5;

/// An idempotent producer: numbers its batches, sends them again until acked, in order.
#[derive(Clone, Debug)]
pub struct Client {
    id: ProducerId,
    epoch: ProducerEpoch,
    next_sequence: Sequence,
    /// Not acked, in order; the flag says whether an answer is awaited.
    outstanding: VecDeque<(SentId, bool)>,
    /// Acked batches may have gone with the power since this epoch began.
    may_have_lost: bool,
}

/// What a client sends next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// This batch once more.
    Again(SentId),
    /// A new one, of this producer.
    New(Producer),
    /// Nothing: all that may be on the way is.
    Wait,
}

impl Client {
    /// The producer of this id, with nothing sent; its sequences begin near where they wrap if `late`.
    #[must_use]
    pub fn new(id: i64, late: bool) -> Self {
        let next_sequence = if late { Sequence::new(i32::MAX - 3) } else { Sequence::ZERO };
        Self {
            id: ProducerId::new(id),
            epoch: ProducerEpoch::ZERO,
            next_sequence,
            outstanding: VecDeque::new(),
            may_have_lost: false,
        }
    }

    /// Decides.
    #[must_use]
    pub fn next(&self) -> Next {
        if let Some(&(sent, _)) = self.outstanding.iter().find(|(_, awaited)| !awaited) {
            return Next::Again(sent);
        }
        if OUTSTANDING_MAX <= self.outstanding.len() {
            return Next::Wait;
        }
        Next::New(Producer { id: self.id, epoch: self.epoch, base_sequence: Some(self.next_sequence) })
    }

    /// The batch is on its way.
    pub fn on_sent(&mut self, sent: SentId, records: i32) {
        match self.outstanding.iter_mut().find(|(known, _)| *known == sent) {
            Some((_, awaited)) => *awaited = true,
            None => {
                self.outstanding.push_back((sent, true));
                self.next_sequence = self.next_sequence.plus(records);
            }
        }
    }

    /// The batch is in.
    pub fn on_acked(&mut self, sent: SentId) {
        self.outstanding.retain(|(known, _)| *known != sent);
    }

    /// The batch is not in, or nobody knows: it is sent again.
    pub fn on_failed(&mut self, sent: SentId) {
        for (known, awaited) in &mut self.outstanding {
            *awaited &= *known != sent;
        }
    }

    /// The node is gone: nothing will be answered.
    pub fn on_disconnected(&mut self, power_lost: bool) {
        for (_, awaited) in &mut self.outstanding {
            *awaited = false;
        }
        self.may_have_lost |= power_lost;
    }

    /// A sequence did not fit: as Kafka's producers, it gives up what is outstanding and begins a new epoch. Returns
    /// whether that was to be expected.
    pub fn on_sequence_refused(&mut self) -> bool {
        self.outstanding.clear();
        self.next_sequence = Sequence::ZERO;
        self.epoch = self.epoch.next().unwrap_or(self.epoch);
        std::mem::take(&mut self.may_have_lost)
    }
}

/// Makes a batch: 1 to 4 records, each unlike any other.
#[must_use]
pub fn make_batch(id: SentId, producer: Option<Producer>, now: Now, rng: &mut Rng) -> Sent {
    let codec = if rng.chance(50) { Codec::Lz4 } else { Codec::None };
    let mut builder = BatchBuilder::new(codec);
    if let Some(producer) = producer {
        builder = builder.producer(producer);
    }
    let mut timestamps = Vec::new();
    for record in 0..rng.between(1, 4) {
        // Records come a little out of order, as from several threads.
        let timestamp = Timestamp::from_millis(now.wall.millis() - rng.below(50) as i64);
        let mut value = vec![rng.below(256) as u8; rng.between(8, 120) as usize];
        value[..8].copy_from_slice(&(id.0 * 8 + record).to_be_bytes());
        let key = [b'a' + rng.below(6) as u8];
        builder.append(timestamp, Some(&key), (!rng.chance(100)).then_some(&value[..]), &[]);
        timestamps.push(timestamp);
    }
    let bytes = builder.build_unstamped();
    let info = BatchView::parse(&bytes).expect("the builder makes batches").info();
    Sent { bytes, info, acks_all: rng.chance(500), timestamps }
}
