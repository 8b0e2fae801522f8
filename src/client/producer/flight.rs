//! Batches that were taken out of the queue and are not acknowledged, in order of sequence.
//!
//! ```text
//!   unsent ──submit──▶ outstanding ──answer──▶ settled ──all before it settled──▶ gone
//!     ▲                     │
//!     └── lost, or refused for now
//! ```

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::ticket::BatchCell;
use crate::{
    client::connection::{Lost, PendingAnswer},
    protocol::{CursorMove, Frame},
    record::SequenceRange,
};

/// One batch.
pub(super) struct Sent {
    pub(super) bytes: Bytes,
    pub(super) sequence: SequenceRange,
    pub(super) record_count: u32,
    pub(super) commits: Vec<CursorMove>,
    pub(super) cell: Arc<BatchCell>,
    pub(super) permits: usize,
    pub(super) since: Instant,
    /// The request that it is in, when one is out.
    pub(super) answer: Option<PendingAnswer>,
    /// Whether an earlier request with it has an end that nobody knows.
    pub(super) may_be_stored: bool,
    pub(super) is_settled: bool,
}

/// See the module. Holds at most `max_in_flight` batches.
#[derive(Default)]
pub(super) struct Flight {
    batches: VecDeque<Sent>,
}

impl Flight {
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether another batch may be taken out of the queue. Not behind one that moves cursors: when such a batch is
    /// refused, only its own call fails, and the next batch takes over its sequence.
    pub(super) fn has_room(&self, max_in_flight: usize) -> bool {
        self.batches.len() < max_in_flight && self.batches.iter().all(|batch| batch.commits.is_empty())
    }

    /// Adds the next batch.
    pub(super) fn push(&mut self, batch: Sent) -> usize {
        self.batches.push_back(batch);
        self.batches.len() - 1
    }

    pub(super) fn batch(&mut self, index: usize) -> &mut Sent {
        &mut self.batches[index]
    }

    /// The first batch that has to be sent, or sent again.
    pub(super) fn first_unsent(&self) -> Option<usize> {
        self.batches.iter().position(|batch| batch.answer.is_none() && !batch.is_settled)
    }

    /// Whether answers are still to come.
    pub(super) fn is_outstanding(&self) -> bool {
        self.batches.iter().any(|batch| batch.answer.is_some())
    }

    /// Since when the oldest batch is on its way.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.batches.front().map(|batch| batch.since)
    }

    /// Whether nothing before this batch is unsettled.
    pub(super) fn is_oldest_unsettled(&self, index: usize) -> bool {
        self.batches.iter().take(index).all(|batch| batch.is_settled)
    }

    /// The next answer that comes, and which batch it is about. For ever pending while none is to come.
    pub(super) fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<(usize, Result<Frame, Lost>)> {
        for (index, batch) in self.batches.iter_mut().enumerate() {
            if let Some(pending) = &mut batch.answer
                && let Poll::Ready(answered) = std::pin::Pin::new(pending).poll(context)
            {
                batch.answer = None;
                return Poll::Ready((index, answered));
            }
        }
        Poll::Pending
    }

    /// Drops the settled batches in front, and says how many they were.
    pub(super) fn pop_settled(&mut self) -> u64 {
        let settled = self.batches.iter().take_while(|batch| batch.is_settled).count();
        self.batches.drain(..settled);
        settled as u64
    }

    /// All that is left.
    pub(super) fn take_all(&mut self) -> VecDeque<Sent> {
        std::mem::take(&mut self.batches)
    }
}
