//! Where the node's log lines go: to stderr (`log_queue`), and the last of them into the debug bundle; and how many may come
//! of one cause, so that a client that asks wrongly a thousand times a second does not fill the disk with it.
//!
//! A cause is the place in the code, together with the field `cause` where a line has one. Of each cause
//! [`LOG_LINES_PER_WINDOW_MAX`] lines pass in [`LOG_WINDOW_MS`]; the rest is counted, and [`tell_left_out`] says the count.
//! Lines of the levels debug and trace, which somebody asked for, all pass.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use broker::recent_log;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use types::limits::{LOG_CAUSES_MAX, LOG_LINES_PER_WINDOW_MAX, LOG_WINDOW_MS};

use crate::last_words;
use crate::log_queue::LogQueue;

/// How long the end waits for whoever reads the log.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(2);

/// The way to stderr, once [`start`] has made it.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// Takes log lines from now on, as lines for people or as one JSON object each, and bounds how long a panic waits until it
/// is told.
///
/// # Errors
/// When the system gives no thread or descriptor.
pub(crate) fn start(filter: EnvFilter, as_json: bool, colour: bool) -> io::Result<()> {
    // A descriptor of its own: the lock of the standard library's is for those who may wait.
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let queue = LogQueue::start(stderr)?;
    let queue = QUEUE.get_or_init(|| queue);
    last_words::bound(|wait_max| queue.flush(wait_max));
    let layer = tracing_subscriber::fmt::layer().with_writer(Lines(queue)).with_target(false);
    if as_json {
        tracing_subscriber::registry().with(filter).with(gated(layer.json().flatten_event(true))).init();
    } else {
        tracing_subscriber::registry().with(filter).with(gated(layer.with_ansi(colour))).init();
    }
    Ok(())
}

/// Waits until the lines so far are written; not for long, if nobody reads them.
pub(crate) fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH_WAIT_MAX);
    }
}

fn gated<S, L>(layer: L) -> Filtered<L, Gate, S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    layer.with_filter(Gate)
}

/// Says of every cause whose window is over how many of its lines were left out, and how many lines were lost. To be called
/// now and then.
pub(crate) fn tell_left_out() {
    tell(now_ms());
    tell_lost();
}

fn tell_lost() {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    // Not before there is room for the line that says it.
    if !QUEUE.get().is_some_and(LogQueue::is_idle) {
        return;
    }
    let lost = recent_log::lines_lost();
    let count = lost - TOLD.swap(lost, Ordering::Relaxed);
    if count > 0 {
        tracing::warn!(count, "lines of this log were lost, as nobody read it for a while");
    }
}

/// The same at the end, when no window will be waited for.
pub(crate) fn tell_all_left_out() {
    tell(now_ms() + LOG_WINDOW_MS);
}

fn tell(now_ms: u64) {
    let due = causes().take_left_out(now_ms);
    for (cause, count) in due {
        let Cause { line, cause, .. } = cause;
        let within_s = LOG_WINDOW_MS / 1000;
        tracing::warn!(line, cause, count, within_s, "lines like this one were left out of the log");
    }
}

/// Queues for stderr what it also notes for the debug bundle.
#[derive(Clone, Copy)]
struct Lines(&'static LogQueue);

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        recent_log::note(&String::from_utf8_lossy(bytes));
        self.0.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What lines are counted by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Cause {
    place: Identifier,
    cause: String,
    /// What the line says, to name it when its count is told.
    line: String,
}

/// How many lines of one cause came since `began_ms`.
struct Window {
    began_ms: u64,
    told: u32,
    left_out: u64,
}

#[derive(Default)]
struct Causes {
    windows: HashMap<Cause, Window>,
}

impl Causes {
    fn pass(&mut self, mut cause: Cause, now_ms: u64) -> bool {
        if self.windows.len() >= LOG_CAUSES_MAX && !self.windows.contains_key(&cause) {
            self.windows.retain(|_, window| window.left_out > 0 || now_ms < window.began_ms + LOG_WINDOW_MS);
            if self.windows.len() >= LOG_CAUSES_MAX {
                cause.cause.clear();
            }
        }
        let window = self.windows.entry(cause).or_insert(Window { began_ms: now_ms, told: 0, left_out: 0 });
        if window.left_out == 0 && window.began_ms + LOG_WINDOW_MS <= now_ms {
            *window = Window { began_ms: now_ms, told: 0, left_out: 0 };
        }
        if window.told < LOG_LINES_PER_WINDOW_MAX {
            window.told += 1;
            return true;
        }
        window.left_out += 1;
        false
    }

    fn take_left_out(&mut self, now_ms: u64) -> Vec<(Cause, u64)> {
        let mut due = Vec::new();
        for (cause, window) in &mut self.windows {
            if window.left_out > 0 && window.began_ms + LOG_WINDOW_MS <= now_ms {
                due.push((cause.clone(), window.left_out));
                *window = Window { began_ms: now_ms, told: 0, left_out: 0 };
            }
        }
        due
    }
}

static CAUSES: Mutex<Option<Causes>> = Mutex::new(None);

/// The causes of this process, behind their lock.
struct Locked(MutexGuard<'static, Option<Causes>>);

impl Locked {
    fn pass(&mut self, cause: Cause, now_ms: u64) -> bool {
        self.0.get_or_insert_default().pass(cause, now_ms)
    }

    fn take_left_out(&mut self, now_ms: u64) -> Vec<(Cause, u64)> {
        self.0.get_or_insert_default().take_left_out(now_ms)
    }
}

fn causes() -> Locked {
    // A count is right whatever happened to whoever counted last.
    Locked(CAUSES.lock().unwrap_or_else(PoisonError::into_inner))
}

fn now_ms() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// Lets a bounded number of lines of each cause through.
struct Gate;

impl<S> Filter<S> for Gate {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut cause = Cause { place: metadata.callsite(), cause: String::new(), line: String::new() };
        event.record(&mut cause);
        causes().pass(cause, now_ms())
    }
}

impl Visit for Cause {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "cause" => self.cause = format!("{value:?}"),
            "message" => self.line = format!("{value:?}"),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "cause" {
            value.clone_into(&mut self.cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(text: &str) -> Cause {
        let place = Identifier(&PLACE);
        Cause { place, cause: text.to_owned(), line: "refused".to_owned() }
    }

    struct Place;
    static PLACE: Place = Place;

    impl tracing::callsite::Callsite for Place {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}
        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("only its address is looked at")
        }
    }

    #[test]
    fn a_noisy_cause_is_cut_and_counted_and_hides_no_other() {
        let mut causes = Causes::default();
        let max = u64::from(LOG_LINES_PER_WINDOW_MAX);
        let passed = (0..max + 70).filter(|at| causes.pass(cause("A"), *at)).count() as u64;
        assert_eq!(passed, max);
        assert!(causes.pass(cause("B"), 100), "another cause has lines of its own");
        assert!(causes.take_left_out(LOG_WINDOW_MS - 1).is_empty(), "its window is not over");
        assert_eq!(causes.take_left_out(LOG_WINDOW_MS), [(cause("A"), 70)]);
        assert!(causes.take_left_out(2 * LOG_WINDOW_MS).is_empty(), "told once");
        assert!(causes.pass(cause("A"), LOG_WINDOW_MS), "a new window");
    }

    #[test]
    fn the_number_of_causes_is_bounded() {
        let mut causes = Causes::default();
        for number in 0..LOG_CAUSES_MAX * 2 {
            causes.pass(cause(&number.to_string()), 0);
        }
        assert!(causes.windows.len() <= LOG_CAUSES_MAX + 1, "{}", causes.windows.len());
        causes.pass(cause("later"), LOG_WINDOW_MS);
        assert!(causes.windows.len() <= LOG_CAUSES_MAX, "old windows make room");
    }
}
