//! When to let a group grow before it begins.
//!
//! A commit costs much the same for one operation as for a hundred. Callers that each wait for an answer before they ask
//! again fall into two halves otherwise: while one half is committed the other one gathers, and everybody waits for two
//! commits, each of which serves a half. So the writer waits a little for the producers that it has just told, if they
//! are those who come back at once. Where they are not, as when they send without waiting or are far away, it hardly ever
//! waits.

use std::{collections::HashSet, time::Duration};

use super::{operation::Operation, queue::Gather};
use crate::record::ProducerId;

/// Fewer producers than this are not worth waiting for.
const MIN_PRODUCERS: usize = 4;
/// Nobody waits for longer.
const MAX_WAIT: Duration = Duration::from_millis(2);
/// Groups that do not wait after it was in vain again and again.
const MAX_PAUSE: u32 = 256;
/// The time that a commit takes is a moving average over so many.
const AVERAGED: u32 = 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// Whom the last group told.
    told: HashSet<ProducerId>,
    /// What waited already when it ended.
    waiting: usize,
    commit_time: Duration,
    /// Groups that will not wait.
    pause: u32,
    /// How long the last pause was.
    last_pause: u32,
    is_trying: bool,
}

impl Gathering {
    /// What the next group waits for.
    pub(super) fn gather(&mut self) -> Gather {
        self.is_trying = self.pause == 0 && self.told.len() >= MIN_PRODUCERS;
        self.pause = self.pause.saturating_sub(1);
        if !self.is_trying {
            return Gather::default();
        }
        Gather { operations: self.told.len() + self.waiting, at_most: (self.commit_time * 2).min(MAX_WAIT) }
    }

    /// A group begins.
    pub(super) fn begins(&mut self, operations: &[Operation]) {
        let producers = || operations.iter().filter_map(Operation::producer);
        if self.is_trying {
            let came_back = producers().skip(self.waiting).filter(|producer| self.told.contains(producer)).count();
            let was_in_vain = came_back < self.told.len() / 2;
            self.last_pause = if was_in_vain { (2 * self.last_pause).clamp(1, MAX_PAUSE) } else { 0 };
            self.pause = self.last_pause;
        }
        self.told.clear();
        self.told.extend(producers());
    }

    /// The group is committed and told; so many operations wait already.
    pub(super) fn ends(&mut self, waiting: usize, commit_time: Duration) {
        self.waiting = waiting;
        self.commit_time = (self.commit_time * (AVERAGED - 1) + commit_time) / AVERAGED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker::operation::Appending,
        record::{Batch, BatchBuilder, Compression, Epoch, Record, Sequence, SequenceRange, Timestamp, TopicId},
    };

    /// Appends of these producers, one each.
    fn appends(producers: std::ops::Range<u128>) -> Vec<Operation> {
        let append = |number| {
            let mut builder = BatchBuilder::new();
            builder.push(&Record::new("a"), Timestamp(0)).expect("small");
            let (producer, range) =
                (ProducerId(uuid::Uuid::from_u128(number)), SequenceRange::counting(Sequence(0), 1));
            let batch = builder.finish(producer, Epoch(0), range, Compression::None);
            let parts = vec![(TopicId(1), Batch::check(batch).expect("just built"))];
            Operation::Append(Appending { parts, commits: vec![] }, Box::new(drop))
        };
        producers.map(append).collect()
    }

    /// A group that finds what `gather` asked for, or not.
    fn turn(gathering: &mut Gathering, operations: &[Operation], waiting: usize) -> usize {
        let wanted = gathering.gather().operations;
        gathering.begins(operations);
        gathering.ends(waiting, Duration::from_millis(1));
        wanted
    }

    #[test]
    fn callers_that_come_back_become_one_group() {
        let mut gathering = Gathering::default();
        assert_eq!(turn(&mut gathering, &appends(0..32), 32), 0, "nobody was told yet");
        let both: Vec<_> = appends(32..64).into_iter().chain(appends(0..32)).collect();
        assert_eq!(turn(&mut gathering, &both, 0), 64, "both halves");
        for _ in 0..10 {
            assert_eq!(turn(&mut gathering, &appends(0..64), 0), 64);
        }
        let Gather { at_most, .. } = gathering.gather();
        assert!(!at_most.is_zero() && at_most <= MAX_WAIT, "{at_most:?}");
    }

    #[test]
    fn few_producers_are_not_waited_for_however_much_they_send() {
        let mut gathering = Gathering::default();
        for _ in 0..10 {
            let many = (0..20).flat_map(|_| appends(0..3)).collect::<Vec<_>>();
            assert_eq!(turn(&mut gathering, &many, 30), 0);
        }
    }

    #[test]
    fn producers_that_do_not_come_back_are_waited_for_ever_less() {
        let mut gathering = Gathering::default();
        let tries =
            (0..1_000).filter(|group| turn(&mut gathering, &appends(group * 10..group * 10 + 10), 5) > 0).count();
        assert!((4..15).contains(&tries), "{tries} of 1,000 groups waited");
    }
}
