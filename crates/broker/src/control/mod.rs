//! The control thread: the metadata quorum and its log, the controller, and HTTP. It decides rare things and is never
//! on the data path; the planes meet in [`Mail::Image`] (down) and [`ControlHandle`] (across).

use std::sync::Arc;

use quorum::controller::{Command, Reply};
use quorum::image::MetadataImage;
use shard::Mailboxes;
use tokio::sync::{mpsc, oneshot};
use types::{PartitionIndex, TopicId};

use crate::config::{Config, Endpoint};
use crate::lifecycle::StartError;
use crate::log_dirs::LogDir;
use crate::mail::Mail;

/// Calls waiting for the control thread; more wait in their callers.
const CALLS_MAX: usize = 1024;

/// A request to the controller and where its answer goes.
pub(crate) struct ControlCall {
    pub(crate) command: Command,
    pub(crate) reply: oneshot::Sender<Reply>,
}

/// The way to the control thread, from any thread.
#[derive(Clone)]
pub(crate) struct ControlHandle {
    calls: mpsc::Sender<ControlCall>,
    node: types::NodeId,
}

impl ControlHandle {
    /// Asks the controller. The answer comes once its records are committed and every shard has applied them. `None`
    /// when the node stops.
    pub(crate) async fn command(&self, command: Command) -> Option<Reply> {
        let (reply, answer) = oneshot::channel();
        self.calls.send(ControlCall { command, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Asks for a new leader epoch of a partition in which an append failed.
    pub(crate) async fn new_leader_epoch(&self, topic: TopicId, partition: PartitionIndex) {
        let partitions = vec![(topic, partition)];
        let _ = self.command(Command::BumpLeaderEpochs { node: self.node, partitions }).await;
    }
}

/// What the control thread needs to start.
pub(crate) struct ControlSpec {
    pub(crate) config: Arc<Config>,
    pub(crate) log_dirs: Arc<[Arc<LogDir>]>,
    pub(crate) cluster_id: Arc<str>,
    /// Where clients reach this node, with the ports it really got.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) mailboxes: Mailboxes<Mail>,
    pub(crate) shards: u16,
}

/// The running control thread.
pub(crate) struct Control {
    pub(crate) handle: ControlHandle,
    /// The metadata after this node's registration.
    pub(crate) image: Arc<MetadataImage>,
    pub(crate) thread: std::thread::JoinHandle<()>,
}

impl Control {
    pub(crate) fn stop(self) {
        drop(self.handle);
    }
}

// INTERIM, in memory, only to bring the data path up: to be replaced by the quorum node's host.
pub(crate) fn start(spec: ControlSpec) -> Result<Control, StartError> {
    use quorum::controller::{Controller, ControllerOptions, Registration};
    use quorum::image::LogPosition;
    let rules = crate::config::Rules;
    let options = ControllerOptions {
        partitions_default: spec.config.partitions_default as i32,
        replication_factor_default: spec.config.replication_factor_default as i16,
        seed: crate::meta_properties::random().unwrap(),
    };
    let mut controller = Controller::new(MetadataImage::empty(Arc::clone(&spec.cluster_id)), rules, options);
    let mut image = MetadataImage::empty(Arc::clone(&spec.cluster_id));
    let plan = controller.plan(Command::RegisterBroker(Registration {
        node: spec.config.node_id,
        incarnation: [1; 16],
        endpoints: spec
            .endpoints
            .iter()
            .map(|e| quorum::Endpoint {
                listener: e.listener.as_str().into(),
                host: e.host.as_str().into(),
                port: e.port,
                security_protocol: 0,
            })
            .collect(),
        rack: None,
        features: Vec::new(),
        log_dirs: spec.log_dirs.iter().map(|d| d.id).collect(),
    }));
    let mut end = plan.records.len() as i64;
    image = image.apply(&plan.records, LogPosition { end: types::Offset::new(end), ..Default::default() }).unwrap().0;
    image = image.with_controller(Some(spec.config.node_id));
    let (sender, mut receiver) = mpsc::channel::<ControlCall>(CALLS_MAX);
    let first = Arc::new(image.clone());
    let (mailboxes, shards) = (spec.mailboxes.clone(), spec.shards);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            while let Some(call) = receiver.recv().await {
                let mut c = Controller::new(
                    image.clone(),
                    crate::config::Rules,
                    ControllerOptions { seed: crate::meta_properties::random().unwrap(), ..options },
                );
                let plan = c.plan(call.command);
                end += plan.records.len() as i64;
                let (next, changed) = image
                    .apply(&plan.records, LogPosition { end: types::Offset::new(end), ..Default::default() })
                    .unwrap();
                image = next;
                let (shared, changed) = (Arc::new(image.clone()), Arc::new(changed));
                for shard in 0..shards {
                    let (applied, wait) = oneshot::channel();
                    let mail = Mail::Image { image: Arc::clone(&shared), changed: Arc::clone(&changed), applied };
                    let _ = mailboxes.send(types::ShardId::new(shard), mail);
                    let _ = wait.await;
                }
                let _ = call.reply.send(plan.reply);
            }
        });
    });
    Ok(Control { handle: ControlHandle { calls: sender, node: spec.config.node_id }, image: first, thread })
}
