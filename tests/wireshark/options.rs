//! Which connections the dissector looks at, and its preferences.

use connectify::{
    Compression, Record,
    record::{BatchBuilder, Epoch, ProducerId, Sequence, SequenceRange},
};

use crate::{
    capture::{Capture, Connection, SEGMENT_BYTES, Side},
    document::Document,
    examples::{fetch_answer, frame, shown},
    tshark::Tshark,
};

const PREFACE: &[u8] = b"CNFY\r\n\x01\0";

/// A request to a server at this port, behind a preface if there is one.
fn ping(port: u16, preface: &[u8]) -> Capture {
    let (mut capture, mut connection) = (Capture::new(SEGMENT_BYTES), Connection::new(10_000, port));
    capture.send(&mut connection, Side::Client, &[preface, &frame(2, 0, b"")].concat());
    capture
}

#[test]
fn it_looks_at_the_port_and_at_whatever_begins_with_the_preface() {
    let Some(tshark) = Tshark::find() else { return };
    assert_eq!(tshark.messages(ping(7466, b"").bytes(), &[]).len(), 1);
    assert_eq!(tshark.messages(ping(9999, PREFACE).bytes(), &[]).len(), 2);
    assert_eq!(tshark.messages(ping(9999, b"").bytes(), &[]).len(), 0);
}

#[test]
fn other_ports_are_a_preference_or_decode_as() {
    let Some(tshark) = Tshark::find() else { return };
    let capture = ping(9999, b"");
    assert_eq!(tshark.messages(capture.bytes(), &["-d", "tcp.port==9999,connectify"]).len(), 1);
    assert_eq!(tshark.messages(capture.bytes(), &["-o", "connectify.ports:9000-9999"]).len(), 1);
    assert_eq!(tshark.messages(ping(7466, b"").bytes(), &["-o", "connectify.ports:9000-9999"]).len(), 0);
    assert_eq!(tshark.messages(ping(7466, b"").bytes(), &["-o", "connectify.ports:"]).len(), 0);
}

#[test]
fn a_wrong_checksum_is_passed_over_if_that_is_preferred() {
    let Some(tshark) = Tshark::find() else { return };
    let document = Document::read();
    let example = document.examples.iter().find(|example| example.caption == "Example batch `none`:").unwrap();
    let mut batch = example.bytes.clone();
    batch[20] ^= 1;
    let (mut capture, mut connection) = (Capture::new(SEGMENT_BYTES), Connection::new(10_000, 7466));
    capture.send(&mut connection, Side::Server, &fetch_answer(&batch));
    assert_eq!(tshark.messages(capture.bytes(), &[])[0].warnings().len(), 1);
    let message = tshark.messages(capture.bytes(), &["-o", "connectify.checksums:FALSE"]).remove(0);
    assert_eq!(message.warnings(), Vec::<&str>::new());
    assert!(message.all().iter().any(|item| item.text.ends_with("[not verified]")));
}

#[test]
fn of_many_records_the_first_are_shown_and_all_are_checked() {
    let Some(tshark) = Tshark::find() else { return };
    let mut builder = BatchBuilder::new();
    for index in 0..5_000 {
        builder.push(&Record::new(index.to_string()), Default::default()).unwrap();
    }
    let sequences = SequenceRange::counting(Sequence(0), 5_000);
    let batch = builder.finish(ProducerId(Default::default()), Epoch(0), sequences, Compression::Lz4);
    let message = shown(&tshark, &[fetch_answer(&batch)]).remove(0);
    assert_eq!(message.warnings(), Vec::<&str>::new());
    assert_eq!(message.shown("connectify.record.value").len(), 1000);
    assert!(message.text.ends_with(" 5000 records from 0"), "{}", message.text);
    assert!(message.all().iter().any(|item| item.text.contains("further records are not shown")));

    let mut spoiled = batch.to_vec();
    spoiled[28] += 1;
    let message = shown(&tshark, &[fetch_answer(&spoiled)]).remove(0);
    assert!(message.warnings().iter().any(|says| says.starts_with("CountMismatch: ")), "{:?}", message.warnings());
}
