//! How far a long run is, with its rate and the time left, on stderr while that is a terminal of its own.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::units;

/// Shows nothing before a run has lasted so long: short ones need no bar.
const DELAY: Duration = Duration::from_millis(700);

/// Draws a second, at most.
const DRAWS_PER_S: u8 = 5;

/// A bar, or nothing where nobody would see it.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    began: std::time::Instant,
    shown: bool,
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Records,
    Bytes,
}

impl Progress {
    /// A bar towards `total`, or a counter without one. `visible`: nothing else writes to the terminal meanwhile.
    pub(crate) fn new(unit: Unit, total: Option<u64>, visible: bool) -> Self {
        let shown = visible && io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        bar.set_draw_target(ProgressDrawTarget::hidden());
        let template = match (unit, total.is_some()) {
            (Unit::Records, true) => {
                "{percent:>3} % [{bar:16}] {human_pos} of {human_len} records, {records_per_s}, {eta} left{msg}"
            }
            (Unit::Records, false) => "{spinner} {human_pos} records, {records_per_s}, {elapsed}{msg}",
            (Unit::Bytes, true) => {
                "{percent:>3} % [{bar:16}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left{msg}"
            }
            (Unit::Bytes, false) => "{spinner} {bytes}, {bytes_per_sec}, {elapsed}{msg}",
        };
        // The bar leaves room for the rest in 80 columns.
        let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{}/s", units::count(state.per_sec() as u64));
        };
        let style = ProgressStyle::with_template(template)
            .expect("a known template")
            .with_key("records_per_s", rate)
            .progress_chars("=> ");
        bar.set_style(style);
        Self { bar, began: std::time::Instant::now(), shown }
    }

    /// So much is done now.
    pub(crate) fn set(&mut self, position: u64, message: &str) {
        if !self.shown {
            return;
        }
        if self.bar.is_hidden() && DELAY <= self.began.elapsed() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_S));
        }
        self.bar.set_position(position);
        if !message.is_empty() {
            self.bar.set_message(message.to_owned());
        }
    }

    /// Says something on stderr above the bar.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| tell!("ringlog: {text}"));
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
