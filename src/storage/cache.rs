//! The tail cache: the blocks committed last, in memory, so that live consumers never touch the disk.

use std::{collections::VecDeque, sync::Mutex};

use bytes::Bytes;

#[derive(Debug)]
struct CachedBlock {
    segment: u64,
    position: u64,
    bytes: Bytes,
}

impl CachedBlock {
    fn end(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }
}

/// Part of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    /// What the block takes that it is part of.
    pub(super) memory: usize,
}

#[derive(Debug, Default)]
struct Blocks {
    /// In order of segment and position, each starting where the one before ends, or a new segment.
    blocks: VecDeque<CachedBlock>,
    bytes: usize,
}

/// Holds the newest blocks up to a number of bytes.
#[derive(Debug)]
pub(super) struct TailCache {
    max_bytes: usize,
    blocks: Mutex<Blocks>,
}

impl TailCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, blocks: Mutex::default() }
    }

    fn blocks(&self) -> std::sync::MutexGuard<'_, Blocks> {
        self.blocks.lock().expect("no panic while the cache is locked")
    }

    /// Adds the newest block. One that is larger than the whole cache empties it.
    pub(super) fn push(&self, segment: u64, position: u64, bytes: Bytes) {
        let mut cache = self.blocks();
        cache.bytes += bytes.len();
        cache.blocks.push_back(CachedBlock { segment, position, bytes });
        while cache.bytes > self.max_bytes {
            let oldest = cache.blocks.pop_front().expect("bytes are held by blocks");
            cache.bytes -= oldest.bytes.len();
        }
    }

    /// Bytes `position..position + len` of a segment, cut where blocks end; `None` unless all of them are here.
    pub(super) fn get(&self, segment: u64, position: u64, len: u64) -> Option<Vec<Piece>> {
        let cache = self.blocks();
        let (mut at, end) = (position, position + len);
        let first = cache.blocks.partition_point(|block| (block.segment, block.end()) <= (segment, at));
        let mut pieces = Vec::new();
        for block in cache.blocks.range(first..) {
            if block.segment != segment || block.position > at {
                return None;
            }
            let upto = end.min(block.end());
            let within = |position: u64| usize::try_from(position - block.position).expect("within a block");
            let bytes = block.bytes.slice(within(at)..within(upto));
            pieces.push(Piece { bytes, memory: block.bytes.len() });
            at = upto;
            if at == end {
                return Some(pieces);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_last_is_found_across_blocks_and_what_fell_out_is_not() {
        let cache = TailCache::new(25);
        cache.push(1, 0, Bytes::from_static(b"0123456789"));
        cache.push(1, 10, Bytes::from_static(b"abcdefghij"));
        let get = |segment, position, len| {
            let pieces = cache.get(segment, position, len)?;
            Some(pieces.into_iter().map(|piece| piece.bytes).collect::<Vec<_>>())
        };
        assert_eq!(get(1, 8, 4), Some(vec![Bytes::from("89"), Bytes::from("ab")]));
        assert_eq!(get(1, 8, 13), None);
        assert_eq!(get(0, 8, 4), None);
        cache.push(2, 0, Bytes::from_static(b"ABCDEFGHIJ"));
        assert_eq!(get(1, 8, 4), None, "the first block fell out");
        assert_eq!(get(1, 18, 2), Some(vec![Bytes::from("ij")]));
        assert_eq!(get(2, 0, 10), Some(vec![Bytes::from("ABCDEFGHIJ")]));
        cache.push(2, 10, Bytes::from(vec![0; 100]));
        assert_eq!(get(2, 0, 10), None);
        assert_eq!(get(2, 20, 10), None, "larger than the cache");
    }
}
