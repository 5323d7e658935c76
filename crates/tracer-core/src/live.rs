//! What has just changed, for whoever watches.
//!
//! Every batch leaves its changes in the order in which they happened; a store keeps them for a short while, the
//! same ones under the same numbers for every replica. Whoever follows hears of each once and in order, or that
//! something was lost: then what is stored says how things are.
//!
//! Invariant: a change is small. It names what it is about and says what is needed to show it; payloads and the
//! attributes of clients stay where they are stored.
//! Not here: who is told, and in which form (`tracer-api`); when something is a change (`record`).

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::detect::{Bottleneck, Severity};
use crate::event::{EventId, EventKind, LogLevel};
use crate::execution::ExecutionStatus;
use crate::failure::{Failure, cut};
use crate::ids::{ExecutionId, StepId};
use crate::incident::{IncidentId, IncidentKind, IncidentState, Transition};
use crate::limits;
use crate::name::{StepName, StepType, WorkflowName};
use crate::repository::RepositoryError;
use crate::step::StepStatus;
use crate::time::{Micros, Timestamp};

/// Something that has changed. Written with short names: a busy service writes twenty thousand a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When it was recorded.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The execution; of an incident, the one that is its example, if there is one.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<ExecutionId>,
    /// The workflow.
    #[serde(rename = "w")]
    pub workflow: WorkflowName,
    /// What has changed.
    #[serde(rename = "c")]
    pub what: What,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// An execution runs.
    #[serde(rename = "ws")]
    ExecutionStarted {
        /// When it began.
        #[serde(rename = "b")]
        started_at: Timestamp,
    },
    /// A step runs.
    #[serde(rename = "ss")]
    StepStarted(ChangedStep),
    /// A step has ended.
    #[serde(rename = "se")]
    StepEnded {
        /// The step.
        #[serde(rename = "s")]
        step: ChangedStep,
        /// How it ended.
        #[serde(rename = "r")]
        status: StepStatus,
        /// When it ended.
        #[serde(rename = "e")]
        ended_at: Timestamp,
        /// How long it took.
        #[serde(rename = "d")]
        duration: Micros,
        /// Why it failed.
        #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// A step that has ended took too long; follows its end.
    #[serde(rename = "sb")]
    Bottleneck {
        /// The step.
        #[serde(rename = "s")]
        step: ChangedStep,
        /// The verdict.
        #[serde(rename = "v")]
        verdict: Box<Bottleneck>,
    },
    /// What still runs takes too long, or got worse.
    #[serde(rename = "if")]
    InFlight {
        /// The step; none where it is the execution as a whole, of which nothing is heard.
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<ChangedStep>,
        /// When it began.
        #[serde(rename = "b")]
        started_at: Timestamp,
        /// The verdict.
        #[serde(rename = "v")]
        verdict: Box<Bottleneck>,
    },
    /// An execution has ended, and with it the steps that still ran.
    #[serde(rename = "we")]
    ExecutionEnded {
        /// How it ended.
        #[serde(rename = "r")]
        status: ExecutionStatus,
        /// When it began.
        #[serde(rename = "b")]
        started_at: Timestamp,
        /// When it ended.
        #[serde(rename = "e")]
        ended_at: Timestamp,
        /// Wall-clock time from start to end.
        #[serde(rename = "d")]
        total: Micros,
        /// Steps that completed.
        #[serde(rename = "n")]
        steps_completed: u64,
        /// Steps that took too long.
        #[serde(rename = "k")]
        bottlenecks: u64,
        /// Why it failed.
        #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// Something happened to an incident.
    #[serde(rename = "i")]
    Incident {
        /// The incident.
        #[serde(rename = "i")]
        id: IncidentId,
        /// What happened.
        #[serde(rename = "h")]
        transition: Transition,
        /// What it is about.
        #[serde(rename = "k")]
        kind: IncidentKind,
        /// The step that it is about; none: executions as wholes.
        #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
        step_name: Option<StepName>,
        /// Whether it fires.
        #[serde(rename = "r")]
        state: IncidentState,
        /// How bad it is.
        #[serde(rename = "y")]
        severity: Severity,
        /// Findings that it has gathered.
        #[serde(rename = "o")]
        occurrences: u64,
        /// Who or why.
        #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A client told of something.
    #[serde(rename = "ev")]
    Event {
        /// Its id.
        #[serde(rename = "i")]
        id: EventId,
        /// What it tells of.
        #[serde(rename = "k")]
        kind: EventKind,
        /// How much it matters, of a log's line.
        #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
        level: Option<LogLevel>,
        /// What it says, cut.
        #[serde(rename = "m")]
        message: String,
        /// The step that it happened in.
        #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// When it happened.
        #[serde(rename = "h")]
        at: Timestamp,
        /// What the client attached; none if that is large.
        #[serde(rename = "a", default, skip_serializing_if = "Attributes::is_empty")]
        attributes: Attributes,
    },
}

/// A step, as changes name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangedStep {
    /// Its id.
    #[serde(rename = "s")]
    pub id: StepId,
    /// Its name.
    #[serde(rename = "n")]
    pub name: StepName,
    /// What kind of work it is.
    #[serde(rename = "y")]
    pub step_type: StepType,
    /// The step that it is part of.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<StepId>,
    /// Which attempt it is, from 1.
    #[serde(rename = "a")]
    pub attempt: u32,
    /// When it began.
    #[serde(rename = "b")]
    pub started_at: Timestamp,
}

/// What kind of change it is, as the stream names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// An execution runs.
    WorkflowStart,
    /// A step runs.
    StepStart,
    /// A step has ended.
    StepComplete,
    /// It took too long.
    Bottleneck,
    /// Something that runs takes too long.
    InFlight,
    /// An execution has ended.
    WorkflowEnd,
    /// Something happened to an incident.
    Incident,
    /// A client told of something.
    Event,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::WorkflowStart,
        Self::StepStart,
        Self::StepComplete,
        Self::Bottleneck,
        Self::InFlight,
        Self::WorkflowEnd,
        Self::Incident,
        Self::Event,
    ];

    /// Returns the kind as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkflowStart => "workflow_start",
            Self::StepStart => "step_start",
            Self::StepComplete => "step_complete",
            Self::Bottleneck => "bottleneck",
            Self::InFlight => "in_flight",
            Self::WorkflowEnd => "workflow_end",
            Self::Incident => "incident",
            Self::Event => "event",
        }
    }

    /// Reads a kind as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl What {
    /// Returns what kind of change it is.
    #[must_use]
    pub const fn kind(&self) -> ChangeKind {
        match self {
            Self::ExecutionStarted { .. } => ChangeKind::WorkflowStart,
            Self::StepStarted(_) => ChangeKind::StepStart,
            Self::StepEnded { .. } => ChangeKind::StepComplete,
            Self::Bottleneck { .. } => ChangeKind::Bottleneck,
            Self::InFlight { .. } => ChangeKind::InFlight,
            Self::ExecutionEnded { .. } => ChangeKind::WorkflowEnd,
            Self::Incident { .. } => ChangeKind::Incident,
            Self::Event { .. } => ChangeKind::Event,
        }
    }

    /// Returns the bytes of its texts whose length clients choose, beyond names.
    fn text_bytes(&self) -> usize {
        let of_failure = |failure: &Option<Failure>| {
            failure.as_ref().map_or(0, |why| why.message.len() + why.kind.as_ref().map_or(0, String::len))
        };
        match self {
            Self::StepEnded { failure, .. } | Self::ExecutionEnded { failure, .. } => of_failure(failure),
            Self::Incident { note, .. } => note.as_ref().map_or(0, String::len),
            Self::Event { message, attributes, .. } => message.len() + attributes.bytes(),
            Self::Bottleneck { .. } | Self::InFlight { .. } => 128,
            Self::ExecutionStarted { .. } | Self::StepStarted(_) => 0,
        }
    }
}

impl Change {
    /// Returns about how many bytes it takes in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        // Names are shared with what is recorded, and counted as if they were not.
        size_of::<Self>() + self.workflow.as_str().len() + 64 + self.what.text_bytes()
    }
}

/// Returns why something failed, as changes tell it: without where, and cut.
#[must_use]
pub fn brief(failure: &Failure) -> Failure {
    let message = cut(&failure.message, limits::LIVE_TEXT_BYTES);
    Failure { kind: failure.kind.clone(), message, stack: None }
}

/// Returns a text as changes tell it: cut.
#[must_use]
pub fn brief_text(text: &str) -> String {
    cut(text, limits::LIVE_TEXT_BYTES)
}

/// What one batch changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeBatch {
    /// Its number: the same for every replica, and larger than that of any batch before it.
    pub id: u64,
    /// Its changes, each with its place in the batch. What this version does not know is left out, and its place
    /// stays empty.
    pub changes: Vec<(u32, Change)>,
}

impl ChangeBatch {
    /// Numbers what a batch left.
    #[must_use]
    pub fn new(id: u64, changes: Vec<Change>) -> Self {
        Self { id, changes: (0..).zip(changes).collect() }
    }
}

/// What was heard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// That something may have been missed: all of what follows the batch of this number will be heard, and not
    /// all of what came before. The first thing that is heard, and after a database that was away.
    pub begins_after: Option<u64>,
    /// What changed, in its order; nothing, if nothing did for a while.
    pub batches: Vec<Arc<ChangeBatch>>,
    /// The newest batch that there is, as far as is known: one that is still missing may hold it back.
    pub newest: u64,
}

/// Where changes are heard of.
pub trait ChangeFeed: Send + Sync {
    /// Begins to follow, with what is still known of the past up to so many bytes.
    fn follow(&self, past_bytes: usize) -> Box<dyn Follow>;
}

/// One who follows.
#[async_trait]
pub trait Follow: Send {
    /// Waits for what comes next, and not longer than a second or so.
    ///
    /// # Errors
    /// [`RepositoryError::Unavailable`] while the store is away; the next call tries again, and what is heard
    /// then says if something was missed.
    async fn next(&mut self) -> Result<Heard, RepositoryError>;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::test_util::fixtures::{NOON, attributes, step_id, step_name, step_type, workflow};

    fn change(what: What) -> Change {
        Change {
            at: NOON,
            execution: Some(ExecutionId::from_bytes([1; 16])),
            workflow: workflow("etl"),
            what,
        }
    }

    fn step() -> ChangedStep {
        ChangedStep {
            id: step_id(7),
            name: step_name("load"),
            step_type: step_type("task"),
            parent: None,
            attempt: 1,
            started_at: NOON,
        }
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        assert_eq!(ChangeKind::ALL.map(|kind| ChangeKind::parse(kind.as_str())), ChangeKind::ALL.map(Some));
        assert_eq!(ChangeKind::parse("resync"), None);
    }

    #[test]
    fn a_change_survives_being_written_and_read_and_is_short() {
        let failure = Some(brief(&Failure::new(Some("E"), "boom", Some("at line 1"))));
        let ended = change(What::StepEnded {
            step: step(),
            status: StepStatus::Failed,
            ended_at: NOON,
            duration: Micros::from_millis(5),
            failure,
        });
        let event = change(What::Event {
            id: EventId::from_bytes([2; 16]),
            kind: EventKind::Log,
            level: Some(LogLevel::Warn),
            message: "half full".into(),
            step: None,
            at: NOON,
            attributes: attributes(json!({"disk": "sda"})),
        });
        let started = change(What::StepStarted(ChangedStep { parent: Some(step_id(1)), ..step() }));
        let all = vec![started, ended, event];
        let written = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Change>>(&written).unwrap(), all);
        insta::assert_snapshot!(
            serde_json::to_string(&all[1]).unwrap(),
            @r#"{"t":1769860800000000,"x":"wf_01010101010101010101010101010101","w":"etl","c":{"se":{"s":{"s":"st_0000000000000007","n":"load","y":"task","a":1,"b":1769860800000000},"r":"failed","e":1769860800000000,"d":5000,"f":{"type":"E","message":"boom"}}}}"#
        );
    }

    #[test]
    fn what_clients_write_is_cut() {
        let failure = brief(&Failure::new(None, &"x".repeat(5_000), Some("stack")));
        assert!(failure.message.len() <= limits::LIVE_TEXT_BYTES && failure.stack.is_none());
        assert!(change(What::StepStarted(step())).weight() < 600);
    }
}
