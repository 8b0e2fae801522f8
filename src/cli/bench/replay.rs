//! `connectify bench replay`: how fast a topic is read from its first record.

use std::{sync::Arc, time::Instant};

use anyhow::Context;
use connectify::{
    Client, ClientError,
    protocol::ErrorCode,
    record::{Offset, TopicName},
};
use tokio::task::JoinSet;

use super::{
    No, append,
    options::ReportArgs,
    report::{Report, Setup},
    run::{self, Extent, Run, Tally},
    target::{Target, TargetArgs, close_all},
};
use crate::cli::{args::topic_name, byte_size::ByteSize, output::talk};

/// What a server that was started for the run is filled with first.
const FILL_OF_SPAWNED: ByteSize = ByteSize(256 << 20);

/// Catching up: read a topic from its first record to the one that is its last when the run begins
///
/// Every batch is taken as it comes, its checksum is verified, and each record is decoded. What was written just before
/// is read from the system's memory, not from the disk. If there is no such topic, or nothing in it, the exit status is 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The topic
    #[arg(long, value_name = "NAME", default_value = "bench", value_parser = topic_name)]
    topic: TopicName,

    /// Readers, each of which reads all of it on a connection of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    clients: u64,

    /// First append so many bytes of values [default: 256MiB with --spawn, otherwise nothing]
    #[arg(long, value_name = "BYTES")]
    fill: Option<ByteSize>,

    /// Bytes of the value of each record that --fill appends
    #[arg(long, value_name = "BYTES", default_value = "1024")]
    size: ByteSize,

    #[command(flatten)]
    pub(super) report: ReportArgs,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

pub(super) async fn measure(args: &Args, target: &Target) -> anyhow::Result<Report> {
    let topic = args.topic.as_str();
    if let Some(fill) = args.fill.or(target.is_spawned().then_some(FILL_OF_SPAWNED)) {
        append::fill(target, topic, args.size.0, fill.0).await?;
    }
    let clients = target.connect_all(args.clients).await?;
    let end = end(&clients[0], &args.topic).await?;

    let extent = Extent::Records(u64::MAX);
    let (run, mut workers) = (Run::start(extent), JoinSet::new());
    for client in &clients {
        workers.spawn(read(client.clone(), topic.to_owned(), end, Arc::clone(&run)));
    }
    let measured = run::measure(&run, target.pid(), "replay", workers).await?;
    close_all(clients).await;
    let setup = Setup {
        topic: Some(topic.into()),
        // What was found, which need not be what this command would fill in.
        size_bytes: measured.tally.value_bytes / measured.tally.records.max(1),
        clients: args.clients,
        ..Setup::new("replay", extent)
    };
    Ok(Report::new(setup, &measured))
}

/// The offset behind the last record there is now.
async fn end(client: &Client, topic: &TopicName) -> anyhow::Result<Offset> {
    let described = match client.describe_topic(topic.as_str()).await {
        Err(error) if error.code() == Some(ErrorCode::UnknownTopic) => {
            return Err(No(format!("there is no topic {topic}")).into());
        }
        described => described?.topic,
    };
    match described.head < described.tail {
        true => Ok(Offset(described.tail)),
        false => Err(No(format!("there are no records in {topic}")).into()),
    }
}

async fn read(client: Client, topic: String, end: Offset, run: Arc<Run>) -> anyhow::Result<Tally> {
    let mut consumer = client.consumer(&topic).open().await?;
    let mut tally = Tally::default();
    while consumer.position() < end {
        let delivery = match consumer.next_batch().await {
            Err(ClientError::Gap { from, to }) => {
                talk(format_args!("offsets {from}..{to} no longer exist"));
                continue;
            }
            delivery => delivery?.context("the records have ended")?,
        };
        let (mut records, mut value_bytes) = (0, 0);
        for record in delivery.records()? {
            records += 1;
            value_bytes += record?.record.value.len() as u64;
        }
        tally.arrived(&run, Instant::now(), records, value_bytes);
    }
    Ok(tally)
}
