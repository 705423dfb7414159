//! What is seen while a workload runs: a line a second and a bar on stderr, at a terminal; elsewhere nothing.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use loadgen::Progress;
use loadgen::outcome::{Quantiles, Window};

// A row has 79 columns, so that it fits into a plain terminal; numbers that need more push the rest to the right.

/// Rows between two headings.
const ROWS_PER_HEADING: u64 = 20;

/// The live view.
pub(crate) struct Live {
    bar: ProgressBar,
    rows: u64,
    step: Option<(usize, f64)>,
}

impl Live {
    pub(crate) fn new(quiet: bool) -> Self {
        let shown = !quiet && io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{msg:>20} {bar:40} {pos}/{len} s").expect("a constant");
        Self { bar: ProgressBar::with_draw_target(Some(0), target).with_style(style), rows: 0, step: None }
    }

    pub(crate) fn show(&mut self, progress: &Progress<'_>) {
        if self.bar.is_hidden() {
            return;
        }
        if self.step != progress.step {
            self.step = progress.step;
            if let Some((number, rate)) = progress.step {
                self.bar.println(format!("step {number}: {rate:.0} messages/s"));
            }
        }
        if self.rows.is_multiple_of(ROWS_PER_HEADING) {
            self.bar.println(heading());
        }
        self.rows += 1;
        self.bar.println(row(progress.window));
        self.bar.set_length(progress.total.as_secs().max(1));
        self.bar.set_position((progress.window.at_s as u64).min(progress.total.as_secs()));
        self.bar.set_message(progress.phase);
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn heading() -> String {
    format!(
        "{:>4} {:>9} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8} {:>5} {:>6}",
        "s", "offered/s", "acked/s", "MiB/s", "p50 ms", "p99 ms", "p99.9 ms", "lag msgs", "lag s", "errors"
    )
}

fn row(window: &Window) -> String {
    let per_s = |count: u64| count as f64 / window.seconds;
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let ms =
        |of: fn(Quantiles) -> u64| text(window.produce.map(|latency| format!("{:.2}", of(latency) as f64 / 1000.0)));
    format!(
        "{:>4.0} {:>9.0} {:>8.0} {:>6.1} {:>8} {:>8} {:>8} {:>8} {:>5} {:>6}",
        window.at_s,
        per_s(window.offered.messages),
        per_s(window.acked.messages),
        per_s(window.acked.bytes) / f64::from(1 << 20),
        ms(|latency| latency.p50_us),
        ms(|latency| latency.p99_us),
        ms(|latency| latency.p999_us),
        text(window.lag.map(|lag| lag.messages.to_string())),
        text(window.lag.map(|lag| format!("{:.1}", lag.seconds))),
        window.errors
    )
}

#[cfg(test)]
mod tests {
    use loadgen::outcome::{Count, LagSeen};

    use super::*;

    #[test]
    fn a_row_stands_under_its_heading() {
        let window = Window {
            at_s: 3.0,
            seconds: 1.0,
            offered: Count { messages: 10_000, bytes: 10_485_760 },
            acked: Count { messages: 9_990, bytes: 10_485_760 },
            produce: Some(Quantiles { p50_us: 1_500, p99_us: 9_000, p999_us: 20_000, max_us: 20_000 }),
            lag: Some(LagSeen { messages: 42, seconds: 0.25 }),
            ..Window::default()
        };
        let (heading, row) = (heading(), row(&window));
        assert_eq!((heading.len(), row.len()), (79, 79));
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells, ["3", "10000", "9990", "10.0", "1.50", "9.00", "20.00", "42", "0.2", "0"]);
        let nothing = self::row(&Window { seconds: 1.0, ..Window::default() });
        assert_eq!(nothing.len(), row.len());
        assert_eq!(nothing.split_whitespace().skip(4).collect::<Vec<_>>(), ["-", "-", "-", "-", "-", "0"]);
    }
}
