//! Properties of everything that reads bytes from a peer or from a disk, for any bytes whatever.
//!
//! Each is called by a fuzz target (`fuzz/fuzz_targets`), by the test that replays `fuzz/seeds`, and by proptest. A crash
//! that a fuzzer finds becomes a regression test by adding its input to the seeds. docs/fuzzing.md says how to run them.

mod batch;
mod bodies;
#[cfg(feature = "trial")]
mod client;
mod frame;
#[allow(dead_code, reason = "shared with the tests of protocol.md, which use the rest")]
mod independent;
#[cfg(test)]
mod seeds;
#[cfg(feature = "trial")]
mod session;
#[cfg(feature = "trial")]
mod store;

pub use batch::batch;
pub use bodies::bodies;
#[cfg(feature = "trial")]
pub use client::client;
pub use frame::frame;
#[cfg(feature = "trial")]
pub use session::session;
#[cfg(feature = "trial")]
pub use store::store;
