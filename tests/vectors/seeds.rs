//! Seeds of the fuzzers, made from the vectors: `fuzz/seeds/*/vector-*`. src/fuzzing says what each target takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use crate::{
    batch::crc32c,
    code, document, is_writing,
    vector::{self, Kind, Vector, number},
};

/// Larger inputs make a fuzzer slow.
const MAX_SEED_BYTES: usize = 4_096;

/// What the names of these seeds begin with; others are made elsewhere, or were found.
const PREFIX: &str = "vector-";

/// The pieces in which the target `frame` gets its stream.
const PIECE_BYTES: u8 = 5;

/// Seeds by their names, for a target.
type Seeds = BTreeMap<String, Vec<u8>>;

/// For each target its seeds.
fn seeds(vectors: &[Vector]) -> [(&'static str, Seeds); 3] {
    let small = |seeds: Seeds| seeds.into_iter().filter(|(_, bytes)| bytes.len() <= MAX_SEED_BYTES).collect();
    [("frame", small(frames(vectors))), ("bodies", small(bodies(vectors))), ("batch", small(batches(vectors)))]
}

fn seed(vector: &Vector, bytes: &[&[u8]]) -> (String, Vec<u8>) {
    (format!("{PREFIX}{}", vector.name), bytes.concat())
}

/// Prefaces, frames, and good bodies in frames of their message: these by themselves, and with half of another behind them.
fn frames(vectors: &[Vector]) -> Seeds {
    let (numbers, mut seeds) = (opcodes(), Seeds::new());
    for vector in vectors {
        let bytes = vector.bytes();
        match (vector.kind, &vector.message) {
            (Kind::Preface | Kind::Frame, _) => seeds.extend([seed(vector, &[&[PIECE_BYTES], &bytes])]),
            (Kind::Body, Some(message)) if vector.value.is_some() => {
                let flags = u8::from(message == "ErrorBody");
                let length = u32::try_from(8 + bytes.len()).expect("a short body").to_le_bytes();
                let header = [&length[..], &numbers[message].to_le_bytes(), &[1, flags, 7, 0, 0, 0]].concat();
                let (name, stream) = seed(vector, &[&[PIECE_BYTES], &header, &bytes]);
                let half = &stream[1..1 + stream.len() / 2];
                seeds.insert(format!("{name}-and-half-of-it-again"), [&stream, half].concat());
                seeds.insert(name, stream);
            }
            _ => {}
        }
    }
    seeds
}

/// The opcode of each body, with the top bit of answers. A refusal is that of an Append.
fn opcodes() -> BTreeMap<String, u16> {
    let mut numbers = BTreeMap::new();
    for opcode in connectify::protocol::Opcode::ALL {
        let (request, answer) = code::names(*opcode);
        numbers.extend(request.map(|name| (name, *opcode as u16)));
        numbers.extend(answer.map(|name| (name, *opcode as u16 | 0x8000)));
    }
    numbers.insert("ErrorBody".to_owned(), 0x8021);
    numbers
}

/// Bodies, behind the number that src/fuzzing/messages.rs has for their message.
fn bodies(vectors: &[Vector]) -> Seeds {
    let order = order_of_bodies();
    let of_messages = vectors.iter().filter_map(|vector| {
        let message = vector.message.as_deref()?;
        let index = order.iter().position(|name| name == message)?;
        Some(seed(vector, &[&[u8::try_from(index).ok()?], &vector.bytes()]))
    });
    of_messages.collect()
}

/// The messages in the order in which src/fuzzing/messages.rs counts them.
fn order_of_bodies() -> Vec<String> {
    let source = include_str!("../../src/fuzzing/messages.rs");
    let (_, list) = source.split_once("\nmessages! {").expect("src/fuzzing/messages.rs lists them");
    let list = list.split('}').next().unwrap_or_default();
    let words = list.split(|c: char| c.is_whitespace() || c == ';').filter(|word| !word.is_empty());
    let names: Vec<_> = words.filter(|word| !word.ends_with(':')).map(str::to_owned).collect();
    assert!(names.len() > 30 && names[0] == "Hello" && names.iter().any(|name| name == "ErrorBody"), "{names:?}");
    names
}

/// Batches, whole and cut in the middle, and records in batches of their own.
fn batches(vectors: &[Vector]) -> Seeds {
    let mut seeds = Seeds::new();
    for vector in vectors {
        let bytes = vector.bytes();
        match vector.kind {
            Kind::Batch => {
                seeds.extend([seed(vector, &[&bytes])]);
                if bytes.len() > 82 {
                    let (name, _) = seed(vector, &[]);
                    seeds.insert(format!("{name}-cut-in-the-middle"), bytes[..80 + (bytes.len() - 80) / 2].to_vec());
                }
            }
            Kind::Record => {
                let first_timestamp = number(vector.first_timestamp.as_ref().expect("records have one"));
                seeds.extend([seed(vector, &[&batch_of(&bytes, first_timestamp)])]);
            }
            // A timestamp delta, without a key and without headers.
            Kind::Varint | Kind::Zigzag => {
                let length = u8::try_from(bytes.len() + 2).expect("at most eleven bytes");
                let record = [&[length][..], &bytes, &[0, 0]].concat();
                seeds.extend([seed(vector, &[&batch_of(&record, 1 << 63)])]);
            }
            _ => {}
        }
    }
    seeds
}

/// A batch with these bytes for its one record.
fn batch_of(record: &[u8], first_timestamp: u64) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).expect("a short batch").to_le_bytes();
    let mut batch = [&[0; 16][..], &length(80 + record.len()), &[0; 4], &[1, 0, 0, 0, 1, 0, 0, 0]].concat();
    batch.extend(document::unhex("5a0c9b7e12f44d3b8e619f2d7c4b8a13"));
    batch.extend([&[3, 0, 0, 0][..], &length(record.len()), &[0; 8], &[1, 0, 0, 0, 0, 0, 0, 0]].concat());
    batch.extend(first_timestamp.to_le_bytes());
    batch.extend(record);
    let checksum = crc32c(&batch[24..]);
    batch[20..24].copy_from_slice(&checksum.to_le_bytes());
    batch
}

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "seeds", target].iter().collect()
}

/// The names of the seeds that are there and were made from vectors.
fn present(target: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder(target)).expect("committed with the code");
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().expect("our files have ASCII names"));
    names.filter(|name| name.starts_with(PREFIX)).collect()
}

#[test]
fn the_seeds_of_the_fuzzers_are_made_from_the_vectors() {
    for (target, seeds) in seeds(&vector::all()) {
        assert!(seeds.len() >= 300, "{target} has {} seeds", seeds.len());
        if is_writing() {
            present(target).iter().for_each(|name| fs::remove_file(folder(target).join(name)).unwrap());
            seeds.iter().for_each(|(name, bytes)| fs::write(folder(target).join(name), bytes).unwrap());
        }
        assert_eq!(present(target), seeds.keys().cloned().collect(), "{target}");
        for (name, bytes) in seeds {
            assert_eq!(fs::read(folder(target).join(&name)).unwrap(), bytes, "{target}/{name}");
        }
    }
}
