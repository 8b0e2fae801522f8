//! Bodies of the messages about topics.

use connectify::protocol::ErrorCode::*;
use serde_json::{Value, json};

use super::{CONSUMER, Maker};
use crate::vector::{Vector, plain};

fn retention(bytes: Value, age_ms: Value) -> Value {
    json!({"bytes": bytes, "age_ms": age_ms})
}

fn create(topic: &str, retention: Value) -> Value {
    json!({"topic": topic, "retention": retention, "if_absent": true})
}

/// A topic as ListTopics and DescribeTopic show it.
fn info(name: &str, largest: bool) -> Value {
    let or_largest = |number: u64| plain(if largest { u64::MAX } else { number });
    json!({
        "name": name,
        "topic_id": if largest { u32::MAX } else { 7 },
        "head": or_largest(256),
        "tail": or_largest(1_000),
        "bytes": or_largest(123_456),
        "retention": retention(or_largest(1 << 30), or_largest(604_800_000)),
        "created_us": or_largest(1_767_225_600_000_000),
        "producers": 2,
        "consumers": 1,
    })
}

pub(super) fn vectors(maker: &Maker) -> Vec<Vector> {
    [created(maker), deleted(maker), listed(maker), described(maker), misnamed(maker)].concat()
}

fn created(maker: &Maker) -> Vec<Vector> {
    let (none, one) = (json!(null), json!(1));
    let mut vectors = maker.bodies(
        "CreateTopic",
        [
            ("with-everything", create("logs", retention(json!(1 << 30), json!(604_800_000)))),
            ("that-keeps-all", create("logs", retention(none.clone(), none.clone()))),
            ("with-the-least-retention", create("a", retention(one.clone(), one))),
            ("with-the-longest-retention", create("a", retention(plain(u64::MAX), plain(u64::MAX / 1_000)))),
            ("with-a-name-of-200-bytes", create(&"t".repeat(200), retention(none.clone(), none.clone()))),
            ("with-every-kind-of-character", create("App.access-log_7", retention(none.clone(), none.clone()))),
        ],
    );
    for (name, bytes, age_ms) in [
        ("of-0-bytes", json!(0), none.clone()),
        ("of-0-milliseconds", none.clone(), json!(0)),
        ("of-0-bytes-and-some-milliseconds", json!(0), json!(5)),
        ("of-milliseconds-beyond-64-bits-of-microseconds", none, plain(u64::MAX / 1_000 + 1)),
    ] {
        let value = create("logs", retention(bytes, age_ms));
        vectors.push(maker.refused("CreateTopic", &format!("with-a-retention-{name}"), value, InvalidRetention, &[]));
    }
    vectors.extend(maker.bodies(
        "CreateTopicAnswer",
        [
            ("that-made-it", json!({"topic_id": 7, "created": true})),
            ("that-found-it", json!({"topic_id": u32::MAX, "created": false})),
        ],
    ));
    vectors
}

fn deleted(maker: &Maker) -> Vec<Vector> {
    let mut vectors = maker.bodies(
        "DeleteTopic",
        [
            ("that-must-exist", json!({"topic": "never-made", "if_present": false})),
            ("that-may-exist", json!({"topic": "never-made", "if_present": true})),
        ],
    );
    vectors.extend(maker.bodies(
        "DeleteTopicAnswer",
        [("that-removed-it", json!({"deleted": true})), ("that-found-nothing", json!({"deleted": false}))],
    ));
    vectors
}

fn listed(maker: &Maker) -> Vec<Vector> {
    let mut vectors = maker.bodies(
        "ListTopics",
        [
            ("behind-a-name", json!({"after": "audit", "limit": 1})),
            ("from-the-first-on", json!({"after": "", "limit": 0})),
            ("behind-any-text", json!({"after": "../ \n\u{20ac}", "limit": 128})),
            ("with-more-than-the-limit", json!({"after": "", "limit": u32::MAX})),
        ],
    );
    let mut name_of_64_kib = vec![0xfb, 0xfc, 0xff];
    name_of_64_kib.resize(3 + 65_532, b'a');
    name_of_64_kib.extend([0xfb, 0xfb, 0x00]);
    vectors.push(maker.malformed("ListTopics", "whose-fields-take-two-bytes-more-than-the-limit", &name_of_64_kib));
    vectors.extend(maker.bodies(
        "ListTopicsAnswer",
        [
            ("with-one-topic", json!({"topics": [info("logs", false)], "more": true})),
            ("with-nothing", json!({"topics": [], "more": false})),
            ("with-the-largest-numbers", json!({"topics": [info("a", true), info("b", false)], "more": false})),
        ],
    ));
    vectors
}

fn described(maker: &Maker) -> Vec<Vector> {
    let named = json!({"consumer_id": CONSUMER, "name": "indexer", "cursor": 900, "backlog": 100});
    let unnamed = json!({"consumer_id": CONSUMER, "name": null, "cursor": plain(u64::MAX), "backlog": 0});
    let mut vectors = maker.bodies("DescribeTopic", [("by-its-name", json!({"topic": "logs"}))]);
    vectors.extend(maker.bodies(
        "DescribeTopicAnswer",
        [
            ("with-a-consumer", json!({"topic": info("logs", false), "consumers": [named]})),
            ("with-two-consumers", json!({"topic": info("logs", false), "consumers": [named, unnamed]})),
            ("with-none", json!({"topic": info("logs", false), "consumers": []})),
        ],
    ));
    vectors
}

/// Names that section 1.3 does not allow, each in another request.
fn misnamed(maker: &Maker) -> Vec<Vector> {
    let all = retention(json!(null), json!(null));
    let describe = |name: &str, topic: &str| {
        maker.refused("DescribeTopic", &format!("named-{name}"), json!({"topic": topic}), InvalidName, &[])
    };
    vec![
        describe("nothing", ""),
        describe("with-a-dot-in-front", ".hidden"),
        describe("with-two-dots-in-a-row", "a..b"),
        describe("as-the-folder-above", ".."),
        describe("with-a-slash", "a/b"),
        describe("with-a-space", "a b"),
        describe("with-a-line-end", "a\n"),
        describe("with-a-zero", "a\0"),
        describe("in-other-letters", "caf\u{e9}"),
        describe("with-201-bytes", &"t".repeat(201)),
        maker.refused(
            "CreateTopic",
            "with-a-name-of-201-bytes",
            create(&"t".repeat(201), all.clone()),
            InvalidName,
            &[],
        ),
        maker.refused("CreateTopic", "without-a-name", create("", all), InvalidName, &[]),
        maker.refused("DeleteTopic", "with-a-slash", json!({"topic": "a/b", "if_present": true}), InvalidName, &[]),
        maker.refused(
            "Fetch",
            "from-a-topic-with-a-space",
            json!({"topic": "a b", "offset": 0, "max_bytes": 1, "max_wait_ms": 0}),
            InvalidName,
            &[],
        ),
        maker.refused(
            "Subscribe",
            "to-a-topic-without-a-name",
            json!({"topic": "", "start": {"Head": null}, "credit_bytes": 1}),
            InvalidName,
            &[],
        ),
        maker.refused(
            "OffsetForTimestamp",
            "of-a-hidden-topic",
            json!({"topic": ".a", "timestamp_us": 0}),
            InvalidName,
            &[],
        ),
    ]
}
