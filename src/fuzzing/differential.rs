//! The crate against the reader that has nothing but protocol.md: both take the same bytes, or neither, and to both they
//! mean the same.

use std::fmt::{self, Debug, Write};

use bytes::Bytes;

use super::{
    batch::put_length_and_checksum_right,
    independent::{batch::DecodedRecord, names},
    messages::{Kind, Message, frame_of},
    specification::{SPECIFICATION, assert_documented},
};
use crate::{
    protocol::ErrorCode,
    record::{Batch, BatchHeader, Record, TopicName, check_name},
};

/// A body is taken or refused by both, and its fields have the same names and values. So are names, for which the body and
/// each word in it are taken.
///
/// The first byte says which message.
pub fn differential(data: &[u8]) {
    let Some((kind, body)) = Kind::choose(data) else { return };
    (kind.means_the_same)(body);
    for text in body.split(|byte| !byte.is_ascii_graphic()).chain([body]) {
        if let Ok(name) = std::str::from_utf8(text) {
            names_are_judged_alike(name);
        }
    }
}

pub(super) fn means_the_same<M: Message>(body: &[u8]) {
    match (M::decode(&frame_of(body)), SPECIFICATION.layouts.body(M::NAME, body)) {
        (Err(_), Err(_)) => {}
        (Ok((message, _)), Ok(decoded)) => {
            assert!(is_shown_as(&message, &decoded.debug), "{message:?} is {} to protocol.md", decoded.debug);
        }
        (ours, theirs) => {
            let theirs = theirs.map(|decoded| decoded.debug);
            panic!("{}: the crate says {ours:?}, protocol.md says {theirs:?}", M::NAME)
        }
    }
}

/// Whether `Debug` shows a value as this text.
fn is_shown_as(value: &impl Debug, text: &str) -> bool {
    /// What is still to come.
    struct Rest<'a>(&'a str);
    impl Write for Rest<'_> {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(piece).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    write!(rest, "{value:?}").is_ok() && rest.0.is_empty()
}

fn names_are_judged_alike(name: &str) {
    let layouts = &SPECIFICATION.layouts;
    let (topic, other) = (TopicName::new(name), check_name(name));
    assert_eq!(topic.is_ok(), names::is_topic_name(layouts, name), "{name:?} as the name of a topic");
    assert_eq!(other.is_ok(), names::is_name(layouts, name), "{name:?} as a name");
    if let Ok(topic) = &topic {
        assert_eq!((topic.as_str(), topic.to_string()), (name, name.to_owned()));
    }
    for refusal in [topic.map(drop), other].into_iter().filter_map(Result::err) {
        assert_documented(&refusal);
    }
}

/// A batch is taken or refused by both, for a fault that it has; what both take has the same header and records.
pub fn differential_batch(data: &[u8]) {
    batch_means_the_same(data);
    let mut bytes = data.to_vec();
    put_length_and_checksum_right(&mut bytes);
    batch_means_the_same(&bytes);
}

pub(super) fn batch_means_the_same(bytes: &[u8]) {
    match (Batch::check(Bytes::copy_from_slice(bytes)), SPECIFICATION.batches.decode(bytes, &mut ())) {
        (Err(error), Err(faults)) => {
            let code = ErrorCode::from(&error).name();
            assert!(faults.contains(&code), "the crate says {error}, which is {code}; the faults are {faults:?}");
        }
        (Ok(batch), Ok(decoded)) => {
            let header = decoded.header.iter().map(|(name, number)| (name.as_str(), *number));
            assert!(header.eq(fields(batch.header())), "{:?} is {:?} to protocol.md", batch.header(), decoded.header);
            let records = batch.records().map(Iterator::collect::<Result<Vec<_>, _>>);
            // A stamp can leave no offsets for the records. It is not under the checksum, and the server's to write.
            let Ok(records) = records else { return assert!(u64::MAX - batch.header().stamp.base_offset.0 < 65_536) };
            let records = records.expect("the batch was checked").into_iter().map(|(_, record)| as_decoded(record));
            assert!(records.eq(decoded.records), "the records are others to protocol.md");
        }
        (ours, theirs) => {
            let theirs = theirs.map(|decoded| decoded.header);
            panic!("the crate says {ours:?}, protocol.md says {theirs:?}")
        }
    }
}

/// The table of section 5.1.
fn fields(header: &BatchHeader) -> [(&'static str, u128); 14] {
    [
        ("base offset", header.stamp.base_offset.0.into()),
        ("append time", header.stamp.append_time.0.into()),
        ("batch length", header.batch_bytes.into()),
        ("checksum", header.checksum.into()),
        ("version", 1),
        ("attributes", header.compression as u128),
        ("reserved", 0),
        ("record count", header.record_count.into()),
        ("producer id", u128::from_le_bytes(*header.producer.0.as_bytes())),
        ("producer epoch", header.epoch.0.into()),
        ("records length", header.records_bytes.into()),
        ("sequence start", header.sequence.start.0.into()),
        ("sequence end", header.sequence.end.0.into()),
        ("first timestamp", header.first_timestamp.0.into()),
    ]
}

fn as_decoded(record: Record) -> DecodedRecord {
    let headers = record.headers.into_iter().map(|header| (header.name, header.value.to_vec()));
    DecodedRecord {
        timestamp: record.timestamp.expect("stored records have one").0,
        key: record.key.map(|key| key.to_vec()),
        headers: headers.collect(),
        value: record.value.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_hold_the_property_of_two_readers(message: u8, body in prop::collection::vec(any::<u8>(), 0..80)) {
            differential(&[&[message], &body[..]].concat());
        }

        #[test]
        fn any_text_is_a_name_to_both_or_to_none(name in ".{0,5}|[a-z.]{0,210}") {
            names_are_judged_alike(&name);
        }
    }

    #[test]
    fn a_value_is_shown_as_its_own_text_alone() {
        assert!(is_shown_as(&Some("a"), "Some(\"a\")"));
        assert!(!is_shown_as(&Some("a"), "Some(\"a\") "));
        assert!(!is_shown_as(&Some("a"), "Some(\"b\")"));
        assert!(!is_shown_as(&Some("a"), "Some(\"a\""));
    }
}
