//! What surrounds the blocks of a Zstandard frame (RFC 8878, section 3.1.1).
//!
//! ```text
//! magic          4
//! descriptor     1             what follows, and whether a checksum ends the frame
//! window         0 or 1
//! dictionary id  0, 1, 2 or 4
//! content size   0, 1, 2, 4 or 8
//! blocks         3 bytes of header each, the last one marked
//! checksum       0 or 4
//! ```
//!
//! The library reads frames in two ways, at once and in pieces, and each takes frames that the other refuses: a window or
//! a block that is too long, a block without bytes, another length of the content than the frame says. A consumer may read
//! in either way, so the server takes what both do.

use std::cmp::Ordering;

use super::{BatchError, reader::Reader};

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// No batch needs a larger window.
const MAX_WINDOW_BYTES: u64 = 8 << 20;
/// No block is larger, nor larger than the window.
const MAX_BLOCK_BYTES: u64 = 128 << 10;
/// A compressed block has two headers, of a byte each at least.
const MIN_COMPRESSED_BYTES: u64 = 2;

/// Checks that the bytes are one frame, with nothing behind it, as every reader takes it, and that it says no other length
/// than the declared one. What its blocks hold is for the decoder to judge.
pub(super) fn check(frame: &[u8], declared: usize) -> Result<(), BatchError> {
    let mut reader = Reader::new(frame);
    if reader.take(4, FRAME).map_err(ends_early)? != MAGIC {
        return Err(BatchError::Decompress("not a zstd frame"));
    }
    let descriptor = reader.take(1, FRAME).map_err(ends_early)?[0];
    let (window_bytes, content_bytes) = header(&mut reader, descriptor).map_err(ends_early)?;
    match content_bytes.map(|bytes| bytes.cmp(&(declared as u64))) {
        Some(Ordering::Greater) => return Err(BatchError::Expands { declared }),
        Some(Ordering::Less) => return Err(BatchError::Decompress("shorter than declared")),
        Some(Ordering::Equal) | None => {}
    }
    if window_bytes > MAX_WINDOW_BYTES {
        return Err(BatchError::Decompress("the window of the zstd frame is over 8 MiB"));
    }
    while !check_block(&mut reader, window_bytes)? {}
    let has_checksum = descriptor & 0b100 != 0;
    reader.take(if has_checksum { 4 } else { 0 }, FRAME).map_err(ends_early)?;
    match reader.is_empty() {
        true => Ok(()),
        false => Err(BatchError::Decompress("bytes after the zstd frame")),
    }
}

const FRAME: &str = "zstd frame";

fn ends_early(_: BatchError) -> BatchError {
    BatchError::Decompress("the zstd frame is cut off")
}

/// Takes the rest of the frame's header: how long its window is, and its content if it says so. A frame without a window is
/// one whose content is its window.
fn header(reader: &mut Reader<'_>, descriptor: u8) -> Result<(u64, Option<u64>), BatchError> {
    let is_single_segment = descriptor & 0b10_0000 != 0;
    let window = if is_single_segment { None } else { Some(reader.take(1, FRAME)?[0]) };
    reader.take([0, 1, 2, 4][usize::from(descriptor & 0b11)], FRAME)?;
    let content = match descriptor >> 6 {
        0 if !is_single_segment => None,
        0 => Some(number(reader.take(1, FRAME)?)),
        1 => Some(number(reader.take(2, FRAME)?) + 256),
        2 => Some(number(reader.take(4, FRAME)?)),
        _ => Some(number(reader.take(8, FRAME)?)),
    };
    let window = window.map(|byte| {
        let power = 1u64 << (10 + (byte >> 3));
        power + power / 8 * u64::from(byte & 0b111)
    });
    Ok((window.or(content).expect("one of them is there"), content))
}

/// Takes a block, and says whether it was the last one.
fn check_block(reader: &mut Reader<'_>, window_bytes: u64) -> Result<bool, BatchError> {
    const RUN: u64 = 1;
    const COMPRESSED: u64 = 2;
    let header = number(reader.take(3, FRAME).map_err(ends_early)?);
    let (is_last, kind, bytes) = (header & 1 == 1, header >> 1 & 0b11, header >> 3);
    if bytes > MAX_BLOCK_BYTES.min(window_bytes) {
        return Err(BatchError::Decompress("a block of the zstd frame is over the limit"));
    }
    if kind == COMPRESSED && bytes < MIN_COMPRESSED_BYTES {
        return Err(BatchError::Decompress("a block of the zstd frame is too short"));
    }
    let stored = if kind == RUN { 1 } else { bytes };
    reader.take(usize::try_from(stored).expect("under the limit"), FRAME).map_err(ends_early)?;
    Ok(is_last)
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rfold(0, |number, byte| number << 8 | u64::from(*byte))
}
