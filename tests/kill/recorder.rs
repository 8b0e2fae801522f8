//! What the tasks of a run share: where the server is, whether it is over, and the history that they write together.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use connectify::{
    Client,
    client::ConsumerRecord,
    trial::{Append, Commit, History, Outcome, Read, Seen, Stored},
};
use tokio::sync::watch;

use crate::PATIENCE;

/// See the module.
pub(crate) struct Recorder {
    address: String,
    began: Instant,
    is_over: AtomicBool,
    history: Mutex<Calls>,
    /// Counts acknowledged records.
    acks: watch::Sender<u64>,
}

#[derive(Default)]
struct Calls {
    history: History,
    number: u64,
}

impl Calls {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }
}

impl Recorder {
    pub(crate) fn new(address: String) -> Self {
        Self {
            address,
            began: Instant::now(),
            is_over: AtomicBool::new(false),
            history: Mutex::default(),
            acks: watch::Sender::new(0),
        }
    }

    /// A client of its own, that finds its way back quickly.
    pub(crate) async fn client(&self) -> Client {
        let builder = Client::builder(self.address.clone());
        let builder = builder.reconnect(Duration::from_millis(1), Duration::from_millis(50)).connect_timeout(PATIENCE);
        builder.connect().await.expect("the server comes back")
    }

    /// Tells everybody to come to an end.
    pub(crate) fn end(&self) {
        self.is_over.store(true, SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    pub(crate) fn acks(&self) -> watch::Receiver<u64> {
        self.acks.subscribe()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("not for so long")
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.history.lock().expect("no panic while it is locked")
    }

    /// Takes the history, when all who write it have ended.
    pub(crate) fn take_history(&self) -> History {
        std::mem::take(&mut *self.calls()).history
    }

    /// An append begins; gives its place.
    pub(crate) fn append_begins(&self, records: Vec<(String, Stored)>, cursors: Vec<(u64, u64)>) -> usize {
        let (invoked, mut calls) = (self.now(), self.calls());
        let number = calls.next_number();
        let append = Append { number, invoked, records, cursors, outcome: Outcome::Unknown, offsets: Vec::new() };
        calls.history.appends.push(append);
        calls.history.appends.len() - 1
    }

    /// It is acknowledged, from this offset on if that is known.
    pub(crate) fn append_acked(&self, place: usize, base: Option<u64>) {
        let (now, mut calls) = (self.now(), self.calls());
        let append = &mut calls.history.appends[place];
        let count = append.records.len() as u64;
        append.offsets = (0..count).map(|at| base.map(|base| base + at)).collect();
        append.outcome = Outcome::Acked((), now);
        drop(calls);
        self.acks.send_modify(|acks| *acks += count);
    }

    /// A move of a cursor begins; gives its place.
    pub(crate) fn commit_begins(&self, consumer: u64, offset: u64, rewind: bool) -> usize {
        let (invoked, mut calls) = (self.now(), self.calls());
        let number = calls.next_number();
        let commit = Commit { number, invoked, consumer, offset, rewind, outcome: Outcome::Unknown };
        calls.history.commits.push(commit);
        calls.history.commits.len() - 1
    }

    /// It is acknowledged: the cursor is there.
    pub(crate) fn commit_acked(&self, place: usize, cursor: u64) {
        let (now, mut calls) = (self.now(), self.calls());
        let commit = &mut calls.history.commits[place];
        // A dequeue says only now how far it went.
        commit.offset = commit.offset.min(cursor);
        commit.outcome = Outcome::Acked(cursor, now);
    }

    /// Somebody asked for what is at an offset, and read this.
    pub(crate) fn read(&self, from: u64, seen: Vec<Seen>) {
        let (at, mut calls) = (self.now(), self.calls());
        calls.history.reads.push(Read { at, from: Some(from), seen });
    }
}

/// A record as the history has it: values begin with who wrote it, and with its number.
pub(crate) fn seen(topic: &str, offset: u64, value: &[u8]) -> Seen {
    Seen { topic: topic.to_owned(), offset, record: parse(value) }
}

/// See [`seen`].
pub(crate) fn all_seen(topic: &str, records: &[ConsumerRecord]) -> Vec<Seen> {
    records.iter().map(|record| seen(topic, record.offset.0, &record.record.value)).collect()
}

/// What a value says of itself. The checksum is of all of it.
pub(crate) fn parse(value: &[u8]) -> Option<Stored> {
    let mut words = value.split(|byte| *byte == b'-').map(|word| std::str::from_utf8(word).ok()?.parse().ok());
    let (producer, sequence) = (words.next()??, words.next()??);
    Some(Stored { producer, sequence, checksum: crc32c::crc32c(value) })
}
