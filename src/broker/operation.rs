//! What the writer is asked to do, and what it tells when that is durable.

use super::{Error, Retention};
use crate::record::{Batch, ConsumerId, Epoch, Offset, ProducerId, Sequence, TopicId, TopicName};

/// Called once, on the writer thread, when the outcome is durable. Must not block.
pub type Done<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// Batches to append and cursors to move, all or nothing.
#[derive(Clone, Debug, Default)]
pub struct Appending {
    /// Batches, checked down to their records, each for a topic.
    pub parts: Vec<(TopicId, Batch)>,
    /// Cursors to move in the same instant; forward only.
    pub commits: Vec<(ConsumerId, Offset)>,
}

impl Appending {
    /// About how many bytes of journal it needs.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, batch)| batch.as_bytes().len() + 16).sum::<usize>() + self.commits.len() * 64
    }
}

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record; `None` for a duplicate that was stored too long ago to tell.
    pub base_offset: Option<Offset>,
    /// Whether an earlier append had stored it.
    pub duplicate: bool,
}

/// The topic exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicCreated {
    /// Its id.
    pub id: TopicId,
    /// Whether this operation made it.
    pub created: bool,
}

/// A registered producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub id: ProducerId,
    /// Its topic.
    pub topic: TopicId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its current epoch.
    pub epoch: Epoch,
    /// End of the last stored sequence range.
    pub last_sequence: Sequence,
}

/// Which producers of a topic to list: those that have names, in order of name.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The topic.
    pub topic: TopicName,
    /// Only names that begin with this.
    pub prefix: String,
    /// Only names behind this one.
    pub after: String,
    /// At most so many.
    pub limit: usize,
}

/// A producer in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The producer.
    pub state: ProducerState,
    /// Offset of the last record that it stored.
    pub last_offset: Option<Offset>,
}

/// A registered consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerState {
    /// Its id.
    pub id: ConsumerId,
    /// The offset it reads next.
    pub cursor: Offset,
    /// Whether it was registered before.
    pub existed: bool,
}

/// Where a new consumer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the first record that is kept.
    Head,
    /// Behind everything that was appended before.
    Tail,
    /// At this offset, which may be before the head.
    Offset(Offset),
}

/// What a dequeue took: `first..next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// First record.
    pub first: Offset,
    /// One past the last.
    pub next: Offset,
    /// Whether an earlier attempt of the same call took them.
    pub repeated: bool,
}

/// A dequeue that found records to take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taking {
    pub(super) consumer: ConsumerId,
    /// Where the caller believes the cursor is.
    pub(super) cursor: Offset,
    pub(super) attempt: u64,
    /// What it would take: `first..next`, empty when nothing was found.
    pub(super) first: Offset,
    pub(super) next: Offset,
}

pub(super) enum Operation {
    Append(Appending, Done<Vec<Appended>>),
    CreateTopic { name: TopicName, retention: Retention, if_absent: bool, done: Done<TopicCreated> },
    DeleteTopic { name: TopicName, if_present: bool, done: Done<bool> },
    RegisterProducer { topic: TopicName, name: Option<String>, create: Option<Retention>, done: Done<ProducerState> },
    ProducerState { id: ProducerId, done: Done<ProducerState> },
    ListProducers(Listing, Done<(Vec<Listed>, bool)>),
    ForgetProducer { id: ProducerId, done: Done<bool> },
    RegisterConsumer { topic: TopicName, name: Option<String>, start: StartAt, done: Done<ConsumerState> },
    Commit { consumer: ConsumerId, offset: Offset, rewind: bool, done: Done<Offset> },
    Dequeue(Taking, Done<Taken>),
}

impl Operation {
    /// Tells the caller that nothing was done.
    pub(super) fn refuse(self, error: Error) {
        match self {
            Self::Append(_, done) => done(Err(error)),
            Self::CreateTopic { done, .. } => done(Err(error)),
            Self::DeleteTopic { done, .. } => done(Err(error)),
            Self::RegisterProducer { done, .. } | Self::ProducerState { done, .. } => done(Err(error)),
            Self::ListProducers(_, done) => done(Err(error)),
            Self::ForgetProducer { done, .. } => done(Err(error)),
            Self::RegisterConsumer { done, .. } => done(Err(error)),
            Self::Commit { done, .. } => done(Err(error)),
            Self::Dequeue(_, done) => done(Err(error)),
        }
    }

    /// About how many bytes of journal it needs.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(appending, _) => appending.bytes(),
            _ => 512,
        }
    }
}
