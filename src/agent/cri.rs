//! The log format of container runtimes (CRI): `TIME STREAM FLAGS MESSAGE`, where the flag `P` says that the message goes
//! on in the next line of the same stream, and `F` that it is whole.
//!
//! ```text
//! 2016-10-06T00:17:09.669794202Z stdout P first half, \n
//! 2016-10-06T00:17:09.669799999Z stderr F another one\n
//! 2016-10-06T00:17:09.669800001Z stdout F second half\n
//! ```
//! Fragments of the two streams may be interleaved, so records leave only where no message is open.

use bytes::{Bytes, BytesMut};

use super::cutter::{Bounds, Cut, SPLIT_HEADER};
use crate::{Record, Timestamp};

/// The header that names the stream.
pub(super) const STREAM_HEADER: &str = "stream";

/// A message of which more will come.
struct Open {
    stream: &'static str,
    time: Option<Timestamp>,
    text: BytesMut,
    lines: usize,
}

/// A line, taken apart.
struct Line<'a> {
    time: Option<Timestamp>,
    stream: &'static str,
    is_partial: bool,
    message: &'a [u8],
}

/// Cuts whole messages off the front.
pub(super) fn cut(bytes: &Bytes, bounds: Bounds, is_last: bool, cut: &mut Cut) {
    let (mut at, mut open): (usize, Vec<Open>) = (0, Vec::new());
    let mut records = Vec::new();
    // Runtimes split long messages themselves: a line that is far longer is not theirs, and is not read as theirs.
    while at < bytes.len() && cut.records.len() + records.len() < bounds.max_records {
        let rest = &bytes[at..];
        let seen = &rest[..rest.len().min(bounds.max_record_bytes + 1)];
        let (end, covered) = match memchr::memchr(b'\n', seen) {
            Some(end) => (end, end + 1),
            None if seen.len() > bounds.max_record_bytes => (bounds.max_record_bytes, bounds.max_record_bytes),
            None if is_last => (rest.len(), rest.len()),
            None => break,
        };
        at += covered;
        match parse(&rest[..end]) {
            Some(line) => take(&line, &mut open, &mut records, bounds),
            None => records.push(Record::new(bytes.slice(at - covered..at - covered + end))),
        }
        if open.is_empty()
            || (is_last && at == bytes.len())
            || at > bounds.max_record_bytes
            || cut.records.len() + records.len() + 2 >= bounds.max_records
        {
            // Nothing of a message that is open is lost: what there is of it leaves, and says that more follows.
            records.extend(open.drain(..).map(|open| finish(open, true)));
            cut.records.append(&mut records);
            cut.consumed = at;
        }
    }
}

fn take(line: &Line<'_>, open: &mut Vec<Open>, records: &mut Vec<Record>, bounds: Bounds) {
    let index = open.iter().position(|open| open.stream == line.stream).unwrap_or_else(|| {
        open.push(Open { stream: line.stream, time: line.time, text: BytesMut::new(), lines: 0 });
        open.len() - 1
    });
    let message = &mut open[index];
    message.text.extend_from_slice(line.message);
    message.lines += 1;
    let is_full = message.text.len() >= bounds.max_record_bytes || message.lines >= bounds.max_lines;
    if !line.is_partial || is_full {
        let message = open.remove(index);
        records.push(finish(message, line.is_partial));
    }
}

fn finish(open: Open, goes_on: bool) -> Record {
    let mut record = Record::new(open.text.freeze()).header(STREAM_HEADER, open.stream);
    record.timestamp = open.time;
    match goes_on {
        true => record.header(SPLIT_HEADER, "more"),
        false => record,
    }
}

fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, flags) = (fields.next()?, fields.next()?, fields.next()?);
    let message = fields.next().unwrap_or_default();
    let stream = match stream {
        b"stdout" => "stdout",
        b"stderr" => "stderr",
        _ => return None,
    };
    let is_partial = match flags.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Line { time: time_of(time), stream, is_partial, message })
}

/// Microseconds since 1970 of an RFC 3339 time with any fraction, in UTC or with an offset.
fn time_of(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_microsecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { max_record_bytes: 200, max_lines: 100, max_records: 100 };

    fn cut_of(text: &'static str, is_last: bool) -> Cut {
        let mut found = Cut::default();
        cut(&Bytes::from_static(text.as_bytes()), BOUNDS, is_last, &mut found);
        found
    }

    fn header<'a>(record: &'a Record, name: &str) -> Option<&'a [u8]> {
        record.headers.iter().find(|header| header.name == name).map(|header| &header.value[..])
    }

    #[test]
    fn fragments_are_joined_also_when_the_streams_alternate() {
        let text = "2016-10-06T00:17:09.669794202Z stdout P one, \n\
                    2016-10-06T00:17:10Z stderr F other\n\
                    2016-10-06T00:17:11Z stdout F two\n";
        let found = cut_of(text, false);
        assert_eq!(found.consumed, text.len());
        assert_eq!(
            found.records.iter().map(|record| &record.value[..]).collect::<Vec<_>>(),
            [&b"other"[..], b"one, two"]
        );
        assert_eq!(found.records[1].timestamp, Some(Timestamp(1_475_713_029_669_794)));
        assert_eq!(header(&found.records[0], STREAM_HEADER), Some(&b"stderr"[..]));
        assert_eq!(header(&found.records[1], SPLIT_HEADER), None);
    }

    #[test]
    fn a_message_waits_for_its_end_and_leaves_without_it_when_none_will_come() {
        let text = "2016-10-06T00:17:09Z stdout F whole\n2016-10-06T00:17:09Z stdout P half\n";
        let found = cut_of(text, false);
        assert_eq!((found.records.len(), found.consumed), (1, 36));
        let found = cut_of(text, true);
        assert_eq!((found.records.len(), found.consumed), (2, text.len()));
        assert_eq!(header(&found.records[1], SPLIT_HEADER), Some(&b"more"[..]));
    }

    #[test]
    fn what_is_not_of_the_format_is_kept_as_it_is() {
        let found = cut_of("no such thing\n2016-10-06T00:17:09Z stdout X y\n\n", false);
        let values: Vec<_> = found.records.iter().map(|record| &record.value[..]).collect();
        assert_eq!(values, [&b"no such thing"[..], b"2016-10-06T00:17:09Z stdout X y", b""]);
    }
}
