//! What a run left: its files, closed or as a crash leaves them, and what they must give back.

use std::collections::BTreeMap;

use super::{Rng, SimDisk, Violation, check, history::Log, powercut::Known, workload::Run};
use crate::{broker::ProducerState, planted::Planted, record::Offset};

/// See the module.
pub(super) struct Remains {
    pub(super) known: Known,
    /// As it was known before the last commit was answered.
    before: Known,
    pub(super) producers: Vec<ProducerState>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) is_closed: bool,
}

/// What a log is that was read of files which may be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Everything is there.
    Whole,
    /// The last commit is not.
    RolledBack,
}

impl Remains {
    /// Runs so many steps.
    ///
    /// # Errors
    /// The run's own.
    pub(super) fn of_run(rng: Rng, steps: usize, is_closed: bool, planted: Planted) -> Result<Self, String> {
        let run = Run::begin(SimDisk::default(), planted, rng);
        let mut run = run.map_err(|error| format!("the run failed: {error}"))?;
        run.steps(steps);
        run.disk.on_sync(None);
        let known = Known::at(&run, u64::MAX);
        let acks = known.history.appends.iter().map(|append| append.outcome.time());
        let acks = acks.chain(known.history.commits.iter().map(|commit| commit.outcome.time()));
        let last = acks.flatten().max().unwrap_or(0);
        let before = Known::at(&run, last.saturating_sub(1));
        let (producers, disk) = (run.producers(u64::MAX), run.disk.clone());
        let unclean = disk.files();
        let files = match is_closed {
            true => run.store.close().map(|()| disk.files()).map_err(|error| error.with_causes())?,
            false => unclean,
        };
        Ok(Self { known, before, producers, files, is_closed })
    }

    /// Judges what was read of damaged files. A file that was not closed may have lost its last commit: damage to that
    /// cannot be told from a commit that was under way when the power went.
    ///
    /// # Errors
    /// What cannot be.
    pub(super) fn judge(&self, log: &Log) -> Result<Fate, Violation> {
        match check(&self.known.history, log) {
            Ok(()) => Ok(Fate::Whole),
            Err(_) if !self.is_closed && check(&self.before.history, log).is_ok() => Ok(Fate::RolledBack),
            Err(violation) => Err(violation),
        }
    }

    /// Whether nothing at or behind an offset was acknowledged before the last commit.
    pub(super) fn is_of_last_commit(&self, topic: &str, from: Offset) -> bool {
        let mut offsets = self.before.history.acked().flat_map(|append| append.records.iter().zip(&append.offsets));
        !offsets.any(|((of, _), offset)| of == topic && offset.is_some_and(|offset| offset >= from.0))
    }

    /// For an error message.
    pub(super) fn state(&self) -> &'static str {
        if self.is_closed { "closed" } else { "not closed" }
    }
}
