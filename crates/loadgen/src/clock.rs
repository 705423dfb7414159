//! The monotonic clock, in nanoseconds: what schedules, stamps and latencies are in.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Now.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    now.tv_sec() as u64 * SECOND_NS + now.tv_nsec() as u64
}
