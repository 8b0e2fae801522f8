//! Lines of any bytes, cut from a stream in bounded memory.
//!
//! A line ends at `\n` and nowhere else; what stands before it, a `\r` included, is the line. The last line may lack its
//! end. Lines leave in pieces, many at a time, because one hand-over for each would cost more than the line itself.

use std::io::{self, Read};

use bytes::Bytes;

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// Reads pieces of whole lines.
pub(crate) struct LineReader<R> {
    input: R,
    /// What is read lands here and is copied out: a piece then holds its own bytes and not a buffer's, however little
    /// arrived at once.
    buffer: Box<[u8]>,
    /// The beginning of a line whose end has not been read.
    begun: Vec<u8>,
    max_line_bytes: usize,
}

/// Why there are no more lines.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// The input cannot be read.
    #[error("cannot read the input")]
    Read(#[from] io::Error),
    /// The next line is too long; it was not read to its end.
    #[error("line is longer than the limit of {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
}

impl<R: Read> LineReader<R> {
    pub(crate) fn new(input: R, max_line_bytes: usize) -> Self {
        Self::with_buffer(input, max_line_bytes, READ_BYTES)
    }

    fn with_buffer(input: R, max_line_bytes: usize, read_bytes: usize) -> Self {
        Self { input, buffer: vec![0; read_bytes.min(max_line_bytes)].into(), begun: Vec::new(), max_line_bytes }
    }

    /// The next lines, each with its end, except the last of the input if it has none; `None` at the end.
    ///
    /// Waits for one whole line, not for a full piece.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            let count = match self.input.read(&mut self.buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let new = &self.buffer[..count];
            // Only the first line of a piece can be longer than the buffer, because it alone began in an earlier one.
            let first_line = self.begun.len() + new.iter().position(|&byte| byte == b'\n').unwrap_or(count);
            if first_line > self.max_line_bytes {
                return Err(LineError::TooLong { limit: self.max_line_bytes });
            }
            if count == 0 {
                let last = std::mem::take(&mut self.begun);
                return Ok((!last.is_empty()).then(|| last.into()));
            }
            let whole = new.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            if whole > 0 {
                let piece = [&self.begun, &new[..whole]].concat();
                self.begun = new[whole..].to_vec();
                return Ok(Some(piece.into()));
            }
            self.begun.extend_from_slice(new);
        }
    }
}

/// The lines of a piece without their ends, sharing its memory.
pub(crate) fn lines(piece: &Bytes) -> impl Iterator<Item = Bytes> {
    let text = piece.strip_suffix(b"\n").unwrap_or(piece);
    text.split(|&byte| byte == b'\n').map(|line| piece.slice_ref(line))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives out its bytes a few at a time, as a pipe does.
    struct Trickle<'a> {
        rest: &'a [u8],
        counts: std::iter::Cycle<std::slice::Iter<'a, usize>>,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.rest.len().min(buffer.len()).min(*self.counts.next().expect("a cycle"));
            let (now, later) = self.rest.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.rest = later;
            Ok(count)
        }
    }

    fn read(reader: &mut LineReader<impl Read>) -> (Vec<Bytes>, Option<LineError>) {
        let mut found = Vec::new();
        loop {
            match reader.next_piece() {
                Ok(Some(piece)) => found.extend(lines(&piece)),
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(error)),
            }
        }
    }

    fn split(input: &[u8]) -> Vec<Bytes> {
        let (found, error) = read(&mut LineReader::new(input, 1 << 20));
        assert!(error.is_none(), "{error:?}");
        found
    }

    #[test]
    fn every_byte_but_the_line_end_is_kept() {
        assert_eq!(split(b""), Vec::<Bytes>::new());
        assert_eq!(split(b"\n"), [""]);
        assert_eq!(split(b"a"), ["a"]);
        assert_eq!(split(b"a\n"), ["a"]);
        assert_eq!(split(b"a\r\n\r\n\n b\t"), ["a\r", "\r", "", " b\t"]);
        assert_eq!(split(b"\xff\x00\xfe\n\x80"), [&b"\xff\x00\xfe"[..], b"\x80"]);
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_input_arrives(
            expected in prop::collection::vec("[a\r]{0,9}", 0..20),
            counts in prop::collection::vec(1usize..12, 1..9),
            end in prop::sample::select(vec!["", "\n"]),
        ) {
            // Without its end, an empty last line cannot be told from no line.
            prop_assume!(end == "\n" || expected.last().is_none_or(|line| !line.is_empty()));
            let text = if expected.is_empty() { String::new() } else { expected.join("\n") + end };
            let input = Trickle { rest: text.as_bytes(), counts: counts.iter().cycle() };
            let (found, error) = read(&mut LineReader::with_buffer(input, 9, 7));
            prop_assert!(error.is_none());
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_long_line_stops_the_reader_after_the_lines_before_it(
            before in prop::collection::vec("a{0,10}", 0..5),
            excess in 1usize..30,
            counts in prop::collection::vec(1usize..12, 1..9),
        ) {
            let text = before.iter().map(|line| format!("{line}\n")).collect::<String>() + &"b".repeat(10 + excess) + "\n";
            let input = Trickle { rest: text.as_bytes(), counts: counts.iter().cycle() };
            let (found, error) = read(&mut LineReader::with_buffer(input, 10, 7));
            prop_assert_eq!(found, before);
            let too_long = matches!(error, Some(LineError::TooLong { limit: 10 }));
            prop_assert!(too_long, "{error:?}");
        }
    }

    #[test]
    fn an_endless_line_is_given_up_after_the_limit() {
        let mut reader = LineReader::new(io::repeat(b'x'), 1 << 20);
        assert!(matches!(reader.next_piece(), Err(LineError::TooLong { limit: 1_048_576 })));
        assert!(reader.begun.capacity() <= 2 << 20);
    }
}
