//! A sealed segment: history. Its file is only read; its index is in it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use redb::{Builder, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase};

use super::{
    StorageError, Volume,
    files::FileId,
    index::{self, Run, Span},
    journal,
    live::Boxed,
    tables::{self, INDEX},
};
use crate::{
    limits::SEALED_CACHE_BYTES,
    record::{Offset, TopicId},
};

/// A segment that is complete.
pub(super) struct SealedSegment {
    id: FileId,
    /// In order of topic.
    spans: Vec<Span>,
    volume: Arc<dyn Volume>,
    /// Opened when first read, closed when others were read more recently.
    database: Mutex<Option<Arc<ReadOnlyDatabase>>>,
    last_read: AtomicU64,
}

/// What opening a file that should be sealed finds.
pub(super) enum Opened {
    Sealed(SealedSegment),
    /// Not closed cleanly, or never sealed.
    Live,
}

impl SealedSegment {
    pub(super) fn new(volume: Arc<dyn Volume>, id: FileId, spans: Vec<Span>) -> Self {
        Self { id, spans, volume, database: Mutex::new(None), last_read: AtomicU64::new(0) }
    }

    /// Looks whether a file is a sealed segment.
    pub(super) fn open(volume: &Arc<dyn Volume>, id: FileId) -> Result<Opened, StorageError> {
        let Some(backend) = volume.open(&id.name())?.map(Boxed) else {
            return Err(StorageError::Corrupted("it vanished".to_owned()));
        };
        if backend.0.len().map_err(StorageError::io("measuring a segment"))? == 0 {
            return Ok(Opened::Live);
        }
        let database = match open_read_only(backend) {
            Ok(database) => database,
            Err(DatabaseError::RepairAborted) => return Ok(Opened::Live),
            Err(error) => return Err(error.into()),
        };
        let txn = database.begin_read()?;
        tables::check_format(&txn)?;
        let spans = tables::read_spans(&txn)?;
        Ok(spans.map_or(Opened::Live, |spans| Opened::Sealed(Self::new(volume.clone(), id, spans))))
    }

    pub(super) fn id(&self) -> FileId {
        self.id
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether it holds anything of the topic at or after `from`.
    pub(super) fn holds(&self, topic: TopicId, from: Offset) -> bool {
        let found = self.spans.binary_search_by_key(&topic, |span| span.topic);
        found.is_ok_and(|at| from < self.spans[at].end)
    }

    /// When it was last read, in reads of the whole store.
    pub(super) fn last_read(&self) -> u64 {
        self.last_read.load(Relaxed)
    }

    pub(super) fn is_open(&self) -> bool {
        self.database.lock().expect("no panic while the handle is locked").is_some()
    }

    /// Lets go of the file until it is read again.
    pub(super) fn close(&self) {
        self.database.lock().expect("no panic while the handle is locked").take();
    }

    /// A view of the file; `None` when it was removed meanwhile.
    pub(super) fn begin_read(&self, now: u64) -> Result<Option<ReadTransaction>, StorageError> {
        self.last_read.store(now, Relaxed);
        let mut open = self.database.lock().expect("no panic while the handle is locked");
        if open.is_none() {
            let Some(backend) = self.volume.open(&self.id.name())?.map(Boxed) else {
                return Ok(None);
            };
            *open = Some(Arc::new(open_read_only(backend)?));
        }
        let database = open.clone().expect("opened above");
        drop(open);
        Ok(Some(database.begin_read()?))
    }
}

fn open_read_only(backend: Boxed) -> Result<ReadOnlyDatabase, DatabaseError> {
    Builder::new().set_cache_size(SEALED_CACHE_BYTES).open_read_only_with_backend(backend)
}

/// The snapshot in a sealed segment's file.
pub(super) fn snapshot(txn: &ReadTransaction) -> Result<Vec<u8>, StorageError> {
    tables::read_snapshot(txn)
}

/// The runs of a sealed segment to read for what is at or after `from`.
pub(super) fn runs_from(
    txn: &ReadTransaction,
    topic: TopicId,
    from: Offset,
    max_bytes: usize,
) -> Result<Vec<Run>, StorageError> {
    let table = txn.open_table(INDEX)?;
    let start = table.range((topic.0, 0)..=(topic.0, from.0))?.next_back().transpose()?;
    let start = start.map_or((topic.0, 0), |(key, _)| key.value());
    let (mut runs, mut bytes) = (Vec::new(), 0);
    for entry in table.range(start..=(topic.0, u64::MAX))? {
        let packed = index::unpack(entry?.1.value());
        let packed =
            packed.ok_or_else(|| StorageError::Corrupted("index of a sealed segment is cut off".to_owned()))?;
        let wanted = index::select(&packed, from, max_bytes - bytes);
        bytes += wanted.iter().map(|run| run.bytes as usize).sum::<usize>();
        runs.extend_from_slice(wanted);
        if bytes >= max_bytes {
            break;
        }
    }
    Ok(runs)
}

/// The bytes of a run of a sealed segment.
pub(super) fn read(txn: &ReadTransaction, run: Run) -> Result<Vec<u8>, StorageError> {
    journal::read(txn, run.position, run.bytes as usize)
}
