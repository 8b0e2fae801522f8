//! Section 5 against the code: the examples of batches, and the batches that are refused.

use bytes::Bytes;
use connectify::{
    limits::BATCH_HEADER_BYTES,
    protocol::ErrorCode,
    record::{Batch, BatchBuilder, Compression},
};

use super::{
    batch, batches,
    document::{Document, quoted, unhex},
};

#[test]
fn the_batches_are_read_alike_by_the_code_and_by_the_document() {
    let document = Document::read();
    let batches = batches(&document);
    assert_eq!(batches.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["none", "lz4", "zstd"]);
    let whole = batch::decode(&document, &batches[0].1.bytes).records;
    for (name, example) in batches {
        let read = batch::decode(&document, &example.bytes);
        assert_eq!(read.records, whole, "{name} holds other records");
        let batch = Batch::check(Bytes::copy_from_slice(&example.bytes)).unwrap();
        let header = batch.header();
        let seen: [(&str, u128); 13] = [
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
        ];
        let seen = seen.into_iter().chain([("first timestamp", header.first_timestamp.0.into())]);
        let read_header = read.header.iter().map(|(name, value)| (name.as_str(), *value));
        assert_eq!(read_header.collect::<Vec<_>>(), seen.collect::<Vec<_>>());
        let records = batch.records().unwrap().map(|record| {
            let (_, record) = record.unwrap();
            let headers = record.headers.iter().map(|header| (header.name.clone(), header.value.to_vec()));
            batch::DecodedRecord {
                timestamp: record.timestamp.unwrap().0,
                key: record.key.map(|key| key.to_vec()),
                headers: headers.collect(),
                value: record.value.to_vec(),
            }
        });
        assert_eq!(records.collect::<Vec<_>>(), read.records);
    }
}

#[test]
fn the_batches_are_built_again_from_their_records() {
    let document = Document::read();
    for (name, example) in batches(&document) {
        let batch = Batch::check(Bytes::copy_from_slice(&example.bytes)).unwrap();
        let mut builder = BatchBuilder::new();
        for record in batch.records().unwrap() {
            builder.push(&record.unwrap().1, Default::default()).unwrap();
        }
        let header = batch.header();
        let mut built = builder.finish(header.producer, header.epoch, header.sequence, header.compression).to_vec();
        header.stamp.write(&mut built);
        let built = Batch::check(Bytes::from(built)).unwrap();
        // Another version of a compressor may give other bytes for the same records.
        match header.compression {
            Compression::None => assert_eq!(built, batch, "{name}"),
            _ => assert_eq!(built.header().records_bytes, header.records_bytes, "{name}"),
        }
    }
}

#[test]
fn the_batches_that_are_refused_are_refused_with_their_error() {
    let document = Document::read();
    let whole = &batches(&document)[0].1.bytes;
    for row in &document.table_under("Batches refused:").rows {
        let (at, change, mut bytes) = (row[0].parse::<usize>().unwrap(), unhex(&row[1]), whole.clone());
        bytes[at..at + change.len()].copy_from_slice(&change);
        if at >= 24 {
            let checksum = batch::crc32c(&bytes[24..]);
            bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
        }
        let error = Batch::check(Bytes::from(bytes)).expect_err(&row[3]);
        assert_eq!(quoted(&row[2]), [ErrorCode::from(&error).name()], "{}: {error}", row[3]);
    }
}

#[test]
fn the_checksum_is_the_one_that_the_document_defines() {
    assert_eq!(batch::crc32c(b"123456789"), 0xE306_9283);
    let document = Document::read();
    assert!(document.prose.iter().any(|line| line.contains("`123456789` is `0xE3069283`")));
    assert_eq!(
        document.table(&["offset", "size", "type", "field", "meaning"]).rows.last().unwrap()[0],
        BATCH_HEADER_BYTES.to_string()
    );
}
