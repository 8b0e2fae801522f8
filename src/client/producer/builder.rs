//! Settings of a producer, and its registration.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    Producer,
    driver::{Delivery, Driver, Identity},
    flight::Flight,
    shared::{Shared, Sizes},
};
use crate::{
    client::{Client, Error, admin::topic_name, backoff::FOREVER, call::Repeat, connection::Granted},
    limits::MAX_PRODUCER_RANGES,
    protocol::{RegisterProducer, Retention},
    record::{Compression, Epoch, ProducerId, Sequence, TopicId, check_name},
};

const KIB: usize = 1024;

/// Settings of a [`Producer`]; see [`Client::producer`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct ProducerBuilder {
    client: Client,
    topic: String,
    name: Option<String>,
    create: Option<Retention>,
    batch_bytes: usize,
    window_bytes: usize,
    delivery: Delivery,
}

impl ProducerBuilder {
    pub(in crate::client) fn new(client: Client, topic: &str) -> Self {
        let delivery = Delivery { compression: Compression::None, max_in_flight: 4, timeout: Duration::from_secs(120) };
        let (batch_bytes, window_bytes) = (256 * KIB, 8 * KIB * KIB);
        Self { client, topic: topic.to_owned(), name: None, create: None, batch_bytes, window_bytes, delivery }
    }

    /// A stable name. Opening a producer of the same name later gives the same id and [`Producer::last_sequence`], and
    /// fences the earlier one. Default: none; then the server forgets the producer after some days of silence.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Makes the topic, with this retention, if it does not exist. Default: its absence is an error.
    pub fn create_topic(mut self, retention: Retention) -> Self {
        self.create = Some(retention);
        self
    }

    /// How the records of a batch are compressed; costs time of the runtime's threads. Default: not.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.delivery.compression = compression;
        self
    }

    /// When a batch is full, before compression. A single larger record still is a batch. Default: 256 KiB.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// How many bytes of records may be enqueued and not acknowledged. It bounds the memory that the producer takes, within
    /// a factor of two.
    /// Default: 8 MiB.
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.window_bytes = bytes;
        self
    }

    /// How many batches may be unanswered at once, from 1 to [`MAX_PRODUCER_RANGES`]. Default: 4.
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.delivery.max_in_flight = batches.clamp(1, MAX_PRODUCER_RANGES);
        self
    }

    /// How long a record may be on its way, from `enqueue` to the acknowledgement, over lost connections and refusals
    /// that a later try can mend. When it is over, the producer ends. Default: 2 minutes.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery.timeout = timeout.min(FOREVER);
        self
    }

    /// Registers the producer.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`UnknownTopic`](crate::protocol::ErrorCode::UnknownTopic) and others;
    /// [`Error::InvalidName`]; [`Error::TimedOut`]; without a name, [`Error::ConnectionLost`].
    ///
    /// # Cancel safety
    /// The producer may be registered. Under a name, one that was open before may be fenced.
    pub async fn open(self) -> Result<Producer, Error> {
        if let Some(name) = &self.name {
            check_name(name).map_err(|source| Error::InvalidName { what: "producer", source })?;
        }
        let repeat = if self.name.is_some() { Repeat::Harmless } else { Repeat::Never };
        let request =
            RegisterProducer { topic: topic_name(&self.topic)?, name: self.name.clone(), create: self.create.clone() };
        let answered = self.client.ask(&request, repeat.into()).await?;
        let registered = answered.answer;
        // Half of all numbers is enough for ever, and then no sum of them overflows.
        if registered.last_sequence > u64::MAX / 2 {
            return Err(Error::violation(format!("last sequence is {}", registered.last_sequence)));
        }
        let identity = Identity {
            id: ProducerId(Uuid::from_bytes(registered.producer_id)),
            epoch: Epoch(registered.epoch),
            topic_id: TopicId(registered.topic_id),
            server_id: answered.granted.server_id,
        };
        Ok(self.start(identity, Sequence(registered.last_sequence), &answered.granted))
    }

    fn start(self, identity: Identity, last_sequence: Sequence, granted: &Granted) -> Producer {
        let shared = Arc::new(Shared::new(Sizes {
            batch_bytes: self.batch_bytes,
            window_bytes: self.window_bytes,
            max_batch_bytes: granted.max_batch_bytes,
            max_record_bytes: granted.max_record_bytes,
        }));
        let driver = Driver {
            backoff: self.client.inner.settings.backoff(),
            client: self.client,
            shared: Arc::clone(&shared),
            identity,
            delivery: self.delivery,
            next_sequence: last_sequence,
            flight: Flight::default(),
            connection: None,
            trouble: None,
            is_done: false,
        };
        Producer { shared, identity, last_sequence, driver: Some(tokio::spawn(driver.run())) }
    }
}
