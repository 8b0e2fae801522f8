//! The server as a process of its own, which is killed when it is dropped.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

use crate::PATIENCE;

/// A server that runs.
pub(crate) struct Process {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL. A process that has ended by itself has been found out already.
        self.child.kill().ok();
        self.child.wait().expect("our own child");
    }
}

impl Process {
    /// Starts a server, and waits until it says that it listens.
    pub(crate) fn serve(data: &Path, listen: &str) -> Self {
        // The port may be taken for a moment, by a connection of somebody else.
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = TcpListener::bind(listen) {
            assert!(Instant::now() < deadline, "cannot listen on {listen}: {error}");
            thread::yield_now();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_connectify"));
        command.args(["serve", "--segment-bytes", "256KiB", "--reserve-bytes", "0", "--listen", listen, "--data"]);
        command.arg(data).env("CONNECTIFY_LOG", "error").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Self { child: command.spawn().expect("the binary starts"), address: String::new() };
        let mut line = String::new();
        let stdout = process.child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("the server does not start on {}", data.display()));
        address.clone_into(&mut process.address);
        process
    }
}
