//! How sure a rate is.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::tally::Rate;

/// How often runs are drawn anew.
const DRAWS: usize = 2_000;

/// Returns the 95 % interval of a rate in percent, when the runs are drawn anew with replacement (the
/// percentile bootstrap of B. Efron, 1979, over clusters); none for fewer than two runs.
///
/// Steps of one run are slow together, so that an interval which takes them for independent would be
/// many times too narrow; runs are what was drawn.
pub(crate) fn over_runs(rates: &[Rate], seed: u64) -> Option<(f64, f64)> {
    if rates.len() < 2 {
        return None;
    }
    let mut random = StdRng::seed_from_u64(seed);
    let mut percents = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        let mut sum = Rate::default();
        for _ in rates {
            let drawn = rates.get(random.random_range(0..rates.len())).copied().unwrap_or_default();
            sum = Rate { hits: sum.hits + drawn.hits, of: sum.of + drawn.of };
        }
        percents.extend(sum.percent());
    }
    percents.sort_unstable_by(f64::total_cmp);
    let at = |per_mille: usize| percents.get((percents.len() * per_mille / 1_000).min(percents.len() - 1));
    Some((*at(25)?, *at(975)?))
}

/// Returns the 95 % interval of a rate in percent, taking what was counted for independent (E. B. Wilson,
/// *Probable inference, the law of succession, and statistical inference*, 1927); none of nothing.
pub(crate) fn wilson(rate: Rate) -> Option<(f64, f64)> {
    const Z: f64 = 1.959_964;
    let (n, share) = (rate.of as f64, rate.percent()? / 100.0);
    let centre = share + Z * Z / (2.0 * n);
    let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scaled = |bound: f64| 100.0 * bound / (1.0 + Z * Z / n);
    Some((scaled(centre - reach).max(0.0), scaled(centre + reach).min(100.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_in_every_run_is_sure() {
        assert_eq!(over_runs(&[Rate { hits: 1, of: 4 }; 5], 1), Some((25.0, 25.0)));
    }

    #[test]
    fn a_rate_made_by_one_run_of_many_may_be_none_at_all() {
        let mut runs = vec![Rate { hits: 0, of: 100 }; 9];
        runs.push(Rate { hits: 100, of: 100 });
        let (low, high) = over_runs(&runs, 1).unwrap();
        assert!(low == 0.0 && (20.0..=40.0).contains(&high), "{low} to {high}");
        assert_eq!(over_runs(&runs, 1), Some((low, high)), "the same seed, the same interval");
    }

    #[test]
    fn one_run_says_nothing_of_others() {
        assert_eq!(over_runs(&[Rate { hits: 1, of: 4 }], 1), None);
    }

    #[test]
    fn the_interval_of_wilson_is_that_of_his_formula() {
        // 81 of 263: R. G. Newcombe, "Two-sided confidence intervals for the single proportion", 1998.
        let (low, high) = wilson(Rate { hits: 81, of: 263 }).unwrap();
        assert_eq!((format!("{low:.2}"), format!("{high:.2}")), ("25.53".into(), "36.62".into()));
        assert_eq!(
            wilson(Rate { hits: 0, of: 20 }).map(|(low, high)| (low, high.round())),
            Some((0.0, 16.0))
        );
        assert_eq!(wilson(Rate::default()), None);
    }
}
