//! Retention and deletion (protocol.md section 8.6): what goes, what stays, and that the disk gets its room back.

use std::path::Path;

use connectify::{
    limits::{self, RETENTION_PIECES},
    protocol::{
        DeleteTopic, ErrorCode, Fetch, Ping, ProducerState, RegisterProducerAnswer, Retention, ServerInfo, Start,
    },
};

use crate::support::{
    Raw, TestServer, batch, eventually,
    images::directory,
    requests::fetch_of,
    server::{config, config_on},
    values,
};

fn bytes(bytes: u64) -> Retention {
    Retention { bytes: Some(bytes), age_ms: None }
}

fn age(age_ms: u64) -> Retention {
    Retention { bytes: None, age_ms: Some(age_ms) }
}

/// Reads what is left of a topic; checks that it reaches from head to tail without a hole.
async fn left(raw: &mut Raw, topic: &str) -> Vec<(u64, String)> {
    let info = raw.topic(topic).await;
    let found = raw.read_all(topic).await;
    let offsets: Vec<_> = found.iter().map(|(offset, _)| *offset).collect();
    // The first batch may begin before the head.
    assert!(offsets.first().is_none_or(|first| *first <= info.head), "{info:?}");
    assert_eq!(offsets.last().map_or(info.head, |last| last + 1), info.tail);
    assert!(offsets.windows(2).all(|pair| pair[0] + 1 == pair[1]), "offsets are dense");
    found
}

#[tokio::test]
async fn a_limit_in_bytes_is_kept_and_little_less_is_left() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    for (limit, value_bytes) in [(3_000, 10), (3_000, 900), (100_000, 100), (100_000, 30_000), (1, 10)] {
        let topic = format!("{limit}-{value_bytes}");
        raw.create_topic(&topic, bytes(limit)).await;
        let producer = raw.producer(&topic).await;
        let value = "x".repeat(value_bytes);
        let (mut all, mut largest) = (0, 0);
        while all < 3 * limit.max(100) {
            let tail = raw.topic(&topic).await.tail;
            let batch = batch(&producer, tail..tail + 1, &[&value]);
            raw.append(&producer, &batch).await;
            all += batch.len() as u64;
            largest = largest.max(batch.len() as u64);
            let info = raw.topic(&topic).await;
            let least = limit.min(all).saturating_sub(limit / RETENTION_PIECES + largest);
            assert!(info.bytes >= least, "{} of {all} bytes are left, the limit is {limit}", info.bytes);
            assert!(info.bytes <= limit.max(largest), "{} bytes are left, the limit is {limit}", info.bytes);
        }
        let info = raw.topic(&topic).await;
        assert!(info.head > 0 && info.head < info.tail, "{info:?}");
        left(&mut raw, &topic).await;
    }
}

#[tokio::test]
async fn a_limit_in_bytes_never_takes_the_newest_batch() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    raw.create_topic("t", bytes(1)).await;
    let producer = raw.producer("t").await;
    for n in 0..20 {
        let value = n.to_string();
        raw.append(&producer, &batch(&producer, n..n + 1, &[&value])).await;
        let found = left(&mut raw, "t").await;
        assert_eq!(found.last(), Some(&(n, value)));
    }
}

#[tokio::test]
async fn records_go_when_they_are_older_than_the_limit_and_offsets_go_on() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    raw.create_topic("short", age(1)).await;
    raw.create_topic("long", age(3_600_000)).await;
    let (short, long) = (raw.producer("short").await, raw.producer("long").await);
    // Nobody asks for anything meanwhile: time alone does it, and the gap says that it was done.
    let (subscribed, _) = raw.subscribe("short", Start::Head, 0).await;
    raw.append_each(&short, 0, &["a", "b", "c"]).await;
    raw.append_each(&long, 0, &["a", "b", "c"]).await;
    let mut gone = 0;
    while gone < 3 {
        let gap = raw.delivered(subscribed).await.0.gap.expect("without credit there is nothing but gaps");
        assert_eq!(gap.from, gone);
        gone = gap.to;
    }
    let info = raw.topic("short").await;
    assert_eq!((info.head, info.tail, info.bytes), (3, 3, 0));
    assert_eq!(left(&mut raw, "long").await.len(), 3);
    server.stop().await;

    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    let info = raw.topic("short").await;
    assert_eq!((info.head, info.tail), (3, 3));
    let part = raw.append(&short, &batch(&short, 3..4, &["d"])).await;
    assert_eq!((part.base_offset, part.duplicate), (Some(3), false));
    let part = raw.append(&short, &batch(&short, 2..3, &["c"])).await;
    assert!(part.duplicate, "what is gone was stored all the same");
}

#[tokio::test]
async fn a_restarted_server_has_the_heads_that_it_had() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    raw.create_topic("t", bytes(50_000)).await;
    let producer = raw.producer("t").await;
    raw.append_each(&producer, 0, &["x".repeat(5_000).as_str(); 60]).await;
    let before = (raw.topic("t").await, left(&mut raw, "t").await);
    assert!(before.0.head > 0);
    server.stop().await;

    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    assert_eq!((raw.topic("t").await, left(&mut raw, "t").await), before);
    // The pieces are what they were, too: retention goes on from there.
    let producer = RegisterProducerAnswer { last_sequence: 60, ..producer };
    for n in 60..70 {
        raw.append(&producer, &batch(&producer, n..n + 1, &["x".repeat(5_000).as_str()])).await;
    }
    assert_eq!(raw.topic("t").await.tail, 70);
    assert!(raw.topic("t").await.head > before.0.head);
}

#[tokio::test]
async fn a_topic_that_is_made_again_is_another_one_and_begins_at_0() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let mut ids = Vec::new();
    for round in ["first", "second", "third"] {
        let producer = raw.producer("t").await;
        assert!(!ids.contains(&producer.topic_id), "topic id {} comes again", producer.topic_id);
        ids.push(producer.topic_id);
        let part = raw.append(&producer, &batch(&producer, 0..2, &[round, round])).await;
        assert_eq!(part.base_offset, Some(0));
        assert_eq!(left(&mut raw, "t").await, [(0, round.to_owned()), (1, round.to_owned())]);
        assert!(raw.ask(&DeleteTopic { topic: "t".to_owned(), if_present: false }).await.deleted);
    }
}

/// Bytes that the segments of a directory take.
fn stored(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(directory).expect("a directory").flatten();
    let segments = entries.filter(|entry| entry.file_name() != "wal");
    // A file may be removed meanwhile.
    segments.filter_map(|entry| Some(entry.metadata().ok()?.blocks() * 512)).sum()
}

/// Appends this many records of 60,000 bytes to `large`, each followed by a small one to `small`.
async fn interleave(raw: &mut Raw, large: &RegisterProducerAnswer, small: &RegisterProducerAnswer, count: u64) {
    let value = "x".repeat(60_000);
    for n in 0..count {
        raw.append(large, &batch(large, n..n + 1, &[&value])).await;
        raw.append(small, &batch(small, n..n + 1, &[&n.to_string()])).await;
    }
}

#[tokio::test]
async fn deleting_a_topic_gives_its_room_back_and_touches_no_other_topic() {
    let directory = directory();
    // Without a cache, so that reads go to the files that are being rewritten.
    let without_cache = || config_on(directory.path()).with_tail_cache_bytes(0);
    let server = TestServer::start(without_cache());
    let mut raw = Raw::open(server.address).await;
    let (large, small) = (raw.producer("large").await, raw.producer("small").await);
    interleave(&mut raw, &large, &small, 100).await;
    let expected: Vec<_> = (0..100).map(|n| (n, n.to_string())).collect();
    let before = stored(directory.path());
    assert!(before > 6_000_000, "{before} bytes");
    raw.ask(&DeleteTopic { topic: "large".to_owned(), if_present: false }).await;
    eventually("the files are smaller", async || {
        raw.ask(&Ping {}).await;
        stored(directory.path()) < before / 2
    })
    .await;
    assert_eq!(left(&mut raw, "small").await, expected);
    server.stop().await;
    let server = TestServer::start(without_cache());
    let mut raw = Raw::open(server.address).await;
    assert_eq!(left(&mut raw, "small").await, expected);
    assert_eq!(raw.ask(&ProducerState { producer_id: small.producer_id }).await.last_sequence, 100);
}

#[tokio::test]
async fn what_retention_takes_gives_its_room_back() {
    let directory = directory();
    let server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    raw.create_topic("large", bytes(600_000)).await;
    let (large, small) = (raw.producer("large").await, raw.producer("small").await);
    // Ten times what is kept goes through.
    interleave(&mut raw, &large, &small, 100).await;
    let before = stored(directory.path());
    assert!(before > 6_000_000, "{before} bytes");
    eventually("the files are smaller", async || {
        raw.ask(&Ping {}).await;
        stored(directory.path()) < before / 2
    })
    .await;
    assert_eq!(left(&mut raw, "small").await.len(), 100);
    assert!(left(&mut raw, "large").await.len() >= 9);
}

#[tokio::test]
async fn the_server_says_how_much_it_stores_also_when_nothing_happens_any_more() {
    /// What the write-ahead log takes, which is never less.
    const LOG: u64 = limits::WAL_BYTES as u64;
    // A file takes some room beside its records: segments are large against that.
    let server = TestServer::start(config().with_segment_bytes(1024 * 1024));
    let mut raw = Raw::open(server.address).await;
    let (large, small) = (raw.producer("large").await, raw.producer("small").await);
    interleave(&mut raw, &large, &small, 240).await;
    eventually("the bytes are counted", async || {
        raw.ask(&ProducerState { producer_id: small.producer_id }).await;
        raw.ask(&ServerInfo {}).await.stored_bytes > LOG + 10_000_000
    })
    .await;
    raw.ask(&DeleteTopic { topic: "large".to_owned(), if_present: false }).await;
    eventually("the bytes that are gone are counted no more", async || {
        raw.ask(&ServerInfo {}).await.stored_bytes < LOG + 6_000_000
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_is_slow_reads_on_while_what_is_behind_it_goes() {
    let directory = directory();
    let server = TestServer::start(config_on(directory.path()).with_tail_cache_bytes(0));
    let (mut writer, mut reader) = (Raw::open(server.address).await, Raw::open(server.address).await);
    writer.create_topic("t", bytes(200_000)).await;
    let producer = writer.producer("t").await;
    let (mut next, mut lost) = (0, 0);
    let value = "x".repeat(5_000);
    for n in 0..200 {
        writer.append(&producer, &batch(&producer, n..n + 1, &[&value])).await;
        // Every third time, one batch.
        if n % 3 == 0 {
            let head = writer.topic("t").await.head;
            if next < head {
                lost += head - next;
                next = head;
            }
            let (_, batches) = reader.ask_with(&Fetch { max_bytes: 1, ..fetch_of("t", next) }, Vec::new()).await;
            assert_eq!(values(&batches)[0].0, next);
            next += 1;
        }
    }
    assert!(lost > 0, "retention overtook the reader");
}

#[tokio::test]
async fn reading_what_is_being_removed_finds_it_or_finds_it_gone_and_harms_no_file() {
    let directory = directory();
    let without_cache = || config_on(directory.path()).with_tail_cache_bytes(0);
    let server = TestServer::start(without_cache());
    let mut writer = Raw::open(server.address).await;
    writer.create_topic("t", bytes(200_000)).await;
    let producer = writer.producer("t").await;
    let value = "x".repeat(60_000);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    // Segments are removed right behind these readers.
    let read_at_the_head = async || {
        let (mut reader, mut next) = (Raw::open(server.address).await, 0);
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            match reader.try_ask(&fetch_of("t", next), Vec::new()).await {
                Ok((answer, batches)) => {
                    assert!(values(&batches).first().is_none_or(|(first, _)| *first == next), "a silent gap at {next}");
                    next = answer.head;
                }
                Err(error) => {
                    assert_eq!(error.known(), Some(ErrorCode::OffsetBeforeHead), "{error:?}");
                    next = error.details[0];
                }
            }
        }
    };
    let write = async {
        for n in 0..150 {
            writer.append(&producer, &batch(&producer, n..n + 1, &[&value])).await;
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(write, read_at_the_head(), read_at_the_head(), read_at_the_head(), read_at_the_head());
    let before = left(&mut writer, "t").await;
    server.stop().await;
    let server = TestServer::start(without_cache());
    assert_eq!(left(&mut Raw::open(server.address).await, "t").await, before);
}

#[tokio::test]
async fn reading_what_is_being_rewritten_finds_all_of_it_all_the_time() {
    let directory = directory();
    // More segments than are open at once, and no cache: reads open files all the time.
    let without_cache = || config_on(directory.path()).with_tail_cache_bytes(0);
    let server = TestServer::start(without_cache());
    let mut raw = Raw::open(server.address).await;
    let (large, small) = (raw.producer("large").await, raw.producer("small").await);
    interleave(&mut raw, &large, &small, 80).await;
    let before = stored(directory.path());
    raw.ask(&DeleteTopic { topic: "large".to_owned(), if_present: false }).await;
    let read = async || {
        let mut raw = Raw::open(server.address).await;
        eventually("the files are rewritten", async || {
            assert_eq!(left(&mut raw, "small").await.len(), 80);
            stored(directory.path()) < before * 2 / 3
        })
        .await;
    };
    tokio::join!(read(), read(), read(), read());
    server.stop().await;
    let server = TestServer::start(without_cache());
    assert_eq!(left(&mut Raw::open(server.address).await, "small").await.len(), 80);
}
