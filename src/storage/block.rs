//! A block: what one group commit writes (entries one after the other).
//!
//! ```text
//!  0  length     u32   of the payload
//!  4  checksum   u32   CRC-32C of bytes 0..4, 8..16 and what is checked of the payload
//!  8  topic      u32   0 for an event
//! 12  kind       u8    1 batch, 2 event
//! 13  reserved   [3]
//! 16  payload          a batch: its first 24 bytes are checked here, the rest by its own checksum
//!                      an event: all of it is checked
//! ```

use bytes::Bytes;

use super::StorageError;
use crate::{
    limits::{BATCH_HEADER_BYTES, MAX_FRAME_BYTES},
    record::{Offset, Stamp, TopicId},
};

pub(super) const ENTRY_HEADER_BYTES: usize = 16;
/// The stamp, the length and the checksum of a batch: what its own checksum does not cover.
pub(super) const CHECKED_BATCH_BYTES: usize = 24;
/// No entry is longer: a batch is within a frame, an event smaller.
const MAX_ENTRY_BYTES: usize = MAX_FRAME_BYTES;
const BATCH: u8 = 1;
const EVENT: u8 = 2;

/// One thing that happened, as it is in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A batch was appended: stamped, verbatim.
    Batch(TopicId, &'a [u8]),
    /// Something else, in the broker's own encoding.
    Event(&'a [u8]),
}

/// Where a batch lies in its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchPlace {
    pub(super) topic: TopicId,
    pub(super) base: Offset,
    /// The offset after its last record.
    pub(super) next: Offset,
    /// Of the entry, from the start of the block.
    pub(super) position: usize,
    /// Of the entry, its header included.
    pub(super) bytes: usize,
}

/// Entries that become durable together.
#[derive(Debug, Default)]
pub struct Block {
    pub(super) bytes: Vec<u8>,
    pub(super) batches: Vec<BatchPlace>,
}

impl Block {
    /// An empty block with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), batches: Vec::new() }
    }

    /// Adds a batch of `record_count` records, stamping it on the way.
    ///
    /// # Panics
    /// When the batch is shorter than a batch header or longer than 4 GiB: the caller has checked it.
    pub fn push_batch(&mut self, topic: TopicId, stamp: Stamp, record_count: u32, batch: &[u8]) {
        assert!(batch.len() >= BATCH_HEADER_BYTES, "only checked batches are stored");
        let position = self.bytes.len();
        self.push_header(topic, BATCH, batch.len());
        self.bytes.extend_from_slice(batch);
        let payload = position + ENTRY_HEADER_BYTES;
        stamp.write(&mut self.bytes[payload..]);
        self.seal_entry(position, CHECKED_BATCH_BYTES);
        let bytes = self.bytes.len() - position;
        let (base, next) = (stamp.base_offset, stamp.base_offset.plus(u64::from(record_count)));
        self.batches.push(BatchPlace { topic, base, next, position, bytes });
    }

    /// Adds an event.
    pub fn push_event(&mut self, event: &[u8]) {
        let position = self.bytes.len();
        self.push_header(TopicId(0), EVENT, event.len());
        self.bytes.extend_from_slice(event);
        self.seal_entry(position, event.len());
    }

    fn push_header(&mut self, topic: TopicId, kind: u8, payload: usize) {
        let length = u32::try_from(payload).expect("entries are bounded by the frame limit");
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&topic.0.to_le_bytes());
        self.bytes.extend_from_slice(&[kind, 0, 0, 0]);
    }

    fn seal_entry(&mut self, position: usize, checked: usize) {
        let checksum = entry_checksum(&self.bytes[position..], checked);
        self.bytes[position + 4..position + 8].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Its bytes and where its batches lie. The bytes take no more memory than they need: they stay in the cache, and
    /// room that was made for entries which did not come, as for duplicates, would stay with them.
    pub(super) fn finish(mut self) -> (Bytes, Vec<BatchPlace>) {
        self.bytes.shrink_to_fit();
        (Bytes::from(self.bytes), self.batches)
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

fn entry_checksum(entry: &[u8], checked: usize) -> u32 {
    let length = crc32c::crc32c(&entry[..4]);
    crc32c::crc32c_append(length, &entry[8..ENTRY_HEADER_BYTES + checked])
}

/// Whether an entry seems to begin here, which may go on behind these bytes. For finding the next one behind damage.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<ENTRY_HEADER_BYTES>() else {
        return false;
    };
    if !matches!(header[12], BATCH | EVENT) || header[13..] != [0; 3] {
        return false;
    }
    let length = u32::from_le_bytes(header[..4].try_into().expect("4 bytes")) as usize;
    let checked = if header[12] == BATCH { CHECKED_BATCH_BYTES } else { length };
    let is_possible = checked <= length && length <= MAX_ENTRY_BYTES && bytes.len() >= ENTRY_HEADER_BYTES + checked;
    // A batch says its length itself, too.
    let agrees = || header[12] == EVENT || bytes[ENTRY_HEADER_BYTES + 16..][..4] == header[..4];
    is_possible && agrees() && entry_checksum(bytes, checked).to_le_bytes() == header[4..8]
}

/// Bytes that [`may_begin`] needs to see of a batch.
pub(super) const BEGINNING_BYTES: usize = ENTRY_HEADER_BYTES + CHECKED_BATCH_BYTES;

/// What stands at the front of bytes that were read back.
pub(super) enum Front<'a> {
    /// A whole entry, and the bytes it takes.
    Entry(Entry<'a>, usize),
    /// The beginning of one.
    Incomplete,
}

/// Reads the entry at the front of `bytes`, checking it.
pub(super) fn front(bytes: &[u8]) -> Result<Front<'_>, StorageError> {
    let corrupted = |what: &str| StorageError::Corrupted(format!("journal entry {what}"));
    let Some(header) = bytes.first_chunk::<ENTRY_HEADER_BYTES>() else {
        return Ok(Front::Incomplete);
    };
    let length = u32::from_le_bytes(header[..4].try_into().expect("4 bytes")) as usize;
    if length > MAX_ENTRY_BYTES {
        return Err(corrupted("has an impossible length"));
    }
    let Some(payload) = bytes[ENTRY_HEADER_BYTES..].get(..length) else {
        return Ok(Front::Incomplete);
    };
    let checked = if header[12] == BATCH { CHECKED_BATCH_BYTES } else { length };
    if checked > length || entry_checksum(bytes, checked).to_le_bytes() != header[4..8] {
        return Err(corrupted("fails its checksum"));
    }
    let topic = TopicId(u32::from_le_bytes(header[8..12].try_into().expect("4 bytes")));
    let entry = match header[12] {
        BATCH => Entry::Batch(topic, payload),
        EVENT => Entry::Event(payload),
        _ => return Err(corrupted("is of an unknown kind")),
    };
    Ok(Front::Entry(entry, ENTRY_HEADER_BYTES + length))
}

/// The entries in bytes that begin and end with one, and where each starts.
pub(super) struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(usize, Entry<'a>), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let at = self.at;
        match front(&self.bytes[at..]) {
            Ok(Front::Entry(entry, bytes)) => {
                self.at += bytes;
                Some(Ok((at, entry)))
            }
            other => {
                self.at = self.bytes.len();
                let cut_off = || StorageError::Corrupted("journal entry is cut off".to_owned());
                Some(Err(other.err().unwrap_or_else(cut_off)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::record::Timestamp;

    fn block() -> Block {
        let mut block = Block::default();
        block.push_event(b"created");
        block.push_batch(TopicId(7), Stamp { base_offset: Offset(40), append_time: Timestamp(9) }, 3, &[1; 100]);
        block.push_event(b"");
        block
    }

    /// Duplicates of 33 KB arrived together with appends of 300 bytes. The room that was made for both stayed in memory
    /// with the few bytes that were stored, and the cache counts those: a server grew by a megabyte a second.
    #[test]
    fn a_block_that_is_finished_takes_no_more_memory_than_its_bytes() {
        let mut block = Block::with_capacity(1 << 20);
        block.push_event(b"created");
        let (bytes, _) = block.finish();
        let len = bytes.len();
        assert_eq!(BytesMut::from(bytes).capacity(), len);
    }

    #[test]
    fn entries_come_back_in_order_with_their_stamp() {
        let block = block();
        let entries: Vec<_> = Entries::new(&block.bytes).map(|entry| entry.expect("intact").1).collect();
        let [Entry::Event(b"created"), Entry::Batch(TopicId(7), batch), Entry::Event(b"")] = entries[..] else {
            panic!("{entries:?}");
        };
        assert_eq!(Stamp::read(batch).expect("16 bytes").base_offset, Offset(40));
        assert_eq!(batch[16..], [1; 84]);
    }

    #[test]
    fn every_flipped_bit_outside_a_batchs_own_checksum_is_found() {
        let block = block();
        let place = block.batches[0];
        let own = place.position + ENTRY_HEADER_BYTES + CHECKED_BATCH_BYTES..place.position + place.bytes;
        for bit in 0..block.bytes.len() * 8 {
            let mut bytes = block.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = Entries::new(&bytes).any(|entry| entry.is_err());
            assert_eq!(found, !own.contains(&(bit / 8)), "bit {bit}");
        }
    }
}
