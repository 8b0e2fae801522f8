//! What a consumer hands out: batches, and their records with offset and time.

use crate::{
    client::Error,
    record::{Batch, Offset, Record, Records, Timestamp},
};

/// A record with its place in the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Its position in the topic.
    pub offset: Offset,
    /// When its batch was appended, by the server's clock.
    pub append_time: Timestamp,
    /// The record. Its parts share the memory of its batch.
    pub record: Record,
}

/// A batch of a topic, its checksum verified.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub(super) batch: Batch,
    /// The first record that is for the reader: later than the batch's first one where reading began within a batch.
    pub(super) first: Offset,
    pub(super) head: Offset,
    pub(super) tail: Offset,
}

impl Delivery {
    /// The batch as it is stored. It may hold records before [`Self::first_offset`].
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The first record that is for the reader.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.first
    }

    /// The offset after the last record: what to commit when all of them are done.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.batch.header().next_offset()
    }

    /// First offset that the topic kept when this was sent.
    #[must_use]
    pub fn head(&self) -> Offset {
        self.head
    }

    /// Next offset that the topic would assign when this was sent.
    #[must_use]
    pub fn tail(&self) -> Offset {
        self.tail
    }

    /// When the batch was appended, by the server's clock.
    #[must_use]
    pub fn append_time(&self) -> Timestamp {
        self.batch.header().stamp.append_time
    }

    /// The records that are for the reader, decoded one by one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when they do not decompress.
    pub fn records(&self) -> Result<DeliveryRecords, Error> {
        let records = self.batch.records().map_err(|source| Error::Corrupt { offset: self.first, source })?;
        Ok(DeliveryRecords { records, next: self.first, append_time: self.append_time() })
    }
}

/// The records of one [`Delivery`].
#[derive(Clone, Debug)]
pub struct DeliveryRecords {
    records: Records,
    next: Offset,
    append_time: Timestamp,
}

impl DeliveryRecords {
    /// The offset of the record that comes next.
    pub(super) fn next_offset(&self) -> Offset {
        self.next
    }
}

impl Iterator for DeliveryRecords {
    type Item = Result<ConsumerRecord, Error>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (offset, record) = match self.records.next()? {
                Ok(found) => found,
                Err(source) => return Some(Err(Error::Corrupt { offset: self.next, source })),
            };
            if offset >= self.next {
                self.next = offset.plus(1);
                return Some(Ok(ConsumerRecord { offset, append_time: self.append_time, record }));
            }
        }
    }
}
