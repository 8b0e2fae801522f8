//! Delays between tries: they double, and chance spreads them, so that clients do not come back all at once.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng};
use tokio::time::Instant;

/// Stands for "never": far enough that nobody waits for it, near enough to be added to.
pub(super) const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// `timeout` from now.
pub(super) fn deadline_after(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(FOREVER)
}

/// The delay before each try.
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    /// Before the next try; zero before the first one.
    next: Duration,
    chance: StdRng,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration, chance: StdRng) -> Self {
        let min = min.min(FOREVER);
        Self { min, max: max.clamp(min, FOREVER), next: Duration::ZERO, chance }
    }

    /// The delay before the next try: none at first, then between half and all of a bound that doubles.
    pub(super) fn delay(&mut self) -> Duration {
        let bound = self.next;
        self.next = (bound * 2).clamp(self.min, self.max);
        bound.mul_f64(self.chance.random_range(0.5..=1.0))
    }

    /// The delay before a try that something speaks against: never zero.
    pub(super) fn delay_after_refusal(&mut self) -> Duration {
        self.next = self.next.max(self.min);
        self.delay()
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        self.next = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const MIN: Duration = Duration::from_millis(50);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn delays_double_up_to_the_maximum_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(MIN, MAX, StdRng::seed_from_u64(1));
        assert_eq!(backoff.delay(), Duration::ZERO);
        let mut bound = MIN;
        for _ in 0..20 {
            let delay = backoff.delay();
            assert!(bound / 2 <= delay && delay <= bound, "{delay:?} for {bound:?}");
            bound = (bound * 2).min(MAX);
        }
        backoff.reset();
        assert_eq!(backoff.delay(), Duration::ZERO);
        backoff.reset();
        assert!(backoff.delay_after_refusal() >= MIN / 2);
    }

    #[test]
    fn the_same_seed_gives_the_same_delays() {
        let delays = |seed| {
            let mut backoff = Backoff::new(MIN, MAX, StdRng::seed_from_u64(seed));
            (0..10).map(|_| backoff.delay()).collect::<Vec<_>>()
        };
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
    }

    #[test]
    fn durations_without_end_are_bounded_all_the_same() {
        assert!(deadline_after(Duration::MAX) > Instant::now());
        let mut backoff = Backoff::new(Duration::MAX, Duration::ZERO, StdRng::seed_from_u64(1));
        for _ in 0..3 {
            assert!(backoff.delay() <= FOREVER);
        }
    }
}
