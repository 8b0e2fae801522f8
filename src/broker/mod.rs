//! The state machine and its group commit: topics, producers, cursors. Knows no opcode and no error number.
//!
//! A room of the server: public so that it can be read and tested, not an interface that stays as it is.
//!
//! ```text
//!  submit(op) -> queue -> writer thread:  decide (valid? duplicate? gap?)
//!                                         apply to the state, add to the block
//!                                         commit the block: one fsync for all topics
//!                                         publish to readers, then tell the callers
//!  readers -> view (durable heads and tails) -> tail cache, or disk on a blocking thread
//! ```
//!
//! While the disk syncs, the next group gathers in the queue: batching without a timer.

mod audit;
mod broker_error;
mod clock;
mod config;
mod decide;
mod event;
mod group;
mod operation;
mod place;
mod queue;
mod reads;
mod retention;
mod state;
#[cfg(feature = "trial")]
mod stepped;
#[cfg(test)]
mod tests;
mod view;
mod writer;

pub use audit::{DataDir, FoundDamage, LostRange, Progress, Report, audit};
pub use broker_error::Error;
pub use config::{BrokerConfig, Health, Status};
pub use operation::{
    Appended, Appending, ConsumerState, Done, Listed, Listing, ProducerState, StartAt, Taken, TopicCreated,
};
pub use place::Place;
pub use reads::{Dequeued, Fetched, Room};
pub use state::Retention;
#[cfg(feature = "trial")]
pub use stepped::{Peek, Stepped};
pub use view::{ConsumerView, TopicRange, TopicView};

/// What opening and closing can fail with, and where work goes that nobody waits for.
pub use crate::storage::{Background, StorageError, hide_caught_panics};

use std::{
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use crate::record::{ConsumerId, Offset, ProducerId, TopicName};
use clock::Clock;
use operation::Operation;
use queue::Queue;
use view::View;
use writer::Writer;

/// Reads from disk that may run at once, over all connections.
const MAX_DISK_READS: usize = 4;

/// The broker: cheap to clone, shared by all connections.
#[derive(Clone)]
pub struct Broker {
    queue: Arc<OpenQueue>,
    view: Arc<View>,
    disk_reads: Arc<Semaphore>,
    /// Where batches are read from disk.
    background: Background,
    /// Taken by whoever closes the broker.
    writer: Arc<Mutex<Option<WriterThread>>>,
}

/// The queue, which is closed with the last handle to the broker: the writer then closes the store and ends.
struct OpenQueue(Arc<Queue>);

impl Drop for OpenQueue {
    fn drop(&mut self) {
        self.0.close();
    }
}

type WriterThread = JoinHandle<Result<(), StorageError>>;

impl Broker {
    /// Recovers the state and starts the writer thread. Blocks while it reads.
    ///
    /// # Errors
    /// [`StorageError`] when the data cannot be opened.
    pub fn open(place: Place, config: BrokerConfig) -> Result<Self, StorageError> {
        let (broker, writer) = Self::assemble(place, config, Clock::Machine)?;
        let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(move || writer.run());
        let thread =
            thread.map_err(|source| StorageError::Io { what: "starting the writer thread".to_owned(), source })?;
        *broker.writer.lock().expect("no panic while it is locked") = Some(thread);
        Ok(broker)
    }

    /// A broker, and its writer, which does not work yet.
    fn assemble(place: Place, config: BrokerConfig, clock: Clock) -> Result<(Self, Writer), StorageError> {
        let (background, open) = (config.background, place.into_engine(&config)?);
        let (queue, view) = (Arc::new(Queue::default()), Arc::new(View::default()));
        let writer = Writer::open(config, clock, open, queue.clone(), view.clone())?;
        let (queue, disk_reads) = (Arc::new(OpenQueue(queue)), Arc::new(Semaphore::new(MAX_DISK_READS)));
        Ok((Self { queue, view, disk_reads, background, writer: Arc::default() }, writer))
    }

    /// Appends batches and moves cursors, all or nothing. `done` is called on the writer thread once they are
    /// durable or refused; it must not block.
    pub fn append(&self, appending: Appending, done: Done<Vec<Appended>>) {
        self.queue.0.push(Operation::Append(appending, done));
    }

    /// [`Broker::append`] for callers that wait.
    ///
    /// # Errors
    /// [`Error`] says why nothing was appended, or that it is not known.
    ///
    /// # Cancel safety
    /// A dropped future does not take the append back.
    pub async fn append_wait(&self, appending: Appending) -> Result<Vec<Appended>, Error> {
        self.ask(|done| Operation::Append(appending, done)).await
    }

    /// Makes a topic, or is content with the one there is if `if_absent`.
    ///
    /// # Errors
    /// [`Error::TopicExists`], [`Error::TooManyTopics`], [`Error::InvalidRetention`], or the disk's.
    pub async fn create_topic(
        &self,
        name: TopicName,
        retention: Retention,
        if_absent: bool,
    ) -> Result<TopicCreated, Error> {
        self.ask(|done| Operation::CreateTopic { name, retention, if_absent, done }).await
    }

    /// Removes a topic with its records, producers and consumers. `Ok(false)`: there was none, and `if_present`.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], or the disk's.
    pub async fn delete_topic(&self, name: TopicName, if_present: bool) -> Result<bool, Error> {
        self.ask(|done| Operation::DeleteTopic { name, if_present, done }).await
    }

    /// Registers a producer; the same name gives the same id and the next epoch.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`] unless `create` says to make it, [`Error::TooManyProducers`], or the disk's.
    pub async fn register_producer(
        &self,
        topic: TopicName,
        name: Option<String>,
        create: Option<Retention>,
    ) -> Result<ProducerState, Error> {
        self.ask(|done| Operation::RegisterProducer { topic, name, create, done }).await
    }

    /// The state of a producer, as of what is durable.
    ///
    /// # Errors
    /// [`Error::UnknownProducer`].
    pub async fn producer_state(&self, id: ProducerId) -> Result<ProducerState, Error> {
        self.ask(|done| Operation::ProducerState { id, done }).await
    }

    /// Producers of a topic that have names, a page of them, and whether there are more.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub async fn producers(&self, listing: Listing) -> Result<(Vec<Listed>, bool), Error> {
        self.ask(|done| Operation::ListProducers(listing, done)).await
    }

    /// Removes a producer. Says whether there was one.
    ///
    /// # Errors
    /// The disk's.
    pub async fn forget_producer(&self, id: ProducerId) -> Result<bool, Error> {
        self.ask(|done| Operation::ForgetProducer { id, done }).await
    }

    /// Registers a consumer; the same name gives the same id, and the cursor where it was left.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::BeyondTail`], [`Error::TooManyConsumers`], or the disk's.
    pub async fn register_consumer(
        &self,
        topic: TopicName,
        name: Option<String>,
        start: StartAt,
    ) -> Result<ConsumerState, Error> {
        self.ask(|done| Operation::RegisterConsumer { topic, name, start, done }).await
    }

    /// Moves a cursor; backward only if `rewind`. Gives where it is.
    ///
    /// # Errors
    /// [`Error::UnknownConsumer`], [`Error::BeyondTail`], [`Error::BeforeHead`] when rewinding, or the disk's.
    pub async fn commit(&self, consumer: ConsumerId, offset: Offset, rewind: bool) -> Result<Offset, Error> {
        self.ask(|done| Operation::Commit { consumer, offset, rewind, done }).await
    }

    /// Hands an operation to the writer and waits for what it tells.
    async fn ask<T: Send + 'static>(&self, operation: impl FnOnce(Done<T>) -> Operation) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        // Nobody may be waiting any more; the operation stands all the same.
        self.queue.0.push(operation(Box::new(move |outcome| drop(tell.send(outcome)))));
        // The writer tells everybody, unless it panicked.
        told.await.unwrap_or(Err(Error::Indeterminate))
    }

    /// A topic by its name.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`].
    pub fn topic(&self, name: &str) -> Result<Arc<TopicView>, Error> {
        self.view.topic(name)
    }

    /// Topics whose names are greater than `after`, in order, and whether there are more than `limit`.
    #[must_use]
    pub fn topics(&self, after: &str, limit: usize) -> (Vec<Arc<TopicView>>, bool) {
        self.view.topics(after, limit)
    }

    /// A consumer and its topic.
    ///
    /// # Errors
    /// [`Error::UnknownConsumer`].
    pub fn consumer(&self, id: ConsumerId) -> Result<(ConsumerView, Arc<TopicView>), Error> {
        self.view.consumer(id)
    }

    /// Identity of the data.
    #[must_use]
    pub fn server_id(&self) -> Uuid {
        self.view.last_status().server_id
    }

    /// How the broker is. Looks at the files.
    #[must_use]
    pub fn status(&self) -> Status {
        self.view.status()
    }

    /// Stops taking operations, finishes those that were taken, and closes the store. Later calls do nothing.
    ///
    /// # Errors
    /// [`StorageError`] when the store does not close cleanly; what was acknowledged is durable all the same.
    pub fn close(&self) -> Result<(), StorageError> {
        self.queue.0.close();
        let thread = self.writer.lock().expect("no panic while it is locked").take();
        match thread.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(closed)) => closed,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}
