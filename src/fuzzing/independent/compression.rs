//! Section 5.3: LZ4 blocks and Zstandard frames, which come out exactly as long as was said, or not at all.

use std::io::{BufReader, Read};

/// A raw LZ4 block: sequences of literals and matches, the last of literals alone.
pub(crate) fn lz4_block(block: &[u8], declared: usize) -> Option<Vec<u8>> {
    let (mut rest, mut out) = (block, Vec::new());
    // Where the last match begins and ends, if there is one.
    let mut last_match = 0..0;
    loop {
        let token = take(&mut rest, 1)?[0];
        let literals = lz4_length(token >> 4, &mut rest)?;
        out.extend_from_slice(take(&mut rest, literals)?);
        if rest.is_empty() {
            let has_end =
                last_match.is_empty() || (last_match.start + 12 <= declared && last_match.end + 5 <= declared);
            return (has_end && out.len() == declared).then_some(out);
        }
        let distance = usize::from(u16::from_le_bytes(take(&mut rest, 2)?.try_into().ok()?));
        let matched = lz4_length(token & 15, &mut rest)? + 4;
        if distance == 0 || distance > out.len() || out.len() + matched > declared {
            return None;
        }
        last_match = out.len()..out.len() + matched;
        (0..matched).for_each(|_| out.push(out[out.len() - distance]));
    }
}

/// Four bits, and the bytes that go on from 15.
fn lz4_length(nibble: u8, rest: &mut &[u8]) -> Option<usize> {
    let (mut length, mut goes_on) = (usize::from(nibble), nibble == 15);
    while goes_on {
        let byte = take(rest, 1)?[0];
        length += usize::from(byte);
        goes_on = byte == 255;
    }
    Some(length)
}

/// Windows are at most 8 MiB, says section 5.3.
const MAX_WINDOW_BYTES: u64 = 8 << 20;

/// One Zstandard frame. What its blocks mean is left to the library; the frame around them is read here, by
/// RFC 8878, section 3.1.1.
pub(crate) fn zstd_frame(frame: &[u8], declared: usize) -> Option<Vec<u8>> {
    let mut rest = frame;
    if take(&mut rest, 4)? != [0x28, 0xb5, 0x2f, 0xfd] {
        return None;
    }
    let descriptor = take(&mut rest, 1)?[0];
    let (is_single_segment, has_checksum) = (descriptor & 0x20 != 0, descriptor & 4 != 0);
    let window = if is_single_segment { None } else { Some(take(&mut rest, 1)?[0]) };
    let dictionary = little_endian(take(&mut rest, [0, 1, 2, 4][usize::from(descriptor & 3)])?);
    let content = match descriptor >> 6 {
        0 if !is_single_segment => None,
        0 => Some(little_endian(take(&mut rest, 1)?)),
        1 => Some(little_endian(take(&mut rest, 2)?) + 256),
        2 => Some(little_endian(take(&mut rest, 4)?)),
        _ => Some(little_endian(take(&mut rest, 8)?)),
    };
    let window_bytes = window.map(|byte| {
        let base = 1u64 << (10 + (byte >> 3));
        base + base / 8 * u64::from(byte & 7)
    });
    let is_window_allowed = window_bytes.or(content).is_some_and(|bytes| bytes <= MAX_WINDOW_BYTES);
    let is_content_right = content.is_none_or(|bytes| bytes == declared as u64);
    if descriptor & 8 != 0 || dictionary != 0 || !is_window_allowed || !is_content_right {
        return None;
    }
    skip_blocks(&mut rest, window_bytes.or(content)?)?;
    take(&mut rest, if has_checksum { 4 } else { 0 })?;
    if !rest.is_empty() {
        return None;
    }
    // A reader may decode in one go or as the bytes arrive; the library judges some frames only in one of the two.
    let mut whole = vec![0; declared];
    let written = zstd::bulk::decompress_to_buffer(frame, &mut whole).ok()?;
    let stream = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(64, frame)).ok()?;
    let mut out = Vec::new();
    stream.take(declared as u64 + 1).read_to_end(&mut out).ok()?;
    (written == declared && out.len() == declared).then_some(out)
}

/// No block is larger than the window, nor than 128 KiB (RFC 8878, section 3.1.1.2.4).
fn skip_blocks(rest: &mut &[u8], window_bytes: u64) -> Option<()> {
    loop {
        let header = little_endian(take(rest, 3)?);
        let size = header >> 3;
        if size > window_bytes.min(128 << 10) {
            return None;
        }
        take(rest, if header >> 1 & 3 == 1 { 1 } else { usize::try_from(size).ok()? })?; // a run is one byte
        if header & 1 == 1 {
            return Some(());
        }
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rfold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}
