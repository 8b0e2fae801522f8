//! `connectify consume`: records in, lines out.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use connectify::{
    Client, ClientError, Consumer,
    client::{ConsumerRecord, Start},
    record::{Offset, TopicName},
};
use futures::{FutureExt, StreamExt};
use tokio::task::yield_now;

use super::{
    answer::Answer,
    args::{ServerArgs, name, topic_name},
    output::{Output, talk},
    record_line::Form,
    signals, start,
};

/// While records keep coming, what was written is handed over this often.
const HAND_OVER_INTERVAL: Duration = Duration::from_secs(1);
/// Records between two looks at the clock and at signals.
const RECORDS_PER_LOOK: u32 = 1_024;

/// Print the records of a topic, each value and a line end
///
/// Stops at the tail that the topic had at the start, unless told to --follow. Offsets that no longer exist, because
/// retention removed them, are reported on stderr.
///
/// With --consumer it begins where that consumer's cursor is, and moves the cursor behind what it has written once
/// stdout is flushed. Delivery is at least once: whoever kills it in between sees some records again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topic
    #[arg(value_parser = topic_name)]
    topic: TopicName,

    /// Where to begin: start, end, an offset, or a time such as 2026-11-23T17:40:00Z or @1795455600 (seconds since 1970)
    ///
    /// A time means the first record that was appended then or later. A consumer that exists already begins at its
    /// cursor instead.
    #[arg(long, value_name = "PLACE", default_value = "start", value_parser = start::parse)]
    from: Start,

    /// Stop after so many records
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,

    /// Go on at the tail: wait for records and print each at once
    #[arg(long)]
    follow: bool,

    /// Read as this consumer, which is made if it does not exist
    #[arg(long, value_name = "NAME", value_parser = name)]
    consumer: Option<String>,

    /// Print each record as a JSON object with offset, times, key, headers and value
    ///
    /// Bytes that are not UTF-8 become {"base64": "..."}.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<Answer> {
    let client = args.server.connect().await?;
    let mut reading = Reading::open(args, &client).await.with_context(|| format!("cannot consume {}", args.topic))?;
    let stop = signals::stop_requested().context("cannot wait for signals")?;
    let ended = tokio::select! {
        ended = reading.run() => ended,
        // Whatever it was waiting for, every record is either written as a whole or not at all.
        () = stop => Ok(()),
    };
    // Also after a failure: what was written is written.
    let handed_over = reading.hand_over().await;
    ended.and(handed_over)?;
    client.close().await;
    Ok(Answer::Yes)
}

/// A topic on its way to stdout.
struct Reading {
    consumer: Consumer,
    out: Output,
    form: Form,
    /// The first offset that is neither written nor known to be gone.
    next: Offset,
    /// The tail at the start, unless it follows.
    stop_at: Option<Offset>,
    records_left: Option<u64>,
    /// Where the consumer's cursor is, if it has one that lasts.
    cursor: Option<Offset>,
    handed_over: Instant,
}

impl Reading {
    async fn open(args: &Args, client: &Client) -> anyhow::Result<Self> {
        let topic = args.topic.as_str();
        let tail = Offset(client.describe_topic(topic).await?.topic.tail);
        if let (Start::Offset(from), None) = (args.from, &args.consumer) {
            ensure!(from <= tail.0, "offset {from} is beyond the tail, {tail}");
        }
        let mut builder = client.consumer(topic).start(args.from);
        if let Some(name) = &args.consumer {
            builder = builder.name(name);
        }
        let consumer = builder.open().await?;
        let next = consumer.position();
        Ok(Self {
            consumer,
            out: Output::stdout(),
            form: Form::new(args.json),
            next,
            stop_at: (!args.follow).then_some(tail),
            records_left: args.count.map(NonZeroU64::get),
            cursor: args.consumer.is_some().then_some(next),
            handed_over: Instant::now(),
        })
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let mut records_to_look = RECORDS_PER_LOOK;
        while !self.is_done() {
            let record = match self.consumer.next().now_or_never() {
                Some(record) => record,
                None => {
                    self.hand_over().await?;
                    self.consumer.next().await
                }
            };
            self.take(record.context("the subscription has ended")?)?;
            records_to_look -= 1;
            if records_to_look == 0 {
                records_to_look = RECORDS_PER_LOOK;
                if self.handed_over.elapsed() >= HAND_OVER_INTERVAL {
                    self.hand_over().await?;
                }
                // Records that are always ready would keep a signal waiting for ever.
                yield_now().await;
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.records_left == Some(0) || self.stop_at.is_some_and(|stop_at| self.next >= stop_at)
    }

    fn take(&mut self, record: Result<ConsumerRecord, ClientError>) -> anyhow::Result<()> {
        match record {
            Ok(record) => {
                self.form.write(&record, &mut self.out)?;
                self.next = record.offset.plus(1);
                self.records_left = self.records_left.map(|left| left - 1);
            }
            Err(ClientError::Gap { from, to }) => {
                talk(format_args!("offsets {from}..{to} no longer exist"));
                self.next = to;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Flushes stdout, and only then moves the cursor.
    async fn hand_over(&mut self) -> anyhow::Result<()> {
        self.out.flush()?;
        if self.cursor.is_some_and(|cursor| cursor < self.next) {
            self.cursor = Some(self.consumer.commit(self.next).await.context("cannot move the cursor")?);
        }
        self.handed_over = Instant::now();
        Ok(())
    }
}
