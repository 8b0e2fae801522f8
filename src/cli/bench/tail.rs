//! `connectify bench tail`: how long a record takes from a producer to a live consumer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::{Bytes, BytesMut};
use connectify::{
    Consumer, Producer, Record,
    client::TryEnqueueError,
    protocol::{Retention, Start},
};
use tokio::{
    runtime::Handle,
    task::{JoinSet, spawn_blocking},
    time::timeout_at,
};

use super::{
    options::{LoadArgs, ReportArgs},
    payload,
    report::{Report, Setup},
    run::{self, PATIENCE, Run, Tally},
    schedule::Schedule,
    target::{Target, TargetArgs, close_all},
};
use crate::cli::duration;

/// A record's number, at the beginning of its value.
const NUMBER_BYTES: usize = size_of::<u64>();

/// End to end: records due at fixed times, from a producer to a consumer that waits for them
///
/// Each has a connection of its own. The producer enqueues a record when it is due, whether those before are
/// acknowledged or not. Latency counts from when the record was due until the consumer has it, which is after it has
/// become durable. Nobody else may append to the topic meanwhile. Records that have not come 10 seconds after the end
/// count with the time until then.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Records per second, due at fixed times
    #[arg(long, value_name = "N", default_value = "5000", value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,

    /// Records are due in steps of this time, as they are in a program that looks for them so often; with 0 they are
    /// evenly spaced
    #[arg(long, value_name = "DURATION", default_value = "1ms", value_parser = tick)]
    tick: Duration,

    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) report: ReportArgs,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

/// A duration; a bare 0 is one, too.
fn tick(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { duration::parse(text) }
}

impl Args {
    /// What is due within a millisecond: about what one sync has to wait for.
    pub(super) fn bytes_in_flight(&self) -> u64 {
        (self.rate / 1_000).max(1).saturating_mul(self.load.size.0)
    }
}

pub(super) async fn measure(args: &Args, target: &Target) -> anyhow::Result<Report> {
    let (topic, size_bytes) = (args.load.topic.as_str(), args.load.size.0);
    ensure!(size_bytes >= NUMBER_BYTES as u64, "--size {size_bytes} is less than the {NUMBER_BYTES} bytes of a number");
    let (from, to) = (target.connect().await?, target.connect().await?);
    let producer = from.producer(topic).create_topic(Retention::default()).open().await;
    let producer = producer.with_context(|| format!("cannot produce to {topic}"))?;
    let consumer = to.consumer(topic).start(Start::Tail).open().await?;

    let extent = args.load.extent();
    let (run, mut workers) = (Run::start(extent), JoinSet::new());
    let schedule = Schedule::of(&run, extent, args.rate, args.tick);
    workers.spawn(receive(consumer, Arc::clone(&run), schedule));
    workers.spawn(send(producer, payload(size_bytes), schedule));
    let measured = run::measure(&run, target.pid(), "tail", workers).await?;
    close_all(vec![from, to]).await;
    let setup = Setup {
        topic: Some(topic.into()),
        size_bytes,
        clients: 1,
        rate_per_second: Some(args.rate),
        tick_us: u64::try_from(args.tick.as_micros()).ok(),
        ..Setup::new("tail", extent)
    };
    Ok(Report::new(setup, &measured))
}

async fn send(producer: Producer, value: Bytes, schedule: Schedule) -> anyhow::Result<Tally> {
    let runtime = Handle::current();
    let sending = spawn_blocking(move || {
        let generator_late = schedule.keep(|index, _| enqueue(&producer, numbered(&value, index), &runtime));
        (producer, generator_late)
    });
    let (producer, generator_late) = sending.await.context("the thread that sends has died")?;
    // What ended the producer, if something has, shows here.
    producer.close().await?;
    Ok(Tally { generator_late, ..Tally::default() })
}

/// Whether the producer goes on.
fn enqueue(producer: &Producer, record: Record, runtime: &Handle) -> bool {
    match producer.try_enqueue(record) {
        Ok(_) => true,
        // What is due meanwhile waits, and counts its wait.
        Err(TryEnqueueError::Full(record)) => runtime.block_on(producer.enqueue(record)).is_ok(),
        Err(_) => false,
    }
}

fn numbered(value: &Bytes, index: u64) -> Record {
    let mut value = BytesMut::from(&value[..]);
    value[..NUMBER_BYTES].copy_from_slice(&index.to_le_bytes());
    Record::new(value)
}

async fn receive(mut consumer: Consumer, run: Arc<Run>, schedule: Schedule) -> anyhow::Result<Tally> {
    let (mut tally, gives_up) = (Tally::default(), schedule.end() + PATIENCE);
    for index in 0..schedule.total {
        let Ok(next) = timeout_at(gives_up.into(), consumer.next_record()).await else {
            let now = Instant::now();
            (index..schedule.total).for_each(|missing| tally.gave_up(&run, schedule.due(missing), now));
            break;
        };
        let found = next?.context("the records have ended")?;
        let number = found.record.value.get(..NUMBER_BYTES);
        ensure!(
            number == Some(&index.to_le_bytes()),
            "the record at offset {} is not number {index} of this run; does somebody else append to the topic?",
            found.offset
        );
        tally.done(&run, schedule.due(index), Instant::now(), 1, found.record.value.len() as u64);
    }
    Ok(tally)
}
