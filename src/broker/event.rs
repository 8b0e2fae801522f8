//! What the journal holds beside batches, and the snapshot, which is the same events in another order.
//!
//! On disk an event is one byte, its tag, and the fields of its struct as bincode's standard configuration writes them.
//! Tags are never reused, and a struct is never changed: a new one gets a new tag.

use bincode::{Decode, Encode, config::standard};

type Id = [u8; 16];

/// The identity of the data.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Server {
    pub(super) id: Id,
    pub(super) next_topic: u32,
}

/// A topic as it is now: when it is created, and in snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Topic {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) created_us: u64,
    pub(super) retention_bytes: Option<u64>,
    pub(super) retention_age_us: Option<u64>,
    pub(super) head: u64,
    pub(super) tail: u64,
    pub(super) bytes: u64,
    pub(super) last_append_us: u64,
    pub(super) pieces: Vec<Piece>,
}

/// See [`super::retention`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Piece {
    pub(super) base: u64,
    pub(super) bytes: u64,
    pub(super) first_us: u64,
    pub(super) last_us: u64,
}

/// A producer as it is now: when it is registered, and in snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Producer {
    pub(super) id: Id,
    pub(super) topic: u32,
    pub(super) name: Option<String>,
    pub(super) epoch: u32,
    pub(super) end: u64,
    pub(super) last_active_us: u64,
    pub(super) ranges: Vec<Range>,
}

/// A stored sequence range and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) base: u64,
    pub(super) records: u64,
}

/// A consumer as it is now: when it is registered, and in snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Consumer {
    pub(super) id: Id,
    pub(super) topic: u32,
    pub(super) name: Option<String>,
    pub(super) cursor: u64,
    pub(super) last_active_us: u64,
    pub(super) last_dequeue: Option<Dequeue>,
}

/// The last dequeue of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Dequeue {
    pub(super) attempt: u64,
    pub(super) cursor: u64,
    pub(super) first: u64,
    pub(super) next: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Server(Server),
    Topic(Topic),
    TopicDeleted(u32),
    Producer(Producer),
    ProducersExpired(Vec<Id>),
    Consumer(Consumer),
    CursorMoved {
        consumer: Id,
        cursor: u64,
        at_us: u64,
    },
    Dequeued {
        consumer: Id,
        dequeue: Dequeue,
        at_us: u64,
    },
    Trimmed {
        topic: u32,
        head: u64,
    },
    ConsumersExpired(Vec<Id>),
    /// Offsets that damage took and an operator gave up: a gap that readers are told of.
    Lost {
        topic: u32,
        from: u64,
        to: u64,
    },
}

impl Event {
    /// Its bytes on disk.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Server(server) => tagged(1, server),
            Self::Topic(topic) => tagged(2, topic),
            Self::TopicDeleted(topic) => tagged(3, topic),
            Self::Producer(producer) => tagged(4, producer),
            Self::ProducersExpired(ids) => tagged(5, ids),
            Self::Consumer(consumer) => tagged(6, consumer),
            Self::CursorMoved { consumer, cursor, at_us } => tagged(7, (consumer, cursor, at_us)),
            Self::Dequeued { consumer, dequeue, at_us } => tagged(8, (consumer, dequeue, at_us)),
            Self::Trimmed { topic, head } => tagged(9, (topic, head)),
            Self::ConsumersExpired(ids) => tagged(10, ids),
            Self::Lost { topic, from, to } => tagged(11, (topic, from, to)),
        }
    }

    /// The event in these bytes; `None` when they are not one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, body) = bytes.split_first()?;
        Some(match tag {
            1 => Self::Server(whole(body)?),
            2 => Self::Topic(whole(body)?),
            3 => Self::TopicDeleted(whole(body)?),
            4 => Self::Producer(whole(body)?),
            5 => Self::ProducersExpired(whole(body)?),
            6 => Self::Consumer(whole(body)?),
            7 => whole(body).map(|(consumer, cursor, at_us)| Self::CursorMoved { consumer, cursor, at_us })?,
            8 => whole(body).map(|(consumer, dequeue, at_us)| Self::Dequeued { consumer, dequeue, at_us })?,
            9 => whole(body).map(|(topic, head)| Self::Trimmed { topic, head })?,
            10 => Self::ConsumersExpired(whole(body)?),
            11 => whole(body).map(|(topic, from, to)| Self::Lost { topic, from, to })?,
            _ => return None,
        })
    }
}

fn tagged(tag: u8, body: impl Encode) -> Vec<u8> {
    bincode::encode_to_vec((tag, body), standard()).expect("encoding into memory cannot fail")
}

fn whole<T: Decode<()>>(body: &[u8]) -> Option<T> {
    let (value, used) = bincode::decode_from_slice(body, standard()).ok()?;
    (used == body.len()).then_some(value)
}
