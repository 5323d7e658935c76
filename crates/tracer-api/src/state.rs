//! What handlers share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::live::Hub;
use crate::otlp::intake::Intake;
use crate::recording::Tracing;

/// What every handler of the domain may use; one per process.
#[derive(Clone, Debug)]
pub struct AppState {
    /// Records, and leads to what is recorded.
    pub tracing: Tracing,
    /// Lets listeners hear of changes.
    pub live: Hub,
    /// Takes in what comes by OTLP.
    pub otlp: Arc<Intake>,
    /// Whether `POST /simulate` answers.
    pub simulate: bool,
    /// Cancelled once the service is to stop: it is alive then, and ready no more.
    pub stopping: CancellationToken,
}
