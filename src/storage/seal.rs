//! Sealing: a live segment becomes history, with its index and the state after it in its file.

use std::sync::Arc;

use redb::{Database, WriteTransaction};

use super::{
    Snapshot, StorageError, Volume,
    index::{self, Run, Span},
    live::{LiveFile, LiveSegment},
    sealed::SealedSegment,
    segments::{Segment, Segments},
    tables::{self, INDEX},
};

/// Runs in one value of the index: a page.
const RUNS_PER_VALUE: usize = 200;

/// Writes a topic's runs into the index of a segment.
pub(super) fn write_runs(txn: &WriteTransaction, span: &Span, runs: &[Run]) -> Result<(), StorageError> {
    let mut table = txn.open_table(INDEX)?;
    for runs in runs.chunks(RUNS_PER_VALUE) {
        table.insert((span.topic.0, runs[0].base.0), &index::pack(runs)[..])?;
    }
    Ok(())
}

/// Commits what makes a segment sealed, so that it opens without repair even if it is not closed cleanly.
pub(super) fn commit_seal(mut txn: WriteTransaction, spans: &[Span], snapshot: &[u8]) -> Result<(), StorageError> {
    txn.open_table(INDEX)?;
    tables::write_seal(&txn, spans, snapshot)?;
    txn.set_quick_repair(true);
    Ok(txn.commit()?)
}

/// Seals a segment that is written no more, and puts it in place of the live one.
pub(super) fn seal(
    volume: &Arc<dyn Volume>,
    segments: &Segments,
    live: &LiveSegment,
    snapshot: Snapshot,
) -> Result<(), StorageError> {
    let spans = live.index().spans();
    let snapshot = snapshot();
    match &*live.file() {
        LiveFile::Open(database) => write(database, live, &spans, &snapshot)?,
        _ => unreachable!("the keeper ends before the files are closed"),
    }
    // Readers wait for the guard; then they find the sealed segment in its place.
    let mut file = live.file_mut();
    if let LiveFile::Open(database) = std::mem::replace(&mut *file, LiveFile::Closed) {
        database.close()?;
        *file = LiveFile::Sealed;
        segments.put(Segment::Sealed(Arc::new(SealedSegment::new(volume.clone(), live.id(), spans))));
    }
    Ok(())
}

fn write(database: &Database, live: &LiveSegment, spans: &[Span], snapshot: &[u8]) -> Result<(), StorageError> {
    let txn = database.begin_write()?;
    let index = live.index();
    spans.iter().try_for_each(|span| write_runs(&txn, span, index.runs(span.topic)))?;
    commit_seal(txn, spans, snapshot)
}
