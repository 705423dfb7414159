//! The group APIs of a running node, over a socket, in every version that is served, and what a restart keeps.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use broker::config::{Config, Dynamic, RawConfig};
use types::{ErrorCode, TopicId};
use wire::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use wire::delete_groups_request::DeleteGroupsRequest;
use wire::delete_topics_request::{DeleteTopicState, DeleteTopicsRequest};
use wire::describe_groups_request::DescribeGroupsRequest;
use wire::find_coordinator_request::FindCoordinatorRequest;
use wire::heartbeat_request::HeartbeatRequest;
use wire::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use wire::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use wire::list_groups_request::ListGroupsRequest;
use wire::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::offset_delete_request::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::offset_fetch_request::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use wire::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use wire::{ApiKey, OwnedResponse, Reader, Request, Writer, frame};

const TOPIC: &str = "orders";

/// A node of its own, with a connection to it.
struct TestNode {
    node: Option<broker::Node>,
    folder: PathBuf,
    stream: TcpStream,
    topic_id: TopicId,
}

impl TestNode {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ringlog-groups-{name}-{}", std::process::id()));
        let (node, stream) = run(&folder);
        let mut started = Self { node: Some(node), folder, stream, topic_id: TopicId::ZERO };
        let topic = CreatableTopic {
            name: TOPIC.into(),
            num_partitions: 2,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let answer = started.ask(7, &CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() });
        assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
        started.topic_id = answer.topics[0].topic_id;
        started
    }

    fn restart(&mut self) {
        self.node.take().expect("a node").stop();
        let (node, stream) = run(&self.folder);
        (self.node, self.stream) = (Some(node), stream);
    }

    fn ask<'a, R: Request<'a>>(&mut self, version: i16, body: &R) -> R::Response {
        let mut writer = Writer::new();
        frame::encode_request(&mut writer, version, 7, Some("test"), body).expect("a request");
        self.stream.write_all(&writer.into_bytes()).expect("sent");
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).expect("an answer");
        let mut answer = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut answer).expect("a whole answer");
        let mut reader = Reader::new(&answer);
        let api = R::API_KEY.api();
        assert_eq!(frame::decode_response_header(&mut reader, api, version), Ok(7));
        let body = &answer[reader.position()..];
        R::Response::decode_owned(body, version).unwrap_or_else(|error| panic!("{} {version}: {error}", api.name))
    }

    /// Asks until the coordinators are loaded and know.
    fn find(&mut self, group: &str) {
        let request = FindCoordinatorRequest { key: group.into(), ..FindCoordinatorRequest::default() };
        let answer = self.ask(3, &request);
        assert_eq!((answer.error_code, answer.node_id), (0, 1), "{answer:?}");
        let until = Instant::now() + Duration::from_secs(10);
        // Each partition's coordinator loads on its own; a list asks them all.
        while self.ask(0, &ListGroupsRequest::default()).error_code == ErrorCode::CoordinatorLoadInProgress.code() {
            assert!(Instant::now() < until, "coordinators do not load");
        }
    }

    fn describe(&mut self, group: &str) -> wire::describe_groups_response::DescribedGroup<'static> {
        let groups = vec![Cow::Owned(group.to_owned())];
        let mut answer = self.ask(5, &DescribeGroupsRequest { groups, ..DescribeGroupsRequest::default() });
        answer.groups.pop().expect("one group")
    }

    /// Joins until the member is in, as a client of this version does. The member's id.
    fn join(&mut self, version: i16, group: &str, instance: Option<&'static str>) -> String {
        let protocol = JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Cow::Borrowed(&[0, 0, 0, 0, 0, 1, 0, 1, b'x', 0xff, 0xff, 0xff, 0xff]),
            ..JoinGroupRequestProtocol::default()
        };
        let mut member = String::new();
        loop {
            let answer = self.ask(
                version,
                &JoinGroupRequest {
                    group_id: Cow::Owned(group.to_owned()),
                    session_timeout_ms: 10_000,
                    rebalance_timeout_ms: if version == 0 { -1 } else { 10_000 },
                    member_id: Cow::Owned(member.clone()),
                    group_instance_id: instance.map(Cow::Borrowed),
                    protocol_type: "consumer".into(),
                    protocols: vec![protocol.clone()],
                    ..JoinGroupRequest::default()
                },
            );
            member = answer.member_id.into_owned();
            match ErrorCode::from_wire(answer.error_code) {
                Some(ErrorCode::MemberIdRequired) => assert!(4 <= version),
                Some(ErrorCode::None) => {
                    assert_eq!((answer.leader.as_ref(), answer.members.len()), (&*member, 1), "version {version}");
                    assert_eq!(answer.protocol_name.as_deref(), Some("range"));
                    return member;
                }
                other => panic!("version {version}: {other:?}"),
            }
        }
    }

    fn commit(&mut self, version: i16, group: &str, offset: i64) -> i16 {
        let partition = OffsetCommitRequestPartition {
            partition_index: 1,
            committed_offset: offset,
            committed_metadata: Some("héllo".into()),
            ..OffsetCommitRequestPartition::default()
        };
        let mut topic = OffsetCommitRequestTopic { partitions: vec![partition], ..OffsetCommitRequestTopic::default() };
        if version < 10 {
            topic.name = TOPIC.into();
        } else {
            topic.topic_id = self.topic_id;
        }
        let answer = self.ask(
            version,
            &OffsetCommitRequest {
                group_id: Cow::Owned(group.to_owned()),
                topics: vec![topic],
                ..OffsetCommitRequest::default()
            },
        );
        assert_eq!(answer.topics[0].name, if version < 10 { TOPIC } else { "" });
        assert_eq!(answer.topics[0].topic_id.is_zero(), version < 10);
        answer.topics[0].partitions[0].error_code
    }

    /// The offset committed for partition 1, and for partition 0 (where there is none).
    fn committed(&mut self, version: i16, group: &str) -> (i64, i64) {
        let mut request = OffsetFetchRequest::default();
        if version < 8 {
            request.group_id = Cow::Owned(group.to_owned());
            request.topics = Some(vec![OffsetFetchRequestTopic {
                name: TOPIC.into(),
                partition_indexes: vec![1, 0],
                ..Default::default()
            }]);
        } else {
            let mut topic = OffsetFetchRequestTopics { partition_indexes: vec![1, 0], ..Default::default() };
            if version < 10 {
                topic.name = TOPIC.into();
            } else {
                topic.topic_id = self.topic_id;
            }
            request.groups = vec![OffsetFetchRequestGroup {
                group_id: Cow::Owned(group.to_owned()),
                topics: Some(vec![topic]),
                ..OffsetFetchRequestGroup::default()
            }];
        }
        let answer = self.ask(version, &request);
        if version < 8 {
            let partitions = &answer.topics[0].partitions;
            assert!(partitions[0].committed_offset < 0 || partitions[0].metadata.as_deref() == Some("héllo"));
            (partitions[0].committed_offset, partitions[1].committed_offset)
        } else {
            assert_eq!(answer.groups[0].error_code, 0);
            let partitions = &answer.groups[0].topics[0].partitions;
            assert!(partitions[0].committed_offset < 0 || partitions[0].metadata.as_deref() == Some("héllo"));
            (partitions[0].committed_offset, partitions[1].committed_offset)
        }
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn run(folder: &Path) -> (broker::Node, TcpStream) {
    let mut raw = RawConfig::new();
    for line in [
        &format!("log.dirs={}", folder.display()),
        "listeners=PLAINTEXT://127.0.0.1:0",
        "ringlog.shards=2",
        "ringlog.http.listener=",
        "group.initial.rebalance.delay.ms=0",
        "offsets.topic.num.partitions=4",
    ] {
        raw.read_override(line).expect("an override");
    }
    let node = broker::start(Config::prove(raw, Dynamic::NONE).expect("a config")).expect("a node");
    let stream = TcpStream::connect(node.report().listening[0]).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    (node, stream)
}

fn versions(api: ApiKey) -> std::ops::RangeInclusive<i16> {
    let api = api.api();
    api.version_min..=api.version_max
}

#[test]
fn coordinators_are_found_in_every_version_and_others_refused_for_good() {
    let mut node = TestNode::start("find");
    for version in versions(ApiKey::FindCoordinator) {
        let mut request = FindCoordinatorRequest::default();
        if version < 4 {
            request.key = "g".into();
        } else {
            request.coordinator_keys = vec!["g".into(), "h".into()];
        }
        let answer = node.ask(version, &request);
        if version < 4 {
            assert_eq!((answer.error_code, answer.node_id, answer.host.as_ref()), (0, 1, "127.0.0.1"));
        } else {
            assert_eq!(answer.coordinators.len(), 2);
            assert!(answer.coordinators.iter().all(|it| (it.error_code, it.node_id) == (0, 1)));
        }
        for key_type in if version == 0 { 0..0 } else { 1..4 } {
            request.key_type = key_type;
            let answer = node.ask(version, &request);
            let code = if version < 4 { answer.error_code } else { answer.coordinators[1].error_code };
            assert_eq!(code, ErrorCode::InvalidRequest.code(), "version {version}, type {key_type}");
        }
    }
}

#[test]
fn members_live_and_leave_in_every_version() {
    let mut node = TestNode::start("members");
    node.find("g");
    for version in versions(ApiKey::JoinGroup) {
        let group = format!("members-{version}");
        let member = node.join(version, &group, None);
        for sync_version in versions(ApiKey::SyncGroup) {
            let named = |name: &'static str| (5 <= sync_version).then_some(Cow::Borrowed(name));
            let answer = node.ask(
                sync_version,
                &SyncGroupRequest {
                    group_id: (&*group).into(),
                    generation_id: 1,
                    member_id: (&*member).into(),
                    protocol_type: named("consumer"),
                    protocol_name: named("range"),
                    assignments: vec![SyncGroupRequestAssignment {
                        member_id: (&*member).into(),
                        assignment: Cow::Borrowed(b"part"),
                        ..SyncGroupRequestAssignment::default()
                    }],
                    ..SyncGroupRequest::default()
                },
            );
            assert_eq!((answer.error_code, answer.assignment.as_ref()), (0, &b"part"[..]), "version {sync_version}");
        }
        for beat_version in versions(ApiKey::Heartbeat) {
            for (generation, expected) in [(1, ErrorCode::None), (2, ErrorCode::IllegalGeneration)] {
                let answer = node.ask(
                    beat_version,
                    &HeartbeatRequest {
                        group_id: (&*group).into(),
                        generation_id: generation,
                        member_id: (&*member).into(),
                        ..HeartbeatRequest::default()
                    },
                );
                assert_eq!(answer.error_code, expected.code());
            }
        }
        let leave_version = version.min(*versions(ApiKey::LeaveGroup).end());
        let mut leave = LeaveGroupRequest { group_id: (&*group).into(), ..LeaveGroupRequest::default() };
        if leave_version < 3 {
            leave.member_id = (&*member).into();
        } else {
            leave.members = vec![MemberIdentity { member_id: (&*member).into(), ..MemberIdentity::default() }];
        }
        let answer = node.ask(leave_version, &leave);
        assert_eq!(answer.error_code, 0);
        let again = node.ask(leave_version, &leave);
        let code = if leave_version < 3 { again.error_code } else { again.members[0].error_code };
        assert_eq!(code, ErrorCode::UnknownMemberId.code(), "version {leave_version}");
        assert_eq!(node.describe(&group).group_state, "Empty");
    }
}

#[test]
fn groups_are_shown_and_deleted_in_every_version() {
    let mut node = TestNode::start("shown");
    node.find("g");
    node.join(5, "stable", Some("i"));
    assert_eq!(node.commit(8, "reader", 3), 0);
    for version in versions(ApiKey::DescribeGroups) {
        let groups = vec!["stable".into(), "nobody".into()];
        let request =
            DescribeGroupsRequest { groups, include_authorized_operations: 3 <= version, ..Default::default() };
        let answer = node.ask(version, &request);
        let (stable, nobody) = (&answer.groups[0], &answer.groups[1]);
        assert_eq!((stable.group_state.as_ref(), stable.members.len()), ("CompletingRebalance", 1));
        assert_eq!(stable.members[0].client_host, "/127.0.0.1");
        let expected = if version < 6 { ErrorCode::None } else { ErrorCode::GroupIdNotFound };
        assert_eq!((nobody.group_state.as_ref(), nobody.error_code), ("Dead", expected.code()), "version {version}");
    }
    for version in versions(ApiKey::ListGroups) {
        let mut request = ListGroupsRequest::default();
        let all = node.ask(version, &request);
        let mut names: Vec<_> = all.groups.iter().map(|group| group.group_id.as_ref()).collect();
        names.sort_unstable();
        assert_eq!((all.error_code, names), (0, vec!["reader", "stable"]), "version {version}");
        if 4 <= version {
            request.states_filter = vec!["empty".into()];
            let empty = node.ask(version, &request);
            assert_eq!(empty.groups.len(), 1);
            assert_eq!((empty.groups[0].group_id.as_ref(), empty.groups[0].group_state.as_ref()), ("reader", "Empty"));
        }
    }
    for version in versions(ApiKey::DeleteGroups) {
        let group = format!("gone-{version}");
        assert_eq!(node.commit(8, &group, 1), 0);
        let groups_names = vec!["stable".into(), "nobody".into(), (&*group).into()];
        let answer = node.ask(version, &DeleteGroupsRequest { groups_names, ..DeleteGroupsRequest::default() });
        let codes: Vec<_> = answer.results.iter().filter_map(|it| ErrorCode::from_wire(it.error_code)).collect();
        assert_eq!(codes, [ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound, ErrorCode::None]);
    }
}

#[test]
fn offsets_are_kept_in_every_version_and_over_a_restart() {
    let mut node = TestNode::start("offsets");
    node.find("g");
    for version in versions(ApiKey::OffsetCommit) {
        let group = format!("offsets-{version}");
        assert_eq!(node.commit(version, &group, 40 + i64::from(version)), 0, "version {version}");
        for fetch_version in versions(ApiKey::OffsetFetch) {
            let expected = (40 + i64::from(version), -1);
            assert_eq!(node.committed(fetch_version, &group), expected, "versions {version}, {fetch_version}");
        }
    }
    node.restart();
    node.find("g");
    for version in versions(ApiKey::OffsetCommit) {
        let group = format!("offsets-{version}");
        assert_eq!(node.committed(10, &group), (40 + i64::from(version), -1), "version {version} after the restart");
    }
    let all = node.ask(
        8,
        &OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup { group_id: "offsets-9".into(), topics: None, ..Default::default() }],
            ..OffsetFetchRequest::default()
        },
    );
    assert_eq!(all.groups[0].topics[0].partitions[0].committed_offset, 49);

    let delete = |partitions: &[i32]| OffsetDeleteRequest {
        group_id: "offsets-9".into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: TOPIC.into(),
            partitions: partitions
                .iter()
                .map(|&partition_index| OffsetDeleteRequestPartition { partition_index })
                .collect(),
        }],
    };
    let answer = node.ask(0, &delete(&[9, 1]));
    let codes: Vec<_> = answer.topics[0].partitions.iter().map(|it| (it.partition_index, it.error_code)).collect();
    assert_eq!(codes, [(9, ErrorCode::UnknownTopicOrPartition.code()), (1, 0)]);
    assert_eq!(node.committed(9, "offsets-9"), (-1, -1));

    // With its topic an offset goes, too, and does not come back with a topic of the same name.
    let topics = vec![DeleteTopicState { name: Some(TOPIC.into()), ..DeleteTopicState::default() }];
    assert_eq!(
        node.ask(6, &DeleteTopicsRequest { topics, ..DeleteTopicsRequest::default() }).responses[0].error_code,
        0
    );
    assert_eq!(node.committed(9, "offsets-8"), (-1, -1));
    assert_eq!(node.commit(9, "offsets-8", 5), ErrorCode::UnknownTopicOrPartition.code());
}

#[test]
fn stable_group_goes_on_over_a_restart() {
    let mut node = TestNode::start("restart");
    node.find("g");
    let member = node.join(9, "g", None);
    let sync = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: (&*member).into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: (&*member).into(),
            assignment: Cow::Borrowed(b"part"),
            ..SyncGroupRequestAssignment::default()
        }],
        ..SyncGroupRequest::default()
    };
    assert_eq!(node.ask(5, &sync).error_code, 0);
    node.restart();
    node.find("g");
    let beat = HeartbeatRequest {
        group_id: "g".into(),
        generation_id: 1,
        member_id: (&*member).into(),
        ..HeartbeatRequest::default()
    };
    assert_eq!(node.ask(4, &beat).error_code, 0);
    let described = node.describe("g");
    assert_eq!(
        (described.group_state.as_ref(), described.members[0].member_assignment.as_ref()),
        ("Stable", &b"part"[..])
    );
    assert_eq!(described.members[0].client_id, "test");
}

/// Two members; the second one's client goes away while it waits for the first to re-join.
#[test]
fn a_client_that_leaves_while_its_join_waits_gives_its_connection_back() {
    let mut node = TestNode::start("gone");
    node.find("g");
    let address = node.node.as_ref().expect("a node").report().listening[0];
    let protocol = JoinGroupRequestProtocol { name: "range".into(), ..JoinGroupRequestProtocol::default() };
    let join = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 600_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..JoinGroupRequest::default()
    };
    assert_eq!(node.ask(3, &join).error_code, 0);
    let mut waiting = TcpStream::connect(address).expect("connected");
    let mut writer = Writer::new();
    frame::encode_request(&mut writer, 3, 1, Some("second"), &join).expect("a request");
    waiting.write_all(&writer.into_bytes()).expect("sent");
    // Far less than the first member's minute, for which the second one's join waits.
    let until = Instant::now() + Duration::from_secs(40);
    while node.describe("g").members.len() < 2 {
        assert!(Instant::now() < until, "the second member does not come in");
    }
    // It has sent more, which nobody reads yet.
    waiting.write_all(&[0, 0, 0, 20]).expect("sent");
    assert_eq!(node.node.as_ref().expect("a node").connections(), 2);
    drop(waiting);
    while node.node.as_ref().expect("a node").connections() > 1 {
        assert!(Instant::now() < until, "the connection is still held");
        std::thread::sleep(Duration::from_millis(20));
    }
}
