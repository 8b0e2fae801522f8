//! The plain text of a file that is compressed with gzip, read from front to back.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;

/// The first bytes of every such file.
const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Unpacked at once.
const STEP_BYTES: usize = 64 * 1024;

/// A reader that keeps what was unpacked and not taken yet.
pub(super) struct Plain {
    decoder: MultiGzDecoder<Positioned>,
    /// Plain text from `start` on.
    buffer: BytesMut,
    start: u64,
    has_ended: bool,
}

/// A file that is read without moving the position that others share.
struct Positioned {
    file: Arc<File>,
    at: u64,
}

impl Read for Positioned {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").field("start", &self.start).finish_non_exhaustive()
    }
}

/// Whether a file begins as a compressed one does.
pub(super) fn is_compressed(file: &File) -> bool {
    let mut first = [0; 2];
    file.read_exact_at(&mut first, 0).is_ok() && first == MAGIC
}

impl Plain {
    pub(super) fn new(file: Arc<File>) -> Self {
        let decoder = MultiGzDecoder::new(Positioned { file, at: 0 });
        Self { decoder, buffer: BytesMut::new(), start: 0, has_ended: false }
    }

    /// Up to `max_bytes` of plain text from `at` on, which is not before the last position; and whether that is the end.
    ///
    /// # Errors
    /// When the file is damaged or cut off. What stands before is given first.
    pub(super) fn read(&mut self, at: u64, max_bytes: usize) -> io::Result<(Bytes, bool)> {
        while !self.has_ended && self.start + self.buffer.len() as u64 <= at {
            self.start += self.buffer.len() as u64;
            self.buffer.clear();
            self.fill()?;
        }
        let skip = usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX).min(self.buffer.len());
        bytes::Buf::advance(&mut self.buffer, skip);
        self.start += skip as u64;
        while !self.has_ended && self.buffer.len() < max_bytes {
            match self.fill() {
                Err(error) if self.buffer.is_empty() => return Err(error),
                Err(_) => break,
                Ok(()) => {}
            }
        }
        let taken = &self.buffer[..self.buffer.len().min(max_bytes)];
        Ok((Bytes::copy_from_slice(taken), self.has_ended && taken.len() == self.buffer.len()))
    }

    fn fill(&mut self) -> io::Result<()> {
        let before = self.buffer.len();
        self.buffer.resize(before + STEP_BYTES, 0);
        let result = self.decoder.read(&mut self.buffer[before..]);
        self.buffer.truncate(before + *result.as_ref().unwrap_or(&0));
        self.has_ended |= result? == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn compressed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("written");
        encoder.finish().expect("finished")
    }

    fn file_with(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        Arc::new(file)
    }

    #[test]
    fn plain_text_is_read_from_any_position_also_across_members() {
        let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let (first, second) = text.split_at(500_000);
        let file = file_with(&[compressed(first), compressed(second)].concat());
        assert!(is_compressed(&file));
        let mut plain = Plain::new(Arc::clone(&file));
        let (mut at, mut found) = (0, Vec::new());
        loop {
            let (bytes, is_last) = plain.read(at, 70_000).expect("readable");
            // Not all of it is taken: the rest comes again.
            let taken = bytes.len() - bytes.len() / 3 * usize::from(!is_last);
            found.extend_from_slice(&bytes[..taken]);
            at += taken as u64;
            if is_last {
                break;
            }
        }
        assert!(found == text);
        let (bytes, _) = Plain::new(file).read(1_000_000, 10).expect("readable");
        assert_eq!(bytes, text[1_000_000..1_000_010]);
    }

    #[test]
    fn a_file_that_is_cut_off_gives_what_there_is_and_then_an_error() {
        let text = vec![b'x'; 1000];
        let bytes = compressed(&text);
        let mut plain = Plain::new(file_with(&bytes[..bytes.len() - 8]));
        let (found, is_last) = plain.read(0, 10_000).expect("there is some");
        assert!(!is_last && found == text);
        plain.read(1000, 10).expect_err("it is cut off");
    }
}
