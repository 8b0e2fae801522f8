//! Admission: a request takes its place and its bytes before it is read, and gives them back when it is answered.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{MAX_FRAME_BYTES, MAX_IN_FLIGHT_BYTES, MAX_IN_FLIGHT_REQUESTS};

const NEVER_CLOSED: &str = "these semaphores are never closed";

/// The places of one connection, and the bytes of it and of the server.
pub(super) struct Admission {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    server: Arc<InboundBudget>,
}

/// The server's bytes for requests: one part for frames that are still arriving, one for those that are all there.
///
/// A frame that arrives takes its bytes in steps, ahead of what it has sent: who has sent little holds little. So that
/// frames which hold a part and wait for more do not wait for each other, one at a time goes on without taking any.
pub(in crate::server) struct InboundBudget {
    arriving: Arc<Semaphore>,
    /// Held by the frame that goes on; there is room for all of it beside `arriving`.
    last: Arc<Semaphore>,
    /// Frames that wait for either.
    waiting: AtomicUsize,
    whole: Arc<Semaphore>,
}

/// Room for arriving frames when the operator gave next to none.
const MIN_ARRIVING_BYTES: usize = 1024 * 1024;
/// A frame with its length field.
const MAX_BYTES: usize = MAX_FRAME_BYTES + 4;
/// The first step, and the factor of the others. Frames that are not longer never hold a part and wait for more.
const FIRST_STEP_BYTES: usize = 256 * 1024;
const STEP_FACTOR: usize = 4;

impl InboundBudget {
    pub(in crate::server) fn new(bytes: usize) -> Self {
        let part = (bytes / 2).max(MAX_BYTES);
        let arriving = (part - MAX_BYTES).max(MIN_ARRIVING_BYTES);
        Self {
            arriving: Arc::new(Semaphore::new(arriving)),
            last: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
            whole: Arc::new(Semaphore::new(part)),
        }
    }

    /// Whether somebody waits for what arriving frames hold.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }
}

/// What a frame holds while it arrives.
#[derive(Default)]
pub(super) struct Arriving {
    bytes: usize,
    held: Option<OwnedSemaphorePermit>,
    last: Option<OwnedSemaphorePermit>,
}

impl Arriving {
    /// Bytes that may be in memory now.
    pub(super) fn room(&self) -> usize {
        self.bytes
    }
}

/// Counts somebody who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
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

    /// Waits until there is room for the next step of a frame of `bytes` to arrive. While it waits, the socket is not
    /// read.
    pub(super) async fn arrive(&self, arriving: &mut Arriving, bytes: usize) {
        let room = (arriving.bytes * STEP_FACTOR).max(FIRST_STEP_BYTES).min(bytes);
        let step = u32::try_from(room - arriving.bytes).expect("frames are under 4 GiB");
        if arriving.last.is_none() {
            let budget = &self.server;
            let permit = match budget.arriving.clone().try_acquire_many_owned(step) {
                Ok(permit) => permit,
                Err(_) => {
                    let _waiting = Waiting::new(&budget.waiting);
                    tokio::select! {
                        permit = budget.arriving.clone().acquire_many_owned(step) => permit.expect(NEVER_CLOSED),
                        last = budget.last.clone().acquire_owned() => {
                            arriving.bytes = bytes;
                            arriving.last = Some(last.expect(NEVER_CLOSED));
                            return;
                        }
                    }
                }
            };
            match &mut arriving.held {
                Some(held) => held.merge(permit),
                None => arriving.held = Some(permit),
            }
        }
        arriving.bytes = room;
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
    semaphore.clone().acquire_many_owned(count).await.expect(NEVER_CLOSED)
}
