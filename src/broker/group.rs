//! A group: operations that are decided one after the other and become durable together.

use super::{
    Error, Retention, decide,
    event::{self, Event},
    operation::{Appended, Appending, ConsumerState, Done, Operation, ProducerState, StartAt, Taking, TopicCreated},
    retention,
    state::{Producer, State, Verdict},
};
use crate::{
    limits::ACTIVITY_PRECISION,
    planted::Bug,
    record::{BatchHeader, ConsumerId, Offset, ProducerId, Stamp, Timestamp, TopicId, TopicName},
    storage::Block,
};

/// Cursors stop when this part of the reserve is left.
const CURSOR_SHARE: u64 = 4;
/// Most that one event forgets; what is over comes next time.
const MAX_EXPIRED: usize = 10_000;

/// Tells one caller, once the group is durable or has failed.
enum Settle {
    Append(Done<Vec<Appended>>, Result<Vec<Appended>, Error>),
    Other(Box<dyn FnOnce(Result<(), Error>) + Send>),
}

/// Operations that become durable together, applied to the state already.
pub(super) struct Group<'a> {
    state: &'a mut State,
    now: Timestamp,
    /// Why nothing that needs room is taken, if so.
    full: Option<Error>,
    pub(super) block: Block,
    /// What is committed before the block: nothing, unless a bug is planted.
    pub(super) early: Block,
    pub(super) topics: Vec<TopicId>,
    pub(super) consumers: Vec<ConsumerId>,
    pub(super) frees_room: bool,
    settle: Vec<Settle>,
}

/// What is left of a group when the state is free again.
pub(super) struct Settling(Vec<Settle>);

impl<'a> Group<'a> {
    pub(super) fn new(state: &'a mut State, now: Timestamp, full: Option<Error>, bytes: usize) -> Self {
        let block = Block::with_capacity(bytes);
        Self {
            state,
            now,
            full,
            block,
            early: Block::default(),
            topics: Vec::new(),
            consumers: Vec::new(),
            frees_room: false,
            settle: Vec::new(),
        }
    }

    pub(super) fn settling(&mut self) -> Settling {
        Settling(std::mem::take(&mut self.settle))
    }

    /// Decides an operation and applies it.
    pub(super) fn execute(&mut self, operation: Operation) {
        match operation {
            Operation::Append(appending, done) => {
                let outcome = self.append(&appending);
                self.settle.push(Settle::Append(done, outcome));
            }
            Operation::CreateTopic { name, retention, if_absent, done } => {
                let outcome = self.create_topic(&name, retention).and_then(|topic| match topic.created || if_absent {
                    true => Ok(topic),
                    false => Err(Error::TopicExists(name.to_string())),
                });
                self.later(outcome, done);
            }
            Operation::DeleteTopic { name, if_present, done } => {
                let outcome = self.delete_topic(&name, if_present);
                self.later(outcome, done);
            }
            Operation::RegisterProducer { topic, name, create, done } => {
                let outcome = self.register_producer(&topic, name, create);
                self.later(outcome, done);
            }
            Operation::ProducerState { id, done } => {
                let outcome = self.producer_state(id).inspect(|_| self.note_producer(id));
                self.later(outcome, done);
            }
            Operation::ListProducers(listing, done) => {
                let outcome = decide::list_producers(self.state, &listing);
                self.later(outcome, done);
            }
            Operation::ForgetProducer { id, done } => {
                let outcome = Ok(self.forget_producer(id));
                self.later(outcome, done);
            }
            Operation::RegisterConsumer { topic, name, start, done } => {
                let outcome = self.register_consumer(&topic, name, start);
                self.later(outcome, done);
            }
            Operation::Commit { consumer, offset, rewind, done } => {
                let outcome = self.last_room().and_then(|()| decide::commit(self.state, consumer, offset, rewind));
                let outcome = outcome.inspect(|cursor| self.move_cursor(consumer, *cursor));
                self.later(outcome, done);
            }
            Operation::Dequeue(taking, done) => {
                let outcome = self.last_room().and_then(|()| decide::dequeue(self.state, &taking));
                match &outcome {
                    Ok(taken) if !taken.repeated && taken.next != taking.cursor => self.dequeue(&taking),
                    Ok(taken) => self.move_cursor(taking.consumer, taken.next),
                    Err(_) => {}
                }
                self.later(outcome, done);
            }
        }
    }

    /// Tells the caller when the group is durable: also a refusal, which may rest on what is not durable yet.
    fn later<T: Send + 'static>(&mut self, outcome: Result<T, Error>, done: Done<T>) {
        self.settle.push(Settle::Other(Box::new(move |durable| done(durable.and(outcome)))));
    }

    /// Applies an event and adds it to the block.
    fn record(&mut self, event: &Event) {
        self.state.apply(event).expect("it was decided on this state");
        self.block.push_event(&event.encode());
    }

    fn room(&self) -> Result<(), Error> {
        self.full.clone().map_or(Ok(()), Err)
    }

    /// Cursors move within the reserve, but not down to the last byte: what frees room needs some.
    fn last_room(&self) -> Result<(), Error> {
        match &self.full {
            Some(Error::DiskFull { free, reserve }) if *free < reserve / CURSOR_SHARE => self.room(),
            _ => Ok(()),
        }
    }

    fn append(&mut self, appending: &Appending) -> Result<Vec<Appended>, Error> {
        let verdicts = decide::append(self.state, appending)?;
        // Who repeats what is stored is told so on a full disk, too.
        if verdicts.contains(&Verdict::Append) {
            self.room()?;
        } else if !appending.commits.is_empty() {
            self.last_room()?;
        }
        let parts = appending.parts.iter().zip(verdicts);
        let appended = parts.map(|((topic, batch), verdict)| match verdict {
            Verdict::Duplicate => self.repeated(batch.header()),
            _ => self.store(*topic, *batch.header(), batch.as_bytes()),
        });
        let appended = appended.collect();
        let is_early = self.state.planted.has(Bug::CursorFirst);
        if is_early {
            std::mem::swap(&mut self.block, &mut self.early);
        }
        for (id, offset) in &appending.commits {
            let cursor = self.state.consumers[id].cursor.max(*offset);
            self.move_cursor(*id, cursor);
        }
        if is_early {
            std::mem::swap(&mut self.block, &mut self.early);
        }
        Ok(appended)
    }

    fn repeated(&mut self, header: &BatchHeader) -> Appended {
        self.note_producer(header.producer);
        let base_offset = self.state.producers[&header.producer].offset_of(header.sequence);
        Appended { base_offset, duplicate: true }
    }

    fn store(&mut self, id: TopicId, mut header: BatchHeader, batch: &[u8]) -> Appended {
        let topic = &self.state.topics[&id];
        header.stamp = Stamp { base_offset: topic.tail, append_time: self.now.max(topic.last_append) };
        self.state.apply_batch(id, &header).expect("it was decided on this state");
        self.block.push_batch(id, header.stamp, header.record_count, batch);
        self.touch(id);
        Appended { base_offset: Some(header.stamp.base_offset), duplicate: false }
    }

    fn touch(&mut self, topic: TopicId) {
        if self.topics.last() != Some(&topic) {
            self.topics.push(topic);
        }
    }

    fn move_cursor(&mut self, id: ConsumerId, cursor: Offset) {
        let consumer = &self.state.consumers[&id];
        let is_noted = consumer.name.is_some() || self.is_recent(consumer.last_active);
        if consumer.cursor != cursor || !is_noted {
            let (consumer, cursor, at_us) = (*id.0.as_bytes(), cursor.0, self.now.0);
            self.record(&Event::CursorMoved { consumer, cursor, at_us });
            self.consumers.push(id);
        }
    }

    /// Notes that a producer without a name is in use, though it stores nothing.
    fn note_producer(&mut self, id: ProducerId) {
        let producer = &self.state.producers[&id];
        if producer.name.is_none() && !self.is_recent(producer.last_active) && self.last_room().is_ok() {
            let producer = producer.active_at(self.now);
            self.record(&Event::Producer(producer.to_event()));
        }
    }

    fn is_recent(&self, time: Timestamp) -> bool {
        let precision = u64::try_from(ACTIVITY_PRECISION.as_micros()).expect("a day");
        self.now.0.saturating_sub(time.0) < precision
    }

    fn dequeue(&mut self, taking: &Taking) {
        let Taking { attempt, cursor, first, next, .. } = *taking;
        let dequeue = event::Dequeue { attempt, cursor: cursor.0, first: first.0, next: next.0 };
        let (consumer, at_us) = (*taking.consumer.0.as_bytes(), self.now.0);
        self.record(&Event::Dequeued { consumer, dequeue, at_us });
        self.consumers.push(taking.consumer);
    }

    fn create_topic(&mut self, name: &TopicName, retention: Retention) -> Result<TopicCreated, Error> {
        if let Some(id) = decide::create_topic(self.state, name, retention)? {
            return Ok(TopicCreated { id, created: false });
        }
        self.room()?;
        let id = TopicId(self.state.next_topic);
        self.record(&Event::Topic(event::Topic {
            id: id.0,
            name: name.as_str().to_owned(),
            created_us: self.now.0,
            retention_bytes: retention.bytes,
            retention_age_us: retention.age_us,
            head: 0,
            tail: 0,
            bytes: 0,
            last_append_us: 0,
            pieces: Vec::new(),
        }));
        self.touch(id);
        Ok(TopicCreated { id, created: true })
    }

    fn delete_topic(&mut self, name: &TopicName, if_present: bool) -> Result<bool, Error> {
        let (id, consumers) = match decide::topic_named(self.state, name) {
            Ok(topic) => (topic.id, topic.consumers.iter().copied().collect::<Vec<_>>()),
            Err(Error::UnknownTopic(_)) if if_present => return Ok(false),
            Err(error) => return Err(error),
        };
        self.record(&Event::TopicDeleted(id.0));
        self.topics.push(id);
        self.consumers.extend(consumers);
        self.frees_room = true;
        Ok(true)
    }

    fn register_producer(
        &mut self,
        topic: &TopicName,
        name: Option<String>,
        create: Option<Retention>,
    ) -> Result<ProducerState, Error> {
        match create {
            Some(retention) => drop(decide::create_topic(self.state, topic, retention)?),
            None => drop(decide::topic_named(self.state, topic)?),
        }
        let producer = match decide::registered_producer(self.state, topic, name.as_deref()) {
            Some(producer) => {
                self.last_room()?;
                producer.registered_again(self.now)
            }
            None => {
                self.room()?;
                // Refused without an effect: the limit is looked at before the topic is made.
                decide::another_producer(self.state)?;
                if let Some(retention) = create {
                    self.create_topic(topic, retention)?;
                }
                Producer::new(decide::topic_named(self.state, topic)?.id, name, self.now)
            }
        };
        self.record(&Event::Producer(producer.to_event()));
        self.touch(producer.topic);
        self.producer_state(producer.id)
    }

    fn producer_state(&self, id: ProducerId) -> Result<ProducerState, Error> {
        let producer = self.state.producers.get(&id).ok_or_else(|| Error::UnknownProducer(id.to_string()))?;
        Ok(producer.shown())
    }

    fn forget_producer(&mut self, id: ProducerId) -> bool {
        let Some(topic) = self.state.producers.get(&id).map(|producer| producer.topic) else { return false };
        self.record(&Event::ProducersExpired(vec![*id.0.as_bytes()]));
        self.touch(topic);
        true
    }

    fn register_consumer(
        &mut self,
        topic: &TopicName,
        name: Option<String>,
        start: StartAt,
    ) -> Result<ConsumerState, Error> {
        let topic = decide::topic_named(self.state, topic)?;
        let (consumer, existed) = decide::register_consumer(self.state, topic, name, start, self.now)?;
        if !existed {
            self.room()?;
            self.record(&Event::Consumer(consumer.to_event()));
            self.touch(consumer.topic);
            self.consumers.push(consumer.id);
        }
        Ok(ConsumerState { id: consumer.id, cursor: consumer.cursor, existed })
    }

    /// Drops what retention asks for in the topics that this group touched.
    pub(super) fn trim_touched(&mut self) {
        for at in 0..self.topics.len() {
            self.trim(self.topics[at]);
        }
    }

    /// Drops what retention asks for in a topic.
    pub(super) fn trim(&mut self, id: TopicId) {
        let topic = self.state.topics.get(&id).filter(|topic| topic.retention.is_limited());
        if let Some(head) = topic.and_then(|topic| retention::plan(topic, self.now)) {
            self.record(&Event::Trimmed { topic: id.0, head: head.0 });
            self.touch(id);
            self.frees_room = true;
        }
    }

    /// Looks at every topic whose records expire by age; gives the time when it should be done again.
    pub(super) fn sweep(&mut self) -> Option<Timestamp> {
        let expiring = self.state.topics.values().filter(|topic| topic.retention.age_us.is_some());
        let expiring: Vec<_> = expiring.map(|topic| topic.id).collect();
        expiring.iter().for_each(|id| self.trim(*id));
        expiring.iter().filter_map(|id| retention::next_expiry(&self.state.topics[id])).min()
    }

    /// When the first record of the topics that this group touched expires.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        let touched = self.topics.iter().filter_map(|id| self.state.topics.get(id));
        touched.filter_map(|topic| retention::next_expiry(topic)).min()
    }

    /// Forgets producers without a name that were silent since `before`.
    pub(super) fn expire_producers(&mut self, before: Timestamp) {
        let producers = self.state.producers.values();
        let silent = producers.filter(|producer| producer.name.is_none() && producer.last_active < before);
        let silent: Vec<_> = silent.take(MAX_EXPIRED).map(|producer| (producer.id, producer.topic)).collect();
        if !silent.is_empty() {
            let ids = silent.iter().map(|(id, _)| *id.0.as_bytes()).collect();
            self.record(&Event::ProducersExpired(ids));
            silent.iter().for_each(|(_, topic)| self.touch(*topic));
        }
    }

    /// Forgets consumers without a name that were silent since `before`.
    pub(super) fn expire_consumers(&mut self, before: Timestamp) {
        let consumers = self.state.consumers.values();
        let silent = consumers.filter(|consumer| consumer.name.is_none() && consumer.last_active < before);
        let silent: Vec<_> = silent.take(MAX_EXPIRED).map(|consumer| (consumer.id, consumer.topic)).collect();
        if !silent.is_empty() {
            self.record(&Event::ConsumersExpired(silent.iter().map(|(id, _)| *id.0.as_bytes()).collect()));
            silent.iter().for_each(|(_, topic)| self.touch(*topic));
            self.consumers.extend(silent.iter().map(|(id, _)| *id));
        }
    }

    /// Gives the data its identity.
    pub(super) fn identify(&mut self) {
        if self.state.server_id.is_nil() {
            let id = *uuid::Uuid::new_v4().as_bytes();
            self.record(&Event::Server(event::Server { id, next_topic: self.state.next_topic.max(1) }));
        }
    }
}

impl Settling {
    /// Tells every caller before anything is durable, as a bug would have it.
    pub(super) fn settle_now(&mut self) {
        Self(std::mem::take(&mut self.0)).settle(&Ok(()));
    }

    /// Tells every caller, in order.
    pub(super) fn settle(self, durable: &Result<(), Error>) {
        for settle in self.0 {
            match settle {
                Settle::Append(done, outcome) => done(durable.clone().and(outcome)),
                Settle::Other(settle) => settle(durable.clone()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Batch, BatchBuilder, Compression, Record, Sequence, SequenceRange};

    const DAY: u64 = 24 * 3600 * 1_000_000;

    fn at(state: &mut State, day: u64) -> Group<'_> {
        Group::new(state, Timestamp(day * DAY), None, 1024)
    }

    fn name() -> TopicName {
        TopicName::new("t").expect("a good name")
    }

    /// A consumer without a name that only polled, and a producer that only repeated itself, were forgotten in use.
    #[test]
    fn signs_of_life_are_noted_once_a_day_and_silence_ends_what_has_no_name() {
        let mut state = State::default();
        let mut group = at(&mut state, 0);
        let producer = group.register_producer(&name(), None, Some(Retention::default())).expect("registers");
        let consumer = group.register_consumer(&name(), None, StartAt::Tail).expect("registers");
        let mut builder = BatchBuilder::new();
        builder.push(&Record::new("a"), Timestamp(0)).expect("small");
        let range = SequenceRange::counting(Sequence(0), 1);
        let batch = builder.finish(producer.id, producer.epoch, range, Compression::None);
        let batch = Batch::check(batch).expect("just built");
        let appending = Appending { parts: vec![(producer.topic, batch)], commits: vec![] };
        assert!(!group.append(&appending).expect("stored")[0].duplicate);
        for day in 1..10 {
            let mut group = at(&mut state, day);
            assert!(group.append(&appending).expect("known")[0].duplicate);
            group.move_cursor(consumer.id, Offset(0));
            let noted = group.block.len();
            assert!(noted > 0);
            assert!(group.append(&appending).expect("known")[0].duplicate);
            group.move_cursor(consumer.id, Offset(0));
            assert_eq!(group.block.len(), noted, "once a day");
            group.expire_producers(Timestamp(day.saturating_sub(7) * DAY));
            group.expire_consumers(Timestamp(day.saturating_sub(7) * DAY));
        }
        assert_eq!((state.producers.len(), state.consumers.len()), (1, 1));
        let mut group = at(&mut state, 17);
        group.expire_producers(Timestamp(10 * DAY));
        group.expire_consumers(Timestamp(10 * DAY));
        assert_eq!((state.producers.len(), state.consumers.len()), (0, 0));
    }
}
