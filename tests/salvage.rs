//! A damaged data directory: a check says what is wrong with it, and a salvage loses nothing else.

use connectify::{server::hide_caught_panics, trial::Ruin};

#[test]
fn what_is_not_said_to_be_lost_is_there_after_a_salvage_and_nothing_else_is() {
    hide_caught_panics();
    let ruin = Ruin { seed: 1, damages: 240 };
    let report = ruin.run().unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(report.damages, 240);
    assert!(report.found > 10 && report.refused > 10 && report.harmless > 10, "one-sided: {report:?}");
    assert!(report.lost > 0 && report.lost * 2 < report.records, "damage costs what it hits: {report:?}");
}
