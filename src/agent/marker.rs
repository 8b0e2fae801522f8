//! The last bytes before a position of a file, by which it is seen that the file is still the same there: one that was
//! truncated and has grown again has other bytes.

use std::{fs::File, io, os::unix::fs::FileExt};

use serde::{Deserialize, Serialize};

/// How many bytes are compared.
pub(super) const MARKER_BYTES: usize = 64;

/// Some last bytes, at most [`MARKER_BYTES`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker(Box<[u8]>);

impl Marker {
    /// Of what was read last.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(bytes[bytes.len().saturating_sub(MARKER_BYTES)..].into())
    }

    /// Of a file before a position.
    ///
    /// # Errors
    /// When the file cannot be read there.
    pub(super) fn read(file: &File, end: u64) -> io::Result<Self> {
        let length = end.min(MARKER_BYTES as u64);
        let mut bytes = vec![0; usize::try_from(length).expect("at most 64")];
        file.read_exact_at(&mut bytes, end - length)?;
        Ok(Self(bytes.into()))
    }

    /// Goes on with what follows.
    pub(super) fn advance(&mut self, bytes: &[u8]) {
        *self = match bytes.len() >= MARKER_BYTES {
            true => Self::of(bytes),
            false => Self::of(&[&self.0, bytes].concat()),
        };
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether a file has these bytes before a position.
    pub(super) fn is_before(&self, file: &File, end: u64) -> bool {
        let mut bytes = [0; MARKER_BYTES];
        let bytes = &mut bytes[..self.0.len()];
        let Some(start) = end.checked_sub(bytes.len() as u64) else { return false };
        file.read_exact_at(bytes, start).is_ok() && *bytes == *self.0
    }

    /// Whether the position is behind the end of a line, or at the beginning.
    pub(super) fn is_at_line_start(&self) -> bool {
        self.0.last().is_none_or(|last| *last == b'\n')
    }

    /// Whether a text ends with the same few bytes.
    pub(super) fn ends_as(&self, value: &[u8]) -> bool {
        let text = self.0.strip_suffix(b"\n").unwrap_or(&self.0);
        let same = text.iter().rev().zip(value.iter().rev()).take_while(|(a, b)| a == b).count();
        !text.is_empty() && same >= value.len().min(8)
    }

    /// Whether a record that was stored last agrees with these bytes: it is what stands before the end of the line.
    pub(super) fn agrees_with(&self, value: &[u8]) -> bool {
        let text = self.0.strip_suffix(b"\n").unwrap_or(&self.0);
        let length = text.len().min(value.len());
        text[text.len() - length..] == value[value.len() - length..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_however_the_bytes_came() {
        let bytes: Vec<u8> = (0..200).collect();
        let mut marker = Marker::default();
        for piece in bytes.chunks(7) {
            marker.advance(piece);
        }
        assert_eq!(marker, Marker::of(&bytes));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &bytes).expect("written");
        assert_eq!(Marker::read(file.as_file(), 200).expect("read"), marker);
        assert!(marker.is_before(file.as_file(), 200));
        assert!(!marker.is_before(file.as_file(), 199));
        assert!(!marker.is_before(file.as_file(), 201), "beyond the end of the file");
        assert!(!marker.is_before(file.as_file(), 10));
    }

    #[test]
    fn a_stored_record_is_compared_with_the_line_that_it_was() {
        let marker = Marker::of(b"first\nsecond line\n");
        assert!(marker.agrees_with(b"second line"));
        assert!(marker.agrees_with(b"a longer one, first\nsecond line"));
        assert!(!marker.agrees_with(b"second lime"));
        assert!(Marker::of(b"no end").agrees_with(b"no end"));
        assert!(marker.is_at_line_start() && Marker::default().is_at_line_start());
        assert!(!Marker::of(b"x").is_at_line_start());
    }
}
