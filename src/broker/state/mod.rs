//! The state: a fold over the journal. Deterministic, no clock, no I/O; time comes in entries.
//!
//! # Invariants
//! - Every producer and consumer belongs to a topic that exists.
//! - The stored batch is the update of its producer: `end` is the end of the last stored range, by construction.

mod consumer;
mod mend;
mod producer;
mod topic;

pub(super) use consumer::Consumer;
pub(super) use mend::Deleted;
pub(super) use producer::{Producer, Verdict};
pub use topic::Retention;
pub(super) use topic::Topic;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use uuid::Uuid;

use super::event::{self, Event};
use crate::{
    planted::{Bug, Planted},
    record::{BatchHeader, ConsumerId, Offset, ProducerId, Timestamp, TopicId, TopicName},
    storage::{Entry, LiveHeads, Recovery, StorageError},
};

/// Everything the broker knows. Cloning it for a snapshot is cheap: its parts are shared until they change.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) server_id: Uuid,
    pub(super) next_topic: u32,
    pub(super) topics: HashMap<TopicId, Arc<Topic>>,
    pub(super) names: BTreeMap<TopicName, TopicId>,
    pub(super) producers: HashMap<ProducerId, Arc<Producer>>,
    pub(super) consumers: HashMap<ConsumerId, Arc<Consumer>>,
    pub(super) planted: Planted,
}

/// The journal says something that cannot have happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Impossible(pub(super) &'static str);

impl State {
    /// Applies an event.
    pub(super) fn apply(&mut self, event: &Event) -> Result<(), Impossible> {
        match event {
            Event::Server(server) => {
                self.server_id = Uuid::from_bytes(server.id);
                self.next_topic = server.next_topic;
            }
            Event::Topic(topic) => self.put_topic(topic)?,
            Event::TopicDeleted(id) => self.delete_topic(TopicId(*id))?,
            Event::Producer(producer) => self.put_producer(producer)?,
            Event::ProducersExpired(ids) => ids.iter().for_each(|id| self.remove_producer(id)),
            Event::Consumer(consumer) => self.put_consumer(consumer)?,
            Event::ConsumersExpired(ids) => ids.iter().for_each(|id| self.remove_consumer(id)),
            Event::CursorMoved { consumer, cursor, at_us } => {
                let consumer = self.consumer_mut(consumer)?;
                consumer.cursor = Offset(*cursor);
                consumer.last_active = Timestamp(*at_us);
            }
            Event::Dequeued { consumer, dequeue, at_us } => {
                let consumer = self.consumer_mut(consumer)?;
                consumer.cursor = Offset(dequeue.next);
                consumer.last_active = Timestamp(*at_us);
                consumer.last_dequeue = Some(*dequeue);
            }
            Event::Trimmed { topic, head } => {
                let topic = self.topic_mut(TopicId(*topic))?;
                if !(topic.head..=topic.tail).contains(&Offset(*head)) {
                    return Err(Impossible("the head of a topic moves to where it cannot be"));
                }
                topic.trim(Offset(*head));
            }
            Event::Lost { topic, from, to } => {
                if !self.topic_mut(TopicId(*topic))?.lose(Offset(*from), Offset(*to)) {
                    return Err(Impossible("offsets that a topic does not hold are lost"));
                }
            }
        }
        Ok(())
    }

    /// Applies the append of a batch, which is stamped.
    pub(super) fn apply_batch(&mut self, id: TopicId, header: &BatchHeader) -> Result<(), Impossible> {
        let topic = self.topic_mut(id)?;
        if header.stamp.base_offset != topic.tail {
            return Err(Impossible("a batch is not at the tail of its topic"));
        }
        topic.append(header);
        let producer = self.producers.get_mut(&header.producer).ok_or(Impossible("a batch of an unknown producer"))?;
        let producer = Arc::make_mut(producer);
        let is_repeated = producer.end > header.sequence.start && !self.planted.has(Bug::NoDedupe);
        if producer.topic != id || is_repeated {
            return Err(Impossible("a batch that its producer had stored already"));
        }
        producer.append(header);
        Ok(())
    }

    fn put_topic(&mut self, topic: &event::Topic) -> Result<(), Impossible> {
        let topic = Topic::from_event(topic).ok_or(Impossible("a topic with a name that is not allowed"))?;
        self.next_topic = self.next_topic.max(topic.id.0 + 1);
        self.names.insert(topic.name.clone(), topic.id);
        self.topics.insert(topic.id, Arc::new(topic));
        Ok(())
    }

    fn delete_topic(&mut self, id: TopicId) -> Result<(), Impossible> {
        let topic = self.topics.remove(&id).ok_or(Impossible("an unknown topic is deleted"))?;
        self.names.remove(&topic.name);
        for producer in &topic.producers {
            self.producers.remove(producer);
        }
        for consumer in &topic.consumers {
            self.consumers.remove(consumer);
        }
        Ok(())
    }

    fn put_producer(&mut self, producer: &event::Producer) -> Result<(), Impossible> {
        let producer = Producer::from_event(producer);
        let topic = self.topic_mut(producer.topic)?;
        if let Some(name) = &producer.name {
            topic.producer_names.insert(name.clone(), producer.id);
        }
        topic.producers.insert(producer.id);
        self.producers.insert(producer.id, Arc::new(producer));
        Ok(())
    }

    fn remove_producer(&mut self, id: &[u8; 16]) {
        let Some(producer) = self.producers.remove(&ProducerId(Uuid::from_bytes(*id))) else {
            return;
        };
        if let Ok(topic) = self.topic_mut(producer.topic) {
            topic.producers.remove(&producer.id);
            if let Some(name) = &producer.name {
                topic.producer_names.remove(name);
            }
        }
    }

    fn put_consumer(&mut self, consumer: &event::Consumer) -> Result<(), Impossible> {
        let consumer = Consumer::from_event(consumer);
        let topic = self.topic_mut(consumer.topic)?;
        if let Some(name) = &consumer.name {
            topic.consumer_names.insert(name.clone(), consumer.id);
        }
        topic.consumers.insert(consumer.id);
        self.consumers.insert(consumer.id, Arc::new(consumer));
        Ok(())
    }

    fn remove_consumer(&mut self, id: &[u8; 16]) {
        let Some(consumer) = self.consumers.remove(&ConsumerId(Uuid::from_bytes(*id))) else {
            return;
        };
        if let Ok(topic) = self.topic_mut(consumer.topic) {
            topic.consumers.remove(&consumer.id);
            if let Some(name) = &consumer.name {
                topic.consumer_names.remove(name);
            }
        }
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut Topic, Impossible> {
        self.topics.get_mut(&id).map(Arc::make_mut).ok_or(Impossible("an unknown topic changes"))
    }

    fn consumer_mut(&mut self, id: &[u8; 16]) -> Result<&mut Consumer, Impossible> {
        let id = ConsumerId(Uuid::from_bytes(*id));
        self.consumers.get_mut(&id).map(Arc::make_mut).ok_or(Impossible("an unknown consumer's cursor moves"))
    }

    /// What readers may still ask for.
    pub(super) fn live_heads(&self) -> LiveHeads {
        self.topics.values().map(|topic| (topic.id, topic.head)).collect()
    }

    /// The state as events that make it anew, each behind its length.
    pub(super) fn to_snapshot(&self) -> Vec<u8> {
        let server = event::Server { id: *self.server_id.as_bytes(), next_topic: self.next_topic };
        let mut bytes = Vec::new();
        let mut put = |event: Event| {
            let event = event.encode();
            let length = u32::try_from(event.len()).expect("events are small");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&event);
        };
        put(Event::Server(server));
        for topic in self.topics.values() {
            put(Event::Topic(topic.to_event()));
            topic.lost_events().for_each(&mut put);
        }
        self.producers.values().for_each(|producer| put(Event::Producer(producer.to_event())));
        self.consumers.values().for_each(|consumer| put(Event::Consumer(consumer.to_event())));
        bytes
    }

    fn restore(&mut self, mut bytes: &[u8]) -> Result<(), Impossible> {
        let cut_off = Impossible("a snapshot is cut off");
        while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            let Some((event, rest)) = rest.split_at_checked(length) else {
                return Err(cut_off);
            };
            self.apply(&Event::decode(event).ok_or(Impossible("a snapshot holds what is not an event"))?)?;
            bytes = rest;
        }
        if bytes.is_empty() { Ok(()) } else { Err(cut_off) }
    }
}

impl Impossible {
    fn into_storage(self) -> StorageError {
        StorageError::Corrupted(format!("journal: {}", self.0))
    }
}

impl Recovery for State {
    fn snapshot(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.restore(bytes).map_err(Impossible::into_storage)
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), StorageError> {
        let applied = match entry {
            Entry::Batch(topic, batch) => {
                let header = BatchHeader::read(batch).map_err(|error| StorageError::Corrupted(error.to_string()))?;
                self.apply_batch(topic, &header)
            }
            Entry::Event(bytes) => match Event::decode(bytes) {
                Some(event) => self.apply(&event),
                None => Err(Impossible("an event that this version does not know")),
            },
        };
        applied.map_err(Impossible::into_storage)
    }

    fn state(&mut self) -> Vec<u8> {
        self.to_snapshot()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of a producer that was forgotten stayed in memory until the next start, for each file that an agent had seen
    /// go; and a check of the directory found that the state does not follow from the journal.
    #[test]
    fn whoever_is_forgotten_leaves_nothing() {
        let topic = mend::nameless(TopicName::new("t").expect("a good name"), TopicId(1));
        let producer = event::Producer {
            id: [7; 16],
            topic: 1,
            name: Some("p".to_owned()),
            epoch: 0,
            end: 0,
            last_active_us: 0,
            ranges: Vec::new(),
        };
        let mut state = State::default();
        state.apply(&Event::Topic(topic)).expect("it is new");
        let before = state.clone();
        state.apply(&Event::Producer(producer)).expect("its topic is there");
        assert_ne!(state, before);
        state.apply(&Event::ProducersExpired(vec![[7; 16]])).expect("it is known");
        assert_eq!(state, before);
    }
}
