//! Bit rot: one bit of one file is another. What is read then is what was written, or an error; never something else.
//!
//! Most of a file is free pages, so bits are not chosen among all of them, but each class of byte of each kind of segment
//! gets its turn: headers, slots, inner pages and leaves, entries, batches, everything; and of the write-ahead log. A
//! directory holds two files more, LOCK and INCOMPLETE, which are empty: there is no bit in them.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{
    Rng, SimDisk, contents,
    remains::{Fate, Remains},
    workload,
};
use crate::{
    planted::Planted,
    storage::{Anatomy, ByteClass, SegmentKind},
};

/// Steps of one run.
const STEPS: usize = 40;
/// Flips in what one run left.
const FLIPS: u64 = 200;

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

/// Where a bit was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The kind of segment.
    pub kind: SegmentKind,
    /// Whether the store was closed before; otherwise it was killed. Segments are closed when they are sealed.
    pub is_closed: bool,
    /// What the byte is.
    pub class: ByteClass,
}

/// What came of flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
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

/// What came of all flips, by site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotten {
    /// Only sites that runs had.
    pub sites: BTreeMap<Site, Fates>,
}

impl Site {
    /// Whether no flip may be harmless: the byte is part of a batch that is read, with its checksums, or of a block that is
    /// in the write-ahead log alone.
    #[must_use]
    pub fn is_read(self) -> bool {
        use ByteClass as C;
        // A segment that was killed is made whole again from what the write-ahead log still has of it.
        if self.kind == SegmentKind::Active && !self.is_closed {
            return false;
        }
        let batch = [C::EntryHeader, C::EntryChecksum, C::BatchStamp, C::BatchHeader, C::BatchChecksum];
        let read = [C::BatchRecords, C::LogFrame];
        batch.contains(&self.class) || read.contains(&self.class)
    }
}

impl Fates {
    fn add(&mut self, other: &Self) {
        self.flips += other.flips;
        self.refused += other.refused;
        self.detected += other.detected;
        self.harmless += other.harmless;
        self.rolled_back += other.rolled_back;
    }
}

impl Rotten {
    /// All sites together.
    #[must_use]
    pub fn total(&self) -> Fates {
        let mut total = Fates::default();
        self.sites.values().for_each(|fates| total.add(fates));
        total
    }
}

impl fmt::Display for Rotten {
    /// A table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |names: [&str; 3], cells: [String; 5]| {
            write!(f, "{:9} {:7} {:14}", names[0], names[1], names[2])?;
            cells.iter().try_for_each(|cell| write!(f, " {cell:>11}"))?;
            writeln!(f)
        };
        row(["segment", "", "byte"], ["flips", "refused", "detected", "harmless", "rolled back"].map(str::to_owned))?;
        let cells = |fates: &Fates| {
            let Fates { flips, refused, detected, harmless, rolled_back } = *fates;
            [flips, refused, detected, harmless, rolled_back].map(|number| number.to_string())
        };
        for (site, fates) in &self.sites {
            let (kind, class) = (format!("{:?}", site.kind), format!("{:?}", site.class));
            row([&kind, if site.is_closed { "closed" } else { "killed" }, &class], cells(fates))?;
        }
        row(["all", "", ""], cells(&self.total()))
    }
}

/// Files of which the place of every class of byte is known.
struct Specimen {
    remains: Remains,
    /// File and place of each byte.
    places: BTreeMap<Site, Vec<(String, usize)>>,
}

impl Specimen {
    fn of(remains: Remains, planted: Planted) -> Result<Self, String> {
        let store = workload::open(&SimDisk::holding(remains.files.clone()), planted);
        let store = store.map_err(|error| format!("it does not open: {}", error.with_causes()))?;
        let topics = store.broker().topics("", usize::MAX).0;
        let heads: BTreeMap<_, _> = topics.iter().map(|topic| (topic.id, topic.range().head)).collect();
        let mut places = BTreeMap::<_, Vec<_>>::new();
        let mut ends = BTreeMap::new();
        // The log is behind the segments, in order of names.
        for (name, content) in &remains.files {
            let anatomy = match name.split_once('-').and_then(|(number, _)| number.parse::<u64>().ok()) {
                Some(number) => Anatomy::of(content).inspect(|anatomy| {
                    ends.insert(number, anatomy.journal_bytes);
                }),
                None => Anatomy::of_log(content, |number| ends.get(&number).copied().unwrap_or(u64::MAX)),
            };
            let mut anatomy = anatomy.ok_or_else(|| format!("{name} cannot be taken apart"))?;
            anatomy.bury(|topic, end| heads.get(&topic).is_none_or(|head| end <= *head));
            let kind = anatomy.kind;
            let is_closed = remains.is_closed || kind == SegmentKind::Sealed;
            for (class, at) in anatomy.places() {
                let places: &mut Vec<_> = places.entry(Site { kind, is_closed, class }).or_default();
                places.extend(at.into_iter().map(|at| (name.clone(), at)));
            }
        }
        Ok(Self { remains, places })
    }

    /// A place at the site that had the fewest flips, of those that there are here.
    fn choose(&self, report: &Rotten, rng: &mut Rng) -> (Site, &(String, usize)) {
        let flips = |site: &Site| report.sites.get(site).map_or(0, |fates| fates.flips);
        let (site, places) = self.places.iter().min_by_key(|(site, _)| flips(site)).expect("no file is empty");
        (*site, &places[rng.index(places.len())])
    }
}

impl Rot {
    /// Flips bits, one at a time, in what a run left, cleanly closed or not.
    ///
    /// # Errors
    /// Where a flip gave wrong data, or a panic.
    pub fn run(&self) -> Result<Rotten, String> {
        let (mut report, mut flips) = (Rotten::default(), 0);
        for number in 0.. {
            let seed = self.seed.wrapping_add(number);
            if flips == self.flips {
                break;
            }
            let (mut rng, is_closed) = (Rng::new(seed), number % 2 == 0);
            let remains = Remains::of_run(Rng::new(rng.number()), STEPS, is_closed, self.planted);
            let specimen = remains.and_then(|remains| Specimen::of(remains, self.planted));
            let specimen = specimen.map_err(|what| format!("seed {seed}: {what}"))?;
            for _ in 0..FLIPS.min(self.flips - flips) {
                let (site, (name, at)) = specimen.choose(&report, &mut rng);
                let bit = rng.below(8);
                let mut damaged = specimen.remains.files.clone();
                damaged.get_mut(name).expect("it was chosen among them")[*at] ^= 1 << bit;
                flips += 1;
                let fates = report.sites.entry(site).or_default();
                fates.flips += 1;
                self.look(damaged, &specimen.remains, fates).map_err(|what| {
                    let state = specimen.remains.state();
                    format!("seed {seed}, bit {bit} of byte {at} of {name}, {site:?}, files {state}: {what}")
                })?;
            }
        }
        Ok(report)
    }

    /// Opens damaged files and reads them.
    fn look(&self, files: BTreeMap<String, Vec<u8>>, remains: &Remains, fates: &mut Fates) -> Result<(), String> {
        let disk = SimDisk::holding(files);
        let opened = catch_unwind(AssertUnwindSafe(|| workload::open(&disk, self.planted)));
        let Ok(store) = opened.map_err(|_| "opening it panicked".to_owned())? else {
            fates.refused += 1;
            return Ok(());
        };
        let known = &remains.known;
        let read = catch_unwind(AssertUnwindSafe(|| contents::read_all(&store, &known.consumers, &known.heads)));
        let Ok(log) = read.map_err(|_| "reading it panicked".to_owned())? else {
            fates.detected += 1;
            return Ok(());
        };
        match remains.judge(&log).map_err(|violation| violation.to_string())? {
            Fate::Whole => fates.harmless += 1,
            Fate::RolledBack => fates.rolled_back += 1,
        }
        Ok(())
    }
}
