//! protocol.md and the code say the same: every table and every hex example of the document is compared with the crate.
//!
//! Two decoders look at each example: the crate's own, and one that is driven by the document's tables and shares no code
//! with the crate, that of src/fuzzing/independent. So the tables are known to be enough for somebody who has nothing but the document.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says what it expects by failing")]

#[path = "protocol_doc/check_batches.rs"]
mod check_batches;
#[path = "protocol_doc/check_examples.rs"]
mod check_examples;
#[path = "protocol_doc/check_messages.rs"]
mod check_messages;
#[path = "protocol_doc/check_references.rs"]
mod check_references;
#[path = "protocol_doc/code.rs"]
mod code;
#[allow(dead_code, reason = "shared with the fuzzers, which use the rest")]
#[path = "../src/fuzzing/independent/mod.rs"]
mod independent;
#[path = "protocol_doc/limits.rs"]
mod limits;
#[path = "protocol_doc/random.rs"]
mod random;

use self::{
    document::{Document, Example},
    independent::{batch, document, tables},
};

/// Examples that are one frame of a message, the session's included.
fn frames(document: &Document) -> impl Iterator<Item = &Example> {
    let is_frame = |example: &&Example| !example.caption.contains(" batch `") && !example.caption.contains("preface");
    document.examples.iter().filter(is_frame)
}

/// Examples that are a batch, by name.
fn batches(document: &Document) -> Vec<(&str, &Example)> {
    let batches = document.examples.iter().filter(|example| example.caption.starts_with("Example batch `"));
    batches.map(|example| (example.name(), example)).collect()
}
