//! What goes wrong while the workers work: cuts, partitions, servers that stop, are killed, or lose their power.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    super::Rng,
    host::{Ending, Host},
    network::Network,
    pipe::{Cut, Side},
    trace::Trace,
};

/// The longest pause between two events.
const PAUSE_MS: u64 = 4_000;
/// The longest that a server is down.
const DOWN_MS: u64 = 4_000;

/// Lets things go wrong until a time, and leaves a server that runs.
pub(super) async fn storm(
    host: &mut Host,
    network: &Network,
    trace: &Trace,
    clients: usize,
    until: Instant,
    mut rng: Rng,
) -> Result<(), String> {
    loop {
        sleep(Duration::from_millis(rng.below(PAUSE_MS))).await;
        if Instant::now() >= until {
            return Ok(());
        }
        let client = rng.index(clients);
        match rng.below(10) {
            0..=2 => network.cut(client, any_cut(&mut rng)),
            3..=6 => {
                let long = [300, 3_000, 30_000, 70_000][rng.index(4)];
                let long = Duration::from_millis(rng.below(long));
                let sides: &[Side] =
                    [&[Side::Client][..], &[Side::Server], &[Side::Client, Side::Server]][rng.index(3)];
                trace.note("weather", format!("nothing arrives from {sides:?} of client {client} for {long:?}"));
                for side in sides {
                    network.block(client, *side, Instant::now() + long);
                }
            }
            _ => {
                let ending = [Ending::Stop, Ending::Kill, Ending::PowerCut][rng.index(3)];
                host.end(ending).await?;
                sleep(Duration::from_millis(rng.below(DOWN_MS))).await;
                host.start()?;
            }
        }
    }
}

/// How a connection may be cut.
pub(super) fn any_cut(rng: &mut Rng) -> Cut {
    match rng.below(8) {
        0..=3 => Cut::Reset,
        4 | 5 => Cut::Fin,
        6 => Cut::HalfOpen(if rng.percent(50) { Side::Client } else { Side::Server }),
        _ => Cut::Silent,
    }
}
