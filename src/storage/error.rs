//! What can go wrong below the broker: one variant per decision that a caller can take.

use std::{io, path::PathBuf};

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process has the directory.
    #[error("data directory {} is in use by another server", .0.display())]
    Locked(PathBuf),
    /// The directory holds no segment.
    #[error("{} holds no data of a server", .0.display())]
    NoData(PathBuf),
    /// The directory that data was to be copied into holds something already.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The directory that data was to be copied into is within the one that it comes from, or the other way round.
    #[error("{} and {} are one directory, or one is in the other", .0.display(), .1.display())]
    Nested(PathBuf, PathBuf),
    /// Data was copied into the directory, but not all of it.
    #[error("a salvage into this directory did not finish: remove the directory, and salvage again")]
    IncompleteCopy,
    /// A later version wrote the files.
    #[error("data has format {found}, this version reads up to format {supported}")]
    NewerFormat {
        /// In the file.
        found: u32,
        /// The highest this version knows.
        supported: u32,
    },
    /// What is on disk is not what was written.
    #[error("data is corrupted: {0}")]
    Corrupted(String),
    /// The database below refused or failed.
    #[error("database failed")]
    Database(#[source] Box<redb::Error>),
    /// The filesystem refused or failed.
    #[error("{what} failed")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The engine was closed.
    #[error("the store is closed")]
    Closed,
    /// The background work failed earlier.
    #[error("background work on the data files failed: {0}")]
    Background(String),
}

impl StorageError {
    /// Wraps the error of a filesystem operation.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The error and what caused it, on one line.
    #[must_use]
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }

    /// Says which file it is that is corrupted.
    pub(super) fn in_file(self, name: &str) -> Self {
        match self {
            Self::Corrupted(what) => Self::Corrupted(format!("{name}: {what}")),
            other => other,
        }
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let source = match self {
            Self::Io { source, .. } => source,
            Self::Database(error) => match error.as_ref() {
                redb::Error::Io(source) => source,
                _ => return false,
            },
            _ => return false,
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the disk failed to give something back, which it may do another time. What it gave back and is not what
    /// was written is [`StorageError::Corrupted`].
    #[must_use]
    pub fn is_of_disk(&self) -> bool {
        // A file that ends too early is damaged.
        let is_failure = |source: &io::Error| source.kind() != io::ErrorKind::UnexpectedEof;
        match self {
            Self::Io { source, .. } => is_failure(source),
            Self::Database(error) => match error.as_ref() {
                redb::Error::Io(source) => is_failure(source),
                // The database does nothing more once something failed.
                redb::Error::PreviousIo => true,
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether opening again may help: not when the data itself is at fault or belongs to somebody else.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        let is_lasting = matches!(self, Self::Locked(_) | Self::NoData(_) | Self::NotEmpty(_) | Self::IncompleteCopy);
        let is_lasting = is_lasting || matches!(self, Self::Nested(..));
        !is_lasting && !matches!(self, Self::NewerFormat { .. } | Self::Corrupted(_))
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for StorageError {
            fn from(error: redb::$error) -> Self {
                match redb::Error::from(error) {
                    redb::Error::Corrupted(what) => Self::Corrupted(what),
                    other => Self::Database(Box::new(other)),
                }
            }
        })*
    };
}

from_redb!(CommitError, DatabaseError, SetDurabilityError, StorageError, TableError, TransactionError);
