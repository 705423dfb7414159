//! What all threads of a node share: settings, doors to one another, and counters. Immutable or atomic; no locks on the
//! data path.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use shard::{Mailboxes, MemoryBudget};
use tokio::sync::oneshot;
use types::ShardId;

use crate::config::{Config, ConnectionLimits, Endpoint};
use crate::control::ControlHandle;
use crate::lag::Lags;
use crate::log_dirs::LogDir;
use crate::mail::{Mail, PartitionKey};
use crate::metrics::{ConnectionRefusal, Metrics};
use crate::shard_state::ShardState;

/// Shared by every thread of a node.
pub(crate) struct NodeShared {
    pub(crate) config: Arc<Config>,
    pub(crate) cluster_id: Arc<str>,
    pub(crate) shards: u16,
    /// Where clients reach this node, one per listener, with the ports it really got.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) log_dirs: Arc<[Arc<LogDir>]>,
    pub(crate) control: ControlHandle,
    pub(crate) connections: Connections,
    pub(crate) offline: Offline,
    pub(crate) metrics: Metrics,
    pub(crate) lags: Lags,
    /// The ways to the shards, for who is none of them.
    pub(crate) mailboxes: Mailboxes<Mail>,
    /// What requests of the whole node may hold in memory.
    pub(crate) memory: MemoryBudget,
    /// Descriptors of log files that one shard may hold.
    pub(crate) files_open_max: usize,
}

/// How long the control thread waits before it tries a full mailbox again.
const MAILBOX_RETRY: Duration = Duration::from_millis(1);

impl NodeShared {
    /// Runs `job` on a shard and waits for what it returns, from a thread that is none. `None`: the shard has ended.
    ///
    /// The shard does nothing else meanwhile, so a job does a bounded piece of work: whoever wants more asks again.
    pub(crate) async fn ask<R: Send + 'static>(
        &self,
        shard: ShardId,
        job: impl FnOnce(&Rc<ShardState>) -> R + Send + 'static,
    ) -> Option<R> {
        let (sender, answer) = oneshot::channel();
        // Whoever asked may be gone.
        let mut letter = Mail::Run(Box::new(move |state| drop(sender.send(job(state)))));
        while let Err(back) = self.mailboxes.send(shard, letter) {
            if self.mailboxes.is_closed(shard) {
                return None;
            }
            letter = back;
            tokio::time::sleep(MAILBOX_RETRY).await;
        }
        answer.await.ok()
    }

    /// Every shard's number.
    pub(crate) fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId::new)
    }
}

/// Partitions whose logs could not be opened, with the reason that clients are told.
#[derive(Default)]
pub(crate) struct Offline {
    any: AtomicBool,
    reasons: RwLock<HashMap<PartitionKey, String>>,
}

impl Offline {
    pub(crate) fn add(&self, key: PartitionKey, reason: String) {
        self.reasons.write().expect("never held across a panic").insert(key, reason);
        self.any.store(true, Ordering::Release);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.reasons.read().expect("never held across a panic").len()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<(PartitionKey, String)> {
        let reasons = self.reasons.read().expect("never held across a panic");
        reasons.iter().map(|(key, reason)| (*key, reason.clone())).collect()
    }

    pub(crate) fn reason(&self, key: PartitionKey) -> Option<String> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.reasons.read().expect("never held across a panic").get(&key).cloned()
    }
}

/// How many connections there are: in all, from each address, on each shard.
pub(crate) struct Connections {
    /// What the limit of open files leaves for connections.
    descriptors_max: usize,
    by_ip: RwLock<HashMap<IpAddr, u32>>,
    total: AtomicUsize,
    by_shard: Vec<AtomicUsize>,
}

impl Connections {
    pub(crate) fn new(shards: u16, descriptors_max: usize) -> Self {
        Self {
            descriptors_max,
            by_ip: RwLock::default(),
            total: AtomicUsize::new(0),
            by_shard: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Counts an accepted connection in.
    ///
    /// # Errors
    /// Why it is refused; it is not counted then.
    pub(crate) fn opened(
        &self,
        peer: &SocketAddr,
        limits: &ConnectionLimits,
    ) -> Result<(), (ConnectionRefusal, String)> {
        let ip = peer.ip();
        let mut by_ip = self.by_ip.write().expect("never held across a panic");
        if self.total.load(Ordering::Relaxed) >= limits.total_max as usize {
            let reason = format!("{} connections may be open (max.connections)", limits.total_max);
            return Err((ConnectionRefusal::Total, reason));
        }
        if self.total.load(Ordering::Relaxed) >= self.descriptors_max {
            let reason = format!(
                "{} connections are open, and the limit of open files leaves no descriptor for more: raise it (ulimit -n, \
                 LimitNOFILE)",
                self.descriptors_max
            );
            return Err((ConnectionRefusal::Descriptors, reason));
        }
        let max = limits.per_ip_overrides.get(&ip).copied().unwrap_or(limits.per_ip_max);
        let from_ip = by_ip.entry(ip).or_insert(0);
        if *from_ip >= max {
            let reason = format!("{max} connections from {ip} may be open (max.connections.per.ip)");
            return Err((ConnectionRefusal::PerIp, reason));
        }
        *from_ip += 1;
        self.total.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Counts a connection out.
    pub(crate) fn closed(&self, peer: &SocketAddr) {
        let mut by_ip = self.by_ip.write().expect("never held across a panic");
        if let Some(from_ip) = by_ip.get_mut(&peer.ip()) {
            *from_ip -= 1;
            if *from_ip == 0 {
                by_ip.remove(&peer.ip());
            }
        }
        self.total.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many connections `shard` holds now.
    pub(crate) fn count(&self, shard: ShardId, connections: usize) {
        self.by_shard[shard.index()].store(connections, Ordering::Relaxed);
    }

    /// The shard with the fewest connections, which gets one more.
    pub(crate) fn least_busy(&self) -> ShardId {
        let busiest = self.by_shard.iter().enumerate().min_by_key(|(_, count)| count.load(Ordering::Relaxed));
        let index = busiest.map_or(0, |(index, _)| index);
        self.by_shard[index].fetch_add(1, Ordering::Relaxed);
        ShardId::new(index as u16)
    }

    /// How many there are.
    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}
