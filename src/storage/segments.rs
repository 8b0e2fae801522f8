//! All segments of an engine, as readers find them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{StorageError, live::LiveSegment, sealed::SealedSegment};
use crate::{
    limits::MAX_OPEN_SEGMENTS,
    record::{Offset, TopicId},
};

/// A segment, live or sealed.
#[derive(Clone)]
pub(super) enum Segment {
    Live(Arc<LiveSegment>),
    Sealed(Arc<SealedSegment>),
}

impl Segment {
    fn holds(&self, topic: TopicId, from: Offset) -> bool {
        match self {
            Self::Live(live) => live.index().holds(topic, from),
            Self::Sealed(sealed) => sealed.holds(topic, from),
        }
    }
}

/// Segments by number. The writer adds, the keeper replaces and removes, readers look up.
#[derive(Default)]
pub(super) struct Segments {
    segments: RwLock<BTreeMap<u64, Segment>>,
    reads: AtomicU64,
}

impl Segments {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u64, Segment>> {
        self.segments.read().expect("no panic while the map is locked")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u64, Segment>> {
        self.segments.write().expect("no panic while the map is locked")
    }

    /// Adds a segment, or puts it in place of the one with its number.
    pub(super) fn put(&self, segment: Segment) {
        let number = match &segment {
            Segment::Live(live) => live.id().number,
            Segment::Sealed(sealed) => sealed.id().number,
        };
        self.write().insert(number, segment);
    }

    pub(super) fn remove(&self, number: u64) {
        self.write().remove(&number);
    }

    /// The segment that holds the first of the topic's batches at or after `from`.
    pub(super) fn find(&self, topic: TopicId, from: Offset) -> Option<Segment> {
        self.read().values().find(|segment| segment.holds(topic, from)).cloned()
    }

    /// The sealed segments, oldest first.
    pub(super) fn sealed(&self) -> Vec<Arc<SealedSegment>> {
        let segments = self.read();
        let sealed = segments.values().filter_map(|segment| match segment {
            Segment::Sealed(sealed) => Some(sealed.clone()),
            Segment::Live(_) => None,
        });
        sealed.collect()
    }

    /// Whether the disk failed when one of the live segments was read.
    pub(super) fn has_failed(&self) -> bool {
        let has_failed = |segment: &Segment| matches!(segment, Segment::Live(live) if live.has_failed());
        self.read().values().any(has_failed)
    }

    /// Lets go of the files of live segments.
    pub(super) fn close_live(&self) -> Result<(), StorageError> {
        let segments = self.read();
        let live = segments.values().filter_map(|segment| match segment {
            Segment::Live(live) => Some(live.clone()),
            Segment::Sealed(_) => None,
        });
        let live: Vec<_> = live.collect();
        // Whoever seals has the file first, and then the map.
        drop(segments);
        // All are closed, whatever becomes of the first one.
        live.iter().map(|live| live.close()).fold(Ok(()), Result::and)
    }

    /// Counts a read of a sealed segment, and lets go of the file that was read longest ago when too many are open.
    pub(super) fn tick(&self, about_to_open: &SealedSegment) -> u64 {
        let now = self.reads.fetch_add(1, Relaxed);
        if !about_to_open.is_open() {
            let open: Vec<_> = self.sealed().into_iter().filter(|segment| segment.is_open()).collect();
            let oldest = open.iter().min_by_key(|segment| segment.last_read());
            if let Some(oldest) = oldest.filter(|_| open.len() >= MAX_OPEN_SEGMENTS) {
                oldest.close();
            }
        }
        now
    }
}
