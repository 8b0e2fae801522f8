//! What happened in a run: what was asked, what was answered and when, what was read; and what was found at the end.
//!
//! Time is a number that only grows: operations of a simulated disk, or microseconds of a clock.

use std::collections::{BTreeMap, BTreeSet};

/// A record as it is known to tests: who wrote it, under which sequence, with what content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stored {
    /// The producer, as the test counts them.
    pub producer: u64,
    /// Its sequence.
    pub sequence: u64,
    /// A checksum of the content.
    pub checksum: u32,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was acknowledged, with this answer, at this time.
    Acked(T, u64),
    /// It was refused: it has no effect.
    Refused,
    /// Nobody knows: no answer came, or the answer said so.
    Unknown,
}

impl<T: Copy> Outcome<T> {
    /// When it was acknowledged, if it was.
    #[must_use]
    pub fn time(self) -> Option<u64> {
        match self {
            Self::Acked(_, at) => Some(at),
            _ => None,
        }
    }

    /// As it was known at a time: what was answered later was unknown then.
    #[must_use]
    pub fn as_of(self, time: u64) -> Self {
        match self {
            Self::Acked(_, at) if at > time => Self::Unknown,
            other => other,
        }
    }
}

/// Records that were appended in one call: all of them, or none.
#[derive(Clone, Debug)]
pub struct Append {
    /// Its place among all calls.
    pub number: u64,
    /// When the call was made.
    pub invoked: u64,
    /// Each with its topic, in order.
    pub records: Vec<(String, Stored)>,
    /// Consumers whose cursors move in the same instant, and where to.
    pub cursors: Vec<(u64, u64)>,
    /// With the offset of each record.
    pub outcome: Outcome<()>,
    /// Offsets that the answer named, one for each record, where it did.
    pub offsets: Vec<Option<u64>>,
}

impl Append {
    /// As it was known at a time.
    fn known_at(self, time: u64) -> Self {
        let outcome = self.outcome.as_of(time);
        let is_told = matches!(outcome, Outcome::Acked(..));
        Self { outcome, offsets: if is_told { self.offsets } else { Vec::new() }, ..self }
    }
}

/// A cursor that was moved by itself.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    /// Its place among all calls.
    pub number: u64,
    /// When the call was made.
    pub invoked: u64,
    /// The consumer, as the test counts them.
    pub consumer: u64,
    /// Where to.
    pub offset: u64,
    /// Whether it was allowed to go back.
    pub rewind: bool,
    /// With where the cursor is.
    pub outcome: Outcome<u64>,
}

/// A topic that was deleted, with its records and its producers.
#[derive(Clone, Debug)]
pub struct Deletion {
    /// When the call was made.
    pub invoked: u64,
    /// Its name.
    pub topic: String,
    /// Whether it was.
    pub outcome: Outcome<()>,
}

/// A producer that was forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Forgetting {
    /// When the call was made.
    pub invoked: u64,
    /// The producer, as the test counts them.
    pub producer: u64,
    /// Whether it was.
    pub outcome: Outcome<()>,
}

/// A record that somebody read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Of which topic.
    pub topic: String,
    /// At which offset.
    pub offset: u64,
    /// What it was; `None` when it was none that any test writes.
    pub record: Option<Stored>,
}

/// Something that was read during the run.
#[derive(Clone, Debug)]
pub struct Read {
    /// When it was read.
    pub at: u64,
    /// The offset that was asked for: behind what this reader was given before, or where it was sent to. `None` where
    /// the server chose it.
    pub from: Option<u64>,
    /// In order.
    pub seen: Vec<Seen>,
}

/// All that happened in a run, each list in order of invocation.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Calls that append.
    pub appends: Vec<Append>,
    /// Calls that move a cursor alone.
    pub commits: Vec<Commit>,
    /// What consumers saw.
    pub reads: Vec<Read>,
    /// Topics whose deletion was asked for. None of them is made again.
    pub deletions: Vec<Deletion>,
    /// Producers that were to be forgotten. None of them is registered again.
    pub forgotten: Vec<Forgetting>,
    /// Whether a producer's records are numbered as the protocol numbers them: then none is stored behind one that is
    /// missing.
    pub has_every_sequence: bool,
}

impl History {
    /// The appends that were acknowledged.
    pub fn acked(&self) -> impl Iterator<Item = &Append> {
        self.appends.iter().filter(|append| append.outcome.time().is_some())
    }

    /// The history up to a time: what was not called yet is left out, what was not answered yet is unknown.
    #[must_use]
    pub fn as_of(&self, time: u64) -> Self {
        let appends = self.appends.iter().filter(|append| append.invoked <= time).cloned();
        let commits = self.commits.iter().filter(|commit| commit.invoked <= time).copied();
        let forgotten = self.forgotten.iter().filter(|forgetting| forgetting.invoked <= time).copied();
        let deletions = self.deletions.iter().filter(|deletion| deletion.invoked <= time).cloned();
        Self {
            appends: appends.map(|append| append.known_at(time)).collect(),
            commits: commits.map(|commit| Commit { outcome: commit.outcome.as_of(time), ..commit }).collect(),
            reads: self.reads.iter().filter(|read| read.at <= time).cloned().collect(),
            deletions: deletions
                .map(|deletion| Deletion { outcome: deletion.outcome.as_of(time), ..deletion })
                .collect(),
            forgotten: forgotten
                .map(|forgetting| Forgetting { outcome: forgetting.outcome.as_of(time), ..forgetting })
                .collect(),
            has_every_sequence: self.has_every_sequence,
        }
    }
}

/// A topic as it is at the end.
#[derive(Clone, Debug, Default)]
pub struct TopicLog {
    /// First offset that is kept.
    pub head: u64,
    /// The offset after the last.
    pub tail: u64,
    /// What was read from head to tail, with the offset that each record said it had.
    pub records: Vec<(u64, Option<Stored>)>,
    /// The last head that retention may have asked for.
    pub max_head: u64,
    /// Bytes of the batches that are kept.
    pub bytes: u64,
    /// What retention leaves there at least, whatever it takes.
    pub least_bytes: u64,
}

/// Everything at the end.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// By name.
    pub topics: BTreeMap<String, TopicLog>,
    /// Where the cursors are.
    pub cursors: BTreeMap<u64, u64>,
    /// Producers that the server knows, of those that were to be forgotten.
    pub producers: BTreeSet<u64>,
}
