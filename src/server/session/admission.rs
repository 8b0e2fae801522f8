//! Admission: a request takes its place and its bytes before it is read, and gives them back when it is answered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{MAX_IN_FLIGHT_BYTES, MAX_IN_FLIGHT_REQUESTS};

/// The places of one connection, and the bytes of it and of the server.
pub(super) struct Admission {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    server_bytes: Arc<Semaphore>,
}

/// A request that was admitted. Dropped when it is answered.
pub(in crate::server) struct Admitted {
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    _server_bytes: OwnedSemaphorePermit,
}

impl Admission {
    pub(super) fn new(server_bytes: Arc<Semaphore>) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(MAX_IN_FLIGHT_REQUESTS)),
            bytes: Arc::new(Semaphore::new(MAX_IN_FLIGHT_BYTES)),
            server_bytes,
        }
    }

    /// Waits until there is room for a frame of `bytes`. While it waits, the socket is not read.
    pub(super) async fn admit(&self, bytes: usize) -> Admitted {
        // The server's budget comes last: who waits for a place of its own holds nothing that others need.
        Admitted {
            _place: acquire(&self.requests, 1).await,
            _bytes: acquire(&self.bytes, bytes).await,
            _server_bytes: acquire(&self.server_bytes, bytes).await,
        }
    }

    /// Ready when every request that was admitted is answered.
    pub(super) async fn all_answered(&self) {
        drop(acquire(&self.requests, MAX_IN_FLIGHT_REQUESTS).await);
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, count: usize) -> OwnedSemaphorePermit {
    let count = u32::try_from(count).expect("frames are under 4 GiB");
    semaphore.clone().acquire_many_owned(count).await.expect("these semaphores are never closed")
}
