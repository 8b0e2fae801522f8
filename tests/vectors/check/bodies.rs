//! Bodies and fields against the crate, and against the decoder that goes by the tables of protocol.md.

use bytes::Bytes;
use connectify::protocol::{BodyError, Frame, FrameHeader, Id, Opcode, Start, decode_body, encode_body};

use crate::{
    code,
    meaning::{write_body, write_field},
    of_kinds,
    tables::Layouts,
    vector::{Kind, Vector},
};

/// Bytes of a frame before its body.
const FRONT_BYTES: usize = 12;

/// A frame of the message that a body belongs to.
fn frame(layouts: &Layouts, vector: &Vector) -> Frame {
    let name = vector.message.as_deref();
    let row = layouts.messages.iter().find(|row| row.request.as_deref() == name || row.answer.as_deref() == name);
    let row = row.unwrap_or_else(|| panic!("{}: no message {name:?}", vector.name));
    let opcode = Opcode::from_number(row.opcode).unwrap();
    let header =
        if row.request.as_deref() == name { FrameHeader::request(opcode, 7) } else { FrameHeader::answer(opcode, 7) };
    Frame { header, body: Bytes::from(vector.bytes()) }
}

#[test]
fn bodies_mean_the_same_to_the_crate_to_the_document_and_to_the_vectors() {
    let (_, layouts) = Layouts::with_document();
    for vector in of_kinds(&[Kind::Body]) {
        let (message, name) = (vector.message.as_deref().unwrap(), &vector.name);
        let seen = code::decode(&frame(&layouts, &vector));
        let read = layouts.body(message, &vector.bytes());
        let Some(value) = &vector.value else {
            assert!(seen.is_err(), "the crate reads {name}");
            assert!(read.is_err(), "the tables read {name}");
            continue;
        };
        let (seen, read) =
            (seen.unwrap_or_else(|e| panic!("{name}: {e}")), read.unwrap_or_else(|e| panic!("{name}: {e}")));
        let written = write_body(&layouts, message, value);
        assert_eq!(written.debug, seen.debug, "{name}");
        assert_eq!(written.debug, read.debug, "{name}");
        assert_eq!(written.bytes(), vector.bytes(), "{name} is encoded to other bytes by the tables");
        assert_eq!(seen.bytes[FRONT_BYTES..], vector.bytes(), "{name} is encoded to other bytes by the crate");
    }
}

#[test]
fn fields_mean_the_same_to_the_crate_to_the_document_and_to_the_vectors() {
    let (_, layouts) = Layouts::with_document();
    for vector in of_kinds(&[Kind::Field]) {
        let (kind, name) = (vector.field_type.as_deref().unwrap(), &vector.name);
        let (seen, read) = (field(kind, &vector.bytes()), layouts.field(kind, &vector.bytes()));
        let Some(value) = &vector.value else {
            assert!(seen.is_err(), "the crate reads {name}");
            assert!(read.is_err(), "the tables read {name}");
            continue;
        };
        let written = write_field(&layouts, kind, value);
        assert_eq!(seen, Ok((written.debug.clone(), vector.bytes())), "{name}");
        assert_eq!(read.unwrap().debug, written.debug, "{name}");
        assert_eq!(written.bytes(), vector.bytes(), "{name}");
    }
}

/// What the crate makes of a field, and the bytes that it encodes to.
fn field(kind: &str, bytes: &[u8]) -> Result<(String, Vec<u8>), BodyError> {
    macro_rules! decode {
        ($type:ty) => {{
            let (value, used) = decode_body::<$type>(bytes)?;
            let behind = bytes.len() - used;
            if behind > 0 {
                return Err(BodyError::Length { expected: 0, actual: behind });
            }
            Ok((format!("{value:?}"), encode_body(&value)))
        }};
    }
    match kind {
        "u8" => decode!(u8),
        "u16" => decode!(u16),
        "u32" => decode!(u32),
        "u64" => decode!(u64),
        "bool" => decode!(bool),
        "id" => decode!(Id),
        "string" => decode!(String),
        "bytes" => decode!(Vec<u8>),
        "option<u64>" => decode!(Option<u64>),
        "option<string>" => decode!(Option<String>),
        "list<u32>" => decode!(Vec<u32>),
        "list<u64>" => decode!(Vec<u64>),
        "Start" => decode!(Start),
        _ => panic!("no type {kind}"),
    }
}
