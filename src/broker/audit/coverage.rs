//! Which offsets of a topic are there.

use crate::record::Offset;

/// A stretch of offsets without a gap, and the bytes of its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    from: Offset,
    to: Offset,
    bytes: u64,
}

/// The offsets of a topic that intact batches hold, as they come in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    stretches: Vec<Stretch>,
}

impl Coverage {
    /// Adds a batch; `false` when it is not behind all before it.
    pub(super) fn add(&mut self, from: Offset, to: Offset, bytes: u64) -> bool {
        match self.stretches.last_mut() {
            Some(last) if from < last.to => return false,
            Some(last) if from == last.to => {
                last.to = to;
                last.bytes += bytes;
            }
            _ => self.stretches.push(Stretch { from, to, bytes }),
        }
        true
    }

    /// Bytes of all batches.
    pub(super) fn bytes(&self) -> u64 {
        self.stretches.iter().map(|stretch| stretch.bytes).sum()
    }

    /// What is not there of `head..tail`.
    pub(super) fn gaps(&self, head: Offset, tail: Offset) -> Vec<(Offset, Offset)> {
        let (mut next, mut gaps) = (head, Vec::new());
        for stretch in self.stretches.iter().filter(|stretch| stretch.to > head) {
            if stretch.from >= tail {
                break;
            }
            if stretch.from > next {
                gaps.push((next, stretch.from));
            }
            next = stretch.to;
        }
        if next < tail {
            gaps.push((next, tail));
        }
        gaps
    }
}

/// What is in some of these gaps and in none of those, both in order.
pub(super) fn without(gaps: &[(Offset, Offset)], known: &[(Offset, Offset)]) -> Vec<(Offset, Offset)> {
    let mut left = Vec::new();
    for (mut from, to) in gaps.iter().copied() {
        for (known_from, known_to) in known {
            if *known_to <= from {
                continue;
            }
            if *known_from >= to {
                break;
            }
            if *known_from > from {
                left.push((from, *known_from));
            }
            from = (*known_to).min(to);
        }
        if from < to {
            left.push((from, to));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(set: &[bool]) -> Vec<(Offset, Offset)> {
        let mut ranges: Vec<(Offset, Offset)> = Vec::new();
        for at in (0..set.len()).filter(|at| set[*at]) {
            let (from, to) = (Offset(at as u64), Offset(at as u64 + 1));
            match ranges.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ => ranges.push((from, to)),
            }
        }
        ranges
    }

    proptest! {
        #[test]
        fn gaps_are_what_is_missing(there in prop::collection::vec(any::<bool>(), 1..40), head in 0usize..40) {
            let mut coverage = Coverage::default();
            for (from, to) in ranges(&there) {
                prop_assert!(coverage.add(from, to, to.0 - from.0));
            }
            let head = head.min(there.len());
            let missing: Vec<_> = there.iter().enumerate().map(|(at, there)| at >= head && !there).collect();
            let gaps = coverage.gaps(Offset(head as u64), Offset(there.len() as u64));
            prop_assert_eq!(gaps, ranges(&missing));
            prop_assert_eq!(coverage.bytes(), there.iter().filter(|there| **there).count() as u64);
        }

        #[test]
        fn what_is_known_is_taken_out(both in prop::collection::vec((any::<bool>(), any::<bool>()), 1..40)) {
            let (gaps, known): (Vec<_>, Vec<_>) = both.iter().copied().unzip();
            let left: Vec<_> = both.iter().map(|(gap, known)| *gap && !known).collect();
            prop_assert_eq!(without(&ranges(&gaps), &ranges(&known)), ranges(&left));
        }
    }
}
