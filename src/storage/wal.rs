//! The write-ahead log: a small block is durable here with one write, and moves to the journal together with many others.
//!
//! A commit of the database writes a way through several trees, whatever it holds: about 30 KiB for one record. A frame
//! of this log is written once, in place, into a file whose length never changes, so a sync of it writes nothing else.
//!
//! ```text
//! page 0   header, twice, each in a sector of its own
//! half 0   frame, frame, ...        each begins on a page, and no page holds parts of two
//! half 1   frame, frame, ...
//!
//! header                                   frame
//!  0  magic      [8]  "cnfylog1"            0  salt       u64   of the header
//!  8  format     u32                        8  segment    u64   number of the segment that the block belongs to
//! 12  checksum   u32  CRC-32C of the rest  16  position   u64   of the block in the journal of that segment
//! 16  salt       u64                       24  length     u32   of the block
//! 24  length     u64  of the file          28  checksum   u32   CRC-32C of the rest, and of the block
//!                                          32  block
//! ```
//!
//! One half is written while the blocks of the other are folded: written into the journal, many with one commit. A frame
//! is written over only when the journal has its block durably, so an old frame that is found says nothing new. Frames
//! are written one at a time, each synced before the next: only the last one can be torn.
//!
//! # Invariants
//! - Behind the journal of a segment follow, without a gap, the blocks of it that only this log has.
//! - No two frames of a file are of one position of one segment: where a torn one was, the next one is written.

use std::sync::Arc;

use bytes::Bytes;
use redb::StorageBackend;

use super::{StorageError, Volume, live::LiveSegment};
use crate::{
    limits::MAX_LOGGED_BYTES,
    planted::{Bug, Planted},
};

/// The file.
pub(super) const WAL: &str = "wal";
/// While it is being made. Never opened again after a crash.
const UNFINISHED: &str = "wal.unfinished";
/// Frames begin at multiples of this: no write touches what an earlier one made durable.
pub(super) const PAGE_BYTES: usize = 4096;
/// Where the second copy of the header is.
const SECTOR_BYTES: usize = 512;
const HEADER_BYTES: usize = 32;
pub(super) const FRAME_HEADER_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"cnfylog1";
const FORMAT: u32 = 1;
/// What is written at once when a file is made.
const STEP_BYTES: usize = 1024 * 1024;

/// What the file says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Header {
    salt: u64,
    len: u64,
}

impl Header {
    /// The first page of the file.
    fn page(self) -> [u8; PAGE_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        header[16..24].copy_from_slice(&self.salt.to_le_bytes());
        header[24..].copy_from_slice(&self.len.to_le_bytes());
        let checksum = checksum(&header, 12, &[]);
        header[12..16].copy_from_slice(&checksum.to_le_bytes());
        let mut page = [0; PAGE_BYTES];
        page[..HEADER_BYTES].copy_from_slice(&header);
        page[SECTOR_BYTES..SECTOR_BYTES + HEADER_BYTES].copy_from_slice(&header);
        page
    }

    /// The header of a file: its first copy, or the second one where that is damaged.
    fn read(file: &[u8]) -> Result<Self, StorageError> {
        let copies = [file.first_chunk(), file.get(SECTOR_BYTES..).and_then(<[u8]>::first_chunk)];
        let is_intact = |copy: &&[u8; HEADER_BYTES]| copy[12..16] == checksum(&copy[..], 12, &[]).to_le_bytes();
        let copy = copies.into_iter().flatten().find(is_intact);
        let copy = copy.filter(|copy| copy[..8] == MAGIC).ok_or_else(|| corrupted("its header fails its checksum"))?;
        match u32::from_le_bytes(copy[8..12].try_into().expect("4 bytes")) {
            FORMAT => Ok(Self { salt: number(&copy[16..]), len: number(&copy[24..]) }),
            found => Err(StorageError::NewerFormat { found, supported: FORMAT }),
        }
    }
}

/// Where the copies of the header are.
#[cfg(feature = "trial")]
pub(super) fn header_places() -> impl Iterator<Item = std::ops::Range<usize>> {
    [0, SECTOR_BYTES].into_iter().map(|at| at..at + HEADER_BYTES)
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("8 bytes"))
}

/// CRC-32C of a header, but for the four bytes of it at `at` that hold it, and of what follows.
fn checksum(header: &[u8], at: usize, block: &[u8]) -> u32 {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[..at]), &header[at + 4..]);
    crc32c::crc32c_append(checksum, block)
}

fn corrupted(what: &str) -> StorageError {
    StorageError::Corrupted(format!("{WAL}: {what}"))
}

/// Bytes that the frame of a block takes.
fn frame_bytes(block: usize) -> usize {
    (FRAME_HEADER_BYTES + block).next_multiple_of(PAGE_BYTES)
}

/// The writer's side.
pub(super) struct Wal {
    file: Box<dyn StorageBackend>,
    salt: u64,
    half_bytes: usize,
    halves: [Half; 2],
    /// The half that is written.
    current: usize,
    /// Memory for the next frame.
    frame: Vec<u8>,
    planted: Planted,
}

#[derive(Default)]
struct Half {
    /// Where its next frame begins.
    end: usize,
    /// Where the block of its last frame ends: it is free when the journal goes up to there.
    newest: Option<(Arc<LiveSegment>, u64)>,
}

impl Wal {
    /// Makes an empty log of `len` bytes in place of the one that is there: everything in that must be in the journals,
    /// durably.
    pub(super) fn create(volume: &dyn Volume, len: usize, planted: Planted) -> Result<Self, StorageError> {
        let header = Header { salt: uuid::Uuid::new_v4().as_u64_pair().1, len: len as u64 };
        Ok(Self::new(create(volume, header)?, header, planted))
    }

    /// Goes on with a log as it was found, behind its last frame. Nothing is written: what is torn there is written over by
    /// the next frame.
    pub(super) fn resume(
        volume: &dyn Volume,
        found: &Frames,
        segments: &[Arc<LiveSegment>],
        planted: Planted,
    ) -> Result<Self, StorageError> {
        let file = volume.open_log(WAL)?.ok_or_else(|| corrupted("it vanished"))?;
        let mut log = Self::new(file, found.header, planted);
        for frame in &found.frames {
            let (half, at) = ((frame.at - PAGE_BYTES) / log.half_bytes, (frame.at - PAGE_BYTES) % log.half_bytes);
            let segment = segments.iter().find(|segment| segment.id().number == frame.segment);
            let newest = segment.map(|segment| (segment.clone(), frame.end()));
            log.halves[half] = Half { end: at + frame_bytes(frame.block.len()), newest };
            log.current = half;
        }
        Ok(log)
    }

    fn new(file: Box<dyn StorageBackend>, header: Header, planted: Planted) -> Self {
        let (len, halves) = (usize::try_from(header.len).expect("it was read whole, or made"), Default::default());
        let half_bytes = len.saturating_sub(PAGE_BYTES) / 2 / PAGE_BYTES * PAGE_BYTES;
        Self { file, salt: header.salt, half_bytes, halves, current: 0, frame: Vec::new(), planted }
    }

    /// Whether a block of this size is for this log. A large one is for the journal at once: written twice, it would take
    /// longer.
    pub(super) fn takes(&self, block: usize) -> bool {
        block <= MAX_LOGGED_BYTES && frame_bytes(block) <= self.half_bytes
    }

    /// Makes a block durable that begins at `position` in the journal of a segment. When a half is full, gives the
    /// segment that should be folded in the background.
    pub(super) fn append(
        &mut self,
        segment: &Arc<LiveSegment>,
        position: u64,
        block: &[u8],
    ) -> Result<Option<Arc<LiveSegment>>, StorageError> {
        let full = self.make_room(frame_bytes(block.len()))?;
        self.encode(segment.id().number, position, block);
        let half = &mut self.halves[self.current];
        let at = PAGE_BYTES + self.current * self.half_bytes + half.end;
        let written = self.file.write(at as u64, &self.frame);
        let synced =
            written.and_then(|()| if self.planted.has(Bug::SkipSync) { Ok(()) } else { self.file.sync_data() });
        synced.map_err(StorageError::io("writing the write-ahead log"))?;
        half.end += self.frame.len();
        half.newest = Some((segment.clone(), position + block.len() as u64));
        Ok(full)
    }

    /// Goes to the other half when this one is full: by then it was folded, or is now.
    fn make_room(&mut self, bytes: usize) -> Result<Option<Arc<LiveSegment>>, StorageError> {
        if self.halves[self.current].end + bytes <= self.half_bytes {
            return Ok(None);
        }
        let other = 1 - self.current;
        if let Some((segment, end)) = self.halves[other].newest.take()
            && segment.folded() < end
            && !self.planted.has(Bug::ReuseLog)
        {
            segment.fold(&[], self.planted)?;
        }
        self.halves[other].end = 0;
        let full = std::mem::replace(&mut self.current, other);
        let newest = self.halves[full].newest.as_ref();
        Ok(newest.map(|(segment, _)| segment.clone()).filter(|_| !self.planted.has(Bug::ReuseLog)))
    }

    fn encode(&mut self, segment: u64, position: u64, block: &[u8]) {
        let length = u32::try_from(block.len()).expect("it fits a half");
        self.frame.clear();
        for field in [self.salt, segment, position, length.into()] {
            self.frame.extend_from_slice(&field.to_le_bytes());
        }
        let checksum = checksum(&self.frame, 28, block);
        self.frame[28..].copy_from_slice(&checksum.to_le_bytes());
        self.frame.extend_from_slice(block);
        self.frame.resize(frame_bytes(block.len()), 0);
    }
}

/// Makes a file whose every page is written: nothing but its contents changes later. A crash leaves the old one, or this.
fn create(volume: &dyn Volume, header: Header) -> Result<Box<dyn StorageBackend>, StorageError> {
    let file = volume.create_log(UNFINISHED)?;
    let fill = || {
        file.set_len(header.len)?;
        let zeros = vec![0; STEP_BYTES.min(usize::try_from(header.len).unwrap_or(STEP_BYTES))];
        for at in (0..header.len).step_by(STEP_BYTES) {
            let rest = usize::try_from(header.len - at).unwrap_or(STEP_BYTES);
            file.write(at, &zeros[..zeros.len().min(rest)])?;
        }
        file.write(0, &header.page())?;
        file.sync_data()
    };
    fill().map_err(StorageError::io("making the write-ahead log"))?;
    // The open file keeps its handle under the new name.
    volume.rename(UNFINISHED, WAL)?;
    volume.sync()?;
    Ok(file)
}

/// A block in the log.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Where it is in the file.
    pub(super) at: usize,
    pub(super) segment: u64,
    pub(super) position: u64,
    pub(super) block: Bytes,
}

impl Frame {
    /// Where its block ends in the journal of its segment.
    pub(super) fn end(&self) -> u64 {
        self.position + self.block.len() as u64
    }
}

/// The frames of a log that are intact, in order of segment and position.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    header: Header,
    frames: Vec<Frame>,
}

impl Frames {
    /// Reads the log of a volume; `None` when there is none.
    pub(super) fn read(volume: &dyn Volume) -> Result<Option<Self>, StorageError> {
        let Some(file) = volume.open_log(WAL)? else {
            return Ok(None);
        };
        let read = || {
            let mut bytes = vec![0; usize::try_from(file.len()?).map_err(std::io::Error::other)?];
            file.read(0, &mut bytes).map(|()| bytes)
        };
        Self::parse(read().map_err(StorageError::io("reading the write-ahead log"))?).map(Some)
    }

    fn parse(file: Vec<u8>) -> Result<Self, StorageError> {
        let header = Header::read(&file)?;
        match header.len == file.len() as u64 {
            true => Ok(Self::scan(&Bytes::from(file), header)),
            false => Err(corrupted("it is not as long as it was")),
        }
    }

    /// As much as there is in a log that may be damaged, and what is wrong with it as a whole. Without a header, what the
    /// first frame says is believed.
    ///
    /// # Errors
    /// [`StorageError::NewerFormat`].
    pub(super) fn salvage(file: Vec<u8>) -> Result<(Self, Option<String>), StorageError> {
        let len = file.len() as u64;
        let (header, wrong) = match Header::read(&file) {
            Ok(header) if header.len == len => (header, None),
            Ok(header) => (header, Some("it is not as long as it was".to_owned())),
            Err(error @ StorageError::NewerFormat { .. }) => return Err(error),
            Err(_) => {
                let first = file.get(PAGE_BYTES..).filter(|frame| frame.len() >= FRAME_HEADER_BYTES);
                let header = Header { salt: first.map_or(0, number), len };
                (header, Some("its header fails its checksum".to_owned()))
            }
        };
        Ok((Self::scan(&Bytes::from(file), header), wrong))
    }

    fn scan(file: &Bytes, header: Header) -> Self {
        let (mut frames, mut at) = (Vec::new(), PAGE_BYTES);
        while at + FRAME_HEADER_BYTES <= file.len() {
            match frame(file, at, header.salt) {
                Some(frame) => {
                    at += frame_bytes(frame.block.len());
                    frames.push(frame);
                }
                None => at += PAGE_BYTES,
            }
        }
        frames.sort_by_key(|frame| (frame.segment, frame.position));
        Self { header, frames }
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.header.len
    }

    /// All of them.
    #[cfg(feature = "trial")]
    pub(super) fn all(&self) -> &[Frame] {
        &self.frames
    }

    /// What belongs to a segment, in order.
    pub(super) fn of(&self, segment: u64) -> impl Iterator<Item = &Frame> {
        self.frames.iter().filter(move |frame| frame.segment == segment)
    }

    /// The number of the last segment that there is something of.
    pub(super) fn last_segment(&self) -> Option<u64> {
        self.frames.last().map(|frame| frame.segment)
    }

    /// The blocks that the journal of a segment, which ends at `end`, does not have.
    ///
    /// # Errors
    /// [`StorageError::Corrupted`] when something in between is missing: it was acknowledged.
    pub(super) fn missing(&self, segment: u64, end: u64) -> Result<Vec<Bytes>, StorageError> {
        let (mut at, mut missing) = (end, Vec::new());
        for frame in self.of(segment).filter(|frame| frame.end() > end) {
            if frame.position != at {
                let position = frame.position;
                return Err(corrupted(&format!(
                    "the journal of segment {segment} ends at {at}, and goes on at {position}"
                )));
            }
            // Not a part of the whole file in memory.
            missing.push(Bytes::copy_from_slice(&frame.block));
            at = frame.end();
        }
        Ok(missing)
    }
}

fn frame(file: &Bytes, at: usize, salt: u64) -> Option<Frame> {
    let header: &[u8; FRAME_HEADER_BYTES] = file[at..].first_chunk()?;
    let length = u32::from_le_bytes(header[24..28].try_into().expect("4 bytes")) as usize;
    let start = at + FRAME_HEADER_BYTES;
    let end = start.checked_add(length).filter(|end| *end <= file.len())?;
    let (block, [_, segment, position]) = (file.slice(start..end), [0, 8, 16].map(|at| number(&header[at..])));
    let is_intact = number(header) == salt && header[28..] == checksum(header, 28, &block).to_le_bytes();
    let has_end = position.checked_add(length as u64).is_some();
    (is_intact && has_end).then_some(Frame { at, segment, position, block })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryVolume;

    /// A header and two halves of three pages.
    const LEN: usize = 7 * PAGE_BYTES;

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
            let wal = Wal::create(&volume, LEN, Planted::default()).expect("in memory");
            Self { volume, segment, wal, end: 0 }
        }

        /// Appends a block, as the engine does; says whether a half was full.
        fn append(&mut self, block: &[u8]) -> bool {
            let full = self.wal.append(&self.segment, self.end, block).expect("in memory");
            self.segment.keep(Bytes::copy_from_slice(block));
            self.end += block.len() as u64;
            full.is_some()
        }

        fn bytes(&self) -> Vec<u8> {
            let file = self.volume.open(WAL).expect("in memory").expect("it was made");
            let mut bytes = vec![0; LEN];
            file.read(0, &mut bytes).expect("in memory");
            bytes
        }

        /// What the log has behind `end`.
        fn missing(&self, end: u64) -> Vec<u8> {
            Frames::parse(self.bytes()).expect("intact").missing(1, end).expect("without a gap").concat()
        }
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
        assert_eq!(full, [false, false, false, true, false, false, true]);
        assert_eq!(log.segment.folded(), 30, "before the first half was written again");
        log.segment.fold(b"a large block", Planted::default()).expect("in memory");
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
            for place in [0, 8, 16, 24, 28, 32, 36] {
                let mut bytes = log.bytes();
                bytes[PAGE_BYTES * (1 + frame) + place] ^= 4;
                let found = Frames::parse(bytes).expect("its header is intact").missing(1, 0);
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
            assert_eq!(Frames::parse(bytes).expect("the other one").missing(1, 0).expect("no gap"), [&b"block"[..]]);
        }
        let mut bytes = log.bytes();
        header_copies().for_each(|at| bytes[at] ^= 1);
        assert!(matches!(Frames::parse(bytes.clone()), Err(StorageError::Corrupted(_))));
        let (frames, wrong) = Frames::salvage(bytes).expect("it can be looked at");
        assert_eq!((frames.frames.len(), wrong.is_some()), (1, true), "a salvage believes the first frame");
        let short = log.bytes()[..LEN - 1].to_vec();
        assert!(matches!(Frames::parse(short), Err(StorageError::Corrupted(_))));
    }

    fn header_copies() -> impl Iterator<Item = usize> {
        [20, SECTOR_BYTES + 20].into_iter()
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
                let last = Frames::parse(bytes.clone()).expect("intact").frames.last().expect("it was appended").at;
                bytes[last + 40] ^= 1;
                log.volume.open(WAL).expect("in memory").expect("it was made").write(0, &bytes).expect("in memory");
                all.truncate(all.len() - block.len());
            }
            let (folded, found) = (log.segment.folded(), Frames::parse(bytes).expect("its header is intact"));
            let young = found.missing(1, folded).expect("no gap");
            assert_eq!(young.concat(), all[usize::try_from(folded).expect("small")..], "block {number}");
            log.segment.set_young(young);
            log.wal = Wal::resume(&log.volume, &found, &[log.segment.clone()], Planted::default()).expect("in memory");
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
        log.segment.fold(&[], Planted::default()).expect("in memory");
        log.wal = Wal::create(&log.volume, LEN, Planted::default()).expect("in memory");
        assert!(log.bytes()[PAGE_BYTES..].iter().all(|byte| *byte == 0));
        log.append(b"new");
        assert_eq!(log.missing(9), b"new");
    }
}
