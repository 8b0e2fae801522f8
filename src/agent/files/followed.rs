//! One content that is copied: where it is, how far it was cut, how far it is durable.
//!
//! ```text
//!  0 ─────────── acked ────────── sent ──────────── size
//!      durable   │   in flight    │   to be read   │
//! ```
//! Positions are bytes of the file, of the plain text where it is compressed, and the sequence of its producer.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::super::{identity::Content, marker::Marker};
use crate::client::Producer;

/// Batches of one content that are not acknowledged.
pub(super) const MAX_IN_FLIGHT: usize = 4;

/// The way to the server.
#[derive(Debug, Default)]
pub(super) enum Link {
    /// There is no producer.
    #[default]
    Closed,
    /// One is being registered.
    Opening,
    /// There is one.
    Open(Arc<Producer>),
    /// It failed, and is registered again after a while.
    Failed { until: Instant },
}

/// What becomes of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has a name that belongs to the source, and may grow.
    Named,
    /// It was renamed away or deleted, and may grow as long as somebody holds it open.
    Left,
    /// It is a copy of what was truncated: it ends where it ends.
    Copy,
    /// It was truncated, and what it had is nowhere: nothing more is read.
    Over,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) content: Content,
    /// Its name now, or the last one that it had.
    pub(super) path: PathBuf,
    /// The key of its records.
    pub(super) key: Option<Bytes>,
    /// `None` while nothing has to be read.
    pub(super) file: Option<Arc<File>>,
    pub(super) plain: Option<super::gzip::Plain>,
    pub(super) fate: Fate,
    /// Where the producer's sequence is: behind `sent` as long as what stands before the beginning was not covered.
    pub(super) covered: u64,
    pub(super) sent: u64,
    pub(super) acked: u64,
    /// The bytes before `sent`.
    pub(super) marker: Marker,
    /// Whether `sent` is in the middle of a line.
    pub(super) in_line: bool,
    /// Where copying began: what stands before was passed over.
    pub(super) begin: u64,
    /// It was given up, to this position.
    pub(super) lost: Option<u64>,
    /// When it is looked at again in any case.
    pub(super) timer: Option<Instant>,
    pub(super) link: Link,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Batches that are not acknowledged.
    pub(super) in_flight: usize,
    /// Something failed: what is in flight comes to nothing, and then all begins again behind what is durable.
    pub(super) is_rewinding: bool,
    /// Whether it is in the list of what is to be read.
    pub(super) is_listed: bool,
    /// Whether it waits for a part of the budget, or for a producer.
    pub(super) is_starved: bool,
    /// Whether what is left is not a record yet.
    pub(super) is_waiting: bool,
    /// Whether the last read found more than it took.
    pub(super) has_backlog: bool,
    /// What has to be durable before: the file that had this name, or what was in it.
    pub(super) after: Option<Content>,
    /// Whether the bytes before `sent` are still compared with the record that the server stored last.
    pub(super) is_compared: bool,
    /// The size that was seen last, and since when it is that.
    pub(super) size: u64,
    pub(super) unchanged_since: Instant,
    /// Whether the file was looked at since it is followed.
    pub(super) size_is_known: bool,
    /// Why it is not read.
    pub(super) error: Option<String>,
}

impl Followed {
    pub(super) fn new(content: Content, path: PathBuf, key: Option<Bytes>, at: u64) -> Self {
        Self {
            content,
            path,
            key,
            file: None,
            plain: None,
            fate: Fate::Named,
            covered: at,
            sent: at,
            acked: at,
            marker: Marker::default(),
            in_line: false,
            begin: 0,
            lost: None,
            timer: None,
            link: Link::Closed,
            failures: 0,
            in_flight: 0,
            is_rewinding: false,
            is_listed: false,
            is_starved: false,
            is_waiting: false,
            has_backlog: false,
            after: None,
            is_compared: false,
            size: at,
            unchanged_since: Instant::now(),
            size_is_known: false,
            error: None,
        }
    }

    /// The open file, which is opened under its name if need be.
    ///
    /// # Errors
    /// When there is no such file any more.
    pub(super) fn open(&mut self) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(open_file(&self.path)?);
        // The name may be another file's by now.
        let metadata = file.metadata()?;
        if !self.content.file.may_be(&metadata) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another file has its name"));
        }
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Whether everything that was seen is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.in_flight == 0 && self.sent >= self.size && self.acked >= self.sent
    }

    /// Whether nothing will be added to it.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.fate, Fate::Copy | Fate::Over) || self.plain.is_some()
    }

    /// Notes its size, and since when it is that.
    pub(super) fn note_size(&mut self, size: u64) {
        if size != self.size {
            self.size = size;
            self.unchanged_since = Instant::now();
        }
    }

    /// For how long nothing was added.
    pub(super) fn quiet_for(&self) -> Duration {
        self.unchanged_since.elapsed()
    }
}

/// Opens a file for reading without waiting for whoever writes a pipe.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}
