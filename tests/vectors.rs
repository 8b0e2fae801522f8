//! The conformance vectors of `tests/vectors`: bytes, and what they mean or why they are refused (protocol.md section 12).
//!
//! They are made here, by the tables of protocol.md. Then each is held against the crate, against the decoder that goes by
//! the tables, and, where it is refused, against a server. `WRITE_VECTORS=1 cargo test vectors` writes them anew, and the
//! seeds of the fuzzers with them.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says what it expects by failing")]

// What reads protocol.md is shared with tests/protocol_doc.rs and the fuzzers, what talks to a server with tests/it.
#[path = "vectors/check/bodies.rs"]
mod check_bodies;
#[path = "vectors/check/connection.rs"]
mod check_connection;
#[path = "vectors/check/files.rs"]
mod check_files;
#[path = "vectors/check/form.rs"]
mod check_form;
#[path = "vectors/check/records.rs"]
mod check_records;
#[path = "vectors/check/server.rs"]
mod check_server;
#[allow(dead_code, reason = "shared with another test, which uses the rest")]
#[path = "protocol_doc/code.rs"]
mod code;
#[allow(dead_code, reason = "shared with another test, which uses the rest")]
#[path = "../src/fuzzing/independent/mod.rs"]
mod independent;
#[path = "vectors/make/mod.rs"]
mod make;
#[path = "vectors/meaning.rs"]
mod meaning;
#[path = "vectors/seeds.rs"]
mod seeds;
#[allow(dead_code, unused_imports, reason = "shared with another test, which uses the rest")]
#[path = "it/support/mod.rs"]
mod support;
#[path = "vectors/vector.rs"]
mod vector;

use self::{
    independent::{batch, document, tables},
    vector::{Kind, Vector},
};

/// The vectors of these kinds.
fn of_kinds(kinds: &[Kind]) -> Vec<Vector> {
    let mut vectors = vector::all();
    vectors.retain(|vector| kinds.contains(&vector.kind));
    assert!(!vectors.is_empty(), "there are vectors of {kinds:?}");
    vectors
}

/// Whether the files are to be written and not compared.
fn is_writing() -> bool {
    std::env::var_os("WRITE_VECTORS").is_some()
}
