//! Dequeue: each record is handed out once, and a retry gets what its first send took.

use connectify::protocol::{DeleteTopic, Dequeue, DequeueAnswer, ErrorCode, Id, Ping, Retention, Start};

use crate::support::{LONG_WAIT_MS, Raw, TestServer, batch, images::directory, values};

/// What a Dequeue says, without its batches: offset, next, tail, repeated.
fn said(answer: &DequeueAnswer) -> (u64, u64, u64, bool) {
    (answer.offset, answer.next, answer.tail, answer.repeated)
}

fn offsets(found: &[(u64, String)]) -> Vec<u64> {
    found.iter().map(|(offset, _)| *offset).collect()
}

/// A connection, and a consumer at the head of a topic with ten records.
async fn ten_records(server: &TestServer) -> (Raw, Id) {
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    raw.append_each(&producer, 0, &["x"; 4]).await;
    raw.append(&producer, &batch(&producer, 4..10, &["x"; 6])).await;
    let id = raw.consumer("t", Some("c"), Start::Head).await.consumer_id;
    (raw, id)
}

fn request(consumer_id: Id, cursor: u64, attempt: u64) -> Dequeue {
    Dequeue { consumer_id, cursor, attempt, max_records: 3, max_wait_ms: 0 }
}

#[tokio::test]
async fn dequeues_hand_out_every_record_once_also_from_within_a_batch() {
    let server = TestServer::ephemeral();
    let (mut raw, id) = ten_records(&server).await;
    let (mut cursor, mut found) = (0, Vec::new());
    for attempt in 1.. {
        let (answer, records) = raw.dequeue(id, cursor, attempt, 3).await;
        assert_eq!((answer.offset, answer.repeated), (cursor, false));
        assert!(answer.next <= cursor + 3);
        found.extend(offsets(&records));
        cursor = answer.next;
        assert_eq!(raw.consumers("t").await[0].cursor, cursor);
        if records.is_empty() {
            break;
        }
    }
    assert_eq!(found, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_same_attempt_again_gets_the_same_records_and_moves_nothing() {
    let server = TestServer::ephemeral();
    let (mut raw, id) = ten_records(&server).await;
    let (first, records) = raw.dequeue(id, 0, 7, 5).await;
    assert_eq!(said(&first), (0, 5, 10, false));
    for max_records in [5, 1, 100] {
        // On another connection, as after a lost one. How many it asks for now does not matter.
        let mut again = Raw::open(server.address).await;
        let (answer, same) = again.dequeue(id, 0, 7, max_records).await;
        assert_eq!(said(&answer), (0, 5, 10, true));
        assert_eq!(same, records);
    }
    assert_eq!(raw.consumers("t").await[0].cursor, 5);
}

#[tokio::test]
async fn another_attempt_at_the_same_cursor_is_refused_with_the_cursor() {
    let server = TestServer::ephemeral();
    let (mut raw, id) = ten_records(&server).await;
    raw.dequeue(id, 0, 7, 3).await;
    for (cursor, attempt) in [(0, 8), (1, 7), (2, 7), (9, 7), (10, 8), (u64::MAX, 7)] {
        let error = raw.refused(ErrorCode::CursorMismatch, &request(id, cursor, attempt), Vec::new()).await;
        assert_eq!(error.details, [3]);
    }
    // Once the cursor has moved on, the attempt is forgotten.
    raw.dequeue(id, 3, 9, 3).await;
    let error = raw.refused(ErrorCode::CursorMismatch, &request(id, 0, 7), Vec::new()).await;
    assert_eq!(error.details, [6]);
    // A commit moves it, too.
    raw.commit(id, 8, false).await;
    let error = raw.refused(ErrorCode::CursorMismatch, &request(id, 3, 9), Vec::new()).await;
    assert_eq!(error.details, [8]);
}

#[tokio::test]
async fn two_processes_that_share_a_consumer_get_each_record_once() {
    let server = TestServer::ephemeral();
    let (mut raw, id) = ten_records(&server).await;
    let share = async |attempts: std::ops::Range<u64>| {
        let (mut own, mut cursor, mut found) = (Raw::open(server.address).await, 0, Vec::new());
        for attempt in attempts {
            match own.try_ask(&Dequeue { max_records: 1, ..request(id, cursor, attempt) }, Vec::new()).await {
                Ok((answer, _)) => {
                    found.extend(answer.offset..answer.next);
                    cursor = answer.next;
                }
                Err(error) => {
                    assert_eq!(error.known(), Some(ErrorCode::CursorMismatch), "{error:?}");
                    cursor = error.details[0];
                }
            }
        }
        found
    };
    let (mut one, other) = tokio::join!(share(0..100), share(1000..1100));
    one.extend(other);
    one.sort_unstable();
    assert_eq!(one, (0..10).collect::<Vec<_>>());
    assert_eq!(raw.consumers("t").await[0].cursor, 10);
}

#[tokio::test]
async fn a_dequeue_waits_for_a_record_and_an_empty_one_is_not_remembered() {
    let server = TestServer::ephemeral();
    let (mut raw, id) = ten_records(&server).await;
    raw.commit(id, 10, false).await;
    let (answer, found) = raw.dequeue(id, 10, 7, 3).await;
    assert_eq!((said(&answer), found.len()), ((10, 10, 10, false), 0));
    // Another attempt at the same place is not refused.
    let waiting = Dequeue { max_wait_ms: LONG_WAIT_MS, ..request(id, 10, 8) };
    let waiting = raw.submit(&waiting, Vec::new()).await;
    raw.ask(&Ping {}).await;
    let mut writer = Raw::open(server.address).await;
    let producer = writer.producer("t").await;
    writer.append_each(&producer, 0, &["new"]).await;
    let (answer, batches) = raw.answered::<Dequeue>(waiting).await.expect("granted");
    assert_eq!(said(&answer), (10, 11, 11, false));
    assert_eq!(values(&batches), [(10, "new".to_owned())]);
}

#[tokio::test]
async fn of_two_that_wait_one_gets_the_record() {
    let server = TestServer::ephemeral();
    let (mut raw, id) = ten_records(&server).await;
    raw.commit(id, 10, false).await;
    let mut waiting = Vec::new();
    for attempt in [7, 8] {
        let mut own = Raw::open(server.address).await;
        let request = Dequeue { max_wait_ms: LONG_WAIT_MS, ..request(id, 10, attempt) };
        let asked = own.submit(&request, Vec::new()).await;
        own.ask(&Ping {}).await;
        waiting.push((own, asked));
    }
    let producer = raw.producer("t").await;
    raw.append_each(&producer, 0, &["new"]).await;
    let mut granted = 0;
    for (mut own, asked) in waiting {
        match own.answered::<Dequeue>(asked).await {
            Ok((answer, _)) => {
                assert_eq!(said(&answer), (10, 11, 11, false));
                granted += 1;
            }
            Err(error) => assert_eq!((error.known(), error.details), (Some(ErrorCode::CursorMismatch), vec![11])),
        }
    }
    assert_eq!(granted, 1);
}

/// It went on waiting for records at the tail while its cursor stood before ten of them.
#[tokio::test]
async fn a_dequeue_that_waits_is_told_at_once_when_its_cursor_is_moved() {
    let server = TestServer::ephemeral();
    let (mut raw, id) = ten_records(&server).await;
    raw.commit(id, 10, false).await;
    let waiting = raw.submit(&Dequeue { max_wait_ms: LONG_WAIT_MS, ..request(id, 10, 7) }, Vec::new()).await;
    raw.ask(&Ping {}).await;
    Raw::open(server.address).await.commit(id, 3, true).await;
    let error = raw.answered::<Dequeue>(waiting).await.expect_err("the cursor is elsewhere");
    assert_eq!((error.known(), error.details), (Some(ErrorCode::CursorMismatch), vec![3]));
}

#[tokio::test]
async fn a_dequeue_that_waits_is_told_when_its_topic_is_deleted() {
    let server = TestServer::ephemeral();
    let (mut raw, id) = ten_records(&server).await;
    raw.commit(id, 10, false).await;
    let waiting = raw.submit(&Dequeue { max_wait_ms: LONG_WAIT_MS, ..request(id, 10, 7) }, Vec::new()).await;
    raw.ask(&Ping {}).await;
    Raw::open(server.address).await.ask(&DeleteTopic { topic: "t".to_owned(), if_present: false }).await;
    let error = raw.answered::<Dequeue>(waiting).await.expect_err("the topic is gone");
    let code = error.known().expect("a code of this version");
    assert!(matches!(code, ErrorCode::UnknownConsumer | ErrorCode::UnknownTopic), "{error:?}");
}

#[tokio::test]
async fn a_dequeue_across_what_retention_took_begins_at_the_head() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    raw.create_topic("t", Retention { bytes: Some(1000), age_ms: None }).await;
    let producer = raw.producer("t").await;
    let id = raw.consumer("t", None, Start::Head).await.consumer_id;
    raw.append_each(&producer, 0, &["some value"; 40]).await;
    let head = raw.topic("t").await.head;
    assert!(head > 0);
    let (answer, found) = raw.dequeue(id, 0, 7, 3).await;
    assert_eq!(said(&answer), (head, head + 3, 40, false));
    assert_eq!(offsets(&found), (head..head + 3).collect::<Vec<_>>());
    // The retry names the cursor that it named before.
    let (answer, same) = raw.dequeue(id, 0, 7, 3).await;
    assert_eq!((said(&answer), same), ((head, head + 3, 40, true), found));
}

#[tokio::test]
async fn a_repeated_dequeue_gets_what_retention_has_left_of_it() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    raw.create_topic("t", Retention { bytes: Some(1000), age_ms: None }).await;
    let producer = raw.producer("t").await;
    let id = raw.consumer("t", None, Start::Head).await.consumer_id;
    raw.append_each(&producer, 0, &["some value"; 8]).await;
    let (first, found) = raw.dequeue(id, 0, 7, 8).await;
    assert_eq!((said(&first), found.len()), ((0, 8, 8, false), 8));
    // Until some of them are gone, and then all.
    let mut sequence = 8;
    for gone in [1, 8] {
        while raw.topic("t").await.head < gone {
            raw.append_each(&producer, sequence, &["some value"]).await;
            sequence += 1;
        }
        let head = raw.topic("t").await.head;
        let (answer, found) = raw.dequeue(id, 0, 7, 8).await;
        assert_eq!((answer.next, answer.repeated), (8, true));
        assert_eq!(answer.offset, head.min(8), "it begins at what is left");
        assert_eq!(offsets(&found), (head.min(8)..8).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_dequeue_is_remembered_over_a_restart() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let (mut raw, id) = ten_records(&server).await;
    let (_, records) = raw.dequeue(id, 0, 7, 5).await;
    server.stop().await;
    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    let (answer, same) = raw.dequeue(id, 0, 7, 5).await;
    assert_eq!((said(&answer), same), ((0, 5, 10, true), records));
    let error = raw.refused(ErrorCode::CursorMismatch, &request(id, 0, 8), Vec::new()).await;
    assert_eq!(error.details, [5]);
}
