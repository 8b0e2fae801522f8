//! A broker without a thread of its own: whoever drives it says when the writer works. So a run can be repeated.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt as _;

use super::{Broker, BrokerConfig, Error, Place, ProducerState, View, Writer, clock::Clock, reads};
use crate::{
    record::{BatchHeader, Offset, Timestamp},
    storage::StorageError,
};

/// A broker and its writer.
pub struct Stepped {
    broker: Broker,
    writer: Writer,
}

/// What consumers see, from memory alone.
#[derive(Clone)]
pub struct Peek(Arc<View>);

impl Peek {
    /// Batches that hold `from` and what follows, as far as readers may see them and the cache has them.
    #[must_use]
    pub fn batches(&self, topic: &str, from: Offset) -> Vec<Bytes> {
        let (Ok(topic), Some(reader)) = (self.0.topic(topic), self.0.reader()) else {
            return Vec::new();
        };
        let tail = topic.range().tail;
        let mut batches = reader.read_cached(topic.id, from, usize::MAX).unwrap_or_default();
        let is_shown = |bytes: &Bytes| BatchHeader::read(bytes).is_ok_and(|header| header.next_offset() <= tail);
        batches.retain(is_shown);
        batches
    }
}

impl Stepped {
    /// Recovers the state, as [`Broker::open`] does.
    ///
    /// # Errors
    /// As [`Broker::open`].
    pub fn open(place: Place, config: BrokerConfig) -> Result<Self, StorageError> {
        let (broker, writer) = Broker::assemble(place, config, Clock::Machine)?;
        Ok(Self { broker, writer })
    }

    /// The same, at a time that passes only in [`Stepped::pass`].
    ///
    /// # Errors
    /// As [`Broker::open`].
    pub fn open_at(place: Place, config: BrokerConfig, now: Timestamp) -> Result<Self, StorageError> {
        let (broker, writer) = Broker::assemble(place, config, Clock::Told { now, instant: Instant::now() })?;
        Ok(Self { broker, writer })
    }

    /// Lets time pass, after which the calendar says `now`: another time than one would think if it was set.
    pub fn pass(&mut self, time: Duration, now: Timestamp) {
        let instant = self.writer.clock.instant() + time;
        self.writer.clock = Clock::Told { now, instant };
    }

    /// The broker, to hand operations to.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Lets the writer work on what waits; `false` when nothing does.
    pub fn step(&mut self) -> bool {
        self.writer.step()
    }

    /// Ready when a step has something to work on.
    ///
    /// # Cancel safety
    /// Nothing is changed by waiting.
    pub async fn wait(&self) {
        self.writer.wait().await;
    }

    /// Works on what comes for as long as it is polled; each group takes the time that `disk` says.
    ///
    /// # Cancel safety
    /// What waits goes on waiting.
    pub async fn drive(&mut self, mut disk: impl FnMut() -> Duration) {
        loop {
            self.writer.wait().await;
            // More may join the group meanwhile, as it does while a real disk syncs.
            tokio::time::sleep(disk()).await;
            self.step();
        }
    }

    /// Drives a call of the broker to its end.
    ///
    /// # Panics
    /// When it waits for something that no step brings.
    pub fn call<T, F: Future<Output = T>>(&mut self, call: impl FnOnce(Broker) -> F) -> T {
        let mut call = pin!(call(self.broker.clone()));
        for _ in 0..1000 {
            if let Some(output) = call.as_mut().now_or_never() {
                return output;
            }
            self.writer.step();
        }
        panic!("it waits for what the writer does not bring");
    }

    /// Batches of a topic, the first of which holds `from`, straight from the store.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::StorageFailed`], [`Error::ReadFailed`], [`Error::Corrupted`].
    pub fn read(&self, topic: &str, from: Offset, max_bytes: usize) -> Result<Vec<Bytes>, Error> {
        let topic = self.broker.view.topic(topic)?;
        let reader = self.broker.view.reader().ok_or(Error::StorageFailed)?;
        let batches = reader.read(topic.id, from, max_bytes).map_err(|error| reads::refused(topic.id, from, &error))?;
        reads::without_gap(batches, from, topic.range().tail)
            .ok_or_else(|| Error::Corrupted(format!("topic {} has no batch at offset {from}", topic.name)))
    }

    /// Every producer as the writer knows it, which is no sign of life of them.
    #[must_use]
    pub fn producers(&self) -> Vec<ProducerState> {
        self.writer.producers()
    }

    /// A look at what consumers see, from within the writer's work.
    #[must_use]
    pub fn peek(&self) -> Peek {
        Peek(self.broker.view.clone())
    }

    /// Ends the store in order.
    ///
    /// # Errors
    /// [`StorageError`] when it does not close cleanly.
    pub fn close(self) -> Result<(), StorageError> {
        self.writer.close()
    }
}
