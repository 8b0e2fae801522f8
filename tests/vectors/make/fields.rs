//! Fields of each type by themselves.

use connectify::protocol::ErrorCode;
use serde_json::{Value, json};

use super::{CONSUMER, Maker, spoil::longer};
use crate::{
    meaning::shortest,
    vector::{Kind, Place, Vector, hex, plain},
};

pub(super) fn vectors(maker: &Maker) -> Vec<Vector> {
    [numbers(maker), flags(maker), texts(maker), containers(maker)].concat()
}

fn malformed(kind: &str, name: &str, bytes: &[u8]) -> Vector {
    let vector = Vector::new(name, Kind::Field, bytes).of_type(kind);
    vector.gets(ErrorCode::MalformedBody, Place::Answer, &[])
}

fn numbers(maker: &Maker) -> Vec<Vector> {
    let edges = [0, 1, 250, 251, 252, 65_535, 65_536, 4_294_967_295, 4_294_967_296, (1 << 53) - 1, 1 << 53, u64::MAX];
    let mut vectors = Vec::new();
    for (kind, largest) in [("u16", u64::from(u16::MAX)), ("u32", u64::from(u32::MAX)), ("u64", u64::MAX)] {
        for edge in edges {
            let bytes = shortest(edge);
            if edge > largest {
                vectors.push(malformed(kind, &format!("{kind}-does-not-hold-{edge}"), &bytes));
                continue;
            }
            vectors.push(maker.field(kind, &format!("{kind}-of-{edge}"), plain(edge)));
            let longer =
                longer(&bytes).map(|bytes| malformed(kind, &format!("{kind}-of-{edge}-in-a-longer-form"), &bytes));
            vectors.extend(longer);
        }
        for (name, bytes) in [
            ("of-no-bytes", &[][..]),
            ("cut-off-behind-its-first-byte", &[0xfb]),
            ("cut-off-inside", &[0xfb, 0xff]),
            ("with-the-first-reserved-byte", &[0xfe, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("with-the-last-reserved-byte", &[0xff, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("with-a-byte-behind-it", &[5, 0]),
            ("of-5-in-its-longest-form", &[0xfd, 5, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            vectors.push(malformed(kind, &format!("{kind}-{name}"), bytes));
        }
    }
    // 251 with its highest byte first would be this number.
    vectors.push(maker.field("u64", "u64-of-64256-with-its-lowest-byte-first", json!(64_256)));
    vectors
}

fn flags(maker: &Maker) -> Vec<Vector> {
    vec![
        maker.field("u8", "u8-of-0", json!(0)),
        maker.field("u8", "u8-of-250", json!(250)),
        maker.field("u8", "u8-of-251-which-is-no-number", json!(251)),
        maker.field("u8", "u8-of-255", json!(255)),
        malformed("u8", "u8-of-no-bytes", &[]),
        malformed("u8", "u8-in-the-form-of-a-number", &[0xfb, 0xff, 0x00]),
        maker.field("bool", "bool-of-false", json!(false)),
        maker.field("bool", "bool-of-true", json!(true)),
        malformed("bool", "bool-of-2", &[2]),
        malformed("bool", "bool-of-255", &[255]),
        malformed("bool", "bool-of-no-bytes", &[]),
        maker.field("id", "id-in-the-order-of-its-text-form", json!(CONSUMER)),
        maker.field("id", "id-of-zeros", json!("0".repeat(32))),
        maker.field("id", "id-of-ones", json!("f".repeat(32))),
        malformed("id", "id-of-15-bytes", &[7; 15]),
        malformed("id", "id-of-17-bytes", &[7; 17]),
    ]
}

fn texts(maker: &Maker) -> Vec<Vector> {
    let good: [(&str, String); 10] = [
        ("of-no-bytes", String::new()),
        ("of-one-letter", "a".into()),
        ("of-a-zero-byte", "\0".into()),
        ("of-2-bytes-that-are-one-character", "\u{e9}".into()),
        ("of-3-bytes-that-are-one-character", "\u{20ac}".into()),
        ("of-4-bytes-that-are-one-character", "\u{1f980}".into()),
        ("of-the-last-character", "\u{10ffff}".into()),
        ("with-a-byte-order-mark", "\u{feff}a".into()),
        ("of-250-bytes", "x".repeat(250)),
        ("of-251-bytes", "x".repeat(251)),
    ];
    let mut vectors: Vec<_> =
        good.into_iter().map(|(name, text)| maker.field("string", &format!("string-{name}"), json!(text))).collect();
    for (name, text) in [
        ("of-a-lone-continuation-byte", &[0x80][..]),
        ("of-a-character-cut-short", &[0xe2, 0x82]),
        ("of-a-zero-in-two-bytes", &[0xc0, 0x80]),
        ("of-a-slash-in-three-bytes", &[0xe0, 0x80, 0xaf]),
        ("of-a-surrogate", &[0xed, 0xa0, 0x80]),
        ("of-a-character-behind-the-last", &[0xf4, 0x90, 0x80, 0x80]),
        ("of-a-byte-that-utf-8-never-has", &[0x61, 0xff]),
    ] {
        let bytes = [shortest(text.len() as u64), text.to_vec()].concat();
        vectors.push(malformed("string", &format!("string-{name}"), &bytes));
    }
    for kind in ["string", "bytes"] {
        for (name, bytes) in [
            ("without-a-count", &[][..]),
            ("that-counts-one-byte-too-many", &[3, 0x61, 0x62]),
            ("that-counts-one-byte-too-few", &[1, 0x61, 0x62]),
            ("whose-count-is-in-a-longer-form", &[0xfb, 1, 0, 0x61]),
            ("that-counts-4-gib", &[0xfc, 0xff, 0xff, 0xff, 0xff, 0x61]),
            ("that-counts-all-that-64-bits-can", &[0xfd, 255, 255, 255, 255, 255, 255, 255, 255, 0x61]),
            ("that-counts-as-many-as-a-signed-number-can", &[0xfd, 255, 255, 255, 255, 255, 255, 255, 127, 0x61]),
        ] {
            vectors.push(malformed(kind, &format!("{kind}-{name}"), bytes));
        }
    }
    for (name, bytes) in [("nothing", vec![]), ("one", vec![0xff]), ("251", vec![0xfe; 251])] {
        vectors.push(maker.field("bytes", &format!("bytes-of-{name}"), json!(hex(&bytes))));
    }
    vectors
}

fn containers(maker: &Maker) -> Vec<Vector> {
    let numbers = |count: u64| -> Value { (0..count).map(|number| json!(number * 100)).collect() };
    vec![
        maker.field("option<u64>", "option-that-is-absent", json!(null)),
        maker.field("option<u64>", "option-of-0-is-not-absent", json!(0)),
        maker.field("option<u64>", "option-of-the-largest-number", plain(u64::MAX)),
        malformed("option<u64>", "option-of-no-bytes", &[]),
        malformed("option<u64>", "option-that-is-present-without-a-value", &[1]),
        malformed("option<u64>", "option-that-is-absent-with-a-value", &[0, 5]),
        malformed("option<u64>", "option-neither-absent-nor-present", &[2, 5]),
        malformed("option<u64>", "option-of-a-number-in-a-longer-form", &[1, 0xfb, 5, 0]),
        maker.field("option<string>", "option-of-an-empty-string", json!("")),
        maker.field("option<string>", "option-of-a-string", json!("host-7")),
        maker.field("list<u32>", "list-of-nothing", json!([])),
        maker.field("list<u32>", "list-of-three", json!([1, 251, 65_536])),
        maker.field("list<u32>", "list-of-251", numbers(251)),
        maker.field("list<u64>", "list-of-the-largest-number", json!([plain(u64::MAX)])),
        malformed("list<u32>", "list-without-a-count", &[]),
        malformed("list<u32>", "list-that-counts-one-too-many", &[3, 1, 2]),
        malformed("list<u32>", "list-that-counts-one-too-few", &[1, 1, 2]),
        malformed("list<u32>", "list-whose-count-is-in-a-longer-form", &[0xfb, 1, 0, 7]),
        malformed("list<u32>", "list-of-a-number-that-does-not-fit", &[1, 0xfd, 0, 0, 0, 0, 1, 0, 0, 0]),
        malformed("list<u32>", "list-that-counts-4-gib", &[0xfc, 255, 255, 255, 255, 1]),
        malformed(
            "list<u64>",
            "list-that-counts-all-that-64-bits-can",
            &[0xfd, 255, 255, 255, 255, 255, 255, 255, 255],
        ),
        maker.field("Start", "start-at-the-head", json!({"Head": null})),
        maker.field("Start", "start-at-the-tail", json!({"Tail": null})),
        maker.field("Start", "start-at-an-offset", json!({"Offset": 300})),
        maker.field("Start", "start-at-the-last-offset", json!({"Offset": plain(u64::MAX)})),
        maker.field("Start", "start-at-a-time", json!({"Timestamp": 1_767_225_600_000_000_u64})),
        maker.field("Start", "start-at-a-cursor", json!({"Cursor": CONSUMER})),
        malformed("Start", "start-without-a-tag", &[]),
        malformed("Start", "start-of-an-unknown-tag", &[5]),
        malformed("Start", "start-of-a-tag-in-the-form-of-a-number", &[0xfb, 1, 0]),
        malformed("Start", "start-at-the-head-with-an-offset", &[0, 5]),
        malformed("Start", "start-at-no-offset", &[2]),
        malformed("Start", "start-at-an-offset-in-a-longer-form", &[2, 0xfb, 5, 0]),
        malformed("Start", "start-at-half-a-cursor", &[4, 1, 2, 3, 4, 5, 6, 7, 8]),
    ]
}
