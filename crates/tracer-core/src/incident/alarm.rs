//! What a history's row remembers of its incidents, so that an end that is normal reads nothing more.

use super::{FailureWindow, IncidentKind};
use crate::baseline::DecodeError;
use crate::baseline::codec::{Reader, Writer};

/// Most bytes in an encoded alarm.
pub const ALARM_BYTES: usize = 256;

const VERSION: u8 = 1;

/// What is known of the incidents of a history: of a step, of one of its cohorts, or of a workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    /// Kinds of which there may be a current incident, one bit each. What is not marked has none.
    marked: u8,
    /// Normal completions since the last bottleneck, as far as they are counted.
    streak: u8,
    /// Ends since the failures were last too many, as far as they are counted.
    unfailing: u8,
    /// The last ends.
    pub failures: FailureWindow,
}

impl Alarm {
    /// Returns whether there may be a current incident of this kind.
    #[must_use]
    pub const fn is_marked(&self, kind: IncidentKind) -> bool {
        self.marked & bit(kind) != 0
    }

    /// Notes that there is a current incident of this kind.
    pub const fn mark(&mut self, kind: IncidentKind) {
        self.marked |= bit(kind);
    }

    /// Notes that there is none.
    pub const fn unmark(&mut self, kind: IncidentKind) {
        self.marked &= !bit(kind);
    }

    /// Counts a completion.
    pub const fn completed(&mut self, normal: bool) {
        self.streak = if normal { self.streak.saturating_add(1) } else { 0 };
    }

    /// Counts an end.
    pub const fn ended(&mut self, too_many_failures: bool) {
        self.unfailing = if too_many_failures { 0 } else { self.unfailing.saturating_add(1) };
    }

    /// Returns how many ends in a row said that things are normal, for an incident of this kind; at most 255.
    #[must_use]
    pub const fn streak(&self, kind: IncidentKind) -> u8 {
        match kind {
            IncidentKind::FailureRate => self.unfailing,
            // Signals say by themselves when they are over.
            IncidentKind::SloBurn | IncidentKind::Alert => 0,
            IncidentKind::SlowStep
            | IncidentKind::StuckStep
            | IncidentKind::StalledExecution
            | IncidentKind::Regression => self.streak,
        }
    }

    /// Returns at most [`ALARM_BYTES`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_version(VERSION);
        out.byte(self.marked);
        out.byte(self.streak);
        out.byte(self.unfailing);
        self.failures.write(&mut out);
        out.finish()
    }

    /// Returns what [`Alarm::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] on bytes that it never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (mut input, _) = Reader::with_versions(bytes, VERSION)?;
        let alarm = Self {
            marked: input.byte()?,
            streak: input.byte()?,
            unfailing: input.byte()?,
            failures: FailureWindow::read(&mut input)?,
        };
        input.finish()?;
        Ok(alarm)
    }
}

const fn bit(kind: IncidentKind) -> u8 {
    match kind {
        IncidentKind::SlowStep => 1,
        IncidentKind::StuckStep => 2,
        IncidentKind::StalledExecution => 4,
        IncidentKind::Regression => 8,
        IncidentKind::FailureRate => 16,
        // No history has these: they are found by their signals. A mark would be looked up at every end from then on.
        IncidentKind::SloBurn | IncidentKind::Alert => 0,
    }
}
