//! Producers of the public client.

use std::num::NonZeroU64;

use connectify::{
    Compression, Offset, Record, Timestamp,
    client::{Error, ErrorCode, Retention, Start, TryEnqueueError},
    limits::{MAX_BATCH_RECORDS, MAX_KEY_BYTES, MAX_RECORD_BYTES},
    record::Sequence,
};

use super::{all_of, client, numbers, record};
use crate::support::{TestServer, within};

#[tokio::test]
async fn records_are_durable_in_order_however_they_are_handed_over() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let producer = client.producer("t").create_topic(Retention::default()).open().await.expect("opens");
    assert_eq!((producer.epoch().0, producer.last_sequence().0), (0, 0));
    for number in 0..10 {
        assert_eq!(producer.send(record(number)).await.expect("durable").0, number);
    }
    let mut tickets = Vec::new();
    for number in 10..500 {
        tickets.push(producer.enqueue(record(number)).await.expect("room"));
    }
    for number in 500..510 {
        tickets.push(producer.try_enqueue(record(number)).expect("room"));
    }
    within("flush", producer.flush()).await.expect("durable");
    assert_eq!(client.describe_topic("t").await.expect("described").topic.tail, 510);
    for (number, ticket) in (10..).zip(tickets) {
        assert_eq!(ticket.await.expect("durable").0, number);
    }
    let range = producer.send_all((510..520).map(record).collect(), &[]).await.expect("durable");
    assert_eq!((range.start.0, range.end.0), (510, 520));
    drop(producer.enqueue(record(520)).await.expect("room"));
    within("close", producer.close()).await.expect("durable");
    assert_eq!(all_of(&client, "t").await, numbers(0..521));
}

#[tokio::test]
async fn a_window_that_is_full_gives_the_record_back_or_makes_the_caller_wait() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let builder = client.producer("t").create_topic(Retention::default()).window_bytes(1000);
    let producer = builder.open().await.expect("opens");
    let large = Record::new("x".repeat(900));
    // Nothing else runs between these two.
    let first = producer.try_enqueue(large.clone()).expect("room");
    match producer.try_enqueue(large.clone()) {
        Err(TryEnqueueError::Full(back)) => assert_eq!(back, large),
        other => panic!("the window holds one of them: {other:?}"),
    }
    let second = within("room", producer.enqueue(large)).await.expect("room once the first is durable");
    assert_eq!((first.await.expect("durable").0, second.await.expect("durable").0), (0, 1));
    // Larger than the window, it has the window to itself.
    let huge = within("room", producer.send(Record::new("x".repeat(10_000)))).await.expect("durable");
    assert_eq!(huge.0, 2);
}

#[tokio::test]
async fn two_producers_of_one_topic_each_keep_their_order() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let produce = async |name: &str| {
        let producer = client.producer("t").create_topic(Retention::default()).name(name).open().await.expect("opens");
        for number in 0..300 {
            drop(producer.enqueue(Record::new(format!("{name} {number}"))).await.expect("room"));
        }
        producer.close().await.expect("durable");
    };
    tokio::join!(produce("a"), produce("b"));
    let found = all_of(&client, "t").await;
    assert_eq!(found.len(), 600);
    for name in ["a", "b"] {
        let own: Vec<_> = found.iter().filter(|value| value.starts_with(name)).cloned().collect();
        assert_eq!(own, (0..300).map(|number| format!("{name} {number}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_named_producer_goes_on_behind_what_is_stored_and_fences_the_one_before() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let open = async || {
        let builder = client.producer("t").create_topic(Retention::default()).name("agent");
        builder.open().await.expect("opens")
    };
    let old = open().await;
    for number in 0..7 {
        old.send(record(number)).await.expect("durable");
    }
    let new = open().await;
    assert_eq!((new.id(), new.epoch().0, new.last_sequence().0), (old.id(), 1, 7));
    new.send(record(new.last_sequence().0)).await.expect("durable");
    let fenced = within("the fenced one", old.send(record(99))).await.expect_err("another one took the name");
    assert_eq!(fenced.code(), Some(ErrorCode::ProducerFenced));
    assert!(!fenced.is_retryable() && !fenced.may_have_applied(), "{fenced:?}");
    old.flush().await.expect_err("it has ended");
    assert_eq!(all_of(&client, "t").await, numbers(0..8));
    let state = client.producer_state(new.id()).await.expect("known");
    assert_eq!((state.name.as_deref(), state.epoch, state.last_sequence), (Some("agent"), 1, 8));
}

#[tokio::test]
async fn records_come_back_with_everything_they_had_however_they_are_compressed() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let topic = format!("{compression:?}");
        let builder = client.producer(&topic).create_topic(Retention::default()).compression(compression);
        let producer = builder.open().await.expect("opens");
        let records = vec![
            Record::new("again and again ".repeat(50)).key("k").timestamp(Timestamp(5)),
            Record::new("").key("").timestamp(Timestamp(u64::MAX >> 1)),
            Record::new(vec![0, 159, 146, 150]).header("a", "1").header("a", vec![0xff]).timestamp(Timestamp(0)),
            Record::new("x").key(vec![7; MAX_KEY_BYTES]).header("", "").timestamp(Timestamp(3)),
        ];
        producer.send_all(records.clone(), &[]).await.expect("durable");
        let mut consumer = client.consumer(&topic).open().await.expect("opens");
        for (offset, record) in (0..).zip(records) {
            let found = consumer.next_record().await.expect("good").expect("no end");
            assert_eq!((found.offset.0, &found.record), (offset, &record));
            assert!(found.append_time.0 > 0);
        }
    }
}

#[tokio::test]
async fn a_record_over_a_limit_fails_alone() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let producer = client.producer("t").create_topic(Retention::default()).open().await.expect("opens");
    let before = producer.enqueue(record(0)).await.expect("room");
    for bad in [
        Record::new(vec![0; MAX_RECORD_BYTES]),
        Record::new("x").key(vec![0; MAX_KEY_BYTES + 1]),
        Record::new("x").header("n".repeat(256), ""),
    ] {
        let error = producer.send(bad).await.expect_err("over a limit");
        assert!(matches!(error, Error::Record(_)) && !error.may_have_applied(), "{error:?}");
    }
    let error = producer.send_all(vec![], &[]).await.expect_err("nothing to send");
    assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
    let error = producer.send_all(vec![record(0); MAX_BATCH_RECORDS + 1], &[]).await.expect_err("too many");
    assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
    before.await.expect("durable");
    let largest = Record::new(vec![b'x'; MAX_RECORD_BYTES - 16]);
    assert_eq!(within("the largest", producer.send(largest)).await.expect("durable").0, 1);
    assert_eq!(producer.send(record(2)).await.expect("durable").0, 2);
}

#[tokio::test]
async fn reading_transforming_and_writing_is_exact_when_cursor_and_results_move_together() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let source = client.producer("source").create_topic(Retention::default()).open().await.expect("opens");
    source.send_all((0..20).map(record).collect(), &[]).await.expect("durable");
    // Each life ends after some records, and with one that was read and not written.
    for life in 1..=5 {
        let sink = client.producer("sink").create_topic(Retention::default()).name("job").open().await.expect("opens");
        let mut consumer = client.consumer("source").name("job").open().await.expect("opens");
        for _ in 0..life {
            let read = consumer.next_record().await.expect("good").expect("no end");
            let moved = consumer.cursor_move(read.offset.plus(1)).await.expect("registered");
            sink.send_all(vec![read.record], &[moved]).await.expect("durable");
        }
        consumer.next_record().await.expect("good").expect("no end");
    }
    assert_eq!(all_of(&client, "sink").await, numbers(0..15));

    // A cursor that is refused refuses its records, and the producer goes on.
    let sink = client.producer("sink").name("job").open().await.expect("opens");
    let consumer = client.consumer("source").name("job").open().await.expect("opens");
    let beyond = consumer.cursor_move(Offset(21)).await.expect("registered");
    let error = sink.send_all(vec![record(77)], &[beyond]).await.expect_err("beyond the tail");
    assert_eq!(error.code(), Some(ErrorCode::OffsetBeyondTail));
    sink.send(record(15)).await.expect("durable");
    assert_eq!(all_of(&client, "sink").await, numbers(0..16));
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_made_only_when_asked_for() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let error = client.producer("t").open().await.expect_err("there is none");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    let error = client.consumer("t").open().await.expect_err("there is none");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    let retention = Retention { bytes: Some(1 << 20), age_ms: None };
    client.producer("t").create_topic(retention.clone()).open().await.expect("made");
    assert_eq!(client.describe_topic("t").await.expect("described").topic.retention, retention);
    client.consumer("t").start(Start::Tail).open().await.expect("exists");
    for name in ["", "a/b", ".."] {
        let error = client.producer(name).open().await.expect_err("not a name");
        assert!(matches!(error, Error::InvalidName { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_producer_that_counts_bytes_of_a_file_goes_on_where_it_was() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let open = || client.producer("t").name("file").create_topic(Retention::default()).open();
    let producer = open().await.expect("opens");
    let units = |bytes| NonZeroU64::new(bytes).expect("not 0");
    let first = producer.enqueue_units(&[record(0), record(1)], units(1000)).await.expect("taken");
    let second = producer.enqueue_units(&[record(2)], units(1 << 40)).await.expect("taken");
    assert_eq!((first.await.expect("durable"), second.await.expect("durable")), (Offset(0), Offset(2)));
    let error = producer.enqueue_units(&[], units(1)).await.expect_err("a batch holds a record");
    assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
    let next = open().await.expect("opens");
    assert_eq!(next.last_sequence(), Sequence((1 << 40) + 1000));
    let listed = client.list_producers("t", "fi").await.expect("listed");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].last_sequence, listed[0].last_offset), ((1 << 40) + 1000, Some(2)));
    assert!(client.forget_producer(next.id()).await.expect("answered"));
    assert_eq!(client.list_producers("t", "").await.expect("listed"), []);
    next.enqueue_units(&[record(3)], units(1)).await.expect("taken").await.expect_err("it is forgotten");
}
