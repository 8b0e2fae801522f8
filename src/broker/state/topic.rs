//! A topic: its range of offsets, and the pieces that retention drops.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::{
    broker::event::{self, Event, Piece},
    limits::RETENTION_PIECES,
    record::{BatchHeader, ConsumerId, Offset, ProducerId, Timestamp, TopicId, TopicName},
};

/// How long a topic keeps its records. `None`: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The oldest records go when the batches that are kept take more bytes than this.
    pub bytes: Option<u64>,
    /// Records go when they were appended longer ago than this, in microseconds.
    pub age_us: Option<u64>,
}

impl Retention {
    /// Whether anything is ever dropped.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.bytes.is_some() || self.age_us.is_some()
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::broker) struct Topic {
    pub(in crate::broker) id: TopicId,
    pub(in crate::broker) name: TopicName,
    pub(in crate::broker) created: Timestamp,
    pub(in crate::broker) retention: Retention,
    pub(in crate::broker) head: Offset,
    pub(in crate::broker) tail: Offset,
    /// Of the batches in `head..tail`.
    pub(in crate::broker) bytes: u64,
    pub(in crate::broker) last_append: Timestamp,
    /// `head..tail` in pieces of about a 32nd of what retention allows; none when nothing is ever dropped.
    pub(in crate::broker) pieces: VecDeque<Piece>,
    /// Ranges of `head..tail` that damage took, in order, not touching each other.
    pub(in crate::broker) lost: Vec<(Offset, Offset)>,
    pub(in crate::broker) producers: HashSet<ProducerId>,
    pub(in crate::broker) producer_names: BTreeMap<String, ProducerId>,
    pub(in crate::broker) consumers: HashSet<ConsumerId>,
    pub(in crate::broker) consumer_names: HashMap<String, ConsumerId>,
}

impl Topic {
    /// `None`: the name is not allowed.
    pub(super) fn from_event(event: &event::Topic) -> Option<Self> {
        Some(Self {
            id: TopicId(event.id),
            name: TopicName::new(&event.name).ok()?,
            created: Timestamp(event.created_us),
            retention: Retention { bytes: event.retention_bytes, age_us: event.retention_age_us },
            head: Offset(event.head),
            tail: Offset(event.tail),
            bytes: event.bytes,
            last_append: Timestamp(event.last_append_us),
            pieces: event.pieces.iter().copied().collect(),
            lost: Vec::new(),
            producers: HashSet::new(),
            producer_names: BTreeMap::new(),
            consumers: HashSet::new(),
            consumer_names: HashMap::new(),
        })
    }

    pub(super) fn to_event(&self) -> event::Topic {
        event::Topic {
            id: self.id.0,
            name: self.name.as_str().to_owned(),
            created_us: self.created.0,
            retention_bytes: self.retention.bytes,
            retention_age_us: self.retention.age_us,
            head: self.head.0,
            tail: self.tail.0,
            bytes: self.bytes,
            last_append_us: self.last_append.0,
            pieces: self.pieces.iter().copied().collect(),
        }
    }

    /// Takes up a batch, which is at the tail.
    pub(super) fn append(&mut self, header: &BatchHeader) {
        let time = header.stamp.append_time;
        assert!(time >= self.last_append, "append times of a topic never go back");
        let bytes = u64::from(header.batch_bytes);
        self.tail = header.next_offset();
        self.bytes += bytes;
        self.last_append = time;
        if self.retention.is_limited() {
            self.append_piece(header.stamp.base_offset, bytes, time);
        }
    }

    fn append_piece(&mut self, base: Offset, bytes: u64, time: Timestamp) {
        let full_bytes = self.retention.bytes.map_or(u64::MAX, |bytes| bytes / RETENTION_PIECES);
        let full_age = self.retention.age_us.map_or(u64::MAX, |age| age / RETENTION_PIECES);
        match self.pieces.back_mut() {
            Some(last) if last.bytes + bytes <= full_bytes && time.0 - last.first_us <= full_age => {
                last.bytes += bytes;
                last.last_us = time.0;
            }
            _ => self.pieces.push_back(Piece { base: base.0, bytes, first_us: time.0, last_us: time.0 }),
        }
    }

    /// Drops what is before `head`, which is where a piece begins, or the tail.
    pub(super) fn trim(&mut self, head: Offset) {
        assert!(self.head <= head && head <= self.tail, "the head moves forward, up to the tail");
        while let Some(piece) = self.pieces.front().filter(|piece| piece.base < head.0) {
            self.bytes -= piece.bytes;
            self.pieces.pop_front();
        }
        self.head = head;
        self.lost.retain(|(_, to)| *to > head);
    }

    /// Notes that damage took offsets behind all those that it is known to have taken; `false` when that cannot be.
    pub(super) fn lose(&mut self, from: Offset, to: Offset) -> bool {
        let behind = self.lost.last().map_or(self.head, |(_, to)| to.plus(1));
        let is_possible = behind <= from && from < to && to <= self.tail;
        if is_possible {
            self.lost.push((from, to));
        }
        is_possible
    }

    /// Sets what is missing of `head..tail`: at the head it moves the head, elsewhere it is lost. `bytes` are those of all
    /// batches that are there; where retention counts them in pieces, what is missing is counted until it is dropped.
    pub(in crate::broker) fn mend(&mut self, gaps: &[(Offset, Offset)], tail: Offset, bytes: u64) {
        self.tail = self.tail.max(tail);
        let mut gaps = gaps;
        if let [(from, to), rest @ ..] = gaps
            && *from == self.head
        {
            self.trim(*to);
            gaps = rest;
        }
        self.lost = gaps.to_vec();
        if !self.retention.is_limited() {
            self.bytes = bytes;
        }
    }

    /// What damage took, for a snapshot.
    pub(super) fn lost_events(&self) -> impl Iterator<Item = Event> {
        self.lost.iter().map(|(from, to)| Event::Lost { topic: self.id.0, from: from.0, to: to.0 })
    }
}
