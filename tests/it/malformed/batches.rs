//! Batches that are not what they say: each is refused whole, and the producer is where it was.

use bytes::Bytes;
use connectify::{
    limits::{
        BATCH_HEADER_BYTES, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, MAX_HEADER_NAME_BYTES, MAX_HEADERS, MAX_KEY_BYTES,
        MAX_RECORD_BYTES,
    },
    protocol::{ErrorCode, RegisterProducerAnswer},
    record::Compression,
};

use super::Wrongs;
use crate::support::{
    append_of, batch,
    batches::{compressed, put_u32, put_u64, record_of, seal, varint, with_records},
    forged, narrow,
};

const NONE: u8 = Compression::None as u8;
const LZ4: u8 = Compression::Lz4 as u8;
const ZSTD: u8 = Compression::Zstd as u8;

/// Batches that are refused, and a producer that goes on as if they had not been sent.
struct Refusals {
    wrongs: Wrongs,
    producer: RegisterProducerAnswer,
    /// What its next batch would be.
    good: Bytes,
}

impl Refusals {
    async fn new() -> Self {
        let mut wrongs = Wrongs::new().await;
        let producer = wrongs.raw.producer("t").await;
        let good = batch(&producer, 0..3, &["one", "two", "three"]);
        Self { wrongs, producer, good }
    }

    /// Sends a batch alone, and behind one that is good; both are refused.
    async fn refuse(&mut self, what: &str, code: ErrorCode, bad: &Bytes) {
        // Shown when the test fails.
        println!("sending a batch with {what}");
        let topic_id = self.producer.topic_id;
        for (index, parts) in
            [vec![(topic_id, bad.clone())], vec![(topic_id, self.good.clone()), (topic_id, bad.clone())]]
                .into_iter()
                .enumerate()
        {
            let (append, batches) = append_of(&parts, &[]);
            let bytes: usize = batches.iter().map(Bytes::len).sum();
            if bytes > MAX_BATCH_BYTES + 1 {
                continue;
            }
            let error = self.wrongs.raw.refused(code, &append, batches).await;
            assert_eq!(error.details, [index as u64], "{error:?}");
        }
        self.wrongs.bystander.carries_on().await;
    }

    /// Nothing was stored, and the good batch is new.
    async fn end(mut self) {
        assert_eq!(self.wrongs.raw.topic("t").await.tail, 0);
        let part = self.wrongs.raw.append(&self.producer, &self.good).await;
        assert_eq!((part.base_offset, part.duplicate), (Some(0), false));
        let expected = [(0, "one"), (1, "two"), (2, "three")].map(|(offset, value)| (offset, value.to_owned()));
        assert_eq!(self.wrongs.raw.read_all("t").await, expected);
    }
}

/// The good batch with some of its header overwritten.
fn changed(good: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    forged(good, |batch| batch[at..at + bytes.len()].copy_from_slice(bytes))
}

#[tokio::test]
async fn headers_that_are_not_allowed_are_refused() {
    let mut refusals = Refusals::new().await;
    let good = refusals.good.clone();
    let huge = u32::MAX.to_le_bytes();
    let sequences = |start: u64, end: u64| {
        forged(&good, |batch| {
            put_u64(batch, 56, start);
            put_u64(batch, 64, end);
        })
    };
    let cases = [
        ("version 0", ErrorCode::BatchVersion, changed(&good, 24, &[0])),
        ("version 2", ErrorCode::BatchVersion, changed(&good, 24, &[2])),
        ("attributes 3", ErrorCode::UnknownCompression, changed(&good, 25, &[3])),
        ("attributes 255", ErrorCode::UnknownCompression, changed(&good, 25, &[255])),
        ("a reserved byte", ErrorCode::BatchMalformed, changed(&good, 26, &[1])),
        ("the other reserved byte", ErrorCode::BatchMalformed, changed(&good, 27, &[0x80])),
        ("no records", ErrorCode::BatchMalformed, changed(&good, 28, &[0, 0, 0, 0])),
        (
            "too many records",
            ErrorCode::BatchMalformed,
            changed(&good, 28, &narrow(MAX_BATCH_RECORDS + 1).to_le_bytes()),
        ),
        ("2^32 - 1 records", ErrorCode::BatchMalformed, changed(&good, 28, &huge)),
        ("records longer than a batch", ErrorCode::BatchTooLarge, changed(&good, 52, &huge)),
        ("records longer than they are", ErrorCode::BatchMalformed, changed(&good, 52, &[good.len() as u8])),
        ("records of no length", ErrorCode::BatchMalformed, changed(&good, 52, &[0, 0, 0, 0])),
        ("the sequences 0..0", ErrorCode::BadSequenceRange, sequences(0, 0)),
        ("the sequences 7..7", ErrorCode::BadSequenceRange, sequences(7, 7)),
        ("the sequences 7..6", ErrorCode::BadSequenceRange, sequences(7, 6)),
        ("the last sequence twice", ErrorCode::BadSequenceRange, sequences(u64::MAX, u64::MAX)),
    ];
    for (what, code, bad) in cases {
        refusals.refuse(what, code, &bad).await;
    }
    refusals.end().await;
}

#[tokio::test]
async fn bytes_that_are_not_a_whole_batch_are_refused() {
    let mut refusals = Refusals::new().await;
    let good = refusals.good.clone();
    for end in 0..good.len() {
        refusals.refuse("an end too soon", ErrorCode::BatchMalformed, &good.slice(..end)).await;
    }
    let longer = Bytes::from([&good[..], &[0]].concat());
    refusals.refuse("a byte behind it", ErrorCode::BatchMalformed, &longer).await;
    for length in [0, 79, narrow(good.len()) - 1, narrow(good.len()) + 1, u32::MAX] {
        let mut bad = good.to_vec();
        put_u32(&mut bad, 16, length);
        refusals.refuse("another length", ErrorCode::BatchMalformed, &Bytes::from(bad)).await;
    }
    refusals.end().await;
}

#[tokio::test]
async fn a_bit_that_flipped_on_the_way_is_found() {
    let mut refusals = Refusals::new().await;
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let repeated = "again and again ".repeat(20);
        let good = compressed(&refusals.producer, 0..1, &[&repeated], compression);
        assert_eq!(good[25], compression as u8);
        // From the record count on, every field is taken as it is until the checksum is looked at. So is the checksum.
        for at in (32..52).chain(72..good.len()).chain(20..24) {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << (at % 8);
            refusals.refuse("a bit flipped", ErrorCode::BatchChecksum, &Bytes::from(bad)).await;
        }
    }
    refusals.end().await;
}

#[tokio::test]
async fn what_the_server_stamps_is_not_looked_at() {
    let refusals = Refusals::new().await;
    let Refusals { mut wrongs, producer, good } = refusals;
    let mut stamped = good.to_vec();
    stamped[..16].fill(0xff);
    let part = wrongs.raw.append(&producer, &Bytes::from(stamped)).await;
    assert_eq!(part.base_offset, Some(0));
    let (_, batches) = wrongs.raw.fetch("t", 0).await;
    assert_eq!(batches[0][..8], [0; 8]);
    assert_eq!(batches[0][16..], good[16..], "all other bytes stay as they are");
    assert!(u64::from_le_bytes(batches[0][8..16].try_into().expect("8 bytes")) < u64::MAX / 2);
}

#[tokio::test]
async fn counts_that_lie_are_refused_however_the_records_are_compressed() {
    let mut refusals = Refusals::new().await;
    let values = ["again and again and again"; 10];
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let good = compressed(&refusals.producer, 0..10, &values, compression);
        assert_eq!(good[25], compression as u8);
        for count in [1, 9, 11, 250, narrow(MAX_BATCH_RECORDS)] {
            let bad = forged(&good, |batch| put_u32(batch, 28, count));
            refusals.refuse("another count", ErrorCode::CountMismatch, &bad).await;
        }
        if compression != Compression::None {
            let declared = u32::from_le_bytes(good[52..56].try_into().expect("4 bytes"));
            for length in [0, 1, declared - 1, declared + 1, narrow(MAX_BATCH_BYTES - BATCH_HEADER_BYTES)] {
                let bad = forged(&good, |batch| put_u32(batch, 52, length));
                refusals.refuse("another length of records", ErrorCode::BadCompression, &bad).await;
            }
        }
    }
    refusals.end().await;
}

#[tokio::test]
async fn records_that_do_not_decompress_are_refused() {
    let mut refusals = Refusals::new().await;
    let good = refusals.good.clone();
    let records = record_of(&[&[0, 0, 0], &[b'x'; 3000][..]].concat());
    let (lz4, zstd) = (lz4_flex::block::compress(&records), zstd_of(&records));
    let cases = [
        ("plain records said to be lz4", LZ4, records.clone()),
        ("plain records said to be zstd", ZSTD, records.clone()),
        ("zstd said to be lz4", LZ4, zstd.clone()),
        ("lz4 said to be zstd", ZSTD, lz4.clone()),
        ("nothing said to be lz4", LZ4, vec![]),
        ("nothing said to be zstd", ZSTD, vec![]),
        ("lz4 cut off", LZ4, lz4[..lz4.len() - 1].to_vec()),
        ("zstd cut off", ZSTD, zstd[..zstd.len() - 1].to_vec()),
        ("lz4 and a byte", LZ4, [&lz4[..], &[0]].concat()),
        ("zstd and a byte", ZSTD, [&zstd[..], &[0]].concat()),
        ("two zstd frames", ZSTD, [&zstd[..], &zstd].concat()),
        ("zstd and an empty frame", ZSTD, [&zstd[..], &zstd_of(b"")].concat()),
        ("noise said to be lz4", LZ4, vec![0xff; 500]),
        ("noise said to be zstd", ZSTD, vec![0xff; 500]),
    ];
    for (what, attributes, encoded) in cases {
        let bad = with_records(&good, attributes, 1, &encoded, records.len());
        refusals.refuse(what, ErrorCode::BadCompression, &bad).await;
    }
    refusals.end().await;
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).expect("compressing into memory")
}

/// So many zeros as a zstd frame that does not say how many they are.
fn zstd_of_zeros(count: u64) -> Vec<u8> {
    zstd::stream::encode_all(std::io::Read::take(std::io::repeat(0), count), 1).expect("compressing into memory")
}

#[tokio::test]
async fn what_expands_beyond_its_declaration_is_stopped() {
    let mut refusals = Refusals::new().await;
    let good = refusals.good.clone();
    let limit = MAX_BATCH_BYTES - BATCH_HEADER_BYTES;
    let (lz4, zstd) = (lz4_flex::block::compress(&vec![0; 64 << 20]), zstd_of_zeros(256 << 20));
    assert!(lz4.len() < 300_000 && zstd.len() < 100_000, "{} and {} bytes", lz4.len(), zstd.len());
    for (attributes, bomb) in [(LZ4, &lz4), (ZSTD, &zstd)] {
        for declared in [0, 1, 1000, 1 << 20, limit] {
            let bad = with_records(&good, attributes, 1, bomb, declared);
            refusals.refuse("a bomb", ErrorCode::BadCompression, &bad).await;
        }
        for declared in [limit + 1, 64 << 20, u32::MAX as usize] {
            let bad = with_records(&good, attributes, 1, bomb, declared);
            refusals.refuse("a bomb that says so", ErrorCode::BatchTooLarge, &bad).await;
        }
        // A few bytes that claim to be many.
        let bad = with_records(&good, attributes, 1, &bomb[..20], limit);
        refusals.refuse("a claim", ErrorCode::BadCompression, &bad).await;
    }
    refusals.end().await;
}

#[tokio::test]
async fn a_zstd_frame_whose_window_is_over_8_mib_is_refused() {
    let mut refusals = Refusals::new().await;
    let records = record_of(&[&[0, 0, 0], &[b'x'; 3000][..]].concat());
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(27).expect("a window of 128 MiB");
    std::io::Write::write_all(&mut encoder, &records).expect("into memory");
    let encoded = encoder.finish().expect("into memory");
    let bad = with_records(&refusals.good, ZSTD, 1, &encoded, records.len());
    refusals.refuse("a window of 128 MiB", ErrorCode::BadCompression, &bad).await;
    refusals.end().await;
}

#[tokio::test]
async fn records_over_a_limit_are_refused() {
    let mut refusals = Refusals::new().await;
    let good = refusals.good.clone();
    // Between length and value: no delta, no key, no headers.
    let value_of = |bytes: usize| record_of(&[&[0, 0, 0], &vec![b'x'; bytes][..]].concat());
    let header_of = |name: &[u8]| [&varint(name.len() as u64), name, &[0]].concat();
    let largest = MAX_RECORD_BYTES - 4 - 3;
    assert_eq!(value_of(largest).len(), MAX_RECORD_BYTES);
    let key = [&[0][..], &varint(MAX_KEY_BYTES as u64 + 2), &vec![b'k'; MAX_KEY_BYTES + 1], &[0]].concat();
    let many = [&[0, 0, narrow(MAX_HEADERS) as u8 + 1][..], &header_of(b"n").repeat(MAX_HEADERS + 1)].concat();
    let long_name = [&[0, 0, 1][..], &header_of(&[b'n'; MAX_HEADER_NAME_BYTES + 1])].concat();
    let bad_name = [&[0, 0, 1][..], &header_of(&[0xff])].concat();
    let cases = [
        ("a record over the limit", ErrorCode::RecordTooLarge, value_of(largest + 1)),
        ("a key over the limit", ErrorCode::BatchMalformed, record_of(&key)),
        ("a header too many", ErrorCode::BatchMalformed, record_of(&many)),
        ("a header name over the limit", ErrorCode::BatchMalformed, record_of(&long_name)),
        ("a header name that is not UTF-8", ErrorCode::BatchMalformed, record_of(&bad_name)),
    ];
    for (what, code, records) in cases {
        let bad = with_records(&good, NONE, 1, &records, records.len());
        refusals.refuse(what, code, &bad).await;
        let bad = with_records(&good, ZSTD, 1, &zstd_of(&records), records.len());
        refusals.refuse(what, code, &bad).await;
    }
    refusals.end().await;
}

#[tokio::test]
async fn a_batch_over_the_limit_is_refused_as_it_is_and_as_it_would_be() {
    let mut refusals = Refusals::new().await;
    let good = refusals.good.clone();
    let half = MAX_BATCH_BYTES / 2 - 200;
    let two_of = |extra: usize| {
        let records = [half, half + extra].map(|bytes| record_of(&[&[0, 0, 0], &vec![b'x'; bytes][..]].concat()));
        records.concat()
    };
    let room = MAX_BATCH_BYTES - BATCH_HEADER_BYTES - two_of(0).len();
    let records = two_of(room + 1);
    let bad = with_records(&good, NONE, 2, &records, records.len());
    assert_eq!(bad.len(), MAX_BATCH_BYTES + 1);
    refusals.refuse("a byte too many", ErrorCode::BatchTooLarge, &bad).await;
    let bad = with_records(&good, ZSTD, 2, &zstd_of(&records), records.len());
    refusals.refuse("a byte too many once it is decompressed", ErrorCode::BatchTooLarge, &bad).await;
    refusals.wrongs.raw.is_open().await;

    let Refusals { mut wrongs, producer, .. } = refusals;
    let records = two_of(room);
    let largest = with_records(&good, NONE, 2, &records, records.len());
    let part = wrongs.raw.append(&producer, &largest).await;
    assert_eq!(part.base_offset, Some(0));
    let (_, batches) = wrongs.raw.fetch("t", 1).await;
    assert_eq!(batches[0].len(), MAX_BATCH_BYTES);
    wrongs.bystander.carries_on().await;
}

#[tokio::test]
async fn records_that_do_not_follow_their_layout_are_refused() {
    let mut refusals = Refusals::new().await;
    let good = refusals.good.clone();
    let cases: [(&str, &[u8]); 14] = [
        ("a length in a longer form than necessary", &[0x83, 0x00, 0, 0, 0]),
        ("a length beyond the batch", &[0x7f, 0, 0, 0]),
        ("a length of 2^64", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
        ("a length of 11 bytes", &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
        ("a length that does not end", &[0x80]),
        ("a record of no bytes", &[0]),
        ("a record that ends behind its delta", &[1, 0]),
        ("a record that ends behind its key", &[2, 0, 0]),
        ("a delta in a longer form than necessary", &[4, 0x80, 0, 0, 0]),
        ("a key longer than the record", &[4, 0, 9, b'k', 0]),
        ("a key of 2^63 bytes", &[12, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, b'k', 0]),
        ("a header that is not there", &[3, 0, 0, 1]),
        ("a header name longer than the record", &[6, 0, 0, 1, 9, b'n', 0]),
        ("a header value longer than the record", &[6, 0, 0, 1, 1, b'n', 9]),
    ];
    for (what, records) in cases {
        let bad = with_records(&good, NONE, 1, records, records.len());
        refusals.refuse(what, ErrorCode::BatchMalformed, &bad).await;
    }
    // A timestamp before 1970: the batch begins at 1, the record is 3 microseconds earlier.
    let early = [4, 5, 0, 0, b'x'];
    let bad = with_records(&good, NONE, 1, &early, early.len());
    refusals.refuse("a timestamp before 1970", ErrorCode::BatchMalformed, &bad).await;
    let mut late = with_records(&good, NONE, 1, &[4, 2, 0, 0, b'x'], 5).to_vec();
    put_u64(&mut late, 72, u64::MAX);
    seal(&mut late);
    refusals.refuse("a timestamp beyond 64 bits", ErrorCode::BatchMalformed, &Bytes::from(late)).await;
    refusals.end().await;
}
