//! Runs by the thousand.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::run::{Run, run};
use crate::planted::Planted;

/// How many runs, from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// Of the first run; the others follow.
    pub seed: u64,
    /// So many runs.
    pub seeds: u64,
    /// A bug to be found.
    pub planted: Planted,
}

/// What a campaign did, over all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Runs, each with a seed of its own.
    pub runs: u64,
    /// Connections that were tried.
    pub connections: u64,
    /// Connections that were cut.
    pub cuts: u64,
    /// Times that nothing arrived from a client, at a client, or both.
    pub partitions: u64,
    /// Frames of the server that came twice.
    pub repeats: u64,
    /// Servers that ended, in whatever way.
    pub restarts: u64,
    /// Records that were acknowledged.
    pub acked: u64,
    /// The longest that a run took to settle once the network was well, in simulated milliseconds.
    pub settled_ms: u64,
}

/// A promise that did not hold, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of the run.
    pub seed: u64,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

impl Report {
    fn add(&mut self, run: &Run) {
        self.runs += 1;
        self.connections += run.connections;
        self.cuts += run.cuts;
        self.partitions += run.partitions;
        self.repeats += run.repeats;
        self.restarts += run.restarts;
        self.acked += run.acked;
        self.settled_ms = self.settled_ms.max(run.settled_ms);
    }
}

impl Campaign {
    /// Runs until all are done, or one broke a promise. `progress` is told after every run.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn run(&self, mut progress: impl FnMut(&Report)) -> Result<Report, Failure> {
        let mut report = Report::default();
        while report.runs < self.seeds {
            let seed = self.seed.wrapping_add(report.runs);
            let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, self.planted)));
            let outcome = outcome.unwrap_or_else(|_| Err("the run panicked".to_owned()));
            report.add(&outcome.map_err(|what| Failure { seed, what })?);
            progress(&report);
        }
        Ok(report)
    }
}
