//! Signs of life: after some silence a Ping, after twice that the end (protocol.md section 2).

use tokio::time::sleep_until;

use super::shared::Shared;
use crate::client::error::Disconnect;

/// Runs until the server has been silent for too long.
pub(super) async fn watch(shared: &Shared) -> Disconnect {
    let silence = shared.granted().keepalive;
    loop {
        let heard = shared.last_heard();
        sleep_until(heard + silence).await;
        if shared.last_heard() > heard {
            continue;
        }
        shared.ping();
        sleep_until(heard + 2 * silence).await;
        if shared.last_heard() == heard {
            return Disconnect::Silent(2 * silence);
        }
    }
}
