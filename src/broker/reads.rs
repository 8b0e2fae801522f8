//! Reading: from the cache at once, from disk on a blocking thread, waiting for what is not there yet.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Background, Broker, Error, Health, TopicRange, TopicView,
    operation::{Operation, Taken, Taking},
};
use crate::{
    limits::{MAX_DELIVERY_BATCHES, MAX_DELIVERY_BYTES},
    record::{BatchHeader, ConsumerId, Offset, Stamp, Timestamp, TopicId},
    storage::{LogReader, StorageError},
};

/// While the store is opened again after a failure, which is rare, readers look whether it is done.
const REOPEN_POLL: Duration = Duration::from_millis(20);
const REOPEN_POLLS: u32 = 500;

/// Stored batches and where the topic stood.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// When they were read.
    pub range: TopicRange,
    /// Verbatim, in order.
    pub batches: Vec<Bytes>,
}

/// What a caller takes in one answer.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// For batches.
    pub bytes: usize,
    /// What each batch after the first one takes beside its own bytes.
    pub per_batch: usize,
}

/// What was read of a range of offsets.
struct Range {
    /// Those that fit.
    batches: Vec<Bytes>,
    /// Where they end within the range.
    end: Offset,
    /// What all that hold the range take of a [`Room`], as far as one read goes.
    bytes: usize,
}

impl Room {
    /// Leaves as many of these batches as fit.
    ///
    /// # Errors
    /// [`Error::AnswerTooLarge`] when not even the first one does.
    pub fn fit(self, batches: &mut Vec<Bytes>) -> Result<(), Error> {
        let mut bytes = 0;
        let fits = batches.iter().take_while(|batch| {
            bytes += batch.len();
            let fits = bytes <= self.bytes;
            bytes += self.per_batch;
            fits
        });
        let count = fits.count();
        match batches.first() {
            Some(batch) if count == 0 => Err(Error::AnswerTooLarge { bytes: batch.len(), limit: self.bytes }),
            _ => {
                batches.truncate(count);
                Ok(())
            }
        }
    }
}

/// What a dequeue took.
#[derive(Clone, Debug)]
pub struct Dequeued {
    /// First record.
    pub first: Offset,
    /// One past the last.
    pub next: Offset,
    /// Next offset to be assigned.
    pub tail: Offset,
    /// Whether an earlier attempt of the same call took them.
    pub repeated: bool,
    /// Batches that hold these records, and others.
    pub batches: Vec<Bytes>,
}

impl Broker {
    /// Batches of a topic: the first one holds `from`. About `max_bytes` of them, but at least one if there is any
    /// before the durable tail.
    ///
    /// # Errors
    /// [`Error::BeforeHead`], [`Error::Lost`], [`Error::BeyondTail`], [`Error::UnknownTopic`] when it was deleted, or
    /// the disk's.
    ///
    /// # Cancel safety
    /// Nothing is changed by a read.
    pub async fn read(&self, topic: &TopicView, from: Offset, max_bytes: usize) -> Result<Fetched, Error> {
        loop {
            let range = in_range(topic, from)?;
            if from == range.tail {
                return Ok(Fetched { range, batches: Vec::new() });
            }
            let reader = self.view.reader().ok_or(Error::StorageFailed)?;
            let batches = self.read_with(&reader, topic.id, from, max_bytes).await?;
            if let Some(batches) = batches.and_then(|batches| without_gap(batches, from, range.tail)) {
                return Ok(Fetched { range, batches });
            }
            // Deleted or trimmed since, which the next turn tells; or the store is being opened again.
            in_range(topic, from)?;
            self.another_reader(&reader, &format!("topic {} has no batch at offset {from}", topic.name)).await?;
        }
    }

    /// Reads from the cache, or from disk on a blocking thread. `None`: the store was closed meanwhile.
    async fn read_with(
        &self,
        reader: &Arc<dyn LogReader>,
        topic: TopicId,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Option<Vec<Bytes>>, Error> {
        if let Some(batches) = reader.read_cached(topic, from, max_bytes) {
            return Ok(Some(batches));
        }
        let permit = self.disk_reads.acquire().await.map_err(|_| Error::ShuttingDown)?;
        let reader = reader.clone();
        let read = match self.background {
            Background::Thread => tokio::task::spawn_blocking(move || reader.read(topic, from, max_bytes)).await,
            Background::Inline | Background::Deferred(_) => Ok(reader.read(topic, from, max_bytes)),
        };
        drop(permit);
        match read {
            Ok(Ok(batches)) => Ok(Some(batches)),
            Ok(Err(StorageError::Closed)) => Ok(None),
            Ok(Err(error)) => {
                tracing::error!(%topic, offset = from.0, error = %error, cause = ?error, "a read failed");
                // The writer opens the store again if that is what it takes.
                self.queue.0.wake();
                Err(refused(topic, from, &error))
            }
            Err(_) => Err(Error::ShuttingDown),
        }
    }

    /// Waits until the writer has opened the store again after a failure; refuses when it has not failed, or for good.
    async fn another_reader(&self, old: &Arc<dyn LogReader>, otherwise: &str) -> Result<(), Error> {
        for _ in 0..REOPEN_POLLS {
            match self.view.reader() {
                Some(new) if !Arc::ptr_eq(old, &new) => return Ok(()),
                _ if self.view.last_status().health == Health::Failed => return Err(Error::StorageFailed),
                _ if !self.view.is_reopening() => return Err(Error::Corrupted(otherwise.to_owned())),
                _ => tokio::time::sleep(REOPEN_POLL).await,
            }
        }
        Err(Error::StorageFailed)
    }

    /// Takes up to `max_records` at a consumer's cursor, if there are any, in batches that fit `room`, and moves the
    /// cursor, in one. With the `attempt` of a call whose answer was lost, gives what that call took.
    ///
    /// # Errors
    /// [`Error::CursorMismatch`] when the cursor is not at `cursor`, [`Error::UnknownConsumer`],
    /// [`Error::AnswerTooLarge`] for a single batch that does not fit `room`, or the disk's. The cursor has not moved.
    ///
    /// # Cancel safety
    /// The cursor may have moved: call again with the same `cursor` and `attempt`.
    pub async fn dequeue(
        &self,
        consumer: ConsumerId,
        cursor: Offset,
        attempt: u64,
        max_records: u64,
        room: Room,
    ) -> Result<Dequeued, Error> {
        loop {
            let (view, topic) = self.consumer(consumer)?;
            let dequeued = self.dequeue_at(&topic, view.cursor, consumer, cursor, (attempt, max_records), room).await;
            // The consumer went with its topic while the records were read.
            let dequeued = dequeued.map_err(|error| match error {
                Error::UnknownTopic(_) => Error::UnknownConsumer(consumer.to_string()),
                error => error,
            })?;
            // Something that was on its way moved the cursor to where it was expected: now it can be read there.
            let was_elsewhere = view.cursor != cursor && !dequeued.repeated && dequeued.first == dequeued.next;
            if !was_elsewhere || dequeued.next >= topic.range().tail {
                return Ok(dequeued);
            }
        }
    }

    async fn dequeue_at(
        &self,
        topic: &TopicView,
        found: Offset,
        consumer: ConsumerId,
        cursor: Offset,
        (attempt, max_records): (u64, u64),
        room: Room,
    ) -> Result<Dequeued, Error> {
        let mut taking = Taking { consumer, cursor, attempt, first: cursor, next: cursor };
        // Of the same moment as the records: who finds none shall not read that there are some.
        let tail = topic.range().tail;
        let mut batches = Vec::new();
        if found == cursor {
            taking.first = cursor.max(topic.range().head);
            taking.first = topic.lost_at(taking.first).map_or(taking.first, |(_, to)| to);
            let wanted = Offset(taking.first.0.saturating_add(max_records));
            let range = self.read_range(topic, taking.first, wanted, room).await?;
            (batches, taking.next) = (range.batches, range.end);
        }
        let Taken { mut first, next, repeated } = self.ask(|done| Operation::Dequeue(taking, done)).await?;
        if repeated {
            let range = topic.range();
            if range.is_deleted {
                // Whether or not any of them were left.
                return Err(Error::UnknownTopic(topic.name.to_string()));
            }
            // Retention may have taken some of them since, or all.
            first = first.max(range.head).min(next);
            // What this call found itself when it arrived is not what that one took.
            batches.clear();
            if first < next {
                let range = self.read_range(topic, first, next, room).await?;
                if range.end < next {
                    // That call was on a connection with larger frames.
                    return Err(Error::AnswerTooLarge { bytes: range.bytes, limit: room.bytes });
                }
                batches = range.batches;
            }
        }
        Ok(Dequeued { first, next, tail: tail.max(next), repeated, batches })
    }

    /// The batches that hold `from..to`, as far as they are there and fit, and where they end within it.
    async fn read_range(&self, topic: &TopicView, from: Offset, to: Offset, room: Room) -> Result<Range, Error> {
        let mut batches = self.read(topic, from, MAX_DELIVERY_BYTES).await?.batches;
        while batches.len() > 1 && last_base(&batches) >= Some(to) {
            batches.pop();
        }
        let bytes = batches.iter().map(|batch| batch.len() + room.per_batch).sum::<usize>();
        let bytes = bytes.saturating_sub(room.per_batch);
        room.fit(&mut batches)?;
        let end = end_of(&batches)?.unwrap_or(from).min(to);
        Ok(Range { batches, end, bytes })
    }

    /// The first offset of the first batch that was appended at `time` or later; the tail if there is none.
    ///
    /// # Errors
    /// As [`Broker::read`].
    pub async fn offset_for(&self, topic: &TopicView, time: Timestamp) -> Result<Offset, Error> {
        let TopicRange { head: mut low, tail: mut high, .. } = topic.range();
        // Append times never go back, so bisect: all before `low` is earlier, all from `high` on is not.
        while low < high {
            let middle = Offset(low.0 + (high.0 - low.0) / 2);
            // Behind what is lost, or else before it.
            let middle = match topic.lost_at(middle) {
                Some((_, to)) if to < high => to,
                Some((from, _)) => {
                    high = from.max(low);
                    continue;
                }
                None => middle,
            };
            let found = match self.read(topic, middle, 1).await {
                Err(Error::BeforeHead { head, .. }) => {
                    low = head;
                    continue;
                }
                found => found?,
            };
            let header = found.batches.first().map(|batch| BatchHeader::read(batch));
            let header = header.ok_or(Error::StorageFailed)?.map_err(|error| Error::Corrupted(error.to_string()))?;
            if header.stamp.append_time < time {
                low = header.next_offset();
            } else {
                high = header.stamp.base_offset.max(low);
            }
        }
        Ok(low.max(topic.range().head))
    }
}

/// Damage is one thing, a disk that fails another: that may read it the next time.
pub(super) fn refused(topic: TopicId, from: Offset, error: &StorageError) -> Error {
    let what = format!("topic with id {topic}, at or after offset {from}: {}", error.with_causes());
    match error {
        StorageError::Closed => Error::StorageFailed,
        error if error.is_of_disk() => Error::ReadFailed(what),
        _ => Error::Corrupted(what),
    }
}

/// The topic's range, if it holds `from` or ends there.
fn in_range(topic: &TopicView, offset: Offset) -> Result<TopicRange, Error> {
    let range = topic.range();
    let TopicRange { head, tail, is_deleted, .. } = range;
    if is_deleted {
        return Err(Error::UnknownTopic(topic.name.to_string()));
    }
    match offset {
        offset if offset < head => Err(Error::BeforeHead { offset, head, tail }),
        offset if offset > tail => Err(Error::BeyondTail { offset, head, tail }),
        _ => match topic.lost_at(offset) {
            Some((_, to)) => Err(Error::Lost { from: offset, to }),
            None => Ok(range),
        },
    }
}

/// What [`readable`] leaves, if that begins where it should.
pub(super) fn without_gap(batches: Vec<Bytes>, from: Offset, tail: Offset) -> Option<Vec<Bytes>> {
    let batches = readable(batches, tail);
    (from >= tail || first_base(&batches).is_some_and(|base| base <= from)).then_some(batches)
}

/// Batches that a power cut cannot take back, up to the first gap, and no more than an answer may list.
fn readable(mut batches: Vec<Bytes>, tail: Offset) -> Vec<Bytes> {
    batches.truncate(MAX_DELIVERY_BATCHES);
    let follows = |pair: &[Bytes]| end_of(&pair[..1]).is_ok_and(|end| end >= first_base(&pair[1..]));
    let gap = batches.windows(2).position(|pair| !follows(pair));
    batches.truncate(gap.map_or(batches.len(), |last| last + 1));
    while last_base(&batches) >= Some(tail) {
        batches.pop();
    }
    batches
}

fn first_base(batches: &[Bytes]) -> Option<Offset> {
    Some(Stamp::read(batches.first()?).ok()?.base_offset)
}

fn last_base(batches: &[Bytes]) -> Option<Offset> {
    Some(Stamp::read(batches.last()?).ok()?.base_offset)
}

fn end_of(batches: &[Bytes]) -> Result<Option<Offset>, Error> {
    let header = batches.last().map(|batch| BatchHeader::read(batch)).transpose();
    Ok(header.map_err(|error| Error::Corrupted(error.to_string()))?.map(|header| header.next_offset()))
}
