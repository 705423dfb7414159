//! One test a rule. Each lists every place that breaks it, with the file and the line.

use std::collections::BTreeSet;
use std::fs;

use tidy::{Source, has_word, import_table, manifests, root, sources};

/// The crates that run inside the simulator: the same seed must give the same bytes.
const SIMULATED: &[&str] = &["batch", "storage", "replica", "machine", "coordinator", "quorum", "sim"];

/// Outside libraries that have one home.
const HOMES: &[(&str, &str)] = &[
    ("raft", "quorum"),
    ("io-uring", "shard"),
    ("tokio-uring", "shard"),
    ("core_affinity", "shard"),
    ("rustls", "security"),
];

/// Crates that may see only the record schemas of `wire`, never its requests.
const RECORDS_ONLY: &[&str] = &["coordinator", "quorum", "sim"];

const FILE_LINES_MAX: usize = 2000;

fn fail_with(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

fn offences(source: &Source, words: &[&str]) -> Vec<String> {
    source.lines_with(words).into_iter().map(|(line, word)| format!("{}:{line}: {word}", source.path)).collect()
}

/// The part of a crate that a release build holds: its `src`, without test modules that stand in files of their own.
fn is_product(source: &Source) -> bool {
    source.path.contains("/src/") && !source.path.ends_with("/tests.rs") && !source.path.contains("/tests/")
}

#[test]
fn crates_import_only_what_the_table_in_architecture_allows() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is readable");
    let table = import_table(&architecture);
    assert!(!table.is_empty(), "ARCHITECTURE.md has no table under a heading `Imports`");
    let manifests = manifests();
    let own: BTreeSet<&str> = manifests.iter().map(|m| m.name.as_str()).collect();
    let mut found = Vec::new();
    for manifest in &manifests {
        let Some(row) = table.iter().find(|row| row.name == manifest.name) else {
            found.push(format!("{}: no row in the table", manifest.name));
            continue;
        };
        if row.may == ["*"] {
            continue;
        }
        for dependency in manifest.dependencies.iter().filter(|d| own.contains(d.as_str())) {
            if dependency != "types" && !row.may.contains(dependency) {
                found.push(format!("{} imports {dependency}", manifest.name));
            }
        }
    }
    for row in
        table.iter().filter(|row| !own.contains(row.name.as_str()) && row.name != "benches" && row.name != "tests")
    {
        found.push(format!("{}: a row, but no such crate", row.name));
    }
    fail_with("imports against the table in ARCHITECTURE.md", &found);
}

#[test]
fn an_outside_library_with_a_home_is_imported_only_there() {
    let mut found = Vec::new();
    for manifest in manifests() {
        for (library, home) in HOMES {
            if manifest.dependencies.iter().any(|d| d == library) && manifest.name != *home {
                found.push(format!("{} imports {library}, whose home is {home}", manifest.name));
            }
        }
    }
    fail_with("outside libraries", &found);
}

#[test]
fn the_cores_see_only_the_record_schemas_of_wire() {
    let mut found = Vec::new();
    for source in
        sources().iter().filter(|s| s.crate_name().is_some_and(|name| RECORDS_ONLY.contains(&name)) && is_product(s))
    {
        for (index, line) in source.code.lines().enumerate() {
            for (at, _) in line.match_indices("wire::") {
                let own_module = at > 0
                    && (line.as_bytes()[at - 1].is_ascii_alphanumeric()
                        || line.as_bytes()[at - 1] == b'_'
                        || line.as_bytes()[at - 1] == b':');
                if !own_module && !line[at + 6..].starts_with("records") {
                    found.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
                }
            }
        }
    }
    fail_with("only wire::records may be used here", &found);
}

#[test]
fn unsafe_code_stands_only_in_shard() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| s.crate_name() != Some("shard")) {
        found.extend(offences(source, &["unsafe"]));
    }
    fail_with("unsafe outside crates/shard", &found);
}

#[test]
fn simulated_crates_know_no_clock_no_chance_and_no_hash_order() {
    let banned = [
        "HashMap",
        "HashSet",
        "Instant",
        "SystemTime",
        "thread_rng",
        "ThreadRng",
        "RandomState",
        "OsRng",
        "from_entropy",
        "from_os_rng",
    ];
    let mut found = Vec::new();
    for source in
        sources().iter().filter(|s| s.crate_name().is_some_and(|name| SIMULATED.contains(&name)) && is_product(s))
    {
        found.extend(offences(source, &banned));
        for (index, line) in source.code.lines().enumerate() {
            if line.contains("rand::rng()") || line.contains("rand::random") {
                found.push(format!("{}:{}: rand", source.path, index + 1));
            }
        }
    }
    fail_with("a seed must give the same bytes twice", &found);
}

#[test]
fn every_limit_is_documented() {
    let text = fs::read_to_string(root().join("crates/types/src/limits.rs")).expect("limits.rs is readable");
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let documented = index > 0
            && (lines[index - 1].trim_start().starts_with("///") || lines[index - 1].trim_start().starts_with("#["));
        if line.trim_start().starts_with("pub const ") && !documented {
            found.push(format!("crates/types/src/limits.rs:{}: {line}", index + 1));
        }
    }
    fail_with("limits without a word on their unit and reason", &found);
}

#[test]
fn nothing_is_left_for_later_and_no_test_is_switched_off() {
    // Put together here, so that this file does not accuse itself.
    let marks = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("FIX", "ME"),
        concat!("#[", "ignore"),
        concat!("XX", "X:"),
    ];
    let mut found = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(*mark)) {
                found.push(format!("{}:{}: {mark}", source.path, index + 1));
            }
        }
    }
    fail_with("unfinished", &found);
}

#[test]
fn no_file_is_longer_than_one_can_hold_in_mind() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|s| s.text.lines().count() > FILE_LINES_MAX)
        .map(|s| format!("{}: {} lines", s.path, s.text.lines().count()))
        .collect();
    fail_with("files over 2,000 lines", &found);
}

#[test]
fn readme_names_the_two_commands() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap_or_default();
    for command in ["cargo run --release -- serve", "scripts/test"] {
        assert!(readme.contains(command), "README.md does not name `{command}`");
    }
}

#[test]
fn the_reader_of_sources_sees_code_and_not_prose() {
    let text = "let a = 'x'; // unsafe\nlet b = \"unsafe\"; /* unsafe /* */ unsafe */ fn f<'a>(s: &'a str) {}\nlet c = r#\"unsafe \"\"#; let d = '\\''; unsafe {}\n";
    let code = tidy::blank_comments_and_literals(text);
    let with: Vec<usize> = code.lines().enumerate().filter(|(_, l)| has_word(l, "unsafe")).map(|(i, _)| i).collect();
    assert_eq!(with, [2]);
    assert!(code.contains("fn f<'a>(s: &'a str) {}"));
    assert!(!has_word("unsafe_code", "unsafe"));
}

#[test]
fn the_reader_of_manifests_and_of_the_table_finds_every_name() {
    let manifest = tidy::parse_manifest(
        "x",
        "[package]\nname = \"x\"\n[dependencies]\ntypes.workspace = true\nbatch = { path = \"../batch\" }\n[dependencies.wire]\nworkspace = true\n[dev-dependencies]\nsim = \"1\"\n",
    );
    assert_eq!(manifest.dependencies, ["types", "batch", "wire"]);
    assert_eq!(manifest.dev_dependencies, ["sim"]);
    let rows = import_table(
        "# A\n## Imports\n| crate | may import |\n|---|---|\n| `a`, `b` | `c` |\n| `d` | |\n## Next\n| `e` | `f` |\n",
    );
    let names: Vec<&str> = rows.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "d"]);
    assert_eq!(rows[1].may, ["c"]);
    assert!(rows[2].may.is_empty());
}
