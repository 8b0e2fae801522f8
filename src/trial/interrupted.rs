//! A salvage that is interrupted: by a disk that fails at one operation after another, and by a power cut there. What is
//! in the target then is complete, or refused by servers and checks alike.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{
    Rng, SimDisk,
    cut::Cutter,
    disk::{DiskWork, Fault},
    workload::{self, Run},
};
use crate::{
    broker::{self, Report, StorageError},
    planted::Planted,
};

/// Steps of the run whose files are copied.
const STEPS: usize = 25;

/// What came of all interruptions of one salvage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupted {
    /// Segments of the copy.
    pub segments: usize,
    /// Interruptions that left nothing in the target.
    pub empty: u64,
    /// That left what is refused.
    pub refused: u64,
    /// That left a complete copy.
    pub complete: u64,
}

/// Interrupts a salvage of what a run left at each of its operations, in several ways.
///
/// # Errors
/// What opens, and is not complete.
pub fn interrupt_salvage(seed: u64) -> Result<Interrupted, String> {
    let mut rng = Rng::new(seed);
    let run = Run::begin(SimDisk::default(), Planted::default(), Rng::new(rng.number()));
    let mut run = run.map_err(|error| error.to_string())?;
    run.steps(STEPS);
    run.disk.on_sync(None);
    let source = SimDisk::holding(run.disk.files());
    let whole = SimDisk::default();
    salvage(&source, &whole).map_err(|error| error.with_causes())?;
    let complete = check(&whole).map_err(|error| error.with_causes())?;
    let mut report = Interrupted { segments: complete.segments, ..Interrupted::default() };
    for sticky in [true, false] {
        for at in 0.. {
            let copy = SimDisk::default();
            let (work, kind) = (&DiskWork::ALL, io::ErrorKind::StorageFull);
            copy.set_fault(Some(Fault { work, at, sticky, kind }));
            let salvaged = salvage(&source, &copy);
            if copy.failed() == 0 {
                break;
            }
            let before = report.complete;
            let judged = report.judge(copy.files(), &complete).and_then(|()| match salvaged {
                // Nothing was missing any more: a file could not be made shorter when it was closed.
                Ok(()) if report.complete == before => Err("the salvage did not say that it failed".to_owned()),
                _ => Ok(()),
            });
            judged.map_err(|wrong| format!("seed {seed}, operation {at} failed, sticky {sticky}: {wrong}"))?;
        }
    }
    let mut cutter = Cutter::new(whole.story());
    for cut in 0..=whole.ops() {
        cutter.advance(cut);
        let left = SimDisk::with(cutter.sample(&mut rng));
        let judged = report.judge(left.files(), &complete);
        judged.map_err(|wrong| format!("seed {seed}, power cut after operation {cut}: {wrong}"))?;
    }
    Ok(report)
}

fn salvage(source: &SimDisk, copy: &SimDisk) -> Result<(), StorageError> {
    broker::audit(source, Some(Arc::new(copy.clone())), &mut |_| {}).map(drop)
}

fn check(disk: &SimDisk) -> Result<Report, StorageError> {
    broker::audit(disk, None, &mut |_| {})
}

impl Interrupted {
    fn judge(&mut self, files: BTreeMap<String, Vec<u8>>, complete: &Report) -> Result<(), String> {
        if files.is_empty() {
            self.empty += 1;
            return Ok(());
        }
        let disk = SimDisk::holding(files.clone());
        match (check(&disk), workload::open(&disk, Planted::default())) {
            (Err(StorageError::IncompleteCopy), Err(StorageError::IncompleteCopy)) if disk.files() == files => {
                self.refused += 1;
            }
            (Ok(found), Ok(_)) if found == *complete => self.complete += 1,
            (found, opened) => {
                let opened = opened.map(drop);
                return Err(format!("a check says {found:?}, a start {opened:?}, and complete is {complete:?}"));
            }
        }
        Ok(())
    }
}
