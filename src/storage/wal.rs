//! The write-ahead log: a small block is durable here with one write, and moves to the journal together with many others.
//!
//! A commit of the database writes a way through several trees, whatever it holds: about 30 KiB for one record. A frame
//! of this log is written once, in place, into a file whose length never changes, so a sync of it writes nothing else.
//!
//! One half is written while the blocks of the other are folded: written into the journal, many with one commit. A frame
//! is written over only when the journal has its block durably, so an old frame that is found says nothing new. Frames
//! are written one at a time, each synced before the next: only the last one can be torn.
//!
//! # Invariants
//! - Behind the journal of a segment follow, without a gap, the blocks of it that only this log has; and from the first
//!   frame on that a journal does not have, no number of a frame is missing.
//! - No two intact frames have one number.

use std::sync::{Arc, Weak};

use redb::StorageBackend;

use super::{
    StorageError, Volume,
    frames::{Frames, Header, PAGE_BYTES, WAL, corrupted, encode, frame_bytes},
    live::{Folding, LiveSegment},
};
use crate::{limits::MAX_LOGGED_BYTES, planted::Bug};

/// While it is being made. Never opened again after a crash.
const UNFINISHED: &str = "wal.unfinished";
/// What is written at once when a file is made.
const STEP_BYTES: usize = 1024 * 1024;

/// The log, as the writer has it.
pub(super) struct Wal {
    file: Box<dyn StorageBackend>,
    header: Header,
    halves: [Half; 2],
    /// The half that is written.
    current: usize,
    /// Of the next frame.
    number: u64,
    /// Memory for it.
    frame: Vec<u8>,
    folding: Folding,
}

#[derive(Default)]
struct Half {
    /// Where its next frame begins.
    end: usize,
    /// The segments that it has blocks of, oldest first, and where the last block of each ends: it is free when their
    /// journals go up to there. One that is not in memory any more was folded before it was sealed.
    segments: Vec<(Weak<LiveSegment>, u64)>,
}

impl Half {
    fn add(&mut self, segment: &Arc<LiveSegment>, end: u64) {
        match self.segments.last_mut() {
            Some((last, upto)) if last.as_ptr() == Arc::as_ptr(segment) => *upto = end,
            _ => self.segments.push((Arc::downgrade(segment), end)),
        }
    }

    /// The segments whose blocks only this log has.
    fn unfolded(&self) -> impl Iterator<Item = Arc<LiveSegment>> {
        let unfolded = |(segment, end): &(Weak<LiveSegment>, u64)| segment.upgrade().filter(|it| it.folded() < *end);
        self.segments.iter().filter_map(unfolded)
    }
}

impl Wal {
    /// Makes an empty log of `len` bytes in place of the one that is there: everything in that must be in the journals,
    /// durably.
    pub(super) fn create(volume: &dyn Volume, len: usize, folding: Folding) -> Result<Self, StorageError> {
        let header = Header::new(len);
        Ok(Self::new(make_file(volume, header)?, header, folding))
    }

    /// Goes on with a log as it was found, behind its last frame. Nothing is written: what is torn there is written over by
    /// the next frame. But it is synced: whoever wrote the last frame may have been killed before it was, and from now on it
    /// is read, and repeats of it are acknowledged.
    pub(super) fn resume(
        volume: &dyn Volume,
        found: &Frames,
        segments: &[Arc<LiveSegment>],
        folding: Folding,
    ) -> Result<Self, StorageError> {
        let file = volume.open_log(WAL)?.ok_or_else(|| corrupted("it vanished"))?;
        if !folding.planted.has(Bug::TrustLog) {
            file.sync_data().map_err(StorageError::io("syncing the write-ahead log"))?;
        }
        let mut log = Self::new(file, found.header(), folding);
        for frame in found.all() {
            let half_bytes = log.header.half_bytes();
            let (half, at) = ((frame.at - PAGE_BYTES) / half_bytes, (frame.at - PAGE_BYTES) % half_bytes);
            log.halves[half].end = at + frame_bytes(frame.block.len());
            if let Some(segment) = segments.iter().find(|segment| segment.id().number == frame.segment) {
                log.halves[half].add(segment, frame.end());
            }
            (log.current, log.number) = (half, frame.number + 1);
        }
        Ok(log)
    }

    fn new(file: Box<dyn StorageBackend>, header: Header, folding: Folding) -> Self {
        Self { file, header, halves: Default::default(), current: 0, number: 0, frame: Vec::new(), folding }
    }

    /// Whether a block of this size is for this log. A large one is for the journal at once: written twice, it would take
    /// longer.
    pub(super) fn takes(&self, block: usize) -> bool {
        block <= MAX_LOGGED_BYTES && frame_bytes(block) <= self.header.half_bytes()
    }

    /// Makes a block durable that begins at `position` in the journal of a segment. When a half has become full, gives the
    /// segments that should be folded in the background.
    pub(super) fn append(
        &mut self,
        segment: &Arc<LiveSegment>,
        position: u64,
        block: &[u8],
    ) -> Result<Vec<Arc<LiveSegment>>, StorageError> {
        let to_fold = self.make_room(frame_bytes(block.len()))?;
        encode(self.header, self.number, segment.id().number, position, block, &mut self.frame);
        let half = &mut self.halves[self.current];
        let at = PAGE_BYTES + self.current * self.header.half_bytes() + half.end;
        let written = self.file.write(at as u64, &self.frame);
        let synced =
            written.and_then(|()| if self.folding.planted.has(Bug::SkipSync) { Ok(()) } else { self.file.sync_data() });
        synced.map_err(StorageError::io("writing the write-ahead log"))?;
        half.end += self.frame.len();
        half.add(segment, position + block.len() as u64);
        self.number += 1;
        Ok(to_fold)
    }

    /// Goes to the other half when this one is full: what is in that was folded by then, or is now.
    fn make_room(&mut self, bytes: usize) -> Result<Vec<Arc<LiveSegment>>, StorageError> {
        if self.halves[self.current].end + bytes <= self.header.half_bytes() {
            return Ok(Vec::new());
        }
        let full = self.current;
        self.current = 1 - full;
        if self.folding.planted.has(Bug::ReuseLog) {
            self.halves[self.current] = Half::default();
            return Ok(Vec::new());
        }
        let mut unfolded: Vec<_> = self.halves[self.current].unfolded().collect();
        if self.folding.planted.has(Bug::FoldLastOnly) {
            unfolded.drain(..unfolded.len().saturating_sub(1));
        }
        unfolded.iter().try_for_each(|segment| segment.fold(self.folding))?;
        self.halves[self.current] = Half::default();
        Ok(self.halves[full].unfolded().collect())
    }
}

/// Makes a file whose every page is written: nothing but its contents changes later. A crash leaves the old one, or this.
fn make_file(volume: &dyn Volume, header: Header) -> Result<Box<dyn StorageBackend>, StorageError> {
    let file = volume.create_log(UNFINISHED)?;
    let fill = || {
        file.set_len(header.len)?;
        let zeros = vec![0; STEP_BYTES];
        for at in (0..header.len).step_by(STEP_BYTES) {
            let rest = usize::try_from(header.len - at).unwrap_or(STEP_BYTES);
            file.write(at, &zeros[..STEP_BYTES.min(rest)])?;
        }
        Header::places(header.len).into_iter().try_for_each(|at| file.write(at, &header.page()))?;
        file.sync_data()
    };
    fill().map_err(StorageError::io("making the write-ahead log"))?;
    // The open file keeps its handle under the new name.
    volume.rename(UNFINISHED, WAL)?;
    volume.sync()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{super::frames::FRAME_HEADER_BYTES, *};
    use crate::storage::MemoryVolume;

    /// Two headers, and two halves of three pages.
    const LEN: usize = 8 * PAGE_BYTES;

    struct Fixture {
        volume: MemoryVolume,
        segment: Arc<LiveSegment>,
        wal: Wal,
        end: u64,
    }

    impl Fixture {
        fn new() -> Self {
            let volume = MemoryVolume::default();
            let segment = Arc::new(LiveSegment::create(&volume, 1).expect("in memory"));
            let wal = Wal::create(&volume, LEN, Folding::default()).expect("in memory");
            Self { volume, segment, wal, end: 0 }
        }

        /// Appends a block, as the engine does; says whether a half was full.
        fn append(&mut self, block: &[u8]) -> bool {
            let full = self.wal.append(&self.segment, self.end, block).expect("in memory");
            self.segment.keep(Bytes::copy_from_slice(block));
            self.end += block.len() as u64;
            !full.is_empty()
        }

        fn bytes(&self) -> Vec<u8> {
            let file = self.volume.open(WAL).expect("in memory").expect("it was made");
            let mut bytes = vec![0; LEN];
            file.read(0, &mut bytes).expect("in memory");
            bytes
        }

        /// What the log has behind `end`.
        fn missing(&self, end: u64) -> Vec<u8> {
            frames(self.bytes()).expect("intact").missing(1, end).expect("without a gap").concat()
        }
    }

    fn frames(bytes: Vec<u8>) -> Result<Frames, StorageError> {
        let volume = MemoryVolume::default();
        let file = volume.create(WAL).expect("in memory");
        file.set_len(bytes.len() as u64).and_then(|()| file.write(0, &bytes)).expect("in memory");
        Frames::read(file.as_ref())
    }

    #[test]
    fn what_the_journal_does_not_have_is_found_in_order() {
        let mut log = Fixture::new();
        let mut all = Vec::new();
        for number in 0..40_u8 {
            let block = vec![number; 1 + usize::from(number) * 90];
            log.append(&block);
            all.extend_from_slice(&block);
            let folded = usize::try_from(log.segment.folded()).expect("small");
            assert_eq!(log.missing(folded as u64), all[folded..]);
        }
        assert!(log.segment.folded() > 0, "it went round");
    }

    #[test]
    fn a_half_that_is_full_is_for_folding_and_one_that_was_not_folded_waits_for_it() {
        let mut log = Fixture::new();
        let full: Vec<_> = (0..7).map(|_| log.append(b"block")).collect();
        assert_eq!(full, [false, false, false, true, false, false, false], "then all of it is folded at once");
        assert_eq!(log.segment.folded(), 30, "before the first half was written again");
        log.segment.fold_with(b"a large block", Folding::default()).expect("in memory");
        assert_eq!(log.segment.folded(), 48);
    }

    #[test]
    fn a_block_that_a_half_cannot_hold_is_not_for_it() {
        let log = Fixture::new();
        let most = 3 * PAGE_BYTES - FRAME_HEADER_BYTES;
        assert!(log.wal.takes(most) && !log.wal.takes(most + 1));
    }

    #[test]
    fn a_torn_frame_is_none_and_a_damaged_one_with_others_behind_it_is_an_error() {
        let mut log = Fixture::new();
        for _ in 0..3 {
            log.append(b"block");
        }
        for (frame, kept) in [(2, Some(10)), (1, None), (0, None)] {
            for place in [0, 8, 16, 24, 32, 36, 40, 44] {
                let mut bytes = log.bytes();
                bytes[PAGE_BYTES * (1 + frame) + place] ^= 4;
                let found = frames(bytes).expect("its header is intact").missing(1, 0);
                assert_eq!(found.ok().map(|missing| missing.concat().len()), kept, "frame {frame}, byte {place}");
            }
        }
    }

    #[test]
    fn either_copy_of_the_header_is_enough_and_none_is_not() {
        let mut log = Fixture::new();
        log.append(b"block");
        for copy in header_copies() {
            let mut bytes = log.bytes();
            bytes[copy] ^= 1;
            assert_eq!(frames(bytes).expect("the other one").missing(1, 0).expect("no gap"), [&b"block"[..]]);
        }
        let mut bytes = log.bytes();
        header_copies().for_each(|at| bytes[at] ^= 1);
        assert!(matches!(frames(bytes.clone()), Err(StorageError::Corrupted(_))));
        let (salvaged, wrong) = Frames::salvage(bytes).expect("it can be looked at");
        assert_eq!((salvaged.all().len(), wrong.is_some()), (1, true), "a salvage believes its frames");
        let short = log.bytes()[..LEN - 1].to_vec();
        assert!(matches!(frames(short), Err(StorageError::Corrupted(_))));
    }

    fn header_copies() -> impl Iterator<Item = usize> {
        [20, LEN - PAGE_BYTES + 20].into_iter()
    }

    /// Wherever an engine ends, and whether or not its last frame is torn, the next one goes on behind what is intact.
    #[test]
    fn a_log_goes_on_as_it_was_found() {
        let mut log = Fixture::new();
        let mut all = Vec::new();
        for number in 0..30_u8 {
            let block = vec![number; 100 + usize::from(number % 3) * 5000];
            log.append(&block);
            all.extend_from_slice(&block);
            let mut bytes = log.bytes();
            let is_torn = number % 4 == 1;
            if is_torn {
                let last = frames(bytes.clone()).expect("intact").all().last().expect("it was appended").at;
                bytes[last + 50] ^= 1;
                log.volume.open(WAL).expect("in memory").expect("it was made").write(0, &bytes).expect("in memory");
                all.truncate(all.len() - block.len());
            }
            let (folded, found) = (log.segment.folded(), frames(bytes).expect("its header is intact"));
            let young = found.missing(1, folded).expect("no gap");
            assert_eq!(young.concat(), all[usize::try_from(folded).expect("small")..], "block {number}");
            log.segment.set_young(young);
            log.wal = Wal::resume(&log.volume, &found, &[log.segment.clone()], Folding::default()).expect("in memory");
            log.end = all.len() as u64;
        }
        assert!(log.segment.folded() > 0, "it went round");
    }

    #[test]
    fn another_file_has_nothing_of_before() {
        let mut log = Fixture::new();
        for _ in 0..3 {
            log.append(b"old");
        }
        log.segment.fold(Folding::default()).expect("in memory");
        log.wal = Wal::create(&log.volume, LEN, Folding::default()).expect("in memory");
        assert!(log.bytes()[PAGE_BYTES..LEN - PAGE_BYTES].iter().all(|byte| *byte == 0));
        log.append(b"new");
        assert_eq!(log.missing(9), b"new");
    }

    /// Only the segment of the last frame of a half was folded before the half was written over: with a roll in it, what
    /// only the log had of the segment before was gone, until the background work came to sealing that.
    #[test]
    fn a_half_with_blocks_of_two_segments_waits_for_both() {
        let mut log = Fixture::new();
        for _ in 0..2 {
            log.append(b"block");
        }
        let first =
            std::mem::replace(&mut log.segment, Arc::new(LiveSegment::create(&log.volume, 2).expect("in memory")));
        log.end = 0;
        for _ in 0..4 {
            log.append(b"next");
        }
        assert_eq!(first.folded(), 0, "both halves are full, and nothing was written over");
        log.append(b"next");
        assert_eq!((first.folded(), log.segment.folded()), (10, 16), "all that the first half has");
        let (found, folded) = (frames(log.bytes()).expect("intact"), [0, 10, 16]);
        assert_eq!(found.gap(|segment| folded[usize::try_from(segment).expect("small")]), None);
    }

    /// The last block of a segment was damaged, and only blocks of the next one followed: nothing seemed to be missing.
    #[test]
    fn a_frame_that_is_missing_between_two_segments_is_seen() {
        let mut log = Fixture::new();
        log.append(b"block");
        log.segment = Arc::new(LiveSegment::create(&log.volume, 2).expect("in memory"));
        log.end = 0;
        log.append(b"next");
        let mut bytes = log.bytes();
        assert_eq!(frames(bytes.clone()).expect("intact").gap(|_| 0), None);
        bytes[PAGE_BYTES + 50 - 8] ^= 1;
        let found = frames(bytes).expect("its header is intact");
        assert_eq!(found.missing(1, 0).expect("no gap in it").len(), 0);
        assert_eq!(found.gap(|_| 0), None, "the first that is there is the first of all");
        log.append(b"more");
        let mut bytes = log.bytes();
        bytes[2 * PAGE_BYTES + 42] ^= 1;
        assert_eq!(frames(bytes).expect("its header is intact").gap(|_| 0), Some(1..2));
    }
}
