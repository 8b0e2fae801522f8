//! The end of a server (protocol.md section 2.7): what it accepted is answered, GoAway comes last, nobody delays it.

use connectify::{
    limits::SHUTDOWN_TIMEOUT,
    protocol::{Append, Dequeue, ErrorCode, Fetch, Opcode, Ping, Start, encode_request, preface},
};
use tokio::{net::TcpStream, time::Instant};

use crate::support::{
    LONG_WAIT_MS, Raw, TestServer, append_of, batch, images::directory, raw::error_of, requests::fetch_of,
};

/// Everything that still comes, which is GoAway in the end: the answers before it, by their correlation ids.
async fn answers_until_goodbye(raw: &mut Raw) -> Vec<u32> {
    let mut answered = Vec::new();
    loop {
        let frame = raw.frame_where(|_| true).await;
        if frame.header.opcode == Opcode::GoAway as u16 {
            assert_eq!(error_of(&frame).known(), Some(ErrorCode::ShuttingDown));
            raw.end().await;
            return answered;
        }
        assert!(!frame.header.is_error(), "{:?}", error_of(&frame));
        answered.push(frame.header.correlation_id);
    }
}

#[tokio::test]
async fn appends_that_were_accepted_are_acknowledged_before_goaway_and_no_others_are_stored() {
    for round in 0..5 {
        let directory = directory();
        let mut server = TestServer::on(directory.path());
        let mut raw = Raw::open(server.address).await;
        let producer = raw.producer("t").await;
        let value = "x".repeat(10_000);
        let mut asked = Vec::new();
        for n in 0..200 {
            let (append, batches) = append_of(&[(producer.topic_id, batch(&producer, n..n + 1, &[&value]))], &[]);
            asked.push(raw.submit(&append, batches).await);
            // In the middle of it, at another place each time.
            if n == round * 40 {
                server.ask_to_stop();
            }
        }
        // Answers come in any order.
        let mut answered = answers_until_goodbye(&mut raw).await;
        answered.sort_unstable();
        assert_eq!(answered, asked[..answered.len()]);
        server.end().await;

        let server = TestServer::on(directory.path());
        let mut raw = Raw::open(server.address).await;
        assert_eq!(raw.topic("t").await.tail, answered.len() as u64);
    }
}

#[tokio::test]
async fn requests_that_wait_and_subscriptions_do_not_delay_the_end() {
    let mut server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    raw.producer("t").await;
    let consumer_id = raw.consumer("t", None, Start::Head).await.consumer_id;
    raw.subscribe("t", Start::Head, 1 << 20).await;
    raw.subscribe("t", Start::Head, 0).await;
    for _ in 0..10 {
        raw.submit(&Fetch { max_wait_ms: LONG_WAIT_MS, ..fetch_of("t", 0) }, Vec::new()).await;
    }
    let dequeue = Dequeue { consumer_id, cursor: 0, attempt: 1, max_records: 1, max_wait_ms: LONG_WAIT_MS };
    raw.submit(&dequeue, Vec::new()).await;
    raw.ask(&Ping {}).await;
    let asked = Instant::now();
    server.ask_to_stop();
    // They may be answered with nothing, or not at all.
    assert!(answers_until_goodbye(&mut raw).await.len() <= 11);
    drop(raw);
    server.end().await;
    assert!(asked.elapsed() < SHUTDOWN_TIMEOUT / 2, "it took {:?}", asked.elapsed());
}

#[tokio::test]
async fn connections_that_have_not_said_hello_are_told_too() {
    let mut server = TestServer::ephemeral();
    let observer = Raw::open(server.address).await;
    let mut silent = Raw::connect(server.address).await;
    let mut halfway = Raw::connect(server.address).await;
    halfway.send(&preface()).await;
    // Both have been accepted once a connection behind them has been.
    drop(Raw::open(server.address).await);
    server.ask_to_stop();
    for raw in [&mut silent, &mut halfway] {
        raw.goodbye(ErrorCode::ShuttingDown).await;
    }
    drop((observer, silent, halfway));
    server.end().await;
}

#[tokio::test]
async fn nobody_can_connect_any_more() {
    let mut server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    server.ask_to_stop();
    raw.goodbye(ErrorCode::ShuttingDown).await;
    // The listener is closed before anybody is told.
    let refused = TcpStream::connect(server.address).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(raw);
    server.end().await;
}

#[tokio::test]
async fn a_frame_that_has_not_arrived_whole_is_not_waited_for() {
    let directory = directory();
    let mut server = TestServer::on(directory.path());
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    let (append, batches) = append_of(&[(producer.topic_id, batch(&producer, 0..1, &["x"; 1000]))], &[]);
    let id = raw.next_id();
    let bytes = encode_request::<Append>(&append, id, batches).to_bytes();
    raw.send(&bytes[..bytes.len() - 1]).await;
    server.ask_to_stop();
    assert!(answers_until_goodbye(&mut raw).await.is_empty());
    drop(raw);
    server.end().await;
    let server = TestServer::on(directory.path());
    assert_eq!(Raw::open(server.address).await.topic("t").await.tail, 0);
}

#[tokio::test]
async fn a_client_that_reads_nothing_delays_the_end_no_longer_than_the_limit() {
    let mut server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    let value = "x".repeat(1 << 20);
    raw.append_each(&producer, 0, &[value.as_str(); 20]).await;
    let mut deaf = Raw::open(server.address).await;
    deaf.subscribe("t", Start::Head, 1 << 30).await;
    // It has been pushed something, more than sockets hold, once others have been pushed all of it.
    let (subscribed, _) = raw.subscribe("t", Start::Head, 1 << 30).await;
    while raw.delivered(subscribed).await.0.tail < 20 {}
    let asked = Instant::now();
    server.ask_to_stop();
    drop(raw);
    server.end().await;
    assert!(asked.elapsed() < SHUTDOWN_TIMEOUT * 2, "it took {:?}", asked.elapsed());
    drop(deaf);
}

#[tokio::test]
async fn goaway_is_the_last_frame_whatever_is_still_on_its_way() {
    let server = TestServer::ephemeral();
    let mut writer = Raw::open(server.address).await;
    let producer = writer.producer("t").await;
    writer.append_each(&producer, 0, &["x"; 10]).await;
    for round in 0..200 {
        let mut raw = Raw::open(server.address).await;
        let subscribe = crate::support::requests::subscribe_of("t", Start::Head, 1 << 20);
        let mut bytes = Vec::new();
        for id in 10..10 + round % 20 {
            bytes.extend_from_slice(&encode_request(&subscribe, id, Vec::new()).to_bytes());
        }
        // A length of 0 ends the connection.
        bytes.extend_from_slice(&[0; 4]);
        raw.send(&bytes).await;
        raw.goodbye(ErrorCode::FrameTooShort).await;
    }
}
