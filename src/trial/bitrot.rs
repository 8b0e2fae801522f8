//! Bit rot: one bit of one file is another. What is read then is what was written, or an error; never something else.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{
    Rng, SimDisk, check,
    powercut::Known,
    workload::{self, Run},
};
use crate::planted::Planted;

/// Steps of one run.
const STEPS: usize = 40;

/// How many bits, from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Rot {
    /// Two runs of one seed are the same.
    pub seed: u64,
    /// So many flips.
    pub flips: u64,
    /// A bug to be found.
    pub planted: Planted,
}

/// What came of the flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotten {
    /// Bits that were flipped.
    pub flips: u64,
    /// The store did not open, and said why.
    pub refused: u64,
    /// It opened, and reading gave an error.
    pub detected: u64,
    /// Everything was read as it was written.
    pub harmless: u64,
    /// It was not closed, and opened without its last commit, as after a power cut.
    pub rolled_back: u64,
}

impl Rot {
    /// Flips bits, one at a time, in what a run left, cleanly closed or not.
    ///
    /// # Errors
    /// Where a flip gave wrong data, or a panic.
    pub fn run(&self) -> Result<Rotten, String> {
        let mut report = Rotten::default();
        let mut seed = self.seed;
        while report.flips < self.flips {
            let mut rng = Rng::new(seed);
            let mut run = Run::begin(SimDisk::default(), self.planted, Rng::new(rng.number()))
                .map_err(|error| format!("seed {seed}: {error}"))?;
            run.steps(STEPS);
            run.disk.on_sync(None);
            let known = Known::at(&run, u64::MAX);
            let acks = known.history.appends.iter().map(|append| append.outcome.time());
            let acks = acks.chain(known.history.commits.iter().map(|commit| commit.outcome.time()));
            let last = acks.flatten().max().unwrap_or(0);
            // What it looked like before the last commit was answered.
            let before = Known::at(&run, last.saturating_sub(1));
            let disk = run.disk.clone();
            let is_closed = rng.percent(50);
            let unclean = disk.files();
            let files = match is_closed {
                true => run.store.close().map(|()| disk.files()).map_err(|error| error.to_string())?,
                false => unclean,
            };
            for _ in 0..200.min(self.flips - report.flips) {
                let (name, at, bit) = choose(&files, &mut rng);
                let mut damaged = files.clone();
                damaged.get_mut(&name).expect("it was chosen among them")[at] ^= 1 << bit;
                report.flips += 1;
                let found = self.look(damaged, &known, (!is_closed).then_some(&before), &mut report);
                found.map_err(|what| {
                    format!("seed {seed}, bit {bit} of byte {at} of {name}, closed {is_closed}: {what}")
                })?;
            }
            seed = seed.wrapping_add(1);
        }
        Ok(report)
    }

    /// Opens damaged files and reads them. A file that was not closed may have lost its last commit: a bit of it that is
    /// another cannot be told from a commit that was under way when the power went.
    fn look(
        &self,
        files: BTreeMap<String, Vec<u8>>,
        known: &Known,
        before: Option<&Known>,
        report: &mut Rotten,
    ) -> Result<(), String> {
        let disk = SimDisk::holding(files);
        let opened = catch_unwind(AssertUnwindSafe(|| workload::open(&disk, self.planted)));
        let Ok(store) = opened.map_err(|_| "opening it panicked".to_owned())? else {
            report.refused += 1;
            return Ok(());
        };
        let read = catch_unwind(AssertUnwindSafe(|| workload::read_all(&store, &known.consumers, &known.heads)));
        let Ok(log) = read.map_err(|_| "reading it panicked".to_owned())? else {
            report.detected += 1;
            return Ok(());
        };
        match check(&known.history, &log) {
            Ok(()) => report.harmless += 1,
            Err(_) if before.is_some_and(|before| check(&before.history, &log).is_ok()) => report.rolled_back += 1,
            Err(violation) => return Err(violation.to_string()),
        }
        Ok(())
    }
}

/// A bit: of each file as often as of every other, half of the time among its first pages, where the headers are.
fn choose(files: &BTreeMap<String, Vec<u8>>, rng: &mut Rng) -> (String, usize, u64) {
    let files: Vec<_> = files.iter().filter(|(_, content)| !content.is_empty()).collect();
    let (name, content) = files[rng.index(files.len())];
    let upto = if rng.percent(20) { content.len().min(4096) } else { content.len() };
    (name.clone(), rng.index(upto), rng.below(8))
}
