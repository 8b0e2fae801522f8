//! What is in the file of the write-ahead log: a header, and frames with a block each.
//!
//! ```text
//! first page   header                      and again in the last page
//! half 0       frame, frame, ...           each begins on a page, and no page holds parts of two
//! half 1       frame, frame, ...
//!
//! header                                   frame
//!  0  magic      [8]  "cnfylog1"            0  salt       u64   of the header
//!  8  format     u32                        8  number     u64   of the frame: one more than that of the one before
//! 12  checksum   u32  CRC-32C of the rest  16  segment    u64   number of the segment that the block belongs to
//! 16  salt       u64                       24  position   u64   of the block in the journal of that segment
//! 24  length     u64  of the file          32  length     u32   of the block
//!                                          36  checksum   u32   CRC-32C of the rest, and of the block
//!                                          40  block
//! ```

use std::{collections::HashMap, ops::Range};

use bytes::Bytes;
use redb::StorageBackend;

use super::StorageError;

/// The file.
pub(super) const WAL: &str = "wal";
/// Frames begin at multiples of this: no write touches what an earlier one made durable.
pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const FRAME_HEADER_BYTES: usize = 40;
const HEADER_BYTES: usize = 32;
const MAGIC: [u8; 8] = *b"cnfylog1";
const FORMAT: u32 = 1;
/// The least that has a frame in each half.
const MIN_BYTES: usize = 4 * PAGE_BYTES;

/// What the file says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// By which its frames are told from whatever else looks like one.
    salt: u64,
    /// Bytes of the file.
    pub(super) len: u64,
}

impl Header {
    /// Of a new file of `len` bytes.
    ///
    /// # Panics
    /// When that is too little for two frames.
    pub(super) fn new(len: usize) -> Self {
        assert!(len >= MIN_BYTES && len.is_multiple_of(PAGE_BYTES), "{len} bytes are no size for a write-ahead log");
        Self { salt: uuid::Uuid::new_v4().as_u64_pair().1, len: len as u64 }
    }

    /// The first page of the file, and the last one.
    pub(super) fn page(self) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        page[..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        page[16..24].copy_from_slice(&self.salt.to_le_bytes());
        page[24..HEADER_BYTES].copy_from_slice(&self.len.to_le_bytes());
        let checksum = checksum(&page[..HEADER_BYTES], 12, &[]);
        page[12..16].copy_from_slice(&checksum.to_le_bytes());
        page
    }

    /// Where its copies are in a file.
    pub(super) fn places(file_bytes: u64) -> [u64; 2] {
        [0, file_bytes.saturating_sub(PAGE_BYTES as u64)]
    }

    /// The bytes of each half.
    pub(super) fn half_bytes(self) -> usize {
        let frames = usize::try_from(self.len).unwrap_or(usize::MAX).saturating_sub(2 * PAGE_BYTES);
        frames / 2 / PAGE_BYTES * PAGE_BYTES
    }

    /// One copy of it. `None`: damaged.
    fn read(copy: &[u8]) -> Result<Option<Self>, StorageError> {
        let Some(copy) = copy.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        if copy[..8] != MAGIC || copy[12..16] != checksum(copy, 12, &[]).to_le_bytes() {
            return Ok(None);
        }
        match u32::from_le_bytes(copy[8..12].try_into().expect("4 bytes")) {
            FORMAT => Ok(Some(Self { salt: number(&copy[16..]), len: number(&copy[24..]) })),
            found => Err(StorageError::NewerFormat { found, supported: FORMAT }),
        }
    }

    /// That of a file, of which both copies are read by `read`: the first, or the second where that is damaged.
    pub(super) fn find(
        file_bytes: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), StorageError>,
    ) -> Result<Option<Self>, StorageError> {
        for at in Self::places(file_bytes) {
            let mut copy = [0; HEADER_BYTES];
            if file_bytes >= at + HEADER_BYTES as u64 {
                read(at, &mut copy)?;
            }
            if let Some(header) = Self::read(&copy)? {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("8 bytes"))
}

/// CRC-32C of a header, but for the four bytes of it at `at` that hold it, and of what follows.
fn checksum(header: &[u8], at: usize, block: &[u8]) -> u32 {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&header[..at]), &header[at + 4..]);
    crc32c::crc32c_append(checksum, block)
}

pub(super) fn corrupted(what: impl std::fmt::Display) -> StorageError {
    StorageError::Corrupted(format!("{WAL}: {what}"))
}

/// Bytes that the frame of a block takes.
pub(super) fn frame_bytes(block: usize) -> usize {
    (FRAME_HEADER_BYTES + block).next_multiple_of(PAGE_BYTES)
}

/// Writes a frame into `out`, in place of what is there.
pub(super) fn encode(header: Header, number: u64, segment: u64, position: u64, block: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(block.len()).expect("it fits a half");
    out.clear();
    for field in [header.salt, number, segment, position, length.into()] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    let checksum = checksum(out, 36, block);
    out[36..].copy_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(block);
    out.resize(frame_bytes(block.len()), 0);
}

/// A block in the log.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Where it is in the file.
    pub(super) at: usize,
    /// One more than that of the frame before.
    pub(super) number: u64,
    pub(super) segment: u64,
    pub(super) position: u64,
    pub(super) block: Bytes,
}

impl Frame {
    /// Where its block ends in the journal of its segment.
    pub(super) fn end(&self) -> u64 {
        self.position + self.block.len() as u64
    }

    /// Reads the frame that begins there; `None` when none does, or it is damaged. Also says the salt.
    fn read(file: &Bytes, at: usize) -> Option<(u64, Self)> {
        let header: &[u8; FRAME_HEADER_BYTES] = file.get(at..)?.first_chunk()?;
        let length = u32::from_le_bytes(header[32..36].try_into().expect("4 bytes")) as usize;
        let start = at + FRAME_HEADER_BYTES;
        let end = start.checked_add(length).filter(|end| *end <= file.len())?;
        let block = file.slice(start..end);
        let [salt, number, segment, position] = [0, 8, 16, 24].map(|at| number(&header[at..]));
        let is_intact = header[36..] == checksum(header, 36, &block).to_le_bytes();
        let has_end = position.checked_add(length as u64).is_some();
        (is_intact && has_end).then_some((salt, Self { at, number, segment, position, block }))
    }
}

/// The frames of a log that are intact, in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    header: Header,
    frames: Vec<Frame>,
}

impl Frames {
    /// Reads a log.
    ///
    /// # Errors
    /// [`StorageError::Corrupted`], [`StorageError::NewerFormat`], or the disk's.
    pub(super) fn read(file: &dyn StorageBackend) -> Result<Self, StorageError> {
        let io = || StorageError::io("reading the write-ahead log");
        let len = file.len().map_err(io())?;
        let header = Header::find(len, |at, out| file.read(at, out).map_err(io()))?;
        let header = header.ok_or_else(|| corrupted("its header fails its checksum"))?;
        if header.len != len {
            return Err(corrupted("it is not as long as it was"));
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| corrupted("it is too long"))?];
        file.read(0, &mut bytes).map_err(io())?;
        Ok(Self::scan(&bytes.into(), header))
    }

    /// As much as there is in a log that may be damaged, and what is wrong with it as a whole. Without a header, the salt
    /// that most frames have is believed.
    ///
    /// # Errors
    /// [`StorageError::NewerFormat`].
    pub(super) fn salvage(file: Vec<u8>) -> Result<(Self, Option<String>), StorageError> {
        let len = file.len() as u64;
        let found = Header::find(len, |at, out| {
            let at = usize::try_from(at).expect("it is in memory");
            out.copy_from_slice(&file[at..at + out.len()]);
            Ok(())
        });
        let file = Bytes::from(file);
        let (header, wrong) = match found? {
            Some(header) if header.len == len => (header, None),
            Some(header) => (header, Some("it is not as long as it was".to_owned())),
            None => {
                let header = Header { salt: commonest_salt(&file), len };
                (header, Some("its header fails its checksum".to_owned()))
            }
        };
        Ok((Self::scan(&file, header), wrong))
    }

    fn scan(file: &Bytes, header: Header) -> Self {
        let (mut frames, mut at) = (Vec::new(), PAGE_BYTES);
        while at < file.len() {
            match Frame::read(file, at) {
                Some((salt, frame)) if salt == header.salt => {
                    at += frame_bytes(frame.block.len());
                    frames.push(frame);
                }
                _ => at += PAGE_BYTES,
            }
        }
        frames.sort_by_key(|frame| frame.number);
        Self { header, frames }
    }

    pub(super) fn header(&self) -> Header {
        self.header
    }

    /// All of them, in the order in which they were written.
    pub(super) fn all(&self) -> &[Frame] {
        &self.frames
    }

    /// What belongs to a segment, in order.
    pub(super) fn of(&self, segment: u64) -> impl Iterator<Item = &Frame> {
        self.frames.iter().filter(move |frame| frame.segment == segment)
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
                return Err(corrupted(format_args!(
                    "the journal of segment {segment} ends at {at}, and goes on at {position}"
                )));
            }
            // Not a part of the whole file in memory.
            missing.push(Bytes::copy_from_slice(&frame.block));
            at = frame.end();
        }
        Ok(missing)
    }

    /// The numbers of frames that are missing: between the first one that a journal does not have, and the last. `folded`:
    /// where the journal of a segment ends.
    pub(super) fn gap(&self, folded: impl Fn(u64) -> u64) -> Option<Range<u64>> {
        let first = self.frames.iter().position(|frame| frame.end() > folded(frame.segment))?;
        let pair = self.frames[first..].windows(2).find(|pair| pair[0].number + 1 != pair[1].number)?;
        Some(pair[0].number + 1..pair[1].number)
    }
}

/// Of a log without a header: stale frames of the same file have the same one, and what looks like a frame in a record has
/// any.
fn commonest_salt(file: &Bytes) -> u64 {
    let mut salts = HashMap::<u64, usize>::new();
    for at in (PAGE_BYTES..file.len()).step_by(PAGE_BYTES) {
        if let Some((salt, _)) = Frame::read(file, at) {
            *salts.entry(salt).or_default() += 1;
        }
    }
    salts.into_iter().max_by_key(|(salt, count)| (*count, *salt)).map_or(0, |(salt, _)| salt)
}
