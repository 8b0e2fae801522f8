//! Settings of a consumer, and finding its place.

use tokio::sync::OnceCell;

use super::{Consumer, dequeue::Dequeuing, feed::Feed, place::Place};
use crate::{
    client::{
        Client, Error,
        admin::topic_name,
        call::{Repeat, Terms},
    },
    limits::MAX_CREDIT_BYTES,
    protocol::{RegisterConsumer, Start},
    record::{ConsumerId, check_name},
};

const DEFAULT_CREDIT_BYTES: u64 = 4 * 1024 * 1024;

/// Settings of a [`Consumer`]; see [`Client::consumer`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct ConsumerBuilder {
    client: Client,
    topic: String,
    name: Option<String>,
    start: Start,
    credit_bytes: u64,
}

impl ConsumerBuilder {
    pub(in crate::client) fn new(client: Client, topic: &str) -> Self {
        let (topic, credit_bytes) = (topic.to_owned(), DEFAULT_CREDIT_BYTES);
        Self { client, topic, name: None, start: Start::Head, credit_bytes }
    }

    /// A stable name. The server keeps the cursor of a named consumer; when it is opened again, it goes on there.
    /// Default: none; then nothing is registered until a cursor is needed.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where to start; for a named consumer, only when it is opened for the first time. Default: at the head.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How many bytes of batches the server may send ahead of the reader, up to [`MAX_CREDIT_BYTES`]. It bounds the
    /// memory that the consumer takes: one delivery more, since a batch comes whatever its size. Default: 4 MiB.
    pub fn credit_bytes(mut self, bytes: u64) -> Self {
        self.credit_bytes = bytes.clamp(1, MAX_CREDIT_BYTES);
        self
    }

    /// Finds the consumer's place. Nothing is sent to it before it reads.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`UnknownTopic`](crate::protocol::ErrorCode::UnknownTopic) and others;
    /// [`Error::InvalidName`]; [`Error::InvalidArgument`] for a name and [`Start::Cursor`]; [`Error::TimedOut`].
    ///
    /// # Cancel safety
    /// A named consumer may be registered. Opening it again is harmless.
    pub async fn open(self) -> Result<Consumer, Error> {
        let (client, topic) = (self.client, topic_name(&self.topic)?);
        let (place, id) = match &self.name {
            None => (Place::find(&client, &topic, self.start, Repeat::Harmless.into()).await?, None),
            Some(name) => {
                check_name(name).map_err(|source| Error::InvalidName { what: "consumer", source })?;
                if matches!(self.start, Start::Cursor(_)) {
                    return Err(Error::invalid("a named consumer has a cursor of its own to start at"));
                }
                let request = RegisterConsumer { topic: topic.clone(), name: Some(name.clone()), start: self.start };
                let registered = client.ask(&request, Repeat::Harmless.into()).await?;
                let terms = Terms::from(Repeat::Harmless).of_data(registered.granted.server_id);
                let registered = registered.answer;
                let place = Place::of_cursor(&client, registered.consumer_id, terms).await?;
                // Reading begins at this position, also when the cursor is moved before.
                let place = Place { moving: None, ..place };
                (place, Some(ConsumerId(uuid::Uuid::from_bytes(registered.consumer_id))))
            }
        };
        Ok(Consumer {
            feed: Feed::new(client.clone(), topic.clone(), self.credit_bytes, place),
            client,
            topic,
            credit_bytes: self.credit_bytes,
            server_id: place.server_id,
            id: OnceCell::new_with(id),
            current: None,
            position: place.offset,
            dequeuing: Dequeuing::default(),
        })
    }
}
