//! The engine: makes groups of entries durable, reads topics, recovers. The only room that knows redb.
//!
//! A room of the server: public so that it can be read and tested, not an interface that stays as it is.
//!
//! The log is a journal: what happened, in order of arrival, at the right edge of one B-tree. Everything else is
//! derived from it, so one commit costs the same for one topic and for ten thousand.
//!
//! ```text
//! wal: small blocks, until the journal has them
//!         | folded, many at once
//!         v
//! active segment (a redb file)               sealed segments (redb files, read-only)
//!   journal   position -> chunk of a block     journal
//!   meta      format                           index     (topic, base offset) -> runs
//!                                              topics    which offsets are here
//!                                              snapshot  the broker's state when the segment ended
//!         | replayed at open                   meta
//!         v
//!   state (the broker's), index (runs in memory)
//! ```
//!
//! The broker sees [`Engine`] and [`LogReader`] only; `conformance` holds what any engine must do.

mod block;
mod cache;
mod check;
#[cfg(test)]
mod conformance;
mod engine;
mod error;
#[cfg(test)]
mod faulty_volume;
mod files;
mod frames;
mod guard;
mod index;
mod journal;
mod keeper;
mod live;
mod memory_volume;
mod reader;
mod recovery;
mod redb_engine;
mod rewrite;
mod seal;
mod sealed;
mod segment_file;
mod segments;
mod tables;
mod volume;
mod wal;

pub use block::{Block, Entry};
#[cfg(feature = "trial")]
pub use check::{Anatomy, ByteClass, SegmentKind};
pub use check::{Damage, Findings, Loss, ReadOnlyDir, SalvageWriter, SegmentEnd, Survey};
pub use engine::{Engine, LiveHeads, LogReader, Recovery, Snapshot};
pub use error::StorageError;
#[cfg(test)]
pub(crate) use faulty_volume::FaultyVolume;
pub use guard::hide_caught_panics;
pub use memory_volume::MemoryVolume;
pub use redb_engine::{Background, EngineOptions, RedbEngine};
pub(crate) use volume::LOCK;
pub use volume::{DirVolume, Volume};

/// What a file of a [`Volume`] can do.
pub use redb::StorageBackend;
