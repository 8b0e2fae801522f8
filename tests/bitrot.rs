//! Bit rot: one bit of a file is another. It is found, or it does no harm; nothing else is ever read as what was written.

use connectify::{
    planted::{Bug, Planted},
    server::hide_caught_panics,
    trial::Rot,
};

/// Kinds of bytes of kinds of segments, closed or not, that the runs have at least.
const SITES: usize = 90;
/// Flips at each of them, at least.
const FLIPS: u64 = 10;

#[test]
fn no_flipped_bit_is_read_as_what_was_written() {
    hide_caught_panics();
    let rot = Rot { seed: 1, flips: 2_500, planted: Planted::default() };
    let report = rot.run().unwrap_or_else(|failure| panic!("{failure}"));
    let total = report.total();
    assert_eq!(total.flips, 2_500);
    assert!(report.sites.len() >= SITES, "{}:\n{report}", report.sites.len());
    for (site, fates) in &report.sites {
        assert!(fates.flips >= FLIPS, "{site:?}: {fates:?}\n{report}");
        if site.is_read() {
            assert_eq!(fates.harmless, 0, "{site:?} is read, and a flip there is an error: {fates:?}");
        }
        if site.is_closed {
            assert_eq!(fates.rolled_back, 0, "{site:?} was closed: {fates:?}");
        }
    }
    assert!(total.refused > 100 && total.detected > 100 && total.harmless > 100, "one-sided:\n{report}");
}

/// The test of the test.
#[test]
fn a_reader_that_skips_checksums_is_found_out() {
    hide_caught_panics();
    let found =
        (1..=10).find_map(|seed| Rot { seed, flips: 500, planted: Planted::one(Bug::SkipChecksum) }.run().err());
    assert!(found.is_some(), "it was not found");
}
