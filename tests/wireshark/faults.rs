//! What protocol.md does not allow is pointed out, and the dissector never fails over it.

use bytes::Bytes;
use connectify::record::Batch;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    batch,
    capture::{Capture, Connection, SEGMENT_BYTES, Side},
    document::{Document, quoted, unhex},
    examples::{fetch_answer, frame, shown},
    random::BodyMaker,
    tables::Layouts,
    tree::Item,
    tshark::Tshark,
};

/// The first fault that was found in the body of a message.
fn fault(message: &Item) -> Option<&str> {
    message.warnings().into_iter().find(|says| says.starts_with("MalformedBody: "))
}

/// The example with this name of section 5.5.
fn example_batch(document: &Document, name: &str) -> Vec<u8> {
    let caption = format!("Example batch `{name}`:");
    document.examples.iter().find(|example| example.caption == caption).unwrap().bytes.clone()
}

fn with_right_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = batch::crc32c(&bytes[24..]);
    bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn the_bodies_that_are_refused_are_pointed_out() {
    let Some(tshark) = Tshark::find() else { return };
    let (document, layouts) = Layouts::with_document();
    let rows = &document.table_under("Bodies refused:").rows;
    let frames = rows.iter().map(|row| {
        let message = layouts.messages.iter().find(|message| message.name == quoted(&row[0])[0]).unwrap();
        frame(message.opcode, 0, &unhex(&row[1]))
    });
    for (message, row) in shown(&tshark, &frames.collect::<Vec<_>>()).iter().zip(rows) {
        assert!(fault(message).is_some(), "{}: {message:#?}", row[2]);
    }
}

#[test]
fn the_batches_that_are_refused_are_pointed_out_with_the_name_of_their_error() {
    let Some(tshark) = Tshark::find() else { return };
    let document = Document::read();
    let whole = example_batch(&document, "none");
    let rows = &document.table_under("Batches refused:").rows;
    let frames = rows.iter().map(|row| {
        let (at, change, mut bytes) = (row[0].parse::<usize>().unwrap(), unhex(&row[1]), whole.clone());
        bytes[at..at + change.len()].copy_from_slice(&change);
        fetch_answer(&if at < 24 { bytes } else { with_right_checksum(bytes) })
    });
    for (message, row) in shown(&tshark, &frames.collect::<Vec<_>>()).iter().zip(rows) {
        let warnings = message.warnings();
        let name = format!("{}: ", quoted(&row[2])[0]);
        assert!(warnings.len() == 1 && warnings[0].starts_with(&name), "{}: {warnings:?}", row[3]);
    }
}

#[test]
fn a_wrong_checksum_is_a_warning_and_the_records_are_shown_all_the_same() {
    let Some(tshark) = Tshark::find() else { return };
    let mut bytes = example_batch(&Document::read(), "none");
    *bytes.last_mut().unwrap() ^= 1;
    let frames = [fetch_answer(&bytes), fetch_answer(&with_right_checksum(bytes))];
    let messages = shown(&tshark, &frames);
    let warnings = messages[0].warnings();
    assert!(warnings.len() == 1 && warnings[0].starts_with("BatchChecksum: "), "{warnings:?}");
    assert_eq!(messages[1].warnings(), Vec::<&str>::new());
    assert_eq!(messages[0].shown("connectify.record.value"), messages[1].shown("connectify.record.value"));
    assert_eq!(messages[0].shown("connectify.record.value").len(), 3);
}

#[test]
fn frames_that_are_refused_for_their_headers_are_pointed_out() {
    let Some(tshark) = Tshark::find() else { return };
    let document = Document::read();
    let rows = &document.table_under("Frames refused:").rows;
    // The limit before Hello is answered depends on what came before, which a dissector may not have seen.
    let rows: Vec<_> = rows.iter().filter(|row| !row[2].contains("before Hello")).collect();
    let frames: Vec<_> = rows.iter().map(|row| unhex(&row[0])).collect();
    let mut expected: Vec<_> = rows.iter().map(|row| format!("{}: ", quoted(&row[1])[0])).collect();
    assert_eq!(expected.len(), 3);

    // A length over the limit of every connection, somebody who speaks HTTP, and a preface that goes wrong.
    let more: [&[u8]; 4] = [&[1, 0, 0x80, 0], b"GET / HTTP/1.1\r\n\r\n", b"CNFY\n\n\x01\0", b"CNFY\r\n\x02\0"];
    expected.extend(["FrameTooLarge: ", "FrameTooLarge: ", "BadPreface: ", "UnsupportedVersion: "].map(str::to_owned));
    let frames: Vec<_> = frames.into_iter().chain(more.map(<[u8]>::to_vec)).collect();
    for (message, (name, frame)) in shown(&tshark, &frames).iter().zip(expected.iter().zip(&frames)) {
        let warnings = message.warnings();
        assert!(warnings.len() == 1 && warnings[0].starts_with(name), "{frame:02x?}: {warnings:?}");
    }
}

#[test]
fn messages_and_versions_that_are_not_known_are_pointed_out_and_left_alone() {
    let Some(tshark) = Tshark::find() else { return };
    let mut later = frame(0x0012, 0, &[0, 5]);
    later[6] = 2;
    // Bodies of errors stay as they are in all versions.
    let mut refusal = frame(0x8012, 1, &[10, 0, 0, 0]);
    refusal[6] = 2;
    let frames = [frame(0x0777, 0, b"what?"), frame(0x0033, 0, b""), frame(0x8034, 0, b""), later, refusal];
    let messages = shown(&tshark, &frames);
    for message in &messages[..4] {
        assert_eq!(message.warnings(), ["this message, in this version, is not known"]);
    }
    assert!(messages[0].text.starts_with("Connectify, opcode 0x0777 #7"), "{}", messages[0].text);
    assert_eq!(messages[4].first("connectify.code"), "10");
    assert_eq!(messages[4].warnings(), Vec::<&str>::new());
}

#[test]
fn a_body_is_pointed_out_exactly_if_the_document_does_not_allow_it() {
    let Some(tshark) = Tshark::find() else { return };
    let (_, layouts) = Layouts::with_document();
    let mut random = StdRng::seed_from_u64(1);
    let mut frames = Vec::new();
    for seed in 0..60 {
        for row in &layouts.messages {
            let sides = [(row.request.as_ref(), row.opcode), (row.answer.as_ref(), row.opcode | 0x8000)];
            for (name, opcode) in sides.into_iter().filter_map(|(name, opcode)| Some((name?, opcode))) {
                let mut body = BodyMaker::new(&layouts, seed).spoil(random.random_range(0..6)).body(name).0;
                spoil(&mut body, &mut random);
                frames.push(frame(opcode, 0, &body));
            }
        }
    }
    let mut refused = 0;
    for (message, frame) in shown(&tshark, &frames).iter().zip(&frames) {
        let refusal = layouts.frame(frame, &mut ()).err();
        assert_eq!(fault(message).is_some(), refusal.is_some(), "{refusal:?}: {frame:02x?} is {message:#?}");
        refused += usize::from(refusal.is_some());
    }
    assert!(refused > frames.len() / 4 && refused < frames.len(), "{refused} of {}", frames.len());
}

#[test]
fn a_text_is_pointed_out_exactly_if_it_is_not_utf_8() {
    let Some(tshark) = Tshark::find() else { return };
    let mut random = StdRng::seed_from_u64(4);
    // Where the ranges of RFC 3629 begin and end.
    let first =
        [0x00, 0x7f, 0x80, 0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5];
    let other = [0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0];
    let mut texts = Vec::new();
    for _ in 0..3000 {
        let mut text = vec![first[random.random_range(0..first.len())]];
        text.extend((0..random.random_range(0..4)).map(|_| other[random.random_range(0..other.len())]));
        texts.push(text);
    }
    let body = |text: &Vec<u8>| [&[u8::try_from(text.len()).unwrap()], &text[..], &[0]].concat();
    let frames: Vec<_> = texts.iter().map(|text| frame(0x0012, 0, &body(text))).collect();
    for (message, text) in shown(&tshark, &frames).iter().zip(&texts) {
        assert_eq!(fault(message).is_none(), std::str::from_utf8(text).is_ok(), "{text:02x?}");
    }
}

#[test]
fn a_batch_is_pointed_out_exactly_if_a_server_refuses_it() {
    let Some(tshark) = Tshark::find() else { return };
    let document = Document::read();
    let mut random = StdRng::seed_from_u64(2);
    let mut batches = Vec::new();
    for index in 0..1500 {
        // Not every version of Wireshark decompresses Zstandard.
        let mut bytes = example_batch(&document, ["none", "lz4"][index % 2]);
        // A field of the header, or the records.
        let range = if random.random_bool(0.3) { 16..80 } else { 80..bytes.len() };
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(range.clone());
            bytes[at] = any_byte(&mut random);
        }
        if random.random_bool(0.1) {
            bytes.truncate(random.random_range(0..bytes.len()));
        }
        batches.push(if bytes.len() > 24 { with_right_checksum(bytes) } else { bytes });
    }
    let frames: Vec<_> = batches.iter().map(|batch| fetch_answer(batch)).collect();
    let mut refused = 0;
    for (message, bytes) in shown(&tshark, &frames).iter().zip(&batches) {
        let refusal = Batch::check(Bytes::copy_from_slice(bytes)).err().map(|error| error.to_string());
        let warnings = message.warnings();
        assert_eq!(!warnings.is_empty(), refusal.is_some(), "{refusal:?}, {warnings:?}: {bytes:02x?}");
        refused += usize::from(refusal.is_some());
    }
    assert!(refused > 500 && refused < 1400, "{refused}");
}

#[test]
fn whatever_comes_the_dissector_does_not_fail() {
    let Some(tshark) = Tshark::find() else { return };
    let document = Document::read();
    let mut random = StdRng::seed_from_u64(3);
    let mut capture = Capture::new(SEGMENT_BYTES);
    let examples: Vec<_> = document.examples.iter().map(|example| &example.bytes).collect();
    for client in 10_000..13_000 {
        let mut bytes = examples[random.random_range(0..examples.len())].clone();
        for _ in 0..3 {
            spoil(&mut bytes, &mut random);
        }
        let side = if random.random() { Side::Client } else { Side::Server };
        capture.send(&mut Connection::new(client, 7466), side, &bytes);
    }
    assert!(tshark.messages(capture.bytes(), &["-2"]).len() > 1000);
}

#[test]
fn a_list_of_nothing_does_not_fill_the_tree() {
    let Some(tshark) = Tshark::find() else { return };
    let count = 1_200_000u32;
    let body = [&[0, 0, 0xfc], &count.to_le_bytes()[..], &vec![0; count as usize]].concat();
    let message = shown(&tshark, &[frame(0x8031, 0, &body)]).remove(0);
    assert!(fault(&message).is_some(), "{:?}", message.warnings());
}

#[test]
fn what_the_capture_cut_off_is_not_a_fault() {
    let Some(tshark) = Tshark::find() else { return };
    let document = Document::read();
    let mut capture = Capture::new(SEGMENT_BYTES);
    // The headers of IP and TCP take 40 bytes, so no more than the header of the batch is left.
    capture.snap_bytes = 140;
    let mut connection = Connection::new(10_000, 7466);
    capture.send(&mut connection, Side::Server, &fetch_answer(&example_batch(&document, "none")));
    let messages = tshark.messages(capture.bytes(), &[]);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].warnings(), Vec::<&str>::new());
    assert!(messages[0].complaints().iter().any(|(_, says)| says.contains("not captured")), "{:#?}", messages[0]);
}

/// Changes, removes or adds something.
fn spoil(bytes: &mut Vec<u8>, random: &mut StdRng) {
    let at = random.random_range(0..=bytes.len());
    match random.random_range(0..4) {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, any_byte(random)),
        _ if at < bytes.len() => bytes[at] = any_byte(random),
        _ => {}
    }
}

/// Any byte, but more often one that means something.
fn any_byte(random: &mut StdRng) -> u8 {
    let special = [0, 1, 2, 127, 128, 250, 251, 252, 253, 254, 255];
    if random.random() { special[random.random_range(0..special.len())] } else { random.random() }
}
