//! The files as files: they are those that are made here, and have what they should have.

use std::{collections::BTreeSet, fs};

use connectify::protocol::{ErrorCode, Opcode};

use crate::{
    code,
    document::{Document, quoted},
    make,
    vector::{self, FORMAT, Kind, Place, Vector},
};

#[test]
fn the_vectors_are_those_that_are_made_here() {
    let made = make::files();
    let read = vector::read_all();
    let groups = |files: &[vector::File]| files.iter().map(|file| file.group.clone()).collect::<Vec<_>>();
    assert_eq!(groups(&read), groups(&made));
    for (read, made) in read.iter().zip(&made) {
        let text = fs::read_to_string(read.path()).unwrap();
        assert_eq!(text, read.to_text(), "{}: one vector a line, as they are made", read.group);
        assert_eq!((read.format, &read.about), (FORMAT, &made.about));
        assert_eq!(read.vectors.len(), made.vectors.len(), "{}", read.group);
        for (read, made) in read.vectors.iter().zip(&made.vectors) {
            // What compressors write may change with their version, what it says may not.
            if read.name.ends_with("-as-a-compressor-writes-it") {
                assert_eq!(read.name, made.name);
                continue;
            }
            assert_eq!(read, made);
        }
    }
}

#[test]
fn there_are_many_vectors_and_each_has_a_name_of_its_own() {
    let vectors = vector::all();
    assert!(vectors.len() >= 300, "{} vectors", vectors.len());
    let names: BTreeSet<_> = vectors.iter().map(|vector| &vector.name).collect();
    assert_eq!(names.len(), vectors.len(), "some vectors share a name");
    let is_slug = |name: &str| {
        let is_word =
            |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        name.split('-').all(is_word)
    };
    assert_eq!(names.iter().filter(|name| !is_slug(name)).collect::<Vec<_>>(), Vec::<&&String>::new());
    let mut seen = BTreeSet::new();
    for vector in &vectors {
        let what = (vector.kind, format!("{:?}{:?}{:?}", vector.message, vector.field_type, vector.state), &vector.hex);
        // A record is read by the first timestamp of its batch, too.
        assert!(vector.kind == Kind::Record || seen.insert(what), "{} is there under another name", vector.name);
    }
}

#[test]
fn every_vector_has_the_members_of_its_kind() {
    for vector in vector::all() {
        let name = &vector.name;
        assert_eq!(vector.message.is_some(), vector.kind == Kind::Body, "{name}");
        assert_eq!(vector.field_type.is_some(), vector.kind == Kind::Field, "{name}");
        assert_eq!(vector.state.is_some(), vector.kind == Kind::Frame, "{name}");
        assert_eq!(vector.first_timestamp.is_some(), vector.kind == Kind::Record, "{name}");
        let has_outcome = vector.value.is_some() || vector.error.is_some();
        assert!(has_outcome != vector.incomplete, "{name} has a value, an error, both, or is incomplete");
        assert!(!vector.incomplete || matches!(vector.kind, Kind::Preface | Kind::Frame), "{name}");
        assert!(vector.canonical || vector.kind == Kind::Batch, "{name}");
        assert_eq!(vector::hex(&vector.bytes()), vector.hex, "{name}: small letters and nothing between them");
    }
}

#[test]
fn every_error_is_one_of_the_table_of_errors() {
    let document = Document::read();
    let rows = &document.table(&["code", "name", "facts", "meaning", "details", "the client"]).rows;
    for vector in vector::all() {
        let Some(error) = &vector.error else { continue };
        let row = rows.iter().find(|row| row[0] == error.code.to_string());
        let row = row.unwrap_or_else(|| panic!("{}: no code {}", vector.name, error.code));
        assert_eq!(quoted(&row[1]), [error.name.as_str()], "{}", vector.name);
        assert!(!row[2].contains('C') || error.place == Place::GoAway, "{}: it closes the connection", vector.name);
        assert!(error.details.is_empty() || !row[4].is_empty(), "{}: {} has no details", vector.name, error.name);
    }
}

#[test]
fn every_message_and_every_code_has_vectors() {
    let vectors = vector::all();
    let names = Opcode::ALL.iter().map(|opcode| code::names(*opcode)).flat_map(|(request, answer)| [request, answer]);
    for name in names.flatten() {
        let of_name: Vec<_> = vectors.iter().filter(|vector| vector.message.as_ref() == Some(&name)).collect();
        assert!(of_name.iter().any(|vector| vector.value.is_some()), "{name} has no good body");
        assert!(of_name.iter().any(|vector| vector.is_unreadable()), "{name} has no bad body");
    }
    let refused: BTreeSet<_> = vectors.iter().filter_map(|vector| Some(vector.error.as_ref()?.code)).collect();
    let told: BTreeSet<_> = vectors.iter().filter_map(code_told).collect();
    for code in ErrorCode::ALL {
        assert!(told.contains(&(*code as u64)), "no body says {}", code.name());
        // What is wrong with bytes needs bytes that are wrong.
        let is_about_bytes = matches!(*code as u16, 1..=10 | 64..=72) || *code == ErrorCode::LimitExceeded;
        assert!(!is_about_bytes || refused.contains(&(*code as u16)), "nothing is refused with {}", code.name());
    }
}

/// The code in the body of an error.
fn code_told(vector: &Vector) -> Option<u64> {
    vector.value.as_ref().filter(|_| vector.message.as_deref() == Some("ErrorBody"))?["code"].as_u64()
}
