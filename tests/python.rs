//! A client in Python, written from protocol.md alone, against the real server: what `tests/python/scenario.py` tells.
//!
//! It needs `python3` and nothing that does not come with it.

#[allow(dead_code, reason = "shared with another test, which uses the rest")]
#[path = "cli/support.rs"]
mod support;

use std::{
    io::ErrorKind,
    path::Path,
    process::{Command, Stdio},
};

use self::support::{Running, Server};

/// Skips the test where there is no Python, if it is set to 1.
const NO_PYTHON: &str = "CONNECTIFY_NO_PYTHON";

/// The interpreter, not started yet. It leaves no compiled files in the source tree.
fn python() -> Command {
    let mut command = Command::new("python3");
    command.arg("-B").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn assert_there_is_python() {
    match python().arg("--version").output() {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "there is no python3: install the package python3 (on Debian and its kin, apt install python3), \
             or set {NO_PYTHON}=1 to skip this test"
        ),
        Err(error) => panic!("python3 does not start: {error}"),
    }
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_client_that_was_written_from_the_document_alone_gets_along_with_the_server() {
    if std::env::var_os(NO_PYTHON).is_some_and(|value| value == "1") {
        eprintln!("SKIPPED: {NO_PYTHON} is set, nothing runs the client in Python");
        return;
    }
    assert_there_is_python();
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
