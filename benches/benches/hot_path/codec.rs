//! Requests decoded and replies encoded, in the versions that the bare server speaks.

use std::borrow::Cow;
use std::hint::black_box;

use benches::bare::{self, FETCH_VERSION, Fetched, Header, PRODUCE_VERSION};
use criterion::Criterion;
use wire::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use wire::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use wire::frame::{self, RequestHeader};
use wire::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use wire::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use wire::{Message, Reader, Records, Request, Writer};

use crate::produced;

const PARTITIONS: i32 = 8;

/// A request without its four bytes of size, as a connection hands it on.
fn framed<'a>(version: i16, request: &impl Request<'a>) -> Vec<u8> {
    let mut writer = Writer::new();
    frame::encode_request(&mut writer, version, 1, Some("bench"), request).expect("encodes");
    writer.into_bytes().split_off(frame::SIZE_BYTES).to_vec()
}

pub(crate) fn produce(criterion: &mut Criterion) {
    let batch = produced(1, 1024);
    let partition = |index| PartitionProduceData {
        index,
        records: Records::Inline(Cow::Borrowed(&batch)),
        ..PartitionProduceData::default()
    };
    let topic = TopicProduceData {
        name: bare::TOPIC.into(),
        partition_data: (0..PARTITIONS).map(partition).collect(),
        ..TopicProduceData::default()
    };
    let request = ProduceRequest { acks: 1, timeout_ms: 1000, topic_data: vec![topic], ..ProduceRequest::default() };
    let mut frame = framed(PRODUCE_VERSION, &request);

    let mut group = criterion.benchmark_group("produce_codec");
    group.bench_function("node", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::new(black_box(&frame));
            let header = RequestHeader::decode(&mut reader).expect("a header");
            let request = ProduceRequest::decode(&mut reader, header.api_version).expect("a request");
            let answer = |topic: &TopicProduceData<'_>| TopicProduceResponse {
                name: topic.name.clone().into_owned().into(),
                partition_responses: topic
                    .partition_data
                    .iter()
                    .map(|partition| PartitionProduceResponse {
                        index: partition.index,
                        ..PartitionProduceResponse::default()
                    })
                    .collect(),
                ..TopicProduceResponse::default()
            };
            let response = ProduceResponse {
                responses: request.topic_data.iter().map(answer).collect(),
                ..ProduceResponse::default()
            };
            let mut writer = Writer::new();
            frame::encode_response(&mut writer, header.api_version, header.correlation_id, &response).expect("encodes");
            writer
        });
    });
    let mut out = Vec::with_capacity(4096);
    group.bench_function("floor", |bencher| {
        bencher.iter(|| {
            out.clear();
            let mut reader = bare::Reader(black_box(&mut frame));
            let header = Header::read(&mut reader).expect("a header");
            header.produce(&mut reader, &mut out, |_, records| Ok(records.len() as i64)).expect("a request");
        });
    });
    group.finish();
}

pub(crate) fn fetch(criterion: &mut Criterion) {
    let partition = |partition| FetchPartition {
        partition,
        fetch_offset: 1000,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic: bare::TOPIC.into(),
        partitions: (0..PARTITIONS).map(partition).collect(),
        ..FetchTopic::default()
    };
    let request =
        FetchRequest { max_wait_ms: 500, min_bytes: 1, max_bytes: 50 << 20, topics: vec![topic], ..Default::default() };
    let mut frame = framed(FETCH_VERSION, &request);

    let mut group = criterion.benchmark_group("fetch_codec");
    group.bench_function("node", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::new(black_box(&frame));
            let header = RequestHeader::decode(&mut reader).expect("a header");
            let request = FetchRequest::decode(&mut reader, header.api_version).expect("a request");
            let answer = |topic: &FetchTopic<'_>| FetchableTopicResponse {
                topic: topic.topic.clone().into_owned().into(),
                partitions: topic
                    .partitions
                    .iter()
                    .map(|partition| PartitionData {
                        partition_index: partition.partition,
                        high_watermark: 2000,
                        records: Records::Hole(1 << 16),
                        ..PartitionData::default()
                    })
                    .collect(),
                ..FetchableTopicResponse::default()
            };
            let response =
                FetchResponse { responses: request.topics.iter().map(answer).collect(), ..FetchResponse::default() };
            let mut writer = Writer::new();
            frame::encode_response(&mut writer, header.api_version, header.correlation_id, &response).expect("encodes");
            writer
        });
    });
    let mut out = Vec::with_capacity(4096);
    group.bench_function("floor", |bencher| {
        bencher.iter(|| {
            out.clear();
            let mut reader = bare::Reader(black_box(&mut frame));
            let header = Header::read(&mut reader).expect("a header");
            let found = |_, _, _| Fetched { error: 0, start_offset: 0, end_offset: 2000, position: 0, bytes: 1 << 16 };
            header.fetch(&mut reader, &mut out, found, |at, _, _| _ = black_box(at)).expect("a request");
        });
    });
    group.finish();
}
