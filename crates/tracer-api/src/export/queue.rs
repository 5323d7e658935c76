//! What waits to be exported: bounded, and nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::mpsc;
use tracer_core::ids::ExecutionId;

use crate::metrics::export as metrics;

/// One thing to export.
#[derive(Debug)]
pub enum Item {
    /// An execution that has ended.
    Execution(ExecutionId),
    /// A request that this service answered.
    Request(Box<Span>),
}

/// Takes what is to be exported. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ExportQueue {
    sender: mpsc::Sender<Item>,
    /// Whether the last one found no room, so that a series of them is told of once.
    full: Arc<AtomicBool>,
}

impl ExportQueue {
    /// Returns a queue of so many places, at least one, and its other end.
    #[must_use]
    pub fn new(places: usize) -> (Self, mpsc::Receiver<Item>) {
        let (sender, receiver) = mpsc::channel(places.max(1));
        (Self { sender, full: Arc::default() }, receiver)
    }

    /// Takes one, unless there is no room.
    pub fn offer(&self, item: Item) {
        match self.sender.try_send(item) {
            Ok(()) => {
                if self.full.swap(false, Ordering::Relaxed) {
                    tracing::info!(event = "export", "there is room again for what is to be exported");
                }
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                metrics::dropped();
                if !self.full.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        event = "export",
                        waiting = self.sender.max_capacity(),
                        "too many executions wait to be exported: new ones are not"
                    );
                }
            }
            // The service stops, and what still ends is in the store alone.
            Err(mpsc::error::TrySendError::Closed(_)) => metrics::dropped(),
        }
        self.show();
    }

    /// Shows how many wait.
    fn show(&self) {
        metrics::waiting(self.sender.max_capacity() - self.sender.capacity());
    }
}
