//! Dequeue: read at the cursor and move it on, in one, exactly once.
//!
//! A request names the cursor that it expects, and the attempt that it belongs to. The server knows a repeated attempt
//! and answers it with the same records, so an answer that was lost, or a future that was dropped, loses no record: the
//! next call repeats the attempt. A cursor that moved otherwise is refused with CursorMismatch.

use std::time::Duration;

use bytes::Bytes;

use super::{Consumer, ConsumerRecord, delivery::Delivery, place::Place};
use crate::{
    client::{Error, call::Repeat, continuity::Continuity, fetch::wait_ms},
    protocol::{Dequeue, DequeueAnswer, ErrorCode},
    record::Offset,
};

/// What a consumer remembers between calls.
#[derive(Debug, Default)]
pub(super) struct Dequeuing {
    /// Where the cursor is, as far as is known.
    cursor: Option<Offset>,
    /// An attempt of which nobody knows what became.
    open_attempt: Option<Attempt>,
    /// Dequeued behind a gap, which was told first.
    behind_gap: Option<Vec<ConsumerRecord>>,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    cursor: Offset,
    number: u64,
}

impl Consumer {
    /// Takes the next records for this consumer, at most so many, and moves its cursor behind them, durably. Waits up to
    /// `max_wait`, at most 60 s, while there are none; then gives none.
    ///
    /// Callers that share the consumer's name each get records of their own. Reading with [`Self::next_record`] is
    /// independent of it. Without a name, the consumer is registered at its position by the first call.
    ///
    /// # Errors
    /// [`Error::Gap`] when records are gone that the consumer had not seen: the call after it goes on.
    /// [`Error::Refused`] with [`CursorMismatch`](ErrorCode::CursorMismatch) when the cursor was moved by another while
    /// the outcome of an earlier call was unknown: the records of that call may have been dequeued, and are not given.
    /// The call after it goes on at the new cursor. [`Error::Corrupt`]; [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call gets the same records.
    pub async fn dequeue(&mut self, max_records: u32, max_wait: Duration) -> Result<Vec<ConsumerRecord>, Error> {
        if max_records == 0 {
            return Err(Error::invalid("dequeue takes at least one record"));
        }
        if let Some(records) = self.dequeuing.behind_gap.take() {
            return Ok(records);
        }
        let consumer_id = *self.id().await?.0.as_bytes();
        let max_wait_ms = wait_ms(max_wait);
        loop {
            let is_repeated = self.dequeuing.open_attempt.is_some();
            let Attempt { cursor, number } = self.attempt(consumer_id).await?;
            let request = Dequeue { consumer_id, cursor: cursor.0, attempt: number, max_records, max_wait_ms };
            let terms = self.terms(Repeat::Harmless).waiting(Duration::from_millis(max_wait_ms.into()));
            let error = match self.client.ask(&request, terms).await {
                Ok(answered) => return self.dequeued(cursor, &answered.answer, answered.batches),
                Err(error) => error,
            };
            let may_have_applied = is_repeated || error.may_have_applied();
            let is_mismatch = error.code() == Some(ErrorCode::CursorMismatch);
            if is_mismatch || !may_have_applied {
                self.dequeuing.open_attempt = None;
            }
            if is_mismatch {
                let cursor = error.refusal().and_then(|refusal| refusal.details().first());
                self.dequeuing.cursor = cursor.copied().map(Offset);
            }
            // Somebody else was first, and this call has taken nothing: on to the new cursor. Everything else is told.
            if !is_mismatch || may_have_applied {
                return Err(error);
            }
        }
    }

    /// The attempt to make, or to make again. It stays open until its end is known.
    async fn attempt(&mut self, consumer_id: [u8; 16]) -> Result<Attempt, Error> {
        if let Some(attempt) = self.dequeuing.open_attempt {
            return Ok(attempt);
        }
        let cursor = match self.dequeuing.cursor {
            Some(cursor) => cursor,
            None => Place::of_cursor(&self.client, consumer_id, self.terms(Repeat::Harmless)).await?.offset,
        };
        let attempt = Attempt { cursor, number: self.client.random() };
        self.dequeuing.open_attempt = Some(attempt);
        Ok(attempt)
    }

    fn dequeued(
        &mut self,
        cursor: Offset,
        answer: &DequeueAnswer,
        batches: Vec<Bytes>,
    ) -> Result<Vec<ConsumerRecord>, Error> {
        let records = records_of(cursor, answer, batches)?;
        // Only now: an answer that cannot be read is asked for again.
        self.dequeuing.open_attempt = None;
        self.dequeuing.cursor = Some(Offset(answer.next));
        if answer.offset > cursor.0 {
            self.dequeuing.behind_gap = Some(records).filter(|records| !records.is_empty());
            return Err(Error::Gap { from: cursor, to: Offset(answer.offset) });
        }
        Ok(records)
    }
}

/// Records `offset..next`, out of batches that hold others, too.
fn records_of(cursor: Offset, answer: &DequeueAnswer, batches: Vec<Bytes>) -> Result<Vec<ConsumerRecord>, Error> {
    let (offset, next) = (answer.offset, answer.next);
    if offset < cursor.0 || next < offset {
        return Err(Error::violation(format!("records {offset}..{next} dequeued at {cursor}")));
    }
    let mut continuity = Continuity::new(Offset(offset));
    let mut found = Vec::new();
    for bytes in batches {
        let first = continuity.next();
        let batch = continuity.accept(bytes)?;
        let delivery = Delivery { batch, first, head: Offset(0), tail: Offset(answer.tail) };
        let wanted = delivery.records()?.take_while(|record| !record.as_ref().is_ok_and(|r| r.offset.0 >= next));
        for record in wanted {
            found.push(record?);
        }
    }
    if continuity.next().0 < next || found.len() as u64 != next - offset {
        let count = found.len();
        return Err(Error::violation(format!("records {offset}..{next} dequeued, {count} of them came")));
    }
    Ok(found)
}
