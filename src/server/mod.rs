//! The server: listener, connections, and the one place that maps broker errors to codes.
//!
//! ```text
//! accept ─ connection cap ─ handshake ─ session
//!                                        reader: frames → dispatch → broker
//!                                        writer: outbox → socket
//!                                        one task for each fetch and subscription
//! ```
//!
//! Memory is a budget: requests in memory, and what is read from the log to be sent, are counted in bytes over all
//! connections. When a budget is spent, nothing is read from the sockets; nobody is disconnected for it.

mod checks;
mod config;
mod dispatch;
mod refusal;
mod server_error;
mod session;
mod shared;
#[cfg(feature = "trial")]
mod simulated;
mod token_bucket;
mod turned_away;

pub use config::ServerConfig;

/// Checking a data directory while no server has it, and copying what is intact of it.
pub use crate::broker::{DataDir, FoundDamage, LostRange, Progress, Report, StorageError, hide_caught_panics};
pub use server_error::Error;
#[cfg(feature = "trial")]
pub use simulated::Sessions;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{Broker, Place, Status},
    limits::SHUTDOWN_TIMEOUT,
};
use shared::Shared;

/// A store that is open, ready to be served.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use connectify::server::{Server, ServerConfig};
/// let server = Server::open(ServerConfig::default().with_ephemeral())?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// server.run(listener, async { drop(tokio::signal::ctrl_c().await) }).await?;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    config: ServerConfig,
    broker: Broker,
}

impl Server {
    /// Opens the store. Blocks while it recovers: about a second for each GiB that was not sealed.
    ///
    /// # Errors
    /// [`Error::Storage`] when the data belongs to another server, to a later version, or cannot be read.
    pub fn open(config: ServerConfig) -> Result<Self, Error> {
        Self::open_at(config.place(), config)
    }

    /// [`Server::open`] on a place of the caller's.
    ///
    /// # Errors
    /// As [`Server::open`].
    pub fn open_at(place: Place, config: ServerConfig) -> Result<Self, Error> {
        let broker = Broker::open(place, config.broker_config())?;
        Ok(Self { config, broker })
    }

    /// How the store is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.broker.status()
    }

    /// Serves connections until `shutdown` is ready. Then: accepts no more, answers what it had accepted, says GoAway,
    /// closes the store.
    ///
    /// # Errors
    /// [`Error::Storage`] when the store does not close cleanly; what was acknowledged is durable all the same.
    ///
    /// # Cancel safety
    /// Dropping the future ends all connections; the store is closed when the last of their tasks is gone.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let shared = Arc::new(Shared::new(self.broker.clone(), self.config));
        let stopping = shared.stopping.clone();
        let _stop_on_drop = stopping.clone().drop_guard();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => shared.accept(stream, peer),
                Err(error) => {
                    // Out of file descriptors, most likely: let some connections end first.
                    tracing::warn!(error = %error, "accepting a connection failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        stop(&shared, &stopping).await;
        let broker = self.broker;
        let closed = tokio::task::spawn_blocking(move || broker.close()).await;
        Ok(closed.map_err(|_| Error::Stopped)??)
    }
}

async fn stop(shared: &Shared, stopping: &CancellationToken) {
    tracing::info!(connections = shared.connections(), "shutting down");
    stopping.cancel();
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, shared.all_gone()).await.is_err() {
        tracing::warn!(connections = shared.connections(), "some connections did not end in time");
    }
}
