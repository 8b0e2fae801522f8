//! Admission: a request takes its place and its bytes before it is read, and gives them back when it is answered.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{MAX_IN_FLIGHT_BYTES, MAX_IN_FLIGHT_REQUESTS};

/// Frames up to this size have a part of the budget of their own: one in so many bytes.
const SMALL_FRAME_BYTES: usize = 256 * 1024;
const SMALL_SHARE: usize = 4;

/// The places of one connection, and the bytes of it and of the server.
pub(super) struct Admission {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    server: Arc<InboundBudget>,
}

/// The server's bytes for requests. Small frames have a part of their own, so that peers who announce large ones and
/// then dawdle hold up only others with large ones.
pub(in crate::server) struct InboundBudget {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl InboundBudget {
    pub(in crate::server) fn new(bytes: usize) -> Self {
        let small = bytes / SMALL_SHARE;
        Self { small: Arc::new(Semaphore::new(small)), large: Arc::new(Semaphore::new(bytes - small)) }
    }

    fn part(&self, frame_bytes: usize) -> &Arc<Semaphore> {
        if frame_bytes <= SMALL_FRAME_BYTES { &self.small } else { &self.large }
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

    /// Waits until there is room for a frame of `bytes`. While it waits, the socket is not read.
    pub(super) async fn admit(&self, bytes: usize) -> Admitted {
        // The server's budget comes last: who waits for a place of its own holds nothing that others need.
        Admitted {
            place: acquire(&self.requests, 1).await,
            _bytes: acquire(&self.bytes, bytes).await,
            _server_bytes: acquire(self.server.part(bytes), bytes).await,
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
