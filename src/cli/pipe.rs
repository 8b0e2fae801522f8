//! `connectify pipe`: what comes in, line by line, as records; and out again, if asked to.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    thread,
};

use anyhow::Context;
use bytes::Bytes;
use connectify::{agent::Piping, record::TopicName};
use tokio::sync::mpsc;

use super::{
    answer::Answer,
    args::{ServerArgs, topic_name},
    byte_size::ByteSize,
    compression::Method,
    output::talk,
};

/// Read at once, and pieces read ahead.
const READ_BYTES: usize = 64 * 1024;
const PIECES_AHEAD: usize = 4;

/// Ship stdin, each line a record, as it comes
///
/// Ends when the input does, and exits with 0 only when every line is durable. While the server is away the writer of the
/// pipe waits; with --spool it does not, and what was read survives a kill of this program: run it again with the same
/// --spool.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topic, which is made if it does not exist
    #[arg(long, value_parser = topic_name)]
    topic: TopicName,

    /// Write everything to stdout, too
    #[arg(long)]
    tee: bool,

    /// Keep lines in this directory until they are durable
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,

    /// Compress batches of records
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = Method::None)]
    compression: Method,

    /// Split longer lines
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(1 << 20))]
    max_record_bytes: ByteSize,

    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    let piping = Piping {
        topic: args.topic.to_string(),
        compression: args.compression.into(),
        max_record_bytes: usize::try_from(args.max_record_bytes.0)?.clamp(1 << 10, 2 << 20),
        spool: args.spool.clone(),
    };
    // With a spool the server may come later.
    let client = match &args.spool {
        Some(_) => args.server.connect_lazy()?,
        None => args.server.connect().await?,
    };
    let records = piping.run(&client, read_in_background(args.tee)?).await?;
    talk(format_args!("{records} records are durable"));
    client.close().await;
    Ok(Answer::Yes)
}

/// Reads on a thread of its own, which may block for ever in a read without keeping the process alive.
fn read_in_background(mut tee: bool) -> anyhow::Result<mpsc::Receiver<io::Result<Bytes>>> {
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let read = move || {
        let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let piece = match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            if let (true, Ok(piece)) = (tee, &piece) {
                // Whoever reads the output may leave; the lines are shipped all the same.
                tee = output.write_all(piece).and_then(|()| output.flush()).is_ok();
            }
            let is_last = piece.is_err();
            if sender.blocking_send(piece).is_err() || is_last {
                return;
            }
        }
    };
    thread::Builder::new().name("input".into()).spawn(read).context("cannot start a thread")?;
    Ok(pieces)
}
