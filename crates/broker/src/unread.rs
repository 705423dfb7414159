//! What a reader that stands at an offset has not read yet: how much is stored behind it, when its first record was
//! made, and until when retention keeps it. Exact, from the partition's home.

use std::io;
use std::rc::Rc;

use storage::retention::Cause;
use storage::{ReadRange, ReadStep, SegmentId, TimeStep};
use types::{Offset, Timestamp};
use wire::tags::Unread;

use crate::partition::Partition;
use crate::shard_state::ShardState;

/// What was found out of an offset, to be used again while the log's layout is the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    layout: u64,
    segment: SegmentId,
    position: u64,
    timestamp: Option<Timestamp>,
}

/// What a reader at `offset` has before it. Runs on the partition's home; the disk is waited for, never blocked on. An
/// offset below the log start is answered from there: what lies before is lost.
pub(crate) async fn look(
    state: &Rc<ShardState>,
    partition: &Rc<Partition>,
    offset: Offset,
    known: Option<Known>,
) -> io::Result<(Unread, Option<Known>)> {
    let mut unread = Unread { offset, bytes: 0, timestamp: None, kept_until: None, goes_by_size: false };
    let visible = partition.visible();
    let from = offset.max(visible.log_start);
    if visible.high_watermark <= from {
        return Ok((unread, None));
    }
    let layout = partition.with_log(|log| log.layout());
    let known = match known.filter(|known| known.layout == layout) {
        Some(known) => known,
        None => {
            let Some((segment, position)) = place_of(state, partition, from).await? else { return Ok((unread, None)) };
            Known { layout, segment, position, timestamp: timestamp_of(state, partition, from).await? }
        }
    };
    unread.bytes = partition.with_log(|log| log.bytes_from(known.segment, known.position));
    unread.timestamp = known.timestamp;
    let now = state.now();
    if let Some((at, cause)) = partition.with_log(|log| log.kept_until(now, visible.high_watermark, from)) {
        unread.kept_until = Some(at);
        unread.goes_by_size = cause == Cause::Size;
    }
    Ok((unread, Some(known)))
}

/// Where the batch that holds `start` lies, or the next one there is.
async fn place_of(
    state: &Rc<ShardState>,
    partition: &Rc<Partition>,
    start: Offset,
) -> io::Result<Option<(SegmentId, u64)>> {
    let end = partition.visible().high_watermark;
    let range = ReadRange { start, end, bytes_max: 1, at_least_one: true };
    let mut step = partition.with_log(|log| log.read(&range)).map_err(io::Error::other)?;
    loop {
        match step {
            ReadStep::Empty => return Ok(None),
            ReadStep::Slice(slice) => return Ok(Some((slice.segment, slice.position))),
            ReadStep::Scan(scan) => {
                let bytes = state.read(partition, scan).await?;
                step = partition.with_log(|log| log.resume_read(&range, scan, &bytes)).map_err(io::Error::other)?;
            }
        }
    }
}

async fn timestamp_of(
    state: &Rc<ShardState>,
    partition: &Rc<Partition>,
    from: Offset,
) -> io::Result<Option<Timestamp>> {
    let end = partition.visible().high_watermark;
    let mut step = partition.with_log(|log| log.lookup_offset(from, end));
    loop {
        match step {
            TimeStep::NotFound => return Ok(None),
            TimeStep::Found(found) => return Ok(Some(found.timestamp)),
            TimeStep::Scan(scan) => {
                let bytes = state.read(partition, scan).await?;
                step = partition.with_log(|log| log.resume_lookup(scan, &bytes)).map_err(io::Error::other)?;
            }
        }
    }
}
