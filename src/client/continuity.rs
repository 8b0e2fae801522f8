//! Checks of what a server sends to be read: whole batches, one behind the other, nothing missing in silence.

use bytes::Bytes;

use super::Error;
use crate::{
    protocol::Gap,
    record::{Batch, BatchError, Offset},
};

/// Follows a run of batches from a wanted offset on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Continuity {
    /// The first record that has not come yet.
    next: u64,
    /// Whether the next batch may begin with records before that: so at the start, and behind a gap.
    may_start_inside: bool,
}

impl Continuity {
    pub(super) fn new(wanted: Offset) -> Self {
        Self { next: wanted.0, may_start_inside: true }
    }

    /// The first record that has not come yet.
    pub(super) fn next(&self) -> Offset {
        Offset(self.next)
    }

    /// Checks a batch, its checksum included, and moves behind it.
    pub(super) fn accept(&mut self, bytes: Bytes) -> Result<Batch, Error> {
        let damaged = |source| Error::Corrupt { offset: Offset(self.next), source };
        let batch = Batch::parse(bytes).map_err(damaged)?;
        let start = batch.header().stamp.base_offset.0;
        // Not next_offset(), which is for headers that were checked: the stamp is not under the checksum.
        let end = start.checked_add(u64::from(batch.header().record_count));
        let end = end.ok_or_else(|| damaged(BatchError::Malformed("offset is out of range")))?;
        let follows = start == self.next || (self.may_start_inside && start < self.next && self.next < end);
        if !follows {
            let wanted = self.next;
            return Err(Error::violation(format!("records {start}..{end} came where {wanted} follows")));
        }
        *self = Self { next: end, may_start_inside: false };
        Ok(batch)
    }

    /// Checks a gap that the server announces, moves behind it, and gives it as the error that it is for the reader.
    pub(super) fn skip(&mut self, gap: &Gap) -> Result<Error, Error> {
        if gap.from != self.next || gap.to <= gap.from {
            let (from, to, wanted) = (gap.from, gap.to, self.next);
            return Err(Error::violation(format!("a gap {from}..{to} came where {wanted} follows")));
        }
        *self = Self::new(Offset(gap.to));
        Ok(Error::Gap { from: Offset(gap.from), to: Offset(gap.to) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::stored_batch;

    #[test]
    fn batches_follow_each_other_and_only_the_first_may_begin_before_the_wanted_record() {
        let mut continuity = Continuity::new(Offset(7));
        continuity.accept(stored_batch(5, &["a", "b", "c"])).expect("holds record 7");
        continuity.accept(stored_batch(8, &["d"])).expect("follows");
        assert_eq!(continuity.next(), Offset(9));
        for start in [8, 10] {
            let error = continuity.accept(stored_batch(start, &["e", "f"])).expect_err("overlap or hole");
            assert!(matches!(error, Error::Violation(_)), "{error:?}");
        }
        let error = Continuity::new(Offset(7)).accept(stored_batch(5, &["a", "b"])).expect_err("ends before 7");
        assert!(matches!(error, Error::Violation(_)), "{error:?}");
    }

    #[test]
    fn a_gap_must_begin_where_the_records_end_and_the_batch_behind_it_may_reach_into_it() {
        let mut continuity = Continuity::new(Offset(7));
        for gap in [Gap { from: 8, to: 9 }, Gap { from: 7, to: 7 }, Gap { from: 7, to: 3 }] {
            continuity.skip(&gap).expect_err("not where the records end");
        }
        let gap = continuity.skip(&Gap { from: 7, to: 10 }).expect("in place");
        assert!(matches!(gap, Error::Gap { from: Offset(7), to: Offset(10) }), "{gap:?}");
        continuity.accept(stored_batch(9, &["a", "b"])).expect("holds record 10");
    }

    #[test]
    fn a_stamp_beyond_all_numbers_is_an_error() {
        let error = Continuity::new(Offset(u64::MAX)).accept(stored_batch(u64::MAX, &["a"])).expect_err("too far");
        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    }
}
