//! A group and its members: what they are. What happens to them is in `membership`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use machine::Ticket;
use types::{ErrorCode, Timestamp};

use crate::command::{DescribedGroup, DescribedMember, JoinMember, JoinReply, ListedGroup, SyncReply};
use crate::offsets::{ExpiryBase, Offsets};
use crate::records::{GroupRecord, MemberRecord, subscribed_topics};

/// The protocol type of Kafka's consumers; only of these groups is it known which topics they read.
const CONSUMER: &str = "consumer";

/// Where a group stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupState {
    /// It has no members. It may have offsets.
    Empty,
    /// It waits for its members to join.
    PreparingRebalance,
    /// It waits for its leader to assign.
    CompletingRebalance,
    /// Everyone knows its part.
    Stable,
}

impl GroupState {
    /// Kafka's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// One member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    pub instance: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub session_timeout_ms: u32,
    pub rebalance_timeout_ms: u32,
    pub protocols: Vec<(Arc<str>, Bytes)>,
    pub assignment: Bytes,
    /// Who waits for its JoinGroup reply.
    pub awaits_join: Option<Ticket>,
    /// Who waits for its SyncGroup reply.
    pub awaits_sync: Option<Ticket>,
    /// It has never been in a generation: it cannot send heartbeats yet, so its wait itself has a limit.
    pub is_new: bool,
}

impl Member {
    /// What it said along with a protocol.
    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|(name, _)| **name == *protocol).map(|(_, metadata)| metadata)
    }

    /// Whether a silent member is excused: its request is with us.
    pub const fn is_excused(&self) -> bool {
        !self.is_new && (self.awaits_join.is_some() || self.awaits_sync.is_some())
    }
}

/// How the first rebalance of an empty group goes on waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InitialDelay {
    pub delay_ms: u32,
    pub remaining_ms: u32,
}

/// A classic group. A reader outside of group management has one too: empty, and without a protocol type.
#[derive(Debug)]
pub(crate) struct Group {
    pub id: Arc<str>,
    pub state: GroupState,
    pub came_from: GroupState,
    pub state_since: Option<Timestamp>,
    pub protocol_type: Option<Arc<str>>,
    pub protocol: Option<Arc<str>>,
    pub generation: i32,
    pub leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    instances: BTreeMap<Arc<str>, Arc<str>>,
    /// How many members support each protocol.
    supporters: BTreeMap<Arc<str>, usize>,
    awaiting_join: usize,
    /// Ids handed out to members that have not yet come back with them.
    pub pending_join: BTreeSet<Arc<str>>,
    /// Members of this generation that have not yet asked for their part.
    pub pending_sync: BTreeSet<Arc<str>>,
    /// What a consumer group reads; `None` where it cannot be told.
    pub subscribed: Option<BTreeSet<String>>,
    pub initial_delay: Option<InitialDelay>,
    /// A member came while the first rebalance was waiting: wait on.
    pub newcomer: bool,
    pub offsets: Offsets,
}

impl Group {
    pub fn new(id: Arc<str>, now: Timestamp) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            came_from: GroupState::Empty,
            state_since: Some(now),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            supporters: BTreeMap::new(),
            awaiting_join: 0,
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            subscribed: None,
            initial_delay: None,
            newcomer: false,
            offsets: Offsets::default(),
        }
    }

    /// Takes the group's state from the log; its offsets stay as they are.
    pub fn restore(&mut self, record: GroupRecord) {
        let offsets = std::mem::take(&mut self.offsets);
        *self = Self::new(self.id.clone(), Timestamp::default());
        self.offsets = offsets;
        self.state_since = record.state_since;
        self.protocol_type = Some(record.protocol_type).filter(|protocol_type| !protocol_type.is_empty());
        self.protocol = record.protocol;
        self.generation = record.generation;
        let protocol = self.protocol.clone().unwrap_or_default();
        for member in record.members {
            let restored = Member {
                instance: member.instance,
                client_id: member.client_id,
                client_host: member.client_host,
                session_timeout_ms: member.session_timeout_ms,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                protocols: vec![(protocol.clone(), member.subscription)],
                assignment: member.assignment,
                awaits_join: None,
                awaits_sync: None,
                is_new: false,
            };
            self.insert(member.member, restored);
        }
        self.leader = record.leader.filter(|leader| self.members.contains_key(leader));
        if !self.members.is_empty() {
            self.state = GroupState::Stable;
        }
        self.update_subscribed();
    }

    /// What the log is to hold of the group.
    pub fn record(&self) -> GroupRecord {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| MemberRecord {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol).cloned().unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        GroupRecord {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_since: self.state_since,
            members: members.collect(),
        }
    }

    // Members.

    pub const fn members(&self) -> &BTreeMap<Arc<str>, Member> {
        &self.members
    }

    pub fn has_member(&self, id: &str) -> bool {
        self.members.contains_key(id)
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub fn member_of_instance(&self, instance: &str) -> Option<&Arc<str>> {
        self.instances.get(instance)
    }

    pub fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    pub const fn awaiting_join(&self) -> usize {
        self.awaiting_join
    }

    /// Adds a member; the first one decides what kind of group it is and leads.
    pub fn add(&mut self, id: Arc<str>, member: Member, protocol_type: &Arc<str>) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.pending_join.remove(&id);
        self.insert(id, member);
    }

    fn insert(&mut self, id: Arc<str>, member: Member) {
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        for (protocol, _) in &member.protocols {
            *self.supporters.entry(protocol.clone()).or_default() += 1;
        }
        self.awaiting_join += usize::from(member.awaits_join.is_some());
        // A log that lists a member twice is not ours; the later entry counts, once.
        if let Some(earlier) = self.members.insert(id, member) {
            self.discount(&earlier);
        }
    }

    fn take(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.discount(&member);
        Some(member)
    }

    fn discount(&mut self, member: &Member) {
        for (protocol, _) in &member.protocols {
            if let Some(supporters) = self.supporters.get_mut(protocol) {
                *supporters -= 1;
                if *supporters == 0 {
                    self.supporters.remove(protocol);
                }
            }
        }
        self.awaiting_join -= usize::from(member.awaits_join.is_some());
    }

    /// Removes a member, known or pending. If it led, another leads.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let removed = self.take(id);
        if let Some(instance) = removed.as_ref().and_then(|member| member.instance.as_ref()) {
            self.instances.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
        removed
    }

    /// Gives a static member a new id. Its waiting requests come back, to be fenced.
    pub fn replace_static(
        &mut self,
        instance: &Arc<str>,
        old_id: &str,
        new_id: &Arc<str>,
    ) -> (Option<Ticket>, Option<Ticket>) {
        let Some(mut member) = self.take(old_id) else { return (None, None) };
        let fenced = (member.awaits_join.take(), member.awaits_sync.take());
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        if self.pending_sync.remove(old_id) {
            self.pending_sync.insert(new_id.clone());
        }
        member.is_new = false;
        self.instances.insert(instance.clone(), new_id.clone());
        self.insert(new_id.clone(), member);
        fenced
    }

    /// A member joined again, perhaps changed.
    pub fn update_member(
        &mut self,
        id: &Arc<str>,
        protocols: Vec<(Arc<str>, Bytes)>,
        session_timeout_ms: u32,
        rebalance_timeout_ms: u32,
        awaits_join: Ticket,
    ) {
        if let Some(mut member) = self.take(id) {
            member.protocols = protocols;
            member.session_timeout_ms = session_timeout_ms;
            member.rebalance_timeout_ms = rebalance_timeout_ms;
            member.awaits_join = Some(awaits_join);
            self.insert(id.clone(), member);
        }
    }

    /// Ends a member's wait to join.
    pub fn take_awaits_join(&mut self, id: &str) -> Option<Ticket> {
        let ticket = self.members.get_mut(id)?.awaits_join.take()?;
        self.awaiting_join -= 1;
        Some(ticket)
    }

    /// The member is in a generation.
    pub fn set_not_new(&mut self, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.is_new = false;
        }
    }

    pub fn set_awaits_sync(&mut self, id: &str, ticket: Ticket) -> Option<Ticket> {
        self.members.get_mut(id).and_then(|member| member.awaits_sync.replace(ticket))
    }

    /// Gives every member its part; who is not named gets an empty one.
    pub fn assign(&mut self, mut parts: BTreeMap<Arc<str>, Bytes>) {
        for (id, member) in &mut self.members {
            member.assignment = parts.remove(id).unwrap_or_default();
        }
    }

    /// Ends all waits for a part.
    pub fn take_awaits_sync(&mut self) -> Vec<(Arc<str>, Ticket, Bytes)> {
        let mut taken = Vec::new();
        for (id, member) in &mut self.members {
            if let Some(ticket) = member.awaits_sync.take() {
                taken.push((id.clone(), ticket, member.assignment.clone()));
            }
        }
        taken
    }

    pub fn has_all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    pub fn rebalance_timeout_ms(&self) -> u32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// Makes sure that someone leads who has joined. False if nobody has.
    pub fn elect_joined_leader(&mut self) -> bool {
        let leads_and_joined =
            self.leader.as_ref().and_then(|leader| self.members.get(leader)).is_some_and(|it| it.awaits_join.is_some());
        if leads_and_joined {
            return true;
        }
        let joined = self.members.iter().find(|(_, member)| member.awaits_join.is_some()).map(|(id, _)| id.clone());
        if joined.is_some() {
            self.leader.clone_from(&joined);
        }
        joined.is_some()
    }

    // States.

    pub fn transition(&mut self, to: GroupState, now: Timestamp) {
        self.came_from = self.state;
        self.state = to;
        self.state_since = Some(now);
    }

    /// Begins the next generation, with the members that have joined, or none.
    pub fn begin_generation(&mut self, now: Timestamp) {
        self.generation = if self.generation == i32::MAX { 1 } else { self.generation + 1 };
        self.protocol = self.select_protocol();
        self.update_subscribed();
        let next = if self.members.is_empty() { GroupState::Empty } else { GroupState::CompletingRebalance };
        self.transition(next, now);
        self.pending_sync.clear();
    }

    /// The protocol with the most votes among those that all members support, each member voting for the first it
    /// supports; of equals the first by name. `None` without members.
    pub fn select_protocol(&self) -> Option<Arc<str>> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().map(|(name, _)| name).find(|name| self.is_common(name));
            if let Some(name) = vote {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    fn is_common(&self, protocol: &str) -> bool {
        self.supporters.get(protocol).copied().unwrap_or(0) == self.members.len()
    }

    /// Whether a member that shares in one of these ways can join.
    pub fn supports(&self, protocol_type: &str, protocols: &[(Arc<str>, Bytes)]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(|(name, _)| self.is_common(name))
    }

    pub fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether the group reads the topic, or may: of a consumer group whose subscription is unknown, all are taken to be.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer(),
        }
    }

    /// Notes what the group reads, after a change of a member's metadata.
    pub fn update_subscribed(&mut self) {
        self.subscribed = self.compute_subscribed();
    }

    fn compute_subscribed(&self) -> Option<BTreeSet<String>> {
        if !self.is_consumer() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscribed_topics(member.metadata(protocol)?)?);
        }
        Some(topics)
    }

    /// From when on the group's offsets age; `None` while they do not.
    pub fn expiry_base(&self) -> Option<ExpiryBase> {
        if self.protocol_type.is_none() {
            return Some(ExpiryBase::Commit);
        }
        match self.state {
            GroupState::Empty => Some(ExpiryBase::GroupEmptied(self.state_since)),
            GroupState::Stable if self.is_consumer() && self.subscribed.is_some() => Some(ExpiryBase::Commit),
            _ => None,
        }
    }

    /// That the member is who it says (KIP-345).
    pub fn validate_member(&self, id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(current) if **current != *id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.has_member(id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    // Answers.

    /// A successful reply to a member's JoinGroup. The leader is told everyone.
    pub fn join_reply(&self, id: &Arc<str>) -> JoinReply {
        JoinReply {
            error: ErrorCode::None,
            generation: Some(self.generation),
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            skip_assignment: false,
            member: Some(id.clone()),
            members: if self.is_leader(id) { self.join_members() } else { Vec::new() },
        }
    }

    pub fn join_members(&self) -> Vec<JoinMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| JoinMember {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol).cloned().unwrap_or_default(),
        });
        members.collect()
    }

    /// A successful reply to a SyncGroup.
    pub fn sync_reply(&self, assignment: Bytes) -> SyncReply {
        SyncReply {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment,
        }
    }

    pub fn describe(&self) -> DescribedGroup {
        let protocol = self.protocol.clone().filter(|_| self.state == GroupState::Stable);
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: protocol.as_deref().and_then(|it| member.metadata(it)).cloned().unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        DescribedGroup {
            group: self.id.clone(),
            error: ErrorCode::None,
            state: self.state.name(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: members.collect(),
            protocol,
        }
    }

    pub fn list(&self) -> ListedGroup {
        ListedGroup {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state.name(),
            group_type: "classic",
        }
    }
}
