//! Batches and their parts against the crate, and against the decoder that goes by section 5.

use bytes::Bytes;
use connectify::{
    Compression,
    protocol::ErrorCode,
    record::{Batch, BatchBuilder},
};
use serde_json::{Value, json};

use crate::{
    batch,
    document::Document,
    make, of_kinds,
    vector::{Kind, Vector, number, plain, plain_signed},
};

/// What the crate reads in a batch, or the code with which it refuses it.
fn seen(bytes: &[u8]) -> Result<Value, u16> {
    let batch = Batch::check(Bytes::copy_from_slice(bytes)).map_err(|error| ErrorCode::from(&error) as u16)?;
    let header = batch.header();
    let records = batch.records().map_err(|error| ErrorCode::from(&error) as u16)?.map(|record| {
        let (_, record) = record.expect("the batch was checked");
        let headers = record.headers.iter().map(|header| (header.name.clone(), header.value.to_vec()));
        batch::DecodedRecord {
            timestamp: record.timestamp.expect("stored records have one").0,
            key: record.key.map(|key| key.to_vec()),
            headers: headers.collect(),
            value: record.value.to_vec(),
        }
    });
    let fields: [(&str, u128); 14] = [
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
        ("first timestamp", header.first_timestamp.0.into()),
    ];
    let header = fields.into_iter().map(|(name, number)| (name.to_owned(), number)).collect();
    Ok(make::meaning(&batch::DecodedBatch { header, records: records.collect() }))
}

#[test]
fn batches_mean_the_same_to_the_crate_to_the_document_and_to_the_vectors() {
    let document = Document::read();
    let layout = batch::BatchLayout::read(&document);
    for vector in of_kinds(&[Kind::Batch]) {
        let seen = seen(&vector.bytes());
        match (&vector.value, &vector.error) {
            (Some(value), None) => {
                assert_eq!(seen.as_ref(), Ok(value), "{}", vector.name);
                assert_eq!(make::meaning(&batch::decode(&document, &vector.bytes())), *value, "{}", vector.name);
            }
            (None, Some(error)) => {
                assert_eq!(seen, Err(error.code), "{}", vector.name);
                let faults = layout.decode(&vector.bytes(), &mut ()).err().unwrap_or_default();
                assert!(faults.contains(&error.name.as_str()), "{}: {faults:?}", vector.name);
            }
            _ => panic!("{} is neither good nor bad", vector.name),
        }
    }
}

#[test]
fn batches_are_built_again_from_their_records() {
    for vector in of_kinds(&[Kind::Batch]).iter().filter(|vector| vector.value.is_some()) {
        let batch = Batch::check(Bytes::from(vector.bytes())).unwrap();
        let header = batch.header();
        let mut builder = BatchBuilder::new();
        for record in batch.records().unwrap() {
            builder.push(&record.unwrap().1, Default::default()).unwrap();
        }
        let mut built = builder.finish(header.producer, header.epoch, header.sequence, Compression::None).to_vec();
        header.stamp.write(&mut built);
        if vector.canonical && starts_with_its_first_record(vector) {
            assert_eq!(built, vector.bytes(), "{}", vector.name);
        }
        let (built, expected) = (seen(&built).unwrap(), vector.value.as_ref().unwrap());
        let length = |value: &Value| (starts_with_its_first_record(vector)).then(|| value["records_length"].clone());
        assert_eq!(length(&built), length(expected), "{}", vector.name);
        assert_eq!(built["records"], expected["records"], "{}", vector.name);
    }
}

/// Whether the first timestamp is that of the first record, as producers SHOULD have it and ours do.
fn starts_with_its_first_record(vector: &Vector) -> bool {
    let value = vector.value.as_ref().unwrap();
    value["first_timestamp"] == value["records"][0]["timestamp"]
}

/// A batch of these records alone, sealed: what they are is read off the batch.
fn batch_of(records: &[u8], first_timestamp: u64) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
    let mut bytes = vec![0; 80];
    bytes[16..20].copy_from_slice(&length(80 + records.len()));
    bytes[24] = 1;
    bytes[28] = 1;
    bytes[52..56].copy_from_slice(&length(records.len()));
    bytes[64] = 1;
    bytes[72..80].copy_from_slice(&first_timestamp.to_le_bytes());
    bytes.extend_from_slice(records);
    let checksum = batch::crc32c(&bytes[24..]);
    bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn records_mean_the_same_to_the_crate_to_the_document_and_to_the_vectors() {
    let document = Document::read();
    for vector in of_kinds(&[Kind::Record]) {
        let bytes = batch_of(&vector.bytes(), number(vector.first_timestamp.as_ref().unwrap()));
        let seen = seen(&bytes).map(|value| value["records"].clone());
        match (&vector.value, &vector.error) {
            (Some(value), None) => {
                assert_eq!(seen, Ok(json!([value])), "{}", vector.name);
                let read = make::meaning(&batch::decode(&document, &bytes));
                assert_eq!(read["records"], json!([value]), "{}", vector.name);
            }
            (None, Some(error)) => assert_eq!(seen, Err(error.code), "{}", vector.name),
            _ => panic!("{} is neither good nor bad", vector.name),
        }
    }
}

/// The crate has no public reader of a varint: it reads one as the timestamp of a record that counts from the middle of
/// all times, so that every one is in range.
#[test]
fn varints_and_zigzags_are_read_by_the_crate_as_the_vectors_say() {
    const MIDDLE: u64 = 1 << 63;
    for vector in of_kinds(&[Kind::Varint, Kind::Zigzag]) {
        let body = [vector.bytes(), vec![0, 0]].concat();
        let record = [vec![u8::try_from(body.len()).unwrap()], body].concat();
        let seen = seen(&batch_of(&record, MIDDLE)).map(|value| {
            let delta = number(&value["records"][0]["timestamp"]).wrapping_sub(MIDDLE).cast_signed();
            let folded = (delta << 1 ^ delta >> 63).cast_unsigned();
            if vector.kind == Kind::Varint { plain(folded) } else { plain_signed(delta) }
        });
        // Without an end the varint takes the byte behind it, which cannot be its last.
        let expected = vector.value.clone().ok_or(ErrorCode::BatchMalformed as u16);
        assert_eq!(seen, expected, "{}", vector.name);
    }
}

#[test]
fn checksums_are_those_of_section_5() {
    for vector in of_kinds(&[Kind::Checksum]) {
        assert_eq!(vector.value, Some(json!(batch::crc32c(&vector.bytes()))), "{}", vector.name);
        // The crate computes one for each batch: one whose records are these bytes is good up to its records.
        let checked = Batch::parse(Bytes::from(batch_of(&vector.bytes(), 0)));
        assert!(checked.is_ok(), "{}: {checked:?}", vector.name);
    }
}
