//! The two clocks, read together. Only hosts read them: everybody else is handed a [`Now`].

use types::{Now, Timestamp};

/// Reads both clocks. The monotonic half is `CLOCK_MONOTONIC` in nanoseconds, the same on every thread of the machine,
/// so a deadline may be sent to another shard.
#[must_use]
pub fn read() -> Now {
    let monotonic_ns = monotonic_ns();
    let wall = clock(libc::CLOCK_REALTIME);
    Now { monotonic_ns, wall: Timestamp::from_millis(wall.tv_sec * 1000 + wall.tv_nsec / 1_000_000) }
}

/// Reads the monotonic half alone, for who measures how long something took.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let monotonic = clock(libc::CLOCK_MONOTONIC);
    u64::try_from(monotonic.tv_sec).unwrap_or(0) * 1_000_000_000 + monotonic.tv_nsec as u64
}

fn clock(id: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live, writable timespec for the whole call; both clock ids exist on every Linux.
    let answer = unsafe { libc::clock_gettime(id, &raw mut time) };
    assert_eq!(answer, 0, "clock_gettime({id}) failed");
    time
}

#[cfg(test)]
mod tests {
    #[test]
    fn monotonic_clock_never_goes_back() {
        let earlier = super::read();
        let later = super::read();
        assert!(earlier.monotonic_ns <= later.monotonic_ns);
        assert!(earlier.wall.millis() > 1_600_000_000_000);
    }
}
