//! Bodies: cut off, too long, in another form than the one form that there is.

use connectify::{
    limits::MAX_CONTROL_BYTES,
    protocol::{Append, AppendPart, CursorMove, ErrorCode, Opcode, encode_body},
};

use super::{Wrongs, every_request, frame};
use crate::support::{Raw, TestServer};

#[tokio::test]
async fn a_body_that_ends_anywhere_or_goes_on_is_refused() {
    let mut wrongs = Wrongs::new().await;
    for (opcode, body) in every_request().into_iter().filter(|(opcode, _)| *opcode != Opcode::Credit) {
        for end in 0..body.len() {
            wrongs.get(ErrorCode::MalformedBody, opcode as u16, 1, 0, &body[..end]).await;
        }
        for more in [&[0][..], &[0xff], &[0; 1000]] {
            wrongs.get(ErrorCode::MalformedBody, opcode as u16, 1, 0, &[&body, more].concat()).await;
        }
    }
}

#[tokio::test]
async fn a_body_in_a_form_that_is_not_the_shortest_or_not_allowed_is_refused() {
    let mut wrongs = Wrongs::new().await;
    let long_number = [&b"\x01a"[..], &[0xfd, 1, 0, 0, 0, 0, 0, 0, 0]].concat();
    let cases: [(&str, Opcode, &[u8]); 20] = [
        ("5 in three bytes", Opcode::ListTopics, b"\x00\xfb\x05\x00"),
        ("250 in three bytes", Opcode::ListTopics, b"\x00\xfb\xfa\x00"),
        ("251 in five bytes", Opcode::ListTopics, b"\x00\xfc\xfb\x00\x00\x00"),
        ("a count in three bytes", Opcode::ListTopics, b"\xfb\x00\x00\x05"),
        ("1 in nine bytes", Opcode::OffsetForTimestamp, &long_number),
        ("2^32 in a u32", Opcode::ListTopics, b"\x00\xfd\x00\x00\x00\x00\x01\x00\x00\x00"),
        ("a reserved first byte", Opcode::ListTopics, b"\x00\xfe"),
        ("another reserved first byte", Opcode::ListTopics, b"\x00\xff"),
        ("a string that is not UTF-8", Opcode::ListTopics, b"\x01\xff\x05"),
        ("a string cut in a character", Opcode::ListTopics, b"\x01\xc3\x05"),
        ("a surrogate", Opcode::ListTopics, b"\x03\xed\xa0\x80\x05"),
        ("a name that is not UTF-8", Opcode::CreateTopic, b"\x01\xff\x00\x00\x00"),
        ("a string longer than the body", Opcode::ListTopics, b"\x04ab\x05"),
        ("a string longer than memory", Opcode::ListTopics, b"\xfd\xff\xff\xff\xff\xff\xff\xff\xff\x05"),
        ("a list longer than memory", Opcode::Append, b"\xfd\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("a list longer than the body", Opcode::Append, b"\xfc\xff\xff\xff\x7f\x01\x00\x00"),
        ("a bool of 2", Opcode::DeleteTopic, b"\x01a\x02"),
        ("an option of 2", Opcode::CreateTopic, b"\x01a\x02\x00\x00"),
        ("an unknown tag", Opcode::Subscribe, b"\x01a\x05\x00"),
        ("the tag of a cursor, cut off", Opcode::Subscribe, b"\x01a\x04\x00"),
    ];
    for (what, opcode, body) in cases {
        println!("sending {what}");
        wrongs.get(ErrorCode::MalformedBody, opcode as u16, 1, 0, body).await;
    }
}

#[tokio::test]
async fn batches_that_are_shorter_or_longer_than_announced_are_refused() {
    let mut wrongs = Wrongs::new().await;
    let announced = |bytes: &[u32]| {
        let parts = bytes.iter().map(|bytes| AppendPart { topic_id: 1, batch_bytes: *bytes }).collect();
        encode_body(&Append { parts, commits: Vec::new() })
    };
    let cases = [
        (announced(&[100]), 99),
        (announced(&[100]), 101),
        (announced(&[100]), 0),
        (announced(&[0]), 1),
        (announced(&[60, 60]), 119),
        (announced(&[60, 60]), 121),
        (announced(&[u32::MAX]), 100),
        // Together 100 bytes, if the sum is taken in 32 bits.
        (announced(&[u32::MAX, 101]), 100),
        (announced(&[]), 1),
    ];
    for (control, batches) in cases {
        let body = [control, vec![0; batches]].concat();
        wrongs.get(ErrorCode::MalformedBody, Opcode::Append as u16, 1, 0, &body).await;
    }
}

#[tokio::test]
async fn control_fields_over_their_limit_are_refused() {
    let mut wrongs = Wrongs::new().await;
    let count = MAX_CONTROL_BYTES / 17 + 1;
    let commits = vec![CursorMove { consumer_id: [1; 16], offset: 0 }; count];
    let body = encode_body(&Append { parts: Vec::new(), commits });
    assert!(body.len() > MAX_CONTROL_BYTES, "{} bytes", body.len());
    wrongs.get(ErrorCode::MalformedBody, Opcode::Append as u16, 1, 0, &body).await;
    let string = [&[0xfc][..], &(1u32 << 20).to_le_bytes(), &vec![b'a'; 1 << 20], &[0]].concat();
    wrongs.get(ErrorCode::MalformedBody, Opcode::ListTopics as u16, 1, 0, &string).await;
}

#[tokio::test]
async fn a_credit_is_never_refused_whatever_is_wrong_with_it() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let wrong: [(u8, &[u8]); 6] =
        [(1, b""), (1, b"\x01"), (1, b"\x01\x01\x01"), (1, b"\x01\xfb\x01\x00"), (2, b"\x01\x01"), (1, b"\x63\x01")];
    for (version, body) in wrong {
        raw.send(&frame(Opcode::Credit as u16, version, 0, 9, body)).await;
    }
    raw.is_open().await;
}
