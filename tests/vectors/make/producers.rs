//! Bodies of the messages of producers.

use connectify::protocol::ErrorCode::*;
use serde_json::{Value, json};

use super::{CONSUMER, Maker, PRODUCER, draft::Draft};
use crate::vector::{Vector, hex, plain};

pub(super) fn vectors(maker: &Maker) -> Vec<Vector> {
    [registered(maker), appended(maker), refused_appends(maker), states(maker)].concat()
}

fn register(topic: &str, name: Value, create: Value) -> Value {
    json!({"topic": topic, "name": name, "create": create})
}

fn registered(maker: &Maker) -> Vec<Vector> {
    let (none, keep) = (json!(null), json!({"bytes": null, "age_ms": 604_800_000}));
    let mut vectors = maker.bodies(
        "RegisterProducer",
        [
            ("with-everything", register("logs", json!("host-7"), keep.clone())),
            ("without-a-name", register("never-made", none.clone(), none.clone())),
            (
                "that-makes-a-topic-that-keeps-all",
                register("logs", none.clone(), json!({"bytes": null, "age_ms": null})),
            ),
            ("with-a-name-of-200-bytes", register("never-made", json!("n".repeat(200)), none.clone())),
        ],
    );
    let refused = |name: &str, value, code| maker.refused("RegisterProducer", name, value, code, &[]);
    vectors.extend([
        refused("in-a-topic-with-a-slash", register("a/b", none.clone(), none.clone()), InvalidName),
        refused("with-an-empty-name", register("logs", json!(""), keep.clone()), InvalidName),
        refused("with-a-tab-in-its-name", register("logs", json!("a\tb"), keep.clone()), InvalidName),
        refused("with-a-name-of-201-bytes", register("logs", json!("n".repeat(201)), keep), InvalidName),
        refused(
            "that-makes-a-topic-that-keeps-nothing",
            register("logs", none, json!({"bytes": 0, "age_ms": null})),
            InvalidRetention,
        ),
    ]);
    vectors.extend(maker.bodies(
        "RegisterProducerAnswer",
        [
            (
                "of-a-later-registration",
                json!({"producer_id": PRODUCER, "epoch": 3, "topic_id": 7, "last_sequence": 40}),
            ),
            (
                "with-the-largest-numbers",
                json!({
                    "producer_id": PRODUCER, "epoch": u32::MAX, "topic_id": u32::MAX, "last_sequence": plain(u64::MAX),
                }),
            ),
        ],
    ));
    vectors
}

/// An Append of these batches.
fn append(batches: &[Vec<u8>], commits: &[Value]) -> Value {
    let parts: Vec<_> = batches.iter().map(|batch| json!({"topic_id": 7, "batch_bytes": batch.len()})).collect();
    let batches: Vec<_> = batches.iter().map(|batch| hex(batch)).collect();
    json!({"parts": parts, "commits": commits, "batches": batches})
}

fn appended(maker: &Maker) -> Vec<Vector> {
    let batch = |start| Draft::of_values(&["hello"]).covering(start, start + 1).bytes();
    let commit = |offset| json!({"consumer_id": CONSUMER, "offset": plain(offset)});
    let mut vectors = maker.bodies(
        "Append",
        [
            ("of-one-batch-and-a-cursor", append(&[batch(40)], &[commit(950)])),
            ("of-one-batch", append(&[batch(0)], &[])),
            ("of-two-batches", append(&[batch(0), Draft::of_values(&["two", "three"]).bytes()], &[])),
            ("of-a-batch-and-three-cursors", append(&[batch(0)], &[commit(0), commit(1), commit(u64::MAX)])),
        ],
    );
    vectors.extend([
        maker.malformed("Append", "of-2-bytes-of-which-1-follows", &[1, 1, 2, 0, 0x61]),
        maker.malformed("Append", "of-2-bytes-of-which-3-follow", &[1, 1, 2, 0, 0x61, 0x62, 0x63]),
        maker.malformed("Append", "of-two-batches-whose-lengths-exceed-32-bits", &{
            let part = [1, 0xfc, 0xff, 0xff, 0xff, 0xff];
            [&[2][..], &part, &part, &[0, 0x61]].concat()
        }),
    ]);
    let at = |base_offset: Value, duplicate| json!({"base_offset": base_offset, "duplicate": duplicate});
    vectors.extend(maker.bodies(
        "AppendAnswer",
        [
            ("of-one-part", json!({"parts": [at(json!(1_000), false)]})),
            ("of-a-duplicate", json!({"parts": [at(json!(0), true)]})),
            ("of-a-duplicate-without-an-offset", json!({"parts": [at(json!(null), true)]})),
            (
                "of-three-parts",
                json!({"parts": [at(json!(5), false), at(plain(u64::MAX), false), at(json!(null), true)]}),
            ),
        ],
    ));
    vectors
}

fn refused_appends(maker: &Maker) -> Vec<Vector> {
    let parts = |count: usize| vec![Vec::new(); count];
    let commits = |count| vec![json!({"consumer_id": CONSUMER, "offset": 0}); count];
    let good = Draft::of_values(&["hello"]).bytes();
    let damaged = [&good[..good.len() - 1], b"0"].concat();
    let refused = |name: &str, value, code, details: &[u64]| maker.refused("Append", name, value, code, details);
    vec![
        refused("of-nothing", append(&[], &[]), LimitExceeded, &[0, 1]),
        refused("of-nothing-but-a-cursor", append(&[], &commits(1)), LimitExceeded, &[0, 1]),
        refused("of-1025-parts", append(&parts(1_025), &[]), LimitExceeded, &[1_025, 1_024]),
        refused("of-257-cursors", append(std::slice::from_ref(&good), &commits(257)), LimitExceeded, &[257, 256]),
        refused("of-a-batch-of-no-bytes", append(&parts(1), &[]), BatchMalformed, &[0]),
        refused("of-a-batch-that-is-too-short", append(&[vec![0; 79]], &[]), BatchMalformed, &[0]),
        refused("of-a-damaged-batch", append(std::slice::from_ref(&damaged), &[]), BatchChecksum, &[0]),
        refused("whose-second-batch-is-damaged", append(&[good.clone(), damaged], &[]), BatchChecksum, &[1]),
        refused("whose-lengths-divide-the-batches-elsewhere", misdivided(&good), BatchMalformed, &[0]),
    ]
}

/// Two good batches, and lengths that put one byte of the second into the first.
fn misdivided(batch: &[u8]) -> Value {
    let both = [batch, batch].concat();
    let (first, second) = both.split_at(batch.len() + 1);
    append(&[first.to_vec(), second.to_vec()], &[])
}

fn states(maker: &Maker) -> Vec<Vector> {
    let mut vectors = maker.bodies("ProducerState", [("by-its-id", json!({"producer_id": PRODUCER}))]);
    vectors.extend(maker.bodies(
        "ProducerStateAnswer",
        [
            ("with-a-name", json!({"topic_id": 7, "name": "host-7", "epoch": 3, "last_sequence": 41})),
            ("without-a-name", json!({"topic_id": 1, "name": null, "epoch": 0, "last_sequence": plain(u64::MAX)})),
        ],
    ));
    vectors.extend(maker.bodies(
        "ListProducers",
        [
            ("from-the-first-on", json!({"topic": "logs", "prefix": "", "after": "", "limit": 0})),
            ("with-a-prefix-behind-a-name", json!({"topic": "logs", "prefix": "host-", "after": "host-6", "limit": 1})),
        ],
    ));
    let listed = |name: &str, last_sequence: Value, last_offset: Value| {
        json!({
            "name": name, "producer_id": PRODUCER, "epoch": 3, "last_sequence": last_sequence, "last_offset": last_offset,
        })
    };
    let two = [listed("host-7", json!(41), json!(1_000)), listed("host-8", json!(0), json!(null))];
    vectors.extend(maker.bodies(
        "ListProducersAnswer",
        [
            ("with-two", json!({"producers": two, "more": true})),
            ("with-nothing", json!({"producers": [], "more": false})),
            (
                "with-the-largest-numbers",
                json!({"producers": [listed("p", plain(u64::MAX), plain(u64::MAX))], "more": false}),
            ),
        ],
    ));
    vectors.push(maker.refused(
        "ListProducers",
        "of-a-topic-with-a-slash",
        json!({"topic": "a/b", "prefix": "", "after": "", "limit": 0}),
        InvalidName,
        &[],
    ));
    vectors.extend(maker.bodies("ForgetProducer", [("by-its-id", json!({"producer_id": PRODUCER}))]));
    vectors.extend(maker.bodies(
        "ForgetProducerAnswer",
        [("that-did-it", json!({"forgotten": true})), ("that-found-none", json!({"forgotten": false}))],
    ));
    vectors
}
