//! Which sequence numbers were seen, in memory that grows with the gaps and not with the numbers.

/// Gaps that are kept apart; beyond them the oldest one is closed, and what was missing in it can no longer be told from
/// what was there.
const GAPS_MAX: usize = 100_000;

/// A set of numbers as disjoint ranges, rising: `[(0, 5), (7, 9)]` holds 0 to 4, 7 and 8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intervals {
    ranges: Vec<(u64, u64)>,
    /// Numbers missing from gaps that were closed.
    forgotten: u64,
}

impl Intervals {
    /// Adds a number; false if it was there.
    pub(crate) fn insert(&mut self, number: u64) -> bool {
        if let Some(last) = self.ranges.last_mut().filter(|last| last.1 == number) {
            last.1 += 1;
            return true;
        }
        self.insert_range(number, number + 1)
    }

    /// Adds the numbers from `start` to before `end`; false if the first of them was there.
    pub(crate) fn insert_range(&mut self, start: u64, end: u64) -> bool {
        assert!(start < end);
        // The first range that ends at or behind the start.
        let place = self.ranges.partition_point(|range| range.1 < start);
        let fresh = self.ranges.get(place).is_none_or(|range| start < range.0 || range.1 <= start);
        let (mut from, mut until, mut last) = (start, end, place);
        while let Some(range) = self.ranges.get(last).filter(|range| range.0 <= end) {
            from = from.min(range.0);
            until = until.max(range.1);
            last += 1;
        }
        self.ranges.splice(place..last, [(from, until)]);
        if GAPS_MAX < self.ranges.len() {
            let second = self.ranges.remove(1);
            self.forgotten += second.0 - self.ranges[0].1;
            self.ranges[0].1 = second.1;
        }
        fresh
    }

    /// The number after the largest.
    pub(crate) fn end(&self) -> u64 {
        self.ranges.last().map_or(0, |range| range.1)
    }

    /// Those of them below `end`.
    pub(crate) fn below(&self, end: u64) -> Self {
        let ranges = self.ranges.iter().filter(|range| range.0 < end).map(|range| (range.0, range.1.min(end)));
        Self { ranges: ranges.collect(), forgotten: self.forgotten }
    }

    /// These numbers and those of `other`.
    pub(crate) fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (start, end) in &other.ranges {
            both.insert_range(*start, *end);
        }
        both.forgotten += other.forgotten;
        both
    }

    /// How many of these numbers `other` lacks.
    pub(crate) fn missing_in(&self, other: &Self) -> u64 {
        let total: u64 = self.ranges.iter().map(|range| range.1 - range.0).sum();
        let (mut common, mut a, mut b) = (0, 0, 0);
        while let (Some(mine), Some(theirs)) = (self.ranges.get(a), other.ranges.get(b)) {
            common += mine.1.min(theirs.1).saturating_sub(mine.0.max(theirs.0));
            if mine.1 <= theirs.1 { a += 1 } else { b += 1 }
        }
        total - common + other.forgotten
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ranges_join_and_doubles_are_seen() {
        let mut set = Intervals::default();
        for number in [0, 1, 2, 5, 7, 6] {
            assert!(set.insert(number), "{number}");
        }
        assert_eq!(set.ranges, [(0, 3), (5, 8)]);
        assert!(!set.insert(1));
        assert!(!set.insert(7));
        assert!(set.insert_range(3, 5));
        assert_eq!(set.ranges, [(0, 8)]);
        assert_eq!(set.end(), 8);
        assert_eq!(set.below(3).ranges, [(0, 3)]);
    }

    #[test]
    fn agrees_with_a_plain_set() {
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..200 {
            let (mut a, mut b) = (Intervals::default(), Intervals::default());
            let (mut plain_a, mut plain_b) = (BTreeSet::new(), BTreeSet::new());
            for _ in 0..rng.u64(..60) {
                let (number, length) = (rng.u64(..50), rng.u64(1..4));
                assert_eq!(a.insert_range(number, number + length), !plain_a.contains(&number));
                plain_a.extend(number..number + length);
                let number = rng.u64(..50);
                assert_eq!(b.insert(number), plain_b.insert(number));
            }
            assert_eq!(a.missing_in(&b), plain_a.difference(&plain_b).count() as u64);
            assert_eq!(b.missing_in(&a), plain_b.difference(&plain_a).count() as u64);
            let both = a.with(&b);
            assert!(plain_a.union(&plain_b).all(|number| !both.clone().insert(*number)));
            assert_eq!(
                both.missing_in(&a) + a.missing_in(&Intervals::default()),
                plain_a.union(&plain_b).count() as u64
            );
            assert_eq!(a.end(), plain_a.last().map_or(0, |last| last + 1));
        }
    }

    #[test]
    fn memory_is_bounded_and_what_was_missing_stays_missing() {
        let mut seen = Intervals::default();
        let count = GAPS_MAX as u64 + 500;
        for number in 0..count {
            seen.insert(number * 2);
        }
        assert_eq!(seen.ranges.len(), GAPS_MAX);
        let mut acked = Intervals::default();
        acked.insert_range(0, count * 2 - 1);
        assert_eq!(acked.missing_in(&seen), count - 1);
    }
}
