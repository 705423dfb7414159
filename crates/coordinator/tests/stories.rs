//! Stories of groups, told in `testdata/*.txt`: each line a command, below it what it brought about. Run with
//! `UPDATE_EXPECT=1` to have the outcomes written anew, then read them.
//!
//! ```text
//! config initial_delay=0 members_max=2 retention=1000 check=500   # before anything else
//! at 3000                                                         # time passes, in milliseconds since the start
//! join g member=#1 instance=i session=10000 rebalance=60000 protocols=range:A,rr:B type=consumer reason=why old skip
//! sync g #1 gen=1 parts=#1:X,#2:Y
//! heartbeat g #1 gen=1
//! leave g #1 instance:i reason=closed
//! commit g t:0=5 t:1=6 member=#1 gen=1 meta=hello retention=100 id=7
//! fetch g t:0 | fetch g
//! forget g t:0
//! delete g
//! describe g
//! list state=Stable type=classic
//! topic_deleted t id=7
//! hold | release                                                  # the log keeps its records waiting, or catches up
//! restart                                                         # the coordinator reads its log
//! ```
//! Members' ids are printed, and given, as `#1`, `#2`, ... in the order they were made. A member subscribes to the topics
//! of its metadata: `range:t+u` is two, if the type is consumer; else it is taken as it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use coordinator::*;
use machine::{BatchId, Host, Ticket};
use types::{ErrorCode, LeaderEpoch, Now, Offset, PartitionIndex, Timestamp, TopicId};

struct Story {
    config: GroupConfig,
    host: Option<Host<GroupCoordinator>>,
    now_ms: i64,
    log: Vec<(Bytes, Option<Bytes>)>,
    commands: u64,
    /// Who asked what, for the print.
    asked: BTreeMap<Ticket, String>,
    /// Members' ids in the order they were made.
    ids: Vec<String>,
    is_held: bool,
    held: Vec<BatchId>,
    out: String,
}

/// The words of a command: `key=value`, bare ones, and flags.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.get(key).map(|value| value.parse().unwrap())
    }

    fn has(&self, flag: &str) -> bool {
        self.0.contains(&flag)
    }

    /// Words that are neither flags nor `key=value`, but for those with a colon before the `=`.
    fn bare(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().copied().filter(|word| match (word.find('='), word.find(':')) {
            (Some(equals), Some(colon)) => colon < equals,
            (Some(_), None) => false,
            (None, _) => !matches!(*word, "old" | "skip"),
        })
    }
}

impl Story {
    fn new() -> Self {
        let config = GroupConfig { session_timeout_ms_min: 0, ..GroupConfig::default() };
        Self {
            config,
            host: None,
            now_ms: 0,
            log: Vec::new(),
            commands: 0,
            asked: BTreeMap::new(),
            ids: Vec::new(),
            is_held: false,
            held: Vec::new(),
            out: String::new(),
        }
    }

    fn now(&self) -> Now {
        let monotonic_ns = (self.now_ms as u64) * 1_000_000;
        Now { monotonic_ns, wall: Timestamp::from_millis(1_000_000 + self.now_ms) }
    }

    fn host(&mut self) -> &mut Host<GroupCoordinator> {
        let now = self.now();
        let log = self.log.iter().enumerate().map(|(offset, (key, value))| {
            let record = Record::decode(Some(key), value.as_deref()).unwrap().unwrap();
            (Offset::new(offset as i64), record)
        });
        let log: Vec<_> = if self.host.is_none() { log.collect() } else { Vec::new() };
        self.host.get_or_insert_with(|| Host::load(now, GroupCoordinator::new(self.config.clone()), log))
    }

    fn line(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let Some(verb) = words.next() else { return };
        let words = Words(words.collect());
        match verb {
            "config" => self.configure(&words),
            "at" => self.advance(words.0[0].parse().unwrap()),
            "hold" => self.is_held = true,
            "release" => {
                self.is_held = false;
                for id in std::mem::take(&mut self.held) {
                    self.host().on_committed(id);
                }
                self.settle();
            }
            "restart" => {
                let mut owed = Vec::new();
                if let Some(host) = self.host.take() {
                    owed = host.abandon();
                }
                for ticket in owed {
                    let asked = self.asked.remove(&ticket).unwrap_or_default();
                    writeln!(self.out, "> {asked}: the coordinator is gone").unwrap();
                }
                self.held.clear();
                self.host();
                self.print_rebalances();
                self.settle();
            }
            _ => {
                let command = self.command(verb, &words);
                self.commands += 1;
                let ticket = Ticket::new(self.commands);
                self.asked.insert(ticket, format!("{verb} {}", words.0.first().unwrap_or(&"")));
                let now = self.now();
                self.host().decide(now, ticket, command);
                self.print_rebalances();
                self.settle();
            }
        }
    }

    fn configure(&mut self, words: &Words<'_>) {
        let config = &mut self.config;
        if let Some(delay) = words.number("initial_delay") {
            config.initial_rebalance_delay_ms = delay as u32;
        }
        if let Some(members) = words.number("members_max") {
            config.members_max = members as usize;
        }
        if let Some(retention) = words.number("retention") {
            config.offsets_retention_ms = retention;
        }
        if let Some(check) = words.number("check") {
            config.offsets_retention_check_ms = check as u64;
        }
        if let Some(session) = words.number("session_min") {
            config.session_timeout_ms_min = session as i32;
        }
        if let Some(units) = words.number("metadata_max") {
            config.offset_metadata_units_max = units as usize;
        }
        if let Some(bytes) = words.number("record_max") {
            config.record_bytes_max = bytes as usize;
        }
        let config = config.clone();
        if let Some(host) = &mut self.host {
            host.machine_mut().update_config(config);
        }
    }

    fn advance(&mut self, to_ms: i64) {
        assert!(self.now_ms <= to_ms, "time does not go back");
        while let Some(deadline_ns) = self.host().next_deadline_ns() {
            let deadline_ms = deadline_ns.div_ceil(1_000_000) as i64;
            if to_ms < deadline_ms {
                break;
            }
            self.now_ms = self.now_ms.max(deadline_ms);
            let before = self.out.len();
            let now = self.now();
            self.host().on_tick(now);
            self.print_rebalances();
            self.settle();
            if before < self.out.len() {
                let text = format!("> at {}\n", self.now_ms);
                self.out.insert_str(before, &text);
            }
        }
        self.now_ms = to_ms;
    }

    /// A word of a story: `xxx*40000` is a long one.
    fn word(text: &str) -> Arc<str> {
        match text.split_once('*') {
            Some((word, times)) => word.repeat(times.parse().unwrap()).into(),
            None => text.into(),
        }
    }

    fn id(&self, text: &str) -> Arc<str> {
        match text.strip_prefix('#') {
            Some(number) => self.ids[number.parse::<usize>().unwrap() - 1].as_str().into(),
            None => text.into(),
        }
    }

    fn command(&self, verb: &str, words: &Words<'_>) -> Command {
        let bare: Vec<&str> = words.bare().collect();
        let group = Self::word(bare.first().copied().unwrap_or_default());
        let instance = words.get("instance").map(Self::word);
        let generation = words.number("gen").map(|generation| generation as i32);
        match verb {
            "join" => {
                let protocol_type: Arc<str> = words.get("type").unwrap_or("consumer").into();
                let protocols = words.get("protocols").unwrap_or("range:t").split(',').filter(|it| !it.is_empty()).map(
                    |protocol| {
                        let (name, metadata) = protocol.split_once(':').unwrap();
                        let is_consumer = &*protocol_type == "consumer";
                        (
                            name.into(),
                            if is_consumer {
                                subscription(metadata)
                            } else {
                                Bytes::copy_from_slice(metadata.as_bytes())
                            },
                        )
                    },
                );
                let protocols = protocols.collect();
                let mut entropy = [0; 16];
                entropy[15] = u8::try_from(self.commands + 1).unwrap();
                Command::Join(JoinGroup {
                    group,
                    member: words.get("member").map(|id| self.id(id)),
                    instance,
                    client_id: "c".into(),
                    client_host: "/127.0.0.1".into(),
                    session_timeout_ms: words.number("session").unwrap_or(10_000) as i32,
                    rebalance_timeout_ms: words.number("rebalance").unwrap_or(60_000) as i32,
                    protocol_type,
                    protocols,
                    member_id_required: !words.has("old"),
                    can_skip_assignment: words.has("skip"),
                    reason: words.get("reason").map(Self::word),
                    entropy,
                })
            }
            "sync" => Command::Sync(SyncGroup {
                group,
                member: self.id(bare[1]),
                instance,
                generation: generation.unwrap_or(1),
                protocol_type: words.get("type").map(Arc::from),
                protocol: words.get("protocol").map(Arc::from),
                assignments: words
                    .get("parts")
                    .into_iter()
                    .flat_map(|parts| parts.split(','))
                    .map(|part| {
                        let (id, part) = part.split_once(':').unwrap();
                        (self.id(id), Bytes::copy_from_slice(part.as_bytes()))
                    })
                    .collect(),
            }),
            "heartbeat" => Command::Heartbeat(Heartbeat {
                group,
                member: self.id(bare[1]),
                instance,
                generation: generation.unwrap_or(1),
            }),
            "leave" => Command::Leave(LeaveGroup {
                group,
                members: bare[1..]
                    .iter()
                    .map(|who| {
                        let (member, instance) = match who.split_once("instance:") {
                            Some(("", instance)) => (None, Some(instance.into())),
                            Some((id, instance)) => (Some(self.id(id)), Some(instance.into())),
                            None => (Some(self.id(who)), None),
                        };
                        Leaver { member, instance, reason: words.get("reason").map(Self::word) }
                    })
                    .collect(),
            }),
            "commit" => {
                let mut topics: Vec<CommitTopic> = Vec::new();
                let topic_id = words.number("id").map(|id| TopicId::from_bytes([id as u8; 16]));
                for place in &bare[1..] {
                    let (place, offset) = place.split_once('=').unwrap();
                    let (topic, partition) = place.split_once(':').unwrap();
                    let partition = CommitPartition {
                        partition: PartitionIndex::new(partition.parse().unwrap()),
                        offset: Offset::from_wire(offset.parse().unwrap()),
                        leader_epoch: words.number("epoch").map(|epoch| LeaderEpoch::new(epoch as i32)),
                        metadata: words.get("meta").map(Self::word),
                    };
                    topics.push(CommitTopic { topic: topic.into(), topic_id, partitions: vec![partition] });
                }
                Command::Commit(CommitOffsets {
                    group,
                    member: words.get("member").map(|id| self.id(id)),
                    instance,
                    generation,
                    retention_ms: words.number("retention"),
                    knows_group_not_found: !words.has("old"),
                    topics,
                })
            }
            "fetch" => {
                let topics: Vec<FetchTopic> = bare[1..]
                    .iter()
                    .map(|place| {
                        let (topic, partition) = place.split_once(':').unwrap();
                        FetchTopic {
                            topic: topic.into(),
                            topic_id: words.number("id").map(|id| TopicId::from_bytes([id as u8; 16])),
                            partitions: vec![PartitionIndex::new(partition.parse().unwrap())],
                        }
                    })
                    .collect();
                Command::Fetch(FetchOffsets { group, topics: Some(topics).filter(|topics| !topics.is_empty()) })
            }
            "forget" => {
                let topics = bare[1..].iter().map(|place| {
                    let (topic, partition) = place.split_once(':').unwrap();
                    (topic.into(), vec![PartitionIndex::new(partition.parse().unwrap())])
                });
                Command::DeleteOffsets(DeleteOffsets { group, topics: topics.collect() })
            }
            "delete" => Command::DeleteGroups(bare.iter().map(|&group| group.into()).collect()),
            "describe" => Command::Describe(bare.iter().map(|&group| group.into()).collect()),
            "list" => Command::List(ListGroups {
                states: words.get("state").into_iter().map(Arc::from).collect(),
                types: words.get("type").into_iter().map(Arc::from).collect(),
            }),
            "topic_deleted" => {
                let topic_id = TopicId::from_bytes([words.number("id").unwrap() as u8; 16]);
                Command::TopicsDeleted(vec![DeletedTopic { topic: group, topic_id }])
            }
            other => panic!("no such command: {other}"),
        }
    }

    /// Appends what was decided, commits it unless the log is held, and prints.
    fn settle(&mut self) {
        if let Some(batch) = self.host().take_batch() {
            for record in &batch.records {
                let text = self.print_record(record);
                writeln!(self.out, "> log: {text}").unwrap();
                self.log.push(record.encode().unwrap());
            }
            self.held.push(batch.id);
        }
        if !self.is_held {
            for id in std::mem::take(&mut self.held) {
                self.host().on_committed(id);
            }
        }
        for (ticket, reply) in self.host().take_replies() {
            let asked = self.asked.remove(&ticket).expect("each command is answered once");
            let text = self.print(&reply);
            writeln!(self.out, "> {asked}: {text}").unwrap();
        }
    }

    /// What the last input began.
    fn print_rebalances(&mut self) {
        for it in self.host().machine().rebalances().to_vec() {
            let (from, generation, members) = (it.from.name(), it.generation, it.members);
            write!(self.out, "> {} rebalances: {}", it.group, it.cause.name()).unwrap();
            if let Some(member) = &it.member {
                let member = self.name(member);
                write!(self.out, " {member}").unwrap();
            }
            if let Some(reason) = &it.client_reason {
                write!(self.out, " ({reason})").unwrap();
            }
            writeln!(self.out, ", was {from} in generation {generation}, now {members} members").unwrap();
        }
    }

    fn name(&mut self, id: &str) -> String {
        if !id.contains("-0000") {
            return id.to_owned();
        }
        let index = self.ids.iter().position(|known| known == id).unwrap_or_else(|| {
            self.ids.push(id.to_owned());
            self.ids.len() - 1
        });
        format!("#{}", index + 1)
    }

    fn name_or_none(&mut self, id: Option<&Arc<str>>) -> String {
        id.map_or("none".to_owned(), |id| self.name(id))
    }

    fn print_record(&mut self, record: &Record) -> String {
        match record {
            Record::Offset { group, topic, partition, committed: None } => format!("{group} {topic}:{partition} gone"),
            Record::Offset { group, topic, partition, committed: Some(it) } => {
                format!("{group} {topic}:{partition}={}", it.offset.map_or(-1, Offset::value))
            }
            Record::Group { group, state: None } => format!("{group} gone"),
            Record::Group { group, state: Some(state) } => {
                let mut text = format!("{group} generation {}", state.generation);
                if let Some(protocol) = &state.protocol {
                    write!(text, " by {protocol}").unwrap();
                }
                if let Some(leader) = &state.leader {
                    let leader = self.name(leader);
                    write!(text, " led by {leader}").unwrap();
                }
                for member in &state.members {
                    let id = self.name(&member.member);
                    write!(text, " {id}[{}]", String::from_utf8_lossy(&member.assignment)).unwrap();
                }
                text
            }
        }
    }

    fn print(&mut self, reply: &Reply) -> String {
        match reply {
            Reply::Join(reply) => {
                let member = self.name_or_none(reply.member.as_ref());
                if !reply.error.is_none() {
                    return format!("{} member {member}", reply.error.name());
                }
                let leader = self.name_or_none(reply.leader.as_ref());
                let mut text = format!(
                    "generation {} by {} led by {leader}, member {member}",
                    reply.generation.unwrap(),
                    reply.protocol.as_deref().unwrap_or("none")
                );
                if reply.skip_assignment {
                    text.push_str(", nothing to assign");
                }
                for member in &reply.members {
                    let id = self.name(&member.member);
                    let metadata = String::from_utf8_lossy(&member.metadata).replace(char::is_control, "");
                    write!(
                        text,
                        " {id}{}({metadata})",
                        member.instance.as_deref().map(|it| format!("={it}")).unwrap_or_default()
                    )
                    .unwrap();
                }
                text
            }
            Reply::Sync(reply) if reply.error.is_none() => format!("[{}]", String::from_utf8_lossy(&reply.assignment)),
            Reply::Sync(reply) => reply.error.name().to_owned(),
            Reply::Leave(reply) => {
                let mut text = reply.error.name().to_owned();
                for left in &reply.members {
                    let who = self.name_or_none(left.leaver.member.as_ref());
                    write!(text, " {who} {}", left.error.name()).unwrap();
                }
                text
            }
            Reply::Commit(Ok(topics)) | Reply::DeleteOffsets(Ok(topics)) => {
                let mut text = Vec::new();
                for topic in topics {
                    for (partition, error) in &topic.partitions {
                        text.push(format!("{}:{partition} {}", topic.topic, error.name()));
                    }
                }
                text.join(", ")
            }
            Reply::Commit(Err(error)) | Reply::DeleteOffsets(Err(error)) | Reply::Done(error) => {
                error.name().to_owned()
            }
            Reply::Fetch(topics) => {
                let mut text = Vec::new();
                for topic in topics {
                    for it in &topic.partitions {
                        let committed = it.committed.as_ref().map_or("nothing".to_owned(), |it| {
                            let epoch = it.leader_epoch.map(|epoch| format!(" epoch {epoch}")).unwrap_or_default();
                            let metadata =
                                if it.metadata.is_empty() { String::new() } else { format!(" {:?}", it.metadata) };
                            format!("{}{epoch}{metadata}", it.offset.map_or(-1, Offset::value))
                        });
                        text.push(format!("{}:{}={committed}", topic.topic, it.partition));
                    }
                }
                if text.is_empty() { "nothing".to_owned() } else { text.join(", ") }
            }
            Reply::DeleteGroups(groups) => {
                let groups = groups.iter().map(|(group, error)| format!("{group} {}", error.name()));
                groups.collect::<Vec<_>>().join(", ")
            }
            Reply::Describe(groups) => {
                let mut text = Vec::new();
                for group in groups {
                    let mut line = format!("{} {} {:?}", group.group, group.state, group.protocol_type);
                    if group.error != ErrorCode::None {
                        write!(line, " {}", group.error.name()).unwrap();
                    }
                    for member in &group.members {
                        let id = self.name(&member.member);
                        write!(line, " {id}[{}]", String::from_utf8_lossy(&member.assignment)).unwrap();
                    }
                    text.push(line);
                }
                text.join("; ")
            }
            Reply::List(groups) => {
                let groups = groups.iter().map(|it| format!("{} {} {}", it.group, it.state, it.group_type));
                let groups = groups.collect::<Vec<_>>().join(", ");
                if groups.is_empty() { "nothing".to_owned() } else { groups }
            }
        }
    }
}

/// What a consumer tells its leader: version 0, its topics, no user data.
fn subscription(topics: &str) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    let topics: Vec<&str> = topics.split('+').collect();
    bytes.put_i32(topics.len() as i32);
    for topic in topics {
        bytes.put_i16(topic.len() as i16);
        bytes.put_slice(topic.as_bytes());
    }
    bytes.put_i32(-1);
    bytes.freeze()
}

fn tell(text: &str) -> String {
    let mut story = Story::new();
    for line in text.lines() {
        if line.starts_with('>') {
            continue;
        }
        story.out.push_str(line);
        story.out.push('\n');
        if !line.starts_with('#') {
            story.line(line);
        }
    }
    story.out
}

#[test]
fn stories_end_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        expect_test::expect_file![&path].assert_eq(&tell(&text));
    }
}
