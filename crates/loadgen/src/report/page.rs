//! The page: first what came out and whether it counts, then the curves, then everything needed to doubt it.

use std::fmt::Write as _;

use super::Results;
use super::chart::{Chart, Line, Scale, draw, series_background, series_colour};
use super::format::{bytes, count, duration_text, grouped, latency, three};
use super::html::escape;
use crate::limits::{self, DURABLE_ACK_MS};
use crate::outcome::{Knee, RETENTION_MAX, messages_failed};
use crate::stats::{self, Verdict};
use crate::summary::{
    BrokerSummary, LagSummary, Latency, MetricComparison, QuantilesSummary, Run, SeriesLine, Summary, TargetSummary,
    VerdictSummary,
};

/// Rows of which every run is drawn; of more than these only the middle one, as the rest would only be a smear.
const FAINT_ROWS_MAX: usize = 4;

/// Points of a line at most: an eight-hour soak has 28,800 seconds and a screen has not.
const POINTS_MAX: usize = 1200;

/// A row of the page: one target of one folder.
struct Row<'a> {
    label: String,
    /// Its place on the page, and so its colour.
    place: usize,
    summary: &'a Summary,
    target: &'a TargetSummary,
    series: Vec<&'a SeriesLine>,
}

impl Row<'_> {
    /// The median over the runs of what some of them have.
    fn median(&self, value: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.target.runs.iter().filter_map(value).collect();
        stats::median(&values)
    }

    /// Half of the range over the median in percent, where there are several runs.
    fn spread(&self, value: impl Fn(&Run) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.target.runs.iter().filter_map(value).collect();
        let sample = stats::Sample::new(&values)?;
        (values.len() > 1).then(|| sample.spread_percent())
    }

    /// The run that speaks for all where only one can be drawn: the one with the middle produce p99.
    fn middle_run(&self) -> usize {
        let mut order: Vec<usize> = (0..self.target.runs.len()).collect();
        order.sort_by_key(|run| self.target.runs[*run].produce_latency.p99_us);
        order.get(order.len().saturating_sub(1) / 2).copied().unwrap_or(0)
    }

    /// What is drawn of each run: the middle one strong and, where there is room for them, the others faint.
    /// A line for each unbroken stretch of points of each run.
    fn lines(&self, has_faint: bool, stretches: impl Fn(usize) -> Vec<Vec<(f64, f64)>>) -> Vec<Line> {
        let middle = self.middle_run();
        let line = |run: usize, points| Line { series: self.place, is_faint: run != middle, points };
        let runs = (0..self.target.runs.len()).filter(|run| has_faint || *run == middle);
        runs.flat_map(|run| stretches(run).into_iter().map(move |points| line(run, points))).collect()
    }

    /// The seconds of a run that charts show: of the measured time and before, and after it as long as something was acked.
    /// What was due in an outage at the end is acked there; then readers only read what is left.
    fn windows(&self, run: usize) -> Vec<&SeriesLine> {
        let of_run = || self.series.iter().copied().filter(|line| line.run as usize == run);
        let is_load = |line: &&SeriesLine| line.is_measured || 0 < line.acked_messages_per_s;
        let end_ms = of_run().filter(is_load).map(|line| line.at_ms).max().unwrap_or(0);
        of_run().filter(|line| line.at_ms <= end_ms).collect()
    }

    fn key(&self) -> String {
        format!("<i class=\"key\" style=\"background:{}\"></i>", series_background(self.place))
    }
}

/// Renders one folder, or several beside each other.
#[must_use]
pub fn page(all: &[Results]) -> String {
    let rows = rows(all);
    let mut out = String::with_capacity(256 << 10);
    let title = title(all);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{} · ringlog bench</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<main>\n",
        escape(&title),
        include_str!("style.css")
    );
    head(&mut out, all, &title);
    cautions(&mut out, all, &rows);
    if let [row] = rows.as_slice() {
        cards(&mut out, row);
    }
    glance(&mut out, &rows);
    charts(&mut out, &rows);
    comparisons(&mut out, all);
    worst_partitions(&mut out, &rows);
    modes(&mut out, &rows);
    verdicts(&mut out, all, &rows);
    limits(&mut out, &rows);
    brokers(&mut out, &rows);
    checks(&mut out, &rows);
    origins(&mut out, all, &rows);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn title(all: &[Results]) -> String {
    let mut names: Vec<&str> = all.iter().map(|results| results.summary.workload.name.as_str()).collect();
    names.dedup();
    names.join(", ")
}

/// Labels say what sets the rows apart: the target alone in one folder, with the workload or the commit in several.
fn rows(all: &[Results]) -> Vec<Row<'_>> {
    let first = all.first().map(|results| &results.summary);
    let same_workload =
        all.iter().all(|results| Some(&results.summary.workload.name) == first.map(|s| &s.workload.name));
    let mut rows = Vec::new();
    for results in all {
        for (index, target) in results.summary.targets.iter().enumerate() {
            let label = match (all.len(), same_workload) {
                (1, _) => target.label.clone(),
                (_, true) => {
                    let commit = results.summary.commit.as_deref().unwrap_or(&results.name);
                    format!("{} · {commit}", target.label)
                }
                (_, false) => format!("{} · {}", results.summary.workload.name, target.label),
            };
            let of_target = |line: &&SeriesLine| line.target == index as u32;
            rows.push(Row {
                label,
                place: rows.len(),
                summary: &results.summary,
                target,
                series: results.series.iter().filter(of_target).collect(),
            });
        }
    }
    rows
}

fn head(out: &mut String, all: &[Results], title: &str) {
    let _ = writeln!(out, "<h1>{}</h1>", escape(title));
    let mut questions: Vec<&str> = all.iter().filter_map(|r| r.summary.workload.question.as_deref()).collect();
    questions.dedup();
    for question in questions {
        let _ = writeln!(out, "<p class=\"lead\">{}</p>", escape(question));
    }
    for results in all {
        let summary = &results.summary;
        let commit = match (&summary.commit, summary.commit_is_dirty) {
            (Some(commit), false) => format!("commit {commit}"),
            (Some(commit), true) => format!("commit {commit} with changes on top"),
            (None, _) => format!("ringlog {}", summary.ringlog_version),
        };
        let _ = writeln!(
            out,
            "<p class=\"soft\">{} · {} · {}</p>",
            escape(&summary.created_at),
            escape(&commit),
            escape(&summary.machine.line())
        );
    }
}

/// A caution of one run, and how many further runs say the same but for its numbers.
struct Alike {
    kind: String,
    is_bad: bool,
    run: usize,
    text: String,
    further: usize,
}

/// What a reader must know before the first number.
fn cautions(out: &mut String, all: &[Results], rows: &[Row<'_>]) {
    let mut bad = Vec::new();
    let mut mild = Vec::new();
    for results in all {
        if let Some(reason) = &results.summary.interrupted {
            bad.push(format!("{}: interrupted, what follows is partial ({reason})", results.name));
        }
    }
    for row in rows {
        let mut all_alike: Vec<Alike> = Vec::new();
        for (index, run) in row.target.runs.iter().enumerate() {
            let is_bad = run.partial.is_some() || !run.check.passed();
            for caution in run.cautions() {
                let kind = caution.replace(|c: char| c.is_ascii_digit() || c == '.', "");
                match all_alike.iter_mut().find(|alike| alike.kind == kind && alike.is_bad == is_bad) {
                    Some(alike) => alike.further += 1,
                    None => all_alike.push(Alike { kind, is_bad, run: index + 1, text: caution, further: 0 }),
                }
            }
        }
        for Alike { is_bad, run, text, further, .. } in all_alike {
            let which = match (row.target.runs.len(), further) {
                (1, _) => String::new(),
                (_, 0) => format!(" run {run}"),
                (runs, _) => format!(" run {run}, alike in {} of {runs}", further + 1),
            };
            let text = format!("{}{which}: {text}", row.label);
            if is_bad { bad.push(text) } else { mild.push(text) }
        }
    }
    // What was said of a target stands with each row of its matrix.
    let mut notes: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in rows {
        for note in &row.target.notes {
            match notes.iter_mut().find(|(known, _)| known == note) {
                Some((_, labels)) => labels.push(&row.label),
                None => notes.push((note, vec![&row.label])),
            }
        }
    }
    mild.extend(notes.into_iter().map(|(note, labels)| format!("{}: {note}", labels.join(", "))));
    for (class, heading, list) in
        [("cautions bad", "These runs do not count as they stand", bad), ("cautions", "Read with care", mild)]
    {
        if list.is_empty() {
            continue;
        }
        let _ = write!(out, "<div class=\"{class}\"><b>{heading}</b><ul>");
        for text in list {
            let _ = write!(out, "<li>{}</li>", escape(&text));
        }
        out.push_str("</ul></div>\n");
    }
}

fn verdict_chip(row: &Row<'_>) -> String {
    if let Some(worst) = worst_verdict(row) {
        let class = chip_class(worst.is_met, &worst.verdict);
        return format!("<span class=\"chip {class}\">{}</span>", escape(&worst.verdict));
    }
    match row.target.runs.iter().all(|run| run.check.passed()) {
        true => "<span class=\"chip plain\">no targets</span>".to_owned(),
        false => "<span class=\"chip bad\">failed its check</span>".to_owned(),
    }
}

fn cards(out: &mut String, row: &Row<'_>) {
    if row.target.runs.is_empty() {
        return;
    }
    let mut cards = vec![("verdict", verdict_chip(row))];
    let mut add = |name: &'static str, value: Option<String>| {
        cards.push((name, value.map_or_else(|| "–".to_owned(), |value| escape(&value))));
    };
    add("messages acked a second", row.median(|run| Some(run.acked_messages_per_s as f64)).map(count));
    add("produce p99", row.target.produce_latency.as_ref().map(|l| latency(l.p99_us)));
    add("produce p99.9", row.target.produce_latency.as_ref().map(|l| latency(l.p99_9_us)));
    add("end to end p99", row.target.end_to_end_latency.as_ref().map(|l| latency(l.p99_us)));
    add("largest lag", row.median(|run| Some(run.lag.as_ref()?.age_ms_max as f64)).map(|ms| duration_text(ms * 1e3)));
    add("broker CPU a request", row.median(cpu_us).map(duration_text));
    out.push_str("<div class=\"cards\">");
    for (name, value) in cards {
        let _ = write!(out, "<div class=\"card\"><b>{value}</b><span>{name}</span></div>");
    }
    out.push_str("</div>\n");
}

fn cpu_us(run: &Run) -> Option<f64> {
    Some(run.broker.as_ref()?.cpu_ns_per_request as f64 / 1e3)
}

fn cell(out: &mut String, value: Option<String>, small: Option<String>) {
    let value = value.map_or_else(|| "–".to_owned(), |value| escape(&value));
    let small = small.map(|small| format!("<small>{}</small>", escape(&small))).unwrap_or_default();
    let _ = write!(out, "<td>{value}{small}</td>");
}

fn glance(out: &mut String, rows: &[Row<'_>]) {
    out.push_str(
        "<h2>At a glance</h2>\n<div class=\"scroll\"><table class=\"glance\"><thead><tr><th>target</th><th class=\"left\">verdict</th>\
         <th>messages/s</th><th>produce<br>p50</th><th><br>p99</th><th><br>p99.9</th><th><br>max</th><th>end to end<br>p99</th>\
         <th>largest<br>lag</th><th>broker CPU<br>a request</th><th>memory</th></tr></thead><tbody>\n",
    );
    for row in rows {
        let target = row.target;
        let mut facts = vec![format!("RF {}", target.replication_factor), target.durability.clone()];
        facts.extend(target.storage.as_ref().map(|storage| storage.file_system.clone()));
        if target.runs.len() > 1 {
            facts.push(format!("{} runs", target.runs.len()));
        }
        let _ = write!(
            out,
            "<tr><td>{}{}<small>{}</small></td>",
            row.key(),
            escape(&row.label),
            escape(&facts.join(" · "))
        );
        if let Some(reason) = &target.empty {
            let _ = writeln!(out, "<td class=\"empty\" colspan=\"10\">not run: {}</td></tr>", escape(reason));
            continue;
        }
        let _ = write!(out, "<td class=\"left\">{}</td>", verdict_chip(row));
        let acked = |run: &Run| Some(run.acked_messages_per_s as f64);
        let spread = |value: Option<f64>| value.map(|percent| format!("±{} %", three(percent)));
        let paced = !matches!(row.summary.workload.mode.as_str(), "closed" | "maximum" | "sweep");
        let offered = row.median(|run| Some(run.offered_messages_per_s as f64)).filter(|_| paced);
        let below = match offered {
            Some(offered) => Some(format!("of {}", count(offered))),
            None => row.median(|run| Some(run.acked_bytes_per_s as f64)).map(|value| format!("{}/s", bytes(value))),
        };
        cell(out, row.median(acked).map(count), below);
        let produce = target.produce_latency.as_ref();
        let p99 = |run: &Run| Some(run.produce_latency.p99_us as f64);
        cell(out, produce.map(|l| latency(l.p50_us)), None);
        cell(out, produce.map(|l| latency(l.p99_us)), spread(row.spread(p99)));
        cell(out, produce.map(|l| latency(l.p99_9_us)), None);
        cell(out, produce.map(|l| latency(l.max_us)), produce.map(|l| format!("of {}", count(l.samples as f64))));
        let end_to_end = target.end_to_end_latency.as_ref();
        cell(out, end_to_end.map(|l| latency(l.p99_us)), end_to_end.map(|l| format!("of {}", count(l.samples as f64))));
        let lag_age = |run: &Run| Some(run.lag.as_ref()?.age_ms_max as f64 * 1e3);
        let lag_messages = |run: &Run| Some(run.lag.as_ref()?.messages_max as f64);
        cell(
            out,
            row.median(lag_age).map(duration_text),
            row.median(lag_messages).map(|m| format!("{} messages", count(m))),
        );
        cell(out, row.median(cpu_us).map(duration_text), spread(row.spread(cpu_us)));
        cell(out, row.median(|run| Some(run.broker.as_ref()?.rss_bytes_max as f64)).map(bytes), None);
        out.push_str("</tr>\n");
    }
    out.push_str(
        "</tbody></table></div>\n<p class=\"note\">Latency counts from the moment at which a message was due, not from when it was sent \
         (in the modes closed and maximum: sent). Percentiles are those of all runs' samples together; rates, CPU and memory are medians over \
         the runs, with half of their range. Below a latency: of how many messages; what was never read has none. – : not measured.</p>\n",
    );
}

/// What a metric of a comparison is called, and how its values are read.
fn metric_text(metric: &str, value: f64) -> String {
    if metric.ends_with("_us") || metric.starts_with("cpu_us") {
        duration_text(value)
    } else if metric.ends_with("_ns") || metric.contains("cpu_ns") {
        duration_text(value / 1e3)
    } else if metric.ends_with("bytes_per_s") || metric.contains("bytes") {
        bytes(value)
    } else {
        count(value)
    }
}

fn metric_name(metric: &str) -> &str {
    match metric {
        "acked_messages_per_s" => "messages acked a second",
        "cpu_ns_per_request" => "broker CPU a request",
        "cpu_us_per_mib" => "broker CPU a MiB",
        "produce_p50_us" => "produce p50",
        "produce_p99_us" => "produce p99",
        "produce_p99_9_us" => "produce p99.9",
        "end_to_end_p99_us" => "end to end p99",
        "rss_bytes_max" => "memory",
        "system_calls_per_thousand_requests" => "system calls, 1,000 requests",
        other => other,
    }
}

fn comparison_chip(one: &MetricComparison) -> String {
    let winner = match one.comparison.verdict {
        Verdict::TooFewRuns => {
            return format!("<span class=\"chip plain\">none: under {} runs</span>", stats::RUNS_MIN);
        }
        Verdict::NoDifference => return "<span class=\"chip plain\">no difference shown</span>".to_owned(),
        Verdict::ALarger if one.is_more_better => &one.a,
        Verdict::BLarger if !one.is_more_better => &one.a,
        Verdict::ALarger | Verdict::BLarger => &one.b,
    };
    format!("<span class=\"chip good\">{} is better</span>", escape(winner))
}

fn comparisons(out: &mut String, all: &[Results]) {
    let pairs = all.iter().flat_map(|results| {
        results.summary.comparisons.chunk_by(|x, y| (&x.a, &x.b) == (&y.a, &y.b)).map(move |pair| (results, pair))
    });
    let mut any = false;
    for (results, pair) in pairs {
        let Some(first) = pair.first() else { continue };
        any = true;
        let which = if all.len() > 1 { format!(": {}", results.name) } else { String::new() };
        let _ = write!(
            out,
            "<h2>{} against {}{}</h2>\n<div class=\"scroll\"><table class=\"comparison\"><thead><tr><th>metric</th>\
             <th>A: {}</th><th>B: {}</th><th>B / A</th><th>95 % interval</th><th>p</th><th>effect</th>\
             <th class=\"left\">verdict</th></tr></thead><tbody>\n",
            escape(&first.b),
            escape(&first.a),
            escape(&which),
            escape(&first.a),
            escape(&first.b)
        );
        for one in pair {
            let comparison = &one.comparison;
            let _ = write!(out, "<tr><td>{}</td>", escape(metric_name(&one.metric)));
            for sample in [&comparison.a, &comparison.b] {
                let spread = (sample.values.len() > 1).then(|| format!("±{} %", three(sample.spread_percent())));
                cell(out, Some(metric_text(&one.metric, sample.median)), spread);
            }
            cell(out, comparison.ratio.map(|ratio| format!("{ratio:.2}")), None);
            let interval = comparison.ratio_low.zip(comparison.ratio_high);
            cell(out, interval.map(|(low, high)| format!("{low:.2} – {high:.2}")), None);
            cell(out, comparison.p.map(|p| format!("{p:.3}")), None);
            cell(out, comparison.effect.map(|effect| format!("{effect:.2}")), None);
            let _ = writeln!(out, "<td class=\"left\">{}</td></tr>", comparison_chip(one));
        }
        let runs = first.comparison.a.values.len().min(first.comparison.b.values.len());
        let each = if runs == 1 {
            "One run each.".to_owned()
        } else {
            format!("{runs} runs each, taken in turn (A B A B …).")
        };
        let _ = writeln!(out, "</tbody></table></div>\n<p class=\"note\">{each}</p>");
    }
    if any {
        let _ = writeln!(
            out,
            "<p class=\"note\">Medians with half of the range. Ratio of medians with its bootstrap interval; p of \
             Mann-Whitney's test, two-sided; effect is the chance that a run of B is larger than one of A (0.5: none). A \
             difference is claimed when p &lt; {} and the interval leaves out 1.</p>",
            stats::P_MAX
        );
    }
}

fn figure(out: &mut String, title: &str, note: &str, body: &str) {
    let _ = writeln!(
        out,
        "<figure><figcaption>{}<small>{}</small></figcaption>{body}</figure>",
        escape(title),
        escape(note)
    );
}

fn charts(out: &mut String, rows: &[Row<'_>]) {
    let run: Vec<&Row<'_>> = rows.iter().filter(|row| !row.target.runs.is_empty()).collect();
    if run.is_empty() {
        return;
    }
    out.push_str("<h2>Curves</h2>\n<div class=\"legend\">");
    for row in &run {
        let _ = write!(out, "<span>{}{}</span>", row.key(), escape(&row.label));
    }
    out.push_str("</div>\n<div class=\"charts\">\n");
    let produce = Curves { all: |target| target.produce_latency.as_ref(), of_run: |run| Some(&run.produce_latency) };
    let end_to_end =
        Curves { all: |target| target.end_to_end_latency.as_ref(), of_run: |run| run.end_to_end_latency.as_ref() };
    // Both charts have the same axis, so that they can be compared.
    let of_all =
        |row: &&Row<'_>| [(produce.all)(row.target), (end_to_end.all)(row.target)].map(|l| l.map(|l| l.p99_99_us));
    let all_max = run.iter().flat_map(of_all).flatten().max();
    let share = all_max.map(|us| us as f64);
    let bound = |name: &str| bound_us(&run, name);
    figure(
        out,
        "Produce latency",
        "by percentile, from due to acked",
        &percentile_chart("Produce latency by percentile", &run, produce, share, bound("produce_p99_ms")),
    );
    figure(
        out,
        "End-to-end latency",
        "by percentile, from due to read",
        &percentile_chart("End-to-end latency by percentile", &run, end_to_end, share, bound("end_to_end_p99_ms")),
    );
    // A sliver of a second has no rate to speak of.
    let acked = |line: &SeriesLine| (line.window_ms >= 500).then_some(line.acked_messages_per_s as f64);
    let offered = run.iter().flat_map(|row| row.target.runs.iter()).map(|run| run.offered_messages_per_s).max();
    let offered = offered.filter(|_| {
        run.iter().all(|row| !matches!(row.summary.workload.mode.as_str(), "closed" | "maximum" | "sweep"))
    });
    figure(
        out,
        "Throughput over time",
        "messages acked a second",
        &time_chart(
            "Throughput over time",
            &run,
            Scale::Linear,
            count,
            acked,
            offered.map(|rate| (rate as f64, "offered")),
        ),
    );
    figure(
        out,
        "Produce p99 over time",
        "of each second",
        &time_chart(
            "Produce p99 over time",
            &run,
            Scale::Log,
            duration_text,
            |line| line.produce_p99_us.map(|us| us as f64),
            bound("produce_p99_ms").map(|us| (us, "bound")),
        ),
    );
    if run.iter().any(|row| row.target.runs.iter().any(|run| run.lag.is_some())) {
        figure(
            out,
            "Consumer lag over time",
            "messages acked and not yet read, all partitions and groups",
            &time_chart(
                "Consumer lag over time",
                &run,
                Scale::Linear,
                count,
                |line| line.lag_messages.map(|lag| lag as f64),
                None,
            ),
        );
        figure(
            out,
            "Consumer lag in time",
            "age of the oldest message not yet read",
            &time_chart(
                "Consumer lag in time",
                &run,
                Scale::Linear,
                |ms| duration_text(ms * 1e3),
                |line| line.lag_age_ms.map(|lag| lag as f64),
                None,
            ),
        );
    }
    if run.len() > 1 {
        let p99 = |run: &Run| Some(run.produce_latency.p99_us as f64);
        let p99_9 = |run: &Run| Some(run.produce_latency.p99_9_us as f64);
        let read = |run: &Run| Some(run.end_to_end_latency.as_ref()?.p99_us as f64);
        let body = format!(
            "{}<figcaption>Produce p99.9</figcaption>{}<figcaption>End to end p99</figcaption>{}",
            bars(&run, p99, duration_text),
            bars(&run, p99_9, duration_text),
            bars(&run, read, duration_text)
        );
        figure(out, "Produce p99", "side by side, median of the runs", &body);
    }
    if run.iter().any(|row| row.median(cpu_us).is_some()) {
        let a_mib = |run: &Run| Some(run.broker.as_ref()?.cpu_us_per_mib as f64);
        let memory = |run: &Run| Some(run.broker.as_ref()?.rss_bytes_max as f64);
        let body = format!(
            "{}<figcaption>Broker CPU a MiB acked</figcaption>{}<figcaption>Memory, largest</figcaption>{}",
            bars(&run, cpu_us, duration_text),
            bars(&run, a_mib, duration_text),
            bars(&run, memory, bytes)
        );
        figure(out, "Broker CPU a request", "all threads and kernel workers of all nodes, median of the runs", &body);
        figure(
            out,
            "Broker CPU over time",
            "percent of one core, all nodes",
            &time_chart(
                "Broker CPU over time",
                &run,
                Scale::Linear,
                |percent| format!("{} %", three(percent)),
                |line| line.broker_cpu_percent.map(|percent| percent as f64),
                None,
            ),
        );
    }
    if run.iter().any(|row| row.target.runs.iter().any(|run| !run.steps.is_empty())) {
        figure(
            out,
            "Latency by rate",
            "each step of the sweep; the knee is the last rate that held",
            &sweep_chart(&run),
        );
    }
    out.push_str("</div>\n");
    if run.iter().any(|row| row.target.runs.len() > 1) {
        let others = match has_faint(&run) {
            true => "The others are faint.",
            false => "The others are not drawn, as there are too many; they are in series.jsonl and summary.json.",
        };
        let _ = writeln!(
            out,
            "<p class=\"note\">Curves by percentile are of the samples of all runs together; curves over time and by rate are of the run \
             with the middle produce p99. {others}</p>"
        );
    }
}

/// Whether there is room for every run.
fn has_faint(rows: &[&Row<'_>]) -> bool {
    rows.len() <= FAINT_ROWS_MAX
}

/// Where one kind of latency is found.
#[derive(Clone, Copy)]
struct Curves {
    all: fn(&TargetSummary) -> Option<&Latency>,
    of_run: fn(&Run) -> Option<&Latency>,
}

/// The tier's bound, if all rows have the same one.
fn bound_us(rows: &[&Row<'_>], name: &str) -> Option<f64> {
    let mut bounds = rows.iter().flat_map(|row| row.target.runs.iter()).map(|run| {
        let verdict = run.verdict.as_ref()?;
        verdict.rows.iter().find(|row| row.row == name).map(|row| row.required * 1e3)
    });
    let first = bounds.next()??;
    bounds.all(|bound| bound == Some(first)).then_some(first)
}

/// 0 at 0 %, 1 at 90 %, 2 at 99 %: as many as there are nines.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).max(1e-9).log10()
}

fn nines_text(nines: f64) -> String {
    match nines.round() as i64 {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        3 => "99.9 %".to_owned(),
        _ => "99.99 %".to_owned(),
    }
}

fn percentile_chart(title: &str, rows: &[&Row<'_>], curves: Curves, y_max: Option<f64>, bound: Option<f64>) -> String {
    let mut lines = Vec::new();
    for row in rows {
        let line = |latency: &Latency, is_faint| {
            let points = latency.curve.iter().map(|point| (nines(point.percentile), point.latency_us.max(1) as f64));
            Line { series: row.place, is_faint, points: points.collect() }
        };
        if has_faint(rows) && row.target.runs.len() > 1 {
            lines.extend(row.target.runs.iter().filter_map(curves.of_run).map(|latency| line(latency, true)));
        }
        lines.extend((curves.all)(row.target).map(|latency| line(latency, false)));
    }
    draw(&Chart {
        title,
        x_label: "percentile",
        x_scale: Scale::Linear,
        y_scale: Scale::Log,
        x_text: nines_text,
        y_text: duration_text,
        lines: &lines,
        bound: bound.map(|us| (us, "bound at p99")),
        y_max,
        x_range: Some((0.0, 4.0)),
    })
}

fn time_chart(
    title: &str,
    rows: &[&Row<'_>],
    y_scale: Scale,
    y_text: fn(f64) -> String,
    value: impl Fn(&SeriesLine) -> Option<f64>,
    bound: Option<(f64, &str)>,
) -> String {
    let stretches = |row: &Row<'_>, run: usize| {
        let windows = row.windows(run);
        let step = windows.len().div_ceil(POINTS_MAX).max(1);
        let points: Vec<Option<(f64, f64)>> = windows
            .iter()
            .step_by(step)
            .map(|line| value(line).map(|value| (line.at_ms as f64 / 1e3, value)))
            .collect();
        // Where nothing was measured, as in an outage, there is no line: one drawn across would say that all went on.
        let stretches = points.split(Option::is_none).filter(|stretch| !stretch.is_empty());
        stretches.map(|stretch| stretch.iter().copied().flatten().collect()).collect()
    };
    let lines: Vec<Line> = rows.iter().flat_map(|row| row.lines(has_faint(rows), |run| stretches(row, run))).collect();
    // All charts over time have the same axis, whatever was not measured in some seconds.
    let windows = rows.iter().flat_map(|row| (0..row.target.runs.len()).flat_map(|run| row.windows(run)));
    let (first_ms, last_ms) =
        windows.fold((u64::MAX, 0), |(first, last), line| (first.min(line.at_ms), last.max(line.at_ms)));
    draw(&Chart {
        title,
        x_label: "seconds, warm-up included",
        x_scale: Scale::Linear,
        y_scale,
        x_text: |seconds| if seconds < 10.0 { three(seconds) } else { grouped(seconds.round() as i64) },
        y_text,
        lines: &lines,
        bound,
        y_max: None,
        x_range: (first_ms < last_ms).then_some((first_ms as f64 / 1e3, last_ms as f64 / 1e3)),
    })
}

fn sweep_chart(rows: &[&Row<'_>]) -> String {
    let points = |row: &Row<'_>, run: usize| {
        let steps = row.target.runs[run].steps.iter();
        let mut points: Vec<_> =
            steps.map(|step| (step.acked_messages_per_s as f64, step.latency_us.max(1) as f64)).collect();
        // They were tried in another order: up, then halving the gap.
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        vec![points]
    };
    let lines: Vec<Line> = rows.iter().flat_map(|row| row.lines(has_faint(rows), |run| points(row, run))).collect();
    draw(&Chart {
        title: "Latency by rate",
        x_label: "messages acked a second",
        x_scale: Scale::Linear,
        y_scale: Scale::Log,
        x_text: count,
        y_text: duration_text,
        lines: &lines,
        bound: None,
        y_max: None,
        x_range: None,
    })
}

fn bars(rows: &[&Row<'_>], value: impl Fn(&Run) -> Option<f64> + Copy, text: fn(f64) -> String) -> String {
    let values: Vec<Option<f64>> = rows.iter().map(|row| row.median(value)).collect();
    let max = values.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mut out = String::from("<div class=\"bars\">");
    for (row, found) in rows.iter().zip(values) {
        let _ = write!(out, "<span>{}</span>", escape(&row.label));
        match found {
            Some(found) => {
                let spread = row.spread(value).map(|percent| format!(" ±{} %", three(percent))).unwrap_or_default();
                let _ = write!(
                    out,
                    "<span class=\"track\"><i class=\"bar\" style=\"width:{:.1}%;background:{}\"></i>{}{}</span>",
                    // The rest of the track is for the number.
                    found / max * 60.0,
                    series_background(row.place),
                    escape(&text(found)),
                    escape(&spread)
                );
            }
            None => out.push_str("<span class=\"soft\">not measured</span>"),
        }
    }
    out.push_str("</div>");
    out
}

/// Partitions of each target that are shown.
const WORST_PARTITIONS_MAX: usize = 3;

/// Where the lag is: a total hides that one partition has all of it.
fn worst_partitions(out: &mut String, rows: &[Row<'_>]) {
    let lag_of = |row: &Row<'_>| {
        let mut lag = row.target.runs.get(row.middle_run())?.lag.clone()?;
        lag.worst_partitions.retain(|worst| 0 < worst.messages_max);
        Some(lag)
    };
    let behind: Vec<(&Row<'_>, LagSummary)> =
        rows.iter().filter_map(|row| Some((row, lag_of(row)?))).filter(|(_, lag)| lag.partitions > 1).collect();
    if behind.iter().all(|(_, lag)| lag.worst_partitions.is_empty()) {
        return;
    }
    out.push_str(
        "<h2>The partitions furthest behind</h2>\n<div class=\"scroll\"><table class=\"partitions\"><thead><tr><th>target</th><th class=\"left\">partition</th>\
         <th>unread<br>at most</th><th>oldest<br>unread</th><th>unread<br>at the end</th><th>all partitions<br>at most</th></tr></thead><tbody>\n",
    );
    for (row, lag) in &behind {
        for worst in lag.worst_partitions.iter().take(WORST_PARTITIONS_MAX) {
            let _ = write!(
                out,
                "<tr><td>{}{}</td><td class=\"left\">{}-{}</td>",
                row.key(),
                escape(&row.label),
                escape(&worst.topic),
                worst.partition
            );
            cell(out, Some(count(worst.messages_max as f64)), None);
            cell(out, Some(duration_text(worst.age_ms_max as f64 * 1e3)), None);
            cell(out, Some(count(worst.messages_end as f64)), None);
            cell(
                out,
                Some(count(lag.messages_max as f64)),
                Some(format!("in {} partitions", count(lag.partitions as f64))),
            );
            out.push_str("</tr>\n");
        }
    }
    out.push_str(
        "</tbody></table></div>\n<p class=\"note\">Messages acked and not read, of the group that is furthest behind; of the run with the \
         middle produce p99. Ten partitions of each run are in summary.json; second by second they are in lag.jsonl.</p>\n",
    );
}

fn quantiles_text(quantiles: QuantilesSummary) -> String {
    format!(
        "p50 {}, p99 {}, p99.9 {}, max {}",
        latency(quantiles.p50_us),
        latency(quantiles.p99_us),
        latency(quantiles.p99_9_us),
        latency(quantiles.max_us)
    )
}

/// What backlogs, cold readers and sweeps add.
fn modes(out: &mut String, rows: &[Row<'_>]) {
    for row in rows {
        for run in &row.target.runs {
            if let Some(backlog) = &run.backlog {
                let drained = backlog.drain_ms.map_or_else(
                    || "not drained within the run".to_owned(),
                    |ms| format!("drained in {} while producing went on", duration_text(ms as f64 * 1e3)),
                );
                let _ = writeln!(
                    out,
                    "<h2>Backlog: {}</h2>\n<p>{} unread, built in {}, {drained}.</p>\n<dl><dt>produce before</dt><dd>{}</dd><dt>produce meanwhile</dt><dd>{}</dd></dl>",
                    escape(&row.label),
                    escape(&bytes(backlog.backlog_bytes as f64)),
                    duration_text(backlog.build_ms as f64 * 1e3),
                    quantiles_text(backlog.produce_before),
                    quantiles_text(backlog.produce_during)
                );
            }
            if let Some(cold) = &run.cold_readers {
                let caught_up = cold.caught_up_ms.map_or_else(
                    || "did not reach the tail within the run".to_owned(),
                    |ms| format!("reached the tail after {}", duration_text(ms as f64 * 1e3)),
                );
                let _ = writeln!(
                    out,
                    "<h2>Cold readers: {}</h2>\n<p>Read {} ({} messages) and {caught_up}.</p>\n<dl><dt>produce before</dt><dd>{}</dd><dt>produce meanwhile</dt><dd>{}</dd>\
                     <dt>tail readers before</dt><dd>{}</dd><dt>tail readers meanwhile</dt><dd>{}</dd></dl>",
                    escape(&row.label),
                    escape(&bytes(cold.read_bytes as f64)),
                    escape(&count(cold.read_messages as f64)),
                    quantiles_text(cold.produce_before),
                    quantiles_text(cold.produce_during),
                    quantiles_text(cold.end_to_end_before),
                    quantiles_text(cold.end_to_end_during)
                );
            }
        }
        let steps: Vec<&Run> = row.target.runs.iter().filter(|run| !run.steps.is_empty()).collect();
        if let Some(run) = steps.first() {
            let rate = |rate: f64| format!("{} messages a second", grouped(rate as i64));
            let knee = match run.knee() {
                None if run.steps.iter().all(|step| step.is_inconclusive) => {
                    "No rate held the latency, and the generator may be why: of the broker this says nothing."
                        .to_owned()
                }
                None => "No rate held the latency.".to_owned(),
                Some(Knee::Broker(at)) => format!("The knee: {}.", rate(at)),
                Some(Knee::Generator(at)) => format!(
                    "The generator's knee: {}. It may be why no higher rate held; the broker's lies there or above.",
                    rate(at)
                ),
                Some(Knee::Open(at)) => {
                    format!("The knee lies above {}: the highest rate of the sweep held.", rate(at))
                }
            };
            let _ = write!(
                out,
                "<h2>Sweep: {}</h2>\n<p>{knee}</p>\n<div class=\"scroll\"><table><thead><tr><th>offered</th><th>acked</th><th>p50</th><th>p99</th><th>p99.9</th><th>max</th><th>broker CPU</th><th class=\"left\">held</th></tr></thead><tbody>",
                escape(&row.label)
            );
            for step in &run.steps {
                let held = match (step.is_held, step.is_inconclusive) {
                    (true, _) => "<span class=\"chip good\">held</span>",
                    (false, true) => "<span class=\"chip warn\">not held</span>",
                    (false, false) => "<span class=\"chip bad\">not held</span>",
                };
                let bound = step.generator_bound.as_ref().map_or_else(String::new, |reason| {
                    format!(" <span class=\"chip warn\">generator-bound</span> {}", escape(reason))
                });
                let cpu = step.broker_cpu_percent.map_or_else(|| "–".to_owned(), |percent| format!("{percent} %"));
                let q = step.produce_latency;
                let _ = write!(
                    out,
                    "<tr><td>{}/s</td><td>{}/s</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{cpu}</td><td class=\"left\">{held}{bound}</td></tr>",
                    grouped(step.offered_messages_per_s as i64),
                    grouped(step.acked_messages_per_s as i64),
                    latency(q.p50_us),
                    latency(q.p99_us),
                    latency(q.p99_9_us),
                    latency(q.max_us)
                );
            }
            out.push_str("</tbody></table></div>\n");
        }
    }
}

fn row_value(row: &str, value: f64) -> String {
    match row {
        "stored_bytes" => bytes(value),
        "retention_s" if value >= RETENTION_MAX.as_secs_f64() => "for ever".to_owned(),
        "retention_s" if value >= 86_400.0 => format!("{} days", three(value / 86_400.0)),
        "retention_s" | "lag_s" | "drain_s" => duration_text(value * 1e6),
        "zero_lag_growth" => format!("{} % of the rate", three(value * 100.0)),
        name if name.ends_with("_ms") => duration_text(value * 1e3),
        "messages_per_s" => format!("{}/s", count(value)),
        _ => count(value),
    }
}

/// Rows of a tier in which more is asked, not less.
fn is_size(row: &str) -> bool {
    matches!(row, "brokers" | "messages_per_s" | "topics" | "partitions_per_topic" | "stored_bytes" | "retention_s")
}

fn chip_class(is_met: bool, verdict: &str) -> &'static str {
    match (is_met, verdict) {
        (false, "not proven") => "warn",
        (false, _) => "bad",
        (true, "met") => "good",
        (true, "configured") => "plain",
        (true, _) => "warn",
    }
}

fn worst_verdict<'a>(row: &Row<'a>) -> Option<&'a VerdictSummary> {
    VerdictSummary::worst(row.target.runs.iter().filter_map(|run| run.verdict.as_ref()))
}

/// One table for each folder: what the tier asks, and what each target reached.
fn verdicts(out: &mut String, all: &[Results], rows: &[Row<'_>]) {
    for results in all {
        let judged: Vec<(&Row<'_>, &VerdictSummary)> = rows
            .iter()
            .filter(|row| std::ptr::eq(row.summary, &results.summary))
            .filter_map(|row| Some((row, worst_verdict(row)?)))
            .collect();
        let Some((_, first)) = judged.first() else { continue };
        let against = match &first.tier {
            Some(tier) => format!("Against the tier {tier}"),
            None => "Against its targets".to_owned(),
        };
        let which = if all.len() > 1 { format!(": {}", results.name) } else { String::new() };
        let _ = write!(
            out,
            "<h2>{}{}</h2>\n<div class=\"scroll\"><table class=\"verdict\"><thead><tr><th>asked</th><th>by the tier</th>\
             <th>scale<br>of the run</th><th>so it needs</th>",
            escape(&against),
            escape(&which)
        );
        for (row, _) in &judged {
            let _ = write!(out, "<th>{}{}</th>", row.key(), escape(&row.label));
        }
        out.push_str("</tr></thead><tbody>\n");
        for (index, asked) in first.rows.iter().enumerate() {
            let sign = if is_size(&asked.row) { "≥" } else { "≤" };
            let by_tier = match asked.tier_max {
                Some(max) => format!("{} to {}", row_value(&asked.row, asked.tier_min), row_value(&asked.row, max)),
                None => format!("{sign} {}", row_value(&asked.row, asked.tier_min)),
            };
            let scale = if asked.scale > 1.0 { format!("1/{}", count(asked.scale)) } else { "full".to_owned() };
            let _ = write!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{sign} {}</td>",
                escape(row_name(&asked.row)),
                escape(&by_tier),
                escape(&scale),
                escape(&row_value(&asked.row, asked.required))
            );
            for (_, verdict) in &judged {
                let Some(one) = verdict.rows.get(index) else {
                    out.push_str("<td>–</td>");
                    continue;
                };
                let actual = one.actual.map_or_else(|| "not measured".to_owned(), |actual| row_value(&one.row, actual));
                let class = chip_class(one.is_met, &one.verdict);
                let _ = write!(
                    out,
                    "<td>{} <span class=\"chip {class}\">{}</span></td>",
                    escape(&actual),
                    escape(&one.verdict)
                );
            }
            out.push_str("</tr>\n");
        }
        out.push_str("<tr><td>all of it</td><td></td><td></td><td></td>");
        for (_, verdict) in &judged {
            let class = chip_class(verdict.is_met, &verdict.verdict);
            let _ = write!(out, "<td><span class=\"chip {class}\">{}</span></td>", escape(&verdict.verdict));
        }
        out.push_str("</tr>\n</tbody></table></div>\n");
        for (row, verdict) in &judged {
            for reason in verdict.spoiled.iter().chain(&verdict.notes) {
                let _ = writeln!(out, "<p class=\"note\">{}: {}</p>", escape(&row.label), escape(reason));
            }
        }
    }
}

fn row_name(row: &str) -> &str {
    match row {
        "brokers" => "brokers",
        "messages_per_s" => "messages a second",
        "topics" => "topics",
        "partitions_per_topic" => "partitions a topic",
        "stored_bytes" => "stored",
        "retention_s" => "retention",
        "produce_p99_ms" => "produce p99",
        "produce_p999_ms" => "produce p99.9",
        "end_to_end_p99_ms" => "end to end p99",
        "end_to_end_p999_ms" => "end to end p99.9",
        "lag_s" => "oldest unread message",
        "drain_s" => "backlog drained in",
        "zero_lag_growth" => "growth of the lag",
        other => other,
    }
}

/// One line of the table of limits.
struct LimitLine<'a> {
    title: &'a str,
    is_bytes: bool,
    used: Option<f64>,
    most: Option<f64>,
    percent: Option<f64>,
    /// What stands below the machine's number.
    remark: String,
    /// Why there is no percentage.
    empty: &'a str,
}

impl LimitLine<'_> {
    fn write(&self, out: &mut String, row: &Row<'_>) {
        let per_s = |value: f64| match self.is_bytes {
            true => format!("{}/s", bytes(value)),
            false => format!("{}/s", count(value)),
        };
        let text = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| escape(&per_s(value)));
        let _ = write!(
            out,
            "<tr><td>{}{}</td><td class=\"left\">{}</td><td>{}</td>",
            row.key(),
            escape(&row.label),
            escape(self.title),
            text(self.used)
        );
        let Some(percent) = self.percent else {
            let _ = writeln!(out, "<td class=\"empty\" colspan=\"2\">empty: {}</td></tr>", escape(self.empty));
            return;
        };
        let _ = writeln!(
            out,
            "<td>{}{}</td><td class=\"left\">{} %<span class=\"meter\"><i style=\"width:{:.0}%;background:{}\"></i></span></td></tr>",
            text(self.most),
            self.remark,
            three(percent),
            percent.min(100.0),
            series_colour(row.place)
        );
    }
}

fn limits(out: &mut String, rows: &[Row<'_>]) {
    let run: Vec<&Row<'_>> = rows.iter().filter(|row| !row.target.runs.is_empty()).collect();
    if run.is_empty() {
        return;
    }
    out.push_str("<h2>Beside the machine's limits</h2>\n<div class=\"scroll\"><table class=\"limits\"><thead><tr><th>target</th><th class=\"left\">limit</th><th>the run</th><th>the machine</th><th class=\"left\">reached</th></tr></thead><tbody>\n");
    for row in &run {
        let reached = row.target.limits();
        let unknown = row.target.runs.iter().find_map(|run| run.limits_empty.as_deref());
        if let Some(empty) = unknown.filter(|_| reached.iter().all(|limit| limit.limit_per_s.is_none())) {
            let title = "disk and network";
            let none = LimitLine {
                title,
                is_bytes: true,
                used: None,
                most: None,
                percent: None,
                remark: String::new(),
                empty,
            };
            none.write(out, row);
        } else {
            for limit in &reached {
                let carried = limit.partitions_carried.map(|partitions| {
                    let partitions = count(partitions as f64);
                    format!("<small>carries {partitions} busy partitions at {DURABLE_ACK_MS} ms an ack</small>")
                });
                let computed =
                    limit.is_computed.then(|| "<small>the run's share computed from its batches</small>".to_owned());
                let line = LimitLine {
                    title: limits::title(&limit.limit),
                    is_bytes: limits::is_bytes(&limit.limit),
                    used: limit.used_per_s.map(|used| used as f64),
                    most: limit.limit_per_s.map(|most| most as f64),
                    // The summary's is a whole number, and most runs are far from their limits.
                    percent: limit
                        .percent
                        .and(limit.used_per_s.zip(limit.limit_per_s))
                        .map(|(used, most)| used as f64 / most as f64 * 100.0),
                    remark: carried.or(computed).unwrap_or_default(),
                    empty: limit.empty.as_deref().unwrap_or("not told"),
                };
                line.write(out, row);
            }
        }
        let used = row.median(|run| Some(run.acked_messages_per_s as f64));
        let most = row.target.ceiling_messages_per_s().map(|ceiling| ceiling as f64);
        let ceiling = LimitLine {
            title: "generator against floor",
            is_bytes: false,
            used,
            most,
            percent: used.zip(most).filter(|(_, most)| *most > 0.0).map(|(used, most)| used / most * 100.0),
            remark: String::new(),
            empty: row.target.runs.iter().find_map(|run| run.generator.ceiling_empty.as_deref()).unwrap_or("not told"),
        };
        ceiling.write(out, row);
    }
    out.push_str("</tbody></table></div>\n<p class=\"note\">Medians of the runs. Limits are measured by <code>ringlog bench disk</code> and <code>bench net</code> on the same machine. Above 100 %: the page cache took what the disk had not yet.</p>\n");
}

/// What the work cost the machine, of all processes of a target together.
fn brokers(out: &mut String, rows: &[Row<'_>]) {
    let watched = |row: &&Row<'_>| row.target.runs.iter().any(|run| run.broker.is_some());
    let watched: Vec<&Row<'_>> = rows.iter().filter(watched).collect();
    if watched.is_empty() {
        return;
    }
    out.push_str(
        "<h2>What the brokers used</h2>\n<div class=\"scroll\"><table class=\"brokers\"><thead><tr><th>target</th><th>CPU</th><th>CPU<br>a MiB</th>\
         <th>memory</th><th>system<br>calls/s</th><th>system calls<br>a request</th><th>context<br>switches/s</th><th>read<br>from disk</th>\
         <th>written<br>to disk</th><th>of each<br>byte acked</th><th>network<br>in</th><th>network<br>out</th></tr></thead><tbody>\n",
    );
    for row in watched {
        let of = |value: fn(&BrokerSummary) -> Option<u64>| {
            row.median(|run| value(run.broker.as_ref()?).map(|value| value as f64))
        };
        let per_s = |value: Option<f64>| value.map(|value| format!("{}/s", bytes(value)));
        let _ = write!(out, "<tr><td>{}{}</td>", row.key(), escape(&row.label));
        cell(out, of(|used| Some(used.cpu_percent)).map(|percent| format!("{} %", three(percent))), None);
        cell(out, of(|used| Some(used.cpu_us_per_mib)).map(duration_text), None);
        cell(out, of(|used| Some(used.rss_bytes_max)).map(bytes), None);
        cell(out, of(|used| used.system_calls_per_s).map(count), None);
        cell(out, of(|used| used.system_calls_per_thousand_requests).map(|calls| three(calls / 1000.0)), None);
        cell(out, of(|used| Some(used.switches_voluntary_per_s + used.switches_forced_per_s)).map(count), None);
        cell(out, per_s(of(|used| used.disk_read_bytes_per_s)), None);
        cell(out, per_s(of(|used| used.disk_write_bytes_per_s)), None);
        cell(out, of(|used| used.disk_write_percent_of_acked).map(|percent| three(percent / 100.0)), None);
        cell(out, per_s(of(|used| used.net_received_bytes_per_s)), None);
        cell(out, per_s(of(|used| used.net_sent_bytes_per_s)), None);
        out.push_str("</tr>\n");
    }
    out.push_str(
        "</tbody></table></div>\n<p class=\"note\">Medians of the runs, all processes of a target together; 100 % is one core. System calls: all of them, over produce \
         requests, where root or <code>CAP_PERFMON</code> may count. Of each byte acked: bytes written to disks over bytes of batches acked. Network: as the node \
         counts it.</p>\n",
    );
}

fn checks(out: &mut String, rows: &[Row<'_>]) {
    let run: Vec<&Row<'_>> = rows.iter().filter(|row| !row.target.runs.is_empty()).collect();
    if run.is_empty() {
        return;
    }
    out.push_str("<h2>Did anything go wrong?</h2>\n<div class=\"scroll\"><table class=\"checks\"><thead><tr><th>target</th><th class=\"left\">check</th><th>lost</th><th>duplicated</th><th>reordered</th><th>corrupt</th><th>expired</th><th>failed</th><th>generator<br>CPU</th><th>busiest<br>thread</th><th>slip<br>p99.9</th><th>batch</th></tr></thead><tbody>\n");
    for row in &run {
        for (index, run) in row.target.runs.iter().enumerate() {
            let label = if row.target.runs.len() > 1 {
                format!("{} · run {}", row.label, index + 1)
            } else {
                row.label.clone()
            };
            let check = &run.check;
            let chip = match (check.passed(), check.is_complete) {
                (false, _) => "<span class=\"chip bad\">failed</span>",
                (true, true) => "<span class=\"chip good\">passed</span>",
                (true, false) => "<span class=\"chip warn\">incomplete</span>",
            };
            let _ = write!(out, "<tr><td>{}{}</td><td class=\"left\">{chip}</td>", row.key(), escape(&label));
            let failed = messages_failed(&run.errors);
            for value in [check.lost, check.duplicated, check.reordered, check.corrupt, check.expired, failed] {
                cell(out, Some(grouped(value as i64)), None);
            }
            cell(out, Some(format!("{} %", run.generator.cpu_percent)), None);
            cell(out, Some(format!("{} %", run.generator.busiest_thread_percent)), None);
            cell(out, Some(latency(run.generator.slip_p99_9_us)), None);
            let messages = format!("{} messages", three(run.batch_messages_mean_milli as f64 / 1e3));
            cell(out, Some(bytes(run.batch_bytes_mean as f64)), Some(messages));
            out.push_str("</tr>\n");
        }
    }
    out.push_str("</tbody></table></div>\n<p class=\"note\">Every message carries its producer, its number and a checksum; readers check all of them. Slip is how late the generator itself was in handing a batch to its socket.</p>\n");
    for row in &run {
        for run in &row.target.runs {
            for example in &run.check.examples {
                let _ = writeln!(out, "<p class=\"note\">{}: {}</p>", escape(&row.label), escape(example));
            }
        }
    }
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    for row in &run {
        for finding in row.target.runs.iter().flat_map(|run| &run.findings) {
            let text = format!("{} ({}): {}", finding.check, finding.severity, finding.found);
            match found.iter_mut().find(|(known, _)| *known == text) {
                Some((_, labels)) if labels.contains(&row.label.as_str()) => {}
                Some((_, labels)) => labels.push(&row.label),
                None => found.push((text, vec![&row.label])),
            }
        }
    }
    if !found.is_empty() {
        out.push_str("<h3>Found before the start</h3><ul class=\"note\">");
        for (text, labels) in found {
            let who = if labels.len() == run.len() { "all".to_owned() } else { labels.join(", ") };
            let _ = write!(out, "<li>{}: {}</li>", escape(&who), escape(&text));
        }
        out.push_str("</ul>\n");
    }
}

fn origins(out: &mut String, all: &[Results], rows: &[Row<'_>]) {
    out.push_str("<h2>Where these numbers come from</h2>\n");
    for results in all {
        let summary = &results.summary;
        let machine = &summary.machine;
        let _ = write!(out, "<h3>{}</h3>\n<dl>", escape(&results.name));
        let mut fact = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
            }
        };
        fact("again", Some(summary.command.clone()));
        fact("processor", Some(format!("{}, {} CPUs", machine.cpu_model, machine.cpus)));
        fact("threads a core", machine.threads_per_core.map(|threads| threads.to_string()));
        fact("NUMA nodes", machine.numa_nodes.map(|nodes| nodes.to_string()));
        fact("governor", Some(machine.cpu_governor.clone().unwrap_or_else(|| "decided by the host".to_owned())));
        fact("memory", Some(bytes(machine.memory_bytes as f64)));
        fact("cgroup limit", machine.memory_limit_bytes.map(|limit| bytes(limit as f64)));
        fact("kernel", Some(format!("Linux {}, {}", machine.kernel, machine.os)));
        let vm: Vec<String> = machine.vm.iter().map(|(name, value)| format!("{name}={value}")).collect();
        fact("writeback", Some(vm.join(" ")));
        fact("load at the start", machine.load_1m_percent.map(|load| three(f64::from(load) / 100.0)));
        for (name, version) in &machine.versions {
            fact(name, Some(version.clone()));
        }
        if !summary.generator_cpus.is_empty() {
            fact("generator on CPUs", Some(format!("{:?}", summary.generator_cpus)));
        }
        out.push_str("</dl>\n");
    }
    for row in rows.iter().filter(|row| !row.target.runs.is_empty()) {
        let target = row.target;
        let _ = write!(out, "<details><summary>{}{}</summary><dl>", row.key(), escape(&row.label));
        let mut fact = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
            }
        };
        fact("version", target.version.clone());
        fact("nodes", Some(target.nodes.to_string()));
        fact("on CPUs", (!target.cpus.is_empty()).then(|| format!("{:?}", target.cpus)));
        if let Some(storage) = &target.storage {
            fact("file system", Some(format!("{} on {}", storage.file_system, storage.device)));
            fact("mount options", Some(storage.mount_options.clone()));
            fact("disk", storage.disk.clone());
            fact("scheduler", storage.scheduler.clone());
        }
        let starts: Vec<&str> = target.runs.iter().map(|run| run.started_at.as_str()).collect();
        fact("runs began", Some(starts.join(", ")));
        out.push_str("</dl>");
        if !target.config.is_empty() {
            let config: Vec<String> = target.config.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let _ = write!(out, "<pre>{}</pre>", escape(&config.join("\n")));
        }
        out.push_str("</details>\n");
    }
    for results in all {
        let _ = writeln!(
            out,
            "<details><summary>The workload as run: {}</summary><pre>{}</pre></details>",
            escape(&results.summary.workload.name),
            escape(&results.summary.workload.toml)
        );
    }
}
