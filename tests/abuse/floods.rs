//! Floods of frames that cost a peer next to nothing: empty bodies, answers that nobody asked for, Pings, Hellos.

use std::collections::BTreeMap;

use bytes::Bytes;
use connectify::protocol::{FrameHeader, Opcode, OutFrame, Ping, encode_request};
use tokio::io::AsyncWriteExt;

use super::{
    Stage, Tally,
    peer::{Peer, error_of, hello, is_goodbye, name_of_code},
};

/// Frames for one call of the system.
const FRAMES: u32 = 4096;

/// What a flood is made of.
fn frames(frame: impl Fn(u32) -> OutFrame) -> Bytes {
    (2..2 + FRAMES).flat_map(|id| frame(id).to_bytes()).collect()
}

/// Requests with empty bodies, which have to have one, under opcodes known and unknown.
pub(crate) async fn empty_frames(stage: Stage) -> Tally {
    let request = |id: u32| {
        let known = FrameHeader::request(Opcode::ListTopics, id);
        let header = if id.is_multiple_of(2) { known } else { FrameHeader { opcode: 0x7f00, ..known } };
        OutFrame::new(header, b"", Vec::new())
    };
    flood(stage, frames(request), true).await
}

/// Frames that have no answer: answers to Pings that the server never sent, and credit for no subscription.
pub(crate) async fn unanswered_frames(stage: Stage) -> Tally {
    let frame = |id: u32| {
        let pong = FrameHeader::answer(Opcode::Ping, id);
        let credit = FrameHeader::request(Opcode::Credit, id);
        OutFrame::new(if id.is_multiple_of(2) { pong } else { credit }, b"", Vec::new())
    };
    flood(stage, frames(frame), true).await
}

pub(crate) async fn pings(stage: Stage) -> Tally {
    flood(stage, frames(|id| encode_request(&Ping {}, id, Vec::new())), true).await
}

/// Nobody takes the answers: the server stops reading.
pub(crate) async fn pings_unread(stage: Stage) -> Tally {
    flood(stage, frames(|id| encode_request(&Ping {}, id, Vec::new())), false).await
}

/// A Hello after the first is refused, and the connection goes on.
pub(crate) async fn hellos(stage: Stage) -> Tally {
    let hello = hello(b"");
    let again = |id| OutFrame::new(FrameHeader::request(Opcode::Hello, id), &hello[12..], Vec::new());
    flood(stage, frames(again), true).await
}

async fn flood(stage: Stage, frames: Bytes, reads: bool) -> Tally {
    stage.crowd(|stage, _| pour(stage, frames.clone(), reads)).await
}

/// Sends frames as fast as they are taken, until it is over; counts what comes back.
async fn pour(stage: Stage, frames: Bytes, reads: bool) -> Tally {
    let (mut poured, mut answers) = (0, BTreeMap::<_, u64>::new());
    let Peer { mut sending, mut receiving, .. } = Peer::open(&stage).await;
    // Their correlation ids may come again: what was sent so long ago is answered.
    let pour = async {
        while sending.write_all(&frames).await.is_ok() {
            poured += u64::from(FRAMES);
            if poured == u64::from(FRAMES) {
                stage.ready();
            }
        }
        std::future::pending::<()>().await;
    };
    let read = async {
        while let Ok(Some(frame)) = receiving.frame().await {
            let error = (frame.header.is_error() || is_goodbye(&frame)).then(|| error_of(&frame));
            *answers.entry(error.map(|error| error.code)).or_default() += 1;
        }
    };
    let end = tokio::select! {
        () = read, if reads => "closed",
        () = pour => unreachable!("it goes on"),
        () = stage.over() => "open",
    };
    // In order, the end would stand behind all that the systems on both sides still hold, and the server takes minutes to
    // read that.
    sending.as_ref().set_zero_linger().expect("a TCP option");
    let mut tally = Tally::one(end);
    tally.add("frames", poured);
    for (code, count) in answers {
        let name = code.map_or("answers".to_owned(), name_of_code);
        tally.add(name, count);
    }
    tally
}
