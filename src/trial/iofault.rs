//! Operations of the disk that fail: the k-th, or all from the k-th on. Who is told that something is stored finds it
//! stored, and the store opens again when the disk works again.

use super::{
    Rng, SimDisk,
    cut::Cutter,
    disk::Fault,
    history::Outcome,
    powercut::Known,
    workload::{self, Run},
};
use crate::planted::Planted;

/// Steps before the disk fails, while it does, and afterwards.
const STEPS: (usize, usize, usize) = (6, 24, 6);

/// Power cuts at the end.
const CUTS: usize = 2;

/// What came of one fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weathered {
    /// Operations of the disk that failed.
    pub failed: u64,
    /// Appends that were acknowledged before, meanwhile, and after.
    pub acked: (usize, usize, usize),
    /// Appends whose outcome nobody knows.
    pub unknown: usize,
    /// Appends that were refused.
    pub refused: usize,
}

/// Lets the disk fail in the middle of a run, and looks at what is left.
///
/// # Errors
/// The promise that was broken.
pub fn weather(seed: u64, fault: Fault) -> Result<Weathered, String> {
    let planted = Planted::default();
    let run = Run::begin(SimDisk::default(), planted, Rng::new(seed));
    let mut run = run.map_err(|error| format!("the run failed: {error}"))?;
    run.steps(STEPS.0);
    let before = acked(&run);
    run.disk.set_fault(Some(fault));
    run.steps(STEPS.1);
    let meanwhile = acked(&run) - before;
    let failed = run.disk.failed();
    run.disk.set_fault(None);
    run.steps(STEPS.2);
    let after = acked(&run) - before - meanwhile;
    run.disk.on_sync(None);
    let mut known = Known::at(&run, u64::MAX);
    // A trim whose commit failed may have happened all the same, and readers never saw its head.
    known.heads.insert(workload::FORGETFUL_TOPIC.to_owned(), u64::MAX);
    let count = |wanted: fn(&Outcome<()>) -> bool| {
        known.history.appends.iter().filter(|append| wanted(&append.outcome)).count()
    };
    let unknown = count(|outcome| matches!(outcome, Outcome::Unknown));
    let refused = count(|outcome| matches!(outcome, Outcome::Refused));
    let report = Weathered { failed, acked: (before, meanwhile, after), unknown, refused };
    // The process ends here; what it had written is in the files, synced or not.
    let disk = run.disk.clone();
    drop(run.store);
    known.verify(SimDisk::holding(disk.files()), planted)?;
    // Or the power goes: what failed syncs were to write may never have got there.
    let (mut cutter, mut rng) = (Cutter::new(disk.story()), Rng::new(seed));
    cutter.advance(disk.ops());
    for _ in 0..CUTS {
        let verified = known.verify(SimDisk::with(cutter.sample(&mut rng)), planted);
        verified.map_err(|what| format!("after a power cut: {what}"))?;
    }
    Ok(report)
}

fn acked(run: &Run) -> usize {
    let history = run.history.lock().expect("no panic while it is locked");
    history.appends.iter().filter(|append| matches!(append.outcome, Outcome::Acked(..))).count()
}
