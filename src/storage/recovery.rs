//! Opening a volume: which segments there are, the state that the sealed ones end with, what only the write-ahead log has of
//! the live ones, and a scan of them.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase};

use super::{
    Recovery, StorageError, Volume,
    block::{BatchPlace, Entry, Front, front},
    files::{self, FileId},
    frames::{Frames, WAL, corrupted},
    guard::guarded,
    index::MemoryIndex,
    journal,
    live::{LiveSegment, open_database, open_verified},
    rewrite,
    sealed::{self, Opened, SealedSegment},
    tables,
};
use crate::record::BatchHeader;

/// The segments of a volume, opened.
pub(super) struct Found {
    /// Oldest first.
    pub(super) sealed: Vec<Arc<SealedSegment>>,
    /// Oldest first, after all sealed ones.
    pub(super) live: Vec<Live>,
    /// The write-ahead log.
    pub(super) log: Option<Frames>,
}

/// A live segment that was found.
pub(super) struct Live {
    pub(super) segment: Arc<LiveSegment>,
    /// Where its journal ends.
    pub(super) end: u64,
    /// The state there, if other segments follow.
    pub(super) state: Option<Vec<u8>>,
}

/// Opens every segment and gives state and entries to `into`. After a failure, live segments are written anew, and the
/// last sealed one.
pub(super) fn recover(
    volume: &Arc<dyn Volume>,
    into: &mut dyn Recovery,
    after_failure: bool,
) -> Result<Found, StorageError> {
    let (mut sealed, mut live) = (Vec::new(), Vec::new());
    for id in files::list_and_clean(volume.as_ref())? {
        match guarded(|| open(volume, id)).map_err(|error| error.in_file(&id.name()))? {
            Opening::Sealed(segment) if live.is_empty() => sealed.push(Arc::new(segment)),
            Opening::Sealed(_) => {
                let what = "it is sealed, but a segment before it is not".to_owned();
                return Err(StorageError::Corrupted(what).in_file(&id.name()));
            }
            Opening::Live(database) => live.push((id, database)),
        }
    }
    let mut ends = HashMap::new();
    for (id, database) in &live {
        let end = guarded(|| journal::end(&database.begin_read()?)).map_err(|error| error.in_file(&id.name()))?;
        ends.insert(id.number, end);
    }
    let log = log(volume.as_ref(), sealed.last().map(|segment| segment.id().number), &live, &ends)?;
    if after_failure && let Some(last) = sealed.pop() {
        // The commit that failed may be the one that sealed it: then the system has it, and the disk may not.
        let copied = guarded(|| rewrite::write_anew(volume, last.clone()));
        sealed.push(match copied {
            // What is damaged can be no worse for it, and is told to who reads it.
            Err(StorageError::Corrupted(what)) => {
                tracing::warn!(segment = %last.id().name(), %what, "a sealed segment cannot be written anew");
                last
            }
            copied => copied.map_err(|error| error.in_file(&last.id().name()))?,
        });
    }
    if let Some(last) = sealed.last()
        && let Some(txn) = guarded(|| last.begin_read(0))?
    {
        let snapshot = guarded(|| sealed::snapshot(&txn)).and_then(|snapshot| into.snapshot(&snapshot));
        snapshot.map_err(|error| error.in_file(&last.id().name()))?;
    }
    let (mut found, last) = (Vec::new(), live.len().saturating_sub(1));
    for (at, (id, database)) in live.into_iter().enumerate() {
        let (id, database) = match after_failure {
            true => guarded(|| write_anew(volume.as_ref(), id, database)).map_err(|error| error.in_file(&id.name()))?,
            false => (id, database),
        };
        // Written anew or not, its journal is the same.
        let folded = ends[&id.number];
        let young = log.as_ref().map_or(Ok(Vec::new()), |log| log.missing(id.number, folded))?;
        let scanned = guarded(|| scan(id, database, folded, young, into));
        let (segment, end) = scanned.map_err(|error| error.in_file(&id.name()))?;
        let state = (at < last).then(|| into.state());
        found.push(Live { segment: Arc::new(segment), end, state });
    }
    Ok(Found { sealed, live: found, log })
}

/// The write-ahead log. It may be missing where no live segment has had one.
/// `ends`: where the journal in each live file ends.
fn log(
    volume: &dyn Volume,
    sealed: Option<u64>,
    live: &[(FileId, Database)],
    ends: &HashMap<u64, u64>,
) -> Result<Option<Frames>, StorageError> {
    let numbers = live.iter().map(|(id, _)| id.number);
    let before = sealed.into_iter().chain(numbers.clone());
    if let Some((before, _)) =
        before.zip(numbers.clone().skip(usize::from(sealed.is_none()))).find(|(a, b)| a + 1 != *b)
    {
        return Err(StorageError::Corrupted(format!("segment {} is missing", before + 1)));
    }
    let Some(file) = volume.open_log(WAL)? else {
        for (_, database) in live {
            if guarded(|| tables::has_log(&database.begin_read()?))? {
                return Err(corrupted("it is missing"));
            }
        }
        return Ok(None);
    };
    let log = guarded(|| Frames::read(file.as_ref()))?;
    let is_known = |number: u64| sealed.is_some_and(|sealed| number <= sealed) || ends.contains_key(&number);
    if let Some(frame) = log.all().iter().find(|frame| !is_known(frame.segment)) {
        return Err(corrupted(format_args!("it has blocks of segment {}, which is missing", frame.segment)));
    }
    match log.gap(|segment| ends.get(&segment).copied().unwrap_or(u64::MAX)) {
        Some(gap) => Err(corrupted(format_args!("frames {} to {} are missing", gap.start, gap.end - 1))),
        None => Ok(Some(log)),
    }
}

enum Opening {
    Sealed(SealedSegment),
    Live(Database),
}

fn open(volume: &Arc<dyn Volume>, id: FileId) -> Result<Opening, StorageError> {
    if let Opened::Sealed(segment) = SealedSegment::open(volume, id)? {
        return Ok(Opening::Sealed(segment));
    }
    // Repairs or verifies the file: a walk of one segment, however long the log is.
    let database = open_verified(volume.as_ref(), &id.name())?;
    let txn = database.begin_read()?;
    tables::check_format(&txn)?;
    let spans = tables::read_spans(&txn)?;
    drop(txn);
    match spans {
        None => Ok(Opening::Live(database)),
        Some(spans) => {
            database.close()?;
            Ok(Opening::Sealed(SealedSegment::new(volume.clone(), id, spans)))
        }
    }
}

/// Copies a live segment into a new file. After a failed sync the system takes pages for written that are not, and no
/// later sync of that file writes them; what it still has in memory is made durable in another one.
fn write_anew(volume: &dyn Volume, id: FileId, database: Database) -> Result<(FileId, Database), StorageError> {
    let new = FileId { number: id.number, generation: id.generation + 1 };
    let target = open_database(volume, &new.unfinished_name())?;
    let txn = target.begin_write()?;
    tables::write_format(&txn)?;
    txn.open_table(tables::JOURNAL)?;
    txn.commit()?;
    let mut at = 0;
    let copied = journal::scan(&database.begin_read()?, |chunk| {
        let mut txn = target.begin_write()?;
        txn.set_durability(Durability::None)?;
        journal::write(&txn, at, chunk)?;
        txn.commit()?;
        at += chunk.len() as u64;
        Ok(())
    });
    copied?;
    // Makes all of it durable.
    target.begin_write()?.commit()?;
    drop(database);
    volume.rename(&new.unfinished_name(), &new.name())?;
    volume.sync()?;
    volume.remove(&id.name())?;
    volume.sync()?;
    Ok((new, target))
}

/// Reads a live segment from its first entry to its last, which may be in the write-ahead log: its index, and what it adds
/// to the state.
fn scan(
    id: FileId,
    database: Database,
    folded: u64,
    young: Vec<Bytes>,
    into: &mut dyn Recovery,
) -> Result<(LiveSegment, u64), StorageError> {
    let mut scan = Scan { index: MemoryIndex::default(), pending: Vec::new(), position: 0, into };
    journal::scan(&database.begin_read()?, |chunk| scan.take(chunk))?;
    if scan.position != folded || !scan.pending.is_empty() {
        return Err(StorageError::Corrupted("it ends inside an entry".to_owned()));
    }
    young.iter().try_for_each(|block| scan.take(block))?;
    if !scan.pending.is_empty() {
        return Err(corrupted("a block of it ends inside an entry"));
    }
    let Scan { index, position, .. } = scan;
    Ok((LiveSegment::recovered(id, database, index, young, folded), position))
}

/// A journal that is read piece by piece.
struct Scan<'a> {
    index: MemoryIndex,
    /// Entries may begin in one piece and end in another.
    pending: Vec<u8>,
    position: u64,
    into: &'a mut dyn Recovery,
}

impl Scan<'_> {
    fn take(&mut self, piece: &[u8]) -> Result<(), StorageError> {
        self.pending.extend_from_slice(piece);
        let mut at = 0;
        while let Front::Entry(entry, bytes) = front(&self.pending[at..])? {
            if let Entry::Batch(topic, batch) = entry {
                let header = BatchHeader::read(batch).map_err(|error| StorageError::Corrupted(error.to_string()))?;
                let (base, next) = (header.stamp.base_offset, header.next_offset());
                self.index.add(self.position, &BatchPlace { topic, base, next, position: 0, bytes });
            }
            self.into.entry(entry)?;
            at += bytes;
            self.position += bytes as u64;
        }
        self.pending.drain(..at);
        Ok(())
    }
}
