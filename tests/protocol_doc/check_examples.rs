//! The hex examples of protocol.md, through both decoders.

use std::collections::BTreeSet;

use bytes::BytesMut;
use connectify::{protocol::*, record::Batch};

use super::{
    batches, code,
    document::{Document, Example},
    frames,
    independent::{batch::BatchLayout, notes::Line},
    tables::Layouts,
};

#[test]
fn every_example_decodes_and_encodes_to_the_same_bytes() {
    let document = Document::read();
    for example in frames(&document) {
        let seen = code::decode(&code::frame(&example.bytes)).unwrap_or_else(|e| panic!("{}: {e}", example.caption));
        assert_eq!(seen.bytes, example.bytes, "{}", example.caption);
    }
}

#[test]
fn the_tables_alone_decode_every_example_as_the_code_does() {
    let (document, layouts) = Layouts::with_document();
    for example in frames(&document) {
        let seen = code::decode(&code::frame(&example.bytes)).unwrap();
        let read = layouts.frame(&example.bytes, &mut ()).unwrap_or_else(|e| panic!("{}: {e}", example.caption));
        assert_eq!((read.name, read.debug), (seen.name, seen.debug), "{}", example.caption);
    }
}

#[test]
fn every_example_is_annotated_with_what_the_tables_say() {
    let (document, layouts) = Layouts::with_document();
    for example in frames(&document) {
        let mut lines = Vec::new();
        layouts.frame(&example.bytes, &mut lines).unwrap();
        let block = hex_block(&lines);
        assert_eq!(example.text, block, "{}: the block should be\n{block}", example.caption);
    }
    let layout = BatchLayout::read(&document);
    for (_, example) in batches(&document) {
        let mut lines = Vec::new();
        assert!(layout.decode(&example.bytes, &mut lines).is_ok(), "{}", example.caption);
        let block = hex_block(&lines);
        assert_eq!(example.text, block, "{}: the block should be\n{block}", example.caption);
    }
}

#[test]
fn every_example_is_what_its_caption_says() {
    let (document, layouts) = Layouts::with_document();
    for example in frames(&document) {
        let name = example.name();
        let decoded = layouts.frame(&example.bytes, &mut ()).unwrap().name;
        let is_go_away = name == "GoAway" && decoded == "ErrorBody" && example.bytes[4..6] == [3, 0];
        assert!(is_go_away || name == decoded, "{} holds {decoded}", example.caption);
    }
}

#[test]
fn every_message_has_an_example_in_its_section() {
    let (document, layouts) = Layouts::with_document();
    let section_4 = |example: &&Example| example.section.starts_with("4.") && example.caption.starts_with("Example `");
    let found: BTreeSet<_> = frames(&document).filter(section_4).map(Example::name).collect();
    for row in &layouts.messages {
        let names = [row.request.as_deref(), row.answer.as_deref()].into_iter().flatten();
        for name in names.map(|name| if name == "ErrorBody" { &row.name } else { name }) {
            assert!(found.contains(name), "{name} has no example");
        }
    }
}

#[test]
fn the_preface_is_what_the_code_sends() {
    let document = Document::read();
    let examples: Vec<_> = document.examples.iter().filter(|example| example.caption.contains("preface")).collect();
    assert_eq!(examples.len(), 2);
    assert!(examples.iter().all(|example| example.bytes == preface()));
}

#[test]
fn the_session_is_two_streams_of_frames() {
    let document = Document::read();
    let side = |who: &str| -> Vec<u8> {
        let session = document.examples.iter().filter(|example| example.section == "11");
        session.filter(|example| example.caption.starts_with(who)).flat_map(|example| example.bytes.clone()).collect()
    };
    let read = |bytes: &[u8]| -> Vec<Frame> {
        let (mut decoder, mut buffer) = (FrameDecoder::default(), BytesMut::from(bytes));
        let frames = std::iter::from_fn(|| decoder.decode(&mut buffer).unwrap()).collect();
        assert!(buffer.is_empty());
        frames
    };
    let (client, server) = (read(&side("Client")[PREFACE_BYTES..]), read(&side("Server")));
    let asked: Vec<_> = client.iter().filter(|frame| !frame.header.is_answer).map(|f| f.header).collect();
    let answered: Vec<_> = server.iter().filter(|frame| frame.header.is_answer).map(|f| f.header).collect();
    let as_answer = |header: &FrameHeader| FrameHeader { is_answer: true, ..*header };
    assert_eq!(asked.iter().map(as_answer).collect::<Vec<_>>(), answered);

    let fetched = server.iter().find(|frame| frame.header.opcode == Opcode::Fetch as u16).unwrap();
    let (_, kept) = decode_answer::<FetchAnswer>(fetched).unwrap();
    let appends = client.iter().filter(|frame| frame.header.opcode == Opcode::Append as u16);
    for append in appends {
        let (_, sent) = decode_request::<Append>(append).unwrap();
        assert_eq!(sent[0][16..], kept[0][16..], "the server stamps the first 16 bytes and nothing else");
        Batch::check(sent[0].clone()).unwrap();
    }
}

/// Lines as they stand in a `hex` block: at most 16 bytes each, comments aligned.
fn hex_block(lines: &[Line]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    let widest = lines.iter().map(|line| line.bytes.len().min(16) * 3 - 1).max().unwrap_or(0);
    let mut out = String::new();
    for line in lines {
        for (index, bytes) in line.bytes.chunks(16).enumerate() {
            match index {
                0 => out += &format!("{:<widest$}  # {}\n", hex(bytes), line.comment),
                _ => out += &format!("{}\n", hex(bytes)),
            }
        }
    }
    out
}
