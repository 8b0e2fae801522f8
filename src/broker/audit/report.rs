//! What a check of a data directory says.

use uuid::Uuid;

use crate::record::Offset;

/// What is in a data directory, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The identity of the data; nil when it is lost.
    pub server_id: Uuid,
    /// Segment files.
    pub segments: usize,
    /// Bytes of the segment files.
    pub bytes: u64,
    /// Batches that are intact, also those that retention has dropped already and that no file was removed for.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Topics.
    pub topics: usize,
    /// Registered producers.
    pub producers: usize,
    /// Registered consumers.
    pub consumers: usize,
    /// Whether topics, producers and cursors are as they were last; otherwise some may be as they were earlier, or
    /// missing.
    pub is_state_exact: bool,
    /// What is wrong with the files, in order.
    pub damage: Vec<FoundDamage>,
    /// The records that this costs.
    pub lost: Vec<LostRange>,
    /// What was given up by an earlier salvage, and is known to be missing.
    pub given_up: Vec<LostRange>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDamage {
    /// The file.
    pub file: String,
    /// Where in the file's journal, if it is there.
    pub position: Option<u64>,
    /// The topic, and the first offset, of a batch of which only that is known.
    pub batch: Option<(String, Offset)>,
    /// What is wrong.
    pub what: String,
}

/// Offsets of a topic whose records are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRange {
    /// The topic.
    pub topic: String,
    /// The first of them.
    pub from: Offset,
    /// The next one that is there, or will be assigned.
    pub to: Offset,
    /// Whether all of them held records. Otherwise nobody knows how many did: no more than these.
    pub is_exact: bool,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.damage.is_empty() && self.lost.is_empty()
    }
}
