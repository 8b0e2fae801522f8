//! Frames on an open connection: lengths, opcodes, versions, flags, correlation ids.

use connectify::{
    limits::{MAX_FRAME_BYTES, MIN_FRAME_BYTES},
    protocol::{ErrorCode, Fetch, Hello, Opcode, Ping, Unsubscribe, encode_request},
};

use super::{Wrongs, every_request, frame, observed_server};
use crate::support::{LONG_WAIT_MS, Raw, TestServer, batch, narrow, raw::hello, requests::subscribe_of};
use connectify::protocol::Start;

const ANSWER: u16 = Opcode::ANSWER;

#[tokio::test]
async fn lengths_that_are_not_allowed_end_the_connection_at_the_length() {
    let (server, mut bystander) = observed_server().await;
    for granted in [MIN_FRAME_BYTES, MAX_FRAME_BYTES] {
        let limit = granted as u64;
        let cases = [
            (0, ErrorCode::FrameTooShort),
            (7, ErrorCode::FrameTooShort),
            (limit + 1, ErrorCode::FrameTooLarge),
            (u64::from(u32::MAX), ErrorCode::FrameTooLarge),
        ];
        for (length, code) in cases {
            let hello = Hello { max_frame_bytes: narrow(granted), ..hello() };
            let (mut raw, _) = Raw::open_with(server.address, hello).await;
            raw.send(&u32::try_from(length).expect("a length").to_le_bytes()).await;
            let error = raw.goodbye(code).await;
            assert!(code == ErrorCode::FrameTooShort || error.details == [length, limit], "{error:?}");
            bystander.carries_on().await;
        }
    }
}

#[tokio::test]
async fn a_frame_of_exactly_the_limit_is_read() {
    let (server, mut bystander) = observed_server().await;
    for granted in [MIN_FRAME_BYTES, MAX_FRAME_BYTES] {
        let (mut raw, _) = Raw::open_with(server.address, Hello { max_frame_bytes: narrow(granted), ..hello() }).await;
        let id = raw.next_id();
        raw.send(&frame(Opcode::Append as u16, 1, 0, id, &vec![0xff; granted - 8])).await;
        raw.refused_under(id, ErrorCode::MalformedBody).await;
        bystander.carries_on().await;
    }
}

#[tokio::test]
async fn opcodes_that_no_request_has_are_refused() {
    let mut wrongs = Wrongs::new().await;
    let unknown = (0..0x8000).filter(|opcode| Opcode::from_number(*opcode).is_none());
    let some = unknown.filter(|opcode| *opcode < 0x50 || opcode % 0x0fed == 0 || *opcode == 0x7fff);
    let pushed_by_servers = [Opcode::GoAway as u16, Opcode::Deliver as u16];
    for opcode in some.chain(pushed_by_servers) {
        wrongs.get(ErrorCode::UnknownOpcode, opcode, 1, 0, b"").await;
        wrongs.get(ErrorCode::UnknownOpcode, opcode, 1, 0, &[0xff; 100]).await;
    }
}

#[tokio::test]
async fn versions_that_no_message_has_are_refused() {
    let mut wrongs = Wrongs::new().await;
    for (opcode, body) in every_request().into_iter().filter(|(opcode, _)| *opcode != Opcode::Credit) {
        for version in [0, 2, 0xff] {
            wrongs.get(ErrorCode::UnknownMessageVersion, opcode as u16, version, 0, &body).await;
        }
    }
}

#[tokio::test]
async fn flags_that_no_request_has_end_the_connection() {
    let mut wrongs = Wrongs::new().await;
    for (opcode, body) in every_request() {
        for flags in [0x01, 0x02, 0x80, 0xff] {
            wrongs.get(ErrorCode::BadFrame, opcode as u16, 1, flags, &body).await;
        }
    }
    wrongs.get(ErrorCode::BadFrame, ANSWER | Opcode::Ping as u16, 1, 0x02, b"").await;
}

#[tokio::test]
async fn answers_that_nobody_asks_of_a_client_end_the_connection() {
    let mut wrongs = Wrongs::new().await;
    for (opcode, body) in every_request().into_iter().filter(|(opcode, _)| *opcode != Opcode::Ping) {
        wrongs.get(ErrorCode::BadFrame, ANSWER | opcode as u16, 1, 0, &body).await;
    }
    for opcode in [Opcode::Hello as u16, Opcode::GoAway as u16, Opcode::Deliver as u16, 0x7fff] {
        wrongs.get(ErrorCode::BadFrame, ANSWER | opcode, 1, 0, b"").await;
    }
}

#[tokio::test]
async fn an_answer_to_a_ping_is_taken_also_when_nobody_asked() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    for id in [0, 1, 7, u32::MAX] {
        raw.send(&frame(ANSWER | Opcode::Ping as u16, 1, 0, id, b"")).await;
    }
    raw.is_open().await;
}

#[tokio::test]
async fn correlation_id_0_ends_the_connection() {
    let (server, mut bystander) = observed_server().await;
    for (opcode, body) in every_request() {
        let mut raw = Raw::open(server.address).await;
        raw.send(&frame(opcode as u16, 1, 0, 0, &body)).await;
        raw.goodbye(ErrorCode::BadFrame).await;
        bystander.carries_on().await;
    }
}

#[tokio::test]
async fn a_correlation_id_is_not_used_twice_at_a_time() {
    let (server, mut bystander) = observed_server().await;
    let mut other = Raw::open(server.address).await;
    other.producer("t").await;
    let wait = Fetch { topic: "t".to_owned(), offset: 0, max_bytes: 1, max_wait_ms: LONG_WAIT_MS };
    let subscribe = subscribe_of("t", Start::Head, 1000);
    for first in [encode_request(&wait, 5, Vec::new()), encode_request(&subscribe, 5, Vec::new())] {
        let mut raw = Raw::open(server.address).await;
        raw.send_frame(&first).await;
        raw.send_frame(&encode_request(&Ping {}, 5, Vec::new())).await;
        let refused = raw.frame_where(|frame| frame.header.is_error() || frame.header.opcode == Opcode::GoAway as u16);
        let refused = refused.await;
        let error = crate::support::raw::error_of(&refused);
        let code = ErrorCode::CorrelationInUse;
        assert_eq!((error.known(), error.facts), (Some(code), code.facts()), "{error:?}");
        match crate::support::raw::closes(code) {
            true => raw.end().await,
            false => {
                assert_eq!(refused.header.correlation_id, 5);
                raw.send_frame(&encode_request(&Ping {}, 6, Vec::new())).await;
                raw.answer_to(6).await;
            }
        }
        bystander.carries_on().await;
    }
}

#[tokio::test]
async fn a_correlation_id_is_free_again_once_it_is_answered() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let producer = raw.producer("t").await;
    for _ in 0..3 {
        raw.send_frame(&encode_request(&Ping {}, 5, Vec::new())).await;
        raw.answer_to(5).await;
    }
    // Credit has no answer, so its id takes no place.
    raw.send(&frame(Opcode::Credit as u16, 1, 0, 5, &[1, 1])).await;
    raw.send_frame(&encode_request(&Ping {}, 5, Vec::new())).await;
    raw.answer_to(5).await;
    // A subscription keeps its id until its end.
    raw.send_frame(&encode_request(&subscribe_of("t", Start::Head, 1000), 5, Vec::new())).await;
    assert!(!raw.answer_to(5).await.header.is_error());
    raw.append(&producer, &batch(&producer, 0..1, &["a"])).await;
    assert_eq!(raw.delivered(5).await.0.tail, 1);
    raw.ask(&Unsubscribe { subscription_id: 1 }).await;
    raw.send_frame(&encode_request(&Ping {}, 5, Vec::new())).await;
    assert_eq!(raw.answer_to(5).await.header.opcode, Opcode::Ping as u16);
}
