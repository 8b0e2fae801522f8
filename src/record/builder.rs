//! Building a batch, record by record.

use bytes::Bytes;

use super::{
    BatchError, BatchHeader, Compression, Epoch, ProducerId, Record, SequenceRange, Stamp, Timestamp, layout, varint,
};
use crate::limits::{BATCH_HEADER_BYTES, MAX_BATCH_BYTES, MAX_BATCH_RECORDS};

/// Encodes records one after the other into one buffer, which becomes the batch.
///
/// ```
/// # use connectify::record::{Batch, BatchBuilder, Compression, Epoch, ProducerId, Sequence, SequenceRange, Timestamp};
/// # use connectify::Record;
/// let mut builder = BatchBuilder::new();
/// builder.push(&Record::new("one"), Timestamp(7)).unwrap();
/// builder.push(&Record::new("two"), Timestamp(8)).unwrap();
/// let range = SequenceRange::counting(Sequence(0), 2);
/// let bytes = builder.finish(ProducerId::default(), Epoch(1), range, Compression::None);
/// assert_eq!(Batch::check(bytes).unwrap().header().record_count, 2);
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records.
    bytes: Vec<u8>,
    record_count: u32,
    first_timestamp: Timestamp,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty batch with room for `record_bytes` bytes of encoded records.
    #[must_use]
    pub fn with_capacity(record_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(BATCH_HEADER_BYTES + record_bytes);
        bytes.resize(BATCH_HEADER_BYTES, 0);
        Self { bytes, record_count: 0, first_timestamp: Timestamp(0) }
    }

    /// Adds a record; `now` is the timestamp of one that has none.
    ///
    /// # Errors
    /// [`BatchError::RecordTooLarge`] or [`BatchError::Malformed`] when the record is over a limit by itself;
    /// [`BatchError::TooLarge`] when this batch has no room for it, and another one would. The batch is as it was.
    pub fn push(&mut self, record: &Record, now: Timestamp) -> Result<(), BatchError> {
        let timestamp = record.timestamp.unwrap_or(now);
        let first = if self.is_empty() { timestamp } else { self.first_timestamp };
        let delta = timestamp.0.wrapping_sub(first.0).cast_signed();
        if first.0.checked_add_signed(delta) != Some(timestamp.0) {
            return Err(BatchError::Malformed("timestamp is out of range"));
        }
        let body_len = layout::body_len(record, delta);
        let encoded_len = varint::len(body_len as u64) + body_len;
        layout::check(record, encoded_len)?;
        let bytes = self.bytes.len() + encoded_len;
        if bytes > MAX_BATCH_BYTES || self.len() == MAX_BATCH_RECORDS {
            return Err(BatchError::TooLarge { bytes, limit: MAX_BATCH_BYTES });
        }
        layout::write(&mut self.bytes, record, delta, body_len);
        debug_assert_eq!(self.bytes.len(), bytes, "the length in front of the record is its length");
        self.first_timestamp = first;
        self.record_count += 1;
        Ok(())
    }

    /// Records so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.record_count as usize
    }

    /// Whether there are no records yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Bytes of the batch so far, header included, before compression.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The batch: compressed if that makes it smaller, its checksum computed, its stamp zero.
    ///
    /// # Panics
    /// When there are no records, or the range is empty: such a batch may not exist.
    #[must_use]
    pub fn finish(
        self,
        producer: ProducerId,
        epoch: Epoch,
        sequence: SequenceRange,
        compression: Compression,
    ) -> Bytes {
        assert!(!self.is_empty(), "a batch holds at least one record");
        assert!(sequence.start < sequence.end, "a batch covers at least one sequence number");
        let records = &self.bytes[BATCH_HEADER_BYTES..];
        let records_bytes = u32::try_from(records.len()).expect("push keeps batches under 8 MiB");
        let (compression, mut bytes) = match compression.compress(records) {
            None => (Compression::None, self.bytes),
            Some(compressed) => (compression, [&[0; BATCH_HEADER_BYTES], &compressed[..]].concat()),
        };
        let header = BatchHeader {
            stamp: Stamp::default(),
            batch_bytes: 0,
            checksum: 0,
            compression,
            record_count: self.record_count,
            producer,
            epoch,
            records_bytes,
            sequence,
            first_timestamp: self.first_timestamp,
        };
        header.write(&mut bytes);
        Bytes::from(bytes)
    }
}
