//! Batches as clients send them, and as none should.

use std::ops::Range;

use bytes::Bytes;
use connectify::{
    protocol::RegisterProducerAnswer,
    record::{Batch, BatchBuilder, Compression, Epoch, ProducerId, Record, Sequence, SequenceRange, Timestamp},
};
use uuid::Uuid;

/// Where the bytes under the checksum begin.
const CHECKED_FROM: usize = 24;

/// A batch with these values, for these sequences.
pub(crate) fn batch(producer: &RegisterProducerAnswer, sequences: Range<u64>, values: &[&str]) -> Bytes {
    compressed(producer, sequences, values, Compression::None)
}

/// A batch with these values, for these sequences, compressed.
pub(crate) fn compressed(
    producer: &RegisterProducerAnswer,
    sequences: Range<u64>,
    values: &[&str],
    compression: Compression,
) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(&Record::new(value.to_string()), Timestamp(1)).expect("within all limits");
    }
    let range = SequenceRange { start: Sequence(sequences.start), end: Sequence(sequences.end) };
    let id = ProducerId(Uuid::from_bytes(producer.producer_id));
    builder.finish(id, Epoch(producer.epoch), range, compression)
}

/// The batch with other bytes, its length and its checksum made right again.
pub(crate) fn forged(batch: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = batch.to_vec();
    change(&mut bytes);
    seal(&mut bytes);
    Bytes::from(bytes)
}

/// The batch with other records behind its header, which says that there are so many.
pub(crate) fn with_records(batch: &Bytes, attributes: u8, count: u32, encoded: &[u8], declared: usize) -> Bytes {
    forged(batch, |bytes| {
        bytes.truncate(connectify::limits::BATCH_HEADER_BYTES);
        bytes.extend_from_slice(encoded);
        bytes[25] = attributes;
        put_u32(bytes, 28, count);
        put_u32(bytes, 52, super::narrow(declared));
    })
}

pub(crate) fn put_u32(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

pub(crate) fn put_u64(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

/// Makes length and checksum right.
pub(crate) fn seal(bytes: &mut [u8]) {
    let length = super::narrow(bytes.len());
    put_u32(bytes, 16, length);
    let checksum = crc32c::crc32c(&bytes[CHECKED_FROM..]);
    put_u32(bytes, 20, checksum);
}

/// A varint of section 5.2.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A record as section 5.2 has it, whatever its limits: with these bytes between its length and its end.
pub(crate) fn record_of(body: &[u8]) -> Vec<u8> {
    [&varint(body.len() as u64), body].concat()
}

/// Offsets and values of stored batches, every one of them checked.
pub(crate) fn values(batches: &[Bytes]) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for bytes in batches {
        let batch = Batch::check(bytes.clone()).expect("what is stored is good");
        for record in batch.records().expect("what is stored is good") {
            let (offset, record) = record.expect("what is stored is good");
            found.push((offset.0, String::from_utf8(record.value.to_vec()).expect("tests write text")));
        }
    }
    found
}
