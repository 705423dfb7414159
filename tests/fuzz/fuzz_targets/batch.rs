//! The records of a partition in a produce request: refused or taken, never a panic; and what is taken can be stored,
//! recompressed, searched and compacted, whatever its header claims of records nobody has looked at.
#![no_main]

use batch::{BatchView, Codec, Inflate, Inflated, ProduceRules, Retention, TimestampType};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use types::{LeaderEpoch, Offset, Timestamp};

const INFLATED_BYTES_MAX: usize = 1 << 20;

/// Gives the bytes a batch's length and checksum, so that the fuzzer gets past them.
fn mend(bytes: &[u8]) -> BytesMut {
    let mut batch = BytesMut::from(bytes);
    if batch.len() >= 61 {
        let length = (batch.len() - 12) as i32;
        batch[..8].fill(0);
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        let crc = batch::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    batch
}

fn take(batch: BytesMut, inflate: Inflate, compression: Option<(Codec, Option<i32>)>) {
    let rules = ProduceRules {
        now: Timestamp::from_millis(1_700_000_000_000),
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
        compacted: false,
        batch_bytes_max: 1 << 20,
        compression,
        zstd_allowed: true,
        inflate,
        inflated_bytes_max: INFLATED_BYTES_MAX,
    };
    let Ok((mut taken, info)) = batch::admit(batch, &rules) else { return };
    assert_eq!(info.size_bytes as usize, taken.len());
    batch::stamp(&mut taken, Offset::new(1000), LeaderEpoch::new(3));
    let view = batch::check(&taken).expect("a batch that was taken is sound once it is stamped");
    assert_eq!(view.base_offset(), Offset::new(1000));
    if let Ok(inflated) = Inflated::new(&view, INFLATED_BYTES_MAX) {
        for record in inflated.records() {
            let Ok(record) = record else { break };
            let _ = record.headers().map(|header| header.key.len()).sum::<usize>();
        }
    }
    let retention = Retention {
        now: rules.now,
        delete_retention_ms: 0,
        keep_empty: true,
        discard_records: false,
        marker_of_gone_transaction: false,
        inflated_bytes_max: INFLATED_BYTES_MAX,
    };
    let _ = batch::filter(&view, &retention, |record, _| record.key.is_some_and(|key| key.len() % 2 == 0));
}

fuzz_target!(|bytes: &[u8]| {
    let _ = BatchView::peek_size(bytes);
    let _ = batch::check(bytes);
    take(BytesMut::from(bytes), Inflate::All, None);
    take(mend(bytes), Inflate::All, None);
    take(mend(bytes), Inflate::No, None);
    take(mend(bytes), Inflate::All, Some((Codec::Lz4, None)));
});
