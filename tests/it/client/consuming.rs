//! Consumers of the public client.

use std::time::Duration;

use connectify::{
    Offset, Record,
    client::{Client, Error, ErrorCode, FetchOptions, Producer, Retention, Start},
};
use futures::StreamExt;

use super::{client, numbers, record, text};
use crate::support::{PATIENCE, TestServer, images::directory, within};

async fn filled(client: &Client, count: u64) -> Producer {
    let producer =
        client.producer("t").create_topic(Retention::default()).batch_bytes(100).open().await.expect("opens");
    for number in 0..count {
        drop(producer.enqueue(record(number)).await.expect("room"));
    }
    producer.flush().await.expect("durable");
    producer
}

#[tokio::test]
async fn a_stream_gives_what_is_stored_and_what_comes_in_order() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let producer = filled(&client, 300).await;
    let consumer = client.consumer("t").credit_bytes(200).open().await.expect("opens");
    let read = consumer.take(600).map(|record| text(&record.expect("good").record)).collect::<Vec<_>>();
    let write = async {
        for number in 300..600 {
            producer.send(record(number)).await.expect("durable");
        }
    };
    let (found, ()) = within("all of it", async { tokio::join!(read, write) }).await;
    assert_eq!(found, numbers(0..600));
}

#[tokio::test]
async fn a_named_consumer_goes_on_at_its_cursor_also_after_a_restart() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let address = server.address;
    {
        let client = client(address).await;
        filled(&client, 20).await.close().await.expect("durable");
        let mut consumer = client.consumer("t").name("c").open().await.expect("opens");
        for number in 0..5 {
            assert_eq!(text(&consumer.next_record().await.expect("good").expect("no end").record), number.to_string());
        }
        assert_eq!(consumer.commit(consumer.position()).await.expect("committed").0, 5);
        // Read on, without a commit.
        consumer.next_record().await.expect("good");
        assert_eq!((consumer.position().0, consumer.backlog().await.expect("known")), (6, 15));
        let again = client.consumer("t").name("c").open().await.expect("opens");
        assert_eq!((again.position().0, again.id().await.expect("known")), (5, consumer.id().await.expect("known")));
    }
    server.stop().await;
    let server = TestServer::on(directory.path());
    let client = client(server.address).await;
    let mut consumer = client.consumer("t").name("c").start(Start::Tail).open().await.expect("opens");
    assert_eq!(text(&consumer.next_record().await.expect("good").expect("no end").record), "5");
    // Forward only, unless it is a rewind.
    assert_eq!(consumer.commit(Offset(3)).await.expect("committed").0, 5);
    assert_eq!(consumer.rewind(Offset(3)).await.expect("committed").0, 3);
    assert_eq!(consumer.position().0, 6);
}

#[tokio::test]
async fn a_consumer_seeks_and_knows_how_far_behind_it_is() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let producer = filled(&client, 100).await;
    let mut consumer = client.consumer("t").start(Start::Offset(90)).open().await.expect("opens");
    assert_eq!((consumer.position().0, consumer.lag(), consumer.head().0, consumer.tail().0), (90, 10, 0, 100));
    let time = consumer.next_record().await.expect("good").expect("no end").append_time;
    assert_eq!((consumer.position().0, consumer.lag()), (91, 9));
    for (start, position) in [(Start::Head, 0), (Start::Offset(37), 37), (Start::Tail, 100), (Start::Offset(99), 99)] {
        consumer.seek(start).await.expect("a place");
        assert_eq!((consumer.position().0, consumer.lag()), (position, 100 - position));
        if position < 100 {
            let found = consumer.next_record().await.expect("good").expect("no end");
            assert_eq!((found.offset.0, text(&found.record)), (position, position.to_string()));
        }
    }
    consumer.seek(Start::Timestamp(time.0)).await.expect("a place");
    assert!(consumer.position().0 <= 90);
    // Beyond the tail there is nothing to be read, which shows by the first read at the latest.
    let beyond = match consumer.seek(Start::Offset(101)).await {
        Ok(()) => within("a refusal", consumer.next_record()).await.expect_err("beyond the tail"),
        Err(error) => error,
    };
    assert_eq!(beyond.code(), Some(ErrorCode::OffsetBeyondTail));
    // A consumer at the tail waits for what comes.
    consumer.seek(Start::Tail).await.expect("a place");
    let (found, sent) = tokio::join!(within("the next one", consumer.next_record()), producer.send(record(100)));
    assert_eq!((found.expect("good").expect("no end").offset, sent.expect("durable")), (Offset(100), Offset(100)));
}

#[tokio::test]
async fn consumers_that_share_a_name_dequeue_each_record_once() {
    let server = TestServer::ephemeral();
    let (one, other) = (client(server.address).await, client(server.address).await);
    filled(&one, 100).await;
    let drain = async |client: &Client| {
        let mut consumer = client.consumer("t").name("shared").open().await.expect("opens");
        let mut found = Vec::new();
        loop {
            let records = within("a dequeue", consumer.dequeue(3, Duration::ZERO)).await.expect("granted");
            if records.is_empty() {
                return found;
            }
            found.extend(records.into_iter().map(|record| record.offset.0));
        }
    };
    let (mut found, others) = tokio::join!(drain(&one), drain(&other));
    found.extend(others);
    found.sort_unstable();
    assert_eq!(found, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_dequeue_waits_for_the_next_record() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let producer = filled(&client, 0).await;
    let mut consumer = client.consumer("t").open().await.expect("opens");
    assert!(consumer.dequeue(5, Duration::ZERO).await.expect("granted").is_empty());
    let (found, sent) = tokio::join!(within("the next one", consumer.dequeue(5, PATIENCE)), producer.send(record(0)));
    assert_eq!(found.expect("granted")[0].offset, sent.expect("durable"));
    assert!(consumer.dequeue(0, Duration::ZERO).await.is_err());
}

/// A topic that keeps little, a consumer at its beginning, and records until that is gone.
async fn overtaken(client: &Client) -> (Producer, u64, u64) {
    let retention = Retention { bytes: Some(1000), age_ms: None };
    let producer = client.producer("t").create_topic(retention).open().await.expect("opens");
    for number in 0..40 {
        producer.send(record(number)).await.expect("durable");
    }
    let topic = client.describe_topic("t").await.expect("described").topic;
    assert!(topic.head > 0);
    (producer, topic.head, topic.tail)
}

#[tokio::test]
async fn what_retention_took_is_a_gap_once_and_reading_goes_on_behind_it() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    client.create_topic("t", Retention { bytes: Some(1000), age_ms: None }).await.expect("made");
    let mut streaming = client.consumer("t").start(Start::Offset(0)).open().await.expect("opens");
    let mut dequeuing = client.consumer("t").name("d").start(Start::Offset(0)).open().await.expect("opens");
    let (_, head, tail) = overtaken(&client).await;
    let mut found = Vec::new();
    let mut missing = 0;
    while found.len() as u64 + missing < tail {
        match within("a record or a gap", streaming.next_record()).await {
            Ok(record) => found.push(record.expect("no end").offset.0),
            Err(Error::Gap { from, to }) => {
                assert_eq!((from.0, found.len()), (missing, 0), "gaps follow each other");
                missing = to.0;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((missing, found), (head, (head..tail).collect::<Vec<_>>()));

    let gap = dequeuing.dequeue(3, Duration::ZERO).await.expect_err("the first ones are gone");
    assert!(matches!(gap, Error::Gap { from: Offset(0), to } if to.0 == head), "{gap:?}");
    let records = dequeuing.dequeue(3, Duration::ZERO).await.expect("granted");
    assert_eq!(records.iter().map(|record| record.offset.0).collect::<Vec<_>>(), (head..head + 3).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_topic_that_is_deleted_ends_the_stream_with_an_error() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let producer = filled(&client, 1).await;
    let mut consumer = client.consumer("t").open().await.expect("opens");
    consumer.next_record().await.expect("good").expect("no end");
    let delete = async {
        assert!(client.delete_topic("t").await.expect("deleted"));
    };
    let (end, ()) = tokio::join!(within("the end", consumer.next_record()), delete);
    assert_eq!(end.expect_err("the topic is gone").code(), Some(ErrorCode::UnknownTopic));
    assert!(consumer.next_record().await.expect("the end").is_none());
    let error = within("a refusal", producer.send(record(1))).await.expect_err("the topic is gone");
    assert!(matches!(error.code(), Some(ErrorCode::UnknownTopic | ErrorCode::UnknownProducer)), "{error:?}");
}

#[tokio::test]
async fn fetches_read_without_a_consumer() {
    let server = TestServer::ephemeral();
    let client = client(server.address).await;
    let producer = client.producer("t").create_topic(Retention::default()).open().await.expect("opens");
    for number in 0..3 {
        producer.send_all(vec![record(number), Record::new("more")], &[]).await.expect("durable");
    }
    let fetched = client.fetch("t", Offset(3), FetchOptions::default()).await.expect("granted");
    assert_eq!((fetched.head.0, fetched.tail.0, fetched.batches.len()), (0, 6, 2));
    assert_eq!(fetched.batches[0].header().stamp.base_offset.0, 2, "the batch that holds it comes whole");
    let one = client.fetch("t", Offset(0), FetchOptions::default().with_max_bytes(1)).await.expect("granted");
    assert_eq!(one.batches.len(), 1);
    let waiting = client.fetch("t", Offset(6), FetchOptions::default().with_max_wait(PATIENCE));
    let (woken, _) = tokio::join!(within("what comes", waiting), producer.send(record(6)));
    assert_eq!(woken.expect("granted").batches.len(), 1);
    let error = client.fetch("t", Offset(99), FetchOptions::default()).await.expect_err("beyond the tail");
    assert_eq!(error.code(), Some(ErrorCode::OffsetBeyondTail));
}
