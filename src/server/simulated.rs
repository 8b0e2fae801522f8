//! A server whose connections are whatever streams it is given, and whose broker somebody else drives: for simulations.

use std::{net::Ipv4Addr, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{ServerConfig, shared::Shared, stop};
use crate::broker::Broker;

/// The connections of one server. Clones are of the same server.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

impl Sessions {
    /// A server without connections.
    #[must_use]
    pub fn new(broker: Broker, config: ServerConfig) -> Self {
        Self { shared: Arc::new(Shared::new(broker, config)) }
    }

    /// Serves a connection on a task of its own. `number` stands for the peer's address in the log.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn accept(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, number: u16) {
        self.shared.accept_stream(stream, (Ipv4Addr::LOCALHOST, number).into());
    }

    /// Says GoAway to all connections and waits for their end, as a server does that is told to stop. The broker must be
    /// driven meanwhile.
    pub async fn stop(&self) {
        stop(&self.shared, &self.shared.stopping).await;
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Whether nothing holds any part of the memory that the server may take for its peers.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.shared.is_whole()
    }
}
