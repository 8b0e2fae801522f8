//! Where an abuse takes place: whom it hits, how many take part, and for how long.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::Tally;

/// Far longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that are being made at once, so that the listener's queue does not overflow: each overflow costs a second.
const CONNECTING: usize = 256;

/// Where an abuse takes place.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    /// How many take part.
    pub(crate) peers: usize,
    /// Whether they wait for the server's time-outs, or leave when it is over.
    pub(crate) is_patient: bool,
    connecting: Arc<Semaphore>,
    /// How many have done what they came for and only go on with it.
    ready: watch::Sender<usize>,
    over: CancellationToken,
    /// When nobody waits any more for what comes of it.
    closed: CancellationToken,
}

impl Stage {
    pub(crate) fn new(address: SocketAddr, peers: usize, is_patient: bool) -> Self {
        let connecting = Arc::new(Semaphore::new(CONNECTING));
        let (ready, over) = (watch::Sender::new(0), CancellationToken::new());
        Self { address, peers, is_patient, connecting, ready, over, closed: CancellationToken::new() }
    }

    /// Each peer says this once, when it has done what it came for.
    pub(crate) fn ready(&self) {
        self.ready.send_modify(|count| *count += 1);
    }

    /// Waits until the abuse is in full swing.
    pub(crate) async fn begun(&self) {
        let mut ready = self.ready.subscribe();
        let waited = timeout(PATIENCE, ready.wait_for(|count| *count >= self.peers)).await;
        let waited = waited.unwrap_or_else(|_| panic!("{} of {} peers are ready", *self.ready.borrow(), self.peers));
        waited.expect("the sender lives");
    }

    pub(crate) fn end(&self) {
        self.over.cancel();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// What the future gives; `None` when the abuse is over first.
    pub(crate) async fn unless_over<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            output = future => Some(output),
            () = self.over() => None,
        }
    }

    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Goes on with the future until nobody waits any more for what comes of it.
    pub(crate) async fn unless_closed(&self, future: impl Future<Output = ()>) {
        tokio::select! {
            () = future => {}
            () = self.closed.cancelled() => {}
        }
    }

    /// What the future gives: waits for it, but not for ever, or, without patience, until the abuse is over.
    pub(crate) async fn outcome(&self, outcome: impl Future<Output = String>) -> String {
        let waited = timeout(PATIENCE, outcome);
        let outcome = if self.is_patient { Some(waited.await) } else { self.unless_over(waited).await };
        outcome.map_or("left".to_owned(), |outcome| outcome.unwrap_or_else(|_| "nothing happened".to_owned()))
    }

    /// Waits for the turn to connect.
    pub(crate) async fn turn(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.connecting.acquire().await.expect("never closed")
    }

    /// Lets all peers do this at once, each with its number; gives what came of it.
    pub(crate) async fn crowd<F>(&self, mut peer: impl FnMut(Self, usize) -> F) -> Tally
    where
        F: Future<Output = Tally> + Send + 'static,
    {
        let mut peers: JoinSet<Tally> = (0..self.peers).map(|number| peer(self.clone(), number)).collect();
        let mut tally = Tally::default();
        while let Some(found) = peers.join_next().await {
            tally.merge(found.expect("a peer does not panic"));
        }
        tally
    }
}
