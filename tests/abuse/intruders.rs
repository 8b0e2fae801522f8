//! Who does not have the credentials, and tries again and again.

use connectify::{
    limits::MAX_CREDENTIALS_BYTES,
    protocol::{Ping, encode_request, preface},
};

use super::{
    Stage, Tally,
    peer::{Peer, hello},
};

/// What the server of this scenario wants to be shown.
pub(crate) const CREDENTIALS: &str = "the right ones";

pub(crate) async fn intruders(stage: Stage) -> Tally {
    stage.crowd(try_again).await
}

async fn try_again(stage: Stage, number: usize) -> Tally {
    let mut tally = Tally::default();
    for attempt in 0.. {
        let mut peer = Peer::connect(&stage).await;
        let said = match (number + attempt) % 4 {
            0 => hello(b""),
            1 => hello(&CREDENTIALS.as_bytes()[1..]),
            2 => hello(&[b'x'; MAX_CREDENTIALS_BYTES + 1]),
            // Without any.
            _ => encode_request(&Ping {}, 1, Vec::new()).to_bytes(),
        };
        drop(peer.send(&[&preface()[..], &said].concat()).await);
        tally.merge(Tally::one(stage.outcome(peer.end()).await));
        if attempt == 3 {
            stage.ready();
        }
        if attempt >= 3 && stage.is_over() {
            break;
        }
    }
    tally
}
