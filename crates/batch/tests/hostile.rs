//! No bytes make this crate panic, loop or allocate beyond its bounds; and what it makes, it reads.

use batch::control::EndTransaction;
use batch::{
    BatchBuilder, BatchView, Codec, Filtered, Inflate, Inflated, ProduceRules, Retention, TimestampType, admit, check,
    codec, filter, restamp,
};
use bytes::BytesMut;
use proptest::prelude::*;
use types::{LeaderEpoch, Offset, Timestamp};

const BOUND: usize = 1 << 16;

fn rules(inflate: Inflate, compacted: bool) -> ProduceRules {
    ProduceRules {
        now: Timestamp::from_millis(1_000_000),
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
        compacted,
        batch_bytes_max: 1 << 20,
        compression: None,
        zstd_allowed: true,
        inflate,
        inflated_bytes_max: BOUND,
    }
}

type Record = (Option<Vec<u8>>, Option<Vec<u8>>, i64, Vec<(String, Option<Vec<u8>>)>);

fn part() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(0_u8..4, 0..60))
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let headers = prop::collection::vec(("[a-z]{0,8}", part()), 0..3);
    prop::collection::vec((part(), part(), any::<i32>().prop_map(i64::from), headers), 1..12)
}

fn codecs() -> impl Strategy<Value = Codec> {
    prop::sample::select(&Codec::ALL[..])
}

fn build(codec: Codec, records: &[Record]) -> BytesMut {
    let mut builder = BatchBuilder::new(codec);
    for (key, value, timestamp, headers) in records {
        let headers: Vec<_> = headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        builder.append(Timestamp::from_millis(*timestamp), key.as_deref(), value.as_deref(), &headers);
    }
    builder.build_unstamped()
}

/// Everything that looks at bytes from outside.
fn look_at(bytes: &[u8]) {
    let _ = BatchView::peek_size(bytes);
    let _ = BatchView::parse_header(bytes);
    let _ = check(bytes);
    for inflate in [Inflate::No, Inflate::Sample { bytes_max: 50 }, Inflate::All] {
        let _ = admit(BytesMut::from(bytes), &rules(inflate, true));
    }
    let target = ProduceRules { compression: Some((Codec::Lz4, None)), ..rules(Inflate::No, false) };
    let _ = admit(BytesMut::from(bytes), &target);
    let Ok(view) = BatchView::parse(bytes) else { return };
    let _ = EndTransaction::read(&view);
    if let Ok(inflated) = Inflated::new(&view, BOUND) {
        for record in inflated.records().flatten() {
            assert_eq!(record.headers().count(), record.header_count());
        }
    }
    let retention = Retention {
        now: Timestamp::from_millis(i64::MAX),
        delete_retention_ms: 1,
        keep_empty: true,
        discard_records: false,
        marker_of_gone_transaction: true,
        inflated_bytes_max: BOUND,
    };
    match filter(&view, &retention, |record, offset| offset.value() % 2 == 0 && record.key.is_some()) {
        Ok(Filtered::Rewritten(bytes) | Filtered::EmptyKept(bytes)) => {
            let kept = check(&bytes).expect("what the filter writes is a batch");
            assert_eq!((kept.base_offset(), kept.last_offset()), (view.base_offset(), view.last_offset()));
        }
        Ok(Filtered::Unchanged | Filtered::Gone) | Err(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        look_at(&bytes);
    }

    /// Flips bytes of a good batch and makes the CRC right again, so that the rules behind it are reached.
    #[test]
    fn any_damage_under_a_right_checksum_is_answered(
        records in records(),
        codec in codecs(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut batch = build(codec, &records);
        for (index, xor) in &flips {
            let index = index.index(batch.len());
            batch[index] ^= xor;
        }
        if let Some(cut) = cut {
            batch.truncate(61.max(cut.index(batch.len() + 1)));
        }
        let length = batch.len() as i32 - 12;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        batch[..8].fill(0);
        let crc = batch::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        look_at(&batch);
    }

    #[test]
    fn what_is_built_is_read_back(records in records(), codec in codecs()) {
        let batch = build(codec, &records);
        let view = check(&batch).expect("just built");
        let inflated = Inflated::new(&view, BOUND).expect("just built");
        let read: Vec<Record> = inflated
            .records()
            .map(|record| {
                let record = record.expect("just built");
                let headers = record
                    .headers()
                    .map(|header| (String::from_utf8(header.key.to_vec()).expect("as built"), header.value.map(<[u8]>::to_vec)))
                    .collect();
                (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), record.timestamp.millis(), headers)
            })
            .collect();
        prop_assert_eq!(&read, &records);
        prop_assert!(admit(batch.clone(), &rules(Inflate::All, false)).is_ok());
    }

    #[test]
    fn a_byte_changed_on_the_way_is_noticed(records in records(), codec in codecs(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut batch = build(codec, &records);
        let at = 16 + at.index(batch.len() - 16);
        batch[at] ^= 1_u8 << bit;
        prop_assert!(check(&batch).is_err());
    }

    #[test]
    fn filter_keeps_what_it_was_told_to(records in records(), codec in codecs(), mask in any::<u16>(), keep_empty in any::<bool>()) {
        let mut batch = build(codec, &records);
        batch::stamp(&mut batch, Offset::new(500), LeaderEpoch::new(3));
        let view = check(&batch).expect("just built");
        let retention = Retention {
            now: Timestamp::from_millis(7_000),
            delete_retention_ms: 1_000,
            keep_empty,
            discard_records: false,
            marker_of_gone_transaction: false,
            inflated_bytes_max: BOUND,
        };
        let keep = |offset: Offset| mask >> (offset.value() - 500) & 1 == 1;
        let filtered = filter(&view, &retention, |_, offset| keep(offset)).expect("just built");
        let want: Vec<_> = records.iter().enumerate().filter(|(index, _)| mask >> index & 1 == 1).collect();
        let bytes = match filtered {
            Filtered::Unchanged => batch.clone().freeze(),
            Filtered::Rewritten(bytes) | Filtered::EmptyKept(bytes) => bytes,
            Filtered::Gone => {
                prop_assert!(want.is_empty() && !keep_empty);
                return Ok(());
            }
        };
        let kept = check(&bytes).expect("a batch");
        prop_assert_eq!((kept.base_offset(), kept.last_offset()), (view.base_offset(), view.last_offset()));
        let tombstone = want.iter().any(|(_, record)| record.1.is_none());
        prop_assert_eq!(kept.info().delete_horizon, tombstone.then(|| Timestamp::from_millis(8_000)));
        let inflated = Inflated::new(&kept, BOUND).expect("a batch");
        let read: Vec<_> = inflated.records().map(|record| record.expect("a record")).collect();
        prop_assert_eq!(read.len(), want.len());
        for (read, (index, want)) in read.iter().zip(&want) {
            prop_assert_eq!(read.offset_delta as usize, *index);
            prop_assert_eq!((read.key, read.value), (want.0.as_deref(), want.1.as_deref()));
            prop_assert_eq!(read.timestamp.millis(), want.2);
        }
        // A second round with the same answer finds nothing to do.
        let again = filter(&kept, &Retention { now: Timestamp::from_millis(9_000), ..retention }, |_, offset| keep(offset));
        prop_assert_eq!(again, Ok(if keep_empty || !want.is_empty() { Filtered::Unchanged } else { Filtered::Gone }));
    }

    #[test]
    fn inflate_gives_no_more_than_its_bound(data in prop::collection::vec(any::<u8>(), 0..3000), codec in codecs(), bound in 0_usize..4000) {
        let mut compressed = Vec::new();
        codec::compress(codec, None, &data, &mut compressed).expect("to memory");
        match codec::inflate(codec, &compressed, bound) {
            Ok(inflated) => prop_assert!(data.len() <= bound && inflated == data),
            Err(_) => prop_assert!(bound < data.len()),
        }
        let (some, _) = codec::inflate_some(codec, &compressed, bound).expect("sound data");
        prop_assert!(some.len() <= bound && data.starts_with(&some));
    }

    #[test]
    fn garbage_is_no_compressed_data(data in prop::collection::vec(any::<u8>(), 0..200), codec in codecs()) {
        if let Ok(inflated) = codec::inflate(codec, &data, BOUND) {
            prop_assert!(inflated.len() <= BOUND);
        }
    }
}

#[test]
fn both_snappy_framings_are_read() {
    let data = b"snappy in two framings ".repeat(4000);
    let raw = snap::raw::Encoder::new().compress_vec(&data).expect("to memory");
    assert_eq!(codec::inflate(Codec::Snappy, &raw, 1 << 20), Ok(data.clone()));
    let mut xerial = Vec::new();
    codec::compress(Codec::Snappy, None, &data, &mut xerial).expect("to memory");
    assert!(xerial.starts_with(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"));
    assert_eq!(codec::inflate(Codec::Snappy, &xerial, 1 << 20), Ok(data));
}

#[test]
fn lz4_with_dependent_blocks_is_refused_as_java_refuses_it() {
    let frame = lz4_flex::frame::FrameInfo::new().block_mode(lz4_flex::frame::BlockMode::Linked);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
    std::io::Write::write_all(&mut encoder, &[7; 200]).expect("to memory");
    let linked = encoder.finish().expect("to memory");
    assert!(codec::inflate(Codec::Lz4, &linked, BOUND).is_err());
}

#[test]
fn a_pre_encoded_batch_moves_in_time() {
    let mut batch = build(Codec::Zstd, &[(None, None, 1000, Vec::new()), (None, None, 1400, Vec::new())]);
    restamp(&mut batch, Timestamp::from_millis(50_000), None);
    let view = check(&batch).expect("restamped");
    let inflated = Inflated::new(&view, BOUND).expect("restamped");
    let times: Vec<_> = inflated.records().map(|record| record.expect("a record").timestamp.millis()).collect();
    assert_eq!((times, view.max_timestamp().millis()), (vec![50_000, 50_400], 50_400));
}
