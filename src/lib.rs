//! A durable log queue.
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
pub mod protocol;
pub mod record;
#[cfg(feature = "client")]
pub use client::{Client, ConnectionState, Consumer, Error as ClientError, Producer, Ticket};
pub use record::{Header, Record};
#[cfg(feature = "server")]
pub mod storage;
#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "server")]
pub mod server;
