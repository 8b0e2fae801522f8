//! Numbers over their limits, and answers that do not fit.

use bytes::Bytes;
use connectify::{
    limits::{MAX_APPEND_COMMITS, MAX_APPEND_PARTS, MAX_CREDIT_BYTES, MAX_SUBSCRIPTIONS, MAX_WAIT_MS, MIN_FRAME_BYTES},
    protocol::{CursorMove, Dequeue, ErrorCode, Fetch, Hello, Start, Unsubscribe},
};

use super::Wrongs;
use crate::support::{
    Raw, append_of, batch, narrow,
    raw::hello,
    requests::{fetch_of, subscribe_of},
    values,
};

#[tokio::test]
async fn an_append_has_from_1_to_1024_parts_and_up_to_256_commits() {
    let mut wrongs = Wrongs::new().await;
    let producer = wrongs.raw.producer("t").await;
    let consumer_id = wrongs.raw.consumer("t", None, Start::Head).await.consumer_id;
    let part = |n: u64| (producer.topic_id, batch(&producer, n..n + 1, &["x"]));
    let parts: Vec<(u32, Bytes)> = (0..=MAX_APPEND_PARTS as u64).map(part).collect();
    let commits = vec![CursorMove { consumer_id, offset: 0 }; MAX_APPEND_COMMITS + 1];
    for (parts, commits, details) in [
        (&parts[..0], &commits[..0], [0, 1]),
        (&parts[..0], &commits[..1], [0, 1]),
        (&parts[..], &commits[..0], [parts.len() as u64, MAX_APPEND_PARTS as u64]),
        (&parts[..1], &commits[..], [commits.len() as u64, MAX_APPEND_COMMITS as u64]),
    ] {
        let (append, batches) = append_of(parts, commits);
        let error = wrongs.raw.refused(ErrorCode::LimitExceeded, &append, batches).await;
        assert_eq!(error.details, details);
        wrongs.bystander.carries_on().await;
    }
    assert_eq!(wrongs.raw.topic("t").await.tail, 0);
    let (append, batches) = append_of(&parts[..MAX_APPEND_PARTS], &commits[..MAX_APPEND_COMMITS]);
    let (answer, _) = wrongs.raw.ask_with(&append, batches).await;
    assert_eq!(answer.parts.len(), MAX_APPEND_PARTS);
    assert_eq!(wrongs.raw.topic("t").await.tail, MAX_APPEND_PARTS as u64);
}

#[tokio::test]
async fn waits_and_counts_over_their_limits_are_refused_with_value_and_limit() {
    let mut wrongs = Wrongs::new().await;
    wrongs.raw.producer("t").await;
    let consumer_id = wrongs.raw.consumer("t", None, Start::Head).await.consumer_id;
    let dequeue = Dequeue { consumer_id, cursor: 0, attempt: 1, max_records: 1, max_wait_ms: 0 };
    for max_wait_ms in [MAX_WAIT_MS + 1, u32::MAX] {
        let details = [u64::from(max_wait_ms), u64::from(MAX_WAIT_MS)];
        let fetch = Fetch { max_wait_ms, ..fetch_of("t", 0) };
        assert_eq!(wrongs.raw.refused(ErrorCode::LimitExceeded, &fetch, Vec::new()).await.details, details);
        let dequeue = Dequeue { max_wait_ms, ..dequeue.clone() };
        assert_eq!(wrongs.raw.refused(ErrorCode::LimitExceeded, &dequeue, Vec::new()).await.details, details);
        wrongs.bystander.carries_on().await;
    }
    let none = Dequeue { max_records: 0, ..dequeue };
    assert_eq!(wrongs.raw.refused(ErrorCode::LimitExceeded, &none, Vec::new()).await.details, [0, 1]);
    for credit in [MAX_CREDIT_BYTES + 1, u64::MAX] {
        let subscribe = subscribe_of("t", Start::Head, credit);
        let error = wrongs.raw.refused(ErrorCode::LimitExceeded, &subscribe, Vec::new()).await;
        assert_eq!(error.details, [credit, MAX_CREDIT_BYTES]);
    }
    wrongs.raw.subscribe("t", Start::Head, MAX_CREDIT_BYTES).await;
    wrongs.bystander.carries_on().await;
}

#[tokio::test]
async fn a_connection_has_up_to_256_subscriptions_and_a_place_is_free_again_when_one_ends() {
    let mut wrongs = Wrongs::new().await;
    wrongs.raw.producer("t").await;
    let mut ids = Vec::new();
    for _ in 0..MAX_SUBSCRIPTIONS {
        ids.push(wrongs.raw.subscribe("t", Start::Head, 1).await.1.subscription_id);
    }
    let one_more = subscribe_of("t", Start::Head, 1);
    wrongs.raw.refused(ErrorCode::TooManySubscriptions, &one_more, Vec::new()).await;
    wrongs.bystander.carries_on().await;
    // The limit is one of the connection.
    let mut other = Raw::open(wrongs.server.address).await;
    other.subscribe("t", Start::Head, 1).await;
    wrongs.raw.ask(&Unsubscribe { subscription_id: ids[100] }).await;
    let again = wrongs.raw.subscribe("t", Start::Head, 1).await.1.subscription_id;
    assert!(!ids.contains(&again), "subscription {again} is another one");
    wrongs.raw.refused(ErrorCode::TooManySubscriptions, &one_more, Vec::new()).await;
}

#[tokio::test]
async fn a_batch_that_does_not_fit_the_frame_that_was_asked_for_is_not_read_and_not_lost() {
    let mut wrongs = Wrongs::new().await;
    let producer = wrongs.raw.producer("t").await;
    let large = "x".repeat(MIN_FRAME_BYTES);
    wrongs.raw.append_each(&producer, 0, &["small", &large, "behind"]).await;
    let small = Hello { max_frame_bytes: narrow(MIN_FRAME_BYTES), ..hello() };
    let (mut raw, _) = Raw::open_with(wrongs.server.address, small).await;

    raw.refused(ErrorCode::AnswerTooLarge, &fetch_of("t", 1), Vec::new()).await;
    let (first, _) = raw.fetch("t", 0).await;
    assert_eq!(first.batch_bytes.len(), 1, "what fits comes");

    let consumer_id = raw.consumer("t", None, Start::Offset(1)).await.consumer_id;
    let dequeue = Dequeue { consumer_id, cursor: 1, attempt: 1, max_records: 1, max_wait_ms: 0 };
    raw.refused(ErrorCode::AnswerTooLarge, &dequeue, Vec::new()).await;
    assert_eq!(raw.consumers("t").await[0].cursor, 1);

    let (subscribed, _) = raw.subscribe("t", Start::Head, 1 << 20).await;
    let (deliver, _) = raw.delivered(subscribed).await;
    assert_eq!(deliver.batch_bytes.len(), 1);
    let end = raw.pushed(subscribed).await.expect_err("the next batch does not fit");
    assert_eq!(end.known(), Some(ErrorCode::AnswerTooLarge));
    raw.is_open().await;
    wrongs.bystander.carries_on().await;

    // With larger frames it is all there, and nothing was dequeued.
    let (answer, found) = wrongs.raw.dequeue(consumer_id, 1, 2, 10).await;
    assert_eq!((answer.next, found.len(), answer.repeated), (3, 2, false));
}

#[tokio::test]
async fn the_largest_batch_that_is_granted_is_appended_and_read_in_every_way() {
    let mut wrongs = Wrongs::new().await;
    let small = Hello { max_frame_bytes: narrow(MIN_FRAME_BYTES), ..hello() };
    let (mut raw, granted) = Raw::open_with(wrongs.server.address, small).await;
    assert_eq!(granted.max_batch_bytes as usize, MIN_FRAME_BYTES - 64);
    let producer = raw.producer("t").await;
    let front = batch(&producer, 0..1, &[""]).len();
    // The length of the record takes two bytes more than that of an empty one.
    let value = "x".repeat(granted.max_batch_bytes as usize - front - 2);
    let largest = batch(&producer, 0..1, &[&value]);
    assert_eq!(largest.len(), granted.max_batch_bytes as usize);
    raw.append(&producer, &largest).await;
    assert_eq!(values(&raw.fetch("t", 0).await.1)[0].1, value);
    let consumer_id = raw.consumer("t", None, Start::Head).await.consumer_id;
    assert_eq!(raw.dequeue(consumer_id, 0, 1, 1).await.1[0].1, value);
    assert_eq!(raw.dequeue(consumer_id, 0, 1, 1).await.1[0].1, value, "again, for a retry");
    let (subscribed, _) = raw.subscribe("t", Start::Head, 1 << 20).await;
    assert_eq!(values(&raw.delivered(subscribed).await.1)[0].1, value);

    // One byte more is for connections with larger frames.
    wrongs.raw.append(&producer, &batch(&producer, 1..2, &[&format!("{value}x")])).await;
    let error = raw.refused(ErrorCode::AnswerTooLarge, &fetch_of("t", 1), Vec::new()).await;
    assert_eq!(error.details, [u64::from(granted.max_batch_bytes) + 1, u64::from(granted.max_batch_bytes)]);
    wrongs.bystander.carries_on().await;
}

#[tokio::test]
async fn an_answer_of_many_small_batches_fits_the_smallest_frame() {
    let wrongs = Wrongs::new().await;
    let small = Hello { max_frame_bytes: narrow(MIN_FRAME_BYTES), ..hello() };
    let (mut raw, granted) = Raw::open_with(wrongs.server.address, small).await;
    let producer = raw.producer("t").await;
    let count = 1000;
    raw.append_each(&producer, 0, &["x"; 1000]).await;
    let one = batch(&producer, 0..1, &["x"]).len();
    let most = (granted.max_batch_bytes as usize + 5) / (one + 5);
    assert!(most < count);
    assert_eq!(raw.fetch("t", 0).await.1.len(), most, "as many as fit");
    let consumer_id = raw.consumer("t", None, Start::Head).await.consumer_id;
    assert_eq!(raw.dequeue(consumer_id, 0, 1, narrow(count)).await.1.len(), most);
}
