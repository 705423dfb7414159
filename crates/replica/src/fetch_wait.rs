//! Fetches that wait for data.

use std::collections::BTreeSet;

use types::Offset;

/// The long polls of one partition: who is to be told when readers can see further. Lives on: the partition's home shard.
///
/// A fetch that found too few bytes watches each of its partitions, and is told at most once by each; told, it reads
/// again, and watches again if it still has too little. It keeps its own deadline. `W` names the fetch (its shard,
/// connection and request, for instance).
///
/// Bounded by the requests in flight times the partitions each names.
#[derive(Debug)]
pub struct FetchWaiters<W> {
    watching: BTreeSet<(Offset, W)>,
}

impl<W> Default for FetchWaiters<W> {
    fn default() -> Self {
        Self { watching: BTreeSet::new() }
    }
}

impl<W: Ord + Clone> FetchWaiters<W> {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `waiter` is to be told when readers see beyond `seen`, the visible end at which it found too little. An equal
    /// waiter at the same end gives way to it.
    pub fn watch(&mut self, seen: Offset, waiter: W) {
        self.watching.replace((seen, waiter));
    }

    /// `waiter` no longer cares: it was answered, or its connection is gone.
    pub fn unwatch(&mut self, seen: Offset, waiter: &W) {
        self.watching.remove(&(seen, waiter.clone()));
    }

    /// Readers see up to `visible_end` (the high watermark, or the last stable offset).
    pub fn on_visible_end(&mut self, visible_end: Offset, out: &mut Vec<W>) {
        while let Some((seen, _)) = self.watching.first() {
            if visible_end <= *seen {
                return;
            }
            out.extend(self.watching.pop_first().map(|(_, waiter)| waiter));
        }
    }

    /// Everyone is told: the partition moved, was deleted, failed, or its start moved.
    pub fn drain(&mut self, out: &mut Vec<W>) {
        out.extend(std::mem::take(&mut self.watching).into_iter().map(|(_, waiter)| waiter));
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.watching.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watching.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiter_is_told_once_when_more_is_visible() {
        let mut waiters = FetchWaiters::new();
        waiters.watch(Offset::new(5), 'a');
        waiters.watch(Offset::new(7), 'b');
        waiters.watch(Offset::new(5), 'c');
        waiters.unwatch(Offset::new(5), &'c');
        let mut told = Vec::new();
        waiters.on_visible_end(Offset::new(5), &mut told);
        assert_eq!(told, []);
        waiters.on_visible_end(Offset::new(7), &mut told);
        assert_eq!(told, ['a']);
        waiters.on_visible_end(Offset::new(7), &mut told);
        waiters.drain(&mut told);
        assert_eq!(told, ['a', 'b']);
        assert!(waiters.is_empty());
    }
}
