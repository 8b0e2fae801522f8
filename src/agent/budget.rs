//! Memory of an agent: bytes that were read and are not acknowledged, over all its sources.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Shared by all sources.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limit: u64,
    spent: AtomicU64,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Spent {
    inner: Arc<Inner>,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self { inner: Arc::new(Inner { limit, spent: AtomicU64::new(0) }) }
    }

    /// Takes a part, if there is any left: the last one may go beyond the limit, so that whatever is large gets through.
    pub(super) fn spend(&self, bytes: u64) -> Option<Spent> {
        let limit = self.inner.limit;
        let more = |spent| (spent < limit).then_some(spent + bytes);
        self.inner.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Spent { inner: Arc::clone(&self.inner), bytes })
    }

    /// What is spent now.
    pub(super) fn spent(&self) -> u64 {
        self.inner.spent.load(Ordering::Relaxed)
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        self.inner.spent.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_comes_back() {
        let budget = Budget::new(100);
        let first = budget.spend(150).expect("there is some left");
        assert!(budget.spend(1).is_none());
        assert_eq!(budget.spent(), 150, "what was refused is not spent");
        drop(first);
        assert_eq!(budget.spent(), 0);
        assert!(budget.spend(1).is_some());
    }
}
