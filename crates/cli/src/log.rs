//! `ringlog log`: partition folders while no node has them: read, checked, taken in, repaired.

pub(crate) mod adopt;
pub(crate) mod repair;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use broker::inspect::{self, BatchRow, PartitionReport};
use broker::offline::{OfflineError, RecoveryProgress};
use broker::preflight::human;
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::output::{Answer, Format, Section, print};
use crate::units::{count, counted};

/// The commands about folders.
#[derive(Subcommand)]
pub(crate) enum LogCommand {
    /// What lies in a partition's folder: its segments, or its batches
    Inspect(Inspect),
    /// Check folders for damage: checksums, offsets, indexes; exit with 6 if there is any
    Verify(Verify),
    /// Take in partition folders of a stopped Kafka: topics, ids, offsets, groups
    Adopt(adopt::Adopt),
    /// Cut a damaged log at its first bad batch, so that the rest is served again
    Repair(repair::Repair),
}

const INSPECT_AFTER_HELP: &str = "\
Examples:
  ringlog log inspect ringlog-data/orders-0              its segments
  ringlog log inspect ringlog-data/orders-0 --batches    each batch: offsets, codec, who wrote it";

const VERIFY_AFTER_HELP: &str = "\
Examples:
  ringlog log verify ringlog-data/orders-*               batches, checksums, indexes
  ringlog log verify ringlog-data/orders-* --records     what is compressed too";

/// The arguments of `log inspect`.
#[derive(Args)]
#[command(after_help = INSPECT_AFTER_HELP)]
pub(crate) struct Inspect {
    /// The folder, such as ringlog-data/orders-0
    folder: PathBuf,
    /// Every batch instead of every segment
    #[arg(long)]
    batches: bool,
    #[command(flatten)]
    format: Format,
}

/// The arguments of `log verify`.
#[derive(Args)]
#[command(after_help = VERIFY_AFTER_HELP)]
pub(crate) struct Verify {
    /// The folders, such as ringlog-data/*-*
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Inflate and walk the records too, not only the batches
    #[arg(long)]
    records: bool,
    #[command(flatten)]
    format: Format,
}

impl LogCommand {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match self {
            Self::Inspect(inspect) => inspect.run(),
            Self::Verify(verify) => verify.run(),
            Self::Adopt(adopt) => adopt.run(),
            Self::Repair(repair) => repair.run(),
        }
    }
}

fn read(
    folder: &std::path::Path,
    with_records: bool,
    on_batch: &mut dyn FnMut(i64, &BatchRow),
) -> Result<PartitionReport, Failure> {
    let report = inspect::partition(folder, with_records, on_batch).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Failed };
        Failure::new(code, format!("cannot read {}: {error}", folder.display()))
    })?;
    // Nothing wrong in a folder that holds something else would be no good news.
    if report.segments.is_empty() && report.topic_id.is_none() {
        return Err(Failure::new(
            Code::NotFound,
            format!("{} is no partition's folder: it holds no segment", folder.display()),
        )
        .with_next("give the folder of one, such as ringlog-data/orders-0"));
    }
    Ok(report)
}

#[derive(Serialize, JsonSchema)]
struct SegmentJson {
    base_offset: i64,
    end_offset: i64,
    size_bytes: u64,
    batches: u64,
    records: u64,
    timestamp_min_ms: Option<i64>,
    timestamp_max_ms: Option<i64>,
    index_entries: u64,
    time_index_entries: u64,
}

#[derive(Serialize, JsonSchema)]
struct BatchJson {
    segment: i64,
    position: u64,
    base_offset: i64,
    last_offset: i64,
    records: i32,
    size_bytes: u32,
    codec: &'static str,
    timestamp_max_ms: i64,
    leader_epoch: Option<i32>,
    producer_id: Option<i64>,
    producer_epoch: Option<i16>,
    base_sequence: Option<i32>,
    transactional: bool,
    control: bool,
}

/// What lies in a partition's folder.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LogInspection {
    folder: String,
    topic_id: Option<String>,
    /// Its segments; left out when the batches were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<Vec<SegmentJson>>,
    /// Its batches, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    batches: Option<Vec<BatchJson>>,
    faults: Vec<FaultJson>,
}

#[derive(Serialize, JsonSchema)]
struct FaultJson {
    folder: String,
    file: String,
    position: u64,
    reason: String,
    /// Bytes that no reader gets because of it.
    unusable_bytes: u64,
}

/// What a check of folders found.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LogVerification {
    folders: u64,
    batches: u64,
    records: u64,
    size_bytes: u64,
    faults: Vec<FaultJson>,
}

fn faults(folder: &std::path::Path, report: &PartitionReport) -> Vec<FaultJson> {
    let json = |fault: &inspect::Fault| FaultJson {
        folder: folder.display().to_string(),
        file: fault.file.clone(),
        position: fault.position,
        reason: fault.reason.clone(),
        unusable_bytes: fault.bytes_unusable,
    };
    report.faults().map(json).collect()
}

impl Inspect {
    fn run(&self) -> Result<(), Failure> {
        let mut batches = Vec::new();
        let report = read(&self.folder, false, &mut |segment, row| {
            if self.batches {
                batches.push(batch_json(segment, row));
            }
        })?;
        let answer = LogInspection {
            folder: self.folder.display().to_string(),
            topic_id: report.topic_id.clone(),
            segments: (!self.batches).then(|| report.segments.iter().map(segment_json).collect()),
            batches: self.batches.then_some(batches),
            faults: faults(&self.folder, &report),
        };
        print(&answer, self.format.output)?;
        if !self.format.output.is_text() {
            return Ok(());
        }
        for name in report.leftovers.iter().chain(&report.strangers) {
            tell!("beside them: {name}");
        }
        for fault in report.faults() {
            tell!("fault: {} at {}: {}", fault.file, fault.position, fault.reason);
        }
        Ok(())
    }
}

impl Answer for LogInspection {
    const SCHEMA: &'static str = "log.inspect";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let mut sections = Vec::new();
        if let Some(batches) = &self.batches {
            let heads = [
                "segment",
                "position",
                "first",
                "last",
                "records",
                "size",
                "codec",
                "max timestamp ms",
                "epoch",
                "producer",
                "kind",
            ];
            sections.push(Section::rows(&heads, batches.iter().map(batch_cells)));
        }
        if let Some(segments) = &self.segments {
            let heads = ["first", "end", "size", "batches", "records", "timestamps ms", "index", "time index"];
            sections.push(Section::rows(&heads, segments.iter().map(segment_cells)));
        }
        sections
    }
}

fn segment_json(segment: &inspect::SegmentReport) -> SegmentJson {
    SegmentJson {
        base_offset: segment.base_offset,
        end_offset: segment.end_offset,
        size_bytes: segment.bytes,
        batches: segment.batches,
        records: segment.records,
        timestamp_min_ms: segment.timestamps_ms.map(|(min, _)| min),
        timestamp_max_ms: segment.timestamps_ms.map(|(_, max)| max),
        index_entries: segment.index_entries,
        time_index_entries: segment.time_index_entries,
    }
}

fn segment_cells(segment: &SegmentJson) -> Vec<String> {
    let times = match (segment.timestamp_min_ms, segment.timestamp_max_ms) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        _ => String::new(),
    };
    vec![
        segment.base_offset.to_string(),
        segment.end_offset.to_string(),
        human(segment.size_bytes),
        segment.batches.to_string(),
        segment.records.to_string(),
        times,
        segment.index_entries.to_string(),
        segment.time_index_entries.to_string(),
    ]
}

fn batch_json(segment: i64, row: &BatchRow) -> BatchJson {
    BatchJson {
        segment,
        position: row.position,
        base_offset: row.base_offset,
        last_offset: row.last_offset,
        records: row.records,
        size_bytes: row.bytes,
        codec: row.codec,
        timestamp_max_ms: row.max_timestamp_ms,
        leader_epoch: row.leader_epoch,
        producer_id: row.producer.map(|(id, _, _)| id),
        producer_epoch: row.producer.map(|(_, epoch, _)| epoch),
        base_sequence: row.producer.and_then(|(_, _, sequence)| sequence),
        transactional: row.transactional,
        control: row.control,
    }
}

fn batch_cells(row: &BatchJson) -> Vec<String> {
    let producer = match (row.producer_id, row.producer_epoch) {
        (Some(id), Some(epoch)) => {
            format!("{id}/{epoch}{}", row.base_sequence.map_or(String::new(), |sequence| format!("@{sequence}")))
        }
        _ => String::new(),
    };
    let kind = match (row.control, row.transactional) {
        (true, _) => "control",
        (false, true) => "transactional",
        (false, false) => "",
    };
    vec![
        row.segment.to_string(),
        row.position.to_string(),
        row.base_offset.to_string(),
        row.last_offset.to_string(),
        row.records.to_string(),
        human(u64::from(row.size_bytes)),
        row.codec.to_owned(),
        row.timestamp_max_ms.to_string(),
        row.leader_epoch.map_or(String::new(), |epoch| epoch.to_string()),
        producer,
        kind.to_owned(),
    ]
}

impl Verify {
    fn run(&self) -> Result<(), Failure> {
        let mut sum = LogVerification { folders: 0, batches: 0, records: 0, size_bytes: 0, faults: Vec::new() };
        for folder in &self.folders {
            let report = read(folder, self.records, &mut |_, _| ())?;
            sum.folders += 1;
            for segment in &report.segments {
                sum.batches += segment.batches;
                sum.records += segment.records;
                sum.size_bytes += segment.bytes;
            }
            sum.faults.extend(faults(folder, &report));
        }
        print(&sum, self.format.output)?;
        if sum.faults.is_empty() { Ok(()) } else { Err(Failure::verdict()) }
    }
}

impl Answer for LogVerification {
    const SCHEMA: &'static str = "log.verify";
    const LINES: &'static str = "faults";

    fn sections(&self, _wide: bool) -> Vec<Section> {
        let cells = |fault: &FaultJson| {
            let FaultJson { folder, file, position, reason, unusable_bytes } = fault;
            vec![folder.clone(), file.clone(), position.to_string(), reason.clone(), human(*unusable_bytes)]
        };
        let mut sections = vec![Section::Text(summary(self))];
        if !self.faults.is_empty() {
            let heads = ["folder", "file", "position", "fault", "unusable"];
            sections.insert(0, Section::rows(&heads, self.faults.iter().map(cells)));
        }
        sections
    }
}

fn summary(sum: &LogVerification) -> String {
    let batches = if sum.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", count(sum.batches)) };
    let read =
        [counted(sum.folders, "folder"), batches, counted(sum.records, "record"), human(sum.size_bytes)].join(", ");
    match sum.faults.len() {
        0 => format!("{read}: no faults"),
        // A torn tail is what a killed process leaves; a node's start cuts it off.
        faults => format!(
            "{read}: {}. A start of the node repairs a torn tail and indexes; for more, ringlog log repair",
            counted(faults as u64, "fault")
        ),
    }
}

/// Says on stderr how far a long read is: once a second, so that a short one says nothing.
fn progress_line() -> impl FnMut(&std::path::Path, RecoveryProgress) {
    let mut said = Instant::now();
    move |folder, progress| {
        if Duration::from_secs(1) <= said.elapsed() {
            said = Instant::now();
            tell!("reading {}: {} of {}", folder.display(), human(progress.bytes_done), human(progress.bytes_total));
        }
    }
}

fn failure(error: &OfflineError) -> Failure {
    let code = match error {
        OfflineError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Code::NotFound,
        _ => Code::Failed,
    };
    Failure::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_batch_row_shows_who_wrote_it() {
        let row = BatchRow {
            position: 61,
            base_offset: 5,
            last_offset: 9,
            records: 5,
            bytes: 2048,
            codec: "zstd",
            max_timestamp_ms: 1234,
            leader_epoch: Some(2),
            producer: Some((7, 1, Some(40))),
            transactional: true,
            control: false,
        };
        let json = batch_json(0, &row);
        assert_eq!(batch_cells(&json).join(" "), "0 61 5 9 5 2.0 KiB zstd 1234 2 7/1@40 transactional");
        expect![[r#"{"segment":0,"position":61,"base_offset":5,"last_offset":9,"records":5,"size_bytes":2048,"codec":"zstd","timestamp_max_ms":1234,"leader_epoch":2,"producer_id":7,"producer_epoch":1,"base_sequence":40,"transactional":true,"control":false}"#]].assert_eq(&serde_json::to_string(&json).expect("serialised"));
    }

    #[test]
    fn a_missing_folder_is_not_found() {
        let failure = read("/no/such-0".as_ref(), false, &mut |_, _| ()).expect_err("missing");
        assert_eq!(failure.code, Code::NotFound);
    }
}
