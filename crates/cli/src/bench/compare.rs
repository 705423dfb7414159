//! `ringlog bench compare A B WORKLOAD`: two targets in turn, and whether they differ.

use std::path::PathBuf;

use clap::Args;
use loadgen::RunOptions;
use loadgen::driver::TargetSpec;

use super::measure::{Measure, Plan, TARGETS_HELP};
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  ringlog bench compare ringlog:cpus=0 kafka:cpus=0 orders.toml
  ringlog bench compare ringlog:fs=ext4 ringlog:fs=xfs orders.toml --repeat 9   more runs, smaller differences";

/// The arguments of `bench compare`.
#[derive(Args)]
#[command(after_help = format!("{TARGETS_HELP}\n\n{EXAMPLES}"))]
pub(crate) struct BenchCompare {
    /// The target that is compared with
    #[arg(value_name = "A")]
    a: TargetSpec,
    /// The target that may be better or worse
    #[arg(value_name = "B")]
    b: TargetSpec,
    /// The workload, a TOML file
    #[arg(value_name = "WORKLOAD.toml")]
    workload: PathBuf,
    /// Runs of each, taken in turn: A B A B ... A difference is only claimed from 5 on
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeat: u32,
    #[command(flatten)]
    measure: Measure,
}

impl BenchCompare {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.measure.run(Plan {
            workload: self.workload.clone(),
            targets: vec![self.a.clone(), self.b.clone()],
            repeats: self.repeat,
            options: RunOptions::default(),
        })
    }
}
