//! Writing what is intact into another volume: a sealed segment for each that there was, with the batches of it.
//!
//! Each segment holds the state after it, so the first few alone would open, and give offsets of the others a second time.
//! A file says that the copy is not complete, durably before there is any segment and until all are durable: neither a
//! server nor a check takes such a volume.

use std::sync::Arc;

use redb::{Database, Durability};

use crate::{
    record::{Batch, TopicId},
    storage::{
        Block, StorageError, Volume,
        files::{self, FileId},
        index::MemoryIndex,
        journal,
        live::open_database,
        seal, tables,
    },
};

/// Bytes that are written at once.
const STEP_BYTES: usize = 1024 * 1024;

/// Makes a volume that an engine opens: every segment is sealed, and what it recovers from is the last snapshot.
pub struct SalvageWriter {
    volume: Arc<dyn Volume>,
    target: Option<Target>,
}

/// The segment that is being written.
struct Target {
    id: FileId,
    database: Database,
    index: MemoryIndex,
    block: Block,
    /// Where the journal ends.
    end: u64,
}

impl SalvageWriter {
    /// Writes into a volume that is empty, and that nobody opens before [`SalvageWriter::finish`].
    ///
    /// # Errors
    /// The disk's.
    pub fn new(volume: Arc<dyn Volume>) -> Result<Self, StorageError> {
        drop(volume.create(files::INCOMPLETE)?);
        volume.sync()?;
        Ok(Self { volume, target: None })
    }

    /// The copy is complete.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(self) -> Result<(), StorageError> {
        self.volume.remove(files::INCOMPLETE)?;
        self.volume.sync()
    }

    /// Begins a segment, unless it has begun.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(&mut self, number: u64) -> Result<(), StorageError> {
        if self.target.is_none() {
            // Events are not copied, as in any segment that was rewritten: the state after it says what they did.
            let id = FileId { number, generation: 1 };
            let database = open_database(self.volume.as_ref(), &id.unfinished_name())?;
            let txn = database.begin_write()?;
            tables::write_format(&txn)?;
            txn.open_table(tables::JOURNAL)?;
            txn.commit()?;
            let (index, block) = (MemoryIndex::default(), Block::default());
            self.target = Some(Target { id, database, index, block, end: 0 });
        }
        Ok(())
    }

    /// Adds a batch, which is behind those of its topic that were added before, to the segment that has begun.
    ///
    /// # Errors
    /// The disk's.
    ///
    /// # Panics
    /// When no segment has begun.
    pub fn batch(&mut self, topic: TopicId, batch: &Batch) -> Result<(), StorageError> {
        let target = self.target.as_mut().expect("a segment has begun");
        let header = batch.header();
        target.block.push_batch(topic, header.stamp, header.record_count, batch.as_bytes());
        if target.block.len() >= STEP_BYTES { target.write() } else { Ok(()) }
    }

    /// Ends the segment with the state after it, durably.
    ///
    /// # Errors
    /// The disk's.
    ///
    /// # Panics
    /// When no segment has begun.
    pub fn end(&mut self, snapshot: &[u8]) -> Result<(), StorageError> {
        let mut target = self.target.take().expect("a segment has begun");
        target.write()?;
        let Target { id, database, index, .. } = target;
        let spans = index.spans();
        let txn = database.begin_write()?;
        spans.iter().try_for_each(|span| seal::write_runs(&txn, span, index.runs(span.topic)))?;
        seal::commit_seal(txn, &spans, snapshot)?;
        database.close()?;
        self.volume.rename(&id.unfinished_name(), &id.name())?;
        self.volume.sync()
    }
}

impl Target {
    fn write(&mut self) -> Result<(), StorageError> {
        let Block { bytes, batches } = std::mem::take(&mut self.block);
        let mut txn = self.database.begin_write()?;
        // Durable all at once, by the last commit.
        txn.set_durability(Durability::None)?;
        journal::write(&txn, self.end, &bytes)?;
        txn.commit()?;
        batches.iter().for_each(|place| self.index.add(self.end, place));
        self.end += bytes.len() as u64;
        Ok(())
    }
}
