//! What an enqueued record becomes: one cell per batch, and tickets that point into it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{client::Error, record::Offset};

/// Where a batch was stored; `None` when it is stored and the server no longer knows where.
type Outcome = Result<Option<Offset>, Error>;

/// The outcome of a batch, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct BatchCell {
    outcome: OnceLock<Outcome>,
    waiting: Mutex<Vec<Waker>>,
}

impl BatchCell {
    /// Settles the batch, once; what is said later is passed over.
    pub(super) fn settle(&self, outcome: Outcome) {
        if self.outcome.set(outcome).is_ok() {
            // After the outcome: whoever looks for it under the lock, and finds none, is in the list.
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// The outcome, or a place in the list of those who wait: the one given, from an earlier call, or a new one.
    fn poll(&self, place: &mut Option<usize>, context: &Context<'_>) -> Poll<&Outcome> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        match place.and_then(|place| waiting.get_mut(place)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                *place = Some(waiting.len());
                waiting.push(context.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// Becomes the offset of an enqueued record, once it is durable.
///
/// Dropping a ticket changes nothing about the record: it is delivered all the same, and a failure shows in
/// [`flush`](super::Producer::flush) and [`close`](super::Producer::close).
///
/// # Errors
/// [`Error::OffsetUnknown`] when the record **is** durable, and the server no longer knows where; otherwise why it is
/// not, or, when [`may_have_applied`](Error::may_have_applied) says so, perhaps is.
#[derive(Debug)]
#[must_use = "the record is durable only when its ticket says so; flush() waits for all of them"]
pub struct Ticket {
    cell: Arc<BatchCell>,
    /// Position of the record in its batch.
    index: u32,
    place: Option<usize>,
}

impl Ticket {
    pub(super) fn new(cell: Arc<BatchCell>, index: u32) -> Self {
        Self { cell, index, place: None }
    }
}

impl Future for Ticket {
    type Output = Result<Offset, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { cell, index, place } = self.get_mut();
        cell.poll(place, context).map(|outcome| match outcome {
            // The driver checked that the last record of the batch has an offset.
            Ok(Some(base)) => Ok(base.plus(u64::from(*index))),
            Ok(None) => Err(Error::OffsetUnknown),
            Err(error) => Err(error.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join_all};

    use super::*;

    fn tickets(count: u32) -> (Arc<BatchCell>, Vec<Ticket>) {
        let cell = Arc::new(BatchCell::default());
        (Arc::clone(&cell), (0..count).map(|index| Ticket::new(Arc::clone(&cell), index)).collect())
    }

    #[tokio::test]
    async fn each_ticket_of_a_batch_gets_its_own_offset() {
        let (cell, tickets) = tickets(100);
        let waiting = tokio::spawn(join_all(tickets));
        tokio::task::yield_now().await;
        cell.settle(Ok(Some(Offset(40))));
        cell.settle(Err(Error::Closed));
        let offsets: Result<Vec<_>, _> = waiting.await.expect("no panic").into_iter().collect();
        assert_eq!(offsets.expect("settled well"), (40..140).map(Offset).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_ticket_that_is_polled_often_waits_once() {
        let (cell, mut tickets) = tickets(2);
        for _ in 0..10 {
            for ticket in &mut tickets {
                assert!(ticket.now_or_never().is_none());
            }
        }
        assert_eq!(cell.waiting.lock().expect("not poisoned").len(), 2);
        cell.settle(Ok(None));
        let stored = tickets.remove(0).now_or_never().expect("settled");
        assert!(matches!(stored, Err(Error::OffsetUnknown)), "{stored:?}");
    }
}
