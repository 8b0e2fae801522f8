//! `kill -9` at random moments, again and again: whatever was acknowledged is there, once, at its offset, in order, and
//! nothing is there twice.
//!
//! Producers and readers of the public client run all the time and find their way back by themselves. The moments follow
//! from a seed, which is printed; `CONNECTIFY_KILLS` sets how many there are, `CONNECTIFY_SEED` repeats a run as far as
//! the scheduling of the machine allows.

#![allow(clippy::print_stderr, reason = "a failure shows its seed")]

use std::{
    collections::HashMap,
    env,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use connectify::{
    Client, Compression, Record,
    client::{Retention, Ticket},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet, time::timeout};

/// Far longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const KILLS: u32 = 20;
const PRODUCERS: usize = 8;
const TOPICS: usize = 4;
/// Acknowledgements between a server's first one and its end, at most.
const MAX_ACKS: u64 = 1500;
/// Of a large record.
const LARGE_BYTES: usize = 200_000;
/// Records that a producer has not seen acknowledged, at most.
const AHEAD: usize = 200;

/// The server as a process, which is killed when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL. A process that has ended by itself has been found out already.
        self.0.kill().ok();
        self.0.wait().expect("our own child");
    }
}

/// Starts a server; gives it with the address that it says it listens on.
fn serve(data: &Path, listen: &str) -> (Process, String) {
    // The port may be taken for a moment, by a connection of somebody else.
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = TcpListener::bind(listen) {
        assert!(Instant::now() < deadline, "cannot listen on {listen}: {error}");
        thread::yield_now();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_connectify"));
    command.args(["serve", "--segment-bytes", "256KiB", "--reserve-bytes", "0", "--listen", listen, "--data"]);
    command.arg(data).env("CONNECTIFY_LOG", "error").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Process(command.spawn().expect("the binary starts"));
    let mut line = String::new();
    let stdout = process.0.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
    let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
    let address = address.unwrap_or_else(|| panic!("the server does not start on {}", data.display())).to_owned();
    (process, address)
}

/// A record that was acknowledged, with where it is said to be if that is known.
struct Acknowledged {
    value: String,
    offset: Option<u64>,
}

/// What all tasks share.
struct Shared {
    address: String,
    /// Counts acknowledgements of all producers.
    acks: watch::Sender<u64>,
    is_over: AtomicBool,
}

impl Shared {
    async fn client(&self) -> Client {
        let builder = Client::builder(self.address.clone());
        let builder = builder.reconnect(Duration::from_millis(1), Duration::from_millis(50)).connect_timeout(PATIENCE);
        builder.connect().await.expect("the server comes back")
    }
}

/// Produces unique records until it is told that it is over; gives what was acknowledged, in order.
async fn produce(shared: Arc<Shared>, who: usize) -> Vec<Acknowledged> {
    let client = shared.client().await;
    let topic = topic(who % TOPICS);
    let compression = [Compression::None, Compression::Lz4, Compression::Zstd][who % 3];
    let builder = client.producer(&topic).compression(compression).batch_bytes(4000);
    let builder = if who < TOPICS { builder.name(format!("producer {who}")) } else { builder };
    let producer = builder.open().await.expect("opens");
    let (mut ahead, mut acknowledged) = (std::collections::VecDeque::new(), Vec::new());
    for number in 0.. {
        let is_over = shared.is_over.load(SeqCst);
        if !is_over {
            // Some are so large that their pages take another way to the disk.
            let filler = if who == 0 && number % 25 == 0 { LARGE_BYTES } else { (number * 37 + who) % 900 };
            let value = format!("{who}-{number}-{}", "x".repeat(filler));
            let ticket = producer.enqueue(Record::new(value.clone())).await.expect("the producer lives on");
            ahead.push_back((value, ticket));
        }
        if ahead.len() < AHEAD && !is_over {
            continue;
        }
        let Some((value, ticket)) = ahead.pop_front() else { break };
        let offset = settled(ticket).await;
        acknowledged.push(Acknowledged { value, offset });
        shared.acks.send_modify(|acks| *acks += 1);
    }
    producer.close().await.expect("everything is durable");
    acknowledged
}

async fn settled(ticket: Ticket) -> Option<u64> {
    match ticket.await {
        Ok(offset) => Some(offset.0),
        Err(connectify::ClientError::OffsetUnknown) => None,
        Err(error) => panic!("a record was not delivered: {error:?}"),
    }
}

/// Reads a topic while it grows, until it has read as many records as there are in the end.
async fn tail(shared: Arc<Shared>, topic: String, end: Arc<AtomicU64>) -> Vec<String> {
    let client = shared.client().await;
    let mut consumer = client.consumer(&topic).credit_bytes(50_000).open().await.expect("opens");
    let mut found = Vec::new();
    loop {
        // The end becomes known when nothing more is written; a record of its own says so.
        if found.len() as u64 == end.load(SeqCst) {
            return found;
        }
        let record = consumer.next_record().await.expect("neither gaps nor damage").expect("no end");
        assert_eq!(record.offset.0, found.len() as u64, "offsets of {topic} are dense");
        found.push(String::from_utf8(record.record.value.to_vec()).expect("text"));
    }
}

fn topic(number: usize) -> String {
    format!("topic-{number}")
}

fn number_of(variable: &str) -> Option<u64> {
    Some(env::var(variable).ok()?.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Kills and starts the server; gives the last one.
async fn kill_again_and_again(data: &Path, shared: &Shared, mut server: Process, rng: &mut StdRng) -> Process {
    let kills = number_of("CONNECTIFY_KILLS").unwrap_or(KILLS.into());
    for kill in 0..kills {
        let wanted = *shared.acks.borrow() + rng.random_range(1..MAX_ACKS);
        wait_for_acks(shared, wanted).await;
        drop(server);
        eprintln!("kill {kill} after {} acknowledgements", *shared.acks.borrow());
        server = serve(data, &shared.address).0;
    }
    // The last one, too, has something to do.
    let wanted = *shared.acks.borrow() + MAX_ACKS;
    wait_for_acks(shared, wanted).await;
    server
}

async fn wait_for_acks(shared: &Shared, wanted: u64) {
    let mut acks = shared.acks.subscribe();
    let waited = timeout(PATIENCE, acks.wait_for(|acks| *acks >= wanted)).await;
    let waited = waited.unwrap_or_else(|_| panic!("{} of {wanted} acknowledgements", *shared.acks.borrow()));
    waited.expect("the sender lives");
}

/// Compares what is stored with what was acknowledged.
fn check(stored: &[Vec<String>], acknowledged: &[Vec<Acknowledged>]) {
    let mut places = HashMap::new();
    for (topic, values) in stored.iter().enumerate() {
        let mut last = HashMap::new();
        for (offset, value) in values.iter().enumerate() {
            let twice = places.insert(value.as_str(), (topic, offset as u64));
            assert_eq!(twice, None, "{value} is stored twice");
            let mut parts = value.split('-').map(|part| part.parse::<u64>());
            let (Some(Ok(who)), Some(Ok(number))) = (parts.next(), parts.next()) else { panic!("{value}?") };
            let before = last.insert(who, number);
            assert_eq!(before.map_or(0, |before| before + 1), number, "records of producer {who} are in order");
        }
    }
    for (who, acknowledged) in acknowledged.iter().enumerate() {
        for Acknowledged { value, offset } in acknowledged {
            let place = places.remove(value.as_str());
            let place = place.unwrap_or_else(|| panic!("{value} was acknowledged at {offset:?}, and is lost"));
            assert_eq!(place.0, who % TOPICS);
            assert!(offset.is_none_or(|offset| offset == place.1), "{value} is at {place:?}, not at {offset:?}");
        }
    }
    assert!(places.is_empty(), "{} records are stored that nobody was told of", places.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_once_at_its_offset_and_in_order() {
    let seed = number_of("CONNECTIFY_SEED").unwrap_or_else(rand::random);
    eprintln!("CONNECTIFY_SEED={seed}");
    let mut data = tempfile::tempdir().expect("a temporary directory");
    // Evidence, should this fail.
    data.disable_cleanup(true);
    let (server, address) = serve(data.path(), "127.0.0.1:0");
    let shared = Arc::new(Shared { address, acks: watch::Sender::new(0), is_over: AtomicBool::new(false) });
    let admin = shared.client().await;
    let (mut tails, mut ends) = (Vec::new(), Vec::new());
    for number in 0..TOPICS {
        admin.create_topic(&topic(number), Retention::default()).await.expect("made");
        let end = Arc::new(AtomicU64::new(u64::MAX));
        tails.push(tokio::spawn(tail(Arc::clone(&shared), topic(number), Arc::clone(&end))));
        ends.push(end);
    }
    let mut producing = JoinSet::new();
    for who in 0..PRODUCERS {
        let shared = Arc::clone(&shared);
        producing.spawn(async move { (who, produce(shared, who).await) });
    }

    let mut rng = StdRng::seed_from_u64(seed);
    let server = kill_again_and_again(data.path(), &shared, server, &mut rng).await;
    shared.is_over.store(true, SeqCst);
    let mut acknowledged = timeout(PATIENCE, producing.join_all()).await.expect("all producers come to an end");
    acknowledged.sort_by_key(|(who, _)| *who);
    let mut acknowledged: Vec<_> = acknowledged.into_iter().map(|(_, acknowledged)| acknowledged).collect();

    // A last record in each topic, so that readers wake and see that it is the last.
    let mut stored = Vec::new();
    for (number, (reading, end)) in tails.into_iter().zip(ends).enumerate() {
        let who = PRODUCERS + number;
        end.store(admin.describe_topic(&topic(number)).await.expect("described").topic.tail + 1, SeqCst);
        let producer = admin.producer(&topic(number)).open().await.expect("opens");
        let offset = producer.send(Record::new(format!("{who}-0-"))).await.expect("durable").0;
        acknowledged.push(vec![Acknowledged { value: format!("{who}-0-"), offset: Some(offset) }]);
        stored.push(timeout(PATIENCE, reading).await.expect("the reader comes to its end").expect("no panic"));
    }
    check(&stored, &acknowledged);

    // And once more from the disk alone, after another kill: the same records at the same offsets.
    drop(server);
    let (_server, address) = serve(data.path(), "127.0.0.1:0");
    let client = Client::connect(address).await.expect("the server answers");
    for (number, stored) in stored.iter().enumerate() {
        let mut consumer = client.consumer(&topic(number)).open().await.expect("opens");
        assert_eq!(consumer.lag(), stored.len() as u64);
        for value in stored {
            let record = timeout(PATIENCE, consumer.next_record()).await.expect("a record in time");
            assert_eq!(record.expect("good").expect("no end").record.value, value.as_bytes());
        }
    }
    data.disable_cleanup(false);
}
