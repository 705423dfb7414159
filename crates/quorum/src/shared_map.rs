//! An ordered map whose clones share what they do not change: the image hands out a new version after every commit, and
//! a version may differ from the last in one entry of ten thousand.

use std::borrow::Borrow;
use std::sync::Arc;

/// Entries of one chunk. A change copies one chunk and the list of chunks: with 64, a map of 10,000 entries copies
/// about 64 entries and 300 pointers.
const CHUNK_ENTRIES_MAX: usize = 64;

/// Sorted entries, cut into chunks of 1 to 64:
///
/// ```text
///   chunks: Arc<[ Arc<[a b c]>, Arc<[d e]>, Arc<[f g h i]> ]>     every key of a chunk < every key of the next
/// ```
///
/// Cloning is one reference count. Looking up is two binary searches. No chunk is ever empty.
#[derive(Debug)]
pub struct SharedMap<K, V> {
    chunks: Arc<Vec<Chunk<K, V>>>,
    len: usize,
}

type Chunk<K, V> = Arc<Vec<(K, V)>>;

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), len: self.len }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Arc::new(Vec::new()), len: 0 }
    }
}

impl<K: Ord + Clone + PartialEq, V: Clone + PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `key`.
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let chunk = self.chunks.get(self.chunk_of(key)?)?;
        let at = chunk.binary_search_by(|(candidate, _)| candidate.borrow().cmp(key)).ok()?;
        Some(&chunk[at].1)
    }

    /// Every entry, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().map(|(key, value)| (key, value)))
    }

    /// The entries from `key` on (inclusive), by key.
    pub fn iter_from<Q>(&self, key: &Q) -> impl Iterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let first = self.chunk_of(key).unwrap_or(0);
        let skipped =
            self.chunks.get(first).map_or(0, |chunk| chunk.partition_point(|(candidate, _)| candidate.borrow() < key));
        let chunks = self.chunks.get(first..).unwrap_or_default();
        chunks.iter().flat_map(|chunk| chunk.iter()).skip(skipped).map(|(key, value)| (key, value))
    }

    /// Puts `value` at `key`; what was there comes back.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return None;
        }
        let index = chunks.partition_point(|chunk| chunk[0].0 <= key).saturating_sub(1);
        let chunk = Arc::make_mut(&mut chunks[index]);
        match chunk.binary_search_by(|(candidate, _)| candidate.cmp(&key)) {
            Ok(at) => Some(std::mem::replace(&mut chunk[at].1, value)),
            Err(at) => {
                chunk.insert(at, (key, value));
                if CHUNK_ENTRIES_MAX < chunk.len() {
                    let upper = chunk.split_off(chunk.len() / 2);
                    chunks.insert(index + 1, Arc::new(upper));
                }
                self.len += 1;
                None
            }
        }
    }

    /// Takes `key` out; what was there comes back.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let index = self.chunk_of(key)?;
        let at = self.chunks[index].binary_search_by(|(candidate, _)| candidate.borrow().cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[index]);
        let (_, value) = chunk.remove(at);
        if chunk.is_empty() {
            chunks.remove(index);
        }
        self.len -= 1;
        Some(value)
    }

    /// The chunk that holds `key` if any does; `None` when `key` lies before the first entry.
    fn chunk_of<Q>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.chunks.partition_point(|chunk| chunk[0].0.borrow() <= key).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_btree_map_and_old_versions_stay(
            steps in proptest::collection::vec((any::<bool>(), 0_u16..300, any::<u8>()), 0..600),
            from in 0_u16..310,
        ) {
            let mut map = SharedMap::default();
            let mut model = BTreeMap::new();
            let (mut old_map, mut old_model) = (map.clone(), model.clone());
            for (index, (put, key, value)) in steps.iter().enumerate() {
                if index == steps.len() / 2 {
                    (old_map, old_model) = (map.clone(), model.clone());
                }
                if *put {
                    prop_assert_eq!(map.insert(*key, *value), model.insert(*key, *value));
                } else {
                    prop_assert_eq!(map.remove(key), model.remove(key));
                }
                prop_assert_eq!(map.get(key), model.get(key));
                prop_assert_eq!(map.len(), model.len());
            }
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(map.iter_from(&from).eq(model.range(from..)));
            prop_assert!(old_map.iter().eq(old_model.iter()));
        }
    }
}
