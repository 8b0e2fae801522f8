//! One subscription on one connection: opened, fed with credit, ended when dropped.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::sleep;

use crate::{
    client::{
        Client, Error,
        backoff::deadline_after,
        call::is_farewell,
        connection::{Connection, Deliveries, RouteEnd, decode},
        supervisor::NoConnection,
    },
    protocol::{Credit, Deliver, Id, Start, Subscribe, SubscribeAnswer, decode_answer},
};

/// See the module.
pub(super) struct Subscription {
    connection: Connection,
    route_id: u32,
    subscription_id: u32,
    deliveries: Deliveries,
    credit: CreditLine,
    /// The server knows it no more: there is nothing to end.
    is_over: bool,
}

/// A subscription that stands, and where it begins.
pub(super) struct Opened {
    pub(super) subscription: Subscription,
    pub(super) answer: SubscribeAnswer,
}

/// What one Deliver carries.
pub(super) struct Delivered {
    pub(super) control: Deliver,
    pub(super) batches: Vec<Bytes>,
}

/// Subscribes, waiting for a connection for as long as it takes.
pub(super) async fn open(
    client: Client,
    server_id: Id,
    topic: String,
    start: Start,
    credit_bytes: u64,
) -> Result<Opened, Error> {
    let request = Subscribe { topic, start, credit_bytes };
    let mut backoff = client.inner.settings.backoff();
    loop {
        let connection = match client.connection(deadline_after(Duration::MAX)).await {
            Ok(connection) => connection,
            Err(NoConnection::Closed(error)) => return Err(error),
            Err(NoConnection::TimedOut(_)) => continue,
        };
        connection.granted().check_data(server_id)?;
        match open_on(&connection, &request).await {
            Ok(Some(opened)) => return Ok(opened),
            Ok(None) => {}
            Err(error) if is_farewell(&error) => {}
            Err(error) if error.refusal().is_some() && error.is_retryable() => {
                sleep(backoff.delay_after_refusal()).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// `Ok(None)`: the connection is lost. When the server does not answer, the keepalive tells whether it is there: no
/// deadline, since a reader waits for records, too, for as long as it takes.
async fn open_on(connection: &Connection, request: &Subscribe) -> Result<Option<Opened>, Error> {
    let Ok((pending, deliveries)) = connection.subscribe(request).await else { return Ok(None) };
    let route_id = pending.id();
    let Ok(frame) = pending.await else { return Ok(None) };
    let (answer, _) = decode::<Subscribe>(&frame)?;
    let subscription = Subscription {
        connection: connection.clone(),
        route_id,
        subscription_id: answer.subscription_id,
        deliveries,
        credit: CreditLine::new(request.credit_bytes),
        is_over: false,
    };
    Ok(Some(Opened { subscription, answer }))
}

impl Subscription {
    /// What the server pushes next. Nothing comes after an error.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Delivered, RouteEnd>> {
        let delivered = match ready!(self.deliveries.poll_next(context)) {
            Ok(frame) => decode_answer::<Deliver>(&frame)
                .map_err(|error| Error::violation(format!("Deliver: {error}")))
                .and_then(|(control, batches)| self.check(control, batches))
                .map_err(RouteEnd::Failed),
            Err(end) => {
                self.is_over = true;
                Err(end)
            }
        };
        Poll::Ready(delivered)
    }

    fn check(&self, control: Deliver, batches: Vec<Bytes>) -> Result<Delivered, Error> {
        if control.subscription_id != self.subscription_id {
            let (found, expected) = (control.subscription_id, self.subscription_id);
            return Err(Error::violation(format!("a delivery for subscription {found} came to {expected}")));
        }
        Ok(Delivered { control, batches })
    }

    /// So many bytes of what was delivered are in the reader's hands: the server may send more.
    pub(super) fn consumed(&mut self, bytes: usize) {
        if let Some(bytes) = self.credit.give_back(bytes as u64) {
            self.connection.credit(&Credit { subscription_id: self.subscription_id, bytes });
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.unsubscribe(self.route_id, self.subscription_id);
        }
    }
}

/// What was consumed and not granted again yet. What is delivered beyond the credit is the connection's to notice, which
/// bounds what waits there.
#[derive(Debug)]
struct CreditLine {
    consumed: u64,
    /// It is granted again in pieces of this size, so that a small batch does not cost a frame.
    piece: u64,
}

impl CreditLine {
    fn new(window: u64) -> Self {
        Self { consumed: 0, piece: window.div_ceil(2) }
    }

    /// What to grant again.
    fn give_back(&mut self, bytes: u64) -> Option<u64> {
        self.consumed += bytes;
        (self.consumed >= self.piece).then(|| std::mem::take(&mut self.consumed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_goes_back_in_halves_and_never_more_than_was_consumed() {
        let mut credit = CreditLine::new(100);
        assert_eq!(credit.give_back(30), None);
        assert_eq!(credit.give_back(90), Some(120));
        assert_eq!(credit.give_back(49), None);
        assert_eq!(credit.give_back(1), Some(50));
    }

    #[test]
    fn the_smallest_window_keeps_turning() {
        let mut credit = CreditLine::new(1);
        assert_eq!((credit.give_back(500), credit.give_back(500)), (Some(500), Some(500)));
    }
}
