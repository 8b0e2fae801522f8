//! Connections that come and go, a thousand a second: Hello, one Ping, and gone.

use std::time::Duration;

use connectify::protocol::Ping;

use super::{Stage, Tally, peer::Peer};

/// Between the connections of one peer.
const PAUSE: Duration = Duration::from_millis(40);
/// At least so many for each.
const VISITS: u64 = 8;

/// Every third leaves by a reset, and every third right after Hello.
pub(crate) async fn reconnects(stage: Stage) -> Tally {
    stage.crowd(come_and_go).await
}

async fn come_and_go(stage: Stage, number: usize) -> Tally {
    let (mut visits, mut pause) = (0, tokio::time::interval(PAUSE));
    while visits < VISITS || !stage.is_over() {
        pause.tick().await;
        let mut peer = Peer::open(&stage).await;
        let kind = (number as u64 + visits) % 3;
        if kind < 2 {
            peer.ask(&Ping {}).await.expect("it is answered");
        }
        if kind == 0 {
            peer.reset();
        }
        visits += 1;
        if visits == 1 {
            stage.ready();
        }
    }
    Tally::of("connections", visits)
}
