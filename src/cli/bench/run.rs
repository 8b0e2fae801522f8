//! One run of a workload: when it counts, when it ends, and what was counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    task::JoinSet,
    time::{interval, sleep_until},
};

use super::{histogram::Latencies, usage::Usage};
use crate::cli::progress::Progress;

/// How often progress is drawn.
const TICK: Duration = Duration::from_millis(250);

/// How long after its end a run with a rate waits for what was due.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a workload goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extent {
    /// Counted for so long, after it went on uncounted for so long.
    Time { warmup: Duration, counted: Duration },
    /// Until so many records are sent.
    Records(u64),
}

/// What all workers of a run know.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) started: Instant,
    /// From here on it counts.
    begins: Instant,
    /// Up to here it counts; without, up to the last acknowledgement.
    ends: Option<Instant>,
    /// Records that may still be sent.
    left: AtomicU64,
    done: AtomicU64,
}

impl Run {
    pub(super) fn start(extent: Extent) -> Arc<Self> {
        Arc::new(Self::at(Instant::now(), extent))
    }

    fn at(now: Instant, extent: Extent) -> Self {
        let (begins, ends, left) = match extent {
            Extent::Time { warmup, counted } => (now + warmup, Some(now + warmup + counted), u64::MAX),
            Extent::Records(records) => (now, None, records),
        };
        Self { started: now, begins, ends, left: AtomicU64::new(left), done: AtomicU64::new(0) }
    }

    /// How many records to send next, out of so many that would suit; 0 when the run is over.
    pub(super) fn claim(&self, records: u64) -> u64 {
        if self.ends.is_some_and(|ends| Instant::now() >= ends) {
            return 0;
        }
        let before = self.left.fetch_update(Relaxed, Relaxed, |left| Some(left - records.min(left)));
        records.min(before.expect("the update is always made"))
    }

    /// Whether what happens at this moment counts.
    fn counts(&self, moment: Instant) -> bool {
        moment >= self.begins && self.ends.is_none_or(|ends| moment < ends)
    }

    /// For the person who watches.
    fn show_done(&self, records: u64) {
        self.done.fetch_add(records, Relaxed);
    }
}

/// What a worker counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Acknowledged, or arrived, while the run counted.
    pub(super) records: u64,
    /// Bytes of their values.
    pub(super) value_bytes: u64,
    /// Of all that were sent, or due, while the run counted; also of those that were done after its end.
    pub(super) latencies: Latencies,
    /// How late an open loop was by its own fault.
    pub(super) generator_late: Latencies,
    /// Were due, and never done.
    pub(super) unfinished: u64,
    pub(super) last: Option<Instant>,
}

impl Tally {
    /// So many records that were sent, or due, at `since` are done now.
    pub(super) fn done(&mut self, run: &Run, since: Instant, now: Instant, records: u64, value_bytes: u64) {
        self.latency(run, since, now);
        self.arrived(run, now, records, value_bytes);
    }

    /// So many records are done now, and nobody knows since when they were on their way.
    pub(super) fn arrived(&mut self, run: &Run, now: Instant, records: u64, value_bytes: u64) {
        if run.counts(now) {
            self.records += records;
            self.value_bytes += value_bytes;
        }
        self.last = self.last.max(Some(now));
        run.show_done(records);
    }

    /// A record that was due at `since` is given up now: it took at least so long.
    pub(super) fn gave_up(&mut self, run: &Run, since: Instant, now: Instant) {
        self.latency(run, since, now);
        self.unfinished += 1;
    }

    fn latency(&mut self, run: &Run, since: Instant, now: Instant) {
        if run.counts(since) {
            self.latencies.record(now.saturating_duration_since(since));
        }
    }

    fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.value_bytes += other.value_bytes;
        self.latencies.add(&other.latencies);
        self.generator_late.add(&other.generator_late);
        self.unfinished += other.unfinished;
        self.last = self.last.max(other.last);
    }
}

/// What all workers counted, in which time, and what the server spent on it.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) tally: Tally,
    pub(super) seconds: f64,
    pub(super) before: Option<Usage>,
    pub(super) after: Option<Usage>,
}

/// Waits for the workers of a run and adds up what they say. The first that fails ends it.
pub(super) async fn measure(
    run: &Run,
    pid: Option<u32>,
    what: &str,
    mut workers: JoinSet<anyhow::Result<Tally>>,
) -> anyhow::Result<Measured> {
    let (mut tally, mut tick, progress) = (Tally::default(), interval(TICK), Progress::spinner());
    let (mut before, mut after) = (None, None);
    let (mut has_begun, mut has_ended) = (false, false);
    loop {
        tokio::select! {
            biased;
            () = sleep_until(run.begins.into()), if !has_begun => {
                (has_begun, before) = (true, Usage::of(pid)?);
            }
            () = sleep_until(run.ends.unwrap_or(run.begins).into()), if run.ends.is_some() && !has_ended => {
                (has_ended, after) = (true, Usage::of(pid)?);
            }
            worker = workers.join_next() => match worker {
                Some(found) => tally.add(&found.context("a worker has died")??),
                None => break,
            },
            _ = tick.tick() => progress.say(format!("{what}: {} records", run.done.load(Relaxed))),
        }
    }
    if !has_ended {
        after = Usage::of(pid)?;
    }
    let ends = run.ends.or(tally.last).unwrap_or(run.begins);
    let seconds = ends.saturating_duration_since(run.begins).as_secs_f64();
    Ok(Measured { tally, seconds, before, after })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_acknowledged_before_or_after_the_time_that_counts_does_not_count() {
        let start = Instant::now();
        let run = Run::at(start, Extent::Time { warmup: SECOND, counted: 2 * SECOND });
        let mut tally = Tally::default();
        for half_seconds in 0..8 {
            let acknowledged = start + half_seconds * SECOND / 2;
            tally.done(&run, start, acknowledged, 10, 1_000);
        }
        assert_eq!((tally.records, tally.value_bytes), (40, 4_000), "those at 1.0, 1.5, 2.0 and 2.5 s");
    }

    #[test]
    fn the_latency_of_what_was_sent_in_time_counts_also_when_it_is_done_after_the_end() {
        let start = Instant::now();
        let run = Run::at(start, Extent::Time { warmup: SECOND, counted: SECOND });
        let mut tally = Tally::default();
        tally.done(&run, start, start + SECOND / 2, 1, 1);
        assert_eq!(tally.latencies.percentiles(), None, "sent before it counts");
        tally.done(&run, start + SECOND, start + 9 * SECOND, 1, 1);
        let found = tally.latencies.percentiles().expect("sent while it counts");
        assert!((8_000_000..8_010_000).contains(&found.max_us), "{found:?}");
        assert_eq!(tally.records, 0, "done after the end");
    }

    #[test]
    fn a_stall_shows_in_every_record_that_was_due_while_it_lasted() {
        // A server that answers within no time, and not at all during the last of ten seconds: a generator that waits
        // for each answer would count that once in 9,001, and call the p99 nothing.
        let start = Instant::now();
        let run = Run::at(start, Extent::Time { warmup: Duration::ZERO, counted: 10 * SECOND });
        let schedule =
            super::super::schedule::Schedule { start, rate_per_second: 1_000, tick: Duration::ZERO, total: 10_000 };
        let mut tally = Tally::default();
        for index in 0..schedule.total {
            let due = schedule.due(index);
            let answered = if due < start + 9 * SECOND { due } else { start + 10 * SECOND };
            tally.done(&run, due, answered, 1, 1);
        }
        let found = tally.latencies.percentiles().expect("there are some");
        assert_eq!(found.p50_us, 0);
        assert!((890_000..910_000).contains(&found.p99_us), "a tenth of them waited, evenly up to 1 s: {found:?}");
    }

    #[test]
    fn what_never_came_counts_as_late_as_it_was_given_up() {
        let start = Instant::now();
        let run = Run::at(start, Extent::Time { warmup: Duration::ZERO, counted: SECOND });
        let mut tally = Tally::default();
        tally.gave_up(&run, start, start + 11 * SECOND);
        assert_eq!((tally.records, tally.unfinished), (0, 1));
        assert!(tally.latencies.percentiles().expect("it counts").max_us >= 11_000_000);
    }

    #[test]
    fn a_number_of_records_is_shared_out_exactly() {
        let run = Run::at(Instant::now(), Extent::Records(2_500));
        let claims: Vec<_> = (0..4).map(|_| run.claim(1_000)).collect();
        assert_eq!(claims, [1_000, 1_000, 500, 0]);
    }

    #[test]
    fn nothing_is_sent_after_the_end_of_the_time() {
        let past = Instant::now() - Duration::from_millis(1);
        let run = Run::at(past, Extent::Time { warmup: Duration::ZERO, counted: Duration::from_millis(1) });
        assert_eq!(run.claim(1), 0);
    }
}
