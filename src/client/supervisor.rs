//! Keeps one connection open: connects, waits for its end, connects again.
//!
//! ```text
//!   Down ──connected──▶ Up ──lost, or the server says GoAway──▶ Down
//!    └──── refused for good, or the client was closed ────▶ Closed
//! ```

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    backoff::Backoff,
    connection::Connection,
    error::{Disconnect, Error},
    settings::Settings,
};

/// How a client is connected; [`super::Client::state`] follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// There is no connection that takes requests. Calls wait, until their deadline.
    Connecting {
        /// Which try this is since there was one, from 1.
        attempt: u32,
    },
    /// There is one.
    Connected,
    /// There will be none any more: the client was closed, or the server refused it for good.
    Closed,
}

/// The connection, or why there is none.
#[derive(Clone)]
pub(super) enum Link {
    /// `None`: not tried yet.
    Down(Option<Disconnect>),
    Up(Connection),
    Closed(Error),
}

/// What a client shares with its supervisor.
pub(super) struct Links {
    link: Mutex<Link>,
    /// Wakes those who wait for a connection in the order in which they came, which a `watch` would not.
    changed: Notify,
    state: watch::Sender<ConnectionState>,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            link: Mutex::new(Link::Down(None)),
            changed: Notify::new(),
            state: watch::Sender::new(ConnectionState::Connecting { attempt: 1 }),
        }
    }
}

/// How to wait for a connection came to nothing.
pub(super) enum NoConnection {
    /// There will be none.
    Closed(Error),
    /// There was none in time.
    TimedOut(Option<Disconnect>),
}

impl Links {
    pub(super) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    /// A connection that takes requests, as soon as there is one.
    pub(super) async fn connection(&self, deadline: Instant) -> Result<Connection, NoConnection> {
        if let Some(settled) = self.settled() {
            return settled.map_err(NoConnection::Closed);
        }
        let settled = async {
            loop {
                let mut changed = pin!(self.changed.notified());
                // From here on no change is missed.
                changed.as_mut().enable();
                if let Some(settled) = self.settled() {
                    return settled;
                }
                changed.await;
            }
        };
        match timeout_at(deadline, settled).await {
            Ok(settled) => settled.map_err(NoConnection::Closed),
            Err(_) => Err(NoConnection::TimedOut(self.why_down())),
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How waiting for a connection ends; `None`: it does not yet.
    fn settled(&self) -> Option<Result<Connection, Error>> {
        match &*self.link() {
            // A connection that has ended is in the way until the supervisor notices.
            Link::Up(connection) => connection.is_open().then(|| Ok(connection.clone())),
            Link::Closed(error) => Some(Err(error.clone())),
            Link::Down(_) => None,
        }
    }

    fn why_down(&self) -> Option<Disconnect> {
        match &*self.link() {
            Link::Down(why) => why.clone(),
            Link::Up(_) | Link::Closed(_) => None,
        }
    }

    /// Gives the link that was before.
    fn replace(&self, link: Link) -> Link {
        let before = std::mem::replace(&mut *self.link(), link);
        self.changed.notify_waiters();
        before
    }

    fn set(&self, link: Link, state: ConnectionState) {
        self.replace(link);
        self.state.send_replace(state);
    }
}

/// The task behind a client.
pub(super) struct Supervisor {
    pub(super) settings: Settings,
    pub(super) links: Arc<Links>,
    /// Becomes true when the client is closed; its sender goes with the last handle on the client.
    pub(super) closing: watch::Receiver<bool>,
}

impl Supervisor {
    pub(super) async fn run(mut self) {
        let mut closing = self.closing.clone();
        let error = tokio::select! {
            biased;
            _ = closing.wait_for(|&closing| closing) => Error::Closed,
            error = self.keep_connected() => error,
        };
        let last = self.links.replace(Link::Closed(error));
        if let Link::Up(connection) = last {
            self.leave(&connection).await;
        }
        self.links.state.send_replace(ConnectionState::Closed);
    }

    /// Lets the answers to what was asked arrive, unless nobody is left who could want them.
    async fn leave(&mut self, connection: &Connection) {
        if *self.closing.borrow() {
            connection.drain();
            timeout(self.settings.request_timeout, connection.closed()).await.ok();
        }
        connection.close();
    }

    /// Comes back only with an error that another try would meet again.
    async fn keep_connected(&self) -> Error {
        let mut backoff = self.settings.backoff();
        loop {
            let connection = match self.connect(&mut backoff).await {
                Ok(connection) => connection,
                Err(error) => return error,
            };
            let since = Instant::now();
            tracing::debug!(server = %self.settings.address, "connected");
            self.links.set(Link::Up(connection.clone()), ConnectionState::Connected);
            let why = connection.stopped().await;
            tracing::info!(server = %self.settings.address, %why, "connection lost");
            self.links.set(Link::Down(Some(why)), ConnectionState::Connecting { attempt: 1 });
            // A server that ends connections as soon as they stand is not tried again at once.
            if since.elapsed() > self.settings.max_delay {
                backoff.reset();
            }
        }
    }

    async fn connect(&self, backoff: &mut Backoff) -> Result<Connection, Error> {
        let hello = self.settings.hello();
        let mut attempt = 1;
        loop {
            self.links.state.send_replace(ConnectionState::Connecting { attempt });
            wait(backoff.delay()).await;
            let why = match Connection::open(&self.settings.connector, &hello, self.settings.connect_timeout).await {
                Ok(connection) => return Ok(connection),
                Err(why) => why,
            };
            tracing::debug!(server = %self.settings.address, attempt, %why, "cannot connect");
            if why.is_final() {
                return Err(match why {
                    Disconnect::Refused(refusal) => Error::Refused(refusal),
                    source => Error::Connect { address: Arc::clone(&self.settings.address), source },
                });
            }
            self.links.replace(Link::Down(Some(why)));
            attempt = attempt.saturating_add(1);
        }
    }
}

async fn wait(delay: Duration) {
    if !delay.is_zero() {
        sleep(delay).await;
    }
}
