//! What is in a store, as the runs write it: read to the end, and written on.

use std::collections::BTreeMap;

use super::history::{Log, Seen, Stored, TopicLog};
use crate::{
    broker::{Appended, Appending, Error, ProducerState, Stepped},
    record::{Batch, BatchBuilder, BatchHeader, Compression, ConsumerId, Record, Sequence, SequenceRange, Timestamp},
};

/// Reads everything there is.
///
/// # Errors
/// What the store says of it.
pub(super) fn read_all(store: &Stepped, consumers: &[ConsumerId], heads: &BTreeMap<String, u64>) -> Result<Log, Error> {
    let mut log = Log::default();
    for topic in store.broker().topics("", 1000).0 {
        let range = topic.range();
        let mut found = TopicLog {
            head: range.head.0,
            tail: range.tail.0,
            records: Vec::new(),
            max_head: heads.get(topic.name.as_str()).copied().unwrap_or(0),
            ..TopicLog::default()
        };
        let mut next = range.head;
        while next < range.tail {
            let batches = store.read(topic.name.as_str(), next, 64 * 1024)?;
            let Some(last) = batches.last() else { break };
            let end = BatchHeader::read(last).map_err(|error| Error::Corrupted(error.to_string()))?.next_offset();
            found.bytes += batches.iter().map(|batch| batch.len() as u64).sum::<u64>();
            let seen = records_of(topic.name.as_str(), &batches).into_iter();
            found.records.extend(seen.filter(|seen| seen.offset >= next.0).map(|seen| (seen.offset, seen.record)));
            next = end;
        }
        log.topics.insert(topic.name.to_string(), found);
    }
    for (number, id) in consumers.iter().enumerate() {
        if let Ok((view, _)) = store.broker().consumer(*id) {
            log.cursors.insert(number as u64, view.cursor.0);
        }
    }
    Ok(log)
}

/// Appends one record under a sequence.
pub(super) fn append_one(store: &mut Stepped, producer: &ProducerState, sequence: u64) -> Result<Appended, Error> {
    let mut builder = BatchBuilder::new();
    builder.push(&Record::new(format!("9 {sequence} later")), Timestamp(0)).expect("small");
    let range = SequenceRange::counting(Sequence(sequence), 1);
    let batch = Batch::check(builder.finish(producer.id, producer.epoch, range, Compression::None));
    let parts = vec![(producer.topic, batch.expect("just built"))];
    let appending = Appending { parts, commits: Vec::new() };
    let appended = store.call(|broker| async move { broker.append_wait(appending).await })?;
    Ok(appended[0])
}

/// The records in stored batches, as this workload writes them. Damage is a record of nobody's.
pub(super) fn records_of(topic: &str, batches: &[bytes::Bytes]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for bytes in batches {
        let base = BatchHeader::read(bytes).map_or(u64::MAX, |header| header.stamp.base_offset.0);
        let batch = Batch::parse(bytes.clone());
        let Ok(records) = batch.as_ref().map_err(drop).and_then(|batch| batch.records().map_err(drop)) else {
            seen.push(Seen { topic: topic.to_owned(), offset: base, record: None });
            continue;
        };
        for record in records {
            let (offset, record) = match record {
                Ok((offset, record)) => (offset.0, parse(&record.value)),
                Err(_) => (base, None),
            };
            seen.push(Seen { topic: topic.to_owned(), offset, record });
        }
    }
    seen
}

pub(super) fn parse(value: &[u8]) -> Option<Stored> {
    let text = std::str::from_utf8(value).ok()?;
    let mut words = text.split(' ');
    let producer = words.next()?.parse().ok()?;
    let sequence = words.next()?.parse().ok()?;
    Some(Stored { producer, sequence, checksum: crc32c::crc32c(value) })
}
