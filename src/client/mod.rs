//! The client: one connection that comes back by itself, producers, consumers and administration.
//!
//! ```no_run
//! # async fn example() -> Result<(), connectify::client::Error> {
//! use connectify::{Record, client::Client};
//!
//! let client = Client::connect("127.0.0.1:7466").await?;
//! let producer = client.producer("logs").create_topic(Default::default()).open().await?;
//! let offset = producer.send(Record::new("durable when this returns")).await?;
//!
//! let mut consumer = client.consumer("logs").open().await?;
//! let first = consumer.next_record().await?;
//! # let _ = (offset, first);
//! # Ok(()) }
//! ```
//!
//! **Connections.** A [`Client`] holds one connection and shares it among all that is made from it. When it is lost, the
//! client connects again, with growing delays, for as long as it lives; producers send again what was not acknowledged,
//! and consumers go on where they were. Calls wait for that until their deadline.
//!
//! **What is sent twice.** A call is repeated on the next connection when that is harmless: reads, registrations under a
//! name, `ensure_topic`, `delete_topic`, `commit`, `dequeue`, and every append of a producer, which the server recognises.
//! All others fail with an error that says whether they [may have taken effect](Error::may_have_applied).
//!
//! **Memory.** A producer holds at most its window, a consumer its credit, a connection what the server granted.

mod admin;
mod backoff;
mod builder;
mod call;
mod connection;
mod consumer;
mod continuity;
mod error;
mod fetch;
mod producer;
mod settings;
mod supervisor;
#[cfg(test)]
mod testing;
mod transport;

use std::sync::{Arc, Mutex, PoisonError};

use rand::{RngExt, rngs::StdRng};
use tokio::sync::watch;

pub use self::{
    builder::ClientBuilder,
    consumer::{Consumer, ConsumerBuilder, ConsumerRecord, Delivery, DeliveryRecords},
    error::{Disconnect, Error, Refusal},
    fetch::{FetchOptions, Fetched},
    producer::{Producer, ProducerBuilder, Ticket, TryEnqueueError},
    supervisor::ConnectionState,
    transport::{BoxTransport, Transport},
};
pub use crate::protocol::{
    ConsumerInfo, CursorMove, DescribeTopicAnswer, ErrorCode, ProducerInfo, ProducerStateAnswer, Retention,
    ServerInfoAnswer, Start, TopicInfo,
};

use self::{
    backoff::deadline_after,
    settings::Settings,
    supervisor::{Links, NoConnection, Supervisor},
};

/// A client of one server. Clones share the connection, which closes with the last of them: producers and consumers
/// hold one each.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    links: Arc<Links>,
    /// The supervisor stops when it is told, or when this is gone.
    closing: watch::Sender<bool>,
    chance: Mutex<StdRng>,
}

impl Client {
    /// Connects to `address`, `host:port`, with the default settings.
    ///
    /// # Errors
    /// As [`ClientBuilder::connect`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the client.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(address: impl Into<String>) -> Result<Self, Error> {
        Self::builder(address).connect().await
    }

    /// A client of the server at `address`, `host:port`, with settings of its own.
    pub fn builder(address: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(address.into().into())
    }

    fn start(settings: Settings) -> Self {
        let links = Arc::new(Links::default());
        let closing = watch::Sender::new(false);
        let supervisor =
            Supervisor { settings: settings.clone(), links: Arc::clone(&links), closing: closing.subscribe() };
        tokio::spawn(supervisor.run());
        let chance = Mutex::new(settings.chance());
        Self { inner: Arc::new(Inner { settings, links, closing, chance }) }
    }

    async fn first_connection(&self) -> Result<(), Error> {
        let settings = &self.inner.settings;
        match self.inner.links.connection(deadline_after(settings.connect_timeout)).await {
            Ok(_) => Ok(()),
            Err(NoConnection::Closed(error)) => Err(error),
            Err(NoConnection::TimedOut(why)) => Err(Error::Connect {
                address: Arc::clone(&settings.address),
                source: why.unwrap_or(Disconnect::ConnectTimedOut(settings.connect_timeout)),
            }),
        }
    }

    /// A number that no other client has drawn.
    fn random(&self) -> u64 {
        self.inner.chance.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// How the client is connected, now and from now on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.inner.links.state()
    }

    /// A producer for a topic; [`ProducerBuilder::open`] registers it.
    pub fn producer(&self, topic: &str) -> ProducerBuilder {
        ProducerBuilder::new(self.clone(), topic)
    }

    /// A consumer of a topic; [`ConsumerBuilder::open`] finds its place.
    pub fn consumer(&self, topic: &str) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone(), topic)
    }

    /// Closes the connection, for all clones: waits for the answers to what has been sent, for as long as a request may
    /// take. What has not been sent fails. Close producers before, to have everything delivered.
    ///
    /// # Cancel safety
    /// The client closes all the same.
    pub async fn close(self) {
        let mut state = self.state();
        self.inner.closing.send_replace(true);
        // An error means that the supervisor is gone with its runtime.
        state.wait_for(|&state| state == ConnectionState::Closed).await.ok();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.inner.settings.address).finish_non_exhaustive()
    }
}
