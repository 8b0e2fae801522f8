//! One caller of each kind, who notes every answer: what was acknowledged goes into the history of the run, and a refusal
//! must be one of those that a failing disk is the reason for.

use std::fmt::Debug;

use super::{
    contents,
    history::{Append, Outcome, Stored},
    workload::{ROOM, Run},
};
use crate::{
    broker::{Appending, Error, ProducerState, Retention, StartAt},
    record::{
        Batch, BatchBuilder, Compression, ConsumerId, Offset, Record, Sequence, SequenceRange, Timestamp, TopicName,
    },
};

/// What it appends to, and forgets.
pub(super) const TOPIC: &str = "probed";
const RETENTION_BYTES: u64 = 40 * 1024;
/// As the checker knows the producer.
const PRODUCER: u64 = 9;
/// Bytes of every other record: nearly a segment, so that segments are made, sealed, rewritten and removed all the time.
const LARGE_BYTES: usize = 10 * 1024;
/// What a dequeue takes.
const TAKEN: u64 = 2;

/// The caller.
pub(super) struct Probe {
    producer: ProducerState,
    /// The sequence that goes next, again if nobody knows what became of it.
    next: u64,
    /// Whose cursor is committed, and who dequeues.
    consumers: [ConsumerId; 2],
    /// Where the one who dequeues is, and the number of its call.
    cursor: (Offset, u64),
    rounds: u64,
    /// Calls that were refused, or whose outcome is not known.
    pub(super) refused: usize,
    pub(super) unknown: usize,
}

fn topic() -> TopicName {
    TopicName::new(TOPIC).expect("a good name")
}

impl Probe {
    /// Registers itself while the disk is well.
    pub(super) fn begin(run: &mut Run) -> Result<Self, Error> {
        let retention = Some(Retention { bytes: Some(RETENTION_BYTES), age_us: None });
        let producer = run.store.call(|broker| async move {
            broker.register_producer(topic(), Some("probe".to_owned()), retention).await
        })?;
        let mut consumers = [ConsumerId::default(); 2];
        for (number, id) in consumers.iter_mut().enumerate() {
            let name = Some(format!("probe-{number}"));
            let registered =
                run.store.call(|broker| async move { broker.register_consumer(topic(), name, StartAt::Head).await })?;
            *id = registered.id;
        }
        let cursor = (Offset(0), 1);
        Ok(Self { producer, next: 0, consumers, cursor, rounds: 0, refused: 0, unknown: 0 })
    }

    /// A call of each kind.
    ///
    /// # Errors
    /// A refusal that is no failing disk's, or an answer that cannot be right.
    pub(super) fn round(&mut self, run: &mut Run) -> Result<(), String> {
        self.rounds += 1;
        self.append(run)?;
        let (committer, behind) = (self.consumers[0], Offset(self.next.saturating_sub(1)));
        let committed = run.store.call(|broker| async move { broker.commit(committer, behind, true).await });
        self.judge("a commit", committed)?;
        self.dequeue(run)?;
        match self.rounds % 3 {
            0 => {
                let registered = run.store.call(|broker| async move {
                    broker.register_producer(topic(), Some("other".to_owned()), None).await
                });
                self.judge("a registration", registered)?;
            }
            1 => {
                let name = TopicName::new("made-again").expect("a good name");
                let made =
                    run.store.call(|broker| async move { broker.create_topic(name, Retention::default(), true).await });
                self.judge("the creation of a topic", made)?;
            }
            _ => {
                let name = TopicName::new("made-again").expect("a good name");
                let deleted = run.store.call(|broker| async move { broker.delete_topic(name, true).await });
                self.judge("the deletion of a topic", deleted)?;
            }
        }
        self.read_somewhere(run)
    }

    fn append(&mut self, run: &mut Run) -> Result<(), String> {
        let (sequence, invoked) = (self.next, run.disk.ops());
        let padding = if sequence.is_multiple_of(2) { LARGE_BYTES } else { 10 };
        let value = format!("{PRODUCER} {sequence} {}", "x".repeat(padding));
        let record = Stored { producer: PRODUCER, sequence, checksum: crc32c::crc32c(value.as_bytes()) };
        let records = vec![(TOPIC.to_owned(), record)];
        let mut builder = BatchBuilder::new();
        builder.push(&Record::new(value), Timestamp(0)).expect("small");
        let range = SequenceRange::counting(Sequence(sequence), 1);
        let batch = builder.finish(self.producer.id, self.producer.epoch, range, Compression::None);
        let parts = vec![(self.producer.topic, Batch::check(batch).expect("just built"))];
        let appending = Appending { parts, commits: Vec::new() };
        let answer = run.store.call(|broker| async move { broker.append_wait(appending).await });
        let (mut outcome, mut offsets) = (Outcome::Unknown, Vec::new());
        match &answer {
            Ok(appended) => {
                (outcome, offsets) =
                    (Outcome::Acked((), run.disk.ops()), vec![appended[0].base_offset.map(|offset| offset.0)]);
                self.next += 1;
            }
            Err(Error::Indeterminate) => {}
            Err(_) => outcome = Outcome::Refused,
        }
        // No cursor moves with it, so its number among all calls says nothing.
        let append = Append { number: 0, invoked, records, cursors: Vec::new(), outcome, offsets };
        run.history.lock().expect("no panic while it is locked").appends.push(append);
        self.judge("an append", answer)
    }

    fn dequeue(&mut self, run: &mut Run) -> Result<(), String> {
        let (consumer, (cursor, attempt)) = (self.consumers[1], self.cursor);
        let answer =
            run.store.call(|broker| async move { broker.dequeue(consumer, cursor, attempt, TAKEN, ROOM).await });
        if let Ok(dequeued) = &answer {
            let found = contents::records_of(TOPIC, &dequeued.batches);
            let expected = dequeued.first.0..dequeued.next.0;
            // Retention may have taken some.
            if dequeued.first < cursor || !found.iter().map(|seen| seen.offset).eq(expected) {
                return Err(format!("a dequeue at {cursor} gave {dequeued:?}"));
            }
            self.cursor = (dequeued.next, attempt + 1);
        }
        self.judge("a dequeue", answer)
    }

    /// Reads a batch of one topic after the other, further and further from the head, mostly from history.
    fn read_somewhere(&mut self, run: &mut Run) -> Result<(), String> {
        let topics = run.store.broker().topics("", 100).0;
        let at = usize::try_from(self.rounds).expect("few") % topics.len();
        let (topic, range) = (topics[at].clone(), topics[at].range());
        let offset = Offset(range.head.0 + (self.rounds * 7) % (range.tail.0 - range.head.0).max(1));
        let answer = run.store.call(|broker| async move { broker.read(&topic, offset, 1).await });
        self.judge("a read", answer.map(drop))
    }

    /// Whether the last record that was acknowledged can be read: it is in memory, unless its segment is history already.
    pub(super) fn reads_the_last(&mut self, run: &mut Run) -> Result<bool, String> {
        let topic = run.store.broker().topic(TOPIC).map_err(|error| error.to_string())?;
        let last = Offset(self.next.checked_sub(1).ok_or("nothing was acknowledged yet")?);
        let answer = run.store.call(|broker| async move { broker.read(&topic, last, 1).await });
        let Ok(fetched) = &answer else {
            return self.judge("a read", answer).map(|()| false);
        };
        let found = contents::records_of(TOPIC, &fetched.batches);
        let is_there = found.iter().any(|seen| seen.record.is_some_and(|record| record.sequence == last.0));
        if is_there { Ok(true) } else { Err(format!("offset {last} holds {found:?}")) }
    }

    fn judge<T: Debug>(&mut self, what: &str, answer: Result<T, Error>) -> Result<(), String> {
        match answer {
            Ok(_) => {}
            Err(Error::Indeterminate) => self.unknown += 1,
            Err(Error::StorageFailed | Error::ReadFailed(_)) => self.refused += 1,
            Err(error) => return Err(format!("{what} was refused, and the disk is no reason for that: {error:?}")),
        }
        Ok(())
    }
}
