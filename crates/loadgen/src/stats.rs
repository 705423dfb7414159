//! Whether two sets of runs differ, and by how much.
//!
//! Runs of a broker are few, skewed and full of outliers, so nothing here assumes a normal distribution: the test is
//! Mann-Whitney's on ranks, the effect is the ratio of medians with a bootstrap interval, beside the chance that a run of
//! one side exceeds a run of the other (Vargha and Delaney's A). Everything is reproducible: the bootstrap draws from a
//! fixed seed.

use serde::{Deserialize, Serialize};

/// Runs of each side below which no verdict is given: with fewer, no order of the ranks reaches 5 % with room to spare.
pub const RUNS_MIN: usize = 5;

/// The largest p that still counts as a difference.
pub const P_MAX: f64 = 0.05;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;

/// The largest number of runs of a side whose ranks are counted out exactly.
const EXACT_RUNS_MAX: usize = 25;

/// What a comparison of two sets of values comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// One side has fewer than [`RUNS_MIN`] runs.
    TooFewRuns,
    /// The ranks would come out like this by chance, or the interval holds 1.
    NoDifference,
    /// A's values are the larger ones.
    ALarger,
    /// B's values are the larger ones.
    BLarger,
}

/// The comparison of two sets of values.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Values of A.
    pub a: Sample,
    /// Values of B.
    pub b: Sample,
    /// Median of B divided by median of A; absent where A's median is 0.
    pub ratio: Option<f64>,
    /// 95 % bootstrap interval of that ratio; absent with too few runs.
    pub ratio_low: Option<f64>,
    /// Upper end of the same interval.
    pub ratio_high: Option<f64>,
    /// Mann-Whitney's U of A: pairs in which A is the larger, ties as halves. Absent with too few runs.
    pub u: Option<f64>,
    /// Two-sided p of that U.
    pub p: Option<f64>,
    /// The chance that a value of B exceeds one of A, ties as halves: 0.5 is no effect.
    pub effect: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
}

/// Values of one side, in the order of its runs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// One value a run.
    pub values: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Sample {
    /// `None` without values, or with one that is not a number.
    #[must_use]
    pub fn new(values: &[f64]) -> Option<Self> {
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            values: values.to_vec(),
            median: median_of_sorted(&sorted)?,
            min: *sorted.first()?,
            max: *sorted.last()?,
        })
    }

    /// Half of the range over the median, in percent: how far the runs lie apart.
    #[must_use]
    pub fn spread_percent(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.max - self.min) / 2.0 / self.median * 100.0 }
    }
}

/// Compares two sets of runs. `None` when a side has no values.
#[must_use]
pub fn compare(a: &[f64], b: &[f64]) -> Option<Comparison> {
    let (sample_a, sample_b) = (Sample::new(a)?, Sample::new(b)?);
    let ratio = (sample_a.median != 0.0).then(|| sample_b.median / sample_a.median);
    let mut comparison = Comparison {
        a: sample_a,
        b: sample_b,
        ratio,
        ratio_low: None,
        ratio_high: None,
        u: None,
        p: None,
        effect: None,
        verdict: Verdict::TooFewRuns,
    };
    if a.len() < RUNS_MIN || b.len() < RUNS_MIN {
        return Some(comparison);
    }
    let (u, p) = mann_whitney(a, b);
    comparison.u = Some(u);
    comparison.p = Some(p);
    comparison.effect = Some(1.0 - u / (a.len() * b.len()) as f64);
    let interval = bootstrap_ratio(a, b);
    if let Some((low, high)) = interval {
        comparison.ratio_low = Some(low);
        comparison.ratio_high = Some(high);
    }
    let differs = p < P_MAX && interval.is_none_or(|(low, high)| high < 1.0 || low > 1.0);
    comparison.verdict = match (differs, comparison.b.median.total_cmp(&comparison.a.median)) {
        (true, std::cmp::Ordering::Greater) => Verdict::BLarger,
        (true, std::cmp::Ordering::Less) => Verdict::ALarger,
        _ => Verdict::NoDifference,
    };
    Some(comparison)
}

/// Median of a slice in any order.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median_of_sorted(&sorted)
}

fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// U of `a` and its two-sided p: counted exactly where no value occurs twice and the sides are small, else by the normal
/// approximation with corrections for ties and continuity.
fn mann_whitney(a: &[f64], b: &[f64]) -> (f64, f64) {
    let mut u = 0.0_f64;
    let mut tied = false;
    for x in a {
        for y in b {
            if x > y {
                u += 1.0;
            } else if x == y {
                u += 0.5;
                tied = true;
            }
        }
    }
    let pairs = (a.len() * b.len()) as f64;
    if !tied && a.len() <= EXACT_RUNS_MAX && b.len() <= EXACT_RUNS_MAX {
        let counts = u_counts(a.len(), b.len());
        let total: f64 = counts.iter().sum();
        let smaller = u.min(pairs - u) as usize;
        let tail: f64 = counts[..=smaller].iter().sum();
        return (u, (2.0 * tail / total).min(1.0));
    }
    let all = (a.len() + b.len()) as f64;
    let mut together: Vec<f64> = a.iter().chain(b).copied().collect();
    together.sort_by(f64::total_cmp);
    let ties: f64 = together.chunk_by(|x, y| x == y).map(|same| (same.len() as f64).powi(3) - same.len() as f64).sum();
    let variance = pairs / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        // Every value is the same.
        return (u, 1.0);
    }
    let z = ((u - pairs / 2.0).abs() - 0.5).max(0.0) / variance.sqrt();
    (u, libm::erfc(z / std::f64::consts::SQRT_2))
}

/// How many orders of `n` and `m` distinct values give each U: the coefficients of the Gaussian binomial, built up one
/// value at a time.
fn u_counts(n: usize, m: usize) -> Vec<f64> {
    // rows[j] holds the counts for (i, j); rows of i - 1 become rows of i in place, as
    // counts(i, j, u) = counts(i - 1, j, u - j) + counts(i, j - 1, u).
    let mut rows = vec![vec![1.0]; m + 1];
    for i in 1..=n {
        rows[0] = vec![1.0];
        for j in 1..=m {
            let mut counts = vec![0.0; i * j + 1];
            for (u, count) in rows[j].iter().enumerate() {
                counts[u + j] += count;
            }
            for (u, count) in rows[j - 1].iter().enumerate() {
                counts[u] += count;
            }
            rows[j] = counts;
        }
    }
    rows.swap_remove(m)
}

/// 95 % percentile interval of median(b) / median(a) over resampled runs. `None` when a resampled median of A is 0.
fn bootstrap_ratio(a: &[f64], b: &[f64]) -> Option<(f64, f64)> {
    let mut random = SplitMix(0x5EED);
    let mut ratios = Vec::with_capacity(RESAMPLES);
    let (mut drawn_a, mut drawn_b) = (vec![0.0; a.len()], vec![0.0; b.len()]);
    for _ in 0..RESAMPLES {
        random.resample(a, &mut drawn_a);
        random.resample(b, &mut drawn_b);
        let ratio = median_of_sorted(&drawn_b)? / median_of_sorted(&drawn_a)?;
        if !ratio.is_finite() {
            return None;
        }
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    Some((ratios[RESAMPLES * 25 / 1000], ratios[RESAMPLES * 975 / 1000 - 1]))
}

/// SplitMix64: enough for resampling, and the same on every machine.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Draws with replacement and sorts.
    fn resample(&mut self, from: &[f64], to: &mut [f64]) {
        for slot in to.iter_mut() {
            *slot = from[((u128::from(self.next()) * from.len() as u128) >> 64) as usize];
        }
        to.sort_by(f64::total_cmp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-5, "{found}, expected {expected}");
    }

    /// Worked by hand; the exact ones from the table of U for n = m = 5, of 252 orders.
    #[test]
    fn u_and_p_equal_hand_computed_values() {
        let table: &[(&[f64], &[f64], f64, f64)] = &[
            // Nothing of A exceeds anything of B: one order of 252 on each side.
            (&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0], 0.0, 2.0 / 252.0),
            (&[6.0, 7.0, 8.0, 9.0, 10.0], &[1.0, 2.0, 3.0, 4.0, 5.0], 25.0, 2.0 / 252.0),
            // Alternating: U = 0+1+2+3+4, and 87 orders have U <= 10.
            (&[1.0, 3.0, 5.0, 7.0, 9.0], &[2.0, 4.0, 6.0, 8.0, 10.0], 10.0, 174.0 / 252.0),
            // One exchange: U = 1, two orders have U <= 1.
            (&[1.0, 2.0, 3.0, 4.0, 6.0], &[5.0, 7.0, 8.0, 9.0, 10.0], 1.0, 4.0 / 252.0),
            // Unequal sides: C(8, 3) = 56 orders, U = 2, four orders have U <= 2 (0, 1, and two ways to 2).
            (&[1.0, 2.0, 5.0], &[3.0, 4.0, 6.0, 7.0, 8.0], 2.0, 8.0 / 56.0),
            // Ties: U = 3, variance 25/12 * (11 - 60/90), z = 9 / 4.63980.
            (&[1.0, 1.0, 2.0, 2.0, 3.0], &[2.0, 3.0, 3.0, 4.0, 4.0], 3.0, 0.052_41),
            // All the same.
            (&[4.0; 5], &[4.0; 5], 12.5, 1.0),
        ];
        for (a, b, u, p) in table {
            let (found_u, found_p) = mann_whitney(a, b);
            close(found_u, *u);
            close(found_p, *p);
        }
    }

    #[test]
    fn orders_are_counted_out_completely() {
        assert_eq!(u_counts(2, 2), [1.0, 1.0, 2.0, 1.0, 1.0]);
        let counts = u_counts(5, 5);
        assert_eq!(counts[..6], [1.0, 1.0, 2.0, 3.0, 5.0, 7.0]);
        assert_eq!(counts.len(), 26);
        close(counts.iter().sum(), 252.0);
    }

    #[test]
    fn fewer_than_five_runs_give_a_ratio_and_no_verdict() {
        let comparison = compare(&[10.0, 10.0, 10.0, 10.0], &[20.0, 20.0, 20.0, 20.0, 20.0]).expect("values");
        assert_eq!(comparison.verdict, Verdict::TooFewRuns);
        assert_eq!(comparison.ratio, Some(2.0));
        assert_eq!((comparison.p, comparison.ratio_low, comparison.effect), (None, None, None));
    }

    #[test]
    fn a_clear_difference_is_seen_and_an_unclear_one_is_not() {
        let clear = compare(&[10.0, 11.0, 10.5, 9.5, 10.2], &[20.0, 22.0, 21.0, 19.0, 20.5]).expect("values");
        assert_eq!(clear.verdict, Verdict::BLarger);
        close(clear.effect.expect("effect"), 1.0);
        let (low, high) = (clear.ratio_low.expect("low"), clear.ratio_high.expect("high"));
        let ratio = clear.ratio.expect("ratio");
        assert!(1.7 < low && low <= ratio && ratio <= high && high < 2.4, "{low} {ratio} {high}");
        let turned = compare(&clear.b.values, &clear.a.values).expect("values");
        assert_eq!(turned.verdict, Verdict::ALarger);
        let unclear = compare(&[10.0, 14.0, 9.0, 13.0, 11.0], &[11.5, 9.5, 13.5, 10.5, 12.5]).expect("values");
        assert_eq!(unclear.verdict, Verdict::NoDifference);
    }

    #[test]
    fn the_bootstrap_gives_the_same_interval_every_time() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 4.0, 6.0, 8.0, 10.0]);
        let first = bootstrap_ratio(&a, &b).expect("interval");
        assert_eq!(Some(first), bootstrap_ratio(&a, &b));
        // Constant sides have one ratio only.
        assert_eq!(bootstrap_ratio(&[2.0; 5], &[3.0; 5]), Some((1.5, 1.5)));
    }

    #[test]
    fn medians_and_spread() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        close(Sample::new(&[8.0, 10.0, 12.0]).expect("values").spread_percent(), 20.0);
        assert!(Sample::new(&[1.0, f64::NAN]).is_none());
        assert!(compare(&[], &[1.0]).is_none());
    }
}
