//! What a client knows of a cluster: its nodes, who leads what, and a connection to each node it talked to.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use types::{ErrorCode, NodeId, PartitionIndex, TopicId};
use wire::ApiKey;
use wire::find_coordinator_request::FindCoordinatorRequest;
use wire::metadata_request::{MetadataRequest, MetadataRequestTopic};
use wire::metadata_response::{MetadataResponse, MetadataResponseTopic};

use crate::connection::{Connection, ConnectionConfig};
use crate::error::ClientError;

/// Pause before the second try; doubled for each further one.
const RETRY_BACKOFF_MIN: Duration = Duration::from_millis(50);

/// The longest pause between two tries.
const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `host:port` of one or more nodes; the first that answers tells of the others.
    pub bootstrap: Vec<String>,
    /// For each connection.
    pub connection: ConnectionConfig,
    /// How long a call that may be tried again is tried again.
    pub retry_timeout: Duration,
    /// Metadata older than this is asked for again.
    pub metadata_age_max: Duration,
}

impl ClientConfig {
    /// Defaults for the cluster behind `bootstrap`, a comma-separated list of `host:port`.
    #[must_use]
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.split(',').map(|address| address.trim().to_owned()).collect(),
            connection: ConnectionConfig::default(),
            retry_timeout: Duration::from_secs(30),
            metadata_age_max: Duration::from_secs(300),
        }
    }
}

/// A node as the cluster announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its `node.id`.
    pub id: NodeId,
    /// `host:port` of the listener that the asking connection uses.
    pub address: String,
    /// Its rack.
    pub rack: Option<String>,
}

/// A partition as the cluster announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number within the topic.
    pub index: PartitionIndex,
    /// Who leads it, if anyone does.
    pub leader: Option<NodeId>,
    /// The epoch of that leadership.
    pub leader_epoch: Option<types::LeaderEpoch>,
    /// Who holds it, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// Who of them is in sync.
    pub isr: Vec<NodeId>,
    /// Who of them is not reachable.
    pub offline: Vec<NodeId>,
}

/// A topic as the cluster announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; `None` from nodes that have none.
    pub id: Option<TopicId>,
    /// Kept by the cluster for itself.
    pub internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<Partition>,
}

/// The cluster as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its id.
    pub id: Option<String>,
    /// Who takes administrative requests.
    pub controller: Option<NodeId>,
    /// Its nodes, by id.
    pub nodes: Vec<Node>,
}

/// Who coordinates what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CoordinatorKind {
    /// A consumer group.
    Group,
    /// A transactional id.
    Transaction,
}

/// A client of one cluster. Clones share everything.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<NodeId, Node>,
    controller: Option<NodeId>,
    topics: BTreeMap<Arc<str>, (Arc<Topic>, Instant)>,
    connections: BTreeMap<NodeId, Connection>,
    /// The connection that told of the others.
    bootstrap: Option<Connection>,
    coordinators: BTreeMap<(CoordinatorKind, String), NodeId>,
}

impl Client {
    /// Connects to the first node of the bootstrap list that answers, and learns of the others.
    ///
    /// # Errors
    /// None answers; the error is the last one's.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        if config.bootstrap.iter().all(String::is_empty) {
            return Err(ClientError::Usage("no address to connect to: give host:port of a node".to_owned()));
        }
        let client = Self(Arc::new(Inner { config, state: Mutex::default() }));
        client.cluster().await?;
        Ok(client)
    }

    /// How it was configured.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.0.config
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes, asked for now.
    ///
    /// # Errors
    /// No node answers.
    pub async fn cluster(&self) -> Result<Cluster, ClientError> {
        let (response, _) = self.ask_metadata(Some(&[]), false).await?;
        let state = self.state();
        Ok(Cluster {
            id: response.cluster_id.map(|id| id.into_owned()),
            controller: state.controller,
            nodes: state.nodes.values().cloned().collect(),
        })
    }

    /// The nodes as the last answer named them, by id.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node> {
        self.state().nodes.values().cloned().collect()
    }

    /// Every topic, asked for now, by name.
    ///
    /// # Errors
    /// No node answers.
    pub async fn topics(&self) -> Result<Vec<Arc<Topic>>, ClientError> {
        let (response, _) = self.ask_metadata(None, false).await?;
        let mut topics: Vec<_> =
            response.topics.iter().filter(|topic| topic.error_code == 0).filter_map(Self::read_topic).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics.into_iter().map(|topic| self.remember(topic)).collect())
    }

    /// One topic, from memory if it is fresh. `create` asks the node to create it, which it does if
    /// `auto.create.topics.enable` allows.
    ///
    /// # Errors
    /// No node answers, or there is no such topic.
    pub async fn topic(&self, name: &str, create: bool) -> Result<Arc<Topic>, ClientError> {
        if let Some((topic, read_at)) = self.state().topics.get(name)
            && read_at.elapsed() < self.0.config.metadata_age_max
        {
            return Ok(Arc::clone(topic));
        }
        self.topic_now(name, create).await
    }

    /// One topic, asked for now.
    ///
    /// # Errors
    /// As [`Client::topic`].
    pub async fn topic_now(&self, name: &str, create: bool) -> Result<Arc<Topic>, ClientError> {
        let (response, _) = self.ask_metadata(Some(&[name]), create).await?;
        let what = || format!("look up topic {name}");
        let Some(topic) = response.topics.first() else {
            return Err(ClientError::refused(what(), ErrorCode::UnknownTopicOrPartition.code()));
        };
        ClientError::check(topic.error_code, None, what)?;
        let topic = Self::read_topic(topic).ok_or_else(|| ClientError::Usage(format!("{name} came without a name")))?;
        Ok(self.remember(topic))
    }

    /// Forgets where the partitions of a topic are: the next use asks again.
    pub fn forget_topic(&self, name: &str) {
        self.state().topics.remove(name);
    }

    fn remember(&self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        self.state().topics.insert(Arc::clone(&topic.name), (Arc::clone(&topic), Instant::now()));
        topic
    }

    fn read_topic(topic: &MetadataResponseTopic<'_>) -> Option<Topic> {
        let nodes = |ids: &[i32]| ids.iter().filter_map(|&id| NodeId::from_wire(id)).collect();
        let mut partitions: Vec<Partition> = topic
            .partitions
            .iter()
            .filter_map(|partition| {
                Some(Partition {
                    index: PartitionIndex::from_wire(partition.partition_index)?,
                    leader: NodeId::from_wire(partition.leader_id),
                    leader_epoch: types::LeaderEpoch::from_wire(partition.leader_epoch),
                    replicas: nodes(&partition.replica_nodes),
                    isr: nodes(&partition.isr_nodes),
                    offline: nodes(&partition.offline_replicas),
                })
            })
            .collect();
        partitions.sort_by_key(|partition| partition.index);
        Some(Topic {
            name: topic.name.as_deref()?.into(),
            id: (!topic.topic_id.is_zero()).then_some(topic.topic_id),
            internal: topic.is_internal,
            partitions,
        })
    }

    async fn ask_metadata(
        &self,
        topics: Option<&[&str]>,
        create: bool,
    ) -> Result<(MetadataResponse<'static>, Connection), ClientError> {
        self.retry(|| async {
            let connection = self.any().await?;
            let version = connection.version(ApiKey::Metadata)?;
            let named =
                |name: &&str| MetadataRequestTopic { name: Some((*name).to_owned().into()), ..Default::default() };
            let topics = match topics {
                Some(names) => Some(names.iter().map(named).collect()),
                // In version 0 an empty list means all.
                None if version == 0 => Some(Vec::new()),
                None => None,
            };
            let request =
                MetadataRequest { topics, allow_auto_topic_creation: create || version < 4, ..Default::default() };
            let response = connection.send(&request, version).await?.response().await?;
            ClientError::check(response.error_code, None, || "ask for metadata".to_owned())?;
            self.learn(&response);
            Ok((response, connection))
        })
        .await
    }

    fn learn(&self, response: &MetadataResponse<'_>) {
        let mut state = self.state();
        let nodes: BTreeMap<NodeId, Node> = response
            .brokers
            .iter()
            .filter_map(|node| {
                let id = NodeId::from_wire(node.node_id)?;
                let host = if node.host.contains(':') { format!("[{}]", node.host) } else { node.host.to_string() };
                let rack = node.rack.as_deref().map(str::to_owned);
                Some((id, Node { id, address: format!("{host}:{}", node.port), rack }))
            })
            .collect();
        let moved = |id: &NodeId, connection: &Connection| {
            nodes.get(id).is_some_and(|node| node.address == connection.address()) && connection.is_open()
        };
        state.connections.retain(|id, connection| moved(id, connection));
        state.nodes = nodes;
        state.controller = NodeId::from_wire(response.controller_id);
    }

    /// A connection to some node: one that is open, else a new one.
    ///
    /// # Errors
    /// No node answers.
    pub async fn any(&self) -> Result<Connection, ClientError> {
        let mut addresses: Vec<String> = {
            let state = self.state();
            if let Some(open) = state.bootstrap.iter().chain(state.connections.values()).find(|each| each.is_open()) {
                return Ok(open.clone());
            }
            state.nodes.values().map(|node| node.address.clone()).collect()
        };
        for address in self.0.config.bootstrap.iter().filter(|address| !address.is_empty()) {
            // Nobody is waited for twice.
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let mut last = None;
        for address in addresses {
            match Connection::open(&address, &self.0.config.connection).await {
                Ok(connection) => {
                    self.state().bootstrap = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| ClientError::Usage("no address to connect to".to_owned())))
    }

    /// A connection to one node.
    ///
    /// # Errors
    /// The node is not known or does not answer.
    pub async fn node(&self, id: NodeId) -> Result<Connection, ClientError> {
        let address = {
            let state = self.state();
            if let Some(open) = state.connections.get(&id).filter(|connection| connection.is_open()) {
                return Ok(open.clone());
            }
            state.nodes.get(&id).map(|node| node.address.clone())
        };
        let Some(address) = address else {
            return Err(ClientError::refused(format!("connect to node {id}"), ErrorCode::BrokerNotAvailable.code()));
        };
        let connection = Connection::open(&address, &self.0.config.connection).await?;
        self.state().connections.insert(id, connection.clone());
        Ok(connection)
    }

    /// A connection of the caller's own to one node, for callers that wait long on it (fetches).
    ///
    /// # Errors
    /// As [`Client::node`].
    pub async fn node_apart(&self, id: NodeId) -> Result<Connection, ClientError> {
        let address = self.state().nodes.get(&id).map(|node| node.address.clone());
        let Some(address) = address else { return self.node(id).await };
        Connection::open(&address, &self.0.config.connection).await
    }

    /// A connection to the node that takes administrative requests: the controller, or any node of a cluster that
    /// does not name it.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn controller(&self) -> Result<Connection, ClientError> {
        let controller = self.state().controller;
        match controller {
            Some(id) => self.node(id).await,
            None => self.any().await,
        }
    }

    /// The leader of a partition.
    ///
    /// # Errors
    /// The topic or partition does not exist, or has no leader now.
    pub async fn leader(&self, topic: &str, partition: PartitionIndex) -> Result<NodeId, ClientError> {
        let read = self.topic(topic, false).await?;
        let what = || format!("find the leader of {topic}-{partition}");
        match read.partitions.iter().find(|each| each.index == partition) {
            Some(Partition { leader: Some(leader), .. }) => Ok(*leader),
            Some(_) => {
                self.forget_topic(topic);
                Err(ClientError::refused(what(), ErrorCode::LeaderNotAvailable.code()))
            }
            None => Err(ClientError::refused(what(), ErrorCode::UnknownTopicOrPartition.code())),
        }
    }

    /// A connection to the coordinator of a group or transactional id.
    ///
    /// # Errors
    /// It cannot be found within the retry timeout.
    pub async fn coordinator(&self, kind: CoordinatorKind, key: &str) -> Result<Connection, ClientError> {
        let known = self.state().coordinators.get(&(kind, key.to_owned())).copied();
        if let Some(id) = known {
            if let Ok(connection) = self.node(id).await {
                return Ok(connection);
            }
            self.forget_coordinator(kind, key);
        }
        self.retry(|| async {
            let connection = self.any().await?;
            let version = connection.version(ApiKey::FindCoordinator)?;
            let mut request = FindCoordinatorRequest { key_type: kind as i8, ..Default::default() };
            if version < 4 {
                request.key = key.into();
            } else {
                request.coordinator_keys = vec![key.into()];
            }
            let mut response = connection.send(&request, version).await?.response().await?;
            let what = || format!("find the coordinator of {key}");
            let (id, code, message) = match response.coordinators.pop() {
                Some(found) => (found.node_id, found.error_code, found.error_message),
                None => (response.node_id, response.error_code, response.error_message),
            };
            ClientError::check(code, message.as_deref(), what)?;
            let Some(id) = NodeId::from_wire(id) else {
                return Err(ClientError::refused(what(), ErrorCode::CoordinatorNotAvailable.code()));
            };
            if !self.state().nodes.contains_key(&id) {
                Box::pin(self.cluster()).await?;
            }
            let connection = self.node(id).await?;
            self.state().coordinators.insert((kind, key.to_owned()), id);
            Ok(connection)
        })
        .await
    }

    /// The coordinators of many groups or transactional ids, asked for in one request where the cluster can be (KIP-699).
    ///
    /// # Errors
    /// One cannot be found within the retry timeout.
    pub async fn coordinators(
        &self,
        kind: CoordinatorKind,
        keys: &[String],
    ) -> Result<BTreeMap<NodeId, Vec<String>>, ClientError> {
        self.retry(|| async {
            let unknown: Vec<&String> = {
                let state = self.state();
                keys.iter().filter(|key| !state.coordinators.contains_key(&(kind, (*key).clone()))).collect()
            };
            if !unknown.is_empty() {
                let connection = self.any().await?;
                let version = connection.version(ApiKey::FindCoordinator)?;
                if version < 4 {
                    for key in unknown {
                        self.coordinator(kind, key).await?;
                    }
                } else {
                    let coordinator_keys = unknown.iter().map(|key| key.as_str().into()).collect();
                    let request =
                        FindCoordinatorRequest { key_type: kind as i8, coordinator_keys, ..Default::default() };
                    let response = connection.send(&request, version).await?.response().await?;
                    for found in response.coordinators {
                        let what = || format!("find the coordinator of {}", found.key);
                        ClientError::check(found.error_code, found.error_message.as_deref(), what)?;
                        let Some(id) = NodeId::from_wire(found.node_id) else {
                            return Err(ClientError::refused(what(), ErrorCode::CoordinatorNotAvailable.code()));
                        };
                        self.state().coordinators.insert((kind, found.key.into_owned()), id);
                    }
                }
            }
            let state = self.state();
            let mut by_node: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
            for key in keys {
                let Some(id) = state.coordinators.get(&(kind, key.clone())) else {
                    let what = format!("find the coordinator of {key}");
                    return Err(ClientError::refused(what, ErrorCode::CoordinatorNotAvailable.code()));
                };
                by_node.entry(*id).or_default().push(key.clone());
            }
            Ok(by_node)
        })
        .await
    }

    /// Forgets a coordinator: it said that it is none any more.
    pub fn forget_coordinator(&self, kind: CoordinatorKind, key: &str) {
        self.state().coordinators.remove(&(kind, key.to_owned()));
    }

    /// Does `work` again while it fails with something that may pass, until `retry_timeout`.
    ///
    /// # Errors
    /// The last one of `work`.
    pub async fn retry<T, W>(&self, mut work: impl FnMut() -> W) -> Result<T, ClientError>
    where
        W: Future<Output = Result<T, ClientError>>,
    {
        let deadline = Instant::now() + self.0.config.retry_timeout;
        let mut backoff = RETRY_BACKOFF_MIN;
        loop {
            match work().await {
                // Nobody listening is an answer too: a person who mistyped a port should not wait.
                Err(error @ ClientError::Connect { .. }) if self.state().nodes.is_empty() => return Err(error),
                Err(error) if error.is_retriable() && Instant::now() + backoff < deadline => {
                    sleep(backoff).await;
                    backoff = (2 * backoff).min(RETRY_BACKOFF_MAX);
                }
                outcome => return outcome,
            }
        }
    }
}
