//! Properties of everything that reads bytes from a peer or from a disk, for any bytes whatever.
//!
//! Each is called by a fuzz target (`fuzz/fuzz_targets`), by the test that replays `fuzz/seeds`, and by proptest. A crash
//! that a fuzzer finds becomes a regression test by adding its input to the seeds. docs/fuzzing.md says how to run them.

mod batch;
mod bodies;
#[cfg(all(test, feature = "trial"))]
mod choices;
#[cfg(feature = "trial")]
mod client;
#[cfg(test)]
mod dictionaries;
mod differential;
mod frame;
mod generate;
#[allow(dead_code, reason = "shared with the tests of protocol.md, which use the rest")]
mod independent;
mod messages;
mod round_trip;
#[cfg(test)]
mod seeds;
#[cfg(feature = "trial")]
mod session;
mod source;
mod specification;
#[cfg(feature = "trial")]
mod store;

pub use batch::batch;
pub use bodies::bodies;
#[cfg(feature = "trial")]
pub use client::client;
pub use differential::{differential, differential_batch};
pub use frame::frame;
pub use round_trip::{round_trip, round_trip_batch};
#[cfg(feature = "trial")]
pub use session::session;
#[cfg(feature = "trial")]
pub use store::store;
