//! What is done to a broker, as values: they can be done again, and with some of them left out.
//!
//! An operation names topics, producers and consumers by small numbers, and places by their distance from something,
//! so that it means something in whatever state it comes. [`super::resolve`] makes a request of it.

use std::time::Duration;

use crate::{broker::Retention, record::Compression};

/// Topics that operations are about; the last one is hardly ever there.
pub(super) const TOPICS: u8 = 5;
/// Producers that operations are about, registered or not.
pub(super) const PRODUCERS: u8 = 6;
/// Consumers that operations are about, registered or not.
pub(super) const CONSUMERS: u8 = 5;

/// One step: operations that are handed to the writer together, or something that happens to the broker as a whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// They share a commit.
    Group(Vec<Op>),
    /// Time passes, after which the calendar is set back.
    Pass { time: Duration, set_back: Duration },
    /// The disk has another amount of room.
    Disk(Free),
    /// The broker is closed in order, or its process is killed, and it is opened again.
    Restart { killed: bool },
}

/// How much room the disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Free {
    /// More than anybody needs.
    Plenty,
    /// Half of the reserve.
    Half,
    /// An eighth of the reserve.
    Eighth,
}

/// One request. Producers are listed whose names begin with that of a producer, or all; behind that of another one, or from the
/// first.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    CreateTopic { topic: u8, retention: Retention, if_absent: bool },
    DeleteTopic { topic: u8, if_present: bool },
    RegisterProducer { producer: u8, topic: u8, is_named: bool, create: Option<Retention> },
    ProducerState { producer: u8 },
    ListProducers { topic: u8, prefix: Option<u8>, after: Option<u8>, limit: usize },
    ForgetProducer { producer: u8 },
    Append { parts: Vec<Part>, cursors: Vec<(u8, Place)> },
    RegisterConsumer { consumer: u8, topic: u8, is_named: bool, start: Place },
    Commit { consumer: u8, to: Place, rewind: bool },
    Dequeue { consumer: u8, from: From, max_records: u64, room_bytes: usize },
    Backlog { consumer: u8 },
    Fetch { topic: u8, from: Place, max_bytes: usize },
    OffsetFor { topic: u8, ago: Duration },
}

/// One batch of an append.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) producer: u8,
    /// For another topic than the producer's own; the outer `None`: for its own, the inner: for none there is.
    pub(super) stray: Option<Option<u8>>,
    pub(super) epoch: EpochIs,
    pub(super) range: RangeIs,
    pub(super) records: u16,
    pub(super) record_bytes: u16,
    pub(super) compression: Compression,
}

/// The epoch of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EpochIs {
    /// As the producer was told when it registered, whether or not another one has registered since.
    Told,
    Older,
    Newer,
}

/// Which sequences a batch covers, beside what its producer has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeIs {
    /// Right behind them, so many for each record.
    Next { width: Width },
    /// The range of a batch that is stored, so many batches before the last.
    Stored { back: u8 },
    /// All of that range but its first and, if there are more, its last.
    Within { back: u8 },
    /// That range and the one behind it.
    Across { back: u8 },
    /// Behind them, with so many left out.
    Gap { by: u64 },
    /// The last ones, and so many further ones.
    Overlap { by: u64 },
}

/// How many sequences a batch covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// One for each record.
    Records,
    /// One for each byte.
    Bytes,
    /// One, whatever the number of records.
    One,
}

/// An offset of a topic, by its distance from something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Head(i64),
    Tail(i64),
    /// Of the consumer that the operation is about, or the middle of the topic.
    Cursor(i64),
    /// The head itself, whatever it is when the request takes its place: for a start alone.
    AtHead,
    /// The tail itself, likewise.
    AtTail,
}

/// Where a dequeue believes the cursor to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// So far from where it is.
    Cursor(i64),
    /// Where the last dequeue of this consumer believed it to be; with its attempt, or with another.
    Again { is_same_attempt: bool },
}
