//! Membership of a consumer in a classic group: join, take part in the assignment, keep alive, leave.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use types::{ErrorCode, TopicPartition};
use wire::heartbeat_request::HeartbeatRequest;
use wire::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use wire::join_group_response::JoinGroupResponse;
use wire::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use wire::sync_group_request::{SyncGroupRequest, SyncGroupRequestAssignment};
use wire::{ApiKey, Request};

use crate::cluster::{Client, CoordinatorKind};
use crate::connection::Connection;
use crate::error::ClientError;
use crate::group;

/// What a join may take beyond the time that the group gives its members.
const JOIN_SLACK: Duration = Duration::from_secs(5);

/// The kind of group whose members speak the consumer protocol.
const PROTOCOL_TYPE: &str = "consumer";

/// The first version in which LeaveGroup takes a list of members.
const LEAVE_LIST_VERSION_MIN: i16 = 3;

/// How to be a member.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// The group.
    pub id: String,
    /// Makes it a static member of this name (KIP-345).
    pub instance_id: Option<String>,
    /// Without a heartbeat for so long the group gives the member up.
    pub session_timeout: Duration,
    /// So long may members take to join again.
    pub rebalance_timeout: Duration,
    /// Between two heartbeats.
    pub heartbeat_interval: Duration,
}

impl GroupConfig {
    /// A member of `id` with the Java client's defaults.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            instance_id: None,
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_secs(300),
            heartbeat_interval: Duration::from_secs(3),
        }
    }
}

/// What the heartbeats found out.
#[derive(Debug, Default)]
struct Signals {
    rejoin: AtomicBool,
    forgotten: AtomicBool,
}

impl Signals {
    /// Draws the consequences of a refused heartbeat or commit.
    fn on_refused(&self, error: &ClientError) {
        match error.code() {
            Some(ErrorCode::RebalanceInProgress) => self.rejoin.store(true, Ordering::Relaxed),
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::FencedInstanceId) => {
                self.forgotten.store(true, Ordering::Relaxed);
                self.rejoin.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// One membership. Lives in a consumer.
#[derive(Debug)]
pub(crate) struct Membership {
    client: Client,
    config: GroupConfig,
    topics: Vec<String>,
    member_id: String,
    /// `None` before the first join.
    generation: Option<i32>,
    connection: Option<Connection>,
    signals: Arc<Signals>,
    heartbeats: Option<JoinHandle<()>>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.stop_heartbeats();
    }
}

impl Membership {
    pub(crate) fn new(client: Client, config: GroupConfig, topics: Vec<String>) -> Self {
        Self {
            client,
            config,
            topics,
            member_id: String::new(),
            generation: None,
            connection: None,
            signals: Arc::default(),
            heartbeats: None,
        }
    }

    pub(crate) fn group_id(&self) -> &str {
        &self.config.id
    }

    /// Member id, generation and instance id, once it has joined.
    pub(crate) fn identity(&self) -> Option<(&str, i32, Option<&str>)> {
        Some((&self.member_id, self.generation?, self.config.instance_id.as_deref()))
    }

    /// Whether it is no member yet, or must take part in a new assignment.
    pub(crate) fn must_join(&self) -> bool {
        self.generation.is_none() || self.signals.rejoin.load(Ordering::Relaxed)
    }

    /// A commit was refused.
    pub(crate) fn on_refused(&mut self, error: &ClientError) {
        self.signals.on_refused(error);
    }

    fn stop_heartbeats(&mut self) {
        if let Some(task) = self.heartbeats.take() {
            task.abort();
        }
    }

    /// Joins and returns the partitions assigned.
    pub(crate) async fn join(&mut self) -> Result<Vec<TopicPartition>, ClientError> {
        self.stop_heartbeats();
        if self.signals.forgotten.swap(false, Ordering::Relaxed) {
            self.member_id.clear();
        }
        self.generation = None;
        let deadline = tokio::time::Instant::now() + self.client.config().retry_timeout + self.config.rebalance_timeout;
        loop {
            match self.join_once().await {
                Ok(assigned) => return Ok(assigned),
                Err(error) if tokio::time::Instant::now() < deadline => match error.code() {
                    Some(ErrorCode::MemberIdRequired) => {}
                    Some(ErrorCode::UnknownMemberId) => self.member_id.clear(),
                    Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => {}
                    _ if error.is_retriable() => {
                        self.connection = None;
                        self.client.forget_coordinator(CoordinatorKind::Group, &self.config.id);
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    _ => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    async fn join_once(&mut self) -> Result<Vec<TopicPartition>, ClientError> {
        let connection = self.connect().await?;
        let joined = self.ask_to_join(&connection).await?;
        let assignments = if joined.leader == joined.member_id && !joined.skip_assignment {
            self.assign(&joined).await?
        } else {
            BTreeMap::new()
        };
        let instance = self.config.instance_id.as_deref();
        let sending = {
            let request = SyncGroupRequest {
                group_id: (&self.config.id).into(),
                generation_id: joined.generation_id,
                member_id: (&self.member_id).into(),
                group_instance_id: instance.map(|instance| instance.into()),
                protocol_type: Some(PROTOCOL_TYPE.into()),
                protocol_name: joined.protocol_name.as_deref().map(|name| name.to_owned().into()),
                assignments: assignments
                    .iter()
                    .map(|(member, partitions)| SyncGroupRequestAssignment {
                        member_id: member.into(),
                        assignment: group::write_assignment(partitions).into(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            };
            connection.send(&request, connection.version(ApiKey::SyncGroup)?)
        };
        let synced = sending.await?.timeout(self.config.rebalance_timeout + JOIN_SLACK).response().await?;
        ClientError::check(synced.error_code, None, || format!("get a share of group {}", self.config.id))?;
        self.generation = Some(joined.generation_id);
        self.signals = Arc::default();
        self.start_heartbeats(connection);
        Ok(group::read_assignment(&synced.assignment))
    }

    /// A connection of its own: an unanswered join would hold up everything behind it.
    async fn connect(&mut self) -> Result<Connection, ClientError> {
        if let Some(open) = self.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(open.clone());
        }
        let shared = self.client.coordinator(CoordinatorKind::Group, &self.config.id).await?;
        let connection = Connection::open(shared.address(), &self.client.config().connection).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn ask_to_join(&mut self, connection: &Connection) -> Result<JoinGroupResponse<'static>, ClientError> {
        let what = || format!("join group {}", self.config.id);
        let sending = {
            let protocol = JoinGroupRequestProtocol {
                name: group::RANGE.into(),
                metadata: group::write_subscription(&self.topics).into(),
                ..Default::default()
            };
            let request = JoinGroupRequest {
                group_id: (&self.config.id).into(),
                session_timeout_ms: self.config.session_timeout.as_millis() as i32,
                rebalance_timeout_ms: self.config.rebalance_timeout.as_millis() as i32,
                member_id: (&self.member_id).into(),
                group_instance_id: self.config.instance_id.as_deref().map(|instance| instance.into()),
                protocol_type: PROTOCOL_TYPE.into(),
                protocols: vec![protocol],
                ..Default::default()
            };
            connection.send(&request, connection.version(ApiKey::JoinGroup)?)
        };
        let joined = sending.await?.timeout(self.config.rebalance_timeout + JOIN_SLACK).response().await?;
        if joined.error_code == ErrorCode::MemberIdRequired.code() {
            self.member_id = joined.member_id.to_string();
        }
        ClientError::check(joined.error_code, None, what)?;
        self.member_id = joined.member_id.to_string();
        Ok(joined)
    }

    /// As the group's leader: who gets what.
    async fn assign(
        &self,
        joined: &JoinGroupResponse<'_>,
    ) -> Result<BTreeMap<String, Vec<TopicPartition>>, ClientError> {
        let members: BTreeMap<String, Vec<String>> = joined
            .members
            .iter()
            .map(|member| (member.member_id.to_string(), group::read_subscription(&member.metadata)))
            .collect();
        let mut partitions = BTreeMap::new();
        for topic in members.values().flatten() {
            if !partitions.contains_key(topic) {
                match self.client.topic_now(topic, false).await {
                    Ok(found) => drop(partitions.insert(topic.clone(), found.partitions.len() as i32)),
                    // A topic that does not exist (yet) has nothing to share out.
                    Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(group::assign_range(&members, &partitions))
    }

    fn start_heartbeats(&mut self, connection: Connection) {
        let request = HeartbeatRequest {
            group_id: self.config.id.clone().into(),
            generation_id: self.generation.unwrap_or_default(),
            member_id: self.member_id.clone().into(),
            group_instance_id: self.config.instance_id.clone().map(|instance| instance.into()),
            ..Default::default()
        };
        let signals = Arc::clone(&self.signals);
        let every = self.config.heartbeat_interval;
        let group = self.config.id.clone();
        let client = self.client.clone();
        self.heartbeats = Some(tokio::spawn(async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let outcome = beat(&connection, &request, &group).await;
                let Err(error) = outcome else { continue };
                signals.on_refused(&error);
                if error.is_retriable() {
                    // The coordinator has moved or is gone: find it again by joining again.
                    client.forget_coordinator(CoordinatorKind::Group, &group);
                    signals.rejoin.store(true, Ordering::Relaxed);
                }
                if signals.rejoin.load(Ordering::Relaxed) {
                    return;
                }
            }
        }));
    }

    /// Leaves, so that the others need not wait for the session timeout. A static member stays: it comes back.
    pub(crate) async fn leave(mut self) {
        self.stop_heartbeats();
        let (Some(_), Some(connection), None) = (self.generation, &self.connection, &self.config.instance_id) else {
            return;
        };
        let Ok(version) = connection.version(ApiKey::LeaveGroup) else { return };
        let sending = {
            let mut request = LeaveGroupRequest { group_id: (&self.config.id).into(), ..Default::default() };
            if version < LEAVE_LIST_VERSION_MIN {
                request.member_id = (&self.member_id).into();
            } else {
                request.members = vec![MemberIdentity { member_id: (&self.member_id).into(), ..Default::default() }];
            }
            connection.send(&request, version)
        };
        // Nobody is left who could do anything about a failure; the session timeout does the same later.
        if let Ok(pending) = sending.await {
            let _ = pending.response().await;
        }
    }
}

async fn beat(connection: &Connection, request: &HeartbeatRequest<'static>, group: &str) -> Result<(), ClientError> {
    let sending = connection.send(request, connection.version(HeartbeatRequest::API_KEY)?);
    let response = sending.await?.response().await?;
    ClientError::check(response.error_code, None, || format!("stay in group {group}"))
}
