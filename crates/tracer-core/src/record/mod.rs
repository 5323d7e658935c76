//! Recording: what a batch of commands makes of what is stored.
//!
//! Every store does the same, in one transaction per batch:
//!
//! 1. [`FirstNeeds`] names the idempotency keys, executions and steps to load and lock;
//! 2. [`HistoryNeeds`], which depends on those, names the baselines;
//! 3. [`segment_needs`] names the baselines whose closed days are needed too (once per key and day), and
//!    [`IncidentNeeds`] the incidents, of which there are mostly none;
//! 4. [`apply`] decides, in memory and without I/O, and leaves the rows to write in the
//!    [`WorkingSet`];
//! 5. the store writes them and commits.
//!
//! So the rules of recording are written once, here, and a store is only loading and saving.
//! Rows are locked in the order of these steps and sorted by key within each, which is what keeps
//! batches of several replicas from deadlocking.

mod alerting;
mod apply;
mod changes;
mod command;
mod events;
mod failures;
mod incident_needs;
mod judging;
mod needs;
mod outcome;
mod services;
mod settle;
mod signals;
mod slo;
mod span_needs;
mod spans;
mod watch;
mod working_set;

pub use apply::apply;
pub use command::{
    ChangeIncident, Command, CompleteStep, Completion, EndExecution, Idempotency, IdempotencyScope,
    IncidentChange, JudgeExecution, JudgeStep, ParentStep, Rebaseline, RecordEvent, RecordExecution,
    RecordSpans, RecordedStep, Request, SettleTrace, Signal, StartExecution, StartStep, TendIncident,
};
pub use incident_needs::IncidentNeeds;
pub use needs::{Claims, FirstNeeds, HistoryNeed, HistoryNeeds, Lock, segment_needs};
pub use outcome::{
    Answer, EventRecorded, ExecutionEnded, ExecutionStalled, ExecutionStarted, JudgedStep, Outcome, Refusal,
    SpansRecorded, StepEnded, StepStarted, StepStuck, TraceSettled,
};
pub use services::{Placement, ServiceChanges};
pub use working_set::{
    Activity, Closing, EventLog, ExecutionEnd, ExecutionHead, History, IdempotencyRecord, StepKey,
    TracedExecution, WorkingSet, Written,
};

#[cfg(test)]
mod tests;
