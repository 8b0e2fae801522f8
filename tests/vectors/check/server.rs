//! What a server does with the bytes of the vectors: it refuses what they say is refused, with that error and in that place,
//! and takes the rest.

use bytes::Bytes;
use connectify::protocol::{Append, AppendPart, ErrorBody, ErrorCode, Frame, FrameHeader, Opcode, OutFrame, preface};

use crate::{
    of_kinds,
    support::{Raw, TestServer, raw::error_of},
    vector::{Kind, Place, Refused, State, Vector},
};

fn code_of(error: &Refused) -> ErrorCode {
    ErrorCode::from_number(error.code).expect("checked with the files")
}

fn assert_details(vector: &Vector, error: &ErrorBody) {
    let listed = &vector.error.as_ref().unwrap().details;
    assert!(error.details.starts_with(listed), "{}: {error:?}", vector.name);
}

/// Checks that the server says goodbye as the vector says.
async fn says_goodbye(raw: &mut Raw, vector: &Vector) {
    let error = raw.goodbye(code_of(vector.error.as_ref().unwrap())).await;
    assert_details(vector, &error);
}

/// Checks what a request gets that was sent under this id.
async fn gets_what_it_should(raw: &mut Raw, id: u32, vector: &Vector) {
    match vector.error.as_ref().map(|error| (error.place, code_of(error))) {
        None => assert_is_taken(vector, &raw.answer_to(id).await),
        Some((Place::Answer, code)) => assert_details(vector, &raw.refused_under(id, code).await),
        Some((Place::Ignored, _)) => raw.is_open().await,
        Some((Place::GoAway, _)) => says_goodbye(raw, vector).await,
        Some((Place::Client, _)) => panic!("{} is not for a server", vector.name),
    }
}

/// Of what the bytes are nothing is refused; what they ask for may not be there.
fn assert_is_taken(vector: &Vector, answer: &Frame) {
    if answer.header.is_error() {
        let error = error_of(answer);
        let is_about_bytes = matches!(error.code, 0..=31 | 34 | 36 | 64..=72);
        assert!(!is_about_bytes, "{}: {error:?}", vector.name);
    }
}

#[tokio::test]
async fn a_server_judges_the_prefaces_so() {
    let server = TestServer::ephemeral();
    for vector in of_kinds(&[Kind::Preface]) {
        let mut raw = Raw::connect(server.address).await;
        raw.send(&vector.bytes()).await;
        match vector.error {
            Some(_) => says_goodbye(&mut raw, &vector).await,
            None => {
                raw.finish_sending().await;
                raw.end().await;
            }
        }
    }
}

#[tokio::test]
async fn a_server_judges_the_frames_so() {
    let server = TestServer::ephemeral();
    for vector in of_kinds(&[Kind::Frame]) {
        let mut raw = match vector.state {
            Some(State::Open) => Raw::open(server.address).await,
            _ => {
                let mut raw = Raw::connect(server.address).await;
                raw.send(&preface()).await;
                raw
            }
        };
        raw.send(&vector.bytes()).await;
        if vector.incomplete {
            raw.finish_sending().await;
            raw.end().await;
            continue;
        }
        if vector.is_unreadable() {
            says_goodbye(&mut raw, &vector).await;
            continue;
        }
        let value = vector.value.as_ref().unwrap();
        let is_credit = value["opcode"] == Opcode::Credit as u16;
        if vector.error.is_none() && (is_credit || value["answer"] == true) {
            raw.is_open().await;
            continue;
        }
        let id = value["correlation_id"].as_u64().unwrap();
        gets_what_it_should(&mut raw, id.try_into().unwrap(), &vector).await;
    }
}

#[tokio::test]
async fn a_server_judges_the_bodies_of_requests_so() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    let mut judged = 0;
    for vector in of_kinds(&[Kind::Body]) {
        let name = vector.message.as_deref();
        let Some(opcode) = Opcode::ALL.iter().find(|opcode| Some(opcode.name()) == name) else { continue };
        if *opcode == Opcode::Deliver {
            continue;
        }
        let body = vector.bytes();
        if *opcode == Opcode::Hello {
            let mut raw = Raw::connect(server.address).await;
            raw.send(&preface()).await;
            raw.send_frame(&OutFrame::new(FrameHeader::request(*opcode, 1), &body, Vec::new())).await;
            gets_what_it_should(&mut raw, 1, &vector).await;
            continue;
        }
        let id = raw.next_id();
        raw.send_frame(&OutFrame::new(FrameHeader::request(*opcode, id), &body, Vec::new())).await;
        match opcode {
            Opcode::Credit => raw.is_open().await,
            _ => gets_what_it_should(&mut raw, id, &vector).await,
        }
        judged += 1;
    }
    assert!(judged > 100, "{judged} bodies were sent");
}

#[tokio::test]
async fn a_server_judges_the_batches_so() {
    let server = TestServer::ephemeral();
    let mut raw = Raw::open(server.address).await;
    for vector in of_kinds(&[Kind::Batch]) {
        let batch = Bytes::from(vector.bytes());
        let part = AppendPart { topic_id: 1, batch_bytes: u32::try_from(batch.len()).unwrap() };
        let append = Append { parts: vec![part], commits: Vec::new() };
        let id = raw.submit(&append, vec![batch]).await;
        match vector.error {
            Some(_) => gets_what_it_should(&mut raw, id, &vector).await,
            // All of it is good, but for the topic, which nobody has made.
            None => drop(raw.refused_under(id, ErrorCode::UnknownTopic).await),
        }
    }
}
