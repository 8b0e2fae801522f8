//! The tables of section 4 against the code: opcodes, names, and the layout of every message.

use bytes::{Bytes, BytesMut};
use connectify::{limits::MAX_HANDSHAKE_FRAME_BYTES, protocol::*};
use proptest::prelude::*;

use super::{
    code,
    document::{Document, quoted, unhex},
    random::BodyMaker,
    tables::{self, Layouts},
};

#[test]
fn the_table_of_opcodes_is_the_one_of_the_code() {
    let (_, layouts) = Layouts::with_document();
    let rows: Vec<_> = layouts.messages.iter().map(|row| (row.opcode, row.name.as_str())).collect();
    let codes: Vec<_> = Opcode::ALL.iter().map(|opcode| (*opcode as u16, opcode.name())).collect();
    assert_eq!(rows, codes);
    for (row, opcode) in layouts.messages.iter().zip(Opcode::ALL) {
        assert_eq!((row.request.clone(), row.answer.clone()), code::names(*opcode), "{}", row.name);
    }
}

#[test]
fn every_layout_belongs_to_a_message() {
    let (_, layouts) = Layouts::with_document();
    let used = |name: &str| {
        let in_field = |kind: &tables::Type| format!("{kind:?}").contains(&format!("{name:?}"));
        name == "ErrorBody"
            || layouts.messages.iter().any(|row| [&row.request, &row.answer].into_iter().flatten().any(|n| n == name))
            || layouts.names().any(|other| layouts.fields(other).iter().any(|(_, kind)| in_field(kind)))
    };
    let unused: Vec<_> = layouts.names().filter(|name| !used(name)).collect();
    assert_eq!(unused, Vec::<&str>::new());
}

/// A frame with this body for each message, and the name of the message.
fn each_message(layouts: &Layouts) -> Vec<(FrameHeader, String)> {
    let mut all = Vec::new();
    for opcode in Opcode::ALL {
        let row = layouts.messages.iter().find(|row| row.opcode == *opcode as u16).unwrap();
        all.extend(row.request.clone().map(|name| (FrameHeader::request(*opcode, 1), name)));
        all.extend(row.answer.clone().map(|name| (FrameHeader::answer(*opcode, 1), name)));
    }
    all
}

fn frame_of(header: FrameHeader, body: &[u8]) -> Frame {
    Frame { header, body: Bytes::copy_from_slice(body) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_made_from_the_tables_is_read_by_the_code(seed: u64) {
        let (_, layouts) = Layouts::with_document();
        for (header, name) in each_message(&layouts) {
            let (body, _) = BodyMaker::new(&layouts, seed).body(&name);
            let read = layouts.body(&name, &body).unwrap_or_else(|e| panic!("{name} {body:02x?}: {e}"));
            let seen = code::decode(&frame_of(header, &body)).unwrap_or_else(|e| panic!("{name} {body:02x?}: {e}"));
            prop_assert_eq!(&read.debug, &seen.debug);
            prop_assert_eq!(&seen.bytes[12..], &body[..]);
        }
    }

    #[test]
    fn a_value_just_outside_of_its_type_is_refused_by_both(seed: u64) {
        let (_, layouts) = Layouts::with_document();
        for (header, name) in each_message(&layouts) {
            for index in 0.. {
                let (body, was_spoiled) = BodyMaker::new(&layouts, seed).spoil(index).body(&name);
                if !was_spoiled {
                    break;
                }
                prop_assert!(layouts.body(&name, &body).is_err(), "{} {:02x?}", name, body);
                prop_assert!(code::decode(&frame_of(header, &body)).is_err(), "{} {:02x?}", name, body);
            }
        }
    }

    #[test]
    fn both_refuse_the_same_damaged_bodies(seed: u64, at: prop::sample::Index, byte: u8, cut: bool) {
        let (_, layouts) = Layouts::with_document();
        for (header, name) in each_message(&layouts) {
            let (mut body, _) = BodyMaker::new(&layouts, seed).body(&name);
            let at = at.index(body.len() + 1);
            match body.get_mut(at) {
                Some(_) if cut => body.truncate(at),
                Some(there) => *there = byte,
                None => body.push(byte),
            }
            let (read, seen) = (layouts.body(&name, &body), code::decode(&frame_of(header, &body)));
            prop_assert_eq!(read.map(|r| r.debug).ok(), seen.map(|s| s.debug).ok(), "{} {:02x?}", name, body);
        }
    }
}

#[test]
fn the_bodies_that_are_refused_are_refused_by_both() {
    let (document, layouts) = Layouts::with_document();
    for row in &document.table_under("Bodies refused:").rows {
        let (name, body) = (quoted(&row[0])[0], unhex(&row[1]));
        let opcode = layouts.messages.iter().find(|message| message.request.as_deref() == Some(name)).unwrap().opcode;
        let header = FrameHeader::request(Opcode::from_number(opcode).unwrap(), 1);
        assert!(code::decode(&frame_of(header, &body)).is_err(), "the code reads {row:?}");
        assert!(layouts.body(name, &body).is_err(), "the tables read {row:?}");
    }
}

#[test]
fn the_frames_that_are_refused_are_refused() {
    let document = Document::read();
    for row in &document.table_under("Frames refused:").rows {
        let mut buffer = BytesMut::from(&unhex(&row[0])[..]);
        let code = match FrameDecoder::new(MAX_HANDSHAKE_FRAME_BYTES).decode(&mut buffer) {
            Err(error) => ErrorCode::from(&error),
            Ok(frame) => panic!("{row:?} gives {frame:?}"),
        };
        assert_eq!(quoted(&row[1]), [code.name()]);
    }
}

#[test]
fn the_examples_of_numbers_are_right() {
    let (document, layouts) = Layouts::with_document();
    for row in &document.table(&["value", "as `u32`"]).rows {
        assert_eq!(encode_body(&row[0].parse::<u32>().unwrap()), unhex(&row[1]), "{row:?}");
        assert_eq!(layouts.field("u32", &unhex(&row[1])).unwrap().debug, row[0]);
    }
}
