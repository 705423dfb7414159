//! The page `/debug/bundle`: everything that helps somebody far away to see what is wrong with a node, as one JSON document.
//! Settings that are secrets are left out, records are never in it.
//!
//! Bounded: at most [`BUNDLE_PARTITIONS_MAX`] partitions and as many topics (it says how many are left out), the last
//! [`types::limits::LOG_LINES_KEPT_MAX`] lines of the log, one page of metrics.

use std::sync::Arc;

use quorum::ConfigResource;
use serde_json::{Value, json};
use types::limits::BUNDLE_PARTITIONS_MAX;
use types::{NodeId, ShardId};

use crate::config::{DescribeOptions, DynamicOverrides, describe_broker};
use crate::http::KAFKA_VERSION;
use crate::node::NodeShared;
use crate::scrape::{self, PartitionFacts};
use crate::{preflight, recent_log};

/// Rows put together before the control thread looks after others.
const ROWS_AT_ONCE: usize = 512;

/// The document; `stage` is what `/health/ready` says.
pub(crate) async fn document(node: &Arc<NodeShared>, stage: &str) -> Value {
    let config = Arc::clone(&node.config);
    // It asks the kernel this and that, and may wait for it.
    let findings = tokio::task::spawn_blocking(move || {
        let facts = preflight::facts(&config, false);
        let kernel = facts.kernel.as_ref().map_or_else(ToString::to_string, |kernel| kernel.release.clone());
        (kernel, preflight::judge(&config, &facts))
    });
    let (kernel, findings) = findings.await.unwrap_or_default();
    let partitions = scrape::partitions(node).await;
    let now = shard::clock::read().wall.millis();
    json!({
        "schema": "debug.bundle",
        "version": 1,
        "made_at": jiff::Timestamp::from_millisecond(now).unwrap_or_default().to_string(),
        "versions": { "ringlog": env!("CARGO_PKG_VERSION"), "kafka": KAFKA_VERSION, "linux": kernel },
        "node": {
            "id": node.config.node_id.value(),
            "cluster_id": &*node.cluster_id,
            "stage": stage,
            "shards": node.shards,
            "connections": node.connections.total(),
            "endpoints": node.endpoints.iter().map(|endpoint| {
                json!({ "listener": endpoint.listener, "host": endpoint.host, "port": endpoint.port })
            }).collect::<Vec<_>>(),
        },
        "preflight": findings.iter().map(|finding| json!({
            "check": finding.check,
            "severity": finding.severity.word(),
            "found": finding.found,
            "cure": finding.cure,
        })).collect::<Vec<_>>(),
        "metadata": metadata(node).await,
        "log_dirs": log_dirs(node),
        "partitions_offline": node.offline.all().iter().map(|(key, reason)| json!({
            "topic_id": key.topic.to_string(),
            "partition": key.partition.value(),
            "reason": reason,
        })).collect::<Vec<_>>(),
        "partitions_left_out": partitions.len().saturating_sub(BUNDLE_PARTITIONS_MAX),
        "partitions": rows(&partitions[..partitions.len().min(BUNDLE_PARTITIONS_MAX)], partition).await,
        "metrics": scrape::page_of(node, &partitions, stage).await,
        "log": recent_log::recent(),
    })
}

async fn rows<T>(all: &[T], row: fn(&T) -> Value) -> Vec<Value> {
    let mut rows = Vec::with_capacity(all.len());
    for some in all.chunks(ROWS_AT_ONCE) {
        rows.extend(some.iter().map(row));
        tokio::task::yield_now().await;
    }
    rows
}

fn partition(facts: &PartitionFacts) -> Value {
    json!({
        "topic": &*facts.name.topic,
        "partition": facts.name.partition.value(),
        "shard": facts.shard,
        "log_dir": facts.log_dir,
        "leader_epoch": facts.leader_epoch,
        "log_start": facts.log_start.value(),
        "last_stable": facts.last_stable.value(),
        "high_watermark": facts.high_watermark.value(),
        "log_end": facts.log_end.value(),
        "recovery_point": facts.recovery_point.value(),
        "size_bytes": facts.size_bytes,
        "unsynced_bytes": facts.unsynced_bytes,
        "queued_bytes": facts.queued_bytes,
        "segments": facts.segments,
        "replies_waiting": facts.waiting,
        "refuses": facts.refuses,
    })
}

/// Metadata as shard 0 sees it: brokers, topics with what was set on them, and the settings of this node.
async fn metadata(node: &Arc<NodeShared>) -> Value {
    let Some(image) = node.ask(ShardId::new(0), |state| Arc::clone(&state.image())).await else { return Value::Null };
    let overrides = DynamicOverrides::of(&image, node.config.node_id);
    let config = describe_broker(&node.config, overrides.as_dynamic(), DescribeOptions::default());
    let topics = image.topics().take(BUNDLE_PARTITIONS_MAX).map(|topic| {
        let configs = image.configs(&ConfigResource::Topic(Arc::clone(&topic.name)));
        let configs = configs.into_iter().flat_map(|configs| configs.iter());
        json!({
            "name": &*topic.name,
            "id": topic.id.to_string(),
            "partitions": topic.partitions.len(),
            "configs": configs.map(|(name, value)| (name.to_string(), json!(&**value))).collect::<serde_json::Map<_, _>>(),
        })
    });
    let topics: Vec<Value> = topics.collect();
    let status = node.control.quorum();
    json!({
        "quorum": {
            "leader": status.leader.map(NodeId::value),
            "epoch": status.epoch.value(),
            "high_watermark": status.high_watermark.value(),
            "log_end": status.log_end.value(),
        },
        "brokers": image.brokers().map(|broker| json!({ "id": broker.node.value(), "epoch": broker.epoch.value() })).collect::<Vec<_>>(),
        "topics_left_out": image.topics().count() - topics.len(),
        "topics": topics,
        "config": config.iter().map(|row| json!({
            "name": row.name,
            "value": row.value,
            "secret": row.sensitive,
            "source": format!("{:?}", row.source),
        })).collect::<Vec<_>>(),
    })
}

fn log_dirs(node: &NodeShared) -> Vec<Value> {
    let row = |dir: &Arc<crate::log_dirs::LogDir>| {
        let space = shard::probe::space(&dir.path).ok();
        json!({
            "path": dir.path.display().to_string(),
            "id": dir.id.to_string(),
            "total_bytes": space.map(|space| space.total_bytes),
            "free_bytes": space.map(|space| space.free_bytes),
            "reserve_bytes": space.map(|space| dir.reserve_bytes(node.config.disk_reserve_bytes, space)),
            "partitions": dir.partitions(),
            "refuses_produce": dir.refusal(),
            "poisoned": dir.is_poisoned(),
        })
    };
    node.log_dirs.iter().map(row).collect()
}
