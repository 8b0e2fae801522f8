//! Bodies of the messages that read.

use connectify::protocol::ErrorCode::*;
use serde_json::{Value, json};

use super::{CONSUMER, Maker, draft::Draft};
use crate::vector::{Vector, hex, plain};

pub(super) fn vectors(maker: &Maker) -> Vec<Vector> {
    [fetched(maker), subscribed(maker), delivered(maker), credited(maker), found(maker)].concat()
}

/// The members that go with batches.
fn with_batches(mut value: Value, batches: &[Vec<u8>]) -> Value {
    value["batch_bytes"] = batches.iter().map(|batch| json!(batch.len())).collect();
    value["batches"] = batches.iter().map(|batch| json!(hex(batch))).collect();
    value
}

fn two_batches() -> [Vec<u8>; 2] {
    [
        Draft::of_values(&["hello"]).stored_at(1_000).bytes(),
        Draft::of_values(&["two", "three"]).stored_at(1_001).covering(1, 3).bytes(),
    ]
}

fn fetched(maker: &Maker) -> Vec<Vector> {
    let fetch = |topic: &str, offset: u64, max_bytes: u32, max_wait_ms: u32| json!({"topic": topic, "offset": plain(offset), "max_bytes": max_bytes, "max_wait_ms": max_wait_ms});
    let mut vectors = maker.bodies(
        "Fetch",
        [
            ("with-everything", fetch("never-made", 1_000, 1 << 20, 5_000)),
            ("of-at-least-one-batch", fetch("never-made", 0, 0, 0)),
            ("of-the-largest-numbers", fetch("never-made", u64::MAX, u32::MAX, 60_000)),
        ],
    );
    let too_long = fetch("logs", 0, 1, 60_001);
    vectors.push(maker.refused("Fetch", "that-waits-too-long", too_long, LimitExceeded, &[60_001, 60_000]));
    let answer = |batches: &[Vec<u8>]| with_batches(json!({"head": 256, "tail": 1_003}), batches);
    vectors.extend(maker.bodies(
        "FetchAnswer",
        [
            ("of-two-batches", answer(&two_batches())),
            ("of-nothing", answer(&[])),
            ("of-one-batch", answer(&two_batches()[..1])),
        ],
    ));
    vectors
}

fn subscribed(maker: &Maker) -> Vec<Vector> {
    let subscribe = |start: Value, credit_bytes: u64| json!({"topic": "never-made", "start": start, "credit_bytes": plain(credit_bytes)});
    let mut vectors = maker.bodies(
        "Subscribe",
        [
            ("from-an-offset-on", subscribe(json!({"Offset": 300}), 1 << 20)),
            ("from-the-head-on-without-credit", subscribe(json!({"Head": null}), 0)),
            ("from-the-tail-on-with-all-credit", subscribe(json!({"Tail": null}), 1 << 30)),
            ("from-a-time-on", subscribe(json!({"Timestamp": 0}), 1)),
            ("from-a-cursor-on", subscribe(json!({"Cursor": CONSUMER}), 200)),
        ],
    );
    for (name, credit) in [("one-byte-of-credit-too-much", (1 << 30) + 1), ("far-too-much-credit", 1 << 40)] {
        let value = subscribe(json!({"Head": null}), credit);
        let details = [credit, 1 << 30];
        vectors.push(maker.refused("Subscribe", &format!("with-{name}"), value, LimitExceeded, &details));
    }
    vectors.extend(maker.bodies(
        "SubscribeAnswer",
        [
            ("from-300-on", json!({"subscription_id": 1, "offset": 300, "head": 256, "tail": 1_001})),
            ("with-the-largest-numbers", {
                let largest = plain(u64::MAX);
                json!({"subscription_id": u32::MAX, "offset": largest, "head": largest, "tail": largest})
            }),
        ],
    ));
    vectors
}

fn delivered(maker: &Maker) -> Vec<Vector> {
    let deliver = |gap: Value, batches: &[Vec<u8>]| {
        with_batches(json!({"subscription_id": 1, "head": 1_000, "tail": 1_003, "gap": gap}), batches)
    };
    let gap = json!({"from": 300, "to": 1_000});
    maker.bodies(
        "Deliver",
        [
            ("of-a-gap-and-two-batches", deliver(gap.clone(), &two_batches())),
            ("of-one-batch", deliver(json!(null), &two_batches()[..1])),
            ("of-a-gap-alone", deliver(gap, &[])),
            ("of-nothing", deliver(json!(null), &[])),
        ],
    )
}

fn credited(maker: &Maker) -> Vec<Vector> {
    let credit = |bytes: u64| json!({"subscription_id": 4_000_000_000_u32, "bytes": plain(bytes)});
    let mut vectors = maker.bodies(
        "Credit",
        [("of-65536-bytes", credit(65_536)), ("of-nothing", credit(0)), ("of-more-than-the-limit", credit(u64::MAX))],
    );
    vectors.extend(maker.bodies("Unsubscribe", [("of-a-subscription", json!({"subscription_id": 4_000_000_000_u32}))]));
    vectors.extend(maker.bodies("UnsubscribeAnswer", [("of-no-fields", json!({}))]));
    vectors
}

fn found(maker: &Maker) -> Vec<Vector> {
    let mut vectors = maker.bodies(
        "OffsetForTimestamp",
        [
            ("of-a-time", json!({"topic": "never-made", "timestamp_us": 1_767_225_600_000_000_u64})),
            ("of-the-last-time", json!({"topic": "never-made", "timestamp_us": plain(u64::MAX)})),
        ],
    );
    vectors.extend(maker.bodies(
        "OffsetForTimestampAnswer",
        [("of-300", json!({"offset": 300})), ("of-the-last-offset", json!({"offset": plain(u64::MAX)}))],
    ));
    vectors
}
