//! Judging a step against its own history.
//!
//! A [`Rule`] turns a reference into limits, a [`Policy`] says which rule holds for which step, and
//! a [`Bottleneck`] is what a step over its limits is told. Not here: how the reference is kept
//! (`baseline`), or who is told (`incident`).

mod comparison;
mod factor_of_mean;
mod in_flight;
mod policy;
mod quantile;
mod regression;
mod robust;
mod rule;
mod verdict;

pub use comparison::{ComparedWith, Comparison, Histories, told_feature, told_number, told_range};
pub use factor_of_mean::FactorOfMean;
pub use in_flight::Standard;
pub use policy::{Confirmation, Policy, PolicyEntry, StepPolicy, WorkflowPolicy};
pub use quantile::Quantile;
pub use regression::Regression;
pub use robust::Robust;
pub use rule::{Limits, Rule};
pub use verdict::{Bottleneck, Severity, VerdictKind};
