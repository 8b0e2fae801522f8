//! stdout is data, stderr is talk.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

/// Room for what is not flushed yet.
const BUFFER_BYTES: usize = 64 * 1024;

/// The reader of stdout has gone, and with it the reason to go on: `connectify consume ... | head` has what it wants.
#[derive(Debug, thiserror::Error)]
#[error("the reader of the output has closed it")]
pub(crate) struct ClosedPipe;

/// Buffered stdout. What is not flushed may not have been written: [`Output::flush`] before saying that it was.
pub(crate) struct Output {
    // Dropping a BufWriter writes what it holds; every caller flushes first, so that an error is seen.
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self { stdout: BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock()) }
    }

    /// Writes bytes as they are, and the end of the line.
    pub(crate) fn line(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.write(|out| out.write_all(bytes).and_then(|()| out.write_all(b"\n")))
    }

    /// Writes a value as JSON, on one line.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        self.line(&serde_json::to_vec(value)?)
    }

    pub(crate) fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
        write(&mut self.stdout).map_err(broken)
    }

    /// Hands everything to whoever reads stdout.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.stdout.flush().map_err(broken)
    }
}

fn broken(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => ClosedPipe.into(),
        _ => anyhow::Error::new(error).context("cannot write to stdout"),
    }
}

/// Says something to the person at the terminal, or to a log.
pub(crate) fn talk(message: impl std::fmt::Display) {
    // A closed stderr is no reason to fail: whoever closed it does not want to know.
    writeln!(io::stderr(), "connectify: {message}").ok();
}
