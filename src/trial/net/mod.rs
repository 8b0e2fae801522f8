//! A simulated network between real clients and a real server: partitions, latency, connections that are cut at any
//! byte, half-open ones, answers that come twice, servers that stop, are killed, or lose their power.
//!
//! ```text
//! workers ─> Client ─> End ─ Lane ─> End ─> Sessions ─> broker, driven on the same thread ─> SimDisk
//!    │                   <─ Lane ─
//!    v                  cut, delayed, blocked, repeated
//! history ─────────────> checker <───────────────────────────────────────────── log at the end
//! ```
//!
//! Everything runs on one thread and on a clock that jumps, so that a run of one seed is the same every time. What that
//! takes: no `select` that asks chance, no thread, no order that depends on a hash or on the clock of the machine.

mod campaign;
mod consuming;
mod dialogue;
mod host;
mod lane;
mod network;
mod pipe;
mod producing;
mod replay;
mod run;
mod trace;
mod weather;
mod world;

pub use campaign::{Campaign, Failure, Report};
pub use dialogue::{Spoken, dialogue};
pub use pipe::{Cut, Plan, Side};
pub use run::{Run, SETTLES_WITHIN, run, traced};
