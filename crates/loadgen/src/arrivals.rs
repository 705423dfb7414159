//! When messages are due, and which keys they have. Both follow from the seed alone, never from what the broker does.

use std::sync::Arc;

use crate::clock::SECOND_NS;
use crate::workload::{Arrivals, Keys};

/// See [`Schedule::due_ns_after`].
const LOOK_AHEAD: usize = 64;

/// The schedule of one producer: uniform, the i-th message is due at `start + (i + shift) / rate`; Poisson, the gaps are
/// exponential with mean `1 / rate`.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    start_ns: u64,
    interval_ns: f64,
    arrivals: Arrivals,
    /// Since the start, in intervals.
    at: f64,
    index: u64,
    shift: f64,
    rng: fastrand::Rng,
}

impl Schedule {
    /// `shift`, 0 to 1, moves a uniform schedule by a share of its interval, so that producers take turns.
    pub(crate) fn new(start_ns: u64, per_s: f64, arrivals: Arrivals, shift: f64, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let at = if arrivals == Arrivals::Poisson { gap(&mut rng) } else { shift };
        Self { start_ns, interval_ns: SECOND_NS as f64 / per_s, arrivals, at, index: 0, shift, rng }
    }

    /// When the next message is due.
    pub(crate) fn due_ns(&self) -> u64 {
        self.start_ns + (self.at * self.interval_ns) as u64
    }

    /// When the `count`-th message after the next is due, or one not so far away: of a Poisson schedule not more than
    /// [`LOOK_AHEAD`] are looked at.
    pub(crate) fn due_ns_after(&self, count: usize) -> u64 {
        let at = match self.arrivals {
            Arrivals::Uniform => self.at + count as f64,
            Arrivals::Poisson => {
                let mut rng = self.rng.clone();
                self.at + (0..count.min(LOOK_AHEAD)).map(|_| gap(&mut rng)).sum::<f64>()
            }
        };
        self.start_ns + (at * self.interval_ns) as u64
    }

    /// Goes on to the message after it.
    pub(crate) fn advance(&mut self) {
        self.index += 1;
        match self.arrivals {
            // Counted, not added up: a million additions would drift.
            Arrivals::Uniform => self.at = self.index as f64 + self.shift,
            Arrivals::Poisson => self.at += gap(&mut self.rng),
        }
    }
}

fn gap(rng: &mut fastrand::Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// The keys of a workload: Zipf's shares are computed once for all producers.
#[derive(Clone, Debug)]
pub(crate) struct KeySource {
    keys: Keys,
    /// Zipf: the share of all keys up to each.
    cumulative: Arc<[f64]>,
}

impl KeySource {
    pub(crate) fn new(keys: Keys) -> Self {
        let mut cumulative = Vec::new();
        if let Keys::Zipf { count, exponent } = keys {
            let mut sum = 0.0;
            cumulative.extend((1..=count).map(|key| {
                sum += f64::from(key).powf(-exponent);
                sum
            }));
            cumulative.iter_mut().for_each(|share| *share /= sum);
        }
        Self { keys, cumulative: cumulative.into() }
    }

    /// The key of a producer's `index`-th message; `None` without keys.
    pub(crate) fn key(&self, index: u64, rng: &mut fastrand::Rng) -> Option<u32> {
        match self.keys {
            Keys::None => None,
            Keys::RoundRobin { count } => Some((index % u64::from(count)) as u32),
            Keys::Random { count } => Some(rng.u32(..count)),
            Keys::Zipf { count, .. } => {
                let share = rng.f64();
                Some((self.cumulative.partition_point(|up_to| *up_to < share) as u32).min(count - 1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dues(arrivals: Arrivals, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(1_000, 1_000.0, arrivals, 0.25, 7);
        let next = |_| {
            let due = schedule.due_ns();
            schedule.advance();
            due
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn uniform_arrivals_do_not_drift() {
        let dues = dues(Arrivals::Uniform, 1_000_001);
        assert_eq!(dues[..2], [251_000, 1_251_000]);
        assert_eq!(dues[1_000_000], 1_000_000 * 1_000_000 + 251_000);
    }

    #[test]
    fn what_is_due_later_is_known_before_it_is_due() {
        for arrivals in [Arrivals::Uniform, Arrivals::Poisson] {
            let dues = dues(arrivals, LOOK_AHEAD + 1);
            let schedule = Schedule::new(1_000, 1_000.0, arrivals, 0.25, 7);
            for (count, due_ns) in dues.iter().enumerate() {
                assert!(schedule.due_ns_after(count).abs_diff(*due_ns) <= 1, "{arrivals:?} {count}");
            }
        }
        let poisson = Schedule::new(0, 1_000.0, Arrivals::Poisson, 0.0, 7);
        assert_eq!(poisson.due_ns_after(1_000_000), poisson.due_ns_after(LOOK_AHEAD));
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_and_repeat() {
        let first = dues(Arrivals::Poisson, 100_000);
        assert_eq!(first, dues(Arrivals::Poisson, 100_000));
        let gaps: Vec<f64> = first.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Of an exponential distribution mean and deviation are alike.
        assert!((0.98..1.02).contains(&mean), "{mean}");
        assert!((0.97..1.03).contains(&variance.sqrt()), "{variance}");
    }

    #[test]
    fn keys_follow_their_law() {
        let mut rng = fastrand::Rng::with_seed(3);
        let round: Vec<_> = {
            let source = KeySource::new(Keys::RoundRobin { count: 3 });
            (0..5).map(|index| source.key(index, &mut rng)).collect()
        };
        assert_eq!(round, [0, 1, 2, 0, 1].map(Some));
        let source = KeySource::new(Keys::Zipf { count: 1000, exponent: 1.0 });
        let mut counts = vec![0_u32; 1000];
        for index in 0..100_000 {
            counts[source.key(index, &mut rng).expect("a key") as usize] += 1;
        }
        // Harmonic number of 1000 is 7.485: key 0 has 13.4 % of all, key 1 half of that.
        assert!((12_900..13_800).contains(&counts[0]), "{}", counts[0]);
        assert!((6_300..7_100).contains(&counts[1]), "{}", counts[1]);
        assert_eq!(KeySource::new(Keys::None).key(0, &mut rng), None);
    }
}
