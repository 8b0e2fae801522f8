//! All segments of a volume, one after the other.

use std::cell::Cell;

use super::{log_check::LogCheck, segment_check};
use crate::{
    record::{Batch, TopicId},
    storage::{
        StorageError, Volume,
        files::{self, FileId},
    },
};

/// Takes what a survey comes upon, in the order of the log.
pub trait Findings {
    /// The next batch that is intact, down to its last record.
    ///
    /// # Errors
    /// Ends the survey.
    fn batch(&mut self, topic: TopicId, batch: &Batch) -> Result<(), StorageError>;

    /// The next event whose checksum is right.
    ///
    /// # Errors
    /// Ends the survey.
    fn event(&mut self, event: &[u8]) -> Result<(), StorageError>;

    /// Something that is not as it was written, in its place among the entries.
    fn damage(&mut self, damage: super::Damage);

    /// So many more bytes of journal were read.
    fn read(&mut self, bytes: u64);
}

/// How a segment ended.
#[derive(Debug)]
pub struct SegmentEnd {
    /// Entries of its journal that were intact when they were written down, as their checksums say.
    pub entries: u64,
    /// Whether it is history; otherwise it was still appended to, or prepared for that.
    pub is_sealed: bool,
    /// The state after it, if it holds one that is intact.
    pub snapshot: Option<Vec<u8>>,
}

/// The segments of a volume.
#[derive(Debug)]
pub struct Survey<'a> {
    volume: &'a dyn Volume,
    segments: Vec<FileId>,
    log: LogCheck,
    /// Whether one of the segments visited so far may have blocks in the log.
    needs_log: Cell<bool>,
}

impl<'a> Survey<'a> {
    /// Lists the segments, and reads the write-ahead log.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(volume: &'a dyn Volume) -> Result<Self, StorageError> {
        let segments = files::list(volume)?.0;
        let log = LogCheck::read(volume, segments.last().map(|id| id.number))?;
        Ok(Self { volume, segments, log, needs_log: Cell::default() })
    }

    /// Numbers of the segments, oldest first.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.segments.iter().map(|id| id.number)
    }

    /// The name of the file of a segment, by its place among all.
    #[must_use]
    pub fn name(&self, at: usize) -> String {
        self.segments[at].name()
    }

    /// Whether a segment is as it was appended to; otherwise its events may be gone and its batches in another order.
    #[must_use]
    pub fn is_original(&self, at: usize) -> bool {
        self.segments[at].generation == 0
    }

    /// Bytes of a segment's file.
    ///
    /// # Errors
    /// The disk's.
    pub fn bytes(&self, at: usize) -> Result<u64, StorageError> {
        let file = self.volume.open(&self.name(at))?;
        file.map_or(Ok(0), |file| file.len().map_err(StorageError::io("measuring a segment")))
    }

    /// Looks at everything in a segment, and in the write-ahead log of it. Segments are visited in order.
    ///
    /// # Errors
    /// When it cannot be looked at, which is no damage: the disk's error, or [`StorageError::NewerFormat`].
    pub fn visit(&self, at: usize, findings: &mut dyn Findings) -> Result<SegmentEnd, StorageError> {
        let (end, needs_log) = segment_check::check(self.volume, self.segments[at], &self.log.frames, findings)?;
        self.needs_log.set(self.needs_log.get() || needs_log);
        if at + 1 == self.segments.len() {
            self.log.tell(self.needs_log.get(), findings);
        }
        Ok(end)
    }
}
