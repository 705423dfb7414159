//! A group of thousands of members: nothing in a rebalance may take time by the square of them.

use std::sync::Arc;

use bytes::Bytes;
use coordinator::*;
use machine::{Host, Ticket};
use types::{ErrorCode, Now, Timestamp};

const MEMBERS: usize = 3_000;

fn now(ms: u64) -> Now {
    Now { monotonic_ns: ms * 1_000_000, wall: Timestamp::from_millis(ms as i64) }
}

fn join(number: u64, member: Option<Arc<str>>) -> Command {
    let mut entropy = [0; 16];
    entropy[..8].copy_from_slice(&number.to_be_bytes());
    Command::Join(JoinGroup {
        group: "g".into(),
        member,
        instance: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 100_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]))],
        member_id_required: false,
        can_skip_assignment: true,
        reason: None,
        entropy,
    })
}

fn settle(host: &mut Host<GroupCoordinator>) -> Vec<(Ticket, Reply)> {
    while let Some(batch) = host.take_batch() {
        host.on_committed(batch.id);
    }
    host.take_replies()
}

/// Time passes, deadline by deadline.
fn pass(host: &mut Host<GroupCoordinator>, to_ms: u64) -> Vec<(Ticket, Reply)> {
    let mut replies = Vec::new();
    while let Some(due_ns) = host.next_deadline_ns().filter(|due_ns| *due_ns <= to_ms * 1_000_000) {
        host.on_tick(now(due_ns / 1_000_000));
        replies.extend(settle(host));
    }
    replies
}

#[test]
fn group_of_thousands_rebalances_and_empties() {
    let mut host = Host::new(now(0), GroupCoordinator::new(GroupConfig::default()));
    for number in 0..MEMBERS as u64 {
        host.decide(now(0), Ticket::new(number), join(number, None));
    }
    assert!(settle(&mut host).is_empty());
    let joined = pass(&mut host, 60_000);
    assert_eq!(joined.len(), MEMBERS);
    let mut members = Vec::new();
    let mut leader = None;
    for (_, reply) in &joined {
        let Reply::Join(reply) = reply else { panic!("a join is answered by a join") };
        if !reply.members.is_empty() {
            assert_eq!(reply.members.len(), MEMBERS);
            leader.clone_from(&reply.member);
        }
        members.extend(reply.member.clone());
    }
    let leader = leader.expect("one leads");
    for (number, member) in members.iter().enumerate().filter(|(_, member)| **member != leader).chain([(0, &leader)]) {
        let is_leader = *member == leader;
        let parts = members.iter().map(|member| (member.clone(), Bytes::from_static(b"part")));
        let sync = SyncGroup {
            group: "g".into(),
            member: member.clone(),
            instance: None,
            generation: 1,
            protocol_type: None,
            protocol: None,
            assignments: if is_leader { parts.collect() } else { Vec::new() },
        };
        host.decide(now(60_001), Ticket::new((MEMBERS + number) as u64), Command::Sync(sync));
    }
    let synced = settle(&mut host);
    assert_eq!(synced.len(), MEMBERS);
    assert!(synced.iter().all(|(_, reply)| matches!(reply, Reply::Sync(reply) if reply.error == ErrorCode::None)));
    pass(&mut host, 400_000);
    assert_eq!(host.machine().groups_in(GroupState::Empty), 1);
}
