//! Records to write and to find again: every codec, keys and values of every kind, headers, an idempotent producer; and
//! a reader that returns all that a consumer could see of them.

use std::time::Duration;

use batch::{BatchBuilder, BatchView, Codec, Inflated, Producer, check};
use types::limits::INFLATED_BATCH_BYTES_MAX;
use types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::plain_client::{PlainClient, is_retriable};

/// The codecs that clients send.
pub const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// Where the records' time begins.
const TIME_MS: i64 = 1_700_000_000_000;

const FETCH_BYTES: i32 = 4 << 20;
const TRIES_MAX: u32 = 200;

/// A record as a consumer sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Its codec's name.
    pub codec: &'static str,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A batch of `records` records, each its own size, with `value_bytes` or more in each value that is not null.
pub fn batch_of(codec: Codec, seed: i64, records: i64, value_bytes: usize, producer: Option<Producer>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    if let Some(producer) = producer {
        builder = builder.producer(producer);
    }
    for at in 0..records {
        let number = seed * 1000 + at;
        let key = format!("key-{}", number % 7);
        let value = format!("{number}:").into_bytes().into_iter().chain((0..value_bytes).map(|i| (i % 251) as u8));
        let value: Vec<u8> = value.collect();
        let trace = number.to_be_bytes();
        let headers: &[(&str, Option<&[u8]>)] =
            if at % 2 == 0 { &[("trace", Some(&trace)), ("empty", Some(b"")), ("null", None)] } else { &[] };
        let key = (at % 3 != 1).then_some(key.as_bytes());
        let value = (at % 5 != 4).then_some(&value[..]);
        builder.append(Timestamp::from_millis(TIME_MS + number), key, value, headers);
    }
    builder.build_unstamped().to_vec()
}

/// An idempotent producer at one of its sequences.
pub fn producer(id: i64, sequence: i32) -> Option<Producer> {
    Some(Producer {
        id: ProducerId::new(id),
        epoch: ProducerEpoch::new(0),
        base_sequence: Some(Sequence::new(sequence)),
    })
}

/// Writes one batch with acks=all and returns the offset it got. What may pass is tried again.
pub fn write(address: &str, topic: &str, partition: i32, batch: &[u8]) -> Result<i64, String> {
    let mut client = PlainClient::connect(address)?;
    for _ in 0..TRIES_MAX {
        client.send_produce(topic, partition, batch)?;
        let acked = client.receive_produce()?;
        match acked.error {
            0 => return Ok(acked.base_offset),
            error if is_retriable(error) => std::thread::sleep(Duration::from_millis(50)),
            error => return Err(format!("producing to {topic}-{partition}: error code {error}")),
        }
    }
    Err(format!("producing to {topic}-{partition}: still refused"))
}

/// Writes batches of every codec, of a plain and of an idempotent producer with this id.
pub fn write_all(address: &str, topic: &str, partition: i32, producer_id: i64) -> Result<(), String> {
    for (at, codec) in CODECS.into_iter().enumerate() {
        let at = at as i64;
        write(address, topic, partition, &batch_of(codec, at, 20, 300, None))?;
        write(address, topic, partition, &batch_of(codec, 10 + at, 5, 10, producer(producer_id, at as i32 * 5)))?;
    }
    Ok(())
}

/// The sequence that follows [`write_all`]'s.
pub const SEQUENCE_NEXT: i32 = 25;

/// Everything in a partition from its start to its high watermark. Every batch is checked on the way.
pub fn read_all(address: &str, topic: &str, partition: i32, from: i64) -> Result<Vec<Row>, String> {
    let what = format!("{topic}-{partition}");
    let mut client = PlainClient::connect(address)?;
    let mut rows = Vec::new();
    let (mut at, mut tries) = (from, 0);
    loop {
        let answer = client.fetch(topic, partition, at, FETCH_BYTES)?;
        if is_retriable(answer.error) && tries < TRIES_MAX {
            tries += 1;
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        if answer.error != 0 {
            return Err(format!("fetching {what} at {at}: error code {}", answer.error));
        }
        if answer.high_watermark <= at {
            return Ok(rows);
        }
        let before = at;
        let mut rest = &answer.bytes[..];
        while let Some(size) = BatchView::peek_size(rest).map_err(|e| format!("{what} at {at}: {e}"))? {
            let Some(bytes) = rest.get(..size) else { break };
            rest = &rest[size..];
            let view = check(bytes).map_err(|e| format!("{what} at {at}: {e}"))?;
            let inflated =
                Inflated::new(&view, INFLATED_BATCH_BYTES_MAX).map_err(|e| format!("{what} at {at}: {e}"))?;
            for record in inflated.records() {
                let record = record.map_err(|e| format!("{what} at {at}: {e}"))?;
                let offset = inflated.offset_of(&record).value();
                if offset < before {
                    continue;
                }
                let copy = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                rows.push(Row {
                    offset,
                    timestamp_ms: record.timestamp.millis(),
                    codec: view.info().codec.name(),
                    key: copy(record.key),
                    value: copy(record.value),
                    headers: record.headers().map(|header| (header.key.to_vec(), copy(header.value))).collect(),
                });
            }
            at = view.last_offset().value() + 1;
        }
        if at == before {
            return Err(format!("{what} at {at}: nothing, below the high watermark {}", answer.high_watermark));
        }
    }
}

/// Whether two readings are the same, and if not, where they part.
pub fn same(what: &str, expected: &[Row], found: &[Row]) -> Result<(), String> {
    if let Some((one, other)) = expected.iter().zip(found).find(|(one, other)| one != other) {
        return Err(format!("{what}: expected {}, found {}", short(one), short(other)));
    }
    if expected.len() != found.len() {
        return Err(format!("{what}: expected {} records, found {}", expected.len(), found.len()));
    }
    Ok(())
}

fn short(row: &Row) -> String {
    format!("{row:?}").chars().take(200).collect()
}
