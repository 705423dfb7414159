//! What a consumer makes of the batches it is sent.

use batch::control::EndTransaction;
use batch::{BatchBuilder, Codec, Producer};
use bytes::Bytes;
use client::{ClientError, Fetched, Isolation, decode};
use types::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};

const EPOCH: LeaderEpoch = LeaderEpoch::ZERO;

fn producer(id: i64) -> Producer {
    Producer { id: ProducerId::new(id), epoch: ProducerEpoch::ZERO, base_sequence: Some(Sequence::ZERO) }
}

/// A batch of a transaction with one record per value.
fn transactional(id: i64, base: i64, values: &[&str], codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(codec).producer(producer(id)).transactional();
    for value in values {
        builder.append(Timestamp::from_millis(1), None, Some(value.as_bytes()), &[]);
    }
    builder.build(Offset::new(base), EPOCH)
}

fn marker(id: i64, offset: i64, committed: bool) -> Bytes {
    let marker = EndTransaction { committed, coordinator_epoch: 0 };
    marker.batch(Timestamp::from_millis(1), producer(id), Offset::new(offset), EPOCH)
}

fn plain(base: i64, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for value in values {
        builder.append(Timestamp::from_millis(1), None, Some(value.as_bytes()), &[("h", Some(b"x"))]);
    }
    builder.build(Offset::new(base), EPOCH)
}

fn fetched(from: i64, batches: &[Bytes], aborted: &[(i64, i64)]) -> Fetched {
    Fetched {
        at: TopicPartition::new("t", PartitionIndex::ZERO),
        from: Offset::new(from),
        records: batches.concat().into(),
        high_watermark: None,
        log_start: None,
        aborted: aborted.iter().map(|&(id, first)| (ProducerId::new(id), Offset::new(first))).collect(),
    }
}

fn values(fetched: &Fetched, isolation: Isolation) -> String {
    let mut records = Vec::new();
    decode(fetched, isolation, &mut records).unwrap();
    let text = |record: &client::Consumed| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
    records.iter().map(|record| format!("{}{}", text(record), record.offset)).collect::<Vec<_>>().join(" ")
}

#[test]
fn read_committed_hides_aborted_transactions_and_nothing_else() {
    let batches = [
        transactional(1, 0, &["a", "b"], Codec::None), // aborted
        transactional(2, 2, &["c"], Codec::Lz4),       // committed, interleaved
        plain(3, &["d"]),
        transactional(1, 4, &["e"], Codec::Zstd), // still of the aborted one
        marker(1, 5, false),
        transactional(1, 6, &["f"], Codec::None), // the next of the same producer: committed
        marker(2, 7, true),
        marker(1, 8, true),
    ];
    let fetched = fetched(0, &batches, &[(1, 0)]);
    assert_eq!(values(&fetched, Isolation::ReadCommitted), "c2 d3 f6");
    assert_eq!(values(&fetched, Isolation::ReadUncommitted), "a0 b1 c2 d3 e4 f6");
}

#[test]
fn records_before_the_offset_asked_for_are_left_out() {
    assert_eq!(values(&fetched(4, &[plain(2, &["a", "b", "c"])], &[]), Isolation::ReadUncommitted), "c4");
}

#[test]
fn a_batch_that_is_cut_off_is_left_for_the_next_fetch_and_a_broken_one_is_named() {
    let (whole, mut next) = (plain(0, &["a"]), plain(1, &["b"]).to_vec());
    let cut = Bytes::copy_from_slice(&next[..next.len() - 1]);
    assert_eq!(values(&fetched(0, &[whole.clone(), cut], &[]), Isolation::ReadUncommitted), "a0");
    *next.last_mut().unwrap() ^= 1;
    let error =
        decode(&fetched(0, &[whole, next.into()], &[]), Isolation::ReadUncommitted, &mut Vec::new()).unwrap_err();
    assert!(
        matches!(&error, ClientError::Corrupt { topic, reason, .. } if topic == "t" && reason.contains("checksum"))
    );
}
