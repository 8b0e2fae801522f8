//! The rules of the house, held by a test: who may use whom, where a dependency may be named, how long things get.
//!
//! A rule is a function from a file to what is wrong with it. Each is tried on a snippet that breaks it, so that a rule
//! that has gone blind is found out.

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::path::Path;

use self::{arrows::Exports, source::Source};

/// Everything that is Rust and ours.
const ROOTS: [&str; 5] = ["src", "tests", "benches", "examples", "fuzz/fuzz_targets"];

fn all_sources() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: Vec<_> = ROOTS.iter().flat_map(|root| Source::read_all(top, root)).collect();
    assert!(sources.len() > 20, "only {} files were found under {}", sources.len(), top.display());
    sources
}

fn assert_tidy(problems: impl Iterator<Item = String>) {
    let problems: Vec<_> = problems.collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn rooms_use_only_the_rooms_that_they_may() {
    let sources = all_sources();
    let lib = sources.iter().find(|source| source.path == "src/lib.rs").expect("the crate has a root");
    let exports = Exports::read(lib);
    assert_tidy(sources.iter().flat_map(|source| arrows::problems(source, &exports)));
}

#[test]
fn dependencies_are_named_where_they_belong() {
    assert_tidy(all_sources().iter().flat_map(rules::misplaced_dependencies));
}

#[test]
fn only_one_file_of_the_broker_encodes_with_bincode() {
    let sources = all_sources();
    let encoders: Vec<_> = sources.iter().filter(|source| rules::is_encoder_of_broker(source)).collect();
    let paths: Vec<_> = encoders.iter().map(|source| &source.path).collect();
    assert!(paths.len() <= 1, "these name bincode, one may: {paths:?}");
}

#[test]
fn files_and_functions_are_short() {
    assert_tidy(all_sources().iter().flat_map(rules::too_long));
}

#[test]
fn text_is_ascii_and_has_no_loose_ends() {
    assert_tidy(all_sources().iter().flat_map(rules::bad_text));
}

mod each_rule_sees_what_breaks_it {
    use super::*;

    /// What [`arrows::problems`] says of a snippet, in a crate that re-exports a record and a client.
    fn arrows_of(path: &str, text: &str) -> Vec<String> {
        let lib = Source::new("src/lib.rs", "pub use client::{Client, Error as ClientError};\npub use record::Record;");
        arrows::problems(&Source::new(path, text), &Exports::read(&lib))
    }

    #[track_caller]
    fn assert_broken(problems: &[String], word: &str) {
        assert!(problems.len() == 1 && problems[0].contains(word), "{problems:?}");
    }

    #[test]
    fn arrows_in_the_wrong_direction() {
        assert_broken(&arrows_of("src/storage/mod.rs", "use crate::broker::Event;"), "broker");
        assert_broken(
            &arrows_of("src/client/mod.rs", "use crate::{\n    limits::X,\n    storage::{a, b},\n};"),
            "storage",
        );
        assert_broken(&arrows_of("src/broker/mod.rs", "fn f() { crate::protocol::decode() }"), "protocol");
        assert_broken(&arrows_of("src/record/mod.rs", "use crate::{protocol as p};"), "protocol");
        assert_broken(&arrows_of("src/limits.rs", "use crate::record::Offset;"), "record");
        assert_broken(&arrows_of("src/protocol/mod.rs", "use crate::ClientError;"), "client");
        assert_broken(&arrows_of("src/cli/size.rs", "use crate::protocol::Frame;"), "protocol");
        assert_broken(&arrows_of("src/attic/mod.rs", ""), "attic");
        assert_broken(&arrows_of("src/fuzzing/independent/body.rs", "use crate::limits::X;"), "independent");
    }

    #[test]
    fn arrows_in_the_right_direction_are_left_alone() {
        for (path, text) in [
            ("src/client/mod.rs", "use crate::{Record, client::Error, limits, protocol::{self, Frame}};"),
            (
                "src/client/mod.rs",
                "/// Like [`crate::storage::X`].\nconst S: &str = \"crate::storage\"; // crate::broker",
            ),
            ("src/server/mod.rs", "use crate::{broker::Broker, protocol::Frame};"),
            ("src/cli/size.rs", "use connectify::server::Server;"),
            ("tests/cli.rs", "use crate::server::Child;"),
        ] {
            assert_eq!(arrows_of(path, text), Vec::<String>::new());
        }
    }

    #[test]
    fn dependencies_in_the_wrong_place() {
        let of = |path, text| rules::misplaced_dependencies(&Source::new(path, text));
        assert_broken(&of("src/broker/mod.rs", "use redb::Database;"), "redb");
        assert_broken(&of("src/server/mod.rs", "let x: ::redb::Error;"), "redb");
        assert_broken(&of("src/protocol/frame.rs", "bincode::encode_to_vec(x, y)"), "bincode");
        assert_broken(&of("src/client/mod.rs", "use bincode::Decode;"), "bincode");
        assert_broken(&of("src/record/batch.rs", "use tokio::sync::Mutex;"), "tokio");
        assert_broken(&of("src/storage/mod.rs", "tokio::spawn(async {})"), "tokio");
        assert_broken(&of("src/protocol/frame.rs", "use tokio_util::codec::Decoder;"), "tokio_util");
        assert_eq!(of("src/protocol/codec.rs", "use tokio_util::codec::Decoder;"), Vec::<String>::new());
        assert_eq!(of("src/storage/redb_engine.rs", "mod redb_engine; use redb::Database;"), Vec::<String>::new());
        assert_eq!(of("src/broker/mod.rs", "// like redb\nmod redb_engine;"), Vec::<String>::new());
    }

    #[test]
    fn things_that_got_long() {
        let lines = |count| "// one more line\n".repeat(count);
        let of = |text: String| rules::too_long(&Source::new("src/record/mod.rs", &text));
        assert_broken(&of(lines(601)), "601 lines");
        assert_eq!(of(lines(600)), Vec::<String>::new());
        let function = |count| format!("impl X {{\n    pub(crate) async fn f() {{\n{}    }}\n}}\n", lines(count));
        assert_broken(&of(function(79)), "81 lines");
        assert_eq!(of(function(78)), Vec::<String>::new());
        let declared = format!("trait X {{\n    fn f();\n    fn g() {{}}\n}}\n{}", lines(90));
        assert_eq!(of(declared), Vec::<String>::new());
    }

    #[test]
    fn text_that_is_not_clean() {
        let of = |text| rules::bad_text(&Source::new("src/record/mod.rs", text));
        assert_broken(&of("let x = \"caf\u{e9}\";"), "U+00E9");
        assert_broken(&of("// the \u{2014} dash"), "U+2014");
        assert_broken(&of(concat!("// TO", "DO: later")), concat!("TO", "DO"));
        assert_broken(&of(concat!("// FIX", "ME")), concat!("FIX", "ME"));
        assert_broken(&of(concat!("let x = \"/wo", "rk/notes\";")), "workplace");
        assert_eq!(of("// client \u{2192} server\n// \u{2514}\u{2500} leaf"), Vec::<String>::new());
    }

    #[test]
    fn what_is_in_comments_and_strings_is_not_code() {
        for (text, code) in [
            ("a // b\nc /* d /* e */ f\n */ g", "a c g"),
            ("a \"b \\\" // c\" d 'e' '\"' '\\'' f", "a d f"),
            ("a r#\"b \" c\"# d br\"e\\\" f", "a d f"),
            ("for r in x { \"y\" }", "for r in x { }"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ] {
            let source = Source::new("src/lib.rs", text);
            assert_eq!(source.code.split_whitespace().collect::<Vec<_>>().join(" "), code);
            assert_eq!(
                source.code.lines().map(str::len).collect::<Vec<_>>(),
                text.lines().map(str::len).collect::<Vec<_>>()
            );
        }
    }
}
