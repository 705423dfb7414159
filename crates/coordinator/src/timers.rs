//! The deadlines of one coordinator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What falls due.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// A member has been silent for its session timeout.
    Heartbeat {
        /// Its group.
        group: Arc<str>,
        /// Its id.
        member: Arc<str>,
    },
    /// A group's wait for members to join is over.
    Join(Arc<str>),
    /// A group's wait for members to ask for their part is over.
    Sync(Arc<str>),
    /// Old offsets and empty groups are to be looked for.
    Cleanup,
}

/// Each timer has at most one deadline; setting it anew replaces it.
#[derive(Default, Debug)]
pub struct Timers {
    deadlines: BTreeMap<Timer, u64>,
    queue: BTreeSet<(u64, Timer)>,
}

impl Timers {
    pub fn set(&mut self, timer: Timer, deadline_ns: u64) {
        self.cancel(&timer);
        self.queue.insert((deadline_ns, timer.clone()));
        self.deadlines.insert(timer, deadline_ns);
    }

    pub fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, deadline_ns)) = self.deadlines.remove_entry(timer) {
            self.queue.remove(&(deadline_ns, timer));
        }
    }

    /// The earliest timer that is due.
    pub fn pop_due(&mut self, now_ns: u64) -> Option<Timer> {
        if now_ns < self.next_deadline_ns()? {
            return None;
        }
        let (_, timer) = self.queue.pop_first()?;
        self.deadlines.remove(&timer);
        Some(timer)
    }

    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.queue.first().map(|(deadline_ns, _)| *deadline_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_set_anew_replaces_its_deadline() {
        let mut timers = Timers::default();
        timers.set(Timer::Cleanup, 5);
        timers.set(Timer::Cleanup, 9);
        timers.set(Timer::Join("g".into()), 7);
        assert_eq!(timers.pop_due(6), None);
        assert_eq!(timers.pop_due(9), Some(Timer::Join("g".into())));
        timers.cancel(&Timer::Cleanup);
        assert_eq!((timers.pop_due(99), timers.next_deadline_ns()), (None, None));
    }
}
