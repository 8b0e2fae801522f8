//! Connections that never come to a request: silent, after the preface, inside Hello, and after Hello.

use connectify::protocol::preface;

use super::{
    Stage, Tally,
    peer::{Peer, hello},
};

/// A quarter each; the last kind has done nothing wrong, and stays until keepalive ends it.
pub(crate) async fn half_open(stage: Stage) -> Tally {
    stage.crowd(|stage, number| half_opened(stage, number % 4)).await
}

async fn half_opened(stage: Stage, kind: usize) -> Tally {
    let mut peer = Peer::connect(&stage).await;
    let hello = hello(b"");
    let said = match kind {
        0 => Vec::new(),
        1 => preface().to_vec(),
        2 => [&preface()[..], &hello[..hello.len() / 2]].concat(),
        _ => [&preface()[..], &hello].concat(),
    };
    // If the server is done with it already, that is seen by reading.
    drop(peer.send(&said).await);
    stage.ready();
    if kind < 3 {
        return Tally::one(stage.outcome(peer.end()).await);
    }
    Tally::one(stage.unless_over(peer.end()).await.unwrap_or_else(|| "open".to_owned()))
}
