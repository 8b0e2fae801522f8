//! Batches on their way, oldest first, each with what its owner has to know when it is durable.

use std::{collections::VecDeque, future::pending};

use crate::{
    client::{Error, Ticket},
    record::Offset,
};

/// What a ticket says about durability: a batch that the server no longer knows the place of is stored, too.
pub(crate) fn durable(outcome: Result<Offset, Error>) -> Result<(), Error> {
    match outcome {
        Ok(_) | Err(Error::OffsetUnknown) => Ok(()),
        Err(error) => Err(error),
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    batches: VecDeque<(T, Ticket)>,
}

impl<T: Copy> InFlight<T> {
    pub(super) fn new() -> Self {
        Self { batches: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn push(&mut self, what: T, ticket: Ticket) {
        self.batches.push_back((what, ticket));
    }

    /// Waits until the oldest is durable, and takes it out; for ever, when there is none.
    ///
    /// # Cancel safety
    /// Nothing is taken out.
    pub(super) async fn oldest(&mut self) -> Result<T, Error> {
        let Some((what, ticket)) = self.batches.front_mut() else { return pending().await };
        let (what, outcome) = (*what, durable(ticket.await));
        self.batches.pop_front();
        outcome.map(|()| what)
    }
}
