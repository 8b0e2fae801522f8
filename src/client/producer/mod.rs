//! Producers: records in, offsets out, each stored exactly once.
//!
//! ```text
//!  enqueue ──▶ window ──▶ queue: batch being filled ──▶ driver ──▶ in flight ──▶ acknowledged
//!     │                                                                              │
//!     └─ ticket ◀────────────────────── one cell per batch ◀─────────────────────────┘
//! ```

mod builder;
mod driver;
mod flight;
mod queue;
mod shared;
#[cfg(test)]
mod tests;
mod ticket;
mod trouble;

use std::{fmt, num::NonZeroU64, ops::Range, sync::Arc};

use tokio::task::JoinHandle;

pub use self::{builder::ProducerBuilder, ticket::Ticket};

use self::{
    driver::Identity,
    queue::{Cost, Draft},
    shared::Shared,
};
use super::Error;
use crate::{
    limits::{MAX_APPEND_COMMITS, MAX_BATCH_RECORDS},
    protocol::CursorMove,
    record::{Epoch, Offset, ProducerId, Record, Sequence},
};

/// Appends records to one topic, in order. From [`Client::producer`](super::Client::producer).
///
/// All methods take `&self`: tasks share a producer behind a reference or an [`Arc`].
///
/// Batches form by themselves: a record leaves at once when nothing is in flight, and those that come meanwhile leave
/// together. Memory is bounded by the window, [`ProducerBuilder::window_bytes`].
///
/// **Failure.** What a later try can mend is mended: lost connections, a full disk, until
/// [`ProducerBuilder::delivery_timeout`]. Anything else ends the producer: every outstanding ticket and every later call
/// gets the error. A record over a limit fails only its own call, and so does a [`Self::send_all`] whose cursors do not
/// exist.
///
/// **Dropping** a producer neither waits nor discards: delivery goes on in the background while the runtime lives, and
/// what is outstanding then is reported as a warning. [`Self::close`] waits for it.
pub struct Producer {
    shared: Arc<Shared>,
    identity: Identity,
    last_sequence: Sequence,
    driver: Option<JoinHandle<()>>,
}

/// Why [`Producer::try_enqueue`] did not take a record.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryEnqueueError {
    /// The window has no room. Here is the record.
    #[error("the window of the producer is full")]
    Full(Record),
    /// The record is over a limit, or the producer has failed.
    #[error(transparent)]
    Failed(Error),
}

impl Producer {
    /// The id that the server knows this producer by.
    #[must_use]
    pub fn id(&self) -> ProducerId {
        self.identity.id
    }

    /// How often a producer of this name was opened. An open one with a lower epoch is fenced.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.identity.epoch
    }

    /// How many records this producer had stored, under this name, before it was opened: where to go on from.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        self.last_sequence
    }

    /// Appends a record, and returns when it is durable.
    ///
    /// # Errors
    /// As [`Self::enqueue`] and [`Ticket`].
    ///
    /// # Cancel safety
    /// The record may be appended or not. While it waits for room in the window it is not.
    pub async fn send(&self, record: Record) -> Result<Offset, Error> {
        self.enqueue(record).await?.await
    }

    /// Queues a record, waiting for room in the window, first come, first served. The ticket becomes its offset once it
    /// is durable. A record that is larger than the window waits until it has the window to itself.
    ///
    /// # Errors
    /// [`Error::Record`] when the record is over a limit; whatever ended the producer.
    ///
    /// # Cancel safety
    /// The record is not enqueued. The place in the line for room is lost.
    pub async fn enqueue(&self, record: Record) -> Result<Ticket, Error> {
        let cost = self.shared.cost(&record)?;
        if !self.shared.try_admit(cost)? {
            self.shared.admit(cost).await?;
        }
        self.shared.push(&record, cost)
    }

    /// Queues a record if the window has room for it.
    ///
    /// # Errors
    /// [`TryEnqueueError::Full`] gives the record back; [`TryEnqueueError::Failed`] as for [`Self::enqueue`].
    pub fn try_enqueue(&self, record: Record) -> Result<Ticket, TryEnqueueError> {
        let cost = self.shared.cost(&record).map_err(TryEnqueueError::Failed)?;
        match self.shared.try_admit(cost) {
            Ok(true) => self.shared.push(&record, cost).map_err(TryEnqueueError::Failed),
            Ok(false) => Err(TryEnqueueError::Full(record)),
            Err(error) => Err(TryEnqueueError::Failed(error)),
        }
    }

    /// Appends records as one batch and moves cursors, all or nothing, in the same instant; returns when that is
    /// durable. In order with all other records of this producer.
    ///
    /// With cursors, it is what makes *read, transform, write* exact: see `examples/exactly_once.rs`. The next batch
    /// leaves only when such a batch is answered.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] without records, or with more than [`MAX_BATCH_RECORDS`] of them or
    /// [`MAX_APPEND_COMMITS`] cursors; [`Error::Record`] when the records do not fit one batch; [`Error::Refused`] when a cursor is refused, and then nothing has changed
    /// and the producer goes on; [`Error::OffsetUnknown`] and whatever ended the producer, as for [`Ticket`].
    ///
    /// # Cancel safety
    /// All of it may be done, or nothing. While it waits for room in the window it is nothing.
    pub async fn send_all(&self, records: Vec<Record>, commits: &[CursorMove]) -> Result<Range<Offset>, Error> {
        if records.is_empty() {
            return Err(Error::invalid("a batch takes at least one record"));
        }
        if commits.len() > MAX_APPEND_COMMITS || records.len() > MAX_BATCH_RECORDS {
            let (records, cursors) = (records.len(), commits.len());
            let limits = format!("limits of {MAX_BATCH_RECORDS} and {MAX_APPEND_COMMITS}");
            return Err(Error::invalid(format!("{records} records and {cursors} cursors exceed {limits}")));
        }
        let (mut draft, cost) = self.shared.draft(&records)?;
        draft.commits = commits.to_vec();
        let ticket = self.push_draft(draft, cost).await?;
        let base = ticket.await?;
        Ok(base..base.plus(records.len() as u64))
    }

    /// Queues records as one batch that covers so many units of what this producer counts, waiting for room in the
    /// window. The ticket becomes the offset of the first record once all of it is durable.
    ///
    /// For a source with positions of its own: the producer of a file counts its bytes, and
    /// [`Self::last_sequence`] is then where in the file to go on. Use it for all records of a producer, or for none.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] without records or with more than [`MAX_BATCH_RECORDS`]; [`Error::Record`] when they do
    /// not fit one batch; whatever ended the producer.
    ///
    /// # Cancel safety
    /// Nothing is enqueued. The place in the line for room is lost.
    pub async fn enqueue_units(&self, records: &[Record], units: NonZeroU64) -> Result<Ticket, Error> {
        if records.is_empty() || records.len() > MAX_BATCH_RECORDS {
            return Err(Error::invalid(format!(
                "a batch takes 1 to {MAX_BATCH_RECORDS} records, not {}",
                records.len()
            )));
        }
        let (mut draft, cost) = self.shared.draft(records)?;
        draft.units = Some(units);
        self.push_draft(draft, cost).await
    }

    async fn push_draft(&self, draft: Draft, cost: Cost) -> Result<Ticket, Error> {
        let ticket = Ticket::new(Arc::clone(&draft.cell), 0);
        self.shared.admit(cost).await?;
        self.shared.push_draft(draft)?;
        Ok(ticket)
    }

    /// Waits until everything that was enqueued before is durable.
    ///
    /// # Errors
    /// Whatever ended the producer. A failed [`Self::send_all`] that did not end it is reported by that call only.
    ///
    /// # Cancel safety
    /// Delivery goes on.
    pub async fn flush(&self) -> Result<(), Error> {
        self.shared.flushed().await
    }

    /// Waits until everything that was enqueued is durable, and ends the producer.
    ///
    /// # Errors
    /// As [`Self::flush`].
    ///
    /// # Cancel safety
    /// As dropping the producer: delivery goes on in the background.
    pub async fn close(mut self) -> Result<(), Error> {
        self.shared.flushed().await?;
        self.shared.stop();
        if let Some(driver) = self.driver.take() {
            // An error means that the runtime is shutting down; everything is durable already.
            driver.await.ok();
        }
        Ok(())
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.driver.is_some() {
            self.shared.stop();
            let batches = self.shared.unsettled();
            if batches > 0 {
                let producer = self.identity.id;
                tracing::warn!(%producer, batches, "producer dropped before its records are durable; use close()");
            }
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("id", &self.id()).field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}
