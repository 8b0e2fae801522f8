//! Bit rot: one bit of a file is another. It is found, or it does no harm; nothing else is ever read as what was written.

use connectify::{
    planted::{Bug, Planted},
    trial::Rot,
};

#[test]
fn no_flipped_bit_is_read_as_what_was_written() {
    let rot = Rot { seed: 1, flips: 2_000, planted: Planted::default() };
    let report = rot.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(report.flips, 2_000);
    assert!(report.refused > 10 && report.detected > 10, "hardly any was found: {report:?}");
    assert!(report.rolled_back * 20 < report.flips, "the last commit is a small part of all: {report:?}");
}

/// The test of the test.
#[test]
fn a_reader_that_skips_checksums_is_found_out() {
    let found =
        (1..=10).find_map(|seed| Rot { seed, flips: 500, planted: Planted::one(Bug::SkipChecksum) }.run().err());
    assert!(found.is_some(), "it was not found");
}
