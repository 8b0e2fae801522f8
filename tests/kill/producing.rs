//! Producers: each writes unique records until it is over, and sees every one of them acknowledged.

use std::{collections::VecDeque, sync::Arc};

use connectify::{
    ClientError, Compression, Record,
    client::{Producer, Ticket},
};

use crate::{
    TOPICS,
    consuming::MOVED_BY_PRODUCER,
    recorder::{Recorder, parse},
    topic,
};

/// Producers that send one record at a time, many on their way. One more sends batches that move a cursor.
pub(crate) const STREAMING: usize = 7;
/// Of a large record: its pages take another way to the disk.
const LARGE_BYTES: usize = 200_000;
/// Between large ones.
const LARGE_EVERY: usize = 25;
/// Of one that is written in several pieces.
const LARGEST_BYTES: usize = 3_500_000;
/// Between those.
const LARGEST_EVERY: usize = 1_000;
/// Records that a producer has not seen acknowledged, at most.
const AHEAD: usize = 200;
const BATCH_RECORDS: usize = 3;

fn value(who: usize, number: usize) -> String {
    let filler = match who {
        0 if number.is_multiple_of(LARGEST_EVERY) => LARGEST_BYTES,
        0 if number.is_multiple_of(LARGE_EVERY) => LARGE_BYTES,
        _ => (number * 37 + who) % 900,
    };
    format!("{who}-{number}-{}", "x".repeat(filler))
}

/// Opens a producer; the first four have names. One without is registered anew when its answer was lost: that is not
/// repeated unasked, because a producer that nobody uses may be left.
async fn open(recorder: &Recorder, who: usize) -> Producer {
    let client = recorder.client().await;
    let compression = [Compression::None, Compression::Lz4, Compression::Zstd][who % 3];
    let builder = client.producer(&topic(who % TOPICS)).compression(compression).batch_bytes(4000);
    let builder = if who < TOPICS { builder.name(format!("producer {who}")) } else { builder };
    loop {
        match builder.clone().open().await {
            Ok(producer) => return producer,
            Err(ClientError::ConnectionLost { .. }) => {}
            Err(error) => panic!("a producer is not opened: {error:?}"),
        }
    }
}

/// Many records on their way.
pub(crate) async fn stream(recorder: Arc<Recorder>, who: usize) {
    let (producer, topic) = (open(&recorder, who).await, topic(who % TOPICS));
    let mut ahead = VecDeque::new();
    for number in 0.. {
        let is_over = recorder.is_over();
        if !is_over {
            let value = value(who, number);
            let stored = parse(value.as_bytes()).expect("values are like this");
            let place = recorder.append_begins(vec![(topic.clone(), stored)], Vec::new());
            let ticket = producer.enqueue(Record::new(value)).await.expect("the producer lives on");
            ahead.push_back((place, ticket));
        }
        if ahead.len() < AHEAD && !is_over {
            continue;
        }
        let Some((place, ticket)) = ahead.pop_front() else { break };
        recorder.append_acked(place, settled(ticket).await);
    }
    producer.close().await.expect("everything is durable");
}

async fn settled(ticket: Ticket) -> Option<u64> {
    match ticket.await {
        Ok(offset) => Some(offset.0),
        Err(ClientError::OffsetUnknown) => None,
        Err(error) => panic!("a record was not delivered: {error:?}"),
    }
}

/// Batches that are all there or not at all, and move a cursor in the same instant.
pub(crate) async fn transact(recorder: Arc<Recorder>, who: usize) {
    let (producer, topic) = (open(&recorder, who).await, topic(who % TOPICS));
    let client = recorder.client().await;
    let consumer = client.consumer(&topic).name(MOVED_BY_PRODUCER.1).open().await.expect("opens");
    let mut cursor = 0;
    for round in 0.. {
        if recorder.is_over() {
            break;
        }
        let numbers = round * BATCH_RECORDS..(round + 1) * BATCH_RECORDS;
        let values: Vec<_> = numbers.map(|number| value(who, number)).collect();
        let stored = values.iter().map(|value| parse(value.as_bytes()).expect("values are like this"));
        let moved = consumer.cursor_move(connectify::Offset(cursor)).await.expect("registered");
        let records = stored.map(|stored| (topic.clone(), stored)).collect();
        let place = recorder.append_begins(records, vec![(MOVED_BY_PRODUCER.0, cursor)]);
        let records = values.into_iter().map(Record::new).collect();
        match producer.send_all(records, &[moved]).await {
            Ok(range) => {
                recorder.append_acked(place, Some(range.start.0));
                cursor = range.start.0;
            }
            Err(ClientError::OffsetUnknown) => recorder.append_acked(place, None),
            Err(error) => panic!("a batch was not delivered: {error:?}"),
        }
    }
    producer.close().await.expect("everything is durable");
}
