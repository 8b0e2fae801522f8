//! Consumers: the records of a topic, in order, each consumer at its own pace.
//!
//! The server pushes batches under credit in bytes, which is given back as batches are taken. So a slow reader slows
//! only itself, and a fast one never waits for a round trip.

mod builder;
mod delivery;
mod dequeue;
mod feed;
mod place;
mod subscription;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::Stream;
use tokio::sync::OnceCell;
use uuid::Uuid;

pub use self::{
    builder::ConsumerBuilder,
    delivery::{ConsumerRecord, Delivery, DeliveryRecords},
};

use self::{dequeue::Dequeuing, feed::Feed, place::Place};
use super::{
    Client, Error,
    call::{Repeat, Terms},
};
use crate::{
    protocol::{Backlog, Commit, CursorMove, Id, RegisterConsumer, Start},
    record::{ConsumerId, Offset},
};

/// Reads one topic. From [`Client::consumer`].
///
/// It is a [`Stream`] of records; [`Self::batches`] is one of batches. Lost connections do not show: reading goes on at
/// the next record. What shows is an error item:
///
/// - [`Error::Gap`] says once that records are gone. The next item comes from behind the gap.
/// - Any other error ends the stream: the topic was deleted, the data is damaged, the server's disk has failed to give it
///   back for as long as a request may take. [`Self::seek`] begins anew, also at
///   [`Self::position`].
///
/// **Where it stands** is known at two places. The *position* is the next record to be given by this object; reading and
/// [`Self::seek`] move it. The *cursor* is on the server, durable, and belongs to the consumer's name; [`Self::commit`]
/// and [`Self::dequeue`] move it. Opening a named consumer sets the position to the cursor; nothing else relates them.
///
/// **Without a name** it has no cursor until it needs one: the first call of [`Self::id`], [`Self::commit`],
/// [`Self::backlog`] or [`Self::dequeue`] registers it, at its position.
pub struct Consumer {
    client: Client,
    topic: String,
    credit_bytes: u64,
    /// The data that its id and its offsets are of.
    server_id: Id,
    id: OnceCell<ConsumerId>,
    feed: Feed,
    current: Option<Current>,
    position: Offset,
    dequeuing: Dequeuing,
}

/// A batch that is being read record by record.
struct Current {
    delivery: Delivery,
    records: DeliveryRecords,
}

impl Consumer {
    // ---- reading ----

    /// The next record, as soon as there is one. `None` after the error that ended the stream.
    ///
    /// # Errors
    /// See [`Consumer`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next_record(&mut self) -> Result<Option<ConsumerRecord>, Error> {
        poll_fn(|context| self.poll_record(context)).await.transpose()
    }

    /// The next batch, as soon as there is one, or what [`Self::next_record`] has left of it. `None` after the error that
    /// ended the stream.
    ///
    /// # Errors
    /// See [`Consumer`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next_batch(&mut self) -> Result<Option<Delivery>, Error> {
        poll_fn(|context| self.poll_batch(context)).await.transpose()
    }

    /// The batches, as a stream.
    pub fn batches(&mut self) -> impl Stream<Item = Result<Delivery, Error>> + Send + Unpin + '_ {
        futures::stream::poll_fn(|context| self.poll_batch(context))
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Delivery, Error>>> {
        if let Some(Current { mut delivery, records }) = self.current.take()
            && records.next_offset() < delivery.next_offset()
        {
            delivery.first = records.next_offset();
            self.position = delivery.next_offset();
            return Poll::Ready(Some(Ok(delivery)));
        }
        let polled = ready!(self.feed.poll_batch(context));
        match &polled {
            Some(Ok(delivery)) => self.position = delivery.next_offset(),
            Some(Err(Error::Gap { to, .. })) => self.position = *to,
            Some(Err(_)) | None => {}
        }
        Poll::Ready(polled)
    }

    fn poll_record(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<ConsumerRecord, Error>>> {
        loop {
            if let Some(current) = &mut self.current {
                match current.records.next() {
                    None => self.current = None,
                    Some(Ok(record)) => {
                        self.position = record.offset.plus(1);
                        return Poll::Ready(Some(Ok(record)));
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(self.broken(error)))),
                }
            }
            let delivery = match ready!(self.poll_batch(context)) {
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            self.position = delivery.first_offset();
            match delivery.records() {
                Ok(records) => self.current = Some(Current { delivery, records }),
                Err(error) => return Poll::Ready(Some(Err(self.broken(error)))),
            }
        }
    }

    fn broken(&mut self, error: Error) -> Error {
        self.current = None;
        self.feed.end();
        error
    }

    /// Goes on reading from somewhere else. The cursor stays where it is.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::TimedOut`]. The consumer stays where it was.
    ///
    /// # Cancel safety
    /// The consumer stays where it was.
    pub async fn seek(&mut self, to: Start) -> Result<(), Error> {
        let place = Place::find(&self.client, &self.topic, to, self.terms(Repeat::Harmless)).await?;
        self.feed = Feed::new(self.client.clone(), self.topic.clone(), self.credit_bytes, place);
        self.current = None;
        self.position = place.offset;
        Ok(())
    }

    /// The offset of the next record to be given.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.position
    }

    /// The first offset that the topic keeps, as of the last delivery.
    #[must_use]
    pub fn head(&self) -> Offset {
        self.feed.head
    }

    /// The next offset that the topic assigns, as of the last delivery.
    #[must_use]
    pub fn tail(&self) -> Offset {
        self.feed.tail
    }

    /// How many records there are from [`Self::position`] to [`Self::tail`].
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.feed.tail.0.saturating_sub(self.position.0)
    }

    // ---- the cursor ----

    /// The id that the server knows this consumer by.
    ///
    /// # Errors
    /// Without a name, when it has to be registered: [`Error::Refused`], [`Error::ConnectionLost`], [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// Without a name, a consumer that nobody uses may be registered.
    pub async fn id(&self) -> Result<ConsumerId, Error> {
        let register = async {
            let (topic, start) = (self.topic.clone(), Start::Offset(self.position.0));
            // Every registration without a name makes another one, so it is not repeated unasked.
            let terms = self.terms(Repeat::Never);
            let registered = self.client.call(&RegisterConsumer { topic, name: None, start }, terms).await?;
            Ok(ConsumerId(Uuid::from_bytes(registered.consumer_id)))
        };
        self.id.get_or_try_init(|| register).await.copied()
    }

    /// Moves the cursor forward to an offset, the one of the record to be read next: [`Self::position`], or
    /// [`Delivery::next_offset`]. Returns where the cursor is, durably; further than asked if it was there already.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`OffsetBeyondTail`](crate::protocol::ErrorCode::OffsetBeyondTail) and others;
    /// [`Error::TimedOut`]; as [`Self::id`].
    ///
    /// # Cancel safety
    /// The cursor may have moved. Calling again is harmless.
    pub async fn commit(&self, offset: Offset) -> Result<Offset, Error> {
        self.move_cursor(offset, false).await
    }

    /// Moves the cursor to an offset, also backward. The position stays where it is.
    ///
    /// # Errors
    /// As [`Self::commit`]; [`Error::ConnectionLost`], since others may have moved the cursor meanwhile.
    ///
    /// # Cancel safety
    /// The cursor may have moved.
    pub async fn rewind(&self, offset: Offset) -> Result<Offset, Error> {
        self.move_cursor(offset, true).await
    }

    async fn move_cursor(&self, offset: Offset, rewind: bool) -> Result<Offset, Error> {
        let consumer_id = *self.id().await?.0.as_bytes();
        // Somebody else may have moved it forward between a rewind and its repetition.
        let repeat = if rewind { Repeat::Never } else { Repeat::Harmless };
        let request = Commit { consumer_id, offset: offset.0, rewind };
        Ok(Offset(self.client.call(&request, self.terms(repeat)).await?.cursor))
    }

    fn terms(&self, repeat: Repeat) -> Terms {
        Terms::from(repeat).of_data(self.server_id)
    }

    /// A move of the cursor for [`Producer::send_all`](super::Producer::send_all), which makes it together with an append.
    ///
    /// # Errors
    /// As [`Self::id`].
    ///
    /// # Cancel safety
    /// As [`Self::id`].
    pub async fn cursor_move(&self, offset: Offset) -> Result<CursorMove, Error> {
        Ok(CursorMove { consumer_id: *self.id().await?.0.as_bytes(), offset: offset.0 })
    }

    /// How many records there are from the cursor to the tail, now.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::TimedOut`]; as [`Self::id`].
    ///
    /// # Cancel safety
    /// As [`Self::id`].
    pub async fn backlog(&self) -> Result<u64, Error> {
        let consumer_id = *self.id().await?.0.as_bytes();
        Ok(self.client.call(&Backlog { consumer_id }, self.terms(Repeat::Harmless)).await?.backlog)
    }
}

impl Stream for Consumer {
    type Item = Result<ConsumerRecord, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_record(context)
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("topic", &self.topic)
            .field("position", &self.position)
            .field("tail", &self.feed.tail)
            .finish_non_exhaustive()
    }
}
