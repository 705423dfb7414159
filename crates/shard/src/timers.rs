//! A shard's timers: a token and a deadline each. One token has one deadline.

use std::collections::{BTreeSet, HashMap};

#[derive(Default)]
pub(crate) struct Timers {
    by_deadline: BTreeSet<(u64, u64)>,
    by_token: HashMap<u64, u64>,
}

impl Timers {
    /// Sets `token`'s deadline; an earlier setting of the same token is forgotten.
    pub(crate) fn set(&mut self, token: u64, deadline_ns: u64) {
        if let Some(old) = self.by_token.insert(token, deadline_ns) {
            self.by_deadline.remove(&(old, token));
        }
        self.by_deadline.insert((deadline_ns, token));
    }

    pub(crate) fn cancel(&mut self, token: u64) {
        if let Some(deadline_ns) = self.by_token.remove(&token) {
            self.by_deadline.remove(&(deadline_ns, token));
        }
    }

    pub(crate) fn next_deadline_ns(&self) -> Option<u64> {
        self.by_deadline.first().map(|&(deadline_ns, _)| deadline_ns)
    }

    /// Takes one timer whose deadline is not after `now_ns`, the earliest first.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<u64> {
        let &(deadline_ns, token) = self.by_deadline.first()?;
        if deadline_ns > now_ns {
            return None;
        }
        self.cancel(token);
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::Timers;

    #[test]
    fn timers_fire_in_order_of_deadline_and_once() {
        let mut timers = Timers::default();
        timers.set(1, 30);
        timers.set(2, 10);
        timers.set(3, 20);
        timers.set(4, 20);
        timers.cancel(4);
        timers.set(1, 5);
        assert_eq!(timers.next_deadline_ns(), Some(5));
        let fired: Vec<u64> = std::iter::from_fn(|| timers.take_due(25)).collect();
        assert_eq!(fired, [1, 2, 3]);
        assert_eq!(timers.next_deadline_ns(), None);
        timers.cancel(99);
    }
}
