//! Events between those who log and the thread that ships: bytes in a row, bounded, counted.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{OnFull, Stats};
use crate::Timestamp;

/// What an event takes beside its text.
const OVERHEAD_BYTES: usize = 32;

/// An event on its way.
pub(super) type Event = (Timestamp, Bytes);

#[derive(Debug, Default)]
struct Inner {
    text: Vec<u8>,
    /// When each event happened, and where its text ends.
    ends: Vec<(Timestamp, usize)>,
    /// Bytes in here and on their way.
    used: usize,
    /// Events that were taken from here and are not settled, with those in here.
    pending: u64,
    /// Events that were taken in, and are durable or lost.
    settled: u64,
    stats: Stats,
    /// Dropped since it was last said.
    unreported: u64,
    is_stopping: bool,
    has_ended: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Buffer {
    inner: Mutex<Inner>,
    /// Something was settled.
    settled: Condvar,
    /// Something came, or the end is near.
    pub(super) work: Notify,
    limit: usize,
    on_full: OnFull,
}

impl Buffer {
    pub(super) fn new(limit: usize, on_full: OnFull) -> Self {
        let (inner, settled, work) = (Mutex::default(), Condvar::new(), Notify::new());
        Self { inner, settled, work, limit, on_full }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event, if there is room. A part of the room is for those that matter.
    pub(super) fn push(&self, time: Timestamp, text: &[u8], matters: bool) {
        let limit = if matters { self.limit } else { self.limit - self.limit / 10 };
        let cost = text.len() + OVERHEAD_BYTES;
        let mut inner = self.lock();
        if inner.used + cost > limit
            && let OnFull::Block(patience) = self.on_full
        {
            inner = self.wait_for_room(inner, limit, cost, patience);
        }
        if inner.used + cost > limit || inner.has_ended {
            inner.stats.dropped += 1;
            inner.unreported += 1;
            return;
        }
        let was_empty = inner.ends.is_empty();
        inner.text.extend_from_slice(text);
        let end = inner.text.len();
        inner.ends.push((time, end));
        inner.used += cost;
        inner.pending += 1;
        drop(inner);
        if was_empty {
            self.work.notify_one();
        }
    }

    fn wait_for_room<'a>(
        &self,
        mut inner: MutexGuard<'a, Inner>,
        limit: usize,
        cost: usize,
        patience: Duration,
    ) -> MutexGuard<'a, Inner> {
        let deadline = Instant::now() + patience;
        while inner.used + cost > limit && !inner.has_ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner = self.settled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        inner
    }

    /// Everything that has come, and how many were dropped since the last time.
    pub(super) fn take(&self) -> (Vec<Event>, u64) {
        let (text, ends, unreported) = {
            let mut inner = self.lock();
            let room = inner.text.len().min(self.limit / 4);
            (
                std::mem::replace(&mut inner.text, Vec::with_capacity(room)),
                std::mem::take(&mut inner.ends),
                std::mem::take(&mut inner.unreported),
            )
        };
        let (text, mut start) = (Bytes::from(text), 0);
        let events = ends.into_iter().map(|(time, end)| (time, text.slice(std::mem::replace(&mut start, end)..end)));
        (events.collect(), unreported)
    }

    /// What events take, in bytes of the buffer.
    pub(super) fn cost(events: &[Event]) -> usize {
        events.iter().map(|(_, text)| text.len() + OVERHEAD_BYTES).sum()
    }

    /// Events are durable, or safe in a spool: `Ok`; or lost.
    pub(super) fn settle(&self, events: u64, cost: usize, is_durable: bool) {
        let mut inner = self.lock();
        inner.used = inner.used.saturating_sub(cost);
        inner.pending = inner.pending.saturating_sub(events);
        inner.settled += events;
        match is_durable {
            true => inner.stats.durable += events,
            false => {
                inner.stats.dropped += events;
                inner.unreported += events;
            }
        }
        drop(inner);
        self.settled.notify_all();
    }

    /// Waits until everything that came before is settled, but not for longer.
    pub(super) fn flush(&self, timeout: Duration) -> Stats {
        let deadline = Instant::now() + timeout;
        let mut inner = self.lock();
        let target = inner.settled + inner.pending;
        while inner.settled < target && !inner.has_ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inner = self.settled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Stats { pending: inner.pending, ..inner.stats }
    }

    pub(super) fn stats(&self) -> Stats {
        let inner = self.lock();
        Stats { pending: inner.pending, ..inner.stats }
    }

    /// Asks the thread to end once nothing is left.
    pub(super) fn stop(&self) {
        self.lock().is_stopping = true;
        self.work.notify_one();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    /// What was to be said of drops was not.
    pub(super) fn report_again(&self, dropped: u64) {
        self.lock().unreported += dropped;
    }

    /// Waits until the thread has nothing more to do, but not for longer. Says whether that is so.
    pub(super) fn wait_for_end(&self, timeout: Duration) -> bool {
        let inner = self.lock();
        let waiting = self.settled.wait_timeout_while(inner, timeout, |inner| !inner.has_ended);
        waiting.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    /// Nothing is shipped any more.
    pub(super) fn end(&self) {
        self.lock().has_ended = true;
        self.settled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_the_last_part_is_for_what_matters() {
        let buffer = Buffer::new(10_000, OnFull::Drop);
        for _ in 0..1000 {
            buffer.push(Timestamp(1), b"0123456789", false);
        }
        buffer.push(Timestamp(2), b"it matters", true);
        let (events, dropped) = buffer.take();
        assert_eq!(events.len() as u64 + dropped, 1001);
        assert_eq!(events.len(), 9_000 / 42 + 1);
        assert_eq!(events.last().expect("some"), &(Timestamp(2), Bytes::from_static(b"it matters")));
        assert_eq!(buffer.stats().dropped, dropped);
        buffer.settle(events.len() as u64, Buffer::cost(&events), true);
        assert_eq!(buffer.flush(Duration::ZERO).pending, 0);
        buffer.push(Timestamp(3), b"there is room again", false);
        assert_eq!(buffer.take(), (vec![(Timestamp(3), Bytes::from_static(b"there is room again"))], 0));
    }

    #[test]
    fn who_waits_for_room_gets_it_when_something_is_settled() {
        let buffer = Buffer::new(4096, OnFull::Block(Duration::from_secs(60)));
        while buffer.lock().used + 1000 < 3600 {
            buffer.push(Timestamp(1), &[b'x'; 900], false);
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| buffer.push(Timestamp(2), &[b'y'; 900], false));
            let (events, _) = buffer.take();
            buffer.settle(events.len() as u64, Buffer::cost(&events), true);
            waiting.join().expect("no panic");
        });
        assert_eq!(buffer.stats().dropped, 0);
    }
}
