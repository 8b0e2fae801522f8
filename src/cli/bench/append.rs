//! `connectify bench append`: how much a server takes.

use std::{sync::Arc, time::Instant};

use anyhow::Context;
use bytes::Bytes;
use connectify::{Client, Producer, Record, limits::MAX_PRODUCER_RANGES, protocol::Retention};
use tokio::{sync::Mutex, task::JoinSet};

use super::{
    options::{LoadArgs, ReportArgs},
    payload,
    report::{Report, Setup},
    run::{self, Extent, Measured, Run, Tally},
    target::{Target, TargetArgs, close_all},
};
use crate::cli::byte_size::ByteSize;

/// What a record may take in memory beside its value.
const RECORD_OVERHEAD_BYTES: u64 = 64;
/// The window of a producer, at least.
const MIN_WINDOW_BYTES: u64 = 8 << 20;

/// Throughput: clients x depth batches on their way, each of so many records
///
/// A client is a connection with one producer. Each batch is one `send_all`, which a program takes that has many records
/// at once; its latency is that of the batch. Records count when they are acknowledged.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Connections, each with a producer
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    clients: u64,

    /// Batches of each client that are on their way at once, up to 16
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u64).range(1..=MAX_PRODUCER_RANGES as u64))]
    depth: u64,

    /// Records of a batch
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,

    /// Enqueue the records one by one, as a program does that gets them one by one; batches form by themselves
    #[arg(long)]
    enqueue: bool,

    /// Send so many bytes of values instead, such as 16GiB, however long that takes
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["duration", "warmup", "records"])]
    bytes: Option<ByteSize>,

    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) report: ReportArgs,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

impl Args {
    pub(super) fn bytes_in_flight(&self) -> u64 {
        let batches = self.clients.saturating_mul(self.depth);
        batches.saturating_mul(self.batch).saturating_mul(self.load.size.0)
    }

    fn extent(&self) -> Extent {
        match self.bytes {
            Some(bytes) => Extent::Records(bytes.0.div_ceil(self.load.size.0.max(1))),
            None => self.load.extent(),
        }
    }
}

pub(super) async fn measure(args: &Args, target: &Target) -> anyhow::Result<Report> {
    let load = Load {
        topic: args.load.topic.as_str(),
        clients: args.clients,
        depth: args.depth,
        batch: args.batch,
        size_bytes: args.load.size.0,
        enqueue: args.enqueue,
    };
    let measured = load.run(target, args.extent()).await?;
    let setup = Setup {
        topic: Some(load.topic.into()),
        size_bytes: load.size_bytes,
        clients: load.clients,
        batch_records: load.batch,
        depth: load.depth,
        ..Setup::new("append", args.extent())
    };
    Ok(Report::new(setup, &measured))
}

/// Appends until a topic holds so many bytes more; for what wants to read them.
pub(super) async fn fill(target: &Target, topic: &str, size_bytes: u64, bytes: u64) -> anyhow::Result<()> {
    // As many records as make up a mebibyte, and not so many that they do not fit a batch.
    let batch = ((1 << 20) / size_bytes.max(1)).clamp(1, 10_000);
    let load = Load { topic, clients: 1, depth: 4, batch, size_bytes, enqueue: false };
    load.run(target, Extent::Records(bytes.div_ceil(size_bytes.max(1)))).await.map(drop)
}

struct Load<'a> {
    topic: &'a str,
    clients: u64,
    depth: u64,
    batch: u64,
    size_bytes: u64,
    enqueue: bool,
}

impl Load<'_> {
    async fn run(&self, target: &Target, extent: Extent) -> anyhow::Result<Measured> {
        let clients = target.connect_all(self.clients).await?;
        let mut producers = Vec::new();
        for client in &clients {
            producers.push(Arc::new(self.open(client).await?));
        }
        let (run, mut workers) = (Run::start(extent), JoinSet::new());
        for producer in producers {
            let turn = Arc::new(Mutex::new(()));
            for _ in 0..self.depth {
                let appender = Appender {
                    producer: Arc::clone(&producer),
                    turn: Arc::clone(&turn),
                    value: payload(self.size_bytes),
                    batch: self.batch,
                    enqueue: self.enqueue,
                };
                workers.spawn(appender.run(Arc::clone(&run)));
            }
        }
        let measured = run::measure(&run, target.pid(), "append", workers).await?;
        close_all(clients).await;
        Ok(measured)
    }

    async fn open(&self, client: &Client) -> anyhow::Result<Producer> {
        let batch_bytes = self.batch.saturating_mul(self.size_bytes + RECORD_OVERHEAD_BYTES);
        let window_bytes = batch_bytes.saturating_mul(self.depth).max(MIN_WINDOW_BYTES);
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let producer = client.producer(self.topic).create_topic(Retention::default());
        let producer = producer.batch_bytes(bytes(batch_bytes)).window_bytes(bytes(window_bytes));
        let producer = producer.max_in_flight(bytes(self.depth));
        producer.open().await.with_context(|| format!("cannot produce to {}", self.topic))
    }
}

/// Has one batch on its way at a time.
struct Appender {
    producer: Arc<Producer>,
    /// One at a time enqueues the records of a batch, as one part of a program would.
    turn: Arc<Mutex<()>>,
    value: Bytes,
    batch: u64,
    enqueue: bool,
}

impl Appender {
    async fn run(self, run: Arc<Run>) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        loop {
            let records = run.claim(self.batch);
            if records == 0 {
                return Ok(tally);
            }
            let sent = match self.enqueue {
                true => self.enqueue_all(records).await?,
                false => self.send_all(records).await?,
            };
            tally.done(&run, sent, Instant::now(), records, records * self.value.len() as u64);
        }
    }

    /// Returns when it began, when all is durable.
    async fn send_all(&self, records: u64) -> anyhow::Result<Instant> {
        let began = Instant::now();
        let records = (0..records).map(|_| Record::new(self.value.clone())).collect();
        self.producer.send_all(records, &[]).await?;
        Ok(began)
    }

    /// Returns when it began, when all is durable.
    async fn enqueue_all(&self, records: u64) -> anyhow::Result<Instant> {
        let turn = self.turn.lock().await;
        let (began, mut last) = (Instant::now(), None);
        for _ in 0..records {
            last = Some(self.producer.enqueue(Record::new(self.value.clone())).await?);
        }
        drop(turn);
        // The records of a producer become durable in their order.
        if let Some(ticket) = last {
            ticket.await?;
        }
        Ok(began)
    }
}
