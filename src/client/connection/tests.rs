//! Dialogues about one connection, and the one after it.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use proptest::prelude::*;
use tokio::time::{Instant, timeout};

use crate::{
    client::{
        Client, ConnectionState, Error,
        testing::{Peer, Server, connected, granted_answer, server, soon},
    },
    protocol::{
        CreateTopic, CreateTopicAnswer, DeleteTopic, DeleteTopicAnswer, ErrorCode, FrameHeader, OffsetForTimestamp,
        OffsetForTimestampAnswer, Opcode, OutFrame, Ping, PingAnswer, Retention, ServerInfo, ServerInfoAnswer,
        encode_answer,
    },
    record::{Offset, Timestamp},
};

/// Asks for the offset of a time, in a task of its own.
fn ask_offset(client: &Client, at: u64) -> tokio::task::JoinHandle<Result<Offset, Error>> {
    let client = client.clone();
    tokio::spawn(async move { client.offset_for_timestamp("logs", Timestamp(at)).await })
}

/// A client whose server grants one request at a time.
async fn connected_narrowly() -> (Server, Peer, Client) {
    let (mut server, builder) = server();
    let mut granted = granted_answer();
    granted.max_in_flight_requests = 1;
    let (client, peer) = tokio::join!(builder.connect(), server.accept_with(&granted));
    (server, peer, client.expect("the server accepts"))
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_requests_in_whatever_order_they_come() {
    let (_server, mut peer, client) = connected().await;
    let asking: Vec<_> = (0..10).map(|at| ask_offset(&client, at)).collect();
    let mut asked = Vec::new();
    for _ in 0..10 {
        asked.push(peer.expect::<OffsetForTimestamp>().await);
    }
    for asked in asked.iter().rev() {
        peer.answer(asked, &OffsetForTimestampAnswer { offset: asked.request.timestamp_us * 10 }).await;
    }
    for (at, asking) in (0..).zip(asking) {
        assert_eq!(soon(asking).await.expect("no panic").expect("answered"), Offset(at * 10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_leaves_the_connection_healthy() {
    let (mut server, mut peer, client) = connected().await;
    let asked = {
        let mut given_up = Box::pin(client.server_info());
        assert!(given_up.as_mut().now_or_never().is_none());
        peer.expect::<ServerInfo>().await
    };
    peer.answer(&asked, &ServerInfoAnswer::default()).await;
    let (pinged, ()) = tokio::join!(client.ping(), async {
        let ping = peer.expect::<Ping>().await;
        peer.answer(&ping, &PingAnswer {}).await;
    });
    pinged.expect("the late answer did no harm");
    assert!(!server.has_connection());
    drop(peer);
    server.accept().await;
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_the_room_that_the_server_granted() {
    let (_server, mut peer, client) = connected_narrowly().await;
    let (first, second) = (ask_offset(&client, 1), ask_offset(&client, 2));
    let asked = peer.expect::<OffsetForTimestamp>().await;
    peer.expect_silence().await;
    peer.answer(&asked, &OffsetForTimestampAnswer { offset: 10 }).await;
    assert_eq!(soon(first).await.expect("no panic").expect("answered"), Offset(10));
    let asked = peer.expect::<OffsetForTimestamp>().await;
    assert_eq!(asked.request.timestamp_us, 2);
    // The room of a request that was given up comes back with its answer, not before.
    second.abort();
    let third = ask_offset(&client, 3);
    peer.expect_silence().await;
    peer.answer(&asked, &OffsetForTimestampAnswer { offset: 20 }).await;
    assert_eq!(peer.expect::<OffsetForTimestamp>().await.request.timestamp_us, 3);
    third.abort();
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_before_it_left_is_never_sent() {
    let (_server, mut peer, client) = connected_narrowly().await;
    let first = ask_offset(&client, 1);
    let asked = peer.expect::<OffsetForTimestamp>().await;
    let waiting = ask_offset(&client, 2);
    peer.expect_silence().await;
    waiting.abort();
    peer.answer(&asked, &OffsetForTimestampAnswer { offset: 10 }).await;
    soon(first).await.expect("no panic").expect("answered");
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn harmless_requests_are_repeated_on_the_next_connection() {
    let (mut server, mut peer, client) = connected().await;
    let deleting = client.delete_topic("logs");
    let script = async {
        for _ in 0..3 {
            peer.expect::<DeleteTopic>().await;
            drop(peer);
            peer = server.accept().await;
        }
        let asked = peer.expect::<DeleteTopic>().await;
        peer.answer(&asked, &DeleteTopicAnswer { deleted: true }).await;
    };
    let (deleted, ()) = tokio::join!(deleting, script);
    assert!(deleted.expect("answered in the end"));
}

#[tokio::test(start_paused = true)]
async fn other_requests_say_that_they_may_have_happened() {
    let (mut server, mut peer, client) = connected().await;
    let script = async {
        peer.expect::<CreateTopic>().await;
        drop(peer);
        server.accept().await
    };
    let (created, mut peer) = tokio::join!(client.create_topic("logs", Retention::default()), script);
    let error = created.expect_err("nobody knows");
    assert!(error.may_have_applied() && error.is_retryable(), "{error:?}");
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_had_not_left_is_sent_on_the_next_connection_whatever_it_is() {
    let (mut server, mut peer, client) = connected_narrowly().await;
    let blocking = ask_offset(&client, 1);
    peer.expect::<OffsetForTimestamp>().await;
    let script = async {
        peer.expect_silence().await;
        blocking.abort();
        drop(peer);
        let mut peer = server.accept().await;
        let asked = peer.expect::<CreateTopic>().await;
        peer.answer(&asked, &CreateTopicAnswer { topic_id: 5, created: true }).await;
        peer
    };
    let (created, _peer) = tokio::join!(client.create_topic("logs", Retention::default()), script);
    assert_eq!(created.expect("created").0, 5);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_send_is_not_the_whole_story() {
    let (mut server, mut peer, client) = connected().await;
    let script = async {
        peer.expect::<DeleteTopic>().await;
        drop(peer);
        let mut peer = server.accept().await;
        let asked = peer.expect::<DeleteTopic>().await;
        peer.refuse(&asked, ErrorCode::StorageFailed).await;
        peer
    };
    let (deleted, _peer) = tokio::join!(client.delete_topic("logs"), script);
    let error = deleted.expect_err("refused");
    assert_eq!(error.code(), Some(ErrorCode::StorageFailed));
    assert!(error.may_have_applied());
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_deadline_and_says_whether_it_had_left() {
    let (mut server, builder) = server();
    let mut granted = granted_answer();
    granted.max_in_flight_requests = 1;
    let builder = builder.request_timeout(Duration::from_secs(3));
    let (client, mut peer) = tokio::join!(builder.connect(), server.accept_with(&granted));
    let client = client.expect("the server accepts");

    let began = Instant::now();
    let (created, deleted) =
        tokio::join!(client.create_topic("first", Retention::default()), client.delete_topic("second"));
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    let (sent, unsent) = (created.expect_err("no answer"), deleted.expect_err("no room"));
    assert!(matches!(sent, Error::TimedOut { may_have_applied: true, .. }), "{sent:?}");
    assert!(matches!(unsent, Error::TimedOut { may_have_applied: false, .. }), "{unsent:?}");
    let asked = peer.expect::<CreateTopic>().await;
    peer.answer(&asked, &CreateTopicAnswer::default()).await;
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_connection_says_why_there_is_none() {
    let (server, builder) = server();
    drop(server);
    let client = builder.request_timeout(Duration::from_secs(3)).connect_lazy().expect("good settings");
    let error = client.create_topic("logs", Retention::default()).await.expect_err("no server");
    assert!(!error.may_have_applied() && error.is_retryable());
    let Error::TimedOut { source: Some(source), .. } = error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "the socket failed");
}

#[tokio::test(start_paused = true)]
async fn the_first_connection_has_a_deadline_of_its_own() {
    let (server, builder) = server();
    drop(server);
    let began = Instant::now();
    let error = builder.connect_timeout(Duration::from_secs(2)).connect().await.expect_err("no server");
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_for_good_closes_the_client_and_one_that_is_full_does_not() {
    let (mut server, builder) = server();
    let client = builder.connect_lazy().expect("good settings");
    let mut state = client.state();
    let mut peer = server.connection().await;
    let hello = peer.hello().await;
    peer.refuse(&hello, ErrorCode::TooManyConnections).await;
    let mut peer = server.connection().await;
    let hello = peer.hello().await;
    assert_eq!(*state.borrow_and_update(), ConnectionState::Connecting { attempt: 2 });
    peer.refuse(&hello, ErrorCode::Unauthorized).await;
    soon(state.wait_for(|&state| state == ConnectionState::Closed)).await.expect("the client lives");
    let error = client.ping().await.expect_err("refused");
    assert_eq!(error.code(), Some(ErrorCode::Unauthorized));
}

#[tokio::test(start_paused = true)]
async fn after_go_away_the_old_connection_answers_and_the_next_one_is_asked() {
    let (mut server, mut old, client) = connected().await;
    let before = ask_offset(&client, 1);
    let asked = old.expect::<OffsetForTimestamp>().await;
    old.go_away(ErrorCode::ShuttingDown).await;
    let mut new = server.accept().await;
    let after = ask_offset(&client, 2);
    assert_eq!(new.expect::<OffsetForTimestamp>().await.request.timestamp_us, 2);
    old.answer(&asked, &OffsetForTimestampAnswer { offset: 10 }).await;
    assert_eq!(soon(before).await.expect("no panic").expect("answered"), Offset(10));
    // Nothing is left to be said on it.
    old.expect_close().await;
    after.abort();
}

#[tokio::test(start_paused = true)]
async fn a_request_refused_by_a_server_that_leaves_goes_to_the_next_connection() {
    let (mut server, mut old, client) = connected().await;
    let script = async {
        let asked = old.expect::<CreateTopic>().await;
        old.refuse(&asked, ErrorCode::ShuttingDown).await;
        let mut new = server.accept().await;
        let asked = new.expect::<CreateTopic>().await;
        new.answer(&asked, &CreateTopicAnswer { topic_id: 5, created: true }).await;
        new
    };
    let (created, _new) = tokio::join!(client.create_topic("logs", Retention::default()), script);
    assert_eq!(created.expect("created").0, 5);
}

#[tokio::test(start_paused = true)]
async fn silence_is_asked_about_once_and_then_ends_the_connection() {
    let (mut server, mut peer, client) = connected().await;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(15)).await;
    peer.ask(9, &Ping {}).await;
    let answer = peer.frame().await.expect("the client stays");
    assert_eq!(answer.header, FrameHeader::answer(Opcode::Ping, 9));
    // Twenty seconds after the last sign of life.
    tokio::time::sleep(Duration::from_secs(19)).await;
    let ping = peer.expect::<Ping>().await;
    assert_eq!(began.elapsed().as_secs(), 35);
    peer.answer(&ping, &PingAnswer {}).await;
    tokio::time::sleep(Duration::from_secs(19)).await;
    peer.expect::<Ping>().await;
    tokio::time::sleep(Duration::from_secs(19)).await;
    peer.expect_close().await;
    assert_eq!(began.elapsed().as_secs(), 75);
    server.accept().await;
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_the_connection() {
    let (_server, mut peer, client) = connected().await;
    let clone = client.clone();
    drop(client);
    peer.expect_silence().await;
    drop(clone);
    peer.expect_close().await;
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_answers_and_ends_all_clones() {
    let (_server, mut peer, client) = connected().await;
    let asking = ask_offset(&client, 1);
    let asked = peer.expect::<OffsetForTimestamp>().await;
    let clone = client.clone();
    let closing = tokio::spawn(client.close());
    peer.expect_silence().await;
    assert!(!closing.is_finished());
    peer.answer(&asked, &OffsetForTimestampAnswer { offset: 10 }).await;
    soon(closing).await.expect("no panic");
    assert_eq!(soon(asking).await.expect("no panic").expect("answered"), Offset(10));
    let error = clone.ping().await.expect_err("closed");
    assert!(matches!(error, Error::Closed), "{error:?}");
    peer.expect_close().await;
}

/// Frames that no server may send to a client that waits for the answer to one Ping.
fn hostile_frames(asked: FrameHeader) -> Vec<(&'static str, Bytes)> {
    let (id, none) = (asked.correlation_id, Vec::new);
    let frame = |header, body: &[u8]| OutFrame::new(header, body, none()).to_bytes();
    let pong = FrameHeader::answer(Opcode::Ping, id);
    vec![
        ("shorter than its header", Bytes::from_static(&[7, 0, 0, 0, 0, 0, 0, 0])),
        ("larger than granted", Bytes::from_static(&[255, 255, 255, 127])),
        ("unknown flags", frame(FrameHeader { flags: 6, ..pong }, b"")),
        ("an answer to nobody", frame(FrameHeader::answer(Opcode::Ping, id + 7), b"")),
        ("an answer to another request", encode_answer(Opcode::Hello, id, &granted_answer(), none()).to_bytes()),
        ("an unknown version", frame(FrameHeader { version: 9, ..pong }, b"")),
        ("an unknown opcode", frame(FrameHeader { opcode: 0x7777, ..pong }, b"")),
        ("a request of clients", frame(FrameHeader::request(Opcode::Append, 1), b"")),
        ("a ping with a body", frame(FrameHeader::request(Opcode::Ping, 1), b"x")),
        ("a delivery to nobody", frame(FrameHeader::answer(Opcode::Deliver, id), b"\0\0\0\0\0")),
        ("a refusal of nothing", frame(FrameHeader::request(Opcode::Deliver, 77).refusal(), b"\x60\x01\0\0")),
        ("a goodbye without reason", frame(FrameHeader::request(Opcode::GoAway, 0), b"")),
    ]
}

#[tokio::test(start_paused = true)]
async fn frames_that_no_server_may_send_end_the_connection_and_the_client_comes_back() {
    for index in 0..hostile_frames(FrameHeader::request(Opcode::Ping, 1)).len() {
        let (mut server, mut peer, client) = connected().await;
        let script = async {
            let asked = peer.expect::<Ping>().await;
            let (what, bytes) = hostile_frames(asked.header).swap_remove(index);
            peer.send_bytes(&bytes).await;
            let mut next = timeout(Duration::from_secs(5), server.accept()).await.expect(what);
            let asked = next.expect::<Ping>().await;
            next.answer(&asked, &PingAnswer {}).await;
            next
        };
        let (pinged, _next) = tokio::join!(client.ping(), script);
        pinged.expect("on the next connection");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_read_fails_its_request_only() {
    let (_server, mut peer, client) = connected().await;
    let script = async {
        let asked = peer.expect::<CreateTopic>().await;
        let header = FrameHeader::answer(Opcode::CreateTopic, asked.header.correlation_id);
        peer.send(OutFrame::new(header, b"\xff\xff", Vec::new())).await;
        let asked = peer.expect::<Ping>().await;
        peer.answer(&asked, &PingAnswer {}).await;
    };
    let calls = async {
        let error = client.create_topic("logs", Retention::default()).await.expect_err("unreadable");
        assert!(matches!(error, Error::Violation(_)) && error.may_have_applied(), "{error:?}");
        client.ping().await.expect("the connection goes on");
    };
    tokio::join!(calls, script);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_and_never_listens_is_left() {
    let (mut server, mut peer, _client) = connected().await;
    let ping = OutFrame::new(FrameHeader::request(Opcode::Ping, 1), b"", Vec::new()).to_bytes();
    // More answers than fit into the pipe and the client's buffers, and none of them is read.
    for _ in 0..40 {
        peer.send_bytes(&ping.repeat(10_000)).await;
        tokio::task::yield_now().await;
    }
    server.accept().await;
}

#[tokio::test(start_paused = true)]
async fn another_greeting_than_hello_is_not_accepted() {
    let pong = encode_answer(Opcode::Ping, 1, &PingAnswer {}, Vec::new()).to_bytes();
    let other_hello = encode_answer(Opcode::Hello, 2, &granted_answer(), Vec::new()).to_bytes();
    let http = Bytes::from_static(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    for greeting in [pong, other_hello, http, Bytes::new()] {
        let (mut server, builder) = server();
        let client = builder.connect_lazy().expect("good settings");
        let mut peer = server.connection().await;
        peer.hello().await;
        peer.send_bytes(&greeting).await;
        drop(peer);
        server.accept().await;
        drop(client);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_from_a_server_end_in_an_answer_or_an_error(
        greeted: bool,
        noise in prop::collection::vec(any::<u8>(), 0..200),
        bodies in prop::collection::vec((0u16..0x40, any::<bool>(), 0u32..6, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let (mut server, builder) = server();
            let client = builder.request_timeout(Duration::from_secs(1)).connect_lazy().expect("good settings");
            let mut peer = server.connection().await;
            let hello = peer.hello().await;
            if greeted {
                peer.answer(&hello, &granted_answer()).await;
            }
            let asking = ask_offset(&client, 1);
            let mut consumer_asks = Box::pin(client.consumer("logs").open());
            assert!(consumer_asks.as_mut().now_or_never().is_none());
            for (opcode, is_answer, correlation_id, body) in bodies {
                let header = FrameHeader { opcode, is_answer, version: 1, flags: 0, correlation_id };
                peer.send(OutFrame::new(header, &body, Vec::new())).await;
            }
            peer.send_bytes(&noise).await;
            drop(peer);
            drop(server);
            asking.await.expect("no panic").ok();
            consumer_asks.await.ok();
        });
    }
}
