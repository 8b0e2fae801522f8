//! The server's bytes for what is read from the log and waits to be sent.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{MAX_FRAME_BYTES, MAX_READ_BYTES};

/// The server's bytes for answers with batches: one part for those of the usual size, one for larger ones. A few peers
/// that ask for large batches and take none hold up only others who ask for large ones.
#[derive(Clone)]
pub(in crate::server) struct OutboundBudget {
    usual: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// When less than this is left for answers of the usual size, others wait.
const SPENT_BYTES: usize = MAX_READ_BYTES;

impl OutboundBudget {
    pub(in crate::server) fn new(bytes: usize) -> Self {
        // Each part has room for the largest frame.
        let part = (bytes / 2).max(MAX_FRAME_BYTES);
        Self { usual: Arc::new(Semaphore::new(part)), large: Arc::new(Semaphore::new(part)) }
    }

    /// What is left of its parts.
    #[cfg(feature = "trial")]
    pub(in crate::server) fn free(&self) -> [usize; 2] {
        [&self.usual, &self.large].map(|part| part.available_permits())
    }

    /// Waits until there is room for an answer of this size. `None`: never; the server is going down.
    pub(super) async fn acquire(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let part = if bytes <= MAX_READ_BYTES { &self.usual } else { &self.large };
        let count = u32::try_from(bytes).expect("at most a frame");
        part.clone().acquire_many_owned(count).await.ok()
    }

    /// Whether others wait, or soon will.
    pub(super) fn is_nearly_spent(&self) -> bool {
        self.usual.available_permits() < SPENT_BYTES || self.large.available_permits() < MAX_FRAME_BYTES
    }
}
