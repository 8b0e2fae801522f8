//! What the workers of a run share: the network, the history that they write, and what they may not do alone.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::sleep;

use super::{super::Rng, network::Network, trace::Trace};
use crate::{
    client::{Client, Error},
    record::{ConsumerId, Record, Timestamp},
    trial::{
        contents::parse,
        history::{Append, Commit, History, Outcome, Read, Seen, Stored},
    },
};

/// Between tries of a call that failed and may be made again.
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// Of one call; there are more tries.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between tries to connect.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

#[derive(Default)]
struct Known {
    history: History,
    calls: u64,
    consumers: Vec<ConsumerId>,
}

/// See the module. Clones are of the same world.
#[derive(Clone)]
pub(super) struct World {
    pub(super) network: Network,
    pub(super) trace: Trace,
    known: Arc<Mutex<Known>>,
}

/// Where in the history a call is.
#[derive(Clone, Copy)]
pub(super) struct Called(usize);

/// What a worker found wrong.
pub(super) type Done = Result<(), String>;

impl World {
    pub(super) fn new(network: Network, trace: Trace) -> Self {
        Self { network, trace, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no panic while it is locked")
    }

    /// A client of its own.
    pub(super) fn client(&self, number: usize, rng: &mut Rng) -> Client {
        let network = self.network.clone();
        let connector = move || {
            let network = network.clone();
            Box::pin(async move { network.connect(number).await }) as _
        };
        let builder = Client::builder("simulated").seed(rng.number()).connector(connector);
        let builder = builder.request_timeout(REQUEST_TIMEOUT).reconnect(RECONNECT.0, RECONNECT.1);
        builder.connect_lazy().expect("these settings are allowed")
    }

    /// All that happened, and the consumers in order of their numbers.
    pub(super) fn history(&self) -> (History, Vec<ConsumerId>) {
        let known = self.known();
        (known.history.clone(), known.consumers.clone())
    }

    // ---- what is asked and answered ----

    /// Notes an append before it is made.
    pub(super) fn appends(&self, records: Vec<(String, Stored)>, cursors: Vec<(u64, u64)>) -> Called {
        let invoked = self.trace.now();
        let mut known = self.known();
        known.calls += 1;
        let (number, offsets) = (known.calls, Vec::new());
        known.history.appends.push(Append { number, invoked, records, cursors, outcome: Outcome::Unknown, offsets });
        Called(known.history.appends.len() - 1)
    }

    /// Notes how it ended. `offset`: of its first record, if that is known.
    pub(super) fn appended(&self, called: Called, outcome: Outcome<()>, offset: Option<u64>) {
        let mut known = self.known();
        let append = &mut known.history.appends[called.0];
        append.outcome = outcome;
        append.offsets = (0..append.records.len() as u64).map(|at| offset.map(|offset| offset + at)).collect();
        let first = append.records[0].1;
        drop(known);
        self.trace.note(&format!("producer {}", first.producer), format!("{} {outcome:?} {offset:?}", first.sequence));
    }

    /// A number for a consumer with a cursor.
    pub(super) fn register(&self, consumer: ConsumerId) -> u64 {
        let mut known = self.known();
        known.consumers.push(consumer);
        known.consumers.len() as u64 - 1
    }

    /// Notes the move of a cursor before it is asked for.
    pub(super) fn commits(&self, consumer: u64, offset: u64) -> Called {
        let invoked = self.trace.now();
        let mut known = self.known();
        known.calls += 1;
        let number = known.calls;
        let commit = Commit { number, invoked, consumer, offset, rewind: false, outcome: Outcome::Unknown };
        known.history.commits.push(commit);
        Called(known.history.commits.len() - 1)
    }

    /// Notes where the cursor is.
    pub(super) fn committed(&self, called: Called, cursor: u64) {
        let at = self.trace.now();
        let mut known = self.known();
        let commit = &mut known.history.commits[called.0];
        commit.outcome = Outcome::Acked(cursor, at);
        let consumer = commit.consumer;
        drop(known);
        self.trace.note(&format!("consumer {consumer}"), format!("is at {cursor}"));
    }

    /// Notes a record that was read.
    pub(super) fn saw(&self, topic: &str, offset: u64, value: &[u8]) {
        let (at, record) = (self.trace.now(), parse(value));
        let seen = vec![Seen { topic: topic.to_owned(), offset, record }];
        self.known().history.reads.push(Read { at, from: Some(offset), seen });
    }

    /// Makes a call again for as long as that may help.
    pub(super) async fn insist<T>(
        &self,
        what: &str,
        mut call: impl AsyncFnMut() -> Result<T, Error>,
    ) -> Result<T, String> {
        loop {
            match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_retryable() => sleep(TRY_AGAIN).await,
                Err(error) => return Err(failed(what, &error)),
            }
        }
    }
}

/// What to say of an error.
pub(super) fn failed(what: impl fmt::Display, error: &Error) -> String {
    format!("{what} failed: {error}, {error:?}")
}

/// The record of a producer, as tests know it and as it is sent.
pub(super) fn record(producer: u64, sequence: u64, padding: usize) -> (Stored, Record) {
    let value = format!("{producer} {sequence} {}", "x".repeat(padding));
    let stored = Stored { producer, sequence, checksum: crc32c::crc32c(value.as_bytes()) };
    (stored, Record::new(value).timestamp(Timestamp(sequence)))
}
