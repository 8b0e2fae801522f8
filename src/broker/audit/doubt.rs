//! What may have happened in the part of a journal that is lost.

use std::collections::{HashMap, HashSet};

use crate::{
    limits::{BATCH_HEADER_BYTES, MAX_BATCH_RECORDS},
    record::{Offset, TopicId},
    storage::Loss,
};

/// No segment holds so many records: it is at most 1 GiB and one group, and a batch takes at least its header. A lost end
/// costs so many offsets, of 2^64; an offset that was given once is never given again.
const MOST_IN_A_SEGMENT: u64 = 1 << 41;
/// Topics that the end of a segment can have created, likewise.
const MOST_TOPICS: u32 = 1 << 26;
/// No creation of a topic is shorter.
const TOPIC_EVENT_BYTES: u64 = 24;

/// What was lost since the last state that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt {
    /// Bytes of journal that may have held anything.
    bytes: u64,
    /// Ends of segments.
    ends: u64,
    /// Topics of which batches were found behind everything that is lost: their tails are known.
    sure: HashSet<TopicId>,
    /// Topics that have lost a batch since they were sure.
    batches: HashMap<TopicId, Offset>,
}

impl Doubt {
    /// Takes note of a loss.
    pub(super) fn lose(&mut self, loss: Loss) {
        match loss {
            Loss::Nothing => return,
            Loss::Batch(topic, base) => {
                self.batches.insert(topic, base);
                return;
            }
            Loss::Entries(bytes) => self.bytes += bytes,
            Loss::End => self.ends += 1,
        }
        self.sure.clear();
    }

    /// A batch of the topic follows.
    pub(super) fn found(&mut self, topic: TopicId) {
        self.batches.remove(&topic);
        if self.is_any() {
            self.sure.insert(topic);
        }
    }

    fn is_any(&self) -> bool {
        self.bytes > 0 || self.ends > 0
    }

    /// The tail that a topic may have had, if it ends at `tail` as far as is known.
    pub(super) fn possible_tail(&self, topic: TopicId, tail: Offset) -> Offset {
        let batch = MAX_BATCH_RECORDS as u64;
        let behind_batch = self.batches.get(&topic).map_or(tail, |base| tail.max(base.plus(batch)));
        if self.sure.contains(&topic) || !self.is_any() {
            return behind_batch;
        }
        let batches = self.bytes / BATCH_HEADER_BYTES as u64 + u64::from(self.bytes > 0);
        let most = batches.saturating_mul(batch).saturating_add(self.ends.saturating_mul(MOST_IN_A_SEGMENT));
        Offset(behind_batch.0.saturating_add(most))
    }

    /// The number that the next topic may have got, if it is `next` as far as is known.
    pub(super) fn possible_topic(&self, next: u32) -> u32 {
        let created = u32::try_from(self.bytes.div_ceil(TOPIC_EVENT_BYTES)).unwrap_or(MOST_TOPICS);
        let ends = if self.ends > 0 { MOST_TOPICS } else { 0 };
        next.saturating_add(created).saturating_add(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: TopicId = TopicId(1);

    #[test]
    fn a_tail_is_known_when_nothing_is_lost_behind_the_last_batch_of_the_topic() {
        let mut doubt = Doubt::default();
        assert_eq!(doubt.possible_tail(TOPIC, Offset(7)), Offset(7));
        doubt.lose(Loss::Entries(100));
        assert_eq!(doubt.possible_tail(TOPIC, Offset(7)), Offset(7 + 2 * 65_536));
        doubt.found(TOPIC);
        assert_eq!(doubt.possible_tail(TOPIC, Offset(7)), Offset(7));
        assert!(doubt.possible_tail(TopicId(2), Offset(7)) > Offset(7), "nothing was found of that one");
        doubt.lose(Loss::Batch(TOPIC, Offset(7)));
        assert_eq!(doubt.possible_tail(TOPIC, Offset(7)), Offset(7 + 65_536));
        doubt.found(TOPIC);
        doubt.lose(Loss::End);
        assert_eq!(doubt.possible_tail(TOPIC, Offset(7)), Offset(7 + 2 * 65_536 + MOST_IN_A_SEGMENT));
        assert!(doubt.possible_topic(3) > 3);
    }

    /// The largest segment, filled to its end with the smallest batches of as many records as there can be.
    #[test]
    fn a_lost_end_costs_more_offsets_than_a_segment_has() {
        let bytes: u64 = (1 << 30) + (crate::limits::MAX_FRAME_BYTES + crate::limits::MAX_GROUP_BYTES) as u64;
        assert!(bytes / BATCH_HEADER_BYTES as u64 * (MAX_BATCH_RECORDS as u64) < MOST_IN_A_SEGMENT);
    }
}
