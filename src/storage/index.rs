//! Where the batches of a topic are in a segment: runs, in memory for a live segment, packed for a sealed one.

use std::collections::HashMap;

use super::block::BatchPlace;
use crate::{
    limits::MAX_RUN_BYTES,
    record::{Offset, TopicId},
};

/// A stretch of the journal that starts with a batch of the topic and holds only few bytes of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Offset of its first batch.
    pub(super) base: Offset,
    /// Where it starts in the journal.
    pub(super) position: u64,
    pub(super) bytes: u32,
}

/// Others' bytes that a run may pass over to reach the topic's next batch.
const MAX_GAP_BYTES: u64 = 1024;
const PACKED_RUN_BYTES: usize = 20;

impl Run {
    fn end(&self) -> u64 {
        self.position + u64::from(self.bytes)
    }

    fn pack(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base.0.to_le_bytes());
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
    }
}

/// Runs as one value of a sealed segment's index.
pub(super) fn pack(runs: &[Run]) -> Vec<u8> {
    let mut out = Vec::with_capacity(runs.len() * PACKED_RUN_BYTES);
    runs.iter().for_each(|run| run.pack(&mut out));
    out
}

/// The inverse of [`pack`]; `None` when the length is not a multiple of a run's.
pub(super) fn unpack(bytes: &[u8]) -> Option<Vec<Run>> {
    let (packed, rest) = bytes.as_chunks::<PACKED_RUN_BYTES>();
    let run = |packed: &[u8; PACKED_RUN_BYTES]| Run {
        base: Offset(u64::from_le_bytes(packed[..8].try_into().expect("8 bytes"))),
        position: u64::from_le_bytes(packed[8..16].try_into().expect("8 bytes")),
        bytes: u32::from_le_bytes(packed[16..].try_into().expect("4 bytes")),
    };
    rest.is_empty().then(|| packed.iter().map(run).collect())
}

/// The runs of `runs`, which are in order, that hold what is at or after `from`, up to about `max_bytes`.
pub(super) fn select(runs: &[Run], from: Offset, max_bytes: usize) -> &[Run] {
    let first = runs.partition_point(|run| run.base <= from).saturating_sub(1);
    let mut bytes = 0;
    let wanted = runs[first..].iter().take_while(|run| {
        let wanted = bytes < max_bytes;
        bytes += run.bytes as usize;
        wanted
    });
    &runs[first..first + wanted.count()]
}

/// Which offsets of a topic a segment holds, and in how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) topic: TopicId,
    pub(super) first: Offset,
    pub(super) end: Offset,
    pub(super) bytes: u64,
}

impl Span {
    /// About how many of its bytes are at or after `head`.
    pub(super) fn live_bytes(&self, head: Option<Offset>) -> u64 {
        let Some(head) = head.filter(|head| *head < self.end) else {
            return 0;
        };
        if head <= self.first {
            return self.bytes;
        }
        let (left, all) = (u128::from(self.end.0 - head.0), u128::from(self.end.0 - self.first.0));
        u64::try_from(u128::from(self.bytes) * left / all).expect("a part of a u64")
    }
}

#[derive(Debug)]
struct TopicRuns {
    runs: Vec<Run>,
    end: Offset,
    bytes: u64,
}

/// The index of a live segment.
#[derive(Debug, Default)]
pub(super) struct MemoryIndex {
    topics: HashMap<TopicId, TopicRuns>,
    runs: usize,
}

impl MemoryIndex {
    /// Adds the next batch of a topic. `start` is where its block begins in the journal.
    pub(super) fn add(&mut self, start: u64, place: &BatchPlace) {
        let bytes = u32::try_from(place.bytes).expect("entries are bounded by the frame limit");
        let run = Run { base: place.base, position: start + place.position as u64, bytes };
        let topic = self.topics.entry(place.topic);
        let topic = topic.or_insert_with(|| TopicRuns { runs: Vec::new(), end: place.base, bytes: 0 });
        assert!(topic.end <= place.base, "offsets of a topic only grow: {} after {}", place.base, topic.end);
        topic.end = place.next;
        topic.bytes += u64::from(bytes);
        if let Some(last) = topic.runs.last_mut() {
            let whole = run.end() - last.position;
            if run.position - last.end() <= MAX_GAP_BYTES && whole <= MAX_RUN_BYTES as u64 {
                last.bytes = u32::try_from(whole).expect("at most MAX_RUN_BYTES");
                return;
            }
        }
        topic.runs.push(run);
        self.runs += 1;
    }

    /// How many runs it holds.
    pub(super) fn len(&self) -> usize {
        self.runs
    }

    /// Whether it holds anything of the topic at or after `from`.
    pub(super) fn holds(&self, topic: TopicId, from: Offset) -> bool {
        self.topics.get(&topic).is_some_and(|topic| from < topic.end)
    }

    /// The runs to read for what is at or after `from`; `None` when nothing is.
    pub(super) fn runs_from(&self, topic: TopicId, from: Offset, max_bytes: usize) -> Option<Vec<Run>> {
        let topic = self.topics.get(&topic).filter(|topic| from < topic.end)?;
        Some(select(&topic.runs, from, max_bytes).to_vec())
    }

    /// What the segment holds, in order of topic.
    pub(super) fn spans(&self) -> Vec<Span> {
        let span = |(&topic, runs): (&TopicId, &TopicRuns)| Span {
            topic,
            first: runs.runs.first().expect("a topic is here because of a batch").base,
            end: runs.end,
            bytes: runs.bytes,
        };
        let mut spans: Vec<_> = self.topics.iter().map(span).collect();
        spans.sort_unstable_by_key(|span| span.topic);
        spans
    }

    /// All runs of a topic.
    pub(super) fn runs(&self, topic: TopicId) -> &[Run] {
        self.topics.get(&topic).map_or(&[], |topic| &topic.runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(topic: u32, base: u64, position: usize, bytes: usize) -> BatchPlace {
        BatchPlace { topic: TopicId(topic), base: Offset(base), next: Offset(base + 2), position, bytes }
    }

    #[test]
    fn neighbours_share_a_run_until_it_is_long_and_strangers_do_not() {
        let mut index = MemoryIndex::default();
        index.add(0, &place(1, 0, 0, 100));
        index.add(0, &place(2, 0, 100, 100));
        index.add(1000, &place(1, 2, 0, 100));
        index.add(3000, &place(1, 4, 0, MAX_RUN_BYTES));
        let run = |base, position, bytes| Run { base: Offset(base), position, bytes };
        let long = run(4, 3000, u32::try_from(MAX_RUN_BYTES).expect("small"));
        assert_eq!(index.runs(TopicId(1)), [run(0, 0, 1100), long]);
        assert_eq!(index.runs_from(TopicId(1), Offset(3), 10), Some(vec![run(0, 0, 1100)]));
        assert_eq!(index.runs_from(TopicId(1), Offset(3), 1101), Some(vec![run(0, 0, 1100), long]));
        assert_eq!(index.runs_from(TopicId(1), Offset(5), 1), Some(vec![long]));
        assert_eq!(index.runs_from(TopicId(1), Offset(6), 1), None);
        assert_eq!(index.len(), 3);
        let packed = pack(index.runs(TopicId(1)));
        assert_eq!(unpack(&packed).as_deref(), Some(index.runs(TopicId(1))));
        assert_eq!(unpack(&packed[1..]), None);
    }

    #[test]
    fn a_span_is_live_in_proportion_to_what_is_after_the_head() {
        let span = Span { topic: TopicId(1), first: Offset(100), end: Offset(200), bytes: 1000 };
        let live = |head: Option<u64>| span.live_bytes(head.map(Offset));
        assert_eq!([live(None), live(Some(0)), live(Some(150)), live(Some(200))], [0, 1000, 500, 0]);
    }
}
