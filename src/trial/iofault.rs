//! Operations of the disk that fail: the k-th of a kind, or all of that kind from the k-th on, while the store runs and
//! while it is opened. Who is told that something is stored finds it stored, a refusal says that it is the disk's, reads go
//! on where they can, and the store goes on when the disk works again.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Rng, SimDisk, check, contents,
    cut::Cutter,
    disk::{DiskWork, Fault},
    history::Outcome,
    powercut::Known,
    probe::{self, Probe},
    workload::{self, Run},
};
use crate::{broker::Error, planted::Planted};

/// Rounds before the disk may fail; with a disk that fails; and afterwards.
const BEFORE: usize = 2;
const FAILING: usize = 2;
const AFTER: usize = 2;
/// Rounds of a run that is opened again.
const LEFT: usize = 16;
/// Longer than the store waits before it is opened again.
const PAUSE: Duration = Duration::from_secs(2);

/// What came of one fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weathered {
    /// Operations of the disk that failed.
    pub failed: u64,
    /// Appends that were acknowledged before, meanwhile, and after.
    pub acked: (usize, usize, usize),
    /// Calls whose outcome nobody knows.
    pub unknown: usize,
    /// Calls that were refused.
    pub refused: usize,
    /// Whether the store did not open.
    pub did_not_open: bool,
    /// Whether what was acknowledged last was read while the disk failed.
    pub read_meanwhile: bool,
}

/// Whether all that was acknowledged can be read while these operations fail: what is not in memory is in files that are
/// history, and those are opened and read.
fn reads_go_on(fault: Fault) -> bool {
    !fault.work.contains(&DiskWork::Read) && !fault.work.contains(&DiskWork::Names)
}

/// Lets the disk fail in a run of so many rounds, if it has that operation, and looks at what callers are told, and at
/// what is left.
///
/// # Errors
/// The promise that was broken.
pub fn weather(seed: u64, fault: Fault, rounds: usize) -> Result<Weathered, String> {
    let planted = Planted::default();
    let run = Run::begin(SimDisk::default(), planted, Rng::new(seed));
    let mut run = run.map_err(|error| format!("the run failed: {error}"))?;
    let mut probe = Probe::begin(&mut run).map_err(|error| format!("the run failed: {error}"))?;
    go(&mut run, &mut probe, BEFORE)?;
    let mut report = Weathered { acked: (acked(&run), 0, 0), ..Weathered::default() };
    run.disk.set_fault(Some(fault));
    for _ in 0..rounds {
        go(&mut run, &mut probe, 1)?;
        if run.disk.failed() > 0 {
            break;
        }
    }
    if run.disk.failed() == 0 {
        return Ok(report);
    }
    go(&mut run, &mut probe, FAILING)?;
    report.acked.1 = acked(&run) - report.acked.0;
    report.read_meanwhile = probe.reads_the_last(&mut run)?;
    if reads_go_on(fault) {
        reads_everything(&run).map_err(|what| format!("while the disk fails: {what}"))?;
    }
    report.failed = run.disk.failed();
    run.disk.set_fault(None);
    goes_on(&mut run, &mut probe)?;
    report.acked.2 = acked(&run) - report.acked.0 - report.acked.1;
    (report.unknown, report.refused) = (probe.unknown, probe.refused);
    survives(run, seed, fault)?;
    Ok(report)
}

fn go(run: &mut Run, probe: &mut Probe, count: usize) -> Result<(), String> {
    for _ in 0..count {
        run.steps(1);
        probe.round(run)?;
    }
    Ok(())
}

/// The disk works again: so does the store, for every call.
fn goes_on(run: &mut Run, probe: &mut Probe) -> Result<(), String> {
    run.pass(PAUSE);
    run.store.step();
    let before = (probe.unknown, probe.refused);
    go(run, probe, AFTER)?;
    if (probe.unknown, probe.refused) != before {
        return Err("the disk works again, and the store does not".to_owned());
    }
    reads_everything(run).map_err(|what| format!("the disk works again: {what}"))
}

fn known(run: &Run) -> Known {
    let mut known = Known::at(run, u64::MAX);
    // A trim whose commit failed may have happened all the same, and readers never saw its head.
    let topics = [workload::FORGETFUL_TOPIC, workload::AGING_TOPIC, probe::TOPIC];
    known.heads.extend(topics.map(|topic| (topic.to_owned(), u64::MAX)));
    known
}

/// What readers see is what was acknowledged.
fn reads_everything(run: &Run) -> Result<(), String> {
    let known = known(run);
    let log = contents::read_all(&run.store, &known.consumers, &known.heads);
    let log = log.map_err(|error| format!("it cannot be read: {error}"))?;
    check(&known.history, &log).map_err(|violation| violation.to_string())
}

/// The process ends, or in every other case the power goes: what was acknowledged is there all the same.
fn survives(run: Run, seed: u64, fault: Fault) -> Result<(), String> {
    run.disk.on_sync(None);
    let (known, disk) = (known(&run), run.disk.clone());
    drop(run.store);
    if fault.at.is_multiple_of(2) == fault.sticky {
        return survives_a_cut(&known, &disk, seed);
    }
    // What it had written is in the files, synced or not.
    known.verify(SimDisk::holding(disk.files()), Planted::default()).map(drop)
}

/// What failed syncs were to write may never have got there.
fn survives_a_cut(known: &Known, disk: &SimDisk, seed: u64) -> Result<(), String> {
    let mut cutter = Cutter::new(disk.story());
    cutter.advance(disk.ops());
    let verified = known.verify(SimDisk::with(cutter.sample(&mut Rng::new(seed))), Planted::default());
    verified.map(drop).map_err(|what| format!("after a power cut: {what}"))
}

fn acked(run: &Run) -> usize {
    let history = run.history.lock().expect("no panic while it is locked");
    history.appends.iter().filter(|append| matches!(append.outcome, Outcome::Acked(..))).count()
}

/// What a run left, to be opened on a disk that fails.
pub struct Left {
    known: Known,
    files: BTreeMap<String, Vec<u8>>,
    seed: u64,
}

impl Left {
    /// Files of a run that was closed, or killed.
    ///
    /// # Errors
    /// The run's own.
    pub fn by(seed: u64, is_closed: bool) -> Result<Self, String> {
        let run = Run::begin(SimDisk::default(), Planted::default(), Rng::new(seed));
        let mut run = run.map_err(|error| format!("the run failed: {error}"))?;
        let mut probe = Probe::begin(&mut run).map_err(|error| format!("the run failed: {error}"))?;
        go(&mut run, &mut probe, LEFT)?;
        run.disk.on_sync(None);
        let (known, unclean, disk) = (known(&run), run.disk.files(), run.disk.clone());
        run.store.close().map_err(|error| error.with_causes())?;
        Ok(Self { known, files: if is_closed { disk.files() } else { unclean }, seed })
    }

    /// Opens it while the disk fails, and reads everything if it opens; then opens it again.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn weather(&self, fault: Fault) -> Result<Weathered, String> {
        let disk = SimDisk::holding(self.files.clone());
        disk.set_fault(Some(fault));
        let mut report = Weathered::default();
        match workload::open(&disk, Planted::default()) {
            Err(error) if error.is_of_disk() => report.did_not_open = true,
            Err(error) => return Err(format!("it does not open, for another reason: {}", error.with_causes())),
            Ok(store) => match contents::read_all(&store, &self.known.consumers, &self.known.heads) {
                Ok(log) => check(&self.known.history, &log).map_err(|violation| violation.to_string())?,
                Err(Error::StorageFailed | Error::ReadFailed(_)) if disk.failed() > 0 => report.refused += 1,
                Err(error) => return Err(format!("it cannot be read, for another reason: {error}")),
            },
        }
        report.failed = disk.failed();
        if report.did_not_open && report.failed == 0 {
            return Err("it does not open, and the disk is well".to_owned());
        }
        disk.set_fault(None);
        let disk = self.known.verify(disk, Planted::default())?;
        survives_a_cut(&self.known, &disk, self.seed)?;
        Ok(report)
    }
}
