//! `ringlog log repair`: the last resort for a partition that stays offline.

use std::path::PathBuf;

use broker::offline::{self, RepairReport};
use broker::preflight::human;
use clap::Args;
use serde::Serialize;

use super::{failure, progress_line};
use crate::failure::Failure;
use crate::output::{Output, print_json, print_text};

const AFTER_HELP: &str = "\
The node must be stopped. Without --accept-loss nothing is changed and the loss is told; restore the folder from a backup
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
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Serialize)]
struct FolderJson {
    folder: String,
    done: bool,
    cut_bytes: u64,
    cut_offsets: Option<u64>,
    log_end_offset: i64,
    indexes_rebuilt: Vec<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct RepairJson {
    version: u32,
    folders: Vec<FolderJson>,
}

impl Repair {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut reports = Vec::new();
        for folder in &self.folders {
            let report = offline::repair(folder, self.accept_loss, &mut progress_line());
            let report = report.map_err(|error| failure(&error))?;
            if self.output == Output::Table {
                print_text(&text(&report))?;
            }
            reports.push(report);
        }
        if self.output == Output::Json {
            print_json(&RepairJson { version: 1, folders: reports.iter().map(folder_json).collect() })?;
        }
        let loses = reports.iter().any(|report| !report.done && 0 < report.recovery.bytes_cut);
        if loses { Err(Failure::verdict()) } else { Ok(()) }
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

fn text(report: &RepairReport) -> String {
    let RepairReport { folder, recovery, done } = report;
    let folder = folder.display();
    let mut text = String::new();
    for note in &recovery.notes {
        text.push_str(&format!("{folder}: {note}\n"));
    }
    let offsets = recovery.offsets_cut.map_or(String::new(), |offsets| format!(" with {offsets} offsets"));
    let cut = human(recovery.bytes_cut);
    let end = recovery.log_end;
    text.push_str(&match (recovery.bytes_cut, done) {
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
