//! Judging what still runs, and when to look at it again.
//!
//! A duration that grows is judged by the same limits as one that has ended; what is new is that the
//! moment at which it crosses the next one is known beforehand. Whoever waits for that moment judges
//! again when it has come, because the history may have changed meanwhile.
//!
//! Not here: what runs and who looks (`record::watch`).

use super::{Bottleneck, Comparison, Limits, Rule, Severity, StepPolicy, VerdictKind};
use crate::baseline::Reference;
use crate::features::Features;
use crate::limits;
use crate::time::Micros;

/// A length of time is judged when it exceeds its limit, strictly: a microsecond later.
const BEYOND: Micros = Micros::new(1);

/// What a length of time that still grows is judged by.
#[derive(Clone, Debug)]
pub struct Standard {
    kind: VerdictKind,
    reference: Option<Reference>,
    /// The limits of history; none while it is too short.
    limits: Option<Limits>,
    /// Above it everything is CRITICAL, history or not.
    fixed: Option<Micros>,
}

impl Standard {
    /// Returns what a running step is judged by: what it is compared with, and its timeout if it has one.
    #[must_use]
    pub fn of_step(policy: &StepPolicy, comparison: Option<&Comparison<'_>>) -> Self {
        Self {
            kind: VerdictKind::StuckStep,
            reference: comparison.map(|found| found.reference),
            limits: comparison.map(|found| found.limits),
            fixed: policy.timeout,
        }
    }

    /// Returns what the silence of an execution is judged by: a fixed time where one is set, whatever
    /// its history says, and otherwise how long whole executions of its workflow take.
    #[must_use]
    pub fn of_silence(fixed: Option<Micros>, rule: &dyn Rule, reference: Option<Reference>) -> Self {
        let by_history = || reference.as_ref().and_then(|reference| rule.limits(reference));
        let limits = if fixed.is_some() { None } else { by_history() };
        Self { kind: VerdictKind::StalledExecution, reference, limits, fixed }
    }

    /// Judges what has elapsed; none if it is normal, or there is nothing to judge by. Of steps,
    /// [`StepPolicy::judge_running`] says also what they were compared with.
    #[must_use]
    pub fn judge(&self, elapsed: Micros) -> Option<Bottleneck> {
        let by_history = self.limits.and_then(|limits| limits.severity(elapsed));
        let fixed = self.fixed.filter(|fixed| elapsed > *fixed).map(|_| Severity::Critical);
        let severity = by_history.max(fixed)?;
        Some(Bottleneck::in_flight(self.kind, severity, elapsed, self.reference.as_ref()))
    }

    /// Returns the elapsed time at which it is to be judged again, when `elapsed` has passed and
    /// `given` was said: when it crosses what is worse, or, where there is no history to say, after a
    /// while. None where nothing worse can be said.
    ///
    /// Beyond `elapsed`, provided that `given` is what [`Standard::judge`] says of it.
    #[must_use]
    pub fn next_look(&self, elapsed: Micros, given: Option<Severity>) -> Option<Micros> {
        let by_history = match (given, self.limits) {
            (Some(Severity::Critical), _) => return None,
            (Some(Severity::Warning), limits) => limits.map(|limits| limits.critical),
            (None, Some(limits)) => Some(limits.warning),
            (None, None) => None,
        };
        let crossing = match (by_history, self.fixed) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let crossing = crossing.map(|limit| limit.saturating_add(BEYOND));
        // History may come to be while it runs, but not from looking more often.
        let may_learn =
            self.limits.is_none() && (self.kind == VerdictKind::StuckStep || self.fixed.is_none());
        let later = may_learn.then(|| later_look(elapsed));
        match (crossing, later) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

impl StepPolicy {
    /// Judges what has elapsed of a running step; none if it is normal, or there is nothing to judge by.
    #[must_use]
    pub fn judge_running(
        &self,
        comparison: Option<&Comparison<'_>>,
        elapsed: Micros,
        features: &Features,
    ) -> Option<Bottleneck> {
        let verdict = Standard::of_step(self, comparison).judge(elapsed)?;
        let cohort = comparison.map(|comparison| comparison.cohort(features)).unwrap_or_default();
        Some(Bottleneck { cohort, ..verdict })
    }
}

/// Returns when to look again at what has too little history, after so long: at a minute, and then after
/// as long again as has passed, but within an hour.
fn later_look(elapsed: Micros) -> Micros {
    let again = elapsed.saturating_add(elapsed.min(Micros::from_secs(limits::LONGEST_LOOK_SECS)));
    again.max(Micros::from_secs(limits::FIRST_LOOK_SECS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{ComparedWith, FactorOfMean};

    fn reference(mean_ms: u64, samples: u64) -> Reference {
        let mean = Micros::from_millis(mean_ms);
        Reference {
            mean_us: mean.as_f64(),
            samples,
            stddev_us: 0.0,
            p50: mean,
            p95: mean,
            p99: mean,
            log_mad: 0.0,
        }
    }

    fn step(timeout_ms: Option<u64>, samples: u64) -> Standard {
        let policy = StepPolicy { timeout: timeout_ms.map(Micros::from_millis), ..StepPolicy::default() };
        let reference = reference(100, samples);
        let limits = policy.rule.limits(&reference);
        let comparison = limits.map(|limits| Comparison { reference, limits, with: ComparedWith::Whole });
        Standard::of_step(&policy, comparison.as_ref())
    }

    /// Returns at which elapsed milliseconds it is looked at from the start on, and what is said then.
    fn looks(standard: &Standard, most: usize) -> Vec<String> {
        let (mut elapsed, mut given, mut shown) = (Micros::ZERO, None, Vec::new());
        while let Some(next) = standard.next_look(elapsed, given).filter(|_| shown.len() < most) {
            assert!(next > elapsed, "time goes on");
            elapsed = next;
            given = standard.judge(elapsed).map(|found| found.severity);
            shown.push(format!("{}: {}", elapsed.as_millis(), given.map_or("normal", Severity::as_str)));
        }
        shown
    }

    #[test]
    fn a_step_is_looked_at_when_it_crosses_each_limit_and_then_left_alone() {
        assert_eq!(looks(&step(None, 5), 9), ["200: WARNING", "300: CRITICAL"]);
    }

    #[test]
    fn a_timeout_is_critical_whatever_history_says() {
        assert_eq!(looks(&step(Some(50), 5), 9), ["50: CRITICAL"]);
        assert_eq!(looks(&step(Some(250), 5), 9), ["200: WARNING", "250: CRITICAL"]);
        assert_eq!(looks(&step(Some(90_000), 5), 9), ["200: WARNING", "300: CRITICAL"]);
        assert_eq!(looks(&step(Some(90_000), 0), 9), ["60000: normal", "90000: CRITICAL"]);
    }

    #[test]
    fn without_history_the_looks_become_rarer_until_they_are_hourly() {
        let minutes: Vec<u64> = looks(&step(None, 0), 9)
            .iter()
            .map(|look| look.trim_end_matches(": normal").parse::<u64>().unwrap() / 60_000)
            .collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 64, 124, 184]);
    }

    #[test]
    fn silence_is_judged_by_whole_executions_or_by_a_fixed_time() {
        let rule = FactorOfMean::default();
        let of = |fixed: Option<u64>, samples| {
            let fixed = fixed.map(Micros::from_millis);
            looks(&Standard::of_silence(fixed, &rule, Some(reference(100, samples))), 3)
        };
        assert_eq!(of(None, 5), ["200: WARNING", "300: CRITICAL"]);
        assert_eq!(of(Some(250), 5), ["250: CRITICAL"]);
        assert_eq!(of(Some(250_000), 0), ["250000: CRITICAL"]);
        assert_eq!(of(None, 0), ["60000: normal", "120000: normal", "240000: normal"]);
    }

    #[test]
    fn a_verdict_by_a_fixed_time_alone_compares_with_nothing() {
        let policy = StepPolicy { timeout: Some(Micros::from_millis(50)), ..StepPolicy::default() };
        let found = Standard::of_step(&policy, None).judge(Micros::from_millis(51)).unwrap();
        assert_eq!((found.severity, found.samples, found.factor()), (Severity::Critical, 0, 0.0));
    }
}
