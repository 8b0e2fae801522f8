//! A batch whose bytes were checked, and its records.

use bytes::Bytes;

use super::{
    BatchError, BatchHeader, Compression, Offset, Record, header::CHECKED_FROM, layout::Parsed, reader::Reader,
};
use crate::limits::BATCH_HEADER_BYTES;

/// Records encoded together: the unit on the wire, on disk and in the cache.
///
/// A value of this type has passed its checksum, so its header can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Checks header and checksum, as a consumer does with what it is sent.
    ///
    /// # Errors
    /// [`BatchError`] when the bytes are not one whole batch, or not the one that the producer wrote.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::read(&bytes)?;
        let actual = crc32c::crc32c(&bytes[CHECKED_FROM..]);
        if actual != header.checksum {
            return Err(BatchError::Checksum { expected: header.checksum, actual });
        }
        Ok(Self { header, bytes })
    }

    /// Checks everything, down to the last record, as the server does before it stores a batch: no consumer will
    /// meet a batch that it cannot read. Compressed records are decompressed for it, within their declared length.
    ///
    /// # Errors
    /// [`BatchError`] for the first thing that is wrong.
    pub fn check(bytes: Bytes) -> Result<Self, BatchError> {
        let batch = Self::parse(bytes)?;
        match batch.header.compression {
            Compression::None => batch.check_records(&batch.bytes[BATCH_HEADER_BYTES..])?,
            _ => batch.check_records(&batch.decompress()?)?,
        }
        Ok(batch)
    }

    fn check_records(&self, records: &[u8]) -> Result<(), BatchError> {
        let (mut reader, declared, mut actual) = (Reader::new(records), self.header.record_count as usize, 0);
        while !reader.is_empty() {
            if actual == declared {
                return Err(BatchError::Count { declared, actual: actual + 1 });
            }
            Parsed::next(&mut reader, self.header.first_timestamp)?;
            actual += 1;
        }
        if actual < declared {
            return Err(BatchError::Count { declared, actual });
        }
        Ok(())
    }

    fn decompress(&self) -> Result<Vec<u8>, BatchError> {
        let declared = self.header.records_bytes as usize;
        self.header.compression.decompress(&self.bytes[BATCH_HEADER_BYTES..], declared)
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The batch as it is on the wire and on disk.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The batch as it is on the wire and on disk.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The records with their offsets, in order. Their parts share this batch's memory, or that of its decompressed
    /// records.
    ///
    /// # Errors
    /// [`BatchError`] when the records do not decompress to what the header declares, or when the stamp leaves no
    /// offsets for them.
    pub fn records(&self) -> Result<Records, BatchError> {
        let header = &self.header;
        if header.stamp.base_offset.0.checked_add(u64::from(header.record_count)).is_none() {
            return Err(BatchError::Malformed("offsets exceed 64 bits"));
        }
        let bytes = match self.header.compression {
            Compression::None => self.bytes.slice(BATCH_HEADER_BYTES..),
            _ => Bytes::from(self.decompress()?),
        };
        Ok(Records { header: self.header, bytes, at: 0, given: 0 })
    }
}

/// The records of one batch, decoded one by one.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    bytes: Bytes,
    at: usize,
    given: u32,
}

impl Records {
    fn read(&mut self) -> Result<Record, BatchError> {
        let mut reader = Reader::new(&self.bytes[self.at..]);
        let record = Parsed::next(&mut reader, self.header.first_timestamp)?.into_record(&self.bytes);
        self.at = self.bytes.len() - reader.remaining();
        if self.given == self.header.record_count && self.at != self.bytes.len() {
            let declared = self.given as usize;
            return Err(BatchError::Count { declared, actual: declared + 1 });
        }
        Ok(record)
    }
}

impl Iterator for Records {
    type Item = Result<(Offset, Record), BatchError>;

    /// After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.given == self.header.record_count {
            return None;
        }
        let offset = self.header.stamp.base_offset.plus(u64::from(self.given));
        self.given += 1;
        let record = self.read();
        if record.is_err() {
            self.given = self.header.record_count;
        }
        Some(record.map(|record| (offset, record)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some((self.header.record_count - self.given) as usize))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{BatchBuilder, Epoch, Header, ProducerId, Sequence, SequenceRange, Stamp, Timestamp},
        *,
    };

    const RANGE: SequenceRange = SequenceRange { start: Sequence(10), end: Sequence(400) };

    fn build(records: &[Record], compression: Compression) -> Bytes {
        let mut builder = BatchBuilder::new();
        for record in records {
            builder.push(record, Timestamp(1_000)).expect("within limits");
        }
        builder.finish(ProducerId::default(), Epoch(3), RANGE, compression)
    }

    /// The same bytes with `change` made and the checksum computed again: what a hostile producer can send.
    fn forged(bytes: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let mut bytes = bytes.to_vec();
        change(&mut bytes);
        let length = u32::try_from(bytes.len()).expect("small");
        bytes[16..20].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[CHECKED_FROM..]);
        bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
        Bytes::from(bytes)
    }

    fn record() -> impl Strategy<Value = Record> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        let header = (".{0,20}", bytes()).prop_map(|(name, value)| Header { name, value });
        let headers = prop::collection::vec(header, 0..4);
        (bytes(), prop::option::of(bytes()), headers, any::<u32>()).prop_map(|(value, key, headers, at)| Record {
            value,
            key,
            headers,
            timestamp: Some(Timestamp(at.into())),
        })
    }

    fn compression() -> impl Strategy<Value = Compression> {
        prop::sample::select(vec![Compression::None, Compression::Lz4, Compression::Zstd])
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_went_in(records in prop::collection::vec(record(), 1..20), how in compression()) {
            let mut bytes = build(&records, how).to_vec();
            Stamp { base_offset: Offset(77), append_time: Timestamp(5) }.write(&mut bytes);
            let batch = Batch::check(Bytes::from(bytes)).expect("just built");
            prop_assert_eq!(batch.header().next_offset(), Offset(77 + records.len() as u64));
            let found: Result<Vec<_>, _> = batch.records().expect("just built").collect();
            let (offsets, found): (Vec<_>, Vec<_>) = found.expect("just built").into_iter().unzip();
            prop_assert_eq!(offsets, (77..).map(Offset).take(records.len()).collect::<Vec<_>>());
            prop_assert_eq!(found, records);
        }

        #[test]
        fn one_flipped_bit_under_the_checksum_is_found(how in compression(), at: prop::sample::Index, bit in 0u32..8) {
            let mut bytes = build(&vec![Record::new("a line of a log"); 20], how).to_vec();
            let at = CHECKED_FROM + at.index(bytes.len() - CHECKED_FROM);
            bytes[at] ^= 1 << bit;
            prop_assert!(Batch::parse(Bytes::from(bytes)).is_err());
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_a_panic(how in compression(), noise: Vec<u8>, at: prop::sample::Index) {
            let whole = build(&vec![Record::new("a line of a log").key("k").header("h", "v"); 9], how);
            let at = BATCH_HEADER_BYTES + at.index(whole.len() - BATCH_HEADER_BYTES);
            let bytes = forged(&whole, |bytes| { bytes.splice(at..bytes.len().min(at + noise.len()), noise); });
            if let Ok(batch) = Batch::check(bytes) {
                let records: Result<Vec<_>, _> = batch.records().expect("checked").collect();
                prop_assert_eq!(records.expect("checked").len(), batch.header().record_count as usize);
            }
        }
    }

    #[test]
    fn a_small_record_costs_at_most_ten_bytes() {
        let one = build(&[Record::new("x")], Compression::None);
        assert_eq!(one.len() - BATCH_HEADER_BYTES - 1, 4);
        let late = Record::new(vec![0; 1000]).timestamp(Timestamp(1_000_000));
        let two = build(&[Record::new("x"), late], Compression::None);
        assert!(two.len() - one.len() - 1000 <= 10);
    }

    #[test]
    fn counts_that_lie_are_refused() {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let bytes = build(&vec![Record::new("the same line"); 30], compression);
            let more = Batch::check(forged(&bytes, |b| b[28] = 31));
            assert_eq!(more, Err(BatchError::Count { declared: 31, actual: 30 }));
            let fewer = Batch::check(forged(&bytes, |b| b[28] = 29));
            assert_eq!(fewer, Err(BatchError::Count { declared: 29, actual: 30 }));
            let none = Batch::check(forged(&bytes, |b| b[28] = 0));
            assert!(matches!(none, Err(BatchError::Malformed(_))), "{none:?}");
        }
    }

    #[test]
    fn each_field_of_the_header_is_checked() {
        let bytes = build(&vec![Record::new("the same line"); 30], Compression::Lz4);
        let check = |change: &dyn Fn(&mut Vec<u8>)| Batch::check(forged(&bytes, |b| change(b))).expect_err("forged");
        assert_eq!(check(&|b| b[24] = 2), BatchError::Version(2));
        assert_eq!(check(&|b| b[25] = 3), BatchError::Compression(3));
        assert_eq!(check(&|b| b[26] = 1), BatchError::Malformed("reserved bytes are not zero"));
        assert_eq!(check(&|b| b[64..66].copy_from_slice(&[10, 0])), BatchError::SequenceRange { start: 10, end: 10 });
        assert!(matches!(check(&|b| b[52..56].fill(0xff)), BatchError::TooLarge { .. }));
        assert!(matches!(check(&|b| b[52] = 1), BatchError::Expands { .. } | BatchError::Decompress(_)));
        assert_eq!(check(&|b| b.truncate(60)), BatchError::Truncated("header"));
        assert_eq!(
            Batch::check(bytes.slice(..bytes.len() - 1)),
            Err(BatchError::Malformed("its length is not the one in its header"))
        );
    }

    #[test]
    fn a_record_over_the_limit_is_refused_and_a_full_batch_stays_whole() {
        use crate::limits::{MAX_BATCH_BYTES, MAX_RECORD_BYTES};
        let mut builder = BatchBuilder::new();
        let large = Record::new(vec![0; MAX_RECORD_BYTES]);
        assert!(matches!(builder.push(&large, Timestamp(0)), Err(BatchError::RecordTooLarge { .. })));
        let half = Record::new(vec![0; MAX_RECORD_BYTES - 64 * 1024]);
        builder.push(&half, Timestamp(0)).expect("the first half");
        builder.push(&half, Timestamp(0)).expect("the second half");
        let full = builder.push(&half, Timestamp(0));
        assert!(matches!(full, Err(BatchError::TooLarge { limit: MAX_BATCH_BYTES, .. })));
        let bytes = builder.finish(ProducerId::default(), Epoch(0), RANGE, Compression::None);
        assert_eq!(Batch::check(bytes).expect("whole").header().record_count, 2);
    }
}
