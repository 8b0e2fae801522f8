//! A short dialogue, always the same, whose first connection is cut at any byte.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{
    super::Rng,
    consuming::{self, Consuming},
    host::{Ending, Host},
    network::{Mood, Network},
    pipe::{Cut, Plan, Side},
    producing::{self, Producing},
    run::{SETTLES_WITHIN, everybody_is_gone, judge, simulate},
    trace::Trace,
    world::World,
};
use crate::planted::Planted;

/// Records that it writes, reads, and dequeues.
const RECORDS: u64 = 3;
/// Further than the dialogue goes.
const NEVER: Plan = Plan { side: Side::Client, at: u64::MAX, cut: Cut::Reset };

/// What was said on the first connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Bytes that arrived at the server.
    pub client_bytes: u64,
    /// Bytes that arrived at the client.
    pub server_bytes: u64,
    /// Connections that it took.
    pub connections: u64,
}

/// Registers, appends, reads, commits and dequeues; the first connection is cut like this. Everything must have happened
/// once all the same.
///
/// # Errors
/// The promise that did not hold.
pub fn dialogue(plan: Option<Plan>, planted: Planted) -> Result<Spoken, String> {
    simulate(speak(plan.unwrap_or(NEVER), planted))
}

async fn speak(plan: Plan, planted: Planted) -> Result<Spoken, String> {
    let mut rng = Rng::new(1);
    let trace = Trace::new();
    let network = Network::new(rng.number(), Mood::default(), trace.clone());
    let world = World::new(network.clone(), trace.clone());
    let mut host = Host::new(network.clone(), trace.clone(), planted, Rng::new(rng.number()));
    host.start()?;
    network.plan_next(plan);
    let client = world.client(0, &mut rng);
    let producing =
        Producing { number: 0, topic: "said", count: RECORDS, pause: Duration::ZERO, until: Instant::now() };
    let consuming = |name| Consuming { topic: "said", name: Some(name), total: RECORDS };
    let talk = async {
        producing::named(world.clone(), client.clone(), producing, true, Rng::new(2)).await?;
        consuming::stream(world.clone(), client.clone(), consuming("reader"), Rng::new(3)).await?;
        consuming::dequeue(world.clone(), client.clone(), consuming("taker"), Rng::new(4)).await
    };
    timeout(SETTLES_WITHIN, talk).await.map_err(|_| format!("it has not settled in {SETTLES_WITHIN:?}"))??;
    drop(client);
    host.end(Ending::Stop).await?;
    everybody_is_gone().await?;
    judge(&world, &host, planted)?;
    Ok(spoken(&trace.lines()))
}

fn spoken(trace: &[String]) -> Spoken {
    let bytes = |what: &str| {
        let said = trace.iter().filter_map(|line| line.split_once(what));
        said.filter_map(|(_, bytes)| bytes.parse::<u64>().ok()).sum()
    };
    Spoken {
        client_bytes: bytes("connection 0.1 Client > "),
        server_bytes: bytes("connection 0.1 Server > "),
        connections: trace.iter().filter(|line| line.contains("dials")).count() as u64,
    }
}
