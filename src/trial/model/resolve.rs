//! From an operation to a request: small numbers become ids, distances become offsets and sequences.

use super::{
    op::{CONSUMERS, EpochIs, From, Op, PRODUCERS, Part, Place, RangeIs, Width},
    reference::Reference,
    request::{Answer, Decided, Dequeue, Request},
};
use crate::{
    broker::{Appending, Listing, ProducerState, Room, StartAt},
    record::{
        Batch, BatchBuilder, Compression, ConsumerId, Epoch, Offset, ProducerId, Record, Sequence, SequenceRange,
        TopicId, TopicName,
    },
};
use uuid::Uuid;

/// Names of producers, and of consumers: fewer than there are, so that some share one.
const PRODUCER_NAMES: u8 = PRODUCERS - 1;
const CONSUMER_NAMES: u8 = CONSUMERS - 1;
/// What each batch of an answer takes beside its bytes.
const PER_BATCH_BYTES: usize = 5;
/// The id of a topic that never is.
const NO_TOPIC: TopicId = TopicId(1_000_000);

/// Whom the small numbers mean, as their clients know it.
#[derive(Default)]
pub(super) struct Clients {
    producers: [Option<ProducerState>; PRODUCERS as usize],
    consumers: [Option<ConsumerId>; CONSUMERS as usize],
    /// The cursor and the attempt of each consumer's last dequeue.
    dequeues: [Option<(Offset, u64)>; CONSUMERS as usize],
    attempts: u64,
    values: u64,
}

pub(super) fn topic_name(topic: u8) -> TopicName {
    TopicName::new(&format!("t{topic}")).expect("a good name")
}

fn producer_name(producer: u8) -> String {
    format!("p{}", producer % PRODUCER_NAMES)
}

impl Clients {
    /// The request that an operation is when `guess` is how things stand.
    pub(super) fn resolve(&mut self, op: &Op, guess: &Reference) -> Request {
        match op {
            Op::CreateTopic { topic, retention, if_absent } => {
                Request::CreateTopic { name: topic_name(*topic), retention: *retention, if_absent: *if_absent }
            }
            Op::DeleteTopic { topic, if_present } => {
                Request::DeleteTopic { name: topic_name(*topic), if_present: *if_present }
            }
            Op::RegisterProducer { producer, topic, is_named, create } => {
                let name = is_named.then(|| producer_name(*producer));
                Request::RegisterProducer { topic: topic_name(*topic), name, create: *create }
            }
            Op::ProducerState { producer } => Request::ProducerState(self.producer(*producer).id),
            Op::ListProducers { topic, prefix, after, limit } => Request::ListProducers(Listing {
                topic: topic_name(*topic),
                prefix: prefix.map_or_else(String::new, producer_name),
                after: after.map_or_else(String::new, producer_name),
                limit: *limit,
            }),
            Op::ForgetProducer { producer } => Request::ForgetProducer(self.producer(*producer).id),
            Op::Append { parts, cursors } => self.append(parts, cursors, guess),
            Op::RegisterConsumer { consumer, topic, is_named, start } => {
                let (topic, name) = (topic_name(*topic), is_named.then(|| format!("c{}", consumer % CONSUMER_NAMES)));
                let (head, tail) = guess.ends(&topic).unwrap_or_default();
                let start = match start {
                    Place::AtHead => StartAt::Head,
                    Place::AtTail => StartAt::Tail,
                    place => StartAt::Offset(offset(*place, Offset(head.0.midpoint(tail.0)), head, tail)),
                };
                Request::RegisterConsumer { topic, name, start }
            }
            Op::Commit { consumer, to, rewind } => {
                let id = self.consumer(*consumer);
                Request::Commit { consumer: id, offset: cursor(*to, id, guess), rewind: *rewind }
            }
            Op::Dequeue { consumer, from, max_records, room_bytes } => {
                let room = Room { bytes: *room_bytes, per_batch: PER_BATCH_BYTES };
                self.dequeue(*consumer, *from, *max_records, room, guess)
            }
            Op::Backlog { consumer } => Request::Backlog(self.consumer(*consumer)),
            Op::Fetch { topic, from, max_bytes } => {
                let topic = topic_name(*topic);
                let (head, tail) = guess.ends(&topic).unwrap_or_default();
                let from = offset(*from, Offset(head.0.midpoint(tail.0)), head, tail);
                Request::Fetch { topic, from, max_bytes: *max_bytes }
            }
            Op::OffsetFor { topic, ago } => {
                let ago = u64::try_from(ago.as_micros()).expect("minutes");
                Request::OffsetFor { topic: topic_name(*topic), time: guess.now.0.saturating_sub(ago).into() }
            }
        }
    }

    /// Takes up what the client of an operation was told.
    pub(super) fn learn(&mut self, op: &Op, answered: &Decided) {
        match (op, answered) {
            (Op::RegisterProducer { producer, .. }, Ok(Answer::Producer(state))) => {
                self.producers[usize::from(*producer)] = Some(state.clone());
            }
            (Op::RegisterConsumer { consumer, .. }, Ok(Answer::Consumer(state))) => {
                self.consumers[usize::from(*consumer)] = Some(state.id);
                self.dequeues[usize::from(*consumer)] = None;
            }
            _ => {}
        }
    }

    /// A producer; one that nobody knows as long as it is not registered.
    fn producer(&self, producer: u8) -> ProducerState {
        self.producers[usize::from(producer)].clone().unwrap_or_else(|| ProducerState {
            id: ProducerId(Uuid::from_u128(u128::from(producer) + 1)),
            topic: TopicId(1),
            name: None,
            epoch: Epoch(0),
            last_sequence: Sequence(0),
        })
    }

    fn consumer(&self, consumer: u8) -> ConsumerId {
        let unknown = ConsumerId(Uuid::from_u128(u128::from(consumer) + 1));
        self.consumers[usize::from(consumer)].unwrap_or(unknown)
    }

    fn append(&mut self, parts: &[Part], cursors: &[(u8, Place)], guess: &Reference) -> Request {
        let mut appending = Appending::default();
        let mut guess = guess.clone();
        for part in parts {
            let producer = self.producer(part.producer);
            let topic = match part.stray {
                None => producer.topic,
                Some(topic) => topic.and_then(|topic| guess.id_of(&topic_name(topic))).unwrap_or(NO_TOPIC),
            };
            let epoch = match part.epoch {
                EpochIs::Told => producer.epoch.0,
                EpochIs::Older => producer.epoch.0.saturating_sub(1),
                EpochIs::Newer => producer.epoch.0 + 1,
            };
            let range = range(part, &guess.stored_ranges(producer.id));
            let batch = self.batch(part, producer.id, Epoch(epoch), range);
            // The parts behind this one see it as stored; whether it is refused is not the question here.
            drop(guess.append_part(topic, &batch));
            appending.parts.push((topic, batch));
        }
        for (consumer, place) in cursors {
            let id = self.consumer(*consumer);
            appending.commits.push((id, cursor(*place, id, &guess)));
        }
        Request::Append(appending)
    }

    /// A batch whose records no other one has.
    fn batch(&mut self, part: &Part, producer: ProducerId, epoch: Epoch, range: SequenceRange) -> Batch {
        let mut builder = BatchBuilder::new();
        for _ in 0..part.records {
            self.values += 1;
            let mut value = format!("{} ", self.values).into_bytes();
            value.resize(value.len().max(part.record_bytes.into()), b'.');
            builder.push(&Record::new(value), crate::record::Timestamp(0)).expect("small");
        }
        let compression = if part.record_bytes < 16 { Compression::None } else { part.compression };
        Batch::check(builder.finish(producer, epoch, range, compression)).expect("just built")
    }

    fn dequeue(&mut self, slot: u8, from: From, max_records: u64, room: Room, guess: &Reference) -> Request {
        let consumer = self.consumer(slot);
        let last = &mut self.dequeues[usize::from(slot)];
        self.attempts += 1;
        let (cursor, attempt) = match (from, *last) {
            (From::Again { is_same_attempt: true }, Some(last)) => last,
            (From::Again { .. }, Some((cursor, _))) => (cursor, self.attempts),
            (From::Again { .. }, None) => (cursor(Place::Cursor(0), consumer, guess), self.attempts),
            (From::Cursor(distance), _) => (cursor(Place::Cursor(distance), consumer, guess), self.attempts),
        };
        *last = Some((cursor, attempt));
        Request::Dequeue(Dequeue { consumer, cursor, attempt, max_records, room })
    }
}

/// Sequences for a batch of a producer that has stored these.
fn range(part: &Part, stored: &[(u64, u64)]) -> SequenceRange {
    let (records, end) = (u64::from(part.records), stored.last().map_or(0, |last| last.1));
    let of_stored = |back: u8| {
        let at = stored.len().saturating_sub(1 + usize::from(back));
        stored.get(at).map(|range| (*range, stored.get(at + 1).copied().unwrap_or(*range)))
    };
    let (start, end) = match part.range {
        RangeIs::Next { width: Width::Records } => (end, end + records),
        RangeIs::Next { width: Width::Bytes } => (end, end + records * (1 + u64::from(part.record_bytes))),
        RangeIs::Next { width: Width::One } => (end, end + 1),
        RangeIs::Gap { by } => (end + by, end + by + records),
        RangeIs::Overlap { by } => (end.saturating_sub(1), end + by),
        RangeIs::Stored { back } => of_stored(back).map_or((end, end + records), |(range, _)| range),
        RangeIs::Within { back } => match of_stored(back) {
            Some(((start, end), _)) if end - start > 2 => (start + 1, end - 1),
            Some(((start, end), _)) if end - start == 2 => (start + 1, end),
            Some((range, _)) => range,
            None => (end, end + records),
        },
        RangeIs::Across { back } => of_stored(back).map_or((end, end + records), |(first, next)| (first.0, next.1)),
    };
    SequenceRange { start: Sequence(start), end: Sequence(end) }
}

/// A place in the topic of a consumer.
fn cursor(place: Place, consumer: ConsumerId, guess: &Reference) -> Offset {
    let (cursor, head, tail) = guess.cursor(consumer).unwrap_or_default();
    offset(place, cursor, head, tail)
}

fn offset(place: Place, cursor: Offset, head: Offset, tail: Offset) -> Offset {
    let (from, distance) = match place {
        Place::Head(distance) => (head, distance),
        Place::Tail(distance) => (tail, distance),
        Place::Cursor(distance) => (cursor, distance),
        Place::AtHead => (head, 0),
        Place::AtTail => (tail, 0),
    };
    Offset(from.0.saturating_add_signed(distance))
}
