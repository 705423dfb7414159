//! The load generator against a test double: a broker of one topic in memory that speaks enough of the protocol, and
//! that loses, doubles, reorders or alters a record when told to. Each of these must fail a run; the honest double must not,
//! nor one whose retention is faster than its readers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use loadgen::outcome::SelfCheck;
use loadgen::{Outcome, RunError, RunOptions, Workload, run};
use types::ErrorCode;
use wire::api_versions_response::{ApiVersion, ApiVersionsResponse};
use wire::fetch_request::FetchRequest;
use wire::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use wire::frame::{self, RequestHeader};
use wire::list_offsets_request::ListOffsetsRequest;
use wire::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse};
use wire::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use wire::produce_request::ProduceRequest;
use wire::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use wire::{ApiKey, Message, Reader, Records, Response, Writer};

const TOPIC: &str = "double";
const PARTITIONS: i32 = 3;
/// The batch of each partition that a fault befalls.
const FAULTY_BATCH: usize = 5;
/// The batch of each partition behind which retention takes everything: later by more than a reader is ever behind.
const TRIMMED_BATCH: usize = 80;
/// How long reads are held: longer than a run here lasts.
const HELD_FOR: Duration = Duration::from_millis(2500);
/// Offsets of other people's records that go with it.
const FOREIGN: i64 = 1000;
/// The one version of each API that is spoken.
const VERSIONS: [(ApiKey, i16); 5] = [
    (ApiKey::Produce, 9),
    (ApiKey::Fetch, 12),
    (ApiKey::ListOffsets, 7),
    (ApiKey::Metadata, 12),
    (ApiKey::ApiVersions, 3),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// Acked and thrown away.
    Lose,
    /// Written twice.
    Double,
    /// Written behind the batch that came after it.
    Reorder,
    /// Written with another byte in a value, the CRC made right.
    Alter,
    /// Acked 300 ms late, once.
    Stall,
    /// The first batch of each partition is refused.
    Refuse,
    /// Retention takes a batch before anybody reads it.
    Expire,
    /// Acked and thrown away, and later retention takes many records that were not ours.
    LoseAndExpire,
    /// Nothing is to be read from the faulty batch on, until after the end.
    HoldReads,
    /// Nothing is ever to be read from the faulty batch on.
    Withhold,
    /// There is no topic.
    Absent,
    /// There is one, and it has no leader yet.
    Leaderless,
}

#[derive(Default)]
struct Log {
    batches: Vec<(i64, Vec<u8>)>,
    start: i64,
    end: i64,
    received: usize,
    held_back: Option<Vec<u8>>,
    readable_at: Option<Instant>,
}

impl Log {
    fn write(&mut self, mut batch: Vec<u8>) {
        batch[..8].copy_from_slice(&self.end.to_be_bytes());
        let records = i64::from(i32::from_be_bytes(batch[57..61].try_into().expect("4 bytes")));
        self.batches.push((self.end, batch));
        self.end += records;
    }

    fn append(&mut self, mut batch: Vec<u8>, fault: Fault) -> i64 {
        let base = self.end;
        self.received += 1;
        let befallen = self.received == FAULTY_BATCH;
        match fault {
            Fault::Lose | Fault::LoseAndExpire if befallen => {}
            Fault::Double if befallen => {
                self.write(batch.clone());
                self.write(batch);
            }
            Fault::Reorder if befallen => self.held_back = Some(batch),
            Fault::Alter if befallen => {
                let last = batch.len() - 2;
                batch[last] ^= 0x10;
                let crc = batch::crc32c(&batch[21..]);
                batch[17..21].copy_from_slice(&crc.to_be_bytes());
                self.write(batch);
            }
            _ => {
                self.write(batch);
                if let Some(late) = self.held_back.take() {
                    self.write(late);
                }
            }
        }
        if matches!(fault, Fault::Expire | Fault::LoseAndExpire) && self.received == TRIMMED_BATCH {
            self.end += FOREIGN;
            self.start = self.end;
            self.batches.clear();
        }
        if fault == Fault::Stall && befallen {
            thread::sleep(Duration::from_millis(300));
        }
        if befallen {
            self.readable_at = match fault {
                Fault::HoldReads => Some(Instant::now() + HELD_FOR),
                Fault::Withhold => Some(Instant::now() + Duration::from_secs(3600)),
                _ => None,
            };
        }
        base
    }
}

struct Broker {
    port: u16,
    logs: Vec<Mutex<Log>>,
    fault: Fault,
}

impl Broker {
    fn start(fault: Fault) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let logs = (0..PARTITIONS).map(|_| Mutex::default()).collect();
        let broker = Arc::new(Self { port, logs, fault });
        let serving = Arc::clone(&broker);
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (broker, socket) = (Arc::clone(&serving), socket.expect("a connection"));
                thread::spawn(move || broker.serve(socket));
            }
        });
        broker
    }

    fn serve(&self, mut socket: TcpStream) {
        loop {
            let mut size = [0; 4];
            if socket.read_exact(&mut size).is_err() {
                return;
            }
            let mut frame = vec![0; u32::from_be_bytes(size) as usize];
            socket.read_exact(&mut frame).expect("the rest of a frame");
            let mut reader = Reader::new(&frame);
            let header = RequestHeader::decode(&mut reader).expect("a header");
            let api = header.api.expect("an API of Kafka's").key;
            let spoken = VERSIONS.iter().find(|(key, _)| *key == api).expect("an API that was offered").1;
            let answer = if header.api_version != spoken {
                assert_eq!(api, ApiKey::ApiVersions, "only ApiVersions may be asked in a version that was not offered");
                encode(&versions(35), 0, header.correlation_id)
            } else {
                self.answer(api, &frame, &mut reader, spoken, header.correlation_id)
            };
            if socket.write_all(&answer).is_err() {
                return;
            }
        }
    }

    fn answer<'f>(
        &self,
        api: ApiKey,
        frame: &'f [u8],
        body: &mut Reader<'f>,
        version: i16,
        correlation: i32,
    ) -> Vec<u8> {
        match api {
            ApiKey::Produce => {
                let request = ProduceRequest::decode(body, version).expect("a request");
                encode(&self.produce(frame, &request), version, correlation)
            }
            ApiKey::Fetch => {
                let request = FetchRequest::decode(body, version).expect("a request");
                encode(&self.fetch(&request), version, correlation)
            }
            ApiKey::ListOffsets => {
                let request = ListOffsetsRequest::decode(body, version).expect("a request");
                encode(&self.list_offsets(&request), version, correlation)
            }
            ApiKey::Metadata => encode(&self.metadata(), version, correlation),
            _ => encode(&versions(0), version, correlation),
        }
    }

    fn produce(&self, frame: &[u8], request: &ProduceRequest<'_>) -> ProduceResponse<'static> {
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| {
                let Records::At(range) = &data.records else { panic!("records") };
                let mut log = self.logs[data.index as usize].lock().expect("unharmed");
                if self.fault == Fault::Refuse && log.received == 0 {
                    log.received = 1;
                    let error_code = ErrorCode::PolicyViolation.code();
                    return PartitionProduceResponse {
                        index: data.index,
                        error_code,
                        base_offset: -1,
                        ..Default::default()
                    };
                }
                let base_offset = log.append(frame[range.clone()].to_vec(), self.fault);
                PartitionProduceResponse { index: data.index, base_offset, ..Default::default() }
            });
            TopicProduceResponse { name: TOPIC.into(), partition_responses: partitions.collect(), ..Default::default() }
        });
        ProduceResponse { responses: topics.collect(), ..Default::default() }
    }

    fn fetch(&self, request: &FetchRequest<'_>) -> FetchResponse<'static> {
        let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms as u64);
        loop {
            let mut bytes = 0;
            let topics = request.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|asked| {
                    let log = self.logs[asked.partition as usize].lock().expect("unharmed");
                    if asked.fetch_offset < log.start {
                        bytes += 1;
                        return PartitionData {
                            partition_index: asked.partition,
                            error_code: ErrorCode::OffsetOutOfRange.code(),
                            log_start_offset: log.start,
                            ..Default::default()
                        };
                    }
                    let from = log.batches.iter().rposition(|(base, _)| *base <= asked.fetch_offset);
                    let is_held = log.readable_at.is_some_and(|at| Instant::now() < at);
                    let from = from.filter(|_| asked.fetch_offset < log.end && !is_held).unwrap_or(log.batches.len());
                    let records: Vec<u8> = log.batches[from..].iter().flat_map(|(_, batch)| batch.clone()).collect();
                    bytes += records.len();
                    PartitionData {
                        partition_index: asked.partition,
                        high_watermark: log.end,
                        last_stable_offset: log.end,
                        log_start_offset: log.start,
                        records: Records::Inline(records.into()),
                        ..Default::default()
                    }
                });
                FetchableTopicResponse { topic: TOPIC.into(), partitions: partitions.collect(), ..Default::default() }
            });
            let response = FetchResponse { responses: topics.collect(), ..Default::default() };
            if 0 < bytes || deadline <= Instant::now() {
                return response;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn list_offsets(&self, request: &ListOffsetsRequest<'_>) -> ListOffsetsResponse<'static> {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let log = self.logs[asked.partition_index as usize].lock().expect("unharmed");
                let offset = if asked.timestamp == -1 { log.end } else { log.start };
                ListOffsetsPartitionResponse { partition_index: asked.partition_index, offset, ..Default::default() }
            });
            ListOffsetsTopicResponse { name: TOPIC.into(), partitions: partitions.collect(), ..Default::default() }
        });
        ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
    }

    fn metadata(&self) -> MetadataResponse<'static> {
        let broker =
            MetadataResponseBroker { host: "127.0.0.1".into(), port: i32::from(self.port), ..Default::default() };
        let partition = |partition_index| MetadataResponsePartition {
            partition_index,
            leader_id: if self.fault == Fault::Leaderless { -1 } else { 0 },
            replica_nodes: vec![0, 1],
            isr_nodes: vec![0],
            ..Default::default()
        };
        let absent = ErrorCode::UnknownTopicOrPartition.code();
        let topic = MetadataResponseTopic {
            error_code: if self.fault == Fault::Absent { absent } else { 0 },
            name: Some(TOPIC.into()),
            partitions: (0..PARTITIONS).map(partition).collect(),
            ..Default::default()
        };
        MetadataResponse { brokers: vec![broker], controller_id: 0, topics: vec![topic], ..Default::default() }
    }
}

fn versions(error_code: i16) -> ApiVersionsResponse<'static> {
    let spoken = |(key, version): &(ApiKey, i16)| ApiVersion {
        api_key: key.code(),
        min_version: *version,
        max_version: *version,
        ..Default::default()
    };
    ApiVersionsResponse { error_code, api_keys: VERSIONS.iter().map(spoken).collect(), ..Default::default() }
}

fn encode<'a, R: Response<'a>>(response: &R, version: i16, correlation: i32) -> Vec<u8> {
    let mut writer = Writer::new();
    frame::encode_response(&mut writer, version, correlation, response).expect("encodes");
    writer.into_bytes().to_vec()
}

fn workload(load: &str) -> Workload {
    let text = format!(
        "name = \"double\"\nwarmup_s = 0.3\nduration_s = 1.5\n[topics]\nname = \"double\"\npartitions = 3\n[messages]\n\
         size_bytes = 200\n[producers]\nidempotence = false\nlinger_ms = 2\nin_flight = 2\n[consumers]\n\
         fetch_wait_ms = 50\n[load]\n{load}"
    );
    Workload::parse(&text, Path::new(".")).expect("right")
}

fn drive(fault: Fault, load: &str) -> Outcome {
    drive_with(fault, load, 1, 1)
}

fn drive_with(fault: Fault, load: &str, producers: u32, threads: usize) -> Outcome {
    let broker = Broker::start(fault);
    let bootstrap = format!("127.0.0.1:{}", broker.port);
    let options =
        RunOptions { bootstrap, keep_samples: true, producer_threads: Some(threads), ..RunOptions::default() };
    let mut workload = workload(load);
    workload.producers.count = producers;
    run(&workload, &options, &mut |_| {}).expect("an outcome")
}

fn check(fault: Fault) -> SelfCheck {
    let outcome = drive(fault, "rate = 2000");
    assert!(outcome.errors.is_empty(), "{:?}", outcome.errors);
    outcome.check
}

#[test]
fn an_honest_broker_passes_and_everything_due_is_acked_and_read() {
    let outcome = drive(Fault::None, "rate = 2000");
    assert!(outcome.check.passed() && outcome.check.complete, "{:?}", outcome.check);
    assert_eq!(outcome.offered.messages, 3000, "2,000 a second for 1.5 s");
    assert_eq!(outcome.produce.len(), 3000, "each has its latency");
    assert_eq!(outcome.offered.bytes, 600_000);
    assert_eq!(outcome.partial, None);
}

#[test]
fn every_window_is_as_long_as_it_was_and_the_last_ends_with_the_run() {
    let outcome = drive(Fault::None, "rate = 2000");
    let [first, last] = &outcome.series[..] else { panic!("1.8 s: {:?}", outcome.series) };
    assert_eq!((first.at_s, first.seconds), (1.0, 1.0));
    // 0.3 s of warm-up, 1.5 s, and what is on its way then.
    assert!((0.75..1.0).contains(&last.seconds), "{}", last.seconds);
    assert_eq!(last.at_s, 1.0 + last.seconds);
    assert_eq!(first.offered.messages + last.offered.messages, 3600);
}

#[test]
fn a_second_that_nobody_looked_at_has_no_lag() {
    let broker = Broker::start(Fault::None);
    let options = RunOptions { bootstrap: format!("127.0.0.1:{}", broker.port), ..RunOptions::default() };
    let mut workload = workload("rate = 500");
    workload.duration = Duration::from_secs(4);
    // The coordinator looks on the same thread.
    let outcome = run(&workload, &options, &mut |progress| {
        if progress.window.at_s == 1.0 {
            thread::sleep(Duration::from_millis(2200));
        }
    });
    let series = outcome.expect("an outcome").series;
    assert!(series[0].lag.is_some() && series[0].generator_cores.is_some());
    assert_eq!((series[1].lag, series[1].generator_cores), (None, None));
    assert!(series[1].acked.messages > 0, "what the threads counted is there");
    workload.consumers.groups = 0;
    workload.duration = Duration::from_millis(1500);
    let outcome = run(&workload, &options, &mut |_| {}).expect("an outcome");
    assert!(outcome.series.iter().all(|window| window.lag.is_none() && window.end_to_end.is_none()), "nobody reads");
}

#[test]
fn a_lost_record_fails_the_run() {
    let check = check(Fault::Lose);
    assert!(0 < check.lost && check.duplicated == 0 && check.reordered == 0 && check.corrupt == 0, "{check:?}");
    assert!(!check.passed());
}

#[test]
fn cold_readers_check_what_they_read_like_everybody_else() {
    let check = |fault| {
        let broker = Broker::start(fault);
        let options = RunOptions { bootstrap: format!("127.0.0.1:{}", broker.port), ..RunOptions::default() };
        let mut workload = workload("rate = 2000");
        (workload.consumers.groups, workload.consumers.cold_readers) = (0, 1);
        let outcome = run(&workload, &options, &mut |_| {}).expect("an outcome");
        assert!(outcome.cold.as_ref().is_some_and(|cold| cold.caught_up.is_some()), "{fault:?}: {:?}", outcome.cold);
        assert!(outcome.check.complete, "{fault:?}: {:?}", outcome.check);
        outcome.check
    };
    let found = |check: &SelfCheck| [check.lost, check.duplicated, check.reordered, check.corrupt].map(|n| 0 < n);
    thread::scope(|scope| {
        for (fault, wants) in [
            (Fault::None, [false; 4]),
            (Fault::Lose, [true, false, false, false]),
            (Fault::Double, [false, true, false, false]),
            (Fault::Reorder, [false, false, true, false]),
            (Fault::Alter, [true, false, false, true]),
        ] {
            scope.spawn(move || {
                let check = check(fault);
                assert_eq!(found(&check), wants, "{fault:?}: {check:?}");
                assert_eq!(check.passed(), fault == Fault::None, "{fault:?}");
            });
        }
    });
}

#[test]
fn what_no_reader_comes_to_fails_the_run() {
    let outcome = drive(Fault::Withhold, "rate = 2000\n[target]\nmessages_per_s = { min = 100 }");
    let check = &outcome.check;
    assert!(0 < check.unread && check.lost == 0 && !check.complete && !check.passed(), "{check:?}");
    assert!(check.examples[0].contains("brought it no further"), "{check:?}");
    let verdict = loadgen::judge(&outcome).expect("there is a target");
    assert_eq!((verdict.met.to_string().as_str(), verdict.spoiled.len()), ("not met", 1), "{verdict:?}");
    assert_eq!(outcome.partial, None);
}

#[test]
fn what_failed_in_the_warm_up_is_told_and_spoils_no_target() {
    let broker = Broker::start(Fault::Refuse);
    let options = RunOptions { bootstrap: format!("127.0.0.1:{}", broker.port), ..RunOptions::default() };
    let outcome = run(&workload("rate = 2000\n[target]\nproduce_p999_ms = 60_000"), &options, &mut |_| {});
    let outcome = outcome.expect("an outcome");
    // A batch of each partition, of the some 600 messages due in 0.3 s.
    let refused = outcome.errors_warmup.get("POLICY_VIOLATION").copied().unwrap_or_default();
    assert!((3..300).contains(&refused), "{:?}", outcome.errors_warmup);
    assert!(outcome.errors.is_empty() && outcome.check.passed(), "{:?} {:?}", outcome.errors, outcome.check);
    let verdict = loadgen::judge(&outcome).expect("there is a target");
    assert_eq!(verdict.met.to_string(), "met", "{verdict:?}");
    assert!(verdict.notes.iter().all(|note| !note.contains("failed")), "{verdict:?}");
}

#[test]
fn what_retention_took_before_it_was_read_is_expired_and_fails_nothing() {
    let outcome = drive(Fault::Expire, "rate = 2000");
    let check = &outcome.check;
    assert!(0 < check.expired && check.passed() && check.complete, "{check:?}");
    // One batch of each partition, and not the offsets of others that went with it.
    assert!((check.expired as i64) < FOREIGN, "{check:?}");
}

#[test]
fn a_loss_does_not_hide_behind_what_retention_took() {
    let check = drive(Fault::LoseAndExpire, "rate = 2000").check;
    assert!(0 < check.lost && 0 < check.expired, "{check:?}");
    assert!((check.lost + check.expired) < FOREIGN as u64, "one batch lost, one expired: {check:?}");
}

#[test]
fn a_doubled_record_fails_the_run() {
    let check = check(Fault::Double);
    assert!(0 < check.duplicated && check.lost == 0 && check.reordered == 0 && check.corrupt == 0, "{check:?}");
    assert!(!check.passed());
}

#[test]
fn a_reordered_record_fails_the_run() {
    let check = check(Fault::Reorder);
    assert!(0 < check.reordered && check.lost == 0 && check.duplicated == 0 && check.corrupt == 0, "{check:?}");
    assert!(!check.passed());
}

#[test]
fn an_altered_record_fails_the_run() {
    let check = check(Fault::Alter);
    assert!(0 < check.corrupt && check.duplicated == 0 && check.reordered == 0, "{check:?}");
    assert!(!check.passed());
}

#[test]
fn percentiles_are_those_of_the_sorted_samples() {
    let poisson = "rate = 3000\narrivals = \"poisson\"";
    for (load, producers, threads) in
        [(poisson, 1, 1), ("mode = \"closed\"\nconcurrency = 2", 1, 1), (poisson, 4, 2), (poisson, 3, 3)]
    {
        let outcome = drive_with(Fault::Stall, load, producers, threads);
        let mut samples = outcome.samples.clone();
        samples.sort_unstable();
        assert_eq!(outcome.generator.producer_threads as usize, threads);
        // What all threads sent together: a histogram of one of them would have fewer.
        assert_eq!(samples.len() as u64, outcome.produce.len());
        assert_eq!(outcome.produce.len(), outcome.offered.messages, "{load}: of {producers} producers");
        assert_eq!(outcome.service.len(), outcome.produce.len());
        assert!(1000 < samples.len(), "{}", samples.len());
        for quantile in [0.0_f64, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let rank = ((quantile * samples.len() as f64).ceil() as usize).max(1);
            let exact = samples[rank - 1];
            let told = outcome.produce.value_at_quantile(quantile);
            // One bucket: the value it tells is equivalent to the exact one, to three digits.
            assert!(outcome.produce.equivalent(told, exact), "{load}: p{}: {told}, sorted {exact}", quantile * 100.0);
        }
    }
}

#[test]
fn a_broker_that_stalls_is_seen_by_the_schedule_and_not_by_the_loop() {
    // Every message that was due within the 300 ms waits; the closed loop has as many waiting as it has under way.
    let late = |outcome: &Outcome| outcome.samples.iter().filter(|us| 100_000 <= **us).count();
    let open = drive(Fault::Stall, "rate = 2000");
    let closed = drive(Fault::Stall, "mode = \"closed\"\nconcurrency = 1");
    assert!(300 < late(&open), "{} of {}", late(&open), open.samples.len());
    let share = |outcome: &Outcome| late(outcome) as f64 / outcome.samples.len() as f64;
    assert!(share(&closed) < share(&open) / 4.0, "closed {}, open {}", share(&closed), share(&open));
}

#[test]
fn what_is_read_after_the_end_has_the_longest_latency_and_not_none() {
    let outcome = drive(Fault::HoldReads, "rate = 2000");
    assert!(outcome.check.passed() && outcome.check.complete, "{:?}", outcome.check);
    assert_eq!(outcome.end_to_end.len(), 3000, "each that was due within the measured time");
    let shortest_us = outcome.end_to_end.value_at_quantile(0.0);
    assert!(500_000 < shortest_us, "the last was due 1.8 s after the start: {shortest_us} us");
}

#[test]
fn a_run_that_is_stopped_is_partial_and_says_so() {
    let broker = Broker::start(Fault::None);
    let options = RunOptions { bootstrap: format!("127.0.0.1:{}", broker.port), ..RunOptions::default() };
    let stop = Arc::clone(&options.stop);
    let mut workload = workload("mode = \"soak\"\nrate = 500");
    workload.duration = Duration::from_secs(60);
    let outcome = run(&workload, &options, &mut |_| {
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let outcome = outcome.expect("an outcome all the same");
    assert_eq!(outcome.partial.as_deref(), Some("interrupted"));
    assert!(outcome.measured < Duration::from_secs(60), "{:?}", outcome.measured);
    assert!(0 < outcome.acked.messages);
    assert!(outcome.check.passed(), "{:?}", outcome.check);
}

#[test]
fn a_topic_that_was_there_has_the_copies_that_it_has() {
    let outcome = drive(Fault::None, "rate = 100");
    assert_eq!(outcome.workload.topics.replication_factor, 2, "the workload says nothing of it, and its default is 1");
}

#[test]
fn a_topic_that_is_named_and_not_there_is_said_at_once() {
    let broker = Broker::start(Fault::Absent);
    let options = RunOptions { bootstrap: format!("127.0.0.1:{}", broker.port), ..RunOptions::default() };
    let error = run(&workload("rate = 1"), &options, &mut |_| {}).expect_err("no topic");
    assert!(matches!(&error, RunError::Missing(name) if name == TOPIC), "{error}");
}

#[test]
fn whoever_stops_does_not_wait_for_leaders() {
    let broker = Broker::start(Fault::Leaderless);
    let options = RunOptions { bootstrap: format!("127.0.0.1:{}", broker.port), ..RunOptions::default() };
    options.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let error = run(&workload("rate = 1"), &options, &mut |_| {}).expect_err("no leader");
    assert!(matches!(error, RunError::Stopped), "{error}");
}

#[test]
fn nobody_there_is_said_within_seconds() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port();
    let options = RunOptions { bootstrap: format!("127.0.0.1:{port}"), ..RunOptions::default() };
    let error = run(&workload("rate = 1"), &options, &mut |_| {}).expect_err("nobody listens");
    assert!(error.is_unreachable(), "{error}");
    assert!(error.next_step().is_some());
}
