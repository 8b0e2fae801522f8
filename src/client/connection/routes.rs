//! Where the deliveries of a subscription go between the socket and its consumer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use crate::{
    client::error::{Disconnect, Error},
    protocol::Frame,
};

/// What a waiting delivery costs beside its body, about.
const DELIVERY_OVERHEAD_BYTES: usize = 64;
/// What may wait in any case: news that need no credit.
const MIN_QUEUED_BYTES: usize = 64 * 1024;

/// What comes out of a subscription: deliveries, then once why there are no more.
pub(in crate::client) struct Deliveries {
    frames: mpsc::UnboundedReceiver<Result<Frame, RouteEnd>>,
    queued_bytes: Arc<AtomicUsize>,
}

/// Why a subscription delivers no more.
#[derive(Clone, Debug)]
pub(in crate::client) enum RouteEnd {
    /// Its connection ended, or it did for now: another one can carry it on.
    Lost(Disconnect),
    /// The server ended it.
    Failed(Error),
}

/// The driver's end. The queue holds what the server pushes and the consumer has not taken: at most three times the
/// credit, and one frame. A server that honours the credit stays below that, however small its batches are; one that does
/// not loses the connection.
pub(super) struct Route {
    frames: mpsc::UnboundedSender<Result<Frame, RouteEnd>>,
    queued_bytes: Arc<AtomicUsize>,
    max_queued_bytes: usize,
}

impl Route {
    pub(super) fn new(credit_bytes: u64, max_frame_bytes: usize) -> (Self, Deliveries) {
        let credit_bytes = usize::try_from(credit_bytes).unwrap_or(usize::MAX);
        let max_queued_bytes = credit_bytes.saturating_mul(3).saturating_add(max_frame_bytes + MIN_QUEUED_BYTES);
        let (sender, receiver) = mpsc::unbounded_channel();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let deliveries = Deliveries { frames: receiver, queued_bytes: Arc::clone(&queued_bytes) };
        (Self { frames: sender, queued_bytes, max_queued_bytes }, deliveries)
    }

    /// Hands a delivery on; passes it over when the consumer is gone.
    pub(super) fn deliver(&self, frame: Frame) -> Result<(), Disconnect> {
        let queued = self.queued_bytes.fetch_add(cost(&frame), Ordering::Relaxed) + cost(&frame);
        if queued > self.max_queued_bytes {
            return Err(Disconnect::violation(format!(
                "deliveries of {queued} bytes wait, with a credit that allows no more than {}",
                self.max_queued_bytes
            )));
        }
        if let Err(refused) = self.frames.send(Ok(frame)) {
            let back = refused.0.as_ref().map_or(0, cost);
            self.queued_bytes.fetch_sub(back, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Nothing more will come.
    pub(super) fn end(&self, why: RouteEnd) {
        // When the consumer is gone there is nobody to tell.
        self.frames.send(Err(why)).ok();
    }
}

impl Deliveries {
    /// The next delivery, in order. Nothing comes after an error.
    pub(in crate::client) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Frame, RouteEnd>> {
        let next = std::task::ready!(self.frames.poll_recv(context));
        if let Some(Ok(frame)) = &next {
            self.queued_bytes.fetch_sub(cost(frame), Ordering::Relaxed);
        }
        Poll::Ready(next.unwrap_or(Err(RouteEnd::Lost(Disconnect::Abandoned))))
    }
}

fn cost(frame: &Frame) -> usize {
    frame.body.len() + DELIVERY_OVERHEAD_BYTES
}
