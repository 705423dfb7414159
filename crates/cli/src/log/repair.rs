//! `ringlog log repair`: the last resort for a partition that stays offline.

use std::path::PathBuf;

use broker::offline::{self, RepairReport};
use broker::preflight::human;
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::{failure, progress_line};
use crate::failure::Failure;
use crate::output::{Answer, Format, Section, print};

const AFTER_HELP: &str = "\
Examples:
  ringlog log repair ringlog-data/orders-0                  what it would lose
  ringlog log repair ringlog-data/orders-0 --accept-loss    cut there

The node must be stopped. Without --accept-loss nothing is changed and the loss is told; restore the folder from a backup \
if you have one.";

/// The arguments of `log repair`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Repair {
    /// The folders, such as ringlog-data/orders-0
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Do it: everything behind the first bad batch is lost
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Serialize, JsonSchema)]
struct FolderJson {
    folder: String,
    done: bool,
    cut_bytes: u64,
    cut_offsets: Option<u64>,
    log_end_offset: i64,
    indexes_rebuilt: Vec<String>,
    notes: Vec<String>,
}

/// What was cut off damaged logs, or would be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LogRepair {
    folders: Vec<FolderJson>,
}

impl Repair {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut answer = LogRepair { folders: Vec::new() };
        for folder in &self.folders {
            let report = offline::repair(folder, self.accept_loss, &mut progress_line());
            answer.folders.push(folder_json(&report.map_err(|error| failure(&error))?));
        }
        print(&answer, self.format.output)?;
        let loses = answer.folders.iter().any(|folder| !folder.done && 0 < folder.cut_bytes);
        if loses { Err(Failure::verdict()) } else { Ok(()) }
    }
}

impl Answer for LogRepair {
    const SCHEMA: &'static str = "log.repair";
    const LINES: &'static str = "folders";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        vec![Section::Text(self.folders.iter().map(text).collect())]
    }
}

fn folder_json(report: &RepairReport) -> FolderJson {
    FolderJson {
        folder: report.folder.display().to_string(),
        done: report.done,
        cut_bytes: report.recovery.bytes_cut,
        cut_offsets: report.recovery.offsets_cut,
        log_end_offset: report.recovery.log_end.value(),
        indexes_rebuilt: report.recovery.indexes_rebuilt.iter().map(ToString::to_string).collect(),
        notes: report.recovery.notes.clone(),
    }
}

fn text(report: &FolderJson) -> String {
    let FolderJson { folder, .. } = report;
    let mut text = String::new();
    for note in &report.notes {
        text.push_str(&format!("{folder}: {note}\n"));
    }
    let offsets = report.cut_offsets.map_or(String::new(), |offsets| format!(" with {offsets} offsets"));
    let cut = human(report.cut_bytes);
    let end = report.log_end_offset;
    text.push_str(&match (report.cut_bytes, report.done) {
        (0, false) => format!("{folder}: no record is lost; the log ends at offset {end}\n"),
        (0, true) => format!("{folder}: repaired without loss; the log ends at offset {end}\n"),
        (_, true) => format!("{folder}: repaired: {cut}{offsets} cut; the log ends at offset {end}\n"),
        (_, false) => format!(
            "{folder}: {cut}{offsets} would be lost, and the log end at offset {end}. Nothing was changed: give \
             --accept-loss to do it\n"
        ),
    });
    text
}
