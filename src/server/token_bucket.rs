//! A token bucket: how often something may happen. Pure: it is told the time.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::MAX_PACING_DELAY;

/// Holds some tokens at first, gains them one after the other, never holds more, and may owe some.
#[derive(Debug)]
pub(super) struct TokenBucket {
    /// What one token takes to come.
    interval: Duration,
    /// What all of them take.
    depth: Duration,
    /// When it is full, if none is taken.
    full_at: Instant,
}

impl TokenBucket {
    pub(super) fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        Self { interval, depth: interval * burst, full_at: now }
    }

    /// Takes tokens, also such as are not there yet; gives how long it is until none is owed: at most
    /// [`MAX_PACING_DELAY`], what is beyond is forgotten.
    pub(super) fn take(&mut self, count: u32, now: Instant) -> Duration {
        let most = now + self.depth + MAX_PACING_DELAY;
        self.full_at = (self.full_at.max(now) + self.interval * count).min(most);
        (self.full_at - now).saturating_sub(self.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_what_follows_waits_for_its_tokens() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(8, 100, now);
        assert_eq!(bucket.take(8, now), Duration::ZERO);
        assert_eq!(bucket.take(1, now), Duration::from_millis(10));
        assert_eq!(bucket.take(2, now + Duration::from_millis(10)), Duration::from_millis(20));
        let later = now + Duration::from_secs(3600);
        assert_eq!(bucket.take(8, later), Duration::ZERO, "it holds no more than at first, however long it was left");
        assert_eq!(bucket.take(1, later), Duration::from_millis(10));
    }

    #[test]
    fn nobody_owes_for_longer_than_the_longest_delay() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(8, 100, now);
        assert_eq!(bucket.take(100_000, now), MAX_PACING_DELAY);
        assert_eq!(bucket.take(0, now + MAX_PACING_DELAY), Duration::ZERO);
    }
}
