//! The bookkeeping between a machine and its log.

use std::collections::VecDeque;

use types::{Now, Offset};

use crate::mutants::Mutant;
use crate::{Decision, Machine, Ticket};

/// Names a batch of records on its way to the log. They are numbered in the order they must be appended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BatchId(u64);

/// Records to append together.
#[derive(Debug)]
pub struct Batch<R> {
    /// To be named to [`Host::on_committed`].
    pub id: BatchId,
    /// In order. Never empty.
    pub records: Vec<R>,
}

/// A machine together with what it has decided and not yet been allowed to say. Lives on: the home shard of the
/// machine's partition.
///
/// Calls: any number of [`Host::decide`] and [`Host::on_tick`]; then, once a turn, [`Host::take_batch`] to append, and
/// [`Host::take_replies`] to send. [`Host::on_committed`] when the high watermark has passed a batch. After a failed
/// append: [`Host::abandon`], and a new host.
///
/// A reply waits for every record decided before it, its own or not: so an answer never tells of a state that a crash
/// could still take back. With nothing on its way to the log it leaves at once.
#[derive(Debug)]
pub struct Host<M: Machine> {
    machine: M,
    decision: Decision<M::Record, M::Reply>,
    /// Decided, not yet taken to the log. They belong to batch `batches_taken`.
    unsent: Vec<M::Record>,
    /// Withheld, each until the batch it names is committed; the ids never fall from front to back.
    withheld: VecDeque<(BatchId, Ticket, M::Reply)>,
    ready: Vec<(Ticket, M::Reply)>,
    batches_taken: u64,
    batches_committed: u64,
}

impl<M: Machine> Host<M> {
    /// Hosts a machine that has taken in its log.
    pub fn new(now: Now, machine: M) -> Self {
        let mut host = Self {
            machine,
            decision: Decision::new(),
            unsent: Vec::new(),
            withheld: VecDeque::new(),
            ready: Vec::new(),
            batches_taken: 0,
            batches_committed: 0,
        };
        host.machine.on_loaded(now, &mut host.decision);
        host.settle();
        host
    }

    /// Hosts a machine that takes in `log`, records with their offsets, first.
    pub fn load(now: Now, mut machine: M, log: impl IntoIterator<Item = (Offset, M::Record)>) -> Self {
        for (offset, record) in log {
            machine.replay(offset, record);
        }
        Self::new(now, machine)
    }

    /// The machine, to look at.
    #[must_use]
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// The machine, to tell it of a changed configuration.
    pub const fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    /// Has the machine take a command.
    pub fn decide(&mut self, now: Now, ticket: Ticket, command: M::Command) {
        self.machine.decide(now, ticket, command, &mut self.decision);
        self.settle();
    }

    /// Has the machine do what time demands.
    pub fn on_tick(&mut self, now: Now) {
        self.machine.on_tick(now, &mut self.decision);
        self.settle();
    }

    /// When [`Host::on_tick`] is next due.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.machine.next_deadline_ns()
    }

    /// All records decided since the last call, to be appended in the order of the batches' ids.
    pub fn take_batch(&mut self) -> Option<Batch<M::Record>> {
        if self.unsent.is_empty() {
            return None;
        }
        let id = BatchId(self.batches_taken);
        self.batches_taken += 1;
        Some(Batch { id, records: std::mem::take(&mut self.unsent) })
    }

    /// The high watermark has passed this batch, and so all before it.
    pub fn on_committed(&mut self, id: BatchId) {
        assert!(id.0 < self.batches_taken, "a batch was committed that was never taken");
        self.batches_committed = self.batches_committed.max(id.0 + 1);
        while let Some((until, ..)) = self.withheld.front() {
            if self.batches_committed <= until.0 {
                break;
            }
            self.ready.extend(self.withheld.pop_front().map(|(_, ticket, reply)| (ticket, reply)));
        }
    }

    /// The replies that may leave, in the order they were decided.
    pub fn take_replies(&mut self) -> Vec<(Ticket, M::Reply)> {
        std::mem::take(&mut self.ready)
    }

    /// Whether records are on their way to the log, or about to be.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.unsent.is_empty() || self.batches_committed < self.batches_taken
    }

    /// Gives up everyone whom the machine keeps waiting, to be answered with an error. What is on its way to the log goes
    /// on. For a host that stops: the machine is asked nothing more.
    #[must_use]
    pub fn take_waiting(&mut self) -> Vec<Ticket> {
        let mut waiting = Vec::new();
        self.machine.take_waiting(&mut waiting);
        waiting
    }

    /// Ends the machine: an append failed, or the partition moves away. Returns everyone who is still owed a reply, to be
    /// answered with an error. Replies that were ready are among them: take them first.
    #[must_use]
    pub fn abandon(mut self) -> Vec<Ticket> {
        let ready = self.ready.iter().map(|(ticket, _)| *ticket);
        let mut owed: Vec<Ticket> = ready.chain(self.withheld.iter().map(|(_, ticket, _)| *ticket)).collect();
        self.machine.take_waiting(&mut owed);
        owed
    }

    /// Moves what was decided to where it waits.
    fn settle(&mut self) {
        self.unsent.append(&mut self.decision.records);
        // The last batch that must be committed first: the one being gathered, or the last taken.
        let until = if self.unsent.is_empty() { self.batches_taken.checked_sub(1) } else { Some(self.batches_taken) };
        for (ticket, reply) in self.decision.replies.drain(..) {
            match until {
                Some(until) if self.batches_committed <= until && !Mutant::CommitAckedBeforeItIsLogged.is_armed() => {
                    self.withheld.push_back((BatchId(until), ticket, reply));
                }
                _ => self.ready.push((ticket, reply)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use types::Timestamp;

    use super::*;

    /// Adds numbers up. `Add(0)` writes nothing, `Wait` is answered by the next `Add`.
    #[derive(Debug, Default)]
    struct Sum {
        total: i64,
        waiting: Vec<Ticket>,
    }

    enum Ask {
        Add(i64),
        Wait,
    }

    impl Machine for Sum {
        type Command = Ask;
        type Record = i64;
        type Reply = i64;

        fn decide(&mut self, _now: Now, ticket: Ticket, command: Ask, out: &mut Decision<i64, i64>) {
            match command {
                Ask::Add(number) => {
                    self.total += number;
                    if number != 0 {
                        out.record(number);
                    }
                    for waiting in self.waiting.drain(..) {
                        out.reply(waiting, self.total);
                    }
                    out.reply(ticket, self.total);
                }
                Ask::Wait => self.waiting.push(ticket),
            }
        }

        fn on_tick(&mut self, _now: Now, _out: &mut Decision<i64, i64>) {}

        fn next_deadline_ns(&self) -> Option<u64> {
            None
        }

        fn replay(&mut self, _offset: Offset, record: i64) {
            self.total += record;
        }

        fn on_loaded(&mut self, _now: Now, _out: &mut Decision<i64, i64>) {}

        fn take_waiting(&mut self, out: &mut Vec<Ticket>) {
            out.append(&mut self.waiting);
        }
    }

    const NOW: Now = Now { monotonic_ns: 0, wall: Timestamp::from_millis(0) };

    fn ask(host: &mut Host<Sum>, ticket: u64, command: Ask) {
        host.decide(NOW, Ticket::new(ticket), command);
    }

    fn said(host: &mut Host<Sum>) -> Vec<(u64, i64)> {
        host.take_replies().into_iter().map(|(ticket, reply)| (ticket.number(), reply)).collect()
    }

    #[test]
    fn reply_waits_for_its_record() {
        let mut host = Host::new(NOW, Sum::default());
        ask(&mut host, 1, Ask::Add(5));
        assert_eq!(said(&mut host), []);
        let batch = host.take_batch().unwrap();
        assert_eq!(batch.records, [5]);
        assert_eq!(said(&mut host), []);
        host.on_committed(batch.id);
        assert_eq!(said(&mut host), [(1, 5)]);
        assert!(!host.is_busy());
    }

    #[test]
    fn reply_without_a_record_waits_for_the_state_it_tells_of() {
        let mut host = Host::new(NOW, Sum::default());
        ask(&mut host, 1, Ask::Add(0));
        assert_eq!(said(&mut host), [(1, 0)], "nothing is on its way to the log");
        ask(&mut host, 2, Ask::Add(5));
        ask(&mut host, 3, Ask::Add(0));
        let batch = host.take_batch().unwrap();
        ask(&mut host, 4, Ask::Add(0));
        assert_eq!(said(&mut host), []);
        host.on_committed(batch.id);
        assert_eq!(said(&mut host), [(2, 5), (3, 5), (4, 5)]);
    }

    #[test]
    fn batches_gather_and_commit_in_order() {
        let mut host = Host::new(NOW, Sum::default());
        ask(&mut host, 1, Ask::Add(1));
        ask(&mut host, 2, Ask::Add(2));
        let first = host.take_batch().unwrap();
        assert_eq!(first.records, [1, 2]);
        ask(&mut host, 3, Ask::Add(3));
        let second = host.take_batch().unwrap();
        host.on_committed(first.id);
        assert_eq!(said(&mut host), [(1, 1), (2, 3)]);
        host.on_committed(second.id);
        assert_eq!(said(&mut host), [(3, 6)]);
        assert!(host.take_batch().is_none());
    }

    #[test]
    fn abandoned_machine_owes_everyone_an_error() {
        let mut host = Host::new(NOW, Sum::default());
        ask(&mut host, 1, Ask::Add(0));
        ask(&mut host, 2, Ask::Add(1));
        ask(&mut host, 3, Ask::Wait);
        assert_eq!(host.abandon(), [1, 2, 3].map(Ticket::new));
    }

    #[test]
    fn loaded_machine_knows_its_log() {
        let log = [(Offset::new(0), 4), (Offset::new(1), 5)];
        let mut host = Host::load(NOW, Sum::default(), log);
        ask(&mut host, 1, Ask::Add(0));
        assert_eq!(said(&mut host), [(1, 9)]);
    }
}
