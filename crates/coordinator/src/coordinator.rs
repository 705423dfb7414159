//! The machine: which group a command is about, and the offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use machine::{Decision, Machine, Ticket};
use types::limits::STRING_BYTES_MAX;
use types::{ErrorCode, Now, Offset, PartitionIndex, Timestamp};

use crate::command::{
    Answered, Command, CommitOffsets, DeleteOffsets, DeletedTopic, DescribedGroup, FetchOffsets, FetchedPartition,
    FetchedTopic, JoinGroup, LeaveReply, ListGroups, ListedGroup, Reply, SyncGroup, TopicErrors,
};
use crate::config::GroupConfig;
use crate::group::{Group, GroupState};
use crate::membership::{Context, refused_join, refused_sync};
use crate::offsets::{CommittedOffset, is_expired};
use crate::rebalance::{Rebalance, RebalanceCause, Why};
use crate::records::Record;
use crate::timers::{Timer, Timers};

/// The coordinator of the groups of one partition of `__consumer_offsets`. Lives on: that partition's home shard, inside
/// a [`machine::Host`], from the end of loading until the shard leads the partition no longer.
#[derive(Debug)]
pub struct GroupCoordinator {
    config: GroupConfig,
    groups: BTreeMap<Arc<str>, Group>,
    timers: Timers,
    /// Begun by the last input.
    rebalances: Vec<Rebalance>,
}

/// What one group has committed for one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupOffset {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next record to read.
    pub offset: Offset,
}

impl GroupCoordinator {
    /// Without groups. What was kept is then replayed.
    #[must_use]
    pub fn new(config: GroupConfig) -> Self {
        Self { config, groups: BTreeMap::new(), timers: Timers::default(), rebalances: Vec::new() }
    }

    /// Sets the configuration anew. What is already timed stays so.
    pub fn update_config(&mut self, config: GroupConfig) {
        self.config = config;
    }

    /// The rebalances that the last input began (a command, a tick, the end of loading), for the log.
    #[must_use]
    pub fn rebalances(&self) -> &[Rebalance] {
        &self.rebalances
    }

    /// Whether there is a group of this id.
    #[must_use]
    pub fn has_group(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// How many groups are in each state, for metrics.
    #[must_use]
    pub fn groups_in(&self, state: GroupState) -> usize {
        self.groups.values().filter(|group| group.state == state).count()
    }

    /// How many offsets are kept, for metrics.
    #[must_use]
    pub fn offsets(&self) -> usize {
        self.groups.values().flat_map(|group| group.offsets.topics.values()).map(BTreeMap::len).sum()
    }

    /// What groups after `after` have committed, by group, whole groups until there are `offsets_max`; and the group to go
    /// on after, if there are more.
    #[must_use]
    pub fn offsets_after(&self, after: Option<&Arc<str>>, offsets_max: usize) -> (Vec<GroupOffset>, Option<Arc<str>>) {
        let mut offsets = Vec::new();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (id, group) in self.groups.range::<Arc<str>, _>((from, Bound::Unbounded)) {
            for (topic, partitions) in &group.offsets.topics {
                offsets.extend(partitions.iter().filter_map(|(partition, committed)| {
                    let (group, topic) = (Arc::clone(id), Arc::clone(topic));
                    Some(GroupOffset { group, topic, partition: *partition, offset: committed.offset? })
                }));
            }
            if offsets_max <= offsets.len() {
                return (offsets, Some(Arc::clone(id)));
            }
        }
        (offsets, None)
    }

    /// A group with all it needs to act; `None` if there is none of this id.
    fn with<'a>(
        &'a mut self,
        id: &str,
        now: Now,
        out: &'a mut Decision<Record, Reply>,
    ) -> Option<(&'a mut Group, Context<'a>)> {
        let group = self.groups.get_mut(id)?;
        let (config, timers, rebalances) = (&self.config, &mut self.timers, &mut self.rebalances);
        Some((group, Context { config, timers, now, out, rebalances }))
    }

    fn join(&mut self, now: Now, ticket: Ticket, mut request: JoinGroup, out: &mut Decision<Record, Reply>) {
        if STRING_BYTES_MAX < request.group.len() {
            return out.reply(ticket, Reply::Join(refused_join(request.member, ErrorCode::InvalidGroupId)));
        }
        let protocols = request.protocols.iter().map(|(name, _)| name);
        let texts = protocols.chain(&request.instance).chain([&request.protocol_type, &request.client_host]);
        if texts.map(|text| text.len()).any(|bytes| STRING_BYTES_MAX < bytes) {
            return out.reply(ticket, Reply::Join(refused_join(request.member, ErrorCode::InvalidRequest)));
        }
        // A protocol counts once, however often a member names it.
        let mut named = BTreeSet::new();
        request.protocols.retain(|(name, _)| named.insert(Arc::clone(name)));
        let bounds = self.config.session_timeout_ms_min..=self.config.session_timeout_ms_max;
        if !bounds.contains(&request.session_timeout_ms) {
            let refused = refused_join(request.member, ErrorCode::InvalidSessionTimeout);
            return out.reply(ticket, Reply::Join(refused));
        }
        let id = request.group.clone();
        let is_new = !self.groups.contains_key(&id);
        if is_new {
            if request.member.is_some() {
                let refused = refused_join(request.member, ErrorCode::UnknownMemberId);
                return out.reply(ticket, Reply::Join(refused));
            }
            let group = Group::new(id.clone(), now.wall);
            // The empty group is kept, so that it is listed, and deleted, by whoever reads the log.
            out.record(Record::group(&id, group.record()));
            self.groups.insert(id.clone(), group);
        }
        if let Some((group, mut cx)) = self.with(&id, now, out) {
            group.on_join(&mut cx, ticket, request);
        }
    }

    fn sync(&mut self, now: Now, ticket: Ticket, request: SyncGroup, out: &mut Decision<Record, Reply>) {
        let id = request.group.clone();
        match self.groups.get(&id) {
            Some(group) if group.state != GroupState::Empty => {}
            _ => return out.reply(ticket, Reply::Sync(refused_sync(ErrorCode::UnknownMemberId))),
        }
        if let Some((group, mut cx)) = self.with(&id, now, out) {
            group.on_sync(&mut cx, ticket, request);
        }
    }

    fn commit(
        &mut self,
        now: Now,
        request: CommitOffsets,
        out: &mut Decision<Record, Reply>,
    ) -> Result<Vec<TopicErrors>, ErrorCode> {
        let id = request.group.clone();
        if STRING_BYTES_MAX < id.len() {
            return Err(ErrorCode::InvalidGroupId);
        }
        if !self.groups.contains_key(&id) {
            if request.generation.is_some() {
                let knows = request.knows_group_not_found;
                return Err(if knows { ErrorCode::GroupIdNotFound } else { ErrorCode::IllegalGeneration });
            }
            // A reader outside of group management: its first offset makes the group.
        } else if let Some((group, mut cx)) = self.with(&id, now, out) {
            group.validate_commit(request.member.as_deref(), request.instance.as_deref(), request.generation)?;
            if let Some(member) = &request.member
                && matches!(group.state, GroupState::Stable | GroupState::PreparingRebalance)
            {
                group.on_alive(&mut cx, member);
            }
        }
        let expires_at =
            request.retention_ms.map(|retention| Timestamp::from_millis(now.wall.millis().saturating_add(retention)));
        let mut answers = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in topic.partitions {
                let metadata = partition.metadata.unwrap_or_default();
                let units = metadata.encode_utf16().count();
                if self.config.offset_metadata_units_max < units || STRING_BYTES_MAX < metadata.len() {
                    partitions.push((partition.partition, ErrorCode::OffsetMetadataTooLarge));
                    continue;
                }
                partitions.push((partition.partition, ErrorCode::None));
                let committed = CommittedOffset {
                    offset: partition.offset,
                    // A record with its own time to end has no room for these two.
                    leader_epoch: partition.leader_epoch.filter(|_| expires_at.is_none()),
                    topic_id: topic.topic_id.filter(|id| expires_at.is_none() && !id.is_zero()),
                    metadata,
                    committed_at: now.wall,
                    expires_at,
                };
                self.write(
                    now,
                    out,
                    Record::Offset {
                        group: id.clone(),
                        topic: topic.topic.clone(),
                        partition: partition.partition,
                        committed: Some(committed),
                    },
                );
            }
            answers.push(TopicErrors { topic: topic.topic, topic_id: topic.topic_id, partitions });
        }
        Ok(answers)
    }

    /// Writes a record, and does what reading it does.
    fn write(&mut self, now: Now, out: &mut Decision<Record, Reply>, record: Record) {
        out.record(record.clone());
        self.apply(now.wall, record);
    }

    /// Does what a record says. `now` dates a group that an offset alone brings about.
    fn apply(&mut self, now: Timestamp, record: Record) {
        match record {
            Record::Offset { group, topic, partition, committed: Some(committed) } => {
                let group = self.groups.entry(group).or_insert_with_key(|id| Group::new(id.clone(), now));
                group.offsets.put(topic, partition, committed);
            }
            Record::Offset { group, topic, partition, committed: None } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.offsets.remove(&topic, partition);
                }
            }
            Record::Group { group, state: Some(state) } => {
                self.groups.entry(group).or_insert_with_key(|id| Group::new(id.clone(), now)).restore(state);
            }
            Record::Group { group, state: None } => {
                if let Some(removed) = self.groups.remove(&group)
                    && !removed.offsets.is_empty()
                {
                    // Offsets outlive their group only in a log that a crash cut short: they are a reader's, now.
                    let mut reader = Group::new(group.clone(), now);
                    reader.offsets = removed.offsets;
                    self.groups.insert(group, reader);
                }
            }
        }
    }

    fn fetch(&self, request: &FetchOffsets) -> Vec<FetchedTopic> {
        let offsets = self.groups.get(&request.group).map(|group| &group.offsets);
        let Some(wanted) = &request.topics else {
            let all = offsets.into_iter().flat_map(|offsets| &offsets.topics);
            return all
                .map(|(topic, partitions)| FetchedTopic {
                    topic: topic.clone(),
                    topic_id: None,
                    partitions: partitions
                        .iter()
                        .map(|(&partition, it)| FetchedPartition { partition, committed: Some(answered(it)) })
                        .collect(),
                })
                .collect();
        };
        let fetched = wanted.iter().map(|wanted| FetchedTopic {
            topic: wanted.topic.clone(),
            topic_id: wanted.topic_id,
            partitions: wanted
                .partitions
                .iter()
                .map(|&partition| {
                    let committed = offsets
                        .and_then(|offsets| offsets.get(&wanted.topic, partition))
                        .filter(|committed| !committed.is_of_another_topic(wanted.topic_id));
                    FetchedPartition { partition, committed: committed.map(answered) }
                })
                .collect(),
        });
        fetched.collect()
    }

    fn delete_offsets(
        &mut self,
        now: Now,
        request: DeleteOffsets,
        out: &mut Decision<Record, Reply>,
    ) -> Result<Vec<TopicErrors>, ErrorCode> {
        let group = self.groups.get(&request.group).ok_or(ErrorCode::GroupIdNotFound)?;
        if group.state != GroupState::Empty && !group.is_consumer() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let mut answers = Vec::with_capacity(request.topics.len());
        let mut gone = Vec::new();
        for (topic, partitions) in request.topics {
            let is_subscribed = group.is_subscribed(&topic);
            let error = if is_subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
            for &partition in &partitions {
                if !is_subscribed && group.offsets.get(&topic, partition).is_some() {
                    gone.push(Record::offset_gone(&group.id, &topic, partition));
                }
            }
            let partitions = partitions.into_iter().map(|partition| (partition, error)).collect();
            answers.push(TopicErrors { topic, topic_id: None, partitions });
        }
        for record in gone {
            self.write(now, out, record);
        }
        Ok(answers)
    }

    fn delete_group(&mut self, now: Now, id: &str, out: &mut Decision<Record, Reply>) -> ErrorCode {
        match self.groups.get(id) {
            None => ErrorCode::GroupIdNotFound,
            Some(group) if group.state != GroupState::Empty => ErrorCode::NonEmptyGroup,
            Some(_) => {
                self.remove_group(now, id, out);
                ErrorCode::None
            }
        }
    }

    /// Removes an empty group with its offsets: their tombstones first, so that none is left behind by a crash between.
    fn remove_group(&mut self, now: Now, id: &str, out: &mut Decision<Record, Reply>) {
        let Some(group) = self.groups.get(id) else { return };
        assert!(group.state == GroupState::Empty, "only empty groups are removed");
        let id = group.id.clone();
        let offsets = group.offsets.select(|_, _| true);
        for member in &group.pending_join {
            self.timers.cancel(&Timer::Heartbeat { group: id.clone(), member: member.clone() });
        }
        for (topic, partition) in offsets {
            self.write(now, out, Record::offset_gone(&id, &topic, partition));
        }
        self.write(now, out, Record::group_gone(&id));
    }

    fn describe(&self, ids: Vec<Arc<str>>) -> Vec<DescribedGroup> {
        let described = ids.into_iter().map(|id| match self.groups.get(&id) {
            Some(group) => group.describe(),
            None => DescribedGroup {
                group: id,
                error: ErrorCode::GroupIdNotFound,
                state: "Dead",
                protocol_type: "".into(),
                protocol: None,
                members: Vec::new(),
            },
        });
        described.collect()
    }

    fn list(&self, filter: &ListGroups) -> Vec<ListedGroup> {
        let passes = |wanted: &[Arc<str>], own: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(own))
        };
        let listed = self.groups.values().map(Group::list);
        listed.filter(|it| passes(&filter.states, it.state) && passes(&filter.types, it.group_type)).collect()
    }

    fn delete_topics(&mut self, now: Now, deleted: &[DeletedTopic], out: &mut Decision<Record, Reply>) {
        let mut gone = Vec::new();
        for group in self.groups.values() {
            for it in deleted {
                for (partition, committed) in group.offsets.topics.get(&it.topic).into_iter().flatten() {
                    if !committed.is_of_another_topic(Some(it.topic_id)) {
                        gone.push(Record::offset_gone(&group.id, &it.topic, *partition));
                    }
                }
            }
        }
        for record in gone {
            self.write(now, out, record);
        }
    }

    /// Forgets offsets that have expired (KIP-211), and empty groups that have no offsets.
    fn clean_up(&mut self, now: Now, out: &mut Decision<Record, Reply>) {
        let retention_ms = self.config.offsets_retention_ms;
        let ids: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for id in ids {
            let Some(group) = self.groups.get(&id) else { continue };
            if let Some(base) = group.expiry_base() {
                let expired = group.offsets.select(|topic, committed| {
                    !group.is_subscribed(topic) && is_expired(committed, base, now.wall, retention_ms)
                });
                for (topic, partition) in expired {
                    self.write(now, out, Record::offset_gone(&id, &topic, partition));
                }
            }
            if self.groups.get(&id).is_some_and(|group| group.state == GroupState::Empty && group.offsets.is_empty()) {
                self.remove_group(now, &id, out);
            }
        }
        self.schedule_clean_up(now);
    }

    fn schedule_clean_up(&mut self, now: Now) {
        let after = Duration::from_millis(self.config.offsets_retention_check_ms);
        self.timers.set(Timer::Cleanup, now.deadline_ns(after));
    }
}

fn answered(committed: &CommittedOffset) -> Answered {
    Answered { offset: committed.offset, leader_epoch: committed.leader_epoch, metadata: committed.metadata.clone() }
}

impl Machine for GroupCoordinator {
    type Command = Command;
    type Record = Record;
    type Reply = Reply;

    fn decide(&mut self, now: Now, ticket: Ticket, command: Command, out: &mut Decision<Record, Reply>) {
        self.rebalances.clear();
        let reply = match command {
            Command::Join(request) => return self.join(now, ticket, request, out),
            Command::Sync(request) => return self.sync(now, ticket, request, out),
            Command::Heartbeat(request) => match self.with(&request.group, now, out) {
                Some((group, mut cx)) => Reply::Done(group.on_heartbeat(&mut cx, &request)),
                None => Reply::Done(ErrorCode::UnknownMemberId),
            },
            Command::Leave(request) => match self.with(&request.group.clone(), now, out) {
                Some((group, mut cx)) => Reply::Leave(group.on_leave(&mut cx, request)),
                None => Reply::Leave(LeaveReply { error: ErrorCode::UnknownMemberId, members: Vec::new() }),
            },
            Command::Commit(request) => Reply::Commit(self.commit(now, request, out)),
            Command::Fetch(request) => Reply::Fetch(self.fetch(&request)),
            Command::DeleteOffsets(request) => Reply::DeleteOffsets(self.delete_offsets(now, request, out)),
            Command::DeleteGroups(ids) => {
                let outcomes = ids.into_iter().map(|id| {
                    let error = self.delete_group(now, &id, out);
                    (id, error)
                });
                Reply::DeleteGroups(outcomes.collect())
            }
            Command::Describe(ids) => Reply::Describe(self.describe(ids)),
            Command::List(filter) => Reply::List(self.list(&filter)),
            Command::TopicsDeleted(deleted) => {
                self.delete_topics(now, &deleted, out);
                Reply::Done(ErrorCode::None)
            }
        };
        out.reply(ticket, reply);
    }

    fn on_tick(&mut self, now: Now, out: &mut Decision<Record, Reply>) {
        self.rebalances.clear();
        while let Some(timer) = self.timers.pop_due(now.monotonic_ns) {
            match timer {
                Timer::Cleanup => self.clean_up(now, out),
                Timer::Heartbeat { group, member } => {
                    if let Some((group, mut cx)) = self.with(&group, now, out) {
                        group.on_silence(&mut cx, &member);
                    }
                }
                Timer::Join(group) => {
                    if let Some((group, mut cx)) = self.with(&group, now, out) {
                        group.on_join_timeout(&mut cx);
                    }
                }
                Timer::Sync(group) => {
                    if let Some((group, mut cx)) = self.with(&group, now, out) {
                        group.on_sync_timeout(&mut cx);
                    }
                }
            }
        }
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        self.timers.next_deadline_ns()
    }

    fn replay(&mut self, _offset: Offset, record: Record) {
        // A group that only offsets tell of has no time of its own; nothing reads it.
        self.apply(Timestamp::default(), record);
    }

    fn on_loaded(&mut self, now: Now, out: &mut Decision<Record, Reply>) {
        self.schedule_clean_up(now);
        for group in self.groups.values_mut() {
            let (config, timers, rebalances) = (&self.config, &mut self.timers, &mut self.rebalances);
            let mut cx = Context { config, timers, now, out, rebalances };
            let ids: Vec<_> = group.members().keys().cloned().collect();
            for id in &ids {
                group.on_alive(&mut cx, id);
            }
            if self.config.members_max < ids.len() {
                // The bound was lowered: a rebalance turns the last to join away.
                group.prepare_rebalance(&mut cx, Why::of(RebalanceCause::BoundLowered));
            }
        }
    }

    fn take_waiting(&mut self, out: &mut Vec<Ticket>) {
        for group in self.groups.values_mut() {
            group.take_waiting(out);
        }
    }
}
