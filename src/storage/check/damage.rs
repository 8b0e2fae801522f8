//! What is wrong with a file, and what it costs.

use crate::record::{Offset, TopicId};

/// Something in a file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in the journal of the file, if it is there.
    pub position: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What it costs.
    pub loss: Loss,
}

/// What damage costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No entry of the journal.
    Nothing,
    /// One batch, which begins at this offset.
    Batch(TopicId, Offset),
    /// Entries that nobody knows, in so many bytes of the journal.
    Entries(u64),
    /// The end of the journal, and nobody knows where it was.
    End,
}

impl Damage {
    /// Damage to a file that is not in its journal.
    pub(super) fn of_file(file: &str, what: impl Into<String>, loss: Loss) -> Self {
        Self { file: file.to_owned(), position: None, what: what.into(), loss }
    }
}
