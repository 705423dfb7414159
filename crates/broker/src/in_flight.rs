//! Requests under way, by token: a table whose slots are reused, with a generation in each token, so that a late answer
//! finds nobody instead of a stranger.

use crate::mail::RequestToken;

/// A token's top bit is free for whoever keeps tokens among other numbers, as the shard's timers do.
const GENERATIONS: u32 = 1 << 31;

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// A table of `T` under way. Bounded by the requests in flight of the shard's connections.
pub(crate) struct InFlight<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> InFlight<T> {
    /// Enters a request.
    pub(crate) fn insert(&mut self, value: T) -> RequestToken {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        assert!(place.value.is_none());
        place.value = Some(value);
        RequestToken { slot, generation: place.generation }
    }

    /// The request, while it is under way.
    pub(crate) fn get_mut(&mut self, token: RequestToken) -> Option<&mut T> {
        let place = self.slots.get_mut(token.slot as usize)?;
        if place.generation == token.generation { place.value.as_mut() } else { None }
    }

    /// Takes the request out; its token is dead from now on.
    pub(crate) fn remove(&mut self, token: RequestToken) -> Option<T> {
        let place = self.slots.get_mut(token.slot as usize)?;
        if place.generation != token.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = (place.generation + 1) % GENERATIONS;
        self.free.push(token.slot);
        Some(value)
    }

    /// Every token under way.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = RequestToken> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, place)| place.value.is_some())
            .map(|(slot, place)| RequestToken { slot: slot as u32, generation: place.generation })
    }

    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_answer_finds_nobody() {
        let mut table = InFlight::default();
        let first = table.insert("first");
        assert_eq!(table.remove(first), Some("first"));
        let second = table.insert("second");
        assert_eq!(second.slot, first.slot);
        assert_eq!(table.get_mut(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get_mut(second), Some(&mut "second"));
        assert_eq!((table.len(), table.tokens().count()), (1, 1));
    }

    #[test]
    fn generation_never_reaches_the_top_bit() {
        let mut table = InFlight::default();
        table.slots.push(Slot { generation: GENERATIONS - 1, value: None });
        table.free.push(0);
        let last = table.insert("last");
        assert_eq!(table.remove(last), Some("last"));
        let next = table.insert("next");
        assert_eq!((next.generation, table.get_mut(last)), (0, None));
    }
}
