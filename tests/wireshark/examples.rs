//! protocol.md against the dissector: every example, every table, and bodies that are made from the tables.

use crate::{
    capture::{Capture, Connection, SEGMENT_BYTES, Side},
    document::{Document, Example},
    independent::{batch::BatchLayout, notes::Line},
    random::BodyMaker,
    tables::Layouts,
    tree::Item,
    tshark::Tshark,
};

/// A frame with the header of section 3.
pub(crate) fn frame(opcode: u16, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = (8 + u32::try_from(body.len()).unwrap()).to_le_bytes().to_vec();
    frame.extend(opcode.to_le_bytes());
    frame.extend([1, flags]);
    frame.extend(7u32.to_le_bytes());
    frame.extend(body);
    frame
}

/// The trees of frames, each of which goes over a connection of its own.
#[track_caller]
pub(crate) fn shown(tshark: &Tshark, frames: &[Vec<u8>]) -> Vec<Item> {
    let mut capture = Capture::new(SEGMENT_BYTES);
    // Wireshark looks at the lower port of the two first.
    for (frame, client) in frames.iter().zip(10_000..) {
        let is_request = frame.get(5).is_none_or(|byte| byte & 0x80 == 0);
        let side = if is_request { Side::Client } else { Side::Server };
        capture.send(&mut Connection::new(client, 7466), side, frame);
    }
    let messages = tshark.messages(capture.bytes(), &[]);
    assert_eq!(messages.len(), frames.len(), "each frame is a message");
    messages
}

/// What is compared with the document's annotations: the items that stand for fields, in order.
fn fields(message: &Item) -> Vec<&Item> {
    let mut found = Vec::new();
    for item in &message.items {
        let name = item.name.strip_prefix("connectify.").unwrap_or(&item.name);
        // Bits of a field above, and what the dissector knows from elsewhere.
        let is_extra = ["_ws.expert", "answer", "request_in", "answer_in", "time"].contains(&name)
            || ["flags.", "facts."].iter().any(|prefix| name.starts_with(prefix));
        let is_group = name.is_empty() && !item.items.is_empty();
        if is_extra || (name == "batch" && item.size == 0) {
            continue;
        }
        if !is_group {
            found.push(item);
        }
        if name != "batch" {
            found.extend(fields(item));
        }
    }
    found
}

/// The annotations without those that only say that an option is present: its byte belongs to the value that follows.
fn annotations(lines: &[Line]) -> Vec<(&str, &str, Vec<u8>)> {
    let (mut found, mut present) = (Vec::new(), None);
    for line in lines {
        let (path, value) = line.comment.split_once(": ").unwrap_or_else(|| panic!("{:?}", line.comment));
        if value == "present" {
            present = Some(path);
            continue;
        }
        let mut bytes = line.bytes.clone();
        if present.take() == Some(path) {
            bytes.insert(0, 1);
        }
        // The last name of the path; those of records have the number of the record before them.
        let name = path.rsplit(['.', ',']).next().unwrap_or(path).trim_start();
        found.push((name, value, bytes));
    }
    found
}

/// Whether an item of the tree shows the value that an annotation states.
fn agrees(item: &Item, name: &str, value: &str) -> bool {
    // A field that is some bits of its bytes shows which.
    let text = item.text.rsplit("= ").next().unwrap_or(&item.text);
    let Some((label, text)) = text.split_once(": ").or(text.split_once(" (").map(|(label, _)| (label, label))) else {
        return false;
    };
    if item.name == "connectify.start" {
        return value == format!("tag {}, {}", item.show, text.split(' ').next().unwrap_or_default());
    }
    // What follows the tag of a start has a name of its own.
    let is_start = name == "start" && ["offset", "timestamp_us", "consumer_id"].contains(&label);
    let is_label = label == name || is_start;
    if let Some(count) = value.strip_prefix("count ") {
        return item.name == format!("connectify.{name}.count") && item.show == count;
    }
    let agrees = match (name, value) {
        ("opcode", _) => value.ends_with(&format!(" {}", text.split(' ').next().unwrap_or_default())),
        ("flags", _) => value.starts_with(&u8::from_str_radix(&item.show[2..], 16).unwrap().to_string()),
        (_, "true") => item.show == "1",
        (_, "false") => item.show == "0",
        (_, "absent") => text == "absent",
        _ if value.starts_with('"') => is_quoted(&item.show, &item.bytes, value),
        _ if value.ends_with(" bytes") => text.split(' ').next() == value.split(' ').next(),
        _ if item.text.contains(" UTC") => is_time(&item.show, value.parse().unwrap()),
        _ if item.text.contains("after the year") => text.split(' ').next() == Some(value),
        _ => item.show == value,
    };
    is_label && agrees
}

/// Characters that any of the programs in between would escape are compared by their bytes alone.
fn is_quoted(show: &str, bytes: &[u8], value: &str) -> bool {
    let inner = &value[1..value.len() - 1];
    let is_plain = inner.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') && !inner.contains(['\\', '"']);
    !is_plain || show == inner || bytes == inner.as_bytes()
}

/// The fraction of a second, and the day of the examples.
fn is_time(show: &str, micros: u64) -> bool {
    let is_day = (1_767_225_600..1_767_312_000).contains(&(micros / 1_000_000));
    show.contains(&format!("{:06}000 UTC", micros % 1_000_000)) && (!is_day || show.contains("2026"))
}

/// What of a message is shown in another way than annotated, or nothing.
fn difference(message: &Item, lines: &[Line]) -> Option<String> {
    let (fields, annotations) = (fields(message), annotations(lines));
    for (item, (name, value, bytes)) in fields.iter().zip(&annotations) {
        let same_bytes = match (item.name.as_str(), *name) {
            // The item takes in what follows the tag.
            ("connectify.start", _) => item.bytes.first() == bytes.first(),
            // The item is the bytes without their count.
            (_, "credentials") => bytes.ends_with(&item.bytes),
            // PDML does not tell the bytes of what has no value.
            ("" | "connectify.batch", _) => item.size == bytes.len(),
            _ => item.bytes == *bytes,
        };
        if !same_bytes || !agrees(item, name, value) {
            return Some(format!("{name}: {value} ({bytes:02x?}) is shown as {item:02x?}"));
        }
    }
    let (shown, annotated) = (fields.len(), annotations.len());
    (shown != annotated).then(|| format!("{shown} of {annotated} fields are shown: {message:#?}"))
}

fn is_frame(example: &&Example) -> bool {
    !example.caption.contains(" batch `") && !example.caption.contains("preface")
}

#[test]
fn every_example_is_shown_as_the_document_annotates_it() {
    let Some(tshark) = Tshark::find() else { return };
    let (document, layouts) = Layouts::with_document();
    let examples: Vec<_> = document.examples.iter().filter(is_frame).collect();
    let frames: Vec<_> = examples.iter().map(|example| example.bytes.clone()).collect();
    for (message, example) in shown(&tshark, &frames).iter().zip(&examples) {
        assert_eq!(message.warnings(), Vec::<&str>::new(), "{}", example.caption);
        let mut lines = Vec::new();
        layouts.frame(&example.bytes, &mut lines).unwrap();
        assert_eq!(difference(message, &lines), None, "{}", example.caption);
    }
    assert!(examples.len() > 50, "only {}", examples.len());
}

#[test]
fn every_field_of_every_message_is_shown_whatever_its_value() {
    let Some(tshark) = Tshark::find() else { return };
    let (_, layouts) = Layouts::with_document();
    let mut frames = Vec::new();
    for seed in 0..40 {
        for row in &layouts.messages {
            let sides = [(row.request.as_ref(), row.opcode), (row.answer.as_ref(), row.opcode | 0x8000)];
            for (name, opcode) in sides.into_iter().filter_map(|(name, opcode)| Some((name?, opcode))) {
                frames.push(frame(opcode, 0, &BodyMaker::new(&layouts, seed).body(name).0));
            }
            frames.push(frame(row.opcode | 0x8000, 1, &BodyMaker::new(&layouts, seed).body("ErrorBody").0));
        }
    }
    for (message, frame) in shown(&tshark, &frames).iter().zip(&frames) {
        let mut lines = Vec::new();
        let Ok(decoded) = layouts.frame(frame, &mut lines) else {
            // GoAway has no answer, so its tables do not say that the body of one is an error.
            assert_eq!(frame[4..6], [3, 0x80], "{frame:02x?}");
            continue;
        };
        let of_body = message.warnings().into_iter().find(|says| says.starts_with("MalformedBody"));
        assert_eq!(of_body, None, "{frame:02x?}");
        assert_eq!(difference(message, &lines), None, "{} in {frame:02x?}", decoded.name);
    }
}

#[test]
fn every_batch_is_shown_as_the_document_annotates_it() {
    let Some(tshark) = Tshark::find() else { return };
    let document = Document::read();
    let examples: Vec<_> = document.examples.iter().filter(|example| example.caption.contains(" batch `")).collect();
    let frames: Vec<_> = examples.iter().map(|example| fetch_answer(&example.bytes)).collect();
    let messages = shown(&tshark, &frames);
    let batches: Vec<_> = messages.iter().map(batch_of).collect();
    let records = records_of(batches[0]);
    for (batch, example) in batches.iter().zip(&examples) {
        assert_eq!(batch.warnings(), Vec::<&str>::new(), "{}", example.caption);
        assert!(batch.text.ends_with(", 3 records, offsets 1001..1004"), "{}", batch.text);
        let mut lines = Vec::new();
        assert!(BatchLayout::read(&document).decode(&example.bytes, &mut lines).is_ok(), "{}", example.caption);
        let (header, rest) = lines.split_at(14);
        let shown = Item { items: fields_of_header(batch), ..Item::default() };
        assert_eq!(difference(&shown, header), None, "{}", example.caption);
        if example.name() == "none" {
            let shown = Item { items: records.clone(), ..Item::default() };
            assert_eq!(difference(&shown, rest), None, "{}", example.caption);
        }
        // Wireshark decompresses Zstandard since 4.4.
        let is_left_out = batch.all().iter().any(|item| item.text.contains("does not decompress"));
        let text = |items: &[Item]| items.iter().map(|item| item.text.clone()).collect::<Vec<_>>();
        if !(example.name() == "zstd" && is_left_out) {
            assert_eq!(text(&records_of(batch)), text(&records), "{}", example.caption);
        }
    }
    let offsets = batches[0].shown("connectify.record.offset");
    assert_eq!(offsets, ["1001", "1002", "1003"]);
    let times = batches[0].shown("connectify.record.timestamp");
    assert!(times[1].contains("00:00:00.001500000") && times[2].contains("23:59:59.999980000"), "{times:?}");
}

/// An answer to Fetch that holds this batch.
pub(crate) fn fetch_answer(batch: &[u8]) -> Vec<u8> {
    let length = u16::try_from(batch.len()).unwrap();
    let lengths =
        if length < 251 { vec![length.to_le_bytes()[0]] } else { [&[0xfb], &length.to_le_bytes()[..]].concat() };
    frame(0x8031, 0, &[&[0, 0, 1], &lengths[..], batch].concat())
}

fn batch_of(message: &Item) -> &Item {
    message.items.iter().find(|item| item.name == "connectify.batch").unwrap_or_else(|| panic!("{message:#?}"))
}

fn fields_of_header(batch: &Item) -> Vec<Item> {
    batch.items.iter().take(14).cloned().collect()
}

/// The fields of the records as they are on the wire; what is empty has no bytes there.
fn records_of(batch: &Item) -> Vec<Item> {
    let records = batch.items.iter().filter(|item| item.name == "connectify.record");
    let is_on_wire = |item: &&Item| {
        !item.bytes.is_empty()
            && !["connectify.record.offset", "connectify.record.timestamp"].contains(&item.name.as_str())
    };
    records.flat_map(|record| record.items.iter().filter(is_on_wire).cloned()).collect()
}

#[test]
fn every_error_is_shown_with_its_name_and_its_details() {
    let Some(tshark) = Tshark::find() else { return };
    let document = Document::read();
    let table = document.table(&["code", "name", "facts", "meaning", "details", "the client"]);
    let (mut frames, mut expected) = (Vec::new(), Vec::new());
    for row in &table.rows {
        let code: u8 = row[0].parse().unwrap();
        let facts = [("R", 1), ("M", 2), ("C", 4)].iter().filter(|(letter, _)| row[2].contains(letter));
        let body = [code, facts.map(|(_, bit)| bit).sum(), 0, 3, 0, 1, 2];
        // The answer to an Append has details that others do not have.
        for (opcode, is_append) in [(0x8021, true), (0x8031, false)] {
            frames.push(frame(opcode, 1, &body));
            expected.push((row, is_append));
        }
    }
    for (message, (row, is_append)) in shown(&tshark, &frames).iter().zip(expected) {
        let name = row[1].trim_matches('`');
        let code = message.all().into_iter().find(|item| item.name == "connectify.code").unwrap();
        assert_eq!(code.text, format!("code: {name} ({})", row[0]));
        for (letter, field) in [("R", "retryable"), ("M", "may_have_applied"), ("C", "closes")] {
            let is_set = if row[2].contains(letter) { "1" } else { "0" };
            assert_eq!(message.first(&format!("connectify.facts.{field}")), is_set, "{name}");
        }
        let details = message.all().into_iter().filter(|item| item.name == "connectify.details");
        let shown: Vec<_> = details.map(|item| item.text.split_once(": ").unwrap().1.to_owned()).collect();
        let listed = details_of(&row[4], is_append).into_iter().map(Some).chain([None; 3]);
        let expected = listed.zip(0..3).map(|(listed, number)| match listed {
            Some(listed) => format!("{number} ({listed})"),
            None => number.to_string(),
        });
        assert_eq!(shown, expected.collect::<Vec<_>>(), "{name}");
    }
}

/// What section 6.3 lists as details of a code.
fn details_of(cell: &str, is_append: bool) -> Vec<&str> {
    let cell = cell.strip_prefix("after Hello: ").unwrap_or(cell);
    let mut details: Vec<_> = cell.split([';', ',']).map(str::trim).filter(|detail| !detail.is_empty()).collect();
    if let Some(at) = details.iter().position(|detail| *detail == "in an Append") {
        details.remove(at);
        if !is_append {
            details.remove(at - 1);
        }
    }
    details
}
