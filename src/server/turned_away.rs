//! Those who are turned away: the first are told at once, and when they come in crowds, one after the other.

use std::sync::Mutex;

use tokio::{sync::Semaphore, time::Instant};

use super::token_bucket::TokenBucket;
use crate::{
    limits::{MAX_DELAYED_GOAWAYS, TURNED_AWAY_AT_ONCE, TURNED_AWAY_PER_SECOND},
    protocol::ErrorCode,
};

/// Who speaks another protocol, or has no credentials, comes again as soon as it is told, and every visit takes from
/// the others what a connection costs. So it is told a little later, when there are many. Who comes for the first time,
/// to a server that is not abused, sees at once what is wrong.
pub(super) struct TurnedAway {
    bucket: Mutex<TokenBucket>,
    /// For those who wait; without one nobody waits.
    places: Semaphore,
}

impl TurnedAway {
    pub(super) fn new() -> Self {
        let bucket = TokenBucket::new(TURNED_AWAY_AT_ONCE, TURNED_AWAY_PER_SECOND, Instant::now());
        Self { bucket: Mutex::new(bucket), places: Semaphore::new(MAX_DELAYED_GOAWAYS) }
    }

    /// Waits until it is time to say GoAway.
    pub(super) async fn turn(&self) {
        let delay = self.bucket.lock().expect("no panic while it is locked").take(1, Instant::now());
        if let Ok(_place) = self.places.try_acquire()
            && !delay.is_zero()
        {
            tokio::time::sleep(delay).await;
        }
    }
}

/// Whether a connection ends because of what its peer sent, and not because of time.
pub(super) fn is_fault_of_the_peer(code: Option<ErrorCode>) -> bool {
    !matches!(code, Some(ErrorCode::ShuttingDown | ErrorCode::TooSlow | ErrorCode::IdleTimeout))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{FutureExt as _, future::join_all};

    use super::*;
    use crate::limits::MAX_PACING_DELAY;

    #[tokio::test(start_paused = true)]
    async fn the_first_are_told_at_once_and_the_others_one_after_the_other() {
        let (turned_away, began) = (TurnedAway::new(), Instant::now());
        for _ in 0..TURNED_AWAY_AT_ONCE {
            turned_away.turn().now_or_never().expect("at once");
        }
        for _ in 0..TURNED_AWAY_PER_SECOND {
            turned_away.turn().await;
        }
        assert!(began.elapsed() >= Duration::from_secs(1) && began.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_long_and_only_so_many_wait() {
        let (turned_away, began) = (TurnedAway::new(), Instant::now());
        let mut crowd = Box::pin(join_all((0..2 * MAX_DELAYED_GOAWAYS).map(|_| turned_away.turn())));
        assert!(crowd.as_mut().now_or_never().is_none());
        assert_eq!(turned_away.places.available_permits(), 0);
        turned_away.turn().now_or_never().expect("there is no place to wait");
        crowd.await;
        assert!(began.elapsed() <= MAX_PACING_DELAY + Duration::from_millis(1), "{:?}", began.elapsed());
        assert_eq!(turned_away.places.available_permits(), MAX_DELAYED_GOAWAYS);
    }
}
