//! What all connections share: the broker, the budgets, the count of connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Instant,
};

use futures::FutureExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest},
    net::{TcpStream, tcp::OwnedReadHalf},
    sync::{Notify, Semaphore},
};
use tokio_util::sync::CancellationToken;

use super::{
    ServerConfig,
    checks::Checks,
    session::{self, HasLeft, InboundBudget, OutboundBudget},
    turned_away::TurnedAway,
};
use crate::{
    broker::Broker,
    protocol::{ErrorBody, ErrorCode, encode_request},
};

/// What all connections share.
pub(super) struct Shared {
    pub(super) broker: Broker,
    pub(super) config: ServerConfig,
    pub(super) started: Instant,
    pub(super) stopping: CancellationToken,
    /// Bytes of requests that may be in memory.
    pub(super) inbound: Arc<InboundBudget>,
    /// Bytes that may be read from the log and wait to be sent.
    pub(super) outbound: OutboundBudget,
    pub(super) checks: Checks,
    pub(super) turned_away: TurnedAway,
    /// Held by the one append that is a group of its own.
    pub(super) large_appends: Arc<Semaphore>,
    connections: AtomicUsize,
    gone: Notify,
}

/// One of the connections, counted while it lives.
pub(super) struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.connections.fetch_sub(1, SeqCst) == 1 {
            self.0.gone.notify_waiters();
        }
    }
}

/// What the system knows of it: the end of what a peer sends is seen before what comes first is read.
fn has_left(reader: &OwnedReadHalf) -> bool {
    reader.ready(Interest::READABLE).now_or_never().is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
}

impl Shared {
    pub(super) fn new(broker: Broker, config: ServerConfig) -> Self {
        Self {
            broker,
            started: Instant::now(),
            stopping: CancellationToken::new(),
            inbound: Arc::new(InboundBudget::new(config.inbound_budget_bytes)),
            outbound: OutboundBudget::new(config.outbound_budget_bytes),
            checks: Checks::new(),
            turned_away: TurnedAway::new(),
            large_appends: Arc::new(Semaphore::new(1)),
            connections: AtomicUsize::new(0),
            gone: Notify::new(),
            config,
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Ready when no connection is left.
    pub(super) async fn all_gone(&self) {
        loop {
            let gone = self.gone.notified();
            if self.connections() == 0 {
                return;
            }
            gone.await;
        }
    }

    fn count(self: &Arc<Self>) -> Option<Counted> {
        if self.connections.fetch_add(1, SeqCst) < self.config.max_connections {
            return Some(Counted(self.clone()));
        }
        self.connections.fetch_sub(1, SeqCst);
        None
    }

    /// Serves a connection on a task of its own, or turns it away.
    pub(super) fn accept(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        // Acks are small and must not wait for more data to join them.
        drop(stream.set_nodelay(true));
        let Some(counted) = self.count() else {
            let limit = self.config.max_connections;
            let message = format!("server has {limit} connections, the limit");
            let error = ErrorBody::new(ErrorCode::TooManyConnections, message, vec![limit as u64]);
            // The socket's buffer is empty, so the few bytes fit, or the peer is gone.
            drop(stream.try_write(&encode_request(&error, 0, Vec::new()).to_bytes()));
            return;
        };
        let (reader, writer) = stream.into_split();
        self.serve(reader, has_left, writer, peer, counted);
    }

    fn serve<R, W>(self: &Arc<Self>, reader: R, has_left: HasLeft<R>, writer: W, peer: SocketAddr, counted: Counted)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let shared = self.clone();
        tokio::spawn(async move {
            session::run(shared, reader, has_left, writer, peer).await;
            drop(counted);
        });
    }

    /// Serves a connection that is not one of TCP.
    #[cfg(feature = "trial")]
    pub(super) fn accept_stream<S>(self: &Arc<Self>, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        if let Some(counted) = self.count() {
            self.serve(reader, |_| false, writer, peer, counted);
        }
    }

    /// Whether all of the budgets is there.
    #[cfg(feature = "trial")]
    pub(super) fn is_whole(&self) -> bool {
        let (inbound, outbound) = (self.config.inbound_budget_bytes, self.config.outbound_budget_bytes);
        self.inbound.free() == InboundBudget::new(inbound).free()
            && self.outbound.free() == OutboundBudget::new(outbound).free()
    }
}
