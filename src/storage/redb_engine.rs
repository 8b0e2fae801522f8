//! The engine on redb: one writer, segments, a write-ahead log, a keeper in the background.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Block, Engine, LiveHeads, LogReader, Recovery, Snapshot, StorageError, Volume,
    cache::TailCache,
    frames::Frames,
    guard::guarded,
    keeper::Keeper,
    live::{Folding, LiveSegment},
    reader::RedbReader,
    recovery::{self, Found, Live},
    segments::{Segment, Segments},
    wal::Wal,
};
use crate::{
    limits::{DEFAULT_SEGMENT_BYTES, DEFAULT_SEGMENT_RUNS, DEFAULT_TAIL_CACHE_BYTES, MAX_GROUP_BYTES, WAL_BYTES},
    planted::{Bug, Planted},
};

/// What an engine may take.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// A segment is ended at this size. More makes recovery after a crash slower (about 1 s per GiB), less makes more
    /// files. Default: 512 MiB.
    pub segment_bytes: u64,
    /// Or at this number of index entries, which take 24 bytes of memory each. Default: 524,288.
    pub segment_runs: usize,
    /// Memory for the blocks committed last. Default: 12 MiB.
    pub tail_cache_bytes: usize,
    /// The file that small blocks are written to first. They are in memory, too, until the journal has them. Default: 4 MiB.
    pub wal_bytes: usize,
    /// Most that one commit of the database writes; what is larger is written with several, of which the last makes all of
    /// it durable. Default: 2 MiB.
    pub piece_bytes: usize,
    /// A write or a sync failed since the machine was started: what is read from files that were not sealed may never
    /// have reached the disk, so they are written anew. Default: no.
    pub after_failure: bool,
    /// Where blocks are folded, and segments prepared, sealed, removed and rewritten. Default: on a thread.
    pub background: Background,
    /// Default: none.
    pub planted: Planted,
}

/// Where the work is done that no append waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Background {
    /// On a thread of its own.
    #[default]
    Thread,
    /// At once, in the call that asks for it: slow, but the same every time, for tests.
    Inline,
    /// A piece of it now and then, when something is committed, and sometimes for long none: as late as on a thread.
    /// Two runs of one number are the same.
    Deferred(u64),
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            segment_runs: DEFAULT_SEGMENT_RUNS,
            tail_cache_bytes: DEFAULT_TAIL_CACHE_BYTES,
            wal_bytes: WAL_BYTES,
            piece_bytes: MAX_GROUP_BYTES,
            after_failure: false,
            background: Background::default(),
            planted: Planted::default(),
        }
    }
}

impl EngineOptions {
    pub(super) fn folding(&self) -> Folding {
        Folding { piece_bytes: self.piece_bytes, planted: self.planted }
    }
}

/// A journal in redb files.
///
/// # Invariants
/// - `end` is the end of the active segment's journal, and everything before it is durable and published: in the file of
///   the segment, or its last part in the write-ahead log.
/// - Segments are sealed in order: at any moment the live ones follow the sealed ones.
pub struct RedbEngine {
    options: EngineOptions,
    volume: Arc<dyn Volume>,
    segments: Arc<Segments>,
    cache: Arc<TailCache>,
    /// `None` until [`Engine::recover`].
    active: Option<Active>,
}

struct Active {
    segment: Arc<LiveSegment>,
    end: u64,
    wal: Wal,
    keeper: Keeper,
}

impl Active {
    /// Makes a block durable at the end of the journal. Readers do not see it yet.
    fn write(&mut self, block: &Bytes, how: Folding) -> Result<(), StorageError> {
        if !self.wal.takes(block.len()) {
            return self.segment.fold_with(block, how);
        }
        let to_fold = self.wal.append(&self.segment, self.end, block)?;
        self.segment.keep(block.clone());
        to_fold.into_iter().for_each(|segment| self.keeper.fold(segment));
        Ok(())
    }
}

impl RedbEngine {
    /// An engine on a volume that nobody else uses. Nothing is read before [`Engine::recover`].
    #[must_use]
    pub fn new(volume: Arc<dyn Volume>, options: EngineOptions) -> Self {
        let cache = Arc::new(TailCache::new(options.tail_cache_bytes));
        Self { options, volume, segments: Arc::default(), cache, active: None }
    }

    fn active(&self) -> &Active {
        self.active.as_ref().expect("recover comes first")
    }

    /// The write-ahead log: the one that was found goes on, and needs no room for that. After a failure what it takes may go
    /// nowhere, so there is another one, and nothing that only the old one has.
    fn log(&self, live: &[Live], found: Option<Frames>) -> Result<Wal, StorageError> {
        let EngineOptions { wal_bytes, after_failure, .. } = self.options;
        let how = self.options.folding();
        let segments: Vec<_> = live.iter().map(|live| live.segment.clone()).collect();
        match found.filter(|found| !after_failure && found.header().len == wal_bytes as u64) {
            Some(found) => Wal::resume(self.volume.as_ref(), &found, &segments, how),
            None => {
                segments.iter().try_for_each(|segment| segment.fold(how))?;
                Wal::create(self.volume.as_ref(), wal_bytes, how)
            }
        }
    }

    /// Which of the live segments to append to, and which to keep for later.
    fn activate(&mut self, mut live: Vec<Live>, log: Option<Frames>, next_number: u64) -> Result<(), StorageError> {
        let wal = self.log(&live, log)?;
        live.iter().try_for_each(|live| live.segment.upgrade())?;
        let keeper = Keeper::start(self.volume.clone(), self.segments.clone(), &self.options)?;
        // An empty last segment was prepared by the keeper, and is used when its turn comes.
        let prepared = live.pop_if(|live| live.end == 0).map(|live| live.segment);
        let active = live.pop().map(|live| (live.segment, live.end));
        let ((segment, end), prepared) = match (active, prepared) {
            (Some(active), prepared) => (active, prepared),
            (None, Some(prepared)) => ((prepared, 0), None),
            (None, None) => ((Arc::new(LiveSegment::create(self.volume.as_ref(), next_number)?), 0), None),
        };
        for Live { segment, state, .. } in live {
            let state = state.expect("the active segment follows");
            keeper.seal(segment, Box::new(move || state));
        }
        self.segments.put(Segment::Live(segment.clone()));
        match prepared {
            Some(prepared) => keeper.put_prepared(prepared),
            None => keeper.prepare(segment.id().number + 1),
        }
        self.active = Some(Active { segment, end, wal, keeper });
        Ok(())
    }
}

impl Engine for RedbEngine {
    fn recover(&mut self, into: &mut dyn Recovery) -> Result<(), StorageError> {
        assert!(self.active.is_none(), "an engine recovers once");
        let found = guarded(|| recovery::recover(&self.volume, into, self.options.after_failure));
        let Found { sealed, live, log } = found?;
        let last = sealed.last().map(|segment| segment.id().number);
        let last = live.last().map(|live| live.segment.id().number).or(last);
        sealed.into_iter().for_each(|segment| self.segments.put(Segment::Sealed(segment)));
        for live in live.iter().filter(|live| live.end > 0) {
            self.segments.put(Segment::Live(live.segment.clone()));
        }
        guarded(|| self.activate(live, log, last.unwrap_or(0) + 1))
    }

    fn commit(&mut self, block: Block) -> Result<(), StorageError> {
        let active = self.active.as_mut().expect("recover comes first");
        active.keeper.turn();
        active.keeper.check()?;
        let planted = self.options.planted;
        let (bytes, batches) = block.finish();
        let show = |active: &Active| {
            active.segment.publish(active.end, &batches);
            self.cache.push(active.segment.id().number, active.end, bytes.clone());
        };
        if planted.has(Bug::ReadAhead) {
            show(active);
        }
        guarded(|| active.write(&bytes, self.options.folding()))?;
        if !planted.has(Bug::ReadAhead) {
            show(active);
        }
        active.end += bytes.len() as u64;
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.active().keeper.check().is_err() || self.segments.has_failed()
    }

    fn wants_roll(&self) -> bool {
        let Active { segment, end, keeper, .. } = self.active();
        let is_full = *end >= self.options.segment_bytes || segment.index().len() >= self.options.segment_runs;
        is_full && keeper.is_ready()
    }

    fn roll(&mut self, snapshot: Snapshot) -> Result<(), StorageError> {
        let active = self.active.as_mut().expect("recover comes first");
        active.keeper.check()?;
        let Some(next) = active.keeper.take_prepared() else {
            return Ok(());
        };
        let number = next.id().number;
        self.segments.put(Segment::Live(next.clone()));
        let full = std::mem::replace(&mut active.segment, next);
        active.end = 0;
        active.keeper.seal(full, snapshot);
        active.keeper.prepare(number + 1);
        Ok(())
    }

    fn trim(&mut self, heads: LiveHeads) {
        self.active().keeper.trim(heads);
    }

    fn reader(&self) -> Arc<dyn LogReader> {
        let (volume, segments, cache) = (self.volume.clone(), self.segments.clone(), self.cache.clone());
        Arc::new(RedbReader { volume, segments, cache, planted: self.options.planted })
    }

    fn free_bytes(&self) -> Option<u64> {
        self.volume.free_bytes()
    }

    fn owed_bytes(&self) -> u64 {
        let Active { segment, end, .. } = self.active();
        end - segment.folded()
    }

    fn close(mut self: Box<Self>) -> Result<(), StorageError> {
        let Some(mut active) = self.active.take() else {
            return Ok(());
        };
        let stopped = active.keeper.stop();
        let folded = stopped.and_then(|()| guarded(|| active.segment.fold(self.options.folding())));
        folded.and(self.segments.close_live())
    }
}

impl Drop for RedbEngine {
    /// Readers may outlive the engine, and another one may open the files: let go of them.
    fn drop(&mut self) {
        drop(self.active.take());
        drop(self.segments.close_live());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{DirVolume, MemoryVolume, conformance, live, tables};

    fn options(segment_bytes: u64, tail_cache_bytes: usize) -> EngineOptions {
        EngineOptions {
            segment_bytes,
            segment_runs: 1000,
            tail_cache_bytes,
            wal_bytes: WAL,
            piece_bytes: PIECE,
            ..EngineOptions::default()
        }
    }

    const SMALL: u64 = 64 * 1024;
    /// So that the larger blocks of the suite are written in pieces.
    const PIECE: usize = 3000;
    /// So that it goes round often, and counts for little.
    const WAL: usize = 9 * 4096;
    /// Large enough that what a file takes beside its journal does not count.
    const LARGE: u64 = 512 * 1024;

    /// Runs a part of the suite in memory, with and without a cache, and in a directory.
    fn conforms(segment_bytes: u64, suite: fn(conformance::Open<'_>)) {
        for cache in [0, 100_000] {
            let volume = MemoryVolume::default();
            suite(&|| Box::new(RedbEngine::new(Arc::new(volume.clone()), options(segment_bytes, cache))));
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        suite(&|| {
            let volume = DirVolume::open(dir.path()).expect("nobody else has it");
            Box::new(RedbEngine::new(Arc::new(volume), options(segment_bytes, 10_000)))
        });
    }

    #[test]
    fn what_is_committed_is_read_back() {
        conforms(SMALL, conformance::what_is_committed_is_read_back);
    }

    #[test]
    fn segments_roll_without_a_trace() {
        conforms(SMALL, conformance::segments_roll_without_a_trace);
    }

    #[test]
    fn trimming_takes_only_what_is_dead() {
        conforms(SMALL, conformance::trimming_takes_only_what_is_dead);
    }

    #[test]
    fn what_is_rewritten_reads_the_same() {
        conforms(LARGE, conformance::what_is_rewritten_reads_the_same);
    }

    /// The state in an old segment was damaged. Nobody reads it any more but the rewrite of that segment, which failed, and
    /// with it the background work, and with that every commit.
    #[test]
    fn an_old_segment_that_cannot_be_rewritten_stays_as_it_is() {
        let volume = MemoryVolume::default();
        let damage = || {
            let database = live::open_database(&volume, "0000000001-0.redb").expect("it was made");
            let txn = database.begin_write().expect("nobody else writes");
            txn.open_table(tables::SNAPSHOT).expect("it is sealed").remove(0).expect("in memory");
            txn.commit().expect("in memory");
            database.close().expect("in memory");
        };
        let options = EngineOptions { background: Background::Inline, ..options(LARGE, 0) };
        let open = || -> Box<dyn Engine> { Box::new(RedbEngine::new(Arc::new(volume.clone()), options)) };
        conformance::damaged_history_does_not_stop_it(&open, &damage);
    }

    struct Nothing;

    impl Recovery for Nothing {
        fn snapshot(&mut self, _: &[u8]) -> Result<(), StorageError> {
            Ok(())
        }

        fn entry(&mut self, _: crate::storage::Entry<'_>) -> Result<(), StorageError> {
            Ok(())
        }

        fn state(&mut self) -> Vec<u8> {
            Vec::new()
        }
    }

    /// What is acknowledged may be in the log alone.
    #[test]
    fn data_whose_write_ahead_log_is_missing_is_refused_unless_it_never_had_one() {
        let volume = MemoryVolume::default();
        let open = |volume: &MemoryVolume| {
            let mut engine = RedbEngine::new(Arc::new(volume.clone()), options(SMALL, 0));
            engine.recover(&mut Nothing).map(|()| engine)
        };
        drop(open(&volume).expect("it is empty"));
        volume.remove("wal").expect("it was made");
        let refused = open(&volume).err().expect("it is missing");
        assert_eq!(refused.to_string(), "data is corrupted: wal: it is missing");
        for name in volume.list().expect("in memory") {
            let database = live::open_database(&volume, &name).expect("it was made");
            let txn = database.begin_write().expect("nobody else writes");
            tables::write_earlier_format(&txn);
            txn.commit().expect("in memory");
            database.close().expect("in memory");
        }
        drop(open(&volume).expect("it is from before there was a log"));
        volume.remove("wal").expect("it was made");
        open(&volume).err().expect("now it has one");
    }

    #[test]
    fn data_of_a_later_version_is_refused() {
        let volume = MemoryVolume::default();
        let mut engine = RedbEngine::new(Arc::new(volume.clone()), options(SMALL, 0));
        engine.recover(&mut Nothing).expect("it is empty");
        drop(engine);
        let database = live::open_database(&volume, "0000000001-0.redb").expect("it was made");
        let txn = database.begin_write().expect("nobody else writes");
        tables::write_later_format(&txn);
        txn.commit().expect("in memory");
        database.close().expect("in memory");
        let mut engine = RedbEngine::new(Arc::new(volume), options(SMALL, 0));
        let refused = engine.recover(&mut Nothing).expect_err("a later format");
        assert_eq!(refused.to_string(), "data has format 3, this version reads up to format 2");
    }

    #[test]
    fn a_directory_belongs_to_one_engine_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = DirVolume::open(dir.path()).expect("nobody has it");
        let second = DirVolume::open(dir.path()).expect_err("it is taken");
        assert!(matches!(second, StorageError::Locked(_)), "{second}");
        drop(first);
        DirVolume::open(dir.path()).expect("nobody has it any more");
    }
}
