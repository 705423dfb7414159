//! Made-up runs for tests of everything that reads runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use types::{PartitionIndex, TopicPartition};

use crate::machine::{Machine, Storage};
use crate::outcome::{
    Batches, BrokerUse, ClusterSeen, Count, Finding, Generator, Lag, LagSeen, Outcome, PartitionLag, Quantiles,
    SelfCheck, Severity, Window,
};
use crate::summary::{
    Latency, LimitReached, Run, SCHEMA, SCHEMA_VERSION, Summary, TargetSummary, WorkloadSummary, rfc3339,
};
use crate::workload::Workload;

pub(crate) const TOML: &str = "name = \"sample\"\nquestion = \"Does the page show what came out?\"\n[load]\nrate = 10000\n\
    [topics]\npartitions = 6\n[target]\ntier = \"small\"\nmessages_per_s = { min = 10_000 }\n\
    brokers = { min = 3, scale = 3 }\nproduce_p99_ms = 50\nzero_lag_growth = true\n";

/// A run of ten seconds, `cost` times as slow and dear as the plainest one.
pub(crate) fn outcome(cost: u64) -> Outcome {
    let mut outcome = Outcome::new(Workload::parse(TOML, Path::new(".")).expect("right"));
    outcome.started_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_827_600);
    outcome.measured = Duration::from_secs(10);
    outcome.offered = Count { messages: 100_000, bytes: 102_400_000 };
    outcome.acked = outcome.offered;
    outcome.consumed = outcome.offered;
    outcome.cluster = ClusterSeen { id: None, nodes: vec!["127.0.0.1:9092".to_owned()] };
    // A body and a tail, by a small generator of its own.
    let mut state = 88_172_645_463_325_252_u64 ^ cost;
    for _ in 0..100_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let nines = -((state >> 11) as f64 / (1u64 << 53) as f64).max(1e-9).log10();
        let us = (400.0 + 300.0 * nines + 60.0 * nines.powi(4)) * cost as f64;
        outcome.produce.record(us as u64).expect("recorded");
        outcome.service.record((us * 0.8) as u64).expect("recorded");
        outcome.end_to_end.record((us * 1.4) as u64 + 150).expect("recorded");
        outcome.slip.record(20).expect("recorded");
    }
    outcome.batches = Batches { batches: 20_000, requests: 20_000, messages: 100_000, bytes: 104_000_000 };
    outcome.series = (1..=15)
        .map(|second| {
            let wave = 1.0 + (f64::from(second) * 1.7).sin() * 0.02;
            let count = Count { messages: (10_000.0 * wave) as u64, bytes: (10_240_000.0 * wave) as u64 };
            let us = (900.0 * cost as f64 * (1.0 + (f64::from(second) * 2.3).sin().abs())) as u64;
            let quantiles = Quantiles { p50_us: us / 2, p99_us: us, p999_us: us * 3, max_us: us * 7 };
            Window {
                at_s: f64::from(second),
                seconds: 1.0,
                measured: second > 5,
                offered: count,
                acked: count,
                consumed: count,
                produce: Some(quantiles),
                end_to_end: Some(quantiles),
                lag: Some(LagSeen {
                    messages: 40 * cost + u64::from(second % 3 == 0) * 300,
                    seconds: 0.004 * cost as f64,
                }),
                broker_cores: Some(0.12 * cost as f64),
                broker_rss_bytes: Some(40 << 20),
                generator_cores: Some(0.2),
                errors: 0,
            }
        })
        .collect();
    outcome.lag = Some(Lag {
        messages_max: 340,
        messages_end: 40,
        seconds_max: 0.03 * cost as f64,
        growth_per_s: Some(0.4),
        partitions: vec![
            PartitionLag {
                at: TopicPartition::new("t", PartitionIndex::ZERO),
                messages_max: 120,
                messages_end: 10,
                seconds_max: 0.01,
                series: (1..=15).map(|second| (second, LagSeen { messages: 10, seconds: 0.01 })).collect(),
            },
            PartitionLag {
                at: TopicPartition::new("t", PartitionIndex::new(1)),
                messages_max: 220,
                messages_end: 30,
                seconds_max: 0.02,
                series: Vec::new(),
            },
        ],
    });
    outcome.brokers = vec![BrokerUse {
        pids: vec![1],
        cpu: Duration::from_millis(500 * cost),
        rss_bytes: 40 << 20,
        rss_bytes_max: (40 << 20) * cost,
        switches_voluntary: 30_000 * cost,
        switches_forced: 100,
        system_calls: Some(150_000 * cost),
        file_syncs: Some(4_000),
        read_calls: Some(20_000),
        write_calls: Some(20_000),
        disk_read_bytes: Some(0),
        disk_write_bytes: Some(104_000_000),
        metrics: BTreeMap::from([
            ("ringlog_received_bytes_total{shard=\"0\"}".to_owned(), 110_000_000.0),
            ("ringlog_sent_bytes_total{shard=\"0\"}".to_owned(), 112_000_000.0),
        ]),
    }];
    outcome.check = SelfCheck { complete: true, ..SelfCheck::default() };
    outcome.findings = vec![Finding { severity: Severity::Warning, check: "cores", found: "shared".to_owned() }];
    outcome.generator = Generator {
        cpu: Duration::from_secs(2),
        producer_threads: 1,
        consumer_threads: 1,
        cpus: 2,
        busiest_thread: 0.3,
        busy: 0.2,
        slip_p999_us: 60,
        bound: None,
        ceiling: Some(Err("no `floor` beside the binary".to_owned())),
    };
    outcome
}

pub(crate) fn target(label: &str, runs: u32, cost: u64) -> TargetSummary {
    let outcome = outcome(cost);
    let limits = vec![
        LimitReached {
            limit: "disk_write".into(),
            used_per_s: Some(10_400_000),
            limit_per_s: Some(500_000_000),
            percent: Some(2),
            is_computed: false,
            empty: None,
            partitions_carried: None,
        },
        LimitReached {
            limit: "disk_sync".into(),
            used_per_s: Some(3),
            limit_per_s: None,
            percent: None,
            is_computed: false,
            empty: Some("/data was not measured".to_owned()),
            partitions_carried: None,
        },
    ];
    let runs = (0..runs).map(|index| {
        let mut run = Run::of(&outcome, limits.clone());
        // No two runs are alike.
        run.produce_latency.p99_us += u64::from(index) * 7;
        if let Some(broker) = &mut run.broker {
            broker.cpu_ns_per_request += u64::from(index) * 113;
        }
        run
    });
    TargetSummary {
        label: label.to_owned(),
        system: "ringlog".to_owned(),
        version: Some("ringlog 0.1.0".to_owned()),
        nodes: 1,
        replication_factor: 1,
        durability: "replicated".to_owned(),
        storage: Some(Storage { file_system: "xfs".to_owned(), device: "/dev/loop0".to_owned(), ..Storage::default() }),
        cpus: vec![0],
        config: BTreeMap::from([("log.dirs".to_owned(), "/data".to_owned())]),
        empty: None,
        notes: Vec::new(),
        produce_latency: Latency::of(&outcome.produce),
        end_to_end_latency: Latency::of(&outcome.end_to_end),
        runs: runs.collect(),
    }
}

/// A target that could not be had.
pub(crate) fn empty_target(label: &str, reason: &str) -> TargetSummary {
    TargetSummary {
        empty: Some(reason.to_owned()),
        runs: Vec::new(),
        produce_latency: None,
        end_to_end_latency: None,
        ..target(label, 0, 1)
    }
}

pub(crate) fn summary(targets: Vec<TargetSummary>) -> Summary {
    Summary {
        schema: SCHEMA.to_owned(),
        schema_version: SCHEMA_VERSION,
        created_at: rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_827_600)),
        ringlog_version: "0.1.0".to_owned(),
        commit: Some("abc1234".to_owned()),
        commit_is_dirty: false,
        command: "ringlog bench run sample.toml".to_owned(),
        workload: WorkloadSummary {
            name: "sample".to_owned(),
            question: Some("Does the page show what came out?".to_owned()),
            tier: Some("small".to_owned()),
            mode: "open".to_owned(),
            toml: TOML.to_owned(),
        },
        machine: Machine::look(),
        generator_cpus: vec![1],
        targets,
        comparisons: Vec::new(),
        interrupted: None,
    }
}
