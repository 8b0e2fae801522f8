//! The way of a spool into its topic, and the way of what is received into the spool.
//!
//! ```text
//!  receiver ─▶ texts ─▶ spool on disk ─▶ producer, its sequence the number of the record ─▶ released once durable
//! ```

use std::{io, num::NonZeroU64, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    Shared, Stop,
    config::SpoolSection,
    identity::Names,
    in_flight::durable,
    loss,
    report::SourceReport,
    request::{Answer, Asked, Request},
    spool::{self, Spool, Spooled},
};
use crate::{
    Timestamp,
    client::{Error, Producer},
    protocol::ErrorCode,
};

/// Read from the spool at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Batches that are not acknowledged.
const IN_FLIGHT: usize = 4;
/// Texts that were received and are not in the spool yet.
pub(super) const TEXTS_AHEAD: usize = 1024;
/// Taken into the spool at once.
const TEXTS_AT_ONCE: usize = 256;
/// Between tries to register the producer, or to use the disk.
const AGAIN: Duration = Duration::from_secs(1);

/// The way into a spool.
pub(crate) type TextSender = mpsc::Sender<(Timestamp, Bytes)>;

/// Texts on their way into the spool.
pub(super) type Texts = mpsc::Receiver<(Timestamp, Bytes)>;

/// A batch that was answered: its first record, how many, and how it went.
type Stored = (u64, u64, Result<(), Error>);

/// See the module.
pub(super) struct Relay {
    shared: Shared,
    topic: String,
    name: String,
    spool: Spool,
    report: SourceReport,
    producer: Option<Arc<Producer>>,
    /// Records that the server has.
    durable: u64,
    in_flight: FuturesUnordered<BoxFuture<'static, Stored>>,
    is_failing: bool,
    is_draining: bool,
    /// When a producer may be registered.
    open_at: Instant,
    /// What was received and is not in the spool yet, and when that is tried again.
    pending: Vec<(Timestamp, Bytes)>,
    push_at: Instant,
}

impl Relay {
    /// # Errors
    /// When the spool cannot be used.
    pub(super) fn new(
        kind: &str,
        source: &str,
        topic: &str,
        section: SpoolSection,
        shared: Shared,
    ) -> io::Result<Self> {
        let spool = Spool::open(&shared.state_dir.join("spool").join(source), section)?;
        let name = Names::of(&shared.agent, source).name(format_args!("spool-{}", spool.epoch()));
        let report = SourceReport::new(source, kind, topic);
        let topic = topic.to_owned();
        let in_flight = FuturesUnordered::new();
        Ok(Self {
            shared,
            topic,
            name,
            spool,
            report,
            producer: None,
            durable: 0,
            in_flight,
            is_failing: false,
            is_draining: false,
            open_at: Instant::now(),
            pending: Vec::new(),
            push_at: Instant::now(),
        })
    }

    /// Relays until it is told to stop, or nothing more is received and all is durable.
    ///
    /// # Errors
    /// When the spool cannot be read, or another agent has taken over.
    pub(super) async fn run(mut self, texts: Texts, stop: Stop, asked: Asked) -> anyhow::Result<u64> {
        self.relay(texts, stop, asked).await?;
        if let Err(error) = self.spool.close() {
            tracing::warn!(source = self.report.name, %error, "the spool is not left in order");
        }
        Ok(self.report.records)
    }

    async fn relay(&mut self, mut texts: Texts, mut stop: Stop, mut asked: Asked) -> anyhow::Result<()> {
        let mut is_open = true;
        let mut opening: Option<BoxFuture<'static, Result<Producer, Error>>> = None;
        loop {
            let may_open = self.producer.is_none() && opening.is_none() && self.in_flight.is_empty();
            if may_open && self.open_at <= Instant::now() {
                opening = Some(self.shared.producer(&self.topic, self.name.clone()).open().boxed());
            }
            self.send()?;
            let is_done = !is_open || self.is_draining;
            if is_done
                && self.pending.is_empty()
                && self.spool.is_read()
                && self.in_flight.is_empty()
                && self.producer.is_some()
            {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stop.requested() => break,
                Some((first, records, result)) = self.in_flight.next() => self.settle(first, records, result)?,
                opened = async { opening.as_mut().expect("it is looked at before").await }, if opening.is_some() => {
                    opening = None;
                    self.opened(opened);
                }
                () = sleep_until(self.open_at), if may_open && opening.is_none() => {}
                () = sleep_until(self.push_at), if !self.pending.is_empty() => self.push(),
                Some((request, back)) = asked.next() => { back.send(self.answer(&request)); }
                received = next(&mut texts), if is_open && self.pending.is_empty() && !self.spool.is_full() => match received {
                    Some(received) => self.take(received),
                    None => is_open = false,
                },
            }
        }
        // What was received is in the spool, and what is in flight is known by its number.
        while let Ok(received) = texts.try_recv() {
            self.pending.push(received);
        }
        self.push();
        Ok(())
    }

    fn take(&mut self, received: Vec<(Timestamp, Bytes)>) {
        self.pending = received;
        self.push();
    }

    /// Puts what was received into the spool. When that fails it is tried again later, and nothing is received meanwhile.
    fn push(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        match self.spool.push(&self.pending) {
            Ok(lost) => {
                self.report.lost_bytes += lost;
                self.pending.clear();
            }
            Err(error) => {
                tracing::error!(source = self.report.name, %error, "the spool cannot be written");
                self.report.last_error = Some(format!("spool: {error}"));
                self.push_at = Instant::now() + AGAIN;
            }
        }
    }

    fn opened(&mut self, opened: Result<Producer, Error>) {
        match opened {
            Ok(producer) => {
                self.durable = producer.last_sequence().0;
                self.spool.rewind(self.durable);
                self.spool.release(self.durable);
                self.producer = Some(Arc::new(producer));
                (self.is_failing, self.report.last_error) = (false, None);
            }
            Err(error) => {
                self.report.last_error = Some(error.to_string());
                tracing::warn!(source = self.report.name, %error, "no producer yet");
                self.open_at = Instant::now() + AGAIN;
            }
        }
    }

    fn send(&mut self) -> anyhow::Result<()> {
        while self.in_flight.len() < IN_FLIGHT && !self.is_failing {
            let Some(producer) = self.producer.clone() else { return Ok(()) };
            let Some(next) = self.spool.next(CHUNK_BYTES)? else { return Ok(()) };
            let (first, count, records) = match next {
                Spooled::Records(first, records) => (first, records.len() as u64, records),
                Spooled::Lost { first, records, bytes, reason } => {
                    tracing::warn!(source = self.report.name, records, bytes, reason, "records are lost");
                    // Of what a crash took nobody knows how much it was.
                    let known = Some(records).filter(|_| !spool::is_guess(reason));
                    (first, records, vec![loss::record(reason, &self.report.name, bytes, known)])
                }
            };
            let units = NonZeroU64::new(count).expect("there is something");
            let ticket = producer.enqueue_units(&records, units).now_or_never();
            let stored = async move {
                let result = match ticket {
                    Some(Ok(ticket)) => ticket.await,
                    Some(Err(error)) => Err(error),
                    None => Err(Error::Closed),
                };
                (first, count, durable(result))
            };
            self.in_flight.push(stored.boxed());
        }
        Ok(())
    }

    fn settle(&mut self, first: u64, records: u64, result: Result<(), Error>) -> anyhow::Result<()> {
        match result {
            Ok(()) => {
                self.report.records += records;
                self.durable = self.durable.max(first + records);
                self.spool.release(self.durable);
            }
            Err(error) if error.code() == Some(ErrorCode::ProducerFenced) => {
                anyhow::bail!("fenced off: another agent has the same id");
            }
            Err(error) => {
                if !self.is_failing {
                    tracing::warn!(source = self.report.name, %error, "not delivered, will be tried again");
                }
                self.report.last_error = Some(error.to_string());
                // The next one goes on where the server is.
                (self.is_failing, self.producer) = (true, None);
                self.open_at = Instant::now() + AGAIN;
            }
        }
        Ok(())
    }

    fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Status => {
                let mut report = self.report.clone();
                report.spooled_bytes = self.spool.bytes();
                Answer::Status(Box::new(report))
            }
            Request::Explain(_) => Answer::Explained(Vec::new()),
            Request::Reset { .. } => Answer::Done(Err(format!("source {} has no files", self.report.name))),
            Request::Drain => {
                self.is_draining = true;
                Answer::Done(Ok(()))
            }
        }
    }
}

/// What was received, as much as there is.
async fn next(texts: &mut Texts) -> Option<Vec<(Timestamp, Bytes)>> {
    let mut received = Vec::new();
    match texts.recv_many(&mut received, TEXTS_AT_ONCE).await {
        0 => None,
        _ => Some(received),
    }
}
