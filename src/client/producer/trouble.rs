//! What the answer to an append means for its batch, and for the batches around it.

use super::{driver::Driver, flight::Sent};
use crate::{
    client::{
        Error,
        call::is_farewell,
        connection::{Lost, decode},
    },
    protocol::{Append, AppendAnswer, ErrorCode, Frame},
    record::Offset,
};

/// What is to be done once nothing is outstanding.
pub(super) enum Trouble {
    /// Send again after a delay. With the refusal, unless it only followed from another one.
    Retry(Option<Error>),
    /// Send again on the next connection.
    Reconnect,
    /// Give up.
    Fatal(Error),
}

impl Trouble {
    fn rank(&self) -> u8 {
        match self {
            Self::Retry(None) => 0,
            Self::Retry(Some(_)) => 1,
            Self::Reconnect => 2,
            Self::Fatal(_) => 3,
        }
    }
}

impl Driver {
    /// Keeps the worst of all troubles, and the first among equals.
    pub(super) fn worsen(&mut self, trouble: Trouble) {
        if self.trouble.as_ref().is_none_or(|known| known.rank() < trouble.rank()) {
            self.trouble = Some(trouble);
        }
    }

    /// Takes the end of a request.
    pub(super) fn answered(&mut self, index: usize, answered: Result<Frame, Lost>) {
        let batch = self.flight.batch(index);
        let frame = match answered {
            Ok(frame) => frame,
            Err(lost) => {
                batch.may_be_stored |= lost.was_sent;
                return self.worsen(Trouble::Reconnect);
            }
        };
        match decode::<Append>(&frame).and_then(|(answer, _)| base_offset(&answer, batch.record_count)) {
            Ok(base) => {
                self.backoff.reset();
                self.settle(index, Ok(base));
            }
            Err(error) => self.refused(index, error),
        }
    }

    fn refused(&mut self, index: usize, error: Error) {
        let is_oldest = self.flight.is_oldest_unsettled(index);
        let batch = self.flight.batch(index);
        batch.may_be_stored |= error.may_have_applied();
        if is_farewell(&error) {
            self.worsen(Trouble::Reconnect);
        } else if error.is_retryable() {
            self.worsen(Trouble::Retry(Some(error)));
        } else if error.code() == Some(ErrorCode::SequenceGap) && !is_oldest {
            // The batch in front was refused for now, so this one does not follow: it will when that one is stored.
            self.worsen(Trouble::Retry(None));
        } else if fails_alone(batch, &error) {
            // It was taken out last, see Flight::has_room.
            self.next_sequence = batch.sequence.start;
            self.settle(index, Err(error));
        } else {
            self.worsen(Trouble::Fatal(error));
        }
    }

    fn settle(&mut self, index: usize, outcome: Result<Option<Offset>, Error>) {
        let batch = self.flight.batch(index);
        batch.is_settled = true;
        batch.cell.settle(outcome);
        self.shared.release(batch.permits);
        let settled = self.flight.pop_settled();
        self.shared.advance(settled);
    }
}

/// Whether a refusal is about the cursors that the batch moves: then nothing is stored, and the producer is as it was.
fn fails_alone(batch: &Sent, error: &Error) -> bool {
    let is_about_cursors = matches!(
        error.code(),
        Some(
            ErrorCode::UnknownConsumer
                | ErrorCode::CursorMismatch
                | ErrorCode::OffsetBeforeHead
                | ErrorCode::OffsetBeyondTail
                | ErrorCode::LimitExceeded
        )
    );
    is_about_cursors && !batch.commits.is_empty() && !batch.may_be_stored
}

/// Where a batch of so many records is stored; `None` when the server no longer knows.
fn base_offset(answer: &AppendAnswer, record_count: u32) -> Result<Option<Offset>, Error> {
    let [part] = &answer.parts[..] else {
        return Err(Error::violation(format!("answer to Append with 1 part has {}", answer.parts.len())));
    };
    match part.base_offset {
        None if part.duplicate => Ok(None),
        None => Err(Error::violation("a batch is stored nowhere")),
        Some(base) if base.checked_add(record_count.into()).is_none() => {
            Err(Error::violation(format!("{record_count} records stored at offset {base}")))
        }
        Some(base) => Ok(Some(Offset(base))),
    }
}
