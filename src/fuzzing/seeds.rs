//! The inputs in `fuzz/seeds`: they are made here, and each is run through its property.

use std::{fs, path::PathBuf};

use bytes::{Bytes, BytesMut};

use super::{
    batch, batch::put_length_and_checksum_right, bodies, differential, differential_batch, frame, messages::Kind,
    round_trip, round_trip_batch,
};
use crate::{
    limits::{BATCH_HEADER_BYTES, MAX_BATCH_BYTES, MAX_FRAME_BYTES},
    protocol::{
        self, AppendPart, ErrorBody, ErrorCode, FrameDecoder, FrameHeader, Opcode, OutFrame, Retention, Start,
        TopicInfo, encode_body,
    },
    record::{
        Batch, BatchBuilder, BatchError, BatchHeader, Compression, Epoch, ProducerId, Record, Sequence, SequenceRange,
        Timestamp,
    },
};

type Property = fn(&[u8]);

/// Each target, and the folder of its seeds: those that take the same bytes share one.
const TARGETS: [(&str, &str, Property); 7] = [
    ("frame", "frame", frame),
    ("bodies", "bodies", bodies),
    ("round_trip", "bodies", round_trip),
    ("differential", "bodies", differential),
    ("batch", "batch", batch),
    ("round_trip_batch", "batch", round_trip_batch),
    ("differential_batch", "batch", differential_batch),
];

fn folder(seeds: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "seeds", seeds].iter().collect()
}

/// Whether the files are to be written and not compared.
pub(super) fn is_writing() -> bool {
    std::env::var_os("WRITE_SEEDS").is_some()
}

/// Whatever lies in `fuzz/seeds`: the seeds made below, and every input that once broke something.
#[test]
fn every_seed_holds_its_property() {
    for (target, seeds, property) in TARGETS {
        let seeds: Vec<_> = fs::read_dir(folder(seeds)).expect("committed with the code").collect();
        assert!(seeds.len() >= 300, "{target} has {} seeds", seeds.len());
        for seed in seeds {
            let path = seed.expect("a directory entry").path();
            property(&fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
    }
}

/// What is announced takes nothing: a body of twenty bytes may speak of four billion elements, a frame of gigabytes, a batch
/// of records that it does not hold.
#[test]
fn decoding_takes_memory_for_what_came_not_for_what_is_announced() {
    let mut most = 0;
    for (target, seeds, decode) in DECODERS {
        for seed in fs::read_dir(folder(seeds)).expect("committed with the code") {
            let path = seed.expect("a directory entry").path();
            let data = fs::read(&path).expect("it was listed");
            let mut produced = 0;
            let taken = allocation_counter::measure(|| produced = decode(&data)).bytes_max;
            let allowed = (BYTES_FOR_BYTE * (data.len() + produced)) as u64 + FIXED_BYTES;
            most = most.max(taken);
            assert!(taken <= allowed, "{target} takes {taken} bytes for {}, allowed are {allowed}", path.display());
        }
    }
    assert!(most > 0, "nothing is measured");
}

/// Decodes, and gives how many bytes the input may be when it is decompressed.
type Decode = fn(&[u8]) -> usize;

const DECODERS: [(&str, &str, Decode); 3] =
    [("frames", "frame", decode_frames), ("bodies", "bodies", decode_body), ("batches", "batch", decode_batch)];

/// An element of a list takes one byte on the wire and a string's worth of memory, and lists grow by doubling.
const BYTES_FOR_BYTE: usize = 64;
/// What is set aside ahead of a frame that has begun, and some more.
const FIXED_BYTES: u64 = 80 * 1024;

fn decode_frames(data: &[u8]) -> usize {
    let (mut decoder, mut buffer) = (FrameDecoder::new(MAX_FRAME_BYTES), BytesMut::from(data));
    while let Ok(Some(_)) = decoder.decode(&mut buffer) {}
    0
}

fn decode_body(data: &[u8]) -> usize {
    if let Some((kind, body)) = Kind::choose(data) {
        (kind.decodes)(body);
    }
    0
}

fn decode_batch(data: &[u8]) -> usize {
    let mut bytes = data.to_vec();
    put_length_and_checksum_right(&mut bytes);
    let declared = BatchHeader::read(&bytes).map_or(0, |header| header.records_bytes as usize);
    match Batch::check(Bytes::from(bytes)) {
        Ok(batch) => batch.records().into_iter().flatten().for_each(drop),
        // Found before there was anything to decompress.
        Err(BatchError::Decompress(_) | BatchError::Truncated(_) | BatchError::TooLarge { .. }) => return 0,
        Err(_) => {}
    }
    declared
}

/// A seed that has fallen behind the layout leads a fuzzer nowhere. `WRITE_SEEDS=1 cargo test --lib fuzzing` writes
/// them anew.
#[test]
fn the_seeds_follow_the_layout_of_today() {
    for (target, name, bytes) in frame_seeds().into_iter().chain(body_seeds()).chain(batch_seeds()) {
        let path = folder(target).join(name);
        if is_writing() {
            fs::create_dir_all(folder(target)).expect("the source tree is writable");
            fs::write(&path, &bytes).expect("the source tree is writable");
        }
        // What compressors write may change with their version, what it says may not.
        if !name.contains("compressed") {
            assert_eq!(fs::read(&path).unwrap_or_default(), bytes, "{}", path.display());
        }
    }
}

#[test]
fn every_batch_seed_that_claims_to_be_good_is() {
    for (_, name, bytes) in batch_seeds().into_iter().filter(|(_, name, _)| name.starts_with("good")) {
        assert!(Batch::check(Bytes::from(bytes)).is_ok(), "{name}");
    }
}

type Seed = (&'static str, &'static str, Vec<u8>);

fn stream(frames: &[(FrameHeader, &[u8])]) -> Vec<u8> {
    let mut out = BytesMut::from(&[5][..]);
    frames.iter().for_each(|&(header, body)| OutFrame::new(header, body, Vec::new()).write(&mut out));
    out.to_vec()
}

fn frame_seeds() -> Vec<Seed> {
    let ping = FrameHeader::request(Opcode::Ping, 1);
    let error = encode_body(&ErrorBody::new(ErrorCode::UnknownTopic, "no topic", vec![7]));
    let one = stream(&[(ping, b"")]);
    let with = |at: usize, byte: u8| {
        let mut changed = one.clone();
        changed[at] = byte;
        changed
    };
    vec![
        ("frame", "ping", one.clone()),
        ("frame", "answer", stream(&[(FrameHeader::answer(Opcode::Ping, 1), b"")])),
        ("frame", "refusal", stream(&[(FrameHeader::request(Opcode::Append, 9).refusal(), &error)])),
        ("frame", "three", stream(&[(ping, b"abc"), (FrameHeader::answer(Opcode::Fetch, 2), &[0; 40]), (ping, b"")])),
        ("frame", "begun", one[..9].to_vec()),
        ("frame", "length-begun", one[..3].to_vec()),
        ("frame", "too-short", with(1, 7)),
        ("frame", "too-large", with(4, 0xff)),
        ("frame", "unknown-flags", with(8, 0x80)),
        ("frame", "error-flag-on-request", with(8, 1)),
    ]
}

fn body_seeds() -> Vec<Seed> {
    fn seed(name: &'static str, message: u8, body: Vec<u8>) -> Seed {
        ("bodies", name, [vec![message], body].concat())
    }
    let retention = Retention { bytes: Some(1 << 30), age_ms: None };
    let topic =
        TopicInfo { name: "logs".into(), topic_id: 3, tail: 300, retention: retention.clone(), ..TopicInfo::default() };
    let hello = protocol::Hello { client_name: "seed".into(), max_version: 1, ..protocol::Hello::default() };
    let part = AppendPart { topic_id: 3, batch_bytes: 25 };
    let append = protocol::Append { parts: vec![part; 3], commits: Vec::new() };
    let deliver = protocol::Deliver { batch_bytes: vec![1, 251], ..protocol::Deliver::default() };
    let subscribe = |start| encode_body(&protocol::Subscribe { topic: "logs".into(), start, credit_bytes: 1 << 20 });
    vec![
        seed("hello", 0, encode_body(&hello)),
        seed(
            "create-topic",
            3,
            encode_body(&protocol::CreateTopic { topic: "logs".into(), retention, if_absent: true }),
        ),
        seed("list-answer", 23, encode_body(&protocol::ListTopicsAnswer { topics: vec![topic; 2], more: true })),
        seed("append", 8, [encode_body(&append), vec![0; 3 * 25]].concat()),
        seed("subscribe-timestamp", 12, subscribe(Start::Timestamp(u64::MAX))),
        seed("subscribe-cursor", 12, subscribe(Start::Cursor([9; 16]))),
        seed("deliver", 31, [encode_body(&deliver), vec![0; 252]].concat()),
        seed("error", 36, encode_body(&ErrorBody::new(ErrorCode::SequenceGap, "gap", vec![1, 1 << 40]))),
        seed("longer-form-of-a-number", 13, vec![251, 5, 0, 0]),
        seed("list-that-claims-to-be-long", 23, vec![253, 255, 255, 255, 255, 255, 255, 255, 255]),
    ]
}

fn batch_of(records: &[Record], compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    records.iter().for_each(|record| builder.push(record, Timestamp(1_000)).expect("within limits"));
    let range = SequenceRange::counting(Sequence(5), records.len() as u64);
    builder.finish(ProducerId::default(), Epoch(1), range, compression).to_vec()
}

pub(super) fn plain_batch(records: &[Record]) -> Vec<u8> {
    batch_of(records, Compression::None)
}

fn batch_seeds() -> Vec<Seed> {
    let full = Record::new("value").key("key").header("name", "value").header("name", "").timestamp(Timestamp(2_000));
    let same = vec![Record::new("the same line again and again"); 40];
    let plain = plain_batch(&[Record::new("one"), full.clone(), Record::new("")]);
    let with = |at: usize, byte: u8| {
        let mut changed = plain.clone();
        changed[at] = byte;
        changed
    };
    vec![
        ("batch", "good-one", plain_batch(&[Record::new("one")])),
        ("batch", "good-empty-value", plain_batch(&[Record::new("")])),
        ("batch", "good-full", plain_batch(&[full])),
        ("batch", "good-three", plain.clone()),
        ("batch", "good-compressed-lz4", batch_of(&same, Compression::Lz4)),
        ("batch", "good-compressed-zstd", batch_of(&same, Compression::Zstd)),
        ("batch", "count-too-high", with(28, 4)),
        ("batch", "count-too-low", with(28, 2)),
        ("batch", "unknown-version", with(24, 2)),
        ("batch", "claims-to-be-lz4", with(25, 1)),
        ("batch", "claims-to-be-zstd", with(25, 2)),
        ("batch", "little-that-claims-to-be-8-mib-of-zstd", {
            let records_bytes = u32::try_from(MAX_BATCH_BYTES - BATCH_HEADER_BYTES).expect("8 MiB");
            let mut bomb = with(25, 2);
            bomb[52..56].copy_from_slice(&records_bytes.to_le_bytes());
            bomb.truncate(BATCH_HEADER_BYTES);
            // A frame that does not say its size, with a window of 1 MiB and one raw block of 3 bytes.
            bomb.extend([0x28, 0xb5, 0x2f, 0xfd, 0x00, 10 << 3, 0x19, 0, 0, b'a', b'b', b'c']);
            bomb
        }),
        ("batch", "header-cut-short", plain[..60].to_vec()),
        // A fuzzer found it: the stamp is not under the checksum, and adding to this offset overflowed.
        ("batch", "last-offset-of-all", [&[0xff; 8][..], &plain[8..]].concat()),
    ]
}
