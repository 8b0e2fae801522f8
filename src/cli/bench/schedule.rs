//! Open loop: things are due at fixed times, whether what was due before is done or not.
//!
//! A generator that waits for an answer before it goes on sends little while the server stalls, and so counts the stall
//! once. Here the times are fixed before anything is sent, and latencies are counted from them: what had to wait behind
//! a stall counts its wait.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    histogram::Latencies,
    run::{Extent, Run},
};

/// `total` things, the first one due at `start` and then so many per second, in steps of `tick`: what is due within a
/// step is due when it begins. Without steps they are evenly spaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) start: Instant,
    pub(super) rate_per_second: u64,
    pub(super) tick: Duration,
    pub(super) total: u64,
}

impl Schedule {
    /// All that is due from the start of a run to its end.
    pub(super) fn of(run: &Run, extent: Extent, rate_per_second: u64, tick: Duration) -> Self {
        let total = match extent {
            Extent::Records(records) => records,
            Extent::Time { warmup, counted } => {
                let due = (warmup + counted).as_nanos() * u128::from(rate_per_second) / 1_000_000_000;
                u64::try_from(due).unwrap_or(u64::MAX)
            }
        };
        Self { start: run.started, rate_per_second, tick, total }
    }

    /// When this one is due, computed from the start, so that errors do not add up.
    pub(super) fn due(&self, index: u64) -> Instant {
        let nanoseconds = u128::from(index) * 1_000_000_000 / u128::from(self.rate_per_second);
        let nanoseconds = nanoseconds - nanoseconds.checked_rem(self.tick.as_nanos()).unwrap_or(0);
        self.start + Duration::from_nanos(u64::try_from(nanoseconds).expect("no run takes 500 years"))
    }

    /// When the one after the last would be due.
    pub(super) fn end(&self) -> Instant {
        Self { tick: Duration::ZERO, ..*self }.due(self.total)
    }

    /// Calls `each` when its time has come, with its index and that time, until it returns `false`. Returns how late the
    /// calls were by the fault of this thread and of what it called.
    ///
    /// Blocks its thread: the timers of the runtime know milliseconds only, a sleeping thread is late by some 60 us.
    pub(super) fn keep(&self, mut each: impl FnMut(u64, Instant) -> bool) -> Latencies {
        let mut late = Latencies::default();
        for index in 0..self.total {
            let due = self.due(index);
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                thread::sleep(early);
            }
            late.record(due.elapsed());
            if !each(index, due) {
                break;
            }
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn past(rate_per_second: u64, total: u64) -> Schedule {
        let start = Instant::now().checked_sub(HOUR).unwrap_or_else(Instant::now);
        Schedule { start, rate_per_second, tick: Duration::ZERO, total }
    }

    #[test]
    fn times_follow_the_rate_and_do_not_drift() {
        let schedule = past(3, 7_200);
        assert_eq!(schedule.due(0), schedule.start);
        assert_eq!(schedule.due(1), schedule.start + Duration::from_nanos(333_333_333));
        assert_eq!(schedule.due(3), schedule.start + Duration::from_secs(1));
        assert_eq!(schedule.due(3_001), schedule.start + Duration::from_nanos(1_000_333_333_333));
        assert_eq!(schedule.end(), schedule.start + Duration::from_secs(2_400));
    }

    #[test]
    fn what_is_due_within_a_step_is_due_when_it_begins() {
        let schedule = Schedule { tick: Duration::from_millis(1), ..past(2_500, 10) };
        let due: Vec<_> = (0..10).map(|index| (schedule.due(index) - schedule.start).as_micros()).collect();
        assert_eq!(due, [0, 0, 0, 1_000, 1_000, 2_000, 2_000, 2_000, 3_000, 3_000]);
        assert_eq!(schedule.end(), schedule.start + Duration::from_millis(4));
    }

    #[test]
    fn as_many_are_due_as_the_time_has_room_for() {
        let (warmup, counted) = (Duration::from_millis(500), Duration::from_secs(2));
        for (extent, rate, total) in [
            (Extent::Time { warmup, counted }, 1_000, 2_500),
            (Extent::Time { warmup: Duration::ZERO, counted }, 3, 6),
            (Extent::Time { warmup: Duration::ZERO, counted: Duration::ZERO }, 1_000, 0),
            (Extent::Records(7), 1_000, 7),
        ] {
            let run = Run::start(extent);
            let schedule = Schedule::of(&run, extent, rate, Duration::ZERO);
            assert_eq!(schedule.total, total, "{extent:?}");
            assert_eq!(schedule.due(0), run.started, "the first one is due when the run starts");
        }
    }

    #[test]
    fn what_is_overdue_is_made_up_for_and_none_is_left_out() {
        let schedule = past(1_000, 5_000);
        let mut calls = Vec::new();
        schedule.keep(|index, due| {
            calls.push((index, due));
            true
        });
        let expected: Vec<_> = (0..5_000).map(|index| (index, schedule.due(index))).collect();
        assert_eq!(calls, expected);
    }

    #[test]
    fn nothing_is_called_before_it_is_due() {
        let schedule = Schedule { start: Instant::now(), rate_per_second: 2_000, tick: Duration::ZERO, total: 20 };
        let mut early = 0;
        schedule.keep(|_, due| {
            early += u32::from(Instant::now() < due);
            true
        });
        assert_eq!(early, 0);
    }

    #[test]
    fn it_ends_when_it_is_told_to() {
        let mut calls = 0;
        past(1_000, 5_000).keep(|index, _| {
            calls += 1;
            index < 9
        });
        assert_eq!(calls, 10);
    }
}
