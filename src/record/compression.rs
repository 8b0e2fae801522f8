//! Compression of a batch's records, and decompression that is bounded while it runs.

use std::io::Read;

use super::{BatchError, zstd_frame};
use crate::limits::MAX_BATCH_BYTES;

/// How the records of a batch are compressed. The number is the one in the batch header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// One raw LZ4 block: fastest.
    Lz4 = 1,
    /// One Zstandard frame, written at level 1: smallest.
    Zstd = 2,
}

/// The largest factor by which an LZ4 block can expand.
const LZ4_MAX_RATIO: usize = 255;
/// No batch needs a larger window: 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
const ZSTD_LEVEL: i32 = 1;
/// By which what is worth compressing expands; memory for more is set aside when more comes.
const USUAL_RATIO: usize = 8;

impl Compression {
    pub(super) fn from_attributes(attributes: u8) -> Result<Self, BatchError> {
        match attributes {
            0 => Ok(Self::None),
            1 => Ok(Self::Lz4),
            2 => Ok(Self::Zstd),
            other => Err(BatchError::Compression(other)),
        }
    }

    /// The compressed form, or `None` when compression is off or would not make the records smaller.
    pub(super) fn compress(self, records: &[u8]) -> Option<Vec<u8>> {
        let compressed = match self {
            Self::None => return None,
            Self::Lz4 => lz4_flex::block::compress(records),
            Self::Zstd => zstd::bulk::compress(records, ZSTD_LEVEL).ok()?,
        };
        (compressed.len() < records.len()).then_some(compressed)
    }

    /// Decompresses into exactly `declared` bytes.
    ///
    /// Memory is bounded by `declared`, which is bounded by [`MAX_BATCH_BYTES`], whatever the bytes would expand to.
    pub(super) fn decompress(self, compressed: &[u8], declared: usize) -> Result<Vec<u8>, BatchError> {
        assert!(declared <= MAX_BATCH_BYTES, "the header was checked before its records are read");
        match self {
            Self::None => Err(BatchError::Decompress("not compressed")),
            Self::Lz4 => decompress_lz4(compressed, declared),
            Self::Zstd => decompress_zstd(compressed, declared),
        }
    }
}

fn decompress_lz4(compressed: &[u8], declared: usize) -> Result<Vec<u8>, BatchError> {
    // A short block cannot become long: refuse before memory is set aside for it.
    if declared > compressed.len().saturating_mul(LZ4_MAX_RATIO) {
        return Err(BatchError::Decompress("shorter than declared"));
    }
    let mut out = vec![0; declared];
    match lz4_flex::block::decompress_into(compressed, &mut out) {
        Ok(written) if written == declared => match ends_as_every_decoder_wants(compressed) {
            Some(true) => Ok(out),
            _ => Err(BatchError::Decompress("an lz4 block that does not end in literals as the format asks")),
        },
        Ok(_) => Err(BatchError::Decompress("shorter than declared")),
        Err(lz4_flex::block::DecompressError::OutputTooSmall { .. }) => Err(BatchError::Expands { declared }),
        Err(_) => Err(BatchError::Decompress("not an lz4 block")),
    }
}

/// Whether a block ends as LZ4's block format asks: behind a match there are five literals at least, and no match begins
/// in the last twelve bytes. Our decoder takes others, too; the reference decoder does not. `None`: not a block.
fn ends_as_every_decoder_wants(block: &[u8]) -> Option<bool> {
    let (mut rest, mut matched) = (block, None);
    loop {
        let (&token, after) = rest.split_first()?;
        rest = after;
        let literals = lz4_length(token >> 4, &mut rest)?;
        rest = rest.get(literals..)?;
        if rest.is_empty() {
            return Some(matched.is_none_or(|matched| literals >= 5 && matched + literals >= 12));
        }
        rest = rest.get(2..)?; // the match's distance
        matched = Some(lz4_length(token & 0x0f, &mut rest)? + 4);
    }
}

/// Four bits, and when they are 15 the bytes that go on.
fn lz4_length(bits: u8, rest: &mut &[u8]) -> Option<usize> {
    let mut length = usize::from(bits);
    if bits < 15 {
        return Some(length);
    }
    loop {
        let (&more, after) = rest.split_first()?;
        *rest = after;
        length += usize::from(more);
        if more < 255 {
            return Some(length);
        }
    }
}

fn decompress_zstd(compressed: &[u8], declared: usize) -> Result<Vec<u8>, BatchError> {
    zstd_frame::check(compressed, declared)?;
    let bad_zstd = |_| BatchError::Decompress("not a zstd frame");
    // Given a whole frame that says its size, the library decodes it in one go, and then does not ask whether a block becomes
    // longer than it may. In two pieces it does.
    let (first, rest) = compressed.split_at(1);
    let mut decoder = zstd::stream::read::Decoder::with_buffer(first.chain(rest)).map_err(bad_zstd)?.single_frame();
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(bad_zstd)?;
    // The vector grows with what really comes out, in one step; one byte more than declared is enough to know.
    let usual = declared.min(compressed.len().saturating_mul(USUAL_RATIO));
    let mut out = Vec::with_capacity(usual + 1);
    for most in [usual, declared + 1] {
        out.reserve_exact(most - out.len());
        let mut bounded = decoder.by_ref().take((most - out.len()) as u64);
        bounded.read_to_end(&mut out).map_err(bad_zstd)?;
        if out.len() < most {
            break;
        }
    }
    if out.len() > declared {
        return Err(BatchError::Expands { declared });
    }
    if out.len() < declared {
        return Err(BatchError::Decompress("shorter than declared"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expands_beyond_its_declaration_is_stopped() {
        let zeros = vec![0; 1 << 20];
        for compression in [Compression::Lz4, Compression::Zstd] {
            let bomb = compression.compress(&zeros).expect("zeros compress");
            assert_eq!(compression.decompress(&bomb, zeros.len()).expect("as declared"), zeros);
            assert_eq!(compression.decompress(&bomb, 1000), Err(BatchError::Expands { declared: 1000 }));
            assert!(matches!(compression.decompress(&bomb, zeros.len() + 1), Err(BatchError::Decompress(_))));
            assert!(matches!(
                compression.decompress(&bomb[..bomb.len() - 1], zeros.len()),
                Err(BatchError::Decompress(_))
            ));
            assert!(matches!(compression.decompress(b"", 10), Err(BatchError::Decompress(_))));
        }
    }

    #[test]
    fn bytes_after_a_zstd_frame_are_refused() {
        let mut bytes = Compression::Zstd.compress(&[7; 500]).expect("repeats compress");
        bytes.push(0);
        assert!(matches!(Compression::Zstd.decompress(&bytes, 500), Err(BatchError::Decompress(_))));
    }

    /// The decoder took blocks that the reference implementation of LZ4 refuses, so one client could append what no client
    /// with the reference can read.
    #[test]
    fn an_lz4_block_ends_as_every_decoder_wants_it() {
        let block = |matched: u8, literals: u8| {
            let last = (0..literals).chain([literals << 4]).rev().collect::<Vec<_>>();
            [&[0x60 | (matched - 4)][..], b"abcdef", &[1, 0], &last].concat()
        };
        for (matched, literals, is_allowed) in
            [(8, 0, false), (8, 4, false), (8, 5, true), (7, 5, true), (6, 5, false), (6, 6, true), (15, 4, false)]
        {
            let decompressed =
                Compression::Lz4.decompress(&block(matched, literals), usize::from(6 + matched + literals));
            assert_eq!(decompressed.is_ok(), is_allowed, "a match of {matched}, {literals} literals: {decompressed:?}");
        }
        let without_a_match = Compression::Lz4.decompress(&[0x10, b'a'], 1);
        assert_eq!(without_a_match, Ok(b"a".to_vec()));
    }

    /// A fuzzer found it: eight bytes that a decoder is to pass over were taken for a frame without content.
    #[test]
    fn a_skippable_frame_is_not_a_frame() {
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7];
        assert!(matches!(Compression::Zstd.decompress(&skippable, 0), Err(BatchError::Decompress(_))));
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        assert_eq!(Compression::Lz4.compress(b"abc"), None);
        assert_eq!(Compression::None.compress(&[0; 1000]), None);
    }
}
