//! What detection says of a step over its limits.

use serde::{Deserialize, Serialize};

use crate::baseline::Reference;
use crate::cohort::Cohort;
use crate::time::Micros;

/// How bad a bottleneck is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    /// Over the warning limit.
    Warning,
    /// Over the critical limit.
    Critical,
}

impl Severity {
    /// Returns the severity as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }

    /// Returns the number under which it is stored: worse is larger.
    #[must_use]
    pub const fn to_stored(self) -> i16 {
        match self {
            Self::Warning => 1,
            Self::Critical => 2,
        }
    }

    /// Reads a stored number; none for 0 and for what was never stored.
    #[must_use]
    pub const fn from_stored(number: i16) -> Option<Self> {
        match number {
            1 => Some(Self::Warning),
            2 => Some(Self::Critical),
            _ => None,
        }
    }
}

/// What a verdict is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// A step that has ended and took too long.
    #[default]
    SlowStep,
    /// A step that runs, and has taken too long already.
    StuckStep,
    /// An execution that runs, and of which nothing has been heard for too long.
    StalledExecution,
}

impl VerdictKind {
    /// Returns the kind as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowStep => "slow_step",
            Self::StuckStep => "stuck_step",
            Self::StalledExecution => "stalled_execution",
        }
    }

    /// Returns the kind of a verdict on a step, given while it ran or at its end.
    #[must_use]
    pub const fn of_step(in_flight: bool) -> Self {
        if in_flight { Self::StuckStep } else { Self::SlowStep }
    }
}

/// The verdict on what was judged WARNING or CRITICAL, with what it was judged against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// What it is about. Of verdicts that were stored before there were kinds: a slow step.
    #[serde(default)]
    pub kind: VerdictKind,
    /// How bad.
    pub severity: Severity,
    /// The duration judged: of the whole step, what had elapsed of a running one, or how long an
    /// execution had been silent.
    pub duration: Micros,
    /// The reference's mean when it was judged; zero where there was none, and a fixed time judged.
    pub historical_avg: Micros,
    /// Samples in the reference; zero where there was none.
    pub samples: u64,
    /// The reference's 95th percentile.
    pub p95: Micros,
    /// What made the history comparable; the whole history if empty.
    pub cohort: Cohort,
    /// Whether it was still running.
    pub in_flight: bool,
}

impl Bottleneck {
    /// Puts a verdict together from the duration and the reference that judged it.
    #[must_use]
    pub fn new(severity: Severity, duration: Micros, reference: &Reference, in_flight: bool) -> Self {
        Self {
            kind: VerdictKind::of_step(in_flight),
            severity,
            duration,
            historical_avg: Micros::from_f64(reference.mean_us),
            samples: reference.samples,
            p95: reference.p95,
            cohort: Cohort::default(),
            in_flight,
        }
    }

    /// Puts a verdict together on something that runs; without a reference it is judged by a fixed
    /// time, and compared with nothing.
    #[must_use]
    pub fn in_flight(
        kind: VerdictKind,
        severity: Severity,
        duration: Micros,
        reference: Option<&Reference>,
    ) -> Self {
        Self {
            kind,
            severity,
            duration,
            historical_avg: reference.map_or(Micros::ZERO, |known| Micros::from_f64(known.mean_us)),
            samples: reference.map_or(0, |known| known.samples),
            p95: reference.map_or(Micros::ZERO, |known| known.p95),
            cohort: Cohort::default(),
            in_flight: true,
        }
    }

    /// Returns in words what it was compared with: `compared with 212 runs of version=3, input_bytes 1 MiB
    /// to 2 MiB`.
    #[must_use]
    pub fn compared_with(&self) -> String {
        let runs = match (self.kind, self.samples) {
            (_, 0) => return "longer than its fixed time".to_owned(),
            (VerdictKind::StalledExecution, 1) => "1 whole execution".to_owned(),
            (VerdictKind::StalledExecution, many) => format!("{many} whole executions"),
            (VerdictKind::SlowStep | VerdictKind::StuckStep, 1) => "1 run".to_owned(),
            (VerdictKind::SlowStep | VerdictKind::StuckStep, many) => format!("{many} runs"),
        };
        // What is a range or scaled reads as words, what is equal as an equation.
        let told = |(name, value): (&String, &String)| {
            let in_words = value.contains(" to ") || value.starts_with("scaled to ");
            if in_words { format!("{name} {value}") } else { format!("{name}={value}") }
        };
        let parts: Vec<String> = self.cohort.parts().iter().map(told).collect();
        if parts.is_empty() {
            format!("compared with {runs}")
        } else {
            format!("compared with {runs} of {}", parts.join(", "))
        }
    }

    /// Returns the duration as a multiple of the average, to two decimals; an average of nothing
    /// counts as a microsecond, so that the factor stays a number. Compared with nothing, it is 0.
    #[must_use]
    pub fn factor(&self) -> f64 {
        if self.samples == 0 {
            return 0.0;
        }
        let factor = self.duration.as_f64() / self.historical_avg.as_f64().max(1.0);
        (factor * 100.0).round() / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_in_words_what_it_was_compared_with() {
        let reference = Reference::constant(Micros::from_millis(420), 212);
        let slow = Bottleneck::new(Severity::Warning, Micros::from_secs(1), &reference, false);
        assert_eq!(slow.compared_with(), "compared with 212 runs");
        let part = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let cohort = Cohort::of([part("version", "3"), part("input_bytes", "1 MiB to 2 MiB")]);
        assert_eq!(
            Bottleneck { cohort, ..slow.clone() }.compared_with(),
            "compared with 212 runs of input_bytes 1 MiB to 2 MiB, version=3"
        );
        let cohort = Cohort::of([part("rows", "scaled to 1500")]);
        assert_eq!(
            Bottleneck { cohort, samples: 1, ..slow }.compared_with(),
            "compared with 1 run of rows scaled to 1500"
        );
        let critical = Severity::Critical;
        let fixed = Bottleneck::in_flight(VerdictKind::StuckStep, critical, Micros::from_secs(1), None);
        assert_eq!(fixed.compared_with(), "longer than its fixed time");
        let kind = VerdictKind::StalledExecution;
        let silent = Bottleneck::in_flight(kind, critical, Micros::from_secs(1), Some(&reference));
        assert_eq!(silent.compared_with(), "compared with 212 whole executions");
    }
}
