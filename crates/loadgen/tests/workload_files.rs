//! `bench-configs/`: every file is a workload, answers a question, and says which; every question has its file; the sizing
//! tiers are carried row by row.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use loadgen::driver::{Place, System};
use loadgen::suite::{FaultKind, Suite};
use loadgen::verdict::Row;
use loadgen::workload::{Keys, Load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench-configs")
}

/// Every file by its name without `.toml`.
fn suites() -> BTreeMap<String, Suite> {
    let files = fs::read_dir(folder()).expect("a folder").map(|file| file.expect("readable").path());
    let read = |path: PathBuf| {
        let suite = Suite::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path.file_stem().expect("a name").to_string_lossy().into_owned(), suite)
    };
    files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).map(read).collect()
}

#[test]
fn every_file_is_a_workload_that_says_what_it_answers() {
    for (name, suite) in suites() {
        let text = fs::read_to_string(folder().join(format!("{name}.toml"))).expect("readable");
        assert!(text.starts_with("# "), "{name}: no comment at its head");
        assert_eq!(suite.name, name, "a file is called as its workload");
        assert!(suite.question.as_ref().is_some_and(|question| question.ends_with('?')), "{name}: no question");
        let judged = suite.cells.iter().all(|cell| !cell.workload.targets.rows.is_empty());
        let finds_a_rate = suite.cells.iter().all(|cell| matches!(cell.workload.load, Load::Sweep(_)));
        assert!(judged || finds_a_rate, "{name}: neither a target nor a rate to find");
    }
}

/// What a file must hold to answer its question.
type Answers = fn(&Suite) -> bool;

fn every<T: PartialEq>(suite: &Suite, of: fn(&loadgen::Workload) -> T, wanted: &[T]) -> bool {
    wanted.iter().all(|value| suite.cells.iter().any(|cell| of(&cell.workload) == *value))
}

#[test]
fn every_question_has_its_file() {
    let questions: &[(&str, Answers)] = &[
        ("tier-small", |suite| suite.cells[0].workload.targets.tier.as_deref() == Some("small")),
        ("tier-medium", |suite| suite.cells[0].workload.targets.tier.as_deref() == Some("medium")),
        ("tier-large", |suite| suite.cells[0].workload.targets.tier.as_deref() == Some("large")),
        ("acks-durability", |suite| {
            let pair = |cell: &loadgen::suite::Cell| {
                format!("{:?} {}", cell.workload.producers.acks, cell.workload.topics.durability.word())
            };
            suite.cells.iter().map(pair).collect::<std::collections::BTreeSet<_>>().len() == 9
        }),
        ("durability", |suite| {
            let modes: Vec<&str> = suite.cells.iter().map(|cell| cell.workload.topics.durability.word()).collect();
            modes == ["replicated", "interval", "durable"]
        }),
        ("message-sizes", |suite| every(suite, |w| *w.messages.size_bytes.start(), &[100, 1024, 10_240])),
        ("partitions", |suite| every(suite, |w| w.topics.partitions, &[1, 16, 100, 1000, 10_000])),
        ("small-batches", |suite| {
            let workload = &suite.cells[0].workload;
            workload.messages.keys != Keys::None
                && 100 <= workload.producers.count
                && workload.producers.linger.is_zero()
        }),
        ("key-skew", |suite| suite.cells.iter().any(|cell| matches!(cell.workload.messages.keys, Keys::Zipf { .. }))),
        ("fan-out", |suite| every(suite, |w| w.consumers.groups, &[1, 2, 5])),
        ("backlog-drain", |suite| matches!(suite.cells[0].workload.load, Load::Backlog { .. })),
        ("cold-readers", |suite| 0 < suite.cells[0].workload.consumers.cold_readers),
        ("restart", |suite| suite.faults.iter().any(|fault| fault.kind == FaultKind::Restart)),
        ("leader-kill", |suite| suite.faults.iter().any(|fault| fault.kind == FaultKind::Kill)),
        ("file-systems", |suite| {
            [Place::Ext4, Place::Xfs, Place::Tmpfs].iter().all(|place| suite.targets.iter().any(|t| t.place == *place))
        }),
        ("directories", |suite| {
            let several = |place: &Place| matches!(place, Place::Directories(dirs) if 1 < dirs.len());
            suite.targets.iter().any(|target| several(&target.place))
        }),
        ("replication", |suite| {
            let has = |copies, system| {
                suite.targets.iter().any(|t| t.replication_factor == Some(copies) && t.system == system)
            };
            has(1, System::Ringlog) && has(1, System::Kafka) && has(3, System::Kafka)
        }),
        ("soak", |suite| matches!(suite.cells[0].workload.load, Load::Soak(_))),
        ("knee", |suite| matches!(suite.cells[0].workload.load, Load::Sweep(_))),
        ("knee-cost", |suite| suite.cells[0].workload.load == Load::Maximum),
    ];
    let suites = suites();
    // What is predicted from one is measured by the other: the same but for the load.
    let messages = |name: &str| {
        let workload = suites[name].cells[0].workload.clone();
        (workload.topics, workload.messages, workload.producers, workload.consumers)
    };
    assert_eq!(messages("knee"), messages("knee-cost"));
    for (name, answers) in questions {
        let suite = suites.get(*name).unwrap_or_else(|| panic!("no file {name}.toml"));
        assert!(answers(suite), "{name}.toml does not ask what its name says");
    }
    let asked: Vec<&str> = questions.iter().map(|(name, _)| *name).collect();
    let strange: Vec<&String> = suites.keys().filter(|name| !asked.contains(&name.as_str())).collect();
    assert!(strange.is_empty(), "files without a question here: {strange:?}");
}

/// The sizing table: row, least, most.
type Tier = &'static [(Row, f64, Option<f64>)];

#[test]
fn the_tiers_carry_every_row_of_the_sizing_table() {
    const DAY_S: f64 = 86_400.0;
    let tiers: &[(&str, Tier)] = &[
        (
            "tier-small",
            &[
                (Row::Brokers, 3.0, Some(3.0)),
                (Row::MessagesPerS, 10e3, None),
                (Row::Topics, 10.0, Some(50.0)),
                (Row::PartitionsPerTopic, 3.0, Some(6.0)),
                (Row::StoredBytes, 100e9, Some(1e12)),
                (Row::RetentionS, 7.0 * DAY_S, Some(7.0 * DAY_S)),
            ],
        ),
        (
            "tier-medium",
            &[
                (Row::Brokers, 6.0, Some(12.0)),
                (Row::MessagesPerS, 100e3, None),
                (Row::Topics, 50.0, Some(500.0)),
                (Row::PartitionsPerTopic, 6.0, Some(24.0)),
                (Row::StoredBytes, 1e12, Some(50e12)),
                (Row::RetentionS, 7.0 * DAY_S, Some(30.0 * DAY_S)),
            ],
        ),
        (
            "tier-large",
            &[
                (Row::Brokers, 12.0, Some(50.0)),
                (Row::MessagesPerS, 1e6, None),
                (Row::Topics, 500.0, Some(5000.0)),
                (Row::PartitionsPerTopic, 24.0, Some(100.0)),
                (Row::StoredBytes, 50e12, Some(1e15)),
            ],
        ),
    ];
    let suites = suites();
    for (name, table) in tiers {
        let workload = &suites[*name].cells[0].workload;
        let rows = &workload.targets.rows;
        for (row, least, most) in *table {
            let carried = rows.iter().find(|target| target.row == *row);
            let carried = carried.unwrap_or_else(|| panic!("{name} does not carry {row:?}"));
            assert_eq!((carried.bound, carried.tier_max), (*least, *most), "{name}: {row:?}");
            // What the run has must be enough for the row at the scale that it states.
            let required = carried.bound / carried.scale;
            let has = match row {
                Row::MessagesPerS => workload.load.rate().expect("a rate").messages_per_s,
                Row::Topics => f64::from(workload.topics.count),
                Row::PartitionsPerTopic => f64::from(workload.topics.partitions),
                Row::StoredBytes => {
                    let rate = workload.load.rate().expect("a rate").messages_per_s;
                    rate * workload.messages.size_bytes_mean() * workload.duration.as_secs_f64()
                }
                Row::RetentionS => workload.topics.configs["retention.ms"].parse::<f64>().expect("a number") / 1000.0,
                _ => required,
            };
            assert!(required <= has, "{name}: {row:?} asks for {required}, the run has {has}");
        }
        for row in [Row::ProduceP99Ms, Row::EndToEndP99Ms, Row::LagGrowth] {
            assert!(rows.iter().any(|target| target.row == row), "{name}: nothing bounds {row:?}");
        }
    }
}
