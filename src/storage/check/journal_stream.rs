//! The journal of a segment as a stream of chunks, some of which may be missing or damaged: the entries in it that are
//! intact, in order, and what lies between them.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Damage, Findings, Loss, raw_file::End};
use crate::{
    record::{Batch, Offset, Stamp, TopicId},
    storage::{
        StorageError,
        block::{BEGINNING_BYTES, BatchPlace, ENTRY_HEADER_BYTES, Entry, Front, front, may_begin},
        index::MemoryIndex,
    },
};

/// Takes chunks, gives entries.
pub(super) struct JournalStream<'a> {
    file: String,
    findings: &'a mut dyn Findings,
    /// Bytes that are not a whole entry yet.
    pending: Vec<u8>,
    /// Where they are in the journal.
    position: u64,
    /// Where the damage began that has not ended yet, and what is wrong.
    losing: Option<(u64, String)>,
    /// Where the batches are, as whoever sealed the segment saw them.
    pub(super) index: MemoryIndex,
    ends: HashMap<TopicId, Offset>,
    pub(super) is_damaged: bool,
    pub(super) entries: u64,
}

impl<'a> JournalStream<'a> {
    pub(super) fn new(file: &str, findings: &'a mut dyn Findings) -> Self {
        Self {
            file: file.to_owned(),
            findings,
            pending: Vec::new(),
            position: 0,
            losing: None,
            index: MemoryIndex::default(),
            ends: HashMap::new(),
            is_damaged: false,
            entries: 0,
        }
    }

    /// Where the next chunk should be.
    pub(super) fn end(&self) -> u64 {
        self.position + self.pending.len() as u64
    }

    /// Up to where whole entries were found.
    pub(super) fn parsed(&self) -> u64 {
        self.position
    }

    /// What follows is in another file.
    pub(super) fn in_file(&mut self, file: &str) {
        file.clone_into(&mut self.file);
    }

    /// Forgets what is behind a position, unless entries were found there.
    pub(super) fn cut(&mut self, position: u64) {
        if let Some(kept) = position.checked_sub(self.position) {
            self.pending.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        }
    }

    /// Takes a chunk. One that is before the end is not where it was written, and is passed over.
    pub(super) fn chunk(&mut self, position: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.findings.read(bytes.len() as u64);
        let end = self.end();
        if position < end || position.checked_add(bytes.len() as u64).is_none() {
            self.is_damaged = true;
            let what = format!("a page of the journal is at {position}, where {end} follows");
            self.findings.damage(Damage { position: Some(end), ..Damage::of_file(&self.file, what, Loss::Nothing) });
            return Ok(());
        }
        if position > end {
            self.parse(true)?;
            self.lose(self.position, "a page of the journal is missing");
            (self.position, self.pending) = (position, Vec::new());
        }
        self.pending.extend_from_slice(bytes);
        self.parse(false)
    }

    /// Takes note that there are no more chunks, and what is known of that.
    pub(super) fn finish(&mut self, end: End) -> Result<(), StorageError> {
        self.parse(true)?;
        self.found(self.position);
        let (what, loss) = match end {
            End::Known => return Ok(()),
            End::Within(bytes) => ("the last page of the journal fails its checksum", Loss::Entries(bytes)),
            End::Unknown => ("the end of the journal cannot be read", Loss::End),
        };
        self.is_damaged = true;
        self.findings.damage(Damage { position: Some(self.position), ..Damage::of_file(&self.file, what, loss) });
        Ok(())
    }

    /// Gives the entries that are whole; `all`: nothing follows these bytes.
    fn parse(&mut self, all: bool) -> Result<(), StorageError> {
        let mut pending = std::mem::take(&mut self.pending);
        let mut at = 0;
        while at < pending.len() {
            let wrong = match front(&pending[at..]) {
                Ok(Front::Entry(entry, bytes)) => {
                    self.found(self.position);
                    self.give(entry, bytes)?;
                    at += bytes;
                    self.position += bytes as u64;
                    continue;
                }
                Ok(Front::Incomplete) if !all => break,
                Ok(Front::Incomplete) => "a journal entry is cut off".to_owned(),
                Err(error) => error.to_string(),
            };
            self.lose(self.position, &wrong);
            let skipped = match next_entry(&pending[at..]) {
                Some(bytes) => bytes,
                None if all => pending.len() - at,
                // The next one may begin at the end of these.
                None => (pending.len() - at).saturating_sub(BEGINNING_BYTES - 1).max(1),
            };
            at += skipped;
            self.position += skipped as u64;
        }
        pending.drain(..at);
        self.pending = pending;
        Ok(())
    }

    fn give(&mut self, entry: Entry<'_>, bytes: usize) -> Result<(), StorageError> {
        self.entries += 1;
        let (topic, batch) = match entry {
            Entry::Event(event) => return self.findings.event(event),
            Entry::Batch(topic, batch) => (topic, batch),
        };
        let base = Stamp::read(batch).map_or(Offset(0), |stamp| stamp.base_offset);
        let checked = Batch::check(Bytes::copy_from_slice(batch)).map_err(|error| error.to_string());
        let end = self.ends.get(&topic).copied().unwrap_or_default();
        let batch = checked.and_then(|batch| {
            let has_offsets = base.0.checked_add(batch.header().record_count.into()).is_some();
            let follows = has_offsets && base >= end;
            if follows { Ok(batch) } else { Err(format!("it is at offset {base} of its topic, behind {end}")) }
        });
        match batch {
            Ok(batch) => {
                let next = batch.header().next_offset();
                self.ends.insert(topic, next);
                self.index.add(self.position, &BatchPlace { topic, base, next, position: 0, bytes });
                self.findings.batch(topic, &batch)
            }
            Err(what) => {
                self.is_damaged = true;
                let (file, position) = (self.file.clone(), Some(self.position));
                self.findings.damage(Damage { file, position, what, loss: Loss::Batch(topic, base) });
                Ok(())
            }
        }
    }

    /// Notes that what begins at `position` is lost, unless it is part of what is being lost already.
    fn lose(&mut self, position: u64, what: &str) {
        self.is_damaged = true;
        self.losing.get_or_insert_with(|| (position, what.to_owned()));
    }

    /// Tells of what was lost up to `position`.
    fn found(&mut self, position: u64) {
        if let Some((from, what)) = self.losing.take() {
            let loss = Loss::Entries(position - from);
            self.findings.damage(Damage { file: self.file.clone(), position: Some(from), what, loss });
        }
    }
}

/// How far it is to the next entry behind a damaged one: where its length says, if there is one, or anywhere.
fn next_entry(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.first_chunk::<4>().copied()?) as usize;
    let stated = ENTRY_HEADER_BYTES.saturating_add(length);
    if bytes.get(stated..).is_some_and(may_begin) {
        return Some(stated);
    }
    (1..bytes.len()).find(|at| may_begin(&bytes[*at..]))
}
