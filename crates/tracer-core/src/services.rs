//! Services: who made the spans of an execution, what they do, and whom they call.
//!
//! A service is named by the attribute `service.name` of what produced a span. Executions that clients recorded by
//! themselves have none, unless they say so; whoever asks counts their workflow as one.
//!
//! Not here: which services a batch hears of (`record::services`).

use std::collections::BTreeSet;

use async_trait::async_trait;

use crate::attributes::Attributes;
use crate::execution::Execution;
use crate::limits;
use crate::repository::{ExecutionCursor, RepositoryError};
use crate::span::{SERVICE_NAME, SpanKind};
use crate::time::{Day, Timestamp};
use crate::trace::Trace;

/// Something that a service does, as its spans call it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// The name of the spans.
    pub name: String,
    /// Their place between services.
    pub kind: SpanKind,
}

/// How often one service called another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceCalls {
    /// The one that called.
    pub parent: String,
    /// The one that was called.
    pub child: String,
    /// How often.
    pub calls: u64,
}

/// Finds services, and executions by them.
#[async_trait]
pub trait ServiceRepository: Send + Sync {
    /// Returns the names of the services that spans were of, and of workflows, sorted; of either at most
    /// [`limits::SERVICES`].
    async fn services(&self) -> Result<Vec<String>, RepositoryError>;

    /// Returns what a service does, sorted: what its spans say; and if it is a workflow, this and its steps. Of either
    /// at most [`limits::SERVICE_OPERATIONS`].
    async fn operations(&self, service: &str) -> Result<Vec<Operation>, RepositoryError>;

    /// Returns at most `limit` executions with spans of a service that began within `[from, until)`, newest start
    /// first, without their payloads.
    async fn executions_of_service(
        &self,
        service: &str,
        from: Timestamp,
        until: Timestamp,
        after: Option<ExecutionCursor>,
        limit: usize,
    ) -> Result<Vec<Execution>, RepositoryError>;

    /// Returns how often services called one another on these days, both included, sorted by name; at most
    /// [`limits::SERVICE_CALLS_SHOWN`].
    async fn service_calls(&self, first: Day, last: Day) -> Result<Vec<ServiceCalls>, RepositoryError>;
}

/// Returns the name of the service that attributes tell of, cut to what can be kept.
#[must_use]
pub fn service_of(attributes: &Attributes) -> Option<&str> {
    kept(attributes.entries().get(SERVICE_NAME)?.as_str()?)
}

fn kept(name: &str) -> Option<&str> {
    let end = name.char_indices().nth(limits::NAME_CHARS).map_or(name.len(), |(at, _)| at);
    name.get(..end).filter(|name| !name.is_empty())
}

/// Returns the services that made the spans of a trace, as far as it knows.
#[must_use]
pub fn services_of(trace: &Trace) -> BTreeSet<String> {
    let resources = trace.resources.values().map(|resource| &resource.0);
    let root = trace.root.as_ref().map(|root| &root.attributes);
    let first = trace.first.as_ref().and_then(|first| kept(first.service.as_ref()?));
    resources.chain(root).filter_map(service_of).chain(first).map(str::to_owned).collect()
}
