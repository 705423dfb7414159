//! Whether a part of the hot path has become dearer: its ratio to the floor measured beside it, against the ratio on
//! record. Times differ from machine to machine; what a part costs in units of its floor differs little.
//!
//! ```text
//! # part          ratio   tolerance %
//! append          1.21    25
//! ```

use std::path::Path;
use std::{fmt, fs, io};

/// What is on record for a part.
#[derive(Clone, PartialEq, Debug)]
pub struct Expected {
    /// The part's name, a group of the micro benchmarks.
    pub part: String,
    /// Our time through the floor's.
    pub ratio: f64,
    /// How much larger the ratio may be, in percent.
    pub tolerance_percent: f64,
}

/// What a run found for a part.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    /// The part's name.
    pub part: String,
    /// Median time of ours.
    pub node_ns: f64,
    /// Median time of its floor.
    pub floor_ns: f64,
}

impl Measured {
    /// Our time through the floor's.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.node_ns / self.floor_ns
    }
}

/// How a part stands against the record.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Verdict {
    /// Within its tolerance.
    Held,
    /// Dearer than its tolerance allows.
    Regressed,
    /// Cheaper by more than the tolerance: the record should be made anew, or the next regression hides in the gap.
    Improved,
    /// On record, not measured: nobody knows.
    NotMeasured,
    /// Measured, not on record.
    NotOnRecord,
}

impl Verdict {
    /// Whether the check fails on it. A part that nobody compared is no pass.
    #[must_use]
    pub fn fails(self) -> bool {
        matches!(self, Self::Regressed | Self::NotMeasured | Self::NotOnRecord)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Held => "held",
            Self::Regressed => "REGRESSED",
            Self::Improved => "improved: write a new record",
            Self::NotMeasured => "NOT MEASURED",
            Self::NotOnRecord => "NOT ON RECORD",
        })
    }
}

/// Reads a record file.
///
/// # Errors
/// The line that makes no sense, and why.
pub fn parse(text: &str) -> Result<Vec<Expected>, String> {
    let mut record: Vec<Expected> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let cells: Vec<&str> = line.split_whitespace().collect();
        let row = match cells[..] {
            [part, ratio, tolerance] => ratio.parse().ok().zip(tolerance.parse().ok()).map(|numbers| (part, numbers)),
            _ => None,
        };
        let Some((part, (ratio, tolerance_percent))) = row else {
            return Err(format!("line {}: `{line}` is not a part, its ratio and its tolerance", index + 1));
        };
        if !(0.0 < ratio && ratio < f64::INFINITY && 0.0 < tolerance_percent && tolerance_percent < f64::INFINITY) {
            return Err(format!("line {}: `{line}` holds a number that is not above zero", index + 1));
        }
        if record.iter().any(|other| other.part == part) {
            return Err(format!("line {}: {part} is there twice", index + 1));
        }
        record.push(Expected { part: part.to_owned(), ratio, tolerance_percent });
    }
    Ok(record)
}

/// Writes a record file from a run; tolerances are kept, a new part gets 30 %.
#[must_use]
pub fn render(measured: &[Measured], before: &[Expected]) -> String {
    let mut text =
        "# Made by `cargo run --release -p benches --bin regress -- --write` on a quiet machine.\n".to_owned();
    text += "# part             ratio  tolerance %\n";
    for row in measured {
        let tolerance = before.iter().find(|old| old.part == row.part).map_or(30.0, |old| old.tolerance_percent);
        text += &format!("{:<18} {:.3}  {tolerance}\n", row.part, row.ratio());
    }
    text
}

/// One verdict for every part that is on record or was measured, with the two ratios.
#[must_use]
pub fn judge(record: &[Expected], measured: &[Measured]) -> Vec<(String, Option<f64>, Option<f64>, Verdict)> {
    let on_record = record.iter().map(|expected| {
        let found = measured.iter().find(|row| row.part == expected.part).map(Measured::ratio);
        let slack = 1.0 + expected.tolerance_percent / 100.0;
        let verdict = match found {
            None => Verdict::NotMeasured,
            Some(ratio) if ratio > expected.ratio * slack => Verdict::Regressed,
            Some(ratio) if ratio < expected.ratio / slack => Verdict::Improved,
            // A ratio that is no number has not been compared with anything.
            Some(ratio) if ratio.is_nan() => Verdict::NotMeasured,
            Some(_) => Verdict::Held,
        };
        (expected.part.clone(), Some(expected.ratio), found, verdict)
    });
    let unknown = measured
        .iter()
        .filter(|row| record.iter().all(|expected| expected.part != row.part))
        .map(|row| (row.part.clone(), None, Some(row.ratio()), Verdict::NotOnRecord));
    on_record.chain(unknown).collect()
}

/// Reads what Criterion left under `home`: `<part>/{node,floor}/new/estimates.json`, in name order.
///
/// # Errors
/// A file that is missing or not Criterion's.
pub fn read_criterion(home: &Path) -> io::Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let part = entry.file_name().to_string_lossy().into_owned();
        if entry.path().join("floor").is_dir() {
            let median = |side: &str| median_ns(&entry.path().join(side).join("new").join("estimates.json"));
            measured.push(Measured { part, node_ns: median("node")?, floor_ns: median("floor")? });
        }
    }
    measured.sort_by(|a, b| a.part.cmp(&b.part));
    Ok(measured)
}

fn median_ns(path: &Path) -> io::Result<f64> {
    let named = |why: String| io::Error::other(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| named(error.to_string()))?;
    json["median"]["point_estimate"].as_f64().ok_or_else(|| named("no median.point_estimate".to_owned()))
}

/// Of several runs the one with the median ratio, part by part: one disturbed round decides nothing.
#[must_use]
pub fn median_of(rounds: &[Vec<Measured>]) -> Vec<Measured> {
    let Some(first) = rounds.first() else { return Vec::new() };
    let of_part = |part: &Measured| {
        let mut all: Vec<&Measured> = rounds.iter().flatten().filter(|row| row.part == part.part).collect();
        all.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
        all[all.len() / 2].clone()
    };
    first.iter().map(of_part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "# part ratio tolerance\nappend 1.20 25\ncrc 0.50 10\n";

    fn row(part: &str, node_ns: f64, floor_ns: f64) -> Measured {
        Measured { part: part.to_owned(), node_ns, floor_ns }
    }

    fn verdicts(measured: &[Measured]) -> Vec<(String, Verdict)> {
        judge(&parse(RECORD).expect("sound"), measured).into_iter().map(|(part, _, _, v)| (part, v)).collect()
    }

    #[test]
    fn a_part_beyond_its_tolerance_is_named_and_one_within_is_not() {
        let found = verdicts(&[row("append", 149.0, 100.0), row("crc", 56.0, 100.0)]);
        assert_eq!(found, [("append".to_owned(), Verdict::Held), ("crc".to_owned(), Verdict::Regressed)]);
        assert!(!Verdict::Held.fails());
        assert!(Verdict::Regressed.fails());
    }

    #[test]
    fn a_slower_machine_is_no_regression() {
        let found = verdicts(&[row("append", 1200.0, 1000.0), row("crc", 500.0, 1000.0)]);
        assert!(found.iter().all(|(_, verdict)| *verdict == Verdict::Held), "{found:?}");
    }

    #[test]
    fn what_was_not_compared_fails() {
        let found = verdicts(&[row("append", 120.0, 100.0), row("new_part", 1.0, 1.0)]);
        assert_eq!(found[1], ("crc".to_owned(), Verdict::NotMeasured));
        assert_eq!(found[2], ("new_part".to_owned(), Verdict::NotOnRecord));
        assert!(found[1].1.fails() && found[2].1.fails());
        assert_eq!(verdicts(&[row("crc", 0.0, 0.0)])[1].1, Verdict::NotMeasured);
    }

    #[test]
    fn a_gain_asks_for_a_new_record() {
        assert_eq!(verdicts(&[row("append", 90.0, 100.0)])[0].1, Verdict::Improved);
        let written = render(&[row("append", 90.0, 100.0)], &parse(RECORD).expect("sound"));
        let record = parse(&written).expect("its own form");
        assert_eq!(record, [Expected { part: "append".to_owned(), ratio: 0.9, tolerance_percent: 25.0 }]);
    }

    #[test]
    fn a_record_that_makes_no_sense_is_refused_with_its_line() {
        for (text, says) in [
            ("append 1.2", "line 1"),
            ("\nappend x 10", "line 2"),
            ("append 0 10", "not above zero"),
            ("append 1 10\nappend 1 10", "append is there twice"),
        ] {
            assert!(parse(text).expect_err(text).contains(says), "{text}");
        }
    }

    #[test]
    fn the_median_round_counts_part_by_part() {
        let rounds = [vec![row("crc", 9.0, 1.0)], vec![row("crc", 2.0, 1.0)], vec![row("crc", 3.0, 1.0)]];
        assert_eq!(median_of(&rounds), [row("crc", 3.0, 1.0)]);
    }
}
