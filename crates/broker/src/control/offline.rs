//! The controller without a node around it: for commands that change metadata while the node is stopped.

use std::sync::Arc;

use quorum::controller::{Command, Reply};
use quorum::image::MetadataImage;
use tokio::sync::oneshot;

use super::{ControlCall, ControlSpec, ControlThread};
use crate::config::Config;
use crate::lifecycle::StartError;
use crate::log_dirs::LogDir;
use crate::mail::Mail;

/// Lives on: the calling thread. The metadata log is recovered and the node registered as at a start; each command is on
/// disk when its reply is there.
pub(crate) struct OfflineControl {
    thread: ControlThread,
}

impl OfflineControl {
    /// Takes the lead of the metadata quorum.
    pub(crate) fn start(
        config: &Arc<Config>,
        log_dirs: &Arc<[Arc<LogDir>]>,
        cluster_id: &Arc<str>,
    ) -> Result<Self, StartError> {
        let (_, mailboxes) = shard::mailboxes::<Mail>(1)
            .map_err(|error| StartError::Control(format!("no descriptors for a mailbox: {error}")))?;
        let spec = ControlSpec {
            config: Arc::clone(config),
            log_dirs: Arc::clone(log_dirs),
            cluster_id: Arc::clone(cluster_id),
            endpoints: config.advertised.clone(),
            mailboxes,
            shards: 1,
        };
        Ok(Self { thread: ControlThread::start(spec)?.0 })
    }

    /// Everything committed.
    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(self.thread.node.image())
    }

    /// Decides one command.
    pub(crate) fn command(&mut self, command: Command) -> Result<Reply, StartError> {
        let (reply, mut answer) = oneshot::channel();
        self.thread.submit(ControlCall { command, reply });
        self.thread.work_alone()?;
        answer.try_recv().map_err(|_| StartError::Control("a command was not answered".to_owned()))
    }

    /// Closes the metadata log with its clean marker.
    pub(crate) fn close(mut self) -> Result<(), StartError> {
        let closed = self.thread.log.close(shard::clock::read());
        closed.map_err(|fault| StartError::Control(fault.to_string()))
    }
}
