//! Operations on their way to the writer.
//!
//! The queue itself has no bound: what is in it was admitted by the budgets of the server, which stops reading from
//! sockets when they are spent.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex},
    time::Duration,
};

use super::{Error, operation::Operation};

#[derive(Default)]
struct Waiting {
    operations: VecDeque<Operation>,
    is_closed: bool,
    /// Whether the writer sleeps: only then does a push have to wake it.
    is_idle: bool,
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
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
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
        if std::mem::take(&mut waiting.is_idle) {
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
        if std::mem::take(&mut self.waiting().is_idle) {
            self.wake.notify_one();
        }
    }

    /// Takes no more operations.
    pub(super) fn close(&self) {
        self.waiting().is_closed = true;
        self.wake.notify_one();
    }

    /// Waits for operations, at most for `patience`, and takes those that fit into `max_bytes`, but at least one.
    /// `None`: the queue is closed and empty. Empty: nothing came in time.
    pub(super) fn take(&self, max_bytes: usize, patience: Duration) -> Option<Vec<Operation>> {
        let mut waiting = self.waiting();
        if waiting.operations.is_empty() && !waiting.is_closed {
            waiting.is_idle = true;
            let woken =
                self.wake.wait_timeout_while(waiting, patience, |waiting| waiting.is_idle && !waiting.is_closed);
            waiting = woken.expect("no panic while the queue is locked").0;
            waiting.is_idle = false;
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
}
