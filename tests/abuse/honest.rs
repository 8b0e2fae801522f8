//! Clients that mean well: callers that append one record after the other, and a reader that sees all of them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use connectify::{Client, Producer, Record, client::Retention};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::PATIENCE;

/// One record in flight each, on a connection of its own.
const CALLERS: usize = 4;
const TOPIC: &str = "honest";

/// Honest clients of one server.
pub(crate) struct Honest {
    callers: Vec<Caller>,
    reader: JoinHandle<()>,
    /// Records that the reader has seen, by offset.
    seen: watch::Receiver<BTreeMap<u64, String>>,
    acknowledged: BTreeMap<u64, String>,
}

struct Caller {
    number: usize,
    producer: Producer,
    record_bytes: usize,
    sent: u64,
}

/// For how long callers append.
#[derive(Clone)]
pub(crate) enum Work {
    /// So many records each.
    Records(u64),
    /// For this long.
    Lasting(Duration),
    /// Until it is so.
    Until(Arc<AtomicBool>),
}

impl Work {
    /// Until the flag is set that comes with it.
    pub(crate) fn until_told() -> (Self, Arc<AtomicBool>) {
        let is_over = Arc::new(AtomicBool::new(false));
        (Self::Until(is_over.clone()), is_over)
    }

    fn is_done(&self, records: u64, began: Instant) -> bool {
        match self {
            Self::Records(count) => records >= *count,
            Self::Lasting(duration) => began.elapsed() >= *duration,
            Self::Until(is_over) => is_over.load(SeqCst),
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A client that waits for a busy server.
async fn connect(address: SocketAddr, credentials: &str) -> Client {
    let builder = Client::builder(address.to_string()).credentials(credentials).name("honest");
    builder.connect_timeout(PATIENCE).request_timeout(PATIENCE).connect().await.expect("the server answers")
}

impl Honest {
    pub(crate) async fn open(address: SocketAddr, credentials: &str, record_bytes: usize) -> Self {
        let mut callers = Vec::new();
        for number in 0..CALLERS {
            let client = connect(address, credentials).await;
            let producer = client.producer(TOPIC).create_topic(Retention::default()).open().await.expect("opens");
            callers.push(Caller { number, producer, record_bytes, sent: 0 });
        }
        let consumer = connect(address, credentials).await.consumer(TOPIC).open().await.expect("opens");
        let (seeing, seen) = watch::channel(BTreeMap::new());
        Self { callers, reader: tokio::spawn(read(consumer, seeing)), seen, acknowledged: BTreeMap::new() }
    }

    /// Appends; gives how long each record took, in microseconds, sorted.
    pub(crate) async fn work(&mut self, work: &Work) -> Vec<u64> {
        let mut working = JoinSet::new();
        for caller in self.callers.drain(..) {
            working.spawn(caller.work(work.clone()));
        }
        let mut latencies = Vec::new();
        for (caller, done) in working.join_all().await {
            self.callers.push(caller);
            for (offset, value, latency) in done {
                latencies.push(latency);
                let twice = self.acknowledged.insert(offset, value);
                assert_eq!(twice, None, "offset {offset} was given twice");
            }
        }
        latencies.sort_unstable();
        latencies
    }

    /// Checks that the reader sees every record, at the offset that was acknowledged, and no other.
    pub(crate) async fn check(&mut self) {
        let count = self.acknowledged.len();
        let seen = timeout(PATIENCE, self.seen.wait_for(|seen| seen.len() >= count)).await;
        let seen = seen.unwrap_or_else(|_| panic!("the reader waits for {count} records"));
        assert_eq!(*seen.expect("the reader goes on"), self.acknowledged);
    }
}

impl Drop for Honest {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Caller {
    async fn work(mut self, work: Work) -> (Self, Vec<(u64, String, u64)>) {
        let (mut done, start) = (Vec::new(), Instant::now());
        while !work.is_done(done.len() as u64, start) {
            let value = format!("{}-{}-{}", self.number, self.sent, "x".repeat(self.record_bytes));
            let value = value[..self.record_bytes].to_owned();
            let began = Instant::now();
            let sent = timeout(PATIENCE, self.producer.send(Record::new(value.clone()))).await;
            let offset = sent.expect("an append in time").expect("an append is granted").0;
            done.push((offset, value, microseconds(began.elapsed())));
            self.sent += 1;
        }
        (self, done)
    }
}

async fn read(mut consumer: connectify::Consumer, seeing: watch::Sender<BTreeMap<u64, String>>) {
    loop {
        let record = consumer.next_record().await.expect("neither gaps nor damage").expect("no end");
        let value = String::from_utf8(record.record.value.to_vec()).expect("text");
        seeing.send_modify(|seen| assert_eq!(seen.insert(record.offset.0, value), None, "a record came twice"));
    }
}
