//! What is not this protocol at all, and what ends in the middle.

use connectify::protocol::{ErrorCode, Opcode, encode_request, preface};

use super::{every_request, frame, observed_server};
use crate::support::{Raw, TestServer, raw::hello};

/// The first bytes of a TLS 1.3 ClientHello: record header, handshake header, version, random, empty session id.
const TLS_CLIENT_HELLO: [u8; 44] = {
    let mut bytes = [0x5a; 44];
    let front = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    let mut at = 0;
    while at < front.len() {
        bytes[at] = front[at];
        at += 1;
    }
    bytes[43] = 0;
    bytes
};

/// Bytes that look random and are the same in every run.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(&mut next).take(count).collect()
}

#[tokio::test]
async fn who_does_not_begin_with_the_preface_is_turned_away_at_once() {
    let (server, mut bystander) = observed_server().await;
    let strangers: [(&str, &[u8]); 12] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("the first byte of HTTP, which is enough", b"G"),
        ("TLS", &TLS_CLIENT_HELLO),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("Redis", b"*1\r\n$4\r\nPING\r\n"),
        ("zeros", &[0; 64]),
        ("a frame without the preface", &[0x11, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0]),
        ("small letters", b"cnfy\r\n\x01\x00"),
        ("a line end that was rewritten", b"CNFY\n\x01\x00\x00"),
        ("a line end that was rewritten the other way", b"CNFY\r\r\n\x01"),
        ("a seventh byte in the magic", b"CNFYX\r\n\x01"),
    ];
    for (who, bytes) in strangers {
        let mut raw = Raw::connect(server.address).await;
        raw.send(bytes).await;
        let error = raw.goodbye(ErrorCode::BadPreface).await;
        assert!(error.details.is_empty(), "{who}: {error:?}");
        bystander.carries_on().await;
    }
    for seed in 0..20 {
        let bytes = noise(seed, 300);
        assert!(!bytes.starts_with(b"C"), "seed {seed} begins as a preface does");
        let mut raw = Raw::connect(server.address).await;
        raw.send(&bytes).await;
        raw.goodbye(ErrorCode::BadPreface).await;
    }
    bystander.carries_on().await;
}

#[tokio::test]
async fn a_preface_of_another_version_is_told_so() {
    let (server, mut bystander) = observed_server().await;
    for version in [[0, 0], [2, 0], [0, 1], [1, 1], [0xff, 0xff]] {
        let mut raw = Raw::connect(server.address).await;
        raw.send(&[&b"CNFY\r\n"[..], &version].concat()).await;
        raw.goodbye(ErrorCode::UnsupportedVersion).await;
        bystander.carries_on().await;
    }
}

#[tokio::test]
async fn a_preface_and_a_hello_may_come_byte_by_byte_or_in_one_packet() {
    let server = TestServer::ephemeral();
    let hello = encode_request(&hello(), 1, Vec::new()).to_bytes();
    let both = [&preface()[..], &hello].concat();
    let mut raw = Raw::connect(server.address).await;
    for byte in &both {
        raw.send(&[*byte]).await;
    }
    assert!(!raw.answer_to(1).await.header.is_error());
    let mut raw = Raw::connect(server.address).await;
    raw.send(&both).await;
    assert!(!raw.answer_to(1).await.header.is_error());
}

#[tokio::test]
async fn a_connection_that_ends_anywhere_before_its_first_request_ends_without_a_word() {
    let (server, mut bystander) = observed_server().await;
    let both = [&preface()[..], &encode_request(&hello(), 1, Vec::new()).to_bytes()].concat();
    for end in 0..both.len() {
        let mut raw = Raw::connect(server.address).await;
        raw.send(&both[..end]).await;
        raw.finish_sending().await;
        raw.end().await;
        let mut raw = Raw::connect(server.address).await;
        raw.send(&both[..end]).await;
        raw.reset();
    }
    bystander.carries_on().await;
}

#[tokio::test]
async fn a_frame_that_is_cut_off_anywhere_is_as_if_it_had_never_begun() {
    let (server, mut bystander) = observed_server().await;
    let (_, body) = every_request().into_iter().find(|(opcode, _)| *opcode == Opcode::CreateTopic).expect("a sample");
    let create = frame(Opcode::CreateTopic as u16, 1, 0, 77, &body);
    let mut observer = Raw::open(server.address).await;
    for end in 0..create.len() {
        let mut raw = Raw::open(server.address).await;
        raw.send(&create[..end]).await;
        raw.finish_sending().await;
        raw.end().await;
    }
    for end in 0..create.len() {
        let mut raw = Raw::open(server.address).await;
        raw.send(&create[..end]).await;
        raw.reset();
    }
    // The header of a large frame, and a little of it.
    for announced in [64 * 1024, 8 * 1024 * 1024] {
        let mut large = create.clone();
        large[..4].copy_from_slice(&u32::to_le_bytes(announced));
        let mut raw = Raw::open(server.address).await;
        raw.send(&large).await;
        raw.finish_sending().await;
        raw.end().await;
    }
    bystander.carries_on().await;
    let topics = observer.ask(&connectify::protocol::ListTopics::default()).await.topics;
    assert_eq!(topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["bystander"]);
}

#[tokio::test]
async fn what_was_asked_before_a_frame_that_is_cut_off_is_answered() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let whole = frame(Opcode::Ping as u16, 1, 0, 5, &[]);
    raw.send(&[&whole[..], &whole[..7]].concat()).await;
    raw.finish_sending().await;
    raw.answer_to(5).await;
    raw.end().await;
}
