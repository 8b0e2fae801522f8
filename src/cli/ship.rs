//! `connectify ship`: files in, records out, each once.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use connectify::{
    agent::{Shipped, Shipping, cutter::Framing, identity},
    record::TopicName,
};

use super::{
    answer::Answer,
    args::{ServerArgs, topic_name},
    byte_size::ByteSize,
    compression::Method,
    output::talk,
    progress::Progress,
    signals,
};

/// Ship files, each line a record, from where the last time ended
///
/// Exits with 0 only when every byte is durable. Run again, it stores nothing twice, whatever stopped it: the server knows
/// how far each file was shipped, under any name. A last line without its end is a record. A file that was truncated since
/// is refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The topic, which is made if it does not exist
    #[arg(long, value_parser = topic_name)]
    topic: TopicName,

    /// Compress batches of records
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = Method::None)]
    compression: Method,

    /// Give every record this key
    #[arg(long)]
    key: Option<String>,

    /// Split longer lines
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(1 << 20))]
    max_record_bytes: ByteSize,

    /// A line that matches this regular expression begins a record of several lines
    #[arg(long, value_name = "REGEX")]
    multiline: Option<regex::bytes::Regex>,

    /// Who ships: part of the name under which the server knows the files [default: this machine]
    #[arg(long)]
    id: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

impl Args {
    fn shipping(&self) -> anyhow::Result<Shipping> {
        let agent = match &self.id {
            Some(id) => id.clone(),
            None => identity::machine().context("cannot tell what machine this is; use --id")?,
        };
        Ok(Shipping {
            topic: self.topic.to_string(),
            agent,
            framing: self.multiline.clone().map_or(Framing::Lines, Framing::Multiline),
            key: self.key.clone().map(Bytes::from),
            compression: self.compression.into(),
            max_record_bytes: usize::try_from(self.max_record_bytes.0)?.clamp(1 << 10, 2 << 20),
        })
    }
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    let shipping = args.shipping()?;
    let client = args.server.connect().await?;
    let stop = signals::stop_requested().context("cannot wait for signals")?;
    let total = args.files.iter().map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum();
    let bar = Progress::over(Some(total), false);
    let mut done = Shipped::default();
    let result = {
        let all = async {
            for path in &args.files {
                let before = done;
                let mut report = |file: Shipped| {
                    done = sum(before, file);
                    bar.show(done.durable_bytes, format_args!("{} records durable", done.records));
                };
                let shipped = shipping.ship(&client, path, &mut report).await;
                let shipped = shipped.with_context(|| format!("{} was not shipped", path.display()))?;
                done = sum(before, shipped);
            }
            Ok(())
        };
        tokio::select! {
            result = all => result,
            () = stop => Err(anyhow!("stopped by a signal; run it again to go on")),
        }
    };
    bar.clear();
    let (durable, before, records) = (ByteSize(done.durable_bytes), ByteSize(done.before_bytes), done.records);
    talk(format_args!("{durable} are durable, {before} of them since before; {records} records are new"));
    result?;
    client.close().await;
    Ok(Answer::Yes)
}

fn sum(a: Shipped, b: Shipped) -> Shipped {
    let mut sum = a;
    sum.durable_bytes += b.durable_bytes;
    sum.before_bytes += b.before_bytes;
    sum.size += b.size;
    sum.records += b.records;
    sum
}
