//! The broker against a reference: the same requests to both, and every answer compared, exactly.
//!
//! ```text
//! seed ─> generate ─> steps, which are values ─> resolve ─> requests ─┬─> drive: the broker on a simulated disk
//!                        ^                                            └─> reference: lists in memory
//!                        └── shrink, when they differ                        compare: run
//! ```
//!
//! Steps restart and kill the broker, let time pass, set the calendar back, and fill the disk. The reference follows
//! protocol.md and knows nothing of how the broker works.

mod coverage;
mod drive;
mod generate;
mod op;
mod reference;
mod request;
mod resolve;
mod run;
mod shrink;
mod translate;
mod wire;

pub use coverage::Coverage;

use std::fmt;

use super::Rng;
use crate::planted::Planted;
use op::Step;
use run::{Difference, run};

/// Steps of a run that a fuzzer chose, at most, beside the first ones.
const CHOSEN_STEPS: usize = 30;
/// Steps that a failure shows.
const SHOWN: usize = 5;

/// How many runs of how many steps, from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Of the first run; each further one has the next. Two runs of one seed are the same.
    pub seed: u64,
    /// How many.
    pub runs: u64,
    /// Steps of each.
    pub steps: usize,
    /// A bug to be found.
    pub planted: Planted,
}

/// What was compared.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// How many runs.
    pub runs: u64,
    /// How many steps, over all runs.
    pub steps: u64,
    /// What came about.
    pub coverage: Coverage,
}

/// Where broker and reference differ.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// Of the run.
    pub seed: u64,
    /// The step that differs, counted from 0.
    pub step: usize,
    /// What differs.
    pub what: String,
    steps: Vec<Step>,
    planted: Planted,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.steps.len().saturating_sub(SHOWN);
        writeln!(f, "seed {}, step {}: {}", self.seed, self.step, self.what)?;
        writeln!(f, "the last steps:\n{}", listed(&self.steps[first..]))
    }
}

impl Divergence {
    /// The shortest way to a difference that a search finds, which takes up to a thousand runs. It may be another
    /// difference.
    #[must_use]
    pub fn shortest(&self) -> String {
        let fails = |steps: &[Step]| run(steps, self.planted, &mut Coverage::default()).err();
        let found = Difference { step: self.step, what: self.what.clone() };
        let (steps, found) = shrink::shrink(self.steps.clone(), found, fails);
        format!("{} steps are enough:\n{}{}", steps.len(), listed(&steps), found.what)
    }
}

fn listed(steps: &[Step]) -> String {
    steps.iter().map(|step| format!("  {step:?}\n")).collect()
}

impl Model {
    /// Runs until all were compared, or one differs. `progress` is told after every run.
    ///
    /// # Errors
    /// The first [`Divergence`].
    pub fn run(&self, mut progress: impl FnMut(&Compared)) -> Result<Compared, Divergence> {
        let mut compared = Compared::default();
        for number in 0..self.runs {
            let seed = self.seed.wrapping_add(number);
            let mut steps = generate::steps(&mut Rng::new(seed), self.steps);
            if let Err(Difference { step, what }) = run(&steps, self.planted, &mut compared.coverage) {
                steps.truncate(step + 1);
                return Err(Divergence { seed, step, what, steps, planted: self.planted });
            }
            compared.runs += 1;
            compared.steps += self.steps as u64;
            progress(&compared);
        }
        Ok(compared)
    }
}

/// A short run through a session, beside strangers who send bent frames, all of it as these bytes say: for fuzzers.
///
/// # Errors
/// What was answered otherwise than the reference says, or what a stranger was told that it may not be.
pub fn session_as_told(data: &[u8]) -> Result<(), String> {
    // What is asked and what strangers do are told apart, so that a change of one leaves the other as it is.
    let (what, strange) = data.split_at(data.len() / 2);
    let mut what = Rng::chosen(what);
    let count = 3 + what.index(CHOSEN_STEPS);
    let steps = generate::steps(&mut what, count);
    let found = run::run_on_a_wire(&steps, Rng::chosen(strange), &mut Coverage::default());
    found.map_err(|Difference { step, what }| format!("step {step}: {what}\n{}", listed(&steps)))
}
