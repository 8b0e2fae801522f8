//! The parts of a batch by themselves: varints, zigzags, checksums, records.

use connectify::protocol::ErrorCode;
use serde_json::json;

use super::draft::{Entry, counted, varint, zigzag};
use crate::{
    batch::crc32c,
    vector::{Kind, Place, Vector, plain, plain_signed},
};

const NOW: u64 = 1_767_225_600_000_000;

pub(super) fn vectors() -> Vec<Vector> {
    [varints(), zigzags(), checksums(), records(), unreadable_records(), unreadable_headers()].concat()
}

fn malformed(kind: Kind, name: String, bytes: &[u8]) -> Vector {
    Vector::new(name, kind, bytes).gets(ErrorCode::BatchMalformed, Place::Answer, &[])
}

fn varints() -> Vec<Vector> {
    let numbers = [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), (1 << 53) - 1, 1 << 53, 1 << 63, u64::MAX];
    let of =
        |number: u64| Vector::new(format!("varint-of-{number}"), Kind::Varint, &varint(number)).means(plain(number));
    let mut vectors: Vec<_> = numbers.into_iter().map(of).collect();
    let unreadable: [(&str, &[u8]); 10] = [
        ("of-no-bytes", &[]),
        ("that-goes-on-and-ends", &[0x80]),
        ("of-300-cut-short", &[0xac]),
        ("of-0-in-two-bytes", &[0x80, 0x00]),
        ("of-1-in-two-bytes", &[0x81, 0x00]),
        ("of-127-in-three-bytes", &[0xff, 0x80, 0x00]),
        ("of-0-in-ten-bytes", &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]),
        ("of-65-bits", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
        ("of-70-bits", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ("of-eleven-bytes", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00]),
    ];
    vectors.extend(unreadable.map(|(name, bytes)| malformed(Kind::Varint, format!("varint-{name}"), bytes)));
    vectors
}

fn zigzags() -> Vec<Vector> {
    let numbers = [0, -1, 1, -2, 2, -64, 63, -65, 64, 1_500, -(1 << 53), i64::MAX, i64::MIN];
    let of = |number: i64| {
        let name = if number < 0 { format!("minus-{}", number.unsigned_abs()) } else { number.to_string() };
        Vector::new(format!("zigzag-of-{name}"), Kind::Zigzag, &zigzag(number)).means(plain_signed(number))
    };
    numbers.into_iter().map(of).collect()
}

fn checksums() -> Vec<Vector> {
    let of = |name: &str, bytes: &[u8]| {
        Vector::new(format!("checksum-of-{name}"), Kind::Checksum, bytes).means(json!(crc32c(bytes)))
    };
    let counting: Vec<u8> = (0..=255).collect();
    vec![
        of("nothing", b""),
        of("a-letter", b"a"),
        of("the-nine-characters-of-the-specification", b"123456789"),
        of("32-zeros", &[0; 32]),
        of("32-ones", &[0xff; 32]),
        of("every-byte", &counting),
        of("every-byte-four-times", &counting.repeat(4)),
    ]
}

fn records() -> Vec<Vector> {
    let of = |name: &str, entry: Entry, first_timestamp: u64| {
        let value = entry.meaning(first_timestamp);
        let vector = Vector::new(format!("record-{name}"), Kind::Record, &entry.bytes()).means(value);
        Vector { first_timestamp: Some(plain(first_timestamp)), ..vector }
    };
    let plain_one = Entry::of(b"hello");
    let many_headers = |count| (0..count).fold(Entry::of(b"x"), |entry, n| entry.header(&format!("h{n}"), b"v"));
    vec![
        of("of-a-value", plain_one.clone(), NOW),
        of("of-nothing-at-all", Entry::of(b""), NOW),
        of("with-a-key", plain_one.clone().key(b"host-7"), NOW),
        of("with-a-key-of-no-bytes", plain_one.clone().key(b""), NOW),
        of("with-a-key-of-bytes-that-are-not-text", plain_one.clone().key(&[0xff, 0x00, 0xfe]), NOW),
        of("with-a-key-of-126-bytes", plain_one.clone().key(&[b'k'; 126]), NOW),
        of("with-a-key-of-127-bytes", plain_one.clone().key(&[b'k'; 127]), NOW),
        of("with-the-longest-key", plain_one.clone().key(&vec![b'k'; 16_384]), NOW),
        of("with-headers", plain_one.clone().header("level", b"info").header("tls", b""), NOW),
        of("with-a-header-that-repeats", plain_one.clone().header("a", b"1").header("a", b"2"), NOW),
        of("with-a-header-without-a-name", plain_one.clone().header("", b"v"), NOW),
        of("with-a-header-whose-name-is-not-ascii", plain_one.clone().header("h\u{f4}te", &[0xff]), NOW),
        of("with-the-longest-name-of-a-header", plain_one.clone().header(&"n".repeat(255), b""), NOW),
        of("with-a-header-whose-value-is-long", plain_one.clone().header("a", &[b'v'; 300]), NOW),
        of("with-64-headers", many_headers(64), NOW),
        of("with-everything", plain_one.clone().after(-20).key(b"k").header("a", b"b"), NOW),
        of("whose-length-takes-one-byte", Entry::of(&[b'v'; 124]), NOW),
        of("whose-length-takes-two-bytes", Entry::of(&[b'v'; 125]), NOW),
        of("whose-length-takes-three-bytes", Entry::of(&vec![b'v'; 16_381]), NOW),
        of("after-the-first", plain_one.clone().after(1_500), NOW),
        of("before-the-first", plain_one.clone().after(-1), NOW),
        of("at-time-0", plain_one.clone().after(-i64::try_from(NOW).expect("this century")), NOW),
        of("at-the-last-time", plain_one.clone(), u64::MAX),
        of("at-the-last-time-after-the-first", plain_one.clone().after(i64::MAX), 1 << 63),
        of("at-time-0-after-the-largest-step-back", plain_one.after(i64::MIN), 1 << 63),
    ]
}

fn unreadable(name: &str, first_timestamp: u64, record: &[u8]) -> Vector {
    let vector = malformed(Kind::Record, format!("record-{name}"), record);
    Vector { first_timestamp: Some(plain(first_timestamp)), ..vector }
}

fn unreadable_records() -> Vec<Vector> {
    let at = |entry: &Entry, name: &str, first_timestamp| unreadable(name, first_timestamp, &entry.bytes());
    let long_key = Entry::of(b"x").key(&vec![b'k'; 16_385]);
    let unreadable = |name: &str, record: &[u8]| unreadable(name, NOW, record);
    vec![
        unreadable("of-no-fields", &[0]),
        unreadable("that-ends-behind-its-timestamp", &counted(&[0])),
        unreadable("that-ends-behind-its-key", &counted(&[0, 2, b'k'])),
        unreadable("that-is-shorter-than-its-length", &[6, 0, 0, 0, b'a', b'b']),
        unreadable("whose-length-is-in-a-longer-form", &[0x83, 0x00, 0, 0, 0]),
        unreadable("whose-length-takes-65-bits", &[&[0xff; 9][..], &[2, 0, 0, 0]].concat()),
        unreadable("whose-length-is-as-large-as-64-bits", &[&varint(u64::MAX)[..], &[0, 0, 0]].concat()),
        unreadable("whose-timestamp-is-in-a-longer-form", &counted(&[0x80, 0x00, 0, 0])),
        unreadable("whose-timestamp-ends-inside", &counted(&[0x80])),
        unreadable("whose-key-is-longer-than-the-record", &counted(&[0, 9, b'k', b'e', b'y'])),
        unreadable("whose-key-takes-what-the-headers-need", &counted(&[0, 4, b'k', b'e', b'y'])),
        unreadable("whose-key-length-is-in-a-longer-form", &counted(&[0, 0x81, 0x00, 0])),
        unreadable("whose-key-length-is-as-large-as-64-bits", &counted(&[&[0][..], &varint(u64::MAX), &[0]].concat())),
        at(&long_key, "whose-key-is-one-byte-too-long", NOW),
        at(&Entry::of(b"x").after(-1), "before-time-0", 0),
        at(&Entry::of(b"x").after(1), "behind-the-last-time", u64::MAX),
        at(&Entry::of(b"x").after(i64::MIN), "far-before-time-0", (1 << 63) - 1),
        at(&Entry::of(b"x").after(i64::MAX), "far-behind-the-last-time", (1 << 63) + 1),
    ]
}

fn unreadable_headers() -> Vec<Vector> {
    let unreadable = |name: &str, record: &[u8]| unreadable(name, NOW, record);
    let entry = |name: &str| Entry::of(b"x").header(name, b"");
    let many = (0..65).fold(Entry::of(b"x"), |entry, _| entry.header("h", b""));
    let count_alone = |count: &[u8]| counted(&[&[0, 0][..], count].concat());
    vec![
        unreadable("with-65-headers", &many.bytes()),
        unreadable("whose-header-name-is-one-byte-too-long", &entry(&"n".repeat(256)).bytes()),
        unreadable("whose-header-count-is-in-a-longer-form", &count_alone(&[0x80, 0x00])),
        unreadable("that-counts-a-header-and-has-none", &count_alone(&[1])),
        unreadable("that-counts-as-many-headers-as-64-bits-can", &count_alone(&varint(u64::MAX))),
        unreadable("whose-header-has-no-value", &count_alone(&[1, 1, b'a'])),
        unreadable("whose-header-name-is-longer-than-the-record", &count_alone(&[1, 9, b'a', 0])),
        unreadable("whose-header-value-is-longer-than-the-record", &count_alone(&[1, 1, b'a', 9, b'b'])),
        unreadable("whose-header-name-is-not-utf-8", &count_alone(&[1, 2, 0xc3, 0x28, 0])),
        unreadable("whose-header-name-length-is-in-a-longer-form", &count_alone(&[1, 0x81, 0x00, b'a', 0])),
        unreadable("whose-header-value-length-is-in-a-longer-form", &count_alone(&[1, 1, b'a', 0x80, 0x00])),
    ]
}
