//! One request and its answer, across connections, until a deadline.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{
    Client,
    backoff::deadline_after,
    connection::{Connection, Granted, Lost, decode},
    error::{Disconnect, Error},
    supervisor::NoConnection,
};
use crate::protocol::{ErrorBody, Frame, Id, Request};

/// Whether a request may be sent again when nobody knows what became of it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Repeat {
    /// Doing it twice is the same as doing it once.
    Harmless,
    /// The caller is to decide.
    Never,
}

/// How a request may be asked.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    repeat: Repeat,
    wait: Duration,
    server_id: Option<Id>,
}

impl From<Repeat> for Terms {
    fn from(repeat: Repeat) -> Self {
        Self { repeat, wait: Duration::ZERO, server_id: None }
    }
}

impl Terms {
    /// The server may take this much longer, on purpose.
    pub(super) fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// The request names what exists in this data only.
    pub(super) fn of_data(self, server_id: Id) -> Self {
        Self { server_id: Some(server_id), ..self }
    }
}

/// The answer to an `R`.
pub(super) struct Answered<R: Request> {
    pub(super) answer: R::Answer,
    pub(super) batches: Vec<Bytes>,
    /// What holds on the connection that the answer came on.
    pub(super) granted: Granted,
}

impl Client {
    /// The answer to a request without batches.
    pub(super) async fn call<R: Request>(&self, request: &R, terms: impl Into<Terms>) -> Result<R::Answer, Error> {
        self.ask(request, terms.into()).await.map(|answered| answered.answer)
    }

    /// Asks, on one connection after the other if need be.
    pub(super) async fn ask<R: Request>(&self, request: &R, terms: Terms) -> Result<Answered<R>, Error> {
        let limit = self.inner.settings.request_timeout.saturating_add(terms.wait);
        let mut call = Call { limit, deadline: deadline_after(limit), may_have_applied: false };
        loop {
            let connection = call.connection(self, terms.server_id).await?;
            let lost = match call.attempt(&connection, request).await? {
                Ok(frame) => match decode::<R>(&frame) {
                    Ok((answer, batches)) => {
                        return Ok(Answered { answer, batches, granted: connection.granted().clone() });
                    }
                    // The next connection is to a server that stays.
                    Err(error) if is_farewell(&error) => continue,
                    Err(error) => return Err(call.refused(error)),
                },
                Err(lost) => lost,
            };
            call.may_have_applied |= lost.was_sent;
            if lost.was_sent && terms.repeat == Repeat::Never {
                return Err(lost.into());
            }
        }
    }

    /// A connection that takes requests, for a call with this deadline.
    pub(super) async fn connection(&self, deadline: Instant) -> Result<Connection, NoConnection> {
        self.inner.links.connection(deadline).await
    }
}

/// Whether a request was refused, without effect, because the server ends the connection, which takes no more then.
pub(super) fn is_farewell(error: &Error) -> bool {
    let Error::Refused(refusal) = error else { return false };
    refusal.is(ErrorBody::RETRYABLE) && refusal.is(ErrorBody::CLOSES_CONNECTION) && !error.may_have_applied()
}

struct Call {
    limit: Duration,
    deadline: Instant,
    may_have_applied: bool,
}

impl Call {
    async fn connection(&self, client: &Client, server_id: Option<Id>) -> Result<Connection, Error> {
        let connection = match client.connection(self.deadline).await {
            Ok(connection) => connection,
            Err(NoConnection::Closed(error)) => return Err(error.with_effect(self.may_have_applied)),
            Err(NoConnection::TimedOut(why)) => return Err(self.timed_out(self.may_have_applied, why)),
        };
        let checked = server_id.map_or(Ok(()), |opened| connection.granted().check_data(opened));
        checked.map_err(|error| error.with_effect(self.may_have_applied))?;
        Ok(connection)
    }

    /// One try: the answer, or how it was lost. `Err`: the time is over.
    async fn attempt<R: Request>(&self, connection: &Connection, request: &R) -> Result<Result<Frame, Lost>, Error> {
        let mut pending = match timeout_at(self.deadline, connection.submit(request, Vec::new())).await {
            Ok(Ok(pending)) => pending,
            Ok(Err(cause)) => return Ok(Err(Lost { was_sent: false, cause })),
            Err(_) => return Err(self.timed_out(self.may_have_applied, None)),
        };
        match timeout_at(self.deadline, &mut pending).await {
            Ok(answered) => Ok(answered),
            Err(_) => Err(self.timed_out(pending.withdraw() || self.may_have_applied, None)),
        }
    }

    fn timed_out(&self, may_have_applied: bool, source: Option<Disconnect>) -> Error {
        Error::TimedOut { after: self.limit, may_have_applied, source }
    }

    /// What the answer says holds for this try only: an earlier one may have had another end.
    fn refused(&self, error: Error) -> Error {
        match error {
            Error::Refused(refusal) => Error::Refused(refusal.after_lost_send(self.may_have_applied)),
            other => other,
        }
    }
}
