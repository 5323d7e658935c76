//! The seams of incidents and of the outbox: which of it reads, and which writes.
//!
//! Not here: the statements (`incidents`, `outbox`).

use async_trait::async_trait;
use tracer_core::incident::{Fingerprint, HistoryEntry, Incident, IncidentId, Transition};
use tracer_core::notify::{ChannelName, Delivery, Posted};
use tracer_core::outbox::{
    ChannelState, FiringCount, IncidentCursor, IncidentFilter, IncidentRepository, Lease, Outbox, Settlement,
};
use tracer_core::repository::RepositoryError;
use tracer_core::time::Timestamp;

use super::{PostgresStore, incidents, outbox};

#[async_trait]
impl IncidentRepository for PostgresStore {
    async fn incident(&self, id: IncidentId) -> Result<Option<Incident>, RepositoryError> {
        incidents::incident(&self.pool, id).await
    }

    async fn incident_history(&self, id: IncidentId) -> Result<Vec<HistoryEntry>, RepositoryError> {
        incidents::history(&self.pool, id).await
    }

    async fn incidents(
        &self,
        filter: &IncidentFilter,
        after: Option<IncidentCursor>,
        limit: usize,
    ) -> Result<Vec<Incident>, RepositoryError> {
        incidents::list(&self.pool, filter, after, limit).await
    }

    async fn firing(&self) -> Result<Vec<FiringCount>, RepositoryError> {
        incidents::firing(&self.pool).await
    }
}

#[async_trait]
impl Outbox for PostgresStore {
    async fn waiting(
        &self,
        channels: &[ChannelName],
        now: Timestamp,
    ) -> Result<Vec<ChannelName>, RepositoryError> {
        outbox::waiting(&self.pool, channels, now).await
    }

    async fn lease(
        &self,
        channel: &ChannelName,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lease>, RepositoryError> {
        let with = (channel.clone(), holder.to_owned(), now, until);
        let work = self.pool.transact("lease", &with, |client, (channel, holder, now, until)| {
            Box::pin(outbox::lease(client, channel, holder, *now, *until))
        });
        work.await
    }

    async fn renew(&self, lease: &Lease, until: Timestamp) -> Result<bool, RepositoryError> {
        let with = (lease.clone(), until);
        let work = self.pool.transact("renew", &with, |client, (lease, until)| {
            Box::pin(outbox::renew(client, lease, *until))
        });
        work.await
    }

    async fn release(&self, lease: &Lease) -> Result<(), RepositoryError> {
        let work =
            self.pool.transact("release", lease, |client, lease| Box::pin(outbox::release(client, lease)));
        work.await
    }

    async fn take(
        &self,
        lease: &Lease,
        now: Timestamp,
        until: Timestamp,
        together: &[Transition],
    ) -> Result<Option<Delivery>, RepositoryError> {
        let with = (lease.clone(), now, until, together.to_vec());
        let work = self.pool.transact("take", &with, |client, (lease, now, until, together)| {
            Box::pin(outbox::take(client, lease, *now, *until, together))
        });
        work.await
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, RepositoryError> {
        let with = (lease.clone(), settlement);
        let work = self.pool.transact("settle", &with, |client, (lease, settlement)| {
            Box::pin(outbox::settle(client, lease, settlement))
        });
        work.await
    }

    async fn outdated(&self, channel: &ChannelName, limit: usize) -> Result<Vec<Posted>, RepositoryError> {
        outbox::outdated(&self.pool, channel, limit).await
    }

    async fn edited(
        &self,
        lease: &Lease,
        posted: &Posted,
        not_before: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let with = (lease.clone(), posted.clone(), not_before);
        let work = self.pool.transact("edited", &with, |client, (lease, posted, not_before)| {
            Box::pin(outbox::edited(client, lease, posted, *not_before))
        });
        work.await
    }

    async fn told_since(
        &self,
        channel: &ChannelName,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, Fingerprint)>, RepositoryError> {
        outbox::told_since(&self.pool, channel, since, limit).await
    }

    async fn channels(&self, now: Timestamp) -> Result<Vec<ChannelState>, RepositoryError> {
        outbox::channels(&self.pool, now).await
    }
}
