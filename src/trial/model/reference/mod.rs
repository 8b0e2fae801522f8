//! The reference: what protocol.md says, over plain lists in memory. Slow and plain on purpose, it shares no rule with
//! the broker.
//!
//! Where the protocol leaves a choice, such as an id or how many records an answer holds, it takes the broker's if it is
//! one of those that are allowed.

mod append;
mod forget;
mod reads;

use std::{collections::BTreeMap, rc::Rc};

use uuid::Uuid;

use super::{
    op::Free,
    request::{Answer, Answered, Decided, Dequeue, Request},
};
use crate::{
    broker::{
        ConsumerState, ConsumerView, Error, Listed, Listing, ProducerState, Retention, StartAt, TopicCreated,
        TopicRange,
    },
    record::{ConsumerId, Epoch, Offset, ProducerId, Sequence, Timestamp, TopicId, TopicName},
};
use append::Range;

/// What the broker keeps back of the disk.
pub(super) const RESERVE_BYTES: u64 = 1 << 20;

/// Everything that a server knows. Its topics are shared with copies of it until they change.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) now: Timestamp,
    pub(super) free: Free,
    next_topic: u32,
    topics: BTreeMap<TopicName, Rc<Topic>>,
}

#[derive(Clone, Debug)]
struct Topic {
    id: TopicId,
    retention: Retention,
    head: Offset,
    tail: Offset,
    last_append: Timestamp,
    /// From head to tail.
    batches: Vec<Rc<reads::Stored>>,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
}

#[derive(Clone, Debug)]
struct Producer {
    id: ProducerId,
    name: Option<String>,
    epoch: Epoch,
    /// All that it ever stored.
    stored: Vec<Range>,
    heard: Timestamp,
}

#[derive(Clone, Debug)]
struct Consumer {
    id: ConsumerId,
    name: Option<String>,
    cursor: Offset,
    last_dequeue: Option<LastDequeue>,
    heard: Timestamp,
}

/// The last dequeue that moved the cursor.
#[derive(Clone, Copy, Debug)]
struct LastDequeue {
    cursor: Offset,
    attempt: u64,
    first: Offset,
    next: Offset,
}

/// What an answer has to be.
#[derive(Clone, Debug)]
pub(super) enum Expected {
    Now(Decided),
    /// A dequeue again: its records are read when the group is durable.
    Repeated {
        dequeue: Dequeue,
        first: Offset,
        next: Offset,
        tail: Offset,
    },
    /// A dequeue that found nothing, since the cursor came to where it was expected only on its way. If there are
    /// records now it is decided anew.
    LateCursor {
        dequeue: Dequeue,
        tail: Offset,
    },
}

impl Reference {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, free: Free::Plenty, next_topic: 1, topics: BTreeMap::new() }
    }

    /// Decides a request, behind those that were decided before. `durable` is what readers saw when it arrived, `seen`
    /// what the broker said to it.
    pub(super) fn decide(&mut self, durable: &Self, request: &Request, seen: Option<&Answered>) -> Expected {
        Expected::Now(match request {
            Request::CreateTopic { name, retention, if_absent } => self.create_topic(name, *retention, *if_absent),
            Request::DeleteTopic { name, if_present } => match (self.topics.remove(name), if_present) {
                (None, false) => Err(unknown(name)),
                (removed, _) => Ok(Answer::Deleted(removed.is_some())),
            },
            Request::RegisterProducer { topic, name, create } => {
                self.register_producer(topic, name.as_deref(), *create, seen)
            }
            Request::ProducerState(id) => self.producer_state(*id),
            Request::ListProducers(listing) => self.list_producers(listing),
            Request::ForgetProducer(id) => Ok(Answer::Forgotten(self.forget_producer(*id))),
            Request::Append(appending) => self.append(appending, seen),
            Request::RegisterConsumer { topic, name, start } => {
                self.register_consumer(topic, name.as_deref(), *start, seen)
            }
            Request::Commit { consumer, offset, rewind } => self.commit(*consumer, *offset, *rewind, seen),
            Request::Dequeue(dequeue) => return self.dequeue(durable, *dequeue, seen),
            Request::Backlog(id) => durable.backlog(*id),
            Request::Fetch { topic, from, max_bytes } => durable.fetch(topic, *from, *max_bytes, seen),
            Request::OffsetFor { topic, time } => durable.offset_for(topic, *time),
        })
    }

    /// Whether the disk has less than this part of the reserve (section 8.8).
    fn full(&self, share: u64) -> Option<Error> {
        let free = free_bytes(self.free);
        (free < RESERVE_BYTES / share).then_some(Error::DiskFull { free, reserve: RESERVE_BYTES })
    }

    /// The whole reserve is wanted. Which of two errors is given is not specified.
    fn needs_room(&self, decided: Result<(), Error>, seen: Option<&Answered>) -> Result<(), Error> {
        either(self.full(1), decided, seen)
    }

    /// A quarter of the reserve is wanted.
    fn needs_last_room(&self, decided: Result<(), Error>, seen: Option<&Answered>) -> Result<(), Error> {
        either(self.full(4), decided, seen)
    }

    fn create_topic(&mut self, name: &TopicName, retention: Retention, if_absent: bool) -> Decided {
        if retention.bytes == Some(0) || retention.age_us == Some(0) {
            return Err(Error::InvalidRetention);
        }
        if let Some(topic) = self.topics.get(name) {
            let there = TopicCreated { id: topic.id, created: false };
            return if if_absent { Ok(Answer::Topic(there)) } else { Err(Error::TopicExists(name.to_string())) };
        }
        self.full(1).map_or(Ok(()), Err)?;
        let id = TopicId(self.next_topic);
        self.next_topic += 1;
        let topic = Topic {
            id,
            retention,
            head: Offset(0),
            tail: Offset(0),
            last_append: Timestamp(0),
            batches: Vec::new(),
            producers: Vec::new(),
            consumers: Vec::new(),
        };
        self.topics.insert(name.clone(), Rc::new(topic));
        Ok(Answer::Topic(TopicCreated { id, created: true }))
    }

    fn register_producer(
        &mut self,
        topic: &TopicName,
        name: Option<&str>,
        create: Option<Retention>,
        seen: Option<&Answered>,
    ) -> Decided {
        // On a copy: refused without an effect.
        let mut after = self.clone();
        let made = match create {
            Some(retention) => after.create_topic(topic, retention, true).map(drop),
            None => after.topic(topic).map(drop),
        };
        let existing = name.and_then(|name| {
            let topic = self.topic(topic).ok()?;
            topic.producers.iter().find(|producer| producer.name.as_deref() == Some(name))
        });
        let fresh = match seen {
            Some(Ok(Answer::Producer(state))) if self.producer(state.id).is_none() => state.id,
            _ => ProducerId(Uuid::nil()),
        };
        let producer = match existing {
            Some(existing) => {
                self.needs_last_room(made, seen)?;
                Producer { epoch: Epoch(existing.epoch.0 + 1), heard: self.now, ..existing.clone() }
            }
            None => {
                self.needs_room(made, seen)?;
                let name = name.map(str::to_owned);
                Producer { id: fresh, name, epoch: Epoch(0), stored: Vec::new(), heard: self.now }
            }
        };
        let id = producer.id;
        let producers = &mut after.topic_mut(topic).producers;
        producers.retain(|producer| producer.id != id);
        producers.push(producer);
        *self = after;
        self.producer_state(id)
    }

    fn producer_state(&mut self, id: ProducerId) -> Decided {
        let topic = self.topic_of_producer(id).ok_or_else(|| Error::UnknownProducer(id.to_string()))?;
        let now = self.now;
        let topic = self.topic_mut(&topic);
        let topic_id = topic.id;
        let producer = topic.producers.iter_mut().find(|producer| producer.id == id).expect("it was found there");
        producer.heard = now;
        Ok(Answer::Producer(producer.shown(topic_id)))
    }

    /// Section 4.12.
    fn list_producers(&self, Listing { topic, prefix, after, limit }: &Listing) -> Decided {
        let topic = self.topic(topic)?;
        let mut found = Vec::new();
        for producer in &topic.producers {
            let Some(name) = &producer.name else { continue };
            if name.starts_with(prefix) && name > after {
                let last_offset = producer.stored.last().map(|range| Offset(range.base + range.records - 1));
                found.push(Listed { state: producer.shown(topic.id), last_offset });
            }
        }
        found.sort_by(|a, b| a.state.name.cmp(&b.state.name));
        let more = found.len() > *limit;
        found.truncate(*limit);
        Ok(Answer::Producers { page: found, more })
    }

    /// Section 4.13.
    fn forget_producer(&mut self, id: ProducerId) -> bool {
        let Some(topic) = self.topic_of_producer(id) else { return false };
        self.topic_mut(&topic).producers.retain(|producer| producer.id != id);
        true
    }

    fn register_consumer(
        &mut self,
        topic: &TopicName,
        name: Option<&str>,
        start: StartAt,
        seen: Option<&Answered>,
    ) -> Decided {
        let found = self.topic(topic)?;
        let existing = found.consumers.iter().find(|consumer| name.is_some() && consumer.name.as_deref() == name);
        if let Some(Consumer { id, cursor, .. }) = existing {
            return Ok(Answer::Consumer(ConsumerState { id: *id, cursor: *cursor, existed: true }));
        }
        let cursor = match start {
            StartAt::Head => found.head,
            StartAt::Tail => found.tail,
            StartAt::Offset(offset) => offset,
        };
        self.needs_room(found.holds_or_ends_at(cursor, found.tail), seen)?;
        let id = match seen {
            Some(Ok(Answer::Consumer(state))) if self.consumer(state.id).is_err() => state.id,
            _ => ConsumerId(Uuid::nil()),
        };
        let name = name.map(str::to_owned);
        let consumer = Consumer { id, name, cursor, last_dequeue: None, heard: self.now };
        self.topic_mut(topic).consumers.push(consumer);
        Ok(Answer::Consumer(ConsumerState { id, cursor, existed: false }))
    }

    fn commit(&mut self, id: ConsumerId, offset: Offset, rewind: bool, seen: Option<&Answered>) -> Decided {
        let allowed = self.consumer(id).and_then(|(_, topic, _)| {
            topic.holds_or_ends_at(offset, topic.tail)?;
            match rewind && offset < topic.head {
                true => Err(Error::BeforeHead { offset, head: topic.head, tail: topic.tail }),
                false => Ok(()),
            }
        });
        self.needs_last_room(allowed, seen)?;
        let consumer = self.heard_consumer(id);
        if rewind || offset > consumer.cursor {
            consumer.cursor = offset;
        }
        Ok(Answer::Cursor(consumer.cursor))
    }

    fn topic(&self, name: &TopicName) -> Result<&Topic, Error> {
        self.topics.get(name).map(AsRef::as_ref).ok_or_else(|| unknown(name))
    }

    fn topic_mut(&mut self, name: &TopicName) -> &mut Topic {
        Rc::make_mut(self.topics.get_mut(name).expect("it was found"))
    }

    fn topic_of_producer(&self, id: ProducerId) -> Option<TopicName> {
        let holds = |topic: &Topic| topic.producers.iter().any(|producer| producer.id == id);
        self.topics.iter().find(|(_, topic)| holds(topic)).map(|(name, _)| name.clone())
    }

    fn producer(&self, id: ProducerId) -> Option<&Producer> {
        self.topics.values().flat_map(|topic| &topic.producers).find(|producer| producer.id == id)
    }

    fn consumer(&self, id: ConsumerId) -> Result<(&TopicName, &Topic, &Consumer), Error> {
        let of = |topic: &'_ Rc<Topic>| topic.consumers.iter().position(|consumer| consumer.id == id);
        let found = self.topics.iter().find_map(|(name, topic)| Some((name, topic, &topic.consumers[of(topic)?])));
        let (name, topic, consumer) = found.ok_or_else(|| Error::UnknownConsumer(id.to_string()))?;
        Ok((name, topic, consumer))
    }

    /// A consumer that exists, which gave a sign of life.
    fn heard_consumer(&mut self, id: ConsumerId) -> &mut Consumer {
        let (now, name) = (self.now, self.consumer(id).expect("it was found").0.clone());
        let mut consumers = self.topic_mut(&name).consumers.iter_mut();
        let consumer = consumers.find(|consumer| consumer.id == id).expect("it was found there");
        consumer.heard = now;
        consumer
    }

    /// Where the stored sequences of a producer lie, oldest first.
    pub(super) fn stored_ranges(&self, id: ProducerId) -> Vec<(u64, u64)> {
        let stored = self.producer(id).map_or(&[][..], |producer| &producer.stored[..]);
        stored.iter().map(|range| (range.start, range.end)).collect()
    }

    /// Head and tail of a topic.
    pub(super) fn ends(&self, topic: &TopicName) -> Option<(Offset, Offset)> {
        self.topics.get(topic).map(|topic| (topic.head, topic.tail))
    }

    pub(super) fn id_of(&self, topic: &TopicName) -> Option<TopicId> {
        self.topics.get(topic).map(|topic| topic.id)
    }

    /// Where a consumer is, and head and tail of its topic.
    pub(super) fn cursor(&self, id: ConsumerId) -> Option<(Offset, Offset, Offset)> {
        let (_, topic, consumer) = self.consumer(id).ok()?;
        Some((consumer.cursor, topic.head, topic.tail))
    }

    pub(super) fn topic_names(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.keys()
    }

    /// All producers, by id.
    pub(super) fn producers(&self) -> Vec<ProducerState> {
        let all =
            self.topics.values().flat_map(|topic| topic.producers.iter().map(|producer| producer.shown(topic.id)));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|producer| producer.id);
        all
    }

    /// All consumers of a topic, by id.
    pub(super) fn consumers(&self, topic: &TopicName) -> Vec<ConsumerView> {
        let consumers = self.topics.get(topic).map_or(&[][..], |topic| &topic.consumers[..]);
        let shown = consumers.iter().map(|Consumer { id, name, cursor, .. }| ConsumerView {
            id: *id,
            name: name.clone(),
            cursor: *cursor,
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort_by_key(|consumer| consumer.id);
        shown
    }
}

impl Producer {
    fn shown(&self, topic: TopicId) -> ProducerState {
        let last_sequence = Sequence(self.stored.last().map_or(0, |range| range.end));
        ProducerState { id: self.id, topic, name: self.name.clone(), epoch: self.epoch, last_sequence }
    }
}

impl Topic {
    fn range(&self) -> TopicRange {
        TopicRange {
            head: self.head,
            tail: self.tail,
            bytes: self.batches.iter().map(|batch| batch.bytes.len() as u64).sum(),
            producers: self.producers.len(),
            consumers: self.consumers.len(),
            is_deleted: false,
        }
    }

    /// Refuses what is beyond `end`, which is the tail or what it will be.
    fn holds_or_ends_at(&self, offset: Offset, end: Offset) -> Result<(), Error> {
        match offset > end {
            true => Err(Error::BeyondTail { offset, head: self.head, tail: self.tail }),
            false => Ok(()),
        }
    }
}

fn unknown(name: &TopicName) -> Error {
    Error::UnknownTopic(name.to_string())
}

/// How much room that is.
pub(super) fn free_bytes(free: Free) -> u64 {
    match free {
        Free::Plenty => RESERVE_BYTES << 10,
        Free::Half => RESERVE_BYTES / 2,
        Free::Eighth => RESERVE_BYTES / 8,
    }
}

/// Of a full disk and another fault either is told.
fn either(full: Option<Error>, decided: Result<(), Error>, seen: Option<&Answered>) -> Result<(), Error> {
    match full {
        Some(full) if decided.is_ok() || matches!(seen, Some(Err(seen)) if *seen == full.clone().into()) => Err(full),
        _ => decided,
    }
}
