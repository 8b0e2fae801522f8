//! Rewriting a sealed segment, sorted by topic and without what is dead, a piece at a time.
//!
//! The new file gets another name when it is complete and durable; only then is the old one removed. A crash leaves
//! either an unfinished file, which the next open removes, or two generations, of which it keeps the later.

use std::sync::Arc;

use redb::{Database, Durability, ReadTransaction};

use super::{
    LiveHeads, StorageError, Volume,
    block::{BatchPlace, Entries, Entry},
    files::FileId,
    index::{MemoryIndex, Run, Span},
    journal,
    live::open_database,
    seal,
    sealed::{self, SealedSegment},
    tables,
};
use crate::{
    limits::MAX_RUN_BYTES,
    record::{BatchHeader, Offset},
};

/// Bytes that one step reads and writes.
const STEP_BYTES: usize = 1024 * 1024;
/// Segments whose runs are shorter than this on average are worth sorting.
const FRAGMENTED_RUN_BYTES: u64 = 16 * 1024;

/// Whether a segment should be rewritten: mostly dead, or its topics finely interleaved.
pub(super) fn is_worthwhile(segment: &SealedSegment, heads: &LiveHeads, runs: Option<usize>) -> bool {
    let all: u64 = segment.spans().iter().map(|span| span.bytes).sum();
    let live = live_bytes(segment, heads);
    let topics = segment.spans().len();
    let is_fragmented = runs.is_some_and(|runs| runs > 4 * topics && all / (runs as u64).max(1) < FRAGMENTED_RUN_BYTES);
    live * 2 < all || (is_fragmented && segment.id().generation == 0)
}

/// About how many bytes of a segment readers may still ask for.
pub(super) fn live_bytes(segment: &SealedSegment, heads: &LiveHeads) -> u64 {
    segment.spans().iter().map(|span| span.live_bytes(heads.get(&span.topic).copied())).sum()
}

/// A rewrite under way.
pub(super) struct Rewrite {
    old: Arc<SealedSegment>,
    id: FileId,
    source: ReadTransaction,
    /// Spans that are not written yet, last first, each with the offset to go on from.
    todo: Vec<(Span, Offset)>,
    /// The state after the segment, once everything else is written.
    snapshot: Vec<u8>,
    target: Database,
    index: MemoryIndex,
    end: u64,
}

impl Rewrite {
    /// Begins. `None` when the segment is gone.
    pub(super) fn begin(
        volume: &dyn Volume,
        old: Arc<SealedSegment>,
        heads: &LiveHeads,
    ) -> Result<Option<Self>, StorageError> {
        let Some(source) = old.begin_read(old.last_read())? else {
            return Ok(None);
        };
        let id = FileId { number: old.id().number, generation: old.id().generation + 1 };
        let live = |span: &Span| {
            let head = heads.get(&span.topic).copied().filter(|head| *head < span.end)?;
            Some((*span, span.first.max(head)))
        };
        let todo: Vec<_> = old.spans().iter().rev().filter_map(live).collect();
        let target = open_database(volume, &id.unfinished_name())?;
        let txn = target.begin_write()?;
        tables::write_format(&txn)?;
        txn.commit()?;
        Ok(Some(Self { old, id, source, todo, snapshot: Vec::new(), target, index: MemoryIndex::default(), end: 0 }))
    }

    /// Gives up, and removes what was written.
    pub(super) fn abandon(self, volume: &dyn Volume) -> Result<(), StorageError> {
        let name = self.id.unfinished_name();
        drop(self.target);
        volume.remove(&name)
    }

    /// The number of the segment that is rewritten.
    pub(super) fn number(&self) -> u64 {
        self.id.number
    }

    /// Copies a piece. `Ok(true)`: nothing is left to read, only [`Rewrite::finish`].
    pub(super) fn step(&mut self) -> Result<bool, StorageError> {
        let mut block = Vec::with_capacity(STEP_BYTES + MAX_RUN_BYTES);
        while block.len() < STEP_BYTES {
            let Some((span, from)) = self.todo.last().copied() else { break };
            let runs = sealed::runs_from(&self.source, span.topic, from, 1)?;
            let next = match runs.first() {
                Some(run) => self.copy_run(*run, span, from, &mut block)?,
                None => span.end,
            };
            self.todo.pop();
            if next < span.end {
                self.todo.push((span, next));
            }
        }
        if !block.is_empty() {
            let mut txn = self.target.begin_write()?;
            // Durable all at once, by the last commit.
            txn.set_durability(Durability::None)?;
            journal::write(&txn, self.end, &block)?;
            txn.commit()?;
            self.end += block.len() as u64;
        }
        if self.todo.is_empty() {
            self.snapshot = sealed::snapshot(&self.source)?;
        }
        Ok(self.todo.is_empty())
    }

    /// Copies what a run holds of the span at or after `from`; gives the offset to go on from.
    fn copy_run(&mut self, run: Run, span: Span, from: Offset, block: &mut Vec<u8>) -> Result<Offset, StorageError> {
        let journal = sealed::read(&self.source, run)?;
        let (mut next, mut start) = (from, None::<usize>);
        for entry in Entries::new(&journal) {
            let (at, entry) = entry?;
            // Where an entry starts is where the one before it ended.
            if let Some(start) = start.take() {
                block.extend_from_slice(&journal[start..at]);
            }
            let Entry::Batch(topic, batch) = entry else { continue };
            let header = BatchHeader::read(batch).map_err(|error| StorageError::Corrupted(error.to_string()))?;
            if topic == span.topic && header.next_offset() > next {
                next = header.next_offset();
                let bytes = super::block::ENTRY_HEADER_BYTES + batch.len();
                let base = header.stamp.base_offset;
                self.index.add(self.end, &BatchPlace { topic, base, next, position: block.len(), bytes });
                start = Some(at);
            }
        }
        if let Some(start) = start {
            block.extend_from_slice(&journal[start..]);
        }
        match next > from {
            true => Ok(next),
            false => Err(StorageError::Corrupted(format!("topic {} has no batch at offset {from}", span.topic))),
        }
    }

    /// Makes the new file durable and removes the old one, as soon as `put` has put the new one in its place.
    pub(super) fn finish(
        self,
        volume: &Arc<dyn Volume>,
        put: impl FnOnce(Arc<SealedSegment>),
    ) -> Result<(), StorageError> {
        let spans = self.index.spans();
        let txn = self.target.begin_write()?;
        txn.open_table(tables::JOURNAL)?;
        spans.iter().try_for_each(|span| seal::write_runs(&txn, span, self.index.runs(span.topic)))?;
        seal::commit_seal(txn, &spans, &self.snapshot)?;
        self.target.close()?;
        volume.rename(&self.id.unfinished_name(), &self.id.name())?;
        volume.sync()?;
        put(Arc::new(SealedSegment::new(volume.clone(), self.id, spans)));
        volume.remove(&self.old.id().name())?;
        volume.sync()
    }
}

/// Copies all of a sealed segment into a new file; gives the copy.
pub(super) fn write_anew(
    volume: &Arc<dyn Volume>,
    old: Arc<SealedSegment>,
) -> Result<Arc<SealedSegment>, StorageError> {
    let heads = old.spans().iter().map(|span| (span.topic, span.first)).collect();
    let mut copy = old.clone();
    if let Some(mut rewrite) = Rewrite::begin(volume.as_ref(), old, &heads)? {
        while !rewrite.step()? {}
        rewrite.finish(volume, |new| copy = new)?;
    }
    Ok(copy)
}
