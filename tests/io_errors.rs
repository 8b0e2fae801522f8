//! A disk that fails at its first read, its second, and so on, once or for good; and so for writes, syncs, changes of a
//! length, and names: callers are told the truth, reads go on where they can, nothing acknowledged is lost, and the store
//! goes on, or opens again, when the disk works again.

#![allow(clippy::print_stderr, reason = "how many operations there were, for whoever runs it with --nocapture")]

use std::io::ErrorKind;

use connectify::trial::{DiskWork, Fault, Left, Weathered, weather};

/// As many operations of a kind as are failed one after the other.
const OPERATIONS: u64 = 300;
/// Rounds of a run that has at least so many reads, writes and syncs.
const LONG: usize = 200;
/// Rounds of a run for operations that are rarer, and how many it has of them at least. With `CONNECTIFY_IO_ROUNDS=110`
/// there are 300 of each kind, too, which takes minutes.
const SHORT: usize = 22;
const MIN_SET_LEN: u64 = 35;
const MIN_NAMES: u64 = 70;

/// What came of all faults of one kind.
#[derive(Debug, Default)]
struct All {
    faults: u64,
    unknown: usize,
    refused: usize,
    read_meanwhile: u64,
}

impl All {
    fn add(&mut self, report: &Weathered) {
        self.faults += 1;
        self.unknown += report.unknown;
        self.refused += report.refused;
        self.read_meanwhile += u64::from(report.read_meanwhile);
    }
}

/// Fails each operation of a run, up to so many, or up to the last that it has.
fn while_it_runs(seed: u64, rounds: usize, work: &'static [DiskWork], kind: ErrorKind, sticky: bool) -> All {
    let mut all = All::default();
    for at in 0..OPERATIONS {
        let fault = Fault { work, at, sticky, kind };
        let report = weather(seed, fault, rounds).unwrap_or_else(|what| panic!("{fault:?}: {what}"));
        if report.failed == 0 {
            break;
        }
        assert!(report.acked.0 > 0 && report.acked.2 > 0, "{fault:?}: {report:?}");
        assert!(sticky || (report.failed == 1 && report.acked.1 > 0), "it does not go on after {fault:?}: {report:?}");
        all.add(&report);
    }
    all
}

fn short() -> usize {
    std::env::var("CONNECTIFY_IO_ROUNDS").map_or(SHORT, |rounds| rounds.parse().expect("a number of rounds"))
}

/// How many faults there are at least: as many as of the others, in a run that is long enough for that.
fn least(of_a_short_run: u64) -> u64 {
    if short() > SHORT { OPERATIONS - 1 } else { of_a_short_run }
}

/// The same while files are opened and read that a run left.
fn while_it_opens(seed: u64, work: &'static [DiskWork]) -> (u64, u64) {
    let (mut faults, mut did_not_open) = (0, 0);
    for is_closed in [false, true] {
        let left = Left::by(seed, is_closed).expect("the disk is well");
        for sticky in [false, true] {
            for at in 0..OPERATIONS {
                let fault = Fault { work, at, sticky, kind: ErrorKind::Other };
                let report = left.weather(fault).unwrap_or_else(|what| panic!("{fault:?} {is_closed}: {what}"));
                if report.failed == 0 {
                    break;
                }
                assert!(sticky || report.failed == 1, "{fault:?}: {report:?}");
                faults += 1;
                did_not_open += u64::from(report.did_not_open);
            }
        }
    }
    (faults, did_not_open)
}

const READ: &[DiskWork] = &[DiskWork::Read];
const WRITE: &[DiskWork] = &[DiskWork::Write];
const SYNC: &[DiskWork] = &[DiskWork::Sync];
const SET_LEN: &[DiskWork] = &[DiskWork::SetLen];
const NAMES: &[DiskWork] = &[DiskWork::Names];
/// What takes room.
const GROWTH: &[DiskWork] = &[DiskWork::Write, DiskWork::SetLen];

#[test]
fn a_read_fails() {
    for sticky in [false, true] {
        let all = while_it_runs(1, LONG, READ, ErrorKind::Other, sticky);
        assert_eq!(all.faults, OPERATIONS);
        // One failure is made up for by a second try, or a store that is opened again; many leave what is in memory.
        match sticky {
            false => assert_eq!(all.read_meanwhile, OPERATIONS),
            true => assert!(all.read_meanwhile > 0 && all.refused > 0, "{all:?}"),
        }
    }
}

/// Whatever was acknowledged is read while nothing can be written.
fn nothing_is_written(seed: u64, work: &'static [DiskWork], kind: ErrorKind) {
    for sticky in [false, true] {
        let all = while_it_runs(seed, LONG, work, kind, sticky);
        assert_eq!((all.faults, all.read_meanwhile), (OPERATIONS, OPERATIONS));
        assert!(all.unknown > 0, "nobody was told that the outcome is not known: {all:?}");
        assert!(!sticky || all.refused > 0, "{all:?}");
    }
}

#[test]
fn a_write_fails() {
    nothing_is_written(2, WRITE, ErrorKind::Other);
}

#[test]
fn a_sync_fails() {
    nothing_is_written(3, SYNC, ErrorKind::Other);
}

#[test]
fn the_disk_is_full() {
    nothing_is_written(6, GROWTH, ErrorKind::StorageFull);
}

#[test]
fn a_file_cannot_be_made_longer_or_shorter() {
    for sticky in [false, true] {
        let all = while_it_runs(4, short(), SET_LEN, ErrorKind::Other, sticky);
        eprintln!("{all:?}");
        assert!(all.faults > least(MIN_SET_LEN) && all.read_meanwhile == all.faults, "{all:?}");
    }
}

#[test]
fn a_name_cannot_be_made_or_changed() {
    for sticky in [false, true] {
        let all = while_it_runs(5, short(), NAMES, ErrorKind::Other, sticky);
        eprintln!("{all:?}");
        assert!(all.faults > least(MIN_NAMES) && all.read_meanwhile > 0, "{all:?}");
    }
}

#[test]
fn the_disk_fails_while_the_store_is_opened() {
    for (work, least) in [(READ, 300), (WRITE, 60), (SYNC, 40), (NAMES, 40), (SET_LEN, 1)] {
        let (faults, did_not_open) = while_it_opens(7, work);
        assert!(faults > least, "{work:?}: {faults}");
        assert!(did_not_open > 0 || work == SET_LEN, "{work:?}");
    }
}
