//! A damaged data directory: a check says what is wrong with it, and a salvage loses nothing else.

use connectify::{
    server::hide_caught_panics,
    trial::{Ruin, interrupt_salvage},
};

#[test]
fn what_is_not_said_to_be_lost_is_there_after_a_salvage_and_nothing_else_is() {
    hide_caught_panics();
    let ruin = Ruin { seed: 1, damages: 240 };
    let report = ruin.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(report.damages, 240);
    assert!(report.found > 10 && report.refused > 10 && report.harmless > 10, "one-sided: {report:?}");
    assert!(report.lost > 0 && report.lost * 2 < report.records, "damage costs what it hits: {report:?}");
}

/// A full disk, Ctrl-C or a kill left the segments that were copied until then, each with the state after it. A server
/// started on them, a check called them intact, and offsets of the others were given a second time.
#[test]
fn a_copy_that_is_not_complete_is_refused() {
    hide_caught_panics();
    let report = interrupt_salvage(1).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.segments > 2 && report.refused > 100, "one-sided: {report:?}");
    assert!(report.empty > 0 && report.complete > 0, "one-sided: {report:?}");
}
