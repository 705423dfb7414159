//! A coordinator that reads its log is the one that wrote it: random histories, compared.
//!
//! Compared are groups that are empty or stable: members, parts, offsets, what is subscribed (by which offsets may be
//! forgotten). Not compared: groups in the middle of a rebalance, which go back to their last generation; timers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use coordinator::*;
use machine::{Host, Ticket};
use proptest::prelude::*;
use types::{ErrorCode, Now, Offset, PartitionIndex, Timestamp, TopicId};

const GROUPS: [&str; 2] = ["g", "h"];

#[derive(Clone, Debug)]
enum Op {
    Join { group: usize, member: Option<usize>, instance: Option<usize>, protocols: u8, is_old: bool },
    Sync { group: usize, member: usize },
    Heartbeat { group: usize, member: usize },
    Leave { group: usize, member: usize },
    Commit { group: usize, member: Option<usize>, topic: u8, partition: u8, offset: i64, retention_ms: Option<i64> },
    Forget { group: usize, topic: u8 },
    DeleteGroup { group: usize },
    DeleteTopic { topic: u8 },
    Pass { ms: u64 },
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let group = || 0..GROUPS.len();
    let member = || 0_usize..4;
    prop_oneof![
        6 => (group(), prop::option::of(member()), prop::option::of(0_usize..2), 1_u8..8, any::<bool>()).prop_map(
            |(group, member, instance, protocols, is_old)| Op::Join { group, member, instance, protocols, is_old }
        ),
        6 => (group(), member()).prop_map(|(group, member)| Op::Sync { group, member }),
        2 => (group(), member()).prop_map(|(group, member)| Op::Heartbeat { group, member }),
        1 => (group(), member()).prop_map(|(group, member)| Op::Leave { group, member }),
        4 => (group(), prop::option::of(member()), 0_u8..3, 0_u8..2, 0_i64..100, prop::option::of(0_i64..5_000)).prop_map(
            |(group, member, topic, partition, offset, retention_ms)| Op::Commit {
                group, member, topic, partition, offset, retention_ms
            }
        ),
        1 => (group(), 0_u8..3).prop_map(|(group, topic)| Op::Forget { group, topic }),
        1 => group().prop_map(|group| Op::DeleteGroup { group }),
        1 => (0_u8..3).prop_map(|topic| Op::DeleteTopic { topic }),
        5 => prop_oneof![Just(0_u64), 1_u64..5_000].prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Restart),
    ]
}

/// A client as far as the test needs one: the ids and the generation it was last told.
#[derive(Default)]
struct Client {
    ids: Vec<(Arc<str>, Option<Arc<str>>)>,
    generation: i32,
}

struct Run {
    host: Host<GroupCoordinator>,
    log: Vec<(Bytes, Option<Bytes>)>,
    now_ms: u64,
    tickets: u64,
    waiting: BTreeMap<Ticket, (usize, Option<Arc<str>>)>,
    clients: [Client; 2],
    saw_stable: bool,
}

fn config() -> GroupConfig {
    GroupConfig {
        session_timeout_ms_min: 0,
        initial_rebalance_delay_ms: 100,
        offsets_retention_ms: 4_000,
        offsets_retention_check_ms: 1_000,
        ..GroupConfig::default()
    }
}

fn load(now: Now, log: &[(Bytes, Option<Bytes>)]) -> Host<GroupCoordinator> {
    let records = log.iter().enumerate().map(|(offset, (key, value))| {
        let record = Record::decode(Some(key), value.as_deref()).unwrap().unwrap();
        (Offset::new(offset as i64), record)
    });
    Host::load(now, GroupCoordinator::new(config()), records)
}

/// Topics `t0`, `t1`, `t2`, as the bits say.
fn subscription(bits: u8) -> Bytes {
    let topics: Vec<u8> = (0..3).filter(|topic| bits & (1 << topic) != 0).collect();
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(topics.len() as i32);
    for topic in topics {
        bytes.put_i16(2);
        bytes.put_slice(format!("t{topic}").as_bytes());
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

fn topic(topic: u8) -> Arc<str> {
    format!("t{topic}").into()
}

fn ask(host: &mut Host<GroupCoordinator>, now: Now, command: Command) -> Reply {
    host.decide(now, Ticket::new(u64::MAX), command);
    assert!(host.take_batch().is_none(), "a question writes nothing");
    host.take_replies().pop().expect("answered at once").1
}

/// What is to be the same before and after a restart.
fn lasting(host: &mut Host<GroupCoordinator>, now: Now, groups: &BTreeSet<Arc<str>>) -> Vec<Reply> {
    let mut seen = Vec::new();
    for group in groups {
        seen.push(ask(host, now, Command::Describe(vec![group.clone()])));
        seen.push(ask(host, now, Command::Fetch(FetchOffsets { group: group.clone(), topics: None })));
    }
    seen
}

impl Run {
    fn new() -> Self {
        let now = Now { monotonic_ns: 0, wall: Timestamp::from_millis(0) };
        Self {
            host: load(now, &[]),
            log: Vec::new(),
            now_ms: 0,
            tickets: 0,
            waiting: BTreeMap::new(),
            clients: Default::default(),
            saw_stable: false,
        }
    }

    fn now(&self) -> Now {
        Now { monotonic_ns: self.now_ms * 1_000_000, wall: Timestamp::from_millis(self.now_ms as i64) }
    }

    fn settle(&mut self) {
        while let Some(batch) = self.host.take_batch() {
            self.log.extend(batch.records.iter().map(|record| record.encode().unwrap()));
            self.host.on_committed(batch.id);
        }
        for (ticket, reply) in self.host.take_replies() {
            let (group, instance) = self.waiting.remove(&ticket).expect("each ticket is answered once");
            if let Reply::Join(JoinReply { member: Some(id), error, generation, .. }) = reply {
                let client = &mut self.clients[group];
                if matches!(error, ErrorCode::None | ErrorCode::MemberIdRequired)
                    && !client.ids.iter().any(|(known, _)| *known == id)
                {
                    client.ids.push((id, instance));
                }
                client.generation = generation.unwrap_or(client.generation);
            }
        }
    }

    /// The `nth` newest member that the group's clients know.
    fn member(&self, group: usize, nth: usize) -> (Arc<str>, Option<Arc<str>>) {
        self.clients[group].ids.iter().rev().nth(nth).cloned().unwrap_or_else(|| ("nobody".into(), None))
    }

    fn decide(&mut self, group: usize, instance: Option<Arc<str>>, command: Command) {
        self.tickets += 1;
        let ticket = Ticket::new(self.tickets);
        self.waiting.insert(ticket, (group, instance));
        let now = self.now();
        self.host.decide(now, ticket, command);
        self.settle();
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Join { group, member, instance, protocols, is_old } => {
                let (member, instance) = match member {
                    Some(member) => {
                        let (member, instance) = self.member(group, member);
                        (Some(member), instance)
                    }
                    None => (None, instance.map(|instance| Arc::from(["i", "j"][instance]))),
                };
                let mut entropy = [0; 16];
                entropy[..8].copy_from_slice(&self.tickets.to_be_bytes());
                let request = JoinGroup {
                    group: GROUPS[group].into(),
                    member,
                    instance: instance.clone(),
                    client_id: "c".into(),
                    client_host: "/::1".into(),
                    session_timeout_ms: 3_000 + i32::from(protocols),
                    rebalance_timeout_ms: 1_000,
                    protocol_type: ["consumer", "connect"][usize::from(group == 1 && protocols == 7)].into(),
                    protocols: vec![("range".into(), subscription(protocols)), ("sticky".into(), subscription(1))],
                    member_id_required: !is_old,
                    can_skip_assignment: is_old,
                    reason: None,
                    entropy,
                };
                self.decide(group, instance, Command::Join(request));
            }
            Op::Sync { group, member } => {
                let (member, instance) = self.member(group, member);
                let assignments = self.clients[group].ids.iter().enumerate();
                let assignments = assignments.map(|(index, (id, _))| (id.clone(), Bytes::from(index.to_string())));
                let request = SyncGroup {
                    group: GROUPS[group].into(),
                    member,
                    instance: instance.clone(),
                    generation: self.clients[group].generation,
                    protocol_type: None,
                    protocol: None,
                    assignments: assignments.collect(),
                };
                self.decide(group, instance, Command::Sync(request));
            }
            Op::Heartbeat { group, member } => {
                let (member, instance) = self.member(group, member);
                let generation = self.clients[group].generation;
                let request = Heartbeat { group: GROUPS[group].into(), member, instance: instance.clone(), generation };
                self.decide(group, instance, Command::Heartbeat(request));
            }
            Op::Leave { group, member } => {
                let (member, instance) = self.member(group, member);
                let members = vec![Leaver { member: Some(member), instance: instance.clone(), reason: None }];
                self.decide(group, instance, Command::Leave(LeaveGroup { group: GROUPS[group].into(), members }));
            }
            Op::Commit { group, member, topic: number, partition, offset, retention_ms } => {
                let known = member.map(|member| self.member(group, member));
                let partition = CommitPartition {
                    partition: PartitionIndex::new(i32::from(partition)),
                    offset: Offset::from_wire(offset),
                    leader_epoch: None,
                    metadata: Some("meta".into()),
                };
                let topic_id = Some(TopicId::from_bytes([number + 1; 16]));
                let request = CommitOffsets {
                    group: GROUPS[group].into(),
                    instance: known.as_ref().and_then(|(_, instance)| instance.clone()),
                    generation: known.as_ref().map(|_| self.clients[group].generation),
                    member: known.map(|(member, _)| member),
                    retention_ms,
                    knows_group_not_found: true,
                    topics: vec![CommitTopic { topic: topic(number), topic_id, partitions: vec![partition] }],
                };
                self.decide(group, None, Command::Commit(request));
            }
            Op::Forget { group, topic: number } => {
                let topics = vec![(topic(number), vec![PartitionIndex::new(0)])];
                let request = DeleteOffsets { group: GROUPS[group].into(), topics };
                self.decide(group, None, Command::DeleteOffsets(request));
            }
            Op::DeleteGroup { group } => self.decide(group, None, Command::DeleteGroups(vec![GROUPS[group].into()])),
            Op::DeleteTopic { topic: number } => {
                let deleted = DeletedTopic { topic: topic(number), topic_id: TopicId::from_bytes([number + 1; 16]) };
                self.decide(0, None, Command::TopicsDeleted(vec![deleted]));
            }
            Op::Pass { ms } => {
                let until_ms = self.now_ms + ms;
                while let Some(due_ns) = self.host.next_deadline_ns() {
                    let due_ms = due_ns.div_ceil(1_000_000);
                    if until_ms < due_ms {
                        break;
                    }
                    self.now_ms = self.now_ms.max(due_ms);
                    let now = self.now();
                    self.host.on_tick(now);
                    self.settle();
                }
                self.now_ms = until_ms;
            }
            Op::Restart => {
                let new = load(self.now(), &self.log);
                let owed: BTreeSet<Ticket> = std::mem::replace(&mut self.host, new).abandon().into_iter().collect();
                let waiting: BTreeSet<Ticket> = std::mem::take(&mut self.waiting).into_keys().collect();
                assert_eq!(owed, waiting, "who waits is told");
            }
        }
        self.compare();
    }

    fn compare(&mut self) {
        let now = self.now();
        let Reply::List(listed) = ask(&mut self.host, now, Command::List(ListGroups::default())) else { panic!() };
        let is_settled = |group: &&ListedGroup| matches!(group.state, "Empty" | "Stable");
        let settled: BTreeSet<Arc<str>> = listed.iter().filter(is_settled).map(|it| it.group.clone()).collect();
        self.saw_stable |= listed.iter().any(|group| group.state == "Stable");

        let mut replayed = load(now, &self.log);
        assert_eq!(lasting(&mut self.host, now, &settled), lasting(&mut replayed, now, &settled));
        let Reply::List(again) = ask(&mut replayed, now, Command::List(ListGroups::default())) else { panic!() };
        let names = |groups: &[ListedGroup]| groups.iter().map(|it| it.group.clone()).collect::<BTreeSet<_>>();
        assert_eq!(names(&listed), names(&again), "no group appears or is lost");

        // Subscriptions show in which offsets may be deleted. Tried on copies: it changes them.
        for group in &settled {
            let topics = (0..3).map(|number| (topic(number), vec![PartitionIndex::new(0)])).collect();
            let request = Command::DeleteOffsets(DeleteOffsets { group: group.clone(), topics });
            let mut tried = load(now, &self.log);
            tried.decide(now, Ticket::new(0), request);
            let Some(batch) = tried.take_batch() else { continue };
            for record in batch.records {
                let Record::Offset { topic, .. } = record else { panic!("only offsets are deleted") };
                let Reply::DeleteOffsets(Ok(answer)) = ask_forget_other(&mut self.host, now, group, &topic) else {
                    continue;
                };
                assert_eq!(answer[0].partitions[0].1, ErrorCode::None, "{group} {topic}");
            }
        }
    }
}

/// Asks to forget a partition that has no offset: writes nothing, and tells whether the topic is read.
fn ask_forget_other(host: &mut Host<GroupCoordinator>, now: Now, group: &Arc<str>, topic: &Arc<str>) -> Reply {
    let topics = vec![(topic.clone(), vec![PartitionIndex::new(99)])];
    ask(host, now, Command::DeleteOffsets(DeleteOffsets { group: group.clone(), topics }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replayed_state_is_the_live_state(ops in prop::collection::vec(op(), 1..80)) {
        let mut run = Run::new();
        for op in &ops {
            run.run(op);
        }
    }
}

/// A history that gets somewhere: a static member comes back with another subscription, unnoticed by a rebalance.
#[test]
fn static_member_with_another_subscription_replays() {
    let mut run = Run::new();
    for op in [
        Op::Join { group: 0, member: None, instance: Some(0), protocols: 3, is_old: true },
        Op::Pass { ms: 200 },
        Op::Sync { group: 0, member: 0 },
        Op::Commit { group: 0, member: Some(0), topic: 1, partition: 0, offset: 5, retention_ms: None },
        Op::Join { group: 0, member: None, instance: Some(0), protocols: 5, is_old: true },
        Op::Restart,
        Op::Heartbeat { group: 0, member: 0 },
    ] {
        run.run(&op);
    }
    assert!(run.saw_stable);
}
