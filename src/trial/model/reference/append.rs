//! Appends (section 8.3): a batch is new, a duplicate, or refused, and the whole request with it.

use std::rc::Rc;

use super::{Reference, reads::Stored};
use crate::{
    broker::{Appended, Appending, Error},
    limits::MAX_PRODUCER_RANGES,
    record::{Batch, Offset, Sequence, Stamp, TopicId},
    trial::model::request::{Answer, Answered, Decided},
};

/// Sequences that were stored, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) base: u64,
    pub(super) records: u64,
}

impl Range {
    fn counts_records(self) -> bool {
        self.end - self.start == self.records
    }
}

impl Reference {
    pub(super) fn append(&mut self, appending: &Appending, seen: Option<&Answered>) -> Decided {
        let mut after = self.clone();
        let decided = after.append_and_commit(self, appending);
        let is_new = |parts: &Vec<Appended>| parts.iter().any(|part| !part.duplicate);
        let share = match &decided {
            Ok(parts) if is_new(parts) => Some(1),
            Ok(_) if appending.commits.is_empty() => None,
            Ok(_) => Some(4),
            // Whether room is wanted can be asked before all else is right.
            Err(_) => Some(1),
        };
        let full = share.and_then(|share| self.full(share));
        super::either(full, decided.as_ref().map(drop).map_err(Clone::clone), seen)?;
        *self = after;
        decided.map(Answer::Appended)
    }

    /// Stores part after part, then moves cursors, on a copy of what was `before`.
    fn append_and_commit(&mut self, before: &Self, appending: &Appending) -> Result<Vec<Appended>, Error> {
        let mut appended = Vec::new();
        for (index, (topic, batch)) in appending.parts.iter().enumerate() {
            let part = self.append_part(*topic, batch);
            appended.push(part.map_err(|error| Error::Part { index, error: Box::new(error) })?);
        }
        for (index, (id, offset)) in appending.commits.iter().enumerate() {
            let parts = appending.parts.len();
            let refused = |error| Error::Cursor { index, parts, error: Box::new(error) };
            let (_, topic, consumer) = self.consumer(*id).map_err(refused)?;
            let (tail, cursor) = (topic.tail, consumer.cursor);
            // The refusal tells head and tail without the batches of the request.
            let (_, told, _) = before.consumer(*id).map_err(refused)?;
            told.holds_or_ends_at(*offset, tail).map_err(refused)?;
            self.heard_consumer(*id).cursor = cursor.max(*offset);
        }
        Ok(appended)
    }

    /// The table of section 8.3, row by row.
    pub(in crate::trial::model) fn append_part(&mut self, topic_id: TopicId, batch: &Batch) -> Result<Appended, Error> {
        let header = batch.header();
        if !self.topics.values().any(|topic| topic.id == topic_id) {
            return Err(Error::UnknownTopic(format!("with id {topic_id}")));
        }
        let Some(name) = self.topic_of_producer(header.producer) else {
            return Err(Error::UnknownProducer(header.producer.to_string()));
        };
        if self.topics[&name].id != topic_id {
            return Err(Error::ProducerNotForTopic(name.to_string()));
        }
        let now = self.now;
        let topic = self.topic_mut(&name);
        let mut producers = topic.producers.iter_mut();
        let producer = producers.find(|producer| producer.id == header.producer).expect("it is of this topic");
        if producer.epoch != header.epoch {
            return Err(Error::Fenced { epoch: header.epoch.0, current: producer.epoch.0 });
        }
        let (start, end) = (header.sequence.start.0, header.sequence.end.0);
        let stored = producer.stored.last().map_or(0, |range| range.end);
        if end > stored && start != stored {
            let (start, expected) = (Sequence(start), Sequence(stored));
            let is_gap = start > expected;
            return Err(if is_gap { Error::Gap { start, expected } } else { Error::Overlap { start, expected } });
        }
        producer.heard = now;
        if end <= stored {
            return Ok(Appended { base_offset: offset_of(&producer.stored, start, end), duplicate: true });
        }
        let (base, records) = (topic.tail, u64::from(header.record_count));
        producer.stored.push(Range { start, end, base: base.0, records });
        topic.last_append = topic.last_append.max(now);
        let mut bytes = batch.as_bytes().to_vec();
        Stamp { base_offset: base, append_time: topic.last_append }.write(&mut bytes);
        let next = base.plus(records);
        topic.batches.push(Rc::new(Stored { base, next, time: topic.last_append, bytes: bytes.into() }));
        topic.tail = next;
        Ok(Appended { base_offset: Some(base), duplicate: false })
    }
}

/// The offset of a duplicate, as far as it is remembered.
fn offset_of(stored: &[Range], start: u64, end: u64) -> Option<Offset> {
    let mut remembered: Vec<Range> = Vec::new();
    for range in stored {
        match remembered.last_mut() {
            Some(last)
                if last.counts_records()
                    && range.counts_records()
                    && (last.end, last.base + last.records) == (range.start, range.base) =>
            {
                last.end = range.end;
                last.records += range.records;
            }
            _ => remembered.push(*range),
        }
    }
    let forgotten = remembered.len().saturating_sub(MAX_PRODUCER_RANGES);
    remembered[forgotten..].iter().find_map(|range| {
        let is_within = range.counts_records() && range.start <= start && end <= range.end;
        let is_exact = (range.start, range.end) == (start, end);
        (is_within || is_exact).then(|| Offset(range.base + (start - range.start)))
    })
}
