//! What is encoded is decoded to the same values: by the crate, and by the reader that has nothing but protocol.md.

use bytes::Bytes;

use super::{
    differential::{batch_means_the_same, means_the_same},
    messages::{Kind, Message},
    source::Source,
    specification::{assert_documented, one_frame},
};
use crate::{
    limits::{BATCH_HEADER_BYTES, FRAME_HEADER_BYTES, MAX_CONTROL_BYTES, MAX_KEY_BYTES},
    record::{
        Batch, BatchBuilder, Compression, Epoch, Offset, ProducerId, Record, Sequence, SequenceRange, Stamp, Timestamp,
    },
};

/// A message, with batches if it has some, goes through a frame and comes out as it went in.
///
/// The first byte says which message; src/fuzzing/source.rs says what the others give.
pub fn round_trip(data: &[u8]) {
    if let Some((kind, bytes)) = Kind::choose(data) {
        (kind.round_trips)(bytes);
    }
}

pub(super) fn round_trips<M: Message>(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let message: M = source.make();
    let lengths = message.batch_lengths();
    let batches: Vec<_> = lengths.into_iter().map(|length| batch_bytes(&mut source, length as usize)).collect();
    let sent = message.encode(batches.clone());
    let received = one_frame(&sent);
    let control_bytes = sent.front.len() - 4 - FRAME_HEADER_BYTES;
    match M::decode(&received) {
        Ok(decoded) => assert_eq!(decoded, (message, batches)),
        Err(error) if control_bytes > MAX_CONTROL_BYTES => assert_documented(&error),
        Err(error) => panic!("{message:?} cannot be read back: {error}"),
    }
    means_the_same::<M>(&received.body);
}

/// What the source has left, and zeros behind it.
fn batch_bytes(source: &mut Source<'_>, length: usize) -> Bytes {
    let mut bytes = source.take(length).to_vec();
    bytes.resize(length, 0);
    bytes.into()
}

/// How often a value is repeated at most.
const MOST_REPEATS: usize = 8;

/// Records go through a batch, whatever its compression, and come out as they went in, with the stamp that the batch was
/// given on the way.
///
/// The bytes are read as those of a batch that is not compressed.
pub fn round_trip_batch(data: &[u8]) {
    let mut source = Source::new(data);
    let header: [u8; BATCH_HEADER_BYTES] = source.array();
    let first_timestamp = Timestamp(u64_at(&header, 72));
    let compression = [Compression::None, Compression::Lz4, Compression::Zstd][usize::from(header[25]) % 3];
    // The reserved bytes say how often each value is repeated, so that there is something to compress, and whether keys are
    // over the limit.
    let repeats = 1 + usize::from(header[26]) % MOST_REPEATS;
    let has_long_keys = header[27] == 0xff;
    let (mut builder, mut records) = (BatchBuilder::new(), Vec::new());
    while records.len() < 64 && (records.is_empty() || !source.is_spent()) {
        let bytes = source.varint();
        let bytes = source.take(usize::try_from(bytes).unwrap_or(usize::MAX));
        let record = record(bytes, first_timestamp, repeats, has_long_keys);
        let size = builder.size();
        match builder.push(&record, first_timestamp) {
            Ok(()) => records.push(Record { timestamp: record.timestamp.or(Some(first_timestamp)), ..record }),
            Err(error) => {
                assert_documented(&error);
                assert_eq!(builder.size(), size, "a record that is refused leaves the batch as it was");
                break;
            }
        }
    }
    if records.is_empty() {
        return;
    }
    let start = Sequence(u64_at(&header, 56).min(u64::MAX - 1));
    let range = SequenceRange { start, end: Sequence(u64_at(&header, 64).max(start.0 + 1)) };
    assert_eq!(SequenceRange::counting(start, range.width()), range);
    assert_eq!(Timestamp::from(first_timestamp.to_system_time()), first_timestamp);
    let producer = ProducerId(uuid::Uuid::from_bytes(header[32..48].try_into().expect("16 bytes")));
    let epoch = Epoch(u32::from_le_bytes(header[48..52].try_into().expect("4 bytes")));
    let built = builder.finish(producer, epoch, range, compression);
    let stamp = Stamp { base_offset: Offset(u64_at(&header, 0) >> 1), append_time: Timestamp(u64_at(&header, 8)) };
    let batch = stamped(built, stamp);
    let seen = batch.header();
    assert_eq!((seen.producer, seen.epoch, seen.sequence, seen.stamp), (producer, epoch, range, stamp));
    assert!(seen.compression == compression || seen.compression == Compression::None);
    assert_eq!(seen.next_offset(), stamp.base_offset.plus(records.len() as u64));
    let found: Result<Vec<_>, _> = batch.records().expect("just built").collect();
    let offsets = (stamp.base_offset.0..).map(Offset);
    assert_eq!(found.expect("just built"), offsets.zip(records).collect::<Vec<_>>());
    batch_means_the_same(batch.as_bytes());
}

/// The batch on its way from the producer through the server's checks to the consumer.
fn stamped(built: Bytes, stamp: Stamp) -> Batch {
    let mut bytes = Batch::check(built).expect("what was built can be stored").into_bytes().to_vec();
    stamp.write(&mut bytes);
    assert_eq!(Stamp::read(&bytes), Ok(stamp));
    Batch::parse(Bytes::from(bytes)).expect("a stamp is not under the checksum")
}

fn record(bytes: &[u8], first_timestamp: Timestamp, repeats: usize, has_long_keys: bool) -> Record {
    let mut source = Source::new(bytes);
    let delta = source.varint();
    let counted = |source: &mut Source<'_>| {
        let length = source.varint();
        source.take(usize::try_from(length).unwrap_or(usize::MAX)).to_vec()
    };
    let key = source.varint().checked_sub(1).map(|length| source.take(usize::try_from(length).unwrap_or(usize::MAX)));
    let mut record = Record::default();
    for _ in 0..source.varint().min(65) {
        let name = String::from_utf8_lossy(&counted(&mut source)).into_owned();
        record = record.header(name, counted(&mut source));
    }
    if let Some(key) = key {
        record = record.key(key.repeat(if has_long_keys { MAX_KEY_BYTES } else { 1 }));
    }
    let magnitude = (delta >> 1).cast_signed();
    let delta = if delta & 1 == 0 { magnitude } else { -magnitude - 1 };
    if delta != 0 {
        record = record.timestamp(Timestamp(first_timestamp.0.wrapping_add_signed(delta)));
    }
    Record { value: source.take(usize::MAX).repeat(repeats).into(), ..record }
}

fn u64_at(header: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(header[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_of_any_bytes_come_back(message: u8, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            round_trip(&[&[message], &bytes[..]].concat());
        }

        #[test]
        fn batches_of_any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            round_trip_batch(&bytes);
        }
    }
}
