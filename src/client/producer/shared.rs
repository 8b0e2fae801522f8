//! What a producer's handle shares with its driver: the window, the queue, and how far delivery is.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, TryAcquireError, watch};

use super::{
    queue::{Cost, Draft, Queue},
    ticket::Ticket,
};
use crate::{
    client::Error,
    limits::{BATCH_HEADER_BYTES, MAX_RECORD_BYTES},
    record::{BatchError, Record, Timestamp},
};

/// Bytes of a record beside its parts, at most: its length, its timestamp, length of the key and count of headers.
const RECORD_OVERHEAD_BYTES: usize = 4 + 10 + 3 + 1;
/// Bytes of a header beside its name and value, at most.
const HEADER_OVERHEAD_BYTES: usize = 2 + 4;
/// How far delivery is when it has failed: whoever waits for a batch is to look.
const FAILED: u64 = u64::MAX;

/// Sizes that hold for one producer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// When a batch is full.
    pub(super) batch_bytes: usize,
    /// Records that are enqueued and not settled.
    pub(super) window_bytes: usize,
    /// What the server granted.
    pub(super) max_batch_bytes: usize,
    /// What the server granted.
    pub(super) max_record_bytes: usize,
}

/// See the module.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// A permit for each byte; a batch gives its share back when it is settled.
    window: Semaphore,
    sizes: Sizes,
    /// Tells the driver that there is something to do.
    pub(super) work: Notify,
    /// How many batches are settled, all before them included.
    settled: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(mut sizes: Sizes) -> Self {
        sizes.window_bytes = sizes.window_bytes.clamp(1, u32::MAX as usize);
        sizes.batch_bytes = sizes.batch_bytes.min(sizes.max_batch_bytes);
        Self {
            queue: Mutex::new(Queue::new(sizes.batch_bytes)),
            window: Semaphore::new(sizes.window_bytes),
            sizes,
            work: Notify::new(),
            settled: watch::Sender::new(0),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a record takes, from above. `Err`: no batch that the server accepts can hold it.
    pub(super) fn cost(&self, record: &Record) -> Result<Cost, Error> {
        let headers: usize = record.headers.iter().map(|h| HEADER_OVERHEAD_BYTES + h.name.len() + h.value.len()).sum();
        let key = record.key.as_ref().map_or(0, bytes::Bytes::len);
        let bytes = RECORD_OVERHEAD_BYTES + record.value.len() + key + headers;
        let by_batch = self.sizes.max_batch_bytes - BATCH_HEADER_BYTES;
        // At our own limit the builder looks at the exact size; a server that grants less gets the estimate.
        let by_record = Some(self.sizes.max_record_bytes).filter(|&granted| granted < MAX_RECORD_BYTES);
        let limit = by_batch.min(by_record.unwrap_or(by_batch));
        match bytes > limit {
            true => Err(Error::Record(BatchError::RecordTooLarge { bytes, limit })),
            false => Ok(Cost { bytes, permits: self.permits(bytes) }),
        }
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.sizes.window_bytes)).expect("the window fits in 32 bits")
    }

    /// Takes room in the window, if there is any. `Ok(false)`: there is none.
    pub(super) fn try_admit(&self, cost: Cost) -> Result<bool, Error> {
        match self.window.try_acquire_many(cost.permits) {
            Ok(permits) => {
                permits.forget();
                Ok(true)
            }
            Err(TryAcquireError::NoPermits) => Ok(false),
            Err(TryAcquireError::Closed) => Err(self.failure()),
        }
    }

    /// Waits for room in the window, first come, first served.
    pub(super) async fn admit(&self, cost: Cost) -> Result<(), Error> {
        match self.window.acquire_many(cost.permits).await {
            Ok(permits) => {
                permits.forget();
                Ok(())
            }
            Err(_) => Err(self.failure()),
        }
    }

    fn failure(&self) -> Error {
        self.queue().check().err().unwrap_or(Error::Closed)
    }

    /// Puts a record that was admitted into the queue.
    pub(super) fn push(&self, record: &Record, cost: Cost) -> Result<Ticket, Error> {
        let now = record.timestamp.unwrap_or_else(Timestamp::now);
        let pushed = self.queue().push(record, cost, now);
        match pushed {
            Ok((ticket, wakes)) => {
                if wakes {
                    self.work.notify_one();
                }
                Ok(ticket)
            }
            Err(error) => {
                self.window.add_permits(cost.permits as usize);
                Err(error)
            }
        }
    }

    /// Makes one batch of records, and says what it takes.
    pub(super) fn draft(&self, records: &[Record]) -> Result<(Draft, Cost), Error> {
        let costs: Vec<Cost> = records.iter().map(|record| self.cost(record)).collect::<Result<_, _>>()?;
        let bytes = costs.iter().map(|cost| cost.bytes).sum();
        let mut draft = Draft::new(bytes);
        for (record, cost) in records.iter().zip(costs) {
            let now = record.timestamp.unwrap_or_else(Timestamp::now);
            let _ticket = draft.push(record, cost, now).map_err(Error::Record)?;
        }
        let (actual, limit) = (draft.records.size(), self.sizes.max_batch_bytes);
        if actual > limit {
            return Err(Error::Record(BatchError::TooLarge { bytes: actual, limit }));
        }
        let cost = Cost { bytes, permits: self.permits(bytes) };
        draft.permits = cost.permits as usize;
        Ok((draft, cost))
    }

    /// Puts a batch that was admitted into the queue.
    pub(super) fn push_draft(&self, draft: Draft) -> Result<(), Error> {
        let permits = draft.permits;
        let pushed = self.queue().push_draft(draft);
        match pushed {
            Ok(wakes) => {
                if wakes {
                    self.work.notify_one();
                }
                Ok(())
            }
            Err(error) => {
                self.window.add_permits(permits);
                Err(error)
            }
        }
    }

    /// Gives room in the window back.
    pub(super) fn release(&self, permits: usize) {
        self.window.add_permits(permits);
    }

    /// So many more batches are settled, and all before them.
    pub(super) fn advance(&self, batches: u64) {
        self.settled.send_modify(|settled| *settled += batches);
    }

    /// Waits until everything that was enqueued before is settled.
    pub(super) async fn flushed(&self) -> Result<(), Error> {
        let begun = self.queue().begun();
        let mut settled = self.settled.subscribe();
        let reached = settled.wait_for(|&settled| settled >= begun).await.map_or(FAILED, |settled| *settled);
        match reached {
            FAILED => Err(self.failure()),
            _ => Ok(()),
        }
    }

    /// Batches that are not settled.
    pub(super) fn unsettled(&self) -> u64 {
        self.queue().begun().saturating_sub(*self.settled.borrow())
    }

    /// Asks the driver to end once everything is delivered.
    pub(super) fn stop(&self) {
        self.queue().stop();
        self.work.notify_one();
    }

    /// Takes nothing any more: all later calls fail with this error. Gives back the batches of which nothing was sent.
    pub(super) fn fail(&self, error: &Error) -> Vec<Draft> {
        let drafts = self.queue().fail(error.clone().with_effect(false));
        self.window.close();
        self.settled.send_replace(FAILED);
        drafts
    }
}
