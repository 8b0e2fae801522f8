//! Batches that are refused, each for one fault.

use connectify::protocol::{ErrorCode, ErrorCode::*};

use super::draft::{Draft, Entry, sealed};
use crate::vector::{Kind, Place, Vector};

pub(super) fn refused(name: &str, bytes: &[u8], code: ErrorCode) -> Vector {
    Vector::new(format!("batch-{name}"), Kind::Batch, bytes).gets(code, Place::Answer, &[0])
}

/// Three records, as in the examples of section 5.6.
pub(super) fn three() -> Draft {
    let first = Entry::of(b"one").key(b"host-7").header("level", b"info");
    Draft::of(&[first, Entry::of(b"two").after(1_500), Entry::of(b"three").after(-20)]).covering(41, 44)
}

/// The bytes from `at` on overwritten, and the checksum computed again if it covers them.
fn changed(at: usize, change: &[u8]) -> Vec<u8> {
    let mut bytes = three().bytes();
    bytes[at..at + change.len()].copy_from_slice(change);
    if at < 24 { bytes } else { sealed(bytes) }
}

pub(super) fn vectors() -> Vec<Vector> {
    [lengths(), damaged(), headers(), records()].concat()
}

fn lengths() -> Vec<Vector> {
    let whole = three().bytes();
    let length = u32::try_from(whole.len()).expect("a short batch");
    let announcing = |length: u32| changed(16, &length.to_le_bytes());
    let cut =
        [0, 1, 16, 24, 79].map(|end| refused(&format!("cut-off-after-{end}-bytes"), &whole[..end], BatchMalformed));
    let mut vectors = cut.to_vec();
    vectors.extend([
        refused("of-a-header-alone", &whole[..80], BatchMalformed),
        refused("whose-last-byte-is-missing", &whole[..whole.len() - 1], BatchMalformed),
        refused("with-a-byte-behind-it", &[&whole[..], &[0]].concat(), BatchMalformed),
        refused("with-another-batch-behind-it", &[&whole[..], &whole].concat(), BatchMalformed),
        refused("that-announces-one-byte-less", &announcing(length - 1), BatchMalformed),
        refused("that-announces-one-byte-more", &announcing(length + 1), BatchMalformed),
        refused("that-announces-nothing", &announcing(0), BatchMalformed),
        refused("that-announces-4-gib", &announcing(u32::MAX), BatchMalformed),
        refused("that-counts-its-records-only", &announcing(length - 80), BatchMalformed),
    ]);
    vectors
}

/// One bit flipped and nothing mended: the checksum finds it.
fn damaged() -> Vec<Vector> {
    let places = [
        ("its-checksum", 20),
        ("its-producer", 40),
        ("its-epoch", 48),
        ("the-start-of-its-range", 56),
        ("its-first-timestamp", 72),
        ("the-key-of-a-record", 83),
        ("its-last-byte", three().bytes().len() - 1),
    ];
    let flipped = places.map(|(name, at)| {
        let mut bytes = three().bytes();
        bytes[at] ^= 0x08;
        refused(&format!("that-is-damaged-in-{name}"), &bytes, BatchChecksum)
    });
    let crc_of_all = {
        let mut bytes = three().bytes();
        let checksum = crate::batch::crc32c(&bytes);
        bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
        bytes
    };
    let backwards = {
        let mut bytes = three().bytes();
        bytes[20..24].reverse();
        bytes
    };
    let mut vectors = flipped.to_vec();
    vectors.extend([
        refused("whose-checksum-is-0", &changed(20, &[0; 4]), BatchChecksum),
        refused("whose-checksum-has-its-highest-byte-first", &backwards, BatchChecksum),
        refused("whose-checksum-covers-its-front", &crc_of_all, BatchChecksum),
    ]);
    vectors
}

fn headers() -> Vec<Vector> {
    let header = |name: &str, at, change: &[u8], code| refused(name, &changed(at, change), code);
    let number = |name: &str, at, number: u32, code| header(name, at, &number.to_le_bytes(), code);
    let range =
        |name: &str, start: u64, end: u64| refused(name, &three().covering(start, end).bytes(), BadSequenceRange);
    vec![
        header("of-version-0", 24, &[0], BatchVersion),
        header("of-version-2", 24, &[2], BatchVersion),
        header("of-version-255", 24, &[255], BatchVersion),
        header("of-compression-3", 25, &[3], UnknownCompression),
        header("of-compression-4", 25, &[4], UnknownCompression),
        header("of-compression-255", 25, &[255], UnknownCompression),
        header("of-compression-none-and-a-reserved-bit", 25, &[0x80], UnknownCompression),
        header("whose-first-reserved-byte-is-not-0", 26, &[1, 0], BatchMalformed),
        header("whose-second-reserved-byte-is-not-0", 26, &[0, 1], BatchMalformed),
        number("of-no-records", 28, 0, BatchMalformed),
        number("of-65537-records", 28, 65_537, BatchMalformed),
        number("of-4294967295-records", 28, u32::MAX, BatchMalformed),
        number("that-counts-one-record-too-few", 28, 2, CountMismatch),
        number("that-counts-one-record-too-many", 28, 4, CountMismatch),
        number("that-counts-65536-records", 28, 65_536, CountMismatch),
        number("whose-records-length-is-0", 52, 0, BatchMalformed),
        number(
            "whose-records-length-is-one-byte-short",
            52,
            u32::try_from(three().records().len() - 1).expect("short"),
            BatchMalformed,
        ),
        number(
            "whose-records-length-counts-the-header",
            52,
            u32::try_from(three().bytes().len()).expect("short"),
            BatchMalformed,
        ),
        number("whose-records-would-exceed-the-limit-by-a-byte", 52, 8_323_064 - 80 + 1, BatchTooLarge),
        number("whose-records-would-take-4-gib", 52, u32::MAX, BatchTooLarge),
        range("whose-range-is-empty", 41, 41),
        range("whose-range-is-backwards", 44, 41),
        range("whose-range-is-empty-at-the-end", u64::MAX, u64::MAX),
        range("whose-range-ends-at-0", u64::MAX, 0),
    ]
}

fn records() -> Vec<Vector> {
    let behind = |name: &str, records: &[u8], code| {
        let mut draft = three();
        draft.records_bytes = Some(u32::try_from(records.len()).expect("short"));
        draft.payload = Some(records.to_vec());
        refused(name, &draft.bytes(), code)
    };
    let good = three().records();
    let (first, rest) = good.split_at(usize::from(good[0]) + 1);
    vec![
        behind("of-three-records-without-any", &[], CountMismatch),
        behind("whose-last-record-is-missing", &good[..good.len() - 9], CountMismatch),
        behind("with-a-fourth-record", &[&good[..], &[3, 0, 0, 0]].concat(), CountMismatch),
        behind("whose-last-record-is-cut-short", &good[..good.len() - 1], BatchMalformed),
        behind("whose-first-record-is-of-no-fields", &[&[0][..], rest].concat(), BatchMalformed),
        behind(
            "whose-first-record-takes-the-second-with-it",
            &[&[first[0] + 90][..], &first[1..], rest].concat(),
            BatchMalformed,
        ),
        behind(
            "whose-records-begin-with-a-longer-form",
            &[&[first[0] | 0x80, 0x00][..], &first[1..], rest].concat(),
            BatchMalformed,
        ),
        behind("of-records-that-are-noise", &[0xff; 40], BatchMalformed),
        refused("of-a-record-before-time-0", &Draft { first_timestamp: 10, ..three() }.bytes(), BatchMalformed),
        refused(
            "of-a-record-behind-the-last-time",
            &Draft { first_timestamp: u64::MAX - 10, ..three() }.bytes(),
            BatchMalformed,
        ),
    ]
}
