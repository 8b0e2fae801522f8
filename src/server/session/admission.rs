//! Admission: a request takes its place and its bytes before it is read, and gives them back when it is answered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{MAX_FRAME_BYTES, MAX_IN_FLIGHT_BYTES, MAX_IN_FLIGHT_REQUESTS};

/// The places of one connection, and the bytes of it and of the server.
pub(super) struct Admission {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    server: Arc<InboundBudget>,
}

/// The server's bytes for requests: one part for frames that are still arriving, one for those that are all there.
/// Peers who begin frames and then dawdle hold up only others whose frames do not come in one piece.
pub(in crate::server) struct InboundBudget {
    arriving: Arc<Semaphore>,
    whole: Arc<Semaphore>,
}

impl InboundBudget {
    pub(in crate::server) fn new(bytes: usize) -> Self {
        // Each part has room for the largest frame, with its length field.
        let part = (bytes / 2).max(MAX_FRAME_BYTES + 4);
        Self { arriving: Arc::new(Semaphore::new(part)), whole: Arc::new(Semaphore::new(part)) }
    }
}

/// A request that was admitted. Its bytes are given back when it is answered, its place when the answer is written.
pub(in crate::server) struct Admitted {
    place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    _server_bytes: OwnedSemaphorePermit,
}

impl Admitted {
    /// The request is answered.
    pub(in crate::server) fn into_place(self) -> OwnedSemaphorePermit {
        self.place
    }
}

impl Admission {
    pub(super) fn new(server: Arc<InboundBudget>) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(MAX_IN_FLIGHT_REQUESTS)),
            bytes: Arc::new(Semaphore::new(MAX_IN_FLIGHT_BYTES)),
            server,
        }
    }

    /// Waits until there is room for a frame of `bytes` to arrive. While it waits, the socket is not read.
    pub(super) async fn arrive(&self, bytes: usize) -> OwnedSemaphorePermit {
        acquire(&self.server.arriving, bytes).await
    }

    /// Waits until there is room for a frame of `bytes` that is all there. While it waits, the socket is not read.
    pub(super) async fn admit(&self, bytes: usize) -> Admitted {
        // The server's budget comes last: who waits for a place of its own holds nothing that others need.
        Admitted {
            place: acquire(&self.requests, 1).await,
            _bytes: acquire(&self.bytes, bytes).await,
            _server_bytes: acquire(&self.server.whole, bytes).await,
        }
    }

    /// Ready when every request that was admitted is answered, and the answers are written.
    pub(super) async fn all_answered(&self) {
        drop(acquire(&self.requests, MAX_IN_FLIGHT_REQUESTS).await);
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, count: usize) -> OwnedSemaphorePermit {
    let count = u32::try_from(count).expect("frames are under 4 GiB");
    semaphore.clone().acquire_many_owned(count).await.expect("these semaphores are never closed")
}
