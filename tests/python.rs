//! A client in Python, written from protocol.md alone, against the real server: what `tests/python/scenario.py` tells.
//!
//! It needs `python3` and nothing that does not come with it.

#[allow(dead_code, reason = "shared with another test, which uses the rest")]
#[path = "cli/support.rs"]
mod support;

use std::{
    io::{self, ErrorKind, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use self::support::{Running, Server};

/// Where it is set to 1, there is to be a Python: a machine that has none fails the test instead of skipping it.
const CI: &str = "CONNECTIFY_CI";

/// The interpreter, not started yet. It leaves no compiled files in the source tree.
fn python() -> Command {
    let mut command = Command::new("python3");
    command.arg("-B").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether there is one. `cargo test` needs nothing but the Rust toolchain, so that there is none is told, and no failure.
fn is_there_python() -> bool {
    match python().arg("--version").output() {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound && std::env::var(CI).as_deref() != Ok("1") => {
            // Past the capture of what tests print: this is for everybody to see.
            writeln!(io::stderr(), "SKIPPED: there is no python3, nothing runs the client in Python").ok();
            false
        }
        Err(error) => panic!("python3 does not start: {error}; on Debian it is the package python3"),
    }
}

#[test]
fn a_client_that_was_written_from_the_document_alone_gets_along_with_the_server() {
    if !is_there_python() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::on(directory.path());
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut command = python();
    command.arg(tests.join("python/scenario.py")).arg(&server.address).arg(tests.join("vectors"));
    let ended = Running::start(command).end();
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.code, Some(0), "the scenario fails:\n{printed}{}", ended.stderr);
    server.stop().ok();
}
