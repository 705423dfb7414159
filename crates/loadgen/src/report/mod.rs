//! `report.html`: one page, nothing loaded from anywhere, drawn again from a results folder at any time.
//!
//! [`Results`] is a folder read back, [`page`] the page of one folder or the comparison of several.

mod chart;
pub(crate) mod format;
mod html;
mod omb;
mod page;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod schema_test;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use omb::omb;
pub use page::page;

use crate::summary::{SCHEMA, SCHEMA_VERSION, SeriesLine, Summary};

/// The summary's file in a results folder.
pub const SUMMARY_FILE: &str = "summary.json";
/// The time series' file.
pub const SERIES_FILE: &str = "series.jsonl";
/// The page's file.
pub const REPORT_FILE: &str = "report.html";

/// A results file of more bytes is not one of ours: a week of one target at a line a second is half of it.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// A results folder.
#[derive(Clone, PartialEq, Debug)]
pub struct Results {
    /// The folder's name.
    pub name: String,
    /// What it came to.
    pub summary: Summary,
    /// Second by second.
    pub series: Vec<SeriesLine>,
}

impl Results {
    /// Reads a folder back.
    ///
    /// # Errors
    /// Files that are missing, are none of ours, or are of a schema that this version does not know.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let summary = folder.join(SUMMARY_FILE);
        if folder.is_dir() && !summary.exists() {
            let why =
                format!("{} has no {SUMMARY_FILE}: no results of `ringlog bench run` or `compare`", folder.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        let summary = read_bounded(&summary)?;
        let told = |file: &str, why: String| io::Error::other(format!("{}: {why}", folder.join(file).display()));
        let version: Version = serde_json::from_str(&summary)
            .map_err(|error| told(SUMMARY_FILE, format!("{error}; is this a folder that `ringlog bench` wrote?")))?;
        if version.schema != SCHEMA || version.schema_version != SCHEMA_VERSION {
            let found = format!("{} {}", version.schema, version.schema_version);
            return Err(told(SUMMARY_FILE, format!("it is {found}; this ringlog reads {SCHEMA} {SCHEMA_VERSION}")));
        }
        let summary = serde_json::from_str(&summary).map_err(|error| told(SUMMARY_FILE, error.to_string()))?;
        let series = read_bounded(&folder.join(SERIES_FILE))?;
        let series = series
            .lines()
            .enumerate()
            .map(|(index, line)| {
                serde_json::from_str(line).map_err(|error| told(SERIES_FILE, format!("line {}: {error}", index + 1)))
            })
            .collect::<io::Result<_>>()?;
        let name = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        let name = name.file_name().map_or_else(|| folder.display().to_string(), |name| name.display().to_string());
        Ok(Self { name, summary, series })
    }
}

#[derive(serde::Deserialize)]
struct Version {
    schema: String,
    schema_version: u32,
}

fn read_bounded(path: &PathBuf) -> io::Result<String> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()));
    let bytes = fs::metadata(path).map_err(told)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("{}: {bytes} bytes: no results file is that large", path.display())));
    }
    fs::read_to_string(path).map_err(told)
}
