//! The last lines of this process's log, kept for `/debug/bundle`: whoever sends a bundle need not look for the log file,
//! and whoever reads it sees what the node said before.
//!
//! Also how many lines never reached whoever reads the log. One for the process, as its log is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use types::limits::{LOG_LINE_KEPT_BYTES_MAX, LOG_LINES_KEPT_MAX};

static LINES: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

fn lines() -> MutexGuard<'static, VecDeque<String>> {
    // Lines are whole whatever happened to whoever wrote the last one.
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what was written to the log: a line, or several at once.
pub fn note(text: &str) {
    let mut kept = lines();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if kept.len() == LOG_LINES_KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(plain(line));
    }
}

static LOST: AtomicU64 = AtomicU64::new(0);

/// Counts a line that could not be written.
pub fn count_lost() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

/// How many lines could not be written so far.
#[must_use]
pub fn lines_lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// What is kept, oldest first.
#[must_use]
pub fn recent() -> Vec<String> {
    lines().iter().cloned().collect()
}

/// The line without a terminal's colours, cut to its bound.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            // | ESC [ 3 2 m |: up to the letter that ends it.
            let _ = chars.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else if out.len() + char.len_utf8() <= LOG_LINE_KEPT_BYTES_MAX {
            out.push(char);
        } else {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_without_colours_and_no_more_than_the_bound() {
        note("first\n\n\u{1b}[2m2026\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m second");
        let kept = recent();
        assert_eq!(kept[kept.len() - 2..], ["first", "2026  INFO second"]);
        for number in 0..LOG_LINES_KEPT_MAX + 5 {
            note(&format!("line {number}"));
        }
        note(&"é".repeat(LOG_LINE_KEPT_BYTES_MAX));
        let kept = recent();
        assert_eq!(kept.len(), LOG_LINES_KEPT_MAX);
        assert_eq!(kept[0], "line 6");
        assert_eq!(kept[kept.len() - 1].len(), LOG_LINE_KEPT_BYTES_MAX);
    }
}
