//! Requests and answers, without distances and small numbers: what broker and reference are both asked, and both say.

use std::fmt;

use bytes::Bytes;

use crate::{
    broker::{
        Appended, Appending, ConsumerState, Error, Listed, Listing, ProducerState, Retention, Room, StartAt,
        TopicCreated, TopicRange,
    },
    protocol::ErrorBody,
    record::{BatchHeader, ConsumerId, Offset, ProducerId, Timestamp, TopicName},
};

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Request {
    CreateTopic { name: TopicName, retention: Retention, if_absent: bool },
    DeleteTopic { name: TopicName, if_present: bool },
    RegisterProducer { topic: TopicName, name: Option<String>, create: Option<Retention> },
    ProducerState(ProducerId),
    ListProducers(Listing),
    ForgetProducer(ProducerId),
    Append(Appending),
    RegisterConsumer { topic: TopicName, name: Option<String>, start: StartAt },
    Commit { consumer: ConsumerId, offset: Offset, rewind: bool },
    Dequeue(Dequeue),
    Backlog(ConsumerId),
    Fetch { topic: TopicName, from: Offset, max_bytes: usize },
    OffsetFor { topic: TopicName, time: Timestamp },
}

impl fmt::Display for Request {
    /// Without the bytes of batches.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Append(appending) = self else { return fmt::Debug::fmt(self, f) };
        for (topic, batch) in &appending.parts {
            let BatchHeader { producer, epoch, sequence, record_count, .. } = batch.header();
            let (start, end) = (sequence.start, sequence.end);
            write!(f, "[topic {topic}, producer {producer}, epoch {epoch}, {start}..{end}, {record_count} records]")?;
        }
        write!(f, "{:?}", appending.commits)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Dequeue {
    pub(super) consumer: ConsumerId,
    pub(super) cursor: Offset,
    pub(super) attempt: u64,
    pub(super) max_records: u64,
    pub(super) room: Room,
}

/// What is answered when it is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Topic(TopicCreated),
    Deleted(bool),
    Producer(ProducerState),
    Producers { page: Vec<Listed>, more: bool },
    Forgotten(bool),
    Appended(Vec<Appended>),
    Consumer(ConsumerState),
    Cursor(Offset),
    Dequeued { first: Offset, next: Offset, tail: Offset, repeated: bool, batches: Batches },
    Backlog { backlog: u64, cursor: Offset, range: TopicRange },
    Fetched { range: TopicRange, batches: Batches },
    Offset(Offset),
}

/// What was answered: refusals as they cross the wire, which is all that a client sees of them.
pub(super) type Answered = Result<Answer, ErrorBody>;

/// What the reference decided.
pub(super) type Decided = Result<Answer, Error>;

/// Stored batches, byte by byte.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Batches(pub(super) Vec<Bytes>);

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for bytes in &self.0 {
            match BatchHeader::read(bytes) {
                Ok(header) => list.entry(&format_args!(
                    "{}..{} at {}, {:08x}",
                    header.stamp.base_offset,
                    header.next_offset(),
                    header.stamp.append_time,
                    crc32c::crc32c(bytes),
                )),
                Err(error) => list.entry(&error),
            };
        }
        list.finish()
    }
}
