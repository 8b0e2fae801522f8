//! The task behind a producer: takes batches out of the queue and sends them, in order, until each is stored once.
//!
//! A batch keeps its bytes, and with them its sequence, however often it is sent: so the server knows it again. Whenever
//! something goes wrong, nothing is sent until all that is outstanding is answered or lost; then everything that is not
//! settled is sent again in order, after a delay if the server refused it for now, on the next connection if need be.

use std::{future::poll_fn, num::NonZeroU64, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{
    flight::{Flight, Sent},
    shared::Shared,
    trouble::Trouble,
};
use crate::{
    client::{
        Client, Error,
        backoff::Backoff,
        connection::{Connection, PendingAnswer},
        error::Disconnect,
        supervisor::NoConnection,
    },
    protocol::{Append, AppendPart, Id},
    record::{BatchError, Compression, Epoch, ProducerId, Sequence, SequenceRange, TopicId},
};

/// What the server knows a producer by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: Epoch,
    pub(super) topic_id: TopicId,
    /// The data that it was registered in.
    pub(super) server_id: Id,
}

/// How to deliver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) compression: Compression,
    pub(super) max_in_flight: usize,
    pub(super) timeout: Duration,
}

/// See the module.
pub(super) struct Driver {
    pub(super) client: Client,
    pub(super) shared: Arc<Shared>,
    pub(super) identity: Identity,
    pub(super) delivery: Delivery,
    pub(super) next_sequence: Sequence,
    pub(super) flight: Flight,
    pub(super) connection: Option<Connection>,
    pub(super) trouble: Option<Trouble>,
    pub(super) backoff: Backoff,
    pub(super) is_done: bool,
}

impl Driver {
    /// Runs until the producer is gone and everything is delivered, or until delivery has failed.
    pub(super) async fn run(mut self) {
        while !self.is_done {
            if let Err(error) = self.step().await {
                self.fail(&error);
            }
        }
    }

    async fn step(&mut self) -> Result<(), Error> {
        if self.trouble.is_some() && !self.flight.is_outstanding() {
            self.recover().await?;
        }
        if self.trouble.is_none() {
            self.send().await?;
        }
        if self.trouble.is_some() && !self.flight.is_outstanding() {
            // The connection ended under what was to be sent: no answer will come that leads on.
            return Ok(());
        }
        let may_send = self.trouble.is_none() && self.flight.has_room(self.delivery.max_in_flight);
        if may_send && self.flight.is_empty() && self.is_stopped() {
            self.is_done = true;
            return Ok(());
        }
        let deadline = self.flight.oldest().map(|since| self.deadline(since));
        let (flight, shared) = (&mut self.flight, &self.shared);
        tokio::select! {
            biased;
            (index, answered) = poll_fn(|context| flight.poll_answer(context)) => {
                self.answered(index, answered);
                Ok(())
            }
            () = shared.work.notified(), if may_send => Ok(()),
            () = at(deadline) => Err(self.timed_out(None)),
        }
    }

    fn is_stopped(&self) -> bool {
        let mut queue = self.shared.queue();
        queue.oldest().is_none() && queue.is_stopping()
    }

    /// Sends what is to be sent again, then new batches while there is room for them.
    async fn send(&mut self) -> Result<(), Error> {
        while self.trouble.is_none() {
            let unsent = self.flight.first_unsent();
            let oldest = match unsent {
                None if !self.flight.has_room(self.delivery.max_in_flight) => return Ok(()),
                None => self.shared.queue().oldest(),
                Some(_) => self.flight.oldest(),
            };
            let Some(since) = oldest else { return Ok(()) };
            // The connection first: while there is none, records gather in few large batches instead of many small ones.
            let deadline = self.deadline(self.flight.oldest().unwrap_or(since));
            let Some(connection) = self.connect(deadline).await? else { return Ok(()) };
            let Some(index) = unsent.or_else(|| self.take_batch()) else { return Ok(()) };
            match self.submit(&connection, index, deadline).await? {
                Ok(pending) => self.flight.batch(index).answer = Some(pending),
                Err(_) => self.worsen(Trouble::Reconnect),
            }
        }
        Ok(())
    }

    /// The connection to send on. `None`: the old one has to be settled first.
    async fn connect(&mut self, deadline: Instant) -> Result<Option<Connection>, Error> {
        match &self.connection {
            Some(connection) if connection.is_open() => return Ok(Some(connection.clone())),
            // What is outstanding there comes before what would be sent elsewhere.
            Some(_) if self.flight.is_outstanding() => {
                self.worsen(Trouble::Reconnect);
                return Ok(None);
            }
            _ => {}
        }
        let connection = match self.client.connection(deadline).await {
            Ok(connection) => connection,
            Err(NoConnection::Closed(error)) => return Err(error),
            Err(NoConnection::TimedOut(why)) => return Err(self.timed_out(why)),
        };
        connection.granted().check_data(self.identity.server_id)?;
        self.connection = Some(connection.clone());
        Ok(Some(connection))
    }

    /// Gives the oldest batch of the queue its sequence.
    fn take_batch(&mut self) -> Option<usize> {
        let draft = self.shared.queue().take()?;
        let count = draft.records.len();
        let units = draft.units.map_or(count as u64, NonZeroU64::get);
        let sequence = SequenceRange::counting(self.next_sequence, units);
        self.next_sequence = sequence.end;
        let Identity { id, epoch, .. } = self.identity;
        Some(self.flight.push(Sent {
            bytes: draft.records.finish(id, epoch, sequence, self.delivery.compression),
            sequence,
            record_count: u32::try_from(count).expect("a batch holds at most 65,536 records"),
            commits: draft.commits,
            cell: draft.cell,
            permits: draft.permits,
            since: draft.since,
            answer: None,
            may_be_stored: false,
            is_settled: false,
        }))
    }

    async fn submit(
        &mut self,
        connection: &Connection,
        index: usize,
        deadline: Instant,
    ) -> Result<Result<PendingAnswer, Disconnect>, Error> {
        let batch = self.flight.batch(index);
        let (bytes, limit) = (batch.bytes.len(), connection.granted().max_batch_bytes);
        if bytes > limit {
            // This connection grants less than the one before.
            return Err(Error::Record(BatchError::TooLarge { bytes, limit }));
        }
        let batch_bytes = u32::try_from(bytes).expect("batches are under 8 MiB");
        let parts = vec![AppendPart { topic_id: self.identity.topic_id.0, batch_bytes }];
        let append = Append { parts, commits: batch.commits.clone() };
        let submitted = timeout_at(deadline, connection.submit(&append, vec![batch.bytes.clone()])).await;
        submitted.map_err(|_| self.timed_out(None))
    }

    /// Nothing is outstanding: does what the trouble asks for, so that sending can begin again.
    async fn recover(&mut self) -> Result<(), Error> {
        match self.trouble.take() {
            None => {}
            Some(Trouble::Reconnect) => self.connection = None,
            Some(Trouble::Fatal(error)) => return Err(error),
            Some(Trouble::Retry(refusal)) => {
                let delay = self.backoff.delay_after_refusal();
                let left = self.flight.oldest().map(|since| self.deadline(since) - Instant::now());
                if left.is_some_and(|left| left < delay) {
                    return Err(refusal.unwrap_or_else(|| self.timed_out(None)));
                }
                tracing::debug!(producer = %self.identity.id, ?delay, "append refused for now, will be sent again");
                sleep(delay).await;
            }
        }
        Ok(())
    }

    fn deadline(&self, since: Instant) -> Instant {
        since + self.delivery.timeout
    }

    fn timed_out(&self, source: Option<Disconnect>) -> Error {
        Error::TimedOut { after: self.delivery.timeout, may_have_applied: false, source }
    }

    /// The end of delivery: tells every ticket, and what it may have come to.
    fn fail(&mut self, error: &Error) {
        self.is_done = true;
        let mut records = 0;
        for batch in self.flight.take_all().into_iter().filter(|batch| !batch.is_settled) {
            let was_sent = batch.answer.is_some_and(PendingAnswer::withdraw);
            records += u64::from(batch.record_count);
            batch.cell.settle(Err(error.clone().with_effect(batch.may_be_stored || was_sent)));
        }
        for draft in self.shared.fail(error) {
            records += draft.records.len() as u64;
            draft.cell.settle(Err(error.clone().with_effect(false)));
        }
        if records > 0 {
            tracing::warn!(producer = %self.identity.id, records, %error, "records were not delivered");
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl Drop for Driver {
    /// A runtime that shuts down drops its tasks: also then every ticket gets an answer.
    fn drop(&mut self) {
        if !self.is_done {
            self.fail(&Error::Closed);
        }
    }
}
