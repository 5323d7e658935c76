//! A quantile of Student's t, and numbers by chance that are the same every time.

/// The 0.9 quantile of Student's t, from 1 to 30 degrees of freedom (any table of the distribution).
const STUDENT_90: [f64; 30] = [
    3.0777, 1.8856, 1.6377, 1.5332, 1.4759, 1.4398, 1.4149, 1.3968, 1.3830, 1.3722, 1.3634, 1.3562, 1.3502,
    1.3450, 1.3406, 1.3368, 1.3334, 1.3304, 1.3277, 1.3253, 1.3232, 1.3212, 1.3195, 1.3178, 1.3163, 1.3150,
    1.3137, 1.3125, 1.3114, 1.3104,
];

/// Returns the factor of a spread within which four of five lie, two-sided; beyond 30 degrees that of 30.
pub(super) fn student_90(freedom: u8) -> f64 {
    let at = usize::from(freedom).clamp(1, STUDENT_90.len()) - 1;
    STUDENT_90.get(at).copied().unwrap_or(1.3104)
}

/// Numbers by chance from a seed: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014). Written here, because no crate promises the same numbers in its next version.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns one of `count` places; 0 where there are none.
    pub(super) fn place(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        // The upper half of the product: without the bias of a remainder that anyone would notice.
        let scaled = (u128::from(self.next()) * u128::from(count)) >> 64;
        usize::try_from(scaled).unwrap_or(0)
    }

    /// Returns a number from 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        let top = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        f64::from(top) / f64::from(u32::MAX)
    }
}

/// Returns the value at which half of the weight is reached; zero without any.
pub(super) fn weighted_median(values: &mut [(f64, f64)]) -> f64 {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    // A hair less than half: equal weights add up to a half that rounding must not miss.
    let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0 * (1.0 - 1e-9);
    let mut passed = 0.0;
    for (value, weight) in values.iter() {
        passed += weight;
        if passed >= half {
            return *value;
        }
    }
    values.last().map_or(0.0, |(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_the_published_sequence() {
        let mut chance = Chance::new(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| chance.next()).collect();
        assert_eq!(drawn, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn places_and_shares_lie_within_bounds() {
        let mut chance = Chance::new(7);
        let mut counts = [0; 5];
        for _ in 0..5_000 {
            counts[chance.place(5)] += 1;
            assert!((0.0..=1.0).contains(&chance.share()));
        }
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
        assert_eq!(chance.place(0), 0);
    }

    #[test]
    fn quantiles_fall_towards_that_of_the_normal_distribution() {
        let all: Vec<f64> = (1..=30).map(student_90).collect();
        assert!(all.windows(2).all(|pair| pair[0] > pair[1]), "{all:?}");
        assert_eq!([student_90(0), student_90(200)], [3.0777, 1.3104]);
    }

    #[test]
    fn a_median_goes_by_weight() {
        assert_eq!(weighted_median(&mut [(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)]), 2.0);
        assert_eq!(weighted_median(&mut [(3.0, 5.0), (1.0, 1.0), (2.0, 1.0)]), 3.0);
        assert_eq!(weighted_median(&mut []), 0.0);
    }
}
