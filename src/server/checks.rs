//! Checks of batches that take long, a few at a time, away from the threads that serve connections.

use std::{num::NonZero, sync::Arc, thread};

use tokio::sync::Semaphore;

/// Turns for checks that take long: half of the cores work on them, at most. So some hundred bytes that decompress to
/// megabytes, sent again and again on many connections, neither stop everybody else's connections nor take more memory
/// than these few need.
pub(super) struct Checks {
    turns: Arc<Semaphore>,
}

impl Checks {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self { turns: Arc::new(Semaphore::new((cores / 2).max(1))) }
    }

    /// Runs the check when it is its turn.
    pub(super) async fn run<T: Send + 'static>(&self, check: impl FnOnce() -> T + Send + 'static) -> T {
        let turn = self.turns.clone().acquire_owned().await.expect("these semaphores are never closed");
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

    use super::*;

    #[tokio::test]
    async fn a_check_that_nobody_waits_for_keeps_its_turn_until_it_is_over() {
        let checks = Checks { turns: Arc::new(Semaphore::new(1)) };
        let (end, ended) = mpsc::channel::<()>();
        let (begin, mut begun) = tokio::sync::oneshot::channel();
        let abandoned = checks.run(move || {
            begin.send(()).expect("somebody wants to know");
            ended.recv().expect("the test goes on");
        });
        tokio::select! {
            () = abandoned => unreachable!("it waits"),
            begun = &mut begun => begun.expect("it says so"),
        }
        let next = checks.run(|| 1);
        tokio::pin!(next);
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut next).await.is_err());
        end.send(()).expect("it waits for this");
        assert_eq!(next.await, 1);
    }
}
