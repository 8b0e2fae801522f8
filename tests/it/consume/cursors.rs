//! Consumers: registration, commits, backlogs.

use connectify::protocol::{
    Backlog, Commit, CreateTopic, DeleteTopic, ErrorCode, Id, RegisterConsumer, Retention, Start, encode_request,
};

use crate::support::{Raw, TestServer, append_of, batch, images::directory, requests::subscribe_of};

async fn backlog(raw: &mut Raw, consumer_id: Id) -> (u64, u64, u64, u64) {
    let answer = raw.ask(&Backlog { consumer_id }).await;
    (answer.backlog, answer.cursor, answer.head, answer.tail)
}

#[tokio::test]
async fn a_consumer_starts_where_it_is_told_once_and_stays_where_it_is_when_it_comes_again() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    raw.append_each(&producer, 0, &["x"; 10]).await;
    for (name, start, cursor) in [("h", Start::Head, 0), ("t", Start::Tail, 10), ("o", Start::Offset(4), 4)] {
        let first = raw.consumer("t", Some(name), start).await;
        assert_eq!((first.cursor, first.existed), (cursor, false));
        let again = raw.consumer("t", Some(name), Start::Offset(7)).await;
        assert_eq!((again.consumer_id, again.cursor, again.existed), (first.consumer_id, cursor, true));
    }
    let unnamed = [raw.consumer("t", None, Start::Head).await, raw.consumer("t", None, Start::Head).await];
    assert_ne!(unnamed[0].consumer_id, unnamed[1].consumer_id);
    raw.producer("u").await;
    assert!(!raw.consumer("u", Some("h"), Start::Head).await.existed, "a name belongs to its topic");
    let names: Vec<_> = raw.consumers("t").await.into_iter().map(|consumer| consumer.name).collect();
    assert_eq!(names[..3], ["h", "o", "t"].map(|name| Some(name.to_owned())));
    assert_eq!(names[3..], [None, None]);
}

#[tokio::test]
async fn commits_move_forward_and_only_a_rewind_moves_back() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    raw.append_each(&producer, 0, &["x"; 10]).await;
    let id = raw.consumer("t", Some("c"), Start::Head).await.consumer_id;
    for (offset, rewind, cursor) in [
        (3, false, 3),
        (1, false, 3),
        (3, false, 3),
        (3, true, 3),
        (10, false, 10),
        (4, true, 4),
        (6, true, 6),
        (0, true, 0),
    ] {
        assert_eq!(raw.commit(id, offset, rewind).await, cursor);
        assert_eq!(backlog(&mut raw, id).await, (10 - cursor, cursor, 0, 10));
        assert_eq!(raw.consumers("t").await[0].cursor, cursor);
        let (_, subscribed) = raw.subscribe("t", Start::Cursor(id), 0).await;
        assert_eq!(subscribed.offset, cursor, "a subscription may start at the cursor");
    }
}

#[tokio::test]
async fn a_backlog_is_what_is_left_to_read() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    raw.create_topic("t", Retention { bytes: Some(1000), age_ms: None }).await;
    let producer = raw.producer("t").await;
    let id = raw.consumer("t", Some("c"), Start::Head).await.consumer_id;
    assert_eq!(backlog(&mut raw, id).await, (0, 0, 0, 0));
    raw.append_each(&producer, 0, &["some value"; 3]).await;
    assert_eq!(backlog(&mut raw, id).await, (3, 0, 0, 3));
    raw.append_each(&producer, 3, &["some value"; 37]).await;
    // What retention took is not left to read, and the cursor stays.
    let head = raw.topic("t").await.head;
    assert!(head > 0);
    assert_eq!(backlog(&mut raw, id).await, (40 - head, 0, head, 40));
    let described = raw.consumers("t").await.remove(0);
    assert_eq!((described.cursor, described.backlog), (0, 40 - head));
    raw.commit(id, 40, false).await;
    assert_eq!(backlog(&mut raw, id).await, (0, 40, head, 40));
}

#[tokio::test]
async fn a_subscription_does_not_move_the_cursor_it_starts_at() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    raw.append_each(&producer, 0, &["x"; 10]).await;
    let id = raw.consumer("t", Some("c"), Start::Offset(5)).await.consumer_id;
    let (subscribed, _) = raw.subscribe("t", Start::Cursor(id), 1 << 20).await;
    raw.delivered(subscribed).await;
    assert_eq!(raw.consumers("t").await[0].cursor, 5);
}

#[tokio::test]
async fn a_name_gives_the_same_consumer_and_cursor_after_a_restart() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    raw.append_each(&producer, 0, &["x"; 10]).await;
    let named = raw.consumer("t", Some("c"), Start::Head).await;
    let unnamed = raw.consumer("t", None, Start::Offset(2)).await;
    raw.commit(named.consumer_id, 7, false).await;
    server.stop().await;

    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    let again = raw.consumer("t", Some("c"), Start::Head).await;
    assert_eq!((again.consumer_id, again.cursor, again.existed), (named.consumer_id, 7, true));
    assert_eq!(backlog(&mut raw, unnamed.consumer_id).await, (8, 2, 0, 10));
}

#[tokio::test]
async fn consumers_go_with_their_topic() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    raw.producer("t").await;
    let consumer_id = raw.consumer("t", Some("c"), Start::Head).await.consumer_id;
    raw.ask(&DeleteTopic { topic: "t".to_owned(), if_present: false }).await;
    for _ in 0..2 {
        let unknown = ErrorCode::UnknownConsumer;
        raw.refused(unknown, &Backlog { consumer_id }, Vec::new()).await;
        raw.refused(unknown, &Commit { consumer_id, offset: 0, rewind: false }, Vec::new()).await;
        raw.producer("t").await;
        raw.refused(unknown, &subscribe_of("t", Start::Cursor(consumer_id), 1), Vec::new()).await;
    }
    assert!(!raw.consumer("t", Some("c"), Start::Head).await.existed);
}

/// A topic was made and a consumer registered in one go, and the consumer was told that there is no such topic.
#[tokio::test]
async fn a_registration_sees_what_was_sent_before_it_on_the_same_connection() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    for round in 0..20 {
        let topic = format!("t{round}");
        let create = CreateTopic { topic: topic.clone(), retention: Retention::default(), if_absent: false };
        let created = encode_request(&create, raw.next_id(), Vec::new()).to_bytes();
        let register = RegisterConsumer { topic, name: None, start: Start::Head };
        let first = raw.next_id();
        let registered = encode_request(&register, first, Vec::new()).to_bytes();
        let part = (producer.topic_id, batch(&producer, round..round + 1, &["x"]));
        let (append, batches) = append_of(&[part], &[]);
        let appended = encode_request(&append, raw.next_id(), batches).to_bytes();
        let at_tail = RegisterConsumer { topic: "t".to_owned(), name: None, start: Start::Tail };
        let second = raw.next_id();
        let at_tail = encode_request(&at_tail, second, Vec::new()).to_bytes();
        raw.send(&[&created[..], &registered, &appended, &at_tail].concat()).await;
        raw.answered::<RegisterConsumer>(first).await.expect("the topic was made before");
        let (registered, _) = raw.answered::<RegisterConsumer>(second).await.expect("registers");
        assert_eq!(registered.cursor, round + 1, "behind the record that was sent before");
    }
}
