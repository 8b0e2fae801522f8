//! Offsets before the head and beyond the tail, wherever a request has one.

use connectify::protocol::{Commit, CursorMove, ErrorCode, RegisterConsumer, RegisterProducerAnswer, Retention, Start};

use super::Wrongs;
use crate::support::{
    append_of, batch,
    requests::{fetch_of, subscribe_of},
};

const TOPIC: &str = "trimmed";

/// Makes a topic that has lost some records to retention; gives its producer, head and tail.
async fn trimmed_topic(wrongs: &mut Wrongs) -> (RegisterProducerAnswer, u64, u64) {
    let raw = &mut wrongs.raw;
    raw.create_topic(TOPIC, Retention { bytes: Some(1000), age_ms: None }).await;
    let producer = raw.producer(TOPIC).await;
    raw.append_each(&producer, 0, &["some value"; 40]).await;
    let info = raw.topic(TOPIC).await;
    assert!(0 < info.head && info.head < info.tail, "{info:?}");
    (producer, info.head, info.tail)
}

#[tokio::test]
async fn fetches_outside_of_head_and_tail_are_refused_with_both() {
    let mut wrongs = Wrongs::new().await;
    let (_, head, tail) = trimmed_topic(&mut wrongs).await;
    let cases = [
        (0, ErrorCode::OffsetBeforeHead),
        (head - 1, ErrorCode::OffsetBeforeHead),
        (tail + 1, ErrorCode::OffsetBeyondTail),
        (u64::MAX, ErrorCode::OffsetBeyondTail),
    ];
    for (offset, code) in cases {
        for max_wait_ms in [0, 60_000] {
            let fetch = connectify::protocol::Fetch { max_wait_ms, ..fetch_of(TOPIC, offset) };
            let error = wrongs.raw.refused(code, &fetch, Vec::new()).await;
            assert_eq!(error.details, [head, tail]);
            wrongs.bystander.carries_on().await;
        }
    }
    for offset in [head, tail - 1, tail] {
        let (answer, batches) = wrongs.raw.fetch(TOPIC, offset).await;
        assert_eq!((answer.head, answer.tail, batches.is_empty()), (head, tail, offset == tail));
    }
}

#[tokio::test]
async fn subscriptions_beyond_the_tail_are_refused_and_those_before_the_head_begin_with_a_gap() {
    let mut wrongs = Wrongs::new().await;
    let (_, head, tail) = trimmed_topic(&mut wrongs).await;
    for offset in [tail + 1, u64::MAX] {
        let subscribe = subscribe_of(TOPIC, Start::Offset(offset), 1000);
        let error = wrongs.raw.refused(ErrorCode::OffsetBeyondTail, &subscribe, Vec::new()).await;
        assert_eq!(error.details, [head, tail]);
    }
    let (id, answer) = wrongs.raw.subscribe(TOPIC, Start::Offset(2), 1).await;
    let first = if answer.offset == 2 {
        let (deliver, batches) = wrongs.raw.delivered(id).await;
        let gap = deliver.gap.expect("the first records are gone");
        assert_eq!((gap.from, gap.to, batches.len()), (2, head, 0));
        gap.to
    } else {
        answer.offset
    };
    assert_eq!(first, head);
    wrongs.bystander.carries_on().await;
}

#[tokio::test]
async fn cursors_are_not_put_beyond_the_tail_nor_rewound_before_the_head() {
    let mut wrongs = Wrongs::new().await;
    let (producer, head, tail) = trimmed_topic(&mut wrongs).await;
    let consumer_id = wrongs.raw.consumer(TOPIC, Some("c"), Start::Head).await.consumer_id;
    for (offset, rewind, code) in [
        (tail + 1, false, ErrorCode::OffsetBeyondTail),
        (tail + 1, true, ErrorCode::OffsetBeyondTail),
        (u64::MAX, false, ErrorCode::OffsetBeyondTail),
        (head - 1, true, ErrorCode::OffsetBeforeHead),
        (0, true, ErrorCode::OffsetBeforeHead),
    ] {
        let error = wrongs.raw.refused(code, &Commit { consumer_id, offset, rewind }, Vec::new()).await;
        assert_eq!(error.details, [head, tail]);
        wrongs.bystander.carries_on().await;
    }
    for offset in [tail + 2, u64::MAX] {
        let parts = [(producer.topic_id, batch(&producer, tail..tail + 1, &["x"]))];
        let (append, batches) = append_of(&parts, &[CursorMove { consumer_id, offset }]);
        wrongs.raw.refused(ErrorCode::OffsetBeyondTail, &append, batches).await;
    }
    assert_eq!(wrongs.raw.consumers(TOPIC).await[0].cursor, head);
    // Without rewind an offset before the head is behind the cursor, which stays.
    assert_eq!(wrongs.raw.commit(consumer_id, 0, false).await, head);
    assert_eq!(wrongs.raw.topic(TOPIC).await.tail, tail);
}

#[tokio::test]
async fn consumers_do_not_start_beyond_the_tail_nor_at_a_cursor() {
    let mut wrongs = Wrongs::new().await;
    let (_, head, tail) = trimmed_topic(&mut wrongs).await;
    let at = |start| RegisterConsumer { topic: TOPIC.to_owned(), name: Some("c".to_owned()), start };
    for offset in [tail + 1, u64::MAX] {
        let error = wrongs.raw.refused(ErrorCode::OffsetBeyondTail, &at(Start::Offset(offset)), Vec::new()).await;
        assert_eq!(error.details, [head, tail]);
        wrongs.bystander.carries_on().await;
    }
    wrongs.raw.refused(ErrorCode::MalformedBody, &at(Start::Cursor([0; 16])), Vec::new()).await;
    assert_eq!(wrongs.raw.topic(TOPIC).await.consumers, 0);
    // Before the head is allowed: the first read finds the gap.
    let answer = wrongs.raw.ask(&at(Start::Offset(1))).await;
    assert_eq!((answer.cursor, answer.existed), (1, false));
    // One that exists stays where it is, wherever it is told to start.
    let answer = wrongs.raw.ask(&at(Start::Offset(tail))).await;
    assert_eq!((answer.cursor, answer.existed), (1, true));
}
