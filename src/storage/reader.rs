//! Reading batches back: from the tail cache, from the live segments, from history.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    LogReader, StorageError, Volume,
    block::{Entries, Entry},
    cache::{Piece, TailCache},
    guard::guarded,
    index::Run,
    live::LiveSegment,
    sealed::{self, SealedSegment},
    segments::{Segment, Segments},
};
use crate::{
    planted::{Bug, Planted},
    record::{Batch, BatchHeader, Offset, TopicId},
};

/// Reads what the engine has committed.
pub(super) struct RedbReader {
    pub(super) volume: Arc<dyn Volume>,
    pub(super) segments: Arc<Segments>,
    pub(super) cache: Arc<TailCache>,
    pub(super) planted: Planted,
}

/// A batch shares memory that is at most this much larger than itself: it may wait for a slow peer, and the budget for
/// that counts its own bytes.
const SHARE: usize = 4;
/// How often a segment may be replaced while one read looks for it.
const MAX_LOOKUPS: usize = 100;

/// Batches of one topic, as they are gathered.
struct Gathered {
    topic: TopicId,
    /// Batches that end at or before this are passed over.
    from: Offset,
    max_bytes: usize,
    bytes: usize,
    batches: Vec<Bytes>,
    planted: Planted,
}

impl Gathered {
    fn new(topic: TopicId, from: Offset, max_bytes: usize, planted: Planted) -> Self {
        Self { topic, from, max_bytes, bytes: 0, batches: Vec::new(), planted }
    }

    fn is_full(&self) -> bool {
        self.bytes >= self.max_bytes && !self.batches.is_empty()
    }

    fn wanted_bytes(&self) -> usize {
        self.max_bytes.saturating_sub(self.bytes).max(1)
    }

    /// Takes the topic's batches out of a piece of the journal, which is part of `memory` bytes. Large batches share
    /// it.
    fn take(&mut self, journal: &Bytes, memory: usize) -> Result<(), StorageError> {
        for entry in Entries::new(journal) {
            let (_, Entry::Batch(topic, batch)) = entry? else { continue };
            if topic != self.topic || self.is_full() {
                continue;
            }
            let corrupted = |error| StorageError::Corrupted(format!("{error}"));
            let header = BatchHeader::read(batch).map_err(corrupted)?;
            if header.next_offset() <= self.from {
                continue;
            }
            // The database does not check what it reads: a damaged batch must not move a cursor, nor reach a consumer.
            let batch = match self.planted.has(Bug::SkipChecksum) {
                true => journal.slice_ref(batch),
                false => Batch::parse(journal.slice_ref(batch)).map_err(corrupted)?.into_bytes(),
            };
            self.from = header.next_offset();
            self.bytes += batch.len();
            self.batches.push(if batch.len() * SHARE < memory { Bytes::copy_from_slice(&batch) } else { batch });
        }
        Ok(())
    }

    /// Takes the topic's batches out of what was read from disk.
    fn take_read(&mut self, journal: Vec<u8>) -> Result<(), StorageError> {
        let memory = journal.len();
        self.take(&journal.into(), memory)
    }
}

impl RedbReader {
    /// Gathers from one live segment. `Ok(false)`: it was sealed meanwhile, look it up again.
    fn read_live(&self, segment: &LiveSegment, into: &mut Gathered) -> Result<bool, StorageError> {
        let runs = segment.runs_from(into.topic, into.from, into.wanted_bytes()).unwrap_or_default();
        for run in runs {
            if into.is_full() {
                break;
            }
            if let Some(pieces) = self.cached(segment, run) {
                pieces.iter().try_for_each(|piece| into.take(&piece.bytes, piece.memory))?;
            } else {
                match segment.read(run)? {
                    Some(bytes) => into.take_read(bytes)?,
                    None => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    fn cached(&self, segment: &LiveSegment, run: Run) -> Option<Vec<Piece>> {
        self.cache.get(segment.id().number, run.position, run.bytes.into())
    }

    /// [`RedbReader::read_sealed`], a second time if the disk fails. The database reads nothing more of a file once that
    /// happened to anybody, so the file is opened anew.
    fn read_again(&self, segment: &SealedSegment, into: &mut Gathered) -> Result<bool, StorageError> {
        let mut read = || guarded(|| self.read_sealed(segment, into)).inspect_err(|_| segment.close());
        match read() {
            Err(error) if error.is_of_disk() => {
                tracing::warn!(segment = %segment.id().name(), error = error.with_causes(), "reading it once more");
                read()
            }
            done => done,
        }
    }

    /// Gathers from one sealed segment. `Ok(false)`: its file was replaced meanwhile, look it up again.
    fn read_sealed(&self, segment: &SealedSegment, into: &mut Gathered) -> Result<bool, StorageError> {
        let Some(txn) = segment.begin_read(self.segments.tick(segment))? else {
            return Ok(false);
        };
        for run in sealed::runs_from(&txn, into.topic, into.from, into.wanted_bytes())? {
            if into.is_full() {
                break;
            }
            into.take_read(sealed::read(&txn, run)?)?;
        }
        Ok(true)
    }
}

impl LogReader for RedbReader {
    fn space(&self) -> (u64, Option<u64>) {
        (self.volume.stored_bytes(), self.volume.free_bytes())
    }

    fn read(&self, topic: TopicId, from: Offset, max_bytes: usize) -> Result<Vec<Bytes>, StorageError> {
        let mut gathered = Gathered::new(topic, from, max_bytes, self.planted);
        let mut turns_without_progress = 0;
        while !gathered.is_full() {
            let before = gathered.from;
            let is_current = match self.segments.find(topic, gathered.from) {
                None => break,
                Some(Segment::Live(segment)) => guarded(|| self.read_live(&segment, &mut gathered))?,
                Some(Segment::Sealed(segment)) => self.read_again(&segment, &mut gathered)?,
            };
            // A segment that was replaced is looked up again, but one that has lost its file stays where it was.
            turns_without_progress = if gathered.from > before { 0 } else { turns_without_progress + 1 };
            if turns_without_progress > 0 && (is_current || turns_without_progress > MAX_LOOKUPS) {
                return Err(StorageError::Corrupted(format!("topic {topic} has no batch at offset {before}")));
            }
        }
        Ok(gathered.batches)
    }

    fn read_cached(&self, topic: TopicId, from: Offset, max_bytes: usize) -> Option<Vec<Bytes>> {
        let mut gathered = Gathered::new(topic, from, max_bytes, self.planted);
        let Segment::Live(segment) = self.segments.find(topic, from)? else {
            return None;
        };
        for run in segment.runs_from(topic, from, max_bytes)? {
            let Some(pieces) = self.cached(&segment, run) else { break };
            pieces.iter().try_for_each(|piece| gathered.take(&piece.bytes, piece.memory)).ok()?;
        }
        (!gathered.batches.is_empty()).then_some(gathered.batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{BatchBuilder, Compression, Epoch, ProducerId, Record, Sequence, SequenceRange, Stamp, Timestamp},
        storage::Block,
    };

    /// A byte of a stored record was flipped on disk; the batch was served, and a dequeue moved on behind it.
    #[test]
    fn a_damaged_batch_is_an_error_and_is_not_given() {
        let mut builder = BatchBuilder::new();
        builder.push(&Record::new("a line of a log"), Timestamp(0)).expect("small");
        let range = SequenceRange::counting(Sequence(0), 1);
        let batch = builder.finish(ProducerId::default(), Epoch(0), range, Compression::None);
        let mut block = Block::default();
        block.push_batch(TopicId(1), Stamp::default(), 1, &batch);
        let whole = Bytes::from(block.bytes.clone());
        let mut gathered = Gathered::new(TopicId(1), Offset(0), 1, Planted::default());
        gathered.take(&whole, whole.len()).expect("intact");
        assert_eq!(gathered.batches.len(), 1);

        *block.bytes.last_mut().expect("a record") ^= 1;
        let mut gathered = Gathered::new(TopicId(1), Offset(0), 1, Planted::default());
        let damaged = gathered.take_read(block.bytes).expect_err("its checksum differs");
        assert!(matches!(damaged, StorageError::Corrupted(_)), "{damaged}");
        assert_eq!(gathered.batches.len(), 0);
    }
}
