//! Admission: a request takes its place and its bytes before it is handled, and gives them back when it is answered.

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
    /// The largest frame that the connection has finished, in bytes.
    finished: AtomicUsize,
}

/// The server's bytes for requests: one part for frames that are still arriving, one for those that are all there.
///
/// A frame that arrives takes its bytes in steps, ahead of what it has sent: who has sent little holds little. So that
/// frames which hold a part and wait for more do not wait for each other, one at a time goes on without taking any.
///
/// A thousand peers that have stopped half-way hold all there is, and those that stand behind them take it when they are
/// given up. So a part is kept for connections that have shown that they finish what they begin.
pub(in crate::server) struct InboundBudget {
    arriving: Arc<Semaphore>,
    /// All of `arriving`.
    capacity: usize,
    /// For frames of connections that have finished others of that size.
    proven: Arc<Semaphore>,
    /// All of `proven`.
    proven_capacity: usize,
    /// Held by the frame that goes on; there is room for all of it beside `arriving`.
    last: Arc<Semaphore>,
    /// Frames that wait for either.
    waiting: AtomicUsize,
    whole: Arc<Semaphore>,
}

/// Room for arriving frames when the operator gave next to none.
const MIN_ARRIVING_BYTES: usize = 1024 * 1024;
/// What part of the room for arriving frames is for connections that have finished others.
const PROVEN_PART: usize = 8;
/// A frame with its length field.
const MAX_BYTES: usize = MAX_FRAME_BYTES + 4;
/// The first step, and the factor of the others, while there is plenty.
const STEP_BYTES: usize = 256 * 1024;
const STEP_FACTOR: usize = 4;
/// Steps when there is not: as much again as is there, within these bounds.
const MIN_STEP_BYTES: usize = 8 * 1024;
const MAX_STEP_BYTES: usize = 64 * 1024;

impl InboundBudget {
    pub(in crate::server) fn new(bytes: usize) -> Self {
        let part = (bytes / 2).max(MAX_BYTES);
        let arriving = (part - MAX_BYTES).max(MIN_ARRIVING_BYTES);
        let proven = arriving / PROVEN_PART;
        let arriving = arriving - proven;
        Self {
            arriving: Arc::new(Semaphore::new(arriving)),
            capacity: arriving,
            proven: Arc::new(Semaphore::new(proven)),
            proven_capacity: proven,
            last: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
            whole: Arc::new(Semaphore::new(part)),
        }
    }

    /// What is left of its parts.
    #[cfg(feature = "trial")]
    pub(in crate::server) fn free(&self) -> [usize; 4] {
        [&self.arriving, &self.proven, &self.last, &self.whole].map(|part| part.available_permits())
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

    fn take(&mut self, permit: OwnedSemaphorePermit, room: usize) {
        self.bytes = room.max(self.bytes);
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
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

/// A place among the requests of a connection, and its part of their bytes.
pub(super) struct Entered {
    place: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
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
            finished: AtomicUsize::new(0),
        }
    }

    /// Waits until the connection has a place and bytes left for a frame of `bytes`. This comes first: who waits for
    /// what is its own holds nothing that others need.
    pub(super) async fn enter(&self, bytes: usize) -> Entered {
        Entered { place: acquire(&self.requests, 1).await, bytes: acquire(&self.bytes, bytes).await }
    }

    /// Waits until there is room for the next step of a frame of `bytes`, of which `has` are there. While it waits, the
    /// socket is not read.
    pub(super) async fn arrive(&self, arriving: &mut Arriving, has: usize, bytes: usize) {
        let InboundBudget { arriving: budget, proven, proven_capacity, last, waiting, capacity, .. } = &*self.server;
        let large = (arriving.bytes * STEP_FACTOR).max(STEP_BYTES).min(bytes);
        let is_plenty = budget.available_permits() > capacity / 2;
        if is_plenty && let Ok(permit) = budget.clone().try_acquire_many_owned(count(large - arriving.bytes)) {
            return arriving.take(permit, large);
        }
        // A short frame never holds a part and waits for more; a longer one waits for small steps.
        let small =
            if bytes <= STEP_BYTES { bytes } else { (has + has.clamp(MIN_STEP_BYTES, MAX_STEP_BYTES)).min(bytes) };
        let more = small.saturating_sub(arriving.bytes);
        let _waiting = Waiting::new(waiting);
        // What came unasked is at most one read, so a step is a small part of the budget.
        assert!(more <= *capacity, "{more} bytes are more than all of the budget");
        if arriving.held.is_none() {
            let is_proven = bytes <= self.finished.load(Relaxed).min(*proven_capacity);
            return tokio::select! {
                biased;
                permit = acquire(budget, more) => arriving.take(permit, small),
                permit = acquire(proven, bytes), if is_proven => arriving.take(permit, bytes),
            };
        }
        tokio::select! {
            biased;
            permit = acquire(budget, more) => arriving.take(permit, small),
            // Who goes on needs no part any more.
            last = acquire(last, 1) => (arriving.last, arriving.held, arriving.bytes) = (Some(last), None, bytes),
        }
    }

    /// Waits until there is room for a frame of `bytes` that is all there. While it waits, the socket is not read.
    pub(super) async fn admit(&self, entered: Entered, bytes: usize) -> Admitted {
        let Entered { place, bytes: own } = entered;
        self.finished.fetch_max(bytes, Relaxed);
        Admitted { place, _bytes: own, _server_bytes: acquire(&self.server.whole, bytes).await }
    }

    /// Ready when every request that was admitted is answered, and the answers are written.
    pub(super) async fn all_answered(&self) {
        drop(acquire(&self.requests, MAX_IN_FLIGHT_REQUESTS).await);
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, permits: usize) -> OwnedSemaphorePermit {
    semaphore.clone().acquire_many_owned(count(permits)).await.expect(NEVER_CLOSED)
}

fn count(permits: usize) -> u32 {
    u32::try_from(permits).expect("frames are under 4 GiB")
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, poll};

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn budget() -> Arc<InboundBudget> {
        Arc::new(InboundBudget::new(32 * MIB))
    }

    /// Takes steps until there is room for so much.
    async fn arrive(admission: &Admission, arriving: &mut Arriving, upto: usize, bytes: usize) {
        while arriving.room() < upto {
            let has = arriving.room();
            admission.arrive(arriving, has, bytes).await;
        }
    }

    #[tokio::test]
    async fn a_frame_takes_memory_as_it_arrives_and_gives_all_of_it_back() {
        let budget = budget();
        let all = budget.arriving.available_permits();
        let admission = Admission::new(budget.clone());
        let mut arriving = Arriving::default();
        admission.arrive(&mut arriving, 2048, 3 * MIB).await;
        assert_eq!((arriving.room(), all - budget.arriving.available_permits()), (STEP_BYTES, STEP_BYTES));
        arrive(&admission, &mut arriving, 3 * MIB, 3 * MIB).await;
        assert_eq!((arriving.room(), all - budget.arriving.available_permits()), (3 * MIB, 3 * MIB));
        drop(arriving);
        assert_eq!(budget.arriving.available_permits(), all);
    }

    /// A frame of 8 MiB at an honest pace held up every other one for as long as it took.
    #[tokio::test]
    async fn while_one_large_frame_goes_on_another_one_waits_and_small_ones_do_not() {
        let budget = budget();
        let admission = Admission::new(budget.clone());
        let (mut first, mut second) = (Arriving::default(), Arriving::default());
        arrive(&admission, &mut first, MAX_BYTES, MAX_BYTES).await;
        arrive(&admission, &mut second, MIB, MAX_BYTES).await;
        let mut held = Vec::new();
        for _ in 0..100 {
            let mut small = Arriving::default();
            // Not to be told to wait because this task has done enough for now.
            tokio::task::yield_now().await;
            admission.arrive(&mut small, 2048, STEP_BYTES).now_or_never().expect("there is room for it");
            held.push(small);
            held.truncate(20);
        }
        drop(held);
        let mut third = Arriving::default();
        arrive(&admission, &mut third, 4 * MIB, MAX_BYTES).now_or_never();
        let mut waits = Box::pin(arrive(&admission, &mut second, MAX_BYTES, MAX_BYTES));
        if poll!(&mut waits).is_pending() {
            assert!(budget.is_wanted());
            drop(first);
            drop(third);
            waits.await;
        }
        assert!(!budget.is_wanted());
    }

    #[tokio::test]
    async fn who_waits_for_a_place_of_its_own_holds_nothing_that_others_need() {
        let budget = budget();
        let admission = Admission::new(budget.clone());
        let mut places = Vec::new();
        for _ in 0..MAX_IN_FLIGHT_REQUESTS {
            places.push(admission.enter(100).await);
        }
        let before = (budget.arriving.available_permits(), budget.whole.available_permits());
        let mut waits = Box::pin(admission.enter(8 * MIB));
        assert!(poll!(&mut waits).is_pending());
        assert_eq!((budget.arriving.available_permits(), budget.whole.available_permits()), before);
        assert!(!budget.is_wanted());
        places.clear();
        waits.await;
    }

    /// A thousand peers that had sent 2 KiB each held up everybody else's larger frames for a minute.
    #[tokio::test]
    async fn who_has_sent_little_holds_little_when_there_is_not_plenty() {
        let budget = budget();
        let admission = Admission::new(budget.clone());
        let mut held = Vec::new();
        for _ in 0..300 {
            let mut little = Arriving::default();
            tokio::task::yield_now().await;
            admission.arrive(&mut little, 2048, MAX_BYTES).now_or_never().expect("there is room for it");
            held.push(little);
        }
        assert!(!budget.is_wanted());
    }

    /// A thousand peers had sent one half of a frame of 30 KB each. An honest frame of 100 KB waited until all of them had
    /// held the memory and were given up, for two seconds.
    #[tokio::test]
    async fn who_has_finished_frames_does_not_wait_for_those_who_have_not() {
        let budget = budget();
        let (stalled, honest) = (Admission::new(budget.clone()), Admission::new(budget.clone()));
        honest.admit(honest.enter(100_000).await, 100_000).await;
        let mut held = Vec::new();
        let mut behind = Box::pin(async {
            loop {
                let mut half = Arriving::default();
                tokio::task::yield_now().await;
                stalled.arrive(&mut half, 15_000, 30_000).await;
                held.push(half);
            }
        });
        while !budget.is_wanted() {
            assert!(poll!(&mut behind).is_pending());
        }
        let mut frame = Arriving::default();
        honest.arrive(&mut frame, 2048, 100_000).now_or_never().expect("there is room for it");
        assert_eq!(frame.room(), 100_000);
        let mut larger = Arriving::default();
        let mut waits = Box::pin(honest.arrive(&mut larger, 2048, 100_001));
        assert!(poll!(&mut waits).is_pending(), "it has finished none of that size");
    }
}
