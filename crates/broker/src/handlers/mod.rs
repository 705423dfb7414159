//! One file per Kafka API: what it answers, in every version served.
//!
//! A handler is `async fn handle(state, request) -> Handled`: it decodes, asks the image, a partition's home or the
//! control thread, and returns its reply. Produce and Fetch, which must not wait for each other, are in
//! [`crate::produce`] and [`crate::fetch`].

use std::rc::Rc;

use wire::ApiKey;

use crate::request::{Handled, HandlerFault, Request};
use crate::shard_state::ShardState;

mod admin;

macro_rules! handlers {
    ($($key:ident => $module:ident),+ $(,)?) => {
        $(pub(crate) mod $module;)+

        /// The APIs with a handler here.
        const HANDLED: &[ApiKey] = &[$(ApiKey::$key),+];

        /// Answers a request of any API but Produce and Fetch.
        pub(crate) async fn handle(state: &Rc<ShardState>, request: Request) -> Handled {
            match request.api() {
                $(ApiKey::$key => $module::handle(state, request).await,)+
                other => Err(HandlerFault(format!("{other} has no handler"))),
            }
        }
    };
}

handlers! {
    AlterConfigs => alter_configs,
    ApiVersions => api_versions,
    CreatePartitions => create_partitions,
    CreateTopics => create_topics,
    DeleteGroups => delete_groups,
    DeleteRecords => delete_records,
    DeleteTopics => delete_topics,
    DescribeCluster => describe_cluster,
    DescribeConfigs => describe_configs,
    DescribeGroups => describe_groups,
    DescribeLogDirs => describe_log_dirs,
    DescribeProducers => describe_producers,
    DescribeQuorum => describe_quorum,
    DescribeTopicPartitions => describe_topic_partitions,
    FindCoordinator => find_coordinator,
    Heartbeat => heartbeat,
    IncrementalAlterConfigs => incremental_alter_configs,
    InitProducerId => init_producer_id,
    JoinGroup => join_group,
    LeaveGroup => leave_group,
    ListConfigResources => list_config_resources,
    ListGroups => list_groups,
    ListOffsets => list_offsets,
    Metadata => metadata,
    OffsetCommit => offset_commit,
    OffsetDelete => offset_delete,
    OffsetFetch => offset_fetch,
    OffsetForLeaderEpoch => offset_for_leader_epoch,
    SyncGroup => sync_group,
}

/// Whether this node answers `api` at all. What it does not answer, it does not announce.
pub(crate) fn is_built(api: ApiKey) -> bool {
    matches!(api, ApiKey::Produce | ApiKey::Fetch) || HANDLED.contains(&api)
}

/// What everyone may do with a topic while there are no ACLs, as a bit field of Kafka's operation codes: Read (3),
/// Write (4), Create (5), Delete (6), Alter (7), Describe (8), DescribeConfigs (10), AlterConfigs (11).
pub(crate) const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// The same for the cluster: Create (5), Alter (7), Describe (8), ClusterAction (9), DescribeConfigs (10),
/// AlterConfigs (11), IdempotentWrite (12).
pub(crate) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
