//! What happens to the members of a group: they join, ask for their part, live, leave, and fall silent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use machine::{Decision, Ticket};
use types::limits::GROUP_PENDING_MEMBERS_MAX;
use types::{ErrorCode, Now};

use crate::command::{
    Heartbeat, JoinGroup, JoinReply, LeaveGroup, LeaveReply, Leaver, Left, Reply, SyncGroup, SyncReply,
};
use crate::config::GroupConfig;
use crate::group::{Group, GroupState, InitialDelay, Member};
use crate::rebalance::{Rebalance, RebalanceCause, Why};
use crate::records::Record;
use crate::timers::{Timer, Timers};

/// A member that has never been in a generation cannot send heartbeats; it is dropped after this, and asks again if it
/// still lives. Kafka's five minutes.
const NEW_MEMBER_JOIN_TIMEOUT_MS: u32 = 5 * 60 * 1_000;

/// At least this long is waited before a rebalance that nobody has joined is looked at again, as a member may have set
/// its rebalance timeout to nothing.
const JOIN_RETRY_MS_MIN: u32 = 1_000;

/// What a group needs from around it to act.
pub(crate) struct Context<'a> {
    pub config: &'a GroupConfig,
    pub timers: &'a mut Timers,
    pub now: Now,
    pub out: &'a mut Decision<Record, Reply>,
    pub rebalances: &'a mut Vec<Rebalance>,
}

impl Context<'_> {
    fn deadline_ns(&self, after_ms: u32) -> u64 {
        self.now.deadline_ns(Duration::from_millis(u64::from(after_ms)))
    }

    fn expect_heartbeat(&mut self, group: &Arc<str>, member: &Arc<str>, within_ms: u32) {
        let deadline_ns = self.deadline_ns(within_ms);
        self.timers.set(Timer::Heartbeat { group: group.clone(), member: member.clone() }, deadline_ns);
    }

    fn forget_heartbeat(&mut self, group: &Arc<str>, member: &Arc<str>) {
        self.timers.cancel(&Timer::Heartbeat { group: group.clone(), member: member.clone() });
    }

    fn refuse_join(&mut self, ticket: Ticket, member: Option<Arc<str>>, error: ErrorCode) {
        self.out.reply(ticket, Reply::Join(refused_join(member, error)));
    }

    fn refuse_sync(&mut self, ticket: Ticket, error: ErrorCode) {
        self.out.reply(ticket, Reply::Sync(refused_sync(error)));
    }
}

/// A JoinGroup reply that is an error.
pub(crate) fn refused_join(member: Option<Arc<str>>, error: ErrorCode) -> JoinReply {
    JoinReply {
        error,
        generation: None,
        protocol_type: None,
        protocol: None,
        leader: None,
        skip_assignment: false,
        member,
        members: Vec::new(),
    }
}

/// A SyncGroup reply that is an error.
pub(crate) fn refused_sync(error: ErrorCode) -> SyncReply {
    SyncReply { error, protocol_type: None, protocol: None, assignment: Bytes::new() }
}

/// Bytes of a member id before its UUID: with it, the id must still fit a string of Kafka's records (32,767 bytes).
const MEMBER_ID_PREFIX_BYTES_MAX: usize = 32_000;

/// `<prefix>-<version 4 UUID>`, as Kafka makes member ids.
fn member_id(prefix: &str, mut random: [u8; 16]) -> Arc<str> {
    let prefix = &prefix[..prefix.floor_char_boundary(MEMBER_ID_PREFIX_BYTES_MAX)];
    random[6] = (random[6] & 0x0f) | 0x40;
    random[8] = (random[8] & 0x3f) | 0x80;
    let mut id = String::with_capacity(prefix.len() + 37);
    id.push_str(prefix);
    for (index, byte) in random.iter().enumerate() {
        if matches!(index, 0 | 4 | 6 | 8 | 10) {
            id.push('-');
        }
        for nibble in [byte >> 4, byte & 0x0f] {
            id.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    id.into()
}

/// Timeouts come from the network, and from the log; a negative one is none at all.
fn timeout_ms(timeout_ms: i32) -> u32 {
    u32::try_from(timeout_ms).unwrap_or(0)
}

impl Group {
    // Joining.

    /// Whether there is room for this member. While the group prepares, only who waits counts: the last to re-join find
    /// the group full when it has shrunk.
    fn has_room_for(&self, member: Option<&str>, members_max: usize) -> bool {
        let known = member.and_then(|id| self.member(id));
        match self.state {
            GroupState::Empty => true,
            GroupState::PreparingRebalance => {
                known.is_some_and(|member| member.awaits_join.is_some()) || self.awaiting_join() < members_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                known.is_some() || self.members().len() < members_max
            }
        }
    }

    pub fn on_join(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: JoinGroup) {
        if !self.has_room_for(request.member.as_deref(), cx.config.members_max) {
            if let Some(id) = &request.member {
                let awaits_sync = self.remove(id).and_then(|member| member.awaits_sync);
                if let Some(awaits_sync) = awaits_sync {
                    cx.refuse_sync(awaits_sync, ErrorCode::UnknownMemberId);
                }
                cx.forget_heartbeat(&self.id, id);
            }
            return cx.refuse_join(ticket, None, ErrorCode::GroupMaxSizeReached);
        }
        match request.member.clone() {
            None => self.on_join_new(cx, ticket, request),
            Some(id) => self.on_join_known(cx, ticket, id, request),
        }
    }

    fn on_join_new(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: JoinGroup) {
        if !self.supports(&request.protocol_type, &request.protocols) {
            return cx.refuse_join(ticket, None, ErrorCode::InconsistentGroupProtocol);
        }
        let id = member_id(request.instance.as_ref().unwrap_or(&request.client_id), request.entropy);
        if let Some(instance) = request.instance.clone() {
            match self.member_of_instance(&instance).cloned() {
                Some(old_id) => self.take_over(cx, ticket, &instance, &old_id, id, request),
                None => self.add_then_rebalance(cx, ticket, id, request),
            }
        } else if request.member_id_required {
            if GROUP_PENDING_MEMBERS_MAX <= self.pending_join.len() {
                return cx.refuse_join(ticket, None, ErrorCode::GroupMaxSizeReached);
            }
            self.pending_join.insert(id.clone());
            cx.expect_heartbeat(&self.id, &id, timeout_ms(request.session_timeout_ms));
            cx.refuse_join(ticket, Some(id), ErrorCode::MemberIdRequired);
        } else {
            self.add_then_rebalance(cx, ticket, id, request);
        }
    }

    fn on_join_known(&mut self, cx: &mut Context<'_>, ticket: Ticket, id: Arc<str>, request: JoinGroup) {
        if !self.supports(&request.protocol_type, &request.protocols) {
            return cx.refuse_join(ticket, Some(id), ErrorCode::InconsistentGroupProtocol);
        }
        if self.pending_join.contains(&id) {
            if request.instance.is_some() {
                // Ids are handed out in advance to dynamic members alone: this one is not whom it was given to.
                return cx.refuse_join(ticket, Some(id), ErrorCode::UnknownMemberId);
            }
            return self.add_then_rebalance(cx, ticket, id, request);
        }
        if let Err(error) = self.validate_member(&id, request.instance.as_deref()) {
            return cx.refuse_join(ticket, Some(id), error);
        }
        let is_unchanged = self.member(&id).is_some_and(|member| member.protocols == request.protocols);
        let cause = match self.state {
            // Members there are none in an empty group, so this is never reached; the member starts anew.
            GroupState::Empty => return cx.refuse_join(ticket, Some(id), ErrorCode::UnknownMemberId),
            // The leader joins again when something outside of the group has changed, as a topic's partitions.
            GroupState::Stable if self.is_leader(&id) => Some(RebalanceCause::LeaderRejoined),
            // The reply may have been lost: an unchanged member is told again.
            GroupState::CompletingRebalance | GroupState::Stable if is_unchanged => None,
            GroupState::PreparingRebalance | GroupState::CompletingRebalance | GroupState::Stable => {
                Some(RebalanceCause::MemberChanged)
            }
        };
        match cause {
            Some(cause) => {
                let why = Why::member(cause, &id, request.reason.clone());
                self.update_from(cx, ticket, &id, request);
                self.rebalance_or_complete(cx, why);
            }
            None => cx.out.reply(ticket, Reply::Join(self.join_reply(&id))),
        }
    }

    fn add_then_rebalance(&mut self, cx: &mut Context<'_>, ticket: Ticket, id: Arc<str>, request: JoinGroup) {
        let member = Member {
            instance: request.instance,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms: timeout_ms(request.session_timeout_ms),
            rebalance_timeout_ms: timeout_ms(request.rebalance_timeout_ms),
            protocols: request.protocols,
            assignment: Bytes::new(),
            awaits_join: Some(ticket),
            awaits_sync: None,
            is_new: true,
        };
        if self.is_first_rebalance() {
            self.newcomer = true;
        }
        self.add(id.clone(), member, &request.protocol_type);
        cx.expect_heartbeat(&self.id, &id, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.rebalance_or_complete(cx, Why::member(RebalanceCause::MemberJoined, &id, request.reason));
    }

    fn update_from(&mut self, cx: &mut Context<'_>, ticket: Ticket, id: &Arc<str>, request: JoinGroup) {
        // A member that asks twice is answered once, for the later request; the earlier one is told to ask again.
        if let Some(earlier) = self.take_awaits_join(id) {
            cx.refuse_join(earlier, Some(id.clone()), ErrorCode::RebalanceInProgress);
        }
        let session_ms = timeout_ms(request.session_timeout_ms);
        self.update_member(id, request.protocols, session_ms, timeout_ms(request.rebalance_timeout_ms), ticket);
    }

    /// A static member has come back under a new id (KIP-345). If that changes nothing for the others, nobody notices.
    fn take_over(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        instance: &Arc<str>,
        old_id: &Arc<str>,
        new_id: Arc<str>,
        request: JoinGroup,
    ) {
        let leader_before = self.leader.clone();
        let can_skip_assignment = request.can_skip_assignment;
        let (fenced_join, fenced_sync) = self.replace_static(instance, old_id, &new_id);
        if let Some(ticket) = fenced_join {
            cx.refuse_join(ticket, Some(old_id.clone()), ErrorCode::FencedInstanceId);
        }
        if let Some(ticket) = fenced_sync {
            cx.refuse_sync(ticket, ErrorCode::FencedInstanceId);
        }
        cx.forget_heartbeat(&self.id, old_id);
        cx.expect_heartbeat(&self.id, &new_id, timeout_ms(request.session_timeout_ms));
        let why = Why::member(RebalanceCause::MemberReplaced, &new_id, request.reason.clone());
        self.update_from(cx, ticket, &new_id, request);
        match self.state {
            GroupState::Stable if self.protocol == self.select_protocol() && self.fits(cx.config) => {
                self.update_subscribed();
                cx.out.record(Record::group(&self.id, self.record()));
                let mut reply = self.join_reply(&new_id);
                if can_skip_assignment {
                    reply.skip_assignment = self.is_leader(&new_id);
                } else {
                    // An older client that led still sees itself led by its old id, so that it does not assign.
                    reply.leader = leader_before;
                    reply.members.clear();
                }
                self.take_awaits_join(&new_id);
                cx.out.reply(ticket, Reply::Join(reply));
            }
            // In the second, the leader may be assigning to the old id at this moment.
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(cx, why),
            GroupState::PreparingRebalance | GroupState::Empty => self.complete_join_if_all(cx),
        }
    }

    // The rebalance.

    fn is_first_rebalance(&self) -> bool {
        self.state == GroupState::PreparingRebalance && self.came_from == GroupState::Empty
    }

    fn rebalance_or_complete(&mut self, cx: &mut Context<'_>, why: Why) {
        if self.state == GroupState::PreparingRebalance {
            self.complete_join_if_all(cx);
        } else {
            self.prepare_rebalance(cx, why);
        }
    }

    pub fn prepare_rebalance(&mut self, cx: &mut Context<'_>, why: Why) {
        cx.rebalances.push(Rebalance {
            group: self.id.clone(),
            from: self.state,
            generation: self.generation,
            members: self.members().len(),
            cause: why.cause,
            member: why.member,
            client_reason: why.client_reason,
        });
        if self.state == GroupState::CompletingRebalance {
            self.answer_syncs(cx, BTreeMap::new(), Err(ErrorCode::RebalanceInProgress));
        }
        self.pending_sync.clear();
        cx.timers.cancel(&Timer::Sync(self.id.clone()));
        let is_first = self.state == GroupState::Empty;
        self.transition(GroupState::PreparingRebalance, cx.now.wall);
        if is_first {
            let delay_ms = cx.config.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.initial_delay = Some(InitialDelay { delay_ms, remaining_ms });
            self.await_joins(cx, delay_ms);
        } else if self.has_all_joined() {
            self.complete_join(cx);
        } else {
            self.await_joins(cx, self.rebalance_timeout_ms());
        }
    }

    fn await_joins(&self, cx: &mut Context<'_>, within_ms: u32) {
        let deadline_ns = cx.deadline_ns(within_ms);
        cx.timers.set(Timer::Join(self.id.clone()), deadline_ns);
    }

    fn complete_join_if_all(&mut self, cx: &mut Context<'_>) {
        // The first rebalance always waits for its delay: more members are likely to be on their way.
        if self.state == GroupState::PreparingRebalance && !self.is_first_rebalance() && self.has_all_joined() {
            self.complete_join(cx);
        }
    }

    /// The wait for members to join is over.
    pub fn on_join_timeout(&mut self, cx: &mut Context<'_>) {
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        match self.initial_delay.take() {
            Some(InitialDelay { delay_ms, remaining_ms }) if self.newcomer && remaining_ms > 0 => {
                self.newcomer = false;
                let next_ms = cx.config.initial_rebalance_delay_ms.min(remaining_ms);
                self.initial_delay =
                    Some(InitialDelay { delay_ms: next_ms, remaining_ms: remaining_ms.saturating_sub(delay_ms) });
                self.await_joins(cx, next_ms);
            }
            _ => self.complete_join(cx),
        }
    }

    /// Begins the next generation with the members that have joined. Dynamic ones that have not are out; static ones
    /// stay until their session ends.
    fn complete_join(&mut self, cx: &mut Context<'_>) {
        cx.timers.cancel(&Timer::Join(self.id.clone()));
        self.initial_delay = None;
        self.newcomer = false;
        let missing = self.members().iter().filter(|(_, it)| it.awaits_join.is_none() && it.instance.is_none());
        for id in missing.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.remove(&id);
            cx.forget_heartbeat(&self.id, &id);
        }
        if !self.members().is_empty() && !self.elect_joined_leader() {
            // Only static members are left, and none has joined: wait on, until their sessions end.
            return self.await_joins(cx, self.rebalance_timeout_ms().max(JOIN_RETRY_MS_MIN));
        }
        self.begin_generation(cx.now.wall);
        if self.state == GroupState::Empty {
            return cx.out.record(Record::group(&self.id, self.record()));
        }
        let ids: Vec<_> = self.members().keys().cloned().collect();
        for id in &ids {
            if let Some(ticket) = self.take_awaits_join(id) {
                cx.out.reply(ticket, Reply::Join(self.join_reply(id)));
            }
            self.on_alive(cx, id);
            self.set_not_new(id);
            self.pending_sync.insert(id.clone());
        }
        let deadline_ns = cx.deadline_ns(self.rebalance_timeout_ms());
        cx.timers.set(Timer::Sync(self.id.clone()), deadline_ns);
    }

    // Asking for a part.

    pub fn on_sync(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: SyncGroup) {
        if let Err(error) = self.validate_sync(&request) {
            return cx.refuse_sync(ticket, error);
        }
        match self.state {
            GroupState::Empty => cx.refuse_sync(ticket, ErrorCode::UnknownMemberId),
            GroupState::PreparingRebalance => cx.refuse_sync(ticket, ErrorCode::RebalanceInProgress),
            GroupState::CompletingRebalance => {
                if let Some(earlier) = self.set_awaits_sync(&request.member, ticket) {
                    cx.refuse_sync(earlier, ErrorCode::RebalanceInProgress);
                }
                self.has_synced(cx, &request.member);
                if self.is_leader(&request.member) {
                    self.on_assignment(cx, request.assignments.into_iter().collect());
                }
            }
            GroupState::Stable => {
                self.has_synced(cx, &request.member);
                let assignment = self.member(&request.member).map(|it| it.assignment.clone()).unwrap_or_default();
                cx.out.reply(ticket, Reply::Sync(self.sync_reply(assignment)));
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroup) -> Result<(), ErrorCode> {
        self.validate_member(&request.member, request.instance.as_deref())?;
        let differs = |asked: &Option<Arc<str>>, own: &Option<Arc<str>>| asked.is_some() && asked != own;
        if request.generation != self.generation {
            Err(ErrorCode::IllegalGeneration)
        } else if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol) {
            Err(ErrorCode::InconsistentGroupProtocol)
        } else {
            Ok(())
        }
    }

    fn has_synced(&mut self, cx: &mut Context<'_>, id: &str) {
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            cx.timers.cancel(&Timer::Sync(self.id.clone()));
        }
    }

    /// The leader has assigned: the generation is kept in the log, and everyone is told.
    fn on_assignment(&mut self, cx: &mut Context<'_>, parts: BTreeMap<Arc<str>, Bytes>) {
        self.assign(parts);
        if !self.fits(cx.config) {
            self.answer_syncs(cx, BTreeMap::new(), Err(ErrorCode::UnknownServerError));
            return self.prepare_rebalance(cx, Why::of(RebalanceCause::AssignmentTooLarge));
        }
        // Stored with the state and the time of the moment before: a group that is read back counts as stable anyway.
        cx.out.record(Record::group(&self.id, self.record()));
        let parts = self.members().iter().map(|(id, member)| (id.clone(), member.assignment.clone())).collect();
        self.answer_syncs(cx, parts, Ok(()));
        let since = self.state_since;
        self.transition(GroupState::Stable, cx.now.wall);
        // What a restart would read: so an offset's age counts from the same moment before and after one.
        self.state_since = since;
    }

    /// Answers everyone who waits for a part.
    fn answer_syncs(&mut self, cx: &mut Context<'_>, parts: BTreeMap<Arc<str>, Bytes>, outcome: Result<(), ErrorCode>) {
        self.assign(parts);
        for (id, ticket, assignment) in self.take_awaits_sync() {
            match outcome {
                Ok(()) => cx.out.reply(ticket, Reply::Sync(self.sync_reply(assignment))),
                Err(error) => cx.refuse_sync(ticket, error),
            }
            self.on_alive(cx, &id);
        }
    }

    fn fits(&self, config: &GroupConfig) -> bool {
        self.record().size_bytes_max(&self.id) <= config.record_bytes_max
    }

    /// The wait for members to ask for their part is over: those who have not are out.
    pub fn on_sync_timeout(&mut self, cx: &mut Context<'_>) {
        let is_expected = matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable);
        if !is_expected || self.pending_sync.is_empty() {
            return;
        }
        for id in self.pending_sync.clone() {
            cx.forget_heartbeat(&self.id, &id);
            self.remove_answering(cx, &id);
        }
        self.prepare_rebalance(cx, Why::of(RebalanceCause::SyncTimedOut));
    }

    // Living.

    pub fn on_heartbeat(&mut self, cx: &mut Context<'_>, request: &Heartbeat) -> ErrorCode {
        if let Err(error) = self.validate_member(&request.member, request.instance.as_deref()) {
            return error;
        }
        if request.generation != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        match self.state {
            GroupState::Empty => ErrorCode::UnknownMemberId,
            GroupState::PreparingRebalance => {
                self.on_alive(cx, &request.member);
                ErrorCode::RebalanceInProgress
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.on_alive(cx, &request.member);
                ErrorCode::None
            }
        }
    }

    /// The member has been heard of: its session begins anew.
    pub fn on_alive(&self, cx: &mut Context<'_>, id: &Arc<str>) {
        if let Some(member) = self.member(id) {
            cx.expect_heartbeat(&self.id, id, member.session_timeout_ms);
        }
    }

    /// Whether this member may commit offsets now.
    pub fn validate_commit(
        &self,
        member: Option<&str>,
        instance: Option<&str>,
        generation: Option<i32>,
    ) -> Result<(), ErrorCode> {
        if generation.is_none() && self.state == GroupState::Empty {
            return Ok(());
        }
        if generation.is_some() || member.is_some() || instance.is_some() {
            self.validate_member(member.unwrap_or_default(), instance)?;
            if generation != Some(self.generation) {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if self.state != GroupState::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        if self.state == GroupState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    // Leaving.

    pub fn on_leave(&mut self, cx: &mut Context<'_>, request: LeaveGroup) -> LeaveReply {
        let mut members = Vec::with_capacity(request.members.len());
        let mut why = None;
        for leaver in request.members {
            let error = match self.leave(cx, &leaver) {
                Ok(id) => {
                    why.get_or_insert_with(|| Why::member(RebalanceCause::MemberLeft, &id, leaver.reason.clone()));
                    ErrorCode::None
                }
                Err(error) => error,
            };
            members.push(Left { leaver, error });
        }
        if let Some(why) = why {
            match self.state {
                GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(cx, why),
                GroupState::PreparingRebalance => self.complete_join_if_all(cx),
                GroupState::Empty => {}
            }
        }
        LeaveReply { error: ErrorCode::None, members }
    }

    /// Removes a member; the answer is its id.
    fn leave(&mut self, cx: &mut Context<'_>, leaver: &Leaver) -> Result<Arc<str>, ErrorCode> {
        let id = match &leaver.member {
            // An administrator knows only the lasting name.
            None => {
                let instance = leaver.instance.as_deref().ok_or(ErrorCode::UnknownMemberId)?;
                self.member_of_instance(instance).cloned().ok_or(ErrorCode::UnknownMemberId)?
            }
            Some(id) if self.pending_join.contains(id) => id.clone(),
            Some(id) => {
                self.validate_member(id, leaver.instance.as_deref())?;
                id.clone()
            }
        };
        cx.forget_heartbeat(&self.id, &id);
        self.remove_answering(cx, &id);
        Ok(id)
    }

    /// Removes a member, answering what it waits for: should it still live, it asks again.
    fn remove_answering(&mut self, cx: &mut Context<'_>, id: &Arc<str>) {
        let Some(member) = self.remove(id) else { return };
        if let Some(ticket) = member.awaits_join {
            cx.refuse_join(ticket, None, ErrorCode::UnknownMemberId);
        }
        if let Some(ticket) = member.awaits_sync {
            cx.refuse_sync(ticket, ErrorCode::UnknownMemberId);
        }
    }

    /// A member has been silent for its session timeout.
    pub fn on_silence(&mut self, cx: &mut Context<'_>, id: &Arc<str>) {
        if self.pending_join.contains(id) {
            self.remove(id);
            return self.complete_join_if_left_alone(cx);
        }
        if self.member(id).is_none_or(Member::is_excused) {
            return;
        }
        self.remove_answering(cx, id);
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.prepare_rebalance(cx, Why::member(RebalanceCause::MemberSilent, id, None));
            }
            GroupState::PreparingRebalance => self.complete_join_if_left_alone(cx),
            GroupState::Empty => {}
        }
    }

    /// Who was waited for is gone, and everyone else has joined: the rebalance goes on, the first one too.
    fn complete_join_if_left_alone(&mut self, cx: &mut Context<'_>) {
        if self.state == GroupState::PreparingRebalance && self.has_all_joined() {
            self.complete_join(cx);
        }
    }

    /// Gives up every ticket the group keeps.
    pub fn take_waiting(&mut self, out: &mut Vec<Ticket>) {
        let ids: Vec<_> = self.members().keys().cloned().collect();
        out.extend(ids.iter().filter_map(|id| self.take_awaits_join(id)));
        out.extend(self.take_awaits_sync().into_iter().map(|(_, ticket, _)| ticket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_ids_look_like_kafkas() {
        assert_eq!(&*member_id("rdkafka", [0xab; 16]), "rdkafka-abababab-abab-4bab-abab-abababababab");
    }
}
