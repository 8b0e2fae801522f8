//! `connectify bench latency`: how long a record takes to be durable.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use connectify::{Client, Producer, Record, protocol::Retention};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    task::JoinSet,
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

/// Latency: callers with one record on its way each, acknowledged before the next
///
/// Without --rate it is a closed loop: each caller sends when its last record is acknowledged, and latency counts from
/// the sending. With it, the callers take turns at fixed times; a caller whose last record is not acknowledged yet is
/// late, and latency counts from the time when the record was due. Records that are not acknowledged 10 seconds after
/// the end count with the time until then.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Callers, each on a connection of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    clients: u64,

    /// Go round among so many topics, NAME-0 and so on, with a producer for each
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..))]
    topics: u64,

    /// Records per second of all callers together, due at fixed times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,

    #[command(flatten)]
    pub(super) load: LoadArgs,
    #[command(flatten)]
    pub(super) report: ReportArgs,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

impl Args {
    pub(super) fn bytes_in_flight(&self) -> u64 {
        self.clients.saturating_mul(self.load.size.0)
    }

    /// The topics that a caller goes round among: its share of them, and at least one.
    fn topics_of(&self, caller: u64) -> Vec<String> {
        let topic = self.load.topic.as_str();
        if self.topics == 1 {
            return vec![topic.to_owned()];
        }
        let numbers =
            (caller..self.topics.max(caller + 1)).step_by(usize::try_from(self.clients).unwrap_or(usize::MAX));
        numbers.map(|number| format!("{topic}-{}", number % self.topics)).collect()
    }
}

pub(super) async fn measure(args: &Args, target: &Target) -> anyhow::Result<Report> {
    let clients = target.connect_all(args.clients).await?;
    let callers = open(args, &clients).await?;
    let extent = args.load.extent();
    let (run, mut workers) = (Run::start(extent), JoinSet::new());
    match args.rate {
        None => {
            for caller in callers {
                workers.spawn(caller.call(Arc::clone(&run)));
            }
        }
        Some(rate) => {
            let schedule = Schedule::of(&run, extent, rate, Duration::ZERO);
            let mut turns = Vec::new();
            for caller in callers {
                let (turn, due) = mpsc::unbounded_channel();
                turns.push(turn);
                workers.spawn(caller.call_when_due(Arc::clone(&run), schedule, due));
            }
            workers.spawn_blocking(move || {
                let mut turns = turns.iter().cycle();
                let mut next = |due| turns.next().is_some_and(|turn| turn.send(due).is_ok());
                Ok(Tally { generator_late: schedule.keep(|_, due| next(due)), ..Tally::default() })
            });
        }
    }
    let measured = run::measure(&run, target.pid(), "latency", workers).await?;
    close_all(clients).await;
    let setup = Setup {
        topic: Some(args.load.topic.to_string()),
        topics: args.topics,
        size_bytes: args.load.size.0,
        clients: args.clients,
        rate_per_second: args.rate,
        ..Setup::new("latency", extent)
    };
    Ok(Report::new(setup, &measured))
}

/// One caller per client, with a producer for each of its topics.
async fn open(args: &Args, clients: &[Client]) -> anyhow::Result<Vec<Caller>> {
    let (mut opening, value) = (JoinSet::new(), payload(args.load.size.0));
    for (number, client) in (0..).zip(clients) {
        let (client, topics, value) = (client.clone(), args.topics_of(number), value.clone());
        opening.spawn(async move {
            let mut producers = Vec::new();
            for topic in topics {
                let producer = client.producer(&topic).create_topic(Retention::default()).open().await;
                producers.push(producer.with_context(|| format!("cannot produce to {topic}"))?);
            }
            anyhow::Ok(Caller { producers, value })
        });
    }
    opening.join_all().await.into_iter().collect()
}

struct Caller {
    producers: Vec<Producer>,
    value: Bytes,
}

impl Caller {
    /// Closed loop.
    async fn call(self, run: Arc<Run>) -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        for producer in self.producers.iter().cycle() {
            if run.claim(1) == 0 {
                break;
            }
            let sent = Instant::now();
            producer.send(Record::new(self.value.clone())).await?;
            tally.done(&run, sent, Instant::now(), 1, self.value.len() as u64);
        }
        Ok(tally)
    }

    /// Open loop: `due` has the times at which it is this caller's turn.
    async fn call_when_due(
        self,
        run: Arc<Run>,
        schedule: Schedule,
        mut due: UnboundedReceiver<Instant>,
    ) -> anyhow::Result<Tally> {
        let (mut tally, gives_up) = (Tally::default(), schedule.end() + PATIENCE);
        let mut producers = self.producers.iter().cycle();
        while let Some(due) = due.recv().await {
            let producer = producers.next().expect("a caller has a topic");
            let sending = producer.send(Record::new(self.value.clone()));
            match timeout_at(gives_up.into(), sending).await {
                Ok(sent) => {
                    sent?;
                    tally.done(&run, due, Instant::now(), 1, self.value.len() as u64);
                }
                Err(_) => tally.gave_up(&run, due, Instant::now()),
            }
        }
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn topics(options: &str, caller: u64) -> Vec<String> {
        Line::parse_from(format!("latency {options}").split(' ')).args.topics_of(caller)
    }

    #[test]
    fn callers_share_out_the_topics_and_none_is_without() {
        assert_eq!(topics("--topic t --clients 3", 2), ["t"]);
        assert_eq!(topics("--topic t --clients 3 --topics 7", 0), ["t-0", "t-3", "t-6"]);
        assert_eq!(topics("--topic t --clients 3 --topics 7", 2), ["t-2", "t-5"]);
        assert_eq!(topics("--topic t --clients 5 --topics 2", 3), ["t-1"]);
    }
}
