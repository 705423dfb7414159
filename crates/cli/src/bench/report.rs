//! `ringlog bench report`: the page of results folders, drawn again.

use std::io;
use std::path::PathBuf;

use clap::Args;
use loadgen::report::{REPORT_FILE, Results, page};
use schemars::JsonSchema;
use serde::Serialize;

use super::rows::BenchResults;
use crate::failure::{Code, Failure};
use crate::output::{Answer, Format, Section, print};

const AFTER_HELP: &str = "\
Examples:
  ringlog bench report results/2026-11-28_4b00e75_tier-small         draws its report.html again
  ringlog bench report results/*tier* --to tiers.html                several beside each other, on one page
  ringlog bench report results/*tier* -o json                        the numbers as well, for scripts";

/// Folders on one page at most.
const FOLDERS_MAX: usize = 64;

/// The arguments of `bench report`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BenchReport {
    /// Results folders; several become a comparison
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// The page's file [default: DIR/report.html of one folder, comparison.html of several]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

impl BenchReport {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.folders.len() > FOLDERS_MAX {
            let said = format!("{} folders: at most {FOLDERS_MAX} fit on a page", self.folders.len());
            return Err(Failure::new(Code::Usage, said));
        }
        let all = self.folders.iter().map(|folder| read(folder)).collect::<Result<Vec<_>, _>>()?;
        let to = match (&self.to, self.folders.as_slice()) {
            (Some(to), _) => to.clone(),
            (None, [folder]) => folder.join(REPORT_FILE),
            (None, _) => PathBuf::from("comparison.html"),
        };
        std::fs::write(&to, page(&all))
            .map_err(|error| Failure::new(Code::Failed, format!("cannot write {}: {error}", to.display())))?;
        let sessions = self.folders.iter().zip(&all).map(|(folder, read)| BenchResults::of(folder, &read.summary));
        let answer = BenchPage { page: to.display().to_string(), sessions: sessions.collect() };
        print(&answer, self.format.output)
    }
}

/// A page that was drawn, and what is on it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BenchPage {
    /// The page's file.
    page: String,
    /// One for each folder, in the order given.
    sessions: Vec<BenchResults>,
}

impl Answer for BenchPage {
    const SCHEMA: &'static str = "bench.report";
    const LINES: &'static str = "sessions";

    fn sections(&self, wide: bool) -> Vec<Section> {
        let of_session = |session: &BenchResults| {
            let title = Section::Text(format!("{}\n", session.folder));
            std::iter::once(title).chain(session.tables(wide)).collect::<Vec<_>>()
        };
        let mut sections: Vec<Section> = self.sessions.iter().flat_map(of_session).collect();
        sections.push(Section::Text(format!("{}\n", self.page)));
        sections
    }
}

/// A results folder, or why it is none.
pub(super) fn read(folder: &std::path::Path) -> Result<Results, Failure> {
    Results::read(folder).map_err(|error| {
        let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::Failed };
        Failure::new(code, error.to_string())
    })
}
