//! Batches of a topic from one offset on, whatever happens to connections.
//!
//! ```text
//!   Idle ──▶ Opening ──▶ Live ──connection lost──▶ Idle
//!              └── refused ──┴── broken ──▶ Ended
//! ```
//!
//! Nothing happens in the background: the feed moves when it is polled.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::{
    delivery::Delivery,
    place::Place,
    subscription::{self, Delivered, Opened, Subscription},
};
use crate::{
    client::{
        Client, Error, Refusal, backoff::Backoff, connection::RouteEnd, continuity::Continuity, error::Disconnect,
    },
    protocol::{ErrorCode, Id, Start},
    record::Offset,
};

/// See the module.
pub(super) struct Feed {
    client: Client,
    topic: String,
    credit_bytes: u64,
    source: Source,
    /// Before a subscription is asked for again that the server has ended: it may end the next one as well.
    backoff: Backoff,
    pause: Duration,
    /// Since when nothing came, because the server's disk fails.
    failing_since: Option<Instant>,
    /// Follows what the server sends; its end is where the next subscription starts.
    continuity: Continuity,
    /// Where to subscribe, if not at the offset that comes next: the head, or a cursor, wherever that is by then.
    moving: Option<Start>,
    /// Reading has not begun, so it is no gap when a moving start has moved.
    is_fresh: bool,
    server_id: Id,
    pub(super) head: Offset,
    pub(super) tail: Offset,
    /// Delivered, not looked at.
    batches: VecDeque<Bytes>,
}

enum Source {
    Idle,
    /// The mutex is never locked: it makes the future `Sync`, so that a consumer can be shared.
    Opening(Mutex<BoxFuture<'static, Result<Opened, Error>>>),
    Live(Box<Subscription>),
    Ended,
}

impl Feed {
    pub(super) fn new(client: Client, topic: String, credit_bytes: u64, place: Place) -> Self {
        Self {
            backoff: client.inner.settings.backoff(),
            pause: Duration::ZERO,
            failing_since: None,
            client,
            topic,
            credit_bytes,
            source: Source::Idle,
            continuity: Continuity::new(place.offset),
            moving: place.moving,
            is_fresh: place.moving.is_some(),
            server_id: place.server_id,
            head: place.head,
            tail: place.tail,
            batches: VecDeque::new(),
        }
    }

    /// The next batch, or a gap. After any other error there is nothing more.
    pub(super) fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Delivery, Error>>> {
        let polled = self.poll_item(context);
        if let Poll::Ready(Some(Err(error))) = &polled
            && !matches!(error, Error::Gap { .. })
        {
            self.end();
        }
        polled
    }

    /// Ends the feed.
    pub(super) fn end(&mut self) {
        self.source = Source::Ended;
        self.batches.clear();
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Delivery, Error>>> {
        loop {
            if let Some(bytes) = self.batches.pop_front() {
                return Poll::Ready(Some(self.take(bytes)));
            }
            match &mut self.source {
                Source::Idle => self.source = Source::Opening(Mutex::new(Box::pin(self.subscribe()))),
                Source::Opening(opening) => {
                    let opening = opening.get_mut().unwrap_or_else(PoisonError::into_inner);
                    let opened = ready!(opening.as_mut().poll(context));
                    if let Err(error) = self.opened(opened) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Source::Live(subscription) => match ready!(subscription.poll_next(context)) {
                    Ok(delivered) => {
                        if let Err(error) = self.delivered(delivered) {
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                    Err(RouteEnd::Lost(why)) => {
                        tracing::debug!(topic = self.topic, next = %self.continuity.next(), %why, "subscription lost");
                        if let Disconnect::Refused(refusal) = why
                            && let Err(error) = self.refused(refusal)
                        {
                            return Poll::Ready(Some(Err(error)));
                        }
                        self.source = Source::Idle;
                    }
                    Err(RouteEnd::Failed(error)) => return Poll::Ready(Some(Err(error))),
                },
                Source::Ended => return Poll::Ready(None),
            }
        }
    }

    /// The subscription was ended for now. A disk that fails for longer than any call would wait is for the reader to know.
    fn refused(&mut self, refusal: Refusal) -> Result<(), Error> {
        self.pause = self.backoff.delay_after_refusal();
        let error = Error::Refused(refusal);
        if error.code() == Some(ErrorCode::StorageFailed) {
            let since = *self.failing_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= self.client.inner.settings.request_timeout {
                return Err(error);
            }
        }
        Ok(())
    }

    fn subscribe(&mut self) -> impl Future<Output = Result<Opened, Error>> + use<> {
        let start = self.moving.unwrap_or(Start::Offset(self.continuity.next().0));
        let pause = std::mem::take(&mut self.pause);
        let (client, topic) = (self.client.clone(), self.topic.clone());
        let opening = subscription::open(client, self.server_id, topic, start, self.credit_bytes);
        async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            opening.await
        }
    }

    /// `Err`: also when there is a gap, behind which it goes on.
    fn opened(&mut self, opened: Result<Opened, Error>) -> Result<(), Error> {
        let opened = opened?;
        let answer = opened.answer;
        (self.head, self.tail) = (Offset(answer.head), Offset(answer.tail));
        self.source = Source::Live(Box::new(opened.subscription));
        self.moving = None;
        let (wanted, offset) = (self.continuity.next(), Offset(answer.offset));
        self.continuity = Continuity::new(offset);
        match () {
            () if std::mem::take(&mut self.is_fresh) || offset == wanted => Ok(()),
            () if offset > wanted => Err(Error::Gap { from: wanted, to: offset }),
            () => Err(Error::violation(format!("a subscription at {wanted} begins at {offset}"))),
        }
    }

    /// `Err`: also when there is a gap, behind which it goes on.
    fn delivered(&mut self, delivered: Delivered) -> Result<(), Error> {
        let control = delivered.control;
        (self.head, self.tail) = (Offset(control.head), Offset(control.tail));
        self.batches.extend(delivered.batches);
        match &control.gap {
            None => Ok(()),
            Some(gap) => Err(self.continuity.skip(gap)?),
        }
    }

    fn take(&mut self, bytes: Bytes) -> Result<Delivery, Error> {
        let (first, size) = (self.continuity.next(), bytes.len());
        let batch = self.continuity.accept(bytes)?;
        self.backoff.reset();
        self.failing_since = None;
        if let Source::Live(subscription) = &mut self.source {
            subscription.consumed(size);
        }
        Ok(Delivery { batch, first, head: self.head, tail: self.tail })
    }
}
