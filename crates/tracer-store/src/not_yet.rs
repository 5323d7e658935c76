//! Stands in until the tables are there.
macro_rules! no_incidents {
    ($store:ty) => {
        use tracer_core::incident::{Fingerprint, HistoryEntry, Incident, IncidentId};
        use tracer_core::notify::{ChannelName, Delivery, Posted};
        use tracer_core::outbox::*;
        const NOT_YET: RepositoryError = RepositoryError::Internal { context: "not yet", source: None };
        #[async_trait]
        impl IncidentRepository for $store {
            async fn incident(&self, _: IncidentId) -> Result<Option<Incident>, RepositoryError> {
                Err(NOT_YET)
            }
            async fn incident_history(&self, _: IncidentId) -> Result<Vec<HistoryEntry>, RepositoryError> {
                Err(NOT_YET)
            }
            async fn incidents(
                &self,
                _: &IncidentFilter,
                _: Option<IncidentCursor>,
                _: usize,
            ) -> Result<Vec<Incident>, RepositoryError> {
                Err(NOT_YET)
            }
            async fn firing(&self) -> Result<Vec<FiringCount>, RepositoryError> {
                Err(NOT_YET)
            }
        }
        #[async_trait]
        impl Outbox for $store {
            async fn waiting(
                &self,
                _: &[ChannelName],
                _: Timestamp,
            ) -> Result<Vec<ChannelName>, RepositoryError> {
                Err(NOT_YET)
            }
            async fn lease(
                &self,
                _: &ChannelName,
                _: &str,
                _: Timestamp,
                _: Timestamp,
            ) -> Result<Option<Lease>, RepositoryError> {
                Err(NOT_YET)
            }
            async fn renew(&self, _: &Lease, _: Timestamp) -> Result<bool, RepositoryError> {
                Err(NOT_YET)
            }
            async fn release(&self, _: &Lease) -> Result<(), RepositoryError> {
                Err(NOT_YET)
            }
            async fn take(
                &self,
                _: &Lease,
                _: Timestamp,
                _: bool,
            ) -> Result<Option<Delivery>, RepositoryError> {
                Err(NOT_YET)
            }
            async fn settle(&self, _: &Lease, _: Settlement) -> Result<bool, RepositoryError> {
                Err(NOT_YET)
            }
            async fn outdated(&self, _: &ChannelName, _: usize) -> Result<Vec<Posted>, RepositoryError> {
                Err(NOT_YET)
            }
            async fn edited(&self, _: &Lease, _: &Posted, _: Timestamp) -> Result<bool, RepositoryError> {
                Err(NOT_YET)
            }
            async fn told_since(
                &self,
                _: &ChannelName,
                _: Timestamp,
                _: usize,
            ) -> Result<Vec<(Timestamp, Fingerprint)>, RepositoryError> {
                Err(NOT_YET)
            }
            async fn channels(&self, _: Timestamp) -> Result<Vec<ChannelState>, RepositoryError> {
                Err(NOT_YET)
            }
        }
    };
}
pub(crate) use no_incidents;
