//! How long a channel that failed is left alone.
//!
//! Exponential with jitter ("equal jitter", M. Brooker, Exponential Backoff And Jitter, 2015), so that what
//! failed together does not come back together; what the channel asks for itself counts more.

use tracer_core::time::Micros;

/// The pause after the first failure, before jitter.
const FIRST: Micros = Micros::from_secs(1);
/// The longest pause: a channel that is back is noticed within a minute.
const LONGEST: Micros = Micros::from_secs(60);
/// The longest pause that a channel may ask for.
const LONGEST_ASKED: Micros = Micros::from_secs(3_600);
/// Doublings after which the pause is the longest in any case.
const DOUBLINGS: u32 = 6;

/// Returns how long to pause after so many failures in a row, the last one included; `chance` is from 0 to 1.
pub(crate) fn pause(failures: u32, retry_after: Option<Micros>, chance: f64) -> Micros {
    let doubled = FIRST.get() << failures.saturating_sub(1).min(DOUBLINGS);
    let full = Micros::new(doubled.min(LONGEST.get()));
    let jittered = Micros::from_f64(full.as_f64() * (0.5 + 0.5 * chance.clamp(0.0, 1.0)));
    match retry_after {
        Some(asked) => asked.min(LONGEST_ASKED).max(FIRST),
        None => jittered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_vary_by_half() {
        let secs = |failures, chance| pause(failures, None, chance).as_secs_f64();
        let longest: Vec<f64> = (1..9).map(|failures| secs(failures, 1.0)).collect();
        assert_eq!(longest, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!((secs(1, 0.0), secs(u32::MAX, 0.0)), (0.5, 30.0));
    }

    #[test]
    fn what_the_channel_asks_for_is_what_it_gets_within_reason() {
        let asked = |secs| pause(5, Some(Micros::from_secs(secs)), 0.3).as_secs_f64();
        assert_eq!((asked(3), asked(0), asked(1_000_000)), (3.0, 1.0, 3_600.0));
    }
}
