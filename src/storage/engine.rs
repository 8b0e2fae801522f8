//! The contract between the broker and an engine.
//!
//! It is small because a second engine will come: a journal is also what a replicated log offers.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{Block, Entry, StorageError};
use crate::record::{Offset, TopicId};

/// Encodes the broker's state as it was at a roll; called once, on another thread.
pub type Snapshot = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// The first offset of each topic that readers may still ask for. A topic that is not in it is deleted.
pub type LiveHeads = HashMap<TopicId, Offset>;

/// Makes entries durable, in order. One thread owns it.
pub trait Engine: Send {
    /// Gives back what was committed: the latest snapshot, if there is one, then every entry after it, in order.
    /// Called once, before anything else.
    ///
    /// # Errors
    /// [`StorageError`] of the engine's own, or the first one that `into` returns.
    fn recover(&mut self, into: &mut dyn Recovery) -> Result<(), StorageError>;

    /// Makes a block durable: when this returns `Ok`, its entries survive power loss and readers see its batches.
    ///
    /// # Errors
    /// After any error the engine must be dropped, and whether the block is durable is not known until another one
    /// has recovered from the same place.
    fn commit(&mut self, block: Block) -> Result<(), StorageError>;

    /// Whether something failed outside of the calls above, after which only another engine goes on: the work in the
    /// background, or a read.
    fn has_failed(&self) -> bool;

    /// Whether the engine would like [`Engine::roll`] to be called now.
    fn wants_roll(&self) -> bool;

    /// Ends the active segment and begins another; recovery will start from `snapshot`, which must be the state after
    /// every block committed so far. Takes no time that an append would notice.
    ///
    /// # Errors
    /// As [`Engine::commit`].
    fn roll(&mut self, snapshot: Snapshot) -> Result<(), StorageError>;

    /// Lets go of what lies before these heads, in the background, as whole files when it can.
    fn trim(&mut self, heads: LiveHeads);

    /// A handle for readers, valid for the engine's life.
    fn reader(&self) -> Arc<dyn LogReader>;

    /// Bytes left for the engine's files; `None` where there is no such bound.
    fn free_bytes(&self) -> Option<u64>;

    /// Bytes that were committed and take their room on the disk later.
    fn owed_bytes(&self) -> u64;

    /// Ends the engine so that the next open has nothing to repair.
    ///
    /// # Errors
    /// [`StorageError`]; what was committed is durable all the same.
    fn close(self: Box<Self>) -> Result<(), StorageError>;
}

/// What an engine gives its recovered state to.
pub trait Recovery {
    /// The bytes of the latest snapshot. Comes first, or not at all.
    ///
    /// # Errors
    /// Stops the recovery.
    fn snapshot(&mut self, bytes: &[u8]) -> Result<(), StorageError>;

    /// The next committed entry.
    ///
    /// # Errors
    /// Stops the recovery.
    fn entry(&mut self, entry: Entry<'_>) -> Result<(), StorageError>;

    /// The state after everything given so far, as a snapshot: for a segment that the crash left unsealed.
    fn state(&mut self) -> Vec<u8>;
}

/// Reads committed batches. Shared by any number of threads.
pub trait LogReader: Send + Sync {
    /// Batches of a topic, verbatim and in order: the first is the one that holds `from`, or the next one there is.
    /// Stops after `max_bytes`, but gives at least one. Empty when there is none at or after `from`.
    ///
    /// May read from disk: not for async threads.
    ///
    /// # Errors
    /// [`StorageError`] when the disk fails or what it gives back is not what was written.
    fn read(&self, topic: TopicId, from: Offset, max_bytes: usize) -> Result<Vec<Bytes>, StorageError>;

    /// Like [`LogReader::read`], from memory alone. `None` when that is not possible.
    fn read_cached(&self, topic: TopicId, from: Offset, max_bytes: usize) -> Option<Vec<Bytes>>;

    /// Bytes that the engine's files take, and that are left for them; `None` where there is no such bound.
    fn space(&self) -> (u64, Option<u64>);
}
