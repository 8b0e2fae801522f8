//! The 80 bytes in front of a batch's records (protocol.md section 5.1).
//!
//! ```text
//!  0  base offset       u64   ┐ stamped by the server when it appends,
//!  8  append time       u64   ┘ zero before
//! 16  batch length      u32     these 80 bytes and the records
//! 20  checksum          u32     CRC-32C of everything after this field
//! 24  version           u8    ┐
//! 25  attributes        u8    │
//! 26  reserved          u16   │
//! 28  record count      u32   │ under the checksum: computed by the producer,
//! 32  producer id       [16]  │ never changed
//! 48  producer epoch    u32   │
//! 52  records length    u32   │   decompressed
//! 56  sequence start    u64   │
//! 64  sequence end      u64   │
//! 72  first timestamp   u64   │
//! 80  records                 ┘
//! ```

use uuid::Uuid;

use super::{BatchError, Compression, Epoch, Offset, ProducerId, Sequence, SequenceRange, Timestamp};
use crate::limits::{BATCH_HEADER_BYTES, MAX_BATCH_BYTES, MAX_BATCH_RECORDS};

/// Bytes at the front that the server stamps.
const STAMP_BYTES: usize = 16;
/// Where the bytes under the checksum begin.
pub(super) const CHECKED_FROM: usize = 24;
const VERSION: u8 = 1;

/// The fields of a batch's header, as the producer wrote and the server stamped them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// What the server stamped; zeros in a batch that was never stored.
    pub stamp: Stamp,
    /// Bytes of the batch, header included.
    pub batch_bytes: u32,
    /// CRC-32C of the bytes from 24 on.
    pub checksum: u32,
    /// How the records are compressed.
    pub compression: Compression,
    /// How many records there are; the batch covers that many offsets.
    pub record_count: u32,
    /// Who produced it.
    pub producer: ProducerId,
    /// In which of its registrations.
    pub epoch: Epoch,
    /// Bytes of the records when decompressed.
    pub records_bytes: u32,
    /// What it covers of what the producer counts.
    pub sequence: SequenceRange,
    /// What the records' timestamp deltas count from.
    pub first_timestamp: Timestamp,
}

/// What the server writes into a batch when it appends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The offset of the batch's first record.
    pub base_offset: Offset,
    /// When it was appended, by the server's clock; never goes back within a topic.
    pub append_time: Timestamp,
}

impl Stamp {
    /// The stamp at the front of a batch.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] when there are fewer than 16 bytes.
    pub fn read(batch: &[u8]) -> Result<Self, BatchError> {
        if batch.len() < STAMP_BYTES {
            return Err(BatchError::Truncated("stamp"));
        }
        Ok(Self { base_offset: Offset(u64_at(batch, 0)), append_time: Timestamp(u64_at(batch, 8)) })
    }

    /// Writes the stamp over the first 16 bytes of `batch`.
    ///
    /// # Panics
    /// When there are fewer than 16 bytes.
    pub fn write(self, batch: &mut [u8]) {
        batch[..8].copy_from_slice(&self.base_offset.0.to_le_bytes());
        batch[8..STAMP_BYTES].copy_from_slice(&self.append_time.0.to_le_bytes());
    }
}

impl BatchHeader {
    /// Reads and checks the fixed part. Neither the checksum nor the records are looked at.
    ///
    /// # Errors
    /// [`BatchError`] when a field is not allowed, or when `bytes` is not exactly as long as the header says.
    pub fn read(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes.len() < BATCH_HEADER_BYTES {
            return Err(BatchError::Truncated("header"));
        }
        let header = Self::read_fields(bytes)?;
        if header.batch_bytes as usize != bytes.len() {
            return Err(BatchError::Malformed("its length is not the one in its header"));
        }
        let (whole, limit) = (BATCH_HEADER_BYTES + header.records_bytes as usize, MAX_BATCH_BYTES);
        let bytes = bytes.len().max(whole);
        if bytes > limit {
            return Err(BatchError::TooLarge { bytes, limit });
        }
        let is_plain = header.compression == Compression::None;
        if is_plain && whole != header.batch_bytes as usize {
            return Err(BatchError::Malformed("records length is not what follows the header"));
        }
        if header.record_count == 0 || header.record_count as usize > MAX_BATCH_RECORDS {
            return Err(BatchError::Malformed("record count is 0 or over the limit of 65536"));
        }
        let SequenceRange { start, end } = header.sequence;
        if start >= end {
            return Err(BatchError::SequenceRange { start: start.0, end: end.0 });
        }
        Ok(header)
    }

    fn read_fields(bytes: &[u8]) -> Result<Self, BatchError> {
        if bytes[24] != VERSION {
            return Err(BatchError::Version(bytes[24]));
        }
        if bytes[26..28] != [0, 0] {
            return Err(BatchError::Malformed("reserved bytes are not zero"));
        }
        Ok(Self {
            stamp: Stamp::read(bytes)?,
            batch_bytes: u32_at(bytes, 16),
            checksum: u32_at(bytes, 20),
            compression: Compression::from_attributes(bytes[25])?,
            record_count: u32_at(bytes, 28),
            producer: ProducerId(Uuid::from_bytes(bytes[32..48].try_into().expect("16 bytes"))),
            epoch: Epoch(u32_at(bytes, 48)),
            records_bytes: u32_at(bytes, 52),
            sequence: SequenceRange { start: Sequence(u64_at(bytes, 56)), end: Sequence(u64_at(bytes, 64)) },
            first_timestamp: Timestamp(u64_at(bytes, 72)),
        })
    }

    /// Writes the header over the first 80 bytes of `batch`, length and checksum computed from what follows them.
    pub(super) fn write(&self, batch: &mut [u8]) {
        let length = u32::try_from(batch.len()).expect("the builder keeps batches under 8 MiB");
        self.stamp.write(batch);
        batch[16..20].copy_from_slice(&length.to_le_bytes());
        batch[24] = VERSION;
        batch[25] = self.compression as u8;
        batch[26..28].fill(0);
        batch[28..32].copy_from_slice(&self.record_count.to_le_bytes());
        batch[32..48].copy_from_slice(self.producer.0.as_bytes());
        batch[48..52].copy_from_slice(&self.epoch.0.to_le_bytes());
        batch[52..56].copy_from_slice(&self.records_bytes.to_le_bytes());
        batch[56..64].copy_from_slice(&self.sequence.start.0.to_le_bytes());
        batch[64..72].copy_from_slice(&self.sequence.end.0.to_le_bytes());
        batch[72..80].copy_from_slice(&self.first_timestamp.0.to_le_bytes());
        let checksum = crc32c::crc32c(&batch[CHECKED_FROM..]);
        batch[20..24].copy_from_slice(&checksum.to_le_bytes());
    }

    /// The offset after the batch's last record; the highest there is when a hostile stamp would go beyond it.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.stamp.base_offset.0.saturating_add(u64::from(self.record_count)))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
