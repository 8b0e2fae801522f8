//! Errors, limits and references between sections against the code.

use std::collections::BTreeSet;

use connectify::protocol::*;

use super::{
    document::{Document, quoted},
    limits,
};

#[test]
fn the_table_of_errors_is_the_one_of_the_code() {
    let document = Document::read();
    let rows = &document.table(&["code", "name", "facts", "meaning", "details", "the client"]).rows;
    let facts = |letters: &str| letters.chars().map(|c| 1u8 << "RMC".find(c).expect("R, M or C")).sum::<u8>();
    let written: Vec<_> =
        rows.iter().map(|row| (row[0].parse().unwrap(), quoted(&row[1])[0], facts(&row[2]))).collect();
    let known: Vec<_> = ErrorCode::ALL.iter().map(|code| (*code as u16, code.name(), code.facts())).collect();
    assert_eq!(written, known);
    assert!(rows.iter().all(|row| !row[3].is_empty() && !row[5].is_empty()));
    assert_eq!([ErrorBody::RETRYABLE, ErrorBody::MAY_HAVE_APPLIED, ErrorBody::CLOSES_CONNECTION], [1, 2, 4]);
}

#[test]
fn every_message_names_errors_that_exist_and_every_error_of_a_request_is_named() {
    let document = Document::read();
    let is_name = |name: &&str| name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.contains(' ');
    let text = document.prose.join("\n");
    let errors = text.split("\n\n").map(str::trim_start).filter(|text| text.starts_with("Errors"));
    let named: BTreeSet<_> = errors.flat_map(|paragraph| quoted(paragraph)).filter(is_name).collect();
    let known: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
    // The rest belongs to the connection, or to every request.
    let general = [
        "BadFrame",
        "BadPreface",
        "CorrelationInUse",
        "DiskFull",
        "FrameTooLarge",
        "FrameTooShort",
        "HelloExpected",
        "IdleTimeout",
        "Indeterminate",
        "MalformedBody",
        "TooManyConnections",
        "TooSlow",
        "UnknownMessageVersion",
        "UnknownOpcode",
    ];
    assert_eq!(known.difference(&named).copied().collect::<Vec<_>>(), general);
    assert!(general.iter().all(|name| text.contains(&format!("`{name}`")) || document_tables_name(&document, name)));
}

fn document_tables_name(document: &Document, name: &str) -> bool {
    let code = format!("`{name}`");
    document.tables.iter().filter(|t| t.columns[0] != "code").any(|t| t.rows.concat().iter().any(|c| c.contains(&code)))
}

#[test]
fn the_table_of_limits_is_the_one_of_the_code() {
    let document = Document::read();
    let rows = &document.table(&["limit", "value", "unit", "meaning"]).rows;
    let row = |row: &'_ Vec<String>| (quoted(&row[0])[0].to_owned(), row[1].replace(',', ""), row[2] == "seconds");
    let written: Vec<_> = rows.iter().map(row).collect();
    let known =
        limits::wire().into_iter().map(|limit| (limit.name.to_owned(), limit.value.to_string(), limit.is_seconds));
    assert_eq!(written, known.collect::<Vec<_>>());
    assert_eq!(limits::missing(), Vec::<String>::new(), "wire limits that tests/protocol_doc/limits.rs leaves out");
}

#[test]
fn every_limit_and_every_section_that_is_referred_to_exists() {
    let document = Document::read();
    let text = include_str!("../../protocol.md");
    let known: BTreeSet<_> = limits::wire().iter().map(|limit| limit.name).collect();
    let is_limit = |name: &&str| name.len() > 3 && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(is_limit);
    let unknown: BTreeSet<_> = words.filter(|w| w.contains('_') && !known.contains(w)).collect();
    assert_eq!(unknown, BTreeSet::new());
    assert_eq!(missing_sections(text, &document), Vec::<String>::new());
}

#[test]
fn every_section_that_the_code_cites_exists() {
    let document = Document::read();
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let cited: String =
                text.split("protocol.md ").skip(1).map(|rest| format!("{}\n", &rest[..rest.len().min(16)])).collect();
            assert_eq!(missing_sections(&cited, &document), Vec::<String>::new(), "{}", path.display());
        }
    }
}

/// Numbers behind the words "section" and "sections" that no heading has.
fn missing_sections(text: &str, document: &Document) -> Vec<String> {
    let after = text.split("ection").skip(1).map(|rest| rest.trim_start_matches('s').trim_start());
    let number =
        |rest: &str| rest.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default().to_owned();
    let numbers = after.map(number).map(|number| number.trim_end_matches('.').to_owned());
    numbers.filter(|number| !number.is_empty() && !document.sections.contains(number)).collect()
}
