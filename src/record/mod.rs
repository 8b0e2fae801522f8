//! Records and batches: one byte layout for wire, disk and cache (protocol.md section 5).
//!
//! This room owns the words that every other room uses (offset, topic name, ids) and the bytes of a batch. It knows no
//! clock, no socket and no file. The server stores batches without decoding their records: it checks them, stamps the
//! first 16 bytes, and hands the same bytes out again.

mod batch;
mod builder;
mod compression;
mod header;
mod ids;
mod layout;
mod reader;
mod topic_name;
mod varint;
mod zstd_frame;

pub use batch::{Batch, Records};
pub use builder::BatchBuilder;
pub use compression::Compression;
pub use header::{BatchHeader, Stamp};
pub use ids::{ConsumerId, Epoch, Offset, ProducerId, Sequence, SequenceRange, Timestamp, TopicId};
pub use topic_name::{InvalidName, TopicName, check_name};

use bytes::Bytes;

/// One entry of a log: a value with an optional key, headers and a timestamp.
///
/// ```
/// # use connectify::Record;
/// let record = Record::new("disk is 93% full").key("host-7").header("level", "warn");
/// assert_eq!(&record.value[..], b"disk is 93% full");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What is logged. Any bytes, also none.
    pub value: Bytes,
    /// What the record is about. At most [`crate::limits::MAX_KEY_BYTES`].
    pub key: Option<Bytes>,
    /// Names and values, in order; a name may repeat. At most [`crate::limits::MAX_HEADERS`].
    pub headers: Vec<Header>,
    /// When it happened, by the producer's clock. `None`: the producer fills in the time of sending.
    pub timestamp: Option<Timestamp>,
}

/// A name and a value that travel with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// At most [`crate::limits::MAX_HEADER_NAME_BYTES`].
    pub name: String,
    /// Any bytes.
    pub value: Bytes,
}

impl Record {
    /// A record with a value and nothing else.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self { value: value.into(), ..Self::default() }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// Sets when it happened.
    #[must_use]
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// What is wrong with the bytes of a batch, or with a record that should go into one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end inside a field.
    #[error("batch ends inside {0}")]
    Truncated(&'static str),
    /// A field holds what the layout does not allow.
    #[error("batch is malformed: {0}")]
    Malformed(&'static str),
    /// The checksum does not match.
    #[error("batch checksum is {actual:#010x}, its header says {expected:#010x}")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What the bytes give.
        actual: u32,
    },
    /// A layout of another version.
    #[error("batch version {0} is not supported, only version 1")]
    Version(u8),
    /// A compression that this version does not know.
    #[error("compression {0} is not known")]
    Compression(u8),
    /// The records do not decompress.
    #[error("records do not decompress: {0}")]
    Decompress(&'static str),
    /// The records expand beyond what the header declared.
    #[error("records expand beyond the {declared} bytes that the header declares")]
    Expands {
        /// What the header declares.
        declared: usize,
    },
    /// The batch is over the limit.
    #[error("batch of {bytes} bytes exceeds limit of {limit}")]
    TooLarge {
        /// Its size, as encoded or as declared for its decompressed form.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A record is over the limit.
    #[error("record of {bytes} bytes exceeds limit of {limit}")]
    RecordTooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The header's count is not the number of records.
    #[error("batch holds {actual} records, its header says {declared}")]
    Count {
        /// What the header says.
        declared: usize,
        /// How many were found, at least.
        actual: usize,
    },
    /// The sequence range is empty or backwards.
    #[error("sequence range {start}..{end} is empty")]
    SequenceRange {
        /// Its start.
        start: u64,
        /// Its end.
        end: u64,
    },
}
