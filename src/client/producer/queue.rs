//! Records on their way into batches: the meeting point of those who enqueue and the driver, which takes batches out.
//!
//! Records are encoded straight into the batch that is open. A batch is closed when it is full or when the driver takes
//! it, whichever is first, so batches are as large as the time that the ones before them are in flight.
//!
//! Bounds: what is in here holds permits of the window (see [`super::shared`]), so it needs no limit of its own.

use std::{collections::VecDeque, num::NonZeroU64, sync::Arc};

use tokio::time::Instant;

use super::ticket::{BatchCell, Ticket};
use crate::{
    client::Error,
    limits::BATCH_HEADER_BYTES,
    protocol::CursorMove,
    record::{BatchBuilder, BatchError, Record, Timestamp},
};

/// What a record takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Of a batch, at most.
    pub(super) bytes: usize,
    /// Of the window: as many, unless the window is smaller than the record.
    pub(super) permits: u32,
}

/// A batch that nothing was sent of.
pub(super) struct Draft {
    pub(super) records: BatchBuilder,
    /// Cursors that move with it.
    pub(super) commits: Vec<CursorMove>,
    /// How much it covers of what the producer counts. `None`: its records.
    pub(super) units: Option<NonZeroU64>,
    pub(super) cell: Arc<BatchCell>,
    /// Permits of the window that its records hold.
    pub(super) permits: usize,
    /// When its first record came.
    pub(super) since: Instant,
}

impl Draft {
    pub(super) fn new(room_bytes: usize) -> Self {
        Self {
            records: BatchBuilder::with_capacity(room_bytes),
            commits: Vec::new(),
            units: None,
            cell: Arc::default(),
            permits: 0,
            since: Instant::now(),
        }
    }

    /// Adds a record. `Err`: the draft is as it was.
    pub(super) fn push(&mut self, record: &Record, cost: Cost, now: Timestamp) -> Result<Ticket, BatchError> {
        let index = u32::try_from(self.records.len()).expect("a batch holds at most 65,536 records");
        self.records.push(record, now)?;
        self.permits += cost.permits as usize;
        Ok(Ticket::new(Arc::clone(&self.cell), index))
    }
}

/// See the module. Lives under a mutex.
#[derive(Default)]
pub(super) struct Queue {
    max_batch_bytes: usize,
    /// Holds at least one record, unless it is `None`.
    open: Option<Draft>,
    closed: VecDeque<Draft>,
    /// Batches that were begun so far.
    begun: u64,
    /// Room for the next batch: what the last one needed.
    expected_bytes: usize,
    /// Whether the driver found nothing to take, and sleeps.
    is_awaited: bool,
    /// Whether the driver is to end once everything is delivered.
    is_stopping: bool,
    /// Why nothing is taken any more.
    failure: Option<Error>,
}

impl Queue {
    pub(super) fn new(max_batch_bytes: usize) -> Self {
        Self { max_batch_bytes, ..Self::default() }
    }

    /// Adds a record. Also says whether the driver is to be woken.
    pub(super) fn push(&mut self, record: &Record, cost: Cost, now: Timestamp) -> Result<(Ticket, bool), Error> {
        self.check()?;
        if let Some(open) = &mut self.open {
            if open.records.size() + cost.bytes <= self.max_batch_bytes {
                match open.push(record, cost, now) {
                    Ok(ticket) => return Ok((ticket, false)),
                    Err(BatchError::TooLarge { .. }) => {}
                    Err(error) => return Err(Error::Record(error)),
                }
            }
            self.close_open();
        }
        let mut draft = Draft::new(self.expected_bytes.max(cost.bytes));
        let ticket = draft.push(record, cost, now).map_err(Error::Record)?;
        self.begun += 1;
        self.open = Some(draft);
        Ok((ticket, std::mem::take(&mut self.is_awaited)))
    }

    /// Adds a whole batch behind what was enqueued before it. Says whether the driver is to be woken.
    pub(super) fn push_draft(&mut self, mut draft: Draft) -> Result<bool, Error> {
        self.check()?;
        draft.since = Instant::now();
        self.close_open();
        self.begun += 1;
        self.closed.push_back(draft);
        Ok(std::mem::take(&mut self.is_awaited))
    }

    fn close_open(&mut self) {
        if let Some(draft) = self.open.take() {
            self.expected_bytes = draft.records.size() - BATCH_HEADER_BYTES;
            self.closed.push_back(draft);
        }
    }

    /// Takes the oldest batch, full or not.
    pub(super) fn take(&mut self) -> Option<Draft> {
        if self.closed.is_empty() {
            self.close_open();
        }
        self.closed.pop_front()
    }

    /// Since when the oldest batch waits. `None`: there is none, and the next one will wake the driver.
    pub(super) fn oldest(&mut self) -> Option<Instant> {
        let oldest = self.closed.front().or(self.open.as_ref()).map(|draft| draft.since);
        self.is_awaited = oldest.is_none();
        oldest
    }

    /// Batches that were begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Asks the driver to end once everything is delivered.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Whether the driver is to end once everything is delivered.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether records are taken.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Takes nothing any more, and gives back what is here.
    pub(super) fn fail(&mut self, error: Error) -> Vec<Draft> {
        self.failure.get_or_insert(error);
        self.close_open();
        self.closed.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Cost = Cost { bytes: 100, permits: 100 };

    fn push(queue: &mut Queue, value: &'static str) -> bool {
        let (_ticket, wakes) = queue.push(&Record::new(value), COST, Timestamp(0)).expect("small");
        wakes
    }

    #[tokio::test]
    async fn the_driver_is_woken_once_however_many_records_come() {
        let mut queue = Queue::new(10_000);
        assert!(!push(&mut queue, "nobody waits yet"));
        assert!(queue.oldest().is_some());
        queue.take().expect("one batch");
        assert!(queue.oldest().is_none());
        assert!(push(&mut queue, "first"));
        assert!(!push(&mut queue, "second"));
        assert_eq!(queue.take().expect("both").records.len(), 2);
        assert_eq!(queue.begun(), 2);
    }

    #[tokio::test]
    async fn a_batch_is_closed_when_the_next_record_would_not_fit() {
        let mut queue = Queue::new(BATCH_HEADER_BYTES + 150);
        for value in ["a", "b", "c"] {
            push(&mut queue, value);
        }
        let large = Cost { bytes: 5024, permits: 100 };
        let _ticket = queue.push(&Record::new(vec![0; 5000]), large, Timestamp(0)).expect("a batch of its own");
        let sizes: Vec<usize> = std::iter::from_fn(|| queue.take()).map(|draft| draft.records.len()).collect();
        // 100 is an estimate; the three records take 5 bytes each.
        assert_eq!(sizes, [3, 1]);
    }

    #[tokio::test]
    async fn a_record_over_the_limit_fails_alone() {
        let mut queue = Queue::new(10_000);
        let huge = Record::new(vec![0; crate::limits::MAX_RECORD_BYTES]);
        queue.push(&huge, COST, Timestamp(0)).expect_err("over the limit");
        assert!(queue.oldest().is_none());
        push(&mut queue, "small");
        queue.push(&huge, COST, Timestamp(0)).expect_err("over the limit");
        assert_eq!(queue.take().expect("the small one").records.len(), 1);
    }
}
