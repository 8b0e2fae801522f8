//! Consumers: one follows a topic and commits, one dequeues, one fetches here and there.

use std::{sync::Arc, time::Duration};

use connectify::{Client, Offset, client::FetchOptions, trial::TopicLog};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    recorder::{Recorder, all_seen, parse, seen},
    topic,
};

/// Consumers with a cursor: the number in the history, the name, the topic.
pub(crate) const FOLLOWER: (u64, &str, usize) = (0, "follower", 0);
pub(crate) const DEQUEUER: (u64, &str, usize) = (1, "dequeuer", 1);
pub(crate) const MOVED_BY_PRODUCER: (u64, &str, usize) = (2, "moved", 3);
/// The topic of the one that fetches.
const FETCHED: usize = 2;
/// Records between commits.
const COMMIT_EVERY: usize = 50;
const MAX_DEQUEUED: u32 = 40;
/// How long to wait for records that are not there yet: whoever reads looks then whether it is over.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// Reads a topic while it grows, and commits; goes back now and then.
pub(crate) async fn follow(recorder: Arc<Recorder>, seed: u64) {
    let ((number, name, of), client) = (FOLLOWER, recorder.client().await);
    let topic = topic(of);
    let builder = client.consumer(&topic).name(name).credit_bytes(50_000);
    let mut consumer = builder.clone().open().await.expect("opens");
    let (mut rng, mut found, mut next) = (StdRng::seed_from_u64(seed), Vec::new(), 0);
    while !recorder.is_over() {
        let Ok(record) = tokio::time::timeout(MAX_WAIT, consumer.next_record()).await else { continue };
        let record = record.expect("neither gaps nor damage").expect("no end");
        assert_eq!(record.offset, Offset(next), "offsets of {topic} are dense");
        next += 1;
        found.push(seen(&topic, record.offset.0, &record.record.value));
        if found.len() < COMMIT_EVERY {
            continue;
        }
        recorder.read(next - found.len() as u64, std::mem::take(&mut found));
        let is_rewind = rng.random_range(0..10) == 0;
        let to = if is_rewind { rng.random_range(0..next) } else { next };
        let place = recorder.commit_begins(number, to, is_rewind);
        let moved = if is_rewind { consumer.rewind(Offset(to)).await } else { consumer.commit(Offset(to)).await };
        match moved {
            Ok(cursor) => {
                recorder.commit_acked(place, cursor.0);
                // Now and then it looks whether that is so, whatever was killed meanwhile.
                if rng.random_range(0..4) == 0 {
                    drop(consumer);
                    consumer = builder.clone().open().await.expect("opens");
                    assert_eq!(consumer.position(), cursor, "an acknowledged cursor of {topic}");
                    next = cursor.0;
                }
            }
            // Going back is not repeated unasked; nobody knows whether it was done.
            Err(error) if is_rewind && error.is_retryable() => {}
            Err(error) => panic!("a cursor was not moved: {error:?}"),
        }
    }
    recorder.read(next - found.len() as u64, found);
}

/// Takes records at the cursor, each once.
pub(crate) async fn dequeue(recorder: Arc<Recorder>) {
    let ((number, name, of), client) = (DEQUEUER, recorder.client().await);
    let topic = topic(of);
    let mut consumer = client.consumer(&topic).name(name).open().await.expect("opens");
    let mut next = 0;
    while !recorder.is_over() {
        let place = recorder.commit_begins(number, u64::MAX, false);
        let from = next;
        let records = consumer.dequeue(MAX_DEQUEUED, MAX_WAIT).await.expect("dequeues");
        for record in &records {
            assert_eq!(record.offset, Offset(next), "each record of {topic} is dequeued once, in order");
            next += 1;
        }
        recorder.commit_acked(place, next);
        recorder.read(from, all_seen(&topic, &records));
    }
}

/// Reads anywhere.
pub(crate) async fn fetch(recorder: Arc<Recorder>, seed: u64) {
    let (client, topic) = (recorder.client().await, topic(FETCHED));
    let (mut rng, mut tail) = (StdRng::seed_from_u64(seed), 0);
    while !recorder.is_over() {
        let from = Offset(rng.random_range(0..=tail));
        let options = FetchOptions::default().with_max_bytes(20_000).with_max_wait(MAX_WAIT);
        let fetched = client.fetch(&topic, from, options).await.expect("fetches");
        assert!(fetched.tail.0 >= tail, "the tail of {topic} went back from {tail} to {}", fetched.tail);
        tail = fetched.tail.0;
        let mut found = Vec::new();
        for batch in &fetched.batches {
            for record in batch.records().expect("checked") {
                let (offset, record) = record.expect("checked");
                // The first batch may begin before what was asked for.
                if offset >= from {
                    found.push(seen(&topic, offset.0, &record.value));
                }
            }
        }
        recorder.read(from.0, found);
    }
}

/// All of a topic, from head to tail.
pub(crate) async fn read_all(client: &Client, topic: &str) -> TopicLog {
    let mut consumer = client.consumer(topic).open().await.expect("opens");
    let mut log = TopicLog { tail: consumer.tail().0, ..TopicLog::default() };
    while consumer.position().0 < log.tail {
        let record = tokio::time::timeout(crate::PATIENCE, consumer.next_record()).await.expect("a record in time");
        let record = record.expect("neither gaps nor damage").expect("no end");
        log.records.push((record.offset.0, parse(&record.record.value)));
    }
    log
}

/// Where a named consumer goes on.
pub(crate) async fn cursor(client: &Client, (number, name, of): (u64, &str, usize)) -> (u64, u64) {
    let consumer = client.consumer(&topic(of)).name(name).open().await.expect("opens");
    (number, consumer.position().0)
}
