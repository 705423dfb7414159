//! `results/SCHEMA.md` says what is written, no less and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::sample;
use crate::compare::compare;
use crate::outcome::{Backlog, Cold, FaultSeen, Quantiles, Soak, Step};
use crate::suite::{Fault, FaultKind};
use crate::summary::{Run, lag_lines, series};

const DOCUMENT: &str = include_str!("../../../../results/SCHEMA.md");

type Fields = BTreeMap<String, BTreeSet<String>>;

/// Objects with free names: settings, errors.
const OPEN: &[&str] = &[
    "$.machine.vm",
    "$.machine.versions",
    "$.targets[].config",
    "$.targets[].runs[].errors",
    "$.targets[].runs[].errors_warmup",
];

/// Objects that look the same in several places, documented at the first.
fn documented_at(path: &str) -> String {
    let latencies =
        ["end_to_end_latency", "runs[].produce_latency", "runs[].service_latency", "runs[].end_to_end_latency"];
    for latency in latencies {
        if let Some(rest) = path.strip_prefix(&format!("$.targets[].{latency}")) {
            return format!("$.targets[].produce_latency{rest}");
        }
    }
    if path.contains("_before") || path.contains("_during") {
        return "$.targets[].runs[].steps[].produce_latency".to_owned();
    }
    path.replace("$.comparisons[].comparison.b", "$.comparisons[].comparison.a")
}

fn collect(value: &Value, path: &str, fields: &mut Fields) {
    match value {
        Value::Object(object) if !OPEN.contains(&path) => {
            let known = fields.entry(documented_at(path)).or_default();
            known.extend(object.keys().cloned());
            for (name, value) in object {
                collect(value, &format!("{path}.{name}"), fields);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, &format!("{path}[]"), fields)),
        _ => {}
    }
}

fn documented() -> Fields {
    let mut fields = Fields::new();
    let mut at = None;
    for line in DOCUMENT.lines() {
        if let Some(heading) = line.strip_prefix("### `") {
            at = Some(heading.trim_end_matches('`').to_owned());
        } else if line.starts_with("## ") {
            at = None;
        } else if let (Some(at), Some(row)) = (&at, line.strip_prefix("| `")) {
            let cell = row.split(" |").next().unwrap_or_default();
            let names = cell.split('`').filter(|name| !name.is_empty() && !name.starts_with(','));
            fields.entry(at.clone()).or_default().extend(names.map(str::to_owned));
        }
    }
    fields
}

#[test]
fn every_field_that_is_written_is_documented_and_no_other() {
    let mut outcome = sample::outcome(1);
    outcome.backlog = Some(Backlog::default());
    outcome.cold = Some(Cold { caught_up: Some(Duration::ZERO), ..Cold::default() });
    outcome.soak = Some(Soak::default());
    let fault = Fault { at: Duration::ZERO, kind: FaultKind::Kill, down: Duration::ZERO, node: 1 };
    outcome.faults = vec![FaultSeen { fault, began: Some(Duration::ZERO) }];
    outcome.steps = vec![Step { produce: Quantiles::default(), ..Step::default() }];
    let mut summary = sample::summary(vec![sample::target("a", 5, 1), sample::target("b", 5, 2)]);
    summary.targets[0].runs.push(Run::of(&outcome, Vec::new()));
    summary.comparisons = compare(&summary.targets[0], &summary.targets[1]);
    let mut written = Fields::new();
    collect(&serde_json::to_value(&summary).expect("serializes"), "$", &mut written);
    collect(&serde_json::to_value(&series(&outcome, 0, 0)[0]).expect("serializes"), "series", &mut written);
    for line in lag_lines(&outcome, 0, 0) {
        collect(&serde_json::to_value(line).expect("serializes"), "lag", &mut written);
    }
    let documented = documented();
    for (path, names) in &written {
        assert_eq!(documented.get(path), Some(names), "results/SCHEMA.md, {path}");
    }
    let unknown: Vec<&String> = documented.keys().filter(|path| !written.contains_key(*path)).collect();
    assert!(unknown.is_empty(), "results/SCHEMA.md has sections that nothing writes: {unknown:?}");
    let version = format!("Schema version **{}**", crate::summary::SCHEMA_VERSION);
    assert!(DOCUMENT.contains(&version), "results/SCHEMA.md does not say {version}");
}

/// The rule for JSON names: snake_case, and a unit last where there is one.
#[test]
fn names_end_with_their_unit() {
    for name in documented().values().flatten() {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
        let units = ["bytes", "us", "ms", "ns"];
        let words: Vec<&str> = name.split('_').collect();
        if let Some(at) = words.iter().position(|word| units.contains(word)) {
            // A unit may be followed by what it is per, which of several values it is, or that it was not measured.
            let after = &words[at + 1..];
            let fits = after.is_empty() || matches!(after[0], "per" | "max" | "mean");
            assert!(fits, "the unit is not last in `{name}`");
        }
    }
}
