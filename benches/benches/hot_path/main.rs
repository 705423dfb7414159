//! What the hot path is made of, each part beside its floor: the least that the same bytes demand, done the way the
//! bare server `floor` does it. Both are measured in one run on one machine, so their ratio says how dear our part is,
//! whatever the machine; `regress` compares the ratios with those on record.
//!
//! | part | ours | its floor |
//! |---|---|---|
//! | `crc` | CRC-32C of a batch | a copy of it |
//! | `record_walk` | every record of a batch, checked | a hop over the lengths |
//! | `header_stamp` | header checked, offset and epoch stamped | both stamped |
//! | `produce_codec` | request decoded, reply encoded | the same by `benches::bare`, in one version |
//! | `fetch_codec` | the same for a fetch of eight partitions | the same |
//! | `queue_hop` | a letter to a running shard, in a stream of them | a push and a pop on one thread |
//! | `append` | admitted, appended, its write handed out and done | CRC and stamp |
//! | `index_lookup` | an offset found through an index in a file | a binary search in memory |

mod bytes_of_a_batch;
mod codec;
mod log;
mod queue;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

fn config() -> Criterion {
    Criterion::default()
        .sample_size(40)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1200))
        .without_plots()
}

criterion_group! {
    name = hot_path;
    config = config();
    targets = bytes_of_a_batch::crc, bytes_of_a_batch::record_walk, bytes_of_a_batch::header_stamp,
        codec::produce, codec::fetch, queue::hop, log::append, log::index_lookup
}
criterion_main!(hot_path);

/// A batch as a producer sends it: `records` records of `value_bytes` each, without keys.
fn produced(records: usize, value_bytes: usize) -> bytes::BytesMut {
    let mut builder = batch::BatchBuilder::new(batch::Codec::None);
    let value = vec![7; value_bytes];
    for _ in 0..records {
        builder.append(types::Timestamp::from_millis(1_700_000_000_000), None, Some(&value), &[]);
    }
    builder.build_unstamped()
}
