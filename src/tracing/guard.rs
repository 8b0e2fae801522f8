//! What keeps shipping going, and says how far it is.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::buffer::Buffer;

/// In which a thread that has nothing to wait for ends.
const GRACE: Duration = Duration::from_millis(250);

/// What became of events since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Durable in the topic; with a spill directory, also those that wait there.
    pub durable: u64,
    /// On their way.
    pub pending: u64,
    /// Dropped, because the buffer was full.
    pub dropped: u64,
}

/// What a flush came to.
pub type FlushReport = Stats;

/// Keep it as long as events are to be shipped: dropping it waits for what is on its way, for as long as
/// [`Builder::drop_timeout`](super::Builder::drop_timeout) says, and ends the thread.
#[derive(Debug)]
#[must_use = "dropping the guard ends shipping"]
pub struct Guard {
    buffer: Arc<Buffer>,
    thread: Option<JoinHandle<()>>,
    drop_timeout: Duration,
}

impl Guard {
    pub(super) fn new(buffer: Arc<Buffer>, thread: JoinHandle<()>, drop_timeout: Duration) -> Self {
        Self { buffer, thread: Some(thread), drop_timeout }
    }

    /// Waits until everything that was logged before is durable or dropped, but not for longer. Blocks its thread.
    pub fn flush(&self, timeout: Duration) -> FlushReport {
        self.buffer.flush(timeout)
    }

    /// How it is now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.buffer.stats()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let deadline = Instant::now() + self.drop_timeout;
        self.buffer.flush(self.drop_timeout);
        self.buffer.stop();
        let left = deadline.saturating_duration_since(Instant::now());
        let has_ended = self.buffer.wait_for_end(left.max(GRACE));
        // What does not get through would hold the thread for ever.
        if let Some(thread) = self.thread.take().filter(|_| has_ended) {
            // It has nothing more to do. If it panicked, that was said.
            thread.join().unwrap_or_default();
        }
    }
}
