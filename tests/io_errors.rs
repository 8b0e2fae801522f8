//! A disk that fails, once or for good, at its first operation, its second, and so on: callers are told the truth, nothing
//! acknowledged is lost, and the store opens again.

use std::io::ErrorKind;

use connectify::trial::{Fault, weather};

/// As many operations as are failed one after the other.
const OPERATIONS: u64 = 300;

fn weather_all(seed: u64, sticky: bool, kind: ErrorKind) -> (u64, usize, usize) {
    let (mut failed, mut unknown, mut acked_after) = (0, 0, 0);
    for at in 0..OPERATIONS {
        let fault = Fault { at, sticky, kind };
        let report = weather(seed, fault).unwrap_or_else(|what| panic!("{fault:?}: {what}"));
        assert!(report.acked.0 > 0, "{report:?}");
        failed += u64::from(report.failed > 0);
        unknown += report.unknown;
        acked_after += usize::from(report.acked.2 > 0);
        if !sticky && report.failed > 0 {
            assert!(report.acked.1 + report.acked.2 > 0, "it does not go on after {fault:?}: {report:?}");
        }
    }
    (failed, unknown, acked_after)
}

#[test]
fn one_operation_fails_and_the_store_goes_on() {
    let (failed, unknown, acked_after) = weather_all(1, false, ErrorKind::Other);
    assert!(failed > OPERATIONS / 2, "{failed} operations failed");
    assert!(unknown > 0, "nobody was told that the outcome is not known");
    assert!(acked_after > 0);
}

#[test]
fn all_operations_fail_from_one_on_and_what_was_acknowledged_stays() {
    let (failed, unknown, _) = weather_all(2, true, ErrorKind::Other);
    assert!(failed > OPERATIONS / 2, "{failed} operations failed");
    assert!(unknown > 0, "nobody was told that the outcome is not known");
}

#[test]
fn the_disk_is_full_at_one_operation_and_from_one_on() {
    for sticky in [false, true] {
        let (failed, ..) = weather_all(3, sticky, ErrorKind::StorageFull);
        assert!(failed > OPERATIONS / 2, "{failed} operations failed");
    }
}
