//! What a source says about itself.

use serde::{Deserialize, Serialize};

/// One source, now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceReport {
    /// Its name.
    pub name: String,
    /// `file`, `journald` or `syslog`.
    pub kind: String,
    /// Where its records go.
    pub topic: String,
    /// Records that are durable, since the agent started.
    pub records: u64,
    /// Bytes of the source that they cover.
    pub bytes: u64,
    /// Bytes that are not durable yet, as far as they were seen.
    pub lag_bytes: u64,
    /// Bytes that were lost, each time by a policy that says so, and told in the topic.
    pub lost_bytes: u64,
    /// Files that are followed.
    pub files: usize,
    /// Of these, those that are open.
    pub open_files: usize,
    /// Unread bytes of files that were renamed away or deleted.
    pub held_bytes: u64,
    /// Files that were truncated, since the agent started.
    pub truncations: u64,
    /// How often events were lost, and everything was looked at instead.
    pub overflows: u64,
    /// Directories that are watched; absent where files are looked at again and again.
    pub watches: Option<usize>,
    /// Bytes that wait in the spool.
    pub spooled_bytes: u64,
    /// What went wrong last, and has not gone right since.
    pub last_error: Option<String>,
}

impl SourceReport {
    pub(super) fn new(name: &str, kind: &str, topic: &str) -> Self {
        Self { name: name.to_owned(), kind: kind.to_owned(), topic: topic.to_owned(), ..Self::default() }
    }
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct FileReport {
    pub(super) producer: String,
    pub(super) sent: u64,
    pub(super) durable: u64,
    pub(super) error: Option<String>,
}

/// A whole agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AgentReport {
    /// Its id.
    pub agent: String,
    /// Where it ships to.
    pub server: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Bytes that were read and are not acknowledged.
    pub in_flight_bytes: u64,
    /// Its sources.
    pub sources: Vec<SourceReport>,
}
