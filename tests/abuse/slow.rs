//! Peers that send one byte a second: in the preface, in Hello, in a short frame, in a frame that takes memory.

use std::time::Duration;

use connectify::protocol::{Opcode, preface};
use tokio::io::AsyncWriteExt;

use super::{
    Stage, Tally,
    peer::{Peer, hello},
};

/// Of a frame, once it takes a part of the server's memory for arriving frames.
const BEGUN_BYTES: usize = 4096;

/// A frame that is announced as so long, and its first bytes.
pub(crate) fn beginning(opcode: Opcode, length: u32, bytes: usize) -> Vec<u8> {
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend_from_slice(&(opcode as u16).to_le_bytes());
    frame.extend_from_slice(&[1, 0, 9, 0, 0, 0]);
    frame.resize(bytes.max(12), 0);
    frame
}

pub(crate) async fn one_byte_a_second(stage: Stage) -> Tally {
    stage.crowd(|stage, number| slow(stage, number % 4)).await
}

async fn slow(stage: Stage, kind: usize) -> Tally {
    let greeting = [&preface()[..], &hello(b"")].concat();
    let mut peer = if kind < 2 { Peer::connect(&stage).await } else { Peer::open(&stage).await };
    let (at_once, drops) = match kind {
        0 => (Vec::new(), greeting),
        1 => (preface().to_vec(), hello(b"").to_vec()),
        2 => (beginning(Opcode::Ping, 1000, 12), vec![0; 1000]),
        _ => (beginning(Opcode::Append, 100_000, BEGUN_BYTES), vec![0; 1000]),
    };
    drop(peer.send(&at_once).await);
    stage.ready();
    let Peer { sending, receiving, .. } = &mut peer;
    let drip = async {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        for byte in drops {
            second.tick().await;
            // A server that has closed the connection is seen by reading.
            drop(sending.write_all(&[byte]).await);
        }
    };
    let outcome = async {
        tokio::select! {
            end = receiving.end() => end,
            () = drip => "taken".to_owned(),
        }
    };
    Tally::one(stage.outcome(outcome).await)
}
