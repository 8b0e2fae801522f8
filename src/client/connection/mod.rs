//! One connection: requests of many tasks share a socket, and answers find their way back.
//!
//! ```text
//!  callers ── submit ──▶ outbox ──▶ driver ──▶ socket
//!     ▲                  pending      │
//!     └──── answer ◀── by correlation id ◀── socket
//! ```
//!
//! A connection ends once and for all. It never repeats a request: it tells every waiting caller that the connection is
//! lost, and whether that caller's bytes had left. Coming back is the supervisor's business, sending again the caller's.
//!
//! Bounds: requests and their bytes wait for the room that the server granted; deliveries are bounded by the credit of
//! their subscription; a server that sends Pings and does not take the answers is left.

mod answer;
mod driver;
mod granted;
mod handshake;
mod inbound;
mod keepalive;
mod outbound;
mod pending;
mod routes;
mod shared;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;

pub(super) use answer::{Lost, PendingAnswer, decode};
pub(super) use granted::Granted;
pub(super) use routes::{Deliveries, RouteEnd};

use self::{
    routes::Route,
    shared::{Phase, Shared},
};
use super::{error::Disconnect, transport::Connector};
use crate::protocol::{Credit, Hello, Request, Subscribe, encode_request};

/// A handle on a connection; cheap to clone. Dropping the last one does not close it: [`Self::close`] does.
#[derive(Clone)]
pub(super) struct Connection {
    shared: Arc<Shared>,
}

impl Connection {
    /// Connects, says Hello, and starts the task that owns the socket.
    pub(super) async fn open(connect: &Connector, hello: &Hello, limit: Duration) -> Result<Self, Disconnect> {
        let greeting = async {
            let mut transport = connect().await?;
            let (granted, rest) = handshake::greet(&mut transport, hello).await?;
            Ok((transport, granted, rest))
        };
        let greeted = timeout(limit, greeting).await;
        let (transport, granted, rest) = greeted.unwrap_or(Err(Disconnect::ConnectTimedOut(limit)))?;
        let shared = Arc::new(Shared::new(granted));
        tokio::spawn(driver::run(transport, rest, Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// What the server granted.
    pub(super) fn granted(&self) -> &Granted {
        self.shared.granted()
    }

    /// Whether it takes requests.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.shared.phase(), Phase::Open)
    }

    /// Waits until it takes no more requests, and says why.
    pub(super) async fn stopped(&self) -> Disconnect {
        self.shared.wait_for_phase(|phase| !matches!(phase, Phase::Open)).await
    }

    /// Waits until its socket is given up.
    pub(super) async fn closed(&self) {
        self.shared.wait_for_phase(|phase| matches!(phase, Phase::Closed(_))).await;
    }

    /// Queues a request as soon as the server has room for it. `Err`: nothing was sent, nor will be.
    ///
    /// Requests leave in the order in which their `submit` returns. Dropped while it waits, nothing is sent.
    pub(super) async fn submit<R: Request>(
        &self,
        request: &R,
        batches: Vec<Bytes>,
    ) -> Result<PendingAnswer, Disconnect> {
        self.ask(request, batches, None).await
    }

    /// Like [`Self::submit`]; what the subscription pushes comes out of the [`Deliveries`].
    pub(super) async fn subscribe(&self, request: &Subscribe) -> Result<(PendingAnswer, Deliveries), Disconnect> {
        let (route, deliveries) = Route::new(request.credit_bytes, self.granted().max_frame_bytes);
        Ok((self.ask(request, Vec::new(), Some(route)).await?, deliveries))
    }

    async fn ask<R: Request>(
        &self,
        request: &R,
        batches: Vec<Bytes>,
        route: Option<Route>,
    ) -> Result<PendingAnswer, Disconnect> {
        let id = self.shared.new_id();
        let frame = encode_request(request, id, batches);
        let permit = self.shared.permit(frame.size()).await?;
        let receiver = self.shared.ask(R::OPCODE, id, frame, permit, route)?;
        Ok(PendingAnswer::new(Arc::clone(&self.shared), id, receiver))
    }

    /// Lets a subscription send more. Does nothing when the connection is lost: then the subscription is, too.
    pub(super) fn credit(&self, credit: &Credit) {
        self.shared.post(encode_request(credit, self.shared.new_id(), Vec::new()));
    }

    /// Ends a subscription, without waiting for the answer.
    pub(super) fn unsubscribe(&self, route_id: u32, subscription_id: u32) {
        self.shared.unsubscribe(route_id, subscription_id);
    }

    /// Takes no more requests, and closes when all are answered.
    pub(super) fn drain(&self) {
        self.shared.drain(Disconnect::Abandoned);
    }

    /// Gives the socket up at once.
    pub(super) fn close(&self) {
        self.shared.close(Disconnect::Abandoned);
    }
}
