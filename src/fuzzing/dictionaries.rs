//! The words of the protocol, for a fuzzer to put together: `fuzz/dictionaries`, made from the code so that they follow it.

use std::{fmt::Write, fs, path::PathBuf};

use super::seeds::is_writing;
use crate::{
    limits::*,
    protocol::{ErrorCode, FrameHeader, Opcode, OutFrame, encode_body, preface},
};

/// A name and bytes.
type Word = (String, Vec<u8>);

/// Lengths around which something is decided: the limits of the wire, one less and one more.
const LIMITS: [(&str, usize); 13] = [
    ("frame_header", FRAME_HEADER_BYTES),
    ("handshake_frame", MAX_HANDSHAKE_FRAME_BYTES),
    ("frame", MAX_FRAME_BYTES),
    ("control", MAX_CONTROL_BYTES),
    ("topic_name", MAX_TOPIC_NAME_BYTES),
    ("batch_header", BATCH_HEADER_BYTES),
    ("batch", MAX_BATCH_BYTES),
    ("records_of_batch", MAX_BATCH_BYTES - BATCH_HEADER_BYTES),
    ("record", MAX_RECORD_BYTES),
    ("batch_records", MAX_BATCH_RECORDS),
    ("key", MAX_KEY_BYTES),
    ("headers", MAX_HEADERS),
    ("header_name", MAX_HEADER_NAME_BYTES),
];

/// The limits in some encoding of a number.
fn limits(kind: &str, encode: impl Fn(u32) -> Vec<u8>) -> Vec<Word> {
    let around = |(name, limit): (&str, usize)| {
        let limit = u32::try_from(limit).expect("limits of the wire fit 32 bits");
        let word = |suffix: &str, value| (format!("{kind}_{name}{suffix}"), encode(value));
        [word("_less", limit - 1), word("", limit), word("_more", limit + 1)]
    };
    LIMITS.into_iter().flat_map(around).collect()
}

fn word(name: &str, bytes: &[u8]) -> Word {
    (name.to_owned(), bytes.to_vec())
}

/// Prefaces, the fronts of frames without their length, and lengths.
fn of_frames() -> Vec<Word> {
    let mut words = vec![word("preface", &preface()), word("preface_magic", &preface()[..6])];
    for opcode in Opcode::ALL {
        let (request, answer) = (FrameHeader::request(*opcode, 7), FrameHeader::answer(*opcode, 7));
        for (kind, header) in [("request", request), ("answer", answer), ("refusal", request.refusal())] {
            let frame = OutFrame::new(header, &[], Vec::new()).to_bytes();
            words.push(word(&format!("{kind}_{}", opcode.name()), &frame[4..8]));
        }
    }
    words.extend(limits("length", |value| value.to_le_bytes().to_vec()));
    words
}

/// Numbers at the ends of their ranges, in their one form and in forms that are refused; codes, tags, and what begins an
/// option, a list or a string.
fn of_bodies() -> Vec<Word> {
    let mut words = limits("number", |value| encode_body(&value));
    for edge in [250, 251, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
        words.push((format!("number_{edge}"), encode_body(&edge)));
    }
    for code in ErrorCode::ALL {
        words.push((format!("code_{}", code.name()), [encode_body(&(*code as u16)), vec![code.facts()]].concat()));
    }
    words.extend([
        word("absent", &[0]),
        word("present", &[1]),
        word("neither", &[2]),
        word("tag_of_cursor", &[4]),
        word("tag_that_is_unknown", &[5]),
        word("longer_form_of_5_in_2_bytes", &[0xfb, 5, 0]),
        word("longer_form_of_5_in_4_bytes", &[0xfc, 5, 0, 0, 0]),
        word("longer_form_of_5_in_8_bytes", &[0xfd, 5, 0, 0, 0, 0, 0, 0, 0]),
        word("number_of_16_bytes", &[0xfe]),
        word("number_that_is_reserved", &[0xff]),
        word("not_utf8", &[0xc3, 0x28]),
        word("text", &encode_body(&"logs")),
        word("option_of_text", &encode_body(&Some("logs"))),
    ]);
    words
}

/// Fields of a batch's header, varints, and how compressed records begin.
fn of_batches() -> Vec<Word> {
    let mut words = limits("field", |value| value.to_le_bytes().to_vec());
    words.extend(limits("varint", |value| varint(value.into())));
    for (name, attributes) in [("none", 0), ("lz4", 1), ("zstd", 2), ("unknown", 3)] {
        words.push(word(&format!("version_and_{name}"), &[1, attributes, 0, 0]));
    }
    for edge in [0x7f, 0x80, 0x3fff, 0x4000, u64::from(u32::MAX), 1 << 63, u64::MAX] {
        words.push((format!("varint_{edge}"), varint(edge)));
        words.push((format!("field_{edge}"), edge.to_le_bytes().to_vec()));
    }
    words.extend([
        word("longer_form_of_0", &[0x80, 0]),
        word("varint_of_65_bits", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        word("record_that_is_empty", &[3, 0, 0, 0]),
        word("zstd_magic", &[0x28, 0xb5, 0x2f, 0xfd]),
        word("zstd_front_of_a_window_of_8_mib", &[0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3]),
        word("zstd_front_of_one_segment", &[0x28, 0xb5, 0x2f, 0xfd, 0x20]),
        word("zstd_skippable_magic", &[0x50, 0x2a, 0x4d, 0x18]),
        word("zstd_last_block_of_8_raw_bytes", &[0x41, 0, 0]),
        word("zstd_last_run_of_8_bytes", &[0x43, 0, 0]),
        word("lz4_match_of_19_bytes_and_more", &[0x1f, b'x', 1, 0, 0xff]),
        word("lz4_end_of_5_literals", &[0x50, 0, 0, 0, 0, 0]),
    ]);
    words
}

/// LEB128.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

/// The file, as libFuzzer and AFL++ read it: a name and a string of hexadecimal escapes on each line.
fn file(words: &[Word]) -> String {
    let mut text = "# Made by src/fuzzing/dictionaries.rs: WRITE_SEEDS=1 cargo test --lib fuzzing\n".to_owned();
    for (name, bytes) in words {
        let escapes: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        writeln!(text, "{name}=\"{escapes}\"").expect("writing to a string cannot fail");
    }
    text
}

#[test]
fn the_dictionaries_follow_the_protocol_of_today() {
    for (name, words) in [("frame", of_frames()), ("bodies", of_bodies()), ("batch", of_batches())] {
        assert!(words.iter().all(|(_, bytes)| (1..=64).contains(&bytes.len())), "libFuzzer takes no longer words");
        let file_name = format!("{name}.dict");
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "fuzz", "dictionaries", &file_name].iter().collect();
        if is_writing() {
            fs::create_dir_all(path.parent().expect("it has a folder")).expect("the source tree is writable");
            fs::write(&path, file(&words)).expect("the source tree is writable");
        }
        assert_eq!(fs::read_to_string(&path).unwrap_or_default(), file(&words), "{}", path.display());
    }
}
