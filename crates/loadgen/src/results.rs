//! A results folder: everything of a run that somebody may want to look at, draw again, or doubt.
//!
//! ```text
//! results/2026-11-28_4b00e75_tier-small/
//!   summary.json      what came out (results/SCHEMA.md); small objects stand on one line
//!   report.html       the page
//!   series.jsonl      second by second, every run of every target
//!   lag.jsonl         the same of each partition's lag
//!   histograms.hlog   every histogram, in HdrHistogram's own log format; tags <target>.<run>.<what>
//!   config/           the workload's file as run, and each target's settings
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde::Serialize;
use serde_json::ser::Formatter;

use crate::outcome::{Latencies, Outcome};
use crate::report::{REPORT_FILE, Results, SERIES_FILE, SUMMARY_FILE, page};
use crate::summary::{SeriesLine, Summary, lag_lines, rfc3339};

/// The partitions' lag.
pub const LAG_FILE: &str = "lag.jsonl";

/// The histograms' file.
pub const HISTOGRAMS_FILE: &str = "histograms.hlog";

/// Folders of the same day, commit and workload that are told apart by a number.
const SAME_NAME_MAX: u32 = 1000;

/// Makes `<under>/<date>_<commit>_<workload>`, with a number behind it if that is taken.
///
/// # Errors
/// The disk's.
pub fn make_folder(under: &Path, at: SystemTime, commit: Option<&str>, workload: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(under).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", under.display())))?;
    let date = rfc3339(at);
    let name = format!("{}_{}_{workload}", &date[..10], commit.unwrap_or("unknown"));
    for number in 1..=SAME_NAME_MAX {
        let name = if number == 1 { name.clone() } else { format!("{name}_{number}") };
        let folder = under.join(name);
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", folder.display()))),
        }
    }
    Err(io::Error::other(format!("{} already holds {SAME_NAME_MAX} folders named {name}", under.display())))
}

/// A run's outcome with its place: number of the target, number of the run.
pub type Placed<'a> = (u32, u32, &'a Outcome);

/// Writes everything into a folder that exists. Called again as a session goes on, so that there is something to look at
/// whatever happens to the rest of it.
///
/// # Errors
/// The disk's.
pub fn write(folder: &Path, summary: &Summary, series: &[SeriesLine], outcomes: &[Placed<'_>]) -> io::Result<()> {
    fs::write(folder.join(SUMMARY_FILE), indented(summary)?)?;
    fs::write(folder.join(SERIES_FILE), jsonl(series)?)?;
    let lag = outcomes.iter().flat_map(|(target, run, outcome)| lag_lines(outcome, *target, *run));
    fs::write(folder.join(LAG_FILE), jsonl(lag)?)?;
    fs::write(folder.join(HISTOGRAMS_FILE), histograms(outcomes)?)?;
    let config = folder.join("config");
    fs::create_dir_all(&config)?;
    fs::write(config.join("workload.toml"), &summary.workload.toml)?;
    for (index, target) in summary.targets.iter().enumerate().filter(|(_, target)| !target.config.is_empty()) {
        let mut text = format!("# {}\n", target.label);
        for (name, value) in &target.config {
            text.push_str(&format!("{name}={value}\n"));
        }
        fs::write(config.join(format!("target-{index}.properties")), text)?;
    }
    let name = folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.display().to_string());
    let results = Results { name, summary: summary.clone(), series: series.to_vec() };
    fs::write(folder.join(REPORT_FILE), page(&[results]))
}

/// Indented as far as the fields of a run, each of which is a line: indented to its end, most of the file would be spaces.
fn indented(summary: &Summary) -> io::Result<Vec<u8>> {
    let mut json = Vec::new();
    summary.serialize(&mut serde_json::Serializer::with_formatter(&mut json, Shallow::default()))?;
    json.push(b'\n');
    Ok(json)
}

/// Nesting up to which every value begins a line: the summary, its targets, a target, its runs, a run.
const LINE_DEPTH_MAX: usize = 5;

/// Writes JSON with two spaces a level up to [`LINE_DEPTH_MAX`], and on one line below.
#[derive(Default)]
struct Shallow {
    depth: usize,
    /// Whether the object or array that ends next holds anything.
    has_value: bool,
}

impl Shallow {
    fn begin(&mut self, out: &mut (impl io::Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        out.write_all(bracket)
    }

    fn end(&mut self, out: &mut (impl io::Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        if self.has_value && self.depth <= LINE_DEPTH_MAX {
            self.line(out, self.depth - 1)?;
        }
        self.depth -= 1;
        out.write_all(bracket)
    }

    fn value(&self, out: &mut (impl io::Write + ?Sized), is_first: bool) -> io::Result<()> {
        if !is_first {
            out.write_all(b",")?;
        }
        match (self.depth <= LINE_DEPTH_MAX, is_first) {
            (true, _) => self.line(out, self.depth),
            (false, true) => Ok(()),
            (false, false) => out.write_all(b" "),
        }
    }

    fn line(&self, out: &mut (impl io::Write + ?Sized), depth: usize) -> io::Result<()> {
        out.write_all(b"\n")?;
        (0..depth).try_for_each(|_| out.write_all(b"  "))
    }
}

impl Formatter for Shallow {
    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, is_first: bool) -> io::Result<()> {
        self.value(out, is_first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, is_first: bool) -> io::Result<()> {
        self.value(out, is_first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}

fn jsonl<T: Serialize>(all: impl IntoIterator<Item = T>) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for one in all {
        serde_json::to_writer(&mut lines, &one)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

fn histograms(outcomes: &[Placed<'_>]) -> io::Result<Vec<u8>> {
    let mut log = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("latencies in microseconds; tags: target.run.what");
    let told = |error: &dyn std::fmt::Display| io::Error::other(format!("{HISTOGRAMS_FILE}: {error}"));
    let mut writer = builder.begin_log_with(&mut log, &mut serializer).map_err(|error| told(&error))?;
    for (target, run, outcome) in outcomes {
        let since = outcome.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let named: [(&str, &Latencies); 4] = [
            ("produce", &outcome.produce),
            ("service", &outcome.service),
            ("slip", &outcome.slip),
            ("end_to_end", &outcome.end_to_end),
        ];
        for (what, histogram) in named {
            let tag = format!("{target}.{run}.{what}");
            writer
                .write_histogram(histogram, since, outcome.measured, Tag::new(&tag))
                .map_err(|error| told(&format!("{error:?}")))?;
        }
    }
    log.flush()?;
    Ok(log)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::report::sample;

    fn under(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ringlog-results-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_folder_is_named_by_day_commit_and_workload_and_never_written_over() {
        let under = under("names");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * 365);
        let made = [Some("abc1234"), Some("abc1234"), None].map(|commit| {
            let folder = make_folder(&under, at, commit, "tier-small").expect("made");
            folder.file_name().expect("a name").display().to_string()
        });
        assert_eq!(
            made,
            ["1971-01-01_abc1234_tier-small", "1971-01-01_abc1234_tier-small_2", "1971-01-01_unknown_tier-small"]
        );
        fs::remove_dir_all(under).expect("removed");
    }

    #[test]
    fn what_is_written_reads_back_and_histograms_keep_every_sample() {
        let under = under("whole");
        let folder = make_folder(&under, SystemTime::UNIX_EPOCH, None, "t").expect("made");
        let outcome = sample::outcome(7);
        let summary = sample::summary(vec![sample::target("a", 1, 7)]);
        let series = crate::summary::series(&outcome, 0, 0);
        write(&folder, &summary, &series, &[(0, 0, &outcome)]).expect("written");
        let read = Results::read(&folder).expect("readable");
        assert_eq!((&read.summary, &read.series), (&summary, &series));
        let json = fs::read_to_string(folder.join(SUMMARY_FILE)).expect("there");
        assert!(json.starts_with("{\n  \"schema\": \"ringlog.bench.summary\",\n"), "{json}");
        let check = json.lines().find(|line| line.trim_start().starts_with("\"check\"")).expect("one line");
        assert!(
            check.starts_with("          \"check\": {\"is_complete\": true, \"lost\": 0, ") && check.ends_with("},"),
            "{check}"
        );

        assert_eq!(fs::read_to_string(folder.join(LAG_FILE)).expect("there").lines().count(), 15);
        let log = fs::read(folder.join(HISTOGRAMS_FILE)).expect("there");
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            if let LogEntry::Interval(interval) = entry.expect("a line of the log") {
                let tag = interval.tag().expect("tagged").as_str().to_owned();
                let bytes = base64(interval.encoded_histogram());
                let histogram: Histogram<u64> =
                    Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram");
                found.push((tag, histogram.len()));
            }
        }
        assert_eq!(found[0], ("0.0.produce".to_owned(), outcome.produce.len()));
        assert_eq!(found.len(), 4);
        assert!(fs::read_to_string(folder.join("config/workload.toml")).expect("there").contains("[load]"));
        fs::remove_dir_all(under).expect("removed");
    }

    #[test]
    fn a_folder_of_another_schema_is_refused_with_both_versions() {
        let under = under("schema");
        let folder = make_folder(&under, SystemTime::UNIX_EPOCH, None, "t").expect("made");
        for (text, needle) in [
            (
                "{\"schema\":\"ringlog.bench.summary\",\"schema_version\":99}",
                "ringlog.bench.summary 99; this ringlog reads",
            ),
            ("{}", "is this a folder that `ringlog bench` wrote?"),
        ] {
            fs::write(folder.join(SUMMARY_FILE), text).expect("written");
            let error = Results::read(&folder).expect_err("refused").to_string();
            assert!(error.contains(needle), "{error}");
        }
        fs::remove_dir_all(under).expect("removed");
    }

    /// Standard alphabet, padded: enough for the log's own lines.
    fn base64(text: &str) -> Vec<u8> {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut out, mut bits, mut held) = (Vec::new(), 0u32, 0);
        for byte in text.bytes().filter(|byte| *byte != b'=') {
            let value = alphabet.iter().position(|letter| *letter == byte).expect("base64") as u32;
            bits = bits << 6 | value;
            held += 6;
            if held >= 8 {
                held -= 8;
                out.push((bits >> held) as u8);
                bits &= (1 << held) - 1;
            }
        }
        out
    }
}
