//! A live segment: the active one, the prepared one, and those that wait to be sealed.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use redb::{Builder, Database, Durability, ReadableDatabase, StorageBackend};

use super::{
    StorageError, Volume,
    block::BatchPlace,
    files::FileId,
    guard::guarded,
    index::{MemoryIndex, Run},
    journal, tables,
};
use crate::{
    limits::{MAX_CHUNK_BYTES, MAX_GROUP_BYTES},
    planted::{Bug, Planted},
    record::{Offset, TopicId},
};

/// A segment whose file may still be written, with its index in memory.
pub(super) struct LiveSegment {
    id: FileId,
    file: RwLock<LiveFile>,
    index: RwLock<MemoryIndex>,
    young: Mutex<Young>,
    /// Held by who folds.
    folding: Mutex<()>,
    /// The disk failed when somebody read: the database takes no more reads nor writes.
    has_failed: AtomicBool,
}

/// The end of the journal that only the write-ahead log has.
#[derive(Debug)]
struct Young {
    /// Where it begins: the end of the journal in the file.
    start: u64,
    blocks: VecDeque<Bytes>,
}

impl Young {
    /// Where the journal ends.
    fn end(&self) -> u64 {
        self.start + self.blocks.iter().map(|block| block.len() as u64).sum::<u64>()
    }

    /// What of `from..to` is in it.
    fn part(&self, from: u64, to: u64) -> Vec<Bytes> {
        let (mut at, mut parts) = (self.start, Vec::new());
        for block in &self.blocks {
            let end = at + block.len() as u64;
            if end > from && at < to {
                let within = |position: u64| usize::try_from(position.saturating_sub(at)).expect("within a block");
                parts.push(block.slice(within(from)..within(to.min(end))));
            }
            at = end;
        }
        parts
    }
}

/// How blocks get into the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folding {
    /// Most that one commit of the database writes: of more, it writes pages early and reads them back.
    pub(super) piece_bytes: usize,
    pub(super) planted: Planted,
}

impl Default for Folding {
    fn default() -> Self {
        Self { piece_bytes: MAX_GROUP_BYTES, planted: Planted::default() }
    }
}

impl Folding {
    /// Whole values of the journal, if that much is one piece.
    fn piece(self) -> usize {
        let values = self.piece_bytes / MAX_CHUNK_BYTES;
        if values == 0 { self.piece_bytes } else { values * MAX_CHUNK_BYTES }
    }

    /// How much of a block to write before the commit that makes all of it durable.
    fn early(self, block: usize) -> usize {
        if block <= self.piece_bytes { 0 } else { (block - 1) / self.piece() * self.piece() }
    }

    fn durability(self) -> Durability {
        if self.planted.has(Bug::SkipSync) { Durability::None } else { Durability::Immediate }
    }
}

/// The file of a live segment.
pub(super) enum LiveFile {
    Open(Database),
    /// Look the segment up again.
    Sealed,
    /// The engine is gone, and may be open again elsewhere.
    Closed,
}

impl Drop for LiveSegment {
    /// A database that is dropped closes its file, which is as good a place to panic as any other.
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// redb takes a backend by value; a volume gives it boxed.
#[derive(Debug)]
pub(super) struct Boxed(pub(super) Box<dyn StorageBackend>);

impl StorageBackend for Boxed {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.0.close()
    }
}

/// Opens a file for writing, making or repairing it where needed.
pub(super) fn open_database(volume: &dyn Volume, name: &str) -> Result<Database, StorageError> {
    let backend = Boxed(volume.create(name)?);
    Ok(Builder::new().set_cache_size(volume.cache_bytes()).create_with_backend(backend)?)
}

/// Opens a file whose every page is as it was written: either the repair after a crash has looked at them, or this does.
/// A page of the tree that is damaged could otherwise hide the end of the journal.
pub(super) fn open_verified(volume: &dyn Volume, name: &str) -> Result<Database, StorageError> {
    let backend = Boxed(volume.create(name)?);
    let repaired = Arc::new(AtomicBool::new(false));
    let tell = repaired.clone();
    let mut builder = Builder::new();
    builder.set_cache_size(volume.cache_bytes()).set_repair_callback(move |_| tell.store(true, Relaxed));
    let mut database = builder.create_with_backend(backend)?;
    if !repaired.load(Relaxed) && !database.check_integrity()? {
        return Err(StorageError::Corrupted("a page of it fails its checksum".to_owned()));
    }
    Ok(database)
}

impl LiveSegment {
    /// Makes a new segment; it is durable when this returns. A crash meanwhile leaves an unfinished file or a whole
    /// one: redb writes a file's magic last, so a file in the making cannot be opened.
    pub(super) fn create(volume: &dyn Volume, number: u64) -> Result<Self, StorageError> {
        let id = FileId { number, generation: 0 };
        let database = open_database(volume, &id.unfinished_name())?;
        let txn = database.begin_write()?;
        tables::write_format(&txn)?;
        txn.open_table(tables::JOURNAL)?;
        txn.commit()?;
        // The open file keeps its handle under the new name.
        volume.rename(&id.unfinished_name(), &id.name())?;
        volume.sync()?;
        Ok(Self::recovered(id, database, MemoryIndex::default(), Vec::new(), 0))
    }

    /// A segment that was found, with the index that a scan of it gave; its journal in the file ends at `folded`, and goes
    /// on with what the write-ahead log has.
    pub(super) fn recovered(
        id: FileId,
        database: Database,
        index: MemoryIndex,
        young: Vec<Bytes>,
        folded: u64,
    ) -> Self {
        let (file, index) = (RwLock::new(LiveFile::Open(database)), RwLock::new(index));
        let young = Mutex::new(Young { start: folded, blocks: young.into() });
        Self { id, file, index, young, folding: Mutex::default(), has_failed: AtomicBool::new(false) }
    }

    /// Writes into a file of an earlier format that a version which knows only that must not open it.
    pub(super) fn upgrade(&self) -> Result<(), StorageError> {
        let file = self.file();
        let LiveFile::Open(database) = &*file else { return Err(StorageError::Closed) };
        if tables::is_current(&database.begin_read()?)? {
            return Ok(());
        }
        let txn = database.begin_write()?;
        tables::write_format(&txn)?;
        Ok(txn.commit()?)
    }

    pub(super) fn id(&self) -> FileId {
        self.id
    }

    pub(super) fn file(&self) -> RwLockReadGuard<'_, LiveFile> {
        self.file.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For sealing: waits for readers, and keeps others out until the guard is dropped.
    pub(super) fn file_mut(&self) -> RwLockWriteGuard<'_, LiveFile> {
        // The database may panic while it closes: then there is no file any more.
        self.file.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the file, so that another engine may open it. Its index stays, for what is in the cache.
    pub(super) fn close(&self) -> Result<(), StorageError> {
        let mut file = self.file_mut();
        match std::mem::replace(&mut *file, LiveFile::Closed) {
            LiveFile::Open(database) => guarded(|| Ok(database.close()?)),
            other => {
                *file = other;
                Ok(())
            }
        }
    }

    pub(super) fn index(&self) -> RwLockReadGuard<'_, MemoryIndex> {
        self.index.read().expect("no panic while the index is locked")
    }

    fn young(&self) -> MutexGuard<'_, Young> {
        self.young.lock().expect("no panic while the newest blocks are locked")
    }

    /// Where the journal in the file ends.
    pub(super) fn folded(&self) -> u64 {
        self.young().start
    }

    /// Takes a block that the write-ahead log has made durable, at the journal's end.
    pub(super) fn keep(&self, block: Bytes) {
        self.young().blocks.push_back(block);
    }

    /// As if the segment had been found with these blocks in the write-ahead log.
    #[cfg(test)]
    pub(super) fn set_young(&self, blocks: Vec<Bytes>) {
        self.young().blocks = blocks.into();
    }

    /// Writes the blocks that only the write-ahead log has into the file, durably.
    pub(super) fn fold(&self, how: Folding) -> Result<(), StorageError> {
        self.fold_with(&[], how)
    }

    /// [`LiveSegment::fold`], and a block behind them. Only the writer has such a block; readers do not see it yet.
    pub(super) fn fold_with(&self, block: &[u8], how: Folding) -> Result<(), StorageError> {
        // A panic of the database leaves what was not folded where it is.
        let _one_at_a_time = self.folding.lock().unwrap_or_else(PoisonError::into_inner);
        // Not what comes meanwhile: that would go on for as long as anything comes.
        let upto = self.young().end();
        loop {
            let (position, older, count) = self.oldest_young(how.piece_bytes);
            let is_last = older.len() + block.len() <= how.piece_bytes || older.is_empty();
            let block = if is_last { block } else { &[] };
            if older.is_empty() && block.is_empty() {
                return Ok(());
            }
            self.commit(position, &older, block, how)?;
            let mut young = self.young();
            young.start = position + (older.len() + block.len()) as u64;
            young.blocks.drain(..count);
            if is_last && young.start >= upto {
                return Ok(());
            }
        }
    }

    /// The first blocks that are not in the file: where they begin, their bytes, and how many they are. At least one, if
    /// there is one, and about `max_bytes`.
    fn oldest_young(&self, max_bytes: usize) -> (u64, Vec<u8>, usize) {
        let young = self.young();
        let mut bytes = 0;
        let fits = young.blocks.iter().take_while(|block| {
            let is_first = bytes == 0;
            bytes += block.len();
            is_first || bytes <= max_bytes
        });
        let blocks: Vec<_> = fits.cloned().collect();
        (young.start, blocks.concat(), blocks.len())
    }

    /// Writes two neighbours into the journal, as a whole or not at all. What is too large for one commit is the only one.
    fn commit(&self, position: u64, first: &[u8], second: &[u8], how: Folding) -> Result<(), StorageError> {
        let file = self.file();
        let LiveFile::Open(database) = &*file else { return Err(StorageError::Closed) };
        let (early, last) = second.split_at(how.early(second.len()));
        debug_assert!(first.is_empty() || early.is_empty(), "a large block comes alone");
        let mut at = position;
        let mut write = |bytes: &[&[u8]], durability| {
            let mut txn = database.begin_write()?;
            txn.set_durability(durability)?;
            for part in bytes {
                journal::write(&txn, at, part)?;
                at += part.len() as u64;
            }
            Ok(txn.commit()?)
        };
        // These are durable with the commit behind them, or gone when the file is opened again.
        let written = guarded(|| {
            early.chunks(how.piece()).try_for_each(|piece| write(&[piece], Durability::None))?;
            // One phase: redb flips to the new root with the same sync that makes it durable.
            write(&[first, last], how.durability())
        });
        if written.is_err() && !early.is_empty() {
            let taken_back = guarded(|| journal::take_back(database, position));
            drop(file);
            // A database whose disk failed makes nothing durable when it is closed, but any other one would.
            if taken_back.is_err_and(|error| !error.is_of_disk()) {
                self.abandon();
            }
        }
        written
    }

    /// Lets go of the file as a crash would.
    fn abandon(&self) {
        std::mem::forget(std::mem::replace(&mut *self.file_mut(), LiveFile::Closed));
    }

    /// Lets readers see the batches of a block that is durable at `position`.
    pub(super) fn publish(&self, position: u64, batches: &[BatchPlace]) {
        let mut index = self.index.write().expect("no panic while the index is locked");
        batches.iter().for_each(|place| index.add(position, place));
    }

    /// The runs to read for what is at or after `from`; `None` when nothing is.
    pub(super) fn runs_from(&self, topic: TopicId, from: Offset, max_bytes: usize) -> Option<Vec<Run>> {
        self.index().runs_from(topic, from, max_bytes)
    }

    /// The bytes of a run; `None` when the segment was sealed meanwhile.
    pub(super) fn read(&self, run: Run) -> Result<Option<Vec<u8>>, StorageError> {
        let end = run.position + u64::from(run.bytes);
        // Before the file: what is folded in between is in both.
        let (folded, young) = {
            let young = self.young();
            (young.start, young.part(run.position, end))
        };
        let older = usize::try_from(folded.min(end).saturating_sub(run.position)).expect("a run");
        let mut bytes = match older {
            0 => Vec::new(),
            older => match self.read_file(run.position, older)? {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
        };
        young.iter().for_each(|part| bytes.extend_from_slice(part));
        Ok(Some(bytes))
    }

    fn read_file(&self, position: u64, len: usize) -> Result<Option<Vec<u8>>, StorageError> {
        let file = self.file();
        let database = match &*file {
            LiveFile::Open(database) => database,
            LiveFile::Sealed => return Ok(None),
            LiveFile::Closed => return Err(StorageError::Closed),
        };
        let read = || journal::read(&database.begin_read()?, position, len);
        read().map(Some).inspect_err(|error| {
            if error.is_of_disk() {
                self.has_failed.store(true, Relaxed);
            }
        })
    }

    /// Whether only another engine can read or write the file.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Relaxed)
    }
}
