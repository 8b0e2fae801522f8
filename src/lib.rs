//! A durable log queue.
pub mod limits;
pub mod protocol;
pub mod record;
pub use record::{Header, Record};
#[cfg(feature = "server")]
pub mod storage;
