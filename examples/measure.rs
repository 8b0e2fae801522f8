//! Measures a running server through the public client. Every figure is of durable records.
//!
//! ```text
//! cargo run --release --example measure -- callers [CALLERS] [TOPICS] [SECONDS]   one 200-byte record in flight each
//! cargo run --release --example measure -- stream [SECONDS] [RECORD_BYTES]        one producer, batches of 1 MiB
//! cargo run --release --example measure -- tail [RATE] [SECONDS]                  producer to live consumer
//! cargo run --release --example measure -- fill [GIB]                             1 KiB records until so much is stored
//! cargo run --release --example measure -- floor [DIR] [SECONDS]                  the disk: 1 MiB, fdatasync, again
//! ```
//!
//! Beside `stream`, in the same minute and on the same disk, runs what a program can get that does nothing but write and
//! sync: `fio --name=floor --rw=write --bs=1m --fdatasync=1 --fallocate=none --size=1g --filename=FILE`.
//!
//! The server is at `CONNECTIFY_SERVER`, or 127.0.0.1:7466.

#![expect(clippy::print_stdout, reason = "the figures are its output")]
#![expect(clippy::cast_possible_truncation, reason = "figures are rounded")]

use std::{
    error::Error,
    fs::File,
    io::Write as _,
    time::{Duration, Instant},
};

use bytes::Bytes;
use connectify::{
    Client, Producer, Record, Timestamp,
    client::{Retention, Start},
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The arguments after the workload, as numbers, with a default for those that are not given.
struct Arguments(Vec<String>);

impl Arguments {
    fn number(&self, at: usize, default: u64) -> u64 {
        self.0.get(at).and_then(|argument| argument.parse().ok()).unwrap_or(default)
    }

    fn seconds(&self, at: usize, default: u64) -> Duration {
        Duration::from_secs(self.number(at, default))
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let workload = arguments.next().unwrap_or_default();
    let rest = Arguments(arguments.collect());
    match workload.as_str() {
        "callers" => callers(rest.number(0, 64), rest.number(1, 1), rest.seconds(2, 5)).await,
        "stream" => stream(rest.seconds(0, 5), rest.number(1, 1024), u64::MAX).await,
        "fill" => stream(Duration::MAX, 1024, rest.number(0, 1) << 30).await,
        "tail" => tail(rest.number(0, 1000), rest.seconds(1, 5)).await,
        "floor" => floor(rest.0.first().map_or(".", String::as_str), rest.seconds(1, 5)),
        _ => Err("say callers, stream, tail, fill or floor".into()),
    }
}

async fn connect() -> Outcome<Client> {
    let server = std::env::var("CONNECTIFY_SERVER").unwrap_or_else(|_| "127.0.0.1:7466".to_owned());
    Ok(Client::connect(server).await?)
}

/// Payloads that do not repeat within a page, so that nothing below can compress them away.
fn payload(bytes: u64) -> Bytes {
    (0..bytes).map(|index| (index.wrapping_mul(7919) >> 3) as u8).collect()
}

fn microseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn report(what: &str, records: usize, bytes: u64, elapsed: Duration, mut latencies: Vec<u64>) {
    latencies.sort_unstable();
    let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or(0);
    let seconds = elapsed.as_secs_f64();
    let (rate, megabytes) = (records as f64 / seconds, records as f64 * bytes as f64 / seconds / 1e6);
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    println!("{what}: {rate:.0} records/s {megabytes:.1} MB/s p50={p50}us p99={p99}us p99.9={p999}us");
}

/// Each caller has a connection of its own and waits for each record; with several topics it goes round among them.
async fn callers(callers: u64, topics: u64, duration: Duration) -> Outcome<()> {
    let mut tasks = Vec::new();
    let mut opening = tokio::task::JoinSet::new();
    for caller in 0..callers {
        opening.spawn(async move {
            let client = connect().await?;
            let mut producers = Vec::new();
            for topic in (caller..topics.max(caller + 1)).step_by(callers as usize) {
                let name = format!("callers-{}", topic % topics);
                producers.push(client.producer(&name).create_topic(Retention::default()).open().await?);
            }
            Outcome::Ok(producers)
        });
    }
    let producers = opening.join_all().await.into_iter().collect::<Outcome<Vec<Vec<Producer>>>>()?;
    let (start, value) = (Instant::now(), payload(200));
    for producers in producers {
        let value = value.clone();
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            for producer in producers.iter().cycle() {
                let sent = Instant::now();
                if start.elapsed() > duration {
                    break;
                }
                producer.send(Record::new(value.clone())).await?;
                latencies.push(microseconds(sent));
            }
            Outcome::Ok(latencies)
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let what = format!("{callers} callers, {topics} topics");
    report(&what, latencies.len(), 200, start.elapsed(), latencies);
    Ok(())
}

async fn stream(duration: Duration, record_bytes: u64, total_bytes: u64) -> Outcome<()> {
    let client = connect().await?;
    let producer = client.producer("stream").create_topic(Retention::default());
    let producer = producer.batch_bytes(1 << 20).window_bytes(8 << 20).open().await?;
    let (start, value) = (Instant::now(), payload(record_bytes));
    let mut records = 0;
    while start.elapsed() < duration && (records as u64) * record_bytes < total_bytes {
        for _ in 0..1000 {
            drop(producer.enqueue(Record::new(value.clone())).await?);
        }
        records += 1000;
    }
    producer.close().await?;
    report("stream", records, record_bytes, start.elapsed(), Vec::new());
    Ok(())
}

/// Sends at fixed times, whether the last record has arrived or not, and counts from when it was due.
async fn tail(rate: u64, duration: Duration) -> Outcome<()> {
    let client = connect().await?;
    let producer = client.producer("tail").create_topic(Retention::default()).open().await?;
    let mut consumer = client.consumer("tail").start(Start::Tail).open().await?;
    let total = rate * duration.as_secs();
    let reader = tokio::spawn(async move {
        let mut latencies = Vec::new();
        while (latencies.len() as u64) < total {
            let Some(record) = consumer.next_record().await? else { break };
            let due = record.record.timestamp.map_or(0, |timestamp| timestamp.0);
            latencies.push(Timestamp::now().0.saturating_sub(due));
        }
        Outcome::Ok(latencies)
    });
    let (start, value) = (Instant::now(), payload(200));
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut sent = 0;
    while sent < total {
        tick.tick().await;
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due.min(total) {
            drop(producer.enqueue(Record::new(value.clone()).timestamp(Timestamp::now())).await?);
            sent += 1;
        }
    }
    let latencies = reader.await??;
    report(&format!("tail at {rate}/s"), latencies.len(), 200, start.elapsed(), latencies);
    producer.close().await?;
    Ok(())
}

fn floor(dir: &str, duration: Duration) -> Outcome<()> {
    let path = std::path::Path::new(dir).join("measure-floor");
    let (mut file, block, start) = (File::create(&path)?, payload(1 << 20), Instant::now());
    let mut blocks = 0;
    while start.elapsed() < duration {
        file.write_all(&block)?;
        file.sync_data()?;
        blocks += 1;
    }
    report("floor", blocks, 1 << 20, start.elapsed(), Vec::new());
    Ok(std::fs::remove_file(&path)?)
}
