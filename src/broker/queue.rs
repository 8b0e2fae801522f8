//! Operations on their way to the writer.
//!
//! The queue itself has no bound: what is in it was admitted by the budgets of the server, which stops reading from
//! sockets when they are spent.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard},
    time::Duration,
};

use super::{Error, operation::Operation};

#[derive(Default)]
struct Waiting {
    operations: VecDeque<Operation>,
    is_closed: bool,
    /// How many operations the writer sleeps for, if it does: only then does a push have to wake it.
    sleeps_for: Option<usize>,
}

/// What a group waits for, though it could begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gather {
    /// It begins with so many operations,
    pub(super) operations: usize,
    /// or after this time.
    pub(super) at_most: Duration,
}

/// Many push, one takes.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// Wakes whoever drives a writer without a thread.
    #[cfg(feature = "trial")]
    filled: tokio::sync::Notify,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no panic while the queue is locked")
    }

    /// Adds an operation; after [`Queue::close`] it is refused.
    pub(super) fn push(&self, operation: Operation) {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            drop(waiting);
            return operation.refuse(Error::ShuttingDown);
        }
        waiting.operations.push_back(operation);
        #[cfg(feature = "trial")]
        self.filled.notify_one();
        if waiting.sleeps_for.is_some_and(|wanted| waiting.operations.len() >= wanted) {
            waiting.sleeps_for = None;
            self.wake.notify_one();
        }
    }

    /// Ready when there is something to take.
    #[cfg(feature = "trial")]
    pub(super) async fn filled(&self) {
        while self.waiting().operations.is_empty() {
            self.filled.notified().await;
        }
    }

    /// Lets the writer look around, though nothing is asked of it.
    pub(super) fn wake(&self) {
        if self.waiting().sleeps_for.take().is_some() {
            self.wake.notify_one();
        }
    }

    /// How many operations wait.
    pub(super) fn len(&self) -> usize {
        self.waiting().operations.len()
    }

    /// Takes no more operations.
    pub(super) fn close(&self) {
        self.waiting().is_closed = true;
        self.wake.notify_one();
    }

    /// Waits for operations, at most for `patience`, then for as many as `gather` says, and takes those that fit into
    /// `max_bytes`, but at least one. `None`: the queue is closed and empty. Empty: nothing came in time.
    pub(super) fn take(&self, max_bytes: usize, patience: Duration, gather: Gather) -> Option<Vec<Operation>> {
        let mut waiting = self.sleep(self.waiting(), 1, patience);
        if !waiting.operations.is_empty() {
            waiting = self.sleep(waiting, gather.operations, gather.at_most);
        }
        let mut bytes = 0;
        let fits = waiting.operations.iter().take_while(|operation| {
            let fits = bytes == 0 || bytes + operation.bytes() <= max_bytes;
            bytes += operation.bytes();
            fits
        });
        let count = fits.count();
        let taken: Vec<_> = waiting.operations.drain(..count).collect();
        (!taken.is_empty() || !waiting.is_closed).then_some(taken)
    }

    /// Sleeps until so many operations wait, or the queue is closed, or somebody wakes the writer, or time is up.
    fn sleep<'a>(
        &self,
        mut waiting: MutexGuard<'a, Waiting>,
        operations: usize,
        at_most: Duration,
    ) -> MutexGuard<'a, Waiting> {
        if waiting.operations.len() >= operations || waiting.is_closed {
            return waiting;
        }
        waiting.sleeps_for = Some(operations);
        let sleeps = |waiting: &mut Waiting| waiting.sleeps_for.is_some() && !waiting.is_closed;
        let woken = self.wake.wait_timeout_while(waiting, at_most, sleeps);
        waiting = woken.expect("no panic while the queue is locked").0;
        waiting.sleeps_for = None;
        waiting
    }
}
