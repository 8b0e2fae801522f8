//! Prefaces and frames against the crate, and against section 3 as it stands.

use bytes::BytesMut;
use connectify::{
    limits::{MAX_FRAME_BYTES, MAX_HANDSHAKE_FRAME_BYTES},
    protocol::{ErrorCode, Frame, FrameDecoder, FrameHeader, OutFrame, PrefaceError, check_preface, preface},
};
use serde_json::{Value, json};

use crate::{
    document::unhex,
    of_kinds,
    vector::{Kind, State, Vector, hex},
};

#[test]
fn prefaces_are_judged_as_the_vectors_say() {
    for vector in of_kinds(&[Kind::Preface]) {
        let judged = check_preface(&vector.bytes());
        let expected = match &vector.error {
            None => Ok(!vector.incomplete),
            Some(error) if error.code == ErrorCode::BadPreface as u16 => Err(PrefaceError::Magic),
            Some(_) => Err(PrefaceError::Version(u16::from_le_bytes([vector.bytes()[6], vector.bytes()[7]]))),
        };
        assert_eq!(judged, expected, "{}", vector.name);
        if let Some(value) = &vector.value {
            assert_eq!((vector.bytes().as_slice(), value), (&preface()[..], &json!({"version": 1})));
        }
    }
}

/// The frame that a value describes.
fn frame_of(value: &Value) -> FrameHeader {
    let number = |name: &str| value[name].as_u64().unwrap_or_else(|| panic!("{value} has no number {name}"));
    FrameHeader {
        opcode: number("opcode").try_into().unwrap(),
        is_answer: value["answer"].as_bool().unwrap(),
        version: number("version").try_into().unwrap(),
        flags: number("flags").try_into().unwrap(),
        correlation_id: number("correlation_id").try_into().unwrap(),
    }
}

#[test]
fn frames_are_cut_as_the_vectors_say_and_encode_to_the_same_bytes() {
    for vector in of_kinds(&[Kind::Frame]) {
        let limit = if vector.state == Some(State::Hello) { MAX_HANDSHAKE_FRAME_BYTES } else { MAX_FRAME_BYTES };
        let mut buffer = BytesMut::from(&vector.bytes()[..]);
        let decoded = FrameDecoder::new(limit).decode(&mut buffer);
        let Some(value) = &vector.value else {
            assert_eq!(decoded.map_err(|error| ErrorCode::from(&error) as u16), unread(&vector), "{}", vector.name);
            continue;
        };
        let (header, body) = (frame_of(value), unhex(value["body"].as_str().unwrap()));
        assert_eq!(OutFrame::new(header, &body, Vec::new()).to_bytes(), vector.bytes(), "{}", vector.name);
        assert_eq!(decoded, Ok(Some(Frame { header, body: body.into() })), "{}", vector.name);
        assert!(buffer.is_empty(), "{}", vector.name);
    }
}

/// What a decoder gives for bytes that are no frame, or no frame yet.
fn unread(vector: &Vector) -> Result<Option<Frame>, u16> {
    match &vector.error {
        Some(error) => Err(error.code),
        None => Ok(None),
    }
}

#[test]
fn frames_are_laid_out_as_section_3_says() {
    for vector in of_kinds(&[Kind::Frame]) {
        let (bytes, Some(value)) = (vector.bytes(), &vector.value) else { continue };
        let number =
            |at: usize, size: usize| bytes[at..at + size].iter().rfold(0u64, |n, byte| n << 8 | u64::from(*byte));
        assert_eq!(number(0, 4), bytes.len() as u64 - 4, "{}", vector.name);
        let read = json!({
            "opcode": number(4, 2) & 0x7fff,
            "answer": number(4, 2) & 0x8000 != 0,
            "version": number(6, 1),
            "flags": number(7, 1),
            "correlation_id": number(8, 4),
            "body": hex(&bytes[12..]),
        });
        assert_eq!(read, *value, "{}", vector.name);
    }
}
