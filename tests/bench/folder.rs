//! A results folder as a reader sees it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub struct Folder {
    pub path: PathBuf,
    pub summary: Value,
    pub page: String,
}

impl Folder {
    /// The one folder that a command has made under `results`.
    pub fn only(results: &Path) -> Result<Self, String> {
        let mut found: Vec<PathBuf> = fs::read_dir(results)
            .map_err(|e| format!("{}: {e}", results.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        let path = found.pop().filter(|_| found.is_empty()).ok_or("there is not exactly one results folder")?;
        let read = |name: &str| fs::read_to_string(path.join(name)).map_err(|e| format!("{name}: {e}"));
        let summary = serde_json::from_str(&read("summary.json")?).map_err(|e| format!("summary.json: {e}"))?;
        Ok(Self { summary, page: read("report.html")?, path })
    }

    pub fn runs(&self, target: usize) -> &[Value] {
        self.summary["targets"][target]["runs"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The page has what summary.json has: each target's row with its rate, a line of it in each curve, its verdict; and
    /// loads nothing.
    pub fn check_page(&self) -> Result<(), String> {
        let rows = rows_of(&self.page, "glance");
        let targets = self.summary["targets"].as_array().map_or(&[][..], Vec::as_slice);
        if rows.len() != targets.len() {
            return Err(format!("{} rows on the page for {} targets", rows.len(), targets.len()));
        }
        let mut drawn = 0;
        for (row, target) in rows.iter().zip(targets) {
            let label = target["label"].as_str().unwrap_or_default();
            if !row.contains(label) {
                return Err(format!("the row of {label} is not: {row}"));
            }
            match target["empty"].as_str() {
                Some(reason) if row.contains(reason) => {}
                Some(reason) => return Err(format!("an empty cell without its reason, {reason}: {row}")),
                None => {
                    drawn += 1;
                    let verdict = target["runs"][0]["verdict"]["verdict"].as_str().unwrap_or("no targets");
                    if !row.contains(verdict) {
                        return Err(format!("{label} is `{verdict}`, its row says: {row}"));
                    }
                }
            }
        }
        let svg = self.page.split("<svg").nth(1).and_then(|rest| rest.split("</svg>").next()).unwrap_or_default();
        let lines = svg.matches("stroke=\"var(--series-").count();
        if lines < drawn {
            return Err(format!("{lines} lines in the first curve for {drawn} targets"));
        }
        for needle in ["<script", "<link", "@import", "src=", "url("] {
            if self.page.contains(needle) {
                return Err(format!("the page loads something: {needle}"));
            }
        }
        Ok(())
    }

    /// The lines of series.jsonl that are not warm-up.
    pub fn measured_seconds(&self) -> Result<Vec<Value>, String> {
        let measured = |line: &Value| line["is_measured"].as_bool() == Some(true);
        Ok(self.series()?.into_iter().filter(measured).collect())
    }

    fn series(&self) -> Result<Vec<Value>, String> {
        let text = fs::read_to_string(self.path.join("series.jsonl")).map_err(|e| e.to_string())?;
        let line = |line| serde_json::from_str(line).map_err(|e| format!("series.jsonl: {e}: {line}"));
        text.lines().map(line).collect()
    }

    /// A line for each second and run, whose acked messages add up to something.
    pub fn check_series(&self) -> Result<(), String> {
        let lines = self.series()?;
        let targets = self.summary["targets"].as_array().map_or(0, Vec::len);
        for target in (0..targets).filter(|target| !self.runs(*target).is_empty()) {
            let of_target = lines.iter().filter(|line| line["target"].as_u64() == Some(target as u64));
            let acked: u64 = of_target.filter_map(|line| line["acked_messages_per_s"].as_u64()).sum();
            if acked == 0 {
                return Err(format!("series.jsonl has no progress of target {target}"));
            }
        }
        Ok(())
    }

    /// Every run's histograms are in the log, by their tags.
    pub fn check_histograms(&self) -> Result<(), String> {
        let text = fs::read_to_string(self.path.join("histograms.hlog")).map_err(|e| e.to_string())?;
        let targets = self.summary["targets"].as_array().map_or(0, Vec::len);
        for target in 0..targets {
            for run in 0..self.runs(target).len() {
                let tag = format!("Tag={target}.{run}.produce,");
                if !text.lines().any(|line| line.starts_with(&tag)) {
                    return Err(format!("histograms.hlog has no {tag}"));
                }
            }
        }
        Ok(())
    }
}

/// What every target that ran must have to show.
pub fn check_target(target: &Value) -> Result<(), String> {
    let runs = target["runs"]
        .as_array()
        .filter(|runs| !runs.is_empty())
        .ok_or_else(|| format!("no runs: {}", target["empty"]))?;
    for run in runs {
        let number = |field: &str| run[field].as_u64().unwrap_or_default();
        if number("acked_messages") == 0 || number("requests") == 0 {
            return Err("nothing was acked".to_owned());
        }
        if !run["lag"].is_null() && number("consumed_messages") == 0 {
            return Err("nothing was read".to_owned());
        }
        let check = &run["check"];
        for wrong in ["lost", "duplicated", "reordered", "corrupt"] {
            if check[wrong].as_u64() != Some(0) {
                return Err(format!("the self-check found {wrong}: {check}"));
            }
        }
        let latency = &run["produce_latency"];
        let points: Vec<u64> = ["min_us", "p50_us", "p90_us", "p99_us", "p99_9_us", "p99_99_us", "max_us"]
            .iter()
            .filter_map(|field| latency[*field].as_u64())
            .collect();
        if points.len() != 7 || !points.is_sorted() || points[6] == 0 {
            return Err(format!("produce latencies do not rise: {points:?}"));
        }
        if run["broker"]["cpu_ns_per_request"].as_u64().unwrap_or_default() == 0 {
            return Err("the broker's CPU was not counted".to_owned());
        }
        let verdict = &run["verdict"];
        let rows = verdict["rows"].as_array().filter(|rows| !rows.is_empty()).ok_or("the file has no targets")?;
        for row in rows {
            // A backlog that is not drained in these few seconds has no time to show.
            if row["actual"].is_null() && row["row"] != "drain_s" {
                return Err(format!("not measured: {row}"));
            }
            if row["row"] == "retention_s" && row["verdict"] != "configured" {
                return Err(format!("no run of seconds keeps anything for long: {row}"));
            }
        }
        for fault in run["faults"].as_array().into_iter().flatten() {
            if fault["began_ms"].is_null() {
                return Err(format!("it did not happen: {fault}"));
            }
        }
        // A soak of seconds rolls nothing: whatever its rows say, it has not shown what it is for.
        let proven = run["soak"].is_null() || 0 < run["soak"]["partitions_trimmed"].as_u64().unwrap_or_default();
        if !proven && verdict["verdict"] != "not proven" && verdict["verdict"] != "not met" {
            return Err(format!("nothing was deleted, and still: {verdict}"));
        }
        let met = proven
            && rows.iter().all(|row| row["is_met"] == true)
            && verdict["spoiled"].as_array().is_some_and(Vec::is_empty);
        if verdict["is_met"].as_bool() != Some(met) {
            return Err(format!("the verdict does not follow from its rows: {verdict}"));
        }
    }
    Ok(())
}

/// The body rows of the table with this class.
fn rows_of(page: &str, class: &str) -> Vec<String> {
    let table = page.split(&format!("<table class=\"{class}\">")).nth(1).unwrap_or_default();
    let body = table.split("</table>").next().unwrap_or_default().split("<tbody>").nth(1).unwrap_or_default();
    body.split("<tr>").skip(1).map(|row| unescape(row)).collect()
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&")
}
