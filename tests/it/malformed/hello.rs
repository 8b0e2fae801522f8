//! Before Hello is answered: every refusal is a GoAway, and ends the connection.

use connectify::{
    limits::{MAX_CREDENTIALS_BYTES, MAX_FRAME_BYTES, MAX_HANDSHAKE_FRAME_BYTES, MAX_NAME_BYTES, MIN_FRAME_BYTES},
    protocol::{ErrorCode, Hello, Opcode, encode_body, preface},
};

use super::{every_request, frame, observed_server};
use crate::support::{Bystander, Raw, TestServer, config, narrow, raw::hello};

const HELLO: u16 = Opcode::Hello as u16;
const ANSWER: u16 = Opcode::ANSWER;

#[tokio::test]
async fn nothing_but_hello_comes_first() {
    let (server, mut bystander) = observed_server().await;
    let requests = every_request().into_iter().map(|(opcode, body)| (opcode as u16, body));
    let others = [(ANSWER | Opcode::Ping as u16, vec![]), (ANSWER | HELLO, encode_body(&hello()))];
    let others = others.into_iter().chain([(Opcode::GoAway as u16, vec![]), (Opcode::Deliver as u16, vec![])]);
    for (opcode, body) in requests.chain(others) {
        let mut raw = Raw::connect(server.address).await;
        raw.send(&preface()).await;
        raw.send(&frame(opcode, 1, 0, 1, &body)).await;
        raw.goodbye(ErrorCode::HelloExpected).await;
        bystander.carries_on().await;
    }
}

#[tokio::test]
async fn lengths_that_are_not_allowed_before_hello_are_refused_at_the_length() {
    let (server, mut bystander) = observed_server().await;
    let limit = MAX_HANDSHAKE_FRAME_BYTES as u64;
    let too_large = [limit + 1, MAX_FRAME_BYTES as u64, 1 << 31, u64::from(u32::MAX)];
    let cases = [0, 1, 7].map(|length| (length, ErrorCode::FrameTooShort, vec![length]));
    let cases =
        cases.into_iter().chain(too_large.map(|length| (length, ErrorCode::FrameTooLarge, vec![length, limit])));
    for (length, code, details) in cases {
        let mut raw = Raw::connect(server.address).await;
        raw.send(&preface()).await;
        raw.send(&u32::try_from(length).expect("a length").to_le_bytes()).await;
        let error = raw.goodbye(code).await;
        assert!(code == ErrorCode::FrameTooShort || error.details == details, "{error:?}");
        bystander.carries_on().await;
    }
}

#[tokio::test]
async fn a_hello_in_the_wrong_form_ends_the_connection() {
    let (server, mut bystander) = observed_server().await;
    let body = encode_body(&hello());
    let (long, mut wide) = ([&body[..], &[0]].concat(), body.clone());
    // The last number is max_frame_bytes, 0: now in three bytes instead of one.
    wide.splice(body.len() - 1.., [0xfb, 0, 0]);
    let cases = [
        (ErrorCode::BadFrame, frame(HELLO, 1, 0, 0, &body)),
        (ErrorCode::BadFrame, frame(HELLO, 1, 1, 1, &body)),
        (ErrorCode::BadFrame, frame(HELLO, 1, 2, 1, &body)),
        (ErrorCode::UnknownMessageVersion, frame(HELLO, 0, 0, 1, &body)),
        (ErrorCode::UnknownMessageVersion, frame(HELLO, 2, 0, 1, &body)),
        (ErrorCode::MalformedBody, frame(HELLO, 1, 0, 1, &long)),
        (ErrorCode::MalformedBody, frame(HELLO, 1, 0, 1, &wide)),
        (ErrorCode::MalformedBody, frame(HELLO, 1, 0, 1, b"")),
        (ErrorCode::MalformedBody, frame(HELLO, 1, 0, 1, &[0xff; 64])),
    ];
    let cut_off = (0..body.len()).map(|end| (ErrorCode::MalformedBody, frame(HELLO, 1, 0, 1, &body[..end])));
    for (code, bytes) in cases.into_iter().chain(cut_off) {
        let mut raw = Raw::connect(server.address).await;
        raw.send(&preface()).await;
        raw.send(&bytes).await;
        raw.goodbye(code).await;
    }
    bystander.carries_on().await;
}

/// Sends a Hello that is refused.
async fn refused(server: &TestServer, hello: Hello, code: ErrorCode) -> Vec<u64> {
    let mut raw = Raw::connect(server.address).await;
    raw.send(&preface()).await;
    raw.submit(&hello, Vec::new()).await;
    raw.goodbye(code).await.details
}

#[tokio::test]
async fn a_hello_that_cannot_be_granted_ends_the_connection() {
    let server = TestServer::start(config().with_credentials("s3cret"));
    let good = || Hello { credentials: b"s3cret".to_vec(), ..hello() };
    for (min_version, max_version) in [(0, 0), (2, 2), (2, u16::MAX), (1, 0), (u16::MAX, 0)] {
        refused(&server, Hello { min_version, max_version, ..good() }, ErrorCode::UnsupportedVersion).await;
    }
    for credentials in [&b""[..], b"s3cre", b"s3cret ", b"S3cret", b"\0"] {
        let hello = Hello { credentials: credentials.to_vec(), ..good() };
        refused(&server, hello, ErrorCode::Unauthorized).await;
    }
    let limit = MAX_CREDENTIALS_BYTES;
    let hello = Hello { credentials: vec![0; limit + 1], ..good() };
    assert_eq!(refused(&server, hello, ErrorCode::LimitExceeded).await, [limit as u64 + 1, limit as u64]);
    for bytes in [1, 4096, MIN_FRAME_BYTES - 1] {
        let hello = Hello { max_frame_bytes: narrow(bytes), ..good() };
        assert_eq!(refused(&server, hello, ErrorCode::LimitExceeded).await, [bytes as u64, MIN_FRAME_BYTES as u64]);
    }
    for name in ["", "\0", "a\nb", "\u{7f}", "\u{85}", &"x".repeat(MAX_NAME_BYTES + 1)] {
        refused(&server, Hello { client_name: name.to_owned(), ..good() }, ErrorCode::InvalidName).await;
    }
    let (mut raw, _) = Raw::open_with(server.address, good()).await;
    raw.is_open().await;
}

#[tokio::test]
async fn the_answer_to_hello_says_what_the_limits_are() {
    let server = TestServer::ephemeral();
    let asked = [0, MIN_FRAME_BYTES, 1 << 20, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1, u32::MAX as usize];
    for max_frame_bytes in asked {
        let hello = Hello { max_frame_bytes: narrow(max_frame_bytes), max_version: 9, min_version: 0, ..hello() };
        let (_, answer) = Raw::open_with(server.address, hello).await;
        let granted = if max_frame_bytes == 0 { MAX_FRAME_BYTES } else { max_frame_bytes.min(MAX_FRAME_BYTES) };
        assert_eq!((answer.max_frame_bytes as usize, answer.version, answer.features), (granted, 1, 0));
        assert_eq!(answer.max_in_flight_requests as usize, connectify::limits::MAX_IN_FLIGHT_REQUESTS);
        assert_eq!(answer.keepalive_ms, 20_000);
    }
}

#[tokio::test]
async fn a_second_hello_is_refused_and_the_first_one_holds() {
    let server = TestServer::ephemeral();
    let mut bystander = Bystander::of(server.address).await;
    let small = Hello { max_frame_bytes: narrow(MIN_FRAME_BYTES), ..hello() };
    let (mut raw, _) = Raw::open_with(server.address, small).await;
    for again in [hello(), Hello { min_version: 7, max_version: 8, ..hello() }] {
        raw.refused(ErrorCode::HelloRepeated, &again, Vec::new()).await;
        bystander.carries_on().await;
    }
    raw.send(&(narrow(MIN_FRAME_BYTES) + 1).to_le_bytes()).await;
    raw.goodbye(ErrorCode::FrameTooLarge).await;
}
