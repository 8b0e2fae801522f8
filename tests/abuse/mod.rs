//! Abuse of a live server, for `tests/abuse.rs`, which asserts what does not depend on speed, and for
//! `examples/abuse.rs`, which measures.

mod bombs;
mod floods;
mod greedy;
mod half_open;
mod honest;
mod intruders;
mod peer;
mod process;
mod reconnects;
mod scenario;
mod slow;
mod stage;
mod stalled;
mod strangers;
mod tally;
mod unread;

pub(crate) use self::{
    honest::{Honest, Work},
    process::{Process, cpu_of, raise_open_files},
    scenario::{SCENARIOS, Scenario},
    stage::{PATIENCE, Stage},
    tally::Tally,
};
