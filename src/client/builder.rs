//! Settings of a client, and the two ways to start one.

use std::{io, sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{
    Client, Error,
    settings::Settings,
    transport::{BoxTransport, Connector},
};

/// Settings of a [`Client`]; see [`Client::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it connects"]
pub struct ClientBuilder {
    settings: Settings,
}

impl ClientBuilder {
    pub(super) fn new(address: Arc<str>) -> Self {
        Self { settings: Settings::new(address) }
    }

    /// What the server's log calls this client: program, host, purpose. Default: the library and its version.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// What the server was configured to expect, at most [`crate::limits::MAX_CREDENTIALS_BYTES`]. Default: nothing.
    pub fn credentials(mut self, credentials: impl Into<Vec<u8>>) -> Self {
        self.settings.credentials = credentials.into();
        self
    }

    /// How long the first connection may take, all tries together, and any later try by itself. Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long a call may take, connecting again included. Calls that wait for records have their waiting time on top;
    /// producers have their own [`delivery_timeout`](super::ProducerBuilder::delivery_timeout). Default: 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// The delay before the second try to connect again, and the one that it doubles up to. Each is shortened by up to
    /// a half, at random, so that clients do not come back all at once. Default: 50 ms and 5 s.
    pub fn reconnect(mut self, min_delay: Duration, max_delay: Duration) -> Self {
        self.settings.min_delay = min_delay;
        self.settings.max_delay = max_delay;
        self
    }

    /// The largest frame to send and to take, from [`crate::limits::MIN_FRAME_BYTES`] to
    /// [`crate::limits::MAX_FRAME_BYTES`], the default. Records that need more cannot be sent, nor read.
    pub fn max_frame_bytes(mut self, bytes: u32) -> Self {
        self.settings.max_frame_bytes = bytes;
        self
    }

    /// Puts something else in the place of TCP: for tests and simulations.
    #[doc(hidden)]
    pub fn connector<F>(mut self, connector: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, io::Result<BoxTransport>> + Send + Sync + 'static,
    {
        self.settings.connector = Arc::new(connector) as Connector;
        self
    }

    /// Makes all that is random follow from one number: for simulations.
    #[doc(hidden)]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Starts a client and waits for its first connection.
    ///
    /// # Errors
    /// [`Error::Refused`] when the server does not want this client; [`Error::Connect`] when there is no connection
    /// within [`Self::connect_timeout`]; [`Error::InvalidArgument`] or [`Error::InvalidName`] for a setting.
    ///
    /// # Cancel safety
    /// Dropping the future ends the client.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.connect_lazy()?;
        client.first_connection().await?;
        Ok(client)
    }

    /// Starts a client, which connects in the background. Calls wait for the connection until their own deadline.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] or [`Error::InvalidName`] for a setting.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect_lazy(self) -> Result<Client, Error> {
        self.settings.check()?;
        Ok(Client::start(self.settings))
    }
}
