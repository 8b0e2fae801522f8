//! Peers that send one half of a frame of 30 KB, and stop: together they hold more than all memory for arriving frames.

use connectify::protocol::Opcode;

use super::{Stage, Tally, peer::Peer, slow::beginning};

const FRAME_BYTES: u32 = 30_000;

pub(crate) async fn half_frames(stage: Stage) -> Tally {
    stage.crowd(stall).await
}

async fn stall(stage: Stage, _: usize) -> Tally {
    let mut peer = Peer::open(&stage).await;
    drop(peer.send(&beginning(Opcode::Append, FRAME_BYTES, FRAME_BYTES as usize / 2)).await);
    stage.ready();
    Tally::one(stage.outcome(peer.end()).await)
}
