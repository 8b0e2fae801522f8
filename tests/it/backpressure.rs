//! Bounds, and what happens at them: whoever asks for too much waits, everybody else goes on.

use std::net::SocketAddr;

use bytes::Bytes;
use connectify::{
    limits::{FRAME_GRACE, MAX_FRAME_BYTES, MAX_IN_FLIGHT_REQUESTS, SHUTDOWN_TIMEOUT},
    protocol::{
        CreateTopic, Credit, DescribeTopic, ErrorCode, Fetch, ListTopics, Opcode, Ping, Retention, ServerInfo, Start,
        decode_answer, encode_request, preface,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use crate::support::{
    Bystander, LONG_WAIT_MS, Raw, TestServer, append_of, batch, config, eventually, narrow, requests::fetch_of, values,
    within,
};

/// The least that a server can be given, twice: for what comes in, and for what goes out.
fn small_budgets() -> TestServer {
    let bytes = 2 * MAX_FRAME_BYTES;
    TestServer::start(config().with_inbound_budget_bytes(bytes).with_outbound_budget_bytes(bytes))
}

async fn connections(raw: &mut Raw) -> u32 {
    raw.ask(&ServerInfo {}).await.connections
}

#[tokio::test]
async fn a_connection_over_the_cap_is_told_so_and_there_is_room_again_when_another_ends() {
    let server = TestServer::start(config().with_max_connections(3));
    let mut observer = Raw::open(server.address).await;
    let mut bystander = Bystander::of(server.address).await;
    for _ in 0..3 {
        let last = Raw::open(server.address).await;
        assert_eq!(connections(&mut observer).await, 3);
        for says_hello in [false, true] {
            let mut refused = Raw::connect(server.address).await;
            if says_hello {
                refused.send(&preface()).await;
            }
            let error = refused.goodbye(ErrorCode::TooManyConnections).await;
            assert!(error.details.first().is_none_or(|limit| *limit == 3), "{error:?}");
            bystander.carries_on().await;
        }
        drop(last);
        eventually("the place is free", async || connections(&mut observer).await == 2).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_gives_its_place_back_whatever_it_was_waiting_for() {
    let server = TestServer::ephemeral();
    let mut observer = Raw::open(server.address).await;
    observer.producer("t").await;
    let mut leaving = Raw::open(server.address).await;
    leaving.submit(&Fetch { max_wait_ms: LONG_WAIT_MS, ..fetch_of("t", 0) }, Vec::new()).await;
    leaving.subscribe("t", Start::Head, 1000).await;
    drop(leaving);
    let left = Instant::now();
    eventually("the connection is gone", async || connections(&mut observer).await == 1).await;
    // Not when some time-out is over: requests that wait end with their connection (protocol.md section 2.7).
    assert!(left.elapsed() < SHUTDOWN_TIMEOUT / 2, "it took {:?}", left.elapsed());
}

/// Writes all of this, while somebody reads so many answers; gives them in order of arrival: id, and whether an error.
async fn exchange(raw: Raw, bytes: &[u8], count: usize) -> Vec<(u32, bool)> {
    let (mut reader, mut writer) = raw.into_stream().into_split();
    let write = async {
        writer.write_all(bytes).await.expect("the server reads");
    };
    let read = async {
        let (mut decoder, mut buffer) =
            (connectify::protocol::FrameDecoder::new(MAX_FRAME_BYTES), bytes::BytesMut::new());
        let mut answers = Vec::new();
        while answers.len() < count {
            match decoder.decode(&mut buffer).expect("a frame") {
                Some(frame) => answers.push((frame.header.correlation_id, frame.header.is_error())),
                None => assert_ne!(reader.read_buf(&mut buffer).await.expect("a read"), 0, "the connection ended"),
            }
        }
        answers
    };
    within("everything is answered", async { tokio::join!(write, read).1 }).await
}

#[tokio::test]
async fn more_requests_than_may_be_in_flight_are_all_answered() {
    let server = TestServer::ephemeral();
    let raw = Raw::open(server.address).await;
    let count = 10 * MAX_IN_FLIGHT_REQUESTS;
    let ids = 1000..1000 + narrow(count);
    let mut bytes = Vec::new();
    for id in ids.clone() {
        bytes.extend_from_slice(&encode_request(&Ping {}, id, Vec::new()).to_bytes());
    }
    let mut answers = exchange(raw, &bytes, count).await;
    answers.sort_unstable();
    assert_eq!(answers, ids.map(|id| (id, false)).collect::<Vec<_>>());
}

#[tokio::test]
async fn more_appends_than_may_be_in_flight_are_all_stored_in_order() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    let count = 3 * MAX_IN_FLIGHT_REQUESTS as u64;
    let mut bytes = Vec::new();
    for n in 0..count {
        let part = (producer.topic_id, batch(&producer, n..n + 1, &[&n.to_string()]));
        let (append, batches) = append_of(&[part], &[]);
        bytes.extend_from_slice(&encode_request(&append, 1000 + narrow(n as usize), batches).to_bytes());
    }
    let mut answers = exchange(raw, &bytes, count as usize).await;
    answers.sort_unstable();
    assert_eq!(answers, (1000..1000 + narrow(count as usize)).map(|id| (id, false)).collect::<Vec<_>>());
    let stored = Raw::open(server.address).await.read_all("t").await;
    assert_eq!(stored, (0..count).map(|n| (n, n.to_string())).collect::<Vec<_>>());
}

#[tokio::test]
async fn requests_that_wait_take_places_and_those_behind_them_are_read_when_they_are_answered() {
    let server = TestServer::ephemeral();
    let (mut raw, mut writer) = (Raw::open(server.address).await, Raw::open(server.address).await);
    let producer = writer.producer("t").await;
    let wait = Fetch { max_wait_ms: LONG_WAIT_MS, ..fetch_of("t", 0) };
    let mut waiting = Vec::new();
    for _ in 0..MAX_IN_FLIGHT_REQUESTS + 500 {
        waiting.push(raw.submit(&wait, Vec::new()).await);
    }
    let behind = raw.submit(&Ping {}, Vec::new()).await;
    let mut bystander = Bystander::of(server.address).await;
    bystander.carries_on().await;
    writer.append_each(&producer, 0, &["here"]).await;
    for id in waiting {
        let (_, batches) = raw.answered::<Fetch>(id).await.expect("granted");
        assert_eq!(values(&batches).len(), 1);
    }
    raw.answer_to(behind).await;
}

/// Fills a topic with so many MiB, and more than sockets and outboxes hold.
async fn fill(raw: &mut Raw, topic: &str, mib: usize) {
    let producer = raw.producer(topic).await;
    let value = "x".repeat((1 << 20) - 200);
    raw.append_each(&producer, 0, &vec![value.as_str(); mib]).await;
}

#[tokio::test]
async fn a_subscriber_that_never_reads_stops_nobody() {
    let server = small_budgets();
    let mut raw = Raw::open(server.address).await;
    fill(&mut raw, "t", 40).await;
    let mut deaf = Raw::open(server.address).await;
    for _ in 0..20 {
        deaf.submit(&crate::support::requests::subscribe_of("t", Start::Head, 1 << 30), Vec::new()).await;
    }
    // Others read all of it, pushed and fetched.
    let (subscribed, _) = raw.subscribe("t", Start::Head, 1 << 30).await;
    let mut count = 0;
    while count < 40 {
        count += raw.delivered(subscribed).await.1.len();
    }
    assert_eq!(Raw::open(server.address).await.read_all("t").await.len(), 40);
    Bystander::of(server.address).await.carries_on().await;
}

#[tokio::test]
async fn a_client_that_fetches_and_never_reads_stops_nobody() {
    let server = small_budgets();
    let mut raw = Raw::open(server.address).await;
    fill(&mut raw, "t", 20).await;
    let mut deaf = Raw::open(server.address).await;
    for _ in 0..50 {
        deaf.submit(&Fetch { max_bytes: u32::MAX, ..fetch_of("t", 0) }, Vec::new()).await;
    }
    Bystander::of(server.address).await.carries_on().await;
    assert_eq!(raw.read_all("t").await.len(), 20);
}

#[tokio::test]
async fn a_client_that_asks_and_never_reads_is_not_read_either() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    // One answer to ListTopics takes about 30 KiB.
    for n in 0..100 {
        raw.create_topic(&format!("{n:0>200}"), Retention::default()).await;
    }
    let mut deaf = Raw::open(server.address).await;
    let count = 3000;
    let mut bytes = Vec::new();
    for id in 1000..1000 + count {
        bytes.extend_from_slice(&encode_request(&ListTopics::default(), id, Vec::new()).to_bytes());
    }
    let marker = CreateTopic { topic: "marker".to_owned(), retention: Retention::default(), if_absent: false };
    let marker = encode_request(&marker, 999, Vec::new()).to_bytes();
    deaf.send(&[&bytes[..], &marker].concat()).await;
    // Sockets hold a few MiB, the answers before the marker take some 70: it is not to be reached, not even in the time
    // in which others get twice as many answers.
    for _ in 0..2 {
        exchange(Raw::open(server.address).await, &bytes, count as usize).await;
    }
    let found = raw.try_ask(&DescribeTopic { topic: "marker".to_owned() }, Vec::new()).await;
    assert!(found.is_err(), "the server took {count} requests of a client that reads no answers");
    // Once it reads, everything is answered.
    for id in 1000..1000 + count {
        deaf.answer_to(id).await;
    }
    assert!(!deaf.answer_to(999).await.header.is_error());
}

#[tokio::test]
async fn large_frames_from_many_connections_all_get_through_a_small_budget() {
    let server = small_budgets();
    let value = "x".repeat(3 << 20);
    let append = async |topic: String| {
        let mut raw = Raw::open(server.address).await;
        let producer = raw.producer(&topic).await;
        raw.append_each(&producer, 0, &[value.as_str(); 3]).await;
        let read = raw.read_all(&topic).await;
        assert!(read.iter().all(|(_, read)| *read == value) && read.len() == 3);
    };
    let all = (0..8).map(|n| append(format!("t{n}")));
    futures::future::join_all(all).await;
    Bystander::of(server.address).await.carries_on().await;
}

/// A connection whose requests all waited sent one more, of 8 MiB: it held the memory for arriving frames for as long as
/// they waited.
#[tokio::test]
async fn a_large_request_behind_others_that_wait_stops_nobody() {
    let server = TestServer::start(config());
    let mut busy = Raw::open(server.address).await;
    busy.producer("t").await;
    for _ in 0..MAX_IN_FLIGHT_REQUESTS {
        busy.submit(&Fetch { max_wait_ms: LONG_WAIT_MS, ..fetch_of("t", 0) }, Vec::new()).await;
    }
    let mut large = begin_bytes(MAX_FRAME_BYTES);
    large.resize(MAX_FRAME_BYTES + 4, 0);
    let mut stream = busy.into_stream();
    // The server does not read all of it.
    let sending = tokio::spawn(async move { stream.write_all(&large).await });
    let mut others = Vec::new();
    for topic in ["a", "b", "c"] {
        let mut raw = Raw::open(server.address).await;
        let producer = raw.producer(topic).await;
        raw.append_each(&producer, 0, &["x".repeat(7 << 19).as_str(); 2]).await;
        others.push(raw);
    }
    sending.abort();
}

/// The beginning of an Append of this length.
fn begin_bytes(length: usize) -> Vec<u8> {
    let mut bytes = narrow(length).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(Opcode::Append as u16).to_le_bytes());
    bytes.extend_from_slice(&[1, 0, 1, 0, 0, 0]);
    bytes
}

/// Sends the beginning of an Append of this length, and never the rest.
async fn begin_frame(address: SocketAddr, length: usize) -> Raw {
    let mut raw = Raw::open(address).await;
    let mut bytes = begin_bytes(length);
    bytes.resize((length - 1).min(200 * 1024), 0);
    raw.send(&bytes).await;
    raw
}

/// Begins so many frames of this length, and looks whether others go on.
async fn is_held_up_by(connections: usize, length: usize) -> bool {
    let server = small_budgets();
    let mut bystander = Bystander::of(server.address).await;
    let mut begun = Vec::new();
    for _ in 0..connections {
        begun.push(begin_frame(server.address, length).await);
    }
    // The frames have until then to arrive. Whoever needs them to be given up takes longer.
    let carries_on = async {
        for _ in 0..10 {
            bystander.carries_on().await;
        }
        drop(Raw::open(server.address).await);
    };
    tokio::time::timeout(FRAME_GRACE / 2, carries_on).await.is_err()
}

#[tokio::test]
async fn large_frames_that_stop_halfway_stop_nobody() {
    assert!(!is_held_up_by(8, MAX_FRAME_BYTES).await);
    assert!(!is_held_up_by(20, 1 << 20).await);
}

/// Three peers that had announced frames of 8 MiB and sent 4 KB of them held up all large frames for 42 seconds.
#[tokio::test]
async fn large_frames_get_through_beside_many_that_stop_halfway() {
    for (count, length) in [(8, MAX_FRAME_BYTES), (40, MAX_FRAME_BYTES)] {
        let server = TestServer::start(config());
        let mut raw = Raw::open(server.address).await;
        let producer = raw.producer("t").await;
        let mut begun = Vec::new();
        for _ in 0..count {
            begun.push(begin_frame(server.address, length).await);
        }
        let value = "x".repeat(3 << 20);
        // A request that waits is given up after less time than such a frame had.
        raw.append_each(&producer, 0, &[value.as_str(); 2]).await;
    }
}

#[tokio::test]
async fn small_frames_that_stop_halfway_stop_nobody() {
    assert!(!is_held_up_by(100, 250 * 1024).await);
}

#[tokio::test]
async fn a_subscriber_without_credit_waits_without_holding_anything() {
    let server = small_budgets();
    let mut raw = Raw::open(server.address).await;
    fill(&mut raw, "t", 4).await;
    let mut starved = Raw::open(server.address).await;
    let (subscribed, answer) = starved.subscribe("t", Start::Head, 1).await;
    starved.delivered(subscribed).await;
    for _ in 0..3 {
        assert_eq!(raw.read_all("t").await.len(), 4);
        starved.is_open().await;
        assert!(!starved.has_pushed(subscribed));
    }
    let credit = Credit { subscription_id: answer.subscription_id, bytes: 1 << 30 };
    starved.send_frame(&encode_request(&credit, 77, Vec::new())).await;
    let mut found: Vec<Bytes> = Vec::new();
    while found.len() < 3 {
        found.extend(starved.delivered(subscribed).await.1);
    }
    assert_eq!(values(&found).iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_fetch_that_asks_for_more_than_a_frame_is_answered_within_one() {
    let server = small_budgets();
    let mut raw = Raw::open(server.address).await;
    fill(&mut raw, "t", 12).await;
    let id = raw.submit(&Fetch { max_bytes: u32::MAX, ..fetch_of("t", 0) }, Vec::new()).await;
    let frame = raw.answer_to(id).await;
    assert!(frame.body.len() <= MAX_FRAME_BYTES - 8);
    let (answer, _) = decode_answer::<connectify::protocol::FetchAnswer>(&frame).expect("follows its table");
    assert!((2..12).contains(&answer.batch_bytes.len()), "{} batches of a MiB", answer.batch_bytes.len());
}
