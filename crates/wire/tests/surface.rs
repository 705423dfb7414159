//! What a user of the crate relies on: the table of APIs, frames, limits on hostile input, and bytes frozen by hand.

use std::borrow::Cow;

use types::TopicId;
use wire::api_versions_response::ApiVersionsResponse;
use wire::fetch_request::FetchRequest;
use wire::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use wire::frame::{self, FrameError, RequestHeader};
use wire::heartbeat_request::HeartbeatRequest;
use wire::metadata_request::MetadataRequest;
use wire::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::records::{GroupRecordKey, GroupRecordValue, MetadataRecord};
use wire::records::{offset_commit_key::OffsetCommitKey, offset_commit_value::OffsetCommitValue};
use wire::records::{partition_record::PartitionRecord, topic_record::TopicRecord};
use wire::{Api, ApiKey, DecodeFault, EncodeFault, Hole, Message, Reader, Records, Writer};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encoded<'a, M: Message<'a>>(message: &M, version: i16) -> String {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap();
    hex(&writer.into_bytes())
}

#[test]
fn the_table_says_what_kafka_4_3_1_answers() {
    let mut listed = 0;
    for line in include_str!("kafka-4.3.1-api-versions.txt").lines().filter(|line| !line.starts_with('#')) {
        let (head, versions) = line.split_once(": ").unwrap();
        let (name, key) = head.trim_end_matches(')').split_once('(').unwrap();
        let api = ApiKey::from_wire(key.parse().unwrap()).unwrap_or_else(|| panic!("{name} is missing")).api();
        assert_eq!(api.name, name);
        listed += 1;
        if versions == "UNSUPPORTED" {
            continue;
        }
        let (min, max) = versions.split_once(" to ").unwrap_or((versions, versions));
        let range = (api.version_min_advertised().to_string(), api.version_max.to_string());
        assert_eq!(range, (min.to_owned(), max.to_owned()), "{name}");
    }
    assert_eq!(Api::all().len(), listed);
}

#[test]
fn produce_is_announced_from_0_and_answered_from_3() {
    let produce = ApiKey::Produce.api();
    assert_eq!(produce.version_min_advertised(), 0);
    assert!(!produce.serves(2) && produce.serves(3) && produce.serves(13) && !produce.serves(14));
    // Decodable, hidden: Kafka's newest InitProducerId is not stable.
    let init = ApiKey::InitProducerId.api();
    assert_eq!((init.version_max, init.version_max_decoded), (5, 6));
    assert_eq!(ApiKey::from_wire(4), None);
    assert_eq!(ApiKey::from_wire(-1), None);
}

#[test]
fn header_versions_follow_the_body_but_for_api_versions() {
    assert_eq!(ApiKey::Fetch.api().request_header_version(11), 1);
    assert_eq!(ApiKey::Fetch.api().request_header_version(12), 2);
    assert_eq!(ApiKey::Fetch.api().response_header_version(12), 1);
    assert_eq!(ApiKey::ApiVersions.api().request_header_version(3), 2);
    assert_eq!(ApiKey::ApiVersions.api().response_header_version(4), 0);
    assert_eq!(ApiKey::SaslHandshake.api().request_header_version(1), 1);
}

#[test]
fn a_frame_size_is_bounded_before_it_is_believed() {
    assert_eq!(frame::peek_size(&[0, 0, 1], 100), Ok(None));
    assert_eq!(frame::peek_size(&[0, 0, 0, 100, 9], 100), Ok(Some(100)));
    assert_eq!(frame::peek_size(&[0, 0, 0, 101], 100), Err(FrameError::TooLarge { bytes: 101, bytes_max: 100 }));
    assert_eq!(frame::peek_size(&[0xff; 4], 100), Err(FrameError::NegativeSize(-1)));
}

#[test]
fn a_request_of_an_unknown_api_or_version_still_has_a_header() {
    let mut bytes = vec![0x7f, 0xff, 0, 9, 0, 0, 0, 5, 0xff, 0xff];
    let header = RequestHeader::decode(&mut Reader::new(&bytes)).unwrap();
    assert_eq!((header.api_key, header.api, header.correlation_id), (0x7fff, None, 5));
    assert!(!header.is_served());
    // ApiVersions 99 from the future: flexible, so the header has tagged fields.
    bytes = vec![0, 18, 0, 99, 0, 0, 0, 6, 0, 1, b'x', 0, 0xaa];
    let mut reader = Reader::new(&bytes);
    let header = RequestHeader::decode(&mut reader).unwrap();
    assert_eq!((header.client_id.as_deref(), header.is_served(), reader.remaining()), (Some("x"), false, 1));
}

#[test]
fn request_and_response_frames_are_kafkas_bytes() {
    let heartbeat =
        HeartbeatRequest { group_id: "g".into(), generation_id: 3, member_id: "m".into(), ..Default::default() };
    let mut writer = Writer::new();
    frame::encode_request(&mut writer, 1, 7, Some("cli"), &heartbeat).unwrap();
    // size, key 12, version 1, correlation 7, "cli" | "g", 3, "m"
    assert_eq!(
        hex(&writer.into_bytes()),
        "00000017000c000100000007".to_owned() + "0003636c69" + "00016700000003" + "00016d"
    );
    let mut writer = Writer::new();
    frame::encode_request(&mut writer, 4, 7, None, &heartbeat).unwrap();
    // no client id, no tags | "g", 3, "m", no instance id, no tags
    assert_eq!(
        hex(&writer.into_bytes()),
        "00000015000c000400000007".to_owned() + "ffff00" + "026700000003" + "026d" + "0000"
    );

    let mut writer = Writer::new();
    frame::encode_response(&mut writer, 3, 9, &ApiVersionsResponse::default()).unwrap();
    // header v0 even though the body is flexible: correlation | error, no keys, throttle, no tags
    assert_eq!(hex(&writer.into_bytes()), "0000000c00000009".to_owned() + "0000" + "01" + "00000000" + "00");
}

#[test]
fn several_frames_share_a_writer_and_a_failed_one_leaves_no_trace() {
    let good = HeartbeatRequest::default();
    let bad = HeartbeatRequest { group_instance_id: Some("i".into()), ..Default::default() };
    let mut writer = Writer::new();
    frame::encode_request(&mut writer, 1, 1, None, &good).unwrap();
    let before = writer.as_slice().to_vec();
    let error = frame::encode_request(&mut writer, 1, 2, None, &bad).unwrap_err();
    assert_eq!(
        (error.message, error.field, error.fault),
        ("HeartbeatRequest", "GroupInstanceId", EncodeFault::AbsentInVersion)
    );
    assert_eq!(writer.as_slice(), before);
    frame::encode_request(&mut writer, 1, 2, None, &good).unwrap();
    assert_eq!(writer.len(), 2 * before.len());
}

#[test]
fn holes_are_announced_counted_and_left_out() {
    let partition = |index, bytes| PartitionData {
        partition_index: index,
        records: Records::Hole(bytes),
        aborted_transactions: None,
        ..Default::default()
    };
    let topic = FetchableTopicResponse {
        topic: "t".into(),
        partitions: vec![partition(0, 1000), partition(1, 0), partition(2, 5)],
        ..Default::default()
    };
    let response = FetchResponse { responses: vec![topic], ..Default::default() };
    for version in 4..=12 {
        let mut writer = Writer::new();
        frame::encode_response(&mut writer, version, 1, &response).unwrap();
        let (bytes, holes) = writer.into_parts();
        assert_eq!(holes.iter().map(|hole: &Hole| hole.bytes).collect::<Vec<_>>(), [1000, 5]);
        let mut whole = bytes[..holes[0].at].to_vec();
        whole.extend([7; 1000]);
        whole.extend(&bytes[holes[0].at..holes[1].at]);
        whole.extend([9; 5]);
        whole.extend(&bytes[holes[1].at..]);
        assert_eq!(frame::peek_size(&whole, u32::MAX).unwrap().unwrap(), whole.len() - frame::SIZE_BYTES);
        let mut reader = Reader::new(&whole[frame::SIZE_BYTES..]);
        assert_eq!(frame::decode_response_header(&mut reader, ApiKey::Fetch.api(), version), Ok(1));
        let read = FetchResponse::decode(&mut reader, version).unwrap();
        reader.finish().unwrap();
        let Records::At(at) = &read.responses[0].partitions[2].records else { panic!("records") };
        assert_eq!(whole[frame::SIZE_BYTES..][at.clone()], [9; 5]);
    }
}

#[test]
fn an_owned_request_says_the_same() {
    let partition =
        PartitionProduceData { index: 1, records: Records::Inline(Cow::Borrowed(b"xyz")), ..Default::default() };
    let topic = TopicProduceData { name: "t".into(), partition_data: vec![partition], ..Default::default() };
    let request = ProduceRequest { acks: 1, topic_data: vec![topic], ..Default::default() };
    assert_eq!(request.clone().into_owned(), request);
}

#[test]
fn counts_beyond_the_message_are_refused_before_any_allocation() {
    // Metadata v1: an array of 2^31 - 1 topics in a message of four bytes.
    let error = MetadataRequest::from_bytes(&[0x7f, 0xff, 0xff, 0xff], 1).unwrap_err();
    assert_eq!(error.fault, DecodeFault::CountBeyondMessage);
    assert_eq!(
        error.to_string(),
        "MetadataRequest version 1: more elements than the message could hold in field Topics at byte 4"
    );
    // Any negative count is null, as Kafka reads it.
    assert_eq!(MetadataRequest::from_bytes(&[0xff, 0xff, 0xff, 0xfe], 1).unwrap().topics, None);
    // Null where version 0 has none.
    assert_eq!(MetadataRequest::from_bytes(&[0xff; 4], 0).unwrap_err().fault, DecodeFault::UnexpectedNull);
    // A varint without an end.
    assert_eq!(MetadataRequest::from_bytes(&[0xff; 9], 9).unwrap_err().fault, DecodeFault::VarintTooLong);
    // Two bytes that are no UTF-8.
    assert_eq!(
        MetadataRequest::from_bytes(&[0, 0, 0, 1, 0, 2, 0xc3, 0x28], 1).unwrap_err().fault,
        DecodeFault::NotUtf8
    );
    // A compact string of 32,768 bytes, with all of them there: version 9, one topic, its name.
    let mut long = vec![2, 0x81, 0x80, 2];
    long.resize(long.len() + 32_768 + 8, b'x');
    assert_eq!(MetadataRequest::from_bytes(&long, 9).unwrap_err().fault, DecodeFault::StringTooLong);
}

#[test]
fn a_flood_of_tiny_elements_is_refused_by_its_memory() {
    // Fetch v12: a million topics of three bytes each (empty name, no partitions, no tags).
    let mut bytes = vec![0; 4 + 4 + 4 + 4 + 1 + 4 + 4];
    bytes.extend([0xc1, 0x84, 0x3d]); // 1,000,000 and one
    bytes.extend([1, 1, 0].repeat(1_000_000));
    let error = FetchRequest::from_bytes(&bytes, 12).unwrap_err();
    assert_eq!(error.fault, DecodeFault::MemoryExceeded);
}

#[test]
fn what_a_version_cannot_carry_is_an_error_or_dropped_as_kafka_does() {
    // LastFetchedEpoch must not be dropped; the rack may be.
    let mut request = FetchRequest { rack_id: "r".into(), ..Default::default() };
    let mut writer = Writer::new();
    request.encode(&mut writer, 4).unwrap();
    request.forgotten_topics_data.push(Default::default());
    assert_eq!(request.encode(&mut writer, 4).unwrap_err().field, "ForgottenTopicsData");
    assert_eq!(request.encode(&mut writer, 3).unwrap_err().fault, EncodeFault::UnknownVersion);
    // Absent fields have Kafka's defaults.
    let read = FetchRequest::from_bytes(&[0; 21], 4).unwrap();
    assert_eq!((read.session_epoch, read.max_bytes, read.replica_id), (-1, 0, 0));
}

#[test]
fn a_string_too_long_for_a_reader_is_not_written() {
    for (length, fits) in [(32_767, true), (32_768, false)] {
        for version in [1, 4] {
            let request = HeartbeatRequest { group_id: "g".repeat(length).into(), ..Default::default() };
            assert_eq!(request.encode(&mut Writer::new(), version).is_ok(), fits, "{length} in version {version}");
        }
    }
}

#[test]
fn unknown_tagged_fields_are_kept() {
    let mut request = FetchRequest::default();
    request.tags.push(wire::tags::TAG_MIN, bytes::Bytes::from_static(b"ours"));
    let mut writer = Writer::new();
    request.encode(&mut writer, 17).unwrap();
    let bytes = writer.into_bytes();
    let read = FetchRequest::from_bytes(&bytes, 17).unwrap();
    assert_eq!(read.tags.get(wire::tags::TAG_MIN).unwrap().as_ref(), b"ours");
    assert_eq!(read, request);
}

#[test]
fn metadata_records_have_kafkas_frame() {
    let id = TopicId::from_bytes([0x11; 16]);
    let record = MetadataRecord::from(TopicRecord { name: "ab".into(), topic_id: id, ..Default::default() });
    let mut writer = Writer::new();
    record.encode(&mut writer, 0).unwrap();
    let bytes = writer.into_bytes();
    // frame 1, type 2, version 0 | "ab", id, no tags
    assert_eq!(hex(&bytes), "010200".to_owned() + "036162" + &"11".repeat(16) + "00");
    assert_eq!(MetadataRecord::from_bytes(&bytes), Ok(record));
    assert_eq!(MetadataRecord::from_bytes(&[2, 2, 0]).unwrap_err().fault, DecodeFault::UnknownVersion);
    assert_eq!(MetadataRecord::from_bytes(&[1, 99, 0]).unwrap_err().fault, DecodeFault::UnknownType);
    // Eligible leaders ride in tagged fields of version 2 and may not be dropped.
    let partition = PartitionRecord { eligible_leader_replicas: Some(vec![1]), ..Default::default() };
    let error = MetadataRecord::from(partition).encode(&mut Writer::new(), 1).unwrap_err();
    assert_eq!(error.field, "EligibleLeaderReplicas");
}

#[test]
fn group_records_begin_with_type_and_version() {
    let key = GroupRecordKey::from(OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 2 });
    let mut writer = Writer::new();
    key.encode(&mut writer).unwrap();
    let bytes = writer.into_bytes();
    assert_eq!(hex(&bytes), "0001".to_owned() + "000167" + "000174" + "00000002");
    assert_eq!(GroupRecordKey::from_bytes(&bytes), Ok(key.clone()));

    let value = OffsetCommitValue { offset: 9, leader_epoch: 1, commit_timestamp: 5, ..Default::default() };
    let mut writer = Writer::new();
    GroupRecordValue::from(value).encode(&mut writer, 3).unwrap();
    let bytes = writer.into_bytes();
    assert_eq!(hex(&bytes), "0003".to_owned() + "0000000000000009" + "00000001" + "0000" + "0000000000000005");
    assert!(
        matches!(GroupRecordValue::from_bytes(key.kind(), &bytes), Ok(GroupRecordValue::OffsetCommit(value)) if value.offset == 9)
    );
}

#[test]
fn a_subscription_from_the_future_is_read_as_the_newest_known() {
    let mut bytes = vec![0, 9, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0xff];
    bytes.extend(b"more");
    let read = wire::records::read_subscription(&bytes).unwrap();
    assert_eq!((read.topics.len(), read.generation_id, read.rack_id), (1, 7, None));
}

#[test]
fn hot_messages_are_frozen() {
    // Produce v9: no transactional id, acks -1, 30 s, one topic "t", partition 1, three bytes, tag sections.
    let partition =
        PartitionProduceData { index: 1, records: Records::Inline(Cow::Borrowed(b"xyz")), ..Default::default() };
    let topic = TopicProduceData { name: "t".into(), partition_data: vec![partition], ..Default::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    assert_eq!(encoded(&request, 9), "00ffff0000753002027402000000010478797a000000");
    assert_eq!(
        encoded(&request, 3),
        "ffffffff00007530000000010001740000000100000001".to_owned() + "00000003" + "78797a"
    );
}
