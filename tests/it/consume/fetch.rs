//! Fetch, its long poll, and finding a place by time.

use connectify::{
    protocol::{DeleteTopic, ErrorCode, Fetch, OffsetForTimestamp, Ping, Start},
    record::{BatchHeader, Stamp},
};

use crate::support::{LONG_WAIT_MS, Raw, TestServer, batch, config, requests::fetch_of, values};

fn waiting_fetch(offset: u64) -> Fetch {
    Fetch { max_wait_ms: LONG_WAIT_MS, ..fetch_of("t", offset) }
}

#[tokio::test]
async fn a_fetch_at_the_tail_that_does_not_wait_is_empty() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    for count in 0..3 {
        let (answer, batches) = raw.fetch("t", count).await;
        assert_eq!((answer.head, answer.tail, batches.len()), (0, count, 0));
        raw.append_each(&producer, count, &["x"]).await;
    }
}

#[tokio::test]
async fn a_fetch_that_waits_a_little_is_empty_when_nothing_comes() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    raw.producer("t").await;
    let (answer, batches) = raw.ask_with(&Fetch { max_wait_ms: 1, ..fetch_of("t", 0) }, Vec::new()).await;
    assert_eq!((answer.tail, batches.len()), (0, 0));
}

#[tokio::test]
async fn a_fetch_that_waits_wakes_when_a_record_is_appended_and_holds_up_nobody_meanwhile() {
    let server = TestServer::ephemeral();
    let (mut reader, mut writer) = (Raw::open(server.address).await, Raw::open(server.address).await);
    let producer = writer.producer("t").await;
    let other = writer.producer("other").await;
    let waiting = reader.submit(&waiting_fetch(0), Vec::new()).await;
    // The same connection goes on, and what happens elsewhere wakes nobody.
    reader.ask(&Ping {}).await;
    writer.append_each(&other, 0, &["elsewhere"]).await;
    reader.ask(&Ping {}).await;
    writer.append_each(&producer, 0, &["here"]).await;
    let (answer, batches) = reader.answered::<Fetch>(waiting).await.expect("granted");
    assert_eq!((answer.head, answer.tail), (0, 1));
    assert_eq!(values(&batches), [(0, "here".to_owned())]);
}

#[tokio::test]
async fn all_fetches_that_wait_at_one_place_wake_together() {
    let server = TestServer::ephemeral();
    let mut writer = Raw::open(server.address).await;
    let producer = writer.producer("t").await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        let mut reader = Raw::open(server.address).await;
        let waiting = [reader.submit(&waiting_fetch(0), vec![]).await, reader.submit(&waiting_fetch(0), vec![]).await];
        reader.ask(&Ping {}).await;
        readers.push((reader, waiting));
    }
    writer.append_each(&producer, 0, &["here"]).await;
    for (mut reader, waiting) in readers {
        for id in waiting {
            let (_, batches) = reader.answered::<Fetch>(id).await.expect("granted");
            assert_eq!(values(&batches).len(), 1);
        }
    }
}

#[tokio::test]
async fn a_fetch_that_waits_is_told_when_its_topic_is_deleted() {
    let server = TestServer::ephemeral();
    let (mut reader, mut writer) = (Raw::open(server.address).await, Raw::open(server.address).await);
    writer.producer("t").await;
    let waiting = reader.submit(&waiting_fetch(0), Vec::new()).await;
    reader.ask(&Ping {}).await;
    writer.ask(&DeleteTopic { topic: "t".to_owned(), if_present: false }).await;
    let error = reader.answered::<Fetch>(waiting).await.expect_err("the topic is gone");
    assert_eq!(error.known(), Some(ErrorCode::UnknownTopic));
    reader.is_open().await;
}

#[tokio::test]
async fn an_appended_record_is_seen_by_whoever_asks_after_the_ack() {
    let server = TestServer::ephemeral();
    let (mut writer, mut reader) = (Raw::open(server.address).await, Raw::open(server.address).await);
    let producer = writer.producer("t").await;
    for n in 0..200 {
        let value = n.to_string();
        writer.append(&producer, &batch(&producer, n..n + 1, &[&value])).await;
        let (answer, batches) = reader.fetch("t", n).await;
        assert_eq!((answer.tail, values(&batches)), (n + 1, vec![(n, value)]));
    }
}

#[tokio::test]
async fn batches_come_whole_the_first_one_holding_the_offset_from_cache_and_from_disk() {
    for tail_cache_bytes in [0, 24 << 20] {
        let server = TestServer::start(config().with_tail_cache_bytes(tail_cache_bytes));
        let mut raw = Raw::open(server.address).await;
        let producer = raw.producer("t").await;
        for n in 0..30 {
            let names: Vec<String> = (0..3).map(|index| (n * 3 + index).to_string()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            raw.append(&producer, &batch(&producer, n..n + 1, &names)).await;
        }
        for offset in 0..90 {
            let (answer, batches) = raw.fetch("t", offset).await;
            let expected: Vec<_> = (offset / 3 * 3..90).map(|offset| (offset, offset.to_string())).collect();
            assert_eq!((answer.tail, values(&batches)), (90, expected));
        }
    }
}

#[tokio::test]
async fn a_fetch_of_few_bytes_gives_one_batch_and_goes_on_from_there_to_the_end() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    let (small, large) = ("s".to_owned(), "x".repeat(300_000));
    raw.append_each(&producer, 0, &[&small, &large, &small, &small, &large]).await;
    let (mut next, mut found) = (0, Vec::new());
    while next < 5 {
        let (answer, batches) = raw.ask_with(&Fetch { max_bytes: 1, ..fetch_of("t", next) }, Vec::new()).await;
        assert_eq!((answer.batch_bytes.len(), answer.tail), (1, 5));
        found.extend(values(&batches));
        next += 1;
    }
    assert_eq!(found.iter().map(|(_, value)| value.len()).collect::<Vec<_>>(), [1, 300_000, 1, 1, 300_000]);
    let (all, _) = raw.ask_with(&Fetch { max_bytes: u32::MAX, ..fetch_of("t", 0) }, Vec::new()).await;
    assert!((1..=5).contains(&all.batch_bytes.len()));
    let (none, _) = raw.ask_with(&Fetch { max_bytes: 0, ..fetch_of("t", 0) }, Vec::new()).await;
    assert_eq!(none.batch_bytes.len(), 1, "one batch comes whatever its size");
}

#[tokio::test]
async fn a_time_is_found_at_the_first_batch_that_was_appended_then_or_later() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    for n in 0..40 {
        raw.append(&producer, &batch(&producer, n..n + 1, &["a", "b", "c"])).await;
    }
    let (answer, batches) = raw.fetch("t", 0).await;
    let stamps: Vec<Stamp> = batches.iter().map(|batch| BatchHeader::read(batch).expect("a batch").stamp).collect();
    assert_eq!((stamps.len(), answer.tail), (40, 120));
    assert!(stamps.is_sorted_by_key(|stamp| stamp.append_time), "append times never go back");
    let first_at = |time: u64| {
        let found = stamps.iter().find(|stamp| stamp.append_time.0 >= time);
        found.map_or(answer.tail, |stamp| stamp.base_offset.0)
    };
    let around =
        stamps.iter().flat_map(|stamp| [-1, 0, 1].map(|delta| stamp.append_time.0.saturating_add_signed(delta)));
    for timestamp_us in around.chain([0, u64::MAX]) {
        let request = OffsetForTimestamp { topic: "t".to_owned(), timestamp_us };
        assert_eq!(raw.ask(&request).await.offset, first_at(timestamp_us));
        let consumer = raw.consumer("t", None, Start::Timestamp(timestamp_us)).await;
        assert_eq!(consumer.cursor, first_at(timestamp_us));
        let (_, subscribed) = raw.subscribe("t", Start::Timestamp(timestamp_us), 0).await;
        assert_eq!(subscribed.offset, first_at(timestamp_us));
    }
}
