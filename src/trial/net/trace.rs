//! What happened in a run, line by line: two runs of one seed must have the same.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

/// Far more than any run has that ends.
const MAX_LINES: usize = 500_000;

/// Each with its time.
type Lines = Vec<(u64, String)>;

#[derive(Default)]
struct Noted {
    lines: BTreeMap<String, Lines>,
    count: usize,
}

/// Lines under names: one name for each connection and for each worker. What two of them do in the same instant has no
/// order that anybody could see, so it has none here.
#[derive(Clone)]
pub(super) struct Trace {
    began: Instant,
    noted: Arc<Mutex<Noted>>,
}

impl Trace {
    /// Begins now.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), noted: Arc::default() }
    }

    /// Microseconds since the beginning.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("runs are shorter than that")
    }

    /// Notes what happens now.
    ///
    /// # Panics
    /// When there is no end of it: somebody tries again without a pause, and the clock stands still. That ends the run,
    /// since everybody who notes something later panics, too.
    pub(super) fn note(&self, name: &str, what: String) {
        let line = (self.now(), what);
        let mut noted = self.noted.lock().expect("no panic while it is locked");
        noted.count += 1;
        assert!(noted.count < MAX_LINES, "the run does not end: {name} {}", line.1);
        match noted.lines.get_mut(name) {
            Some(lines) => lines.push(line),
            None => drop(noted.lines.insert(name.to_owned(), vec![line])),
        }
    }

    /// All lines in order of time, then of name.
    pub(super) fn lines(&self) -> Vec<String> {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let named = noted.lines.iter().flat_map(|(name, lines)| lines.iter().map(move |(at, what)| (*at, name, what)));
        let mut all: Vec<_> = named.collect();
        all.sort_by_key(|(at, name, _)| (*at, *name));
        all.into_iter().map(|(at, name, what)| format!("{:>9}.{:03} {name} {what}", at / 1000, at % 1000)).collect()
    }
}

/// One number for all lines.
pub(super) fn digest(lines: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    lines.hash(&mut hasher);
    hasher.finish()
}
