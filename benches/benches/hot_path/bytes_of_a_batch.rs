//! Parts that see nothing but one batch: 160 records of 100 bytes, about 17 KiB.

use std::hint::black_box;

use batch::BatchView;
use benches::bare;
use criterion::{Criterion, Throughput};
use types::{LeaderEpoch, Offset};

use crate::produced;

const RECORDS: usize = 160;
const VALUE_BYTES: usize = 100;
const HEADER_BYTES: usize = types::limits::BATCH_HEADER_BYTES;

pub(crate) fn crc(criterion: &mut Criterion) {
    let batch = produced(RECORDS, VALUE_BYTES);
    let mut copy = vec![0; batch.len()];
    let mut group = criterion.benchmark_group("crc");
    group.throughput(Throughput::Bytes(batch.len() as u64));
    group.bench_function("node", |bencher| bencher.iter(|| batch::crc32c(black_box(&batch[21..]))));
    group.bench_function("floor", |bencher| {
        bencher.iter(|| {
            copy.copy_from_slice(black_box(&batch));
            black_box(&mut copy);
        });
    });
    group.finish();
}

pub(crate) fn record_walk(criterion: &mut Criterion) {
    let batch = produced(RECORDS, VALUE_BYTES);
    let mut group = criterion.benchmark_group("record_walk");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("node", |bencher| {
        bencher.iter(|| {
            let view = BatchView::parse(black_box(&batch)).expect("a batch");
            let records = view.records().expect("not compressed");
            let walked = records.map(|record| record.expect("sound").value.map_or(0, <[u8]>::len)).sum::<usize>();
            assert_eq!(walked, RECORDS * VALUE_BYTES);
        });
    });
    group.bench_function("floor", |bencher| {
        bencher.iter(|| assert_eq!(hop_over_lengths(black_box(&batch[HEADER_BYTES..])), RECORDS));
    });
    group.finish();
}

/// Counts records by their lengths alone: a zigzag varint before each.
fn hop_over_lengths(mut rest: &[u8]) -> usize {
    let mut records = 0;
    while !rest.is_empty() {
        let (mut zigzag, mut at) = (0, 0);
        loop {
            let byte = rest[at];
            zigzag |= usize::from(byte & 0x7f) << (7 * at);
            at += 1;
            if byte < 0x80 {
                break;
            }
        }
        rest = &rest[at + (zigzag >> 1)..];
        records += 1;
    }
    records
}

pub(crate) fn header_stamp(criterion: &mut Criterion) {
    let mut batch = produced(RECORDS, VALUE_BYTES);
    let mut group = criterion.benchmark_group("header_stamp");
    group.bench_function("node", |bencher| {
        bencher.iter(|| {
            let info = BatchView::parse(black_box(&batch)).expect("a batch").info();
            batch::stamp(&mut batch, Offset::ZERO, LeaderEpoch::ZERO);
            info
        });
    });
    group.bench_function("floor", |bencher| bencher.iter(|| bare::stamp(black_box(&mut batch), 0, false)));
    group.finish();
}
