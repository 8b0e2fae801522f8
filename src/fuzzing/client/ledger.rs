//! What the server saw and said of each record, to be compared with what the client tells of it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use crate::client::Error;

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    records: Mutex<HashMap<Vec<u8>, Entry>>,
    /// Set once the server sent bytes that may say anything.
    is_garbled: AtomicBool,
}

#[derive(Default)]
struct Entry {
    /// Offsets that answers named.
    told: Vec<u64>,
    /// Requests that held the record, less those that were refused as without effect.
    unresolved: i64,
}

impl Ledger {
    fn records(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Entry>> {
        self.records.lock().expect("no panic while it is locked")
    }

    /// From here on the server may have said anything.
    pub(super) fn garble(&self) {
        self.is_garbled.store(true, SeqCst);
    }

    pub(super) fn is_garbled(&self) -> bool {
        self.is_garbled.load(SeqCst)
    }

    /// An append with these records arrived.
    pub(super) fn arrived(&self, values: &[Vec<u8>]) {
        let mut records = self.records();
        values.iter().for_each(|value| records.entry(value.clone()).or_default().unresolved += 1);
    }

    /// It is answered: they are at these offsets.
    pub(super) fn stored(&self, values: &[Vec<u8>], base: u64) {
        let mut records = self.records();
        for (value, offset) in values.iter().zip(base..) {
            records.entry(value.clone()).or_default().told.push(offset);
        }
    }

    /// It is refused, without effect.
    pub(super) fn refused(&self, values: &[Vec<u8>]) {
        let mut records = self.records();
        values.iter().for_each(|value| records.entry(value.clone()).or_default().unresolved -= 1);
    }

    /// Whether the client may say this of a record.
    pub(super) fn judge(&self, value: &[u8], outcome: &Result<u64, Error>) {
        let records = self.records();
        let entry = records.get(value);
        match outcome {
            _ if self.is_garbled() => {}
            Ok(offset) => {
                let is_true = entry.is_some_and(|entry| entry.told.contains(offset));
                assert!(is_true, "the client made up offset {offset}");
            }
            Err(error) if !error.may_have_applied() => {
                let unresolved = entry.map_or(0, |entry| entry.unresolved);
                assert_eq!(unresolved, 0, "the record may be stored, and the client says that it is not: {error:?}");
            }
            Err(_) => {}
        }
    }
}
