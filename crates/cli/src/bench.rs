//! `ringlog bench`: what a broker does, and what its machine could do. One file a command.

mod compare;
pub(crate) mod diff;
pub(crate) mod disk;
mod live;
mod measure;
pub(crate) mod net;
pub(crate) mod report;
pub(crate) mod rows;
mod run;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use loadgen::limits::{FILE, Limits};

use crate::failure::{Code, Failure};

/// The commands.
#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Run a workload against one or more targets: rate, latency, lag, what it costs
    Run(run::Run),
    /// Run a workload against two targets in turn, and say whether they differ
    Compare(compare::BenchCompare),
    /// Draw the page of results folders again, several beside each other, and print their numbers
    Report(report::BenchReport),
    /// Compare two results folders
    Diff(diff::BenchDiff),
    /// What a folder's disk can do: writing from front to end, and fdatasync by size, by batch and by files
    Disk(disk::BenchDisk),
    /// What the network can do: bytes each way and the round trip, over loopback or to another machine
    Net(net::BenchNet),
}

impl BenchCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Run(run) => run.run(),
            Self::Compare(compare) => compare.run(),
            Self::Report(report) => report.run(),
            Self::Diff(diff) => diff.run(),
            Self::Disk(disk) => disk.run(),
            Self::Net(net) => net.run(),
        }
    }
}

/// Where limits are kept.
#[derive(Args)]
pub(crate) struct LimitsFile {
    /// The file that keeps what `bench disk` and `bench net` measure; result rows and `plan` read it
    #[arg(long, value_name = "FILE", default_value = FILE)]
    pub(crate) limits: PathBuf,
}

impl LimitsFile {
    /// What is known of this machine.
    pub(crate) fn read(&self) -> Result<Limits, Failure> {
        Limits::read_or_new(&self.limits).map_err(|error| Failure::new(Code::Failed, error.to_string()))
    }

    /// Takes in what was measured meanwhile by somebody else, then `change`, and writes the file.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Limits)) -> Result<(), Failure> {
        let mut limits = self.read()?;
        change(&mut limits);
        let told = |error| format!("{}: {error}; name another file with --limits", self.limits.display());
        limits.write(&self.limits).map_err(|error| Failure::new(Code::Failed, told(error)))
    }
}
