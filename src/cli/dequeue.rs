//! `connectify dequeue`: takes a consumer's next records.

use std::{
    cmp::min,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use connectify::{ClientError, record::TopicName};

use super::{
    answer::Answer,
    args::{ServerArgs, name, topic_name},
    duration,
    output::{Output, talk},
    record_line::Form,
    topic::unknown_topic,
};

/// Longest wait that the server takes at once; a longer one is asked for in turns.
const MAX_WAIT: Duration = Duration::from_millis(connectify::limits::MAX_WAIT_MS as u64);

/// Take a consumer's next records: print them, and move its cursor on
///
/// The cursor is durably behind a record before the record is printed: a record is taken at most once, and is lost
/// if this command is killed in between. `consume --consumer` moves the cursor after printing instead.
///
/// Any number of these may share a consumer; each record goes to one of them. The consumer is made when it does not
/// exist, at the start of the topic. If there is nothing to take, the exit status is 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topic
    #[arg(value_parser = topic_name)]
    topic: TopicName,

    /// The consumer whose records to take
    #[arg(long, value_name = "NAME", value_parser = name)]
    consumer: String,

    /// Take up to so many records
    #[arg(long, value_name = "N", default_value = "1")]
    count: NonZeroU32,

    /// Wait so long for the first one, such as 30s
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    wait: Duration,

    /// Print each record as a JSON object with offset, times, key, headers and value
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    let client = args.server.connect().await?;
    let mut consumer = match client.consumer(args.topic.as_str()).name(&args.consumer).open().await {
        Ok(consumer) => consumer,
        Err(error) => return unknown_topic(&args.topic, error),
    };
    let (form, mut out) = (Form::new(args.json), Output::stdout());
    let (started, mut left) = (Instant::now(), args.count.get());
    while left > 0 {
        // Only the first record is waited for.
        let is_first = left == args.count.get();
        let wait = if is_first { args.wait.saturating_sub(started.elapsed()) } else { Duration::ZERO };
        let records = match consumer.dequeue(left, min(wait, MAX_WAIT)).await {
            Err(ClientError::Gap { from, to }) => {
                talk(format_args!("offsets {from}..{to} no longer exist"));
                continue;
            }
            records => records?,
        };
        if records.is_empty() && wait <= MAX_WAIT {
            break;
        }
        for record in &records {
            form.write(record, &mut out)?;
        }
        // Before more are taken: what is taken and not printed is lost if this process is killed.
        out.flush()?;
        left = left.saturating_sub(u32::try_from(records.len()).unwrap_or(u32::MAX));
    }
    if left == args.count.get() {
        return Ok(Answer::No(format!("nothing to dequeue from {} for {}", args.topic, args.consumer)));
    }
    Ok(Answer::Yes)
}
