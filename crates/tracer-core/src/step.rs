//! Steps: one unit of work in an execution, its state machine and its times.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attributes::Attributes;
use crate::detect::Bottleneck;
use crate::execution::Transition;
use crate::failure::Failure;
use crate::ids::{ExecutionId, StepId};
use crate::incident::IncidentId;
use crate::name::{StepName, StepType};
use crate::span::SpanDetail;
use crate::time::{DurationError, Micros, Timestamp};

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Under way.
    Running,
    /// Ended well: the only ending that enters a baseline's durations.
    Completed,
    /// Ended with an error.
    Failed,
    /// Was not done.
    Skipped,
    /// Was called off.
    Cancelled,
}

/// The error type of a step whose client says `timeout`.
pub const TIMEOUT: &str = "timeout";

impl StepStatus {
    /// Every status, in the order of the states.
    pub const ALL: [Self; 5] = [Self::Running, Self::Completed, Self::Failed, Self::Skipped, Self::Cancelled];

    /// Reads a status or one of its synonyms: `success` and `ok`; `failure`, `error`, `timeout` and
    /// `timed_out`. A step that timed out is `failed` with the error type [`TIMEOUT`]: see [`is_timeout`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "success" | "ok" => Some(Self::Completed),
            "failure" | "error" => Some(Self::Failed),
            text if is_timeout(text) => Some(Self::Failed),
            exact => Self::ALL.into_iter().find(|status| status.as_str() == exact),
        }
    }

    /// Returns the status as it is written; synonyms are never written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Decides whether a step in this state may end as `wish`.
    ///
    /// | from \ to | running | the same ending | another ending |
    /// |---|---|---|---|
    /// | running | refuse | | take |
    /// | an ending | refuse | repeat | refuse |
    #[must_use]
    pub fn transition(self, wish: Self) -> Transition {
        match (self, wish) {
            (_, Self::Running) => Transition::Refuse,
            (Self::Running, _) => Transition::Take,
            (ended, wish) if ended == wish => Transition::Repeat,
            _ => Transition::Refuse,
        }
    }

    /// Returns whether a step that ended so is judged against its history: it ran to an end of its own.
    #[must_use]
    pub const fn is_judged(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// Returns whether a client's status says that a step took too long.
#[must_use]
pub fn is_timeout(status: &str) -> bool {
    matches!(status, "timeout" | "timed_out")
}

/// One unit of work, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The execution it belongs to.
    pub execution: ExecutionId,
    /// Its id within the execution, which is its span id.
    pub id: StepId,
    /// Its name: with the workflow's, what its history is kept under.
    pub name: StepName,
    /// What kind of work it is.
    pub step_type: StepType,
    /// The step that it is part of.
    pub parent: Option<StepId>,
    /// Which attempt at the same work it is, from 1.
    pub attempt: u32,
    /// Where it stands.
    pub status: StepStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub ended_at: Option<Timestamp>,
    /// How long it took; none while it runs.
    pub duration: Option<Micros>,
    /// What the client attached.
    pub attributes: Attributes,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The verdict, if it was judged WARNING or CRITICAL: while it ran, until its own end replaces it.
    pub bottleneck: Option<Bottleneck>,
    /// When a running step is to be looked at: a wake-up, not a verdict.
    pub judge_at: Option<Timestamp>,
    /// The incident that it belongs to, if it was stuck.
    pub incident: Option<IncidentId>,
    /// When its client last told of it: looking at it while it runs is no sign of life.
    pub changed_at: Timestamp,
    /// What it has because it came as a span.
    pub span: Option<Arc<SpanDetail>>,
    /// Whether its end enters its histories, or has entered them, with its whole trace and not by itself.
    pub by_trace: bool,
}

/// When a step ended and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTimes {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How long it took: what the client measured, if it said so.
    pub duration: Micros,
}

/// The given times contradict each other.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TimesError {
    /// The end lies before the start.
    #[error("must not lie before the start")]
    EndBeforeStart,
    /// From start to end is longer than any believable step.
    #[error("must not lie more than {} days after the start", crate::limits::DURATION_DAYS)]
    TooLong,
    /// The end that follows from start and duration lies too far ahead.
    #[error("must not lie more than {} hours ahead", crate::limits::FUTURE_HOURS)]
    EndTooFarAhead,
    /// The start that follows from end and duration lies before 1970.
    #[error("must leave room for the duration since 1970")]
    StartBefore1970,
}

impl StepTimes {
    /// Works out the times of work that is recorded whole, from what its client gave at the moment `now`.
    ///
    /// A given duration counts, whatever the clock says. With only a duration, a known start makes
    /// the end `start + duration`, and an unknown one is the end less the duration; what is given
    /// nowhere is `now`.
    ///
    /// # Errors
    /// [`TimesError`] if a given end lies before the start or absurdly far behind it, or if a time that
    /// was not given comes to lie where none may be given ([`Timestamp::check_given`]).
    pub fn resolve(
        started_at: Option<Timestamp>,
        ended_at: Option<Timestamp>,
        duration: Option<Micros>,
        now: Timestamp,
    ) -> Result<Self, TimesError> {
        let Some(start) = started_at else {
            let end = ended_at.unwrap_or(now);
            let duration = duration.unwrap_or_default();
            let start = end - duration;
            start.check_given(now).map_err(|_| TimesError::StartBefore1970)?;
            return Ok(Self { started_at: start, ended_at: end, duration });
        };
        let times = Self::ending(start, ended_at, duration, now)?;
        if ended_at.is_none() && duration.is_some() {
            times.ended_at.check_given(now).map_err(|_| TimesError::EndTooFarAhead)?;
        }
        Ok(times)
    }

    /// Works out the times of work that runs since `started_at` and ends at the moment `now`, or as its
    /// client says.
    ///
    /// What runs can always be ended: a given duration counts even if it makes the end lie far ahead,
    /// and a measured one may be of any length ([`StepTimes::sample`]). One below zero, by a clock that
    /// stepped back, is zero.
    ///
    /// # Errors
    /// [`TimesError`] if a given end lies before the start or absurdly far behind it.
    pub fn ending(
        started_at: Timestamp,
        ended_at: Option<Timestamp>,
        duration: Option<Micros>,
        now: Timestamp,
    ) -> Result<Self, TimesError> {
        if let Some(end) = ended_at {
            if end < started_at {
                return Err(TimesError::EndBeforeStart);
            }
            let too_long = |_: DurationError| TimesError::TooLong;
            let elapsed = end.since(started_at).within_bounds().map_err(too_long)?;
            return Ok(Self { started_at, ended_at: end, duration: duration.unwrap_or(elapsed) });
        }
        let ended_at = duration.map_or(now.max(started_at), |duration| started_at + duration);
        Ok(Self { started_at, ended_at, duration: duration.unwrap_or_else(|| ended_at.since(started_at)) })
    }

    /// Returns the duration as a sample of how long such work takes; none if it is too long to be
    /// believed. Only a measured one can be: its start was given wrong, and one such sample would
    /// stand for millions of others.
    #[must_use]
    pub fn sample(&self) -> Option<Micros> {
        self.duration.within_bounds().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_failure() {
        let read = |text| StepStatus::parse(text).map(StepStatus::as_str);
        assert_eq!(
            ["timeout", "timed_out", "ok", "error"].map(read),
            [Some("failed"), Some("failed"), Some("completed"), Some("failed")]
        );
        assert_eq!(["TIMEOUT", "pending"].map(read), [None; 2]);
        assert_eq!(StepStatus::ALL.map(|status| read(status.as_str()).is_some()), [true; 5]);
    }

    #[test]
    fn an_ended_step_never_changes() {
        for from in StepStatus::ALL {
            for wish in StepStatus::ALL {
                let expected = match (from, wish) {
                    (_, StepStatus::Running) => Transition::Refuse,
                    (StepStatus::Running, _) => Transition::Take,
                    (from, wish) if from == wish => Transition::Repeat,
                    (_, _) => Transition::Refuse,
                };
                assert_eq!(from.transition(wish), expected, "{from:?} to {wish:?}");
            }
        }
    }

    /// Seconds in, seconds out: (start, end, duration) given at second 100.
    fn times(
        start: Option<i64>,
        end: Option<i64>,
        duration: Option<u64>,
    ) -> Result<(i64, i64, u64), TimesError> {
        let at = |secs: i64| Timestamp::from_millis(secs * 1000);
        StepTimes::resolve(start.map(at), end.map(at), duration.map(Micros::from_secs), at(100)).map(
            |times| {
                (
                    times.started_at.as_micros() / 1_000_000,
                    times.ended_at.as_micros() / 1_000_000,
                    times.duration.get() / 1_000_000,
                )
            },
        )
    }

    #[test]
    fn what_is_not_given_follows_from_what_is() {
        assert_eq!(times(Some(90), None, None), Ok((90, 100, 10)));
        assert_eq!(times(Some(90), None, Some(3)), Ok((90, 93, 3)));
        assert_eq!(times(Some(90), Some(95), None), Ok((90, 95, 5)));
        assert_eq!(times(Some(90), Some(95), Some(4)), Ok((90, 95, 4)));
        assert_eq!(times(None, None, Some(30)), Ok((70, 100, 30)));
        assert_eq!(times(None, Some(95), Some(30)), Ok((65, 95, 30)));
        assert_eq!(times(None, Some(95), None), Ok((95, 95, 0)));
        assert_eq!(times(None, None, None), Ok((100, 100, 0)));
        assert_eq!(times(Some(105), None, None), Ok((105, 105, 0)));
    }

    #[test]
    fn times_that_follow_lie_where_given_ones_may() {
        let day = 86_400;
        assert_eq!(times(Some(100), None, Some(86_400)), Ok((100, 100 + day, 86_400)));
        assert_eq!(times(Some(100), None, Some(86_401)), Err(TimesError::EndTooFarAhead));
        assert_eq!(times(None, Some(95), Some(95)), Ok((0, 95, 95)));
        assert_eq!(times(None, Some(95), Some(96)), Err(TimesError::StartBefore1970));
        assert_eq!(times(None, None, Some(101)), Err(TimesError::StartBefore1970));
    }

    #[test]
    fn what_runs_can_be_ended_and_only_a_believable_duration_is_a_sample() {
        let (start, now) = (Timestamp::from_micros(0), Timestamp::from_micros(0) + Micros::from_days(20_000));
        let ended = |duration: Option<u64>| {
            let times = StepTimes::ending(start, None, duration.map(Micros::from_days), now).unwrap();
            (times.ended_at, times.duration, times.sample())
        };
        let days = Micros::from_days;
        assert_eq!(ended(None), (now, days(20_000), None));
        assert_eq!(ended(Some(400)), (start + days(400), days(400), Some(days(400))));
        let ahead = StepTimes::ending(now, None, Some(days(400)), now).unwrap();
        assert_eq!((ahead.ended_at, ahead.sample()), (now + days(400), Some(days(400))));
    }

    #[test]
    fn contradicting_times_are_refused() {
        assert_eq!(times(Some(95), Some(90), None), Err(TimesError::EndBeforeStart));
        assert_eq!(times(Some(95), Some(90), Some(1)), Err(TimesError::EndBeforeStart));
        assert_eq!(times(Some(0), Some(401 * 86_400), None), Err(TimesError::TooLong));
    }
}
