//! The seams of incidents and of the outbox: what stores implement for them.

use async_trait::async_trait;

use crate::detect::Severity;
use crate::incident::{
    Fingerprint, HistoryEntry, Incident, IncidentId, IncidentKind, IncidentState, Transition,
};
use crate::name::WorkflowName;
use crate::notify::{ChannelName, Delivery, Posted};
use crate::repository::RepositoryError;
use crate::time::Timestamp;

/// Which incidents to list. All conditions must hold; none means all incidents.
#[derive(Clone, Debug, Default)]
pub struct IncidentFilter {
    /// In this state.
    pub state: Option<IncidentState>,
    /// Of this kind.
    pub kind: Option<IncidentKind>,
    /// Of this workflow.
    pub workflow: Option<WorkflowName>,
    /// At least so bad.
    pub severity: Option<Severity>,
}

/// Where a listing of incidents, newest opening first, goes on: behind this one. As the id begins with the
/// moment of opening, it is all that is needed.
pub type IncidentCursor = IncidentId;

/// How many incidents fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiringCount {
    /// Of this kind.
    pub kind: IncidentKind,
    /// So bad.
    pub severity: Severity,
    /// So many.
    pub incidents: u64,
}

/// Finds incidents. They are changed by commands only (`record`).
#[async_trait]
pub trait IncidentRepository: Send + Sync {
    /// Returns an incident; none if the id is unknown.
    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, RepositoryError>;

    /// Returns the newest [`crate::limits::INCIDENT_HISTORY`] entries of its history, oldest first.
    async fn incident_history(&self, id: IncidentId) -> Result<Vec<HistoryEntry>, RepositoryError>;

    /// Returns at most `limit` incidents, newest opening first.
    async fn incidents(
        &self,
        filter: &IncidentFilter,
        after: Option<IncidentCursor>,
        limit: usize,
    ) -> Result<Vec<Incident>, RepositoryError>;

    /// Returns how many fire, by kind and severity; what has none is left out.
    async fn firing(&self) -> Result<Vec<FiringCount>, RepositoryError>;
}

/// The right to send for a channel, which one holder has at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The channel.
    pub channel: ChannelName,
    /// Grows with every lease of the channel: what an earlier holder says is refused.
    pub token: i64,
    /// Nothing is to be sent before: its rate, or a pause after a failure.
    pub not_before: Timestamp,
    /// Failures in a row, up to now.
    pub failures: u32,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The channel has taken it.
    Sent {
        /// What the channel needs to edit the message that it has posted for all of it.
        reference: Option<String>,
        /// What belongs into the history of the incidents.
        note: Option<String>,
    },
    /// It stays where it is and is tried again.
    Again {
        /// Why.
        reason: String,
    },
    /// The channel will never take it.
    Refused {
        /// Why.
        reason: String,
    },
    /// It is no longer worth telling, or the channel may not be told so often.
    Dropped {
        /// Why.
        reason: String,
    },
}

/// What a holder says when it is done with a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The notifications.
    pub ids: Vec<i64>,
    /// What became of them.
    pub settled: Settled,
    /// Before that nothing more is sent to the channel.
    pub not_before: Timestamp,
    /// When it is said.
    pub at: Timestamp,
    /// Whether the reason belongs into the history of the incidents, where it was refused or dropped.
    pub in_history: bool,
}

/// How a channel is, as the outbox knows it. A channel of which nothing was ever stored is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelState {
    /// The channel.
    pub channel: ChannelName,
    /// Notifications yet to be sent.
    pub pending: u64,
    /// When the oldest of them was to be sent first.
    pub oldest: Option<Timestamp>,
    /// Notifications that it refused for good, in the last 24 hours.
    pub refused: u64,
    /// Failures in a row, up to now.
    pub failures: u32,
    /// Why it last failed or refused, and when.
    pub last_fault: Option<(Timestamp, String)>,
    /// When it last took one.
    pub last_sent_at: Option<Timestamp>,
}

/// Notifications on their way. Rows are written with the incidents, in the transaction of the verdict; all
/// else happens here, outside of it.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Returns which of these channels have something that may be sent at `now`, and nobody who does: what is
    /// not held back, the channel not paused, and no lease on it.
    async fn waiting(
        &self,
        channels: &[ChannelName],
        now: Timestamp,
    ) -> Result<Vec<ChannelName>, RepositoryError>;

    /// Takes a channel until `until`, unless another holder has it at `now`; of a holder's own lease the token
    /// grows too.
    async fn lease(
        &self,
        channel: &ChannelName,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lease>, RepositoryError>;

    /// Keeps a lease until `until`; returns false if it was lost.
    async fn renew(&self, lease: &Lease, until: Timestamp) -> Result<bool, RepositoryError>;

    /// Gives a lease back; one that was lost stays lost.
    async fn release(&self, lease: &Lease) -> Result<(), RepositoryError>;

    /// Returns the first that is to be sent, in the order in which it was written, and counts an attempt at it
    /// before anything is sent; none if nothing is, or the lease was lost. Keeps the lease until `until`, if that is
    /// later than it is had.
    ///
    /// What waits for others ([`NewNotification::not_before`](crate::routing::NewNotification)) does not hold up
    /// what comes after, except of its own incident; what is held for quiet hours not even that. With a loud one of the transitions `together` come the
    /// other loud ones of the same transition, of incidents that the same execution opened
    /// ([`Incident::opened_in`]), within [`crate::limits::GROUPED_WITHIN_SECS`]; at most
    /// [`crate::limits::GROUPED_INCIDENTS`] in all.
    async fn take(
        &self,
        lease: &Lease,
        now: Timestamp,
        until: Timestamp,
        together: &[Transition],
    ) -> Result<Option<Delivery>, RepositoryError>;

    /// Says what became of a delivery; returns false, and changes nothing, if the lease was lost.
    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, RepositoryError>;

    /// Returns at most `limit` posted messages of a channel whose incidents have changed since they were
    /// posted or edited.
    async fn outdated(&self, channel: &ChannelName, limit: usize) -> Result<Vec<Posted>, RepositoryError>;

    /// Notes that a message shows its incidents as they are in `posted`; returns false if the lease was lost.
    /// `not_before` is as in [`Settlement`].
    async fn edited(
        &self,
        lease: &Lease,
        posted: &Posted,
        not_before: Timestamp,
    ) -> Result<bool, RepositoryError>;

    /// Returns when the channel was told of what since then, or refused to be, at most `limit`, newest first:
    /// openings only.
    async fn told_since(
        &self,
        channel: &ChannelName,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, Fingerprint)>, RepositoryError>;

    /// Returns how all channels are.
    async fn channels(&self, now: Timestamp) -> Result<Vec<ChannelState>, RepositoryError>;
}
