//! What tests and campaigns share: the history of a run and the checker of it, disks that lose power, planted bugs.
//!
//! ```text
//! workload ─> broker on a simulated disk ─> history (what was asked, answered, read)
//!                  │ cut the power at an operation of the disk
//!                  v
//!             broker on what is left ─> log ─> checker: is it one that the promises allow?
//! ```
//!
//! Beside it, [`Model`] compares every answer of a broker with that of a reference, and in [`net`] the workload is that of
//! clients and a server on a network that fails.
//!
//! Nothing here is part of the program: the feature `trial` is on in tests and examples alone.

mod bitrot;
mod calls;
mod checker;
#[cfg(test)]
mod checker_tests;
mod contents;
mod cut;
mod disk;
mod history;
mod interrupted;
mod iofault;
mod model;
pub mod net;
mod powercut;
mod probe;
mod remains;
mod rng;
mod salvage;
mod workload;

pub use bitrot::{Fates, Rot, Rotten, Site};
pub use checker::{Violation, check};
pub use disk::{DiskWork, Fault, SimDisk};
pub use history::{Append, Commit, History, Log, Outcome, Read, Seen, Stored, TopicLog};
pub use interrupted::{Interrupted, interrupt_salvage};
pub use iofault::{Left, Weathered, weather};
pub use model::{Compared, Coverage, Divergence, Model, session_as_told};
pub use powercut::{Campaign, Failure, Report, cut_as_told};
pub use rng::Rng;
pub use salvage::{Ruin, Ruined};

/// What a panic says.
fn words_of(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().map_or_else(String::new, |text| (*text).to_owned()),
    }
}
