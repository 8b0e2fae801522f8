//! Waiting for the answer to one request, and reading it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::shared::Shared;
use crate::{
    client::error::{Disconnect, Error, Refusal},
    protocol::{ErrorBody, Frame, Request, decode_answer},
};

/// The connection ended before the answer.
#[derive(Clone, Debug)]
pub(in crate::client) struct Lost {
    /// Whether any of the request's bytes had left.
    pub(in crate::client) was_sent: bool,
    pub(in crate::client) cause: Disconnect,
}

impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        Self::lost(lost.was_sent, lost.cause)
    }
}

/// A request in flight. Dropping it takes the request back if it has not left; otherwise its answer is passed over.
pub(in crate::client) struct PendingAnswer {
    shared: Arc<Shared>,
    id: u32,
    receiver: oneshot::Receiver<Result<Frame, Lost>>,
    is_answered: bool,
}

impl PendingAnswer {
    pub(super) fn new(shared: Arc<Shared>, id: u32, receiver: oneshot::Receiver<Result<Frame, Lost>>) -> Self {
        Self { shared, id, receiver, is_answered: false }
    }

    /// The correlation id.
    pub(in crate::client) fn id(&self) -> u32 {
        self.id
    }

    /// Gives up on the answer, and says whether any of the request's bytes have left.
    pub(in crate::client) fn withdraw(mut self) -> bool {
        self.abandon()
    }

    fn abandon(&mut self) -> bool {
        if self.is_answered {
            return true;
        }
        self.is_answered = true;
        // Closed first: from here on the driver finds out by itself that nobody wants the answer.
        self.receiver.close();
        match self.receiver.try_recv() {
            Ok(Ok(frame)) => {
                self.shared.discard(&frame);
                true
            }
            Ok(Err(lost)) => lost.was_sent,
            Err(_) => self.shared.forget(self.id),
        }
    }
}

impl Future for PendingAnswer {
    type Output = Result<Frame, Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = std::task::ready!(Pin::new(&mut self.receiver).poll(context));
        self.is_answered = true;
        Poll::Ready(answered.unwrap_or(Err(Lost { was_sent: true, cause: Disconnect::Abandoned })))
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Reads the answer to an `R`.
pub(in crate::client) fn decode<R: Request>(frame: &Frame) -> Result<(R::Answer, Vec<Bytes>), Error> {
    let unreadable = |error| Error::violation(format!("answer to {}: {error}", R::OPCODE.name()));
    if frame.header.is_error() {
        let (body, _) = decode_answer::<ErrorBody>(frame).map_err(unreadable)?;
        return Err(Error::Refused(Refusal::new(body)));
    }
    decode_answer::<R::Answer>(frame).map_err(unreadable)
}
