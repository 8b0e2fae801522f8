//! Reads (section 8.4) and dequeues (section 8.7).

use std::rc::Rc;

use bytes::Bytes;

use super::{Expected, LastDequeue, Reference, Topic};
use crate::{
    broker::{Error, Room},
    record::{ConsumerId, Offset, Timestamp, TopicName},
    trial::model::request::{Answer, Answered, Batches, Decided, Dequeue},
};

/// A batch and where it is.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) time: Timestamp,
    pub(super) bytes: Bytes,
}

impl Topic {
    /// The batches that hold `from..to`, or some of it.
    fn overlapping(&self, from: Offset, to: Offset) -> Vec<Rc<Stored>> {
        let overlaps = |batch: &&Rc<Stored>| batch.base < to && from < batch.next;
        self.batches.iter().filter(overlaps).cloned().collect()
    }
}

fn bytes_of(batches: &[Rc<Stored>]) -> Batches {
    Batches(batches.iter().map(|batch| batch.bytes.clone()).collect())
}

/// What these batches take of an answer.
fn taken(batches: &[Rc<Stored>], room: Room) -> usize {
    let bytes: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
    bytes + room.per_batch * batches.len().saturating_sub(1)
}

impl Reference {
    pub(super) fn backlog(&self, id: ConsumerId) -> Decided {
        let (_, topic, consumer) = self.consumer(id)?;
        let from = consumer.cursor.max(topic.head);
        Ok(Answer::Backlog { backlog: topic.tail.0 - from.0, cursor: consumer.cursor, range: topic.range() })
    }

    /// An answer may hold fewer batches than are there, but one at least, and no further one once it has `max_bytes`.
    pub(super) fn fetch(&self, topic: &TopicName, from: Offset, max_bytes: usize, seen: Option<&Answered>) -> Decided {
        let topic = self.topic(topic)?;
        let (head, tail) = (topic.head, topic.tail);
        if from < head {
            return Err(Error::BeforeHead { offset: from, head, tail });
        }
        topic.holds_or_ends_at(from, tail)?;
        let mut batches = topic.overlapping(from, tail);
        let mut bytes = 0;
        let wanted = batches.iter().take_while(|batch| {
            let is_wanted = bytes < max_bytes;
            bytes += batch.bytes.len();
            is_wanted
        });
        let most = wanted.count();
        let count = match seen {
            Some(Ok(Answer::Fetched { batches, .. })) => batches.0.len().clamp(1, most.max(1)),
            _ => most,
        };
        batches.truncate(count);
        Ok(Answer::Fetched { range: topic.range(), batches: bytes_of(&batches) })
    }

    pub(super) fn offset_for(&self, topic: &TopicName, time: Timestamp) -> Decided {
        let topic = self.topic(topic)?;
        let found = topic.batches.iter().find(|batch| batch.time >= time);
        Ok(Answer::Offset(found.map_or(topic.tail, |batch| batch.base)))
    }

    /// The table of section 8.7. Records are those that were durable when the request arrived; the cursor is compared
    /// behind everything that arrived before.
    pub(super) fn dequeue(&mut self, durable: &Self, dequeue: Dequeue, seen: Option<&Answered>) -> Expected {
        let Dequeue { consumer: id, cursor, attempt, .. } = dequeue;
        let found = match durable.to_take(dequeue, seen) {
            Ok(found) => found,
            Err(error) => return Expected::Now(Err(error)),
        };
        let known = self.consumer(id).map(drop);
        if let Err(error) = self.needs_last_room(known, seen) {
            return Expected::Now(Err(error));
        }
        let consumer = self.consumer(id).expect("it is known").2.clone();
        if consumer.cursor == cursor {
            let consumer = self.heard_consumer(id);
            let Some((first, next, batches)) = found.records else {
                return Expected::LateCursor { dequeue, tail: found.tail };
            };
            if next != cursor {
                consumer.cursor = next;
                consumer.last_dequeue = Some(LastDequeue { cursor, attempt, first, next });
            }
            let tail = found.tail.max(next);
            return Expected::Now(Ok(Answer::Dequeued { first, next, tail, repeated: false, batches }));
        }
        let is_same = |last: &LastDequeue| (last.cursor, last.attempt, last.next) == (cursor, attempt, consumer.cursor);
        match consumer.last_dequeue.filter(is_same) {
            Some(LastDequeue { first, next, .. }) => {
                self.heard_consumer(id);
                Expected::Repeated { dequeue, first, next, tail: found.tail }
            }
            None => Expected::Now(Err(Error::CursorMismatch { expected: cursor, cursor: consumer.cursor })),
        }
    }

    /// What a dequeue finds when it arrives.
    fn to_take(&self, dequeue: Dequeue, seen: Option<&Answered>) -> Result<Found, Error> {
        let (_, topic, consumer) = self.consumer(dequeue.consumer)?;
        let (cursor, room, tail) = (dequeue.cursor, dequeue.room, topic.tail);
        if consumer.cursor != cursor {
            return Ok(Found { tail, records: None });
        }
        let first = cursor.max(topic.head);
        let wanted = Offset(first.0.saturating_add(dequeue.max_records)).min(tail);
        let mut batches = topic.overlapping(first, wanted);
        let mut next = first;
        if let Some(batch) = batches.first() {
            let bytes = batch.bytes.len();
            if bytes > room.bytes {
                return Err(Error::AnswerTooLarge { bytes, limit: room.bytes });
            }
            while taken(&batches, room) > room.bytes {
                batches.pop();
            }
            // There may be fewer, up to the end of a batch.
            if let Some(Ok(Answer::Dequeued { batches: seen, .. })) = seen {
                batches.truncate(seen.0.len().max(1));
            }
            next = batches.last().expect("the first one fits").next.min(wanted);
        }
        Ok(Found { tail, records: Some((first, next, bytes_of(&batches))) })
    }

    /// What a repeated dequeue gets: what is left of the records, now that the group is durable.
    pub(in crate::trial::model) fn repeated(
        &self,
        dequeue: Dequeue,
        first: Offset,
        next: Offset,
        tail: Offset,
    ) -> Decided {
        let (_, topic, _) = self.consumer(dequeue.consumer)?;
        let first = first.max(topic.head).min(next);
        let (batches, room) = (topic.overlapping(first, next), dequeue.room);
        let bytes = match batches.first() {
            Some(batch) if batch.bytes.len() > room.bytes => batch.bytes.len(),
            _ => taken(&batches, room),
        };
        if bytes > room.bytes {
            return Err(Error::AnswerTooLarge { bytes, limit: room.bytes });
        }
        let batches = bytes_of(&batches);
        Ok(Answer::Dequeued { first, next, tail: tail.max(next), repeated: true, batches })
    }

    /// What a dequeue is answered whose cursor was late: `None` when it is decided anew, which takes another turn.
    pub(in crate::trial::model) fn late(
        &self,
        dequeue: Dequeue,
        tail: Offset,
        seen: Option<&Answered>,
    ) -> Option<Decided> {
        let cursor = dequeue.cursor;
        let is_over = match self.consumer(dequeue.consumer) {
            Ok((_, topic, _)) => cursor >= topic.tail,
            // Its topic was deleted behind it: it may be told so, or that there was nothing.
            Err(_) => matches!(seen, Some(Ok(_))),
        };
        if is_over {
            let (tail, batches) = (tail.max(cursor), Batches::default());
            return Some(Ok(Answer::Dequeued { first: cursor, next: cursor, tail, repeated: false, batches }));
        }
        self.to_take(dequeue, None).err().map(Err)
    }

    /// What readers see of a topic: its range and all its batches.
    pub(in crate::trial::model) fn contents(&self, name: &TopicName) -> (crate::broker::TopicRange, Batches) {
        let topic = &self.topics[name];
        (topic.range(), bytes_of(&topic.batches))
    }
}

/// What a dequeue found when it arrived.
struct Found {
    tail: Offset,
    /// `None`: the cursor was elsewhere, so nothing was looked for.
    records: Option<(Offset, Offset, Batches)>,
}
