//! Why the broker refuses.

use crate::record::{Offset, Sequence};

/// A refusal, or the news that the outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No topic has this name or id.
    #[error("topic {0} is unknown")]
    UnknownTopic(String),
    /// A topic has this name already.
    #[error("topic {0} exists already")]
    TopicExists(String),
    /// A retention that keeps nothing.
    #[error("retention of 0 keeps nothing")]
    InvalidRetention,
    /// There are as many topics as there may be.
    #[error("there are {0} topics, the limit")]
    TooManyTopics(usize),
    /// No producer has this id.
    #[error("producer {0} is not registered")]
    UnknownProducer(String),
    /// The producer is registered for another topic.
    #[error("producer is registered for topic {0}")]
    ProducerNotForTopic(String),
    /// The epoch is not the one of the producer's last registration.
    #[error("producer epoch {epoch} is fenced by epoch {current}")]
    Fenced {
        /// Of the batch.
        epoch: u32,
        /// Of the last registration.
        current: u32,
    },
    /// Something is missing before the batch.
    #[error("sequence starts at {start}, expected {expected}")]
    Gap {
        /// Of the batch.
        start: Sequence,
        /// End of the last stored range.
        expected: Sequence,
    },
    /// The batch repeats some sequences and adds others.
    #[error("sequence starts at {start} and goes beyond {expected}, where the stored ones end")]
    Overlap {
        /// Of the batch.
        start: Sequence,
        /// End of the last stored range.
        expected: Sequence,
    },
    /// There are as many producers as there may be.
    #[error("there are {0} producers, the limit")]
    TooManyProducers(usize),
    /// No consumer has this id.
    #[error("consumer {0} is not registered")]
    UnknownConsumer(String),
    /// There are as many consumers as there may be.
    #[error("there are {0} consumers, the limit")]
    TooManyConsumers(usize),
    /// The cursor is somewhere else.
    #[error("cursor is at {cursor}, not at {expected}")]
    CursorMismatch {
        /// Where the caller believed it to be.
        expected: Offset,
        /// Where it is.
        cursor: Offset,
    },
    /// Those records are gone.
    #[error("offset {offset} is before the head, {head}")]
    BeforeHead {
        /// The one asked for.
        offset: Offset,
        /// First that is kept.
        head: Offset,
        /// Next to be assigned.
        tail: Offset,
    },
    /// Damage took those records, and an operator gave them up.
    #[error("offsets {from}..{to} were lost to damage")]
    Lost {
        /// The first that is gone.
        from: Offset,
        /// The next one there is, or the tail.
        to: Offset,
    },
    /// Those records do not exist yet.
    #[error("offset {offset} is beyond the tail, {tail}")]
    BeyondTail {
        /// The one asked for.
        offset: Offset,
        /// First that is kept.
        head: Offset,
        /// Next to be assigned.
        tail: Offset,
    },
    /// The disk is down to its reserve.
    #[error("disk has {free} bytes left, the reserve is {reserve}")]
    DiskFull {
        /// Left on the filesystem.
        free: u64,
        /// Kept back.
        reserve: u64,
    },
    /// The disk failed while this was being made durable.
    #[error("disk failed, it is not known whether this was stored")]
    Indeterminate,
    /// The disk failed, and the store could not be opened again yet.
    #[error("disk failed, nothing is stored until the store can be opened again")]
    StorageFailed,
    /// The disk failed to give back what was asked for. It may do so another time.
    #[error("{0}")]
    ReadFailed(String),
    /// What the disk gave back is not what was written.
    #[error("{0}")]
    Corrupted(String),
    /// A batch is larger than the caller takes, or those are that an earlier call took.
    #[error("{bytes} bytes of batches exceed the {limit} that the client takes")]
    AnswerTooLarge {
        /// Of the batch.
        bytes: usize,
        /// What the caller takes.
        limit: usize,
    },
    /// The broker takes no more operations.
    #[error("server is shutting down")]
    ShuttingDown,
    /// One part of an append is why all of it was refused.
    #[error("part {index}: {error}")]
    Part {
        /// Which part.
        index: usize,
        /// Why.
        error: Box<Self>,
    },
    /// One cursor of an append is why all of it was refused.
    #[error("cursor {index}: {error}")]
    Cursor {
        /// Which cursor.
        index: usize,
        /// How many parts there are, which are counted before the cursors.
        parts: usize,
        /// Why.
        error: Box<Self>,
    },
}
