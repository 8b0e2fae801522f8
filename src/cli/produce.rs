//! `connectify produce`: lines in, records out.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use connectify::{Client, Producer, protocol::Retention, record::TopicName};
use tokio::time::timeout;

use super::{
    answer::Answer,
    args::{ServerArgs, name, topic_name},
    compression::Method,
    output::talk,
    progress::Progress,
    signals,
    upload::{Upload, read_in_background},
};

/// After Ctrl-C, lines on their way are waited for so long, to be counted in the report.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Append each line of the input as a record
///
/// A line ends at \n. Everything before it is the value, byte by byte: any encoding, \r included, also nothing. The last
/// line may lack its \n.
///
/// Exits with 0 only when every line is durable. Otherwise it says how many are, counted from the first, and whether
/// others may be. With --name and --resume the same command can then be run again, and stores each line once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topic
    #[arg(value_parser = topic_name)]
    topic: TopicName,

    /// Read this file instead of stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Make the topic if it does not exist, to keep its records for ever
    #[arg(long)]
    create: bool,

    /// Register under this name, which fences off any other producer of the topic with the same name
    #[arg(long, value_name = "PRODUCER", value_parser = name)]
    name: Option<String>,

    /// Pass over the lines that earlier runs with this --name stored
    ///
    /// The input must begin with the same lines as before, and the name must have been used for nothing else.
    #[arg(long, requires = "name")]
    resume: bool,

    /// Compress batches of records
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = Method::None)]
    compression: Method,

    /// Give every record this key
    #[arg(long)]
    key: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    let (input, total_bytes, typed) = open(args.file.as_deref())?;
    let client = args.server.connect().await?;
    let producer = register(args, &client).await?;
    let stop = signals::stop_requested().context("cannot wait for signals")?;
    let mut pieces = read_in_background(input)?;

    let stored_before = if args.resume { producer.last_sequence().0 } else { 0 };
    let key = args.key.clone().map(Bytes::from);
    let mut upload = Upload::new(&producer, key, stored_before, Progress::over(total_bytes, typed));
    let (ended, patience) = tokio::select! {
        ended = upload.run(&mut pieces) => (ended, Duration::MAX),
        () = stop => (Err(anyhow!("stopped by a signal")), LAST_WAIT),
    };
    if ended.is_err() {
        // Whether it ran out of time shows in the report.
        timeout(patience, upload.settle_rest()).await.ok();
    }
    upload.clear_progress();
    if let Err(error) = ended {
        talk(upload.report());
        return Err(error);
    }
    // All is durable: nothing that goes wrong from here on changes that.
    drop(producer);
    client.close().await;
    Ok(Answer::Yes)
}

async fn register(args: &Args, client: &Client) -> anyhow::Result<Producer> {
    let mut producer = client.producer(args.topic.as_str()).compression(args.compression.into());
    if let Some(name) = &args.name {
        producer = producer.name(name);
    }
    if args.create {
        producer = producer.create_topic(Retention::default());
    }
    producer.open().await.with_context(|| format!("cannot produce to {}", args.topic))
}

/// The input, its size if it is known, and whether a person types it.
fn open(file: Option<&Path>) -> anyhow::Result<(Box<dyn Read + Send>, Option<u64>, bool)> {
    let Some(path) = file else {
        return Ok((Box::new(io::stdin()), None, io::stdin().is_terminal()));
    };
    let context = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(context)?;
    let metadata = file.metadata().with_context(context)?;
    let total_bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), total_bytes, false))
}
