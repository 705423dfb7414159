//! A workload file as `bench-configs/` holds them: one question, and every run that answers it.
//!
//! Beside a workload's own tables a file may name who is to be measured, the values that are tried in turn, and what
//! happens to the nodes meanwhile:
//!
//! ```toml
//! name = "acks"
//! targets = ["ringlog:fs=ext4", "ringlog:fs=xfs"]   # as `--target` names them, which wins
//! [matrix]                                          # every combination is a run of its own: here acks-1 and acks-all
//! "producers.acks" = ["1", "all"]
//! [[faults]]                                        # of the first node, 10 s after its load has begun
//! at_s = 10
//! kind = "kill"                                     # or "restart" (SIGTERM), "pause" (SIGSTOP)
//! down_s = 2
//! [load]
//! rate = 1000
//! ```

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

use crate::driver::TargetSpec;
use crate::workload::{RawTopics, Workload, WorkloadError};

/// Combinations of one matrix.
const CELLS_MAX: usize = 64;
/// Faults of one file.
const FAULTS_MAX: usize = 16;
/// Seconds into a run, or of being down, that a fault may name: a day.
const FAULT_S_MAX: f64 = 86_400.0;

/// A workload file.
#[derive(Clone, Debug, PartialEq)]
pub struct Suite {
    /// Its text: read again it is the same suite.
    pub toml: String,
    /// The file's `name`.
    pub name: String,
    /// The question that it answers.
    pub question: Option<String>,
    /// Who is measured unless somebody else is named.
    pub targets: Vec<TargetSpec>,
    /// One for each combination of the matrix; without a matrix one.
    pub cells: Vec<Cell>,
    /// In the order of their times.
    pub faults: Vec<Fault>,
}

/// One combination of the matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// What sets it apart, `acks-1.durability-durable`; empty without a matrix.
    pub label: String,
    /// Proved; its name ends in the label.
    pub workload: Workload,
}

/// Something that happens to a node that the bench has started.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// After the first message was due, warm-up included.
    pub at: Duration,
    /// What.
    pub kind: FaultKind,
    /// How long the node is away.
    pub down: Duration,
    /// Which node, from 1.
    pub node: u32,
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// SIGTERM, and started again.
    Restart,
    /// SIGKILL, and started again.
    Kill,
    /// SIGSTOP, and SIGCONT.
    Pause,
}

impl FaultKind {
    /// Its word in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Pause => "pause",
        }
    }

    /// What a node was that it happened to.
    #[must_use]
    pub fn done(self) -> &'static str {
        match self {
            Self::Restart => "restarted",
            Self::Kill => "killed",
            Self::Pause => "paused",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    at_s: f64,
    kind: FaultKind,
    #[serde(default = "one_second")]
    down_s: f64,
    #[serde(default = "first_node")]
    node: u32,
}

fn one_second() -> f64 {
    1.0
}

fn first_node() -> u32 {
    1
}

impl Suite {
    /// Reads a file; a payload file is looked for beside it.
    ///
    /// # Errors
    /// It cannot be read, or as [`Self::parse`].
    pub fn read(path: &Path) -> Result<Self, WorkloadError> {
        let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(".")))
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// Everything that is wrong with it; of a matrix, with each combination.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, WorkloadError> {
        let mut table = table(text)?;
        let targets = targets(table.remove("targets"))?;
        let matrix = table.remove("matrix");
        let faults = faults(table.remove("faults"))?;
        let name = table.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let question = table.get("question").and_then(Value::as_str).map(str::to_owned);
        let mut cells = Vec::new();
        let mut problems = Vec::new();
        for (label, table) in combinations(&table, matrix)? {
            match cell(label, table, folder) {
                Ok(cell) => cells.push(cell),
                Err(error) => problems.extend(error.problems),
            }
        }
        problems.dedup();
        if problems.is_empty() {
            Ok(Self { toml: text.to_owned(), name, question, targets, cells, faults })
        } else {
            Err(WorkloadError { problems })
        }
    }

    /// The file's text with other times; what is `None` stays as it is.
    ///
    /// # Errors
    /// It is no such file, or its matrix tries several of a time that is given.
    pub fn with_times(
        text: &str,
        warmup: Option<Duration>,
        duration: Option<Duration>,
    ) -> Result<String, WorkloadError> {
        if warmup.is_none() && duration.is_none() {
            return Ok(text.to_owned());
        }
        let mut table = table(text)?;
        for (field, time) in [("warmup_s", warmup), ("duration_s", duration)] {
            let Some(time) = time else { continue };
            if axes(&table).any(|axis| axis == field) {
                return Err(wrong(format!("matrix.\"{field}\": tried in turn, so that it cannot be another for all")));
            }
            table.insert(field.to_owned(), Value::Float(time.as_secs_f64()));
        }
        toml::to_string(&table).map_err(|error| wrong(error.to_string()))
    }

    /// The topics of a file's text; `None` when it is no such file, or its combinations differ in them.
    #[must_use]
    pub fn topics(text: &str) -> Option<RawTopics> {
        let table = table(text).ok()?;
        if axes(&table).any(|axis| axis.split('.').next() == Some("topics")) {
            return None;
        }
        table.get("topics").map_or(Some(RawTopics::default()), |topics| topics.clone().try_into().ok())
    }
}

fn table(text: &str) -> Result<Table, WorkloadError> {
    text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))
}

/// The fields that its matrix tries.
fn axes(table: &Table) -> impl Iterator<Item = &str> {
    table.get("matrix").and_then(Value::as_table).into_iter().flat_map(|axes| axes.keys().map(String::as_str))
}

fn wrong(problem: String) -> WorkloadError {
    WorkloadError { problems: vec![problem.trim_end().to_owned()] }
}

fn targets(value: Option<Value>) -> Result<Vec<TargetSpec>, WorkloadError> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let words: Vec<String> = value.try_into().map_err(|error| wrong(format!("targets: {error}")))?;
    words.iter().map(|word| word.parse().map_err(|error| wrong(format!("targets: `{word}`: {error}")))).collect()
}

fn faults(value: Option<Value>) -> Result<Vec<Fault>, WorkloadError> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let raw: Vec<RawFault> = value.try_into().map_err(|error| wrong(format!("faults: {error}")))?;
    if FAULTS_MAX < raw.len() {
        return Err(wrong(format!("{} faults: at most {FAULTS_MAX}", raw.len())));
    }
    let seconds = |name: &str, value: f64| match (0.0..=FAULT_S_MAX).contains(&value) {
        true => Ok(Duration::from_secs_f64(value)),
        false => Err(wrong(format!("faults.{name} = {value}: 0 to {FAULT_S_MAX}"))),
    };
    let proved = |raw: RawFault| {
        if raw.node == 0 {
            return Err(wrong("faults.node = 0: nodes count from 1".to_owned()));
        }
        Ok(Fault {
            at: seconds("at_s", raw.at_s)?,
            kind: raw.kind,
            down: seconds("down_s", raw.down_s)?,
            node: raw.node,
        })
    };
    let mut faults = raw.into_iter().map(proved).collect::<Result<Vec<_>, _>>()?;
    faults.sort_by_key(|fault| fault.at);
    if let Some(pair) = faults.windows(2).find(|pair| pair[1].at < pair[0].at + pair[0].down) {
        let at = pair[1].at.as_secs_f64();
        return Err(wrong(format!("faults.at_s = {at}: the one before it is not over by then")));
    }
    Ok(faults)
}

/// The file once for each combination, with what sets it apart.
fn combinations(file: &Table, matrix: Option<Value>) -> Result<Vec<(String, Table)>, WorkloadError> {
    let mut all = vec![(String::new(), file.clone())];
    let axes = match matrix {
        None => return Ok(all),
        Some(Value::Table(axes)) => axes,
        Some(_) => return Err(wrong("matrix: a table of fields, each with a list of values".to_owned())),
    };
    for (field, values) in axes {
        let Value::Array(values) = values else {
            return Err(wrong(format!("matrix.\"{field}\": a list of values")));
        };
        if values.is_empty() || CELLS_MAX < all.len() * values.len() {
            let cells = all.len() * values.len();
            return Err(wrong(format!("matrix.\"{field}\": {cells} combinations, at least 1 and at most {CELLS_MAX}")));
        }
        let mut next = Vec::new();
        for (label, table) in &all {
            for value in &values {
                let mut table = table.clone();
                set(&mut table, &field, value.clone()).map_err(|why| wrong(format!("matrix.\"{field}\": {why}")))?;
                next.push((join(label, &word(&field, value)), table));
            }
        }
        all = next;
    }
    Ok(all)
}

fn set(table: &mut Table, field: &str, value: Value) -> Result<(), &'static str> {
    match field.split_once('.') {
        None => {
            table.insert(field.to_owned(), value);
            Ok(())
        }
        // What stands behind `configs` is a setting's name, which has dots of its own.
        Some((first, rest)) => match table.entry(first).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) if first == "configs" => {
                inner.insert(rest.to_owned(), value);
                Ok(())
            }
            Value::Table(inner) => set(inner, rest, value),
            _ => Err("goes through a value that is no table"),
        },
    }
}

/// `producers.acks = "all"` is `acks-all` in a label.
fn word(field: &str, value: &Value) -> String {
    let value = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let name = field.rsplit('.').next().unwrap_or(field);
    format!("{name}-{value}").chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect()
}

fn join(label: &str, word: &str) -> String {
    if label.is_empty() { word.to_owned() } else { format!("{label}.{word}") }
}

fn cell(label: String, mut table: Table, folder: &Path) -> Result<Cell, WorkloadError> {
    if !label.is_empty()
        && let Some(Value::String(name)) = table.get_mut("name")
    {
        *name = join(name, &label);
    }
    let toml = toml::to_string(&table).map_err(|error| wrong(error.to_string()))?;
    let workload = Workload::parse(&toml, folder)?;
    Ok(Cell { label, workload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Durability;

    fn parse(text: &str) -> Result<Suite, WorkloadError> {
        Suite::parse(text, Path::new("."))
    }

    const LOAD: &str = "[load]\nrate = 100\n";

    #[test]
    fn a_plain_workload_is_one_cell_of_its_own_name() {
        let suite = parse(&format!("name = \"a\"\nquestion = \"why\"\n{LOAD}")).expect("right");
        assert_eq!((suite.cells.len(), suite.cells[0].workload.name.as_str()), (1, "a"));
        assert_eq!(suite.question.as_deref(), Some("why"));
        assert_eq!(suite.cells[0].label, "");
    }

    #[test]
    fn a_matrix_is_every_combination_once() {
        let text = format!(
            "name = \"m\"\n{LOAD}[matrix]\n\"producers.acks\" = [\"1\", \"all\"]\n\"topics.durability\" = [\"replicated\", \"durable\"]\n"
        );
        let suite = parse(&text).expect("right");
        let labels: Vec<&str> = suite.cells.iter().map(|cell| cell.label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "acks-1.durability-replicated",
                "acks-1.durability-durable",
                "acks-all.durability-replicated",
                "acks-all.durability-durable"
            ]
        );
        assert_eq!(suite.cells[1].workload.topics.durability, Durability::Durable);
        assert_eq!(suite.cells[1].workload.name, "m.acks-1.durability-durable");
        // What is kept with a result is the same again.
        assert_eq!(parse(&suite.toml).expect("right"), suite);
    }

    #[test]
    fn at_another_length_a_file_differs_in_nothing_else() {
        let text = format!(
            "name = \"m\"\nduration_s = 30\ntargets = [\"ringlog\"]\n[[faults]]\nat_s = 1\nkind = \"kill\"\n{LOAD}\
             [topics]\nconfigs = {{ \"retention.ms\" = \"60000\" }}\n[matrix]\n\"producers.acks\" = [\"1\", \"all\"]\n"
        );
        let times = (None, Some(Duration::from_secs(3)));
        let short_text = Suite::with_times(&text, times.0, times.1).expect("right");
        let (long, short) = (parse(&text).expect("right"), parse(&short_text).expect("right"));
        let shortened = long.cells.iter().map(|cell| {
            let workload = Workload { duration: Duration::from_secs(3), ..cell.workload.clone() };
            Cell { workload, ..cell.clone() }
        });
        assert_eq!(short, Suite { cells: shortened.collect(), toml: short_text, ..long });
        assert_eq!(Suite::with_times(&text, None, None).as_deref(), Ok(text.as_str()));
        let tried = format!("name = \"m\"\n{LOAD}[matrix]\nduration_s = [1, 2]\n");
        let error = Suite::with_times(&tried, times.0, times.1).expect_err("tried in turn").to_string();
        assert!(error.contains("matrix.\"duration_s\""), "{error}");
        assert!(Suite::with_times("[load", None, times.1).is_err());
    }

    #[test]
    fn topics_are_told_where_all_combinations_have_the_same() {
        let partitions = |text: &str| Suite::topics(text).map(|topics| topics.partitions);
        let text = format!("name = \"m\"\ntargets = [\"ringlog\"]\n{LOAD}[topics]\npartitions = 6\n");
        assert_eq!(partitions(&text), Some(Some(6)));
        assert_eq!(partitions(&format!("{text}[matrix]\n\"load.rate\" = [1, 2]\n")), Some(Some(6)));
        assert_eq!(partitions(&format!("{text}[matrix]\n\"topics.count\" = [1, 2]\n")), None);
        assert_eq!(partitions(LOAD), Some(None));
        assert_eq!(partitions(&format!("{LOAD}{LOAD}")), None);
    }

    #[test]
    fn a_setting_of_topics_may_be_an_axis() {
        let text = format!("name = \"m\"\n{LOAD}[matrix]\n\"topics.configs.segment.bytes\" = [\"1048576\"]\n");
        let suite = parse(&text).expect("right");
        assert_eq!(suite.cells[0].workload.topics.configs["segment.bytes"], "1048576");
    }

    #[test]
    fn faults_are_in_order_and_apart() {
        let fault = |at: f64, down: f64| format!("[[faults]]\nat_s = {at}\nkind = \"pause\"\ndown_s = {down}\n");
        let text = |faults: &str| format!("name = \"f\"\n{faults}{LOAD}");
        let suite = parse(&text(&(fault(9.0, 1.0) + &fault(3.0, 2.0)))).expect("right");
        assert_eq!(suite.faults.iter().map(|fault| fault.at.as_secs()).collect::<Vec<_>>(), [3, 9]);
        let error = parse(&text(&(fault(3.0, 2.0) + &fault(4.0, 1.0)))).expect_err("at once").to_string();
        assert!(error.contains("faults.at_s = 4"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, says) in [
            ("name = \"a\"\n[matrix]\n\"producers.acks\" = 1\n", "a list of values"),
            ("name = \"a\"\n[matrix]\n\"producers.acks\" = []\n", "at least 1"),
            ("name = \"a\"\n[matrix]\n\"name.x\" = [1]\n", "no table"),
            ("name = \"a\"\n[matrix]\n\"producers.acks\" = [\"2\"]\n[load]\nrate = 1\n", "producers.acks = \"2\""),
            ("name = \"a\"\ntargets = [\"ringlog:fs\"]\n", "targets: `ringlog:fs`"),
            ("name = \"a\"\n[[faults]]\nat_s = -1\nkind = \"kill\"\n", "faults.at_s = -1"),
            ("name = \"a\"\n[[faults]]\nat_s = 1\nkind = \"melt\"\n", "melt"),
            ("name = \"a\"\n[[faults]]\nat_s = 1\nkind = \"kill\"\nnode = 0\n", "count from 1"),
            ("name = \"a\"\n[load]\nrate = 1\ncolour = 2\n", "colour"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let many = format!("name = \"a\"\n{LOAD}[matrix]\nseed = [{}]\n", "1, ".repeat(65));
        assert!(parse(&many).expect_err("many").to_string().contains("at most 64"));
    }
}
