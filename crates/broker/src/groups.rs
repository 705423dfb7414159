//! Hosts the group coordinators: one per partition of `__consumer_offsets` whose home is this shard.

use std::rc::Rc;

use quorum::image::ChangedTopics;

use crate::shard_state::ShardState;

/// The coordinators of one shard.
#[derive(Default)]
pub(crate) struct GroupsHost {}

/// The shard's partitions are open: load the coordinators of those that are offsets partitions.
pub(crate) fn on_start(_state: &Rc<ShardState>) {}

/// The metadata changed.
pub(crate) fn on_image(_state: &Rc<ShardState>, _changed: &ChangedTopics) {}

/// The node stops: whoever waits in a group is answered.
pub(crate) fn on_stop(_state: &Rc<ShardState>) {}
