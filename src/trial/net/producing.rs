//! Workers that append.

use std::time::Duration;

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    super::{Outcome, Rng, Stored},
    world::{Called, Done, World, failed, record},
};
use crate::{
    client::{Client, Error, ErrorCode, Producer, ProducerBuilder, Retention, Ticket},
    record::Record,
};

/// Longer than any run: a record that fails all the same was given up without need.
pub(super) const PATIENCE: Duration = Duration::from_secs(3600);
/// So short that records are given up while a connection is lost.
const IMPATIENCE: Duration = Duration::from_secs(3);
/// Of a window that a few records fill.
const WINDOW_BYTES: usize = 400;
/// Records that are longer than most.
const LONG_BYTES: usize = 2000;

/// What a producer is to do.
#[derive(Clone)]
pub(super) struct Producing {
    /// As the history counts them.
    pub(super) number: u64,
    pub(super) topic: &'static str,
    /// How many records.
    pub(super) count: u64,
    /// The longest pause between two bursts of them.
    pub(super) pause: Duration,
    /// There are no pauses after this time.
    pub(super) until: Instant,
}

impl Producing {
    fn record(&self, sequence: u64, rng: &mut Rng) -> (Stored, Record) {
        let padding = if rng.percent(4) { LONG_BYTES } else { rng.index(60) };
        record(self.number, sequence, padding)
    }

    fn builder(&self, client: &Client, rng: &mut Rng) -> ProducerBuilder {
        let builder = client.producer(self.topic).create_topic(Retention::default());
        let builder = builder.delivery_timeout(PATIENCE).max_in_flight(1 + rng.index(4));
        if rng.percent(30) { builder.window_bytes(WINDOW_BYTES) } else { builder }
    }

    async fn pause(&self, rng: &mut Rng) {
        let most = u64::try_from(self.pause.as_millis()).expect("minutes at most");
        let pause = Duration::from_millis(rng.below(most + 1));
        sleep_until((Instant::now() + pause).min(self.until)).await;
    }
}

/// A producer without a name, which never gives up: every ticket of it is kept.
pub(super) async fn unnamed(world: World, client: Client, plan: Producing, mut rng: Rng) -> Done {
    let builder = plan.builder(&client, &mut rng);
    let producer = world.insist("opening a producer", async || builder.clone().open().await).await?;
    let mut tickets: Vec<JoinHandle<Done>> = Vec::new();
    let mut sequence = 0;
    while sequence < plan.count {
        let burst = (1 + rng.below(6)).min(plan.count - sequence);
        let records: Vec<_> = (sequence..sequence + burst).map(|sequence| plan.record(sequence, &mut rng)).collect();
        sequence += burst;
        if rng.percent(20) {
            together(&world, &producer, plan.topic, records).await?;
        } else {
            for (stored, record) in records {
                let called = world.appends(vec![(plan.topic.to_owned(), stored)], Vec::new());
                let ticket = producer.enqueue(record).await.map_err(|error| failed("to enqueue", &error))?;
                tickets.push(tokio::spawn(keep(world.clone(), called, ticket)));
            }
        }
        if rng.percent(10) {
            producer.flush().await.map_err(|error| failed("to flush", &error))?;
        }
        plan.pause(&mut rng).await;
    }
    producer.close().await.map_err(|error| failed("closing a producer", &error))?;
    for ticket in tickets {
        ticket.await.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// One batch.
async fn together(world: &World, producer: &Producer, topic: &str, records: Vec<(Stored, Record)>) -> Done {
    let (stored, records): (Vec<_>, Vec<_>) = records.into_iter().unzip();
    let called = world.appends(stored.into_iter().map(|stored| (topic.to_owned(), stored)).collect(), Vec::new());
    let sent = producer.send_all(records, &[]).await.map(|offsets| offsets.start);
    settled(world, called, sent.map(|offset| offset.0))
}

async fn keep(world: World, called: Called, ticket: Ticket) -> Done {
    let outcome = ticket.await.map(|offset| offset.0);
    settled(&world, called, outcome)
}

/// Notes the end of an append that must not fail.
pub(super) fn settled(world: &World, called: Called, outcome: Result<u64, Error>) -> Done {
    let offset = match outcome {
        Ok(offset) => Some(offset),
        Err(Error::OffsetUnknown) => None,
        Err(error) => return Err(failed("an append that had all the time", &error)),
    };
    world.appended(called, Outcome::Acked((), world.trace.now()), offset);
    Ok(())
}

/// A producer with a name, which is opened again when it has failed, and goes on behind what was stored.
pub(super) async fn named(world: World, client: Client, plan: Producing, is_patient: bool, mut rng: Rng) -> Done {
    let name = format!("producer-{}", plan.number);
    let records: Vec<_> = (0..plan.count).map(|sequence| plan.record(sequence, &mut rng)).collect();
    let mut acked = 0;
    loop {
        let builder = plan.builder(&client, &mut rng).name(&name);
        let builder = if is_patient { builder } else { builder.delivery_timeout(IMPATIENCE) };
        let producer = world.insist("opening a producer", async || builder.clone().open().await).await?;
        let stored = producer.last_sequence().0;
        if stored < acked || stored > plan.count {
            return Err(format!("{name} had {acked} of {} records acknowledged, {stored} are stored", plan.count));
        }
        // What it was not told of is stored, and where is not known.
        for (record, _) in &records[index(acked)..index(stored)] {
            let called = world.appends(vec![(plan.topic.to_owned(), *record)], Vec::new());
            world.appended(called, Outcome::Acked((), world.trace.now()), None);
        }
        acked = stored;
        let failure = some(&world, &producer, &plan, &records, &mut acked, &mut rng).await;
        match failure {
            None => return producer.close().await.map_err(|error| failed("closing a producer", &error)),
            // A registration that was lost with its connection may arrive late, and fences the one after it.
            Some(error) if error.code() == Some(ErrorCode::ProducerFenced) => {}
            Some(Error::TimedOut { .. }) if !is_patient => {}
            Some(error) => return Err(failed("an append that had all the time", &error)),
        }
        world.trace.note(&name, format!("begins anew, {acked} are stored"));
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("few records")
}

/// Sends records until the first fails; counts those that are acknowledged.
async fn some(
    world: &World,
    producer: &Producer,
    plan: &Producing,
    records: &[(Stored, Record)],
    acked: &mut u64,
    rng: &mut Rng,
) -> Option<Error> {
    let mut next = index(*acked);
    while next < records.len() {
        let burst = (1 + rng.index(5)).min(records.len() - next);
        let (mut tickets, mut failure) = (Vec::new(), None);
        for (stored, record) in &records[next..next + burst] {
            let called = world.appends(vec![(plan.topic.to_owned(), *stored)], Vec::new());
            match producer.enqueue(record.clone()).await {
                Ok(ticket) => tickets.push((called, ticket)),
                Err(error) => {
                    world.appended(called, Outcome::Refused, None);
                    failure = Some(error);
                    break;
                }
            }
        }
        for (called, ticket) in tickets {
            match ticket.await.map(|offset| offset.0) {
                Err(error) if !matches!(error, Error::OffsetUnknown) => {
                    let outcome = if error.may_have_applied() { Outcome::Unknown } else { Outcome::Refused };
                    world.appended(called, outcome, None);
                    failure.get_or_insert(error);
                }
                kept => {
                    world.appended(called, Outcome::Acked((), world.trace.now()), kept.ok());
                    *acked += 1;
                }
            }
        }
        if failure.is_some() {
            return failure;
        }
        next += burst;
        plan.pause(rng).await;
    }
    None
}
