//! The outbox: frames on their way to one socket.
//!
//! Answers to requests are always taken: their number is bounded by admission, since a request keeps its place until its
//! answer is written. What is read from the log waits for [`Outbox::room`] first.

use std::{collections::HashSet, sync::Mutex};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::{limits::MAX_OUTBOX_BYTES, protocol::OutFrame};

/// What a frame gives back once it is written.
#[derive(Debug, Default)]
#[expect(dead_code, reason = "held until they are dropped")]
pub(in crate::server) struct Held {
    /// The place of the request that it answers.
    pub(in crate::server) place: Option<OwnedSemaphorePermit>,
    /// Its part of the budget for what is read from the log.
    pub(in crate::server) budget: Option<OwnedSemaphorePermit>,
}

/// A frame on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) frame: OutFrame,
    #[expect(dead_code, reason = "held until it is dropped")]
    held: Held,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: Vec<Outgoing>,
    bytes: usize,
    is_closed: bool,
    /// Correlation ids that are not answered yet.
    asked: HashSet<u32>,
}

/// Frames on their way to one socket. Many push, one takes.
#[derive(Debug, Default)]
pub(in crate::server) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
    emptied: Notify,
}

impl Outbox {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no panic while the outbox is locked")
    }

    /// Notes that a request is in flight; `false` when one with its id is already.
    pub(in crate::server) fn asked(&self, correlation_id: u32) -> bool {
        self.waiting().asked.insert(correlation_id)
    }

    /// Notes that nothing more comes for a request.
    pub(in crate::server) fn forget(&self, correlation_id: u32) {
        self.waiting().asked.remove(&correlation_id);
    }

    /// Adds the last answer to a request.
    pub(in crate::server) fn answer(&self, correlation_id: u32, frame: OutFrame, held: Held) {
        self.put(Some(correlation_id), Outgoing { frame, held });
    }

    /// Adds a frame that is not the last for anybody.
    pub(in crate::server) fn push(&self, frame: OutFrame, held: Held) {
        self.put(None, Outgoing { frame, held });
    }

    fn put(&self, answered: Option<u32>, outgoing: Outgoing) {
        let mut waiting = self.waiting();
        if let Some(correlation_id) = answered {
            waiting.asked.remove(&correlation_id);
        }
        if waiting.is_closed {
            return;
        }
        waiting.bytes += outgoing.frame.size();
        let was_empty = waiting.frames.is_empty();
        waiting.frames.push(outgoing);
        drop(waiting);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Whether everything was taken.
    pub(in crate::server) fn is_empty(&self) -> bool {
        self.waiting().frames.is_empty()
    }

    /// Ready when what waits is under its bound.
    pub(in crate::server) async fn room(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.waiting().bytes < MAX_OUTBOX_BYTES {
                return;
            }
            emptied.await;
        }
    }

    /// Takes everything that waits, waiting for something. `None`: closed and empty.
    pub(super) async fn take(&self) -> Option<Vec<Outgoing>> {
        loop {
            let filled = self.filled.notified();
            {
                let mut waiting = self.waiting();
                if !waiting.frames.is_empty() {
                    waiting.bytes = 0;
                    let frames = std::mem::take(&mut waiting.frames);
                    drop(waiting);
                    self.emptied.notify_waiters();
                    return Some(frames);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            filled.await;
        }
    }

    /// Takes no more frames after this last one; what waits is still sent.
    pub(super) fn close(&self, last: Option<OutFrame>) {
        let mut waiting = self.waiting();
        if !waiting.is_closed {
            waiting.frames.extend(last.map(|frame| Outgoing { frame, held: Held::default() }));
            waiting.is_closed = true;
        }
        drop(waiting);
        self.filled.notify_one();
    }
}
