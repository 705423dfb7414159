//! The produce table: each rule broken once, and what is taken.

use batch::{
    BatchBuilder, Codec, Inflate, Inflated, ProduceRules, Producer, TimestampType, admit, check, stamp_log_append_time,
    validate_produced,
};
use bytes::BytesMut;
use expect_test::{Expect, expect};
use types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

const NOW: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

fn rules() -> ProduceRules {
    ProduceRules {
        now: Timestamp::from_millis(NOW),
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: HOUR,
        compacted: false,
        batch_bytes_max: 1_048_588,
        compression: None,
        zstd_allowed: true,
        inflate: Inflate::Sample { bytes_max: 4096 },
        inflated_bytes_max: 1 << 22,
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn builder(codec: Codec) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec);
    builder.append(at(NOW - 5), Some(b"k"), Some(b"value"), &[("h", Some(b"x"))]);
    builder.append(at(NOW), Some(b"l"), Some(b"value"), &[]);
    builder.append(at(NOW - 1), Some(b"m"), None, &[]);
    builder
}

fn good() -> BytesMut {
    builder(Codec::None).build_unstamped()
}

/// Changes bytes that the CRC covers and makes the CRC right again.
fn with_bytes(mut batch: BytesMut, position: usize, bytes: &[u8]) -> BytesMut {
    batch[position..position + bytes.len()].copy_from_slice(bytes);
    let crc = batch::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn answer(bytes: &[u8], rules: &ProduceRules) -> String {
    match validate_produced(bytes, rules) {
        Ok(taken) => format!("taken: {} records, {:?}, {:?}", taken.info.records, taken.rewrite, taken.recompress),
        Err(fault) => {
            let errors: String =
                fault.record_errors.iter().map(|(index, text)| format!("\n  {index}: {text}")).collect();
            format!("{}: {}{errors}", fault.code, fault.message)
        }
    }
}

fn refused(bytes: &[u8], rules: &ProduceRules, want: Expect) {
    want.assert_eq(&answer(bytes, rules));
}

#[test]
fn a_good_batch_is_taken_as_it_is() {
    for codec in Codec::ALL {
        for inflate in [Inflate::No, Inflate::Sample { bytes_max: 10 }, Inflate::All] {
            let batch = builder(codec).build_unstamped();
            let rules = ProduceRules { inflate, ..rules() };
            let (taken, info) = admit(batch.clone(), &rules).expect("good batch");
            assert_eq!(taken, batch, "{codec} {inflate:?}");
            assert_eq!(info, check(&taken).expect("good batch").info());
        }
    }
}

#[test]
fn exactly_one_whole_batch_of_magic_2() {
    refused(
        b"",
        &rules(),
        expect![
            "INVALID_RECORD (87): A produce request must hold a record batch for each partition, and this one holds none."
        ],
    );
    refused(
        &good()[..70],
        &rules(),
        expect![
            "INVALID_RECORD (87): A produce request must hold a record batch for each partition, and this one holds none."
        ],
    );
    let twice = [&good()[..], &good()[..]].concat();
    refused(
        &twice,
        &rules(),
        expect![
            "INVALID_RECORD (87): A produce request must hold exactly one record batch for each partition, and this one holds more."
        ],
    );
    let mut old = good();
    old[16] = 1;
    refused(
        &old,
        &rules(),
        expect![
            "INVALID_RECORD (87): Produce requests may only hold record batches of magic 2, and this one has magic 1."
        ],
    );
    old[16] = 3;
    refused(&old, &rules(), expect!["CORRUPT_MESSAGE (2): The record batch has magic 3, which does not exist."]);
    old[16] = 0xff;
    refused(&old, &rules(), expect!["CORRUPT_MESSAGE (2): The record batch has magic 255, which does not exist."]);
    let mut short = good();
    short[8..12].copy_from_slice(&13_i32.to_be_bytes());
    refused(
        &short,
        &rules(),
        expect!["CORRUPT_MESSAGE (2): The record batch's length field is 13, which is less than any batch."],
    );
    short[8..12].copy_from_slice(&48_i32.to_be_bytes());
    refused(
        &short[..60],
        &rules(),
        expect!["CORRUPT_MESSAGE (2): The record batch is 60 bytes, which is less than its header of 61."],
    );
}

#[test]
fn a_batch_cut_off_behind_the_first_is_dropped() {
    let two = [&good()[..], &good()[..40]].concat();
    let (taken, _) = admit(BytesMut::from(&two[..]), &rules()).expect("good batch");
    assert_eq!(taken, good());
}

#[test]
fn header_rules() {
    let mut moved = good();
    moved[..8].copy_from_slice(&5_i64.to_be_bytes());
    refused(
        &moved,
        &rules(),
        expect!["INVALID_RECORD (87): The base offset of a record batch as sent must be 0, but it is 5."],
    );
    let mut flipped = good();
    flipped[70] ^= 1;
    refused(
        &flipped,
        &rules(),
        expect![
            "CORRUPT_MESSAGE (2): The record batch is corrupt: its checksum is 0x69dd2999, its bytes give 0x9e06e2bc."
        ],
    );
    let tight = ProduceRules { batch_bytes_max: 80, ..rules() };
    refused(
        &good(),
        &tight,
        expect!["MESSAGE_TOO_LARGE (10): The record batch is 99 bytes, which is more than max.message.bytes = 80."],
    );
    refused(
        &with_bytes(good(), 57, &4_i32.to_be_bytes()),
        &rules(),
        expect!["INVALID_RECORD (87): The record batch has offsets [0, 2] but says that it holds 4 records."],
    );
    refused(
        &with_bytes(good(), 57, &0_i32.to_be_bytes()),
        &rules(),
        expect!["INVALID_RECORD (87): The record batch says that it holds 0 records."],
    );
    refused(
        &with_bytes(good(), 23, &(-1_i32).to_be_bytes()),
        &rules(),
        expect!["INVALID_RECORD (87): The record batch has an invalid offset range: [0, -1]."],
    );
    refused(
        &with_bytes(good(), 23, &i32::MAX.to_be_bytes()),
        &rules(),
        expect!["INVALID_RECORD (87): The record batch has offsets [0, 2147483647] but says that it holds 3 records."],
    );
    refused(
        &builder(Codec::None).control().build_unstamped(),
        &rules(),
        expect!["INVALID_RECORD (87): Clients may not write control batches."],
    );
    refused(
        &with_bytes(good(), 22, &[5]),
        &rules(),
        expect!["UNSUPPORTED_COMPRESSION_TYPE (76): The record batch has compression codec 5, which does not exist."],
    );
    let old = ProduceRules { zstd_allowed: false, ..rules() };
    refused(
        &builder(Codec::Zstd).build_unstamped(),
        &old,
        expect!["UNSUPPORTED_COMPRESSION_TYPE (76): Produce requests before version 7 may not hold zstd batches."],
    );
    let producer = Producer { id: ProducerId::new(9), epoch: ProducerEpoch::new(0), base_sequence: None };
    refused(
        &builder(Codec::None).producer(producer).build_unstamped(),
        &rules(),
        expect!["INVALID_RECORD (87): The record batch of producer id 9 has the invalid sequence -1."],
    );
    let epochless = with_bytes(good(), 43, &9_i64.to_be_bytes());
    let epochless = with_bytes(epochless, 53, &0_i32.to_be_bytes());
    refused(&epochless, &rules(), expect!["INVALID_RECORD (87): batch has producer id 9 with epoch -1"]);
}

#[test]
fn a_broken_header_under_a_broken_crc_is_corrupt_so_that_it_is_sent_again() {
    for position in 21..61 {
        let mut batch = good();
        batch[position] ^= 0x80;
        assert!(answer(&batch, &rules()).starts_with("CORRUPT_MESSAGE"), "{position}");
    }
}

#[test]
fn records_that_contradict_themselves_are_refused() {
    refused(
        &with_bytes(good(), 61, &[0x7e]),
        &rules(),
        expect!["INVALID_RECORD (87): The record batch is invalid: record 0: it is longer than the bytes that remain."],
    );
    refused(
        &with_bytes(good(), 61, &[1]),
        &rules(),
        expect!["INVALID_RECORD (87): The record batch is invalid: record 0: its length is negative."],
    );
    let mut fewer = with_bytes(good(), 57, &2_i32.to_be_bytes());
    fewer = with_bytes(fewer, 23, &1_i32.to_be_bytes());
    refused(
        &fewer,
        &rules(),
        expect!["INVALID_RECORD (87): The record batch is invalid: 8 bytes follow the last of 2 records."],
    );
    let mut more = with_bytes(good(), 57, &4_i32.to_be_bytes());
    more = with_bytes(more, 23, &3_i32.to_be_bytes());
    refused(
        &more,
        &rules(),
        expect!["INVALID_RECORD (87): The record batch is invalid: record 3: its length is cut short or too long."],
    );
    // The offset delta of the first record lies behind length, attributes and timestamp.
    refused(
        &with_bytes(good(), 64, &[8]),
        &rules(),
        expect![[r#"
        INVALID_RECORD (87): 1 of 3 records were rejected for record errors, and the batch with them. The first: record 0: Its offset within the batch is 4, where 0 is due.
          0: Its offset within the batch is 4, where 0 is due."#]],
    );
}

#[test]
fn data_that_does_not_inflate_is_refused_by_the_sample() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let batch = builder(codec).build_unstamped();
        let broken = with_bytes(batch, 61, &[0x55; 8]);
        let text = answer(&broken, &rules());
        assert!(text.starts_with("INVALID_RECORD (87): The record batch is invalid:"), "{codec}: {text}");
    }
}

#[test]
fn inflating_is_bounded_and_answered_as_too_large() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut builder = BatchBuilder::new(codec);
        builder.append(at(NOW), None, Some(&vec![0; 1 << 20]), &[]);
        let batch = builder.build_unstamped();
        assert!(batch.len() < 1 << 17, "{codec}");
        let rules = ProduceRules { inflate: Inflate::All, inflated_bytes_max: 1 << 19, ..rules() };
        let text = answer(&batch, &rules);
        assert!(text.contains("MESSAGE_TOO_LARGE (10): The record batch is too large:"), "{codec}: {text}");
    }
}

#[test]
fn null_key_on_a_compacted_topic_is_named_per_record() {
    let compacted = ProduceRules { compacted: true, inflate: Inflate::No, ..rules() };
    for codec in Codec::ALL {
        let mut builder = builder(codec);
        builder.append(at(NOW), None, Some(b"v"), &[]);
        let batch = builder.build_unstamped();
        assert!(validate_produced(&batch, &rules()).is_ok());
        refused(
            &batch,
            &compacted,
            expect![[r#"
            INVALID_RECORD (87): 1 of 4 records were rejected for record errors, and the batch with them. The first: record 3: A compacted topic takes no record without a key.
              3: A compacted topic takes no record without a key."#]],
        );
    }
}

#[test]
fn timestamps_out_of_bounds_are_named_per_record_even_when_nothing_is_inflated() {
    let bounded = ProduceRules { before_max_ms: HOUR, inflate: Inflate::No, ..rules() };
    for codec in Codec::ALL {
        let mut builder = builder(codec);
        builder.append(at(NOW + HOUR), None, None, &[]);
        builder.append(at(NOW - HOUR), None, None, &[]);
        builder.append(at(-1), None, None, &[]);
        assert!(validate_produced(&builder.build_unstamped(), &bounded).is_ok());
        builder.append(at(NOW + HOUR + 1), None, None, &[]);
        refused(
            &builder.build_unstamped(),
            &bounded,
            expect![[r#"
            INVALID_TIMESTAMP (32): 1 of 7 records were rejected for invalid timestamps, and the batch with them. The first: record 6: Timestamp 1700003600001 is out of range: it should be within [1699996400000, 1700003600000].
              6: Timestamp 1700003600001 is out of range: it should be within [1699996400000, 1700003600000]."#]],
        );
    }
}

#[test]
fn a_header_with_another_maximum_than_its_records_is_put_right() {
    let wrong = with_bytes(good(), 35, &(NOW - 3).to_be_bytes());
    let (taken, info) = admit(wrong, &rules()).expect("good records");
    assert_eq!(taken, good());
    assert_eq!(info, check(&taken).expect("good batch").info());
}

#[test]
fn log_append_time_is_the_leader_s_alone() {
    let leader_time = ProduceRules { timestamp_type: TimestampType::LogAppendTime, now: at(NOW + 9 * HOUR), ..rules() };
    for codec in Codec::ALL {
        let batch = builder(codec).build_unstamped();
        let (taken, info) = admit(batch.clone(), &leader_time).expect("good batch");
        assert_eq!(info, check(&taken).expect("good batch").info());
        assert_eq!((info.timestamp_type, info.max_timestamp), (TimestampType::LogAppendTime, at(NOW + 9 * HOUR)));
        let view = check(&taken).expect("good batch");
        let inflated = Inflated::new(&view, 1 << 20).expect("good batch");
        assert!(inflated.records().all(|record| record.expect("good record").timestamp == at(NOW + 9 * HOUR)));

        let mut claimed = batch;
        stamp_log_append_time(&mut claimed, at(NOW));
        let text = answer(&claimed, &leader_time);
        assert!(text.starts_with("INVALID_TIMESTAMP (32): 3 of 3 records"), "{text}");
        // On a topic of create time Kafka takes it, and the bit goes.
        let (taken, info) = admit(claimed, &rules()).expect("taken");
        assert_eq!(info.timestamp_type, TimestampType::CreateTime);
        assert_eq!(info, check(&taken).expect("good batch").info());
    }
}

#[test]
fn topic_codec_re_encodes_and_is_measured_again() {
    for from in Codec::ALL {
        for to in Codec::ALL {
            let mut builder = builder(from);
            builder.append(at(NOW), Some(b"z"), Some(&vec![b'z'; 5000]), &[]);
            let batch = builder.build_unstamped();
            let rules = ProduceRules { compression: Some((to, None)), inflate: Inflate::No, ..rules() };
            let (taken, info) = admit(batch.clone(), &rules).expect("good batch");
            assert_eq!(info, check(&taken).expect("good batch").info());
            assert_eq!(info.codec, to);
            let (before, after) = (check(&batch).expect("batch"), check(&taken).expect("batch"));
            assert_eq!(
                Inflated::new(&before, 1 << 20).expect("batch").payload(),
                Inflated::new(&after, 1 << 20).expect("batch").payload()
            );
            let tight = ProduceRules { batch_bytes_max: 1000, ..rules };
            let fits = admit(batch, &tight).is_ok();
            assert_eq!(fits, from != Codec::None && to != Codec::None, "{from} to {to}");
        }
    }
}

#[test]
fn record_errors_are_bounded_and_counted() {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..3000 {
        builder.append(at(NOW), None, None, &[]);
    }
    let fault = validate_produced(&builder.build_unstamped(), &ProduceRules { compacted: true, ..rules() });
    let fault = fault.expect_err("null keys");
    assert_eq!(fault.record_errors.len(), types::limits::PRODUCE_RECORD_ERRORS_MAX);
    assert!(fault.message.starts_with("3000 of 3000 records"), "{}", fault.message);
}

#[test]
fn facts_of_a_transactional_batch_are_left_to_the_host() {
    let producer = Producer {
        id: ProducerId::new(9),
        epoch: ProducerEpoch::new(2),
        base_sequence: Some(Sequence::new(i32::MAX - 1)),
    };
    let batch = builder(Codec::None).transactional().producer(producer).build_unstamped();
    let info = validate_produced(&batch, &rules()).expect("good batch").info;
    assert!(info.transactional);
    assert_eq!(info.producer, Some(producer));
    assert_eq!(info.last_sequence(), Some(Sequence::new(0)));
    let mut stamped = batch;
    batch::stamp(&mut stamped, Offset::new(1000), LeaderEpoch::new(4));
    let view = check(&stamped).expect("stamping lies outside the checksum");
    assert_eq!((view.base_offset(), view.last_offset()), (Offset::new(1000), Offset::new(1002)));
    assert_eq!(view.leader_epoch(), Some(LeaderEpoch::new(4)));
}
