//! The thread that ships: it has a runtime of its own, so it needs none of the program's, and survives it.

use std::{
    cell::Cell,
    io,
    num::NonZeroU64,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    runtime,
    time::{sleep, timeout},
};

use super::{
    Builder,
    buffer::{Buffer, Event},
};
use crate::{
    Record, Timestamp,
    agent::{
        Feeding, LOSS_HEADER,
        config::{SpoolSection, WhenFull},
        durable,
    },
    client::{Client, Producer},
    protocol::Retention,
};

/// Batches that are not acknowledged.
const IN_FLIGHT: usize = 4;
/// Records of one batch.
const RECORDS: usize = 8 << 10;
/// Bytes of one batch.
const BATCH_BYTES: usize = 1 << 20;
/// Between tries to register.
const AGAIN: Duration = Duration::from_millis(500);

thread_local! {
    static IS_SENDER: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the thread of a sender: what it logs is passed over.
pub(super) fn is_this_thread() -> bool {
    IS_SENDER.get()
}

pub(super) fn start(builder: &Builder, buffer: Arc<Buffer>) -> io::Result<JoinHandle<()>> {
    let client =
        Client::builder(builder.address.clone()).name("connectify tracing").credentials(builder.credentials.clone());
    let (topic, spill) = (builder.topic.clone(), builder.spill_dir.clone());
    let patience = builder.drop_timeout;
    let lock = spill.as_deref().map(Feeding::lock).transpose()?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || {
        IS_SENDER.set(true);
        let ship = async {
            // The settings were checked, or are of no use: nobody is there to be told.
            let Ok(client) = client.connect_lazy() else { return };
            match spill {
                None => directly(&client, &topic, &buffer).await,
                Some(directory) => {
                    let section = SpoolSection { when_full: WhenFull::DropOldest, ..SpoolSection::default() };
                    let feeding = Feeding { source: "program", topic, directory, section };
                    through_spool(&client, feeding, &buffer, patience).await;
                }
            }
        };
        runtime.block_on(ship);
        buffer.end();
        drop(lock);
    };
    thread::Builder::new().name("connectify-log".to_owned()).spawn(run)
}

/// What was dropped, as an event.
fn loss(dropped: u64) -> (Timestamp, Bytes) {
    let text = format!(
        "{{\"level\":\"WARN\",\"target\":\"connectify::tracing\",\"fields\":{{\"dropped\":{dropped}}},\
         \"message\":\"{dropped} events were dropped\"}}"
    );
    (Timestamp::now(), text.into())
}

fn records(events: &[Event], dropped: u64) -> Vec<Record> {
    let mut records = Vec::with_capacity(events.len() + 1);
    if dropped > 0 {
        let (time, text) = loss(dropped);
        records.push(Record::new(text).timestamp(time).header(LOSS_HEADER, format!("{{\"records\":{dropped}}}")));
    }
    records.extend(events.iter().map(|(time, text)| Record::new(text.clone()).timestamp(*time)));
    records
}

async fn open(client: &Client, topic: &str, buffer: &Buffer) -> Option<Producer> {
    loop {
        let opening = client.producer(topic).create_topic(Retention::default()).delivery_timeout(Duration::MAX).open();
        match opening.await {
            Ok(producer) => return Some(producer),
            Err(_) if buffer.is_stopping() => return None,
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// How many events at the front make one batch.
fn batch_len(events: &[Event]) -> usize {
    let mut bytes = 0;
    let fits = |event: &&Event| {
        bytes += event.1.len();
        bytes <= BATCH_BYTES
    };
    events.iter().take(RECORDS).take_while(fits).count().max(1).min(events.len())
}

async fn directly(client: &Client, topic: &str, buffer: &Buffer) {
    let Some(mut producer) = open(client, topic, buffer).await else { return };
    let (mut in_flight, mut has_failed) = (FuturesUnordered::new(), false);
    loop {
        while in_flight.len() < IN_FLIGHT && !has_failed {
            let (events, dropped) = buffer.take();
            if events.is_empty() && dropped == 0 {
                break;
            }
            let (mut rest, mut reported, mut is_first) = (&events[..], dropped, true);
            while is_first || !rest.is_empty() {
                let (part, behind) = rest.split_at(batch_len(rest));
                let said = std::mem::take(&mut reported);
                let (records, count, cost) = (records(part, said), part.len() as u64, Buffer::cost(part));
                let units = NonZeroU64::new(records.len() as u64).expect("there is one");
                let ticket = producer.enqueue_units(&records, units).await;
                in_flight.push(async move {
                    let result = match ticket {
                        Ok(ticket) => durable(ticket.await),
                        Err(error) => Err(error),
                    };
                    (count, cost, said, result.is_ok())
                });
                (rest, is_first) = (behind, false);
            }
        }
        if in_flight.is_empty() && has_failed {
            // What ended it is said with what was dropped.
            match open(client, topic, buffer).await {
                Some(next) => (producer, has_failed) = (next, false),
                None => return,
            }
            continue;
        }
        if in_flight.is_empty() && buffer.is_stopping() {
            return;
        }
        tokio::select! {
            Some((count, cost, said, is_durable)) = in_flight.next() => {
                buffer.settle(count, cost, is_durable);
                if !is_durable {
                    buffer.report_again(said);
                    has_failed = true;
                }
            }
            () = buffer.work.notified() => {}
        }
    }
}

async fn through_spool(client: &Client, feeding: Feeding, buffer: &Buffer, patience: Duration) {
    let Ok((texts, shipping)) = feeding.start(client) else { return };
    let pushing = async move {
        loop {
            let (events, dropped) = buffer.take();
            if dropped > 0 && texts.send(loss(dropped)).await.is_err() {
                return;
            }
            let (count, cost) = (events.len() as u64, Buffer::cost(&events));
            for event in events {
                if texts.send(event).await.is_err() {
                    return;
                }
            }
            // Once the channel is empty they are in the spool.
            texts.reserve_many(texts.max_capacity()).await.map(drop).unwrap_or_default();
            buffer.settle(count, cost, true);
            if count == 0 && dropped == 0 {
                if buffer.is_stopping() {
                    return;
                }
                buffer.work.notified().await;
            }
        }
    };
    tokio::pin!(shipping);
    tokio::select! {
        () = pushing => {}
        _ = &mut shipping => return,
    }
    // All of it is in the spool. What the server takes in time need not wait for the next start.
    timeout(patience, shipping).await.ok();
}
