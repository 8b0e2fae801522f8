//! Deciding: is an operation valid, a duplicate, a gap? Looks at the state, changes nothing, gives entries to store.

use std::{collections::HashMap, ops::Bound};

use super::{
    Error, Retention,
    operation::{Appending, Listed, Listing, StartAt, Taken, Taking},
    state::{Consumer, Producer, State, Topic, Verdict},
};
use crate::{
    limits::{MAX_CONSUMERS, MAX_PRODUCERS, MAX_TOPICS},
    planted::Bug,
    record::{BatchHeader, ConsumerId, Offset, ProducerId, Sequence, Timestamp, TopicId, TopicName},
};

/// What is to be done with each part of an append.
pub(super) fn append(state: &State, appending: &Appending) -> Result<Vec<Verdict>, Error> {
    let mut added = Added::default();
    let mut verdicts = Vec::with_capacity(appending.parts.len());
    for (index, (topic, batch)) in appending.parts.iter().enumerate() {
        let verdict = append_part(state, *topic, batch.header(), &mut added);
        verdicts.push(verdict.map_err(|error| Error::Part { index, error: Box::new(error) })?);
    }
    for (index, (id, offset)) in appending.commits.iter().enumerate() {
        let allowed = consumer(state, *id).and_then(|consumer| {
            let records = added.records.get(&consumer.topic).copied().unwrap_or(0);
            check_not_beyond(topic(state, consumer.topic)?, *offset, records)
        });
        let parts = appending.parts.len();
        allowed.map_err(|error| Error::Cursor { index, parts, error: Box::new(error) })?;
    }
    Ok(verdicts)
}

/// What earlier parts of the same request add.
#[derive(Default)]
struct Added {
    /// Where the stored sequences of a producer end then.
    ends: HashMap<ProducerId, Sequence>,
    /// How many records a topic has more then.
    records: HashMap<TopicId, u64>,
}

fn append_part(state: &State, topic_id: TopicId, header: &BatchHeader, added: &mut Added) -> Result<Verdict, Error> {
    topic(state, topic_id)?;
    let producer = state.producers.get(&header.producer);
    let producer = producer.ok_or_else(|| Error::UnknownProducer(header.producer.to_string()))?;
    if producer.topic != topic_id {
        let theirs = topic(state, producer.topic)?;
        return Err(Error::ProducerNotForTopic(theirs.name.to_string()));
    }
    if header.epoch != producer.epoch {
        return Err(Error::Fenced { epoch: header.epoch.0, current: producer.epoch.0 });
    }
    let expected = added.ends.get(&producer.id).copied().unwrap_or(producer.end);
    let start = header.sequence.start;
    match Verdict::of(header.sequence, expected) {
        Verdict::Gap => Err(Error::Gap { start, expected }),
        Verdict::Overlap => Err(Error::Overlap { start, expected }),
        Verdict::Duplicate if !state.planted.has(Bug::NoDedupe) => Ok(Verdict::Duplicate),
        Verdict::Append | Verdict::Duplicate => {
            added.ends.insert(producer.id, header.sequence.end);
            *added.records.entry(topic_id).or_default() += u64::from(header.record_count);
            Ok(Verdict::Append)
        }
    }
}

/// Whether a topic may be created. `Ok(Some(_))`: it exists.
pub(super) fn create_topic(state: &State, name: &TopicName, retention: Retention) -> Result<Option<TopicId>, Error> {
    if retention.bytes == Some(0) || retention.age_us == Some(0) {
        return Err(Error::InvalidRetention);
    }
    match state.names.get(name) {
        Some(id) => Ok(Some(*id)),
        None if state.topics.len() >= MAX_TOPICS => Err(Error::TooManyTopics(MAX_TOPICS)),
        None => Ok(None),
    }
}

/// The producer that has this name already.
pub(super) fn registered_producer<'a>(state: &'a State, topic: &TopicName, name: Option<&str>) -> Option<&'a Producer> {
    let id = topic_named(state, topic).ok()?.producer_names.get(name?)?;
    state.producers.get(id).map(AsRef::as_ref)
}

/// A page of the producers that have names, and whether there are more.
pub(super) fn list_producers(state: &State, listing: &Listing) -> Result<(Vec<Listed>, bool), Error> {
    let names = &topic_named(state, &listing.topic)?.producer_names;
    let first = match listing.after >= listing.prefix {
        true => Bound::Excluded(listing.after.as_str()),
        false => Bound::Included(listing.prefix.as_str()),
    };
    let matching = names.range::<str, _>((first, Bound::Unbounded));
    let matching = matching.take_while(|(name, _)| name.starts_with(&listing.prefix));
    let mut found = matching.filter_map(|(_, id)| state.producers.get(id)).map(|producer| producer.listed());
    let page = found.by_ref().take(listing.limit).collect();
    Ok((page, found.next().is_some()))
}

/// Whether there may be one more producer.
pub(super) fn another_producer(state: &State) -> Result<(), Error> {
    match state.producers.len() < MAX_PRODUCERS {
        true => Ok(()),
        false => Err(Error::TooManyProducers(MAX_PRODUCERS)),
    }
}

/// The consumer with this name, or a new one, and whether it existed.
pub(super) fn register_consumer(
    state: &State,
    topic: &Topic,
    name: Option<String>,
    start: StartAt,
    now: Timestamp,
) -> Result<(Consumer, bool), Error> {
    let existing = name.as_ref().and_then(|name| topic.consumer_names.get(name));
    if let Some(existing) = existing.and_then(|id| state.consumers.get(id)) {
        return Ok((Consumer::clone(existing), true));
    }
    let cursor = match start {
        StartAt::Head => topic.head,
        StartAt::Tail => topic.tail,
        StartAt::Offset(offset) => offset,
    };
    check_not_beyond(topic, cursor, 0)?;
    if state.consumers.len() >= MAX_CONSUMERS {
        return Err(Error::TooManyConsumers(MAX_CONSUMERS));
    }
    Ok((Consumer::new(topic.id, name, cursor, now), false))
}

/// Where a cursor will be.
pub(super) fn commit(state: &State, id: ConsumerId, offset: Offset, rewind: bool) -> Result<Offset, Error> {
    let consumer = consumer(state, id)?;
    let topic = topic(state, consumer.topic)?;
    check_not_beyond(topic, offset, 0)?;
    if rewind && offset < topic.head {
        return Err(Error::BeforeHead { offset, head: topic.head, tail: topic.tail });
    }
    Ok(if rewind { offset } else { offset.max(consumer.cursor) })
}

/// What a dequeue takes. Empty when there was nothing to take.
pub(super) fn dequeue(state: &State, taking: &Taking) -> Result<Taken, Error> {
    let consumer = consumer(state, taking.consumer)?;
    let Taking { cursor, attempt, first, next, .. } = *taking;
    if consumer.cursor == cursor {
        return Ok(Taken { first, next, repeated: false });
    }
    match consumer.last_dequeue {
        Some(last) if last.attempt == attempt && last.cursor == cursor.0 && last.next == consumer.cursor.0 => {
            Ok(Taken { first: Offset(last.first), next: Offset(last.next), repeated: true })
        }
        _ => Err(Error::CursorMismatch { expected: cursor, cursor: consumer.cursor }),
    }
}

/// The topic with this id.
pub(super) fn topic(state: &State, id: TopicId) -> Result<&Topic, Error> {
    state.topics.get(&id).map(AsRef::as_ref).ok_or_else(|| Error::UnknownTopic(format!("with id {id}")))
}

/// The topic with this name.
pub(super) fn topic_named<'a>(state: &'a State, name: &TopicName) -> Result<&'a Topic, Error> {
    let id = state.names.get(name).ok_or_else(|| Error::UnknownTopic(name.to_string()))?;
    topic(state, *id)
}

fn consumer(state: &State, id: ConsumerId) -> Result<&Consumer, Error> {
    state.consumers.get(&id).map(AsRef::as_ref).ok_or_else(|| Error::UnknownConsumer(id.to_string()))
}

/// `offset` may be up to `added` records after the tail.
fn check_not_beyond(topic: &Topic, offset: Offset, added: u64) -> Result<(), Error> {
    if offset <= topic.tail.plus(added) {
        return Ok(());
    }
    Err(Error::BeyondTail { offset, head: topic.head, tail: topic.tail })
}
