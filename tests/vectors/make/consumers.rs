//! Bodies of the messages of consumers.

use connectify::protocol::ErrorCode::*;
use serde_json::{Value, json};

use super::{CONSUMER, Maker, draft::Draft};
use crate::vector::{Vector, hex, plain};

pub(super) fn vectors(maker: &Maker) -> Vec<Vector> {
    [registered(maker), committed(maker), dequeued(maker), backlogs(maker)].concat()
}

fn register(topic: &str, name: Value, start: Value) -> Value {
    json!({"topic": topic, "name": name, "start": start})
}

fn registered(maker: &Maker) -> Vec<Vector> {
    let (none, head) = (json!(null), json!({"Head": null}));
    let at_a_time = json!({"Timestamp": 1_767_225_600_000_000_u64});
    let mut vectors = maker.bodies(
        "RegisterConsumer",
        [
            ("with-everything", register("logs", json!("indexer"), at_a_time)),
            ("without-a-name", register("logs", none.clone(), head.clone())),
            ("at-the-tail", register("logs", json!("x"), json!({"Tail": null}))),
            ("at-an-offset", register("never-made", json!("x"), json!({"Offset": plain(u64::MAX)}))),
        ],
    );
    let refused = |name: &str, value, code| maker.refused("RegisterConsumer", name, value, code, &[]);
    vectors.extend([
        refused("at-a-cursor", register("logs", none.clone(), json!({"Cursor": CONSUMER})), MalformedBody),
        refused("with-an-empty-name", register("logs", json!(""), head.clone()), InvalidName),
        refused("with-a-line-end-in-its-name", register("logs", json!("a\r\n"), head.clone()), InvalidName),
        refused("with-a-name-of-201-bytes", register("logs", json!("n".repeat(201)), head.clone()), InvalidName),
        refused("of-a-topic-with-a-slash", register("a/b", none, head), InvalidName),
    ]);
    vectors.extend(maker.bodies(
        "RegisterConsumerAnswer",
        [
            ("of-one-that-existed", json!({"consumer_id": CONSUMER, "cursor": 900, "existed": true})),
            ("of-a-new-one", json!({"consumer_id": CONSUMER, "cursor": 0, "existed": false})),
        ],
    ));
    vectors
}

fn committed(maker: &Maker) -> Vec<Vector> {
    let commit = |offset, rewind| json!({"consumer_id": CONSUMER, "offset": plain(offset), "rewind": rewind});
    let mut vectors = maker.bodies(
        "Commit",
        [
            ("forward", commit(1_000, false)),
            ("backward", commit(0, true)),
            ("to-the-last-offset", commit(u64::MAX, false)),
        ],
    );
    vectors.extend(maker.bodies(
        "CommitAnswer",
        [("at-1000", json!({"cursor": 1_000})), ("at-the-last-offset", json!({"cursor": plain(u64::MAX)}))],
    ));
    vectors
}

fn dequeue(attempt: u64, max_records: u32, max_wait_ms: u32) -> Value {
    json!({
        "consumer_id": CONSUMER,
        "cursor": 1_000,
        "attempt": plain(attempt),
        "max_records": max_records,
        "max_wait_ms": max_wait_ms,
    })
}

fn dequeued(maker: &Maker) -> Vec<Vector> {
    let mut vectors = maker.bodies(
        "Dequeue",
        [
            ("of-one", dequeue(0x1234_5678_9abc_def0, 1, 0)),
            ("of-as-many-as-there-are", dequeue(u64::MAX, u32::MAX, 0)),
            ("that-waits-as-long-as-it-may", dequeue(0, 1, 60_000)),
        ],
    );
    vectors.extend([
        maker.refused("Dequeue", "of-no-records", dequeue(1, 0, 0), LimitExceeded, &[0, 1]),
        maker.refused("Dequeue", "that-waits-too-long", dequeue(1, 1, 60_001), LimitExceeded, &[60_001, 60_000]),
        maker.refused("Dequeue", "that-waits-for-ever", dequeue(1, 1, u32::MAX), LimitExceeded, &[0xffff_ffff, 60_000]),
    ]);
    let batch = Draft::of_values(&["hello"]).stored_at(1_000).bytes();
    let answer = |next: u64, repeated, batches: &[&[u8]]| {
        let lengths: Vec<_> = batches.iter().map(|batch| batch.len()).collect();
        let batches: Vec<_> = batches.iter().map(|batch| hex(batch)).collect();
        json!({
            "offset": 1_000, "next": next, "tail": 1_001, "repeated": repeated,
            "batch_bytes": lengths, "batches": batches,
        })
    };
    vectors.extend(maker.bodies(
        "DequeueAnswer",
        [
            ("of-one-batch", answer(1_001, false, &[&batch])),
            ("of-nothing", answer(1_000, false, &[])),
            ("of-a-repetition", answer(1_001, true, &[&batch])),
        ],
    ));
    vectors
}

fn backlogs(maker: &Maker) -> Vec<Vector> {
    let mut vectors = maker.bodies("Backlog", [("by-its-id", json!({"consumer_id": CONSUMER}))]);
    vectors.extend(maker.bodies(
        "BacklogAnswer",
        [
            ("of-100", json!({"backlog": 100, "cursor": 900, "head": 256, "tail": 1_000})),
            ("of-a-consumer-behind-the-head", json!({"backlog": 744, "cursor": 3, "head": 256, "tail": 1_000})),
        ],
    ));
    vectors
}
