//! Cutting the bytes of a source into records.
//!
//! A cut looks at the bytes behind everything that was cut before, takes whole records from their front, and says how many
//! bytes they cover. What is left over, such as a line that has not ended, comes again with more behind it. So there is
//! nothing to remember between cuts, but for a line so long that it leaves in parts.
//!
//! ```text
//!  ..."a\n" │ "first\n" "second\n" "thi"
//!    before │ ◀── 2 records, 13 ──▶ left over
//! ```

use bytes::Bytes;
use regex::bytes::Regex;

use super::cri;
use crate::Record;

/// The header of a record that is a part of a line: `more` follows, or it is the `end`.
pub const SPLIT_HEADER: &str = "split";

/// What makes a record.
#[derive(Clone, Debug, Default)]
pub enum Framing {
    /// A line, without the `\n` at its end.
    #[default]
    Lines,
    /// A line that matches, and those behind it that do not.
    Multiline(Regex),
    /// A line of a container's log (CRI): its message, with the fragments of it joined.
    Cri,
}

/// Bounds of one record.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A longer line leaves in parts of this size.
    pub max_record_bytes: usize,
    /// A group of lines, or the fragments of a message, ends after so many.
    pub max_lines: usize,
    /// Records that one cut takes: with what goes with each of them, they are to fit a batch.
    pub max_records: usize,
}

/// What was cut off.
#[derive(Debug, Default)]
pub struct Cut {
    /// Whole records.
    pub records: Vec<Record>,
    /// How many bytes at the front they cover; 0 only without records.
    pub consumed: usize,
    /// Whether the last record ends in the middle of a line.
    pub in_line: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Cutter {
    framing: Framing,
    bounds: Bounds,
}

impl Cutter {
    /// A cutter of this kind.
    #[must_use]
    pub fn new(framing: Framing, bounds: Bounds) -> Self {
        Self { framing, bounds }
    }

    /// The most that a cut may have to see at once before it takes something: less may be a record that has not ended.
    #[must_use]
    pub fn needs_bytes(&self) -> usize {
        // A group of lines ends where its bytes would be too many, and a fragment has some bytes before its message.
        2 * self.bounds.max_record_bytes
    }

    /// Cuts records off the front of `bytes`.
    ///
    /// `in_line`: they begin in the middle of a line, see [`Cut::in_line`]. `is_last`: nothing will follow, so what has not
    /// ended is a record as it is.
    #[must_use]
    pub fn cut(&self, bytes: &Bytes, in_line: bool, is_last: bool) -> Cut {
        let mut cut = Cut { in_line, ..Cut::default() };
        match &self.framing {
            Framing::Lines => self.lines(bytes, is_last, &mut cut),
            Framing::Multiline(start) => self.groups(bytes, start, is_last, &mut cut),
            Framing::Cri => cri::cut(bytes, self.bounds, is_last, &mut cut),
        }
        cut
    }

    fn lines(&self, bytes: &Bytes, is_last: bool, cut: &mut Cut) {
        while cut.records.len() < self.bounds.max_records && cut.consumed < bytes.len() {
            if !self.one_line(bytes, is_last, cut) {
                return;
            }
        }
    }

    /// Takes the next line, or a part of it.
    fn one_line(&self, bytes: &Bytes, is_last: bool, cut: &mut Cut) -> bool {
        let (at, limit) = (cut.consumed, self.bounds.max_record_bytes);
        let rest = &bytes[at..];
        // The limit and the end of the line: a line of just that size is whole.
        let seen = &rest[..rest.len().min(limit + 1)];
        let (end, covered, ends) = match memchr::memchr(b'\n', seen) {
            Some(end) => (end, end + 1, true),
            None if rest.len() > limit => (limit, limit, false),
            None if is_last => (rest.len(), rest.len(), true),
            None => return false,
        };
        let mut record = Record::new(bytes.slice(at..at + end));
        if cut.in_line || !ends {
            record = record.header(SPLIT_HEADER, if ends { "end" } else { "more" });
        }
        cut.records.push(record);
        cut.consumed += covered;
        cut.in_line = !ends;
        true
    }

    fn groups(&self, bytes: &Bytes, start: &Regex, is_last: bool, cut: &mut Cut) {
        while cut.records.len() < self.bounds.max_records && cut.consumed < bytes.len() {
            let at = cut.consumed;
            if cut.in_line {
                // The rest of a line that was too long for a record is a part of it, not of a group.
                match self.one_line(bytes, is_last, cut) {
                    true => continue,
                    false => return,
                }
            }
            let Some(end) = self.end_of_group(&bytes[at..], start, is_last) else { return };
            if end == 0 {
                if !self.one_line(bytes, is_last, cut) {
                    return;
                }
                continue;
            }
            let group = &bytes[at..at + end];
            let text = group.strip_suffix(b"\n").unwrap_or(group).len();
            cut.records.push(Record::new(bytes.slice(at..at + text)));
            cut.consumed += end;
        }
    }

    /// Where the group at the front ends; 0 when its first line alone is too long. `None`: it has not ended.
    fn end_of_group(&self, bytes: &[u8], start: &Regex, is_last: bool) -> Option<usize> {
        let (mut end, mut lines) = (0, 0);
        while end < bytes.len() {
            let rest = &bytes[end..];
            let newline = memchr::memchr(b'\n', rest);
            let line = &rest[..newline.unwrap_or(rest.len())];
            let is_too_long = end + line.len() > self.bounds.max_record_bytes;
            if is_too_long || (lines > 0 && (lines >= self.bounds.max_lines || start.is_match(line))) {
                // A line that has not ended may yet match, or not: its beginning decides only what it can.
                let decides = newline.is_some() || is_too_long || is_last || lines >= self.bounds.max_lines;
                return decides.then_some(end);
            }
            match newline {
                Some(newline) => end += newline + 1,
                None => return is_last.then_some(bytes.len()),
            }
            lines += 1;
        }
        is_last.then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { max_record_bytes: 10, max_lines: 3, max_records: 2 };

    fn texts(cut: &Cut) -> Vec<String> {
        let split = |record: &Record| {
            record
                .headers
                .iter()
                .map(|header| format!("[{}]", String::from_utf8_lossy(&header.value)))
                .collect::<String>()
        };
        let text = |record: &Record| format!("{}{}", String::from_utf8_lossy(&record.value), split(record));
        cut.records.iter().map(text).collect()
    }

    /// Cuts `text` with every size of what has arrived so far: the records must be the same, and cover all of it.
    #[track_caller]
    fn assert_cuts(framing: Framing, text: &str, expected: &[&str]) {
        let cutter = Cutter::new(framing, BOUNDS);
        for step in 1..=text.len() {
            let (mut at, mut arrived, mut in_line, mut found) = (0, 0, false, Vec::new());
            while at < text.len() {
                arrived = (arrived + step).min(text.len());
                let bytes = Bytes::copy_from_slice(&text.as_bytes()[at..arrived]);
                let cut = cutter.cut(&bytes, in_line, arrived == text.len());
                assert!(cut.consumed > 0 || cut.records.is_empty(), "{cut:?}");
                assert!(
                    cut.consumed > 0 || bytes.len() <= cutter.needs_bytes(),
                    "{} bytes are not enough",
                    bytes.len()
                );
                found.extend(texts(&cut));
                (at, in_line) = (at + cut.consumed, cut.in_line);
            }
            assert_eq!(found, expected, "in steps of {step}");
        }
    }

    #[test]
    fn lines_are_records_byte_by_byte() {
        assert_cuts(Framing::Lines, "one\n\ntwo\r\n \nlast", &["one", "", "two\r", " ", "last"]);
        let cut = Cutter::new(Framing::Lines, BOUNDS).cut(&Bytes::from_static(b"\xff\xfe\0\nx"), false, false);
        assert_eq!((&cut.records[0].value[..], cut.consumed), (&b"\xff\xfe\0"[..], 4));
    }

    #[test]
    fn a_long_line_is_split_and_says_so() {
        assert_cuts(Framing::Lines, "0123456789\nx\n", &["0123456789", "x"]);
        assert_cuts(Framing::Lines, "0123456789a\nx\n", &["0123456789[more]", "a[end]", "x"]);
        assert_cuts(Framing::Lines, "0123456789abcdefghij\ny\n", &["0123456789[more]", "abcdefghij[end]", "y"]);
    }

    #[test]
    fn groups_of_lines_begin_where_the_pattern_matches() {
        let framing = || Framing::Multiline(Regex::new("^[0-9]").expect("a pattern"));
        assert_cuts(framing(), "1 a\n b\n2 c\n3\n d\n", &["1 a\n b", "2 c", "3\n d"]);
        assert_cuts(framing(), "before\n1 a\n", &["before", "1 a"]);
        assert_cuts(framing(), "1\n2\n3\n", &["1", "2", "3"]);
    }

    #[test]
    fn groups_of_lines_are_bounded() {
        let framing = || Framing::Multiline(Regex::new("^[0-9]").expect("a pattern"));
        assert_cuts(framing(), "1\na\nb\nc\nd\n2\n", &["1\na\nb", "c\nd", "2"]);
        assert_cuts(framing(), "1\nabcdefgh\nij\n", &["1\nabcdefgh", "ij"]);
        assert_cuts(framing(), "1\nabcdefghijklm\nn\n2\n", &["1", "abcdefghij[more]", "klm[end]", "n", "2"]);
    }

    #[test]
    fn a_group_waits_for_the_line_that_ends_it() {
        let cutter = Cutter::new(Framing::Multiline(Regex::new("^[0-9]").expect("a pattern")), BOUNDS);
        let cut = cutter.cut(&Bytes::from_static(b"1 a\n b\n"), false, false);
        assert_eq!((cut.records.len(), cut.consumed), (0, 0));
    }
}
