//! Administration: what can be asked of a cluster and changed in it, a file for each subject; `many` asks the same about
//! many of them at once. Here is how a call finds the node that can answer it.

pub(crate) mod cluster;
pub(crate) mod committed;
pub(crate) mod configs;
pub(crate) mod groups;
pub(crate) mod log_dirs;
pub(crate) mod many;
pub(crate) mod records;
pub(crate) mod topics;

use std::collections::BTreeMap;

use types::{ErrorCode, NodeId, TopicPartition};

use crate::cluster::{Client, CoordinatorKind};
use crate::error::ClientError;

/// Milliseconds that a node may take for an administrative change.
const CHANGE_TIMEOUT_MS: i32 = 30_000;

/// Administrative calls. Each waits until the cluster has done what was asked.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// Administration of the cluster of `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client it uses.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    async fn by_leader(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<NodeId, Vec<TopicPartition>>, ClientError> {
        let mut by_leader: BTreeMap<NodeId, Vec<TopicPartition>> = BTreeMap::new();
        for at in partitions {
            let leader = self.client.leader(&at.topic, at.partition).await?;
            by_leader.entry(leader).or_default().push(at.clone());
        }
        Ok(by_leader)
    }

    async fn at_controller<T, W>(&self, work: impl Fn(crate::Connection) -> W) -> Result<T, ClientError>
    where
        W: Future<Output = Result<T, ClientError>>,
    {
        self.client
            .retry(|| async {
                let outcome = work(self.client.controller().await?).await;
                if outcome.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::NotController)) {
                    self.client.cluster().await?;
                }
                outcome
            })
            .await
    }

    async fn at_coordinator<T, W>(&self, group: &str, work: impl Fn(crate::Connection) -> W) -> Result<T, ClientError>
    where
        W: Future<Output = Result<T, ClientError>>,
    {
        self.client
            .retry(|| async {
                let outcome = work(self.client.coordinator(CoordinatorKind::Group, group).await?).await;
                if outcome.as_ref().is_err_and(ClientError::is_retriable) {
                    self.client.forget_coordinator(CoordinatorKind::Group, group);
                }
                outcome
            })
            .await
    }
}

/// Fails when the node is not the controller (any more), so that the call goes to the right one.
fn controller_moved(code: Option<i16>, what: impl FnOnce() -> String) -> Result<(), ClientError> {
    match code {
        Some(code) if code == ErrorCode::NotController.code() => Err(ClientError::refused(what(), code)),
        _ => Ok(()),
    }
}

/// Partition numbers by topic.
pub(crate) fn by_topic(partitions: &[TopicPartition]) -> BTreeMap<&str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for at in partitions {
        topics.entry(&at.topic).or_default().push(at.partition.value());
    }
    topics
}
