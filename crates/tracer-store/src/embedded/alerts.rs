//! The seams of incidents and of the outbox: which of it reads, and which writes.
//!
//! Not here: the statements (`incidents`, `outbox`).

use async_trait::async_trait;
use rusqlite::Transaction;
use tracer_core::incident::{Fingerprint, HistoryEntry, Incident, IncidentId, Transition};
use tracer_core::notify::{ChannelName, Delivery, Posted};
use tracer_core::outbox::{
    ChannelState, FiringCount, IncidentCursor, IncidentFilter, IncidentRepository, Lease, Outbox, Settlement,
};
use tracer_core::repository::RepositoryError;
use tracer_core::time::Timestamp;

use super::{EmbeddedStore, incidents, outbox};

#[async_trait]
impl IncidentRepository for EmbeddedStore {
    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, RepositoryError> {
        Ok(self.readers.read("incident", move |tx| incidents::incident(tx, id)).await?)
    }

    async fn incident_history(&self, id: IncidentId) -> Result<Vec<HistoryEntry>, RepositoryError> {
        Ok(self.readers.read("incident_history", move |tx| incidents::history(tx, id)).await?)
    }

    async fn incidents(
        &self,
        filter: &IncidentFilter,
        after: Option<IncidentCursor>,
        limit: usize,
    ) -> Result<Vec<Incident>, RepositoryError> {
        let filter = filter.clone();
        Ok(self.readers.read("incidents", move |tx| incidents::list(tx, &filter, after, limit)).await?)
    }

    async fn firing(&self) -> Result<Vec<FiringCount>, RepositoryError> {
        Ok(self.readers.read("firing", incidents::firing).await?)
    }
}

#[async_trait]
impl Outbox for EmbeddedStore {
    async fn waiting(
        &self,
        channels: &[ChannelName],
        now: Timestamp,
    ) -> Result<Vec<ChannelName>, RepositoryError> {
        let channels = channels.to_vec();
        Ok(self.readers.read("waiting", move |tx| outbox::waiting(tx, &channels, now)).await?)
    }

    async fn lease(
        &self,
        channel: &ChannelName,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lease>, RepositoryError> {
        let (channel, holder) = (channel.clone(), holder.to_owned());
        let lease = move |tx: &Transaction<'_>| outbox::lease(tx, &channel, &holder, now, until);
        Ok(self.connection.write("lease", lease).await?)
    }

    async fn renew(&self, lease: &Lease, until: Timestamp) -> Result<bool, RepositoryError> {
        let lease = lease.clone();
        Ok(self.connection.write("renew", move |tx| outbox::renew(tx, &lease, until)).await?)
    }

    async fn release(&self, lease: &Lease) -> Result<(), RepositoryError> {
        let lease = lease.clone();
        Ok(self.connection.write("release", move |tx| outbox::release(tx, &lease)).await?)
    }

    async fn take(
        &self,
        lease: &Lease,
        now: Timestamp,
        until: Timestamp,
        together: &[Transition],
    ) -> Result<Option<Delivery>, RepositoryError> {
        let (lease, together) = (lease.clone(), together.to_vec());
        Ok(self.connection.write("take", move |tx| outbox::take(tx, &lease, now, until, &together)).await?)
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, RepositoryError> {
        let lease = lease.clone();
        Ok(self.connection.write("settle", move |tx| outbox::settle(tx, &lease, &settlement)).await?)
    }

    async fn outdated(&self, channel: &ChannelName, limit: usize) -> Result<Vec<Posted>, RepositoryError> {
        let channel = channel.clone();
        Ok(self.readers.read("outdated", move |tx| outbox::outdated(tx, &channel, limit)).await?)
    }

    async fn edited(
        &self,
        lease: &Lease,
        posted: &Posted,
        not_before: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let (lease, posted) = (lease.clone(), posted.clone());
        let edited = move |tx: &Transaction<'_>| outbox::edited(tx, &lease, &posted, not_before);
        Ok(self.connection.write("edited", edited).await?)
    }

    async fn told_since(
        &self,
        channel: &ChannelName,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, Fingerprint)>, RepositoryError> {
        let channel = channel.clone();
        let told = move |tx: &Transaction<'_>| outbox::told_since(tx, &channel, since, limit);
        Ok(self.readers.read("told_since", told).await?)
    }

    async fn channels(&self, now: Timestamp) -> Result<Vec<ChannelState>, RepositoryError> {
        Ok(self.readers.read("channels", move |tx| outbox::channels(tx, now)).await?)
    }
}
