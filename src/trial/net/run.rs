//! One run: four clients and a server in a storm, then good weather, then the judgement.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    task::{JoinHandle, LocalSet, spawn_local},
    time::{Instant, sleep, timeout},
};

use super::{
    super::{Rng, check, contents, workload},
    consuming::{self, Consuming},
    host::{Ending, Host},
    network::{Mood, Network},
    producing::{self, Producing},
    trace::{Trace, digest},
    weather,
    world::{Done, World},
};
use crate::{client::Client, planted::Planted};

const CLIENTS: usize = 4;
/// The longest storm.
const STORM: Duration = Duration::from_secs(60);
/// When the network is well again, everything settles within this time. A connection that hears nothing is given up
/// after 40 s, the next one is made within 7, and the slowest network of a run needs some seconds for what waits.
pub const SETTLES_WITHIN: Duration = Duration::from_secs(90);
/// When everybody is gone, this is how long the server and the clients may take to notice.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Connections that were tried.
    pub connections: u64,
    /// Connections that were cut.
    pub cuts: u64,
    /// Directions of connections that carried nothing for a while.
    pub partitions: u64,
    /// Frames of the server that came twice.
    pub repeats: u64,
    /// Servers that ended, in whatever way.
    pub restarts: u64,
    /// Records that were acknowledged.
    pub acked: u64,
    /// How long it took to settle once the network was well, in simulated milliseconds.
    pub settled_ms: u64,
    /// A number for all that happened.
    pub digest: u64,
}

/// Runs one seed.
///
/// # Errors
/// The promise that did not hold.
pub fn run(seed: u64, planted: Planted) -> Result<Run, String> {
    traced(seed, planted).1
}

/// [`run`], and all that happened, whatever came of it.
pub fn traced(seed: u64, planted: Planted) -> (Vec<String>, Result<Run, String>) {
    simulate(async {
        let trace = Trace::new();
        let played = play(seed, planted, &trace).await;
        let lines = trace.lines();
        let run = played.map(|(acked, settled_ms)| report(&lines, acked, settled_ms));
        (lines, run)
    })
}

/// Runs something on one thread, and on a clock that jumps.
pub(super) fn simulate<T>(play: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without sockets takes nothing that could be missing");
    runtime.block_on(LocalSet::new().run_until(play))
}

/// Gives the number of acknowledged records, and how long it took to settle.
async fn play(seed: u64, planted: Planted, trace: &Trace) -> Result<(u64, u64), String> {
    let mut rng = Rng::new(seed);
    let network = Network::new(rng.number(), any_mood(&mut rng), trace.clone());
    let world = World::new(network.clone(), trace.clone());
    let mut host = Host::new(network.clone(), trace.clone(), planted, Rng::new(rng.number()));
    host.start()?;
    let storm = Duration::from_millis(rng.below(u64::try_from(STORM.as_millis()).expect("a minute")));
    let until = Instant::now() + storm;
    let workers = workers(&world, until, &mut rng);
    weather::storm(&mut host, &network, trace, CLIENTS, until, Rng::new(rng.number())).await?;
    network.heal();
    let healed = Instant::now();
    trace.note("weather", "is good".to_owned());
    for (name, worker) in workers {
        let left = timeout(SETTLES_WITHIN.saturating_sub(healed.elapsed()), worker).await;
        let ended =
            left.map_err(|_| format!("{name} has not settled {SETTLES_WITHIN:?} after the network was well"))?;
        ended.map_err(|error| format!("{name} panicked: {error}"))?.map_err(|what| format!("{name}: {what}"))?;
    }
    let settled_ms = u64::try_from(healed.elapsed().as_millis()).expect("minutes");
    host.end(Ending::Stop).await?;
    everybody_is_gone().await?;
    Ok((judge(&world, &host, planted)?, settled_ms))
}

fn any_mood(rng: &mut Rng) -> Mood {
    let mut some = |most| if rng.percent(60) { rng.below(most) } else { 0 };
    Mood { cut: some(70), refuse: some(30), hang: some(20), replay: some(30) }
}

type Workers = Vec<(String, JoinHandle<Done>)>;

/// Four clients, each with one connection. No two on one connection wait for the same topic: who is woken first among
/// them is left to chance that has no seed.
fn workers(world: &World, until: Instant, rng: &mut Rng) -> Workers {
    let clients: Vec<Client> = (0..CLIENTS).map(|number| world.client(number, rng)).collect();
    let mut workers = Workers::new();
    let counts: Vec<u64> = (0..3).map(|_| 10 + rng.below(50)).collect();
    let producing = |number: usize, topic| {
        let count = counts[number];
        let pause = (until - Instant::now()) * 6 / u32::try_from(count).expect("tens");
        Producing { number: number as u64, topic, count, pause, until }
    };
    let (first, second) = (counts[0] + counts[1], counts[2]);
    let mut seed = || Rng::new(rng.number());
    let mut add = |name: &str, work: JoinHandle<Done>| workers.push((name.to_owned(), work));
    let (w, c) = (|| world.clone(), |number: usize| clients[number].clone());
    add("producer 0", spawn_local(producing::unnamed(w(), c(0), producing(0, "first"), seed())));
    add("producer 1", spawn_local(producing::named(w(), c(1), producing(1, "first"), true, seed())));
    add("producer 2", spawn_local(producing::named(w(), c(0), producing(2, "second"), false, seed())));
    let consuming = |topic, name, total| Consuming { topic, name, total };
    add("reader", spawn_local(consuming::stream(w(), c(1), consuming("first", Some("reader"), first), seed())));
    add("taker", spawn_local(consuming::dequeue(w(), c(2), consuming("second", Some("taker"), second), seed())));
    let transforming = consuming("first", Some("transformer"), first);
    add("transformer", spawn_local(consuming::transform(w(), c(2), transforming, "derived", seed())));
    add("watcher", spawn_local(consuming::stream(w(), c(3), consuming("second", None, second), seed())));
    add("checker", spawn_local(consuming::stream(w(), c(3), consuming("derived", None, first), seed())));
    workers
}

/// No task is left: of no client, no producer, no connection.
pub(super) async fn everybody_is_gone() -> Done {
    let since = Instant::now();
    loop {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        if tasks == 0 {
            return Ok(());
        }
        if since.elapsed() > ENDS_WITHIN {
            return Err(format!("{tasks} tasks are left when everybody is gone"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Reads what is stored, and asks the checker. Gives the number of acknowledged records.
pub(super) fn judge(world: &World, host: &Host, planted: Planted) -> Result<u64, String> {
    let store = workload::open(host.disk(), planted);
    let store = store.map_err(|error| format!("the store does not open: {}", error.with_causes()))?;
    let (history, consumers) = world.history();
    let log = contents::read_all(&store, &consumers, &BTreeMap::new());
    let log = log.map_err(|error| format!("it cannot be read: {error}"))?;
    check(&history, &log).map_err(|violation| violation.to_string())?;
    let acked = history.acked();
    Ok(acked.map(|append| append.records.len() as u64).sum())
}

fn report(trace: &[String], acked: u64, settled_ms: u64) -> Run {
    let count = |what: &str| trace.iter().filter(|line| line.contains(what)).count() as u64;
    Run {
        connections: count("dials"),
        cuts: count("is cut"),
        partitions: count("nothing arrives"),
        repeats: count("repeats a frame"),
        restarts: count("ends: "),
        acked,
        settled_ms,
        digest: digest(trace),
    }
}
