//! Checks of batches that take long, a few at a time, away from the threads that serve connections.

use std::{
    collections::VecDeque,
    num::NonZero,
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use tokio::sync::oneshot;

/// Batches that decompress to less than this wait in a lane of their own.
const SHORT_BYTES: usize = 256 * 1024;

/// Turns for checks that take long: half of the cores work on them, at most. So some hundred bytes that decompress to
/// megabytes, sent again and again on many connections, neither stop everybody else's connections nor take more memory
/// than these few need.
///
/// A connection waits for one check at a time. Those of short batches and of long ones have turns alternately, so a
/// short one waits for one long one, however many of them there are.
pub(super) struct Checks {
    turns: Turns,
}

#[derive(Clone)]
struct Turns(Arc<Mutex<Waiting>>);

struct Waiting {
    free: usize,
    /// For short batches and for long ones.
    lanes: [VecDeque<oneshot::Sender<Turn>>; 2],
    /// The lane that is next.
    next: usize,
}

/// Given on when it is dropped.
struct Turn(Turns);

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.0.waiting().give_on();
        if let Some(waiter) = next {
            // One that has just ceased to wait gives it on in turn.
            drop(waiter.send(Self(self.0.clone())));
        }
    }
}

impl Waiting {
    /// Who has the next turn; `None`, and the turn is free: nobody waits.
    fn give_on(&mut self) -> Option<oneshot::Sender<Turn>> {
        for lane in &mut self.lanes {
            while lane.pop_front_if(|waiter| waiter.is_closed()).is_some() {}
        }
        let lane = if self.lanes[self.next].is_empty() { 1 - self.next } else { self.next };
        let waiter = self.lanes[lane].pop_front();
        match waiter {
            Some(_) => self.next = 1 - lane,
            None => self.free += 1,
        }
        waiter
    }
}

impl Turns {
    fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(Waiting { free: count, lanes: Default::default(), next: 0 })))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().expect("no panic while the turns are locked")
    }

    /// Waits for a turn to check what decompresses to so many bytes.
    async fn wait(&self, bytes: usize) -> Turn {
        let (waiter, turn) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.free > 0 {
                waiting.free -= 1;
                return Turn(self.clone());
            }
            waiting.lanes[usize::from(bytes >= SHORT_BYTES)].push_back(waiter);
        }
        turn.await.expect("turns are given on, and waiters are dropped with nobody waiting")
    }
}

impl Checks {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self { turns: Turns::new((cores / 2).max(1)) }
    }

    /// Runs the check of what decompresses to so many bytes, when it is its turn.
    pub(super) async fn run<T: Send + 'static>(&self, bytes: usize, check: impl FnOnce() -> T + Send + 'static) -> T {
        let turn = self.turns.wait(bytes).await;
        let checked = tokio::task::spawn_blocking(move || {
            let checked = check();
            // Also when nobody waits for it any more, it is over only now.
            drop(turn);
            checked
        });
        checked.await.expect("checks do not panic, and no connection outlives the runtime")
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use futures::{FutureExt as _, poll};

    use super::*;

    #[tokio::test]
    async fn a_check_that_nobody_waits_for_keeps_its_turn_until_it_is_over() {
        let checks = Checks { turns: Turns::new(1) };
        let (end, ended) = mpsc::channel::<()>();
        let (begin, mut begun) = oneshot::channel();
        let abandoned = checks.run(0, move || {
            begin.send(()).expect("somebody wants to know");
            ended.recv().expect("the test goes on");
        });
        tokio::select! {
            () = abandoned => unreachable!("it waits"),
            begun = &mut begun => begun.expect("it says so"),
        }
        let next = checks.run(0, || 1);
        tokio::pin!(next);
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut next).await.is_err());
        end.send(()).expect("it waits for this");
        assert_eq!(next.await, 1);
    }

    /// Bombs of eight connections were checked one after the other before an honest batch had its turn.
    #[tokio::test]
    async fn short_batches_and_long_ones_have_turns_alternately() {
        let turns = Turns::new(1);
        let mut turn = turns.wait(SHORT_BYTES).now_or_never().expect("it is free");
        let mut waiting: Vec<_> = ["long", "long", "long", "short", "short"]
            .map(|kind| (kind, Box::pin(turns.wait(if kind == "long" { SHORT_BYTES } else { SHORT_BYTES - 1 }))))
            .into();
        for (_, waiter) in &mut waiting {
            assert!(poll!(waiter).is_pending());
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(turn);
            let ready = waiting.iter_mut().enumerate().find_map(|(at, (_, waiter))| Some((at, waiter.now_or_never()?)));
            let (at, next) = ready.expect("the turn is given on");
            order.push(waiting.remove(at).0);
            turn = next;
        }
        assert_eq!(order, ["short", "long", "short", "long", "long"]);
    }

    #[tokio::test]
    async fn a_turn_passes_those_who_have_ceased_to_wait() {
        let turns = Turns::new(1);
        let turn = turns.wait(0).await;
        let (mut gone, mut stays) = (Box::pin(turns.wait(0)), Box::pin(turns.wait(0)));
        assert!(poll!(&mut gone).is_pending() && poll!(&mut stays).is_pending());
        drop(gone);
        drop(turn);
        drop(stays.now_or_never().expect("it is next"));
        assert_eq!(turns.waiting().free, 1);
    }
}
