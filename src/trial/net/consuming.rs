//! Workers that read: streams, cursors, dequeues, and one that reads, transforms and writes.

use std::time::Duration;

use super::{
    super::Rng,
    producing::{PATIENCE, settled},
    world::{Done, World, failed, record},
};
use crate::{
    client::{Client, Consumer, ConsumerRecord, Error, Retention, Start},
    record::Offset,
};

/// The number of the producer that writes what another record led to.
const TRANSFORMER: u64 = 100;

/// What a consumer is to do.
#[derive(Clone)]
pub(super) struct Consuming {
    pub(super) topic: &'static str,
    /// Its cursor is known under it.
    pub(super) name: Option<&'static str>,
    /// It is done when it has seen so many records.
    pub(super) total: u64,
}

impl Consuming {
    async fn open(&self, world: &World, client: &Client, from: u64) -> Result<Consumer, String> {
        let make = async || client.ensure_topic(self.topic, Retention::default()).await;
        world.insist("making a topic", make).await?;
        let open = async || {
            let builder = client.consumer(self.topic).credit_bytes(4096);
            match self.name {
                Some(name) => builder.name(name).open().await,
                None => builder.start(Start::Offset(from)).open().await,
            }
        };
        world.insist("opening a consumer", open).await
    }

    /// The next record, whatever the network does.
    async fn next(&self, world: &World, consumer: &mut Consumer) -> Result<ConsumerRecord, String> {
        loop {
            let error = match consumer.next_record().await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => return Err(format!("the stream of {} ended without an error", self.topic)),
                Err(error) => error,
            };
            // A delivery that came twice is no record's loss: the reader begins where it was.
            if !matches!(error, Error::Violation(_)) {
                return Err(failed(format!("reading {} at {}", self.topic, consumer.position()), &error));
            }
            world.trace.note(self.topic, format!("is read anew from {}", consumer.position()));
            let position = Start::Offset(consumer.position().0);
            world.insist("to seek", async || consumer.seek(position).await).await?;
        }
    }
}

/// Reads every record once, in order; under a name, it moves its cursor and is opened again now and then.
pub(super) async fn stream(world: World, client: Client, plan: Consuming, mut rng: Rng) -> Done {
    let mut consumer = plan.open(&world, &client, 0).await?;
    let number = match plan.name {
        Some(_) => Some(world.register(consumer.id().await.map_err(|error| failed("asking for the id", &error))?)),
        None => None,
    };
    let (mut next, mut committed) = (0, 0);
    while next < plan.total {
        let found = plan.next(&world, &mut consumer).await?;
        if found.offset != Offset(next) {
            return Err(format!("a stream of {} gave offset {} where {next} follows", plan.topic, found.offset));
        }
        world.saw(plan.topic, next, &found.record.value);
        next += 1;
        if let Some(number) = number.filter(|_| rng.percent(25) || next == plan.total) {
            let called = world.commits(number, next);
            let cursor = world.insist("a commit", async || consumer.commit(Offset(next)).await).await?;
            world.committed(called, cursor.0);
            committed = next;
        }
        if rng.percent(3) {
            drop(consumer);
            consumer = plan.open(&world, &client, next).await?;
            let expected = if number.is_some() { committed } else { next };
            if consumer.position() != Offset(expected) {
                return Err(format!("a consumer was at {expected}, and is opened at {}", consumer.position()));
            }
            next = expected;
        }
    }
    Ok(())
}

/// Dequeues every record, each once.
pub(super) async fn dequeue(world: World, client: Client, plan: Consuming, mut rng: Rng) -> Done {
    let mut consumer = plan.open(&world, &client, 0).await?;
    let number = world.register(consumer.id().await.map_err(|error| failed("asking for the id", &error))?);
    let mut next = 0;
    while next < plan.total {
        let (most, wait) = (u32::try_from(1 + rng.below(6)).expect("few"), Duration::from_millis(rng.below(2000)));
        let found = world.insist("a dequeue", async || consumer.dequeue(most, wait).await).await?;
        for found in &found {
            if found.offset != Offset(next) {
                return Err(format!("dequeued offset {} of {} where {next} follows", found.offset, plan.topic));
            }
            world.saw(plan.topic, next, &found.record.value);
            next += 1;
        }
        if !found.is_empty() {
            let called = world.commits(number, next);
            world.committed(called, next);
        }
        if rng.percent(3) {
            drop(consumer);
            consumer = plan.open(&world, &client, 0).await?;
        }
    }
    Ok(())
}

/// Reads each record once and writes another one for it, in the instant in which its cursor moves.
pub(super) async fn transform(world: World, client: Client, plan: Consuming, into: &'static str, mut rng: Rng) -> Done {
    let mut consumer = plan.open(&world, &client, 0).await?;
    let number = world.register(consumer.id().await.map_err(|error| failed("asking for the id", &error))?);
    let open =
        async || client.producer(into).create_topic(Retention::default()).delivery_timeout(PATIENCE).open().await;
    let producer = world.insist("opening a producer", open).await?;
    let mut next = 0;
    while next < plan.total {
        let found = plan.next(&world, &mut consumer).await?;
        if found.offset != Offset(next) {
            return Err(format!("a stream of {} gave offset {} where {next} follows", plan.topic, found.offset));
        }
        let (stored, derived) = record(TRANSFORMER, next, rng.index(40));
        next += 1;
        let cursor = consumer.cursor_move(Offset(next)).await.map_err(|error| failed("asking for the id", &error))?;
        let called = world.appends(vec![(into.to_owned(), stored)], vec![(number, next)]);
        let sent = producer.send_all(vec![derived], &[cursor]).await;
        settled(&world, called, sent.map(|offsets| offsets.start.0))?;
    }
    producer.close().await.map_err(|error| failed("closing a producer", &error))
}
