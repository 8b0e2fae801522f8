//! A file of an engine: of a segment, small writes go through the system's page cache, large ones past it; of the write-ahead
//! log all do.
//!
//! A journal is written once, and its newest part is in the tail cache: the page cache need not hold it too. Copying it
//! into pages that are new to the system takes longer than a fast disk does (measured: 230 to 290 MB/s with the page
//! cache, 560 to 840 MB/s past it, on one disk in the same minutes).
//!
//! # Invariants
//! - What is pending is in no other place: a read of it, a write over it, a change of the length, and a sync write it
//!   out first. A write that failed stays pending.
//! - A page is read after it was written past the page cache: the kernel drops what the cache had of it.

use std::{
    fs::File,
    io::{self, IoSlice},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use redb::StorageBackend;
use rustix::io::Errno;

/// What filesystems ask of direct writes: most are content with less. It divides every page of the database.
const ALIGNMENT: usize = 4096;
/// Shorter writes are gathered better by the page cache.
const MIN_DIRECT_BYTES: usize = 64 * 1024;
/// Most that waits for a sync, unless a single write is larger.
const MAX_PENDING_BYTES: usize = 3 * 1024 * 1024;
/// Pieces for one call of the system.
const MAX_PIECES: usize = 64;
/// Of a file that is read in order, so much is asked for ahead: the system on its own asks for 128 KiB.
const READ_AHEAD_BYTES: u64 = 2 * 1024 * 1024;
/// Pages of the tree, and of other values, may lie between two reads that are in order.
const MAX_SKIPPED_BYTES: u64 = 1024 * 1024;
/// Pieces of memory that are kept for later writes: as many as pages of the usual size may wait.
const MAX_SPARE: usize = MAX_PENDING_BYTES / (128 * 1024);

/// A write that waits for the next sync, at an aligned address.
#[derive(Debug)]
struct Write {
    offset: u64,
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Write {
    /// Copies `bytes` into `memory`, which was used before or is empty.
    fn new(offset: u64, bytes: &[u8], mut memory: Vec<u8>) -> Self {
        if memory.len() < bytes.len() + ALIGNMENT {
            memory = vec![0; bytes.len() + ALIGNMENT];
        }
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        memory[start..start + bytes.len()].copy_from_slice(bytes);
        Self { offset, memory, start, len: bytes.len() }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    fn end(&self) -> u64 {
        self.offset + self.len as u64
    }
}

/// Writes that are not in the file yet.
#[derive(Debug, Default)]
struct Pending {
    /// They wait for the next sync.
    writes: Vec<Write>,
    bytes: usize,
    /// They are being written.
    under_way: Arc<Vec<Write>>,
}

impl Pending {
    fn overlaps(&self, offset: u64, len: usize) -> bool {
        let overlaps = |write: &Write| write.offset < offset + len as u64 && offset < write.end();
        self.writes.iter().any(overlaps) || self.under_way.iter().any(overlaps)
    }
}

/// Memory of earlier writes, to be used again by all files of a volume.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

impl Spare {
    fn memory(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<u8> {
        self.memory().pop().unwrap_or_default()
    }

    fn give_back(&self, memory: impl Iterator<Item = Vec<u8>>) {
        let mut spare = self.memory();
        spare.extend(memory);
        spare.truncate(MAX_SPARE);
    }
}

/// A file of a segment.
#[derive(Debug)]
pub(super) struct SegmentFile {
    file: File,
    /// The same file, for writes past the page cache; `None` where the filesystem does not know them.
    direct: Option<File>,
    pending: Mutex<Pending>,
    /// Held by who writes out what is pending.
    flushing: Mutex<()>,
    spare: Spare,
    ahead: ReadAhead,
    /// Shorter writes go through the page cache.
    min_direct_bytes: usize,
}

/// How far a reader is that reads a file in order. Two readers at once at worst ask for more, or less, than they need.
#[derive(Debug, Default)]
struct ReadAhead {
    /// Where the last read ended.
    end: AtomicU64,
    /// Up to where the system was asked for bytes.
    asked: AtomicU64,
}

impl ReadAhead {
    /// What to ask the system for when these bytes are read.
    fn next(&self, offset: u64, len: u64) -> Option<Range<u64>> {
        let (last, end) = (self.end.swap(offset + len, Relaxed), offset + len);
        if !(last..last + MAX_SKIPPED_BYTES).contains(&offset) {
            self.asked.store(end, Relaxed);
            return None;
        }
        let asked = self.asked.load(Relaxed).max(end);
        if asked - end > READ_AHEAD_BYTES / 2 {
            return None;
        }
        self.asked.store(end + READ_AHEAD_BYTES, Relaxed);
        Some(asked..end + READ_AHEAD_BYTES)
    }
}

impl SegmentFile {
    /// Takes an open file, which is at `path`.
    pub(super) fn new(file: File, path: &Path, spare: Spare) -> Self {
        Self {
            file,
            direct: open_direct(path),
            pending: Mutex::default(),
            flushing: Mutex::default(),
            spare,
            ahead: ReadAhead::default(),
            min_direct_bytes: MIN_DIRECT_BYTES,
        }
    }

    /// Lets all aligned writes go past the page cache: each of them is followed by a sync.
    pub(super) fn for_small_writes(self) -> Self {
        Self { min_direct_bytes: ALIGNMENT, ..self }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // A panic elsewhere leaves whole writes here, which stay to be written.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes out what is pending, in order of place, neighbours together. Reads of other places go on meanwhile.
    fn flush(&self) -> io::Result<()> {
        let _one_at_a_time = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pending = self.pending();
        let mut writes = std::mem::take(&mut pending.writes);
        let bytes = std::mem::take(&mut pending.bytes);
        writes.sort_unstable_by_key(|write| write.offset);
        let writes = Arc::new(writes);
        pending.under_way = writes.clone();
        drop(pending);
        let mut runs = writes.chunk_by(|a, b| a.end() == b.offset);
        let written = runs.try_for_each(|run| run.chunks(MAX_PIECES).try_for_each(|part| self.write_direct(part)));
        let mut pending = self.pending();
        pending.under_way = Arc::default();
        let writes = Arc::into_inner(writes).expect("nobody else has them any more");
        match written {
            Ok(()) => self.spare.give_back(writes.into_iter().map(|write| write.memory)),
            Err(_) => {
                pending.bytes += bytes;
                pending.writes.extend(writes);
            }
        }
        written
    }

    /// Writes neighbours with one call of the system.
    fn write_direct(&self, part: &[Write]) -> io::Result<()> {
        let direct = self.direct.as_ref().expect("nothing is pending without it");
        let pieces: Vec<_> = part.iter().map(|write| IoSlice::new(write.bytes())).collect();
        let wanted: usize = part.iter().map(|write| write.len).sum();
        match rustix::io::retry_on_intr(|| rustix::io::pwritev(direct, &pieces, part[0].offset)) {
            Ok(written) if written == wanted => Ok(()),
            // Cut short, or refused for its alignment: the page cache takes everything, or says what is wrong.
            Ok(_) | Err(Errno::INVAL) => {
                part.iter().try_for_each(|write| self.file.write_all_at(write.bytes(), write.offset))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Lets the system fetch bytes that are read soon. It need not.
#[cfg(target_os = "linux")]
fn will_need(file: &File, bytes: &Range<u64>) {
    let len = std::num::NonZeroU64::new(bytes.end - bytes.start);
    let _unable = rustix::fs::fadvise(file, bytes.start, len, rustix::fs::Advice::WillNeed);
}

#[cfg(not(target_os = "linux"))]
fn will_need(_: &File, _: &Range<u64>) {}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flag = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("a flag of open");
    std::fs::OpenOptions::new().write(true).custom_flags(flag).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path) -> Option<File> {
    None
}

impl StorageBackend for SegmentFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let overlaps = self.pending().overlaps(offset, out.len());
        if overlaps {
            self.flush()?;
        }
        if out.len() >= MIN_DIRECT_BYTES
            && let Some(ahead) = self.ahead.next(offset, out.len() as u64)
        {
            will_need(&self.file, &ahead);
        }
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.flush()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let pending = self.pending();
        let must_flush = pending.overlaps(offset, data.len()) || pending.bytes + data.len() > MAX_PENDING_BYTES;
        drop(pending);
        if must_flush {
            self.flush()?;
        }
        let is_aligned = offset.is_multiple_of(ALIGNMENT as u64) && data.len().is_multiple_of(ALIGNMENT);
        if self.direct.is_none() || data.len() < self.min_direct_bytes || !is_aligned {
            return self.file.write_all_at(data, offset);
        }
        let write = Write::new(offset, data, self.spare.take());
        let mut pending = self.pending();
        pending.bytes += data.len();
        pending.writes.push(write);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(path: &Path) -> SegmentFile {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).expect("a file");
        SegmentFile::new(file, path, Spare::default())
    }

    #[derive(Clone, Debug)]
    enum Op {
        Write { page: u64, pages: usize, byte: u8, odd: bool },
        SetLen(u64),
        Sync,
        Read { page: u64, pages: usize },
        Reopen,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (0..64_u64, 1..40_usize, any::<u8>(), any::<bool>())
                .prop_map(|(page, pages, byte, odd)| Op::Write { page, pages, byte, odd }),
            1 => (64..120_u64).prop_map(Op::SetLen),
            2 => Just(Op::Sync),
            4 => (0..64_u64, 1..40_usize).prop_map(|(page, pages)| Op::Read { page, pages }),
            1 => Just(Op::Reopen),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever way a write takes, what is read is what was written last, and all of it is in the file after a sync.
        #[test]
        fn it_reads_as_it_was_written(ops in prop::collection::vec(op(), 1..40)) {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let path = dir.path().join("segment");
            let mut file = open(&path);
            let mut model = vec![0; 64 * ALIGNMENT];
            file.set_len(model.len() as u64).expect("room");
            for op in ops {
                match op {
                    Op::Write { page, pages, byte, odd } => {
                        let start = usize::try_from(page).expect("small") * ALIGNMENT + usize::from(odd) * 7;
                        let end = (start + pages * ALIGNMENT).min(model.len());
                        model[start..end].fill(byte);
                        file.write(start as u64, &model[start..end]).expect("writes");
                    }
                    Op::SetLen(pages) => {
                        let len = usize::try_from(pages).expect("small") * ALIGNMENT;
                        model.resize(len, 0);
                        file.set_len(len as u64).expect("room");
                    }
                    Op::Sync => {
                        file.sync_data().expect("syncs");
                        prop_assert!(std::fs::read(&path).expect("readable") == model);
                    }
                    Op::Read { page, pages } => {
                        let start = usize::try_from(page).expect("small") * ALIGNMENT;
                        let end = (start + pages * ALIGNMENT).min(model.len());
                        let mut read = vec![0; end - start];
                        file.read(start as u64, &mut read).expect("reads");
                        prop_assert!(read == model[start..end]);
                    }
                    Op::Reopen => {
                        file.close().expect("closes");
                        file = open(&path);
                    }
                }
            }
        }
    }

    /// Memory that waits for a sync is bounded, however much is written without one.
    #[test]
    fn what_waits_is_bounded() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = open(&dir.path().join("segment"));
        let page = vec![7; 128 * 1024];
        file.set_len(100 * page.len() as u64).expect("room");
        for number in 0..100 {
            file.write(number * page.len() as u64, &page).expect("writes");
            let pending = file.pending().bytes;
            assert!(pending <= MAX_PENDING_BYTES && (pending > 0 || file.direct.is_none()));
        }
        let mut read = vec![0; 100 * page.len()];
        file.read(0, &mut read).expect("reads");
        assert!(read.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn who_reads_in_order_is_read_ahead_for_and_nobody_else() {
        const PIECE: u64 = 128 * 1024;
        let ahead = ReadAhead::default();
        assert_eq!(ahead.next(40 * READ_AHEAD_BYTES, PIECE), None, "the first read says nothing");
        for jump in [7, 90, 3] {
            assert_eq!(ahead.next(jump * READ_AHEAD_BYTES, PIECE), None);
        }
        let (start, mut asked) = (3 * READ_AHEAD_BYTES + PIECE, Vec::new());
        for piece in 0..100 {
            asked.extend(ahead.next(start + piece * PIECE, PIECE));
        }
        assert_eq!(asked[0].start, start + PIECE, "from where the read ends");
        assert!(asked.windows(2).all(|pair| pair[0].end == pair[1].start), "each byte once: {asked:?}");
        assert!(asked.last().expect("some").end >= start + 100 * PIECE + READ_AHEAD_BYTES / 2);
        assert!(asked.len() < 20, "many reads with one call: {}", asked.len());
    }
}
