//! Batches and their records.

use bytes::Bytes;

use super::specification::assert_documented;
use crate::{
    limits::{BATCH_HEADER_BYTES, MAX_BATCH_BYTES},
    record::{Batch, Offset, Record, Stamp, Timestamp},
};

/// A batch that the server would store can be read by every consumer, record by record, as many as its header says; and
/// what a consumer can read from anywhere else, it can read without a panic.
///
/// Length and checksum are put right first, as a hostile producer would: otherwise nothing gets past them.
pub fn batch(data: &[u8]) {
    let mut bytes = data.to_vec();
    put_length_and_checksum_right(&mut bytes);
    match Batch::parse(Bytes::copy_from_slice(&bytes)).and_then(|batch| batch.records()) {
        Ok(records) => records.filter_map(Result::err).for_each(|error| assert_documented(&error)),
        Err(error) => assert_documented(&error),
    }
    let checked = match Batch::check(Bytes::copy_from_slice(&bytes)) {
        Ok(checked) => checked,
        Err(error) => return assert_documented(&error),
    };
    let count = u64::from(checked.header().record_count);
    Stamp { base_offset: Offset(7), append_time: Timestamp(9) }.write(&mut bytes);
    let stored = Batch::parse(Bytes::from(bytes)).expect("what was checked and stamped can be read");
    let records: Result<Vec<_>, _> = stored.records().expect("checked records decompress").collect();
    let records = records.expect("checked records decode");
    let (held, allowed): (usize, _) =
        (records.iter().map(|(_, record)| bytes_of(record)).sum(), stored.header().records_bytes);
    assert!(allowed as usize <= MAX_BATCH_BYTES, "records are over the limit of a batch");
    assert!(held <= allowed as usize, "records hold {held} bytes, the header allows {allowed}");
    let offsets = records.into_iter().map(|(offset, _)| offset.0);
    assert!(offsets.eq(7..7 + count), "offsets are dense, and as many as the header says");
    assert_eq!(stored.header().next_offset(), Offset(7 + count));
}

fn bytes_of(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    record.value.len() + record.key.as_ref().map_or(0, |key| key.len()) + headers
}

/// protocol.md section 5.1: the length is at 16, the checksum at 20, and it covers what follows it.
pub(super) fn put_length_and_checksum_right(batch: &mut [u8]) {
    let Ok(length) = u32::try_from(batch.len()) else { return };
    if batch.len() < BATCH_HEADER_BYTES {
        return;
    }
    batch[16..20].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(&batch[24..]);
    batch[20..24].copy_from_slice(&checksum.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::seeds::plain_batch, *};

    proptest! {
        #[test]
        fn any_records_hold_the_property_of_batches(how in 0u8..4, count in 1u8..4, records: Vec<u8>) {
            let mut data = plain_batch(&[Record::new("")]);
            data.truncate(BATCH_HEADER_BYTES);
            data[25] = how;
            data[28] = count;
            let records_bytes = u32::try_from(records.len()).expect("short");
            data[52..56].copy_from_slice(&records_bytes.to_le_bytes());
            data.extend(records);
            batch(&data);
        }

        #[test]
        fn any_bytes_hold_the_property_of_batches(data: Vec<u8>) {
            batch(&data);
        }
    }
}
