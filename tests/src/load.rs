//! Writers that keep many requests in flight, and the history of what they sent and what was answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use batch::{BatchBuilder, Codec};
use types::Timestamp;

use crate::plain_client::PlainClient;

/// Connections that write at once.
pub const WRITERS: usize = 8;
/// Requests that each of them keeps unanswered.
pub const IN_FLIGHT_PER_WRITER: usize = 32;
/// Records of a batch.
pub const RECORDS_PER_BATCH: usize = 3;

/// What is written where.
#[derive(Clone)]
pub struct Plan {
    /// The topic.
    pub topic: &'static str,
    /// Its partitions; a writer goes round them.
    pub partitions: i32,
    /// Bytes of a record's value, at least 16.
    pub value_bytes: usize,
    /// Keys a writer uses on each partition; `None` writes null keys.
    pub keys: Option<u32>,
}

/// A record's name: the writer's run and the number of the record in it. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Id {
    /// Counts the writers of all rounds.
    pub writer: u32,
    /// Counts the writer's records.
    pub number: u64,
}

/// One batch: its first record's id, where it was sent, and what was answered.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The id of the first record; the others follow.
    pub first: Id,
    /// Where to.
    pub partition: i32,
    /// The base offset, once acked.
    pub acked: Option<i64>,
    /// When the answer came; `None` too for what an earlier check has found, which must stay.
    pub acked_at: Option<Instant>,
    /// The error code, where one was answered.
    pub refused: Option<i16>,
}

/// Everything that one or more rounds sent to a topic, in each writer's order.
#[derive(Default)]
pub struct History {
    /// By writer.
    pub sent: BTreeMap<u32, Vec<Sent>>,
}

impl History {
    /// Batches acked so far.
    pub fn acked(&self) -> usize {
        self.sent.values().flatten().filter(|s| s.acked.is_some()).count()
    }
}

/// Writers under way.
pub struct Load {
    stop: Arc<AtomicBool>,
    in_flight: Arc<AtomicUsize>,
    acked: Arc<AtomicUsize>,
    writers: Vec<(u32, JoinHandle<Vec<Sent>>)>,
}

/// The key of a record: it tells the writer, so that the order of values of a key is known.
pub fn key_of(id: Id, partition: i32, keys: u32) -> String {
    format!("{}-{partition}-{}", id.writer, id.number % u64::from(keys))
}

/// The id in the first bytes of a record's value.
pub fn id_of(value: &[u8]) -> Option<Id> {
    let writer = u32::from_be_bytes(value.get(..4)?.try_into().ok()?);
    let number = u64::from_be_bytes(value.get(4..12)?.try_into().ok()?);
    Some(Id { writer, number })
}

/// `| writer (4) | number (8) | filler that depends on both |`
pub fn value_of(id: Id, bytes: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(bytes);
    value.extend_from_slice(&id.writer.to_be_bytes());
    value.extend_from_slice(&id.number.to_be_bytes());
    let mut state = (u64::from(id.writer) << 40) ^ id.number;
    while value.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value.push((state >> 56) as u8);
    }
    value
}

impl Load {
    /// Starts the writers; their numbers begin at `first_writer`.
    pub fn start(address: &str, plan: &Plan, first_writer: u32) -> Result<Load, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let in_flight = Arc::new(AtomicUsize::new(0));
        let acked = Arc::new(AtomicUsize::new(0));
        let mut writers = Vec::new();
        for index in 0..WRITERS as u32 {
            let number = first_writer + index;
            let client = PlainClient::connect(address)?;
            let (plan, stop, in_flight, acked) = (plan.clone(), stop.clone(), in_flight.clone(), acked.clone());
            let handle = std::thread::spawn(move || write(client, &plan, number, &stop, &in_flight, &acked));
            writers.push((number, handle));
        }
        Ok(Load { stop, in_flight, acked, writers })
    }

    /// Requests sent and not answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests answered without an error.
    pub fn acked(&self) -> usize {
        self.acked.load(Ordering::Relaxed)
    }

    /// Collects what was sent into `history`, after the node was killed or the writers should stop.
    pub fn finish(self, history: &mut History) {
        self.stop.store(true, Ordering::Relaxed);
        for (number, writer) in self.writers {
            history.sent.insert(number, writer.join().expect("a writer ends with its history"));
        }
    }
}

fn write(
    mut client: PlainClient,
    plan: &Plan,
    number: u32,
    stop: &Arc<AtomicBool>,
    in_flight: &Arc<AtomicUsize>,
    acked: &Arc<AtomicUsize>,
) -> Vec<Sent> {
    let sent = Arc::new(Mutex::new(Vec::<Sent>::new()));
    // The sender waits where this many requests are unanswered.
    let (slots, answered) = sync_channel::<()>(IN_FLIGHT_PER_WRITER);
    let Ok(mut answers) = client.second_half() else { return Vec::new() };
    let reader = {
        let (sent, in_flight, acked) = (sent.clone(), in_flight.clone(), acked.clone());
        std::thread::spawn(move || {
            while answered.recv().is_ok() {
                let Ok(answer) = answers.receive_produce() else { return };
                in_flight.fetch_sub(1, Ordering::Relaxed);
                let mut sent = sent.lock().expect("no thread panics with it");
                // Answers come in the order of the requests; the number says so too.
                let entry = &mut sent[answer.correlation as usize - 1];
                if answer.error == 0 {
                    entry.acked = Some(answer.base_offset);
                    entry.acked_at = Some(Instant::now());
                    acked.fetch_add(1, Ordering::Relaxed);
                } else {
                    entry.refused = Some(answer.error);
                }
            }
        })
    };
    let mut next = 0;
    let mut partition = number as i32 % plan.partitions;
    while !stop.load(Ordering::Relaxed) {
        let first = Id { writer: number, number: next };
        let batch = batch_of(plan, first, partition);
        let entry = Sent { first, partition, acked: None, acked_at: None, refused: None };
        sent.lock().expect("no thread panics with it").push(entry);
        in_flight.fetch_add(1, Ordering::Relaxed);
        if client.send_produce(plan.topic, partition, &batch).is_err() || slots.send(()).is_err() {
            break;
        }
        next += RECORDS_PER_BATCH as u64;
        partition = (partition + 1) % plan.partitions;
    }
    drop(slots);
    let _ = reader.join();
    std::mem::take(&mut *sent.lock().expect("no thread panicked with it"))
}

fn batch_of(plan: &Plan, first: Id, partition: i32) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
    let mut builder = BatchBuilder::new(Codec::None);
    for n in 0..RECORDS_PER_BATCH as u64 {
        let id = Id { number: first.number + n, ..first };
        let key = plan.keys.map(|keys| key_of(id, partition, keys));
        let value = value_of(id, plan.value_bytes);
        builder.append(Timestamp::from_millis(now), key.as_deref().map(str::as_bytes), Some(&value), &[]);
    }
    builder.build_unstamped().to_vec()
}
