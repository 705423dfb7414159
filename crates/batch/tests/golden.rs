//! Batches made by Kafka's own classes (see `testdata/GoldenBatches.java`) are read right, and what is made here of the
//! same records is the same to the byte.

use batch::control::{self, ControlType, EndTransaction};
use batch::{BatchBuilder, BatchView, Codec, Filtered, Inflated, Producer, Retention, check, filter};
use expect_test::{Expect, expect};
use types::{LeaderEpoch, NodeId, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

const T: i64 = 1_700_000_000_000;
const BOUND: usize = 1 << 20;

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/testdata/{name}.bin", env!("CARGO_MANIFEST_DIR"))).expect("golden file")
}

fn text(part: Option<&[u8]>) -> String {
    match part {
        None => "null".to_owned(),
        Some(long) if 40 < long.len() => format!("{} bytes", long.len()),
        Some(short) => String::from_utf8_lossy(short).into_owned(),
    }
}

fn describe(bytes: &[u8]) -> String {
    let view = check(bytes).expect("golden batch");
    assert_eq!(view.size_bytes(), bytes.len());
    let info = view.info();
    let mut out = format!(
        "{}..={} epoch {:?} {} {:?} producer {:?}{}{}\n",
        info.base_offset,
        info.last_offset(),
        info.leader_epoch.map(LeaderEpoch::value),
        info.codec,
        info.max_timestamp,
        info.producer.map(|producer| (
            producer.id.value(),
            producer.epoch.value(),
            producer.base_sequence.map(Sequence::value),
            info.last_sequence().map(Sequence::value)
        )),
        if info.transactional { " transactional" } else { "" },
        if info.control { " control" } else { "" },
    );
    let inflated = Inflated::new(&view, BOUND).expect("golden batch");
    for record in inflated.records() {
        let record = record.expect("golden record");
        out +=
            &format!("  {} {:?} {} -> {}", record.offset_delta, record.timestamp, text(record.key), text(record.value));
        for header in record.headers() {
            out += &format!(" {}={}", text(Some(header.key)), text(header.value));
        }
        out.push('\n');
    }
    out
}

fn check_golden(name: &str, want: Expect) {
    want.assert_eq(&describe(&golden(name)));
}

fn records_of_the_goldens(mut builder: BatchBuilder) -> BatchBuilder {
    let at = Timestamp::from_millis;
    builder.append(at(T), Some(b"key"), Some(b"value"), &[]);
    builder.append(at(T + 1500), None, Some(&[b'x'; 300]), &[]);
    builder.append(at(T - 70), Some(b"gone"), None, &[]);
    builder.append(at(T), Some(b""), Some(b""), &[("trace", Some(b"abc")), ("empty", Some(b"")), ("null", None)]);
    builder
}

fn producer(base_sequence: Option<i32>) -> Producer {
    Producer {
        id: ProducerId::new(4000),
        epoch: ProducerEpoch::new(3),
        base_sequence: base_sequence.map(Sequence::new),
    }
}

#[test]
fn java_batch_is_read_whatever_its_codec() {
    let want = expect![[r#"
        7..=10 epoch Some(9) none 1700000001500ms producer None
          0 1700000000000ms key -> value
          1 1700000001500ms null -> 300 bytes
          2 1699999999930ms gone -> null
          3 1700000000000ms  ->  trace=abc empty= null=null
    "#]];
    for codec in Codec::ALL {
        want.assert_eq(&describe(&golden(&format!("java_{codec}"))).replace(codec.name(), "none"));
    }
}

#[test]
fn java_idempotent_batch_wraps_its_sequence() {
    check_golden(
        "java_idempotent",
        expect![[r#"
            7..=10 epoch Some(9) none 1700000001500ms producer Some((4000, 3, Some(2147483646), Some(1)))
              0 1700000000000ms key -> value
              1 1700000001500ms null -> 300 bytes
              2 1699999999930ms gone -> null
              3 1700000000000ms  ->  trace=abc empty= null=null
        "#]],
    );
}

#[test]
fn builder_writes_java_s_bytes() {
    let (offset, epoch) = (Offset::new(7), LeaderEpoch::new(9));
    let plain = records_of_the_goldens(BatchBuilder::new(Codec::None)).build(offset, epoch);
    assert_eq!(plain, golden("java_none"));
    let idempotent = BatchBuilder::new(Codec::None).producer(producer(Some(2_147_483_646)));
    assert_eq!(records_of_the_goldens(idempotent).build(offset, epoch), golden("java_idempotent"));
    let transactional = BatchBuilder::new(Codec::None).producer(producer(Some(12))).transactional();
    assert_eq!(records_of_the_goldens(transactional).build(offset, epoch), golden("java_transactional"));
}

#[test]
fn markers_are_java_s_bytes_and_read_back() {
    for (name, committed) in [("java_commit", true), ("java_abort", false)] {
        let marker = EndTransaction { committed, coordinator_epoch: 5 };
        let bytes = golden(name);
        assert_eq!(EndTransaction::read(&check(&bytes).expect("golden batch")), Ok(Some(marker)));
        let made = marker.batch(Timestamp::from_millis(T), producer(None), Offset::new(31), LeaderEpoch::new(9));
        assert_eq!(made, bytes, "{name}");
    }
}

#[test]
fn leader_change_is_java_s_bytes() {
    let bytes = golden("java_leader_change");
    let view = check(&bytes).expect("golden batch");
    let value = control::leader_change(NodeId::new(1), &[NodeId::new(1), NodeId::new(2)], &[NodeId::new(1)]);
    assert_eq!(control::read(&view), Ok((Some(ControlType::LeaderChange), Some(&value[..]))));
    let (at, offset, epoch) = (Timestamp::from_millis(T), Offset::new(40), LeaderEpoch::new(9));
    assert_eq!(control::batch(ControlType::LeaderChange, &value, at, offset, epoch), bytes);
    assert_eq!(EndTransaction::read(&view), Ok(None));
}

#[test]
fn filter_writes_java_s_bytes() {
    let bytes = golden("java_filter_input");
    let view: BatchView<'_> = check(&bytes).expect("golden batch");
    let filter_to = |keys: &[u8], keep_empty| {
        let retention = Retention {
            now: Timestamp::from_millis(T + 1000),
            delete_retention_ms: 500,
            keep_empty,
            discard_records: false,
            marker_of_gone_transaction: false,
            inflated_bytes_max: BOUND,
        };
        filter(&view, &retention, |record, _| record.key.is_some_and(|key| keys.contains(&key[0])))
            .expect("sound batch")
    };
    assert_eq!(filter_to(b"bc", false), Filtered::Rewritten(golden("java_filter_drops_a_and_d").into()));
    assert_eq!(filter_to(b"ac", false), Filtered::Rewritten(golden("java_filter_drops_tombstone").into()));
    assert_eq!(filter_to(b"", true), Filtered::EmptyKept(golden("java_filter_keeps_header").into()));
    assert_eq!(filter_to(b"", false), Filtered::Gone);
}
