//! Looking at segments offline: what of them is intact, what is damaged, and a copy of what is intact.
//!
//! ```text
//! file ─ overlay ─> redb: is every page as it was written?      (what it writes stays in memory)
//!          │
//!          └─> raw pages ─> chunks ─> entries ─> Findings        (what can be read of a damaged file)
//! wal ──────> frames ───────┘                                     (behind the journal of a live segment)
//! ```
//!
//! Nothing here writes to what it looks at, and nothing knows what the entries mean: the broker does, and judges.

#[cfg(feature = "trial")]
mod anatomy;
mod damage;
mod journal_stream;
mod log_check;
mod overlay;
mod raw_file;
mod read_only_dir;
mod salvage_writer;
mod segment_check;
mod survey;
#[cfg(test)]
mod tests;

#[cfg(feature = "trial")]
pub use anatomy::{Anatomy, ByteClass, SegmentKind};
pub use damage::{Damage, Loss};
pub use read_only_dir::ReadOnlyDir;
pub use salvage_writer::SalvageWriter;
pub use survey::{Findings, SegmentEnd, Survey};
