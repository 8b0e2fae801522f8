//! Connectify: a durable log queue in one binary. **An acknowledged record is on disk.**
//!
//! Programs append records to topics over a compact binary protocol on TCP; a server keeps them in an embedded
//! database; consumers read them back in order, each at its own pace. This crate is all of it: the server, an async
//! client, and the protocol between them.
//!
//! | feature | what it adds | what it does not compile |
//! |---|---|---|
//! | none | [`record`] and [`protocol`]: the bytes, for tools and other implementations | sockets, the database |
//! | `client` | [`Client`]: producers, consumers, admin calls | the database |
//! | `agent` | [`agent`]: follows files and ships them | the database |
//! | `tracing` | [`mod@tracing`]: a layer that ships events, and a logger for `log` | the database |
//! | `server` | [`server`]: the server, to be embedded, for instance in a test | |
//! | `cli` | the `connectify` program | |
//! | `trial` | for the tests of this project: simulated disks and networks, a checker of histories, planted bugs | |
//!
//! ```text
//! cli ─> everything public     server ─> broker, protocol     broker ─> storage
//! client ─> protocol           protocol, storage ─> record    all ─> limits
//! ```
//!
//! The protocol is specified, byte by byte, in `protocol.md`.

#![forbid(unsafe_code)]

#[cfg(feature = "agent")]
pub mod agent;
#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "client")]
pub mod client;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
#[cfg(feature = "server")]
pub mod planted;
pub mod protocol;
pub mod record;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod storage;
#[cfg(feature = "tracing")]
pub mod tracing;
#[cfg(feature = "trial")]
pub mod trial;

#[cfg(feature = "client")]
pub use client::{Client, ConnectionState, Consumer, Error as ClientError, Producer, Ticket};
pub use record::{Compression, Header, Offset, Record, Timestamp};
#[cfg(feature = "server")]
pub use server::{Server, ServerConfig};

/// The program of the README compiles.
#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../README.md")]
struct Readme;
