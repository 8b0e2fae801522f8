//! `kill -9` of the real binary 5 to 500 ms after it listens, again and again, under 8 producers and 3 consumers of the
//! public client over TCP: the checker finds every promise kept. It shows what becomes of a crash of the process; what a
//! power cut leaves is simulated in `tests/powercut.rs`, because here the page cache survives.
//!
//! Producers and consumers run all the time and find their way back by themselves. `CONNECTIFY_KILLS` sets how many kills
//! there are, in runs of 100 at most, each with data of its own. The moments follow from `CONNECTIFY_SEED`, which is
//! printed and repeats a run as far as the scheduling of the machine allows.

#![allow(clippy::print_stderr, reason = "a campaign shows how far it is, and a failure its seed")]

#[path = "kill/consuming.rs"]
mod consuming;
#[path = "kill/process.rs"]
mod process;
#[path = "kill/producing.rs"]
mod producing;
#[path = "kill/recorder.rs"]
mod recorder;

use std::{env, path::Path, sync::Arc, time::Duration};

use connectify::{
    Client,
    client::Retention,
    trial::{History, Log, Outcome, check},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{task::JoinSet, time::timeout};

use process::Process;
use recorder::Recorder;

/// Far longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const TOPICS: usize = 4;
/// In `cargo test`.
const KILLS: u64 = 20;
/// With the same data; so many records are held in memory until they are compared.
const KILLS_IN_A_RUN: u64 = 100;
/// How long a server lives.
const LIFE_MS: std::ops::RangeInclusive<u64> = 5..=500;
/// Acknowledgements that the last server of a run gives, at least.
const LAST_ACKS: u64 = 500;

pub(crate) fn topic(number: usize) -> String {
    format!("topic-{number}")
}

fn number_of(variable: &str) -> Option<u64> {
    Some(env::var(variable).ok()?.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Kills and starts the server, so many times; gives the last one.
async fn kill_again_and_again(
    data: &Path,
    recorder: &Recorder,
    mut server: Process,
    kills: u64,
    rng: &mut StdRng,
) -> Process {
    let mut acks = recorder.acks();
    for _ in 0..kills {
        // The moment of the crash: nothing is waited for.
        tokio::time::sleep(Duration::from_millis(rng.random_range(LIFE_MS))).await;
        let address = server.address.clone();
        drop(server);
        server = Process::serve(data, &address);
    }
    let wanted = *acks.borrow() + LAST_ACKS;
    let given = timeout(PATIENCE, acks.wait_for(|acks| *acks >= wanted)).await;
    drop(given.unwrap_or_else(|_| panic!("fewer than {LAST_ACKS} acknowledgements after the last kill")));
    recorder.end();
    server
}

/// Everything that runs beside the kills, until the recorder says that it is over.
fn load(recorder: &Arc<Recorder>, seed: u64) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for who in 0..producing::STREAMING {
        tasks.spawn(producing::stream(recorder.clone(), who));
    }
    tasks.spawn(producing::transact(recorder.clone(), producing::STREAMING));
    tasks.spawn(consuming::follow(recorder.clone(), seed));
    tasks.spawn(consuming::dequeue(recorder.clone()));
    tasks.spawn(consuming::fetch(recorder.clone(), seed));
    tasks
}

/// What there is, as the checker sees it.
async fn read_log(client: &Client) -> Log {
    let mut log = Log::default();
    for number in 0..TOPICS {
        log.topics.insert(topic(number), consuming::read_all(client, &topic(number)).await);
    }
    for consumer in [consuming::FOLLOWER, consuming::DEQUEUER, consuming::MOVED_BY_PRODUCER] {
        log.cursors.extend([consuming::cursor(client, consumer).await]);
    }
    log
}

/// Whether all took part: a run in which nothing is read shows nothing.
fn assert_lively(history: &History) {
    for topic in (0..3).map(topic) {
        let seen = history.reads.iter().flat_map(|read| &read.seen).filter(|seen| seen.topic == topic);
        assert!(seen.count() > 50, "hardly anything of {topic} was read");
    }
    let moved = |consumer| history.commits.iter().filter(|commit| commit.consumer == consumer).count();
    assert!(moved(consuming::FOLLOWER.0) > 0 && moved(consuming::DEQUEUER.0) > 0, "no cursor was moved");
    assert!(history.appends.iter().filter(|append| !append.cursors.is_empty()).count() > 5, "hardly any cursor moved");
    assert!(
        history.appends.iter().all(|append| matches!(append.outcome, Outcome::Acked(..))),
        "a record is not settled"
    );
}

/// One run: load, kills, and the comparison, once more from the disk alone. Gives how many records were acknowledged.
async fn run(seed: u64, kills: u64) -> usize {
    let mut data = tempfile::tempdir().expect("a temporary directory");
    // Evidence, should this fail.
    data.disable_cleanup(true);
    let server = Process::serve(data.path(), "127.0.0.1:0");
    let recorder = Arc::new(Recorder::new(server.address.clone()));
    let admin = recorder.client().await;
    for number in 0..TOPICS {
        admin.create_topic(&topic(number), Retention::default()).await.expect("made");
    }
    drop(admin);
    let load = load(&recorder, seed);
    let server = kill_again_and_again(data.path(), &recorder, server, kills, &mut StdRng::seed_from_u64(seed)).await;
    timeout(PATIENCE, load.join_all()).await.expect("everybody comes to an end");
    let history = recorder.take_history();
    assert_lively(&history);
    drop(server);
    let server = Process::serve(data.path(), "127.0.0.1:0");
    let client = Client::connect(server.address.clone()).await.expect("the server answers");
    let log = read_log(&client).await;
    check(&history, &log).unwrap_or_else(|violation| panic!("seed {seed}, {}: {violation}", data.path().display()));
    data.disable_cleanup(false);
    history.appends.iter().map(|append| append.records.len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_once_at_its_offset_and_in_order() {
    let first = number_of("CONNECTIFY_SEED").unwrap_or_else(rand::random);
    let wanted = number_of("CONNECTIFY_KILLS").unwrap_or(KILLS);
    let (mut kills, mut acked) = (0, 0);
    for seed in first.. {
        let count = KILLS_IN_A_RUN.min(wanted - kills);
        eprintln!("CONNECTIFY_SEED={seed} CONNECTIFY_KILLS={count}");
        acked += run(seed, count).await;
        kills += count;
        eprintln!("{kills} kills, {acked} records acknowledged: every promise held");
        if kills >= wanted {
            break;
        }
    }
}
