//! Power cuts by the thousand: a run, then at each of many operations of its disk what may be left of it is opened
//! again, read to the end, and checked against what was acknowledged by then.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{
    Rng, SimDisk, Violation, check, contents,
    cut::Cutter,
    disk::Op,
    history::{History, Log, Stored},
    words_of,
    workload::{self, Run},
};
use crate::{
    broker::{ProducerState, Stepped},
    planted::Planted,
    record::{ConsumerId, ProducerId},
};

/// Steps of one run.
const STEPS: usize = 60;
/// After so many of a hundred cuts the store has to go on.
const GOES_ON_PERCENT: u64 = 20;
/// Of a hundred cuts, so many are followed by another one.
const DOUBLE_PERCENT: u64 = 30;
/// Steps of a run that a fuzzer chose, at most.
const CHOSEN_STEPS: u64 = 16;
/// Open operations up to which every subset is tried.
const EXHAUSTIVE_OPEN: usize = 10;

/// How many cuts, from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// Two runs of one seed are the same.
    pub seed: u64,
    /// At least so many cuts.
    pub cuts: u64,
    /// A bug to be found.
    pub planted: Planted,
}

/// What a campaign did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Runs, each with a seed of its own.
    pub runs: u64,
    /// Cuts, second ones included.
    pub cuts: u64,
    /// Those that came behind another: while the store recovered from that, or in whatever it did later.
    pub double: u64,
    /// Acknowledged records that were looked for, over all cuts.
    pub acked: u64,
    /// Operations of the simulated disks, over all runs.
    pub ops: u64,
    /// Files that were made and removed within what was cut.
    pub files: (u64, u64),
    /// Operations behind which every subset of what was open was tried, and those behind which samples were.
    pub exhausted: (u64, u64),
}

/// A promise that did not hold, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of the run.
    pub seed: u64,
    /// After so many operations of the disk.
    pub cut: u64,
    /// After so many of the second disk, if there was a second cut.
    pub second: Option<u64>,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, cut after operation {}", self.seed, self.cut)?;
        if let Some(second) = self.second {
            write!(f, ", again after operation {second} of the recovery")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What is known of a run at a cut.
pub(super) struct Known {
    pub(super) history: History,
    pub(super) consumers: Vec<ConsumerId>,
    pub(super) heads: BTreeMap<String, u64>,
    producers: Vec<ProducerState>,
    /// All of them, by number.
    producer_ids: Vec<ProducerId>,
}

impl Known {
    pub(super) fn at(run: &Run, time: u64) -> Self {
        let history = run.history.lock().expect("no panic while it is locked").as_of(time);
        let (consumers, producer_ids) = (run.consumer_ids(), run.producer_ids());
        Self { history, consumers, heads: run.max_heads(time), producers: run.producers(time), producer_ids }
    }

    /// Opens what is on a disk, and looks. Gives the disk back, with what the recovery did to it.
    pub(super) fn verify(&self, disk: SimDisk, planted: Planted) -> Result<SimDisk, String> {
        let opened = catch_unwind(AssertUnwindSafe(|| workload::open(&disk, planted)));
        let store = opened.map_err(|_| "opening it panicked".to_owned())?;
        let store = store.map_err(|error| format!("it does not open: {}", error.with_causes()))?;
        let log = contents::read_all(&store, &self.consumers, &self.heads);
        let mut log = log.map_err(|error| format!("it cannot be read: {error}"))?;
        if let Some(topic) = log.topics.get_mut(workload::FORGETFUL_TOPIC) {
            topic.least_bytes = workload::LEAST_KEPT_BYTES;
        }
        let states = store.producers();
        let is_there = |id: &ProducerId| states.iter().any(|state| state.id == *id);
        log.producers = (0..).zip(&self.producer_ids).filter(|(_, id)| is_there(id)).map(|(at, _)| at).collect();
        check(&self.history, &log).map_err(|violation: Violation| violation.to_string())?;
        self.knows_what_is_stored(&states, &log)?;
        drop(store);
        Ok(disk)
    }

    /// Each producer's last sequence is that of its last record, or of the last acknowledged one where retention has taken
    /// all: a retry is told apart from something new.
    fn knows_what_is_stored(&self, states: &[ProducerState], log: &Log) -> Result<(), String> {
        let mut ends: HashMap<u64, u64> = HashMap::new();
        let mut stored = |record: &Stored| {
            let end = ends.entry(record.producer).or_default();
            *end = (*end).max(record.sequence + 1);
        };
        log.topics
            .values()
            .flat_map(|topic| &topic.records)
            .filter_map(|(_, record)| record.as_ref())
            .for_each(&mut stored);
        self.history.acked().flat_map(|append| &append.records).for_each(|(_, record)| stored(record));
        for (number, id) in (0..).zip(&self.producer_ids) {
            let Some(state) = states.iter().find(|state| state.id == *id) else { continue };
            let (known, end) = (state.last_sequence.0, ends.get(&number).copied().unwrap_or(0));
            // Retention may have taken what nobody was told of.
            let may_be_more = log.topics.values().any(|topic| topic.head > 0);
            if known < end || (known > end && !may_be_more) {
                return Err(format!("producer {number} is at {known}, and {end} is stored"));
            }
        }
        Ok(())
    }

    /// Acknowledged records, each once.
    fn acked(&self) -> u64 {
        let records = self.history.acked().flat_map(|append| &append.records);
        records.map(|(_, record)| record).collect::<HashSet<_>>().len() as u64
    }

    /// Opens what was recovered once more, and goes on: each producer's last record again is known, and the one behind it
    /// goes to the tail.
    fn goes_on(&self, disk: &SimDisk, planted: Planted) -> Result<(), String> {
        let store = workload::open(&SimDisk::holding(disk.files()), planted);
        let mut store = store.map_err(|error| format!("it does not open again: {}", error.with_causes()))?;
        let found = store.producers();
        for known in &self.producers {
            let state = found.iter().find(|state| state.id == known.id);
            let state = state.ok_or_else(|| format!("nobody knows producer {} any more", known.id))?;
            let end = state.last_sequence.0;
            for (sequence, is_stored) in [(end.checked_sub(1), true), (Some(end), false)] {
                let Some(sequence) = sequence else { continue };
                let tail = |store: &Stepped| {
                    let topics = store.broker().topics("", usize::MAX).0;
                    topics.iter().find(|topic| topic.id == state.topic).map(|topic| topic.range().tail)
                };
                let before = tail(&store).ok_or("a producer has no topic")?;
                let answer = contents::append_one(&mut store, state, sequence).map_err(|error| error.to_string())?;
                let grown = tail(&store).ok_or("a producer has no topic")?.0 - before.0;
                let is_right = answer.duplicate == is_stored && grown == u64::from(!is_stored);
                if !is_right || (!is_stored && answer.base_offset != Some(before)) {
                    return Err(format!("sequence {sequence} of {state:?}, at tail {before}: {answer:?}"));
                }
            }
        }
        Ok(())
    }
}

impl Report {
    fn count_files(&mut self, run: &Run, since: u64) {
        let (_, ops) = run.disk.story();
        for op in ops.iter().skip(usize::try_from(since).expect("they are in memory")) {
            match op {
                Op::Create { .. } => self.files.0 += 1,
                Op::Remove { .. } => self.files.1 += 1,
                _ => {}
            }
        }
    }
}

impl Campaign {
    /// Runs until there were enough cuts, or one broke a promise. `progress` is told after every run.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn run(&self, mut progress: impl FnMut(&Report)) -> Result<Report, Failure> {
        let mut report = Report::default();
        while report.cuts < self.cuts {
            let seed = self.seed.wrapping_add(report.runs);
            self.run_one(seed, &mut report)?;
            report.runs += 1;
            progress(&report);
        }
        Ok(report)
    }

    /// One run, every other one with kills, power cuts and background work that comes late, and cuts before and behind every sync of it and at many operations between.
    fn run_one(&self, seed: u64, report: &mut Report) -> Result<(), Failure> {
        let mut rng = Rng::new(seed);
        let fail = |cut, second, what| Failure { seed, cut, second, what };
        let run = catch_unwind(AssertUnwindSafe(|| {
            let begin = if seed.is_multiple_of(2) { Run::begin } else { Run::begin_roughly };
            let mut run = begin(SimDisk::default(), self.planted, Rng::new(rng.number()))?;
            run.steps(STEPS);
            Ok::<_, crate::broker::Error>(run)
        }));
        let run = run.map_err(|panic| fail(0, None, format!("the run panicked: {}", words_of(panic))))?;
        let run = run.map_err(|error| fail(0, None, format!("the run failed: {error}")))?;
        run.disk.on_sync(None);
        let (begin, end) = (run.disk.forgotten(), run.disk.ops());
        report.ops += end;
        report.count_files(&run, 0);
        let mut cutter = Cutter::new(run.disk.story());
        for cut in begin..=end {
            cutter.advance(cut - begin);
            // Right behind a sync little is open.
            let is_at_sync = cutter.open() <= 1 || cutter.is_before_sync();
            if !is_at_sync && !rng.percent(40) {
                continue;
            }
            let known = Known::at(&run, cut);
            report.cuts += 1;
            report.double += u64::from(begin > 0);
            report.acked += known.acked();
            let disk = known
                .verify(SimDisk::with(cutter.sample(&mut rng)), self.planted)
                .map_err(|what| fail(cut, None, what))?;
            if rng.percent(GOES_ON_PERCENT) {
                known.goes_on(&disk, self.planted).map_err(|what| fail(cut, None, what))?;
            }
            if rng.percent(DOUBLE_PERCENT) && disk.ops() > 0 {
                let second = 1 + rng.below(disk.ops());
                let mut again = Cutter::new(disk.story());
                again.advance(second);
                report.cuts += 1;
                report.double += 1;
                let verified = known.verify(SimDisk::with(again.sample(&mut rng)), self.planted);
                verified.map_err(|what| fail(cut, Some(second), what))?;
            }
        }
        Ok(())
    }

    /// The last steps of a run, cut at every operation, with every subset of what is open then; beyond 10 open
    /// operations, with as many samples as there would be subsets of 10.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn exhaust(&self, before: usize, steps: usize) -> Result<Report, Failure> {
        let (mut report, mut rng) = (Report::default(), Rng::new(self.seed));
        let fail = |cut, what| Failure { seed: self.seed, cut, second: None, what };
        let run = Run::begin(SimDisk::default(), self.planted, Rng::new(rng.number()));
        let mut run = run.map_err(|error| fail(0, format!("the run failed: {error}")))?;
        run.steps(before);
        let begin = run.disk.ops();
        run.steps(steps);
        run.disk.on_sync(None);
        let mut cutter = Cutter::new(run.disk.story());
        report.count_files(&run, begin);
        report.runs = 1;
        report.ops = run.disk.ops();
        for cut in begin..=run.disk.ops() {
            cutter.advance(cut);
            let known = Known::at(&run, cut);
            let open = cutter.open();
            let points = &mut report.exhausted;
            *(if open <= EXHAUSTIVE_OPEN { &mut points.0 } else { &mut points.1 }) += 1;
            for kept in 0..1 << open.min(EXHAUSTIVE_OPEN) {
                let image = if open <= EXHAUSTIVE_OPEN { cutter.exactly(kept) } else { cutter.sample(&mut rng) };
                report.cuts += 1;
                known.verify(SimDisk::with(image), self.planted).map_err(|what| fail(cut, what))?;
            }
        }
        Ok(report)
    }
}

/// One short run, one cut, and perhaps another one while the store recovers, all of them as these bytes say: for fuzzers.
///
/// # Errors
/// What broke a promise.
pub fn cut_as_told(data: &[u8]) -> Result<(), Failure> {
    // What is done and what is lost are told apart, so that a change of one leaves the other as it is.
    let (what, fate) = data.split_at(data.len() / 2);
    let (mut what, mut fate) = (Rng::chosen(what), Rng::chosen(fate));
    let planted = Planted::default();
    let steps = what.below(CHOSEN_STEPS);
    let fail = |cut, second, what| Failure { seed: 0, cut, second, what };
    let run = Run::begin(SimDisk::default(), planted, what);
    let mut run = run.map_err(|error| fail(0, None, format!("the run failed: {error}")))?;
    run.steps(usize::try_from(steps).expect("few"));
    run.disk.on_sync(None);
    let cut = fate.below(run.disk.ops() + 1);
    let mut cutter = Cutter::new(run.disk.story());
    cutter.advance(cut);
    let known = Known::at(&run, cut);
    let disk = known.verify(SimDisk::with(cutter.sample(&mut fate)), planted);
    let disk = disk.map_err(|what| fail(cut, None, what))?;
    known.goes_on(&disk, planted).map_err(|what| fail(cut, None, what))?;
    if disk.ops() == 0 {
        return Ok(());
    }
    let second = 1 + fate.below(disk.ops());
    let mut again = Cutter::new(disk.story());
    again.advance(second);
    let verified = known.verify(SimDisk::with(again.sample(&mut fate)), planted);
    verified.map(drop).map_err(|what| fail(cut, Some(second), what))
}
