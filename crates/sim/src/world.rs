//! One node with one partition, its clients, and the disk below: everything that a seed decides happens here.
//!
//! Nothing runs by itself. A step is chosen by chance: an operation under way ends (any of those in hand, so they end in
//! any order), a client sends, someone reads, time passes, something breaks. After each, the log's effects are taken and
//! its events judged.
//!
//! Here a step is chosen, and the run brought to its end. `world/clients.rs` sends, `world/readers.rs` reads,
//! `world/host.rs` is what a node does for its log, `world/crash.rs` takes it down and brings it up again.

mod clients;
mod crash;
mod host;
mod readers;

use replica::{Leader, Parked};
use storage::compaction::CompactionJob;
use storage::{Offsets, PartitionLog};
use types::{LeaderEpoch, Now, Offset, PartitionIndex, Timestamp, TopicPartition};

use crate::client::{Client, Next};
use crate::disk::{Disk, Writer};
use crate::effects::Work;
use crate::faults::{Fault, Tally};
use crate::history::{History, Seen, SentId, Stop};
use crate::invariants::{self, Invariant};
use crate::rng::Rng;
use crate::scenario::{Drawn, Scenario};
use crate::trace::Trace;
use crate::violation::{Checked, violation};

/// Where a written batch lies, for knowing what recovery need not read.
struct Lies {
    segment: Offset,
    start: u64,
    end: u64,
    last_offset: Offset,
}

/// A try of a client.
#[derive(Clone, Copy)]
struct Attempt {
    sent: SentId,
    /// Whether an answer is due.
    awaited: bool,
}

/// The node that is up.
struct Up {
    log: PartitionLog,
    leader: Leader,
    /// Acks=all, by attempt and the offset acked.
    parked: Parked<(SentId, Offset)>,
    epoch: LeaderEpoch,
    work: Vec<Work>,
    ready: bool,
    /// Clients may send: the log was read whole since it was opened.
    open: bool,
    needs_epoch: bool,
    closing: bool,
    closed: bool,
    /// What the maintenance thread is at.
    compaction: Option<CompactionJob>,
}

/// Everything.
pub struct World {
    scenario: Scenario,
    drawn: Drawn,
    rng: Rng,
    now: Now,
    disk: Disk,
    up: Option<Up>,
    epoch_last: LeaderEpoch,
    recovery_point: Offset,
    /// Power was lost and no recovery since has come to its end: whatever stops the node next, that is what counts.
    power_lost: bool,
    lies: Vec<Lies>,
    attempts: Vec<Attempt>,
    clients: Vec<Client>,
    history: History,
    invariants: Vec<Box<dyn Invariant>>,
    faults_on: bool,
    tally: Tally,
    trace: Trace,
}

const MS: u64 = 1_000_000;

fn partition() -> TopicPartition {
    TopicPartition::new("orders", PartitionIndex::ZERO)
}

impl World {
    /// A node that has never been up.
    #[must_use]
    pub fn new(scenario: Scenario, seed: u64, keep_lines: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let drawn = Drawn::new(&scenario, &mut rng);
        let clients = (0..3).map(|id| Client::new(id, rng.chance(200))).collect();
        let mut trace = Trace::new(keep_lines);
        trace.numbers(&[seed]);
        trace.line("drawn", &drawn);
        Self {
            scenario,
            drawn,
            rng,
            now: Now { monotonic_ns: 1_000_000_000, wall: Timestamp::from_millis(1_700_000_000_000) },
            disk: Disk::default(),
            up: None,
            epoch_last: LeaderEpoch::ZERO,
            recovery_point: Offset::ZERO,
            power_lost: false,
            lies: Vec::new(),
            attempts: Vec::new(),
            clients,
            history: History::default(),
            invariants: invariants::all(&scenario),
            faults_on: true,
            tally: Tally::default(),
            trace,
        }
    }

    /// Runs the scenario to its end.
    ///
    /// # Errors
    /// The first invariant broken.
    pub fn run(&mut self) -> Checked {
        let log = PartitionLog::create(partition(), self.drawn.config.clone(), self.now);
        self.bring_up(log)?;
        for _ in 0..self.scenario.steps {
            self.step()?;
        }
        self.heal()
    }

    /// Faults that happened.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What happened.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    // ---- judging ----

    fn see(&mut self, seen: &Seen<'_>) -> Checked {
        self.trace.line("seen", seen);
        for invariant in &mut self.invariants {
            invariant.judge(seen, &self.history).map_err(|detail| violation(invariant.name(), detail))?;
        }
        Ok(())
    }

    fn up(&mut self) -> &mut Up {
        self.up.as_mut().expect("the node is up")
    }

    fn durable(&self) -> bool {
        self.drawn.config.is_durable()
    }

    // ---- steps ----

    fn step(&mut self) -> Checked {
        self.pass_time();
        let Some(up) = &self.up else { return self.open_again() };
        let (busy, poisoned, needs_epoch, closed) =
            (!up.work.is_empty(), up.log.poisoned().is_some(), up.needs_epoch, up.closed);
        if closed {
            return self.go_down(Stop::Clean);
        }
        if self.faults_on && self.rng.chance(self.drawn.crash_permille) && self.crash()? {
            return Ok(());
        }
        match self.rng.below(100) {
            0..45 if busy => self.end_one(),
            45..72 => self.produce(),
            72..78 => self.read_somewhere(),
            78..80 => self.look_up_a_time(),
            80..84 => self.tick(),
            84..86 if self.scenario.deletes => self.delete_something(),
            84..88 if self.scenario.compacts => self.compact(),
            86..88 if self.scenario.deletes => self.delete_something(),
            88..92 if needs_epoch || self.rng.chance(100) => self.new_epoch(),
            92..95 if poisoned => self.go_down(Stop::ProcessKill),
            95 if self.rng.chance(300) => self.close(),
            _ if busy => self.end_one(),
            _ => self.produce(),
        }
    }

    fn pass_time(&mut self) {
        let passed_ns = match self.rng.below(20) {
            0 => self.rng.below(70_000) * MS,
            1..=4 => self.rng.below(2_000) * MS,
            _ => self.rng.below(2 * MS),
        };
        self.advance_ns(passed_ns);
    }

    fn advance_ns(&mut self, passed_ns: u64) {
        self.now.monotonic_ns += passed_ns;
        self.now.wall = Timestamp::from_millis(self.now.wall.millis() + (passed_ns / MS) as i64);
    }

    fn tick(&mut self) -> Checked {
        if let Some(due_ns) = self.up().log.next_deadline_ns()
            && self.rng.chance(500)
        {
            let passed_ns = due_ns.saturating_sub(self.now.monotonic_ns);
            self.advance_ns(passed_ns.min(120_000 * MS));
        }
        let now = self.now;
        self.up().log.on_tick(now);
        self.pump()
    }

    fn new_epoch(&mut self) -> Checked {
        let epoch = self.epoch_last.next();
        let now = self.now;
        let up = self.up.as_mut().expect("the node is up");
        if up.log.poisoned().is_some() || up.closing {
            return Ok(());
        }
        up.log.set_leader_epoch(now, epoch).map_err(|fault| violation("a_new_epoch_is_taken", fault.to_string()))?;
        up.epoch = epoch;
        up.needs_epoch = false;
        self.epoch_last = epoch;
        self.see(&Seen::EpochBegan { epoch })?;
        self.pump()
    }

    fn delete_something(&mut self) -> Checked {
        let now = self.now;
        let to_permille = self.rng.below(1001);
        let retention = self.rng.chance(500);
        let up = self.up.as_mut().expect("the node is up");
        if !up.open || up.closing {
            return Ok(());
        }
        if retention {
            let high_watermark = up.leader.high_watermark();
            let before = up.log.offsets().log_start;
            up.log.apply_retention(now, high_watermark);
            let after = up.log.offsets().log_start;
            if after < before || high_watermark < after.max(before) {
                return Err(violation("retention_stays_below_the_high_watermark", format!("{before} to {after}")));
            }
        } else {
            let Offsets { log_start, visible, .. } = up.log.offsets();
            let to = log_start.plus(visible.records_since(log_start) * to_permille as i64 / 1000);
            up.log
                .delete_records(now, to)
                .map_err(|fault| violation("delete_records_up_to_the_end", fault.to_string()))?;
        }
        self.pump()
    }

    /// The maintenance thread takes a job, or comes back from one.
    fn compact(&mut self) -> Checked {
        let now = self.now;
        let up = self.up.as_mut().expect("the node is up");
        let Some(job) = up.compaction.take() else {
            up.compaction = up.log.begin_compaction(now, up.leader.high_watermark());
            return self.pump();
        };
        let budget = if self.injector().fails(Fault::DiskFull) { self.rng.index(20) } else { usize::MAX };
        let seen = self.disk.clone();
        let outcome = job.run(&seen, &mut Writer::new(&mut self.disk, budget));
        self.trace.numbers(&[13, u64::from(outcome.is_ok())]);
        self.trace.line("compacted", &outcome);
        // Batches below the recovery point move; where they lie is not followed any further.
        self.lies.retain(|lies| self.recovery_point <= lies.last_offset);
        self.up().log.finish_compaction(now, outcome);
        self.pump()
    }

    fn close(&mut self) -> Checked {
        let now = self.now;
        let up = self.up();
        if up.open {
            up.closing = true;
            up.log.close(now);
        }
        self.pump()
    }

    // ---- the end ----

    /// Faults are over: everything ends, and the log is what it says, before and after a clean stop.
    fn heal(&mut self) -> Checked {
        self.faults_on = false;
        if self.up().log.poisoned().is_some() {
            self.go_down(Stop::ProcessKill)?;
        }
        if self.up().closing {
            self.drain()?;
            self.go_down(Stop::Clean)?;
        }
        self.drain()?;
        if self.up().compaction.is_some() {
            self.compact()?;
            self.drain()?;
        }
        if self.up().needs_epoch {
            self.new_epoch()?;
        }
        for client in 0..self.clients.len() {
            for _ in 0..8 {
                match self.clients[client].next() {
                    Next::Again(sent) => self.send(sent, Some(client))?,
                    Next::New(producer) => {
                        let sent = self.make(Some(producer));
                        self.send(sent, Some(client))?;
                        break;
                    }
                    Next::Wait => break,
                }
            }
        }
        self.drain()?;
        let waiting = self.attempts.iter().filter(|attempt| attempt.awaited).count();
        self.see(&Seen::Healed { waiting })?;
        self.read_whole()?;
        self.close()?;
        self.drain()?;
        if !self.up().closed {
            return Err(violation("a_close_ends", "nothing is under way, and it has not ended"));
        }
        self.go_down(Stop::Clean)?;
        self.drain()?;
        self.read_whole()
    }

    /// Until nothing is under way and time alone changes nothing for a while.
    fn drain(&mut self) -> Checked {
        const TURNS_MAX: usize = 2_000;
        let mut quiet = 0;
        for _ in 0..TURNS_MAX {
            if !self.up().work.is_empty() {
                quiet = 0;
                self.end_one()?;
                continue;
            }
            if quiet == 3 || self.up().closed {
                return Ok(());
            }
            quiet += 1;
            let due_ns = self.up().log.next_deadline_ns();
            let passed_ns = due_ns.map_or(MS, |due_ns| due_ns.saturating_sub(self.now.monotonic_ns));
            self.advance_ns(passed_ns.min(120_000 * MS));
            let now = self.now;
            self.up().log.on_tick(now);
            self.pump()?;
        }
        Err(violation("a_log_left_alone_comes_to_rest", format!("not in {TURNS_MAX} turns")))
    }
}
