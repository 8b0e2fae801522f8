//! Latencies, counted in microseconds to three digits.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

const DIGITS: u8 = 3;
/// What takes longer counts as this: an hour.
const HIGHEST_US: u64 = 3_600_000_000;

/// How long things took.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

/// What a report says of them. Each is the upper end of a range that is narrower than a thousandth of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Percentiles {
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    #[serde(rename = "p99_9_us")]
    pub(super) p999_us: u64,
    pub(super) max_us: u64,
}

impl Latencies {
    pub(super) fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(HIGHEST_US).min(HIGHEST_US);
        self.0.record(us).expect("it grows with what it counts");
    }

    pub(super) fn add(&mut self, others: &Self) {
        self.0.add(&others.0).expect("it grows with what it counts");
    }

    /// Nothing of nothing: no latency is not a latency of 0.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let [p50_us, p99_us, p999_us] = [0.5, 0.99, 0.999].map(|part| self.0.value_at_quantile(part));
        Some(Percentiles { p50_us, p99_us, p999_us, max_us: self.0.max() })
    }
}

impl Default for Latencies {
    fn default() -> Self {
        // It starts small: a run has two for each of its workers.
        Self(Histogram::new(DIGITS).expect("so many digits are possible"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_ms(latencies: impl IntoIterator<Item = u64>) -> Latencies {
        let mut found = Latencies::default();
        latencies.into_iter().for_each(|ms| found.record(Duration::from_millis(ms)));
        found
    }

    #[track_caller]
    fn assert_near(found_us: u64, ms: u64) {
        let us = ms * 1_000;
        assert!((us..=us + us / 1_000).contains(&found_us), "{found_us} us is not {ms} ms to three digits");
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_latencies() {
        let found = of_ms((1..=1_000).rev()).percentiles().expect("there are some");
        assert_near(found.p50_us, 500);
        assert_near(found.p99_us, 990);
        assert_near(found.p999_us, 999);
        assert_near(found.max_us, 1_000);
    }

    #[test]
    fn several_become_one_as_if_they_had_been_counted_together() {
        let mut found = of_ms(1..=500);
        found.add(&of_ms(501..=1_000));
        assert_eq!(found.percentiles(), of_ms(1..=1_000).percentiles());
    }

    #[test]
    fn no_latency_is_not_a_latency_of_zero() {
        assert_eq!(Latencies::default().percentiles(), None);
        let zero = Percentiles { p50_us: 0, p99_us: 0, p999_us: 0, max_us: 0 };
        assert_eq!(of_ms([0]).percentiles(), Some(zero));
    }

    #[test]
    fn what_takes_longer_than_an_hour_is_counted_and_not_lost() {
        let mut found = of_ms([1]);
        found.record(Duration::MAX);
        assert_near(found.percentiles().expect("there are some").max_us, HIGHEST_US / 1_000);
    }
}
