//! `ringlog bench diff A B`: two results folders, target by target and metric by metric.

use std::path::PathBuf;

use clap::Args;
use loadgen::compare::diff;
use schemars::JsonSchema;
use serde::Serialize;

use super::report::read;
use super::rows::{ComparisonRow, comparison_sections};
use crate::failure::Failure;
use crate::output::{Answer, Format, Section, print};

const AFTER_HELP: &str = "\
Examples:
  ringlog bench diff results/2026-11-27_1c76078_tier-small results/2026-11-28_4b00e75_tier-small
  ringlog bench diff BEFORE AFTER --strict        exit code 6 when something is shown to be worse

Targets are matched by their labels. A difference is only claimed from 5 runs of each side on; runs of two folders were not \
taken in turn, so what drifted on the machine between them counts too: `ringlog bench compare` does not have that flaw.";

/// The arguments of `bench diff`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BenchDiff {
    /// The folder to compare with
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The folder that may be better or worse
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Exit code 6 when B is shown to be worse in any metric
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    format: Format,
}

impl BenchDiff {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (a, b) = (read(&self.a)?, read(&self.b)?);
        let (comparisons, remarks) = diff(&a.summary, &b.summary);
        let answer = BenchDifference {
            a: a.name,
            b: b.name,
            remarks,
            metrics: comparisons.iter().map(ComparisonRow::of).collect(),
        };
        print(&answer, self.format.output)?;
        if self.strict && answer.metrics.iter().any(ComparisonRow::is_worse) {
            return Err(Failure::verdict());
        }
        Ok(())
    }
}

/// How two sessions differ.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BenchDifference {
    /// The first folder.
    a: String,
    /// The second.
    b: String,
    /// What sets them apart beside what is compared.
    remarks: Vec<String>,
    /// One row for each target and metric that both have.
    metrics: Vec<ComparisonRow>,
}

impl Answer for BenchDifference {
    const SCHEMA: &'static str = "bench.diff";
    const LINES: &'static str = "metrics";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let mut sections = vec![Section::facts([("A", self.a.clone()), ("B", self.b.clone())])];
        if !self.remarks.is_empty() {
            sections.push(Section::Text(self.remarks.iter().map(|remark| format!("{remark}\n")).collect()));
        }
        sections.extend(comparison_sections(&self.metrics));
        if self.metrics.is_empty() {
            sections.push(Section::Text("no target of the one is in the other\n".to_owned()));
        }
        sections
    }
}
