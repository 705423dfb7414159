//! What shards, the control thread and the helpers say to a shard. One closed list of letters; everything that one
//! thread wants of another's partitions or connections is one of these.

use std::rc::Rc;
use std::sync::Arc;

use batch::BatchInfo;
use bytes::BytesMut;
use quorum::image::{ChangedTopics, MetadataImage};
use shard::SocketParts;
use tokio::sync::oneshot;
use types::{Offset, PartitionIndex, ShardId, TopicId};

use crate::connection::ConnectionOrigin;
use crate::fetch::{PartitionFetch, PartitionPlan};
use crate::partition::Acks;
use crate::produce::ProduceOutcome;
use crate::shard_state::ShardState;

/// A partition's name inside a node: cheap to copy, unique over re-creations of a topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct PartitionKey {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionIndex,
}

/// Names a request under way in the shard that holds its connection, and one partition's place in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// Where the connection lives.
    pub(crate) shard: ShardId,
    /// The request, in that shard's table.
    pub(crate) request: RequestToken,
    /// The partition's place in the request.
    pub(crate) part: u32,
}

/// A request under way: a slot of a table and the slot's generation, so that a late answer finds nobody instead of a
/// stranger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RequestToken {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl RequestToken {
    /// As one number, for tables outside that key by it.
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// Back from [`Self::to_u64`].
    pub(crate) fn from_u64(number: u64) -> Self {
        Self { slot: number as u32, generation: (number >> 32) as u32 }
    }
}

/// One partition's records of a produce request, split off the frame: nobody else holds these bytes.
pub(crate) struct ProducePart {
    pub(crate) part: u32,
    pub(crate) partition: PartitionKey,
    pub(crate) records: BytesMut,
    pub(crate) info: BatchInfo,
}

/// A job for another shard's state, for the slow paths.
pub(crate) type Job = Box<dyn FnOnce(&Rc<ShardState>) + Send>;

/// A letter to a shard.
pub(crate) enum Mail {
    /// An accepted connection, or one that moves here because its traffic belongs here.
    Connection(SocketParts, ConnectionOrigin),
    /// Append these; answer with `Produced`, each part on its own.
    Produce { from: ShardId, request: RequestToken, acks: Acks, parts: Vec<ProducePart> },
    /// The answer to one part.
    Produced { request: RequestToken, part: u32, outcome: ProduceOutcome },
    /// Plan these reads; answer each with `Planned`, and with one `Woken` when its partition has more.
    Fetch { from: ShardId, request: RequestToken, parts: Vec<(u32, PartitionFetch)> },
    /// The answer to one part.
    Planned { request: RequestToken, part: u32, plan: PartitionPlan },
    /// This request found records and waits for more: send one `Woken` when readers of a partition see beyond an offset.
    Watch { from: ShardId, request: RequestToken, parts: Vec<(PartitionKey, Offset)> },
    /// A partition that this request watches has more to read.
    Woken { request: RequestToken },
    /// The cluster's metadata moved on; `changed` names the topics that differ.
    Image { image: Arc<MetadataImage>, changed: Arc<ChangedTopics>, applied: oneshot::Sender<()> },
    /// Anything rare.
    Run(Job),
    /// Stop taking connections, answer what is parked, close the logs; `stopped` says whether all is on disk.
    Stop { stopped: oneshot::Sender<bool> },
}

/// What a reader may see of a partition, besides its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct VisibleOffsets {
    pub(crate) log_start: Offset,
    pub(crate) last_stable: Offset,
    pub(crate) high_watermark: Offset,
}
