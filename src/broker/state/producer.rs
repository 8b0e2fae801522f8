//! A producer: how far it got, which is what makes a retried batch be stored once.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::{
    broker::{
        Listed, ProducerState,
        event::{self, Range},
    },
    limits::MAX_PRODUCER_RANGES,
    record::{BatchHeader, Epoch, Offset, ProducerId, Sequence, SequenceRange, Timestamp, TopicId},
};

/// A registered producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Producer {
    pub(in crate::broker) id: ProducerId,
    pub(in crate::broker) topic: TopicId,
    pub(in crate::broker) name: Option<String>,
    pub(in crate::broker) epoch: Epoch,
    /// End of the last stored range.
    pub(in crate::broker) end: Sequence,
    pub(in crate::broker) last_active: Timestamp,
    /// The ranges stored last, oldest first, to answer duplicates with their offsets.
    ranges: VecDeque<Range>,
}

/// What to do with a batch (protocol.md section 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Verdict {
    /// It starts where the last one ended.
    Append,
    /// It was stored before.
    Duplicate,
    /// Something is missing before it.
    Gap,
    /// Part of it was stored before.
    Overlap,
}

impl Verdict {
    /// Judges a batch by its sequence range. `end` is where the producer's stored ranges end, with what the same
    /// request adds before this batch.
    pub(in crate::broker) fn of(range: SequenceRange, end: Sequence) -> Self {
        if range.start == end {
            Self::Append
        } else if range.start > end {
            Self::Gap
        } else if range.end <= end {
            Self::Duplicate
        } else {
            Self::Overlap
        }
    }
}

impl Producer {
    pub(in crate::broker) fn new(topic: TopicId, name: Option<String>, now: Timestamp) -> Self {
        Self {
            id: ProducerId(Uuid::new_v4()),
            topic,
            name,
            epoch: Epoch(0),
            end: Sequence(0),
            last_active: now,
            ranges: VecDeque::new(),
        }
    }

    /// The producer in its next epoch: what an earlier holder of its name still sends is refused.
    pub(in crate::broker) fn registered_again(&self, now: Timestamp) -> Self {
        let epoch = Epoch(self.epoch.0.checked_add(1).expect("nobody registers a producer 2^32 times"));
        Self { epoch, last_active: now, ..self.clone() }
    }

    /// The producer as it is, in use now.
    pub(in crate::broker) fn active_at(&self, now: Timestamp) -> Self {
        Self { last_active: now, ..self.clone() }
    }

    /// What its owner is told.
    pub(in crate::broker) fn shown(&self) -> ProducerState {
        let Self { id, topic, epoch, end: last_sequence, .. } = *self;
        ProducerState { id, topic, name: self.name.clone(), epoch, last_sequence }
    }

    /// What a list shows.
    pub(in crate::broker) fn listed(&self) -> Listed {
        let last_offset = self.ranges.back().map(|last| Offset(last.base + last.records - 1));
        Listed { state: self.shown(), last_offset }
    }

    pub(super) fn from_event(event: &event::Producer) -> Self {
        Self {
            id: ProducerId(Uuid::from_bytes(event.id)),
            topic: TopicId(event.topic),
            name: event.name.clone(),
            epoch: Epoch(event.epoch),
            end: Sequence(event.end),
            last_active: Timestamp(event.last_active_us),
            ranges: event.ranges.iter().copied().collect(),
        }
    }

    pub(in crate::broker) fn to_event(&self) -> event::Producer {
        event::Producer {
            id: *self.id.0.as_bytes(),
            topic: self.topic.0,
            name: self.name.clone(),
            epoch: self.epoch.0,
            end: self.end.0,
            last_active_us: self.last_active.0,
            ranges: self.ranges.iter().copied().collect(),
        }
    }

    /// Where a stored range is, if that is still known: it was stored as it is, or within a run of ranges that count
    /// records.
    pub(in crate::broker) fn offset_of(&self, wanted: SequenceRange) -> Option<Offset> {
        let holds = |range: &&Range| range.start <= wanted.start.0 && wanted.end.0 <= range.end;
        let range = self.ranges.iter().rev().find(holds)?;
        let counts_records = range.end - range.start == range.records;
        let is_exact = (range.start, range.end) == (wanted.start.0, wanted.end.0);
        (counts_records || is_exact).then(|| Offset(range.base + (wanted.start.0 - range.start)))
    }

    /// Takes up a batch that was judged [`Verdict::Append`].
    pub(super) fn append(&mut self, header: &BatchHeader) {
        let new = Range {
            start: header.sequence.start.0,
            end: header.sequence.end.0,
            base: header.stamp.base_offset.0,
            records: header.record_count.into(),
        };
        self.end = header.sequence.end;
        self.last_active = header.stamp.append_time;
        let counts_records = |range: &Range| range.end - range.start == range.records;
        match self.ranges.back_mut() {
            // Ranges that count records and follow each other in both respects are one.
            Some(last)
                if counts_records(last)
                    && counts_records(&new)
                    && last.end == new.start
                    && last.base + last.records == new.base =>
            {
                last.end = new.end;
                last.records += new.records;
            }
            _ => {
                if self.ranges.len() == MAX_PRODUCER_RANGES {
                    self.ranges.pop_front();
                }
                self.ranges.push_back(new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Batch, BatchBuilder, Compression, Record, Stamp};

    fn header(start: u64, end: u64, records: u64, base: u64) -> BatchHeader {
        let mut builder = BatchBuilder::new();
        (0..records).for_each(|_| builder.push(&Record::new("r"), Timestamp(0)).expect("small"));
        let range = SequenceRange { start: Sequence(start), end: Sequence(end) };
        let bytes = builder.finish(ProducerId::default(), Epoch(0), range, Compression::None);
        let mut bytes = bytes.to_vec();
        Stamp { base_offset: Offset(base), append_time: Timestamp(0) }.write(&mut bytes);
        *Batch::parse(bytes.into()).expect("just built").header()
    }

    fn range(start: u64, end: u64) -> SequenceRange {
        SequenceRange { start: Sequence(start), end: Sequence(end) }
    }

    fn judge(producer: &Producer, start: u64, end: u64) -> Verdict {
        Verdict::of(range(start, end), producer.end)
    }

    fn offset(producer: &Producer, start: u64, end: u64) -> Option<Offset> {
        assert_eq!(judge(producer, start, end), Verdict::Duplicate);
        producer.offset_of(range(start, end))
    }

    #[test]
    fn a_retried_batch_is_answered_with_its_offset_and_nothing_else_is_taken_for_one() {
        let mut producer = Producer::new(TopicId(1), None, Timestamp(0));
        producer.append(&header(0, 10, 10, 100));
        producer.append(&header(10, 15, 5, 110));
        producer.append(&header(15, 20, 5, 200));
        assert_eq!(producer.ranges.len(), 2, "the first two are one range");
        assert_eq!(judge(&producer, 20, 25), Verdict::Append);
        assert_eq!(offset(&producer, 10, 15), Some(Offset(110)));
        assert_eq!(offset(&producer, 15, 20), Some(Offset(200)));
        assert_eq!(offset(&producer, 12, 18), None, "across two places");
        assert_eq!(judge(&producer, 21, 25), Verdict::Gap);
        assert_eq!(judge(&producer, 19, 21), Verdict::Overlap);
    }

    #[test]
    fn bytes_of_a_file_are_sequences_too() {
        let mut producer = Producer::new(TopicId(1), None, Timestamp(0));
        producer.append(&header(0, 1000, 3, 0));
        producer.append(&header(1000, 1500, 2, 3));
        assert_eq!(offset(&producer, 1000, 1500), Some(Offset(3)));
        assert_eq!(offset(&producer, 0, 500), None);
        assert_eq!(judge(&producer, 1500, 1501), Verdict::Append);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut producer = Producer::new(TopicId(1), None, Timestamp(0));
        (0..100).for_each(|n| producer.append(&header(n, n + 1, 1, n * 10)));
        assert_eq!(producer.ranges.len(), MAX_PRODUCER_RANGES);
        assert_eq!(offset(&producer, 99, 100), Some(Offset(990)));
        assert_eq!(offset(&producer, 0, 1), None);
    }
}
