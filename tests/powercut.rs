//! Power cuts on a simulated disk under the real engine: what was acknowledged is there, and nothing else (protocol.md
//! section 8). docs/reliability.md says what is simulated, and what longer campaigns found.

use connectify::{
    planted::{Bug, Planted},
    trial::Campaign,
};

fn campaign(seed: u64, cuts: u64) -> Campaign {
    Campaign { seed, cuts, planted: Planted::default() }
}

#[track_caller]
fn assert_holds(campaign: Campaign) {
    let report = campaign.run(|_| {}).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.cuts >= campaign.cuts && report.double * 5 >= report.cuts, "{report:?}");
    assert!(report.acked > 10 * report.cuts, "hardly anything was acknowledged: {report:?}");
}

#[test]
fn every_promise_holds_wherever_the_power_is_cut() {
    assert_holds(campaign(1, 5_000));
}

#[test]
fn every_promise_holds_wherever_the_power_is_cut_in_other_runs() {
    assert_holds(campaign(1_000_000, 5_000));
}

#[test]
fn every_subset_of_what_was_not_synced_is_survived() {
    // The second one rolls, and removes a file.
    let (mut cuts, mut files, mut points) = (0, (0, 0), (0, 0));
    for (seed, before) in [(1, 4), (2, 12)] {
        let report = campaign(seed, 0).exhaust(before, 2).unwrap_or_else(|failure| panic!("{failure}"));
        cuts += report.cuts;
        files = (files.0 + report.files.0, files.1 + report.files.1);
        points = (points.0 + report.exhausted.0, points.1 + report.exhausted.1);
    }
    assert!(cuts > 20_000, "{cuts} cuts");
    let (all, some) = points;
    assert!(all > 2 * some && all > 30, "all subsets at {all} operations, samples at {some}");
    assert!(files.0 > 0 && files.1 > 0, "no file was made or removed while the power was cut: {files:?}");
}

/// What a bug does to those who trust the log, in the words of who finds it: any other failure would be one of the tests.
fn shows_as(bug: Bug) -> &'static str {
    match bug {
        Bug::AckBeforeCommit | Bug::TrustLog => "was acknowledged, and is not there",
        Bug::CursorFirst => "the cursor of consumer",
        Bug::FoldLastOnly => "journal: a batch is not at the tail of its topic",
        Bug::NoDedupe => "duplicate: false",
        Bug::ReadAhead => "was read as Some",
        Bug::ReuseLog | Bug::SkipSync => "data is corrupted: wal: the journal of segment",
        Bug::SkipDirectorySync => "data is corrupted: wal: it is missing",
        Bug::TrimTooMuch => "has no batch at offset",
        Bug::SkipChecksum => unreachable!("damage is not of power cuts: `tests/bitrot.rs` has that one"),
    }
}

/// The test of the tests: each bug breaks its promise, and is found by one of 10 seeds, which is one run each.
#[test]
fn each_planted_bug_is_found() {
    for bug in Bug::ALL.into_iter().filter(|bug| *bug != Bug::SkipChecksum) {
        let mut runs = (12..=21).map(|seed| Campaign { planted: Planted::one(bug), ..campaign(seed, 1) });
        let is_shown = |run: Campaign| run.run(|_| {}).is_err_and(|failure| failure.what.contains(shows_as(bug)));
        assert!(runs.any(is_shown), "{bug:?} was not found");
    }
}
