//! Replicated state machines: the group coordinator, the controller, and what later joins them.
//!
//! A [`Machine`] decides and remembers; it does no I/O. A [`Host`] stands between it and the log: it gathers the records
//! of decisions into batches, and holds every reply back until the records behind it are committed.
//!
//! ```text
//! command ──► decide ──► records ──► Host::take_batch ──► the log ──► Host::on_committed ─┐
//!                └─────► replies ──► held by the Host, until then ◄───────────────────────┘ ──► Host::take_replies
//! ```
//!
//! A decision counts at once: the next one builds on it before it is on disk. That is sound because nobody outside has
//! heard of it, and because a failed append ends the machine: its host answers everyone with an error
//! ([`Host::abandon`]) and builds a new one from the committed log ([`Machine::replay`]). There is no undo to get wrong.

mod host;
pub mod mutants;

pub use host::{Batch, BatchId, Host};

use types::{Now, Offset};

/// Names whoever waits for a reply. Made up by the host's own host, unique while the reply is owed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

impl Ticket {
    /// A ticket of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// What a decision came to.
#[derive(Debug)]
pub struct Decision<R, A> {
    /// To be written, in this order, before any of the replies leaves.
    pub records: Vec<R>,
    /// Answers: to the command just taken, or to earlier ones that the machine made wait. None may be forgotten: a
    /// machine either replies to a ticket or keeps it.
    pub replies: Vec<(Ticket, A)>,
}

impl<R, A> Default for Decision<R, A> {
    fn default() -> Self {
        Self { records: Vec::new(), replies: Vec::new() }
    }
}

impl<R, A> Decision<R, A> {
    /// Nothing decided yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A record to be written.
    pub fn record(&mut self, record: R) {
        self.records.push(record);
    }

    /// The answer to `ticket`.
    pub fn reply(&mut self, ticket: Ticket, reply: A) {
        self.replies.push((ticket, reply));
    }
}

/// A deterministic state machine whose lasting state is exactly what its records say.
///
/// The same commands at the same times give the same records and replies. Replaying the records into a new machine gives
/// the lasting state of the one that wrote them; what is not in records (who waits, timers) is lost on the way, and
/// clients are told so by errors that make them come again.
pub trait Machine {
    /// What it is asked.
    type Command;
    /// What it writes.
    type Record;
    /// What it answers.
    type Reply;

    /// Takes a command. The state changes at once.
    fn decide(
        &mut self,
        now: Now,
        ticket: Ticket,
        command: Self::Command,
        out: &mut Decision<Self::Record, Self::Reply>,
    );

    /// Does what time demands. Called at or after [`Machine::next_deadline_ns`], and harmless before.
    fn on_tick(&mut self, now: Now, out: &mut Decision<Self::Record, Self::Reply>);

    /// When time next demands something, in nanoseconds of the monotonic clock.
    fn next_deadline_ns(&self) -> Option<u64>;

    /// Takes in a record read from the log at `offset`, before the first command.
    fn replay(&mut self, offset: Offset, record: Self::Record);

    /// The log has been replayed; timers start from here.
    fn on_loaded(&mut self, now: Now, out: &mut Decision<Self::Record, Self::Reply>);

    /// Gives up every ticket the machine keeps: it is about to be dropped.
    fn take_waiting(&mut self, out: &mut Vec<Ticket>);
}
