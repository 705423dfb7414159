//! A node from start to stop.
//!
//! ```text
//!  log dirs locked ─► ports bound ─► control thread: metadata log recovered, node registered ─► shards: partitions
//!  recovered ─► connections accepted ─► ... ─► no new connections ─► parked requests answered ─► logs closed ─► control stops
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

use shard::{BoundListener, Listener, ListenerOptions, Mailboxes, MemoryBudget, ShardHandle, ShardSpec};
use tokio::sync::{oneshot, watch};
use types::limits::OTHER_DESCRIPTORS_MAX;
use types::{ShardId, TopicId, TopicPartition};

use crate::config::{AppendBackend, Config, Endpoint};
use crate::connection::ConnectionOrigin;
use crate::control::{self, Control, ControlSpec};
use crate::http::{Http, Patience};
use crate::log_dirs::{LogDir, LogDirError};
use crate::mail::Mail;
use crate::meta_properties;
use crate::metrics::Metrics;
use crate::node::{Connections, NodeShared, Offline};
use crate::shard_state::ShardState;

/// Why a node does not start; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A log directory cannot be used.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// A listener's host cannot be resolved or its port cannot be had.
    #[error("listener {listener}: {reason}")]
    Listener {
        /// As configured.
        listener: String,
        /// What happened and what to do.
        reason: String,
    },
    /// A shard cannot be started.
    #[error("shard {shard} cannot start: {source}")]
    Shard {
        /// Which.
        shard: ShardId,
        /// The system's answer, with its cure.
        source: io::Error,
    },
    /// The metadata log or the control thread cannot be started.
    #[error("metadata: {0}")]
    Control(String),
}

/// What a node found and uses, for people.
#[derive(Clone, Debug)]
pub struct StartReport {
    /// How many shards.
    pub shards: u16,
    /// Where clients reach it, per listener.
    pub endpoints: Vec<Endpoint>,
    /// The addresses it listens on.
    pub listening: Vec<SocketAddr>,
    /// Where it serves metrics and health, if it does.
    pub http: Option<SocketAddr>,
    /// The cluster's id.
    pub cluster_id: String,
    /// Partitions opened.
    pub partitions: usize,
    /// Of these, recovered by reading because their log was not closed cleanly.
    pub partitions_recovered: usize,
    /// Bytes that recovery read.
    pub recovered_bytes: u64,
    /// Partitions that stay offline, with the reason.
    pub offline: Vec<String>,
    /// How long the start took.
    pub took_ms: u64,
}

/// A running node.
pub struct Node {
    shards: Vec<ShardHandle>,
    ends: Vec<oneshot::Sender<()>>,
    mailboxes: Mailboxes<Mail>,
    control: Option<Control>,
    shared: Arc<NodeShared>,
    http: Arc<Http>,
    report: StartReport,
}

type Found = BTreeMap<TopicPartition, (Arc<LogDir>, Option<TopicId>)>;

#[derive(Default)]
struct Opened {
    partitions: usize,
    recovered: usize,
    bytes: u64,
    offline: Vec<String>,
}

/// Starts a node: returns when clients can connect. Blocks the calling thread meanwhile.
///
/// # Errors
/// See [`StartError`]. Nothing runs then.
pub fn start(config: Config) -> Result<Node, StartError> {
    let began = Instant::now();
    let config = Arc::new(config);
    // More descriptors than the soft limit are ours to take; if not, the bound below is lower.
    let files = shard::probe::raise_open_files().or_else(|_| shard::probe::open_files());
    let files_open_max = files.ok().and_then(|limit| limit.soft).unwrap_or(1024) as usize;
    let (cluster_id, log_dirs) = meta_properties::open_log_dirs(&config)?;
    let mut found = Found::new();
    for dir in log_dirs.iter() {
        for (partition, id) in dir.scan()? {
            if let Some((other, _)) = found.get(&partition) {
                let reason =
                    format!("{partition} lies here and in {} too: move one of the two away", other.path.display());
                return Err(LogDirError::Foreign { path: dir.path.clone(), reason }.into());
            }
            found.insert(partition, (Arc::clone(dir), id));
        }
    }
    let shards = shard_count(&config);
    let (receivers, mailboxes) = shard::mailboxes::<Mail>(shards)
        .map_err(|error| StartError::Control(format!("no descriptors for the shards' mailboxes: {error}")))?;
    let sockets = bind(&config)?;
    let http_socket = config.http_listener.as_deref().map(Http::bind).transpose().map_err(|error| {
        StartError::Listener { listener: "ringlog.http.listener".to_owned(), reason: error.to_string() }
    })?;
    let listening: Vec<SocketAddr> = sockets.iter().map(|(_, _, address)| *address).collect();
    let endpoints = advertise(&config, &listening);
    let control = control::start(ControlSpec {
        config: Arc::clone(&config),
        log_dirs: Arc::clone(&log_dirs),
        cluster_id: Arc::clone(&cluster_id),
        endpoints: endpoints.clone(),
        mailboxes: mailboxes.clone(),
        shards,
    })?;
    let http = Arc::new(Http::default());
    let mut http_address = None;
    if let Some(socket) = http_socket {
        http_address = socket.local_addr().ok();
        let http = Arc::clone(&http);
        control.host(async move {
            if let Err(error) = http.serve(socket, Patience::default()).await {
                tracing::error!(%error, "HTTP is not served any more");
            }
        });
    }
    for dir in log_dirs.iter() {
        let image = &control.image;
        dir.put_strays_aside(|partition, id| {
            &*partition.topic == quorum::image::CLUSTER_METADATA_TOPIC
                || image.topic(&partition.topic).is_some_and(|topic| {
                    id.is_none_or(|id| id == topic.id) && topic.partition(partition.partition).is_some()
                })
        })?;
    }
    let shared = Arc::new(NodeShared {
        connections: Connections::new(shards, connection_descriptors(files_open_max)),
        config: Arc::clone(&config),
        cluster_id: Arc::clone(&cluster_id),
        shards,
        endpoints: endpoints.clone(),
        metrics: Metrics::new(shards, log_dirs.len()),
        lags: crate::lag::Lags::default(),
        log_dirs,
        control: control.handle.clone(),
        offline: Offline::default(),
        mailboxes: mailboxes.clone(),
        memory: MemoryBudget::new(memory_bytes_max(&config)),
        files_open_max: (files_open_max / 2 / usize::from(shards)).max(64),
    });
    let found = Arc::new(found);
    let opened = Arc::new(Mutex::new(Opened::default()));
    let (ready_sender, ready) = mpsc::channel::<Result<(), (ShardId, io::Error)>>();
    let (serving_sender, serving) = watch::channel(false);
    let mut handles = Vec::new();
    let mut ends = Vec::new();
    let cpus = shard::probe::cpus().unwrap_or_default();
    let mut sockets = Some(sockets);
    for (index, receiver) in receivers.into_iter().enumerate() {
        let id = ShardId::new(index as u16);
        let mut spec = ShardSpec::new(id);
        // One shard per CPU: each has its own. Fewer shards float, as somebody else may want the CPUs.
        spec.core = (cpus.len() == usize::from(shards)).then(|| cpus[index]);
        spec.backend = match config.append_backend {
            AppendBackend::Ring => shard::AppendBackend::Ring,
            AppendBackend::Inline => shard::AppendBackend::Inline,
        };
        spec.stats = Arc::clone(&shared.metrics.shard(id).runtime);
        let (end, ended) = oneshot::channel();
        ends.push(end);
        let sockets = if index == 0 { sockets.take() } else { None };
        let (shared, found, opened) = (Arc::clone(&shared), Arc::clone(&found), Arc::clone(&opened));
        let (image, ready_sender) = (Arc::clone(&control.image), ready_sender.clone());
        let mut serving = serving.clone();
        let handle = shard::spawn(spec, receiver, move |runtime| async move {
            let started = (|| {
                let state = ShardState::start(shared, runtime, image)?;
                open(&state, &found, &opened);
                state.run()?;
                io::Result::Ok(state)
            })();
            let state = match started {
                Ok(state) => state,
                Err(error) => return drop(ready_sender.send(Err((id, error)))),
            };
            state.until_ready().await;
            crate::groups::on_start(&state);
            drop(ready_sender.send(Ok(())));
            // The start waits until nobody can report any more.
            drop(ready_sender);
            // A connection may ask for any shard's partitions: it waits for all of them in the listener's backlog.
            if serving.wait_for(|serving| *serving).await.is_err() {
                return;
            }
            for (listener, socket, address) in sockets.into_iter().flatten() {
                match socket.attach() {
                    Ok(socket) => drop(state.runtime.spawn_local(accept(std::rc::Rc::clone(&state), listener, socket))),
                    Err(error) => tracing::error!(%address, %error, "listener lost"),
                }
            }
            // Ends when the node is stopped, or dropped.
            let _ = ended.await;
        })
        .map_err(|source| StartError::Shard { shard: id, source })?;
        handles.push(handle);
    }
    drop(ready_sender);
    for outcome in ready {
        outcome.map_err(|(shard, source)| StartError::Shard { shard, source })?;
    }
    for dir in shared.log_dirs.iter() {
        dir.mark_in_use()?;
    }
    serving_sender.send_replace(true);
    http.set_ready(&shared);
    let opened = std::mem::take(&mut *opened.lock().expect("shards have started"));
    let report = StartReport {
        shards,
        endpoints,
        listening,
        http: http_address,
        cluster_id: cluster_id.to_string(),
        partitions: opened.partitions,
        partitions_recovered: opened.recovered,
        recovered_bytes: opened.bytes,
        offline: opened.offline,
        took_ms: began.elapsed().as_millis() as u64,
    };
    Ok(Node { shards: handles, ends, mailboxes, control: Some(control), shared, http, report })
}

fn open(state: &std::rc::Rc<ShardState>, found: &Found, opened: &Mutex<Opened>) {
    let mut here = Opened::default();
    state.open_partitions(found, &mut |partition, outcome| match outcome {
        Ok(report) => {
            here.partitions += 1;
            here.bytes += report.bytes_read;
            if !report.clean {
                here.recovered += 1;
            }
            for note in &report.notes {
                tracing::warn!(%partition, note, "recovered");
            }
        }
        Err(fault) => {
            tracing::error!(%partition, %fault, "partition stays offline");
            here.offline.push(format!("{partition}: {fault}"));
        }
    });
    let mut all = opened.lock().expect("held for a moment");
    all.partitions += here.partitions;
    all.recovered += here.recovered;
    all.bytes += here.bytes;
    all.offline.extend(here.offline);
}

impl Node {
    /// What it found and uses.
    #[must_use]
    pub fn report(&self) -> &StartReport {
        &self.report
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.total()
    }

    /// Whether a shard has ended by itself, which only a failure of ours can do.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shards.iter().any(ShardHandle::is_finished)
    }

    /// Stops: no new connections, parked requests answered, logs flushed and closed with their clean markers. Blocks the
    /// calling thread until all is on disk.
    pub fn stop(mut self) {
        self.http.set_stopping();
        let mut stopping = Vec::new();
        for handle in &self.shards {
            let (stopped, done) = oneshot::channel();
            if self.mailboxes.send_waiting(handle.id(), Mail::Stop { stopped }).is_ok() {
                stopping.push(done);
            }
        }
        // A shard that is gone has closed nothing.
        let mut all_closed = stopping.len() == self.shards.len();
        for done in stopping {
            all_closed &= done.blocking_recv().unwrap_or(false);
        }
        if let Some(control) = self.control.take() {
            control.stop();
        }
        for end in self.ends.drain(..) {
            let _ = end.send(());
        }
        for handle in self.shards.drain(..) {
            if let Err(error) = handle.join() {
                tracing::error!(%error, "a shard did not end well");
                all_closed = false;
            }
        }
        if all_closed {
            for dir in self.shared.log_dirs.iter() {
                if let Err(error) = dir.mark_clean() {
                    tracing::warn!(%error, "the clean stop is not noted");
                }
            }
        }
    }
}

/// Descriptors for connections: half of them are for log files, so that neither takes the other's, and some for the rest.
fn connection_descriptors(files_open_max: usize) -> usize {
    (files_open_max / 2).saturating_sub(OTHER_DESCRIPTORS_MAX).max(16)
}

/// As many shards as CPUs that may be used, capped by the cgroup's quota, unless it is configured.
fn shard_count(config: &Config) -> u16 {
    if let Some(shards) = config.shards {
        return shards;
    }
    let cpus = shard::probe::cpus().map_or(1, |cpus| cpus.len());
    let quota = shard::probe::cgroup().cpu_quota_milli.map_or(usize::MAX, |milli| (milli as usize).div_ceil(1000));
    u16::try_from(cpus.min(quota).max(1)).unwrap_or(u16::MAX)
}

/// The node's share of the machine's memory or of the cgroup's limit, unless it is configured.
fn memory_bytes_max(config: &Config) -> u64 {
    let machine = shard::probe::memory_bytes().unwrap_or(1 << 30);
    config.memory_budget_bytes(shard::probe::cgroup().memory_bytes_max.map_or(machine, |limit| limit.min(machine)))
}

type Bound = (Arc<str>, BoundListener, SocketAddr);

fn bind(config: &Config) -> Result<Vec<Bound>, StartError> {
    let options = ListenerOptions {
        send_buffer_bytes: config.socket_send_buffer_bytes,
        receive_buffer_bytes: config.socket_receive_buffer_bytes,
    };
    let mut bound = Vec::new();
    for listener in &config.listeners {
        let fault = |reason: String| StartError::Listener {
            listener: format!("{}://{}:{}", listener.name, listener.host, listener.port),
            reason,
        };
        let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
        let address = (host, listener.port)
            .to_socket_addrs()
            .map_err(|error| fault(format!("{host} cannot be resolved: {error}. Name an address of this machine")))?
            .next()
            .ok_or_else(|| fault(format!("{host} has no address. Name an address of this machine")))?;
        let socket = BoundListener::bind(address, options).map_err(|error| fault(error.to_string()))?;
        let address = socket.local_addr().map_err(|error| fault(error.to_string()))?;
        bound.push((Arc::from(listener.name.as_str()), socket, address));
    }
    Ok(bound)
}

/// The advertised addresses; a port of 0 becomes the one that the listener got.
fn advertise(config: &Config, listening: &[SocketAddr]) -> Vec<Endpoint> {
    let mut endpoints = config.advertised.clone();
    for (endpoint, address) in endpoints.iter_mut().zip(listening) {
        if endpoint.port == 0 {
            endpoint.port = address.port();
        }
    }
    endpoints
}

async fn accept(state: std::rc::Rc<ShardState>, listener: Arc<str>, socket: Listener) {
    loop {
        let parts = match socket.accept().await {
            Ok(parts) => parts,
            Err(error) => {
                tracing::error!(%listener, %error, "no connection can be accepted; trying again in 100 ms");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        if state.stopping() {
            return;
        }
        let peer = parts.peer_addr();
        if let Err((cause, reason)) = state.node.connections.opened(&peer, &state.live().connections) {
            state.node.metrics.connection_refused(cause);
            tracing::warn!(cause = cause.label(), %peer, %listener, reason, "connection refused");
            continue;
        }
        state.metrics.connections_accepted.add(1);
        let origin = ConnectionOrigin::new(Arc::clone(&listener), peer);
        let shard = state.node.connections.least_busy();
        if shard == state.id {
            crate::connection::Connection::start(&state, parts, origin);
        } else {
            state.send(shard, Mail::Connection(parts, origin));
        }
    }
}
