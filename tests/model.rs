//! Every answer of the broker is the one of a reference that was written from protocol.md, whatever is asked in whatever
//! order, and through restarts, kills, full disks and calendars that are set back.

use std::thread;

use connectify::{
    planted::{Bug, Planted},
    trial::{Compared, Coverage, Model},
};

const STEPS: usize = 100;

fn runs(seed: u64, runs: u64) -> Model {
    Model { seed, runs, steps: STEPS, planted: Planted::default() }
}

fn compare(model: Model) -> Compared {
    model.run(|_| {}).unwrap_or_else(|divergence| panic!("{divergence}{}", divergence.shortest()))
}

#[test]
fn broker_and_reference_say_the_same_in_a_thousand_runs_and_come_across_everything() {
    let second = thread::spawn(|| compare(runs(501, 500)));
    let (first, second) = (compare(runs(1, 500)), second.join().expect("the second half is the same, too"));
    assert_eq!((first.runs + second.runs, first.steps + second.steps), (1_000, 100_000));
    let mut coverage = first.coverage;
    coverage.add(&second.coverage);
    assert_eq!(coverage.unlisted(), Vec::<&str>::new());
    for kind in Coverage::KINDS {
        assert!(coverage.of(kind) >= 20, "{kind}: only {} times", coverage.of(kind));
    }
}

/// The test of the test: bugs that can be seen without a power cut.
#[test]
fn each_planted_bug_that_shows_in_answers_is_found() {
    for bug in [Bug::NoDedupe, Bug::TrimTooMuch, Bug::ReadAhead, Bug::AckBeforeCommit] {
        let found = Model { steps: 3 * STEPS, planted: Planted::one(bug), ..runs(1, 10) }.run(|_| {}).err();
        let found = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        if bug == Bug::NoDedupe {
            // A topic, a producer, a batch, and the batch again.
            let shortest = found.shortest();
            let steps: usize = shortest.split(' ').next().and_then(|count| count.parse().ok()).expect("a number");
            assert!(steps <= 4, "a short story was made long: {shortest}");
        }
    }
}
