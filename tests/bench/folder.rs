//! A results folder as a reader sees it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// After so many targets the colours of the page begin again.
const SERIES_COLOURS: usize = 8;

#[derive(Clone)]
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

    /// The page has what summary.json has: each target's row with its verdict and its numbers, a line of it in each curve that it has
    /// points in, the limits; and loads nothing.
    pub fn check_page(&self) -> Result<(), String> {
        let rows = rows_of(&self.page, "glance");
        let targets = self.summary["targets"].as_array().map_or(&[][..], Vec::as_slice);
        if rows.len() != targets.len() {
            return Err(format!("{} rows on the page for {} targets", rows.len(), targets.len()));
        }
        for (row, target) in rows.iter().zip(targets) {
            let label = target["label"].as_str().unwrap_or_default();
            if !row.contains(label) {
                return Err(format!("the row of {label} is not: {row}"));
            }
            match target["empty"].as_str() {
                Some(reason) if row.contains(reason) => {}
                Some(reason) => return Err(format!("an empty cell without its reason, {reason}: {row}")),
                None => check_glance(row, target).map_err(|why| format!("{label}: {why}: {row}"))?,
            }
            self.check_limits(label, target)?;
        }
        self.check_curves(targets)?;
        for needle in ["<script", "<link", "@import", "src=", "url("] {
            if self.page.contains(needle) {
                return Err(format!("the page loads something: {needle}"));
            }
        }
        Ok(())
    }

    /// Each curve has a line of each target that was measured in it, in its colour.
    fn check_curves(&self, targets: &[Value]) -> Result<(), String> {
        let of_run = |field: &'static str| {
            move |target: &Value| {
                target["runs"].as_array().is_some_and(|runs| runs.iter().any(|run| is_there(&run[field])))
            }
        };
        type Has = Box<dyn Fn(&Value) -> bool>;
        let curves: [(&str, Has); 8] = [
            ("Produce latency by percentile", Box::new(of_run("produce_latency"))),
            ("End-to-end latency by percentile", Box::new(of_run("end_to_end_latency"))),
            ("Throughput over time", Box::new(of_run("started_at"))),
            ("Produce p99 over time", Box::new(of_run("started_at"))),
            ("Consumer lag over time", Box::new(of_run("lag"))),
            ("Consumer lag in time", Box::new(of_run("lag"))),
            ("Broker CPU over time", Box::new(of_run("broker"))),
            ("Latency by rate", Box::new(of_run("steps"))),
        ];
        for (title, has) in curves {
            let svg = self.page.split(&format!("aria-label=\"{title}\"")).nth(1);
            let svg = svg.and_then(|rest| rest.split("</svg>").next()).unwrap_or_default();
            for (place, target) in targets.iter().enumerate().filter(|(_, target)| has(target)) {
                if !svg.contains(&format!("stroke=\"var(--series-{})\"", place % SERIES_COLOURS)) {
                    return Err(format!("`{title}` has no line of {}", target["label"]));
                }
            }
        }
        Ok(())
    }

    /// The share of each limit that is known, and why others are not.
    fn check_limits(&self, label: &str, target: &Value) -> Result<(), String> {
        let runs = target["runs"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(first) = runs.first() else { return Ok(()) };
        let rows: Vec<String> = rows_of(&self.page, "limits")
            .into_iter()
            .filter(|row| row.contains(&format!("</i>{label}</td>")))
            .collect();
        for reason in
            [&first["limits_empty"], &first["generator"]["ceiling_empty"]].into_iter().filter_map(Value::as_str)
        {
            if !rows.iter().any(|row| row.contains(reason)) {
                return Err(format!("{label}: nothing says that a limit is empty: {reason}"));
            }
        }
        let limits = first["limits"].as_array().map_or(&[][..], Vec::as_slice);
        let is_any_known = limits.iter().any(|limit| !limit["percent"].is_null());
        for (place, limit) in limits.iter().enumerate().filter(|_| is_any_known) {
            if limit["percent"].is_null() {
                let reason =
                    limit["empty"].as_str().ok_or_else(|| format!("{label}: neither share nor reason: {limit}"))?;
                if !rows.iter().any(|row| row.contains(reason)) {
                    return Err(format!("{label}: nothing says that a limit is empty: {reason}"));
                }
                continue;
            }
            let percents = runs.iter().filter_map(|run| run["limits"][place]["percent"].as_f64());
            let (low, high) =
                percents.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
            let name = match limit["limit"].as_str() {
                Some("disk_write") => "disk, sequential write",
                Some("disk_sync") => "disk, fdatasyncs",
                Some("net_in") => "network in",
                _ => "network out",
            };
            let row = rows.iter().find(|row| row.contains(name)).ok_or_else(|| format!("{label}: no row of {name}"))?;
            let shown = cells_of(row).get(4).and_then(|cell| number(cell)).ok_or_else(|| format!("no share: {row}"))?;
            // Of these runs one, or their median; and in summary.json whole percents.
            if shown < low - 0.6 || high + 0.6 < shown {
                return Err(format!("{label}: {name} is {low} to {high} %, the page says {shown}"));
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

    /// Lines of each run: messages were acked, the broker's CPU was looked at, and where somebody read how far behind they were.
    pub fn check_series(&self) -> Result<(), String> {
        let lines = self.series()?;
        let targets = self.summary["targets"].as_array().map_or(0, Vec::len);
        for target in 0..targets {
            for (number, run) in self.runs(target).iter().enumerate() {
                let is_of_run = |line: &&Value| {
                    line["target"].as_u64() == Some(target as u64) && line["run"].as_u64() == Some(number as u64)
                };
                let of_run: Vec<&Value> = lines.iter().filter(is_of_run).collect();
                let any = |field: &str| of_run.iter().any(|line| line[field].as_u64().is_some_and(|value| 0 < value));
                let is_told = |field: &str| of_run.iter().any(|line| line[field].is_u64());
                let has_lag = is_told("lag_messages") && is_told("lag_age_ms") && any("consumed_messages_per_s");
                if !any("acked_messages_per_s") || !any("produce_p99_us") || !is_told("broker_cpu_percent") {
                    return Err(format!("series.jsonl has no progress of target {target}, run {number}: {of_run:?}"));
                }
                if is_there(&run["lag"]) && !has_lag {
                    return Err(format!("series.jsonl has no lag of target {target}, run {number}: {of_run:?}"));
                }
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

/// Whether a field has something to tell: it is no `null`, and no empty list.
fn is_there(value: &Value) -> bool {
    !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())
}

/// What every target that ran must have to show, of a workload with this text.
pub fn check_target(target: &Value, workload: &str) -> Result<(), String> {
    let runs = target["runs"]
        .as_array()
        .filter(|runs| !runs.is_empty())
        .ok_or_else(|| format!("no runs: {}", target["empty"]))?;
    for run in runs {
        let number = |field: &str| run[field].as_u64().unwrap_or_default();
        if number("acked_messages") == 0 || number("requests") == 0 {
            return Err("nothing was acked".to_owned());
        }
        let per_s = number("acked_messages") as f64 * 1e3 / number("measured_ms").max(1) as f64;
        if (per_s - number("acked_messages_per_s") as f64).abs() > 1.0 + per_s / 100.0 {
            return Err(format!("{per_s} messages a second by their number and time: {}", run["acked_messages_per_s"]));
        }
        let has_readers = is_there(&run["lag"]);
        if has_readers && number("consumed_messages") == 0 {
            return Err("nothing was read".to_owned());
        }
        let check = &run["check"];
        if has_readers && check["is_complete"] != true {
            return Err(format!("nobody read to the end: {check}"));
        }
        check_kind(run, workload)?;
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
            if row["actual"].is_null() {
                return Err(format!("not measured: {row}"));
            }
            if row["row"] == "retention_s" && row["verdict"] != "configured" {
                return Err(format!("no run of seconds keeps anything for long: {row}"));
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

/// What runs of this kind of workload are for: they have it, and no other has.
fn check_kind(run: &Value, workload: &str) -> Result<(), String> {
    for (asked, field) in [
        ("mode = \"backlog\"", "backlog"),
        ("mode = \"sweep\"", "steps"),
        ("mode = \"soak\"", "soak"),
        ("cold_readers = ", "cold_readers"),
        ("[[faults]]", "faults"),
    ] {
        if is_there(&run[field]) != workload.lines().any(|line| line.starts_with(asked)) {
            return Err(format!("asked with `{asked}` and found with `{field}` differ: {}", run[field]));
        }
    }
    let (backlog, cold) = (&run["backlog"], &run["cold_readers"]);
    if is_there(backlog) && (backlog["drain_ms"].is_null() || backlog["backlog_bytes"] == 0) {
        return Err(format!("the backlog was not drained: {backlog}"));
    }
    if is_there(cold) && (cold["caught_up_ms"].is_null() || cold["read_messages"] == 0) {
        return Err(format!("cold readers did not come to the tail: {cold}"));
    }
    let steps = run["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let unseen =
        steps.iter().find(|step| step["broker_cpu_percent"].is_null() || step["produce_latency"]["p99_us"] == 0);
    if let Some(step) = unseen {
        return Err(format!("a step without its CPU or latency: {step}"));
    }
    let held = steps.iter().filter(|step| step["is_held"] == true);
    let highest = held.filter_map(|step| step["offered_messages_per_s"].as_u64()).max();
    if run["knee_messages_per_s"].as_u64() != highest {
        return Err(format!("the highest rate that held is {highest:?}, the knee {}", run["knee_messages_per_s"]));
    }
    let late = run["faults"].as_array().into_iter().flatten().find(|fault| fault["began_ms"].is_null());
    late.map_or(Ok(()), |fault| Err(format!("it did not happen: {fault}")))
}

/// A row's cells as a reader sees them against the target: the verdict of the worst run, and numbers to three figures.
fn check_glance(row: &str, target: &Value) -> Result<(), String> {
    let runs = target["runs"].as_array().map_or(&[][..], Vec::as_slice);
    let cells = cells_of(row);
    let words = runs.iter().filter_map(|run| run["verdict"]["verdict"].as_str());
    let worst = words.max_by_key(|word| ["not met", "not proven", "met at"].map(|known| word.starts_with(known)));
    let verdict = worst.unwrap_or("no targets");
    if cells.get(1).map(String::as_str) != Some(verdict) {
        return Err(format!("its verdict is `{verdict}`, and {cells:?}"));
    }
    let median = |value: &dyn Fn(&Value) -> Option<f64>| {
        let mut values: Vec<f64> = runs.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let below = if values.len() % 2 == 1 { middle } else { middle.saturating_sub(1) };
        Some(values.get(middle)?.midpoint(*values.get(below)?))
    };
    let latency = |of: &str, field: &str| target[of][field].as_f64();
    for (place, what, value) in [
        (2, "messages/s", median(&|run| run["acked_messages_per_s"].as_f64())),
        (3, "p50", latency("produce_latency", "p50_us")),
        (4, "p99", latency("produce_latency", "p99_us")),
        (5, "p99.9", latency("produce_latency", "p99_9_us")),
        (6, "max", latency("produce_latency", "max_us")),
        (7, "end to end p99", latency("end_to_end_latency", "p99_us")),
        (8, "lag", median(&|run| Some(run["lag"]["age_ms_max"].as_f64()? * 1e3))),
        (9, "CPU", median(&|run| Some(run["broker"]["cpu_ns_per_request"].as_f64()? / 1e3))),
        (10, "memory", median(&|run| run["broker"]["rss_bytes_max"].as_f64())),
    ] {
        let shown = cells.get(place).ok_or_else(|| format!("no cell of {what}"))?;
        let same = match (number(shown), value) {
            (Some(shown), Some(value)) => (shown - value).abs() <= 0.5 + value * 0.006,
            (None, None) => shown == "–",
            _ => false,
        };
        if !same {
            return Err(format!("{what} is {value:?}, the page says `{shown}`"));
        }
    }
    Ok(())
}

/// The large text of each cell of a row: without what stands small below it, and without marks.
fn cells_of(row: &str) -> Vec<String> {
    let cells = row.split("<td").skip(1).filter_map(|cell| cell.split_once('>'));
    cells
        .map(|(_, cell)| {
            let large = cell.split("<small").next().unwrap_or_default();
            large.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect::<String>()
        })
        .map(|text| text.trim().to_owned())
        .collect()
}

/// `12.3 k`, `4,321`, `850 µs`, `2.35 ms`, `1.5 MiB`, `3 %` as a number: of microseconds, bytes or things.
fn number(text: &str) -> Option<f64> {
    let (digits, unit) = text.split_once(' ').unwrap_or((text, ""));
    let scale = match unit {
        "" | "µs" | "B" | "%" => 1.0,
        "k" | "ms" => 1e3,
        "M" | "s" => 1e6,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return None,
    };
    Some(digits.replace(',', "").parse::<f64>().ok()? * scale)
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
