//! What the service has acknowledged, so that it can be asked for later.

use std::sync::{Mutex, PoisonError};

/// An execution of which something was acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    /// Its id.
    pub(crate) id: String,
    /// Its workflow.
    pub(crate) workflow: String,
    /// Whether it came as a trace, whose steps are judged later.
    pub(crate) traced: bool,
    /// The steps that were acknowledged as ended.
    pub(crate) steps: Vec<RecordedStep>,
    /// The status that its end was acknowledged with.
    pub(crate) status: Option<&'static str>,
    /// Whether something of it was given up: it may or may not be there.
    pub(crate) in_doubt: bool,
}

/// A step of which the end was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct RecordedStep {
    /// Its id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: &'static str,
    /// How it ended.
    pub(crate) status: &'static str,
    /// How long it took, in milliseconds.
    pub(crate) millis: u64,
    /// Whether the answer had a verdict.
    pub(crate) slow: bool,
}

/// Everything that was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    recorded: Option<Mutex<Vec<Recorded>>>,
}

impl Ledger {
    /// Returns a ledger that keeps nothing: a load without an end must not fill the memory.
    pub(crate) const fn none() -> Self {
        Self { recorded: None }
    }

    /// Returns an empty ledger.
    pub(crate) fn kept() -> Self {
        Self { recorded: Some(Mutex::default()) }
    }

    /// Enters an execution.
    pub(crate) fn enter(&self, recorded: Recorded) {
        if let Some(all) = &self.recorded {
            all.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
        }
    }

    /// Returns all entries, and forgets them.
    pub(crate) fn take(&self) -> Vec<Recorded> {
        let all = self.recorded.as_ref().map(|all| all.lock().unwrap_or_else(PoisonError::into_inner));
        all.map(|mut all| std::mem::take(&mut *all)).unwrap_or_default()
    }
}
