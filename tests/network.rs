//! Real clients and a real server on a simulated network (docs/reliability.md says what is simulated).

use connectify::{
    planted::{Bug, Planted},
    trial::net::{self, Campaign, Cut, Plan, Side},
};

fn traced(seed: u64) -> (Vec<String>, net::Run) {
    let (trace, run) = net::traced(seed, Planted::default());
    (trace, run.unwrap_or_else(|what| panic!("seed {seed}: {what}")))
}

/// The test of the tests: what is found can be seen again.
#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=6 {
        let ((first, one), (second, two)) = (traced(seed), traced(seed));
        let difference = first.iter().zip(&second).find(|(first, second)| first != second);
        assert_eq!(difference, None, "seed {seed}");
        assert_eq!((first.len(), one), (second.len(), two), "seed {seed}");
        assert_ne!(one.digest, traced(seed + 1).1.digest);
    }
}

#[test]
fn every_promise_holds_in_every_storm() {
    let campaign = Campaign { seed: 1, seeds: 50, planted: Planted::default() };
    let report = campaign.run(|_| {}).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.cuts > 100 && report.partitions > 50 && report.restarts > 50 && report.repeats > 20, "{report:?}");
    assert!(report.acked > 2_000, "hardly anything was acknowledged: {report:?}");
}

/// Cuts a short dialogue behind every byte of either direction, or behind every so many.
#[track_caller]
fn assert_survives(cut: Cut, step: usize) {
    let whole = net::dialogue(None, Planted::default()).expect("nothing goes wrong");
    assert_eq!(whole.connections, 1);
    for (side, bytes) in [(Side::Client, whole.client_bytes), (Side::Server, whole.server_bytes)] {
        assert!(bytes > 300, "{side:?} says {bytes} bytes only");
        for at in (1..bytes).step_by(step) {
            let plan = Plan { side, at, cut };
            let said = net::dialogue(Some(plan), Planted::default()).unwrap_or_else(|what| panic!("{plan:?}: {what}"));
            assert!(said.connections > 1, "{plan:?} was not");
        }
    }
}

#[test]
fn a_connection_may_be_reset_at_every_byte() {
    assert_survives(Cut::Reset, 1);
}

#[test]
fn a_connection_may_end_at_any_byte() {
    assert_survives(Cut::Fin, 7);
}

#[test]
fn a_connection_may_fall_silent_at_any_byte() {
    assert_survives(Cut::Silent, 11);
}

/// The test of the tests: each bug breaks a promise, and is found by one of 10 seeds.
#[test]
fn each_planted_bug_is_found() {
    for bug in [Bug::NoDedupe, Bug::AckBeforeCommit, Bug::SkipSync] {
        let found = Campaign { seed: 1, seeds: 10, planted: Planted::one(bug) }.run(|_| {}).err();
        assert!(found.is_some(), "{bug:?} was not found");
    }
}
