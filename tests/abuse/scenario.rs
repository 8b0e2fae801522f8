//! The list of abuses.

use std::{future::Future, pin::Pin};

use super::{Stage, Tally, bombs, floods, greedy, half_open, intruders, reconnects, slow, stalled, strangers, unread};

type Abuse = Pin<Box<dyn Future<Output = Tally> + Send>>;

/// One kind of abuse.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// How many take part.
    pub(crate) peers: usize,
    /// Size of the records that honest clients append meanwhile.
    pub(crate) record_bytes: usize,
    /// What the server wants to be shown.
    pub(crate) credentials: &'static str,
    /// Connections that the abusers have to come to, or it is not this abuse; 0 where that is not the point.
    pub(crate) visits_per_second: u64,
    pub(crate) run: fn(Stage) -> Abuse,
}

macro_rules! scenario {
    ($name:literal, $peers:literal, $run:path) => {
        Scenario {
            name: $name,
            peers: $peers,
            record_bytes: 200,
            credentials: "",
            visits_per_second: 0,
            run: |stage| Box::pin($run(stage)),
        }
    };
}

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario!("half-open", 10_000, half_open::half_open),
    scenario!("one-byte-a-second", 200, slow::one_byte_a_second),
    scenario!("empty-frames", 8, floods::empty_frames),
    scenario!("unanswered-frames", 8, floods::unanswered_frames),
    scenario!("pings", 8, floods::pings),
    scenario!("pings-unread", 8, floods::pings_unread),
    scenario!("hellos", 8, floods::hellos),
    scenario!("unread", 20, unread::unread),
    scenario!("strangers", 16, strangers::strangers),
    Scenario { visits_per_second: 1000, ..scenario!("reconnects", 44, reconnects::reconnects) },
    scenario!("greedy", 1, greedy::greedy),
    Scenario { credentials: intruders::CREDENTIALS, ..scenario!("intruders", 16, intruders::intruders) },
    scenario!("bombs", 8, bombs::bombs),
    Scenario { record_bytes: 100_000, ..scenario!("half-frames", 1000, stalled::half_frames) },
];
