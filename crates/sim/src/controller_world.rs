//! One node with its metadata log, and the controller on top, hosted as the broker's control thread does: each piece of
//! work to its end before the next begins, so that a crash falls between two operations of the disk, or into one. A bit
//! may flip in the newest snapshot while the node is down, as long as the others are whole.
//!
//! Not modelled: damage to the election state, or to two snapshots at once; neither can be survived by one node.

use batch::BatchView;
use machine::Ticket;
use quorum::configs::{ConfigChange, ConfigEdit};
use quorum::node::Found;
use quorum::topics::{Layout, NewTopic, TopicRef};
use quorum::{
    Command, ConfigResource, ConfigRules, Configs, ControllerOptions, Endpoint, Fault as Refusal, LogPosition,
    MetadataImage, NodeEffect, NodeOptions, QuorumNode, Registration, Reply, election_state, snapshot,
};
use storage::{LastStop, LogEvent, PartitionLog, ReadRange, RecoveryHints, recover};
use types::{DirectoryId, LeaderEpoch, NodeId, Now, Offset, PartitionIndex, Timestamp, TopicPartition};

use crate::disk::Disk;
use crate::effects::{Injector, Work, read_range};
use crate::faults::{Fault, Tally};
use crate::history::{Found as FoundBatch, History, Seen, Stop};
use crate::invariants::{self, Invariant};
use crate::rng::Rng;
use crate::scenario::{Drawn, Scenario};
use crate::trace::Trace;
use crate::violation::{Checked, Violation, violation};

const NODE: NodeId = NodeId::new(1);
const TOPICS: usize = 5;
/// Small, so that a run takes many snapshots.
const SNAPSHOT_BYTES_BETWEEN: u64 = 2_000;
/// What a start may replay beyond that: what was committed together with the last record before the snapshot, and the
/// first batches of an epoch.
const REPLAY_SLACK_BYTES: usize = 4_000;
/// How often a stop costs the newest snapshot a bit.
const SNAPSHOT_ROT_PERMILLE: u64 = 200;

/// Takes every config.
#[derive(Clone, Copy, Debug)]
struct AnyConfig;

impl ConfigRules for AnyConfig {
    fn check_new_topic(&self, _: &str, _: &Configs, _: &MetadataImage) -> Result<(), Refusal> {
        Ok(())
    }

    fn check(&self, _: &ConfigResource, _: &Configs, _: &Configs, _: &MetadataImage) -> Result<(), Refusal> {
        Ok(())
    }

    fn is_list(&self, _: &ConfigResource, _: &str) -> bool {
        false
    }

    fn default_value(&self, _: &ConfigResource, _: &str) -> Option<String> {
        None
    }
}

/// Why work did not come to its end.
enum Cut {
    Down(Stop),
    Broken(Violation),
}

impl From<Violation> for Cut {
    fn from(broken: Violation) -> Self {
        Self::Broken(broken)
    }
}

struct Up {
    log: PartitionLog,
    work: Vec<Work>,
    node: Option<QuorumNode<AnyConfig>>,
    loaded: bool,
}

/// Everything.
pub struct ControllerWorld {
    drawn: Drawn,
    rng: Rng,
    now: Now,
    disk: Disk,
    up: Option<Up>,
    power_lost: bool,
    tickets: u64,
    invariants: Vec<Box<dyn Invariant>>,
    history: History,
    faults_on: bool,
    tally: Tally,
    trace: Trace,
}

fn partition() -> TopicPartition {
    TopicPartition::new(quorum::image::CLUSTER_METADATA_TOPIC, PartitionIndex::ZERO)
}

impl ControllerWorld {
    /// A node that has never been up.
    #[must_use]
    pub fn new(scenario: Scenario, seed: u64, keep_lines: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0xc0_4701);
        let drawn = Drawn::new(&scenario, &mut rng);
        let mut trace = Trace::new(keep_lines);
        trace.numbers(&[seed]);
        trace.line("drawn", &drawn);
        Self {
            drawn,
            rng,
            now: Now { monotonic_ns: 1_000_000_000, wall: Timestamp::from_millis(1_700_000_000_000) },
            disk: Disk::default(),
            up: None,
            power_lost: false,
            tickets: 0,
            invariants: invariants::of_controller(),
            history: History::default(),
            faults_on: true,
            tally: Tally::default(),
            trace,
        }
    }

    /// Runs the scenario to its end.
    ///
    /// # Errors
    /// The first invariant broken.
    pub fn run(&mut self, steps: u64) -> Checked {
        self.start(Stop::ProcessKill)?;
        for _ in 0..steps {
            self.step()?;
        }
        self.faults_on = false;
        for _ in 0..20 {
            self.step()?;
        }
        self.go_down(Stop::ProcessKill)?;
        let replayed = self.start(Stop::ProcessKill)?;
        if SNAPSHOT_BYTES_BETWEEN as usize + REPLAY_SLACK_BYTES < replayed {
            return Err(violation("snapshots_bound_the_replay", format!("{replayed} bytes are replayed")));
        }
        Ok(())
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

    fn step(&mut self) -> Checked {
        let passed_ms = self.rng.below(200);
        self.now.monotonic_ns += passed_ms * 1_000_000;
        self.now.wall = Timestamp::from_millis(self.now.wall.millis() + passed_ms as i64);
        for _ in 0..=self.rng.index(3) {
            let command = self.command();
            let (now, ticket) = (self.now, Ticket::new(self.tickets));
            self.tickets += 1;
            self.see(&Seen::ControllerAsked { ticket, command: &command })?;
            let node = self.up().node.as_mut().expect("a node that is up");
            if node.submit(now, ticket, command).is_err() {
                return Err(violation("a_quorum_of_one_leads", "it does not"));
            }
        }
        match self.work() {
            Ok(()) => Ok(()),
            Err(Cut::Broken(broken)) => Err(broken),
            Err(Cut::Down(stop)) => {
                self.go_down(stop)?;
                self.start(stop).map(drop)
            }
        }
    }

    fn command(&mut self) -> Command {
        let name = format!("t{}", self.rng.index(TOPICS));
        let value = format!("{}", self.tickets);
        match self.rng.below(10) {
            0..4 => {
                let layout = Layout { partitions: Some(2), ..Layout::default_layout() };
                let configs = vec![("retention.ms".into(), Some(value.into()))];
                let topics = vec![NewTopic { name: name.into(), layout, configs }];
                Command::CreateTopics { topics, validate_only: false }
            }
            4..6 => Command::DeleteTopics { topics: vec![TopicRef::Name(name.into())] },
            6..8 => {
                let resource = ConfigResource::Topic(name.into());
                let edits = vec![("retention.ms".into(), ConfigEdit::Set(value.into()))];
                Command::ChangeConfigs { resources: vec![ConfigChange { resource, edits }], validate_only: false }
            }
            8 => Command::AllocateProducerIds { node: NODE },
            _ => register(),
        }
    }

    // ---- work ----

    /// Does all that the node wants done, in order.
    fn work(&mut self) -> Result<(), Cut> {
        let now = self.now;
        loop {
            let up = self.up.as_mut().expect("the node is up");
            let Some(effect) = up.node.as_mut().and_then(QuorumNode::poll_effect) else { return Ok(()) };
            self.trace.line("effect", &effect);
            match effect {
                NodeEffect::SaveState(bytes) => {
                    if !self.replace(election_state::FILE_NAME, &bytes)? {
                        // As after a failed append: the node starts over.
                        return Err(Cut::Down(Stop::ProcessKill));
                    }
                    self.node().on_state_saved(now);
                }
                NodeEffect::Append { batch, base_offset, epoch } => {
                    self.append(batch, base_offset, epoch)?;
                    let end = self.up().log.offsets().durable;
                    self.node().on_durable(now, end);
                }
                NodeEffect::Publish { image, replies, .. } => {
                    if !std::mem::replace(&mut self.up().loaded, true) {
                        self.see(&Seen::MetadataLoaded { image: &image })?;
                    }
                    self.answer(replies)?;
                }
                NodeEffect::Answer(replies) => self.answer(replies)?,
                NodeEffect::WriteSnapshot { name, bytes } => {
                    if self.replace(&name, &bytes)? {
                        self.node().on_snapshot_written();
                    } else {
                        self.node().on_snapshot_failed();
                    }
                }
                NodeEffect::Trim { log_start } => self.trim(log_start)?,
            }
        }
    }

    /// Replaces a whole file. `false`: that failed, which says nothing of whether it is the old or the new one.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> Result<bool, Cut> {
        self.may_crash()?;
        let mut chance =
            Injector { rng: &mut self.rng, drawn: &self.drawn, tally: &mut self.tally, on: self.faults_on };
        let failed = chance.fails(Fault::FileError) || chance.fails(Fault::DiskFull);
        if !failed || self.rng.chance(500) {
            self.disk.replace(name, bytes);
        }
        self.may_crash()?;
        Ok(!failed)
    }

    /// Flips a bit of the newest snapshot, if there is no other that is damaged: a start can do without it.
    fn rot_a_snapshot(&mut self) {
        let may = self.faults_on && self.drawn.may(Fault::BitRot) && self.rng.chance(SNAPSHOT_ROT_PERMILLE);
        let snapshots = self.snapshots();
        let (true, [.., newest]) = (may, &snapshots[..]) else { return };
        let is_whole = |position: &LogPosition| {
            let bytes = self.file(&snapshot::file_name(*position)).unwrap_or_default();
            snapshot::read("cluster", *position, &bytes).is_ok()
        };
        if !snapshots.iter().all(is_whole) {
            return;
        }
        if let Some(inode) = self.disk.open(&snapshot::file_name(*newest)) {
            let at = self.rng.index(self.disk.len(inode)) as u64;
            self.disk.flip(inode, at, self.rng.below(8) as u32);
            self.tally.count(Fault::BitRot, true);
            self.trace.numbers(&[5, at]);
        }
    }

    fn node(&mut self) -> &mut QuorumNode<AnyConfig> {
        self.up().node.as_mut().expect("a node that is up")
    }

    fn answer(&mut self, replies: Vec<(Ticket, Reply)>) -> Checked {
        for (ticket, reply) in replies {
            self.trace.numbers(&[1, ticket.number()]);
            self.see(&Seen::ControllerAnswered { ticket, reply: &reply })?;
        }
        Ok(())
    }

    fn append(&mut self, batch: bytes::BytesMut, base_offset: Offset, epoch: LeaderEpoch) -> Result<(), Cut> {
        let now = self.now;
        self.trace.bytes(&batch);
        let info = BatchView::parse(&batch).map(|view| view.info());
        let info = info.map_err(|error| violation("metadata_is_written", error.to_string()))?;
        let log = &mut self.up().log;
        let refused = |fault: &dyn std::fmt::Display| violation("metadata_is_written", fault.to_string());
        if log.leader_epoch() != Some(epoch) {
            log.set_leader_epoch(now, epoch).map_err(|fault| refused(&fault))?;
        }
        match log.append_as_leader(now, batch, &info, epoch, 0) {
            Ok(storage::Admission::Queued { base_offset: given, .. }) if given == base_offset => {}
            other => return Err(violation("metadata_is_appended_where_raft_says", format!("{other:?}")).into()),
        }
        self.run_log()
    }

    fn trim(&mut self, log_start: Offset) -> Result<(), Cut> {
        let now = self.now;
        for position in self.snapshots().into_iter().filter(|position| position.end < log_start) {
            self.may_crash()?;
            self.disk.delete(&snapshot::file_name(position));
        }
        let log = &mut self.up().log;
        log.delete_records(now, log_start).map_err(|fault| violation("metadata_is_trimmed", fault.to_string()))?;
        let durable = log.offsets().durable;
        log.apply_retention(now, durable);
        self.run_log()
    }

    /// Does all work that the log has, unless the node dies of it: a failed append ends the node here.
    fn run_log(&mut self) -> Result<(), Cut> {
        let mut failed = false;
        loop {
            let up = self.up.as_mut().expect("the node is up");
            while let Some(effect) = up.log.poll_effect() {
                let work = Work::begin(&self.disk, effect);
                up.work.push(work.map_err(|reason| violation("effects_name_files_that_exist", reason))?);
            }
            let mut had_event = false;
            while let Some(event) = up.log.poll_event() {
                had_event = true;
                failed |= matches!(event, LogEvent::AppendFailed { .. } | LogEvent::Poisoned { .. });
                if matches!(event, LogEvent::Ready) {
                    self.power_lost = false;
                }
            }
            if up.work.is_empty() {
                if had_event {
                    continue;
                }
                return if failed { Err(Cut::Down(Stop::ProcessKill)) } else { Ok(()) };
            }
            self.may_crash()?;
            let up = self.up.as_mut().expect("the node is up");
            let work = up.work.swap_remove(self.rng.index(up.work.len()));
            let mut chance =
                Injector { rng: &mut self.rng, drawn: &self.drawn, tally: &mut self.tally, on: self.faults_on };
            let result = work.finish(&mut self.disk, &mut chance);
            self.trace.numbers(&[2, work.effect.op().0, u64::from(result.is_ok())]);
            up.log.on_done(self.now, work.effect.op(), result);
        }
    }

    /// Everything that is asked of the disk may be the last.
    fn may_crash(&mut self) -> Result<(), Cut> {
        if !self.faults_on || !self.rng.chance(self.drawn.crash_permille) {
            return Ok(());
        }
        let kinds: Vec<Fault> =
            [Fault::ProcessKill, Fault::PowerLoss].into_iter().filter(|&fault| self.drawn.may(fault)).collect();
        if kinds.is_empty() {
            return Ok(());
        }
        let fault = kinds[self.rng.index(kinds.len())];
        self.tally.count(fault, true);
        Err(Cut::Down(if fault == Fault::ProcessKill { Stop::ProcessKill } else { Stop::PowerLoss }))
    }

    // ---- going down and up ----

    fn go_down(&mut self, stop: Stop) -> Checked {
        self.trace.numbers(&[3, stop as u64]);
        self.trace.line("down", &stop);
        self.see(&Seen::ControllerEnded)?;
        let Some(up) = self.up.take() else { return Ok(()) };
        for work in &up.work {
            let _ = work.abandon(&mut self.disk, &mut self.rng);
        }
        if stop == Stop::PowerLoss {
            self.disk.lose_power_whole(&mut self.rng);
        }
        let poisoned = up.log.poisoned().is_some();
        if poisoned {
            self.disk.sync_all();
            self.disk.drop_clean_cache();
        }
        self.power_lost |= poisoned || stop == Stop::PowerLoss;
        self.rot_a_snapshot();
        Ok(())
    }

    /// Starts the node until it leads. Returns how many bytes of log it replayed.
    fn start(&mut self, mut stop: Stop) -> Checked<usize> {
        const STARTS_MAX: usize = 40;
        let faults_on = self.faults_on;
        for start in 0..=STARTS_MAX {
            // A disk that fails for ever is nobody's to survive.
            self.faults_on = faults_on && start < STARTS_MAX;
            self.power_lost |= stop == Stop::PowerLoss;
            match self.try_start() {
                Ok(replayed) => {
                    self.faults_on = faults_on;
                    return Ok(replayed);
                }
                Err(Cut::Broken(broken)) => return Err(broken),
                Err(Cut::Down(again)) => {
                    self.go_down(again)?;
                    stop = again;
                }
            }
        }
        Err(violation("a_node_comes_up", format!("not in {STARTS_MAX} starts")))
    }

    fn try_start(&mut self) -> Result<usize, Cut> {
        let last_stop = if self.power_lost { LastStop::PowerLost } else { LastStop::ProcessDied };
        let hints = RecoveryHints { last_stop, accept_loss: false };
        let recovered = recover(&self.disk, partition(), self.drawn.config.clone(), &hints, self.now, &mut |_| {});
        let recovered = recovered.map_err(|fault| violation("what_was_not_broken_opens", fault.to_string()))?;
        self.up = Some(Up { log: recovered.log, work: Vec::new(), node: None, loaded: false });
        self.run_log()?;
        let unusable = |reason: String| violation("metadata_can_be_loaded", reason);
        let mut snapshots = self.snapshots();
        let mut base = MetadataImage::empty("cluster");
        // A damaged one is passed over for the one before it.
        while let Some(&position) = snapshots.last() {
            let bytes = self.file(&snapshot::file_name(position)).unwrap_or_default();
            match snapshot::read("cluster", position, &bytes) {
                Ok(image) => {
                    base = image;
                    break;
                }
                Err(_) => drop(snapshots.pop()),
            }
        }
        let log_start = self.up().log.offsets().log_start;
        if base.position().end < log_start {
            return Err(unusable(format!("the log begins at {log_start}, the snapshots end before")).into());
        }
        let state = self.file(election_state::FILE_NAME).map(|bytes| election_state::decode(&bytes));
        let state = state.transpose().map_err(|fault| unusable(fault.to_string()))?;
        let up = self.up.as_ref().expect("the node is up");
        let log_end = up.log.offsets().durable;
        let (mut log, mut start) = (Vec::new(), base.position().end);
        while start < log_end {
            let range = ReadRange { start, end: log_end, bytes_max: 3_000, at_least_one: true };
            let bytes = read_range(&up.log, &self.disk, &range).map_err(unusable)?;
            let found = FoundBatch::split(&bytes.unwrap_or_default()).map_err(unusable)?;
            let Some(last) = found.last() else { return Err(unusable(format!("nothing at {start}")).into()) };
            start = last.info.next_offset();
            found.iter().for_each(|batch| log.extend_from_slice(&batch.bytes));
        }
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.rng.next_u64().to_be_bytes());
        let options = NodeOptions {
            node: NODE,
            controller: ControllerOptions { partitions_default: 1, replication_factor_default: 1, seed },
            snapshot_bytes_between: SNAPSHOT_BYTES_BETWEEN,
        };
        let found = Found { state, base, log: &log, log_end, snapshots };
        let node = QuorumNode::recover(options, AnyConfig, self.now, found).map_err(|it| unusable(it.to_string()))?;
        self.trace.numbers(&[4, log_end.value() as u64, log.len() as u64]);
        let replayed = log.len();
        self.up().node = Some(node);
        self.work()?;
        let (now, node) = (self.now, self.node());
        if !node.is_ready() {
            return Err(unusable(format!("it does not lead: {:?}", node.fault())).into());
        }
        // As the broker does at its start; the reply is nobody's.
        node.submit(now, Ticket::new(u64::MAX), register()).map_err(|_| unusable("it leads no longer".to_owned()))?;
        self.work()?;
        Ok(replayed)
    }

    fn snapshots(&self) -> Vec<LogPosition> {
        let mut snapshots: Vec<LogPosition> =
            self.disk.names().filter_map(|(name, _)| snapshot::parse_file_name(name)).collect();
        snapshots.sort_unstable();
        snapshots
    }

    fn file(&self, name: &str) -> Option<Vec<u8>> {
        let inode = self.disk.open(name)?;
        Some(self.disk.read(inode, 0, self.disk.len(inode)).to_vec())
    }
}

fn register() -> Command {
    Command::RegisterBroker(Registration {
        node: NODE,
        incarnation: [1; 16],
        endpoints: vec![Endpoint {
            listener: "PLAINTEXT".into(),
            host: "localhost".into(),
            port: 9092,
            security_protocol: 0,
        }],
        rack: None,
        features: vec![],
        log_dirs: vec![DirectoryId::from_random([1; 16])],
    })
}
