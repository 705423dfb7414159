//! One node with one partition, its clients, and the disk below: everything that a seed decides happens here.
//!
//! Nothing runs by itself. A step is chosen by chance: an operation under way ends (any of those in hand, so they end in
//! any order), a client sends, someone reads, time passes, something breaks. After each, the log's effects are taken and
//! its events judged.

use std::collections::BTreeMap;

use replica::{Leader, Parked};
use storage::compaction::CompactionJob;
use storage::{
    Admission, AppendFault, Effect, FileName, IoFault, LastStop, LogEvent, Offsets, PartitionLog, ReadRange,
    RecoverFault, RecoveryHints, SegmentFileKind, TimeStep, recover,
};
use types::{LeaderEpoch, Now, Offset, PartitionIndex, Timestamp, TopicPartition};

use crate::client::{Client, Next, make_batch};
use crate::disk::{Disk, Writer};
use crate::effects::{Injector, READ_STEPS_MAX, Work, read_file, read_range};
use crate::faults::{Fault, Tally};
use crate::history::{Fate, Found, History, Placed, Seen, SentId, Stop};
use crate::invariants::{self, Invariant};
use crate::rng::Rng;
use crate::scenario::{Drawn, Scenario};
use crate::trace::Trace;

/// A run that broke something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which invariant.
    pub invariant: String,
    /// How.
    pub detail: String,
}

pub(crate) type Checked<T = ()> = Result<T, Violation>;

pub(crate) fn violation(invariant: &str, detail: impl Into<String>) -> Violation {
    Violation { invariant: invariant.to_owned(), detail: detail.into() }
}

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
/// Where a batch holds its leader epoch.
const EPOCH_BYTES: std::ops::Range<u64> = 12..16;

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

    fn produce(&mut self) -> Checked {
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

    fn make(&mut self, producer: Option<batch::Producer>) -> SentId {
        let id = SentId(self.history.sent.len() as u64);
        let sent = make_batch(id, producer, self.now, &mut self.rng);
        self.history.sent.push(sent);
        id
    }

    fn send(&mut self, id: SentId, client: Option<usize>) -> Checked {
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

    fn ack(&mut self, sent: SentId, base_offset: Offset) -> Checked {
        let durable = self.durable();
        let up = self.up.as_ref().expect("the node is up");
        let (offsets, high_watermark) = (up.log.offsets(), up.leader.high_watermark());
        for client in &mut self.clients {
            client.on_acked(sent);
        }
        self.see(&Seen::Acked { sent, base_offset, offsets, high_watermark, durable })
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

    // ---- reading ----

    /// Reads once; `None` when there is nothing.
    fn read(&mut self, range: &ReadRange) -> Checked<Option<Vec<u8>>> {
        let up = self.up.as_ref().expect("the node is up");
        read_range(&up.log, &self.disk, range).map_err(|reason| violation("reads_match_appends", reason))
    }

    fn read_file(&self, file: &FileName, position: u64, bytes: usize) -> Checked<Vec<u8>> {
        read_file(&self.disk, file, position, bytes).map_err(|reason| violation("reads_match_appends", reason))
    }

    fn read_somewhere(&mut self) -> Checked {
        let up = self.up.as_ref().expect("the node is up");
        if !up.ready {
            return Ok(());
        }
        let Offsets { log_start, visible, .. } = up.log.offsets();
        let start = log_start.plus(self.rng.below(visible.records_since(log_start) as u64 + 1) as i64);
        let end = start.plus(self.rng.below(visible.records_since(start) as u64 + 1) as i64);
        let range =
            ReadRange { start, end, bytes_max: self.rng.between(1, 2_000) as u32, at_least_one: self.rng.chance(700) };
        let Some(bytes) = self.read(&range)? else {
            let first_ends =
                self.history.in_log().find(|(base, _, placed)| *base <= start && start <= placed.last_offset);
            let must_come = range.at_least_one && !self.scenario.compacts;
            return match first_ends {
                Some((base, _, placed)) if placed.last_offset < end && must_come => Err(violation(
                    "reads_match_appends",
                    format!("{range:?} found nothing, though a batch is at {base}"),
                )),
                _ => Ok(()),
            };
        };
        self.trace.numbers(&[2, bytes.len() as u64]);
        let found = Found::split(&bytes).map_err(|reason| violation("reads_match_appends", reason))?;
        if found.is_empty() && range.at_least_one {
            return Err(violation("reads_match_appends", format!("{range:?} gave no whole batch")));
        }
        let compacted = self.scenario.compacts;
        self.see(&Seen::Slice { start, end, found: &found, compacted })
    }

    /// Asks for the first record of a time, and knows the answer.
    fn look_up_a_time(&mut self) -> Checked {
        let up = self.up.as_ref().expect("the node is up");
        if !up.open || self.scenario.compacts {
            return Ok(());
        }
        let Offsets { log_start, visible, .. } = up.log.offsets();
        let end = log_start.plus(self.rng.below(visible.records_since(log_start) as u64 + 1) as i64);
        let mut records = Vec::new();
        for (base, _, placed) in self.history.in_log() {
            for (offset, &timestamp) in (base.value()..).zip(&self.history.sent(placed.sent).timestamps) {
                let offset = Offset::new(offset);
                if log_start <= offset && offset < end {
                    records.push((offset, placed.log_append_time.unwrap_or(timestamp)));
                }
            }
        }
        let near = records.get(self.rng.index(records.len())).map_or(self.now.wall, |&(_, timestamp)| timestamp);
        let at = Timestamp::from_millis(near.millis() + self.rng.between(0, 20) as i64 - 10);
        let want = records.into_iter().find(|&(_, timestamp)| at <= timestamp);
        let found = self.find_time(at, end)?;
        self.trace.numbers(&[14, found.map_or(u64::MAX, |(offset, _)| offset.value() as u64)]);
        if found == want {
            return Ok(());
        }
        let detail = format!("the first record of {at:?} or later below {end} is {want:?}, found {found:?}");
        Err(violation("times_lead_to_the_first_record_that_late", detail))
    }

    fn find_time(&self, at: Timestamp, end: Offset) -> Checked<Option<(Offset, Timestamp)>> {
        let up = self.up.as_ref().expect("the node is up");
        let fault =
            |fault: &dyn std::fmt::Display| violation("times_lead_to_the_first_record_that_late", fault.to_string());
        let mut step = up.log.lookup_time(at, end);
        for _ in 0..READ_STEPS_MAX {
            match step {
                TimeStep::NotFound => return Ok(None),
                TimeStep::Found(found) => return Ok(Some((found.offset, found.timestamp))),
                TimeStep::Scan(scan) => {
                    let bytes = self.read_file(&scan.file, scan.position, scan.bytes)?;
                    step = up.log.resume_lookup(scan, &bytes).map_err(|error| fault(&error))?;
                }
            }
        }
        Err(fault(&"no end of scans"))
    }

    /// Reads everything, and from then on knows what is in the log and what is not.
    fn read_whole(&mut self) -> Checked {
        let offsets = self.up().log.offsets();
        let mut found = Vec::new();
        let mut start = offsets.log_start;
        while start < offsets.visible {
            let range = ReadRange { start, end: offsets.visible, bytes_max: 3_000, at_least_one: true };
            let Some(bytes) = self.read(&range)? else { break };
            let mut batches = Found::split(&bytes).map_err(|reason| violation("reads_match_appends", reason))?;
            let Some(last) = batches.last() else {
                return Err(violation("reads_match_appends", format!("{range:?} gave no whole batch")));
            };
            start = last.info.next_offset();
            found.append(&mut batches);
        }
        let there: BTreeMap<_, _> =
            found.iter().map(|batch| ((batch.info.base_offset, batch.info.leader_epoch), ())).collect();
        let compacts = self.scenario.compacts;
        for (&(base, epoch), placed) in &mut self.history.placed {
            if there.contains_key(&(base, Some(epoch))) {
                placed.fate = Fate::InLog;
                // The log tells the time it stamped only with its event, which a crash may swallow.
                let batch = found.iter().find(|batch| batch.info.base_offset == base);
                placed.log_append_time = batch
                    .filter(|batch| batch.info.timestamp_type == batch::TimestampType::LogAppendTime)
                    .map(|batch| batch.info.max_timestamp);
            } else if offsets.visible <= base
                || (offsets.log_start <= base && !(compacts && placed.fate == Fate::InLog))
            {
                placed.fate = Fate::Gone;
            }
        }
        let compacted = self.scenario.compacts;
        self.see(&Seen::Whole { offsets, found: &found, compacted })
    }

    // ---- the log's outputs ----

    fn pump(&mut self) -> Checked {
        loop {
            let mut idle = true;
            while let Some(effect) = self.up().log.poll_effect() {
                idle = false;
                self.begin(effect)?;
            }
            while let Some(event) = self.up().log.poll_event() {
                idle = false;
                self.on_event(event)?;
            }
            if idle {
                break;
            }
        }
        let durable = self.durable();
        let up = self.up.as_ref().expect("the node is up");
        let (offsets, high_watermark) = (up.log.offsets(), up.leader.high_watermark());
        self.recovery_point = up.log.recovery_point();
        self.see(&Seen::Marks { offsets, high_watermark, durable })
    }

    fn begin(&mut self, effect: Effect) -> Checked {
        self.trace.line("begin", &effect);
        self.trace.numbers(&[3, effect.op().0]);
        let work = Work::begin(&self.disk, effect);
        let work = work.map_err(|reason| violation("effects_name_files_that_exist", reason))?;
        self.up().work.push(work);
        Ok(())
    }

    fn on_event(&mut self, event: LogEvent) -> Checked {
        self.trace.line("event", &event);
        match event {
            LogEvent::Appended { tag, base_offset, last_offset, log_append_time } => {
                self.trace.numbers(&[4, tag, base_offset.value() as u64]);
                let attempt = self.answer(tag)?;
                let sent = attempt.sent;
                let placed = self
                    .history
                    .placed
                    .range_mut((base_offset, LeaderEpoch::ZERO)..)
                    .take_while(|((base, _), _)| *base == base_offset)
                    .filter(|(_, placed)| placed.sent == sent && placed.fate != Fate::Gone)
                    .last();
                match placed {
                    Some((_, placed)) if placed.last_offset == last_offset => {
                        placed.fate = Fate::InLog;
                        placed.log_append_time = log_append_time;
                    }
                    other => {
                        let detail = format!("{sent:?} appended at {base_offset}..={last_offset}, placed {other:?}");
                        return Err(violation("appended_where_placed", detail));
                    }
                }
                self.move_high_watermark()?;
                let up = self.up.as_mut().expect("the node is up");
                if self.history.sent(sent).acks_all && up.leader.high_watermark() <= last_offset {
                    up.parked.park(last_offset.plus(1), u64::MAX, (sent, base_offset));
                    return Ok(());
                }
                self.ack(sent, base_offset)
            }
            LogEvent::AppendFailed { tag, .. } => {
                self.trace.numbers(&[5, tag]);
                let attempt = self.answer(tag)?;
                for placed in self.history.placed.values_mut() {
                    if placed.sent == attempt.sent && placed.fate == Fate::InFlight {
                        placed.fate = Fate::Gone;
                    }
                }
                for client in &mut self.clients {
                    client.on_failed(attempt.sent);
                }
                self.up().needs_epoch = true;
                Ok(())
            }
            LogEvent::EndMoved { written, durable } => {
                self.trace.numbers(&[6, written.value() as u64, durable.value() as u64]);
                self.move_high_watermark()
            }
            LogEvent::StartMoved { log_start } => {
                self.trace.numbers(&[7, log_start.value() as u64]);
                self.see(&Seen::StartMoved { log_start })
            }
            LogEvent::Poisoned { .. } => {
                self.trace.numbers(&[8]);
                Ok(())
            }
            LogEvent::Ready => {
                self.up().ready = true;
                self.power_lost = false;
                Ok(())
            }
            LogEvent::Closed => {
                self.up().closed = true;
                Ok(())
            }
            LogEvent::BackgroundFailed { .. } => Ok(()),
        }
    }

    fn answer(&mut self, tag: u64) -> Checked<Attempt> {
        let attempt = &mut self.attempts[tag as usize];
        if !attempt.awaited {
            return Err(violation("each_batch_is_answered_once", format!("{:?} twice", attempt.sent)));
        }
        attempt.awaited = false;
        Ok(*attempt)
    }

    fn move_high_watermark(&mut self) -> Checked {
        let up = self.up.as_mut().expect("the node is up");
        let Some(high_watermark) = up.leader.on_log_end(up.log.offsets().visible) else { return Ok(()) };
        let mut leaving = Vec::new();
        up.parked.on_high_watermark(high_watermark, &mut leaving);
        for (sent, base_offset) in leaving {
            self.ack(sent, base_offset)?;
        }
        Ok(())
    }

    // ---- operations end ----

    fn end_one(&mut self) -> Checked {
        let index = {
            let (up, rng) = (self.up.as_mut().expect("the node is up"), &mut self.rng);
            rng.index(up.work.len())
        };
        let work = self.up().work.swap_remove(index);
        let result = self.finish(&work);
        let (now, op) = (self.now, work.effect.op());
        self.trace.numbers(&[9, op.0, u64::from(result.is_ok())]);
        self.trace.line("end", &(op, &result));
        self.up().log.on_done(now, op, result);
        self.pump()?;
        self.open_if_settled()
    }

    fn injector(&mut self) -> Injector<'_> {
        Injector { rng: &mut self.rng, drawn: &self.drawn, tally: &mut self.tally, on: self.faults_on }
    }

    /// Does the operation on the disk, well or badly.
    fn finish(&mut self, work: &Work) -> Result<usize, IoFault> {
        let mut chance =
            Injector { rng: &mut self.rng, drawn: &self.drawn, tally: &mut self.tally, on: self.faults_on };
        let result = work.finish(&mut self.disk, &mut chance);
        if let (Effect::Write { file, position, .. }, Ok(written)) = (&work.effect, &result) {
            let bytes = work.bytes();
            if *written == bytes.len() {
                self.note_batches(file, *position, &bytes);
            }
        }
        result
    }

    fn note_batches(&mut self, file: &FileName, position: u64, bytes: &[u8]) {
        let FileName::Segment(segment) = file else { return };
        if segment.kind != SegmentFileKind::Log {
            return;
        }
        let mut end = position;
        for batch in Found::split(bytes).unwrap_or_default() {
            let start = end;
            end += batch.bytes.len() as u64;
            let (segment, last_offset) = (segment.segment.base_offset(), batch.info.last_offset());
            self.lies.push(Lies { segment, start, end, last_offset });
        }
    }

    // ---- going down and up ----

    /// Kills the process or the power, if the seed has drawn that. Returns whether it did.
    fn crash(&mut self) -> Checked<bool> {
        let kinds: Vec<Fault> =
            [Fault::ProcessKill, Fault::PowerLoss].into_iter().filter(|&fault| self.drawn.may(fault)).collect();
        if kinds.is_empty() {
            return Ok(false);
        }
        let fault = kinds[self.rng.index(kinds.len())];
        let up = self.up();
        let (busy, recovering) = (!up.work.is_empty(), !up.ready);
        if recovering && !self.drawn.may(Fault::CrashInRecovery) {
            return Ok(false);
        }
        if recovering {
            self.tally.count(Fault::CrashInRecovery, busy);
        }
        self.tally.count(fault, busy);
        self.go_down(if fault == Fault::ProcessKill { Stop::ProcessKill } else { Stop::PowerLoss })?;
        Ok(true)
    }

    fn go_down(&mut self, stop: Stop) -> Checked {
        self.trace.numbers(&[10, stop as u64]);
        let up = self.up.take().expect("the node is up");
        let offsets = up.log.offsets();
        if let Some(job) = &up.compaction
            && stop != Stop::Clean
        {
            // The maintenance thread is stopped somewhere.
            let (seen, budget) = (self.disk.clone(), self.rng.index(20));
            let _ = job.run(&seen, &mut Writer::new(&mut self.disk, budget));
        }
        for work in &up.work {
            self.abandon(work);
        }
        if stop == Stop::PowerLoss {
            self.lose_power();
        }
        // A log directory in which something failed is opened again as after a loss of power: the host syncs what is
        // dirty and throws away what the cache holds and the disk may not. Without that, bytes of a failed
        // fsync are recovered from the cache, batches behind them are synced and acked, and a later loss of power takes both.
        let stop = if up.log.poisoned().is_some() { Stop::PowerLoss } else { stop };
        if up.log.poisoned().is_some() {
            self.disk.sync_all();
            self.disk.drop_clean_cache();
        }
        let lost_power = stop == Stop::PowerLoss && !self.durable();
        for client in &mut self.clients {
            client.on_disconnected(lost_power);
        }
        for attempt in &mut self.attempts {
            attempt.awaited = false;
        }
        self.see(&Seen::Stopped { stop, offsets })?;
        if self.faults_on && self.drawn.may(Fault::BitRot) && stop != Stop::Clean && self.rng.chance(300) {
            return self.rot(stop, offsets.log_start);
        }
        self.come_up(stop)
    }

    /// The power goes. A bit flipped in a leader epoch lies outside every checksum of Kafka's format, so nothing can see
    /// it: such flips are taken back.
    fn lose_power(&mut self) {
        for (name, position, bit) in self.disk.lose_power(&mut self.rng) {
            let Some(FileName::Segment(file)) = FileName::parse(&name) else { continue };
            let in_epoch = self.lies.iter().any(|lies| {
                let epoch = lies.start + EPOCH_BYTES.start..lies.start + EPOCH_BYTES.end;
                lies.segment == file.segment.base_offset() && epoch.contains(&position)
            });
            if let (true, SegmentFileKind::Log, Some(inode)) = (in_epoch, file.kind, self.disk.open(&name)) {
                self.disk.flip(inode, position, bit);
            }
        }
    }

    fn abandon(&mut self, work: &Work) {
        let written = work.abandon(&mut self.disk, &mut self.rng);
        if let Effect::Write { file, position, .. } = &work.effect {
            self.note_batches(file, *position, &written);
        }
    }

    /// What the host tells recovery: it keeps saying that power was lost until a log has said `Ready`.
    fn last_stop(&mut self, stop: Stop) -> LastStop {
        self.power_lost |= stop == Stop::PowerLoss;
        if self.power_lost { LastStop::PowerLost } else { LastStop::ProcessDied }
    }

    fn come_up(&mut self, stop: Stop) -> Checked {
        let last_stop = self.last_stop(stop);
        if stop == Stop::PowerLoss && self.rng.chance(500) {
            self.now.monotonic_ns = self.rng.below(5_000 * MS);
        }
        self.disk.take_reads();
        let hints = RecoveryHints { last_stop, accept_loss: false };
        let config = self.drawn.config.clone();
        let recovered = recover(&self.disk, partition(), config, &hints, self.now, &mut |_| {});
        let recovered =
            recovered.map_err(|fault| violation("what_was_not_broken_opens", format!("after {stop:?}: {fault}")))?;
        self.trace.line("recovered", &recovered.report);
        let reads = self.disk.take_reads();
        let mut settled: BTreeMap<Offset, u64> = BTreeMap::new();
        for lies in &self.lies {
            if lies.last_offset < self.recovery_point {
                let bytes = settled.entry(lies.segment).or_default();
                *bytes = lies.end.max(*bytes);
            }
        }
        let (offsets, clean) = (recovered.log.offsets(), recovered.report.clean);
        // An index that was not whole is made again from its log, which is then read from its beginning.
        for name in &recovered.report.indexes_rebuilt {
            if let FileName::Segment(file) = name {
                settled.remove(&file.segment.base_offset());
            }
        }
        let recovery_point = self.recovery_point;
        self.trace.numbers(&[11, offsets.written.value() as u64]);
        self.see(&Seen::Opened { stop, offsets, clean, reads: &reads, settled: &settled, recovery_point })?;
        self.lies.retain(|lies| lies.last_offset < offsets.written);
        self.bring_up(recovered.log)
    }

    fn bring_up(&mut self, log: PartitionLog) -> Checked {
        let offsets = log.offsets();
        self.up = Some(Up {
            leader: Leader::new(offsets.visible, 1, 1),
            log,
            parked: Parked::new(),
            epoch: self.epoch_last,
            work: Vec::new(),
            ready: false,
            open: false,
            needs_epoch: true,
            closing: false,
            closed: false,
            compaction: None,
        });
        self.pump()?;
        self.open_if_settled()
    }

    /// As on registration: a new leader epoch before the first append. What is in the log is read first, so that from
    /// here on every batch is known to be in or not.
    fn open_if_settled(&mut self) -> Checked {
        let up = self.up();
        let offsets = up.log.offsets();
        if up.open || !up.ready || offsets.visible < offsets.written || up.log.poisoned().is_some() {
            return Ok(());
        }
        self.read_whole()?;
        self.up().open = true;
        self.new_epoch()
    }

    fn open_again(&mut self) -> Checked {
        self.come_up(Stop::ProcessKill)
    }

    /// Bytes on the platter change while the node is down: below the recovery point that must be told, never cut.
    fn rot(&mut self, stop: Stop, log_start: Offset) -> Checked {
        let settled: Vec<(Offset, u64, Offset)> = self
            .lies
            .iter()
            .filter(|lies| log_start <= lies.last_offset && lies.last_offset < self.recovery_point)
            .map(|lies| (lies.segment, lies.end, lies.last_offset))
            .collect();
        if settled.is_empty() {
            return self.come_up(stop);
        }
        let (segment, end, last_offset) = settled[self.rng.index(settled.len())];
        let name = FileName::log(storage::SegmentId::new(segment)).to_string();
        let Some(inode) = self.disk.open(&name) else { return self.come_up(stop) };
        self.tally.count(Fault::BitRot, true);
        let cut = self.rng.chance(400);
        if cut {
            // A file that has lost its end, as after a file system's repair.
            self.disk.truncate(inode, end - 1);
            self.disk.sync(inode, self.disk.mark());
        } else {
            self.disk.flip(inode, end - 1 - self.rng.below(40), self.rng.below(8) as u32);
        }
        let last_stop = self.last_stop(stop);
        let hints = RecoveryHints { last_stop, accept_loss: false };
        let config = self.drawn.config.clone();
        let recovered = recover(&self.disk, partition(), config.clone(), &hints, self.now, &mut |_| {});
        self.trace.numbers(&[12, u64::from(recovered.is_ok())]);
        match recovered {
            Err(RecoverFault::Corrupt { .. }) => {}
            Err(fault @ RecoverFault::Io { .. }) => {
                return Err(violation("rot_is_told", format!("{name} cut: {cut}: {fault}")));
            }
            Ok(_) if cut => {
                return Err(violation(
                    "rot_is_told",
                    format!("{name} lost its end below the recovery point, unnoticed"),
                ));
            }
            Ok(recovered) if recovered.log.offsets().written <= last_offset => {
                let offsets = recovered.log.offsets();
                return Err(violation(
                    "rot_below_the_recovery_point_is_never_cut",
                    format!("{last_offset} from {offsets:?}"),
                ));
            }
            Ok(_) => {}
        }
        // What the operator may do about it opens the log, with what came before the damage.
        let hints = RecoveryHints { accept_loss: true, ..hints };
        let recovered = recover(&self.disk, partition(), config, &hints, self.now, &mut |_| {});
        let recovered = recovered.map_err(|fault| violation("accepted_loss_opens", fault.to_string()))?;
        self.trace.line("repaired", &recovered.report);
        // Nothing that follows could be judged: the run goes on with another disk.
        self.start_over()
    }

    fn start_over(&mut self) -> Checked {
        self.disk = Disk::default();
        self.history = History::default();
        self.invariants = invariants::all(&self.scenario);
        self.attempts.clear();
        self.lies.clear();
        self.recovery_point = Offset::ZERO;
        self.power_lost = false;
        self.epoch_last = LeaderEpoch::ZERO;
        for (id, client) in self.clients.iter_mut().enumerate() {
            *client = Client::new(id as i64, false);
        }
        let log = PartitionLog::create(partition(), self.drawn.config.clone(), self.now);
        self.bring_up(log)
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
