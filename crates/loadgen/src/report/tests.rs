use super::*;
use crate::compare::compare;
use crate::summary::{SeriesLine, StepSummary, series};

fn results(summary: Summary) -> Results {
    let series: Vec<SeriesLine> = (0..summary.targets.len() as u32)
        .flat_map(|target| series(&sample::outcome(u64::from(target) * 2 + 1), target, 0))
        .collect();
    Results { name: "2026-11-28_abc1234_sample".to_owned(), summary, series }
}

fn compared() -> Summary {
    let mut summary = sample::summary(vec![
        sample::target("ringlog", 5, 1),
        sample::target("kafka", 5, 3),
        sample::empty_target("ringlog 3 nodes RF 3", "a cluster of 3 is not built yet"),
    ]);
    summary.comparisons = compare(&summary.targets[0], &summary.targets[1]);
    summary
}

#[test]
fn a_page_loads_nothing_from_anywhere() {
    let html = page(&[results(compared())]);
    for needle in ["http://", "https://", "<script", "<link", "@import", "url(", "src="] {
        let found = html.match_indices(needle).find(|(at, _)| !html[*at..].starts_with("http://www.w3.org/2000/svg"));
        assert_eq!(found, None, "{needle}");
    }
}

#[test]
fn a_page_shows_what_came_out_and_what_did_not_run() {
    let html = page(&[results(compared())]);
    for needle in [
        "Does the page show what came out?",
        "met at scale 1/3",
        "not run: a cluster of 3 is not built yet",
        "ringlog is better",
        "kafka against ringlog",
        "99.99 %",
        "Consumer lag over time",
        "Broker CPU a request",
        "<td class=\"left\">t-1</td><td>220</td><td>20 ms</td><td>30</td>",
        "disk, sequential write",
        "empty: /data was not measured",
        "<td class=\"left\">2.08 %<span",
        "empty: no `floor` beside the binary",
        "<h2>What the brokers used</h2>",
        "<td>1</td><td>10.5 MiB/s</td><td>10.7 MiB/s</td>",
        "cores (warning): shared",
        "prefers-color-scheme: dark",
        "[load]",
    ] {
        assert!(html.contains(needle), "no `{needle}`");
    }
    // One line a target in each of the curves.
    assert_eq!(html.matches("<svg").count(), 7);
}

#[test]
fn what_went_wrong_stands_above_the_first_number() {
    let mut summary = sample::summary(vec![sample::target("ringlog", 1, 1)]);
    let run = &mut summary.targets[0].runs[0];
    run.check.lost = 3;
    run.errors.insert("produce NOT_LEADER_OR_FOLLOWER".to_owned(), 12);
    run.generator.bound = Some("its cores were 91 % busy".to_owned());
    summary.interrupted = Some("Ctrl-C".to_owned());
    let html = page(&[results(summary)]);
    let first_table = html.find("At a glance").expect("a table");
    for needle in ["3 acked messages lost", "NOT_LEADER_OR_FOLLOWER 12", "generator-bound", "interrupted"] {
        assert!(html.find(needle).is_some_and(|at| at < first_table), "{needle}");
    }
}

#[test]
fn a_step_shows_whether_it_held_and_whether_the_generator_was_bound() {
    let step = |offered_messages_per_s, is_held, is_inconclusive| StepSummary {
        offered_messages_per_s,
        is_held,
        is_inconclusive,
        generator_bound: Some("its CPUs were busy 93 % of the time".to_owned()),
        broker_cpu_percent: Some(61),
        ..StepSummary::default()
    };
    let page_of = |last_is_inconclusive| {
        let mut summary = sample::summary(vec![sample::target("ringlog", 1, 1)]);
        let run = &mut summary.targets[0].runs[0];
        run.knee_messages_per_s = Some(1000);
        run.steps = vec![step(1000, true, false), step(2000, false, true), step(1500, false, last_is_inconclusive)];
        page(&[results(summary)])
    };
    let bound = "<span class=\"chip warn\">generator-bound</span> its CPUs were busy 93 % of the time</td>";
    for held in ["good\">held", "warn\">not held", "bad\">not held"] {
        let needle = format!("<td>61 %</td><td class=\"left\"><span class=\"chip {held}</span> {bound}");
        assert!(page_of(false).contains(&needle), "{needle}");
    }
    assert!(page_of(false).contains("<p>The knee: 1,000 messages a second.</p>"));
    assert!(page_of(true).contains("<p>The generator's knee: 1,000 messages a second."));
}

fn chart_of<'a>(html: &'a str, title: &str) -> &'a str {
    let from = html.find(&format!("aria-label=\"{title}\"")).expect("a chart");
    &html[from..from + html[from..].find("</svg>").expect("its end")]
}

#[test]
fn the_curve_of_a_sweep_is_by_rate_in_whatever_order_they_were_tried() {
    let page_of = |rates: [u64; 4]| {
        let mut summary = sample::summary(vec![sample::target("ringlog", 1, 1)]);
        let step = |rate| StepSummary { acked_messages_per_s: rate, latency_us: rate * 10, ..StepSummary::default() };
        summary.targets[0].runs[0].steps = rates.map(step).to_vec();
        page(&[results(summary)])
    };
    let (tried, rising) = (page_of([1000, 4000, 2000, 3000]), page_of([1000, 2000, 3000, 4000]));
    assert_eq!(chart_of(&tried, "Latency by rate"), chart_of(&rising, "Latency by rate"));
}

#[test]
fn every_run_is_drawn_and_the_middle_one_is_strong() {
    let mut summary = sample::summary(vec![sample::target("ringlog", 3, 1)]);
    for (run, p99_us) in summary.targets[0].runs.iter_mut().zip([9_000, 1_000, 5_000]) {
        run.produce_latency.p99_us = p99_us;
        run.generator.bound = Some(format!("it was {p99_us} us late"));
    }
    let series = (0..3).flat_map(|run| series(&sample::outcome(1), 0, run)).collect();
    let html = page(&[Results { name: "r".to_owned(), summary, series }]);
    let chart = |title| chart_of(&html, title);
    for title in ["Throughput over time", "Produce latency by percentile"] {
        let lines = chart(title).matches("var(--series-0)").count();
        let faint = chart(title).matches("opacity=\"0.55\" stroke=\"var(--series-0)\"").count();
        assert_eq!(faint, if title.starts_with("Throughput") { 2 } else { 3 }, "{title}");
        assert_eq!(lines - faint, 1, "{title}");
    }
    assert_eq!(html.matches("alike in 3 of 3: generator-bound: it was 9000 us late").count(), 1);
}

#[test]
fn an_outage_is_a_gap_and_what_it_held_up_is_shown_behind_it() {
    let mut shown = results(sample::summary(vec![sample::target("ringlog", 1, 1)]));
    let strokes = |html: &str, title: &str| chart_of(html, title).matches("stroke=\"var(--series-0)\"").count();
    let html = page(std::slice::from_ref(&shown));
    assert_eq!(strokes(&html, "Produce p99 over time"), 1);
    assert!(!chart_of(&html, "Produce p99 over time").contains("\n10 s\n"));
    for line in shown.series.iter_mut().filter(|line| (5_000..=8_000).contains(&line.at_ms)) {
        (line.acked_messages_per_s, line.produce_p99_us) = (0, None);
    }
    // Acked behind the measured time, within a sliver of a second.
    let last = shown.series.last().expect("windows").clone();
    let (at_ms, acked_messages_per_s) = (last.at_ms + 100, last.acked_messages_per_s * 1_000_000);
    let late = SeriesLine { at_ms, window_ms: 100, is_measured: false, acked_messages_per_s, ..last };
    shown.series.push(SeriesLine { produce_p99_us: Some(9_000_000), ..late });
    let html = page(&[shown]);
    assert_eq!(strokes(&html, "Produce p99 over time"), 2);
    assert!(chart_of(&html, "Produce p99 over time").contains("\n10 s\n"));
    // It went to nothing there, which is a number, and a sliver has no rate.
    assert_eq!(strokes(&html, "Throughput over time"), 1);
    assert!(!chart_of(&html, "Throughput over time").contains(" G\n"));
}

#[test]
fn text_from_outside_cannot_become_markup() {
    let mut summary = sample::summary(vec![sample::target("<img onerror=x>", 1, 1)]);
    summary.workload.question = Some("</style><b>".to_owned());
    summary.targets[0].config.insert("a".to_owned(), "</pre><i>".to_owned());
    let html = page(&[results(summary)]);
    assert!(!html.contains("<img") && !html.contains("<b></p>") && !html.contains("</pre><i>"));
}

#[test]
fn several_folders_share_one_page_and_say_what_sets_them_apart() {
    let one = results(sample::summary(vec![sample::target("ringlog", 1, 1)]));
    let mut other = one.clone();
    other.summary.commit = Some("def5678".to_owned());
    let html = page(&[one.clone(), other.clone()]);
    assert!(html.contains("ringlog · abc1234") && html.contains("ringlog · def5678"));
    other.summary.workload.name = "other".to_owned();
    assert!(page(&[one, other]).contains("other · ringlog"));
}
