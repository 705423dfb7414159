//! One node with one partition of `__consumer_offsets`, its group coordinator, and members that come and go: hosted as
//! the broker does, one batch at a time, over the same disk as [`crate::world`].
//!
//! ```text
//! members ─► Host::decide ─► batches ─► PartitionLog ─► disk
//!    ▲                                       │
//!    └── replies ◄── Host::on_committed ◄────┘     a crash or a failed append: loaded again from the log
//! ```
//! Judged: what members were told ([`crate::invariants::of_groups`]), and that the log, read back as it is, compacted
//! and all, replays into the coordinator that wrote it. Not modelled: loads that are slow.

use std::collections::BTreeMap;
use std::sync::Arc;

use batch::{BatchBuilder, BatchView, Codec};
use bytes::{BufMut as _, Bytes, BytesMut};
use coordinator::{
    Command, CommitOffsets, CommitPartition, CommitTopic, DeleteOffsets, DeletedTopic, FetchOffsets, FetchTopic,
    GroupConfig, GroupCoordinator, Heartbeat, JoinGroup, LeaveGroup, Leaver, ListGroups, Record, Reply, SyncGroup,
};
use machine::{BatchId, Host, Machine as _, Ticket};
use storage::compaction::CompactionJob;
use storage::{Effect, LastStop, LogEvent, PartitionLog, ReadRange, RecoveryHints, recover};
use types::{ErrorCode, LeaderEpoch, Now, Offset, PartitionIndex, Timestamp, TopicId, TopicPartition};

use crate::disk::{Disk, Writer};
use crate::effects::{Injector, Work, read_range};
use crate::faults::{Fault, Tally};
use crate::history::{self, Found, History, Seen, Stop};
use crate::invariants::{self, Invariant};
use crate::rng::Rng;
use crate::scenario::{Drawn, Scenario};
use crate::trace::Trace;
use crate::violation::{Checked, Violation, violation};

const MS: u64 = 1_000_000;
const GROUPS: [&str; 3] = ["orders", "bills", "reader"];
const TOPICS: [&str; 2] = ["t0", "t1"];
const PARTITIONS: [PartitionIndex; 2] = [PartitionIndex::ZERO, PartitionIndex::new(1)];
const MEMBERS: usize = 5;
/// As `max.message.bytes` of the topic: what is decided at once may need several batches.
const BATCH_BYTES_MAX: usize = 2_000;
/// A header and a record's own lengths.
const BATCH_SLACK_BYTES: usize = 200;

fn partition() -> TopicPartition {
    TopicPartition::new("__consumer_offsets", PartitionIndex::ZERO)
}

fn topic_id(topic: usize) -> TopicId {
    TopicId::from_bytes([topic as u8 + 1; 16])
}

/// A member's client, as far as it is needed: what it was last told.
#[derive(Clone, Default, Debug)]
struct Member {
    group: Arc<str>,
    instance: Option<Arc<str>>,
    id: Option<Arc<str>>,
    generation: i32,
    /// Everyone, if it leads.
    others: Vec<Arc<str>>,
    must_join: bool,
    must_sync: bool,
    waits_for: Option<Ticket>,
}

impl Member {
    fn on_error(&mut self, error: ErrorCode) {
        match error {
            ErrorCode::None => return,
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => self.id = None,
            _ => {}
        }
        self.must_join = true;
    }

    fn on_reply(&mut self, reply: &Reply) {
        self.waits_for = None;
        match reply {
            Reply::Join(reply) if reply.error == ErrorCode::MemberIdRequired => self.id.clone_from(&reply.member),
            Reply::Join(reply) if reply.error == ErrorCode::None => {
                self.id.clone_from(&reply.member);
                self.generation = reply.generation.unwrap_or_default();
                self.others = reply.members.iter().map(|member| member.member.clone()).collect();
                (self.must_join, self.must_sync) = (false, true);
            }
            Reply::Join(reply) => self.on_error(reply.error),
            Reply::Sync(reply) => {
                self.must_sync = false;
                self.on_error(reply.error);
            }
            Reply::Done(error) | Reply::Commit(Err(error)) => self.on_error(*error),
            Reply::Commit(Ok(topics)) => self.on_error(topics[0].partitions[0].1),
            Reply::Leave(_) => (self.id, self.must_join) = (None, true),
            _ => {}
        }
    }
}

/// The batch on its way to the log.
struct UnderWay {
    id: BatchId,
    /// Its parts that are not yet visible, each with its last offset once it is appended.
    parts: BTreeMap<u64, Option<Offset>>,
    failed: bool,
}

struct Up {
    log: PartitionLog,
    work: Vec<Work>,
    ready: bool,
    closed: bool,
    epoch: Option<LeaderEpoch>,
    compaction: Option<CompactionJob>,
    /// `None`: to be loaded.
    host: Option<Box<Host<GroupCoordinator>>>,
    under_way: Option<UnderWay>,
}

/// Everything.
pub struct GroupWorld {
    drawn: Drawn,
    groups: GroupConfig,
    rng: Rng,
    now: Now,
    disk: Disk,
    up: Option<Up>,
    epoch_last: LeaderEpoch,
    power_lost: bool,
    tags: u64,
    tickets: u64,
    commits: i64,
    members: Vec<Member>,
    invariants: Vec<Box<dyn Invariant>>,
    history: History,
    faults_on: bool,
    tally: Tally,
    trace: Trace,
}

impl GroupWorld {
    /// A node that has never been up.
    #[must_use]
    pub fn new(scenario: Scenario, seed: u64, keep_lines: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0x6e0b5);
        let drawn = Drawn::new(&scenario, &mut rng);
        let groups = GroupConfig {
            session_timeout_ms_min: 0,
            initial_rebalance_delay_ms: [0, 100][rng.index(2)],
            offsets_retention_ms: [20_000, 1_000_000_000][rng.index(2)],
            offsets_retention_check_ms: 5_000,
            record_bytes_max: BATCH_BYTES_MAX - BATCH_SLACK_BYTES,
            ..GroupConfig::default()
        };
        let members = (0..MEMBERS).map(|index| Member {
            group: GROUPS[index % 2].into(),
            instance: (rng.chance(300)).then(|| format!("i{index}").into()),
            must_join: true,
            ..Member::default()
        });
        let members = members.collect();
        let mut trace = Trace::new(keep_lines);
        trace.numbers(&[seed]);
        trace.line("drawn", &(&drawn, &groups));
        Self {
            invariants: invariants::of_groups(groups.offsets_retention_ms),
            drawn,
            groups,
            rng,
            now: Now { monotonic_ns: 1_000_000_000, wall: Timestamp::from_millis(1_700_000_000_000) },
            disk: Disk::default(),
            up: None,
            epoch_last: LeaderEpoch::ZERO,
            power_lost: false,
            tags: 0,
            tickets: 0,
            commits: 0,
            members,
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
        let log = PartitionLog::create(partition(), self.drawn.config.clone(), self.now);
        self.bring_up(log)?;
        for _ in 0..steps {
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

    fn injector(&mut self) -> Injector<'_> {
        Injector { rng: &mut self.rng, drawn: &self.drawn, tally: &mut self.tally, on: self.faults_on }
    }

    // ---- steps ----

    fn step(&mut self) -> Checked {
        let passed_ms = match self.rng.below(20) {
            0 => self.rng.below(8_000),
            1..=4 => self.rng.below(500),
            _ => self.rng.below(2),
        };
        self.advance_ms(passed_ms);
        if self.faults_on && self.rng.chance(self.drawn.crash_permille) && self.crash()? {
            return Ok(());
        }
        let up = self.up();
        let (busy, poisoned) = (!up.work.is_empty(), up.log.poisoned().is_some());
        if self.up().host.is_none() && self.rng.chance(250) {
            self.new_epoch()?;
            return self.load();
        }
        match self.rng.below(100) {
            0..45 if busy => self.end_one(),
            45..75 => self.act(),
            75..82 => self.tick(),
            82..86 => self.compact(),
            86..89 => self.compare(),
            89..93 => self.new_epoch(),
            93..96 if poisoned => self.go_down(Stop::ProcessKill),
            96..98 => self.load(),
            _ if busy => self.end_one(),
            _ => self.act(),
        }
    }

    fn advance_ms(&mut self, passed_ms: u64) {
        self.now.monotonic_ns += passed_ms * MS;
        self.now.wall = Timestamp::from_millis(self.now.wall.millis() + passed_ms as i64);
    }

    fn tick(&mut self) -> Checked {
        let now = self.now;
        self.up().log.on_tick(now);
        let refuses = self.refuses();
        if let Some(host) = &mut self.up().host
            && !refuses
        {
            host.on_tick(now);
        }
        self.pump()
    }

    fn refuses(&mut self) -> bool {
        let log = &self.up().log;
        log.awaits_new_epoch() || log.poisoned().is_some()
    }

    fn new_epoch(&mut self) -> Checked {
        let (epoch, now) = (self.epoch_last.next(), self.now);
        let up = self.up();
        if !up.ready || up.log.poisoned().is_some() || (up.epoch.is_some() && !up.log.awaits_new_epoch()) {
            return Ok(());
        }
        up.log.set_leader_epoch(now, epoch).map_err(|fault| violation("a_new_epoch_is_taken", fault.to_string()))?;
        up.epoch = Some(epoch);
        self.epoch_last = epoch;
        self.pump()
    }

    /// Somebody asks something.
    fn act(&mut self) -> Checked {
        let (who, group) = (self.rng.index(MEMBERS), GROUPS[self.rng.index(GROUPS.len())]);
        let topic = self.rng.index(TOPICS.len());
        let partition = PARTITIONS[self.rng.index(PARTITIONS.len())];
        match self.rng.below(100) {
            0..65 => self.act_as_member(who),
            65..78 => {
                let commit = self.commit(group.into(), None);
                self.ask(Command::Commit(commit))
            }
            78..94 => self.ask(fetch_all(group)),
            94..96 => self.ask(Command::DeleteGroups(vec![group.into()])),
            96..98 => {
                let topics = vec![(TOPICS[topic].into(), vec![partition])];
                self.ask(Command::DeleteOffsets(DeleteOffsets { group: group.into(), topics }))
            }
            98 => {
                let deleted = DeletedTopic { topic: TOPICS[topic].into(), topic_id: topic_id(topic) };
                self.ask(Command::TopicsDeleted(vec![deleted]))
            }
            _ => self.ask(Command::Describe(vec![group.into()])),
        }
    }

    fn act_as_member(&mut self, who: usize) -> Checked {
        let member = self.members[who].clone();
        if member.waits_for.is_some() {
            return Ok(());
        }
        let command = match member.id.clone() {
            Some(id) if !member.must_join => self.act_in_group(&member, id),
            _ => {
                let mut entropy = [0; 16];
                entropy[..8].copy_from_slice(&self.rng.next_u64().to_be_bytes());
                Command::Join(JoinGroup {
                    group: member.group.clone(),
                    member: member.id.clone(),
                    instance: member.instance.clone(),
                    client_id: "c".into(),
                    client_host: "/::1".into(),
                    session_timeout_ms: 6_000,
                    rebalance_timeout_ms: 1_000,
                    protocol_type: "consumer".into(),
                    protocols: vec![("range".into(), subscription(self.rng.chance(500)))],
                    member_id_required: self.rng.chance(500),
                    can_skip_assignment: self.rng.chance(500),
                    reason: None,
                    entropy,
                })
            }
        };
        let ticket = Ticket::new(self.tickets);
        self.members[who].waits_for = Some(ticket);
        self.ask(command)
    }

    fn act_in_group(&mut self, member: &Member, id: Arc<str>) -> Command {
        let (group, instance, generation) = (member.group.clone(), member.instance.clone(), member.generation);
        if member.must_sync {
            let parts = member.others.iter().enumerate();
            let assignments = parts.map(|(index, other)| (other.clone(), Bytes::from(format!("{index}"))));
            return Command::Sync(SyncGroup {
                group,
                member: id,
                instance,
                generation,
                protocol_type: None,
                protocol: None,
                assignments: assignments.collect(),
            });
        }
        match self.rng.below(10) {
            0..4 => Command::Heartbeat(Heartbeat { group, member: id, instance, generation }),
            4..9 => Command::Commit(self.commit(group, Some((id, instance, generation)))),
            _ => {
                Command::Leave(LeaveGroup { group, members: vec![Leaver { member: Some(id), instance, reason: None }] })
            }
        }
    }

    fn commit(&mut self, group: Arc<str>, member: Option<(Arc<str>, Option<Arc<str>>, i32)>) -> CommitOffsets {
        self.commits += 1;
        let topic = self.rng.index(TOPICS.len());
        let partition = CommitPartition {
            partition: PARTITIONS[self.rng.index(PARTITIONS.len())],
            offset: Some(Offset::new(self.commits)),
            leader_epoch: None,
            metadata: Some(format!("read {} of {group}", self.commits).into()),
        };
        let topics = vec![CommitTopic {
            topic: TOPICS[topic].into(),
            topic_id: Some(topic_id(topic)),
            partitions: vec![partition],
        }];
        let (id, instance, generation) = match member {
            Some((id, instance, generation)) => (Some(id), instance, Some(generation)),
            None => (None, None, None),
        };
        CommitOffsets {
            group,
            member: id,
            instance,
            generation,
            retention_ms: self.rng.chance(100).then_some(3_000),
            knows_group_not_found: true,
            topics,
        }
    }

    fn ask(&mut self, command: Command) -> Checked {
        let (now, ticket) = (self.now, Ticket::new(self.tickets));
        let reads = matches!(command, Command::Fetch(_) | Command::Describe(_) | Command::Heartbeat(_));
        let refused = self.up().host.is_none() || (self.refuses() && !reads);
        self.tickets += 1;
        self.trace.numbers(&[1, ticket.number(), u64::from(refused)]);
        if refused {
            self.members.iter_mut().filter(|it| it.waits_for == Some(ticket)).for_each(|it| it.waits_for = None);
            return Ok(());
        }
        self.see(&Seen::GroupAsked { ticket, command: &command, now: now.wall })?;
        if let Some(host) = &mut self.up().host {
            host.decide(now, ticket, command);
        }
        self.pump()
    }

    /// The maintenance thread takes a job, or comes back from one.
    fn compact(&mut self) -> Checked {
        let now = self.now;
        let up = self.up();
        let Some(job) = up.compaction.take() else {
            let visible = up.log.offsets().visible;
            up.compaction = up.log.begin_compaction(now, visible);
            return self.pump();
        };
        let budget = if self.injector().fails(Fault::DiskFull) { self.rng.index(20) } else { usize::MAX };
        let seen = self.disk.clone();
        let outcome = job.run(&seen, &mut Writer::new(&mut self.disk, budget));
        self.trace.numbers(&[2, u64::from(outcome.is_ok())]);
        self.up().log.finish_compaction(now, outcome);
        self.pump()
    }

    // ---- the log ----

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
            idle &= !self.flush()?;
            if idle {
                return self.look_at_groups(false);
            }
        }
    }

    fn begin(&mut self, effect: Effect) -> Checked {
        self.trace.numbers(&[3, effect.op().0]);
        self.trace.line("begin", &effect);
        let work = Work::begin(&self.disk, effect);
        let work = work.map_err(|reason| violation("effects_name_files_that_exist", reason))?;
        self.up().work.push(work);
        Ok(())
    }

    fn end_one(&mut self) -> Checked {
        let index = self.up.as_ref().map_or(0, |up| self.rng.index(up.work.len()));
        let work = self.up().work.swap_remove(index);
        let mut chance =
            Injector { rng: &mut self.rng, drawn: &self.drawn, tally: &mut self.tally, on: self.faults_on };
        let result = work.finish(&mut self.disk, &mut chance);
        let (now, op) = (self.now, work.effect.op());
        self.trace.numbers(&[4, op.0, u64::from(result.is_ok())]);
        self.trace.line("end", &(op, &result));
        self.up().log.on_done(now, op, result);
        self.pump()
    }

    fn on_event(&mut self, event: LogEvent) -> Checked {
        self.trace.line("event", &event);
        let power_lost = &mut self.power_lost;
        let up = self.up.as_mut().expect("the node is up");
        match event {
            LogEvent::Appended { tag, last_offset, .. } => {
                if let Some(part) = up.under_way.as_mut().and_then(|it| it.parts.get_mut(&tag)) {
                    *part = Some(last_offset);
                }
            }
            LogEvent::AppendFailed { tag, .. } => {
                if let Some(under_way) = &mut up.under_way
                    && under_way.parts.remove(&tag).is_some()
                {
                    under_way.failed = true;
                }
            }
            LogEvent::Ready => (up.ready, *power_lost) = (true, false),
            LogEvent::Closed => up.closed = true,
            _ => {}
        }
        Ok(())
    }

    /// Ends the batch under way if all of it is visible, sends what may be said, and begins the next batch. Returns
    /// whether it did anything.
    fn flush(&mut self) -> Checked<bool> {
        let mut did = false;
        let up = self.up();
        let visible = up.log.offsets().visible;
        if let Some(under_way) = &mut up.under_way {
            under_way.parts.retain(|_, last| last.is_none_or(|last| visible <= last));
        }
        if let Some(ended) = up.under_way.take_if(|it| it.parts.is_empty()) {
            did = true;
            self.trace.numbers(&[5, u64::from(ended.failed)]);
            if ended.failed {
                self.end_host()?;
            } else if let Some(host) = &mut self.up().host {
                host.on_committed(ended.id);
            }
        }
        let (now, up) = (self.now, self.up());
        let Some(host) = &mut up.host else { return Ok(did) };
        let batch = if up.under_way.is_none() { host.take_batch() } else { None };
        let replies = host.take_replies();
        did |= batch.is_some() || !replies.is_empty();
        for (ticket, reply) in replies {
            self.trace.numbers(&[6, ticket.number()]);
            self.see(&Seen::GroupAnswered { ticket, reply: &reply, now: now.wall })?;
            let waits = self.members.iter_mut().find(|member| member.waits_for == Some(ticket));
            if let Some(member) = waits {
                member.on_reply(&reply);
            }
        }
        if let Some(batch) = batch {
            self.append(batch.id, &batch.records)?;
        }
        Ok(did)
    }

    fn append(&mut self, id: BatchId, records: &[Record]) -> Checked {
        let now = self.now;
        let mut under_way = UnderWay { id, parts: BTreeMap::new(), failed: false };
        let up = self.up.as_mut().expect("the node is up");
        for mut bytes in encode(now, records)? {
            self.tags += 1;
            self.trace.bytes(&bytes);
            let info = BatchView::parse(&bytes).map(|view| view.info());
            let info = info.map_err(|error| violation("group_records_are_written", error.to_string()))?;
            let epoch = up.epoch.unwrap_or(LeaderEpoch::ZERO);
            let admission = up.log.append_as_leader(now, bytes.split(), &info, epoch, self.tags);
            self.trace.line("append", &(id, &admission));
            match admission {
                Ok(_) => drop(under_way.parts.insert(self.tags, None)),
                Err(_) => under_way.failed = true,
            }
        }
        up.under_way = Some(under_way);
        Ok(())
    }

    fn end_host(&mut self) -> Checked {
        if let Some(host) = self.up().host.take() {
            for ticket in host.abandon() {
                self.members.iter_mut().filter(|it| it.waits_for == Some(ticket)).for_each(|it| it.waits_for = None);
            }
            self.see(&Seen::CoordinatorEnded)?;
        }
        Ok(())
    }

    // ---- loading ----

    /// A coordinator from the log as it can be read now.
    fn read_back(&mut self) -> Checked<GroupCoordinator> {
        let fault = |reason| violation("groups_can_be_loaded", reason);
        let mut machine = GroupCoordinator::new(self.groups.clone());
        let log = &self.up.as_ref().expect("the node is up").log;
        let offsets = log.offsets();
        let mut start = offsets.log_start;
        while start < offsets.visible {
            let range = ReadRange { start, end: offsets.visible, bytes_max: 3_000, at_least_one: true };
            let Some(bytes) = read_range(log, &self.disk, &range).map_err(fault)? else { break };
            let found = Found::split(&bytes).map_err(fault)?;
            let Some(last) = found.last() else { return Err(fault(format!("{range:?} gave no whole batch"))) };
            start = last.info.next_offset();
            for batch in &found {
                for record in history::Record::all(&batch.bytes) {
                    let offset = batch.info.base_offset.plus(i64::from(record.offset_delta));
                    let decoded = Record::decode(record.key.as_deref(), record.value.as_deref());
                    let decoded = decoded.map_err(|error| fault(error.to_string()))?;
                    machine.replay(offset, decoded.ok_or_else(|| fault("a record of another kind".to_owned()))?);
                }
            }
        }
        Ok(machine)
    }

    /// A poisoned log is not loaded: batches it gave up may still reach the disk, and be there after a restart, so that
    /// nobody must be told that they are not.
    fn load(&mut self) -> Checked {
        let up = self.up();
        let offsets = up.log.offsets();
        if up.log.poisoned().is_some() {
            return Ok(());
        }
        if up.host.is_some() || up.under_way.is_some() || !up.ready || offsets.visible < offsets.written {
            return Ok(());
        }
        let machine = self.read_back()?;
        let now = self.now;
        self.trace.numbers(&[7, offsets.visible.value() as u64]);
        self.up().host = Some(Box::new(Host::new(now, machine)));
        self.look_at_groups(true)?;
        for group in GROUPS {
            self.ask(fetch_all(group))?;
        }
        self.pump()
    }

    fn look_at_groups(&mut self, loaded: bool) -> Checked {
        let Some(host) = &self.up().host else { return Ok(()) };
        let there = GROUPS.into_iter().filter(|group| host.machine().has_group(group));
        let groups: Vec<Arc<str>> = there.map(Arc::from).collect();
        self.see(&Seen::GroupsThere { groups: &groups, loaded })
    }

    /// What is on disk is what the coordinator knows.
    fn compare(&mut self) -> Checked {
        let up = self.up();
        if up.host.as_ref().is_none_or(|host| host.is_busy()) || up.under_way.is_some() {
            return Ok(());
        }
        let (now, machine) = (self.now, self.read_back()?);
        let mut replayed = Host::new(now, machine);
        let host = self.up().host.as_mut().expect("looked at above");
        let settled = ask_quietly(host, now, Command::List(ListGroups::default()));
        let Reply::List(listed) = &settled else { return Err(violation("live_state_is_replayed_state", "no list")) };
        for group in listed {
            let offsets = ask_quietly(host, now, fetch_all(&group.group));
            let again = ask_quietly(&mut replayed, now, fetch_all(&group.group));
            if offsets != again {
                return Err(differs(&offsets, &again));
            }
            // A group that is rebalancing goes back to its last generation.
            let rebalances = !matches!(group.state, "Empty" | "Stable");
            // Of a group that only offsets told of, nothing stays when they are gone and compacted away.
            let is_of_offsets = group.protocol_type.is_empty() && !replayed.machine().has_group(&group.group);
            if rebalances || (is_of_offsets && !tells_of_any(&offsets)) {
                continue;
            }
            let question = Command::Describe(vec![group.group.clone()]);
            let live = ask_quietly(host, now, question.clone());
            let again = ask_quietly(&mut replayed, now, question);
            if live != again {
                return Err(differs(&live, &again));
            }
        }
        let again = ask_quietly(&mut replayed, now, Command::List(ListGroups::default()));
        let Reply::List(replayed) = &again else { return Err(violation("live_state_is_replayed_state", "no list")) };
        let is_new = |group: &coordinator::ListedGroup| listed.iter().all(|it| it.group != group.group);
        if replayed.iter().any(is_new) { Err(differs(&settled, &again)) } else { Ok(()) }
    }

    // ---- going down and up ----

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
        self.trace.numbers(&[8, stop as u64]);
        self.trace.line("down", &stop);
        self.end_host()?;
        let up = self.up.take().expect("the node is up");
        if let Some(job) = &up.compaction
            && stop != Stop::Clean
        {
            // The maintenance thread is stopped somewhere.
            let (seen, budget) = (self.disk.clone(), self.rng.index(20));
            let _ = job.run(&seen, &mut Writer::new(&mut self.disk, budget));
        }
        for work in &up.work {
            let _ = work.abandon(&mut self.disk, &mut self.rng);
        }
        if stop == Stop::PowerLoss {
            self.disk.lose_power_whole(&mut self.rng);
        }
        // As in `World`: a folder in which something failed is opened again as after a loss of power.
        let poisoned = up.log.poisoned().is_some();
        if poisoned {
            self.disk.sync_all();
            self.disk.drop_clean_cache();
        }
        self.power_lost |= poisoned || stop == Stop::PowerLoss;
        let last_stop = if self.power_lost { LastStop::PowerLost } else { LastStop::ProcessDied };
        let hints = RecoveryHints { last_stop, accept_loss: false };
        let recovered = recover(&self.disk, partition(), self.drawn.config.clone(), &hints, self.now, &mut |_| {});
        let recovered =
            recovered.map_err(|fault| violation("what_was_not_broken_opens", format!("after {stop:?}: {fault}")))?;
        self.trace.line("recovered", &recovered.report);
        self.trace.numbers(&[9, recovered.log.offsets().written.value() as u64]);
        self.bring_up(recovered.log)
    }

    fn bring_up(&mut self, log: PartitionLog) -> Checked {
        self.up = Some(Up {
            log,
            work: Vec::new(),
            ready: false,
            closed: false,
            epoch: None,
            compaction: None,
            host: None,
            under_way: None,
        });
        self.pump()
    }

    // ---- the end ----

    /// Faults are over: everything is answered, and what the log holds is what everyone was told.
    fn heal(&mut self) -> Checked {
        self.faults_on = false;
        if self.up().log.poisoned().is_some() {
            self.go_down(Stop::ProcessKill)?;
        }
        self.settle()?;
        let commit = self.commit("reader".into(), None);
        self.ask(Command::Commit(commit))?;
        self.settle()?;
        self.compare()?;
        let now = self.now;
        self.up().log.close(now);
        self.pump()?;
        self.settle()?;
        if !self.up().closed {
            return Err(violation("a_close_ends", "nothing is under way, and it has not ended"));
        }
        self.go_down(Stop::Clean)?;
        self.settle()?;
        self.compare()
    }

    /// Until nothing is under way. What waits for time alone may wait on.
    fn settle(&mut self) -> Checked {
        const TURNS_MAX: usize = 2_000;
        let mut quiet = 0;
        for _ in 0..TURNS_MAX {
            if !self.up().work.is_empty() {
                quiet = 0;
                self.end_one()?;
                continue;
            }
            if self.up().closed {
                return Ok(());
            }
            if self.up().compaction.is_some() {
                self.compact()?;
                continue;
            }
            if quiet == 3 {
                let up = self.up();
                return if up.under_way.is_some() || up.host.as_ref().is_none_or(|host| host.is_busy()) {
                    Err(violation("everything_decided_is_answered_once_faults_are_over", "something waits for ever"))
                } else {
                    Ok(())
                };
            }
            quiet += 1;
            let now = self.now;
            let due_ns = self.up().log.next_deadline_ns().unwrap_or(0);
            self.advance_ms((due_ns.saturating_sub(now.monotonic_ns).div_ceil(MS)).min(120_000));
            self.tick()?;
            self.new_epoch()?;
            self.load()?;
        }
        Err(violation("a_log_left_alone_comes_to_rest", format!("not in {TURNS_MAX} turns")))
    }
}

fn fetch_all(group: &str) -> Command {
    let topics =
        TOPICS.map(|topic| FetchTopic { topic: topic.into(), topic_id: None, partitions: PARTITIONS.to_vec() });
    Command::Fetch(FetchOffsets { group: group.into(), topics: Some(topics.to_vec()) })
}

fn differs(live: &Reply, replayed: &Reply) -> Violation {
    violation("live_state_is_replayed_state", format!("{live:?}, replayed {replayed:?}"))
}

fn tells_of_any(offsets: &Reply) -> bool {
    let Reply::Fetch(topics) = offsets else { return false };
    topics.iter().flat_map(|topic| &topic.partitions).any(|fetched| fetched.committed.is_some())
}

/// Asks a host that is not busy; the answer comes at once, and nothing is written.
fn ask_quietly(host: &mut Host<GroupCoordinator>, now: Now, command: Command) -> Reply {
    host.decide(now, Ticket::new(u64::MAX), command);
    host.take_replies().pop().map_or(Reply::Done(ErrorCode::UnknownServerError), |(_, reply)| reply)
}

/// Records as batches, each no larger than the topic takes.
fn encode(now: Now, records: &[Record]) -> Checked<Vec<BytesMut>> {
    let mut batches = Vec::new();
    let mut builder = BatchBuilder::new(Codec::None);
    for record in records {
        let encoded = record.encode().map_err(|error| violation("group_records_are_written", error.to_string()))?;
        let bytes = encoded.0.len() + encoded.1.as_ref().map_or(0, Bytes::len) + BATCH_SLACK_BYTES;
        if 0 < builder.records() && BATCH_BYTES_MAX < builder.size_bytes() + bytes {
            batches.push(std::mem::replace(&mut builder, BatchBuilder::new(Codec::None)).build_unstamped());
        }
        builder.append(now.wall, Some(&encoded.0), encoded.1.as_deref(), &[]);
    }
    batches.push(builder.build_unstamped());
    Ok(batches)
}

/// Topic `t0`, or both.
fn subscription(both: bool) -> Bytes {
    let topics = if both { &TOPICS[..] } else { &TOPICS[..1] };
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(topics.len() as i32);
    for topic in topics {
        bytes.put_i16(topic.len() as i16);
        bytes.put_slice(topic.as_bytes());
    }
    bytes.put_i32(-1);
    bytes.freeze()
}
